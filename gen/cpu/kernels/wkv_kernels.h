/* wkv_kernels.h - the scans of the bidirectional WKV operator (gen/cpu/wkv.c).
 *
 * A scan walks `count` tokens of at most GEN_WKV_GROUP channels from `k` and `v` on, ld_k and ld_v
 * elements from token to token; negative distances walk backwards.  w [channels] is the decay. */
#ifndef GEN_CPU_KERNELS_WKV_KERNELS_H
#define GEN_CPU_KERNELS_WKV_KERNELS_H

#include "gen/cpu/kernels/kernels.h"

enum { GEN_WKV_GROUP = 64 };

/* Weighted sums of values (a) and of ones (b), both times e^o. */
typedef struct gen_wkv_state {
    float a[GEN_WKV_GROUP], b[GEN_WKV_GROUP], o[GEN_WKV_GROUP];
} gen_wkv_state;

typedef struct gen_wkv_tokens {
    const float *k, *v;
    int64_t ld_k, ld_v, count;
    const float *w;
    int channels;
} gen_wkv_tokens;

struct gen_wkv_kernels {
    /* Floats of scratch that `mix` needs for one token. */
    int scratch_width;
    /* Nothing summed yet. */
    void (*clear)(gen_wkv_state *state);
    /* The state behind the last token: token i of n weighs e^(k_i - (n-1-i) w). */
    void (*scan)(gen_wkv_state *state, const gen_wkv_tokens *tokens);
    /* total = e^(-w count) total + part */
    void (*join)(gen_wkv_state *total, const gen_wkv_state *part, const float *w, int64_t count,
                 int channels);
    /* y of all tokens of a segment; `before` and `after` are the states of the tokens on its left
     * and right.  y may lie over v.  scratch: count * scratch_width floats. */
    void (*mix)(gen_wkv_form form, const gen_wkv_tokens *tokens, const float *u,
                const gen_wkv_state *before, const gen_wkv_state *after, float *y, int64_t ld_y,
                float *scratch);
};

#ifdef GEN_ISA
extern const gen_wkv_kernels GEN_KERNEL(wkv);
#endif

#endif
