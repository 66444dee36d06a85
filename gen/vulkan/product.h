/* product.h - what linear and conv2d share: tiles, epilogues, their constants. */
#ifndef GEN_VULKAN_PRODUCT_H
#define GEN_VULKAN_PRODUCT_H

#include "gen/vulkan/compile.h"

/* A workgroup makes bm x bn outputs, bk of the depth at a time; an invocation tm x tn. */
typedef struct gen_vk_tile {
    uint32_t bm, bn, bk, tm, tn;
    bool has_matrices; /* of the shaders *_coop: an invocation makes as many, but not those */
} gen_vk_tile;

/* The tile for the product of a node. */
gen_vk_tile gen_vk_choose_tile(const gen_vulkan *vk, const gen_node *node, int64_t depth);
/* Constants 0 to 10 of linear.comp and conv2d.comp, 0 to 8 of their forms for matrix units. */
void gen_vk_product_constants(const gen_vulkan *vk, gen_vk_dispatch *d, const gen_node *node,
                              gen_vk_tile tile);

/* matrix.c: whether a product goes to matrix units; invocations of a workgroup there; constants 0
 * to 3 of the shaders *_coop. */
bool gen_vk_suits_matrices(const gen_vulkan *vk, const gen_node *node, int64_t depth);
int64_t gen_vk_matrix_threads(const gen_vulkan *vk);
void gen_vk_matrix_constants(const gen_vulkan *vk, gen_vk_dispatch *d);

/* The bias of a product, or NULL. */
const gen_tensor *gen_vk_bias(const gen_node *node);
/* A part of y: rows of the product, and columns, whose kernels fit into one binding. */
typedef struct gen_vk_part {
    int64_t row, rows, col, cols, begin, end; /* the last two: of the depth */
} gen_vk_part;

typedef void (*gen_vk_encode_part)(gen_vk_compiler *c, const gen_node *node, gen_vk_tile tile,
                                   const gen_vk_part *part);
/* Cuts a product of `depth` into parts: `window` rows at a time, columns as their weights fit, and
 * so much of the depth as one invocation may loop over, `extra` loops more for each turn. */
void gen_vk_encode_parts(gen_vk_compiler *c, const gen_node *node, gen_vk_tile tile, int64_t depth,
                         int64_t window, int64_t extra, gen_vk_encode_part encode);

/* Buffers 2 and 3, bias and residual, for rows and columns of y. */
typedef struct gen_vk_epilogue_params {
    uint32_t b0, r0, ld_r;
} gen_vk_epilogue_params;
gen_vk_epilogue_params gen_vk_bind_epilogue(gen_vk_compiler *c, gen_vk_dispatch *d,
                                            const gen_node *node, const gen_vk_part *part);
/* Rows of y whose residual and y fit into one binding. */
int64_t gen_vk_product_rows(const gen_vk_compiler *c, const gen_node *node);
bool gen_vk_product_supports(const gen_node *node);
/* Weights as stored, biases as f32. */
gen_vk_form gen_vk_linear_form(const gen_node *node, int i);
/* Rows of y that take a fifth of a second at most, at least one tile of them. */
int64_t gen_vk_rows_in_time(const gen_vk_compiler *c, const gen_node *node, int64_t unit);

#endif
