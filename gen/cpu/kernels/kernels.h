/* kernels.h - the inner loops, one table per instruction set.
 *
 * Each file of this folder is compiled three times with GEN_ISA set to generic, avx2 or avx512 and
 * the compiler flags of that set; everything in them is static but the functions whose names are
 * made by GEN_KERNEL(), so no vector instruction can leak into code that runs everywhere. */
#ifndef GEN_CPU_KERNELS_KERNELS_H
#define GEN_CPU_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gen/core/dtype.h"
#include "gen/core/graph.h"

#define GEN_KERNEL_PASTE(isa, name) gen_cpu_##isa##_##name
#define GEN_KERNEL_NAME(isa, name)  GEN_KERNEL_PASTE(isa, name)
#define GEN_KERNEL(name)            GEN_KERNEL_NAME(GEN_ISA, name)

typedef struct gen_gemm_kernels gen_gemm_kernels;           /* gemm_kernels.h */
typedef struct gen_attention_kernels gen_attention_kernels; /* attention_kernels.h */
typedef struct gen_winograd_kernels gen_winograd_kernels;   /* winograd_kernels.h */
typedef struct gen_wkv_kernels gen_wkv_kernels;             /* wkv_kernels.h */
typedef struct gen_vector_kernels gen_vector_kernels; /* vector_kernels.h: elementwise, norms */

typedef struct gen_cpu_kernels {
    const char *name; /* "generic", "avx2", "avx512" */
    const gen_gemm_kernels *gemm;
    const gen_attention_kernels *attention;
    const gen_winograd_kernels *winograd;
    const gen_vector_kernels *vector;
    const gen_wkv_kernels *wkv;
} gen_cpu_kernels;

extern const gen_cpu_kernels gen_cpu_kernels_generic;
#ifdef GEN_HAVE_X86_KERNELS
extern const gen_cpu_kernels gen_cpu_kernels_avx2;
extern const gen_cpu_kernels gen_cpu_kernels_avx512;
#endif

#endif
