/* test_norm.c - group, layer and RMS norm. */
#include "tests/ops/ops.h"

typedef struct norm_case {
    gen_op op;
    gen_dtype dtype; /* of weight and bias */
    bool has_affine;
    int groups;
    double mean, std; /* of x */
    bool is_silu;     /* followed by silu: fused into the norm */
    int extra;        /* row stride of x beyond its width */
    int rank;
    int64_t dims[4];
    float eps;
} norm_case;

static void build_norm(ops_case *c, const void *arg)
{
    const norm_case *p = arg;
    const int64_t channels = p->dims[p->rank - 1];
    gen_scope w = GEN_NO_AFFINE;
    if (p->has_affine) {
        ops_weight(c, "norm.weight", p->dtype, 1.0, 0.5, 1, &channels);
        if (p->op != GEN_OP_RMS_NORM)
            ops_weight(c, "norm.bias", p->dtype, 0.0, 0.5, 1, &channels);
        w = ops_scope(c, "norm");
    }
    gen_tensor *x = p->extra ? ops_strided(c, "x", p->extra, p->rank, p->dims)
                             : ops_input_scaled(c, "x", p->mean, p->std, p->rank, p->dims);
    const float eps = p->eps > 0.0f ? p->eps : 1e-5f;
    gen_tensor *y = p->op == GEN_OP_GROUP_NORM   ? gen_group_norm(c->g, w, x, p->groups, eps)
                    : p->op == GEN_OP_LAYER_NORM ? gen_layer_norm(c->g, w, x, eps)
                                                 : gen_rms_norm(c->g, w, x, eps);
    gen_output(c->g, p->is_silu ? gen_silu(c->g, y) : y, "y");
}

static void check(norm_case p, double tolerance)
{
    char what[160], shape[64];
    static const char *const names[] = {"group norm", "layer norm", "rms norm"};
    snprintf(what, sizeof what, "%s of %s, %d groups, weights %s, mean %g, extra %d%s",
             names[p.op - GEN_OP_GROUP_NORM], gen_shape_string(shape, sizeof shape, p.rank, p.dims),
             p.groups, p.has_affine ? gen_dtype_name(p.dtype) : "none", p.mean, p.extra,
             p.is_silu ? ", silu" : "");
    if (p.std <= 0.0)
        p.std = 1.0;
    ops_check(what, build_norm, &p, (ops_options){.tolerance = tolerance});
}

static void group_norm_of_all_shapes(void **state)
{
    (void)state;
    static const struct {
        int groups;
        int64_t channels;
    } widths[] = {{1, 1},   {3, 3},   {1, 63}, {7, 63},  {63, 63},
                  {32, 64}, {64, 64}, {5, 65}, {32, 320}};
    static const int64_t heights[] = {1, 3, 9, 17};
    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++)
        for (size_t j = 0; j < sizeof heights / sizeof heights[0]; j++)
            check((norm_case){.op = GEN_OP_GROUP_NORM,
                              .has_affine = true,
                              .groups = widths[i].groups,
                              .is_silu = j & 1,
                              .extra = j == 2 ? 5 : 0,
                              .rank = 4,
                              .dims = {2, heights[j], heights[j], widths[i].channels}},
                  2e-6);
    check((norm_case){.op = GEN_OP_GROUP_NORM, .groups = 4, .rank = 3, .dims = {3, 65, 64}}, 2e-6);
    check((norm_case){.op = GEN_OP_GROUP_NORM, .groups = 4, .rank = 2, .dims = {3, 64}}, 2e-6);
}

static void norm_weights_of_all_types(void **state)
{
    (void)state;
    for (int op = GEN_OP_GROUP_NORM; op <= GEN_OP_RMS_NORM; op++)
        for (int dtype = GEN_F32; dtype <= GEN_BF16; dtype++)
            check((norm_case){.op = (gen_op)op,
                              .dtype = (gen_dtype)dtype,
                              .has_affine = true,
                              .groups = 13,
                              .rank = 3,
                              .dims = {2, 70, 65}},
                  2e-6);
}

/* The variance is a millionth of the squared mean: sums of squares would lose it all, and a mean
 * rounded to f32 would shift the result by 3e-5. */
static void group_norm_keeps_small_variance(void **state)
{
    (void)state;
    check((norm_case){.op = GEN_OP_GROUP_NORM,
                      .groups = 4,
                      .mean = 1000.0,
                      .std = 1.0,
                      .rank = 4,
                      .dims = {2, 20, 20, 32}},
          2e-6);
    check(
        (norm_case){
            .op = GEN_OP_LAYER_NORM, .mean = 1000.0, .std = 1.0, .rank = 3, .dims = {2, 9, 1280}},
        2e-6);
}

static void row_norms_of_all_widths(void **state)
{
    (void)state;
    static const int64_t widths[] = {1, 3, 15, 16, 17, 63, 64, 65, 320, 1280};
    for (int op = GEN_OP_LAYER_NORM; op <= GEN_OP_RMS_NORM; op++)
        for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++)
            check((norm_case){.op = (gen_op)op,
                              .has_affine = i & 1,
                              .is_silu = i % 3 == 0,
                              .extra = i % 2 ? 3 : 0,
                              .rank = 3,
                              .dims = {2, 65, widths[i]}},
                  2e-6);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(group_norm_of_all_shapes),
        cmocka_unit_test(norm_weights_of_all_types),
        cmocka_unit_test(group_norm_keeps_small_variance),
        cmocka_unit_test(row_norms_of_all_widths),
    };
    return OPS_MAIN(argc, argv, tests);
}
