/* jpeg.c - JPEG in and out through libjpeg-turbo.
 *
 * libjpeg reports errors by a call that must not return; as in png.c, what must be freed lives in
 * the caller's struct and the function with setjmp() keeps no changing local.
 *
 * Texts: "parameters" is the EXIF user comment, where other programs look.  The "gen" record goes
 * into comment segments, each beginning with "gen " and continuing the one before: a segment holds
 * less than 64 KiB and a record need not. */
#include "gen/io/io.h"

#include <errno.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

#include "gen/core/alloc.h"

enum {
    MARKER_EXIF = JPEG_APP0 + 1,
    MARKER_ICC = JPEG_APP0 + 2,
    MAX_SEGMENT = 65533,
    MAX_SCANS = 200, /* a progressive picture has about ten */
    DEFAULT_QUALITY = 92
};

static const char RECORD_PREFIX[] = "gen ";
static const size_t RECORD_PREFIX_SIZE = sizeof RECORD_PREFIX - 1;

typedef struct jpeg_errors {
    struct jpeg_error_mgr base;
    jmp_buf jump;
    bool is_truncated;
    char reason[JMSG_LENGTH_MAX];
} jpeg_errors;

static void on_error(j_common_ptr cinfo)
{
    jpeg_errors *e = (jpeg_errors *)cinfo->err;
    cinfo->err->format_message(cinfo, e->reason);
    longjmp(e->jump, 1);
}

/* libjpeg goes on after damage and fills the rest with gray; a picture of that kind is not what its
 * owner has.  Stray bytes between segments are harmless and common. */
static void on_message(j_common_ptr cinfo, int level)
{
    jpeg_errors *e = (jpeg_errors *)cinfo->err;
    if (level >= 0)
        return;
    const int code = cinfo->err->msg_code;
    if (code == JWRN_JPEG_EOF)
        e->is_truncated = true;
    if (code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER || code == JWRN_HUFF_BAD_CODE ||
        code == JWRN_ARITH_BAD_CODE || code == JWRN_BOGUS_PROGRESSION)
        cinfo->err->error_exit(cinfo);
}

static void print_nothing(j_common_ptr cinfo)
{
    (void)cinfo;
}

static void set_up_errors(jpeg_errors *e)
{
    jpeg_std_error(&e->base);
    e->base.error_exit = on_error;
    e->base.emit_message = on_message;
    e->base.output_message = print_nothing;
}

/* ---- reading ----------------------------------------------------------------------------------
 */

typedef struct jpeg_reader {
    struct jpeg_decompress_struct cinfo;
    jpeg_errors errors;
    struct jpeg_progress_mgr progress;
    const gen_bytes *bytes;
    gen_image *image;
    JOCTET *icc; /* from libjpeg, by malloc */
    unsigned icc_size;
    uint8_t *cmyk; /* one row */
} jpeg_reader;

bool gen_is_jpeg(const gen_bytes *bytes)
{
    return bytes->size >= 3 && bytes->data[0] == 0xff && bytes->data[1] == 0xd8 &&
           bytes->data[2] == 0xff;
}

/* Each scan of a progressive file costs a pass over the whole picture, so a small file with
 * thousands of scans would take hours. */
static void count_scans(j_common_ptr cinfo)
{
    if (((j_decompress_ptr)cinfo)->input_scan_number > MAX_SCANS) {
        jpeg_errors *e = (jpeg_errors *)cinfo->err;
        snprintf(e->reason, sizeof e->reason, "more than %d scans", MAX_SCANS);
        longjmp(e->jump, 1);
    }
}

static bool read_header(jpeg_reader *r, gen_picture_info *info)
{
    struct jpeg_decompress_struct *c = &r->cinfo;
    if (setjmp(r->errors.jump))
        return false;
    jpeg_create_decompress(c);
    r->progress.progress_monitor = count_scans;
    c->progress = &r->progress;
    jpeg_mem_src(c, r->bytes->data, r->bytes->size);
    jpeg_save_markers(c, MARKER_EXIF, 0xffff);
    jpeg_save_markers(c, MARKER_ICC, 0xffff);
    jpeg_save_markers(c, JPEG_COM, 0xffff);
    jpeg_read_header(c, TRUE);
    info->width = (int)c->image_width;
    info->height = (int)c->image_height;
    info->bit_depth = c->data_precision;
    switch (c->jpeg_color_space) {
    case JCS_GRAYSCALE:
        c->out_color_space = JCS_GRAYSCALE;
        info->channels = 1;
        break;
    case JCS_CMYK:
    case JCS_YCCK:
        c->out_color_space = JCS_CMYK;
        info->channels = 3;
        break;
    default:
        c->out_color_space = JCS_RGB;
        info->channels = 3;
        break;
    }
    jpeg_read_icc_profile(c, &r->icc, &r->icc_size);
    return true;
}

