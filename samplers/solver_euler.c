/* solver_euler.c - Euler's method on the probability flow ODE, in whatever coordinates the schedule
 * is (Karras et al. 2022, alg. 1 without churn; Liu et al. 2022 for rectified flow). */
#include "samplers/solver.h"

/* With eps fixed over the step, x' = alpha' D + sigma' (x - alpha D) / sigma.
 *   VE:    x' = x + (sigma' - sigma) (x - D) / sigma
 *   flow:  x' = x + (tau' - tau) v,  v = (x - D) / tau
 * The stochastic form of flow matching keeps x0 and takes all noise anew:
 *   x' = (1 - tau') D + tau' z */
static void row(const gen_solver *s, int i, gen_row *r)
{
    const gen_level from = s->steps[i].from, to = s->steps[i].to;
    if (s->config->stochastic_sampling) {
        *r = (gen_row){.denoised = to.alpha, .noise = to.sigma, .draws = true};
        return;
    }
    r->x = to.sigma / from.sigma;
    r->denoised = to.alpha - from.alpha * r->x;
}

const gen_sampler gen_sampler_euler = {
    .info = {.name = "euler",
             .aliases = "flow_euler, flow_match_euler, k_euler, sample_euler, "
                        "EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler",
             .paper = "Karras et al. 2022, Elucidating the Design Space; flow: Liu et al. 2022",
             .calls = "n",
             .purpose = "any model, noise-table or flow; 20 to 30 steps"},
    .rule = GEN_RULE_SIGMAS,
    .prefers_ve = true,
    .row = row,
};
