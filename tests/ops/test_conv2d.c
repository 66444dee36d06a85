/* test_conv2d.c - convolutions of all kernels, strides, paddings and epilogues, direct and fast. */
#include <stdlib.h>

#include "tests/ops/ops.h"

typedef struct conv_case {
    int64_t n, h, w, ci, co, kh, kw;
    gen_conv2d_options options;
    gen_dtype dtype;
    int64_t up_h, up_w; /* resized before, when not 0 */
    gen_act act;
    int residual; /* 0: none, 1: of every position, 2: one row for a sample */
    gen_act post_act;
    int extra;
} conv_case;

static void build_conv(ops_case *c, const void *arg)
{
    const conv_case *p = arg;
    const double std = 1.0 / sqrt((double)(p->ci * p->kh * p->kw));
    ops_weight(c, "conv.weight", p->dtype, 0.0, std, GEN_DIMS(p->co, p->ci, p->kh, p->kw));
    ops_weight(c, "conv.bias", p->dtype, 0.0, 1.0, GEN_DIMS(p->co));
    gen_tensor *x = p->extra ? ops_strided(c, "x", p->extra, GEN_DIMS(p->n, p->h, p->w, p->ci))
                             : ops_input(c, "x", GEN_DIMS(p->n, p->h, p->w, p->ci));
    if (p->up_h)
        x = gen_upsample_nearest(c->g, x, p->up_h, p->up_w);
    gen_tensor *y = gen_conv2d(c->g, ops_scope(c, "conv"), x, p->options);
    if (p->act != GEN_ACT_NONE)
        y = gen_activation(c->g, p->act, y);
    if (p->residual == 1)
        y = gen_add(c->g, y, ops_input(c, "r", y->rank, y->dims));
    else if (p->residual == 2)
        y = gen_add(c->g, y, ops_input(c, "r", GEN_DIMS(p->n, 1, 1, p->co)));
    if (p->post_act != GEN_ACT_NONE)
        y = gen_activation(c->g, p->post_act, y);
    gen_output(c->g, y, "y");
}

static void check(conv_case p)
{
    char what[180];
    if (p.n == 0)
        p.n = 1;
    if (p.kh == 0)
        p.kh = p.kw = 3;
    snprintf(what, sizeof what,
             "conv %dx%d of [%d,%d,%d,%d] to %d, stride %d, pad %d %d %d %d, up %d, %s, act %d, "
             "residual %d, then %d, extra %d",
             (int)p.kh, (int)p.kw, (int)p.n, (int)p.h, (int)p.w, (int)p.ci, (int)p.co,
             p.options.stride, p.options.pad_top, p.options.pad_left, p.options.pad_bottom,
             p.options.pad_right, (int)p.up_h, gen_dtype_name(p.dtype), (int)p.act, p.residual,
             (int)p.post_act, p.extra);
    /* Winograd loses a digit or two (cpu.md 3.2): 4e-5 of the root mean square at most. */
    ops_check(what, build_conv, &p,
              (ops_options){.tolerance = 5e-5,
                            .try_openblas = true,
                            .try_exact_conv = true,
                            .exact_tolerance = 2e-6});
}

static void all_channels(void **state)
{
    (void)state;
    static const int64_t channels[] = {1, 3, 4, 8, 63, 64, 65};
    for (int i = 0; i < 7; i++)
        for (int o = 0; o < 7; o++)
            check((conv_case){.h = 5,
                              .w = 7,
                              .ci = channels[i],
                              .co = channels[o],
                              .options = GEN_CONV_3X3,
                              .dtype = (gen_dtype)((i + o) % 3),
                              .extra = i % 3});
}

static void all_image_sizes(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 3, 4, 13, 26, 50};
    for (int i = 0; i < 6; i++)
        for (int k = 0; k < 6; k++)
            check((conv_case){.n = 1 + (i + k) % 2,
                              .h = sizes[i],
                              .w = sizes[k],
                              .ci = 24,
                              .co = 40,
                              .options = GEN_CONV_3X3,
                              .dtype = GEN_F16,
                              .residual = (i + k) % 3});
}

