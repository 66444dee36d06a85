/* Good files give all their tensors; hostile ones a status and a sentence, never a crash. */
#include "gen/core/alloc.h"
#include "gen/core/safetensors.h"
#include "tests/safetensors_writer.h"
#include "tests/temp_dir.h"
#include "tests/test.h"

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

/* ---- good files ----------------------------------------------------------------------------- */

static void reads_what_was_written(void **state)
{
    (void)state;
    static const float a[6] = {1, -2, 3.5f, 4, 5, 6};
    static const uint16_t b[3] = {0x3c00, 0xc000, 0x3555}; /* 1, -2, 0.333 */
    static const int64_t c = -7;
    const safetensors_item items[] = {
        {"a.weight", GEN_F32, 2, {2, 3}, a}, {"empty", GEN_F32, 3, {4, 0, 2}, NULL},
        {"scalar", GEN_I64, 0, {0}, &c},     {"b", GEN_F16, 1, {3}, b},
        {"bytes", GEN_U8, 1, {3}, "xyz"},    {"unaligned", GEN_F32, 1, {2}, a},
    };
    gen_error err = {0};
    gen_weights *w;
    const char *path = temp_path(&dir, "good.safetensors");
    assert_int_equal(safetensors_write(path, items, 6, "{\"format\":\"pt\",\"x\":\"y\"}"), 0);
    EXPECT_OK(gen_weights_new(&w, &err));
    EXPECT_OK(gen_safetensors_open(w, path, &err));
    assert_int_equal(gen_weights_count(w), 6);
    for (int i = 0; i < 6; i++) {
        const gen_weight *t = gen_weights_find(w, items[i].name);
        assert_non_null(t);
        assert_int_equal(t->dtype, items[i].dtype);
        assert_int_equal(t->rank, items[i].rank);
        assert_int_equal(t->size, safetensors_item_size(&items[i]));
        assert_true(t->is_mapped);
        assert_string_equal(t->file, path);
        for (int k = 0; k < t->rank; k++)
            assert_int_equal(t->dims[k], items[i].dims[k]);
        if (items[i].data)
            assert_memory_equal(t->data, items[i].data, t->size);
    }
    float widened[3];
    gen_to_f32(widened, gen_weights_find(w, "b")->data, GEN_F16, 3);
    assert_true(widened[0] == 1 && widened[1] == -2 && fabsf(widened[2] - 0.3333f) < 1e-3f);
    gen_to_f32(widened, gen_weights_find(w, "unaligned")->data, GEN_F32, 2);
    assert_true(widened[0] == 1 && widened[1] == -2);
    assert_string_equal(gen_weights_note(w, "x"), "y");
    assert_null(gen_weights_note(w, "z"));
    gen_weight_drop_pages(gen_weights_find(w, "a.weight"));
    assert_memory_equal(gen_weights_find(w, "a.weight")->data, a, sizeof a);
    gen_weights_free(w);
}

static void header_may_be_padded_and_data_empty(void **state)
{
    (void)state;
    static const char padded[] =
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}   ";
    gen_error err = {0};
    gen_weights *w;
    const char *path = temp_path(&dir, "padded.safetensors");
    assert_int_equal(safetensors_write_raw(path, sizeof padded - 1, padded, sizeof padded - 1, 4),
                     0);
    EXPECT_OK(gen_weights_new(&w, &err));
    EXPECT_OK(gen_safetensors_open(w, path, &err));
    assert_int_equal(gen_weights_count(w), 1);
    assert_int_equal(safetensors_write_raw(path, 2, "{}", 2, 0), 0);
    EXPECT_OK(gen_safetensors_open(w, path, &err));
    assert_int_equal(gen_weights_count(w), 1);
    gen_weights_free(w);
}

/* ---- hostile files -------------------------------------------------------------------------- */

#define T(fields)              "{\"x\":{" fields "}}"
#define SHAPE_(shape, offsets) T("\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" offsets)
#define TWO(a, b)                                                                                  \
    "{\"x\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" a "},"                              \
    "\"y\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" b "}}"
#define AS_WRITTEN UINT64_MAX /* the length of the header is the true one */

