/* spm.h - SentencePiece tokenizers of the unigram kind (Kudo 2018), as T5, umT5 and PixArt use them
 * (dit.md 2.5): from spiece.model, or from the tokenizer.json that the transformers library makes
 * of it.
 *
 *     text --normalise--> "▁a▁photo" --best path--> pieces, whose numbers are the ids
 *
 * spm_files.c finds the files, spm_model.c and spm_json.c read them, spm_tables.c keeps what they
 * say, spm_tokenizer.c turns text into ids and back. */
#ifndef GEN_TEXT_SPM_H
#define GEN_TEXT_SPM_H

#include "gen/text/text.h"

typedef struct gen_spm gen_spm;

/* `path` is a directory with tokenizer.json or spiece.model (or tokenizer.model), or one whose
 * folder tokenizer/ is such, or one of these files.  In a directory with tokenizer_config.json the
 * extra ids of T5 and the special tokens are recognised in texts, as they are with tokenizer.json;
 * of a bare spiece.model all texts are ordinary.
 * Errors: MODEL with file, reason and remedy; MEMORY. */
gen_status gen_spm_open(gen_spm **out, const char *path, gen_error *err);
void gen_spm_free(gen_spm *spm); /* accepts NULL */

/* The same from memory; `path` is used in messages only. */
gen_status gen_spm_parse_model(gen_spm **out, const void *data, size_t size, const char *path,
                               gen_error *err);
gen_status gen_spm_parse_json(gen_spm **out, const char *text, size_t size, const char *path,
                              gen_error *err);

typedef struct gen_spm_info {
    const char *path; /* borrowed */
    int32_t num_ids;  /* the largest id + 1 */
    int32_t pad, eos, unk;
    bool has_byte_fallback;
} gen_spm_info;
void gen_spm_get_info(const gen_spm *spm, gen_spm_info *info);

/* Does it belong to an embedding table of num_rows rows?  Errors: MODEL when an id is outside. */
gen_status gen_spm_check(const gen_spm *spm, int64_t num_rows, gen_error *err);

/* Appends the ids of a text without the end token.
 * Errors: ARGUMENT for more than 1 MiB, or when normalising makes it many times longer; MEMORY. */
gen_status gen_spm_tokenize(const gen_spm *spm, const char *text, size_t size, gen_ids *ids,
                            gen_error *err);

/* One text as an encoder wants it: at most max_length - 1 ids, then the end token; no padding.
 * *num_cut (may be NULL) is the number of ids that found no room. */
gen_status gen_spm_encode(const gen_spm *spm, const char *text, int max_length, gen_ids *ids,
                          size_t *num_cut, gen_error *err);

/* The text the pieces of which are looked for: *out (gen_malloc) of *out_size bytes and a NUL. */
gen_status gen_spm_normalise(const gen_spm *spm, const char *text, size_t size, char **out,
                             size_t *out_size, gen_error *err);

/* The piece with that id, not terminated; size 0 for ids without one. */
const char *gen_spm_piece(const gen_spm *spm, int32_t id, size_t *size);

/* The text of ids: *out (gen_malloc), terminated.  Bytes that are no UTF-8 become U+FFFD, unknown
 * pieces " ⁇ ".  Errors: MEMORY. */
gen_status gen_spm_decode(const gen_spm *spm, const int32_t *ids, size_t count, char **out,
                          gen_error *err);

#endif
