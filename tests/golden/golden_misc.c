/* golden_misc.c - building blocks against their references: embeddings of times and guidance
 * scales, positions, guidance, packing, pictures.  The tensor's name says which: "BLOCK/CASE". */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/core/alloc.h"
#include "gen/core/nn.h"
#include "gen/core/patches.h"
#include "gen/pipeline/generate.h"
#include "tests/golden/golden.h"

/* ---- embeddings ----------------------------------------------------------------------------- */

/* Arguments reach 1000 and the reference has them in f32: 1e-5 and what that makes of them. */
static void compare_waves(golden_fixture *f, const char *name, const float *values,
                          const double *arguments, size_t rows)
{
    const float *expected = golden_load(f, name);
    const size_t n = expected ? golden_count(golden_find(f, name)) : 0;
    bool ok = expected != NULL;
    for (size_t i = 0; ok && i < n; i++)
        ok = fabs((double)values[i] - (double)expected[i]) <=
             1e-5 + 5e-7 * fabs(arguments[i / (n / rows)]);
    golden_check(f, ok, "%s differs", name);
}

static double number(const json_t *object, const char *key, double otherwise)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : otherwise;
}

static void timestep_embedding(golden_fixture *f, const char *name)
{
    gen_error err = {0};
    gen_graph *g = NULL;
    gen_plan *plan = NULL;
    const json_t *s = f->settings ? gen_json_get(f->settings, name) : NULL;
    double *t = golden_load_f64(f, "timestep_embedding/t");
    if (!s || !t || !golden_ok(f, gen_graph_new(&g, &err), &err)) {
        golden_fail(f, "%s has no settings or no times", name);
        return;
    }
    const int64_t N = (int64_t)golden_count(golden_find(f, "timestep_embedding/t"));
    const int64_t dim = (int64_t)number(s, "embedding_dim", 0);
    const gen_sinusoid_options options = {
        .flip_sin_to_cos = json_is_true(json_object_get(s, "flip_sin_to_cos")),
        .freq_shift = number(s, "downscale_freq_shift", 1),
        .max_period = number(s, "max_period", 10000),
        .scale = number(s, "scale", 1),
    };
    gen_tensor *waves = gen_sinusoid(g, gen_input(g, "t", GEN_F32, GEN_DIMS(N)), dim, options);
    gen_output(g, gen_affine(g, waves, 1, 0), "y");
    float *y = golden_alloc(f, (size_t)(N * dim), sizeof *y);
    if (!golden_ok(f, gen_plan_new(&plan, g, f->backend, 0, &err), &err))
        return;
    if (y && golden_ok(f, gen_plan_set_double(plan, "t", t, &err), &err) &&
        golden_run_plan(f, plan, "") &&
        golden_ok(f, gen_plan_get_output(plan, "y", y, &err), &err)) {
        for (int64_t i = 0; i < N; i++)
            t[i] *= options.scale;
        compare_waves(f, name, y, t, (size_t)N);
    }
    gen_plan_free(plan);
}

static void guidance_embedding(golden_fixture *f, const char *name)
{
    int dim;
    double w;
    if (sscanf(name, "lcm_guidance_embedding/dim%d_w%lf", &dim, &w) != 2) {
        golden_fail(f, "%s: no width and scale in the name", name);
        return;
    }
    float *y = golden_alloc(f, (size_t)dim, sizeof *y);
    const double argument = 1000 * w;
    if (!y)
        return;
    gen_embed_guidance(y, w + 1, dim);
    compare_waves(f, name, y, &argument, 1);
}

static void positions(golden_fixture *f, const char *name)
{
    const json_t *s = f->settings ? gen_json_get(f->settings, name) : NULL;
    const json_t *size = json_object_get(s, "grid_size");
    const int64_t dim = (int64_t)number(s, "embed_dim", 0);
    const int64_t base = (int64_t)number(s, "base_size", 0);
    const gen_position_grid grid = {
        .height = (int64_t)json_integer_value(json_array_get(size, 0)),
        .width = (int64_t)json_integer_value(json_array_get(size, 1)),
        .base_height = base,
        .base_width = base,
        .scale = number(s, "interpolation_scale", 1),
    };
    const size_t n = (size_t)(grid.height * grid.width * dim);
    float *y = golden_alloc(f, n, sizeof *y);
    if (!y)
        return;
    gen_sincos_positions(y, dim, &grid);
    golden_compare(f, name, y, n, 1e-5);
}

