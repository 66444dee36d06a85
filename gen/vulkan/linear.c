/* linear.c - matrix products (GEN_OP_LINEAR), and what convolutions share with them. */
#include "gen/vulkan/product.h"

/* ---- shared --------------------------------------------------------------------------------- */

gen_vk_tile gen_vk_choose_tile(const gen_vulkan *vk, const gen_node *node, int64_t depth)
{
    static const gen_vk_tile medium = {64, 64, 16, 4, 4, false}, small = {32, 32, 16, 4, 4, false};
    const int64_t rows = gen_tensor_rows(node->output);
    const int64_t cols = node->output->dims[node->output->rank - 1];
    if (gen_vk_suits_matrices(vk, node, depth)) {
        const uint32_t each = 64 * 64 / (uint32_t)gen_vk_matrix_threads(vk);
        return (gen_vk_tile){64, 64, 32, 8, each / 8, true};
    }
    const int64_t tiles = gen_vk_divide_up(rows, medium.bm) * gen_vk_divide_up(cols, medium.bn);
    return tiles < 16 ? small : medium;
}

static void epilogue_constants(gen_vk_dispatch *d, const gen_node *node)
{
    const gen_epilogue *e = &node->epilogue;
    const gen_tensor *w = gen_tensor_owner(node->inputs[1], NULL);
    gen_vk_constant(d, gen_vk_form_dtype(w->weight, GEN_VK_STORED));
    gen_vk_constant(d, gen_vk_bias(node) != NULL);
    gen_vk_constant(d, e->act);
    gen_vk_constant(d, !e->residual ? 0 : e->residual_broadcasts ? 2 : 1);
    gen_vk_constant(d, e->post_act);
}

void gen_vk_product_constants(const gen_vulkan *vk, gen_vk_dispatch *d, const gen_node *node,
                              gen_vk_tile tile)
{
    if (tile.has_matrices) {
        gen_vk_matrix_constants(vk, d);
        epilogue_constants(d, node);
        return;
    }
    gen_vk_constant(d, tile.bm / tile.tm * (tile.bn / tile.tn));
    gen_vk_constant(d, tile.bm);
    gen_vk_constant(d, tile.bn);
    gen_vk_constant(d, tile.bk);
    gen_vk_constant(d, tile.tm);
    gen_vk_constant(d, tile.tn);
    epilogue_constants(d, node);
}

const gen_tensor *gen_vk_bias(const gen_node *node)
{
    const gen_tensor *t = node->num_inputs > 2 ? node->inputs[2] : NULL;
    return t && t != node->epilogue.residual ? t : NULL;
}

gen_vk_epilogue_params gen_vk_bind_epilogue(gen_vk_compiler *c, gen_vk_dispatch *d,
                                            const gen_node *node, const gen_vk_part *part)
{
    gen_vk_epilogue_params p = {0};
    const gen_tensor *bias = gen_vk_bias(node), *r = node->epilogue.residual;
    if (bias)
        p.b0 = gen_vk_bind(c, d, bias, part->col, part->cols, GEN_VK_READ);
    else
        gen_vk_bind_nothing(d);
    if (!r) {
        gen_vk_bind_nothing(d);
        return p;
    }
    p.ld_r = (uint32_t)r->ld;
    if (node->epilogue.residual_broadcasts)
        p.r0 = gen_vk_bind_rows(c, d, r, 0, gen_tensor_rows(r), GEN_VK_READ);
    else
        p.r0 = gen_vk_bind_rows(c, d, r, part->row, part->rows, GEN_VK_READ);
    p.r0 += (uint32_t)part->col;
    return p;
}

/* Columns whose weights, `depth` numbers each, fit into one binding, at least 1. */
static int64_t window_cols(const gen_vk_compiler *c, const gen_node *node, int64_t depth)
{
    const int64_t all = node->output->dims[node->output->rank - 1];
    const int64_t room = gen_vk_window_elements(c) / depth;
    return room >= all ? all : room < 1 ? 1 : room;
}

