/* golden_rwkv.c - Diffusion-RWKV against its recorded outputs, and its WKV operator alone, in the
 * form of the published kernel and in that of the paper. */
#include <string.h>

#include "gen/core/alloc.h"
#include "gen/core/nn.h"
#include "gen/pipeline/registry.h"
#include "tests/golden/golden.h"

/* ---- the operator --------------------------------------------------------------------------- */

static void run_wkv(golden_fixture *f, const char *prefix, gen_wkv_form form, const char *expected)
{
    static const char *const names[] = {"w", "u", "k", "v"};
    gen_error err = {0};
    gen_graph *g = NULL;
    gen_plan *plan = NULL;
    gen_tensor *in[4];
    if (!golden_ok(f, gen_graph_new(&g, &err), &err))
        return;
    for (int i = 0; i < 4; i++) {
        const gen_weight *w = golden_find(f, golden_path(f, "%s/%s", prefix, names[i]));
        if (!w) {
            golden_fail(f, "%s/%s is missing", prefix, names[i]);
            gen_graph_free(g);
            return;
        }
        in[i] = gen_input(g, names[i], GEN_F32, w->rank, w->dims);
    }
    gen_tensor *y = gen_wkv(g, form, in[0], in[1], in[2], in[3]);
    const size_t n = (size_t)gen_tensor_elements(y);
    gen_output(g, y, "y");
    if (!golden_ok(f, gen_plan_new(&plan, g, f->backend, 0, &err), &err))
        return;
    bool ok = true;
    for (int i = 0; ok && i < 4; i++) {
        const float *values = golden_load(f, golden_path(f, "%s/%s", prefix, names[i]));
        ok = values && golden_ok(f, gen_plan_set(plan, names[i], values, &err), &err);
    }
    float *out = golden_alloc(f, n, sizeof *out);
    if (ok && out && golden_run_plan(f, plan, "") &&
        golden_ok(f, gen_plan_get_output(plan, "y", out, &err), &err))
        golden_compare(f, expected, out, n, 1e-4);
    gen_plan_free(plan);
}

/* Cases PREFIX/{w,u,k,v} with the results PREFIX/y of the kernel and PREFIX/y_formula. */
void golden_wkv_kernel(golden_fixture *f)
{
    for (size_t i = 0; i < gen_weights_count(f->io) && !f->has_failed; i++) {
        const char *name = gen_weights_at(f->io, i)->name, *end = strrchr(name, '/');
        if (!end || (strcmp(end, "/y") != 0 && strcmp(end, "/y_formula") != 0))
            continue;
        run_wkv(f, golden_path(f, "%.*s", (int)(end - name), name),
                strcmp(end, "/y") == 0 ? GEN_WKV_SEGMENTED : GEN_WKV_PAPER, name);
    }
}

/* ---- the network ---------------------------------------------------------------------------- */

typedef struct model {
    golden_fixture *f;
    gen_weights *weights;
    void *config;
    int64_t nhwc[4], out_channels;
} model;

/* One evaluation of x [N,H,W,C]; the output is in the fixture's memory, NULL after a failure. */
static float *evaluate(const model *m, const float *x)
{
    golden_fixture *f = m->f;
    gen_error err = {0};
    gen_graph *g = NULL;
    gen_plan *plan = NULL;
    const int64_t N = m->nhwc[0];
    const gen_network_shape shape = {.batch = N, .height = m->nhwc[1], .width = m->nhwc[2]};
    if (!golden_ok(f, gen_graph_new(&g, &err), &err))
        return NULL;
    gen_network_find(f->class_name)->record(g, gen_scope_root(m->weights), m->config, &shape);
    if (!golden_ok(f, gen_plan_new(&plan, g, f->backend, golden_plan_flags(f), &err), &err))
        return NULL;
    const double *t = golden_load_f64(f, "in.timesteps");
    bool ok = t && golden_ok(f, gen_plan_set(plan, "sample", x, &err), &err) &&
              golden_ok(f, gen_plan_set_double(plan, "timestep", t, &err), &err);
    if (ok && gen_plan_has_input(plan, "class_labels")) {
        const int64_t *labels = golden_load_i64(f, "in.labels");
        int32_t *ids = golden_alloc(f, (size_t)N, sizeof *ids);
        for (int64_t i = 0; labels && ids && i < N; i++)
            ids[i] = (int32_t)labels[i];
        ok = labels && ids && golden_ok(f, gen_plan_set(plan, "class_labels", ids, &err), &err);
    }
    float *out = golden_alloc(f, (size_t)(N * m->nhwc[1] * m->nhwc[2] * m->out_channels), 4);
    ok = ok && out && golden_run_plan(f, plan, "") &&
         golden_ok(f, gen_plan_get_output(plan, "sample_out", out, &err), &err);
    gen_plan_free(plan);
    return ok ? out : NULL;
}

