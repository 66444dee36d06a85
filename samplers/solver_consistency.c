/* solver_consistency.c - multistep sampling of consistency models: jump to the clean end, take all
 * noise anew, jump again.
 *
 *   cm    x' = x0 + sqrt(kappa'^2 - kappa_min^2) z           (Song et al. 2023, alg. 1)
 *   scm   x' = alpha' x0 + sigma' z in any process           (Lu & Song 2024, sCM, TrigFlow;
 *                                        Zheng et al. 2025, rCM, flow; Chen et al. 2025,
 * SANA-Sprint) A last step has no noise, but draws it. */
#include "samplers/solver.h"

#include <math.h>

static void cm_row(const gen_solver *s, int i, gen_row *r)
{
    const gen_level to = s->steps[i].to;
    const double min = to.alpha * s->config->sigma_min;
    r->denoised = to.alpha;
    r->noise = sqrt(fmax(0, to.sigma * to.sigma - min * min)) * s->config->s_noise;
    r->draws = s->num_steps > 1; /* the reference's single step is the only one that does not */
}

const gen_sampler gen_sampler_cm = {
    .info = {.name = "cm",
             .aliases = "CMStochasticIterativeScheduler",
             .paper = "Song et al. 2023, Consistency Models",
             .calls = "n",
             .purpose = "consistency models, 1 to 3 steps",
             .is_stochastic = true},
    .serves = GEN_SERVES(GEN_NETWORK_CONSISTENCY),
    .rule = GEN_RULE_LIST,
    .row = cm_row,
};

static void scm_row(const gen_solver *s, int i, gen_row *r)
{
    const gen_level to = s->steps[i].to;
    *r = (gen_row){.denoised = to.alpha, .noise = to.sigma * s->config->s_noise, .draws = true};
}

const gen_sampler gen_sampler_scm = {
    .info = {.name = "scm",
             .aliases = "rcm, sana_sprint, SCMScheduler",
             .paper = "Lu & Song 2024, sCM; Zheng et al. 2025, rCM",
             .calls = "n",
             .purpose = "TrigFlow and flow consistency models, 1 to 4 steps",
             .is_stochastic = true},
    .serves = GEN_SERVES(GEN_NETWORK_CONSISTENCY),
    .rule = GEN_RULE_LIST,
    .row = scm_row,
};
