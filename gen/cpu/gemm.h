/* gemm.h - the matrix product behind linear layers and direct convolutions.
 *
 *     C[m,n] = post(A[m,k] W[n,k]^T + bias + residual)
 *
 * A is packed in tiles (kernels/gemm_kernels.h), which is where a convolution collects its shifted
 * pixels; W is packed once in its stored type and widened panel by panel.  Long k is cut
 * into blocks by its length alone, the parts are added in order, and only rows and columns are
 * divided between threads, so the result does not depend on their number.
 *
 * With the other GEMM (openblas.c) the same calls work on plain rows. */
#ifndef GEN_CPU_GEMM_H
#define GEN_CPU_GEMM_H

#include "gen/cpu/cpu_internal.h"
#include "gen/cpu/kernels/gemm_kernels.h"

/* A that has to be collected from somewhere.  Both take rows row..row+num_rows-1, columns
 * k0..k0+k-1, k0 a multiple of 8.  `pack` makes a tile of at most mr rows (row is a multiple of
 * mr); `collect` writes plain rows, ld apart. */
typedef struct gen_gemm_source {
    void (*pack)(const struct gen_gemm_source *self, int64_t row, int num_rows, int64_t k0, int k,
                 float *dst);
    void (*collect)(const struct gen_gemm_source *self, int64_t row, int num_rows, int64_t k0,
                    int k, float *dst, int64_t ld);
} gen_gemm_source;

typedef struct gen_gemm {
    int64_t m, n, k;
    const float *a; /* plain rows, lda apart; NULL: to be collected */
    int64_t lda;
    const gen_gemm_source *source;
    const void *weights; /* from gen_gemm_set_weights() */
    gen_dtype dtype;     /* of them; GEN_I8: in blocks of 8 bits */
    float *c;
    int64_t ldc;
    const float *bias;     /* [n] or NULL */
    const float *residual; /* row i is at (i / residual_repeat) * ld_residual; NULL: none */
    int64_t ld_residual;
    int64_t residual_repeat;
    gen_act act; /* applied to everything at the end */
} gen_gemm;

/* Adds what a product of m rows with the weights w needs.  is_plain: A need not be collected. */
void gen_gemm_measure(const gen_cpu *cpu, int64_t m, const gen_tensor *w, bool is_plain,
                      gen_cpu_needs *needs);
/* Packs w [n,k] or a kernel [n,ci,kh,kw], whose k is then in the order (kh, kw, ci), once per
 * backend.  Errors: MODEL when an element is not finite; MEMORY. */
gen_status gen_gemm_prepare(gen_cpu *cpu, const gen_tensor *w, gen_error *err);
/* Fills n, k, weights and dtype. */
void gen_gemm_set_weights(const gen_cpu *cpu, const gen_tensor *w, gen_gemm *g);
/* In the scratch of a step whose needs came from gen_gemm_measure(). */
void gen_gemm_run(gen_cpu *cpu, const gen_gemm *g, const gen_cpu_step *step);

/* Can an epilogue be done by a gen_gemm?  One activation, and none before a residual. */
bool gen_gemm_supports(const gen_node *node);
/* Fills bias, residual and act from the node. */
void gen_gemm_epilogue(const gen_cpu *cpu, const gen_node *node, gen_gemm *g);
/* The bias of a LINEAR or CONV2D node, or NULL. */
const gen_tensor *gen_gemm_bias(const gen_node *node);

/* The distance between two workers' scratch of a step. */
static inline size_t gen_cpu_worker_stride(const gen_cpu_needs *needs)
{
    return (needs->per_worker + 63) / 64 * 64;
}

#endif
