/* test_cli.c GEN MODEL - runs the program as people do: exit code, stdout, stderr, files.
 *
 * Each test has an empty folder as its working and home directory and only its own variables. */
#include "tests/api/program.h"

#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "gen/gen.h"

static gen_error err;

static gen_image *load(const char *name)
{
    gen_image *image = NULL;
    if (gen_image_load(&image, program_path(name), &err))
        fail_msg("%s", err.message);
    return image;
}

/* ---- usage ------------------------------------------------------------------------------------
 */

/* Exit code and the first line on stderr; nothing on stdout, no file. */
static void refusals(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        int code;
        const char *message;
    } cases[] = {
        {"", 2, "gen: no prompt\n"},
        {"imge x", 2,
         "gen: unknown command \"imge\"; did you mean image?\n"
         "  hint: if it is a prompt, write -p \"imge\"\n"},
        {"inof", 2, "gen: unknown command \"inof\"; did you mean info?\n"},
        {"--steps abc x", 2, "gen: --steps: \"abc\" is not a whole number (1..1000)\n"},
        {"--steps 0 x", 2, "gen: --steps: 0 is out of range (1..1000)\n"},
        {"--sampling-metod x y", 2,
         "gen: unknown option --sampling-metod; did you mean "
         "--sampling-method?\n"},
        {"-p a b", 2, "gen: unexpected \"b\": the prompt was given with -p\n"},
        {"info --steps 3 x", 2, "gen: --steps does not belong to `gen info`\n"},
        {"info", 2, "gen: info: no file named\n"},
        {"help outptu", 2, "gen: no help on \"outptu\"; did you mean output?\n"},
        {"-b 3 --seed 1..2 cat", 2, "gen: --batch-count 3 and --seed with 2 seeds contradict"},
        {"-b 2 -o - cat", 2, "gen: -o -: standard output holds one picture, not several\n"},
        {"--json -o - cat", 2, "gen: -o -: standard output holds one picture and nothing else\n"},
        {"-b 2 --seed 18446744073709551615 cat", 2, "gen: the seeds of 2 pictures"},
        {"-m MODEL -W 50 -H 32 cat", 2,
         "gen: width: 50 is not a multiple of 4\n"
         "  hint: the nearest that are: 48 and 52\n"},
        {"-m MODEL --sampler eulr cat", 2,
         "gen: --sampler: \"eulr\" is not known; did you mean "
         "euler?\n"},
        {"-m MODEL -o cat.webp cat", 2, "gen: cat.webp: \".webp\" is no picture format gen writes"},
        {"-m MODEL -o {sead}.png cat", 2, "gen: output name \"{sead}.png\": {sead} is no field\n"},
        {"-p @none.txt", 3, "gen: prompt file none.txt: cannot be read\n"},
        {"-m none.safetensors cat", 4, "gen: none.safetensors: No such file"},
        {"info none", 4, "gen: none: No such file"},
        {"-m MODEL --mem-limit 1M -W 8192 -H 8192 cat", 5, "gen: "},
        {"-m MODEL -o /proc/none/cat.png cat", 7, "gen: /proc/none/cat.png: cannot be written: "},
        {"-m MODEL -W 48 -H 32 --steps 1 -o /dev/full --format png cat", 7,
         "gen: /dev/full: cannot be written: No space left on device\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        program_expect(cases[i].code, cases[i].line);
        if (strncmp(program_errors, cases[i].message, strlen(cases[i].message)) != 0)
            fail_msg("gen %s: %sexpected: %s", cases[i].line, program_errors, cases[i].message);
        assert_string_equal(program_out, "");
        assert_string_equal(program_files(""), "");
    }
}

static void help_and_version(void **state)
{
    (void)state;
    static const char *const lines[] = {"-h",       "--help-all",  "image -h",      "info -h",
                                        "help",     "help output", "help samplers", "help exit",
                                        "help info"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        program_expect(0, lines[i]);
        assert_true(strlen(program_out) > 100);
        assert_string_equal(program_errors, "");
    }
    program_expect(0, "--version");
    char version[64];
    snprintf(version, sizeof version, "gen %s\n", gen_version());
    assert_string_equal(program_out, version);
    assert_int_equal(program_finish(program_start("--help-all", NULL, "/dev/full"), false), 7);
    assert_string_equal(program_errors, "gen: standard output: cannot be written\n");
}

