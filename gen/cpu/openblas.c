/* openblas.c - matrix products by OpenBLAS, one thread a call, many calls at once.
 *
 * The library is opened when it is first wanted, never linked: as soon as it is loaded it starts
 * threads and takes their memory, and where memory is limited a process hangs when it leaves. */
#include "gen/cpu/openblas.h"

#include <cblas.h>
#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

static __typeof__(&cblas_sgemm) sgemm;

/* ---- does it work? -------------------------------------------------------------------------- */

/* The sizes are no multiples of any kernel's tile; whole numbers make the product exact. */
enum { CHECK_M = 53, CHECK_N = 67, CHECK_K = 71 };

static gen_openblas_verdict verdict;

static int check_value(int i, int k, int seed)
{
    return (i * 7 + k * 3 + seed) % 11 - 5;
}

static void check_once(void)
{
    static float a[CHECK_M * CHECK_K], b[CHECK_N * CHECK_K], c[CHECK_M * CHECK_N];
    void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL); /* stays until the end */
    void (*set_num_threads)(int) = NULL;
    if (library) {
        *(void **)&set_num_threads = dlsym(library, "openblas_set_num_threads");
        *(void **)&sgemm = dlsym(library, "cblas_sgemm");
    }
    if (!set_num_threads || !sgemm) {
        verdict = GEN_OPENBLAS_MISSING;
        return;
    }
    set_num_threads(1);
    for (int i = 0; i < CHECK_M; i++)
        for (int k = 0; k < CHECK_K; k++)
            a[i * CHECK_K + k] = (float)check_value(i, k, 1);
    for (int j = 0; j < CHECK_N; j++)
        for (int k = 0; k < CHECK_K; k++)
            b[j * CHECK_K + k] = (float)check_value(j, k, 6);
    sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, CHECK_M, CHECK_N, CHECK_K, 1.0f, a, CHECK_K, b,
          CHECK_K, 0.0f, c, CHECK_N);
    verdict = GEN_OPENBLAS_WORKS;
    for (int i = 0; i < CHECK_M; i++)
        for (int j = 0; j < CHECK_N; j++) {
            int sum = 0;
            for (int k = 0; k < CHECK_K; k++)
                sum += check_value(i, k, 1) * check_value(j, k, 6);
            if (c[i * CHECK_N + j] != (float)sum)
                verdict = GEN_OPENBLAS_WRONG;
        }
}

gen_openblas_verdict gen_openblas_check(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, check_once);
    return verdict;
}

/* ---- pieces --------------------------------------------------------------------------------- */

/* Products of fewer rows are not worth OpenBLAS' own packing. */
enum { FEW_ROWS = 16 };

/* Floats of a piece of A or W that is collected or widened. */
enum { PIECE = 1 << 20 };

typedef struct pieces {
    int64_t rows, cols; /* of one call */
    int64_t row_pieces, col_pieces;
    size_t a_size, b_size; /* bytes of scratch for a worker */
} pieces;

static int64_t divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static int64_t clamp_multiple(int64_t n, int64_t unit, int64_t low, int64_t high)
{
    n = n / unit * unit;
    return n < low ? low : n > high ? high : n;
}

static pieces cut(int64_t m, int64_t n, int64_t k, gen_dtype dtype, bool is_plain)
{
    pieces p = {0};
    p.cols = clamp_multiple(PIECE / k, 16, 16, 256);
    if (m < FEW_ROWS)
        p.rows = m;
    else /* 24 is a multiple of the row tiles OpenBLAS uses on this class of machine */
        p.rows = is_plain ? 1536 : clamp_multiple(PIECE / k, 24, 24, 1536);
    if (p.cols > n)
        p.cols = n;
    if (p.rows > m)
        p.rows = m;
    p.row_pieces = divide_up(m, p.rows);
    p.col_pieces = divide_up(n, p.cols);
    p.a_size = is_plain ? 0 : ((size_t)(p.rows * k) * sizeof(float) + 63) / 64 * 64;
    p.b_size = dtype == GEN_F32 ? 0 : ((size_t)(p.cols * k) * sizeof(float) + 63) / 64 * 64;
    return p;
}

