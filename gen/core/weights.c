/* weights.c - a set of named tensors: an array in order of addition and a hash table of names. */
#include "gen/core/weights.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gen/core/alloc.h"

typedef struct entry {
    gen_weight weight; /* first: a gen_weight of this set is an entry */
    uint64_t hash;
    bool owns_data;
    int tap, num_taps; /* of weight.whole */
} entry;

typedef struct mapping {
    struct mapping *next;
    void *handle;
    void (*unmap)(void *handle);
} mapping;

typedef struct note {
    struct note *next;
    const char *key, *value;
} note;

struct gen_weights {
    gen_arena *arena; /* entries and strings: pointers to them stay valid */
    entry **entries;
    size_t count, capacity;
    uint32_t *slots; /* open addressing: index + 1 of an entry, 0 is free; at most half full */
    size_t num_slots;
    mapping *mappings;
    note *notes;
    const char *last_file; /* most tensors come from the file of the one before */
};

gen_status gen_weights_new(gen_weights **out, gen_error *err)
{
    gen_weights *weights = gen_calloc(1, sizeof *weights);
    if (!weights || !(weights->arena = gen_arena_new())) {
        gen_weights_free(weights);
        return gen_no_memory(err, "weights", sizeof *weights);
    }
    *out = weights;
    return GEN_OK;
}

/* Are its numbers a copy of its own, there only while somebody needs them? */
static bool is_copied_kernel(const gen_weight *w)
{
    return w->whole && ((const entry *)(const void *)w)->num_taps > 1;
}

void gen_weight_drop_prepared(gen_weight *weight, const void *owner)
{
    for (gen_prepared **link = &weight->prepared; *link;) {
        gen_prepared *form = *link;
        if (owner && form->owner != owner) {
            link = &form->next;
            continue;
        }
        *link = form->next;
        if (form->free)
            form->free(form);
        gen_free(form);
    }
}

void gen_weights_free(gen_weights *weights)
{
    if (!weights)
        return;
    for (size_t i = 0; i < weights->count; i++) {
        gen_weight_drop_prepared(&weights->entries[i]->weight, NULL);
        if (weights->entries[i]->owns_data || is_copied_kernel(&weights->entries[i]->weight))
            gen_free((void *)(uintptr_t)weights->entries[i]->weight.data);
    }
    for (mapping *m = weights->mappings, *next; m; m = next) {
        next = m->next;
        m->unmap(m->handle);
        gen_free(m);
    }
    gen_free(weights->entries);
    gen_free(weights->slots);
    gen_arena_free(weights->arena);
    gen_free(weights);
}

/* ---- names ---------------------------------------------------------------------------------- */

/* FNV-1a, 64 bit. */
static uint64_t hash_name(const char *name)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 0x100000001b3u;
    return h;
}

/* The slot that holds `name`, or the free one where it belongs. */
static size_t find_slot(const gen_weights *weights, const char *name, uint64_t hash)
{
    size_t i = (size_t)hash & (weights->num_slots - 1);
    while (weights->slots[i]) {
        const entry *e = weights->entries[weights->slots[i] - 1];
        if (e->hash == hash && strcmp(e->weight.name, name) == 0)
            break;
        i = (i + 1) & (weights->num_slots - 1);
    }
    return i;
}

/* Makes room for one entry more. */
static bool grow(gen_weights *weights)
{
    if (weights->count == weights->capacity) {
        size_t capacity = weights->capacity ? weights->capacity : 64, size;
        if (!gen_mul_size(capacity, 2, &capacity) || capacity > UINT32_MAX ||
            !gen_mul_size(capacity, sizeof *weights->entries, &size))
            return false;
        entry **entries = gen_realloc(weights->entries, size);
        if (!entries)
            return false;
        weights->entries = entries;
        weights->capacity = capacity;
    }
    if (2 * (weights->count + 1) > weights->num_slots) {
        const size_t num_slots = weights->num_slots ? 2 * weights->num_slots : 256;
        uint32_t *slots = gen_calloc(num_slots, sizeof *slots);
        if (!slots)
            return false;
        gen_free(weights->slots);
        weights->slots = slots;
        weights->num_slots = num_slots;
        for (size_t i = 0; i < weights->count; i++) {
            const entry *e = weights->entries[i];
            slots[find_slot(weights, e->weight.name, e->hash)] = (uint32_t)(i + 1);
        }
    }
    return true;
}

