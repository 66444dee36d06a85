/* The CLIP tokenizer on the small vocabulary of the pipe_sd1 fixture: 512 byte symbols, 88 merges,
 * start 600, end 601. */
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

#include "gen/text/text.h"
#include "tests/test.h"

static const char DIRECTORY[] = GEN_TEST_SOURCE_DIR "/golden/fixtures/pipe_sd1/tokenizer";

/* ---- helpers ------------------------------------------------------------------------------------
 */

static char *slurp(const char *name, size_t *size)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", DIRECTORY, name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *data = malloc(1 << 16);
    assert_non_null(data);
    *size = fread(data, 1, (1 << 16) - 1, f);
    data[*size] = '\0';
    fclose(f);
    return data;
}

static gen_clip_tokenizer *open_small(void)
{
    gen_error err = {0};
    gen_clip_tokenizer *t = NULL;
    EXPECT_OK(gen_clip_tokenizer_open(&t, DIRECTORY, &err));
    return t;
}

static void expect_same_ids(const char *text, const gen_ids *ids, const int32_t *expected, size_t n)
{
    if (ids->count != n)
        fail_msg("\"%s\": %zu ids, expected %zu", text, ids->count, n);
    for (size_t i = 0; i < n; i++)
        if (ids->ids[i] != expected[i])
            fail_msg("\"%s\": id %zu is %d, expected %d", text, i, ids->ids[i], expected[i]);
}

static void expect_ids(const gen_clip_tokenizer *t, const char *text, const int32_t *expected,
                       size_t n)
{
    gen_error err = {0};
    gen_ids ids = {0};
    EXPECT_OK(gen_clip_tokenize(t, text, strlen(text), &ids, &err));
    expect_same_ids(text, &ids, expected, n);
    gen_ids_free(&ids);
}

static void expect_equal(const gen_clip_tokenizer *a, const char *text, const gen_clip_tokenizer *b,
                         const char *other)
{
    gen_error err = {0};
    gen_ids ids = {0};
    EXPECT_OK(gen_clip_tokenize(b, other, strlen(other), &ids, &err));
    expect_ids(a, text, ids.ids, ids.count);
    gen_ids_free(&ids);
}

