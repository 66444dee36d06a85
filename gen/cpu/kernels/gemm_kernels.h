/* gemm_kernels.h - the product C = A B in tiles that fit the registers.
 *
 * A tile of A is packed as [K/8][mr][8]: eight k of a row stay together, mr rows side by side, so
 * whoever produces eight channels at a time can store them directly.  Rows of a tile that do not
 * exist are never read; k beyond the end neither.  A panel of B is [K][width], width = vectors *
 * vector.  Every element of C is one chain of multiply-adds over k, whatever the size of the tile
 * it falls into. */
#ifndef GEN_CPU_KERNELS_GEMM_KERNELS_H
#define GEN_CPU_KERNELS_GEMM_KERNELS_H

#include "gen/cpu/kernels/kernels.h"

enum {
    GEN_GEMM_UNIT = 8,       /* k-values of a row that lie together in packed A */
    GEN_GEMM_MAX_ROWS = 16,  /* no mr is larger */
    GEN_GEMM_MAX_WIDTH = 32, /* no panel is wider */
    GEN_GEMM_MAX_K = 512     /* no k-block is longer */
};

/* Weights in 8 bits: a panel [k][width] is cut into blocks of 32 k.  A block is [width] scales
 * (f32), then [32][width] whole numbers (-127..127); a weight is the number times the scale of its
 * column. The last block is filled up with zeros. */
enum { GEN_Q8_BLOCK = 32 };

/* Bytes of k x columns weights. */
static inline size_t gen_q8_size(int64_t columns, int64_t k)
{
    return (size_t)((k + GEN_Q8_BLOCK - 1) / GEN_Q8_BLOCK * columns) *
           (GEN_Q8_BLOCK + sizeof(float));
}

typedef struct gen_gemm_tile {
    const float *a; /* a packed tile, from its first row to be used */
    const float *b;
    int rows, k; /* 1 <= rows <= mr */
    float *c;    /* [rows][width], row stride ldc */
    ptrdiff_t ldc;
    const float *init; /* [width]: what the sums begin with; NULL: zero */
    const float *add;  /* [rows][width], row stride ld_add: added at the end; NULL: none */
    ptrdiff_t ld_add;
} gen_gemm_tile;

struct gen_gemm_kernels {
    int mr;         /* rows of a tile */
    int vector;     /* columns of a vector */
    int vectors;    /* a whole panel, in vectors; the last one may be narrower */
    int max_k;      /* longest k-block that keeps a panel near the core */
    int block_rows; /* rows of A worth packing at once; a multiple of mr */

    /* c = init + a b + add for a panel of i vectors; [0] is unused. */
    void (*tile[3])(const gen_gemm_tile *t);
    /* Packs a panel of B, dst [taps * ci][width], from num_rows (<= width) rows [ci * taps] of W,
     * whose elements have `size` bytes (2 or 4) and any alignment: element c * taps + t of a row
     * becomes row t * ci + c of the panel.  Columns of missing rows are zero. */
    void (*pack_panel)(void *dst, const void *w, size_t size, int num_rows, int width, int64_t ci,
                       int64_t taps);
    /* Widens n numbers (F32, F16, BF16); src is aligned to its type. */
    void (*widen)(float *dst, const void *src, gen_dtype dtype, size_t n);
    /* Packs a panel of `width` columns in 8 bits from num_rows rows [k] of W (F32, F16, BF16),
     * whose data may be unaligned; the columns of missing rows are zero.  A scale is the largest
     * magnitude of its block over 127, numbers are rounded to the nearest. */
    void (*pack_q8)(void *dst, const void *w, gen_dtype dtype, int num_rows, int width, int64_t k);
    /* Widens the first k rows of such a panel: [k][width]. */
    void (*widen_q8)(float *dst, const void *src, int width, int k);
    /* Packs num_rows (<= mr) rows of k floats as one tile, the last unit filled up with zeros; a
     * row that is NULL is all zeros. */
    void (*pack_tile)(float *dst, const float *const *rows, int num_rows, int k);
    /* c = act(c) */
    void (*activate)(gen_act act, float *c, ptrdiff_t ldc, int rows, int cols);
};

#ifdef GEN_ISA
extern const gen_gemm_kernels GEN_KERNEL(gemm);
#endif

#endif