static void all_kernels(void **state)
{
    (void)state;
    for (int kh = 1; kh <= 5; kh++)
        for (int kw = 1; kw <= 5; kw += 2)
            for (int stride = 1; stride <= 3; stride++)
                check((conv_case){.n = 2,
                                  .h = 9,
                                  .w = 11,
                                  .ci = kh == 2 ? 5 : 16,
                                  .co = 19,
                                  .kh = kh,
                                  .kw = kw,
                                  .options = {.stride = stride,
                                              .pad_top = kh / 2,
                                              .pad_left = stride - 1,
                                              .pad_bottom = kw % 3,
                                              .pad_right = kw / 2}});
    check((conv_case){.h = 16,
                      .w = 16,
                      .ci = 32,
                      .co = 32,
                      .options = {.stride = 2, .pad_bottom = 1, .pad_right = 1},
                      .dtype = GEN_BF16});
}

static void resized_input(void **state)
{
    (void)state;
    static const struct {
        int64_t h, w, up_h, up_w;
    } sizes[] = {{8, 8, 16, 16}, {5, 7, 9, 13}, {13, 13, 26, 26}, {25, 26, 50, 52}, {3, 4, 3, 9}};
    for (int i = 0; i < 5; i++)
        check((conv_case){.n = 2,
                          .h = sizes[i].h,
                          .w = sizes[i].w,
                          .ci = 32,
                          .co = 33,
                          .options = GEN_CONV_3X3,
                          .up_h = sizes[i].up_h,
                          .up_w = sizes[i].up_w,
                          .residual = i % 3});
}

static void all_epilogues(void **state)
{
    (void)state;
    int counter = 0;
    for (int act = 0; act < GEN_NUM_ACTS; act++)
        for (int residual = 0; residual < 3; residual++)
            for (int post = 0; post < GEN_NUM_ACTS; post += residual ? 5 : GEN_NUM_ACTS)
                if (ops_takes(&counter, 4))
                    check((conv_case){.n = 2,
                                      .h = 6,
                                      .w = 5,
                                      .ci = 16,
                                      .co = act & 1 ? 35 : 64,
                                      .options = GEN_CONV_3X3,
                                      .dtype = (gen_dtype)(act % 3),
                                      .act = (gen_act)act,
                                      .residual = residual,
                                      .post_act = (gen_act)post});
}

/* Several k-blocks, row blocks and tile blocks. */
static void large_images(void **state)
{
    (void)state;
    check((conv_case){.n = 2, .h = 33, .w = 31, .ci = 136, .co = 72, .options = GEN_CONV_3X3});
    check(
        (conv_case){.h = 49, .w = 50, .ci = 40, .co = 24, .options = GEN_CONV_3X3, .residual = 2});
    check((conv_case){.h = 12, .w = 12, .ci = 320, .co = 96, .options = GEN_CONV_3X3});
    check((conv_case){.h = 40, .w = 40, .ci = 100, .co = 130, .kh = 1, .kw = 1});
}

typedef struct frames_case {
    int kernel[3], flat; /* flat: the weight is stored as [Co,Ci*kt*kh*kw] */
    int64_t frames, h, w, ci, co;
    gen_dtype dtype;
} frames_case;

static void build_frames(ops_case *c, const void *arg)
{
    const frames_case *p = arg;
    const int *k = p->kernel;
    if (p->flat)
        ops_weight(c, "conv.weight", p->dtype, 0.0, 0.2,
                   GEN_DIMS(p->co, p->ci * k[0] * k[1] * k[2]));
    else
        ops_weight(c, "conv.weight", p->dtype, 0.0, 0.2, GEN_DIMS(p->co, p->ci, k[0], k[1], k[2]));
    ops_weight(c, "conv.bias", GEN_F32, 0.0, 1.0, GEN_DIMS(p->co));
    gen_tensor *x = ops_input(c, "x", GEN_DIMS(p->frames, p->h, p->w, p->ci));
    const gen_conv2d_options options = {.stride = 1, .pad_top = k[1] / 2, .pad_left = k[2] / 2};
    gen_output(c->g, gen_conv3d(c->g, ops_scope(c, "conv"), k, x, options), "y");
}

