/* cli.h - the program around the library.
 *
 * One table (options.c) lists every option; the parser, the help texts and the GEN_* variables come
 * from it.  main.c finds the command and hands it the settings.  Results go to stdout, everything
 * else through the reporter (report.c) to stderr.  The library is known by gen.h alone. */
#ifndef GEN_CLI_CLI_H
#define GEN_CLI_CLI_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "gen/gen.h"

#if defined(__GNUC__)
#define CLI_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define CLI_PRINTF(f, a)
#endif

/* What the process returns. */
enum {
    EXIT_DONE = 0,
    EXIT_INTERNAL = 1,
    EXIT_USAGE = 2,
    EXIT_INPUT = 3,
    EXIT_MODEL = 4,
    EXIT_MEMORY = 5,
    EXIT_SOME = 6, /* of several pictures failed */
    EXIT_OUTPUT = 7,
    EXIT_MISMATCH = 8,
    EXIT_SIGNAL = 128 /* plus the signal's number */
};
int cli_exit_code(gen_status status);

/* ---- errors (report.c) ----------------------------------------------------------------------- */

/* As the library's own: fill err and return the status. */
gen_status cli_fail(gen_error *err, gen_status status, const char *format, ...) CLI_PRINTF(3, 4);
gen_status cli_hint(gen_error *err, const char *format, ...) CLI_PRINTF(2, 3);

/* Where notes, warnings, errors and progress go. */
typedef struct cli_reporter {
    FILE *f;       /* stderr */
    bool is_json;  /* one JSON object a line instead of text */
    bool is_quiet; /* errors alone */
    bool is_verbose;
    bool is_terminal;
    bool has_color;
    bool has_status; /* a status line stands on the terminal */
} cli_reporter;

cli_reporter cli_reporter_new(FILE *f);
void cli_report_error(cli_reporter *r, const gen_error *err);
void cli_report(cli_reporter *r, gen_log_level level, const char *format, ...) CLI_PRINTF(3, 4);
void cli_log(void *reporter, gen_log_level level, const char *line); /* a gen_log_fn */
/* Takes the status line away before something else is written. */
void cli_clear_status(cli_reporter *r);

/* "text" as a JSON string; bytes that are not UTF-8 become U+FFFD. */
void cli_json_string(FILE *f, const char *text);
/* Text from a file: control characters other than line breaks and tabs are shown as '?'. */
void cli_print_safely(FILE *f, const char *text);

/* ---- seeds (seeds.c) ------------------------------------------------------------------------- */

/* A list such as "1,2,5..9"; never written out, so 0..10^9 costs nothing. */
enum { CLI_MAX_SEED_RANGES = 256 };
typedef struct cli_seeds {
    struct {
        uint64_t first, last;
    } ranges[CLI_MAX_SEED_RANGES];
    int num_ranges; /* 0: random */
    uint64_t count; /* of all ranges */
} cli_seeds;

/* name is what stands before the error, "--seed".  Errors: ARGUMENT. */
gen_status cli_seeds_parse(cli_seeds *seeds, const char *name, const char *text, gen_error *err);
uint64_t cli_seeds_at(const cli_seeds *seeds, uint64_t i); /* i < count */
uint64_t cli_random_seed(void);                            /* below 2^32, as people type them */

/* ---- lists and intervals (numbers.c) ----------------------------------------------------------
 */

enum { CLI_MAX_NUMBERS = 1000 };
typedef struct cli_numbers {
    double values[CLI_MAX_NUMBERS];
    int count; /* 0: not given */
} cli_numbers;

/* "14.6, 6.5, 2" or "14.6 6.5 2": numbers from min to max, by commas or spaces; a last 0 behind
 * others, the clean end of other programs' lists, is left out.  Errors: ARGUMENT. */
gen_status cli_numbers_parse(cli_numbers *numbers, const char *name, const char *text, double min,
                             double max, gen_error *err);

