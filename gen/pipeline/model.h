/* model.h - an opened model: its components, ready to record graphs. */
#ifndef GEN_PIPELINE_MODEL_H
#define GEN_PIPELINE_MODEL_H

#include "gen/pipeline/denoise.h"
#include "gen/pipeline/model_files.h"
#include "gen/pipeline/pipeline.h"
#include "gen/pipeline/prompts.h"
#include "gen/pipeline/world.h"
#include "gen/text/clip_vision.h"
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
    gen_vision_encoder *vision; /* of networks that take a picture's features, or NULL */
    char *tokenizer;            /* named by the user, or NULL; owned */
    gen_vae *vae;
    gen_clip_vae *clip_vae; /* the same for clips; NULL where it knows pictures only */
    gen_scheduler_config scheduler;
    double *scheduler_lists; /* owned, borrowed by scheduler */
    gen_model_info info;
    char *name, *path; /* owned, for info */
    char sha256[65];   /* "" until asked for */
    gen_world *world;  /* what a small model knows, or NULL */

    gen_plan_cache plans;
    size_t fewer_weights; /* what plans may keep since a device refused memory for more; 0: any */
    gen_prompt_states *prompt; /* of prompt_key */
    char *prompt_key;
};

/* retreat.c: what a device could not do is tried in other ways before it is an error. */

typedef enum gen_work {
    GEN_WORK_NETWORK, /* may have activations in f16 */
    GEN_WORK_OTHER    /* text encoders, autoencoders: always f32 */
} gen_work;

/* After a failure of the work with *err: takes activations in f32 in place of f16, or moves the
 * model from its device to the CPU, and says so, where that may help; then GEN_OK, and the call
 * that failed is to be made again.  Else `status` with *err as it was. */
gen_status gen_model_retreat(gen_model *model, gen_work work, gen_status status, gen_error *err);

/* Where a device refuses memory to the network, whose plan of this shape is being made or run:
 * fewer of its weights stay there, the others are streamed.  GEN_OK when there are fewer to keep:
 * the call that failed is to be made again.  Else as gen_model_retreat(). */
gen_status gen_model_retreat_network(gen_model *model, const gen_network_shape *shape,
                                     gen_status status, gen_error *err);

/* Makes a call until it succeeds or there is no other way left. */
#define GEN_WITH_RETREAT(status, model, work, call, err)                                           \
    do                                                                                             \
        (status) = (call);                                                                         \
    while ((status) && !gen_model_retreat(model, work, status, err))

/* Work in pieces, the smaller the less memory it takes. */
typedef struct gen_pieces {
    void *self;
    gen_status (*call)(void *self, int64_t size, gen_error *err); /* size 0: in one piece */
    bool (*may_try_again)(void *self); /* after a failure; NULL: always */
    void (*release)(void *self);       /* gives back what the pieces before took */
    void (*name)(char *out, size_t out_size, int64_t size); /* "bands of 64 rows" */
    int64_t planned, whole, narrowest; /* sizes: of the plan, of one piece, the smallest */
} gen_pieces;
/* Where a device refuses the memory that was planned, smaller pieces are tried before the CPU. */
gen_status gen_model_retreat_in_pieces(gen_model *model, const gen_pieces *pieces, gen_error *err);

/* Errors: INTERNAL, "what: a value is not finite". */
gen_status gen_check_finite(const float *x, size_t n, const char *what, gen_error *err);

#endif
