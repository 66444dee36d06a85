/* exif.c - the two fields of an EXIF block we care for: orientation and user comment.
 *
 * EXIF is a TIFF file (TIFF 6.0, sec. 2): a byte order, then directories of 12-byte entries, tag,
 * type, count and value or offset.  Each read checks its bounds, so offsets may be anything. */
#include "gen/io/io.h"

#include <string.h>

#include "gen/core/alloc.h"

enum {
    TAG_ORIENTATION = 0x0112,
    TAG_EXIF_FOLDER = 0x8769,
    TAG_USER_COMMENT = 0x9286,
    TYPE_SHORT = 3,
    TYPE_LONG = 4,
    TYPE_UNDEFINED = 7,
    CODE_SIZE = 8 /* the user comment begins with the name of its coding */
};

typedef struct tiff {
    const uint8_t *data;
    size_t size;
    bool is_big_endian;
} tiff;

typedef struct tiff_entry {
    unsigned tag, type;
    uint32_t count;
    size_t value_at; /* where the four bytes of value or offset are */
} tiff_entry;

static uint32_t get_number(const tiff *t, size_t at, int num_bytes)
{
    if (at > t->size || (size_t)num_bytes > t->size - at)
        return 0;
    uint32_t value = 0;
    for (int i = 0; i < num_bytes; i++)
        value = value << 8 | t->data[at + (size_t)(t->is_big_endian ? i : num_bytes - 1 - i)];
    return value;
}

/* The entry with a tag in the directory at an offset. */
static bool find_entry(const tiff *t, size_t folder, unsigned tag, tiff_entry *entry)
{
    const uint32_t count = get_number(t, folder, 2);
    for (uint32_t i = 0; i < count; i++) {
        const size_t at = folder + 2 + 12 * (size_t)i;
        if (at + 12 > t->size)
            return false;
        if (get_number(t, at, 2) != tag)
            continue;
        *entry = (tiff_entry){.tag = tag,
                              .type = get_number(t, at + 2, 2),
                              .count = get_number(t, at + 4, 4),
                              .value_at = at + 8};
        return true;
    }
    return false;
}

/* Which byte order a UTF-16 text has: the one its block claims, unless most of the zero bytes, the
 * high halves of Latin letters, say otherwise.  Writers disagree about it. */
static bool is_utf16_big_endian(const uint8_t *data, size_t num_units, bool claimed)
{
    size_t even = 0, odd = 0;
    for (size_t i = 0; i < num_units; i++) {
        even += data[2 * i] == 0;
        odd += data[2 * i + 1] == 0;
    }
    return even == odd ? claimed : even > odd;
}

static char *utf16_to_utf8(const uint8_t *data, size_t size, bool claims_big_endian)
{
    const size_t num_units = size / 2;
    const bool is_big = is_utf16_big_endian(data, num_units, claims_big_endian);
    char *out = gen_malloc(3 * num_units + 1);
    if (!out)
        return NULL;
    size_t n = 0;
    for (size_t i = 0; i < num_units; i++) {
        const uint8_t *p = data + 2 * i;
        uint32_t unit = is_big ? p[0] * 256u + p[1] : p[1] * 256u + p[0];
        if (unit == 0)
            break;
        if (i == 0 && unit == 0xfeff)
            continue;
        if (unit >= 0xd800 && unit < 0xdc00 && i + 1 < num_units) {
            const uint32_t low = is_big ? p[2] * 256u + p[3] : p[3] * 256u + p[2];
            if (low >= 0xdc00 && low < 0xe000) {
                unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                i++;
            }
        }
        n += (size_t)gen_utf8_put(out + n, unit);
    }
    out[n] = '\0';
    return out;
}

static char *comment_to_utf8(const uint8_t *data, size_t size, bool is_big_endian)
{
    const uint8_t *text = data + CODE_SIZE;
    size_t n = size - CODE_SIZE;
    if (memcmp(data, "UNICODE\0", CODE_SIZE) == 0)
        return utf16_to_utf8(text, n, is_big_endian);
    const uint8_t *end = memchr(text, '\0', n);
    if (end)
        n = (size_t)(end - text);
    return gen_utf8_is_valid((const char *)text, n) ? gen_strndup((const char *)text, n)
                                                    : gen_latin1_to_utf8(text, n);
}

