/* schedule.c - from a configuration and a number of steps to the levels that are visited. */
#include "samplers/schedule.h"

#include <math.h>
#include <string.h>

#include "gen/core/alloc.h"
#include "samplers/names.h"
#include "samplers/solver.h"

/* ---- finding -----------------------------------------------------------------------------------
 */

static const gen_schedule_kind *find_kind(const char *name)
{
    for (int i = 0; gen_schedules[i]; i++)
        if (gen_name_matches(name, gen_schedules[i]->info.name, gen_schedules[i]->info.aliases))
            return gen_schedules[i];
    return NULL;
}

const gen_schedule_info *gen_schedule_info_find(const char *name)
{
    const gen_schedule_kind *kind = find_kind(name);
    return kind ? &kind->info : NULL;
}

const gen_schedule_info *gen_schedule_info_at(int i)
{
    for (int k = 0; gen_schedules[k]; k++)
        if (k == i)
            return &gen_schedules[k]->info;
    return NULL;
}

/* The schedule a configuration asks for when nobody names one. */
static const char *configured_name(const gen_scheduler_config *c, const gen_sampler *sampler)
{
    static const char *const SPACINGS[] = {"discrete", "leading", "trailing", "linspace"};
    if (c->schedule)
        return c->schedule;
    if (sampler->schedule && c->process == GEN_PROCESS_VP)
        return sampler->schedule;
    if (c->use_karras_sigmas)
        return "karras";
    if (c->use_exponential_sigmas)
        return "exponential";
    if (c->use_beta_sigmas)
        return "beta_sigmas";
    if (c->use_flow_sigmas)
        return "flow_table";
    if (c->process == GEN_PROCESS_FLOW) /* the table starts below pure noise */
        return sampler->needs_finite_kappa ? "flow_table" : "flow";
    return SPACINGS[c->timestep_spacing];
}

/* ---- filling -----------------------------------------------------------------------------------
 */

/* What a network without a table is told at kappa (flow: tau). */
static double time_at(const gen_scheduler_config *c, double sigma)
{
    switch (c->time_rule) {
    case GEN_TIME_REVERSED:
        return (1 - sigma) * c->num_train_timesteps;
    case GEN_TIME_EDM:
        return log(sigma) / 4;
    case GEN_TIME_CONSISTENCY:
        return 250 * log(sigma + 1e-44);
    case GEN_TIME_ANGLE:
        return atan(sigma / c->sigma_data);
    default:
        return sigma * c->num_train_timesteps;
    }
}

