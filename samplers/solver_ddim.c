/* solver_ddim.c - denoising diffusion implicit models (Song et al. 2021, eq. 12 and 16). */
#include "samplers/solver.h"

#include <math.h>

/*   x' = alpha' x0 + sqrt(sigma'^2 - s^2) eps + s z,   eps = (x - alpha x0) / sigma
 *   s  = eta sigma' sqrt(1 - kappa'^2 / kappa^2)
 * With eta 1 this is DDPM's ancestral step of the smaller variance.  eps belongs to x0 before
 * clipping unless use_clipped_model_output (OpenAI's code always recomputes it). */
static void row(const gen_solver *s, int i, gen_row *r)
{
    const gen_level from = s->steps[i].from, to = s->steps[i].to;
    const double ratio = gen_level_kappa(to) / gen_level_kappa(from);
    const double eta = s->config->eta, fresh = eta * to.sigma * sqrt(fmax(0, 1 - ratio * ratio));
    const double eps = sqrt(fmax(0, to.sigma * to.sigma - fresh * fresh)) / from.sigma;
    const bool keeps_noise = gen_clip_is_on(s->config) && !s->config->use_clipped_model_output;
    *r = (gen_row){.x = eps,
                   .denoised = to.alpha - (keeps_noise ? 0 : from.alpha * eps),
                   .unclipped = keeps_noise ? -from.alpha * eps : 0,
                   .noise = fresh * s->config->s_noise,
                   .draws = eta > 0 || s->config->draws_at_end};
}

const gen_sampler gen_sampler_ddim = {
    .info = {.name = "ddim",
             .aliases = "ddim_trailing, ddim_uniform, DDIMScheduler",
             .paper = "Song et al. 2021, Denoising Diffusion Implicit Models",
             .calls = "n",
             .purpose = "noise-table models, 20 to 50 steps; --eta adds fresh noise"},
    .rule = GEN_RULE_DDIM,
    .row = row,
};