/* ---- guidance and packing ------------------------------------------------------------------- */

static void rescale(golden_fixture *f, const char *name)
{
    float *y = golden_load(f, "rescale_noise_cfg/noise_cfg");
    const float *text = golden_load(f, "rescale_noise_cfg/noise_text");
    const double share = atof(strrchr(name, '_') + 1);
    if (!y || !text)
        return;
    const size_t n = golden_count(golden_find(f, name));
    const size_t samples = (size_t)golden_find(f, name)->dims[0];
    for (size_t i = 0; i < samples; i++)
        gen_guidance_rescale(y + i * (n / samples), text + i * (n / samples), n / samples, share);
    golden_compare(f, name, y, n, 1e-5);
}

static void norm_preserving(golden_fixture *f, const char *name)
{
    const float *c = golden_load(f, "qwen_cfg/cond"), *u = golden_load(f, "qwen_cfg/uncond");
    const json_t *s = f->settings ? gen_json_get(f->settings, "qwen_cfg_args") : NULL;
    const gen_weight *w = golden_find(f, name);
    const size_t n = golden_count(w);
    const double scale = number(s, "true_cfg_scale", 4);
    float *y = golden_alloc(f, n, sizeof *y);
    if (!c || !u || !y)
        return;
    for (size_t i = 0; i < n; i++)
        y[i] = (float)((double)u[i] + scale * ((double)c[i] - (double)u[i]));
    gen_guidance_match_norm(y, c, n, (int)w->dims[w->rank - 1]);
    golden_compare(f, name, y, n, 1e-5);
}

/* Patches of 2 x 2, the channel slowest. */
static void pack(golden_fixture *f, const char *name)
{
    gen_error err = {0};
    gen_graph *g = NULL;
    gen_plan *plan = NULL;
    int64_t d[4];
    const float *x = golden_load_nhwc(f, "pack_latents/in", d);
    if (!x || !golden_ok(f, gen_graph_new(&g, &err), &err))
        return;
    gen_tensor *t = gen_input(g, "x", GEN_F32, 4, d);
    t = gen_reshape(g, t, GEN_DIMS(d[0], d[1] / 2, 2, d[2] / 2, 2, d[3]));
    gen_output(g, gen_permute(g, t, 6, (const int[]){0, 1, 3, 5, 2, 4}), "y");
    const size_t n = (size_t)(d[0] * d[1] * d[2] * d[3]);
    float *y = golden_alloc(f, n, sizeof *y);
    if (!golden_ok(f, gen_plan_new(&plan, g, f->backend, 0, &err), &err))
        return;
    if (y && golden_ok(f, gen_plan_set(plan, "x", x, &err), &err) && golden_run_plan(f, plan, "") &&
        golden_ok(f, gen_plan_get_output(plan, "y", y, &err), &err))
        golden_compare(f, name, y, n, 1e-6);
    gen_plan_free(plan);
}

/* mu of dynamic shifting, in the settings: number of tokens -> mu. */
static void shifts(golden_fixture *f, const char *key, int last_tokens, double last_mu)
{
    const gen_scheduler_config config = {.base_image_seq_len = 256,
                                         .base_shift = 0.5,
                                         .max_image_seq_len = last_tokens,
                                         .max_shift = last_mu};
    json_t *table = f->settings ? json_object_get(f->settings->root, key) : NULL, *value;
    const char *tokens;
    json_object_foreach(table, tokens, value)
    {
        const double mu = gen_scheduler_config_mu(&config, strtoll(tokens, NULL, 10));
        golden_check(f, fabs(mu - json_number_value(value)) <= 1e-9, "%s: %s tokens give %.9g", key,
                     tokens, mu);
    }
}

/* ---- pictures ------------------------------------------------------------------------------- */

static void compare_bytes(golden_fixture *f, const char *name, const unsigned char *bytes)
{
    const gen_weight *w = golden_find(f, name);
    const unsigned char *expected = w->data;
    bool ok = w->dtype == GEN_U8;
    for (size_t i = 0; ok && i < golden_count(w); i++)
        ok = abs((int)bytes[i] - (int)expected[i]) <= 1;
    golden_check(f, ok, "%s differs by more than 1", name);
}

