/* guidance_dual.c - two conditions with a scale each (Brooks et al. 2023, eq. 3).
 *
 * u + g_1 (i - u) + g (c - i): the weights of u, i and c are 1 - g_1, g_1 - g and g.  What the
 * first condition i is differs: an image without text (InstructPix2Pix), the chunks before without
 * text (MAGI-1), the text without its sound (EchoMimicV3). */
#include "samplers/guidance.h"

static double image_scale(const gen_guidance_params *p)
{
    return p->image_scale != 0 ? p->image_scale : 1;
}

static bool needs(const gen_guidance_params *p, int branch)
{
    if (branch == GEN_BRANCH_UNCONDITIONAL)
        return image_scale(p) != 1;
    return branch == GEN_BRANCH_IMAGE && gen_guidance_scale_of(p) != image_scale(p);
}

static void combine(const gen_guidance_call *call)
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
             .aliases = "pix2pix, instruct-pix2pix, three_way, echomimic",
             .paper = "Brooks et al. 2023, InstructPix2Pix",
             .formula = "u + g_1 (i - u) + g (c - i)",
             .purpose = "editing models (image, text), talking portraits (text, sound)"},
    .needs = needs,
    .combine = combine,
};
