/* instance.c - the instance, its validation layer, the list of devices and the choice of one. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/vulkan/vulkan_internal.h"

#define VALIDATION_LAYER "VK_LAYER_KHRONOS_validation"

/* ---- the instance --------------------------------------------------------------------------- */

static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                 VkDebugUtilsMessageTypeFlagsEXT types,
                                                 const VkDebugUtilsMessengerCallbackDataEXT *data,
                                                 void *user)
{
    gen_vk_instance *instance = user;
    (void)severity;
    (void)types;
    if (instance->num_messages++ == 0)
        snprintf(instance->first_message, sizeof instance->first_message, "%s", data->pMessage);
    if (instance->message)
        instance->message(instance->message_user, data->pMessage);
    return VK_FALSE;
}

static bool has_extension(const VkExtensionProperties *list, uint32_t count, const char *name)
{
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(list[i].extensionName, name) == 0)
            return true;
    return false;
}

/* All extensions of the instance, to be freed. */
static gen_status list_extensions(const gen_vk_api *api, VkExtensionProperties **out,
                                  uint32_t *count, gen_error *err)
{
    GEN_VK_TRY(api->EnumerateInstanceExtensionProperties(NULL, count, NULL), "instance");
    *out = gen_calloc(*count + 1, sizeof **out);
    if (!*out)
        return gen_no_memory(err, "Vulkan extensions", *count * sizeof **out);
    const VkResult result = api->EnumerateInstanceExtensionProperties(NULL, count, *out);
    if (result >= 0)
        return GEN_OK;
    gen_free(*out);
    return gen_vk_fail(err, result, "instance");
}

static gen_status has_validation_layer(const gen_vk_api *api, bool *found, gen_error *err)
{
    uint32_t count = 0;
    *found = false;
    GEN_VK_TRY(api->EnumerateInstanceLayerProperties(&count, NULL), "instance");
    VkLayerProperties *layers = gen_calloc(count + 1, sizeof *layers);
    if (!layers)
        return gen_no_memory(err, "Vulkan layers", count * sizeof *layers);
    if (api->EnumerateInstanceLayerProperties(&count, layers) >= 0)
        for (uint32_t i = 0; i < count; i++)
            *found |= strcmp(layers[i].layerName, VALIDATION_LAYER) == 0;
    gen_free(layers);
    return GEN_OK;
}

static gen_status create_instance(gen_vk_instance *instance, gen_error *err)
{
    gen_vk_api *api = &instance->api;
    VkExtensionProperties *known = NULL;
    uint32_t num_known = 0, num_extensions = 0, num_layers = 0;
    const char *extensions[3], *layers[1];
    GEN_TRY(list_extensions(api, &known, &num_known, err));
    VkInstanceCreateFlags flags = 0;
    if (has_extension(known, num_known, "VK_KHR_portability_enumeration")) {
        extensions[num_extensions++] = "VK_KHR_portability_enumeration";
        flags |= VK_INSTANCE_CREATE_ENUMERATE_PORTABILITY_BIT_KHR;
    }
    if (instance->validates) {
        layers[num_layers++] = VALIDATION_LAYER;
        extensions[num_extensions++] = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
        extensions[num_extensions++] = VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME;
    }
    gen_free(known);
    const VkValidationFeatureEnableEXT synchronization =
        VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT;
    const VkValidationFeaturesEXT features = {.sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
                                              .enabledValidationFeatureCount = 1,
                                              .pEnabledValidationFeatures = &synchronization};
    const VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                                           .pApplicationName = "gen",
                                           .pEngineName = "gen",
                                           .apiVersion = VK_API_VERSION_1_2};
    const VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                       .pNext = instance->validates ? &features : NULL,
                                       .flags = flags,
                                       .pApplicationInfo = &application,
                                       .enabledLayerCount = num_layers,
                                       .ppEnabledLayerNames = layers,
                                       .enabledExtensionCount = num_extensions,
                                       .ppEnabledExtensionNames = extensions};
    const VkResult result = api->CreateInstance(&info, NULL, &instance->handle);
    if (result == VK_ERROR_INCOMPATIBLE_DRIVER) {
        gen_fail(err, GEN_ERROR_DEVICE, "this machine has no Vulkan driver");
        return gen_hint(err, "Install the driver of the graphics card, or use --device cpu.");
    }
    return result == VK_SUCCESS ? GEN_OK : gen_vk_fail(err, result, "instance");
}

