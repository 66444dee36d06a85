/* leaky_cpu.c - the recipe for an op: its CPU driver. */
#include "gen/cpu/spans.h"
#include "tests/property/op_recipe/leaky.h"

typedef struct leaky_job {
    const float *x;
    float *y, slope;
    int64_t ld_x, ld_y;
    gen_spans spans;
} leaky_job;

static void leaky_task(void *arg, int i, int worker)
{
    const leaky_job *job = arg;
    const gen_span s = gen_spans_at(&job->spans, i);
    (void)worker;
    for (int64_t row = s.row; row < s.end_row; row++)
        for (int64_t c = s.col; c < s.col + s.cols; c++) {
            const float x = job->x[row * job->ld_x + c];
            job->y[row * job->ld_y + c] = x > 0.0f ? x : job->slope * x;
        }
}

static void run_leaky(gen_cpu *cpu, gen_cpu_step *step)
{
    const gen_tensor *x = step->node->inputs[0], *y = step->node->output;
    leaky_job job = {gen_cpu_f32(cpu, x),
                     gen_cpu_f32(cpu, y),
                     step->node->p.affine.a,
                     x->ld,
                     y->ld,
                     gen_spans_cut(gen_tensor_rows(y), gen_last_dim(y))};
    gen_cpu_for(cpu, leaky_task, &job, gen_spans_count(&job.spans));
}

extern const gen_cpu_op gen_cpu_leaky;
const gen_cpu_op gen_cpu_leaky = {.supports = gen_has_no_epilogue,
                                  .measure = gen_measure_widened,
                                  .prepare = gen_prepare_widened,
                                  .run = run_leaky};
