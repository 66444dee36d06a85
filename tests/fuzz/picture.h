/* picture.h - runs a picture's bytes through the decoder, with and without pixels. */
#ifndef GEN_TESTS_FUZZ_PICTURE_H
#define GEN_TESTS_FUZZ_PICTURE_H

#include <stdlib.h>

#include "gen/core/alloc.h"
#include "gen/io/io.h"

/* Bytes of another format are left to that format's target. */
static inline void fuzz_picture(const uint8_t *data, size_t size,
                                bool (*is_ours)(const gen_bytes *))
{
    const gen_bytes bytes = {.path = "fuzz", .data = data, .size = size};
    gen_image *image = NULL;
    gen_error err;
    if (!is_ours(&bytes))
        return;
    gen_picture_info *info = gen_calloc(1, sizeof *info);
    const gen_status seen = gen_picture_decode(&(gen_decoded){.info = info}, &bytes, &err);
    const gen_status read = gen_picture_decode(&(gen_decoded){.image = &image}, &bytes, &err);
    /* What can be read whole has a readable header, and both tell the same size. */
    if (!read && (seen || info->width != image->width || info->height != image->height ||
                  info->channels != image->channels))
        abort();
    gen_picture_info_free(info);
    gen_image_free(image);
}

#endif
