/* test_elementwise.c - unary, binary, affine and glu. */
#include "tests/ops/ops.h"

static const int64_t sizes[] = {1, 3, 63, 64, 65};
enum { NUM_SIZES = sizeof sizes / sizeof sizes[0] };

static const char *const act_names[GEN_NUM_ACTS] = {
    "none", "silu", "gelu", "gelu_tanh", "quick_gelu", "relu", "tanh", "sigmoid", "exp"};

typedef struct unary_case {
    gen_act act;
    int64_t rows, width;
    int extra;
    double std;
} unary_case;

static void build_unary(ops_case *c, const void *arg)
{
    const unary_case *p = arg;
    const int64_t dims[] = {2, p->rows, p->width};
    gen_tensor *x = p->extra ? ops_strided(c, "x", p->extra, 3, dims)
                             : ops_input_scaled(c, "x", 0.0, p->std, 3, dims);
    gen_output(c->g, gen_activation(c->g, p->act, x), "y");
}

static void activations_of_all_sizes(void **state)
{
    (void)state;
    for (int act = GEN_ACT_SILU; act < GEN_NUM_ACTS; act++)
        for (int i = 0; i < NUM_SIZES; i++)
            for (int extra = 0; extra < 8; extra += 7) {
                const unary_case p = {(gen_act)act, 7, sizes[i], extra, 3.0};
                ops_check(act_names[act], build_unary, &p, (ops_options){.tolerance = 5e-7});
            }
}

/* A grid over the whole range: every value within 4e-7 of itself or of one, whichever is larger;
 * exp to 4e-7 of itself everywhere. */
static float grid[6][2001];

static void build_grid(ops_case *c, const void *arg)
{
    const gen_act act = *(const gen_act *)arg;
    gen_tensor *x = ops_input_values(c, "grid", &grid[0][0], GEN_DIMS(6, 2001));
    gen_output(c->g, gen_activation(c->g, act, x), "y");
}

static gen_plan *grid_plan(ops_case *c, gen_backend *backend, gen_act act)
{
    gen_error err = {0};
    gen_plan *plan = NULL;
    EXPECT_OK(gen_plan_new(&plan, ops_record(c, build_grid, &act), backend, 0, &err));
    return plan;
}

