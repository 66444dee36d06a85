/* schedule_sigmas.c - schedules that are curves in sigma between two ends.
 *
 * The ends are those of the whole training table, or, as the reference's Euler family does, those
 * of the configuration's spacing; for flow, those of the shifted list.  sigma is kappa, or tau for
 * flow. */
#include "samplers/schedule.h"

#include <math.h>

gen_status gen_schedule_ends(const gen_schedule_request *r, gen_grid *g, double *max, double *min,
                             gen_error *err)
{
    const gen_scheduler_config *c = r->config;
    *max = *min = 0; /* without a table or a list, those of the configuration */
    if (c->process == GEN_PROCESS_FLOW) {
        GEN_TRY(gen_fill_flow(r, g, err));
        *max = gen_process_level(GEN_PROCESS_FLOW, g->kappa[0]).sigma;
        *min = gen_process_level(GEN_PROCESS_FLOW, g->kappa[g->n - 1]).sigma;
    } else if (r->training && r->rule == GEN_RULE_SIGMAS &&
               c->timestep_spacing != GEN_SPACING_DISCRETE) {
        GEN_TRY(gen_fill_spaced(r, g, err));
        *max = g->kappa[0];
        *min = g->kappa[g->n - 1];
        g->is_ratio_spaced = false;
    } else if (r->training) {
        *max = r->training->kappa[r->training->num - 1];
        *min = r->training->kappa[0];
    }
    if (c->sigma_max > 0)
        *max = c->sigma_max;
    if (c->sigma_min > 0)
        *min = c->sigma_min;
    if (!isfinite(*max) || !(*min > 0) || *max < *min)
        return gen_fail(err, GEN_ERROR_ARGUMENT,
                        "schedule: sigmas from %g to %g, expected finite, positive and descending",
                        *max, *min);
    return GEN_OK;
}

/* Position of entry i on the curve, 0 at the noisy end. */
static double ramp(const gen_grid *g, int i)
{
    return g->n > 1 ? (double)i / (g->n - 1) : 0;
}

static gen_status fill_karras(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    double max, min;
    GEN_TRY(gen_schedule_ends(r, g, &max, &min, err));
    const double rho = r->config->rho, a = pow(max, 1 / rho), b = pow(min, 1 / rho);
    for (int i = 0; i < g->n; i++)
        gen_grid_set(r, g, i, pow(a + ramp(g, i) * (b - a), rho));
    return GEN_OK;
}

/* ln sigma along the ramp to the power rho; 1 makes equal ratios. */
static gen_status fill_ratios(const gen_schedule_request *r, gen_grid *g, double rho,
                              gen_error *err)
{
    double max, min;
    GEN_TRY(gen_schedule_ends(r, g, &max, &min, err));
    for (int i = 0; i < g->n; i++)
        gen_grid_set(r, g, i, exp(log(min) + pow(1 - ramp(g, i), rho) * (log(max) - log(min))));
    return GEN_OK;
}

static gen_status fill_exponential(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    return fill_ratios(r, g, 1, err);
}

static gen_status fill_polyexponential(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    return fill_ratios(r, g, r->config->poly_rho, err);
}

/* Equal steps of the angle atan(kappa) (Sabour et al. 2024, app. B). */
static gen_status fill_kl_optimal(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    double max, min;
    GEN_TRY(gen_schedule_ends(r, g, &max, &min, err));
    for (int i = 0; i < g->n; i++)
        gen_grid_set(r, g, i, tan(atan(max) + ramp(g, i) * (atan(min) - atan(max))));
    return GEN_OK;
}

const gen_schedule_kind gen_schedule_karras = {
    .info = {.name = "karras",
             .aliases = "",
             .paper = "Karras et al. 2022",
             .purpose = "dense near the clean end: 15 to 30 steps"},
    .processes = GEN_FOR_ALL,
    .fill = fill_karras,
};

const gen_schedule_kind gen_schedule_exponential = {
    .info = {.name = "exponential",
             .aliases = "",
             .paper = "Crowson, k-diffusion",
             .purpose = "equal ratios between sigmas"},
    .processes = GEN_FOR_ALL,
    .fill = fill_exponential,
};

const gen_schedule_kind gen_schedule_kl_optimal = {
    .info = {.name = "kl_optimal",
             .aliases = "",
             .paper = "Sabour et al. 2024",
             .purpose = "equal angles of atan sigma"},
    .processes = GEN_FOR(GEN_PROCESS_VP) | GEN_FOR(GEN_PROCESS_VE),
    .fill = fill_kl_optimal,
};

const gen_schedule_kind gen_schedule_polyexponential = {
    .info = {.name = "polyexponential",
             .aliases = "",
             .paper = "Crowson, k-diffusion",
             .purpose = "exponential, bent by poly_rho: above 1 denser near the clean end"},
    .processes = GEN_FOR_ALL,
    .fill = fill_polyexponential,
};
