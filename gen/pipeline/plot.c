/* plot.c - charts of schedules and of samplers at work on toy data. */
#include <math.h>
#include <string.h>

#include "gen/pipeline/generate.h"
#include "gen/pipeline/plot_toy.h"
#include "gen/pipeline/scheduler_json.h"
#include "gen/plot/chart.h"
#include "samplers/names.h"

#define DOT " \xc2\xb7 "

enum { MAX_RUNS = 12, MAX_SERIES = 160, DEFAULT_STEPS = 10 };

const char *gen_plot_data_at(int i, const char **what)
{
    const gen_toy *toy = gen_toy_at(i);
    if (toy && what)
        *what = toy->what;
    return toy ? toy->name : NULL;
}

/* ---- runs ----------------------------------------------------------------------------------- */

/* One sampler with one schedule. */
typedef struct plot_run {
    gen_sampling sampling;
    gen_schedule *schedule;
    char label[96];
} plot_run;

typedef struct plot {
    gen_plot_params params;
    gen_model_files *files; /* of a model */
    double *lists;
    gen_scheduler_config config;
    char subject[128]; /* the family in words, or the model's name */
    char subtitle[256];
    plot_run runs[MAX_RUNS];
    int num_runs;
    gen_arena *arena; /* numbers and texts of the chart */
    gen_chart_panel panels[MAX_RUNS];
    gen_chart_series series[MAX_RUNS][MAX_SERIES];
} plot;

static gen_status read_model(plot *p, gen_error *err)
{
    const char *slash = strrchr(p->params.model, '/');
    snprintf(p->subject, sizeof p->subject, "%s", slash && slash[1] ? slash + 1 : p->params.model);
    GEN_TRY(gen_model_files_open(&p->files, p->params.model, err));
    if (!p->params.samplers)
        GEN_TRY(gen_scheduler_class_check(p->files->scheduler, err));
    GEN_TRY(gen_scheduler_config_read(&p->config, &p->lists, p->files->scheduler, err));
    if (p->files->prediction_type)
        GEN_TRY(gen_scheduler_config_set_string(&p->config, "prediction_type",
                                                p->files->prediction_type, err));
    if (p->files->is_zero_snr)
        return gen_scheduler_config_set_bool(&p->config, "rescale_betas_zero_snr", true, err);
    return GEN_OK;
}

static gen_status read_config(plot *p, gen_error *err)
{
    const char *family = p->params.family ? p->params.family : "sd";
    if (p->params.model)
        return read_model(p, err);
    const char *name, *what;
    char list[200] = "";
    for (int i = 0; (name = gen_plot_family_at(i, &what)); i++) {
        if (gen_name_matches(family, name, NULL)) {
            snprintf(p->subject, sizeof p->subject, "%s", what);
            return gen_plot_family_config(&p->config, i, err);
        }
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "", name);
    }
    gen_fail(err, GEN_ERROR_ARGUMENT, "family: \"%s\" is not known", family);
    return gen_hint(err, "there are: %s", list);
}

/* Copies the next name of a comma list; false at its end.  A NULL list has one NULL name. */
static bool next_name(const char **list, char *name, size_t size)
{
    while (**list == ' ' || **list == ',')
        ++*list;
    const size_t n = strcspn(*list, ",");
    if (n == 0)
        return false;
    snprintf(name, size, "%.*s", (int)(n < size ? n : size - 1), *list);
    *list += n;
    return true;
}

static gen_status add_run(plot *p, const char *sampler, const char *scheduler, gen_error *err)
{
    const gen_plot_params *q = &p->params;
    if (p->num_runs == MAX_RUNS)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "more than %d samplers times schedules to draw",
                        MAX_RUNS);
    gen_generate_params g =
        GEN_GENERATE_PARAMS(.sampler = sampler, .scheduler = scheduler,
                            .num_inference_steps =
                                q->num_inference_steps ? q->num_inference_steps : DEFAULT_STEPS,
                            .eta = q->eta, .s_noise = q->s_noise, .flow_shift = q->flow_shift,
                            .sigmas = q->sigmas, .num_sigmas = q->num_sigmas,
                            .timesteps = q->timesteps, .num_timesteps = q->num_timesteps);
    plot_run *run = &p->runs[p->num_runs];
    run->sampling = (gen_sampling){.config = p->config, .height = 128, .width = 128};
    GEN_TRY(gen_sampling_resolve_method(&run->sampling, &g, err));
    GEN_TRY(gen_sampling_schedule(&run->schedule, &run->sampling, &g, err));
    p->num_runs++;
    return GEN_OK;
}

