/* vulkan.c - the Vulkan backend in the harness: on Mesa's software driver, which is on every test
 * machine, or on the device GEN_TEST_VULKAN names; with the validation layer, any message of which
 * fails the plan it comes from.
 *
 * One device serves all cases; "two threads" are one dispatch for each submission, with uploads
 * through staging memory: slices must not change a bit. */
#include <stdlib.h>

#include "gen/vulkan/vulkan.h"
#include "tests/ops/ops.h"

static gen_backend *opened[2];

static void close_all(void)
{
    for (int i = 0; i < 2; i++)
        if (opened[i])
            opened[i]->fns->close(opened[i]);
}

static gen_status open_with(gen_backend **out, const ops_config *config, size_t max_binding,
                            size_t max_block, gen_error *err)
{
    const bool is_sliced = config->num_threads > 1;
    const char *device = getenv("GEN_TEST_VULKAN");
    if (!opened[is_sliced]) {
        const gen_vulkan_options options = {.device = device ? device : "llvmpipe",
                                            .validate = true,
                                            .max_binding = max_binding,
                                            .max_block = max_block,
                                            .max_slice_nodes = is_sliced,
                                            .always_stages = is_sliced};
        GEN_TRY(gen_vulkan_open(&opened[is_sliced], &options, err));
        if (!opened[!is_sliced] && atexit(close_all) != 0)
            return GEN_ERROR_MEMORY;
    }
    *out = opened[is_sliced];
    return GEN_OK;
}

static gen_status open_whole(gen_backend **out, const ops_config *config, gen_error *err)
{
    return open_with(out, config, 0, 0, err);
}

static gen_status open_windows(gen_backend **out, const ops_config *config, gen_error *err)
{
    return open_with(out, config, 8192, 160 << 10, err);
}

static void keep_open(gen_backend *backend)
{
    (void)backend;
}

static const char *const levels[] = {"", NULL};
const ops_backend ops_vulkan = {"vulkan", levels, open_whole, keep_open, false};
const ops_backend ops_vulkan_windows = {"vulkan-windows", levels, open_windows, keep_open, false};
