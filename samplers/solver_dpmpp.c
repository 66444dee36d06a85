/* solver_dpmpp.c - DPM-Solver++ in multistep form, orders 1 to 3, and its SDE (Lu et al. 2022b).
 *
 * In lambda = -ln kappa, with h = lambda' - lambda and D the denoised latents:
 *   order 1   x' = (sigma'/sigma) x - alpha' (e^-h - 1) D
 *   order 2   D replaced by D + (D - D_prev) / (2 r), r = h_prev / h      ("midpoint")
 *             or - alpha' ... + alpha' ((e^-h - 1)/h + 1) (D - D_prev) / r ("heun")
 *   order 3   both divided differences of the last three D
 * A step to a clean end has h infinite; it is the row x' = D.
 *
 * The earlier DPM-Solver (Lu et al. 2022a) is the same with noise for D, and alpha and sigma, and
 * with them the sign of lambda, exchanged.  It cannot end clean. */
#include "samplers/solver.h"

#include <math.h>

typedef struct jump {
    gen_level from, to;
    double h;        /* lambda' - lambda */
    double shrink;   /* e^-h - 1 */
    double previous; /* h of the step before, 0 without */
    double before;   /* and of the one before that */
} jump;

static double step_h(const gen_solver *s, int i)
{
    return gen_lambda(gen_solver_level(s, s->steps[i].to)) -
           gen_lambda(gen_solver_level(s, s->steps[i].from));
}

static jump jump_of(const gen_solver *s, int i)
{
    const double h = step_h(s, i);
    return (jump){.from = gen_solver_level(s, s->steps[i].from),
                  .to = gen_solver_level(s, s->steps[i].to),
                  .h = h,
                  .shrink = expm1(-h),
                  .previous = i > 0 ? step_h(s, i - 1) : 0,
                  .before = i > 1 ? step_h(s, i - 2) : 0};
}

/* Warm-up takes what history there is; the last steps of short runs take less. */
static int order_at(const gen_solver *s, int i, int order)
{
    const gen_scheduler_config *c = s->config;
    const int left = s->num_steps - i, all = s->params->schedule->first + s->num_steps;
    const bool is_short = c->lower_order_final && all < 15;
    if (order > i + 1)
        order = i + 1;
    if (left == 1 && (is_short || c->euler_at_final || s->steps[i].to.sigma <= 0))
        order = 1;
    if (left == 2 && is_short && order > 2)
        order = 2;
    return order;
}

/* Adds `weight` (D - D_prev) / r. */
static void second_order(const jump *j, double weight, gen_row *r)
{
    const double c = weight * j->h / j->previous;
    r->denoised += c;
    r->previous -= c;
}

/* Adds `first` D1 + `second` D2, where
 *   D1 = d0 + r0/(r0+r1) (d0 - d1), D2 = (d0 - d1) / (r0 + r1), with the divided differences
 *   d0 = (D - D_prev) / r0 and d1 = (D_prev - D_before) / r1. */
static void third_order(const jump *j, double first, double second, gen_row *r)
{
    const double r0 = j->previous / j->h, r1 = j->before / j->h;
    const double w = (first * r0 + second) / (r0 + r1);
    const double d0 = (first + w) / r0, d1 = -w / r1;
    r->denoised += d0;
    r->previous += d1 - d0;
    r->before_previous -= d1;
}

static void ode_row(const gen_solver *s, int i, int order, gen_row *r)
{
    const jump j = jump_of(s, i);
    r->x = j.to.sigma / j.from.sigma;
    r->denoised = -j.to.alpha * j.shrink;
    if (j.h == 0) /* a step that stands still */
        return;
    const double first = j.to.alpha * (j.shrink / j.h + 1);
    order = order_at(s, i, order);
    if (order == 2)
        second_order(&j, s->config->is_midpoint ? -j.to.alpha * j.shrink / 2 : first, r);
    else if (order == 3)
        third_order(&j, first, -j.to.alpha * ((j.shrink + j.h) / (j.h * j.h) - 0.5), r);
}

/* The SDE: twice the drift towards D, and the variance that makes up for it.  The same with 2h. */
static void sde_row(const gen_solver *s, int i, int order, gen_row *r)
{
    const jump j = jump_of(s, i);
    const double h = 2 * j.h, gone = -expm1(-h);
    r->x = j.to.sigma / j.from.sigma * exp(-j.h);
    r->denoised = j.to.alpha * gone;
    r->noise = j.to.sigma * sqrt(gone) * s->config->s_noise;
    r->draws = true;
    if (j.h == 0)
        return;
    const double first = j.to.alpha * (1 - gone / h);
    order = order_at(s, i, order);
    if (order == 2)
        second_order(&j, s->config->is_midpoint ? j.to.alpha * gone / 2 : first, r);
    else if (order == 3)
        third_order(&j, first, j.to.alpha * ((gone - h) / (h * h) - 0.5), r);
}

