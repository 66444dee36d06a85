/* Laws of the sampler layer on data N(mu, s^2), for which the best denoiser, the trajectories of
 * the probability flow and the distribution at every level are known. */
#include "tests/test.h"
#include "tests/unit/toy.h"

#include <stdlib.h>

static gen_error err;

/* num steps evenly in lambda between two levels, in the coordinates of a process. */
static void make_schedule(gen_schedule *s, gen_process process, double first, double last, int num)
{
    *s = (gen_schedule){
        .steps = calloc((size_t)num, sizeof *s->steps), .num_steps = num, .process = process};
    assert_non_null(s->steps);
    for (int i = 0; i < num; i++) {
        const double a = first * pow(last / first, (double)i / num);
        const double b = first * pow(last / first, (i + 1.0) / num);
        s->steps[i] =
            (gen_step){gen_process_level(process, a), gen_process_level(process, b), i + 1};
    }
}

static gen_scheduler_config options(void)
{
    gen_scheduler_config c;
    EXPECT_OK(gen_scheduler_config_init(&c, NULL, &err));
    c.lower_order_final = false; /* no special last steps: the schedules here end above 0 */
    return c;
}

/* |numerical - exact| at the end of num steps. */
static double ode_error(const char *sampler, gen_process process, gen_scheduler_config config,
                        int num)
{
    gen_schedule s;
    make_schedule(&s, process, 10, 0.1, num);
    gen_denoiser toy = {.n = 1, .denoise = toy_denoise};
    toy.self = &toy;
    const gen_solve_params p = {.denoiser = &toy, .schedule = &s, .config = &config};
    const float start = (float)(20 * s.steps[0].from.alpha);
    float x = start;
    EXPECT_OK(gen_solve(gen_sampler_find(sampler), &p, &x, &err));
    const double exact = toy_exact(start, s.steps[0].from, s.steps[num - 1].to);
    free(s.steps);
    return fabs(x - exact);
}

static double order_in(const char *sampler, gen_process process, gen_scheduler_config config,
                       int num)
{
    return log2(ode_error(sampler, process, config, num) /
                ode_error(sampler, process, config, 2 * num));
}

static double order_with(const char *sampler, gen_scheduler_config config, int num)
{
    return order_in(sampler, GEN_PROCESS_VE, config, num);
}

static double order_of(const char *sampler, int num)
{
    return order_with(sampler, options(), num);
}

/* Halving the steps divides the error by 2^order.  Multistep methods start with lower orders, which
 * bounds the order of the whole from 2 upward. */
static void solvers_converge_at_their_order(void **state)
{
    (void)state;
    EXPECT_BETWEEN(order_of("euler", 128), 0.95, 1.05);
    EXPECT_BETWEEN(order_of("ddim", 128), 0.95, 1.05);
    EXPECT_BETWEEN(order_of("heun", 64), 1.9, 2.1);
    EXPECT_BETWEEN(order_of("dpmpp_2m", 64), 1.85, 2.15);
    EXPECT_BETWEEN(order_of("unipc", 16), 2.85, 3.15); /* its corrector adds one */
    EXPECT_BETWEEN(order_of("dpmpp_3m", 16), 2.3, 3.1);
    EXPECT_BETWEEN(order_of("lms", 16), 3, 4.1);
    EXPECT_BETWEEN(order_of("pndm", 32), 1.95, 2.1);
}

/* The straight solvers step in the time of a flow, not in kappa. */
static void solvers_converge_at_their_order_in_flow_time(void **state)
{
    (void)state;
    EXPECT_BETWEEN(order_in("euler", GEN_PROCESS_FLOW, options(), 128), 0.95, 1.05);
    EXPECT_BETWEEN(order_in("heun", GEN_PROCESS_FLOW, options(), 64), 1.9, 2.1);
    /* its error changes sign on the way down, to what f32 latents hold */
    EXPECT_BETWEEN(ode_error("lms", GEN_PROCESS_FLOW, options(), 16), 0, 5e-4);
    EXPECT_BETWEEN(ode_error("lms", GEN_PROCESS_FLOW, options(), 64), 0, 1e-5);
    EXPECT_BETWEEN(order_in("pndm", GEN_PROCESS_FLOW, options(), 64), 1.8, 2.2);
}

