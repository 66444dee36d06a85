/* json.c - reading configuration files through jansson. */
#include "gen/core/json.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "gen/core/alloc.h"

/* A tokenizer's vocabulary is the largest document met in practice: about 1 MiB.  jansson itself
 * refuses to nest deeper than 2048 levels. */
enum { MAX_FILE = 64 << 20 };

static gen_status json_new(gen_json **out, json_t *root, const char *path, gen_status on_error,
                           gen_error *err)
{
    gen_json *json = root ? gen_calloc(1, sizeof *json) : NULL;
    if (!json || !(json->path = gen_strdup(path))) {
        gen_free(json);
        json_decref(root);
        return gen_no_memory(err, path, sizeof *json);
    }
    json->root = root;
    json->on_error = on_error;
    *out = json;
    return GEN_OK;
}

gen_status gen_json_adopt(gen_json **out, json_t *root, const char *path, gen_error *err)
{
    return json_new(out, root, path, GEN_ERROR_MODEL, err);
}

/* Python writes infinite floats as Infinity, which is not JSON, and schedulers' files hold some.  A
 * copy of the text with null in their place, or NULL when there is none (or no memory). */
static char *without_infinities(const char *text, size_t size)
{
    static const char word[] = "Infinity";
    const size_t length = sizeof word - 1;
    bool is_in_string = false;
    char *copy = memmem(text, size, word, length) ? gen_malloc(size) : NULL;
    if (!copy)
        return NULL;
    memcpy(copy, text, size);
    for (size_t i = 0; i < size; i++) {
        if (is_in_string && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            is_in_string = !is_in_string;
        else if (!is_in_string && size - i >= length && memcmp(text + i, word, length) == 0) {
            memcpy(copy + i, "null    ", length);
            if (i > 0 && copy[i - 1] == '-')
                copy[i - 1] = ' ';
        }
    }
    return copy;
}

gen_status gen_json_parse(gen_json **out, const char *text, size_t size, const char *path,
                          gen_status on_error, gen_error *err)
{
    json_error_t why;
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &why);
    char *copy = root ? NULL : without_infinities(text, size);
    if (copy)
        root = json_loadb(copy, size, JSON_REJECT_DUPLICATES, &why);
    gen_free(copy);
    if (!root) {
        if (json_error_code(&why) == json_error_out_of_memory)
            return gen_no_memory(err, path, size);
        return gen_fail(err, on_error, "%s: not valid JSON: line %d, column %d: %s", path, why.line,
                        why.column, why.text);
    }
    if (!json_is_object(root)) {
        json_decref(root);
        return gen_fail(err, on_error, "%s: not a JSON object of keys and values", path);
    }
    return json_new(out, root, path, on_error, err);
}

gen_status gen_json_open(gen_json **out, const char *path, gen_status on_error, gen_error *err)
{
    gen_status status = GEN_OK;
    char *text = NULL;
    struct stat info;
    FILE *f = NULL;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode)) { /* opening a pipe would wait */
        status = gen_fail(err, on_error, "%s: not a file", path);
        goto done;
    }
    f = fopen(path, "rb");
    if (!f || fstat(fileno(f), &info)) {
        status = gen_fail(err, on_error, "%s: %s", path, strerror(errno));
        goto done;
    }
    if (info.st_size > MAX_FILE) {
        status = gen_fail(err, on_error, "%s: %jd bytes, more than the %d MiB a JSON file may have",
                          path, (intmax_t)info.st_size, MAX_FILE >> 20);
        goto done;
    }
    const size_t size = (size_t)info.st_size;
    text = gen_malloc(size);
    if (!text) {
        status = gen_no_memory(err, path, size);
        goto done;
    }
    const size_t n = fread(text, 1, size, f);
    if (ferror(f)) {
        status = gen_fail(err, on_error, "%s: %s", path, strerror(errno));
        goto done;
    }
    status = gen_json_parse(out, text, n, path, on_error, err);
done:
    gen_free(text);
    if (f)
        fclose(f);
    return status;
}

void gen_json_free(gen_json *json)
{
    if (!json)
        return;
    json_decref(json->root);
    gen_free(json->path);
    gen_free(json);
}

/* ---- getters -------------------------------------------------------------------------------- */

bool gen_json_has(const gen_json *json, const char *key)
{
    return json_object_get(json->root, key) != NULL;
}

bool gen_json_is_null(const gen_json *json, const char *key)
{
    return json_is_null(json_object_get(json->root, key));
}

const json_t *gen_json_get(const gen_json *json, const char *key)
{
    return json_object_get(json->root, key);
}

static const char *type_name(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "a list";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "true or false";
    case JSON_NULL:
        break;
    }
    return "null";
}

