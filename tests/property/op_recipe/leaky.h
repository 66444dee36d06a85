/* leaky.h - the op that the recipe of gen/core/ops.h adds: y = x where x > 0, else slope x. */
#ifndef GEN_TESTS_PROPERTY_OP_RECIPE_LEAKY_H
#define GEN_TESTS_PROPERTY_OP_RECIPE_LEAKY_H

#include "gen/core/graph.h"

/* The rows of ops.h and one more; the tables below this folder are made of them. */
#define MORE_OP_ROWS(ROW) GEN_OP_ROWS(ROW) ROW(LEAKY, leaky, GEN_IN_PLACE_FIRST)
enum { GEN_OP_LEAKY = GEN_NUM_OPS };

/* x [...] -> [...] */
gen_tensor *gen_leaky(gen_graph *g, gen_tensor *x, float slope);

#endif
