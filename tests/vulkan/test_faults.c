/* test_faults.c STUB [REAL] - a small run of the Vulkan backend in which one call fails: a status
 * DEVICE or MEMORY with a sentence, nothing lost, no crash.
 *
 * On the stub alone every call fails in turn; with a real loader and a software driver behind it,
 * the first call of each function, and the last. */
#include <dlfcn.h>
#include <stdlib.h>

#include "gen/core/nn.h"
#include "gen/core/plan.h"
#include "gen/vulkan/vulkan.h"
#include "tests/temp_dir.h"
#include "tests/test.h"
#include "tests/vulkan/stub.h"

static gen_error err;
static temp_dir dir;
static gen_weights *weights;
static stub_set_fn *stub_set;
static stub_count_fn *stub_calls, *stub_failed;
static stub_live_fn *stub_live;
static bool is_real;

enum { ROWS = 5, WIDTH = 64, SIZE = ROWS * WIDTH };
static float x[SIZE], y[SIZE], expected[SIZE];

static gen_status add_square(gen_error *e)
{
    float *w = gen_malloc(WIDTH * WIDTH * sizeof *w);
    for (int i = 0; i < WIDTH * WIDTH; i++)
        w[i] = (float)(i % 7 - 3) / 16;
    return gen_weights_add(weights, "fc.weight", "", "", GEN_F32, 2, (int64_t[]){WIDTH, WIDTH}, w,
                           WIDTH * WIDTH * sizeof *w, true, e);
}

static gen_status run_plan(gen_backend *backend, gen_error *e)
{
    gen_graph *g;
    gen_plan *plan;
    GEN_TRY(gen_graph_new(&g, e));
    gen_tensor *t = gen_input(g, "x", GEN_F32, GEN_DIMS(1, ROWS, WIDTH));
    t = gen_silu(g, gen_project(g, gen_sub(gen_scope_root(weights), "fc"), t));
    t = gen_group_norm(g, GEN_NO_AFFINE, t, 8, 1e-5f);
    gen_output(g, gen_layer_norm(g, GEN_NO_AFFINE, gen_affine(g, t, 2, 1), 1e-5f), "y");
    GEN_TRY(gen_plan_new(&plan, g, backend, 0, e));
    gen_status status = GEN_OK;
    for (int i = 0; i < 2 && !status; i++) {
        status = gen_plan_set(plan, "x", x, e);
        if (!status)
            status = gen_plan_run(plan, e);
    }
    if (!status)
        status = gen_plan_get_output(plan, "y", y, e);
    gen_plan_free(plan);
    return status;
}

static gen_status small_run(gen_error *e)
{
    gen_vulkan_device *devices = NULL;
    int count;
    gen_backend *backend;
    const gen_vulkan_options options = {.device = is_real ? "llvmpipe" : "",
                                        .cache_dir = dir.path,
                                        .max_slice_nodes = 1,
                                        .always_stages = true,
                                        .patience = 20.0};
    GEN_TRY(gen_vulkan_list(&devices, &count, &options, e));
    gen_free(devices);
    GEN_TRY(gen_vulkan_open(&backend, &options, e));
    const gen_status status = run_plan(backend, e);
    gen_weights_drop_prepared(weights, backend);
    backend->fns->close(backend);
    return status;
}

static void expect_fault(const char *what, gen_status status)
{
    if (status != GEN_OK &&
        ((status != GEN_ERROR_MEMORY && status != GEN_ERROR_DEVICE) || !err.message[0]))
        fail_msg("%s: status %d: %s", what, (int)status, err.message);
    if (stub_live() != 0)
        fail_msg("%s: %ld objects are left", what, stub_live());
}

