/* denoise.c - filling a network's inputs and running its plan. */
#include "gen/pipeline/denoise.h"

#include <math.h>
#include <string.h>

/* ---- plans ---------------------------------------------------------------------------------- */

static gen_status make_plan(gen_plan **out, const gen_network_instance *network,
                            const gen_network_shape *shape, unsigned flags, gen_error *err)
{
    gen_graph *g;
    GEN_TRY(gen_graph_new(&g, err));
    network->cls->record(g, network->weights, network->config, shape);
    return gen_plan_new(out, g, network->backend, flags, err);
}

gen_status gen_network_dry_plan(gen_plan **out, const gen_network_instance *network,
                                const gen_network_shape *shape, gen_error *err)
{
    return make_plan(out, network, shape, GEN_PLAN_DRY, err);
}

static bool same_shape(const gen_network_shape *a, const gen_network_shape *b)
{
    return a->batch == b->batch && a->height == b->height && a->width == b->width &&
           a->num_tokens == b->num_tokens;
}

gen_status gen_network_plan(gen_plan **out, gen_plan_cache *cache,
                            const gen_network_instance *network, const gen_network_shape *shape,
                            gen_error *err)
{
    int at = 0;
    for (int i = 0; i < GEN_MAX_PLANS; i++) {
        if (cache->entries[i].plan && same_shape(&cache->entries[i].shape, shape)) {
            cache->entries[i].last_use = ++cache->uses;
            *out = cache->entries[i].plan;
            return GEN_OK;
        }
        if (cache->entries[i].last_use < cache->entries[at].last_use)
            at = i;
    }
    gen_plan *plan;
    GEN_TRY(make_plan(&plan, network, shape, 0, err));
    gen_plan_free(cache->entries[at].plan);
    cache->entries[at].plan = *out = plan;
    cache->entries[at].shape = *shape;
    cache->entries[at].last_use = ++cache->uses;
    return GEN_OK;
}

void gen_plan_cache_clear(gen_plan_cache *cache)
{
    for (int i = 0; i < GEN_MAX_PLANS; i++)
        gen_plan_free(cache->entries[i].plan);
    *cache = (gen_plan_cache){0};
}

/* ---- running -------------------------------------------------------------------------------- */

/* The guidance embedding of distilled networks (Luo et al. 2023; unet.md 1.3): sines, then cosines
 * of 1000 (g - 1) at dim/2 frequencies from 1 to 1/10000. */
static void embed_guidance(float *out, double guidance_scale, int dim)
{
    const int half = dim / 2;
    const double w = (guidance_scale - 1.0) * 1000.0;
    for (int k = 0; k < half; k++) {
        const double f = exp(-log(10000.0) * k / (half - 1));
        out[k] = (float)sin(w * f);
        out[half + k] = (float)cos(w * f);
    }
    if (dim % 2)
        out[dim - 1] = 0.0f;
}

/* Uploads `name` as `count` rows of `width`, row i being source(i). */
static gen_status set_rows(gen_denoise_group *g, gen_plan *plan, const char *name,
                           const int *members, int count, size_t width, bool is_pooled,
                           gen_error *err)
{
    for (int i = 0; i < count; i++) {
        const gen_condition *c = &g->conditions[members[i]];
        memcpy(g->batch + (size_t)i * width, is_pooled ? c->pooled : c->states,
               width * sizeof(float));
    }
    return gen_plan_set(plan, name, g->batch, err);
}

static gen_status set_conditions(gen_denoise_group *g, gen_plan *plan, const int *members,
                                 int count, gen_error *err)
{
    const gen_network_traits *t = &g->network->traits;
    if (t->context_dim)
        GEN_TRY(set_rows(g, plan, "encoder_hidden_states", members, count,
                         (size_t)g->num_tokens * (size_t)t->context_dim, false, err));
    if (t->pooled_dim)
        GEN_TRY(set_rows(g, plan, "text_embeds", members, count, (size_t)t->pooled_dim, true, err));
    if (t->num_time_ids) {
        for (int i = 0; i < count; i++)
            memcpy(g->batch + i * t->num_time_ids, g->conditions[members[i]].time_ids,
                   (size_t)t->num_time_ids * sizeof(float));
        GEN_TRY(gen_plan_set(plan, "time_ids", g->batch, err));
    }
    if (t->guidance_dim) {
        for (int i = 0; i < count; i++)
            embed_guidance(g->batch + i * t->guidance_dim, g->guidance_scale, t->guidance_dim);
        GEN_TRY(gen_plan_set(plan, "timestep_cond", g->batch, err));
    }
    return GEN_OK;
}

