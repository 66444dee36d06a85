/* gemm_kernels.c - tiles of 14 x 32 (AVX-512), 6 x 16 (AVX2) or 4 x 8 (plain C) sums in registers.
 *
 * AVX-512: 28 sums, 2 vectors of B and the broadcast of A fill 31 of 32 registers; AVX2: 12 + 2 + 1
 * of 16. */
#include "gen/cpu/kernels/gemm_kernels.h"

#include "gen/cpu/kernels/simd_math.h"

enum { UNIT = GEN_GEMM_UNIT };

#if defined(GEN_ISA_avx512)
enum { MR = 14, VECTORS = 2, MAX_K = 512, BLOCK_ROWS = 16 * MR };
#define LANES VF_WIDTH
#elif defined(GEN_ISA_avx2)
enum { MR = 6, VECTORS = 2, MAX_K = 384, BLOCK_ROWS = 64 * MR };
#define LANES VF_WIDTH
#else
enum { MR = 4, VECTORS = 1, MAX_K = 256, BLOCK_ROWS = 32 * MR };
#define LANES 8
#endif

#if VF_WIDTH > 1

/* One tile; rows and nv are constants where this is used, so everything unrolls. */
GEN_INLINE void multiply(const gen_gemm_tile *t, const int rows, const int nv)
{
    vf acc[MR][VECTORS];
    const float *a = t->a, *b = t->b;
    GEN_UNROLL(16)
    for (int r = 0; r < rows; r++) {
        GEN_UNROLL(4)
        for (int j = 0; j < nv; j++) {
            /* to the second level: the first has no room for it yet */
            __builtin_prefetch(t->c + r * t->ldc + j * VF_WIDTH, 1, 2);
            acc[r][j] = t->init ? vf_load(t->init + j * VF_WIDTH) : vf_zero();
        }
    }
    int k = t->k;
    for (; k >= UNIT; k -= UNIT) {
        GEN_UNROLL(8)
        for (int u = 0; u < UNIT; u++) {
            vf bv[VECTORS];
            GEN_UNROLL(4)
            for (int j = 0; j < nv; j++)
                bv[j] = vf_load(b + (u * nv + j) * VF_WIDTH);
            GEN_UNROLL(16)
            for (int r = 0; r < rows; r++) {
                const vf av = vf_set1(a[r * UNIT + u]);
                GEN_UNROLL(4)
                for (int j = 0; j < nv; j++)
                    acc[r][j] = vf_fma(av, bv[j], acc[r][j]);
            }
        }
        a += MR * UNIT;
        b += UNIT * nv * VF_WIDTH;
    }
    GEN_UNROLL(1)
    for (; k > 0; k--, a++, b += nv * VF_WIDTH) {
        GEN_UNROLL(16)
        for (int r = 0; r < rows; r++) {
            const vf av = vf_set1(a[r * UNIT]);
            GEN_UNROLL(4)
            for (int j = 0; j < nv; j++)
                acc[r][j] = vf_fma(av, vf_load(b + j * VF_WIDTH), acc[r][j]);
        }
    }
    GEN_UNROLL(16)
    for (int r = 0; r < rows; r++) {
        GEN_UNROLL(4)
        for (int j = 0; j < nv; j++) {
            vf sum = acc[r][j];
            if (t->add)
                sum = vf_add(sum, vf_load(t->add + r * t->ld_add + j * VF_WIDTH));
            vf_store(t->c + r * t->ldc + j * VF_WIDTH, sum);
        }
    }
}

#else

/* The same in plain C; the compiler makes vectors of the columns. */
GEN_INLINE void multiply(const gen_gemm_tile *t, const int rows, const int nv)
{
    float acc[MR][LANES];
    const float *a = t->a, *b = t->b;
    (void)nv;
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < LANES; j++)
            acc[r][j] = t->init ? t->init[j] : 0.0f;
    for (int k = 0; k < t->k; k++, b += LANES) {
        const float *ak = a + k / UNIT * MR * UNIT + k % UNIT;
        for (int r = 0; r < rows; r++)
            for (int j = 0; j < LANES; j++)
                acc[r][j] += ak[r * UNIT] * b[j];
    }
    for (int r = 0; r < rows; r++) {
        float *c = t->c + r * t->ldc;
        for (int j = 0; j < LANES; j++)
            c[j] = t->add ? acc[r][j] + t->add[r * t->ld_add + j] : acc[r][j];
    }
}

