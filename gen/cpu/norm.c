/* norm.c - group norm, layer norm, RMS norm.
 *
 * Group norm works on blocks of BLOCK positions, a grid that follows from the shape alone: (1) each
 * block gives the mean and the sum of squared deviations of each group; (2) blocks are merged in
 * their order, in double; (3) each block is scaled and shifted.  Nothing is written before all of x
 * is read, so the output may take the place of x.  Layer and RMS norm are one kernel call a row. */
#include <math.h>
#include <string.h>

#include "gen/cpu/kernels/vector_kernels.h"
#include "gen/cpu/spans.h"

enum { BLOCK = 128 };

/* Count, mean and sum of squared deviations of a set of numbers. */
typedef struct moments {
    double count, mean, square;
} moments;

/* The moments of two sets together (Chan, Golub & LeVeque 1983). */
static moments merged(moments a, moments b)
{
    const double count = a.count + b.count, d = b.mean - a.mean;
    return (moments){count, a.mean + d * (b.count / count),
                     a.square + b.square + d * d * (a.count * b.count / count)};
}

typedef struct group_norm_shape {
    int64_t samples, positions, channels, blocks; /* blocks of one sample */
    int groups, width;                            /* channels of a group */
} group_norm_shape;

static group_norm_shape shape_of(const gen_node *n)
{
    const gen_tensor *x = n->inputs[0];
    group_norm_shape s = {.samples = x->dims[0],
                          .positions = gen_tensor_rows(x) / x->dims[0],
                          .channels = gen_last_dim(x),
                          .groups = n->p.norm.groups};
    s.blocks = (s.positions + BLOCK - 1) / BLOCK;
    s.width = (int)(s.channels / s.groups);
    return s;
}

typedef struct group_norm_job {
    group_norm_shape s;
    const gen_node *node;
    const gen_vector_kernels *k;
    const float *x, *weight, *bias;
    float *y;
    int64_t ld_x, ld_y;
    moments *blocks;             /* [samples][blocks][groups] */
    float *mean, *scale, *shift; /* [samples][channels] each */
    char *per_worker;
    size_t worker_size;
} group_norm_job;

static size_t moments_size(const group_norm_shape *s)
{
    return (size_t)(s->samples * s->blocks * s->groups) * sizeof(moments);
}

static void measure_group_norm(const gen_cpu *cpu, const gen_node *n, gen_cpu_needs *needs)
{
    const group_norm_shape s = shape_of(n);
    gen_measure_widened(cpu, n, needs);
    needs->shared = moments_size(&s) + (size_t)(3 * s.samples * s.channels) * sizeof(float);
    needs->per_worker = ((size_t)(2 * s.channels) * sizeof(float) + 127) / 128 * 128;
}

/* Rows of block i of all samples: the first, counted over the whole tensor, and how many. */
static int64_t block_rows(const group_norm_shape *s, int i, int64_t *row)
{
    const int64_t sample = i / s->blocks, start = i % s->blocks * BLOCK;
    *row = sample * s->positions + start;
    return s->positions - start < BLOCK ? s->positions - start : BLOCK;
}

static void moments_task(void *arg, int i, int worker)
{
    const group_norm_job *job = arg;
    const group_norm_shape *s = &job->s;
    int64_t row;
    const int64_t rows = block_rows(s, i, &row);
    const float *x = job->x + row * job->ld_x;
    float *sum = (float *)(void *)(job->per_worker + (size_t)worker * job->worker_size);
    float *square = sum + s->channels;
    job->k->moments(sum, square, x, (size_t)job->ld_x, (size_t)rows, (size_t)s->channels);

    const double n = (double)rows, reciprocal = 1.0 / n;
    for (int g = 0; g < s->groups; g++) {
        const int64_t first = (int64_t)g * s->width;
        double total = 0.0, within = 0.0, between = 0.0;
        for (int c = 0; c < s->width; c++)
            total += (double)x[first + c] + (double)sum[first + c] * reciprocal;
        const double mean = total / s->width;
        for (int c = 0; c < s->width; c++) {
            const double rest = (double)sum[first + c] * reciprocal;
            const double d = (double)x[first + c] + rest - mean;
            within += (double)square[first + c] - (double)sum[first + c] * rest;
            between += d * d;
        }
        job->blocks[(int64_t)i * s->groups + g] =
            (moments){n * s->width, mean, (within < 0.0 ? 0.0 : within) + n * between};
    }
}

/* The statistics of one sample as mean, scale and shift of each channel.  The mean is kept in two
 * parts, the second inside the shift: rounding it would move the result by mean / 2^24. */
static void merge_task(void *arg, int sample, int worker)
{
    const group_norm_job *job = arg;
    const group_norm_shape *s = &job->s;
    const int64_t first = (int64_t)sample * s->channels;
    (void)worker;
    for (int g = 0; g < s->groups; g++) {
        const moments *b = job->blocks + sample * s->blocks * s->groups + g;
        moments m = b[0];
        for (int64_t i = 1; i < s->blocks; i++)
            m = merged(m, b[i * s->groups]);
        const double r = 1.0 / sqrt(m.square / m.count + (double)job->node->p.norm.eps);
        const float mean = (float)m.mean;
        const double rest = m.mean - (double)mean;
        for (int64_t c = (int64_t)g * s->width; c < (int64_t)(g + 1) * s->width; c++) {
            const double scale = job->weight ? r * (double)job->weight[c] : r;
            job->mean[first + c] = mean;
            job->scale[first + c] = (float)scale;
            job->shift[first + c] =
                (float)((job->bias ? (double)job->bias[c] : 0.0) - rest * scale);
        }
    }
}

