/* golden_pipe.c - whole pipelines: prompt to picture, and picture to picture, every stage compared.
 *
 * NAME.json gives the settings of the runs "t2i" and "i2i"; NAME.io.safetensors has, under the
 * name of the run, the prompt's ids and states, the noise, the time steps, the latents after each
 * step and the picture.  The model is opened and run as users do, with the noise of torch-cpu. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "gen/core/alloc.h"
#include "gen/pipeline/generate.h"
#include "tests/golden/golden.h"

#define LATENT_TOLERANCE 1e-3
#define PIXEL_TOLERANCE  (1.0 / 255)

typedef struct run {
    golden_fixture *f;
    const char *name;                /* "t2i" or "i2i" */
    int64_t height, width, channels; /* of the latents */
    int64_t pixel_height, pixel_width;
    int num_steps;
    float *latents; /* [steps, C, h, w] */
    double times[1000];
} run;

static char *key(const run *r, const char *what)
{
    return golden_path(r->f, "%s/%s", r->name, what);
}

static void compare_image_order(run *r, const char *what, const float *nhwc, int64_t height,
                                int64_t width, int64_t channels, double tolerance)
{
    const int64_t dims[4] = {1, height, width, channels};
    const size_t n = (size_t)(height * width * channels);
    float *nchw = golden_alloc(r->f, n, sizeof *nchw);
    char *name = key(r, what);
    if (!nchw || !name || !golden_find(r->f, name))
        return;
    golden_nchw_from_nhwc(nchw, nhwc, dims);
    golden_compare(r->f, name, nchw, n, tolerance);
}

static void compare_pixels(run *r, const float *pixels, size_t n)
{
    float *unit = golden_alloc(r->f, n, sizeof *unit);
    const gen_weight *bytes = golden_find(r->f, key(r, "image_u8_hwc"));
    if (!unit)
        return;
    for (size_t i = 0; i < n; i++)
        unit[i] = fminf(fmaxf(pixels[i] / 2 + 0.5f, 0), 1);
    compare_image_order(r, "image", unit, r->pixel_height, r->pixel_width, 3, PIXEL_TOLERANCE);
    if (!bytes)
        return;
    int worst = 0;
    for (size_t i = 0; i < n && golden_count(bytes) == n; i++) {
        const int d = abs((int)lrintf(unit[i] * 255) - ((const uint8_t *)bytes->data)[i]);
        worst = d > worst ? d : worst;
    }
    golden_check(r->f, golden_count(bytes) == n && worst <= 1, "%s: bytes differ by %d", r->name,
                 worst);
}

static void on_value(void *self, const char *name, int step, const float *data, size_t n)
{
    run *r = self;
    const size_t each = (size_t)(r->height * r->width * r->channels);
    if (strcmp(name, "prompt_embeds") == 0 || strcmp(name, "negative_embeds") == 0) {
        if (golden_find(r->f, key(r, name)))
            golden_compare(r->f, key(r, name), data, n, LATENT_TOLERANCE);
    } else if (strcmp(name, "latents") == 0) {
        const int64_t dims[4] = {1, r->height, r->width, r->channels};
        if (r->latents && step < r->num_steps)
            golden_nchw_from_nhwc(r->latents + (size_t)step * each, data, dims);
    } else if (strcmp(name, "pixels") == 0) {
        compare_pixels(r, data, n);
    } else {
        compare_image_order(r, name, data, r->height, r->width, r->channels, LATENT_TOLERANCE);
    }
}

static void on_timestep(void *self, int step, double time)
{
    run *r = self;
    if (step < (int)(sizeof r->times / sizeof *r->times))
        r->times[step] = time;
}

static void compare_times(run *r)
{
    int64_t *times = golden_alloc(r->f, (size_t)r->num_steps, sizeof *times);
    for (int i = 0; times && i < r->num_steps; i++)
        times[i] = (int64_t)llrint(r->times[i]);
    if (times)
        golden_compare_i64(r->f, key(r, "timesteps"), times, (size_t)r->num_steps);
}