static const struct {
    const char *header;
    uint64_t length;
    size_t data_size;
    const char *message; /* a part of it */
} hostile[] = {
    /* the length of the header */
    {"{}", 0, 0, "no JSON header"},
    {"{}", 1, 0, "no JSON header"},
    {"{}", 3, 0, "header ends at byte 11 but the file has 10"},
    {"{}", 99999999, 0, "truncated download"},
    {"{}", 100000001, 0, "at most 100000000 are allowed"},
    {"{}", UINT64_MAX - 1, 0, "at most 100000000 are allowed"},
    {"{}", UINT64_MAX - 7, 0, "at most 100000000 are allowed"},
    {"{}", (uint64_t)1 << 63, 0, "at most 100000000 are allowed"},
    /* the text */
    {" {}", AS_WRITTEN, 0, "no JSON header"},
    {"[]", AS_WRITTEN, 0, "no JSON header"},
    {"{\"x\"}", AS_WRITTEN, 0, "not valid JSON"},
    {"{\"x\":", AS_WRITTEN, 0, "not valid JSON"},
    {"{} {}", AS_WRITTEN, 0, "not valid JSON"},
    {"{\"\xff\":1}", AS_WRITTEN, 0, "not valid JSON"},
    {"{\"x\\u0000\":1}", AS_WRITTEN, 0, "not valid JSON"},
    {"{\"x\":1,\"x\":2}", AS_WRITTEN, 0, "duplicate"},
    {TWO("[0,4]", "[4,8]"), 40, 0, "not valid JSON"},
    /* entries */
    {"{\"x\":1}", AS_WRITTEN, 0, "tensor \"x\" is not described by an object"},
    {"{\"x\":null}", AS_WRITTEN, 0, "tensor \"x\" is not described by an object"},
    {"{\"x\":{}}", AS_WRITTEN, 0, "tensor \"x\" has no dtype"},
    {T("\"dtype\":32"), AS_WRITTEN, 0, "tensor \"x\" has no dtype"},
    {T("\"dtype\":\"F31\""), AS_WRITTEN, 0, "unknown dtype \"F31\""},
    {T("\"dtype\":\"\""), AS_WRITTEN, 0, "unknown dtype"},
    {T("\"dtype\":\"F32\""), AS_WRITTEN, 0, "has no shape"},
    {T("\"dtype\":\"F32\",\"shape\":4"), AS_WRITTEN, 0, "has no shape"},
    {SHAPE_("[1,1,1,1,1,1,1]", "[0,4]"), AS_WRITTEN, 4, "has 7 dimensions, at most 6"},
    {SHAPE_("[-1]", "[0,4]"), AS_WRITTEN, 4, "not whole numbers"},
    {SHAPE_("[1.5]", "[0,4]"), AS_WRITTEN, 4, "not whole numbers"},
    {SHAPE_("[\"1\"]", "[0,4]"), AS_WRITTEN, 4, "not whole numbers"},
    {SHAPE_("[9223372036854775807]", "[0,4]"), AS_WRITTEN, 4, "more bytes than can be counted"},
    {SHAPE_("[9223372036854775808]", "[0,4]"), AS_WRITTEN, 4, "not valid JSON"},
    {SHAPE_("[4294967296,4294967296]", "[0,0]"), AS_WRITTEN, 0, "more bytes than can be counted"},
    {SHAPE_("[4611686018427387905]", "[0,4]"), AS_WRITTEN, 4, "more bytes than can be counted"},
    {SHAPE_("[1]", "[0]"), AS_WRITTEN, 4, "no valid data_offsets"},
    {SHAPE_("[1]", "[0,4,8]"), AS_WRITTEN, 4, "no valid data_offsets"},
    {SHAPE_("[1]", "[4,0]"), AS_WRITTEN, 4, "no valid data_offsets"},
    {SHAPE_("[1]", "[-4,0]"), AS_WRITTEN, 4, "no valid data_offsets"},
    {SHAPE_("[1]", "[0,4.0]"), AS_WRITTEN, 4, "no valid data_offsets"},
    {SHAPE_("[1]", "{}"), AS_WRITTEN, 4, "no valid data_offsets"},
    {T("\"dtype\":\"F32\",\"shape\":[1]"), AS_WRITTEN, 4, "no valid data_offsets"},
    {SHAPE_("[1]", "[0,3]"), AS_WRITTEN, 4, "has 3 bytes of data, its shape and F32 need 4"},
    {SHAPE_("[2]", "[0,4]"), AS_WRITTEN, 4, "has 4 bytes of data, its shape and F32 need 8"},
    {SHAPE_("[0]", "[0,4]"), AS_WRITTEN, 4, "has 4 bytes of data, its shape and F32 need 0"},
    {SHAPE_("[]", "[0,0]"), AS_WRITTEN, 0, "has 0 bytes of data, its shape and F32 need 4"},
    /* the layout of the data */
    {SHAPE_("[4]", "[0,16]"), AS_WRITTEN, 12,
     "ends at byte 79 but the file has 75: truncated download"},
    {SHAPE_("[0]", "[9000000000000000000,9000000000000000000]"), AS_WRITTEN, 0, "truncated"},
    {SHAPE_("[1]", "[4,8]"), AS_WRITTEN, 8, "belong to no tensor"},
    {SHAPE_("[1]", "[0,4]"), AS_WRITTEN, 5, "the last tensor ends at byte"},
    {"{}", AS_WRITTEN, 1, "the last tensor ends at byte 10 but the file has 11"},
    {TWO("[0,4]", "[0,4]"), AS_WRITTEN, 4, "overlaps"},
    {TWO("[0,4]", "[3,7]"), AS_WRITTEN, 7, "tensor \"y\" overlaps \"x\""},
    {TWO("[2,6]", "[0,4]"), AS_WRITTEN, 6, "tensor \"x\" overlaps \"y\""},
    {TWO("[0,4]", "[5,9]"), AS_WRITTEN, 9, "belong to no tensor"},
    /* metadata */
    {"{\"__metadata__\":1}", AS_WRITTEN, 0, "__metadata__ is not an object"},
    {"{\"__metadata__\":{\"a\":1}}", AS_WRITTEN, 0, "__metadata__ \"a\" is not a string"},
    {"{\"__metadata__\":{\"a\":{\"b\":\"c\"}}}", AS_WRITTEN, 0, "is not a string"},
};

