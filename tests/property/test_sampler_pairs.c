/* What belongs together: a way and its way back, a method and its special case, a sampler and the
 * networks it can run. */
#include "tests/test.h"
#include "tests/unit/toy.h"

#include <stdlib.h>

static gen_error err;

static gen_scheduler_config config_of(const char *class_name)
{
    gen_scheduler_config c;
    EXPECT_OK(gen_scheduler_config_init(&c, class_name, &err));
    return c;
}

static gen_status draw(void *self, float *z, size_t n, gen_error *e)
{
    (void)e;
    gen_rng_normal(self, z, n);
    return GEN_OK;
}

/* ---- there and back ----------------------------------------------------------------------------
 */

static gen_scheduler_config stable_diffusion(bool ends_clean)
{
    gen_scheduler_config c = config_of("DDIMScheduler");
    EXPECT_OK(gen_scheduler_config_set_string(&c, "beta_schedule", "scaled_linear", &err));
    EXPECT_OK(gen_scheduler_config_set_number(&c, "beta_start", 0.00085, &err));
    EXPECT_OK(gen_scheduler_config_set_number(&c, "beta_end", 0.012, &err));
    c.clip_sample = false;
    c.set_alpha_to_one = ends_clean;
    return c;
}

static float walk(const gen_scheduler_config *c, const char *sampler, float start, int num)
{
    gen_schedule *s;
    gen_denoiser toy = {.n = 1, .denoise = toy_denoise};
    toy.self = &toy;
    EXPECT_OK(gen_schedule_new(
        &s, c, &(gen_schedule_params){.sampler = gen_sampler_find(sampler), .num_steps = num},
        &err));
    const gen_solve_params p = {.denoiser = &toy, .schedule = s, .config = c};
    float x = start;
    EXPECT_OK(gen_solve(gen_sampler_find(sampler), &p, &x, &err));
    gen_schedule_free(s);
    return x;
}

/* Inverting and sampling again comes back, the better the smaller the steps. */
static void ddim_inversion_comes_back(void **state)
{
    (void)state;
    for (int clean = 0; clean < 2; clean++) {
        const gen_scheduler_config c = stable_diffusion(clean);
        double before = 1;
        for (int num = 25; num <= 200; num *= 2) {
            const float noise = walk(&c, "ddim_inverse", 0.9f, num);
            const double error = fabs(walk(&c, "ddim", noise, num) - 0.9);
            assert_true(error < 0.7 * before);
            before = error;
        }
        assert_true(before < 0.02);
    }
}

/* The inverse meets the network at t, and the levels of DDIM upside down. */
static void the_inverse_schedule_is_upside_down(void **state)
{
    const gen_scheduler_config c = stable_diffusion(true);
    gen_schedule *down, *up;
    (void)state;
    EXPECT_OK(gen_schedule_new(&down, &c, &(gen_schedule_params){.num_steps = 5}, &err));
    EXPECT_OK(gen_schedule_new(
        &up, &c,
        &(gen_schedule_params){.sampler = gen_sampler_find("ddim_inverse"), .num_steps = 5}, &err));
    for (int i = 0; i < 5; i++) {
        const gen_step *a = &up->steps[i], *b = &down->steps[4 - i];
        EXPECT_BETWEEN(a->from.sigma, b->to.sigma, b->to.sigma);
        EXPECT_BETWEEN(a->to.sigma, b->from.sigma, b->from.sigma);
        EXPECT_BETWEEN(a->time, b->time, b->time);
    }
    gen_schedule_free(down);
    gen_schedule_free(up);
}

/* ---- special cases -----------------------------------------------------------------------------
 */

enum { NUM = 40000 };

/* Mean and variance within three standard errors of those expected. */
static void check_moments(const float *x, double expected_mean, double expected, double bias)
{
    double mean = 0, variance = 0;
    for (int k = 0; k < NUM; k++)
        mean += x[k] / (double)NUM;
    for (int k = 0; k < NUM; k++)
        variance += (x[k] - mean) * (x[k] - mean) / NUM;
    const double m = 3 * sqrt(expected / NUM), v = 3 * expected * sqrt(2.0 / NUM) + bias * expected;
    EXPECT_BETWEEN(mean, expected_mean - m, expected_mean + m);
    EXPECT_BETWEEN(variance, expected - v, expected + v);
}

typedef struct trajectory {
    gen_denoiser base;
    const gen_schedule *schedule;
} trajectory;

