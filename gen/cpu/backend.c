/* backend.c - the CPU backend: choosing kernels, compiling and running plans. */
#include "gen/cpu/cpu_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/cpu/openblas.h"

/* What a compiled plan keeps here. */
typedef struct cpu_plan {
    gen_arena *arena; /* op states */
    gen_cpu_step *steps;
    int num_steps;
} cpu_plan;

enum { WIDENED = 1 }; /* the prepared layout of gen_cpu_widen() */

static size_t round_up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

/* ---- memory --------------------------------------------------------------------------------- */

float *gen_cpu_f32(const gen_cpu *cpu, const gen_tensor *t)
{
    int64_t offset;
    const gen_tensor *owner = gen_tensor_owner(t, &offset);
    if (owner->kind == GEN_KIND_WEIGHT) {
        const gen_prepared *p = gen_weight_prepared(owner->weight, cpu, WIDENED);
        return (float *)p->data + offset;
    }
    return (float *)(void *)(cpu->arena + owner->arena_offset) + offset;
}

const int32_t *gen_cpu_i32(const gen_cpu *cpu, const gen_tensor *t)
{
    return (const int32_t *)(const void *)gen_cpu_f32(cpu, t);
}

static void free_widened(gen_prepared *p)
{
    gen_free(p->data);
}

gen_status gen_cpu_widen(gen_cpu *cpu, const gen_tensor *t, gen_error *err)
{
    if (!t)
        return GEN_OK;
    const gen_tensor *owner = gen_tensor_owner(t, NULL);
    gen_weight *w = owner->weight;
    if (owner->kind != GEN_KIND_WEIGHT || gen_weight_prepared(w, cpu, WIDENED))
        return GEN_OK;
    GEN_TRY(gen_weight_check_finite(w, err));
    const size_t n = (size_t)gen_tensor_elements(owner);
    gen_prepared *p = gen_calloc(1, sizeof *p);
    float *data = gen_malloc(n * sizeof *data);
    if (!p || !data) {
        gen_free(p);
        gen_free(data);
        return gen_no_memory(err, w->name, n * sizeof *data);
    }
    gen_to_f32(data, w->data, w->dtype, n);
    *p = (gen_prepared){.owner = cpu,
                        .layout = WIDENED,
                        .data = data,
                        .size = n * sizeof *data,
                        .free = free_widened};
    gen_weight_add_prepared(w, p);
    return GEN_OK;
}

/* Makes *block at least `size` bytes; its contents are lost when it moves. */
static gen_status grow(char **block, size_t *have, size_t size, const char *what, gen_error *err)
{
    if (size <= *have)
        return GEN_OK;
    gen_free_aligned(*block, *have);
    *have = 0;
    *block = gen_malloc_aligned(size);
    if (!*block)
        return gen_no_memory(err, what, size);
    *have = size;
    return GEN_OK;
}

/* ---- plans ---------------------------------------------------------------------------------- */

static bool cpu_supports(gen_backend *b, const gen_node *node)
{
    return gen_cpu_ops[node->op]->supports((const gen_cpu *)b, node);
}

static size_t scratch_of(const gen_cpu *cpu, const gen_cpu_needs *needs)
{
    return round_up(needs->shared, 64) + (size_t)cpu->num_threads * round_up(needs->per_worker, 64);
}

/* The matrix or kernel of a node, which can be prepared for it alone; NULL when it has none. */
static gen_weight *streamable(const gen_node *node)
{
    return node->op == GEN_OP_LINEAR || node->op == GEN_OP_CONV2D ? node->inputs[1]->weight : NULL;
}

static bool is_counted(const gen_plan *plan, int step, const gen_weight *weight)
{
    for (int i = 0; i < step; i++) {
        const gen_node *node = gen_plan_step(plan, i);
        for (int k = 0; k < node->num_inputs; k++)
            if (gen_tensor_owner(node->inputs[k], NULL)->weight == weight)
                return true;
    }
    return false;
}

/* What a node needs, without the weights that a node before it has counted. */
static gen_cpu_needs needs_of(const gen_cpu *cpu, const gen_plan *plan, int step)
{
    const gen_node *node = gen_plan_step(plan, step);
    const gen_weight *matrix = streamable(node);
    gen_cpu_needs needs = {0};
    gen_cpu_ops[node->op]->measure(cpu, node, &needs);
    if (matrix && is_counted(plan, step, matrix))
        needs.weights = needs.transformed = 0;
    for (int k = 0; k < node->num_inputs && !matrix; k++) {
        const gen_tensor *t = gen_tensor_owner(node->inputs[k], NULL);
        const size_t size = (size_t)gen_tensor_elements(t) * sizeof(float);
        if (t->weight && needs.weights >= size && is_counted(plan, step, t->weight))
            needs.weights -= size;
    }
    return needs;
}

