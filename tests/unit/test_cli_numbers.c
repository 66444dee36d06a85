/* Lists of numbers and intervals of the command line, and suggestions for names of methods. */
#include "tests/test.h"

#include <stdlib.h>

#include "gen/cli/cli.h"

static gen_error err;

static void lists(void **state)
{
    (void)state;
    cli_numbers n = {0};
    static const struct {
        const char *text;
        int count;
        double first, last;
    } good[] = {
        {"3", 1, 3, 3},
        {"14.6,4.1,1.2,0.3", 4, 14.6, 0.3},
        {"14.6, 4.1  1.2\t0.3", 4, 14.6, 0.3},
        {"14.6,4.1,0", 2, 14.6, 4.1},
        {"14.6,4.1,0.0,", 2, 14.6, 4.1},
        {"0", 1, 0, 0},
        {"1e1 5e-1", 2, 10, 0.5},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        EXPECT_OK(cli_numbers_parse(&n, "--sigmas", good[i].text, 0, 100, &err));
        assert_int_equal(n.count, good[i].count);
        assert_true(n.values[0] == good[i].first && n.values[n.count - 1] == good[i].last);
    }
    static const char *const bad[] = {"",    ",",     "x",  "1;2", "1,x",  "1,2x", "nan",
                                      "inf", "1,inf", "-1", "101", "1,,x", "0x"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        EXPECT_STATUS(GEN_ERROR_ARGUMENT, cli_numbers_parse(&n, "--sigmas", bad[i], 0, 100, &err));
        EXPECT_CONTAINS(err.message, "--sigmas: ");
    }
    char *many = calloc(CLI_MAX_NUMBERS + 1, 2);
    for (int i = 0; i <= CLI_MAX_NUMBERS; i++)
        memcpy(many + 2 * i, i < CLI_MAX_NUMBERS ? "1," : "1", i < CLI_MAX_NUMBERS ? 2 : 1);
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, cli_numbers_parse(&n, "--sigmas", many, 0, 100, &err));
    EXPECT_CONTAINS(err.message, "more than 1000 numbers");
    many[2 * CLI_MAX_NUMBERS - 1] = '\0';
    EXPECT_OK(cli_numbers_parse(&n, "--sigmas", many, 0, 100, &err));
    assert_int_equal(n.count, CLI_MAX_NUMBERS);
    free(many);
}

static void intervals(void **state)
{
    (void)state;
    cli_interval v;
    static const struct {
        const char *text;
        cli_interval expected;
    } good[] = {
        {"0.3:5.4", {.low = 0.3, .high = 5.4}},
        {"0.3:", {.low = 0.3}},
        {":5.4", {.high = 5.4}},
        {"0:5.4", {.high = 5.4}},
        {"20%:80%", {.start = 0.2, .stop = 0.8}},
        {"0:80%", {.stop = 0.8}},
        {":80%", {.stop = 0.8}},
        {"25%:", {.start = 0.25}},
        {"0%:100%", {.stop = 1}},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        EXPECT_OK(cli_interval_parse(&v, "--guidance-interval", good[i].text, &err));
        if (v.low != good[i].expected.low || v.high != good[i].expected.high ||
            v.start != good[i].expected.start || v.stop != good[i].expected.stop)
            fail_msg("%s: %g:%g, %g:%g", good[i].text, v.low, v.high, v.start, v.stop);
    }
    static const char *const bad[] = {"",        ":",     "3",       "x:1",     "1:x",   "5:3",
                                      "3:3",     "1:2:3", "20%:0.8", "0.2:80%", "-1:3",  "80%:20%",
                                      "0%:101%", "100%:", "nan:1",   "1:inf",   "1%%:2", "1 :2"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const gen_status status = cli_interval_parse(&v, "--guidance-interval", bad[i], &err);
        if (status != GEN_ERROR_ARGUMENT)
            fail_msg("\"%s\" was taken: %g:%g, %g:%g", bad[i], v.low, v.high, v.start, v.stop);
        EXPECT_CONTAINS(err.message, "--guidance-interval: ");
    }
}

/* What stands before and after. */
static void method_names(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"sampler: \"eulr\" is not known", "--sampler: \"eulr\" is not known; did you mean euler?",
         "`gen help samplers` lists them"},
        {"scheduler: \"Karas\" is not known",
         "--scheduler: \"Karas\" is not known; did you mean karras?",
         "`gen help schedulers` lists them"},
        {"guidance: \"cfg_zer\" is not known",
         "--guidance: \"cfg_zer\" is not known; did you mean cfg_zero?",
         "`gen help guidance` lists them"},
        {"sampler: \"nothing like it\" is not known", "--sampler: \"nothing like it\" is not known",
         "`gen help samplers` lists them"},
        {"family: \"fluz\" is not known", "--family: \"fluz\" is not known; did you mean flux?",
         "old hint"},
        {"sampler euler cannot run this model", "sampler euler cannot run this model", "old hint"},
        {"width: \"x\" is not known", "width: \"x\" is not known", "old hint"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cli_fail(&err, GEN_ERROR_ARGUMENT, "%s", cases[i][0]);
        cli_hint(&err, "old hint");
        cli_suggest_method(&err);
        assert_string_equal(err.message, cases[i][1]);
        assert_string_equal(err.hint, cases[i][2]);
        assert_int_equal(err.status, GEN_ERROR_ARGUMENT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists),
        cmocka_unit_test(intervals),
        cmocka_unit_test(method_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
