/* solver_euler_ancestral.c - an Euler step to a lower level, then fresh noise back up. */
#include "samplers/solver.h"

#include <math.h>

/* VE (k-diffusion): up^2 = eta^2 s'^2 (s^2 - s'^2) / s^2, down^2 = s'^2 - up^2. */
static void ve_step(float *x, const float *denoised, const float *noise, size_t n, gen_level from,
                    gen_level to, double eta, double s_noise)
{
    const double s = from.sigma, next = to.sigma;
    const double up = fmin(next, eta * sqrt(fmax(0, next * next * (s * s - next * next))) / s);
    gen_euler_ve(x, denoised, n, s, sqrt(fmax(0, next * next - up * up)));
    gen_combine(x, n, 2, (double[]){1, up * s_noise}, (const float *[]){x, noise});
}

/* Flow: down to tau_d = tau' (1 + (tau'/tau - 1) eta), then rescaled so that the share of x0 is
 * 1 - tau', with the missing noise added.  Not the eta = 1 row of DDIM. */
static void flow_step(float *x, const float *denoised, const float *noise, size_t n, gen_level from,
                      gen_level to, double eta, double s_noise)
{
    const double tau = from.sigma, next = to.sigma;
    const double down = next * (1 + (next / tau - 1) * eta), scale = (1 - next) / (1 - down);
    const double up = sqrt(fmax(0, next * next - down * down * scale * scale));
    gen_combine(x, n, 3, (double[]){scale * down / tau, scale * (1 - down / tau), up * s_noise},
                (const float *[]){x, denoised, noise});
}

/* Pure noise cannot be reached in VE coordinates: there it is DDIM's step with eta. */
static void vp_step(float *x, const float *denoised, const float *noise, size_t n, gen_level from,
                    gen_level to, double eta, double s_noise)
{
    const double ratio = gen_level_kappa(to) / gen_level_kappa(from);
    const double up = fmin(to.sigma, eta * to.sigma * sqrt(fmax(0, 1 - ratio * ratio)));
    const double keep = sqrt(fmax(0, to.sigma * to.sigma - up * up)) / from.sigma;
    gen_combine(x, n, 3, (double[]){keep, to.alpha - from.alpha * keep, up * s_noise},
                (const float *[]){x, denoised, noise});
}

static void (*const STEPS[GEN_NUM_PROCESSES])(float *x, const float *denoised, const float *noise,
                                              size_t n, gen_level from, gen_level to, double eta,
                                              double s_noise) = {
    [GEN_PROCESS_VP] = vp_step,
    [GEN_PROCESS_VE] = ve_step,
    [GEN_PROCESS_FLOW] = flow_step,
};

static gen_status solve(gen_solver *s, float *x, gen_error *err)
{
    float *denoised = gen_solver_buffer(s, 0), *noise = gen_solver_buffer(s, 1);
    const double eta = s->config->eta > 0 ? s->config->eta : 1; /* without noise it is Euler */
    for (int i = 0; i < s->num_steps; i++) {
        const gen_step *step = &s->steps[i];
        GEN_TRY(gen_solver_denoise(s, i, step->from, step->time, x, denoised, NULL, err));
        GEN_TRY(gen_solver_draw(s, noise, err));
        STEPS[s->params->schedule->process](x, denoised, noise, s->n, step->from, step->to, eta,
                                            s->config->s_noise);
        GEN_TRY(gen_solver_step_done(s, i, x, denoised, err));
    }
    return GEN_OK;
}

const gen_sampler gen_sampler_euler_ancestral = {
    .info = {.name = "euler_a",
             .aliases = "euler_ancestral, k_euler_a, k_euler_ancestral, sample_euler_ancestral, "
                        "EulerAncestralDiscreteScheduler",
             .paper = "Crowson, k-diffusion",
             .calls = "n",
             .purpose = "noise-table and flow models, 20 to 40 steps; varied pictures",
             .is_stochastic = true},
    .rule = GEN_RULE_SIGMAS,
    .prefers_ve = true,
    .num_buffers = 2,
    .solve = solve,
};