/* Which weights stay: all the small ones, and matrices from the first node on as long as there is
 * room for them beside the largest of all, which comes and goes. */
typedef struct residents {
    bool is_limited;
    size_t left; /* for matrices that stay */
    size_t small, matrices, largest;
} residents;

static residents find_residents(const gen_cpu *cpu, const gen_plan *plan)
{
    residents r = {0};
    for (int i = 0; i < gen_plan_num_steps(plan); i++) {
        const gen_node *node = gen_plan_step(plan, i);
        const gen_cpu_needs n = needs_of(cpu, plan, i);
        if (!streamable(node)) {
            r.small += n.weights;
            continue;
        }
        r.matrices += n.weights;
        r.largest = n.weights > r.largest ? n.weights : r.largest;
    }
    const size_t limit = gen_plan_max_weights(plan), least = r.small + r.largest;
    r.is_limited = limit && r.small + r.matrices > limit;
    r.left = r.is_limited && limit > least ? limit - least : 0;
    return r;
}

static bool stays(residents *r, const gen_node *node, const gen_cpu_needs *needs)
{
    if (!r->is_limited || !streamable(node))
        return true;
    if (needs->weights == 0 || needs->weights > r->left) /* 0: as the node before it that has it */
        return false;
    r->left -= needs->weights;
    return true;
}

static gen_status cpu_measure(gen_backend *b, const gen_plan *plan, gen_backend_needs *needs,
                              gen_error *err)
{
    const gen_cpu *cpu = (const gen_cpu *)b;
    residents r = find_residents(cpu, plan);
    (void)err;
    *needs = (gen_backend_needs){.least = r.small + r.largest};
    for (int i = 0; i < gen_plan_num_steps(plan); i++) {
        const gen_node *node = gen_plan_step(plan, i);
        const gen_weight *matrix = streamable(node);
        const gen_cpu_needs n = needs_of(cpu, plan, i);
        if (scratch_of(cpu, &n) > needs->scratch)
            needs->scratch = scratch_of(cpu, &n);
        if (matrix && matrix->size > needs->staged)
            needs->staged = matrix->size;
        if (!stays(&r, node, &n))
            continue;
        needs->weights += n.weights;
        needs->transformed += n.transformed;
    }
    if (r.is_limited) {
        needs->weights += r.largest;
        needs->slots = r.largest;
    }
    return GEN_OK;
}

static void cpu_release(gen_backend *b, gen_plan *plan)
{
    (void)b;
    cpu_plan *p = gen_plan_backend_data(plan);
    if (p)
        gen_arena_free(p->arena);
    gen_free(p);
    gen_plan_set_backend_data(plan, NULL);
}

static gen_status check_limit(const gen_cpu *cpu, const gen_plan_stats *stats, gen_error *err)
{
    const size_t limit = cpu->options.mem_limit, wanted = stats->arena + stats->scratch;
    if (!limit || wanted <= limit)
        return GEN_OK;
    return gen_fail(err, GEN_ERROR_MEMORY,
                    "%.0f MiB of working memory are needed, the limit is %.0f MiB",
                    (double)wanted / 0x1p20, (double)limit / 0x1p20);
}

/* Gives the file pages back of which there are prepared forms now: those of small weights, and what
 * the system mapped around them. */
static void drop_pages(const gen_cpu *cpu, const gen_plan *plan)
{
    for (int i = 0; i < gen_plan_num_steps(plan); i++) {
        const gen_node *node = gen_plan_step(plan, i);
        for (int k = 0; k < node->num_inputs; k++) {
            gen_weight *w = gen_tensor_owner(node->inputs[k], NULL)->weight;
            const gen_prepared *form = w ? w->prepared : NULL;
            while (form && form->owner != cpu)
                form = form->next;
            if (form)
                gen_weight_drop_pages(w);
        }
    }
}

static gen_status cpu_compile(gen_backend *b, gen_plan *plan, gen_error *err)
{
    gen_cpu *cpu = (gen_cpu *)b;
    const gen_plan_stats *stats = gen_plan_get_stats(plan);
    GEN_TRY(check_limit(cpu, stats, err));
    cpu_plan *p = gen_calloc(1, sizeof *p);
    if (!p)
        return gen_no_memory(err, "plan", sizeof *p);
    gen_plan_set_backend_data(plan, p);
    p->num_steps = gen_plan_num_steps(plan);
    p->arena = gen_arena_new();
    if (!p->arena ||
        !(p->steps = gen_arena_alloc(p->arena, (size_t)p->num_steps * sizeof *p->steps)))
        return gen_no_memory(err, "plan", (size_t)p->num_steps * sizeof *p->steps);
    residents r = find_residents(cpu, plan);
    for (int i = 0; i < p->num_steps; i++) {
        gen_cpu_step *s = &p->steps[i];
        s->node = gen_plan_step(plan, i);
        s->op = gen_cpu_ops[s->node->op];
        s->needs = needs_of(cpu, plan, i);
        if (s->op->state_size && !(s->state = gen_arena_alloc(p->arena, s->op->state_size)))
            return gen_no_memory(err, "plan", s->op->state_size);
        s->is_streamed = !stays(&r, s->node, &s->needs);
        if (s->op->prepare && !s->is_streamed)
            GEN_TRY(s->op->prepare(cpu, s, err));
    }
    drop_pages(cpu, plan);
    GEN_TRY(grow(&cpu->arena, &cpu->arena_size, stats->arena, "activations", err));
    return grow(&cpu->scratch, &cpu->scratch_size, stats->scratch, "working memory", err);
}

