/* noise.c - fresh Gaussian numbers for latents.
 *
 * References draw whole tensors channels first; latents here are channels last.  Drawing first and
 * permuting after keeps every number at the place the reference gives it. */
#include "samplers/samplers.h"

#include <math.h>

#include "gen/core/alloc.h"

gen_status gen_channel_noise_init(gen_channel_noise *noise, gen_rng *rng, int channels, size_t n,
                                  gen_error *err)
{
    *noise = (gen_channel_noise){.rng = rng, .channels = channels, .size = n};
    if (channels < 1 || n % (size_t)channels != 0)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "noise: %zu values in %d channels", n, channels);
    size_t bytes;
    if (!gen_mul_size(n, sizeof *noise->scratch, &bytes) || !(noise->scratch = gen_malloc(bytes)))
        return gen_no_memory(err, "noise", n);
    return GEN_OK;
}

void gen_channel_noise_clear(gen_channel_noise *noise)
{
    gen_free(noise->scratch);
    *noise = (gen_channel_noise){0};
}

static gen_status draw(void *self, float *z, size_t n, gen_error *err)
{
    const gen_channel_noise *noise = self;
    const size_t channels = (size_t)noise->channels, positions = n / channels;
    if (n > noise->size || n % channels != 0)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "noise: %zu values asked, made for %zu", n,
                        noise->size);
    gen_rng_normal(noise->rng, noise->scratch, n);
    for (size_t c = 0; c < channels; c++)
        for (size_t p = 0; p < positions; p++)
            z[p * channels + c] = noise->scratch[c * positions + p];
    return GEN_OK;
}

gen_noise_source gen_channel_noise_source(gen_channel_noise *noise)
{
    return (gen_noise_source){.self = noise, .draw = draw};
}

void gen_noise_slerp(float *noise, const float *other, size_t n, double strength)
{
    double dot = 0, aa = 0, bb = 0;
    for (size_t k = 0; k < n; k++) {
        dot += (double)noise[k] * other[k];
        aa += (double)noise[k] * noise[k];
        bb += (double)other[k] * other[k];
    }
    const double cosine = aa > 0 && bb > 0 ? dot / sqrt(aa * bb) : 1;
    double a = 1 - strength, b = strength;
    if (fabs(cosine) < 0.9995) { /* nearly parallel: the arc is a line */
        const double angle = acos(cosine);
        a = sin((1 - strength) * angle) / sin(angle);
        b = sin(strength * angle) / sin(angle);
    }
    for (size_t k = 0; k < n; k++)
        noise[k] = (float)(a * (double)noise[k] + b * (double)other[k]);
}
