/* fuzz.h - what the fuzz targets share.
 *
 * A target is one file, fuzz_NAME.c, with LLVMFuzzerTestOneInput(), and a folder corpus/NAME of
 * small inputs.  With -DGEN_BUILD_FUZZERS=ON (clang) it is linked with libFuzzer; otherwise with
 * replay.c, and the corpus, with a fixed set of damaged copies, is an ordinary test. */
#ifndef GEN_TESTS_FUZZ_H
#define GEN_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A file in memory with these bytes and a path, for parsers that take one.  fuzz_file_close()
 * ends its life. */
typedef struct fuzz_file {
    int fd;
    char path[64];
} fuzz_file;

int fuzz_file_open(fuzz_file *file, const uint8_t *data, size_t size); /* 0 on success */
void fuzz_file_close(fuzz_file *file);

#endif
