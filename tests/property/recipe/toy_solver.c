/* toy_solver.c - the recipe for a solver: one file.  Euler in any coordinates: eps stays. */
#include "samplers/solver.h"

static void row(const gen_solver *s, int i, gen_row *r)
{
    const gen_level from = s->steps[i].from, to = s->steps[i].to;
    r->x = to.sigma / from.sigma;
    r->denoised = to.alpha - from.alpha * r->x;
}

const gen_sampler gen_sampler_toy = {
    .info = {.name = "toy",
             .aliases = "toy_solver",
             .paper = "this repository",
             .calls = "n",
             .purpose = "showing how a solver is added"},
    .rule = GEN_RULE_SIGMAS,
    .row = row,
};
