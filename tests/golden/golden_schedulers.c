/* golden_schedulers.c - whole runs of samplers over a stand-in network.
 *
 * Each case names a scheduler class with its configuration.  The network gives the recorded answers
 * (or a sin(x) + b t / 1000 where none are), the noise is the recorded one; compared are what the
 * network was given, its times and noise levels, the latents after each call, the estimates of x0
 * and one forward noising. */
#include "tests/golden/golden.h"

#include <math.h>
#include <string.h>

#include "samplers/samplers.h"

#define TOLERANCE 2e-5

typedef struct run {
    golden_fixture *f;
    const char *name;
    const json_t *spec;
    gen_scheduler_config config;
    gen_schedule *schedule;
    const gen_sampler *sampler;
    size_t n;        /* latents */
    int num_samples; /* pictures side by side in them */
    int num_calls;   /* recorded */
    double a, b;     /* of the stand-in */
    double middle;   /* SCM's angle between */
    float unit;      /* SCM keeps its latents multiplied by sigma_data; ours have unit variance */
    float *variance; /* [n] what the network said of the variance in its last answer, or NULL */
    const float *model_out; /* [num_calls][n], with a variance [num_calls][2n]; or NULL */
    const float *noise;     /* [num_noise][n] */
    int num_noise, drawn;

    gen_denoiser network, recorder;
    gen_denoiser *prediction;
    int calls;
    float *model_in, *x, *pred; /* [num_calls][n]: as seen */
    double *times, *sigmas;     /* [num_calls + 1] */
} run;

static char *key(const run *r, const char *tensor)
{
    return golden_path(r->f, "%s/%s", r->name, tensor);
}

static bool has(const run *r, const char *tensor)
{
    return golden_find(r->f, key(r, tensor)) != NULL;
}

/* ---- what the solver calls ---------------------------------------------------------------------
 */

/* The recorded answer of call i; a variance is the second half of the channels of each sample. */
static void take_answer(run *r, size_t i, float *out)
{
    const size_t size = r->n / (size_t)r->num_samples;
    const float *from = r->model_out + i * r->n * (r->variance ? 2 : 1);
    for (size_t k = 0; k < r->n; k++) {
        const size_t at = r->variance ? k / size * 2 * size + k % size : k;
        out[k] = from[at] / r->unit;
        if (r->variance)
            r->variance[k] = from[at + size];
    }
}

static gen_status network(void *self, const float *x, const gen_point *at, float *out,
                          gen_error *err)
{
    run *r = self;
    const size_t i = (size_t)r->calls;
    if (r->calls >= r->num_calls)
        return gen_fail(err, GEN_ERROR_INTERNAL, "more than %d network calls", r->num_calls);
    for (size_t k = 0; k < r->n; k++)
        r->model_in[i * r->n + k] = r->unit * x[k];
    r->times[i] = at->time;
    r->sigmas[i] =
        r->config.process == GEN_PROCESS_FLOW ? at->level.sigma : gen_level_kappa(at->level);
    r->calls++;
    if (r->model_out) {
        take_answer(r, i, out);
        return GEN_OK;
    }
    for (size_t k = 0; k < r->n; k++) {
        const double in = r->unit * x[k];
        out[k] = (float)(r->a * sin(in) + r->b * at->time / 1000) / r->unit;
        if (r->variance)
            r->variance[k] = (float)(0.5 * cos(in));
    }
    return GEN_OK;
}

/* Latents in the units of the record. */
static void keep(const run *r, float *to, const float *from)
{
    for (size_t k = 0; k < r->n; k++)
        to[k] = r->unit * from[k];
}

/* The latents at the start of a call are those after the call before it. */
static gen_status record(void *self, const float *x, const gen_point *at, float *out,
                         gen_error *err)
{
    run *r = self;
    const size_t i = (size_t)r->calls;
    if (i > 0 && r->calls <= r->num_calls)
        keep(r, r->x + (i - 1) * r->n, x);
    GEN_TRY(r->prediction->denoise(r->prediction->self, x, at, out, err));
    keep(r, r->pred + i * r->n, out);
    return GEN_OK;
}

static gen_status draw(void *self, float *z, size_t n, gen_error *err)
{
    run *r = self;
    if (r->drawn >= r->num_noise)
        return gen_fail(err, GEN_ERROR_INTERNAL, "more than %d draws of noise", r->num_noise);
    memcpy(z, r->noise + (size_t)r->drawn++ * n, n * sizeof *z);
    return GEN_OK;
}

