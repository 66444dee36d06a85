/* schedule.c - from a configuration and a number of steps to the levels that are visited. */
#include "samplers/schedule.h"

#include <math.h>
#include <string.h>

#include "gen/core/alloc.h"
#include "samplers/names.h"
#include "samplers/solver.h"

/* ---- the table ---------------------------------------------------------------------------------
 */

/* name, aliases, paper, purpose; serves flow networks, discrete VP networks; function */
static const gen_schedule_kind KINDS[] = {
    {{"discrete", "normal, default", "k-diffusion",
      "evenly in training time, log-interpolated: Stable Diffusion files without a configuration"},
     false,
     true,
     gen_fill_discrete},
    {{"leading", "", "Ho et al. 2020", "every (T/n)-th training time from below: SD 1.x, SDXL"},
     false,
     true,
     gen_fill_leading},
    {{"trailing", "", "Lin et al. 2024", "from the noisiest time down: few steps, zero-SNR models"},
     false,
     true,
     gen_fill_trailing},
    {{"linspace", "", "", "evenly, both ends included"}, false, true, gen_fill_linspace},
    {{"sgm_uniform", "sgm uniform", "", "evenly in time without the last: few steps, turbo models"},
     false,
     true,
     gen_fill_sgm_uniform},
    {{"simple", "", "", "every (T/n)-th training time from above"}, false, true, gen_fill_simple},
    {{"karras", "", "Karras et al. 2022", "dense near the clean end: 15 to 30 steps"},
     true,
     true,
     gen_fill_karras},
    {{"exponential", "", "", "equal ratios between sigmas"}, true, true, gen_fill_exponential},
    {{"kl_optimal", "", "Sabour et al. 2024", "equal angles of atan sigma"},
     false,
     true,
     gen_fill_kl_optimal},
    {{"beta", "", "Lee et al. 2024", "more steps at both ends: 10 to 30 steps"},
     false,
     true,
     gen_fill_beta},
    {{"beta_sigmas", "", "Lee et al. 2024", "the same in sigma, as diffusers' use_beta_sigmas"},
     true,
     true,
     gen_fill_beta_sigmas},
    {{"ays", "align_your_steps, ays_sd1", "Sabour et al. 2024", "SD 1.x, about 10 steps"},
     false,
     true,
     gen_fill_ays},
    {{"ays_sdxl", "", "Sabour et al. 2024", "SDXL, about 10 steps"},
     false,
     true,
     gen_fill_ays_sdxl},
    {{"ays_svd", "", "Sabour et al. 2024", "Stable Video Diffusion, about 10 steps"},
     false,
     true,
     gen_fill_ays_svd},
    {{"lcm", "", "Luo et al. 2023", "the times latent consistency models were distilled on"},
     false,
     true,
     gen_fill_lcm},
    {{"flow", "flow_match", "Esser et al. 2024", "shifted times as diffusers' flow matching Euler"},
     true,
     false,
     gen_fill_flow},
    {{"flow_uniform", "", "Esser et al. 2024", "shifted 1 - i/n: Flux, SD3 and Wan references"},
     true,
     false,
     gen_fill_flow_uniform},
    {{"flow_table", "", "", "shifted, starting below 1, whole times: UniPC and DPM++ on flow"},
     true,
     false,
     gen_fill_flow_table},
};

#define NUM_KINDS ((int)(sizeof KINDS / sizeof KINDS[0]))

static const gen_schedule_kind *find_kind(const char *name)
{
    for (int i = 0; i < NUM_KINDS; i++)
        if (gen_name_matches(name, KINDS[i].info.name, KINDS[i].info.aliases))
            return &KINDS[i];
    return NULL;
}

const gen_schedule_info *gen_schedule_info_find(const char *name)
{
    const gen_schedule_kind *kind = find_kind(name);
    return kind ? &kind->info : NULL;
}

const gen_schedule_info *gen_schedule_info_at(int i)
{
    return i >= 0 && i < NUM_KINDS ? &KINDS[i].info : NULL;
}

/* The schedule a configuration asks for when nobody names one. */
static const char *configured_name(const gen_scheduler_config *c, const gen_sampler *sampler)
{
    static const char *const SPACINGS[] = {"discrete", "leading", "trailing", "linspace"};
    if (sampler->schedule && c->process != GEN_PROCESS_FLOW)
        return sampler->schedule;
    if (c->use_karras_sigmas)
        return "karras";
    if (c->use_exponential_sigmas)
        return "exponential";
    if (c->use_beta_sigmas)
        return "beta_sigmas";
    if (c->use_flow_sigmas)
        return "flow_table";
    if (c->process == GEN_PROCESS_FLOW)
        return "flow";
    return SPACINGS[c->timestep_spacing];
}