/* Copies the strings of an entry; files and unchanged names are shared. */
static bool name_entry(gen_weights *weights, gen_weight *w, const char *name, const char *file,
                       const char *file_name)
{
    if (!weights->last_file || strcmp(weights->last_file, file) != 0)
        if (!(weights->last_file = gen_arena_strdup(weights->arena, file)))
            return false;
    w->file = weights->last_file;
    w->name = gen_arena_strdup(weights->arena, name);
    if (!w->name)
        return false;
    w->file_name =
        strcmp(name, file_name) == 0 ? w->name : gen_arena_strdup(weights->arena, file_name);
    return w->file_name != NULL;
}

gen_status gen_weights_add(gen_weights *weights, const char *name, const char *file,
                           const char *file_name, gen_dtype dtype, int rank, const int64_t *dims,
                           const void *data, size_t size, bool owned, gen_error *err)
{
    gen_status status = GEN_OK;
    const gen_weight *old = gen_weights_find(weights, name);
    if (old) {
        if (strcmp(old->file, file) != 0)
            status = gen_fail(err, GEN_ERROR_MODEL, "%s: tensor \"%s\" is also in %s", file,
                              file_name, old->file);
        else
            status = gen_fail(err, GEN_ERROR_MODEL,
                              "%s: tensors \"%s\" and \"%s\" are both \"%s\" of the model", file,
                              old->file_name, file_name, name);
        goto fail;
    }
    entry *e = gen_arena_alloc(weights->arena, sizeof *e);
    if (!e || !grow(weights) || !name_entry(weights, &e->weight, name, file, file_name)) {
        status = gen_no_memory(err, name, sizeof *e);
        goto fail;
    }
    e->weight.dtype = dtype;
    e->weight.rank = rank;
    for (int i = 0; i < rank; i++)
        e->weight.dims[i] = dims[i];
    e->weight.data = data;
    e->weight.size = size;
    e->hash = hash_name(name);
    e->owns_data = owned;
    weights->slots[find_slot(weights, name, e->hash)] = (uint32_t)(weights->count + 1);
    weights->entries[weights->count++] = e;
    return GEN_OK;
fail:
    if (owned)
        gen_free((void *)(uintptr_t)data);
    return status;
}

gen_weight *gen_weights_find(const gen_weights *weights, const char *name)
{
    if (weights->count == 0)
        return NULL;
    const size_t i = find_slot(weights, name, hash_name(name));
    return weights->slots[i] ? &weights->entries[weights->slots[i] - 1]->weight : NULL;
}

size_t gen_weights_count(const gen_weights *weights)
{
    return weights->count;
}

gen_weight *gen_weights_at(const gen_weights *weights, size_t i)
{
    return &weights->entries[i]->weight;
}

gen_status gen_weights_own(gen_weights *weights, void *handle, void (*unmap)(void *handle),
                           gen_error *err)
{
    mapping *m = gen_calloc(1, sizeof *m);
    if (!m)
        return gen_no_memory(err, "weights", sizeof *m);
    *m = (mapping){.next = weights->mappings, .handle = handle, .unmap = unmap};
    weights->mappings = m;
    return GEN_OK;
}

gen_status gen_weights_set_note(gen_weights *weights, const char *key, const char *value,
                                gen_error *err)
{
    note *n = gen_arena_alloc(weights->arena, sizeof *n);
    if (!n || !(n->key = gen_arena_strdup(weights->arena, key)) ||
        !(n->value = gen_arena_strdup(weights->arena, value)))
        return gen_no_memory(err, "weights", sizeof *n);
    n->next = weights->notes;
    weights->notes = n;
    return GEN_OK;
}

