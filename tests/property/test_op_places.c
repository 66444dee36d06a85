/* test_op_places.c - adding an op: the places it touches, read from the sources, and the lines it
 * takes there, counted in tests/property/op_recipe.  gen/core/ops.h tells the recipe. */
#include <dirent.h>
#include <stdlib.h>

#include "gen/core/ops.h"
#include "tests/test.h"

static char *read_source(const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/../%s", GEN_TEST_SOURCE_DIR, name);
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("%s cannot be read", path);
    char *text = calloc(1, 1 << 20);
    assert_non_null(text);
    const size_t n = fread(text, 1, (1 << 20) - 1, f);
    fclose(f);
    assert_true(n > 0);
    return text;
}

/* Whether a word stands in a text, not as a part of a longer one. */
static bool has_word(const char *text, const char *word)
{
    const size_t n = strlen(word);
    for (const char *p = text; (p = strstr(p, word)); p += n) {
        const char after = p[n];
        if (!((after >= 'A' && after <= 'Z') || (after >= 'a' && after <= 'z') || after == '_' ||
              (after >= '0' && after <= '9')))
            return true;
    }
    return false;
}

/* That every op has its drivers and its plain loops is seen by the linker. */
static void every_op_is_recorded(void **state)
{
#define ROW(NAME, name, in_place) "GEN_OP_" #NAME,
    static const char *const ops[] = {GEN_OP_ROWS(ROW)};
#undef ROW
    char *text = read_source("gen/core/nn.c");
    (void)state;
    for (int i = 0; i < GEN_NUM_OPS; i++)
        if (!has_word(text, ops[i]))
            fail_msg("gen/core/nn.c does not record %s", ops[i]);
    free(text);
}

static void every_shader_is_listed_and_has_a_twin(void **state)
{
    char *list = read_source("shaders/CMakeLists.txt"), path[1024];
    int num_shaders = 0;
    (void)state;
    snprintf(path, sizeof path, "%s/../shaders", GEN_TEST_SOURCE_DIR);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));) {
        char name[300], file[400];
        const char *dot = strrchr(e->d_name, '.');
        if (!dot || strcmp(dot, ".comp") != 0)
            continue;
        snprintf(name, sizeof name, " %.*s", (int)(dot - e->d_name), e->d_name);
        snprintf(file, sizeof file, "shaders/%s", e->d_name);
        char *text = read_source(file);
        if (!has_word(list, name))
            fail_msg("%s is not in shaders/CMakeLists.txt", file);
        if (!strstr(text, "CPU twin"))
            fail_msg("%s does not say its CPU twin", file);
        free(text);
        num_shaders++;
    }
    closedir(dir);
    free(list);
    assert_true(num_shaders >= 12);
}

/* Files under `folder` that have a word, sorted by name, each with a space behind it, are added. */
static void find_files(char *out, size_t size, const char *folder, const char *word)
{
    char path[1024];
    struct dirent **entries;
    snprintf(path, sizeof path, "%s/../%s", GEN_TEST_SOURCE_DIR, folder);
    const int count = scandir(path, &entries, NULL, alphasort);
    assert_true(count > 0);
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name, *dot = strrchr(name, '.');
        char file[600];
        snprintf(file, sizeof file, "%s/%s", folder, name);
        if (entries[i]->d_type == DT_DIR && name[0] != '.') {
            find_files(out, size, file, word);
        } else if (dot && (strcmp(dot, ".c") == 0 || strcmp(dot, ".h") == 0)) {
            char *text = read_source(file);
            const size_t used = strlen(out);
            if (has_word(text, word))
                snprintf(out + used, size - used, "%s ", file);
            free(text);
        }
        free(entries[i]);
    }
    free(entries);
}

/* An op that is fused with nothing is known where the recipe says, and nowhere else. */
static void no_other_file_knows_an_op(void **state)
{
    static const struct {
        const char *word, *files;
    } places[] = {
        {"GEN_OP_ROPE", "gen/core/nn.c "},
        {"gen_cpu_rope", "gen/cpu/elementwise.c "},
        {"gen_vk_rope", "gen/vulkan/layout.c "},
        {"reference_rope", "tests/ops/reference.c "},
    };
    static const char *const folders[] = {"gen", "unet", "dit", "vae", "samplers", "tests/ops"};
    (void)state;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        char found[2048] = "";
        for (size_t k = 0; k < sizeof folders / sizeof folders[0]; k++)
            find_files(found, sizeof found, folders[k], places[i].word);
        assert_string_equal(found, places[i].files);
    }
}

/* Lines of a file that hold code. */
static int count_lines(const char *file)
{
    char *text = read_source(file), *rest;
    int count = 0;
    bool is_comment = false;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        const char *p = line + strspn(line, " ");
        is_comment = is_comment || strncmp(p, "/*", 2) == 0;
        count += *p && !is_comment && strncmp(p, "//", 2) != 0;
        is_comment = is_comment && !strstr(p, "*/");
    }
    free(text);
    return count;
}

/* The toy is all there is: a file that the list does not have would be one more place. */
static void the_places_of_the_toy_are_counted(void **state)
{
    static const struct {
        const char *file, *place;
    } places[] = {
        {"leaky.comp", "shaders/NAME.comp, and its line in shaders/CMakeLists.txt"},
        {"leaky.h", NULL}, /* the row and the enum, which the engine makes of it */
        {"leaky_cpu.c", "gen/cpu/: the driver"},
        {"leaky_graph.c", "gen/core/nn.c: shapes and node"},
        {"leaky_vulkan.c", "gen/vulkan/: the driver"},
        {"reference_leaky.c", "tests/ops/reference.c: plain loops"},
        {"tables.c", NULL}, /* three arrays and that of the tests, as the engine makes them */
        {"test_op_recipe.c", "tests/ops/: the test"},
    };
    char path[1024], file[400];
    struct dirent **entries;
    size_t num = 0;
    (void)state;
    snprintf(path, sizeof path, "%s/property/op_recipe", GEN_TEST_SOURCE_DIR);
    const int count = scandir(path, &entries, NULL, alphasort);
    assert_true(count > 0);
    print_message("An op touches (lines of code of tests/property/op_recipe):\n"
                  "     1  gen/core/ops.h: its row\n");
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        if (name[0] != '.') {
            assert_true(num < sizeof places / sizeof places[0]);
            assert_string_equal(name, places[num].file);
            snprintf(file, sizeof file, "tests/property/op_recipe/%s", name);
            if (places[num].place)
                print_message("  %4d  %s\n", count_lines(file), places[num].place);
            num++;
        }
        free(entries[i]);
    }
    free(entries);
    assert_int_equal(num, sizeof places / sizeof places[0]);
    print_message("        gen/pipeline/self_check.c: a graph with it, and its row\n");
}

/* The test itself, on words it must not take for others. */
static void parts_of_words_do_not_count(void **state)
{
    (void)state;
    assert_false(has_word("a GEN_OP_ROPES b", "GEN_OP_ROPE"));
    assert_true(has_word("a GEN_OP_ROPES GEN_OP_ROPE;", "GEN_OP_ROPE"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_op_is_recorded),
        cmocka_unit_test(no_other_file_knows_an_op),
        cmocka_unit_test(the_places_of_the_toy_are_counted),
        cmocka_unit_test(every_shader_is_listed_and_has_a_twin),
        cmocka_unit_test(parts_of_words_do_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
