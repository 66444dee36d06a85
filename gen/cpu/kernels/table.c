/* table.c - the kernels of one instruction set. */
#include "gen/cpu/kernels/attention_kernels.h"
#include "gen/cpu/kernels/gemm_kernels.h"
#include "gen/cpu/kernels/vector_kernels.h"
#include "gen/cpu/kernels/winograd_kernels.h"
#include "gen/cpu/kernels/wkv_kernels.h"

#define TEXT_(x) #x
#define TEXT(x)  TEXT_(x)

extern const gen_cpu_kernels GEN_KERNEL_NAME(kernels, GEN_ISA);

const gen_cpu_kernels GEN_KERNEL_NAME(kernels, GEN_ISA) = {
    .name = TEXT(GEN_ISA),
    .gemm = &GEN_KERNEL(gemm),
    .attention = &GEN_KERNEL(attention),
    .winograd = &GEN_KERNEL(winograd),
    .vector = &GEN_KERNEL(vector),
    .wkv = &GEN_KERNEL(wkv),
};
