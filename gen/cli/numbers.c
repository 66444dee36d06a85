/* numbers.c - lists of numbers and intervals, as options take them. */
#include "gen/cli/cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_separator(char c)
{
    return c == ',' || c == ' ' || c == '\t' || c == '\n';
}

gen_status cli_numbers_parse(cli_numbers *numbers, const char *name, const char *text, double min,
                             double max, gen_error *err)
{
    int n = 0;
    for (const char *p = text;;) {
        char *end;
        const double value = strtod(p, &end);
        if (end == p || !isfinite(value) || (*end && !is_separator(*end)))
            return cli_fail(err, GEN_ERROR_ARGUMENT,
                            "%s: \"%s\" is not a list of numbers (3.5,1.2,0.4)", name, text);
        if (value < min || value > max)
            return cli_fail(err, GEN_ERROR_ARGUMENT, "%s: %g is out of range (%g..%g)", name, value,
                            min, max);
        if (n == CLI_MAX_NUMBERS)
            return cli_fail(err, GEN_ERROR_ARGUMENT, "%s: more than %d numbers", name,
                            CLI_MAX_NUMBERS);
        numbers->values[n++] = value;
        for (p = end; is_separator(*p); p++)
            ;
        if (!*p)
            break;
    }
    if (n > 1 && numbers->values[n - 1] == 0)
        n--;
    numbers->count = n;
    return GEN_OK;
}

static gen_status not_an_interval(const char *name, const char *text, gen_error *err)
{
    return cli_fail(err, GEN_ERROR_ARGUMENT,
                    "%s: \"%s\" is not an interval (0.3:5.4 of noise levels, 20%%:80%% of the "
                    "steps)",
                    name, text);
}

/* Reads "", "5.4" or "80%" up to `stop`; false for anything else. */
static bool read_side(const char *text, char stop, const char **next, double *value,
                      bool *is_percent, bool *is_empty)
{
    char *end = (char *)text;
    *value = 0;
    *is_percent = false;
    *is_empty = *text == stop;
    if (!*is_empty) {
        *value = strtod(text, &end);
        if (end == text || !(*value >= 0) || !isfinite(*value))
            return false;
        *is_percent = *end == '%';
        end += *is_percent;
    }
    *next = end + 1;
    return *end == stop;
}

gen_status cli_interval_parse(cli_interval *interval, const char *name, const char *text,
                              gen_error *err)
{
    const char *rest, *unused;
    double low, high;
    bool low_percent, high_percent, no_low, no_high;
    if (!read_side(text, ':', &rest, &low, &low_percent, &no_low) ||
        !read_side(rest, '\0', &unused, &high, &high_percent, &no_high) || (no_low && no_high) ||
        (!no_low && !no_high && low != 0 && low_percent != high_percent))
        return not_an_interval(name, text, err);
    if (!no_high && low >= high)
        return cli_fail(err, GEN_ERROR_ARGUMENT, "%s: \"%s\" is empty, expected LO:HI that rise",
                        name, text);
    const bool is_percent = low_percent || high_percent;
    if (is_percent && (low >= 100 || high > 100))
        return cli_fail(err, GEN_ERROR_ARGUMENT, "%s: \"%s\" is out of range (0%%..100%%)", name,
                        text);
    *interval = is_percent ? (cli_interval){.start = low / 100, .stop = high / 100}
                           : (cli_interval){.low = low, .high = high};
    return GEN_OK;
}