/* "0.3:5.4" in noise levels, "20%:80%" in steps; either side may be empty. */
typedef struct cli_interval {
    double low, high;   /* levels; 0: without limit */
    double start, stop; /* fractions; 0: from the first, to the last */
} cli_interval;
gen_status cli_interval_parse(cli_interval *interval, const char *name, const char *text,
                              gen_error *err);

/* ---- suggestions (suggest.c) ----------------------------------------------------------------- */

/* Edits from a to b: insert, delete, replace, swap neighbours; case is ignored. */
int cli_edit_distance(const char *a, const char *b);
/* The nearest of the candidates if it is near enough to be what was meant, or NULL.  next(user, i)
 * gives candidate i, NULL past the end. */
typedef const char *(*cli_candidate_fn)(const void *user, int i);
const char *cli_nearest(const char *word, cli_candidate_fn next, const void *user);
/* An error of the library about an unknown sampler, scheduler, guidance, family or data gets the
 * option's name, the nearest name, other programs' included, and where to read on. */
void cli_suggest_method(gen_error *err);

/* ---- settings and options (options.c) -------------------------------------------------------- */

enum { CLI_MAX_OPTIONS = 96 };
typedef struct cli_settings {
    const char *prompt, *negative_prompt, *class_label;
    const char *model, *base, *vae, *t5, *tokenizer;
    const char *input, *output, *format;
    const char *sampler, *scheduler, *rng;
    const char *precision, *gemm, *device, *progress;
    const char *guidance, *prediction;
    const char *family, *data; /* of plots */
    int width, height, steps, batch_count, threads, clip_skip, quality;
    int zero_init; /* less than 0: not given */
    double eta;    /* less than 0: not given */
    int frames, interpolate;
    double fps;
    double cfg, s_noise, s_churn, s_tmin, s_tmax, shift;
    double guidance_rescale, apg_momentum, apg_norm, apg_parallel;
    double variation_strength, guidance_skip_last;
    int guided_channels, seed_resize_width, seed_resize_height;
    bool guidance_dynamic;
    int64_t noise_seed_delta;
    cli_interval guidance_interval;
    cli_numbers sigmas, timesteps;
    cli_seeds seeds, variation_seeds;
    bool cfg_zero;
    int64_t seed_step;
    uint64_t mem_limit;
    bool overwrite, verbose, quiet, json, dry_run, strict, no_metadata;
    bool help, help_all, version;
    const char **words; /* what is no option, in order */
    int num_words;
    bool given[CLI_MAX_OPTIONS]; /* option i stood on the command line */
} cli_settings;

enum {
    CLI_FOR_IMAGE = 1,
    CLI_FOR_INFO = 2,
    CLI_FOR_HELP = 4,
    CLI_FOR_PLOT = 8,
    CLI_FOR_DEVICES = 16,
    CLI_FOR_BENCH = 32,
    CLI_FOR_EDIT = 64,
    CLI_FOR_MAKING = CLI_FOR_IMAGE | CLI_FOR_EDIT,
    CLI_FOR_ALL = 127
};

typedef enum cli_type {
    CLI_FLAG,
    CLI_TEXT,
    CLI_PATH,
    CLI_INT,
    CLI_REAL,
    CLI_BYTES,
    CLI_CHOICE,
    CLI_SEEDS,
    CLI_NUMBERS,
    CLI_INTERVAL,
    CLI_LONG
} cli_type;

/* A value of CLI_CHOICE; another spelling has the value it stands for.  Lists end with NULL. */
typedef struct cli_choice {
    const char *name, *value;
} cli_choice;

typedef struct cli_option {
    const char *name; /* long name without dashes */
    char letter;      /* or 0 */
    cli_type type;
    size_t offset;        /* in cli_settings */
    unsigned commands;    /* CLI_FOR_... */
    bool is_common;       /* one of those that the short help shows */
    const char *argument; /* how help names the value */
    const char *help;
    double min, max;           /* CLI_INT, CLI_REAL, CLI_LONG, CLI_NUMBERS */
    const cli_choice *choices; /* CLI_CHOICE */
} cli_option;

