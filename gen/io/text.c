/* text.c - strings that grow, and the little of Unicode that texts in picture files need. */
#include "gen/io/io.h"

#include <string.h>

#include "gen/core/alloc.h"

static const uint32_t REPLACEMENT = 0xfffd;

void gen_string_add(gen_string *s, const char *data, size_t n)
{
    if (s->is_out_of_memory)
        return;
    if (s->size + n + 1 > s->room) {
        const size_t room = 2 * (s->size + n) + 64;
        char *grown = gen_realloc(s->text, room);
        if (!grown) {
            s->is_out_of_memory = true;
            return;
        }
        s->text = grown;
        s->room = room;
    }
    memcpy(s->text + s->size, data, n);
    s->size += n;
    s->text[s->size] = '\0';
}

uint32_t gen_utf8_next(const char **text)
{
    const unsigned char *p = (const unsigned char *)*text;
    static const uint32_t smallest[] = {0, 0x80, 0x800, 0x10000};
    const int extra = p[0] < 0x80   ? 0
                      : p[0] < 0xc2 ? -1
                      : p[0] < 0xe0 ? 1
                      : p[0] < 0xf0 ? 2
                      : p[0] < 0xf5 ? 3
                                    : -1;
    *text += 1;
    if (extra <= 0)
        return extra == 0 ? p[0] : REPLACEMENT;
    uint32_t value = p[0] & (0x3fu >> extra);
    for (int i = 1; i <= extra; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return REPLACEMENT;
        value = value << 6 | (p[i] & 0x3f);
    }
    if (value < smallest[extra] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000))
        return REPLACEMENT;
    *text += extra;
    return value;
}

int gen_utf8_put(char *out, uint32_t c)
{
    if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        c = REPLACEMENT;
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    const int extra = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    static const unsigned char lead[] = {0, 0xc0, 0xe0, 0xf0};
    out[0] = (char)(lead[extra] | c >> (6 * extra));
    for (int i = 1; i <= extra; i++)
        out[i] = (char)(0x80 | (c >> (6 * (extra - i)) & 0x3f));
    return extra + 1;
}

bool gen_utf8_is_valid(const char *text, size_t size)
{
    const char *p = text, *const end = text + size;
    while (p < end) {
        const char *const start = p;
        /* A sequence cut by the end would read behind it. */
        const unsigned char c = (unsigned char)*p;
        const size_t needed = c < 0xc0 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
        if (needed > (size_t)(end - p))
            return false;
        if (gen_utf8_next(&p) == REPLACEMENT && p - start == 1)
            return false;
    }
    return true;
}

bool gen_utf8_is_latin1(const char *text)
{
    if (!gen_utf8_is_valid(text, strlen(text)))
        return false;
    while (*text)
        if (gen_utf8_next(&text) > 0xff)
            return false;
    return true;
}

char *gen_utf8_to_latin1(const char *text)
{
    char *out = gen_malloc(strlen(text) + 1);
    if (!out)
        return NULL;
    size_t n = 0;
    while (*text)
        out[n++] = (char)gen_utf8_next(&text);
    out[n] = '\0';
    return out;
}

char *gen_latin1_to_utf8(const uint8_t *text, size_t size)
{
    char *out = gen_malloc(2 * size + 1);
    if (!out)
        return NULL;
    size_t n = 0;
    for (size_t i = 0; i < size && text[i]; i++)
        n += (size_t)gen_utf8_put(out + n, text[i]);
    out[n] = '\0';
    return out;
}

char *gen_utf8_clean(const char *text)
{
    char *out = gen_malloc(3 * strlen(text) + 1);
    if (!out)
        return NULL;
    size_t n = 0;
    while (*text)
        n += (size_t)gen_utf8_put(out + n, gen_utf8_next(&text));
    out[n] = '\0';
    return out;
}