/* Row 0 the prompt, row 1 the negative prompt. */
static void compare_ids(run *r, const gen_model *model, const gen_generate_params *p)
{
    const char *const texts[2] = {p->prompt, p->negative_prompt};
    const gen_weight *expected = golden_find(r->f, key(r, "prompt_ids"));
    const gen_text_stack *stack = model->text;
    gen_error err = {0};
    if (!expected)
        return;
    const size_t n = golden_count(expected);
    int64_t *ids = golden_alloc(r->f, n, sizeof *ids);
    for (int i = 0; ids && i < 2; i++) {
        gen_prompt *prompt = NULL;
        gen_token_chunks *chunks = NULL;
        if (golden_ok(r->f, gen_prompt_parse(&prompt, texts[i], &err), &err) &&
            golden_ok(r->f,
                      gen_prompt_tokenize(&chunks, prompt, stack->stages[0].tokenizer,
                                          &stack->stages[0].tokens, &err),
                      &err))
            for (size_t k = 0; k < n / 2 && k < (size_t)chunks->length; k++)
                ids[(size_t)i * (n / 2) + k] = chunks->ids[k];
        gen_token_chunks_free(chunks);
        gen_prompt_free(prompt);
    }
    if (ids)
        golden_compare_i64(r->f, key(r, "prompt_ids"), ids, n);
}

/* Settings of a run; false when the fixture has no such run. */
static bool read_settings(golden_fixture *f, const char *name, gen_generate_params *p)
{
    const json_t *s = gen_json_get(f->settings, name);
    if (!json_is_object(s))
        return false;
    *p = GEN_GENERATE_PARAMS(
            .prompt = json_string_value(json_object_get(s, "prompt")),
            .negative_prompt = json_string_value(json_object_get(s, "negative_prompt")),
            .width = (int)json_integer_value(json_object_get(s, "width")),
            .height = (int)json_integer_value(json_object_get(s, "height")),
            .num_inference_steps = (int)json_integer_value(json_object_get(s, "steps")),
            .guidance_scale = json_number_value(json_object_get(s, "guidance_scale")),
            .strength = json_number_value(json_object_get(s, "strength")), .rng = "torch-cpu",
            .seed = (uint64_t)json_integer_value(json_object_get(s, "seed")));
    return true;
}

/* The start picture of the run, 0..1 [1,3,H,W] in the file, as [H,W,3] in [-1,1]; NULL: none. */
static float *start_picture(run *r)
{
    char *name = key(r, "image_in");
    int64_t dims[4];
    if (!golden_find(r->f, name))
        return NULL;
    float *pixels = golden_load_nhwc(r->f, name, dims);
    for (size_t i = 0; pixels && i < (size_t)(dims[1] * dims[2] * dims[3]); i++)
        pixels[i] = 2 * pixels[i] - 1;
    return pixels;
}

static void run_one(golden_fixture *f, gen_model *model, const char *name,
                    const gen_generate_params *p)
{
    gen_error err = {0};
    gen_image *image = NULL;
    const int64_t factor = gen_vae_factor(gen_vae_get_config(model->vae));
    run r = {.f = f,
             .name = name,
             .height = p->height / factor,
             .width = p->width / factor,
             .channels = model->network.traits.in_channels,
             .pixel_height = p->height,
             .pixel_width = p->width};
    const gen_weight *latents = golden_find(f, key(&r, "latents"));
    const gen_trace trace = {
        .init_pixels = start_picture(&r), .self = &r, .value = on_value, .timestep = on_timestep};
    if (!latents) {
        golden_fail(f, "%s: no latents to compare with", name);
        return;
    }
    r.num_steps = (int)latents->dims[0];
    r.latents = golden_alloc(f, golden_count(latents), sizeof *r.latents);
    compare_ids(&r, model, p);
    if (golden_ok(f, gen_generate_traced(&image, model, p, &trace, NULL, &err), &err) &&
        r.latents) {
        golden_compare(f, key(&r, "latents"), r.latents, golden_count(latents), LATENT_TOLERANCE);
        compare_times(&r);
    }
    gen_image_free(image);
}

void golden_pipeline(golden_fixture *f)
{
    static const char *const runs[] = {"t2i", "i2i"};
    gen_error err = {0};
    gen_context *context = NULL;
    gen_model *model = NULL;
    gen_generate_params p;
    int num_runs = 0;
    if (!f->settings || !f->io) {
        golden_skip(f, "no settings or no reference values");
        return;
    }
    if (golden_ok(f, gen_context_new(&context, &GEN_CONTEXT_PARAMS(.device = f->device), &err),
                  &err) &&
        golden_ok(f, gen_model_open(&model, context, &GEN_MODEL_PARAMS(.path = f->path), &err),
                  &err)) {
        for (int i = 0; i < 2; i++) {
            if (!read_settings(f, runs[i], &p))
                continue;
            num_runs++;
            run_one(f, model, runs[i], &p);
        }
        if (!num_runs)
            golden_fail(f, "the settings name no run");
    }
    gen_model_free(model);
    gen_context_free(context);
}
