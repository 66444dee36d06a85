/* linear.c - y = x W^T + b on the last dimension (GEN_OP_LINEAR). */
#include "gen/cpu/gemm.h"

static bool supports(const gen_cpu *cpu, const gen_node *node)
{
    (void)cpu;
    return gen_gemm_supports(node);
}

static void measure(const gen_cpu *cpu, const gen_node *node, gen_cpu_needs *needs)
{
    gen_gemm_measure(cpu, gen_tensor_rows(node->inputs[0]), node->inputs[1], true, needs);
}

static gen_status prepare(gen_cpu *cpu, gen_cpu_step *step, gen_error *err)
{
    const gen_node *node = step->node;
    GEN_TRY(gen_cpu_widen(cpu, node->inputs[0], err));
    GEN_TRY(gen_cpu_widen(cpu, gen_gemm_bias(node), err));
    return gen_gemm_prepare(cpu, node->inputs[1], err);
}

static void run(gen_cpu *cpu, gen_cpu_step *step)
{
    const gen_tensor *x = step->node->inputs[0];
    gen_gemm g = {.m = gen_tensor_rows(x), .a = gen_cpu_f32(cpu, x), .lda = x->ld};
    gen_gemm_set_weights(cpu, step->node->inputs[1], &g);
    gen_gemm_epilogue(cpu, step->node, &g);
    gen_gemm_run(cpu, &g, step);
}

const gen_cpu_op gen_cpu_linear = {
    .supports = supports,
    .measure = measure,
    .prepare = prepare,
    .run = run,
};
