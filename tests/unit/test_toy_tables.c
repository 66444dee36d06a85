/* Solvers on the Gaussian toy, against tables computed in double by other means.  Built twice: as
 * the library is, with latents in f32, and with latents in double, to the last printed digit. */
#include "tests/test.h"
#include "tests/unit/toy.h"

static gen_error err;

/* Printed to nine decimals. */
#define DIGITS (sizeof(float) == sizeof(int64_t) ? 6e-10 : 1e-6)

typedef struct table {
    const char *sampler;
    toy_function *denoise;
    float start;
    const float *z;
    int draws;
    const float *expected; /* after each step */
} table;

static void check_row(const char *what, const float *x, const float *expected, int num)
{
    for (int i = 0; i < num; i++) {
        const double d = fabs((double)x[i] - (double)expected[i]);
        if (!(d <= DIGITS * fmax(1, sizeof(float) == sizeof(int64_t) ? 1 : fabs(expected[i]))))
            fail_msg("%s: step %d is %.9f, expected %.9f", what, i + 1, (double)x[i],
                     (double)expected[i]);
    }
}

static void check(const table *t, const gen_scheduler_config *config, gen_schedule *schedule)
{
    const int num = schedule->num_steps;
    toy_record record;
    toy_noise noise = {t->z, t->draws, 0};
    EXPECT_OK(toy_solve(gen_sampler_find(t->sampler), t->denoise, schedule, config, t->start,
                        &noise, &record, &err));
    assert_int_equal(record.num, num);
    assert_int_equal(noise.drawn, t->draws);
    check_row(t->sampler, record.x, t->expected, num);
}

static gen_scheduler_config config_of(const char *class_name)
{
    gen_scheduler_config c;
    EXPECT_OK(gen_scheduler_config_init(&c, class_name, &err));
    return c;
}

static void check_with(const table *t, const gen_scheduler_config *config,
                       gen_schedule_params params)
{
    gen_schedule *schedule;
    params.sampler = gen_sampler_find(t->sampler);
    EXPECT_OK(gen_schedule_new(&schedule, config, &params, &err));
    check(t, config, schedule);
    gen_schedule_free(schedule);
}

#define LIST(...)  ((const float[]){__VA_ARGS__})
#define TIMES(...) ((const double[]){__VA_ARGS__})

/* ---- VE, VP, flow ------------------------------------------------------------------------------
 */

/* Karras, 5 steps over Stable Diffusion's levels as printed, from y = 10.  The table is in VE
 * coordinates. */
static void check_karras(const char *sampler, const float *z, int draws, const float expected[5])
{
    gen_scheduler_config config = config_of(NULL);
    const gen_sampler *s = gen_sampler_find(sampler);
    gen_schedule *schedule;
    float own[5];
    config.sigma_max = 14.614641;
    config.sigma_min = 0.029167158;
    EXPECT_OK(gen_schedule_new(
        &schedule, &config,
        &(gen_schedule_params){.sampler = s, .schedule = "karras", .num_steps = 5}, &err));
    for (int i = 0; i < 5; i++)
        own[i] = (float)(expected[i] * schedule->steps[i].to.alpha);
    const table t = {.sampler = sampler,
                     .denoise = toy_denoise,
                     .start = (float)(10 * schedule->steps[0].from.alpha),
                     .z = z,
                     .draws = draws,
                     .expected = own};
    check(&t, &config, schedule);
    gen_schedule_free(schedule);
}