/* ---- weights -------------------------------------------------------------------------------- */

enum { LAYOUT_ROWS = 0x101 }; /* of gen_weight_prepared() */

static bool needs_copy(const gen_tensor *w)
{
    const gen_weight *weight = w->weight;
    const bool is_kernel = gen_tensor_elements(w) != w->dims[0] * w->dims[1];
    return is_kernel || (uintptr_t)weight->data % gen_dtype_size(weight->dtype) != 0;
}

static size_t copy_size(const gen_tensor *w)
{
    return (size_t)gen_tensor_elements(w) * gen_dtype_size(w->weight->dtype);
}

void gen_openblas_measure(int64_t m, const gen_tensor *w, bool is_plain, gen_cpu_needs *needs)
{
    const int64_t n = w->dims[0], k = gen_tensor_elements(w) / n;
    const pieces p = cut(m, n, k, w->weight->dtype, is_plain);
    needs->per_worker += p.a_size + p.b_size;
    needs->weights += copy_size(w); /* else the pages of the file */
}

static void free_rows(gen_prepared *self)
{
    gen_free_aligned(self->data, self->size);
}

typedef struct copying {
    const gen_weight *w;
    int64_t ci, taps;
    char *dst;
} copying;

/* Row i of W, its k in the order (tap, ci). */
static void copy_row_task(void *arg, int i, int worker)
{
    const copying *c = arg;
    const size_t size = gen_dtype_size(c->w->dtype);
    const int64_t k = c->ci * c->taps;
    (void)worker;
    for (int64_t at = 0; at < k; at++) {
        const int64_t tap = at / c->ci, channel = at % c->ci;
        const char *from =
            (const char *)c->w->data + (size_t)(i * k + channel * c->taps + tap) * size;
        char *dst = c->dst + (size_t)(i * k + at) * size;
        memcpy(dst, from, size);
    }
}

gen_status gen_openblas_prepare(gen_cpu *cpu, const gen_tensor *w, gen_error *err)
{
    gen_weight *weight = w->weight;
    GEN_TRY(gen_weight_check_finite(weight, err));
    if (!needs_copy(w) || gen_weight_prepared(weight, cpu, LAYOUT_ROWS))
        return GEN_OK;
    const size_t size = copy_size(w);
    gen_prepared *form = gen_calloc(1, sizeof *form);
    char *data = form ? gen_malloc_aligned(size) : NULL;
    if (!data) {
        gen_free(form);
        return gen_no_memory(err, weight->name, size);
    }
    copying c = {.w = weight, .ci = w->dims[1], .taps = 1, .dst = data};
    for (int i = 2; i < w->rank; i++)
        c.taps *= w->dims[i];
    gen_cpu_for(cpu, copy_row_task, &c, (int)w->dims[0]);
    *form = (gen_prepared){
        .owner = cpu, .layout = LAYOUT_ROWS, .data = data, .size = size, .free = free_rows};
    gen_weight_add_prepared(weight, form);
    gen_weight_drop_pages(weight);
    return GEN_OK;
}

const void *gen_openblas_weights(const gen_cpu *cpu, const gen_tensor *w)
{
    const gen_prepared *form = gen_weight_prepared(w->weight, cpu, LAYOUT_ROWS);
    return form ? form->data : w->weight->data;
}

/* ---- the product ---------------------------------------------------------------------------- */

typedef struct job {
    const gen_gemm_kernels *kern;
    const gen_gemm *g;
    pieces p;
    char *per_worker;
    size_t per_worker_size;
} job;

/* Columns col..col+cols-1 of the product as rows of W in f32. */
static const float *widened(const job *j, int64_t col, int64_t cols, char *scratch)
{
    const gen_gemm *g = j->g;
    const char *from = (const char *)g->weights + (size_t)(col * g->k) * gen_dtype_size(g->dtype);
    if (g->dtype == GEN_F32)
        return (const float *)(const void *)from;
    j->kern->widen((float *)(void *)scratch, from, g->dtype, (size_t)(cols * g->k));
    return (float *)(void *)scratch;
}

