/* golden_wan.c - Wan transformers, under the names of either format, against their recorded
 * outputs.
 */
#include <string.h>

#include "gen/core/alloc.h"
#include "gen/pipeline/registry.h"
#include "tests/golden/golden.h"
#include "vae/vae.h"

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
    else if (weights && golden_ok(f, gen_network_configure(&config, cls, f->config, &err), &err))
        run(f, weights, cls, config);
    gen_free(config);
    gen_weights_free(weights);
    gen_weights_free(file);
}

/* ---- the autoencoder ------------------------------------------------------------------------ */

/* Frames in memory, to be read or filled. */
typedef struct frames {
    float *data;
    size_t frame;
} frames;

static gen_status read_frame(void *self, int64_t index, float *pixels, gen_error *err)
{
    const frames *f = self;
    (void)err;
    memcpy(pixels, f->data + (size_t)index * f->frame, f->frame * sizeof *pixels);
    return GEN_OK;
}

static gen_status take_frame(void *self, int64_t index, float *pixels, gen_error *err)
{
    const frames *f = self;
    (void)err;
    memcpy(f->data + (size_t)index * f->frame, pixels, f->frame * sizeof *pixels);
    return GEN_OK;
}

typedef struct autoencoder {
    golden_fixture *f;
    gen_vae_config cfg;
    gen_clip_vae *vae;
    int64_t factor, group;
} autoencoder;

/* The moments of in.NAME; d becomes [1,f,h,w,2C]. */
static float *encode(const autoencoder *a, const char *name, int64_t d[5])
{
    gen_error err = {0};
    float *pixels = golden_load_video(a->f, name, d);
    frames in = {pixels, pixels ? (size_t)(d[2] * d[3] * d[4]) : 0};
    const gen_clip_io io = {&in, read_frame};
    const int64_t F = d[1], H = d[2], W = d[3];
    d[1] = 1 + (F - 1) / a->group;
    d[2] /= a->factor;
    d[3] /= a->factor;
    d[4] = 2 * a->cfg.latent_channels;
    float *moments =
        pixels ? golden_alloc(a->f, (size_t)(d[1] * d[2] * d[3] * d[4]), sizeof(float)) : NULL;
    return moments && golden_ok(a->f, gen_clip_vae_encode(a->vae, F, H, W, 0, &io, moments, &err),
                                &err)
               ? moments
               : NULL;
}

static void compare_mode(const autoencoder *a, const char *name, const char *noise_name,
                         const float *moments, const int64_t d[5])
{
    const int64_t size[5] = {d[0], d[1], d[2], d[3], d[4] / 2};
    const size_t n = (size_t)(d[0] * d[1] * d[2] * d[3]);
    float *z = golden_alloc(a->f, n * (size_t)size[4], sizeof *z);
    int64_t noise_size[5];
    const float *noise = noise_name ? golden_load_video(a->f, noise_name, noise_size) : NULL;
    if (!z || (noise_name && !noise) || !golden_find(a->f, name))
        return;
    gen_vae_sample(&a->cfg, moments, noise, n, z);
    golden_compare_video(a->f, name, z, size, 1e-4);
}

/* Frames of z [1,f,h,w,C] against tensor `name`. */
static void compare_decoded(const autoencoder *a, const char *name, const float *z,
                            const int64_t d[5])
{
    gen_error err = {0};
    const int64_t size[5] = {1, 1 + (d[1] - 1) * a->group, d[2] * a->factor, d[3] * a->factor, 3};
    frames out = {NULL, (size_t)(size[2] * size[3] * 3)};
    out.data = golden_alloc(a->f, (size_t)size[1] * out.frame, sizeof *out.data);
    const gen_clip_io io = {&out, take_frame};
    if (z && out.data &&
        golden_ok(a->f, gen_clip_vae_decode(a->vae, z, d[1], d[2], d[3], 0, &io, &err), &err))
        golden_compare_video(a->f, name, out.data, size, 1e-4);
}

static void run_autoencoder(const autoencoder *a)
{
    int64_t d[5];
    const float *moments = encode(a, "in.video", d);
    if (!moments)
        return;
    golden_compare_video(a->f, "out.moments", moments, d, 1e-4);
    compare_mode(a, "out.mode", NULL, moments, d);
    compare_mode(a, "out.sample", "in.noise", moments, d);
    const float *z = golden_load_video(a->f, "in.latent", d);
    compare_decoded(a, "out.decoded", z, d);
    if (!golden_find(a->f, "in.image") || !(moments = encode(a, "in.image", d)))
        return;
    compare_mode(a, "out.image_mode", NULL, moments, d);
    if (z && (z = golden_load_video(a->f, "in.latent", d))) {
        d[1] = 1; /* the first frame of the latents alone */
        compare_decoded(a, "out.image_decoded", z, d);
    }
}

void golden_vae_wan(golden_fixture *f)
{
    gen_error err = {0};
    autoencoder a = {.f = f};
    gen_weights *file = golden_open_weights(f, "");
    gen_weights *weights = file ? golden_part(f, file, GEN_PART_VAE) : NULL;
    if (weights && golden_ok(f, gen_vae_config_read(&a.cfg, f->config, &err), &err) &&
        golden_ok(f, gen_clip_vae_new(&a.vae, &a.cfg, weights, f->backend, &err), &err)) {
        a.factor = gen_vae_factor(&a.cfg);
        a.group = gen_vae_time_factor(&a.cfg);
        run_autoencoder(&a);
    }
    gen_clip_vae_free(a.vae);
    gen_weights_free(weights);
    gen_weights_free(file);
}
