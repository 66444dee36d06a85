/* attention_kernels.c - packing and the online softmax. */
#include "gen/cpu/kernels/attention_kernels.h"

#include "gen/cpu/kernels/simd_math.h"

/* Rows of a packed tile, as in gemm_kernels.c; a unit of it is UNIT_VECTORS vectors, which hold
 * VF_WIDTH / 8 rows each (in plain C a vector is one number). */
#if defined(GEN_ISA_avx512)
enum { MR = 14 };
#elif defined(GEN_ISA_avx2)
enum { MR = 6 };
#else
enum { MR = 4 };
#endif
enum { UNIT = GEN_GEMM_UNIT, TILE_UNIT = MR * UNIT };

/* Below any score, and finite, so that differences of two maxima are never NaN. */
#define NO_SCORE (-1e30f)

static void start(gen_attention_state *state)
{
    for (int i = 0; i < TILE_UNIT; i++) {
        state->max[i] = NO_SCORE;
        state->sum[i] = 0.0f;
    }
}

static void pack_keys(float *dst, const float *k, ptrdiff_t ld, int count, int d, int width)
{
    enum { STRETCH = 64 }; /* the part of dst that is written again and again stays near */
    for (int i0 = 0; i0 < d; i0 += STRETCH) {
        const int end = i0 + STRETCH < d ? i0 + STRETCH : d;
        for (int j = 0; j < width; j++)
            for (int i = i0; i < end; i++)
                dst[i * width + j] = j < count ? k[j * ld + i] : 0.0f;
    }
}

static void pack_values(float *dst, const float *v, ptrdiff_t ld, int count, int cols, int width)
{
    for (int j = 0; j < count; j++, dst += width, v += ld) {
        memcpy(dst, v, (size_t)cols * sizeof *dst);
        for (int i = cols; i < width; i++)
            dst[i] = 0.0f;
    }
}

static void scale(float *tile, int num_rows, int units, float a)
{
    for (int u = 0; u < units; u++, tile += TILE_UNIT)
        for (int i = 0; i < num_rows * UNIT; i++)
            tile[i] *= a;
}

#if defined(GEN_ISA_avx512)
/* 2^x for x <= 0, relative error 8.3e-8, exactly 1 for 0: a polynomial of the fraction of x, scaled
 * by its floor. */
GEN_INLINE vf probability(vf x)
{
    const vf f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    vf p = vf_set1(1.8671309818229821e-3f);
    p = vf_fma(p, f, vf_set1(9.01702778005647e-3f));
    p = vf_fma(p, f, vf_set1(5.57999156129702e-2f));
    p = vf_fma(p, f, vf_set1(2.4016444913896537e-1f));
    p = vf_fma(p, f, vf_set1(6.931513119416773e-1f));
    p = vf_fma(p, f, vf_set1(1.0f));
    return _mm512_scalef_ps(p, x);
}
#else
/* 2^x for x <= 0, zero below -126. */
GEN_INLINE vf probability(vf x)
{
    return vf_select_lt(x, vf_set1(-126.0f), vf_zero(), vf_exp2(x));
}
#endif

#if defined(GEN_ISA_avx512)
/* The maximum of the eight lanes of a row, in all of them. */
GEN_INLINE vf spread_max(vf v)
{
    v = vf_max(v, _mm512_shuffle_f32x4(v, v, _MM_SHUFFLE(2, 3, 0, 1)));
    v = vf_max(v, _mm512_permute_ps(v, _MM_SHUFFLE(1, 0, 3, 2)));
    return vf_max(v, _mm512_permute_ps(v, _MM_SHUFFLE(2, 3, 0, 1)));
}
#elif defined(GEN_ISA_avx2)
GEN_INLINE vf spread_max(vf v)
{
    v = vf_max(v, _mm256_permute2f128_ps(v, v, 1));
    v = vf_max(v, _mm256_permute_ps(v, _MM_SHUFFLE(1, 0, 3, 2)));
    return vf_max(v, _mm256_permute_ps(v, _MM_SHUFFLE(2, 3, 0, 1)));
}
#endif

