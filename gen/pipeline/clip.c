/* clip.c - frames to latents and back. */
#include "gen/pipeline/clip.h"

#include <stdio.h>
#include <string.h>

#include "gen/pipeline/generate.h"

void gen_clip_pixels(float *out, const gen_image *image)
{
    const bool is_gray = image->channels < 3;
    for (int y = 0; y < image->height; y++) {
        const unsigned char *row = image->data + (size_t)y * image->stride;
        for (int x = 0; x < image->width; x++)
            for (int c = 0; c < 3; c++)
                *out++ = (float)row[x * image->channels + (is_gray ? 0 : c)] / 127.5f - 1.0f;
    }
}

static gen_status read_frame(void *self, int64_t index, float *pixels, gen_error *err)
{
    const gen_clip_frames *f = self;
    const size_t n = (size_t)f->width * (size_t)f->height * 3;
    if (index >= f->num_given) {
        for (size_t i = 0; i < n; i++)
            pixels[i] = 0;
        return GEN_OK;
    }
    const gen_image *image = f->images[index];
    if (image->width != f->width || image->height != f->height)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "frame %d is %dx%d, expected %dx%d",
                        (int)index + 1, image->width, image->height, f->width, f->height);
    gen_clip_pixels(pixels, image);
    return GEN_OK;
}

/* Positions of the latents of a clip. */
static size_t num_positions(const gen_model *m, const gen_clip_frames *frames)
{
    const gen_vae_config *cfg = gen_vae_get_config(m->vae);
    const int64_t factor = gen_vae_factor(cfg);
    const int64_t f = 1 + (frames->num_frames - 1) / gen_vae_time_factor(cfg);
    return (size_t)(f * (frames->height / factor) * (frames->width / factor));
}

static gen_status encode_once(gen_model *m, const gen_clip_frames *frames, int64_t tile,
                              const gen_clip_io *io, float *moments, gen_error *err)
{
    const size_t channels = 2 * (size_t)gen_vae_get_config(m->vae)->latent_channels;
    GEN_TRY(gen_clip_vae_encode(m->clip_vae, frames->num_frames, frames->height, frames->width,
                                tile, io, moments, err));
    return gen_check_finite(moments, num_positions(m, frames) * channels, "encoder", err);
}

gen_status gen_clip_encode(gen_model *m, const gen_clip_frames *frames, int64_t tile,
                           float *latents, gen_error *err)
{
    gen_clip_frames source = *frames;
    const gen_clip_io io = {&source, read_frame};
    const gen_vae_config *cfg = gen_vae_get_config(m->vae);
    const int64_t C = cfg->latent_channels;
    const size_t n = num_positions(m, frames);
    float *moments = gen_malloc(n * 2 * (size_t)C * sizeof *moments);
    if (!moments)
        return gen_no_memory(err, "frames", n * 2 * (size_t)C * sizeof *moments);
    gen_status status;
    GEN_WITH_RETREAT(status, m, GEN_WORK_OTHER, encode_once(m, frames, tile, &io, moments, err),
                     err);
    if (!status) {
        gen_vae_sample(cfg, moments, NULL, n, latents);
        gen_vae_scale(cfg, latents, n);
    }
    gen_free(moments);
    return status;
}

/* A clip being decoded, and where its frames go. */
typedef struct decoding {
    gen_model *model;
    const float *z;
    int64_t f, h, w;
    gen_frame_fn receive;
    void *user;
    gen_image *image;
    int num_frames, num_given; /* the second: to the receiver */
    bool is_refused;           /* by the receiver */
} decoding;

static gen_status take_frame(void *self, int64_t index, float *pixels, gen_error *err)
{
    decoding *d = self;
    const size_t width = (size_t)d->image->width * 3;
    if (index < d->num_given) /* before the device failed */
        return GEN_OK;
    for (int y = 0; y < d->image->height; y++)
        if (!gen_pixels_to_bytes(d->image->data + (size_t)y * d->image->stride,
                                 pixels + (size_t)y * width, width))
            return gen_fail(err, GEN_ERROR_INTERNAL, "decoder: frame %d: a value is not finite",
                            (int)index);
    const gen_status status = d->receive(d->user, d->image, (int)index, d->num_frames, err);
    d->is_refused = status != GEN_OK;
    d->num_given += !status;
    return status;
}

static gen_status decode_frames(void *self, int64_t tile, gen_error *err)
{
    decoding *d = self;
    const gen_clip_io io = {d, take_frame};
    return gen_clip_vae_decode(d->model->clip_vae, d->z, d->f, d->h, d->w, tile, &io, err);
}

static bool may_try_again(void *self)
{
    return !((const decoding *)self)->is_refused;
}

static void release_decoder(void *self)
{
    gen_clip_vae_release(((const decoding *)self)->model->clip_vae);
}

void gen_clip_name_tiles(char *out, size_t size, int64_t side)
{
    snprintf(out, size, "tiles of %d latents", (int)side);
}

gen_status gen_clip_decode(gen_model *m, const float *latents, int64_t f, int64_t h, int64_t w,
                           int64_t tile, gen_frame_fn receive, void *user, gen_error *err)
{
    const gen_vae_config *cfg = gen_vae_get_config(m->vae);
    const int factor = (int)gen_vae_factor(cfg);
    const size_t positions = (size_t)(f * h * w);
    const size_t count = positions * (size_t)cfg->latent_channels;
    float *z = gen_malloc(count * sizeof *z);
    decoding d = {.model = m,
                  .z = z,
                  .f = f,
                  .h = h,
                  .w = w,
                  .receive = receive,
                  .user = user,
                  .num_frames = (int)(1 + (f - 1) * gen_vae_time_factor(cfg))};
    const gen_pieces tiles = {.self = &d,
                              .call = decode_frames,
                              .may_try_again = may_try_again,
                              .release = release_decoder,
                              .name = gen_clip_name_tiles,
                              .planned = tile,
                              .whole = h > w ? h : w,
                              .narrowest = GEN_NARROWEST_TILE};
    gen_status status = z ? gen_image_new(&d.image, (int)w * factor, (int)h * factor, 3, err)
                          : gen_no_memory(err, "latents", count * sizeof *z);
    if (!status) {
        memcpy(z, latents, count * sizeof *z);
        gen_vae_unscale(cfg, z, positions);
        status = gen_model_retreat_in_pieces(m, &tiles, err);
    }
    gen_image_free(d.image);
    gen_free(z);
    return status;
}
