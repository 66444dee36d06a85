/* generate.h - making a picture, with a view inside for tests. */
#ifndef GEN_PIPELINE_GENERATE_H
#define GEN_PIPELINE_GENERATE_H

#include "gen/pipeline/model.h"

/* What gen_generate() does not need: exact inputs and every stage's values.  All-zero is valid. */
typedef struct gen_trace {
    const float *init_pixels; /* [H,W,3] in [-1,1] instead of params->init_image */
    void *self;
    /* Named values as they are made: "prompt_embeds" and "negative_embeds" [T,D], "encoder_noise",
     * "init_noise", "start_latents", "latents" [H,W,C] after each call of the network, "pixels"
     * [H,W,3].  `step` counts calls, which are the steps of the references: two of Heun's in one of
     * ours. */
    void (*value)(void *self, const char *name, int step, const float *data, size_t n);
    void (*timestep)(void *self, int step, double time);
} gen_trace;

gen_status gen_generate_traced(gen_image **out, gen_model *model, const gen_generate_params *params,
                               const gen_trace *trace, gen_generate_stats *stats, gen_error *err);

/* Names, ranges and defaults resolved into what the sampler layer takes. */
typedef struct gen_sampling {
    const gen_sampler *sampler;
    gen_scheduler_config config;
    gen_rng_kind rng;
    uint64_t cuda_threads;  /* of gen_rng */
    int64_t height, width;  /* of the latents */
    int64_t num_frames;     /* of the latents of a clip; 0: a picture */
    bool is_guided;         /* asks without the prompt, too */
    bool guidance_takes_x0; /* combines denoised latents, not raw predictions */
    int class_label;        /* of networks that know classes */
    gen_guidance_params guidance;
} gen_sampling;
gen_status gen_sampling_resolve(gen_sampling *out, gen_generate_params *params,
                                const gen_model *model, gen_error *err);

/* The part of it that needs no model, with out->config set: sampler, schedule, prediction, levels.
 */
gen_status gen_sampling_resolve_method(gen_sampling *out, gen_generate_params *params,
                                       gen_error *err);

/* The steps a resolved request takes.  Errors: ARGUMENT, MODEL, MEMORY. */
gen_status gen_sampling_schedule(gen_schedule **out, const gen_sampling *sampling,
                                 const gen_generate_params *params, gen_error *err);

/* How often the network will be asked; guidance asks for two answers at once (calls.c).  Errors:
 * those of gen_sampling_schedule() and gen_solve(). */
gen_status gen_sampling_count_calls(int *num_calls, const gen_sampling *sampling,
                                    const gen_generate_params *params, gen_error *err);

/* noise [height,width,channels] moves towards `other` along the arcs between their columns, as
 * A1111's variation seeds do: strength 0 stays, 1 arrives (variation.c). */
void gen_noise_vary(float *noise, const float *other, int64_t height, int64_t width,
                    int64_t channels, double strength);

gen_prompt_request gen_prompt_request_of(const gen_generate_params *params,
                                         const gen_sampling *sampling);

/* How long their states will be; 0 for a model without text. */
gen_status gen_model_count_tokens(int64_t *num_tokens, gen_model *model,
                                  const gen_generate_params *params, const gen_sampling *sampling,
                                  gen_error *err);
/* What the first draw of a seed, noise [height,width,channels] of the sampling, becomes when the
 * request has a variation seed or the noise of another size; else it stays.  Errors: MEMORY. */
gen_status gen_noise_start(float *noise, const gen_sampling *sampling,
                           const gen_generate_params *params, int channels, gen_error *err);

/* Encodes the prompts, or finds them encoded; borrowed from the model. */
gen_status gen_model_prompt(const gen_prompt_states **out, gen_model *model,
                            const gen_generate_params *params, const gen_sampling *sampling,
                            gen_error *err);

/* [-1,1] to 0..255, rounded to nearest; false when a value is not finite. */
bool gen_pixels_to_bytes(unsigned char *out, const float *pixels, size_t n);

/* How one picture will fit into the memory limit. */
typedef struct gen_memory_plan {
    gen_estimate estimate;     /* without seconds */
    int64_t band_rows;         /* of the decoder, 0: all at once */
    int64_t clip_tile;         /* of a clip's autoencoder, in latents; 0: whole frames */
    double attention_flops[3]; /* of the phases */
    bool keeps_weights;        /* false: every phase gives its prepared weights back */
    size_t arena, scratch;     /* bytes of the backend's, the most of all phases */
    size_t max_weights;        /* bytes of the network's in memory at a time, 0: all; see plan.h */
} gen_memory_plan;
/* num_tokens of the text states, 0 without text.  Errors: MEMORY when it cannot fit; MODEL. */
gen_status gen_plan_memory(gen_memory_plan *out, gen_model *model, const gen_sampling *sampling,
                           const gen_generate_params *params, int64_t num_tokens, gen_error *err);
/* The same for parameters as they come: what gen_estimate_run() tells, but for the seconds. */
gen_status gen_plan_picture(gen_memory_plan *out, gen_model *model,
                            const gen_generate_params *params, gen_error *err);

#endif