/* The picture of the fixture at another size; the caller frees it. */
static gen_image *resized(golden_fixture *f, int height, int width, gen_filter filter)
{
    const gen_weight *w = golden_find(f, "image_processor/in_u8_hwc");
    gen_error err = {0};
    gen_image *out = NULL;
    if (!w) {
        golden_fail(f, "image_processor/in_u8_hwc is missing");
        return NULL;
    }
    const gen_image in = {.width = (int)w->dims[1],
                          .height = (int)w->dims[0],
                          .channels = 3,
                          .stride = 3 * (size_t)w->dims[1],
                          .data = (unsigned char *)(uintptr_t)w->data};
    golden_ok(f, gen_image_resize(&out, &in, width, height, filter, &err), &err);
    return out;
}

static void pil_resize(golden_fixture *f, const char *name)
{
    static const char *const filters[] = {"lanczos", "bicubic", "bilinear", "nearest"};
    char filter[16];
    int height, width, kind = 0;
    if (sscanf(name, "pil_resize/%15[a-z]_%dx%d", filter, &height, &width) != 3) {
        golden_fail(f, "%s: no filter and size in the name", name);
        return;
    }
    while (kind < 3 && strcmp(filters[kind], filter) != 0)
        kind++;
    gen_image *image = resized(f, height, width, (gen_filter)kind);
    if (image)
        compare_bytes(f, name, image->data);
    gen_image_free(image);
}

/* Resized by Lanczos, then [-1,1], channels first. */
static void preprocess(golden_fixture *f, const char *name)
{
    int height, width;
    if (sscanf(name, "image_processor/preprocess_%dx%d", &height, &width) != 2) {
        golden_fail(f, "%s: no size in the name", name);
        return;
    }
    gen_image *image = resized(f, height, width, GEN_FILTER_LANCZOS);
    const size_t n = 3 * (size_t)height * (size_t)width;
    float *y = golden_alloc(f, n, sizeof *y);
    for (size_t i = 0; image && y && i < n; i++)
        y[i] =
            (float)image->data[i / ((size_t)width * 3) * image->stride + i % ((size_t)width * 3)] /
                127.5f -
            1.0f;
    if (image && y) /* one step of a byte, where Pillow rounds the other way */
        golden_compare_nhwc(f, name, y, (const int64_t[]){1, height, width, 3}, 1.01 / 127.5);
    gen_image_free(image);
}

static void postprocess(golden_fixture *f, const char *name)
{
    int64_t d[4];
    const float *x = golden_load_nhwc(f, "image_processor/postprocess_in", d);
    const size_t n = x ? (size_t)(d[1] * d[2] * d[3]) : 0;
    unsigned char *bytes = golden_alloc(f, n, 1);
    if (x && bytes && golden_check(f, gen_pixels_to_bytes(bytes, x, n), "%s: not finite", name))
        compare_bytes(f, name, bytes);
}

/* ---- all of them ---------------------------------------------------------------------------- */

static const struct {
    const char *prefix;
    void (*run)(golden_fixture *f, const char *name); /* NULL: an input */
} blocks[] = {
    {"timestep_embedding/t", NULL},
    {"timestep_embedding/", timestep_embedding},
    {"lcm_guidance_embedding/", guidance_embedding},
    {"sincos_2d/", positions},
    {"rescale_noise_cfg/out_", rescale},
    {"rescale_noise_cfg/", NULL},
    {"qwen_cfg/out", norm_preserving},
    {"qwen_cfg/", NULL},
    {"pack_latents/out", pack},
    {"pack_latents/", NULL},
    {"image_processor/preprocess_", preprocess},
    {"image_processor/postprocess_in", NULL},
    {"image_processor/postprocess_", postprocess},
    {"image_processor/in_", NULL},
    {"pil_resize/", pil_resize},
};

void golden_misc(golden_fixture *f)
{
    for (size_t i = 0; i < gen_weights_count(f->io) && !f->has_failed; i++) {
        const char *name = gen_weights_at(f->io, i)->name;
        size_t k = 0;
        while (k < sizeof blocks / sizeof blocks[0] &&
               strncmp(name, blocks[k].prefix, strlen(blocks[k].prefix)) != 0)
            k++;
        if (k == sizeof blocks / sizeof blocks[0])
            golden_fail(f, "%s: no such building block", name);
        else if (blocks[k].run)
            blocks[k].run(f, name);
    }
    shifts(f, "calculate_shift", 8192, 0.9);
    shifts(f, "calculate_shift_flux", 4096, 1.15);
}
