/* leaky_graph.c - the recipe for an op: the function that records it. */
#include "tests/property/op_recipe/leaky.h"

gen_tensor *gen_leaky(gen_graph *g, gen_tensor *x, float slope)
{
    gen_node *n;
    if (x->is_poisoned)
        return x;
    if (!(slope > 0.0f && slope < 1.0f))
        return gen_graph_fail(g, x->name, GEN_ERROR_MODEL, "a slope of %g, expected one in (0,1)",
                              (double)slope);
    gen_tensor *y = gen_graph_append(g, (gen_op)GEN_OP_LEAKY, "", 1, &x, x->rank, x->dims, &n);
    n->p.affine.a = slope; /* the struct of an op there is */
    return y;
}
