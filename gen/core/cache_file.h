/* cache_file.h - small files that only save time: read whole, replaced whole.
 *
 * Nothing here is an error to anybody: without the file the work is done again. */
#ifndef GEN_CORE_CACHE_FILE_H
#define GEN_CORE_CACHE_FILE_H

#include <stdbool.h>
#include <stddef.h>

/* $XDG_CACHE_HOME/gen/name, or ~/.cache/gen/name, to be freed; NULL when neither is set.  Nothing
 * is made. */
char *gen_cache_path(const char *name);

/* All bytes of a file of at most max bytes, to be freed; a zero byte stands behind them.  NULL when
 * it cannot be read or is longer. */
void *gen_cache_read(const char *path, size_t max, size_t *size);

/* Replaces the file: written beside its name, flushed, renamed, so that readers see the old or the
 * new one.  Missing folders are made.  false: it could not be done, and nothing is left behind. */
bool gen_cache_write(const char *path, const void *data, size_t size);

/* Makes the folders above a file, where they can be made; the text is as before afterwards. */
void gen_cache_make_folders(char *path);

#endif
