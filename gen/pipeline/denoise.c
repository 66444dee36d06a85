/* denoise.c - filling a network's inputs and running its plan. */
#include "gen/pipeline/denoise.h"

#include <math.h>
#include <string.h>

/* ---- plans ---------------------------------------------------------------------------------- */

static gen_status make_plan(gen_plan **out, const gen_network_instance *network,
                            const gen_network_shape *shape, unsigned flags, size_t max_weights,
                            gen_error *err)
{
    gen_graph *g;
    GEN_TRY(gen_graph_new(&g, err));
    network->cls->record(g, network->weights, network->config, shape);
    return gen_plan_new_within(out, g, network->backend, flags | GEN_PLAN_HALF, max_weights, err);
}

gen_network_shape gen_network_smallest_shape(const gen_network_traits *t)
{
    enum { SIDE = 16, NUM_TOKENS = 77 };
    gen_network_shape shape = {.batch = 1, .height = SIDE, .width = SIDE};
    if (t->has_fixed_size) {
        shape.height = t->sample_height;
        shape.width = t->sample_width;
    }
    if (t->patch_height > 1)
        shape.height = (shape.height + t->patch_height - 1) / t->patch_height * t->patch_height;
    if (t->patch_width > 1)
        shape.width = (shape.width + t->patch_width - 1) / t->patch_width * t->patch_width;
    if (t->context_dim)
        shape.num_tokens = t->num_context_tokens ? t->num_context_tokens : NUM_TOKENS;
    shape.num_frames = t->is_video ? 1 : 0;
    return shape;
}

gen_status gen_network_dry_plan(gen_plan **out, const gen_network_instance *network,
                                const gen_network_shape *shape, size_t max_weights, gen_error *err)
{
    return make_plan(out, network, shape, GEN_PLAN_DRY, max_weights, err);
}

static bool same_shape(const gen_network_shape *a, const gen_network_shape *b)
{
    if (a->num_references != b->num_references)
        return false;
    for (int i = 0; i < a->num_references; i++)
        if (a->references[i].height != b->references[i].height ||
            a->references[i].width != b->references[i].width)
            return false;
    return a->batch == b->batch && a->height == b->height && a->width == b->width &&
           a->num_tokens == b->num_tokens && a->num_time_ids == b->num_time_ids &&
           a->num_frames == b->num_frames && a->num_times == b->num_times &&
           a->num_image_tokens == b->num_image_tokens;
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
    GEN_TRY(make_plan(&plan, network, shape, 0, cache->max_weights, err));
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
    *cache = (gen_plan_cache){.max_weights = cache->max_weights};
}

/* ---- running -------------------------------------------------------------------------------- */

static size_t num_positions(const gen_denoise_group *g)
{
    return (size_t)(g->height * g->width * (g->num_frames ? g->num_frames : 1));
}

gen_network_shape gen_denoise_group_shape(const gen_denoise_group *g, int count)
{
    return (gen_network_shape){.batch = count,
                               .height = g->height,
                               .width = g->width,
                               .num_tokens = g->num_tokens,
                               .num_frames = g->num_frames,
                               .num_times = g->first_frame ? g->num_frames : 0,
                               .num_image_tokens = g->image_states ? g->num_image_tokens : 0};
}

void gen_embed_guidance(float *out, double guidance_scale, int dim)
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

/* Uploads `name` as `count` rows of `width`; a row that is NULL is all ones. */
static gen_status set_rows(gen_denoise_group *g, gen_plan *plan, const char *name,
                           const float *const *rows, int count, size_t width, gen_error *err)
{
    for (int i = 0; i < count; i++)
        for (size_t k = 0; k < width; k++)
            g->batch[(size_t)i * width + k] = rows[i] ? rows[i][k] : 1.0f;
    return gen_plan_set(plan, name, g->batch, err);
}

