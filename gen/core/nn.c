/* nn.c - op constructors: check shapes, append nodes. */
#include "gen/core/nn.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SHAPE(buf, t) gen_shape_string(buf, sizeof(buf), (t)->rank, (t)->dims)

static int64_t last_dim(const gen_tensor *t)
{
    return t->dims[t->rank - 1];
}

/* Rank without trailing dimensions of 1 beyond `rank`: [N,K,1,1] counts as [N,K]. */
static bool has_rank(const gen_tensor *w, int rank)
{
    for (int i = rank; i < w->rank; i++)
        if (w->dims[i] != 1)
            return false;
    return w->rank >= rank;
}

/* The vector scope.name; checks that it has n elements.  NULL when an optional one is missing. */
static gen_tensor *vector_weight(gen_graph *g, gen_scope w, const char *name, int64_t n,
                                 bool is_optional)
{
    if (is_optional && !gen_has(w, name))
        return NULL;
    gen_tensor *t = gen_weight_tensor(g, w, name);
    char shape[128];
    if (!t->is_poisoned && gen_tensor_elements(t) != n)
        return gen_graph_fail(g, w.path, GEN_ERROR_MODEL, "%s has shape %s, expected [%" PRId64 "]",
                              name, SHAPE(shape, t), n);
    return t;
}

static gen_tensor *linear(gen_graph *g, gen_scope w, gen_tensor *x, bool bias_is_optional)
{
    gen_tensor *in[3] = {x, gen_weight_tensor(g, w, "weight"), NULL}, *bad;
    char a[128], b[128];
    if (gen_any_poisoned(2, in, &bad))
        return bad;
    if (!has_rank(in[1], 2) || in[1]->dims[1] != last_dim(x))
        return gen_graph_fail(g, w.path, GEN_ERROR_MODEL, "weight %s, input %s", SHAPE(a, in[1]),
                              SHAPE(b, x));
    in[2] = vector_weight(g, w, "bias", in[1]->dims[0], bias_is_optional);
    int64_t dims[GEN_MAX_RANK];
    memcpy(dims, x->dims, sizeof dims);
    dims[x->rank - 1] = in[1]->dims[0];
    return gen_graph_append(g, GEN_OP_LINEAR, w.path, in[2] ? 3 : 2, in, x->rank, dims, NULL);
}

gen_tensor *gen_linear(gen_graph *g, gen_scope w, gen_tensor *x)
{
    return linear(g, w, x, false);
}

gen_tensor *gen_project(gen_graph *g, gen_scope w, gen_tensor *x)
{
    return linear(g, w, x, true);
}

/* k is the kernel, scope.bias is added unless has_no_bias. */
static gen_tensor *conv2d(gen_graph *g, gen_scope w, gen_tensor *x, gen_tensor *k, bool has_no_bias,
                          gen_conv2d_options o)
{
    gen_tensor *in[3] = {x, k, NULL}, *bad;
    char a[128], b[128];
    if (gen_any_poisoned(2, in, &bad))
        return bad;
    if (x->rank != 4 || k->rank < 2 || !has_rank(k, 4 < k->rank ? 4 : k->rank) ||
        k->dims[1] != x->dims[3])
        return gen_graph_fail(g, w.path, GEN_ERROR_MODEL, "weight %s, input %s", SHAPE(a, k),
                              SHAPE(b, x));
    const int64_t kh = k->rank > 2 ? k->dims[2] : 1, kw = k->rank > 3 ? k->dims[3] : 1;
    const int64_t stride = o.stride ? o.stride : 1;
    const int64_t h = x->dims[1] + o.pad_top + o.pad_bottom - kh;
    const int64_t v = x->dims[2] + o.pad_left + o.pad_right - kw;
    if (h < 0 || v < 0)
        return gen_graph_fail(g, w.path, GEN_ERROR_ARGUMENT,
                              "kernel %" PRId64 "x%" PRId64 " is larger than the padded input %s",
                              kh, kw, SHAPE(b, x));
    if (!has_no_bias)
        in[2] = vector_weight(g, w, "bias", k->dims[0], o.bias_is_optional);
    const int64_t dims[4] = {x->dims[0], h / stride + 1, v / stride + 1, k->dims[0]};
    gen_node *n;
    gen_tensor *y = gen_graph_append(g, GEN_OP_CONV2D, w.path, in[2] ? 3 : 2, in, 4, dims, &n);
    n->p.conv2d = o;
    n->p.conv2d.stride = (int)stride;
    return y;
}

