/* test_self_check.c [DEVICE] - the self-check passes where results are right and names the op where
 * they are not.  With a device: that one passes. */
#include "gen/cpu/cpu.h"
#include "gen/pipeline/self_check.h"
#include "tests/test.h"
#ifdef GEN_HAVE_VULKAN
#include "gen/pipeline/trust.h"
#include "gen/vulkan/vulkan_internal.h"
#include "tests/temp_dir.h"
#endif

static gen_error err;
static const char *device;
static gen_check_report report;

static gen_backend *open_cpu(void)
{
    gen_backend *backend;
    const gen_cpu_options options = {
        .num_threads = 1, .gemm = GEN_GEMM_OWN, .conv = GEN_CONV_EXACT};
    EXPECT_OK(gen_cpu_open(&backend, &options, &err));
    return backend;
}

static void the_cpu_passes(void **state)
{
    gen_backend *cpu = open_cpu(), *other;
    (void)state;
    EXPECT_OK(gen_cpu_open(&other, &(gen_cpu_options){.num_threads = 2}, &err));
    EXPECT_OK(gen_self_check(&report, other, cpu, &err));
    for (int i = 0; i < report.num_results; i++)
        if (!report.results[i].has_passed)
            fail_msg("%s: NMSE %g", report.results[i].op, report.results[i].nmse);
    assert_int_equal(report.num_missing, 0);
    assert_int_equal(report.first_failure, -1);
    assert_true(report.num_results >= 28);
    other->fns->close(other);
    cpu->fns->close(cpu);
}

/* ---- wrong backends -------------------------------------------------------------------------- */

static gen_backend_fns wrong, right;
static int num_downloads, wrong_download_at;
static bool only_once;

static gen_status download_wrongly(gen_backend *b, gen_plan *plan, const gen_tensor *src, void *dst,
                                   gen_error *e)
{
    const gen_status status = right.download(b, plan, src, dst, e);
    const int check = num_downloads++ / 2; /* each is run twice */
    if (check == wrong_download_at && (!only_once || num_downloads % 2))
        ((float *)dst)[gen_tensor_elements(src) / 2] += 1;
    return status;
}

static void every_wrong_op_is_named(void **state)
{
    gen_backend *cpu = open_cpu(), *bad = open_cpu();
    (void)state;
    right = wrong = *bad->fns;
    wrong.download = download_wrongly;
    bad->fns = &wrong;
    for (int i = 0; i < 28; i++) {
        char sentence[256];
        num_downloads = 0;
        wrong_download_at = i;
        only_once = i % 2;
        EXPECT_OK(gen_self_check(&report, bad, cpu, &err));
        assert_int_equal(report.first_failure, i);
        gen_check_sentence(&report.results[i], sentence, sizeof sentence);
        EXPECT_CONTAINS(sentence, report.results[i].op);
        EXPECT_CONTAINS(sentence, only_once ? "other numbers" : "differs from the CPU");
    }
    bad->fns = &right;
    bad->fns->close(bad);
    cpu->fns->close(cpu);
}

static bool supports_no_wkv(gen_backend *b, const gen_node *node)
{
    return node->op != GEN_OP_WKV && right.supports(b, node);
}

static bool seen[GEN_NUM_OPS];

static bool supports_and_sees(gen_backend *b, const gen_node *node)
{
    seen[node->op] = true;
    return right.supports(b, node);
}

static void every_op_is_checked(void **state)
{
    gen_backend *cpu = open_cpu(), *other = open_cpu();
    (void)state;
    right = wrong = *other->fns;
    wrong.supports = supports_and_sees;
    other->fns = &wrong;
    EXPECT_OK(gen_self_check(&report, other, cpu, &err));
    for (int op = 0; op < GEN_NUM_OPS; op++)
        if (!seen[op])
            fail_msg("op %d of gen_op is in no graph of the self-check", op);
    other->fns = &right;
    other->fns->close(other);
    cpu->fns->close(cpu);
}

static void missing_kernels_are_no_failures(void **state)
{
    gen_backend *cpu = open_cpu(), *bad = open_cpu();
    (void)state;
    right = wrong = *bad->fns;
    wrong.supports = supports_no_wkv;
    bad->fns = &wrong;
    EXPECT_OK(gen_self_check(&report, bad, cpu, &err));
    assert_int_equal(report.num_missing, 2);
    assert_int_equal(report.first_failure, -1);
    bad->fns = &right;
    bad->fns->close(bad);
    cpu->fns->close(cpu);
}

static void speeds_are_measured(void **state)
{
    gen_backend *cpu = open_cpu();
    double flops, bytes;
    (void)state;
    EXPECT_OK(gen_measure_speeds(&flops, &bytes, cpu, &err));
    EXPECT_BETWEEN(flops, 1e7, 1e15);
    EXPECT_BETWEEN(bytes, 1e7, 1e13);
    cpu->fns->close(cpu);
}

