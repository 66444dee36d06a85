/* test_shaders.c - laws of the SPIR-V modules in the program: they are valid, and ask of a device
 * no more than every device has.  Needs no device. */
#include "gen/vulkan/vulkan_internal.h"
#include "tests/ops/spirv.h"
#include "tests/temp_dir.h"
#include "tests/test.h"

static const uint32_t *code_of(const gen_vk_shader *s, bool is_half)
{
    return is_half ? s->half_code : s->code;
}

static size_t size_of(const gen_vk_shader *s, bool is_half)
{
    return is_half ? s->half_size : s->size;
}

/* Exit code of the validator for the first `size` bytes of a module. */
static int validate(temp_dir *dir, const uint32_t *code, size_t size)
{
    char command[1024];
    const char *path = temp_path(dir, "module.spv");
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(code, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
    snprintf(command, sizeof command, "'%s' --target-env vulkan1.2 '%s' > '%s' 2>&1",
             GEN_TEST_SPIRV_VAL, path, temp_path(dir, "log"));
    return system(command);
}

static void modules_are_valid(void **state)
{
    (void)state;
    temp_dir dir;
    if (GEN_TEST_SPIRV_VAL[0] == '\0') {
        print_message("skipped: no spirv-val, of the package spirv-tools\n");
        skip();
    }
    assert_int_equal(temp_dir_make(&dir), 0);
    for (const gen_vk_shader *s = gen_vk_shaders; s->name; s++)
        for (int is_half = s->code == NULL; is_half < 1 + (s->half_code != NULL); is_half++)
            if (validate(&dir, code_of(s, is_half), size_of(s, is_half)) != 0)
                fail_msg("%s.comp%s: spirv-val refuses its module", s->name,
                         is_half ? ", f16" : "");
    const gen_vk_shader *first = gen_vk_shaders;
    assert_int_not_equal(validate(&dir, first->code, first->size - 4), 0);
    temp_dir_remove(&dir);
}

static void modules_keep_to_the_limits(void **state)
{
    (void)state;
    spirv_needs needs;
    const char *why;
    for (const gen_vk_shader *s = gen_vk_shaders; s->name; s++) {
        for (int is_half = s->code == NULL; is_half < 1 + (s->half_code != NULL); is_half++) {
            if (!spirv_measure(code_of(s, is_half), size_of(s, is_half), NULL, 0, &needs, &why))
                fail_msg("%s.comp: the reader of this test does not know %s", s->name, why);
            if (gen_vk_is_matrix_shader(s->name)) /* those that ask for them have more */
                needs.needs_features = false;
            if (spirv_excess(&needs))
                fail_msg("%s.comp: %s", s->name, spirv_excess(&needs));
            /* A device without the feature takes the form for f32, which must not need it. */
            assert_int_equal(needs.needs_16bit_storage, is_half);
            if (!gen_vk_is_matrix_shader(s->name))
                assert_int_equal(needs.needs_lanes, strstr(s->name, "_lanes") != NULL);
        }
    }
}

static const gen_vk_shader *find(const char *name)
{
    const gen_vk_shader *s = gen_vk_shaders;
    while (s->name && strcmp(s->name, name) != 0)
        s++;
    assert_non_null(s->name);
    return s;
}

/* The numbers the reader finds where they are known, and an excess that it must find. */
static void reader_reads(void **state)
{
    (void)state;
    spirv_needs needs;
    const char *why;
    const gen_vk_shader *linear = find("linear");
    const uint32_t small[] = {64, 32, 32, 16, 4, 4}, huge[] = {256, 128, 128, 32, 8, 8};
    assert_true(spirv_measure(linear->code, linear->size, small, 6, &needs, &why));
    assert_int_equal(needs.invocations, 64);
    assert_int_equal(needs.shared_bytes, 2 * 16 * 33 * 4);
    assert_int_equal(needs.num_buffers, 5);
    assert_int_equal(needs.push_bytes, 16 * 4);
    assert_null(spirv_excess(&needs));
    assert_true(spirv_measure(linear->code, linear->size, huge, 6, &needs, &why));
    assert_int_equal(needs.shared_bytes, 2 * 32 * 129 * 4);
    assert_non_null(spirv_excess(&needs));
    const gen_vk_shader *norm = find("row_norm");
    assert_true(spirv_measure(norm->code, norm->size, NULL, 0, &needs, &why));
    assert_int_equal(needs.shared_bytes, 64 * 4);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(modules_are_valid),
        cmocka_unit_test(modules_keep_to_the_limits),
        cmocka_unit_test(reader_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
