/* stub.c - see stub.h. */
#define VK_NO_PROTOTYPES
#include "tests/vulkan/stub.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <vulkan/vulkan.h>

#define EXPORT __attribute__((visibility("default")))

/* The functions that answer a VkResult: they are counted and may fail. */
#define COUNTED(X)                                                                                 \
    X(CreateInstance)                                                                              \
    X(EnumerateInstanceExtensionProperties)                                                        \
    X(EnumeratePhysicalDevices)                                                                    \
    X(EnumerateDeviceExtensionProperties)                                                          \
    X(CreateDevice)                                                                                \
    X(DeviceWaitIdle)                                                                              \
    X(QueueSubmit)                                                                                 \
    X(CreateSemaphore)                                                                             \
    X(WaitSemaphores)                                                                              \
    X(AllocateMemory)                                                                              \
    X(MapMemory)                                                                                   \
    X(CreateBuffer)                                                                                \
    X(BindBufferMemory)                                                                            \
    X(CreateShaderModule)                                                                          \
    X(CreatePipelineCache)                                                                         \
    X(GetPipelineCacheData)                                                                        \
    X(CreateComputePipelines)                                                                      \
    X(CreatePipelineLayout)                                                                        \
    X(CreateDescriptorSetLayout)                                                                   \
    X(CreateDescriptorPool)                                                                        \
    X(AllocateDescriptorSets)                                                                      \
    X(CreateCommandPool)                                                                           \
    X(AllocateCommandBuffers)                                                                      \
    X(BeginCommandBuffer)                                                                          \
    X(EndCommandBuffer)

static struct {
    PFN_vkGetInstanceProcAddr GetInstanceProcAddr;
    PFN_vkGetDeviceProcAddr GetDeviceProcAddr;
#define FIELD(name) PFN_vk##name name;
    COUNTED(FIELD)
#undef FIELD
} real;

static char devices_text[512], fail_name[64];
static long fail_at, num_calls, num_named, num_failed, num_live;
static int fail_result;
static bool fail_lasts;

/* ---- failing -------------------------------------------------------------------------------- */

EXPORT void stub_set(const char *devices, const char *fail, int result, int lasts);
EXPORT long stub_calls(void);
EXPORT long stub_failed(void);
EXPORT long stub_live(void);

void stub_set(const char *devices, const char *fail, int result, int lasts)
{
    const char *colon = fail ? strchr(fail, ':') : NULL;
    snprintf(devices_text, sizeof devices_text, "%s",
             devices && *devices ? devices : "discrete:Stub GPU:1024");
    snprintf(fail_name, sizeof fail_name, "%.*s", colon ? (int)(colon - fail) : 0,
             fail ? fail : "");
    fail_at = fail ? atol(colon ? colon + 1 : fail) : 0;
    fail_result = result;
    fail_lasts = lasts;
    num_calls = num_named = num_failed = 0;
}

long stub_calls(void)
{
    return num_calls;
}

long stub_failed(void)
{
    return num_failed;
}

long stub_live(void)
{
    return num_live;
}

__attribute__((constructor)) static void start(void)
{
    const char *result = getenv("GEN_STUB_RESULT"), *path = getenv("GEN_STUB_REAL");
    stub_set(getenv("GEN_STUB_DEVICES"), getenv("GEN_STUB_FAIL"), result ? atoi(result) : 0, 0);
    void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    void *symbol = library ? dlsym(library, "vkGetInstanceProcAddr") : NULL;
    memcpy(&real.GetInstanceProcAddr, &symbol, sizeof symbol);
}

/* GEN_STUB_LOSE names a file: once it is there, the device is lost, one time. */
static bool is_to_lose(const char *name)
{
    const char *path = getenv("GEN_STUB_LOSE");
    char done[512];
    if (!path || strcmp(name, "vkQueueSubmit") != 0 || access(path, F_OK) != 0)
        return false;
    snprintf(done, sizeof done, "%s.lost", path);
    if (access(done, F_OK) == 0)
        return false;
    FILE *f = fopen(done, "w");
    return f && fclose(f) == 0;
}

