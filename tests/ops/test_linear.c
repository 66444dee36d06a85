/* test_linear.c - matrix products of all shapes, weight types and epilogues. */
#include "tests/ops/ops.h"

typedef struct linear_case {
    int64_t samples, rows, k, n;
    gen_dtype dtype;
    bool has_bias;
    gen_act act;
    int residual; /* 0: none, 1: of every row, 2: one row for a sample */
    gen_act post_act;
    int extra; /* row stride of x beyond its width */
} linear_case;

static void build_linear(ops_case *c, const void *arg)
{
    const linear_case *p = arg;
    const double std = 1.0 / sqrt((double)p->k);
    ops_weight(c, "fc.weight", p->dtype, 0.0, std, GEN_DIMS(p->n, p->k));
    if (p->has_bias)
        ops_weight(c, "fc.bias", p->dtype, 0.0, 1.0, GEN_DIMS(p->n));
    gen_tensor *x = p->extra ? ops_strided(c, "x", p->extra, GEN_DIMS(p->samples, p->rows, p->k))
                             : ops_input(c, "x", GEN_DIMS(p->samples, p->rows, p->k));
    gen_tensor *y = gen_project(c->g, ops_scope(c, "fc"), x);
    if (p->act != GEN_ACT_NONE)
        y = gen_activation(c->g, p->act, y);
    if (p->residual)
        y = gen_add(c->g, y,
                    ops_input(c, "r", GEN_DIMS(p->samples, p->residual == 1 ? p->rows : 1, p->n)));
    if (p->post_act != GEN_ACT_NONE)
        y = gen_activation(c->g, p->post_act, y);
    gen_output(c->g, y, "y");
}

static void check(linear_case p)
{
    char what[160];
    if (p.samples == 0)
        p.samples = 1;
    snprintf(what, sizeof what,
             "linear %dx%dx%d to %d, %s%s, act %d, residual %d, then %d, extra %d", (int)p.samples,
             (int)p.rows, (int)p.k, (int)p.n, gen_dtype_name(p.dtype), p.has_bias ? ", bias" : "",
             (int)p.act, p.residual, (int)p.post_act, p.extra);
    ops_check(what, build_linear, &p, (ops_options){.tolerance = 2e-6, .try_openblas = true});
}

static void all_sizes(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 3, 63, 64, 65};
    for (int m = 0; m < 5; m++)
        for (int k = 0; k < 5; k++)
            for (int n = 0; n < 5; n++)
                check((linear_case){.rows = sizes[m],
                                    .k = sizes[k],
                                    .n = sizes[n],
                                    .dtype = (gen_dtype)((m + k + n) % 3),
                                    .has_bias = (m + n) & 1,
                                    .extra = (k + n) % 3});
}

/* Every number of rows a tile can be left with, and every kind of last panel. */
static void all_remainders(void **state)
{
    (void)state;
    for (int64_t rows = 1; rows <= 29; rows++)
        check((linear_case){.rows = rows,
                            .k = 17,
                            .n = 16 * (rows % 5) + rows,
                            .has_bias = true,
                            .dtype = GEN_F16});
}

/* Several k-blocks, split by rows and by columns. */
static void large_products(void **state)
{
    (void)state;
    check((linear_case){.rows = 900, .k = 1300, .n = 100, .dtype = GEN_F16, .has_bias = true});
    check((linear_case){.rows = 130, .k = 1030, .n = 700, .dtype = GEN_BF16, .has_bias = true});
    check((linear_case){.samples = 3,
                        .rows = 300,
                        .k = 700,
                        .n = 80,
                        .dtype = GEN_F32,
                        .has_bias = true,
                        .residual = 2,
                        .extra = 12});
    check((linear_case){.samples = 2, .rows = 9, .k = 1100, .n = 650, .residual = 2});
    check((linear_case){.rows = 2, .k = 1280, .n = 1280, .dtype = GEN_F16, .has_bias = true});
}