void gen_grid_set(const gen_schedule_request *r, gen_grid *g, int i, double sigma)
{
    const gen_scheduler_config *c = r->config;
    if (r->training) {
        const bool is_whole = r->rule == GEN_RULE_DPM && c->beta_schedule != GEN_BETAS_SQUAREDCOS;
        const double time = gen_training_time(r->training, sigma);
        g->kappa[i] = sigma;
        g->time[i] = is_whole ? rint(time) : time;
        return;
    }
    g->kappa[i] = c->process != GEN_PROCESS_FLOW ? sigma
                  : sigma < 1                    ? sigma / (1 - sigma)
                                                 : INFINITY;
    g->time[i] = time_at(c, sigma);
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
    if (kind->takes_lists || (!p->sigmas && !p->timesteps))
        return kind->fill(r, g, err);
    if (!p->sigmas && !r->training)
        return gen_fail(err, GEN_ERROR_ARGUMENT,
                        "schedule %s takes a list of sigmas, not of timesteps", kind->info.name);
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

/* Consistency models may stay at a level: they take all noise anew. */
static gen_status check_descends(const gen_grid *g, const gen_scheduler_config *c, const char *name,
                                 gen_error *err)
{
    for (int i = 0; i < g->n; i++) {
        const double next = i + 1 < g->n ? g->kappa[i + 1] : g->end;
        const bool may_stay = i + 1 == g->n || c->network == GEN_NETWORK_CONSISTENCY;
        if (!(g->kappa[i] > next) && !(may_stay && g->kappa[i] == next))
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
    const double lowest = r->training                    ? r->training->kappa[0]
                          : c->process == GEN_PROCESS_VE ? c->sigma_min
                                                         : 0;
    switch (r->rule) {
    case GEN_RULE_DDIM:
        return r->training && !c->set_alpha_to_one ? lowest : 0;
    case GEN_RULE_SIGMAS:
    case GEN_RULE_DPM:
        return c->ends_at_sigma_min ? lowest : 0;
    case GEN_RULE_TCD:
        return lowest;
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

/* TCD steps to the level of (1 - eta) t' without fresh noise, and from there back up to t'; without
 * a table, t' is the native number of the level. */
static double through_kappa(const gen_schedule_request *r, const gen_grid *g, int i)
{
    const double to = next_kappa(r, g, i), keep = 1 - r->config->eta;
    if (r->rule != GEN_RULE_TCD)
        return to;
    if (!r->training && r->config->process == GEN_PROCESS_FLOW)
        return keep * to / (1 + (1 - keep) * to);
    if (!r->training)
        return keep * to;
    const double next = i + 1 < g->n ? g->time[i + 1] : 0;
    return gen_training_kappa(r->training, floor((1 - r->config->eta) * next), true);
}

static double start_scale(const gen_schedule *s, const gen_grid *g, const gen_scheduler_config *c)
{
    if (g->init_scale > 0)
        return g->init_scale;
    if (s->process != GEN_PROCESS_VE)
        return 1;
    return c->timestep_spacing == GEN_SPACING_LEADING ? hypot(g->kappa[0], 1) : g->kappa[0];
}

/* Churn adds noise up to kappa^ = kappa (1 + gamma), gamma = min(s_churn / n, sqrt 2 - 1), between
 * s_tmin and s_tmax (Karras et al. 2022, alg. 2). */
static void raise_level(const gen_schedule_request *r, int n, gen_process process, double kappa,
                        gen_step *step)
{
    const gen_scheduler_config *c = r->config;
    const bool is_in = kappa >= c->s_tmin && (c->s_tmax <= 0 || kappa <= c->s_tmax);
    if (!(c->s_churn > 0) || !is_in || isinf(kappa))
        return;
    double high = kappa * (1 + fmin(c->s_churn / n, sqrt(2) - 1));
    step->raised = gen_process_level(process, high);
    gen_grid one = {.n = 1, .kappa = &high, .time = &step->raised_time};
    gen_grid_set(r, &one, 0, c->process == GEN_PROCESS_FLOW ? high / (1 + high) : high);
}

/* The steps of DDIM inversion: upward, each told the time of its noisier end. */
static void invert(gen_step *steps, int n)
{
    for (int i = 0, k = n - 1; i <= k; i++, k--) {
        const gen_step low = steps[k], high = steps[i];
        steps[i] =
            (gen_step){.from = low.to, .to = low.from, .time = low.time, .through = low.from};
        steps[k] =
            (gen_step){.from = high.to, .to = high.from, .time = high.time, .through = high.from};
    }
}

static gen_status build(gen_schedule **out, const gen_schedule_request *r, const char *name,
                        const gen_grid *g, const gen_sampler *sampler, gen_error *err)
{
    const gen_process trained = r->config->process;
    gen_schedule *s = gen_calloc(1, sizeof *s);
    gen_step *steps = gen_calloc((size_t)g->n, sizeof *steps);
    if (!s || !steps) {
        gen_free(s);
        gen_free(steps);
        return gen_no_memory(err, "schedule", (size_t)g->n * sizeof *steps);
    }
    *s = (gen_schedule){.steps = steps, .num_steps = g->n, .name = name, .memory = steps};
    s->process = sampler->prefers_ve && trained == GEN_PROCESS_VP && isfinite(g->kappa[0])
                     ? GEN_PROCESS_VE
                     : trained;
    for (int i = 0; i < g->n; i++) {
        steps[i] = (gen_step){.from = gen_process_level(s->process, g->kappa[i]),
                              .to = gen_process_level(s->process, next_kappa(r, g, i)),
                              .time = g->time[i],
                              .through = gen_process_level(s->process, through_kappa(r, g, i))};
        if (sampler->info.churns)
            raise_level(r, g->n, s->process, g->kappa[i], &steps[i]);
    }
    s->init_scale = start_scale(s, g, r->config);
    s->has_strength = r->params->strength > 0 && strcmp(name, "lcm") == 0;
    s->rises = sampler->info.inverts;
    if (s->rises)
        invert(steps, g->n);
    *out = s;
    return GEN_OK;
}

/* ---- what cannot go together -------------------------------------------------------------------
 */

static gen_status check_sampler(const gen_scheduler_config *config, const gen_sampler *sampler,
                                gen_error *err)
{
    static const char *const WHY[] = {
        [GEN_NETWORK_MEAN] = "it is for networks that were distilled or bridge two pictures, and "
                             "this one predicts the mean of what is clean",
        [GEN_NETWORK_CONSISTENCY] = "the network answers where a trajectory ends, which is not the "
                                    "slope or mean this sampler steps along",
        [GEN_NETWORK_BRIDGE] = "the network walks from a source picture, not from noise",
    };
    const unsigned serves = sampler->serves ? sampler->serves : GEN_SERVES(GEN_NETWORK_MEAN);
    const char *reason = sampler->refuse ? sampler->refuse(config) : NULL;
    if (!(serves & GEN_SERVES(config->network)))
        reason = WHY[config->network];
    if (!reason)
        return GEN_OK;
    gen_fail(err, GEN_ERROR_ARGUMENT, "sampler %s cannot run this model: %s", sampler->info.name,
             reason);
    return err ? gen_hint(err, "its own sampler is %s", config->sampler) : GEN_ERROR_ARGUMENT;
}

static gen_status check_kind(const gen_scheduler_config *config, const gen_schedule_kind *kind,
                             const char *name, gen_error *err)
{
    static const char *const FAMILIES[GEN_NUM_PROCESSES] = {"noise-table", "EDM", "rectified-flow"};
    static const char *const USE[GEN_NUM_PROCESSES] = {"discrete or karras", "karras",
                                                       "flow or karras"};
    if (!kind)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "unknown schedule \"%s\"", name);
    if (kind->processes & GEN_FOR(config->process))
        return GEN_OK;
    gen_fail(err, GEN_ERROR_ARGUMENT, "schedule %s is not for %s models", kind->info.name,
             FAMILIES[config->process]);
    return err ? gen_hint(err, "use %s", USE[config->process]) : GEN_ERROR_ARGUMENT;
}

/* Pure noise has no finite log SNR, and epsilon says nothing about x0 there. */
static gen_status check_start(const gen_scheduler_config *config, const gen_sampler *sampler,
                              double kappa, gen_error *err)
{
    gen_precondition unused;
    if (isfinite(kappa))
        return GEN_OK;
    GEN_TRY(gen_sampler_check_start(sampler, config->process, kappa, err));
    return gen_precondition_of(&unused, config, (gen_level){0, 1}, err);
}

/* ---- making one --------------------------------------------------------------------------------
 */

static int number_of_steps(const gen_schedule_params *p, const gen_scheduler_config *config,
                           const gen_schedule_kind *kind)
{
    if (p->sigmas)
        return p->num_sigmas;
    if (p->timesteps)
        return p->num_timesteps;
    return p->num_steps > 0 || !kind->count ? p->num_steps : kind->count(config);
}

/* Is there a table of the levels the network was trained on? */
static bool has_table(const gen_scheduler_config *c)
{
    return c->process == GEN_PROCESS_VP && c->time_rule == GEN_TIME_TRAINING;
}

static gen_status fill_and_build(gen_schedule **out, const gen_schedule_kind *kind,
                                 const gen_schedule_request *r, const gen_sampler *sampler,
                                 gen_grid *grid, gen_error *err)
{
    grid->end = final_kappa(r);
    GEN_TRY(fill(kind, r, grid, err));
    GEN_TRY(check_descends(grid, r->config, kind->info.name, err));
    GEN_TRY(check_start(r->config, sampler, grid->kappa[0], err));
    return build(out, r, kind->info.name, grid, sampler, err);
}

gen_status gen_schedule_new(gen_schedule **out, const gen_scheduler_config *config,
                            const gen_schedule_params *params, gen_error *err)
{
    const gen_sampler *sampler = params->sampler ? params->sampler : gen_sampler_of(config);
    const char *name = params->schedule ? params->schedule : configured_name(config, sampler);
    const gen_schedule_kind *kind = find_kind(name);
    gen_schedule_request r = {.config = config, .params = params, .rule = sampler->rule};
    gen_training training = {0};
    GEN_TRY(check_sampler(config, sampler, err));
    GEN_TRY(check_kind(config, kind, name, err));
    const int num = number_of_steps(params, config, kind);
    if (num < 1 || num > config->num_train_timesteps)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "%d steps, expected 1 to %d", num,
                        config->num_train_timesteps);
    if (has_table(config)) {
        const bool is_capped = sampler->rule == GEN_RULE_SIGMAS || sampler->rule == GEN_RULE_DPM;
        GEN_TRY(gen_training_init(&training, config, is_capped, err));
        r.training = &training;
    }
    gen_status status;
    double *memory = gen_calloc((size_t)num * 2, sizeof *memory);
    if (memory) {
        gen_grid grid = {.n = num, .kappa = memory, .time = memory + num};
        status = fill_and_build(out, kind, &r, sampler, &grid, err);
    } else {
        status = gen_no_memory(err, "schedule", (size_t)num * 2 * sizeof *memory);
    }
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

void gen_schedule_add_noise(const gen_schedule *schedule, int step, const float *latents,
                            const float *noise, float *x, size_t n)
{
    const gen_level level = schedule->steps[step].from;
    for (size_t k = 0; k < n; k++)
        x[k] = (float)(level.alpha * (double)latents[k] + level.sigma * (double)noise[k]);
}
