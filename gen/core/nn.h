/* nn.h - the operations a backbone is written with.
 *
 * Shapes: images [N,H,W,C], tokens [N,T,C], vectors [N,C]; the last dimension is the channel.
 * `w` is the scope of the layer: its tensors are w.weight and w.bias; one that is missing is an
 * error, except where a bias is said to be optional.
 * Every function returns a tensor, possibly a poisoned one; see graph.h. */
#ifndef GEN_CORE_NN_H
#define GEN_CORE_NN_H

#include "gen/core/graph.h"

/* y[..., N] = x[..., K] W^T + b.  W [N,K], or [N,K,1,1] as a 1x1 convolution stores it. */
gen_tensor *gen_linear(gen_graph *g, gen_scope w, gen_tensor *x);
/* The same, with a bias only where the checkpoint has one, as for queries, keys and values. */
gen_tensor *gen_project(gen_graph *g, gen_scope w, gen_tensor *x);

/* Cross-correlation.  W [Co,Ci,kh,kw] (or [Co,Ci] for 1x1). */
typedef gen_conv2d_params gen_conv2d_options;
#define GEN_CONV_1X1 ((gen_conv2d_options){.stride = 1})
#define GEN_CONV_3X3                                                                               \
    ((gen_conv2d_options){                                                                         \
        .stride = 1, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1})
#define GEN_CONV_3X3_S2                                                                            \
    ((gen_conv2d_options){                                                                         \
        .stride = 2, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1})
gen_tensor *gen_conv2d(gen_graph *g, gen_scope w, gen_tensor *x, gen_conv2d_options options);

/* Convolution over frames, without padding in time: x [F+kt-1,H,W,Ci], W [Co,Ci,kt,kh,kw] (or any
 * shape of as many elements), kernel {kt,kh,kw} -> [F,H',W',Co].  It is recorded as kt convolutions
 * of views of x, added up. */
gen_tensor *gen_conv3d(gen_graph *g, gen_scope w, const int kernel[3], gen_tensor *x,
                       gen_conv2d_options options);

/* `count` entries of the first dimension from `start` on: a view. */
gen_tensor *gen_rows(gen_graph *g, gen_tensor *x, int64_t start, int64_t count);

/* Mean and biased variance over all positions and C/groups channels of one sample. */
gen_tensor *gen_group_norm(gen_graph *g, gen_scope w, gen_tensor *x, int groups, float eps);

/* Over the last dimension.  A scope made by GEN_NO_AFFINE has no weight and no bias. */
#define GEN_NO_AFFINE ((gen_scope){0})
gen_tensor *gen_layer_norm(gen_graph *g, gen_scope w, gen_tensor *x, float eps);
gen_tensor *gen_rms_norm(gen_graph *g, gen_scope w, gen_tensor *x, float eps);
/* The same where the checkpoint calls the weight w.name. */
gen_tensor *gen_rms_norm_named(gen_graph *g, gen_scope w, const char *name, gen_tensor *x,
                               float eps);

/* softmax(q k^T scale + bias) v per head; channel = head * d + i.  q [N,Tq,heads*d],
 * k [N,Tk,heads*d], v [N,Tk,heads*dv] -> [N,Tq,heads*dv].  scale 0 means 1/sqrt(d).
 * bias (may be NULL): [1 or N, 1 or heads, 1 or Tq, Tk], added before the softmax. */
typedef struct gen_attention_options {
    int heads;
    float scale;
    bool is_causal; /* key index <= query index */
    gen_tensor *bias;
} gen_attention_options;
gen_tensor *gen_attention(gen_graph *g, gen_tensor *q, gen_tensor *k, gen_tensor *v,
                          gen_attention_options options);

gen_tensor *gen_activation(gen_graph *g, gen_act act, gen_tensor *x);
gen_tensor *gen_silu(gen_graph *g, gen_tensor *x);
gen_tensor *gen_gelu(gen_graph *g, gen_tensor *x); /* exact: erf */
gen_tensor *gen_gelu_tanh(gen_graph *g, gen_tensor *x);
gen_tensor *gen_quick_gelu(gen_graph *g, gen_tensor *x); /* x sigmoid(1.702 x) */
gen_tensor *gen_relu(gen_graph *g, gen_tensor *x);
gen_tensor *gen_tanh(gen_graph *g, gen_tensor *x);

