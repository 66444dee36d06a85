/* An op added at the places gen/core/ops.h tells, each in a file of its own here, works with the
 * libraries as they are built: on every backend, with rows that are apart, in f16, in windows, in
 * place.  test_op_places.c counts its lines. */
#include "tests/ops/ops.h"
#include "tests/property/op_recipe/leaky.h"

typedef struct leaky_case {
    int64_t width;
    int extra; /* of the rows of x */
} leaky_case;

static void build_alone(ops_case *c, const void *arg)
{
    const leaky_case *p = arg;
    const int64_t dims[] = {2, 7, p->width};
    gen_tensor *x = p->extra ? ops_strided(c, "x", p->extra, 3, dims) : ops_input(c, "x", 3, dims);
    gen_output(c->g, gen_leaky(c->g, x, 0.1f), "y");
}

static void every_size_and_stride(void **state)
{
    static const int64_t widths[] = {65, 64, 63, 3, 1};
    (void)state;
    for (int extra = 7; extra >= 0; extra -= 7)
        for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++)
            ops_check("leaky", build_alone, &(leaky_case){widths[i], extra},
                      (ops_options){.is_exact = true});
}

/* Rows longer than a task of the CPU, and than the windows of ops_vulkan_windows. */
static void build_long(ops_case *c, const void *arg)
{
    (void)arg;
    gen_output(c->g, gen_leaky(c->g, ops_strided(c, "x", 5, GEN_DIMS(1, 40000)), 0.25f), "y");
    gen_output(c->g, gen_leaky(c->g, ops_input(c, "z", GEN_DIMS(300, 33)), 0.5f), "w");
}

static void long_rows_and_many(void **state)
{
    (void)state;
    ops_check("leaky, long", build_long, NULL, (ops_options){.is_exact = true});
}

/* Between others: behind a product that could be fused with activations, before a sum. */
static void build_among(ops_case *c, const void *arg)
{
    (void)arg;
    ops_weight(c, "fc.weight", GEN_F16, 0.0, 0.1, GEN_DIMS(70, 63));
    ops_weight(c, "fc.bias", GEN_F32, 0.0, 1.0, GEN_DIMS(70));
    gen_tensor *parts[2], *x = ops_input(c, "x", GEN_DIMS(2, 9, 63));
    gen_chunk(c->g, gen_leaky(c->g, gen_linear(c->g, ops_scope(c, "fc"), x), 0.2f), 2, parts);
    gen_tensor *h = gen_silu(c->g, gen_leaky(c->g, parts[1], 0.3f));
    gen_output(c->g, gen_leaky(c->g, gen_add(c->g, parts[0], h), 0.4f), "y");
}

static void among_other_ops(void **state)
{
    (void)state;
    ops_check("leaky among others", build_among, NULL, (ops_options){.tolerance = 5e-6});
}

/* The third field of its row. */
static void it_works_in_place(void **state)
{
    gen_error err = {0};
    gen_backend *backend;
    gen_graph *g;
    gen_plan *plan;
    (void)state;
    EXPECT_OK(ops_backend_under_test()->open(&backend, &(ops_config){"", 1}, &err));
    EXPECT_OK(gen_graph_new(&g, &err));
    gen_tensor *h = gen_silu(g, gen_input(g, "x", GEN_F32, GEN_DIMS(3, 65)));
    gen_tensor *y = gen_leaky(g, h, 0.1f);
    gen_output(g, gen_permute(g, y, 2, (int[]){1, 0}), "y");
    EXPECT_OK(gen_plan_new(&plan, g, backend, 0, &err));
    assert_int_equal(y->arena_offset, h->arena_offset);
    gen_plan_free(plan);
    ops_backend_under_test()->close(backend);
}

static void a_wrong_slope_is_an_error_that_sticks(void **state)
{
    gen_error err = {0};
    gen_graph *g;
    (void)state;
    EXPECT_OK(gen_graph_new(&g, &err));
    gen_tensor *y = gen_leaky(g, gen_input(g, "x", GEN_F32, GEN_DIMS(3, 65)), 1.5f);
    assert_true(gen_leaky(g, y, 0.1f)->is_poisoned);
    assert_int_equal(gen_graph_status(g, &err), GEN_ERROR_MODEL);
    assert_string_equal(err.message, "x: a slope of 1.5, expected one in (0,1)");
    gen_graph_free(g);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_size_and_stride),
        cmocka_unit_test(long_rows_and_many),
        cmocka_unit_test(among_other_ops),
        cmocka_unit_test(it_works_in_place),
        cmocka_unit_test(a_wrong_slope_is_an_error_that_sticks),
    };
    return OPS_MAIN(argc, argv, tests);
}
