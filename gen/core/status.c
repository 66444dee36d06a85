/* status.c - filling errors. */
#include "gen/core/status.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Makes a message one printable line and cuts a UTF-8 character that the buffer split. */
static void tidy(char *text, size_t size)
{
    size_t n = strnlen(text, size - 1);
    text[n] = '\0';
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            text[i] = '?';
    if (n + 1 < size)
        return;
    size_t start = n;
    while (start > 0 && ((unsigned char)text[start - 1] & 0xc0) == 0x80)
        start--;
    if (start > 0 && (unsigned char)text[start - 1] >= 0xc0) {
        const unsigned char lead = (unsigned char)text[start - 1];
        const size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
        if (n - (start - 1) < length)
            text[start - 1] = '\0';
    }
}

gen_status gen_fail(gen_error *err, gen_status status, const char *format, ...)
{
    if (err) {
        va_list args;
        va_start(args, format);
        err->status = status;
        err->hint[0] = '\0';
        vsnprintf(err->message, sizeof err->message, format, args);
        va_end(args);
        tidy(err->message, sizeof err->message);
    }
    return status;
}

gen_status gen_hint(gen_error *err, const char *format, ...)
{
    if (!err)
        return GEN_ERROR_INTERNAL;
    va_list args;
    va_start(args, format);
    vsnprintf(err->hint, sizeof err->hint, format, args);
    va_end(args);
    tidy(err->hint, sizeof err->hint);
    return err->status;
}

gen_status gen_fail_in(gen_error *err, gen_status status, const char *format, ...)
{
    if (!err)
        return status;
    char place[256], old[sizeof err->message];
    va_list args;
    va_start(args, format);
    vsnprintf(place, sizeof place, format, args);
    va_end(args);
    memcpy(old, err->message, sizeof old);
    const int n = snprintf(err->message, sizeof err->message, "%s: ", place);
    const size_t used = n < 0 ? 0 : (size_t)n;
    if (used < sizeof err->message)
        snprintf(err->message + used, sizeof err->message - used, "%.*s",
                 (int)(sizeof err->message - used - 1), old);
    err->status = status;
    tidy(err->message, sizeof err->message);
    return status;
}

bool gen_mul_size(size_t a, size_t b, size_t *product)
{
    if (b != 0 && a > SIZE_MAX / b)
        return false;
    *product = a * b;
    return true;
}

bool gen_add_size(size_t a, size_t b, size_t *sum)
{
    if (a > SIZE_MAX - b)
        return false;
    *sum = a + b;
    return true;
}
