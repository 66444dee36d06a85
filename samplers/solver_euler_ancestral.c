/* solver_euler_ancestral.c - an Euler step to a lower level, then fresh noise back up. */
#include "samplers/solver.h"

#include <math.h>

/* VE (k-diffusion): up^2 = eta^2 s'^2 (s^2 - s'^2) / s^2, down^2 = s'^2 - up^2. */
static void ve_row(double from, double to, double eta, gen_row *r)
{
    const double up = fmin(to, eta * sqrt(fmax(0, to * to * (from * from - to * to))) / from);
    r->x = sqrt(fmax(0, to * to - up * up)) / from;
    r->denoised = 1 - r->x;
    r->noise = up;
}

/* Flow: down to tau_d = tau' (1 + (tau'/tau - 1) eta), then rescaled so that the share of x0 is
 * 1 - tau', with the missing noise added.  Not the eta = 1 row of DDIM. */
static void flow_row(double from, double to, double eta, gen_row *r)
{
    const double down = to * (1 + (to / from - 1) * eta), scale = (1 - to) / (1 - down);
    r->x = scale * down / from;
    r->denoised = scale * (1 - down / from);
    r->noise = sqrt(fmax(0, to * to - down * down * scale * scale));
}

static void row(const gen_solver *s, int i, gen_row *r)
{
    const gen_step *step = &s->steps[i];
    const double eta = s->config->eta > 0 ? s->config->eta : 1; /* without noise it is Euler */
    if (s->params->schedule->process == GEN_PROCESS_FLOW)
        flow_row(step->from.sigma, step->to.sigma, eta, r);
    else
        ve_row(step->from.sigma, step->to.sigma, eta, r);
    r->noise *= s->config->s_noise;
    r->draws = true;
}

const gen_sampler gen_sampler_euler_ancestral = {
    .info = {.name = "euler_a",
             .aliases = "euler_ancestral, k_euler_a, k_euler_ancestral, sample_euler_ancestral, "
                        "EulerAncestralDiscreteScheduler",
             .paper = "Crowson, k-diffusion",
             .calls = "n",
             .purpose = "noise-table and flow models, 20 to 40 steps; varied pictures",
             .is_stochastic = true},
    .rule = GEN_RULE_SIGMAS,
    .prefers_ve = true,
    .row = row,
};
