/* Schedules against the published lists, and configurations against their mistakes. */
#include "tests/test.h"

#include <stdlib.h>

#include "gen/core/alloc.h"
#include "samplers/samplers.h"

static gen_error err;

/* Stable Diffusion's levels under a class's rules. */
static gen_scheduler_config stable_diffusion(const char *class_name, gen_spacing spacing,
                                             int offset)
{
    gen_scheduler_config c;
    EXPECT_OK(gen_scheduler_config_init(&c, class_name, &err));
    EXPECT_OK(gen_scheduler_config_set_string(&c, "beta_schedule", "scaled_linear", &err));
    EXPECT_OK(gen_scheduler_config_set_number(&c, "beta_start", 0.00085, &err));
    EXPECT_OK(gen_scheduler_config_set_number(&c, "beta_end", 0.012, &err));
    c.timestep_spacing = spacing;
    c.steps_offset = offset;
    return c;
}

static gen_schedule *made(const gen_scheduler_config *config, gen_schedule_params params)
{
    gen_schedule *s = NULL;
    EXPECT_OK(gen_schedule_new(&s, config, &params, &err));
    return s;
}

static void expect_times(const gen_schedule *s, int first, const double *expected, int num,
                         double tolerance)
{
    for (int i = 0; i < num; i++)
        EXPECT_BETWEEN(s->steps[first + i].time, expected[i] - tolerance, expected[i] + tolerance);
}

static void check_times(const char *class_name, gen_spacing spacing, int offset, int n,
                        const double *first, const double *last, int num)
{
    const gen_scheduler_config c = stable_diffusion(class_name, spacing, offset);
    gen_schedule *s = made(&c, (gen_schedule_params){.num_steps = n});
    assert_int_equal(s->num_steps, n);
    expect_times(s, 0, first, num, 0);
    expect_times(s, n - num, last, num, 0);
    gen_schedule_free(s);
}

#define TIMES(...) ((const double[]){__VA_ARGS__})

static void whole_times_follow_the_class(void **state)
{
    (void)state;
    check_times("DDIMScheduler", GEN_SPACING_LEADING, 0, 20, TIMES(950, 900, 850),
                TIMES(100, 50, 0), 3);
    check_times("DDIMScheduler", GEN_SPACING_LEADING, 1, 20, TIMES(951, 901, 851),
                TIMES(101, 51, 1), 3);
    check_times("DDIMScheduler", GEN_SPACING_LEADING, 1, 3, TIMES(667, 334, 1), TIMES(667, 334, 1),
                3);
    check_times("DDIMScheduler", GEN_SPACING_LEADING, 1, 7, TIMES(853, 711, 569),
                TIMES(285, 143, 1), 3);
    check_times("DDIMScheduler", GEN_SPACING_TRAILING, 0, 20, TIMES(999, 949, 899),
                TIMES(149, 99, 49), 3);
    check_times("DDIMScheduler", GEN_SPACING_TRAILING, 0, 7, TIMES(999, 856, 713, 570),
                TIMES(570, 428, 285, 142), 4);
    check_times("DDIMScheduler", GEN_SPACING_TRAILING, 0, 30, TIMES(999, 966, 932, 899),
                TIMES(132, 99, 66, 32), 4);
    check_times("DDIMScheduler", GEN_SPACING_LINSPACE, 0, 20, TIMES(999, 946, 894, 841, 789),
                TIMES(210, 158, 105, 53, 0), 5);
    check_times("DDPMScheduler", GEN_SPACING_LINSPACE, 0, 7, TIMES(999, 832, 666, 500),
                TIMES(500, 333, 166, 0), 4);
    check_times("DPMSolverMultistepScheduler", GEN_SPACING_LEADING, 1, 20, TIMES(941, 894, 847),
                TIMES(142, 95, 48), 3);
    check_times("UniPCMultistepScheduler", GEN_SPACING_LINSPACE, 0, 20, TIMES(999, 949, 899, 849),
                TIMES(200, 150, 100, 50), 4);
    check_times("LCMScheduler", GEN_SPACING_LEADING, 0, 4, TIMES(999, 759), TIMES(499, 259), 2);
    check_times("LCMScheduler", GEN_SPACING_LEADING, 0, 8, TIMES(999, 879, 759),
                TIMES(379, 259, 139), 3);
}

