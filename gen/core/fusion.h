/* fusion.h - rewriting pairs of nodes into one, where the backend has a kernel for the pair. */
#ifndef GEN_CORE_FUSION_H
#define GEN_CORE_FUSION_H

#include "gen/core/backend.h"

/* Marks nodes whose result nothing needs as fused away. */
gen_status gen_drop_dead_nodes(gen_graph *graph, gen_error *err);

/* Applies the table of fusion.c to the graph.  A node that is done by another one is marked
 * is_fused_away; the remaining nodes in their order compute the same outputs. */
gen_status gen_fuse(gen_graph *graph, gen_backend *backend, gen_error *err);

#endif