/* A messenger chained to the creation would only live during it, so this one is explicit. */
static gen_status create_messenger(gen_vk_instance *instance, gen_error *err)
{
    const VkDebugUtilsMessengerCreateInfoEXT info = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                           VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
        .pfnUserCallback = on_message,
        .pUserData = instance};
    if (!instance->api.CreateDebugUtilsMessengerEXT)
        return gen_fail(err, GEN_ERROR_DEVICE, "the validation layer has no messenger");
    GEN_VK_TRY(instance->api.CreateDebugUtilsMessengerEXT(instance->handle, &info, NULL,
                                                          &instance->messenger),
               "validation layer");
    return GEN_OK;
}

/* ---- devices -------------------------------------------------------------------------------- */

static gen_vulkan_kind kind_of(VkPhysicalDeviceType type)
{
    switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
        return GEN_VULKAN_DISCRETE;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
        return GEN_VULKAN_INTEGRATED;
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
        return GEN_VULKAN_SOFTWARE;
    default:
        return GEN_VULKAN_VIRTUAL;
    }
}

/* Why this device cannot be used, or "". */
static const char *refusal(const gen_vk_api *api, VkPhysicalDevice physical,
                           const VkPhysicalDeviceProperties *p)
{
    if (p->apiVersion < VK_API_VERSION_1_2)
        return "its driver is older than Vulkan 1.2";
    VkPhysicalDeviceVulkan12Features v12 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                          .pNext = &v12};
    api->GetPhysicalDeviceFeatures2(physical, &features);
    if (!v12.timelineSemaphore)
        return "it has no timeline semaphores";
    if (p->limits.maxPerStageDescriptorStorageBuffers < GEN_VK_MAX_BUFFERS)
        return "its shaders see fewer than 6 buffers";
    if (p->limits.maxComputeWorkGroupInvocations < 256)
        return "its workgroups have fewer than 256 invocations";
    return "";
}

/* What the device offers beyond need. */
static void describe_features(const gen_vk_api *api, VkPhysicalDevice physical,
                              gen_vulkan_device *out)
{
    VkPhysicalDeviceVulkan12Features v12 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
    VkPhysicalDeviceVulkan11Features v11 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES, .pNext = &v12};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                          .pNext = &v11};
    VkPhysicalDeviceSubgroupProperties subgroup = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES};
    VkPhysicalDeviceProperties2 p = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                     .pNext = &subgroup};
    uint32_t count = 0;
    api->GetPhysicalDeviceFeatures2(physical, &features);
    api->GetPhysicalDeviceProperties2(physical, &p);
    out->has_16bit_storage = v11.storageBuffer16BitAccess;
    out->has_8bit_storage = v12.storageBuffer8BitAccess;
    out->has_float16 = v12.shaderFloat16;
    out->subgroup_size = subgroup.subgroupSize;
    out->has_lanes = subgroup.subgroupSize > 1 && 64 % subgroup.subgroupSize == 0 &&
                     subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT &&
                     subgroup.supportedOperations & VK_SUBGROUP_FEATURE_SHUFFLE_RELATIVE_BIT;
    if (api->EnumerateDeviceExtensionProperties(physical, NULL, &count, NULL) != VK_SUCCESS)
        return;
    VkExtensionProperties *list = gen_calloc(count + 1, sizeof *list);
    if (list && api->EnumerateDeviceExtensionProperties(physical, NULL, &count, list) >= 0) {
        out->has_matrices = has_extension(list, count, "VK_KHR_cooperative_matrix");
        out->has_budget = has_extension(list, count, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
    }
    gen_free(list);
}

/* What the device's own heaps have, and how much of it a program may use: what the driver tells,
 * never more than there is; else four fifths, half of what is the host's memory, too. */
static void describe_memory(const gen_vk_api *api, VkPhysicalDevice physical,
                            gen_vulkan_device *out)
{
    VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
    VkPhysicalDeviceMemoryProperties2 memory = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2,
        .pNext = out->has_budget ? &budget : NULL};
    api->GetPhysicalDeviceMemoryProperties2(physical, &memory);
    for (uint32_t i = 0; i < memory.memoryProperties.memoryHeapCount; i++) {
        const VkMemoryHeap *heap = &memory.memoryProperties.memoryHeaps[i];
        if (!(heap->flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT))
            continue;
        VkDeviceSize share = heap->size / 5 * 4;
        if (out->kind == GEN_VULKAN_INTEGRATED)
            share = heap->size / 2;
        if (budget.heapBudget[i])
            share = budget.heapBudget[i] < heap->size ? budget.heapBudget[i] : heap->size;
        out->memory += heap->size;
        out->budget += share;
    }
}