static const char *sampler_name(const plot *p, int i)
{
    return gen_sampler_info_of(p->runs[i].sampling.sampler)->name;
}

/* Labels say what differs between the runs; the subtitle says the rest. */
static void name_runs(plot *p)
{
    bool samplers_differ = false, schedules_differ = false, steps_differ = false;
    const int first = p->runs[0].schedule->num_steps;
    const char *schedule = p->runs[0].schedule->name;
    for (int i = 1; i < p->num_runs; i++) {
        samplers_differ |= strcmp(sampler_name(p, i), sampler_name(p, 0)) != 0;
        schedules_differ |= strcmp(p->runs[i].schedule->name, schedule) != 0;
        steps_differ |= p->runs[i].schedule->num_steps != first;
    }
    for (int i = 0; i < p->num_runs; i++) {
        const char *own = p->runs[i].schedule->name;
        if (samplers_differ == schedules_differ)
            snprintf(p->runs[i].label, sizeof p->runs[i].label, "%s, %s", sampler_name(p, i), own);
        else
            snprintf(p->runs[i].label, sizeof p->runs[i].label, "%s",
                     samplers_differ ? sampler_name(p, i) : own);
    }
    char steps[32] = "";
    if (!steps_differ)
        snprintf(steps, sizeof steps, DOT "%d step%s", first, first == 1 ? "" : "s");
    snprintf(p->subtitle, sizeof p->subtitle, "%s%s%s%s", p->subject,
             samplers_differ == schedules_differ ? "" : DOT,
             samplers_differ == schedules_differ ? ""
             : samplers_differ                   ? schedule
                                                 : sampler_name(p, 0),
             steps);
}

static gen_status make_runs(plot *p, gen_error *err)
{
    char sampler[64], scheduler[64];
    const char *const samplers = p->params.samplers, *const schedulers = p->params.schedulers;
    const char *s = samplers ? samplers : "-";
    while (next_name(&s, sampler, sizeof sampler)) {
        const char *k = schedulers ? schedulers : "-";
        while (next_name(&k, scheduler, sizeof scheduler))
            GEN_TRY(add_run(p, samplers ? sampler : NULL, schedulers ? scheduler : NULL, err));
    }
    if (p->num_runs > 0)
        name_runs(p);
    else
        return gen_fail(err, GEN_ERROR_ARGUMENT, "the list of %s to draw is empty",
                        samplers && !strpbrk(samplers, "abcdefghijklmnopqrstuvwxyz") ? "samplers"
                                                                                     : "schedules");
    return GEN_OK;
}

static double *numbers(plot *p, size_t count)
{
    return gen_arena_alloc(p->arena, count * sizeof(double));
}

/* ---- schedules ------------------------------------------------------------------------------ */

typedef enum level_scale {
    SCALE_KAPPA, /* sigma / alpha, a small part around 0 linear */
    SCALE_FLOW,  /* the share of noise, flow time */
    SCALE_SIGMA  /* sigma of the variance-preserving process: finite where kappa is not */
} level_scale;

static double level_value(level_scale scale, gen_level level)
{
    const double total =
        scale == SCALE_FLOW ? level.alpha + level.sigma : hypot(level.alpha, level.sigma);
    return scale == SCALE_KAPPA ? gen_level_kappa(level) : level.sigma / total;
}

static level_scale choose_scale(const plot *p)
{
    if (p->config.process == GEN_PROCESS_FLOW)
        return SCALE_FLOW;
    for (int i = 0; i < p->num_runs; i++)
        if (!isfinite(gen_level_kappa(p->runs[i].schedule->steps[0].from)))
            return SCALE_SIGMA;
    return SCALE_KAPPA;
}

