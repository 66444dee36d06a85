/* matrix.c - matrix units (VK_KHR_cooperative_matrix): what a device offers to the shaders *_coop.
 *
 * They multiply numbers of 16 bits, so only backends that keep activations in f16 look for them.
 * The device is asked, never its name; whether it computes rightly is for the self-check to say. */
#include "gen/vulkan/product.h"

#include <string.h>

bool gen_vk_is_matrix_shader(const char *name)
{
    const size_t n = strlen(name);
    return n > 5 && strcmp(name + n - 5, "_coop") == 0;
}

bool gen_vulkan_uses_matrices(const gen_backend *backend)
{
    return ((const gen_vulkan *)backend)->matrix.m != 0;
}

void gen_vulkan_use_matrices(gen_backend *backend, bool wanted)
{
    gen_vulkan *vk = (gen_vulkan *)backend;
    vk->matrix = wanted ? vk->offered : (gen_vk_matrix){0};
}

#ifdef GEN_VK_HAS_MATRICES

/* Fragments that fill the tiles of the shaders, from the front: devices list the best first. */
static bool choose(gen_vk_matrix *out, const VkCooperativeMatrixPropertiesKHR *p, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (p[i].AType != VK_COMPONENT_TYPE_FLOAT16_KHR ||
            p[i].BType != VK_COMPONENT_TYPE_FLOAT16_KHR ||
            p[i].CType != VK_COMPONENT_TYPE_FLOAT32_KHR ||
            p[i].ResultType != VK_COMPONENT_TYPE_FLOAT32_KHR ||
            p[i].scope != VK_SCOPE_SUBGROUP_KHR || 16 % p[i].MSize || 16 % p[i].NSize ||
            32 % p[i].KSize)
            continue;
        out->m = p[i].MSize;
        out->n = p[i].NSize;
        out->k = p[i].KSize;
        return true;
    }
    return false;
}

static gen_status read_shapes(gen_vulkan *vk, gen_vk_matrix *out, gen_error *err)
{
    const PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR list =
        (PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)vk->api.GetInstanceProcAddr(
            vk->instance->handle, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR");
    uint32_t count = 0;
    if (!list || list(vk->physical, &count, NULL) != VK_SUCCESS)
        return GEN_OK;
    VkCooperativeMatrixPropertiesKHR *shapes = gen_calloc(count + 1, sizeof *shapes);
    if (!shapes)
        return gen_no_memory(err, "matrix shapes", count * sizeof *shapes);
    for (uint32_t i = 0; i < count; i++)
        shapes[i].sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR;
    if (list(vk->physical, &count, shapes) < 0 || !choose(out, shapes, count))
        out->m = 0;
    gen_free(shapes);
    return GEN_OK;
}

gen_status gen_vk_find_matrices(gen_vulkan *vk, gen_error *err)
{
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrices = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR};
    VkPhysicalDeviceSubgroupSizeControlFeatures control = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES,
        .pNext = &matrices};
    VkPhysicalDeviceVulkan12Features v12 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES, .pNext = &control};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                          .pNext = &v12};
    VkPhysicalDeviceSubgroupSizeControlProperties sizes = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES};
    VkPhysicalDeviceProperties2 p = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                     .pNext = &sizes};
    gen_vk_matrix found = {.subgroup = vk->info->subgroup_size};
    if (!vk->options.use_f16 || vk->options.no_matrices || !vk->info->has_matrices)
        return GEN_OK;
    vk->instance->api.GetPhysicalDeviceFeatures2(vk->physical, &features);
    vk->instance->api.GetPhysicalDeviceProperties2(vk->physical, &p);
    /* Workgroups are four subgroups, of a size that divides tiles 32 wide. */
    if (!matrices.cooperativeMatrix || !control.subgroupSizeControl ||
        !control.computeFullSubgroups || !v12.shaderFloat16 || !v12.vulkanMemoryModel ||
        !(sizes.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT) ||
        found.subgroup < sizes.minSubgroupSize || found.subgroup > sizes.maxSubgroupSize ||
        found.subgroup < 8 || found.subgroup > 64)
        return GEN_OK;
    GEN_TRY(read_shapes(vk, &found, err));
    vk->matrix = vk->offered = found;
    return GEN_OK;
}

void gen_vk_chain_matrices(const gen_vulkan *vk, gen_vk_matrix_chain *chain,
                           VkPhysicalDeviceVulkan12Features *features, VkDeviceCreateInfo *info)
{
    static const char *const extensions[] = {"VK_KHR_cooperative_matrix",
                                             "VK_EXT_subgroup_size_control"};
    if (!vk->matrix.m)
        return;
    chain->matrices = (VkPhysicalDeviceCooperativeMatrixFeaturesKHR){
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR,
        .pNext = features->pNext,
        .cooperativeMatrix = VK_TRUE};
    chain->control = (VkPhysicalDeviceSubgroupSizeControlFeatures){
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES,
        .pNext = &chain->matrices,
        .subgroupSizeControl = VK_TRUE,
        .computeFullSubgroups = VK_TRUE};
    features->pNext = &chain->control;
    features->shaderFloat16 = VK_TRUE;
    features->vulkanMemoryModel = VK_TRUE;
    info->enabledExtensionCount = 2;
    info->ppEnabledExtensionNames = extensions;
}

#else /* the compiler of shaders or the headers were older than the extension */

gen_status gen_vk_find_matrices(gen_vulkan *vk, gen_error *err)
{
    (void)vk;
    (void)err;
    return GEN_OK;
}

void gen_vk_chain_matrices(const gen_vulkan *vk, gen_vk_matrix_chain *chain,
                           VkPhysicalDeviceVulkan12Features *features, VkDeviceCreateInfo *info)
{
    (void)vk;
    (void)chain;
    (void)features;
    (void)info;
}

#endif

/* ---- which work ----------------------------------------------------------------------------- */

int64_t gen_vk_matrix_threads(const gen_vulkan *vk)
{
    return 4 * (int64_t)vk->matrix.subgroup;
}

void gen_vk_matrix_constants(const gen_vulkan *vk, gen_vk_dispatch *d)
{
    gen_vk_constant(d, (uint32_t)gen_vk_matrix_threads(vk));
    gen_vk_constant(d, vk->matrix.m);
    gen_vk_constant(d, vk->matrix.n);
    gen_vk_constant(d, vk->matrix.k);
}

/* Smaller products leave most of a tile empty. */
bool gen_vk_suits_matrices(const gen_vulkan *vk, const gen_node *node, int64_t depth)
{
    const gen_tensor *y = node->output;
    if (!vk->matrix.m || y->dtype != GEN_F16 || node->inputs[0]->dtype != GEN_F16 ||
        gen_tensor_rows(y) < 64 || y->dims[y->rank - 1] < 64 || depth < 64)
        return false;
    const int64_t turn = gen_vk_divide_up((64 + 64) * 32, gen_vk_matrix_threads(vk)) + 5 + 32 + 2;
    return gen_vk_divide_up(depth, 32) * turn < GEN_VK_LOOP_LIMIT - 1000;
}
