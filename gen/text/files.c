/* files.c - whole files into memory, with a limit. */
#include "gen/text/files.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "gen/core/alloc.h"

enum { MAX_FILE = 64 << 20 };

gen_status gen_text_read_file(char **data, size_t *size, const char *path, gen_error *err)
{
    gen_status status = GEN_OK;
    struct stat info;
    *data = NULL;
    *size = 0;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode)) /* opening a pipe would wait */
        return gen_fail(err, GEN_ERROR_MODEL, "%s: not a file", path);
    FILE *f = fopen(path, "rb");
    if (!f) {
        if (errno == ENOENT || errno == ENOTDIR)
            return GEN_OK;
        return gen_fail(err, GEN_ERROR_MODEL, "%s: %s", path, strerror(errno));
    }
    if (fstat(fileno(f), &info) || !S_ISREG(info.st_mode)) {
        status = gen_fail(err, GEN_ERROR_MODEL, "%s: not a file", path);
    } else if (info.st_size > MAX_FILE) {
        status = gen_fail(err, GEN_ERROR_MODEL,
                          "%s: %lld bytes, more than the %d MiB a vocabulary may have", path,
                          (long long)info.st_size, MAX_FILE >> 20);
    } else if (!(*data = gen_malloc((size_t)info.st_size))) {
        status = gen_no_memory(err, path, (size_t)info.st_size);
    } else {
        *size = fread(*data, 1, (size_t)info.st_size, f);
        if (ferror(f))
            status = gen_fail(err, GEN_ERROR_MODEL, "%s: %s", path, strerror(errno));
    }
    fclose(f);
    return status;
}

gen_status gen_text_read_in(char **data, size_t *size, const char *dir, const char *name,
                            gen_error *err)
{
    char *path = gen_asprintf("%s/%s", dir, name);
    if (!path)
        return gen_no_memory(err, dir, strlen(dir) + strlen(name) + 2);
    const gen_status status = gen_text_read_file(data, size, path, err);
    gen_free(path);
    return status;
}