/* Ink to light.  Adobe programs store the complement of the ink, and say so by their marker. */
static void cmyk_to_rgb(const uint8_t *cmyk, uint8_t *rgb, int width, bool is_complement)
{
    for (int x = 0; x < width; x++, cmyk += 4, rgb += 3) {
        const unsigned flip = is_complement ? 0 : 255;
        const unsigned k = cmyk[3] ^ flip;
        for (int c = 0; c < 3; c++)
            rgb[c] = (uint8_t)(((cmyk[c] ^ flip) * k + 127) / 255);
    }
}

static bool read_pixels(jpeg_reader *r)
{
    struct jpeg_decompress_struct *c = &r->cinfo;
    if (setjmp(r->errors.jump))
        return false;
    jpeg_start_decompress(c);
    while (c->output_scanline < c->output_height) {
        unsigned char *row = r->image->data + (size_t)c->output_scanline * r->image->stride;
        JSAMPROW rows[1] = {r->cmyk ? r->cmyk : row};
        jpeg_read_scanlines(c, rows, 1);
        if (r->cmyk)
            cmyk_to_rgb(r->cmyk, row, r->image->width, c->saw_Adobe_marker);
    }
    jpeg_finish_decompress(c);
    return true;
}

static gen_status append(char **text, size_t *size, const void *data, size_t n, gen_error *err)
{
    char *grown = gen_realloc(*text, *size + n + 1);
    if (!grown)
        return gen_no_memory(err, "comment of a JPEG", *size + n + 1);
    memcpy(grown + *size, data, n);
    *text = grown;
    *size += n;
    grown[*size] = '\0';
    return GEN_OK;
}

static gen_status add_comment(gen_picture_info *info, const char *data, size_t size, gen_error *err)
{
    if (gen_utf8_is_valid(data, size))
        return gen_info_add_text(info, "comment", data, size, err);
    char *text = gen_latin1_to_utf8((const uint8_t *)data, size);
    if (!text)
        return gen_no_memory(err, "comment of a JPEG", size);
    const gen_status status = gen_info_add_text(info, "comment", text, strlen(text), err);
    gen_free(text);
    return status;
}

static gen_status collect_markers(gen_picture_info *info, jpeg_reader *r, gen_error *err)
{
    char *record = NULL;
    size_t record_size = 0;
    gen_status status = GEN_OK;
    bool has_exif = false;
    for (jpeg_saved_marker_ptr m = r->cinfo.marker_list; m && !status; m = m->next) {
        const char *data = (const char *)m->data;
        const size_t size = m->data_length;
        if (m->marker == MARKER_EXIF && !has_exif && size > 6 && memcmp(data, "Exif\0\0", 6) == 0) {
            gen_exif exif;
            status = gen_exif_read(&exif, m->data + 6, size - 6, err);
            if (status)
                break;
            has_exif = true;
            info->orientation = exif.orientation;
            if (exif.user_comment)
                status = gen_info_add_text(info, "parameters", exif.user_comment,
                                           strlen(exif.user_comment), err);
            gen_free(exif.user_comment);
        } else if (m->marker == JPEG_COM && size >= RECORD_PREFIX_SIZE &&
                   memcmp(data, RECORD_PREFIX, RECORD_PREFIX_SIZE) == 0) {
            status = append(&record, &record_size, data + RECORD_PREFIX_SIZE,
                            size - RECORD_PREFIX_SIZE, err);
        } else if (m->marker == JPEG_COM && size > 0) {
            status = add_comment(info, data, size, err);
        }
    }
    if (!status && record)
        status = gen_info_add_text(info, "gen", record, record_size, err);
    gen_free(record);
    return status;
}

static gen_status keep_profile(jpeg_reader *r, gen_picture_info *info, gen_error *err)
{
    const char *kind = r->cinfo.out_color_space == JCS_GRAYSCALE ? "GRAY" : "RGB ";
    if (!r->icc || r->icc_size < 128 || memcmp(r->icc + 16, kind, 4) != 0)
        return GEN_OK;
    info->icc_size = r->icc_size;
    if (!r->image)
        return GEN_OK;
    r->image->icc = gen_malloc(r->icc_size);
    if (!r->image->icc)
        return gen_no_memory(err, "colour profile", r->icc_size);
    memcpy(r->image->icc, r->icc, r->icc_size);
    r->image->icc_size = r->icc_size;
    return GEN_OK;
}

