#include "tests/safetensors_writer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

size_t safetensors_item_size(const safetensors_item *item)
{
    size_t size = gen_dtype_size(item->dtype);
    for (int i = 0; i < item->rank; i++)
        size *= (size_t)item->dims[i];
    return size;
}

static int write_length(FILE *f, uint64_t length)
{
    unsigned char bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(length >> (8 * i));
    return fwrite(bytes, 8, 1, f) == 1 ? 0 : -1;
}

int safetensors_write_header(FILE *f, const safetensors_item *items, size_t count,
                             const char *metadata)
{
    char *text = NULL;
    size_t size = 0, offset = 0;
    FILE *h = open_memstream(&text, &size);
    if (!h)
        return -1;
    fprintf(h, "{");
    if (metadata)
        fprintf(h, "\"__metadata__\":%s%s", metadata, count ? "," : "");
    for (size_t i = 0; i < count; i++) {
        const size_t end = offset + safetensors_item_size(&items[i]);
        fprintf(h, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", i ? "," : "", items[i].name,
                gen_dtype_name(items[i].dtype));
        for (int k = 0; k < items[i].rank; k++)
            fprintf(h, "%s%" PRId64, k ? "," : "", items[i].dims[k]);
        fprintf(h, "],\"data_offsets\":[%zu,%zu]}", offset, end);
        offset = end;
    }
    fprintf(h, "}");
    if (fclose(h))
        return -1;
    const int status = write_length(f, size) || fwrite(text, size, 1, f) != 1 ? -1 : 0;
    free(text);
    return status;
}

static int write_zeros(FILE *f, size_t size)
{
    static const char zeros[4096];
    for (size_t n; size; size -= n) {
        n = size < sizeof zeros ? size : sizeof zeros;
        if (fwrite(zeros, n, 1, f) != 1)
            return -1;
    }
    return 0;
}

int safetensors_write(const char *path, const safetensors_item *items, size_t count,
                      const char *metadata)
{
    FILE *f = fopen(path, "wb");
    if (!f)
        return -1;
    int status = safetensors_write_header(f, items, count, metadata);
    for (size_t i = 0; i < count && !status; i++) {
        const size_t size = safetensors_item_size(&items[i]);
        if (!items[i].data)
            status = write_zeros(f, size);
        else if (size && fwrite(items[i].data, size, 1, f) != 1)
            status = -1;
    }
    return fclose(f) || status ? -1 : 0;
}

int safetensors_write_raw(const char *path, uint64_t length, const char *header, size_t header_size,
                          size_t data_size)
{
    FILE *f = fopen(path, "wb");
    if (!f)
        return -1;
    int status = write_length(f, length);
    if (!status && header_size && fwrite(header, header_size, 1, f) != 1)
        status = -1;
    if (!status)
        status = write_zeros(f, data_size);
    return fclose(f) || status ? -1 : 0;
}
