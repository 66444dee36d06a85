/* cmd_bench.c - `gen bench ops|model|check`: how fast, and how right, a device is. */
#include "gen/cli/cli.h"

#include <string.h>

static const char *const kinds[] = {"ops", "model", "check"};

static const char *kind_at(const void *user, int i)
{
    (void)user;
    return i < 3 ? kinds[i] : NULL;
}

static gen_status choose(gen_bench_kind *kind, const cli_settings *s, gen_error *err)
{
    if (s->num_words == 0) {
        cli_fail(err, GEN_ERROR_ARGUMENT, "bench: of what? expected ops, model or check");
        return cli_hint(err, "gen bench ops --device cpu");
    }
    if (s->num_words > 1)
        return cli_fail(err, GEN_ERROR_ARGUMENT, "bench: unexpected \"%s\"", s->words[1]);
    for (int i = 0; i < 3; i++)
        if (strcmp(s->words[0], kinds[i]) == 0) {
            *kind = (gen_bench_kind)i;
            if (*kind == GEN_BENCH_OPS && (s->model || s->width || s->height || s->steps))
                return cli_fail(err, GEN_ERROR_ARGUMENT, "bench ops takes no model and no size");
            return GEN_OK;
        }
    const char *nearest = cli_nearest(s->words[0], kind_at, NULL);
    cli_fail(err, GEN_ERROR_ARGUMENT, "bench: \"%s\" is not known%s%s%s", s->words[0],
             nearest ? "; did you mean " : "", nearest ? nearest : "", nearest ? "?" : "");
    return cli_hint(err, "there are: ops, model, check");
}

/* "12.3 ms", "1.20 s", or nothing. */
static void format_seconds(char *out, size_t size, double seconds)
{
    if (seconds <= 0)
        *out = '\0';
    else if (seconds < 1)
        snprintf(out, size, "%.3g ms", seconds * 1e3);
    else
        snprintf(out, size, "%.2f s", seconds);
}

static void format_number(char *out, size_t size, double value)
{
    if (value > 0)
        snprintf(out, size, "%.3g", value);
    else
        *out = '\0';
}

static void print_speeds(const gen_bench *b)
{
    printf("%-24s %-24s %10s %10s %8s\n", "", "", "time", "GFLOP/s", "GB/s");
    for (int i = 0; i < b->num_rows; i++) {
        const gen_bench_row *r = &b->rows[i];
        char seconds[24], flops[24], bytes[24];
        format_seconds(seconds, sizeof seconds, r->seconds);
        if (r->bytes)
            cli_format_bytes(seconds, sizeof seconds, r->bytes);
        format_number(flops, sizeof flops, r->flops_per_second * 1e-9);
        format_number(bytes, sizeof bytes, r->bytes_per_second * 1e-9);
        if (r->note[0])
            printf("%-24s %-24s %s\n", r->name, r->shape, r->note);
        else
            printf("%-24s %-24s %10s %10s %8s\n", r->name, r->shape, seconds, flops, bytes);
    }
}

static void print_checks(const gen_bench *b)
{
    printf("%-28s %10s %14s  %s\n", "", "NMSE", "largest error", "verdict");
    for (int i = 0; i < b->num_rows; i++) {
        const gen_bench_row *r = &b->rows[i];
        const char *verdict = r->has_failed ? "differs" : "agrees";
        if (r->psnr > 0)
            printf("%-28s %7.1f dB %14.0f  %s\n", r->name, r->psnr, r->max_error, verdict);
        else if (r->note[0])
            printf("%-28s %25s  %s\n", r->name, "", r->note);
        else
            printf("%-28s %10.1e %14.1e  %s\n", r->name, r->nmse, r->max_error, verdict);
    }
}

static void print_json(const gen_bench *b, const char *kind)
{
    printf("{\"schema\":1,\"kind\":\"bench\",\"bench\":\"%s\",\"device\":", kind);
    cli_json_string(stdout, b->device);
    fputs(",\"commit\":", stdout);
    cli_json_string(stdout, b->commit);
    printf(",\"threads\":%d,\"failed\":%d}\n", b->num_threads, b->num_failed);
    for (int i = 0; i < b->num_rows; i++) {
        const gen_bench_row *r = &b->rows[i];
        printf("{\"schema\":1,\"kind\":\"bench_row\",\"bench\":\"%s\",\"name\":", kind);
        cli_json_string(stdout, r->name);
        fputs(",\"shape\":", stdout);
        cli_json_string(stdout, r->shape);
        printf(",\"seconds\":%.6g,\"flops_per_second\":%.4g,\"bytes_per_second\":%.4g,"
               "\"bytes\":%llu",
               r->seconds, r->flops_per_second, r->bytes_per_second, (unsigned long long)r->bytes);
        if (strcmp(kind, "check") == 0)
            printf(",\"nmse\":%.3e,\"max_error\":%.3e,\"psnr\":%.2f,\"failed\":%s",
                   r->nmse == r->nmse ? r->nmse : 1e30,
                   r->max_error == r->max_error ? r->max_error : 1e30, r->psnr,
                   r->has_failed ? "true" : "false");
        fputs(",\"note\":", stdout);
        cli_json_string(stdout, r->note);
        puts("}");
    }
}

int cli_bench(const cli_settings *settings, cli_reporter *r)
{
    gen_bench_kind kind = GEN_BENCH_OPS;
    gen_bench *bench = NULL;
    gen_error err = {0};
    gen_status status = choose(&kind, settings, &err);
    if (!status)
        status = gen_bench_run(
            &bench,
            &GEN_BENCH_PARAMS(.kind = kind, .device = settings->device ? settings->device : "auto",
                              .model = settings->model, .num_threads = settings->threads,
                              .width = settings->width, .height = settings->height,
                              .num_inference_steps = settings->steps, .log = cli_log, .log_user = r,
                              .mem_limit = settings->mem_limit),
            &err);
    if (status) {
        cli_report_error(r, &err);
        return cli_exit_code(status);
    }
    if (settings->json) {
        print_json(bench, kinds[kind]);
    } else {
        printf("device    %s\ncommit    %s, %d threads\n\n", bench->device, bench->commit,
               bench->num_threads);
        (kind == GEN_BENCH_CHECK ? print_checks : print_speeds)(bench);
    }
    const int code = bench->num_failed ? EXIT_MEMORY : EXIT_DONE;
    if (code)
        cli_report(r, GEN_LOG_WARNING, "%d of %d results differ from the CPU's", bench->num_failed,
                   bench->num_rows);
    gen_bench_free(bench);
    return code;
}
