/* solver_lms.c - linear multistep of order 4 (Adams-Bashforth for uneven steps), in kappa
 * or the time of a flow. */
#include "samplers/solver.h"

#define ORDER 4

enum { DENOISED, SLOPE }; /* buffers: denoised; then a ring of slopes */

/* S of the straight coordinates (solver.h). */
static double place(const gen_solver *s, gen_level level)
{
    return level.sigma / gen_solver_norm(s, level);
}

/* Integral over step i of the Lagrange polynomial that is 1 at S[i - j] and 0 at the other points
 * of the order.  Three-point Gauss quadrature is exact up to degree 5. */
static double coefficient(const gen_solver *s, int i, int j, int order)
{
    static const double NODES[] = {-0.774596669241483377, 0, 0.774596669241483377};
    static const double WEIGHTS[] = {5 / 9.0, 8 / 9.0, 5 / 9.0};
    const double a = place(s, s->steps[i].from), b = place(s, s->steps[i].to);
    const double own = place(s, s->steps[i - j].from);
    double sum = 0;
    for (int q = 0; q < 3; q++) {
        const double at = (a + b) / 2 + (b - a) / 2 * NODES[q];
        double value = 1;
        for (int k = 0; k < order; k++) {
            const double other = place(s, s->steps[i - k].from);
            if (k != j)
                value *= (at - other) / (own - other);
        }
        sum += WEIGHTS[q] * value;
    }
    return sum * (b - a) / 2;
}

/* X' = X + sum_j c_j d_{i-j},  d = (X - D) / S. */
static gen_status solve(gen_solver *s, float *x, gen_error *err)
{
    float *denoised = gen_solver_buffer(s, DENOISED);
    for (int i = 0; i < s->num_steps; i++) {
        const gen_level from = s->steps[i].from, to = s->steps[i].to;
        const int order = i + 1 < ORDER ? i + 1 : ORDER;
        const double next = gen_solver_norm(s, to);
        double c[1 + ORDER] = {next / gen_solver_norm(s, from)};
        const float *v[1 + ORDER] = {x};
        GEN_TRY(gen_solver_denoise(s, i, from, s->steps[i].time, x, denoised, NULL, err));
        gen_solver_slope(s, from, x, denoised, gen_solver_buffer(s, SLOPE + i % ORDER));
        for (int j = 0; j < order; j++) {
            c[1 + j] = next * coefficient(s, i, j, order);
            v[1 + j] = gen_solver_buffer(s, SLOPE + (i - j) % ORDER);
        }
        gen_combine(x, s->n, 1 + order, c, v);
        GEN_TRY(gen_solver_step_done(s, i, x, denoised, err));
    }
    return GEN_OK;
}

const gen_sampler gen_sampler_lms = {
    .info = {.name = "lms",
             .aliases = "k_lms, sample_lms, LMSDiscreteScheduler",
             .paper = "Crowson, k-diffusion",
             .calls = "n",
             .purpose = "noise-table and flow models, 30 to 50 steps"},
    .rule = GEN_RULE_SIGMAS,
    .prefers_ve = true,
    .is_straight = true,
    .num_buffers = SLOPE + ORDER,
    .solve = solve,
};
