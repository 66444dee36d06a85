/* schedule_magi.c - the times of MAGI-1 (Sand AI 2025), which count from 0, noise, to 1, clean.
 *
 *   s = sh(1/3, u^2),  sh(a, u) = a u / (1 + (a - 1) u),  u from 0 to 1;  tau = 1 - s
 * One list serves all chunks of a video; chunks.c says which chunk stands where on it. */
#include "samplers/schedule.h"

static void set(const gen_schedule_request *r, gen_grid *g, int i, double u)
{
    const double shift = 1 / 3.0, square = u * u;
    const double s = shift * square / (1 + (shift - 1) * square);
    gen_grid_set(r, g, i, 1 - s);
    g->time[i] = s * r->config->num_train_timesteps;
}

static gen_status fill(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    (void)err;
    for (int i = 0; i < g->n; i++)
        set(r, g, i, (double)i / g->n);
    return GEN_OK;
}

const gen_schedule_kind gen_schedule_magi = {
    .info = {.name = "magi",
             .aliases = "",
             .paper = "Sand AI 2025, MAGI-1",
             .purpose = "MAGI-1, 32 or 64 steps"},
    .processes = GEN_FOR(GEN_PROCESS_FLOW),
    .fill = fill,
};

/* Distilled models were trained on intervals of 2, 1 and 1 units, over and over. */
static gen_status fill_shortcut(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    static const double at[] = {0, 2, 3};
    if (g->n % 3 != 0)
        return gen_fail(err, GEN_ERROR_ARGUMENT,
                        "schedule magi_shortcut: %d steps, expected a multiple of 3", g->n);
    for (int i = 0; i < g->n; i++)
        set(r, g, i, (i / 3 * 4 + at[i % 3]) / (g->n / 3 * 4));
    return GEN_OK;
}

const gen_schedule_kind gen_schedule_magi_shortcut = {
    .info = {.name = "magi_shortcut",
             .aliases = "",
             .paper = "Sand AI 2025, MAGI-1",
             .purpose = "distilled MAGI-1, 12 steps"},
    .processes = GEN_FOR(GEN_PROCESS_FLOW),
    .fill = fill_shortcut,
};
