/* schedule_lcm.c - the times latent consistency models were distilled on (Luo et al. 2023). */
#include "samplers/schedule.h"

/* Distillation used every (T / original_inference_steps)-th time.  Of the cleanest share `strength`
 * of those (image to image), n are taken, evenly by index. */
static gen_status fill(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    const int all = r->config->original_inference_steps, ratio = r->training->num / all;
    const double strength = r->params->strength > 0 ? r->params->strength : 1;
    const int usable = (int)(all * strength);
    if (g->n > usable)
        return gen_fail(err, GEN_ERROR_ARGUMENT,
                        "%d steps, but the model was distilled on %d (original_inference_steps)",
                        g->n, usable);
    for (int i = 0; i < g->n; i++) {
        const int index = (int)((int64_t)i * usable / g->n);
        gen_grid_set_time(r, g, i, (double)(usable - index) * ratio - 1);
    }
    return GEN_OK;
}

const gen_schedule_kind gen_schedule_lcm = {
    .info = {.name = "lcm",
             .aliases = "tcd",
             .paper = "Luo et al. 2023",
             .purpose = "the times latent consistency models were distilled on"},
    .processes = GEN_FOR(GEN_PROCESS_VP),
    .fill = fill,
};