/* b has the shape of a, or dimensions of 1 where a has more (also leading ones missing);
 * gen_add and gen_mul swap the two where only the other order fits. */
gen_tensor *gen_add(gen_graph *g, gen_tensor *a, gen_tensor *b);
gen_tensor *gen_sub_tensors(gen_graph *g, gen_tensor *a, gen_tensor *b);
gen_tensor *gen_mul(gen_graph *g, gen_tensor *a, gen_tensor *b);
gen_tensor *gen_affine(gen_graph *g, gen_tensor *x, float a, float b); /* a x + b */

/* x (1 + scale) + shift; shift and scale broadcast. */
gen_tensor *gen_modulate(gen_graph *g, gen_tensor *x, gen_tensor *shift, gen_tensor *scale);

/* First half of the channels times act(second half). */
gen_tensor *gen_glu(gen_graph *g, gen_act act, gen_tensor *x);

/* All dims equal but `axis` (negative: from the end). */
gen_tensor *gen_concat(gen_graph *g, int axis, int n, gen_tensor *const *xs);

/* Views: no work, no memory.  gen_slice: `count` channels from `start`.  gen_chunk: n equal parts
 * of the last dimension.  gen_reshape: same elements, dense input; -1 in one place. */
gen_tensor *gen_slice(gen_graph *g, gen_tensor *x, int64_t start, int64_t count);
void gen_chunk(gen_graph *g, gen_tensor *x, int n, gen_tensor **parts);
gen_tensor *gen_reshape(gen_graph *g, gen_tensor *x, int rank, const int64_t *dims);
#define GEN_DIMS(...)                                                                              \
    ((int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t))), (const int64_t[])                 \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

/* `count` positions of one axis (negative: from the end) from position `start` on; positions that x
 * does not have, before its first or behind its last, are zero.  Cuts, shifts and pads. */
gen_tensor *gen_window(gen_graph *g, gen_tensor *x, int axis, int64_t start, int64_t count);

/* Rotary position embedding (Su et al. 2021, eq. 34).  x [N,T,heads*d], table [T,d] with the
 * cosine of an angle in an even and its sine in the following place: in every head of token t the
 * pair (x0, x1) of channels (2i, 2i+1) becomes (x0 cos - x1 sin, x0 sin + x1 cos). */
gen_tensor *gen_rope(gen_graph *g, gen_tensor *x, int heads, gen_tensor *table);

/* Bidirectional WKV (Duan et al. 2024, eq. 2), per channel over the tokens of a sample:
 *     y_t = sum_i q_ti e^(k_i) v_i / sum_i q_ti e^(k_i)
 * k, v [N,T,C], decay w and bonus u of the token itself [C], both divided by T already.
 * GEN_WKV_PAPER: q_ti = e^(-(|t-i|-1) w), and e^u for i = t.
 * GEN_WKV_SEGMENTED: what the published kernel computes.  It cuts the tokens into 32 segments of
 * ceil(T/32); with d = |t-i| and s the first token of t's segment
 *     i < s      e^(-d w)
 *     s <= i < t e^(-(d-1) w), and for i > s (1 - e^w) e^(d w) more
 *     i = t      e^u, and for t > s (1 - e^w) more
 *     i > t      e^(-d w)
 * and 1e-6 is added to the divisor, measured in units of its largest term. */
gen_tensor *gen_wkv(gen_graph *g, gen_wkv_form form, gen_tensor *w, gen_tensor *u, gen_tensor *k,
                    gen_tensor *v);

/* Nearest neighbour, source index floor(dst * in / out). */
gen_tensor *gen_upsample_nearest(gen_graph *g, gen_tensor *x, int64_t out_h, int64_t out_w);

/* Rows w.weight[ids]; ids is an I32 input [N,T] -> [N,T,D].  The caller checks the range of ids;
 * a backend clamps them to the table. */
gen_tensor *gen_embedding(gen_graph *g, gen_scope w, gen_tensor *ids);

/* A parameter of the checkpoint used as a value: broadcastable operand of gen_add and gen_mul. */
gen_tensor *gen_parameter(gen_graph *g, gen_scope w, const char *name);

gen_tensor *gen_permute(gen_graph *g, gen_tensor *x, int rank, const int *perm);

#endif