/* `scale` brings x into the coordinates the network knows. */
static gen_status set_inputs(gen_denoise_group *g, gen_plan *plan, const float *x, double scale,
                             double time, const int *members, int count, gen_error *err)
{
    const size_t n = g->members[0].n;
    double times[GEN_MAX_CONDITIONS];
    for (int i = 0; i < count; i++) {
        for (size_t k = 0; k < n; k++)
            g->batch[(size_t)i * n + k] = (float)(scale * (double)x[k]);
        times[i] = time;
    }
    GEN_TRY(gen_plan_set(plan, "sample", g->batch, err));
    GEN_TRY(gen_plan_set_double(plan, "timestep", times, err));
    return set_conditions(g, plan, members, count, err);
}

static bool all_finite(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}

static gen_status run(void *self, const float *x, const gen_point *at, const int *members,
                      int count, float *const *out, gen_error *err)
{
    gen_denoise_group *g = self;
    const gen_network_shape shape = {count, g->height, g->width, g->num_tokens};
    const size_t n = g->members[0].n;
    gen_precondition c = {.input = 1, .skip = 0, .output = 1};
    double time = at->time;
    gen_plan *plan;
    if (g->poll)
        GEN_TRY(g->poll(g->poll_self, err));
    if (g->gives_x0) {
        GEN_TRY(gen_precondition_of(&c, g->config, at->level, err));
        time = gen_time_rounded(g->config->time_number, time);
    }
    GEN_TRY(gen_network_plan(&plan, g->plans, g->network, &shape, err));
    GEN_TRY(set_inputs(g, plan, x, c.input, time, members, count, err));
    GEN_TRY(gen_plan_run(plan, err));
    GEN_TRY(gen_plan_get_output(plan, "sample_out", g->batch, err));
    if (!all_finite(g->batch, n * (size_t)count)) {
        char name[192];
        GEN_TRY(set_inputs(g, plan, x, c.input, time, members, count, err));
        GEN_TRY(gen_plan_trace(plan, name, sizeof name, err));
        gen_fail(err, GEN_ERROR_INTERNAL, "step %d of %d: %s: a value is not finite", at->step + 1,
                 at->num_steps, name[0] ? name : "sample_out");
        return gen_hint(err, "try --precision f32, a smaller --cfg, or another sampler");
    }
    for (int i = 0; i < count; i++)
        for (size_t k = 0; k < n; k++)
            out[i][k] =
                (float)(c.skip * (double)x[k] + c.output * (double)g->batch[(size_t)i * n + k]);
    return GEN_OK;
}

static gen_status run_member(void *self, const float *x, const gen_point *at, float *out,
                             gen_error *err)
{
    gen_denoiser *member = self;
    return member->group->run(member->group->self, x, at, &member->member, 1, &out, err);
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

gen_status gen_denoise_group_init(gen_denoise_group *g, gen_error *err)
{
    const gen_network_traits *t = &g->network->traits;
    const size_t positions = (size_t)(g->height * g->width);
    size_t each =
        positions * (size_t)(t->in_channels > t->out_channels ? t->in_channels : t->out_channels);
    each = larger(each, (size_t)g->num_tokens * (size_t)t->context_dim);
    each = larger(each, (size_t)t->pooled_dim + (size_t)t->num_time_ids + (size_t)t->guidance_dim);
    g->batch_size = each * (size_t)g->num_conditions;
    g->batch = gen_malloc(g->batch_size * sizeof *g->batch);
    if (!g->batch)
        return gen_no_memory(err, "denoiser", g->batch_size * sizeof *g->batch);
    g->group = (gen_denoiser_group){g, run};
    for (int i = 0; i < g->num_conditions; i++) {
        gen_denoiser *m = &g->members[i];
        *m = (gen_denoiser){.self = m,
                            .n = positions * (size_t)t->in_channels,
                            .denoise = run_member,
                            .group = &g->group,
                            .member = i};
    }
    return GEN_OK;
}

void gen_denoise_group_clear(gen_denoise_group *g)
{
    gen_free(g->batch);
    g->batch = NULL;
}