static void describe(const gen_vk_api *api, VkPhysicalDevice physical, int index,
                     gen_vulkan_device *out)
{
    VkPhysicalDeviceDriverProperties driver = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES};
    VkPhysicalDeviceIDProperties id = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES,
                                       .pNext = &driver};
    VkPhysicalDeviceMaintenance3Properties maintenance = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES, .pNext = &id};
    VkPhysicalDeviceProperties2 p = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                     .pNext = &maintenance};
    api->GetPhysicalDeviceProperties2(physical, &p);
    const VkPhysicalDeviceProperties *q = &p.properties;
    *out = (gen_vulkan_device){.index = index,
                               .kind = kind_of(q->deviceType),
                               .api_major = VK_API_VERSION_MAJOR(q->apiVersion),
                               .api_minor = VK_API_VERSION_MINOR(q->apiVersion),
                               .api_patch = VK_API_VERSION_PATCH(q->apiVersion),
                               .vendor_id = q->vendorID,
                               .device_id = q->deviceID,
                               .driver_version = q->driverVersion,
                               .max_buffer = maintenance.maxMemoryAllocationSize,
                               .max_binding = q->limits.maxStorageBufferRange};
    snprintf(out->name, sizeof out->name, "%s", q->deviceName);
    snprintf(out->driver, sizeof out->driver, "%s%s%.60s", driver.driverName,
             driver.driverInfo[0] ? " " : "", driver.driverInfo);
    memcpy(out->uuid, id.deviceUUID, sizeof out->uuid);
    memcpy(out->cache_uuid, q->pipelineCacheUUID, sizeof out->cache_uuid);
    snprintf(out->refused, sizeof out->refused, "%s", refusal(api, physical, q));
    if (!out->refused[0])
        describe_features(api, physical, out);
    describe_memory(api, physical, out);
}

static gen_status list_devices(gen_vk_instance *instance, gen_error *err)
{
    const gen_vk_api *api = &instance->api;
    uint32_t count = 0;
    GEN_VK_TRY(api->EnumeratePhysicalDevices(instance->handle, &count, NULL), "list of devices");
    instance->physical = gen_calloc(count + 1, sizeof *instance->physical);
    instance->devices = gen_calloc(count + 1, sizeof *instance->devices);
    if (!instance->physical || !instance->devices)
        return gen_no_memory(err, "list of devices", count * sizeof *instance->devices);
    const VkResult result =
        api->EnumeratePhysicalDevices(instance->handle, &count, instance->physical);
    if (result < 0)
        return gen_vk_fail(err, result, "list of devices");
    instance->num_devices = (int)count;
    for (int i = 0; i < instance->num_devices; i++)
        describe(api, instance->physical[i], i, &instance->devices[i]);
    if (count)
        return GEN_OK;
    gen_fail(err, GEN_ERROR_DEVICE, "no Vulkan driver on this machine offers a device");
    return gen_hint(err, "Install the driver of the graphics card, or use --device cpu.");
}

gen_status gen_vk_instance_new(gen_vk_instance **out, const gen_vulkan_options *options,
                               gen_error *err)
{
    gen_vk_instance *instance = gen_calloc(1, sizeof *instance);
    if (!instance)
        return gen_no_memory(err, "Vulkan", sizeof *instance);
    instance->message = options->message;
    instance->message_user = options->message_user;
    instance->validates = options->validate;
    gen_status status = gen_vk_open_loader(&instance->api, err);
    if (!status && options->wrap)
        options->wrap(&instance->api, options->wrap_user);
    if (!status && instance->validates) {
        bool found;
        status = has_validation_layer(&instance->api, &found, err);
        if (!status && !found)
            status = gen_fail(err, GEN_ERROR_DEVICE, "the validation layer is not installed");
    }
    if (!status)
        status = create_instance(instance, err);
    if (!status)
        status = gen_vk_load_instance(&instance->api, instance->handle, err);
    if (!status && options->wrap)
        options->wrap(&instance->api, options->wrap_user);
    if (!status && instance->validates)
        status = create_messenger(instance, err);
    if (!status)
        status = list_devices(instance, err);
    if (status) {
        gen_vk_instance_free(instance);
        return status;
    }
    *out = instance;
    return GEN_OK;
}

