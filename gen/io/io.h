/* io.h - picture files: what the parts of gen/io share.
 *
 * A file is read whole into memory (its size is limited) and handed to the decoder its first bytes
 * name; a decoder never sees a path except for messages.  Writers get an output (output.c) that
 * becomes the named file only when everything was written.  Texts travel as gen_text pairs: PNG
 * has chunks for them, JPEG an EXIF user comment and comment segments (metadata.c, exif.c). */
#ifndef GEN_IO_IO_H
#define GEN_IO_IO_H

#include <stdint.h>
#include <stdio.h>

#include "gen/core/status.h"
#include "gen/gen.h"

enum { GEN_IMAGE_MAX_SIDE = 65536, GEN_IMAGE_MAX_PIXELS = 1 << 28 };

/* The bytes of a file; path is borrowed, for messages. */
typedef struct gen_bytes {
    const char *path;
    const uint8_t *data;
    size_t size;
} gen_bytes;

/* Refuses pictures beyond the limits above: INPUT with path and size. */
gen_status gen_image_check_size(const char *path, int64_t width, int64_t height, gen_error *err);

/* What a decoder delivers.  Without `image` (NULL) only the headers and texts are read.  Decoders
 * need `info`; gen_picture_decode() does without. */
typedef struct gen_decoded {
    gen_image **image;
    gen_picture_info *info;
} gen_decoded;

bool gen_is_png(const gen_bytes *bytes);
bool gen_is_jpeg(const gen_bytes *bytes);
bool gen_is_pnm(const gen_bytes *bytes);
gen_status gen_png_decode(const gen_decoded *out, const gen_bytes *bytes, gen_error *err);
gen_status gen_jpeg_decode(const gen_decoded *out, const gen_bytes *bytes, gen_error *err);
gen_status gen_pnm_decode(const gen_decoded *out, const gen_bytes *bytes, gen_error *err);
/* Recognises the format by content and applies the orientation. */
gen_status gen_picture_decode(const gen_decoded *out, const gen_bytes *bytes, gen_error *err);

/* A file being written (output.c). */
typedef struct gen_output gen_output;

/* Encoders write to f; path is for messages.  They leave the stream unflushed. */
gen_status gen_png_encode(FILE *f, const char *path, const gen_image *image,
                          const gen_image_save_params *params, gen_error *err);
gen_status gen_jpeg_encode(FILE *f, const char *path, const gen_image *image,
                           const gen_image_save_params *params, gen_error *err);
gen_status gen_pnm_encode(FILE *f, const char *path, const gen_image *image,
                          const gen_image_save_params *params, gen_error *err);

/* Opens a temporary file beside `path`, or standard output for "-", or the thing itself when path
 * is a device or a pipe.  Missing folders are made.  Errors: OUTPUT, MEMORY. */
gen_status gen_output_open(gen_output **out, const char *path, gen_if_exists if_exists,
                           gen_error *err);
FILE *gen_output_stream(gen_output *output);
const char *gen_output_name(const gen_output *output); /* after the commit: the final name */
/* Flushes, closes and gives the file its name.  Errors: OUTPUT; the output still needs freeing. */
gen_status gen_output_commit(gen_output *output, gen_error *err);
void gen_output_free(gen_output *output); /* removes what was not committed */
/* OUTPUT with path and the reason of errno, and a hint for those a person can act on. */
gen_status gen_output_failed(gen_error *err, const char *path, int error_number);

/* EXIF (exif.c): a TIFF structure of `size` bytes, without the "Exif\0\0" before it. */
typedef struct gen_exif {
    int orientation;    /* 1..8; 1 when absent or out of range */
    char *user_comment; /* UTF-8, owned, or NULL */
} gen_exif;

/* Reads what is readable; damage is not an error, as a broken EXIF block does not spoil a picture.
 * Errors: MEMORY. */
gen_status gen_exif_read(gen_exif *exif, const uint8_t *data, size_t size, gen_error *err);
/* An EXIF block with a user comment of at most `max_size` bytes; a longer text is cut between
 * characters.  The caller frees *out with gen_free(). */
gen_status gen_exif_build(uint8_t **out, size_t *out_size, const char *user_comment,
                          size_t max_size, gen_error *err);

/* A string that grows (text.c); when memory ends it stays as it is and says so. */
typedef struct gen_string {
    char *text; /* NULL until something was added; freed with gen_free() */
    size_t size, room;
    bool is_out_of_memory;
} gen_string;

void gen_string_add(gen_string *s, const char *data, size_t n);

/* Appends a PNG file; freed with gen_free(out->text), also after a failure. */
gen_status gen_png_encode_to_memory(gen_string *out, const char *path, const gen_image *image,
                                    const gen_image_save_params *params, gen_error *err);

/* Texts (metadata.c, text.c). */
gen_status gen_info_add_text(gen_picture_info *info, const char *key, const char *value,
                             size_t value_size, gen_error *err);
const char *gen_texts_find(const gen_text *texts, size_t num_texts, const char *key);
/* Whether every character of the UTF-8 text is below U+0100; false for what is not UTF-8. */
bool gen_utf8_is_latin1(const char *text);
bool gen_utf8_is_valid(const char *text, size_t size);
/* New strings, NULL without memory. */
char *gen_utf8_to_latin1(const char *text);
char *gen_latin1_to_utf8(const uint8_t *text, size_t size);
char *gen_utf8_clean(const char *text); /* bytes that are not UTF-8 become U+FFFD */
/* The code point at *text, which moves on; U+FFFD for a byte that begins none. */
uint32_t gen_utf8_next(const char **text);
/* Appends a code point; returns the number of bytes, 1..4. */
int gen_utf8_put(char *out, uint32_t code_point);

#endif
