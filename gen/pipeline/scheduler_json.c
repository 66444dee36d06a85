/* scheduler_json.c - walking scheduler_config.json; the sampler layer knows the keys. */
#include "gen/pipeline/scheduler_json.h"

#include <string.h>

#include "gen/core/alloc.h"

enum { MAX_LIST = 100000 };

/* Lists of numbers go one after the other into `room`, which has space for all of the file. */
static gen_status set_list(gen_scheduler_config *config, double **room, const char *key,
                           const json_t *list, gen_error *err)
{
    const size_t n = json_array_size(list);
    double *values = *room;
    for (size_t i = 0; i < n; i++) {
        if (!json_is_number(json_array_get(list, i)))
            return gen_fail(err, GEN_ERROR_MODEL, "scheduler: \"%s\" is not a list of numbers",
                            key);
        values[i] = json_number_value(json_array_get(list, i));
    }
    *room += n;
    return gen_scheduler_config_set_numbers(config, key, values, (int)n, err);
}

static gen_status set_key(gen_scheduler_config *config, double **room, const char *key,
                          const json_t *value, gen_error *err)
{
    if (!gen_scheduler_config_knows(key) || key[0] == '_')
        return GEN_OK;
    if (json_is_number(value))
        return gen_scheduler_config_set_number(config, key, json_number_value(value), err);
    if (json_is_boolean(value))
        return gen_scheduler_config_set_bool(config, key, json_is_true(value), err);
    if (json_is_string(value))
        return gen_scheduler_config_set_string(config, key, json_string_value(value), err);
    if (json_is_array(value))
        return set_list(config, room, key, value, err);
    if (json_is_object(value))
        return gen_fail(err, GEN_ERROR_MODEL, "scheduler: \"%s\" is an object", key);
    return GEN_OK; /* null: the default */
}

static size_t list_size(const json_t *value)
{
    return json_is_array(value) && json_array_size(value) <= MAX_LIST ? json_array_size(value) : 0;
}

/* All keys of the file.  *lists gets the lists. */
static gen_status set_keys(gen_scheduler_config *config, double **lists, const json_t *root,
                           gen_error *err)
{
    const char *key;
    json_t *value;
    size_t size = 0;
    json_object_foreach((json_t *)root, key, value)
    {
        size += list_size(value);
        if (json_is_array(value) && json_array_size(value) > MAX_LIST)
            return gen_fail(err, GEN_ERROR_MODEL,
                            "scheduler: \"%s\" has %zu entries, expected at "
                            "most %d",
                            key, json_array_size(value), MAX_LIST);
    }
    if (size && !(*lists = gen_malloc(size * sizeof **lists)))
        return gen_no_memory(err, "scheduler", size * sizeof **lists);
    double *room = *lists;
    json_object_foreach((json_t *)root, key, value)
        GEN_TRY(set_key(config, &room, key, value, err));
    return gen_scheduler_config_check(config, err);
}

char *gen_scheduler_unknown_keys(const gen_json *json)
{
    const char *key;
    json_t *value;
    char *list = NULL;
    json_object_foreach(json->root, key, value)
    {
        if (json_is_null(value) || gen_scheduler_config_knows(key))
            continue;
        char *longer = list ? gen_asprintf("%s, %s", list, key) : gen_strdup(key);
        gen_free(list);
        if (!(list = longer))
            return NULL;
    }
    return list;
}

gen_status gen_scheduler_class_check(const gen_json *json, gen_error *err)
{
    const char *class_name = NULL;
    gen_scheduler_config unused;
    if (!json)
        return GEN_OK;
    GEN_TRY(gen_json_string(json, "_class_name", "", &class_name, err));
    const gen_status status = gen_scheduler_config_init(&unused, class_name, err);
    return status ? gen_fail_in(err, status, "%s", json->path) : GEN_OK;
}

gen_status gen_scheduler_config_read(gen_scheduler_config *config, double **lists,
                                     const gen_json *json, gen_error *err)
{
    const char *class_name = NULL;
    *lists = NULL;
    if (!json)
        return gen_scheduler_config_init(config, NULL, err);
    GEN_TRY(gen_json_string(json, "_class_name", "", &class_name, err));
    if (gen_scheduler_config_init(config, class_name, NULL))
        GEN_TRY(gen_scheduler_config_init(config, NULL, err));
    const gen_status status = set_keys(config, lists, json->root, err);
    if (status) {
        gen_free(*lists);
        *lists = NULL;
        return gen_fail_in(err, status, "%s", json->path);
    }
    return GEN_OK;
}
