/* api.h - the entry points of Vulkan, one table.
 *
 * Nothing else in this folder calls the loader, so a test that replaces functions of the table
 * (gen_vulkan_options.wrap) sees every call. */
#ifndef GEN_VULKAN_API_H
#define GEN_VULKAN_API_H

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>

#include "gen/core/status.h"

#define GEN_VK_GLOBAL_FUNCTIONS(X)                                                                 \
    X(CreateInstance)                                                                              \
    X(EnumerateInstanceVersion)                                                                    \
    X(EnumerateInstanceExtensionProperties)                                                        \
    X(EnumerateInstanceLayerProperties)

#define GEN_VK_INSTANCE_FUNCTIONS(X)                                                               \
    X(DestroyInstance)                                                                             \
    X(EnumeratePhysicalDevices)                                                                    \
    X(GetPhysicalDeviceProperties2)                                                                \
    X(GetPhysicalDeviceFeatures2)                                                                  \
    X(GetPhysicalDeviceMemoryProperties2)                                                          \
    X(GetPhysicalDeviceQueueFamilyProperties)                                                      \
    X(EnumerateDeviceExtensionProperties)                                                          \
    X(CreateDevice)                                                                                \
    X(GetDeviceProcAddr)

#define GEN_VK_DEBUG_FUNCTIONS(X)                                                                  \
    X(CreateDebugUtilsMessengerEXT)                                                                \
    X(DestroyDebugUtilsMessengerEXT)

#define GEN_VK_DEVICE_FUNCTIONS(X)                                                                 \
    X(DestroyDevice)                                                                               \
    X(GetDeviceQueue)                                                                              \
    X(DeviceWaitIdle)                                                                              \
    X(QueueSubmit)                                                                                 \
    X(CreateSemaphore)                                                                             \
    X(DestroySemaphore)                                                                            \
    X(WaitSemaphores)                                                                              \
    X(AllocateMemory)                                                                              \
    X(FreeMemory)                                                                                  \
    X(MapMemory)                                                                                   \
    X(CreateBuffer)                                                                                \
    X(DestroyBuffer)                                                                               \
    X(GetBufferMemoryRequirements)                                                                 \
    X(BindBufferMemory)                                                                            \
    X(CreateShaderModule)                                                                          \
    X(DestroyShaderModule)                                                                         \
    X(CreatePipelineCache)                                                                         \
    X(DestroyPipelineCache)                                                                        \
    X(GetPipelineCacheData)                                                                        \
    X(CreateComputePipelines)                                                                      \
    X(DestroyPipeline)                                                                             \
    X(CreatePipelineLayout)                                                                        \
    X(DestroyPipelineLayout)                                                                       \
    X(CreateDescriptorSetLayout)                                                                   \
    X(DestroyDescriptorSetLayout)                                                                  \
    X(CreateDescriptorPool)                                                                        \
    X(DestroyDescriptorPool)                                                                       \
    X(AllocateDescriptorSets)                                                                      \
    X(UpdateDescriptorSets)                                                                        \
    X(CreateCommandPool)                                                                           \
    X(DestroyCommandPool)                                                                          \
    X(AllocateCommandBuffers)                                                                      \
    X(FreeCommandBuffers)                                                                          \
    X(BeginCommandBuffer)                                                                          \
    X(EndCommandBuffer)                                                                            \
    X(CreateQueryPool)                                                                             \
    X(DestroyQueryPool)                                                                            \
    X(GetQueryPoolResults)                                                                         \
    X(CmdResetQueryPool)                                                                           \
    X(CmdWriteTimestamp)                                                                           \
    X(CmdBindPipeline)                                                                             \
    X(CmdBindDescriptorSets)                                                                       \
    X(CmdPushConstants)                                                                            \
    X(CmdDispatch)                                                                                 \
    X(CmdCopyBuffer)                                                                               \
    X(CmdFillBuffer)                                                                               \
    X(CmdPipelineBarrier)

typedef struct gen_vk_api {
    void *library;
    PFN_vkGetInstanceProcAddr GetInstanceProcAddr;
#define FIELD(name) PFN_vk##name name;
    GEN_VK_GLOBAL_FUNCTIONS(FIELD)
    GEN_VK_INSTANCE_FUNCTIONS(FIELD)
    GEN_VK_DEBUG_FUNCTIONS(FIELD)
    GEN_VK_DEVICE_FUNCTIONS(FIELD)
#undef FIELD
} gen_vk_api;

/* Opens the loader and fills the functions that need no instance.  GEN_VULKAN_LOADER in the
 * environment names another library.  Errors: DEVICE, with what to install. */
gen_status gen_vk_open_loader(gen_vk_api *api, gen_error *err);
void gen_vk_close_loader(gen_vk_api *api);

/* Fill the functions of an instance (those of the debug messenger may stay NULL) and of a device.
 * Errors: DEVICE, naming what is missing. */
gen_status gen_vk_load_instance(gen_vk_api *api, VkInstance instance, gen_error *err);
gen_status gen_vk_load_device(gen_vk_api *api, VkDevice device, gen_error *err);

/* GEN_ERROR_MEMORY for the two out-of-memory results, else GEN_ERROR_DEVICE; the message is
 * "what: the Vulkan device answers NAME". */
gen_status gen_vk_fail(gen_error *err, VkResult result, const char *what);

#define GEN_VK_TRY(call, what)                                                                     \
    do {                                                                                           \
        const VkResult try_result_ = (call);                                                       \
        if (try_result_ != VK_SUCCESS)                                                             \
            return gen_vk_fail(err, try_result_, what);                                            \
    } while (0)

#endif