gen_tensor *gen_conv2d(gen_graph *g, gen_scope w, gen_tensor *x, gen_conv2d_options o)
{
    return conv2d(g, w, x, gen_weight_tensor(g, w, "weight"), false, o);
}

gen_tensor *gen_conv3d(gen_graph *g, gen_scope w, const int kernel[3], gen_tensor *x,
                       gen_conv2d_options o)
{
    char shape[128];
    if (x->is_poisoned)
        return x;
    if (x->rank != 4 || x->dims[0] < kernel[0])
        return gen_graph_fail(g, w.path, GEN_ERROR_INTERNAL, "a convolution over %d frames of %s",
                              kernel[0], SHAPE(shape, x));
    const int64_t dims[4] = {x->dims[3], kernel[0], kernel[1], kernel[2]};
    gen_tensor *y = NULL;
    for (int tap = 0; tap < kernel[0]; tap++) {
        gen_tensor *part = conv2d(g, w, gen_rows(g, x, tap, x->dims[0] - kernel[0] + 1),
                                  gen_kernel_tensor(g, w, dims, tap), tap > 0, o);
        y = y ? gen_add(g, y, part) : part;
    }
    return gen_name(g, w, y);
}

gen_tensor *gen_rows(gen_graph *g, gen_tensor *x, int64_t start, int64_t count)
{
    char shape[128];
    int64_t dims[GEN_MAX_RANK], rows = 1;
    if (x->is_poisoned || (start == 0 && count == x->dims[0]))
        return x;
    if (x->rank < 2 || start < 0 || count < 1 || start > x->dims[0] - count)
        return gen_graph_fail(g, x->name, GEN_ERROR_INTERNAL,
                              "entries %" PRId64 "..%" PRId64 " of %s", start, start + count - 1,
                              SHAPE(shape, x));
    memcpy(dims, x->dims, sizeof dims);
    dims[0] = count;
    for (int i = 1; i < x->rank - 1; i++)
        rows *= dims[i];
    return gen_graph_view(g, x, x->rank, dims, start * rows * x->ld, x->ld);
}

static const char *const weight_and_bias[2] = {"weight", "bias"};

/* names: of the weight and the bias, as many as the norm has. */
static gen_tensor *norm(gen_graph *g, gen_op op, gen_scope w, const char *const *names, int count,
                        gen_tensor *x, int groups, float eps)
{
    if (x->is_poisoned)
        return x;
    const int64_t c = last_dim(x);
    gen_tensor *in[3] = {x, NULL, NULL};
    int num_inputs = 1;
    for (int i = 0; w.weights && i < count; i++)
        in[num_inputs++] = vector_weight(g, w, names[i], c, false);
    gen_node *n;
    gen_tensor *y = gen_graph_append(g, op, w.path, num_inputs, in, x->rank, x->dims, &n);
    n->p.norm.groups = groups;
    n->p.norm.eps = eps;
    return y;
}

gen_tensor *gen_group_norm(gen_graph *g, gen_scope w, gen_tensor *x, int groups, float eps)
{
    char shape[128];
    if (x->is_poisoned)
        return x;
    if (groups < 1 || x->rank < 2 || last_dim(x) % groups)
        return gen_graph_fail(g, w.path, GEN_ERROR_MODEL,
                              "%d groups do not divide the channels of %s", groups,
                              SHAPE(shape, x));
    return norm(g, GEN_OP_GROUP_NORM, w, weight_and_bias, 2, x, groups, eps);
}

gen_tensor *gen_layer_norm(gen_graph *g, gen_scope w, gen_tensor *x, float eps)
{
    return norm(g, GEN_OP_LAYER_NORM, w, weight_and_bias, 2, x, 1, eps);
}

