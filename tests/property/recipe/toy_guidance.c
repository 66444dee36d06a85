/* toy_guidance.c - the recipe for a guidance: one file.  The mean of both branches. */
#include "samplers/guidance.h"

static bool needs(const gen_guidance_params *p, int branch)
{
    return branch == GEN_BRANCH_UNCONDITIONAL && gen_guidance_scale_of(p) != 1;
}

static void combine(const gen_guidance_call *call)
{
    const float *c = call->branch[GEN_BRANCH_CONDITIONAL];
    const float *u = call->branch[GEN_BRANCH_UNCONDITIONAL];
    for (size_t k = 0; k < call->n; k++)
        call->out[k] = (c[k] + u[k]) / 2;
}

const gen_guidance_kind gen_guidance_toy = {
    .info = {.name = "toy_mean",
             .aliases = "",
             .paper = "this repository",
             .formula = "(c + u) / 2",
             .purpose = "showing how a guidance is added"},
    .needs = needs,
    .combine = combine,
};