/* Clipping comes after the denoiser, so the estimates are taken from the report. */
static gen_status keep_clipped(void *self, const gen_step_report *report, gen_error *err)
{
    run *r = self;
    (void)err;
    if (r->config.clip_sample || r->config.thresholding)
        keep(r, r->pred + (size_t)(r->calls - 1) * r->n, report->denoised);
    return GEN_OK;
}

/* ---- a case ------------------------------------------------------------------------------------
 */

static double *numbers(run *r, const json_t *list, int *count)
{
    *count = (int)json_array_size(list);
    double *values = golden_alloc(r->f, (size_t)*count, sizeof *values);
    for (int i = 0; values && i < *count; i++)
        values[i] = json_number_value(json_array_get(list, (size_t)i));
    return values;
}

static gen_status set_key(run *r, const char *name, const json_t *value, gen_error *err)
{
    int count;
    if (json_is_number(value))
        return gen_scheduler_config_set_number(&r->config, name, json_number_value(value), err);
    if (json_is_boolean(value))
        return gen_scheduler_config_set_bool(&r->config, name, json_is_true(value), err);
    if (json_is_string(value))
        return gen_scheduler_config_set_string(&r->config, name, json_string_value(value), err);
    if (json_is_array(value)) {
        const double *values = numbers(r, value, &count);
        return gen_scheduler_config_set_numbers(&r->config, name, values, count, err);
    }
    return GEN_OK;
}

/* The class a case names: a diffusers class, or a function or loop of another project. */
static const char *class_of(const char *scheduler)
{
    const char *dot = strrchr(scheduler, '.');
    if (strncmp(scheduler, "DiT create_diffusion(", 21) == 0)
        return "GaussianDiffusion";
    if (strncmp(scheduler, "rCM", 3) == 0)
        return "rCM";
    return dot ? dot + 1 : scheduler;
}

static gen_status configure(run *r, gen_error *err)
{
    const char *name, *scheduler = json_string_value(json_object_get(r->spec, "scheduler"));
    const char *class_name = class_of(scheduler ? scheduler : "");
    json_t *value, *config = json_object_get(r->spec, "config");
    const json_t *args = json_object_get(r->spec, "set_timesteps");
    GEN_TRY(gen_scheduler_config_init(&r->config, class_name, err));
    json_object_foreach(config, name, value) GEN_TRY(set_key(r, name, value, err));
    json_object_foreach(json_object_get(r->spec, "step_args"), name, value)
        GEN_TRY(set_key(r, name, value, err));
    r->sampler = gen_sampler_of(&r->config);
    if (strstr(scheduler, "ddim_sample_loop"))
        r->sampler = gen_sampler_find("ddim");
    r->unit = 1;
    r->config.time_number = GEN_TIME_REAL; /* the stand-in takes times as they come */
    if (strcmp(class_name, "SCMScheduler") == 0) {
        json_t *middle = json_object_get(args, "intermediate_timesteps");
        json_t *first = json_object_get(args, "max_timesteps");
        r->unit = (float)json_number_value(json_object_get(config, "sigma_data"));
        r->config.spreads_angles = json_is_null(middle);
        r->middle = json_number_value(middle);
        if (r->middle > 0)
            GEN_TRY(gen_scheduler_config_set_numbers(&r->config, "mid_t", &r->middle, 1, err));
        if (json_is_number(first))
            GEN_TRY(set_key(r, "max_timesteps", first, err));
    }
    return GEN_OK;
}

static gen_status make_schedule(run *r, gen_error *err)
{
    const json_t *args = json_object_get(r->spec, "set_timesteps");
    const json_t *mu = json_object_get(args, "mu"), *sigmas = json_object_get(args, "sigmas");
    const json_t *times = json_object_get(args, "timesteps");
    gen_schedule_params p = {
        .num_steps = (int)json_integer_value(json_object_get(r->spec, "num_inference_steps")),
        .sampler = r->sampler,
        .has_mu = json_is_number(mu),
        .mu = json_number_value(mu)};
    if (json_is_array(sigmas))
        p.sigmas = numbers(r, sigmas, &p.num_sigmas);
    if (json_is_array(times))
        p.timesteps = numbers(r, times, &p.num_timesteps);
    return gen_schedule_new(&r->schedule, &r->config, &p, err);
}

