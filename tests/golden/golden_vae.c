/* golden_vae.c - autoencoders against their recorded latents and pixels. */
#include <dirent.h>
#include <math.h>

#include "gen/core/alloc.h"
#include "tests/golden/golden.h"
#include "vae/vae.h"

#define TOLERANCE 1e-4

/* Values [N,H,W,C]. */
typedef struct array {
    float *data;
    int64_t dims[4];
} array;

static size_t count(const array *a)
{
    return (size_t)(a->dims[0] * a->dims[1] * a->dims[2] * a->dims[3]);
}

static array new_array(golden_fixture *f, int64_t N, int64_t H, int64_t W, int64_t C)
{
    array a = {.dims = {N, H, W, C}};
    a.data = golden_alloc(f, count(&a), sizeof(float));
    return a;
}

static array load(golden_fixture *f, const char *name)
{
    array a = {0};
    a.data = golden_load_nhwc(f, name, a.dims);
    return a;
}

/* Compared when the fixture has it; data NULL: an earlier failure. */
static void compare(golden_fixture *f, const char *name, const array *a)
{
    if (a->data && golden_find(f, name))
        golden_compare_nhwc(f, name, a->data, a->dims, TOLERANCE);
}

typedef struct model {
    gen_vae_config cfg;
    gen_weights *weights;
    bool has_unit_pixels; /* pixels of the fixture in [0,1] instead of [-1,1] */
} model;

/* One graph with one input and one output; the result is NULL after a failure. */
static array run(golden_fixture *f, const model *m, bool is_encoder, array in)
{
    const gen_vae_config *cfg = &m->cfg;
    gen_error err = {0};
    gen_graph *g = NULL;
    gen_plan *plan = NULL;
    array out = {0};
    if (!in.data || !golden_ok(f, gen_graph_new(&g, &err), &err))
        return out;
    (is_encoder ? gen_vae_record_encoder : gen_vae_record_decoder)(
        g, gen_scope_root(m->weights), cfg, in.dims[0], in.dims[1], in.dims[2]);
    if (!golden_ok(f, gen_plan_new(&plan, g, f->backend, golden_plan_flags(f), &err), &err))
        return out;
    const gen_tensor *y = gen_graph_find(g, is_encoder ? "moments" : "pixels", 0);
    out = new_array(f, y->dims[0], y->dims[1], y->dims[2], y->dims[3]);
    if (!out.data ||
        !golden_ok(f, gen_plan_set(plan, is_encoder ? "pixels" : "z", in.data, &err), &err) ||
        !golden_run_plan(f, plan, "") || !golden_ok(f, gen_plan_get(plan, y, out.data, &err), &err))
        out.data = NULL;
    gen_plan_free(plan);
    return out;
}

static array encode(golden_fixture *f, const model *m, const array *pixels)
{
    array x = new_array(f, pixels->dims[0], pixels->dims[1], pixels->dims[2], pixels->dims[3]);
    for (size_t i = 0; x.data && pixels->data && i < count(&x); i++)
        x.data[i] = m->has_unit_pixels ? 2 * pixels->data[i] - 1 : pixels->data[i];
    return run(f, m, true, x);
}

static array decode(golden_fixture *f, const model *m, const array *z)
{
    array y = run(f, m, false, *z);
    for (size_t i = 0; y.data && m->has_unit_pixels && i < count(&y); i++)
        y.data[i] = 0.5f * y.data[i] + 0.5f;
    return y;
}

/* ---- KL ------------------------------------------------------------------------------------- */

static void check_moments(golden_fixture *f, const model *m, const array *moments)
{
    const int64_t *d = moments->dims, C = d[3] / 2;
    const size_t n = (size_t)(d[0] * d[1] * d[2]);
    array mean = new_array(f, d[0], d[1], d[2], C), logvar = new_array(f, d[0], d[1], d[2], C),
          std = new_array(f, d[0], d[1], d[2], C), sample = new_array(f, d[0], d[1], d[2], C);
    if (!mean.data || !logvar.data || !std.data || !sample.data)
        return;
    gen_vae_sample(&m->cfg, moments->data, NULL, n, mean.data);
    for (size_t i = 0; i < n * (size_t)C; i++) {
        const float v = moments->data[2 * (i - i % (size_t)C) + (size_t)C + i % (size_t)C];
        logvar.data[i] = fminf(fmaxf(v, -30), 20);
        std.data[i] = expf(0.5f * logvar.data[i]);
    }
    compare(f, "out.moments", moments);
    compare(f, "out.mean", &mean);
    compare(f, "out.mode", &mean);
    compare(f, "out.logvar", &logvar);
    compare(f, "out.std", &std);
    if (golden_find(f, "in.noise")) {
        const array noise = load(f, "in.noise");
        if (!noise.data || count(&noise) != count(&sample))
            return;
        gen_vae_sample(&m->cfg, moments->data, noise.data, n, sample.data);
        compare(f, "out.sample", &sample);
    }
    if (golden_find(f, "out.roundtrip_mode")) {
        const array pixels = decode(f, m, &mean);
        compare(f, "out.roundtrip_mode", &pixels);
    }
}

