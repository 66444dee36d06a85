/* Solvers on the Gaussian toy, against tables computed in double by other means. */
#include "tests/test.h"
#include "gen/core/alloc.h"
#include "tests/unit/toy.h"

static gen_error err;

/* Printed to nine decimals; latents are f32 between steps. */
#define DIGITS 1e-6

static void check(const char *sampler, toy_function *denoise, const gen_scheduler_config *config,
                  gen_schedule *schedule, float start, toy_noise *noise, const float *expected,
                  int num)
{
    toy_record record;
    EXPECT_OK(toy_solve(gen_sampler_find(sampler), denoise, schedule, config, start, noise, &record,
                        &err));
    assert_int_equal(record.num, num);
    expect_close(record.x, expected, (size_t)num, DIGITS, sampler);
}

/* Karras, 5 steps over Stable Diffusion's levels, from y = 10, in the sampler's coordinates. */
static void check_karras(const char *sampler, const float *z, int draws, const float expected[5])
{
    gen_scheduler_config config;
    gen_schedule *schedule;
    EXPECT_OK(gen_scheduler_config_init(&config, NULL, &err));
    const gen_sampler *s = gen_sampler_find(sampler);
    assert_non_null(s);
    EXPECT_OK(gen_schedule_new(
        &schedule, &config,
        &(gen_schedule_params){.sampler = s, .schedule = "karras", .num_steps = 5}, &err));
    toy_noise noise = {z, draws, 0};
    float own[5]; /* the table is in VE coordinates */
    for (int i = 0; i < 5; i++)
        own[i] = (float)(expected[i] * schedule->steps[i].to.alpha);
    check(sampler, toy_denoise, &config, schedule, (float)(10 * schedule->steps[0].from.alpha),
          &noise, own, 5);
    assert_int_equal(noise.drawn, draws);
    gen_schedule_free(schedule);
}

static void ve_table(void **state)
{
    (void)state;
    static const float z[] = {1, -1, 0.5f, -0.5f, 0};
    check_karras(
        "euler", NULL, 0,
        (const float[]){3.491164816f, 1.172858485f, 0.563681057f, 0.517758406f, 0.517019911f});
    check_karras(
        "ddim", NULL, 0,
        (const float[]){3.491164816f, 1.172858485f, 0.563681057f, 0.517758406f, 0.517019911f});
    check_karras(
        "heun", NULL, 0,
        (const float[]){3.514666767f, 1.293724306f, 0.824351335f, 0.773183037f, 0.771578307f});
    check_karras(
        "dpmpp_2m", NULL, 0,
        (const float[]){3.491164816f, 1.182891079f, 0.608238291f, 0.629304404f, 0.628187617f});
    check_karras(
        "unipc", NULL, 0,
        (const float[]){3.491164816f, 1.184939972f, 0.613603842f, 0.638892343f, 0.637743040f});
    check_karras(
        "euler_a", z, 5,
        (const float[]){5.885806088f, -0.478391667f, 0.292181358f, 0.279220905f, 0.279291374f});
    check_karras(
        "dpmpp_2m_sde", z, 5,
        (const float[]){5.885806088f, -0.451460431f, 0.201429590f, 0.219782232f, 0.220054279f});
}

static void flow_euler_table(void **state)
{
    (void)state;
    static const float expected[] = {1.38f, 1.206923077f, 0.945405405f, 0.618162162f};
    gen_scheduler_config config;
    gen_schedule *schedule;
    EXPECT_OK(gen_scheduler_config_init(&config, "FlowMatchEulerDiscreteScheduler", &err));
    config.shift = 3;
    EXPECT_OK(gen_schedule_new(&schedule, &config,
                               &(gen_schedule_params){.schedule = "flow_uniform", .num_steps = 4},
                               &err));
    check("euler", toy_denoise, &config, schedule, 1.5f, NULL, expected, 4);
    gen_schedule_free(schedule);
}

