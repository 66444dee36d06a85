/* weights.c - weights on the device: their forms, and the blocks they lie in.
 *
 * Weights are converted while they are written: straight into their place where that is mapped
 * (integrated devices share the memory of the host), else into a staging slot from which the queue
 * copies, one slot being filled while the other is read. */
#include <string.h>

#include "gen/vulkan/vulkan_internal.h"

enum { BLOCK_BYTES = 256 << 20 };

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
    size_t o = first / (taps * ci), tap = first / ci % taps, c = first % ci;
    for (size_t i = 0; i < count; i++) {
        const char *from = (const char *)w->data + ((o * ci + c) * taps + tap) * size;
        if (to != w->dtype)
            gen_to_f32((float *)out + i, from, w->dtype, 1);
        else if (size == 2)
            memcpy((uint16_t *)out + i, from, 2);
        else
            memcpy((float *)out + i, from, 4);
        if (++c < ci)
            continue;
        c = 0;
        if (++tap < taps)
            continue;
        tap = 0;
        o++;
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

gen_status gen_vk_write_elements(gen_vulkan *vk, const gen_weight *w, gen_vk_form form,
                                 const gen_vk_buffer *to, VkDeviceSize offset, size_t first,
                                 size_t count, gen_error *err)
{
    const size_t size = gen_dtype_size(gen_vk_form_dtype(w, form));
    if (to->mapped) {
        fill(w, form, (char *)to->mapped + offset, first, count);
        return GEN_OK;
    }
    for (size_t done = 0; done < count;) {
        const size_t room = GEN_VK_STAGING_BYTES / size;
        const size_t part = count - done < room ? count - done : room;
        int slot;
        GEN_TRY(gen_vk_take_slot(vk, &slot, err));
        fill(w, form, vk->staging[slot].buffer.mapped, first + done, part);
        GEN_TRY(gen_vk_copy_slot(vk, slot, vk->staging[slot].buffer.handle, to->handle,
                                 (VkBufferCopy){0, offset + done * size, part * size}, err));
        done += part;
    }
    return GEN_OK;
}

/* ---- blocks --------------------------------------------------------------------------------- */

VkDeviceSize gen_vk_weight_room(VkDeviceSize size)
{
    return gen_vk_round_up(size + 4); /* shaders read whole words */
}

int64_t gen_vk_piece_rows(const gen_vulkan *vk, const gen_weight *w, gen_vk_form form)
{
    const size_t rows = w->rank > 0 ? (size_t)w->dims[0] : 1;
    const size_t row = gen_vk_form_size(w, form) / rows;
    if (gen_vk_weight_room(rows * row) <= vk->max_buffer)
        return (int64_t)rows;
    const size_t fit = (size_t)(vk->max_buffer - 2 * GEN_VK_ALIGNMENT) / row;
    return fit ? (int64_t)fit : 1;
}

/* Room for `size` bytes in a block.  A block is as large as what is expected to follow. */
static gen_status place(gen_vulkan *vk, gen_vk_weight *out, VkDeviceSize size, gen_error *err)
{
    gen_vk_block *b = vk->pool->blocks;
    size = gen_vk_weight_room(size);
    if (!b || b->buffer.size - b->used < size) {
        VkDeviceSize room = vk->expected_weights < BLOCK_BYTES ? vk->expected_weights : BLOCK_BYTES;
        if (room > vk->max_buffer)
            room = vk->max_buffer;
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
    out->block = b;
    out->offset = b->used;
    out->size = size;
    b->used += size;
    b->live++;
    vk->pool->live++;
    vk->stats.weight_bytes += size;
    vk->expected_weights -= size < vk->expected_weights ? size : vk->expected_weights;
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

/* Frees a weight, in all its pieces. */
static void release_all(gen_vk_pool *pool, gen_vk_weight *w)
{
    while (w) {
        gen_vk_weight *next = w->next;
        if (w->block)
            release(pool, w);
        gen_free(w);
        w = next;
    }
}

static void free_prepared(gen_prepared *p)
{
    release_all(p->handle, p->data);
}

/* Places and writes a weight piece by piece; one piece where one allocation may hold it all. */
static gen_status write_pieces(gen_vulkan *vk, gen_vk_weight **out, VkDeviceSize *size,
                               const gen_weight *w, gen_vk_form form, gen_error *err)
{
    const size_t all = count_of(w), rows = w->rank > 0 ? (size_t)w->dims[0] : 1;
    const size_t most = all / rows * (size_t)gen_vk_piece_rows(vk, w, form);
    const size_t each = gen_dtype_size(gen_vk_form_dtype(w, form));
    gen_vk_weight **link = out;
    *size = 0;
    for (size_t first = 0; first < all || first == 0; first += most) {
        gen_vk_weight *piece = gen_calloc(1, sizeof *piece);
        if (!piece)
            return gen_no_memory(err, w->name, sizeof *piece);
        *link = piece;
        link = &piece->next;
        piece->first = first;
        piece->count = all - first < most ? all - first : most;
        GEN_TRY(place(vk, piece, piece->count * each, err));
        GEN_TRY(gen_vk_write_elements(vk, w, form, &piece->block->buffer, piece->offset, first,
                                      piece->count, err));
        *size += piece->size;
        if (most == 0)
            break;
    }
    return GEN_OK;
}

gen_status gen_vk_prepare_weight(gen_vulkan *vk, gen_weight *w, gen_vk_form form, gen_error *err)
{
    gen_vk_weight *pieces = NULL;
    VkDeviceSize size = 0;
    if (gen_weight_prepared(w, vk, form))
        return GEN_OK;
    GEN_TRY(gen_weight_check_finite(w, err));
    gen_prepared *p = gen_calloc(1, sizeof *p);
    gen_status status = p ? GEN_OK : gen_no_memory(err, w->name, sizeof *p);
    if (!status)
        status = write_pieces(vk, &pieces, &size, w, form, err);
    if (status) {
        release_all(vk->pool, pieces);
        gen_free(p);
        return gen_fail_in(err, status, "%s", w->name);
    }
    *p = (gen_prepared){.owner = vk,
                        .layout = form,
                        .data = pieces,
                        .size = size,
                        .free = free_prepared,
                        .handle = vk->pool};
    gen_weight_add_prepared(w, p);
    gen_weight_drop_pages(w);
    return GEN_OK;
}

const gen_vk_weight *gen_vk_find_weight(const gen_vulkan *vk, const gen_weight *w, gen_vk_form form,
                                        size_t element)
{
    const gen_prepared *p = gen_weight_prepared(w, vk, form);
    const gen_vk_weight *piece = p ? p->data : NULL;
    while (piece && piece->next && element >= piece->first + piece->count)
        piece = piece->next;
    return piece;
}
