/* test_trust.c STUB - who is trusted: verdicts, their files, what auto takes, and the compiled
 * shaders on disk.  The devices are those of stub.c, whose results are all zero, so they fail
 * unless a verdict says otherwise. */
#include <dlfcn.h>
#include <stdlib.h>

#include "gen/core/alloc.h"
#include "gen/core/cache_file.h"
#include "gen/pipeline/trust.h"
#include "tests/temp_dir.h"
#include "tests/test.h"
#include "tests/vulkan/stub.h"

static gen_error err;
static temp_dir dir;
static stub_set_fn *stub_set;
static char notes[4096];

static void keep_note(void *user, gen_log_level level, const char *line)
{
    (void)user;
    (void)level;
    snprintf(notes + strlen(notes), sizeof notes - strlen(notes), "%s\n", line);
}

static void keep_text(void *user, const char *line)
{
    keep_note(user, GEN_LOG_NOTE, line);
}

static const gen_context context = {.log = keep_note};

static gen_trust_request request(void)
{
    notes[0] = '\0';
    return (gen_trust_request){.context = &context,
                               .folder = dir.path,
                               .options = {.device = "", .cache_dir = dir.path, .note = keep_text}};
}

static int start(void **state)
{
    (void)state;
    stub_set("", NULL, 0, 0);
    return temp_dir_make(&dir);
}

static int end(void **state)
{
    (void)state;
    temp_dir_remove(&dir);
    return 0;
}

/* Devices as the stub has them now, and a verdict for one of them. */
static gen_vulkan_device *list(int *count)
{
    gen_vulkan_device *devices;
    EXPECT_OK(gen_vulkan_list(&devices, count, NULL, &err));
    return devices;
}

static void decide(int index, gen_verdict verdict)
{
    char key[65];
    int count;
    gen_vulkan_device *devices = list(&count);
    assert_true(index < count);
    gen_vulkan_key(&devices[index], key);
    assert_true(gen_verdict_write(&verdict, dir.path, key));
    gen_free(devices);
}

static void close_backend(gen_backend *backend)
{
    if (backend)
        backend->fns->close(backend);
}

/* ---- verdicts ------------------------------------------------------------------------------- */

static void wrong_results_are_refused(void **state)
{
    gen_backend *backend = NULL;
    gen_verdict v;
    (void)state;
    gen_trust_request r = request();
    EXPECT_STATUS(GEN_ERROR_DEVICE, gen_trust_open(&backend, &v, &r, &err));
    EXPECT_CONTAINS(err.message, "Stub GPU (stub) failed the self-check: linear differs");
    EXPECT_CONTAINS(err.hint, "gen bench check --device vulkan:0");
    EXPECT_CONTAINS(notes, "checking Stub GPU");
    assert_int_equal(v.state, GEN_VERDICT_FAILED);

    r = request(); /* the second time the file answers */
    EXPECT_STATUS(GEN_ERROR_DEVICE, gen_trust_open(&backend, &v, &r, &err));
    EXPECT_CONTAINS(err.message, "linear differs");
    assert_null(strstr(notes, "checking"));

    stub_set("discrete:Other GPU:64", NULL, 0, 0); /* another device, another verdict */
    r = request();
    EXPECT_STATUS(GEN_ERROR_DEVICE, gen_trust_open(&backend, &v, &r, &err));
    EXPECT_CONTAINS(notes, "checking Other GPU");
}

static void a_verdict_opens_the_device(void **state)
{
    gen_backend *backend = NULL;
    (void)state;
    decide(0, (gen_verdict){.state = GEN_VERDICT_PASSED});
    gen_trust_request r = request();
    EXPECT_OK(gen_trust_open(&backend, NULL, &r, &err));
    close_backend(backend);
    assert_string_equal(notes, "");
    r.checks_anew = true;
    EXPECT_STATUS(GEN_ERROR_DEVICE, gen_trust_open(&backend, NULL, &r, &err));
    r.checks_anew = false; /* and the new verdict stays */
    EXPECT_STATUS(GEN_ERROR_DEVICE, gen_trust_open(&backend, NULL, &r, &err));
}

