/* windows.c - long videos, denoised in overlapping windows of frames (EchoMimicV3, Meng et al.
 * 2025).
 *
 * All windows take one step before any takes the next, and are merged in between.  Noise is drawn
 * for all frames at once, so windows agree on it. */
#include "samplers/samplers.h"

#include <string.h>

#include "gen/core/alloc.h"

int gen_windows_count(const gen_windows *w)
{
    const int stride = w->window - w->overlap;
    return w->num_frames <= w->window ? 1 : 1 + (w->num_frames - w->window + stride - 1) / stride;
}

void gen_windows_at(const gen_windows *w, int k, int *first, int *num)
{
    *first = k * (w->window - w->overlap);
    *num = w->num_frames - *first < w->window ? w->num_frames - *first : w->window;
}

/* The share of the new window in frame i of an overlap: 0 in the first, 1 in the last. */
static double fade(int i, int overlap)
{
    return overlap > 1 ? (double)i / (overlap - 1) : 0;
}

void gen_windows_reuse_noise(const gen_windows *w, gen_rng *rng, float *noise)
{
    const int stride = w->window - w->overlap;
    for (int first = w->window; first < w->num_frames; first += stride) {
        const int num = w->num_frames - first < stride ? w->num_frames - first : stride;
        float *to = noise + (size_t)first * w->frame_size;
        memcpy(to, noise + (size_t)(first - w->window) * w->frame_size,
               (size_t)num * w->frame_size * sizeof *to);
        for (int i = num - 1; i > 0; i--) {
            int64_t k;
            gen_rng_integers(rng, 0, i + 1, &k, 1);
            for (size_t j = 0; j < w->frame_size; j++) {
                const float kept = to[(size_t)i * w->frame_size + j];
                to[(size_t)i * w->frame_size + j] = to[(size_t)k * w->frame_size + j];
                to[(size_t)k * w->frame_size + j] = kept;
            }
        }
    }
}

void gen_windows_pyramid(int window, double *weights)
{
    for (int i = 0; i < window; i++)
        weights[i] = 1 + (i < window - 1 - i ? i : window - 1 - i);
}

typedef struct windows {
    gen_denoiser base;
    gen_windows params;
    const gen_denoiser *inner, *tail;
    float *answer; /* [window][frame_size] */
} windows;

static gen_status windows_denoise(void *self, const float *x, const gen_point *at, float *out,
                                  gen_error *err)
{
    const windows *w = self;
    const size_t size = w->params.frame_size;
    for (int k = 0; k < gen_windows_count(&w->params); k++) {
        int first, num;
        gen_windows_at(&w->params, k, &first, &num);
        const gen_denoiser *d = num < w->params.window ? w->tail : w->inner;
        gen_point own = *at;
        own.first_frame = first;
        GEN_TRY(d->denoise(d->self, x + (size_t)first * size, &own, w->answer, err));
        const int faded = k > 0 && at->step > 0 ? w->params.overlap : 0;
        for (int i = 0; i < num; i++) {
            const float *from = w->answer + (size_t)i * size;
            float *to = out + (size_t)(first + i) * size;
            const double share = i < faded ? fade(i, faded) : 1;
            for (size_t j = 0; j < size; j++)
                to[j] = share < 1 ? (float)(share * from[j] + (1 - share) * to[j]) : from[j];
        }
    }
    return GEN_OK;
}

static void windows_free(gen_denoiser *denoiser)
{
    windows *w = (windows *)denoiser;
    gen_free(w->answer);
    gen_free(w);
}

static gen_status check(const gen_windows *p, const gen_denoiser *inner, const gen_denoiser *tail,
                        gen_error *err)
{
    int first, num;
    if (p->num_frames < 1 || p->window < 1 || p->overlap < 0 || p->overlap >= p->window ||
        p->frame_size == 0)
        return gen_fail(err, GEN_ERROR_ARGUMENT,
                        "windows of %d frames that overlap by %d, over %d frames of %zu values",
                        p->window, p->overlap, p->num_frames, p->frame_size);
    gen_windows_at(p, gen_windows_count(p) - 1, &first, &num);
    const bool has_whole = p->num_frames >= p->window, has_tail = num < p->window;
    if ((has_whole && (!inner || inner->n != (size_t)p->window * p->frame_size)) ||
        (has_tail && (!tail || tail->n != (size_t)num * p->frame_size)))
        return gen_fail(err, GEN_ERROR_ARGUMENT,
                        "windows: expected denoisers of %d frames, and of %d for the last window",
                        p->window, num);
    return GEN_OK;
}

gen_status gen_windows_new(gen_denoiser **out, const gen_denoiser *inner, const gen_denoiser *tail,
                           const gen_windows *params, gen_error *err)
{
    GEN_TRY(check(params, inner, tail, err));
    windows *w = gen_calloc(1, sizeof *w);
    float *answer = gen_calloc((size_t)params->window * params->frame_size, sizeof *answer);
    if (!w || !answer) {
        gen_free(w);
        gen_free(answer);
        return gen_no_memory(err, "windows", (size_t)params->window * params->frame_size);
    }
    *w = (windows){.base = {.n = (size_t)params->num_frames * params->frame_size,
                            .denoise = windows_denoise,
                            .free = windows_free},
                   .params = *params,
                   .inner = inner,
                   .tail = tail,
                   .answer = answer};
    w->base.self = w;
    *out = &w->base;
    return GEN_OK;
}

void gen_windows_crossfade(float *next, const float *previous, int overlap, size_t frame_size)
{
    for (int i = 0; i < overlap; i++) {
        const double share = 1 - (i + 1.0) / (overlap + 1); /* both ends of the line are left out */
        for (size_t j = 0; j < frame_size; j++) {
            float *value = &next[(size_t)i * frame_size + j];
            *value = (float)(share * previous[(size_t)i * frame_size + j] + (1 - share) * *value);
        }
    }
}
