/* self_check.c - see self_check.h. */
#include "gen/pipeline/self_check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "gen/core/nn.h"

/* An operation on one device, with activations in f32 and in f16. */
static const double TOLERANCE = 1e-6, HALF_TOLERANCE = 1e-4;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- numbers -------------------------------------------------------------------------------- */

/* The same on every machine: -1.7..1.7, of unit variance, depending on `seed` and place alone. */
static void fill(float *out, size_t n, uint32_t seed, float mean)
{
    uint32_t state = seed * 2654435761u + 1u;
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        out[i] = mean + ((float)(state >> 8) * 0x1p-24f - 0.5f) * 3.4641016f;
    }
}

typedef struct spec {
    const char *name;
    gen_dtype dtype;
    float scale, mean;
    int rank;
    int64_t dims[4];
} spec;

static const spec weights_of_all[] = {
    {"fc.weight", GEN_F16, 0.1f, 0, 2, {67, 129}},
    {"fc.bias", GEN_F32, 0.1f, 0, 1, {67}},
    {"few.weight", GEN_F32, 0.1f, 0, 2, {130, 65}},
    {"few.bias", GEN_F32, 0.1f, 0, 1, {130}},
    {"bf.weight", GEN_BF16, 0.1f, 0, 2, {40, 70}},
    {"wide.weight", GEN_F16, 0.1f, 0, 2, {97, 201}},
    {"wide.bias", GEN_F32, 0.1f, 0, 1, {97}},
    {"deep.weight", GEN_F16, 0.06f, 0, 4, {70, 40, 3, 3}},
    {"deep.bias", GEN_F32, 0.1f, 0, 1, {70}},
    {"conv.weight", GEN_F16, 0.06f, 0, 4, {24, 40, 3, 3}},
    {"conv.bias", GEN_F32, 0.1f, 0, 1, {24}},
    {"norm.weight", GEN_F32, 0.3f, 1, 1, {64}},
    {"norm.bias", GEN_F32, 0.3f, 0, 1, {64}},
    {"table.weight", GEN_F16, 1, 0, 2, {50, 33}},
    {"wkv.w", GEN_F32, 0.1f, 0.3f, 1, {20}},
    {"wkv.u", GEN_F32, 0.1f, 0, 1, {20}},
};

static gen_status add_weight(gen_weights *weights, const spec *s, uint32_t seed, gen_error *err)
{
    size_t n = 1;
    for (int i = 0; i < s->rank; i++)
        n *= (size_t)s->dims[i];
    float *values = gen_malloc(n * sizeof *values);
    void *stored = gen_malloc(n * gen_dtype_size(s->dtype));
    if (!values || !stored) {
        gen_free(values);
        gen_free(stored);
        return gen_no_memory(err, "self-check", n * sizeof *values);
    }
    fill(values, n, seed, 0);
    for (size_t i = 0; i < n; i++)
        values[i] = values[i] * s->scale + s->mean;
    for (size_t i = 0; i < n; i++) {
        if (s->dtype == GEN_F32)
            ((float *)stored)[i] = values[i];
        else
            ((uint16_t *)stored)[i] =
                s->dtype == GEN_F16 ? gen_f32_to_f16(values[i]) : gen_f32_to_bf16(values[i]);
    }
    gen_free(values);
    return gen_weights_add(weights, s->name, "self-check", s->name, s->dtype, s->rank, s->dims,
                           stored, n * gen_dtype_size(s->dtype), true, err);
}

static gen_status make_weights(gen_weights **out, gen_error *err)
{
    gen_weights *weights;
    gen_status status = GEN_OK;
    GEN_TRY(gen_weights_new(&weights, err));
    for (size_t i = 0; i < sizeof weights_of_all / sizeof weights_of_all[0] && !status; i++)
        status = add_weight(weights, &weights_of_all[i], (uint32_t)i + 100, err);
    if (status)
        gen_weights_free(weights);
    else
        *out = weights;
    return status;
}

/* ---- the graphs ----------------------------------------------------------------------------- */

static gen_tensor *input(gen_graph *g, const char *name, int rank, const int64_t *dims)
{
    return gen_input(g, name, GEN_F32, rank, dims);
}

static gen_tensor *linear(gen_graph *g, gen_scope w)
{
    return gen_linear(g, gen_sub(w, "fc"), input(g, "x", GEN_DIMS(65, 129)));
}

static gen_tensor *linear_row(gen_graph *g, gen_scope w)
{
    return gen_linear(g, gen_sub(w, "few"), input(g, "x", GEN_DIMS(1, 65)));
}

