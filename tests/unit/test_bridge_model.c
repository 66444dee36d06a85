/* A bridge of pictures, opened as users do: each step against the published update in doubles, and
 * what its network sees beside the latents. */
#include "gen/core/alloc.h"
#include "gen/pipeline/generate.h"
#include "tests/temp_dir.h"
#include "tests/test.h"

#define FIXTURES GEN_TEST_SOURCE_DIR "/golden/fixtures/"
#define SCHEDULER                                                                                  \
    "{\"_class_name\": \"ViBTScheduler\", \"num_train_timesteps\": 1000, \"noise_scale\": 0.5, "   \
    "\"shift_gamma\": 5.0}"

enum { SIDE = 32, LATENT = 8, CHANNELS = 4, N = LATENT * LATENT * CHANNELS, STEPS = 4 };

static temp_dir dir;
static gen_error err;
static gen_context *context;

static int setup(void **state)
{
    (void)state;
    const gen_context_params params = GEN_CONTEXT_PARAMS(.num_threads = 1, .device = "cpu");
    return temp_dir_make(&dir) || gen_context_new(&context, &params, &err) ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    gen_context_free(context);
    temp_dir_remove(&dir);
    return 0;
}

/* A bridge of the network of a fixture, with the rest of the pipeline fixture beside it. */
static gen_model *open_bridge(const char *fixture)
{
    char from[512], name[96];
    gen_model *model;
    snprintf(from, sizeof from, FIXTURES "pipe_sd1");
    if (access(temp_path(&dir, "base"), F_OK))
        assert_int_equal(symlink(from, temp_path(&dir, "base")), 0);
    snprintf(from, sizeof from, FIXTURES "%s", fixture);
    snprintf(name, sizeof name, "%.32s/unet", fixture);
    unlink(temp_path(&dir, name));
    assert_int_equal(symlink(from, temp_path(&dir, name)), 0);
    snprintf(name, sizeof name, "%.32s/scheduler/scheduler_config.json", fixture);
    assert_int_equal(temp_write(&dir, name, SCHEDULER), 0);
    snprintf(name, sizeof name, "%.32s/model_index.json", fixture);
    assert_int_equal(temp_write(&dir, name,
                                "{\"unet\": [\"diffusers\", \"UNet2DConditionModel\"],"
                                " \"scheduler\": [\"gen\", \"ViBTScheduler\"],"
                                " \"vae\": \"../base/vae\", \"tokenizer\": \"../base/tokenizer\","
                                " \"text_encoder\": \"../base/text_encoder\"}"),
                     0);
    const gen_model_params params =
        GEN_MODEL_PARAMS(.path = temp_path(&dir, fixture), .for_editing = 1);
    EXPECT_OK(gen_model_open(&model, context, &params, &err));
    return model;
}

static gen_image *a_picture(void)
{
    gen_image *image;
    EXPECT_OK(gen_image_new(&image, SIDE, SIDE, 3, &err));
    for (int y = 0; y < SIDE; y++)
        for (int i = 0; i < SIDE * 3; i++)
            image->data[(size_t)y * image->stride + (size_t)i] =
                (unsigned char)(7 * y + 5 * i + y * i % 31);
    return image;
}

/* ---- what a run says of itself -------------------------------------------------------------- */

typedef struct seen {
    float source[N], latents[STEPS][N], *states[2];
    int num_steps, num_tokens, num_dims;
} seen;

static void on_value(void *self, const char *name, int step, const float *data, size_t n)
{
    seen *s = self;
    if (strcmp(name, "start_latents") == 0 && n == N)
        memcpy(s->source, data, sizeof s->source);
    if (strcmp(name, "latents") == 0 && n == N && step < STEPS) {
        memcpy(s->latents[step], data, sizeof s->latents[step]);
        s->num_steps = step + 1;
    }
    const int branch = strcmp(name, "prompt_embeds") == 0     ? 0
                       : strcmp(name, "negative_embeds") == 0 ? 1
                                                              : -1;
    if (branch < 0)
        return;
    s->states[branch] = malloc(n * sizeof(float));
    assert_non_null(s->states[branch]);
    memcpy(s->states[branch], data, n * sizeof(float));
    s->num_tokens = (int)n / s->num_dims;
}

static seen *run(gen_model *model, const gen_image *picture, double guidance)
{
    seen *s = calloc(1, sizeof *s);
    gen_image *out;
    assert_non_null(s);
    s->num_dims = model->network.traits.context_dim;
    const gen_trace trace = {.self = s, .value = on_value};
    const gen_generate_params params =
        GEN_GENERATE_PARAMS(.prompt = "a cat", .negative_prompt = "dog", .source = &picture,
                            .num_source = 1, .num_inference_steps = STEPS, .seed = 3,
                            .guidance_scale = guidance);
    EXPECT_OK(gen_generate_traced(&out, model, &params, &trace, NULL, &err));
    assert_int_equal(out->width, SIDE);
    assert_int_equal(s->num_steps, STEPS);
    gen_image_free(out);
    return s;
}

static void forget(seen *s)
{
    free(s->states[0]);
    free(s->states[1]);
    free(s);
}

/* ---- the same by hand ----------------------------------------------------------------------- */

