/* reference.h - what a graph should compute: every op as plain loops in double.
 *
 * A recorded graph is evaluated node by node, before any plan touches it, and every tensor keeps
 * its values.  This is what the tests hold the backends against. */
#ifndef GEN_TESTS_OPS_REFERENCE_H
#define GEN_TESTS_OPS_REFERENCE_H

#include "gen/core/graph.h"

typedef struct reference reference;

/* Values of a graph input in the input's own type (f32 or i32), dense; borrowed. */
typedef struct reference_input {
    const char *name;
    const void *data;
} reference_input;

/* Evaluates all nodes.  Fails the running test when an input has no values. */
reference *reference_new(const gen_graph *graph, int num_inputs, const reference_input *inputs);
void reference_free(reference *r);

/* The elements of any tensor of the graph, dense, in a new block for free().  `id` is its index in
 * the graph, so that a tensor of the same graph recorded again can be looked up too. */
double *reference_values(const reference *r, int id);

/* An op: the dense elements of its inputs become those of its output. */
typedef void reference_op(const gen_node *n, double **in, double *y);

#define ROW(NAME, name, in_place) reference_op reference_##name;
GEN_OP_ROWS(ROW)
#undef ROW
extern reference_op *const reference_ops[]; /* by gen_op: reference_ops.c */

#endif
