/* trust.c - see trust.h. */
#include "gen/pipeline/trust.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "gen/core/cache_file.h"
#include "gen/cpu/cpu.h"

enum { MAX_FILE = 8192, MAX_ATTEMPTS = 2, MAX_LOSSES = 2 };

/* ---- verdicts on disk ------------------------------------------------------------------------
 * Lines of "name value"; the first names the format, the last is "end". */

static const char *const state_names[] = {"none", "checking", "passed", "failed"};

static char *path_of(const char *folder, const char *key)
{
    return gen_asprintf("%s/%.32s.verdict", folder, key);
}

static gen_verdict_state state_of(const char *name)
{
    for (int i = 0; i < 4; i++)
        if (strcmp(name, state_names[i]) == 0)
            return (gen_verdict_state)i;
    return GEN_VERDICT_NONE;
}

static void read_line(gen_verdict *v, char *line)
{
    char *value = strchr(line, ' ');
    if (!value)
        return;
    *value++ = '\0';
    if (strcmp(line, "state") == 0) {
        v->state = state_of(value);
    } else if (strcmp(line, "half") == 0) {
        v->half = state_of(value);
    } else if (strcmp(line, "matrices") == 0) {
        v->matrices = state_of(value);
    } else if (strcmp(line, "lanes") == 0) {
        v->lanes = state_of(value);
    } else if (strcmp(line, "lanes_sentence") == 0) {
        snprintf(v->lanes_sentence, sizeof v->lanes_sentence, "%s", value);
    } else if (strcmp(line, "half_sentence") == 0) {
        snprintf(v->half_sentence, sizeof v->half_sentence, "%s", value);
    } else if (strcmp(line, "date") == 0) {
        snprintf(v->date, sizeof v->date, "%s", value);
    } else if (strcmp(line, "sentence") == 0) {
        snprintf(v->sentence, sizeof v->sentence, "%s", value);
    } else if (strcmp(line, "missing") == 0) {
        snprintf(v->missing, sizeof v->missing, "%s", value);
    } else if (strcmp(line, "flops") == 0) {
        v->flops_per_second = strtod(value, NULL);
    } else if (strcmp(line, "bytes") == 0) {
        v->bytes_per_second = strtod(value, NULL);
    } else if (strcmp(line, "cpu_flops") == 0) {
        v->cpu_flops_per_second = strtod(value, NULL);
    } else if (strcmp(line, "attempts") == 0) {
        v->attempts = atoi(value);
    } else if (strcmp(line, "losses") == 0) {
        v->losses = atoi(value);
    } else if (strcmp(line, "process") == 0) {
        v->process = atol(value);
    }
}

void gen_verdict_read(gen_verdict *out, const char *folder, const char *key)
{
    static const char first[] = "gen-verdict 1\n", last[] = "\nend\n";
    *out = (gen_verdict){0};
    char *path = folder ? path_of(folder, key) : NULL;
    size_t size = 0;
    char *text = path ? gen_cache_read(path, MAX_FILE, &size) : NULL;
    if (text && strlen(text) == size && size > sizeof first + sizeof last &&
        strncmp(text, first, strlen(first)) == 0 && strcmp(text + size - strlen(last), last) == 0) {
        char *rest = NULL;
        for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
            read_line(out, line);
    }
    gen_free(text);
    gen_free(path);
}

bool gen_verdict_write(const gen_verdict *v, const char *folder, const char *key)
{
    char *path = folder ? path_of(folder, key) : NULL;
    char *text = gen_asprintf(
        "gen-verdict 1\nstate %s\ndate %s\nsentence %s\nmissing %s\nflops %.4g\nbytes %.4g\n"
        "cpu_flops %.4g\nattempts %d\nlosses %d\nprocess %ld\nhalf %s\n"
        "matrices %s\nhalf_sentence %s\nlanes %s\nlanes_sentence %s\nend\n",
        state_names[v->state], v->date, v->sentence, v->missing, v->flops_per_second,
        v->bytes_per_second, v->cpu_flops_per_second, v->attempts, v->losses, v->process,
        state_names[v->half], state_names[v->matrices], v->half_sentence, state_names[v->lanes],
        v->lanes_sentence);
    const bool is_done = path && text && gen_cache_write(path, text, strlen(text));
    gen_free(path);
    gen_free(text);
    return is_done;
}

