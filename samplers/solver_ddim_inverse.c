/* solver_ddim_inverse.c - DDIM backwards: the noise that a picture comes from (Song et al. 2021,
 * sec. 4.3; Mokady et al. 2023, sec. 3.1). */
#include "samplers/solver.h"

/* The schedule is DDIM's upside down: a step goes from a level up to the noisier one whose time the
 * network is told, so it reads x as if x stood there:
 *   eps = (x - alpha' D(x; sigma')) / sigma'
 *   x'  = (alpha'/alpha) x + (sigma' - sigma alpha'/alpha) eps
 * Where the network predicts eps, that is the reference, and the first step may start clean. */
static gen_status solve(gen_solver *s, float *x, gen_error *err)
{
    float *denoised = gen_solver_buffer(s, 0);
    for (int i = 0; i < s->num_steps; i++) {
        const gen_step *step = &s->steps[i];
        const gen_level from = step->from, to = step->to;
        const double keep = to.alpha / from.alpha, eps = to.sigma - from.sigma * keep;
        GEN_TRY(gen_solver_denoise(s, i, to, step->time, x, denoised, NULL, err));
        gen_combine(x, s->n, 2, (double[]){keep + eps / to.sigma, -eps * to.alpha / to.sigma},
                    (const float *[]){x, denoised});
        GEN_TRY(gen_solver_step_done(s, i, x, denoised, err));
    }
    return GEN_OK;
}

const gen_sampler gen_sampler_ddim_inverse = {
    .info = {.name = "ddim_inverse",
             .aliases = "ddim_inversion, DDIMInverseScheduler",
             .paper = "Song et al. 2021, Denoising Diffusion Implicit Models",
             .calls = "n",
             .purpose = "from a picture to its noise, guidance 1; DDIM leads back",
             .inverts = true},
    .rule = GEN_RULE_DDIM,
    .num_buffers = 1,
    .solve = solve,
};
