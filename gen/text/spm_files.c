/* spm_files.c - a SentencePiece model from a directory or a file. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "gen/text/files.h"
#include "gen/text/spm_internal.h"

/* Special tokens as tokenizer_config.json lists them in its newer form, by id. */
static gen_status add_listed(gen_spm *spm, const json_t *by_id, gen_error *err)
{
    const char *key;
    json_t *token;
    json_object_foreach((json_t *)by_id, key, token)
    {
        const json_t *text = json_object_get(token, "content");
        char *end;
        const long id = strtol(key, &end, 10);
        if (!json_is_string(text) || *end || id < 0 || id >= GEN_SPM_MAX_PIECES)
            return gen_fail(err, GEN_ERROR_MODEL,
                            "%s: tokenizer_config.json: added token \"%.20s\" has no text or no id",
                            spm->path, key);
        GEN_TRY(gen_spm_add_token(spm, json_string_value(text), json_string_length(text),
                                  (int32_t)id, err));
    }
    return GEN_OK;
}

/* In the older form: the special pieces, and so many tokens behind the last piece, counted down. */
static gen_status add_counted(gen_spm *spm, int64_t extra_ids, gen_error *err)
{
    char name[32];
    const int32_t special[] = {spm->pad, spm->eos, spm->unk};
    for (size_t i = 0; i < sizeof special / sizeof *special; i++) {
        const gen_spm_piece_entry *p = &spm->pieces[special[i]];
        if (p->type != GEN_SPM_NORMAL && p->size)
            GEN_TRY(gen_spm_add_token(spm, p->text, p->size, special[i], err));
    }
    for (int64_t k = 0; k < extra_ids; k++) {
        snprintf(name, sizeof name, "<extra_id_%" PRId64 ">", k);
        GEN_TRY(gen_spm_add_token(spm, name, strlen(name),
                                  (int32_t)(spm->num_pieces + extra_ids - 1 - k), err));
    }
    return GEN_OK;
}

static gen_status add_special_tokens(gen_spm *spm, const char *config, size_t size, gen_error *err)
{
    gen_json *json;
    int64_t extra_ids = 0;
    char *path = gen_asprintf("%s/tokenizer_config.json", spm->path);
    if (!path)
        return gen_no_memory(err, spm->path, strlen(spm->path));
    gen_status status = gen_json_parse(&json, config, size, path, GEN_ERROR_MODEL, err);
    gen_free(path);
    if (status)
        return status;
    const json_t *by_id = gen_json_get(json, "added_tokens_decoder");
    status = gen_json_int(json, "extra_ids", 0, 0, GEN_SPM_MAX_ADDED / 2, &extra_ids, err);
    if (!status)
        status =
            json_is_object(by_id) ? add_listed(spm, by_id, err) : add_counted(spm, extra_ids, err);
    gen_json_free(json);
    return status;
}

/* tokenizer.json of a directory; *out stays NULL when there is none. */
static gen_status open_json(gen_spm **out, const char *dir, gen_error *err)
{
    char *data;
    size_t size;
    GEN_TRY(gen_text_read_in(&data, &size, dir, "tokenizer.json", err));
    if (!data)
        return GEN_OK;
    const gen_status status = gen_spm_parse_json(out, data, size, dir, err);
    gen_free(data);
    return status;
}

/* The same for spiece.model or tokenizer.model, with what tokenizer_config.json adds. */
static gen_status open_model(gen_spm **out, const char *dir, gen_error *err)
{
    char *data, *config = NULL;
    size_t size, config_size;
    gen_spm *spm = NULL;
    GEN_TRY(gen_text_read_in(&data, &size, dir, "spiece.model", err));
    if (!data)
        GEN_TRY(gen_text_read_in(&data, &size, dir, "tokenizer.model", err));
    if (!data)
        return GEN_OK;
    gen_status status = gen_spm_parse_model(&spm, data, size, dir, err);
    if (!status)
        status = gen_text_read_in(&config, &config_size, dir, "tokenizer_config.json", err);
    if (!status && config)
        status = add_special_tokens(spm, config, config_size, err);
    gen_free(config);
    gen_free(data);
    if (status)
        gen_spm_free(spm);
    else
        *out = spm;
    return status;
}

/* Where both are, other programs read tokenizer.json, and umT5's differs: it knows no bytes.  One
 * that is of a form not known here may still have its model beside it. */
static gen_status open_directory(gen_spm **out, const char *dir, gen_error *err)
{
    gen_error why = {0};
    gen_spm *spm = NULL;
    const gen_status json_status = open_json(&spm, dir, &why);
    if (!spm && (json_status == GEN_OK || json_status == GEN_ERROR_MODEL))
        GEN_TRY(open_model(&spm, dir, err));
    if (spm) {
        *out = spm;
        return GEN_OK;
    }
    if (json_status) {
        if (err)
            *err = why;
        return json_status;
    }
    return gen_fail(err, GEN_ERROR_MODEL,
                    "%s: no SentencePiece tokenizer, expected spiece.model or tokenizer.json; copy "
                    "the tokenizer folder of the model here",
                    dir);
}

static gen_status open_file(gen_spm **out, const char *path, gen_error *err)
{
    char *data;
    size_t size;
    GEN_TRY(gen_text_read_file(&data, &size, path, err));
    if (!data)
        return gen_fail(err, GEN_ERROR_MODEL, "%s: no such file or directory", path);
    const char *blank = " \t\r\n";
    size_t i = 0;
    while (i < size && data[i] && strchr(blank, data[i]))
        i++;
    /* A protobuf message of this kind begins with the number of a field, never with a brace. */
    const gen_status status = i < size && data[i] == '{'
                                  ? gen_spm_parse_json(out, data, size, path, err)
                                  : gen_spm_parse_model(out, data, size, path, err);
    gen_free(data);
    return status;
}

gen_status gen_spm_open(gen_spm **out, const char *path, gen_error *err)
{
    struct stat info;
    if (stat(path, &info))
        return gen_fail(err, GEN_ERROR_MODEL, "%s: %s", path, strerror(errno));
    if (!S_ISDIR(info.st_mode))
        return open_file(out, path, err);
    char *inner = gen_asprintf("%s/tokenizer", path);
    if (!inner)
        return gen_no_memory(err, path, strlen(path));
    const bool is_model = !stat(inner, &info) && S_ISDIR(info.st_mode);
    const gen_status status = open_directory(out, is_model ? inner : path, err);
    gen_free(inner);
    return status;
}
