/* lower.c - prompts as some models were trained on them. */
#include "gen/text/text.h"

#include <string.h>
#include <utf8proc.h>

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

gen_status gen_text_lower(char **out, const char *text, gen_error *err)
{
    while (is_space(*text))
        text++;
    size_t size = strlen(text), used = 0;
    while (size && is_space(text[size - 1]))
        size--;
    char *lower = gen_malloc(2 * size + 8); /* no letter grows by more than half */
    if (!lower)
        return gen_no_memory(err, "prompt", 2 * size + 8);
    for (size_t i = 0; i < size;) {
        utf8proc_int32_t c;
        const utf8proc_ssize_t n =
            utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(size - i), &c);
        if (n < 1) {
            gen_free(lower);
            return gen_fail(err, GEN_ERROR_ARGUMENT, "prompt: byte %zu is not UTF-8", i);
        }
        used += (size_t)utf8proc_encode_char(utf8proc_tolower(c), (utf8proc_uint8_t *)lower + used);
        i += (size_t)n;
    }
    lower[used] = '\0';
    *out = lower;
    return GEN_OK;
}
