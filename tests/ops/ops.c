/* ops.c - see ops.h. */
#include "tests/ops/ops.h"

#include <stdlib.h>

#include "gen/cpu/cpu.h"
#include "tests/ops/reference.h"

/* ---- the backends ---- */

static gen_status open_cpu(gen_backend **out, const ops_config *config, gen_error *err)
{
    const gen_cpu_options options = {
        .num_threads = config->num_threads,
        .gemm = config->use_openblas ? GEN_GEMM_OPENBLAS : GEN_GEMM_OWN,
        .conv = config->use_exact_conv ? GEN_CONV_EXACT : GEN_CONV_AUTO,
        .weights = config->use_q8 ? GEN_WEIGHTS_Q8 : GEN_WEIGHTS_STORED,
    };
    if (setenv("GEN_CPU", config->level, 1) != 0)
        return GEN_ERROR_MEMORY;
    return gen_cpu_open(out, &options, err);
}

static void close_cpu(gen_backend *backend)
{
    backend->fns->close(backend);
}

static const char *const cpu_levels[] = {"generic", "avx2", "avx512", NULL};
const ops_backend ops_cpu = {"cpu", cpu_levels, open_cpu, close_cpu, true, 0};

static const ops_backend *const backends[] = {
    &ops_cpu,
#ifdef GEN_HAVE_VULKAN
    &ops_vulkan,
    &ops_vulkan_windows,
    &ops_vulkan_half,
#endif
};
static const ops_backend *under_test = &ops_cpu;

bool ops_choose_backend(const char *name)
{
    for (size_t i = 0; i < sizeof backends / sizeof backends[0]; i++)
        if (strcmp(backends[i]->name, name) == 0) {
            under_test = backends[i];
            return true;
        }
    fprintf(stderr, "no backend \"%s\"\n", name);
    return false;
}

bool ops_takes(int *counter, int n)
{
    return under_test->has_threads || (*counter)++ % n == 0;
}

int ops_main(int argc, char **argv, const struct CMUnitTest *tests, size_t num_tests)
{
    gen_error err = {0};
    gen_backend *backend = NULL;
    if (!ops_choose_backend(argc > 1 ? argv[1] : "cpu"))
        return 2;
    const gen_status status =
        under_test->open(&backend, &(ops_config){.level = "", .num_threads = 1}, &err);
    if (status == GEN_ERROR_DEVICE || status == GEN_ERROR_ARGUMENT) {
        fprintf(stderr, "skipped: %s\n", err.message);
        return 77;
    }
    if (status == GEN_OK)
        under_test->close(backend);
    return _cmocka_run_group_tests(under_test->name, tests, num_tests, NULL, NULL);
}

const ops_backend *ops_backend_under_test(void)
{
    return under_test;
}

/* ---- numbers ---- */

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u; /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t seed_of(const char *name)
{
    uint64_t h = 14695981039346656037u; /* FNV-1a */
    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 1099511628211u;
    return h;
}

void ops_random(float *out, size_t n, const char *name)
{
    uint64_t state = seed_of(name);
    for (size_t i = 0; i < n; i++) {
        const double u = ((double)(next_random(&state) >> 11) + 0.5) * 0x1p-53;
        const double v = (double)(next_random(&state) >> 11) * 0x1p-53;
        out[i] = (float)(sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v));
    }
}

static size_t count_of(int rank, const int64_t *dims)
{
    size_t count = 1;
    for (int i = 0; i < rank; i++)
        count *= (size_t)dims[i];
    return count;
}

/* ---- inputs and weights ---- */

/* The slot of an input; its data is NULL the first time. */
static ops_input_data *input_slot(ops_case *c, const char *name, gen_dtype dtype, size_t count)
{
    int i = 0;
    while (i < c->num_inputs && strcmp(c->inputs[i].name, name) != 0)
        i++;
    if (i == c->num_inputs) {
        assert_true(i < OPS_MAX_INPUTS);
        snprintf(c->inputs[i].name, sizeof c->inputs[i].name, "%s", name);
        c->inputs[i].dtype = dtype;
        c->inputs[i].count = count;
        c->num_inputs++;
    }
    assert_int_equal(c->inputs[i].count, count);
    return &c->inputs[i];
}