static gen_status damaged(const jpeg_reader *r, gen_error *err)
{
    const char *path = r->bytes->path;
    if (r->errors.base.msg_code == JERR_OUT_OF_MEMORY)
        return gen_fail(err, GEN_ERROR_MEMORY, "%s: no memory to read the JPEG", path);
    if (r->errors.is_truncated)
        return gen_fail(err, GEN_ERROR_INPUT, "%s: truncated JPEG: ends at byte %zu", path,
                        r->bytes->size);
    return gen_fail(err, GEN_ERROR_INPUT, "%s: damaged JPEG: %s", path, r->errors.reason);
}

/* Huffman coding spends at least one bit on a block of 64 pixels, so a short file cannot hold a
 * large picture and no memory is asked for it. */
static bool is_plausible(const jpeg_reader *r)
{
    const uint64_t pixels = (uint64_t)r->cinfo.image_width * r->cinfo.image_height;
    return r->cinfo.arith_code || pixels / 1024 <= r->bytes->size;
}

static gen_status decode(jpeg_reader *r, const gen_decoded *out, gen_error *err)
{
    gen_picture_info *info = out->info;
    if (!read_header(r, info))
        return damaged(r, err);
    GEN_TRY(gen_image_check_size(r->bytes->path, info->width, info->height, err));
    GEN_TRY(collect_markers(info, r, err));
    if (!out->image)
        return keep_profile(r, info, err);
    if (!is_plausible(r))
        return gen_fail(err, GEN_ERROR_INPUT, "%s: damaged JPEG: %dx%d pixels in %zu bytes of file",
                        r->bytes->path, info->width, info->height, r->bytes->size);
    GEN_TRY(gen_image_new(&r->image, info->width, info->height, info->channels, err));
    if (r->cinfo.out_color_space == JCS_CMYK) {
        r->cmyk = gen_malloc(4 * (size_t)info->width);
        if (!r->cmyk)
            return gen_no_memory(err, "row of a JPEG", 4 * (size_t)info->width);
    }
    if (!read_pixels(r))
        return damaged(r, err);
    return keep_profile(r, info, err);
}

gen_status gen_jpeg_decode(const gen_decoded *out, const gen_bytes *bytes, gen_error *err)
{
    jpeg_reader r = {.bytes = bytes};
    set_up_errors(&r.errors);
    r.cinfo.err = &r.errors.base;
    const gen_status status = decode(&r, out, err);
    jpeg_destroy_decompress(&r.cinfo);
    free(r.icc);
    gen_free(r.cmyk);
    if (!status && out->image) {
        *out->image = r.image;
        r.image = NULL;
    }
    gen_image_free(r.image);
    return status;
}

/* ---- writing ----------------------------------------------------------------------------------
 */

typedef struct jpeg_writer {
    struct jpeg_compress_struct cinfo;
    jpeg_errors errors;
    struct jpeg_destination_mgr dest;
    FILE *f;
    int error_number; /* of a failed write, or 0 */
    uint8_t *exif;
    size_t exif_size;
    uint8_t *row; /* for pictures with alpha */
    uint8_t buffer[65536];
} jpeg_writer;

static void flush_buffer(jpeg_writer *w, size_t size)
{
    if (fwrite(w->buffer, 1, size, w->f) != size) {
        w->error_number = errno;
        longjmp(w->errors.jump, 1);
    }
    w->dest.next_output_byte = w->buffer;
    w->dest.free_in_buffer = sizeof w->buffer;
}

static void start_writing(j_compress_ptr cinfo)
{
    jpeg_writer *w = cinfo->client_data;
    w->dest.next_output_byte = w->buffer;
    w->dest.free_in_buffer = sizeof w->buffer;
}

static boolean empty_buffer(j_compress_ptr cinfo)
{
    jpeg_writer *w = cinfo->client_data;
    flush_buffer(w, sizeof w->buffer);
    return TRUE;
}

static void end_writing(j_compress_ptr cinfo)
{
    jpeg_writer *w = cinfo->client_data;
    flush_buffer(w, sizeof w->buffer - w->dest.free_in_buffer);
}

static void write_record(jpeg_writer *w, const char *record)
{
    const size_t room = MAX_SEGMENT - RECORD_PREFIX_SIZE;
    for (size_t left = strlen(record); left > 0;) {
        const size_t n = left < room ? left : room;
        jpeg_write_m_header(&w->cinfo, JPEG_COM, (unsigned)(RECORD_PREFIX_SIZE + n));
        for (size_t i = 0; i < RECORD_PREFIX_SIZE; i++)
            jpeg_write_m_byte(&w->cinfo, RECORD_PREFIX[i]);
        for (size_t i = 0; i < n; i++)
            jpeg_write_m_byte(&w->cinfo, (unsigned char)record[i]);
        record += n;
        left -= n;
    }
}