int64_t gen_vk_product_rows(const gen_vk_compiler *c, const gen_node *node)
{
    int64_t rows = gen_vk_window_rows(c, node->output);
    const gen_epilogue *e = &node->epilogue;
    if (e->residual && !e->residual_broadcasts)
        rows = gen_vk_min(rows, gen_vk_window_rows(c, e->residual));
    return rows;
}

void gen_vk_encode_parts(gen_vk_compiler *c, const gen_node *node, gen_vk_tile tile, int64_t depth,
                         int64_t window, int64_t extra, gen_vk_encode_part encode_one)
{
    const int64_t rows = gen_tensor_rows(node->output);
    const int64_t all_cols = node->output->dims[node->output->rank - 1];
    const int64_t cols = window_cols(c, node, depth);
    int64_t offset;
    const gen_weight *weight = gen_tensor_owner(node->inputs[1], &offset)->weight;
    const int64_t piece = gen_vk_piece_rows(c->vk, weight, gen_vk_form_of(node, 1));
    const int64_t above = offset / depth; /* rows of the weight in front of those used here */
    const int64_t threads = tile.bm / tile.tm * (tile.bn / tile.tn);
    const int64_t turn = 4 + (tile.bm + tile.bn) * tile.bk / threads + tile.bk + extra;
    const int64_t step = (GEN_VK_LOOP_LIMIT - 100) / turn * tile.bk;
    if (step < depth && node->output->dtype == GEN_F16)
        gen_vk_compile_fail(c, GEN_ERROR_DEVICE, "a sum too deep to wait in f16");
    for (int64_t row = 0; row < rows; row += window)
        for (int64_t col = 0, next; col < all_cols; col = next) {
            const int64_t border = ((above + col) / piece + 1) * piece - above;
            next = gen_vk_min(gen_vk_min(col + cols, all_cols), border);
            for (int64_t begin = 0; begin < depth; begin += step) {
                const gen_vk_part part = {.row = row,
                                          .rows = gen_vk_min(window, rows - row),
                                          .col = col,
                                          .cols = next - col,
                                          .begin = begin,
                                          .end = gen_vk_min(begin + step, depth)};
                encode_one(c, node, tile, &part);
            }
        }
}

bool gen_vk_product_supports(const gen_node *node)
{
    const gen_tensor *w = gen_tensor_owner(node->inputs[1], NULL);
    return w->kind == GEN_KIND_WEIGHT && gen_tensor_is_dense(node->inputs[1]);
}

gen_vk_form gen_vk_linear_form(const gen_node *node, int i)
{
    if (i == 1)
        return GEN_VK_STORED;
    return node->inputs[i] == gen_vk_bias(node) ? GEN_VK_F32 : GEN_VK_ACTIVATION;
}

int64_t gen_vk_rows_in_time(const gen_vk_compiler *c, const gen_node *node, int64_t unit)
{
    const double all = (double)gen_tensor_rows(node->output);
    const double rows = 0.2 * c->vk->flops_per_second / (gen_node_flops(node) / all);
    if (rows >= all)
        return (int64_t)all;
    return rows < (double)unit ? unit : (int64_t)(rows / (double)unit) * unit;
}

/* ---- linear --------------------------------------------------------------------------------- */

typedef struct linear_params { /* as in linear.comp */
    uint32_t rows, cols, depth;
    uint32_t x0, ld_x, w0, ld_w, b0, r0, ld_r, y0, ld_y;
    uint32_t first_row, sample_rows, begin, end;
} linear_params;

