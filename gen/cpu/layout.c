/* layout.c - ops that only move numbers: concat, upsample, embedding, permute, copy. */
#include <string.h>

#include "gen/cpu/spans.h"

/* ---- copies ---- */

typedef struct copy_job {
    float *dst;
    const float *src;
    int64_t ld_dst, ld_src;
    gen_spans spans;
} copy_job;

static void copy_task(void *arg, int i, int worker)
{
    const copy_job *job = arg;
    const gen_span s = gen_spans_at(&job->spans, i);
    (void)worker;
    for (int64_t row = s.row; row < s.end_row; row++)
        memcpy(job->dst + row * job->ld_dst + s.col, job->src + row * job->ld_src + s.col,
               (size_t)s.cols * sizeof(float));
}

/* Copies `rows` rows of `cols` numbers. */
static void copy_rows(gen_cpu *cpu, float *dst, int64_t ld_dst, const float *src, int64_t ld_src,
                      int64_t rows, int64_t cols)
{
    copy_job job = {dst, src, ld_dst, ld_src, gen_spans_cut(rows, cols)};
    if (ld_dst == cols && ld_src == cols)
        job.spans = gen_spans_cut(1, rows * cols);
    gen_cpu_for(cpu, copy_task, &job, gen_spans_count(&job.spans));
}

static void run_copy(gen_cpu *cpu, gen_cpu_step *step)
{
    const gen_tensor *x = step->node->inputs[0], *y = step->node->output;
    copy_rows(cpu, gen_cpu_f32(cpu, y), y->ld, gen_cpu_f32(cpu, x), x->ld, gen_tensor_rows(y),
              gen_last_dim(y));
}

/* With rows = the product of the dims before the axis, an input is [rows][its part of the axis x
 * what follows] and the output the same with all parts side by side. */
static void run_concat(gen_cpu *cpu, gen_cpu_step *step)
{
    const gen_node *n = step->node;
    const gen_tensor *y = n->output;
    const int axis = n->p.concat.axis;
    int64_t outer = 1, inner = 1, part_start = 0; /* inner: rows for each index of the axis */
    for (int i = 0; i < axis; i++)
        outer *= y->dims[i];
    for (int i = axis + 1; i < y->rank - 1; i++)
        inner *= y->dims[i];
    for (int k = 0; k < n->num_inputs; k++) {
        const gen_tensor *x = n->inputs[k];
        const float *src = gen_cpu_f32(cpu, x);
        float *dst = gen_cpu_f32(cpu, y);
        if (axis == y->rank - 1) {
            copy_rows(cpu, dst + part_start, y->ld, src, x->ld, outer, x->dims[axis]);
        } else {
            const int64_t width = gen_last_dim(y), rows = x->dims[axis] * inner;
            dst += part_start * inner * y->ld;
            if (gen_tensor_is_dense(x) && gen_tensor_is_dense(y)) {
                copy_rows(cpu, dst, y->dims[axis] * inner * width, src, rows * width, outer,
                          rows * width);
            } else {
                for (int64_t o = 0; o < outer; o++)
                    copy_rows(cpu, dst + o * y->dims[axis] * inner * y->ld, y->ld,
                              src + o * rows * x->ld, x->ld, rows, width);
            }
        }
        part_start += x->dims[axis];
    }
}

/* ---- window ---- */

/* As [outer][axis][inner]: one stretch of each outer is copied, the rest is zero. */
static void zero_task(void *arg, int i, int worker)
{
    const copy_job *job = arg;
    const gen_span s = gen_spans_at(&job->spans, i);
    (void)worker;
    for (int64_t row = s.row; row < s.end_row; row++)
        memset(job->dst + row * job->ld_dst + s.col, 0, (size_t)s.cols * sizeof(float));
}

static void zero_rows(gen_cpu *cpu, float *dst, int64_t ld, int64_t rows, int64_t cols)
{
    copy_job job = {dst, NULL, ld, 0, {0}};
    if (rows < 1 || cols < 1)
        return;
    job.spans = gen_spans_cut(rows, cols);
    gen_cpu_for(cpu, zero_task, &job, gen_spans_count(&job.spans));
}

static void run_window(gen_cpu *cpu, gen_cpu_step *step)
{
    const gen_node *n = step->node;
    const gen_tensor *x = n->inputs[0], *y = n->output;
    const int axis = n->p.window.axis;
    const int64_t start = n->p.window.start, have = x->dims[axis], want = y->dims[axis];
    const int64_t first = start < 0 ? (-start < want ? -start : want) : 0; /* zeros in front */
    int64_t end = have - start < want ? have - start : want;               /* where data ends */
    int64_t outer = 1, inner = 1;
    end = end < first ? first : end;
    for (int i = 0; i < axis; i++)
        outer *= y->dims[i];
    for (int i = axis + 1; i < y->rank; i++)
        inner *= y->dims[i];
    const float *src = gen_cpu_f32(cpu, x);
    float *dst = gen_cpu_f32(cpu, y);
    const int64_t ld_y = want * inner;
    zero_rows(cpu, dst, ld_y, outer, first * inner);
    zero_rows(cpu, dst + end * inner, ld_y, outer, (want - end) * inner);
    if (end == first)
        return;
    if (axis == y->rank - 1) {
        copy_rows(cpu, dst + first, ld_y, src + start + first, x->ld, outer, end - first);
    } else if (gen_tensor_is_dense(x)) {
        copy_rows(cpu, dst + first * inner, ld_y, src + (start + first) * inner, have * inner,
                  outer, (end - first) * inner);
    } else {
        const int64_t width = gen_last_dim(y), rows = inner / width;
        for (int64_t o = 0; o < outer; o++)
            copy_rows(cpu, dst + o * ld_y + first * inner, width,
                      src + (o * have + start + first) * rows * x->ld, x->ld, (end - first) * rows,
                      width);
    }
}

