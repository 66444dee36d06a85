/* Plots: the toy data and its exact way, samplers at work on it, and the numbers on axes. */
#include "gen/pipeline/plot_toy.h"
#include "gen/plot/chart.h"
#include "tests/test.h"

static gen_error err;

/* ---- toy data ---------------------------------------------------------------------------------
 */

static gen_schedule *schedule_of(const gen_scheduler_config *config, const char *sampler,
                                 const char *name, int num_steps)
{
    gen_schedule *schedule;
    const gen_schedule_params params = {
        .sampler = gen_sampler_find(sampler), .schedule = name, .num_steps = num_steps};
    EXPECT_OK(gen_schedule_new(&schedule, config, &params, &err));
    return schedule;
}

/* The published steps of a scalar Gaussian: Karras levels of Stable Diffusion, from y = 10. */
static void samplers_take_known_steps(void **state)
{
    (void)state;
    static const struct {
        const char *sampler;
        double after[5];
        int calls;
    } cases[] = {
        {"euler", {3.491164816, 1.172858485, 0.563681057, 0.517758406, 0.517019911}, 5},
        {"heun", {3.514666767, 1.293724306, 0.824351335, 0.773183037, 0.771578307}, 9},
        {"dpmpp_2m", {3.491164816, 1.182891079, 0.608238291, 0.629304404, 0.628187617}, 5},
    };
    const gen_toy *toy = gen_toy_find("gauss");
    gen_scheduler_config config;
    EXPECT_OK(gen_scheduler_config_init(&config, "", &err));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gen_schedule *s = schedule_of(&config, cases[i].sampler, "karras", 5);
        const float start = (float)(10 * s->steps[0].from.alpha / s->init_scale);
        gen_toy_path path;
        EXPECT_OK(gen_toy_run(&path, toy, gen_sampler_find(cases[i].sampler), s, &config, &start, 1,
                              0, &err));
        assert_int_equal(path.num_states, 6);
        assert_int_equal(path.calls, cases[i].calls);
        for (int k = 0; k < 5; k++) { /* back into the coordinates of the table */
            const double y = path.states[k + 1] / cos(path.angles[k + 1]);
            EXPECT_BETWEEN(y, cases[i].after[k] - 2e-5, cases[i].after[k] + 2e-5);
        }
        gen_toy_path_free(&path);
        gen_schedule_free(s);
    }
}

/* (x - alpha mu) / sqrt(alpha^2 s^2 + sigma^2) does not change on the exact way of a Gaussian; also
 * from pure noise, where kappa is infinite. */
static void the_exact_way_is_exact(void **state)
{
    (void)state;
    static const char *const classes[] = {"", "FlowMatchEulerDiscreteScheduler"};
    const float start[3] = {-1.5f, 0.2f, 2};
    for (int i = 0; i < 2; i++) {
        gen_scheduler_config config;
        gen_toy_path path;
        EXPECT_OK(gen_scheduler_config_init(&config, classes[i], &err));
        gen_schedule *s = schedule_of(&config, "euler", NULL, 10);
        EXPECT_OK(gen_toy_exact(&path, gen_toy_find("gauss"), s, start, 3, 200, &err));
        double kept[3];
        for (int state_i = 0; state_i < 200; state_i++)
            for (int k = 0; k < 3; k++) {
                const double a = cos(path.angles[state_i]), b = sin(path.angles[state_i]);
                const double v =
                    (path.states[state_i * 3 + k] - a * 0.3) / sqrt(a * a * 0.25 + b * b);
                if (state_i == 0)
                    kept[k] = v;
                EXPECT_BETWEEN(v, kept[k] - 1e-6, kept[k] + 1e-6);
            }
        assert_true(path.angles[199] < 2e-3);
        gen_toy_path_free(&path);
        gen_schedule_free(s);
    }
}

