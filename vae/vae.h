/* vae.h - autoencoders: pixels to latents and back.
 *
 * Pixels are [N,H,W,3] in [-1,1].  Latents are [N,h,w,C] as samplers see them: scaled and shifted
 * as the configuration says, so nobody else knows of scaling_factor.  h = H / factor, where factor
 * is 2^(stages - 1), times the patch size.  Clips are [F,H,W,3] and [f,h,w,C] with F = 1 + (f - 1)
 * time factor.
 *
 *   autoencoder_kl.c     AutoencoderKL: SD 1, 2, XL (4 channels), SD3 and FLUX (16)
 *   autoencoder_tiny.c   AutoencoderTiny and the original TAESD files, TAEF2 among them
 *   wan_vae.c            AutoencoderKLWan of Wan 2.1 and 2.2, for clips (and pictures: one frame)
 *   clip.c               coding clips chunk by chunk, whole or in tiles
 *   tile.c               decoding in bands of rows, equal to decoding at once, in less memory
 *   vae.c                configurations, scaling, the object the pipeline uses
 *
 * To add one: a configuration, an encoder and a decoder graph, and the decoder's tail as a list of
 * steps for tile.c. */
#ifndef GEN_VAE_VAE_H
#define GEN_VAE_VAE_H

#include "gen/core/json.h"
#include "gen/core/plan.h"

#define GEN_VAE_MAX_STAGES  8
#define GEN_VAE_MAX_LATENTS 128 /* channels */

typedef enum gen_vae_kind { GEN_VAE_KL, GEN_VAE_TINY, GEN_VAE_WAN } gen_vae_kind;

/* vae/config.json with its defaults filled in. */
typedef struct gen_vae_config {
    gen_vae_kind kind;
    int in_channels, out_channels, latent_channels;
    int num_stages;  /* the factor between pixels and latents is 2^(num_stages - 1) */
    int sample_size; /* of the training pictures, 0: not given */

    /* KL */
    int block_out_channels[GEN_VAE_MAX_STAGES];
    int layers_per_block;
    int norm_num_groups;
    gen_act act_fn;
    bool use_quant_conv, use_post_quant_conv;
    bool mid_block_add_attention;

    /* tiny: residual blocks of each stage, in the order of the layers; widths come with the weights
     */
    int num_encoder_blocks[GEN_VAE_MAX_STAGES];
    int num_decoder_blocks[GEN_VAE_MAX_STAGES];
    double latent_magnitude, latent_shift; /* of latents stored in 8 bits */

    /* Wan: clips; layers_per_block as in KL */
    bool halves_time[GEN_VAE_MAX_STAGES]; /* does stage i of the encoder halve the frames? */
    int patch_size;                       /* pixels of a side that become channels first */
    bool has_shortcuts;                   /* around stages */

    /* latents = (z - shift_factor) scaling_factor, or (z - mean) scaling_factor / std */
    double scaling_factor, shift_factor;
    bool has_latents_mean_std;
    double latents_mean[GEN_VAE_MAX_LATENTS], latents_std[GEN_VAE_MAX_LATENTS];
} gen_vae_config;

/* Reads a configuration of either class (_class_name).  Unknown keys are ignored.
 * Errors: MODEL, naming file and key. */
gen_status gen_vae_config_read(gen_vae_config *out, const gen_json *json, gen_error *err);

/* The configuration of an original TAESD or TAEF2 file pair, read off its tensors, which are in
 * `weights` under the names gen_vae_add_taesd() gives them.  Errors: MODEL. */
gen_status gen_vae_config_from_taesd(gen_vae_config *out, const gen_weights *weights,
                                     gen_error *err);
/* Adds the tensors of an original *_encoder (or *_decoder) file to `into` under the names of
 * AutoencoderTiny; `file` has to live as long.  Errors: MODEL; MEMORY. */
gen_status gen_vae_add_taesd(gen_weights *into, gen_weights *file, bool is_encoder, gen_error *err);