#endif

/* multiply() for every number of rows. */
#define ROWS(n, nv)                                                                                \
    case n:                                                                                        \
        multiply(t, n, nv);                                                                        \
        break;
#if defined(GEN_ISA_avx512)
#define MORE_ROWS(nv)                                                                              \
    ROWS(5, nv)                                                                                    \
    ROWS(6, nv)                                                                                    \
    ROWS(7, nv)                                                                                    \
    ROWS(8, nv)                                                                                    \
    ROWS(9, nv)                                                                                    \
    ROWS(10, nv)                                                                                   \
    ROWS(11, nv)                                                                                   \
    ROWS(12, nv)                                                                                   \
    ROWS(13, nv)                                                                                   \
    ROWS(14, nv)
#elif defined(GEN_ISA_avx2)
#define MORE_ROWS(nv)                                                                              \
    ROWS(5, nv)                                                                                    \
    ROWS(6, nv)
#else
#define MORE_ROWS(nv)
#endif
#define ALL_ROWS(nv)                                                                               \
    ROWS(1, nv)                                                                                    \
    ROWS(2, nv)                                                                                    \
    ROWS(3, nv)                                                                                    \
    ROWS(4, nv)                                                                                    \
    MORE_ROWS(nv)

static void tile1(const gen_gemm_tile *t)
{
    switch (t->rows) {
        ALL_ROWS(1)
    }
}

#if VF_WIDTH > 1
static void tile2(const gen_gemm_tile *t)
{
    switch (t->rows) {
        ALL_ROWS(2)
    }
}
#endif

/* ---- packing W ------------------------------------------------------------------------------ */

#if VF_WIDTH > 1
/* Transposes 8 x 8 numbers of two bytes: element k of row j at rows + j * ld goes to out[k] + j.
 * Rows from num_rows on are zero. */
GEN_INLINE void transpose_halves(char *const *out, const char *rows, size_t ld, int num_rows)
{
    __m128i a[8], b[8];
    for (int j = 0; j < 8; j++)
        a[j] = j < num_rows
                   ? _mm_loadu_si128((const __m128i *)(const void *)(rows + (size_t)j * ld))
                   : _mm_setzero_si128();
    for (int j = 0; j < 4; j++) {
        b[2 * j] = _mm_unpacklo_epi16(a[j], a[j + 4]);
        b[2 * j + 1] = _mm_unpackhi_epi16(a[j], a[j + 4]);
    }
    for (int j = 0; j < 4; j++) {
        a[2 * j] = _mm_unpacklo_epi16(b[j], b[j + 4]);
        a[2 * j + 1] = _mm_unpackhi_epi16(b[j], b[j + 4]);
    }
    for (int j = 0; j < 4; j++) {
        _mm_storeu_si128((__m128i *)(void *)out[2 * j], _mm_unpacklo_epi16(a[j], a[j + 4]));
        _mm_storeu_si128((__m128i *)(void *)out[2 * j + 1], _mm_unpackhi_epi16(a[j], a[j + 4]));
    }
}

/* 8 x 4 numbers of four bytes: 8 k of 4 rows. */
GEN_INLINE void transpose_floats(char *const *out, const char *rows, size_t ld, int num_rows)
{
    for (int k = 0; k < 8; k += 4) {
        __m128 r[4];
        for (int j = 0; j < 4; j++)
            r[j] = j < num_rows ? _mm_loadu_ps((const float *)(const void *)(rows + (size_t)j * ld +
                                                                             (size_t)k * 4))
                                : _mm_setzero_ps();
        _MM_TRANSPOSE4_PS(r[0], r[1], r[2], r[3]);
        for (int j = 0; j < 4; j++)
            _mm_storeu_ps((float *)(void *)out[k + j], r[j]);
    }
}
#endif

