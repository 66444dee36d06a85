/* golden_dit.c - transformers over patches (DiT, PixArt) against their recorded outputs. */
#include <string.h>

#include "gen/core/alloc.h"
#include "gen/pipeline/registry.h"
#include "tests/golden/golden.h"

typedef struct model {
    golden_fixture *f;
    const gen_network_class *cls;
    gen_weights *weights;
    void *config;
    gen_network_traits traits;
} model;

/* What the fixture calls the inputs; NULL: the network takes no such thing. */
typedef struct input_names {
    const char *sample, *timestep, *labels;
} input_names;

static bool set_floats(golden_fixture *f, gen_plan *plan, const char *input, const char *name)
{
    gen_error err = {0};
    if (!gen_plan_has_input(plan, input))
        return true;
    const float *values = golden_load(f, name);
    return values && golden_ok(f, gen_plan_set(plan, input, values, &err), &err);
}

static bool set_labels(golden_fixture *f, gen_plan *plan, const char *name, int64_t N)
{
    gen_error err = {0};
    if (!gen_plan_has_input(plan, "class_labels"))
        return true;
    const int64_t *labels = golden_load_i64(f, name);
    int32_t *ids = golden_alloc(f, (size_t)N, sizeof *ids);
    for (int64_t i = 0; labels && ids && i < N; i++)
        ids[i] = (int32_t)labels[i];
    return labels && ids && golden_ok(f, gen_plan_set(plan, "class_labels", ids, &err), &err);
}

/* PixArt-alpha: height, width and their ratio of each sample. */
static bool set_time_ids(golden_fixture *f, gen_plan *plan, int64_t N)
{
    gen_error err = {0};
    if (!gen_plan_has_input(plan, "time_ids"))
        return true;
    const float *size = golden_load(f, "in.resolution"), *ratio = golden_load(f, "in.aspect_ratio");
    float *ids = golden_alloc(f, (size_t)(3 * N), sizeof *ids);
    for (int64_t i = 0; size && ratio && ids && i < N; i++) {
        memcpy(ids + 3 * i, size + 2 * i, 2 * sizeof *ids);
        ids[3 * i + 2] = ratio[i];
    }
    return size && ratio && ids && golden_ok(f, gen_plan_set(plan, "time_ids", ids, &err), &err);
}

/* One evaluation of x [N,H,W,C]; the output is in the fixture's memory, NULL after a failure. */
static float *evaluate(const model *m, const input_names *in, const float *x, const int64_t d[4])
{
    golden_fixture *f = m->f;
    const gen_weight *states = golden_find(f, "in.encoder_hidden_states");
    const gen_network_shape shape = {.batch = d[0],
                                     .height = d[1],
                                     .width = d[2],
                                     .num_tokens =
                                         states && states->rank == 3 ? states->dims[1] : 0};
    gen_error err = {0};
    gen_graph *g = NULL;
    gen_plan *plan = NULL;
    if (!golden_ok(f, gen_graph_new(&g, &err), &err))
        return NULL;
    m->cls->record(g, gen_scope_root(m->weights), m->config, &shape);
    if (!golden_ok(f, gen_plan_new(&plan, g, f->backend, golden_plan_flags(f), &err), &err))
        return NULL;
    const double *t = golden_load_f64(f, in->timestep);
    float *out = golden_alloc(f, (size_t)(d[0] * d[1] * d[2] * m->traits.out_channels), 4);
    const bool ok = t && out && golden_ok(f, gen_plan_set(plan, "sample", x, &err), &err) &&
                    golden_ok(f, gen_plan_set_double(plan, "timestep", t, &err), &err) &&
                    set_labels(f, plan, in->labels, d[0]) && set_time_ids(f, plan, d[0]) &&
                    set_floats(f, plan, "encoder_hidden_states", "in.encoder_hidden_states") &&
                    set_floats(f, plan, "encoder_attention_mask", "in.encoder_attention_mask") &&
                    golden_run_plan(f, plan, "") &&
                    golden_ok(f, gen_plan_get_output(plan, "sample_out", out, &err), &err);
    gen_plan_free(plan);
    return ok ? out : NULL;
}

static void compare(const model *m, const input_names *in)
{
    int64_t d[4];
    const float *x = golden_load_nhwc(m->f, in->sample, d);
    const float *y = x ? evaluate(m, in, x, d) : NULL;
    d[3] = m->traits.out_channels;
    if (y)
        golden_compare_nhwc(m->f, "out.sample", y, d, 1e-4);
}

/* Guidance as the original samples with it: the first half of x twice, with both halves of the
 * labels; u + s (c - u) in the channels the traits name, in both halves; the others as they come.
 */
static void compare_guided(const model *m, const input_names *in)
{
    golden_fixture *f = m->f;
    gen_error err = {0};
    int64_t d[4];
    double scale;
    float *x = golden_load_nhwc(f, in->sample, d);
    if (!x || !golden_ok(f, gen_json_double(f->config, "cfg_scale", 4, &scale, &err), &err))
        return;
    const size_t half = (size_t)(d[0] / 2 * d[1] * d[2]), C = (size_t)d[3];
    const size_t D = (size_t)m->traits.out_channels;
    const int guided = m->traits.guided_channels;
    memcpy(x + half * C, x, half * C * sizeof *x);
    float *y = evaluate(m, in, x, d);
    if (!y)
        return;
    for (size_t i = 0; i < half; i++)
        for (int c = 0; c < (guided ? guided : gen_network_latent_channels(&m->traits)); c++) {
            float *cond = &y[i * D + (size_t)c], *null = &y[(half + i) * D + (size_t)c];
            *cond = *null = (float)((double)*null + scale * ((double)*cond - (double)*null));
        }
    d[3] = (int64_t)D;
    golden_compare_nhwc(f, "out.cfg", y, d, 1e-4);
}

void golden_dit(golden_fixture *f)
{
    static const input_names names = {"in.hidden_states", "in.timestep", "in.class_labels"};
    static const input_names original = {"in.x2", "in.t2", "in.y2"};
    static const input_names original_guided = {"in.x", "in.t", "in.y"};
    gen_error err = {0};
    gen_weights *file = golden_open_weights(f, "");
    model m = {.f = f, .cls = gen_network_find(f->class_name)};
    m.weights = file ? golden_part(f, file, GEN_PART_TRANSFORMER) : NULL;
    if (!m.cls)
        golden_skip(f, "no network of class \"%s\"", f->class_name);
    else if (m.weights &&
             golden_ok(f, gen_network_configure(&m.config, m.cls, f->config, &err), &err)) {
        m.cls->describe(m.config, &m.traits);
        compare(&m, golden_find(f, names.sample) ? &names : &original);
        if (!f->has_failed && golden_find(f, "out.cfg"))
            compare_guided(&m, &original_guided);
    }
    gen_free(m.config);
    gen_weights_free(m.weights);
    gen_weights_free(file);
}
