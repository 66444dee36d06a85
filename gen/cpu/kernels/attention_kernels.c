/* attention_kernels.c - packing and the online softmax. */
#include "gen/cpu/kernels/attention_kernels.h"

#include "gen/cpu/kernels/simd_math.h"

/* Rows of a packed tile, as in gemm_kernels.c. */
#if defined(GEN_ISA_avx512)
enum { MR = 14 };
#elif defined(GEN_ISA_avx2)
enum { MR = 6 };
#else
enum { MR = 4 };
#endif
enum { UNIT = GEN_GEMM_UNIT };

/* Below any score, and finite, so that differences of two maxima are never NaN. */
#define NO_SCORE (-1e30f)

#if defined(GEN_ISA_avx512)
/* 2^x for x <= 0, relative error 8.3e-8, exactly 1 for 0: a polynomial of the fraction of x, scaled
 * by its floor.  Below -126 it is zero: products with denormal numbers are slow. */
GEN_INLINE vf probability(vf x)
{
    const vf f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    vf p = vf_set1(1.8671309818229821e-3f);
    p = vf_fma(p, f, vf_set1(9.01702778005647e-3f));
    p = vf_fma(p, f, vf_set1(5.57999156129702e-2f));
    p = vf_fma(p, f, vf_set1(2.4016444913896537e-1f));
    p = vf_fma(p, f, vf_set1(6.931513119416773e-1f));
    p = vf_fma(p, f, vf_set1(1.0f));
    return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(x, vf_set1(-126.0f), _CMP_NLT_UQ), p, x);
}
#else
/* 2^x for x <= 0, zero below -126. */
GEN_INLINE vf probability(vf x)
{
    return vf_select_lt(x, vf_set1(-126.0f), vf_zero(), vf_exp2(x));
}
#endif

/* ---- transposing ---------------------------------------------------------------------------- */

#if VF_WIDTH > 1
/* 8 x 8 numbers: pairs, pairs of pairs, halves. */
GEN_INLINE void transpose8(float *dst, ptrdiff_t ldd, const float *src, ptrdiff_t lds)
{
    __m256 row[8], pair[8], quad[8];
    GEN_UNROLL(8)
    for (int i = 0; i < 8; i++)
        row[i] = _mm256_loadu_ps(src + i * lds);
    GEN_UNROLL(4)
    for (int i = 0; i < 8; i += 2) {
        pair[i] = _mm256_unpacklo_ps(row[i], row[i + 1]);
        pair[i + 1] = _mm256_unpackhi_ps(row[i], row[i + 1]);
    }
    GEN_UNROLL(2)
    for (int i = 0; i < 8; i += 4) {
        quad[i] = _mm256_shuffle_ps(pair[i], pair[i + 2], _MM_SHUFFLE(1, 0, 1, 0));
        quad[i + 1] = _mm256_shuffle_ps(pair[i], pair[i + 2], _MM_SHUFFLE(3, 2, 3, 2));
        quad[i + 2] = _mm256_shuffle_ps(pair[i + 1], pair[i + 3], _MM_SHUFFLE(1, 0, 1, 0));
        quad[i + 3] = _mm256_shuffle_ps(pair[i + 1], pair[i + 3], _MM_SHUFFLE(3, 2, 3, 2));
    }
    GEN_UNROLL(4)
    for (int i = 0; i < 4; i++) {
        _mm256_storeu_ps(dst + i * ldd, _mm256_permute2f128_ps(quad[i], quad[i + 4], 0x20));
        _mm256_storeu_ps(dst + (i + 4) * ldd, _mm256_permute2f128_ps(quad[i], quad[i + 4], 0x31));
    }
}
#endif

/* dst[c * ldd + r] = src[r * lds + c] */
static void transpose(float *dst, ptrdiff_t ldd, const float *src, ptrdiff_t lds, int rows,
                      int cols)
{
    int r = 0;
#if VF_WIDTH > 1
    for (; r + 8 <= rows; r += 8) {
        int c = 0;
        for (; c + 8 <= cols; c += 8)
            transpose8(dst + c * ldd + r, ldd, src + r * lds + c, lds);
        for (; c < cols; c++)
            for (int i = 0; i < 8; i++)
                dst[c * ldd + r + i] = src[(r + i) * lds + c];
    }
#endif
    for (; r < rows; r++)
        for (int c = 0; c < cols; c++)
            dst[c * ldd + r] = src[r * lds + c];
}