/* The new maxima; true when one grew. */
static bool raise_max(const float *scores, int units, gen_attention_state *state)
{
    bool grew = false;
#if VF_WIDTH > 1
    enum { UNIT_VECTORS = TILE_UNIT / VF_WIDTH };
    vf max[UNIT_VECTORS];
    GEN_UNROLL(8)
    for (int v = 0; v < UNIT_VECTORS; v++)
        max[v] = vf_load(state->max + v * VF_WIDTH);
    for (int u = 0; u < units; u++, scores += TILE_UNIT)
        GEN_UNROLL(8)
    for (int v = 0; v < UNIT_VECTORS; v++)
        max[v] = vf_max(max[v], vf_load(scores + v * VF_WIDTH));
    GEN_UNROLL(8)
    for (int v = 0; v < UNIT_VECTORS; v++) {
        const vf old = vf_load(state->max + v * VF_WIDTH), now = spread_max(max[v]);
        const vf rise = vf_sub(old, now);
        grew |= vf_hmax(vf_sub(now, old)) > 0.0f;
        vf_store(state->max + v * VF_WIDTH, now);
        vf_store(state->factor + v * VF_WIDTH, probability(rise));
    }
#else
    for (int r = 0; r < MR; r++) {
        const float old = state->max[r * UNIT];
        float now = old;
        for (int u = 0; u < units; u++)
            for (int l = 0; l < UNIT; l++)
                now = vf_max(now, scores[u * TILE_UNIT + r * UNIT + l]);
        grew |= now > old;
        for (int l = 0; l < UNIT; l++) {
            state->max[r * UNIT + l] = now;
            state->factor[r * UNIT + l] = probability(old - now);
        }
    }
#endif
    return grew;
}

static bool softmax(float *scores, int num_keys, gen_attention_state *state)
{
    const int units = (num_keys + UNIT - 1) / UNIT, missing = units * UNIT - num_keys;
    if (missing)
        for (int r = 0; r < MR; r++)
            for (int l = UNIT - missing; l < UNIT; l++)
                scores[(units - 1) * TILE_UNIT + r * UNIT + l] = -INFINITY;
    const bool grew = raise_max(scores, units, state);
    for (int i = 0; i < TILE_UNIT; i += VF_WIDTH) {
        const vf max = vf_load(state->max + i);
        vf sum = vf_mul(vf_load(state->sum + i), vf_load(state->factor + i));
        float *s = scores + i;
        for (int u = 0; u < units; u++, s += TILE_UNIT) {
            const vf p = probability(vf_sub(vf_load(s), max));
            vf_store(s, p);
            sum = vf_add(sum, p);
        }
        vf_store(state->sum + i, sum);
    }
    return grew;
}

static void rescale(float *o, ptrdiff_t ld, int num_rows, int cols, const float *factor)
{
    for (int r = 0; r < num_rows; r++, o += ld) {
        const float f = factor[r * UNIT];
        for (int i = 0; i < cols; i++)
            o[i] *= f;
    }
}

static void finish(float *y, ptrdiff_t ldy, const float *o, ptrdiff_t ldo, int num_rows, int cols,
                   const float *sum)
{
    for (int r = 0; r < num_rows; r++, y += ldy, o += ldo) {
        float total = 0.0f;
        for (int l = 0; l < UNIT; l++)
            total += sum[r * UNIT + l];
        const float inverse = total == 0.0f ? 0.0f : 1.0f / total;
        for (int i = 0; i < cols; i++)
            y[i] = o[i] * inverse;
    }
}

const gen_attention_kernels GEN_KERNEL(attention) = {
    .start = start,
    .pack_keys = pack_keys,
    .pack_values = pack_values,
    .scale = scale,
    .softmax = softmax,
    .rescale = rescale,
    .finish = finish,
};
