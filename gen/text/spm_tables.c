/* spm_tables.c - building the tables of a SentencePiece model out of what its files say. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/text/spm_internal.h"

gen_status gen_spm_new(gen_spm **out, const char *path, gen_error *err)
{
    gen_spm *spm = gen_calloc(1, sizeof *spm);
    if (spm) {
        spm->arena = gen_arena_new();
        spm->path = gen_strdup(path);
        spm->pad = spm->eos = spm->unk = -1;
        spm->has_dummy_prefix = spm->removes_extra_whitespace = spm->escapes_whitespace = true;
    }
    if (!spm || !spm->arena || !spm->path) {
        gen_spm_free(spm);
        return gen_no_memory(err, path, sizeof *spm);
    }
    *out = spm;
    return GEN_OK;
}

void gen_spm_free(gen_spm *spm)
{
    if (!spm)
        return;
    gen_arena_free(spm->arena);
    gen_free(spm->path);
    gen_free(spm->pieces);
    gen_free(spm->sorted);
    gen_free(spm->user_defined);
    gen_free(spm->added);
    gen_free(spm);
}

/* A copy in the arena, or NULL. */
static char *keep(gen_spm *spm, const void *data, size_t size)
{
    char *copy = gen_arena_alloc(spm->arena, size + 1);
    if (copy && size)
        memcpy(copy, data, size);
    return copy;
}

gen_status gen_spm_add_piece(gen_spm *spm, const char *text, size_t size, float score,
                             gen_spm_type type, gen_error *err)
{
    if (size > GEN_SPM_MAX_PIECE)
        return gen_fail(err, GEN_ERROR_MODEL, "%s: piece %d has %zu bytes, expected at most %d",
                        spm->path, spm->num_pieces, size, GEN_SPM_MAX_PIECE);
    if (!(score >= -1e9f && score <= 1e9f))
        return gen_fail(err, GEN_ERROR_MODEL,
                        "%s: piece %d has the score %g, expected a logarithm of a probability",
                        spm->path, spm->num_pieces, (double)score);
    if (spm->num_pieces == spm->piece_capacity) {
        const int32_t capacity = spm->piece_capacity ? 2 * spm->piece_capacity : 1024;
        gen_spm_piece_entry *pieces =
            capacity > GEN_SPM_MAX_PIECES
                ? NULL
                : gen_realloc(spm->pieces, (size_t)capacity * sizeof *pieces);
        if (capacity > GEN_SPM_MAX_PIECES)
            return gen_fail(err, GEN_ERROR_MODEL, "%s: more than %d pieces", spm->path,
                            GEN_SPM_MAX_PIECES);
        if (!pieces)
            return gen_no_memory(err, spm->path, (size_t)capacity * sizeof *pieces);
        spm->pieces = pieces;
        spm->piece_capacity = capacity;
    }
    const char *copy = keep(spm, text, size);
    if (!copy)
        return gen_no_memory(err, spm->path, size);
    spm->pieces[spm->num_pieces++] =
        (gen_spm_piece_entry){.text = copy, .size = (uint32_t)size, .score = score, .type = type};
    return GEN_OK;
}

gen_status gen_spm_add_token(gen_spm *spm, const char *text, size_t size, int32_t id,
                             gen_error *err)
{
    if (size == 0 || size > GEN_SPM_MAX_PIECE)
        return gen_fail(err, GEN_ERROR_MODEL, "%s: added token %d has %zu bytes, expected 1 to %d",
                        spm->path, id, size, GEN_SPM_MAX_PIECE);
    if (spm->num_added == GEN_SPM_MAX_ADDED)
        return gen_fail(err, GEN_ERROR_MODEL, "%s: more than %d added tokens", spm->path,
                        GEN_SPM_MAX_ADDED);
    if (spm->num_added == spm->added_capacity) {
        const size_t capacity = spm->added_capacity ? 2 * spm->added_capacity : 128;
        gen_spm_added *added = gen_realloc(spm->added, capacity * sizeof *added);
        if (!added)
            return gen_no_memory(err, spm->path, capacity * sizeof *added);
        spm->added = added;
        spm->added_capacity = capacity;
    }
    const char *copy = keep(spm, text, size);
    if (!copy)
        return gen_no_memory(err, spm->path, size);
    spm->num_ids = id >= spm->num_ids ? id + 1 : spm->num_ids;
    spm->added[spm->num_added++] = (gen_spm_added){.text = copy, .size = size, .id = id};
    return GEN_OK;
}

