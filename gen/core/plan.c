/* plan.c - from a recorded graph to one that runs: fusion, lifetimes, placement, inputs. */
#include "gen/core/plan.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "gen/core/fusion.h"
#include "gen/core/memory.h"

struct gen_plan {
    gen_graph *graph;
    gen_backend *backend;
    unsigned flags;
    size_t max_weights; /* 0: any number */
    gen_plan_stats stats;
    const gen_node **steps;
    int num_steps;
    bool is_compiled;
    void *backend_data;
};

/* ---- lifetimes ------------------------------------------------------------------------------ */

/* Tensors that share memory because one is computed in place of the other have one buffer. */
typedef struct lifetimes {
    int *buffer_of; /* by tensor id, -1: no memory in the arena */
    gen_buffer *buffers;
    int count;
} lifetimes;

static size_t tensor_bytes(const gen_tensor *t)
{
    return (size_t)gen_tensor_elements(t) * gen_dtype_size(t->dtype);
}

static int new_buffer(lifetimes *l, const gen_tensor *t, int first)
{
    l->buffers[l->count] = (gen_buffer){.size = tensor_bytes(t), .first = first, .last = first};
    return l->buffer_of[t->id] = l->count++;
}

static void extend(lifetimes *l, const gen_tensor *t, int step)
{
    gen_buffer *b = &l->buffers[l->buffer_of[t->id]];
    if (b->last < step)
        b->last = step;
}

/* May the op write its output over its i-th input? */
static bool works_in_place(const gen_node *n, int i)
{
    const gen_in_place in_place = gen_op_infos[n->op].in_place;
    return in_place == GEN_IN_PLACE_ANY || (in_place == GEN_IN_PLACE_FIRST && i == 0);
}

/* An input whose memory the output of `n`, the step-th node, can take over; else NULL. */
static const gen_tensor *reusable_input(const lifetimes *l, const gen_node *n, int step,
                                        const int *last_use)
{
    for (int i = 0; i < n->num_inputs; i++) {
        const gen_tensor *t = n->inputs[i];
        int64_t offset;
        const gen_tensor *owner = gen_tensor_owner(t, &offset);
        if (!works_in_place(n, i) || owner->kind != GEN_KIND_VALUE || owner->is_output ||
            offset != 0 || last_use[owner->id] != step || !gen_tensor_is_dense(t) ||
            tensor_bytes(t) != tensor_bytes(owner) || tensor_bytes(t) != tensor_bytes(n->output))
            continue;
        bool is_read_twice = false;
        for (int j = 0; j < n->num_inputs; j++)
            is_read_twice |= j != i && gen_tensor_owner(n->inputs[j], NULL) == owner;
        /* The buffer may be shared by earlier in-place results; its last reader must be this. */
        if (!is_read_twice && l->buffers[l->buffer_of[owner->id]].last <= step)
            return owner;
    }
    return NULL;
}

static void find_lifetimes(const gen_plan *plan, lifetimes *l, int *last_use)
{
    const bool keep_all = plan->flags & GEN_PLAN_KEEP_ALL;
    const int end = plan->num_steps;
    for (int s = 0; s < plan->num_steps; s++) {
        const gen_node *n = plan->steps[s];
        for (int i = 0; i < n->num_inputs; i++)
            last_use[gen_tensor_owner(n->inputs[i], NULL)->id] = s;
    }
    for (int i = 0; i < gen_graph_num_tensors(plan->graph); i++) {
        const gen_tensor *t = gen_graph_tensor(plan->graph, i);
        l->buffer_of[i] = -1;
        if (t->kind == GEN_KIND_INPUT && last_use[i] >= 0) {
            new_buffer(l, t, 0);
            extend(l, t, end);
        }
    }
    for (int s = 0; s < plan->num_steps; s++) {
        const gen_node *n = plan->steps[s];
        const gen_tensor *reused = n->output->carried_in;
        if (!reused && !keep_all)
            reused = reusable_input(l, n, s, last_use);
        if (reused && l->buffer_of[reused->id] >= 0)
            l->buffer_of[n->output->id] = l->buffer_of[reused->id];
        else
            new_buffer(l, n->output, s);
        const int last = last_use[n->output->id];
        extend(l, n->output, keep_all || n->output->is_output ? end : last > s ? last : s);
    }
}

