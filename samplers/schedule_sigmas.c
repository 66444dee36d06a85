/* schedule_sigmas.c - schedules that are curves in sigma between two ends.
 *
 * The ends are those of the whole training table, or, as the reference's Euler family does, those
 * of the configuration's spacing; for flow, those of the shifted list.  sigma is kappa, or tau for
 * flow. */
#include "samplers/schedule.h"

#include <math.h>

#define RHO 7.0 /* Karras et al. 2022, sec. 3 */

gen_status gen_schedule_ends(const gen_schedule_request *r, gen_grid *g, double *max, double *min,
                             gen_error *err)
{
    const gen_scheduler_config *c = r->config;
    if (!r->training) {
        GEN_TRY(gen_fill_flow(r, g, err));
        *max = gen_process_level(GEN_PROCESS_FLOW, g->kappa[0]).sigma;
        *min = gen_process_level(GEN_PROCESS_FLOW, g->kappa[g->n - 1]).sigma;
    } else if (r->rule == GEN_RULE_SIGMAS && c->timestep_spacing != GEN_SPACING_DISCRETE) {
        GEN_TRY(gen_fill_spaced(r, g, err));
        *max = g->kappa[0];
        *min = g->kappa[g->n - 1];
        g->is_ratio_spaced = false;
    } else {
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

gen_status gen_fill_karras(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    double max, min;
    GEN_TRY(gen_schedule_ends(r, g, &max, &min, err));
    const double a = pow(max, 1 / RHO), b = pow(min, 1 / RHO);
    for (int i = 0; i < g->n; i++)
        gen_grid_set(r, g, i, pow(a + ramp(g, i) * (b - a), RHO));
    return GEN_OK;
}

gen_status gen_fill_exponential(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    double max, min;
    GEN_TRY(gen_schedule_ends(r, g, &max, &min, err));
    for (int i = 0; i < g->n; i++)
        gen_grid_set(r, g, i, exp(log(max) + ramp(g, i) * (log(min) - log(max))));
    return GEN_OK;
}

/* Equal steps of the angle atan(kappa) (Sabour et al. 2024, app. B). */
gen_status gen_fill_kl_optimal(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    double max, min;
    GEN_TRY(gen_schedule_ends(r, g, &max, &min, err));
    for (int i = 0; i < g->n; i++)
        gen_grid_set(r, g, i, tan(atan(max) + ramp(g, i) * (atan(min) - atan(max))));
    return GEN_OK;
}