/* sigmas[i] of Euler's coordinates; the last is where the last step lands. */
static void check_sigmas(const gen_scheduler_config *c, gen_schedule_params params,
                         const double *expected, int num, double tolerance)
{
    gen_schedule *s = made(c, params);
    assert_true(num <= s->num_steps + 1);
    for (int i = 0; i < num; i++) {
        const double sigma = i < s->num_steps ? s->steps[i].from.sigma : s->steps[i - 1].to.sigma;
        EXPECT_BETWEEN(sigma, expected[i] * (1 - tolerance), expected[i] * (1 + tolerance));
        if (i > 0 && i < s->num_steps)
            EXPECT_BETWEEN(s->steps[i - 1].to.sigma, sigma, sigma);
    }
    gen_schedule_free(s);
}

static void sigmas_of_stable_diffusion(void **state)
{
    (void)state;
    const gen_scheduler_config plain = stable_diffusion(NULL, GEN_SPACING_DISCRETE, 0);
    check_sigmas(&plain, (gen_schedule_params){.num_steps = 5, .schedule = "karras"},
                 TIMES(14.614641, 4.796534758, 1.274100193, 0.247949900, 0.029167158, 0), 6, 1e-7);
    check_sigmas(&plain, (gen_schedule_params){.num_steps = 5, .schedule = "exponential"},
                 TIMES(14.6146410, 3.0889768, 0.6528917, 0.1379964, 0.0291672, 0), 6, 2e-6);
    check_sigmas(&plain, (gen_schedule_params){.num_steps = 4, .schedule = "sgm_uniform"},
                 TIMES(14.6146412, 4.0860811, 1.6155803, 0.6951495, 0), 5, 1e-7);
    check_sigmas(&plain, (gen_schedule_params){.num_steps = 20, .schedule = "discrete"},
                 TIMES(14.61464123, 10.7468025), 2, 1e-7);
    const gen_scheduler_config euler =
        stable_diffusion("EulerDiscreteScheduler", GEN_SPACING_LINSPACE, 0);
    check_sigmas(&euler, (gen_schedule_params){.num_steps = 20}, TIMES(14.61464123, 10.7468440), 2,
                 1e-8);
    const gen_scheduler_config trailing =
        stable_diffusion("EulerDiscreteScheduler", GEN_SPACING_TRAILING, 0);
    check_sigmas(&trailing, (gen_schedule_params){.num_steps = 10},
                 TIMES(14.614645, 8.302805, 5.087765, 3.321084, 2.276464, 1.612887, 1.160579,
                       0.829860, 0.569285, 0.341674, 0),
                 11, 2e-6); /* a table in f32 */
}

static void optimised_and_beta_schedules(void **state)
{
    (void)state;
    const gen_scheduler_config plain = stable_diffusion(NULL, GEN_SPACING_DISCRETE, 0);
    check_sigmas(&plain, (gen_schedule_params){.num_steps = 10, .schedule = "ays"},
                 TIMES(14.6146412293, 6.4745760956, 3.8636745985, 2.6946151520, 1.8841921177,
                       1.3943805092, 0.9642583904, 0.6523686016, 0.3977456272, 0.1515232662, 0),
                 11, 1e-9);
    check_sigmas(&plain, (gen_schedule_params){.num_steps = 5, .schedule = "ays"},
                 TIMES(14.6146412293, 3.8636745985, 1.8841921177, 0.9642583904, 0.3977456272, 0), 6,
                 1e-9);
    gen_schedule *s = made(&plain, (gen_schedule_params){.num_steps = 4, .schedule = "beta"});
    expect_times(s, 0, TIMES(999, 823, 500, 176), 4, 0); /* 999 at 1, .824320, .5, .175680 */
    gen_schedule_free(s);
    s = made(&plain, (gen_schedule_params){.num_steps = 1000, .schedule = "beta"});
    assert_true(s->num_steps < 1000); /* no time twice */
    gen_schedule_free(s);
    check_sigmas(&plain, (gen_schedule_params){.num_steps = 5, .schedule = "beta_sigmas"},
                 TIMES(14.6146412293, 0.0291671582 + 0.824320 * 14.5854740711,
                       0.0291671582 + 0.5 * 14.5854740711, 0.0291671582 + 0.175680 * 14.5854740711,
                       0.0291671582, 0),
                 6, 4e-6); /* quantiles printed to six digits */
}