static void ve_table(void **state)
{
    (void)state;
    const float *z = LIST(1, -1, 0.5, -0.5, 0);
    const float *euler = LIST(3.491164816, 1.172858485, 0.563681057, 0.517758406, 0.517019911);
    check_karras("euler", NULL, 0, euler);
    check_karras("ddim", NULL, 0, euler);
    check_karras("heun", NULL, 0,
                 LIST(3.514666767, 1.293724306, 0.824351335, 0.773183037, 0.771578307));
    check_karras("dpmpp_2m", NULL, 0,
                 LIST(3.491164816, 1.182891079, 0.608238291, 0.629304404, 0.628187617));
    check_karras("unipc", NULL, 0,
                 LIST(3.491164816, 1.184939972, 0.613603842, 0.638892343, 0.637743040));
    check_karras("euler_a", z, 5,
                 LIST(5.885806088, -0.478391667, 0.292181358, 0.279220905, 0.279291374));
    check_karras("dpmpp_2m_sde", z, 5,
                 LIST(5.885806088, -0.451460431, 0.201429590, 0.219782232, 0.220054279));
}

static void flow_tables(void **state)
{
    (void)state;
    gen_scheduler_config config = config_of("FlowMatchEulerDiscreteScheduler");
    table t = {.sampler = "euler", .denoise = toy_denoise, .start = 1.5};
    config.shift = 3;
    t.expected = LIST(1.38, 1.206923077, 0.945405405, 0.618162162);
    check_with(&t, &config, (gen_schedule_params){.schedule = "flow_uniform", .num_steps = 4});

    config = config_of("UniPCMultistepScheduler");
    EXPECT_OK(gen_scheduler_config_set_bool(&config, "use_flow_sigmas", true, &err));
    EXPECT_OK(gen_scheduler_config_set_number(&config, "flow_shift", 5, &err));
    t.sampler = "unipc";
    t.expected = LIST(1.442817151, 1.360649346, 1.233659959, 1.017188327, 0.574672107);
    check_with(&t, &config, (gen_schedule_params){.num_steps = 5});
    t.expected = LIST(1.442926318, 1.360880473, 1.234299945, 1.018478200, 0.573215445);
    check_with(&t, &config, (gen_schedule_params){.schedule = "flow_table_2026", .num_steps = 5});
}

static void ddim_table(void **state)
{
    (void)state;
    const float *ends[] = {
        LIST(1.010461060, 0.965406634, 0.845898176, 0.618451178, 0.618079929),
        LIST(1.010461060, 0.965406634, 0.845898176, 0.618451178, 0.616815698),
        LIST(1.348001475, 0.127127258, 0.444448468, 0.371362281, 0.371193010),
    };
    gen_scheduler_config config = config_of("DDIMScheduler");
    EXPECT_OK(gen_scheduler_config_set_string(&config, "beta_schedule", "scaled_linear", &err));
    EXPECT_OK(gen_scheduler_config_set_number(&config, "beta_start", 0.00085, &err));
    EXPECT_OK(gen_scheduler_config_set_number(&config, "beta_end", 0.012, &err));
    EXPECT_OK(gen_scheduler_config_set_number(&config, "steps_offset", 1, &err));
    config.clip_sample = false;
    for (int i = 0; i < 3; i++) {
        config.set_alpha_to_one = i > 0;
        config.eta = i == 2;
        const table t = {.sampler = "ddim",
                         .denoise = toy_denoise,
                         .start = 1,
                         .z = LIST(1, -1, 0.5, -0.5, 0),
                         .draws = i == 2 ? 5 : 0,
                         .expected = ends[i]};
        check_with(&t, &config, (gen_schedule_params){.num_steps = 5});
    }
}

/* ---- few steps ---------------------------------------------------------------------------------
 */

static void lcm_table(void **state)
{
    (void)state;
    const gen_scheduler_config config = config_of("LCMScheduler");
    const table t = {.sampler = "lcm",
                     .denoise = toy_consistency,
                     .start = 1.2,
                     .z = LIST(-0.7, 0.4, 1.1),
                     .draws = 3,
                     .expected = LIST(-0.477932835, 0.351155467, 0.973972908, 0.813545975)};
    check_with(&t, &config, (gen_schedule_params){.num_steps = 4});
}