static void every_call_fails(void **state)
{
    long n = 0, reported = 0;
    (void)state;
    for (;;) {
        char at[32];
        snprintf(at, sizeof at, "%ld", ++n);
        stub_set("", at, 0, 0);
        const gen_status status = small_run(&err);
        expect_fault(at, status);
        if (!stub_failed())
            break;
        reported += status != GEN_OK;
    }
    print_message("%ld of %ld failures are reported\n", reported, n - 1);
    assert_true(n > 100);
    assert_true(reported > n - 20); /* the cache of shaders can be done without */
}

/* Also with results that are no failure of memory, and that stay. */
static void devices_are_lost_for_ever(void **state)
{
    static const struct {
        const char *fail;
        int result;
        const char *message;
    } cases[] = {
        {"vkQueueSubmit:2", -4, "DEVICE_LOST"},
        {"vkWaitSemaphores:2", -4, "DEVICE_LOST"},
        {"vkQueueSubmit:1", -13, "answers -13"},
        {"vkCreateComputePipelines:2", -3, "INITIALIZATION_FAILED"},
        {"vkAllocateMemory:3", -10, "TOO_MANY_OBJECTS"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        stub_set("", cases[i].fail, cases[i].result, 1);
        EXPECT_STATUS(GEN_ERROR_DEVICE, small_run(&err));
        EXPECT_CONTAINS(err.message, cases[i].message);
        expect_fault(cases[i].fail, GEN_ERROR_DEVICE);
    }
}

static void work_that_never_ends(void **state)
{
    gen_backend *backend;
    const gen_vulkan_options options = {.device = "", .patience = 0.1};
    (void)state;
    stub_set("", "vkWaitSemaphores:1", 2, 1); /* TIMEOUT */
    EXPECT_OK(gen_vulkan_open(&backend, &options, &err));
    EXPECT_STATUS(GEN_ERROR_DEVICE, run_plan(backend, &err));
    EXPECT_CONTAINS(err.message, "Stub GPU does not answer");
    gen_weights_drop_prepared(weights, backend);
    const long before = stub_live(); /* it may still be at work: nothing is taken from it */
    backend->fns->close(backend);
    assert_int_equal(stub_live(), before);
    assert_true(before > 10);
}

/* The driver's word on memory binds a plan, but not beyond what there is. */
static void the_budget_binds(void **state)
{
    static const struct {
        const char *device;
        int mib; /* what a program may use */
        bool fits;
    } cases[] = {
        {"discrete:Plain:1000", 800, true},  {"discrete:Busy:1000:100", 100, true},
        {"discrete:Full:1000:3", 3, false},  {"integrated:Shared:1000", 500, true},
        {"discrete:Lies:10:4000", 10, true},
    };
    enum { LENGTH = 1 << 20 }; /* numbers: 4 MiB */
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gen_backend *backend;
        gen_graph *g;
        gen_plan *plan = NULL;
        const gen_vulkan_options options = {.device = ""};
        stub_set(cases[i].device, NULL, 0, 0);
        EXPECT_OK(gen_vulkan_open(&backend, &options, &err));
        assert_int_equal(gen_vulkan_device_of(backend)->budget, (long)cases[i].mib << 20);
        EXPECT_OK(gen_graph_new(&g, &err));
        gen_tensor *t = gen_input(g, "x", GEN_F32, GEN_DIMS(1, LENGTH));
        gen_output(g, gen_affine(g, gen_silu(g, t), 2, 1), "y");
        const gen_status status = gen_plan_new(&plan, g, backend, 0, &err);
        assert_int_equal(status, cases[i].fits ? GEN_OK : GEN_ERROR_MEMORY);
        if (!cases[i].fits)
            EXPECT_CONTAINS(err.message, "the limit is 3 MiB");
        gen_plan_free(plan);
        backend->fns->close(backend);
    }
}

/* ---- in front of a real driver --------------------------------------------------------------- */

