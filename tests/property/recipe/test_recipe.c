/* A solver, a schedule and a guidance, each added by one file and one row, are found by name and
 * work with everything else.  samplers.h tells how; this folder is the example. */
#include "tests/test.h"
#include "tests/unit/toy.h"

static gen_error err;

static void names_are_found(void **state)
{
    const gen_sampler *sampler;
    const char *schedule;
    (void)state;
    assert_true(gen_sampler_parse("Toy Solver toy_even", &sampler, &schedule));
    assert_string_equal(gen_sampler_info_of(sampler)->name, "toy");
    assert_string_equal(schedule, "toy_even");
    assert_non_null(gen_sampler_find("dpmpp_2m")); /* beside all others */
}

static float end_of(const char *sampler, const char *schedule_name)
{
    gen_scheduler_config config;
    gen_schedule *schedule;
    toy_record record;
    EXPECT_OK(gen_scheduler_config_init(&config, NULL, &err));
    const gen_schedule_params p = {
        .sampler = gen_sampler_find(sampler), .schedule = schedule_name, .num_steps = 12};
    EXPECT_OK(gen_schedule_new(&schedule, &config, &p, &err));
    const gen_level first = schedule->steps[0].from;
    EXPECT_OK(toy_solve(p.sampler, toy_denoise, schedule, &config, (float)(10 * first.alpha), NULL,
                        &record, &err));
    assert_int_equal(record.num, 12);
    gen_schedule_free(schedule);
    return record.x[11];
}

static void the_solver_and_the_schedule_solve(void **state)
{
    (void)state;
    const float expected = end_of("euler", "toy_even");
    EXPECT_BETWEEN(end_of("toy", "toy_even"), expected - 1e-5, expected + 1e-5);
    assert_true(fabs(end_of("toy", "karras") - expected) > 1e-3);
}

static gen_status one(void *self, const float *x, const gen_point *at, float *out, gen_error *e)
{
    (void)x;
    (void)at;
    (void)e;
    *out = *(const float *)self;
    return GEN_OK;
}

static void the_guidance_guides(void **state)
{
    float c = 3, u = 1, x = 0, out;
    const gen_denoiser conditional = {.self = &c, .n = 1, .denoise = one};
    const gen_denoiser unconditional = {.self = &u, .n = 1, .denoise = one};
    const gen_denoiser *branches[GEN_MAX_BRANCHES] = {&conditional, &unconditional};
    const gen_guidance_params p = {.kind = "toy_mean", .guidance_scale = 2};
    const gen_point at = {.level = {1, 1}, .num_steps = 1};
    gen_denoiser *g;
    (void)state;
    EXPECT_OK(gen_guidance_new(&g, &p, branches, &err));
    EXPECT_OK(g->denoise(g->self, &x, &at, &out, &err));
    EXPECT_BETWEEN(out, 2, 2);
    gen_denoiser_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_found),
        cmocka_unit_test(the_solver_and_the_schedule_solve),
        cmocka_unit_test(the_guidance_guides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