static void all_epilogues(void **state)
{
    (void)state;
    int counter = 0;
    for (int act = 0; act < GEN_NUM_ACTS; act++)
        for (int residual = 0; residual < 3; residual++)
            for (int post = 0; post < GEN_NUM_ACTS; post += residual ? 5 : GEN_NUM_ACTS)
                if (ops_takes(&counter, 4))
                    check((linear_case){.samples = 2,
                                        .rows = 31,
                                        .k = 63,
                                        .n = 65,
                                        .dtype = (gen_dtype)(act % 3),
                                        .has_bias = act & 1,
                                        .act = (gen_act)act,
                                        .residual = residual,
                                        .post_act = (gen_act)post});
}

/* Backends may treat few rows in their own way: all epilogues, and depths beyond one pass. */
static void few_rows(void **state)
{
    (void)state;
    for (int rows = 1; rows <= 5; rows++)
        for (int residual = 0; residual < 3; residual++)
            check((linear_case){.samples = 2,
                                .rows = rows,
                                .k = 31 + 33 * residual,
                                .n = 21 * rows,
                                .dtype = (gen_dtype)((rows + residual) % 3),
                                .has_bias = rows & 1,
                                .act = residual == 1 ? GEN_ACT_SILU : GEN_ACT_NONE,
                                .residual = residual,
                                .post_act = residual == 2 ? GEN_ACT_GELU : GEN_ACT_NONE,
                                .extra = rows % 3});
    check((linear_case){.rows = 8, .k = 3071, .n = 1001, .dtype = GEN_BF16, .has_bias = true});
}

/* Weights as files have them: at odd addresses, as kernels of one pixel. */
typedef struct stored_case {
    gen_dtype dtype;
    int offset; /* of the data from an aligned address */
    bool is_kernel;
} stored_case;

static void build_stored(ops_case *c, const void *arg)
{
    enum { N = 37, K = 41 };
    const stored_case *p = arg;
    gen_error err = {0};
    if (!gen_weights_find(c->weights, "fc.weight")) {
        const size_t size = N * K * gen_dtype_size(p->dtype);
        static unsigned char block[N * K * 4 + 8];
        float values[N * K];
        ops_random(values, N * K, "stored");
        for (size_t i = 0; i < N * K; i++) {
            unsigned char *to = block + p->offset + i * gen_dtype_size(p->dtype);
            const uint16_t half = gen_f32_to_f16(values[i]);
            if (p->dtype == GEN_F32)
                memcpy(to, &values[i], sizeof values[i]);
            else
                memcpy(to, &half, sizeof half);
        }
        const int64_t dims[4] = {N, K, 1, 1};
        EXPECT_OK(gen_weights_add(c->weights, "fc.weight", "test", "fc.weight", p->dtype,
                                  p->is_kernel ? 4 : 2, dims, block + p->offset, size, false,
                                  &err));
    }
    gen_tensor *x = ops_input(c, "x", GEN_DIMS(19, K));
    gen_output(c->g, gen_project(c->g, ops_scope(c, "fc"), x), "y");
}

static void stored_weights(void **state)
{
    (void)state;
    static const gen_dtype dtypes[] = {GEN_F32, GEN_F16, GEN_F32, GEN_F16};
    for (int i = 0; i < 4; i++)
        for (int offset = 0; offset < 2; offset++) {
            const stored_case p = {dtypes[i], offset, i >= 2};
            ops_check("stored weights", build_stored, &p,
                      (ops_options){.tolerance = 2e-6, .try_openblas = true});
        }
}

/* Weights in 8 bits.  Numbers that are whole multiples, up to 127 and reaching it, of a power of
 * two for every 32 of a row lose nothing. */
typedef struct q8_case {
    int64_t rows, k, n;
    gen_dtype dtype;
    bool is_random;
} q8_case;

static float q8_number(const float *random, int64_t row, int64_t i)
{
    const int exponent = (int)((row * 7 + i / 32) % 9) - 12;
    const float whole = i % 32 == row % 32 ? (row & 1 ? -127.0f : 127.0f)
                                           : fmaxf(-127.0f, fminf(127.0f, roundf(40.0f * *random)));
    return ldexpf(whole, exponent);
}

