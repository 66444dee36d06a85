/* test_includes.c - the dependencies between the folders, read from the #include lines.
 *
 * cli -> libgen = pipeline -> { unet, dit, vae, text, io, plot, samplers, cpu, vulkan } -> core */
#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "tests/test.h"

enum { MAX_ALLOWED = 24 };

/* A quoted include of a file in `folder` must begin with one of `allowed`; system headers that not
 * everybody may use are in `special` below.  The longest folder that fits a file counts. */
typedef struct rule {
    const char *folder;
    const char *allowed[MAX_ALLOWED];
} rule;

static const rule rules[] = {
    {"gen/", {"gen/gen.h"}},
    {"gen/core/", {"gen/core/", "gen/gen.h"}},
    {"gen/cpu/", {"gen/cpu/", "gen/core/"}},
    {"gen/cpu/kernels/", {"gen/cpu/kernels/", "gen/core/dtype.h", "gen/core/graph.h"}},
    {"gen/vulkan/", {"gen/vulkan/", "gen/core/"}},
    {"gen/text/", {"gen/text/", "gen/core/"}},
    {"gen/io/", {"gen/io/", "gen/core/", "gen/gen.h"}},
    {"gen/plot/", {"gen/plot/", "gen/core/", "gen/io/io.h", "gen/gen.h"}},
    {"gen/pipeline/",
     {"gen/pipeline/", "gen/core/", "gen/gen.h", "gen/cpu/cpu.h", "gen/vulkan/vulkan.h",
      "gen/text/", "gen/io/", "gen/plot/", "samplers/", "unet/unet.h", "dit/", "vae/vae.h",
      "vae/codec.h"}},
    {"gen/cli/", {"gen/cli/", "gen/gen.h"}},
    {"unet/", {"unet/", "gen/core/"}},
    {"dit/", {"dit/", "gen/core/"}},
    {"vae/", {"vae/", "gen/core/"}},
    {"samplers/",
     {"samplers/", "gen/core/status.h", "gen/core/alloc.h", "gen/core/rng.h", "gen/core/dtype.h",
      "gen/gen.h"}},
};
enum { NUM_RULES = sizeof rules / sizeof rules[0] };

/* System headers that belong to one folder. */
static const struct {
    const char *header, *folder;
} special[] = {
    {"immintrin.h", "gen/cpu/kernels/"},
    {"cblas.h", "gen/cpu/"},
    {"png.h", "gen/io/"},
    {"jpeglib.h", "gen/io/"},
    {"utf8proc.h", "gen/text/"},
    {"cairo", "gen/plot/"},
    {"vulkan/", "gen/vulkan/"},
};

typedef struct scan {
    int num_files, num_includes, num_wrong;
    char wrong[4096];
} scan;

static void complain(scan *s, const char *file, const char *what, const char *header)
{
    const size_t used = strlen(s->wrong);
    snprintf(s->wrong + used, sizeof s->wrong - used, "  %s: %s %s\n", file, what, header);
    s->num_wrong++;
}

static const rule *rule_of(const char *file)
{
    const rule *best = NULL;
    for (int i = 0; i < NUM_RULES; i++)
        if (strncmp(file, rules[i].folder, strlen(rules[i].folder)) == 0 &&
            (!best || strlen(rules[i].folder) > strlen(best->folder)))
            best = &rules[i];
    return best;
}

static bool is_allowed(const rule *r, const char *header)
{
    for (int i = 0; i < MAX_ALLOWED && r->allowed[i]; i++)
        if (strncmp(header, r->allowed[i], strlen(r->allowed[i])) == 0)
            return true;
    return false;
}

static void check_quoted(scan *s, const char *file, const char *header)
{
    char path[1024];
    struct stat st;
    snprintf(path, sizeof path, "%s/../%s", GEN_TEST_SOURCE_DIR, header);
    if (stat(path, &st) != 0)
        complain(s, file, "is not a path from the top folder:", header);
    else if (!is_allowed(rule_of(file), header))
        complain(s, file, "may not include", header);
}

static void check_system(scan *s, const char *file, const char *header)
{
    for (size_t i = 0; i < sizeof special / sizeof special[0]; i++)
        if (strncmp(header, special[i].header, strlen(special[i].header)) == 0 &&
            strncmp(file, special[i].folder, strlen(special[i].folder)) != 0)
            complain(s, file, "may not include", header);
}

/* The file's own header, where it has one, is the first it includes, so that headers stand alone.
 */
