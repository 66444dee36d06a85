/* bench_ops.c - the speed of every class of op. */
#include "gen/pipeline/bench.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "gen/core/nn.h"
#include "gen/core/plan.h"
#include "gen/pipeline/self_check.h"

/* No run of a case may take longer, by the speed measured before. */
static const double LONGEST = 0.5;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- the cases ------------------------------------------------------------------------------ */

typedef struct bench_case {
    const char *name, *shape;
    gen_tensor *(*record)(gen_graph *g, gen_scope w, const int64_t *d);
    int64_t d[6];
    int64_t weight[5]; /* rank and dims of w.weight, f16; rank 0: none */
} bench_case;

static gen_tensor *input(gen_graph *g, const char *name, int rank, const int64_t *dims)
{
    return gen_input(g, name, GEN_F32, rank, dims);
}

static gen_tensor *linear(gen_graph *g, gen_scope w, const int64_t *d)
{
    return gen_project(g, w, input(g, "x", GEN_DIMS(d[0], d[2])));
}

static gen_tensor *conv(gen_graph *g, gen_scope w, const int64_t *d)
{
    gen_conv2d_options options = GEN_CONV_3X3;
    options.bias_is_optional = true;
    return gen_conv2d(g, w, input(g, "x", GEN_DIMS(1, d[0], d[1], d[2])), options);
}

static gen_tensor *attention(gen_graph *g, gen_scope w, const int64_t *d)
{
    gen_tensor *q = input(g, "q", GEN_DIMS(1, d[0], d[2] * d[3]));
    gen_tensor *k = input(g, "k", GEN_DIMS(1, d[1], d[2] * d[3]));
    gen_tensor *v = input(g, "v", GEN_DIMS(1, d[1], d[2] * d[3]));
    (void)w;
    return gen_attention(g, q, k, v, (gen_attention_options){.heads = (int)d[2]});
}

static gen_tensor *group_norm(gen_graph *g, gen_scope w, const int64_t *d)
{
    (void)w;
    return gen_group_norm(g, GEN_NO_AFFINE, input(g, "x", GEN_DIMS(1, d[0], d[1], d[2])), 32,
                          1e-5f);
}

static gen_tensor *layer_norm(gen_graph *g, gen_scope w, const int64_t *d)
{
    (void)w;
    return gen_layer_norm(g, GEN_NO_AFFINE, input(g, "x", GEN_DIMS(d[0], d[1])), 1e-5f);
}

static gen_tensor *rms_norm(gen_graph *g, gen_scope w, const int64_t *d)
{
    (void)w;
    return gen_rms_norm(g, GEN_NO_AFFINE, input(g, "x", GEN_DIMS(d[0], d[1])), 1e-6f);
}

static gen_tensor *unary(gen_graph *g, gen_scope w, const int64_t *d)
{
    (void)w;
    return gen_silu(g, input(g, "x", GEN_DIMS(d[0], d[1])));
}

static gen_tensor *binary(gen_graph *g, gen_scope w, const int64_t *d)
{
    (void)w;
    return gen_mul(g, input(g, "x", GEN_DIMS(d[0], d[1])), input(g, "b", GEN_DIMS(d[0], d[1])));
}

static gen_tensor *affine(gen_graph *g, gen_scope w, const int64_t *d)
{
    (void)w;
    return gen_affine(g, input(g, "x", GEN_DIMS(d[0], d[1])), 2, 1);
}

static gen_tensor *glu(gen_graph *g, gen_scope w, const int64_t *d)
{
    (void)w;
    return gen_glu(g, GEN_ACT_GELU, input(g, "x", GEN_DIMS(d[0], d[1])));
}

static gen_tensor *concat(gen_graph *g, gen_scope w, const int64_t *d)
{
    gen_tensor *parts[] = {input(g, "x", GEN_DIMS(d[0], d[1])),
                           input(g, "b", GEN_DIMS(d[0], d[1]))};
    (void)w;
    return gen_concat(g, -1, 2, parts);
}

static gen_tensor *upsample(gen_graph *g, gen_scope w, const int64_t *d)
{
    (void)w;
    return gen_upsample_nearest(g, input(g, "x", GEN_DIMS(1, d[0], d[1], d[2])), 2 * d[0],
                                2 * d[1]);
}

static gen_tensor *permute(gen_graph *g, gen_scope w, const int64_t *d)
{
    static const int order[] = {0, 2, 1};
    (void)w;
    return gen_permute(g, input(g, "x", GEN_DIMS(1, d[0], d[1])), 3, order);
}

static gen_tensor *window(gen_graph *g, gen_scope w, const int64_t *d)
{
    (void)w;
    return gen_window(g, input(g, "x", GEN_DIMS(1, d[0], d[1])), 1, 1, d[0]);
}

static gen_tensor *rope(gen_graph *g, gen_scope w, const int64_t *d)
{
    (void)w;
    return gen_rope(g, input(g, "x", GEN_DIMS(1, d[0], d[1] * d[2])), (int)d[1],
                    input(g, "t", GEN_DIMS(d[0], d[2])));
}

