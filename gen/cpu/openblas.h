/* openblas.h - the OpenBLAS path of the matrix products. */
#ifndef GEN_CPU_OPENBLAS_H
#define GEN_CPU_OPENBLAS_H

#include "gen/cpu/gemm.h"

typedef enum gen_openblas_verdict {
    GEN_OPENBLAS_WORKS,
    GEN_OPENBLAS_MISSING, /* libopenblas.so.0 is not installed */
    GEN_OPENBLAS_WRONG,
} gen_openblas_verdict;

/* Loads OpenBLAS at the first call in a process, sets it to one thread, multiplies a small known
 * matrix (some builds miscompute on some CPUs) and remembers the verdict. */
gen_openblas_verdict gen_openblas_check(void);

/* The parts of gemm.h with OpenBLAS inside.  W is read where it lies, row by row, in its stored
 * type; only kernels larger than 1x1, and rows at odd addresses, get a copy.  A block of
 * columns is widened into scratch, and OpenBLAS is called from the tasks of our own pool, on pieces
 * that depend on the shape alone: its result depends on where the rows are cut. */
void gen_openblas_measure(int64_t m, const gen_tensor *w, bool is_plain, gen_cpu_needs *needs);
gen_status gen_openblas_prepare(gen_cpu *cpu, const gen_tensor *w, gen_error *err);
const void *gen_openblas_weights(const gen_cpu *cpu, const gen_tensor *w);
void gen_openblas_run(gen_cpu *cpu, const gen_gemm *g, const gen_cpu_step *step);

#endif
