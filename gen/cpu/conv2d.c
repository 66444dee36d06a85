/* conv2d.c - convolution (GEN_OP_CONV2D): a matrix product whose rows are collected on the fly.
 *
 * Row i of A is output position i, its columns are (ky, kx, ci): the pixels under the kernel, zero
 * outside the image.  They are copied straight into packed tiles, so no unfolded image exists.  A
 * nearest-neighbour resize in front of the convolution is a change of the source index. */
#include "gen/cpu/gemm.h"

#include <string.h>

typedef struct image {
    gen_gemm_source base;
    const gen_gemm_kernels *kern;
    const float *x;
    int64_t ld;
    int64_t h, w, ci;       /* of x */
    int64_t full_h, full_w; /* after the resize */
    int64_t out_h, out_w, kw;
    int64_t stride, pad_top, pad_left;
} image;

/* Where the kernel begins for one output position. */
typedef struct corner {
    const float *sample;
    int64_t y, x;
} corner;

static corner corner_of(const image *m, int64_t row)
{
    const int64_t x = row % m->out_w, y = row / m->out_w % m->out_h,
                  n = row / (m->out_w * m->out_h);
    return (corner){m->x + n * m->h * m->w * m->ld, y * m->stride - m->pad_top,
                    x * m->stride - m->pad_left};
}

/* The pixel under tap (ky, kx), or NULL outside. */
static const float *pixel(const image *m, const corner *c, int64_t ky, int64_t kx)
{
    int64_t y = c->y + ky, x = c->x + kx;
    if (y < 0 || y >= m->full_h || x < 0 || x >= m->full_w)
        return NULL;
    if (m->full_h != m->h)
        y = y * m->h / m->full_h;
    if (m->full_w != m->w)
        x = x * m->w / m->full_w;
    return c->sample + (y * m->w + x) * m->ld;
}

static void collect(const gen_gemm_source *self, int64_t row, int num_rows, int64_t k0, int k,
                    float *dst, int64_t ld)
{
    const image *m = (const image *)self;
    for (int r = 0; r < num_rows; r++, dst += ld) {
        const corner c = corner_of(m, row + r);
        for (int64_t at = k0; at < k0 + k;) {
            const int64_t tap = at / m->ci, channel = at % m->ci;
            const int64_t left = m->ci - channel, wanted = k0 + k - at;
            const int64_t count = left < wanted ? left : wanted;
            const float *from = pixel(m, &c, tap / m->kw, tap % m->kw);
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
    const image *m = (const image *)self;
    const float *rows[GEN_GEMM_MAX_ROWS];
    if (m->ci % GEN_GEMM_UNIT) { /* taps do not begin at whole units */
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
        const int64_t tap = at / m->ci, channel = at % m->ci;
        const int64_t left = m->ci - channel, wanted = k0 + k - at;
        const int64_t count = left < wanted ? left : wanted;
        for (int r = 0; r < num_rows; r++) {
            rows[r] = pixel(m, &corners[r], tap / m->kw, tap % m->kw);
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
    gen_gemm_measure(cpu, gen_tensor_rows(node->output), node->inputs[1], is_plain(node), needs);
}

static gen_status prepare(gen_cpu *cpu, gen_cpu_step *step, gen_error *err)
{
    const gen_node *node = step->node;
    GEN_TRY(gen_cpu_widen(cpu, gen_gemm_bias(node), err));
    return gen_gemm_prepare(cpu, node->inputs[1], err);
}

static image image_of(const gen_cpu *cpu, const gen_node *node)
{
    const gen_tensor *x = node->inputs[0], *w = node->inputs[1], *y = node->output;
    const gen_conv2d_params *p = &node->p.conv2d;
    image m = {.base = {pack, collect}, .kern = cpu->k->gemm, .x = gen_cpu_f32(cpu, x)};
    m.ld = x->ld;
    m.h = x->dims[1];
    m.w = x->dims[2];
    m.ci = x->dims[3];
    m.full_h = p->upsample_h ? p->upsample_h : m.h;
    m.full_w = p->upsample_h ? p->upsample_w : m.w;
    m.out_h = y->dims[1];
    m.out_w = y->dims[2];
    m.kw = w->rank > 3 ? w->dims[3] : 1;
    m.stride = p->stride;
    m.pad_top = p->pad_top;
    m.pad_left = p->pad_left;
    return m;
}

static void run(gen_cpu *cpu, gen_cpu_step *step)
{
    const gen_node *node = step->node;
    const image source = image_of(cpu, node);
    gen_gemm g = {.m = gen_tensor_rows(node->output)};
    if (is_plain(node)) {
        g.a = source.x;
        g.lda = source.ld;
    } else {
        g.source = &source.base;
    }
    gen_gemm_set_weights(cpu, node->inputs[1], &g);
    gen_gemm_epilogue(cpu, node, &g);
    gen_gemm_run(cpu, &g, step);
}

const gen_cpu_op gen_cpu_conv2d = {
    .supports = supports,
    .measure = measure,
    .prepare = prepare,
    .run = run,
};
