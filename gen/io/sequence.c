/* sequence.c - clips, frame by frame: pictures with a number in their names, or an animated PNG.
 *
 * An animated PNG (APNG, in the third edition of the PNG specification) is an ordinary PNG of the
 * first frame with three kinds of chunks more: acTL tells how many frames there are, fcTL stands in
 * front of each with its place and duration, fdAT is the IDAT of later frames with a number in
 * front.  Every frame is encoded as a PNG in memory, and its chunks are moved over. */
#include <math.h>
#include <string.h>
#include <zlib.h>

#include "gen/core/alloc.h"
#include "gen/io/io.h"

struct gen_sequence {
    gen_sequence_params params;
    char *path;
    bool has_numbers;   /* one file for each frame */
    gen_output *output; /* else */
    int width, height, channels;
    int count;       /* frames so far */
    uint32_t number; /* of the next fcTL or fdAT chunk */
};

/* The field {frame} or {frame:05} of a path; *end is behind it, *width its number of digits. */
static const char *find_field(const char *path, const char **end, int *width)
{
    for (const char *p = strstr(path, "{frame"); p; p = strstr(p + 1, "{frame")) {
        const char *q = p + strlen("{frame");
        *width = 0;
        if (*q == ':')
            for (q++; *q >= '0' && *q <= '9' && *width < 100; q++)
                *width = 10 * *width + (*q - '0');
        if (*q == '}' && *width <= 20) {
            *end = q + 1;
            return p;
        }
    }
    return NULL;
}

static bool ends_with(const char *s, const char *ending)
{
    const size_t n = strlen(s), m = strlen(ending);
    return n >= m && strcmp(s + n - m, ending) == 0;
}

static gen_status check(const gen_sequence *s, gen_error *err)
{
    const gen_sequence_params *p = &s->params;
    if (p->num_frames < 1)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "%s: a clip of %d frames", s->path, p->num_frames);
    if (!(p->frames_per_second >= 0.1 && p->frames_per_second <= 1000))
        return gen_fail(err, GEN_ERROR_ARGUMENT, "fps: %g is out of range (0.1..1000)",
                        p->frames_per_second);
    if (s->has_numbers ||
        (!p->format && (ends_with(s->path, ".png") || ends_with(s->path, ".apng"))) ||
        (p->format && strcmp(p->format, "png") == 0))
        return GEN_OK;
    gen_fail(err, GEN_ERROR_ARGUMENT, "%s: not a name for a clip", s->path);
    return gen_hint(err, "name.apng is an animated PNG, name-{frame:05}.png single frames");
}

gen_status gen_sequence_open(gen_sequence **out, const char *path,
                             const gen_sequence_params *params, gen_error *err)
{
    const char *end;
    int width;
    gen_sequence *s = gen_calloc(1, sizeof *s);
    if (!s || !(s->path = gen_strdup(path))) {
        gen_free(s);
        return gen_no_memory(err, "clip", strlen(path));
    }
    memcpy(&s->params, params,
           params->struct_size < sizeof s->params ? params->struct_size : sizeof s->params);
    if (s->params.frames_per_second == 0)
        s->params.frames_per_second = 16;
    s->has_numbers = find_field(path, &end, &width) != NULL;
    gen_status status = check(s, err);
    if (!status && !s->has_numbers)
        status = gen_output_open(&s->output, path, s->params.if_exists, err);
    if (status) {
        gen_sequence_free(s);
        return status;
    }
    *out = s;
    return GEN_OK;
}

/* ---- single frames -------------------------------------------------------------------------- */

static gen_status add_file(gen_sequence *s, const gen_image *frame, gen_error *err)
{
    const gen_sequence_params *p = &s->params;
    const char *end;
    int width;
    const char *field = find_field(s->path, &end, &width);
    char *path = gen_asprintf("%.*s%0*d%s", (int)(field - s->path), s->path, width ? width : 1,
                              s->count + 1, end);
    if (!path)
        return gen_no_memory(err, s->path, strlen(s->path));
    const bool is_first = s->count == 0;
    const gen_image_save_params save =
        GEN_IMAGE_SAVE_PARAMS(.format = p->format, .quality = p->quality, .if_exists = p->if_exists,
                              .texts = is_first ? p->texts : NULL,
                              .num_texts = is_first ? p->num_texts : 0,
                              .saved_path = is_first ? p->saved_path : NULL,
                              .saved_path_size = p->saved_path_size);
    const gen_status status = gen_image_save(frame, path, &save, err);
    gen_free(path);
    return status;
}

/* ---- animated PNG --------------------------------------------------------------------------- */

static void put32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* A chunk whose data are two pieces. */
static gen_status put_chunk(gen_sequence *s, const char *type, const void *head, size_t head_size,
                            const void *data, size_t size, gen_error *err)
{
    uint8_t start[8], check_sum[4];
    FILE *f = gen_output_stream(s->output);
    put32(start, (uint32_t)(head_size + size));
    memcpy(start + 4, type, 4);
    uLong crc = crc32(0, start + 4, 4);
    crc = crc32(crc, head, (uInt)head_size);
    crc = crc32(crc, data, (uInt)size);
    put32(check_sum, (uint32_t)crc);
    if (fwrite(start, 1, 8, f) != 8 || fwrite(head, 1, head_size, f) != head_size ||
        fwrite(data, 1, size, f) != size || fwrite(check_sum, 1, 4, f) != 4)
        return gen_output_failed(err, gen_output_name(s->output), 0);
    return GEN_OK;
}

