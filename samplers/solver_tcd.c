/* solver_tcd.c - trajectory consistency (Zheng et al. 2024, sec. 3.3): a deterministic jump below
 * the next level, then fresh noise back up to it. */
#include "samplers/solver.h"

#include <math.h>

/* With s the level of time (1 - eta) t':
 *   x_s = alpha_s x0 + sigma_s eps,  u = alpha'/alpha_s,  x' = u x_s + sqrt(sigma'^2 - u^2
 * sigma_s^2) z x0 is not clipped.  The last step goes to t = 0 and takes no noise. */
static void row(const gen_solver *s, int i, gen_row *r)
{
    const gen_level from = s->steps[i].from, to = s->steps[i].to, low = s->steps[i].through;
    const bool is_last = i + 1 == s->num_steps;
    const double up = to.alpha / low.alpha, eps = up * low.sigma / from.sigma;
    const double kept = up * low.sigma, fresh = to.sigma * to.sigma - kept * kept;
    *r = (gen_row){.x = eps,
                   .unclipped = up * low.alpha - from.alpha * eps,
                   .noise = is_last ? 0 : sqrt(fmax(0, fresh)) * s->config->s_noise,
                   .draws = s->config->eta > 0 && !is_last};
}

static const char *refuse(const gen_scheduler_config *config)
{
    return config->eta > 1 ? "eta is above 1" : NULL;
}

const gen_sampler gen_sampler_tcd = {
    .info = {.name = "tcd",
             .aliases = "TCDScheduler",
             .paper = "Zheng et al. 2024, Trajectory Consistency Distillation",
             .calls = "n",
             .purpose = "models with TCD-LoRA, 2 to 8 steps; eta 0.3 by default",
             .is_stochastic = true},
    .serves = GEN_SERVES(GEN_NETWORK_MEAN) | GEN_SERVES(GEN_NETWORK_CONSISTENCY),
    .rule = GEN_RULE_TCD,
    .schedule = "lcm",
    .refuse = refuse,
    .row = row,
};