#define EXPECT_IDS(t, text, ...)                                                                   \
    expect_ids(t, text, (const int32_t[]){__VA_ARGS__},                                            \
               sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

/* ---- ids ----------------------------------------------------------------------------------------
 */

static void reference_ids(void **state)
{
    (void)state;
    gen_clip_tokenizer *t = open_small();
    EXPECT_IDS(t, "A photo of the cat, on the moon!", 320, 79, 71, 78, 531, 539, 518, 66, 536, 267,
               525, 518, 76, 78, 525, 256);
    EXPECT_IDS(t, "blurry", 65, 75, 565, 81, 344);
    expect_ids(t, "", NULL, 0);
    expect_ids(t, " \t\r\n\xc2\xa0\xe3\x80\x80", NULL, 0);
    gen_clip_tokenizer_free(t);
}

static void sequences_are_framed_and_cut(void **state)
{
    (void)state;
    gen_clip_tokenizer *t = open_small();
    const int32_t ids[] = {1, 2, 3, 4};
    int32_t out[6];
    gen_clip_sequence(t, ids, 2, 9, 6, out);
    assert_memory_equal(out, ((int32_t[]){600, 1, 2, 601, 9, 9}), sizeof out);
    gen_clip_sequence(t, ids, 4, 9, 4, out);
    assert_memory_equal(out, ((int32_t[]){600, 1, 2, 601}), 4 * sizeof *out);
    gen_clip_tokenizer_free(t);
}

static void cleaning(void **state)
{
    (void)state;
    static const char *const equal[][2] = {
        {"THE Cat", "the cat"},
        {"  the \t cat\n", "the cat"},
        {"the\xc2\xa0"
         "cat",
         "the cat"},
        {"cafe\xcc\x81", "caf\xc3\xa9"},                          /* composed */
        {"\xc3\x89", "\xc3\xa9"},                                 /* lower case beyond ASCII */
        {"\xc4\xb0", "i\xcc\x87"},                                /* I with dot: two code points */
        {"\xce\xa3\xce\x91\xce\xa3", "\xcf\x83\xce\xb1\xcf\x82"}, /* final sigma */
        {"\xce\xa3 a", "\xcf\x83 a"},                             /* alone it is no end of a word */
        {"\xce\x91\xce\xa3.", "\xce\xb1\xcf\x82."},
        {"\xce\x91\xce\xa3\xe2\x80\x99\xce\x91", "\xce\xb1\xcf\x83\xe2\x80\x99\xce\xb1"},
        {"<|EndOfText|>", "<|endoftext|>"},
    };
    gen_clip_tokenizer *t = open_small();
    for (size_t i = 0; i < sizeof equal / sizeof *equal; i++)
        expect_equal(t, equal[i][0], t, equal[i][1]);
    gen_clip_tokenizer_free(t);
}

/* A piece never joins with its neighbour, so a cut shows as a space would. */
static void cutting(void **state)
{
    (void)state;
    static const char *const equal[][2] = {
        {"2024", "2 0 2 4"},
        {"a1b", "a 1 b"},
        {"x,y", "x , y"},
        {"what?!?!", "what ?!?!"},
        {"it's", "it 's"},
        {"IT'LL", "it 'll"},
        {"o'clock", "o ' clock"},
        {"!'s", "!' s"}, /* a run of signs takes the apostrophe */
        {"a<|endoftext|>b", "a <|endoftext|> b"},
        {"\xc2\xbd\xe2\x85\xa7", "\xc2\xbd \xe2\x85\xa7"}, /* one half, roman eight: numbers */
        {"\xe7\x8c\xab"
         "cat",
         "\xe7\x8c\xab"
         "cat"},                     /* letters of any script are letters */
        {"e\xcd\x88", "e \xcd\x88"}, /* a mark that composes with nothing */
    };
    gen_clip_tokenizer *t = open_small();
    for (size_t i = 0; i < sizeof equal / sizeof *equal; i++)
        expect_equal(t, equal[i][0], t, equal[i][1]);
    EXPECT_IDS(t, "<|startoftext|>", 600);
    EXPECT_IDS(t, "a <|endoftext|>", 320, 601);
    gen_clip_tokenizer_free(t);
}

/* ---- merging, against the definition ------------------------------------------------------------
 */

enum { MAX_RULES = 128, MAX_SYMBOLS = 4096 };

typedef struct rules {
    int count;
    char left[MAX_RULES][16], right[MAX_RULES][16];
} rules;

static void read_rules(rules *r)
{
    size_t size;
    char *text = slurp("merges.txt", &size), *save = NULL;
    r->count = 0;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        if (line[0] != '#' && sscanf(line, "%15s %15s", r->left[r->count], r->right[r->count]) == 2)
            r->count++;
    free(text);
}

/* All occurrences of the first rule that applies, left to right, until none does. */
static int merge_slowly(const rules *r, char (*symbols)[64], int n)
{
    for (int rule = 0; rule < r->count;) {
        bool found = false;
        for (int i = 0; i + 1 < n; i++) {
            if (strcmp(symbols[i], r->left[rule]) || strcmp(symbols[i + 1], r->right[rule]))
                continue;
            strcat(symbols[i], symbols[i + 1]);
            memmove(symbols[i + 1], symbols[i + 2], (size_t)(n - i - 2) * sizeof *symbols);
            n--;
            found = true;
        }
        rule = found ? 0 : rule + 1;
    }
    return n;
}

static void merging_follows_the_definition(void **state)
{
    (void)state;
    static char symbols[MAX_SYMBOLS][64];
    static rules r;
    static const char letters[] = "thanerigoduslw";
    gen_error err = {0};
    size_t size;
    uint64_t random = 1;
    gen_clip_tokenizer *t = open_small();
    char *text = slurp("vocab.json", &size);
    json_t *vocab = json_loadb(text, size, 0, NULL);
    read_rules(&r);
    assert_int_equal(r.count, 88);
    for (int word = 0; word < 300; word++) {
        char s[401];
        gen_ids ids = {0};
        const int length = 1 + word % 40 + (word % 50 == 0 ? 300 : 0);
        for (int i = 0; i < length; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            s[i] = letters[(random >> 33) % (word % 3 ? sizeof letters - 1 : 4)];
            snprintf(symbols[i], sizeof symbols[i], "%c%s", s[i], i + 1 == length ? "</w>" : "");
        }
        s[length] = '\0';
        const int n = merge_slowly(&r, symbols, length);
        EXPECT_OK(gen_clip_tokenize(t, s, (size_t)length, &ids, &err));
        assert_int_equal(ids.count, n);
        for (int i = 0; i < n; i++)
            assert_int_equal(ids.ids[i], json_integer_value(json_object_get(vocab, symbols[i])));
        gen_ids_free(&ids);
    }
    json_decref(vocab);
    free(text);
    gen_clip_tokenizer_free(t);
}

static void very_long_words_end(void **state)
{
    (void)state;
    enum { LENGTH = 1 << 20 };
    gen_error err = {0};
    gen_ids ids = {0};
    gen_clip_tokenizer *t = open_small();
    char *text = malloc(LENGTH + 1);
    assert_non_null(text);
    memset(text, 'o', LENGTH + 1);
    EXPECT_OK(gen_clip_tokenize(t, text, LENGTH, &ids, &err));
    assert_int_equal(ids.count, LENGTH / 2 + 1); /* "oo" is a word piece, "o</w>" stays alone */
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_clip_tokenize(t, text, LENGTH + 1, &ids, &err));
    gen_ids_free(&ids);
    free(text);
    gen_clip_tokenizer_free(t);
}

