/* solver.c - the loop all solvers share, and finding one by name. */
#include "samplers/solver.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "gen/core/alloc.h"
#include "samplers/names.h"

/* ---- finding -----------------------------------------------------------------------------------
 */

const gen_sampler *gen_sampler_find(const char *name)
{
    for (int i = 0; gen_samplers[i]; i++)
        if (gen_name_matches(name, gen_samplers[i]->info.name, gen_samplers[i]->info.aliases))
            return gen_samplers[i];
    return NULL;
}

const gen_sampler *gen_sampler_at(int i)
{
    for (int k = 0; gen_samplers[k]; k++)
        if (k == i)
            return gen_samplers[k];
    return NULL;
}

const gen_sampler_info *gen_sampler_info_of(const gen_sampler *sampler)
{
    return &sampler->info;
}

bool gen_sampler_parse(const char *name, const gen_sampler **sampler, const char **schedule)
{
    *schedule = NULL;
    if ((*sampler = gen_sampler_find(name)))
        return true;
    for (const char *cut = name; *cut; cut++) { /* a sampler's name, then that of a schedule */
        if (*cut != ' ' && *cut != '_' && *cut != '-')
            continue;
        const gen_schedule_info *info = gen_schedule_info_find(cut + 1);
        char head[64];
        if (!info || (size_t)(cut - name) >= sizeof head)
            continue;
        memcpy(head, name, (size_t)(cut - name));
        head[cut - name] = '\0';
        if ((*sampler = gen_sampler_find(head))) {
            *schedule = info->name;
            return true;
        }
    }
    return false;
}

gen_status gen_sampler_check_start(const gen_sampler *sampler, gen_process process, double kappa,
                                   gen_error *err)
{
    const bool in_kappa = sampler->is_straight && process != GEN_PROCESS_FLOW;
    if (isfinite(kappa) || !(sampler->needs_finite_kappa || in_kappa))
        return GEN_OK;
    gen_fail(
        err, GEN_ERROR_ARGUMENT,
        "sampler %s steps in %s, which is infinite in the pure noise this schedule starts from",
        sampler->info.name, in_kappa ? "sigma / alpha" : "log SNR");
    if (err)
        gen_hint(err, process == GEN_PROCESS_FLOW
                          ? "schedule flow_table starts just below; euler and heun take any"
                          : "ddim and euler take any schedule");
    return GEN_ERROR_ARGUMENT;
}

/* ---- helpers -----------------------------------------------------------------------------------
 */

double gen_lambda(gen_level level)
{
    return log(level.alpha) - log(level.sigma);
}

void gen_combine(float *out, size_t n, int num, const double *c, const float *const *v)
{
    for (size_t k = 0; k < n; k++) {
        double sum = 0;
        for (int j = 0; j < num; j++)
            sum += c[j] * (double)v[j][k];
        out[k] = (float)sum;
    }
}

float *gen_solver_buffer(const gen_solver *s, int k)
{
    return s->buffers + (size_t)k * s->n;
}

void gen_solver_noise(const gen_solver *s, gen_level level, const float *x, const float *denoised,
                      float *eps)
{
    gen_combine(eps, s->n, 2, (double[]){1 / level.sigma, -level.alpha / level.sigma},
                (const float *[]){x, denoised});
}

double gen_solver_norm(const gen_solver *s, gen_level level)
{
    return s->params->schedule->process == GEN_PROCESS_FLOW ? 1 : level.alpha;
}

void gen_solver_slope(const gen_solver *s, gen_level level, const float *x, const float *denoised,
                      float *slope)
{
    const double norm = gen_solver_norm(s, level);
    gen_combine(slope, s->n, 2, (double[]){1 / level.sigma, -norm / level.sigma},
                (const float *[]){x, denoised});
}

gen_level gen_solver_level(const gen_solver *s, gen_level level)
{
    return s->is_noise_form ? (gen_level){level.sigma, level.alpha} : level;
}

static int num_samples(const gen_solver *s)
{
    return s->params->num_samples > 1 ? s->params->num_samples : 1;
}

gen_status gen_solver_denoise(const gen_solver *s, int i, gen_level level, double time,
                              const float *x, float *denoised, float *unclipped, gen_error *err)
{
    const gen_denoiser *d = s->params->denoiser;
    const gen_point at = {.level = level, .time = time, .step = i, .num_steps = s->num_steps};
    GEN_TRY(d->denoise(d->self, x, &at, denoised, err));
    if (unclipped)
        memcpy(unclipped, denoised, s->n * sizeof *denoised);
    if (gen_clip_is_on(s->config))
        gen_clip_apply(s->config, denoised, s->n, num_samples(s), s->sorted);
    return GEN_OK;
}

gen_status gen_solver_draw(const gen_solver *s, float *z, gen_error *err)
{
    const gen_noise_source *noise = &s->params->noise;
    if (!noise->draw)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "sampler %s draws noise, but none is given",
                        s->sampler->info.name);
    return noise->draw(noise->self, z, s->n, err);
}

/* Karras et al. 2022, alg. 2: y^ = y + sqrt(kappa^^2 - kappa^2) s_noise z in y = x / alpha. */
gen_status gen_solver_churn(const gen_solver *s, int i, float *x, float *noise, gen_level *from,
                            double *time, gen_error *err)
{
    const gen_level start = s->steps[i].from, to = s->steps[i].raised;
    *from = start;
    *time = s->steps[i].time;
    if (to.sigma <= 0)
        return GEN_OK;
    const double low = gen_level_kappa(start), high = gen_level_kappa(to);
    *from = to;
    *time = s->steps[i].raised_time;
    GEN_TRY(gen_solver_draw(s, noise, err));
    const double fresh = to.alpha * sqrt(high * high - low * low) * s->config->s_noise;
    gen_combine(x, s->n, 2, (double[]){to.alpha / start.alpha, fresh}, (const float *[]){x, noise});
    return GEN_OK;
}

