/* names.c - comparing names of samplers, schedules and prediction types. */
#include "samplers/names.h"

#include <string.h>

static const char *next_letter(const char *s, const char *end)
{
    while (s < end && (*s == ' ' || *s == '-' || *s == '_'))
        s++;
    return s;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool equal(const char *a, const char *a_end, const char *b, const char *b_end)
{
    for (;;) {
        a = next_letter(a, a_end);
        b = next_letter(b, b_end);
        if (a == a_end || b == b_end)
            return a == a_end && b == b_end;
        if (lower(*a++) != lower(*b++))
            return false;
    }
}

bool gen_name_equal(const char *a, size_t n, const char *b)
{
    return equal(a, a + n, b, b + strlen(b));
}

bool gen_name_matches(const char *text, const char *name, const char *aliases)
{
    const char *end = text + strlen(text);
    if (equal(text, end, name, name + strlen(name)))
        return true;
    for (const char *a = aliases; a && *a;) {
        const char *comma = strchr(a, ',');
        const char *a_end = comma ? comma : a + strlen(a);
        if (equal(text, end, a, a_end))
            return true;
        a = comma ? comma + 1 : a_end;
    }
    return false;
}
