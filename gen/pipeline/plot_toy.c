/* plot_toy.c - toy data, its exact denoiser and its exact flow. */
#include "gen/pipeline/plot_toy.h"

#include <math.h>
#include <string.h>

#include "gen/core/alloc.h"

#define RING(cosine, sine)                                                                         \
    {                                                                                              \
        1.4 * (cosine), 1.4 * (sine)                                                               \
    }

static const gen_toy TOYS[] = {
    {"pair",
     "numbers near 1 and near \xe2\x88\x92"
     "1",
     1,
     2,
     {{-1, 0}, {1, 0}},
     {0.5, 0.5},
     0.15},
    {"gauss", "one Gaussian, mean 0.3 and variance 0.25", 1, 1, {{0.3, 0}}, {1}, 0.5},
    {"ring",
     "points in the plane, near eight places on a circle",
     2,
     8,
     {RING(1, 0), RING(0.70710678, 0.70710678), RING(0, 1), RING(-0.70710678, 0.70710678),
      RING(-1, 0), RING(-0.70710678, -0.70710678), RING(0, -1), RING(0.70710678, -0.70710678)},
     {0.125, 0.125, 0.125, 0.125, 0.125, 0.125, 0.125, 0.125},
     0.12},
};

#define NUM_TOYS ((int)(sizeof TOYS / sizeof TOYS[0]))

const gen_toy *gen_toy_at(int i)
{
    return i >= 0 && i < NUM_TOYS ? &TOYS[i] : NULL;
}

const gen_toy *gen_toy_find(const char *name)
{
    for (int i = 0; i < NUM_TOYS; i++)
        if (strcmp(name, TOYS[i].name) == 0)
            return &TOYS[i];
    return NULL;
}

double gen_toy_density(const gen_toy *toy, double x)
{
    double sum = 0;
    for (int k = 0; k < toy->num_modes; k++) {
        const double z = (x - toy->means[k][0]) / toy->deviation;
        sum += toy->weights[k] * exp(-z * z / 2);
    }
    return sum / (toy->deviation * sqrt(4 * acos(0)));
}

/* ---- the denoiser --------------------------------------------------------------------------- */

/* E[x0 | x] at x = alpha x0 + sigma eps: in each mode
 *     mean + alpha s^2 / (alpha^2 s^2 + sigma^2) (x - alpha mean),
 * and the modes by how likely they made x. */
static void denoise_point(const gen_toy *toy, gen_level level, const double *x, double *out)
{
    const double a = level.alpha, s2 = toy->deviation * toy->deviation;
    const double variance = a * a * s2 + level.sigma * level.sigma;
    const double gain = variance > 0 ? a * s2 / variance : 0;
    double logs[GEN_TOY_MAX_MODES], top = -INFINITY, sum = 0;
    for (int k = 0; k < toy->num_modes; k++) {
        double distance = 0;
        for (int d = 0; d < toy->dim; d++)
            distance += (x[d] - a * toy->means[k][d]) * (x[d] - a * toy->means[k][d]);
        logs[k] = log(toy->weights[k]) - (variance > 0 ? distance / (2 * variance) : 0);
        top = fmax(top, logs[k]);
    }
    for (int d = 0; d < toy->dim; d++)
        out[d] = 0;
    for (int k = 0; k < toy->num_modes; k++) {
        const double w = exp(logs[k] - top);
        sum += w;
        for (int d = 0; d < toy->dim; d++)
            out[d] += w * (toy->means[k][d] + gain * (x[d] - a * toy->means[k][d]));
    }
    for (int d = 0; d < toy->dim; d++)
        out[d] /= sum;
}

/* ---- the flow ------------------------------------------------------------------------------- */

/* dx/dangle = alpha eps - sigma x0 for x = cos(angle) x0 + sin(angle) eps, eps = (x - alpha x0) /
 * sigma (the trigonometric form of the probability flow); finite at pure noise. */
static void slope(const gen_toy *toy, double angle, const double *x, double *out)
{
    const gen_level level = {cos(angle), sin(angle)};
    double clean[2];
    denoise_point(toy, level, x, clean);
    for (int d = 0; d < toy->dim; d++) {
        const double eps = (x[d] - level.alpha * clean[d]) / level.sigma;
        out[d] = level.alpha * eps - level.sigma * clean[d];
    }
}

/* One step of the classical Runge-Kutta method. */
static void advance(const gen_toy *toy, double angle, double h, double *x)
{
    double k[4][2], y[2];
    const double at[4] = {0, 0.5, 0.5, 1};
    for (int i = 0; i < 4; i++) {
        for (int d = 0; d < toy->dim; d++)
            y[d] = x[d] + (i ? h * at[i] * k[i - 1][d] : 0);
        slope(toy, angle + at[i] * h, y, k[i]);
    }
    for (int d = 0; d < toy->dim; d++)
        x[d] += h / 6 * (k[0][d] + 2 * k[1][d] + 2 * k[2][d] + k[3][d]);
}

#define LAST_ANGLE 1e-3 /* eps is 0/0 at 0 */

/* The clean end of the trajectory through x: what a consistency model learns. */
static void follow_point(const gen_toy *toy, gen_level level, double *x)
{
    enum { STEPS = 100 };
    const double scale = hypot(level.alpha, level.sigma), first = atan2(level.sigma, level.alpha);
    const double h = (LAST_ANGLE - first) / STEPS;
    for (int d = 0; d < toy->dim; d++)
        x[d] /= scale;
    for (int k = 0; k < STEPS && first > LAST_ANGLE; k++)
        advance(toy, first + k * h, h, x);
    for (int d = 0; d < toy->dim; d++)
        x[d] /= cos(first > LAST_ANGLE ? LAST_ANGLE : first);
}

