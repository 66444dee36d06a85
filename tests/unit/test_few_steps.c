/* Lists of few-step models, bridges and chunks against their published values. */
#include "tests/test.h"
#include "samplers/samplers.h"

static gen_error err;

static gen_schedule *made(const gen_scheduler_config *c, gen_schedule_params p)
{
    gen_schedule *s = NULL;
    EXPECT_OK(gen_schedule_new(&s, c, &p, &err));
    return s;
}

static gen_scheduler_config config_of(const char *class_name)
{
    gen_scheduler_config c;
    EXPECT_OK(gen_scheduler_config_init(&c, class_name, &err));
    return c;
}

static void rcm_times_and_their_numbers(void **state)
{
    static const double tau[] = {0.9876543210, .9337810614, .8528953948, .6089790492};
    static const double bf16[] = {988, 932, 852, 608};
    const gen_scheduler_config c = config_of("rCM");
    gen_schedule *s = made(&c, (gen_schedule_params){.num_steps = 4});
    (void)state;
    for (int i = 0; i < 4; i++) {
        EXPECT_BETWEEN(s->steps[i].from.sigma, tau[i] - 6e-11, tau[i] + 6e-11);
        EXPECT_BETWEEN(gen_time_rounded(GEN_TIME_BF16, s->steps[i].time), bf16[i], bf16[i]);
    }
    EXPECT_BETWEEN(s->init_scale, tau[0] - 6e-11, tau[0] + 6e-11);
    EXPECT_BETWEEN(gen_time_rounded(GEN_TIME_WHOLE, 937.8), 937, 937);
    gen_schedule_free(s);
    s = made(&c, (gen_schedule_params){.num_steps = 8, .schedule = "rcm_paper"});
    EXPECT_BETWEEN(s->steps[3].from.sigma, s->steps[2].from.sigma, s->steps[2].from.sigma);
    gen_schedule_free(s);
}

static void magi_and_flux2(void **state)
{
    static const double s12[] = {0,  .00526316, .012,      .02173913, .05172414, .07313433,
                                 .1, .17605634, .23003802, .3,        .52127660, .70754717};
    const gen_scheduler_config c = config_of("FlowMatchEulerDiscreteScheduler");
    gen_schedule *s = made(&c, (gen_schedule_params){.num_steps = 12, .schedule = "magi_shortcut"});
    (void)state;
    for (int i = 0; i < 12; i++)
        EXPECT_BETWEEN(s->steps[i].time / 1000, s12[i] - 1e-8, s12[i] + 1e-8);
    gen_schedule_free(s);
    EXPECT_BETWEEN(gen_flux2_mu(4096, 28), 2.151443161, 2.151443163);
    EXPECT_BETWEEN(gen_flux2_mu(4096, 50), 2.023351156, 2.023351158);
    EXPECT_BETWEEN(gen_flux2_mu(8192, 50), 1.84332649, 1.84332651);
}

static void bridge_clocks(void **state)
{
    gen_scheduler_config c = config_of("I2SB");
    gen_schedule *s = made(&c, (gen_schedule_params){.num_steps = 999});
    (void)state;
    EXPECT_BETWEEN(s->steps[499].from.sigma, 0.26589495635, 0.26589495645); /* index 500 */
    gen_schedule_free(s);
    c = config_of("BBDM");
    s = made(&c, (gen_schedule_params){.num_steps = 200});
    EXPECT_BETWEEN(s->steps[1].time, 993, 993);
    EXPECT_BETWEEN(s->steps[197].time, 5, 5);
    EXPECT_BETWEEN(s->steps[198].time, 1, 1);
    gen_schedule_free(s);
}

static void chunks_and_windows(void **state)
{
    static const int first[] = {0, 0, 0, 0, 1, 2, 3}, end[] = {1, 2, 3, 4, 4, 4, 4};
    const gen_chunks c = {.num_chunks = 4, .window = 4, .num_steps = 64};
    const gen_windows w = {.num_frames = 50, .window = 29, .overlap = 5, .frame_size = 1};
    int at, num;
    (void)state;
    assert_int_equal(gen_chunks_num_stages(&c), 7);
    for (int j = 0; j < 7; j++) {
        const gen_chunk_stage s = gen_chunks_stage(&c, j);
        assert_int_equal(s.first, first[j]);
        assert_int_equal(s.end, end[j]);
        assert_int_equal(s.first_offset, first[j]);
        assert_int_equal(s.end_offset, end[j]);
    }
    assert_int_equal(gen_windows_count(&w), 2);
    gen_windows_at(&w, 1, &at, &num);
    assert_int_equal(at, 24);
    assert_int_equal(num, 26);
    assert_int_equal(gen_strength_start(GEN_STRENGTH_DIFFUSERS, 50, 0.8), 10);
    assert_int_equal(gen_strength_start(GEN_STRENGTH_A1111, 50, 0.8), 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rcm_times_and_their_numbers),
        cmocka_unit_test(magi_and_flux2),
        cmocka_unit_test(bridge_clocks),
        cmocka_unit_test(chunks_and_windows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
