/* output.c - files that appear whole or not at all.
 *
 * The bytes go to a hidden temporary file in the target's folder; a rename, which the system does
 * in one step, gives it its name when everything was written.  Devices, pipes and standard output
 * have no such protection and are written directly. */
#include "gen/io/io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gen/core/alloc.h"

enum { MAX_NUMBERED = 9999, MAX_TEMPORARY = 1000 };

struct gen_output {
    FILE *f;
    char *path;      /* as asked; after the commit the name really used */
    char *temporary; /* NULL when written directly */
    gen_if_exists if_exists;
};

gen_status gen_output_failed(gen_error *err, const char *path, int error_number)
{
    gen_fail(err, GEN_ERROR_OUTPUT, "%s: cannot be written: %s", path,
             error_number ? strerror(error_number) : "unknown error");
    if (error_number == ENOSPC || error_number == EDQUOT)
        gen_hint(err, "free some space, or write to another disk with -o");
    else if (error_number == EACCES || error_number == EPERM || error_number == EROFS)
        gen_hint(err, "choose a folder you may write to with -o");
    return GEN_ERROR_OUTPUT;
}

/* Makes the folders of a path.  The path is changed and restored. */
static int make_folders(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        const int failed = mkdir(path, 0777) != 0 && errno != EEXIST && errno != EISDIR;
        const int error_number = errno;
        struct stat st;
        const bool is_folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
        *slash = '/';
        if (!is_folder)
            return failed ? error_number : ENOTDIR;
    }
    return 0;
}

/* The folder part of a path with its slash: its length. */
static size_t folder_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) + 1 : 0;
}

static gen_status open_temporary(gen_output *output, gen_error *err)
{
    static atomic_uint counter;
    const int folder = (int)folder_length(output->path);
    for (int attempt = 0; attempt < MAX_TEMPORARY; attempt++) {
        gen_free(output->temporary);
        output->temporary = gen_asprintf("%.*s.gen-%ld-%u.tmp", folder, output->path,
                                         (long)getpid(), atomic_fetch_add(&counter, 1));
        if (!output->temporary)
            return gen_no_memory(err, output->path, strlen(output->path));
        const int fd = open(output->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0) {
            output->f = fdopen(fd, "wb");
            if (output->f)
                return GEN_OK;
            close(fd);
            unlink(output->temporary);
            return gen_no_memory(err, output->path, BUFSIZ);
        }
        if (errno != EEXIST)
            break;
    }
    const int error_number = errno;
    gen_free(output->temporary);
    output->temporary = NULL;
    return gen_output_failed(err, output->path, error_number);
}

static gen_status open_directly(gen_output *output, int fd, gen_error *err)
{
    output->f = fd < 0 ? NULL : fdopen(fd, "wb");
    if (output->f)
        return GEN_OK;
    const int error_number = errno;
    if (fd >= 0)
        close(fd);
    return gen_output_failed(err, output->path, error_number);
}

/* A link to a file is followed, so that the file changes and the link stays. */
static gen_status follow_link(gen_output *output, gen_error *err)
{
    struct stat st;
    if (lstat(output->path, &st) != 0 || !S_ISLNK(st.st_mode))
        return GEN_OK;
    char *real = realpath(output->path, NULL);
    if (!real)
        return GEN_OK; /* it leads nowhere and is replaced */
    char *copy = gen_strdup(real);
    free(real);
    if (!copy)
        return gen_no_memory(err, output->path, PATH_MAX);
    gen_free(output->path);
    output->path = copy;
    return GEN_OK;
}