/* A device may be fit for f32 alone. */
static void f16_has_a_verdict_of_its_own(void **state)
{
    (void)state;
    decide(0, (gen_verdict){.state = GEN_VERDICT_PASSED});
    for (int turn = 0; turn < 2; turn++) {
        gen_backend *backend = NULL;
        gen_verdict v;
        gen_trust_request r = request();
        r.options.use_f16 = true;
        EXPECT_OK(gen_trust_open(&backend, &v, &r, &err));
        assert_false(backend->stores_half);
        assert_int_equal(v.half, GEN_VERDICT_FAILED);
        EXPECT_CONTAINS(notes, "activations stay in f32: linear, f16 differs from the CPU");
        assert_int_equal(strstr(notes, "with numbers of 16 bits, once") != NULL, turn == 0);
        close_backend(backend);
    }
    decide(0, (gen_verdict){.state = GEN_VERDICT_PASSED, .half = GEN_VERDICT_PASSED});
    gen_backend *backend = NULL;
    gen_trust_request r = request();
    r.options.use_f16 = true;
    EXPECT_OK(gen_trust_open(&backend, NULL, &r, &err));
    assert_true(backend->stores_half);
    close_backend(backend);
    assert_string_equal(notes, "");
}

static void a_driver_error_is_a_verdict_and_no_memory_is_none(void **state)
{
    gen_backend *backend = NULL;
    gen_verdict v;
    (void)state;
    gen_trust_request r = request();
    stub_set("", "vkQueueSubmit:3", 0, 0);
    EXPECT_STATUS(GEN_ERROR_DEVICE, gen_trust_open(&backend, &v, &r, &err));
    EXPECT_CONTAINS(err.message, "failed the self-check");
    EXPECT_CONTAINS(err.message, "DEVICE_LOST");

    stub_set("discrete:Small:1", "vkAllocateMemory:2", 0, 0);
    r = request();
    EXPECT_STATUS(GEN_ERROR_MEMORY, gen_trust_open(&backend, &v, &r, &err));
    r = request(); /* so it is checked again */
    EXPECT_STATUS(GEN_ERROR_DEVICE, gen_trust_open(&backend, &v, &r, &err));
    EXPECT_CONTAINS(notes, "checking Small");
}

static void damaged_verdicts_are_none(void **state)
{
    static const char *const texts[] = {"",
                                        "gen-verdict 1\n",
                                        "gen-verdict 1\nstate passed\n",
                                        "gen-verdict 2\nstate passed\nend\n",
                                        "gen-verdict 1\nstate pass",
                                        "\xff\xfe\x00\x01 nonsense"};
    char key[65];
    int count;
    (void)state;
    gen_vulkan_device *devices = list(&count);
    gen_vulkan_key(&devices[0], key);
    gen_free(devices);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char path[512];
        gen_verdict v;
        snprintf(path, sizeof path, "%s/%.32s.verdict", dir.path, key);
        assert_true(gen_cache_write(path, texts[i], strlen(texts[i])));
        gen_verdict_read(&v, dir.path, key);
        assert_int_equal(v.state, GEN_VERDICT_NONE);
    }
}

static void crashes_are_remembered(void **state)
{
    gen_backend *backend = NULL;
    gen_verdict v;
    (void)state;
    enum { NOBODY = 0x3ffffff }; /* no such process */
    decide(0, (gen_verdict){.state = GEN_VERDICT_CHECKING, .attempts = 1, .process = NOBODY});
    gen_trust_request r = request();
    EXPECT_STATUS(GEN_ERROR_DEVICE, gen_trust_open(&backend, &v, &r, &err));
    EXPECT_CONTAINS(notes, "checking"); /* the first may have been stopped by its user */

    decide(0, (gen_verdict){.state = GEN_VERDICT_CHECKING, .attempts = 2, .process = NOBODY});
    r = request();
    EXPECT_STATUS(GEN_ERROR_DEVICE, gen_trust_open(&backend, &v, &r, &err));
    EXPECT_CONTAINS(err.message, "did not survive the check, 2 times");
    assert_null(strstr(notes, "checking"));
}

