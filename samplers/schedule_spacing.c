/* schedule_spacing.c - schedules that are lists of training times.
 *
 * leading, trailing, linspace: the timestep spacings of diffusers, with the differences between its
 * classes (Lin et al. 2024, table 2, for what they mean).  discrete, sgm_uniform, simple: those of
 * k-diffusion and its heirs, where kappa between whole times is interpolated in its logarithm. */
#include "samplers/schedule.h"

#include <math.h>

/* Times are cut to the table: an offset may lead one past its end. */
static void set_whole(const gen_schedule_request *r, gen_grid *g, int i, double time)
{
    const double last = r->training->num - 1;
    gen_grid_set_time(r, g, i, fmax(0, fmin(time, last)));
}

/* The number of times in use: DPM-Solver may leave out the noisiest, lambda < lambda_min_clipped.
 */
static int num_times(const gen_schedule_request *r)
{
    int num = r->training->num;
    if (r->rule == GEN_RULE_DPM)
        while (num > 1 && -r->training->log_kappa[num - 1] < r->config->lambda_min_clipped)
            num--;
    return num;
}

static gen_status fill_leading(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    (void)err;
    const int is_dpm = r->rule == GEN_RULE_DPM, ratio = num_times(r) / (g->n + is_dpm);
    for (int i = 0; i < g->n; i++)
        set_whole(r, g, i, (double)(g->n - 1 + is_dpm - i) * ratio + r->config->steps_offset);
    g->is_ratio_spaced = true;
    return GEN_OK;
}

static gen_status fill_trailing(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    (void)err;
    const double num = num_times(r), ratio = (double)r->training->num / g->n;
    for (int i = 0; i < g->n; i++)
        set_whole(r, g, i, rint(num - i * ratio) - 1);
    g->is_ratio_spaced = true;
    return GEN_OK;
}

static gen_status fill_linspace(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    (void)err;
    /* n points from 0 to the last time, or n + 1 of which the lowest is left out */
    const int is_dpm = r->rule == GEN_RULE_DPM, points = g->n + is_dpm;
    const double step = points > 1 ? (num_times(r) - 1.0) / (points - 1) : 0;
    for (int i = 0; i < g->n; i++) {
        const double time = (points - 1 - i) * step;
        if (r->rule == GEN_RULE_SIGMAS)
            gen_grid_set_time(r, g, i, time);
        else
            set_whole(r, g, i, rint(time));
    }
    g->is_ratio_spaced = true;
    return GEN_OK;
}

/* Times of k-diffusion's lists.  A flow has the same list, at tau = (t + 1) / T before shifting. */
static double last_time(const gen_schedule_request *r)
{
    return (r->training ? r->training->num : r->config->num_train_timesteps) - 1;
}

static void set_log(const gen_schedule_request *r, gen_grid *g, int i, double time)
{
    g->time[i] = r->training ? time : (time + 1) / r->config->num_train_timesteps;
    if (r->training)
        g->kappa[i] = gen_training_kappa(r->training, time, true);
}

static gen_status set_done(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    return r->training ? GEN_OK : gen_schedule_shift(r, g, err);
}

static gen_status fill_discrete(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    const double last = last_time(r);
    for (int i = 0; i < g->n; i++)
        set_log(r, g, i, g->n > 1 ? last * (g->n - 1 - i) / (g->n - 1) : last);
    return set_done(r, g, err);
}

static gen_status fill_sgm_uniform(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    const double last = last_time(r);
    for (int i = 0; i < g->n; i++)
        set_log(r, g, i, last * (g->n - i) / g->n);
    return set_done(r, g, err);
}

static gen_status fill_simple(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    const double last = last_time(r);
    for (int i = 0; i < g->n; i++)
        set_log(r, g, i, last - floor(i * (last + 1) / g->n));
    return set_done(r, g, err);
}

gen_status gen_fill_spaced(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    switch (r->config->timestep_spacing) {
    case GEN_SPACING_LEADING:
        return fill_leading(r, g, err);
    case GEN_SPACING_TRAILING:
        return fill_trailing(r, g, err);
    case GEN_SPACING_LINSPACE:
        return fill_linspace(r, g, err);
    default:
        return fill_discrete(r, g, err);
    }
}

const gen_schedule_kind gen_schedule_discrete = {
    .info = {.name = "discrete",
             .aliases = "normal, default, uniform",
             .paper = "Crowson, k-diffusion",
             .purpose = "evenly in training time, log-interpolated: Stable Diffusion files without "
                        "a configuration"},
    .processes = GEN_FOR(GEN_PROCESS_VP) | GEN_FOR(GEN_PROCESS_FLOW),
    .fill = fill_discrete,
};

const gen_schedule_kind gen_schedule_leading = {
    .info = {.name = "leading",
             .aliases = "",
             .paper = "Ho et al. 2020",
             .purpose = "every (T/n)-th training time from below: SD 1.x, SDXL"},
    .processes = GEN_FOR(GEN_PROCESS_VP),
    .fill = fill_leading,
};

const gen_schedule_kind gen_schedule_trailing = {
    .info = {.name = "trailing",
             .aliases = "",
             .paper = "Lin et al. 2024",
             .purpose = "from the noisiest time down: few steps, zero-SNR models"},
    .processes = GEN_FOR(GEN_PROCESS_VP),
    .fill = fill_trailing,
};

const gen_schedule_kind gen_schedule_linspace = {
    .info = {.name = "linspace",
             .aliases = "",
             .paper = "Nichol & Dhariwal 2021",
             .purpose = "evenly, both ends included"},
    .processes = GEN_FOR(GEN_PROCESS_VP),
    .fill = fill_linspace,
};

const gen_schedule_kind gen_schedule_sgm_uniform = {
    .info = {.name = "sgm_uniform",
             .aliases = "sgm uniform",
             .paper = "Stability AI, generative-models",
             .purpose = "evenly in time without the last: few steps, turbo models"},
    .processes = GEN_FOR(GEN_PROCESS_VP) | GEN_FOR(GEN_PROCESS_FLOW),
    .fill = fill_sgm_uniform,
};

const gen_schedule_kind gen_schedule_simple = {
    .info = {.name = "simple",
             .aliases = "",
             .paper = "ComfyUI",
             .purpose = "every (T/n)-th training time from above"},
    .processes = GEN_FOR(GEN_PROCESS_VP) | GEN_FOR(GEN_PROCESS_FLOW),
    .fill = fill_simple,
};
