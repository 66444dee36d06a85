/* solver_dpmpp.c - DPM-Solver++ in multistep form, orders 1 to 3, and its SDE (Lu et al. 2022b).
 *
 * In lambda = -ln kappa, with h = lambda' - lambda and D the denoised latents:
 *   order 1   x' = (sigma'/sigma) x - alpha' (e^-h - 1) D
 *   order 2   D replaced by D + (D - D_prev) / (2 r), r = h_prev / h      ("midpoint")
 *             or - alpha' ... + alpha' ((e^-h - 1)/h + 1) (D - D_prev) / r ("heun")
 *   order 3   both divided differences of the last three D
 * A step to a clean end has h infinite; it is the row x' = D. */
#include "samplers/solver.h"

#include <math.h>

typedef struct jump {
    gen_level from, to;
    double h;        /* lambda' - lambda */
    double shrink;   /* e^-h - 1, negative */
    double previous; /* h of the step before, 0 without */
    double before;   /* and of the one before that */
} jump;

static double step_h(const gen_solver *s, int i)
{
    return gen_lambda(s->steps[i].to) - gen_lambda(s->steps[i].from);
}

static jump jump_of(const gen_solver *s, int i)
{
    const double h = step_h(s, i);
    return (jump){.from = s->steps[i].from,
                  .to = s->steps[i].to,
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

static void second_order(const jump *j, bool is_midpoint, gen_row *r)
{
    const double ratio = j->previous / j->h; /* h is 0 only in a step that stands still */
    const double c = is_midpoint ? -j->to.alpha * j->shrink / (2 * ratio)
                                 : j->to.alpha * (j->shrink / j->h + 1) / ratio;
    r->denoised += c;
    r->previous -= c;
}

static void third_order(const jump *j, gen_row *r)
{
    const double r0 = j->previous / j->h, r1 = j->before / j->h;
    const double first = j->to.alpha * (j->shrink / j->h + 1);
    const double second = -j->to.alpha * ((j->shrink + j->h) / (j->h * j->h) - 0.5);
    /* D1 = d0 + r0/(r0+r1) (d0 - d1), D2 = (d0 - d1) / (r0 + r1), with the divided differences
     * d0 = (D - D_prev) / r0 and d1 = (D_prev - D_before) / r1. */
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
    if (j.h == 0)
        return;
    order = order_at(s, i, order);
    if (order == 2)
        second_order(&j, s->config->is_midpoint, r);
    else if (order == 3)
        third_order(&j, r);
}

/* The SDE: twice the drift towards D, and the variance that makes up for it. */
static void sde_row(const gen_solver *s, int i, gen_row *r)
{
    const jump j = jump_of(s, i);
    const double gone = -expm1(-2 * j.h); /* 1 - e^-2h */
    r->x = j.to.sigma / j.from.sigma * exp(-j.h);
    r->denoised = j.to.alpha * gone;
    r->noise = j.to.sigma * sqrt(gone) * s->config->s_noise;
    r->draws = true;
    if (j.h == 0 || order_at(s, i, 2) < 2)
        return;
    const double ratio = j.previous / j.h;
    const double c =
        (s->config->is_midpoint ? j.to.alpha * gone / 2 : j.to.alpha * (1 - gone / (2 * j.h))) /
        ratio;
    r->denoised += c;
    r->previous -= c;
}

static void row_2m(const gen_solver *s, int i, gen_row *r)
{
    ode_row(s, i, s->config->solver_order == 1 ? 1 : 2, r);
}

static void row_3m(const gen_solver *s, int i, gen_row *r)
{
    ode_row(s, i, 3, r);
}

static const char *refuse(const gen_scheduler_config *config)
{
    return config->predicts_noise ? "it works on denoised latents, not on noise (dpmsolver)" : NULL;
}

const gen_sampler gen_sampler_dpmpp_2m = {
    .info = {.name = "dpmpp_2m",
             .aliases = "dpm++2m, dpm++, dpmpp, dpmsolver++, DPMSolverMultistepScheduler",
             .paper = "Lu et al. 2022, DPM-Solver++",
             .calls = "n",
             .purpose = "noise-table models, 15 to 25 steps; flow with its own schedule"},
    .rule = GEN_RULE_DPM,
    .refuse = refuse,
    .needs_finite_kappa = true,
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
    .history = 1,
    .row = sde_row,
};
