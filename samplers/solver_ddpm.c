/* solver_ddpm.c - ancestral sampling (Ho et al. 2020, eq. 6, 7 and 11). */
#include "samplers/solver.h"

#include <math.h>

/* With the effective beta = 1 - alphabar / alphabar' of a step:
 *   mean = sqrt(alphabar') beta / (1 - alphabar) x0
 *        + sqrt(1 - beta) (1 - alphabar') / (1 - alphabar) x
 *   variance = beta (1 - alphabar') / (1 - alphabar), or beta itself ("large")
 * No noise is drawn in the step from t = 0. */
static void row(const gen_solver *s, int i, gen_row *r)
{
    const gen_level from = s->steps[i].from, to = s->steps[i].to;
    const double keep = from.alpha * from.alpha / (to.alpha * to.alpha), beta = 1 - keep;
    const double noisy = from.sigma * from.sigma, cleaner = to.sigma * to.sigma;
    const double small = fmax(beta * cleaner / noisy, 1e-20); /* the reference's floor */
    r->denoised = to.alpha * beta / noisy;
    r->x = sqrt(keep) * cleaner / noisy;
    if (s->steps[i].time > 0) {
        r->noise = sqrt(s->config->variance_type == GEN_VARIANCE_LARGE ? beta : small);
        r->draws = true;
    }
}

static const char *refuse(const gen_scheduler_config *config)
{
    return config->learns_variance ? "it does not use a learned variance" : NULL;
}

const gen_sampler gen_sampler_ddpm = {
    .info = {.name = "ddpm",
             .aliases = "DDPMScheduler",
             .paper = "Ho et al. 2020, Denoising Diffusion Probabilistic Models",
             .calls = "n",
             .purpose = "noise-table models, 100 steps and more",
             .is_stochastic = true},
    .rule = GEN_RULE_DDPM,
    .refuse = refuse,
    .row = row,
};