/* ---- pictures ---------------------------------------------------------------------------------
 */

/* Path alone on stdout, the seed on stderr, the settings in the file, and redone from them the same
 * pixels. */
static void one_picture(void **state)
{
    (void)state;
    program_expect(0, "-m MODEL -W 48 -H 32 --steps 2 --seed 7 -t 2 -o a/b/cat.png a lovely cat");
    assert_string_equal(program_out, "a/b/cat.png\n");
    EXPECT_CONTAINS(program_errors, "gen: a/b/cat.png: seed 7, ");
    assert_string_equal(program_files("a/b"), "cat.png ");
    gen_image *first = load("a/b/cat.png");
    assert_int_equal(first->width, 48);
    assert_int_equal(first->height, 32);

    program_expect(0, "info a/b/cat.png");
    EXPECT_CONTAINS(program_out, "a/b/cat.png: PNG, 48x32, RGB, 8 bits\n");
    EXPECT_CONTAINS(program_out, "\n[parameters]\na lovely cat\nSteps: 2, Sampler: DDIM, ");
    EXPECT_CONTAINS(program_out, ", Seed: 7, Size: 48x32, Model hash: ");
    EXPECT_CONTAINS(program_out, "\n[gen]\n{\"schema\":1,");

    program_expect(0,
                   "-m MODEL -W 48 -H 32 --steps 2 --seed 7 -o - --threads 1 -q -p 'a lovely cat'");
    assert_string_equal(program_errors, "");
    assert_memory_equal(program_out, "\x89PNG", 4);
    program_expect(
        0, "-m MODEL -W 48 -H 32 --steps 2 --seed 7 -t 1 -q -o again.ppm -p 'a lovely cat'");
    gen_image *again = load("again.ppm");
    assert_memory_equal(again->data, first->data, 48 * 32 * 3);
    gen_image_free(first);
    gen_image_free(again);
}

/* Weights in 8 bits change a picture, a little. */
static void precisions(void **state)
{
    (void)state;
    enum { N = 48 * 32 * 3 };
    int sum = 0;
    program_expect(0, "-m MODEL -W 48 -H 32 --steps 2 --seed 7 -o f.png cat");
    program_expect(0, "-m MODEL -W 48 -H 32 --steps 2 --seed 7 --precision q8 -o q.png cat");
    gen_image *stored = load("f.png"), *q8 = load("q.png");
    for (int i = 0; i < N; i++)
        sum += abs(stored->data[i] - q8->data[i]);
    assert_in_range(sum, 1, 3 * N);
    gen_image_free(stored);
    gen_image_free(q8);
    program_expect(2, "-m MODEL --precision q8 --gemm openblas cat");
    EXPECT_CONTAINS(program_errors, "use --gemm own");
    /* Never silently in other numbers than were asked for; needs no driver to say so. */
    static const char *const devices[] = {"vulkan", "vulkan:0", "vulkan:llvmpipe"};
    for (int i = 0; i < 3; i++) {
        char line[128];
        snprintf(line, sizeof line, "-m MODEL --precision q8 --device %s cat", devices[i]);
        program_expect(2, line);
        EXPECT_CONTAINS(program_errors, "precision: q8 is not available on Vulkan devices");
    }
    program_expect(0, "-m MODEL -W 48 -H 32 --steps 2 --seed 7 --precision q8 --device auto -q -o "
                      "auto.png cat");
    gen_image *chosen = load("auto.png"), *named = load("q.png");
    assert_memory_equal(chosen->data, named->data, N);
    gen_image_free(chosen);
    gen_image_free(named);
}