/* ---- filling -----------------------------------------------------------------------------------
 */

void gen_grid_set(const gen_schedule_request *r, gen_grid *g, int i, double sigma)
{
    if (!r->training) {
        g->kappa[i] = sigma < 1 ? sigma / (1 - sigma) : INFINITY;
        g->time[i] = sigma * r->config->num_train_timesteps;
        return;
    }
    const double time = gen_training_time(r->training, sigma);
    const bool is_whole =
        r->rule == GEN_RULE_DPM && r->config->beta_schedule != GEN_BETAS_SQUAREDCOS;
    g->kappa[i] = sigma;
    g->time[i] = is_whole ? rint(time) : time;
}

void gen_grid_set_time(const gen_schedule_request *r, gen_grid *g, int i, double time)
{
    g->time[i] = time;
    g->kappa[i] = gen_training_kappa(r->training, time, r->config->interpolates_log);
}

static gen_status fill(const gen_schedule_kind *kind, const gen_schedule_request *r, gen_grid *g,
                       gen_error *err)
{
    const gen_schedule_params *p = r->params;
    if (!r->training || (!p->sigmas && !p->timesteps))
        return kind->fill(r, g, err);
    for (int i = 0; i < g->n; i++) {
        if (p->sigmas)
            gen_grid_set(r, g, i, p->sigmas[i]);
        else
            gen_grid_set_time(r, g, i, p->timesteps[i]);
        if (p->sigmas && p->timesteps)
            g->time[i] = p->timesteps[i];
    }
    return GEN_OK;
}

static gen_status check_descends(const gen_grid *g, const char *name, gen_error *err)
{
    for (int i = 0; i < g->n; i++) {
        const double next = i + 1 < g->n ? g->kappa[i + 1] : g->end;
        if (!(g->kappa[i] > next) && !(i + 1 == g->n && g->kappa[i] == next))
            return gen_fail(err, GEN_ERROR_ARGUMENT,
                            "schedule %s with %d steps: sigma %d is %g and the next %g, expected "
                            "sigmas that descend",
                            name, g->n, i, g->kappa[i], next);
    }
    return GEN_OK;
}

/* kappa where the last step lands. */
static double final_kappa(const gen_schedule_request *r)
{
    const gen_scheduler_config *c = r->config;
    if (!r->training)
        return 0;
    switch (r->rule) {
    case GEN_RULE_DDIM:
        return c->set_alpha_to_one ? 0 : r->training->kappa[0];
    case GEN_RULE_SIGMAS:
    case GEN_RULE_DPM:
        return c->ends_at_sigma_min ? r->training->kappa[0] : 0;
    default:
        return 0;
    }
}

/* ---- steps -------------------------------------------------------------------------------------
 */

/* kappa where step i lands.  The reference's DDIM looks T / n times back instead of at the list;
 * for leading spacing that is the same (samplers of diffusers, DDIMScheduler.step). */
static double next_kappa(const gen_schedule_request *r, const gen_grid *g, int i)
{
    if (r->rule == GEN_RULE_DDIM && g->is_ratio_spaced) {
        const double previous = g->time[i] - r->training->num / g->n;
        return previous < 0 ? final_kappa(r) : gen_training_kappa(r->training, previous, true);
    }
    return i + 1 < g->n ? g->kappa[i + 1] : g->end;
}

static double start_scale(const gen_schedule *s, const gen_grid *g, const gen_scheduler_config *c)
{
    if (s->process != GEN_PROCESS_VE)
        return 1;
    return c->timestep_spacing == GEN_SPACING_LEADING ? hypot(g->kappa[0], 1) : g->kappa[0];
}

static gen_status build(gen_schedule **out, const gen_schedule_request *r, const char *name,
                        const gen_grid *g, bool prefers_ve, gen_error *err)
{
    gen_schedule *s = gen_calloc(1, sizeof *s);
    gen_step *steps = gen_calloc((size_t)g->n, sizeof *steps);
    if (!s || !steps) {
        gen_free(s);
        gen_free(steps);
        return gen_no_memory(err, "schedule", (size_t)g->n * sizeof *steps);
    }
    *s = (gen_schedule){.steps = steps, .num_steps = g->n, .name = name, .memory = steps};
    s->process = prefers_ve && r->config->process == GEN_PROCESS_VP && isfinite(g->kappa[0])
                     ? GEN_PROCESS_VE
                     : r->config->process;
    for (int i = 0; i < g->n; i++)
        steps[i] = (gen_step){.from = gen_process_level(s->process, g->kappa[i]),
                              .to = gen_process_level(s->process, next_kappa(r, g, i)),
                              .time = g->time[i]};
    s->init_scale = start_scale(s, g, r->config);
    *out = s;
    return GEN_OK;
}

