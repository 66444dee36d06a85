/* test_windows.c - every op on a device that shows a shader only 8 KiB of a buffer: tensors and
 * weights go in windows, as those beyond maxStorageBufferRange do on real devices. */
#include "tests/ops/ops.h"

static const ops_options close_enough = {.tolerance = 5e-6};

static void build_linear(ops_case *c, const void *arg)
{
    const gen_dtype dtype = *(const gen_dtype *)arg;
    ops_weight(c, "fc.weight", dtype, 0.0, 0.1, GEN_DIMS(70, 63));
    ops_weight(c, "fc.bias", dtype, 0.0, 1.0, GEN_DIMS(70));
    gen_tensor *x = ops_strided(c, "x", 5, GEN_DIMS(2, 45, 63));
    gen_tensor *y = gen_silu(c->g, gen_linear(c->g, ops_scope(c, "fc"), x));
    y = gen_add(c->g, y, ops_input(c, "each", GEN_DIMS(2, 45, 70)));
    gen_output(c->g, y, "y");
    y = gen_linear(c->g, ops_scope(c, "fc"), x);
    gen_output(c->g, gen_add(c->g, y, ops_input(c, "sample", GEN_DIMS(2, 1, 70))), "z");
    y = gen_linear(c->g, ops_scope(c, "fc"), ops_strided(c, "few", 2, GEN_DIMS(2, 3, 63)));
    gen_output(c->g, gen_add(c->g, y, ops_input(c, "few each", GEN_DIMS(2, 3, 70))), "few rows");
}

static void products(void **state)
{
    (void)state;
    for (int dtype = GEN_F32; dtype <= GEN_BF16; dtype++)
        ops_check("linear", build_linear, &dtype, close_enough);
}

typedef struct conv_case {
    int64_t h, w, up_h, up_w;
    gen_conv2d_options options;
} conv_case;

static void build_conv(ops_case *c, const void *arg)
{
    const conv_case *p = arg;
    ops_weight(c, "conv.weight", GEN_F16, 0.0, 0.1, GEN_DIMS(40, 12, 3, 3));
    ops_weight(c, "conv.bias", GEN_F32, 0.0, 1.0, GEN_DIMS(40));
    gen_tensor *x = ops_input(c, "x", GEN_DIMS(2, p->h, p->w, 12));
    if (p->up_h)
        x = gen_upsample_nearest(c->g, x, p->up_h, p->up_w);
    gen_tensor *y = gen_conv2d(c->g, ops_scope(c, "conv"), x, p->options);
    gen_output(c->g, gen_add(c->g, y, ops_input(c, "r", GEN_DIMS(2, 1, 1, 40))), "y");
}

