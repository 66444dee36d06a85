/* calls.c - how often a request asks its network: the sampler itself is run on one number. */
#include "gen/pipeline/generate.h"

typedef struct counter {
    gen_denoiser base;
    int calls;
} counter;

static gen_status count(void *self, const float *x, const gen_point *at, float *out, gen_error *err)
{
    counter *c = self;
    (void)at;
    (void)err;
    c->calls++;
    *out = *x;
    return GEN_OK;
}

static gen_status draw_nothing(void *self, float *z, size_t n, gen_error *err)
{
    (void)self;
    (void)err;
    for (size_t k = 0; k < n; k++)
        z[k] = 0;
    return GEN_OK;
}

gen_status gen_sampling_count_calls(int *num_calls, const gen_sampling *s,
                                    const gen_generate_params *p, gen_error *err)
{
    gen_schedule *schedule;
    counter c = {.base = {.n = 1, .denoise = count}};
    float x = 0;
    const float variance = 0; /* whatever a network would say of it */
    c.base.self = &c;
    GEN_TRY(gen_sampling_schedule(&schedule, s, p, err));
    gen_status status = p->init_image ? gen_schedule_cut(schedule, p->strength, err) : GEN_OK;
    if (!status) {
        const gen_solve_params params = {.denoiser = &c.base,
                                         .schedule = schedule,
                                         .config = &s->config,
                                         .variance = &variance,
                                         .noise = {.draw = draw_nothing}};
        status = gen_solve(s->sampler, &params, &x, err);
    }
    gen_schedule_free(schedule);
    *num_calls = c.calls;
    return status;
}
