/* schedule_consistency.c - the few levels consistency models visit.
 *
 *   cm    indices into the levels of training (Song et al. 2023)
 *   scm   angles theta of TrigFlow, kappa = sigma_d tan theta (Lu & Song 2024; SANA-Sprint)
 *   rcm   the same angles for a rectified-flow network, tau = kappa / (1 + kappa)
 *         (Zheng et al. 2025): the list of the released code, and that of the paper */
#include "samplers/schedule.h"

#include <math.h>

#define HALF_PI 1.57079632679489661923

/* ---- cm ----------------------------------------------------------------------------------------
 */

/* kappa of an index j of S levels, from sigma_max at 0 to sigma_min at S - 1. */
static double level(const gen_scheduler_config *c, double j)
{
    const double a = pow(c->sigma_max, 1 / c->rho), b = pow(c->sigma_min, 1 / c->rho);
    return pow(a + j / (c->num_train_timesteps - 1) * (b - a), c->rho);
}

/* Given times are indices, as descending as other times are: they are read from the end. */
static gen_status fill_cm(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    const gen_scheduler_config *c = r->config;
    const int stride = c->num_train_timesteps / g->n;
    if (!(c->sigma_max > c->sigma_min && c->sigma_min > 0) || c->num_train_timesteps < 2)
        return gen_fail(err, GEN_ERROR_MODEL,
                        "scheduler: %d levels from sigma_max %g to sigma_min %g",
                        c->num_train_timesteps, c->sigma_max, c->sigma_min);
    for (int i = 0; i < g->n; i++) {
        const double own = (double)i * stride;
        if (r->params->sigmas)
            gen_grid_set(r, g, i, r->params->sigmas[i]);
        else
            gen_grid_set(r, g, i,
                         level(c, r->params->timesteps ? r->params->timesteps[g->n - 1 - i] : own));
    }
    g->end = c->sigma_min;
    g->init_scale = c->sigma_max;
    return GEN_OK;
}

const gen_schedule_kind gen_schedule_cm = {
    .info = {.name = "cm",
             .aliases = "",
             .paper = "Song et al. 2023",
             .purpose = "consistency models, 1 to 3 steps"},
    .processes = GEN_FOR(GEN_PROCESS_VE),
    .takes_lists = true,
    .fill = fill_cm,
};

/* ---- angles ------------------------------------------------------------------------------------
 */

/* Entry i at an angle.  Lists say 1.5708, which is past pi/2: the network is told so, the level is
 * that of pure noise.  VP latents have unit variance, so their sigma_d is 1. */
static void set_angle(const gen_schedule_request *r, gen_grid *g, int i, double theta)
{
    const double data = r->config->process == GEN_PROCESS_VE ? r->config->sigma_data : 1;
    g->kappa[i] = theta < HALF_PI ? data * tan(theta) : INFINITY;
    g->time[i] = theta;
}

/* The angle where sampling starts: of the configuration, or that of kappa 80. */
static double first_angle(const gen_schedule_request *r)
{
    const gen_scheduler_config *c = r->config;
    if (c->max_angle > 0)
        return c->max_angle;
    const double data = c->process == GEN_PROCESS_VE ? c->sigma_data : 1;
    return atan((c->sigma_max > 0 ? c->sigma_max : 80) / data);
}

/* How many steps a list of middle angles makes; 0 without. */
static int count(const gen_scheduler_config *c)
{
    return c->middle_angles ? c->num_middle_angles + 1 : 0;
}

/* The first angle, then those between: as configured, else the first of `list`. */
static gen_status fill_list(const gen_schedule_request *r, gen_grid *g, const double *list, int num,
                            gen_error *err)
{
    const gen_scheduler_config *c = r->config;
    if (c->middle_angles) {
        list = c->middle_angles;
        num = c->num_middle_angles;
    }
    if (g->n - 1 > num)
        return gen_fail(err, GEN_ERROR_ARGUMENT,
                        "%d steps, but the list of angles is for at most %d", g->n, num + 1);
    set_angle(r, g, 0, first_angle(r));
    for (int i = 1; i < g->n; i++)
        set_angle(r, g, i, list[i - 1]);
    return GEN_OK;
}

