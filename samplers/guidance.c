/* guidance.c - a denoiser that asks denoisers: which of them, when, and how to combine them. */
#include "samplers/guidance.h"

#include <math.h>
#include <string.h>

#include "gen/core/alloc.h"
#include "samplers/names.h"

/* ---- finding -----------------------------------------------------------------------------------
 */

const gen_guidance_info *gen_guidance_kind_at(int i)
{
    for (int k = 0; gen_guidances[k]; k++)
        if (k == i)
            return &gen_guidances[k]->info;
    return NULL;
}

static const gen_guidance_kind *find_kind(const char *name)
{
    if (!name)
        return &gen_guidance_cfg;
    for (int i = 0; gen_guidances[i]; i++)
        if (gen_name_matches(name, gen_guidances[i]->info.name, gen_guidances[i]->info.aliases))
            return gen_guidances[i];
    return NULL;
}

double gen_guidance_scale_of(const gen_guidance_params *params)
{
    return params->guidance_scale != 0 ? params->guidance_scale : 1;
}

bool gen_guidance_needs(const gen_guidance_params *params, int branch)
{
    const gen_guidance_kind *kind = find_kind(params->kind);
    return branch == GEN_BRANCH_CONDITIONAL || (kind && kind->needs(params, branch));
}

/* ---- the denoiser ------------------------------------------------------------------------------
 */

typedef struct guidance {
    gen_denoiser base;
    const gen_guidance_kind *kind;
    gen_guidance_params params;
    const gen_denoiser *branches[GEN_MAX_BRANCHES];
    int num_samples;
    float *answers; /* [GEN_MAX_BRANCHES][n], then the state [n] */
} guidance;

/* Guidance may be limited to a range of noise levels (Kynkaanniemi et al. 2024) and of steps. */
static bool is_on(const gen_guidance_params *p, const gen_point *at)
{
    const double kappa = gen_level_kappa(at->level), stop = p->stop > 0 ? p->stop : 1;
    if (kappa <= p->interval_low || (p->interval_high > 0 && kappa > p->interval_high))
        return p->interval_low <= 0 && p->interval_high <= 0;
    return at->step >= (int)(p->start * at->num_steps) && at->step < (int)(stop * at->num_steps) &&
           at->step < at->num_steps * (1 - p->skip_last);
}

double gen_guidance_negative_factor(double scale, int num_steps, int step)
{
    return pow(scale, 1 + (step < num_steps ? step : num_steps));
}

double gen_guidance_dynamic_scale(double g, int step, int num_steps)
{
    const double left = (double)(num_steps - step) / num_steps;
    return g / 2 + g / 2 * (1 - cos(acos(-1) * pow(left, 5))) / 2;
}

/* The parameters of this step. */
static gen_guidance_params params_at(const gen_guidance_params *p, const gen_point *at)
{
    gen_guidance_params now = *p;
    if (p->is_dynamic) {
        now.guidance_scale =
            gen_guidance_dynamic_scale(gen_guidance_scale_of(p), at->step, at->num_steps);
        now.image_scale = gen_guidance_dynamic_scale(p->image_scale != 0 ? p->image_scale : 1,
                                                     at->step, at->num_steps);
    }
    return now;
}

/* Channels that are not guided are the conditional branch's. */
static void restore_channels(const gen_guidance_call *call)
{
    const size_t channels = (size_t)call->params->channels;
    const size_t guided = (size_t)call->params->guided_channels;
    for (size_t k = 0; k < call->n; k++)
        if (k % channels >= guided)
            call->out[k] = call->branch[GEN_BRANCH_CONDITIONAL][k];
}

static gen_status guidance_denoise(void *self, const float *x, const gen_point *at, float *out,
                                   gen_error *err)
{
    const guidance *g = self;
    const gen_denoiser *asked[GEN_MAX_BRANCHES];
    float *answers[GEN_MAX_BRANCHES];
    const gen_guidance_params params = params_at(&g->params, at);
    gen_guidance_call call = {.params = &params, .at = at};
    const bool guided = is_on(&params, at);
    const size_t n = g->base.n, size = n / (size_t)g->num_samples;
    int num = 0;
    for (int k = 0; k < GEN_MAX_BRANCHES; k++)
        if (k == GEN_BRANCH_CONDITIONAL || (guided && g->kind->needs(&params, k))) {
            asked[num] = g->branches[k];
            answers[num++] = g->answers + (size_t)k * n;
            call.branch[k] = g->answers + (size_t)k * n;
        }
    if (num == 1) /* the conditional prediction as it is */
        return asked[0]->denoise(asked[0]->self, x, at, out, err);

    GEN_TRY(gen_denoise_all(asked, num, x, at, answers, err));
    call.n = size;
    call.out = out;
    call.state = g->kind->has_state ? g->answers + GEN_MAX_BRANCHES * n : NULL;
    for (int i = 0; i < g->num_samples; i++) {
        g->kind->combine(&call);
        if (params.rescale > 0)
            gen_guidance_rescale(call.out, call.branch[GEN_BRANCH_CONDITIONAL], size,
                                 params.rescale);
        if (params.guided_channels > 0)
            restore_channels(&call);
        for (int k = 0; k < GEN_MAX_BRANCHES; k++)
            if (call.branch[k])
                call.branch[k] += size;
        call.out += size;
        if (call.state)
            call.state += size;
    }
    return GEN_OK;
}