/* With many steps a sampler follows the exact way in every kind of data. */
static void samplers_follow_the_exact_way(void **state)
{
    (void)state;
    const float start[6] = {-1.5f, 0.2f, 1, -0.4f, 0.9f, 2};
    gen_scheduler_config config;
    EXPECT_OK(gen_scheduler_config_init(&config, "", &err));
    const gen_toy *toy;
    for (int i = 0; (toy = gen_toy_at(i)); i++) {
        gen_schedule *s = schedule_of(&config, "heun", "exponential", 300);
        gen_toy_path path, exact;
        EXPECT_OK(gen_toy_run(&path, toy, gen_sampler_find("heun"), s, &config, start, 6, 0, &err));
        EXPECT_OK(gen_toy_exact(&exact, toy, s, start, 6, 400, &err));
        for (int k = 0; k < 6; k++)
            EXPECT_BETWEEN(path.states[300 * 6 + k] - exact.states[399 * 6 + k], -0.02, 0.02);
        gen_toy_path_free(&path);
        gen_toy_path_free(&exact);
        gen_schedule_free(s);
    }
    assert_null(gen_toy_find("none"));
}

static void densities_are_densities(void **state)
{
    (void)state;
    const gen_toy *toy;
    for (int i = 0; (toy = gen_toy_at(i)); i++) {
        double mass = 0, weights = 0;
        for (double x = -6; x < 6; x += 0.001)
            mass += 0.001 * gen_toy_density(toy, x);
        for (int k = 0; k < toy->num_modes; k++)
            weights += toy->weights[k];
        EXPECT_BETWEEN(weights, 1 - 1e-12, 1 + 1e-12);
        if (toy->dim == 1)
            EXPECT_BETWEEN(mass, 0.999, 1.001);
    }
}

/* ---- charts -----------------------------------------------------------------------------------
 */

static void ticks_are_round(void **state)
{
    (void)state;
    static const struct {
        double first, last;
        int max;
        bool is_whole;
        int num;
        double expected[11];
    } cases[] = {
        {0, 10, 11, true, 11, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}},
        {0, 10, 6, true, 6, {0, 2, 4, 6, 8, 10}},
        {0, 3, 8, true, 4, {0, 1, 2, 3}},
        {0, 1, 6, false, 6, {0, 0.2, 0.4, 0.6, 0.8, 1}},
        {2.6, -2.6, 6, false, 5, {-2, -1, 0, 1, 2}},
        {0, 1020, 6, false, 6, {0, 200, 400, 600, 800, 1000}},
        {3, 3, 6, false, 0, {0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double at[16];
        const int n =
            gen_chart_ticks(at, cases[i].max, cases[i].first, cases[i].last, cases[i].is_whole);
        assert_int_equal(n, cases[i].num);
        for (int k = 0; k < n; k++)
            EXPECT_BETWEEN(at[k], cases[i].expected[k] - 1e-9, cases[i].expected[k] + 1e-9);
    }
    assert_int_equal(gen_chart_ticks((double[1]){0}, 6, 0, NAN, false), 0);
}

/* A line lies where its numbers say. */
static void lines_are_in_their_place(void **state)
{
    (void)state;
    static const double x[] = {0, 1}, y[] = {0.5, 0.5};
    const gen_chart_series series = {
        .x = x, .y = y, .n = 2, .style = GEN_SERIES_LINE, .color = 3, .width = 3};
    const gen_chart_panel panel = {.x = {.first = 0, .last = 1},
                                   .y = {.first = 0, .last = 1},
                                   .series = &series,
                                   .num_series = 1};
    const gen_chart chart = {
        .width = 500, .height = 350, .panels = &panel, .num_panels = 1, .num_columns = 1};
    gen_image *image;
    EXPECT_OK(gen_chart_draw(&image, &chart, &err));
    int rows = 0, sum = 0;
    for (int row = 0; row < image->height; row++) {
        const unsigned char *p = image->data + (size_t)row * image->stride + 3 * 250;
        if (p[0] > 150 && p[1] < 100 && p[2] < 110) {
            rows++;
            sum += row;
        }
    }
    assert_true(rows >= 1 && rows <= 4);
    EXPECT_BETWEEN((double)sum / rows, 140, 210);
    gen_image_free(image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samplers_take_known_steps),
        cmocka_unit_test(the_exact_way_is_exact),
        cmocka_unit_test(samplers_follow_the_exact_way),
        cmocka_unit_test(densities_are_densities),
        cmocka_unit_test(ticks_are_round),
        cmocka_unit_test(lines_are_in_their_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