/* In two steps the angle between is 1.1 for sCM and 1.3 for SANA-Sprint, else they are even. */
static gen_status fill_scm(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    static const double scm = 1.1, sana = 1.3;
    if (r->params->timesteps) {
        if (g->n > 1 && r->params->timesteps[g->n - 1] <= 0)
            g->n--; /* the list names its clean end */
        for (int i = 0; i < g->n; i++)
            set_angle(r, g, i, r->params->timesteps[i]);
        return GEN_OK;
    }
    if (r->config->middle_angles || (g->n == 2 && !r->config->spreads_angles))
        return fill_list(r, g, r->config->process == GEN_PROCESS_VE ? &scm : &sana, 1, err);
    for (int i = 0; i < g->n; i++)
        set_angle(r, g, i, first_angle(r) * (g->n - i) / g->n);
    return GEN_OK;
}

const gen_schedule_kind gen_schedule_scm = {
    .info = {.name = "scm",
             .aliases = "trigflow",
             .paper = "Lu & Song 2024; Chen et al. 2025, SANA-Sprint",
             .purpose = "TrigFlow consistency models, 1 to 4 steps"},
    .processes = GEN_FOR(GEN_PROCESS_VP) | GEN_FOR(GEN_PROCESS_VE),
    .takes_lists = true,
    .count = count,
    .fill = fill_scm,
};

/* The angles SANA-Sprint found best by search. */
static gen_status fill_scm_searched(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    static const double two[] = {1.3}, more[] = {1.3, 1.1, 0.6};
    return g->n <= 2 ? fill_list(r, g, two, 1, err) : fill_list(r, g, more, 3, err);
}

const gen_schedule_kind gen_schedule_scm_searched = {
    .info = {.name = "scm_searched",
             .aliases = "",
             .paper = "Chen et al. 2025, SANA-Sprint",
             .purpose = "the same with the paper's searched angles"},
    .processes = GEN_FOR(GEN_PROCESS_VP) | GEN_FOR(GEN_PROCESS_VE),
    .count = count,
    .fill = fill_scm_searched,
};

/* A flow network is told T tau; noise starts at tau of the first angle. */
static gen_status fill_rcm(const gen_schedule_request *r, gen_grid *g, const double *list, int num,
                           gen_error *err)
{
    GEN_TRY(fill_list(r, g, list, num, err));
    for (int i = 0; i < g->n; i++)
        gen_grid_set(r, g, i, gen_process_level(GEN_PROCESS_FLOW, g->kappa[i]).sigma);
    g->init_scale = gen_process_level(GEN_PROCESS_FLOW, g->kappa[0]).sigma;
    return GEN_OK;
}

static gen_status fill_rcm_released(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    static const double list[] = {1.5, 1.4, 1.0};
    return fill_rcm(r, g, list, 3, err);
}

const gen_schedule_kind gen_schedule_rcm = {
    .info = {.name = "rcm",
             .aliases = "",
             .paper = "Zheng et al. 2025, rCM",
             .purpose = "rCM, 1 to 4 steps"},
    .processes = GEN_FOR(GEN_PROCESS_FLOW),
    .count = count,
    .fill = fill_rcm_released,
};

static gen_status fill_rcm_paper(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    static const double few[] = {1.3, 1.0, 0.6}, eight[] = {1.3, 1.0, 1.0, 0.6, 0.6, 0.3, 0.3};
    return g->n <= 4 ? fill_rcm(r, g, few, 3, err) : fill_rcm(r, g, eight, 7, err);
}

const gen_schedule_kind gen_schedule_rcm_paper = {
    .info = {.name = "rcm_paper",
             .aliases = "",
             .paper = "Zheng et al. 2025, rCM",
             .purpose = "the same with the paper's angles, 1 to 4 or 8 steps"},
    .processes = GEN_FOR(GEN_PROCESS_FLOW),
    .count = count,
    .fill = fill_rcm_paper,
};
