/* img2img.c - starting from a picture instead of noise: which steps are left, and inpainting. */
#include "samplers/samplers.h"

#include <string.h>

#include "gen/core/alloc.h"

/* ---- where to start ----------------------------------------------------------------------------
 */

int gen_strength_start(gen_strength_rule rule, int num_steps, double strength)
{
    switch (rule) {
    case GEN_STRENGTH_FLUX:
        return (int)(num_steps - num_steps * strength);
    case GEN_STRENGTH_A1111:
        return num_steps - (int)(num_steps * (strength < 0.999 ? strength : 0.999)) - 1;
    default:
        return num_steps - (int)(num_steps * strength);
    }
}

/* The noisiest `count` steps, which are the last ones of an inversion. */
static void leave_out(gen_schedule *schedule, int count)
{
    const int front = schedule->rises ? 0 : count;
    schedule->first += front;
    schedule->steps += front;
    schedule->num_steps -= count;
}

gen_status gen_schedule_cut_by(gen_schedule *schedule, gen_strength_rule rule, double strength,
                               gen_error *err)
{
    if (!(strength >= 0 && strength <= 1))
        return gen_fail(err, GEN_ERROR_ARGUMENT, "strength %g, expected 0 to 1", strength);
    if (schedule->has_strength)
        return GEN_OK;
    const int n = schedule->num_steps, start = gen_strength_start(rule, n, strength);
    if (start >= n)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "strength %g of %d steps leaves no step", strength,
                        n);
    leave_out(schedule, start);
    return GEN_OK;
}

gen_status gen_schedule_cut(gen_schedule *schedule, double strength, gen_error *err)
{
    return gen_schedule_cut_by(schedule, GEN_STRENGTH_DIFFUSERS, strength, err);
}

gen_status gen_schedule_cut_at(gen_schedule *schedule, double kappa, gen_error *err)
{
    const int n = schedule->num_steps;
    int above = 0;
    for (int i = 0; i < n; i++) {
        const gen_step *step = &schedule->steps[i];
        above += gen_level_kappa(schedule->rises ? step->to : step->from) > kappa;
    }
    if (above == n)
        return gen_fail(err, GEN_ERROR_ARGUMENT,
                        "noise level %g is below all %d steps of the schedule", kappa, n);
    leave_out(schedule, above);
    return GEN_OK;
}

/* ---- inpainting --------------------------------------------------------------------------------
 */

/* mask [n / channels] is 1 where the picture is made anew. */
void gen_inpaint_known(const gen_inpaint *p, gen_level level, const float *noise, float *x,
                       size_t n)
{
    for (size_t k = 0; k < n; k++) {
        const double m = p->mask[k / (size_t)p->channels];
        const double known = level.alpha * p->latents[k] + level.sigma * (noise ? noise[k] : 0.0F);
        x[k] = (float)(m * (double)x[k] + (1 - m) * known);
    }
}

typedef struct inpaint {
    gen_denoiser base;
    const gen_denoiser *inner;
    gen_inpaint params;
} inpaint;

/* D = m D + (1 - m) z0: the known part is known exactly, so every solver pulls x towards it. */
static gen_status inpaint_denoise(void *self, const float *x, const gen_point *at, float *out,
                                  gen_error *err)
{
    const inpaint *p = self;
    GEN_TRY(p->inner->denoise(p->inner->self, x, at, out, err));
    gen_inpaint_known(&p->params, (gen_level){1, 0}, NULL, out, p->base.n);
    return GEN_OK;
}

static void inpaint_free(gen_denoiser *denoiser)
{
    gen_free(denoiser);
}

gen_status gen_inpaint_new(gen_denoiser **out, const gen_denoiser *inner, const gen_inpaint *params,
                           gen_error *err)
{
    if (params->channels < 1 || inner->n % (size_t)params->channels != 0)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "inpaint: %zu latents in %d channels", inner->n,
                        params->channels);
    inpaint *p = gen_calloc(1, sizeof *p);
    if (!p)
        return gen_no_memory(err, "inpaint", sizeof *p);
    *p = (inpaint){.base = {.n = inner->n, .denoise = inpaint_denoise, .free = inpaint_free},
                   .inner = inner,
                   .params = *params};
    p->base.self = p;
    *out = &p->base;
    return GEN_OK;
}
