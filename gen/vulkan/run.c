/* run.c - submissions, and waiting for them with a limit.
 *
 * One timeline semaphore counts all submissions.  At most two slices of a plan are on the queue, so
 * whoever wants to stop waits for two at most. */
#include <stdio.h>
#include <string.h>

#include "gen/vulkan/compile.h"

gen_status gen_vk_check_messages(const gen_vulkan *vk, gen_error *err)
{
    if (!vk->instance->num_messages)
        return GEN_OK;
    return gen_fail(err, GEN_ERROR_DEVICE, "the Vulkan validation layer: %s",
                    vk->instance->first_message);
}

/* Work submitted before may still be on its way, and needs what is freed after a loss. */
static gen_status lost(gen_vulkan *vk, VkResult result, gen_error *err)
{
    if (result == VK_ERROR_DEVICE_LOST && !vk->is_lost) {
        vk->is_lost = true;
        vk->api.DeviceWaitIdle(vk->device);
    }
    return gen_vk_fail(err, result, vk->info->name);
}

gen_status gen_vk_submit(gen_vulkan *vk, VkCommandBuffer commands, uint64_t *value, gen_error *err)
{
    if (vk->is_lost)
        return lost(vk, VK_ERROR_DEVICE_LOST, err);
    *value = vk->submitted + 1;
    const VkTimelineSemaphoreSubmitInfo timeline = {
        .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
        .signalSemaphoreValueCount = 1,
        .pSignalSemaphoreValues = value};
    const VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                               .pNext = &timeline,
                               .commandBufferCount = 1,
                               .pCommandBuffers = &commands,
                               .signalSemaphoreCount = 1,
                               .pSignalSemaphores = &vk->timeline};
    const VkResult result = vk->api.QueueSubmit(vk->queue, 1, &info, VK_NULL_HANDLE);
    if (result != VK_SUCCESS)
        return lost(vk, result, err);
    vk->submitted = *value;
    vk->stats.submissions++;
    return GEN_OK;
}

gen_status gen_vk_wait(gen_vulkan *vk, uint64_t value, double seconds, gen_error *err)
{
    const VkSemaphoreWaitInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
                                      .semaphoreCount = 1,
                                      .pSemaphores = &vk->timeline,
                                      .pValues = &value};
    const double start = gen_vk_now();
    if (vk->is_lost)
        return lost(vk, VK_ERROR_DEVICE_LOST, err);
    for (;;) {
        const VkResult result = vk->api.WaitSemaphores(vk->device, &info, 100000000);
        if (result == VK_SUCCESS)
            return GEN_OK;
        if (result != VK_TIMEOUT)
            return lost(vk, result, err);
        if (vk->is_first_run)
            gen_vk_announce(vk, gen_vk_now() - start);
        if (gen_vk_now() - start > seconds) {
            vk->is_lost = vk->is_hung = true;
            return gen_fail(err, GEN_ERROR_DEVICE, "%s does not answer since %.0f seconds",
                            vk->info->name, gen_vk_now() - start);
        }
    }
}

/* A software driver compiles on first use, which takes its time. */
static double patience(const gen_vulkan *vk, const gen_vk_slice *s)
{
    if (vk->options.patience > 0)
        return vk->options.patience;
    const double usual = 20.0 * s->estimate > 10.0 ? 20.0 * s->estimate : 10.0;
    return vk->info->kind == GEN_VULKAN_SOFTWARE ? 600.0 + usual : usual;
}

/* Speeds from the first run, so that slices take the time they should. */
static gen_status learn(gen_vulkan *vk, gen_vk_plan *p, double seconds, gen_error *err)
{
    double estimate = 0.0;
    for (int i = 0; i < p->num_slices; i++)
        estimate += p->slices[i].estimate;
    const double ratio = estimate / seconds;
    p->is_measured = true;
    if (seconds < 0.02 || (ratio > 0.5 && ratio < 4.0))
        return GEN_OK;
    vk->flops_per_second *= ratio;
    vk->bytes_per_second *= ratio;
    return gen_vk_record(vk, p, err);
}

static bool is_done(gen_vulkan *vk, uint64_t value)
{
    const VkSemaphoreWaitInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
                                      .semaphoreCount = 1,
                                      .pSemaphores = &vk->timeline,
                                      .pValues = &value};
    return vk->api.WaitSemaphores(vk->device, &info, 0) == VK_SUCCESS;
}

/* Writes weights of the stage behind `stage` while the device works towards `value`; behind the
 * last comes the first of the next run, unless both use one slot. */
static gen_status stream_ahead(gen_vulkan *vk, gen_vk_stream *s, int stage, uint64_t value,
                               gen_error *err)
{
    const int next = (stage + 1) % s->num_stages;
    if (next % 2 == stage % 2)
        return GEN_OK;
    while (!gen_vk_stream_is_loaded(vk, s, next)) {
        GEN_TRY(gen_vk_stream_some(vk, s, next, err));
        if (is_done(vk, value))
            break;
    }
    return GEN_OK;
}

static gen_status submit_slice(gen_vulkan *vk, gen_vk_plan *p, const gen_vk_slice *slice,
                               uint64_t *value, gen_error *err)
{
    gen_vk_stream *s = &p->stream;
    if (s->num_stages)
        GEN_TRY(gen_vk_stream_load(vk, s, slice->stage, err));
    GEN_TRY(gen_vk_submit(vk, slice->commands, value, err));
    if (!s->num_stages)
        return GEN_OK;
    s->last_use[slice->stage % 2] = *value;
    return stream_ahead(vk, s, slice->stage, *value, err);
}

gen_status gen_vk_run_plan(gen_vulkan *vk, gen_vk_plan *p, gen_error *err)
{
    uint64_t values[2] = {0};
    if (p->generation != vk->generation)
        GEN_TRY(gen_vk_record(vk, p, err));
    vk->is_first_run = p->num_runs++ == 0;
    const bool is_second_run = p->generation && !p->is_measured && vk->stats.runs > 0;
    const double start = gen_vk_now();
    for (int i = 0; i < p->num_slices; i++) {
        if (i >= 2)
            GEN_TRY(gen_vk_wait(vk, values[i % 2], patience(vk, &p->slices[i - 2]), err));
        GEN_TRY(submit_slice(vk, p, &p->slices[i], &values[i % 2], err));
    }
    if (p->num_slices)
        GEN_TRY(gen_vk_wait(vk, vk->submitted, patience(vk, &p->slices[p->num_slices - 1]), err));
    vk->stats.runs++;
    vk->stats.dispatches += (uint64_t)(p->num_dispatches - p->num_copies);
    vk->stats.copies += (uint64_t)p->num_copies;
    vk->stats.barriers += (uint64_t)p->num_barriers;
    if (is_second_run)
        GEN_TRY(learn(vk, p, gen_vk_now() - start, err));
    return gen_vk_check_messages(vk, err);
}
