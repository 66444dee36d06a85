/* schedule_beta.c - levels at the quantiles of a Beta(0.6, 0.6) distribution: more at both ends
 * (Lee et al. 2024). */
#include "samplers/schedule.h"

#include <math.h>

#define SHAPE    0.6
#define LOG_BETA 0.8818418061417858 /* ln B(0.6, 0.6); lgamma() would write a global */

/* The continued fraction of the incomplete beta function with both shapes equal (Abramowitz &
 * Stegun 26.5.8), from the tail; it converges fast for x up to 1/2. */
static double fraction(double x)
{
    double value = 1;
    for (int m = 60; m >= 1; m--) {
        const double a = SHAPE, even = m * (a - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        const double odd = -(a + m - 1) * (2 * a + m - 1) * x / ((a + 2 * m - 2) * (a + 2 * m - 1));
        value = 1 + odd / (1 + even / value);
    }
    return 1 / value;
}

/* P(X <= x) for x up to 1/2. */
static double distribution(double x)
{
    return x > 0 ? exp(SHAPE * (log(x) + log1p(-x)) - LOG_BETA) / SHAPE * fraction(x) : 0;
}

/* The distribution is symmetric about 1/2. */
static double quantile(double p)
{
    double low = 0, high = 0.5;
    if (p > 0.5)
        return 1 - quantile(1 - p);
    if (p <= 0 || p == 0.5)
        return p;
    for (int i = 0; i < 60; i++) {
        const double middle = (low + high) / 2;
        if (distribution(middle) < p)
            low = middle;
        else
            high = middle;
    }
    return (low + high) / 2;
}

/* As ComfyUI and stable-diffusion.cpp: quantiles of training times, rounded, without repeats. */
static gen_status fill_times(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    (void)err;
    const double last = r->training->num - 1;
    int num = 0;
    for (int i = 0; i < g->n; i++) {
        const double time = rint(last * quantile(1 - (double)i / g->n));
        if (num == 0 || time < g->time[num - 1])
            gen_grid_set_time(r, g, num++, time);
    }
    g->n = num;
    return GEN_OK;
}

/* As diffusers' use_beta_sigmas: quantiles between the two ends in sigma. */
static gen_status fill_sigmas(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    double max, min;
    GEN_TRY(gen_schedule_ends(r, g, &max, &min, err));
    for (int i = 0; i < g->n; i++) {
        const double p = g->n > 1 ? 1 - (double)i / (g->n - 1) : 1;
        gen_grid_set(r, g, i, min + quantile(p) * (max - min));
    }
    return GEN_OK;
}

const gen_schedule_kind gen_schedule_beta = {
    .info = {.name = "beta",
             .aliases = "",
             .paper = "Lee et al. 2024",
             .purpose = "more steps at both ends: 10 to 30 steps"},
    .processes = GEN_FOR(GEN_PROCESS_VP),
    .fill = fill_times,
};

const gen_schedule_kind gen_schedule_beta_sigmas = {
    .info = {.name = "beta_sigmas",
             .aliases = "",
             .paper = "Lee et al. 2024",
             .purpose = "the same in sigma, as diffusers' use_beta_sigmas"},
    .processes = GEN_FOR_ALL,
    .fill = fill_sigmas,
};
