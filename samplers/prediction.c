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

/* What some predictions are scaled by. */
typedef struct scales {
    double data, min; /* sigma_data, sigma_min */
} scales;

/* input, skip and output at a level of the network's own process. */
static gen_precondition epsilon(gen_level l, scales s)
{
    (void)s;
    return (gen_precondition){1, 1 / l.alpha, -l.sigma / l.alpha};
}

static gen_precondition v_prediction(gen_level l, scales s)
{
    const double norm2 = l.alpha * l.alpha + l.sigma * l.sigma;
    (void)s;
    return (gen_precondition){1, l.alpha / norm2, -l.sigma / norm2};
}

static gen_precondition sample(gen_level l, scales s)
{
    (void)l;
    (void)s;
    return (gen_precondition){1, 0, 1};
}

/* eps - x0, the velocity of a straight path: x = alpha x0 + sigma (raw + x0). */
static gen_precondition flow(gen_level l, scales s)
{
    const double sum = l.alpha + l.sigma;
    (void)s;
    return (gen_precondition){1, 1 / sum, -l.sigma / sum};
}

static gen_precondition reverse_flow(gen_level l, scales s)
{
    const gen_precondition forward = flow(l, s);
    return (gen_precondition){1, forward.skip, -forward.output};
}

/* Karras et al. 2022, table 1, with sigma = kappa. */
static gen_precondition edm(gen_level l, scales s)
{
    const double norm = hypot(l.sigma, s.data);
    return (gen_precondition){1 / norm, s.data * s.data / (norm * norm), l.sigma * s.data / norm};
}

/* Lu & Song 2024, eq. 3: f = cos(theta) x - sin(theta) sigma_d F(x / sigma_d), tan theta =
 * kappa / sigma_d; in VE coordinates x / cos(theta). */
static gen_precondition trigflow(gen_level l, scales s)
{
    const gen_precondition e = edm(l, s);
    return (gen_precondition){e.input, e.skip, -e.output};
}

/* Song et al. 2023, app. C: EDM's, moved so that x0 = x at sigma_min. */
static gen_precondition consistency(gen_level l, scales s)
{
    const double above = l.sigma - s.min, norm = hypot(l.sigma, s.data);
    return (gen_precondition){1 / norm, s.data * s.data / (above * above + s.data * s.data),
                              above * s.data / norm};
}

/* x0 = x - rho u, with rho = kappa^2 the variance a bridge has gathered (bridge.c). */
static gen_precondition bridge(gen_level l, scales s)
{
    (void)s;
    return (gen_precondition){1, 1, -l.sigma * l.sigma};
}

static gen_precondition difference(gen_level l, scales s)
{
    (void)l;
    (void)s;
    return (gen_precondition){1, 1, -1};
}