static bool is_to_hang(const char *name)
{
    const char *path = getenv("GEN_STUB_HANG");
    return path && strcmp(name, "vkWaitSemaphores") == 0 && access(path, F_OK) == 0;
}

static VkResult enter(const char *name)
{
    num_calls++;
    if (is_to_hang(name))
        return VK_TIMEOUT;
    if (is_to_lose(name))
        return VK_ERROR_DEVICE_LOST;
    if (fail_name[0] && strcmp(name, fail_name) != 0)
        return VK_SUCCESS;
    const long n = fail_name[0] ? ++num_named : num_calls;
    if (!fail_at || (fail_lasts ? n < fail_at : n != fail_at))
        return VK_SUCCESS;
    num_failed++;
    if (fail_result)
        return (VkResult)fail_result;
    return strcmp(name, "vkQueueSubmit") == 0 || strcmp(name, "vkWaitSemaphores") == 0 ||
                   strcmp(name, "vkDeviceWaitIdle") == 0
               ? VK_ERROR_DEVICE_LOST
               : VK_ERROR_OUT_OF_DEVICE_MEMORY;
}

/* Counts the call, fails it, or passes it on. */
#define ENTER(name, ...)                                                                           \
    do {                                                                                           \
        const VkResult entered_ = enter("vk" #name);                                               \
        if (entered_ != VK_SUCCESS) {                                                              \
            if (entered_ == VK_TIMEOUT)                                                            \
                usleep(20000);                                                                     \
            return entered_;                                                                       \
        }                                                                                          \
        if (real.name)                                                                             \
            return real.name(__VA_ARGS__);                                                         \
    } while (0)

/* ---- objects: a block of memory each --------------------------------------------------------- */

static void *make(size_t size)
{
    num_live++;
    return calloc(1, size ? size : 1);
}

static void destroy(void *object)
{
    num_live -= object != NULL;
    free(object);
}

#define DESTROY(kind)                                                                              \
    static VKAPI_ATTR void VKAPI_CALL Destroy##kind(VkDevice device, Vk##kind object,              \
                                                    const VkAllocationCallbacks *a)                \
    {                                                                                              \
        (void)device;                                                                              \
        (void)a;                                                                                   \
        destroy(object);                                                                           \
    }
DESTROY(Semaphore)
DESTROY(Buffer)
DESTROY(ShaderModule)
DESTROY(PipelineCache)
DESTROY(Pipeline)
DESTROY(PipelineLayout)
DESTROY(DescriptorSetLayout)
DESTROY(DescriptorPool)
DESTROY(CommandPool)
DESTROY(QueryPool)

