/* fuzz_png.c - the PNG reader, once as the bytes are and once with right checksums, so that changes
 * reach the code behind them. */
#include <stdlib.h>
#include <string.h>

#include "gen/io/io.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/picture.h"

static uint32_t crc32_of(const uint8_t *data, size_t size)
{
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int k = 0; k < 8; k++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static void repair_checksums(uint8_t *data, size_t size)
{
    for (size_t at = 8; at + 12 <= size;) {
        const uint32_t length = (uint32_t)data[at] << 24 | (uint32_t)data[at + 1] << 16 |
                                (uint32_t)data[at + 2] << 8 | data[at + 3];
        if (length > size - at - 12)
            return;
        const uint32_t crc = crc32_of(data + at + 4, length + 4u);
        uint8_t *out = data + at + 8 + length;
        for (int i = 0; i < 4; i++)
            out[i] = (uint8_t)(crc >> (24 - 8 * i));
        at += 12 + (size_t)length;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_picture(data, size, gen_is_png);
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy)
        return 0;
    memcpy(copy, data, size);
    repair_checksums(copy, size);
    fuzz_picture(copy, size, gen_is_png);
    free(copy);
    return 0;
}
