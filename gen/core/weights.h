/* weights.h - the tensors of a model, by their checkpoint names.
 *
 * A gen_weights is a set of named tensors that may come from several files (a directory with an
 * index, shards).  Containers (safetensors.c; others are one file each) map a file and add its
 * tensors; key layouts (keymap.c: one table each) rename them to the names the backbones use.
 * Data stays in the mapped file, in its stored type, until a backend packs it. */
#ifndef GEN_CORE_WEIGHTS_H
#define GEN_CORE_WEIGHTS_H

#include <stdint.h>

#include "gen/core/dtype.h"
#include "gen/core/status.h"

#define GEN_MAX_RANK 6

/* A form of a weight that a backend made for itself (packed panels, a Winograd transform, a device
 * buffer).  Owned by the gen_weights, freed through `free` when it closes; shared by all plans. */
typedef struct gen_prepared {
    struct gen_prepared *next;
    const void *owner; /* the backend */
    uint64_t layout;   /* the backend's own key for the form */
    void *data;
    size_t size; /* bytes, counted in the memory plan */
    void (*free)(struct gen_prepared *self);
    void *handle; /* for `free` */
} gen_prepared;

typedef struct gen_weight {
    const char *name;      /* the name the backbones use; owned by the gen_weights */
    const char *file;      /* where it came from, for messages */
    const char *file_name; /* its name in the file */
    gen_dtype dtype;
    int rank;
    int64_t dims[GEN_MAX_RANK]; /* as in the checkpoint, e.g. [Cout,Cin,3,3] */
    const void *data;           /* row-major, possibly unaligned; NULL in a dry store */
    size_t size;                /* bytes */
    bool is_used;               /* some graph asked for it */
    bool is_ignored;            /* known leftovers: never reported */
    bool is_checked;            /* found finite */
    bool is_mapped;             /* data lies in a read-only file mapping */
    struct gen_weight *whole;   /* not NULL: made by gen_weights_kernel() */
    gen_prepared *prepared;
} gen_weight;

typedef struct gen_weights gen_weights;

gen_status gen_weights_new(gen_weights **out, gen_error *err);
void gen_weights_free(gen_weights *weights);

/* Adds one tensor under `name` (copied).  `data` is borrowed and must outlive the set, unless
 * `owned` is true: then it was made by gen_malloc() and is freed with the set, also when this
 * fails.  Errors: MODEL when the name is there already; MEMORY. */
gen_status gen_weights_add(gen_weights *weights, const char *name, const char *file,
                           const char *file_name, gen_dtype dtype, int rank, const int64_t *dims,
                           const void *data, size_t size, bool owned, gen_error *err);

/* NULL when there is none. */
gen_weight *gen_weights_find(const gen_weights *weights, const char *name);

/* The kernel of frame `tap` of a convolution over frames: whole [Co,Ci,kt,kh,kw], of whatever rank,
 * seen as kernel = {Ci,kt,kh,kw}, gives [Co,Ci,kh,kw].  The caller has checked the number of
 * elements.  It shares the data of `whole` where it can; else it has none before
 * gen_weight_check_finite() and loses them with gen_weight_drop_pages().  NULL: no memory. */
gen_weight *gen_weights_kernel(gen_weights *weights, gen_weight *whole, const int64_t kernel[4],
                               int tap);

size_t gen_weights_count(const gen_weights *weights);
gen_weight *gen_weights_at(const gen_weights *weights, size_t i); /* in order of addition */

/* Keeps `mapping` (a mapped file) alive until the set is freed: unmap(mapping) is called then. */
gen_status gen_weights_own(gen_weights *weights, void *mapping, void (*unmap)(void *mapping),
                           gen_error *err);

/* What the file says about itself (the __metadata__ of safetensors), strings by key; copied.  The
 * latest value of a key counts.  gen_weights_note() is NULL when there is none. */
gen_status gen_weights_set_note(gen_weights *weights, const char *key, const char *value,
                                gen_error *err);
const char *gen_weights_note(const gen_weights *weights, const char *key);

/* All elements finite?  Float types only, true for others.  Checked once, then remembered. Backends
 * call it before they read the data: a weight that is a part of another is copied out here.
 * Errors: MODEL, naming file, tensor and index; MEMORY. */
gen_status gen_weight_check_finite(gen_weight *weight, gen_error *err);

/* Tells the system that the file pages of this weight are not needed any more (a packed form has
 * taken their place).  Reading them later still works. */
void gen_weight_drop_pages(gen_weight *weight);

/* Tells the system that the file pages of this weight will be needed soon. */
void gen_weight_want_pages(const gen_weight *weight);

/* The prepared form of owner and layout, or NULL. */
gen_prepared *gen_weight_prepared(const gen_weight *weight, const void *owner, uint64_t layout);
/* Adds a form; takes it over (made with gen_calloc). */
void gen_weight_add_prepared(gen_weight *weight, gen_prepared *prepared);
/* Frees the prepared forms of an owner. */
void gen_weight_drop_prepared(gen_weight *weight, const void *owner);
/* Frees all prepared forms of an owner; backends call it when they close. */
void gen_weights_drop_prepared(gen_weights *weights, const void *owner);

#endif
