/* blocks.h - what the decoders share with tile.c.  Internal to this folder.
 *
 * A decoder is a head that sees the whole latents and a tail that works locally but for the
 * statistics of its group norms.  The blocks of the tail are written once and used in two ways: on
 * whole images, and on bands of rows.  A band has open edges where the image goes on: convolutions
 * do not pad there, so each takes a row away, and group norms are given their statistics from
 * outside. */
#ifndef GEN_VAE_BLOCKS_H
#define GEN_VAE_BLOCKS_H

#include "gen/core/nn.h"
#include "vae/vae.h"

#define VAE_NORM_EPS 1e-6f

typedef struct vae_builder {
    gen_graph *g;
    const gen_vae_config *cfg;
    bool is_open_top, is_open_bottom;    /* the image goes on there */
    gen_tensor *norm_scale, *norm_shift; /* [1,1,1,C] the norm of a band, NULL: computed */
} vae_builder;

/* One piece of a decoder's tail: some ops on a whole image x, whose result is stored whole before
 * the next piece starts. */
typedef struct vae_step vae_step;
struct vae_step {
    /* Records the piece on a band of x.  residual: the rows of the result, without halo, or NULL.
     */
    gen_tensor *(*record)(const vae_builder *b, const vae_step *s, gen_tensor *x,
                          gen_tensor *residual);
    gen_scope w;
    int index;        /* for record */
    gen_scope norm;   /* the group norm x goes through first; empty path: none */
    int halo;         /* rows of x above and below those the result belongs to */
    int scale;        /* rows of the result for each row of x */
    bool keeps_input; /* x is the residual of the next step */
    bool adds_residual;
};

enum { VAE_MAX_STEPS = 256 };

typedef struct vae_tail {
    int num_steps;
    vae_step steps[VAE_MAX_STEPS];
} vae_tail;

/* 3x3, same size but for open edges. */
gen_tensor *vae_conv3x3(const vae_builder *b, gen_scope w, gen_tensor *x);
/* Twice the size (nearest), then 3x3; at an open edge two rows fewer. */
gen_tensor *vae_upsample(const vae_builder *b, gen_scope w, gen_tensor *x);
/* The rows of x that belong to a band of `rows` rows: open edges are cut off. */
gen_tensor *vae_crop(const vae_builder *b, gen_tensor *x, int64_t rows);

gen_tensor *vae_kl_encode(const vae_builder *b, gen_scope w, gen_tensor *x);
gen_tensor *vae_kl_decode(const vae_builder *b, gen_scope w, gen_tensor *z);
gen_tensor *vae_kl_head(const vae_builder *b, gen_scope w, gen_tensor *z);
void vae_kl_tail(const gen_vae_config *cfg, gen_scope w, vae_tail *tail);

gen_tensor *vae_tiny_encode(const vae_builder *b, gen_scope w, gen_tensor *x);
gen_tensor *vae_tiny_decode(const vae_builder *b, gen_scope w, gen_tensor *z);
gen_tensor *vae_tiny_head(const vae_builder *b, gen_scope w, gen_tensor *z);
void vae_tiny_tail(const gen_vae_config *cfg, gen_scope w, vae_tail *tail);

gen_status vae_kl_config_read(gen_vae_config *cfg, const gen_json *json, gen_error *err);
gen_status vae_tiny_config_read(gen_vae_config *cfg, const gen_json *json, gen_error *err);

/* tile.c: one picture, z [h,w,C] not scaled. */
gen_status vae_decode_bands(const gen_vae_config *cfg, gen_scope root, gen_backend *backend,
                            const float *z, int64_t h, int64_t w, int64_t band_rows, float *pixels,
                            gen_error *err);
gen_status vae_measure_bands(const gen_vae_config *cfg, gen_scope root, gen_backend *backend,
                             int64_t h, int64_t w, int64_t band_rows, gen_vae_needs *needs,
                             gen_error *err);

#endif
