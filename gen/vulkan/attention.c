/* attention.c - attention in tiles (GEN_OP_ATTENTION). */
#include "gen/vulkan/product.h"

typedef struct attention_params { /* as in attention.comp */
    uint32_t tq, tk, d, dv, heads;
    uint32_t q0, ld_q, k0, ld_k, v0, ld_v, y0, ld_y;
    uint32_t b0, b_sample, b_head, b_query;
    uint32_t first_sample, first_query, base_key;
    uint32_t begin_key, end_key;
    uint32_t resumes, finishes, queries;
    float scale;
} attention_params;

enum { MAX_HEAD = 512 };

typedef struct attention_tile {
    uint32_t bq, bk, tx, ty, dc;
} attention_tile;

typedef struct shape {
    int64_t n, heads, tq, tk, d, dv;
    attention_tile tile;
    bool has_matrices; /* the tile is 32 x 32 */
    int64_t keys;      /* of one dispatch at most, whole blocks */
} shape;

/* As many sums of values in the registers of an invocation as 64. */
static attention_tile tile_of(int64_t dv)
{
    if (dv <= 80)
        return (attention_tile){32, 32, 8, 8, 16};
    if (dv <= 160)
        return (attention_tile){32, 32, 16, 8, 16};
    return (attention_tile){16, 32, 16, 8, 32};
}

/* Loops of an invocation for one block of keys. */
static int64_t block_cost(const shape *s)
{
    const attention_tile *t = &s->tile;
    const int64_t threads = (int64_t)t->tx * t->ty;
    return gen_vk_divide_up(s->d, t->dc) * (4 + (t->bq + t->bk) * t->dc / threads + t->dc) +
           3 * t->bk + 4;
}

static shape shape_of(const gen_node *node)
{
    const gen_tensor *q = node->inputs[0], *k = node->inputs[1], *v = node->inputs[2];
    shape s = {.n = q->dims[0], .heads = node->p.attention.heads};
    s.tq = q->dims[1];
    s.tk = k->dims[1];
    s.d = q->dims[2] / s.heads;
    s.dv = v->dims[2] / s.heads;
    s.tile = tile_of(s.dv);
    s.keys = (GEN_VK_LOOP_LIMIT - 1000) / block_cost(&s) * s.tile.bk;
    return s;
}

/* Bytes handed on from dispatch to dispatch for `queries` queries of all heads. */
static size_t state_size(const shape *s, int64_t queries)
{
    return (size_t)(s->heads * queries * (2 + s->dv)) * sizeof(float);
}

/* A part of the work: queries of one sample or (samples > 1) all of several, and keys. */
typedef struct part {
    int64_t sample, samples, query, queries, base_key, begin_key, end_key;
    VkDeviceSize state;
    bool resumes, finishes, has_state;
} part;

static void set_bias(gen_vk_compiler *c, gen_vk_dispatch *d, const gen_node *node,
                     attention_params *p)
{
    if (node->num_inputs < 4) {
        gen_vk_bind_nothing(d);
        return;
    }
    const gen_tensor *b = node->inputs[3];
    p->b0 = gen_vk_bind_rows(c, d, b, 0, gen_tensor_rows(b), GEN_VK_READ);
    p->b_query = b->dims[2] == 1 ? 0 : (uint32_t)b->ld;
    p->b_head = b->dims[1] == 1 ? 0 : (uint32_t)(b->dims[2] * b->ld);
    p->b_sample = b->dims[0] == 1 ? 0 : (uint32_t)(b->dims[1] * b->dims[2] * b->ld);
}

static void tile_constants(gen_vk_dispatch *d, const shape *s)
{
    gen_vk_constant(d, s->tile.tx * s->tile.ty);
    gen_vk_constant(d, s->tile.bq);
    gen_vk_constant(d, s->tile.bk);
    gen_vk_constant(d, s->tile.tx);
    gen_vk_constant(d, s->tile.ty);
    gen_vk_constant(d, s->tile.dc);
    gen_vk_constant(d, (uint32_t)gen_vk_divide_up(s->dv, s->tile.tx));
}

static void matrix_constants(const gen_vulkan *vk, gen_vk_dispatch *d, const shape *s)
{
    gen_vk_matrix_constants(vk, d);
    gen_vk_constant(d, (uint32_t)gen_vk_divide_up(s->dv, 32));
    gen_vk_constant(d, (uint32_t)(32 * 32 / gen_vk_matrix_threads(vk)));
}

/* Whether attention goes to matrix units: keys that need no more than one dispatch. */
static bool suits_matrices(const gen_vulkan *vk, const gen_node *node, const shape *s)
{
    for (int i = 0; i < node->num_inputs; i++)
        if (node->inputs[i]->dtype != GEN_F16)
            return false;
    if (!vk->matrix.m || node->output->dtype != GEN_F16 || s->dv > 160 || s->d > 160 ||
        s->tq < 32 || s->tk < 32 || s->keys < s->tk)
        return false;
    const int64_t tile = 4 + 2 * 32 * 32 / gen_vk_matrix_threads(vk) + 32;
    const int64_t block =
        (gen_vk_divide_up(s->d, 32) + gen_vk_divide_up(s->dv, 32)) * tile + 3 * 32 + 4;
    return gen_vk_divide_up(s->tk, 32) * block < GEN_VK_LOOP_LIMIT - 1000;
}

