/* golden_spm.c - SentencePiece tokenizers: pieces, ids and the way back, for every case. */
#include <string.h>
#include <sys/stat.h>

#include "gen/core/alloc.h"
#include "gen/text/spm.h"
#include "tests/golden/golden.h"

/* Are these the ids? */
static bool same_ids(const gen_ids *ids, const json_t *expected)
{
    if (!json_is_array(expected) || json_array_size(expected) != ids->count)
        return false;
    for (size_t i = 0; i < ids->count; i++)
        if (json_integer_value(json_array_get(expected, i)) != ids->ids[i])
            return false;
    return true;
}

/* The expected pieces have to be those of the ids, and side by side the normalised text. */
static bool same_pieces(const gen_spm *spm, const gen_ids *ids, const char *text, size_t size,
                        const json_t *expected)
{
    gen_spm_info info;
    size_t at = 0;
    gen_spm_get_info(spm, &info);
    if (json_array_size(expected) != ids->count)
        return false;
    for (size_t i = 0; i < ids->count; i++) {
        const json_t *piece = json_array_get(expected, i);
        const char *p = json_string_value(piece);
        size_t n = json_string_length(piece), own_size;
        const char *own = gen_spm_piece(spm, ids->ids[i], &own_size);
        unsigned byte;
        if (ids->ids[i] != info.unk && (own_size != n || memcmp(own, p, n) != 0))
            return false;
        if (at >= size || !p)
            return false;
        if (info.has_byte_fallback && sscanf(p, "<0x%2X>", &byte) == 1 && n == 6) {
            if ((unsigned char)text[at] != byte)
                return false;
            n = 1;
        } else if (n > size - at || memcmp(text + at, p, n) != 0) {
            return false;
        }
        at += n;
    }
    return at == size;
}

static void check_case(golden_fixture *f, const gen_spm *spm, size_t number, const json_t *test)
{
    gen_error err = {0};
    gen_ids ids = {0}, all = {0};
    char *normal = NULL, *decoded = NULL;
    size_t size = 0;
    const json_t *text = json_object_get(test, "text");
    const char *s = json_string_value(text);
    if (!s) {
        golden_fail(f, "case %zu has no text", number);
        return;
    }
    if (golden_ok(f, gen_spm_tokenize(spm, s, json_string_length(text), &ids, &err), &err) &&
        golden_ok(f, gen_spm_encode(spm, s, 1 << 20, &all, NULL, &err), &err) &&
        golden_ok(f, gen_spm_normalise(spm, s, json_string_length(text), &normal, &size, &err),
                  &err) &&
        golden_ok(f, gen_spm_decode(spm, ids.ids, ids.count, &decoded, &err), &err)) {
        const char *expected = json_string_value(json_object_get(test, "decoded"));
        golden_check(f, same_ids(&ids, json_object_get(test, "ids")),
                     "case %zu, \"%s\": ids differ", number, s);
        golden_check(f, same_ids(&all, json_object_get(test, "ids_eos")),
                     "case %zu, \"%s\": ids with the end token differ", number, s);
        golden_check(f, same_pieces(spm, &ids, normal, size, json_object_get(test, "pieces")),
                     "case %zu, \"%s\": pieces differ", number, s);
        golden_check(f, expected && strcmp(decoded, expected) == 0,
                     "case %zu, \"%s\": decoded as \"%s\", expected \"%s\"", number, s, decoded,
                     expected ? expected : "?");
    }
    gen_ids_free(&ids);
    gen_ids_free(&all);
    gen_free(normal);
    gen_free(decoded);
}

void golden_sentencepiece(golden_fixture *f)
{
    gen_error err = {0};
    gen_spm *spm = NULL;
    gen_spm_info info;
    int64_t unk = 0, eos = 0, pad = 0;
    const json_t *cases = gen_json_get(f->cases, "cases");
    const char *file = golden_path(f, "%s/spiece.model", f->path);
    struct stat info_of_file;
    if (!file || stat(file, &info_of_file)) {
        golden_skip(f, "no %s", file ? file : f->path);
        return;
    }
    if (!golden_ok(f, gen_json_int(f->cases, "unk_id", 0, -1, 1 << 30, &unk, &err), &err) ||
        !golden_ok(f, gen_json_int(f->cases, "eos_id", 0, -1, 1 << 30, &eos, &err), &err) ||
        !golden_ok(f, gen_json_int(f->cases, "pad_id", 0, -1, 1 << 30, &pad, &err), &err) ||
        !golden_ok(f, gen_spm_open(&spm, file, &err), &err))
        return;
    gen_spm_get_info(spm, &info);
    golden_check(f, info.unk == unk && info.eos == eos && (pad < 0 || info.pad == pad),
                 "special ids differ");
    for (size_t i = 0; i < json_array_size(cases); i++)
        check_case(f, spm, i, json_array_get(cases, i));
    gen_spm_free(spm);
}