#define CREATE(kind)                                                                               \
    static VKAPI_ATTR VkResult VKAPI_CALL Create##kind(                                            \
        VkDevice device, const Vk##kind##CreateInfo *info, const VkAllocationCallbacks *a,         \
        Vk##kind *out)                                                                             \
    {                                                                                              \
        ENTER(Create##kind, device, info, a, out);                                                 \
        *out = make(1);                                                                            \
        return VK_SUCCESS;                                                                         \
    }
CREATE(Semaphore)
CREATE(ShaderModule)
CREATE(PipelineCache)
CREATE(PipelineLayout)
CREATE(DescriptorSetLayout)
CREATE(DescriptorPool)
CREATE(CommandPool)

/* ---- instance and devices -------------------------------------------------------------------- */

enum { MAX_DEVICES = 4 };
static struct stub_device {
    char name[64], kind[16];
    VkDeviceSize memory, budget;
} devices[MAX_DEVICES];

static VKAPI_ATTR VkResult VKAPI_CALL EnumerateInstanceVersion(uint32_t *version)
{
    *version = VK_API_VERSION_1_3;
    return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL
EnumerateInstanceExtensionProperties(const char *layer, uint32_t *count, VkExtensionProperties *out)
{
    ENTER(EnumerateInstanceExtensionProperties, layer, count, out);
    *count = 0;
    return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL EnumerateInstanceLayerProperties(uint32_t *count,
                                                                       VkLayerProperties *out)
{
    (void)out;
    *count = 0;
    return VK_SUCCESS;
}

static VKAPI_ATTR void VKAPI_CALL DestroyInstance(VkInstance instance,
                                                  const VkAllocationCallbacks *a)
{
    (void)a;
    destroy(instance);
}

static VKAPI_ATTR VkResult VKAPI_CALL EnumeratePhysicalDevices(VkInstance instance, uint32_t *count,
                                                               VkPhysicalDevice *out)
{
    char text[sizeof devices_text], *rest = NULL;
    uint32_t n = 0;
    ENTER(EnumeratePhysicalDevices, instance, count, out);
    snprintf(text, sizeof text, "%s", strcmp(devices_text, "none") == 0 ? "" : devices_text);
    for (char *one = strtok_r(text, ";", &rest); one && n < MAX_DEVICES;
         one = strtok_r(NULL, ";", &rest)) {
        unsigned mib = 0, budget = 0;
        if (sscanf(one, "%15[^:]:%63[^:]:%u:%u", devices[n].kind, devices[n].name, &mib, &budget) <
            3)
            continue;
        devices[n].memory = (VkDeviceSize)mib << 20;
        devices[n].budget = (VkDeviceSize)budget << 20;
        if (out)
            out[n] = (VkPhysicalDevice)(void *)&devices[n];
        n++;
    }
    *count = n;
    return VK_SUCCESS;
}

static VkPhysicalDeviceType type_of(const struct stub_device *d)
{
    return strcmp(d->kind, "integrated") == 0 ? VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU
           : strcmp(d->kind, "virtual") == 0  ? VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU
           : strcmp(d->kind, "software") == 0 ? VK_PHYSICAL_DEVICE_TYPE_CPU
                                              : VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU;
}

static VKAPI_ATTR void VKAPI_CALL GetPhysicalDeviceProperties2(VkPhysicalDevice physical,
                                                               VkPhysicalDeviceProperties2 *out)
{
    const struct stub_device *d = (const void *)physical;
    VkPhysicalDeviceProperties *p = &out->properties;
    memset(p, 0, sizeof *p);
    p->apiVersion = strcmp(d->kind, "old") == 0 ? VK_API_VERSION_1_1 : VK_API_VERSION_1_2;
    p->vendorID = 0x10001;
    p->deviceID = (uint32_t)(d - devices) + 1;
    p->deviceType = type_of(d);
    snprintf(p->deviceName, sizeof p->deviceName, "%s", d->name);
    memcpy(p->pipelineCacheUUID, "stub cache build", VK_UUID_SIZE);
    p->limits = (VkPhysicalDeviceLimits){.maxStorageBufferRange = 1u << 27,
                                         .maxPerStageDescriptorStorageBuffers = 16,
                                         .maxComputeWorkGroupInvocations = 1024,
                                         .minStorageBufferOffsetAlignment = 16,
                                         .maxComputeSharedMemorySize = 32768};
    for (VkBaseOutStructure *s = out->pNext; s; s = s->pNext) {
        if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES)
            strcpy(((VkPhysicalDeviceDriverProperties *)(void *)s)->driverName, "stub");
        if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES) {
            VkPhysicalDeviceSubgroupProperties *subgroup = (void *)s;
            subgroup->subgroupSize = 32;
            subgroup->supportedStages = VK_SHADER_STAGE_COMPUTE_BIT;
            subgroup->supportedOperations =
                VK_SUBGROUP_FEATURE_BASIC_BIT | VK_SUBGROUP_FEATURE_SHUFFLE_RELATIVE_BIT;
        }
        if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES)
            ((VkPhysicalDeviceMaintenance3Properties *)(void *)s)->maxMemoryAllocationSize = 1u
                                                                                             << 30;
        if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES)
            ((VkPhysicalDeviceIDProperties *)(void *)s)->deviceUUID[0] = (uint8_t)p->deviceID;
    }
}

static VKAPI_ATTR void VKAPI_CALL GetPhysicalDeviceFeatures2(VkPhysicalDevice physical,
                                                             VkPhysicalDeviceFeatures2 *out)
{
    (void)physical;
    for (VkBaseOutStructure *s = out->pNext; s; s = s->pNext)
        if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES)
            ((VkPhysicalDeviceVulkan12Features *)(void *)s)->timelineSemaphore = VK_TRUE;
        else if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES)
            ((VkPhysicalDeviceVulkan11Features *)(void *)s)->storageBuffer16BitAccess = VK_TRUE;
}