/* One evaluation of the network: latents with `beside` (NULL: nothing) behind each of them. */
static void network(const gen_model *m, const float *x, const float *beside, double time,
                    const float *states, int num_tokens, float *out)
{
    gen_plan_cache cache = {0};
    const gen_network_shape shape = {
        .batch = 1, .height = LATENT, .width = LATENT, .num_tokens = num_tokens};
    float sample[2 * N];
    const size_t each = beside ? 2 * CHANNELS : CHANNELS;
    gen_plan *plan;
    for (size_t p = 0; p < LATENT * LATENT; p++) {
        memcpy(sample + p * each, x + p * CHANNELS, CHANNELS * sizeof *x);
        if (beside)
            memcpy(sample + p * each + CHANNELS, beside + p * CHANNELS, CHANNELS * sizeof *x);
    }
    EXPECT_OK(gen_network_plan(&plan, &cache, &m->network, &shape, &err));
    EXPECT_OK(gen_plan_set(plan, "sample", sample, &err));
    EXPECT_OK(gen_plan_set_double(plan, "timestep", &time, &err));
    EXPECT_OK(gen_plan_set(plan, "encoder_hidden_states", states, &err));
    EXPECT_OK(gen_plan_run(plan, &err));
    EXPECT_OK(gen_plan_get_output(plan, "sample_out", out, &err));
    gen_plan_cache_clear(&cache);
}

/* x <- x + Delta u + eta s z with the times of four steps at gamma 5: tau = (t + 1) / 1000, Delta
 * to the next tau, eta = sqrt(-Delta (tau + Delta) / tau); s = 1/2. */
static void expect_formula(const gen_model *m, const seen *s, bool sees_source, double guidance)
{
    static const int times[STEPS + 1] = {999, 937, 833, 624, -1};
    gen_rng rng;
    double x[N];
    gen_rng_init(&rng, GEN_RNG_GEN, 3);
    for (int i = 0; i < N; i++)
        x[i] = (double)s->source[i];
    for (int k = 0; k < STEPS; k++) {
        const double tau = (times[k] + 1) / 1000.0;
        const double delta = (times[k + 1] - times[k]) / 1000.0;
        const double eta = sqrt(-delta * (tau + delta) / tau);
        float now[N], u[2][N], z[N];
        for (int i = 0; i < N; i++)
            now[i] = (float)x[i];
        for (int b = 0; b < 2; b++)
            network(m, now, sees_source ? s->source : NULL, times[k], s->states[b], s->num_tokens,
                    u[b]);
        gen_rng_normal(&rng, z, N); /* channels first */
        for (int i = 0; i < N; i++) {
            const double without = (double)u[1][i];
            const double guided = without + guidance * ((double)u[0][i] - without);
            const double noise = (double)z[i % CHANNELS * LATENT * LATENT + i / CHANNELS];
            x[i] += delta * guided + eta * 0.5 * noise;
            now[i] = (float)x[i];
        }
        expect_close(s->latents[k], now, N, 2e-5, "latents");
    }
}

static void steps_are_those_of_the_paper(void **state)
{
    (void)state;
    static const struct {
        const char *fixture;
        bool sees_source;
    } networks[] = {{"unet_pix2pix8", true}, {"unet_sd1", false}};
    gen_image *picture = a_picture();
    for (size_t i = 0; i < sizeof networks / sizeof networks[0]; i++) {
        gen_model *model = open_bridge(networks[i].fixture);
        assert_true(gen_model_get_info(model)->changes_pictures);
        assert_false(gen_model_get_info(model)->takes_first_frame);
        seen *s = run(model, picture, 1.75);
        expect_formula(model, s, networks[i].sees_source, 1.75);
        forget(s);
        gen_model_free(model);
    }
    gen_image_free(picture);
}

/* Five channels beside the latents are a mask and a picture, which no bridge has. */
static void other_channels_are_refused(void **state)
{
    (void)state;
    gen_model *model = open_bridge("unet_inpaint9");
    gen_image *picture = a_picture(), *out;
    const gen_image *source = picture;
    gen_generate_params params = GEN_GENERATE_PARAMS(.prompt = "a cat", .source = &source,
                                                     .num_source = 1, .num_inference_steps = 2);
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_generate(&out, model, &params, NULL, &err));
    EXPECT_CONTAINS(err.message, "a bridge with 5 channels beside its latents, expected 0 or 4");
    params.num_source = 0;
    params.source = NULL;
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_generate(&out, model, &params, NULL, &err));
    EXPECT_CONTAINS(err.message, "this model changes pictures, and there is none");
    gen_image_free(picture);
    gen_model_free(model);
}

/* The n-th allocation fails, for every n of a run: MEMORY, and the model goes on working. */
static void memory_may_run_out(void **state)
{
    (void)state;
    gen_model *model = open_bridge("unet_pix2pix8");
    gen_image *picture = a_picture(), *expected, *out;
    const gen_image *source = picture;
    const gen_generate_params params =
        GEN_GENERATE_PARAMS(.prompt = "a cat", .source = &source, .num_source = 1,
                            .num_inference_steps = 1);
    EXPECT_OK(gen_generate(&expected, model, &params, NULL, &err));
    long n = 0, failures = 0;
    for (bool has_failed = true; has_failed;) {
        gen_alloc_fail_at(++n);
        const gen_status status = gen_generate(&out, model, &params, NULL, &err);
        has_failed = gen_alloc_count() >= n;
        gen_alloc_fail_at(0);
        if (status && status != GEN_ERROR_MEMORY)
            fail_msg("allocation %ld: status %d: %s", n, (int)status, err.message);
        if (!status)
            gen_image_free(out);
        failures += status != GEN_OK;
    }
    assert_true(failures > 10);
    EXPECT_OK(gen_generate(&out, model, &params, NULL, &err));
    assert_memory_equal(out->data, expected->data, out->stride * SIDE);
    gen_image_free(out);
    gen_image_free(expected);
    gen_image_free(picture);
    gen_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_are_those_of_the_paper),
        cmocka_unit_test(other_channels_are_refused),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