gen_tensor *gen_rms_norm(gen_graph *g, gen_scope w, gen_tensor *x, float eps)
{
    return norm(g, GEN_OP_RMS_NORM, w, weight_and_bias, 1, x, 1, eps);
}

gen_tensor *gen_rms_norm_named(gen_graph *g, gen_scope w, const char *name, gen_tensor *x,
                               float eps)
{
    return norm(g, GEN_OP_RMS_NORM, w, &name, 1, x, 1, eps);
}

gen_tensor *gen_attention(gen_graph *g, gen_tensor *q, gen_tensor *k, gen_tensor *v,
                          gen_attention_options o)
{
    gen_tensor *in[4] = {q, k, v, o.bias}, *bad;
    char a[128], b[128], c[128];
    if (gen_any_poisoned(4, in, &bad))
        return bad;
    const bool fits = q->rank == 3 && k->rank == 3 && v->rank == 3 && k->dims[0] == q->dims[0] &&
                      v->dims[0] == q->dims[0] && k->dims[1] == v->dims[1] &&
                      k->dims[2] == q->dims[2] && o.heads > 0 && q->dims[2] % o.heads == 0 &&
                      v->dims[2] % o.heads == 0;
    if (!fits)
        return gen_graph_fail(g, q->name, GEN_ERROR_MODEL,
                              "attention with %d heads: queries %s, keys %s, values %s", o.heads,
                              SHAPE(a, q), SHAPE(b, k), SHAPE(c, v));
    if (o.bias) {
        const int64_t full[4] = {q->dims[0], o.heads, q->dims[1], k->dims[1]};
        bool ok = o.bias->rank == 4 && o.bias->dims[3] == full[3];
        for (int i = 0; ok && i < 3; i++)
            ok = o.bias->dims[i] == 1 || o.bias->dims[i] == full[i];
        if (!ok)
            return gen_graph_fail(g, q->name, GEN_ERROR_INTERNAL, "attention bias %s, expected %s",
                                  SHAPE(a, o.bias), gen_shape_string(b, sizeof b, 4, full));
    }
    const int64_t d = q->dims[2] / o.heads;
    gen_node *n;
    gen_tensor *y = gen_graph_append(g, GEN_OP_ATTENTION, "", o.bias ? 4 : 3, in, 3,
                                     (int64_t[]){q->dims[0], q->dims[1], v->dims[2]}, &n);
    n->p.attention.heads = o.heads;
    n->p.attention.scale = o.scale != 0 ? o.scale : (float)(1.0 / __builtin_sqrt((double)d));
    n->p.attention.is_causal = o.is_causal;
    return y;
}

gen_tensor *gen_activation(gen_graph *g, gen_act act, gen_tensor *x)
{
    gen_node *n;
    if (x->is_poisoned || act == GEN_ACT_NONE)
        return x;
    gen_tensor *y = gen_graph_append(g, GEN_OP_UNARY, "", 1, &x, x->rank, x->dims, &n);
    n->p.unary.act = act;
    return y;
}

gen_tensor *gen_silu(gen_graph *g, gen_tensor *x)
{
    return gen_activation(g, GEN_ACT_SILU, x);
}

gen_tensor *gen_gelu(gen_graph *g, gen_tensor *x)
{
    return gen_activation(g, GEN_ACT_GELU, x);
}

gen_tensor *gen_gelu_tanh(gen_graph *g, gen_tensor *x)
{
    return gen_activation(g, GEN_ACT_GELU_TANH, x);
}

gen_tensor *gen_quick_gelu(gen_graph *g, gen_tensor *x)
{
    return gen_activation(g, GEN_ACT_QUICK_GELU, x);
}

gen_tensor *gen_relu(gen_graph *g, gen_tensor *x)
{
    return gen_activation(g, GEN_ACT_RELU, x);
}

gen_tensor *gen_tanh(gen_graph *g, gen_tensor *x)
{
    return gen_activation(g, GEN_ACT_TANH, x);
}

/* Right-aligned: every dimension of b is that of a, or 1, or absent. */
static bool broadcasts(const gen_tensor *a, const gen_tensor *b)
{
    if (b->rank > a->rank)
        return false;
    for (int i = 1; i <= b->rank; i++)
        if (b->dims[b->rank - i] != 1 && b->dims[b->rank - i] != a->dims[a->rank - i])
            return false;
    return true;
}