static gen_tensor *linear_fused(gen_graph *g, gen_scope w)
{
    gen_tensor *x = input(g, "x", GEN_DIMS(2, 31, 129)), *r = input(g, "r", GEN_DIMS(2, 31, 67));
    return gen_add(g, gen_gelu(g, gen_linear(g, gen_sub(w, "fc"), x)), r);
}

static gen_tensor *linear_bf16(gen_graph *g, gen_scope w)
{
    return gen_project(g, gen_sub(w, "bf"), input(g, "x", GEN_DIMS(33, 70)));
}

static gen_tensor *conv(gen_graph *g, gen_scope w)
{
    gen_tensor *x = input(g, "x", GEN_DIMS(1, 13, 11, 40));
    return gen_silu(g, gen_conv2d(g, gen_sub(w, "conv"), x, GEN_CONV_3X3));
}

static gen_tensor *conv_stride(gen_graph *g, gen_scope w)
{
    return gen_conv2d(g, gen_sub(w, "conv"), input(g, "x", GEN_DIMS(2, 13, 11, 40)),
                      GEN_CONV_3X3_S2);
}

static gen_tensor *conv_upsample(gen_graph *g, gen_scope w)
{
    gen_tensor *x = input(g, "x", GEN_DIMS(1, 5, 7, 40));
    return gen_conv2d(g, gen_sub(w, "conv"), gen_upsample_nearest(g, x, 10, 14), GEN_CONV_3X3);
}

static gen_tensor *attend(gen_graph *g, int64_t queries, int64_t keys, int64_t width,
                          gen_attention_options options)
{
    gen_tensor *q = input(g, "q", GEN_DIMS(1, queries, options.heads * width));
    gen_tensor *k = input(g, "k", GEN_DIMS(1, keys, options.heads * width));
    gen_tensor *v = input(g, "v", GEN_DIMS(1, keys, options.heads * width));
    return gen_attention(g, q, k, v, options);
}

static gen_tensor *attention_40(gen_graph *g, gen_scope w)
{
    (void)w;
    return attend(g, 33, 77, 40, (gen_attention_options){.heads = 2});
}

static gen_tensor *attention_160(gen_graph *g, gen_scope w)
{
    (void)w;
    return attend(g, 17, 33, 160, (gen_attention_options){.heads = 1});
}

static gen_tensor *attention_causal(gen_graph *g, gen_scope w)
{
    (void)w;
    return attend(g, 37, 37, 64, (gen_attention_options){.heads = 1, .is_causal = true});
}

static gen_tensor *attention_bias(gen_graph *g, gen_scope w)
{
    (void)w;
    gen_tensor *bias = input(g, "bias", GEN_DIMS(1, 1, 1, 35));
    return attend(g, 9, 35, 64, (gen_attention_options){.heads = 2, .bias = bias});
}

static gen_tensor *group_norm(gen_graph *g, gen_scope w)
{
    gen_tensor *x = input(g, "far", GEN_DIMS(2, 9, 7, 64));
    return gen_silu(g, gen_group_norm(g, gen_sub(w, "norm"), x, 32, 1e-5f));
}

static gen_tensor *layer_norm(gen_graph *g, gen_scope w)
{
    return gen_layer_norm(g, gen_sub(w, "norm"), input(g, "x", GEN_DIMS(3, 5, 64)), 1e-5f);
}

static gen_tensor *rms_norm(gen_graph *g, gen_scope w)
{
    return gen_rms_norm(g, gen_sub(w, "norm"), input(g, "x", GEN_DIMS(3, 5, 64)), 1e-6f);
}

static gen_tensor *activations(gen_graph *g, gen_scope w)
{
    gen_tensor *x = input(g, "x", GEN_DIMS(7, 129)), *parts[GEN_NUM_ACTS];
    int n = 0;
    (void)w;
    for (int act = GEN_ACT_NONE + 1; act < GEN_NUM_ACTS; act++)
        parts[n++] = gen_activation(g, (gen_act)act, x);
    return gen_concat(g, -1, n, parts);
}

static gen_tensor *broadcast(gen_graph *g, gen_scope w)
{
    gen_tensor *a = input(g, "x", GEN_DIMS(2, 5, 7, 33)), *b = input(g, "b", GEN_DIMS(2, 1, 1, 33));
    (void)w;
    return gen_mul(g, gen_sub_tensors(g, gen_add(g, a, b), input(g, "c", GEN_DIMS(33))), b);
}

