/* spm_json.c - reads the tokenizer.json that the transformers library makes of a SentencePiece
 * model. */
#include <inttypes.h>
#include <math.h>
#include <nettle/base64.h>
#include <string.h>

#include "gen/text/spm_internal.h"

/* ---- normaliser ---------------------------------------------------------------------------------
 */

static gen_status set_charsmap(gen_spm *spm, const json_t *base64, gen_error *err)
{
    const char *text = json_string_value(base64);
    const size_t size = json_string_length(base64);
    if (!text)
        return gen_fail(err, GEN_ERROR_MODEL,
                        "%s: \"precompiled_charsmap\" is no string, expected base64", spm->path);
    uint8_t *bytes = gen_malloc(BASE64_DECODE_LENGTH(size));
    if (!bytes)
        return gen_no_memory(err, spm->path, size);
    struct base64_decode_ctx ctx;
    size_t count = BASE64_DECODE_LENGTH(size);
    base64_decode_init(&ctx);
    gen_status status = GEN_OK;
    if (!base64_decode_update(&ctx, &count, bytes, size, text) || !base64_decode_final(&ctx))
        status = gen_fail(err, GEN_ERROR_MODEL,
                          "%s: \"precompiled_charsmap\" is damaged, expected base64; get the file "
                          "again",
                          spm->path);
    else
        status = gen_spm_set_charsmap(spm, bytes, count, err);
    gen_free(bytes);
    return status;
}

/* Strip and Replace only repeat what is done with blanks anyway. */
static gen_status read_normaliser(gen_spm *spm, const json_t *json, int depth, gen_error *err)
{
    const char *type = json_string_value(json_object_get(json, "type"));
    if (!json || json_is_null(json))
        return GEN_OK;
    if (type && !strcmp(type, "Precompiled"))
        return set_charsmap(spm, json_object_get(json, "precompiled_charsmap"), err);
    if (type && (!strcmp(type, "Strip") || !strcmp(type, "Replace")))
        return GEN_OK;
    const json_t *list = json_object_get(json, "normalizers");
    if (type && !strcmp(type, "Sequence") && json_is_array(list) && depth < 4) {
        for (size_t i = 0; i < json_array_size(list); i++)
            GEN_TRY(read_normaliser(spm, json_array_get(list, i), depth + 1, err));
        return GEN_OK;
    }
    return gen_fail(err, GEN_ERROR_MODEL,
                    "%s: a normalizer of type \"%.40s\", expected Precompiled, Strip or Replace; "
                    "put the model's spiece.model beside it",
                    spm->path, type ? type : "?");
}

/* ---- vocabulary ---------------------------------------------------------------------------------
 */

static bool is_byte(const char *text, size_t size)
{
    return size == 6 && memcmp(text, "<0x", 3) == 0 && text[5] == '>';
}

static gen_status read_pieces(gen_spm *spm, const json_t *model, gen_error *err)
{
    const json_t *vocab = json_object_get(model, "vocab");
    const json_t *unk = json_object_get(model, "unk_id");
    spm->has_byte_fallback = json_is_true(json_object_get(model, "byte_fallback"));
    spm->unk =
        json_is_integer(unk) && json_integer_value(unk) >= 0 && json_integer_value(unk) < INT32_MAX
            ? (int32_t)json_integer_value(unk)
            : -1;
    for (size_t i = 0; i < json_array_size(vocab); i++) {
        const json_t *entry = json_array_get(vocab, i), *text = json_array_get(entry, 0);
        const json_t *score = json_array_get(entry, 1);
        if (!json_is_string(text) || !json_is_number(score))
            return gen_fail(err, GEN_ERROR_MODEL,
                            "%s: entry %zu of the vocabulary is not a piece and its score",
                            spm->path, i);
        const char *piece = json_string_value(text);
        const size_t size = json_string_length(text);
        const gen_spm_type type = (int64_t)i == spm->unk                           ? GEN_SPM_UNKNOWN
                                  : spm->has_byte_fallback && is_byte(piece, size) ? GEN_SPM_BYTE
                                                                                   : GEN_SPM_NORMAL;
        GEN_TRY(gen_spm_add_piece(spm, piece, size, (float)json_number_value(score), type, err));
    }
    return GEN_OK;
}

/* Those with a place in the vocabulary are not found there any more. */
static gen_status read_added(gen_spm *spm, const json_t *list, gen_error *err)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *token = json_array_get(list, i), *id = json_object_get(token, "id");
        const json_t *text = json_object_get(token, "content");
        if (!json_is_string(text) || !json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) >= GEN_SPM_MAX_PIECES)
            return gen_fail(err, GEN_ERROR_MODEL,
                            "%s: entry %zu of \"added_tokens\" has no text or no id", spm->path, i);
        const int32_t number = (int32_t)json_integer_value(id);
        GEN_TRY(
            gen_spm_add_token(spm, json_string_value(text), json_string_length(text), number, err));
        if (number < spm->num_pieces && spm->pieces[number].type == GEN_SPM_NORMAL)
            spm->pieces[number].type = GEN_SPM_CONTROL;
    }
    return GEN_OK;
}

/* Metaspace says whether a blank is put in front of a text. */
static void read_pre_tokenizer(gen_spm *spm, const json_t *json, int depth)
{
    const char *type = json_string_value(json_object_get(json, "type"));
    const char *scheme = json_string_value(json_object_get(json, "prepend_scheme"));
    const json_t *list = json_object_get(json, "pretokenizers");
    if (type && !strcmp(type, "Metaspace") &&
        (json_is_false(json_object_get(json, "add_prefix_space")) ||
         (scheme && !strcmp(scheme, "never"))))
        spm->has_dummy_prefix = false;
    for (size_t i = 0; depth < 4 && i < json_array_size(list); i++)
        read_pre_tokenizer(spm, json_array_get(list, i), depth + 1);
}

static gen_status read_json(gen_spm *spm, const gen_json *json, gen_error *err)
{
    const json_t *model = gen_json_get(json, "model");
    const char *type = json_string_value(json_object_get(model, "type"));
    const json_t *vocab = json_object_get(model, "vocab");
    if ((type && strcmp(type, "Unigram") != 0) || !json_is_array(vocab))
        return gen_fail(err, GEN_ERROR_MODEL,
                        "%s: a tokenizer of type \"%.40s\", expected Unigram, as T5 and umT5 have "
                        "it",
                        spm->path, type ? type : "?");
    GEN_TRY(read_pieces(spm, model, err));
    GEN_TRY(read_added(spm, gen_json_get(json, "added_tokens"), err));
    GEN_TRY(read_normaliser(spm, gen_json_get(json, "normalizer"), 0, err));
    read_pre_tokenizer(spm, gen_json_get(json, "pre_tokenizer"), 0);
    return gen_spm_finish(spm, err);
}

gen_status gen_spm_parse_json(gen_spm **out, const char *text, size_t size, const char *path,
                              gen_error *err)
{
    gen_json *json;
    gen_spm *spm = NULL;
    GEN_TRY(gen_json_parse(&json, text, size, path, GEN_ERROR_MODEL, err));
    gen_status status = gen_spm_new(&spm, path, err);
    if (!status)
        status = read_json(spm, json, err);
    gen_json_free(json);
    if (status)
        gen_spm_free(spm);
    else
        *out = spm;
    return status;
}
