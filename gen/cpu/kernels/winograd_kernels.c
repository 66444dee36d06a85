/* winograd_kernels.c - the transforms, each written once for a line of a tile and applied to its
 * columns and then to its rows. */
#include "gen/cpu/kernels/winograd_kernels.h"

#include "gen/cpu/kernels/simd.h"

#if defined(GEN_ISA_avx512)
enum { MR = 14 };
#elif defined(GEN_ISA_avx2)
enum { MR = 6 };
#else
enum { MR = 4 };
#endif
enum { UNIT = GEN_GEMM_UNIT, MAX_IN = GEN_WINOGRAD_MAX_IN, MAX_OUT = GEN_WINOGRAD_MAX_OUT };

/* The points and their squares. */
#define A4   0.6875f
#define B4   1.375f
#define A4_2 (A4 * A4)
#define B4_2 (B4 * B4)
#define A6   0.5625f
#define B6   1.0f
#define C6   1.875f
#define A6_2 (A6 * A6)
#define B6_2 (B6 * B6)
#define C6_2 (C6 * C6)

/* a x + b */
GEN_INLINE vf axpy(float a, vf x, vf b)
{
    return vf_fma(vf_set1(a), x, b);
}

/* ---- Bt d ----------------------------------------------------------------------------------- */

GEN_INLINE void input_line4(const vf d[6], vf t[6])
{
    const vf e1 = axpy(-B4_2, d[2], d[4]), o1 = vf_mul(vf_set1(A4), axpy(-B4_2, d[1], d[3]));
    const vf e2 = axpy(-A4_2, d[2], d[4]), o2 = vf_mul(vf_set1(B4), axpy(-A4_2, d[1], d[3]));
    t[0] = axpy(A4_2 * B4_2, d[0], axpy(-(A4_2 + B4_2), d[2], d[4]));
    t[1] = vf_add(e1, o1);
    t[2] = vf_sub(e1, o1);
    t[3] = vf_add(e2, o2);
    t[4] = vf_sub(e2, o2);
    t[5] = axpy(A4_2 * B4_2, d[1], axpy(-(A4_2 + B4_2), d[3], d[5]));
}

/* x^4 - (p + q) x^2 + p q for the even or odd elements */
GEN_INLINE vf quartic(float p, float q, vf x0, vf x2, vf x4)
{
    return axpy(p * q, x0, axpy(-(p + q), x2, x4));
}

GEN_INLINE void input_line6(const vf d[8], vf t[8])
{
    const float s1 = A6_2 + B6_2 + C6_2, s3 = A6_2 * B6_2 * C6_2;
    const float s2 = A6_2 * B6_2 + B6_2 * C6_2 + C6_2 * A6_2;
    const vf e1 = quartic(B6_2, C6_2, d[2], d[4], d[6]);
    const vf e2 = quartic(A6_2, C6_2, d[2], d[4], d[6]);
    const vf e3 = quartic(A6_2, B6_2, d[2], d[4], d[6]);
    const vf o1 = vf_mul(vf_set1(A6), quartic(B6_2, C6_2, d[1], d[3], d[5]));
    const vf o2 = vf_mul(vf_set1(B6), quartic(A6_2, C6_2, d[1], d[3], d[5]));
    const vf o3 = vf_mul(vf_set1(C6), quartic(A6_2, B6_2, d[1], d[3], d[5]));
    t[0] = axpy(-s3, d[0], axpy(s2, d[2], axpy(-s1, d[4], d[6])));
    t[1] = vf_add(e1, o1);
    t[2] = vf_sub(e1, o1);
    t[3] = vf_add(e2, o2);
    t[4] = vf_sub(e2, o2);
    t[5] = vf_add(e3, o3);
    t[6] = vf_sub(e3, o3);
    t[7] = axpy(-s3, d[1], axpy(s2, d[3], axpy(-s1, d[5], d[7])));
}

/* ---- G g ------------------------------------------------------------------------------------ */

/* Rows of the points p and -p: (g0 + p^2 g2 +- p g1) / f'(p). */
GEN_INLINE void weight_pair(float p, float slope, const vf g[3], vf *plus, vf *minus)
{
    const vf even = axpy(p * p / slope, g[2], vf_mul(vf_set1(1.0f / slope), g[0]));
    const vf odd = vf_mul(vf_set1(p / slope), g[1]);
    *plus = vf_add(even, odd);
    *minus = vf_sub(even, odd);
}

