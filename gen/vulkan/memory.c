/* memory.c - device memory: buffers, blocks of weights, uploads through two staging slots.
 *
 * Weights are converted while they are written: straight into their place where that is mapped
 * (integrated devices share the memory of the host), else into a staging slot from which the queue
 * copies, one slot being filled while the other is read. */
#include <string.h>

#include "gen/vulkan/vulkan_internal.h"

enum { BLOCK_BYTES = 256 << 20, SMALL_BLOCK_BYTES = 4 << 20, STAGING_BYTES = 16 << 20 };

static VkDeviceSize round_up(VkDeviceSize n)
{
    return (n + GEN_VK_ALIGNMENT - 1) / GEN_VK_ALIGNMENT * GEN_VK_ALIGNMENT;
}

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
    case GEN_VK_READ_MEMORY:
        type = find_type(vk, allowed, visible | cached, 0);
        break;
    case GEN_VK_UPLOAD_MEMORY:
        type = find_type(vk, allowed, visible, local);
        break;
    }
    return type >= 0 ? type : find_type(vk, allowed, visible, 0);
}

static gen_status allocate(gen_vulkan *vk, gen_vk_buffer *b, gen_vk_memory_kind kind,
                           const char *what, gen_error *err)
{
    VkMemoryRequirements needs;
    vk->api.GetBufferMemoryRequirements(vk->device, b->handle, &needs);
    const int type = choose_type(vk, needs.memoryTypeBits, kind);
    if (type < 0)
        return gen_fail(err, GEN_ERROR_DEVICE, "%s: %s has no memory for it", what, vk->info->name);
    const VkMemoryAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                       .allocationSize = needs.size,
                                       .memoryTypeIndex = (uint32_t)type};
    GEN_VK_TRY(vk->api.AllocateMemory(vk->device, &info, NULL, &b->memory), what);
    GEN_VK_TRY(vk->api.BindBufferMemory(vk->device, b->handle, b->memory, 0), what);
    const VkMemoryPropertyFlags flags = vk->memory_types.memoryTypes[type].propertyFlags;
    const VkMemoryPropertyFlags visible =
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    if ((flags & visible) == visible &&
        !(kind == GEN_VK_DEVICE_MEMORY && vk->options.always_stages))
        GEN_VK_TRY(vk->api.MapMemory(vk->device, b->memory, 0, VK_WHOLE_SIZE, 0, &b->mapped), what);
    return GEN_OK;
}

gen_status gen_vk_buffer_new(gen_vulkan *vk, gen_vk_buffer *out, VkDeviceSize size,
                             gen_vk_memory_kind kind, const char *what, gen_error *err)
{
    gen_vk_buffer b = {.size = round_up(size ? size : 1)};
    if (b.size > vk->info->max_buffer)
        return gen_fail(err, GEN_ERROR_MEMORY,
                        "%s: %.0f MiB are needed in one piece, %s gives at most %.0f MiB", what,
                        (double)b.size / 0x1p20, vk->info->name,
                        (double)vk->info->max_buffer / 0x1p20);
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
    *buffer = (gen_vk_buffer){0};
}

gen_status gen_vk_buffer_grow(gen_vulkan *vk, gen_vk_buffer *buffer, VkDeviceSize size,
                              const char *what, gen_error *err)
{
    if (size <= buffer->size)
        return GEN_OK;
    gen_vk_buffer_free(vk, buffer);
    vk->generation++;
    return gen_vk_buffer_new(vk, buffer, size, GEN_VK_DEVICE_MEMORY, what, err);
}

gen_status gen_vk_grow_arena(gen_vulkan *vk, size_t size, gen_error *err)
{
    const size_t block = vk->base.max_block;
    if (size > block * GEN_VK_MAX_BLOCKS)
        return gen_no_memory(err, "activations", size);
    for (size_t i = 0; i * block < size; i++) {
        const size_t rest = size - i * block;
        GEN_TRY(
            gen_vk_buffer_grow(vk, &vk->arena[i], rest < block ? rest : block, "activations", err));
    }
    return GEN_OK;
}

const gen_vk_buffer *gen_vk_arena(const gen_vulkan *vk, size_t offset, VkDeviceSize *inside)
{
    *inside = offset % vk->base.max_block;
    return &vk->arena[offset / vk->base.max_block];
}

/* ---- staging -------------------------------------------------------------------------------- */

static gen_status begin(gen_vulkan *vk, VkCommandBuffer commands, gen_error *err)
{
    const VkCommandBufferBeginInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                           .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
    GEN_VK_TRY(vk->api.BeginCommandBuffer(commands, &info), "transfer");
    return GEN_OK;
}

