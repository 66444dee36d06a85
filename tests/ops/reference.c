/* reference.c - see reference.h.  Speed is no concern here; being obviously right is. */
#include "tests/ops/reference.h"

#include <stdlib.h>

#include "tests/test.h"

struct reference {
    const gen_graph *graph;
    int num_tensors;
    double **memory; /* by tensor id: the elements of an owner of memory, `ld` from row to row */
};

static int64_t last_dim(const gen_tensor *t)
{
    return t->rank > 0 ? t->dims[t->rank - 1] : 1;
}

/* Copies a tensor out of (or, with is_store, into) its owner's memory. */
static void transfer(const reference *r, const gen_tensor *t, double *dense, bool is_store)
{
    int64_t offset = 0;
    const gen_tensor *owner = gen_tensor_owner(t, &offset);
    double *memory = r->memory[owner->id] + offset;
    const int64_t rows = gen_tensor_rows(t), cols = last_dim(t);
    for (int64_t row = 0; row < rows; row++)
        for (int64_t i = 0; i < cols; i++) {
            if (is_store)
                memory[row * t->ld + i] = dense[row * cols + i];
            else
                dense[row * cols + i] = memory[row * t->ld + i];
        }
}

static double *new_values(const gen_tensor *t)
{
    double *values = calloc((size_t)gen_tensor_elements(t) + 1, sizeof *values);
    assert_non_null(values);
    return values;
}

static double *load(const reference *r, const gen_tensor *t)
{
    double *values = new_values(t);
    transfer(r, t, values, false);
    return values;
}

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

static double activate(gen_act act, double x)
{
    switch (act) {
    case GEN_ACT_SILU:
        return x * sigmoid(x);
    case GEN_ACT_GELU:
        return 0.5 * x * erfc(-x * 0.70710678118654752440);
    case GEN_ACT_GELU_TANH:
        return x * sigmoid(2.0 * 0.79788456080286535588 * (x + 0.044715 * x * x * x));
    case GEN_ACT_QUICK_GELU:
        return x * sigmoid(1.702 * x);
    case GEN_ACT_RELU:
        return x < 0.0 ? 0.0 : x;
    case GEN_ACT_TANH:
        return tanh(x);
    case GEN_ACT_SIGMOID:
        return sigmoid(x);
    case GEN_ACT_EXP:
        return exp(x);
    default:
        return x;
    }
}

void reference_linear(const gen_node *n, double **in, double *y)
{
    const gen_tensor *x = n->inputs[0];
    const int64_t K = last_dim(x), N = n->inputs[1]->dims[0], rows = gen_tensor_rows(x);
    for (int64_t m = 0; m < rows; m++)
        for (int64_t j = 0; j < N; j++) {
            double sum = n->num_inputs > 2 ? in[2][j] : 0.0;
            for (int64_t k = 0; k < K; k++)
                sum += in[0][m * K + k] * in[1][j * K + k];
            y[m * N + j] = sum;
        }
}

static double conv_sum(const gen_node *n, double **in, const int64_t at[4])
{
    const int64_t *x = n->inputs[0]->dims, H = x[1], W = x[2], Ci = x[3];
    const gen_tensor *w = n->inputs[1];
    const int64_t kh = w->rank == 4 ? w->dims[2] : 1, kw = w->rank == 4 ? w->dims[3] : 1;
    const int64_t stride = n->p.conv2d.stride ? n->p.conv2d.stride : 1;
    double sum = n->num_inputs > 2 ? in[2][at[3]] : 0.0;
    for (int64_t i = 0; i < kh; i++)
        for (int64_t j = 0; j < kw; j++) {
            const int64_t row = at[1] * stride + i - n->p.conv2d.pad_top;
            const int64_t col = at[2] * stride + j - n->p.conv2d.pad_left;
            if (row < 0 || row >= H || col < 0 || col >= W)
                continue;
            for (int64_t c = 0; c < Ci; c++)
                sum += in[0][((at[0] * H + row) * W + col) * Ci + c] *
                       in[1][((at[3] * Ci + c) * kh + i) * kw + j];
        }
    return sum;
}