/* A long first step out of pure noise: in kappa, whose start is infinite or nearly, none of these
 * would come near the data. */
static void flow_starts_in_pure_noise(void **state)
{
    static const char *const samplers[] = {"euler", "heun", "lms", "pndm", "ddim"};
    (void)state;
    for (size_t k = 0; k < sizeof samplers / sizeof samplers[0]; k++) {
        gen_scheduler_config c;
        gen_schedule *s;
        gen_denoiser toy = {.n = 1, .denoise = toy_denoise};
        float x = 1.5f;
        toy.self = &toy;
        EXPECT_OK(gen_scheduler_config_init(&c, "FlowMatchEulerDiscreteScheduler", &err));
        EXPECT_OK(gen_schedule_new(&s, &c,
                                   &(gen_schedule_params){.sampler = gen_sampler_find(samplers[k]),
                                                          .schedule = "flow_uniform",
                                                          .num_steps = 40},
                                   &err));
        const gen_solve_params p = {.denoiser = &toy, .schedule = s, .config = &c};
        EXPECT_BETWEEN(s->steps[0].from.alpha, 0, 0);
        EXPECT_OK(gen_solve(gen_sampler_find(samplers[k]), &p, &x, &err));
        EXPECT_BETWEEN(x, 1.05 - 0.06, 1.05 + 0.06); /* mu + s 1.5 */
        gen_schedule_free(s);
    }
}

/* The other orders and forms of the exponential integrators. */
static void forms_converge_at_their_order(void **state)
{
    (void)state;
    gen_scheduler_config c = options();
    c.solver_order = 1;
    EXPECT_BETWEEN(order_with("dpmpp_2m", c, 128), 0.95, 1.05);
    EXPECT_BETWEEN(order_with("unipc", c, 32), 1.85, 2.15); /* its corrector adds one */
    c = options();
    c.is_midpoint = false;
    EXPECT_BETWEEN(order_with("dpmpp_2m", c, 64), 1.85, 2.15);
    c.is_bh1 = true;
    EXPECT_BETWEEN(order_with("unipc", c, 16), 2.7, 3.3);
    c = options();
    c.predicts_noise = c.ends_at_sigma_min = true;
    EXPECT_BETWEEN(order_with("dpmpp_2m", c, 128), 1.8, 2.2);
    EXPECT_BETWEEN(order_with("dpmpp_3m", c, 64), 1.9, 3.2); /* bounded by its first steps */
    EXPECT_BETWEEN(order_with("unipc", c, 64), 2.5, 3.3);
}

/* ---- prediction types and processes ------------------------------------------------------------
 */

typedef struct toy_network {
    gen_denoiser base;
    gen_prediction_type type;
} toy_network;

#define SIGMA_DATA 0.5
#define SIGMA_MIN  0.002

/* EDM's network sees y / sqrt(sigma^2 + sigma_data^2). */
static double input_scale(gen_prediction_type type, double sigma)
{
    const bool is_scaled =
        type == GEN_PREDICT_EDM || type == GEN_PREDICT_TRIGFLOW || type == GEN_PREDICT_CONSISTENCY;
    return is_scaled ? 1 / hypot(sigma, SIGMA_DATA) : 1;
}

/* The raw prediction for x, of which x0 is the clean part. */
static double raw_prediction(gen_prediction_type type, gen_level level, double x, double x0)
{
    const double a = level.alpha, s = level.sigma, eps = (x - a * x0) / s;
    const double above = s - SIGMA_MIN, norm = hypot(s, SIGMA_DATA),
                 data2 = SIGMA_DATA * SIGMA_DATA;
    switch (type) {
    case GEN_PREDICT_SAMPLE:
        return x0;
    case GEN_PREDICT_V:
        return a * eps - s * x0;
    case GEN_PREDICT_FLOW:
        return eps - x0;
    case GEN_PREDICT_REVERSE_FLOW:
        return x0 - eps;
    case GEN_PREDICT_EDM:
        return (x0 - data2 / (norm * norm) * x) / (s * SIGMA_DATA / norm);
    case GEN_PREDICT_TRIGFLOW: /* (cos t zeta - sin t x0) / sigma_data, zeta = sigma_data eps */
        return (SIGMA_DATA / norm * SIGMA_DATA * eps - s / norm * x0) / SIGMA_DATA;
    case GEN_PREDICT_CONSISTENCY:
        return (x0 - data2 / (above * above + data2) * x) / (above * SIGMA_DATA / norm);
    case GEN_PREDICT_BRIDGE:
        return (x - x0) / (s * s);
    case GEN_PREDICT_DIFFERENCE:
        return x - x0;
    default:
        return eps;
    }
}

