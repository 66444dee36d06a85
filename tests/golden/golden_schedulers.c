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
    size_t n;      /* latents */
    int num_calls; /* recorded */
    double a, b;
    const float *model_out; /* [num_calls][n], or NULL */
    const float *noise;     /* [num_noise][n] */
    int num_noise, drawn;

    gen_denoiser network, recorder;
    gen_denoiser *prediction;
    int calls;
    float *model_in, *x, *pred; /* [num_calls][n]: as seen */
    double *times, *sigmas;     /* [num_calls], [num_calls + 1] */
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

static gen_status network(void *self, const float *x, const gen_point *at, float *out,
                          gen_error *err)
{
    run *r = self;
    const size_t i = (size_t)r->calls;
    if (r->calls >= r->num_calls)
        return gen_fail(err, GEN_ERROR_INTERNAL, "more than %d network calls", r->num_calls);
    memcpy(r->model_in + i * r->n, x, r->n * sizeof *x);
    r->times[i] = at->time;
    r->sigmas[i] =
        r->config.process == GEN_PROCESS_FLOW ? at->level.sigma : gen_level_kappa(at->level);
    r->calls++;
    if (r->model_out) {
        memcpy(out, r->model_out + i * r->n, r->n * sizeof *out);
        return GEN_OK;
    }
    for (size_t k = 0; k < r->n; k++)
        out[k] = (float)(r->a * sin(x[k]) + r->b * at->time / 1000);
    return GEN_OK;
}

/* The latents at the start of a call are those after the call before it. */
static gen_status record(void *self, const float *x, const gen_point *at, float *out,
                         gen_error *err)
{
    run *r = self;
    const size_t i = (size_t)r->calls;
    if (i > 0 && r->calls <= r->num_calls)
        memcpy(r->x + (i - 1) * r->n, x, r->n * sizeof *x);
    GEN_TRY(r->prediction->denoise(r->prediction->self, x, at, out, err));
    memcpy(r->pred + i * r->n, out, r->n * sizeof *out);
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
        memcpy(r->pred + (size_t)(r->calls - 1) * r->n, report->denoised, r->n * sizeof *r->pred);
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

static gen_status configure(run *r, gen_error *err)
{
    const char *name;
    json_t *value, *config = json_object_get(r->spec, "config");
    GEN_TRY(gen_scheduler_config_init(
        &r->config, json_string_value(json_object_get(r->spec, "scheduler")), err));
    json_object_foreach(config, name, value) GEN_TRY(set_key(r, name, value, err));
    json_object_foreach(json_object_get(r->spec, "step_args"), name, value)
        GEN_TRY(set_key(r, name, value, err));
    return GEN_OK;
}

static gen_status make_schedule(run *r, gen_error *err)
{
    const json_t *args = json_object_get(r->spec, "set_timesteps");
    const json_t *mu = json_object_get(args, "mu"), *sigmas = json_object_get(args, "sigmas");
    const json_t *times = json_object_get(args, "timesteps");
    gen_schedule_params p = {
        .num_steps = (int)json_integer_value(json_object_get(r->spec, "num_inference_steps")),
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
    r->a = json_number_value(json_object_get(model, "a"));
    r->b = json_number_value(json_object_get(model, "b"));
    if (has(r, "model_out"))
        r->model_out = golden_load(r->f, key(r, "model_out"));
    if (has(r, "noise")) {
        r->noise = golden_load(r->f, key(r, "noise"));
        r->num_noise = (int)golden_find(r->f, key(r, "noise"))->dims[0];
    }
    const size_t all = (size_t)r->num_calls * r->n;
    r->model_in = golden_alloc(r->f, all, sizeof *r->model_in);
    r->x = golden_alloc(r->f, all, sizeof *r->x);
    r->pred = golden_alloc(r->f, all + r->n, sizeof *r->pred);
    r->times = golden_alloc(r->f, (size_t)r->num_calls, sizeof *r->times);
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
    GEN_TRY(gen_prediction_new(&r->prediction, &r->network, r->config.prediction_type,
                               r->config.process, err));
    const gen_solve_params p = {.denoiser = &r->recorder,
                                .schedule = r->schedule,
                                .config = &r->config,
                                .noise = {r, draw},
                                .on_step = keep_clipped,
                                .on_step_self = r};
    const gen_status status = gen_solve(gen_sampler_of(&r->config), &p, x, err);
    gen_denoiser_free(r->prediction);
    memcpy(last, x, r->n * sizeof *x);
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
        gen_schedule_add_noise(r->schedule, i, x0, noise, out, r->n);
        golden_compare(r->f, key(r, "add_noise_out"), out, r->n, TOLERANCE);
        return;
    }
    golden_fail(r->f, "%s: no step at time %g to add noise at", r->name, *time);
}

static void compare(run *r)
{
    const size_t all = (size_t)r->num_calls * r->n;
    const gen_level end = r->schedule->steps[r->schedule->num_steps - 1].to;
    r->sigmas[r->num_calls] =
        r->config.process == GEN_PROCESS_FLOW ? end.sigma : gen_level_kappa(end);
    golden_check(r->f, r->calls == r->num_calls, "%s: %d network calls, expected %d", r->name,
                 r->calls, r->num_calls);
    golden_check(r->f, r->drawn == r->num_noise, "%s: %d draws of noise, expected %d", r->name,
                 r->drawn, r->num_noise);
    golden_compare_f64(r->f, key(r, "timesteps"), r->times, (size_t)r->num_calls, TOLERANCE);
    if (has(r, "sigmas"))
        golden_compare_f64(r->f, key(r, "sigmas"), r->sigmas, (size_t)r->num_calls + 1, TOLERANCE);
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
