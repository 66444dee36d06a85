/* cpu_internal.h - shared by the files of the CPU backend and by nothing else. */
#ifndef GEN_CPU_CPU_INTERNAL_H
#define GEN_CPU_CPU_INTERNAL_H

#include "gen/core/plan.h"
#include "gen/cpu/cpu.h"
#include "gen/cpu/kernels/kernels.h"

typedef struct gen_cpu {
    gen_backend base;
    const gen_cpu_kernels *k; /* the table of the chosen instruction set */
    gen_pool *pool;
    int num_threads;
    gen_cpu_options options;
    gen_cpu_gemm gemm; /* OWN or OPENBLAS, decided at open */
    char *arena;       /* activations of the running plan; grows */
    size_t arena_size;
    char *scratch; /* working memory of the running node; grows */
    size_t scratch_size;
} gen_cpu;

/* Working memory a node wants while it runs: `shared` once, `per_worker` for each thread. */
typedef struct gen_cpu_needs {
    size_t shared, per_worker;
    size_t weights;     /* bytes of the forms `prepare` will make or find */
    size_t transformed; /* the part of them that is beside the packed original */
} gen_cpu_needs;

/* One node of a compiled plan. */
typedef struct gen_cpu_step {
    const gen_node *node;
    const struct gen_cpu_op *op;
    void *state; /* the op's own, from the plan's arena, zeroed; see state_size */
    gen_cpu_needs needs;
    bool is_streamed; /* its matrix is prepared before each run of it and given back behind it */
    char *shared;     /* 64-byte aligned, valid while the node runs */
    char *per_worker;
} gen_cpu_step;

typedef struct gen_cpu_op {
    bool (*supports)(const gen_cpu *cpu, const gen_node *node);
    size_t state_size;
    /* Fills needs from the shapes alone; called for dry plans too, where weights have no data. */
    void (*measure)(const gen_cpu *cpu, const gen_node *node, gen_cpu_needs *needs);
    /* Once per plan, after measure: packs weights (gen_weight_prepared), fills step->state. */
    gen_status (*prepare)(gen_cpu *cpu, gen_cpu_step *step, gen_error *err);
    void (*run)(gen_cpu *cpu, gen_cpu_step *step);
} gen_cpu_op;

#define ROW(NAME, name, in_place) extern const gen_cpu_op gen_cpu_##name;
GEN_OP_ROWS(ROW)
#undef ROW
extern const gen_cpu_op *const gen_cpu_ops[]; /* by gen_op: ops.c */

/* Memory of a tensor in the running plan: activations in the arena, f32.  For WEIGHT tensors that
 * an op reads element by element (norm weights, biases, parameters) prepare must have asked for the
 * widened copy with gen_cpu_widen(); this then returns it. */
float *gen_cpu_f32(const gen_cpu *cpu, const gen_tensor *t);
const int32_t *gen_cpu_i32(const gen_cpu *cpu, const gen_tensor *t);

/* An f32 copy of a small weight, made once, checked finite.  t may be NULL or not a weight: then
 * nothing happens. */
gen_status gen_cpu_widen(gen_cpu *cpu, const gen_tensor *t, gen_error *err);

/* parallel loop over 0..n-1 with arg; see threads.h */
static inline void gen_cpu_for(gen_cpu *cpu, gen_task task, void *arg, int n)
{
    gen_pool_run(cpu->pool, task, arg, n);
}

#endif
