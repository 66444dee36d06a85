/* test_cli_devices.c GEN MODEL [STUB] - `gen devices` and --device, on machines of every kind: the
 * loader is missing, or it is tests/vulkan/stub.c with the devices that a test wants.  Without STUB
 * the program is one without Vulkan. */
#include <stdlib.h>
#include <unistd.h>

#include "tests/api/program.h"

static const char *stub;

/* Runs the program in front of the stub with these variables. */
static int run_with(const char *line, const char *variables)
{
    char all[1024];
    snprintf(all, sizeof all, "GEN_VULKAN_LOADER=%s\n%s", stub, variables);
    return program_run(line, all);
}

static void expect_refusal(int code, int expected, const char *message)
{
    if (code != expected || strstr(program_errors, message) != program_errors)
        fail_msg("exit %d: %s", code, program_errors);
    assert_string_equal(program_out, "");
}

static void always(void **state)
{
    (void)state;
    program_expect(2, "devices cat");
    program_expect(2, "-m MODEL --device gpu cat");
    EXPECT_CONTAINS(program_errors, "device: \"gpu\" is not known, expected auto, cpu, vulkan");
    program_expect(0, "-m MODEL --device cpu -W 16 -H 16 --steps 1 --json cat");
    EXPECT_CONTAINS(program_out, "\"backend\":\"cpu: ");
}

static void without_vulkan(void **state)
{
    (void)state;
    program_expect(0, "devices");
    EXPECT_CONTAINS(program_out, "vulkan     none: this build of gen has no Vulkan\n");
    expect_refusal(program_run("-m MODEL --device vulkan cat", NULL), 2,
                   "gen: device: this build of gen has no Vulkan");
}

static void without_a_loader(void **state)
{
    const char *none = "GEN_VULKAN_LOADER=/none";
    (void)state;
    assert_int_equal(program_run("devices", none), 0);
    EXPECT_CONTAINS(program_out, "cpu        ");
    EXPECT_CONTAINS(program_out, "  [auto]\n");
    EXPECT_CONTAINS(program_out, "vulkan     none: this machine has no Vulkan loader");
    expect_refusal(program_run("-m MODEL --device vulkan cat", none), 5,
                   "gen: this machine has no Vulkan loader (libvulkan.so.1)\n  hint: ");
    assert_int_equal(
        program_run("-m MODEL --device auto -W 16 -H 16 --steps 1 -q -o a.png cat", none), 0);
    assert_string_equal(program_errors, "");
    assert_string_equal(program_files(""), "a.png ");
}

static void without_a_driver(void **state)
{
    (void)state;
    assert_int_equal(run_with("devices", "GEN_STUB_DEVICES=none"), 0);
    EXPECT_CONTAINS(program_out,
                    "vulkan     none: no Vulkan driver on this machine offers a device");
    expect_refusal(run_with("-m MODEL --device vulkan cat", "GEN_STUB_DEVICES=none"), 5,
                   "gen: no Vulkan driver on this machine offers a device\n  hint: ");
}

/* The stub computes nothing, so its devices fail. */
static void failing_devices(void **state)
{
    static const char two[] = "GEN_STUB_DEVICES=integrated:Inside:2048;discrete:Card \"1\":8192";
    (void)state;
    assert_int_equal(run_with("devices", two), 0);
    EXPECT_CONTAINS(program_errors, "gen: checking Inside, once");
    EXPECT_CONTAINS(program_out, "vulkan:0   Inside\n  kind      integrated\n  driver    stub\n");
    EXPECT_CONTAINS(program_out, "  memory    8.0G, at most 1.0G in one piece, 128M seen");
    EXPECT_CONTAINS(program_out, "linear differs from the CPU: NMSE ");
    EXPECT_CONTAINS(program_out, "cooperative matrices: ");
    assert_int_equal(run_with("devices --json", two), 0);
    assert_string_equal(program_errors, ""); /* the verdicts are known now */
    EXPECT_CONTAINS(program_out,
                    "\"id\":\"vulkan:1\",\"name\":\"Card \\\"1\\\"\",\"type\":\"discrete\"");
    EXPECT_CONTAINS(program_out, "\"verdict\":\"failed 2");
    EXPECT_CONTAINS(program_out, "\"trusted\":false,\"auto\":false");
    EXPECT_CONTAINS(program_out, "{\"schema\":1,\"kind\":\"build\",\"vulkan\":true,");

    expect_refusal(run_with("-m MODEL --device vulkan cat", two), 5,
                   "gen: Card \"1\" (stub) failed the self-check: linear differs from the CPU");
    expect_refusal(run_with("-m MODEL --device vulkan:inside cat", two), 5,
                   "gen: Inside (stub) failed the self-check: linear differs from the CPU");
    expect_refusal(run_with("-m MODEL --device vulkan:7 cat", two), 2,
                   "gen: there is no Vulkan device 7, expected 0 to 1 (gen devices)");
    assert_string_equal(program_files(""), "");
}

/* Auto is silent where there is nothing but a software driver, and tells those who ask. */
static void a_software_driver_alone(void **state)
{
    static const char one[] = "GEN_STUB_DEVICES=software:Pipe:2048";
    const char *line = "-m MODEL --device auto -W 16 -H 16 --steps 1 --json -o b.png -y cat";
    (void)state;
    assert_int_equal(run_with(line, one), 0);
    EXPECT_CONTAINS(program_out, "\"backend\":\"cpu: ");
    assert_null(strstr(program_errors, "Pipe"));
    assert_int_equal(run_with("-v -m MODEL -W 16 -H 16 --steps 1 -o b.png -y cat", one), 0);
    EXPECT_CONTAINS(program_errors, "gen: using the CPU: ");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest with[] = {
        cmocka_unit_test_setup_teardown(always, program_set_up, program_tear_down),
        cmocka_unit_test_setup_teardown(without_a_loader, program_set_up, program_tear_down),
        cmocka_unit_test_setup_teardown(without_a_driver, program_set_up, program_tear_down),
        cmocka_unit_test_setup_teardown(failing_devices, program_set_up, program_tear_down),
        cmocka_unit_test_setup_teardown(a_software_driver_alone, program_set_up, program_tear_down),
    };
    const struct CMUnitTest without[] = {
        cmocka_unit_test_setup_teardown(always, program_set_up, program_tear_down),
        cmocka_unit_test_setup_teardown(without_vulkan, program_set_up, program_tear_down),
    };
    if (argc < 3 || program_init(argv[1], argv[2]))
        return 2;
    stub = argc > 3 ? argv[3] : NULL;
    return stub ? cmocka_run_group_tests(with, NULL, NULL)
                : cmocka_run_group_tests(without, NULL, NULL);
}