static gen_tensor *binary(gen_graph *g, gen_binary op, gen_tensor *a, gen_tensor *b)
{
    gen_tensor *in[2] = {a, b}, *bad;
    char sa[128], sb[128];
    if (gen_any_poisoned(2, in, &bad))
        return bad;
    if (!broadcasts(a, b) && op != GEN_SUB && broadcasts(b, a)) {
        in[0] = b;
        in[1] = a;
    }
    if (!broadcasts(in[0], in[1]))
        return gen_graph_fail(g, a->name, GEN_ERROR_MODEL, "shapes %s and %s do not fit",
                              SHAPE(sa, a), SHAPE(sb, b));
    gen_node *n;
    gen_tensor *y = gen_graph_append(g, GEN_OP_BINARY, "", 2, in, in[0]->rank, in[0]->dims, &n);
    n->p.binary.op = op;
    return y;
}

gen_tensor *gen_add(gen_graph *g, gen_tensor *a, gen_tensor *b)
{
    return binary(g, GEN_ADD, a, b);
}

gen_tensor *gen_sub_tensors(gen_graph *g, gen_tensor *a, gen_tensor *b)
{
    return binary(g, GEN_SUB, a, b);
}

gen_tensor *gen_mul(gen_graph *g, gen_tensor *a, gen_tensor *b)
{
    return binary(g, GEN_MUL, a, b);
}

gen_tensor *gen_affine(gen_graph *g, gen_tensor *x, float a, float b)
{
    gen_node *n;
    if (x->is_poisoned)
        return x;
    gen_tensor *y = gen_graph_append(g, GEN_OP_AFFINE, "", 1, &x, x->rank, x->dims, &n);
    n->p.affine.a = a;
    n->p.affine.b = b;
    return y;
}

gen_tensor *gen_modulate(gen_graph *g, gen_tensor *x, gen_tensor *shift, gen_tensor *scale)
{
    return gen_add(g, gen_mul(g, x, gen_affine(g, scale, 1.0f, 1.0f)), shift);
}

gen_tensor *gen_glu(gen_graph *g, gen_act act, gen_tensor *x)
{
    char shape[128];
    gen_node *n;
    if (x->is_poisoned)
        return x;
    if (last_dim(x) % 2)
        return gen_graph_fail(g, x->name, GEN_ERROR_MODEL, "a gated activation of odd width %s",
                              SHAPE(shape, x));
    int64_t dims[GEN_MAX_RANK];
    memcpy(dims, x->dims, sizeof dims);
    dims[x->rank - 1] /= 2;
    gen_tensor *y = gen_graph_append(g, GEN_OP_GLU, "", 1, &x, x->rank, dims, &n);
    n->p.unary.act = act;
    return y;
}

gen_tensor *gen_concat(gen_graph *g, int axis, int count, gen_tensor *const *xs)
{
    gen_tensor *bad;
    char a[128], b[128];
    if (gen_any_poisoned(count, xs, &bad))
        return bad;
    const int rank = xs[0]->rank;
    if (axis < 0)
        axis += rank;
    if (count > GEN_MAX_INPUTS || axis < 0 || axis >= rank)
        return gen_graph_fail(g, xs[0]->name, GEN_ERROR_INTERNAL, "concat of %d tensors on axis %d",
                              count, axis);
    int64_t dims[GEN_MAX_RANK];
    memcpy(dims, xs[0]->dims, sizeof dims);
    for (int i = 1; i < count; i++) {
        bool fits = xs[i]->rank == rank;
        for (int d = 0; fits && d < rank; d++)
            fits = d == axis || xs[i]->dims[d] == dims[d];
        if (!fits)
            return gen_graph_fail(g, xs[i]->name, GEN_ERROR_MODEL, "concat of %s and %s",
                                  SHAPE(a, xs[0]), SHAPE(b, xs[i]));
        dims[axis] += xs[i]->dims[axis];
    }
    gen_node *n;
    gen_tensor *y = gen_graph_append(g, GEN_OP_CONCAT, "", count, xs, rank, dims, &n);
    n->p.concat.axis = axis;
    return y;
}

