/* guidance_magi.c - MAGI-1's guidance of a window of chunks, each with the scales of its own time.
 *
 * (1 - p) u + (p - w) k + w c per chunk; u is the chunk alone, k has the chunks before it, c those
 * and the text, too (Sand AI 2025).  p is image_scale and w guidance_scale until s, from 0 noise to
 * 1 clean, reaches 0.3; after that p is 1 and w is 0. */
#include "samplers/guidance.h"

static double previous_scale(const gen_guidance_params *p)
{
    return p->image_scale != 0 ? p->image_scale : 1;
}

static bool needs(const gen_guidance_params *p, int branch)
{
    const bool is_on = gen_guidance_scale_of(p) != 1 || previous_scale(p) != 1;
    return branch == GEN_BRANCH_UNCONDITIONAL ? previous_scale(p) != 1 : is_on;
}

/* (1 - p) u + (p - w) k + w c; u may be missing where p is 1 everywhere. */
static void combine_chunk(const gen_guidance_call *call, size_t first, size_t n, double p, double w)
{
    const float *c = call->branch[GEN_BRANCH_CONDITIONAL], *k = call->branch[GEN_BRANCH_IMAGE];
    const float *u = call->branch[GEN_BRANCH_UNCONDITIONAL];
    for (size_t j = first; j < first + n; j++)
        call->out[j] =
            (float)((u ? (1 - p) * (double)u[j] : 0) + (p - w) * (double)k[j] + w * (double)c[j]);
}

/* From s = 0.3 on, and just below it, only the chunks before count. */
static void combine(const gen_guidance_call *call)
{
    const gen_point *at = call->at;
    const size_t num = at->chunk_levels && at->num_chunks > 0 ? (size_t)at->num_chunks : 1;
    const size_t size = call->n / num;
    for (size_t i = 0; i < num; i++) {
        const gen_level level = at->chunk_levels ? at->chunk_levels[i] : at->level;
        const bool is_late = level.alpha > 0.3 - 1e-7; /* alpha of flow is s */
        combine_chunk(call, i * size, size, is_late ? 1 : previous_scale(call->params),
                      is_late ? 0 : gen_guidance_scale_of(call->params));
    }
}

const gen_guidance_kind gen_guidance_magi = {
    .info = {.name = "magi",
             .aliases = "",
             .paper = "Sand AI 2025, MAGI-1",
             .formula = "(1 - p) u + (p - w) k + w c, scales per chunk",
             .purpose = "MAGI-1: k has the chunks before, c the text, too; 1.5 and 7.5"},
    .needs = needs,
    .combine = combine,
};
