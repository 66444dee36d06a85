/* fuzz_json_config.c - a configuration, given to every reader of configurations. */
#include "gen/core/alloc.h"
#include "gen/pipeline/scheduler_json.h"
#include "gen/text/text.h"
#include "tests/fuzz/fuzz.h"
#include "unet/unet.h"
#include "vae/vae.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gen_json *json;
    gen_error err;
    gen_unet_config unet;
    gen_vae_config vae;
    gen_clip_config clip;
    gen_scheduler_config scheduler;
    double *lists = NULL;
    if (gen_json_parse(&json, (const char *)data, size, "config.json", GEN_ERROR_MODEL, &err))
        return 0;
    gen_unet_config_read(&unet, json, &err);
    gen_vae_config_read(&vae, json, &err);
    gen_clip_config_parse(&clip, json, &err);
    gen_scheduler_config_read(&scheduler, &lists, json, &err);
    gen_free(lists);
    gen_json_free(json);
    return 0;
}
