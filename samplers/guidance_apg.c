/* guidance_apg.c - adaptive projected guidance (Sadat et al. 2024, alg. 1).
 *
 * The difference c - u gets momentum, a largest norm, and loses its part along c:
 *   d = (c - u) + beta d_before;  d *= min(1, r / |d|);  d = d_along + d_across (of c)
 *   out = c + (g - 1) (d_across + eta d_along)
 * diffusers has u + g (d_across + eta d_along), which is the same only for eta 1 and no limit.
 * Published for denoised latents, so its branches are predictions of x0. */
#include "samplers/guidance.h"

#include <math.h>

static bool needs(const gen_guidance_params *p, int branch)
{
    return gen_guidance_cfg.needs(p, branch);
}

/* out = base + gain (d_across + eta d_along); base may be one of the branches. */
static void project(const gen_guidance_call *call, const float *base, double gain)
{
    const gen_guidance_params *p = call->params;
    const float *c = call->branch[GEN_BRANCH_CONDITIONAL];
    const float *u = call->branch[GEN_BRANCH_UNCONDITIONAL];
    float *d = call->state;
    double length = 0, along = 0, square = 0;
    for (size_t k = 0; k < call->n; k++) {
        d[k] = (float)((double)c[k] - u[k] + p->momentum * d[k]);
        length += (double)d[k] * d[k];
        along += (double)d[k] * c[k];
        square += (double)c[k] * c[k];
    }
    length = sqrt(length);
    const double shrink = p->norm_limit > 0 && length > p->norm_limit ? p->norm_limit / length : 1;
    const double share = square > 0 ? shrink * along / square : 0; /* d_along = share c */
    for (size_t k = 0; k < call->n; k++) {
        const double across = shrink * d[k] - share * c[k];
        call->out[k] = (float)(base[k] + gain * (across + p->parallel * share * c[k]));
    }
}

static void combine(const gen_guidance_call *call)
{
    project(call, call->branch[GEN_BRANCH_CONDITIONAL], gen_guidance_scale_of(call->params) - 1);
}

static void combine_from_u(const gen_guidance_call *call)
{
    project(call, call->branch[GEN_BRANCH_UNCONDITIONAL], gen_guidance_scale_of(call->params));
}

const gen_guidance_kind gen_guidance_apg = {
    .info = {.name = "apg",
             .aliases = "",
             .paper = "Sadat et al. 2024, Adaptive Projected Guidance",
             .formula = "c + (g - 1) (d_across + eta d_along)",
             .purpose = "high scales without over-saturation; in x0 space",
             .takes_x0 = true},
    .has_state = true,
    .needs = needs,
    .combine = combine,
};

const gen_guidance_kind gen_guidance_apg_u = {
    .info = {.name = "apg_u",
             .aliases = "apg-diffusers",
             .paper = "Sadat et al. 2024, Adaptive Projected Guidance",
             .formula = "u + g (d_across + eta d_along)",
             .purpose = "the same as diffusers computes it",
             .takes_x0 = true},
    .has_state = true,
    .needs = needs,
    .combine = combine_from_u,
};
