/* test_conv2d.c - convolutions of all kernels, strides, paddings and epilogues, direct and fast. */
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
    for (int act = 0; act < GEN_NUM_ACTS; act++)
        for (int residual = 0; residual < 3; residual++)
            for (int post = 0; post < GEN_NUM_ACTS; post += residual ? 5 : GEN_NUM_ACTS)
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

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_channels),  cmocka_unit_test(all_image_sizes),
        cmocka_unit_test(all_kernels),   cmocka_unit_test(resized_input),
        cmocka_unit_test(all_epilogues), cmocka_unit_test(large_images),
    };
    if (!ops_choose_backend(argc > 1 ? argv[1] : "cpu"))
        return 2;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
