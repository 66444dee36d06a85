/* clip.c - keeping denoised values in range: fixed clipping, or dynamic thresholding
 * (Saharia et al. 2022, sec. 2.3): divide by a high quantile of |x0| where it exceeds 1. */
#include "samplers/solver.h"

#include <math.h>
#include <stdlib.h>

static float clamp(float v, float limit)
{
    return v < -limit ? -limit : v > limit ? limit : v;
}

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Linear between the two nearest ranks. */
static double quantile(const float *v, size_t n, double q, float *scratch)
{
    for (size_t k = 0; k < n; k++)
        scratch[k] = (float)fabs(v[k]);
    qsort(scratch, n, sizeof *scratch, ascending);
    const double rank = q * (double)(n - 1), low = floor(rank);
    const size_t i = (size_t)low, j = i + 1 < n ? i + 1 : i;
    return scratch[i] + (rank - low) * ((double)scratch[j] - scratch[i]);
}

bool gen_clip_is_on(const gen_scheduler_config *config)
{
    return config->thresholding || config->clip_sample;
}

void gen_clip_apply(const gen_scheduler_config *config, float *denoised, size_t n, int num_samples,
                    float *scratch)
{
    const size_t size = n / (size_t)num_samples;
    if (!config->thresholding) {
        for (size_t k = 0; k < n; k++)
            denoised[k] = clamp(denoised[k], (float)config->clip_sample_range);
        return;
    }
    for (float *v = denoised; v < denoised + n; v += size) {
        const double q = quantile(v, size, config->dynamic_thresholding_ratio, scratch);
        const float s = (float)fmin(fmax(q, 1), fmax(config->sample_max_value, 1));
        for (size_t k = 0; k < size; k++)
            v[k] = clamp(v[k], s) / s;
    }
}
