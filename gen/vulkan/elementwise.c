/* elementwise.c - unary, affine, glu and binary with broadcasting. */
#include "gen/vulkan/loops.h"

enum { WORKGROUP = 256 };

/* ---- one input ------------------------------------------------------------------------------ */

typedef struct map_params { /* as in map.comp */
    uint32_t count, cols;
    uint32_t x0, ld_x, y0, ld_y;
    float a, b;
} map_params;

/* A matrix as a shader sees it: tensors that are dense are one row of all elements. */
typedef struct matrix {
    int64_t rows, cols, ld;
} matrix;

static void encode_map_part(gen_vk_compiler *c, const gen_node *n, matrix x, matrix y, int64_t at,
                            int64_t count)
{
    const bool is_one_row = y.rows == 1;
    map_params p = {.count = (uint32_t)(is_one_row ? count : count * y.cols),
                    .cols = (uint32_t)y.cols,
                    .ld_x = (uint32_t)x.ld,
                    .ld_y = (uint32_t)y.ld};
    gen_vk_dispatch *d = gen_vk_dispatch_new(c, "map");
    gen_vk_constant(d, n->op == GEN_OP_UNARY ? 0 : n->op == GEN_OP_AFFINE ? 1 : 2);
    gen_vk_constant(d, n->op == GEN_OP_AFFINE ? GEN_ACT_NONE : n->p.unary.act);
    if (n->op == GEN_OP_AFFINE) {
        p.a = n->p.affine.a;
        p.b = n->p.affine.b;
    }
    const int64_t x_start = is_one_row ? at : at * x.ld, y_start = is_one_row ? at : at * y.ld;
    const int64_t x_count = is_one_row ? x.cols - y.cols + count : (count - 1) * x.ld + x.cols;
    const int64_t y_count = is_one_row ? count : (count - 1) * y.ld + y.cols;
    p.x0 = gen_vk_bind(c, d, n->inputs[0], x_start, x_count, GEN_VK_READ);
    p.y0 = gen_vk_bind(c, d, n->output, y_start, y_count, GEN_VK_WRITE);
    gen_vk_push(d, &p, sizeof p);
    gen_vk_groups_for(c, d, p.count, WORKGROUP);
}

static void encode_map(gen_vk_compiler *c, const gen_node *n)
{
    const gen_tensor *in = n->inputs[0], *out = n->output;
    matrix x = {gen_tensor_rows(in), in->dims[in->rank - 1], in->ld};
    matrix y = {gen_tensor_rows(out), out->dims[out->rank - 1], out->ld};
    int64_t window = gen_vk_min(gen_vk_window_rows(c, in), gen_vk_window_rows(c, out));
    if (n->op != GEN_OP_GLU && gen_tensor_is_dense(in) && gen_tensor_is_dense(out)) {
        const int64_t all = gen_tensor_elements(out);
        x = y = (matrix){1, all, all};
        window = gen_vk_window_elements(c);
    } else if (y.rows == 1) {
        window = y.cols;
    }
    const int64_t all = y.rows == 1 ? y.cols : y.rows;
    for (int64_t at = 0; at < all; at += window)
        encode_map_part(c, n, x, y, at, gen_vk_min(window, all - at));
}

/* ---- two inputs ----------------------------------------------------------------------------- */

/* As gen_vk_step_of() for a dimension counted from the end, 0 where t is repeated. */
static int64_t step_from_end(const gen_tensor *t, int from_end)
{
    const int dim = t->rank - 1 - from_end;
    return dim < 0 || t->dims[dim] == 1 ? 0 : gen_vk_step_of(t, dim);
}

static void encode_binary(gen_vk_compiler *c, const gen_node *n)
{
    gen_vk_loops l = {.num_tensors = 3,
                      .tensors = {n->inputs[0], n->inputs[1], n->output},
                      .shader = "binary",
                      .constant = n->p.binary.op};
    const int rank = n->output->rank;
    for (int i = rank - 1; i >= 0; i--) {
        int64_t step[3];
        for (int k = 0; k < 3; k++)
            step[k] = step_from_end(l.tensors[k], i);
        gen_vk_add_loop(&l, n->output->dims[rank - 1 - i], step);
    }
    gen_vk_encode_loops(c, &l);
}

static bool supports_binary(const gen_node *node)
{
    const gen_tensor *a = node->inputs[0], *y = node->output;
    if (node->epilogue.act || node->epilogue.post_act || node->epilogue.residual ||
        a->rank != y->rank)
        return false;
    for (int i = 0; i < y->rank; i++)
        if (a->dims[i] != y->dims[i])
            return false;
    return true;
}

const gen_vk_op gen_vk_unary = {.encode = encode_map};
const gen_vk_op gen_vk_affine = {.encode = encode_map};
const gen_vk_op gen_vk_glu = {.encode = encode_map};
const gen_vk_op gen_vk_binary = {.supports = supports_binary, .encode = encode_binary};
