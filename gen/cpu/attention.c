/* attention.c - softmax(q k^T scale + bias) v without the matrix of scores (GEN_OP_ATTENTION).
 *
 * Online softmax (Milakov & Gimelshein 2018; Dao et al. 2022): keys are taken in blocks, and when a
 * block raises the maximum of a query, what was summed before is scaled down.  Both products are
 * transposed, K Q^T and V^T P^T, with queries in the lanes (kernels/attention_kernels.h).  Per
 * head, K is packed as tiles of keys and V^T, block by block, as tiles of columns; both are shared
 * by all threads.  A task is a block of queries of one head.  Blocks follow from the shape alone.
 */
#include <math.h>

#include "gen/cpu/gemm.h"
#include "gen/cpu/kernels/attention_kernels.h"

enum {
    KEY_BLOCK = 336,       /* keys whose scores exist at one time: whole tiles and units of 8 */
    QUERY_PANELS = 2,      /* panels of queries of a task */
    GROUP_BYTES = 16 << 20 /* packed keys and values of the heads at work at one time */
};

typedef struct shape {
    int64_t n, heads, tq, tk, d, dv;
    int64_t d_padded, width;            /* to units; queries of a panel */
    int64_t key_tiles, value_tiles;     /* of all keys; of the columns of V */
    int64_t num_key_blocks, num_blocks; /* blocks of keys, of queries */
    int64_t group;                      /* heads packed together */
    size_t keys_size, head_size;        /* floats: packed keys, keys and values */
    size_t q_size, s_size, o_size;      /* floats of a worker */
} shape;

static int64_t divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static int64_t round_up(int64_t a, int64_t unit)
{
    return divide_up(a, unit) * unit;
}

static shape shape_of(const gen_cpu *cpu, const gen_node *node)
{
    const gen_gemm_kernels *kern = cpu->k->gemm;
    const gen_tensor *q = node->inputs[0], *k = node->inputs[1], *v = node->inputs[2];
    shape s = {.n = q->dims[0], .heads = node->p.attention.heads};
    s.tq = q->dims[1];
    s.tk = k->dims[1];
    s.d = q->dims[2] / s.heads;
    s.dv = v->dims[2] / s.heads;
    s.d_padded = round_up(s.d, GEN_GEMM_UNIT);
    s.width = kern->vectors * kern->vector;
    s.key_tiles = divide_up(s.tk, kern->mr);
    s.value_tiles = divide_up(s.dv, kern->mr);
    s.num_key_blocks = divide_up(s.tk, KEY_BLOCK);
    s.num_blocks = divide_up(s.tq, QUERY_PANELS * s.width);
    s.keys_size = (size_t)round_up(s.key_tiles * kern->mr * s.d_padded, 32);
    s.head_size = s.keys_size +
                  (size_t)round_up(s.value_tiles * kern->mr * round_up(s.tk, GEN_GEMM_UNIT), 32);
    s.group = GROUP_BYTES / (int64_t)(s.head_size * sizeof(float));
    s.group = s.group < 1 ? 1 : s.group > s.n * s.heads ? s.n * s.heads : s.group;
    s.q_size = (size_t)round_up(QUERY_PANELS * s.d * s.width, 32);
    s.s_size = (size_t)((s.tk < KEY_BLOCK ? s.tk : KEY_BLOCK) * s.width);
    s.o_size = (size_t)round_up(QUERY_PANELS * s.dv * s.width, 32);
    return s;
}

static bool supports(const gen_cpu *cpu, const gen_node *node)
{
    (void)cpu;
    for (int i = 0; i < node->num_inputs; i++)
        if (node->inputs[i]->kind != GEN_KIND_WEIGHT && node->inputs[i]->dtype != GEN_F32)
            return false;
    return true;
}

static void measure(const gen_cpu *cpu, const gen_node *node, gen_cpu_needs *needs)
{
    const shape s = shape_of(cpu, node);
    needs->shared = (size_t)s.group * s.head_size * sizeof(float);
    needs->per_worker = (s.q_size + s.s_size + s.o_size) * sizeof(float) +
                        QUERY_PANELS * sizeof(gen_attention_state);
}

static gen_status prepare(gen_cpu *cpu, gen_cpu_step *step, gen_error *err)
{
    for (int i = 0; i < step->node->num_inputs; i++)
        GEN_TRY(gen_cpu_widen(cpu, step->node->inputs[i], err));
    return GEN_OK;
}

