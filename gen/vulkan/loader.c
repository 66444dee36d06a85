/* loader.c - the Vulkan loader opened at run time, and the names of its results. */
#include "gen/vulkan/api.h"

#include <dlfcn.h>
#ifdef __SANITIZE_ADDRESS__
#include <link.h>
#endif
#include <stdlib.h>
#include <string.h>

static gen_status no_loader(gen_error *err)
{
    gen_fail(err, GEN_ERROR_DEVICE, "this machine has no Vulkan loader (libvulkan.so.1)");
    return gen_hint(err, "Install it (Debian: libvulkan1) and a driver, or use --device cpu.");
}

gen_status gen_vk_open_loader(gen_vk_api *api, gen_error *err)
{
    static const char *const names[] = {"libvulkan.so.1", "libvulkan.so", "libvulkan.1.dylib"};
    const char *named = getenv("GEN_VULKAN_LOADER");
    memset(api, 0, sizeof *api);
    if (named && *named) {
        api->library = dlopen(named, RTLD_NOW | RTLD_LOCAL);
    } else {
        for (size_t i = 0; i < sizeof names / sizeof names[0] && !api->library; i++)
            api->library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    }
    if (!api->library)
        return no_loader(err);
    void *symbol = dlsym(api->library, "vkGetInstanceProcAddr");
    if (!symbol) {
        gen_vk_close_loader(api);
        return no_loader(err);
    }
    memcpy(&api->GetInstanceProcAddr, &symbol, sizeof symbol);
    const char *missing = NULL;
#define LOAD(name)                                                                                 \
    api->name = (PFN_vk##name)api->GetInstanceProcAddr(NULL, "vk" #name);                          \
    if (!api->name)                                                                                \
        missing = "vk" #name;
    GEN_VK_GLOBAL_FUNCTIONS(LOAD)
#undef LOAD
    if (!missing)
        return GEN_OK;
    gen_vk_close_loader(api);
    return gen_fail(err, GEN_ERROR_DEVICE, "the Vulkan loader is older than 1.1: it has no %s",
                    missing);
}

void gen_vk_close_loader(gen_vk_api *api)
{
    if (api->library)
        dlclose(api->library);
    api->library = NULL;
}

#ifdef __SANITIZE_ADDRESS__
/* Drivers and layers stay loaded: what they keep in their own variables is no leak, and what they
 * lose has a name that can be suppressed. */
static int keep_loaded(struct dl_phdr_info *module, size_t size, void *unused)
{
    (void)size;
    (void)unused;
    if (module->dlpi_name[0])
        dlopen(module->dlpi_name, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
    return 0;
}
#endif

gen_status gen_vk_load_instance(gen_vk_api *api, VkInstance instance, gen_error *err)
{
    const char *missing = NULL;
#ifdef __SANITIZE_ADDRESS__
    dl_iterate_phdr(keep_loaded, NULL);
#endif
#define LOAD(name) api->name = (PFN_vk##name)api->GetInstanceProcAddr(instance, "vk" #name);
#define REQUIRE(name)                                                                              \
    LOAD(name)                                                                                     \
    if (!api->name)                                                                                \
        missing = "vk" #name;
    GEN_VK_INSTANCE_FUNCTIONS(REQUIRE)
    GEN_VK_DEBUG_FUNCTIONS(LOAD)
#undef REQUIRE
#undef LOAD
    return missing ? gen_fail(err, GEN_ERROR_DEVICE, "the Vulkan loader has no %s", missing)
                   : GEN_OK;
}

gen_status gen_vk_load_device(gen_vk_api *api, VkDevice device, gen_error *err)
{
    const char *missing = NULL;
#define LOAD(name)                                                                                 \
    api->name = (PFN_vk##name)api->GetDeviceProcAddr(device, "vk" #name);                          \
    if (!api->name)                                                                                \
        missing = "vk" #name;
    GEN_VK_DEVICE_FUNCTIONS(LOAD)
#undef LOAD
    return missing ? gen_fail(err, GEN_ERROR_DEVICE, "the Vulkan driver has no %s", missing)
                   : GEN_OK;
}

static const char *result_name(VkResult result)
{
    switch (result) {
    case VK_TIMEOUT:
        return "TIMEOUT";
    case VK_ERROR_OUT_OF_HOST_MEMORY:
        return "OUT_OF_HOST_MEMORY";
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
        return "OUT_OF_DEVICE_MEMORY";
    case VK_ERROR_INITIALIZATION_FAILED:
        return "INITIALIZATION_FAILED";
    case VK_ERROR_DEVICE_LOST:
        return "DEVICE_LOST";
    case VK_ERROR_MEMORY_MAP_FAILED:
        return "MEMORY_MAP_FAILED";
    case VK_ERROR_LAYER_NOT_PRESENT:
        return "LAYER_NOT_PRESENT";
    case VK_ERROR_EXTENSION_NOT_PRESENT:
        return "EXTENSION_NOT_PRESENT";
    case VK_ERROR_FEATURE_NOT_PRESENT:
        return "FEATURE_NOT_PRESENT";
    case VK_ERROR_INCOMPATIBLE_DRIVER:
        return "INCOMPATIBLE_DRIVER";
    case VK_ERROR_TOO_MANY_OBJECTS:
        return "TOO_MANY_OBJECTS";
    case VK_ERROR_FRAGMENTED_POOL:
        return "FRAGMENTED_POOL";
    case VK_ERROR_OUT_OF_POOL_MEMORY:
        return "OUT_OF_POOL_MEMORY";
    default:
        return NULL;
    }
}

gen_status gen_vk_fail(gen_error *err, VkResult result, const char *what)
{
    const bool is_memory =
        result == VK_ERROR_OUT_OF_HOST_MEMORY || result == VK_ERROR_OUT_OF_DEVICE_MEMORY;
    const char *name = result_name(result);
    const gen_status status = is_memory ? GEN_ERROR_MEMORY : GEN_ERROR_DEVICE;
    if (!name)
        return gen_fail(err, status, "%s: the Vulkan driver answers %d", what, (int)result);
    return gen_fail(err, status, "%s: the Vulkan driver answers %s", what, name);
}
