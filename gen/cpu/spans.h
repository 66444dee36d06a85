/* spans.h - cutting light work into tasks.  Shared by elementwise.c, layout.c and norm.c. */
#ifndef GEN_CPU_SPANS_H
#define GEN_CPU_SPANS_H

#include "gen/cpu/cpu_internal.h"

/* A task is at least this many elements (some 10 us of work) where there are so many. */
enum { GEN_SPAN_ELEMENTS = 16384 };

/* A rectangle of rows x cols cut into tasks of whole rows or, when rows are long, parts of a row.
 */
typedef struct gen_spans {
    int64_t rows, cols;
    int64_t task_rows, task_cols; /* of one task; the last ones may be smaller */
    int row_tasks, col_tasks;
} gen_spans;

static inline gen_spans gen_spans_cut(int64_t rows, int64_t cols)
{
    gen_spans s = {.rows = rows, .cols = cols, .task_rows = 1, .task_cols = cols};
    if (cols > 2 * GEN_SPAN_ELEMENTS)
        s.task_cols = GEN_SPAN_ELEMENTS;
    else
        s.task_rows = (GEN_SPAN_ELEMENTS + cols - 1) / cols;
    s.row_tasks = (int)((rows + s.task_rows - 1) / s.task_rows);
    s.col_tasks = (int)((cols + s.task_cols - 1) / s.task_cols);
    return s;
}

static inline int gen_spans_count(const gen_spans *s)
{
    return s->row_tasks * s->col_tasks;
}

/* The part of task i: rows [row, end_row) and `cols` columns from `col` on. */
typedef struct gen_span {
    int64_t row, end_row, col, cols;
} gen_span;

static inline gen_span gen_spans_at(const gen_spans *s, int i)
{
    const int64_t row = i / s->col_tasks * s->task_rows, col = i % s->col_tasks * s->task_cols;
    const int64_t rows = s->rows - row, cols = s->cols - col;
    return (gen_span){row, row + (rows < s->task_rows ? rows : s->task_rows), col,
                      cols < s->task_cols ? cols : s->task_cols};
}

static inline int64_t gen_last_dim(const gen_tensor *t)
{
    return t->dims[t->rank - 1];
}

/* For ops that read all their inputs as f32: counts and makes the widened forms of weights. */
static inline void gen_measure_widened(const gen_cpu *cpu, const gen_node *node,
                                       gen_cpu_needs *needs)
{
    (void)cpu;
    for (int i = 0; i < node->num_inputs; i++) {
        const gen_tensor *owner = gen_tensor_owner(node->inputs[i], NULL);
        if (owner->kind == GEN_KIND_WEIGHT)
            needs->weights += (size_t)gen_tensor_elements(owner) * sizeof(float);
    }
}

static inline gen_status gen_prepare_widened(gen_cpu *cpu, gen_cpu_step *step, gen_error *err)
{
    for (int i = 0; i < step->node->num_inputs; i++)
        GEN_TRY(gen_cpu_widen(cpu, step->node->inputs[i], err));
    return GEN_OK;
}

/* No epilogue: ops that fusion never gives one. */
static inline bool gen_has_no_epilogue(const gen_cpu *cpu, const gen_node *node)
{
    (void)cpu;
    return node->epilogue.act == GEN_ACT_NONE && node->epilogue.post_act == GEN_ACT_NONE &&
           !node->epilogue.residual;
}

#endif