void gen_vk_instance_free(gen_vk_instance *instance)
{
    if (!instance)
        return;
    if (instance->messenger)
        instance->api.DestroyDebugUtilsMessengerEXT(instance->handle, instance->messenger, NULL);
    if (instance->handle && instance->api.DestroyInstance)
        instance->api.DestroyInstance(instance->handle, NULL);
    gen_vk_close_loader(&instance->api);
    gen_free(instance->physical);
    gen_free(instance->devices);
    gen_free(instance);
}

gen_status gen_vulkan_list(gen_vulkan_device **out, int *count, const gen_vulkan_options *options,
                           gen_error *err)
{
    static const gen_vulkan_options defaults;
    gen_vk_instance *instance;
    GEN_TRY(gen_vk_instance_new(&instance, options ? options : &defaults, err));
    *out = instance->devices;
    *count = instance->num_devices;
    instance->devices = NULL;
    gen_vk_instance_free(instance);
    return GEN_OK;
}

/* ---- the choice ----------------------------------------------------------------------------- */

static bool contains(const char *text, const char *part)
{
    const size_t n = strlen(part);
    for (; *text; text++) {
        size_t i = 0;
        while (i < n && text[i] &&
               tolower((unsigned char)text[i]) == tolower((unsigned char)part[i]))
            i++;
        if (i == n)
            return true;
    }
    return false;
}

static gen_status check_usable(int *index, const gen_vk_instance *instance, int i, gen_error *err)
{
    if (instance->devices[i].refused[0])
        return gen_fail(err, GEN_ERROR_DEVICE, "%s cannot be used: %s", instance->devices[i].name,
                        instance->devices[i].refused);
    *index = i;
    return GEN_OK;
}

/* Discrete before integrated before virtual, then the one with more memory. */
static gen_status choose_best(int *index, const gen_vk_instance *instance, bool takes_software,
                              gen_error *err)
{
    int best = -1;
    for (int i = 0; i < instance->num_devices; i++) {
        const gen_vulkan_device *d = &instance->devices[i];
        if (d->refused[0] || (d->kind == GEN_VULKAN_SOFTWARE && !takes_software))
            continue;
        const gen_vulkan_device *b = best < 0 ? NULL : &instance->devices[best];
        if (!b || d->kind < b->kind || (d->kind == b->kind && d->memory > b->memory))
            best = i;
    }
    if (best >= 0) {
        *index = best;
        return GEN_OK;
    }
    const gen_vulkan_device *first = &instance->devices[0];
    if (first->refused[0])
        return gen_fail(err, GEN_ERROR_DEVICE, "%s cannot be used: %s", first->name,
                        first->refused);
    gen_fail(err, GEN_ERROR_DEVICE, "no Vulkan device but a software driver (%s)", first->name);
    return gen_hint(err, "Name it to use it all the same: --device vulkan:0.");
}

gen_status gen_vk_choose_device(int *index, const gen_vk_instance *instance, const char *wanted,
                                gen_error *err)
{
    if (!wanted || !*wanted)
        return choose_best(index, instance, wanted != NULL, err);
    char *end;
    const long number = strtol(wanted, &end, 10);
    if (!*end) {
        if (number >= 0 && number < instance->num_devices)
            return check_usable(index, instance, (int)number, err);
        return gen_fail(err, GEN_ERROR_ARGUMENT,
                        "there is no Vulkan device %s, expected 0 to %d (gen devices)", wanted,
                        instance->num_devices - 1);
    }
    int found = -1;
    for (int i = 0; i < instance->num_devices; i++) {
        if (!contains(instance->devices[i].name, wanted))
            continue;
        if (found >= 0)
            return gen_fail(err, GEN_ERROR_ARGUMENT,
                            "\"%s\" is part of several Vulkan devices: %d %s and %d %s", wanted,
                            found, instance->devices[found].name, i, instance->devices[i].name);
        found = i;
    }
    if (found >= 0)
        return check_usable(index, instance, found, err);
    return gen_fail(err, GEN_ERROR_ARGUMENT,
                    "no Vulkan device is called \"%s\"; the first is \"%s\"", wanted,
                    instance->devices[0].name);
}