static void encode_part(gen_vk_compiler *c, const gen_node *node, const shape *s, const part *t)
{
    const gen_tensor *q = node->inputs[0], *k = node->inputs[1], *v = node->inputs[2];
    const gen_tensor *y = node->output;
    attention_params p = {.tq = (uint32_t)s->tq,
                          .tk = (uint32_t)s->tk,
                          .d = (uint32_t)s->d,
                          .dv = (uint32_t)s->dv,
                          .heads = (uint32_t)s->heads,
                          .ld_q = (uint32_t)q->ld,
                          .ld_k = (uint32_t)k->ld,
                          .ld_v = (uint32_t)v->ld,
                          .ld_y = (uint32_t)y->ld,
                          .first_sample = (uint32_t)t->sample,
                          .first_query = (uint32_t)t->query,
                          .base_key = (uint32_t)t->base_key,
                          .begin_key = (uint32_t)t->begin_key,
                          .end_key = (uint32_t)t->end_key,
                          .resumes = t->resumes,
                          .finishes = t->finishes,
                          .queries = (uint32_t)t->queries,
                          .scale = node->p.attention.scale * 1.4426950408889634f};
    gen_vk_dispatch *d = gen_vk_dispatch_new(c, s->has_matrices ? "attention_coop" : "attention");
    if (s->has_matrices)
        matrix_constants(c->vk, d, s);
    else
        tile_constants(d, s);
    gen_vk_constant(d, node->num_inputs > 3);
    gen_vk_constant(d, node->p.attention.is_causal);
    const int64_t row = t->sample * s->tq + t->query;
    const int64_t rows = (t->samples - 1) * s->tq + t->queries;
    const int64_t key = t->sample * s->tk + t->base_key;
    const int64_t keys = (t->samples - 1) * s->tk + t->end_key - t->base_key;
    p.q0 = gen_vk_bind_rows(c, d, q, row, rows, GEN_VK_READ);
    p.k0 = gen_vk_bind_rows(c, d, k, key, keys, GEN_VK_READ);
    p.v0 = gen_vk_bind_rows(c, d, v, key, keys, GEN_VK_READ);
    set_bias(c, d, node, &p);
    gen_vk_bind_scratch(c, d, t->state, t->has_state ? state_size(s, t->samples * t->queries) : 4,
                        GEN_VK_WRITE);
    p.y0 = gen_vk_bind_rows(c, d, y, row, rows, GEN_VK_WRITE);
    gen_vk_push(d, &p, sizeof p);
    gen_vk_groups(c, d, gen_vk_divide_up(t->queries, s->tile.bq), s->heads, t->samples);
}

/* All keys for the queries of `t`, `keys` of them in one dispatch. */
static void encode_keys(gen_vk_compiler *c, const gen_node *node, const shape *s, part t,
                        int64_t keys, bool is_windowed)
{
    /* Where nothing is handed on, a few bytes nobody touches stand for the buffer. */
    t.has_state = keys < s->tk;
    t.state = gen_vk_take_scratch(c, t.has_state ? state_size(s, t.samples * t.queries) : 4);
    for (int64_t key = 0; key < s->tk; key += keys) {
        t.begin_key = key;
        t.end_key = gen_vk_min(key + keys, s->tk);
        t.base_key = is_windowed ? key : 0;
        t.resumes = key > 0;
        t.finishes = t.end_key == s->tk;
        encode_part(c, node, s, &t);
    }
}

static void encode(gen_vk_compiler *c, const gen_node *node)
{
    shape s = shape_of(node);
    s.has_matrices = suits_matrices(c->vk, node, &s);
    const gen_tensor *k = node->inputs[1], *v = node->inputs[2];
    const int64_t room_q =
        gen_vk_min(gen_vk_window_rows(c, node->inputs[0]), gen_vk_window_rows(c, node->output));
    const int64_t room_k = gen_vk_min(gen_vk_window_rows(c, k), gen_vk_window_rows(c, v));
    const double seconds = gen_node_flops(node) / c->vk->flops_per_second;
    part t = {.samples = s.n, .queries = s.tq};
    if (room_q >= s.n * s.tq && room_k >= s.n * s.tk && seconds < 0.2 && s.keys >= s.tk) {
        encode_keys(c, node, &s, t, s.tk, false);
        return;
    }
    t.samples = 1;
    const int64_t bq = s.tile.bq, bk = s.tile.bk;
    int64_t queries = (int64_t)(0.2 / seconds * (double)(s.n * s.tq)) / bq * bq;
    queries = gen_vk_min(queries < bq ? bq : queries, room_q < bq ? bq : room_q / bq * bq);
    const int64_t keys = gen_vk_min(s.keys, room_k < bk ? bk : room_k / bk * bk);
    const int64_t room = gen_vk_window_elements(c) / (s.heads * (2 + s.dv));
    if (keys < s.tk)
        queries = gen_vk_min(queries, room < bq ? bq : room / bq * bq);
    for (t.sample = 0; t.sample < s.n; t.sample++)
        for (t.query = 0; t.query < s.tq; t.query += queries) {
            t.queries = gen_vk_min(queries, s.tq - t.query);
            encode_keys(c, node, &s, t, keys, true);
        }
}

/* What key-splitting needs on any device; windows may add it where memory is short. */
static size_t scratch(const gen_node *node)
{
    const shape s = shape_of(node);
    return s.keys < s.tk ? state_size(&s, s.n * s.tq) : 4;
}

static bool supports(const gen_node *node)
{
    const gen_tensor *q = node->inputs[0], *v = node->inputs[2];
    const gen_epilogue *e = &node->epilogue;
    return !e->act && !e->post_act && !e->residual &&
           q->dims[2] / node->p.attention.heads <= MAX_HEAD &&
           v->dims[2] / node->p.attention.heads <= MAX_HEAD;
}

const gen_vk_op gen_vk_attention = {.supports = supports, .scratch = scratch, .encode = encode};