/* kappa to training time: log-interpolated, between the ends. */
static void times_of_karras_sigmas(void **state)
{
    (void)state;
    const gen_scheduler_config c = stable_diffusion(NULL, GEN_SPACING_DISCRETE, 0);
    gen_schedule *s = made(&c, (gen_schedule_params){.num_steps = 10, .schedule = "karras"});
    expect_times(s, 0,
                 TIMES(999, 916.284, 815.04492, 687.15326, 523.19891, 327.14722, 145.93903,
                       40.85687, 6.73241, 0),
                 10, 2e-3); /* a table in f32 */
    gen_schedule_free(s);
    s = made(&c, (gen_schedule_params){.sigmas = TIMES(14.6, 1, 0.5), .num_sigmas = 3});
    expect_times(s, 0, TIMES(998.834729, 353.890411, 169.314771), 3, 1e-6);
    gen_schedule_free(s);
}

static void starts_are_scaled_as_the_spacing_says(void **state)
{
    (void)state;
    gen_scheduler_config c = stable_diffusion("EulerDiscreteScheduler", GEN_SPACING_LEADING, 1);
    gen_schedule *s = made(&c, (gen_schedule_params){.num_steps = 10});
    EXPECT_BETWEEN(s->init_scale, 8.450063, 8.450069);
    gen_schedule_free(s);
    c.timestep_spacing = GEN_SPACING_TRAILING;
    s = made(&c, (gen_schedule_params){.num_steps = 10});
    EXPECT_BETWEEN(s->init_scale, 14.61464, 14.61465);
    gen_schedule_free(s);
    s = made(&c, (gen_schedule_params){.num_steps = 10, .sampler = gen_sampler_find("ddim")});
    EXPECT_BETWEEN(s->init_scale, 1, 1);
    gen_schedule_free(s);
}

/* The example of a DDIM step from 951 to 901. */
static void levels_of_ddim(void **state)
{
    (void)state;
    gen_scheduler_config c = stable_diffusion("DDIMScheduler", GEN_SPACING_LEADING, 1);
    c.set_alpha_to_one = false;
    gen_schedule *s = made(&c, (gen_schedule_params){.num_steps = 20});
    EXPECT_BETWEEN(s->steps[0].to.alpha, 0.1183422911, 0.1183422913);
    EXPECT_BETWEEN(s->steps[0].to.sigma, 0.9929728606, 0.9929728608);
    EXPECT_BETWEEN(gen_level_kappa(s->steps[19].to), 0.02916715814, 0.02916715816); /* t = 0 */
    gen_schedule_free(s);

    c.timestep_spacing = GEN_SPACING_LINSPACE; /* 946 is listed, 999 - 50 is where the step ends */
    s = made(&c, (gen_schedule_params){.num_steps = 20});
    assert_true(s->steps[0].to.sigma != s->steps[1].from.sigma);
    gen_schedule_free(s);
}

static void zero_terminal_snr(void **state)
{
    (void)state;
    gen_scheduler_config c = stable_diffusion("DDIMScheduler", GEN_SPACING_TRAILING, 0);
    c.rescale_betas_zero_snr = true;
    c.prediction_type = GEN_PREDICT_V;
    gen_schedule *s = made(&c, (gen_schedule_params){.num_steps = 4});
    EXPECT_BETWEEN(s->steps[0].from.alpha, 0, 0); /* t = 999, 749, 499, 249 */
    EXPECT_BETWEEN(s->steps[1].from.alpha, sqrt(0.0331714827), sqrt(0.0331714829));
    EXPECT_BETWEEN(s->steps[2].from.alpha, sqrt(0.2423591665), sqrt(0.2423591667));
    gen_schedule_free(s);
    s = made(&c, (gen_schedule_params){.num_steps = 4, .sampler = gen_sampler_find("euler")});
    EXPECT_BETWEEN(s->steps[0].from.sigma, 4095.99987, 4095.99989);
    gen_schedule_free(s);

    gen_precondition p; /* v sees through pure noise, epsilon does not */
    EXPECT_OK(gen_precondition_at(&p, GEN_PREDICT_V, GEN_PROCESS_VP, (gen_level){0, 1}, &err));
    EXPECT_BETWEEN(p.output, -1, -1);
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_precondition_at(&p, GEN_PREDICT_EPSILON, GEN_PROCESS_VP,
                                                          (gen_level){0, 1}, &err));
}

