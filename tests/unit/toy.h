/* toy.h - a network that is exact for data N(mu, s^2), and a noise source that replays a list. */
#ifndef GEN_TESTS_TOY_H
#define GEN_TESTS_TOY_H

#include "samplers/samplers.h"
#include "tests/test.h"

#define TOY_MU       0.3
#define TOY_VARIANCE 0.25

/* E[x0 | x] = mu + alpha s^2 (x - alpha mu) / (alpha^2 s^2 + sigma^2) */
static inline gen_status toy_denoise(void *self, const float *x, const gen_point *at, float *out,
                                     gen_error *err)
{
    const gen_denoiser *d = self;
    const double alpha = at->level.alpha, sigma = at->level.sigma;
    const double gain = alpha * TOY_VARIANCE / (alpha * alpha * TOY_VARIANCE + sigma * sigma);
    (void)err;
    for (size_t k = 0; k < d->n; k++)
        out[k] = (float)(TOY_MU + gain * ((double)x[k] - alpha * TOY_MU));
    return GEN_OK;
}

/* Where the probability flow carries x from one level to another. */
static inline double toy_exact(double x, gen_level from, gen_level to)
{
    const double a = from.alpha, b = to.alpha;
    return b * TOY_MU + (x - a * TOY_MU) * sqrt(b * b * TOY_VARIANCE + to.sigma * to.sigma) /
                            sqrt(a * a * TOY_VARIANCE + from.sigma * from.sigma);
}

/* The consistency function: the clean end of the trajectory through x, instead of the mean. */
static inline gen_status toy_consistency(void *self, const float *x, const gen_point *at,
                                         float *out, gen_error *err)
{
    const gen_denoiser *d = self;
    (void)err;
    for (size_t k = 0; k < d->n; k++)
        out[k] = (float)toy_exact(x[k], at->level, (gen_level){1, 0});
    return GEN_OK;
}

typedef gen_status toy_function(void *self, const float *x, const gen_point *at, float *out,
                                gen_error *err);

typedef struct toy_noise {
    const float *z;
    int num, drawn;
} toy_noise;

static inline gen_status toy_draw(void *self, float *z, size_t n, gen_error *err)
{
    toy_noise *noise = self;
    (void)err;
    for (size_t k = 0; k < n; k++)
        z[k] = noise->drawn < noise->num ? noise->z[noise->drawn] : NAN;
    noise->drawn++;
    return GEN_OK;
}

typedef struct toy_record {
    float x[64];
    int num;
} toy_record;

static inline gen_status toy_keep(void *self, const gen_step_report *report, gen_error *err)
{
    toy_record *record = self;
    (void)err;
    record->x[record->num++] = report->x[0];
    return GEN_OK;
}

/* Runs a sampler on one number; the states after each step are in *record. */
static inline gen_status toy_solve(const gen_sampler *sampler, toy_function *denoise,
                                   const gen_schedule *schedule, const gen_scheduler_config *config,
                                   float start, toy_noise *noise, toy_record *record,
                                   gen_error *err)
{
    gen_denoiser toy = {.n = 1, .denoise = denoise};
    toy.self = &toy;
    const gen_solve_params params = {.denoiser = &toy,
                                     .schedule = schedule,
                                     .config = config,
                                     .noise = {noise, noise ? toy_draw : NULL},
                                     .on_step = toy_keep,
                                     .on_step_self = record};
    float x = start;
    record->num = 0;
    return gen_solve(sampler, &params, &x, err);
}

#endif