static void pack_panel(void *dst, const void *w, size_t size, int num_rows, int width, int64_t ci,
                       int64_t taps)
{
    const int64_t k = ci * taps;
    const size_t ld = (size_t)k * size, row_size = (size_t)width * size;
    const char *from = w;
    int64_t channel = 0, tap = 0;
    for (int64_t i = 0; i < k; i += 8) {
        char *out[8];
        const int count = k - i < 8 ? (int)(k - i) : 8;
        for (int j = 0; j < count; j++) {
            out[j] = (char *)dst + (size_t)(tap * ci + channel) * row_size;
            if (++tap == taps) {
                tap = 0;
                channel++;
            }
        }
        int col = 0;
#if VF_WIDTH > 1
        const int step = size == 2 ? 8 : 4;
        for (; count == 8 && col < width; col += step) {
            const char *rows = from + (size_t)col * ld + (size_t)i * size;
            if (size == 2)
                transpose_halves(out, rows, ld, num_rows - col);
            else
                transpose_floats(out, rows, ld, num_rows - col);
            for (int j = 0; j < 8; j++)
                out[j] += (size_t)step * size;
        }
#endif
        for (; col < width; col++)
            for (int j = 0; j < count; j++) {
                if (col >= num_rows)
                    memset(out[j], 0, size);
                else if (size == 2)
                    memcpy(out[j], from + (size_t)col * ld + (size_t)(i + j) * 2, 2);
                else
                    memcpy(out[j], from + (size_t)col * ld + (size_t)(i + j) * 4, 4);
                out[j] += size;
            }
    }
}

/* ---- the rest ------------------------------------------------------------------------------- */

static void widen(float *dst, const void *src, gen_dtype dtype, size_t n)
{
    size_t i = 0;
    if (dtype == GEN_F32) {
        memcpy(dst, src, n * sizeof *dst);
    } else if (dtype == GEN_F16) {
        for (; i + VF_WIDTH <= n; i += VF_WIDTH)
            vf_store(dst + i, vf_load_f16((const uint16_t *)src + i));
        for (; i < n; i++)
            dst[i] = gen_f16_to_f32(((const uint16_t *)src)[i]);
    } else {
        for (; i + VF_WIDTH <= n; i += VF_WIDTH)
            vf_store(dst + i, vf_load_bf16((const uint16_t *)src + i));
        for (; i < n; i++)
            dst[i] = gen_bf16_to_f32(((const uint16_t *)src)[i]);
    }
}

/* One column of a block.  Numbers too small for their scale to have an inverse are zero. */
static void pack_q8_column(float *scale, int8_t *dst, int width, const float *x)
{
    enum { LARGEST = 127 };
    uint32_t largest_bits = 0; /* magnitudes are in the order of their bits */
    int8_t numbers[GEN_Q8_BLOCK];
    float largest;
    for (int i = 0; i < GEN_Q8_BLOCK; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0x7fffffffu;
        largest_bits = bits > largest_bits ? bits : largest_bits;
    }
    memcpy(&largest, &largest_bits, sizeof largest);
    const bool is_zero = largest < 1e-30f;
    const float inverse = is_zero ? 0.0f : (float)LARGEST / largest;
    *scale = is_zero ? 0.0f : largest / (float)LARGEST;
    for (int i = 0; i < GEN_Q8_BLOCK; i++) {
        const float q = x[i] * inverse;
        numbers[i] = (int8_t)(int32_t)(q + (q < 0 ? -0.5f : 0.5f));
    }
    for (int i = 0; i < GEN_Q8_BLOCK; i++)
        dst[i * width] = numbers[i];
}

