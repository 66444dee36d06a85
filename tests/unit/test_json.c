/* Settings: values, defaults, and messages that name file and key. */
#include "gen/core/json.h"
#include "tests/temp_dir.h"
#include "tests/test.h"

static gen_json *parse(const char *text)
{
    gen_error err = {0};
    gen_json *json;
    EXPECT_OK(gen_json_parse(&json, text, strlen(text), "f.json", GEN_ERROR_MODEL, &err));
    return json;
}

static void getters_read_values_and_defaults(void **state)
{
    (void)state;
    gen_json *j = parse("{\"i\":3,\"f\":8.0,\"d\":0.5,\"b\":true,\"s\":\"x\",\"n\":null,"
                        "\"l\":[1,2,3],\"m\":[0.5,2]}");
    gen_error err = {0};
    int64_t i, list[4];
    double d, doubles[2];
    bool b;
    const char *s;
    int count;
    EXPECT_OK(gen_json_int(j, "i", 7, 0, 10, &i, &err));
    assert_int_equal(i, 3);
    EXPECT_OK(gen_json_int(j, "f", 7, 0, 10, &i, &err));
    assert_int_equal(i, 8);
    EXPECT_OK(gen_json_int(j, "absent", 7, 0, 10, &i, &err));
    assert_int_equal(i, 7);
    EXPECT_OK(gen_json_int(j, "n", 9, 0, 10, &i, &err));
    assert_int_equal(i, 9);
    EXPECT_OK(gen_json_double(j, "d", 1, &d, &err));
    assert_true(d == 0.5);
    EXPECT_OK(gen_json_double(j, "i", 1, &d, &err));
    assert_true(d == 3.0);
    EXPECT_OK(gen_json_bool(j, "b", false, &b, &err));
    assert_true(b);
    EXPECT_OK(gen_json_bool(j, "absent", true, &b, &err));
    assert_true(b);
    EXPECT_OK(gen_json_string(j, "s", "", &s, &err));
    assert_string_equal(s, "x");
    EXPECT_OK(gen_json_string(j, "n", NULL, &s, &err));
    assert_null(s);
    EXPECT_OK(gen_json_int_list(j, "l", 4, 1, 3, list, &count, &err));
    assert_int_equal(count, 3);
    assert_int_equal(list[2], 3);
    EXPECT_OK(gen_json_int_list(j, "absent", 4, 1, 3, list, &count, &err));
    assert_int_equal(count, 0);
    EXPECT_OK(gen_json_double_list(j, "m", 2, doubles, &count, &err));
    assert_true(count == 2 && doubles[1] == 2);
    assert_true(gen_json_has(j, "n") && gen_json_is_null(j, "n"));
    assert_true(gen_json_has(j, "i") && !gen_json_is_null(j, "i"));
    assert_true(!gen_json_has(j, "absent") && !gen_json_is_null(j, "absent"));
    assert_true(json_is_array(gen_json_get(j, "l")));
    gen_json_free(j);
}

#define EXPECT_REFUSED(expression, message_)                                                       \
    do {                                                                                           \
        EXPECT_STATUS(GEN_ERROR_MODEL, (expression));                                              \
        EXPECT_CONTAINS(err.message, (message_));                                                  \
    } while (0)

static void wrong_types_name_file_and_key(void **state)
{
    (void)state;
    gen_json *j = parse("{\"s\":\"x\",\"i\":3,\"h\":1.5,\"big\":1e300,\"o\":{},\"l\":[1,\"a\"],"
                        "\"t\":true}");
    gen_error err = {0};
    int64_t i, list[4];
    double d, doubles[4];
    bool b;
    const char *s;
    int count;
    EXPECT_REFUSED(gen_json_int(j, "s", 0, 0, 9, &i, &err),
                   "f.json: \"s\" is a string, expected a whole number");
    EXPECT_REFUSED(gen_json_int(j, "i", 0, 5, 9, &i, &err), "\"i\" is 3, expected 5..9");
    EXPECT_REFUSED(gen_json_int(j, "h", 0, 0, 9, &i, &err), "\"h\" is 1.5");
    EXPECT_REFUSED(gen_json_int(j, "big", 0, 0, 9, &i, &err), "expected a whole number");
    EXPECT_REFUSED(gen_json_int(j, "t", 0, 0, 9, &i, &err), "true or false");
    EXPECT_REFUSED(gen_json_double(j, "s", 0, &d, &err), "expected a number");
    EXPECT_REFUSED(gen_json_bool(j, "i", 0, &b, &err), "is a number, expected true or false");
    EXPECT_REFUSED(gen_json_string(j, "o", 0, &s, &err), "is an object, expected a string");
    EXPECT_REFUSED(gen_json_int_list(j, "i", 4, 0, 9, list, &count, &err), "expected a list");
    EXPECT_REFUSED(gen_json_int_list(j, "l", 4, 0, 9, list, &count, &err), "\"l\" is a string");
    EXPECT_REFUSED(gen_json_int_list(j, "l", 1, 0, 9, list, &count, &err),
                   "has 2 entries, expected at most 1");
    EXPECT_REFUSED(gen_json_double_list(j, "l", 4, doubles, &count, &err), "list of numbers");
    gen_json_free(j);
}