static void scale_task(void *arg, int i, int worker)
{
    const group_norm_job *job = arg;
    int64_t row;
    const int64_t rows = block_rows(&job->s, i, &row);
    const int64_t first = i / job->s.blocks * job->s.channels;
    (void)worker;
    for (int64_t r = row; r < row + rows; r++)
        job->k->normalise(job->node->epilogue.act, job->y + r * job->ld_y, job->x + r * job->ld_x,
                          job->mean + first, job->scale + first, job->shift + first,
                          (size_t)job->s.channels);
}

static const float *optional_f32(const gen_cpu *cpu, const gen_node *n, int i)
{
    return n->num_inputs > i ? gen_cpu_f32(cpu, n->inputs[i]) : NULL;
}

static void run_group_norm(gen_cpu *cpu, gen_cpu_step *step)
{
    const gen_node *n = step->node;
    group_norm_job job = {.s = shape_of(n),
                          .node = n,
                          .k = cpu->k->vector,
                          .x = gen_cpu_f32(cpu, n->inputs[0]),
                          .weight = optional_f32(cpu, n, 1),
                          .bias = optional_f32(cpu, n, 2),
                          .y = gen_cpu_f32(cpu, n->output),
                          .ld_x = n->inputs[0]->ld,
                          .ld_y = n->output->ld,
                          .per_worker = step->per_worker,
                          .worker_size = step->needs.per_worker};
    const group_norm_shape *s = &job.s;
    job.blocks = (moments *)(void *)step->shared;
    job.mean = (float *)(void *)(step->shared + moments_size(s));
    job.scale = job.mean + s->samples * s->channels;
    job.shift = job.scale + s->samples * s->channels;
    gen_cpu_for(cpu, moments_task, &job, (int)(s->samples * s->blocks));
    gen_cpu_for(cpu, merge_task, &job, (int)s->samples);
    gen_cpu_for(cpu, scale_task, &job, (int)(s->samples * s->blocks));
}

/* ---- rows ---- */

typedef struct row_norm_job {
    const gen_node *node;
    const gen_vector_kernels *k;
    const float *x, *weight, *bias;
    float *y;
    int64_t rows, task_rows;
} row_norm_job;

static void row_norm_task(void *arg, int i, int worker)
{
    const row_norm_job *job = arg;
    const gen_node *n = job->node;
    const size_t width = (size_t)gen_last_dim(n->output);
    const int64_t first = i * job->task_rows;
    (void)worker;
    for (int64_t row = first; row < first + job->task_rows && row < job->rows; row++) {
        const float *x = job->x + row * n->inputs[0]->ld;
        float *y = job->y + row * n->output->ld;
        if (n->op == GEN_OP_LAYER_NORM)
            job->k->layer_norm(y, x, job->weight, job->bias, n->p.norm.eps, width);
        else
            job->k->rms_norm(y, x, job->weight, n->p.norm.eps, width);
        if (n->epilogue.act != GEN_ACT_NONE)
            job->k->act(n->epilogue.act, y, y, width);
    }
}

static void run_row_norm(gen_cpu *cpu, gen_cpu_step *step)
{
    const gen_node *n = step->node;
    row_norm_job job = {.node = n,
                        .k = cpu->k->vector,
                        .x = gen_cpu_f32(cpu, n->inputs[0]),
                        .weight = optional_f32(cpu, n, 1),
                        .bias = optional_f32(cpu, n, 2),
                        .y = gen_cpu_f32(cpu, n->output),
                        .rows = gen_tensor_rows(n->output)};
    job.task_rows = 1 + GEN_SPAN_ELEMENTS / gen_last_dim(n->output);
    gen_cpu_for(cpu, row_norm_task, &job, (int)((job.rows + job.task_rows - 1) / job.task_rows));
}

static bool supports_norm(const gen_cpu *cpu, const gen_node *node)
{
    (void)cpu;
    return node->epilogue.post_act == GEN_ACT_NONE && !node->epilogue.residual;
}

const gen_cpu_op gen_cpu_group_norm = {.supports = supports_norm,
                                       .measure = measure_group_norm,
                                       .prepare = gen_prepare_widened,
                                       .run = run_group_norm};
const gen_cpu_op gen_cpu_layer_norm = {.supports = supports_norm,
                                       .measure = gen_measure_widened,
                                       .prepare = gen_prepare_widened,
                                       .run = run_row_norm};
const gen_cpu_op gen_cpu_rms_norm = {.supports = supports_norm,
                                     .measure = gen_measure_widened,
                                     .prepare = gen_prepare_widened,
                                     .run = run_row_norm};
