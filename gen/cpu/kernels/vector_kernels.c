/* vector_kernels.c - see vector_kernels.h. */
#include "gen/cpu/kernels/vector_kernels.h"

#include "gen/cpu/kernels/simd_math.h"

/* Runs `body` for i = 0, VF_WIDTH, ... with LOAD(p) and STORE(p, v) for the lanes from i on: first
 * all full vectors, then the rest of the row with the same body. */
#define FOR_EACH_VECTOR(n, body)                                                                   \
    do {                                                                                           \
        size_t i = 0;                                                                              \
        for (; i + VF_WIDTH <= (n); i += VF_WIDTH) {                                               \
            enum { LANES = VF_WIDTH, IS_FULL = 1 };                                                \
            body                                                                                   \
        }                                                                                          \
        if (VF_WIDTH > 1 && i < (n)) {                                                             \
            enum { IS_FULL = 0 };                                                                  \
            const int LANES = (int)((n)-i);                                                        \
            body                                                                                   \
        }                                                                                          \
    } while (0)
#define LOAD(p) (IS_FULL ? vf_load((p) + i) : vf_load_n((p) + i, LANES))
#define STORE(p, v)                                                                                \
    do {                                                                                           \
        if (IS_FULL)                                                                               \
            vf_store((p) + i, (v));                                                                \
        else                                                                                       \
            vf_store_n((p) + i, (v), LANES);                                                       \
    } while (0)

/* Calls loop(ACT, ...) with the activation as a constant, so that each gets a loop of its own. */
#define WITH_CONSTANT_ACT(act, loop, ...)                                                          \
    switch (act) {                                                                                 \
    case GEN_ACT_SILU:                                                                             \
        loop(GEN_ACT_SILU, __VA_ARGS__);                                                           \
        break;                                                                                     \
    case GEN_ACT_GELU:                                                                             \
        loop(GEN_ACT_GELU, __VA_ARGS__);                                                           \
        break;                                                                                     \
    case GEN_ACT_GELU_TANH:                                                                        \
        loop(GEN_ACT_GELU_TANH, __VA_ARGS__);                                                      \
        break;                                                                                     \
    case GEN_ACT_QUICK_GELU:                                                                       \
        loop(GEN_ACT_QUICK_GELU, __VA_ARGS__);                                                     \
        break;                                                                                     \
    case GEN_ACT_RELU:                                                                             \
        loop(GEN_ACT_RELU, __VA_ARGS__);                                                           \
        break;                                                                                     \
    case GEN_ACT_TANH:                                                                             \
        loop(GEN_ACT_TANH, __VA_ARGS__);                                                           \
        break;                                                                                     \
    case GEN_ACT_SIGMOID:                                                                          \
        loop(GEN_ACT_SIGMOID, __VA_ARGS__);                                                        \
        break;                                                                                     \
    case GEN_ACT_EXP:                                                                              \
        loop(GEN_ACT_EXP, __VA_ARGS__);                                                            \
        break;                                                                                     \
    default:                                                                                       \
        loop(GEN_ACT_NONE, __VA_ARGS__);                                                           \
        break;                                                                                     \
    }

/* ---- elementwise ---- */

GEN_INLINE void act_loop(gen_act act, float *y, const float *x, size_t n)
{
    FOR_EACH_VECTOR(n, { STORE(y, vf_act(act, LOAD(x))); });
}

static void act_rows(gen_act act, float *y, const float *x, size_t n)
{
    WITH_CONSTANT_ACT(act, act_loop, y, x, n)
}

static void affine(float *y, const float *x, float a, float b, size_t n)
{
    const vf va = vf_set1(a), vb = vf_set1(b);
    FOR_EACH_VECTOR(n, { STORE(y, vf_fma(LOAD(x), va, vb)); });
}

GEN_INLINE vf apply(gen_binary op, vf a, vf b)
{
    return op == GEN_ADD ? vf_add(a, b) : op == GEN_SUB ? vf_sub(a, b) : vf_mul(a, b);
}

GEN_INLINE void binary_loop(gen_binary op, float *y, const float *a, const float *b, size_t n)
{
    FOR_EACH_VECTOR(n, { STORE(y, apply(op, LOAD(a), LOAD(b))); });
}

