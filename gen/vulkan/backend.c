/* backend.c - the table of core, and opening. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/vulkan/compile.h"

static bool vulkan_supports(gen_backend *b, const gen_node *node)
{
    (void)b;
    return gen_vk_op_of(node) != NULL;
}

static gen_status vulkan_measure(gen_backend *b, const gen_plan *plan, gen_backend_needs *needs,
                                 gen_error *err)
{
    return gen_vk_measure((gen_vulkan *)b, plan, needs, err);
}

static void vulkan_release(gen_backend *b, gen_plan *plan)
{
    gen_vulkan *vk = (gen_vulkan *)b;
    gen_vk_plan *p = gen_plan_backend_data(plan);
    if (!p)
        return;
    /* A run that was left early may still be on the queue. */
    gen_vk_wait(vk, vk->submitted, 60.0, NULL);
    gen_vk_free_recording(vk, p);
    gen_vk_buffer_free(vk, &p->io);
    gen_vk_stream_free(vk, &p->stream);
    gen_free(p->io_offset);
    gen_free(p->dispatches);
    gen_free(p);
    gen_plan_set_backend_data(plan, NULL);
}

static gen_status vulkan_compile(gen_backend *b, gen_plan *plan, gen_error *err)
{
    gen_vulkan *vk = (gen_vulkan *)b;
    const gen_plan_stats *stats = gen_plan_get_stats(plan);
    const uint64_t limit = b->budget, wanted = stats->arena + stats->scratch;
    if (limit && wanted > limit)
        return gen_fail(err, GEN_ERROR_MEMORY,
                        "%.0f MiB of working memory are needed on the device, the limit is %.0f "
                        "MiB",
                        (double)wanted / 0x1p20, (double)limit / 0x1p20);
    gen_vk_plan *p = gen_calloc(1, sizeof *p);
    if (!p)
        return gen_no_memory(err, "plan", sizeof *p);
    gen_plan_set_backend_data(plan, p);
    GEN_TRY(gen_vk_compile(vk, plan, p, err));
    return gen_vk_check_messages(vk, err);
}

static gen_status vulkan_reserve(gen_backend *b, size_t arena, size_t scratch, gen_error *err)
{
    gen_vulkan *vk = (gen_vulkan *)b;
    GEN_TRY(gen_vk_grow_arena(vk, arena, err));
    return gen_vk_buffer_grow(vk, &vk->scratch, scratch, GEN_VK_DEVICE_MEMORY, "working memory",
                              err);
}

static gen_status vulkan_run(gen_backend *b, gen_plan *plan, gen_error *err)
{
    return gen_vk_run_plan((gen_vulkan *)b, gen_plan_backend_data(plan), err);
}

/* ---- inputs and outputs --------------------------------------------------------------------- */

/* f32 numbers as `dtype`, and back. */
static void store(void *out, const float *in, gen_dtype dtype, size_t count)
{
    if (dtype == GEN_F16)
        for (size_t i = 0; i < count; i++)
            ((uint16_t *)out)[i] = gen_f32_to_f16(in[i]);
    else
        memcpy(out, in, count * sizeof *in);
}

static char *io_of(const gen_vk_plan *p, const gen_tensor *t)
{
    return (char *)p->io.mapped + p->io_offset[t->id];
}

/* Rows of a table that stays on the host, for an embedding whose ids were just given. */
static void gather(const gen_vk_plan *p, const gen_node *node, const int32_t *ids)
{
    const gen_tensor *table = node->inputs[1], *y = node->output;
    const int64_t width = table->dims[1], rows = gen_tensor_rows(y), last = table->dims[0] - 1;
    const size_t size = gen_dtype_size(table->weight->dtype), each = gen_dtype_size(y->dtype);
    for (int64_t r = 0; r < rows; r++) {
        const int64_t id = ids[r] < 0 ? 0 : ids[r] > last ? last : ids[r];
        const char *from = (const char *)table->weight->data + (size_t)(id * width) * size;
        for (int64_t k = 0; k < width; k++) {
            float value;
            gen_to_f32(&value, from + (size_t)k * size, table->weight->dtype, 1);
            store(io_of(p, y) + (size_t)(r * width + k) * each, &value, y->dtype, 1);
        }
    }
}

/* A state lies in the arena alone; it is written there at once. */
static gen_status write_state(gen_vulkan *vk, const gen_tensor *t, const void *src, gen_error *err)
{
    VkDeviceSize inside;
    const gen_vk_buffer *arena = gen_vk_arena(vk, t->arena_offset, &inside);
    void *block = gen_malloc(t->arena_size);
    if (!block)
        return gen_no_memory(err, "state", t->arena_size);
    store(block, src, t->dtype, (size_t)gen_tensor_elements(t));
    const gen_status status = gen_vk_write_to(vk, arena, inside, block, t->arena_size, err);
    gen_free(block);
    return status;
}