const char *gen_weights_note(const gen_weights *weights, const char *key)
{
    for (const note *n = weights->notes; n; n = n->next)
        if (strcmp(n->key, key) == 0)
            return n->value;
    return NULL;
}

/* ---- kernels of convolutions over frames ---------------------------------------------------- */

gen_weight *gen_weights_kernel(gen_weights *weights, gen_weight *whole, const int64_t kernel[4],
                               int tap)
{
    char name[256];
    snprintf(name, sizeof name, "%s[%d]", whole->name, tap);
    gen_weight *w = gen_weights_find(weights, name);
    if (w)
        return w;
    const int64_t dims[4] = {whole->dims[0], kernel[0], kernel[2], kernel[3]};
    const bool is_shared = kernel[1] == 1;
    if (gen_weights_add(weights, name, whole->file, whole->file_name, whole->dtype, 4, dims,
                        is_shared ? whole->data : NULL, whole->size / (size_t)kernel[1], false,
                        NULL))
        return NULL;
    w = gen_weights_find(weights, name);
    entry *e = (entry *)(void *)w;
    w->whole = whole;
    w->is_used = whole->is_used = true;
    w->is_mapped = is_shared && whole->is_mapped;
    e->tap = tap;
    e->num_taps = (int)kernel[1];
    return w;
}

/* Gathers the numbers of a kernel that lie apart in the whole: [Co * Ci][taps][kh * kw]. */
static gen_status copy_kernel(gen_weight *w, gen_error *err)
{
    const entry *e = (const entry *)(const void *)w;
    const size_t rows = (size_t)(w->dims[0] * w->dims[1]), size = w->size / rows;
    const char *from = (const char *)w->whole->data + (size_t)e->tap * size;
    char *to = gen_malloc(w->size);
    if (!to)
        return gen_no_memory(err, w->name, w->size);
    for (size_t i = 0; i < rows; i++)
        memcpy(to + i * size, from + i * size * (size_t)e->num_taps, size);
    w->data = to;
    return GEN_OK;
}

/* ---- pages of the file ----------------------------------------------------------------------- */

/* Whole pages, those shared with neighbours included: they come back from the file. */
static void advise(const gen_weight *weight, int advice)
{
    if (!weight->is_mapped || weight->size == 0)
        return;
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t start = (uintptr_t)weight->data / page * page;
    const uintptr_t end = (uintptr_t)weight->data + weight->size;
    madvise((void *)start, (size_t)(end - start), advice);
}

/* ---- finite numbers ------------------------------------------------------------------------- */

/* Several numbers at once in a 64-bit word: with everything but the exponents masked off, adding
 * one to each exponent carries into the sign position exactly where all its bits are set (infinity
 * or NaN), and never further. */
typedef struct exponent_bits {
    uint64_t mask, one, carry;
} exponent_bits;

static bool exponents_of(gen_dtype dtype, exponent_bits *bits)
{
    switch (dtype) {
    case GEN_F16:
        *bits = (exponent_bits){0x7c007c007c007c00u, 0x0400040004000400u, 0x8000800080008000u};
        return true;
    case GEN_BF16:
        *bits = (exponent_bits){0x7f807f807f807f80u, 0x0080008000800080u, 0x8000800080008000u};
        return true;
    case GEN_F32:
        *bits = (exponent_bits){0x7f8000007f800000u, 0x0080000000800000u, 0x8000000080000000u};
        return true;
    case GEN_F8_E4M3: /* only NaN has all bits set */
        *bits = (exponent_bits){0x7f7f7f7f7f7f7f7fu, 0x0101010101010101u, 0x8080808080808080u};
        return true;
    case GEN_F8_E5M2:
        *bits = (exponent_bits){0x7c7c7c7c7c7c7c7cu, 0x0404040404040404u, 0x8080808080808080u};
        return true;
    case GEN_F64:
        *bits = (exponent_bits){0x7ff0000000000000u, 0x0010000000000000u, 0x8000000000000000u};
        return true;
    default:
        return false;
    }
}

