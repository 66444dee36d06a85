/* scheduler_json.c - walking scheduler_config.json; the sampler layer knows the keys. */
#include "gen/pipeline/scheduler_json.h"

#include <string.h>

#include "gen/core/alloc.h"

static gen_status set_list(gen_scheduler_config *config, double **lists, const char *key,
                           const json_t *list, gen_error *err)
{
    const size_t n = json_array_size(list);
    for (size_t i = 0; i < n; i++)
        if (!json_is_number(json_array_get(list, i)))
            return GEN_OK; /* not a list of numbers: nothing a sampler reads */
    if (n == 0 || n > 100000)
        return GEN_OK;
    double *values = gen_malloc(n * sizeof *values);
    if (!values)
        return gen_no_memory(err, key, n * sizeof *values);
    for (size_t i = 0; i < n; i++)
        values[i] = json_number_value(json_array_get(list, i));
    const gen_status status = gen_scheduler_config_set_numbers(config, key, values, (int)n, err);
    if (status || config->trained_betas != values) {
        gen_free(values);
        return status;
    }
    gen_free(*lists);
    *lists = values;
    return GEN_OK;
}

static gen_status set_key(gen_scheduler_config *config, double **lists, const char *key,
                          const json_t *value, gen_error *err)
{
    if (json_is_number(value))
        return gen_scheduler_config_set_number(config, key, json_number_value(value), err);
    if (json_is_boolean(value))
        return gen_scheduler_config_set_bool(config, key, json_is_true(value), err);
    if (json_is_string(value) && key[0] != '_')
        return gen_scheduler_config_set_string(config, key, json_string_value(value), err);
    if (json_is_array(value))
        return set_list(config, lists, key, value, err);
    return GEN_OK;
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
    const char *class_name = NULL, *key;
    json_t *value;
    *lists = NULL;
    if (!json)
        return gen_scheduler_config_init(config, NULL, err);
    GEN_TRY(gen_json_string(json, "_class_name", "", &class_name, err));
    if (gen_scheduler_config_init(config, class_name, NULL))
        GEN_TRY(gen_scheduler_config_init(config, NULL, err));
    json_object_foreach(json->root, key, value)
    {
        const gen_status status = set_key(config, lists, key, value, err);
        if (status) {
            gen_free(*lists);
            *lists = NULL;
            return gen_fail_in(err, status, "%s", json->path);
        }
    }
    return GEN_OK;
}