static gen_status put_control(gen_sequence *s, gen_error *err)
{
    uint8_t data[26] = {0};
    const double fps = s->params.frames_per_second;
    const bool is_whole = fps == floor(fps);
    put32(data, s->number++);
    put32(data + 4, (uint32_t)s->width);
    put32(data + 8, (uint32_t)s->height);
    const unsigned over = is_whole ? 1 : 10; /* duration: over / below seconds */
    const unsigned below = (unsigned)lrint(fps * over);
    data[20] = (uint8_t)(over >> 8);
    data[21] = (uint8_t)over;
    data[22] = (uint8_t)(below >> 8);
    data[23] = (uint8_t)below;
    return put_chunk(s, "fcTL", data, sizeof data, "", 0, err);
}

/* Moves the chunks of a frame that is a PNG file in memory. */
static gen_status put_frame(gen_sequence *s, const uint8_t *png, size_t size, gen_error *err)
{
    enum { SIGNATURE = 8, AROUND = 12 };
    const bool is_first = s->count == 0;
    bool has_control = false;
    if (is_first && fwrite(png, 1, SIGNATURE, gen_output_stream(s->output)) != SIGNATURE)
        return gen_output_failed(err, gen_output_name(s->output), 0);
    for (size_t at = SIGNATURE; at + AROUND <= size;) {
        const size_t n = get32(png + at);
        const char *type = (const char *)png + at + 4;
        const uint8_t *data = png + at + 8;
        const bool is_data = memcmp(type, "IDAT", 4) == 0;
        at += n + AROUND;
        if (memcmp(type, "IEND", 4) == 0 || (!is_data && !is_first))
            continue;
        if (is_data && !has_control) {
            GEN_TRY(put_control(s, err));
            has_control = true;
        }
        if (is_data && !is_first) {
            uint8_t number[4];
            put32(number, s->number++);
            GEN_TRY(put_chunk(s, "fdAT", number, 4, data, n, err));
        } else {
            GEN_TRY(put_chunk(s, type, data, n, "", 0, err));
        }
        if (memcmp(type, "IHDR", 4) == 0) {
            uint8_t frames[8] = {0}; /* and plays: 0, for ever */
            put32(frames, (uint32_t)s->params.num_frames);
            GEN_TRY(put_chunk(s, "acTL", frames, sizeof frames, "", 0, err));
        }
    }
    return GEN_OK;
}

static gen_status add_animated(gen_sequence *s, const gen_image *frame, gen_error *err)
{
    const bool is_first = s->count == 0;
    const gen_image_save_params save =
        GEN_IMAGE_SAVE_PARAMS(.texts = is_first ? s->params.texts : NULL,
                              .num_texts = is_first ? s->params.num_texts : 0);
    gen_string png = {0};
    gen_status status =
        gen_png_encode_to_memory(&png, gen_output_name(s->output), frame, &save, err);
    if (!status)
        status = put_frame(s, (const uint8_t *)png.text, png.size, err);
    gen_free(png.text);
    return status;
}

/* ---- all ------------------------------------------------------------------------------------ */

gen_status gen_sequence_add(gen_sequence *s, const gen_image *frame, gen_error *err)
{
    if (s->count == s->params.num_frames)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "%s: more than %d frames", s->path,
                        s->params.num_frames);
    if (s->count == 0) {
        s->width = frame->width;
        s->height = frame->height;
        s->channels = frame->channels;
    } else if (frame->width != s->width || frame->height != s->height ||
               frame->channels != s->channels) {
        return gen_fail(err, GEN_ERROR_ARGUMENT, "%s: frame %d is %dx%d, the first %dx%d", s->path,
                        s->count + 1, frame->width, frame->height, s->width, s->height);
    }
    GEN_TRY(s->has_numbers ? add_file(s, frame, err) : add_animated(s, frame, err));
    s->count++;
    return GEN_OK;
}

gen_status gen_sequence_finish(gen_sequence *s, gen_error *err)
{
    if (s->count != s->params.num_frames)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "%s: %d frames of %d", s->path, s->count,
                        s->params.num_frames);
    if (s->has_numbers)
        return GEN_OK;
    GEN_TRY(put_chunk(s, "IEND", "", 0, "", 0, err));
    GEN_TRY(gen_output_commit(s->output, err));
    if (s->params.saved_path && s->params.saved_path_size > 0)
        snprintf(s->params.saved_path, s->params.saved_path_size, "%s", gen_output_name(s->output));
    return GEN_OK;
}

void gen_sequence_free(gen_sequence *s)
{
    if (!s)
        return;
    gen_output_free(s->output);
    gen_free(s->path);
    gen_free(s);
}