/* ---- the check ------------------------------------------------------------------------------ */

static void judge(gen_verdict *v, const gen_check_report *report)
{
    v->state = report->first_failure < 0 ? GEN_VERDICT_PASSED : GEN_VERDICT_FAILED;
    if (report->first_failure >= 0)
        gen_check_sentence(&report->results[report->first_failure], v->sentence,
                           sizeof v->sentence);
    else
        snprintf(v->sentence, sizeof v->sentence, "largest NMSE %.1e", report->worst_nmse);
    v->missing[0] = '\0';
    for (int i = 0; i < report->num_results; i++) {
        const char *op = report->results[i].op;
        const int length = (int)strcspn(op, ",");
        const size_t used = strlen(v->missing);
        const bool is_known = i > 0 && report->results[i - 1].is_missing &&
                              strncmp(report->results[i - 1].op, op, (size_t)length) == 0;
        if (report->results[i].is_missing && !is_known)
            snprintf(v->missing + used, sizeof v->missing - used, "%s%.*s", used ? ", " : "",
                     length, op);
    }
}

static gen_status measure(gen_verdict *v, gen_backend *backend, gen_error *err)
{
    const gen_vulkan_device *d = gen_vulkan_device_of(backend);
    gen_backend *cpu;
    double bytes;
    GEN_TRY(gen_measure_speeds(&v->flops_per_second, &v->bytes_per_second, backend, err));
    if (d->kind != GEN_VULKAN_INTEGRATED)
        return GEN_OK;
    GEN_TRY(gen_cpu_open(&cpu, &(gen_cpu_options){0}, err));
    const gen_status status = gen_measure_speeds(&v->cpu_flops_per_second, &bytes, cpu, err);
    cpu->fns->close(cpu);
    return status;
}

/* An error of the device is a verdict; only a lack of memory is none. */
static gen_status check_as_it_is(gen_verdict *v, gen_backend *backend, gen_error *err)
{
    const gen_cpu_options exact = {.num_threads = 1, .gemm = GEN_GEMM_OWN, .conv = GEN_CONV_EXACT};
    gen_check_report report;
    gen_error problem = {0};
    gen_backend *cpu;
    GEN_TRY(gen_cpu_open(&cpu, &exact, err));
    gen_status status = gen_self_check(&report, backend, cpu, &problem);
    cpu->fns->close(cpu);
    if (!status) {
        judge(v, &report);
        if (v->state == GEN_VERDICT_PASSED)
            status = measure(v, backend, &problem);
    }
    if (status == GEN_ERROR_MEMORY)
        return gen_fail(err, status, "self-check: %s", problem.message);
    if (status) {
        v->state = GEN_VERDICT_FAILED;
        snprintf(v->sentence, sizeof v->sentence, "%.250s", problem.message);
    }
    return GEN_OK;
}

/* A device that failed with sums between lanes may pass without. */
static gen_status check_without_lanes(gen_verdict *v, gen_backend *backend, gen_error *err)
{
    gen_verdict plain = {0};
    gen_vulkan_use_lanes(backend, false);
    GEN_TRY(check_as_it_is(&plain, backend, err));
    if (plain.state == GEN_VERDICT_FAILED && v->state == GEN_VERDICT_FAILED)
        return GEN_OK; /* the first reason is the one to tell */
    if (plain.state == GEN_VERDICT_PASSED) {
        plain.lanes = GEN_VERDICT_FAILED;
        snprintf(plain.lanes_sentence, sizeof plain.lanes_sentence, "%.150s", v->sentence);
    }
    memcpy(plain.date, v->date, sizeof plain.date);
    *v = plain;
    return GEN_OK;
}

static gen_status check(gen_verdict *v, gen_backend *backend, gen_error *err)
{
    GEN_TRY(check_as_it_is(v, backend, err));
    if (v->state == GEN_VERDICT_FAILED && gen_vulkan_uses_lanes(backend))
        return check_without_lanes(v, backend, err);
    return GEN_OK;
}

