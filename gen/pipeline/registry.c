/* registry.c - the table of denoiser families. */
#include "gen/pipeline/registry.h"

#include <string.h>

#include "dit/dit.h"
#include "unet/unet.h"

static const gen_network_class *const networks[] = {
    &gen_unet_network,
    &gen_rwkv_network,
    &gen_wan_network,
    &gen_wan_original_network,
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
