/* memory_file.c - inputs as files without touching a disk. */
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int fuzz_file_open(fuzz_file *file, const uint8_t *data, size_t size)
{
    file->fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (file->fd < 0)
        return -1;
    for (size_t done = 0; done < size;) {
        const ssize_t n = write(file->fd, data + done, size - done);
        if (n <= 0) {
            fuzz_file_close(file);
            return -1;
        }
        done += (size_t)n;
    }
    snprintf(file->path, sizeof file->path, "/proc/self/fd/%d", file->fd);
    return 0;
}

void fuzz_file_close(fuzz_file *file)
{
    if (file->fd >= 0)
        close(file->fd);
    file->fd = -1;
}