static gen_tensor *wkv(gen_graph *g, gen_scope w, const int64_t *d)
{
    (void)w;
    return gen_wkv(g, GEN_WKV_PAPER, input(g, "w", GEN_DIMS(d[1])), input(g, "u", GEN_DIMS(d[1])),
                   input(g, "k", GEN_DIMS(1, d[0], d[1])), input(g, "v", GEN_DIMS(1, d[0], d[1])));
}

static const bench_case cases[] = {
    {"linear", "64 x 64 x 320", linear, {64, 64, 320}, {2, 64, 320}},
    {"linear", "1 x 1280 x 1280", linear, {1, 1280, 1280}, {2, 1280, 1280}},
    {"linear", "77 x 768 x 768", linear, {77, 768, 768}, {2, 768, 768}},
    {"linear", "4096 x 320 x 320", linear, {4096, 320, 320}, {2, 320, 320}},
    {"linear", "4096 x 2560 x 320", linear, {4096, 2560, 320}, {2, 2560, 320}},
    {"linear", "1024 x 640 x 2560", linear, {1024, 640, 2560}, {2, 640, 2560}},
    {"linear", "256 x 1280 x 5120", linear, {256, 1280, 5120}, {2, 1280, 5120}},
    {"linear", "4096 x 4096 x 4096", linear, {4096, 4096, 4096}, {2, 4096, 4096}},
    {"conv2d", "8 x 8, 32 to 32", conv, {8, 8, 32}, {4, 32, 32, 3, 3}},
    {"conv2d", "64 x 64, 320 to 320", conv, {64, 64, 320}, {4, 320, 320, 3, 3}},
    {"conv2d", "32 x 32, 640 to 640", conv, {32, 32, 640}, {4, 640, 640, 3, 3}},
    {"conv2d", "16 x 16, 1280 to 1280", conv, {16, 16, 1280}, {4, 1280, 1280, 3, 3}},
    {"conv2d", "256 x 256, 256 to 256", conv, {256, 256, 256}, {4, 256, 256, 3, 3}},
    {"conv2d", "512 x 512, 128 to 128", conv, {512, 512, 128}, {4, 128, 128, 3, 3}},
    {"attention", "64 x 64, 2 of 40", attention, {64, 64, 2, 40}, {0}},
    {"attention", "4096 x 4096, 8 of 40", attention, {4096, 4096, 8, 40}, {0}},
    {"attention", "4096 x 77, 8 of 40", attention, {4096, 77, 8, 40}, {0}},
    {"attention", "1024 x 1024, 8 of 80", attention, {1024, 1024, 8, 80}, {0}},
    {"attention", "4096 x 4096, 1 of 512", attention, {4096, 4096, 1, 512}, {0}},
    {"group_norm", "64 x 64 x 320", group_norm, {64, 64, 320}, {0}},
    {"group_norm", "512 x 512 x 128", group_norm, {512, 512, 128}, {0}},
    {"layer_norm", "4096 x 320", layer_norm, {4096, 320}, {0}},
    {"rms_norm", "4096 x 1280", rms_norm, {4096, 1280}, {0}},
    {"silu", "4096 x 1280", unary, {4096, 1280}, {0}},
    {"mul", "4096 x 1280", binary, {4096, 1280}, {0}},
    {"affine", "4096 x 1280", affine, {4096, 1280}, {0}},
    {"geglu", "4096 x 2560", glu, {4096, 2560}, {0}},
    {"concat", "4096 x 640 twice", concat, {4096, 640}, {0}},
    {"upsample", "32 x 32 x 640", upsample, {32, 32, 640}, {0}},
    {"permute", "4096 x 1280", permute, {4096, 1280}, {0}},
    {"window", "4096 x 1280", window, {4096, 1280}, {0}},
    {"rope", "4096 x 8 of 64", rope, {4096, 8, 64}, {0}},
    {"wkv", "1024 x 384", wkv, {1024, 384}, {0}},
};
enum { NUM_CASES = sizeof cases / sizeof cases[0] };

/* ---- running one ---------------------------------------------------------------------------- */

static gen_status add_weight(gen_weights *weights, const bench_case *c, gen_error *err)
{
    const int rank = (int)c->weight[0];
    size_t n = 1;
    for (int i = 0; i < rank; i++)
        n *= (size_t)c->weight[1 + i];
    if (!rank)
        return GEN_OK;
    uint16_t *values = gen_malloc(n * sizeof *values);
    if (!values)
        return gen_no_memory(err, "weights", n * sizeof *values);
    for (size_t i = 0; i < n; i++)
        values[i] = gen_f32_to_f16((float)((int)(i * 7919 % 257) - 128) * 0x1p-12f);
    return gen_weights_add(weights, "op.weight", "", "", GEN_F16, rank, c->weight + 1, values,
                           n * sizeof *values, true, err);
}

