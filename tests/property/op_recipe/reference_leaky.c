/* reference_leaky.c - the recipe for an op: what it should compute. */
#include "tests/ops/reference.h"

extern reference_op reference_leaky;
void reference_leaky(const gen_node *n, double **in, double *y)
{
    for (int64_t i = 0; i < gen_tensor_elements(n->output); i++)
        y[i] = in[0][i] > 0.0 ? in[0][i] : (double)n->p.affine.a * in[0][i];
}