static void folders_that_cannot_be_written(void **state)
{
    gen_backend *backend = NULL;
    (void)state;
    for (int i = 0; i < 2; i++) {
        gen_trust_request r = request();
        r.folder = r.options.cache_dir = i ? "/proc/none" : NULL;
        EXPECT_STATUS(GEN_ERROR_DEVICE, gen_trust_open(&backend, NULL, &r, &err));
        EXPECT_CONTAINS(err.message, "linear differs");
    }
}

/* ---- auto ----------------------------------------------------------------------------------- */

/* Index of what auto takes, or -1 with the reason in `why`. */
static int choice(char *why, size_t size)
{
    gen_backend *backend;
    const gen_trust_request r = request();
    EXPECT_OK(gen_trust_open_auto(&backend, why, size, &r, &err));
    const int index = backend ? gen_vulkan_device_of(backend)->index : -1;
    close_backend(backend);
    return index;
}

static void auto_prefers_and_avoids(void **state)
{
    const gen_verdict passed = {.state = GEN_VERDICT_PASSED},
                      failed = {.state = GEN_VERDICT_FAILED, .sentence = "all wrong"};
    char why[512];
    (void)state;
    stub_set("software:Pipe:9000", NULL, 0, 0); /* never by itself, and no reason to speak */
    decide(0, passed);
    assert_int_equal(choice(why, sizeof why), -1);
    assert_string_equal(why, "");

    stub_set("software:Pipe:9000;integrated:Inside:4000;discrete:Small:1000;discrete:Large:2000",
             NULL, 0, 0);
    for (int i = 0; i < 4; i++)
        decide(i, passed);
    assert_int_equal(choice(why, sizeof why), 3);
    decide(3, failed);
    assert_int_equal(choice(why, sizeof why), 2);
    decide(2, failed);
    assert_int_equal(choice(why, sizeof why), 1);
    decide(1, (gen_verdict){.state = GEN_VERDICT_PASSED,
                            .flops_per_second = 1e9,
                            .cpu_flops_per_second = 2e9});
    assert_int_equal(choice(why, sizeof why), -1);
    EXPECT_CONTAINS(why, "Large (stub) failed the self-check: all wrong");

    stub_set("integrated:Inside:4000", NULL, 0, 0);
    decide(0, (gen_verdict){.state = GEN_VERDICT_PASSED,
                            .flops_per_second = 1e9,
                            .cpu_flops_per_second = 2e9});
    assert_int_equal(choice(why, sizeof why), -1);
    assert_string_equal(why, "Inside is slower than the CPU");

    stub_set("old:Ancient:4000", NULL, 0, 0);
    assert_int_equal(choice(why, sizeof why), -1);
    assert_string_equal(why, "Ancient cannot be used: its driver is older than Vulkan 1.2");
    stub_set("none", NULL, 0, 0);
    assert_int_equal(choice(why, sizeof why), -1);
    assert_string_equal(why, "");
}

static void auto_leaves_what_was_lost_twice(void **state)
{
    char why[512];
    gen_backend *backend = NULL;
    (void)state;
    decide(0, (gen_verdict){.state = GEN_VERDICT_PASSED});
    for (int losses = 0; losses < 2; losses++) {
        assert_int_equal(choice(why, sizeof why), 0);
        const gen_trust_request r = request();
        EXPECT_OK(gen_trust_open(&backend, NULL, &r, &err));
        gen_trust_note_loss(backend, dir.path);
        close_backend(backend);
    }
    assert_int_equal(choice(why, sizeof why), -1);
    assert_string_equal(why, "Stub GPU was lost 2 times with this driver");
}

/* ---- compiled shaders on disk ---------------------------------------------------------------- */