static void *new_data(ops_input_data *slot)
{
    slot->data = malloc(slot->count * 4 + 1);
    assert_non_null(slot->data);
    return slot->data;
}

gen_tensor *ops_input_scaled(ops_case *c, const char *name, double mean, double std, int rank,
                             const int64_t *dims)
{
    ops_input_data *slot = input_slot(c, name, GEN_F32, count_of(rank, dims));
    if (!slot->data) {
        float *x = new_data(slot);
        ops_random(x, slot->count, name);
        for (size_t i = 0; i < slot->count; i++)
            x[i] = (float)(mean + std * (double)x[i]);
    }
    return gen_input(c->g, name, GEN_F32, rank, dims);
}

gen_tensor *ops_input(ops_case *c, const char *name, int rank, const int64_t *dims)
{
    return ops_input_scaled(c, name, 0.0, 1.0, rank, dims);
}

gen_tensor *ops_input_values(ops_case *c, const char *name, const float *values, int rank,
                             const int64_t *dims)
{
    ops_input_data *slot = input_slot(c, name, GEN_F32, count_of(rank, dims));
    if (!slot->data)
        memcpy(new_data(slot), values, slot->count * sizeof *values);
    return gen_input(c->g, name, GEN_F32, rank, dims);
}

gen_tensor *ops_strided(ops_case *c, const char *name, int extra, int rank, const int64_t *dims)
{
    int64_t wide[GEN_MAX_RANK];
    memcpy(wide, dims, (size_t)rank * sizeof *dims);
    wide[rank - 1] += extra;
    gen_tensor *base = ops_input(c, name, rank, wide);
    return gen_slice(c->g, base, extra / 2, dims[rank - 1]);
}

gen_tensor *ops_ids(ops_case *c, const char *name, int low, int high, int rank, const int64_t *dims)
{
    ops_input_data *slot = input_slot(c, name, GEN_I32, count_of(rank, dims));
    if (!slot->data) {
        uint64_t state = seed_of(name);
        int32_t *ids = new_data(slot);
        for (size_t i = 0; i < slot->count; i++)
            ids[i] = low + (int32_t)(next_random(&state) % (uint64_t)(high - low));
    }
    return gen_input(c->g, name, GEN_I32, rank, dims);
}

void ops_weight(ops_case *c, const char *name, gen_dtype dtype, double mean, double std, int rank,
                const int64_t *dims)
{
    gen_error err = {0};
    if (gen_weights_find(c->weights, name))
        return;
    const size_t count = count_of(rank, dims), size = count * gen_dtype_size(dtype);
    float *values = malloc(count * sizeof *values + 1);
    void *data = gen_malloc(size);
    assert_non_null(values);
    assert_non_null(data);
    ops_random(values, count, name);
    for (size_t i = 0; i < count; i++) {
        const float value = (float)(mean + std * (double)values[i]);
        const uint16_t half = dtype == GEN_F16 ? gen_f32_to_f16(value) : gen_f32_to_bf16(value);
        if (dtype == GEN_F32)
            memcpy((float *)data + i, &value, sizeof value);
        else
            memcpy((uint16_t *)data + i, &half, sizeof half);
    }
    free(values);
    EXPECT_OK(
        gen_weights_add(c->weights, name, "test", name, dtype, rank, dims, data, size, true, &err));
}

gen_scope ops_scope(ops_case *c, const char *name)
{
    return gen_sub(gen_scope_root(c->weights), name);
}

/* ---- a case ---- */

void ops_case_init(ops_case *c)
{
    gen_error err = {0};
    memset(c, 0, sizeof *c);
    EXPECT_OK(gen_weights_new(&c->weights, &err));
}

void ops_case_free(ops_case *c)
{
    gen_weights_free(c->weights);
    for (int i = 0; i < c->num_inputs; i++)
        free(c->inputs[i].data);
}

gen_graph *ops_record(ops_case *c, ops_build build, const void *arg)
{
    gen_error err = {0};
    EXPECT_OK(gen_graph_new(&c->g, &err));
    build(c, arg);
    EXPECT_OK(gen_graph_status(c->g, &err));
    return c->g;
}

