/* memory.c - device memory: buffers, the arena, transfers through two staging slots.
 *
 * What lies in the device's own heaps is counted against gen's share of them (vk->base.budget). */
#include <string.h>

#include "gen/vulkan/vulkan_internal.h"

/* ---- buffers -------------------------------------------------------------------------------- */

/* The first memory type that is allowed, has `wanted` and none of `unwanted`; -1: none. */
static int find_type(const gen_vulkan *vk, uint32_t allowed, VkMemoryPropertyFlags wanted,
                     VkMemoryPropertyFlags unwanted)
{
    for (uint32_t i = 0; i < vk->memory_types.memoryTypeCount; i++) {
        const VkMemoryPropertyFlags flags = vk->memory_types.memoryTypes[i].propertyFlags;
        if (allowed >> i & 1 && (flags & wanted) == wanted && !(flags & unwanted))
            return (int)i;
    }
    return -1;
}

static int choose_type(const gen_vulkan *vk, uint32_t allowed, gen_vk_memory_kind kind)
{
    const VkMemoryPropertyFlags local = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
    const VkMemoryPropertyFlags visible =
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    const VkMemoryPropertyFlags cached = VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
    int type = -1;
    switch (kind) {
    case GEN_VK_DEVICE_MEMORY:
        type = find_type(vk, allowed, local, VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT);
        return type >= 0 ? type : find_type(vk, allowed, local, 0);
    case GEN_VK_STREAM_MEMORY:
        type = find_type(vk, allowed, local | visible, 0);
        return type >= 0 ? type : find_type(vk, allowed, local, 0);
    case GEN_VK_READ_MEMORY:
        type = find_type(vk, allowed, visible | cached, 0);
        break;
    case GEN_VK_UPLOAD_MEMORY:
        type = find_type(vk, allowed, visible, local);
        break;
    }
    return type >= 0 ? type : find_type(vk, allowed, visible, 0);
}

bool gen_vk_is_own_memory(const gen_vulkan *vk, gen_vk_memory_kind kind)
{
    const int type = choose_type(vk, UINT32_MAX, kind);
    return type >= 0 &&
           vk->memory_types.memoryHeaps[vk->memory_types.memoryTypes[type].heapIndex].flags &
               VK_MEMORY_HEAP_DEVICE_LOCAL_BIT;
}

static bool is_of_device(gen_vk_memory_kind kind)
{
    return kind == GEN_VK_DEVICE_MEMORY || kind == GEN_VK_STREAM_MEMORY;
}

static void count(gen_vulkan *vk, gen_vk_buffer *b, int type, VkDeviceSize size)
{
    const uint32_t heap = vk->memory_types.memoryTypes[type].heapIndex;
    if (!(vk->memory_types.memoryHeaps[heap].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT))
        return;
    b->held = size;
    vk->stats.memory_bytes += size;
    if (vk->stats.memory_bytes > vk->stats.peak_bytes)
        vk->stats.peak_bytes = vk->stats.memory_bytes;
}

bool gen_vk_is_mapped(const gen_vulkan *vk, gen_vk_memory_kind kind)
{
    const VkMemoryPropertyFlags visible =
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    const int type = choose_type(vk, UINT32_MAX, kind);
    return type >= 0 && (vk->memory_types.memoryTypes[type].propertyFlags & visible) == visible &&
           !(is_of_device(kind) && vk->options.always_stages);
}

/* One pool of memory may be shown as several heaps: when the type of choice is used up, the others
 * of the device are tried. */
static gen_status allocate(gen_vulkan *vk, gen_vk_buffer *b, gen_vk_memory_kind kind,
                           const char *what, gen_error *err)
{
    VkMemoryRequirements needs;
    vk->api.GetBufferMemoryRequirements(vk->device, b->handle, &needs);
    VkResult result = VK_ERROR_OUT_OF_DEVICE_MEMORY;
    int type = choose_type(vk, needs.memoryTypeBits, kind);
    if (type < 0)
        return gen_fail(err, GEN_ERROR_DEVICE, "%s: %s has no memory for it", what, vk->info->name);
    for (uint32_t allowed = needs.memoryTypeBits;;) {
        const VkMemoryAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                           .allocationSize = needs.size,
                                           .memoryTypeIndex = (uint32_t)type};
        result = vk->api.AllocateMemory(vk->device, &info, NULL, &b->memory);
        allowed &= ~(1u << type);
        const int next = choose_type(vk, allowed, kind);
        if (result != VK_ERROR_OUT_OF_DEVICE_MEMORY || next < 0)
            break;
        type = next;
    }
    GEN_VK_TRY(result, what);
    count(vk, b, type, needs.size);
    GEN_VK_TRY(vk->api.BindBufferMemory(vk->device, b->handle, b->memory, 0), what);
    const VkMemoryPropertyFlags flags = vk->memory_types.memoryTypes[type].propertyFlags;
    const VkMemoryPropertyFlags visible =
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    if ((flags & visible) == visible && !(is_of_device(kind) && vk->options.always_stages))
        GEN_VK_TRY(vk->api.MapMemory(vk->device, b->memory, 0, VK_WHOLE_SIZE, 0, &b->mapped), what);
    return GEN_OK;
}