static void convolutions(void **state)
{
    (void)state;
    static const conv_case cases[] = {
        {25, 13, 0, 0, GEN_CONV_3X3},
        {25, 13, 0, 0, GEN_CONV_3X3_S2},
        {13, 9, 26, 18, GEN_CONV_3X3},
        {13, 9, 21, 11, GEN_CONV_3X3},
        {23, 9, 0, 0, {.stride = 3, .pad_top = 2, .pad_bottom = 4, .pad_right = 1}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ops_check("conv2d", build_conv, &cases[i], close_enough);
}

typedef struct attention_case {
    int64_t tq, tk;
    bool is_causal;
} attention_case;

static void build_attention(ops_case *c, const void *arg)
{
    const attention_case *p = arg;
    gen_attention_options o = {.heads = 2, .is_causal = p->is_causal};
    gen_tensor *q = ops_input(c, "q", GEN_DIMS(2, p->tq, 32));
    gen_tensor *k = ops_strided(c, "k", 3, GEN_DIMS(2, p->tk, 32));
    gen_tensor *v = ops_input(c, "v", GEN_DIMS(2, p->tk, 36));
    gen_output(c->g, gen_attention(c->g, q, k, v, o), "y");
}

static void attentions(void **state)
{
    (void)state;
    static const attention_case cases[] = {{150, 140, false}, {150, 150, true}, {3, 200, false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ops_check("attention", build_attention, &cases[i], close_enough);
}

static void build_norms(ops_case *c, const void *arg)
{
    (void)arg;
    ops_weight(c, "norm.weight", GEN_F16, 1.0, 0.5, GEN_DIMS(48));
    ops_weight(c, "norm.bias", GEN_F16, 0.0, 0.5, GEN_DIMS(48));
    gen_tensor *x = ops_strided(c, "x", 4, GEN_DIMS(2, 19, 11, 48));
    gen_output(c->g, gen_silu(c->g, gen_group_norm(c->g, ops_scope(c, "norm"), x, 4, 1e-5f)),
               "group");
    gen_output(c->g, gen_layer_norm(c->g, ops_scope(c, "norm"), x, 1e-5f), "layer");
    gen_output(c->g, gen_rms_norm(c->g, GEN_NO_AFFINE, x, 1e-5f), "rms");
}

static void norms(void **state)
{
    (void)state;
    ops_check("norms", build_norms, NULL, close_enough);
}

static void build_elementwise(ops_case *c, const void *arg)
{
    (void)arg;
    gen_tensor *a = ops_input(c, "a", GEN_DIMS(3, 50, 40));
    gen_tensor *b = ops_input(c, "b", GEN_DIMS(3, 1, 40));
    gen_tensor *wide = ops_strided(c, "wide", 6, GEN_DIMS(3, 50, 40));
    gen_output(c->g, gen_mul(c->g, a, b), "broadcast");
    gen_output(c->g, gen_sub_tensors(c->g, wide, a), "strided");
    gen_output(c->g, gen_glu(c->g, GEN_ACT_GELU, wide), "gated");
    gen_output(c->g, gen_affine(c->g, gen_gelu(c->g, a), 0.5f, 1.0f), "mapped");
}

static void elementwise(void **state)
{
    (void)state;
    ops_check("elementwise", build_elementwise, NULL, close_enough);
}

static void build_layout(ops_case *c, const void *arg)
{
    (void)arg;
    gen_tensor *x = ops_input(c, "x", GEN_DIMS(2, 21, 14, 9));
    gen_tensor *parts[3] = {x, ops_strided(c, "wide", 3, GEN_DIMS(2, 21, 14, 5)), x};
    gen_output(c->g, gen_concat(c->g, -1, 3, parts), "channels");
    parts[1] = ops_input(c, "rows", GEN_DIMS(2, 8, 14, 9));
    gen_output(c->g, gen_concat(c->g, 1, 3, parts), "rows joined");
    gen_output(c->g, gen_permute(c->g, x, 4, (const int[]){0, 3, 1, 2}), "permuted");
    gen_output(c->g, gen_window(c->g, x, 1, -3, 30), "window");
    gen_output(c->g, gen_upsample_nearest(c->g, x, 43, 31), "enlarged");
    gen_output(c->g, gen_upsample_nearest(c->g, x, 11, 14), "reduced");
}

static void layout(void **state)
{
    (void)state;
    ops_check("layout", build_layout, NULL, (ops_options){.is_exact = true});
}

/* Over the limit of iterations that one software driver has for an invocation, in a naive form. */
static void build_deep(ops_case *c, const void *arg)
{
    (void)arg;
    ops_weight(c, "conv.weight", GEN_F16, 0.0, 0.01, GEN_DIMS(3, 2600, 3, 3));
    ops_weight(c, "conv.bias", GEN_F32, 0.0, 1.0, GEN_DIMS(3));
    gen_tensor *x = ops_input(c, "x", GEN_DIMS(1, 3, 3, 2600));
    gen_output(c->g, gen_conv2d(c->g, ops_scope(c, "conv"), x, GEN_CONV_3X3), "y");
    gen_tensor *row = ops_input(c, "row", GEN_DIMS(1, 1, 70000));
    gen_output(c->g, gen_layer_norm(c->g, GEN_NO_AFFINE, row, 1e-5f), "norm");
    ops_weight(c, "fc.weight", GEN_F16, 0.0, 0.01, GEN_DIMS(3, 40000));
    gen_tensor *deep = ops_input(c, "deep", GEN_DIMS(10, 40000));
    gen_output(c->g, gen_project(c->g, ops_scope(c, "fc"), deep), "product");
    gen_tensor *few = ops_input(c, "few", GEN_DIMS(2, 40000));
    gen_output(c->g, gen_project(c->g, ops_scope(c, "fc"), few), "product of few rows");
    gen_tensor *q = ops_input(c, "q", GEN_DIMS(1, 3, 160));
    gen_tensor *k = ops_input(c, "k", GEN_DIMS(1, 7000, 160));
    gen_output(c->g, gen_attention(c->g, q, k, k, (gen_attention_options){.heads = 1}), "keys");
}

static void deep_sums(void **state)
{
    (void)state;
    ops_check("deep sums", build_deep, NULL, (ops_options){.tolerance = 2e-5});
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest windows[] = {
        cmocka_unit_test(products), cmocka_unit_test(convolutions), cmocka_unit_test(attentions),
        cmocka_unit_test(norms),    cmocka_unit_test(elementwise),  cmocka_unit_test(layout),
    };
    static const struct CMUnitTest deep[] = {cmocka_unit_test(deep_sums)};
    if (argc > 1 && strcmp(argv[1], "vulkan-windows") == 0)
        return OPS_MAIN(argc, argv, windows);
    return OPS_MAIN(argc, argv, deep);
}
