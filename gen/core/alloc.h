/* alloc.h - memory: checked allocation and arenas.
 *
 * All memory of the library comes from here, so that a test can make the n-th allocation fail.
 * Every function returns NULL when there is no memory; the caller turns that into
 * GEN_ERROR_MEMORY with gen_no_memory(). */
#ifndef GEN_CORE_ALLOC_H
#define GEN_CORE_ALLOC_H

#include "gen/core/status.h"

void *gen_malloc(size_t size);               /* size 0 gives a valid pointer */
void *gen_calloc(size_t count, size_t size); /* NULL on overflow too */
void *gen_realloc(void *p, size_t size);
void gen_free(void *p); /* accepts NULL */
char *gen_strdup(const char *s);
char *gen_strndup(const char *s, size_t n);
char *gen_asprintf(const char *format, ...) GEN_PRINTF(1, 2);

/* size bytes at a 2 MiB boundary with a huge-page hint for large blocks, at 64 bytes for small
 * ones; zeroed.  Freed with gen_free_aligned(p, size). */
void *gen_malloc_aligned(size_t size);
void gen_free_aligned(void *p, size_t size);

/* Returns GEN_ERROR_MEMORY with "what: no memory for N bytes". */
gen_status gen_no_memory(gen_error *err, const char *what, size_t size);

/* For tests: the n-th allocation from now (1 = the next) fails, and only that one; 0 switches off.
 * gen_alloc_count() is the number of allocations since the last call of gen_alloc_fail_at(). */
void gen_alloc_fail_at(long n);
long gen_alloc_count(void);

/* An arena: things that die together.  Memory is aligned to 16 bytes and zeroed. */
typedef struct gen_arena gen_arena;
gen_arena *gen_arena_new(void);        /* NULL without memory */
void gen_arena_free(gen_arena *arena); /* accepts NULL */
void *gen_arena_alloc(gen_arena *arena, size_t size);
char *gen_arena_strdup(gen_arena *arena, const char *s);
char *gen_arena_printf(gen_arena *arena, const char *format, ...) GEN_PRINTF(2, 3);

#endif
