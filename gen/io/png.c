/* png.c - PNG in and out through libpng.
 *
 * libpng reports errors by longjmp.  Everything that must be freed lives in a struct of the
 * caller's frame; the function that calls setjmp() keeps no changing local of its own, so nothing
 * is lost or clobbered by the jump. */
#include "gen/io/io.h"

#include <errno.h>
#include <png.h>
#include <setjmp.h>
#include <string.h>

#include "gen/core/alloc.h"

/* The memory pointer of both directions is a flag: an allocation failed. */
static png_voidp png_allocate(png_structp png, png_alloc_size_t size)
{
    void *p = gen_malloc(size);
    if (!p)
        *(bool *)png_get_mem_ptr(png) = true;
    return p;
}

static void png_release(png_structp png, png_voidp p)
{
    (void)png;
    gen_free(p);
}

static void ignore_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

/* ---- reading ----------------------------------------------------------------------------------
 */

typedef struct png_reader {
    png_structp png;
    png_infop info;
    const gen_bytes *bytes;
    size_t position;
    gen_image *image;
    bool is_past_end, is_out_of_memory;
    char reason[160];
} png_reader;

bool gen_is_png(const gen_bytes *bytes)
{
    return bytes->size >= 8 && png_sig_cmp(bytes->data, 0, 8) == 0;
}

static void on_read_error(png_structp png, png_const_charp message)
{
    png_reader *r = png_get_error_ptr(png);
    snprintf(r->reason, sizeof r->reason, "%s", message);
    png_longjmp(png, 1);
}

static void read_bytes(png_structp png, png_bytep data, size_t size)
{
    png_reader *r = png_get_io_ptr(png);
    if (size > r->bytes->size - r->position) {
        r->is_past_end = true;
        png_error(png, "ends early");
    }
    memcpy(data, r->bytes->data + r->position, size);
    r->position += size;
}

/* Reads the header and asks for 8 bits, no palette, alpha where the file has transparency. */
static bool read_header(png_reader *r, gen_picture_info *info)
{
    if (setjmp(png_jmpbuf(r->png)))
        return false;
    png_set_user_limits(r->png, GEN_IMAGE_MAX_SIDE, GEN_IMAGE_MAX_SIDE);
    png_set_chunk_malloc_max(r->png, 16u << 20);
    png_set_read_fn(r->png, r, read_bytes);
    png_read_info(r->png, r->info);
    info->width = (int)png_get_image_width(r->png, r->info);
    info->height = (int)png_get_image_height(r->png, r->info);
    info->bit_depth = png_get_bit_depth(r->png, r->info);
    png_set_scale_16(r->png);
    png_set_expand(r->png);
    png_set_interlace_handling(r->png);
    png_read_update_info(r->png, r->info);
    info->channels = png_get_channels(r->png, r->info);
    return true;
}

/* One pass over the rows per interlace pass. */
static bool read_pixels(png_reader *r, int num_passes)
{
    if (setjmp(png_jmpbuf(r->png)))
        return false;
    for (int pass = 0; pass < num_passes; pass++)
        for (int y = 0; y < r->image->height; y++)
            png_read_row(r->png, r->image->data + (size_t)y * r->image->stride, NULL);
    return true;
}

/* Chunks may follow the pixels.  Damage there costs their texts and nothing else. */
static void read_end(png_reader *r)
{
    if (setjmp(png_jmpbuf(r->png)))
        return;
    png_read_end(r->png, r->info);
}

static gen_status collect_texts(gen_picture_info *info, png_reader *r, gen_error *err)
{
    png_textp texts;
    int count = 0;
    png_get_text(r->png, r->info, &texts, &count);
    for (int i = 0; i < count; i++) {
        const bool is_utf8 = texts[i].compression >= PNG_ITXT_COMPRESSION_NONE;
        const size_t size = is_utf8 ? texts[i].itxt_length : texts[i].text_length;
        if (!texts[i].text)
            continue;
        if (is_utf8 && gen_utf8_is_valid(texts[i].text, size)) {
            GEN_TRY(gen_info_add_text(info, texts[i].key, texts[i].text, size, err));
            continue;
        }
        char *value = gen_latin1_to_utf8((const uint8_t *)texts[i].text, size);
        if (!value)
            return gen_no_memory(err, "text of a PNG", size);
        const gen_status status = gen_info_add_text(info, texts[i].key, value, strlen(value), err);
        gen_free(value);
        GEN_TRY(status);
    }
    return GEN_OK;
}

