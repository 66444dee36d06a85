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

/* Flux.2's mu: two lines in the number of tokens, for 10 steps and for 200, and between them
 * linearly in the number of steps; above 4300 tokens the second alone. */
double gen_flux2_mu(int64_t image_seq_len, int num_steps)
{
    const double length = (double)image_seq_len;
    const double at_10 = 8.73809524e-05 * length + 1.89833333;
    const double at_200 = 0.00016927 * length + 0.45666666;
    return length > 4300 ? at_200 : at_200 + (at_200 - at_10) * (num_steps - 200) / 190;
}

/* The shift factor of this run: static, or from the size of the image. */
static gen_status shift_factor(const gen_schedule_request *r, int num_steps, double *shift,
                               gen_error *err)
{
    const gen_scheduler_config *c = r->config;
    const int64_t length = r->params->image_seq_len;
    *shift = c->shift;
    if (c->use_dynamic_shifting) {
        if (!r->params->has_mu && length < 1)
            return gen_fail(err, GEN_ERROR_ARGUMENT,
                            "schedule: dynamic shifting needs mu or the number of image tokens");
        const double mu = r->params->has_mu     ? r->params->mu
                          : c->uses_flux2_shift ? gen_flux2_mu(length, num_steps)
                                                : gen_scheduler_config_mu(c, length);
        *shift = c->shifts_linearly ? mu : exp(mu);
    }
    if (!(*shift > 0 && isfinite(*shift)))
        return gen_fail(err, GEN_ERROR_ARGUMENT, "schedule: the shift is %g, expected above 0",
                        *shift);
    return GEN_OK;
}

/* Entry i of the base list: as given, or else the variant's own. */
static double base(const gen_schedule_request *r, int i, double own)
{
    if (r->params->sigmas)
        return r->params->sigmas[i];
    if (r->params->timesteps)
        return r->params->timesteps[i] / r->config->num_train_timesteps;
    return own;
}

/* Stretches 1 - tau so that the last entry is shift_terminal. */
static void stretch(gen_grid *g, double terminal)
{
    const double scale = (1 - g->time[g->n - 1]) / (1 - terminal);
    for (int i = 0; i < g->n; i++)
        g->time[i] = 1 - (1 - g->time[i]) / scale;
}

/* The base list in g->time becomes tau. */
static gen_status shift_list(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    double shift;
    GEN_TRY(shift_factor(r, g->n, &shift, err));
    for (int i = 0; i < g->n; i++) {
        g->time[i] = shifted(shift, g->time[i]);
        if (!(g->time[i] > 0 && g->time[i] <= 1))
            return gen_fail(err, GEN_ERROR_ARGUMENT,
                            "schedule: time %d is %g after shifting, expected in (0,1]", i,
                            g->time[i]);
    }
    if (r->config->shift_terminal > 0 && g->time[g->n - 1] < 1)
        stretch(g, r->config->shift_terminal);
    return GEN_OK;
}

/* The grid from tau in g->time.  Given timesteps are what the network is told, unshifted. */
static void set_list(const gen_schedule_request *r, gen_grid *g)
{
    for (int i = 0; i < g->n; i++) {
        gen_grid_set(r, g, i, g->time[i]);
        if (r->params->timesteps)
            g->time[i] = r->params->timesteps[i];
    }
}

gen_status gen_schedule_shift(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    GEN_TRY(shift_list(r, g, err));
    set_list(r, g);
    return GEN_OK;
}

/* The same where the reference keeps its times as whole numbers. */
static void set_whole_list(const gen_schedule_request *r, gen_grid *g)
{
    set_list(r, g);
    for (int i = 0; i < g->n; i++)
        g->time[i] = trunc(g->time[i]);
    if (r->config->ends_at_sigma_min)
        g->end = g->kappa[g->n - 1];
}

/* As FlowMatchEulerDiscreteScheduler: evenly from 1 to the *shifted* lowest training time, and
 * shifted again.  A given list is only shifted. */
