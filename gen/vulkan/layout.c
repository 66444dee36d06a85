/* layout.c - ops that only move numbers: concat, upsample, embedding, permute, copy. */
#include "gen/vulkan/loops.h"

/* ---- copies --------------------------------------------------------------------------------- */

static gen_vk_loops copy_of(const gen_tensor *x, const gen_tensor *y)
{
    return (gen_vk_loops){.num_tensors = 2, .tensors = {x, y}, .shader = "copy"};
}

static void encode_copy(gen_vk_compiler *c, const gen_node *n)
{
    const gen_tensor *x = n->inputs[0], *y = n->output;
    gen_vk_loops l = copy_of(x, y);
    gen_vk_add_loop(&l, gen_tensor_rows(y), (const int64_t[]){x->ld, y->ld});
    gen_vk_add_loop(&l, y->dims[y->rank - 1], (const int64_t[]){1, 1});
    gen_vk_encode_loops(c, &l);
}

static void encode_permute(gen_vk_compiler *c, const gen_node *n)
{
    const gen_tensor *x = n->inputs[0], *y = n->output;
    gen_vk_loops l = copy_of(x, y);
    for (int i = 0; i < y->rank; i++)
        gen_vk_add_loop(
            &l, y->dims[i],
            (const int64_t[]){gen_vk_step_of(x, n->p.permute.perm[i]), gen_vk_step_of(y, i)});
    gen_vk_encode_loops(c, &l);
}

static void encode_concat(gen_vk_compiler *c, const gen_node *n)
{
    const gen_tensor *y = n->output;
    const int axis = n->p.concat.axis;
    int64_t start = 0; /* of the part, along the axis */
    for (int k = 0; k < n->num_inputs; k++) {
        const gen_tensor *x = n->inputs[k];
        gen_vk_loops l = copy_of(x, y);
        l.start[1] = start * gen_vk_step_of(y, axis);
        for (int i = 0; i < x->rank; i++)
            gen_vk_add_loop(&l, x->dims[i],
                            (const int64_t[]){gen_vk_step_of(x, i), gen_vk_step_of(y, i)});
        gen_vk_encode_loops(c, &l);
        start += x->dims[axis];
    }
}

/* Along the axis: zeros, what x has, zeros. */
static void encode_window(gen_vk_compiler *c, const gen_node *n)
{
    const gen_tensor *x = n->inputs[0], *y = n->output;
    const int axis = n->p.window.axis;
    const int64_t start = n->p.window.start, want = y->dims[axis];
    const int64_t first = start < 0 ? gen_vk_min(-start, want) : 0;
    int64_t end = gen_vk_min(x->dims[axis] - start, want);
    end = end < first ? first : end;
    const int64_t begins[3] = {0, first, end}, ends[3] = {first, end, want};
    for (int part = 0; part < 3; part++) {
        gen_vk_loops l = copy_of(x, y);
        const bool is_zero = part != 1;
        l.constant = is_zero;
        if (begins[part] == ends[part])
            continue;
        l.start[0] = is_zero ? 0 : (start + first) * gen_vk_step_of(x, axis);
        l.start[1] = begins[part] * gen_vk_step_of(y, axis);
        for (int i = 0; i < y->rank; i++)
            gen_vk_add_loop(
                &l, i == axis ? ends[part] - begins[part] : y->dims[i],
                (const int64_t[]){is_zero ? 0 : gen_vk_step_of(x, i), gen_vk_step_of(y, i)});
        gen_vk_encode_loops(c, &l);
    }
}

/* ---- rotary embedding ----------------------------------------------------------------------- */

typedef struct rope_params { /* as in rope.comp */
    uint32_t count, pairs, tokens, head;
    uint32_t x0, ld_x, t0, ld_t, y0, ld_y;
    uint32_t first_row;
} rope_params;

static void encode_rope(gen_vk_compiler *c, const gen_node *n)
{
    const gen_tensor *x = n->inputs[0], *table = n->inputs[1], *y = n->output;
    const int64_t all = gen_tensor_rows(y), pairs = y->dims[2] / 2;
    const int64_t window = gen_vk_min(gen_vk_window_rows(c, x), gen_vk_window_rows(c, y));
    for (int64_t row = 0; row < all; row += window) {
        const int64_t rows = gen_vk_min(window, all - row);
        rope_params p = {.count = (uint32_t)(rows * pairs),
                         .pairs = (uint32_t)pairs,
                         .tokens = (uint32_t)x->dims[1],
                         .head = (uint32_t)table->dims[1],
                         .ld_x = (uint32_t)x->ld,
                         .ld_t = (uint32_t)table->ld,
                         .ld_y = (uint32_t)y->ld,
                         .first_row = (uint32_t)row};
        gen_vk_dispatch *d = gen_vk_dispatch_new(c, "rope");
        p.x0 = gen_vk_bind_rows(c, d, x, row, rows, GEN_VK_READ);
        p.t0 = gen_vk_bind_rows(c, d, table, 0, table->dims[0], GEN_VK_READ);
        p.y0 = gen_vk_bind_rows(c, d, y, row, rows, GEN_VK_WRITE);
        gen_vk_push(d, &p, sizeof p);
        gen_vk_groups_for(c, d, p.count, 256);
    }
}