/* Asks for the file pages of the next matrix that is not in memory. */
static void look_ahead(const cpu_plan *p, int i)
{
    do {
        i++;
    } while (i < p->num_steps && !p->steps[i].is_streamed);
    if (i < p->num_steps)
        gen_weight_want_pages(streamable(p->steps[i].node));
}

static gen_status run_step(gen_cpu *cpu, cpu_plan *p, int i, gen_error *err)
{
    gen_cpu_step *s = &p->steps[i];
    gen_weight *matrix = s->is_streamed ? streamable(s->node) : NULL;
    const gen_prepared *before = matrix ? matrix->prepared : NULL; /* another plan keeps it */
    if (matrix) {
        look_ahead(p, i);
        GEN_TRY(s->op->prepare(cpu, s, err));
    }
    s->shared = cpu->scratch;
    s->per_worker = cpu->scratch + round_up(s->needs.shared, 64);
    s->op->run(cpu, s);
    if (matrix && matrix->prepared == before) /* read where it lies, or another plan's */
        gen_weight_drop_pages(matrix);
    else if (matrix)
        gen_weight_drop_prepared(matrix, cpu);
    return GEN_OK;
}

static gen_status cpu_run(gen_backend *b, gen_plan *plan, gen_error *err)
{
    gen_cpu *cpu = (gen_cpu *)b;
    cpu_plan *p = gen_plan_backend_data(plan);
    gen_status status = GEN_OK;
    for (int i = 0; i < p->num_steps && !status; i++)
        status = run_step(cpu, p, i, err);
    gen_pool_rest(cpu->pool);
    return status;
}

static bool is_finite(const gen_cpu *cpu, const gen_tensor *t)
{
    const float *x = gen_cpu_f32(cpu, t);
    const int64_t n = gen_tensor_elements(t);
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}

static gen_status cpu_trace(gen_backend *b, gen_plan *plan, const gen_node **node, gen_error *err)
{
    gen_cpu *cpu = (gen_cpu *)b;
    cpu_plan *p = gen_plan_backend_data(plan);
    gen_status status = GEN_OK;
    *node = NULL;
    for (int i = 0; i < p->num_steps && !*node && !status; i++) {
        status = run_step(cpu, p, i, err);
        if (!status && !is_finite(cpu, p->steps[i].node->output))
            *node = p->steps[i].node;
    }
    gen_pool_rest(cpu->pool);
    return status;
}

static gen_status cpu_upload(gen_backend *b, gen_plan *plan, gen_tensor *dst, const void *src,
                             gen_error *err)
{
    const gen_cpu *cpu = (const gen_cpu *)b;
    (void)plan;
    (void)err;
    memcpy(cpu->arena + dst->arena_offset, src, dst->arena_size);
    return GEN_OK;
}

static gen_status cpu_download(gen_backend *b, gen_plan *plan, const gen_tensor *src, void *dst,
                               gen_error *err)
{
    const gen_cpu *cpu = (const gen_cpu *)b;
    (void)plan;
    (void)err;
    const float *from = gen_cpu_f32(cpu, src);
    const int64_t rows = gen_tensor_rows(src), width = src->dims[src->rank - 1];
    for (int64_t r = 0; r < rows; r++)
        memcpy((float *)dst + r * width, from + r * src->ld, (size_t)width * sizeof(float));
    return GEN_OK;
}

static void cpu_close(gen_backend *b)
{
    gen_cpu *cpu = (gen_cpu *)b;
    gen_pool_free(cpu->pool);
    gen_free_aligned(cpu->arena, cpu->arena_size);
    gen_free_aligned(cpu->scratch, cpu->scratch_size);
    gen_free(cpu);
}

static const gen_backend_fns cpu_fns = {
    .name = "cpu",
    .supports = cpu_supports,
    .measure = cpu_measure,
    .compile = cpu_compile,
    .run = cpu_run,
    .trace = cpu_trace,
    .upload = cpu_upload,
    .download = cpu_download,
    .release = cpu_release,
    .close = cpu_close,
};