static void flow_unipc_table(void **state)
{
    (void)state;
    static const float expected[] = {1.442817151f, 1.360649346f, 1.233659959f, 1.017188327f,
                                     0.574672107f};
    gen_scheduler_config config;
    gen_schedule *schedule;
    EXPECT_OK(gen_scheduler_config_init(&config, "UniPCMultistepScheduler", &err));
    EXPECT_OK(gen_scheduler_config_set_bool(&config, "use_flow_sigmas", true, &err));
    EXPECT_OK(gen_scheduler_config_set_number(&config, "flow_shift", 5, &err));
    EXPECT_OK(gen_schedule_new(&schedule, &config, &(gen_schedule_params){.num_steps = 5}, &err));
    check("unipc", toy_denoise, &config, schedule, 1.5f, NULL, expected, 5);
    gen_schedule_free(schedule);
}

static void ddim_table(void **state)
{
    (void)state;
    static const float z[] = {1, -1, 0.5f, -0.5f, 0};
    static const float plain[] = {1.010461060f, 0.965406634f, 0.845898176f, 0.618451178f,
                                  0.618079929f};
    static const float clean[] = {1.010461060f, 0.965406634f, 0.845898176f, 0.618451178f,
                                  0.616815698f};
    static const float noisy[] = {1.348001475f, 0.127127258f, 0.444448468f, 0.371362281f,
                                  0.371193010f};
    gen_scheduler_config config;
    EXPECT_OK(gen_scheduler_config_init(&config, "DDIMScheduler", &err));
    EXPECT_OK(gen_scheduler_config_set_string(&config, "beta_schedule", "scaled_linear", &err));
    EXPECT_OK(gen_scheduler_config_set_number(&config, "beta_start", 0.00085, &err));
    EXPECT_OK(gen_scheduler_config_set_number(&config, "beta_end", 0.012, &err));
    EXPECT_OK(gen_scheduler_config_set_number(&config, "steps_offset", 1, &err));
    config.clip_sample = false;
    for (int i = 0; i < 3; i++) {
        gen_schedule *schedule;
        toy_noise noise = {z, 5, 0};
        config.set_alpha_to_one = i > 0;
        config.eta = i == 2;
        EXPECT_OK(
            gen_schedule_new(&schedule, &config, &(gen_schedule_params){.num_steps = 5}, &err));
        check("ddim", toy_denoise, &config, schedule, 1, &noise,
              i == 0   ? plain
              : i == 1 ? clean
                       : noisy,
              5);
        assert_int_equal(noise.drawn, i == 2 ? 5 : 0);
        gen_schedule_free(schedule);
    }
}

static void lcm_table(void **state)
{
    (void)state;
    static const float z[] = {-0.7f, 0.4f, 1.1f};
    static const float expected[] = {-0.477932835f, 0.351155467f, 0.973972908f, 0.813545975f};
    gen_scheduler_config config;
    gen_schedule *schedule;
    toy_noise noise = {z, 3, 0};
    EXPECT_OK(gen_scheduler_config_init(&config, "LCMScheduler", &err));
    EXPECT_OK(gen_schedule_new(&schedule, &config, &(gen_schedule_params){.num_steps = 4}, &err));
    check("lcm", toy_consistency, &config, schedule, 1.2f, &noise, expected, 4);
    assert_int_equal(noise.drawn, 3);
    gen_schedule_free(schedule);
}

/* ---- failing -----------------------------------------------------------------------------------
 */

static gen_status denoise_nan(void *self, const float *x, const gen_point *at, float *out,
                              gen_error *e)
{
    (void)self;
    (void)x;
    (void)e;
    out[0] = 1;
    out[1] = at->step == 2 ? NAN : 1;
    return GEN_OK;
}

static gen_status denoise_fails(void *self, const float *x, const gen_point *at, float *out,
                                gen_error *e)
{
    (void)self;
    (void)x;
    out[0] = out[1] = 0;
    return at->step == 1 ? gen_fail(e, GEN_ERROR_DEVICE, "the device is gone") : GEN_OK;
}

