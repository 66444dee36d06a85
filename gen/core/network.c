/* network.c - what all families of networks share. */
#include "gen/core/network.h"

#include "gen/core/alloc.h"

gen_status gen_network_configure(void **config, const gen_network_class *cls, const gen_json *json,
                                 gen_error *err)
{
    void *read = gen_calloc(1, cls->config_size);
    if (!read)
        return gen_no_memory(err, cls->class_name, cls->config_size);
    const gen_status status = cls->read_config(read, json, err);
    if (status)
        gen_free(read);
    else
        *config = read;
    return status;
}