static void binary(gen_binary op, float *y, const float *a, const float *b, size_t n)
{
    if (op == GEN_ADD)
        binary_loop(GEN_ADD, y, a, b, n);
    else if (op == GEN_SUB)
        binary_loop(GEN_SUB, y, a, b, n);
    else
        binary_loop(GEN_MUL, y, a, b, n);
}

static void binary_scalar(gen_binary op, float *y, const float *a, float b, size_t n)
{
    const vf vb = vf_set1(b);
    FOR_EACH_VECTOR(n, { STORE(y, apply(op, LOAD(a), vb)); });
}

GEN_INLINE void glu_loop(gen_act act, float *y, const float *x, const float *gate, size_t n)
{
    FOR_EACH_VECTOR(n, { STORE(y, vf_mul(LOAD(x), vf_act(act, LOAD(gate)))); });
}

static void glu(gen_act act, float *y, const float *x, const float *gate, size_t n)
{
    WITH_CONSTANT_ACT(act, glu_loop, y, x, gate, n)
}

/* Plain C: the compiler makes the shuffles. */
static void rotate(float *y, const float *x, const float *angles, size_t n)
{
    for (size_t i = 0; i + 1 < n; i += 2) {
        const float x0 = x[i], x1 = x[i + 1], c = angles[i], s = angles[i + 1];
        y[i] = x0 * c - x1 * s;
        y[i + 1] = x0 * s + x1 * c;
    }
}

/* ---- group norm ---- */

/* Channels of one strip: `vectors` vectors side by side, each with its own pair of sums. */
GEN_INLINE void moments_strip(float *sum, float *square, const float *x, size_t ld, size_t rows,
                              int vectors)
{
    vf first[4], s[4], q[4];
    GEN_UNROLL(4)
    for (int v = 0; v < vectors; v++) {
        first[v] = vf_load(x + v * VF_WIDTH);
        s[v] = q[v] = vf_zero();
    }
    for (size_t r = 0; r < rows; r++) {
        GEN_UNROLL(4)
        for (int v = 0; v < vectors; v++) {
            const vf d = vf_sub(vf_load(x + r * ld + (size_t)v * VF_WIDTH), first[v]);
            s[v] = vf_add(s[v], d);
            q[v] = vf_fma(d, d, q[v]);
        }
    }
    GEN_UNROLL(4)
    for (int v = 0; v < vectors; v++) {
        vf_store(sum + v * VF_WIDTH, s[v]);
        vf_store(square + v * VF_WIDTH, q[v]);
    }
}

static void moments(float *sum, float *square, const float *x, size_t ld, size_t rows, size_t n)
{
    size_t c = 0;
    for (; c + 4 * VF_WIDTH <= n; c += 4 * VF_WIDTH)
        moments_strip(sum + c, square + c, x + c, ld, rows, 4);
    for (; c + VF_WIDTH <= n; c += VF_WIDTH)
        moments_strip(sum + c, square + c, x + c, ld, rows, 1);
    if (c < n) {
        const int lanes = (int)(n - c);
        const vf first = vf_load_n(x + c, lanes);
        vf s = vf_zero(), q = vf_zero();
        for (size_t r = 0; r < rows; r++) {
            const vf d = vf_sub(vf_load_n(x + r * ld + c, lanes), first);
            s = vf_add(s, d);
            q = vf_fma(d, d, q);
        }
        vf_store_n(sum + c, s, lanes);
        vf_store_n(square + c, q, lanes);
    }
}

GEN_INLINE void normalise_loop(gen_act act, float *y, const float *x, const float *mean,
                               const float *scale, const float *shift, size_t n)
{
    FOR_EACH_VECTOR(n, {
        const vf d = vf_sub(LOAD(x), LOAD(mean));
        STORE(y, vf_act(act, vf_fma(d, LOAD(scale), LOAD(shift))));
    });
}

static void normalise(gen_act act, float *y, const float *x, const float *mean, const float *scale,
                      const float *shift, size_t n)
{
    WITH_CONSTANT_ACT(act, normalise_loop, y, x, mean, scale, shift, n)
}

/* ---- norms of rows ---- */

