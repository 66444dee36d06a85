/* vulkan.c - the Vulkan backend in the harness: on Mesa's software driver, which is on every test
 * machine, or on the device GEN_TEST_VULKAN names; with the validation layer, any message of which
 * fails the plan it comes from.
 *
 * One device serves all cases; "two threads" are one dispatch for each submission, with uploads
 * through staging memory and without exchange between lanes: none of it may change a bit. */
#include <stdlib.h>

#include "gen/vulkan/vulkan_internal.h"
#include "tests/ops/ops.h"
#include "tests/ops/spirv.h"

static gen_backend *opened[2];
static bool use_f16; /* a program tests one backend */

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
                                            .always_stages = is_sliced,
                                            .no_lanes = is_sliced,
                                            .use_f16 = use_f16};
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

static gen_status open_half(gen_backend **out, const ops_config *config, gen_error *err)
{
    use_f16 = true;
    return open_with(out, config, 0, 0, err);
}

static gen_status open_windows(gen_backend **out, const ops_config *config, gen_error *err)
{
    return open_with(out, config, 8192, 160 << 10, err);
}

/* What pipelines made since the last call ask of a device: no more than every device has. */
static void check_pipelines(const gen_vulkan *vk)
{
    static const gen_vk_pipeline *last[2];
    const gen_vk_pipeline **checked = &last[&vk->base != opened[0]];
    for (const gen_vk_pipeline *p = vk->pipelines; p && p != *checked; p = p->next) {
        spirv_needs needs;
        const char *why;
        const gen_vk_shader *s = p->shader;
        const uint32_t *code = p->is_half ? s->half_code : s->code;
        const size_t size = p->is_half ? s->half_size : s->size;
        if (!spirv_measure(code, size, p->constants, p->num_constants, &needs, &why))
            fail_msg("%s.comp: the reader of this test does not know %s", s->name, why);
        if (gen_vk_is_matrix_shader(s->name))
            needs.needs_features = false;
        if (spirv_excess(&needs))
            fail_msg("%s.comp, as it is used: %s", s->name, spirv_excess(&needs));
    }
    *checked = vk->pipelines;
}

/* The device stays open for the next case. */
static void finish(gen_backend *backend)
{
    check_pipelines((const gen_vulkan *)backend);
}

static const char *const levels[] = {"", NULL};
const ops_backend ops_vulkan = {"vulkan", levels, open_whole, finish, false, 0};
const ops_backend ops_vulkan_windows = {"vulkan-windows", levels, open_windows, finish, false, 0};
const ops_backend ops_vulkan_half = {"vulkan-half", levels, open_half,
                                     finish,        false,  GEN_PLAN_HALF};