static void write_exif(jpeg_writer *w)
{
    jpeg_write_m_header(&w->cinfo, MARKER_EXIF, (unsigned)(6 + w->exif_size));
    for (size_t i = 0; i < 6; i++)
        jpeg_write_m_byte(&w->cinfo, "Exif\0\0"[i]);
    for (size_t i = 0; i < w->exif_size; i++)
        jpeg_write_m_byte(&w->cinfo, w->exif[i]);
}

/* Lays a row with alpha on white and drops the alpha. */
static void lay_on_white(const uint8_t *in, uint8_t *out, int width, int channels)
{
    const int colors = channels - 1;
    for (int x = 0; x < width; x++, in += channels, out += colors)
        for (int c = 0; c < colors; c++) {
            const unsigned alpha = in[colors];
            out[c] = (uint8_t)((in[c] * alpha + 255 * (255 - alpha) + 127) / 255);
        }
}

static bool write_picture(jpeg_writer *w, const gen_image *image,
                          const gen_image_save_params *params)
{
    struct jpeg_compress_struct *c = &w->cinfo;
    const bool is_gray = image->channels < 3;
    if (setjmp(w->errors.jump))
        return false;
    jpeg_create_compress(c);
    c->client_data = w;
    c->dest = &w->dest;
    c->image_width = (JDIMENSION)image->width;
    c->image_height = (JDIMENSION)image->height;
    c->input_components = is_gray ? 1 : 3;
    c->in_color_space = is_gray ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(c);
    jpeg_set_quality(c, params->quality ? params->quality : DEFAULT_QUALITY, TRUE);
    c->optimize_coding = TRUE;
    if (params->quality >= 90 || params->quality == 0) /* full-size colour from here on */
        c->comp_info[0].h_samp_factor = c->comp_info[0].v_samp_factor = 1;
    jpeg_start_compress(c, TRUE);
    if (w->exif)
        write_exif(w);
    if (image->icc)
        jpeg_write_icc_profile(c, image->icc, (unsigned)image->icc_size);
    const char *record = gen_texts_find(params->texts, params->num_texts, "gen");
    if (record)
        write_record(w, record);
    while (c->next_scanline < c->image_height) {
        unsigned char *row = image->data + (size_t)c->next_scanline * image->stride;
        if (w->row)
            lay_on_white(row, w->row, image->width, image->channels);
        JSAMPROW rows[1] = {w->row ? w->row : row};
        jpeg_write_scanlines(c, rows, 1);
    }
    jpeg_finish_compress(c);
    return true;
}

gen_status gen_jpeg_encode(FILE *f, const char *path, const gen_image *image,
                           const gen_image_save_params *params, gen_error *err)
{
    if (image->width > JPEG_MAX_DIMENSION || image->height > JPEG_MAX_DIMENSION)
        return gen_fail(err, GEN_ERROR_ARGUMENT,
                        "%s: %dx%d pixels; a JPEG holds at most %ld a side", path, image->width,
                        image->height, JPEG_MAX_DIMENSION);
    gen_status status = GEN_OK;
    jpeg_writer *w = gen_calloc(1, sizeof *w);
    if (!w)
        return gen_no_memory(err, path, sizeof *w);
    w->f = f;
    set_up_errors(&w->errors);
    w->cinfo.err = &w->errors.base;
    w->dest.init_destination = start_writing;
    w->dest.empty_output_buffer = empty_buffer;
    w->dest.term_destination = end_writing;

    const char *parameters = gen_texts_find(params->texts, params->num_texts, "parameters");
    if (parameters)
        status = gen_exif_build(&w->exif, &w->exif_size, parameters, MAX_SEGMENT - 200, err);
    if (!status && image->channels % 2 == 0) {
        w->row = gen_malloc((size_t)image->width * 3);
        if (!w->row)
            status = gen_no_memory(err, path, (size_t)image->width * 3);
    }
    if (!status && !write_picture(w, image, params)) {
        if (w->error_number)
            status = gen_output_failed(err, path, w->error_number);
        else if (w->errors.base.msg_code == JERR_OUT_OF_MEMORY)
            status = gen_fail(err, GEN_ERROR_MEMORY, "%s: no memory to write the JPEG", path);
        else
            status = gen_fail(err, GEN_ERROR_OUTPUT, "%s: libjpeg: %s", path, w->errors.reason);
    }
    jpeg_destroy_compress(&w->cinfo);
    gen_free(w->exif);
    gen_free(w->row);
    gen_free(w);
    return status;
}
