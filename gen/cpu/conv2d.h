/* conv2d.h - what the direct and the Winograd convolution share. */
#ifndef GEN_CPU_CONV2D_H
#define GEN_CPU_CONV2D_H

#include "gen/cpu/gemm.h"

/* The input of a convolution, seen through its padding and the resize in front of it. */
typedef struct gen_conv_image {
    const float *x;
    int64_t ld;
    int64_t h, w, ci;       /* of x */
    int64_t full_h, full_w; /* after the resize */
    int64_t pad_top, pad_left;
} gen_conv_image;

static inline gen_conv_image gen_conv_image_of(const gen_cpu *cpu, const gen_node *node)
{
    const gen_tensor *x = node->inputs[0];
    const gen_conv2d_params *p = &node->p.conv2d;
    return (gen_conv_image){.x = gen_cpu_f32(cpu, x),
                            .ld = x->ld,
                            .h = x->dims[1],
                            .w = x->dims[2],
                            .ci = x->dims[3],
                            .full_h = p->upsample_h ? p->upsample_h : x->dims[1],
                            .full_w = p->upsample_h ? p->upsample_w : x->dims[2],
                            .pad_top = p->pad_top,
                            .pad_left = p->pad_left};
}

/* The pixel at (y, x) of the padded image of a sample, or NULL where it is zero. */
static inline const float *gen_conv_pixel(const gen_conv_image *m, int64_t sample, int64_t y,
                                          int64_t x)
{
    y -= m->pad_top;
    x -= m->pad_left;
    if (y < 0 || y >= m->full_h || x < 0 || x >= m->full_w)
        return NULL;
    if (m->full_h != m->h)
        y = y * m->h / m->full_h;
    if (m->full_w != m->w)
        x = x * m->w / m->full_w;
    return m->x + ((sample * m->h + y) * m->w + x) * m->ld;
}

/* Is this node done by winograd.c?  Follows from shapes and options alone. */
bool gen_winograd_applies(const gen_cpu *cpu, const gen_node *node);
void gen_winograd_measure(const gen_cpu *cpu, const gen_node *node, gen_cpu_needs *needs);
gen_status gen_winograd_prepare(gen_cpu *cpu, gen_cpu_step *step, gen_error *err);
void gen_winograd_run(gen_cpu *cpu, gen_cpu_step *step);

#endif
