/* The parts of the program: seeds, suggestions, the option table, progress, safe printing. */
#include "tests/test.h"

#include <getopt.h>
#include <stdlib.h>

#include "gen/cli/cli.h"

static gen_error err;

/* ---- seeds ------------------------------------------------------------------------------------
 */

static void seed_lists(void **state)
{
    (void)state;
    cli_seeds s;
    EXPECT_OK(cli_seeds_parse(&s, "--seed", "1,2,5..9,7", &err));
    static const uint64_t expected[] = {1, 2, 5, 6, 7, 8, 9, 7};
    assert_int_equal(s.count, 8);
    for (uint64_t i = 0; i < 8; i++)
        assert_int_equal(cli_seeds_at(&s, i), expected[i]);
    EXPECT_OK(cli_seeds_parse(&s, "--seed", "18446744073709551615", &err));
    assert_true(cli_seeds_at(&s, 0) == UINT64_MAX);
    EXPECT_OK(cli_seeds_parse(&s, "--seed", "random", &err));
    assert_int_equal(s.count, 0);
    EXPECT_OK(cli_seeds_parse(&s, "--seed", "-1", &err));
    assert_int_equal(s.count, 0);

    static const char *const bad[] = {"",
                                      "x",
                                      "1,",
                                      ",1",
                                      "1..",
                                      "5..3",
                                      "1...3",
                                      "1 2",
                                      "-2",
                                      "1.5",
                                      "+1",
                                      "0..1000000",
                                      "18446744073709551616",
                                      "0..18446744073709551615"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        EXPECT_STATUS(GEN_ERROR_ARGUMENT, cli_seeds_parse(&s, "--seed", bad[i], &err));
        EXPECT_CONTAINS(err.message, "--seed: ");
    }
}

/* ---- suggestions ------------------------------------------------------------------------------
 */

static const char *color_at(const void *user, int i)
{
    static const char *const colors[] = {"red", "green", "blue", "yellow", "magenta"};
    (void)user;
    return i < 5 ? colors[i] : NULL;
}

static void suggestions(void **state)
{
    (void)state;
    assert_int_equal(cli_edit_distance("", ""), 0);
    assert_int_equal(cli_edit_distance("", "abc"), 3);
    assert_int_equal(cli_edit_distance("kitten", "sitting"), 3);
    assert_int_equal(cli_edit_distance("inof", "info"), 1);
    assert_int_equal(cli_edit_distance("Euler", "euler"), 0);
    assert_int_equal(cli_edit_distance("ca", "abc"), 3); /* no edits inside a swapped pair */
    assert_string_equal(cli_nearest("gren", color_at, NULL), "green");
    assert_string_equal(cli_nearest("YELOW", color_at, NULL), "yellow");
    assert_string_equal(cli_nearest("magneat", color_at, NULL), "magenta");
    assert_null(cli_nearest("purple", color_at, NULL));
    assert_null(cli_nearest("r", color_at, NULL));
}

/* ---- options ----------------------------------------------------------------------------------
 */

static cli_settings settings;
static const char *words[32];

static gen_status parse(const char *line)
{
    static char text[512];
    static char *argv[32];
    int argc = 0;
    snprintf(text, sizeof text, "gen %s", line);
    for (char *p = strtok(text, " "); p; p = strtok(NULL, " "))
        argv[argc++] = p;
    argv[argc] = NULL;
    return cli_parse(&settings, words, argc, argv, &err);
}

/* Each option has its own names and can be reached by them; aliases lead to options. */
static void table_is_consistent(void **state)
{
    (void)state;
    const cli_option *o, *other;
    for (int i = 0; (o = cli_option_at(i)); i++) {
        assert_true(strlen(o->help) > 3);
        assert_true(o->commands != 0);
        assert_int_equal(o->argument == NULL, o->type == CLI_FLAG);
        assert_int_equal(o->choices != NULL, o->type == CLI_CHOICE);
        for (int j = 0; j < i; j++) {
            other = cli_option_at(j);
            assert_string_not_equal(o->name, other->name);
            assert_true(!o->letter || o->letter != other->letter);
            assert_true(o->offset != other->offset);
        }
        for (const cli_choice *c = o->choices; c && c->name; c++) {
            EXPECT_OK(cli_set_option(&settings, o, o->name, c->name, &err));
            assert_string_equal(*(const char **)((char *)&settings + o->offset), c->value);
        }
    }
}

