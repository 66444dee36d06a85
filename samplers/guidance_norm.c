/* guidance_norm.c - classifier-free guidance that keeps the norm of each token ("true CFG" of
 * Qwen-Image). */
#include "samplers/guidance.h"

static void combine(const gen_guidance_call *call)
{
    gen_guidance_cfg.combine(call);
    gen_guidance_match_norm(call->out, call->branch[GEN_BRANCH_CONDITIONAL], call->n,
                            call->params->channels);
}

static bool needs(const gen_guidance_params *p, int branch)
{
    return gen_guidance_cfg.needs(p, branch);
}

const gen_guidance_kind gen_guidance_cfg_norm = {
    .info = {.name = "cfg_norm",
             .aliases = "true-cfg",
             .paper = "Wu et al. 2025, Qwen-Image",
             .formula = "(u + g (c - u)) |c| / |u + g (c - u)| per token",
             .purpose = "Qwen-Image and bridges trained from it"},
    .needs = needs,
    .combine = combine,
};
