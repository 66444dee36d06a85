/* cache_file.c - see cache_file.h. */
#include "gen/core/cache_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gen/core/alloc.h"

char *gen_cache_path(const char *name)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (cache && cache[0] == '/')
        return gen_asprintf("%s/gen/%s", cache, name);
    if (home && *home)
        return gen_asprintf("%s/.cache/gen/%s", home, name);
    return NULL;
}

void *gen_cache_read(const char *path, size_t max, size_t *size)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat s;
    if (fd < 0)
        return NULL;
    char *data = NULL;
    size_t n = 0;
    if (fstat(fd, &s) == 0 && S_ISREG(s.st_mode) && s.st_size >= 0 && (size_t)s.st_size <= max)
        data = gen_malloc((size_t)s.st_size + 1);
    while (data && n < (size_t)s.st_size) {
        const ssize_t part = read(fd, data + n, (size_t)s.st_size - n);
        if (part <= 0)
            break;
        n += (size_t)part;
    }
    close(fd);
    if (data)
        data[n] = '\0';
    *size = n;
    return data;
}

void gen_cache_make_folders(char *path)
{
    for (char *p = path + 1; *p; p++)
        if (*p == '/') {
            *p = '\0';
            mkdir(path, 0777);
            *p = '/';
        }
}

static bool write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        const ssize_t n = write(fd, data, size);
        if (n <= 0)
            return false;
        data += n;
        size -= (size_t)n;
    }
    return fsync(fd) == 0;
}

bool gen_cache_write(const char *path, const void *data, size_t size)
{
    char *temporary = gen_asprintf("%s.XXXXXX", path);
    bool is_done = false;
    if (!temporary)
        return false;
    gen_cache_make_folders(temporary);
    const int fd = mkstemp(temporary);
    if (fd >= 0) {
        is_done = write_all(fd, data, size);
        is_done = close(fd) == 0 && is_done && rename(temporary, path) == 0;
        if (!is_done)
            unlink(temporary);
    }
    gen_free(temporary);
    return is_done;
}