static const struct {
    const char *name, *aliases;
    gen_precondition (*coefficients)(gen_level level, scales scales);
    bool needs_alpha; /* says nothing about x0 where alpha is 0 */
    bool is_ve;       /* whatever the process: in VE coordinates */
} PREDICTIONS[GEN_NUM_PREDICTIONS] = {
    [GEN_PREDICT_EPSILON] = {"epsilon", "eps, noise", epsilon, true, false},
    [GEN_PREDICT_V] = {"v_prediction", "v, velocity, trigflow", v_prediction, false, false},
    [GEN_PREDICT_SAMPLE] = {"sample", "x0", sample, false, false},
    [GEN_PREDICT_FLOW] = {"flow_prediction", "flow, flow_match", flow, false, false},
    [GEN_PREDICT_REVERSE_FLOW] = {"reverse_flow", "magi", reverse_flow, false, false},
    [GEN_PREDICT_EDM] = {"edm", "", edm, true, true},
    [GEN_PREDICT_TRIGFLOW] = {"scm", "", trigflow, true, true},
    [GEN_PREDICT_CONSISTENCY] = {"consistency", "cm", consistency, true, true},
    [GEN_PREDICT_BRIDGE] = {"bridge_velocity", "vibt", bridge, true, true},
    [GEN_PREDICT_DIFFERENCE] = {"difference", "bbdm", difference, true, true},
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

static gen_process own_process(gen_prediction_type type, gen_process process)
{
    return PREDICTIONS[type].is_ve ? GEN_PROCESS_VE : process;
}

static gen_status coefficients(gen_precondition *out, gen_prediction_type type, gen_process process,
                               scales s, gen_level at, gen_error *err)
{
    const gen_process own = own_process(type, process);
    const double kappa = gen_level_kappa(at);
    if (isinf(kappa) && (PREDICTIONS[type].needs_alpha || own == GEN_PROCESS_VE))
        return gen_fail(err, GEN_ERROR_ARGUMENT,
                        "%s prediction cannot start from pure noise (alpha is 0 at the first step)",
                        PREDICTIONS[type].name);
    const gen_level level = gen_process_level(own, kappa);
    const double crossing = gen_level_crossing(at, level);
    *out = PREDICTIONS[type].coefficients(level, s);
    out->input *= crossing;
    out->skip *= crossing;
    return GEN_OK;
}

gen_status gen_precondition_at(gen_precondition *out, gen_prediction_type type, gen_process process,
                               gen_level at, gen_error *err)
{
    return coefficients(out, type, process, (scales){0.5, 0.002}, at, err);
}

gen_status gen_precondition_of(gen_precondition *out, const gen_scheduler_config *config,
                               gen_level at, gen_error *err)
{
    return coefficients(out, config->prediction_type, config->process,
                        (scales){config->sigma_data, config->sigma_min}, at, err);
}

/* Eight significant bits, ties to even. */
static double bf16(double value)
{
    int exponent;
    const double mantissa = frexp(value, &exponent);
    return ldexp(rint(mantissa * 256), exponent - 8);
}

double gen_time_rounded(gen_time_number number, double time)
{
    switch (number) {
    case GEN_TIME_WHOLE:
        return trunc(time);
    case GEN_TIME_BF16:
        return bf16(time);
    default:
        return time;
    }
}

/* ---- the denoiser ------------------------------------------------------------------------------
 */

typedef struct prediction {
    gen_denoiser base;
    const gen_denoiser *network;
    gen_prediction_type type;
    gen_process process;
    scales scales;
    gen_time_number time_number;
    float *input; /* [n] */
} prediction;

static gen_status prediction_denoise(void *self, const float *x, const gen_point *at, float *out,
                                     gen_error *err)
{
    const prediction *p = self;
    const size_t n = p->base.n;
    gen_precondition c = {0};
    GEN_TRY(coefficients(&c, p->type, p->process, p->scales, at->level, err));
    for (size_t k = 0; k < n; k++)
        p->input[k] = (float)(c.input * (double)x[k]);
    gen_point own = *at;
    own.level = gen_process_level(own_process(p->type, p->process), gen_level_kappa(at->level));
    own.time = gen_time_rounded(p->time_number, at->time);
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

static gen_status make(gen_denoiser **out, const gen_denoiser *network, gen_prediction_type type,
                       gen_process process, scales s, gen_time_number number, gen_error *err)
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
                      .scales = s,
                      .time_number = number,
                      .input = input};
    *out = &p->base;
    return GEN_OK;
}

gen_status gen_prediction_new(gen_denoiser **out, const gen_denoiser *network,
                              gen_prediction_type type, gen_process process, gen_error *err)
{
    return make(out, network, type, process, (scales){0.5, 0.002}, GEN_TIME_REAL, err);
}

gen_status gen_prediction_of(gen_denoiser **out, const gen_denoiser *network,
                             const gen_scheduler_config *config, gen_error *err)
{
    return make(out, network, config->prediction_type, config->process,
                (scales){config->sigma_data, config->sigma_min}, config->time_number, err);
}
