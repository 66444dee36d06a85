/* solver_ddpm.c - ancestral sampling (Ho et al. 2020, eq. 6, 7 and 11), with the learned variances
 * of Nichol & Dhariwal 2021 (eq. 15). */
#include "samplers/solver.h"

#include <math.h>

/* With k = alpha / alpha' and the noise a step of the forward process adds, beta = sigma^2 -
 * k^2 sigma'^2 (of VP: 1 - alphabar / alphabar'):
 *   mean = alpha' beta / sigma^2 x0 + k sigma'^2 / sigma^2 x
 *   variance = beta sigma'^2 / sigma^2 ("small"), or beta itself ("large")
 * The paper's equations, written for any alpha and sigma. */
typedef struct posterior {
    double x0, x, small, large;
} posterior;

static posterior posterior_of(const gen_step *step)
{
    const gen_level from = step->from, to = step->to;
    const double keep = from.alpha / to.alpha;
    const double noisy = from.sigma * from.sigma, cleaner = to.sigma * to.sigma;
    const double beta = fmax(0, noisy - keep * keep * cleaner);
    return (posterior){.x0 = to.alpha * beta / noisy,
                       .x = keep * cleaner / noisy,
                       .small = fmax(beta * cleaner / noisy, 1e-20), /* the reference's floor */
                       .large = beta};
}

/* Multiplies z by the deviation; v is what the network said, if it learned to. */
static void scale_noise(const gen_solver *s, const posterior *p, float *z)
{
    const float *v = s->params->variance;
    const double low = log(p->small), high = log(p->large);
    const gen_variance type = s->config->variance_type;
    for (size_t k = 0; k < s->n; k++) {
        double deviation = sqrt(type == GEN_VARIANCE_LARGE ? p->large : p->small);
        if (type == GEN_VARIANCE_LEARNED)
            deviation = sqrt((double)v[k]);
        else if (type == GEN_VARIANCE_LEARNED_RANGE)
            deviation = exp(0.5 * (low + (v[k] + 1) / 2.0 * (high - low)));
        z[k] = (float)(deviation * (double)z[k]);
    }
}

/* The step from t = 0 adds no noise; guided diffusion draws it even so.  Processes without
 * such a time add none where they end clean. */
static gen_status solve(gen_solver *s, float *x, gen_error *err)
{
    float *denoised = gen_solver_buffer(s, 0), *z = gen_solver_buffer(s, 1);
    if (s->config->variance_type >= GEN_VARIANCE_LEARNED && !s->params->variance)
        return gen_fail(err, GEN_ERROR_ARGUMENT,
                        "sampler ddpm: the network learned its variance, but does not give it");
    for (int i = 0; i < s->num_steps; i++) {
        const gen_step *step = &s->steps[i];
        const posterior p = posterior_of(step);
        const bool ends_clean =
            s->params->schedule->process != GEN_PROCESS_VP && step->to.sigma <= 0;
        const bool is_noisy = step->time > 0 && !ends_clean;
        GEN_TRY(gen_solver_denoise(s, i, step->from, step->time, x, denoised, NULL, err));
        if (is_noisy || s->config->draws_at_end)
            GEN_TRY(gen_solver_draw(s, z, err));
        if (is_noisy)
            scale_noise(s, &p, z);
        gen_combine(x, s->n, is_noisy ? 3 : 2, (double[]){p.x, p.x0, 1},
                    (const float *[]){x, denoised, z});
        GEN_TRY(gen_solver_step_done(s, i, x, denoised, err));
    }
    return GEN_OK;
}

const gen_sampler gen_sampler_ddpm = {
    .info = {.name = "ddpm",
             .aliases = "DDPMScheduler",
             .paper = "Ho et al. 2020, Denoising Diffusion Probabilistic Models",
             .calls = "n",
             .purpose = "any model, 100 steps and more",
             .is_stochastic = true},
    .rule = GEN_RULE_DDPM,
    .num_buffers = 2,
    .solve = solve,
};
