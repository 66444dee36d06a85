/* variation.c - noise between two seeds.
 *
 * The convention is A1111's: every column of every channel is one vector, turned from the first
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