void reference_conv2d(const gen_node *n, double **in, double *y)
{
    const int64_t *d = n->output->dims;
    for (int64_t s = 0; s < d[0]; s++)
        for (int64_t i = 0; i < d[1]; i++)
            for (int64_t j = 0; j < d[2]; j++)
                for (int64_t c = 0; c < d[3]; c++)
                    *y++ = conv_sum(n, in, (const int64_t[]){s, i, j, c});
}

/* x is [samples, positions, groups, width]; mean and variance over positions and width. */
static void normalise(const gen_node *n, double **in, double *y, int64_t samples, int64_t positions,
                      int64_t groups, int64_t width, bool has_mean)
{
    const double *x = in[0];
    const int64_t C = groups * width;
    for (int64_t s = 0; s < samples; s++)
        for (int64_t g = 0; g < groups; g++) {
            const int64_t start = s * positions * C + g * width;
            double mean = 0.0, square = 0.0;
            for (int64_t p = 0; p < positions; p++)
                for (int64_t c = 0; c < width; c++)
                    mean += x[start + p * C + c];
            mean = has_mean ? mean / (double)(positions * width) : 0.0;
            for (int64_t p = 0; p < positions; p++)
                for (int64_t c = 0; c < width; c++)
                    square += (x[start + p * C + c] - mean) * (x[start + p * C + c] - mean);
            const double scale =
                1.0 / sqrt(square / (double)(positions * width) + (double)n->p.norm.eps);
            for (int64_t p = 0; p < positions; p++)
                for (int64_t c = 0; c < width; c++) {
                    const double weight = n->num_inputs > 1 ? in[1][g * width + c] : 1.0;
                    const double bias = n->num_inputs > 2 ? in[2][g * width + c] : 0.0;
                    y[start + p * C + c] = (x[start + p * C + c] - mean) * scale * weight + bias;
                }
        }
}

void reference_group_norm(const gen_node *n, double **in, double *y)
{
    const gen_tensor *x = n->inputs[0];
    const int64_t C = last_dim(x), groups = n->p.norm.groups;
    normalise(n, in, y, x->dims[0], gen_tensor_rows(x) / x->dims[0], groups, C / groups, true);
}

void reference_layer_norm(const gen_node *n, double **in, double *y)
{
    normalise(n, in, y, gen_tensor_rows(n->inputs[0]), 1, 1, last_dim(n->inputs[0]), true);
}

void reference_rms_norm(const gen_node *n, double **in, double *y)
{
    normalise(n, in, y, gen_tensor_rows(n->inputs[0]), 1, 1, last_dim(n->inputs[0]), false);
}

/* One query of one head; p [Tk] is working memory. */
static void attend(const gen_node *n, double **in, double *y, const int64_t at[3], double *p)
{
    const gen_tensor *q = n->inputs[0], *k = n->inputs[1], *v = n->inputs[2];
    const int64_t heads = n->p.attention.heads, d = q->dims[2] / heads, dv = v->dims[2] / heads;
    const int64_t s = at[0], head = at[1], t = at[2], Tk = k->dims[1];
    const double scale =
        n->p.attention.scale != 0.0f ? (double)n->p.attention.scale : 1.0 / sqrt((double)d);
    const gen_tensor *bias = n->num_inputs > 3 ? n->inputs[3] : NULL;
    double max = -INFINITY, sum = 0.0;
    for (int64_t j = 0; j < Tk; j++) {
        p[j] = 0.0;
        for (int64_t c = 0; c < d; c++)
            p[j] += in[0][(s * q->dims[1] + t) * q->dims[2] + head * d + c] *
                    in[1][(s * Tk + j) * k->dims[2] + head * d + c];
        p[j] *= scale;
        if (bias) {
            const int64_t b0 = bias->dims[0] > 1 ? s : 0, b1 = bias->dims[1] > 1 ? head : 0;
            const int64_t b2 = bias->dims[2] > 1 ? t : 0;
            p[j] += in[3][((b0 * bias->dims[1] + b1) * bias->dims[2] + b2) * Tk + j];
        }
        if (n->p.attention.is_causal && j > t)
            p[j] = -INFINITY;
        max = fmax(max, p[j]);
    }
    for (int64_t j = 0; j < Tk; j++)
        sum += p[j] = exp(p[j] - max);
    for (int64_t c = 0; c < dv; c++) {
        double o = 0.0;
        for (int64_t j = 0; j < Tk; j++)
            o += p[j] / sum * in[2][(s * Tk + j) * v->dims[2] + head * dv + c];
        y[(s * q->dims[1] + t) * heads * dv + head * dv + c] = o;
    }
}

