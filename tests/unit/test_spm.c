/* SentencePiece tokenizers: files of both kinds agree, special tokens, truncation, and files that
 * are damaged or of another kind.  The ids themselves are golden tests. */
#include <stdlib.h>

#include "gen/core/alloc.h"
#include "gen/text/spm_internal.h"
#include "tests/temp_dir.h"
#include "tests/test.h"

#define FIXTURES GEN_TEST_SOURCE_DIR "/golden/fixtures/"

static temp_dir dir;

static int setup(void **state)
{
    (void)state;
    return temp_dir_make(&dir);
}

static int teardown(void **state)
{
    (void)state;
    temp_dir_remove(&dir);
    return 0;
}

static char *read_file(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *data = malloc(1 << 20);
    *size = fread(data, 1, 1 << 20, f);
    fclose(f);
    return data;
}

static void write_file(const char *name, const void *data, size_t size)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", dir.path, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    fclose(f);
}

static void remove_file(const char *name)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", dir.path, name);
    remove(path);
}

static gen_ids tokenize(const gen_spm *spm, const char *text)
{
    gen_error err = {0};
    gen_ids ids = {0};
    EXPECT_OK(gen_spm_tokenize(spm, text, strlen(text), &ids, &err));
    return ids;
}

static void expect_ids(const gen_spm *spm, const char *text, size_t count, const int32_t *expected)
{
    gen_ids ids = tokenize(spm, text);
    assert_int_equal(ids.count, count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(ids.ids[i], expected[i]);
    gen_ids_free(&ids);
}

/* ---- tokenizer.json ------------------------------------------------------------------------- */

static void encode_base64(char *out, const unsigned char *in, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < size; i += 3) {
        const size_t n = size - i < 3 ? size - i : 3;
        const unsigned v = (unsigned)in[i] << 16 | (n > 1 ? (unsigned)in[i + 1] << 8 : 0) |
                           (n > 2 ? in[i + 2] : 0);
        for (size_t k = 0; k < 4; k++)
            *out++ = k <= n ? digits[v >> (18 - 6 * k) & 63] : '=';
    }
    *out = '\0';
}

/* What the transformers library makes of a model. */
static json_t *as_json(const gen_spm *spm)
{
    const size_t size = 4 + 4 * spm->num_units + spm->replacements_size;
    unsigned char *charsmap = malloc(size);
    char *text = malloc(2 * size);
    const unsigned trie = (unsigned)(4 * spm->num_units);
    for (int i = 0; i < 4; i++)
        charsmap[i] = (unsigned char)(trie >> (8 * i));
    memcpy(charsmap + 4, spm->trie, size - 4);
    encode_base64(text, charsmap, size);
    json_t *vocab = json_array();
    for (int32_t i = 0; i < spm->num_pieces; i++)
        json_array_append_new(vocab,
                              json_pack("[s%,f]", spm->pieces[i].text, (size_t)spm->pieces[i].size,
                                        (double)spm->pieces[i].score));
    json_t *json = json_pack(
        "{s:{s:s,s:[{s:s,s:s},{s:s}]}, s:[{s:i,s:s},{s:i,s:s}], s:{s:s,s:i,s:b,s:o}}", "normalizer",
        "type", "Sequence", "normalizers", "type", "Precompiled", "precompiled_charsmap", text,
        "type", "Strip", "added_tokens", "id", spm->eos, "content", "</s>", "id", spm->num_pieces,
        "content", "<extra_id_0>", "model", "type", "Unigram", "unk_id", spm->unk, "byte_fallback",
        spm->has_byte_fallback, "vocab", vocab);
    assert_non_null(json);
    free(text);
    free(charsmap);
    return json;
}

static void both_kinds_of_file_agree(void **state)
{
    (void)state;
    static const char *const models[] = {"spm_t5", "spm_umt5"};
    static const char *const texts[] = {"a photo of a cat", "  two\tspaces  ", "",
                                        "Ünseen 猫 words", "ﬁne ½ \xff\xc3"};
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        gen_error err = {0};
        gen_spm *own, *converted;
        char path[512];
        snprintf(path, sizeof path, FIXTURES "%s", models[m]);
        EXPECT_OK(gen_spm_open(&own, path, &err));
        json_t *json = as_json(own);
        char *text = json_dumps(json, 0);
        write_file("tokenizer.json", text, strlen(text));
        EXPECT_OK(gen_spm_open(&converted, dir.path, &err));
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
            gen_ids ids = tokenize(own, texts[i]);
            expect_ids(converted, texts[i], ids.count, ids.ids);
            gen_ids_free(&ids);
        }
        gen_ids word = tokenize(own, "cat");
        assert_int_equal(word.count, 1);
        expect_ids(converted, "cat</s><extra_id_0>cat", 4,
                   (int32_t[]){word.ids[0], own->eos, own->num_pieces, word.ids[0]});
        gen_ids_free(&word);
        gen_spm_free(own);
        gen_spm_free(converted);
        json_decref(json);
        free(text);
        remove_file("tokenizer.json");
    }
}