/* The one file of that ending; its name. */
static char *shader_file(size_t *size, char **path)
{
    char device[33] = "", build[33] = "";
    int count;
    gen_vulkan_device *devices = list(&count);
    for (int i = 0; i < 16; i++) {
        snprintf(device + 2 * i, 3, "%02x", devices[0].uuid[i]);
        snprintf(build + 2 * i, 3, "%02x", devices[0].cache_uuid[i]);
    }
    gen_free(devices);
    *path = gen_asprintf("%s/%s-%s.pipelines", dir.path, device, build);
    return gen_cache_read(*path, 1 << 20, size);
}

/* Opens and closes a device; nothing is compiled, so that nothing is written either. */
static void look_at_cache(const char *folder)
{
    gen_backend *backend;
    notes[0] = '\0';
    const gen_vulkan_options options = {.device = "", .cache_dir = folder, .note = keep_text};
    EXPECT_OK(gen_vulkan_open(&backend, &options, &err));
    close_backend(backend);
}

static void compiled_shaders_are_kept(void **state)
{
    gen_backend *backend;
    size_t size = 0;
    char *path;
    (void)state;
    gen_trust_request r = request();
    gen_trust_open(&backend, NULL, &r, &err); /* the check compiles */
    char *file = shader_file(&size, &path);
    assert_non_null(file);
    assert_true(size > 64);
    look_at_cache(dir.path);
    assert_string_equal(notes, "");

    static const struct {
        int at, length; /* byte to change, or how much is left */
        const char *note;
    } damages[] = {{-1, 10, "is damaged"},     {-1, 100, "is damaged"}, {0, 0, "is damaged"},
                   {10, 0, "another version"}, {50, 0, "is damaged"},   {72, 0, "is damaged"},
                   {120, 0, "is damaged"}};
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        char *copy = gen_malloc(size);
        memcpy(copy, file, size);
        if (damages[i].at >= 0)
            copy[damages[i].at] ^= 1;
        assert_true(
            gen_cache_write(path, copy, damages[i].at >= 0 ? size : (size_t)damages[i].length));
        look_at_cache(dir.path);
        EXPECT_CONTAINS(notes, damages[i].note);
        EXPECT_CONTAINS(notes, path);
        gen_free(copy);
    }
    /* what was damaged is replaced by the next that compiles */
    r = request();
    r.checks_anew = true;
    gen_trust_open(&backend, NULL, &r, &err);
    size_t again = 0;
    char *renewed = gen_cache_read(path, 1 << 20, &again);
    assert_int_equal(again, size);
    assert_memory_equal(renewed, file, size);
    look_at_cache("/proc/none");
    assert_string_equal(notes, "");
    gen_free(renewed);
    gen_free(file);
    gen_free(path);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(wrong_results_are_refused, start, end),
        cmocka_unit_test_setup_teardown(a_verdict_opens_the_device, start, end),
        cmocka_unit_test_setup_teardown(f16_has_a_verdict_of_its_own, start, end),
        cmocka_unit_test_setup_teardown(a_driver_error_is_a_verdict_and_no_memory_is_none, start,
                                        end),
        cmocka_unit_test_setup_teardown(damaged_verdicts_are_none, start, end),
        cmocka_unit_test_setup_teardown(crashes_are_remembered, start, end),
        cmocka_unit_test_setup_teardown(folders_that_cannot_be_written, start, end),
        cmocka_unit_test_setup_teardown(auto_prefers_and_avoids, start, end),
        cmocka_unit_test_setup_teardown(auto_leaves_what_was_lost_twice, start, end),
        cmocka_unit_test_setup_teardown(compiled_shaders_are_kept, start, end),
    };
    void *stub = argc > 1 ? dlopen(argv[1], RTLD_NOW) : NULL;
    if (!stub || setenv("GEN_VULKAN_LOADER", argv[1], 1) != 0) {
        fprintf(stderr, "no stub: %s\n", dlerror());
        return 2;
    }
    stub_set = (stub_set_fn *)(uintptr_t)dlsym(stub, "stub_set");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
