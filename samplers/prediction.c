/* prediction.c - what a network's output means, and what the network must be fed.
 *
 * In the coordinates of the process the network was trained on, every prediction type gives clean
 * latents as x0 = skip x + output raw.  A sampler in other coordinates multiplies x by the crossing
 * factor first; for a VP network under a VE sampler that is the 1 / sqrt(kappa^2 + 1) of
 * k-diffusion. */
#include "samplers/samplers.h"

#include <assert.h>
#include <math.h>

#include "gen/core/alloc.h"
#include "samplers/names.h"

/* skip and output at a level of the network's own process. */
static gen_precondition epsilon(gen_level l)
{
    return (gen_precondition){1, 1 / l.alpha, -l.sigma / l.alpha};
}

static gen_precondition v_prediction(gen_level l)
{
    const double norm2 = l.alpha * l.alpha + l.sigma * l.sigma;
    return (gen_precondition){1, l.alpha / norm2, -l.sigma / norm2};
}

static gen_precondition sample(gen_level l)
{
    (void)l;
    return (gen_precondition){1, 0, 1};
}

/* eps - x0, the velocity of a straight path: x = alpha x0 + sigma (raw + x0). */
static gen_precondition flow(gen_level l)
{
    const double sum = l.alpha + l.sigma;
    return (gen_precondition){1, 1 / sum, -l.sigma / sum};
}

static const struct {
    const char *name, *aliases;
    gen_precondition (*coefficients)(gen_level level);
    bool needs_alpha; /* says nothing about x0 where alpha is 0 */
} PREDICTIONS[GEN_NUM_PREDICTIONS] = {
    [GEN_PREDICT_EPSILON] = {"epsilon", "eps, noise", epsilon, true},
    [GEN_PREDICT_V] = {"v_prediction", "v, velocity, trigflow", v_prediction, false},
    [GEN_PREDICT_SAMPLE] = {"sample", "x0", sample, false},
    [GEN_PREDICT_FLOW] = {"flow_prediction", "flow, flow_match", flow, false},
};

bool gen_prediction_parse(const char *name, gen_prediction_type *type)
{
    for (int i = 0; i < GEN_NUM_PREDICTIONS; i++)
        if (gen_name_matches(name, PREDICTIONS[i].name, PREDICTIONS[i].aliases)) {
            *type = (gen_prediction_type)i;
            return true;
        }
    return false;
}

const char *gen_prediction_name(gen_prediction_type type)
{
    return PREDICTIONS[type].name;
}

gen_status gen_precondition_at(gen_precondition *out, gen_prediction_type type, gen_process process,
                               gen_level at, gen_error *err)
{
    const double kappa = gen_level_kappa(at);
    if (isinf(kappa) && (PREDICTIONS[type].needs_alpha || process == GEN_PROCESS_VE))
        return gen_fail(err, GEN_ERROR_ARGUMENT,
                        "%s prediction cannot start from pure noise (alpha is 0 at the first step)",
                        PREDICTIONS[type].name);
    const gen_level own = gen_process_level(process, kappa);
    *out = PREDICTIONS[type].coefficients(own);
    out->input = gen_level_crossing(at, own);
    out->skip *= out->input;
    return GEN_OK;
}

/* ---- the denoiser ------------------------------------------------------------------------------
 */

typedef struct prediction {
    gen_denoiser base;
    const gen_denoiser *network;
    gen_prediction_type type;
    gen_process process;
    float *input; /* [n] */
} prediction;

static gen_status prediction_denoise(void *self, const float *x, const gen_point *at, float *out,
                                     gen_error *err)
{
    const prediction *p = self;
    const size_t n = p->base.n;
    gen_precondition c;
    GEN_TRY(gen_precondition_at(&c, p->type, p->process, at->level, err));
    for (size_t k = 0; k < n; k++)
        p->input[k] = (float)(c.input * (double)x[k]);
    gen_point own = *at;
    own.level = gen_process_level(p->process, gen_level_kappa(at->level));
    GEN_TRY(p->network->denoise(p->network->self, p->input, &own, out, err));
    for (size_t k = 0; k < n; k++)
        out[k] = (float)(c.skip * (double)x[k] + c.output * (double)out[k]);
    return GEN_OK;
}

static void prediction_free(gen_denoiser *denoiser)
{
    prediction *p = (prediction *)denoiser;
    gen_free(p->input);
    gen_free(p);
}

gen_status gen_prediction_new(gen_denoiser **out, const gen_denoiser *network,
                              gen_prediction_type type, gen_process process, gen_error *err)
{
    prediction *p = gen_calloc(1, sizeof *p);
    float *input = gen_calloc(network->n, sizeof *input);
    if (!p || !input) {
        gen_free(p);
        gen_free(input);
        return gen_no_memory(err, "prediction", network->n * sizeof *input);
    }
    *p = (prediction){.base = {.self = p,
                               .n = network->n,
                               .denoise = prediction_denoise,
                               .free = prediction_free},
                      .network = network,
                      .type = type,
                      .process = process,
                      .input = input};
    *out = &p->base;
    return GEN_OK;
}