/* Guidance as the original samples with it: the first half of x twice, once with each half of the
 * labels; the first three channels u + s (c - u) in both halves, the others as they come. */
static void compare_guided(const model *m, float *x, double scale)
{
    const size_t half = (size_t)(m->nhwc[0] / 2 * m->nhwc[1] * m->nhwc[2]);
    const size_t C = (size_t)m->nhwc[3], D = (size_t)m->out_channels;
    memcpy(x + half * C, x, half * C * sizeof *x);
    float *y = evaluate(m, x);
    if (!y)
        return;
    for (size_t i = 0; i < half; i++)
        for (size_t c = 0; c < 3; c++) {
            float *cond = &y[i * D + c], *null = &y[(half + i) * D + c];
            *cond = *null = (float)((double)*null + scale * ((double)*cond - (double)*null));
        }
    const int64_t out[4] = {m->nhwc[0], m->nhwc[1], m->nhwc[2], m->out_channels};
    golden_compare_nhwc(m->f, "out.cfg", y, out, 1e-4);
}

static void run(model *m)
{
    golden_fixture *f = m->f;
    gen_error err = {0};
    float *x = golden_load_nhwc(f, "in.x", m->nhwc);
    const int64_t out[4] = {m->nhwc[0], m->nhwc[1], m->nhwc[2], m->out_channels};
    const float *y = x ? evaluate(m, x) : NULL;
    if (!y || !golden_compare_nhwc(f, "out.sample", y, out, 1e-4))
        return;
    if (golden_find(f, "out.cfg")) {
        double scale = 1;
        if (golden_ok(f, gen_json_double(f->config, "cfg_scale", 1.5, &scale, &err), &err))
            compare_guided(m, x, scale);
    }
}

/* The same weights by the formula of the paper. */
static void run_paper(model *m, const gen_network_class *cls)
{
    golden_fixture *f = m->f;
    gen_error err = {0};
    gen_json *json = NULL;
    json_t *root = json_deep_copy(f->config->root);
    json_object_set_new(root, "wkv_form", json_string("paper"));
    gen_free(m->config);
    m->config = NULL;
    if (golden_ok(f, gen_json_adopt(&json, root, f->config->path, &err), &err) &&
        golden_ok(f, gen_network_configure(&m->config, cls, json, &err), &err)) {
        const int64_t out[4] = {m->nhwc[0], m->nhwc[1], m->nhwc[2], m->out_channels};
        const float *x = golden_load_nhwc(f, "in.x", NULL), *y = x ? evaluate(m, x) : NULL;
        if (y)
            golden_compare_nhwc(f, "alt.sample_formula", y, out, 1e-4);
    }
    gen_json_free(json);
}

void golden_rwkv(golden_fixture *f)
{
    gen_error err = {0};
    gen_network_traits traits;
    const gen_network_class *cls = gen_network_find(f->class_name);
    model m = {.f = f, .weights = golden_open_weights(f, "")};
    if (!cls)
        golden_skip(f, "no network of class \"%s\"", f->class_name);
    else if (m.weights &&
             golden_ok(f, gen_network_configure(&m.config, cls, f->config, &err), &err)) {
        cls->describe(m.config, &traits);
        m.out_channels = traits.out_channels;
        run(&m);
        if (!f->has_failed && golden_find(f, "alt.sample_formula"))
            run_paper(&m, cls);
    }
    gen_free(m.config);
    gen_weights_free(m.weights);
}