static void text_that_is_not_utf8(void **state)
{
    (void)state;
    static const char *const texts[] = {"a\xff",    "\xc3",   "\xed\xa0\x80", "\xf5\x80\x80\x80",
                                        "\xc0\x80", "ok \x80"};
    gen_clip_tokenizer *t = open_small();
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        gen_error err = {0};
        gen_ids ids = {0};
        EXPECT_STATUS(GEN_ERROR_ARGUMENT,
                      gen_clip_tokenize(t, texts[i], strlen(texts[i]), &ids, &err));
        EXPECT_CONTAINS(err.message, "UTF-8");
        gen_ids_free(&ids);
    }
    gen_clip_tokenizer_free(t);
}

/* ---- the forms of a vocabulary ------------------------------------------------------------------
 */

static void info_of_the_files(void **state)
{
    (void)state;
    gen_error err = {0};
    gen_clip_tokenizer_info info;
    gen_clip_tokenizer *t = open_small();
    gen_clip_tokenizer_get_info(t, &info);
    assert_string_equal(info.path, DIRECTORY);
    assert_int_equal(info.bos, 600);
    assert_int_equal(info.eos, 601);
    assert_int_equal(info.pad, 601);
    assert_int_equal(info.unk, 601);
    assert_int_equal(info.comma, 267);
    assert_int_equal(info.num_ids, 602);
    assert_int_equal(info.max_length, 77);
    EXPECT_OK(gen_clip_tokenizer_check(t, 602, &err));
    EXPECT_OK(gen_clip_tokenizer_check(t, 640, &err));
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_clip_tokenizer_check(t, 601, &err));
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_clip_tokenizer_check(t, 49408, &err));
    EXPECT_CONTAINS(err.hint, "--tokenizer");
    gen_clip_tokenizer_free(t);
}

static const char SAMPLE[] =
    "The ship, with 12 sails \xe2\x80\x94 it's on the sea of \xe4\xba\xac!";

