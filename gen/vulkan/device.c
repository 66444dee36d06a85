/* device.c - one device opened: its queue, and only the features the shaders use (none but the
 * timeline semaphore). */
#include <stdio.h>
#include <string.h>

#include "gen/vulkan/vulkan_internal.h"

/* A family for compute without graphics where there is one, else any with compute. */
static gen_status choose_queue(gen_vulkan *vk, gen_error *err)
{
    VkQueueFamilyProperties families[32];
    uint32_t count = 32;
    int best = -1;
    vk->instance->api.GetPhysicalDeviceQueueFamilyProperties(vk->physical, &count, families);
    for (uint32_t i = 0; i < count; i++) {
        if (!(families[i].queueFlags & VK_QUEUE_COMPUTE_BIT))
            continue;
        const bool has_graphics = families[i].queueFlags & VK_QUEUE_GRAPHICS_BIT;
        if (best < 0 || (!has_graphics && families[best].queueFlags & VK_QUEUE_GRAPHICS_BIT))
            best = (int)i;
    }
    if (best < 0)
        return gen_fail(err, GEN_ERROR_DEVICE, "%s has no queue for compute work", vk->info->name);
    vk->queue_family = (uint32_t)best;
    vk->has_timestamps = families[best].timestampValidBits > 0;
    return GEN_OK;
}

static void read_limits(gen_vulkan *vk)
{
    VkPhysicalDeviceProperties2 p = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
    VkPhysicalDeviceMemoryProperties2 memory = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2};
    vk->instance->api.GetPhysicalDeviceProperties2(vk->physical, &p);
    vk->instance->api.GetPhysicalDeviceMemoryProperties2(vk->physical, &memory);
    vk->limits = p.properties.limits;
    vk->memory_types = memory.memoryProperties;
    vk->max_binding = vk->limits.maxStorageBufferRange;
    if (vk->options.max_binding && vk->options.max_binding < vk->max_binding)
        vk->max_binding = vk->options.max_binding;
    vk->max_buffer = vk->info->max_buffer;
    if (vk->options.max_buffer && vk->options.max_buffer < vk->max_buffer)
        vk->max_buffer = vk->options.max_buffer;
    /* A gigabyte: some drivers promise more than they give. */
    vk->base.max_block = vk->max_buffer < 0x40000000u
                             ? (size_t)vk->max_buffer / GEN_VK_ALIGNMENT * GEN_VK_ALIGNMENT
                             : 0x40000000u;
    vk->base.budget = vk->info->budget;
    if (vk->options.mem_limit && vk->options.mem_limit < vk->base.budget)
        vk->base.budget = vk->options.mem_limit;
    if (vk->options.max_block)
        vk->base.max_block = vk->options.max_block;
    vk->binding_alignment = (uint32_t)vk->limits.minStorageBufferOffsetAlignment;
    /* Guesses until the first run is measured. */
    const bool is_software = vk->info->kind == GEN_VULKAN_SOFTWARE;
    vk->flops_per_second = is_software ? 5e8 : vk->info->kind == GEN_VULKAN_DISCRETE ? 2e12 : 2e11;
    vk->bytes_per_second = is_software ? 1e9 : vk->info->kind == GEN_VULKAN_DISCRETE ? 1e11 : 2e10;
}

static gen_status check_storage(const gen_vulkan *vk, gen_error *err)
{
    VkPhysicalDeviceVulkan11Features storage = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                          .pNext = &storage};
    if (!vk->options.use_f16)
        return GEN_OK;
    vk->instance->api.GetPhysicalDeviceFeatures2(vk->physical, &features);
    return storage.storageBuffer16BitAccess
               ? GEN_OK
               : gen_fail(err, GEN_ERROR_DEVICE, "%s cannot store numbers of 16 bits",
                          vk->info->name);
}

static gen_status create_device(gen_vulkan *vk, gen_error *err)
{
    const float priority = 0.5f;
    const VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                           .queueFamilyIndex = vk->queue_family,
                                           .queueCount = 1,
                                           .pQueuePriorities = &priority};
    const VkPhysicalDeviceVulkan11Features storage = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES,
        .storageBuffer16BitAccess = VK_TRUE};
    VkPhysicalDeviceVulkan12Features features = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
        .pNext = vk->options.use_f16 ? (void *)(uintptr_t)&storage : NULL,
        .timelineSemaphore = VK_TRUE};
    gen_vk_matrix_chain chain;
    VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                               .pNext = &features,
                               .queueCreateInfoCount = 1,
                               .pQueueCreateInfos = &queue};
    gen_vk_chain_matrices(vk, &chain, &features, &info);
    const VkResult result = vk->api.CreateDevice(vk->physical, &info, NULL, &vk->device);
    if (result != VK_SUCCESS)
        return gen_vk_fail(err, result, vk->info->name);
    GEN_TRY(gen_vk_load_device(&vk->api, vk->device, err));
    if (vk->options.wrap)
        vk->options.wrap(&vk->api, vk->options.wrap_user);
    vk->api.GetDeviceQueue(vk->device, vk->queue_family, 0, &vk->queue);
    return GEN_OK;
}

static gen_status create_commands(gen_vulkan *vk, gen_error *err)
{
    const VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                          .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
                                          .queueFamilyIndex = vk->queue_family};
    GEN_VK_TRY(vk->api.CreateCommandPool(vk->device, &pool, NULL, &vk->command_pool),
               vk->info->name);
    const VkSemaphoreTypeCreateInfo type = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
                                            .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE};
    const VkSemaphoreCreateInfo semaphore = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO,
                                             .pNext = &type};
    GEN_VK_TRY(vk->api.CreateSemaphore(vk->device, &semaphore, NULL, &vk->timeline),
               vk->info->name);
    return GEN_OK;
}

gen_status gen_vk_open_device(gen_vulkan *vk, gen_error *err)
{
    int index;
    GEN_TRY(gen_vk_instance_new(&vk->instance, &vk->options, err));
    vk->api = vk->instance->api;
    GEN_TRY(gen_vk_choose_device(&index, vk->instance, vk->options.device, err));
    vk->info = &vk->instance->devices[index];
    vk->physical = vk->instance->physical[index];
    GEN_TRY(choose_queue(vk, err));
    read_limits(vk);
    GEN_TRY(check_storage(vk, err));
    GEN_TRY(gen_vk_find_matrices(vk, err));
    gen_vulkan_use_lanes(&vk->base, !vk->options.no_lanes);
    GEN_TRY(create_device(vk, err));
    GEN_TRY(create_commands(vk, err));
    return gen_vk_make_layouts(vk, err);
}

void gen_vk_close_device(gen_vulkan *vk)
{
    if (vk->device && vk->api.DestroyDevice) {
        if (vk->api.DeviceWaitIdle && !vk->is_hung)
            vk->api.DeviceWaitIdle(vk->device);
        if (vk->command_pool) {
            gen_vk_free_memory(vk);
            gen_vk_free_pipelines(vk);
            if (!vk->is_hung)
                vk->api.DestroyCommandPool(vk->device, vk->command_pool, NULL);
        }
        if (vk->timeline && !vk->is_hung)
            vk->api.DestroySemaphore(vk->device, vk->timeline, NULL);
        if (!vk->is_hung)
            vk->api.DestroyDevice(vk->device, NULL);
    }
    if (vk->is_hung) { /* the driver stays loaded for what it may still be doing */
        vk->instance->handle = VK_NULL_HANDLE;
        vk->instance->messenger = VK_NULL_HANDLE;
        vk->instance->api.library = NULL;
    }
    gen_vk_instance_free(vk->instance);
}
