/* sha256.h - hashes of model files, remembered between runs. */
#ifndef GEN_PIPELINE_SHA256_H
#define GEN_PIPELINE_SHA256_H

#include "gen/core/status.h"

/* SHA-256 over the contents of the files one after the other, as 64 hex digits.  The hash of a
 * single file is kept in $XDG_CACHE_HOME/gen/sha256 by path, size and time of change; a cache that
 * cannot be read or written is no error.  Errors: MODEL when a file cannot be read. */
gen_status gen_sha256_files(char out[65], const char *const *paths, int count, gen_error *err);

#endif