/* ---- special tokens and truncation ---------------------------------------------------------- */

static void a_folder_names_special_tokens(void **state)
{
    (void)state;
    static const char counted[] = "{\"extra_ids\": 100}";
    static const char listed[] = "{\"added_tokens_decoder\": {\"7\": {\"content\": \"<seven>\"}}}";
    gen_error err = {0};
    gen_spm *spm;
    size_t size;
    char *model = read_file(FIXTURES "spm_t5/spiece.model", &size);
    write_file("spiece.model", model, size);
    write_file("tokenizer_config.json", counted, strlen(counted));
    EXPECT_OK(gen_spm_open(&spm, dir.path, &err));
    expect_ids(spm, "<extra_id_0></s><extra_id_99>", 3, (int32_t[]){519, 1, 420});
    gen_spm_info info;
    gen_spm_get_info(spm, &info);
    assert_int_equal(info.num_ids, 520);
    gen_spm_free(spm);
    write_file("tokenizer_config.json", listed, strlen(listed));
    EXPECT_OK(gen_spm_open(&spm, dir.path, &err));
    expect_ids(spm, "<seven>", 1, (int32_t[]){7});
    gen_spm_free(spm);
    remove_file("spiece.model");
    remove_file("tokenizer_config.json");
    free(model);
}

static void long_texts_keep_their_end(void **state)
{
    (void)state;
    gen_error err = {0};
    gen_spm *spm;
    gen_ids ids = {0};
    EXPECT_OK(gen_spm_open(&spm, FIXTURES "spm_t5", &err));
    EXPECT_OK(gen_spm_encode(spm, "a photo of a cat", 3, &ids, NULL, &err));
    assert_int_equal(ids.count, 3);
    assert_int_equal(ids.ids[0], 7);
    assert_int_equal(ids.ids[1], 79);
    assert_int_equal(ids.ids[2], 1);
    gen_ids_free(&ids);
    char *text = calloc(1, (2 << 20) + 1);
    memset(text, 'a', 2 << 20);
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_spm_encode(spm, text, 3, &ids, NULL, &err));
    EXPECT_CONTAINS(err.message, "a text of 2097152 bytes, expected at most 1048576");
    EXPECT_OK(gen_spm_check(spm, 420, &err));
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_spm_check(spm, 419, &err));
    EXPECT_CONTAINS(err.message, "420 pieces, but the text encoder has a table of 419");
    free(text);
    gen_ids_free(&ids);
    gen_spm_free(spm);
}

/* ---- bad files ------------------------------------------------------------------------------ */

static void bad_models_are_refused(void **state)
{
    (void)state;
#define PIECE(score)                                                                               \
    "\x0a\x08\x0a\x01"                                                                             \
    "a\x15" score
    static const struct {
        const char *bytes;
        size_t size;
        const char *message;
    } cases[] = {
        {"", 0, "no pieces, expected a SentencePiece model"},
        {"hello world", 11, "no SentencePiece model, or damaged"},
        {"\x0a\xff\xff\xff\xff\x0f", 6, "damaged (its first level)"},
        {"\x0a\x02\x0a\x09", 4, "damaged (a piece)"},
        {PIECE("\0\0\xc0\x7f"), 10, "piece 0 has the score nan"},
        {PIECE("\0\0\0\0") "\x12\x02\x18\x02", 14, "of the kind BPE, expected unigram"},
        {PIECE("\0\0\0\0"), 10, "the unknown token has the id -1, expected one of its 1 pieces"},
        {PIECE("\0\0\0\0") "\x12\x05\xc0\x02\x00\xd0\x02", 17, "the trainer's settings"},
        {PIECE("\0\0\0\0") "\x12\x06\xc0\x02\x00\xd0\x02\x07", 18, "the end token has the id 7"},
        {PIECE("\0\0\0\0") "\x1a\x06\x12\x04\xff\xff\xff\xff", 18,
         "4294967295 bytes of 4 are its index"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gen_error err = {0};
        gen_spm *spm = NULL;
        EXPECT_STATUS(GEN_ERROR_MODEL, gen_spm_parse_model(&spm, cases[i].bytes, cases[i].size,
                                                           "spiece.model", &err));
        EXPECT_CONTAINS(err.message, cases[i].message);
        EXPECT_CONTAINS(err.message, "spiece.model: ");
        assert_null(spm);
    }
}

static void bad_json_is_refused(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"{", "tokenizer.json"},
        {"{}", "a tokenizer of type \"?\", expected Unigram"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {}}}", "of type \"BPE\", expected Unigram"},
        {"{\"model\": {\"vocab\": [[\"a\"]]}}", "entry 0 of the vocabulary"},
        {"{\"model\": {\"vocab\": [[\"a\", -1]]}}", "the unknown token has the id -1"},
        {"{\"model\": {\"vocab\": [[\"a\", -1]]}, \"added_tokens\": [{\"id\": -2}]}",
         "entry 0 of \"added_tokens\""},
        {"{\"model\": {\"vocab\": []}, \"normalizer\": {\"type\": \"Lowercase\"}}",
         "a normalizer of type \"Lowercase\", expected Precompiled"},
        {"{\"model\": {\"vocab\": []}, \"normalizer\": {\"type\": \"Precompiled\"}}",
         "\"precompiled_charsmap\" is no string"},
        {"{\"model\": {\"vocab\": []}, \"normalizer\": {\"type\": \"Precompiled\", "
         "\"precompiled_charsmap\": \"AAA\"}}",
         "\"precompiled_charsmap\" is damaged"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gen_error err = {0};
        gen_spm *spm = NULL;
        EXPECT_STATUS(GEN_ERROR_MODEL, gen_spm_parse_json(&spm, cases[i][0], strlen(cases[i][0]),
                                                          "tokenizer.json", &err));
        EXPECT_CONTAINS(err.message, cases[i][1]);
        assert_null(spm);
    }
}