static const gen_chart_tick KAPPA_TICKS[] = {
    {0, "0"},   {0.03, "0.03"}, {0.1, "0.1"}, {0.3, "0.3"}, {1, "1"},       {3, "3"},
    {10, "10"}, {30, "30"},     {100, "100"}, {300, "300"}, {1000, "1000"}, {3000, "3000"},
};

static gen_status add_schedule_series(plot *p, level_scale scale, double *top, gen_error *err)
{
    for (int i = 0; i < p->num_runs; i++) {
        const gen_schedule *s = p->runs[i].schedule;
        const size_t n = (size_t)s->num_steps;
        double *x = numbers(p, n + 1), *levels = numbers(p, n + 1), *times = numbers(p, n);
        if (!x || !levels || !times)
            return gen_no_memory(err, "plot", n * 3 * sizeof *x);
        for (size_t k = 0; k < n; k++) {
            x[k] = (double)k;
            levels[k] = level_value(scale, s->steps[k].from);
            times[k] = s->steps[k].time;
            *top = fmax(*top, levels[k]);
        }
        x[n] = (double)n;
        levels[n] = level_value(scale, s->steps[n - 1].to);
        const gen_chart_series series = {.label = p->runs[i].label,
                                         .x = x,
                                         .y = levels,
                                         .n = n + 1,
                                         .style = GEN_SERIES_LINE | GEN_SERIES_DOTS,
                                         .color = i};
        p->series[0][i] = p->series[1][i] = series;
        p->series[1][i].label = NULL;
        p->series[1][i].y = times;
        p->series[1][i].n = n;
    }
    return GEN_OK;
}

static int longest(const plot *p)
{
    int n = 1;
    for (int i = 0; i < p->num_runs; i++)
        if (p->runs[i].schedule->num_steps > n)
            n = p->runs[i].schedule->num_steps;
    return n;
}

/* The times of training fill their axis; other rules have the range of what is drawn. */
static gen_chart_axis time_axis(const plot *p)
{
    static const char *const labels[] = {
        [GEN_TIME_TRAINING] = "training time", [GEN_TIME_REVERSED] = "training time, 0 is noise",
        [GEN_TIME_EDM] = "ln(\xcf\x83) / 4",   [GEN_TIME_CONSISTENCY] = "250 ln(\xcf\x83)",
        [GEN_TIME_ANGLE] = "angle \xce\xb8",
    };
    const gen_time_rule rule = p->config.time_rule;
    gen_chart_axis axis = {.label = labels[rule]};
    if (rule == GEN_TIME_TRAINING || rule == GEN_TIME_REVERSED) {
        axis.last = 1.02 * p->config.num_train_timesteps;
        return axis;
    }
    for (int i = 0; i < p->num_runs; i++)
        for (size_t k = 0; k < p->series[1][i].n; k++) {
            axis.first = fmin(axis.first, p->series[1][i].y[k]);
            axis.last = fmax(axis.last, p->series[1][i].y[k]);
        }
    const double margin = 0.03 * (axis.last - axis.first);
    axis.first -= axis.first < 0 ? margin : 0;
    axis.last += margin > 0 ? margin : 1;
    return axis;
}

static gen_status chart_schedules(plot *p, gen_chart *chart, gen_error *err)
{
    const level_scale scale = choose_scale(p);
    static const char *const labels[] = {
        "noise level \xcf\x83 / \xce\xb1", "share of noise \xcf\x84",
        "noise \xcf\x83 (\xce\xb1\xc2\xb2 + \xcf\x83\xc2\xb2 = 1)"};
    double top = 0;
    GEN_TRY(add_schedule_series(p, scale, &top, err));
    const gen_chart_axis steps = {
        .label = "step", .first = 0, .last = longest(p), .is_whole = true};
    p->panels[0] = (gen_chart_panel){
        .title = "What is left of the noise",
        .x = steps,
        .y = {.label = labels[scale], .first = 0, .last = scale == SCALE_KAPPA ? 1.1 * top : 1.02},
        .series = p->series[0],
        .num_series = (size_t)p->num_runs};
    if (scale == SCALE_KAPPA) {
        p->panels[0].y.kind = GEN_AXIS_ASINH;
        p->panels[0].y.bend = 0.03;
        p->panels[0].y.ticks = KAPPA_TICKS;
        p->panels[0].y.num_ticks = (int)(sizeof KAPPA_TICKS / sizeof KAPPA_TICKS[0]);
    }
    p->panels[1] = (gen_chart_panel){.title = "What the network is told",
                                     .x = steps,
                                     .y = time_axis(p),
                                     .series = p->series[1],
                                     .num_series = (size_t)p->num_runs};
    chart->title = "Schedules";
    chart->num_panels = chart->num_columns = 2;
    return GEN_OK;
}