static void options(void **state)
{
    (void)state;
    EXPECT_OK(parse("-p cat -W 512 -H 768 --steps 20 --cfg 7.5 -s 1..3 -y --mem-limit 1.5G "
                    "--rng comfy -t 2 word --seed-step 10 other"));
    assert_string_equal(settings.prompt, "cat");
    assert_int_equal(settings.width, 512);
    assert_int_equal(settings.height, 768);
    assert_int_equal(settings.steps, 20);
    assert_true(settings.cfg == 7.5);
    assert_int_equal(settings.seeds.count, 3);
    assert_true(settings.overwrite);
    assert_true(settings.mem_limit == 3ull << 29);
    assert_string_equal(settings.rng, "torch-cpu");
    assert_int_equal(settings.seed_step, 10);
    assert_int_equal(settings.num_words, 2);
    assert_string_equal(settings.words[1], "other");

    EXPECT_OK(parse("--guidance-scale=3 --num-inference-steps 4 --sampling-method ddim --out x "
                    "--negative-p blurry -- -p --json"));
    assert_true(settings.cfg == 3);
    assert_int_equal(settings.steps, 4);
    assert_string_equal(settings.sampler, "ddim");
    assert_string_equal(settings.output, "x");
    assert_string_equal(settings.negative_prompt, "blurry");
    assert_false(settings.json);
    assert_int_equal(settings.num_words, 2);
    EXPECT_OK(parse("-qvb3"));
    assert_true(settings.quiet && settings.verbose);
    assert_int_equal(settings.batch_count, 3);
}

static void refused_options(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"--steps abc", "--steps: \"abc\" is not a whole number (1..1000)"},
        {"--steps 3.5", "--steps: \"3.5\" is not a whole number (1..1000)"},
        {"--steps 0", "--steps: 0 is out of range (1..1000)"},
        {"--steps 99999999999999999999", "--steps: 99999999999999999999 is out of range (1..1000)"},
        {"-W -5", "-W: -5 is out of range (1..65536)"},
        {"--cfg-scale x", "--cfg-scale: \"x\" is not a number (0.01..1000)"},
        {"--cfg inf", "--cfg: \"inf\" is not a number (0.01..1000)"},
        {"--mem-limit 3", "--mem-limit: 3 is out of range (1M..1024T)"},
        {"--mem-limit G", "--mem-limit: \"G\" is not a size (2G, 900M, 1.5GiB)"},
        {"--mem-limit 2Gx", "--mem-limit: \"2Gx\" is not a size (2G, 900M, 1.5GiB)"},
        {"--rng cdua", "--rng: \"cdua\" is not known; did you mean cuda?"},
        {"--format gif", "--format: \"gif\" is not known"},
        {"--sampling-metod euler", "unknown option --sampling-metod; did you mean "
                                   "--sampling-method?"},
        {"--zzz", "unknown option --zzz"},
        {"-Q", "unknown option -Q"},
        {"--steps", "--steps needs a value"},
        {"-W", "-W needs a value"},
        {"--json=1", "--json takes no value (found \"--json=1\")"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        EXPECT_STATUS(GEN_ERROR_ARGUMENT, parse(cases[i][0]));
        assert_string_equal(err.message, cases[i][1]);
    }
    EXPECT_OK(parse("--steps 3 info"));
    assert_null(cli_foreign_option(&settings, CLI_FOR_IMAGE));
    assert_string_equal(cli_foreign_option(&settings, CLI_FOR_INFO)->name, "steps");
}

static void variables(void **state)
{
    (void)state;
    setenv("GEN_STEPS", "7", 1);
    setenv("GEN_MEM_LIMIT", "2G", 1);
    setenv("GEN_STRICT", "1", 1);
    setenv("GEN_QUIET", "0", 1);
    setenv("GEN_PROMPT", "not used", 1);
    EXPECT_OK(parse("--mem-limit 3G"));
    assert_int_equal(settings.steps, 7);
    assert_true(settings.mem_limit == 3ull << 30);
    assert_true(settings.strict);
    assert_false(settings.quiet);
    assert_null(settings.prompt);
    setenv("GEN_STEPS", "many", 1);
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, parse("cat"));
    assert_string_equal(err.message, "GEN_STEPS: \"many\" is not a whole number (1..1000)");
    EXPECT_OK(parse("--version")); /* help must work whatever the variables say */
    unsetenv("GEN_STEPS");
    unsetenv("GEN_MEM_LIMIT");
    unsetenv("GEN_STRICT");
    unsetenv("GEN_QUIET");
    unsetenv("GEN_PROMPT");
}

