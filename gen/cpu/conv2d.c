/* conv2d.c - convolution (GEN_OP_CONV2D): a matrix product whose rows are collected on the fly.
 *
 * Row i of A is output position i, its columns are (ky, kx, ci): the pixels under the kernel, zero
 * outside the image.  They are copied straight into packed tiles, so no unfolded image exists.  A
 * nearest-neighbour resize in front of the convolution is a change of the source index. */
#include "gen/cpu/conv2d.h"

#include <string.h>

typedef struct unfolded {
    gen_gemm_source base;
    const gen_gemm_kernels *kern;
    gen_conv_image image;
    int64_t out_h, out_w, kw, stride;
} unfolded;

/* Where the kernel begins for one output position, in the padded image. */
typedef struct corner {
    int64_t sample, y, x;
} corner;

static corner corner_of(const unfolded *m, int64_t row)
{
    return (corner){row / (m->out_w * m->out_h), row / m->out_w % m->out_h * m->stride,
                    row % m->out_w * m->stride};
}

/* The pixel under tap ky * kw + kx, or NULL. */
static const float *pixel(const unfolded *m, const corner *c, int64_t tap)
{
    return gen_conv_pixel(&m->image, c->sample, c->y + tap / m->kw, c->x + tap % m->kw);
}

static void collect(const gen_gemm_source *self, int64_t row, int num_rows, int64_t k0, int k,
                    float *dst, int64_t ld)
{
    const unfolded *m = (const unfolded *)self;
    for (int r = 0; r < num_rows; r++, dst += ld) {
        const corner c = corner_of(m, row + r);
        for (int64_t at = k0; at < k0 + k;) {
            const int64_t tap = at / m->image.ci, channel = at % m->image.ci;
            const int64_t left = m->image.ci - channel, wanted = k0 + k - at;
            const int64_t count = left < wanted ? left : wanted;
            const float *from = pixel(m, &c, tap);
            if (from)
                memcpy(dst + (at - k0), from + channel, (size_t)count * sizeof *dst);
            else
                memset(dst + (at - k0), 0, (size_t)count * sizeof *dst);
            at += count;
        }
    }
}

static void pack(const gen_gemm_source *self, int64_t row, int num_rows, int64_t k0, int k,
                 float *dst)
{
    const unfolded *m = (const unfolded *)self;
    const float *rows[GEN_GEMM_MAX_ROWS];
    if (m->image.ci % GEN_GEMM_UNIT) { /* taps do not begin at whole units */
        float plain[GEN_GEMM_MAX_ROWS * GEN_GEMM_MAX_K];
        collect(self, row, num_rows, k0, k, plain, k);
        for (int r = 0; r < num_rows; r++)
            rows[r] = plain + (size_t)r * (size_t)k;
        m->kern->pack_tile(dst, rows, num_rows, k);
        return;
    }
    corner corners[GEN_GEMM_MAX_ROWS];
    for (int r = 0; r < num_rows; r++)
        corners[r] = corner_of(m, row + r);
    for (int64_t at = k0; at < k0 + k;) {
        const int64_t tap = at / m->image.ci, channel = at % m->image.ci;
        const int64_t left = m->image.ci - channel, wanted = k0 + k - at;
        const int64_t count = left < wanted ? left : wanted;
        for (int r = 0; r < num_rows; r++) {
            rows[r] = pixel(m, &corners[r], tap);
            if (rows[r])
                rows[r] += channel;
        }
        m->kern->pack_tile(dst + (at - k0) * m->kern->mr, rows, num_rows, (int)count);
        at += count;
    }
}

/* 1x1 with nothing in the way: positions are rows of a plain matrix. */
static bool is_plain(const gen_node *node)
{
    const gen_tensor *w = node->inputs[1];
    const gen_conv2d_params *p = &node->p.conv2d;
    return gen_tensor_elements(w) == w->dims[0] * w->dims[1] && p->stride == 1 && !p->pad_top &&
           !p->pad_left && !p->pad_bottom && !p->pad_right && !p->upsample_h;
}

static bool supports(const gen_cpu *cpu, const gen_node *node)
{
    (void)cpu;
    return gen_gemm_supports(node);
}

static void measure(const gen_cpu *cpu, const gen_node *node, gen_cpu_needs *needs)
{
    if (gen_winograd_applies(cpu, node))
        gen_winograd_measure(cpu, node, needs);
    else
        gen_gemm_measure(cpu, gen_tensor_rows(node->output), node->inputs[1], is_plain(node),
                         needs);
}

static gen_status prepare(gen_cpu *cpu, gen_cpu_step *step, gen_error *err)
{
    const gen_node *node = step->node;
    GEN_TRY(gen_cpu_widen(cpu, node->inputs[0], err));
    GEN_TRY(gen_cpu_widen(cpu, gen_gemm_bias(node), err));
    if (gen_winograd_applies(cpu, node))
        return gen_winograd_prepare(cpu, step, err);
    return gen_gemm_prepare(cpu, node->inputs[1], err);
}

static void run(gen_cpu *cpu, gen_cpu_step *step)
{
    const gen_node *node = step->node;
    const gen_tensor *x = node->inputs[0], *w = node->inputs[1], *y = node->output;
    if (gen_winograd_applies(cpu, node)) {
        gen_winograd_run(cpu, step);
        return;
    }
    const unfolded source = {.base = {pack, collect},
                             .kern = cpu->k->gemm,
                             .image = gen_conv_image_of(cpu, node),
                             .out_h = y->dims[1],
                             .out_w = y->dims[2],
                             .kw = w->rank > 3 ? w->dims[3] : 1,
                             .stride = node->p.conv2d.stride};
    gen_gemm g = {.m = gen_tensor_rows(y)};
    if (is_plain(node)) {
        g.a = gen_cpu_f32(cpu, x);
        g.lda = x->ld;
    } else {
        g.source = &source.base;
    }
    gen_gemm_set_weights(cpu, w, &g);
    gen_gemm_epilogue(cpu, node, &g);
    gen_gemm_run(cpu, &g, step);
}

const gen_cpu_op gen_cpu_conv2d = {
    .supports = supports,
    .measure = measure,
    .prepare = prepare,
    .run = run,
};