typedef struct job {
    const gen_cpu *cpu;
    const gen_gemm_kernels *gemm;
    const gen_attention_kernels *kern;
    const gen_cpu_step *step;
    const gen_node *node;
    shape s;
    const float *q, *k, *v, *bias;
    float *y;
    int64_t first_head; /* of the group at work; sample * heads + head */
} job;

static float *packed_head(const job *j, int64_t i)
{
    return (float *)(void *)j->step->shared + (size_t)i * j->s.head_size;
}

/* Packed values of a block of keys: [value tile][keys/8][mr][8]. */
static float *packed_values(const job *j, float *head, int64_t key0)
{
    return head + j->s.keys_size + key0 * j->s.value_tiles * j->gemm->mr;
}

static int block_length(const shape *s, int64_t key0)
{
    return s->tk - key0 < KEY_BLOCK ? (int)(s->tk - key0) : KEY_BLOCK;
}

/* A block of keys and values of a head. */
static void pack_task(void *arg, int i, int worker)
{
    const job *j = arg;
    const shape *s = &j->s;
    const int mr = j->gemm->mr;
    const int64_t in_group = i / s->num_key_blocks, key0 = i % s->num_key_blocks * KEY_BLOCK;
    const int64_t head = (j->first_head + in_group) % s->heads;
    const int64_t sample = (j->first_head + in_group) / s->heads;
    const int64_t ldk = j->node->inputs[1]->ld, ldv = j->node->inputs[2]->ld;
    const float *k = j->k + (sample * s->tk + key0) * ldk + head * s->d;
    const float *v = j->v + (sample * s->tk + key0) * ldv + head * s->dv;
    const int count = block_length(s, key0);
    float *packed = packed_head(j, in_group), *values = packed_values(j, packed, key0);
    (void)worker;
    for (int key = 0; key < count; key += mr) {
        const float *rows[GEN_GEMM_MAX_ROWS];
        const int num_rows = count - key < mr ? count - key : mr;
        for (int r = 0; r < num_rows; r++)
            rows[r] = k + (key + r) * ldk;
        j->gemm->pack_tile(packed + (key0 + key) * s->d_padded, rows, num_rows, (int)s->d);
    }
    for (int64_t col = 0; col < s->dv; col += mr)
        j->kern->pack_values(values + col * round_up(count, GEN_GEMM_UNIT), v + col, ldv, count,
                             s->dv - col < mr ? (int)(s->dv - col) : mr);
}

/* One panel of queries at work. */
typedef struct panel {
    int64_t sample, head, row; /* of the first query */
    int count, width;          /* queries; lanes: whole vectors */
    float *q, *scores, *o;
    gen_attention_state *state;
    float *packed; /* keys and values of the head */
} panel;

static void add_bias(const job *j, const panel *p, int64_t key0, int count)
{
    const gen_tensor *bias = j->node->inputs[3];
    const int64_t n = bias->dims[0] == 1 ? 0 : p->sample, h = bias->dims[1] == 1 ? 0 : p->head;
    for (int q = 0; q < p->count; q++) {
        const int64_t row = bias->dims[2] == 1 ? 0 : p->row + q;
        const float *b =
            j->bias + ((n * bias->dims[1] + h) * bias->dims[2] + row) * bias->ld + key0;
        for (int i = 0; i < count; i++)
            p->scores[i * p->width + q] += b[i] * 1.4426950408889634f;
    }
}

/* Hides keys behind the query. */
static void apply_causal(const panel *p, int64_t key0, int count)
{
    for (int q = 0; q < p->count; q++)
        for (int64_t i = p->row + q + 1 > key0 ? p->row + q + 1 - key0 : 0; i < count; i++)
            p->scores[i * p->width + q] = -INFINITY;
}

/* Scores of the keys of a block, in units of log2. */
static void compute_scores(const job *j, const panel *p, int64_t key0, int count)
{
    const int mr = j->gemm->mr;
    gen_gemm_tile t = {.b = p->q, .k = (int)j->s.d, .ldc = p->width};
    for (int key = 0; key < count; key += mr) {
        t.a = p->packed + (key0 + key) * j->s.d_padded;
        t.rows = count - key < mr ? count - key : mr;
        t.c = p->scores + key * p->width;
        j->gemm->tile[p->width / j->gemm->vector](&t);
    }
    if (j->bias)
        add_bias(j, p, key0, count);
    if (j->node->p.attention.is_causal)
        apply_causal(p, key0, count);
}

