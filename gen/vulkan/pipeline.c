/* pipeline.c - layouts, shader modules and pipelines.
 *
 * One layout for each number of storage buffers serves all shaders.  A pipeline is a shader with
 * its specialisation constants, made when a plan first needs it and kept to the end. */
#include <string.h>

#include "gen/vulkan/vulkan_internal.h"

static gen_status make_layout(gen_vulkan *vk, int n, gen_error *err)
{
    VkDescriptorSetLayoutBinding bindings[GEN_VK_MAX_BUFFERS] = {0};
    for (int i = 0; i < n; i++)
        bindings[i] =
            (VkDescriptorSetLayoutBinding){.binding = (uint32_t)i,
                                           .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                           .descriptorCount = 1,
                                           .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT};
    const VkDescriptorSetLayoutCreateInfo set = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .bindingCount = (uint32_t)n,
        .pBindings = bindings};
    GEN_VK_TRY(vk->api.CreateDescriptorSetLayout(vk->device, &set, NULL, &vk->set_layouts[n]),
               "layout");
    const VkPushConstantRange push = {VK_SHADER_STAGE_COMPUTE_BIT, 0, GEN_VK_PUSH_BYTES};
    const VkPipelineLayoutCreateInfo layout = {.sType =
                                                   VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                               .setLayoutCount = 1,
                                               .pSetLayouts = &vk->set_layouts[n],
                                               .pushConstantRangeCount = 1,
                                               .pPushConstantRanges = &push};
    GEN_VK_TRY(vk->api.CreatePipelineLayout(vk->device, &layout, NULL, &vk->layouts[n]), "layout");
    return GEN_OK;
}

gen_status gen_vk_make_layouts(gen_vulkan *vk, gen_error *err)
{
    for (int n = 1; n <= GEN_VK_MAX_BUFFERS; n++)
        GEN_TRY(make_layout(vk, n, err));
    return gen_vk_open_cache(vk, err);
}

void gen_vk_free_pipelines(gen_vulkan *vk)
{
    while (vk->pipelines) {
        gen_vk_pipeline *p = vk->pipelines;
        vk->pipelines = p->next;
        if (!vk->is_hung)
            vk->api.DestroyPipeline(vk->device, p->handle, NULL);
        gen_free(p);
    }
    for (int n = 1; n <= GEN_VK_MAX_BUFFERS && !vk->is_hung; n++) {
        if (vk->layouts[n])
            vk->api.DestroyPipelineLayout(vk->device, vk->layouts[n], NULL);
        if (vk->set_layouts[n])
            vk->api.DestroyDescriptorSetLayout(vk->device, vk->set_layouts[n], NULL);
    }
    gen_vk_save_cache(vk);
    if (vk->pipeline_cache && !vk->is_hung)
        vk->api.DestroyPipelineCache(vk->device, vk->pipeline_cache, NULL);
}

static const gen_vk_shader *find_shader(const char *name)
{
    for (const gen_vk_shader *s = gen_vk_shaders; s->name; s++)
        if (strcmp(s->name, name) == 0)
            return s;
    return NULL;
}

bool gen_vulkan_uses_lanes(const gen_backend *backend)
{
    return ((const gen_vulkan *)backend)->uses_lanes;
}

void gen_vulkan_use_lanes(gen_backend *backend, bool wanted)
{
    gen_vulkan *vk = (gen_vulkan *)backend;
    vk->uses_lanes = wanted && vk->info->has_lanes;
}

const char *gen_vulkan_shader_at(int i)
{
    for (int k = 0; k <= i; k++)
        if (!gen_vk_shaders[k].name)
            return NULL;
    return gen_vk_shaders[i].name;
}

static gen_status create(gen_vulkan *vk, gen_vk_pipeline *p, gen_error *err)
{
    VkShaderModule module;
    const VkShaderModuleCreateInfo code = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
        .codeSize = p->is_half ? p->shader->half_size : p->shader->size,
        .pCode = p->is_half ? p->shader->half_code : p->shader->code};
    GEN_VK_TRY(vk->api.CreateShaderModule(vk->device, &code, NULL, &module), p->shader->name);
    VkSpecializationMapEntry entries[GEN_VK_MAX_CONSTANTS];
    for (int i = 0; i < p->num_constants; i++)
        entries[i] = (VkSpecializationMapEntry){(uint32_t)i, (uint32_t)(i * 4), 4};
    const VkSpecializationInfo constants = {.mapEntryCount = (uint32_t)p->num_constants,
                                            .pMapEntries = entries,
                                            .dataSize = (size_t)p->num_constants * 4,
                                            .pData = p->constants};
    /* Where lanes share fragments, the size of subgroups is not the driver's to choose. */
    const VkPipelineShaderStageRequiredSubgroupSizeCreateInfo subgroups = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
        .requiredSubgroupSize = vk->offered.subgroup};
    const bool has_matrices = gen_vk_is_matrix_shader(p->shader->name);
    const VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .pNext = has_matrices ? &subgroups : NULL,
                  .flags =
                      has_matrices ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT : 0,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .module = module,
                  .pName = "main",
                  .pSpecializationInfo = &constants},
        .layout = vk->layouts[p->num_buffers]};
    const double start = gen_vk_now();
    const VkResult result =
        vk->api.CreateComputePipelines(vk->device, vk->pipeline_cache, 1, &info, NULL, &p->handle);
    vk->preparing += gen_vk_now() - start;
    gen_vk_announce(vk, vk->preparing);
    vk->api.DestroyShaderModule(vk->device, module, NULL);
    return result == VK_SUCCESS ? GEN_OK : gen_vk_fail(err, result, p->shader->name);
}

gen_status gen_vk_get_pipeline(gen_vulkan *vk, const gen_vk_pipeline **out, const char *shader,
                               bool is_half, int num_buffers, int num_constants,
                               const uint32_t *constants, gen_error *err)
{
    const size_t size = (size_t)num_constants * sizeof *constants;
    const gen_vk_shader *found = find_shader(shader);
    is_half = is_half && found && found->half_code;
    for (const gen_vk_pipeline *p = vk->pipelines; p; p = p->next)
        if (p->is_half == is_half && strcmp(p->shader->name, shader) == 0 &&
            p->num_buffers == num_buffers && p->num_constants == num_constants &&
            memcmp(p->constants, constants, size) == 0) {
            *out = p;
            return GEN_OK;
        }
    gen_vk_pipeline *p = gen_calloc(1, sizeof *p);
    if (!p)
        return gen_no_memory(err, "pipeline", sizeof *p);
    p->shader = found;
    p->is_half = is_half;
    p->num_buffers = num_buffers;
    p->num_constants = num_constants;
    memcpy(p->constants, constants, size);
    const gen_status status =
        p->shader ? create(vk, p, err)
                  : gen_fail(err, GEN_ERROR_INTERNAL, "there is no shader \"%s\"", shader);
    if (status) {
        gen_free(p);
        return status;
    }
    p->next = vk->pipelines;
    vk->pipelines = p;
    vk->stats.pipelines++;
    *out = p;
    return GEN_OK;
}