static gen_status set_text(gen_denoise_group *g, gen_plan *plan, const int *members, int count,
                           gen_error *err)
{
    const gen_network_traits *t = &g->network->traits;
    const size_t tokens = (size_t)g->num_tokens;
    const float *rows[GEN_MAX_CONDITIONS] = {0};
    for (int i = 0; i < count; i++)
        rows[i] = g->conditions[members[i]].states;
    if (t->context_dim)
        GEN_TRY(set_rows(g, plan, "encoder_hidden_states", rows, count,
                         tokens * (size_t)t->context_dim, err));
    for (int i = 0; i < count; i++)
        rows[i] = g->conditions[members[i]].mask;
    if (t->has_context_mask)
        GEN_TRY(set_rows(g, plan, "encoder_attention_mask", rows, count, tokens, err));
    for (int i = 0; i < count; i++)
        rows[i] = g->conditions[members[i]].pooled;
    if (t->pooled_dim)
        GEN_TRY(set_rows(g, plan, "text_embeds", rows, count, (size_t)t->pooled_dim, err));
    return GEN_OK;
}

static gen_status set_conditions(gen_denoise_group *g, gen_plan *plan, const int *members,
                                 int count, gen_error *err)
{
    const gen_network_traits *t = &g->network->traits;
    GEN_TRY(set_text(g, plan, members, count, err));
    if (t->image_dim) {
        const float *rows[GEN_MAX_CONDITIONS];
        for (int i = 0; i < count; i++)
            rows[i] = g->image_states;
        GEN_TRY(set_rows(g, plan, "encoder_hidden_states_image", rows, count,
                         (size_t)g->num_image_tokens * (size_t)t->image_dim, err));
    }
    if (t->num_classes) {
        int32_t labels[GEN_MAX_CONDITIONS];
        for (int i = 0; i < count; i++)
            labels[i] = g->conditions[members[i]].class_label;
        GEN_TRY(gen_plan_set(plan, "class_labels", labels, err));
    }
    if (t->num_time_ids) {
        for (int i = 0; i < count; i++)
            memcpy(g->batch + i * t->num_time_ids, g->conditions[members[i]].time_ids,
                   (size_t)t->num_time_ids * sizeof(float));
        GEN_TRY(gen_plan_set(plan, "time_ids", g->batch, err));
    }
    if (t->guidance_dim) {
        for (int i = 0; i < count; i++)
            gen_embed_guidance(g->batch + i * t->guidance_dim, g->guidance_scale, t->guidance_dim);
        GEN_TRY(gen_plan_set(plan, "timestep_cond", g->batch, err));
    }
    return GEN_OK;
}

/* A sample as the network takes it, [positions, in_channels]: `scale` brings x into the coordinates
 * it knows; behind its channels come those beside it. */
static void fill_sample(const gen_denoise_group *g, const float *x, double scale, float *out)
{
    const gen_network_traits *t = &g->network->traits;
    const size_t C = (size_t)gen_network_latent_channels(t), D = (size_t)t->in_channels - C;
    for (size_t i = 0; i < g->members[0].n / C; i++) {
        for (size_t c = 0; c < C; c++)
            out[i * (C + D) + c] = (float)(scale * (double)x[i * C + c]);
        if (D)
            memcpy(out + i * (C + D) + C, g->beside + i * D, D * sizeof *out);
    }
    if (g->first_frame)
        memcpy(out, g->first_frame, (size_t)(g->height * g->width) * C * sizeof *out);
}

static gen_status set_inputs(gen_denoise_group *g, gen_plan *plan, const float *x, double scale,
                             double time, const int *members, int count, gen_error *err)
{
    const size_t n = num_positions(g) * (size_t)g->network->traits.in_channels;
    const int64_t num_times = g->first_frame ? g->num_frames : 1;
    for (int i = 0; i < count; i++) {
        fill_sample(g, x, scale, g->batch + (size_t)i * n);
        for (int64_t f = 0; f < num_times; f++)
            g->times[i * num_times + f] = g->first_frame && f == 0 ? 0 : time;
    }
    GEN_TRY(gen_plan_set(plan, "sample", g->batch, err));
    GEN_TRY(gen_plan_set_double(plan, "timestep", g->times, err));
    return set_conditions(g, plan, members, count, err);
}

