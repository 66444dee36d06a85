/* tables.c - takes the place of gen/core/ops.c, gen/cpu/ops.c, gen/vulkan/ops.c and
 * tests/ops/reference_ops.c in the test: their rows and one more. */
#include "gen/cpu/cpu_internal.h"
#include "tests/ops/reference.h"
#include "tests/property/op_recipe/leaky.h"
#ifdef GEN_HAVE_VULKAN
#include "gen/vulkan/compile.h"
#endif

extern const gen_cpu_op gen_cpu_leaky;
reference_op reference_leaky;

#define ROW(NAME, name, in_place) {#name, in_place},
const gen_op_info gen_op_infos[] = {MORE_OP_ROWS(ROW)};
#undef ROW

#define ROW(NAME, name, in_place) &gen_cpu_##name,
const gen_cpu_op *const gen_cpu_ops[] = {MORE_OP_ROWS(ROW)};
#undef ROW

#define ROW(NAME, name, in_place) reference_##name,
reference_op *const reference_ops[] = {MORE_OP_ROWS(ROW)};
#undef ROW

#ifdef GEN_HAVE_VULKAN
extern const gen_vk_op gen_vk_leaky;
#define ROW(NAME, name, in_place) &gen_vk_##name,
const gen_vk_op *const gen_vk_ops[] = {MORE_OP_ROWS(ROW)};
#endif