static void pack_queries(float *dst, const float *q, ptrdiff_t ld, int count, int d, int width,
                         float a)
{
    transpose(dst, width, q, ld, count, d);
    for (int i = 0; i < d; i++, dst += width)
        for (int l = 0; l < width; l++)
            dst[l] = l < count ? dst[l] * a : 0.0f;
}

static void pack_values(float *dst, const float *v, ptrdiff_t ld, int count, int rows)
{
    for (int key = 0; key < count; key += UNIT, dst += MR * UNIT)
        transpose(dst, UNIT, v + key * ld, ld, count - key < UNIT ? count - key : UNIT, rows);
}

/* ---- softmax -------------------------------------------------------------------------------- */

static void start(gen_attention_state *state)
{
    for (int i = 0; i < GEN_GEMM_MAX_WIDTH; i++) {
        state->max[i] = NO_SCORE;
        state->sum[i] = 0.0f;
    }
}

#if VF_WIDTH > 1

/* The lanes of one vector. */
GEN_INLINE bool softmax_lanes(float *scores, int num_keys, int width, float *max, float *sum,
                              float *factor)
{
    const vf old = vf_load(max);
    vf now[4] = {old, old, old, old};
    int key = 0;
    for (; key + 4 <= num_keys; key += 4)
        GEN_UNROLL(4)
    for (int i = 0; i < 4; i++)
        now[i] = vf_max(now[i], vf_load(scores + (key + i) * width));
    for (; key < num_keys; key++)
        now[0] = vf_max(now[0], vf_load(scores + key * width));
    now[0] = vf_max(vf_max(now[0], now[1]), vf_max(now[2], now[3]));
    const vf f = probability(vf_sub(old, now[0]));
    vf total = vf_mul(vf_load(sum), f);
    for (key = 0; key < num_keys; key++, scores += width) {
        const vf p = probability(vf_sub(vf_load(scores), now[0]));
        vf_store(scores, p);
        total = vf_add(total, p);
    }
    vf_store(max, now[0]);
    vf_store(sum, total);
    vf_store(factor, f);
    return vf_hmax(vf_sub(now[0], old)) > 0.0f;
}

static bool softmax(float *scores, int num_keys, int width, gen_attention_state *s)
{
    bool grew = false;
    for (int l = 0; l < width; l += VF_WIDTH)
        grew |= softmax_lanes(scores + l, num_keys, width, s->max + l, s->sum + l, s->factor + l);
    return grew;
}

#else

static bool softmax(float *scores, int num_keys, int width, gen_attention_state *s)
{
    float old[GEN_GEMM_MAX_WIDTH];
    bool grew = false;
    memcpy(old, s->max, sizeof old);
    for (int key = 0; key < num_keys; key++)
        for (int l = 0; l < width; l++)
            s->max[l] = vf_max(s->max[l], scores[key * width + l]);
    for (int l = 0; l < width; l++) {
        grew |= s->max[l] > old[l];
        s->factor[l] = probability(old[l] - s->max[l]);
        s->sum[l] *= s->factor[l];
    }
    for (int key = 0; key < num_keys; key++, scores += width)
        for (int l = 0; l < width; l++) {
            scores[l] = probability(scores[l] - s->max[l]);
            s->sum[l] += scores[l];
        }
    return grew;
}

#endif

static void rescale(float *o, int rows, int width, const float *factor)
{
    for (int r = 0; r < rows; r++, o += width)
        for (int l = 0; l < width; l++)
            o[l] *= factor[l];
}

static void finish(float *y, ptrdiff_t ldy, const float *o, int count, int dv, int width,
                   const float *sum)
{
    transpose(y, ldy, o, width, dv, count);
    for (int q = 0; q < count; q++, y += ldy) {
        const float inverse = sum[q] == 0.0f ? 0.0f : 1.0f / sum[q];
        for (int i = 0; i < dv; i++)
            y[i] *= inverse;
    }
}

const gen_attention_kernels GEN_KERNEL(attention) = {
    .start = start,
    .pack_queries = pack_queries,
    .pack_values = pack_values,
    .softmax = softmax,
    .rescale = rescale,
    .finish = finish,
};
