/* clip_internal.h - the tables of a CLIP vocabulary, shared by clip_vocab.c, which fills them, and
 * clip_tokenizer.c, which reads them. */
#ifndef GEN_TEXT_CLIP_INTERNAL_H
#define GEN_TEXT_CLIP_INTERNAL_H

#include "gen/text/text.h"

#define GEN_CLIP_NO_SYMBOL UINT32_MAX

/* A string the merges work on: a byte character, with or without the end-of-word mark, or a
 * concatenation of others. */
typedef struct gen_clip_symbol {
    const char *text;
    uint32_t size;
    int32_t id; /* -1 when the vocabulary does not list it */
} gen_clip_symbol;

/* A rule: where `left` stands before `right` both become `result`; lower ranks go first. */
typedef struct gen_clip_merge {
    uint32_t left, right; /* left is GEN_CLIP_NO_SYMBOL in a free slot */
    uint32_t result, rank;
} gen_clip_merge;

struct gen_clip_tokenizer {
    gen_arena *arena; /* the texts */
    char *path;

    gen_clip_symbol *symbols;
    uint32_t num_symbols, symbol_capacity;
    uint32_t *slots;    /* hash of text -> symbol index + 1; 0 is free */
    uint32_t num_slots; /* a power of two */

    gen_clip_merge *merges; /* hash of (left, right) */
    uint32_t num_merge_slots;

    uint32_t byte_symbol[256]; /* each byte inside a word */
    uint32_t end_symbol[256];  /* each byte at its end */

    int32_t bos, eos, pad, unk, comma, num_ids;
    const char *bos_text, *eos_text;
    const char *pad_text; /* recognised in texts; NULL where padding is the end token */
    int max_length;
};

/* The rule for a pair, or NULL. */
const gen_clip_merge *gen_clip_merge_find(const gen_clip_tokenizer *t, uint32_t left,
                                          uint32_t right);

#endif