static gen_scheduler_config flow(double shift)
{
    gen_scheduler_config c;
    EXPECT_OK(gen_scheduler_config_init(&c, "FlowMatchEulerDiscreteScheduler", &err));
    EXPECT_OK(gen_scheduler_config_set_number(&c, "shift", shift, &err));
    return c;
}

static void flow_variants(void **state)
{
    (void)state;
    gen_scheduler_config c = flow(3);
    check_sigmas(&c, (gen_schedule_params){.num_steps = 4, .schedule = "flow_uniform"},
                 TIMES(1, .9, .75, .5, 0), 5, 1e-12);
    check_sigmas(&c, (gen_schedule_params){.sigmas = TIMES(1, .75, .5, .25), .num_sigmas = 4},
                 TIMES(1, .9, .75, .5, 0), 5, 1e-12);
    check_sigmas(&c, (gen_schedule_params){.num_steps = 4},
                 TIMES(1, .8576923, .6021506, .0089286, 0), 5, 5e-6);
    gen_schedule *s = made(&c, (gen_schedule_params){.num_steps = 10});
    expect_times(s, 0,
                 TIMES(1000, 960.12933, 913.349, 857.69232, 790.36829, 707.2785, 602.15057,
                       464.87604, 278.0488, 8.92857),
                 10, 1e-4);
    gen_schedule_free(s);

    EXPECT_OK(gen_scheduler_config_init(&c, "UniPCMultistepScheduler", &err));
    EXPECT_OK(gen_scheduler_config_set_bool(&c, "use_flow_sigmas", true, &err));
    EXPECT_OK(gen_scheduler_config_set_number(&c, "flow_shift", 5, &err));
    check_sigmas(&c, (gen_schedule_params){.num_steps = 4},
                 TIMES(.9997998, .9372654, .8330554, .6246873, 0), 5, 1e-7);
    s = made(&c, (gen_schedule_params){.num_steps = 20});
    expect_times(s, 0,
                 TIMES(999, 989, 978, 965, 952, 937, 920, 902, 882, 859, 833, 803, 768, 728, 681,
                       624, 555, 468, 356, 208),
                 20, 0);
    gen_schedule_free(s);
}

static void dynamic_shift(void **state)
{
    (void)state;
    gen_scheduler_config c = flow(1);
    c.use_dynamic_shifting = true;
    EXPECT_BETWEEN(gen_scheduler_config_mu(&c, 1024), 0.63 - 1e-12, 0.63 + 1e-12);
    EXPECT_BETWEEN(gen_scheduler_config_mu(&c, 4096), 1.15 - 1e-12, 1.15 + 1e-12);
    const gen_schedule_params flux = {
        .num_steps = 4, .schedule = "flow_uniform", .image_seq_len = 4096};
    check_sigmas(&c, flux, TIMES(1, .9045308, .7595109, .5128441), 4, 2e-7);
    gen_schedule *s;
    EXPECT_STATUS(GEN_ERROR_ARGUMENT,
                  gen_schedule_new(&s, &c, &(gen_schedule_params){.num_steps = 4}, &err));
    EXPECT_CONTAINS(err.message, "image tokens");
}

