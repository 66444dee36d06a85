/* Prompt weights, chunks, BREAK. */
#include <stdlib.h>

#include "gen/text/text.h"
#include "tests/test.h"

static const char DIRECTORY[] = GEN_TEST_SOURCE_DIR "/golden/fixtures/pipe_sd1/tokenizer";
enum { BOS = 600, EOS = 601, COMMA = 267, A = 320, B = 321 }; /* "a" and "b" as whole words */

static gen_prompt *parse(const char *text)
{
    gen_error err = {0};
    gen_prompt *p = NULL;
    EXPECT_OK(gen_prompt_parse(&p, text, &err));
    return p;
}

/* "red{1.32} fox{1.1}" with | for BREAK; weights to five digits. */
static void describe(const gen_prompt *p, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < p->num_runs && used < size; i++) {
        const gen_prompt_run *r = &p->runs[i];
        if (r->is_break)
            used += (size_t)snprintf(out + used, size - used, "|");
        else
            used += (size_t)snprintf(out + used, size - used, "%.*s{%.5g}", (int)r->size, r->text,
                                     r->weight);
    }
}

static void weights(void **state)
{
    (void)state;
    static const struct {
        const char *prompt, *runs;
    } cases[] = {
        {"", ""},
        {"a red fox", "a red fox{1}"},
        {"((red:1.2) fox) in [snow]", "red{1.32} fox{1.1} in {1}snow{0.90909}"},
        {"(tree", "tree{1.1}"},
        {"[tree", "tree{0.90909}"},
        {"\\(a\\)", "(a){1}"},
        {"\\[a\\] \\\\ b", "[a] \\ b{1}"},
        {"a\\b", "a\\b{1}"},
        {"end\\", "end\\{1}"},
        {"(a)", "a{1.1}"},
        {"((a))", "a{1.21}"},
        {"[(a)]", "a{1}"},
        {"(a:0.5)", "a{0.5}"},
        {"(a: .5 )", "a{0.5}"},
        {"(a:-1)", "a{-1}"},
        {"(a:+2)", "a{2}"},
        {"(a:0)", "a{0}"},
        {"(a:1.)", "a{1}"},
        {"(a:1.2.3)", "a:1.2.3{1.1}"},
        {"(a:)", "a:{1.1}"},
        {"(a:.)", "a:.{1.1}"},
        {"(a:1.2", "a:1.2{1.1}"},
        {"(a:b)", "a:b{1.1}"},
        {"(a:1,5)", "a:1,5{1.1}"},
        {"a:1.2)", "a:1.2){1}"},
        {"[a:1.2]", "a:1.2{0.90909}"},
        {"time 12:30", "time 12:30{1}"},
        {"a) b] c", "a) b] c{1}"},
        {"()", ""},
        {"(a)(b)", "ab{1.1}"},
        {"(a)b(c)", "a{1.1}b{1}c{1.1}"},
        {"(a (b (c)))", "a {1.1}b {1.21}c{1.331}"},
        {"(a(b:2):3)", "a{3}b{6}"},
        {"\xe7\x8c\xab (\xe7\x8a\xac:1.5)", "\xe7\x8c\xab {1}\xe7\x8a\xac{1.5}"},
        {"a BREAK b", "a {1}| b{1}"},
        {"(a BREAK b:1.5)", "a {1.5}| b{1.5}"},
        {"BREAK", "|"},
        {"aBREAK BREAKb break", "aBREAK BREAKb break{1}"},
        {"a,BREAK,b", "a,{1}|,b{1}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char runs[256];
        gen_prompt *p = parse(cases[i].prompt);
        describe(p, runs, sizeof runs);
        if (strcmp(runs, cases[i].runs))
            fail_msg("\"%s\" is %s, expected %s", cases[i].prompt, runs, cases[i].runs);
        gen_prompt_free(p);
    }
}

static void whether_weighted(void **state)
{
    (void)state;
    static const struct {
        const char *prompt;
        bool is_weighted;
    } cases[] = {{"a fox", false}, {"\\(a\\)", false}, {"[(a)]", false},    {"(a:1)", false},
                 {"(a)", true},    {"(a:1.01)", true}, {"a BREAK b", false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gen_prompt *p = parse(cases[i].prompt);
        assert_int_equal(p->is_weighted, cases[i].is_weighted);
        gen_prompt_free(p);
    }
}

static void tags_are_taken_out(void **state)
{
    (void)state;
    char runs[256];
    gen_prompt *p = parse("a <lora:style (v2):0.8>fox <LyCo:x> <hypernet:y:1> <lora:open <b>");
    describe(p, runs, sizeof runs);
    assert_string_equal(runs, "a fox   {1}");
    assert_int_equal(p->num_tags, 4);
    assert_string_equal(p->tags[0], "<lora:style (v2):0.8>");
    assert_string_equal(p->tags[1], "<LyCo:x>");
    assert_string_equal(p->tags[3], "<lora:open <b>");
    gen_prompt_free(p);
    p = parse("<lora:never closed");
    describe(p, runs, sizeof runs);
    assert_string_equal(runs, "<lora:never closed{1}");
    assert_int_equal(p->num_tags, 0);
    gen_prompt_free(p);
}

static void bad_prompts(void **state)
{
    (void)state;
    gen_error err = {0};
    gen_prompt *p = NULL;
    char *long_text = malloc(100001);
    assert_non_null(long_text);
    memset(long_text, 'a', 100000);
    long_text[100000] = '\0';
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_prompt_parse(&p, long_text, &err));
    EXPECT_CONTAINS(err.message, "100000 bytes");
    memset(long_text, '(', 1000);
    long_text[1000] = '\0';
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_prompt_parse(&p, long_text, &err));
    EXPECT_CONTAINS(err.message, "deeper than 100 at byte 100");
    memset(long_text, '[', 100);
    strcpy(long_text + 100, "a");
    EXPECT_OK(gen_prompt_parse(&p, long_text, &err));
    gen_prompt_free(p);
    free(long_text);
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_prompt_parse(&p, "(a:1001)", &err));
    EXPECT_CONTAINS(err.message, "the weight of \"a\" is 1001");
    EXPECT_STATUS(GEN_ERROR_ARGUMENT,
                  gen_prompt_parse(&p, "(a:99999999999999999999999999999999999999999)", &err));
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_prompt_parse(&p, "ab\xff", &err));
    EXPECT_CONTAINS(err.message, "byte 2 is 0xff");
}

