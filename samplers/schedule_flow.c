/* schedule_flow.c - schedules of rectified flow.
 *
 * A base list of times u in (0,1] is shifted towards noise, more for larger images
 * (Esser et al. 2024, sec. 5.3.2).  The variants in use differ in the base list, and they do not
 * agree with each other: a model's own is part of the model. */
#include "samplers/schedule.h"

#include <math.h>

static double shifted(double shift, double u)
{
    return shift * u / (1 + (shift - 1) * u);
}

/* The shift factor of this run: static, or from the size of the image. */
static gen_status shift_factor(const gen_schedule_request *r, double *shift, gen_error *err)
{
    const gen_scheduler_config *c = r->config;
    *shift = c->shift;
    if (c->use_dynamic_shifting) {
        if (!r->params->has_mu && r->params->image_seq_len < 1)
            return gen_fail(err, GEN_ERROR_ARGUMENT,
                            "schedule: dynamic shifting needs mu or the number of image tokens");
        const double mu = r->params->has_mu ? r->params->mu
                                            : gen_scheduler_config_mu(c, r->params->image_seq_len);
        *shift = c->shifts_linearly ? mu : exp(mu);
    }
    if (!(*shift > 0 && isfinite(*shift)))
        return gen_fail(err, GEN_ERROR_ARGUMENT, "schedule: the shift is %g, expected above 0",
                        *shift);
    return GEN_OK;
}

/* Stretches 1 - tau so that the last entry is shift_terminal. */
static void stretch(const gen_schedule_request *r, gen_grid *g, double *tau)
{
    const double scale = (1 - tau[g->n - 1]) / (1 - r->config->shift_terminal);
    for (int i = 0; i < g->n; i++)
        tau[i] = 1 - (1 - tau[i]) / scale;
}

/* From the base list in g->time: shift, stretch, and set the grid.  The network is told
 * T tau, cut to a whole number when is_whole. */
static gen_status fill_from_base(const gen_schedule_request *r, gen_grid *g, bool is_whole,
                                 gen_error *err)
{
    double shift;
    GEN_TRY(shift_factor(r, &shift, err));
    for (int i = 0; i < g->n; i++) {
        g->time[i] = shifted(shift, g->time[i]);
        if (!(g->time[i] > 0 && g->time[i] <= 1))
            return gen_fail(err, GEN_ERROR_ARGUMENT,
                            "schedule: time %d is %g after shifting, expected in (0,1]", i,
                            g->time[i]);
    }
    if (r->config->shift_terminal > 0 && g->time[g->n - 1] < 1)
        stretch(r, g, g->time);
    for (int i = 0; i < g->n; i++) {
        gen_grid_set(r, g, i, g->time[i]);
        if (is_whole)
            g->time[i] = trunc(g->time[i]);
        if (r->params->timesteps) /* told as given, not as shifted */
            g->time[i] = r->params->timesteps[i];
    }
    return GEN_OK;
}

/* As FlowMatchEulerDiscreteScheduler: evenly from 1 to the *shifted* lowest training time, and
 * shifted again.  A given list is only shifted. */
gen_status gen_fill_flow(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    const gen_scheduler_config *c = r->config;
    const double lowest = 1.0 / c->num_train_timesteps;
    const double low = c->use_dynamic_shifting ? lowest : shifted(c->shift, lowest);
    for (int i = 0; i < g->n; i++) {
        if (r->params->sigmas)
            g->time[i] = r->params->sigmas[i];
        else if (r->params->timesteps)
            g->time[i] = r->params->timesteps[i] / c->num_train_timesteps;
        else
            g->time[i] = g->n > 1 ? 1 - (1 - low) * i / (g->n - 1) : 1;
    }
    return fill_from_base(r, g, false, err);
}

/* 1 - i / n: the references of Flux, SD3 and Wan's DPM-Solver. */
gen_status gen_fill_flow_uniform(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    for (int i = 0; i < g->n; i++)
        g->time[i] = 1 - (double)i / g->n;
    return fill_from_base(r, g, false, err);
}

/* As the multistep schedulers with use_flow_sigmas (Wan's UniPC): n entries of a table that begins
 * at 1 - 1/T, so kappa stays finite; the network is told whole numbers. */
gen_status gen_fill_flow_table(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    const double num = r->config->num_train_timesteps, step = (1 / num - 1) / g->n;
    for (int i = 0; i < g->n; i++)
        g->time[i] = 1 - (i == 0 ? 1 / num : 1 + (g->n - i) * step);
    return fill_from_base(r, g, true, err);
}
