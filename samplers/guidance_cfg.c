/* guidance_cfg.c - classifier-free guidance (Ho & Salimans 2022) and its version with two
 * conditions (Brooks et al. 2023).
 *
 * The scale g of u + g (c - u) is 1 + w of the paper's c + w (c - u); 1 is off. */
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

/* u + g_image (i - u) + g (c - i); weights of u, i: 1 - g_image and g_image - g. */
static double image_scale(const gen_guidance_params *p)
{
    return p->image_scale != 0 ? p->image_scale : 1;
}

static bool dual_needs(const gen_guidance_params *p, int branch)
{
    if (branch == GEN_BRANCH_UNCONDITIONAL)
        return image_scale(p) != 1;
    return branch == GEN_BRANCH_IMAGE && gen_guidance_scale_of(p) != image_scale(p);
}

static void dual_combine(const gen_guidance_call *call)
{
    const float *c = call->branch[GEN_BRANCH_CONDITIONAL];
    const float *u = call->branch[GEN_BRANCH_UNCONDITIONAL];
    const float *i = call->branch[GEN_BRANCH_IMAGE];
    const double g = gen_guidance_scale_of(call->params), of_image = image_scale(call->params);
    for (size_t k = 0; k < call->n; k++) {
        const double from_u = u ? (1 - of_image) * (double)u[k] : 0;
        const double from_i = i ? (of_image - g) * (double)i[k] : 0;
        call->out[k] = (float)(from_u + from_i + g * (double)c[k]);
    }
}

const gen_guidance_kind gen_guidance_dual = {
    .info = {.name = "dual",
             .aliases = "pix2pix, instruct-pix2pix",
             .paper = "Brooks et al. 2023, InstructPix2Pix",
             .formula = "u + g_i (i - u) + g (c - i)",
             .purpose = "editing models with separate scales for image and text"},
    .needs = dual_needs,
    .combine = dual_combine,
};
