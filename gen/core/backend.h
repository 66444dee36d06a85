/* backend.h - what core knows of a device: one table of functions.
 *
 * The CPU backend (gen/cpu) is the reference.  A plan is compiled once and run every step. */
#ifndef GEN_CORE_BACKEND_H
#define GEN_CORE_BACKEND_H

#include "gen/core/graph.h"

typedef struct gen_backend gen_backend;
typedef struct gen_plan gen_plan;

/* What a plan will need beside its arena, told without doing any work. */
typedef struct gen_backend_needs {
    size_t scratch;     /* bytes for all workers together, shared by all nodes */
    size_t weights;     /* bytes of prepared weights this plan adds or uses */
    size_t transformed; /* the part of `weights` that exists beside the packed original */
    size_t least;       /* of `weights` where the plan may keep as few as possible */
    size_t slots;       /* of `weights`, room that those which come and go pass through */
    size_t staged;      /* bytes of the file in memory while one weight is prepared */
    size_t io;          /* inputs and results beside the arena, as long as the plan lives */
    size_t staging;     /* of the host's memory, on the way to the device's; once for all plans */
} gen_backend_needs;

typedef struct gen_backend_fns {
    const char *name;
    /* Can this node run here as it is, epilogue included? */
    bool (*supports)(gen_backend *b, const gen_node *node);
    gen_status (*measure)(gen_backend *b, const gen_plan *plan, gen_backend_needs *needs,
                          gen_error *err);
    /* Makes room for plans of up to so many bytes, before the first of them; may be NULL. */
    gen_status (*reserve)(gen_backend *b, size_t arena, size_t scratch, gen_error *err);
    gen_status (*compile)(gen_backend *b, gen_plan *plan, gen_error *err); /* once per shape */
    gen_status (*run)(gen_backend *b, gen_plan *plan, gen_error *err);     /* once per step */
    /* Like run, but looks at the output of every node and stops at the first that is not finite:
     * *node is that one, or NULL when all are finite. */
    gen_status (*trace)(gen_backend *b, gen_plan *plan, const gen_node **node, gen_error *err);
    gen_status (*upload)(gen_backend *b, gen_plan *plan, gen_tensor *dst, const void *src,
                         gen_error *err);
    gen_status (*download)(gen_backend *b, gen_plan *plan, const gen_tensor *src, void *dst,
                           gen_error *err);
    void (*release)(gen_backend *b, gen_plan *plan); /* undoes compile */
    void (*close)(gen_backend *b);
} gen_backend_fns;

/* Backends begin with this. */
struct gen_backend {
    const gen_backend_fns *fns;
    bool stores_half; /* activations of plans that allow it lie in f16 */
    size_t max_block; /* bytes the arena may have in one piece; 0: any number */
    uint64_t budget;  /* bytes of memory of its own that gen may use; 0: it works in the host's */
};

#endif