static void set_date(gen_verdict *v)
{
    const time_t t = time(NULL);
    struct tm date;
    if (gmtime_r(&t, &date))
        strftime(v->date, sizeof v->date, "%Y-%m-%d", &date);
}

/* Checks with a marker on disk, so that a driver that takes the process down is known by it. */
static gen_status check_marked(gen_verdict *v, gen_backend *backend, const char *key,
                               const gen_trust_request *r, gen_error *err)
{
    const gen_vulkan_device *d = gen_vulkan_device_of(backend);
    gen_verdict marker = {
        .state = GEN_VERDICT_CHECKING, .attempts = v->attempts + 1, .process = (long)getpid()};
    snprintf(marker.sentence, sizeof marker.sentence, "a check has begun");
    gen_log(r->context, GEN_LOG_NOTE, "checking %s, once; this takes some seconds", d->name);
    set_date(&marker);
    gen_verdict_write(&marker, r->folder, key);
    *v = (gen_verdict){0};
    set_date(v);
    gen_status status;
    if (marker.attempts > 1) { /* perhaps it was the lanes that took the last process down */
        snprintf(v->sentence, sizeof v->sentence, "the program did not survive the check");
        status = check_without_lanes(v, backend, err);
    } else {
        status = check(v, backend, err);
    }
    if (status) { /* nothing was found out */
        marker.attempts--;
        marker.state = GEN_VERDICT_NONE;
        gen_verdict_write(&marker, r->folder, key);
        return status;
    }
    if (v->missing[0])
        gen_log(r->context, GEN_LOG_DEBUG, "%s has no kernel for: %s", d->name, v->missing);
    gen_verdict_write(v, r->folder, key);
    return GEN_OK;
}

static bool is_running(long process)
{
    return process > 0 && process != (long)getpid() && kill((pid_t)process, 0) == 0;
}

/* ---- activations in f16 --------------------------------------------------------------------- */

static gen_verdict_state check_half(char *why, size_t size, gen_backend *backend, gen_backend *cpu,
                                    gen_status *status, gen_error *err)
{
    gen_check_report report;
    *status = gen_self_check_half(&report, backend, cpu, err);
    if (*status) {
        snprintf(why, size, "%.150s", err->message);
        return GEN_VERDICT_FAILED;
    }
    if (report.first_failure < 0)
        return GEN_VERDICT_PASSED;
    gen_check_sentence(&report.results[report.first_failure], why, size);
    return GEN_VERDICT_FAILED;
}

/* Matrix units are left where they compute wrongly, and where they are slower: some drivers offer
 * what the device does not have. */
static gen_status judge_matrices(gen_verdict *v, gen_backend *backend, gen_backend *cpu,
                                 gen_error *err)
{
    gen_status status;
    double with, without;
    v->matrices = check_half(v->half_sentence, sizeof v->half_sentence, backend, cpu, &status, err);
    if (status == GEN_OK && v->matrices == GEN_VERDICT_PASSED)
        GEN_TRY(gen_measure_half(&with, backend, err));
    gen_vulkan_use_matrices(backend, false);
    if (v->matrices != GEN_VERDICT_PASSED)
        return status == GEN_ERROR_MEMORY ? status : GEN_OK;
    GEN_TRY(gen_measure_half(&without, backend, err));
    gen_vulkan_use_matrices(backend, with < without);
    if (with < without)
        return GEN_OK;
    v->matrices = GEN_VERDICT_FAILED;
    snprintf(v->half_sentence, sizeof v->half_sentence, "they are slower than other products");
    return GEN_OK;
}

/* Errors of the device are verdicts. */
static gen_status judge_half(gen_verdict *v, gen_backend *backend, gen_error *err)
{
    const gen_cpu_options exact = {.num_threads = 1, .gemm = GEN_GEMM_OWN, .conv = GEN_CONV_EXACT};
    gen_error problem = {0};
    gen_backend *cpu;
    gen_status status = GEN_OK;
    GEN_TRY(gen_cpu_open(&cpu, &exact, err));
    v->half_sentence[0] = '\0';
    v->half = GEN_VERDICT_PASSED;
    if (gen_vulkan_uses_matrices(backend))
        status = judge_matrices(v, backend, cpu, &problem);
    char why[160] = "";
    if (!status)
        v->half = check_half(why, sizeof why, backend, cpu, &status, &problem);
    if (v->half != GEN_VERDICT_PASSED)
        snprintf(v->half_sentence, sizeof v->half_sentence, "%s", why);
    cpu->fns->close(cpu);
    if (status == GEN_ERROR_MEMORY)
        return gen_fail(err, status, "self-check: %s", problem.message);
    if (status)
        v->half = GEN_VERDICT_FAILED;
    return GEN_OK;
}