#ifdef GEN_HAVE_VULKAN
static void the_device_passes(void **state)
{
    gen_backend *cpu = open_cpu(), *backend;
    const gen_vulkan_options options = {.device = device, .validate = true};
    (void)state;
    EXPECT_OK(gen_vulkan_open(&backend, &options, &err));
    EXPECT_OK(gen_self_check(&report, backend, cpu, &err));
    for (int i = 0; i < report.num_results; i++)
        if (!report.results[i].has_passed && !report.results[i].is_missing)
            fail_msg("%s: NMSE %g", report.results[i].op, report.results[i].nmse);
    assert_true(report.num_results - report.num_missing >= 26);
    backend->fns->close(backend);
    cpu->fns->close(cpu);
}

/* ---- lanes ---------------------------------------------------------------------------------- */

static PFN_vkCreateShaderModule create_module;
static const gen_vk_shader *bad_shader; /* its modules are spoiled */
static bool is_refused;                 /* they are not made at all */

/* The same module, with numbers taken from the wrong lanes. */
static uint32_t *spoiled(const uint32_t *code, size_t size)
{
    enum { SHUFFLE = 345, SHUFFLE_DOWN = 348 };
    uint32_t *copy = test_malloc(size);
    memcpy(copy, code, size);
    for (size_t at = 5; at < size / 4; at += copy[at] >> 16)
        if ((copy[at] & 0xffff) == SHUFFLE_DOWN)
            copy[at] -= SHUFFLE_DOWN - SHUFFLE;
    return copy;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_spoiled(VkDevice on,
                                                     const VkShaderModuleCreateInfo *info,
                                                     const VkAllocationCallbacks *a,
                                                     VkShaderModule *out)
{
    if (info->pCode != bad_shader->code)
        return create_module(on, info, a, out);
    if (is_refused)
        return VK_ERROR_INITIALIZATION_FAILED;
    VkShaderModuleCreateInfo other = *info;
    uint32_t *code = spoiled(info->pCode, info->codeSize);
    other.pCode = code;
    const VkResult result = create_module(on, &other, a, out);
    test_free(code);
    return result;
}

static void spoil(gen_vk_api *api, void *user)
{
    (void)user;
    if (!api->CreateShaderModule || api->CreateShaderModule == create_spoiled)
        return;
    create_module = api->CreateShaderModule;
    api->CreateShaderModule = create_spoiled;
}

static const gen_vk_shader *shader_of(const char *name)
{
    const gen_vk_shader *s = gen_vk_shaders;
    while (s->name && strcmp(s->name, name) != 0)
        s++;
    assert_non_null(s->name);
    return s;
}

/* A driver whose lanes exchange wrongly, or not at all, is used without them. */
static void lanes_are_left_where_they_fail(void **state)
{
    static const char *const shaders[] = {"row_norm_lanes", "group_norm_stats_lanes",
                                          "row_norm_lanes"};
    static const char *const reasons[] = {"layer_norm", "group_norm", "row_norm_lanes"};
    const gen_context context = {0};
    (void)state;
    for (int i = 0; i < 3; i++) {
        temp_dir dir;
        assert_int_equal(temp_dir_make(&dir), 0);
        gen_trust_request r = {
            .context = &context, .folder = dir.path, .options = {.device = device, .wrap = spoil}};
        bad_shader = shader_of(shaders[i]);
        is_refused = i == 2;
        for (int turn = 0; turn < 2; turn++) { /* by the check, then by its verdict */
            gen_backend *backend;
            gen_verdict v;
            EXPECT_OK(gen_trust_open(&backend, &v, &r, &err));
            assert_false(gen_vulkan_uses_lanes(backend));
            assert_int_equal(v.lanes, GEN_VERDICT_FAILED);
            EXPECT_CONTAINS(v.lanes_sentence, reasons[i]);
            backend->fns->close(backend);
        }
        r.options.wrap = NULL;
        r.checks_anew = true;
        gen_backend *backend;
        gen_verdict v;
        EXPECT_OK(gen_trust_open(&backend, &v, &r, &err));
        assert_true(gen_vulkan_uses_lanes(backend));
        assert_int_equal(v.lanes, GEN_VERDICT_NONE);
        backend->fns->close(backend);
        temp_dir_remove(&dir);
    }
}

static int check_device(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_device_passes),
                                       cmocka_unit_test(lanes_are_left_where_they_fail)};
    gen_backend *backend;
    const gen_vulkan_options options = {.device = device, .validate = true};
    const gen_status status = gen_vulkan_open(&backend, &options, &err);
    if (status) {
        fprintf(stderr, "skipped: %s\n", err.message);
        return 77;
    }
    backend->fns->close(backend);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#endif

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cpu_passes),      cmocka_unit_test(every_wrong_op_is_named),
        cmocka_unit_test(every_op_is_checked), cmocka_unit_test(missing_kernels_are_no_failures),
        cmocka_unit_test(speeds_are_measured),
    };
    device = argc > 1 ? argv[1] : NULL;
#ifdef GEN_HAVE_VULKAN
    if (device)
        return check_device();
#endif
    return cmocka_run_group_tests(tests, NULL, NULL);
}
