/* labels.c - looking up a class. */
#include "gen/pipeline/labels.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* How well the comma-separated `names` have `wanted` among them: 2 exactly, 1 but for case, 0. */
static int has_name(const char *names, const char *wanted)
{
    const size_t n = strlen(wanted);
    int best = 0;
    while (*names) {
        names += strspn(names, " ,");
        size_t length = strcspn(names, ",");
        const size_t step = length;
        while (length && names[length - 1] == ' ')
            length--;
        if (length == n && strncasecmp(names, wanted, n) == 0) {
            if (strncmp(names, wanted, n) == 0)
                return 2;
            best = 1;
        }
        names += step;
    }
    return best;
}

static bool parse_number(long long *out, const char *text)
{
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return end != text && *end == '\0';
}

static gen_status find_name(int *out, const json_t *table, int num_classes, const char *wanted,
                            const char *path, gen_error *err)
{
    const char *key;
    json_t *value;
    int best = 0;
    json_object_foreach((json_t *)(uintptr_t)table, key, value)
    {
        long long id;
        if (!json_is_string(value) || !parse_number(&id, key) || id < 0 || id >= num_classes)
            continue;
        const int fit = has_name(json_string_value(value), wanted);
        if (fit > best || (fit && fit == best && id > *out)) {
            best = fit;
            *out = (int)id;
        }
    }
    if (best)
        return GEN_OK;
    gen_fail(err, GEN_ERROR_ARGUMENT, "class: \"%s\" is none of the %d classes of %s", wanted,
             num_classes, path);
    return gen_hint(err, "names are in model_index.json under \"id2label\"; or give a number with "
                         "--class");
}

gen_status gen_label_find(int *out, const gen_json *index, int num_classes, const char *wanted,
                          const char *path, gen_error *err)
{
    const json_t *table = index ? gen_json_get(index, "id2label") : NULL;
    long long number;
    *out = -1;
    if (parse_number(&number, wanted)) {
        if (errno || number < 0 || number >= num_classes) {
            gen_fail(err, GEN_ERROR_ARGUMENT, "class: %s is out of range (0..%d)", wanted,
                     num_classes - 1);
            return gen_hint(err, "%s knows %d classes", path, num_classes);
        }
        *out = (int)number;
        return GEN_OK;
    }
    if (!json_is_object(table)) {
        gen_fail(err, GEN_ERROR_ARGUMENT,
                 "class: \"%s\" is a name, and %s has no names of its classes", wanted, path);
        return gen_hint(err,
                        "give a number with --class 0..%d, or add \"id2label\" to its "
                        "model_index.json",
                        num_classes - 1);
    }
    return find_name(out, table, num_classes, wanted, path, err);
}
