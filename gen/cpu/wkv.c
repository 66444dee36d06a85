/* wkv.c - the bidirectional WKV operator (GEN_OP_WKV) as a scan on two levels.
 *
 * The tokens of a sample are cut into 32 segments.  First each segment is summed up alone, from
 * the left and from the right; then the sums are joined along the segments, which gives what lies
 * left and right of each; then each segment computes its outputs, starting from these.  Weighted
 * sums add exactly once they have a common exponent, so this is the recurrence over all tokens.
 * Tasks are a segment of GEN_WKV_GROUP channels of a sample: they follow from the shape alone.  A
 * task first copies its keys and values side by side: rows of all channels are far apart, often by
 * a power of two, which caches and prefetchers like least.
 * Work and memory grow linearly with the tokens. */
#include <string.h>

#include "gen/cpu/kernels/wkv_kernels.h"
#include "gen/cpu/spans.h"

typedef struct shape {
    int64_t n, tokens, channels;
    int64_t length, segments; /* of the cut; the last segment may be shorter */
    int64_t groups;           /* of channels */
} shape;

static shape shape_of(const gen_node *node)
{
    const gen_tensor *k = node->inputs[2];
    shape s = {.n = k->dims[0], .tokens = k->dims[1], .channels = k->dims[2]};
    s.length = (s.tokens + GEN_WKV_SEGMENTS - 1) / GEN_WKV_SEGMENTS;
    s.segments = (s.tokens + s.length - 1) / s.length;
    s.groups = (s.channels + GEN_WKV_GROUP - 1) / GEN_WKV_GROUP;
    return s;
}

typedef struct job {
    const gen_cpu *cpu;
    const gen_cpu_step *step;
    const gen_node *node;
    shape s;
    const float *w, *u, *k, *v;
    float *y;
} job;

/* The states of a segment: of the tokens left of it, and right of it. */
static gen_wkv_state *states(const job *j, int64_t row, int64_t segment)
{
    return (gen_wkv_state *)(void *)j->step->shared + (row * j->s.segments + segment) * 2;
}

/* A segment of the channels of `row`, which is sample * groups + group. */
static gen_wkv_tokens tokens_of(const job *j, int64_t row, int64_t segment)
{
    const shape *s = &j->s;
    const int64_t first = segment * s->length, c = row % s->groups * GEN_WKV_GROUP;
    const int64_t left = s->tokens - first, channels = s->channels - c;
    const int64_t at = row / s->groups * s->tokens + first;
    const int64_t ld_k = j->node->inputs[2]->ld, ld_v = j->node->inputs[3]->ld;
    return (gen_wkv_tokens){.k = j->k + at * ld_k + c,
                            .v = j->v + at * ld_v + c,
                            .ld_k = ld_k,
                            .ld_v = ld_v,
                            .count = left < s->length ? left : s->length,
                            .w = j->w + c,
                            .channels = channels < GEN_WKV_GROUP ? (int)channels : GEN_WKV_GROUP};
}

/* Copies keys and values to the scratch of a worker; returns what is left of it. */
static float *gather(const job *j, gen_wkv_tokens *t, int worker)
{
    float *k = (float *)(void *)(j->step->per_worker + (size_t)worker * j->step->needs.per_worker);
    float *v = k + j->s.length * GEN_WKV_GROUP;
    const size_t width = (size_t)t->channels * sizeof(float);
    for (int64_t i = 0; i < t->count; i++) {
        memcpy(k + i * GEN_WKV_GROUP, t->k + i * t->ld_k, width);
        memcpy(v + i * GEN_WKV_GROUP, t->v + i * t->ld_v, width);
    }
    t->k = k;
    t->v = v;
    t->ld_k = t->ld_v = GEN_WKV_GROUP;
    return v + j->s.length * GEN_WKV_GROUP;
}

static void scan_task(void *arg, int i, int worker)
{
    const job *j = arg;
    const int64_t row = i / j->s.segments, segment = i % j->s.segments;
    gen_wkv_state *s = states(j, row, segment);
    gen_wkv_tokens t = tokens_of(j, row, segment);
    gather(j, &t, worker);
    j->cpu->k->wkv->scan(&s[0], &t);
    t.k += (t.count - 1) * t.ld_k;
    t.v += (t.count - 1) * t.ld_v;
    t.ld_k = -t.ld_k;
    t.ld_v = -t.ld_v;
    j->cpu->k->wkv->scan(&s[1], &t);
}

/* Replaces the sums of every segment by those of all segments before it, and behind it. */
static void join_task(void *arg, int i, int worker)
{
    const job *j = arg;
    const gen_wkv_kernels *kern = j->cpu->k->wkv;
    (void)worker;
    for (int side = 0; side < 2; side++) {
        gen_wkv_state total, outside;
        kern->clear(&total);
        for (int64_t n = 0; n < j->s.segments; n++) {
            const int64_t segment = side ? j->s.segments - 1 - n : n;
            const gen_wkv_tokens t = tokens_of(j, i, segment);
            gen_wkv_state *s = &states(j, i, segment)[side];
            outside = total;
            kern->join(&total, s, t.w, t.count, t.channels);
            *s = outside;
        }
    }
}

static void mix_task(void *arg, int i, int worker)
{
    const job *j = arg;
    const int64_t row = i / j->s.segments, segment = i % j->s.segments;
    const gen_wkv_state *s = states(j, row, segment);
    gen_wkv_tokens t = tokens_of(j, row, segment);
    const int64_t at = row / j->s.groups * j->s.tokens + segment * j->s.length;
    const int64_t c = row % j->s.groups * GEN_WKV_GROUP, ld = j->node->output->ld;
    float *scratch = gather(j, &t, worker), *y = (float *)(uintptr_t)t.v;
    j->cpu->k->wkv->mix(j->node->p.wkv.form, &t, j->u + c, &s[0], &s[1], y, GEN_WKV_GROUP, scratch);
    for (int64_t n = 0; n < t.count; n++)
        memcpy(j->y + (at + n) * ld + c, y + n * GEN_WKV_GROUP, (size_t)t.channels * sizeof(float));
}

static void measure(const gen_cpu *cpu, const gen_node *node, gen_cpu_needs *needs)
{
    const shape s = shape_of(node);
    gen_measure_widened(cpu, node, needs);
    needs->shared = (size_t)(s.n * s.groups * s.segments) * 2 * sizeof(gen_wkv_state);
    needs->per_worker =
        ((size_t)s.length * (size_t)(cpu->k->wkv->scratch_width + 2 * GEN_WKV_GROUP) *
             sizeof(float) +
         63) /
        64 * 64;
}

static void run(gen_cpu *cpu, gen_cpu_step *step)
{
    const gen_node *n = step->node;
    job j = {.cpu = cpu,
             .step = step,
             .node = n,
             .s = shape_of(n),
             .w = gen_cpu_f32(cpu, n->inputs[0]),
             .u = gen_cpu_f32(cpu, n->inputs[1]),
             .k = gen_cpu_f32(cpu, n->inputs[2]),
             .v = gen_cpu_f32(cpu, n->inputs[3]),
             .y = gen_cpu_f32(cpu, n->output)};
    const int rows = (int)(j.s.n * j.s.groups), tasks = rows * (int)j.s.segments;
    gen_cpu_for(cpu, scan_task, &j, tasks);
    gen_cpu_for(cpu, join_task, &j, rows);
    gen_cpu_for(cpu, mix_task, &j, tasks);
}

const gen_cpu_op gen_cpu_wkv = {.supports = gen_has_no_epilogue,
                                .measure = measure,
                                .prepare = gen_prepare_widened,
                                .run = run};
