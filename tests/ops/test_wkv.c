/* test_wkv.c - the bidirectional WKV operator in both forms against its defining sum. */
#include "tests/ops/ops.h"

typedef struct wkv_case {
    gen_wkv_form form;
    int64_t n, tokens, channels;
    double decay, decay_std, bonus, key_std;
    int extra; /* row stride beyond the width */
    gen_dtype dtype;
} wkv_case;

static void build(ops_case *c, const void *arg)
{
    const wkv_case *p = arg;
    const int64_t dims[] = {p->n, p->tokens, p->channels};
    ops_weight(c, "att.w", p->dtype, p->decay, p->decay_std, GEN_DIMS(p->channels));
    ops_weight(c, "att.u", p->dtype, p->bonus, 0.5, GEN_DIMS(1, 1, p->channels));
    gen_tensor *k = p->extra ? ops_strided(c, "k", p->extra, 3, dims)
                             : ops_input_scaled(c, "k", 0.0, p->key_std, 3, dims);
    gen_tensor *v =
        p->extra ? ops_strided(c, "v", p->extra + 2, 3, dims) : ops_input(c, "v", 3, dims);
    gen_tensor *w = gen_parameter(c->g, ops_scope(c, "att"), "w");
    gen_tensor *u = gen_parameter(c->g, ops_scope(c, "att"), "u");
    gen_output(c->g, gen_wkv(c->g, p->form, w, u, k, v), "y");
}

static void check(wkv_case p, double tolerance)
{
    for (p.form = GEN_WKV_PAPER; p.form <= GEN_WKV_SEGMENTED; p.form++) {
        char what[96];
        snprintf(what, sizeof what, "wkv form %d, %d tokens, %d channels, decay %g", (int)p.form,
                 (int)p.tokens, (int)p.channels, p.decay);
        ops_check(what, build, &p, (ops_options){.tolerance = tolerance});
    }
}

static void all_sizes(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 3, 31, 32, 33, 63, 64, 65, 257};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const double decay = 0.5 / (double)sizes[i];
        check((wkv_case){.n = 2,
                         .tokens = sizes[i],
                         .channels = 65,
                         .decay = decay,
                         .decay_std = decay,
                         .bonus = 0.3,
                         .key_std = 1.0},
              3e-6);
        check((wkv_case){.n = 2,
                         .tokens = 65,
                         .channels = sizes[i],
                         .decay = 0.02,
                         .decay_std = 0.03,
                         .key_std = 1.0,
                         .extra = i % 2 ? 6 : 0,
                         .dtype = i % 2 ? GEN_F16 : GEN_F32},
              3e-6);
    }
}

/* Long rows lose nothing to the scan: thousands of steps, with the error of a few. */
static void long_rows(void **state)
{
    (void)state;
    check((wkv_case){.n = 1,
                     .tokens = 4100,
                     .channels = 3,
                     .decay = 1.0 / 4100,
                     .decay_std = 2.0 / 4100,
                     .key_std = 2.0},
          1e-5);
}

/* Keys far beyond the range of exp, decays that forget at once, and growth instead of decay. */
static void extreme_exponents(void **state)
{
    (void)state;
    check((wkv_case){.n = 1, .tokens = 300, .channels = 20, .decay = 0.01, .key_std = 60.0}, 1e-4);
    check((wkv_case){.n = 1, .tokens = 300, .channels = 20, .decay = -0.3, .key_std = 1.0}, 1e-4);
    const wkv_case fast = {
        .n = 1, .tokens = 300, .channels = 20, .decay = 40.0, .decay_std = 9.0, .key_std = 1.0};
    ops_check("wkv that forgets at once", build, &fast, (ops_options){.tolerance = 1e-4});
}

/* Four tokens whose results were worked out by hand for both forms. */
static void build_known(ops_case *c, const void *arg)
{
    static const float k[] = {0.5f, -0.25f, 1.0f, 0.0f}, v[] = {1.0f, 2.0f, -1.0f, 0.5f};
    static const float w[] = {0.5f}, u[] = {-0.25f};
    gen_tensor *x[4] = {ops_input_values(c, "w", w, GEN_DIMS(1)),
                        ops_input_values(c, "u", u, GEN_DIMS(1)),
                        ops_input_values(c, "k", k, GEN_DIMS(1, 4, 1)),
                        ops_input_values(c, "v", v, GEN_DIMS(1, 4, 1))};
    gen_output(c->g, gen_wkv(c->g, *(const gen_wkv_form *)arg, x[0], x[1], x[2], x[3]), "y");
}

static void known_values(void **state)
{
    (void)state;
    static const double expected[2][4] = {{.337510, .080065, .192124, -.169935},
                                          {.449845, .206528, -.069027, -.103323}};
    gen_error err = {0};
    for (int form = 0; form < 2; form++) {
        const gen_wkv_form arg = (gen_wkv_form)form;
        gen_backend *backend = NULL;
        gen_plan *plan = NULL;
        ops_case c;
        float y[4];
        ops_case_init(&c);
        const ops_config config = {.level = ops_backend_under_test()->levels[0], .num_threads = 1};
        EXPECT_OK(ops_backend_under_test()->open(&backend, &config, &err));
        EXPECT_OK(gen_plan_new(&plan, ops_record(&c, build_known, &arg), backend, 0, &err));
        ops_set_inputs(&c, plan);
        EXPECT_OK(gen_plan_run(plan, &err));
        EXPECT_OK(gen_plan_get_output(plan, "y", y, &err));
        for (int i = 0; i < 4; i++)
            if (!(fabs((double)y[i] - expected[form][i]) < 2e-6))
                fail_msg("form %d, token %d: %.7f, expected %.6f", form, i, (double)y[i],
                         expected[form][i]);
        gen_plan_free(plan);
        ops_backend_under_test()->close(backend);
        ops_case_free(&c);
    }
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_values),
        cmocka_unit_test(all_sizes),
        cmocka_unit_test(long_rows),
        cmocka_unit_test(extreme_exponents),
    };
    return OPS_MAIN(argc, argv, tests);
}