static bool allocate(run *r)
{
    const json_t *model = json_object_get(r->spec, "model");
    const gen_weight *x = golden_find(r->f, key(r, "x"));
    if (!x || x->rank < 2 || x->dims[0] < 1) {
        golden_fail(r->f, "%s: no latents are recorded", r->name);
        return false;
    }
    r->num_calls = (int)x->dims[0];
    r->n = golden_count(x) / (size_t)r->num_calls;
    r->num_samples = (int)x->dims[1];
    r->a = json_number_value(json_object_get(model, "a"));
    r->b = json_number_value(json_object_get(model, "b"));
    if (has(r, "model_out"))
        r->model_out = golden_load(r->f, key(r, "model_out"));
    if (json_is_true(json_object_get(model, "learned_variance_half")) &&
        !(r->variance = golden_alloc(r->f, r->n, sizeof *r->variance)))
        return false;
    if (has(r, "noise")) {
        r->noise = golden_load(r->f, key(r, "noise"));
        r->num_noise = (int)golden_find(r->f, key(r, "noise"))->dims[0];
    }
    const size_t all = (size_t)r->num_calls * r->n;
    r->model_in = golden_alloc(r->f, all, sizeof *r->model_in);
    r->x = golden_alloc(r->f, all, sizeof *r->x);
    r->pred = golden_alloc(r->f, all + r->n, sizeof *r->pred);
    r->times = golden_alloc(r->f, (size_t)r->num_calls + 1, sizeof *r->times);
    r->sigmas = golden_alloc(r->f, (size_t)r->num_calls + 1, sizeof *r->sigmas);
    return r->model_in && r->x && r->pred && r->times && r->sigmas;
}

static gen_status solve(run *r, gen_error *err)
{
    float *last = r->x + (size_t)(r->num_calls - 1) * r->n;
    float *x = golden_load(r->f, key(r, "x_init"));
    if (!x)
        return gen_fail(err, GEN_ERROR_INPUT, "no start is recorded");
    r->network = (gen_denoiser){.self = r, .n = r->n, .denoise = network};
    r->recorder = (gen_denoiser){.self = r, .n = r->n, .denoise = record};
    for (size_t k = 0; k < r->n; k++)
        x[k] /= r->unit;
    GEN_TRY(gen_prediction_of(&r->prediction, &r->network, &r->config, err));
    const gen_solve_params p = {.denoiser = &r->recorder,
                                .schedule = r->schedule,
                                .config = &r->config,
                                .noise = {r, draw},
                                .variance = r->variance,
                                .num_samples = r->num_samples,
                                .on_step = keep_clipped,
                                .on_step_self = r};
    const gen_status status = gen_solve(r->sampler, &p, x, err);
    gen_denoiser_free(r->prediction);
    keep(r, last, x);
    return status;
}

static void compare_noising(run *r)
{
    const double *time = golden_load_f64(r->f, key(r, "add_noise_t"));
    const float *x0 = golden_load(r->f, key(r, "add_noise_x0"));
    const float *noise = golden_load(r->f, key(r, "add_noise_noise"));
    float *out = golden_alloc(r->f, r->n, sizeof *out);
    if (!time || !x0 || !noise || !out)
        return;
    for (int i = 0; i < r->schedule->num_steps; i++) {
        if (fabs(r->schedule->steps[i].time - *time) > 1e-3)
            continue;
        const bool is_reversed = r->config.time_rule == GEN_TIME_REVERSED; /* 1 - tau for tau */
        gen_schedule_add_noise(r->schedule, i, is_reversed ? noise : x0, is_reversed ? x0 : noise,
                               out, r->n);
        golden_compare(r->f, key(r, "add_noise_out"), out, r->n, TOLERANCE);
        return;
    }
    golden_fail(r->f, "%s: no step at time %g to add noise at", r->name, *time);
}

/* The levels of the run.  A bridge walks on the whole times of a flow schedule, whose levels are
 * what its reference shows. */
