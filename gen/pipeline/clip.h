/* clip.h - what clips need beyond pictures: coding their frames. */
#ifndef GEN_PIPELINE_CLIP_H
#define GEN_PIPELINE_CLIP_H

#include "gen/pipeline/model.h"

/* The first num_given frames of a clip of num_frames, each width x height; grey follows. */
typedef struct gen_clip_frames {
    const gen_image *const *images;
    int num_given, num_frames, width, height;
} gen_clip_frames;

/* Latents [f,h,w,C] as samplers know them, of the mean of the posterior.  tile: of latents, 0: all
 * at once.  Errors: ARGUMENT when an image has another size; those of gen_clip_vae_encode(). */
gen_status gen_clip_encode(gen_model *model, const gen_clip_frames *frames, int64_t tile,
                           float *latents, gen_error *err);

enum { GEN_NARROWEST_TILE = 16 }; /* latents, where a device refuses memory */
/* "tiles of 16 latents" */
void gen_clip_name_tiles(char *out, size_t size, int64_t side);

/* Latents [f,h,w,C] to frames, in order.  Errors: of the receiver; of gen_clip_vae_decode(). */
gen_status gen_clip_decode(gen_model *model, const float *latents, int64_t f, int64_t h, int64_t w,
                           int64_t tile, gen_frame_fn receive, void *user, gen_error *err);

/* Pixels [H,W,3] in [-1,1] of a picture; grey and alpha are understood. */
void gen_clip_pixels(float *out, const gen_image *image);

#endif
