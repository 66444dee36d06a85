/* product.h - what linear and conv2d share: tiles, epilogues, their constants. */
#ifndef GEN_VULKAN_PRODUCT_H
#define GEN_VULKAN_PRODUCT_H

#include "gen/vulkan/compile.h"

/* A workgroup makes bm x bn outputs, bk of the depth at a time; an invocation tm x tn. */
typedef struct gen_vk_tile {
    uint32_t bm, bn, bk, tm, tn;
} gen_vk_tile;

/* The tile for a product of rows x cols; `turn` counts where tests ask for each tile in turn. */
gen_vk_tile gen_vk_choose_tile(const gen_vulkan *vk, int64_t rows, int64_t cols);
/* Constants 0 to 10 of linear.comp and conv2d.comp. */
void gen_vk_product_constants(gen_vk_dispatch *d, const gen_node *node, gen_vk_tile tile);
/* The bias of a product, or NULL. */
const gen_tensor *gen_vk_bias(const gen_node *node);
/* Buffers 2 and 3, bias and residual, for `rows` rows of y from `row`. */
typedef struct gen_vk_epilogue_params {
    uint32_t b0, r0, ld_r;
} gen_vk_epilogue_params;
gen_vk_epilogue_params gen_vk_bind_epilogue(gen_vk_compiler *c, gen_vk_dispatch *d,
                                            const gen_node *node, int64_t row, int64_t rows);
/* Rows of y whose residual and y fit into one binding. */
int64_t gen_vk_product_rows(const gen_vk_compiler *c, const gen_node *node);
bool gen_vk_product_supports(const gen_node *node);
/* Weights as stored, biases as f32. */
gen_vk_form gen_vk_linear_form(const gen_node *node, int i);
/* Rows of y that take a fifth of a second at most, at least one tile of them. */
int64_t gen_vk_rows_in_time(const gen_vk_compiler *c, const gen_node *node, int64_t unit);

#endif