/* The SDE on noise, in terms of the real levels: x goes as in the ODE and eps counts twice. */
static void sde_noise_row(const gen_solver *s, int i, int order, gen_row *r)
{
    const jump j = jump_of(s, i); /* alpha and sigma are exchanged, h is negative */
    r->x = j.to.sigma / j.from.sigma;
    r->denoised = -2 * j.to.alpha * j.shrink;
    r->noise = j.to.alpha * sqrt(expm1(-2 * j.h)) * s->config->s_noise;
    r->draws = true;
    if (j.h != 0 && order_at(s, i, order) == 2)
        second_order(&j,
                     s->config->is_midpoint ? -j.to.alpha * j.shrink
                                            : 2 * j.to.alpha * (j.shrink / j.h + 1),
                     r);
}

static int order_of(const gen_solver *s, int highest)
{
    return s->config->solver_order < highest ? s->config->solver_order : highest;
}

static void row_2m(const gen_solver *s, int i, gen_row *r)
{
    ode_row(s, i, order_of(s, 2), r);
}

static void row_3m(const gen_solver *s, int i, gen_row *r)
{
    ode_row(s, i, 3, r);
}

static void row_2m_sde(const gen_solver *s, int i, gen_row *r)
{
    (s->is_noise_form ? sde_noise_row : sde_row)(s, i, order_of(s, 2), r);
}

static void row_3m_sde(const gen_solver *s, int i, gen_row *r)
{
    sde_row(s, i, 3, r);
}

static const char *refuse(const gen_scheduler_config *config)
{
    return config->predicts_noise && !config->ends_at_sigma_min
               ? "its noise form (dpmsolver) cannot end clean; final_sigmas_type has to be "
                 "sigma_min"
               : NULL;
}

static const char *refuse_noise(const gen_scheduler_config *config)
{
    return config->predicts_noise ? "its third order has no noise form (sde-dpmsolver)" : NULL;
}

const gen_sampler gen_sampler_dpmpp_2m = {
    .info = {.name = "dpmpp_2m",
             .aliases = "dpm++2m, dpm++, dpmpp, dpmsolver++, DPMSolverMultistepScheduler, "
                        "EDMDPMSolverMultistepScheduler",
             .paper = "Lu et al. 2022, DPM-Solver++",
             .calls = "n",
             .purpose = "noise-table models, 15 to 25 steps; flow with its own schedule"},
    .rule = GEN_RULE_DPM,
    .refuse = refuse,
    .needs_finite_kappa = true,
    .has_noise_form = true,
    .history = 1,
    .row = row_2m,
};

const gen_sampler gen_sampler_dpmpp_3m = {
    .info = {.name = "dpmpp_3m",
             .aliases = "dpm++3m",
             .paper = "Lu et al. 2022, DPM-Solver++",
             .calls = "n",
             .purpose = "noise-table models without or with little guidance, 20 steps and more"},
    .rule = GEN_RULE_DPM,
    .refuse = refuse,
    .needs_finite_kappa = true,
    .has_noise_form = true,
    .history = 2,
    .row = row_3m,
};

const gen_sampler gen_sampler_dpmpp_2m_sde = {
    .info = {.name = "dpmpp_2m_sde",
             .aliases = "dpm++2msde, sde-dpmsolver++, dpmpp_2m_sde_gpu",
             .paper = "Lu et al. 2022, DPM-Solver++",
             .calls = "n",
             .purpose = "noise-table models, 20 to 40 steps; more detail",
             .is_stochastic = true},
    .rule = GEN_RULE_DPM,
    .refuse = refuse,
    .needs_finite_kappa = true,
    .has_noise_form = true,
    .history = 1,
    .row = row_2m_sde,
};

const gen_sampler gen_sampler_dpmpp_3m_sde = {
    .info = {.name = "dpmpp_3m_sde",
             .aliases = "dpm++3msde, dpmpp_3m_sde_gpu",
             .paper = "Lu et al. 2022, DPM-Solver++",
             .calls = "n",
             .purpose = "noise-table models with little guidance, 30 steps and more",
             .is_stochastic = true},
    .rule = GEN_RULE_DPM,
    .refuse = refuse_noise,
    .needs_finite_kappa = true,
    .history = 2,
    .row = row_3m_sde,
};
