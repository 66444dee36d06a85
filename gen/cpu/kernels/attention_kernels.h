/* attention_kernels.h - what attention does around its two matrix products.
 *
 * Everything is transposed: `width` queries lie side by side in the lanes of a panel
 * (gemm_kernels.h), scores are [keys][width] in units of log2, and the output is [dv][width].  So
 * the softmax works down the lanes, scores are at once the panel of the second product, and head
 * sizes that are no multiple of a vector waste nothing. */
#ifndef GEN_CPU_KERNELS_ATTENTION_KERNELS_H
#define GEN_CPU_KERNELS_ATTENTION_KERNELS_H

#include "gen/cpu/kernels/gemm_kernels.h"

typedef struct gen_attention_state {
    float max[GEN_GEMM_MAX_WIDTH];    /* of the scores so far */
    float sum[GEN_GEMM_MAX_WIDTH];    /* of the probabilities */
    float factor[GEN_GEMM_MAX_WIDTH]; /* 2^(old max - new max) of the last step */
} gen_attention_state;

struct gen_attention_kernels {
    void (*start)(gen_attention_state *state);
    /* dst [d][width] = a times the transpose of `count` (<= width) queries [d], ld apart; missing
     * ones are zero. */
    void (*pack_queries)(float *dst, const float *q, ptrdiff_t ld, int count, int d, int width,
                         float a);
    /* dst: one packed tile whose rows are `rows` (<= mr) columns of `count` values, ld apart. */
    void (*pack_values)(float *dst, const float *v, ptrdiff_t ld, int count, int rows);
    /* Scores [num_keys][width] become probabilities 2^(score - max); minus infinity gives zero.
     * True when a maximum grew: then what was summed before must be multiplied by the factors. */
    bool (*softmax)(float *scores, int num_keys, int width, gen_attention_state *state);
    /* o [rows][width] times the factors. */
    void (*rescale)(float *o, int rows, int width, const float *factor);
    /* y [count][dv], rows ldy apart, = the transpose of o [dv][width] / sum; zeros for a query
     * without any key. */
    void (*finish)(float *y, ptrdiff_t ldy, const float *o, int count, int dv, int width,
                   const float *sum);
};

#ifdef GEN_ISA
extern const gen_attention_kernels GEN_KERNEL(attention);
#endif

#endif