/* What a perfectly distilled network answers: x0 such that the solver's deterministic part lands
 * where the trajectory does. */
static gen_status follow(void *self, const float *x, const gen_point *at, float *out, gen_error *e)
{
    const trajectory *t = self;
    const gen_level from = at->level, low = t->schedule->steps[at->step].through;
    const double keep = low.sigma / from.sigma;
    (void)e;
    for (size_t k = 0; k < t->base.n; k++)
        out[k] =
            (float)((toy_exact(x[k], from, low) - keep * x[k]) / (low.alpha - from.alpha * keep));
    return GEN_OK;
}

static void tcd_reaches_the_data(void **state)
{
    gen_scheduler_config c = config_of("TCDScheduler");
    gen_rng rng;
    float *x = malloc(NUM * sizeof *x);
    (void)state;
    assert_non_null(x);
    for (int i = 0; i < 3; i++) {
        trajectory t = {.base = {.n = NUM, .denoise = follow}};
        gen_schedule *s;
        c.eta = i * 0.5;
        t.base.self = &t;
        EXPECT_OK(gen_schedule_new(&s, &c, &(gen_schedule_params){.num_steps = 4}, &err));
        t.schedule = s;
        const gen_level from = s->steps[0].from, to = s->steps[3].to;
        gen_rng_init(&rng, GEN_RNG_GEN, 5);
        gen_rng_normal(&rng, x, NUM);
        for (int k = 0; k < NUM; k++)
            x[k] =
                (float)(from.alpha * TOY_MU + x[k] * sqrt(from.alpha * from.alpha * TOY_VARIANCE +
                                                          from.sigma * from.sigma));
        const gen_solve_params p = {
            .denoiser = &t.base, .schedule = s, .config = &c, .noise = {&rng, draw}};
        EXPECT_OK(gen_solve(gen_sampler_find("tcd"), &p, x, &err));
        check_moments(x, to.alpha * TOY_MU,
                      to.alpha * to.alpha * TOY_VARIANCE + to.sigma * to.sigma, 0);
        gen_schedule_free(s);
    }
    free(x);
}

#define SOURCE 2.0

/* E[x0 | x] on a bridge from SOURCE whose variance at the source is 1:
 * x = (1 - rho) x0 + rho SOURCE + sqrt(rho (1 - rho)) eps. */
static gen_status bridge_mean(void *self, const float *x, const gen_point *at, float *out,
                              gen_error *e)
{
    const gen_denoiser *d = self;
    const double rho = at->level.sigma * at->level.sigma, a = 1 - rho;
    const double gain = a > 0 ? a * TOY_VARIANCE / (a * a * TOY_VARIANCE + rho * a) : 0;
    (void)e;
    for (size_t k = 0; k < d->n; k++)
        out[k] = (float)(TOY_MU + gain * (x[k] - rho * SOURCE - a * TOY_MU));
    return GEN_OK;
}

static void bridges_reach_the_target(void **state)
{
    gen_scheduler_config c = config_of("ViBTScheduler");
    gen_denoiser toy = {.n = NUM, .denoise = bridge_mean};
    gen_schedule *s;
    gen_rng rng;
    float *x = malloc(NUM * sizeof *x);
    (void)state;
    assert_non_null(x);
    toy.self = &toy;
    c.shift = 1; /* the last step is the whole error: it returns the mean */
    for (int k = 0; k < NUM; k++)
        x[k] = (float)SOURCE;
    EXPECT_OK(gen_schedule_new(&s, &c, &(gen_schedule_params){.num_steps = 1000}, &err));
    gen_rng_init(&rng, GEN_RNG_GEN, 3);
    const gen_solve_params p = {
        .denoiser = &toy, .schedule = s, .config = &c, .noise = {&rng, draw}};
    EXPECT_BETWEEN(s->init_scale, 1, 1);
    EXPECT_OK(gen_solve(gen_sampler_find("bridge"), &p, x, &err));
    check_moments(x, TOY_MU, TOY_VARIANCE, 0.03);
    gen_schedule_free(s);
    free(x);
}