static gen_status collect_exif(gen_picture_info *info, png_reader *r, gen_error *err)
{
    png_bytep data;
    png_uint_32 size;
    if (!png_get_eXIf_1(r->png, r->info, &size, &data))
        return GEN_OK;
    gen_exif exif;
    GEN_TRY(gen_exif_read(&exif, data, size, err));
    info->orientation = exif.orientation;
    gen_free(exif.user_comment);
    return GEN_OK;
}

/* A profile for other kinds of pixels than ours is dropped; ICC.1 7.2.6: bytes 16..19. */
static bool profile_fits(const uint8_t *icc, size_t size, int channels)
{
    return size >= 128 && memcmp(icc + 16, channels < 3 ? "GRAY" : "RGB ", 4) == 0;
}

static gen_status keep_profile(png_reader *r, gen_picture_info *info, gen_error *err)
{
    png_charp name;
    png_bytep icc;
    png_uint_32 size = 0;
    int method;
    if (!png_get_iCCP(r->png, r->info, &name, &method, &icc, &size) ||
        !profile_fits(icc, size, info->channels))
        return GEN_OK;
    info->icc_size = size;
    if (!r->image)
        return GEN_OK;
    r->image->icc = gen_malloc(size);
    if (!r->image->icc)
        return gen_no_memory(err, "colour profile", size);
    memcpy(r->image->icc, icc, size);
    r->image->icc_size = size;
    return GEN_OK;
}

/* Deflate packs at most 1032 bytes into one, so a short file cannot hold a large picture and no
 * memory is asked for it. */
static bool is_plausible(const gen_bytes *bytes, const gen_picture_info *info)
{
    const uint64_t bits = (uint64_t)info->width * (uint64_t)info->height; /* one bit a pixel */
    return bits / 8 / 1040 <= bytes->size;
}

static gen_status decode(png_reader *r, const gen_decoded *out, gen_error *err)
{
    const char *path = r->bytes->path;
    if (!read_header(r, out->info))
        goto damaged;
    GEN_TRY(gen_image_check_size(path, out->info->width, out->info->height, err));
    if (out->image) {
        if (!is_plausible(r->bytes, out->info))
            return gen_fail(err, GEN_ERROR_INPUT,
                            "%s: damaged PNG: %dx%d pixels in %zu bytes of file", path,
                            out->info->width, out->info->height, r->bytes->size);
        GEN_TRY(gen_image_new(&r->image, out->info->width, out->info->height, out->info->channels,
                              err));
        const bool is_interlaced = png_get_interlace_type(r->png, r->info) == PNG_INTERLACE_ADAM7;
        if (!read_pixels(r, is_interlaced ? PNG_INTERLACE_ADAM7_PASSES : 1))
            goto damaged;
    }
    read_end(r);
    GEN_TRY(collect_exif(out->info, r, err));
    GEN_TRY(keep_profile(r, out->info, err));
    return out->image ? GEN_OK : collect_texts(out->info, r, err);
damaged:
    if (r->is_out_of_memory)
        return gen_fail(err, GEN_ERROR_MEMORY, "%s: no memory to read the PNG", path);
    if (r->is_past_end)
        return gen_fail(err, GEN_ERROR_INPUT, "%s: truncated PNG: ends at byte %zu", path,
                        r->bytes->size);
    return gen_fail(err, GEN_ERROR_INPUT, "%s: damaged PNG: %s", path, r->reason);
}

gen_status gen_png_decode(const gen_decoded *out, const gen_bytes *bytes, gen_error *err)
{
    png_reader r = {.bytes = bytes};
    r.png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, &r, on_read_error, ignore_warning,
                                     &r.is_out_of_memory, png_allocate, png_release);
    if (r.png)
        r.info = png_create_info_struct(r.png);
    gen_status status = r.info ? decode(&r, out, err) : gen_no_memory(err, "PNG reader", sizeof r);
    png_destroy_read_struct(&r.png, &r.info, NULL);
    if (!status && out->image) {
        *out->image = r.image;
        r.image = NULL;
    }
    gen_image_free(r.image);
    return status;
}

/* ---- writing ----------------------------------------------------------------------------------
 */

typedef struct png_writer {
    png_structp png;
    png_infop info;
    FILE *f;            /* NULL: into memory */
    gen_string *memory; /* grows by what is written */
    char *latin1;       /* the text on its way into the info struct */
    bool is_out_of_memory;
    int error_number; /* of a failed write, or 0 */
    char reason[160];
} png_writer;

static void on_write_error(png_structp png, png_const_charp message)
{
    png_writer *w = png_get_error_ptr(png);
    snprintf(w->reason, sizeof w->reason, "%s", message);
    png_longjmp(png, 1);
}

