/* guidance_zero.c - CFG-Zero* (Fan et al. 2025): the unconditional prediction is scaled to its best
 * fit of the conditional one, and the first predictions are zero. */
#include "samplers/guidance.h"

#include <string.h>

static bool needs(const gen_guidance_params *p, int branch)
{
    return gen_guidance_cfg.needs(p, branch);
}

/* s = <c, u> / (|u|^2 + 1e-8);  s u + g (c - s u) */
static void combine(const gen_guidance_call *call)
{
    const float *c = call->branch[GEN_BRANCH_CONDITIONAL];
    const float *u = call->branch[GEN_BRANCH_UNCONDITIONAL];
    const double g = gen_guidance_scale_of(call->params);
    double dot = 0, square = 1e-8;
    if (call->at->step < call->params->zero_init_steps) {
        memset(call->out, 0, call->n * sizeof *call->out);
        return;
    }
    for (size_t k = 0; k < call->n; k++) {
        dot += (double)c[k] * u[k];
        square += (double)u[k] * u[k];
    }
    const double s = dot / square;
    for (size_t k = 0; k < call->n; k++)
        call->out[k] = (float)(s * u[k] + g * ((double)c[k] - s * u[k]));
}

const gen_guidance_kind gen_guidance_cfg_zero = {
    .info = {.name = "cfg_zero",
             .aliases = "cfg-zero-star, cfg-zero*",
             .paper = "Fan et al. 2025, CFG-Zero*",
             .formula = "s u + g (c - s u), s = <c,u> / |u|^2",
             .purpose = "flow models; zero_init_steps 1 leaves the first step out"},
    .needs = needs,
    .combine = combine,
};