/* One run of a sampler on three numbers with fixed noise. */
static void run(const gen_scheduler_config *c, const char *sampler, const float *variance,
                float x[3])
{
    gen_denoiser toy = {.n = 3, .denoise = toy_denoise};
    gen_schedule *s;
    gen_rng rng;
    toy.self = &toy;
    gen_rng_init(&rng, GEN_RNG_GEN, 1);
    gen_rng_normal(&rng, x, 3);
    EXPECT_OK(gen_schedule_new(
        &s, c, &(gen_schedule_params){.sampler = gen_sampler_find(sampler), .num_steps = 10},
        &err));
    const gen_solve_params p = {
        .denoiser = &toy, .schedule = s, .config = c, .noise = {&rng, draw}, .variance = variance};
    EXPECT_OK(gen_solve(gen_sampler_find(sampler), &p, x, &err));
    gen_schedule_free(s);
}

/* The ends of the learned range are the two fixed variances; the variance itself may be learned. */
static void learned_variance_has_the_fixed_ones_as_ends(void **state)
{
    static const float low[3] = {-1, -1, -1}, high[3] = {1, 1, 1};
    gen_scheduler_config c = config_of("GaussianDiffusion");
    float a[3], b[3];
    (void)state;
    for (int i = 0; i < 2; i++) {
        c.variance_type = GEN_VARIANCE_LEARNED_RANGE;
        run(&c, "ddpm", i ? high : low, a);
        c.variance_type = i ? GEN_VARIANCE_LARGE : GEN_VARIANCE_SMALL;
        run(&c, "ddpm", NULL, b);
        expect_close(a, b, 3, 1e-6, i ? "large" : "small");
    }
    c.variance_type = GEN_VARIANCE_LEARNED_RANGE;
    gen_schedule *s;
    gen_denoiser toy = {.n = 3, .denoise = toy_denoise};
    toy.self = &toy;
    EXPECT_OK(gen_schedule_new(&s, &c, &(gen_schedule_params){.num_steps = 10}, &err));
    const gen_solve_params p = {.denoiser = &toy, .schedule = s, .config = &c};
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_solve(gen_sampler_find("ddpm"), &p, a, &err));
    EXPECT_CONTAINS(err.message, "does not give it");
    gen_schedule_free(s);
}

static void ddpm_is_ddim_with_eta_one(void **state)
{
    gen_scheduler_config c = config_of("GaussianDiffusion");
    float a[3], b[3];
    (void)state;
    c.variance_type = GEN_VARIANCE_SMALL;
    run(&c, "ddpm", NULL, a);
    c.eta = 1;
    run(&c, "ddim", NULL, b);
    expect_close(a, b, 3, 1e-5, "ddim");
}

/* ---- churn and repainting
 * ------------------------------------------------------------------------ */

/* EDM's stochastic sampler written out (Karras et al. 2022, alg. 2). */
static double edm_by_hand(const double *sigmas, int num, double churn, double low, double high,
                          double s_noise, bool is_heun, double x, const double *z)
{
    for (int i = 0; i < num; i++) {
        const double t = sigmas[i], next = i + 1 < num ? sigmas[i + 1] : 0;
        const double gamma = t >= low && t <= high ? fmin(churn / num, sqrt(2) - 1) : 0;
        const double raised = t * (1 + gamma);
        if (gamma > 0)
            x += sqrt(raised * raised - t * t) * s_noise * *z++;
        const gen_point at = {.level = {1, raised}}, then = {.level = {1, next}};
        gen_denoiser one = {.n = 1};
        float in = (float)x, out;
        EXPECT_OK(toy_denoise(&one, &in, &at, &out, &err));
        const double slope = (x - out) / raised;
        const double ahead = x + (next - raised) * slope;
        if (!is_heun || next == 0) {
            x = ahead;
            continue;
        }
        in = (float)ahead;
        EXPECT_OK(toy_denoise(&one, &in, &then, &out, &err));
        x += (next - raised) * (slope + (ahead - out) / next) / 2;
    }
    return x;
}