/* ---- upsample ------------------------------------------------------------------------------- */

typedef struct upsample_params { /* as in upsample.comp */
    uint32_t count, channels, in_h, in_w, out_h, out_w;
    uint32_t x0, ld_x, y0, ld_y;
    uint32_t first_row, first_in;
} upsample_params;

/* The input row, counted over all images, behind output row `row`. */
static int64_t source_row(const gen_tensor *x, const gen_tensor *y, int64_t row)
{
    return row / y->dims[1] * x->dims[1] + row % y->dims[1] * x->dims[1] / y->dims[1];
}

static void encode_upsample(gen_vk_compiler *c, const gen_node *n)
{
    const gen_tensor *x = n->inputs[0], *y = n->output;
    const int64_t all = y->dims[0] * y->dims[1];
    int64_t window = gen_vk_window_rows(c, y) / y->dims[2]; /* image rows; so many of x at most */
    const int64_t window_x = gen_vk_window_rows(c, x) / x->dims[2];
    if (window_x < window || y->dims[1] < x->dims[1])
        window = gen_vk_min(window, (window_x - 1) * y->dims[1] / x->dims[1]);
    window = window < 1 ? 1 : window;
    for (int64_t row = 0; row < all; row += window) {
        const int64_t rows = gen_vk_min(window, all - row);
        const int64_t first = source_row(x, y, row), last = source_row(x, y, row + rows - 1);
        upsample_params p = {.count = (uint32_t)(rows * y->dims[2] * y->dims[3]),
                             .channels = (uint32_t)y->dims[3],
                             .in_h = (uint32_t)x->dims[1],
                             .in_w = (uint32_t)x->dims[2],
                             .out_h = (uint32_t)y->dims[1],
                             .out_w = (uint32_t)y->dims[2],
                             .ld_x = (uint32_t)x->ld,
                             .ld_y = (uint32_t)y->ld,
                             .first_row = (uint32_t)row,
                             .first_in = (uint32_t)first};
        gen_vk_dispatch *d = gen_vk_dispatch_new(c, "upsample");
        p.x0 = gen_vk_bind_rows(c, d, x, first * x->dims[2], (last + 1 - first) * x->dims[2],
                                GEN_VK_READ);
        p.y0 = gen_vk_bind_rows(c, d, y, row * y->dims[2], rows * y->dims[2], GEN_VK_WRITE);
        gen_vk_push(d, &p, sizeof p);
        gen_vk_groups_for(c, d, p.count, 256);
    }
}

/* ---- embedding ------------------------------------------------------------------------------ */

/* Tables stay on the host, where the few rows are gathered when the ids are given (backend.c); the
 * node is their transfer. */
static void encode_embedding(gen_vk_compiler *c, const gen_node *n)
{
    gen_vk_copy_tensor(c, n->output, false);
}

static bool supports_embedding(const gen_node *n)
{
    return gen_tensor_owner(n->inputs[0], NULL)->kind == GEN_KIND_INPUT &&
           gen_tensor_is_dense(n->inputs[0]) && n->inputs[1]->kind == GEN_KIND_WEIGHT;
}

const gen_vk_op gen_vk_copy = {.encode = encode_copy};
const gen_vk_op gen_vk_window = {.encode = encode_window};
static gen_vk_form rope_form(const gen_node *node, int i)
{
    (void)node;
    return i == 1 ? GEN_VK_F32 : GEN_VK_ACTIVATION;
}

const gen_vk_op gen_vk_rope = {.form = rope_form, .encode = encode_rope};
const gen_vk_op gen_vk_concat = {.encode = encode_concat};
const gen_vk_op gen_vk_permute = {.encode = encode_permute};
const gen_vk_op gen_vk_upsample = {.encode = encode_upsample};
const gen_vk_op gen_vk_embedding = {.supports = supports_embedding, .encode = encode_embedding};