/* Every input and every output once. */
static double bytes_of(const gen_graph *g)
{
    double bytes = 0;
    for (int i = 0; i < gen_graph_num_tensors(g); i++) {
        const gen_tensor *t = gen_graph_tensor(g, i);
        if (t->kind == GEN_KIND_INPUT || t->kind == GEN_KIND_VALUE)
            bytes += (double)gen_tensor_elements(t) * sizeof(float);
        if (t->kind == GEN_KIND_WEIGHT)
            bytes += (double)t->weight->size;
    }
    return bytes;
}

static gen_status set_inputs(gen_plan *plan, gen_error *err)
{
    const gen_graph *g = gen_plan_graph(plan);
    for (int i = 0; i < gen_graph_num_tensors(g); i++) {
        const gen_tensor *t = gen_graph_tensor(g, i);
        if (t->kind != GEN_KIND_INPUT)
            continue;
        const size_t n = (size_t)gen_tensor_elements(t);
        float *values = gen_malloc(n * sizeof *values);
        if (!values)
            return gen_no_memory(err, t->name, n * sizeof *values);
        for (size_t k = 0; k < n; k++)
            values[k] = (float)((int)(k * 31 % 61) - 30) / 32.0f;
        const gen_status status = gen_plan_set(plan, t->name, values, err);
        gen_free(values);
        if (status)
            return status;
    }
    return GEN_OK;
}

/* The best of some runs behind a first that is left out, inputs on the device already. */
static gen_status time_runs(double *seconds, gen_plan *plan, gen_error *err)
{
    double spent = 0;
    *seconds = INFINITY;
    for (int i = 0; i < 12 && (i < 2 || spent < 0.3); i++) {
        GEN_TRY(set_inputs(plan, err)); /* their memory may have been used again */
        const double t = now();
        GEN_TRY(gen_plan_run(plan, err));
        const double taken = now() - t;
        if (i > 0 && taken < *seconds)
            *seconds = taken;
        spent += i > 0 ? taken : 0;
    }
    return GEN_OK;
}

static bool is_supported(const gen_graph *g, gen_backend *backend)
{
    for (int i = 0; i < gen_graph_num_nodes(g); i++)
        if (!backend->fns->supports(backend, gen_graph_node(g, i)))
            return false;
    return true;
}

static gen_status run_case(gen_bench_row *row, const bench_case *c, gen_weights *weights,
                           gen_backend *backend, double flops_per_second, double bytes_per_second,
                           gen_error *err)
{
    gen_graph *g;
    gen_plan *plan;
    GEN_TRY(add_weight(weights, c, err));
    GEN_TRY(gen_graph_new(&g, err));
    gen_output(g, c->record(g, gen_sub(gen_scope_root(weights), "op"), c->d), "y");
    if (gen_graph_failed(g) || !is_supported(g, backend)) {
        const gen_status status = gen_graph_status(g, err);
        gen_graph_free(g);
        snprintf(row->note, sizeof row->note, "no kernel here");
        return status;
    }
    const double bytes = bytes_of(g);
    double flops = 0;
    for (int i = 0; i < gen_graph_num_nodes(g); i++)
        flops += gen_node_flops(gen_graph_node(g, i));
    const double guess = flops / flops_per_second + bytes / bytes_per_second;
    if (guess > LONGEST) {
        gen_graph_free(g);
        snprintf(row->note, sizeof row->note, "left out: about %.0f s", guess);
        return GEN_OK;
    }
    GEN_TRY(gen_plan_new(&plan, g, backend, 0, err));
    const gen_status status = time_runs(&row->seconds, plan, err);
    gen_plan_free(plan);
    if (status)
        return status;
    row->flops_per_second = flops / row->seconds;
    row->bytes_per_second = bytes / row->seconds;
    return GEN_OK;
}

gen_status gen_bench_ops(gen_bench *bench, gen_backend *backend, gen_error *err)
{
    double flops, bytes;
    GEN_TRY(gen_measure_speeds(&flops, &bytes, backend, err));
    for (int i = 0; i < NUM_CASES; i++) {
        gen_weights *weights;
        gen_bench_row *row = gen_bench_add(bench, cases[i].name);
        if (!row)
            return gen_no_memory(err, "table", sizeof *row);
        snprintf(row->shape, sizeof row->shape, "%s", cases[i].shape);
        GEN_TRY(gen_weights_new(&weights, err));
        gen_status status = run_case(row, &cases[i], weights, backend, flops, bytes, err);
        gen_weights_drop_prepared(weights, backend);
        gen_weights_free(weights);
        if (status == GEN_ERROR_MEMORY) { /* of this case alone */
            snprintf(row->note, sizeof row->note, "does not fit into memory");
            status = GEN_OK;
        }
        if (status)
            return gen_fail_in(err, status, "%s, %s", cases[i].name, cases[i].shape);
    }
    return GEN_OK;
}