static void churn_is_that_of_edm(void **state)
{
    static const double sigmas[] = {10, 3, 1, 0.3, 0.1};
    static const float z[] = {0.3f, -1.2f, 0.8f, 0.1f, -0.4f};
    static const double zd[] = {0.3f, -1.2f, 0.8f, 0.1f, -0.4f};
    gen_scheduler_config c = config_of("EDMEulerScheduler");
    (void)state;
    c.s_churn = 1.5;
    c.s_tmin = 0.2;
    c.s_tmax = 5;
    c.s_noise = 1.003;
    for (int k = 0; k < 2; k++) {
        gen_schedule *s;
        toy_noise noise = {.z = z, .num = 5};
        toy_record record;
        const gen_sampler *sampler = gen_sampler_find(k ? "heun" : "euler");
        EXPECT_OK(gen_schedule_new(
            &s, &c, &(gen_schedule_params){.sampler = sampler, .sigmas = sigmas, .num_sigmas = 5},
            &err));
        EXPECT_OK(toy_solve(sampler, toy_denoise, s, &c, 12, &noise, &record, &err));
        const double expected = edm_by_hand(sigmas, 5, 1.5, 0.2, 5, 1.003, k, 12, zd);
        EXPECT_BETWEEN(record.x[4], expected - 2e-5, expected + 2e-5);
        assert_int_equal(noise.drawn, 3); /* 3, 1 and 0.3 lie between */
        EXPECT_BETWEEN(s->steps[1].raised_time, log(3 * 1.3) / 4 - 1e-12, log(3 * 1.3) / 4 + 1e-12);
        gen_schedule_free(s);
    }
}

/* Fresh noise in every process leaves the distribution what it is. */
static void churn_reaches_the_data(void **state)
{
    static const char *const classes[] = {"EDMEulerScheduler", "FlowMatchEulerDiscreteScheduler",
                                          ""};
    static const char *const schedules[] = {"karras", "karras", "karras"};
    float *x = malloc(NUM * sizeof *x);
    (void)state;
    assert_non_null(x);
    for (int k = 0; k < 6; k++) {
        gen_scheduler_config c = config_of(classes[k % 3]);
        const gen_sampler *sampler = gen_sampler_find(k < 3 ? "euler" : "heun");
        gen_denoiser toy = {.n = NUM, .denoise = toy_denoise};
        gen_schedule *s;
        gen_rng rng;
        toy.self = &toy;
        c.s_churn = k < 3 ? 4 : 40;
        c.sigma_min = c.process == GEN_PROCESS_FLOW ? 0.01 : 0.02;
        c.sigma_max = c.process == GEN_PROCESS_FLOW ? 0.95 : 14;
        EXPECT_OK(gen_schedule_new(&s, &c,
                                   &(gen_schedule_params){.sampler = sampler,
                                                          .schedule = schedules[k % 3],
                                                          .num_steps = 200},
                                   &err));
        const gen_level from = s->steps[0].from;
        gen_rng_init(&rng, GEN_RNG_GEN, 5);
        gen_rng_normal(&rng, x, NUM);
        for (int i = 0; i < NUM; i++)
            x[i] =
                (float)(from.alpha * TOY_MU + x[i] * sqrt(from.alpha * from.alpha * TOY_VARIANCE +
                                                          from.sigma * from.sigma));
        const gen_solve_params p = {
            .denoiser = &toy, .schedule = s, .config = &c, .noise = {&rng, draw}};
        EXPECT_OK(gen_solve(sampler, &p, x, &err));
        check_moments(x, TOY_MU, TOY_VARIANCE, k < 3 ? 0.03 : 0.02);
        gen_schedule_free(s);
    }
    free(x);
}

typedef struct counted {
    gen_denoiser base;
    int calls;
} counted;

static gen_status count_and_denoise(void *self, const float *x, const gen_point *at, float *out,
                                    gen_error *e)
{
    counted *c = self;
    c->calls++;
    return toy_denoise(&c->base, x, at, out, e);
}

/* What the mask keeps is kept to the bit, what it leaves open has the data's distribution, and the
 * walk back and forth costs what the help says. */
