/* image_run.h - one run of `gen image` or `gen edit`: what cmd_image.c, cmd_edit.c and clips.c
 * share.
 */
#ifndef GEN_CLI_IMAGE_RUN_H
#define GEN_CLI_IMAGE_RUN_H

#include "gen/cli/cli.h"

enum { CLI_MAX_PATH = 4096 };

typedef struct image_run {
    const cli_settings *settings;
    cli_reporter *reporter;
    gen_context *context;
    gen_model *model;
    gen_generate_params params; /* resolved but for the seed */
    char *prompt, *negative_prompt;
    char *pattern; /* of the output names */
    bool is_to_stdout;
    uint64_t num_pictures, random_seed, random_variation;
    uint64_t num_failed;
    bool was_reopened; /* the device, after it was lost */
    bool is_edit;
    char **input_paths; /* of -i: the file, or the pictures of the folder */
    int num_input_paths;
    gen_image **inputs; /* read of them: frames, of the size of the result */
    int num_inputs;
    const gen_image **source; /* what the model is given of them: some again with --interpolate */
    int input;                /* pictures are changed one by one: which of the paths is next */
    uint64_t pictures_per_input; /* of num_pictures; 0: there are no inputs, or all are one clip */
    char sha256[65];             /* "" when unknown */
    bool is_hashed;
    cli_progress progress;
} image_run;

/* The two texts stored in the file. */
typedef struct cli_record_texts {
    char *parameters, *json;
} cli_record_texts;

/* The whole command (cmd_image.c); the exit code. */
int cli_run(const cli_settings *settings, cli_reporter *r, bool is_edit);

/* Is the result more than one frame?  After the settings are resolved. */
bool cli_makes_clip(const image_run *run);
/* Lists the files of -i, once the model is open, and decides whether they are pictures to be
 * changed one by one.  Errors: ARGUMENT; INPUT; MEMORY. */
gen_status cli_clip_find(image_run *run, gen_error *err);
/* Reads them: all frames to change, the picture that is next, or the frame a clip begins with;
 * brings them to the size asked for and gives them to run->params.  Errors: those; INTERNAL. */
gen_status cli_clip_inputs(image_run *run, gen_error *err);
/* Refuses an output that cannot be a clip before work is spent on it. */
gen_status cli_clip_check(const image_run *run, const char *path, gen_error *err);
/* Makes a clip and writes its frames; `saved` [CLI_MAX_PATH] receives the name. */
gen_status cli_clip_make(image_run *run, const gen_generate_params *params, const char *path,
                         const cli_record_texts *texts, char *saved, gen_generate_stats *stats,
                         gen_error *err);
void cli_clip_free(image_run *run);

#endif
