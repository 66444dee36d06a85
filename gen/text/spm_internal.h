/* spm_internal.h - the tables of a SentencePiece model, shared by spm_model.c, which fills them,
 * and spm_tokenizer.c, which reads them. */
#ifndef GEN_TEXT_SPM_INTERNAL_H
#define GEN_TEXT_SPM_INTERNAL_H

#include "gen/text/spm.h"

/* Longer pieces are refused: the time a text takes is its length times that of the longest. */
#define GEN_SPM_MAX_PIECE  1024
#define GEN_SPM_MAX_PIECES (1 << 22)
#define GEN_SPM_MAX_ADDED  4096

typedef enum gen_spm_type { /* numbers of the file format */
                            GEN_SPM_NORMAL = 1,
                            GEN_SPM_UNKNOWN = 2,
                            GEN_SPM_CONTROL = 3,
                            GEN_SPM_USER_DEFINED = 4,
                            GEN_SPM_UNUSED = 5,
                            GEN_SPM_BYTE = 6
} gen_spm_type;

typedef struct gen_spm_piece_entry {
    const char *text; /* not terminated */
    uint32_t size;
    float score;
    gen_spm_type type;
} gen_spm_piece_entry;

/* A token that is cut out of a text before anything else. */
typedef struct gen_spm_added {
    const char *text;
    size_t size;
    int32_t id;
} gen_spm_added;

struct gen_spm {
    gen_arena *arena; /* the texts and the charsmap */
    char *path;

    gen_spm_piece_entry *pieces; /* by id */
    int32_t num_pieces, piece_capacity;
    int32_t *sorted; /* ids of the pieces a text can have, in the order of their bytes */
    int32_t num_sorted;
    int32_t *user_defined; /* those of them that are taken wherever they stand */
    int32_t num_user_defined;
    int32_t byte_ids[256]; /* with has_byte_fallback */
    int32_t pad, eos, unk, num_ids;
    float min_score, max_score;

    gen_spm_added *added;
    size_t num_added, added_capacity;

    const unsigned char *trie; /* units of 4 bytes, little endian; NULL: nothing is replaced */
    size_t num_units;
    const char *replacements; /* ended by NUL bytes */
    size_t replacements_size;

    bool has_byte_fallback, has_dummy_prefix, has_whitespace_suffix;
    bool removes_extra_whitespace, escapes_whitespace;
};

#define GEN_SPM_SPACE "\xe2\x96\x81" /* U+2581 */

/* spm_model.c */
gen_status gen_spm_new(gen_spm **out, const char *path, gen_error *err);
/* Appends a piece with the next id; the text is copied. */
gen_status gen_spm_add_piece(gen_spm *spm, const char *text, size_t size, float score,
                             gen_spm_type type, gen_error *err);
gen_status gen_spm_add_token(gen_spm *spm, const char *text, size_t size, int32_t id,
                             gen_error *err);
/* Takes a precompiled charsmap, copied; an empty one replaces nothing. */
gen_status gen_spm_set_charsmap(gen_spm *spm, const void *data, size_t size, gen_error *err);
/* When all pieces are there: sorts them, finds bytes, scores and the special ids, which may have
 * been set by the file (else -1). */
gen_status gen_spm_finish(gen_spm *spm, gen_error *err);
/* The id of a piece, or -1.  Slow. */
int32_t gen_spm_find(const gen_spm *spm, const char *text);

#endif
