/* test_not_finite.c - a network that overflowed must not look as if it had not: what the formula of
 * an op makes of a number that is not finite shows in its results, wherever the number stands. */
#include <stdlib.h>

#include "tests/ops/ops.h"
#include "tests/ops/reference.h"

typedef struct spoilt_case {
    const char *name;
    ops_build build;
    gen_act act;
    bool spreads; /* kernels work on tiles: neighbours may be spoilt as well */
    /* Infinite numbers with a result in the limit: keys whose score is minus infinity are hidden,
     * and a query may have no other; a key of plus infinity is the only one that counts. */
    bool has_low_limit, has_high_limit;
} spoilt_case;

static void build_attention(ops_case *c, const void *arg)
{
    (void)arg;
    gen_tensor *q = ops_input(c, "q", GEN_DIMS(2, 35, 16));
    gen_tensor *k = ops_input(c, "x", GEN_DIMS(2, 40, 16));
    gen_tensor *v = ops_input(c, "v", GEN_DIMS(2, 40, 16));
    gen_output(c->g, gen_attention(c->g, q, k, v, (gen_attention_options){.heads = 2}), "y");
    gen_output(c->g, gen_attention(c->g, k, q, q, (gen_attention_options){.heads = 4}),
               "of queries");
    gen_output(c->g, gen_attention(c->g, q, v, k, (gen_attention_options){.heads = 1}),
               "of values");
}

static void build_causal(ops_case *c, const void *arg)
{
    (void)arg;
    gen_attention_options o = {.heads = 2, .is_causal = true};
    gen_tensor *x = ops_input(c, "x", GEN_DIMS(1, 50, 16));
    gen_tensor *q = ops_input(c, "q", GEN_DIMS(1, 50, 16));
    gen_output(c->g, gen_attention(c->g, q, x, q, o), "y");
    o.bias = ops_input(c, "bias", GEN_DIMS(1, 2, 50, 50));
    gen_output(c->g, gen_attention(c->g, q, q, q, o), "of bias");
}

static void build_norms(ops_case *c, const void *arg)
{
    (void)arg;
    gen_tensor *x = ops_input(c, "x", GEN_DIMS(2, 70, 24));
    gen_output(c->g, gen_layer_norm(c->g, GEN_NO_AFFINE, x, 1e-5f), "layer");
    gen_output(c->g, gen_rms_norm(c->g, GEN_NO_AFFINE, x, 1e-5f), "rms");
    gen_output(c->g, gen_silu(c->g, gen_group_norm(c->g, GEN_NO_AFFINE, x, 4, 1e-5f)), "group");
}

static void build_products(ops_case *c, const void *arg)
{
    (void)arg;
    ops_weight(c, "fc.weight", GEN_F16, 0.0, 0.3, GEN_DIMS(33, 24));
    ops_weight(c, "fc.bias", GEN_F32, 0.0, 0.3, GEN_DIMS(33));
    gen_tensor *many = ops_input(c, "x", GEN_DIMS(2, 20, 24)),
               *few = ops_input(c, "few", GEN_DIMS(5, 24));
    gen_output(c->g, gen_linear(c->g, ops_scope(c, "fc"), many), "many rows");
    gen_output(c->g, gen_silu(c->g, gen_linear(c->g, ops_scope(c, "fc"), few)), "few rows");
}

static void build_convolution(ops_case *c, const void *arg)
{
    (void)arg;
    ops_weight(c, "conv.weight", GEN_F16, 0.0, 0.3, GEN_DIMS(12, 8, 3, 3));
    ops_weight(c, "conv.bias", GEN_F32, 0.0, 0.3, GEN_DIMS(12));
    gen_tensor *x = ops_input(c, "x", GEN_DIMS(1, 9, 10, 8));
    gen_output(c->g, gen_conv2d(c->g, ops_scope(c, "conv"), x, GEN_CONV_3X3), "y");
}

static void build_elements(ops_case *c, const void *arg)
{
    const spoilt_case *p = arg;
    gen_tensor *x = ops_input(c, "x", GEN_DIMS(1, 4, 5, 16));
    gen_output(c->g, gen_activation(c->g, p->act, x), "activation");
    gen_output(c->g, gen_glu(c->g, p->act, x), "glu");
    gen_output(c->g, gen_upsample_nearest(c->g, x, 7, 9), "upsample");
    gen_output(c->g, gen_add(c->g, x, ops_input(c, "row", GEN_DIMS(1, 1, 1, 16))), "add");
}

static void build_wkv(ops_case *c, const void *arg)
{
    (void)arg;
    ops_weight(c, "w", GEN_F32, 0.1, 0.02, GEN_DIMS(24));
    ops_weight(c, "u", GEN_F32, 0.0, 0.5, GEN_DIMS(24));
    gen_scope root = gen_scope_root(c->weights);
    gen_tensor *w = gen_parameter(c->g, root, "w"), *u = gen_parameter(c->g, root, "u");
    gen_tensor *x = ops_input(c, "x", GEN_DIMS(2, 70, 24)),
               *o = ops_input(c, "o", GEN_DIMS(2, 70, 24));
    gen_output(c->g, gen_wkv(c->g, GEN_WKV_PAPER, w, u, x, o), "of keys");
    gen_output(c->g, gen_wkv(c->g, GEN_WKV_PAPER, w, u, o, x), "of values");
}