static gen_tensor *affine(gen_graph *g, gen_scope w)
{
    (void)w;
    return gen_affine(g, input(g, "x", GEN_DIMS(3, 333)), -1.5f, 0.25f);
}

static gen_tensor *glu(gen_graph *g, gen_scope w)
{
    (void)w;
    return gen_glu(g, GEN_ACT_GELU, input(g, "x", GEN_DIMS(9, 130)));
}

static gen_tensor *concat(gen_graph *g, gen_scope w)
{
    gen_tensor *parts[] = {input(g, "x", GEN_DIMS(2, 3, 5, 7)),
                           input(g, "b", GEN_DIMS(2, 3, 5, 9))};
    (void)w;
    return gen_concat(g, -1, 2, parts);
}

static gen_tensor *upsample(gen_graph *g, gen_scope w)
{
    (void)w;
    return gen_upsample_nearest(g, input(g, "x", GEN_DIMS(1, 5, 3, 17)), 10, 7);
}

static gen_tensor *embedding(gen_graph *g, gen_scope w)
{
    gen_tensor *ids = gen_input(g, "ids", GEN_I32, GEN_DIMS(2, 9));
    return gen_affine(g, gen_embedding(g, gen_sub(w, "table"), ids), 2.0f, 0.0f);
}

static gen_tensor *permute(gen_graph *g, gen_scope w)
{
    static const int order[] = {0, 2, 3, 1};
    (void)w;
    return gen_permute(g, input(g, "x", GEN_DIMS(2, 5, 7, 9)), 4, order);
}

static gen_tensor *copy(gen_graph *g, gen_scope w)
{
    gen_tensor *x = gen_slice(g, input(g, "x", GEN_DIMS(9, 40)), 3, 30);
    (void)w;
    return gen_affine(g, gen_reshape(g, x, GEN_DIMS(3, 90)), 1.0f, 1.0f);
}

static gen_tensor *window(gen_graph *g, gen_scope w)
{
    (void)w;
    return gen_window(g, input(g, "x", GEN_DIMS(2, 9, 13)), 1, -2, 8);
}

static gen_tensor *rope(gen_graph *g, gen_scope w)
{
    (void)w;
    return gen_rope(g, input(g, "x", GEN_DIMS(2, 7, 3 * 16)), 3, input(g, "t", GEN_DIMS(7, 16)));
}

static gen_tensor *wkv_of(gen_graph *g, gen_scope w, gen_wkv_form form)
{
    gen_tensor *k = input(g, "k", GEN_DIMS(2, 45, 20)), *v = input(g, "v", GEN_DIMS(2, 45, 20));
    const gen_scope at = gen_sub(w, "wkv");
    return gen_wkv(g, form, gen_parameter(g, at, "w"), gen_parameter(g, at, "u"), k, v);
}

static gen_tensor *wkv_paper(gen_graph *g, gen_scope w)
{
    return wkv_of(g, w, GEN_WKV_PAPER);
}

static gen_tensor *wkv_segmented(gen_graph *g, gen_scope w)
{
    return wkv_of(g, w, GEN_WKV_SEGMENTED);
}

/* Three hundred dispatches, each of which needs the one before. */
static gen_tensor *chain(gen_graph *g, gen_scope w)
{
    gen_tensor *x = input(g, "x", GEN_DIMS(5, 67)), *y = x;
    (void)w;
    for (int i = 0; i < 150; i++)
        y = gen_add(g, gen_affine(g, y, 0.96875f, 0.0f), x);
    return y;
}

/* Large enough for matrix units; their results pass through another op, as the output is f32. */
static gen_tensor *linear_half(gen_graph *g, gen_scope w)
{
    gen_tensor *x = input(g, "x", GEN_DIMS(2, 65, 201)), *r = input(g, "r", GEN_DIMS(2, 65, 97));
    gen_tensor *y = gen_gelu(g, gen_linear(g, gen_sub(w, "wide"), gen_affine(g, x, 0.5f, 0.0f)));
    return gen_affine(g, gen_add(g, y, gen_affine(g, r, 0.5f, 0.0f)), 0.5f, 0.25f);
}

static gen_tensor *conv_half(gen_graph *g, gen_scope w)
{
    gen_tensor *x = gen_affine(g, input(g, "x", GEN_DIMS(2, 13, 11, 40)), 0.5f, 0.0f);
    gen_tensor *y = gen_silu(g, gen_conv2d(g, gen_sub(w, "deep"), x, GEN_CONV_3X3));
    return gen_affine(g, y, 0.5f, 0.25f);
}