static void add_values(const job *j, const panel *p, int64_t key0, int count)
{
    const int mr = j->gemm->mr;
    const float *values = packed_values(j, p->packed, key0);
    gen_gemm_tile t = {.b = p->scores, .k = count, .ldc = p->width, .ld_add = p->width};
    for (int64_t col = 0; col < j->s.dv; col += mr) {
        t.a = values + col * round_up(count, GEN_GEMM_UNIT);
        t.rows = j->s.dv - col < mr ? (int)(j->s.dv - col) : mr;
        t.c = p->o + col * p->width;
        t.add = key0 ? t.c : NULL;
        j->gemm->tile[p->width / j->gemm->vector](&t);
    }
}

/* The i-th panel of a task, whose first query is `row`. */
static panel panel_at(const job *j, int64_t head, int64_t row, int i, int worker)
{
    const shape *s = &j->s;
    float *scratch = (float *)(void *)(j->step->per_worker +
                                       (size_t)worker * gen_cpu_worker_stride(&j->step->needs));
    panel p = {.sample = (j->first_head + head) / s->heads,
               .head = (j->first_head + head) % s->heads,
               .row = row,
               .count = s->tq - row < s->width ? (int)(s->tq - row) : (int)s->width};
    p.width = (int)round_up(p.count, j->gemm->vector);
    p.q = scratch + i * s->d * s->width;
    p.scores = scratch + s->q_size;
    p.o = p.scores + s->s_size + i * s->dv * s->width;
    p.state = (gen_attention_state *)(void *)(p.scores + s->s_size + s->o_size) + i;
    p.packed = packed_head(j, head);
    return p;
}

/* A block of queries of one head. */
static void query_task(void *arg, int i, int worker)
{
    const job *j = arg;
    const shape *s = &j->s;
    const int64_t head = i / s->num_blocks, row0 = i % s->num_blocks * QUERY_PANELS * s->width;
    const bool is_causal = j->node->p.attention.is_causal;
    panel panels[QUERY_PANELS];
    int num_panels = 0;
    int64_t last = 0;
    for (int64_t row = row0; num_panels < QUERY_PANELS && row < s->tq; row += s->width) {
        panel *p = &panels[num_panels];
        *p = panel_at(j, head, row, num_panels++, worker);
        const int64_t ld = j->node->inputs[0]->ld;
        j->kern->pack_queries(p->q, j->q + (p->sample * s->tq + row) * ld + p->head * s->d, ld,
                              p->count, (int)s->d, p->width,
                              j->node->p.attention.scale * 1.4426950408889634f);
        j->kern->start(p->state);
        last = row + p->count - 1;
    }
    for (int64_t key0 = 0; key0 < s->tk && !(is_causal && key0 > last); key0 += KEY_BLOCK) {
        const int count = block_length(s, key0);
        for (int n = 0; n < num_panels; n++) {
            const panel *p = &panels[n];
            compute_scores(j, p, key0, count);
            if (j->kern->softmax(p->scores, count, p->width, p->state) && key0)
                j->kern->rescale(p->o, (int)s->dv, p->width, p->state->factor);
            add_values(j, p, key0, count);
        }
    }
    const int64_t ldy = j->node->output->ld;
    for (int n = 0; n < num_panels; n++) {
        const panel *p = &panels[n];
        j->kern->finish(j->y + (p->sample * s->tq + p->row) * ldy + p->head * s->dv, ldy, p->o,
                        p->count, (int)s->dv, p->width, p->state->sum);
    }
}

static void run(gen_cpu *cpu, gen_cpu_step *step)
{
    const gen_node *node = step->node;
    job j = {.cpu = cpu,
             .gemm = cpu->k->gemm,
             .kern = cpu->k->attention,
             .step = step,
             .node = node,
             .s = shape_of(cpu, node),
             .q = gen_cpu_f32(cpu, node->inputs[0]),
             .k = gen_cpu_f32(cpu, node->inputs[1]),
             .v = gen_cpu_f32(cpu, node->inputs[2]),
             .bias = node->num_inputs > 3 ? gen_cpu_f32(cpu, node->inputs[3]) : NULL,
             .y = gen_cpu_f32(cpu, node->output)};
    const int64_t all = j.s.n * j.s.heads;
    for (; j.first_head < all; j.first_head += j.s.group) {
        const int64_t heads = all - j.first_head < j.s.group ? all - j.first_head : j.s.group;
        gen_cpu_for(cpu, pack_task, &j, (int)(heads * j.s.num_key_blocks));
        gen_cpu_for(cpu, query_task, &j, (int)(heads * j.s.num_blocks));
    }
}

const gen_cpu_op gen_cpu_attention = {
    .supports = supports,
    .measure = measure,
    .prepare = prepare,
    .run = run,
};