/* A device that has passed and is to store f16 does what it was found fit for. */
static gen_status look_at_half(gen_verdict *v, gen_backend *backend, const char *key,
                               const gen_trust_request *r, gen_error *err)
{
    const gen_vulkan_device *d = gen_vulkan_device_of(backend);
    const bool has_matrices = gen_vulkan_uses_matrices(backend);
    if (!backend->stores_half)
        return GEN_OK;
    if (v->half == GEN_VERDICT_CHECKING && !is_running(v->process)) {
        v->half = GEN_VERDICT_NONE;
        v->matrices = GEN_VERDICT_FAILED;
        snprintf(v->half_sentence, sizeof v->half_sentence,
                 "the program did not survive the check");
    }
    if (r->checks_anew)
        v->half = v->matrices = GEN_VERDICT_NONE;
    if (v->matrices == GEN_VERDICT_FAILED)
        gen_vulkan_use_matrices(backend, false);
    if (v->half == GEN_VERDICT_NONE || (has_matrices && v->matrices == GEN_VERDICT_NONE)) {
        gen_verdict marker = *v;
        marker.half = GEN_VERDICT_CHECKING;
        marker.process = (long)getpid();
        gen_log(r->context, GEN_LOG_NOTE, "checking %s with numbers of 16 bits, once", d->name);
        gen_verdict_write(&marker, r->folder, key);
        GEN_TRY(judge_half(v, backend, err));
        gen_verdict_write(v, r->folder, key);
    }
    if (has_matrices && v->matrices == GEN_VERDICT_FAILED)
        gen_log(r->context, GEN_LOG_NOTE, "%s: its matrix units are not used: %s", d->name,
                v->half_sentence);
    if (v->half == GEN_VERDICT_FAILED) {
        backend->stores_half = false;
        gen_log(r->context, GEN_LOG_WARNING, "%s: activations stay in f32: %s", d->name,
                v->half_sentence);
    }
    return GEN_OK;
}

static gen_status refuse(const gen_vulkan_device *d, const gen_verdict *v, gen_error *err)
{
    gen_fail(err, GEN_ERROR_DEVICE, "%s (%s) failed the self-check: %s", d->name, d->driver,
             v->sentence);
    return gen_hint(err,
                    "use --device cpu; with another driver it is checked again, and by `gen bench "
                    "check --device vulkan:%d`",
                    d->index);
}

/* Looks at the verdict of an open device, making it where there is none. */
static gen_status look(gen_verdict *v, gen_backend *backend, const gen_trust_request *r,
                       gen_error *err)
{
    const gen_vulkan_device *d = gen_vulkan_device_of(backend);
    char key[65];
    gen_vulkan_key(d, key);
    gen_verdict_read(v, r->folder, key);
    if (v->state == GEN_VERDICT_CHECKING && v->attempts >= MAX_ATTEMPTS &&
        !is_running(v->process) && !r->checks_anew) {
        v->state = GEN_VERDICT_FAILED;
        snprintf(v->sentence, sizeof v->sentence, "the program did not survive the check, %d times",
                 v->attempts);
        gen_verdict_write(v, r->folder, key);
    }
    if (r->checks_anew || v->state == GEN_VERDICT_NONE || v->state == GEN_VERDICT_CHECKING)
        GEN_TRY(check_marked(v, backend, key, r, err));
    if (v->state == GEN_VERDICT_FAILED)
        return refuse(d, v, err);
    if (v->lanes == GEN_VERDICT_FAILED) {
        gen_vulkan_use_lanes(backend, false);
        gen_log(r->context, GEN_LOG_NOTE, "%s: its subgroups are not used: %s", d->name,
                v->lanes_sentence);
    }
    return look_at_half(v, backend, key, r, err);
}

