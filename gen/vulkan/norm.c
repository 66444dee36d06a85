/* norm.c - group norm, layer norm, RMS norm.
 *
 * Group norm is three dispatches: statistics of blocks of positions, merged in order, applied. */
#include "gen/vulkan/compile.h"

/* A dispatch of a shader that sums over its workgroups, in the form the device can do. */
static gen_vk_dispatch *new_reduction(gen_vk_compiler *c, const char *shader, const char *lanes)
{
    return gen_vk_dispatch_new(c, c->vk->uses_lanes ? lanes : shader);
}

static uint32_t bind_optional(gen_vk_compiler *c, gen_vk_dispatch *d, const gen_node *n, int i)
{
    if (n->num_inputs > i)
        return gen_vk_bind(c, d, n->inputs[i], 0, gen_tensor_elements(n->inputs[i]), GEN_VK_READ);
    gen_vk_bind_nothing(d);
    return 0;
}

/* ---- groups --------------------------------------------------------------------------------- */

typedef struct group_norm_shape {
    int64_t samples, positions, channels, groups, width, blocks, block_rows;
} group_norm_shape;

/* At most 256 blocks of a sample, of 64 positions at least where `room` positions fit a binding. */
static group_norm_shape shape_of(const gen_node *n, int64_t room)
{
    const gen_tensor *x = n->inputs[0];
    group_norm_shape s = {.samples = x->dims[0],
                          .positions = gen_tensor_rows(x) / x->dims[0],
                          .channels = x->dims[x->rank - 1],
                          .groups = n->p.norm.groups};
    s.width = s.channels / s.groups;
    s.block_rows = gen_vk_divide_up(s.positions, 256);
    s.block_rows = gen_vk_min(s.block_rows < 64 ? 64 : s.block_rows, room);
    s.blocks = gen_vk_divide_up(s.positions, s.block_rows);
    return s;
}

static VkDeviceSize stats_size(const group_norm_shape *s)
{
    return (VkDeviceSize)(s->samples * s->blocks * s->groups * 3) * sizeof(float);
}

static VkDeviceSize merged_size(const group_norm_shape *s)
{
    return (VkDeviceSize)(s->samples * s->groups * 3) * sizeof(float);
}

static size_t group_norm_scratch(const gen_node *n)
{
    const group_norm_shape s = shape_of(n, INT64_MAX);
    return stats_size(&s) + merged_size(&s) + GEN_VK_ALIGNMENT;
}

typedef struct stats_params { /* as in group_norm_stats.comp */
    uint32_t positions, width, groups, blocks, block_rows;
    uint32_t x0, ld_x;
    uint32_t first_block, first_sample;
} stats_params;

/* Blocks of one sample, or all blocks of several. */
static void encode_stats(gen_vk_compiler *c, const gen_node *n, const group_norm_shape *s,
                         VkDeviceSize stats, int64_t first_sample, int64_t samples,
                         int64_t first_block, int64_t blocks)
{
    const gen_tensor *x = n->inputs[0];
    stats_params p = {.positions = (uint32_t)s->positions,
                      .width = (uint32_t)s->width,
                      .groups = (uint32_t)s->groups,
                      .blocks = (uint32_t)s->blocks,
                      .block_rows = (uint32_t)s->block_rows,
                      .ld_x = (uint32_t)x->ld,
                      .first_block = (uint32_t)first_block,
                      .first_sample = (uint32_t)first_sample};
    const int64_t start = first_block * s->block_rows;
    const int64_t end = gen_vk_min(start + blocks * s->block_rows, s->positions);
    const int64_t rows = (samples - 1) * s->positions + end - start;
    gen_vk_dispatch *d = new_reduction(c, "group_norm_stats", "group_norm_stats_lanes");
    p.x0 = gen_vk_bind_rows(c, d, x, first_sample * s->positions + start, rows, GEN_VK_READ);
    gen_vk_bind_scratch(c, d, stats, stats_size(s), GEN_VK_WRITE);
    gen_vk_push(d, &p, sizeof p);
    gen_vk_groups(c, d, blocks, s->groups, samples);
}

static void encode_all_stats(gen_vk_compiler *c, const gen_node *n, const group_norm_shape *s,
                             VkDeviceSize stats)
{
    const int64_t window = gen_vk_window_rows(c, n->inputs[0]);
    gen_vk_check_loops(c, 3 * (s->block_rows * s->width / 64 + 10));
    if (window >= s->samples * s->positions) {
        encode_stats(c, n, s, stats, 0, s->samples, 0, s->blocks);
        return;
    }
    const int64_t blocks = window < s->block_rows ? 1 : window / s->block_rows;
    for (int64_t sample = 0; sample < s->samples; sample++)
        for (int64_t b = 0; b < s->blocks; b += blocks)
            encode_stats(c, n, s, stats, sample, 1, b, gen_vk_min(blocks, s->blocks - b));
}

typedef struct merge_params { /* as in group_norm_merge.comp */
    uint32_t count, positions, width, groups, blocks, block_rows;
    float eps;
} merge_params;

static void encode_merge(gen_vk_compiler *c, const gen_node *n, const group_norm_shape *s,
                         VkDeviceSize stats, VkDeviceSize merged)
{
    const merge_params p = {.count = (uint32_t)(s->samples * s->groups),
                            .positions = (uint32_t)s->positions,
                            .width = (uint32_t)s->width,
                            .groups = (uint32_t)s->groups,
                            .blocks = (uint32_t)s->blocks,
                            .block_rows = (uint32_t)s->block_rows,
                            .eps = n->p.norm.eps};
    gen_vk_dispatch *d = gen_vk_dispatch_new(c, "group_norm_merge");
    gen_vk_bind_scratch(c, d, stats, stats_size(s), GEN_VK_READ);
    gen_vk_bind_scratch(c, d, merged, merged_size(s), GEN_VK_WRITE);
    gen_vk_push(d, &p, sizeof p);
    gen_vk_groups(c, d, gen_vk_divide_up(p.count, 64), 1, 1);
}