static gen_status check_finite(const char *what, const float *v, size_t n, int step, int num_steps,
                               gen_error *err)
{
    for (size_t k = 0; k < n; k++)
        if (!isfinite(v[k]))
            return gen_fail(err, GEN_ERROR_INTERNAL,
                            "step %d of %d: %s[%zu] is %s, expected a finite number", step + 1,
                            num_steps, what, k, isnan(v[k]) ? "not a number" : "infinite");
    return GEN_OK;
}

gen_status gen_solver_step_done(const gen_solver *s, int i, const float *x, const float *denoised,
                                gen_error *err)
{
    const gen_solve_params *p = s->params;
    GEN_TRY(check_finite("denoised", denoised, s->n, i, s->num_steps, err));
    GEN_TRY(check_finite("latents", x, s->n, i, s->num_steps, err));
    if (!p->on_step)
        return GEN_OK;
    const gen_step_report report = {.step = i,
                                    .num_steps = s->num_steps,
                                    .level = s->steps[i].to,
                                    .x = x,
                                    .denoised = denoised,
                                    .n = s->n};
    return p->on_step(p->on_step_self, &report, err);
}

/* ---- the loop ----------------------------------------------------------------------------------
 */

enum { NOISE, PLAIN, ANSWER }; /* buffers of solve_rows: then one more for each of history */

/* Steps whose update is one row of coefficients.  Answers, which are denoised latents or in the
 * noise form noise, rotate through a ring; PLAIN holds what else is known of the newest: before
 * clipping, or denoised. */
static gen_status solve_rows(gen_solver *s, float *x, gen_error *err)
{
    const int ring = s->sampler->history + 1;
    float *noise = gen_solver_buffer(s, NOISE), *plain = gen_solver_buffer(s, PLAIN);
    for (int i = 0; i < s->num_steps; i++) {
        float *answer = gen_solver_buffer(s, ANSWER + i % ring);
        const float *const d[3] = {answer, gen_solver_buffer(s, ANSWER + (i + ring - 1) % ring),
                                   gen_solver_buffer(s, ANSWER + (i + 2 * ring - 2) % ring)};
        float *denoised = s->is_noise_form ? plain : answer;
        gen_row row = {0};
        s->sampler->row(s, i, &row);
        GEN_TRY(gen_solver_denoise(s, i, s->steps[i].from, s->steps[i].time, x, denoised,
                                   row.unclipped != 0 ? plain : NULL, err));
        if (s->is_noise_form)
            gen_solver_noise(s, s->steps[i].from, x, denoised, answer);
        if (row.draws)
            GEN_TRY(gen_solver_draw(s, noise, err));

        double c[6] = {row.x, row.denoised};
        const float *v[6] = {x, d[0]};
        int num = 2;
        const double more[] = {row.previous, row.before_previous, row.unclipped, row.noise};
        const float *const arrays[] = {d[1], d[2], plain, noise};
        for (int j = 0; j < 4; j++)
            if (more[j] != 0) {
                c[num] = more[j];
                v[num++] = arrays[j];
            }
        gen_combine(x, s->n, num, c, v);
        GEN_TRY(gen_solver_step_done(s, i, x, denoised, err));
    }
    return GEN_OK;
}

static gen_status check_run(const gen_sampler *sampler, const gen_solve_params *p, gen_error *err)
{
    const int samples = p->num_samples > 1 ? p->num_samples : 1;
    if (p->schedule->num_steps < 1 || p->denoiser->n == 0 || p->denoiser->n % (size_t)samples != 0)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "%d steps on %zu latents of %d samples",
                        p->schedule->num_steps, p->denoiser->n, samples);
    if (sampler->info.needs_mask && !p->inpaint)
        return gen_fail(err, GEN_ERROR_ARGUMENT,
                        "sampler %s repaints a part of a picture, and no mask is given",
                        sampler->info.name);
    return gen_sampler_check_start(sampler, p->schedule->process,
                                   gen_level_kappa(p->schedule->steps[0].from), err);
}

gen_status gen_solve(const gen_sampler *sampler, const gen_solve_params *params, float *x,
                     gen_error *err)
{
    GEN_TRY(check_run(sampler, params, err));
    gen_solver s = {.sampler = sampler,
                    .params = params,
                    .config = params->config,
                    .steps = params->schedule->steps,
                    .num_steps = params->schedule->num_steps,
                    .is_noise_form = sampler->has_noise_form && params->config->predicts_noise,
                    .n = params->denoiser->n};
    /* one array more: sorting for dynamic thresholding */
    const size_t num =
        1 + (size_t)(sampler->row ? ANSWER + 1 + sampler->history : sampler->num_buffers);
    size_t count, bytes;
    if (!gen_mul_size(s.n, num, &count) || !gen_mul_size(count, sizeof *x, &bytes) ||
        !(s.buffers = gen_malloc(bytes)))
        return gen_no_memory(err, "sampler", s.n);
    s.sorted = s.buffers + (num - 1) * s.n;
    const gen_status status = sampler->row ? solve_rows(&s, x, err) : sampler->solve(&s, x, err);
    gen_free(s.buffers);
    return status;
}
