/* record.c - the order of dispatches, the barriers between them, and the command buffers.
 *
 * Two dispatches conflict when one writes bytes the other touches; arena memory is reused, so this
 * covers write after read and write after write as well as true dependence.  Every dispatch gets
 * the lowest level above all earlier ones it conflicts with; levels run in order with one barrier
 * between two of them, and what stands in a level may overlap in time.  Stages (stream.c) share no
 * level. */
#include <string.h>

#include "gen/vulkan/compile.h"

static const VkPipelineStageFlags work_stages =
    VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;

/* ---- order ---------------------------------------------------------------------------------- */

bool gen_vk_conflict(const gen_vk_dispatch *a, const gen_vk_dispatch *b)
{
    for (int i = 0; i < a->num_ranges; i++)
        for (int j = 0; j < b->num_ranges; j++) {
            const gen_vk_range *r = &a->ranges[i], *s = &b->ranges[j];
            if (r->buffer == s->buffer && (r->is_written || s->is_written) &&
                r->offset < s->offset + s->size && s->offset < r->offset + r->size)
                return true;
        }
    return false;
}

int gen_vk_find_levels(gen_vk_dispatch *dispatches, int count)
{
    int num_levels = 0, base = 0;
    for (int i = 0; i < count; i++) {
        gen_vk_dispatch *d = &dispatches[i];
        if (i && d->stage != dispatches[i - 1].stage)
            base = num_levels;
        d->level = base;
        for (int j = i - 1; j >= 0; j--)
            if (dispatches[j].level >= d->level && gen_vk_conflict(&dispatches[j], d))
                d->level = dispatches[j].level + 1;
        if (d->level >= num_levels)
            num_levels = d->level + 1;
    }
    return num_levels;
}

static gen_status find_order(gen_vk_plan *p, gen_error *err)
{
    p->num_levels = gen_vk_find_levels(p->dispatches, p->num_dispatches);
    p->order = gen_malloc((size_t)(p->num_dispatches + 1) * sizeof *p->order);
    int *start = gen_calloc((size_t)p->num_levels + 2, sizeof *start);
    if (!p->order || !start) {
        gen_free(start);
        return gen_no_memory(err, "plan", (size_t)p->num_dispatches * sizeof *p->order);
    }
    for (int i = 0; i < p->num_dispatches; i++)
        start[p->dispatches[i].level + 1]++;
    for (int level = 0; level < p->num_levels; level++)
        start[level + 1] += start[level];
    for (int i = 0; i < p->num_dispatches; i++)
        p->order[start[p->dispatches[i].level]++] = i;
    gen_free(start);
    return GEN_OK;
}

/* ---- descriptors ---------------------------------------------------------------------------- */

static gen_status make_sets(gen_vulkan *vk, gen_vk_plan *p, gen_error *err)
{
    uint32_t num_sets = 0, num_buffers = 0;
    for (int i = 0; i < p->num_dispatches; i++)
        if (p->dispatches[i].shader) {
            num_sets++;
            num_buffers += (uint32_t)p->dispatches[i].num_ranges;
        }
    p->sets = gen_calloc((size_t)p->num_dispatches + 1, sizeof(VkDescriptorSet));
    if (!p->sets)
        return gen_no_memory(err, "plan", (size_t)p->num_dispatches * sizeof(VkDescriptorSet));
    if (!num_sets)
        return GEN_OK;
    const VkDescriptorPoolSize size = {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, num_buffers};
    const VkDescriptorPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
                                             .maxSets = num_sets,
                                             .poolSizeCount = 1,
                                             .pPoolSizes = &size};
    GEN_VK_TRY(vk->api.CreateDescriptorPool(vk->device, &pool, NULL, &p->descriptor_pool), "plan");
    for (int i = 0; i < p->num_dispatches; i++) {
        if (!p->dispatches[i].shader)
            continue;
        const VkDescriptorSetAllocateInfo info = {
            .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
            .descriptorPool = p->descriptor_pool,
            .descriptorSetCount = 1,
            .pSetLayouts = &vk->set_layouts[p->dispatches[i].num_ranges]};
        GEN_VK_TRY(vk->api.AllocateDescriptorSets(vk->device, &info, &p->sets[i]), "plan");
    }
    return GEN_OK;
}

static void write_sets(gen_vulkan *vk, const gen_vk_plan *p)
{
    for (int i = 0; i < p->num_dispatches; i++) {
        const gen_vk_dispatch *d = &p->dispatches[i];
        if (!d->shader)
            continue;
        VkDescriptorBufferInfo buffers[GEN_VK_MAX_BUFFERS];
        for (int k = 0; k < d->num_ranges; k++)
            buffers[k] = (VkDescriptorBufferInfo){d->ranges[k].buffer->handle, d->ranges[k].offset,
                                                  d->ranges[k].size};
        const VkWriteDescriptorSet write = {.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                            .dstSet = p->sets[i],
                                            .descriptorCount = (uint32_t)d->num_ranges,
                                            .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                            .pBufferInfo = buffers};
        vk->api.UpdateDescriptorSets(vk->device, 1, &write, 0, NULL);
    }
}

/* ---- commands ------------------------------------------------------------------------------- */

static void barrier(gen_vulkan *vk, VkCommandBuffer commands)
{
    const VkMemoryBarrier memory = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT |
                         VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT};
    vk->api.CmdPipelineBarrier(commands, work_stages, work_stages, 0, 1, &memory, 0, NULL, 0, NULL);
}

static void barrier_to_host(gen_vulkan *vk, VkCommandBuffer commands)
{
    const VkMemoryBarrier memory = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                                    .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
                                    .dstAccessMask = VK_ACCESS_HOST_READ_BIT};
    vk->api.CmdPipelineBarrier(commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_PIPELINE_STAGE_HOST_BIT,
                               0, 1, &memory, 0, NULL, 0, NULL);
}

