/* solver_euler.c - Euler's method on the probability flow ODE, in whatever coordinates the schedule
 * is (Karras et al. 2022, alg. 2 without its correction; Liu et al. 2022 for rectified flow). */
#include "samplers/solver.h"

/* x' = x + (sigma' - sigma) (x - D) / sigma, in f32 in this order.  From sigma = 4096 (zero
 * terminal SNR) the rounding of x reaches 5e-4, so only the reference's own order gives its
 * numbers. */
void gen_euler_ve(float *x, const float *denoised, size_t n, double from, double to)
{
    const float sigma = (float)from, dt = (float)to - sigma;
    for (size_t k = 0; k < n; k++) {
        const float slope = (x[k] - denoised[k]) / sigma;
        const float move = slope * dt;
        x[k] = x[k] + move;
    }
}

/* Elsewhere, with eps fixed over the step, x' = alpha' D + sigma' (x - alpha D) / sigma; for flow
 * that is x' = x + (tau' - tau) v with v = (x - D) / tau. */
static void euler_step(const gen_solver *s, gen_level from, gen_level to, float *x,
                       const float *denoised)
{
    const double keep = to.sigma / from.sigma;
    if (s->params->schedule->process == GEN_PROCESS_VE)
        gen_euler_ve(x, denoised, s->n, from.sigma, to.sigma);
    else
        gen_combine(x, s->n, 2, (double[]){keep, to.alpha - from.alpha * keep},
                    (const float *[]){x, denoised});
}

/* The stochastic form of flow matching keeps D and takes all noise anew:
 *   x' = (1 - tau') D + tau' z */
static gen_status renew_noise(const gen_solver *s, int i, float *x, const float *denoised,
                              gen_error *err)
{
    const gen_level to = s->steps[i].to;
    float *noise = gen_solver_buffer(s, 1);
    GEN_TRY(gen_solver_draw(s, noise, err));
    gen_combine(x, s->n, 2, (double[]){to.alpha, to.sigma}, (const float *[]){denoised, noise});
    return GEN_OK;
}

static gen_status solve(gen_solver *s, float *x, gen_error *err)
{
    float *denoised = gen_solver_buffer(s, 0);
    for (int i = 0; i < s->num_steps; i++) {
        const gen_step *step = &s->steps[i];
        gen_level from;
        double time;
        GEN_TRY(gen_solver_churn(s, i, x, denoised, &from, &time, err));
        GEN_TRY(gen_solver_denoise(s, i, from, time, x, denoised, NULL, err));
        if (s->config->stochastic_sampling)
            GEN_TRY(renew_noise(s, i, x, denoised, err));
        else
            euler_step(s, from, step->to, x, denoised);
        GEN_TRY(gen_solver_step_done(s, i, x, denoised, err));
    }
    return GEN_OK;
}

const gen_sampler gen_sampler_euler = {
    .info = {.name = "euler",
             .aliases =
                 "flow_euler, flow_match_euler, k_euler, sample_euler, "
                 "EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler, EDMEulerScheduler",
             .paper = "Karras et al. 2022, Elucidating the Design Space; flow: Liu et al. 2022",
             .calls = "n",
             .purpose = "any model, 20 to 30 steps; rCM without fresh noise (ODE)",
             .churns = true},
    .serves = GEN_SERVES(GEN_NETWORK_MEAN) | GEN_SERVES(GEN_NETWORK_CONSISTENCY),
    .rule = GEN_RULE_SIGMAS,
    .prefers_ve = true,
    .num_buffers = 2,
    .solve = solve,
};