static void hostile_files_are_refused(void **state)
{
    (void)state;
    const char *path = temp_path(&dir, "hostile.safetensors");
    for (size_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++) {
        gen_error err = {0};
        gen_weights *w;
        const size_t n = strlen(hostile[i].header);
        const uint64_t length = hostile[i].length == AS_WRITTEN ? n : hostile[i].length;
        assert_int_equal(
            safetensors_write_raw(path, length, hostile[i].header, n, hostile[i].data_size), 0);
        EXPECT_OK(gen_weights_new(&w, &err));
        EXPECT_STATUS(GEN_ERROR_MODEL, gen_safetensors_open(w, path, &err));
        EXPECT_CONTAINS(err.message, path);
        EXPECT_CONTAINS(err.message, hostile[i].message);
        assert_int_equal(err.status, GEN_ERROR_MODEL);
        assert_int_equal(gen_safetensors_open(w, path, NULL), GEN_ERROR_MODEL);
        gen_weights_free(w);
    }
}

/* A header nested deeper than any parser's stack should follow. */
static void deep_nesting_is_refused(void **state)
{
    (void)state;
    enum { DEPTH = 100000 };
    static char text[2 * DEPTH + 8];
    gen_error err = {0};
    gen_weights *w;
    const char *path = temp_path(&dir, "deep.safetensors");
    memcpy(text, "{\"x\":", 5);
    memset(text + 5, '[', DEPTH);
    assert_int_equal(safetensors_write_raw(path, DEPTH + 5, text, DEPTH + 5, 0), 0);
    EXPECT_OK(gen_weights_new(&w, &err));
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_safetensors_open(w, path, &err));
    EXPECT_CONTAINS(err.message, "not valid JSON");
    gen_weights_free(w);
}

static void other_files_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *content, *message;
    } files[] = {
        {"", "0 bytes, too short"},
        {"1234567", "7 bytes, too short"},
        {"PK\003\004 and so on", "a PyTorch checkpoint (zip)"},
        {"GGUF and so on", "a GGUF file"},
        {"<!DOCTYPE html><html>", "a web page"},
        {"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"},
        {"\211PNG\r\n\032\n and so on", "a PNG picture"},
        {"This is a text with some words", "not a safetensors file"},
    };
    gen_error err = {0};
    gen_weights *w;
    EXPECT_OK(gen_weights_new(&w, &err));
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        assert_int_equal(temp_write(&dir, "other", files[i].content), 0);
        EXPECT_STATUS(GEN_ERROR_MODEL, gen_safetensors_open(w, temp_path(&dir, "other"), &err));
        EXPECT_CONTAINS(err.message, files[i].message);
    }
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_safetensors_open(w, temp_path(&dir, "absent"), &err));
    EXPECT_CONTAINS(err.message, "No such file");
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_safetensors_open(w, dir.path, &err));
    EXPECT_CONTAINS(err.message, "not a file");
    gen_weights_free(w);
}

