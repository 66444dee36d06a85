/* resolve.c - from what a caller asked to what will be done: defaults, names, ranges, the grid. */
#include "gen/pipeline/generate.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static gen_status bad_name(gen_error *err, const char *what, const char *name,
                           const char *(*at)(int i, const char **what))
{
    char list[160] = "";
    size_t used = 0;
    const char *known;
    for (int i = 0; (known = at(i, NULL)) && used + strlen(known) + 3 < sizeof list; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", known);
    gen_fail(err, GEN_ERROR_ARGUMENT, "%s: \"%s\" is not known", what, name);
    return gen_hint(err, "there are: %s", list);
}

const char *gen_sampler_name(int i, const char **what)
{
    const gen_sampler *s = gen_sampler_at(i);
    if (s && what)
        *what = gen_sampler_info_of(s)->purpose;
    return s ? gen_sampler_info_of(s)->name : NULL;
}

const char *gen_scheduler_name(int i, const char **what)
{
    const gen_schedule_info *s = gen_schedule_info_at(i);
    if (s && what)
        *what = s->purpose;
    return s ? s->name : NULL;
}

static gen_status resolve_names(gen_sampling *s, gen_generate_params *p, const gen_model *m,
                                gen_error *err)
{
    s->config = m->scheduler;
    s->sampler = gen_sampler_of(&s->config);
    const char *schedule = NULL;
    if (p->sampler && !gen_sampler_parse(p->sampler, &s->sampler, &schedule))
        return bad_name(err, "sampler", p->sampler, gen_sampler_name);
    if (p->scheduler) {
        const gen_schedule_info *info = gen_schedule_info_find(p->scheduler);
        if (!info)
            return bad_name(err, "scheduler", p->scheduler, gen_scheduler_name);
        schedule = info->name;
    }
    p->sampler = gen_sampler_info_of(s->sampler)->name;
    p->scheduler = schedule;
    if (p->eta != 0)
        s->config.eta = p->eta;
    if (!gen_rng_parse(p->rng ? p->rng : "gen", &s->rng)) {
        gen_fail(err, GEN_ERROR_ARGUMENT, "rng: \"%s\" is not known", p->rng);
        return gen_hint(err, "there are: gen, torch-cpu, cuda");
    }
    p->rng = gen_rng_name(s->rng);
    return GEN_OK;
}

static gen_status check_side(const char *name, int value, int factor, gen_error *err)
{
    enum { MAX_SIDE = 65536 };
    if (value >= factor && value <= MAX_SIDE && value % factor == 0)
        return GEN_OK;
    if (value < factor || value > MAX_SIDE)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "%s: %d is out of range (%d..%d)", name, value,
                        factor, MAX_SIDE);
    const int below = value / factor * factor;
    gen_fail(err, GEN_ERROR_ARGUMENT, "%s: %d is not a multiple of %d", name, value, factor);
    return gen_hint(err, "the nearest that are: %d and %d", below, below + factor);
}

static gen_status check_ranges(const gen_generate_params *p, gen_error *err)
{
    if (p->num_inference_steps < 1 || p->num_inference_steps > 1000)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "steps: %d is out of range (1..1000)",
                        p->num_inference_steps);
    if (!isfinite(p->guidance_scale) || fabs(p->guidance_scale) > 1000)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "cfg: %g is out of range (0..1000)",
                        p->guidance_scale);
    if (!(p->eta >= 0 && p->eta <= 1))
        return gen_fail(err, GEN_ERROR_ARGUMENT, "eta: %g is out of range (0..1)", p->eta);
    if (!(p->strength >= 0 && p->strength <= 1))
        return gen_fail(err, GEN_ERROR_ARGUMENT, "strength: %g is out of range (0..1)",
                        p->strength);
    if (p->clip_skip < 0 || p->clip_skip > GEN_CLIP_MAX_LAYERS)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "clip-skip: %d is out of range (1..%d)",
                        p->clip_skip, GEN_CLIP_MAX_LAYERS);
    return GEN_OK;
}

gen_status gen_sampling_resolve(gen_sampling *s, gen_generate_params *p, const gen_model *m,
                                gen_error *err)
{
    const int factor = (int)gen_vae_factor(gen_vae_get_config(m->vae));
    *s = (gen_sampling){0};
    if (!p->width)
        p->width = p->init_image ? p->init_image->width / factor * factor : m->info.default_width;
    if (!p->height)
        p->height =
            p->init_image ? p->init_image->height / factor * factor : m->info.default_height;
    if (!p->num_inference_steps)
        p->num_inference_steps = m->info.default_steps;
    if (p->guidance_scale == 0)
        p->guidance_scale = m->info.default_guidance_scale;
    if (p->strength == 0)
        p->strength = 0.75;
    GEN_TRY(check_side("width", p->width, factor, err));
    GEN_TRY(check_side("height", p->height, factor, err));
    GEN_TRY(check_ranges(p, err));
    GEN_TRY(resolve_names(s, p, m, err));
    s->height = p->height / factor;
    s->width = p->width / factor;
    /* A network that embeds the scale was trained to give the guided result at once. */
    s->is_guided = m->network.traits.context_dim && !m->network.traits.guidance_dim &&
                   p->guidance_scale != 1.0;
    return GEN_OK;
}

static void copy_params(gen_generate_params *to, const gen_generate_params *from)
{
    const size_t size = from->struct_size < sizeof *to ? from->struct_size : sizeof *to;
    *to = (gen_generate_params){0};
    memcpy(to, from, size);
    to->struct_size = sizeof *to;
}

gen_status gen_resolve(gen_generate_params *params, const gen_model *model, gen_error *err)
{
    gen_sampling sampling;
    gen_generate_params p;
    copy_params(&p, params);
    GEN_TRY(gen_sampling_resolve(&sampling, &p, model, err));
    const size_t size = params->struct_size;
    memcpy(params, &p, size < sizeof p ? size : sizeof p);
    params->struct_size = size;
    return GEN_OK;
}
