/* ops.c - the CPU driver of every op. */
#include "gen/cpu/cpu_internal.h"

#define ROW(NAME, name, in_place) &gen_cpu_##name,
const gen_cpu_op *const gen_cpu_ops[] = {GEN_OP_ROWS(ROW)};
