/* elementwise.c - unary, affine, glu, binary with broadcasting, rotary embedding. */
#include "gen/cpu/kernels/vector_kernels.h"
#include "gen/cpu/spans.h"

/* ---- one input, row by row ---- */

typedef struct map_job {
    const gen_cpu *cpu;
    const gen_node *node;
    const float *x;
    float *y;
    int64_t ld_x, ld_y;
    gen_spans spans;
} map_job;

static void map_task(void *arg, int i, int worker)
{
    const map_job *job = arg;
    const gen_vector_kernels *k = job->cpu->k->vector;
    const gen_node *n = job->node;
    const gen_span s = gen_spans_at(&job->spans, i);
    (void)worker;
    for (int64_t row = s.row; row < s.end_row; row++) {
        const float *x = job->x + row * job->ld_x + s.col;
        float *y = job->y + row * job->ld_y + s.col;
        if (n->op == GEN_OP_AFFINE)
            k->affine(y, x, n->p.affine.a, n->p.affine.b, (size_t)s.cols);
        else if (n->op == GEN_OP_GLU)
            k->glu(n->p.unary.act, y, x, x + job->spans.cols, (size_t)s.cols);
        else
            k->act(n->p.unary.act, y, x, (size_t)s.cols);
    }
}

static void run_map(gen_cpu *cpu, gen_cpu_step *step)
{
    const gen_node *n = step->node;
    const gen_tensor *x = n->inputs[0], *y = n->output;
    map_job job = {cpu, n, gen_cpu_f32(cpu, x), gen_cpu_f32(cpu, y), x->ld, y->ld, {0}};
    if (n->op != GEN_OP_GLU && gen_tensor_is_dense(x) && gen_tensor_is_dense(y))
        job.spans = gen_spans_cut(1, gen_tensor_elements(y));
    else
        job.spans = gen_spans_cut(gen_tensor_rows(y), gen_last_dim(y));
    gen_cpu_for(cpu, map_task, &job, gen_spans_count(&job.spans));
}

/* ---- two inputs ---- */

/* The output as nested loops over dims, outermost first, with the distance in elements each loop
 * moves in the three tensors (0 where an input is broadcast).  Loops that move all three as one
 * longer loop would are joined, so most cases end as one or two. */
enum { MAX_LOOPS = GEN_MAX_RANK + 1 };

typedef struct binary_job {
    const gen_cpu *cpu;
    gen_binary op;
    const float *a, *b;
    float *y;
    int rank;
    int64_t dims[MAX_LOOPS], step_a[MAX_LOOPS], step_b[MAX_LOOPS], step_y[MAX_LOOPS];
    gen_spans spans; /* all loops but the innermost are rows */
} binary_job;

/* Distance of dimension `from_end` (0: the last) of an output of that size. */
static int64_t step_of(const gen_tensor *t, int from_end)
{
    if (from_end >= t->rank || t->dims[t->rank - 1 - from_end] == 1)
        return 0;
    if (from_end == 0)
        return 1;
    int64_t step = t->ld;
    for (int i = 1; i < from_end; i++)
        step *= t->dims[t->rank - 1 - i];
    return step;
}

static void add_loop(binary_job *job, int64_t dim, int64_t a, int64_t b, int64_t y)
{
    const int i = job->rank - 1;
    if (dim == 1)
        return;
    if (i >= 0 && job->step_a[i] == a * dim && job->step_b[i] == b * dim &&
        job->step_y[i] == y * dim) {
        job->dims[i] *= dim;
        job->step_a[i] = a;
        job->step_b[i] = b;
        job->step_y[i] = y;
        return;
    }
    job->dims[job->rank] = dim;
    job->step_a[job->rank] = a;
    job->step_b[job->rank] = b;
    job->step_y[job->rank++] = y;
}

static void binary_task(void *arg, int i, int worker)
{
    const binary_job *job = arg;
    const gen_vector_kernels *k = job->cpu->k->vector;
    const gen_span s = gen_spans_at(&job->spans, i);
    const int last = job->rank - 1;
    (void)worker;
    for (int64_t row = s.row; row < s.end_row; row++) {
        int64_t a = s.col * job->step_a[last], b = s.col * job->step_b[last], y = s.col;
        for (int64_t d = last - 1, rest = row; d >= 0; d--) {
            const int64_t at = rest % job->dims[d];
            rest /= job->dims[d];
            a += at * job->step_a[d];
            b += at * job->step_b[d];
            y += at * job->step_y[d];
        }
        if (job->step_b[last])
            k->binary(job->op, job->y + y, job->a + a, job->b + b, (size_t)s.cols);
        else
            k->binary_scalar(job->op, job->y + y, job->a + a, job->b[b], (size_t)s.cols);
    }
}

