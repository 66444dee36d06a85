/* dit.h - backbones over sequences of tokens: transformers and their relatives.
 *
 * Each network is one file that reads its configuration, declares its inputs (gen/core/network.h)
 * and records one evaluation, and ends with its entry for gen/pipeline/registry.c.  None knows of
 * another. */
#ifndef GEN_DIT_DIT_H
#define GEN_DIT_DIT_H

#include "gen/core/network.h"

/* dit.c: DiT, class-conditional; the second reads the settings of the original code. */
extern const gen_network_class gen_dit_network, gen_dit_original_network;

/* pixart.c: PixArt-alpha and PixArt-sigma, text to image. */
extern const gen_network_class gen_pixart_network;

/* rwkv.c: Diffusion-RWKV, class-conditional or unconditional. */
extern const gen_network_class gen_rwkv_network;

/* wan.c: Wan 2.1 and 2.2, text to video and image to video; the second reads the settings of the
 * original code. */
extern const gen_network_class gen_wan_network, gen_wan_original_network;

/* qwen_image.c: Qwen-Image and, with pictures to follow, Qwen-Image-Edit. */
extern const gen_network_class gen_qwen_image_network;

#endif