/* A state must have been read by all its readers when its successor is written over it. */
static gen_status check_states(const gen_plan *plan, const int *last_use, gen_error *err)
{
    for (int s = 0; s < plan->num_steps; s++) {
        const gen_tensor *y = plan->steps[s]->output;
        if (y->carried_in && last_use[y->carried_in->id] >= s)
            return gen_fail(err, GEN_ERROR_INTERNAL, "%s: a state is read after its last change",
                            y->name);
    }
    return GEN_OK;
}

static gen_status place(gen_plan *plan, gen_error *err)
{
    const size_t n = (size_t)gen_graph_num_tensors(plan->graph);
    lifetimes l = {gen_malloc(n * sizeof(int)), gen_malloc(n * sizeof(gen_buffer)), 0};
    int *last_use = gen_malloc(n * sizeof(int));
    gen_status status = GEN_OK;
    if (!l.buffer_of || !l.buffers || !last_use) {
        status = gen_no_memory(err, "memory plan", n * sizeof(gen_buffer));
        goto done;
    }
    for (size_t i = 0; i < n; i++)
        last_use[i] = -1;
    find_lifetimes(plan, &l, last_use);
    if ((status = check_states(plan, last_use, err)))
        goto done;
    if ((status = gen_place_buffers(l.buffers, l.count, plan->backend->max_block,
                                    &plan->stats.arena, err)))
        goto done;
    for (size_t i = 0; i < n; i++) {
        gen_tensor *t = gen_graph_tensor(plan->graph, (int)i);
        if (l.buffer_of[i] < 0)
            continue;
        t->arena_offset = l.buffers[l.buffer_of[i]].offset;
        t->arena_size = tensor_bytes(t);
        if (t->arena_size > plan->stats.largest)
            plan->stats.largest = t->arena_size;
    }
done:
    gen_free(l.buffer_of);
    gen_free(l.buffers);
    gen_free(last_use);
    return status;
}

/* ---- making a plan -------------------------------------------------------------------------- */

double gen_node_flops(const gen_node *n)
{
    const double out = (double)gen_tensor_elements(n->output);
    const gen_tensor *x = n->inputs[0];
    switch (n->op) {
    case GEN_OP_LINEAR:
        return 2.0 * out * (double)x->dims[x->rank - 1];
    case GEN_OP_CONV2D: {
        const gen_tensor *w = n->inputs[1];
        return 2.0 * out * (double)gen_tensor_elements(w) / (double)w->dims[0];
    }
    case GEN_OP_ATTENTION: {
        const gen_tensor *k = n->inputs[1], *v = n->inputs[2];
        return 2.0 * (double)(x->dims[0] * x->dims[1]) * (double)k->dims[1] *
               (double)(x->dims[2] + v->dims[2]);
    }
    default:
        return out;
    }
}

static gen_status collect_steps(gen_plan *plan, gen_error *err)
{
    const int n = gen_graph_num_nodes(plan->graph);
    plan->steps = gen_calloc((size_t)n + 1, sizeof *plan->steps);
    if (!plan->steps)
        return gen_no_memory(err, "plan", (size_t)n * sizeof *plan->steps);
    for (int i = 0; i < n; i++) {
        const gen_node *node = gen_graph_node(plan->graph, i);
        if (node->is_fused_away)
            continue;
        if (!plan->backend->fns->supports(plan->backend, node))
            return gen_fail(err, GEN_ERROR_INTERNAL, "%s: the %s backend has no kernel for %s",
                            node->name[0] ? node->name : "unnamed op", plan->backend->fns->name,
                            gen_op_infos[node->op].name);
        plan->steps[plan->num_steps++] = node;
        plan->stats.flops += gen_node_flops(node);
        if (node->op == GEN_OP_ATTENTION)
            plan->stats.attention_flops += gen_node_flops(node);
    }
    plan->stats.num_nodes = plan->num_steps;
    return GEN_OK;
}

/* Vectors stay f32: what is derived from them on the host is exact. */
static void store_half(gen_plan *plan)
{
    for (int i = 0; i < gen_graph_num_tensors(plan->graph); i++) {
        gen_tensor *t = gen_graph_tensor(plan->graph, i);
        const bool is_vector = t->kind == GEN_KIND_INPUT && t->rank == 1;
        if (t->dtype == GEN_F32 && !is_vector && gen_tensor_owner(t, NULL)->kind != GEN_KIND_WEIGHT)
            t->dtype = GEN_F16;
    }
}