static gen_status open_target(gen_output *output, gen_error *err)
{
    if (strcmp(output->path, "-") == 0)
        return open_directly(output, dup(STDOUT_FILENO), err);
    if (!*output->path || output->path[strlen(output->path) - 1] == '/')
        return gen_fail(err, GEN_ERROR_OUTPUT, "\"%s\": no file name to write to", output->path);
    struct stat st;
    if (stat(output->path, &st) == 0) {
        if (S_ISDIR(st.st_mode))
            return gen_output_failed(err, output->path, EISDIR);
        if (!S_ISREG(st.st_mode))
            return open_directly(output, open(output->path, O_WRONLY | O_CLOEXEC), err);
        if (output->if_exists == GEN_REFUSE)
            return gen_output_failed(err, output->path, EEXIST);
        if (output->if_exists == GEN_REPLACE)
            GEN_TRY(follow_link(output, err));
    }
    const int error_number = make_folders(output->path);
    if (error_number)
        return gen_output_failed(err, output->path, error_number);
    return open_temporary(output, err);
}

gen_status gen_output_open(gen_output **out, const char *path, gen_if_exists if_exists,
                           gen_error *err)
{
    gen_output *output = gen_calloc(1, sizeof *output);
    if (!output)
        return gen_no_memory(err, path, sizeof *output);
    output->if_exists = if_exists;
    output->path = gen_strdup(path);
    const gen_status status =
        output->path ? open_target(output, err) : gen_no_memory(err, path, strlen(path));
    if (status)
        gen_output_free(output);
    else
        *out = output;
    return status;
}

FILE *gen_output_stream(gen_output *output)
{
    return output->f;
}

const char *gen_output_name(const gen_output *output)
{
    return strcmp(output->path, "-") == 0 ? "standard output" : output->path;
}

/* Renames without replacing; 0, or the reason.  Not every file system knows the flag; there, a file
 * that appears between the two steps would be replaced. */
static int rename_new(const char *from, const char *to)
{
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return errno;
    struct stat st;
    if (lstat(to, &st) == 0)
        return EEXIST;
    return rename(from, to) == 0 ? 0 : errno;
}

/* "out/cat.png" and 2 make "out/cat-2.png". */
static char *numbered_name(const char *path, int number)
{
    const size_t folder = folder_length(path);
    const char *dot = strrchr(path + folder, '.');
    const size_t stem = dot && dot != path + folder ? (size_t)(dot - path) : strlen(path);
    return gen_asprintf("%.*s-%d%s", (int)stem, path, number, path + stem);
}

static gen_status give_name(gen_output *output, gen_error *err)
{
    if (output->if_exists == GEN_REPLACE) {
        if (rename(output->temporary, output->path) != 0)
            return gen_output_failed(err, output->path, errno);
        return GEN_OK;
    }
    int reason = rename_new(output->temporary, output->path);
    for (int i = 1; reason == EEXIST && output->if_exists == GEN_KEEP_BOTH && i <= MAX_NUMBERED;
         i++) {
        char *name = numbered_name(output->path, i);
        if (!name)
            return gen_no_memory(err, output->path, strlen(output->path));
        reason = rename_new(output->temporary, name);
        if (reason == 0) {
            gen_free(output->path);
            output->path = name;
            return GEN_OK;
        }
        gen_free(name);
    }
    return reason ? gen_output_failed(err, output->path, reason) : GEN_OK;
}

gen_status gen_output_commit(gen_output *output, gen_error *err)
{
    /* A full disk may show itself as late as here. */
    errno = 0;
    const bool has_failed = ferror(output->f) != 0;
    const bool is_flushed = fflush(output->f) == 0;
    int reason = errno;
    const bool is_closed = fclose(output->f) == 0;
    if (!reason)
        reason = errno;
    output->f = NULL;
    if (has_failed || !is_flushed || !is_closed)
        return gen_output_failed(err, gen_output_name(output), reason ? reason : EIO);
    if (output->temporary) {
        GEN_TRY(give_name(output, err));
        gen_free(output->temporary);
        output->temporary = NULL;
    }
    return GEN_OK;
}

void gen_output_free(gen_output *output)
{
    if (!output)
        return;
    if (output->f)
        fclose(output->f);
    if (output->temporary)
        unlink(output->temporary);
    gen_free(output->temporary);
    gen_free(output->path);
    gen_free(output);
}
