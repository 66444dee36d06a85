/* Few-step and EDM models through text to image, each against its paper's formulas in double.
 *
 * The network is that of a small Stable Diffusion; a scheduler_config.json beside it says that it
 * is something else.  The reference asks the same network, with inputs it scales itself and times
 * it writes down, so all of schedule, preconditioning, time and solver is checked. */
#include <stdlib.h>
#include <unistd.h>

#include "gen/pipeline/generate.h"
#include "tests/test.h"

#define PARTS GEN_TEST_SOURCE_DIR "/golden/fixtures/pipe_sd1"

enum { WIDTH = 6, HEIGHT = 4, CHANNELS = 4, N = WIDTH * HEIGHT * CHANNELS, MAX_STEPS = 8 };

static gen_error err;
static gen_context *context;
static char folder[256];

/* ---- a model with a scheduler of its own ------------------------------------------------------
 */

static char *path_of(const char *name)
{
    static char path[320];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static int set_up(void **state)
{
    static const char *const parts[] = {"model_index.json", "unet", "vae", "text_encoder",
                                        "tokenizer"};
    (void)state;
    snprintf(folder, sizeof folder, "%s/gen-methods-XXXXXX",
             getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    if (!mkdtemp(folder) || gen_context_new(&context, &GEN_CONTEXT_PARAMS(.num_threads = 1), &err))
        return -1;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        char target[320];
        snprintf(target, sizeof target, PARTS "/%s", parts[i]);
        if (symlink(target, path_of(parts[i])))
            return -1;
    }
    return symlink(folder, path_of("scheduler")); /* its configuration lies in the folder itself */
}

static int tear_down(void **state)
{
    static const char *const names[] = {"model_index.json",     "unet",      "vae",
                                        "text_encoder",         "tokenizer", "scheduler",
                                        "scheduler_config.json"};
    (void)state;
    gen_context_free(context);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unlink(path_of(names[i]));
    return rmdir(folder);
}

static void write_scheduler(const char *text)
{
    FILE *f = fopen(path_of("scheduler_config.json"), "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static gen_model *open_with(const char *scheduler)
{
    gen_model *model = NULL;
    write_scheduler(scheduler);
    EXPECT_OK(gen_model_open(&model, context, &GEN_MODEL_PARAMS(.path = folder), &err));
    return model;
}

/* ---- one run, as the pipeline makes it --------------------------------------------------------
 */

typedef struct record {
    float noise[N], latents[MAX_STEPS][N];
    float *prompt; /* owned */
    size_t prompt_size;
    int num_steps;
} record;

static void keep(void *self, const char *name, int step, const float *data, size_t n)
{
    record *r = self;
    if (strcmp(name, "init_noise") == 0) {
        memcpy(r->noise, data, sizeof r->noise);
    } else if (strcmp(name, "latents") == 0 && step < MAX_STEPS) {
        memcpy(r->latents[step], data, sizeof r->latents[step]);
        r->num_steps = step + 1;
    } else if (strcmp(name, "prompt_embeds") == 0) {
        r->prompt = malloc(n * sizeof *data);
        assert_non_null(r->prompt);
        memcpy(r->prompt, data, n * sizeof *data);
        r->prompt_size = n;
    }
}

static gen_generate_params small(int steps)
{
    return GEN_GENERATE_PARAMS(.prompt = "a cat", .width = 4 * WIDTH, .height = 4 * HEIGHT,
                               .num_inference_steps = steps, .guidance_scale = 1, .seed = 4);
}

static void generate(record *r, gen_model *model, gen_generate_params p)
{
    gen_image *image = NULL;
    const gen_trace trace = {.self = r, .value = keep};
    *r = (record){.num_steps = 0};
    EXPECT_OK(gen_generate_traced(&image, model, &p, &trace, NULL, &err));
    gen_image_free(image);
}

/* ---- the reference ----------------------------------------------------------------------------
 */

typedef struct reference {
    gen_model *model;
    record made;
    double x[N];
    float raw[N]; /* the network's last answer */
    gen_rng rng;
    gen_channel_noise source;
} reference;

/* The run of the pipeline, and the start: the noise times `scale`. */
static void begin(reference *r, const char *scheduler, int steps, double scale)
{
    float unused[N];
    *r = (reference){.model = open_with(scheduler)};
    generate(&r->made, r->model, small(steps));
    assert_int_equal(r->made.num_steps, steps);
    gen_rng_init(&r->rng, GEN_RNG_GEN, 4);
    EXPECT_OK(gen_channel_noise_init(&r->source, &r->rng, CHANNELS, N, &err));
    const gen_noise_source source = gen_channel_noise_source(&r->source);
    EXPECT_OK(source.draw(source.self, unused, N, &err));
    expect_close(r->made.noise, unused, N, 0, "first draw");
    for (int k = 0; k < N; k++)
        r->x[k] = scale * r->made.noise[k];
}

/* raw = network(scale x, time) */
static void ask(reference *r, double scale, double time)
{
    const gen_network_shape shape = {
        1, HEIGHT, WIDTH, (int64_t)r->made.prompt_size / r->model->network.traits.context_dim};
    gen_plan *plan;
    float in[N];
    for (int k = 0; k < N; k++)
        in[k] = (float)(scale * r->x[k]);
    EXPECT_OK(gen_network_plan(&plan, &r->model->plans, &r->model->network, &shape, &err));
    EXPECT_OK(gen_plan_set(plan, "sample", in, &err));
    EXPECT_OK(gen_plan_set_double(plan, "timestep", &time, &err));
    EXPECT_OK(gen_plan_set(plan, "encoder_hidden_states", r->made.prompt, &err));
    EXPECT_OK(gen_plan_run(plan, &err));
    EXPECT_OK(gen_plan_get_output(plan, "sample_out", r->raw, &err));
}

/* x = a x + b raw + c z; z is drawn where c is not negative, even if it counts nothing. */
static void move(reference *r, double a, double b, double c)
{
    float z[N] = {0};
    const gen_noise_source source = gen_channel_noise_source(&r->source);
    if (c >= 0)
        EXPECT_OK(source.draw(source.self, z, N, &err));
    for (int k = 0; k < N; k++)
        r->x[k] = a * r->x[k] + b * r->raw[k] + fmax(c, 0) * z[k];
}

static void check(const reference *r, int step)
{
    float x[N];
    for (int k = 0; k < N; k++)
        x[k] = (float)r->x[k];
    expect_close(r->made.latents[step], x, N, 2e-4, "latents");
}

static void end(reference *r)
{
    free(r->made.prompt);
    gen_channel_noise_clear(&r->source);
    gen_model_free(r->model);
}

/* ---- EDM and consistency models ---------------------------------------------------------------
 */

static double karras(double i, double num)
{
    const double a = pow(80, 1 / 7.0), b = pow(0.002, 1 / 7.0);
    return pow(a + i / (num - 1) * (b - a), 7);
}

/* Karras et al. 2022, table 1: sigma_data is the model's. */
static void edm_euler(void **state)
{
    static const double data[] = {0.5, 1.3};
    (void)state;
    for (int d = 0; d < 2; d++) {
        char config[300];
        reference r;
        snprintf(config, sizeof config,
                 "{\"_class_name\": \"EDMEulerScheduler\", \"sigma_min\": 0.002, \"sigma_max\": 80,"
                 " \"sigma_data\": %g, \"rho\": 7, \"prediction_type\": \"epsilon\"}",
                 data[d]);
        begin(&r, config, 5, hypot(80, 1));
        for (int i = 0; i < 5; i++) {
            const double s = karras(i, 5), next = i < 4 ? karras(i + 1, 5) : 0;
            const double norm = hypot(s, data[d]);
            const double skip = data[d] * data[d] / (norm * norm), out = s * data[d] / norm;
            ask(&r, 1 / norm, log(s) / 4);
            const double keep = next / s; /* x' = keep x + (1 - keep) x0 */
            move(&r, keep + (1 - keep) * skip, (1 - keep) * out, -1);
            check(&r, i);
        }
        end(&r);
    }
}

/* Song et al. 2023, app. C and alg. 1: levels 0 and 20 of 40. */
static void consistency_model(void **state)
{
    (void)state;
    reference r;
    begin(&r,
          "{\"_class_name\": \"CMStochasticIterativeScheduler\", \"sigma_min\": 0.002,"
          " \"sigma_max\": 80, \"sigma_data\": 0.7, \"num_train_timesteps\": 40,"
          " \"clip_denoised\": false}",
          2, 80);
    for (int i = 0; i < 2; i++) {
        const double s = karras(20 * i, 40), above = s - 0.002, data = 0.7;
        const double next = i ? 0.002 : karras(20, 40);
        ask(&r, 1 / hypot(s, data), 250 * log(s));
        move(&r, data * data / (above * above + data * data), above * data / hypot(s, data),
             sqrt(next * next - 0.002 * 0.002));
        check(&r, i);
    }
    end(&r);
}

/* Lu & Song 2024, eq. 3; Chen et al. 2025: x0 = cos x - sin F. */
static void trigflow_consistency(void **state)
{
    static const double theta[] = {1.5708, 1.3, 0};
    (void)state;
    reference r;
    begin(&r,
          "{\"_class_name\": \"SCMScheduler\", \"prediction_type\": \"trigflow\","
          " \"sigma_data\": 0.5, \"num_train_timesteps\": 1000}",
          2, 1);
    for (int i = 0; i < 2; i++) {
        ask(&r, 1, theta[i]);
        const double c = cos(theta[i + 1]);
        move(&r, c * cos(theta[i]), -c * sin(theta[i]), sin(theta[i + 1]));
        check(&r, i);
    }
    end(&r);
}

/* Zheng et al. 2025: tau = kappa / (1 + kappa), told as 1000 tau in bfloat16; angles of the
 * released code, and one of the file. */
static void rcm(void **state)
{
    static const char *const configs[] = {
        "{\"_class_name\": \"rCM\", \"sigma_max\": 80}",
        "{\"_class_name\": \"rCM\", \"sigma_max\": 80, \"mid_t\": [1.3]}"};
    static const double taus[2][3] = {{80 / 81.0, 0.9337810613790889, 0},
                                      {80 / 81.0, 0.7827080098, 0}};
    static const double times[2][2] = {{988, 932}, {988, 784}};
    (void)state;
    for (int c = 0; c < 2; c++) {
        const double *tau = taus[c];
        reference r;
        begin(&r, configs[c], 2, tau[0]);
        for (int i = 0; i < 2; i++) {
            ask(&r, 1, times[c][i]);
            move(&r, 1 - tau[i + 1], -(1 - tau[i + 1]) * tau[i], tau[i + 1]);
            check(&r, i);
        }
        end(&r);
    }
}

/* ---- distilled Stable Diffusion ---------------------------------------------------------------
 */

static double alphas_cumprod(int t)
{
    double product = 1;
    for (int i = 0; i <= t; i++) {
        const double b = sqrt(0.00085) + (sqrt(0.012) - sqrt(0.00085)) * i / 999;
        product *= 1 - b * b;
    }
    return product;
}

#define BETAS                                                                                      \
    "\"beta_start\": 0.00085, \"beta_end\": 0.012, \"beta_schedule\": \"scaled_linear\","          \
    " \"prediction_type\": \"epsilon\", \"clip_sample\": false"

static const int TIMES[] = {999, 759, 499, 259};

/* Luo et al. 2023: x0, brought to the boundary condition, and fresh noise. */
static void latent_consistency(void **state)
{
    (void)state;
    reference r;
    begin(&r, "{\"_class_name\": \"LCMScheduler\", " BETAS "}", 4, 1);
    for (int i = 0; i < 4; i++) {
        const double a = alphas_cumprod(TIMES[i]), next = i < 3 ? alphas_cumprod(TIMES[i + 1]) : 1;
        const double s = 10.0 * TIMES[i], skip = 0.25 / (s * s + 0.25),
                     out = s / sqrt(s * s + 0.25);
        ask(&r, 1, TIMES[i]);
        move(&r, sqrt(next) * (skip + out / sqrt(a)), -sqrt(next) * out * sqrt((1 - a) / a),
             i < 3 ? sqrt(1 - next) : -1);
        check(&r, i);
    }
    end(&r);
}

/* Zheng et al. 2024: down to time 0.7 t', then up to t' with fresh noise. */
static void trajectory_consistency(void **state)
{
    (void)state;
    reference r;
    begin(&r, "{\"_class_name\": \"TCDScheduler\", " BETAS "}", 4, 1);
    for (int i = 0; i < 4; i++) {
        const int next = i < 3 ? TIMES[i + 1] : 0, low = (int)floor(0.7 * next);
        const double a = alphas_cumprod(TIMES[i]), b = alphas_cumprod(next);
        const double c = alphas_cumprod(low), up = sqrt(b / c);
        ask(&r, 1, TIMES[i]);
        move(&r, up * sqrt(c / a), up * (sqrt(1 - c) - sqrt(c * (1 - a) / a)),
             i < 3 ? sqrt(1 - b / c) : -1);
        check(&r, i);
    }
    end(&r);
}

/* ---- numbers of times -------------------------------------------------------------------------
 */

/* Rectified flow whose network is told whole times; shift 3, tau from 1 to 3/1002, shifted again.
 */
static void whole_times(void **state)
{
    (void)state;
    reference r;
    begin(&r,
          "{\"_class_name\": \"FlowMatchEulerDiscreteScheduler\", \"shift\": 3.0,"
          " \"timestep_dtype\": \"int64\"}",
          4, 1);
    const double low = 3 * 0.001 / (1 + 2 * 0.001);
    for (int i = 0; i < 4; i++) {
        const double u = 1 - (1 - low) * i / 3, v = 1 - (1 - low) * (i + 1) / 3;
        const double tau = 3 * u / (1 + 2 * u), next = i < 3 ? 3 * v / (1 + 2 * v) : 0;
        ask(&r, 1, trunc(1000 * tau));
        move(&r, 1, next - tau, -1);
        check(&r, i);
    }
    end(&r);
}

/* Guidance on denoised latents uses the model's sigma_data, too: apg that keeps all is cfg. */
static void guidance_on_denoised_latents(void **state)
{
    gen_model *model = open_with("{\"_class_name\": \"EDMEulerScheduler\", \"sigma_data\": 1.3}");
    gen_generate_params p = small(4);
    record a, b;
    (void)state;
    p.guidance_scale = 4;
    generate(&a, model, p);
    p.guidance = "apg";
    p.apg_parallel = 1;
    generate(&b, model, p);
    expect_close(a.latents[3], b.latents[3], N, 1e-3, "latents");
    free(a.prompt);
    free(b.prompt);
    gen_model_free(model);
}

/* ---- what the configuration says of guidance --------------------------------------------------
 */

static void the_recommended_scale_is_the_default(void **state)
{
    gen_model *model = open_with("{\"_class_name\": \"DDIMScheduler\", " BETAS
                                 ", \"recommended_guidance_scale\": 2.25}");
    gen_generate_params p = GEN_GENERATE_PARAMS(.prompt = "a cat");
    (void)state;
    EXPECT_OK(gen_resolve(&p, model, &err));
    EXPECT_BETWEEN(p.guidance_scale, 2.25, 2.25);
    gen_model_free(model);
}

/* What these schedulers say of the prediction cannot be overruled by a word. */
static void other_predictions_are_refused(void **state)
{
    static const char *const configs[] = {"{\"_class_name\": \"EDMEulerScheduler\"}",
                                          "{\"_class_name\": \"rCM\"}"};
    static const char *const types[] = {"epsilon", "flow_prediction", "reverse_flow"};
    (void)state;
    for (int i = 0; i < 2; i++) {
        gen_model *model = open_with(configs[i]);
        for (int k = 0; k < 3; k++) {
            gen_generate_params p =
                GEN_GENERATE_PARAMS(.prompt = "a cat", .prediction_type = types[k]);
            if (i == 1 && k == 1) {
                EXPECT_OK(gen_resolve(&p, model, &err)); /* its own */
                continue;
            }
            EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_resolve(&p, model, &err));
            EXPECT_CONTAINS(err.message, "does not go with the scheduler");
        }
        gen_model_free(model);
    }
}

/* ---- what a file says wrongly, or in vain -----------------------------------------------------
 */

static void bad_configurations_are_the_models_error(void **state)
{
    static const struct {
        const char *config, *message;
    } cases[] = {
        {"{\"_class_name\": \"DDIMScheduler\", \"steps_offset\": 5000}",
         "expected less than the 1000"},
        {"{\"_class_name\": \"EDMEulerScheduler\", \"sigma_min\": 90}",
         "two levels above 0 that rise"},
        {"{\"beta_start\": [1]}", "\"beta_start\" is a list, expected a number"},
        {"{\"beta_start\": true}", "is true, expected a number"},
        {"{\"beta_start\": {}}", "is an object"},
        {"{\"clip_sample\": 1}", "is 1, expected true or false"},
        {"{\"beta_schedule\": 3}", "is 3, expected a word"},
        {"{\"beta_schedule\": \"cubic\"}", "which is not supported"},
        {"{\"timestep_type\": \"continuous\"}", "which is not supported"},
        {"{\"timestep_dtype\": \"int4\"}", "which is not supported"},
        {"{\"trained_betas\": [0.1, \"x\"]}", "is not a list of numbers"},
        {"{\"mid_t\": [7]}", "expected angles below pi/2"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gen_model *model = NULL;
        write_scheduler(cases[i].config);
        EXPECT_STATUS(GEN_ERROR_MODEL,
                      gen_model_open(&model, context, &GEN_MODEL_PARAMS(.path = folder), &err));
        EXPECT_CONTAINS(err.message, cases[i].message);
        EXPECT_CONTAINS(err.message, "scheduler_config.json");
    }
}

static char warnings[1000];

static void keep_warning(void *user, gen_log_level level, const char *message)
{
    (void)user;
    if (level == GEN_LOG_WARNING)
        snprintf(warnings + strlen(warnings), sizeof warnings - strlen(warnings), "%s\n", message);
}

/* Keys without effect are named, but not those that have none here by their nature. */
static void keys_in_vain_are_warned_of(void **state)
{
    gen_context *own;
    (void)state;
    EXPECT_OK(
        gen_context_new(&own, &GEN_CONTEXT_PARAMS(.num_threads = 1, .log = keep_warning), &err));
    static const struct {
        const char *config, *warning; /* "" for none */
    } cases[] = {
        {"{\"_class_name\": \"DDIMScheduler\", \"_diffusers_version\": \"0.35\","
         " \"trained_betas\": null, \"solver_p\": null, \"skip_prk_steps\": false}",
         ""},
        {"{\"_class_name\": \"DDIMScheduler\", \"snr_shift_scale\": 3, \"solver_p\": {}}",
         "not known, and without effect: snr_shift_scale, solver_p\n"},
        {"{\"_class_name\": \"PNDMScheduler\", \"skip_prk_steps\": false}",
         "\"skip_prk_steps\" is false, but"},
        {"{\"_class_name\": \"PNDMScheduler\"}", "\"skip_prk_steps\" is false, but"},
        {"{\"_class_name\": \"PNDMScheduler\", \"skip_prk_steps\": true}", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gen_model *model = NULL;
        warnings[0] = '\0';
        write_scheduler(cases[i].config);
        EXPECT_OK(gen_model_open(&model, own, &GEN_MODEL_PARAMS(.path = folder), &err));
        if (*cases[i].warning)
            EXPECT_CONTAINS(warnings, cases[i].warning);
        else
            assert_string_equal(warnings, "");
        gen_model_free(model);
    }
    gen_context_free(own);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edm_euler),
        cmocka_unit_test(consistency_model),
        cmocka_unit_test(trigflow_consistency),
        cmocka_unit_test(rcm),
        cmocka_unit_test(latent_consistency),
        cmocka_unit_test(trajectory_consistency),
        cmocka_unit_test(whole_times),
        cmocka_unit_test(guidance_on_denoised_latents),
        cmocka_unit_test(the_recommended_scale_is_the_default),
        cmocka_unit_test(other_predictions_are_refused),
        cmocka_unit_test(bad_configurations_are_the_models_error),
        cmocka_unit_test(keys_in_vain_are_warned_of),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