static double exact_activation(gen_act act, double x)
{
    switch (act) {
    case GEN_ACT_SILU:
        return x / (1.0 + exp(-x));
    case GEN_ACT_GELU:
        return 0.5 * x * erfc(-x / sqrt(2.0));
    case GEN_ACT_GELU_TANH:
        return 0.5 * x *
               (1.0 + tanh(sqrt(2.0 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
    case GEN_ACT_QUICK_GELU:
        return x / (1.0 + exp(-1.702 * x));
    case GEN_ACT_RELU:
        return x < 0.0 ? 0.0 : x;
    case GEN_ACT_TANH:
        return tanh(x);
    case GEN_ACT_SIGMOID:
        return 1.0 / (1.0 + exp(-x));
    default:
        return exp(x);
    }
}

/* Runs one activation over `grid` at every level and calls `check` on each value. */
static void for_each_level(gen_act act, void (*check)(gen_act act, float x, float y, const char *))
{
    const ops_backend *b = ops_backend_under_test();
    for (const char *const *level = b->levels; *level; level++) {
        gen_error err = {0};
        gen_backend *backend = NULL;
        const ops_config config = {.level = *level, .num_threads = 1};
        if (b->open(&backend, &config, &err) != GEN_OK)
            continue;
        ops_case c;
        ops_case_init(&c);
        gen_plan *plan = grid_plan(&c, backend, act);
        static float y[6][2001];
        ops_set_inputs(&c, plan);
        EXPECT_OK(gen_plan_run(plan, &err));
        EXPECT_OK(gen_plan_get_output(plan, "y", y, &err));
        for (int i = 0; i < 6 * 2001; i++)
            check(act, grid[i / 2001][i % 2001], y[i / 2001][i % 2001], *level);
        gen_plan_free(plan);
        ops_backend_under_test()->close(backend);
        ops_case_free(&c);
    }
}

static void expect_accurate(gen_act act, float x, float y, const char *level)
{
    const double exact = exact_activation(act, (double)x);
    const double allowed = act == GEN_ACT_EXP    ? 4e-7 * exact + 3e-45
                           : act == GEN_ACT_GELU ? fmax(5e-7, 2e-7 * fabs(exact))
                                                 : 4e-7 * fmax(fabs(exact), 1.0);
    if (!(fabs((double)y - exact) <= allowed) && !(isinf(y) && exact > 3.4e38))
        fail_msg("%s %s(%.9g) = %.9g, expected %.9g", level, act_names[act], (double)x, (double)y,
                 exact);
}

static void activations_are_accurate(void **state)
{
    (void)state;
    static const double widths[] = {0.01, 1.0, 6.0, 20.0, 86.0, 1000.0};
    for (int act = GEN_ACT_SILU; act < GEN_NUM_ACTS; act++) {
        for (int i = 0; i < 6; i++)
            for (int k = 0; k < 2001; k++)
                grid[i][k] = (float)(widths[i] * (double)(k - 1000) / 1000.0);
        for_each_level((gen_act)act, expect_accurate);
    }
}

/* exp saturates to infinity and zero, sigmoids to their limits, NaN stays NaN, and what
 * is not finite never becomes finite.  Gated activations of numbers near minus infinity are left
 * open. */
static void expect_special(gen_act act, float x, float y, const char *level)
{
    const double exact = exact_activation(act, (double)x);
    bool ok;
    if (isnan(x))
        ok = isnan(y);
    else if (x < -1e30f && (act == GEN_ACT_SILU || act == GEN_ACT_GELU ||
                            act == GEN_ACT_GELU_TANH || act == GEN_ACT_QUICK_GELU))
        ok = true;
    else if (fabs(exact) > 3.5e38)
        ok = !isfinite(y);
    else
        ok = fabs((double)y - exact) <= 1e-6 * fmax(1.0, fabs(exact));
    if (!ok)
        fail_msg("%s %s(%g) = %g", level, act_names[act], (double)x, (double)y);
}

static void special_values_propagate(void **state)
{
    (void)state;
    static const float special[] = {NAN,      INFINITY, -INFINITY, 0.0f,   -0.0f,  3.4e38f,
                                    -3.4e38f, 1e-44f,   88.8f,     -88.8f, -104.f, 1e20f};
    for (int act = GEN_ACT_SILU; act < GEN_NUM_ACTS; act++) {
        for (int i = 0; i < 6 * 2001; i++)
            grid[i / 2001][i % 2001] = special[(i * 7 + i / 2001) % 12];
        for_each_level((gen_act)act, expect_special);
    }
}

typedef struct binary_case {
    gen_binary op;
    int rank_a, rank_b;
    int64_t a[4], b[4];
    int extra_a, extra_b;
} binary_case;

static gen_tensor *operand(ops_case *c, const char *name, int extra, int rank, const int64_t *dims)
{
    return extra ? ops_strided(c, name, extra, rank, dims) : ops_input(c, name, rank, dims);
}

static void build_binary(ops_case *c, const void *arg)
{
    const binary_case *p = arg;
    gen_tensor *a = operand(c, "a", p->extra_a, p->rank_a, p->a);
    gen_tensor *b = operand(c, "b", p->extra_b, p->rank_b, p->b);
    gen_output(c->g,
               p->op == GEN_ADD   ? gen_add(c->g, a, b)
               : p->op == GEN_MUL ? gen_mul(c->g, a, b)
                                  : gen_sub_tensors(c->g, a, b),
               "y");
}

static void binary_broadcasts(void **state)
{
    (void)state;
    static const binary_case shapes[] = {
        {0, 4, 4, {2, 5, 3, 65}, {2, 5, 3, 65}, 0, 0}, /* same shape */
        {0, 4, 4, {2, 5, 3, 64}, {2, 5, 3, 64}, 3, 0}, /* and strided */
        {0, 4, 4, {2, 5, 3, 63}, {2, 5, 3, 63}, 0, 9},
        {0, 4, 4, {2, 5, 3, 3}, {2, 5, 3, 3}, 2, 2},
        {0, 4, 1, {2, 5, 3, 65}, {65}, 0, 0},          /* a vector of channels */
        {0, 4, 4, {2, 5, 3, 65}, {2, 1, 1, 65}, 0, 0}, /* one per sample */
        {0, 3, 3, {3, 7, 64}, {3, 1, 64}, 4, 4},
        {0, 3, 3, {3, 7, 64}, {1, 7, 64}, 0, 0},
        {0, 2, 3, {7, 63}, {3, 7, 63}, 0, 0}, /* swapped by add and mul */
        {0, 4, 4, {2, 5, 3, 17}, {1, 5, 1, 17}, 0, 0},
        {0, 4, 4, {2, 5, 3, 17}, {2, 1, 3, 1}, 0, 0},
        {0, 4, 4, {2, 5, 3, 65}, {2, 5, 3, 1}, 0, 0},
        {0, 4, 1, {2, 5, 3, 65}, {1}, 0, 0},
        {0, 1, 1, {1}, {1}, 0, 0},
        {0, 2, 2, {64, 1}, {64, 1}, 0, 3},
        {0, 3, 2, {40, 70, 65}, {70, 65}, 0, 0},
        {0, 3, 3, {40, 70, 65}, {40, 1, 65}, 0, 0},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (int op = GEN_ADD; op <= GEN_MUL; op++) {
            binary_case p = shapes[i];
            char what[64];
            if (op == GEN_SUB && p.rank_a < p.rank_b)
                continue;
            p.op = (gen_binary)op;
            snprintf(what, sizeof what, "binary %d, shapes %zu", op, i);
            ops_check(what, build_binary, &p, (ops_options){.is_exact = true});
        }
}

static void build_parameter(ops_case *c, const void *arg)
{
    const gen_dtype dtype = *(const gen_dtype *)arg;
    ops_weight(c, "position.weight", dtype, 0.0, 1.0, GEN_DIMS(9, 65));
    gen_tensor *x = ops_input(c, "x", GEN_DIMS(2, 9, 65));
    gen_output(c->g, gen_add(c->g, x, gen_parameter(c->g, ops_scope(c, "position"), "weight")),
               "y");
}

static void parameters_of_all_types(void **state)
{
    (void)state;
    for (int dtype = GEN_F32; dtype <= GEN_BF16; dtype++)
        ops_check("parameter", build_parameter, &dtype, (ops_options){.tolerance = 1e-7});
}

/* Both operands die in the op, and one tensor is both operands. */
static void build_in_place(ops_case *c, const void *arg)
{
    (void)arg;
    gen_graph *g = c->g;
    gen_tensor *x = ops_input(c, "x", GEN_DIMS(2, 9, 65)), *b = ops_input(c, "b", GEN_DIMS(65));
    gen_tensor *p = gen_affine(g, x, 2.0f, 1.0f), *q = gen_affine(g, x, 0.5f, -1.0f);
    gen_tensor *s = gen_sub_tensors(g, p, q);
    s = gen_mul(g, s, s);
    s = gen_add(g, gen_tanh(g, s), b);
    s = gen_layer_norm(g, GEN_NO_AFFINE, s, 1e-5f);
    s = gen_group_norm(g, GEN_NO_AFFINE, s, 5, 1e-5f);
    s = gen_rms_norm(g, GEN_NO_AFFINE, gen_relu(g, s), 1e-5f);
    gen_output(g, gen_sub_tensors(g, gen_affine(g, x, 1.0f, 0.0f), s), "y");
}

static void chains_reuse_memory(void **state)
{
    (void)state;
    ops_check("chain", build_in_place, NULL, (ops_options){.tolerance = 3e-6});
}

typedef struct glu_case {
    gen_act act;
    int64_t width;
    int extra;
} glu_case;

static void build_glu(ops_case *c, const void *arg)
{
    const glu_case *p = arg;
    gen_tensor *x = operand(c, "x", p->extra, GEN_DIMS(2, 9, 2 * p->width));
    gen_output(c->g, gen_glu(c->g, p->act, x), "y");
}

static void glu_of_all_sizes(void **state)
{
    (void)state;
    static const gen_act acts[] = {GEN_ACT_GELU, GEN_ACT_GELU_TANH, GEN_ACT_SILU, GEN_ACT_SIGMOID};
    for (int a = 0; a < 4; a++)
        for (int i = 0; i < NUM_SIZES; i++) {
            const glu_case p = {acts[a], sizes[i], a & 1 ? 5 : 0};
            ops_check("glu", build_glu, &p, (ops_options){.tolerance = 5e-7});
        }
}

static void build_affine(ops_case *c, const void *arg)
{
    const int64_t width = *(const int64_t *)arg;
    gen_tensor *x = ops_strided(c, "x", (int)(width % 5), GEN_DIMS(3, 7, width));
    gen_output(c->g, gen_affine(c->g, x, -0.3f, 1.7f), "y");
}

static void affine_of_all_sizes(void **state)
{
    (void)state;
    for (int i = 0; i < NUM_SIZES; i++)
        ops_check("affine", build_affine, &sizes[i], (ops_options){.tolerance = 2e-7});
}

typedef struct rope_case {
    int heads, extra;
    int64_t tokens, width;
} rope_case;

static void build_rope(ops_case *c, const void *arg)
{
    const rope_case *p = arg;
    gen_tensor *x = operand(c, "x", p->extra, GEN_DIMS(2, p->tokens, p->heads * p->width));
    gen_tensor *table = ops_input(c, "table", GEN_DIMS(p->tokens, p->width));
    gen_output(c->g, gen_rope(c->g, x, p->heads, table), "y");
}

static void rope_of_all_sizes(void **state)
{
    (void)state;
    for (int i = 0; i < NUM_SIZES; i++)
        for (int heads = 1; heads < 4; heads += 2) {
            const rope_case p = {heads, heads == 3 ? 5 : 0, sizes[i], 2 * sizes[NUM_SIZES - 1 - i]};
            ops_check("rope", build_rope, &p, (ops_options){.tolerance = 5e-7});
        }
    const rope_case wide = {12, 0, 70, 128};
    ops_check("wide rope", build_rope, &wide, (ops_options){.tolerance = 5e-7});
}

/* Long enough to be cut into several tasks, inside rows too. */
static void build_long(ops_case *c, const void *arg)
{
    const bool is_strided = *(const bool *)arg;
    gen_graph *g = c->g;
    gen_tensor *x = operand(c, "x", is_strided ? 3 : 0, GEN_DIMS(3, 40001));
    gen_tensor *row = ops_input(c, "row", GEN_DIMS(40001));
    gen_tensor *column = ops_input(c, "column", GEN_DIMS(3, 1));
    gen_output(g, gen_relu(g, x), "relu");
    gen_output(g, gen_affine(g, x, 2.0f, 0.0f), "affine");
    gen_output(g, gen_add(g, x, row), "row sum");
    gen_output(g, gen_sub_tensors(g, x, column), "column difference");
    gen_output(g, gen_mul(g, x, x), "square");
    gen_output(g, gen_glu(g, GEN_ACT_RELU, gen_concat(g, 1, 2, (gen_tensor *[]){x, x})), "glu");
}

static void long_rows_are_cut(void **state)
{
    (void)state;
    for (int is_strided = 0; is_strided < 2; is_strided++)
        ops_check("long rows", build_long, &(bool){is_strided}, (ops_options){.is_exact = true});
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(activations_of_all_sizes), cmocka_unit_test(activations_are_accurate),
        cmocka_unit_test(special_values_propagate), cmocka_unit_test(binary_broadcasts),
        cmocka_unit_test(parameters_of_all_types),  cmocka_unit_test(chains_reuse_memory),
        cmocka_unit_test(glu_of_all_sizes),         cmocka_unit_test(affine_of_all_sizes),
        cmocka_unit_test(long_rows_are_cut),        cmocka_unit_test(rope_of_all_sizes),
    };
    return OPS_MAIN(argc, argv, tests);
}