/* Answer i of the batch: the prediction, in the coordinates that `c` leads to, and for the first
 * condition what is said of the variance. */
static void read_answer(const gen_denoise_group *g, const gen_precondition *c, const float *x,
                        int i, int member, float *out)
{
    const gen_network_traits *t = &g->network->traits;
    const size_t V = (size_t)t->variance_channels, C = (size_t)t->out_channels - V;
    const size_t positions = num_positions(g);
    const float *answer = g->batch + (size_t)i * positions * (C + V);
    for (size_t p = 0; p < positions; p++)
        for (size_t k = 0; k < C; k++)
            out[p * C + k] = (float)(c->skip * (double)x[p * C + k] +
                                     c->output * (double)answer[p * (C + V) + k]);
    if (!g->variance || member != 0)
        return;
    for (size_t p = 0; p < positions; p++)
        memcpy(g->variance + p * V, answer + p * (C + V) + C, V * sizeof *answer);
}

static bool all_finite(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}

static gen_status evaluate(gen_denoise_group *g, const float *x, const gen_point *at,
                           const int *members, int count, float *const *out, gen_error *err)
{
    const gen_network_shape shape = gen_denoise_group_shape(g, count);
    const size_t n = num_positions(g) * (size_t)g->network->traits.out_channels;
    gen_precondition c = {.input = 1, .skip = 0, .output = 1};
    double time = at->time;
    gen_plan *plan;
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
        return gen_hint(err, "try --precision f32, another copy of the model, or a smaller --cfg");
    }
    for (int i = 0; i < count; i++)
        read_answer(g, &c, x, i, members[i], out[i]);
    return GEN_OK;
}

static gen_status run(void *self, const float *x, const gen_point *at, const int *members,
                      int count, float *const *out, gen_error *err)
{
    gen_denoise_group *g = self;
    if (g->poll)
        GEN_TRY(g->poll(g->poll_self, err));
    gen_status status = evaluate(g, x, at, members, count, out, err);
    while (status && g->on_failure) {
        GEN_TRY(g->on_failure(g->on_failure_self, status, err));
        status = evaluate(g, x, at, members, count, out, err);
    }
    return status;
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
    const size_t positions = num_positions(g);
    const int channels = gen_network_latent_channels(t);
    if (t->in_channels < channels || (t->in_channels > channels && !g->beside)) {
        gen_fail(err, GEN_ERROR_ARGUMENT,
                 "this network takes %d channels and gives %d: it draws into a picture, which "
                 "there is none of",
                 t->in_channels, channels);
        return gen_hint(err, "choose a model that starts from noise");
    }
    size_t each =
        positions * (size_t)(t->in_channels > t->out_channels ? t->in_channels : t->out_channels);
    each = larger(each, (size_t)g->num_tokens * (size_t)(t->context_dim + t->has_context_mask));
    each = larger(each, (size_t)g->num_image_tokens * (size_t)t->image_dim);
    each = larger(each, (size_t)t->pooled_dim + (size_t)t->num_time_ids + (size_t)t->guidance_dim);
    g->batch_size = each * (size_t)g->num_conditions;
    g->batch = gen_malloc(g->batch_size * sizeof *g->batch);
    g->times =
        gen_malloc((size_t)g->num_conditions * (size_t)(g->num_frames + 1) * sizeof *g->times);
    if (!g->batch || !g->times)
        return gen_no_memory(err, "denoiser", g->batch_size * sizeof *g->batch);
    g->group = (gen_denoiser_group){g, run};
    for (int i = 0; i < g->num_conditions; i++) {
        gen_denoiser *m = &g->members[i];
        *m = (gen_denoiser){.self = m,
                            .n = positions * (size_t)channels,
                            .denoise = run_member,
                            .group = &g->group,
                            .member = i};
    }
    return GEN_OK;
}

void gen_denoise_group_clear(gen_denoise_group *g)
{
    gen_free(g->batch);
    gen_free(g->times);
    g->batch = NULL;
    g->times = NULL;
}