/* ---- trajectories --------------------------------------------------------------------------- */

enum { NUM_LINES = 25, NUM_POINTS = 36, EXACT_STATES = 200 };

/* The standard normal number with this share below it, by bisection. */
static double normal_quantile(double share)
{
    double low = -10, high = 10;
    for (int i = 0; i < 80; i++) {
        const double middle = (low + high) / 2;
        *(0.5 * erfc(-middle / sqrt(2)) < share ? &low : &high) = middle;
    }
    return (low + high) / 2;
}

/* Evenly spread quantiles on the line; points of a fixed draw in the plane. */
static void fill_start(float *start, const gen_toy *toy, size_t n)
{
    gen_rng rng;
    gen_rng_init(&rng, GEN_RNG_GEN, 4);
    if (toy->dim == 2)
        gen_rng_normal(&rng, start, n);
    for (size_t i = 0; i < n && toy->dim == 1; i++)
        start[i] = (float)normal_quantile(((double)i + 0.5) / (double)n);
}

static double degrees(double angle)
{
    return angle * 90 / acos(0);
}

/* One point's way as a series; the exact ones are faint. */
static gen_status add_way(plot *p, gen_chart_panel *panel, gen_chart_series *list,
                          const gen_toy_path *path, size_t point, int dim, int color,
                          gen_error *err)
{
    const size_t states = (size_t)path->num_states;
    double *x = numbers(p, states), *y = numbers(p, states);
    if (!x || !y)
        return gen_no_memory(err, "plot", 2 * states * sizeof *x);
    for (size_t s = 0; s < states; s++) {
        const double *state = path->states + s * path->n + point * (size_t)dim;
        x[s] = dim == 2 ? state[0] : degrees(path->angles[s]);
        y[s] = dim == 2 ? state[1] : state[0];
    }
    const bool is_exact = color == GEN_COLOR_FAINT;
    list[panel->num_series++] =
        (gen_chart_series){.x = x,
                           .y = y,
                           .n = states,
                           .style = GEN_SERIES_LINE | (is_exact   ? 0
                                                       : dim == 2 ? GEN_SERIES_LAST_DOT
                                                                  : GEN_SERIES_DOTS),
                           .color = color,
                           .width = is_exact   ? 1.0
                                    : dim == 2 ? 1.1
                                               : 1.0,
                           .opacity = is_exact   ? 0.9
                                      : dim == 2 ? 0.6
                                                 : 0.85};
    return GEN_OK;
}

/* The density of noise before the first angle and that of data behind the last, on their sides. */
static gen_status add_density(plot *p, gen_chart_panel *panel, gen_chart_series *list,
                              const gen_toy *toy, bool is_data, gen_error *err)
{
    enum { N = 160 };
    double *x = numbers(p, N + 2), *y = numbers(p, N + 2), top = 0;
    if (!x || !y)
        return gen_no_memory(err, "plot", 2 * N * sizeof *x);
    for (int i = 0; i < N; i++) {
        y[i] = panel->y.first + (panel->y.last - panel->y.first) * i / (N - 1);
        x[i] = is_data ? gen_toy_density(toy, y[i]) : exp(-y[i] * y[i] / 2);
        top = fmax(top, x[i]);
    }
    for (int i = 0; i < N; i++)
        x[i] = is_data ? -2 - 10 * x[i] / top : 92 + 10 * x[i] / top;
    x[N] = x[N + 1] = is_data ? -2 : 92;
    y[N] = y[N - 1];
    y[N + 1] = y[0];
    list[panel->num_series++] = (gen_chart_series){.x = x,
                                                   .y = y,
                                                   .n = N + 2,
                                                   .style = GEN_SERIES_AREA | GEN_SERIES_LINE,
                                                   .color = GEN_COLOR_DARK,
                                                   .width = 0.8,
                                                   .opacity = 0.6};
    return GEN_OK;
}