gen_status gen_vk_buffer_new(gen_vulkan *vk, gen_vk_buffer *out, VkDeviceSize size,
                             gen_vk_memory_kind kind, const char *what, gen_error *err)
{
    gen_vk_buffer b = {.size = gen_vk_round_up(size ? size : 1)};
    if (b.size > vk->max_buffer)
        return gen_fail(err, GEN_ERROR_MEMORY,
                        "%s: %.0f MiB are needed in one piece, %s gives at most %.0f MiB", what,
                        (double)b.size / 0x1p20, vk->info->name, (double)vk->max_buffer / 0x1p20);
    const VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                                     .size = b.size,
                                     .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT |
                                              VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                                              VK_BUFFER_USAGE_TRANSFER_DST_BIT};
    GEN_VK_TRY(vk->api.CreateBuffer(vk->device, &info, NULL, &b.handle), what);
    const gen_status status = allocate(vk, &b, kind, what, err);
    if (status) {
        gen_vk_buffer_free(vk, &b);
        return status;
    }
    *out = b;
    return GEN_OK;
}

void gen_vk_buffer_free(gen_vulkan *vk, gen_vk_buffer *buffer)
{
    if (buffer->handle && !vk->is_hung)
        vk->api.DestroyBuffer(vk->device, buffer->handle, NULL);
    if (buffer->memory && !vk->is_hung)
        vk->api.FreeMemory(vk->device, buffer->memory, NULL);
    vk->stats.memory_bytes -= buffer->held;
    *buffer = (gen_vk_buffer){0};
}

static gen_status begin(gen_vulkan *vk, VkCommandBuffer commands, gen_error *err)
{
    const VkCommandBufferBeginInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                           .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
    GEN_VK_TRY(vk->api.BeginCommandBuffer(commands, &info), "transfer");
    return GEN_OK;
}

/* Writes to all of a new buffer: some drivers give memory only then, or find that they have none.
 */
static gen_status touch(gen_vulkan *vk, const gen_vk_buffer *buffer, gen_error *err)
{
    int slot;
    if (buffer->mapped) {
        memset(buffer->mapped, 0, buffer->size);
        return GEN_OK;
    }
    GEN_TRY(gen_vk_take_slot(vk, &slot, err));
    VkCommandBuffer commands = vk->staging[slot].commands;
    GEN_TRY(begin(vk, commands, err));
    vk->api.CmdFillBuffer(commands, buffer->handle, 0, VK_WHOLE_SIZE, 0);
    GEN_VK_TRY(vk->api.EndCommandBuffer(commands), "memory");
    GEN_TRY(gen_vk_submit(vk, commands, &vk->staging[slot].value, err));
    return gen_vk_wait(vk, vk->staging[slot].value, 60.0, err);
}

gen_status gen_vk_buffer_grow(gen_vulkan *vk, gen_vk_buffer *buffer, VkDeviceSize size,
                              gen_vk_memory_kind kind, const char *what, gen_error *err)
{
    if (size <= buffer->size)
        return GEN_OK;
    gen_vk_buffer_free(vk, buffer);
    vk->generation++;
    GEN_TRY(gen_vk_buffer_new(vk, buffer, size, kind, what, err));
    return touch(vk, buffer, err);
}

gen_status gen_vk_grow_arena(gen_vulkan *vk, size_t size, gen_error *err)
{
    const size_t block = vk->base.max_block;
    if (size > block * GEN_VK_MAX_BLOCKS)
        return gen_no_memory(err, "activations", size);
    for (size_t i = 0; i * block < size; i++) {
        const size_t rest = size - i * block;
        GEN_TRY(gen_vk_buffer_grow(vk, &vk->arena[i], rest < block ? rest : block,
                                   GEN_VK_DEVICE_MEMORY, "activations", err));
    }
    return GEN_OK;
}

const gen_vk_buffer *gen_vk_arena(const gen_vulkan *vk, size_t offset, VkDeviceSize *inside)
{
    *inside = offset % vk->base.max_block;
    return &vk->arena[offset / vk->base.max_block];
}

/* ---- staging -------------------------------------------------------------------------------- */