gen_status gen_spm_set_charsmap(gen_spm *spm, const void *data, size_t size, gen_error *err)
{
    spm->trie = NULL;
    if (size == 0)
        return GEN_OK;
    const unsigned char *b = data;
    const size_t trie =
        size < 4 ? 0 : b[0] | (size_t)b[1] << 8 | (size_t)b[2] << 16 | (size_t)b[3] << 24;
    if (trie < 4 || trie % 4 || trie > size - 4)
        return gen_fail(err, GEN_ERROR_MODEL,
                        "%s: the table of replaced characters says %zu bytes of %zu are its index: "
                        "damaged; get the file again",
                        spm->path, trie, size);
    const char *copy = keep(spm, b + 4, size - 4);
    if (!copy)
        return gen_no_memory(err, spm->path, size);
    spm->trie = (const unsigned char *)copy;
    spm->num_units = trie / 4;
    spm->replacements = copy + trie;
    spm->replacements_size = size - 4 - trie;
    return GEN_OK;
}

int32_t gen_spm_find(const gen_spm *spm, const char *text)
{
    const size_t size = strlen(text);
    for (int32_t id = 0; id < spm->num_pieces; id++)
        if (spm->pieces[id].size == size && memcmp(spm->pieces[id].text, text, size) == 0)
            return id;
    return -1;
}

/* What qsort() cannot be told. */
typedef struct sort_entry {
    const gen_spm_piece_entry *piece;
    int32_t id;
} sort_entry;

static int by_bytes(const void *a, const void *b)
{
    const sort_entry *x = a, *y = b;
    const uint32_t nx = x->piece->size, ny = y->piece->size;
    const int order = memcmp(x->piece->text, y->piece->text, nx < ny ? nx : ny);
    return order ? order : nx != ny ? (nx < ny ? -1 : 1) : (x->id > y->id) - (x->id < y->id);
}

static gen_status sort_pieces(gen_spm *spm, gen_error *err)
{
    const size_t n = (size_t)spm->num_pieces;
    sort_entry *entries = gen_malloc(n * sizeof *entries);
    spm->sorted = gen_malloc(n * sizeof *spm->sorted);
    spm->user_defined = gen_malloc(n * sizeof *spm->user_defined);
    if (!entries || !spm->sorted || !spm->user_defined) {
        gen_free(entries);
        return gen_no_memory(err, spm->path, n * sizeof *entries);
    }
    size_t count = 0;
    for (int32_t id = 0; id < spm->num_pieces; id++) {
        const gen_spm_piece_entry *p = &spm->pieces[id];
        if (p->size && (p->type == GEN_SPM_NORMAL || p->type == GEN_SPM_USER_DEFINED))
            entries[count++] = (sort_entry){p, id};
    }
    qsort(entries, count, sizeof *entries, by_bytes);
    for (size_t i = 0; i < count; i++) {
        spm->sorted[i] = entries[i].id;
        if (entries[i].piece->type == GEN_SPM_USER_DEFINED)
            spm->user_defined[spm->num_user_defined++] = entries[i].id;
    }
    spm->num_sorted = (int32_t)count;
    gen_free(entries);
    return GEN_OK;
}