/* Picture i of a batch equals its single run. */
static void batches(void **state)
{
    (void)state;
    program_expect(0, "-m MODEL -W 48 -H 32 --steps 2 -b 3 --seed 5 -o {seed}.png cat");
    assert_string_equal(program_out, "5.png\n6.png\n7.png\n");
    program_expect(0, "-m MODEL -W 48 -H 32 --steps 2 --seed 7 -o one.png cat");
    gen_image *a = load("7.png"), *b = load("one.png");
    assert_memory_equal(a->data, b->data, 48 * 32 * 3);
    gen_image_free(a);
    gen_image_free(b);

    program_expect(0, "-m MODEL -W 48 -H 32 --steps 1 --seed 9,20..21 -o out/ cat");
    assert_string_equal(program_out, "out/cat-9.png\nout/cat-20.png\nout/cat-21.png\n");
    program_expect(0,
                   "-m MODEL -W 48 -H 32 --steps 1 -b 2 --seed 1 --seed-step 10 -o out/x.jpg cat");
    assert_string_equal(program_out, "out/x-1.jpg\nout/x-2.jpg\n");
    EXPECT_CONTAINS(program_errors, "out/x-2.jpg: seed 11, ");
    program_expect(0, "-m MODEL -W 48 -H 32 --steps 1 -b 2 -o n%03d.ppm cat");
    assert_string_equal(program_out, "n001.ppm\nn002.ppm\n");
}

static void names(void **state)
{
    (void)state;
    program_expect(0, "-m MODEL -W 48 -H 32 --steps 1 'a red/house'");
    assert_string_equal(program_out, "a-red-house.png\n");
    program_expect(0, "-m MODEL -W 48 -H 32 --steps 1 --format jpg 'a red/house'");
    assert_string_equal(program_out, "a-red-house.jpg\n");
    program_expect(0, "-m MODEL -W 48 -H 32 --steps 1 -o a-red-house.png cat");
    assert_string_equal(program_out, "a-red-house-1.png\n");
    EXPECT_CONTAINS(program_errors,
                    "gen: a-red-house.png exists; wrote a-red-house-1.png (-y replaces)\n");
    program_expect(0, "-m MODEL -W 48 -H 32 --steps 1 -y -o a-red-house.png cat");
    assert_string_equal(program_out, "a-red-house.png\n");
    program_expect(0, "-m MODEL -W 48 -H 32 --steps 1 -o {model}_{w}x{h}_{prompt:3}.{ext} kitten");
    assert_string_equal(program_out, "pipe_sd1_48x32_kit.png\n");
    assert_string_equal(program_files(""), "a-red-house-1.png a-red-house.jpg a-red-house.png "
                                           "pipe_sd1_48x32_kit.png ");
}

static void prompts(void **state)
{
    (void)state;
    FILE *f = fopen(program_path("p.txt"), "w");
    fputs("from a\nfile\n", f);
    fclose(f);
    program_expect(0, "-m MODEL -W 48 -H 32 --steps 1 -o {prompt}.png @p.txt");
    assert_string_equal(program_out, "from-a-file.png\n");
    program_expect(0, "-m MODEL -W 48 -H 32 --steps 1 -o {prompt}.png -p @@p.txt");
    assert_string_equal(program_out, "p-txt.png\n");
    program_expect(0, "-m MODEL -W 48 -H 32 --steps 1 -o {prompt}.png -p inof"); /* forced */
    assert_string_equal(program_out, "inof.png\n");
    program_expect(0, "image -m MODEL -W 48 -H 32 --steps 1 -o {prompt}.png info of a cat");
    assert_string_equal(program_out, "info-of-a-cat.png\n");
    program_expect(0, "-m MODEL -W 48 -H 32 --steps 1 -o none.png --no-metadata cat");
    program_expect(0, "info none.png");
    assert_string_equal(program_out, "none.png: PNG, 48x32, RGB, 8 bits\n");
    assert_int_equal(program_run("-m MODEL -W 48 -H 32 -o s.png cat", "GEN_STEPS=1"), 0);
    program_expect(0, "info s.png");
    EXPECT_CONTAINS(program_out, "\nSteps: 1, ");
    assert_int_equal(
        program_run("cat -m MODEL -W 48 -H 32 --steps 1 -o x.png", "POSIXLY_CORRECT=1"), 0);
}