static void compare_sigmas(run *r)
{
    const size_t count = golden_count(golden_find(r->f, key(r, "sigmas")));
    const gen_schedule *s = r->schedule;
    const bool is_bridge = r->config.network == GEN_NETWORK_BRIDGE;
    gen_schedule *flow = NULL;
    gen_scheduler_config config;
    gen_error err = {0};
    if (is_bridge) {
        const gen_schedule_params p = {.num_steps = s->num_steps};
        if (gen_scheduler_config_init(&config, "UniPCMultistepScheduler", &err) ||
            gen_scheduler_config_set_bool(&config, "use_flow_sigmas", true, &err) ||
            gen_scheduler_config_set_number(&config, "flow_shift", r->config.shift, &err) ||
            gen_schedule_new(&flow, &config, &p, &err)) {
            golden_fail(r->f, "%s: %s", r->name, err.message);
            return;
        }
        for (int i = 0; i < flow->num_steps; i++)
            r->sigmas[i] = flow->steps[i].from.sigma;
    }
    const gen_level end = is_bridge ? (gen_level){1, 0} : s->steps[s->num_steps - 1].to;
    r->sigmas[r->num_calls] =
        r->config.process == GEN_PROCESS_FLOW ? end.sigma : gen_level_kappa(end);
    for (int i = 0; r->config.time_rule == GEN_TIME_REVERSED && i <= r->num_calls; i++)
        r->sigmas[i] = 1 - r->sigmas[i];
    golden_compare_f64(r->f, key(r, "sigmas"), r->sigmas, count, TOLERANCE);
    gen_schedule_free(flow);
}

/* The angles of TrigFlow, and their times as rectified flow. */
static void compare_angles(run *r)
{
    const gen_schedule *s = r->schedule;
    const size_t n = (size_t)s->num_steps;
    double *theta = golden_alloc(r->f, n + 1, sizeof *theta);
    double *tau = golden_alloc(r->f, n + 1, sizeof *tau);
    for (size_t i = 0; theta && tau && i <= n; i++) {
        const gen_level level = i < n ? s->steps[i].from : s->steps[n - 1].to;
        theta[i] = atan(gen_level_kappa(level));
        tau[i] = level.sigma;
    }
    golden_compare_f64(r->f, key(r, "t_trigflow"), theta, n + 1, TOLERANCE);
    golden_compare_f64(r->f, key(r, "t_rectflow"), tau, n + 1, TOLERANCE);
    golden_compare_f64(r->f, key(r, "model_timesteps"), r->times, n, TOLERANCE);
}

static void compare(run *r)
{
    const size_t all = (size_t)r->num_calls * r->n;
    const gen_weight *times = golden_find(r->f, key(r, "timesteps"));
    golden_check(r->f, r->calls == r->num_calls, "%s: %d network calls, expected %d", r->name,
                 r->calls, r->num_calls);
    golden_check(r->f, r->drawn == r->num_noise, "%s: %d draws of noise, expected %d", r->name,
                 r->drawn, r->num_noise);
    if (times) /* some lists include the clean end */
        golden_compare_f64(r->f, key(r, "timesteps"), r->times,
                           (size_t)r->num_calls + (golden_count(times) > (size_t)r->num_calls),
                           TOLERANCE);
    if (has(r, "t_trigflow"))
        compare_angles(r);
    if (has(r, "sigmas"))
        compare_sigmas(r);
    if (has(r, "model_in"))
        golden_compare(r->f, key(r, "model_in"), r->model_in, all, TOLERANCE);
    golden_compare(r->f, key(r, "x"), r->x, all, TOLERANCE);
    if (has(r, "pred"))
        golden_compare(r->f, key(r, "pred"), r->pred, all, TOLERANCE);
    if (has(r, "add_noise_out"))
        compare_noising(r);
}

/* Returns false when the scheduler of the case is one that does not exist here yet. */
static bool check(golden_fixture *f, const char *name, const json_t *spec)
{
    gen_error err = {0};
    run r = {.f = f, .name = name, .spec = spec};
    bool exists = true;
    if (configure(&r, &err) || make_schedule(&r, &err))
        exists = false;
    else if (!allocate(&r))
        exists = true;
    else if (solve(&r, &err))
        golden_fail(f, "%s: %s", name, err.message);
    else
        compare(&r);
    gen_schedule_free(r.schedule);
    return exists;
}

void golden_schedulers(golden_fixture *f)
{
    const char *name, *first = NULL;
    json_t *spec;
    int missing = 0, all = 0;
    if (!f->settings) {
        golden_skip(f, "no %s.json", f->name);
        return;
    }
    json_object_foreach(f->settings->root, name, spec)
    {
        all++;
        if (check(f, name, spec))
            continue;
        missing++;
        if (f->is_verbose)
            fprintf(stderr, "  %s is not built in\n", name);
        if (!first)
            first = name;
    }
    if (missing > 0)
        golden_skip(f, "%d of %d cases need what is not built in, the first is %s; the others pass",
                    missing, all, first);
}