static void cutting_keeps_the_last_steps(void **state)
{
    (void)state;
    static const struct {
        int n;
        double strength;
        int first;
    } cases[] = {{50, 0.8, 10}, {50, 0.3, 35}, {4, 0.5, 2}, {6, 0.6, 3}, {7, 1, 0}};
    const gen_scheduler_config c = stable_diffusion("DDIMScheduler", GEN_SPACING_LEADING, 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gen_schedule *s = made(&c, (gen_schedule_params){.num_steps = cases[i].n});
        const double expected = s->steps[cases[i].first].time;
        EXPECT_OK(gen_schedule_cut(s, cases[i].strength, &err));
        assert_int_equal(s->num_steps, cases[i].n - cases[i].first);
        expect_times(s, 0, &expected, 1, 0);

        const float clean[] = {1, -2}, noise[] = {0.5f, 0.25f};
        float x[2];
        gen_schedule_add_noise(s, 0, clean, noise, x, 2);
        const gen_level at = s->steps[0].from;
        EXPECT_BETWEEN(x[0], at.alpha + 0.5 * at.sigma - 1e-6, at.alpha + 0.5 * at.sigma + 1e-6);
        gen_schedule_free(s);
    }
    gen_schedule *s = made(&c, (gen_schedule_params){.num_steps = 4});
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_schedule_cut(s, 0.2, &err));
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_schedule_cut(s, 1.5, &err));
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_schedule_cut(s, NAN, &err));
    gen_schedule_free(s);
}

/* ---- mistakes ----------------------------------------------------------------------------------
 */

static void expect_refused(const gen_scheduler_config *c, gen_schedule_params p, gen_status status,
                           const char *part)
{
    gen_schedule *s = NULL;
    EXPECT_STATUS(status, gen_schedule_new(&s, c, &p, &err));
    EXPECT_CONTAINS(err.message, part);
    assert_null(s);
}

static void impossible_requests_are_refused(void **state)
{
    (void)state;
    const gen_scheduler_config sd = stable_diffusion("DDIMScheduler", GEN_SPACING_LEADING, 1);
    const gen_scheduler_config rf = flow(3);
    const gen_sampler *dpm = gen_sampler_find("dpmpp_2m");
    expect_refused(&sd, (gen_schedule_params){.num_steps = 0}, GEN_ERROR_ARGUMENT, "1 to 1000");
    expect_refused(&sd, (gen_schedule_params){.num_steps = 1001}, GEN_ERROR_ARGUMENT, "1 to 1000");
    expect_refused(&sd, (gen_schedule_params){.num_steps = 4, .schedule = "karas"},
                   GEN_ERROR_ARGUMENT, "unknown schedule");
    expect_refused(&sd, (gen_schedule_params){.num_steps = 4, .schedule = "flow"},
                   GEN_ERROR_ARGUMENT, "not for noise-table models");
    expect_refused(&rf, (gen_schedule_params){.num_steps = 4, .schedule = "trailing"},
                   GEN_ERROR_ARGUMENT, "not for rectified-flow models");
    expect_refused(&rf, (gen_schedule_params){.num_steps = 4, .sampler = dpm, .schedule = "flow"},
                   GEN_ERROR_ARGUMENT, "pure noise");
    expect_refused(&sd, (gen_schedule_params){.sigmas = TIMES(1, 2), .num_sigmas = 2},
                   GEN_ERROR_ARGUMENT, "descend");
    expect_refused(&sd, (gen_schedule_params){.sigmas = TIMES(2, NAN), .num_sigmas = 2},
                   GEN_ERROR_ARGUMENT, "descend");
    gen_scheduler_config bad = sd;
    EXPECT_OK(gen_scheduler_config_set_numbers(&bad, "trained_betas", TIMES(.1, .2), 2, &err));
    expect_refused(&bad, (gen_schedule_params){.num_steps = 2}, GEN_ERROR_MODEL, "trained_betas");
    bad.num_train_timesteps = 2;
    bad.trained_betas = TIMES(.1, 1.5);
    expect_refused(&bad, (gen_schedule_params){.num_steps = 2}, GEN_ERROR_MODEL, "1.5");
}