/* The raw prediction that the exact denoiser corresponds to, at a level of the network's process.
 */
static gen_status network(void *self, const float *x, const gen_point *at, float *out, gen_error *e)
{
    const toy_network *net = self;
    gen_denoiser one = {.n = 1};
    for (size_t k = 0; k < net->base.n; k++) {
        const double full = x[k] / input_scale(net->type, at->level.sigma);
        const float latent = (float)full;
        float x0;
        GEN_TRY(toy_denoise(&one, &latent, at, &x0, e));
        out[k] = (float)raw_prediction(net->type, at->level, full, x0);
    }
    return GEN_OK;
}

/* Where x of kappa 10 goes when the network is trained on one process and the sampler runs another;
 * brought back to VE. */
static double end_of(gen_prediction_type type, gen_process trained, gen_process sampled,
                     const char *sampler)
{
    const gen_scheduler_config config = options();
    toy_network net = {.base = {.n = 1, .denoise = network}, .type = type};
    gen_denoiser *prediction;
    gen_schedule s;
    net.base.self = &net;
    make_schedule(&s, sampled, 10, 0.1, 20);
    EXPECT_OK(gen_prediction_new(&prediction, &net.base, type, trained, &err));
    const gen_solve_params p = {.denoiser = prediction, .schedule = &s, .config = &config};
    float x = (float)(8 * s.steps[0].from.alpha);
    EXPECT_OK(gen_solve(gen_sampler_find(sampler), &p, &x, &err));
    const double end = x / s.steps[19].to.alpha;
    gen_denoiser_free(prediction);
    free(s.steps);
    return end;
}

static void crossing_processes_changes_nothing(void **state)
{
    (void)state;
    static const char *const samplers[] = {"euler", "ddim", "heun", "dpmpp_2m",
                                           "unipc", "lms",  "pndm", "dpmpp_3m"};
    for (size_t k = 0; k < sizeof samplers / sizeof samplers[0]; k++) {
        const bool has_flow_time = strcmp(samplers[k], "heun") == 0 ||
                                   strcmp(samplers[k], "lms") == 0 ||
                                   strcmp(samplers[k], "pndm") == 0;
        for (int type = 0; type < GEN_NUM_PREDICTIONS; type++)
            for (int trained = 0; trained < GEN_NUM_PROCESSES; trained++)
                for (int sampled = 0; sampled < GEN_NUM_PROCESSES; sampled++) {
                    const gen_process own = has_flow_time && sampled == GEN_PROCESS_FLOW
                                                ? GEN_PROCESS_FLOW
                                                : GEN_PROCESS_VE;
                    const double reference = end_of(GEN_PREDICT_SAMPLE, own, own, samplers[k]);
                    const double end = end_of((gen_prediction_type)type, (gen_process)trained,
                                              (gen_process)sampled, samplers[k]);
                    EXPECT_BETWEEN(end, reference - 1e-5, reference + 1e-5);
                }
    }
}