static void json_lines(void **state)
{
    (void)state;
    program_expect(
        0, "-m MODEL -W 48 -H 32 --steps 2 -b 2 --seed 3 --json --progress json -o {i}.png cat");
    EXPECT_CONTAINS(program_out, "{\"schema\":1,\"file\":\"1.png\",\"seed\":3,");
    EXPECT_CONTAINS(program_out, "\n{\"schema\":1,\"file\":\"2.png\",\"seed\":4,");
    EXPECT_CONTAINS(program_out, "\"record\":{\"schema\":1,");
    EXPECT_CONTAINS(program_errors,
                    "\"event\":\"start\",\"item\":1,\"items\":2,\"file\":\"1.png\",");
    EXPECT_CONTAINS(program_errors, "\"phase\":\"step\",");
    EXPECT_CONTAINS(program_errors, "\"step\":2,\"steps\":2,");
    EXPECT_CONTAINS(program_errors, "\"event\":\"done\",\"item\":2,");
    for (char *line = strtok(program_errors, "\n"); line; line = strtok(NULL, "\n"))
        if (strncmp(line, "{\"schema\":1,\"event\":\"", 21) != 0 || line[strlen(line) - 1] != '}')
            fail_msg("not an event: %s", line);
    program_expect(2, "--progress json --steps 0 cat");
    EXPECT_CONTAINS(program_errors, "\"message\":\"--steps: 0 is out of range (1..1000)\"");
    program_expect(0, "-m MODEL -W 48 -H 32 --dry-run --json cat");
    EXPECT_CONTAINS(program_out, "{\"schema\":1,\"kind\":\"plan\",");
    EXPECT_CONTAINS(program_out, "\"peak_bytes\":");
    program_expect(0, "info --json 1.png MODEL");
    EXPECT_CONTAINS(program_out,
                    "\"kind\":\"picture\",\"file\":\"1.png\",\"format\":\"PNG\",\"width\":48,");
}

static void plans_and_models(void **state)
{
    (void)state;
    program_expect(0, "-m MODEL -W 48 -H 32 --dry-run -o new/cat.png cat");
    EXPECT_CONTAINS(program_out, "picture   48x32, 20 steps, cfg 7.5, ddim");
    EXPECT_CONTAINS(program_out, "\npeak      ");
    assert_string_equal(program_files(""), "");
    program_expect(0, "info MODEL");
    EXPECT_CONTAINS(program_out, "UNet2DConditionModel");
}

/* ---- signals ----------------------------------------------------------------------------------
 */

/* Waits until stderr holds a text, then sends the signal.  A run that ends before is a failure. */
static void signal_after(pid_t pid, const char *text, int number)
{
    for (int i = 0; i < 3000; i++) {
        FILE *f = fopen(program_path(".err"), "rb");
        if (f) {
            program_errors[fread(program_errors, 1, sizeof program_errors - 1, f)] = '\0';
            fclose(f);
            if (strstr(program_errors, text)) {
                assert_int_equal(kill(pid, number), 0);
                return;
            }
        }
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    kill(pid, SIGKILL);
    fail_msg("\"%s\" did not come: %s", text, program_errors);
}

static void interruptions(void **state)
{
    (void)state;
    static const char one[] = "-m MODEL -W 96 -H 96 --steps 900 --sampler euler -o cat.png "
                              "--progress json cat";
    static const int numbers[] = {SIGINT, SIGTERM};
    for (int i = 0; i < 2; i++) {
        const pid_t pid = program_start(one, NULL, NULL);
        signal_after(pid, "\"step\":3,", numbers[i]);
        assert_int_equal(program_finish(pid, true), 128 + numbers[i]);
        assert_string_equal(program_out, "");
        assert_string_equal(program_files(""), "");
    }
    /* With several, the one in work is finished. */
    const pid_t pid =
        program_start("-m MODEL -W 48 -H 48 --steps 40 --sampler euler -b 500 --seed 1 "
                      "-o {i}.png --progress json cat",
                      NULL, NULL);
    signal_after(pid, "\"item\":2,", SIGINT);
    assert_int_equal(program_finish(pid, true), 130);
    EXPECT_CONTAINS(program_out, "1.png\n2.png\n");
    assert_null(strstr(program_out, "\n500.png"));
    EXPECT_CONTAINS(program_files(""), "1.png 2.png ");
    gen_image_free(load("2.png"));
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    if (program_init(argv[1], argv[2]))
        return 1;
#define CASE(name) cmocka_unit_test_setup_teardown(name, program_set_up, program_tear_down)
    const struct CMUnitTest tests[] = {
        CASE(refusals),      CASE(help_and_version), CASE(one_picture), CASE(batches),
        CASE(names),         CASE(prompts),          CASE(json_lines),  CASE(plans_and_models),
        CASE(interruptions), CASE(precisions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