/* ---- shards --------------------------------------------------------------------------------- */

static void write_shards(void)
{
    static const float data[4] = {1, 2, 3, 4};
    const safetensors_item a = {"a", GEN_F32, 1, {4}, data}, b = {"b", GEN_F32, 1, {2}, data};
    assert_int_equal(
        safetensors_write(temp_path(&dir, "m-00001-of-00002.safetensors"), &a, 1, NULL), 0);
    assert_int_equal(
        safetensors_write(temp_path(&dir, "m-00002-of-00002.safetensors"), &b, 1, NULL), 0);
}

static void shards_are_joined(void **state)
{
    (void)state;
    gen_error err = {0};
    gen_weights *w;
    write_shards();
    assert_int_equal(temp_write(&dir, "m.safetensors.index.json",
                                "{\"metadata\":{\"total_size\":24},\"weight_map\":{"
                                "\"a\":\"m-00001-of-00002.safetensors\","
                                "\"b\":\"m-00002-of-00002.safetensors\"}}"),
                     0);
    EXPECT_OK(gen_weights_new(&w, &err));
    EXPECT_OK(gen_safetensors_open_index(w, temp_path(&dir, "m.safetensors.index.json"), &err));
    assert_int_equal(gen_weights_count(w), 2);
    EXPECT_CONTAINS(gen_weights_find(w, "b")->file, "m-00002-of-00002.safetensors");
    gen_weights_free(w);
}

static void bad_indexes_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *map, *message;
    } indexes[] = {
        {"{}", "and no \"weight_map\""},
        {"{\"weight_map\":{}}", "and no \"weight_map\""},
        {"{\"weight_map\":[1]}", "and no \"weight_map\""},
        {"{\"weight_map\":{\"a\":1}}", "tensor \"a\" is given no file name"},
        {"{\"weight_map\":{\"a\":\"../m-00001-of-00002.safetensors\"}}", "not the name of a file"},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "not the name of a file"},
        {"{\"weight_map\":{\"a\":\"x\\\\y\"}}", "not the name of a file"},
        {"{\"weight_map\":{\"a\":\"..\"}}", "not the name of a file"},
        {"{\"weight_map\":{\"a\":\"\"}}", "not the name of a file"},
        {"{\"weight_map\":{\"a\":\"m-00003-of-00003.safetensors\"}}",
         "the shard m-00003-of-00003.safetensors is missing"},
        {"{\"weight_map\":{\"a\":\"m-00002-of-00002.safetensors\"}}",
         "tensor \"a\" is not in m-00002-of-00002.safetensors"},
        {"{\"weight_map\":{\"a\":\"m-00002-of-00002.safetensors\","
         "\"b\":\"m-00001-of-00002.safetensors\"}}",
         "is not in"},
        {"{\"weight_map\":{\"a\":\"i.json\"}}", "not a safetensors file"},
    };
    write_shards();
    for (size_t i = 0; i < sizeof indexes / sizeof indexes[0]; i++) {
        gen_error err = {0};
        gen_weights *w;
        assert_int_equal(temp_write(&dir, "i.json", indexes[i].map), 0);
        EXPECT_OK(gen_weights_new(&w, &err));
        EXPECT_STATUS(GEN_ERROR_MODEL,
                      gen_safetensors_open_index(w, temp_path(&dir, "i.json"), &err));
        EXPECT_CONTAINS(err.message, indexes[i].message);
        gen_weights_free(w);
    }
}

static void the_same_tensor_in_two_shards_is_refused(void **state)
{
    (void)state;
    gen_error err = {0};
    gen_weights *w;
    write_shards();
    EXPECT_OK(gen_weights_new(&w, &err));
    EXPECT_OK(gen_safetensors_open(w, temp_path(&dir, "m-00001-of-00002.safetensors"), &err));
    EXPECT_STATUS(GEN_ERROR_MODEL,
                  gen_safetensors_open(w, temp_path(&dir, "m-00001-of-00002.safetensors"), &err));
    gen_weights_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_was_written),
        cmocka_unit_test(header_may_be_padded_and_data_empty),
        cmocka_unit_test(hostile_files_are_refused),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(other_files_are_named),
        cmocka_unit_test(shards_are_joined),
        cmocka_unit_test(bad_indexes_are_refused),
        cmocka_unit_test(the_same_tensor_in_two_shards_is_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
