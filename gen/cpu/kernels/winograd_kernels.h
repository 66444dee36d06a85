/* winograd_kernels.h - the three transforms of Winograd's convolution with a 3x3 kernel
 * (Winograd 1980; Lavin & Gray 2016):
 *
 *     Y = At [ (G g Gt) o (Bt d B) ] A
 *
 * F(4x4) turns 6x6 inputs into 4x4 outputs, F(6x6) 8x8 into 6x6.  The matrices are those of
 * Toom-Cook for the points 0, +-11/16, +-11/8, infinity and 0, +-9/16, +-1, +-15/8, infinity, which
 * lose less than the usual whole numbers (cpu.md 3.2): with f(x) the product of (x - p) over the
 * finite points p, row p of Bt holds the coefficients of f(x) / (x - p), row p of G is
 * (1, p, p^2) / f'(p), row i of At is p^i; at infinity Bt has f itself, G and At pick the last
 * element.  Opposite points share their even and odd parts. */
#ifndef GEN_CPU_KERNELS_WINOGRAD_KERNELS_H
#define GEN_CPU_KERNELS_WINOGRAD_KERNELS_H

#include "gen/cpu/kernels/gemm_kernels.h"

enum { GEN_WINOGRAD_MAX_IN = 8, GEN_WINOGRAD_MAX_OUT = 6 };

typedef struct gen_winograd_form {
    int in, out; /* sides of a tile */

    /* Inputs of num_tiles (<= mr) tiles: pixels[tile * in * in + i] points to `channels` floats (a
     * multiple of 8), or is NULL: zeros.  Element xi of tile t goes to row t of the packed tile
     * (gemm_kernels.h) at v + xi * stride. */
    void (*input)(float *v, ptrdiff_t stride, const float *const *pixels, int num_tiles,
                  int channels);
    /* Kernels from packed weights: tap t of channel c is at w + (t * tap_stride + c) * width,
     * `width` outputs of type dtype.  Element xi goes to u + xi * stride as [channels][width]. */
    void (*weights)(float *u, ptrdiff_t stride, const void *w, gen_dtype dtype,
                    ptrdiff_t tap_stride, int channels, int width);
    /* One tile of sums, element xi of `cols` outputs at m + xi * stride: y[i] (out * out pointers,
     * NULL: outside) = sums + bias + residual[i]; bias and residual may be NULL. */
    void (*output)(float *const *y, const float *m, ptrdiff_t stride, int cols, const float *bias,
                   const float *const *residual);
} gen_winograd_form;

struct gen_winograd_kernels {
    gen_winograd_form f4, f6;
};

#ifdef GEN_ISA
extern const gen_winograd_kernels GEN_KERNEL(winograd);
#endif

#endif