static const spoilt_case cases[] = {
    {.name = "attention", .build = build_attention},
    {.name = "causal attention", .build = build_causal, .has_low_limit = true},
    {.name = "norms", .build = build_norms},
    {.name = "products", .build = build_products},
    {.name = "convolution", .build = build_convolution, .spreads = true},
    {.name = "silu", .build = build_elements, .act = GEN_ACT_SILU},
    {.name = "gelu", .build = build_elements, .act = GEN_ACT_GELU},
    {.name = "gelu_tanh", .build = build_elements, .act = GEN_ACT_GELU_TANH},
    {.name = "quick_gelu", .build = build_elements, .act = GEN_ACT_QUICK_GELU},
    {.name = "relu", .build = build_elements, .act = GEN_ACT_RELU},
    {.name = "tanh", .build = build_elements, .act = GEN_ACT_TANH},
    {.name = "wkv", .build = build_wkv, .has_low_limit = true, .has_high_limit = true},
};

/* Puts `value` into one place, in thousandths, of every input that is meant for it. */
static void spoil(ops_case *c, float value, size_t place)
{
    for (int i = 0; i < c->num_inputs; i++) {
        ops_input_data *in = &c->inputs[i];
        if (strcmp(in->name, "x") == 0 || strcmp(in->name, "few") == 0 ||
            strcmp(in->name, "bias") == 0)
            ((float *)in->data)[in->count * place / 1000] = value;
    }
}

static void compare(const spoilt_case *p, const ops_case *c, gen_plan *plan,
                    const reference *expected, float value)
{
    gen_error err = {0};
    const gen_graph *g = gen_plan_graph(plan);
    for (int i = 0; i < gen_graph_num_tensors(g); i++) {
        const gen_tensor *t = gen_graph_tensor(g, i);
        if (!t->is_output)
            continue;
        const size_t n = (size_t)gen_tensor_elements(t);
        double *wanted = reference_values(expected, gen_graph_find(c->g, t->name, 0)->id);
        float *got = malloc(n * sizeof *got);
        assert_non_null(got);
        EXPECT_OK(gen_plan_get(plan, t, got, &err));
        for (size_t k = 0; k < n; k++) {
            if (!isfinite(wanted[k]) && isfinite(got[k]))
                fail_msg("%s of %g, %s at %zu: %g, expected %g", p->name, (double)value, t->name, k,
                         (double)got[k], wanted[k]);
            if (isfinite(wanted[k]) && !isfinite(got[k]) && !p->spreads)
                fail_msg("%s of %g, %s at %zu: %g, expected %g: spoilt by another", p->name,
                         (double)value, t->name, k, (double)got[k], wanted[k]);
        }
        free(wanted);
        free(got);
    }
}

static void check(const spoilt_case *p, const char *level, float value, size_t place)
{
    gen_error err = {0};
    gen_backend *backend = NULL;
    gen_plan *plan = NULL;
    reference_input inputs[OPS_MAX_INPUTS];
    ops_case c;
    ops_case_init(&c);
    gen_graph *graph = ops_record(&c, p->build, p);
    spoil(&c, value, place);
    for (int i = 0; i < c.num_inputs; i++)
        inputs[i] = (reference_input){c.inputs[i].name, c.inputs[i].data};
    reference *expected = reference_new(graph, c.num_inputs, inputs);
    const ops_backend *under_test = ops_backend_under_test();
    EXPECT_OK(under_test->open(&backend, &(ops_config){.level = level, .num_threads = 1}, &err));
    EXPECT_OK(
        gen_plan_new(&plan, ops_record(&c, p->build, p), backend, under_test->plan_flags, &err));
    ops_set_inputs(&c, plan);
    EXPECT_OK(gen_plan_run(plan, &err));
    c.g = graph;
    compare(p, &c, plan, expected, value);
    gen_plan_free(plan);
    gen_weights_drop_prepared(c.weights, backend);
    under_test->close(backend);
    reference_free(expected);
    gen_graph_free(graph);
    ops_case_free(&c);
}

static void not_finite_shows(void **state)
{
    static const float values[] = {NAN, INFINITY, -INFINITY};
    static const size_t places[] = {3, 480, 999};
    (void)state;
    for (const char *const *level = ops_backend_under_test()->levels; *level; level++) {
        if (!ops_has_level(*level))
            continue;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
            for (size_t v = 0; v < 3; v++) {
                if (v > 0 && (v == 1 ? cases[i].has_high_limit : cases[i].has_low_limit))
                    continue;
                for (size_t at = 0; at < 3; at++)
                    check(&cases[i], *level, values[v], places[at]);
            }
    }
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(not_finite_shows)};
    return OPS_MAIN(argc, argv, tests);
}
