/* wkv.c - the bidirectional WKV operator (GEN_OP_WKV): segments alone, joined, and mixed. */
#include "gen/vulkan/compile.h"

typedef struct shape {
    int64_t samples, tokens, channels, segment_tokens, segments;
} shape;

static shape shape_of(const gen_node *node)
{
    const gen_tensor *k = node->inputs[2];
    shape s = {.samples = k->dims[0], .tokens = k->dims[1], .channels = k->dims[2]};
    s.segment_tokens = gen_vk_divide_up(s.tokens, GEN_WKV_SEGMENTS);
    s.segments = gen_vk_divide_up(s.tokens, s.segment_tokens);
    return s;
}

/* Numbers of the sums of segments, and of those right of all tokens. */
static int64_t states_count(const shape *s)
{
    return s->samples * s->segments * 6 * s->channels;
}

static int64_t right_count(const shape *s)
{
    return s->samples * s->tokens * 3 * s->channels;
}

typedef struct wkv_params { /* as in wkv.comp */
    uint32_t count, channels, tokens, segments, segment_tokens;
    uint32_t w0, u0, k0, ld_k, v0, ld_v, y0, ld_y;
    uint32_t right0;
} wkv_params;

typedef struct scan_params { /* as in wkv_scan.comp */
    uint32_t count, channels, tokens, segments, segment_tokens;
    uint32_t w0, k0, ld_k, v0, ld_v;
} scan_params;

typedef struct join_params { /* as in wkv_join.comp */
    uint32_t count, channels, tokens, segments, segment_tokens, w0;
} join_params;

static uint32_t bind_vector(gen_vk_compiler *c, gen_vk_dispatch *d, const gen_tensor *t)
{
    return gen_vk_bind(c, d, t, 0, gen_tensor_elements(t), GEN_VK_READ);
}

static void encode_scan(gen_vk_compiler *c, const gen_node *n, const shape *s, int64_t row,
                        VkDeviceSize scratch)
{
    const gen_tensor *k = n->inputs[2], *v = n->inputs[3];
    const int64_t rows = s->samples * s->tokens;
    scan_params p = {.count = (uint32_t)(s->samples * s->segments * 2 * s->channels),
                     .channels = (uint32_t)s->channels,
                     .tokens = (uint32_t)s->tokens,
                     .segments = (uint32_t)s->segments,
                     .segment_tokens = (uint32_t)s->segment_tokens,
                     .ld_k = (uint32_t)k->ld,
                     .ld_v = (uint32_t)v->ld};
    gen_vk_dispatch *d = gen_vk_dispatch_new(c, "wkv_scan");
    p.w0 = bind_vector(c, d, n->inputs[0]);
    p.k0 = gen_vk_bind_rows(c, d, k, row, rows, GEN_VK_READ);
    p.v0 = gen_vk_bind_rows(c, d, v, row, rows, GEN_VK_READ);
    gen_vk_bind_scratch(c, d, scratch, (VkDeviceSize)states_count(s) * sizeof(float), GEN_VK_WRITE);
    gen_vk_push(d, &p, sizeof p);
    gen_vk_groups_for(c, d, p.count, 64);
}

static void encode_join(gen_vk_compiler *c, const gen_node *n, const shape *s, VkDeviceSize scratch)
{
    join_params p = {.count = (uint32_t)(s->samples * 2 * s->channels),
                     .channels = (uint32_t)s->channels,
                     .tokens = (uint32_t)s->tokens,
                     .segments = (uint32_t)s->segments,
                     .segment_tokens = (uint32_t)s->segment_tokens};
    gen_vk_dispatch *d = gen_vk_dispatch_new(c, "wkv_join");
    p.w0 = bind_vector(c, d, n->inputs[0]);
    gen_vk_bind_scratch(c, d, scratch, (VkDeviceSize)states_count(s) * sizeof(float), GEN_VK_WRITE);
    gen_vk_push(d, &p, sizeof p);
    gen_vk_groups_for(c, d, p.count, 64);
}

static void encode_mix(gen_vk_compiler *c, const gen_node *n, const shape *s, int64_t row,
                       VkDeviceSize scratch)
{
    const gen_tensor *k = n->inputs[2], *v = n->inputs[3], *y = n->output;
    const int64_t rows = s->samples * s->tokens;
    wkv_params p = {.count = (uint32_t)(s->samples * s->segments * s->channels),
                    .channels = (uint32_t)s->channels,
                    .tokens = (uint32_t)s->tokens,
                    .segments = (uint32_t)s->segments,
                    .segment_tokens = (uint32_t)s->segment_tokens,
                    .ld_k = (uint32_t)k->ld,
                    .ld_v = (uint32_t)v->ld,
                    .ld_y = (uint32_t)y->ld,
                    .right0 = (uint32_t)states_count(s)};
    gen_vk_dispatch *d = gen_vk_dispatch_new(c, "wkv");
    gen_vk_constant(d, n->p.wkv.form == GEN_WKV_SEGMENTED);
    p.w0 = bind_vector(c, d, n->inputs[0]);
    p.u0 = bind_vector(c, d, n->inputs[1]);
    p.k0 = gen_vk_bind_rows(c, d, k, row, rows, GEN_VK_READ);
    p.v0 = gen_vk_bind_rows(c, d, v, row, rows, GEN_VK_READ);
    gen_vk_bind_scratch(c, d, scratch,
                        (VkDeviceSize)(states_count(s) + right_count(s)) * sizeof(float),
                        GEN_VK_WRITE);
    p.y0 = gen_vk_bind_rows(c, d, y, row, rows, GEN_VK_WRITE);
    gen_vk_push(d, &p, sizeof p);
    gen_vk_groups_for(c, d, p.count, 64);
}

static void encode(gen_vk_compiler *c, const gen_node *n)
{
    shape s = shape_of(n);
    const int64_t all = s.samples;
    const int64_t room = gen_vk_window_elements(c);
    gen_vk_check_loops(c, 2 * s.segment_tokens + 2);
    if (states_count(&s) + right_count(&s) > room ||
        all * s.tokens >
            gen_vk_min(gen_vk_window_rows(c, n->inputs[2]), gen_vk_window_rows(c, n->inputs[3])))
        s.samples = 1;
    const VkDeviceSize size = (VkDeviceSize)(states_count(&s) + right_count(&s)) * sizeof(float);
    for (int64_t sample = 0; sample < all; sample += s.samples) {
        const VkDeviceSize scratch = gen_vk_take_scratch(c, size);
        encode_scan(c, n, &s, sample * s.tokens, scratch);
        encode_join(c, n, &s, scratch);
        encode_mix(c, n, &s, sample * s.tokens, scratch);
    }
}

static size_t scratch(const gen_node *node)
{
    const shape s = shape_of(node);
    return (size_t)(states_count(&s) + right_count(&s)) * sizeof(float);
}

static gen_vk_form form(const gen_node *node, int i)
{
    (void)node;
    return i < 2 ? GEN_VK_F32 : GEN_VK_ACTIVATION;
}

const gen_vk_op gen_vk_wkv = {.form = form, .scratch = scratch, .encode = encode};
