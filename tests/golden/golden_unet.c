/* golden_unet.c - a UNet, found through the registry, against its recorded output. */
#include "gen/core/alloc.h"
#include "gen/pipeline/registry.h"
#include "tests/golden/golden.h"

static int64_t dim(const golden_fixture *f, const char *name, int i)
{
    const gen_weight *w = golden_find(f, name);
    return w && i < w->rank ? w->dims[i] : 0;
}

/* A value per sample; the files give one for all. */
static double *per_sample(golden_fixture *f, const char *name, int64_t N)
{
    const double *v = golden_load_f64(f, name);
    double *out = golden_alloc(f, (size_t)N, sizeof *out);
    if (!v || !out)
        return NULL;
    const size_t n = golden_count(golden_find(f, name));
    for (int64_t i = 0; i < N; i++)
        out[i] = v[n == (size_t)N ? i : 0];
    return out;
}

/* Uploads in.NAME under NAME where the plan has such an input. */
static bool set_input(golden_fixture *f, gen_plan *plan, const char *name, int64_t N)
{
    gen_error err = {0};
    const char *file_name = golden_path(f, "in.%s", name);
    if (!gen_plan_has_input(plan, name) || !file_name)
        return true;
    if (strcmp(name, "timestep") == 0) {
        const double *t = per_sample(f, file_name, N);
        return t && golden_ok(f, gen_plan_set_double(plan, name, t, &err), &err);
    }
    const gen_weight *w = golden_find(f, file_name);
    if (strcmp(name, "class_labels") == 0 && w && w->dtype == GEN_I64) {
        const int64_t *labels = golden_load_i64(f, file_name);
        int32_t *ids = golden_alloc(f, (size_t)N, sizeof *ids);
        for (int64_t i = 0; labels && ids && i < N; i++)
            ids[i] = (int32_t)labels[i];
        return ids && golden_ok(f, gen_plan_set(plan, name, ids, &err), &err);
    }
    const float *v =
        w && w->rank == 4 ? golden_load_nhwc(f, file_name, NULL) : golden_load(f, file_name);
    return v && golden_ok(f, gen_plan_set(plan, name, v, &err), &err);
}

static void run(golden_fixture *f, gen_weights *weights, const gen_network_class *cls,
                const void *config)
{
    static const char *const names[] = {"sample",      "timestep", "encoder_hidden_states",
                                        "text_embeds", "time_ids", "timestep_cond",
                                        "class_labels"};
    gen_error err = {0};
    gen_graph *g = NULL;
    gen_plan *plan = NULL;
    gen_network_traits traits;
    int64_t nhwc[4];
    if (!golden_load_nhwc(f, "in.sample", nhwc))
        return;
    const gen_network_shape shape = {.batch = nhwc[0],
                                     .height = nhwc[1],
                                     .width = nhwc[2],
                                     .num_tokens = dim(f, "in.encoder_hidden_states", 1),
                                     .num_time_ids = dim(f, "in.time_ids", 1)};
    if (!golden_ok(f, gen_graph_new(&g, &err), &err))
        return;
    cls->record(g, gen_scope_root(weights), config, &shape);
    if (!golden_ok(f, gen_plan_new(&plan, g, f->backend, golden_plan_flags(f), &err), &err))
        return;
    bool ok = true;
    for (size_t i = 0; ok && i < sizeof names / sizeof names[0]; i++)
        ok = set_input(f, plan, names[i], shape.batch);
    cls->describe(config, &traits);
    nhwc[3] = traits.out_channels;
    float *out = golden_alloc(f, (size_t)(nhwc[0] * nhwc[1] * nhwc[2] * nhwc[3]), sizeof *out);
    if (ok && out && golden_run_plan(f, plan, "") &&
        golden_ok(f, gen_plan_get_output(plan, "sample_out", out, &err), &err))
        golden_compare_nhwc(f, "out.sample", out, nhwc, 1e-4);
    gen_plan_free(plan);
}

void golden_unet(golden_fixture *f)
{
    gen_error err = {0};
    void *config = NULL;
    const gen_network_class *cls = gen_network_find(f->class_name);
    gen_weights *weights = golden_open_weights(f, "");
    if (!cls)
        golden_skip(f, "no network of class \"%s\"", f->class_name);
    else if (weights && golden_ok(f, gen_network_configure(&config, cls, f->config, &err), &err))
        run(f, weights, cls, config);
    gen_free(config);
    gen_weights_free(weights);
}
