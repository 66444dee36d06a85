/* fuzz_pnm.c - the PNM reader. */
#include "gen/io/io.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/picture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_picture(data, size, gen_is_pnm);
    return 0;
}
