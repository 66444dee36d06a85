/* test_cli_bench.c GEN MODEL [STUB] - `gen bench` on the CPU, and on a device that is wrong. */
#include <stdlib.h>

#include "tests/api/program.h"

static const char *stub;

static int count_lines(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

static void refusals(void **state)
{
    static const struct {
        const char *line, *message;
    } cases[] = {
        {"bench", "gen: bench: of what? expected ops, model or check\n"},
        {"bench opps", "gen: bench: \"opps\" is not known; did you mean ops?\n"},
        {"bench ops model", "gen: bench: unexpected \"model\"\n"},
        {"bench ops -W 64", "gen: bench ops takes no model and no size\n"},
        {"bench model --cfg 3", "gen: --cfg does not belong to `gen bench`\n"},
        {"bench ops --device gpu", "gen: device: \"gpu\" is not known"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        program_expect(2, cases[i].line);
        if (strncmp(program_errors, cases[i].message, strlen(cases[i].message)) != 0)
            fail_msg("gen %s: %s", cases[i].line, program_errors);
    }
    program_expect(4, "bench model -m none");
}

static void ops(void **state)
{
    (void)state;
    program_expect(0, "bench ops --device cpu --json");
    EXPECT_CONTAINS(program_out, "\"bench\":\"ops\",\"device\":\"cpu: ");
    EXPECT_CONTAINS(program_out, "\"commit\":\"");
    EXPECT_CONTAINS(program_out, "\"threads\":1,");
    static const char *const names[] = {"linear",   "conv2d", "attention", "group_norm", "silu",
                                        "upsample", "rope",   "permute",   "wkv"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char row[64];
        double seconds = 0;
        snprintf(row, sizeof row, "\"bench_row\",\"bench\":\"ops\",\"name\":\"%s\"", names[i]);
        const char *found = strstr(program_out, row);
        assert_non_null(found);
        found = strstr(found, "\"seconds\":");
        assert_int_equal(sscanf(found, "\"seconds\":%lf", &seconds), 1);
        EXPECT_BETWEEN(seconds, 1e-9, 100);
    }
}

static void models(void **state)
{
    (void)state;
    program_expect(0, "bench model -m MODEL --device cpu -W 32 -H 32 --steps 2");
    EXPECT_CONTAINS(program_out, "device    cpu: ");
    EXPECT_CONTAINS(program_out, "\nstep                     32x32 ");
    EXPECT_CONTAINS(program_out, "\ndecode ");
    EXPECT_CONTAINS(program_out, "\npeak memory, planned ");
    EXPECT_CONTAINS(program_out, "\npeak memory, process ");
    assert_string_equal(program_files(""), "");
}

static void checks(void **state)
{
    (void)state;
    program_expect(0, "bench check -m MODEL --device cpu -W 32 -H 32 --steps 2");
    EXPECT_CONTAINS(program_out, "\nattention, causal ");
    EXPECT_CONTAINS(program_out, "\npicture ");
    assert_null(strstr(program_out, "differs"));
    assert_true(count_lines(program_out) > 30);
}

static void wrong_devices(void **state)
{
    char variable[1024];
    (void)state;
    snprintf(variable, sizeof variable, "GEN_VULKAN_LOADER=%s", stub);
    assert_int_equal(program_run("bench check -m MODEL --device vulkan -W 32 -H 32", variable), 5);
    EXPECT_CONTAINS(program_out, "device    Stub GPU, stub\n");
    EXPECT_CONTAINS(program_out, "\nlinear                          1.0e+00");
    EXPECT_CONTAINS(program_out, "  differs\n");
    assert_null(strstr(program_out, "\npicture"));
    EXPECT_CONTAINS(program_errors, "results differ from the CPU's\n");
    assert_int_equal(program_run("bench ops --device vulkan", variable), 5);
    EXPECT_CONTAINS(program_errors, "gen: Stub GPU (stub) failed the self-check: linear differs");
    assert_null(strstr(program_errors, "checking")); /* the verdict is there already */
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(refusals, program_set_up, program_tear_down),
        cmocka_unit_test_setup_teardown(ops, program_set_up, program_tear_down),
        cmocka_unit_test_setup_teardown(models, program_set_up, program_tear_down),
        cmocka_unit_test_setup_teardown(checks, program_set_up, program_tear_down),
    };
    const struct CMUnitTest with_stub[] = {
        cmocka_unit_test_setup_teardown(wrong_devices, program_set_up, program_tear_down)};
    if (argc < 3 || program_init(argv[1], argv[2]))
        return 2;
    stub = argc > 3 ? argv[3] : NULL;
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed + (stub ? cmocka_run_group_tests(with_stub, NULL, NULL) : 0);
}
