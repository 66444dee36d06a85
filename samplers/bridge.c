/* bridge.c - bridges: from a source picture to its target, instead of from noise.
 *
 * A bridge is pinned at both ends.  With rho the variance it has gathered, counted from the target,
 * its posterior is one formula for all of them; r = rho' / rho:
 *   x' = (1 - r) x0 + r x + g sqrt(rho' (1 - r)) z,   the last step returns x0
 * That is the ancestral step of a VE diffusion with kappa^2 = rho, so levels are VE levels, and a
 * bridge differs from a diffusion in its start (the source, without noise), its clock, and what its
 * network predicts:
 *
 *           rho                              x0                    g
 *   ViBT    tau, (t + 1) / 1000              x - rho u             noise_scale
 *   I2SB    running sum of betas             x - sqrt(rho) r       1, or 0 (OT-ODE)
 *   BBDM    2 max_var m_t                    x - r                 1
 *
 * (Tan et al. 2025, ViBT; Liu et al. 2023, I2SB, eq. 4; Li et al. 2023, BBDM, eq. 12, eta 1.) */
#include "samplers/solver.h"

#include <math.h>

/* Noise is drawn in every step, also in the last, where it has no weight. */
static void row(const gen_solver *s, int i, gen_row *r)
{
    const double rho = s->steps[i].from.sigma * s->steps[i].from.sigma;
    const double next = s->steps[i].to.sigma * s->steps[i].to.sigma, ratio = next / rho;
    *r = (gen_row){.x = ratio,
                   .denoised = 1 - ratio,
                   .noise = s->config->s_noise * sqrt(next * (1 - ratio)),
                   .draws = true};
}

const gen_sampler gen_sampler_bridge = {
    .info = {.name = "bridge",
             .aliases = "vibt, i2sb, bbdm, ViBTScheduler",
             .paper = "Tan et al. 2025, ViBT; Liu et al. 2023, I2SB; Li et al. 2023, BBDM",
             .calls = "n",
             .purpose = "bridge models, 4 to 50 steps, from a source picture",
             .is_stochastic = true},
    .serves = GEN_SERVES(GEN_NETWORK_BRIDGE),
    .rule = GEN_RULE_LIST,
    .row = row,
};

static void set(gen_grid *g, int i, double rho, double time)
{
    g->kappa[i] = sqrt(rho);
    g->time[i] = time;
}

/* ---- ViBT --------------------------------------------------------------------------------------
 */

/* The whole times t of UniPC's flow schedule, shifted by gamma; tau = (t + 1) / T.  A time that
 * comes twice is left out: the reference goes on at the next one below. */
static gen_status fill_vibt(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    const double num = r->config->num_train_timesteps, step = (1 / num - 1) / g->n;
    const double gamma = r->config->shift;
    int placed = 0;
    (void)err;
    for (int i = 0; i < g->n; i++) {
        const double u = 1 - (i == 0 ? 1 / num : 1 + (g->n - i) * step);
        const double own = trunc(gamma * u / (1 + (gamma - 1) * u) * num);
        const double t = r->params->timesteps ? r->params->timesteps[i] : own;
        if (placed == 0 || t < g->time[placed - 1])
            set(g, placed++, (t + 1) / num, t);
    }
    g->n = placed;
    g->init_scale = 1;
    return GEN_OK;
}

const gen_schedule_kind gen_schedule_vibt = {
    .info = {.name = "vibt",
             .aliases = "",
             .paper = "Tan et al. 2025, ViBT",
             .purpose = "ViBT, 4 to 50 steps"},
    .processes = GEN_FOR(GEN_PROCESS_VE),
    .takes_lists = true,
    .fill = fill_vibt,
};

/* ---- I2SB --------------------------------------------------------------------------------------
 */

/* beta of index n: quadratic up to the middle, then mirrored. */
static double i2sb_beta(const gen_scheduler_config *c, int n)
{
    const int num = c->num_train_timesteps, half = num / 2;
    const double a = sqrt(c->beta_start), b = sqrt(c->beta_end / num);
    const int k = n < half ? n : num - 1 - n;
    const double root = a + (b - a) * k / (num - 1);
    return root * root;
}

/* Indices round(k (T - 1) / n), k from n to 1; the network is told the index on a line from 1e-4 T
 * to T. */
static gen_status fill_i2sb(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    const gen_scheduler_config *c = r->config;
    const int num = c->num_train_timesteps;
    double rho = 0;
    int i = g->n - 1;
    (void)err;
    for (int n = 0; n < num && i >= 0; n++) {
        rho += i2sb_beta(c, n);
        if (n == (int)rint((double)(g->n - i) * (num - 1) / g->n))
            set(g, i--, rho, (1e-4 + (1 - 1e-4) * n / (num - 1)) * num);
    }
    g->init_scale = 1;
    return GEN_OK;
}

const gen_schedule_kind gen_schedule_i2sb = {
    .info = {.name = "i2sb",
             .aliases = "",
             .paper = "Liu et al. 2023, I2SB",
             .purpose = "I2SB, 10 to 1000 steps"},
    .processes = GEN_FOR(GEN_PROCESS_VE),
    .fill = fill_i2sb,
};

/* ---- BBDM --------------------------------------------------------------------------------------
 */

/* Times T - 1 downward in even strides, cut to whole numbers, then 1 and 0; m from .001 to .999. */
static gen_status fill_bbdm(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    const int num = r->config->num_train_timesteps;
    const double last = num - 1, stride = g->n > 2 ? last / (g->n - 2) : last;
    const double max_var = r->config->sigma_max > 0 ? r->config->sigma_max : 1;
    (void)err;
    for (int i = 0; i < g->n; i++) {
        const int left = g->n - 1 - i; /* 0 at the last */
        const double t = left < 2 && g->n > 2 ? left : trunc(last - i * stride);
        set(g, i, 2 * max_var * (0.001 + 0.998 * t / last), t);
    }
    g->init_scale = 1;
    return GEN_OK;
}

const gen_schedule_kind gen_schedule_bbdm = {
    .info = {.name = "bbdm",
             .aliases = "",
             .paper = "Li et al. 2023, BBDM",
             .purpose = "BBDM, 200 steps"},
    .processes = GEN_FOR(GEN_PROCESS_VE),
    .fill = fill_bbdm,
};