/* "AutoencoderKL", ... */
const char *gen_vae_class_name(const gen_vae_config *cfg);

int64_t gen_vae_factor(const gen_vae_config *cfg);
/* Frames of a clip for each frame of latents after the first; 1 for autoencoders of pictures. */
int64_t gen_vae_time_factor(const gen_vae_config *cfg);
/* The latents of a picture H x W; sizes that are no multiple of the factor are allowed. */
void gen_vae_latent_size(const gen_vae_config *cfg, int64_t H, int64_t W, int64_t *h, int64_t *w);

/* ---- graphs --------------------------------------------------------------------------------- */

/* Records the encoder: input "pixels" [N,H,W,3]; output "moments", [N,h,w,2C] mean and log-variance
 * (KL), or [N,h,w,C] (tiny), neither scaled. */
void gen_vae_record_encoder(gen_graph *g, gen_scope w, const gen_vae_config *cfg, int64_t N,
                            int64_t H, int64_t W);
/* Records the decoder: input "z" [N,h,w,C], not scaled; output "pixels" [N,f h,f w,3]. */
void gen_vae_record_decoder(gen_graph *g, gen_scope w, const gen_vae_config *cfg, int64_t N,
                            int64_t h, int64_t width);

/* ---- on arrays ------------------------------------------------------------------------------ */

/* z = mean + exp(logvar / 2) noise, with logvar cut to [-30,20]; noise NULL: the mean.  moments
 * [n,2C] (tiny: [n,C], copied), noise and z [n,C]. */
void gen_vae_sample(const gen_vae_config *cfg, const float *moments, const float *noise, size_t n,
                    float *z);
/* Latents [n,C] of samplers from those of the network, and back; in place. */
void gen_vae_scale(const gen_vae_config *cfg, float *z, size_t n);
void gen_vae_unscale(const gen_vae_config *cfg, float *latents, size_t n);

/* ---- the object ----------------------------------------------------------------------------- */

typedef struct gen_vae gen_vae;

/* weights and backend are borrowed and have to live as long. */
gen_status gen_vae_new(gen_vae **out, const gen_vae_config *cfg, gen_weights *weights,
                       gen_backend *backend, gen_error *err);
void gen_vae_free(gen_vae *vae);
/* Gives back plans and prepared weights; the next call makes them anew. */
void gen_vae_release(gen_vae *vae);
/* Goes on with another backend, borrowed. */
void gen_vae_use(gen_vae *vae, gen_backend *backend);
const gen_vae_config *gen_vae_get_config(const gen_vae *vae);

/* Pixels [N,H,W,3] to latents [N,h,w,C], one picture at a time; noise [N,h,w,C] as in
 * gen_vae_sample().  Errors: MODEL; MEMORY; DEVICE. */
gen_status gen_vae_encode(gen_vae *vae, const float *pixels, int64_t N, int64_t H, int64_t W,
                          const float *noise, float *latents, gen_error *err);

/* Latents [N,h,w,C] to pixels [N,f h,f w,3], not clamped, one picture at a time.  band_rows > 0:
 * in bands of about that many rows, with the same result to rounding; bands of 64 rows and fewer
 * also compute again what larger ones store (tile.c).  0: at once.
 * Errors: MODEL; MEMORY; DEVICE; INTERNAL when a pixel is not finite. */
gen_status gen_vae_decode(gen_vae *vae, const float *latents, int64_t N, int64_t h, int64_t w,
                          int64_t band_rows, float *pixels, gen_error *err);

/* Makes ready what gen_vae_decode() without bands needs of memory on the device: the plan and its
 * weights.  Errors: MODEL; MEMORY; DEVICE. */
gen_status gen_vae_prepare_decode(gen_vae *vae, int64_t h, int64_t w, gen_error *err);

/* ---- clips ---------------------------------------------------------------------------------- */

/* Frames of a clip one at a time: reads or takes frame `index`, [H,W,3] in [-1,1]. */
typedef struct gen_clip_io {
    void *self;
    gen_status (*frame)(void *self, int64_t index, float *pixels, gen_error *err);
} gen_clip_io;