static gen_status check_request(const gen_scheduler_config *config, const gen_sampler *sampler,
                                const gen_schedule_kind *kind, const char *name, int num_steps,
                                gen_error *err)
{
    const char *reason = sampler->refuse ? sampler->refuse(config) : NULL;
    if (reason)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "sampler %s cannot run this model: %s",
                        sampler->info.name, reason);
    if (config->invert_sigmas)
        return gen_fail(err, GEN_ERROR_MODEL, "scheduler: invert_sigmas is not supported");
    if (!kind)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "unknown schedule \"%s\"", name);
    if (num_steps < 1 || num_steps > config->num_train_timesteps)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "%d steps, expected 1 to %d", num_steps,
                        config->num_train_timesteps);
    if (!(config->process == GEN_PROCESS_FLOW ? kind->is_for_flow : kind->is_for_table)) {
        const bool is_flow = config->process == GEN_PROCESS_FLOW;
        gen_fail(err, GEN_ERROR_ARGUMENT, "schedule %s is not for %s models", kind->info.name,
                 is_flow ? "rectified-flow" : "noise-table");
        return err ? gen_hint(err, "use %s", is_flow ? "flow or karras" : "discrete or karras")
                   : GEN_ERROR_ARGUMENT;
    }
    return GEN_OK;
}

gen_status gen_schedule_new(gen_schedule **out, const gen_scheduler_config *config,
                            const gen_schedule_params *params, gen_error *err)
{
    const gen_sampler *sampler = params->sampler ? params->sampler : gen_sampler_of(config);
    const char *name = params->schedule ? params->schedule : configured_name(config, sampler);
    const gen_schedule_kind *kind = find_kind(name);
    const int num_steps = params->sigmas      ? params->num_sigmas
                          : params->timesteps ? params->num_timesteps
                                              : params->num_steps;
    gen_schedule_request r = {.config = config, .params = params, .rule = sampler->rule};
    gen_training training = {0};
    gen_status status = GEN_OK;
    double *memory = NULL;

    GEN_TRY(check_request(config, sampler, kind, name, num_steps, err));
    if (config->process != GEN_PROCESS_FLOW) {
        const bool is_capped = sampler->rule == GEN_RULE_SIGMAS || sampler->rule == GEN_RULE_DPM;
        if ((status = gen_training_init(&training, config, is_capped, err)))
            goto done;
        r.training = &training;
    }
    if (!(memory = gen_calloc((size_t)num_steps * 2, sizeof *memory))) {
        status = gen_no_memory(err, "schedule", (size_t)num_steps * 2 * sizeof *memory);
        goto done;
    }
    gen_grid grid = {.n = num_steps, .kappa = memory, .time = memory + num_steps};
    grid.end = final_kappa(&r);
    if ((status = fill(kind, &r, &grid, err)))
        goto done;
    if ((status = check_descends(&grid, name, err)))
        goto done;
    if (sampler->needs_finite_kappa && isinf(grid.kappa[0])) {
        status = gen_fail(err, GEN_ERROR_ARGUMENT,
                          "sampler %s works in log SNR and cannot start from pure noise",
                          sampler->info.name);
        goto done;
    }
    status = build(out, &r, kind->info.name, &grid, sampler->prefers_ve, err);
done:
    gen_free(memory);
    gen_training_clear(&training);
    return status;
}

void gen_schedule_free(gen_schedule *schedule)
{
    if (!schedule)
        return;
    gen_free(schedule->memory);
    gen_free(schedule);
}

gen_status gen_schedule_cut(gen_schedule *schedule, double strength, gen_error *err)
{
    if (!(strength >= 0 && strength <= 1))
        return gen_fail(err, GEN_ERROR_ARGUMENT, "strength %g, expected 0 to 1", strength);
    const int n = schedule->num_steps, kept = (int)(n * strength);
    if (kept < 1)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "strength %g of %d steps leaves no step", strength,
                        n);
    schedule->first += n - kept;
    schedule->steps += n - kept;
    schedule->num_steps = kept;
    return GEN_OK;
}

void gen_schedule_add_noise(const gen_schedule *schedule, int step, const float *latents,
                            const float *noise, float *x, size_t n)
{
    const gen_level level = schedule->steps[step].from;
    for (size_t k = 0; k < n; k++)
        x[k] = (float)(level.alpha * (double)latents[k] + level.sigma * (double)noise[k]);
}
