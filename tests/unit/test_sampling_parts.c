/* Starts, inpainting, windows of long videos and the rarer lists, against formulas written out. */
#include "tests/test.h"
#include "tests/unit/toy.h"

#include <stdlib.h>

#include "samplers/samplers.h"

static gen_error err;

static gen_scheduler_config config_of(const char *class_name)
{
    gen_scheduler_config c;
    EXPECT_OK(gen_scheduler_config_init(&c, class_name, &err));
    return c;
}

static gen_schedule *made(const gen_scheduler_config *c, gen_schedule_params p)
{
    gen_schedule *s = NULL;
    EXPECT_OK(gen_schedule_new(&s, c, &p, &err));
    return s;
}

static void close_to(double value, double expected, double tolerance)
{
    EXPECT_BETWEEN(value, expected - tolerance, expected + tolerance);
}

/* ---- where to start ---------------------------------------------------------------------------
 */

/* A strength as a noise level: the first level at or below p / (1 - p), which is tau = p of a flow.
 */
static void strength_as_a_level(void **state)
{
    const gen_scheduler_config flow = config_of("FlowMatchEulerDiscreteScheduler");
    const gen_scheduler_config sd = config_of(NULL);
    (void)state;
    gen_schedule *s =
        made(&flow, (gen_schedule_params){.num_steps = 10, .schedule = "flow_uniform"});
    EXPECT_OK(gen_schedule_cut_at(s, 0.65 / 0.35, &err));
    assert_int_equal(s->num_steps, 6);
    assert_int_equal(s->first, 4);
    close_to(s->steps[0].from.sigma, 0.6, 1e-12);
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_schedule_cut_at(s, 0.05 / 0.95, &err));
    EXPECT_CONTAINS(err.message, "below all 6 steps");
    gen_schedule_free(s);
    s = made(&sd, (gen_schedule_params){.num_steps = 20, .schedule = "karras"});
    const double level = gen_level_kappa(s->steps[7].from);
    EXPECT_OK(gen_schedule_cut_at(s, level * (1 + 1e-12), &err)); /* at it: taken */
    assert_int_equal(s->num_steps, 13);
    close_to(gen_level_kappa(s->steps[0].from), level, 1e-12);
    gen_schedule_free(s);
}

/* LCM takes the strength into its list: 20 j - 1 of the first 25 for a half. */
static void lcm_has_the_strength_in_its_list(void **state)
{
    static const double whole[] = {999, 759, 499, 259}, half[] = {499, 379, 259, 139};
    const gen_scheduler_config c = config_of("LCMScheduler");
    (void)state;
    for (int k = 0; k < 2; k++) {
        gen_schedule *s = made(&c, (gen_schedule_params){.num_steps = 4, .strength = k ? 0.5 : 1});
        for (int i = 0; i < 4; i++)
            close_to(s->steps[i].time, (k ? half : whole)[i], 0);
        EXPECT_OK(gen_schedule_cut(s, 0.5, &err)); /* and is not cut again */
        assert_int_equal(s->num_steps, 4);
        gen_schedule_free(s);
    }
}

/* ---- inpainting -------------------------------------------------------------------------------
 */

/* The known part of every answer is what is known, so every solver ends there to the bit; the rest
 * goes where it would alone. */
static void the_known_part_stays(void **state)
{
    static const char *const samplers[] = {"euler", "ddim", "heun", "dpmpp_2m", "unipc", "lms"};
    static const float known[4] = {0.7f, -2, 5, 0.25f}, mask[2] = {1, 0}; /* two channels a place */
    const gen_scheduler_config c = config_of("FlowMatchEulerDiscreteScheduler");
    (void)state;
    for (size_t k = 0; k < sizeof samplers / sizeof samplers[0]; k++) {
        const gen_sampler *sampler = gen_sampler_find(samplers[k]);
        gen_denoiser toy = {.n = 4, .denoise = toy_denoise}, *kept;
        const gen_inpaint inpaint = {.latents = known, .mask = mask, .channels = 2};
        float x[4] = {1.5f, -0.5f, 0.3f, 2}, alone[4] = {1.5f, -0.5f, 0.3f, 2};
        toy.self = &toy;
        gen_schedule *s = made(&c, (gen_schedule_params){.sampler = sampler, .num_steps = 12});
        EXPECT_OK(gen_inpaint_new(&kept, &toy, &inpaint, &err));
        gen_solve_params p = {.denoiser = kept, .schedule = s, .config = &c};
        EXPECT_OK(gen_solve(sampler, &p, x, &err));
        p.denoiser = &toy;
        EXPECT_OK(gen_solve(sampler, &p, alone, &err));
        expect_close(x, alone, 2, 0, samplers[k]);
        expect_close(x + 2, known + 2, 2, 1e-6, samplers[k]);
        gen_denoiser_free(kept);
        gen_schedule_free(s);
    }
}

