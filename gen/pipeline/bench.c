/* bench.c - gen_bench_run(): ops (bench_ops.c), the phases of a picture, and the check against the
 * CPU. */
#include "gen/pipeline/bench.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "gen/core/cache_file.h"
#include "gen/core/threads.h"
#include "gen/pipeline/generate.h"
#include "gen/pipeline/self_check.h"
#ifdef GEN_HAVE_VULKAN
#include "gen/pipeline/trust.h"
#endif

#ifndef GEN_COMMIT
#define GEN_COMMIT ""
#endif

/* Pictures on another device than the CPU are the same to the eye from here on. */
static const double LEAST_PSNR = 40.0;

gen_bench_row *gen_bench_add(gen_bench *bench, const char *name)
{
    const size_t n = (size_t)bench->num_rows;
    gen_bench_row *rows = gen_realloc(bench->rows, (n + 1) * sizeof *rows);
    if (!rows)
        return NULL;
    bench->rows = rows;
    bench->num_rows++;
    rows[n] = (gen_bench_row){0};
    snprintf(rows[n].name, sizeof rows[n].name, "%s", name);
    return &rows[n];
}

void gen_bench_free(gen_bench *bench)
{
    if (!bench)
        return;
    gen_free(bench->rows);
    gen_free(bench);
}

static gen_context_params context_params(const gen_bench_params *p, const char *device,
                                         const char *precision)
{
    return GEN_CONTEXT_PARAMS(.num_threads = p->num_threads, .device = device,
                              .precision = precision, .mem_limit = p->mem_limit, .log = p->log,
                              .log_user = p->log_user);
}

static gen_status open_context(gen_context **out, gen_bench *bench, const gen_bench_params *p,
                               const char *device, const char *precision, gen_error *err)
{
    const gen_context_params params = context_params(p, device, precision);
    GEN_TRY(gen_context_new(out, &params, err));
    if (bench)
        snprintf(bench->device, sizeof bench->device, "%s", gen_context_backend(*out));
    return GEN_OK;
}

/* ---- a picture ------------------------------------------------------------------------------ */

static gen_generate_params picture_params(const gen_bench_params *p, const gen_model *model)
{
    const gen_model_info *info = gen_model_get_info(model);
    return GEN_GENERATE_PARAMS(.prompt = info->takes_prompt
                                             ? "a red house beside a blue lake at sunset"
                                             : NULL,
                               .class_label = info->num_classes ? "0" : NULL, .seed = 1,
                               .width = p->width, .height = p->height,
                               .num_inference_steps = p->num_inference_steps);
}

/* Keeps what a device is asked for in a step while the plan is there: where weights are streamed it
 * goes with the last step. */
typedef struct watch {
    const gen_model *model;
    bool stops; /* before the first step */
#ifdef GEN_HAVE_VULKAN
    bool has_counts;
    gen_vulkan_counts counts;
#endif
} watch;

static int watch_progress(void *user, const gen_progress *progress)
{
    watch *w = user;
    if (progress->phase != GEN_PHASE_STEP)
        return 0;
#ifdef GEN_HAVE_VULKAN
    const gen_plan_cache *plans = &w->model->plans;
    const bool is_cpu = gen_backend_is_cpu(w->model->network.backend);
    for (int i = 0; i < GEN_MAX_PLANS && !is_cpu && !w->has_counts; i++) {
        if (!plans->entries[i].plan)
            continue;
        w->counts = gen_vulkan_count(plans->entries[i].plan);
        w->has_counts = true;
    }
#endif
    return w->stops;
}