static void damaged_text_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "{",
                                        "[1]",
                                        "3",
                                        "{a:1}",
                                        "{\"a\":1,}",
                                        "{\"a\":1}x",
                                        "{\"a\":\"\xff\"}",
                                        "{\"a\":1,\"a\":1}"};
    gen_error err = {0};
    gen_json *json = NULL;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        EXPECT_STATUS(GEN_ERROR_INPUT, gen_json_parse(&json, texts[i], strlen(texts[i]), "f.json",
                                                      GEN_ERROR_INPUT, &err));
        EXPECT_CONTAINS(err.message, "f.json: not ");
        assert_null(json);
    }
    gen_json_parse(&json, "{\n \"a\": x}", 11, "f.json", GEN_ERROR_INPUT, &err);
    EXPECT_CONTAINS(err.message, "line 2, column");
    static char deep[200001];
    memset(deep, '[', 200000);
    EXPECT_STATUS(GEN_ERROR_INPUT,
                  gen_json_parse(&json, deep, 200000, "f.json", GEN_ERROR_INPUT, &err));
}

static void files_are_opened_or_named(void **state)
{
    (void)state;
    temp_dir dir;
    gen_error err = {0};
    gen_json *json;
    assert_int_equal(temp_dir_make(&dir), 0);
    assert_int_equal(temp_write(&dir, "good.json", "{\"a\": 1}\n"), 0);
    EXPECT_OK(gen_json_open(&json, temp_path(&dir, "good.json"), GEN_ERROR_MODEL, &err));
    assert_true(gen_json_has(json, "a"));
    gen_json_free(json);
    EXPECT_STATUS(GEN_ERROR_MODEL,
                  gen_json_open(&json, temp_path(&dir, "absent.json"), GEN_ERROR_MODEL, &err));
    EXPECT_CONTAINS(err.message, "absent.json: No such file");
    EXPECT_STATUS(GEN_ERROR_INPUT, gen_json_open(&json, dir.path, GEN_ERROR_INPUT, &err));
    /* a sparse file over the limit */
    assert_int_equal(temp_write(&dir, "huge.json", "{"), 0);
    assert_int_equal(truncate(temp_path(&dir, "huge.json"), ((off_t)64 << 20) + 1), 0);
    EXPECT_STATUS(GEN_ERROR_MODEL,
                  gen_json_open(&json, temp_path(&dir, "huge.json"), GEN_ERROR_MODEL, &err));
    EXPECT_CONTAINS(err.message, "64 MiB");
    temp_dir_remove(&dir);
}

/* As Python writes them; not JSON, but found in schedulers' files. */
static void infinite_numbers_are_null(void **state)
{
    (void)state;
    gen_json *j =
        parse("{\"a\": -Infinity, \"b\": [Infinity, 1], \"s\": \"-Infinity \\\" Infinity\"}");
    gen_error err = {0};
    const char *s;
    assert_true(gen_json_is_null(j, "a"));
    assert_true(json_is_null(json_array_get(gen_json_get(j, "b"), 0)));
    EXPECT_OK(gen_json_string(j, "s", "", &s, &err));
    assert_string_equal(s, "-Infinity \" Infinity");
    gen_json_free(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(getters_read_values_and_defaults),
        cmocka_unit_test(wrong_types_name_file_and_key),
        cmocka_unit_test(damaged_text_is_refused),
        cmocka_unit_test(files_are_opened_or_named),
        cmocka_unit_test(infinite_numbers_are_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