/* ---- opening -------------------------------------------------------------------------------- */

static bool has_isa(gen_cpu_isa isa)
{
#ifdef GEN_HAVE_X86_KERNELS
    __builtin_cpu_init();
    if (isa == GEN_CPU_AVX2)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
               __builtin_cpu_supports("f16c");
    if (isa == GEN_CPU_AVX512)
        return has_isa(GEN_CPU_AVX2) && __builtin_cpu_supports("avx512f") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl");
#endif
    return isa == GEN_CPU_GENERIC;
}

static const gen_cpu_kernels *kernels_of(gen_cpu_isa isa)
{
#ifdef GEN_HAVE_X86_KERNELS
    if (isa == GEN_CPU_AVX512)
        return &gen_cpu_kernels_avx512;
    if (isa == GEN_CPU_AVX2)
        return &gen_cpu_kernels_avx2;
#endif
    (void)isa;
    return &gen_cpu_kernels_generic;
}

static gen_status choose_isa(gen_cpu_isa *isa, gen_error *err)
{
    static const char *const names[] = {"generic", "avx2", "avx512"};
    const char *wanted = getenv("GEN_CPU");
    *isa = has_isa(GEN_CPU_AVX512) ? GEN_CPU_AVX512
           : has_isa(GEN_CPU_AVX2) ? GEN_CPU_AVX2
                                   : GEN_CPU_GENERIC;
    if (!wanted || !*wanted)
        return GEN_OK;
    for (int i = 0; i < 3; i++) {
        if (strcmp(wanted, names[i]))
            continue;
        if (!has_isa((gen_cpu_isa)i))
            return gen_fail(err, GEN_ERROR_ARGUMENT,
                            "GEN_CPU=%s: this CPU does not have it; the best here is %s", wanted,
                            names[*isa]);
        *isa = (gen_cpu_isa)i;
        return GEN_OK;
    }
    return gen_fail(err, GEN_ERROR_ARGUMENT,
                    "GEN_CPU=%s is not known, expected generic, avx2 or avx512", wanted);
}

gen_status gen_cpu_open(gen_backend **out, const gen_cpu_options *options, gen_error *err)
{
    static const gen_cpu_options defaults;
    gen_cpu_isa isa;
    GEN_TRY(choose_isa(&isa, err));
    gen_cpu *cpu = gen_calloc(1, sizeof *cpu);
    if (!cpu)
        return gen_no_memory(err, "CPU backend", sizeof *cpu);
    cpu->base.fns = &cpu_fns;
    cpu->options = options ? *options : defaults;
    cpu->k = kernels_of(isa);
    cpu->gemm = cpu->options.gemm;
    gen_status status = GEN_OK;
    if (cpu->options.weights == GEN_WEIGHTS_Q8 && cpu->gemm == GEN_GEMM_OPENBLAS)
        status = gen_fail(err, GEN_ERROR_ARGUMENT,
                          "OpenBLAS multiplies no weights of 8 bits: use --gemm own");
    else if (cpu->options.weights == GEN_WEIGHTS_Q8)
        cpu->gemm = GEN_GEMM_OWN;
    else if (cpu->gemm ==
             GEN_GEMM_AUTO) /* the generic kernel is the slower one where a BLAS works */
        cpu->gemm = isa == GEN_CPU_GENERIC && gen_openblas_check() == GEN_OPENBLAS_WORKS
                        ? GEN_GEMM_OPENBLAS
                        : GEN_GEMM_OWN;
    else if (cpu->gemm == GEN_GEMM_OPENBLAS && gen_openblas_check() == GEN_OPENBLAS_MISSING)
        status = gen_fail(err, GEN_ERROR_DEVICE,
                          "libopenblas.so.0 cannot be loaded: install OpenBLAS or use --gemm own");
    else if (cpu->gemm == GEN_GEMM_OPENBLAS && gen_openblas_check() == GEN_OPENBLAS_WRONG)
        status = gen_fail(err, GEN_ERROR_DEVICE,
                          "OpenBLAS computes a known product wrongly on this CPU: use --gemm own");
    if (!status)
        status = gen_pool_new(&cpu->pool, cpu->options.num_threads, err);
    if (status) {
        cpu_close(&cpu->base);
        return status;
    }
    cpu->num_threads = gen_pool_num_threads(cpu->pool);
    *out = &cpu->base;
    return GEN_OK;
}

const char *gen_cpu_describe(const gen_backend *backend, char *buf, size_t size)
{
    const gen_cpu *cpu = (const gen_cpu *)backend;
    snprintf(buf, size, "%s, %d thread%s, %s gemm", cpu->k->name, cpu->num_threads,
             cpu->num_threads == 1 ? "" : "s", cpu->gemm == GEN_GEMM_OWN ? "own" : "OpenBLAS");
    return buf;
}
