/* clip_vision.h - the image encoders of CLIP: a picture into rows of features, one for the whole
 * and one for each patch (Radford et al. 2021, sec. 2.4; Dosovitskiy et al. 2021, sec. 3.1).
 *
 * Video models that begin with a picture look at it through OpenCLIP ViT-H/14: 224 pixels, patches
 * of 14, 257 rows of 1280. */
#ifndef GEN_TEXT_CLIP_VISION_H
#define GEN_TEXT_CLIP_VISION_H

#include "gen/text/text.h"

typedef struct gen_vision_config {
    gen_clip_config layers; /* widths, layers, heads, activation, epsilon */
    int image_size, patch_size;
} gen_vision_config;

/* From image_encoder/config.json; also from a whole CLIP model's, which keeps it under
 * "vision_config".  Errors: MODEL. */
gen_status gen_vision_config_parse(gen_vision_config *config, const gen_json *json, gen_error *err);

/* Rows a picture becomes: 1 + patches. */
int64_t gen_vision_num_tokens(const gen_vision_config *config);

/* The transformer over pixels [1,S,S,3], normalised: returns hidden_states[num_layers] [1,T,D],
 * before the final norm.  hidden_states, if not NULL, receives all num_layers + 1; [0] is what
 * enters the first layer.  w is the scope of the checkpoint. */
gen_tensor *gen_vision_layers(gen_graph *g, gen_scope w, const gen_vision_config *config,
                              gen_tensor *pixels, int num_layers, gen_tensor **hidden_states);

/* Mean and deviation of the pixels, 0..1, that CLIP was trained on. */
extern const float gen_vision_mean[3], gen_vision_std[3];

typedef struct gen_vision_encoder gen_vision_encoder;

/* Checks that the whole encoder is there.  `w` (its weights) is borrowed and must outlive it.
 * Errors: MODEL, naming the tensor; MEMORY. */
gen_status gen_vision_encoder_new(gen_vision_encoder **out, const gen_vision_config *config,
                                  gen_scope w, gen_error *err);
void gen_vision_encoder_free(gen_vision_encoder *encoder); /* accepts NULL */
const gen_vision_config *gen_vision_encoder_config(const gen_vision_encoder *encoder);

/* states [T,D] of pixels [S,S,3], normalised: the hidden states before the last layer.  Nothing
 * stays prepared.  Errors: MODEL; MEMORY; INTERNAL when a state is not finite; DEVICE. */
gen_status gen_vision_encode(gen_vision_encoder *encoder, gen_backend *backend, const float *pixels,
                             float *states, gen_error *err);
/* What that needs, without doing it. */
gen_status gen_vision_measure(gen_vision_encoder *encoder, gen_backend *backend,
                              gen_plan_stats *stats, gen_error *err);

#endif
