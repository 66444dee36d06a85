/* memory.h - the memory planner: lifetimes in, offsets out. */
#ifndef GEN_CORE_MEMORY_H
#define GEN_CORE_MEMORY_H

#include "gen/core/status.h"

/* A piece of memory needed from step `first` to step `last`, both included. */
typedef struct gen_buffer {
    size_t size;
    int first, last;
    size_t offset; /* the result, a multiple of GEN_ARENA_ALIGNMENT */
} gen_buffer;

enum { GEN_ARENA_ALIGNMENT = 256 };

/* Gives every buffer an offset so that no two with overlapping lifetimes overlap; *total is the
 * size of the arena.  With `block`, a multiple of GEN_ARENA_ALIGNMENT, the arena comes in pieces of
 * that size and no buffer lies across two; 0: in one piece.  Greedy by size, each into the tightest
 * gap that fits.  Cost: O(n^2).  Errors: MEMORY, also for a buffer larger than a block. */
gen_status gen_place_buffers(gen_buffer *buffers, int count, size_t block, size_t *total,
                             gen_error *err);

#endif
