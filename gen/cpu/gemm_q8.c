/* gemm_q8.c - packing matrices into 8 bits: blocks of 32 numbers with a scale. */
#include <math.h>

#include "gen/cpu/gemm.h"

enum { LARGEST = 127 };

/* One column of a block: `count` numbers of a row of W, the rest zero.  Numbers too small for their
 * scale to have an inverse are zero, too. */
static void pack_column(float *scale, int8_t *dst, int width, const float *x, int count)
{
    float largest = 0;
    for (int i = 0; i < count; i++)
        largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
    const bool is_zero = largest < 1e-30f;
    const float inverse = is_zero ? 0.0f : (float)LARGEST / largest;
    *scale = is_zero ? 0.0f : largest / (float)LARGEST;
    for (int i = 0; i < GEN_Q8_BLOCK; i++) {
        const float q = i < count ? x[i] * inverse : 0.0f;
        dst[i * width] = (int8_t)(q < 0 ? q - 0.5f : q + 0.5f);
    }
}

void gen_q8_pack_panel(void *dst, const void *w, gen_dtype dtype, int num_rows, int width,
                       int64_t k)
{
    const size_t row = (size_t)k * gen_dtype_size(dtype);
    float x[GEN_Q8_BLOCK];
    for (int64_t first = 0; first < k; first += GEN_Q8_BLOCK) {
        const int count = k - first < GEN_Q8_BLOCK ? (int)(k - first) : GEN_Q8_BLOCK;
        float *scales = (float *)(void *)((char *)dst + gen_q8_size(width, first));
        int8_t *numbers = (int8_t *)(scales + width);
        for (int col = 0; col < width; col++) {
            const char *from =
                (const char *)w + (size_t)col * row + (size_t)first * gen_dtype_size(dtype);
            if (col < num_rows)
                gen_to_f32(x, from, dtype, (size_t)count);
            pack_column(scales + col, numbers + col, width, x, col < num_rows ? count : 0);
        }
    }
}
