/* simd.h - one vector type, vf, of VF_WIDTH floats, for every instruction set.
 *
 * avx512: 16 floats, avx2: 8, generic: 1, so that a loop written as
 *     for (; i + VF_WIDTH <= n; i += VF_WIDTH) vf_store(y + i, f(vf_load(x + i)));
 *     if (i < n) vf_store_n(y + i, f(vf_load_n(x + i, n - i)), n - i);
 * is a plain loop for the compiler to vectorise in the generic build.  Loads and stores need no
 * alignment.  Only files of this folder include it; everything in it is static. */
#ifndef GEN_CPU_KERNELS_SIMD_H
#define GEN_CPU_KERNELS_SIMD_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "gen/core/dtype.h"

#if defined(GEN_ISA_avx2) || defined(GEN_ISA_avx512)
#include <immintrin.h>
#endif

#if defined(__GNUC__)
#define GEN_INLINE static inline __attribute__((always_inline, unused))
#else
#define GEN_INLINE static inline
#endif

/* Asks for a loop of constant length to be unrolled completely, so that arrays of vectors live in
 * registers. */
#define GEN_PRAGMA(x) _Pragma(#x)
#if defined(GEN_NO_UNROLL)
#define GEN_UNROLL(n)
#elif defined(__clang__)
#define GEN_UNROLL(n) GEN_PRAGMA(unroll n)
#elif defined(__GNUC__)
#define GEN_UNROLL(n) GEN_PRAGMA(GCC unroll n)
#else
#define GEN_UNROLL(n)
#endif

#if defined(GEN_ISA_avx512)

#define VF_WIDTH 16
typedef __m512 vf;

GEN_INLINE __mmask16 vf_mask_(int n)
{
    return (__mmask16)((1u << n) - 1u);
}
GEN_INLINE vf vf_zero(void)
{
    return _mm512_setzero_ps();
}
GEN_INLINE vf vf_set1(float a)
{
    return _mm512_set1_ps(a);
}
GEN_INLINE vf vf_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
GEN_INLINE void vf_store(float *p, vf a)
{
    _mm512_storeu_ps(p, a);
}
GEN_INLINE vf vf_load_n(const float *p, int n)
{
    return _mm512_maskz_loadu_ps(vf_mask_(n), p);
}
GEN_INLINE void vf_store_n(float *p, vf a, int n)
{
    _mm512_mask_storeu_ps(p, vf_mask_(n), a);
}
GEN_INLINE vf vf_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
GEN_INLINE vf vf_load_bf16(const uint16_t *p)
{
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
GEN_INLINE vf vf_load_i8(const int8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
GEN_INLINE vf vf_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}
GEN_INLINE vf vf_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}
GEN_INLINE vf vf_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}
GEN_INLINE vf vf_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}
GEN_INLINE vf vf_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}
GEN_INLINE vf vf_fnma(vf a, vf b, vf c)
{
    return _mm512_fnmadd_ps(a, b, c);
}
GEN_INLINE vf vf_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}
GEN_INLINE vf vf_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}
GEN_INLINE vf vf_sqrt(vf a)
{
    return _mm512_sqrt_ps(a);
}
GEN_INLINE vf vf_abs(vf a)
{
    return _mm512_abs_ps(a);
}
GEN_INLINE vf vf_round(vf a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | 8);
}
GEN_INLINE vf vf_pow2i(vf a)
{
    const __m512i n = _mm512_add_epi32(_mm512_cvtps_epi32(a), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(n, 23));
}
GEN_INLINE vf vf_select_lt(vf a, vf b, vf x, vf y)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
}
GEN_INLINE float vf_hsum(vf a)
{
    return _mm512_reduce_add_ps(a);
}
GEN_INLINE float vf_hmax(vf a)
{
    return _mm512_reduce_max_ps(a);
}

#elif defined(GEN_ISA_avx2)

#define VF_WIDTH 8
typedef __m256 vf;

GEN_INLINE __m256i vf_mask_(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
GEN_INLINE vf vf_zero(void)
{
    return _mm256_setzero_ps();
}
GEN_INLINE vf vf_set1(float a)
{
    return _mm256_set1_ps(a);
}
GEN_INLINE vf vf_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
GEN_INLINE void vf_store(float *p, vf a)
{
    _mm256_storeu_ps(p, a);
}
GEN_INLINE vf vf_load_n(const float *p, int n)
{
    return _mm256_maskload_ps(p, vf_mask_(n));
}
GEN_INLINE void vf_store_n(float *p, vf a, int n)
{
    _mm256_maskstore_ps(p, vf_mask_(n), a);
}
GEN_INLINE vf vf_load_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}
GEN_INLINE vf vf_load_bf16(const uint16_t *p)
{
    const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
GEN_INLINE vf vf_load_i8(const int8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
GEN_INLINE vf vf_add(vf a, vf b)
{
    return _mm256_add_ps(a, b);
}
GEN_INLINE vf vf_sub(vf a, vf b)
{
    return _mm256_sub_ps(a, b);
}
GEN_INLINE vf vf_mul(vf a, vf b)
{
    return _mm256_mul_ps(a, b);
}
GEN_INLINE vf vf_div(vf a, vf b)
{
    return _mm256_div_ps(a, b);
}
GEN_INLINE vf vf_fma(vf a, vf b, vf c)
{
    return _mm256_fmadd_ps(a, b, c);
}
GEN_INLINE vf vf_fnma(vf a, vf b, vf c)
{
    return _mm256_fnmadd_ps(a, b, c);
}
GEN_INLINE vf vf_min(vf a, vf b)
{
    return _mm256_min_ps(a, b);
}
GEN_INLINE vf vf_max(vf a, vf b)
{
    return _mm256_max_ps(a, b);
}
GEN_INLINE vf vf_sqrt(vf a)
{
    return _mm256_sqrt_ps(a);
}
GEN_INLINE vf vf_abs(vf a)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}
GEN_INLINE vf vf_round(vf a)
{
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | 8);
}
GEN_INLINE vf vf_pow2i(vf a)
{
    const __m256i n = _mm256_add_epi32(_mm256_cvtps_epi32(a), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(n, 23));
}
GEN_INLINE vf vf_select_lt(vf a, vf b, vf x, vf y)
{
    return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}