/* The ids of a list of merges follow from its order. */
static void merges_alone(void **state)
{
    (void)state;
    gen_error err = {0};
    size_t size;
    char *merges = slurp("merges.txt", &size);
    gen_clip_tokenizer *a = open_small(), *b = NULL, *c = NULL;
    const gen_clip_files plain = {.merges = merges, .merges_size = size};
    EXPECT_OK(gen_clip_tokenizer_parse(&b, &plain, "merges", &err));
    expect_equal(a, SAMPLE, b, SAMPLE);

    unsigned char packed[4096];
    z_stream z = {.next_in = (Bytef *)merges,
                  .avail_in = (uInt)size,
                  .next_out = packed,
                  .avail_out = sizeof packed};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    gen_clip_files gz = {.merges = (char *)packed, .merges_size = z.total_out};
    deflateEnd(&z);
    EXPECT_OK(gen_clip_tokenizer_parse(&c, &gz, "merges.gz", &err));
    expect_equal(a, SAMPLE, c, SAMPLE);
    gen_clip_tokenizer_free(c);
    c = NULL;
    gz.merges_size /= 2;
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_clip_tokenizer_parse(&c, &gz, "merges.gz", &err));
    EXPECT_CONTAINS(err.message, "merges.gz: damaged gzip");
    gen_clip_tokenizer_free(a);
    gen_clip_tokenizer_free(b);
    free(merges);
}

static json_t *fast_tokenizer(bool with_pairs)
{
    size_t size;
    static rules r;
    char *text = slurp("vocab.json", &size);
    json_t *merges = json_array(), *vocab = json_loadb(text, size, 0, NULL);
    read_rules(&r);
    for (int i = 0; i < r.count; i++)
        json_array_append_new(merges, with_pairs ? json_pack("[s,s]", r.left[i], r.right[i])
                                                 : json_sprintf("%s %s", r.left[i], r.right[i]));
    free(text);
    return json_pack("{s:[{s:i,s:s}], s:{s:s,s:s,s:o,s:o}}", "added_tokens", "id", 601, "content",
                     "<|endoftext|>", "model", "type", "BPE", "end_of_word_suffix", "</w>", "vocab",
                     vocab, "merges", merges);
}

static void tokenizer_json(void **state)
{
    (void)state;
    gen_error err = {0};
    gen_clip_tokenizer *a = open_small();
    for (int with_pairs = 0; with_pairs < 2; with_pairs++) {
        gen_clip_tokenizer *b = NULL;
        json_t *root = fast_tokenizer(with_pairs);
        char *text = json_dumps(root, 0);
        const gen_clip_files files = {.tokenizer_json = text, .tokenizer_json_size = strlen(text)};
        EXPECT_OK(gen_clip_tokenizer_parse(&b, &files, "fast", &err));
        expect_equal(a, SAMPLE, b, SAMPLE);
        gen_clip_tokenizer_free(b);
        free(text);
        json_decref(root);
    }
    gen_clip_tokenizer_free(a);
}

static gen_clip_tokenizer *with_settings(const char *config, const char *map)
{
    gen_error err = {0};
    size_t vocab_size, merges_size;
    gen_clip_tokenizer *t = NULL;
    char *vocab = slurp("vocab.json", &vocab_size), *merges = slurp("merges.txt", &merges_size);
    const gen_clip_files files = {
        .vocab_json = vocab,
        .vocab_json_size = vocab_size,
        .merges = merges,
        .merges_size = merges_size,
        .tokenizer_config = config,
        .tokenizer_config_size = config ? strlen(config) : 0,
        .special_tokens_map = map,
        .special_tokens_map_size = map ? strlen(map) : 0,
    };
    EXPECT_OK(gen_clip_tokenizer_parse(&t, &files, "test", &err));
    free(vocab);
    free(merges);
    return t;
}

/* Padding with '!' (SD2): one of the files says so, and the character becomes a special token. */
static void padding_token(void **state)
{
    (void)state;
    static const char *const settings[][2] = {
        {"{\"pad_token\": \"!\"}", NULL},
        {"{\"pad_token\": \"<|endoftext|>\"}", "{\"pad_token\": \"!\"}"},
        {"{\"pad_token\": {\"content\": \"!\"}}", "{\"pad_token\": \"<|endoftext|>\"}"},
    };
    gen_clip_tokenizer_info info;
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        gen_clip_tokenizer *t = with_settings(settings[i][0], settings[i][1]);
        gen_clip_tokenizer_get_info(t, &info);
        assert_int_equal(info.pad, 0);
        EXPECT_IDS(t, "moon!", 76, 78, 525, 0);
        EXPECT_IDS(t, "a?!?", 320, 286, 0, 286);
        gen_clip_tokenizer_free(t);
    }
    gen_clip_tokenizer *t =
        with_settings("{\"model_max_length\": 1000000000000000019884624838656}", NULL);
    gen_clip_tokenizer_get_info(t, &info);
    assert_int_equal(info.pad, 601);
    assert_int_equal(info.max_length, 77);
    gen_clip_tokenizer_free(t);
    t = with_settings("{\"model_max_length\": 32}", NULL);
    gen_clip_tokenizer_get_info(t, &info);
    assert_int_equal(info.max_length, 32);
    gen_clip_tokenizer_free(t);
}

