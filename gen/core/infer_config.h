/* infer_config.h - settings recognised from tensors, for files that come without a config.json.
 *
 * The models are driven by their configuration alone.  For a single file it is made here, with the
 * keys a diffusers or transformers directory would have, from the shapes of the tensors under the
 * names of the models (keymap.h).  What shapes cannot tell (the VAE's scale, the number of heads)
 * follows from the family. */
#ifndef GEN_CORE_INFER_CONFIG_H
#define GEN_CORE_INFER_CONFIG_H

#include "gen/core/json.h"
#include "gen/core/weights.h"

typedef enum gen_family {
    GEN_FAMILY_UNKNOWN,
    GEN_FAMILY_SD1,
    GEN_FAMILY_SD2,
    GEN_FAMILY_SD_UPSCALER,
    GEN_FAMILY_SDXL,
    GEN_FAMILY_SDXL_REFINER
} gen_family;

/* "Stable Diffusion 1", ... */
const char *gen_family_name(gen_family family);

/* From the UNet: the width of the text it attends to, its input and its widths. */
gen_family gen_infer_family(const gen_weights *unet);

/* Each makes a configuration; `path` is the file's, for messages.  Errors: MODEL when a tensor that
 * every model of this kind has is missing or has another rank; MEMORY. */
gen_status gen_infer_unet_config(gen_json **out, const gen_weights *unet, const char *path,
                                 gen_error *err);

/* AutoencoderKL or AutoencoderTiny.  `file` holds the tensors under their own names, among them
 * the latents' mean and deviation in some files (NULL: none). */
gen_status gen_infer_vae_config(gen_json **out, const gen_weights *vae, gen_family family,
                                const gen_weights *file, const char *path, gen_error *err);

/* T5EncoderModel, UMT5EncoderModel, CLIPTextModel, or CLIPTextModelWithProjection when
 * `with_projection` and the projection is there.
 */
gen_status gen_infer_text_config(gen_json **out, const gen_weights *text, bool with_projection,
                                 const char *path, gen_error *err);

/* Of a network over tokens (infer_tokens.c), with its class. */
gen_status gen_infer_transformer_config(gen_json **out, const gen_weights *weights,
                                        const char *path, gen_error *err);

/* AutoencoderKLWan; gen_infer_vae_config() calls it for the autoencoders of clips. */
bool gen_is_clip_vae(const gen_weights *vae);
gen_status gen_infer_clip_vae_config(gen_json **out, const gen_weights *vae, const char *path,
                                     gen_error *err);

#endif