static gen_status cancel_after_two(void *self, const gen_step_report *report, gen_error *e)
{
    ++*(int *)self;
    return report->step == 1 ? gen_fail(e, GEN_ERROR_CANCELLED, "stopped") : GEN_OK;
}

static void what_goes_wrong_in_a_step_is_passed_up(void **state)
{
    (void)state;
    gen_scheduler_config config;
    gen_schedule *schedule;
    int reports = 0;
    float x[2] = {0};
    gen_denoiser d = {.n = 2, .denoise = denoise_nan};
    EXPECT_OK(gen_scheduler_config_init(&config, NULL, &err));
    EXPECT_OK(gen_schedule_new(&schedule, &config, &(gen_schedule_params){.num_steps = 5}, &err));
    gen_solve_params params = {.denoiser = &d, .schedule = schedule, .config = &config};
    for (int i = 0; gen_sampler_at(i); i++) {
        const gen_sampler *s = gen_sampler_at(i);
        config.eta = gen_sampler_info_of(s)->is_stochastic ? 0.3 : 0;
        if (gen_sampler_info_of(s)->is_stochastic) {
            d.denoise = denoise_fails;
            EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_solve(s, &params, x, &err)); /* no noise source */
            continue;
        }
        d.denoise = denoise_nan;
        EXPECT_STATUS(GEN_ERROR_INTERNAL, gen_solve(s, &params, x, &err));
        EXPECT_CONTAINS(err.message, "[1] is not a number");
        memset(x, 0, sizeof x);
        d.denoise = denoise_fails;
        EXPECT_STATUS(GEN_ERROR_DEVICE, gen_solve(s, &params, x, &err));
        memset(x, 0, sizeof x);
    }
    gen_alloc_fail_at(1);
    EXPECT_STATUS(GEN_ERROR_MEMORY, gen_solve(gen_sampler_find("heun"), &params, x, &err));
    gen_alloc_fail_at(0);
    d.denoise = denoise_nan;
    params.on_step = cancel_after_two;
    params.on_step_self = &reports;
    EXPECT_STATUS(GEN_ERROR_CANCELLED, gen_solve(gen_sampler_find("euler"), &params, x, &err));
    assert_int_equal(reports, 2);
    gen_schedule_free(schedule);
}

static void names_of_other_programs_are_known(void **state)
{
    (void)state;
    static const struct {
        const char *text, *sampler, *schedule;
    } cases[] = {{"Euler a", "euler_a", NULL},
                 {"DPM++ 2M Karras", "dpmpp_2m", "karras"},
                 {"dpm++2m", "dpmpp_2m", NULL},
                 {"dpmpp_2m_sde", "dpmpp_2m_sde", NULL},
                 {"DDIMScheduler", "ddim", NULL},
                 {"uni_pc", "unipc", NULL},
                 {"euler-sgm_uniform", "euler", "sgm_uniform"}};
    const gen_sampler *sampler;
    const char *schedule;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (!gen_sampler_parse(cases[i].text, &sampler, &schedule))
            fail_msg("%s is not known", cases[i].text);
        assert_string_equal(gen_sampler_info_of(sampler)->name, cases[i].sampler);
        if (cases[i].schedule)
            assert_string_equal(schedule, cases[i].schedule);
        else
            assert_null(schedule);
    }
    assert_false(gen_sampler_parse("euler karas", &sampler, &schedule));
    assert_false(gen_sampler_parse("", &sampler, &schedule));
    for (int i = 0; gen_sampler_at(i); i++) /* every name and alias belongs to one */
        for (int k = 0; gen_sampler_at(k); k++)
            if (k != i)
                assert_ptr_not_equal(gen_sampler_find(gen_sampler_info_of(gen_sampler_at(k))->name),
                                     gen_sampler_at(i));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ve_table),
        cmocka_unit_test(flow_euler_table),
        cmocka_unit_test(flow_unipc_table),
        cmocka_unit_test(ddim_table),
        cmocka_unit_test(lcm_table),
        cmocka_unit_test(what_goes_wrong_in_a_step_is_passed_up),
        cmocka_unit_test(names_of_other_programs_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
