/* ops.c - what the planner knows of ops. */
#include "gen/core/ops.h"

#define ROW(NAME, name, in_place) {#name, in_place},
const gen_op_info gen_op_infos[] = {GEN_OP_ROWS(ROW)};
