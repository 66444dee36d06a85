/* DiT's own sampling through the pipeline, against the formulas of its code in double: respaced
 * times, guidance on three of four channels, noise as wide as the network says (Nichol & Dhariwal
 * 2021, eq. 15; Peebles & Xie 2023, sec. 4).  The reference asks the same network. */
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "gen/pipeline/generate.h"
#include "tests/test.h"

#define FIXTURES GEN_TEST_SOURCE_DIR "/golden/fixtures/"

enum { SIDE = 8, CHANNELS = 4, N = SIDE * SIDE * CHANNELS, STEPS = 3, TRAINED = 1000, CLASS = 3 };

static gen_error err;
static gen_context *context;
static gen_model *model;
static char folder[256];

static char *path_of(const char *name)
{
    static char path[320];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "%s/gen-dit-XXXXXX",
             getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    if (!mkdtemp(folder) || gen_context_new(&context, &GEN_CONTEXT_PARAMS(.num_threads = 1), &err))
        return -1;
    return symlink(FIXTURES "dit_original", path_of("transformer")) ||
           symlink(FIXTURES "pipe_sd1/vae", path_of("vae"));
}

static int tear_down(void **state)
{
    (void)state;
    gen_model_free(model);
    gen_context_free(context);
    unlink(path_of("transformer"));
    unlink(path_of("vae"));
    return rmdir(folder);
}

/* ---- one run, as the pipeline makes it --------------------------------------------------------
 */

typedef struct record {
    float noise[N], latents[STEPS][N];
    double times[STEPS];
    int num_steps;
} record;

static void keep(void *self, const char *name, int step, const float *data, size_t n)
{
    record *r = self;
    if (strcmp(name, "init_noise") == 0) {
        assert_int_equal(n, N);
        memcpy(r->noise, data, sizeof r->noise);
    } else if (strcmp(name, "latents") == 0 && step < STEPS) {
        memcpy(r->latents[step], data, sizeof r->latents[step]);
        r->num_steps = step + 1;
    }
}

static void keep_time(void *self, int step, double time)
{
    if (step < STEPS)
        ((record *)self)->times[step] = time;
}

/* ---- the reference ----------------------------------------------------------------------------
 */

/* Prediction and variance [N] of a class. */
static void ask(const double *x, double time, int class_label, double *eps, double *v)
{
    const gen_network_shape shape = {.batch = 1, .height = SIDE, .width = SIDE};
    static float in[N], out[2 * N];
    const int32_t label = class_label;
    gen_plan *plan;
    for (int i = 0; i < N; i++)
        in[i] = (float)x[i];
    EXPECT_OK(gen_network_plan(&plan, &model->plans, &model->network, &shape, &err));
    EXPECT_OK(gen_plan_set(plan, "sample", in, &err));
    EXPECT_OK(gen_plan_set_double(plan, "timestep", &time, &err));
    EXPECT_OK(gen_plan_set(plan, "class_labels", &label, &err));
    EXPECT_OK(gen_plan_run(plan, &err));
    EXPECT_OK(gen_plan_get_output(plan, "sample_out", out, &err));
    for (int i = 0; i < N; i++) {
        eps[i] = out[i / CHANNELS * 2 * CHANNELS + i % CHANNELS];
        v[i] = out[i / CHANNELS * 2 * CHANNELS + CHANNELS + i % CHANNELS];
    }
}

/* The products of 1 - beta, at the three times that stride 499.5 rounds to. */
static const int times[STEPS] = {0, 500, 999};

static void products(double a[STEPS])
{
    double product = 1;
    for (int t = 0, k = 0; t < TRAINED; t++) {
        product *= 1 - (1e-4 + (0.02 - 1e-4) * t / (TRAINED - 1));
        if (t == times[k])
            a[k++] = product;
    }
}

static void step(double *x, const double *a, int i, double scale, const float *noise)
{
    double c[N], u[N], v[N], unused[N];
    const double before = i > 0 ? a[i - 1] : 1, beta = 1 - a[i] / before;
    const double beta_1 = 1 - a[1] / a[0]; /* the variance of the last step is that of the second */
    const double posterior =
        i > 0 ? beta * (1 - before) / (1 - a[i]) : beta_1 * (1 - a[0]) / (1 - a[1]);
    ask(x, times[i], CLASS, c, v);
    ask(x, times[i], 10, u, unused);
    for (int k = 0; k < N; k++) {
        const double eps = k % CHANNELS < 3 ? u[k] + scale * (c[k] - u[k]) : c[k];
        const double share = (v[k] + 1) / 2;
        const double log_variance = share * log(beta) + (1 - share) * log(posterior);
        const double x0 = x[k] / sqrt(a[i]) - sqrt(1 / a[i] - 1) * eps;
        x[k] = sqrt(before) * beta / (1 - a[i]) * x0 +
               sqrt(1 - beta) * (1 - before) / (1 - a[i]) * x[k];
        if (i > 0)
            x[k] += exp(log_variance / 2) * (double)noise[k];
    }
}

static void learned_variance_and_three_guided_channels(void **state)
{
    (void)state;
    const double scale = 4;
    static record made;
    const gen_trace trace = {.self = &made, .value = keep, .timestep = keep_time};
    const gen_generate_params p =
        GEN_GENERATE_PARAMS(.class_label = "3", .num_inference_steps = STEPS,
                            .guidance_scale = scale, .seed = 4);
    gen_image *image = NULL;
    gen_channel_noise source;
    gen_rng rng;
    float noise[N];
    double x[N], a[STEPS];
    EXPECT_OK(gen_model_open(&model, context, &GEN_MODEL_PARAMS(.path = folder), &err));
    assert_int_equal(gen_model_get_info(model)->default_steps, 250);
    EXPECT_OK(gen_generate_traced(&image, model, &p, &trace, NULL, &err));
    gen_image_free(image);
    assert_int_equal(made.num_steps, STEPS);

    gen_rng_init(&rng, GEN_RNG_GEN, 4);
    EXPECT_OK(gen_channel_noise_init(&source, &rng, CHANNELS, N, &err));
    const gen_noise_source draws = gen_channel_noise_source(&source);
    EXPECT_OK(draws.draw(draws.self, noise, N, &err));
    expect_close(made.noise, noise, N, 0, "first draw");
    for (int k = 0; k < N; k++)
        x[k] = noise[k];
    products(a);
    for (int i = STEPS - 1; i >= 0; i--) {
        float expected[N];
        EXPECT_OK(draws.draw(draws.self, noise, N, &err));
        step(x, a, i, scale, noise);
        EXPECT_BETWEEN(made.times[STEPS - 1 - i], times[i], times[i]);
        for (int k = 0; k < N; k++)
            expected[k] = (float)x[k];
        /* tight, for the learned part of the noise is small against what a random network makes of
         * it; every step starts from the pipeline's own latents */
        expect_close(made.latents[STEPS - 1 - i], expected, N, 2e-6, "latents");
        for (int k = 0; k < N; k++)
            x[k] = made.latents[STEPS - 1 - i][k];
    }
    gen_channel_noise_clear(&source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(learned_variance_and_three_guided_channels),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