static void run_binary(gen_cpu *cpu, gen_cpu_step *step)
{
    const gen_node *n = step->node;
    const gen_tensor *a = n->inputs[0], *b = n->inputs[1], *y = n->output;
    binary_job job = {.cpu = cpu,
                      .op = n->p.binary.op,
                      .a = gen_cpu_f32(cpu, a),
                      .b = gen_cpu_f32(cpu, b),
                      .y = gen_cpu_f32(cpu, y)};
    for (int i = y->rank - 1; i >= 0; i--)
        add_loop(&job, y->dims[y->rank - 1 - i], step_of(a, i), step_of(b, i), step_of(y, i));
    const int last = job.rank - 1;
    if (last < 0 || job.step_y[last] != 1 || job.step_a[last] != 1 || job.step_b[last] > 1) {
        /* the innermost loop must be a row: here one of a single element */
        job.dims[job.rank] = 1;
        job.step_a[job.rank++] = 0;
    }
    int64_t rows = 1;
    for (int i = 0; i < job.rank - 1; i++)
        rows *= job.dims[i];
    job.spans = gen_spans_cut(rows, job.dims[job.rank - 1]);
    gen_cpu_for(cpu, binary_task, &job, gen_spans_count(&job.spans));
}

/* ---- rotary embedding ---- */

typedef struct rope_job {
    const gen_cpu *cpu;
    const gen_tensor *in, *table;
    const float *x, *angles;
    float *y;
    int64_t ld_y;
    gen_spans spans; /* a row is a token */
} rope_job;

static void rope_task(void *arg, int i, int worker)
{
    const rope_job *job = arg;
    const int64_t width = job->table->dims[1];
    const gen_span s = gen_spans_at(&job->spans, i);
    (void)worker;
    for (int64_t row = s.row; row < s.end_row; row++)
        for (int64_t c = 0; c < s.cols; c += width)
            job->cpu->k->vector->rotate(
                job->y + row * job->ld_y + c, job->x + row * job->in->ld + c,
                job->angles + row % job->table->dims[0] * job->table->ld, (size_t)width);
}

static void run_rope(gen_cpu *cpu, gen_cpu_step *step)
{
    const gen_tensor *x = step->node->inputs[0], *table = step->node->inputs[1];
    const gen_tensor *y = step->node->output;
    rope_job job = {cpu,
                    x,
                    table,
                    gen_cpu_f32(cpu, x),
                    gen_cpu_f32(cpu, table),
                    gen_cpu_f32(cpu, y),
                    y->ld,
                    gen_spans_cut(gen_tensor_rows(y), gen_last_dim(y))};
    job.spans.task_cols = gen_last_dim(y); /* whole tokens */
    job.spans.col_tasks = 1;
    gen_cpu_for(cpu, rope_task, &job, gen_spans_count(&job.spans));
}

static bool supports_binary(const gen_cpu *cpu, const gen_node *node)
{
    const gen_tensor *a = node->inputs[0], *y = node->output;
    if (!gen_has_no_epilogue(cpu, node) || a->rank != y->rank)
        return false;
    for (int i = 0; i < y->rank; i++)
        if (a->dims[i] != y->dims[i])
            return false;
    return true;
}

const gen_cpu_op gen_cpu_unary = {.supports = gen_has_no_epilogue,
                                  .measure = gen_measure_widened,
                                  .prepare = gen_prepare_widened,
                                  .run = run_map};
const gen_cpu_op gen_cpu_affine = {.supports = gen_has_no_epilogue,
                                   .measure = gen_measure_widened,
                                   .prepare = gen_prepare_widened,
                                   .run = run_map};
const gen_cpu_op gen_cpu_glu = {.supports = gen_has_no_epilogue,
                                .measure = gen_measure_widened,
                                .prepare = gen_prepare_widened,
                                .run = run_map};
const gen_cpu_op gen_cpu_rope = {.supports = gen_has_no_epilogue,
                                 .measure = gen_measure_widened,
                                 .prepare = gen_prepare_widened,
                                 .run = run_rope};
const gen_cpu_op gen_cpu_binary = {.supports = supports_binary,
                                   .measure = gen_measure_widened,
                                   .prepare = gen_prepare_widened,
                                   .run = run_binary};
