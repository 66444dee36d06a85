/* ppm.c - the PNM family: P1 to P6 and PAM (P7) in, P5, P6 and P7 out.
 *
 * Samples of any maximum up to 65535 are scaled to 8 bits; 1 is black in the bitmaps P1 and P4. */
#include "gen/io/io.h"

#include <errno.h>
#include <string.h>

#include "gen/core/alloc.h"

typedef struct pnm_reader {
    const gen_bytes *bytes;
    size_t position;
    int kind; /* the digit after the P */
    int width, height, channels;
    unsigned max_value;
} pnm_reader;

bool gen_is_pnm(const gen_bytes *bytes)
{
    return bytes->size >= 3 && bytes->data[0] == 'P' && bytes->data[1] >= '1' &&
           bytes->data[1] <= '7' && (bytes->data[2] == '#' || bytes->data[2] <= ' ');
}

static bool is_space(int c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static int peek(const pnm_reader *r)
{
    return r->position < r->bytes->size ? r->bytes->data[r->position] : -1;
}

/* White space and comments, which run from '#' to the end of the line. */
static void skip_space(pnm_reader *r)
{
    for (int c; (c = peek(r)) == '#' || is_space(c);) {
        if (c == '#')
            while (peek(r) != -1 && peek(r) != '\n')
                r->position++;
        else
            r->position++;
    }
}

/* A whole number of at most 10^9, or -1. */
static int64_t read_number(pnm_reader *r)
{
    skip_space(r);
    int64_t value = -1;
    for (int c; (c = peek(r)) >= '0' && c <= '9'; r->position++) {
        value = (value < 0 ? 0 : value * 10) + (c - '0');
        if (value > 1000000000)
            return -1;
    }
    return value;
}

static gen_status bad_header(const pnm_reader *r, gen_error *err)
{
    return gen_fail(err, GEN_ERROR_INPUT, "%s: damaged PNM header at byte %zu", r->bytes->path,
                    r->position);
}

/* One "KEY value" line of a PAM header; false at ENDHDR or on damage (then *is_bad). */
static bool read_pam_line(pnm_reader *r, int64_t *width, int64_t *height, int64_t *depth,
                          int64_t *max_value, bool *is_bad)
{
    char key[16] = "";
    size_t n = 0;
    skip_space(r);
    for (int c; (c = peek(r)) != -1 && !is_space(c); r->position++)
        if (n + 1 < sizeof key)
            key[n++] = (char)c;
    if (strcmp(key, "ENDHDR") == 0) {
        *is_bad = peek(r) != '\n';
        r->position++;
        return false;
    }
    int64_t *const targets[] = {width, height, depth, max_value};
    static const char *const keys[] = {"WIDTH", "HEIGHT", "DEPTH", "MAXVAL"};
    for (size_t i = 0; i < 4; i++)
        if (strcmp(key, keys[i]) == 0) {
            *targets[i] = read_number(r);
            return true;
        }
    if (strcmp(key, "TUPLTYPE") != 0)
        *is_bad = true;
    while (peek(r) != -1 && peek(r) != '\n')
        r->position++;
    return !*is_bad;
}

static gen_status read_header(pnm_reader *r, gen_error *err)
{
    int64_t width = -1, height = -1, depth = 1, max_value = 1;
    r->kind = r->bytes->data[1] - '0';
    r->position = 2;
    if (r->kind == 7) {
        bool is_bad = false;
        while (read_pam_line(r, &width, &height, &depth, &max_value, &is_bad))
            ;
        if (is_bad)
            return bad_header(r, err);
    } else {
        width = read_number(r);
        height = read_number(r);
        depth = r->kind == 3 || r->kind == 6 ? 3 : 1;
        if (r->kind != 1 && r->kind != 4)
            max_value = read_number(r);
        if (r->kind >= 4 && !is_space(peek(r))) /* one space, then the samples */
            return bad_header(r, err);
        r->position += r->kind >= 4;
    }
    if (width < 0 || height < 0 || max_value < 1 || max_value > 65535 || depth < 1 || depth > 4)
        return bad_header(r, err);
    GEN_TRY(gen_image_check_size(r->bytes->path, width, height, err));
    r->width = (int)width;
    r->height = (int)height;
    r->channels = (int)depth;
    r->max_value = (unsigned)max_value;
    return GEN_OK;
}

static gen_status truncated(const pnm_reader *r, gen_error *err)
{
    return gen_fail(err, GEN_ERROR_INPUT, "%s: truncated PNM: ends before %dx%d pixels",
                    r->bytes->path, r->width, r->height);
}

static uint8_t to_8_bits(unsigned value, unsigned max_value)
{
    return (uint8_t)(value >= max_value ? 255 : (value * 255 + max_value / 2) / max_value);
}

static gen_status read_text_samples(pnm_reader *r, gen_image *image, gen_error *err)
{
    const size_t count = image->stride * (size_t)image->height;
    for (size_t i = 0; i < count; i++) {
        int64_t value;
        if (r->kind == 1) { /* the digits of a bitmap may touch */
            skip_space(r);
            value = peek(r) == '0' ? 1 : peek(r) == '1' ? 0 : -1;
            r->position++;
        } else {
            value = read_number(r);
        }
        if (value < 0)
            return truncated(r, err);
        image->data[i] =
            to_8_bits(value > r->max_value ? r->max_value : (unsigned)value, r->max_value);
    }
    return GEN_OK;
}

static void read_bits(const pnm_reader *r, gen_image *image)
{
    const uint8_t *in = r->bytes->data + r->position;
    const size_t row = ((size_t)r->width + 7) / 8;
    for (int y = 0; y < r->height; y++)
        for (int x = 0; x < r->width; x++) {
            const unsigned byte = in[(size_t)y * row + (size_t)x / 8];
            image->data[(size_t)y * image->stride + (size_t)x] = byte >> (7 - x % 8) & 1 ? 0 : 255;
        }
}

static void read_bytes(const pnm_reader *r, gen_image *image)
{
    const uint8_t *in = r->bytes->data + r->position;
    const size_t count = image->stride * (size_t)image->height;
    if (r->max_value == 255)
        memcpy(image->data, in, count);
    else if (r->max_value < 256)
        for (size_t i = 0; i < count; i++)
            image->data[i] = to_8_bits(in[i], r->max_value);
    else
        for (size_t i = 0; i < count; i++)
            image->data[i] = to_8_bits(in[2 * i] * 256u + in[2 * i + 1], r->max_value);
}

/* Whether the file is long enough for its samples; a text sample takes at least one byte. */
static bool is_complete(const pnm_reader *r)
{
    const uint64_t row = (uint64_t)r->width * (uint64_t)r->channels;
    uint64_t needed = row * (uint64_t)r->height;
    if (r->kind == 4)
        needed = (row + 7) / 8 * (uint64_t)r->height;
    else if (r->kind > 4 && r->max_value > 255)
        needed *= 2;
    return r->position <= r->bytes->size && needed <= r->bytes->size - r->position;
}

gen_status gen_pnm_decode(const gen_decoded *out, const gen_bytes *bytes, gen_error *err)
{
    pnm_reader r = {.bytes = bytes};
    GEN_TRY(read_header(&r, err));
    out->info->width = r.width;
    out->info->height = r.height;
    out->info->channels = r.channels;
    out->info->bit_depth = r.kind == 1 || r.kind == 4 ? 1 : r.max_value > 255 ? 16 : 8;
    if (!out->image)
        return GEN_OK;
    if (!is_complete(&r))
        return truncated(&r, err);
    gen_image *image = NULL;
    gen_status status = gen_image_new(&image, r.width, r.height, r.channels, err);
    if (status)
        return status;
    if (r.kind < 4)
        status = read_text_samples(&r, image, err);
    else if (r.kind == 4)
        read_bits(&r, image);
    else
        read_bytes(&r, image);
    if (status)
        gen_image_free(image);
    else
        *out->image = image;
    return status;
}

/* Gray is P5 and RGB P6; with alpha only PAM will do. */
gen_status gen_pnm_encode(FILE *f, const char *path, const gen_image *image,
                          const gen_image_save_params *params, gen_error *err)
{
    (void)params;
    int n;
    if (image->channels % 2 == 0)
        n = fprintf(f, "P7\nWIDTH %d\nHEIGHT %d\nDEPTH %d\nMAXVAL 255\nTUPLTYPE %s_ALPHA\nENDHDR\n",
                    image->width, image->height, image->channels,
                    image->channels == 2 ? "GRAYSCALE" : "RGB");
    else
        n = fprintf(f, "P%d\n%d %d\n255\n", image->channels == 1 ? 5 : 6, image->width,
                    image->height);
    const size_t row = (size_t)image->width * (size_t)image->channels;
    for (int y = 0; n >= 0 && y < image->height; y++)
        if (fwrite(image->data + (size_t)y * image->stride, 1, row, f) != row)
            n = -1;
    return n < 0 ? gen_output_failed(err, path, errno) : GEN_OK;
}
