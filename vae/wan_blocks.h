/* wan_blocks.h - the graphs of AutoencoderKLWan (wan_vae.c) for chunks of a clip.  Internal to this
 * folder.
 *
 * A graph works on F frames [F,H,W,C].  Where a layer looks at earlier frames, a chunk that is not
 * the first has an input "history.K", and with keeps_history the successor of that state is the
 * output "history.K.next", computed in its place (gen_carry): a plan can be run chunk after chunk
 * without moving any history.  K counts the same in the graphs of first and later chunks. */
#ifndef GEN_VAE_WAN_BLOCKS_H
#define GEN_VAE_WAN_BLOCKS_H

#include "gen/core/nn.h"
#include "vae/vae.h"

typedef struct wan_builder {
    gen_graph *g;
    const gen_vae_config *cfg;
    bool is_first;      /* the chunk begins with the first frame of the clip */
    bool keeps_history; /* another chunk follows */
    int num_states;     /* histories met so far */
} wan_builder;

/* Pixels [F,H,W,3] to moments [f,h,w,2C]: F = 1 + k times the time factor in the first chunk, a
 * multiple of it in others.  root is the root of the checkpoint. */
gen_tensor *vae_wan_encode(wan_builder *b, gen_scope root, gen_tensor *x);
/* Latents [f,h,w,C] to pixels. */
gen_tensor *vae_wan_decode(wan_builder *b, gen_scope root, gen_tensor *z);

gen_status vae_wan_config_read(gen_vae_config *cfg, const gen_json *json, gen_error *err);

#endif