typedef struct gen_clip_vae gen_clip_vae;

/* For a configuration of kind GEN_VAE_WAN; weights and backend are borrowed.  While a clip is coded
 * the backend runs nothing else. */
gen_status gen_clip_vae_new(gen_clip_vae **out, const gen_vae_config *cfg, gen_weights *weights,
                            gen_backend *backend, gen_error *err);
void gen_clip_vae_free(gen_clip_vae *vae);
/* Gives back plans and prepared weights. */
void gen_clip_vae_release(gen_clip_vae *vae);
/* The same, and goes on with another backend. */
void gen_clip_vae_use(gen_clip_vae *vae, gen_backend *backend);

/* F frames H x W to moments [f,h,w,2C], mean and log-variance, not scaled (gen_vae_sample(),
 * gen_vae_scale()).  F - 1 is a multiple of the time factor, H and W of the factor.  tile > 0: in
 * overlapping tiles of that many latents a side, blended linearly where they overlap by a quarter;
 * every frame is then read once for each tile.  Memory does not depend on F.
 * Errors: of io; ARGUMENT for sizes off the grid; MODEL; MEMORY; DEVICE. */
gen_status gen_clip_vae_encode(gen_clip_vae *vae, int64_t F, int64_t H, int64_t W, int64_t tile,
                               const gen_clip_io *io, float *moments, gen_error *err);
/* z [f,h,w,C], not scaled, to frames in order, cut to [-1,1].  Whole frames: a frame of latents at
 * a time, memory does not depend on f.  In tiles: tile by tile, and the pixels of the whole clip
 * are held.  Errors: of io; MODEL; MEMORY; DEVICE; INTERNAL when a pixel is not finite. */
gen_status gen_clip_vae_decode(gen_clip_vae *vae, const float *z, int64_t f, int64_t h, int64_t w,
                               int64_t tile, const gen_clip_io *io, gen_error *err);

/* Makes ready what decoding latents [f,h,w] needs of memory on the device, as for pictures. */
gen_status gen_clip_vae_prepare_decode(gen_clip_vae *vae, int64_t f, int64_t h, int64_t w,
                                       int64_t tile, gen_error *err);

/* What encoding or decoding one picture takes beside the weights as they are in the file. */
typedef struct gen_vae_needs {
    size_t arena;       /* bytes of the backend's arena */
    size_t scratch;     /* bytes of its working memory */
    size_t host;        /* bytes of whole images kept between bands */
    size_t io;          /* bytes of inputs and results that plans keep on a device */
    size_t weights;     /* bytes of prepared weights */
    size_t transformed; /* the part of them beside the packed original */
    size_t staged;      /* bytes of the file in memory while one of them is prepared */
    double flops;
} gen_vae_needs;

gen_status gen_vae_measure_encode(gen_vae *vae, int64_t H, int64_t W, gen_vae_needs *needs,
                                  gen_error *err);
gen_status gen_vae_measure_decode(gen_vae *vae, int64_t h, int64_t w, int64_t band_rows,
                                  gen_vae_needs *needs, gen_error *err);
/* The same for clips: of latents [f,h,w]. */
gen_status gen_clip_vae_measure(gen_clip_vae *vae, bool is_decoder, int64_t f, int64_t h, int64_t w,
                                int64_t tile, gen_vae_needs *needs, gen_error *err);
/* The largest bands, or 0 for none, with which arena + scratch + host + transformed stay within
 * `limit` bytes (0: no limit), and what they need.  `held` (or NULL) has the arena and scratch that
 * are there already: less is not taken.  Errors: MEMORY when no size fits; *needs are then those of
 * the narrowest bands. */
gen_status gen_vae_choose_bands(gen_vae *vae, int64_t h, int64_t w, const gen_vae_needs *held,
                                size_t limit, int64_t *band_rows, gen_vae_needs *needs,
                                gen_error *err);

#endif