void reference_attention(const gen_node *n, double **in, double *y)
{
    const gen_tensor *q = n->inputs[0];
    double *p = new_values(n->inputs[1]);
    for (int64_t s = 0; s < q->dims[0]; s++)
        for (int64_t h = 0; h < n->p.attention.heads; h++)
            for (int64_t t = 0; t < q->dims[1]; t++)
                attend(n, in, y, (const int64_t[]){s, h, t}, p);
    free(p);
}

/* The index in b, broadcast over the dims of a, of element i of a. */
static int64_t broadcast_index(const gen_tensor *a, const gen_tensor *b, int64_t i)
{
    int64_t index = 0, stride = 1;
    for (int j = 1; j <= a->rank; j++) {
        const int64_t at = i % a->dims[a->rank - j];
        i /= a->dims[a->rank - j];
        if (j > b->rank)
            continue;
        if (b->dims[b->rank - j] > 1)
            index += at * stride;
        stride *= b->dims[b->rank - j];
    }
    return index;
}

void reference_binary(const gen_node *n, double **in, double *y)
{
    const int64_t count = gen_tensor_elements(n->output);
    for (int64_t i = 0; i < count; i++) {
        const double a = in[0][broadcast_index(n->output, n->inputs[0], i)];
        const double b = in[1][broadcast_index(n->output, n->inputs[1], i)];
        y[i] = n->p.binary.op == GEN_ADD ? a + b : n->p.binary.op == GEN_SUB ? a - b : a * b;
    }
}

void reference_glu(const gen_node *n, double **in, double *y)
{
    const int64_t rows = gen_tensor_rows(n->output), C = last_dim(n->output);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < C; c++)
            y[r * C + c] =
                in[0][r * 2 * C + c] * activate(n->p.unary.act, in[0][r * 2 * C + C + c]);
}

void reference_concat(const gen_node *n, double **in, double *y)
{
    const gen_tensor *out = n->output;
    const int axis = n->p.concat.axis < 0 ? n->p.concat.axis + out->rank : n->p.concat.axis;
    int64_t outer = 1, inner = 1;
    for (int i = 0; i < out->rank; i++)
        if (i != axis)
            *(i < axis ? &outer : &inner) *= out->dims[i];
    for (int64_t o = 0; o < outer; o++)
        for (int k = 0; k < n->num_inputs; k++) {
            const int64_t run = n->inputs[k]->dims[axis] * inner;
            for (int64_t i = 0; i < run; i++)
                *y++ = in[k][o * run + i];
        }
}

void reference_upsample(const gen_node *n, double **in, double *y)
{
    const int64_t *d = n->output->dims, *s = n->inputs[0]->dims;
    for (int64_t b = 0; b < d[0]; b++)
        for (int64_t i = 0; i < d[1]; i++)
            for (int64_t j = 0; j < d[2]; j++)
                for (int64_t c = 0; c < d[3]; c++)
                    *y++ =
                        in[0][((b * s[1] + i * s[1] / d[1]) * s[2] + j * s[2] / d[2]) * s[3] + c];
}

void reference_embedding(const gen_node *n, double **in, double *y)
{
    const int64_t rows = n->inputs[1]->dims[0], D = n->inputs[1]->dims[1];
    const int64_t count = gen_tensor_elements(n->inputs[0]);
    for (int64_t i = 0; i < count; i++) {
        const int64_t id = (int64_t)fmin(fmax(in[0][i], 0.0), (double)(rows - 1));
        for (int64_t c = 0; c < D; c++)
            y[i * D + c] = in[1][id * D + c];
    }
}