/* Sums of x over four independent chains. */
static float row_sum(const float *x, size_t n)
{
    vf s[4] = {vf_zero(), vf_zero(), vf_zero(), vf_zero()};
    size_t i = 0;
    for (; i + 4 * VF_WIDTH <= n; i += 4 * VF_WIDTH) {
        GEN_UNROLL(4)
        for (int v = 0; v < 4; v++)
            s[v] = vf_add(s[v], vf_load(x + i + (size_t)v * VF_WIDTH));
    }
    for (; i < n; i += VF_WIDTH)
        s[0] = vf_add(s[0], n - i < VF_WIDTH ? vf_load_n(x + i, (int)(n - i)) : vf_load(x + i));
    return vf_hsum(vf_add(vf_add(s[0], s[1]), vf_add(s[2], s[3])));
}

typedef struct row_moments {
    float sum, square; /* of x - centre and its square */
} row_moments;

static row_moments centred_moments(const float *x, float centre, size_t n)
{
    const vf c = vf_set1(centre);
    vf s[4] = {vf_zero(), vf_zero(), vf_zero(), vf_zero()};
    vf q[4] = {vf_zero(), vf_zero(), vf_zero(), vf_zero()};
    size_t i = 0;
    for (; i + 4 * VF_WIDTH <= n; i += 4 * VF_WIDTH) {
        GEN_UNROLL(4)
        for (int v = 0; v < 4; v++) {
            const vf d = vf_sub(vf_load(x + i + (size_t)v * VF_WIDTH), c);
            s[v] = vf_add(s[v], d);
            q[v] = vf_fma(d, d, q[v]);
        }
    }
    for (; i + VF_WIDTH <= n; i += VF_WIDTH) {
        const vf d = vf_sub(vf_load(x + i), c);
        s[0] = vf_add(s[0], d);
        q[0] = vf_fma(d, d, q[0]);
    }
    if (i < n) { /* the lanes that are missing hold zero, not -centre */
        const vf d = vf_sub(vf_load_n(x + i, (int)(n - i)), c);
        float lanes[VF_WIDTH] = {0};
        vf_store_n(lanes, d, (int)(n - i));
        const vf rest = vf_load(lanes);
        s[1] = vf_add(s[1], rest);
        q[1] = vf_fma(rest, rest, q[1]);
    }
    return (row_moments){vf_hsum(vf_add(vf_add(s[0], s[1]), vf_add(s[2], s[3]))),
                         vf_hsum(vf_add(vf_add(q[0], q[1]), vf_add(q[2], q[3])))};
}

/* The first mean is off by its rounding, which a large mean makes large; the deviations are exact
 * and their own mean corrects it. */
static void layer_norm(float *y, const float *x, const float *weight, const float *bias, float eps,
                       size_t n)
{
    const float mean = row_sum(x, n) / (float)n;
    const row_moments m = centred_moments(x, mean, n);
    const float rest = m.sum / (float)n;
    const float variance = m.square / (float)n - rest * rest;
    const vf vmean = vf_set1(mean), vrest = vf_set1(rest), one = vf_set1(1.0f), zero = vf_zero();
    const vf scale = vf_set1(1.0f / sqrtf((variance < 0.0f ? 0.0f : variance) + eps));
    FOR_EACH_VECTOR(n, {
        const vf d = vf_sub(vf_sub(LOAD(x), vmean), vrest);
        const vf w = weight ? LOAD(weight) : one;
        STORE(y, vf_fma(vf_mul(d, scale), w, bias ? LOAD(bias) : zero));
    });
}

static void rms_norm(float *y, const float *x, const float *weight, float eps, size_t n)
{
    const row_moments m = centred_moments(x, 0.0f, n);
    const vf scale = vf_set1(1.0f / sqrtf(m.square / (float)n + eps)), one = vf_set1(1.0f);
    FOR_EACH_VECTOR(n, { STORE(y, vf_mul(vf_mul(LOAD(x), scale), weight ? LOAD(weight) : one)); });
}

const gen_vector_kernels GEN_KERNEL(vector) = {
    .act = act_rows,
    .affine = affine,
    .binary = binary,
    .binary_scalar = binary_scalar,
    .glu = glu,
    .rotate = rotate,
    .moments = moments,
    .normalise = normalise,
    .layer_norm = layer_norm,
    .rms_norm = rms_norm,
};