static bool open_model(golden_fixture *f, model *m)
{
    gen_error err = {0};
    m->weights = golden_open_weights(f, "");
    if (!m->weights || !golden_ok(f, gen_vae_config_read(&m->cfg, f->config, &err), &err))
        return false;
    return true;
}

void golden_vae_kl(golden_fixture *f)
{
    model m = {0};
    if (open_model(f, &m)) {
        array moments = {0};
        if (golden_find(f, "in.image")) {
            const array image = load(f, "in.image");
            moments = encode(f, &m, &image);
        }
        if (golden_find(f, "in.latent")) {
            const array latent = load(f, "in.latent"), pixels = decode(f, &m, &latent);
            compare(f, "out.decoded", &pixels);
        }
        if (moments.data)
            check_moments(f, &m, &moments);
    }
    gen_weights_free(m.weights);
}

/* ---- tiny ----------------------------------------------------------------------------------- */

/* Latents as they are stored in pictures of 8 bits, and back. */
static void check_storage(golden_fixture *f, const model *m, const array *latents)
{
    const double magnitude = m->cfg.latent_magnitude, shift = m->cfg.latent_shift;
    const int64_t *d = latents->dims;
    array scaled = new_array(f, d[0], d[1], d[2], d[3]);
    array unscaled = new_array(f, d[0], d[1], d[2], d[3]);
    if (!scaled.data || !unscaled.data)
        return;
    for (size_t i = 0; i < count(latents); i++) {
        const double s = fmin(fmax((double)latents->data[i] / (2 * magnitude) + shift, 0), 1);
        scaled.data[i] = (float)s;
        unscaled.data[i] = (float)((s - shift) * 2 * magnitude);
    }
    compare(f, "out.scaled", &scaled);
    compare(f, "out.unscaled", &unscaled);

    if (!golden_find(f, "out.latents_u8"))
        return;
    const array u8 = load(f, "out.latents_u8");
    array z = new_array(f, d[0], d[1], d[2], d[3]);
    if (!u8.data || !z.data ||
        !golden_check(f, count(&u8) == count(&scaled), "out.latents_u8 has another shape"))
        return;
    golden_mark(f, "out.latents_u8");
    for (size_t i = 0; i < count(&u8); i++) {
        /* Rounds to it, but for the tolerance of what is rounded. */
        const double off = fabs(255 * (double)scaled.data[i] - (double)u8.data[i]);
        golden_check(f, off <= 0.5 + 255 * TOLERANCE, "out.latents_u8 is %g, from %g",
                     (double)u8.data[i], 255 * (double)scaled.data[i]);
        z.data[i] = (float)(((double)u8.data[i] / 255 - shift) * 2 * magnitude);
    }
    if (golden_find(f, "out.decoded_from_u8")) {
        const float low = m->has_unit_pixels ? 0 : -1;
        array pixels = decode(f, m, &z);
        for (size_t i = 0; pixels.data && i < count(&pixels); i++)
            pixels.data[i] = fminf(fmaxf(pixels.data[i], low), 1);
        compare(f, "out.decoded_from_u8", &pixels);
    }
}

static void check_tiny(golden_fixture *f, const model *m)
{
    const array image = load(f, "in.image"), latents = encode(f, m, &image);
    if (!latents.data)
        return;
    compare(f, "out.latents", &latents);
    const array z = load(f, golden_find(f, "in.latent") ? "in.latent" : "out.latents");
    const array decoded = decode(f, m, &z);
    compare(f, "out.decoded", &decoded);
    if (golden_find(f, "out.roundtrip")) {
        const array pixels = decode(f, m, &latents);
        compare(f, "out.roundtrip", &pixels);
    }
    check_storage(f, m, &latents);
}

void golden_vae_tiny(golden_fixture *f)
{
    model m = {0};
    if (open_model(f, &m))
        check_tiny(f, &m);
    gen_weights_free(m.weights);
}

/* The file of NAME/ whose name ends so, opened. */
static gen_weights *open_ending(golden_fixture *f, const char *ending)
{
    DIR *d = opendir(f->path);
    gen_weights *weights = NULL;
    for (struct dirent *e; d && !weights && (e = readdir(d));) {
        const size_t n = strlen(e->d_name), k = strlen(ending);
        const char *path = golden_path(f, "%s/%s", f->path, e->d_name);
        if (path && n >= k && strcmp(e->d_name + n - k, ending) == 0)
            weights = golden_open_file(f, path);
    }
    if (d)
        closedir(d);
    return weights;
}

void golden_taesd(golden_fixture *f)
{
    gen_error err = {0};
    model m = {.has_unit_pixels = true};
    gen_weights *encoder = open_ending(f, "_encoder.safetensors");
    gen_weights *decoder = open_ending(f, "_decoder.safetensors");
    if (encoder && decoder && golden_ok(f, gen_weights_new(&m.weights, &err), &err) &&
        golden_ok(f, gen_vae_add_taesd(m.weights, encoder, true, &err), &err) &&
        golden_ok(f, gen_vae_add_taesd(m.weights, decoder, false, &err), &err) &&
        golden_ok(f, gen_vae_config_from_taesd(&m.cfg, m.weights, &err), &err))
        check_tiny(f, &m);
    gen_weights_free(m.weights);
    gen_weights_free(encoder);
    gen_weights_free(decoder);
}