static gen_status vulkan_upload(gen_backend *b, gen_plan *plan, gen_tensor *dst, const void *src,
                                gen_error *err)
{
    gen_vulkan *vk = (gen_vulkan *)b;
    const gen_vk_plan *p = gen_plan_backend_data(plan);
    if (dst->dtype != GEN_I32 && dst->arena_size) {
        if (p->io_offset[dst->id] >= 0)
            store(io_of(p, dst), src, dst->dtype, (size_t)gen_tensor_elements(dst));
        else
            GEN_TRY(write_state(vk, dst, src, err));
        vk->stats.uploads++;
        vk->stats.upload_bytes += dst->arena_size;
    }
    for (int s = 0; s < gen_plan_num_steps(plan); s++) {
        const gen_node *node = gen_plan_step(plan, s);
        if (node->op != GEN_OP_EMBEDDING || gen_tensor_owner(node->inputs[0], NULL) != dst)
            continue;
        gather(p, node, src);
        vk->stats.uploads++;
        vk->stats.upload_bytes += node->output->arena_size;
    }
    return GEN_OK;
}

/* The memory behind `owner` on the host: the plan's own copy, or a new one in *block to be freed.
 */
static gen_status fetch(gen_vulkan *vk, const gen_vk_plan *p, const gen_tensor *owner,
                        const char **out, char **block, gen_error *err)
{
    if (p->io_offset[owner->id] >= 0 && owner->is_output) {
        *out = io_of(p, owner);
        return GEN_OK;
    }
    char *copy = gen_malloc(owner->arena_size);
    if (!copy)
        return gen_no_memory(err, "download", owner->arena_size);
    VkDeviceSize inside;
    const gen_vk_buffer *arena = gen_vk_arena(vk, owner->arena_offset, &inside);
    const gen_status status = gen_vk_read_back(vk, arena, inside, copy, owner->arena_size, err);
    if (status) {
        gen_free(copy);
        return status;
    }
    *out = *block = copy;
    return GEN_OK;
}

static gen_status vulkan_download(gen_backend *b, gen_plan *plan, const gen_tensor *src, void *dst,
                                  gen_error *err)
{
    gen_vulkan *vk = (gen_vulkan *)b;
    int64_t offset;
    const gen_tensor *owner = gen_tensor_owner(src, &offset);
    const char *from = NULL;
    char *block = NULL;
    GEN_TRY(fetch(vk, gen_plan_backend_data(plan), owner, &from, &block, err));
    const int64_t rows = gen_tensor_rows(src), width = src->dims[src->rank - 1];
    const size_t each = gen_dtype_size(owner->dtype);
    for (int64_t r = 0; r < rows; r++)
        gen_to_f32((float *)dst + r * width, from + (size_t)(offset + r * src->ld) * each,
                   owner->dtype, (size_t)width);
    gen_free(block);
    vk->stats.downloads++;
    vk->stats.download_bytes += (uint64_t)(rows * width) * each;
    return GEN_OK;
}

/* ---- tracing -------------------------------------------------------------------------------- */

static gen_status is_finite(gen_vulkan *vk, const gen_tensor *t, bool *out, gen_error *err)
{
    char *values = gen_malloc(t->arena_size);
    if (!values)
        return gen_no_memory(err, "trace", t->arena_size);
    VkDeviceSize inside;
    const gen_vk_buffer *arena = gen_vk_arena(vk, t->arena_offset, &inside);
    const gen_status status = gen_vk_read_back(vk, arena, inside, values, t->arena_size, err);
    const size_t each = gen_dtype_size(t->dtype);
    *out = true;
    for (size_t i = 0; !status && i < t->arena_size / each; i++) {
        float value;
        gen_to_f32(&value, values + i * each, t->dtype, 1);
        *out &= isfinite(value) != 0;
    }
    gen_free(values);
    return status;
}

/* Runs dispatches first..end, which belong to one node, and waits. */
static gen_status run_node(gen_vulkan *vk, gen_vk_plan *p, int first, int end,
                           VkCommandBuffer commands, gen_error *err)
{
    uint64_t value;
    if (p->stream.num_stages)
        GEN_TRY(gen_vk_stream_load(vk, &p->stream, p->dispatches[first].stage, err));
    GEN_TRY(gen_vk_record_range(vk, p, first, end - first, commands, err));
    GEN_TRY(gen_vk_submit(vk, commands, &value, err));
    return gen_vk_wait(vk, value, 600.0, err);
}