static gen_status build(gen_plan *plan, gen_error *err)
{
    GEN_TRY(gen_graph_status(plan->graph, err));
    if (!(plan->flags & GEN_PLAN_KEEP_ALL)) {
        GEN_TRY(gen_drop_dead_nodes(plan->graph, err));
        GEN_TRY(gen_fuse(plan->graph, plan->backend, err));
    }
    GEN_TRY(collect_steps(plan, err));
    if (plan->flags & GEN_PLAN_HALF && plan->backend->stores_half)
        store_half(plan);
    GEN_TRY(place(plan, err));
    gen_backend_needs needs = {0};
    GEN_TRY(plan->backend->fns->measure(plan->backend, plan, &needs, err));
    plan->stats.scratch = needs.scratch;
    plan->stats.weights = needs.weights;
    plan->stats.transformed = needs.transformed;
    plan->stats.least_weights = needs.least;
    plan->stats.slots = needs.slots;
    plan->stats.staged = needs.staged;
    plan->stats.io = needs.io;
    plan->stats.staging = needs.staging;
    if (plan->flags & GEN_PLAN_DRY)
        return GEN_OK;
    plan->is_compiled = true;
    return plan->backend->fns->compile(plan->backend, plan, err);
}

gen_status gen_plan_new(gen_plan **out, gen_graph *graph, gen_backend *backend, unsigned flags,
                        gen_error *err)
{
    return gen_plan_new_within(out, graph, backend, flags, 0, err);
}

gen_status gen_plan_new_within(gen_plan **out, gen_graph *graph, gen_backend *backend,
                               unsigned flags, size_t max_weights, gen_error *err)
{
    gen_plan *plan = gen_calloc(1, sizeof *plan);
    if (!plan) {
        gen_graph_free(graph);
        return gen_no_memory(err, "plan", sizeof *plan);
    }
    plan->graph = graph;
    plan->backend = backend;
    plan->flags = flags;
    plan->max_weights = max_weights;
    const gen_status status = build(plan, err);
    if (status) {
        gen_plan_free(plan);
        return status;
    }
    *out = plan;
    return GEN_OK;
}

void gen_plan_free(gen_plan *plan)
{
    if (!plan)
        return;
    if (plan->is_compiled)
        plan->backend->fns->release(plan->backend, plan);
    gen_free(plan->steps);
    gen_graph_free(plan->graph);
    gen_free(plan);
}

const gen_plan_stats *gen_plan_get_stats(const gen_plan *plan)
{
    return &plan->stats;
}

gen_graph *gen_plan_graph(const gen_plan *plan)
{
    return plan->graph;
}

unsigned gen_plan_flags(const gen_plan *plan)
{
    return plan->flags;
}

size_t gen_plan_max_weights(const gen_plan *plan)
{
    return plan->max_weights;
}

int gen_plan_num_steps(const gen_plan *plan)
{
    return plan->num_steps;
}

const gen_node *gen_plan_step(const gen_plan *plan, int i)
{
    return plan->steps[i];
}

void gen_plan_set_backend_data(gen_plan *plan, void *data)
{
    plan->backend_data = data;
}

void *gen_plan_backend_data(const gen_plan *plan)
{
    return plan->backend_data;
}

/* ---- inputs and outputs --------------------------------------------------------------------- */

static gen_tensor *find_input(const gen_plan *plan, const char *name)
{
    for (int i = 0; i < gen_graph_num_tensors(plan->graph); i++) {
        gen_tensor *t = gen_graph_tensor(plan->graph, i);
        if (t->kind == GEN_KIND_INPUT && !t->derived_from && strcmp(t->name, name) == 0)
            return t;
    }
    return NULL;
}

bool gen_plan_has_input(const gen_plan *plan, const char *name)
{
    return find_input(plan, name) != NULL;
}

/* Row of the embedding of t: f_k = max_period^(-k / (half - freq_shift)), angles t f_k; cosines
 * and sines in the order asked for, a zero at the end of an odd row. */
static void sinusoid_row(const gen_tensor *y, double t, float *row)
{
    const int64_t half = y->sinusoid.dim / 2;
    const double span = (double)half - y->sinusoid.freq_shift;
    float *cosines = y->sinusoid.flip_sin_to_cos ? row : row + half;
    float *sines = y->sinusoid.flip_sin_to_cos ? row + half : row;
    for (int64_t k = 0; k < half; k++) {
        const double f = exp(-log(y->sinusoid.max_period) * (double)k / span);
        cosines[k] = (float)cos(y->sinusoid.scale * t * f);
        sines[k] = (float)sin(y->sinusoid.scale * t * f);
    }
    if (y->sinusoid.dim % 2)
        row[y->sinusoid.dim - 1] = 0.0f;
}

