/* files.h - reading the files of a vocabulary. */
#ifndef GEN_TEXT_FILES_H
#define GEN_TEXT_FILES_H

#include "gen/core/status.h"

/* Reads a whole file of at most 64 MiB; *data (gen_malloc) is NULL when there is none.  Errors:
 * MODEL; MEMORY. */
gen_status gen_text_read_file(char **data, size_t *size, const char *path, gen_error *err);
/* The same for a file of a directory. */
gen_status gen_text_read_in(char **data, size_t *size, const char *dir, const char *name,
                            gen_error *err);

#endif