static void levels_cross_and_return(void **state)
{
    (void)state;
    static const double kappas[] = {0, 1e-6, 0.03, 1, 14.6, 4096};
    for (size_t k = 0; k < sizeof kappas / sizeof kappas[0]; k++)
        for (int a = 0; a < GEN_NUM_PROCESSES; a++)
            for (int b = 0; b < GEN_NUM_PROCESSES; b++) {
                const gen_level from = gen_process_level((gen_process)a, kappas[k]);
                const gen_level to = gen_process_level((gen_process)b, kappas[k]);
                const double c = gen_level_crossing(from, to);
                EXPECT_BETWEEN(c * from.alpha, to.alpha * (1 - 1e-14), to.alpha * (1 + 1e-14));
                EXPECT_BETWEEN(c * from.sigma, to.sigma * (1 - 1e-14), to.sigma * (1 + 1e-14));
                EXPECT_BETWEEN(c * gen_level_crossing(to, from), 1 - 1e-14, 1 + 1e-14);
            }
    const gen_level vp = gen_process_level(GEN_PROCESS_VP, INFINITY);
    const gen_level rf = gen_process_level(GEN_PROCESS_FLOW, INFINITY);
    EXPECT_BETWEEN(gen_level_crossing(vp, rf), 1, 1);
}

/* ---- distributions -----------------------------------------------------------------------------
 */

enum { NUM = 40000 };

static gen_status draw(void *self, float *z, size_t n, gen_error *e)
{
    (void)e;
    gen_rng_normal(self, z, n);
    return GEN_OK;
}

/* Many numbers from the exact distribution at the first level end with the data's mean and
 * variance, within three standard errors and what `num` steps cannot do better. */
static void check_distribution(const char *sampler, toy_function *denoise, gen_process process,
                               double eta, int num, double bias)
{
    gen_scheduler_config config = options();
    gen_schedule s;
    gen_rng rng;
    float *x = malloc(NUM * sizeof *x);
    assert_non_null(x);
    config.eta = eta;
    make_schedule(&s, process, 20, 0.02, num);
    const gen_level from = s.steps[0].from;
    gen_rng_init(&rng, GEN_RNG_GEN, 11);
    gen_rng_normal(&rng, x, NUM);
    const double spread = sqrt(from.alpha * from.alpha * TOY_VARIANCE + from.sigma * from.sigma);
    for (int k = 0; k < NUM; k++)
        x[k] = (float)(from.alpha * TOY_MU + spread * x[k]);
    gen_denoiser toy = {.n = NUM, .denoise = denoise};
    toy.self = &toy;
    const gen_solve_params p = {
        .denoiser = &toy, .schedule = &s, .config = &config, .noise = {&rng, draw}};
    EXPECT_OK(gen_solve(gen_sampler_find(sampler), &p, x, &err));

    const gen_level to = s.steps[num - 1].to;
    const double expected_mean = to.alpha * TOY_MU;
    const double expected = to.alpha * to.alpha * TOY_VARIANCE + to.sigma * to.sigma;
    double mean = 0, variance = 0;
    for (int k = 0; k < NUM; k++)
        mean += x[k] / NUM;
    for (int k = 0; k < NUM; k++)
        variance += (x[k] - mean) * (x[k] - mean) / NUM;
    const double mean_error = 3 * sqrt(expected / NUM);
    const double variance_error = 3 * expected * sqrt(2.0 / NUM) + bias * expected;
    EXPECT_BETWEEN(mean, expected_mean - mean_error, expected_mean + mean_error);
    EXPECT_BETWEEN(variance, expected - variance_error, expected + variance_error);
    free(s.steps);
    free(x);
}

static void stochastic_solvers_reach_the_data(void **state)
{
    (void)state;
    check_distribution("ddim", toy_denoise, GEN_PROCESS_VP, 0.5, 300, 0.01);
    check_distribution("ddim", toy_denoise, GEN_PROCESS_VP, 1, 300, 0.02);
    check_distribution("ddpm", toy_denoise, GEN_PROCESS_VP, 0, 300, 0.02);
    check_distribution("ddpm", toy_denoise, GEN_PROCESS_VE, 0, 300, 0.02);
    check_distribution("ddpm", toy_denoise, GEN_PROCESS_FLOW, 0, 300, 0.02);
    check_distribution("ddim", toy_denoise, GEN_PROCESS_FLOW, 1, 300, 0.02);
    check_distribution("euler_a", toy_denoise, GEN_PROCESS_VE, 1, 300, 0.02);
    check_distribution("dpmpp_2m_sde", toy_denoise, GEN_PROCESS_VP, 0, 300, 0.01);
    check_distribution("euler_a", toy_denoise, GEN_PROCESS_FLOW, 1, 300, 0.02);
    check_distribution("dpmpp_3m_sde", toy_denoise, GEN_PROCESS_VP, 0, 300, 0.01);
    for (int process = 0; process < GEN_NUM_PROCESSES;
         process++) { /* exact in any number of steps */
        check_distribution("scm", toy_consistency, (gen_process)process, 0, 2, 0);
        check_distribution("scm", toy_consistency, (gen_process)process, 0, 5, 0);
    }
    check_distribution("cm", toy_consistency, GEN_PROCESS_VE, 0, 4, 0);
    check_distribution("lcm", toy_consistency, GEN_PROCESS_VP, 0, 4,
                       0.02); /* x0 of the last level */
    check_distribution("euler_a", toy_denoise, GEN_PROCESS_VP, 1, 300, 0.02);
}

