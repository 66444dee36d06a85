/* simd_math.h - exp, the activations and their relatives on vectors (simd.h).
 *
 * Polynomials are least-maximum fits made for these functions; the errors given were computed in
 * double, f32 rounding (about 1e-7) comes on top.  NaN in gives NaN out. */
#ifndef GEN_CPU_KERNELS_SIMD_MATH_H
#define GEN_CPU_KERNELS_SIMD_MATH_H

#include "gen/core/graph.h"
#include "gen/cpu/kernels/simd.h"

/* 2^f for |f| <= 1/2, relative error 1.9e-9. */
GEN_INLINE vf vf_exp2_fraction(vf f)
{
    vf p = vf_set1(1.5345807504897185e-4f);
    p = vf_fma(p, f, vf_set1(1.3399931183090208e-3f));
    p = vf_fma(p, f, vf_set1(9.618488973844541e-3f));
    p = vf_fma(p, f, vf_set1(5.55032877707769e-2f));
    p = vf_fma(p, f, vf_set1(2.402264689078948e-1f));
    p = vf_fma(p, f, vf_set1(6.931472057371978e-1f));
    return vf_fma(p, f, vf_set1(1.0f));
}

/* 2^x, relative error 7.5e-8; below -126 it is 2^-126, above 127.49 it is 2^127.49. */
GEN_INLINE vf vf_exp2(vf x)
{
    x = vf_max(vf_set1(-126.0f), vf_min(vf_set1(127.49f), x));
    const vf n = vf_round(x), f = vf_sub(x, n);
    vf p = vf_set1(1.327640979741208e-3f);
    p = vf_fma(p, f, vf_set1(9.675540836637988e-3f));
    p = vf_fma(p, f, vf_set1(5.55071346587751e-2f));
    p = vf_fma(p, f, vf_set1(2.402211973623321e-1f));
    p = vf_fma(p, f, vf_set1(6.931469669469884e-1f));
    p = vf_fma(p, f, vf_set1(1.0f));
    return vf_mul(p, vf_pow2i(n));
}

/* e^x to 2 units in the last place; arguments are clamped to [-87.33, 88.37]. */
GEN_INLINE vf vf_exp(vf x)
{
    x = vf_max(vf_set1(-87.33f), vf_min(vf_set1(88.37f), x));
    const vf n = vf_round(vf_mul(x, vf_set1(1.4426950408889634f)));
    /* x log2(e) - n with log2(e) in two parts, so that large x keep their fraction */
    vf f = vf_fnma(n, vf_set1(0.693145751953125f), x);
    f = vf_fnma(n, vf_set1(1.42860682030941723e-6f), f);
    f = vf_mul(f, vf_set1(1.4426950408889634f));
    return vf_mul(vf_exp2_fraction(f), vf_pow2i(n));
}

/* e^x over the whole range: infinity above 88.73, denormals and zero far below. */
GEN_INLINE vf vf_exp_wide(vf x)
{
    const vf half = vf_exp(vf_mul(x, vf_set1(0.5f)));
    return vf_select_lt(vf_abs(x), vf_set1(87.0f), vf_exp(x), vf_mul(half, half));
}

GEN_INLINE vf vf_sigmoid(vf x)
{
    return vf_div(vf_set1(1.0f), vf_add(vf_set1(1.0f), vf_exp(vf_sub(vf_zero(), x))));
}

GEN_INLINE vf vf_silu(vf x)
{
    return vf_div(x, vf_add(vf_set1(1.0f), vf_exp(vf_sub(vf_zero(), x))));
}

/* x Phi(x) = max(x, 0) - |x| Phi(-|x|), and log2 Phi(-t) is a polynomial in t: absolute error
 * 8.4e-9, and the tails keep their relative accuracy. */
GEN_INLINE vf vf_gelu(vf x)
{
    const vf t = vf_abs(x);
    vf r = vf_set1(-1.8289148891931975e-6f);
    r = vf_fma(r, t, vf_set1(2.701664315883405e-5f));
    r = vf_fma(r, t, vf_set1(-1.2543749823196913e-4f));
    r = vf_fma(r, t, vf_set1(-2.905717197888735e-4f));
    r = vf_fma(r, t, vf_set1(7.277798146927963e-3f));
    r = vf_fma(r, t, vf_set1(-5.266027738972835e-2f));
    r = vf_fma(r, t, vf_set1(-4.5914396028339494e-1f));
    r = vf_fma(r, t, vf_set1(-1.1511160053280936f));
    r = vf_fma(r, t, vf_set1(-0.999999514618813f));
    return vf_fnma(t, vf_exp2(r), vf_max(vf_zero(), x));
}

/* x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3)), the same as x/2 (1 + tanh(...)) */
GEN_INLINE vf vf_gelu_tanh(vf x)
{
    const vf inner = vf_fma(vf_mul(x, x), vf_set1(0.044715f), vf_set1(1.0f));
    const vf u = vf_mul(vf_mul(x, inner), vf_set1(-1.5957691216057308f));
    return vf_div(x, vf_add(vf_set1(1.0f), vf_exp(u)));
}

GEN_INLINE vf vf_quick_gelu(vf x)
{
    return vf_div(x, vf_add(vf_set1(1.0f), vf_exp(vf_mul(x, vf_set1(-1.702f)))));
}

/* Below 1/4 the odd Taylor polynomial (error 1e-9 relative), above it (1 - e^-2x) / (1 + e^-2x). */
GEN_INLINE vf vf_tanh(vf x)
{
    const vf t = vf_abs(x), e = vf_exp(vf_mul(t, vf_set1(-2.0f)));
    const vf large = vf_div(vf_sub(vf_set1(1.0f), e), vf_add(vf_set1(1.0f), e));
    const vf x2 = vf_mul(x, x);
    vf p = vf_set1(-1382.0f / 155925.0f);
    p = vf_fma(p, x2, vf_set1(62.0f / 2835.0f));
    p = vf_fma(p, x2, vf_set1(-17.0f / 315.0f));
    p = vf_fma(p, x2, vf_set1(2.0f / 15.0f));
    p = vf_fma(p, x2, vf_set1(-1.0f / 3.0f));
    const vf small = vf_fma(vf_mul(p, x2), x, x);
    const vf signed_large = vf_select_lt(x, vf_zero(), vf_sub(vf_zero(), large), large);
    return vf_select_lt(t, vf_set1(0.25f), small, signed_large);
}

/* act is a constant wherever this is called, so the switch costs nothing. */
GEN_INLINE vf vf_act(gen_act act, vf x)
{
    switch (act) {
    case GEN_ACT_SILU:
        return vf_silu(x);
    case GEN_ACT_GELU:
        return vf_gelu(x);
    case GEN_ACT_GELU_TANH:
        return vf_gelu_tanh(x);
    case GEN_ACT_QUICK_GELU:
        return vf_quick_gelu(x);
    case GEN_ACT_RELU:
        return vf_max(vf_zero(), x);
    case GEN_ACT_TANH:
        return vf_tanh(x);
    case GEN_ACT_SIGMOID:
        return vf_sigmoid(x);
    case GEN_ACT_EXP:
        return vf_exp_wide(x);
    default:
        return x;
    }
}

#endif