/* ---- chunks -------------------------------------------------------------------------------------
 */

static gen_clip_tokenizer *tokenizer;

static int open_tokenizer(void **state)
{
    (void)state;
    return gen_clip_tokenizer_open(&tokenizer, DIRECTORY, NULL);
}

static int close_tokenizer(void **state)
{
    (void)state;
    gen_clip_tokenizer_free(tokenizer);
    return 0;
}

static gen_token_chunks *tokenize(const char *text, const gen_token_options *options)
{
    gen_error err = {0};
    gen_token_chunks *c = NULL;
    gen_prompt *p = parse(text);
    EXPECT_OK(gen_prompt_tokenize(&c, p, tokenizer, options, &err));
    gen_prompt_free(p);
    return c;
}

/* Each chunk has start, text, end, padding, in this order; returns the number of text tokens. */
static int check_chunk(const gen_token_chunks *c, int i)
{
    const int32_t *ids = c->ids + (ptrdiff_t)i * c->length;
    const float *w = c->weights + (ptrdiff_t)i * c->length;
    int n = 0;
    assert_int_equal(ids[0], BOS);
    assert_true(w[0] == 1);
    while (n < c->length - 2 && ids[1 + n] != EOS)
        n++;
    assert_int_equal(ids[1 + n], EOS);
    for (int k = 1 + n; k < c->length; k++) {
        assert_true(w[k] == 1);
        assert_int_equal(ids[k], k == 1 + n ? EOS : c->pad);
    }
    return n;
}

static void expect_counts(const char *text, int n, const int *counts)
{
    gen_token_chunks *c = tokenize(text, NULL);
    if (c->num_chunks != n)
        fail_msg("\"%s\": %d chunks, expected %d", text, c->num_chunks, n);
    for (int i = 0; i < n; i++)
        if (check_chunk(c, i) != counts[i])
            fail_msg("\"%s\": chunk %d has %d tokens, expected %d", text, i, check_chunk(c, i),
                     counts[i]);
    gen_token_chunks_free(c);
}