static gen_status set_derived(gen_plan *plan, gen_tensor *y, const double *t, gen_error *err)
{
    const int64_t n = y->dims[0], dim = y->sinusoid.dim;
    float *rows = gen_malloc((size_t)(n * dim) * sizeof *rows);
    if (!rows)
        return gen_no_memory(err, "time embedding", (size_t)(n * dim) * sizeof *rows);
    for (int64_t i = 0; i < n; i++)
        sinusoid_row(y, t[i], rows + i * dim);
    const gen_status status = plan->backend->fns->upload(plan->backend, plan, y, rows, err);
    gen_free(rows);
    return status;
}

/* Uploads t and what is derived from it.  `values` are its elements in double, for derived inputs;
 * NULL when there are none of these to compute. */
static gen_status set_input(gen_plan *plan, gen_tensor *t, const void *data, const double *values,
                            gen_error *err)
{
    if (t->arena_size)
        GEN_TRY(plan->backend->fns->upload(plan->backend, plan, t, data, err));
    for (int i = 0; values && i < gen_graph_num_tensors(plan->graph); i++) {
        gen_tensor *y = gen_graph_tensor(plan->graph, i);
        if (y->derived_from == t && y->arena_size)
            GEN_TRY(set_derived(plan, y, values, err));
    }
    return GEN_OK;
}

static gen_status no_such(const char *kind, const char *name, gen_error *err)
{
    return gen_fail(err, GEN_ERROR_INTERNAL, "the network has no %s \"%s\"", kind, name);
}

gen_status gen_plan_set(gen_plan *plan, const char *name, const void *data, gen_error *err)
{
    gen_tensor *t = find_input(plan, name);
    if (!t)
        return no_such("input", name, err);
    if (t->rank != 1 || t->dtype != GEN_F32)
        return set_input(plan, t, data, NULL, err);
    double *values = gen_malloc((size_t)t->dims[0] * sizeof *values);
    if (!values)
        return gen_no_memory(err, name, (size_t)t->dims[0] * sizeof *values);
    for (int64_t i = 0; i < t->dims[0]; i++)
        values[i] = ((const float *)data)[i];
    const gen_status status = set_input(plan, t, data, values, err);
    gen_free(values);
    return status;
}

gen_status gen_plan_set_double(gen_plan *plan, const char *name, const double *data, gen_error *err)
{
    gen_tensor *t = find_input(plan, name);
    if (!t)
        return no_such("input", name, err);
    const size_t n = (size_t)gen_tensor_elements(t);
    float *narrow = gen_malloc(n * sizeof *narrow);
    if (!narrow)
        return gen_no_memory(err, name, n * sizeof *narrow);
    for (size_t i = 0; i < n; i++)
        narrow[i] = (float)data[i];
    const gen_status status = set_input(plan, t, narrow, data, err);
    gen_free(narrow);
    return status;
}

gen_status gen_plan_run(gen_plan *plan, gen_error *err)
{
    if (!plan->is_compiled)
        return gen_fail(err, GEN_ERROR_INTERNAL, "a dry plan cannot run");
    return plan->backend->fns->run(plan->backend, plan, err);
}

gen_status gen_plan_trace(gen_plan *plan, char *name, size_t size, gen_error *err)
{
    const gen_node *node = NULL;
    *name = '\0';
    GEN_TRY(plan->backend->fns->trace(plan->backend, plan, &node, err));
    if (!node)
        return GEN_OK;
    /* An op without a module of its own is named after the last one that has it. */
    const char *near = "the input";
    for (int i = 0; i < plan->num_steps; i++) {
        const gen_node *n = plan->steps[i];
        if (n->name[0])
            near = n->name;
        if (n == node)
            break;
    }
    snprintf(name, size, "%s%s", node->name[0] ? "" : "after ", near);
    return GEN_OK;
}

gen_status gen_plan_get(gen_plan *plan, const gen_tensor *t, void *data, gen_error *err)
{
    return plan->backend->fns->download(plan->backend, plan, t, data, err);
}

gen_status gen_plan_get_output(gen_plan *plan, const char *name, void *data, gen_error *err)
{
    for (int nth = 0;; nth++) {
        const gen_tensor *t = gen_graph_find(plan->graph, name, nth);
        if (!t)
            return no_such("output", name, err);
        if (t->is_output || (plan->flags & GEN_PLAN_KEEP_ALL))
            return gen_plan_get(plan, t, data, err);
    }
}