/* ---- guidance ----------------------------------------------------------------------------------
 */

typedef struct counted {
    gen_denoiser base;
    float value;
    int calls;
} counted;

static gen_status constant(void *self, const float *x, const gen_point *at, float *out,
                           gen_error *e)
{
    counted *c = self;
    (void)at;
    (void)e;
    c->calls++;
    for (size_t k = 0; k < c->base.n; k++)
        out[k] = c->value * (1 + x[k]);
    return GEN_OK;
}

static void scale_one_is_the_conditional_prediction(void **state)
{
    (void)state;
    const float x[4] = {0.5f, -1, 2, 0.1f};
    for (int i = 0; gen_guidance_kind_at(i); i++) {
        counted c = {.base = {.n = 4, .denoise = constant}, .value = 1.7f}, u = c, image = c;
        c.base.self = &c;
        u.base.self = &u;
        image.base.self = &image;
        const gen_denoiser *const branches[] = {&c.base, &u.base, &image.base};
        const gen_guidance_params p = {.kind = gen_guidance_kind_at(i)->name};
        gen_denoiser *g;
        float out[4], expected[4];
        const gen_point at = {.level = {1, 1}, .num_steps = 4};
        EXPECT_OK(gen_guidance_new(&g, &p, branches, &err));
        EXPECT_OK(g->denoise(g->self, x, &at, out, &err));
        EXPECT_OK(constant(&c, x, &at, expected, &err));
        assert_memory_equal(out, expected, sizeof out);
        assert_int_equal(u.calls + image.calls, 0); /* not asked when it has no weight */
        assert_false(gen_guidance_needs(&p, 1));
        gen_denoiser_free(g);
    }
}

/* With equal branches every scale gives the same prediction. */
static void equal_branches_are_not_moved(void **state)
{
    (void)state;
    const float x[4] = {0.5f, -1, 2, 0.1f};
    for (int i = 0; gen_guidance_kind_at(i); i++) {
        counted c = {.base = {.n = 4, .denoise = constant}, .value = 1.7f};
        c.base.self = &c;
        const gen_denoiser *const branches[] = {&c.base, &c.base, &c.base};
        const gen_guidance_params p = {.kind = gen_guidance_kind_at(i)->name,
                                       .guidance_scale = 7.5,
                                       .image_scale = 1.5,
                                       .rescale = 0.7};
        gen_denoiser *g;
        float out[4], expected[4];
        const gen_point at = {.level = {1, 1}, .num_steps = 4};
        EXPECT_OK(gen_guidance_new(&g, &p, branches, &err));
        EXPECT_OK(g->denoise(g->self, x, &at, out, &err));
        EXPECT_OK(constant(&c, x, &at, expected, &err));
        expect_close(out, expected, 4, 1e-6, p.kind);
        gen_denoiser_free(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(solvers_converge_at_their_order),
        cmocka_unit_test(solvers_converge_at_their_order_in_flow_time),
        cmocka_unit_test(flow_starts_in_pure_noise),
        cmocka_unit_test(forms_converge_at_their_order),
        cmocka_unit_test(crossing_processes_changes_nothing),
        cmocka_unit_test(levels_cross_and_return),
        cmocka_unit_test(stochastic_solvers_reach_the_data),
        cmocka_unit_test(scale_one_is_the_conditional_prediction),
        cmocka_unit_test(equal_branches_are_not_moved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
