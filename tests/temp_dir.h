/* temp_dir.h - a folder for the files of a test, removed at its end. */
#ifndef GEN_TESTS_TEMP_DIR_H
#define GEN_TESTS_TEMP_DIR_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct temp_dir {
    char path[256];
    char name[4][640]; /* what temp_path() gave last */
    int next;
} temp_dir;

static inline int temp_dir_make(temp_dir *dir)
{
    const char *base = getenv("TMPDIR");
    *dir = (temp_dir){.next = 0};
    snprintf(dir->path, sizeof dir->path, "%s/gen-test-XXXXXX", base && *base ? base : "/tmp");
    return mkdtemp(dir->path) ? 0 : -1;
}

static inline int temp_dir_remove_one(const char *path, const struct stat *info, int kind,
                                      struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

static inline void temp_dir_remove(temp_dir *dir)
{
    nftw(dir->path, temp_dir_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* dir/name; valid until four more have been asked for.  Folders in the name are made. */
static inline const char *temp_path(temp_dir *dir, const char *name)
{
    char base[sizeof dir->path], *path = dir->name[dir->next++ % 4];
    memcpy(base, dir->path, sizeof base);
    snprintf(path, sizeof dir->name[0], "%s/%s", base, name);
    for (char *slash = path + strlen(dir->path) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    return path;
}

static inline int temp_write(temp_dir *dir, const char *name, const char *text)
{
    FILE *f = fopen(temp_path(dir, name), "wb");
    if (!f)
        return -1;
    const int failed = fputs(text, f) < 0;
    return fclose(f) || failed ? -1 : 0;
}

#endif