static void repainting(void **state)
{
    gen_scheduler_config c = config_of("RePaintScheduler");
    counted toy = {.base = {.n = NUM, .denoise = count_and_denoise}};
    float *x = malloc(NUM * sizeof *x), *known = malloc(NUM * sizeof *x);
    float *mask = malloc(NUM * sizeof *x);
    const gen_sampler *sampler = gen_sampler_find("repaint");
    gen_schedule *s;
    gen_rng rng;
    (void)state;
    assert_true(x && known && mask);
    toy.base.self = &toy;
    c.clip_sample = false;
    c.eta = 1;
    for (int i = 0; i < NUM; i++) {
        mask[i] = (float)(i % 2);
        known[i] = (float)(i % 5);
    }
    gen_rng_init(&rng, GEN_RNG_GEN, 8);
    gen_rng_normal(&rng, x, NUM);
    EXPECT_OK(gen_schedule_new(&s, &c, &(gen_schedule_params){.sampler = sampler, .num_steps = 100},
                               &err));
    const gen_inpaint inpaint = {.latents = known, .mask = mask, .channels = 1};
    gen_solve_params p = {
        .denoiser = &toy.base, .schedule = s, .config = &c, .noise = {&rng, draw}};
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_solve(sampler, &p, x, &err));
    EXPECT_CONTAINS(err.message, "no mask is given");
    p.inpaint = &inpaint;
    EXPECT_OK(gen_solve(sampler, &p, x, &err));
    assert_int_equal(toy.calls, 10 * 100 - 90);
    double mean = 0, variance = 0;
    for (int i = 0; i < NUM; i++) {
        if (i % 2 == 0)
            assert_true(x[i] == known[i]);
        else
            mean += x[i] / (NUM / 2.0);
    }
    for (int i = 1; i < NUM; i += 2)
        variance += (x[i] - mean) * (x[i] - mean) / (NUM / 2.0);
    EXPECT_BETWEEN(mean, TOY_MU - 0.015, TOY_MU + 0.015);
    EXPECT_BETWEEN(variance, 0.8 * TOY_VARIANCE, 1.1 * TOY_VARIANCE);
    gen_schedule_free(s);
    free(x);
    free(known);
    free(mask);
}

/* ---- who can run whom --------------------------------------------------------------------------
 */

static void check_refused(const gen_scheduler_config *c, const char *sampler, const char *schedule,
                          const char *why)
{
    gen_schedule *s = NULL;
    const gen_schedule_params p = {
        .sampler = gen_sampler_find(sampler), .schedule = schedule, .num_steps = 3};
    assert_non_null(p.sampler);
    memset(&err, 0, sizeof err);
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_schedule_new(&s, c, &p, &err));
    EXPECT_CONTAINS(err.message, why);
    assert_null(s);
}

static void nonsense_is_refused_with_the_reason(void **state)
{
    (void)state;
    const char *slope = "not the slope or mean this sampler steps along";
    const gen_scheduler_config rcm = config_of("rCM"), vibt = config_of("ViBTScheduler");
    check_refused(&rcm, "euler_a", NULL, slope);
    check_refused(&rcm, "dpmpp_2m", NULL, slope);
    check_refused(&rcm, "unipc", NULL, slope);
    const gen_scheduler_config scm = config_of("SCMScheduler");
    check_refused(&scm, "ddpm", NULL, slope);
    check_refused(&vibt, "euler", NULL, "not from noise");
    check_refused(&vibt, "scm", NULL, "not from noise");

    gen_scheduler_config sd = stable_diffusion(true);
    check_refused(&sd, "bridge", NULL, "predicts the mean");
    check_refused(&sd, "scm", NULL, "predicts the mean");
    check_refused(&sd, "euler", "rcm", "not for noise-table models");
    check_refused(&sd, "euler", "flow", "not for noise-table models");
    sd.rescale_betas_zero_snr = true; /* infinite kappa at t = 999 */
    sd.timestep_spacing = GEN_SPACING_TRAILING;
    check_refused(&sd, "ddim", NULL, "epsilon prediction cannot start from pure noise");
    sd.prediction_type = GEN_PREDICT_V;
    check_refused(&sd, "pndm", NULL, "steps in sigma / alpha, which is infinite");

    gen_scheduler_config flow = config_of("FlowMatchEulerDiscreteScheduler");
    check_refused(&flow, "dpmpp_2m", "flow",
                  "steps in log SNR, which is infinite in the pure noise");
    check_refused(&flow, "unipc", "flow_uniform", "log SNR");
    check_refused(&flow, "euler", "lcm", "not for rectified-flow models");

    gen_scheduler_config noise = config_of("DPMSolverMultistepScheduler");
    EXPECT_OK(gen_scheduler_config_set_string(&noise, "algorithm_type", "dpmsolver", &err));
    check_refused(&noise, "dpmpp_2m", NULL, "cannot end clean");
    EXPECT_OK(gen_scheduler_config_set_bool(&noise, "predict_x0", false, &err));
    check_refused(&noise, "unipc", NULL, "cannot end clean");
}