static gen_status wrong_type(const gen_json *json, const char *key, const json_t *value,
                             const char *expected, gen_error *err)
{
    return gen_fail(err, json->on_error, "%s: \"%s\" is %s, expected %s", json->path, key,
                    type_name(value), expected);
}

/* The value of the key, or NULL when it is absent or null. */
static const json_t *present(const gen_json *json, const char *key)
{
    const json_t *value = json_object_get(json->root, key);
    return json_is_null(value) ? NULL : value;
}

/* A whole number in [min,max]; 8.0 is one too. */
static gen_status to_int(const gen_json *json, const char *key, const json_t *value, int64_t min,
                         int64_t max, int64_t *out, gen_error *err)
{
    if (!json_is_number(value))
        return wrong_type(json, key, value, "a whole number", err);
    const double real = json_number_value(value);
    if (json_is_real(value) && (real != floor(real) || fabs(real) > 0x1p53))
        return gen_fail(err, json->on_error, "%s: \"%s\" is %g, expected a whole number",
                        json->path, key, real);
    const int64_t n = json_is_real(value) ? (int64_t)real : (int64_t)json_integer_value(value);
    if (n < min || n > max)
        return gen_fail(err, json->on_error,
                        "%s: \"%s\" is %" PRId64 ", expected %" PRId64 "..%" PRId64, json->path,
                        key, n, min, max);
    *out = n;
    return GEN_OK;
}

gen_status gen_json_int(const gen_json *json, const char *key, int64_t def, int64_t min,
                        int64_t max, int64_t *out, gen_error *err)
{
    const json_t *value = present(json, key);
    if (value)
        return to_int(json, key, value, min, max, out, err);
    *out = def;
    return GEN_OK;
}

gen_status gen_json_int32(const gen_json *json, const char *key, int def, int min, int max,
                          int *out, gen_error *err)
{
    int64_t value;
    GEN_TRY(gen_json_int(json, key, def, min, max, &value, err));
    *out = (int)value;
    return GEN_OK;
}

gen_status gen_json_double(const gen_json *json, const char *key, double def, double *out,
                           gen_error *err)
{
    const json_t *value = present(json, key);
    if (value && !json_is_number(value))
        return wrong_type(json, key, value, "a number", err);
    *out = value ? json_number_value(value) : def;
    return GEN_OK;
}

gen_status gen_json_bool(const gen_json *json, const char *key, bool def, bool *out, gen_error *err)
{
    const json_t *value = present(json, key);
    if (value && !json_is_boolean(value))
        return wrong_type(json, key, value, "true or false", err);
    *out = value ? json_is_true(value) : def;
    return GEN_OK;
}

gen_status gen_json_string(const gen_json *json, const char *key, const char *def, const char **out,
                           gen_error *err)
{
    const json_t *value = present(json, key);
    if (value && !json_is_string(value))
        return wrong_type(json, key, value, "a string", err);
    *out = value ? json_string_value(value) : def;
    return GEN_OK;
}

/* The list of the key with its length checked; *list is NULL when the key is absent. */
static gen_status get_list(const gen_json *json, const char *key, int max_count,
                           const json_t **list, gen_error *err)
{
    *list = present(json, key);
    if (*list && !json_is_array(*list))
        return wrong_type(json, key, *list, "a list", err);
    if (*list && json_array_size(*list) > (size_t)max_count)
        return gen_fail(err, json->on_error, "%s: \"%s\" has %zu entries, expected at most %d",
                        json->path, key, json_array_size(*list), max_count);
    return GEN_OK;
}

gen_status gen_json_int_list(const gen_json *json, const char *key, int max_count, int64_t min,
                             int64_t max, int64_t *out, int *count, gen_error *err)
{
    const json_t *list;
    GEN_TRY(get_list(json, key, max_count, &list, err));
    const int n = list ? (int)json_array_size(list) : 0;
    for (int i = 0; i < n; i++)
        GEN_TRY(to_int(json, key, json_array_get(list, (size_t)i), min, max, &out[i], err));
    *count = n;
    return GEN_OK;
}

gen_status gen_json_double_list(const gen_json *json, const char *key, int max_count, double *out,
                                int *count, gen_error *err)
{
    const json_t *list;
    GEN_TRY(get_list(json, key, max_count, &list, err));
    const int n = list ? (int)json_array_size(list) : 0;
    for (int i = 0; i < n; i++) {
        const json_t *value = json_array_get(list, (size_t)i);
        if (!json_is_number(value))
            return wrong_type(json, key, value, "a list of numbers", err);
        out[i] = json_number_value(value);
    }
    *count = n;
    return GEN_OK;
}
