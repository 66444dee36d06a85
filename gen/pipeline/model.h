/* model.h - an opened model: its components, ready to record graphs. */
#ifndef GEN_PIPELINE_MODEL_H
#define GEN_PIPELINE_MODEL_H

#include "gen/pipeline/denoise.h"
#include "gen/pipeline/model_files.h"
#include "gen/pipeline/pipeline.h"
#include "gen/pipeline/prompts.h"
#include "gen/pipeline/world.h"
#include "vae/vae.h"

/* What a model says of itself in model_index.json under "gen"; used by the models gen ships. */
typedef struct gen_model_defaults {
    int steps;
    double guidance_scale;
} gen_model_defaults;

struct gen_model {
    gen_context *context;
    gen_model_files *files;
    const gen_model_component *network_files;
    gen_network_instance network;
    const gen_prompt_encoder *text_class; /* NULL: takes no text */
    void *text;
    char *tokenizer; /* named by the user, or NULL; owned */
    gen_vae *vae;
    gen_clip_vae *clip_vae; /* the same for clips; NULL where it knows pictures only */
    gen_scheduler_config scheduler;
    double *scheduler_lists; /* owned, borrowed by scheduler */
    gen_model_info info;
    char *name, *path; /* owned, for info */
    char sha256[65];   /* "" until asked for */
    gen_world *world;  /* what a small model knows, or NULL */

    gen_plan_cache plans;
    gen_prompt_states *prompt; /* of prompt_key */
    char *prompt_key;
};

/* After a failure of the work with *err: moves the model from its device to the CPU, and says so,
 * where that may help; then GEN_OK, and the call that failed is to be made again.  Else `status`
 * with *err as it was (retreat.c). */
gen_status gen_model_retreat(gen_model *model, gen_status status, gen_error *err);

#endif