/* ---- upsample ---- */

typedef struct upsample_job {
    const gen_tensor *in, *out;
    const float *x;
    float *y;
} upsample_job;

/* Row i of all images; a row that repeats the one before is still made from the source. */
static void upsample_task(void *arg, int i, int worker)
{
    const upsample_job *job = arg;
    const int64_t *in = job->in->dims, *out = job->out->dims;
    const int64_t image = i / out[1], from = i % out[1] * in[1] / out[1];
    const float *x = job->x + (image * in[1] + from) * in[2] * job->in->ld;
    float *y = job->y + (int64_t)i * out[2] * job->out->ld;
    (void)worker;
    for (int64_t col = 0; col < out[2]; col++)
        memcpy(y + col * job->out->ld, x + col * in[2] / out[2] * job->in->ld,
               (size_t)out[3] * sizeof(float));
}

static void run_upsample(gen_cpu *cpu, gen_cpu_step *step)
{
    const gen_tensor *in = step->node->inputs[0], *out = step->node->output;
    upsample_job job = {in, out, gen_cpu_f32(cpu, in), gen_cpu_f32(cpu, out)};
    gen_cpu_for(cpu, upsample_task, &job, (int)(out->dims[0] * out->dims[1]));
}

/* ---- embedding ---- */

typedef struct embedding_job {
    const int32_t *ids;
    const void *table;
    gen_dtype dtype;
    int64_t table_rows, table_ld, width, ids_cols, ids_ld;
    float *y;
    int64_t ld_y;
    gen_spans spans;
} embedding_job;

static void embedding_task(void *arg, int i, int worker)
{
    const embedding_job *job = arg;
    const gen_span s = gen_spans_at(&job->spans, i);
    (void)worker;
    for (int64_t row = s.row; row < s.end_row; row++) {
        int64_t id = job->ids[row / job->ids_cols * job->ids_ld + row % job->ids_cols];
        id = id < 0 ? 0 : id >= job->table_rows ? job->table_rows - 1 : id;
        const size_t at = (size_t)(id * job->table_ld + s.col) * gen_dtype_size(job->dtype);
        gen_to_f32(job->y + row * job->ld_y + s.col, (const char *)job->table + at, job->dtype,
                   (size_t)s.cols);
    }
}

/* A table of the checkpoint is read where it lies, in its stored type. */
static void run_embedding(gen_cpu *cpu, gen_cpu_step *step)
{
    const gen_tensor *ids = step->node->inputs[0], *table = step->node->inputs[1];
    const gen_tensor *y = step->node->output;
    embedding_job job = {.ids = gen_cpu_i32(cpu, ids),
                         .dtype = GEN_F32,
                         .table_rows = table->dims[0],
                         .table_ld = table->ld,
                         .width = table->dims[1],
                         .ids_cols = gen_last_dim(ids),
                         .ids_ld = ids->ld,
                         .y = gen_cpu_f32(cpu, y),
                         .ld_y = y->ld,
                         .spans = gen_spans_cut(gen_tensor_elements(ids), table->dims[1])};
    if (table->kind == GEN_KIND_WEIGHT) {
        job.table = table->weight->data;
        job.dtype = table->weight->dtype;
    } else {
        job.table = gen_cpu_f32(cpu, table);
    }
    gen_cpu_for(cpu, embedding_task, &job, gen_spans_count(&job.spans));
}

static void measure_embedding(const gen_cpu *cpu, const gen_node *node, gen_cpu_needs *needs)
{
    if (node->inputs[1]->kind != GEN_KIND_WEIGHT)
        gen_measure_widened(cpu, node, needs);
}

static gen_status prepare_embedding(gen_cpu *cpu, gen_cpu_step *step, gen_error *err)
{
    const gen_tensor *table = step->node->inputs[1];
    if (table->kind != GEN_KIND_WEIGHT)
        return gen_cpu_widen(cpu, table, err);
    GEN_TRY(gen_weight_check_finite(table->weight, err));
    gen_weight_drop_pages(table->weight); /* the few rows that are used come back */
    return GEN_OK;
}

/* ---- permute ---- */

/* The output as nested loops, outermost first, with the distance each moves in the input.  Loops
 * that stay neighbours are joined. */