void reference_permute(const gen_node *n, double **in, double *y)
{
    const gen_tensor *x = n->inputs[0], *out = n->output;
    const int64_t count = gen_tensor_elements(out);
    for (int64_t i = 0; i < count; i++) {
        int64_t at[GEN_MAX_RANK] = {0}, rest = i, index = 0;
        for (int k = out->rank - 1; k >= 0; k--) {
            at[n->p.permute.perm[k]] = rest % out->dims[k];
            rest /= out->dims[k];
        }
        for (int k = 0; k < x->rank; k++)
            index = index * x->dims[k] + at[k];
        y[i] = in[0][index];
    }
}

void reference_window(const gen_node *n, double **in, double *y)
{
    const gen_tensor *x = n->inputs[0], *out = n->output;
    const int axis = n->p.window.axis;
    const int64_t have = x->dims[axis], want = out->dims[axis];
    int64_t inner = 1;
    for (int i = axis + 1; i < out->rank; i++)
        inner *= out->dims[i];
    for (int64_t i = 0; i < gen_tensor_elements(out); i++) {
        const int64_t at = i / inner % want + n->p.window.start;
        y[i] =
            at < 0 || at >= have ? 0.0 : in[0][(i / inner / want * have + at) * inner + i % inner];
    }
}

void reference_rope(const gen_node *n, double **in, double *y)
{
    const int64_t T = n->inputs[1]->dims[0], D = n->inputs[1]->dims[1];
    const int64_t width = last_dim(n->output);
    for (int64_t i = 0; i < gen_tensor_elements(n->output); i += 2) {
        const double *angle = in[1] + i / width % T * D + i % width % D;
        y[i] = in[0][i] * angle[0] - in[0][i + 1] * angle[1];
        y[i + 1] = in[0][i] * angle[1] + in[0][i + 1] * angle[0];
    }
}

/* One output of nn.h's sum: token t of T in a column of keys and values `ld` apart. */
static double wkv_sum(gen_wkv_form form, double w, double u, const double *k, const double *v,
                      int64_t ld, int64_t T, int64_t t)
{
    const int64_t L = (T + GEN_WKV_SEGMENTS - 1) / GEN_WKV_SEGMENTS, s = t / L * L;
    const bool is_paper = form == GEN_WKV_PAPER;
    double max = -INFINITY, num = 0.0, den = 0.0;
    for (int pass = 0; pass < 2; pass++) /* the largest exponent, then the sums */
        for (int64_t i = 0; i < T; i++) {
            const double d = (double)(i < t ? t - i : i - t);
            const bool is_near = is_paper || (i >= s && i < t);
            const double e = i == t ? u + k[t * ld] : k[i * ld] - (is_near ? d - 1 : d) * w;
            double q = exp(e - max);
            if (!is_paper && i > s && i <= t)
                q += (1.0 - exp(w)) * exp(d * w + k[i * ld] - max);
            if (pass == 0) {
                max = fmax(max, e);
            } else {
                num += q * v[i * ld];
                den += q;
            }
        }
    return num / (is_paper ? den : den + 1e-6);
}

void reference_wkv(const gen_node *n, double **in, double *y)
{
    const int64_t *d = n->output->dims, T = d[1], C = d[2];
    for (int64_t s = 0; s < d[0]; s++)
        for (int64_t t = 0; t < T; t++)
            for (int64_t c = 0; c < C; c++)
                y[(s * T + t) * C + c] =
                    wkv_sum(n->p.wkv.form, in[0][c], in[1][c], in[2] + s * T * C + c,
                            in[3] + s * T * C + c, C, T, t);
}

void reference_unary(const gen_node *n, double **in, double *y)
{
    for (int64_t i = 0; i < gen_tensor_elements(n->output); i++)
        y[i] = activate(n->p.unary.act, in[0][i]);
}

void reference_affine(const gen_node *n, double **in, double *y)
{
    for (int64_t i = 0; i < gen_tensor_elements(n->output); i++)
        y[i] = (double)n->p.affine.a * in[0][i] + (double)n->p.affine.b;
}

void reference_copy(const gen_node *n, double **in, double *y)
{
    for (int64_t i = 0; i < gen_tensor_elements(n->output); i++)
        y[i] = in[0][i];
}

