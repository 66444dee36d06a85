/* guidance_cfg.c - classifier-free guidance (Ho & Salimans 2022), in both conventions.
 *
 * The scale g of u + g (c - u) is 1 + w of the paper's c + w (c - u); g = 1 and w = 0 are off. */
#include "samplers/guidance.h"

static bool cfg_needs(const gen_guidance_params *p, int branch)
{
    return branch == GEN_BRANCH_UNCONDITIONAL && gen_guidance_scale_of(p) != 1;
}

static void cfg_combine(const gen_guidance_call *call)
{
    const float *c = call->branch[GEN_BRANCH_CONDITIONAL];
    const float *u = call->branch[GEN_BRANCH_UNCONDITIONAL];
    const double g = gen_guidance_scale_of(call->params);
    for (size_t k = 0; k < call->n; k++)
        call->out[k] = (float)((double)u[k] + g * ((double)c[k] - (double)u[k]));
}

const gen_guidance_kind gen_guidance_cfg = {
    .info = {.name = "cfg",
             .aliases = "classifier-free",
             .paper = "Ho & Salimans 2022",
             .formula = "u + g (c - u)",
             .purpose = "any model trained with dropped prompts"},
    .needs = cfg_needs,
    .combine = cfg_combine,
};

static bool w_needs(const gen_guidance_params *p, int branch)
{
    return branch == GEN_BRANCH_UNCONDITIONAL && p->guidance_scale != 0;
}

static void w_combine(const gen_guidance_call *call)
{
    const float *c = call->branch[GEN_BRANCH_CONDITIONAL];
    const float *u = call->branch[GEN_BRANCH_UNCONDITIONAL];
    const double w = call->params->guidance_scale;
    for (size_t k = 0; k < call->n; k++)
        call->out[k] = (float)((double)c[k] + w * ((double)c[k] - (double)u[k]));
}

const gen_guidance_kind gen_guidance_cfg_w = {
    .info = {.name = "cfg_w",
             .aliases = "",
             .paper = "Ho & Salimans 2022",
             .formula = "c + w (c - u)",
             .purpose = "the same with the paper's scale, w = g - 1"},
    .needs = w_needs,
    .combine = w_combine,
};
