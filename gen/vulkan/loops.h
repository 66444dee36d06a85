/* loops.h - ops that visit every element of their output once, as nested loops. */
#ifndef GEN_VULKAN_LOOPS_H
#define GEN_VULKAN_LOOPS_H

#include "gen/vulkan/compile.h"

enum { GEN_VK_MAX_LOOPS = 6, GEN_VK_LOOP_TENSORS = 3 };

/* Loops over dims, outermost first, with the elements each moves in up to three tensors; the last
 * tensor is the output.  Where each starts is `start`, in elements of the tensor. */
typedef struct gen_vk_loops {
    int rank, num_tensors;
    const gen_tensor *tensors[GEN_VK_LOOP_TENSORS];
    int64_t start[GEN_VK_LOOP_TENSORS];
    int64_t dims[GEN_VK_MAX_LOOPS], step[GEN_VK_LOOP_TENSORS][GEN_VK_MAX_LOOPS];
    const char *shader;
    uint32_t constant; /* of the shader, behind it the rank */
} gen_vk_loops;

/* An inner loop behind those there are; joined with the last when both are one longer loop. */
void gen_vk_add_loop(gen_vk_loops *l, int64_t dim, const int64_t *step);
/* Elements from one index of dimension `dim` to the next. */
int64_t gen_vk_step_of(const gen_tensor *t, int dim);
/* Appends the dispatches, each within what the device shows a shader.  Push constants: dims[6],
 * step[6] of each tensor, count, start of each tensor; specialisation: `constant`, then rank. */
void gen_vk_encode_loops(gen_vk_compiler *c, const gen_vk_loops *l);

#endif