/* The sum over frames, rows, columns and channels, written down. */
static double frames_sum(const frames_case *p, const float *w, const float *x, const int64_t at[4])
{
    const int *k = p->kernel;
    double sum = 0;
    for (int t = 0; t < k[0]; t++)
        for (int i = 0; i < k[1]; i++)
            for (int j = 0; j < k[2]; j++) {
                const int64_t row = at[1] + i - k[1] / 2, col = at[2] + j - k[2] / 2;
                if (row < 0 || row >= p->h || col < 0 || col >= p->w)
                    continue;
                for (int64_t c = 0; c < p->ci; c++)
                    sum += (double)w[(((at[3] * p->ci + c) * k[0] + t) * k[1] + i) * k[2] + j] *
                           (double)x[(((at[0] + t) * p->h + row) * p->w + col) * p->ci + c];
            }
    return sum;
}

static void check_frames(const frames_case *p)
{
    gen_error err = {0};
    gen_backend *backend = NULL;
    gen_plan *plan = NULL;
    ops_case c;
    ops_case_init(&c);
    const ops_config config = {.level = ops_backend_under_test()->levels[0], .num_threads = 2};
    EXPECT_OK(ops_backend_under_test()->open(&backend, &config, &err));
    EXPECT_OK(gen_plan_new(&plan, ops_record(&c, build_frames, p), backend, 0, &err));
    const gen_tensor *y = gen_graph_find(gen_plan_graph(plan), "y", 0);
    const gen_weight *w = gen_weights_find(c.weights, "conv.weight");
    const gen_weight *b = gen_weights_find(c.weights, "conv.bias");
    const size_t n = (size_t)gen_tensor_elements(y), count = w->size / gen_dtype_size(w->dtype);
    float *out = malloc(n * sizeof *out), *wide = malloc(count * sizeof *wide);
    assert_non_null(out);
    assert_non_null(wide);
    gen_to_f32(wide, w->data, w->dtype, count);
    ops_set_inputs(&c, plan);
    EXPECT_OK(gen_plan_run(plan, &err));
    EXPECT_OK(gen_plan_get_output(plan, "y", out, &err));
    for (size_t i = 0; i < n; i++) {
        int64_t at[4], rest = (int64_t)i;
        for (int d = 3; d >= 0; d--) {
            at[d] = rest % y->dims[d];
            rest /= y->dims[d];
        }
        const double expected =
            frames_sum(p, wide, c.inputs[0].data, at) + (double)((const float *)b->data)[at[3]];
        if (!(fabs((double)out[i] - expected) < 1e-4))
            fail_msg("conv3d at %zu: %g, expected %g", i, (double)out[i], expected);
    }
    free(out);
    free(wide);
    gen_plan_free(plan);
    gen_weights_drop_prepared(c.weights, backend);
    ops_backend_under_test()->close(backend);
    ops_case_free(&c);
}

static void convolution_over_frames(void **state)
{
    (void)state;
    static const frames_case cases[] = {
        {{3, 3, 3}, 0, 5, 6, 7, 8, 19, GEN_F32},   {{3, 3, 3}, 0, 3, 9, 8, 16, 32, GEN_BF16},
        {{3, 1, 1}, 0, 4, 5, 3, 24, 40, GEN_F16},  {{1, 3, 3}, 0, 2, 5, 6, 3, 16, GEN_F32},
        {{1, 2, 2}, 1, 2, 6, 4, 10, 24, GEN_BF16}, {{2, 2, 2}, 1, 3, 4, 4, 5, 6, GEN_F32},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ops_check("conv3d", build_frames, &cases[i], (ops_options){.tolerance = 1e-5});
        check_frames(&cases[i]);
    }
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_channels),
        cmocka_unit_test(all_image_sizes),
        cmocka_unit_test(all_kernels),
        cmocka_unit_test(resized_input),
        cmocka_unit_test(all_epilogues),
        cmocka_unit_test(large_images),
        cmocka_unit_test(convolution_over_frames),
    };
    return OPS_MAIN(argc, argv, tests);
}
