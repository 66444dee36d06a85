/* image.c - pictures in memory, and the doors in and out: load, save, info. */
#include "gen/io/io.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gen/core/alloc.h"

/* A file beyond this is no picture within the limits of io.h. */
static const size_t MAX_FILE_SIZE = (size_t)1 << 30;

gen_status gen_image_check_size(const char *path, int64_t width, int64_t height, gen_error *err)
{
    if (width < 1 || height < 1)
        return gen_fail(err, GEN_ERROR_INPUT, "%s: a picture of %lldx%lld pixels", path,
                        (long long)width, (long long)height);
    if (width > GEN_IMAGE_MAX_SIDE || height > GEN_IMAGE_MAX_SIDE ||
        width * height > GEN_IMAGE_MAX_PIXELS)
        return gen_fail(
            err, GEN_ERROR_INPUT, "%s: %lldx%lld pixels; at most %d a side and %d in all", path,
            (long long)width, (long long)height, GEN_IMAGE_MAX_SIDE, GEN_IMAGE_MAX_PIXELS);
    return GEN_OK;
}

gen_status gen_image_new(gen_image **out, int width, int height, int channels, gen_error *err)
{
    if (width < 1 || height < 1 || width > GEN_IMAGE_MAX_SIDE || height > GEN_IMAGE_MAX_SIDE ||
        (int64_t)width * height > GEN_IMAGE_MAX_PIXELS || channels < 1 || channels > 4)
        return gen_fail(err, GEN_ERROR_ARGUMENT,
                        "a picture of %dx%d pixels with %d channels; at most %d a side, %d in all "
                        "and 4 channels",
                        width, height, channels, GEN_IMAGE_MAX_SIDE, GEN_IMAGE_MAX_PIXELS);
    gen_image *image = gen_calloc(1, sizeof *image);
    if (!image)
        return gen_no_memory(err, "picture", sizeof *image);
    image->width = width;
    image->height = height;
    image->channels = channels;
    image->stride = (size_t)width * (size_t)channels;
    image->data = gen_calloc((size_t)height, image->stride);
    if (!image->data) {
        const size_t size = (size_t)height * image->stride;
        gen_image_free(image);
        return gen_no_memory(err, "picture", size);
    }
    *out = image;
    return GEN_OK;
}

void gen_image_free(gen_image *image)
{
    if (!image)
        return;
    gen_free(image->data);
    gen_free(image->icc);
    gen_free(image);
}

/* ---- orientation ------------------------------------------------------------------------------
 */

/* Where pixel (x,y) of the upright picture lies in the stored one of w x h pixels (EXIF 2.32,
 * tag 0x0112: which edges of the scene row 0 and column 0 are). */
static void stored_position(int orientation, int w, int h, int x, int y, int *sx, int *sy)
{
    const bool is_turned = orientation >= 5;
    const int u = is_turned ? y : x;
    const int v = is_turned ? x : y;
    const bool flip_x =
        orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    const bool flip_y =
        orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    *sx = flip_x ? w - 1 - u : u;
    *sy = flip_y ? h - 1 - v : v;
}

static gen_status turn_upright(gen_image **image, int orientation, gen_error *err)
{
    gen_image *stored = *image, *upright = NULL;
    const bool is_turned = orientation >= 5;
    const int w = stored->width, h = stored->height;
    GEN_TRY(gen_image_new(&upright, is_turned ? h : w, is_turned ? w : h, stored->channels, err));
    const size_t pixel = (size_t)stored->channels;
    for (int y = 0; y < upright->height; y++) {
        unsigned char *row = upright->data + (size_t)y * upright->stride;
        for (int x = 0; x < upright->width; x++) {
            int sx, sy;
            stored_position(orientation, w, h, x, y, &sx, &sy);
            memcpy(row + (size_t)x * pixel,
                   stored->data + (size_t)sy * stored->stride + (size_t)sx * pixel, pixel);
        }
    }
    upright->icc = stored->icc;
    upright->icc_size = stored->icc_size;
    stored->icc = NULL;
    gen_image_free(stored);
    *image = upright;
    return GEN_OK;
}

/* ---- reading ----------------------------------------------------------------------------------
 */

static gen_status read_all(int fd, const char *name, size_t expected, uint8_t **data, size_t *size,
                           gen_error *err)
{
    size_t room = expected + 1, used = 0;
    uint8_t *buffer = gen_malloc(room);
    if (!buffer)
        return gen_no_memory(err, name, room);
    for (;;) {
        if (used == room) {
            uint8_t *grown = gen_realloc(buffer, 2 * room);
            if (!grown) {
                gen_free(buffer);
                return gen_no_memory(err, name, 2 * room);
            }
            buffer = grown;
            room *= 2;
        }
        const ssize_t n = read(fd, buffer + used, room - used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 || used + (size_t)n > MAX_FILE_SIZE) {
            gen_free(buffer);
            return n < 0 ? gen_fail(err, GEN_ERROR_INPUT, "%s: %s", name, strerror(errno))
                         : gen_fail(err, GEN_ERROR_INPUT, "%s: more than %zu bytes", name,
                                    MAX_FILE_SIZE);
        }
        if (n == 0)
            break;
        used += (size_t)n;
    }
    *data = buffer;
    *size = used;
    return GEN_OK;
}