static void half_masks_blend(void **state)
{
    static const float known[2] = {4, 8}, mask[2] = {0.25f, 0.5f}, noise[2] = {1, -1};
    const gen_inpaint p = {.latents = known, .mask = mask, .channels = 1};
    float x[2] = {2, 2};
    (void)state;
    gen_inpaint_known(&p, (gen_level){0.5, 3}, noise, x, 2); /* known: 2 + 3, 4 - 3 */
    expect_close(x, (const float[]){0.25f * 2 + 0.75f * 5, 0.5f * 2 + 0.5f * 1}, 2, 1e-7, "level");
    x[0] = x[1] = 2;
    gen_inpaint_known(&p, (gen_level){1, 0}, NULL, x, 2);
    expect_close(x, (const float[]){0.25f * 2 + 0.75f * 4, 0.5f * 2 + 0.5f * 8}, 2, 1e-7, "clean");
    gen_denoiser inner = {.n = 3}, *out;
    EXPECT_STATUS(GEN_ERROR_ARGUMENT,
                  gen_inpaint_new(&out, &inner, &(gen_inpaint){.channels = 2}, &err));
}

/* ---- windows ----------------------------------------------------------------------------------
 */

enum { WINDOW = 6, OVERLAP = 3, FRAMES = 11, SIZE = 2 };

/* Answers with the number of the window's first frame. */
static gen_status say_first(void *self, const float *x, const gen_point *at, float *out,
                            gen_error *e)
{
    const gen_denoiser *d = self;
    (void)x;
    (void)e;
    for (size_t k = 0; k < d->n; k++)
        out[k] = (float)at->first_frame;
    return GEN_OK;
}

/* Windows at 0, 3 and 6, the last of 5 frames; over an overlap of 3 the new one counts 0, 1/2, 1.
 */
static void windows_fade_into_each_other(void **state)
{
    static const float first[FRAMES] = {0, 0, 0, 3, 3, 3, 6, 6, 6, 6, 6};
    static const float later[FRAMES] = {0, 0, 0, 0, 1.5f, 3, 3, 4.5f, 6, 6, 6};
    const gen_windows w = {
        .num_frames = FRAMES, .window = WINDOW, .overlap = OVERLAP, .frame_size = SIZE};
    gen_denoiser inner = {.n = WINDOW * SIZE, .denoise = say_first}, *all;
    gen_denoiser tail = {.n = 5 * SIZE, .denoise = say_first};
    float x[FRAMES * SIZE] = {0}, out[FRAMES * SIZE];
    (void)state;
    inner.self = &inner;
    tail.self = &tail;
    assert_int_equal(gen_windows_count(&w), 3);
    EXPECT_OK(gen_windows_new(&all, &inner, &tail, &w, &err));
    for (int step = 0; step < 2; step++) {
        EXPECT_OK(
            all->denoise(all->self, x, &(gen_point){.step = step, .num_steps = 2}, out, &err));
        for (int i = 0; i < FRAMES; i++)
            for (int k = 0; k < SIZE; k++)
                close_to(out[i * SIZE + k], (step ? later : first)[i], 1e-6);
    }
    gen_denoiser_free(all);
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_windows_new(&all, &inner, NULL, &w, &err));
}