/* c = post(c + bias + residual) on a rectangle of C. */
static void finish(const job *j, int64_t row, int64_t rows, int64_t col, int64_t cols)
{
    const gen_gemm *g = j->g;
    for (int64_t r = row; r < row + rows; r++) {
        float *c = g->c + r * g->ldc + col;
        if (g->bias)
            for (int64_t i = 0; i < cols; i++)
                c[i] += g->bias[col + i];
        if (g->residual) {
            const float *from = g->residual + r / g->residual_repeat * g->ld_residual + col;
            for (int64_t i = 0; i < cols; i++)
                c[i] += from[i];
        }
    }
    if (g->act != GEN_ACT_NONE)
        j->kern->activate(g->act, g->c + row * g->ldc + col, g->ldc, (int)rows, (int)cols);
}

/* Eight sums side by side, which the compiler can keep in vectors. */
static float dot(const float *a, const float *b, int64_t k)
{
    float sums[8] = {0}, total = 0.0f;
    int64_t i = 0;
    for (; i + 8 <= k; i += 8)
        for (int l = 0; l < 8; l++)
            sums[l] += a[i + l] * b[i + l];
    for (int l = 0; l < 8; l++)
        total += sums[l];
    for (; i < k; i++)
        total += a[i] * b[i];
    return total;
}

static void piece_task(void *arg, int i, int worker)
{
    const job *j = arg;
    const gen_gemm *g = j->g;
    char *scratch = j->per_worker + (size_t)worker * j->per_worker_size;
    const int64_t col = i % j->p.col_pieces * j->p.cols, row = i / j->p.col_pieces * j->p.rows;
    const int64_t cols = g->n - col < j->p.cols ? g->n - col : j->p.cols;
    const int64_t rows = g->m - row < j->p.rows ? g->m - row : j->p.rows;
    const float *b = widened(j, col, cols, scratch), *a = g->a + row * g->lda;
    float *c = g->c + row * g->ldc + col;
    if (g->m < FEW_ROWS) {
        for (int64_t r = 0; r < rows; r++)
            for (int64_t n = 0; n < cols; n++)
                c[r * g->ldc + n] = dot(a + r * g->lda, b + n * g->k, g->k);
    } else {
        sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)cols, (int)g->k, 1.0f, a,
              (int)g->lda, b, (int)g->k, 0.0f, c, (int)g->ldc);
    }
    finish(j, row, rows, col, cols);
}

/* A block of rows that must be collected, times all of W. */
static void collected_task(void *arg, int i, int worker)
{
    const job *j = arg;
    const gen_gemm *g = j->g;
    char *scratch = j->per_worker + (size_t)worker * j->per_worker_size;
    float *a = (float *)(void *)(scratch + j->p.b_size);
    const int64_t row = i * j->p.rows;
    const int64_t rows = g->m - row < j->p.rows ? g->m - row : j->p.rows;
    g->source->collect(g->source, row, (int)rows, 0, (int)g->k, a, g->k);
    for (int64_t col = 0; col < g->n; col += j->p.cols) {
        const int64_t cols = g->n - col < j->p.cols ? g->n - col : j->p.cols;
        const float *b = widened(j, col, cols, scratch);
        sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)cols, (int)g->k, 1.0f, a,
              (int)g->k, b, (int)g->k, 0.0f, g->c + row * g->ldc + col, (int)g->ldc);
    }
    finish(j, row, rows, 0, g->n);
}

void gen_openblas_run(gen_cpu *cpu, const gen_gemm *g, const gen_cpu_step *step)
{
    job j = {.kern = cpu->k->gemm,
             .g = g,
             .p = cut(g->m, g->n, g->k, g->dtype, g->a != NULL),
             .per_worker = step->per_worker,
             .per_worker_size = gen_cpu_worker_stride(&step->needs)};
    if (g->a)
        gen_cpu_for(cpu, piece_task, &j, (int)(j.p.row_pieces * j.p.col_pieces));
    else
        gen_cpu_for(cpu, collected_task, &j, (int)j.p.row_pieces);
}