/* tokenizer.json counts where both are, unless it is of a form that is not known. */
static void json_comes_before_the_model(void **state)
{
    (void)state;
    static const char json[] =
        "{\"model\": {\"unk_id\": 0, \"vocab\": [[\"<unk>\", 0], [\"</s>\", 0], "
        "[\"c\", -1], [\"a\", -1], [\"t\", -1]]}, \"pre_tokenizer\": {\"type\": "
        "\"Metaspace\", \"prepend_scheme\": \"never\"}}";
    static const char other[] = "{\"model\": {\"type\": \"WordPiece\", \"vocab\": {}}}";
    gen_error err = {0};
    gen_spm *spm;
    size_t size;
    char *model = read_file(FIXTURES "spm_t5/spiece.model", &size);
    write_file("spiece.model", model, size);
    write_file("tokenizer.json", json, strlen(json));
    EXPECT_OK(gen_spm_open(&spm, dir.path, &err));
    expect_ids(spm, "cat", 3, (int32_t[]){2, 3, 4});
    gen_spm_free(spm);
    write_file("tokenizer.json", other, strlen(other));
    EXPECT_OK(gen_spm_open(&spm, dir.path, &err));
    expect_ids(spm, "cat", 1, (int32_t[]){69});
    gen_spm_free(spm);
    remove_file("spiece.model");
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_spm_open(&spm, dir.path, &err));
    EXPECT_CONTAINS(err.message, "of type \"WordPiece\", expected Unigram");
    remove_file("tokenizer.json");
    free(model);
}

static void missing_files_are_named(void **state)
{
    (void)state;
    gen_error err = {0};
    gen_spm *spm = NULL;
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_spm_open(&spm, dir.path, &err));
    EXPECT_CONTAINS(err.message, "no SentencePiece tokenizer, expected spiece.model");
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_spm_open(&spm, "/nowhere", &err));
    EXPECT_CONTAINS(err.message, "/nowhere: No such file");
}

/* Every allocation fails once. */
static void lack_of_memory_is_reported(void **state)
{
    (void)state;
    gen_error err = {0};
    bool is_done = false;
    for (long n = 1; !is_done; n++) {
        gen_spm *spm = NULL;
        gen_ids ids = {0};
        char *text = NULL;
        gen_alloc_fail_at(n);
        gen_status status = gen_spm_open(&spm, FIXTURES "spm_umt5", &err);
        if (!status)
            status = gen_spm_encode(spm, "a photo of a cat Ü", 100, &ids, NULL, &err);
        if (!status)
            status = gen_spm_decode(spm, ids.ids, ids.count, &text, &err);
        is_done = gen_alloc_count() < n;
        gen_alloc_fail_at(0);
        assert_int_equal(status, is_done ? GEN_OK : GEN_ERROR_MEMORY);
        if (is_done)
            assert_string_equal(text, "a photo of a cat Ü");
        gen_free(text);
        gen_ids_free(&ids);
        gen_spm_free(spm);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_kinds_of_file_agree),
        cmocka_unit_test(a_folder_names_special_tokens),
        cmocka_unit_test(long_texts_keep_their_end),
        cmocka_unit_test(bad_models_are_refused),
        cmocka_unit_test(bad_json_is_refused),
        cmocka_unit_test(json_comes_before_the_model),
        cmocka_unit_test(missing_files_are_named),
        cmocka_unit_test(lack_of_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
