/* time_wkv.c - the time of the bidirectional WKV operator against the number of tokens.
 *
 *     time-wkv [CHANNELS [THREADS]]
 *
 * Prints, for 256 to 65,536 tokens, the least of several runs in milliseconds of processor time, so
 * that a busy machine does not matter, and in nanoseconds for each token and channel: that column
 * stays level when time is linear in the tokens.  One thread unless told otherwise.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "gen/core/alloc.h"
#include "gen/core/nn.h"
#include "gen/core/plan.h"
#include "gen/cpu/cpu.h"

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static gen_status make_plan(gen_plan **out, gen_backend *backend, gen_wkv_form form, int64_t tokens,
                            int64_t channels, gen_error *err)
{
    gen_graph *g;
    GEN_TRY(gen_graph_new(&g, err));
    gen_tensor *w = gen_input(g, "w", GEN_F32, GEN_DIMS(channels));
    gen_tensor *u = gen_input(g, "u", GEN_F32, GEN_DIMS(channels));
    gen_tensor *k = gen_input(g, "k", GEN_F32, GEN_DIMS(1, tokens, channels));
    gen_tensor *v = gen_input(g, "v", GEN_F32, GEN_DIMS(1, tokens, channels));
    gen_output(g, gen_wkv(g, form, w, u, k, v), "y");
    return gen_plan_new(out, g, backend, 0, err);
}

/* The least time of a few runs on random numbers. */
static gen_status measure(double *seconds, gen_backend *backend, gen_wkv_form form, int64_t tokens,
                          int64_t channels, gen_error *err)
{
    static const char *const names[] = {"w", "u", "k", "v"};
    const size_t n = (size_t)(tokens * channels);
    gen_plan *plan = NULL;
    float *x = gen_malloc(n * sizeof *x);
    if (!x)
        return gen_no_memory(err, "numbers", n * sizeof *x);
    gen_status status = make_plan(&plan, backend, form, tokens, channels, err);
    for (int i = 0; i < 4 && !status; i++) {
        for (size_t j = 0; j < n; j++)
            x[j] = ((float)rand() / (float)RAND_MAX - 0.3f) * (i < 2 ? 1.0f / (float)tokens : 4.0f);
        status = gen_plan_set(plan, names[i], x, err);
    }
    *seconds = 1e9;
    for (int i = 0; i < 5 && !status; i++) {
        const double start = now();
        status = gen_plan_run(plan, err);
        const double t = now() - start;
        *seconds = t < *seconds ? t : *seconds;
    }
    gen_plan_free(plan);
    gen_free(x);
    return status;
}

int main(int argc, char **argv)
{
    const int64_t channels = argc > 1 ? atoi(argv[1]) : 1024;
    const gen_cpu_options options = {.num_threads = argc > 2 ? atoi(argv[2]) : 1};
    gen_backend *backend = NULL;
    gen_error err;
    gen_status status = gen_cpu_open(&backend, &options, &err);
    char text[128];
    if (!status)
        printf("%s, %d channels\n%8s %14s %10s %14s %10s\n",
               gen_cpu_describe(backend, text, sizeof text), (int)channels, "tokens", "paper ms",
               "ns/value", "kernel ms", "ns/value");
    for (int64_t tokens = 256; tokens <= 65536 && !status; tokens *= 2) {
        double t[2];
        for (int form = 0; form < 2 && !status; form++)
            status = measure(&t[form], backend, (gen_wkv_form)form, tokens, channels, &err);
        const double n = (double)(tokens * channels);
        if (!status)
            printf("%8d %14.3f %10.2f %14.3f %10.2f\n", (int)tokens, 1e3 * t[0], 1e9 * t[0] / n,
                   1e3 * t[1], 1e9 * t[1] / n);
    }
    if (status)
        fprintf(stderr, "%s\n", err.message);
    if (backend)
        backend->fns->close(backend);
    return status != GEN_OK;
}