gen_status gen_fill_flow(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    const gen_scheduler_config *c = r->config;
    const double lowest = 1.0 / c->num_train_timesteps;
    const double low = c->use_dynamic_shifting ? lowest : shifted(c->shift, lowest);
    for (int i = 0; i < g->n; i++)
        g->time[i] = base(r, i, g->n > 1 ? 1 - (1 - low) * i / (g->n - 1) : 1);
    GEN_TRY(shift_list(r, g, err));
    set_list(r, g);
    return GEN_OK;
}

const gen_schedule_kind gen_schedule_flow = {
    .info = {.name = "flow",
             .aliases = "flow_match",
             .paper = "Esser et al. 2024",
             .purpose = "shifted times as diffusers' flow matching Euler"},
    .processes = GEN_FOR(GEN_PROCESS_FLOW),
    .takes_lists = true,
    .fill = gen_fill_flow,
};

/* 1 - i / n: the references of Flux, SD3 and Wan's DPM-Solver. */
static gen_status fill_uniform(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    for (int i = 0; i < g->n; i++)
        g->time[i] = base(r, i, 1 - (double)i / g->n);
    GEN_TRY(shift_list(r, g, err));
    set_list(r, g);
    return GEN_OK;
}

const gen_schedule_kind gen_schedule_flow_uniform = {
    .info = {.name = "flow_uniform",
             .aliases = "",
             .paper = "Esser et al. 2024",
             .purpose = "shifted 1 - i/n: Flux, SD3 and Wan references"},
    .processes = GEN_FOR(GEN_PROCESS_FLOW),
    .takes_lists = true,
    .fill = fill_uniform,
};

/* As the multistep schedulers with use_flow_sigmas (Wan's UniPC): n entries of a table that begins
 * at 1 - 1/T, so kappa stays finite. */
static gen_status fill_table(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    const double num = r->config->num_train_timesteps, step = (1 / num - 1) / g->n;
    for (int i = 0; i < g->n; i++)
        g->time[i] = base(r, i, 1 - (i == 0 ? 1 / num : 1 + (g->n - i) * step));
    GEN_TRY(shift_list(r, g, err));
    set_whole_list(r, g);
    return GEN_OK;
}

const gen_schedule_kind gen_schedule_flow_table = {
    .info = {.name = "flow_table",
             .aliases = "",
             .paper = "Wan team 2025",
             .purpose = "shifted, starting below 1, whole times: UniPC and DPM++ on flow"},
    .processes = GEN_FOR(GEN_PROCESS_FLOW),
    .takes_lists = true,
    .fill = fill_table,
};

/* The same scheduler since 2026: from 1 down, with the start moved away from pure noise. */
static gen_status fill_table_2026(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    const double nearly_noise = 1e-6, span = 1 - 1.0 / r->config->num_train_timesteps;
    for (int i = 0; i < g->n; i++)
        g->time[i] = base(r, i, 1 - span * i / g->n);
    GEN_TRY(shift_list(r, g, err));
    if (1 - g->time[0] < nearly_noise)
        g->time[0] -= nearly_noise;
    set_whole_list(r, g);
    return GEN_OK;
}

const gen_schedule_kind gen_schedule_flow_table_2026 = {
    .info = {.name = "flow_table_2026",
             .aliases = "",
             .paper = "Wan team 2025",
             .purpose = "the same as of newer libraries, starting at 1 - 1e-6"},
    .processes = GEN_FOR(GEN_PROCESS_FLOW),
    .takes_lists = true,
    .fill = fill_table_2026,
};

/* Evenly from sigma_max down to 0 before shifting: the teachers of rCM, whose kappa starts at
 * 5000. */
static gen_status fill_range(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    const double max = r->config->sigma_max > 0 ? r->config->sigma_max : 1;
    const double min = r->config->sigma_min;
    for (int i = 0; i < g->n; i++)
        g->time[i] = base(r, i, max + (min - max) * i / g->n);
    GEN_TRY(shift_list(r, g, err));
    set_list(r, g);
    return GEN_OK;
}

const gen_schedule_kind gen_schedule_flow_range = {
    .info = {.name = "flow_range",
             .aliases = "",
             .paper = "Zheng et al. 2025, rCM",
             .purpose = "shifted, from sigma_max: the teachers of rCM"},
    .processes = GEN_FOR(GEN_PROCESS_FLOW),
    .takes_lists = true,
    .fill = fill_range,
};
