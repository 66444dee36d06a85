/* seeds.c - lists and ranges of seeds. */
#include "gen/cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum { MAX_COUNT = 1000000 };

/* Reads digits; false when there are none or too many. */
static bool read_number(const char **text, uint64_t *value)
{
    if (**text < '0' || **text > '9')
        return false;
    char *end;
    errno = 0;
    *value = strtoull(*text, &end, 10);
    *text = end;
    return errno == 0;
}

static gen_status not_seeds(const char *name, const char *text, gen_error *err)
{
    return cli_fail(err, GEN_ERROR_ARGUMENT,
                    "%s: \"%s\" is not a seed, a list (1,2,5..9) or random", name, text);
}

gen_status cli_seeds_parse(cli_seeds *seeds, const char *name, const char *text, gen_error *err)
{
    cli_seeds s = {0};
    /* -1 is what other programs take for random. */
    if (strcmp(text, "random") == 0 || strcmp(text, "-1") == 0) {
        *seeds = s;
        return GEN_OK;
    }
    for (const char *p = text;;) {
        uint64_t first, last;
        if (s.num_ranges == CLI_MAX_SEED_RANGES)
            return cli_fail(err, GEN_ERROR_ARGUMENT,
                            "%s: more than %d entries; ranges (5..9) "
                            "hold more",
                            name, CLI_MAX_SEED_RANGES);
        if (!read_number(&p, &first))
            return not_seeds(name, text, err);
        last = first;
        if (p[0] == '.' && p[1] == '.') {
            p += 2;
            if (!read_number(&p, &last))
                return not_seeds(name, text, err);
        }
        if (last < first)
            return cli_fail(err, GEN_ERROR_ARGUMENT, "%s: the range in \"%s\" runs backwards", name,
                            text);
        if (last - first >= MAX_COUNT || s.count + (last - first) >= MAX_COUNT)
            return cli_fail(err, GEN_ERROR_ARGUMENT, "%s: \"%s\" asks for more than %d pictures",
                            name, text, MAX_COUNT);
        s.ranges[s.num_ranges].first = first;
        s.ranges[s.num_ranges++].last = last;
        s.count += last - first + 1;
        if (*p == '\0')
            break;
        if (*p++ != ',')
            return not_seeds(name, text, err);
    }
    *seeds = s;
    return GEN_OK;
}

uint64_t cli_seeds_at(const cli_seeds *seeds, uint64_t i)
{
    for (int r = 0; r < seeds->num_ranges; r++) {
        const uint64_t size = seeds->ranges[r].last - seeds->ranges[r].first + 1;
        if (i < size)
            return seeds->ranges[r].first + i;
        i -= size;
    }
    return 0;
}

uint64_t cli_random_seed(void)
{
    uint32_t seed;
    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed) {
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        seed = (uint32_t)(t.tv_nsec ^ t.tv_sec ^ ((long)getpid() << 16));
    }
    return seed;
}