static gen_tensor *attention_half(gen_graph *g, gen_scope w)
{
    (void)w;
    gen_tensor *q = gen_affine(g, input(g, "q", GEN_DIMS(2, 45, 80)), 0.75f, 0.0f);
    gen_tensor *k = gen_affine(g, input(g, "k", GEN_DIMS(2, 77, 80)), 0.75f, 0.0f);
    gen_tensor *v = gen_affine(g, input(g, "v", GEN_DIMS(2, 77, 80)), 0.75f, 0.0f);
    gen_tensor *y = gen_attention(g, q, k, v, (gen_attention_options){.heads = 2});
    return gen_affine(g, y, 0.5f, 0.25f);
}

static gen_tensor *norms_half(gen_graph *g, gen_scope w)
{
    gen_tensor *x = gen_affine(g, input(g, "x", GEN_DIMS(2, 37, 64)), 0.75f, 0.0f);
    gen_tensor *y = gen_silu(g, gen_group_norm(g, gen_sub(w, "norm"), x, 4, 1e-5f));
    return gen_affine(g, gen_layer_norm(g, gen_sub(w, "norm"), y, 1e-5f), 0.5f, 0.25f);
}

static const struct {
    const char *op;
    gen_tensor *(*record)(gen_graph *g, gen_scope w);
    bool is_half; /* activations in f16 where the backend stores them so */
} checks[] = {
    {"linear", linear},
    {"linear, one row", linear_row},
    {"linear, gelu and residual", linear_fused},
    {"linear, bf16 weights", linear_bf16},
    {"conv2d", conv},
    {"conv2d, stride 2", conv_stride},
    {"conv2d of a larger picture", conv_upsample},
    {"attention, heads of 40", attention_40},
    {"attention, heads of 160", attention_160},
    {"attention, causal", attention_causal},
    {"attention, bias", attention_bias},
    {"group_norm", group_norm},
    {"layer_norm", layer_norm},
    {"rms_norm", rms_norm},
    {"activations", activations},
    {"broadcasting", broadcast},
    {"affine", affine},
    {"glu", glu},
    {"concat", concat},
    {"upsample", upsample},
    {"embedding", embedding},
    {"permute", permute},
    {"copy", copy},
    {"window", window},
    {"rope", rope},
    {"wkv", wkv_paper},
    {"wkv, segments", wkv_segmented},
    {"chain of 300", chain},
    {"linear, f16", linear_half, true},
    {"conv2d, f16", conv_half, true},
    {"attention, f16", attention_half, true},
    {"norms, f16", norms_half, true},
};
enum { NUM_CHECKS = sizeof checks / sizeof checks[0] };
_Static_assert((int)NUM_CHECKS <= (int)GEN_MAX_CHECKS, "gen_check_report has room");

/* ---- running one ---------------------------------------------------------------------------- */

static gen_status set_input(gen_plan *plan, const gen_tensor *t, uint32_t seed, gen_error *err)
{
    const size_t n = (size_t)gen_tensor_elements(t);
    float *values = gen_malloc(n * sizeof *values);
    if (!values)
        return gen_no_memory(err, "self-check", n * sizeof *values);
    if (t->dtype == GEN_I32) {
        for (size_t i = 0; i < n; i++)
            ((int32_t *)(void *)values)[i] = (int32_t)((i * 7 + seed) % 50);
    } else {
        fill(values, n, seed, strcmp(t->name, "far") == 0 ? 100.0f : 0.0f);
    }
    const gen_status status = gen_plan_set(plan, t->name, values, err);
    gen_free(values);
    return status;
}

static gen_status run(gen_plan *plan, float *out, gen_error *err)
{
    const gen_graph *g = gen_plan_graph(plan);
    uint32_t seed = 1;
    for (int i = 0; i < gen_graph_num_tensors(g); i++) {
        const gen_tensor *t = gen_graph_tensor(g, i);
        if (t->kind == GEN_KIND_INPUT)
            GEN_TRY(set_input(plan, t, seed++, err));
    }
    GEN_TRY(gen_plan_run(plan, err));
    return gen_plan_get_output(plan, "y", out, err);
}

static gen_status record(gen_graph **out, int i, gen_weights *weights, size_t *n, gen_error *err)
{
    gen_graph *g;
    GEN_TRY(gen_graph_new(&g, err));
    gen_tensor *y = checks[i].record(g, gen_scope_root(weights));
    gen_output(g, y, "y");
    const gen_status status = gen_graph_status(g, err);
    *n = (size_t)gen_tensor_elements(y);
    if (status)
        gen_graph_free(g);
    else
        *out = g;
    return status;
}

