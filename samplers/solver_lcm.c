/* solver_lcm.c - latent consistency models: jump to x0, take all noise anew (Luo et al. 2023). */
#include "samplers/solver.h"

#include <math.h>

/*   x0' = c_out x0 + c_skip x,  c_skip = 1/4 / (s^2 + 1/4), c_out = s / sqrt(s^2 + 1/4)
 *   s = timestep_scaling t   (the boundary condition of the distilled function)
 *   x' = alpha' x0' + sigma' z;  the last step returns x0' without noise. */

static void row(const gen_solver *s, int i, gen_row *r)
{
    const gen_step *step = &s->steps[i];
    const double scaled = step->time * s->config->timestep_scaling;
    const double skip = 0.25 / (scaled * scaled + 0.25),
                 out = scaled / sqrt(scaled * scaled + 0.25);
    const bool is_last = i + 1 == s->num_steps;
    const double alpha = is_last ? 1 : step->to.alpha;
    *r = (gen_row){.x = alpha * skip,
                   .denoised = alpha * out,
                   .noise = is_last ? 0 : step->to.sigma,
                   .draws = !is_last};
}

const gen_sampler gen_sampler_lcm = {
    .info = {.name = "lcm",
             .aliases = "LCMScheduler, sample_lcm",
             .paper = "Luo et al. 2023, Latent Consistency Models",
             .calls = "n",
             .purpose = "models with LCM distillation or LCM-LoRA, 1 to 8 steps, guidance 1 to 2",
             .is_stochastic = true},
    .serves = GEN_SERVES(GEN_NETWORK_MEAN) | GEN_SERVES(GEN_NETWORK_CONSISTENCY),
    .rule = GEN_RULE_LIST,
    .schedule = "lcm",
    .row = row,
};
