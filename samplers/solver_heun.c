/* solver_heun.c - Heun's second-order method (Karras et al. 2022, alg. 2). */
#include "samplers/solver.h"

#include <string.h>

/* Predict with the slope at the start, ask again at the end, take the mean of both slopes, in
 * straight coordinates X, S (solver.h); with h = S' - S:
 *   X2 = X + h (X - D) / S,   X' = X + h/2 ((X - D) / S + (X2 - D2) / S')
 * The last step to a clean end is Euler's. */
static gen_status solve(gen_solver *s, float *x, gen_error *err)
{
    float *first = gen_solver_buffer(s, 0), *second = gen_solver_buffer(s, 1);
    float *predicted = gen_solver_buffer(s, 2);
    for (int i = 0; i < s->num_steps; i++) {
        const gen_step *step = &s->steps[i];
        const gen_level to = step->to;
        gen_level from;
        double time;
        GEN_TRY(gen_solver_churn(s, i, x, predicted, &from, &time, err));
        GEN_TRY(gen_solver_denoise(s, i, from, time, x, first, NULL, err));
        const double keep = to.sigma / from.sigma;
        gen_combine(predicted, s->n, 2, (double[]){keep, to.alpha - from.alpha * keep},
                    (const float *[]){x, first});
        if (i + 1 == s->num_steps) { /* the network's time for `to` is unknown, or it is clean */
            memcpy(x, predicted, s->n * sizeof *x);
            GEN_TRY(gen_solver_step_done(s, i, x, first, err));
            continue;
        }
        GEN_TRY(gen_solver_denoise(s, i, to, step[1].time, predicted, second, NULL, err));
        const double norm = gen_solver_norm(s, from), next = gen_solver_norm(s, to);
        const double h = to.sigma / next - from.sigma / norm;
        const double a = h * norm / (2 * from.sigma), b = h * next / (2 * to.sigma);
        gen_combine(x, s->n, 4, (double[]){next / norm * (1 + a), -next * a, b, -next * b},
                    (const float *[]){x, first, predicted, second});
        GEN_TRY(gen_solver_step_done(s, i, x, second, err));
    }
    return GEN_OK;
}

const gen_sampler gen_sampler_heun = {
    .info = {.name = "heun",
             .aliases = "k_heun, sample_heun, HeunDiscreteScheduler, "
                        "FlowMatchHeunDiscreteScheduler",
             .paper = "Karras et al. 2022, Elucidating the Design Space",
             .calls = "2n-1",
             .purpose = "any model, 10 to 20 steps; accurate",
             .churns = true},
    .rule = GEN_RULE_SIGMAS,
    .prefers_ve = true,
    .is_straight = true,
    .num_buffers = 3,
    .solve = solve,
};