/* The 256 pieces <0x00> to <0xFF>. */
static gen_status find_bytes(gen_spm *spm, gen_error *err)
{
    int found = 0;
    for (int i = 0; i < 256; i++)
        spm->byte_ids[i] = -1;
    for (int32_t id = 0; id < spm->num_pieces; id++) {
        const gen_spm_piece_entry *p = &spm->pieces[id];
        unsigned byte;
        if (p->type != GEN_SPM_BYTE)
            continue;
        if (p->size != 6 || sscanf(p->text, "<0x%2X>", &byte) != 1)
            return gen_fail(err, GEN_ERROR_MODEL,
                            "%s: piece %d is the byte \"%.*s\", expected the form <0x0A>",
                            spm->path, id, (int)p->size, p->text);
        found += spm->byte_ids[byte] < 0;
        spm->byte_ids[byte] = id;
    }
    if (found != 256)
        return gen_fail(err, GEN_ERROR_MODEL, "%s: %d pieces for single bytes, expected 256",
                        spm->path, found);
    return GEN_OK;
}

static gen_status check_id(const gen_spm *spm, const char *what, int32_t id, gen_error *err)
{
    if (id >= 0 && id < spm->num_pieces)
        return GEN_OK;
    return gen_fail(err, GEN_ERROR_MODEL,
                    "%s: the %s token has the id %d, expected one of its %d pieces", spm->path,
                    what, id, spm->num_pieces);
}

gen_status gen_spm_finish(gen_spm *spm, gen_error *err)
{
    int32_t num_normal = 0;
    if (spm->num_pieces == 0)
        return gen_fail(err, GEN_ERROR_MODEL,
                        "%s: no pieces, expected a SentencePiece model; get spiece.model of the "
                        "model's tokenizer folder",
                        spm->path);
    /* The reference starts its maximum at the smallest positive number, and never finds a larger
     * one among logarithms. */
    spm->min_score = 0;
    spm->max_score = 0;
    for (int32_t id = 0; id < spm->num_pieces; id++) {
        const gen_spm_piece_entry *p = &spm->pieces[id];
        if (p->type == GEN_SPM_UNKNOWN && spm->unk < 0)
            spm->unk = id;
        if (p->type != GEN_SPM_NORMAL)
            continue;
        spm->min_score = num_normal++ == 0 || p->score < spm->min_score ? p->score : spm->min_score;
        spm->max_score = p->score > spm->max_score ? p->score : spm->max_score;
    }
    if (spm->eos < 0)
        spm->eos = gen_spm_find(spm, "</s>");
    if (spm->pad < 0)
        spm->pad = gen_spm_find(spm, "<pad>");
    if (spm->pad < 0)
        spm->pad = 0;
    GEN_TRY(check_id(spm, "unknown", spm->unk, err));
    GEN_TRY(check_id(spm, "end", spm->eos, err));
    GEN_TRY(check_id(spm, "padding", spm->pad, err));
    spm->num_ids = spm->num_ids < spm->num_pieces ? spm->num_pieces : spm->num_ids;
    if (spm->has_byte_fallback)
        GEN_TRY(find_bytes(spm, err));
    return sort_pieces(spm, err);
}

void gen_spm_get_info(const gen_spm *spm, gen_spm_info *info)
{
    *info = (gen_spm_info){.path = spm->path,
                           .num_ids = spm->num_ids,
                           .pad = spm->pad,
                           .eos = spm->eos,
                           .unk = spm->unk,
                           .has_byte_fallback = spm->has_byte_fallback};
}

gen_status gen_spm_check(const gen_spm *spm, int64_t num_rows, gen_error *err)
{
    if (spm->num_pieces <=
        num_rows) /* added tokens beyond the table are an error where they occur */
        return GEN_OK;
    gen_fail(err, GEN_ERROR_MODEL,
             "%s: %d pieces, but the text encoder has a table of %" PRId64
             ": the tokenizer is another model's",
             spm->path, spm->num_pieces, num_rows);
    return gen_hint(err, "name the model's own tokenizer with --tokenizer");
}

const char *gen_spm_piece(const gen_spm *spm, int32_t id, size_t *size)
{
    if (id >= 0 && id < spm->num_pieces) {
        *size = spm->pieces[id].size;
        return spm->pieces[id].text;
    }
    for (size_t i = 0; i < spm->num_added; i++)
        if (spm->added[i].id == id) {
            *size = spm->added[i].size;
            return spm->added[i].text;
        }
    *size = 0;
    return "";
}