gen_status gen_exif_read(gen_exif *exif, const uint8_t *data, size_t size, gen_error *err)
{
    *exif = (gen_exif){.orientation = 1};
    if (size < 8 || (memcmp(data, "II*\0", 4) != 0 && memcmp(data, "MM\0*", 4) != 0))
        return GEN_OK;
    const tiff t = {.data = data, .size = size, .is_big_endian = data[0] == 'M'};
    const size_t root = get_number(&t, 4, 4);
    tiff_entry entry;
    if (find_entry(&t, root, TAG_ORIENTATION, &entry) && entry.type == TYPE_SHORT) {
        const uint32_t value = get_number(&t, entry.value_at, 2);
        if (value >= 1 && value <= 8)
            exif->orientation = (int)value;
    }
    if (!find_entry(&t, root, TAG_EXIF_FOLDER, &entry) || entry.type != TYPE_LONG)
        return GEN_OK;
    const size_t folder = get_number(&t, entry.value_at, 4);
    if (!find_entry(&t, folder, TAG_USER_COMMENT, &entry) || entry.count <= CODE_SIZE)
        return GEN_OK;
    const size_t at = get_number(&t, entry.value_at, 4);
    if (at > size || entry.count > size - at)
        return GEN_OK;
    static const uint8_t jis[CODE_SIZE] = "JIS";
    if (memcmp(data + at, jis, CODE_SIZE) == 0)
        return GEN_OK;
    exif->user_comment = comment_to_utf8(data + at, entry.count, t.is_big_endian);
    return exif->user_comment ? GEN_OK : gen_no_memory(err, "EXIF comment", entry.count);
}

/* ---- writing ----------------------------------------------------------------------------------
 */

static void put_number(uint8_t **p, uint32_t value, int num_bytes)
{
    for (int i = num_bytes - 1; i >= 0; i--)
        *(*p)++ = (uint8_t)(value >> (8 * i));
}

static void put_entry(uint8_t **p, unsigned tag, unsigned type, uint32_t count, uint32_t value)
{
    put_number(p, tag, 2);
    put_number(p, type, 2);
    put_number(p, count, 4);
    put_number(p, value, 4);
}

/* Writes UTF-16 in the block's byte order until the text or the room ends; returns the bytes. */
static size_t put_utf16(uint8_t *out, size_t room, const char *text)
{
    uint8_t *p = out;
    while (*text) {
        const uint32_t c = gen_utf8_next(&text);
        const size_t needed = c > 0xffff ? 4 : 2;
        if ((size_t)(p - out) + needed > room)
            break;
        if (c > 0xffff) {
            put_number(&p, 0xd800 + ((c - 0x10000) >> 10), 2);
            put_number(&p, 0xdc00 + ((c - 0x10000) & 0x3ff), 2);
        } else {
            put_number(&p, c, 2);
        }
    }
    return (size_t)(p - out);
}

static bool is_ascii(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text >= 0x80)
            return false;
    return true;
}

/* Layout: header (8), root folder with the offset of the EXIF folder (18), EXIF folder with the
 * comment's offset (18), comment.  Big endian, because readers take UTF-16 here for that. */
gen_status gen_exif_build(uint8_t **out, size_t *out_size, const char *user_comment,
                          size_t max_size, gen_error *err)
{
    enum { ROOT = 8, FOLDER = ROOT + 18, COMMENT = FOLDER + 18 };
    const size_t length = strlen(user_comment);
    const size_t wanted = 2 * length; /* a byte of UTF-8 makes at most one unit of UTF-16 */
    const size_t room = wanted < max_size ? wanted : max_size;
    uint8_t *data = gen_malloc(COMMENT + CODE_SIZE + room + 1);
    if (!data)
        return gen_no_memory(err, "EXIF comment", COMMENT + CODE_SIZE + room + 1);

    uint8_t *comment = data + COMMENT;
    size_t size;
    if (is_ascii(user_comment)) {
        memcpy(comment, "ASCII\0\0\0", CODE_SIZE);
        size = length < room ? length : room;
        memcpy(comment + CODE_SIZE, user_comment, size);
    } else {
        memcpy(comment, "UNICODE\0", CODE_SIZE);
        size = put_utf16(comment + CODE_SIZE, room, user_comment);
    }
    uint8_t *p = data;
    memcpy(p, "MM\0*", 4);
    p += 4;
    put_number(&p, ROOT, 4);
    put_number(&p, 1, 2);
    put_entry(&p, TAG_EXIF_FOLDER, TYPE_LONG, 1, FOLDER);
    put_number(&p, 0, 4);
    put_number(&p, 1, 2);
    put_entry(&p, TAG_USER_COMMENT, TYPE_UNDEFINED, (uint32_t)(CODE_SIZE + size), COMMENT);
    put_number(&p, 0, 4);
    *out = data;
    *out_size = COMMENT + CODE_SIZE + size;
    return GEN_OK;
}
