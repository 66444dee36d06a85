/* plan.h - a graph made ready to run: fused, placed in memory, compiled by a backend.
 *
 * Making a plan (1) fuses nodes where the backend agrees, (2) finds the lifetime of every tensor
 * and gives each an offset in one arena so that tensors alive together never overlap, reusing the
 * memory of a dying input in place where the op allows it, (3) lets the backend prepare weights.
 * The arena belongs to the backend and is shared by all its plans: set all inputs before each run
 * and download outputs before running another plan. */
#ifndef GEN_CORE_PLAN_H
#define GEN_CORE_PLAN_H

#include "gen/core/backend.h"

enum {
    GEN_PLAN_KEEP_ALL = 1, /* no fusion, no reuse: every tensor can be downloaded by name */
    GEN_PLAN_DRY = 2,      /* sizes and counts only: cannot run, prepares nothing */
    GEN_PLAN_HALF = 4      /* activations may lie in f16 where the backend is set so; data set and
                              fetched stay f32 */
};

typedef struct gen_plan_stats {
    size_t arena;           /* bytes of activations */
    size_t largest;         /* bytes of the largest single tensor in it */
    size_t scratch;         /* bytes of the backend's working memory */
    size_t weights;         /* bytes of prepared weights */
    size_t transformed;     /* the part of them kept beside the packed original */
    size_t least_weights;   /* what `weights` can be brought to: see gen_plan_new_within() */
    size_t slots;           /* of `weights`, room that streamed ones pass through */
    size_t staged;          /* bytes of the file in memory while one of them is prepared */
    size_t io;              /* bytes of inputs and results beside the arena, while the plan lives */
    size_t staging;         /* bytes of the host between it and a device; once for all plans */
    double flops;           /* multiply-adds count twice */
    double attention_flops; /* the part of them in attention */
    int num_nodes;          /* that run */
} gen_plan_stats;

/* Takes the graph over, also on failure.  Errors: what the graph kept; MEMORY; MODEL (a weight that
 * is not finite); DEVICE. */
gen_status gen_plan_new(gen_plan **out, gen_graph *graph, gen_backend *backend, unsigned flags,
                        gen_error *err);
/* The same with at most `max_weights` bytes of prepared weights in memory, 0: any number.  Matrices
 * and kernels beyond that are prepared from the file for the node that reads them, in every run,
 * and given back behind it; numbers do not change.  Where even the fewest (least_weights) are more,
 * or the backend cannot, the plan takes what it has to. */
gen_status gen_plan_new_within(gen_plan **out, gen_graph *graph, gen_backend *backend,
                               unsigned flags, size_t max_weights, gen_error *err);
void gen_plan_free(gen_plan *plan);
size_t gen_plan_max_weights(const gen_plan *plan);

const gen_plan_stats *gen_plan_get_stats(const gen_plan *plan);
gen_graph *gen_plan_graph(const gen_plan *plan);
unsigned gen_plan_flags(const gen_plan *plan);

/* The nodes that run, in order. */
int gen_plan_num_steps(const gen_plan *plan);
const gen_node *gen_plan_step(const gen_plan *plan, int i);

/* A backend's own data for this plan (set in compile, freed in release). */
void gen_plan_set_backend_data(gen_plan *plan, void *data);
void *gen_plan_backend_data(const gen_plan *plan);

/* Uploads an input, dense and in its dtype (f32, or i32 for ids); its derived inputs follow.
 * Errors: ARGUMENT when there is no such input. */
gen_status gen_plan_set(gen_plan *plan, const char *name, const void *data, gen_error *err);
/* The same for an f32 input given in double (timesteps): embeddings are derived in double. */
gen_status gen_plan_set_double(gen_plan *plan, const char *name, const double *data,
                               gen_error *err);
bool gen_plan_has_input(const gen_plan *plan, const char *name);

gen_status gen_plan_run(gen_plan *plan, gen_error *err);

/* Runs node by node and finds the first output that is not finite; the inputs must be set anew.
 * Writes its name into `name`, or "" when all are finite. */
gen_status gen_plan_trace(gen_plan *plan, char *name, size_t size, gen_error *err);

/* Copies a tensor (an output; any with KEEP_ALL) into dense memory. */
gen_status gen_plan_get(gen_plan *plan, const gen_tensor *t, void *data, gen_error *err);
gen_status gen_plan_get_output(gen_plan *plan, const char *name, void *data, gen_error *err);

/* FLOPs of one node. */
double gen_node_flops(const gen_node *node);

#endif