static void build_q8(ops_case *c, const void *arg)
{
    const q8_case *p = arg;
    gen_error err = {0};
    const size_t count = (size_t)(p->n * p->k);
    if (p->is_random) {
        ops_weight(c, "fc.weight", p->dtype, 0.0, 1.0 / sqrt((double)p->k), GEN_DIMS(p->n, p->k));
    } else if (!gen_weights_find(c->weights, "fc.weight")) {
        float *values = gen_malloc(count * sizeof *values);
        assert_non_null(values);
        ops_random(values, count, "q8");
        for (size_t i = 0; i < count; i++) {
            const int64_t row = (int64_t)i / p->k, col = (int64_t)i % p->k;
            /* A last block shorter than the place of its largest number would be rounded. */
            values[i] = p->k - col / 32 * 32 < 32 ? 0.0f : q8_number(&values[i], row, col);
        }
        EXPECT_OK(gen_weights_add(c->weights, "fc.weight", "test", "fc.weight", GEN_F32,
                                  GEN_DIMS(p->n, p->k), values, count * sizeof *values, true,
                                  &err));
    }
    gen_tensor *x = ops_input(c, "x", GEN_DIMS(p->rows, p->k));
    gen_output(c->g, gen_silu(c->g, gen_project(c->g, ops_scope(c, "fc"), x)), "y");
}

static void eight_bits(void **state)
{
    (void)state;
    static const q8_case exact[] = {{1, 32, 1, GEN_F32, false},      {19, 64, 37, GEN_F32, false},
                                    {3, 70, 65, GEN_F32, false},     {70, 96, 48, GEN_F32, false},
                                    {130, 1056, 70, GEN_F32, false}, {900, 544, 33, GEN_F32, false},
                                    {2, 1280, 640, GEN_F32, false}};
    for (size_t i = 0; i < sizeof exact / sizeof *exact; i++)
        ops_check("8 bits, nothing lost", build_q8, &exact[i],
                  (ops_options){.tolerance = 4e-6, .use_q8 = true});
    /* Others are off by up to 1/254 of the largest of 32: here 3 / sqrt(k) / 254 each, sqrt(k) of
     * them in a sum. */
    static const q8_case rounded[] = {
        {33, 300, 70, GEN_F16, true}, {5, 1000, 65, GEN_BF16, true}, {12, 45, 17, GEN_F32, true}};
    for (size_t i = 0; i < sizeof rounded / sizeof *rounded; i++)
        ops_check("8 bits, rounded", build_q8, &rounded[i],
                  (ops_options){.tolerance = 0.02, .use_q8 = true});
}

/* A weight with a number that is not finite is refused, with its name. */
static void refuses_not_finite(void **state)
{
    (void)state;
    gen_error err = {0};
    static const float bad[4] = {1.0f, 2.0f, NAN, 3.0f};
    gen_backend *backend = NULL;
    gen_plan *plan = NULL;
    ops_case c;
    ops_case_init(&c);
    EXPECT_OK(gen_weights_add(c.weights, "fc.weight", "bad.safetensors", "fc.weight", GEN_F32,
                              GEN_DIMS(2, 2), bad, sizeof bad, false, &err));
    EXPECT_OK(ops_backend_under_test()->open(&backend, &(ops_config){.level = ""}, &err));
    EXPECT_OK(gen_graph_new(&c.g, &err));
    gen_tensor *x = gen_input(c.g, "x", GEN_F32, GEN_DIMS(1, 2));
    gen_output(c.g, gen_project(c.g, ops_scope(&c, "fc"), x), "y");
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_plan_new(&plan, c.g, backend, 0, &err));
    EXPECT_CONTAINS(err.message, "bad.safetensors");
    EXPECT_CONTAINS(err.message, "fc.weight");
    gen_weights_drop_prepared(c.weights, backend);
    ops_backend_under_test()->close(backend);
    ops_case_free(&c);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_sizes),          cmocka_unit_test(all_remainders),
        cmocka_unit_test(large_products),     cmocka_unit_test(all_epilogues),
        cmocka_unit_test(few_rows),           cmocka_unit_test(stored_weights),
        cmocka_unit_test(refuses_not_finite), cmocka_unit_test(eight_bits),
    };
    return OPS_MAIN(argc, argv, tests);
}
