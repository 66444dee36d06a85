/* conv2d.c - convolutions (GEN_OP_CONV2D) as matrix products that collect pixels on the fly. */
#include "gen/vulkan/product.h"

typedef struct conv2d_params { /* as in conv2d.comp */
    uint32_t rows, cols, depth;
    uint32_t x0, ld_x, w0, b0, r0, ld_r, y0, ld_y;
    uint32_t channels, kernel_w, stride;
    int32_t pad_top, pad_left;
    uint32_t in_h, in_w, up_h, up_w, out_h, out_w;
    uint32_t first_row, first_in, begin, end;
} conv2d_params;

typedef struct conv_shape {
    int64_t in_h, in_w, ci, up_h, up_w, out_h, out_w, co, kh, kw, stride, pad_top;
} conv_shape;

static conv_shape shape_of(const gen_node *node)
{
    const gen_tensor *x = node->inputs[0], *w = node->inputs[1], *y = node->output;
    const gen_conv2d_params *o = &node->p.conv2d;
    return (conv_shape){.in_h = x->dims[1],
                        .in_w = x->dims[2],
                        .ci = x->dims[3],
                        .up_h = o->upsample_h ? o->upsample_h : x->dims[1],
                        .up_w = o->upsample_w ? o->upsample_w : x->dims[2],
                        .out_h = y->dims[1],
                        .out_w = y->dims[2],
                        .co = y->dims[3],
                        .kh = w->rank > 2 ? w->dims[2] : 1,
                        .kw = w->rank > 3 ? w->dims[3] : 1,
                        .stride = o->stride ? o->stride : 1,
                        .pad_top = o->pad_top};
}

/* The rows of x, counted over all images, that image rows row..row+rows of y read. */
static void source_rows(const conv_shape *s, int64_t row, int64_t rows, int64_t *first,
                        int64_t *end)
{
    const int64_t last = row + rows - 1;
    int64_t top = row % s->out_h * s->stride - s->pad_top;
    int64_t bottom = last % s->out_h * s->stride - s->pad_top + s->kh - 1;
    top = top < 0 ? 0 : gen_vk_min(top, s->up_h - 1);
    bottom = bottom < 0 ? 0 : gen_vk_min(bottom, s->up_h - 1);
    *first = row / s->out_h * s->in_h + top * s->in_h / s->up_h;
    *end = last / s->out_h * s->in_h + bottom * s->in_h / s->up_h + 1;
    if (*end <= *first) /* rows between two images: all padding */
        *end = *first + 1;
}

/* Rows of the part are whole image rows. */
static void encode_part(gen_vk_compiler *c, const gen_node *node, gen_vk_tile tile,
                        const gen_vk_part *part)
{
    const gen_tensor *x = node->inputs[0], *w = node->inputs[1], *y = node->output;
    const conv_shape s = shape_of(node);
    const int64_t depth = s.kh * s.kw * s.ci, row = part->row / s.out_w;
    int64_t first, end;
    source_rows(&s, row, part->rows / s.out_w, &first, &end);
    conv2d_params p = {.rows = (uint32_t)part->rows,
                       .cols = (uint32_t)part->cols,
                       .depth = (uint32_t)depth,
                       .ld_x = (uint32_t)x->ld,
                       .ld_y = (uint32_t)y->ld,
                       .channels = (uint32_t)s.ci,
                       .kernel_w = (uint32_t)s.kw,
                       .stride = (uint32_t)s.stride,
                       .pad_top = node->p.conv2d.pad_top,
                       .pad_left = node->p.conv2d.pad_left,
                       .in_h = (uint32_t)s.in_h,
                       .in_w = (uint32_t)s.in_w,
                       .up_h = (uint32_t)s.up_h,
                       .up_w = (uint32_t)s.up_w,
                       .out_h = (uint32_t)s.out_h,
                       .out_w = (uint32_t)s.out_w,
                       .first_row = (uint32_t)row,
                       .first_in = (uint32_t)first,
                       .begin = (uint32_t)part->begin,
                       .end = (uint32_t)part->end};
    gen_vk_dispatch *d = gen_vk_dispatch_new(c, tile.has_matrices ? "conv2d_coop" : "conv2d");
    gen_vk_product_constants(c->vk, d, node, tile);
    gen_vk_constant(d, node->p.conv2d.upsample_h != 0);
    p.x0 = gen_vk_bind_rows(c, d, x, first * s.in_w, (end - first) * s.in_w, GEN_VK_READ);
    p.w0 = gen_vk_bind(c, d, w, part->col * depth, part->cols * depth, GEN_VK_READ);
    const gen_vk_epilogue_params e = gen_vk_bind_epilogue(c, d, node, part);
    p.b0 = e.b0;
    p.r0 = e.r0;
    p.ld_r = e.ld_r;
    p.y0 = gen_vk_bind_rows(c, d, y, part->row, part->rows, GEN_VK_WRITE) + (uint32_t)part->col;
    gen_vk_push(d, &p, sizeof p);
    gen_vk_groups(c, d, gen_vk_divide_up(part->cols, tile.bn),
                  gen_vk_divide_up(part->rows, tile.bm), 1);
}

/* Image rows of y in one dispatch: what it reads and writes fits, and it takes little time. */
static int64_t window_of(gen_vk_compiler *c, const gen_node *node, gen_vk_tile tile)
{
    const conv_shape s = shape_of(node);
    const int64_t room_y = gen_vk_product_rows(c, node) / s.out_w;
    const int64_t room_x = gen_vk_window_rows(c, node->inputs[0]) / s.in_w;
    const int64_t unit = gen_vk_divide_up(tile.bm, s.out_w) * s.out_w;
    int64_t rows = gen_vk_min(room_y, gen_vk_rows_in_time(c, node, unit) / s.out_w);
    rows = gen_vk_min(rows, (int64_t)GEN_VK_MAX_GROUPS * tile.bm / s.out_w);
    if (room_x < gen_tensor_rows(node->inputs[0]) / s.in_w) /* kernel and rounding at both ends */
        rows = gen_vk_min(rows, (room_x - s.kh - 2) * s.up_h / (s.in_h * s.stride));
    return rows < 1 ? 1 : rows;
}

static void encode(gen_vk_compiler *c, const gen_node *node)
{
    const conv_shape s = shape_of(node);
    const int64_t depth = s.kh * s.kw * s.ci;
    const gen_vk_tile tile = gen_vk_choose_tile(c->vk, node, depth);
    gen_vk_encode_parts(c, node, tile, depth, window_of(c, node, tile) * s.out_w, 2, encode_part);
}

static gen_vk_form form(const gen_node *node, int i)
{
    return i == 1 ? GEN_VK_CONV : gen_vk_linear_form(node, i);
}

const gen_vk_op gen_vk_conv2d = {
    .supports = gen_vk_product_supports, .form = form, .encode = encode};
