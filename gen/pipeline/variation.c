/* variation.c - noise between two seeds, and of another size.
 *
 * The conventions are A1111's.  Every column of every channel is one vector, turned from the first
 * noise to the second along the arc between them.  Where the two are nearly parallel, on average
 * over the columns, it mixes linearly, with the weights swapped; kept, so that pictures agree. */
#include <math.h>

#include "gen/pipeline/generate.h"

/* The cosine between two columns whose numbers are `stride` apart. */
static double cosine(const float *a, const float *b, int64_t n, int64_t stride)
{
    double dot = 0, aa = 0, bb = 0;
    for (int64_t i = 0; i < n; i++) {
        const double u = a[i * stride], v = b[i * stride];
        dot += u * v;
        aa += u * u;
        bb += v * v;
    }
    return aa > 0 && bb > 0 ? fmax(-1, fmin(1, dot / sqrt(aa * bb))) : 1;
}

static void mix(float *a, const float *b, int64_t n, int64_t stride, double share_a, double share_b)
{
    for (int64_t i = 0; i < n; i++)
        a[i * stride] = (float)(share_a * a[i * stride] + share_b * b[i * stride]);
}

void gen_noise_vary(float *noise, const float *other, int64_t height, int64_t width,
                    int64_t channels, double strength)
{
    const int64_t stride = width * channels;
    double mean = 0;
    for (int64_t k = 0; k < stride; k++)
        mean += cosine(noise + k, other + k, height, stride) / (double)stride;
    for (int64_t k = 0; k < stride; k++) {
        const double angle = acos(cosine(noise + k, other + k, height, stride));
        if (mean > 0.9995)
            mix(noise + k, other + k, height, stride, strength, 1 - strength);
        else if (sin(angle) > 1e-12)
            mix(noise + k, other + k, height, stride, sin((1 - strength) * angle) / sin(angle),
                sin(strength * angle) / sin(angle));
    }
}

/* ---- the start of a picture -------------------------------------------------------------------
 */

/* The first draw of a seed in a size of its own; owned by the caller. */
static gen_status draw_first(float **out, const gen_sampling *s, uint64_t seed, int64_t height,
                             int64_t width, int channels, gen_error *err)
{
    const size_t n = (size_t)(height * width * channels);
    gen_channel_noise noise = {0};
    gen_rng rng;
    float *z = gen_malloc(n * sizeof *z);
    if (!z)
        return gen_no_memory(err, "noise", n * sizeof *z);
    gen_rng_init(&rng, s->rng, seed);
    rng.cuda_threads = s->cuda_threads;
    gen_status status = gen_channel_noise_init(&noise, &rng, channels, n, err);
    if (!status) {
        const gen_noise_source source = gen_channel_noise_source(&noise);
        status = source.draw(source.self, z, n, err);
    }
    gen_channel_noise_clear(&noise);
    if (status)
        gen_free(z);
    else
        *out = z;
    return status;
}

/* The middle of `from` becomes the middle of `to`, as much as both have. */
static void paste(float *to, int64_t height, int64_t width, const float *from, int64_t own_height,
                  int64_t own_width, int64_t channels)
{
    /* halves are rounded down, whatever their sign */
    const int64_t dy = (height - own_height) >> 1, dx = (width - own_width) >> 1;
    const int64_t h = dy >= 0 ? own_height : own_height + 2 * dy;
    const int64_t w = dx >= 0 ? own_width : own_width + 2 * dx;
    for (int64_t y = 0; y < h; y++)
        for (int64_t k = 0; k < w * channels; k++)
            to[((y + (dy > 0 ? dy : 0)) * width + (dx > 0 ? dx : 0)) * channels + k] =
                from[((y + (dy < 0 ? -dy : 0)) * own_width + (dx < 0 ? -dx : 0)) * channels + k];
}

gen_status gen_noise_start(float *noise, const gen_sampling *s, const gen_generate_params *p,
                           int channels, gen_error *err)
{
    const int factor = (int)(p->height / s->height);
    const bool is_resized = p->seed_resize_width > 0 && p->seed_resize_height > 0;
    const int64_t h = is_resized ? p->seed_resize_height / factor : s->height;
    const int64_t w = is_resized ? p->seed_resize_width / factor : s->width;
    const bool has_own_size = h != s->height || w != s->width;
    float *own = NULL, *other = NULL;
    gen_status status = GEN_OK;
    if (has_own_size && h > 0 && w > 0)
        status = draw_first(&own, s, p->seed, h, w, channels, err);
    if (!status && p->variation_strength > 0)
        status = draw_first(&other, s, p->variation_seed, h, w, channels, err);
    if (!status && other)
        gen_noise_vary(own ? own : noise, other, h, w, channels, p->variation_strength);
    if (own)
        paste(noise, s->height, s->width, own, h, w, channels);
    gen_free(own);
    gen_free(other);
    return status;
}