/* Two deviations around each mode. */
static gen_status add_modes(plot *p, gen_chart_panel *panel, gen_chart_series *list,
                            const gen_toy *toy, gen_error *err)
{
    enum { N = 48 };
    for (int k = 0; k < toy->num_modes; k++) {
        double *x = numbers(p, N), *y = numbers(p, N);
        if (!x || !y)
            return gen_no_memory(err, "plot", 2 * N * sizeof *x);
        for (int i = 0; i < N; i++) {
            x[i] = toy->means[k][0] + 2 * toy->deviation * cos(4 * acos(0) * i / N);
            y[i] = toy->means[k][1] + 2 * toy->deviation * sin(4 * acos(0) * i / N);
        }
        list[panel->num_series++] = (gen_chart_series){.x = x,
                                                       .y = y,
                                                       .n = N,
                                                       .style = GEN_SERIES_AREA,
                                                       .color = GEN_COLOR_DARK,
                                                       .opacity = 0.7};
    }
    return GEN_OK;
}

static void set_axes(gen_chart_panel *panel, const gen_toy *toy)
{
    static gen_chart_tick ticks[] = {{90, "\xe2\x88\x9e"}, {84.2894, "10"},
                                     {71.5651, "3"},       {45, "1"},
                                     {16.6992, "0.3"},     {0, "0"}};
    if (toy->dim == 2) {
        panel->is_square = true;
        panel->x = (gen_chart_axis){.first = -2.6, .last = 2.6};
        panel->y = (gen_chart_axis){.first = -2.6, .last = 2.6};
        return;
    }
    panel->x = (gen_chart_axis){.label = "noise level \xcf\x83 / \xce\xb1",
                                .first = 103,
                                .last = -13,
                                .ticks = ticks,
                                .num_ticks = (int)(sizeof ticks / sizeof ticks[0])};
    panel->y = (gen_chart_axis){.first = -2.6, .last = 2.6};
}

static gen_status chart_run(plot *p, int i, const gen_toy *toy, gen_error *err)
{
    const plot_run *run = &p->runs[i];
    const size_t points = toy->dim == 2 ? NUM_POINTS : NUM_LINES, n = points * (size_t)toy->dim;
    gen_chart_panel *panel = &p->panels[i];
    float start[2 * NUM_POINTS];
    gen_toy_path exact = {0}, path = {0};
    gen_status status;
    if (run->sampling.config.network == GEN_NETWORK_BRIDGE)
        return gen_fail(err, GEN_ERROR_ARGUMENT,
                        "trajectory: bridges start from a source picture, the toy data has none");
    fill_start(start, toy, n);
    *panel = (gen_chart_panel){.series = p->series[i]};
    set_axes(panel, toy);
    if ((status = gen_toy_exact(&exact, toy, run->schedule, start, n, EXACT_STATES, err)) ||
        (status = gen_toy_run(&path, toy, run->sampling.sampler, run->schedule,
                              &run->sampling.config, start, n, p->params.seed, err)))
        goto done;
    if (toy->dim == 1 && ((status = add_density(p, panel, p->series[i], toy, false, err)) ||
                          (status = add_density(p, panel, p->series[i], toy, true, err))))
        goto done;
    if (toy->dim == 2 && (status = add_modes(p, panel, p->series[i], toy, err)))
        goto done;
    for (size_t k = 0; k < points && !status; k++)
        status = add_way(p, panel, p->series[i], &exact, k, toy->dim, GEN_COLOR_FAINT, err);
    for (size_t k = 0; k < points && !status; k++)
        status = add_way(p, panel, p->series[i], &path, k, toy->dim, i, err);
    /* Fresh noise makes a tangle of a plane. */
    const bool is_tangle =
        toy->dim == 2 && gen_sampler_info_of(run->sampling.sampler)->is_stochastic;
    for (size_t k = 0; k < panel->num_series && is_tangle; k++)
        if (p->series[i][k].color == i)
            p->series[i][k].opacity = 0.3;
    if (status)
        goto done;
    panel->title = gen_arena_printf(p->arena, "%s" DOT "%d network calls", run->label, path.calls);
    if (!panel->title)
        status = gen_no_memory(err, "plot", sizeof run->label);
done:
    gen_toy_path_free(&exact);
    gen_toy_path_free(&path);
    return status;
}

