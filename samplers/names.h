/* names.h - names as people write them: "DPM++ 2M", "dpm++_2m" and "dpm++2m" are one. */
#ifndef GEN_SAMPLERS_NAMES_H
#define GEN_SAMPLERS_NAMES_H

#include <stdbool.h>
#include <stddef.h>

/* Equal but for case, spaces, '-' and '_'?  The first `n` bytes of a are compared. */
bool gen_name_equal(const char *a, size_t n, const char *b);
/* Is `text` the name, or one of the comma-separated aliases (may be NULL)? */
bool gen_name_matches(const char *text, const char *name, const char *aliases);

#endif
