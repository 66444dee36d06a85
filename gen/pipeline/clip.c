/* clip.c - frames to latents and back. */
#include "gen/pipeline/clip.h"

#include <math.h>
#include <string.h>

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

gen_status gen_clip_encode(gen_model *m, const gen_clip_frames *frames, int64_t tile,
                           float *latents, gen_error *err)
{
    gen_clip_frames source = *frames;
    const gen_clip_io io = {&source, read_frame};
    const gen_vae_config *cfg = gen_vae_get_config(m->vae);
    const int64_t factor = gen_vae_factor(cfg), C = cfg->latent_channels;
    const int64_t f = 1 + (frames->num_frames - 1) / gen_vae_time_factor(cfg);
    const size_t n = (size_t)(f * (frames->height / factor) * (frames->width / factor));
    float *moments = gen_malloc(n * 2 * (size_t)C * sizeof *moments);
    if (!moments)
        return gen_no_memory(err, "frames", n * 2 * (size_t)C * sizeof *moments);
    const gen_status status = gen_clip_vae_encode(m->clip_vae, frames->num_frames, frames->height,
                                                  frames->width, tile, &io, moments, err);
    if (!status) {
        gen_vae_sample(cfg, moments, NULL, n, latents);
        gen_vae_scale(cfg, latents, n);
    }
    gen_free(moments);
    return status;
}

/* Where decoded frames go. */
typedef struct receiver {
    gen_frame_fn receive;
    void *user;
    gen_image *image;
    int num_frames;
} receiver;

static gen_status take_frame(void *self, int64_t index, float *pixels, gen_error *err)
{
    const receiver *r = self;
    const int bytes = r->image->width * 3;
    for (int y = 0; y < r->image->height; y++)
        for (int i = 0; i < bytes; i++)
            r->image->data[(size_t)y * r->image->stride + (size_t)i] = (unsigned char)lrintf(
                pixels[(size_t)y * (size_t)bytes + (size_t)i] * 127.5f + 127.5f);
    return r->receive(r->user, r->image, (int)index, r->num_frames, err);
}

gen_status gen_clip_decode(gen_model *m, const float *latents, int64_t f, int64_t h, int64_t w,
                           int64_t tile, gen_frame_fn receive, void *user, gen_error *err)
{
    const gen_vae_config *cfg = gen_vae_get_config(m->vae);
    const int factor = (int)gen_vae_factor(cfg);
    const size_t positions = (size_t)(f * h * w);
    const size_t count = positions * (size_t)cfg->latent_channels;
    receiver r = {.receive = receive,
                  .user = user,
                  .num_frames = (int)(1 + (f - 1) * gen_vae_time_factor(cfg))};
    const gen_clip_io io = {&r, take_frame};
    float *z = gen_malloc(count * sizeof *z);
    gen_status status = z ? gen_image_new(&r.image, (int)w * factor, (int)h * factor, 3, err)
                          : gen_no_memory(err, "latents", count * sizeof *z);
    if (!status) {
        memcpy(z, latents, count * sizeof *z);
        gen_vae_unscale(cfg, z, positions);
        status = gen_clip_vae_decode(m->clip_vae, z, f, h, w, tile, &io, err);
    }
    gen_image_free(r.image);
    gen_free(z);
    return status;
}