static void encode_part(gen_vk_compiler *c, const gen_node *node, gen_vk_tile tile,
                        const gen_vk_part *part)
{
    const gen_tensor *x = node->inputs[0], *w = node->inputs[1], *y = node->output;
    const int64_t depth = x->dims[x->rank - 1];
    linear_params p = {.rows = (uint32_t)part->rows,
                       .cols = (uint32_t)part->cols,
                       .depth = (uint32_t)depth,
                       .ld_x = (uint32_t)x->ld,
                       .ld_w = (uint32_t)depth,
                       .ld_y = (uint32_t)y->ld,
                       .first_row = (uint32_t)part->row,
                       .sample_rows = (uint32_t)(gen_tensor_rows(y) / y->dims[0]),
                       .begin = (uint32_t)part->begin,
                       .end = (uint32_t)part->end};
    gen_vk_dispatch *d = gen_vk_dispatch_new(c, tile.has_matrices ? "linear_coop" : "linear");
    gen_vk_product_constants(c->vk, d, node, tile);
    p.x0 = gen_vk_bind_rows(c, d, x, part->row, part->rows, GEN_VK_READ);
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

/* ---- few rows ------------------------------------------------------------------------------- */

enum { FEW_ROWS = 8, COLS = 8, LANES = 32 }; /* as in linear_vec.comp */

typedef struct linear_vec_params { /* as in linear_vec.comp */
    uint32_t cols, depth;
    uint32_t x0, ld_x, w0, b0, r0, ld_r, y0, ld_y;
    uint32_t sample_rows;
} linear_vec_params;

static bool has_few_rows(const gen_vk_compiler *c, const gen_node *node)
{
    const gen_tensor *x = node->inputs[0];
    const int64_t rows = gen_tensor_rows(x);
    return rows <= FEW_ROWS && rows <= gen_vk_product_rows(c, node) &&
           rows <= gen_vk_window_rows(c, x) &&
           x->dims[x->rank - 1] / LANES + 2 * LANES < GEN_VK_LOOP_LIMIT;
}

static void encode_few_rows(gen_vk_compiler *c, const gen_node *node)
{
    const gen_tensor *x = node->inputs[0], *w = node->inputs[1], *y = node->output;
    const int64_t rows = gen_tensor_rows(x), depth = x->dims[x->rank - 1];
    const int64_t all = y->dims[y->rank - 1];
    const int64_t step = gen_vk_min(window_cols(c, node, depth), (int64_t)GEN_VK_MAX_GROUPS * COLS);
    for (int64_t col = 0; col < all; col += step) {
        const gen_vk_part part = {.rows = rows, .col = col, .cols = gen_vk_min(step, all - col)};
        linear_vec_params p = {.cols = (uint32_t)part.cols,
                               .depth = (uint32_t)depth,
                               .ld_x = (uint32_t)x->ld,
                               .ld_y = (uint32_t)y->ld,
                               .sample_rows = (uint32_t)(rows / y->dims[0])};
        gen_vk_dispatch *d = gen_vk_dispatch_new(c, "linear_vec");
        gen_vk_constant(d, (uint32_t)rows);
        epilogue_constants(d, node);
        p.x0 = gen_vk_bind_rows(c, d, x, 0, rows, GEN_VK_READ);
        p.w0 = gen_vk_bind(c, d, w, col * depth, part.cols * depth, GEN_VK_READ);
        const gen_vk_epilogue_params e = gen_vk_bind_epilogue(c, d, node, &part);
        p.b0 = e.b0;
        p.r0 = e.r0;
        p.ld_r = e.ld_r;
        p.y0 = gen_vk_bind_rows(c, d, y, 0, rows, GEN_VK_WRITE) + (uint32_t)col;
        gen_vk_push(d, &p, sizeof p);
        gen_vk_groups(c, d, gen_vk_divide_up(part.cols, COLS), 1, 1);
    }
}

static void encode(gen_vk_compiler *c, const gen_node *node)
{
    if (has_few_rows(c, node)) {
        encode_few_rows(c, node);
        return;
    }
    const gen_tensor *x = node->inputs[0];
    const gen_vk_tile tile = gen_vk_choose_tile(c->vk, node, x->dims[x->rank - 1]);
    int64_t window = gen_vk_min(gen_vk_product_rows(c, node), gen_vk_window_rows(c, x));
    window = gen_vk_min(window, gen_vk_rows_in_time(c, node, tile.bm));
    window = gen_vk_min(window, (int64_t)GEN_VK_MAX_GROUPS * tile.bm);
    gen_vk_encode_parts(c, node, tile, x->dims[x->rank - 1], window, 0, encode_part);
}

const gen_vk_op gen_vk_linear = {
    .supports = gen_vk_product_supports, .form = gen_vk_linear_form, .encode = encode};