static VKAPI_ATTR void VKAPI_CALL GetPhysicalDeviceMemoryProperties2(
    VkPhysicalDevice physical, VkPhysicalDeviceMemoryProperties2 *out)
{
    const struct stub_device *d = (const void *)physical;
    VkPhysicalDeviceMemoryProperties *p = &out->memoryProperties;
    memset(p, 0, sizeof *p);
    p->memoryHeapCount = p->memoryTypeCount = 1;
    p->memoryHeaps[0] = (VkMemoryHeap){d->memory, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT};
    for (VkBaseOutStructure *s = out->pNext; s; s = s->pNext)
        if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT)
            ((VkPhysicalDeviceMemoryBudgetPropertiesEXT *)(void *)s)->heapBudget[0] = d->budget;
    p->memoryTypes[0].propertyFlags =
        VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT | VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
        VK_MEMORY_PROPERTY_HOST_COHERENT_BIT | VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
}

static VKAPI_ATTR void VKAPI_CALL GetPhysicalDeviceQueueFamilyProperties(
    VkPhysicalDevice physical, uint32_t *count, VkQueueFamilyProperties *out)
{
    (void)physical;
    *count = 1;
    if (out)
        out[0] = (VkQueueFamilyProperties){.queueFlags = VK_QUEUE_COMPUTE_BIT, .queueCount = 1};
}