static bool is_supported(const gen_graph *g, gen_backend *backend)
{
    for (int i = 0; i < gen_graph_num_nodes(g); i++)
        if (!backend->fns->supports(backend, gen_graph_node(g, i)))
            return false;
    return true;
}

static void compare(gen_check_result *r, const float *got, const float *again,
                    const float *expected, size_t n)
{
    double difference = 0, power = 0;
    for (size_t i = 0; i < n; i++) {
        const double d = (double)got[i] - (double)expected[i];
        difference += d * d;
        power += (double)expected[i] * (double)expected[i];
        if (!(fabs(d) <= r->max_error))
            r->max_error = fabs(d);
    }
    r->nmse = difference / (power > 0 ? power : 1);
    r->is_repeatable = memcmp(got, again, n * sizeof *got) == 0;
    r->has_passed = r->is_repeatable && r->nmse <= r->tolerance; /* false for NaN */
}

static gen_status run_on(gen_backend *backend, int i, gen_weights *weights, float *first,
                         float *second, gen_error *err)
{
    gen_graph *g;
    gen_plan *plan;
    size_t n;
    GEN_TRY(record(&g, i, weights, &n, err));
    GEN_TRY(gen_plan_new(&plan, g, backend, checks[i].is_half ? GEN_PLAN_HALF : 0, err));
    gen_status status = run(plan, first, err);
    if (!status && second)
        status = run(plan, second, err);
    gen_plan_free(plan);
    return status;
}

static gen_status check(gen_check_result *r, int i, gen_weights *weights, gen_backend *backend,
                        gen_backend *reference, gen_error *err)
{
    gen_graph *g;
    size_t n;
    *r = (gen_check_result){.op = checks[i].op,
                            .tolerance = checks[i].is_half ? HALF_TOLERANCE : TOLERANCE};
    GEN_TRY(record(&g, i, weights, &n, err));
    r->is_missing = !is_supported(g, backend);
    gen_graph_free(g);
    if (r->is_missing)
        return GEN_OK;
    float *values = gen_malloc(3 * n * sizeof *values);
    if (!values)
        return gen_no_memory(err, "self-check", 3 * n * sizeof *values);
    gen_status status = run_on(reference, i, weights, values, NULL, err);
    if (!status)
        status = run_on(backend, i, weights, values + n, values + 2 * n, err);
    if (!status)
        compare(r, values + n, values + 2 * n, values, n);
    gen_free(values);
    return status ? gen_fail_in(err, status, "%s", r->op) : GEN_OK;
}

static gen_status check_rows(gen_check_report *out, bool is_half, gen_backend *backend,
                             gen_backend *reference, gen_error *err)
{
    gen_weights *weights;
    gen_status status = GEN_OK;
    *out = (gen_check_report){.first_failure = -1};
    GEN_TRY(make_weights(&weights, err));
    for (int i = 0; i < NUM_CHECKS && !status; i++) {
        if (checks[i].is_half != is_half)
            continue;
        gen_check_result *r = &out->results[out->num_results];
        status = check(r, i, weights, backend, reference, err);
        if (status)
            break;
        out->num_results++;
        if (r->is_missing)
            out->num_missing++;
        else if (!r->has_passed && out->first_failure < 0)
            out->first_failure = out->num_results - 1;
        else if (r->has_passed && r->nmse > out->worst_nmse)
            out->worst_nmse = r->nmse;
    }
    gen_weights_drop_prepared(weights, backend);
    gen_weights_drop_prepared(weights, reference);
    gen_weights_free(weights);
    return status;
}

gen_status gen_self_check(gen_check_report *out, gen_backend *backend, gen_backend *reference,
                          gen_error *err)
{
    return check_rows(out, false, backend, reference, err);
}

gen_status gen_self_check_half(gen_check_report *out, gen_backend *backend, gen_backend *reference,
                               gen_error *err)
{
    return check_rows(out, true, backend, reference, err);
}

const char *gen_check_sentence(const gen_check_result *r, char *buf, size_t size)
{
    if (r->is_missing)
        snprintf(buf, size, "%s has no kernel", r->op);
    else if (r->has_passed)
        snprintf(buf, size, "%s agrees with the CPU: NMSE %.1e", r->op, r->nmse);
    else if (!r->is_repeatable)
        snprintf(buf, size, "%s gives other numbers when it is run again", r->op);
    else
        snprintf(buf, size, "%s differs from the CPU: NMSE %.2g, largest error %.2g", r->op,
                 r->nmse, r->max_error);
    return buf;
}