gen_tensor *gen_slice(gen_graph *g, gen_tensor *x, int64_t start, int64_t count)
{
    char shape[128];
    if (x->is_poisoned)
        return x;
    if (start < 0 || count < 1 || start > last_dim(x) - count)
        return gen_graph_fail(g, x->name, GEN_ERROR_MODEL,
                              "channels %" PRId64 "..%" PRId64 " of %s", start, start + count - 1,
                              SHAPE(shape, x));
    int64_t dims[GEN_MAX_RANK];
    memcpy(dims, x->dims, sizeof dims);
    dims[x->rank - 1] = count;
    return gen_graph_view(g, x, x->rank, dims, start, x->ld);
}

void gen_chunk(gen_graph *g, gen_tensor *x, int n, gen_tensor **parts)
{
    char shape[128];
    if (!x->is_poisoned && last_dim(x) % n)
        x = gen_graph_fail(g, x->name, GEN_ERROR_MODEL, "%s cannot be cut into %d equal parts",
                           SHAPE(shape, x), n);
    const int64_t width = x->is_poisoned ? 1 : last_dim(x) / n;
    for (int i = 0; i < n; i++)
        parts[i] = gen_slice(g, x, i * width, width);
}

gen_tensor *gen_reshape(gen_graph *g, gen_tensor *x, int rank, const int64_t *wanted)
{
    char a[128], b[128];
    if (x->is_poisoned)
        return x;
    int64_t dims[GEN_MAX_RANK], known = 1;
    int open = -1;
    if (rank < 1 || rank > GEN_MAX_RANK)
        return gen_graph_fail(g, x->name, GEN_ERROR_INTERNAL, "reshape to rank %d", rank);
    for (int i = 0; i < rank; i++) {
        dims[i] = wanted[i];
        if (dims[i] == -1)
            open = i;
        else
            known *= dims[i];
    }
    const int64_t total = gen_tensor_elements(x);
    if (open >= 0 && known > 0 && total % known == 0)
        dims[open] = total / known;
    else if (open >= 0 || known != total)
        return gen_graph_fail(g, x->name, GEN_ERROR_INTERNAL, "reshape of %s to %s", SHAPE(a, x),
                              gen_shape_string(b, sizeof b, rank, wanted));
    /* A strided tensor keeps its rows: only leading dimensions may change. */
    const bool keeps_rows = dims[rank - 1] == last_dim(x);
    if (!gen_tensor_is_dense(x) && !keeps_rows) {
        x = gen_graph_append(g, GEN_OP_COPY, "", 1, &x, x->rank, x->dims, NULL);
        if (x->is_poisoned)
            return x;
    }
    return gen_graph_view(g, x, rank, dims, 0, keeps_rows ? x->ld : dims[rank - 1]);
}

gen_tensor *gen_upsample_nearest(gen_graph *g, gen_tensor *x, int64_t out_h, int64_t out_w)
{
    char shape[128];
    if (x->is_poisoned)
        return x;
    if (x->rank != 4)
        return gen_graph_fail(g, x->name, GEN_ERROR_INTERNAL, "upsampling of %s", SHAPE(shape, x));
    return gen_graph_append(g, GEN_OP_UPSAMPLE, "", 1, &x, 4,
                            (int64_t[]){x->dims[0], out_h, out_w, x->dims[3]}, NULL);
}

gen_tensor *gen_embedding(gen_graph *g, gen_scope w, gen_tensor *ids)
{
    gen_tensor *in[2] = {ids, gen_weight_tensor(g, w, "weight")}, *bad;
    char shape[128];
    if (gen_any_poisoned(2, in, &bad))
        return bad;
    if (ids->dtype != GEN_I32 || in[1]->rank != 2)
        return gen_graph_fail(g, w.path, GEN_ERROR_MODEL, "table %s, expected [rows,width]",
                              SHAPE(shape, in[1]));
    int64_t dims[GEN_MAX_RANK];
    memcpy(dims, ids->dims, sizeof dims);
    const int rank = ids->rank < GEN_MAX_RANK ? ids->rank + 1 : GEN_MAX_RANK;
    dims[rank - 1] = in[1]->dims[1];
    return gen_graph_append(g, GEN_OP_EMBEDDING, w.path, 2, in, rank, dims, NULL);
}