/* unet.md 1.3: angles scale * t * max_period^(-k / (h - freq_shift)) */
static void sinusoid(const gen_tensor *t, const double *values, double *y)
{
    const int64_t D = t->sinusoid.dim, h = D / 2, count = gen_tensor_elements(t) / D;
    const double period = t->sinusoid.max_period != 0.0 ? t->sinusoid.max_period : 10000.0;
    const double scale = t->sinusoid.scale != 0.0 ? t->sinusoid.scale : 1.0;
    for (int64_t i = 0; i < count; i++)
        for (int64_t k = 0; k < h; k++) {
            const double f = exp(-log(period) * (double)k / ((double)h - t->sinusoid.freq_shift));
            const double angle = scale * values[i] * f;
            y[i * D + k] = t->sinusoid.flip_sin_to_cos ? cos(angle) : sin(angle);
            y[i * D + h + k] = t->sinusoid.flip_sin_to_cos ? sin(angle) : cos(angle);
        }
}

static void fill_input(reference *r, const gen_tensor *t, int num_inputs,
                       const reference_input *inputs)
{
    const int64_t count = gen_tensor_elements(t);
    double *values = new_values(t);
    if (t->derived_from) {
        double *from = load(r, t->derived_from);
        sinusoid(t, from, values);
        free(from);
    } else {
        int k = 0;
        while (k < num_inputs && strcmp(inputs[k].name, t->name) != 0)
            k++;
        if (k == num_inputs)
            fail_msg("no values for input \"%s\"", t->name);
        for (int64_t i = 0; i < count; i++)
            values[i] = t->dtype == GEN_I32 ? (double)((const int32_t *)inputs[k].data)[i]
                                            : (double)((const float *)inputs[k].data)[i];
    }
    transfer(r, t, values, true);
    free(values);
}

static void fill_weight(reference *r, const gen_tensor *t)
{
    const size_t count = (size_t)gen_tensor_elements(t);
    float *wide = malloc((count + 1) * sizeof *wide);
    gen_error err = {0};
    assert_non_null(wide);
    EXPECT_OK(gen_weight_check_finite(t->weight, &err)); /* brings the data of a kernel */
    gen_to_f32(wide, t->weight->data, t->weight->dtype, count);
    for (size_t i = 0; i < count; i++)
        r->memory[t->id][i] = (double)wide[i];
    free(wide);
}

static void run_node(reference *r, const gen_node *n)
{
    double *in[GEN_MAX_INPUTS] = {0}, *out = new_values(n->output);
    for (int k = 0; k < n->num_inputs; k++)
        in[k] = load(r, n->inputs[k]);
    reference_ops[n->op](n, in, out);
    transfer(r, n->output, out, true);
    for (int k = 0; k < n->num_inputs; k++)
        free(in[k]);
    free(out);
}

reference *reference_new(const gen_graph *graph, int num_inputs, const reference_input *inputs)
{
    reference *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->graph = graph;
    r->num_tensors = gen_graph_num_tensors(graph);
    r->memory = calloc((size_t)r->num_tensors + 1, sizeof *r->memory);
    assert_non_null(r->memory);
    for (int i = 0; i < r->num_tensors; i++) {
        const gen_tensor *t = gen_graph_tensor(graph, i);
        assert_int_equal(t->id, i);
        if (t->kind == GEN_KIND_VIEW)
            continue;
        r->memory[i] = calloc((size_t)(gen_tensor_rows(t) * t->ld) + 1, sizeof(double));
        assert_non_null(r->memory[i]);
    }
    for (int i = 0; i < r->num_tensors; i++) {
        const gen_tensor *t = gen_graph_tensor(graph, i);
        if (t->kind == GEN_KIND_INPUT)
            fill_input(r, t, num_inputs, inputs);
        else if (t->kind == GEN_KIND_WEIGHT)
            fill_weight(r, t);
    }
    for (int i = 0; i < gen_graph_num_nodes(graph); i++)
        run_node(r, gen_graph_node(graph, i));
    return r;
}

void reference_free(reference *r)
{
    if (!r)
        return;
    for (int i = 0; i < r->num_tensors; i++)
        free(r->memory[i]);
    free(r->memory);
    free(r);
}

double *reference_values(const reference *r, int id)
{
    return load(r, gen_graph_tensor(r->graph, id));
}
