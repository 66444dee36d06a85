/* vision.h - the features of a picture that some networks look at, beside the prompt. */
#ifndef GEN_PIPELINE_VISION_H
#define GEN_PIPELINE_VISION_H

#include "gen/pipeline/model.h"

/* Opens the image encoder of a model whose network takes features; of others it is left alone.
 * Errors: MODEL when there is none, or one of another width; MEMORY. */
gen_status gen_model_open_vision(gen_model *model, gen_error *err);

/* Rows of features of a picture; 0 for a network that takes none. */
int64_t gen_model_num_image_tokens(const gen_model *model);

/* *out [num_image_tokens, image_dim], to be freed.  The picture is seen as a square of the
 * encoder's size.  Errors: INPUT; MODEL; MEMORY; INTERNAL; DEVICE. */
gen_status gen_model_look_at(float **out, gen_model *model, const gen_image *image, gen_error *err);

#endif