/* Reads a picture file; *data is the caller's to free. */
static gen_status read_file(const char *path, uint8_t **data, size_t *size, gen_error *err)
{
    if (strcmp(path, "-") == 0)
        return read_all(STDIN_FILENO, "standard input", 65535, data, size, err);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return gen_fail(err, GEN_ERROR_INPUT, "%s: %s", path, strerror(errno));
    struct stat st;
    gen_status status;
    if (fstat(fd, &st) != 0)
        status = gen_fail(err, GEN_ERROR_INPUT, "%s: %s", path, strerror(errno));
    else if (S_ISDIR(st.st_mode))
        status = gen_fail(err, GEN_ERROR_INPUT, "%s: a folder, expected a picture", path);
    else if (st.st_size > (off_t)MAX_FILE_SIZE)
        status = gen_fail(err, GEN_ERROR_INPUT, "%s: more than %zu bytes", path, MAX_FILE_SIZE);
    else
        status =
            read_all(fd, path, S_ISREG(st.st_mode) ? (size_t)st.st_size : 65535, data, size, err);
    close(fd);
    return status;
}

/* A name for the content of a file that is not a picture we read, or NULL. */
static const char *foreign_format(const gen_bytes *bytes)
{
    static const struct {
        size_t offset;
        const char *magic;
        const char *name;
    } known[] = {
        {0, "GIF8", "a GIF picture"},  {8, "WEBP", "a WebP picture"},
        {0, "BM", "a BMP picture"},    {0, "II*", "a TIFF picture"},
        {0, "MM", "a TIFF picture"},   {4, "ftyp", "a video or HEIF"},
        {0, "<svg", "an SVG picture"}, {0, "%PDF", "a PDF document"},
        {0, "GGUF", "a GGUF model"},   {9, "{\"", "safetensors"},
        {8, "{\"", "safetensors"},     {0, "PK\3\4", "a zip archive"},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        const size_t n = strlen(known[i].magic);
        if (bytes->size >= known[i].offset + n &&
            memcmp(bytes->data + known[i].offset, known[i].magic, n) == 0)
            return known[i].name;
    }
    return NULL;
}

static void free_texts(gen_picture_info *info)
{
    for (size_t i = 0; i < info->num_texts; i++) {
        gen_free((void *)info->texts[i].key);
        gen_free((void *)info->texts[i].value);
    }
    gen_free(info->texts);
}

gen_status gen_picture_decode(const gen_decoded *out, const gen_bytes *bytes, gen_error *err)
{
    gen_picture_info own = {.orientation = 1};
    gen_decoded part = *out;
    gen_image *image = NULL;
    if (!part.info)
        part.info = &own;
    part.info->orientation = 1;
    if (part.image)
        part.image = &image;

    gen_status status;
    if (gen_is_png(bytes)) {
        part.info->format = "PNG";
        status = gen_png_decode(&part, bytes, err);
    } else if (gen_is_jpeg(bytes)) {
        part.info->format = "JPEG";
        status = gen_jpeg_decode(&part, bytes, err);
    } else if (gen_is_pnm(bytes)) {
        part.info->format = "PNM";
        status = gen_pnm_decode(&part, bytes, err);
    } else if (bytes->size == 0) {
        status = gen_fail(err, GEN_ERROR_INPUT, "%s: empty, expected a picture", bytes->path);
    } else {
        const char *found = foreign_format(bytes);
        status = gen_fail(err, GEN_ERROR_INPUT, "%s: %s, expected a PNG, JPEG or PNM picture",
                          bytes->path, found ? found : "not a known picture format");
    }
    const int orientation = part.info->orientation;
    if (!status && image && orientation > 1)
        status = turn_upright(&image, orientation, err);
    if (!status && orientation >= 5) {
        const int w = part.info->width;
        part.info->width = part.info->height;
        part.info->height = w;
    }
    if (!status && out->image) {
        *out->image = image;
        image = NULL;
    }
    gen_image_free(image);
    free_texts(&own);
    return status;
}

gen_status gen_image_load(gen_image **out, const char *path, gen_error *err)
{
    uint8_t *data = NULL;
    gen_bytes bytes = {.path = strcmp(path, "-") == 0 ? "standard input" : path};
    GEN_TRY(read_file(path, &data, &bytes.size, err));
    bytes.data = data;
    const gen_status status = gen_picture_decode(&(gen_decoded){.image = out}, &bytes, err);
    gen_free(data);
    return status;
}

gen_status gen_picture_info_read(gen_picture_info **out, const char *path, gen_error *err)
{
    uint8_t *data = NULL;
    gen_bytes bytes = {.path = strcmp(path, "-") == 0 ? "standard input" : path};
    GEN_TRY(read_file(path, &data, &bytes.size, err));
    bytes.data = data;
    gen_picture_info *info = gen_calloc(1, sizeof *info);
    gen_status status = info ? gen_picture_decode(&(gen_decoded){.info = info}, &bytes, err)
                             : gen_no_memory(err, path, sizeof *info);
    gen_free(data);
    if (status)
        gen_picture_info_free(info);
    else
        *out = info;
    return status;
}

