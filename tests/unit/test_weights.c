/* Sets of tensors, the number types, and the search for infinities. */
#include "gen/core/alloc.h"
#include "gen/core/weights.h"
#include "tests/test.h"

static gen_weights *new_set(void)
{
    gen_error err = {0};
    gen_weights *w;
    EXPECT_OK(gen_weights_new(&w, &err));
    return w;
}

static void many_names_are_found_in_order(void **state)
{
    (void)state;
    enum { N = 5000 };
    gen_error err = {0};
    gen_weights *w = new_set();
    const gen_weight *first = NULL;
    for (int i = 0; i < N; i++) {
        char name[32];
        const int64_t dims[2] = {i, 2};
        snprintf(name, sizeof name, "block.%d.weight", i);
        EXPECT_OK(gen_weights_add(w, name, "f", name, GEN_F32, 2, dims, NULL, 0, false, &err));
        if (i == 0)
            first = gen_weights_at(w, 0);
    }
    assert_int_equal(gen_weights_count(w), N);
    assert_ptr_equal(gen_weights_at(w, 0), first); /* pointers stay valid as the set grows */
    for (int i = 0; i < N; i++) {
        char name[32];
        snprintf(name, sizeof name, "block.%d.weight", i);
        const gen_weight *t = gen_weights_find(w, name);
        assert_non_null(t);
        assert_ptr_equal(t, gen_weights_at(w, (size_t)i));
        assert_int_equal(t->dims[0], i);
    }
    assert_null(gen_weights_find(w, "block.5000.weight"));
    assert_null(gen_weights_find(w, ""));
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_weights_add(w, "block.7.weight", "g", "x.y", GEN_F32, 0,
                                                   NULL, NULL, 0, false, &err));
    EXPECT_CONTAINS(err.message, "g: tensor \"x.y\" is also in f");
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_weights_add(w, "block.7.weight", "f", "x.y", GEN_F32, 0,
                                                   NULL, NULL, 0, false, &err));
    EXPECT_CONTAINS(err.message, "\"block.7.weight\" and \"x.y\"");
    gen_weights_free(w);
    gen_weights_free(NULL);
}

/* Data the set owns is freed with it, and also when adding fails (the leak checker sees it). */
static void owned_data_is_freed(void **state)
{
    (void)state;
    gen_error err = {0};
    gen_weights *w = new_set();
    const int64_t dims[1] = {4};
    EXPECT_OK(gen_weights_add(w, "a", "f", "a", GEN_U8, 1, dims, gen_malloc(4), 4, true, &err));
    EXPECT_STATUS(GEN_ERROR_MODEL,
                  gen_weights_add(w, "a", "f", "a", GEN_U8, 1, dims, gen_malloc(4), 4, true, &err));
    gen_weights_free(w);
}

static int freed;

static void free_form(gen_prepared *self)
{
    (void)self;
    freed++;
}

static void count_unmap(void *handle)
{
    ++*(int *)handle;
}

static void prepared_forms_have_owners(void **state)
{
    (void)state;
    gen_error err = {0};
    gen_weights *w = new_set();
    int owner_a, owner_b, unmapped = 0;
    EXPECT_OK(gen_weights_add(w, "a", "f", "a", GEN_F32, 0, NULL, NULL, 0, false, &err));
    EXPECT_OK(gen_weights_own(w, &unmapped, count_unmap, &err));
    gen_weight *t = gen_weights_find(w, "a");
    freed = 0;
    for (uint64_t layout = 1; layout <= 4; layout++) {
        gen_prepared *form = gen_calloc(1, sizeof *form);
        assert_non_null(form);
        form->owner = layout % 2 ? (void *)&owner_a : (void *)&owner_b;
        form->layout = layout;
        form->free = free_form;
        gen_weight_add_prepared(t, form);
    }
    assert_int_equal(gen_weight_prepared(t, &owner_a, 3)->layout, 3);
    assert_null(gen_weight_prepared(t, &owner_a, 2));
    gen_weights_drop_prepared(w, &owner_a);
    assert_int_equal(freed, 2);
    assert_null(gen_weight_prepared(t, &owner_a, 3));
    assert_non_null(gen_weight_prepared(t, &owner_b, 2));
    gen_weights_free(w);
    assert_int_equal(freed, 4);
    assert_int_equal(unmapped, 1);
}

/* Every position of every float type, one bad number among good ones that come close. */
static void infinities_are_found(void **state)
{
    (void)state;
    static const struct {
        gen_dtype dtype;
        uint64_t bad, largest;
        const char *word;
    } kinds[] = {
        {GEN_F32, 0x7f800000, 0xff7fffff, "infinite"},
        {GEN_F32, 0xffc00001, 0x7f7fffff, "not a number"},
        {GEN_F16, 0xfc00, 0x7bff, "infinite"},
        {GEN_F16, 0x7c01, 0xfbff, "not a number"},
        {GEN_BF16, 0x7f80, 0xff7f, "infinite"},
        {GEN_F64, 0x7ff0000000000000, 0x7fefffffffffffff, "infinite"},
        {GEN_F8_E4M3, 0xff, 0x7e, "not a number"},
        {GEN_F8_E5M2, 0x7c, 0xfb, "infinite"},
    };
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        const size_t size = gen_dtype_size(kinds[k].dtype);
        for (size_t bad = 0; bad <= 11; bad++) { /* 11: none is bad */
            unsigned char data[11 * 8 + 1];
            gen_error err = {0};
            gen_weights *w = new_set();
            const int64_t dims[1] = {11};
            for (size_t i = 0; i < 11; i++)
                memcpy(data + 1 + i * size, i == bad ? &kinds[k].bad : &kinds[k].largest, size);
            EXPECT_OK(gen_weights_add(w, "a", "f", "b", kinds[k].dtype, 1, dims, data + 1,
                                      11 * size, false, &err));
            gen_weight *t = gen_weights_find(w, "a");
            if (bad == 11) {
                EXPECT_OK(gen_weight_check_finite(t, &err));
                assert_true(t->is_checked);
            } else {
                char expected[64];
                snprintf(expected, sizeof expected, "f: tensor \"b\" is %s at element %zu",
                         kinds[k].word, bad);
                EXPECT_STATUS(GEN_ERROR_MODEL, gen_weight_check_finite(t, &err));
                assert_string_equal(err.message, expected);
            }
            gen_weights_free(w);
        }
    }
}

