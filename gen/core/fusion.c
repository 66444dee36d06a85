/* fusion.c - the table of fusions and the pass that applies it.
 *
 *     linear | conv2d, then activation          act in the epilogue
 *     linear | conv2d, then + residual          residual in the epilogue
 *     linear | conv2d, + residual, activation   post_act in the epilogue
 *     group norm | layer norm, then activation  act in the epilogue
 *     upsample, then conv2d                     resized while the convolution reads
 *
 * The pair becomes one node at the place of the second, so whatever the second needs exists.  The
 * first must have no other reader.  A pair the backend does not support stays two nodes. */
#include "gen/core/fusion.h"

#include <string.h>

typedef struct pass {
    gen_graph *graph;
    gen_backend *backend;
    int *uses; /* by tensor id, for owners of memory: nodes that read it, plus outputs */
} pass;

/* The node behind t when t is all of its output and nobody else reads that; else NULL. */
static gen_node *only_reader_of(const pass *p, const gen_tensor *t)
{
    int64_t offset;
    const gen_tensor *owner = gen_tensor_owner(t, &offset);
    if (owner->kind != GEN_KIND_VALUE || owner->is_output || p->uses[owner->id] != 1 ||
        offset != 0 || !gen_tensor_is_dense(t) ||
        gen_tensor_elements(t) != gen_tensor_elements(owner))
        return NULL;
    return owner->producer;
}

static bool same_shape(const gen_tensor *a, const gen_tensor *b)
{
    return a->rank == b->rank && memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims) == 0;
}

/* Can the sums of `first` be stored as `y` directly? */
static bool stores_as(const gen_node *first, const gen_tensor *y)
{
    if (first->op == GEN_OP_LINEAR) /* same rows; a row per sample is not enough */
        return first->output->dims[first->output->rank - 1] == y->dims[y->rank - 1] &&
               gen_tensor_elements(first->output) == gen_tensor_elements(y);
    return same_shape(first->output, y);
}

static bool is_product(const gen_node *n)
{
    return n && (n->op == GEN_OP_LINEAR || n->op == GEN_OP_CONV2D);
}

/* Replaces `second` by `merged` when the backend can run that. */
static bool adopt(pass *p, gen_node *first, gen_node *second, const gen_node *merged)
{
    if (!p->backend->fns->supports(p->backend, merged))
        return false;
    const int id = second->id;
    gen_tensor *output = second->output;
    *second = *merged;
    second->id = id;
    second->output = output;
    output->producer = second;
    first->is_fused_away = true;
    return true;
}

static bool fuse_activation(pass *p, gen_node *second)
{
    gen_node *first = only_reader_of(p, second->inputs[0]);
    if (!first || !stores_as(first, second->output))
        return false;
    gen_node merged = *first;
    merged.output = second->output;
    gen_epilogue *e = &merged.epilogue;
    if (is_product(first)) {
        if (e->residual && e->post_act == GEN_ACT_NONE)
            e->post_act = second->p.unary.act;
        else if (!e->residual && e->act == GEN_ACT_NONE)
            e->act = second->p.unary.act;
        else
            return false;
    } else if ((first->op == GEN_OP_GROUP_NORM || first->op == GEN_OP_LAYER_NORM) &&
               e->act == GEN_ACT_NONE) {
        e->act = second->p.unary.act;
    } else {
        return false;
    }
    return adopt(p, first, second, &merged);
}

/* [N,1,1,C] beside [N,H,W,C], or [N,1,C] beside [N,T,C]: one row for each sample. */
static bool is_row_per_sample(const gen_tensor *r, const gen_tensor *y)
{
    if (r->rank != y->rank || y->rank < 3 || r->dims[0] != y->dims[0] ||
        r->dims[r->rank - 1] != y->dims[y->rank - 1])
        return false;
    for (int i = 1; i < r->rank - 1; i++)
        if (r->dims[i] != 1)
            return false;
    return true;
}

static bool fuse_residual(pass *p, gen_node *second)
{
    if (second->p.binary.op != GEN_ADD)
        return false;
    for (int i = 1; i >= 0; i--) {
        gen_node *first = only_reader_of(p, second->inputs[i]);
        gen_tensor *residual = second->inputs[1 - i];
        if (!is_product(first) || first->epilogue.residual || first->num_inputs >= GEN_MAX_INPUTS ||
            !stores_as(first, second->output) || gen_tensor_owner(residual, NULL)->weight)
            continue;
        const bool broadcasts =
            is_row_per_sample(residual, second->output) && !same_shape(residual, second->output);
        if (!broadcasts && !same_shape(residual, second->output))
            continue;
        gen_node merged = *first;
        merged.output = second->output;
        merged.inputs[merged.num_inputs++] = residual;
        merged.epilogue.residual = residual;
        merged.epilogue.residual_broadcasts = broadcasts;
        if (adopt(p, first, second, &merged))
            return true;
    }
    return false;
}

static bool fuse_upsample(pass *p, gen_node *second)
{
    gen_node *first = only_reader_of(p, second->inputs[0]);
    if (!first || first->op != GEN_OP_UPSAMPLE || second->p.conv2d.upsample_h ||
        second->p.conv2d.stride != 1 || !same_shape(first->output, second->inputs[0]))
        return false;
    gen_node merged = *second;
    merged.p.conv2d.upsample_h = (int)first->output->dims[1];
    merged.p.conv2d.upsample_w = (int)first->output->dims[2];
    merged.inputs[0] = first->inputs[0];
    return adopt(p, first, second, &merged);
}

static bool fuse_into(pass *p, gen_node *second)
{
    switch (second->op) {
    case GEN_OP_UNARY:
        return fuse_activation(p, second);
    case GEN_OP_BINARY:
        return fuse_residual(p, second);
    case GEN_OP_CONV2D:
        return fuse_upsample(p, second);
    default:
        return false;
    }
}

gen_status gen_fuse(gen_graph *graph, gen_backend *backend, gen_error *err)
{
    const size_t n = (size_t)gen_graph_num_tensors(graph);
    pass p = {graph, backend, gen_calloc(n, sizeof(int))};
    if (!p.uses)
        return gen_no_memory(err, "fusion", n * sizeof(int));
    for (int i = 0; i < gen_graph_num_nodes(graph); i++) {
        const gen_node *node = gen_graph_node(graph, i);
        for (int j = 0; j < node->num_inputs && !node->is_fused_away; j++)
            p.uses[gen_tensor_owner(node->inputs[j], NULL)->id]++;
    }
    for (int i = 0; i < gen_graph_num_nodes(graph); i++) {
        gen_node *node = gen_graph_node(graph, i);
        if (!node->is_fused_away)
            fuse_into(&p, node);
    }
    gen_free(p.uses);
    return GEN_OK;
}

gen_status gen_drop_dead_nodes(gen_graph *graph, gen_error *err)
{
    const size_t n = (size_t)gen_graph_num_tensors(graph);
    bool *needed = gen_calloc(n, sizeof *needed);
    if (!needed)
        return gen_no_memory(err, "graph", n);
    for (int i = gen_graph_num_nodes(graph) - 1; i >= 0; i--) {
        gen_node *node = gen_graph_node(graph, i);
        if (!node->output->is_output && !needed[node->output->id]) {
            node->is_fused_away = true;
            continue;
        }
        for (int j = 0; j < node->num_inputs; j++)
            needed[gen_tensor_owner(node->inputs[j], NULL)->id] = true;
    }
    gen_free(needed);
    return GEN_OK;
}
