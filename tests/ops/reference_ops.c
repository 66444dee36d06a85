/* reference_ops.c - the plain loops of every op. */
#include "tests/ops/reference.h"

#define ROW(NAME, name, in_place) reference_##name,
reference_op *const reference_ops[] = {GEN_OP_ROWS(ROW)};