/* The table; NULL past the end. */
const cli_option *cli_option_at(int i);

/* Fills settings from the command line and, for what it leaves open, from GEN_NAME variables.
 * `words` must have room for argc pointers.  Errors: ARGUMENT. */
gen_status cli_parse(cli_settings *settings, const char **words, int argc, char **argv,
                     gen_error *err);
/* The first option given on the command line that does not belong to a command, or NULL. */
const cli_option *cli_foreign_option(const cli_settings *settings, unsigned command);

/* A value in the option's type: "--steps: "abc" is not a whole number (1..1000)". */
gen_status cli_set_option(cli_settings *settings, const cli_option *option, const char *name,
                          const char *text, gen_error *err);

/* ---- help (help.c) --------------------------------------------------------------------------- */

typedef struct cli_command {
    const char *name;
    unsigned bit; /* CLI_FOR_... */
    const char *usage;
    const char *what; /* one line */
    int (*run)(const cli_settings *settings, cli_reporter *r);
} cli_command;

const cli_command *cli_command_at(int i); /* NULL past the end (main.c) */
const cli_command *cli_command_find(const char *name);
void cli_help_short(FILE *f, const cli_command *command);
void cli_help_all(FILE *f, const cli_command *command);
/* A topic's text; INPUT to the caller: false when there is none. */
bool cli_help_topic(FILE *f, const char *topic);
const char *cli_help_topic_at(int i); /* NULL past the end */

/* ---- progress (progress.c) ------------------------------------------------------------------- */

typedef struct cli_progress {
    cli_reporter *reporter;
    const char *name; /* the file being made */
    uint64_t seed;
    int item, num_items; /* item counts from 1 */
    bool is_shown;
    /* of the picture in work */
    gen_phase phase;
    int step, num_steps;
    double seconds;       /* since its beginning */
    double first_step_at; /* when the first step began */
    double shown_at;      /* when something was last written; clock of the machine */
} cli_progress;

void cli_progress_start(cli_progress *p, int item, const char *name, uint64_t seed);
int cli_progress_update(void *progress, const gen_progress *news); /* a gen_progress_fn */
void cli_progress_end(cli_progress *p);                            /* takes the status line away */
void cli_progress_done(cli_progress *p, const char *path);         /* the picture is in this file */
/* "3/8 cat.png  step 12/20  1.84 s/it  eta 0:31  rss 1.9G"; rss in bytes, 0 leaves it out. */
void cli_progress_line(char *out, size_t size, const cli_progress *p, uint64_t rss);
/* Resident memory of the process in bytes, or 0. */
uint64_t cli_resident_memory(void);
/* "1.9G", "412M". */
void cli_format_bytes(char *out, size_t size, uint64_t bytes);

/* ---- signals (signals.c) --------------------------------------------------------------------- */

/* Ctrl-C and SIGTERM.  With one picture, or the second time, the process ends at once, unless a
 * file is being written: then right after it.  With several, the first asks to stop after this one.
 */
void cli_signals_install(bool has_several, bool is_quiet);
void cli_signals_saving(bool is_saving);
int cli_signals_pending(void); /* the signal's number, or 0 */

/* ---- commands -------------------------------------------------------------------------------- */

int cli_image(const cli_settings *settings, cli_reporter *r);
int cli_edit(const cli_settings *settings, cli_reporter *r);
int cli_info(const cli_settings *settings, cli_reporter *r);
int cli_bench(const cli_settings *settings, cli_reporter *r);
int cli_devices(const cli_settings *settings, cli_reporter *r);
int cli_plot(const cli_settings *settings, cli_reporter *r);
int cli_help(const cli_settings *settings, cli_reporter *r);
int cli_main(int argc, char **argv); /* what the process returns */

#endif