typedef struct group_norm_params { /* as in group_norm.comp */
    uint32_t count, channels, positions, width, groups, first_row;
    uint32_t x0, ld_x, w0, b0, y0, ld_y;
} group_norm_params;

static void encode_apply(gen_vk_compiler *c, const gen_node *n, const group_norm_shape *s,
                         VkDeviceSize merged, int64_t row, int64_t rows)
{
    const gen_tensor *x = n->inputs[0], *y = n->output;
    group_norm_params p = {.count = (uint32_t)(rows * s->channels),
                           .channels = (uint32_t)s->channels,
                           .positions = (uint32_t)s->positions,
                           .width = (uint32_t)s->width,
                           .groups = (uint32_t)s->groups,
                           .first_row = (uint32_t)row,
                           .ld_x = (uint32_t)x->ld,
                           .ld_y = (uint32_t)y->ld};
    gen_vk_dispatch *d = gen_vk_dispatch_new(c, "group_norm");
    gen_vk_constant(d, n->num_inputs > 1);
    gen_vk_constant(d, n->num_inputs > 2);
    gen_vk_constant(d, n->epilogue.act);
    p.x0 = gen_vk_bind_rows(c, d, x, row, rows, GEN_VK_READ);
    p.w0 = bind_optional(c, d, n, 1);
    p.b0 = bind_optional(c, d, n, 2);
    gen_vk_bind_scratch(c, d, merged, merged_size(s), GEN_VK_READ);
    p.y0 = gen_vk_bind_rows(c, d, y, row, rows, GEN_VK_WRITE);
    gen_vk_push(d, &p, sizeof p);
    gen_vk_groups_for(c, d, p.count, 256);
}

static void encode_group_norm(gen_vk_compiler *c, const gen_node *n)
{
    const group_norm_shape s = shape_of(n, gen_vk_window_rows(c, n->inputs[0]));
    const VkDeviceSize stats = gen_vk_take_scratch(c, stats_size(&s));
    const VkDeviceSize merged = gen_vk_take_scratch(c, merged_size(&s));
    const int64_t all = s.samples * s.positions;
    const int64_t window =
        gen_vk_min(gen_vk_window_rows(c, n->inputs[0]), gen_vk_window_rows(c, n->output));
    encode_all_stats(c, n, &s, stats);
    encode_merge(c, n, &s, stats, merged);
    for (int64_t row = 0; row < all; row += window)
        encode_apply(c, n, &s, merged, row, gen_vk_min(window, all - row));
}

/* ---- rows ----------------------------------------------------------------------------------- */

typedef struct row_norm_params { /* as in row_norm.comp */
    uint32_t rows, cols;
    uint32_t x0, ld_x, w0, b0, y0, ld_y;
    float eps;
} row_norm_params;

static void encode_row_norm(gen_vk_compiler *c, const gen_node *n)
{
    const gen_tensor *x = n->inputs[0], *y = n->output;
    const int64_t all = gen_tensor_rows(y), cols = y->dims[y->rank - 1];
    const int64_t window = gen_vk_min(gen_vk_window_rows(c, x), gen_vk_window_rows(c, y));
    gen_vk_check_loops(c, 4 * (cols / 64 + 10));
    for (int64_t row = 0; row < all; row += window) {
        const int64_t rows = gen_vk_min(window, all - row);
        row_norm_params p = {.rows = (uint32_t)rows,
                             .cols = (uint32_t)cols,
                             .ld_x = (uint32_t)x->ld,
                             .ld_y = (uint32_t)y->ld,
                             .eps = n->p.norm.eps};
        gen_vk_dispatch *d = new_reduction(c, "row_norm", "row_norm_lanes");
        gen_vk_constant(d, n->op == GEN_OP_RMS_NORM);
        gen_vk_constant(d, n->num_inputs > 1);
        gen_vk_constant(d, n->num_inputs > 2);
        gen_vk_constant(d, n->epilogue.act);
        p.x0 = gen_vk_bind_rows(c, d, x, row, rows, GEN_VK_READ);
        p.w0 = bind_optional(c, d, n, 1);
        p.b0 = bind_optional(c, d, n, 2);
        p.y0 = gen_vk_bind_rows(c, d, y, row, rows, GEN_VK_WRITE);
        gen_vk_push(d, &p, sizeof p);
        gen_vk_groups_for(c, d, rows, 1);
    }
}

static gen_vk_form norm_form(const gen_node *node, int i)
{
    (void)node;
    return i == 0 ? GEN_VK_ACTIVATION : GEN_VK_F32;
}

static bool supports_norm(const gen_node *node)
{
    return node->epilogue.post_act == GEN_ACT_NONE && !node->epilogue.residual;
}

const gen_vk_op gen_vk_group_norm = {.supports = supports_norm,
                                     .form = norm_form,
                                     .scratch = group_norm_scratch,
                                     .encode = encode_group_norm};
const gen_vk_op gen_vk_layer_norm = {
    .supports = supports_norm, .form = norm_form, .encode = encode_row_norm};
const gen_vk_op gen_vk_rms_norm = {
    .supports = supports_norm, .form = norm_form, .encode = encode_row_norm};