static gen_status vulkan_trace(gen_backend *b, gen_plan *plan, const gen_node **node,
                               gen_error *err)
{
    gen_vulkan *vk = (gen_vulkan *)b;
    gen_vk_plan *p = gen_plan_backend_data(plan);
    VkCommandBuffer commands;
    const VkCommandBufferAllocateInfo info = {.sType =
                                                  VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                              .commandPool = vk->command_pool,
                                              .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                              .commandBufferCount = 1};
    *node = NULL;
    if (p->generation != vk->generation)
        GEN_TRY(gen_vk_record(vk, p, err));
    GEN_VK_TRY(vk->api.AllocateCommandBuffers(vk->device, &info, &commands), "trace");
    gen_status status = GEN_OK;
    for (int i = 0; i < p->num_dispatches && !status && !*node;) {
        const gen_node *n = p->dispatches[i].node;
        bool finite = true;
        int end = i;
        while (end < p->num_dispatches && p->dispatches[end].node == n)
            end++;
        status = run_node(vk, p, i, end, commands, err);
        if (!status && n)
            status = is_finite(vk, n->output, &finite, err);
        if (!finite)
            *node = n;
        i = end;
    }
    if (!vk->is_lost)
        vk->api.FreeCommandBuffers(vk->device, vk->command_pool, 1, &commands);
    return status;
}

/* ---- opening -------------------------------------------------------------------------------- */

static void vulkan_close(gen_backend *b)
{
    gen_vulkan *vk = (gen_vulkan *)b;
    gen_vk_close_device(vk);
    gen_free(vk->cache_dir);
    if (vk->pool && vk->pool->live)
        vk->pool->vk = NULL; /* the last of the weights frees it */
    else
        gen_free(vk->pool);
    gen_free(vk);
}

static const gen_backend_fns vulkan_fns = {
    .name = "vulkan",
    .supports = vulkan_supports,
    .measure = vulkan_measure,
    .reserve = vulkan_reserve,
    .compile = vulkan_compile,
    .run = vulkan_run,
    .trace = vulkan_trace,
    .upload = vulkan_upload,
    .download = vulkan_download,
    .release = vulkan_release,
    .close = vulkan_close,
};

gen_status gen_vulkan_open(gen_backend **out, const gen_vulkan_options *options, gen_error *err)
{
    gen_vulkan *vk = gen_calloc(1, sizeof *vk);
    if (!vk)
        return gen_no_memory(err, "Vulkan backend", sizeof *vk);
    vk->base.fns = &vulkan_fns;
    if (options)
        vk->options = *options;
    if (vk->options.device) {
        snprintf(vk->device_name, sizeof vk->device_name, "%s", vk->options.device);
        vk->options.device = vk->device_name;
    }
    if (vk->options.cache_dir) /* without memory: no cache */
        vk->options.cache_dir = vk->cache_dir = gen_strdup(vk->options.cache_dir);
    const char *validate = getenv("GEN_VULKAN_VALIDATE");
    vk->options.validate |= validate && strcmp(validate, "1") == 0;
    vk->base.stores_half = vk->options.use_f16;
    vk->generation = 1;
    vk->pool = gen_calloc(1, sizeof *vk->pool);
    gen_status status = vk->pool ? GEN_OK : gen_no_memory(err, "Vulkan backend", sizeof *vk->pool);
    if (!status) {
        vk->pool->vk = vk;
        status = gen_vk_open_device(vk, err);
    }
    if (status) {
        vulkan_close(&vk->base);
        return status;
    }
    *out = &vk->base;
    return GEN_OK;
}

const char *gen_vulkan_describe(const gen_backend *backend, char *buf, size_t size)
{
    const gen_vulkan *vk = (const gen_vulkan *)backend;
    snprintf(buf, size, "%s, %s", vk->info->name, vk->info->driver);
    return buf;
}

const gen_vulkan_device *gen_vulkan_device_of(const gen_backend *backend)
{
    return ((const gen_vulkan *)backend)->info;
}

gen_vulkan_counts gen_vulkan_count(const gen_plan *plan)
{
    const gen_vk_plan *p = gen_plan_backend_data(plan);
    gen_vulkan_counts n = {.nodes = gen_plan_num_steps(plan),
                           .dispatches = p->num_dispatches - p->num_copies,
                           .copies = p->num_copies,
                           .barriers = p->num_barriers,
                           .submissions = p->num_slices,
                           .stages = p->stream.num_stages};
    for (int s = 0; s < n.nodes; s++) {
        const gen_epilogue *e = &gen_plan_step(plan, s)->epilogue;
        n.fused += e->act || e->post_act || e->residual;
    }
    return n;
}

gen_vulkan_stats gen_vulkan_get_stats(const gen_backend *backend)
{
    const gen_vulkan *vk = (const gen_vulkan *)backend;
    gen_vulkan_stats stats = vk->stats;
    stats.messages = vk->instance->num_messages;
    return stats;
}
