/* test_op_places.c - adding an op: the places that every op has, read from the sources.
 *
 *   1. gen/core/graph.h: its row of gen_op; gen/core/nn.c: the function that appends it.
 *   2. gen/cpu/backend.c: the row of its kernel.
 *   3. gen/vulkan/compile.c: the row of its encoder; shaders/NAME.comp, listed in
 *      shaders/CMakeLists.txt, which says its CPU twin.
 *   4. tests/ops/reference.c: the op in plain loops.
 *   5. gen/pipeline/self_check.c: a graph with it (that it is there is tested with the check).
 * Nothing else in core, in a backend or in the pipeline knows single ops by name. */
#include <dirent.h>
#include <stdlib.h>

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

/* The ops of the enum in graph.h, one after the other; false past the last. */
static bool next_op(const char **at, char *op, size_t size)
{
    const char *p = strstr(*at, "    GEN_OP_");
    const char *end = strstr(*at, "GEN_NUM_OPS");
    if (!p || !end || p > end)
        return false;
    p += 4;
    const size_t n = strcspn(p, ",");
    snprintf(op, size, "%.*s", (int)n, p);
    *at = p + n;
    return true;
}

static void every_op_is_everywhere(void **state)
{
    static const struct {
        const char *file;
        bool is_row; /* of a table: "[OP]" */
    } places[] = {
        {"gen/core/nn.c", false},
        {"gen/cpu/backend.c", true},
        {"gen/vulkan/compile.c", true},
        {"tests/ops/reference.c", false},
    };
    char *graph = read_source("gen/core/graph.h"), missing[2048] = "";
    int num_ops = 0;
    (void)state;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        char *text = read_source(places[i].file), op[64], word[80];
        const char *at = graph;
        for (num_ops = 0; next_op(&at, op, sizeof op); num_ops++) {
            snprintf(word, sizeof word, places[i].is_row ? "[%s]" : "%s", op);
            const size_t used = strlen(missing);
            if (!has_word(text, word))
                snprintf(missing + used, sizeof missing - used, "  %s has no %s\n", places[i].file,
                         word);
        }
        free(text);
    }
    free(graph);
    assert_true(num_ops >= 18);
    if (missing[0])
        fail_msg("an op is not complete:\n%s", missing);
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

/* The recipe, counted for an op that nothing is fused with: what adding it changes, and no other
 * file of the engine knows it. */
static void an_op_is_added_at_these_places(void **state)
{
    static const struct {
        const char *word, *files;
    } places[] = {
        {"GEN_OP_ROPE", "gen/core/graph.h gen/core/nn.c gen/cpu/backend.c gen/vulkan/compile.c "},
        {"gen_cpu_rope", "gen/cpu/backend.c gen/cpu/cpu_internal.h gen/cpu/elementwise.c "},
        {"gen_vk_rope", "gen/vulkan/compile.c gen/vulkan/compile.h gen/vulkan/layout.c "},
    };
    static const char *const folders[] = {"gen", "unet", "dit", "vae", "samplers"};
    (void)state;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        char found[2048] = "";
        for (size_t k = 0; k < sizeof folders / sizeof folders[0]; k++)
            find_files(found, sizeof found, folders[k], places[i].word);
        assert_string_equal(found, places[i].files);
    }
    char *shader = read_source("shaders/rope.comp"), *list = read_source("shaders/CMakeLists.txt");
    assert_true(has_word(list, " rope"));
    free(shader);
    free(list);
}

/* The test itself, on words it must not take for others. */
static void parts_of_words_do_not_count(void **state)
{
    const char *text = "enum {\n    GEN_OP_ROPE, /* x */\n    GEN_OP_WKV,\n    GEN_NUM_OPS\n}";
    const char *at = text;
    char op[64];
    (void)state;
    assert_false(has_word("a GEN_OP_ROPES b", "GEN_OP_ROPE"));
    assert_true(has_word("a GEN_OP_ROPES GEN_OP_ROPE;", "GEN_OP_ROPE"));
    assert_true(next_op(&at, op, sizeof op));
    assert_string_equal(op, "GEN_OP_ROPE");
    assert_true(next_op(&at, op, sizeof op));
    assert_string_equal(op, "GEN_OP_WKV");
    assert_false(next_op(&at, op, sizeof op));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_op_is_everywhere),
        cmocka_unit_test(an_op_is_added_at_these_places),
        cmocka_unit_test(every_shader_is_listed_and_has_a_twin),
        cmocka_unit_test(parts_of_words_do_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