/* ---- progress and printing --------------------------------------------------------------------
 */

static void progress_lines(void **state)
{
    (void)state;
    char line[256];
    cli_reporter r = {.f = stderr};
    cli_progress p = {.reporter = &r, .num_items = 8};
    cli_progress_start(&p, 3, "cat.png", 5);
    cli_progress_update(&p, &(gen_progress){GEN_PHASE_ENCODE, 0, 1, 1.0});
    cli_progress_line(line, sizeof line, &p, 0);
    assert_string_equal(line, "3/8 cat.png  reading the prompt");
    cli_progress_update(&p, &(gen_progress){GEN_PHASE_STEP, 0, 20, 2.0});
    cli_progress_line(line, sizeof line, &p, 0);
    assert_string_equal(line, "3/8 cat.png  step 0/20");
    cli_progress_update(&p, &(gen_progress){GEN_PHASE_STEP, 12, 20, 26.0});
    cli_progress_update(&p, &(gen_progress){GEN_PHASE_STEP, -1, 20, 26.0}); /* within a step */
    cli_progress_line(line, sizeof line, &p, 2040109466);
    assert_string_equal(line, "3/8 cat.png  step 12/20  2.00 s/it  eta 0:16  rss 1.9G");
    p.num_items = 1;
    cli_progress_update(&p, &(gen_progress){GEN_PHASE_DECODE, 0, 1, 50.0});
    cli_progress_line(line, sizeof line, &p, 0);
    assert_string_equal(line, "cat.png  decoding");
    cli_format_bytes(line, sizeof line, 500 * 1024);
    assert_string_equal(line, "500K");
    cli_format_bytes(line, sizeof line, 412ull << 20);
    assert_string_equal(line, "412M");
    assert_true(cli_resident_memory() > 100000);
}

static void printing(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        /* text, as JSON, on a terminal */
        {"a\"b\\c\n", "\"a\\\"b\\\\c\\n\"", "a\"b\\c\n"},
        {"\x1b[31mred", "\"\\u001b[31mred\"", "?[31mred"},
        {"caf\xc3\xa9 \xf0\x9f\xa6\x8a", "\"caf\xc3\xa9 \xf0\x9f\xa6\x8a\"",
         "caf\xc3\xa9 \xf0\x9f\xa6\x8a"},
        {"\xff\xc3", "\"\\ufffd\\ufffd\"", "??"},
        {"\xc2\x9b"
         "31m",
         "\"\xc2\x9b"
         "31m\"",
         "?31m"},
        {"\xe0\x80\x80", "\"\\ufffd\\ufffd\\ufffd\"", "???"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int way = 0; way < 2; way++) {
            char *text = NULL;
            size_t size = 0;
            FILE *f = open_memstream(&text, &size);
            (way ? cli_print_safely : cli_json_string)(f, cases[i][0]);
            fclose(f);
            assert_string_equal(text, cases[i][1 + way]);
            free(text);
        }
}

/* Help keeps to a terminal's width and the short help to a screen. */
static void help_fits(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        char *text = NULL;
        size_t size = 0;
        int lines = 0;
        FILE *f = open_memstream(&text, &size);
        (way ? cli_help_all : cli_help_short)(f, cli_command_find("image"));
        fclose(f);
        for (char *p = strtok(text, "\n"); p; p = strtok(NULL, "\n"), lines++)
            if (strlen(p) > 80)
                fail_msg("%zu columns: %s", strlen(p), p);
        assert_true(way || lines <= 25);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seed_lists),          cmocka_unit_test(suggestions),
        cmocka_unit_test(table_is_consistent), cmocka_unit_test(options),
        cmocka_unit_test(refused_options),     cmocka_unit_test(variables),
        cmocka_unit_test(progress_lines),      cmocka_unit_test(printing),
        cmocka_unit_test(help_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
