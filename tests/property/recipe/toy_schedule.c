/* toy_schedule.c - the recipe for a schedule: one file.  Levels at equal steps of kappa. */
#include "samplers/schedule.h"

static gen_status fill(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    double max, min;
    GEN_TRY(gen_schedule_ends(r, g, &max, &min, err));
    for (int i = 0; i < g->n; i++)
        gen_grid_set(r, g, i, max + (min - max) * i / g->n);
    return GEN_OK;
}

const gen_schedule_kind gen_schedule_toy = {
    .info = {.name = "toy_even",
             .aliases = "",
             .paper = "this repository",
             .purpose = "showing how a schedule is added"},
    .processes = GEN_FOR_ALL,
    .fill = fill,
};
