/* ops.c - the Vulkan driver of every op. */
#include "gen/vulkan/compile.h"

#define ROW(NAME, name, in_place) &gen_vk_##name,
const gen_vk_op *const gen_vk_ops[] = {GEN_OP_ROWS(ROW)};