/* The next slot, free to be filled. */
static gen_status take_slot(gen_vulkan *vk, int *out, gen_error *err)
{
    const int i = vk->staging_turn;
    vk->staging_turn = 1 - i;
    if (!vk->staging[i].buffer.handle)
        GEN_TRY(gen_vk_buffer_new(vk, &vk->staging[i].buffer, STAGING_BYTES, GEN_VK_READ_MEMORY,
                                  "staging", err));
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

/* Submits a copy between a slot and another buffer. */
static gen_status submit_copy(gen_vulkan *vk, int slot, VkBuffer from, VkBuffer to,
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
        const VkDeviceSize part = size - done < STAGING_BYTES ? size - done : STAGING_BYTES;
        int slot;
        GEN_TRY(take_slot(vk, &slot, err));
        memcpy(vk->staging[slot].buffer.mapped, (const char *)data + done, part);
        GEN_TRY(submit_copy(vk, slot, vk->staging[slot].buffer.handle, to->handle,
                            (VkBufferCopy){0, offset + done, part}, err));
        done += part;
    }
    return GEN_OK;
}

gen_status gen_vk_read_back(gen_vulkan *vk, const gen_vk_buffer *from, VkDeviceSize offset,
                            void *out, VkDeviceSize size, gen_error *err)
{
    for (VkDeviceSize done = 0; done < size;) {
        const VkDeviceSize part = size - done < STAGING_BYTES ? size - done : STAGING_BYTES;
        int slot;
        GEN_TRY(take_slot(vk, &slot, err));
        GEN_TRY(submit_copy(vk, slot, from->handle, vk->staging[slot].buffer.handle,
                            (VkBufferCopy){offset + done, 0, part}, err));
        GEN_TRY(gen_vk_wait(vk, vk->staging[slot].value, 60.0, err));
        memcpy((char *)out + done, vk->staging[slot].buffer.mapped, part);
        done += part;
    }
    return GEN_OK;
}

/* ---- weights -------------------------------------------------------------------------------- */

gen_dtype gen_vk_form_dtype(const gen_weight *w, gen_vk_form form)
{
    const bool is_read_as_stored =
        w->dtype == GEN_F32 || w->dtype == GEN_F16 || w->dtype == GEN_BF16;
    if (form == GEN_VK_F16)
        return GEN_F16;
    return form != GEN_VK_F32 && is_read_as_stored ? w->dtype : GEN_F32;
}

static size_t count_of(const gen_weight *w)
{
    size_t n = 1;
    for (int i = 0; i < w->rank; i++)
        n *= (size_t)w->dims[i];
    return n;
}

size_t gen_vk_form_size(const gen_weight *w, gen_vk_form form)
{
    return count_of(w) * gen_dtype_size(gen_vk_form_dtype(w, form));
}

/* Elements first..first+count of a convolution kernel in the order [Co][kh][kw][Ci]. */
static void reorder(const gen_weight *w, void *out, size_t first, size_t count)
{
    const gen_dtype to = gen_vk_form_dtype(w, GEN_VK_CONV);
    const size_t size = gen_dtype_size(w->dtype), ci = (size_t)w->dims[1];
    const size_t taps = count_of(w) / ((size_t)w->dims[0] * ci);
    for (size_t i = 0; i < count; i++) {
        const size_t at = first + i, o = at / (taps * ci), tap = at / ci % taps, c = at % ci;
        const char *from = (const char *)w->data + ((o * ci + c) * taps + tap) * size;
        if (to == w->dtype)
            memcpy((char *)out + i * size, from, size);
        else
            gen_to_f32((float *)out + i, from, w->dtype, 1);
    }
}

static void narrow(uint16_t *out, const char *from, gen_dtype dtype, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        float value;
        gen_to_f32(&value, from + i * gen_dtype_size(dtype), dtype, 1);
        out[i] = gen_f32_to_f16(value);
    }
}

static void fill(const gen_weight *w, gen_vk_form form, void *out, size_t first, size_t count)
{
    const size_t size = gen_dtype_size(w->dtype);
    const gen_dtype to = gen_vk_form_dtype(w, form);
    const char *from = (const char *)w->data + first * size;
    if (form == GEN_VK_CONV && w->rank > 2)
        reorder(w, out, first, count);
    else if (to == w->dtype)
        memcpy(out, from, count * size);
    else if (to == GEN_F16)
        narrow(out, from, w->dtype, count);
    else
        gen_to_f32(out, from, w->dtype, count);
}