static const char *const functions[] = {"vkCreateInstance",
                                        "vkEnumerateInstanceExtensionProperties",
                                        "vkEnumeratePhysicalDevices",
                                        "vkCreateDevice",
                                        "vkQueueSubmit",
                                        "vkCreateSemaphore",
                                        "vkWaitSemaphores",
                                        "vkAllocateMemory",
                                        "vkMapMemory",
                                        "vkCreateBuffer",
                                        "vkBindBufferMemory",
                                        "vkCreateShaderModule",
                                        "vkCreatePipelineCache",
                                        "vkCreateComputePipelines",
                                        "vkCreatePipelineLayout",
                                        "vkCreateDescriptorSetLayout",
                                        "vkCreateDescriptorPool",
                                        "vkAllocateDescriptorSets",
                                        "vkCreateCommandPool",
                                        "vkAllocateCommandBuffers",
                                        "vkBeginCommandBuffer",
                                        "vkEndCommandBuffer"};

static void one_call_of_each_function(void **state)
{
    (void)state;
    stub_set("", NULL, 0, 0);
    EXPECT_OK(small_run(&err));
    memcpy(expected, y, sizeof y);
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        char at[64];
        snprintf(at, sizeof at, "%s:%d", functions[i], i % 3 ? 1 : 2);
        stub_set("", at, 0, 0);
        gen_status status = small_run(&err);
        if (!stub_failed()) { /* called once only */
            snprintf(at, sizeof at, "%s:1", functions[i]);
            stub_set("", at, 0, 0);
            status = small_run(&err);
        }
        if (!stub_failed())
            fail_msg("%s is never called", functions[i]);
        if (status != GEN_ERROR_DEVICE && status != GEN_ERROR_MEMORY)
            fail_msg("%s: status %d: %s", at, (int)status, err.message);
    }
    memset(y, 0, sizeof y); /* and nothing of it stays */
    stub_set("", NULL, 0, 0);
    EXPECT_OK(small_run(&err));
    assert_memory_equal(y, expected, sizeof y);
}

static int start(void **state)
{
    (void)state;
    for (int i = 0; i < SIZE; i++)
        x[i] = (float)(i % 11) - 5;
    return temp_dir_make(&dir) || gen_weights_new(&weights, &err) || add_square(&err) ? -1 : 0;
}

static int end(void **state)
{
    (void)state;
    gen_weights_free(weights);
    temp_dir_remove(&dir);
    return 0;
}

/* Is there a software driver behind the real loader? */
static bool has_driver(void)
{
    gen_backend *backend;
    const gen_vulkan_options options = {.device = "llvmpipe"};
    stub_set("", NULL, 0, 0);
    if (gen_vulkan_open(&backend, &options, &err))
        return false;
    backend->fns->close(backend);
    return true;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest alone[] = {
        cmocka_unit_test(every_call_fails),
        cmocka_unit_test(devices_are_lost_for_ever),
        cmocka_unit_test(work_that_never_ends),
        cmocka_unit_test(the_budget_binds),
    };
    const struct CMUnitTest in_front[] = {cmocka_unit_test(one_call_of_each_function)};
    is_real = argc > 2;
    if (argc < 2 || (is_real && setenv("GEN_STUB_REAL", argv[2], 1) != 0) ||
        setenv("GEN_VULKAN_LOADER", argv[1], 1) != 0)
        return 2;
    void *stub = dlopen(argv[1], RTLD_NOW);
    if (!stub) {
        fprintf(stderr, "no stub: %s\n", dlerror());
        return 2;
    }
    stub_set = (stub_set_fn *)(uintptr_t)dlsym(stub, "stub_set");
    stub_calls = (stub_count_fn *)(uintptr_t)dlsym(stub, "stub_calls");
    stub_failed = (stub_count_fn *)(uintptr_t)dlsym(stub, "stub_failed");
    stub_live = (stub_live_fn *)(uintptr_t)dlsym(stub, "stub_live");
    if (!is_real)
        return cmocka_run_group_tests(alone, start, end);
    if (!has_driver()) {
        fprintf(stderr, "skipped: %s\n", err.message);
        return 77;
    }
    return cmocka_run_group_tests(in_front, start, end);
}