GEN_INLINE void weight_line4(const vf g[3], vf t[6])
{
    t[0] = vf_mul(vf_set1(1.0f / (A4_2 * B4_2)), g[0]);
    weight_pair(A4, 2.0f * A4_2 * (A4_2 - B4_2), g, &t[1], &t[2]);
    weight_pair(B4, 2.0f * B4_2 * (B4_2 - A4_2), g, &t[3], &t[4]);
    t[5] = g[2];
}

GEN_INLINE void weight_line6(const vf g[3], vf t[8])
{
    t[0] = vf_mul(vf_set1(-1.0f / (A6_2 * B6_2 * C6_2)), g[0]);
    weight_pair(A6, 2.0f * A6_2 * (A6_2 - B6_2) * (A6_2 - C6_2), g, &t[1], &t[2]);
    weight_pair(B6, 2.0f * B6_2 * (B6_2 - A6_2) * (B6_2 - C6_2), g, &t[3], &t[4]);
    weight_pair(C6, 2.0f * C6_2 * (C6_2 - A6_2) * (C6_2 - B6_2), g, &t[5], &t[6]);
    t[7] = g[2];
}

/* ---- At m ----------------------------------------------------------------------------------- */

GEN_INLINE void output_line4(const vf m[6], vf y[4])
{
    const vf s1 = vf_add(m[1], m[2]), r1 = vf_sub(m[1], m[2]);
    const vf s2 = vf_add(m[3], m[4]), r2 = vf_sub(m[3], m[4]);
    y[0] = vf_add(m[0], vf_add(s1, s2));
    y[1] = axpy(A4, r1, vf_mul(vf_set1(B4), r2));
    y[2] = axpy(A4_2, s1, vf_mul(vf_set1(B4_2), s2));
    y[3] = axpy(A4 * A4_2, r1, axpy(B4 * B4_2, r2, m[5]));
}

GEN_INLINE void output_line6(const vf m[8], vf y[6])
{
    const vf s1 = vf_add(m[1], m[2]), r1 = vf_sub(m[1], m[2]);
    const vf s2 = vf_add(m[3], m[4]), r2 = vf_sub(m[3], m[4]);
    const vf s3 = vf_add(m[5], m[6]), r3 = vf_sub(m[5], m[6]);
    y[0] = vf_add(vf_add(m[0], s1), vf_add(s2, s3));
    y[1] = axpy(A6, r1, axpy(B6, r2, vf_mul(vf_set1(C6), r3)));
    y[2] = axpy(A6_2, s1, axpy(B6_2, s2, vf_mul(vf_set1(C6_2), s3)));
    y[3] = axpy(A6 * A6_2, r1, axpy(B6 * B6_2, r2, vf_mul(vf_set1(C6 * C6_2), r3)));
    y[4] = axpy(A6_2 * A6_2, s1, axpy(B6_2 * B6_2, s2, vf_mul(vf_set1(C6_2 * C6_2), s3)));
    y[5] = axpy(A6_2 * A6_2 * A6, r1, axpy(B6_2 * B6_2 * B6, r2, axpy(C6_2 * C6_2 * C6, r3, m[7])));
}

/* ---- tiles ---------------------------------------------------------------------------------- */

GEN_INLINE void input_line(const int in, const vf *d, vf *t)
{
    if (in == 6)
        input_line4(d, t);
    else
        input_line6(d, t);
}

/* Lanes of a vector that belong to one packed unit of eight channels. */
GEN_INLINE void store_channels(float *to, vf v, int count)
{
#if VF_WIDTH == 16
    _mm256_storeu_ps(to, _mm512_castps512_ps256(v));
    if (count > UNIT)
        _mm256_storeu_ps(to + MR * UNIT, _mm512_extractf32x8_ps(v, 1));
#else
    (void)count;
    vf_store(to, v);
#endif
}

GEN_INLINE void input_tile(const int in, float *v, ptrdiff_t stride, const float *const *pixels,
                           int c, int count)
{
    vf half[MAX_IN][MAX_IN];
    for (int x = 0; x < in; x++) { /* columns */
        vf d[MAX_IN], t[MAX_IN];
        GEN_UNROLL(8)
        for (int y = 0; y < in; y++) {
            const float *p = pixels[y * in + x];
            d[y] = !p ? vf_zero() : count == VF_WIDTH ? vf_load(p + c) : vf_load_n(p + c, count);
        }
        input_line(in, d, t);
        GEN_UNROLL(8)
        for (int y = 0; y < in; y++)
            half[y][x] = t[y];
    }
    for (int y = 0; y < in; y++) { /* rows */
        vf t[MAX_IN];
        input_line(in, half[y], t);
        GEN_UNROLL(8)
        for (int x = 0; x < in; x++)
            store_channels(v + (y * in + x) * stride, t[x], count);
    }
}

