/* safetensors_writer.h - writing safetensors files, good ones and broken ones, for tests. */
#ifndef GEN_TESTS_SAFETENSORS_WRITER_H
#define GEN_TESTS_SAFETENSORS_WRITER_H

#include <stdio.h>

#include "gen/core/weights.h"

typedef struct safetensors_item {
    const char *name;
    gen_dtype dtype;
    int rank;
    int64_t dims[GEN_MAX_RANK];
    const void *data; /* NULL: zeros */
} safetensors_item;

/* Writes a file; `metadata` is the JSON of __metadata__ or NULL.  0 on success. */
int safetensors_write(const char *path, const safetensors_item *items, size_t count,
                      const char *metadata);

/* Writes the header of such a file only; the data of the items, in order, has to follow. */
int safetensors_write_header(FILE *f, const safetensors_item *items, size_t count,
                             const char *metadata);

/* Writes the 8 bytes of `length`, then the header's text as it is, then `data_size` bytes. */
int safetensors_write_raw(const char *path, uint64_t length, const char *header, size_t header_size,
                          size_t data_size);

/* Bytes of an item. */
size_t safetensors_item_size(const safetensors_item *item);

#endif