/* Two frames of overlap: the shares are 2/3 and 1/3, without the ends of the line. */
static void finished_clips_cross_over(void **state)
{
    float next[3] = {9, 9, 9};
    (void)state;
    gen_windows_crossfade(next, (const float[]){3, 3}, 2, 1);
    expect_close(next, (const float[]){5, 7, 9}, 3, 1e-6, "clip");
}

/* Frames behind the first window are those a window before, reordered within each stride. */
static void noise_is_used_again(void **state)
{
    const gen_windows w = {.num_frames = 13, .window = 6, .overlap = 2, .frame_size = 3};
    float noise[13 * 3];
    bool moved = false;
    gen_rng rng;
    (void)state;
    for (int i = 0; i < 13 * 3; i++)
        noise[i] = (float)i;
    gen_rng_init(&rng, GEN_RNG_GEN, 3);
    gen_windows_reuse_noise(&w, &rng, noise);
    for (int first = 6; first < 13; first += 4) {
        const int num = 13 - first < 4 ? 13 - first : 4;
        for (int i = 0; i < num; i++) { /* each frame of the block before is there once */
            int found = 0;
            for (int k = 0; k < num; k++)
                found += memcmp(noise + (size_t)(first + k) * 3,
                                noise + (size_t)(first - 6 + i) * 3, 3 * sizeof *noise) == 0;
            assert_int_equal(found, 1);
            moved |= noise[(first + i) * 3] != noise[(first - 6 + i) * 3];
        }
    }
    assert_true(moved);
    for (int i = 0; i < 6 * 3; i++)
        close_to(noise[i], i, 0);
    double weights[6];
    static const double five[] = {1, 2, 3, 2, 1}, four[] = {1, 2, 2, 1};
    gen_windows_pyramid(5, weights);
    assert_memory_equal(weights, five, sizeof five);
    gen_windows_pyramid(4, weights);
    assert_memory_equal(weights, four, sizeof four);
}

/* ---- lists ------------------------------------------------------------------------------------
 */

/* SANA-Sprint's searched angles, from atan(200 / sigma_d). */
static void searched_angles(void **state)
{
    static const double angles[] = {1.568296332, 1.3, 1.1, 0.6};
    gen_scheduler_config c = config_of("SCMScheduler");
    (void)state;
    c.max_angle = atan(200 / 0.5);
    for (int n = 1; n <= 4; n++) {
        gen_schedule *s =
            made(&c, (gen_schedule_params){.num_steps = n, .schedule = "scm_searched"});
        for (int i = 0; i < n; i++) {
            close_to(s->steps[i].time, angles[i], 1e-9);
            close_to(s->steps[i].from.sigma, sin(angles[i]), 1e-9);
        }
        close_to(s->steps[n - 1].to.sigma, 0, 0);
        gen_schedule_free(s);
    }
}

/* ln kappa bent by rho over the way from the highest to the lowest level. */
static void polyexponential(void **state)
{
    gen_scheduler_config c = config_of(NULL);
    (void)state;
    for (int k = 0; k < 3; k++) {
        const double rho = 0.5 + 0.5 * k;
        c.poly_rho = rho;
        gen_schedule *s =
            made(&c, (gen_schedule_params){.num_steps = 9, .schedule = "polyexponential"});
        const double high = log(14.61464123), low = log(0.02916715815);
        for (int i = 0; i < 9; i++)
            close_to(log(gen_level_kappa(s->steps[i].from)),
                     low + pow(1 - i / 8.0, rho) * (high - low), 1e-7);
        gen_schedule_free(s);
    }
}

/* Three sections of 334, 333 and 333 times with 3, 2 and 4 of them: first and last of each. */
static void sections_of_a_respacing(void **state)
{
    static const double times[] = {999, 888, 778, 667, 666, 334, 333, 166, 0};
    gen_scheduler_config c = config_of("GaussianDiffusion");
    (void)state;
    EXPECT_OK(gen_scheduler_config_set_string(&c, "timestep_respacing", "3,2,4", &err));
    gen_schedule *s = made(&c, (gen_schedule_params){.num_steps = 0});
    assert_int_equal(s->num_steps, 9);
    for (int i = 0; i < 9; i++)
        close_to(s->steps[i].time, times[i], 0);
    gen_schedule_free(s);
}