static gen_status write_weight(gen_vulkan *vk, const gen_weight *w, gen_vk_form form,
                               const gen_vk_weight *to, gen_error *err)
{
    const size_t n = count_of(w), size = gen_dtype_size(gen_vk_form_dtype(w, form));
    if (to->block->buffer.mapped) {
        fill(w, form, (char *)to->block->buffer.mapped + to->offset, 0, n);
        return GEN_OK;
    }
    for (size_t done = 0; done < n;) {
        const size_t room = STAGING_BYTES / size, part = n - done < room ? n - done : room;
        int slot;
        GEN_TRY(take_slot(vk, &slot, err));
        fill(w, form, vk->staging[slot].buffer.mapped, done, part);
        GEN_TRY(submit_copy(vk, slot, vk->staging[slot].buffer.handle, to->block->buffer.handle,
                            (VkBufferCopy){0, to->offset + done * size, part * size}, err));
        done += part;
    }
    return GEN_OK;
}

/* Room for `size` bytes in a block; the first block of a small model is small. */
static gen_status place(gen_vulkan *vk, gen_vk_weight *out, VkDeviceSize size, gen_error *err)
{
    gen_vk_block *b = vk->pool->blocks;
    size = round_up(size + 4); /* shaders read whole words */
    if (!b || b->buffer.size - b->used < size) {
        VkDeviceSize room = b ? BLOCK_BYTES : SMALL_BLOCK_BYTES;
        if (room > vk->info->max_buffer)
            room = vk->info->max_buffer;
        if (room < size)
            room = size;
        if (!(b = gen_calloc(1, sizeof *b)))
            return gen_no_memory(err, "weights", sizeof *b);
        const gen_status status =
            gen_vk_buffer_new(vk, &b->buffer, room, GEN_VK_DEVICE_MEMORY, "weights", err);
        if (status) {
            gen_free(b);
            return status;
        }
        b->next = vk->pool->blocks;
        vk->pool->blocks = b;
    }
    *out = (gen_vk_weight){b, b->used, size};
    b->used += size;
    b->live++;
    vk->pool->live++;
    vk->stats.weight_bytes += size;
    return GEN_OK;
}

static void release(gen_vk_pool *pool, const gen_vk_weight *w)
{
    pool->live--;
    if (!pool->vk) {
        if (pool->live == 0)
            gen_free(pool);
        return;
    }
    pool->vk->stats.weight_bytes -= w->size;
    if (--w->block->live > 0)
        return;
    /* Work that reads the block may be under way when a plan was left early. */
    gen_vk_wait(pool->vk, pool->vk->submitted, 60.0, NULL);
    for (gen_vk_block **link = &pool->blocks; *link; link = &(*link)->next) {
        if (*link != w->block)
            continue;
        *link = w->block->next;
        gen_vk_buffer_free(pool->vk, &w->block->buffer);
        gen_free(w->block);
        return;
    }
}

static void free_prepared(gen_prepared *p)
{
    release(p->handle, p->data);
    gen_free(p->data);
}

gen_status gen_vk_prepare_weight(gen_vulkan *vk, const gen_tensor *t, gen_vk_form form,
                                 gen_error *err)
{
    gen_weight *w = gen_tensor_owner(t, NULL)->weight;
    if (gen_weight_prepared(w, vk, form))
        return GEN_OK;
    GEN_TRY(gen_weight_check_finite(w, err));
    gen_prepared *p = gen_calloc(1, sizeof *p);
    gen_vk_weight *data = gen_calloc(1, sizeof *data);
    gen_status status = GEN_OK;
    if (!p || !data)
        status = gen_no_memory(err, w->name, sizeof *p);
    if (!status)
        status = place(vk, data, gen_vk_form_size(w, form), err);
    if (!status && (status = write_weight(vk, w, form, data, err)))
        release(vk->pool, data);
    if (status) {
        gen_free(p);
        gen_free(data);
        return gen_fail_in(err, status, "%s", w->name);
    }
    *p = (gen_prepared){.owner = vk,
                        .layout = form,
                        .data = data,
                        .size = data->size,
                        .free = free_prepared,
                        .handle = vk->pool};
    gen_weight_add_prepared(w, p);
    gen_weight_drop_pages(w);
    return GEN_OK;
}

const gen_vk_weight *gen_vk_find_weight(const gen_vulkan *vk, const gen_tensor *t, gen_vk_form form)
{
    const gen_prepared *p = gen_weight_prepared(gen_tensor_owner(t, NULL)->weight, vk, form);
    return p ? p->data : NULL;
}

void gen_vk_free_memory(gen_vulkan *vk)
{
    for (int i = 0; i < 2; i++)
        gen_vk_buffer_free(vk, &vk->staging[i].buffer);
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
