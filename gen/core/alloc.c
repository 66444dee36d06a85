/* alloc.c - checked allocation, the fault counter of the tests, arenas. */
#include "gen/core/alloc.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static atomic_long allocation_count, fail_at;

/* True when this allocation is the one a test wants to fail. */
static bool must_fail(void)
{
    const long n = atomic_fetch_add_explicit(&allocation_count, 1, memory_order_relaxed) + 1;
    return n == atomic_load_explicit(&fail_at, memory_order_relaxed);
}

void gen_alloc_fail_at(long n)
{
    atomic_store(&allocation_count, 0);
    atomic_store(&fail_at, n);
}

long gen_alloc_count(void)
{
    return atomic_load(&allocation_count);
}

void *gen_malloc(size_t size)
{
    return must_fail() ? NULL : malloc(size ? size : 1);
}

void *gen_calloc(size_t count, size_t size)
{
    size_t total;
    if (!gen_mul_size(count, size, &total) || must_fail())
        return NULL;
    return calloc(total ? total : 1, 1);
}

void *gen_realloc(void *p, size_t size)
{
    return must_fail() ? NULL : realloc(p, size ? size : 1);
}

void gen_free(void *p)
{
    free(p);
}

char *gen_strdup(const char *s)
{
    return gen_strndup(s, strlen(s));
}

char *gen_strndup(const char *s, size_t n)
{
    const size_t length = strnlen(s, n);
    char *copy = gen_malloc(length + 1);
    if (copy) {
        memcpy(copy, s, length);
        copy[length] = '\0';
    }
    return copy;
}

static char *format_into(char *(*alloc)(void *self, size_t size), void *self, const char *format,
                         va_list args)
{
    va_list again;
    va_copy(again, args);
    const int n = vsnprintf(NULL, 0, format, again);
    va_end(again);
    char *text = n < 0 ? NULL : alloc(self, (size_t)n + 1);
    if (text)
        vsnprintf(text, (size_t)n + 1, format, args);
    return text;
}

static char *from_heap(void *self, size_t size)
{
    (void)self;
    return gen_malloc(size);
}

char *gen_asprintf(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = format_into(from_heap, NULL, format, args);
    va_end(args);
    return text;
}

/* ---- large blocks ------------------------------------------------------------------------- */

enum { HUGE_PAGE = 2 << 20 };

/* The size really taken: whole cache lines, or whole pages.  Not whole huge pages, of which the
 * last would be half empty on average: the end of a large block is left to ordinary ones. */
static size_t aligned_size(size_t size, size_t *alignment)
{
    *alignment = size >= 4 * (size_t)HUGE_PAGE ? (size_t)HUGE_PAGE : 64;
    const size_t unit = *alignment == 64 ? 64 : (size_t)sysconf(_SC_PAGESIZE);
    return (size + unit - 1) & ~(unit - 1);
}

void *gen_malloc_aligned(size_t size)
{
    size_t alignment;
    const size_t rounded = aligned_size(size ? size : 1, &alignment);
    if (rounded < size || must_fail())
        return NULL;
    if (alignment == 64) {
        void *p = aligned_alloc(64, rounded);
        if (p)
            memset(p, 0, rounded);
        return p;
    }
    /* Map one alignment more and give the ends back, so that huge pages fit from the start. */
    char *raw =
        mmap(NULL, rounded + alignment, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (raw == MAP_FAILED)
        return NULL;
    const size_t head = (alignment - (uintptr_t)raw % alignment) % alignment;
    if (head)
        munmap(raw, head);
    if (alignment > head)
        munmap(raw + head + rounded, alignment - head);
    madvise(raw + head, rounded, MADV_HUGEPAGE);
    return raw + head;
}

void gen_free_aligned(void *p, size_t size)
{
    if (!p)
        return;
    size_t alignment;
    const size_t rounded = aligned_size(size ? size : 1, &alignment);
    if (alignment == 64)
        free(p);
    else
        munmap(p, rounded);
}

gen_status gen_no_memory(gen_error *err, const char *what, size_t size)
{
    gen_fail(err, GEN_ERROR_MEMORY, "%s: no memory for %zu bytes", what, size);
    if (err)
        gen_hint(err, "close other programs, or choose a smaller size");
    return GEN_ERROR_MEMORY;
}

/* ---- arenas --------------------------------------------------------------------------------- */

typedef struct block {
    struct block *next;
    size_t used, size;
} block;

struct gen_arena {
    block *blocks;
};

enum { BLOCK_SIZE = 64 << 10, HEADER = (sizeof(block) + 15) & ~15 };

gen_arena *gen_arena_new(void)
{
    return gen_calloc(1, sizeof(gen_arena));
}

void gen_arena_free(gen_arena *arena)
{
    if (!arena)
        return;
    for (block *b = arena->blocks, *next; b; b = next) {
        next = b->next;
        gen_free(b);
    }
    gen_free(arena);
}

void *gen_arena_alloc(gen_arena *arena, size_t size)
{
    size_t rounded;
    if (!gen_add_size(size, 15, &rounded))
        return NULL;
    rounded &= ~(size_t)15;
    block *b = arena->blocks;
    if (!b || b->size - b->used < rounded) {
        const size_t body = rounded > BLOCK_SIZE / 4 ? rounded : BLOCK_SIZE;
        size_t total;
        if (!gen_add_size(body, HEADER, &total) || !(b = gen_calloc(1, total)))
            return NULL;
        b->size = body;
        if (arena->blocks && body != BLOCK_SIZE) { /* keep filling the current block */
            b->next = arena->blocks->next;
            arena->blocks->next = b;
        } else {
            b->next = arena->blocks;
            arena->blocks = b;
        }
    }
    void *p = (char *)b + HEADER + b->used;
    b->used += rounded;
    return p;
}

char *gen_arena_strdup(gen_arena *arena, const char *s)
{
    const size_t size = strlen(s) + 1;
    char *copy = gen_arena_alloc(arena, size);
    if (copy)
        memcpy(copy, s, size);
    return copy;
}

static char *from_arena(void *self, size_t size)
{
    return gen_arena_alloc(self, size);
}

char *gen_arena_printf(gen_arena *arena, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = format_into(from_arena, arena, format, args);
    va_end(args);
    return text;
}