GEN_INLINE float vf_hsum(vf a)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    s = _mm_add_ss(s, _mm_movehdup_ps(s));
    return _mm_cvtss_f32(s);
}
GEN_INLINE float vf_hmax(vf a)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    s = _mm_max_ss(s, _mm_movehdup_ps(s));
    return _mm_cvtss_f32(s);
}

#else

#define VF_WIDTH 1
typedef float vf;

GEN_INLINE vf vf_zero(void)
{
    return 0.0f;
}
GEN_INLINE vf vf_set1(float a)
{
    return a;
}
GEN_INLINE vf vf_load(const float *p)
{
    return *p;
}
GEN_INLINE void vf_store(float *p, vf a)
{
    *p = a;
}
GEN_INLINE vf vf_load_n(const float *p, int n)
{
    return n > 0 ? *p : 0.0f;
}
GEN_INLINE void vf_store_n(float *p, vf a, int n)
{
    if (n > 0)
        *p = a;
}
GEN_INLINE vf vf_load_f16(const uint16_t *p)
{
    return gen_f16_to_f32(*p);
}
GEN_INLINE vf vf_load_bf16(const uint16_t *p)
{
    return gen_bf16_to_f32(*p);
}
GEN_INLINE vf vf_load_i8(const int8_t *p)
{
    return (float)*p;
}
GEN_INLINE vf vf_add(vf a, vf b)
{
    return a + b;
}
GEN_INLINE vf vf_sub(vf a, vf b)
{
    return a - b;
}
GEN_INLINE vf vf_mul(vf a, vf b)
{
    return a * b;
}
GEN_INLINE vf vf_div(vf a, vf b)
{
    return a / b;
}
GEN_INLINE vf vf_fma(vf a, vf b, vf c)
{
    return a * b + c;
}
GEN_INLINE vf vf_fnma(vf a, vf b, vf c)
{
    return c - a * b;
}
GEN_INLINE vf vf_min(vf a, vf b)
{
    return a < b ? a : b;
}
GEN_INLINE vf vf_max(vf a, vf b)
{
    return a > b ? a : b;
}
GEN_INLINE vf vf_sqrt(vf a)
{
    return sqrtf(a);
}
GEN_INLINE vf vf_abs(vf a)
{
    return fabsf(a);
}
/* Adding 1.5 * 2^23 leaves no bits for a fraction: right for |a| < 2^22, and it vectorises. */
GEN_INLINE vf vf_round(vf a)
{
    return (a + 12582912.0f) - 12582912.0f;
}
GEN_INLINE vf vf_pow2i(vf a)
{
    const uint32_t bits = (uint32_t)((int32_t)a + 127) << 23;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}
GEN_INLINE vf vf_select_lt(vf a, vf b, vf x, vf y)
{
    return a < b ? x : y;
}
GEN_INLINE float vf_hsum(vf a)
{
    return a;
}
GEN_INLINE float vf_hmax(vf a)
{
    return a;
}

#endif

/* What the functions above mean:
 *   vf_load_n, vf_store_n   the first n lanes, 0 <= n <= VF_WIDTH; the others are read as zero, and
 *                           memory beyond n is not touched
 *   vf_fma(a, b, c)         a b + c (one rounding where the machine has it); vf_fnma: c - a b
 *   vf_min, vf_max          the second operand when one is NaN
 *   vf_round                to nearest, ties to even
 *   vf_pow2i(a)             2^a for whole a in [-126, 127]
 *   vf_select_lt(a,b,x,y)   a < b ? x : y, lane by lane
 *   vf_hsum, vf_hmax        over the lanes, in a fixed order */

/* VF_WIDTH elements of a float type, from element i on. */
GEN_INLINE vf vf_load_as(const void *p, size_t i, gen_dtype dtype)
{
    if (dtype == GEN_F32)
        return vf_load((const float *)p + i);
    return dtype == GEN_F16 ? vf_load_f16((const uint16_t *)p + i)
                            : vf_load_bf16((const uint16_t *)p + i);
}

#endif
