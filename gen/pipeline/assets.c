/* assets.c - finding what ships with gen, from any working directory. */
#include "gen/pipeline/pipeline.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gen/core/alloc.h"

/* folder/name when it exists; NULL otherwise. */
static char *if_there(const char *folder, const char *name)
{
    char *path = gen_asprintf("%s/%s", folder, name);
    if (path && access(path, R_OK) == 0)
        return path;
    gen_free(path);
    return NULL;
}

/* Beside bin/gen or lib/libgen.so: ../share/gen (and one level more for lib/<triplet>). */
static char *beside(const char *binary, const char *name)
{
    char real[PATH_MAX], *path = NULL;
    if (!realpath(binary, real))
        return NULL;
    for (int up = 0; up < 3 && !path; up++) {
        char *slash = strrchr(real, '/');
        if (!slash || slash == real)
            break;
        *slash = '\0';
        char *share = gen_asprintf("%s/share/gen", real);
        path = share ? if_there(share, name) : NULL;
        gen_free(share);
    }
    return path;
}

gen_status gen_find_asset(char **out, const char *name, gen_error *err)
{
    const char *folder = getenv("GEN_ASSETS");
    Dl_info self;
    char *path = folder && *folder ? if_there(folder, name) : NULL;
    if (!path)
        path = beside("/proc/self/exe", name);
    if (!path && dladdr((void *)(uintptr_t)gen_version, &self) && self.dli_fname)
        path = beside(self.dli_fname, name);
#ifdef GEN_SOURCE_ASSETS
    if (!path)
        path = if_there(GEN_SOURCE_ASSETS, name);
#endif
    if (!path) {
        gen_fail(err, GEN_ERROR_MODEL,
                 "%s: not found in GEN_ASSETS or share/gen beside the program", name);
        return gen_hint(err, "install gen completely, set GEN_ASSETS, or name a model with -m");
    }
    *out = path;
    return GEN_OK;
}