void ops_set_inputs(const ops_case *c, gen_plan *plan)
{
    gen_error err = {0};
    for (int i = 0; i < c->num_inputs; i++)
        EXPECT_OK(gen_plan_set(plan, c->inputs[i].name, c->inputs[i].data, &err));
}

/* ---- all ways of running it ---- */

/* Of activations in f16, which are rounded where they are stored. */
static const double HALF_TOLERANCE = 5e-3;

typedef struct ops_results {
    int num_tensors;
    float **values; /* by tensor id; NULL for what was not downloaded */
    size_t *counts;
} ops_results;

static void free_results(ops_results *r)
{
    for (int i = 0; i < r->num_tensors; i++)
        free(r->values[i]);
    free(r->values);
    free(r->counts);
    memset(r, 0, sizeof *r);
}

static bool is_compared(const gen_tensor *t, bool keeps_all)
{
    return t->is_output || (keeps_all && t->kind == GEN_KIND_VALUE);
}

/* Sets the inputs, runs the plan and downloads what is compared. */
static ops_results run_plan(const ops_case *c, gen_plan *plan)
{
    gen_error err = {0};
    const gen_graph *g = gen_plan_graph(plan);
    const bool keeps_all = gen_plan_flags(plan) & GEN_PLAN_KEEP_ALL;
    ops_results r = {.num_tensors = gen_graph_num_tensors(g)};
    r.values = calloc((size_t)r.num_tensors + 1, sizeof *r.values);
    r.counts = calloc((size_t)r.num_tensors + 1, sizeof *r.counts);
    assert_non_null(r.values);
    assert_non_null(r.counts);
    ops_set_inputs(c, plan);
    EXPECT_OK(gen_plan_run(plan, &err));
    for (int i = 0; i < r.num_tensors; i++) {
        const gen_tensor *t = gen_graph_tensor(g, i);
        if (!is_compared(t, keeps_all))
            continue;
        r.counts[i] = (size_t)gen_tensor_elements(t);
        r.values[i] = malloc(r.counts[i] * sizeof(float) + 1);
        assert_non_null(r.values[i]);
        EXPECT_OK(gen_plan_get(plan, t, r.values[i], &err));
    }
    return r;
}

static void expect_same_bits(const ops_results *a, const ops_results *b, const char *what)
{
    assert_int_equal(a->num_tensors, b->num_tensors);
    for (int i = 0; i < a->num_tensors; i++)
        for (size_t k = 0; k < a->counts[i]; k++)
            if (memcmp(&a->values[i][k], &b->values[i][k], sizeof(float)) != 0)
                fail_msg("%s: tensor %d differs in bits at %zu: %.9g and %.9g", what, i, k,
                         (double)a->values[i][k], (double)b->values[i][k]);
}

static void expect_tensor(const float *got, const double *expected, size_t n, double tolerance,
                          bool is_exact, const char *what, const gen_tensor *t)
{
    double scale = 1.0;
    for (size_t i = 0; i < n; i++)
        if (isfinite(expected[i]) && fabs(expected[i]) > scale)
            scale = fabs(expected[i]);
    for (size_t i = 0; i < n; i++) {
        const double difference = fabs((double)got[i] - expected[i]);
        const bool same = isnan(expected[i])   ? isnan(got[i])
                          : is_exact           ? got[i] == (float)expected[i]
                          : isinf(expected[i]) ? (double)got[i] == expected[i]
                                               : difference <= tolerance * scale;
        if (!same)
            fail_msg("%s: tensor %d \"%s\" at %zu of %zu: %.9g, expected %.9g, off by %.3g, "
                     "allowed %.3g",
                     what, t->id, t->name, i, n, (double)got[i], expected[i], difference,
                     is_exact ? 0.0 : tolerance * scale);
    }
}

typedef struct ops_run {
    const char *what;
    ops_case *c;
    ops_build build;
    const void *arg;
    const ops_options *options;
    const gen_graph *graph; /* as recorded, never planned */
    const reference *expected;
} ops_run;