gen_status gen_trust_open(gen_backend **out, gen_verdict *verdict, const gen_trust_request *request,
                          gen_error *err)
{
    gen_verdict unused;
    gen_verdict *v = verdict ? verdict : &unused;
    gen_backend *backend;
    *v = (gen_verdict){0};
    GEN_TRY(gen_vulkan_open(&backend, &request->options, err));
    const gen_status status = look(v, backend, request, err);
    if (status) {
        backend->fns->close(backend);
        return status;
    }
    *out = backend;
    return GEN_OK;
}

/* ---- the choice ----------------------------------------------------------------------------- */

static int compare_devices(const void *a, const void *b)
{
    const gen_vulkan_device *x = a, *y = b;
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    if (x->memory != y->memory)
        return x->memory > y->memory ? -1 : 1;
    return x->index - y->index;
}

/* Why auto does not take a device whose verdict is known, or "". */
static void object(char *why, size_t size, const gen_vulkan_device *d, const gen_verdict *v)
{
    if (v->losses >= MAX_LOSSES)
        snprintf(why, size, "%s was lost %d times with this driver", d->name, v->losses);
    else if (d->kind == GEN_VULKAN_INTEGRATED && v->flops_per_second < v->cpu_flops_per_second)
        snprintf(why, size, "%s is slower than the CPU", d->name);
    else
        *why = '\0';
}

static void try_device(gen_backend **out, char *why, size_t size, const gen_vulkan_device *d,
                       const gen_trust_request *request)
{
    gen_trust_request one = *request;
    gen_verdict v;
    gen_error problem = {0};
    char index[16];
    snprintf(index, sizeof index, "%d", d->index);
    one.options.device = index;
    if (d->refused[0]) {
        snprintf(why, size, "%s cannot be used: %s", d->name, d->refused);
        return;
    }
    const gen_status status = gen_trust_open(out, &v, &one, &problem);
    if (status) {
        *out = NULL;
        snprintf(why, size, "%s", problem.message);
        return;
    }
    object(why, size, d, &v);
    if (*why) {
        (*out)->fns->close(*out);
        *out = NULL;
    }
}

gen_status gen_trust_open_auto(gen_backend **out, char *why, size_t size,
                               const gen_trust_request *request, gen_error *err)
{
    gen_vulkan_device *devices = NULL;
    gen_error problem = {0};
    int count = 0;
    *out = NULL;
    *why = '\0';
    const gen_status status = gen_vulkan_list(&devices, &count, &request->options, &problem);
    if (status == GEN_ERROR_MEMORY)
        return gen_fail(err, status, "%s", problem.message);
    if (status)
        return GEN_OK;
    qsort(devices, (size_t)count, sizeof *devices, compare_devices);
    for (int i = 0; i < count && !*out; i++) {
        char problem_line[512];
        if (devices[i].kind == GEN_VULKAN_SOFTWARE)
            continue;
        try_device(out, problem_line, sizeof problem_line, &devices[i], request);
        if (!*out && !*why) /* the best device's reason is the one to tell */
            snprintf(why, size, "%s", problem_line);
    }
    if (*out)
        *why = '\0';
    gen_free(devices);
    return GEN_OK;
}

gen_status gen_trust_record(gen_backend *backend, const gen_check_report *report,
                            const char *folder, gen_error *err)
{
    gen_verdict v = {0};
    char key[65];
    set_date(&v);
    judge(&v, report);
    if (v.state == GEN_VERDICT_PASSED)
        GEN_TRY(measure(&v, backend, err));
    else if (gen_vulkan_uses_lanes(backend))
        GEN_TRY(check_without_lanes(&v, backend, err));
    gen_vulkan_key(gen_vulkan_device_of(backend), key);
    gen_verdict_write(&v, folder, key);
    return GEN_OK;
}

void gen_trust_note_loss(const gen_backend *backend, const char *folder)
{
    gen_verdict v;
    char key[65];
    gen_vulkan_key(gen_vulkan_device_of(backend), key);
    gen_verdict_read(&v, folder, key);
    if (v.state == GEN_VERDICT_NONE)
        return;
    v.losses++;
    gen_verdict_write(&v, folder, key);
}