gen_status gen_vk_take_slot(gen_vulkan *vk, int *out, gen_error *err)
{
    const int i = vk->staging_turn;
    vk->staging_turn = 1 - i;
    if (!vk->staging[i].buffer.handle)
        GEN_TRY(gen_vk_buffer_new(vk, &vk->staging[i].buffer, GEN_VK_STAGING_BYTES,
                                  GEN_VK_READ_MEMORY, "staging", err));
    if (!vk->staging[i].commands) {
        const VkCommandBufferAllocateInfo info = {
            .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
            .commandPool = vk->command_pool,
            .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
            .commandBufferCount = 1};
        GEN_VK_TRY(vk->api.AllocateCommandBuffers(vk->device, &info, &vk->staging[i].commands),
                   "staging");
    }
    *out = i;
    return gen_vk_wait(vk, vk->staging[i].value, 60.0, err);
}

gen_status gen_vk_copy_slot(gen_vulkan *vk, int slot, VkBuffer from, VkBuffer to,
                            VkBufferCopy region, gen_error *err)
{
    VkCommandBuffer commands = vk->staging[slot].commands;
    GEN_TRY(begin(vk, commands, err));
    const VkMemoryBarrier before = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                                    .srcAccessMask = VK_ACCESS_MEMORY_WRITE_BIT,
                                    .dstAccessMask =
                                        VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT};
    const VkMemoryBarrier after = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                                   .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
                                   .dstAccessMask =
                                       VK_ACCESS_MEMORY_READ_BIT | VK_ACCESS_HOST_READ_BIT};
    vk->api.CmdPipelineBarrier(commands, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT,
                               VK_PIPELINE_STAGE_TRANSFER_BIT, 0, 1, &before, 0, NULL, 0, NULL);
    vk->api.CmdCopyBuffer(commands, from, to, 1, &region);
    vk->api.CmdPipelineBarrier(commands, VK_PIPELINE_STAGE_TRANSFER_BIT,
                               VK_PIPELINE_STAGE_ALL_COMMANDS_BIT | VK_PIPELINE_STAGE_HOST_BIT, 0,
                               1, &after, 0, NULL, 0, NULL);
    GEN_VK_TRY(vk->api.EndCommandBuffer(commands), "transfer");
    return gen_vk_submit(vk, commands, &vk->staging[slot].value, err);
}

gen_status gen_vk_write_to(gen_vulkan *vk, const gen_vk_buffer *to, VkDeviceSize offset,
                           const void *data, VkDeviceSize size, gen_error *err)
{
    for (VkDeviceSize done = 0; done < size;) {
        const VkDeviceSize part =
            size - done < GEN_VK_STAGING_BYTES ? size - done : GEN_VK_STAGING_BYTES;
        int slot;
        GEN_TRY(gen_vk_take_slot(vk, &slot, err));
        memcpy(vk->staging[slot].buffer.mapped, (const char *)data + done, part);
        GEN_TRY(gen_vk_copy_slot(vk, slot, vk->staging[slot].buffer.handle, to->handle,
                                 (VkBufferCopy){0, offset + done, part}, err));
        done += part;
    }
    return GEN_OK;
}

gen_status gen_vk_read_back(gen_vulkan *vk, const gen_vk_buffer *from, VkDeviceSize offset,
                            void *out, VkDeviceSize size, gen_error *err)
{
    for (VkDeviceSize done = 0; done < size;) {
        const VkDeviceSize part =
            size - done < GEN_VK_STAGING_BYTES ? size - done : GEN_VK_STAGING_BYTES;
        int slot;
        GEN_TRY(gen_vk_take_slot(vk, &slot, err));
        GEN_TRY(gen_vk_copy_slot(vk, slot, from->handle, vk->staging[slot].buffer.handle,
                                 (VkBufferCopy){offset + done, 0, part}, err));
        GEN_TRY(gen_vk_wait(vk, vk->staging[slot].value, 60.0, err));
        memcpy((char *)out + done, vk->staging[slot].buffer.mapped, part);
        done += part;
    }
    return GEN_OK;
}

/* ---- the end --------------------------------------------------------------------------------- */

void gen_vk_free_memory(gen_vulkan *vk)
{
    for (int i = 0; i < 2; i++) {
        gen_vk_buffer_free(vk, &vk->staging[i].buffer);
        gen_vk_buffer_free(vk, &vk->slots[i]);
    }
    for (int i = 0; i < GEN_VK_MAX_BLOCKS; i++)
        gen_vk_buffer_free(vk, &vk->arena[i]);
    gen_vk_buffer_free(vk, &vk->scratch);
    while (vk->pool && vk->pool->blocks) {
        gen_vk_block *b = vk->pool->blocks;
        vk->pool->blocks = b->next;
        gen_vk_buffer_free(vk, &b->buffer);
        gen_free(b);
    }
}
