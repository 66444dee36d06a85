/* fuzz_json_config.c - a configuration, given to every reader of configurations. */
#include "gen/core/alloc.h"
#include "gen/pipeline/denoise.h"
#include "gen/pipeline/labels.h"
#include "gen/pipeline/registry.h"
#include "gen/pipeline/scheduler_json.h"
#include "gen/text/t5.h"
#include "gen/text/text.h"
#include "tests/fuzz/fuzz.h"
#include "unet/unet.h"
#include "vae/vae.h"

/* Settings that are accepted have to be good enough to record with, if only up to the first weight,
 * of which there is none. */
static void try_network(const gen_network_class *cls, const gen_json *json, gen_weights *none)
{
    gen_network_traits traits;
    float time_ids[GEN_MAX_TIME_IDS];
    gen_graph *g = NULL;
    void *config;
    if (gen_network_configure(&config, cls, json, NULL))
        return;
    if (cls->read_index)
        cls->read_index(config, json);
    cls->describe(config, &traits);
    if (cls->fill_time_ids)
        cls->fill_time_ids(config, 512, 256, true, time_ids);
    const gen_network_shape shape = gen_network_smallest_shape(&traits);
    if (!gen_graph_new(&g, NULL))
        cls->record(g, gen_scope_root(none), config, &shape);
    gen_graph_free(g);
    gen_free(config);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gen_json *json;
    gen_error err;
    gen_unet_config unet;
    gen_vae_config vae;
    gen_clip_config clip;
    gen_t5_config t5;
    gen_scheduler_config scheduler;
    gen_weights *none = NULL;
    int class_label;
    double *lists = NULL;
    if (gen_json_parse(&json, (const char *)data, size, "config.json", GEN_ERROR_MODEL, &err))
        return 0;
    gen_unet_config_read(&unet, json, &err);
    gen_vae_config_read(&vae, json, &err);
    gen_clip_config_parse(&clip, json, &err);
    gen_scheduler_config_read(&scheduler, &lists, json, &err);
    gen_t5_config_parse(&t5, json, &err);
    gen_label_find(&class_label, json, 10, "crane", "model", &err);
    const gen_network_class *cls;
    if (!gen_weights_new(&none, &err))
        for (int i = 0; (cls = gen_network_at(i)); i++)
            try_network(cls, json, none);
    gen_weights_free(none);
    gen_free(lists);
    gen_json_free(json);
    return 0;
}