static void write_bytes(png_structp png, png_bytep data, size_t size)
{
    png_writer *w = png_get_io_ptr(png);
    if (!w->f) {
        gen_string_add(w->memory, (const char *)data, size);
        if (!w->memory->is_out_of_memory)
            return;
        w->is_out_of_memory = true;
        png_error(png, "no memory");
    }
    if (fwrite(data, 1, size, w->f) != size) {
        w->error_number = errno;
        png_error(png, "write failed");
    }
}

static void flush_nothing(png_structp png)
{
    (void)png;
}

/* tEXt is what every program reads and holds Latin-1 only; iTXt holds UTF-8.  The JSON record is
 * ours alone and always iTXt. */
static void add_text(png_writer *w, const gen_text *text)
{
    png_text chunk = {.key = (char *)text->key};
    if (strcmp(text->key, "gen") != 0 && gen_utf8_is_latin1(text->value)) {
        w->latin1 = gen_utf8_to_latin1(text->value);
        if (!w->latin1) {
            w->is_out_of_memory = true;
            png_error(w->png, "no memory");
        }
        chunk.compression = PNG_TEXT_COMPRESSION_NONE;
        chunk.text = w->latin1;
        chunk.text_length = strlen(w->latin1);
    } else {
        static char empty[] = "";
        chunk.compression = PNG_ITXT_COMPRESSION_NONE;
        chunk.text = (char *)text->value;
        chunk.itxt_length = strlen(text->value);
        chunk.lang = empty;
        chunk.lang_key = empty;
    }
    png_set_text(w->png, w->info, &chunk, 1);
    gen_free(w->latin1);
    w->latin1 = NULL;
}

static bool write_picture(png_writer *w, const gen_image *image,
                          const gen_image_save_params *params)
{
    static const int color_types[] = {PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA,
                                      PNG_COLOR_TYPE_RGB, PNG_COLOR_TYPE_RGB_ALPHA};
    if (setjmp(png_jmpbuf(w->png)))
        return false;
    png_set_write_fn(w->png, w, write_bytes, flush_nothing);
    png_set_user_limits(w->png, GEN_IMAGE_MAX_SIDE, GEN_IMAGE_MAX_SIDE);
    png_set_IHDR(w->png, w->info, (png_uint_32)image->width, (png_uint_32)image->height, 8,
                 color_types[image->channels - 1], PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    if (image->icc && profile_fits(image->icc, image->icc_size, image->channels))
        png_set_iCCP(w->png, w->info, "icc", PNG_COMPRESSION_TYPE_BASE, image->icc,
                     (png_uint_32)image->icc_size);
    else
        png_set_sRGB(w->png, w->info, PNG_sRGB_INTENT_PERCEPTUAL);
    for (size_t i = 0; i < params->num_texts; i++)
        add_text(w, &params->texts[i]);
    png_write_info(w->png, w->info);
    for (int y = 0; y < image->height; y++)
        png_write_row(w->png, image->data + (size_t)y * image->stride);
    png_write_end(w->png, w->info);
    return true;
}

static gen_status encode(png_writer start, const char *path, const gen_image *image,
                         const gen_image_save_params *params, gen_error *err)
{
    gen_status status = GEN_OK;
    png_writer w = start;
    w.png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, &w, on_write_error, ignore_warning,
                                      &w.is_out_of_memory, png_allocate, png_release);
    if (w.png)
        w.info = png_create_info_struct(w.png);
    if (!w.info)
        status = gen_no_memory(err, path, sizeof w);
    else if (write_picture(&w, image, params))
        status = GEN_OK;
    else if (w.is_out_of_memory)
        status = gen_fail(err, GEN_ERROR_MEMORY, "%s: no memory to write the PNG", path);
    else if (w.error_number)
        status = gen_output_failed(err, path, w.error_number);
    else
        status = gen_fail(err, GEN_ERROR_OUTPUT, "%s: libpng: %s", path, w.reason);
    png_destroy_write_struct(&w.png, &w.info);
    gen_free(w.latin1);
    return status;
}

gen_status gen_png_encode(FILE *f, const char *path, const gen_image *image,
                          const gen_image_save_params *params, gen_error *err)
{
    return encode((png_writer){.f = f}, path, image, params, err);
}

gen_status gen_png_encode_to_memory(gen_string *out, const char *path, const gen_image *image,
                                    const gen_image_save_params *params, gen_error *err)
{
    return encode((png_writer){.memory = out}, path, image, params, err);
}
