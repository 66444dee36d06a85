/* model_files.h - the files of a model on disk: what is there, and the tensors and settings in it.
 *
 * A path may be a diffusers directory (model_index.json and one folder per component), the folder
 * of one component, a folder with one weight file in it, a single file in the layout of Stable
 * Diffusion, or the file of one component.  Whatever it is, the result is the same: components by
 * the names of a diffusers directory, each with its tensors under the names the models use and with
 * a configuration, read or recognised.  Weights are mapped, not read.
 *
 * In a model_index.json a component may also be a text, the path of its folder, which models can
 * share: "vae": "../postcards/vae".  It leads from the model's folder to one in it or beside it, no
 * further; "scheduler", "tokenizer" and "tokenizer_2" may be given so, too.
 *
 * A name without a slash that is nothing in the working directory is looked for among the models
 * that ship with gen. */
#ifndef GEN_PIPELINE_MODEL_FILES_H
#define GEN_PIPELINE_MODEL_FILES_H

#include "gen/core/alloc.h"
#include "gen/core/infer_config.h"
#include "gen/core/keymap.h"
#include "gen/core/json.h"
#include "gen/core/weights.h"

typedef enum gen_files_kind {
    GEN_FILES_DIRECTORY, /* diffusers directory */
    GEN_FILES_COMPONENT, /* folder of one component */
    GEN_FILES_SINGLE     /* one weight file with one or several components */
} gen_files_kind;

/* One network with its weights. */
typedef struct gen_model_component {
    const char *name;       /* "unet", "vae", "text_encoder", "text_encoder_2", ... */
    const char *class_name; /* of the configuration, "UNet2DConditionModel"; "" when unknown */
    const char *path;       /* file or folder, for messages */
    gen_weights *weights;
    gen_json *config;
} gen_model_component;

enum { GEN_MAX_COMPONENTS = 12 };

typedef struct gen_model_files {
    gen_files_kind kind;
    const char *path;
    gen_json *index;       /* model_index.json, or NULL */
    gen_json *scheduler;   /* scheduler_config.json, or NULL */
    const char *tokenizer; /* folders of the vocabularies, or NULL */
    const char *tokenizer_2;
    gen_model_component components[GEN_MAX_COMPONENTS];
    int num_components;
    gen_family family; /* of the UNet, when there is one */
    /* "epsilon" or "v_prediction" as far as a single file tells; NULL when it does not, or when
     * there is a scheduler_config.json. */
    const char *prediction_type;
    bool is_zero_snr;        /* a single file says that its schedule ends at zero signal */
    bool is_original_layout; /* the UNet came under the names of the original code */

    struct gen_model_files *base; /* owned: components of this were taken from there */

    /* private */
    gen_file_contents contents; /* of a single file */
    gen_arena *arena;
    gen_weights **sources; /* tensors under the names of their files */
    int num_sources, max_sources;
} gen_model_files;

/* Errors: MODEL, saying what was found and what is missing; MEMORY. */
gen_status gen_model_files_open(gen_model_files **out, const char *path, gen_error *err);
void gen_model_files_free(gen_model_files *files);

/* The component of that name, or NULL. */
const gen_model_component *gen_model_files_find(const gen_model_files *files, const char *name);

/* The same, but its absence is an error that says what the path is instead ("x.safetensors is a VAE
 * (248 tensors, decoder.conv_in 4 channels), not a generator") and what to do. */
gen_status gen_model_files_require(const gen_model_component **out, const gen_model_files *files,
                                   const char *name, gen_error *err);

/* Takes every component that is missing here, and vocabulary and scheduler, from another model
 * (--base).  Errors: MODEL when there is nothing to take. */
gen_status gen_model_files_set_base(gen_model_files *files, const char *path, gen_error *err);

/* Takes the autoencoder from another file or folder (--vae).  When it brings no configuration of
 * its own, the scale of the latents is that of the model's autoencoder or of its family.
 * Errors: MODEL when there is none, or when its latents have another number of channels. */
gen_status gen_model_files_set_vae(gen_model_files *files, const char *path, gen_error *err);

/* Takes the text encoder from another file or folder (--t5), and its vocabulary where there is one.
 * Errors: MODEL when there is none. */
gen_status gen_model_files_set_text_encoder(gen_model_files *files, const char *path,
                                            gen_error *err);

/* A short phrase: "a VAE (248 tensors, decoder.conv_in 4 channels)", "a Stable Diffusion 1 model
 * (1130 tensors)", "a LoRA (528 tensors)".  Borrowed from files. */
const char *gen_model_files_phrase(const gen_model_files *files);

/* Some lines on all components, or a JSON object; to be freed with gen_free(). */
gen_status gen_model_files_describe(char **out, const gen_model_files *files, bool as_json,
                                    gen_error *err);

/* After all graphs that can use the weights have been recorded (the VAE's encoder, too): tensors
 * that none of them asked for, or that belong to no component.  With `strict` they are an error;
 * else *warning receives one line with their number and the first names, to be freed with
 * gen_free(), or NULL when there are none. */
gen_status gen_model_files_check_unused(const gen_model_files *files, bool strict, char **warning,
                                        gen_error *err);

#endif