/* invert_sigmas: the network is told T (1 - tau), and its velocity points at the data. */
static void inverted_sigmas(void **state)
{
    gen_scheduler_config c = config_of("FlowMatchEulerDiscreteScheduler");
    gen_precondition p;
    (void)state;
    c.shift = 3;
    EXPECT_OK(gen_scheduler_config_set_bool(&c, "invert_sigmas", true, &err));
    gen_schedule *s = made(&c, (gen_schedule_params){.num_steps = 4, .schedule = "flow_uniform"});
    static const double tau[] = {1, .9, .75, .5};
    for (int i = 0; i < 4; i++) {
        close_to(s->steps[i].from.sigma, tau[i], 1e-12);
        close_to(s->steps[i].time, 1000 * (1 - tau[i]), 1e-9);
    }
    EXPECT_OK(gen_precondition_of(&p, &c, s->steps[2].from, &err)); /* x0 = x + tau r */
    close_to(p.skip, 1, 1e-12);
    close_to(p.output, 0.75, 1e-12);
    gen_schedule_free(s);
}

/* LTX: mu through (1024, 0.95) and (4096, 2.05), the list stretched to end at 0.1. */
static void ltx_shift(void **state)
{
    gen_scheduler_config c = config_of("FlowMatchEulerDiscreteScheduler");
    (void)state;
    c.use_dynamic_shifting = true;
    c.base_shift = 0.95;
    c.max_shift = 2.05;
    c.base_image_seq_len = 1024;
    c.max_image_seq_len = 4096;
    c.shift_terminal = 0.1;
    gen_schedule *s = made(
        &c,
        (gen_schedule_params){.num_steps = 5, .schedule = "flow_uniform", .image_seq_len = 2048});
    const double e = exp(0.95 + 1.1 / 3), last = e / (e + 4);
    for (int i = 0; i < 5; i++) {
        const double u = 1 - i / 5.0, tau = e / (e + 1 / u - 1);
        close_to(s->steps[i].from.sigma, 1 - (1 - tau) * 0.9 / (1 - last), 1e-12);
    }
    close_to(s->steps[4].from.sigma, 0.1, 1e-12);
    gen_schedule_free(s);
}

/* Lists of k-diffusion on a flow: t as ever, tau = shifted (t + 1) / T, as stable-diffusion.cpp. */
static void table_lists_on_flow(void **state)
{
    static const char *const names[] = {"simple", "sgm_uniform", "discrete"};
    gen_scheduler_config c = config_of("FlowMatchEulerDiscreteScheduler");
    (void)state;
    c.shift = 3;
    for (int k = 0; k < 3; k++) {
        gen_schedule *s = made(&c, (gen_schedule_params){.num_steps = 7, .schedule = names[k]});
        for (int i = 0; i < 7; i++) {
            const double t = k == 0   ? 999 - floor(i * 1000 / 7.0)
                             : k == 1 ? 999 * (1 - i / 7.0)
                                      : 999 * (1 - i / 6.0);
            const double u = (t + 1) / 1000, tau = 3 * u / (1 + 2 * u);
            close_to(s->steps[i].from.sigma, tau, 1e-9);
            close_to(s->steps[i].time, 1000 * tau, 1e-6);
        }
        close_to(s->steps[6].to.sigma, 0, 0);
        gen_schedule_free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strength_as_a_level),
        cmocka_unit_test(lcm_has_the_strength_in_its_list),
        cmocka_unit_test(the_known_part_stays),
        cmocka_unit_test(half_masks_blend),
        cmocka_unit_test(windows_fade_into_each_other),
        cmocka_unit_test(finished_clips_cross_over),
        cmocka_unit_test(noise_is_used_again),
        cmocka_unit_test(searched_angles),
        cmocka_unit_test(polyexponential),
        cmocka_unit_test(sections_of_a_respacing),
        cmocka_unit_test(inverted_sigmas),
        cmocka_unit_test(ltx_shift),
        cmocka_unit_test(table_lists_on_flow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