void gen_picture_info_free(gen_picture_info *info)
{
    if (!info)
        return;
    free_texts(info);
    gen_free(info);
}

const char *gen_picture_info_text(const gen_picture_info *info, const char *key)
{
    return gen_texts_find(info->texts, info->num_texts, key);
}

/* ---- writing ----------------------------------------------------------------------------------
 */

typedef gen_status (*encode_fn)(FILE *f, const char *path, const gen_image *image,
                                const gen_image_save_params *params, gen_error *err);

/* Two spellings of an ending are one format, so "jpg" and "jpeg" may both be named. */
static encode_fn encoder_of(const char *name)
{
    static const struct {
        const char *name;
        encode_fn encode;
    } formats[] = {
        {"png", gen_png_encode},  {"jpg", gen_jpeg_encode}, {"jpeg", gen_jpeg_encode},
        {"jpe", gen_jpeg_encode}, {"ppm", gen_pnm_encode},  {"pgm", gen_pnm_encode},
        {"pnm", gen_pnm_encode},  {"pam", gen_pnm_encode},
    };
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if (strcasecmp(name, formats[i].name) == 0)
            return formats[i].encode;
    return NULL;
}

/* The ending of the last part of a path, without its dot; "" when there is none. */
static const char *ending_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    const char *dot = strrchr(name, '.');
    return dot && dot != name ? dot + 1 : "";
}

static gen_status choose_encoder(encode_fn *encode, const char *path, const char *format,
                                 gen_error *err)
{
    if (format) {
        *encode = encoder_of(format);
        if (!*encode)
            return gen_fail(err, GEN_ERROR_ARGUMENT,
                            "picture format \"%s\" is not known (png, jpg, ppm)", format);
        return GEN_OK;
    }
    if (strcmp(path, "-") == 0) {
        *encode = gen_png_encode;
        return GEN_OK;
    }
    const char *ending = ending_of(path);
    *encode = encoder_of(ending);
    if (*encode)
        return GEN_OK;
    if (*ending)
        gen_fail(err, GEN_ERROR_ARGUMENT, "%s: \".%s\" is no picture format gen writes", path,
                 ending);
    else
        gen_fail(err, GEN_ERROR_ARGUMENT, "%s: no ending that names a picture format", path);
    gen_hint(err, "end the name in .png, .jpg or .ppm, or name the format");
    return GEN_ERROR_ARGUMENT;
}

static gen_status check_image(const gen_image *image, gen_error *err)
{
    if (image->width < 1 || image->height < 1 || image->width > GEN_IMAGE_MAX_SIDE ||
        image->height > GEN_IMAGE_MAX_SIDE || image->channels < 1 || image->channels > 4 ||
        image->stride < (size_t)image->width * (size_t)image->channels || !image->data)
        return gen_fail(err, GEN_ERROR_ARGUMENT,
                        "not a valid picture: %dx%d, %d channels, rows of %zu bytes", image->width,
                        image->height, image->channels, image->stride);
    return GEN_OK;
}

static gen_status check_quality(int quality, gen_error *err)
{
    if (quality < 0 || quality > 100)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "quality %d is not in 1..100", quality);
    return GEN_OK;
}

/* A caller built against an older, shorter struct gets the defaults for the rest. */
static gen_image_save_params copy_params(const gen_image_save_params *params)
{
    gen_image_save_params p = {0};
    if (params)
        memcpy(&p, params, params->struct_size < sizeof p ? params->struct_size : sizeof p);
    return p;
}

gen_status gen_image_save_check(const char *path, const gen_image_save_params *params,
                                gen_error *err)
{
    const gen_image_save_params p = copy_params(params);
    encode_fn encode;
    struct stat st;
    GEN_TRY(check_quality(p.quality, err));
    GEN_TRY(choose_encoder(&encode, path, p.format, err));
    if (strcmp(path, "-") == 0 ||
        (stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)))
        return GEN_OK; /* a pipe or a device is touched when there is something to write */
    gen_output *output = NULL;
    GEN_TRY(gen_output_open(&output, path, p.if_exists, err));
    gen_output_free(output);
    return GEN_OK;
}

gen_status gen_image_save(const gen_image *image, const char *path,
                          const gen_image_save_params *params, gen_error *err)
{
    const gen_image_save_params p = copy_params(params);
    encode_fn encode;
    GEN_TRY(check_image(image, err));
    GEN_TRY(check_quality(p.quality, err));
    GEN_TRY(choose_encoder(&encode, path, p.format, err));

    gen_output *output = NULL;
    GEN_TRY(gen_output_open(&output, path, p.if_exists, err));
    gen_status status = encode(gen_output_stream(output), gen_output_name(output), image, &p, err);
    if (!status)
        status = gen_output_commit(output, err);
    if (!status && p.saved_path && p.saved_path_size > 0)
        snprintf(p.saved_path, p.saved_path_size, "%s", gen_output_name(output));
    gen_output_free(output);
    return status;
}
