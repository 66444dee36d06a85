/* solver_repaint.c - inpainting by an ordinary network (Lugmayr et al. 2022, alg. 1).
 *
 * After each DDIM step the known part is replaced by the known latents, noised afresh to the level
 * that was reached.  Both parts come to agree because the walk goes back now and then: after every
 * jump_length steps, jump_n_sample - 1 times up by as many and down again. */
#include "samplers/solver.h"

#include <math.h>

enum { DENOISED, NOISE };

/* The known part, at a level. */
static gen_status put_known(const gen_solver *s, gen_level level, float *x, gen_error *err)
{
    float *noise = gen_solver_buffer(s, NOISE);
    if (level.sigma > 0)
        GEN_TRY(gen_solver_draw(s, noise, err));
    gen_inpaint_known(s->params->inpaint, level, level.sigma > 0 ? noise : NULL, x, s->n);
    return GEN_OK;
}

static gen_status step_down(const gen_solver *s, int i, float *x, gen_error *err)
{
    const gen_step *step = &s->steps[i];
    float *denoised = gen_solver_buffer(s, DENOISED), *noise = gen_solver_buffer(s, NOISE);
    gen_row r = {0};
    gen_sampler_ddim.row(s, i, &r);
    GEN_TRY(gen_solver_denoise(s, i, step->from, step->time, x, denoised, NULL, err));
    if (r.draws)
        GEN_TRY(gen_solver_draw(s, noise, err));
    /* eps of the clipped estimate: this paper's code, like OpenAI's, knows no other */
    gen_combine(x, s->n, r.noise != 0 ? 3 : 2,
                (double[]){r.x, step->to.alpha - step->from.alpha * r.x, r.noise},
                (const float *[]){x, denoised, noise});
    return put_known(s, step->to, x, err);
}

/* Back to where step i starts: x = a x + sqrt(sigma^2 - a^2 sigma'^2) z, a = alpha / alpha'. */
static gen_status step_up(const gen_solver *s, int i, float *x, gen_error *err)
{
    const gen_level from = s->steps[i].from, to = s->steps[i].to;
    const double a = from.alpha / to.alpha, kept = a * to.sigma;
    float *noise = gen_solver_buffer(s, NOISE);
    GEN_TRY(gen_solver_draw(s, noise, err));
    gen_combine(x, s->n, 2, (double[]){a, sqrt(fmax(0, from.sigma * from.sigma - kept * kept))},
                (const float *[]){x, noise});
    return GEN_OK;
}

static gen_status solve(gen_solver *s, float *x, gen_error *err)
{
    const int n = s->num_steps, length = s->config->jump_length;
    for (int i = 0; i < n; i++) {
        const int left = n - 1 - i; /* steps behind this one */
        const int jumps =
            left % length == 0 && left < n - length ? s->config->jump_n_sample - 1 : 0;
        GEN_TRY(step_down(s, i, x, err));
        for (int jump = 0; jump < jumps; jump++) {
            for (int k = i; k > i - length; k--)
                GEN_TRY(step_up(s, k, x, err));
            for (int k = i - length + 1; k <= i; k++)
                GEN_TRY(step_down(s, k, x, err));
        }
        GEN_TRY(gen_solver_step_done(s, i, x, gen_solver_buffer(s, DENOISED), err));
    }
    return GEN_OK;
}

const gen_sampler gen_sampler_repaint = {
    .info = {.name = "repaint",
             .aliases = "RePaintScheduler",
             .paper = "Lugmayr et al. 2022, RePaint",
             .calls = "10n-90",
             .purpose = "inpainting with an ordinary model, slow and coherent; needs a mask",
             .is_stochastic = true,
             .needs_mask = true},
    .rule = GEN_RULE_DDPM,
    .num_buffers = 2,
    .solve = solve,
};