static void keys_are_checked(void **state)
{
    (void)state;
    gen_scheduler_config c;
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_scheduler_config_init(&c, "MagicScheduler", &err));
    EXPECT_CONTAINS(err.message, "MagicScheduler");
    EXPECT_OK(gen_scheduler_config_init(&c, "DDIMScheduler", &err));
    assert_true(c.clip_sample && c.set_alpha_to_one);
    EXPECT_OK(gen_scheduler_config_set_number(&c, "something_new", 4, &err)); /* ignored */
    EXPECT_OK(gen_scheduler_config_set_string(&c, "_diffusers_version", "0.1", &err));
    EXPECT_STATUS(GEN_ERROR_MODEL,
                  gen_scheduler_config_set_string(&c, "prediction_type", "guess", &err));
    EXPECT_STATUS(GEN_ERROR_MODEL,
                  gen_scheduler_config_set_string(&c, "beta_schedule", "wavy", &err));
    EXPECT_STATUS(GEN_ERROR_MODEL,
                  gen_scheduler_config_set_number(&c, "num_train_timesteps", 0, &err));
    EXPECT_STATUS(GEN_ERROR_MODEL,
                  gen_scheduler_config_set_number(&c, "num_train_timesteps", 10.5, &err));
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_scheduler_config_set_number(&c, "beta_end", NAN, &err));
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_scheduler_config_set_number(&c, "beta_end", NAN, NULL));
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_scheduler_config_init(&c, "MagicScheduler", NULL));
}

/* Every schedule at every number of steps: descends, is finite, ends as told, or is refused. */
static void all_schedules_hold_at_all_lengths(void **state)
{
    (void)state;
    static const char *const classes[] = {"",
                                          "DDIMScheduler",
                                          "EulerDiscreteScheduler",
                                          "DPMSolverMultistepScheduler",
                                          "LCMScheduler",
                                          "FlowMatchEulerDiscreteScheduler"};
    int num_made = 0;
    for (size_t c = 0; c < sizeof classes / sizeof classes[0]; c++) {
        gen_scheduler_config config;
        EXPECT_OK(gen_scheduler_config_init(&config, classes[c], &err));
        for (int k = 0; gen_schedule_info_at(k); k++)
            for (int n = 1; n <= 1000; n += n < 60 ? 1 : 47) {
                gen_schedule *s = NULL;
                const gen_schedule_params p = {.num_steps = n,
                                               .schedule = gen_schedule_info_at(k)->name};
                if (gen_schedule_new(&s, &config, &p, &err))
                    continue;
                num_made++;
                for (int i = 0; i < s->num_steps; i++) {
                    const double from = gen_level_kappa(s->steps[i].from);
                    const double to = gen_level_kappa(s->steps[i].to);
                    assert_true(from >= to && to >= 0 && isfinite(to));
                    assert_true(isfinite(s->steps[i].time) && s->steps[i].time >= 0);
                    assert_true(s->steps[i].time <= 1000);
                }
                gen_schedule_free(s);
            }
    }
    assert_true(num_made > 2000);
}

static void no_memory_is_a_status(void **state)
{
    (void)state;
    const gen_scheduler_config c = stable_diffusion("DDIMScheduler", GEN_SPACING_LEADING, 1);
    gen_schedule *s = NULL;
    long count = 0;
    for (long n = 1;; n++) {
        gen_alloc_fail_at(n);
        const gen_status status =
            gen_schedule_new(&s, &c, &(gen_schedule_params){.num_steps = 4}, &err);
        count = gen_alloc_count();
        gen_alloc_fail_at(0);
        if (status == GEN_OK)
            break;
        assert_int_equal(status, GEN_ERROR_MEMORY);
    }
    assert_true(count >= 3);
    gen_schedule_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_times_follow_the_class),
        cmocka_unit_test(sigmas_of_stable_diffusion),
        cmocka_unit_test(optimised_and_beta_schedules),
        cmocka_unit_test(times_of_karras_sigmas),
        cmocka_unit_test(starts_are_scaled_as_the_spacing_says),
        cmocka_unit_test(levels_of_ddim),
        cmocka_unit_test(zero_terminal_snr),
        cmocka_unit_test(flow_variants),
        cmocka_unit_test(dynamic_shift),
        cmocka_unit_test(cutting_keeps_the_last_steps),
        cmocka_unit_test(impossible_requests_are_refused),
        cmocka_unit_test(keys_are_checked),
        cmocka_unit_test(all_schedules_hold_at_all_lengths),
        cmocka_unit_test(no_memory_is_a_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