static void guidance_free(gen_denoiser *denoiser)
{
    guidance *g = (guidance *)denoiser;
    gen_free(g->answers);
    gen_free(g);
}

static gen_status check_params(const gen_guidance_params *p, const gen_guidance_kind *kind,
                               const gen_denoiser *const branches[GEN_MAX_BRANCHES], gen_error *err)
{
    const int num_samples = p->num_samples > 1 ? p->num_samples : 1;
    if (!kind)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "unknown guidance \"%s\"", p->kind);
    if (!isfinite(p->guidance_scale) || !(p->rescale >= 0 && p->rescale <= 1))
        return gen_fail(err, GEN_ERROR_ARGUMENT,
                        "guidance: scale %g and rescale %g, expected a number and 0 to 1",
                        p->guidance_scale, p->rescale);
    if (branches[0]->n % (size_t)num_samples != 0)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "guidance: %zu values in %d samples",
                        branches[0]->n, num_samples);
    if (p->guided_channels > 0 && p->channels < p->guided_channels)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "guidance: %d of %d channels", p->guided_channels,
                        p->channels);
    for (int k = 1; k < GEN_MAX_BRANCHES; k++)
        if (kind->needs(p, k) && !branches[k])
            return gen_fail(err, GEN_ERROR_ARGUMENT, "guidance %s needs %s prediction",
                            kind->info.name,
                            k == GEN_BRANCH_IMAGE ? "an image-only" : "an unconditional");
    return GEN_OK;
}

gen_status gen_guidance_new(gen_denoiser **out, const gen_guidance_params *params,
                            const gen_denoiser *const branches[GEN_MAX_BRANCHES], gen_error *err)
{
    const gen_guidance_kind *kind = find_kind(params->kind);
    GEN_TRY(check_params(params, kind, branches, err));
    const size_t n = branches[0]->n;
    guidance *g = gen_calloc(1, sizeof *g);
    float *answers = gen_calloc(n, (GEN_MAX_BRANCHES + 1) * sizeof *answers);
    if (!g || !answers) {
        gen_free(g);
        gen_free(answers);
        return gen_no_memory(err, "guidance", n * (GEN_MAX_BRANCHES + 1) * sizeof *answers);
    }
    *g = (guidance){.base = {.self = g, .n = n, .denoise = guidance_denoise, .free = guidance_free},
                    .kind = kind,
                    .params = *params,
                    .num_samples = params->num_samples > 1 ? params->num_samples : 1,
                    .answers = answers};
    memcpy(g->branches, branches, sizeof g->branches);
    *out = &g->base;
    return GEN_OK;
}

/* ---- norms -------------------------------------------------------------------------------------
 */

/* Standard deviation with n - 1. */
static double deviation(const float *v, size_t n)
{
    double mean = 0, sum = 0;
    for (size_t k = 0; k < n; k++)
        mean += (double)v[k] / (double)n;
    for (size_t k = 0; k < n; k++)
        sum += ((double)v[k] - mean) * ((double)v[k] - mean);
    return n > 1 ? sqrt(sum / (double)(n - 1)) : 0;
}

void gen_guidance_rescale(float *guided, const float *conditional, size_t n, double rescale)
{
    const double wide = deviation(guided, n);
    const double ratio = wide > 0 ? deviation(conditional, n) / wide : 1;
    const double factor = rescale * ratio + (1 - rescale);
    for (size_t k = 0; k < n; k++)
        guided[k] = (float)(factor * (double)guided[k]);
}

static double norm2(const float *v, size_t n)
{
    double sum = 0;
    for (size_t k = 0; k < n; k++)
        sum += (double)v[k] * v[k];
    return sqrt(sum);
}

void gen_guidance_match_norm(float *guided, const float *conditional, size_t n, int channels)
{
    const size_t width = channels > 0 ? (size_t)channels : n;
    for (size_t at = 0; at + width <= n; at += width) {
        const double own = norm2(guided + at, width);
        const double factor = own > 0 ? norm2(conditional + at, width) / own : 1;
        for (size_t k = at; k < at + width; k++)
            guided[k] = (float)(factor * (double)guided[k]);
    }
}