#define EXPECT_COUNTS(text, ...)                                                                   \
    expect_counts(text, (int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int)), (int[]){__VA_ARGS__})

/* "a a a ..." with commas after the given counts of words. */
static const char *words(int n, int comma_at)
{
    static char text[1024];
    size_t used = 0;
    for (int i = 0; i < n; i++) {
        memcpy(text + used, i == comma_at ? ", " : "a ", 2);
        used += 2;
    }
    text[used] = '\0';
    return text;
}

static void plain_prompts_are_one_sequence(void **state)
{
    (void)state;
    gen_error err = {0};
    gen_ids ids = {0};
    int32_t plain[77];
    static const char *const prompts[] = {"A photo of the cat, on the moon!", "blurry", ""};
    for (size_t i = 0; i < sizeof prompts / sizeof *prompts; i++) {
        gen_token_chunks *c = tokenize(prompts[i], NULL);
        ids.count = 0;
        EXPECT_OK(gen_clip_tokenize(tokenizer, prompts[i], strlen(prompts[i]), &ids, &err));
        gen_clip_sequence(tokenizer, ids.ids, ids.count, EOS, 77, plain);
        assert_int_equal(c->num_chunks, 1);
        assert_int_equal(c->length, 77);
        assert_false(c->is_weighted);
        assert_memory_equal(c->ids, plain, sizeof plain);
        check_chunk(c, 0);
        gen_token_chunks_free(c);
    }
    gen_ids_free(&ids);
}

static void long_prompts_are_cut(void **state)
{
    (void)state;
    EXPECT_COUNTS(words(75, -1), 75);
    EXPECT_COUNTS(words(76, -1), 75, 1);
    EXPECT_COUNTS(words(151, -1), 75, 75, 1);
    EXPECT_COUNTS(words(80, 60), 61, 19); /* what follows the comma moves on */
    EXPECT_COUNTS(words(80, 55), 56, 24); /* 20 tokens before the end: just near enough */
    EXPECT_COUNTS(words(80, 54), 75, 5);
    EXPECT_COUNTS(words(80, 74), 75, 5); /* nothing to move */
    EXPECT_COUNTS(words(80, 75), 75, 5); /* the comma begins the next chunk */
    EXPECT_COUNTS(words(75, 60), 75);    /* nothing follows: no cut */
    EXPECT_COUNTS(words(150, 70), 71, 75, 4);
}

static void moved_tokens_keep_their_weights(void **state)
{
    (void)state;
    char text[2048];
    snprintf(text, sizeof text, "%s, (b b b:1.5) a", words(70, -1));
    /* 70 words, a comma, three heavy words: 74 tokens, one more fits */
    gen_token_chunks *c = tokenize(text, NULL);
    assert_int_equal(c->num_chunks, 1);
    gen_token_chunks_free(c);
    strcat(text, " a");
    c = tokenize(text, NULL);
    assert_int_equal(c->num_chunks, 2);
    assert_int_equal(check_chunk(c, 0), 71);
    assert_int_equal(check_chunk(c, 1), 5);
    for (int i = 1; i <= 5; i++) {
        assert_int_equal(c->ids[77 + i], i <= 3 ? B : A);
        assert_true(c->weights[77 + i] == (i <= 3 ? 1.5f : 1.0f));
    }
    assert_true(c->is_weighted);
    gen_token_chunks_free(c);
}

static void breaks(void **state)
{
    (void)state;
    EXPECT_COUNTS("a BREAK b", 1, 1);
    EXPECT_COUNTS("a BREAK", 1);
    EXPECT_COUNTS("BREAK a", 0, 1);
    EXPECT_COUNTS("a BREAK BREAK b", 1, 0, 1);
    EXPECT_COUNTS("BREAK", 0);
    EXPECT_COUNTS("(a BREAK b b)", 1, 2);
}

