/* attention_kernels.h - what attention does around its two matrix products.
 *
 * Scores of a tile of queries are kept as a packed tile (gemm_kernels.h), [keys/8][mr][8], in units
 * of log2, so that the probabilities are already the packed left side of the product with V.  The
 * running state of a tile is kept spread over the eight lanes of each row: [mr][8]. */
#ifndef GEN_CPU_KERNELS_ATTENTION_KERNELS_H
#define GEN_CPU_KERNELS_ATTENTION_KERNELS_H

#include "gen/cpu/kernels/gemm_kernels.h"

enum { GEN_ATTENTION_STATE = GEN_GEMM_MAX_ROWS * GEN_GEMM_UNIT };

typedef struct gen_attention_state {
    float max[GEN_ATTENTION_STATE];    /* of the scores so far, the same in all lanes of a row */
    float sum[GEN_ATTENTION_STATE];    /* of the probabilities, a part in each lane */
    float factor[GEN_ATTENTION_STATE]; /* 2^(old max - new max) of the last step */
} gen_attention_state;

struct gen_attention_kernels {
    void (*start)(gen_attention_state *state);
    /* dst [d][width] = the transpose of `count` (<= width) keys [d], ld apart; missing ones zero.
     */
    void (*pack_keys)(float *dst, const float *k, ptrdiff_t ld, int count, int d, int width);
    /* dst [count][width] = `cols` (<= width) columns of `count` values; missing ones zero. */
    void (*pack_values)(float *dst, const float *v, ptrdiff_t ld, int count, int cols, int width);
    /* Multiplies the num_rows rows of a packed tile of `units` units by a. */
    void (*scale)(float *tile, int num_rows, int units, float a);
    /* Scores of num_keys keys become probabilities 2^(score - max), zero beyond num_keys; a score
     * of -infinity gives exactly zero.  True when a maximum grew: then what was summed before must
     * be multiplied by the factors. */
    bool (*softmax)(float *scores, int num_keys, gen_attention_state *state);
    /* o [num_rows][cols] times the factor of its row. */
    void (*rescale)(float *o, ptrdiff_t ld, int num_rows, int cols, const float *factor);
    /* y = o / sum; a row without any key gives zeros. */
    void (*finish)(float *y, ptrdiff_t ldy, const float *o, ptrdiff_t ldo, int num_rows, int cols,
                   const float *sum);
};

#ifdef GEN_ISA
extern const gen_attention_kernels GEN_KERNEL(attention);
#endif

#endif
