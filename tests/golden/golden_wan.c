/* golden_wan.c - Wan transformers, under the names of either format, against their recorded
 * outputs.
 */
#include "gen/core/alloc.h"
#include "gen/pipeline/registry.h"
#include "tests/golden/golden.h"

static int64_t dim(const golden_fixture *f, const char *name, int i)
{
    const gen_weight *w = golden_find(f, name);
    return w && i < w->rank ? w->dims[i] : 0;
}

static bool set_inputs(golden_fixture *f, gen_plan *plan, const float *sample)
{
    static const char *const states[] = {"encoder_hidden_states", "encoder_hidden_states_image"};
    gen_error err = {0};
    const double *t = golden_load_f64(f, "in.timestep");
    bool ok = t && golden_ok(f, gen_plan_set(plan, "sample", sample, &err), &err) &&
              golden_ok(f, gen_plan_set_double(plan, "timestep", t, &err), &err);
    for (int i = 0; ok && i < 2; i++) {
        if (!gen_plan_has_input(plan, states[i]))
            continue;
        const float *values = golden_load(f, golden_path(f, "in.%s", states[i]));
        ok = values && golden_ok(f, gen_plan_set(plan, states[i], values, &err), &err);
    }
    return ok;
}

static void run(golden_fixture *f, gen_weights *weights, const gen_network_class *cls,
                const void *config)
{
    gen_error err = {0};
    gen_graph *g = NULL;
    gen_plan *plan = NULL;
    gen_network_traits traits;
    int64_t d[5];
    const float *sample = golden_load_video(f, "in.hidden_states", d);
    if (!sample || !golden_ok(f, gen_graph_new(&g, &err), &err))
        return;
    cls->describe(config, &traits);
    const gen_network_shape shape = {
        .batch = d[0],
        .num_frames = d[1],
        .height = d[2],
        .width = d[3],
        .num_tokens = dim(f, "in.encoder_hidden_states", 1),
        .num_image_tokens = dim(f, "in.encoder_hidden_states_image", 1),
        .num_times = dim(f, "in.timestep", 1),
    };
    cls->record(g, gen_scope_root(weights), config, &shape);
    if (!golden_ok(f, gen_plan_new(&plan, g, f->backend, golden_plan_flags(f), &err), &err))
        return;
    d[4] = traits.out_channels;
    float *out = golden_alloc(f, (size_t)(d[0] * d[1] * d[2] * d[3] * d[4]), sizeof *out);
    if (out && set_inputs(f, plan, sample) && golden_run_plan(f, plan, "") &&
        golden_ok(f, gen_plan_get_output(plan, "sample_out", out, &err), &err))
        golden_compare_video(f, "out.sample", out, d, 1e-4);
    gen_plan_free(plan);
}

void golden_wan(golden_fixture *f)
{
    gen_error err = {0};
    void *config = NULL;
    const gen_network_class *cls = gen_network_find(f->class_name);
    gen_weights *file = golden_open_weights(f, "");
    gen_weights *weights = file ? golden_part(f, file, GEN_PART_TRANSFORMER) : NULL;
    if (!cls)
        golden_skip(f, "no network of class \"%s\"", f->class_name);
    else if (weights && golden_ok(f, cls->configure(&config, f->config, &err), &err))
        run(f, weights, cls, config);
    gen_free(config);
    gen_weights_free(weights);
    gen_weights_free(file);
}