/* ---- speeds --------------------------------------------------------------------------------- */

/* Layers of `layers` products [side,side] x [side,side], or of as many passes over side x side
 * numbers. */
static gen_status speed_graph(gen_graph **out, gen_weights *weights, bool is_product, int64_t side,
                              int layers, gen_error *err)
{
    gen_graph *g;
    GEN_TRY(gen_graph_new(&g, err));
    gen_tensor *x = input(g, "x", GEN_DIMS(side, side)), *y = x;
    for (int i = 0; i < layers; i++) {
        if (is_product)
            y = gen_project(g, gen_scope_root(weights), y);
        else
            y = gen_add(g, gen_affine(g, y, 0.5f, 0.0f), x);
    }
    gen_output(g, y, "y");
    *out = g;
    return GEN_OK;
}

static gen_status add_square(gen_weights *weights, int64_t side, gen_error *err)
{
    const size_t n = (size_t)(side * side);
    float *w = gen_malloc(n * sizeof *w);
    if (!w)
        return gen_no_memory(err, "speed test", n * sizeof *w);
    for (size_t i = 0; i < n; i++)
        w[i] = 1.0f / (float)side;
    return gen_weights_add(weights, "weight", "", "", GEN_F32, 2, (int64_t[]){side, side}, w,
                           n * sizeof *w, true, err);
}

/* Seconds of the best of a few runs, the first left out. */
static gen_status time_plan(double *out, gen_plan *plan, int64_t side, gen_error *err)
{
    float *x = gen_calloc((size_t)(side * side), sizeof *x);
    double best = INFINITY, spent = 0;
    gen_status status = x ? GEN_OK : gen_no_memory(err, "speed test", sizeof *x);
    for (int i = 0; i < 6 && spent < 0.1 && !status; i++) {
        if ((status = gen_plan_set(plan, "x", x, err)))
            break;
        const double t = now();
        status = gen_plan_run(plan, err);
        const double taken = now() - t;
        if (i > 0 && taken < best)
            best = taken;
        spent += i > 0 ? taken : 0;
    }
    *out = best;
    gen_free(x);
    return status;
}

static gen_status measure(double *seconds, gen_backend *backend, bool is_product, int64_t side,
                          int layers, unsigned flags, gen_error *err)
{
    gen_weights *weights;
    gen_graph *g;
    gen_plan *plan = NULL;
    GEN_TRY(gen_weights_new(&weights, err));
    gen_status status = is_product ? add_square(weights, side, err) : GEN_OK;
    if (!status)
        status = speed_graph(&g, weights, is_product, side, layers, err);
    if (!status)
        status = gen_plan_new(&plan, g, backend, flags, err);
    if (!status)
        status = time_plan(seconds, plan, side, err);
    gen_plan_free(plan);
    gen_weights_drop_prepared(weights, backend);
    gen_weights_free(weights);
    return status;
}

gen_status gen_measure_half(double *seconds, gen_backend *backend, gen_error *err)
{
    return measure(seconds, backend, true, 512, 4, GEN_PLAN_HALF, err);
}

gen_status gen_measure_speeds(double *flops_per_second, double *bytes_per_second,
                              gen_backend *backend, gen_error *err)
{
    enum { LAYERS = 4 };
    double seconds;
    *flops_per_second = *bytes_per_second = 0;
    for (int64_t side = 128; side <= 4096; side *= 4) { /* larger while it is quick */
        GEN_TRY(measure(&seconds, backend, true, side, LAYERS, 0, err));
        const double n = (double)side, speed = 2.0 * LAYERS * n * n * n / seconds;
        if (speed > *flops_per_second)
            *flops_per_second = speed;
        if (seconds * 64 > 0.2)
            break;
    }
    for (int64_t side = 256; side <= 4096; side *= 4) {
        GEN_TRY(measure(&seconds, backend, false, side, LAYERS, 0, err));
        /* affine reads and writes, add reads two and writes */
        const double bytes = 5.0 * LAYERS * sizeof(float) * (double)(side * side);
        if (bytes / seconds > *bytes_per_second)
            *bytes_per_second = bytes / seconds;
        if (seconds * 16 > 0.2)
            break;
    }
    return GEN_OK;
}