/* Inverting starts at the picture: a strength keeps the cleanest steps. */
static void a_strength_of_an_inversion(void **state)
{
    const gen_scheduler_config c = stable_diffusion(true);
    const gen_schedule_params p = {.sampler = gen_sampler_find("ddim_inverse"), .num_steps = 10};
    gen_schedule *s;
    (void)state;
    EXPECT_OK(gen_schedule_new(&s, &c, &p, &err));
    const double kappa = gen_level_kappa(s->steps[3].to);
    EXPECT_OK(gen_schedule_cut(s, 0.6, &err));
    assert_int_equal(s->num_steps, 6);
    assert_int_equal(s->first, 0);
    EXPECT_OK(gen_schedule_cut_at(s, kappa, &err));
    assert_int_equal(s->num_steps, 4);
    EXPECT_BETWEEN(s->steps[0].from.sigma, 0, 0);
    gen_schedule_free(s);
}

/* TCD's two halves of a step, on a process without a table. */
static void tcd_runs_on_flow(void **state)
{
    gen_scheduler_config c = config_of("FlowMatchEulerDiscreteScheduler");
    gen_schedule *s;
    (void)state;
    c.eta = 0.3;
    EXPECT_OK(gen_schedule_new(
        &s, &c, &(gen_schedule_params){.sampler = gen_sampler_find("tcd"), .num_steps = 4}, &err));
    for (int i = 0; i < 3; i++) /* down to 1 - eta of the next time */
        EXPECT_BETWEEN(s->steps[i].through.sigma / s->steps[i].to.sigma, 0.7 - 1e-12, 0.7 + 1e-12);
    gen_schedule_free(s);
    for (int eta = 0; eta < 2; eta++) {
        c.eta = eta * 0.5;
        float x[3];
        run(&c, "tcd", NULL, x);
        for (int k = 0; k < 3; k++)
            EXPECT_BETWEEN(x[k], -1.5, 2.1);
    }
}

/* Each class of the configuration runs its own sampler on its own schedule. */
static void classes_run_their_own_samplers(void **state)
{
    static const char *const classes[] = {
        "",
        "DDIMScheduler",
        "DDPMScheduler",
        "PNDMScheduler",
        "EulerDiscreteScheduler",
        "EulerAncestralDiscreteScheduler",
        "HeunDiscreteScheduler",
        "LMSDiscreteScheduler",
        "DPMSolverMultistepScheduler",
        "UniPCMultistepScheduler",
        "LCMScheduler",
        "TCDScheduler",
        "FlowMatchEulerDiscreteScheduler",
        "FlowMatchHeunDiscreteScheduler",
        "EDMEulerScheduler",
        "EDMDPMSolverMultistepScheduler",
        "CMStochasticIterativeScheduler",
        "SCMScheduler",
        "rCM",
        "FlowEulerSampler",
        "GaussianDiffusion",
        "ViBTScheduler",
        "I2SB",
        "BBDM",
    };
    static const float variance[1] = {0};
    (void)state;
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++) {
        const gen_scheduler_config c = config_of(classes[i]);
        const gen_sampler *sampler = gen_sampler_of(&c);
        gen_denoiser toy = {.n = 1, .denoise = toy_denoise};
        gen_schedule *s;
        gen_rng rng;
        float x = 0.5f;
        toy.self = &toy;
        assert_non_null(sampler);
        EXPECT_OK(gen_schedule_new(&s, &c, &(gen_schedule_params){.num_steps = 3}, &err));
        gen_rng_init(&rng, GEN_RNG_GEN, 2);
        const gen_solve_params p = {.denoiser = &toy,
                                    .schedule = s,
                                    .config = &c,
                                    .noise = {&rng, draw},
                                    .variance = variance};
        EXPECT_OK(gen_solve(sampler, &p, &x, &err));
        EXPECT_BETWEEN(x, -3, 3);
        gen_schedule_free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ddim_inversion_comes_back),
        cmocka_unit_test(the_inverse_schedule_is_upside_down),
        cmocka_unit_test(tcd_reaches_the_data),
        cmocka_unit_test(bridges_reach_the_target),
        cmocka_unit_test(learned_variance_has_the_fixed_ones_as_ends),
        cmocka_unit_test(ddpm_is_ddim_with_eta_one),
        cmocka_unit_test(churn_is_that_of_edm),
        cmocka_unit_test(churn_reaches_the_data),
        cmocka_unit_test(repainting),
        cmocka_unit_test(nonsense_is_refused_with_the_reason),
        cmocka_unit_test(a_strength_of_an_inversion),
        cmocka_unit_test(tcd_runs_on_flow),
        cmocka_unit_test(classes_run_their_own_samplers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
