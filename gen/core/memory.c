/* memory.c - placing buffers in one arena, the largest first. */
#include "gen/core/memory.h"

#include <stdlib.h>

#include "gen/core/alloc.h"

static int larger_first(const void *a, const void *b)
{
    const gen_buffer *x = *(gen_buffer *const *)a, *y = *(gen_buffer *const *)b;
    if (x->size != y->size)
        return x->size < y->size ? 1 : -1;
    if (x->first != y->first)
        return x->first < y->first ? -1 : 1;
    return x < y ? -1 : x > y;
}

/* The first place from `start` on where `size` bytes lie in one block. */
static size_t in_one_block(size_t start, size_t size, size_t block)
{
    if (!block || start / block == (start + size - 1) / block)
        return start;
    return (start / block + 1) * block;
}

/* The offset of the tightest gap for b between the buffers placed so far (sorted by offset) that
 * live at the same time, or the end of the last of them. */
static size_t find_gap(const gen_buffer *b, gen_buffer *const *placed, int count, size_t block)
{
    size_t best = SIZE_MAX, best_slack = SIZE_MAX, end = 0;
    for (int i = 0; i < count; i++) {
        const gen_buffer *p = placed[i];
        if (p->last < b->first || p->first > b->last)
            continue;
        const size_t start = in_one_block(end, b->size, block);
        if (p->offset > start && p->offset - start >= b->size &&
            p->offset - start - b->size < best_slack) {
            best = start;
            best_slack = p->offset - start - b->size;
        }
        if (p->offset + p->size > end)
            end = p->offset + p->size;
    }
    return best != SIZE_MAX ? best : in_one_block(end, b->size, block);
}

gen_status gen_place_buffers(gen_buffer *buffers, int count, size_t block, size_t *total,
                             gen_error *err)
{
    const size_t bytes = (size_t)count * sizeof(gen_buffer *);
    gen_buffer **order = gen_malloc(bytes), **placed = gen_malloc(bytes);
    *total = 0;
    if (!order || !placed) {
        gen_free(order);
        gen_free(placed);
        return gen_no_memory(err, "memory plan", bytes);
    }
    for (int i = 0; i < count; i++) {
        buffers[i].size =
            (buffers[i].size + GEN_ARENA_ALIGNMENT - 1) & ~(size_t)(GEN_ARENA_ALIGNMENT - 1);
        order[i] = &buffers[i];
    }
    for (int i = 0; block && i < count; i++)
        if (buffers[i].size > block) {
            gen_free(order);
            gen_free(placed);
            return gen_fail(err, GEN_ERROR_MEMORY,
                            "a tensor of %.1f MiB, and the device gives %.1f MiB in one piece",
                            (double)buffers[i].size / 0x1p20, (double)block / 0x1p20);
        }
    qsort(order, (size_t)count, sizeof *order, larger_first);
    for (int i = 0; i < count; i++) {
        gen_buffer *b = order[i];
        b->offset = find_gap(b, placed, i, block);
        if (b->offset + b->size > *total)
            *total = b->offset + b->size;
        int at = i;
        for (; at > 0 && placed[at - 1]->offset > b->offset; at--)
            placed[at] = placed[at - 1];
        placed[at] = b;
    }
    gen_free(order);
    gen_free(placed);
    return GEN_OK;
}