static gen_status chart_trajectories(plot *p, gen_chart *chart, gen_error *err)
{
    const char *name = p->params.data ? p->params.data : gen_toy_at(0)->name;
    const gen_toy *toy = gen_toy_find(name);
    if (!toy) {
        gen_fail(err, GEN_ERROR_ARGUMENT, "data: \"%s\" is not known", name);
        return gen_hint(err, "there are: pair, gauss, ring");
    }
    for (int i = 0; i < p->num_runs; i++)
        GEN_TRY(chart_run(p, i, toy, err));
    chart->title = gen_arena_printf(p->arena, "From noise to %s", toy->what);
    if (!chart->title)
        return gen_no_memory(err, "plot", strlen(toy->what));
    chart->num_panels = p->num_runs;
    chart->num_columns = p->num_runs == 1 ? 1 : p->num_runs <= 4 ? 2 : p->num_runs <= 9 ? 3 : 4;
    return GEN_OK;
}

/* ---- public --------------------------------------------------------------------------------- */

static gen_status check_size(int *side, int usual, const char *name, gen_error *err)
{
    if (*side == 0)
        *side = usual;
    if (*side < 200 || *side > 8000)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "%s: %d is out of range (200..8000)", name, *side);
    return GEN_OK;
}

static gen_status make(plot *p, const char *path,
                       gen_status (*fill)(plot *p, gen_chart *chart, gen_error *err),
                       gen_error *err)
{
    gen_chart chart = {.panels = p->panels};
    GEN_TRY(check_size(&p->params.width, 1000, "width", err));
    GEN_TRY(check_size(&p->params.height, 700, "height", err));
    GEN_TRY(read_config(p, err));
    GEN_TRY(make_runs(p, err));
    GEN_TRY(fill(p, &chart, err));
    chart.subtitle = p->subtitle;
    chart.width = p->params.width;
    chart.height = p->params.height;
    return gen_chart_save(&chart, path,
                          &GEN_IMAGE_SAVE_PARAMS(.if_exists = p->params.if_exists,
                                                 .saved_path = p->params.saved_path,
                                                 .saved_path_size = p->params.saved_path_size),
                          err);
}

static gen_status make_plot(const char *path, const gen_plot_params *params,
                            gen_status (*fill)(plot *p, gen_chart *chart, gen_error *err),
                            gen_error *err)
{
    plot *p = gen_calloc(1, sizeof *p);
    if (!p)
        return gen_no_memory(err, "plot", sizeof *p);
    if (params)
        memcpy(&p->params, params,
               params->struct_size < sizeof p->params ? params->struct_size : sizeof p->params);
    p->arena = gen_arena_new();
    const gen_status status =
        p->arena ? make(p, path, fill, err) : gen_no_memory(err, "plot", sizeof *p);
    for (int i = 0; i < p->num_runs; i++)
        gen_schedule_free(p->runs[i].schedule);
    gen_arena_free(p->arena);
    gen_free(p->lists);
    gen_model_files_free(p->files);
    gen_free(p);
    return status;
}

gen_status gen_plot_schedule(const char *path, const gen_plot_params *params, gen_error *err)
{
    return make_plot(path, params, chart_schedules, err);
}

gen_status gen_plot_trajectory(const char *path, const gen_plot_params *params, gen_error *err)
{
    return make_plot(path, params, chart_trajectories, err);
}