gen_tensor *gen_parameter(gen_graph *g, gen_scope w, const char *name)
{
    return gen_weight_tensor(g, w, name);
}

gen_tensor *gen_permute(gen_graph *g, gen_tensor *x, int rank, const int *perm)
{
    char shape[128];
    if (x->is_poisoned)
        return x;
    bool seen[GEN_MAX_RANK] = {false}, ok = rank == x->rank;
    int64_t dims[GEN_MAX_RANK];
    for (int i = 0; ok && i < rank; i++) {
        ok = perm[i] >= 0 && perm[i] < rank && !seen[perm[i]];
        if (ok) {
            seen[perm[i]] = true;
            dims[i] = x->dims[perm[i]];
        }
    }
    if (!ok)
        return gen_graph_fail(g, x->name, GEN_ERROR_INTERNAL, "permutation of %s", SHAPE(shape, x));
    gen_node *n;
    gen_tensor *y = gen_graph_append(g, GEN_OP_PERMUTE, "", 1, &x, rank, dims, &n);
    memcpy(n->p.permute.perm, perm, (size_t)rank * sizeof *perm);
    return y;
}

gen_tensor *gen_window(gen_graph *g, gen_tensor *x, int axis, int64_t start, int64_t count)
{
    char shape[128];
    gen_node *n;
    if (x->is_poisoned)
        return x;
    if (axis < 0)
        axis += x->rank;
    if (axis < 0 || axis >= x->rank || count < 1)
        return gen_graph_fail(g, x->name, GEN_ERROR_INTERNAL,
                              "%" PRId64 " positions of axis %d of %s", count, axis,
                              SHAPE(shape, x));
    int64_t dims[GEN_MAX_RANK];
    memcpy(dims, x->dims, sizeof dims);
    dims[axis] = count;
    gen_tensor *y = gen_graph_append(g, GEN_OP_WINDOW, "", 1, &x, x->rank, dims, &n);
    n->p.window.axis = axis;
    n->p.window.start = start;
    return y;
}

gen_tensor *gen_rope(gen_graph *g, gen_tensor *x, int heads, gen_tensor *table)
{
    gen_tensor *in[2] = {x, table}, *bad;
    char a[128], b[128];
    gen_node *n;
    if (gen_any_poisoned(2, in, &bad))
        return bad;
    if (x->rank != 3 || table->rank != 2 || heads < 1 || table->dims[0] != x->dims[1] ||
        table->dims[1] % 2 || table->dims[1] * heads != x->dims[2])
        return gen_graph_fail(g, x->name, GEN_ERROR_MODEL,
                              "rotary embedding of %s with %d heads, table %s", SHAPE(a, x), heads,
                              SHAPE(b, table));
    gen_tensor *y = gen_graph_append(g, GEN_OP_ROPE, "", 2, in, x->rank, x->dims, &n);
    n->p.rope.heads = heads;
    return y;
}

gen_tensor *gen_wkv(gen_graph *g, gen_wkv_form form, gen_tensor *w, gen_tensor *u, gen_tensor *k,
                    gen_tensor *v)
{
    gen_tensor *in[4] = {w, u, k, v}, *bad;
    char a[128], b[128], c[128], d[128];
    gen_node *n;
    if (gen_any_poisoned(4, in, &bad))
        return bad;
    if (k->rank != 3 || v->rank != 3 || memcmp(k->dims, v->dims, 3 * sizeof *k->dims) != 0 ||
        gen_tensor_elements(w) != k->dims[2] || gen_tensor_elements(u) != k->dims[2])
        return gen_graph_fail(g, k->name, GEN_ERROR_MODEL,
                              "WKV with decay %s, bonus %s, keys %s, values %s", SHAPE(a, w),
                              SHAPE(b, u), SHAPE(c, k), SHAPE(d, v));
    gen_tensor *y = gen_graph_append(g, GEN_OP_WKV, "", 4, in, 3, k->dims, &n);
    n->p.wkv.form = form;
    return y;
}