static void a_bad_number_far_inside_is_found(void **state)
{
    (void)state;
    enum { N = 100003, BAD = 70001 };
    static uint16_t data[N];
    gen_error err = {0};
    gen_weights *w = new_set();
    const int64_t dims[1] = {N};
    data[BAD] = 0x7c00;
    EXPECT_OK(gen_weights_add(w, "a", "f", "a", GEN_F16, 1, dims, data, sizeof data, false, &err));
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_weight_check_finite(gen_weights_at(w, 0), &err));
    EXPECT_CONTAINS(err.message, "element 70001");
    gen_weights_free(w);
}

/* Memory that is not a file keeps its content. */
static void dropping_pages_spares_memory(void **state)
{
    (void)state;
    gen_error err = {0};
    gen_weights *w = new_set();
    const int64_t dims[1] = {1 << 16};
    char *data = gen_malloc(1 << 16);
    assert_non_null(data);
    memset(data, 7, 1 << 16);
    EXPECT_OK(gen_weights_add(w, "a", "f", "a", GEN_U8, 1, dims, data, 1 << 16, true, &err));
    gen_weight_drop_pages(gen_weights_at(w, 0));
    assert_int_equal(data[1 << 15], 7);
    gen_weights_free(w);
}

static void halves_convert_both_ways(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        const float f = gen_f16_to_f32((uint16_t)h), b = gen_bf16_to_f32((uint16_t)h);
        if (f == f)
            assert_int_equal(gen_f32_to_f16(f), h);
        else
            assert_true((gen_f32_to_f16(f) & 0x7fff) > 0x7c00);
        if (b == b)
            assert_int_equal(gen_f32_to_bf16(b), h);
        else
            assert_true((gen_f32_to_bf16(b) & 0x7fff) > 0x7f80);
    }
    /* ties go to the even neighbour; values between two halves to the nearer */
    for (uint32_t h = 0; h < 0x7bff; h++) {
        const float low = gen_f16_to_f32((uint16_t)h), high = gen_f16_to_f32((uint16_t)(h + 1));
        const float middle = low + (high - low) / 2;
        assert_int_equal(gen_f32_to_f16(middle), h + (h & 1));
        assert_int_equal(gen_f32_to_f16(nextafterf(middle, 0)), h);
        assert_int_equal(gen_f32_to_f16(nextafterf(middle, INFINITY)), h + 1);
    }
    assert_int_equal(gen_f32_to_f16(65519.996f), 0x7bff);
    assert_int_equal(gen_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(gen_f32_to_f16(-1e30f), 0xfc00);
    assert_int_equal(gen_f32_to_bf16(1.00390625f), 0x3f80); /* tie, to even */
    assert_int_equal(gen_f32_to_bf16(1.01171875f), 0x3f82);
}

static void all_types_widen(void **state)
{
    (void)state;
    static const struct {
        gen_dtype dtype;
        const char *name;
        uint64_t bits;
        float value;
    } kinds[] = {
        {GEN_F32, "F32", 0xc0200000, -2.5f},
        {GEN_F16, "F16", 0xc100, -2.5f},
        {GEN_BF16, "BF16", 0xc020, -2.5f},
        {GEN_F64, "F64", 0xc004000000000000, -2.5f},
        {GEN_I64, "I64", (uint64_t)-3, -3},
        {GEN_I32, "I32", (uint32_t)-3, -3},
        {GEN_I16, "I16", (uint16_t)-3, -3},
        {GEN_I8, "I8", (uint8_t)-3, -3},
        {GEN_U8, "U8", 253, 253},
        {GEN_U16, "U16", 65533, 65533},
        {GEN_U32, "U32", 0x80000000, 2147483648.0f},
        {GEN_U64, "U64", 0x8000000000000000, 9223372036854775808.0f},
        {GEN_BOOL, "BOOL", 1, 1},
        {GEN_F8_E5M2, "F8_E5M2", 0xc1, -2.5f},
        {GEN_F8_E4M3, "F8_E4M3", 0xc2, -2.5f},
        {GEN_F8_E4M3, "F8_E4M3", 0x7e, 448},
        {GEN_F8_E4M3, "F8_E4M3", 0x01, 0x1p-9f},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        float value;
        gen_dtype dtype;
        gen_to_f32(&value, &kinds[i].bits, kinds[i].dtype, 1);
        assert_true(value == kinds[i].value);
        assert_string_equal(gen_dtype_name(kinds[i].dtype), kinds[i].name);
        assert_true(gen_dtype_from_name(kinds[i].name, &dtype) && dtype == kinds[i].dtype);
    }
    gen_dtype dtype;
    assert_false(gen_dtype_from_name("f32", &dtype));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_names_are_found_in_order),
        cmocka_unit_test(owned_data_is_freed),
        cmocka_unit_test(prepared_forms_have_owners),
        cmocka_unit_test(infinities_are_found),
        cmocka_unit_test(a_bad_number_far_inside_is_found),
        cmocka_unit_test(dropping_pages_spares_memory),
        cmocka_unit_test(halves_convert_both_ways),
        cmocka_unit_test(all_types_widen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