static void chunk_options(void **state)
{
    (void)state;
    gen_error err = {0};
    gen_token_chunks *c = tokenize("(a:2) b", &(gen_token_options){.length = 8, .has_pad = true});
    static const int32_t ids[] = {BOS, A, B, EOS, 0, 0, 0, 0, BOS, EOS, 0, 0, 0, 0, 0, 0};
    static const float w[] = {1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    EXPECT_OK(gen_token_chunks_extend(c, 1, &err));
    assert_int_equal(c->num_chunks, 1);
    EXPECT_OK(gen_token_chunks_extend(c, 2, &err));
    assert_int_equal(c->num_chunks, 2);
    assert_memory_equal(c->ids, ids, sizeof ids);
    assert_memory_equal(c->weights, w, sizeof w);
    gen_token_chunks_free(c);

    gen_prompt *p = parse("a");
    EXPECT_STATUS(GEN_ERROR_ARGUMENT,
                  gen_prompt_tokenize(&c, p, tokenizer, &(gen_token_options){.length = 2}, &err));
    gen_prompt_free(p);
    c = tokenize("a , b , a", &(gen_token_options){.length = 3}); /* one token a chunk */
    assert_int_equal(c->num_chunks, 5);
    gen_token_chunks_free(c);
}

static void too_many_chunks(void **state)
{
    (void)state;
    enum { LIMIT = 64 * 75 };
    gen_error err = {0};
    gen_token_chunks *c = NULL;
    char *text = malloc(2 * LIMIT + 3);
    assert_non_null(text);
    for (int i = 0; i <= LIMIT; i++)
        memcpy(text + 2 * i, "a ", 2);
    text[2 * LIMIT] = '\0';
    c = tokenize(text, NULL);
    assert_int_equal(c->num_chunks, 64);
    gen_token_chunks_free(c);
    memcpy(text + 2 * LIMIT, "a", 2);
    gen_prompt *p = parse(text);
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_prompt_tokenize(&c, p, tokenizer, NULL, &err));
    EXPECT_CONTAINS(err.message, "more than 4800 tokens");
    gen_prompt_free(p);
    free(text);
}

static void lack_of_memory(void **state)
{
    (void)state;
    static const char text[] = "(a:1.5), <lora:x:1> b BREAK a BREAK b BREAK a, b";
    for (long n = 1;; n++) {
        gen_prompt *p = NULL;
        gen_token_chunks *c = NULL;
        gen_alloc_fail_at(n);
        gen_status status = gen_prompt_parse(&p, text, NULL);
        if (!status)
            status = gen_prompt_tokenize(&c, p, tokenizer, NULL, NULL);
        if (!status)
            status = gen_token_chunks_extend(c, 9, NULL);
        const bool was_reached = gen_alloc_count() >= n;
        gen_alloc_fail_at(0);
        gen_token_chunks_free(c);
        gen_prompt_free(p);
        if (!was_reached) {
            assert_int_equal(status, GEN_OK);
            assert_true(n > 10);
            return;
        }
        assert_int_equal(status, GEN_ERROR_MEMORY);
    }
}

static void lower_case(void **state)
{
    static const char *const pairs[][2] = {
        {" A Red\tHOUSE \n", "a red\thouse"},
        {"\xc3\x84rger", "\xc3\xa4rger"},         /* two bytes each */
        {"\xc8\xba", "\xe2\xb1\xa5"},             /* two bytes become three */
        {"\xe2\x84\xaa", "k"},                    /* three become one: the Kelvin sign */
        {"\xf0\x9d\x94\xb8", "\xf0\x9d\x94\xb8"}, /* no letter with two cases */
        {"  ", ""},
        {"", ""},
    };
    gen_error err = {0};
    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        char *lower = NULL;
        EXPECT_OK(gen_text_lower(&lower, pairs[i][0], &err));
        assert_string_equal(lower, pairs[i][1]);
        gen_free(lower);
    }
    char *lower = NULL;
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_text_lower(&lower, "ab\xff", &err));
    EXPECT_CONTAINS(err.message, "byte 2 is not UTF-8");
    assert_null(lower);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lower_case),
        cmocka_unit_test(weights),
        cmocka_unit_test(whether_weighted),
        cmocka_unit_test(tags_are_taken_out),
        cmocka_unit_test(bad_prompts),
        cmocka_unit_test(plain_prompts_are_one_sequence),
        cmocka_unit_test(long_prompts_are_cut),
        cmocka_unit_test(moved_tokens_keep_their_weights),
        cmocka_unit_test(breaks),
        cmocka_unit_test(chunk_options),
        cmocka_unit_test(too_many_chunks),
        cmocka_unit_test(lack_of_memory),
    };
    return cmocka_run_group_tests(tests, open_tokenizer, close_tokenizer);
}
