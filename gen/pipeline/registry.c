/* registry.c - the tables of denoiser families and of text encoders. */
#include "gen/pipeline/registry.h"

#include <string.h>

#include "dit/dit.h"
#include "unet/unet.h"

static const gen_network_class *const networks[] = {
    &gen_unet_network, &gen_dit_network, &gen_dit_original_network, &gen_pixart_network,
    &gen_rwkv_network, &gen_wan_network, &gen_wan_original_network, &gen_qwen_image_network,
};

static const gen_prompt_encoder *const prompt_encoders[] = {
    &gen_clip_prompts,
    &gen_t5_prompts,
};

const gen_network_class *gen_network_at(int i)
{
    const int n = (int)(sizeof networks / sizeof *networks);
    return i >= 0 && i < n ? networks[i] : NULL;
}

const gen_network_class *gen_network_find(const char *class_name)
{
    const gen_network_class *network;
    for (int i = 0; (network = gen_network_at(i)); i++)
        if (strcmp(network->class_name, class_name) == 0)
            return network;
    return NULL;
}

const gen_prompt_encoder *gen_prompt_encoder_find(const char *class_name)
{
    for (size_t i = 0; i < sizeof prompt_encoders / sizeof *prompt_encoders; i++)
        for (const char *const *name = prompt_encoders[i]->class_names; *name; name++)
            if (strcmp(*name, class_name) == 0)
                return prompt_encoders[i];
    return NULL;
}