/* Indices 0 and 22 of 40, from y = 96; the last step ends at sigma_min without noise. */
static void cm_table(void **state)
{
    (void)state;
    gen_scheduler_config config = config_of("CMStochasticIterativeScheduler");
    config.clip_sample = false;
    const table t = {.sampler = "cm",
                     .denoise = toy_consistency,
                     .start = 96,
                     .z = LIST(-0.7, 0.4),
                     .draws = 2,
                     .expected = LIST(-0.069543239, 0.174306218)};
    check_with(&t, &config, (gen_schedule_params){.timesteps = TIMES(22, 0), .num_timesteps = 2});
}

/* TrigFlow on data of deviation 0.5.  The table is in x = cos(theta) y. */
static void scm_table(void **state)
{
    (void)state;
    const double first = atan(80 / 0.5), second = 1.1;
    gen_scheduler_config config = config_of("SCMScheduler");
    gen_precondition p;
    config.process = GEN_PROCESS_VE;
    config.prediction_type = GEN_PREDICT_TRIGFLOW;
    config.max_angle = first;
    const table t = {.sampler = "scm",
                     .denoise = toy_consistency,
                     .start = (float)(0.6 / cos(first)),
                     .z = LIST(-0.7, 0),
                     .draws = 2,
                     .expected = LIST(0.095463457144 / cos(second), 0.259384621)};
    check_with(&t, &config, (gen_schedule_params){.num_steps = 2});

    EXPECT_OK(gen_precondition_of(&p, &config, (gen_level){1, 80}, &err));
    EXPECT_BETWEEN(p.input * 0.6 / cos(first), 0.6 / 0.5 - 1e-12, 0.6 / 0.5 + 1e-12);
    EXPECT_BETWEEN(p.skip * 0.6 / cos(first) + p.output * -1.788785156, 0.8981250365, 0.8981250370);
    EXPECT_OK(gen_precondition_of(&p, &config, (gen_level){1, 0.5 * tan(second)}, &err));
    EXPECT_BETWEEN(p.skip * 0.095463457 / cos(second) + p.output * -0.484921414, 0.2593846202,
                   0.2593846212);
}

static void rcm_table(void **state)
{
    (void)state;
    const gen_scheduler_config config = config_of("rCM");
    table t = {.sampler = "scm",
               .denoise = toy_consistency,
               .start = (float)(1.2 * 80 / 81),
               .z = LIST(-0.7, 0.4, 1.1, 9), /* the last is drawn and has no weight */
               .draws = 4,
               .expected = LIST(-0.594174632, 0.336953032, 0.854058962, 0.875953861)};
    check_with(&t, &config, (gen_schedule_params){.num_steps = 4});
    t = (table){.sampler = "euler",
                .denoise = toy_consistency,
                .start = t.start,
                .expected = LIST(1.169526369, 1.147496867, 1.089426323, 1.059951483)};
    check_with(&t, &config, (gen_schedule_params){.num_steps = 4});
}

/* ---- bridges -----------------------------------------------------------------------------------
 */

static gen_status know_target(void *self, const float *x, const gen_point *at, float *out,
                              gen_error *e)
{
    (void)self;
    (void)x;
    (void)at;
    (void)e;
    out[0] = -0.5;
    return GEN_OK;
}

static void vibt_table(void **state)
{
    (void)state;
    const gen_scheduler_config config = config_of("ViBTScheduler");
    const table t = {.sampler = "bridge",
                     .denoise = know_target,
                     .start = 1,
                     .z = LIST(1, -1, 0.5, 9),
                     .draws = 4,
                     .expected = LIST(1.1481555515, 0.661330327, 0.568180697, -0.5)};
    check_with(&t, &config, (gen_schedule_params){.num_steps = 4});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ve_table),  cmocka_unit_test(flow_tables), cmocka_unit_test(ddim_table),
        cmocka_unit_test(lcm_table), cmocka_unit_test(cm_table),    cmocka_unit_test(scm_table),
        cmocka_unit_test(rcm_table), cmocka_unit_test(vibt_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
