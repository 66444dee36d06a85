/* cpu.h - the CPU backend, the reference for all others.
 *
 * backend.c drives a plan: for every node one gen_cpu_op measures, prepares and runs.  Kernels that
 * profit from vector units live in kernels/: those files are compiled once per instruction set
 * (generic, AVX2+FMA+F16C, AVX-512) and reached through the table gen_cpu_kernels, chosen at run
 * time.  How an op is added stands in gen/core/ops.h.
 *
 * Results do not depend on the number of threads: outputs are split between tasks, sums never, and
 * every cut follows from the shape alone. */
#ifndef GEN_CPU_CPU_H
#define GEN_CPU_CPU_H

#include "gen/core/backend.h"
#include "gen/core/threads.h"

typedef enum gen_cpu_isa { GEN_CPU_GENERIC, GEN_CPU_AVX2, GEN_CPU_AVX512 } gen_cpu_isa;
typedef enum gen_cpu_gemm { GEN_GEMM_AUTO, GEN_GEMM_OWN, GEN_GEMM_OPENBLAS } gen_cpu_gemm;
typedef enum gen_cpu_conv {
    GEN_CONV_AUTO, /* Winograd where it pays */
    GEN_CONV_EXACT /* direct only: the reference */
} gen_cpu_conv;

typedef enum gen_cpu_weights {
    GEN_WEIGHTS_STORED, /* in the type of the file */
    GEN_WEIGHTS_Q8      /* matrices of linear layers in 8 bits, with a scale for 32 numbers */
} gen_cpu_weights;

typedef struct gen_cpu_options {
    int num_threads; /* 0: all this process may use */
    gen_cpu_gemm gemm;
    gen_cpu_conv conv;
    gen_cpu_weights weights; /* Q8 needs the own GEMM */
    size_t mem_limit;        /* bytes, 0: none; arena and transformed weights stay below it */
} gen_cpu_options;

/* The CPU backend.  The instruction set is the best the CPU has, or what GEN_CPU asks for
 * (generic, avx2, avx512).  Errors: ARGUMENT for an unknown or unsupported GEN_CPU; MEMORY. */
gen_status gen_cpu_open(gen_backend **out, const gen_cpu_options *options, gen_error *err);

/* "avx512, 2 threads, own gemm" into buf; returns buf. */
const char *gen_cpu_describe(const gen_backend *backend, char *buf, size_t size);

#endif
