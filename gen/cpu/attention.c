/* attention.c - softmax(q k^T scale + bias) v without the matrix of scores (GEN_OP_ATTENTION).
 *
 * Online softmax (Milakov & Gimelshein 2018; Dao et al. 2022): keys are taken in blocks, and when a
 * block raises the maximum of a query, what was summed before is scaled down.  Per head, K is
 * packed as panels [Tk/width][d][width] and V as panels of its columns, [Tk][width]; both are
 * shared by all threads.  A task is a block of queries of one head.  Blocks follow from the shape
 * alone. */
#include <math.h>

#include "gen/cpu/gemm.h"
#include "gen/cpu/kernels/attention_kernels.h"

enum {
    KEY_BLOCK = 256,       /* keys whose scores exist at one time */
    QUERY_BLOCK = 56,      /* queries of a task, rounded to whole tiles */
    GROUP_BYTES = 16 << 20 /* packed keys and values of the heads at work at one time */
};

typedef struct shape {
    int64_t n, heads, tq, tk, d, dv;
    int64_t tk_padded, dv_padded;
    int64_t block_tiles, num_blocks; /* of queries */
    int64_t group, num_groups;       /* heads packed together */
    size_t keys_size, head_size;     /* floats: packed keys, keys and values */
    size_t q_size, s_size, o_size;   /* floats of a worker */
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
    s.tk_padded = round_up(s.tk, kern->vector);
    s.dv_padded = round_up(s.dv, kern->vector);
    const int64_t tiles = divide_up(s.tq, kern->mr);
    s.num_blocks = divide_up(tiles, divide_up(QUERY_BLOCK, kern->mr));
    s.block_tiles = divide_up(tiles, s.num_blocks);
    s.num_blocks = divide_up(tiles, s.block_tiles);
    s.keys_size = (size_t)round_up(s.tk_padded * s.d, 32);
    s.head_size = s.keys_size + (size_t)round_up(s.tk * s.dv_padded, 32);
    s.group = GROUP_BYTES / (int64_t)(s.head_size * sizeof(float));
    s.group = s.group < 1 ? 1 : s.group > s.n * s.heads ? s.n * s.heads : s.group;
    s.num_groups = divide_up(s.n * s.heads, s.group);
    s.q_size = (size_t)round_up(s.block_tiles * kern->mr * round_up(s.d, GEN_GEMM_UNIT), 32);
    s.s_size = (size_t)round_up(kern->mr * KEY_BLOCK, 32);
    s.o_size = (size_t)round_up(s.block_tiles * kern->mr * s.dv_padded, 32);
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
                        (size_t)s.block_tiles * sizeof(gen_attention_state);
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

/* The part of the packed values that begins with column `col` (a multiple of the vector). */
static int64_t values_at(const shape *s, int64_t col)
{
    return (int64_t)s->keys_size + col * s->tk;
}

/* Vectors of the panel of V that begins `left` vectors before its end: threes make odd counts
 * even, because panels of two are the best tiles. */
static int panel_vectors(const gen_gemm_kernels *kern, int64_t left)
{
    if (kern->max_vectors >= 3 && left % 2 && left >= 3)
        return 3;
    return left >= 2 && kern->max_vectors >= 2 ? 2 : 1;
}

static float *packed_head(const job *j, int64_t i)
{
    return (float *)(void *)j->step->shared + (size_t)i * j->s.head_size;
}

/* KEY_BLOCK keys and values of a head. */
static void pack_task(void *arg, int i, int worker)
{
    const job *j = arg;
    const shape *s = &j->s;
    const int64_t blocks = divide_up(s->tk, KEY_BLOCK), in_group = i / blocks;
    const int64_t head = (j->first_head + in_group) % s->heads;
    const int64_t sample = (j->first_head + in_group) / s->heads;
    const int64_t key0 = i % blocks * KEY_BLOCK;
    const int64_t end = key0 + KEY_BLOCK < s->tk ? key0 + KEY_BLOCK : s->tk;
    const int64_t ldk = j->node->inputs[1]->ld, ldv = j->node->inputs[2]->ld;
    const int width = j->gemm->vectors * j->gemm->vector;
    float *packed = packed_head(j, in_group);
    (void)worker;
    for (int64_t key = key0; key < end; key += width) {
        const int count = s->tk - key < width ? (int)(s->tk - key) : width;
        const int padded = (int)round_up(count, j->gemm->vector);
        j->kern->pack_keys(packed + key * s->d, j->k + (sample * s->tk + key) * ldk + head * s->d,
                           ldk, count, (int)s->d, padded);
    }
    for (int64_t col = 0; col < s->dv;) {
        const int64_t left = s->dv - col;
        const int w = panel_vectors(j->gemm, divide_up(left, j->gemm->vector)) * j->gemm->vector;
        j->kern->pack_values(packed + values_at(s, col) + key0 * w,
                             j->v + (sample * s->tk + key0) * ldv + head * s->dv + col, ldv,
                             (int)(end - key0), left < w ? (int)left : w, w);
        col += w;
    }
}

/* One tile of queries at work. */
typedef struct tile {
    int64_t sample, head, row; /* of the first query */
    int rows;
    const float *q; /* packed, scaled */
    float *scores, *o;
    gen_attention_state *state;
    const float *keys, *values; /* of the head */
} tile;

static void add_bias(const job *j, const tile *t, int64_t key0, int count)
{
    const gen_tensor *bias = j->node->inputs[3];
    const int64_t n = bias->dims[0] == 1 ? 0 : t->sample, h = bias->dims[1] == 1 ? 0 : t->head;
    const int mr = j->gemm->mr;
    for (int r = 0; r < t->rows; r++) {
        const int64_t row = bias->dims[2] == 1 ? 0 : t->row + r;
        const float *b =
            j->bias + ((n * bias->dims[1] + h) * bias->dims[2] + row) * bias->ld + key0;
        for (int i = 0; i < count; i++)
            t->scores[i / GEN_GEMM_UNIT * mr * GEN_GEMM_UNIT + r * GEN_GEMM_UNIT +
                      i % GEN_GEMM_UNIT] += b[i] * 1.4426950408889634f;
    }
}

/* Hides keys behind the query. */
static void apply_causal(const job *j, const tile *t, int64_t key0, int count)
{
    const int mr = j->gemm->mr;
    for (int r = 0; r < t->rows; r++)
        for (int64_t i = t->row + r + 1 > key0 ? t->row + r + 1 - key0 : 0; i < count; i++)
            t->scores[i / GEN_GEMM_UNIT * mr * GEN_GEMM_UNIT + r * GEN_GEMM_UNIT +
                      i % GEN_GEMM_UNIT] = -INFINITY;
}

static void compute_scores(const job *j, const tile *t, int64_t key0, int count)
{
    const int width = j->gemm->vectors * j->gemm->vector;
    for (int i = 0; i < count; i += width) {
        const int left = count - i < width ? count - i : width;
        const gen_gemm_tile product = {.a = t->q,
                                       .b = t->keys + (key0 + i) * j->s.d,
                                       .rows = t->rows,
                                       .k = (int)j->s.d,
                                       .c = t->scores + i * j->gemm->mr};
        j->gemm->tile_packed[divide_up(left, j->gemm->vector)](&product);
    }
    if (j->bias)
        add_bias(j, t, key0, count);
    if (j->node->p.attention.is_causal)
        apply_causal(j, t, key0, count);
}

static void add_values(const job *j, const tile *t, int64_t key0, int count)
{
    const shape *s = &j->s;
    for (int64_t col = 0; col < s->dv_padded;) {
        const int vectors = panel_vectors(j->gemm, (s->dv_padded - col) / j->gemm->vector);
        const int w = vectors * j->gemm->vector;
        const gen_gemm_tile product = {.a = t->scores,
                                       .b = t->values + col * s->tk + key0 * w,
                                       .rows = t->rows,
                                       .k = count,
                                       .c = t->o + col,
                                       .ldc = s->dv_padded,
                                       .add = key0 ? t->o + col : NULL,
                                       .ld_add = s->dv_padded};
        j->gemm->tile[vectors](&product);
        col += w;
    }
}

static void pack_queries(const job *j, const tile *t, float *dst)
{
    const float *rows[GEN_GEMM_MAX_ROWS];
    const int64_t ld = j->node->inputs[0]->ld;
    for (int r = 0; r < t->rows; r++)
        rows[r] = j->q + (t->sample * j->s.tq + t->row + r) * ld + t->head * j->s.d;
    j->gemm->pack_tile(dst, rows, t->rows, (int)j->s.d);
    j->kern->scale(dst, t->rows, (int)divide_up(j->s.d, GEN_GEMM_UNIT),
                   j->node->p.attention.scale * 1.4426950408889634f);
}

static tile tile_at(const job *j, int64_t head, int64_t row, int64_t i, int worker)
{
    const shape *s = &j->s;
    const int mr = j->gemm->mr;
    float *scratch = (float *)(void *)(j->step->per_worker +
                                       (size_t)worker * gen_cpu_worker_stride(&j->step->needs));
    float *q = scratch + i * mr * round_up(s->d, GEN_GEMM_UNIT);
    tile t = {.sample = (j->first_head + head) / s->heads,
              .head = (j->first_head + head) % s->heads,
              .row = row,
              .rows = s->tq - row < mr ? (int)(s->tq - row) : mr,
              .q = q};
    t.scores = scratch + s->q_size;
    t.o = t.scores + s->s_size + i * mr * s->dv_padded;
    t.state = (gen_attention_state *)(void *)(t.scores + s->s_size + s->o_size) + i;
    t.keys = packed_head(j, head);
    t.values = t.keys + s->keys_size;
    return t;
}

/* A block of queries of one head. */
static void query_task(void *arg, int i, int worker)
{
    enum { MAX_TILES = QUERY_BLOCK };
    const job *j = arg;
    const shape *s = &j->s;
    const int mr = j->gemm->mr;
    const int64_t head = i / s->num_blocks, row0 = i % s->num_blocks * s->block_tiles * mr;
    tile tiles[MAX_TILES];
    int num_tiles = 0;
    int64_t last = 0;
    for (int64_t row = row0; num_tiles < s->block_tiles && row < s->tq; row += mr, num_tiles++) {
        tile *t = &tiles[num_tiles];
        *t = tile_at(j, head, row, num_tiles, worker);
        pack_queries(j, t, (float *)(uintptr_t)t->q);
        j->kern->start(t->state);
        last = t->row + t->rows - 1;
    }
    const bool is_causal = j->node->p.attention.is_causal;
    for (int64_t key0 = 0; key0 < s->tk && !(is_causal && key0 > last); key0 += KEY_BLOCK) {
        const int count = s->tk - key0 < KEY_BLOCK ? (int)(s->tk - key0) : KEY_BLOCK;
        for (int n = 0; n < num_tiles; n++) {
            const tile *t = &tiles[n];
            compute_scores(j, t, key0, count);
            if (j->kern->softmax(t->scores, count, t->state) && key0)
                j->kern->rescale(t->o, s->dv_padded, t->rows, (int)s->dv_padded, t->state->factor);
            add_values(j, t, key0, count);
        }
    }
    const int64_t ldy = j->node->output->ld;
    for (int n = 0; n < num_tiles; n++) {
        const tile *t = &tiles[n];
        j->kern->finish(j->y + (t->sample * s->tq + t->row) * ldy + t->head * s->dv, ldy, t->o,
                        s->dv_padded, t->rows, (int)s->dv, t->state->sum);
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
        gen_cpu_for(cpu, pack_task, &j, (int)(heads * divide_up(j.s.tk, KEY_BLOCK)));
        gen_cpu_for(cpu, query_task, &j, (int)(heads * j.s.num_blocks));
    }
}

const gen_cpu_op gen_cpu_attention = {
    .supports = supports,
    .measure = measure,
    .prepare = prepare,
    .run = run,
};
