/* denoise.h - a network as the denoisers of the sampler layer.
 *
 * A gen_denoise_group answers for several conditions (prompt, negative prompt, ...) at the same
 * latents, in one run of a plan whose batch is the number of conditions asked.  Its plans are kept
 * by shape, so that the next picture finds them. */
#ifndef GEN_PIPELINE_DENOISE_H
#define GEN_PIPELINE_DENOISE_H

#include "gen/core/network.h"
#include "gen/core/plan.h"
#include "samplers/samplers.h"

enum { GEN_MAX_CONDITIONS = 4, GEN_MAX_TIME_IDS = 8 };

/* One condition; pointers are borrowed. */
typedef struct gen_condition {
    const float *states; /* [num_tokens, context_dim] */
    const float *mask;   /* [num_tokens]; NULL: all are tokens */
    const float *pooled; /* [pooled_dim], or NULL */
    float time_ids[GEN_MAX_TIME_IDS];
    int class_label; /* for networks of classes */
} gen_condition;

typedef struct gen_network_instance {
    const gen_network_class *cls;
    void *config;
    gen_network_traits traits;
    gen_scope weights;
    gen_backend *backend;
} gen_network_instance;

/* Plans of one network by shape; the oldest makes room for a new one. */
enum { GEN_MAX_PLANS = 4 };
typedef struct gen_plan_cache {
    struct {
        gen_plan *plan;
        gen_network_shape shape;
        uint64_t last_use;
    } entries[GEN_MAX_PLANS];
    uint64_t uses;
    size_t max_weights; /* of the plans made from now on: see gen_plan_new_within() */
} gen_plan_cache;
void gen_plan_cache_clear(gen_plan_cache *cache);

/* The plan of a shape, made when it is not there; borrowed from the cache. */
gen_status gen_network_plan(gen_plan **out, gen_plan_cache *cache,
                            const gen_network_instance *network, const gen_network_shape *shape,
                            gen_error *err);
/* Small latents and a short text the network can be recorded with, to check it. */
gen_network_shape gen_network_smallest_shape(const gen_network_traits *traits);
/* A plan for measuring only, with at most max_weights bytes of weights in memory (0: any number);
 * the caller frees it. */
gen_status gen_network_dry_plan(gen_plan **out, const gen_network_instance *network,
                                const gen_network_shape *shape, size_t max_weights, gen_error *err);

/* Runs the network once on a constant input, to tell predictions of v from those of noise in
 * Stable Diffusion 2 (predict_test.c).  Errors: MODEL; MEMORY; INTERNAL. */
gen_status gen_network_predicts_v(bool *predicts_v, const gen_network_instance *network,
                                  gen_error *err);

typedef struct gen_denoise_group {
    const gen_network_instance *network;
    gen_plan_cache *plans;
    int64_t height, width, num_tokens; /* of the latents, of the text */
    int64_t num_frames;                /* of a clip's latents; 0: a picture */
    /* [num_frames, height, width, in_channels - latent channels] behind those of the latents;
     * for networks that take more than they give. */
    const float *beside;
    /* [height, width, latent channels]: the first frame of a clip, which the network sees with time
     * 0 whatever x says; NULL: none. */
    const float *first_frame;
    /* [num_image_tokens, image_dim]: features of a picture, for networks that take them. */
    const float *image_states;
    int64_t num_image_tokens;
    float *variance; /* receives what the network says of it for conditions[0]; NULL: dropped */
    int num_conditions;
    gen_condition conditions[GEN_MAX_CONDITIONS];
    double guidance_scale;              /* for networks that embed it */
    bool gives_x0;                      /* members estimate clean latents of the sampler's x, */
    const gen_scheduler_config *config; /*   then by what this says of the network; borrowed */
    /* Called before each run of the network; not OK stops. */
    gen_status (*poll)(void *self, gen_error *err);
    void *poll_self;
    /* Called when a run fails with *err; GEN_OK asks for it again, NULL never does. */
    gen_status (*on_failure)(void *self, gen_status status, gen_error *err);
    void *on_failure_self;

    float *batch;  /* scratch for inputs and outputs */
    double *times; /* [num_conditions, num_frames] */
    size_t batch_size;
    gen_denoiser_group group;
    gen_denoiser members[GEN_MAX_CONDITIONS];
} gen_denoise_group;

/* The guidance embedding of distilled networks (Luo et al. 2023; unet.md 1.3), [dim]: sines, then
 * cosines of 1000 (g - 1) at dim/2 frequencies from 1 to 1/10000. */
void gen_embed_guidance(float *out, double guidance_scale, int dim);

/* The shape of the network's run for so many of its conditions. */
gen_network_shape gen_denoise_group_shape(const gen_denoise_group *group, int num_conditions);
/* Completes a group whose fields above `batch` are set; members[i] then is the denoiser of
 * conditions[i], [F,H,W,C] raw predictions of [F,H,W,C] latents, unless gives_x0 is set.
 * Errors: ARGUMENT when `beside` is missing; MEMORY. */
gen_status gen_denoise_group_init(gen_denoise_group *group, gen_error *err);
void gen_denoise_group_clear(gen_denoise_group *group);

#endif
