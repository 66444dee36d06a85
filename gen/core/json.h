/* json.h - configuration files: jansson with limits, and getters that name file and key.
 *
 * A gen_json is a parsed document with its path.  Getters take the default to use when the key is
 * absent; a value of the wrong type is an error ("FILE: \"key\" is a string, expected a number").
 * JSON null counts as absent unless the getter says otherwise; Python's Infinity is read as null.
 *
 * jansson allocates by itself: its functions can only be replaced for the whole process, which is
 * not the library's to do.  A failure inside it is reported as GEN_ERROR_MEMORY. */
#ifndef GEN_CORE_JSON_H
#define GEN_CORE_JSON_H

#include <jansson.h>

#include "gen/core/status.h"

typedef struct gen_json {
    json_t *root;        /* borrowed by callers; an object unless stated */
    char *path;          /* for messages */
    gen_status on_error; /* what the getters return for a value of the wrong type or range */
} gen_json;

/* Reads a file of at most 64 MiB whose top level is an object.  Errors: `on_error` (MODEL or INPUT)
 * with line and column for damaged text, duplicate keys, bad UTF-8, or a file that cannot be
 * read; MEMORY. */
gen_status gen_json_open(gen_json **out, const char *path, gen_status on_error, gen_error *err);
gen_status gen_json_parse(gen_json **out, const char *text, size_t size, const char *path,
                          gen_status on_error, gen_error *err);
/* Makes a document of a value built in memory, for settings recognised from tensors; takes `root`
 * over, also on failure.  A NULL root is taken as lack of memory. */
gen_status gen_json_adopt(gen_json **out, json_t *root, const char *path, gen_error *err);
void gen_json_free(gen_json *json); /* accepts NULL */

bool gen_json_has(const gen_json *json, const char *key);     /* present, null included */
bool gen_json_is_null(const gen_json *json, const char *key); /* present and null */

gen_status gen_json_int(const gen_json *json, const char *key, int64_t def, int64_t min,
                        int64_t max, int64_t *out, gen_error *err);
gen_status gen_json_int32(const gen_json *json, const char *key, int def, int min, int max,
                          int *out, gen_error *err);
gen_status gen_json_double(const gen_json *json, const char *key, double def, double *out,
                           gen_error *err);
gen_status gen_json_bool(const gen_json *json, const char *key, bool def, bool *out,
                         gen_error *err);
/* Borrowed from the document. */
gen_status gen_json_string(const gen_json *json, const char *key, const char *def, const char **out,
                           gen_error *err);
/* A list of up to `max_count` whole numbers in [min,max]; *count is 0 when the key is absent. */
gen_status gen_json_int_list(const gen_json *json, const char *key, int max_count, int64_t min,
                             int64_t max, int64_t *out, int *count, gen_error *err);
gen_status gen_json_double_list(const gen_json *json, const char *key, int max_count, double *out,
                                int *count, gen_error *err);
/* Any value, or NULL; for structures the getters above do not cover. */
const json_t *gen_json_get(const gen_json *json, const char *key);

#endif
