/* solver_pndm.c - pseudo linear multistep (Liu et al. 2022, eq. 9 and 12), without Runge-Kutta
 * warm-up: the first step is made, asked again at its end, and redone with the mean of both. */
#include "samplers/solver.h"

#include <string.h>

#define ORDER 4

enum { FIRST, SLOPE }; /* buffers: denoised; then a ring of slopes, the newest at i % ORDER */

/* The transfer part, exact for a slope of weights w over the ring, in straight coordinates:
 *   X' = X + (S' - S) slope
 * In kappa the slope is eps, as the paper has it; a flow has its velocity. */
static void transfer(const gen_solver *s, int i, int num, const double *w, float *x, float *out)
{
    const gen_level from = s->steps[i].from, to = s->steps[i].to;
    const double keep = gen_solver_norm(s, to) / gen_solver_norm(s, from);
    double c[1 + ORDER] = {keep};
    const float *v[1 + ORDER] = {x};
    for (int k = 0; k < num; k++) {
        c[1 + k] = w[k] * (to.sigma - from.sigma * keep);
        v[1 + k] = gen_solver_buffer(s, SLOPE + (i + ORDER - k) % ORDER);
    }
    gen_combine(out, s->n, 1 + num, c, v);
}

/* Step 0: the second prediction stands in the ring where that of step -1 would. */
static gen_status start(gen_solver *s, float *x, gen_error *err)
{
    float *denoised = gen_solver_buffer(s, FIRST), *ahead = gen_solver_buffer(s, SLOPE + ORDER);
    float *second = gen_solver_buffer(s, SLOPE + ORDER - 1);
    GEN_TRY(gen_solver_denoise(s, 0, s->steps[0].from, s->steps[0].time, x, denoised, NULL, err));
    gen_solver_slope(s, s->steps[0].from, x, denoised, gen_solver_buffer(s, SLOPE));
    transfer(s, 0, 1, (double[]){1}, x, ahead);
    if (s->num_steps == 1) {
        memcpy(x, ahead, s->n * sizeof *x);
        return gen_solver_step_done(s, 0, x, denoised, err);
    }
    GEN_TRY(gen_solver_denoise(s, 0, s->steps[0].to, s->steps[1].time, ahead, denoised, NULL, err));
    gen_solver_slope(s, s->steps[0].to, ahead, denoised, second);
    transfer(s, 0, 2, (double[]){0.5, 0.5}, x, x);
    return gen_solver_step_done(s, 0, x, denoised, err);
}

static gen_status solve(gen_solver *s, float *x, gen_error *err)
{
    static const double WEIGHTS[ORDER][ORDER] = {
        {0},
        {3 / 2.0, -1 / 2.0},
        {23 / 12.0, -16 / 12.0, 5 / 12.0},
        {55 / 24.0, -59 / 24.0, 37 / 24.0, -9 / 24.0},
    };
    float *denoised = gen_solver_buffer(s, FIRST);
    GEN_TRY(start(s, x, err));
    for (int i = 1; i < s->num_steps; i++) {
        const gen_step *step = &s->steps[i];
        const int order = i < ORDER - 1 ? i : ORDER - 1;
        GEN_TRY(gen_solver_denoise(s, i, step->from, step->time, x, denoised, NULL, err));
        gen_solver_slope(s, step->from, x, denoised, gen_solver_buffer(s, SLOPE + i % ORDER));
        transfer(s, i, order + 1, WEIGHTS[order], x, x);
        GEN_TRY(gen_solver_step_done(s, i, x, denoised, err));
    }
    return GEN_OK;
}

const gen_sampler gen_sampler_pndm = {
    .info = {.name = "pndm",
             .aliases = "plms, PNDMScheduler",
             .paper = "Liu et al. 2022, Pseudo Numerical Methods",
             .calls = "n+1",
             .purpose = "noise-table and flow models, 25 to 50 steps"},
    .rule = GEN_RULE_DDIM,
    .is_straight = true,
    .num_buffers = SLOPE + ORDER + 1,
    .solve = solve,
};