static void record_dispatch(gen_vulkan *vk, const gen_vk_plan *p, int i, VkCommandBuffer commands)
{
    const gen_vk_dispatch *d = &p->dispatches[i];
    if (!d->shader) {
        const VkBufferCopy region = {d->ranges[0].offset, d->ranges[1].offset, d->ranges[0].size};
        vk->api.CmdCopyBuffer(commands, d->ranges[0].buffer->handle, d->ranges[1].buffer->handle, 1,
                              &region);
        return;
    }
    const VkPipelineLayout layout = vk->layouts[d->num_ranges];
    vk->api.CmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, d->pipeline->handle);
    vk->api.CmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, layout, 0, 1,
                                  &p->sets[i], 0, NULL);
    vk->api.CmdPushConstants(commands, layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, d->push_size,
                             d->push);
    vk->api.CmdDispatch(commands, d->groups[0], d->groups[1], d->groups[2]);
}

gen_status gen_vk_record_range(gen_vulkan *vk, gen_vk_plan *p, int first, int count,
                               VkCommandBuffer commands, gen_error *err)
{
    const VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    GEN_VK_TRY(vk->api.BeginCommandBuffer(commands, &begin), "commands");
    for (int i = first; i < first + count; i++) {
        barrier(vk, commands);
        record_dispatch(vk, p, i, commands);
    }
    barrier(vk, commands);
    GEN_VK_TRY(vk->api.EndCommandBuffer(commands), "commands");
    return GEN_OK;
}

/* ---- slices --------------------------------------------------------------------------------- */

/* Seconds of work in one submission: short enough for every watchdog, and for stopping soon. */
static const double slice_seconds = 0.05;

static double estimate(const gen_vulkan *vk, const gen_vk_dispatch *d)
{
    const double compute = d->flops / vk->flops_per_second, move = d->bytes / vk->bytes_per_second;
    return (compute > move ? compute : move) + 5e-6;
}

static gen_status cut(gen_vulkan *vk, gen_vk_plan *p, gen_error *err)
{
    p->slices = gen_calloc((size_t)p->num_dispatches + 1, sizeof *p->slices);
    if (!p->slices)
        return gen_no_memory(err, "plan", (size_t)p->num_dispatches * sizeof *p->slices);
    for (int i = 0; i < p->num_dispatches; i++) {
        const double seconds = estimate(vk, &p->dispatches[p->order[i]]);
        const int stage = p->dispatches[p->order[i]].stage;
        gen_vk_slice *s = p->num_slices ? &p->slices[p->num_slices - 1] : NULL;
        if (!s || s->stage != stage || s->estimate + seconds > slice_seconds ||
            (vk->options.max_slice_nodes && s->count >= vk->options.max_slice_nodes)) {
            s = &p->slices[p->num_slices++];
            s->first = i;
            s->stage = stage;
        }
        s->count++;
        s->estimate += seconds;
    }
    return GEN_OK;
}

static gen_status record_slice(gen_vulkan *vk, gen_vk_plan *p, const gen_vk_slice *s,
                               gen_error *err)
{
    const VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    GEN_VK_TRY(vk->api.BeginCommandBuffer(s->commands, &begin), "commands");
    int level = -1; /* a slice may go on where another stopped: it begins with a barrier */
    for (int i = s->first; i < s->first + s->count; i++) {
        const gen_vk_dispatch *d = &p->dispatches[p->order[i]];
        if (d->level != level) {
            barrier(vk, s->commands);
            p->num_barriers++;
        }
        level = d->level;
        record_dispatch(vk, p, p->order[i], s->commands);
    }
    barrier_to_host(vk, s->commands);
    GEN_VK_TRY(vk->api.EndCommandBuffer(s->commands), "commands");
    return GEN_OK;
}

static void free_slices(gen_vulkan *vk, gen_vk_plan *p)
{
    for (int i = 0; i < p->num_slices; i++)
        if (p->slices[i].commands && !vk->is_hung)
            vk->api.FreeCommandBuffers(vk->device, vk->command_pool, 1, &p->slices[i].commands);
    gen_free(p->slices);
    p->slices = NULL;
    p->num_slices = p->num_barriers = 0;
}

gen_status gen_vk_record(gen_vulkan *vk, gen_vk_plan *p, gen_error *err)
{
    if (!p->order)
        GEN_TRY(find_order(p, err));
    if (!p->sets)
        GEN_TRY(make_sets(vk, p, err));
    write_sets(vk, p);
    free_slices(vk, p);
    GEN_TRY(cut(vk, p, err));
    p->num_copies = 0;
    for (int i = 0; i < p->num_dispatches; i++)
        p->num_copies += !p->dispatches[i].shader;
    for (int i = 0; i < p->num_slices; i++) {
        const VkCommandBufferAllocateInfo info = {
            .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
            .commandPool = vk->command_pool,
            .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
            .commandBufferCount = 1};
        GEN_VK_TRY(vk->api.AllocateCommandBuffers(vk->device, &info, &p->slices[i].commands),
                   "commands");
        GEN_TRY(record_slice(vk, p, &p->slices[i], err));
    }
    p->generation = vk->generation;
    return GEN_OK;
}

void gen_vk_free_recording(gen_vulkan *vk, gen_vk_plan *p)
{
    free_slices(vk, p);
    if (p->descriptor_pool && !vk->is_hung)
        vk->api.DestroyDescriptorPool(vk->device, p->descriptor_pool, NULL);
    p->descriptor_pool = VK_NULL_HANDLE;
    gen_free(p->sets);
    gen_free(p->order);
    p->sets = NULL;
    p->order = NULL;
}