static VKAPI_ATTR VkResult VKAPI_CALL EnumerateDeviceExtensionProperties(VkPhysicalDevice physical,
                                                                         const char *layer,
                                                                         uint32_t *count,
                                                                         VkExtensionProperties *out)
{
    ENTER(EnumerateDeviceExtensionProperties, physical, layer, count, out);
    *count = ((const struct stub_device *)(const void *)physical)->budget > 0;
    if (out && *count)
        out[0] = (VkExtensionProperties){VK_EXT_MEMORY_BUDGET_EXTENSION_NAME, 1};
    return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL CreateDevice(VkPhysicalDevice physical,
                                                   const VkDeviceCreateInfo *info,
                                                   const VkAllocationCallbacks *a, VkDevice *out)
{
    ENTER(CreateDevice, physical, info, a, out);
    uint32_t *id = make(sizeof *id);
    *id = (uint32_t)((const struct stub_device *)(const void *)physical - devices) + 1;
    *out = (VkDevice)(void *)id;
    return VK_SUCCESS;
}

static VKAPI_ATTR void VKAPI_CALL DestroyDevice(VkDevice device, const VkAllocationCallbacks *a)
{
    (void)a;
    destroy(device);
}

static VKAPI_ATTR void VKAPI_CALL GetDeviceQueue(VkDevice device, uint32_t family, uint32_t index,
                                                 VkQueue *out)
{
    (void)family;
    (void)index;
    *out = (VkQueue)(void *)device;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static VKAPI_ATTR VkResult VKAPI_CALL AllocateMemory(VkDevice device,
                                                     const VkMemoryAllocateInfo *info,
                                                     const VkAllocationCallbacks *a,
                                                     VkDeviceMemory *out)
{
    ENTER(AllocateMemory, device, info, a, out);
    *out = make(info->allocationSize);
    return *out ? VK_SUCCESS : VK_ERROR_OUT_OF_DEVICE_MEMORY;
}

static VKAPI_ATTR void VKAPI_CALL FreeMemory(VkDevice device, VkDeviceMemory memory,
                                             const VkAllocationCallbacks *a)
{
    (void)device;
    (void)a;
    destroy(memory);
}

static VKAPI_ATTR VkResult VKAPI_CALL MapMemory(VkDevice device, VkDeviceMemory memory,
                                                VkDeviceSize offset, VkDeviceSize size,
                                                VkMemoryMapFlags flags, void **out)
{
    ENTER(MapMemory, device, memory, offset, size, flags, out);
    *out = (char *)memory + offset;
    return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL CreateBuffer(VkDevice device, const VkBufferCreateInfo *info,
                                                   const VkAllocationCallbacks *a, VkBuffer *out)
{
    ENTER(CreateBuffer, device, info, a, out);
    VkDeviceSize *size = make(sizeof *size);
    *size = info->size;
    *out = (VkBuffer)(void *)size;
    return VK_SUCCESS;
}

static VKAPI_ATTR void VKAPI_CALL GetBufferMemoryRequirements(VkDevice device, VkBuffer buffer,
                                                              VkMemoryRequirements *out)
{
    (void)device;
    *out = (VkMemoryRequirements){*(const VkDeviceSize *)(const void *)buffer, 256, 1};
}

static VKAPI_ATTR VkResult VKAPI_CALL BindBufferMemory(VkDevice device, VkBuffer buffer,
                                                       VkDeviceMemory memory, VkDeviceSize offset)
{
    ENTER(BindBufferMemory, device, buffer, memory, offset);
    return VK_SUCCESS;
}

/* ---- pipelines ------------------------------------------------------------------------------- */

/* The header every driver's data begins with, and some words. */
static VKAPI_ATTR VkResult VKAPI_CALL GetPipelineCacheData(VkDevice device, VkPipelineCache cache,
                                                           size_t *size, void *out)
{
    ENTER(GetPipelineCacheData, device, cache, size, out);
    const uint32_t words[] = {32, VK_PIPELINE_CACHE_HEADER_VERSION_ONE, 0x10001,
                              *(const uint32_t *)(const void *)device};
    *size = 64;
    if (!out)
        return VK_SUCCESS;
    memset(out, 7, 64);
    memcpy(out, words, sizeof words);
    memcpy((char *)out + sizeof words, "stub cache build", VK_UUID_SIZE);
    return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL CreateComputePipelines(
    VkDevice device, VkPipelineCache cache, uint32_t count, const VkComputePipelineCreateInfo *info,
    const VkAllocationCallbacks *a, VkPipeline *out)
{
    ENTER(CreateComputePipelines, device, cache, count, info, a, out);
    for (uint32_t i = 0; i < count; i++)
        out[i] = make(1);
    return VK_SUCCESS;
}

/* Sets and command buffers go with their pools. */
static VKAPI_ATTR VkResult VKAPI_CALL AllocateDescriptorSets(
    VkDevice device, const VkDescriptorSetAllocateInfo *info, VkDescriptorSet *out)
{
    ENTER(AllocateDescriptorSets, device, info, out);
    for (uint32_t i = 0; i < info->descriptorSetCount; i++)
        out[i] = (VkDescriptorSet)(void *)info->descriptorPool;
    return VK_SUCCESS;
}

static VKAPI_ATTR void VKAPI_CALL UpdateDescriptorSets(VkDevice device, uint32_t writes,
                                                       const VkWriteDescriptorSet *write,
                                                       uint32_t copies,
                                                       const VkCopyDescriptorSet *copy)
{
    (void)device;
    (void)writes;
    (void)write;
    (void)copies;
    (void)copy;
}

/* ---- work ------------------------------------------------------------------------------------ */

static VKAPI_ATTR VkResult VKAPI_CALL AllocateCommandBuffers(
    VkDevice device, const VkCommandBufferAllocateInfo *info, VkCommandBuffer *out)
{
    ENTER(AllocateCommandBuffers, device, info, out);
    for (uint32_t i = 0; i < info->commandBufferCount; i++)
        out[i] = (VkCommandBuffer)(void *)info->commandPool;
    return VK_SUCCESS;
}

static VKAPI_ATTR void VKAPI_CALL FreeCommandBuffers(VkDevice device, VkCommandPool pool,
                                                     uint32_t count, const VkCommandBuffer *buffers)
{
    (void)device;
    (void)pool;
    (void)count;
    (void)buffers;
}

static VKAPI_ATTR VkResult VKAPI_CALL BeginCommandBuffer(VkCommandBuffer commands,
                                                         const VkCommandBufferBeginInfo *info)
{
    ENTER(BeginCommandBuffer, commands, info);
    return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL EndCommandBuffer(VkCommandBuffer commands)
{
    ENTER(EndCommandBuffer, commands);
    return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL QueueSubmit(VkQueue queue, uint32_t count,
                                                  const VkSubmitInfo *info, VkFence fence)
{
    ENTER(QueueSubmit, queue, count, info, fence);
    return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL WaitSemaphores(VkDevice device,
                                                     const VkSemaphoreWaitInfo *info,
                                                     uint64_t timeout)
{
    ENTER(WaitSemaphores, device, info, timeout);
    return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL DeviceWaitIdle(VkDevice device)
{
    ENTER(DeviceWaitIdle, device);
    return VK_SUCCESS;
}

/* Recording: nothing is kept. */
static VKAPI_ATTR void VKAPI_CALL nothing(void)
{
}

/* ---- the table ------------------------------------------------------------------------------- */

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL GetDeviceProcAddr(VkDevice device,
                                                                  const char *name);

static VKAPI_ATTR VkResult VKAPI_CALL CreateInstance(const VkInstanceCreateInfo *info,
                                                     const VkAllocationCallbacks *a,
                                                     VkInstance *out)
{
    ENTER(CreateInstance, info, a, out);
    *out = make(1);
    return VK_SUCCESS;
}

#define FOUND(function)                                                                            \
    if (strcmp(name, "vk" #function) == 0)                                                         \
        return (PFN_vkVoidFunction)function;

static PFN_vkVoidFunction counted(const char *name, PFN_vkVoidFunction found)
{
#define KEEP(function)                                                                             \
    if (strcmp(name, "vk" #function) == 0) {                                                       \
        real.function = (PFN_vk##function)found;                                                   \
        return (PFN_vkVoidFunction)function;                                                       \
    }
    COUNTED(KEEP)
#undef KEEP
    return NULL;
}

static PFN_vkVoidFunction own(const char *name)
{
    const PFN_vkVoidFunction function = counted(name, NULL);
    if (function)
        return function;
    FOUND(EnumerateInstanceVersion)
    FOUND(EnumerateInstanceLayerProperties)
    FOUND(DestroyInstance)
    FOUND(GetPhysicalDeviceProperties2)
    FOUND(GetPhysicalDeviceFeatures2)
    FOUND(GetPhysicalDeviceMemoryProperties2)
    FOUND(GetPhysicalDeviceQueueFamilyProperties)
    FOUND(GetDeviceProcAddr)
    FOUND(DestroyDevice)
    FOUND(GetDeviceQueue)
    FOUND(DestroySemaphore)
    FOUND(FreeMemory)
    FOUND(DestroyBuffer)
    FOUND(GetBufferMemoryRequirements)
    FOUND(DestroyShaderModule)
    FOUND(DestroyPipelineCache)
    FOUND(DestroyPipeline)
    FOUND(DestroyPipelineLayout)
    FOUND(DestroyDescriptorSetLayout)
    FOUND(DestroyDescriptorPool)
    FOUND(UpdateDescriptorSets)
    FOUND(DestroyCommandPool)
    FOUND(FreeCommandBuffers)
    FOUND(DestroyQueryPool)
    if (strncmp(name, "vkCmd", 5) == 0 || strstr(name, "QueryPool"))
        return (PFN_vkVoidFunction)nothing;
    return NULL;
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL GetDeviceProcAddr(VkDevice device, const char *name)
{
    if (!real.GetInstanceProcAddr)
        return own(name);
    const PFN_vkVoidFunction found = real.GetDeviceProcAddr(device, name);
    const PFN_vkVoidFunction wrapped = found ? counted(name, found) : NULL;
    return wrapped ? wrapped : found;
}

EXPORT VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL vkGetInstanceProcAddr(VkInstance instance,
                                                                      const char *name);

VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL vkGetInstanceProcAddr(VkInstance instance,
                                                               const char *name)
{
    if (!real.GetInstanceProcAddr)
        return own(name);
    const PFN_vkVoidFunction found = real.GetInstanceProcAddr(instance, name);
    if (found && strcmp(name, "vkGetDeviceProcAddr") == 0) {
        real.GetDeviceProcAddr = (PFN_vkGetDeviceProcAddr)found;
        return (PFN_vkVoidFunction)GetDeviceProcAddr;
    }
    const PFN_vkVoidFunction wrapped = found ? counted(name, found) : NULL;
    return wrapped ? wrapped : found;
}