/* ---- bad files ----------------------------------------------------------------------------------
 */

#define SPECIALS "\"<|startoftext|>\": 1, \"<|endoftext|>\": 2"

static void bad_files(void **state)
{
    (void)state;
    static const struct {
        const char *vocab, *merges, *fast, *config, *message;
    } cases[] = {
        {NULL, NULL, NULL, NULL, "no vocabulary"},
        {"{" SPECIALS "}", NULL, NULL, NULL, "vocab.json without merges.txt"},
        {"{", "a b\n", NULL, NULL, "vocab.json: not valid JSON: line 1"},
        {"[1]", "a b\n", NULL, NULL, "not a JSON object"},
        {"{\"a\": \"b\"}", "a b\n", NULL, NULL, "the id of \"a\" is not a whole number"},
        {"{\"a\": 1.5}", "a b\n", NULL, NULL, "not a whole number"},
        {"{\"a\": -1}", "a b\n", NULL, NULL, "id -1 is outside"},
        {"{\"a\": 4294967296}", "a b\n", NULL, NULL, "id 4294967296 is outside"},
        {"{\"a\": 1, \"a\": 2}", "a b\n", NULL, NULL, "duplicate"},
        {"{" SPECIALS "}", "#version: 1\nab\n", NULL, NULL, "line 2 is not a rule"},
        {"{" SPECIALS "}", "a b c\n", NULL, NULL, "line 1 is not a rule"},
        {"{" SPECIALS "}", " b\n", NULL, NULL, "line 1 is not a rule"},
        {"{" SPECIALS "}", "a b\n", NULL, NULL, "rule 1 makes a symbol"},
        {"{\"ab\": 0}", "a b\n", NULL, NULL, "\"<|startoftext|>\" is not in the vocabulary"},
        {"{" SPECIALS "}", "", NULL, "{", "tokenizer_config.json: not valid JSON"},
        {"{" SPECIALS "}", "", NULL, "[]", "tokenizer_config.json: not a JSON object"},
        {"{" SPECIALS "}", "", NULL, "{\"pad_token\": \"[PAD]\"}", "padding token \"[PAD]\""},
        {NULL, "", NULL, NULL, "no merge rules"},
        {NULL, "<html>\n", NULL, NULL, "line 1 is not a rule"},
        {NULL, NULL, "{", NULL, "tokenizer.json: not valid JSON"},
        {NULL, NULL, "{\"model\": {\"type\": \"Unigram\"}}", NULL, "not of CLIP's kind"},
        {NULL, NULL,
         "{\"model\": {\"end_of_word_suffix\": \"</w>\", \"vocab\": {}, \"merges\": [7]}}", NULL,
         "item 0 of \"merges\""},
        {NULL, NULL,
         "{\"added_tokens\": [{\"id\": 1}], \"model\": {\"end_of_word_suffix\": \"</w>\", "
         "\"vocab\": {}, \"merges\": []}}",
         NULL, "item 0 of \"added_tokens\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gen_error err = {0};
        gen_clip_tokenizer *t = NULL;
        const gen_clip_files files = {
            .vocab_json = cases[i].vocab,
            .vocab_json_size = cases[i].vocab ? strlen(cases[i].vocab) : 0,
            .merges = cases[i].merges,
            .merges_size = cases[i].merges ? strlen(cases[i].merges) : 0,
            .tokenizer_json = cases[i].fast,
            .tokenizer_json_size = cases[i].fast ? strlen(cases[i].fast) : 0,
            .tokenizer_config = cases[i].config,
            .tokenizer_config_size = cases[i].config ? strlen(cases[i].config) : 0,
        };
        EXPECT_STATUS(GEN_ERROR_MODEL, gen_clip_tokenizer_parse(&t, &files, "dir", &err));
        EXPECT_CONTAINS(err.message, cases[i].message);
        EXPECT_CONTAINS(err.message, "dir");
        assert_null(t);
    }
}

/* Rules lost at the end of the file would change pictures silently. */
static void merges_cut_short(void **state)
{
    (void)state;
    gen_error err = {0};
    size_t vocab_size, merges_size;
    gen_clip_tokenizer *t = NULL;
    char *vocab = slurp("vocab.json", &vocab_size), *merges = slurp("merges.txt", &merges_size);
    merges[merges_size / 2] = '\0';
    const char *end = strrchr(merges, '\n');
    const gen_clip_files files = {.vocab_json = vocab,
                                  .vocab_json_size = vocab_size,
                                  .merges = merges,
                                  .merges_size = (size_t)(end - merges)};
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_clip_tokenizer_parse(&t, &files, "dir", &err));
    EXPECT_CONTAINS(err.message, "cut short");
    free(vocab);
    free(merges);
}