static void pack_q8(void *dst, const void *w, gen_dtype dtype, int num_rows, int width, int64_t k)
{
    const size_t size = gen_dtype_size(dtype), row = (size_t)k * size;
    float x[GEN_Q8_BLOCK], stored[GEN_Q8_BLOCK];
    for (int64_t first = 0; first < k; first += GEN_Q8_BLOCK) {
        const size_t count = (size_t)(k - first < GEN_Q8_BLOCK ? k - first : GEN_Q8_BLOCK);
        float *scales = (float *)(void *)((char *)dst + gen_q8_size(width, first));
        int8_t *numbers = (int8_t *)(scales + width);
        for (int col = 0; col < width; col++) {
            const char *from = (const char *)w + (size_t)col * row + (size_t)first * size;
            if (col >= num_rows || count < GEN_Q8_BLOCK)
                memset(x, 0, sizeof x);
            if (col < num_rows) {
                memcpy(stored, from, count * size);
                widen(x, stored, dtype, count);
            }
            pack_q8_column(scales + col, numbers + col, width, x);
        }
    }
}

static void widen_q8(float *dst, const void *src, int width, int k)
{
    const char *block = src;
    for (int first = 0; first < k; first += GEN_Q8_BLOCK) {
        const float *scales = (const float *)(const void *)block;
        const int8_t *from = (const int8_t *)(block + (size_t)width * sizeof *scales);
        const int rows = k - first < GEN_Q8_BLOCK ? k - first : GEN_Q8_BLOCK;
        for (int r = 0; r < rows; r++, dst += width, from += width)
            for (int i = 0; i < width; i += VF_WIDTH)
                vf_store(dst + i, vf_mul(vf_load_i8(from + i), vf_load(scales + i)));
        block += (size_t)width * (GEN_Q8_BLOCK + sizeof *scales);
    }
}

static void pack_tile(float *dst, const float *const *rows, int num_rows, int k)
{
    const int whole = k / UNIT, rest = k % UNIT;
    for (int r = 0; r < num_rows; r++) {
        const float *from = rows[r];
        float *to = dst + r * UNIT;
        if (!from) {
            for (int u = 0; u < whole + (rest > 0); u++, to += MR * UNIT)
                memset(to, 0, UNIT * sizeof *to);
            continue;
        }
        for (int u = 0; u < whole; u++, to += MR * UNIT, from += UNIT)
            memcpy(to, from, UNIT * sizeof *to);
        if (rest) {
            memset(to, 0, UNIT * sizeof *to);
            memcpy(to, from, (size_t)rest * sizeof *to);
        }
    }
}

GEN_INLINE void activate_as(gen_act act, float *c, ptrdiff_t ldc, int rows, int cols)
{
    for (int r = 0; r < rows; r++, c += ldc) {
        int j = 0;
        for (; j + VF_WIDTH <= cols; j += VF_WIDTH)
            vf_store(c + j, vf_act(act, vf_load(c + j)));
        if (j < cols)
            vf_store_n(c + j, vf_act(act, vf_load_n(c + j, cols - j)), cols - j);
    }
}

static void activate(gen_act act, float *c, ptrdiff_t ldc, int rows, int cols)
{
#define ACT(a)                                                                                     \
    case a:                                                                                        \
        activate_as(a, c, ldc, rows, cols);                                                        \
        break;
    switch (act) {
        ACT(GEN_ACT_SILU)
        ACT(GEN_ACT_GELU)
        ACT(GEN_ACT_GELU_TANH)
        ACT(GEN_ACT_QUICK_GELU)
        ACT(GEN_ACT_RELU)
        ACT(GEN_ACT_TANH)
        ACT(GEN_ACT_SIGMOID)
        ACT(GEN_ACT_EXP)
    default:
        break;
    }
#undef ACT
}

const gen_gemm_kernels GEN_KERNEL(gemm) = {
    .mr = MR,
    .vector = LANES,
    .vectors = VECTORS,
    .max_k = MAX_K,
    .block_rows = BLOCK_ROWS,
#if VF_WIDTH > 1
    .tile = {NULL, tile1, tile2},
#else
    .tile = {NULL, tile1, NULL},
#endif
    .pack_panel = pack_panel,
    .widen = widen,
    .pack_q8 = pack_q8,
    .widen_q8 = widen_q8,
    .pack_tile = pack_tile,
    .activate = activate,
};