GEN_INLINE void input_tiles(const int in, float *v, ptrdiff_t stride, const float *const *pixels,
                            int num_tiles, int channels)
{
    for (int c = 0; c < channels; c += VF_WIDTH)
        for (int t = 0; t < num_tiles; t++)
            input_tile(in, v + c / UNIT * MR * UNIT + t * UNIT + c % UNIT, stride,
                       pixels + t * in * in, c, channels - c < VF_WIDTH ? channels - c : VF_WIDTH);
}

GEN_INLINE void weight_tiles(const int in, float *u, ptrdiff_t stride, const void *w,
                             gen_dtype dtype, ptrdiff_t tap_stride, int channels, int width)
{
    for (int c = 0; c < channels; c++)
        for (int j = 0; j < width; j += VF_WIDTH) {
            vf half[MAX_IN][3];
            for (int x = 0; x < 3; x++) {
                vf g[3], t[MAX_IN];
                for (int y = 0; y < 3; y++)
                    g[y] =
                        vf_load_as(w, (size_t)(((y * 3 + x) * tap_stride + c) * width + j), dtype);
                if (in == 6)
                    weight_line4(g, t);
                else
                    weight_line6(g, t);
                GEN_UNROLL(8)
                for (int y = 0; y < in; y++)
                    half[y][x] = t[y];
            }
            for (int y = 0; y < in; y++) {
                vf t[MAX_IN];
                if (in == 6)
                    weight_line4(half[y], t);
                else
                    weight_line6(half[y], t);
                GEN_UNROLL(8)
                for (int x = 0; x < in; x++)
                    vf_store(u + (y * in + x) * stride + c * width + j, t[x]);
            }
        }
}

GEN_INLINE void output_tile(const int in, float *const *y, const float *m, ptrdiff_t stride,
                            int col, int count, const float *bias, const float *const *residual)
{
    const int out = in - 2;
    vf half[MAX_OUT][MAX_IN];
    for (int x = 0; x < in; x++) {
        vf line[MAX_IN], t[MAX_OUT];
        GEN_UNROLL(8)
        for (int i = 0; i < in; i++)
            line[i] = vf_load(m + (i * in + x) * stride + col);
        if (in == 6)
            output_line4(line, t);
        else
            output_line6(line, t);
        GEN_UNROLL(8)
        for (int i = 0; i < out; i++)
            half[i][x] = t[i];
    }
    const vf start = bias ? vf_load_n(bias + col, count) : vf_zero();
    for (int i = 0; i < out; i++) {
        vf t[MAX_OUT];
        if (in == 6)
            output_line4(half[i], t);
        else
            output_line6(half[i], t);
        GEN_UNROLL(8)
        for (int x = 0; x < out; x++) {
            float *to = y[i * out + x];
            vf sum = vf_add(t[x], start);
            if (!to)
                continue;
            if (residual)
                sum = vf_add(sum, vf_load_n(residual[i * out + x] + col, count));
            if (count == VF_WIDTH)
                vf_store(to + col, sum);
            else
                vf_store_n(to + col, sum, count);
        }
    }
}

#define FORM(name, in_side)                                                                        \
    static void input_##name(float *v, ptrdiff_t stride, const float *const *pixels,               \
                             int num_tiles, int channels)                                          \
    {                                                                                              \
        input_tiles(in_side, v, stride, pixels, num_tiles, channels);                              \
    }                                                                                              \
    static void weights_##name(float *u, ptrdiff_t stride, const void *w, gen_dtype dtype,         \
                               ptrdiff_t tap_stride, int channels, int width)                      \
    {                                                                                              \
        weight_tiles(in_side, u, stride, w, dtype, tap_stride, channels, width);                   \
    }                                                                                              \
    static void output_##name(float *const *y, const float *m, ptrdiff_t stride, int cols,         \
                              const float *bias, const float *const *residual)                     \
    {                                                                                              \
        for (int col = 0; col < cols; col += VF_WIDTH)                                             \
            output_tile(in_side, y, m, stride, col, cols - col < VF_WIDTH ? cols - col : VF_WIDTH, \
                        bias, residual);                                                           \
    }

FORM(f4, 6)
FORM(f6, 8)

const gen_winograd_kernels GEN_KERNEL(winograd) = {
    .f4 = {.in = 6, .out = 4, .input = input_f4, .weights = weights_f4, .output = output_f4},
    .f6 = {.in = 8, .out = 6, .input = input_f6, .weights = weights_f6, .output = output_f6},
};