static void check_first(scan *s, const char *file, const char *first)
{
    char own[512], path[1024];
    struct stat st;
    const size_t length = strlen(file);
    if (strcmp(file + length - 2, ".c") != 0)
        return;
    snprintf(own, sizeof own, "%.*s.h", (int)length - 2, file);
    snprintf(path, sizeof path, "%s/../%s", GEN_TEST_SOURCE_DIR, own);
    if (stat(path, &st) == 0 && strcmp(own, first) != 0)
        complain(s, file, "does not include first", own);
}

static void check_file(scan *s, const char *file)
{
    char path[1024], line[1024], first[256] = "";
    snprintf(path, sizeof path, "%s/../%s", GEN_TEST_SOURCE_DIR, file);
    FILE *f = fopen(path, "r");
    if (!f)
        fail_msg("%s cannot be read", path);
    s->num_files++;
    while (fgets(line, sizeof line, f)) {
        char open, header[256];
        if (sscanf(line, " # include %c%255[^\">]", &open, header) != 2)
            continue;
        s->num_includes++;
        if (!first[0])
            snprintf(first, sizeof first, "%s", header);
        if (open == '"')
            check_quoted(s, file, header);
        else
            check_system(s, file, header);
    }
    fclose(f);
    check_first(s, file, first);
}

/* All .c and .h files below `folder` ("gen/", "unet/" ...). */
static void check_folder(scan *s, const char *folder)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/../%s", GEN_TEST_SOURCE_DIR, folder);
    DIR *dir = opendir(path);
    if (!dir)
        return; /* not every folder exists yet */
    for (struct dirent *e; (e = readdir(dir));) {
        char file[512];
        struct stat st;
        const int size = (int)sizeof file - 1; /* room for a slash */
        if (e->d_name[0] == '.' || snprintf(file, (size_t)size, "%s%s", folder, e->d_name) >= size)
            continue;
        snprintf(path, sizeof path, "%s/../%s", GEN_TEST_SOURCE_DIR, file);
        const size_t length = strlen(file);
        if (stat(path, &st) != 0)
            continue;
        if (S_ISDIR(st.st_mode)) {
            strcat(file, "/");
            check_folder(s, file);
        } else if (length > 2 &&
                   (!strcmp(file + length - 2, ".c") || !strcmp(file + length - 2, ".h"))) {
            check_file(s, file);
        }
    }
    closedir(dir);
}

static void folders_depend_one_way(void **state)
{
    static const char *const tops[] = {"gen/", "unet/", "dit/", "vae/", "samplers/"};
    static scan s;
    (void)state;
    for (size_t i = 0; i < sizeof tops / sizeof tops[0]; i++)
        check_folder(&s, tops[i]);
    assert_true(s.num_files > 30);
    assert_true(s.num_includes > 100);
    if (s.num_wrong)
        fail_msg("%d includes break the rule of the folders:\n%s", s.num_wrong, s.wrong);
}

/* The rule itself, on lines that break it. */
static void broken_rules_are_seen(void **state)
{
    (void)state;
    static const struct {
        const char *file, *header;
    } wrong[] = {
        {"unet/unet.c", "vae/vae.h"},
        {"unet/unet.c", "gen/cpu/cpu.h"},
        {"samplers/solver.c", "gen/core/nn.h"},
        {"gen/core/plan.c", "gen/cpu/cpu.h"},
        {"gen/cli/main.c", "gen/core/alloc.h"},
        {"gen/pipeline/api.c", "gen/cli/cli.h"},
        {"unet/unet.c", "gen/vulkan/vulkan.h"},
        {"gen/core/plan.c", "gen/vulkan/vulkan.h"},
        {"vae/vae.c", "gen/vulkan/vulkan.h"},
        {"gen/text/prompt.c", "gen/vulkan/vulkan.h"},
        {"dit/rwkv.c", "gen/vulkan/vulkan.h"},
        {"gen/cli/cmd_image.c", "gen/vulkan/vulkan.h"},
        {"gen/vulkan/run.c", "unet/unet.h"},
        {"gen/pipeline/model.c", "gen/vulkan/compile.h"},
        {"samplers/solver.c", "gen/vulkan/vulkan.h"},
        {"gen/cpu/linear.c", "unet/unet.h"},
        {"gen/text/prompt.c", "gen/io/io.h"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(is_allowed(rule_of(wrong[i].file), wrong[i].header));
    assert_true(is_allowed(rule_of("unet/unet.c"), "gen/core/nn.h"));
    scan s = {0};
    check_system(&s, "gen/core/plan.c", "immintrin.h");
    check_quoted(&s, "unet/unet.c", "unet/no_such.h");
    check_first(&s, "gen/core/plan.c", "gen/core/graph.h");
    assert_int_equal(s.num_wrong, 3);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(folders_depend_one_way),
        cmocka_unit_test(broken_rules_are_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
