/* vector_kernels.h - element by element: activations, sums and products, norms.
 *
 * All work on dense rows of n floats.  y may be one of the inputs exactly, never a shifted part of
 * it.  The last lanes of a row are computed like all others, so a row may be cut anywhere without
 * changing a bit. */
#ifndef GEN_CPU_KERNELS_VECTOR_KERNELS_H
#define GEN_CPU_KERNELS_VECTOR_KERNELS_H

#include "gen/cpu/kernels/kernels.h"

struct gen_vector_kernels {
    /* y = act(x) */
    void (*act)(gen_act act, float *y, const float *x, size_t n);
    /* y = a x + b */
    void (*affine)(float *y, const float *x, float a, float b, size_t n);
    /* y = a op b, b a row or one number */
    void (*binary)(gen_binary op, float *y, const float *a, const float *b, size_t n);
    void (*binary_scalar)(gen_binary op, float *y, const float *a, float b, size_t n);
    /* y = x act(gate) */
    void (*glu)(gen_act act, float *y, const float *x, const float *gate, size_t n);

    /* Pairs (x0, x1) become (x0 c - x1 s, x0 s + x1 c) with (c, s) the pairs of angles; n even. */
    void (*rotate)(float *y, const float *x, const float *angles, size_t n);

    /* Of each of n channels over `rows` rows, ld apart, with d = x - first row: sum[c] = sum of d,
     * square[c] = sum of d^2.  Measured from a value of the channel, a large mean costs no digits.
     */
    void (*moments)(float *sum, float *square, const float *x, size_t ld, size_t rows, size_t n);
    /* y[c] = act((x[c] - mean[c]) scale[c] + shift[c]) */
    void (*normalise)(gen_act act, float *y, const float *x, const float *mean, const float *scale,
                      const float *shift, size_t n);

    /* Layer norm and RMS norm of one row; weight and bias may be NULL. */
    void (*layer_norm)(float *y, const float *x, const float *weight, const float *bias, float eps,
                       size_t n);
    void (*rms_norm)(float *y, const float *x, const float *weight, float eps, size_t n);
};

#ifdef GEN_ISA
extern const gen_vector_kernels GEN_KERNEL(vector);
#endif

#endif