/* Is there an infinity or a NaN in n bytes? */
static bool has_non_finite(const unsigned char *data, size_t n, exponent_bits bits)
{
    uint64_t found = 0, word = 0;
    size_t i = 0;
    for (; n - i >= sizeof word; i += sizeof word) {
        memcpy(&word, data + i, sizeof word);
        found |= (word & bits.mask) + bits.one;
    }
    word = 0;
    memcpy(&word, data + i, n - i);
    found |= (word & bits.mask) + bits.one;
    return (found & bits.carry) != 0;
}

/* Gives back the pages of the part of a large file that has been looked at. */
static void drop_checked(const gen_weight *weight, size_t end)
{
    enum { KEPT = 8 << 20 }; /* bytes that may be in memory at a time */
    if (!weight->is_mapped || end % KEPT)
        return;
    gen_weight part = *weight;
    part.data = (const char *)weight->data + end - KEPT;
    part.size = KEPT;
    advise(&part, MADV_DONTNEED);
}

gen_status gen_weight_check_finite(gen_weight *weight, gen_error *err)
{
    enum { STRETCH = 1 << 14 };
    exponent_bits bits;
    if (is_copied_kernel(weight) && !weight->data && weight->whole->data)
        GEN_TRY(copy_kernel(weight, err));
    if (weight->is_checked || !weight->data || !exponents_of(weight->dtype, &bits)) {
        weight->is_checked = true;
        return GEN_OK;
    }
    const unsigned char *data = weight->data;
    for (size_t at = 0; at < weight->size; at += STRETCH) {
        const size_t n = weight->size - at < STRETCH ? weight->size - at : STRETCH;
        if (!has_non_finite(data + at, n, bits)) {
            drop_checked(weight, at + n);
            continue;
        }
        const size_t width = gen_dtype_size(weight->dtype);
        size_t i = at;
        while (!has_non_finite(data + i, width, bits))
            i += width;
        float value;
        gen_to_f32(&value, data + i, weight->dtype, 1);
        gen_fail(err, GEN_ERROR_MODEL, "%s: tensor \"%s\" is %s at element %zu", weight->file,
                 weight->file_name, value != value ? "not a number" : "infinite", i / width);
        gen_hint(err, "the file is damaged or was merged badly; get another copy of the model");
        return GEN_ERROR_MODEL;
    }
    weight->is_checked = true;
    return GEN_OK;
}

void gen_weight_drop_pages(gen_weight *weight)
{
    if (is_copied_kernel(weight)) {
        gen_free((void *)(uintptr_t)weight->data);
        weight->data = NULL;
        gen_weight_drop_pages(weight->whole);
        return;
    }
    advise(weight, MADV_DONTNEED);
}

void gen_weight_want_pages(const gen_weight *weight)
{
    advise(is_copied_kernel(weight) ? weight->whole : weight, MADV_WILLNEED);
}

/* ---- prepared forms ------------------------------------------------------------------------- */

gen_prepared *gen_weight_prepared(const gen_weight *weight, const void *owner, uint64_t layout)
{
    gen_prepared *form = weight->prepared;
    while (form && (form->owner != owner || form->layout != layout))
        form = form->next;
    return form;
}

void gen_weight_add_prepared(gen_weight *weight, gen_prepared *prepared)
{
    prepared->next = weight->prepared;
    weight->prepared = prepared;
}

void gen_weights_drop_prepared(gen_weights *weights, const void *owner)
{
    for (size_t i = 0; i < weights->count; i++)
        gen_weight_drop_prepared(&weights->entries[i]->weight, owner);
}