static gen_status denoise(void *self, const float *x, const gen_point *at, float *out,
                          gen_error *err)
{
    gen_toy_denoiser *t = self;
    const size_t dim = (size_t)t->toy->dim;
    (void)err;
    t->calls++;
    for (size_t i = 0; i < t->base.n; i += dim) {
        double in[2] = {x[i], dim > 1 ? (double)x[i + 1] : 0}, clean[2];
        if (t->is_consistency)
            follow_point(t->toy, at->level, in);
        else
            denoise_point(t->toy, at->level, in, clean);
        for (size_t d = 0; d < dim; d++)
            out[i + d] = (float)(t->is_consistency ? in : clean)[d];
    }
    return GEN_OK;
}

void gen_toy_denoiser_init(gen_toy_denoiser *out, const gen_toy *toy, size_t num_points)
{
    *out = (gen_toy_denoiser){.toy = toy};
    out->base = (gen_denoiser){.self = out, .n = num_points * (size_t)toy->dim, .denoise = denoise};
}

/* ---- a sampler's way ------------------------------------------------------------------------ */

static gen_status path_new(gen_toy_path *path, size_t n, int num_states, gen_error *err)
{
    *path = (gen_toy_path){.n = n};
    path->states = gen_calloc(n * (size_t)num_states, sizeof *path->states);
    path->angles = gen_calloc((size_t)num_states, sizeof *path->angles);
    if (path->states && path->angles)
        return GEN_OK;
    gen_toy_path_free(path);
    return gen_no_memory(err, "plot", n * (size_t)num_states * sizeof *path->states);
}

void gen_toy_path_free(gen_toy_path *path)
{
    gen_free(path->states);
    gen_free(path->angles);
    *path = (gen_toy_path){0};
}

static void keep(gen_toy_path *path, gen_level level, const float *x)
{
    const double scale = hypot(level.alpha, level.sigma);
    path->angles[path->num_states] = atan2(level.sigma, level.alpha);
    for (size_t k = 0; k < path->n; k++)
        path->states[(size_t)path->num_states * path->n + k] = x[k] / scale;
    path->num_states++;
}

static gen_status on_step(void *self, const gen_step_report *report, gen_error *err)
{
    (void)err;
    keep(self, report->level, report->x);
    return GEN_OK;
}

gen_status gen_toy_run(gen_toy_path *out, const gen_toy *toy, const gen_sampler *sampler,
                       const gen_schedule *schedule, const gen_scheduler_config *config,
                       const float *start, size_t n, uint64_t seed, gen_error *err)
{
    gen_toy_denoiser denoiser;
    gen_channel_noise noise = {0};
    gen_rng rng;
    gen_status status;
    gen_toy_denoiser_init(&denoiser, toy, n / (size_t)toy->dim);
    denoiser.is_consistency = config->network == GEN_NETWORK_CONSISTENCY;
    gen_rng_init(&rng, GEN_RNG_GEN, seed);
    GEN_TRY(path_new(out, n, schedule->num_steps + 1, err));
    float *x = gen_malloc(n * sizeof *x);
    if (!x) {
        status = gen_no_memory(err, "plot", n * sizeof *x);
        goto done;
    }
    for (size_t k = 0; k < n; k++)
        x[k] = (float)(schedule->init_scale * (double)start[k]);
    keep(out, schedule->steps[0].from, x);
    if ((status = gen_channel_noise_init(&noise, &rng, 1, n, err)))
        goto done;
    const gen_solve_params params = {
        .denoiser = &denoiser.base,
        .schedule = schedule,
        .config = config,
        .noise = gen_channel_noise_source(&noise),
        .on_step = on_step,
        .on_step_self = out,
    };
    status = gen_solve(sampler, &params, x, err);
    out->calls = denoiser.calls;
done:
    gen_channel_noise_clear(&noise);
    gen_free(x);
    if (status)
        gen_toy_path_free(out);
    return status;
}

/* ---- the exact way -------------------------------------------------------------------------- */

gen_status gen_toy_exact(gen_toy_path *out, const gen_toy *toy, const gen_schedule *schedule,
                         const float *start, size_t n, int num_states, gen_error *err)
{
    enum { SUBSTEPS = 4 };
    const gen_level from = schedule->steps[0].from;
    const double first = atan2(from.sigma, from.alpha), last = LAST_ANGLE;
    const double scale = schedule->init_scale / hypot(from.alpha, from.sigma);
    const size_t dim = (size_t)toy->dim;
    GEN_TRY(path_new(out, n, num_states, err));
    out->num_states = num_states;
    const double h = (last - first) / ((num_states - 1) * SUBSTEPS);
    for (size_t i = 0; i < n; i += dim) {
        double x[2] = {0, 0};
        for (size_t d = 0; d < dim; d++)
            x[d] = scale * (double)start[i + d];
        for (int s = 0; s < num_states; s++) {
            out->angles[s] = first + s * SUBSTEPS * h;
            for (size_t d = 0; d < dim; d++)
                out->states[(size_t)s * n + i + d] = x[d];
            for (int k = 0; k < SUBSTEPS && s + 1 < num_states; k++)
                advance(toy, first + (s * SUBSTEPS + k) * h, h, x);
        }
    }
    return GEN_OK;
}