typedef struct permute_job {
    const float *x;
    float *y;
    int rank;
    int64_t dims[GEN_MAX_RANK], step_x[GEN_MAX_RANK], step_y[GEN_MAX_RANK];
    int64_t outer; /* all loops but the last two */
    int64_t tiles; /* of the last but one */
} permute_job;

enum { TILE = 32 };

static void add_loop(permute_job *job, int64_t dim, int64_t x, int64_t y)
{
    const int i = job->rank - 1;
    if (dim == 1)
        return;
    if (i >= 0 && job->step_x[i] == x * dim && job->step_y[i] == y * dim) {
        job->dims[i] *= dim;
        job->step_x[i] = x;
        job->step_y[i] = y;
        return;
    }
    job->dims[job->rank] = dim;
    job->step_x[job->rank] = x;
    job->step_y[job->rank++] = y;
}

/* Rows r..end of the last two loops: tile by tile, so that both sides stay in the cache. */
static void move_tiles(const permute_job *job, const float *x, float *y, int64_t row, int64_t end)
{
    const int last = job->rank - 1;
    const int64_t cols = job->dims[last], x_row = job->step_x[last - 1];
    const int64_t y_row = job->step_y[last - 1], x_col = job->step_x[last];
    const int64_t y_col = job->step_y[last];
    for (int64_t start = 0; start < cols; start += TILE) {
        const int64_t stop = start + TILE < cols ? start + TILE : cols;
        for (int64_t r = row; r < end; r++)
            for (int64_t c = start; c < stop; c++)
                y[r * y_row + c * y_col] = x[r * x_row + c * x_col];
    }
}

static void permute_task(void *arg, int i, int worker)
{
    const permute_job *job = arg;
    const int last = job->rank - 1;
    const int64_t row = i % job->tiles * TILE, rows = job->dims[last - 1];
    const int64_t end = row + TILE < rows ? row + TILE : rows;
    const float *x = job->x;
    float *y = job->y;
    int64_t rest = i / job->tiles;
    (void)worker;
    for (int d = last - 2; d >= 0; d--) {
        x += rest % job->dims[d] * job->step_x[d];
        y += rest % job->dims[d] * job->step_y[d];
        rest /= job->dims[d];
    }
    if (job->step_x[last] == 1 && job->step_y[last] == 1) {
        for (int64_t r = row; r < end; r++)
            memcpy(y + r * job->step_y[last - 1], x + r * job->step_x[last - 1],
                   (size_t)job->dims[last] * sizeof(float));
    } else {
        move_tiles(job, x, y, row, end);
    }
}

static int64_t step_of(const gen_tensor *t, int dim)
{
    int64_t step = dim == t->rank - 1 ? 1 : t->ld;
    for (int i = dim + 1; i < t->rank - 1; i++)
        step *= t->dims[i];
    return step;
}

static void run_permute(gen_cpu *cpu, gen_cpu_step *step)
{
    const gen_node *n = step->node;
    const gen_tensor *x = n->inputs[0], *y = n->output;
    permute_job job = {.x = gen_cpu_f32(cpu, x), .y = gen_cpu_f32(cpu, y), .outer = 1};
    for (int i = 0; i < y->rank; i++)
        add_loop(&job, y->dims[i], step_of(x, n->p.permute.perm[i]), step_of(y, i));
    if (job.rank < 2) { /* nothing moves: one line, or one number */
        copy_rows(cpu, job.y, job.rank ? job.step_y[0] : 1, job.x, job.rank ? job.step_x[0] : 1,
                  job.rank ? job.dims[0] : 1, 1);
        return;
    }
    for (int i = 0; i < job.rank - 2; i++)
        job.outer *= job.dims[i];
    job.tiles = (job.dims[job.rank - 2] + TILE - 1) / TILE;
    gen_cpu_for(cpu, permute_task, &job, (int)(job.outer * job.tiles));
}

const gen_cpu_op gen_cpu_copy = {.supports = gen_has_no_epilogue,
                                 .measure = gen_measure_widened,
                                 .prepare = gen_prepare_widened,
                                 .run = run_copy};
const gen_cpu_op gen_cpu_window = {.supports = gen_has_no_epilogue,
                                   .measure = gen_measure_widened,
                                   .prepare = gen_prepare_widened,
                                   .run = run_window};
const gen_cpu_op gen_cpu_concat = {.supports = gen_has_no_epilogue,
                                   .measure = gen_measure_widened,
                                   .prepare = gen_prepare_widened,
                                   .run = run_concat};
const gen_cpu_op gen_cpu_upsample = {.supports = gen_has_no_epilogue,
                                     .measure = gen_measure_widened,
                                     .prepare = gen_prepare_widened,
                                     .run = run_upsample};
const gen_cpu_op gen_cpu_embedding = {.supports = gen_has_no_epilogue,
                                      .measure = measure_embedding,
                                      .prepare = prepare_embedding,
                                      .run = run_embedding};
const gen_cpu_op gen_cpu_permute = {.supports = gen_has_no_epilogue,
                                    .measure = gen_measure_widened,
                                    .prepare = gen_prepare_widened,
                                    .run = run_permute};