static gen_status make_picture(gen_image **out, gen_generate_stats *stats, gen_model *model,
                               watch *w, const gen_bench_params *p, gen_error *err)
{
    gen_generate_params params = picture_params(p, model);
    if (!params.num_inference_steps)
        params.num_inference_steps = 4;
    w->model = model;
    params.progress = watch_progress;
    params.progress_user = w;
    return gen_generate(out, model, &params, stats, err);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds from opening the device to the first step of a picture. */
static gen_status time_start(double *seconds, const gen_bench_params *p, bool is_cold,
                             gen_error *err)
{
    const gen_context_params params = context_params(p, p->device, NULL);
    gen_context *context = NULL;
    gen_model *model = NULL;
    gen_image *image = NULL;
    watch w = {.stops = true};
    const double start = now();
    gen_status status = gen_context_open(&context, &params, is_cold, err);
    if (!status)
        status = gen_model_open(&model, context, &GEN_MODEL_PARAMS(.path = p->model), err);
    if (!status)
        status = make_picture(&image, NULL, model, &w, p, err);
    *seconds = now() - start;
    gen_image_free(image);
    gen_model_free(model);
    gen_context_free(context);
    return status == GEN_ERROR_CANCELLED ? GEN_OK : status;
}

static gen_status add_seconds(gen_bench *bench, const char *name, const char *shape, double seconds,
                              gen_error *err)
{
    gen_bench_row *row = gen_bench_add(bench, name);
    if (!row)
        return gen_no_memory(err, "table", sizeof *row);
    snprintf(row->shape, sizeof row->shape, "%s", shape);
    row->seconds = seconds;
    return GEN_OK;
}

static gen_status add_bytes(gen_bench *bench, const char *name, uint64_t bytes, gen_error *err)
{
    gen_bench_row *row = gen_bench_add(bench, name);
    if (!row)
        return gen_no_memory(err, "table", sizeof *row);
    row->bytes = bytes;
    return GEN_OK;
}

/* The most memory this process has had, or 0. */
static uint64_t peak_of_process(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_maxrss * 1024 : 0;
}

#ifdef GEN_HAVE_VULKAN
static gen_status add_count(gen_bench *bench, const char *name, int count, gen_error *err)
{
    gen_bench_row *row = gen_bench_add(bench, name);
    if (!row)
        return gen_no_memory(err, "table", sizeof *row);
    snprintf(row->note, sizeof row->note, "%d", count);
    return GEN_OK;
}

/* What one run of the network asks of the device. */
static gen_status add_counts(gen_bench *bench, gen_vulkan_counts n, gen_error *err)
{
    GEN_TRY(add_count(bench, "step: nodes", n.nodes, err));
    GEN_TRY(add_count(bench, "step: fused nodes", n.fused, err));
    GEN_TRY(add_count(bench, "step: dispatches", n.dispatches, err));
    GEN_TRY(add_count(bench, "step: transfers", n.copies, err));
    GEN_TRY(add_count(bench, "step: barriers", n.barriers, err));
    GEN_TRY(add_count(bench, "step: submissions", n.submissions, err));
    return n.stages ? add_count(bench, "step: stages", n.stages, err) : GEN_OK;
}
#endif

/* What was found, not planned: memory, and what a step asks of a device. */
static gen_status add_measured(gen_bench *bench, const gen_model *model, const watch *w,
                               gen_error *err)
{
#ifdef GEN_HAVE_VULKAN
    if (!gen_backend_is_cpu(model->network.backend)) {
        const gen_vulkan_stats s = gen_vulkan_get_stats(model->network.backend);
        GEN_TRY(add_bytes(bench, "peak memory, device", s.peak_bytes, err));
        if (w->has_counts)
            GEN_TRY(add_counts(bench, w->counts, err));
    }
#endif
    (void)model;
    (void)w;
    return add_bytes(bench, "peak memory, process", peak_of_process(), err);
}

static gen_status add_phases(gen_bench *bench, gen_model *model, const gen_bench_params *p,
                             const gen_generate_stats *first, const gen_generate_stats *stats,
                             const watch *w, gen_error *err)
{
    gen_generate_params params = picture_params(p, model);
    gen_memory_plan plan;
    char shape[48];
    GEN_TRY(gen_plan_picture(&plan, model, &params, err));
    GEN_TRY(gen_resolve(&params, model, err));
    snprintf(shape, sizeof shape, "%dx%d", params.width, params.height);
    GEN_TRY(add_seconds(bench, "prepare, first picture", shape, first->load_seconds, err));
    GEN_TRY(add_seconds(bench, "prompt, first picture", "", first->encode_seconds, err));
    GEN_TRY(add_seconds(bench, "step", shape, stats->step_seconds, err));
    gen_bench_row *step = &bench->rows[bench->num_rows - 1];
    step->flops_per_second =
        plan.estimate.phases[1].flops / params.num_inference_steps / stats->step_seconds;
    GEN_TRY(add_seconds(bench, "decode", shape, stats->decode_seconds, err));
    bench->rows[bench->num_rows - 1].flops_per_second =
        plan.estimate.phases[2].flops / stats->decode_seconds;
    GEN_TRY(add_bytes(bench, "peak memory, planned", plan.estimate.peak_bytes, err));
    return add_measured(bench, model, w, err);
}

/* Both starts; on the CPU there is nothing that is kept from one to the next. */
static gen_status add_starts(gen_bench *bench, const gen_bench_params *p, gen_error *err)
{
    double cold, warm;
    GEN_TRY(time_start(&cold, p, true, err));
    GEN_TRY(time_start(&warm, p, false, err));
    GEN_TRY(add_seconds(bench, "start to first step", "cold: shaders compiled", cold, err));
    return add_seconds(bench, "start to first step", "warm: shaders kept", warm, err);
}

static gen_status bench_model(gen_bench *bench, const gen_bench_params *p, gen_error *err)
{
    gen_context *context = NULL;
    gen_model *model = NULL;
    gen_image *image = NULL;
    gen_generate_stats first = {0}, stats = {0};
    watch w = {0};
    gen_status status = open_context(&context, bench, p, p->device, NULL, err);
    if (!status)
        status = gen_model_open(&model, context, &GEN_MODEL_PARAMS(.path = p->model), err);
    if (!status)
        status = make_picture(&image, &first, model, &w, p, err);
    gen_image_free(image);
    image = NULL;
    if (!status)
        status = make_picture(&image, &stats, model, &w, p, err);
    if (!status)
        status = add_phases(bench, model, p, &first, &stats, &w, err);
    const bool has_device = model && !gen_backend_is_cpu(model->network.backend);
    gen_image_free(image);
    gen_model_free(model);
    gen_context_free(context); /* keeps the shaders */
    return status || !has_device ? status : add_starts(bench, p, err);
}

/* ---- the check ------------------------------------------------------------------------------ */

/* The device as it is, whatever its verdict, and what to write down of it. */
static gen_status open_unchecked(gen_backend **out, gen_bench *bench, const gen_bench_params *p,
                                 gen_error *err)
{
#ifdef GEN_HAVE_VULKAN
    if (p->device && strncmp(p->device, "vulkan", 6) == 0) {
        const gen_vulkan_options options = {.device = p->device[6] == ':' ? p->device + 7 : ""};
        GEN_TRY(gen_vulkan_open(out, &options, err));
        gen_vulkan_describe(*out, bench->device, sizeof bench->device);
        return GEN_OK;
    }
#endif
    gen_context *context;
    GEN_TRY(open_context(&context, bench, p, "cpu", NULL, err)); /* names what is wrong with p */
    gen_context_free(context);
    return gen_cpu_open(out, &(gen_cpu_options){.num_threads = p->num_threads}, err);
}

static gen_status add_checks(gen_bench *bench, const gen_check_report *report, gen_error *err)
{
    for (int i = 0; i < report->num_results; i++) {
        const gen_check_result *r = &report->results[i];
        gen_bench_row *row = gen_bench_add(bench, r->op);
        if (!row)
            return gen_no_memory(err, "table", sizeof *row);
        row->nmse = r->nmse;
        row->max_error = r->max_error;
        row->has_failed = !r->has_passed && !r->is_missing;
        if (r->is_missing)
            snprintf(row->note, sizeof row->note, "no kernel here");
        else if (!r->is_repeatable)
            snprintf(row->note, sizeof row->note, "other numbers when run again");
    }
    return GEN_OK;
}

static gen_status check_ops(gen_bench *bench, const gen_bench_params *p, gen_error *err)
{
    const gen_cpu_options exact = {.num_threads = 1, .gemm = GEN_GEMM_OWN, .conv = GEN_CONV_EXACT};
    gen_backend *backend, *cpu = NULL;
    gen_check_report report;
    GEN_TRY(open_unchecked(&backend, bench, p, err));
    gen_status status = gen_cpu_open(&cpu, &exact, err);
    if (!status)
        status = gen_self_check(&report, backend, cpu, err);
    if (!status)
        status = add_checks(bench, &report, err);
#ifdef GEN_HAVE_VULKAN
    if (!status && !gen_backend_is_cpu(backend)) {
        char *folder = gen_cache_path("vulkan");
        status = gen_trust_record(backend, &report, folder, err);
        gen_free(folder);
    }
#endif
    if (cpu)
        cpu->fns->close(cpu);
    backend->fns->close(backend);
    return status;
}

static gen_status picture_on(gen_image **out, const gen_bench_params *p, const char *device,
                             const char *precision, gen_error *err)
{
    gen_context *context = NULL;
    gen_model *model = NULL;
    gen_status status = open_context(&context, NULL, p, device, precision, err);
    if (!status)
        status = gen_model_open(&model, context, &GEN_MODEL_PARAMS(.path = p->model), err);
    if (!status)
        status = make_picture(out, NULL, model, &(watch){0}, p, err);
    gen_model_free(model);
    gen_context_free(context);
    return status;
}

static void compare(gen_bench_row *row, const gen_image *a, const gen_image *b)
{
    double sum = 0;
    const int n = a->width * a->channels;
    for (int y = 0; y < a->height; y++)
        for (int i = 0; i < n; i++) {
            const double d = (double)a->data[(size_t)y * a->stride + (size_t)i] -
                             (double)b->data[(size_t)y * b->stride + (size_t)i];
            sum += d * d;
            if (fabs(d) > row->max_error)
                row->max_error = fabs(d);
        }
    const double mean = sum / ((double)n * a->height);
    row->psnr = mean > 0 ? 10 * log10(255.0 * 255.0 / mean) : 99;
    row->has_failed = row->psnr < LEAST_PSNR;
    snprintf(row->shape, sizeof row->shape, "%dx%d", a->width, a->height);
}

static gen_status check_picture(gen_bench *bench, const gen_bench_params *p, gen_error *err)
{
    gen_image *expected = NULL, *got = NULL;
    gen_bench_row *row = gen_bench_add(bench, "picture");
    if (!row)
        return gen_no_memory(err, "table", sizeof *row);
    gen_status status = picture_on(&expected, p, "cpu", "f32", err);
    if (!status)
        status = picture_on(&got, p, p->device, NULL, err);
    if (!status)
        compare(row, got, expected);
    gen_image_free(expected);
    gen_image_free(got);
    return status;
}

static int count_failed(const gen_bench *bench)
{
    int n = 0;
    for (int i = 0; i < bench->num_rows; i++)
        n += bench->rows[i].has_failed;
    return n;
}

static gen_status bench_check(gen_bench *bench, const gen_bench_params *p, gen_error *err)
{
    GEN_TRY(check_ops(bench, p, err));
    if (!count_failed(bench))
        GEN_TRY(check_picture(bench, p, err));
    bench->num_failed = count_failed(bench);
    return GEN_OK;
}

/* ---- all of it ------------------------------------------------------------------------------ */

static gen_status bench_ops(gen_bench *bench, const gen_bench_params *p, gen_error *err)
{
    gen_context *context;
    GEN_TRY(open_context(&context, bench, p, p->device, NULL, err));
    const gen_status status = gen_bench_ops(bench, context->backend, err);
    gen_context_free(context);
    return status;
}

gen_status gen_bench_run(gen_bench **out, const gen_bench_params *params, gen_error *err)
{
    gen_bench_params p = {0};
    memcpy(&p, params, params->struct_size < sizeof p ? params->struct_size : sizeof p);
    if (p.num_threads < 0)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "threads: %d is not possible", p.num_threads);
    gen_bench *bench = gen_calloc(1, sizeof *bench);
    if (!bench)
        return gen_no_memory(err, "table", sizeof *bench);
    snprintf(bench->commit, sizeof bench->commit, "%s", *GEN_COMMIT ? GEN_COMMIT : gen_version());
    bench->num_threads = p.num_threads ? p.num_threads : gen_cpu_count();
    const gen_status status = p.kind == GEN_BENCH_OPS     ? bench_ops(bench, &p, err)
                              : p.kind == GEN_BENCH_MODEL ? bench_model(bench, &p, err)
                                                          : bench_check(bench, &p, err);
    if (status)
        gen_bench_free(bench);
    else
        *out = bench;
    return status;
}