static void missing_paths(void **state)
{
    (void)state;
    gen_error err = {0};
    gen_clip_tokenizer *t = NULL;
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_clip_tokenizer_open(&t, "/nowhere/at/all", &err));
    EXPECT_CONTAINS(err.message, "/nowhere/at/all: ");
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_clip_tokenizer_open(&t, GEN_TEST_SOURCE_DIR "/unit", &err));
    EXPECT_CONTAINS(err.message, "no vocabulary");
    /* A model's directory, and a file in it, stand for the folder. */
    EXPECT_OK(gen_clip_tokenizer_open(&t, GEN_TEST_SOURCE_DIR "/golden/fixtures/pipe_sd1", &err));
    gen_clip_tokenizer_free(t);
    EXPECT_OK(gen_clip_tokenizer_open(
        &t, GEN_TEST_SOURCE_DIR "/golden/fixtures/pipe_sd1/tokenizer/vocab.json", &err));
    gen_clip_tokenizer_free(t);
    EXPECT_OK(gen_clip_tokenizer_open(
        &t, GEN_TEST_SOURCE_DIR "/golden/fixtures/pipe_sd1/tokenizer/merges.txt", &err));
    gen_clip_tokenizer_free(t);
}

static void lack_of_memory(void **state)
{
    (void)state;
    for (long n = 1;; n++) {
        gen_error err = {0};
        gen_clip_tokenizer *t = NULL;
        gen_ids ids = {0};
        gen_alloc_fail_at(n);
        gen_status status = gen_clip_tokenizer_open(&t, DIRECTORY, &err);
        if (!status)
            status = gen_clip_tokenize(t, SAMPLE, strlen(SAMPLE), &ids, &err);
        const bool was_reached = gen_alloc_count() >= n;
        gen_alloc_fail_at(0);
        gen_ids_free(&ids);
        gen_clip_tokenizer_free(t);
        if (!was_reached) {
            assert_int_equal(status, GEN_OK);
            assert_true(n > 10);
            return;
        }
        assert_int_equal(status, GEN_ERROR_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference_ids),
        cmocka_unit_test(sequences_are_framed_and_cut),
        cmocka_unit_test(cleaning),
        cmocka_unit_test(cutting),
        cmocka_unit_test(merging_follows_the_definition),
        cmocka_unit_test(very_long_words_end),
        cmocka_unit_test(text_that_is_not_utf8),
        cmocka_unit_test(info_of_the_files),
        cmocka_unit_test(merges_alone),
        cmocka_unit_test(tokenizer_json),
        cmocka_unit_test(padding_token),
        cmocka_unit_test(bad_files),
        cmocka_unit_test(merges_cut_short),
        cmocka_unit_test(missing_paths),
        cmocka_unit_test(lack_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