/* One way: plans the graph, runs it twice, compares.  Returns the results. */
static ops_results run_way(const ops_run *run, const ops_config *config, unsigned flags)
{
    gen_error err = {0};
    gen_backend *backend = NULL;
    gen_plan *plan = NULL;
    char what[192];
    snprintf(what, sizeof what, "%s (%s %s, %d threads%s%s%s)", run->what, under_test->name,
             config->level, config->num_threads, config->use_openblas ? ", openblas" : "",
             config->use_exact_conv ? ", exact" : "",
             flags & GEN_PLAN_KEEP_ALL ? ", keep all" : "");
    EXPECT_OK(under_test->open(&backend, config, &err));
    EXPECT_OK(gen_plan_new(&plan, ops_record(run->c, run->build, run->arg), backend,
                           flags | under_test->plan_flags, &err));
    ops_results r = run_plan(run->c, plan), again = run_plan(run->c, plan);
    expect_same_bits(&r, &again, what);
    free_results(&again);

    const bool is_half = under_test->plan_flags & GEN_PLAN_HALF;
    double tolerance = run->options->tolerance != 0.0 ? run->options->tolerance : 1e-6;
    if (is_half && tolerance < HALF_TOLERANCE)
        tolerance = HALF_TOLERANCE;
    const bool is_exact_way = config->use_exact_conv && run->options->exact_tolerance != 0.0;
    int compared = 0;
    for (int i = 0; i < gen_graph_num_tensors(run->graph); i++) {
        if (!r.values[i])
            continue;
        double *expected = reference_values(run->expected, i);
        expect_tensor(r.values[i], expected, r.counts[i],
                      is_exact_way && !is_half ? run->options->exact_tolerance : tolerance,
                      run->options->is_exact && !is_half, what, gen_graph_tensor(run->graph, i));
        free(expected);
        compared++;
    }
    assert_true(compared > 0);
    gen_plan_free(plan);
    gen_weights_drop_prepared(run->c->weights, backend);
    under_test->close(backend);
    return r;
}

bool ops_has_level(const char *level)
{
    gen_error err = {0};
    gen_backend *backend = NULL;
    const ops_config config = {.level = level, .num_threads = 1};
    const gen_status status = under_test->open(&backend, &config, &err);
    if (status == GEN_OK)
        under_test->close(backend);
    else if (status != GEN_ERROR_ARGUMENT && status != GEN_ERROR_DEVICE)
        fail_msg("%s %s: %s", under_test->name, level, err.message);
    return status == GEN_OK;
}

void ops_check(const char *what, ops_build build, const void *arg, ops_options options)
{
    static int cases;
    if (under_test->plan_flags & GEN_PLAN_HALF && cases++ % 6) /* the kernels are those of f32 */
        return;
    ops_case c;
    ops_case_init(&c);
    gen_graph *graph = ops_record(&c, build, arg);
    reference_input inputs[OPS_MAX_INPUTS];
    for (int i = 0; i < c.num_inputs; i++)
        inputs[i] = (reference_input){c.inputs[i].name, c.inputs[i].data};
    reference *expected = reference_new(graph, c.num_inputs, inputs);
    const ops_run run = {what, &c, build, arg, &options, graph, expected};

    int levels = 0;
    for (const char *const *level = under_test->levels; *level; level++) {
        if (!ops_has_level(*level))
            continue;
        levels++;
        for (int variant = 0; variant < 4; variant++) {
            ops_config config = {.level = *level, .num_threads = 1};
            config.use_openblas = variant & 1;
            config.use_exact_conv = variant & 2;
            config.use_q8 = options.use_q8;
            if ((config.use_openblas && !options.try_openblas) ||
                (config.use_exact_conv && !options.try_exact_conv))
                continue;
            for (unsigned flags = 0; flags <= GEN_PLAN_KEEP_ALL; flags += GEN_PLAN_KEEP_ALL) {
                config.num_threads = 1;
                ops_results one = run_way(&run, &config, flags);
                if (flags && !under_test->has_threads) {
                    free_results(&one);
                    continue;
                }
                config.num_threads = 2;
                ops_results two = run_way(&run, &config, flags);
                expect_same_bits(&one, &two, what);
                free_results(&one);
                free_results(&two);
            }
        }
    }
    assert_true(levels > 0);
    reference_free(expected);
    gen_graph_free(graph);
    ops_case_free(&c);
}
