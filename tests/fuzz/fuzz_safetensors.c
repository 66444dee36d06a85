/* fuzz_safetensors.c - a weight file: header, layout, names, settings, numbers. */
#include "gen/core/infer_config.h"
#include "gen/core/keymap.h"
#include "gen/core/safetensors.h"
#include "tests/fuzz/fuzz.h"

/* One part of the file under the names of the models, with its settings. */
static void take_part(gen_weights *file, gen_part part)
{
    gen_weights *weights;
    gen_json *config = NULL;
    gen_error err;
    if (gen_weights_new(&weights, NULL))
        return;
    if (!gen_keymap_add(weights, file, part, &err)) {
        if (part == GEN_PART_UNET)
            gen_infer_unet_config(&config, weights, "file", &err);
        else if (part == GEN_PART_VAE)
            gen_infer_vae_config(&config, weights, gen_infer_family(weights), file, "file", &err);
        else if (part != GEN_PART_OTHER)
            gen_infer_text_config(&config, weights, true, "file", &err);
        for (size_t i = 0; i < gen_weights_count(weights); i++)
            gen_weight_check_finite(gen_weights_at(weights, i), &err);
    }
    gen_json_free(config);
    gen_weights_free(weights);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_file file;
    gen_weights *weights;
    gen_file_contents contents;
    gen_error err;
    if (fuzz_file_open(&file, data, size))
        return 0;
    if (!gen_weights_new(&weights, NULL)) {
        if (!gen_safetensors_open(weights, file.path, &err)) {
            gen_keymap_examine(weights, &contents);
            for (int part = 0; part <= GEN_PART_OTHER; part++)
                take_part(weights, (gen_part)part);
        }
        gen_weights_free(weights);
    }
    fuzz_file_close(&file);
    return 0;
}
