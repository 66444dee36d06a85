/* network.h - what the pipeline needs to know of a denoiser family.
 *
 * A backbone's file ends with one constant of this type and is listed in gen/pipeline/registry.c;
 * nothing else in the pipeline knows which families exist.
 *
 * Inputs of a recorded network, by name (those its traits ask for):
 *     "sample" [N,H,W,in_channels]            latents, scaled as the network expects; of a clip
 *                                             [N,F,H,W,in_channels]
 *     "timestep" [N], or [N*num_times]: each is for as many tokens of its sample, of a clip for a
 *                                             frame
 *     "encoder_hidden_states" [N,T,context_dim]
 *     "encoder_attention_mask" [N,T]          1 for a token, 0 for padding
 *     "reference.0" .. [N,h,w,in_channels]    latents of pictures to follow, of any size
 *     "encoder_hidden_states_image" [N,num_image_tokens,image_dim] features of a picture
 *     "text_embeds" [N,pooled_dim], "time_ids" [N*num_time_ids]
 *     "class_labels" [N,1] (I32)              0 .. num_classes - 1, or null_class
 *     "timestep_cond" [N,guidance_dim]        embedded guidance scale
 * and the output "sample_out", like "sample" with out_channels.  A network over tokens cuts its
 * latents into patches by itself.
 *
 * To add a family:
 *   1. One file NAME.c with the struct of its configuration, read_config() that fills it,
 *      describe() that fills the traits below, record() that writes down one evaluation in the
 *      words of nn.h, and the constant gen_NAME_network at its end.
 *   2. A line in the folder's header and one in the table of gen/pipeline/registry.c.
 *   3. If checkpoints come under the names of another code: a table of renamings in keymap.c.
 *   4. A line in tests/golden/gen-golden.c with a fixture.
 * What it needs beyond these inputs becomes an input and a trait here, off when zero; the pipeline
 * fills inputs by the traits and never asks which family it serves. */
#ifndef GEN_CORE_NETWORK_H
#define GEN_CORE_NETWORK_H

#include "gen/core/graph.h"
#include "gen/core/json.h"

/* What a family is usually sampled with; a model's own files come before.  Zero or NULL: unsaid. */
typedef struct gen_network_defaults {
    int num_inference_steps;
    double guidance_scale;
    const char *scheduler; /* class of the settings where there is no scheduler_config.json */
    double flow_shift;     /* then: of a flow's times; 0: not a flow by itself */
    bool has_whole_times;  /* then: it is told whole numbers */
    int width, height;     /* pixels */
    int num_frames;        /* of a clip */
    double frames_per_second;
} gen_network_defaults;

typedef struct gen_network_traits {
    int in_channels, out_channels;
    int variance_channels; /* of out_channels, the last: what it says about the variance of a step;
                              the prediction is before them.  0: none */
    int guided_channels;   /* of the prediction, the first that guidance acts on; 0: all */
    int sample_height, sample_width; /* of the latents it was trained on; 0: unknown */
    int context_dim;                 /* width of the text states; 0: takes no text */
    int pooled_dim;                  /* width of the pooled text; 0: takes none */
    int num_time_ids;                /* micro-conditions beside it */
    int guidance_dim;                /* width of the guidance embedding; 0: none */
    bool is_video;                   /* samples are clips */
    bool takes_first_frame;          /* a clip's first latents may be given: their time is 0 */
    int patch_height, patch_width;   /* latents are whole patches; 0: any size */
    bool has_fixed_size;             /* knows its own size only */
    int num_context_tokens;          /* texts are padded with zeros to this length; 0: not */
    int max_context_tokens;          /* longer texts are cut; 0: not */
    bool has_context_mask;           /* takes the mask of the text's tokens */
    bool lowers_case;                /* was trained on prompts in lower case */
    int num_classes;                 /* 0: takes no class */
    int null_class;                  /* stands for none, in guidance; -1: there is no such */
    int image_dim;                   /* width of a picture's features; 0: takes none */
    int max_references;              /* pictures it can follow; 0: none */
    gen_network_defaults defaults;
} gen_network_traits;

/* Channels of the latents that are sampled. */
static inline int gen_network_latent_channels(const gen_network_traits *traits)
{
    return traits->out_channels - traits->variance_channels;
}

enum { GEN_MAX_REFERENCES = 4 };

typedef struct gen_network_shape {
    int64_t batch, height, width; /* of the latents */
    int64_t num_tokens;           /* of the text */
    int64_t num_time_ids;         /* 0: as the traits say */
    int64_t num_frames;           /* of a clip's latents */
    int64_t num_times;            /* time values of a sample; 0: one */
    int64_t num_image_tokens;     /* 0: no picture */
    int num_references;
    struct {
        int64_t height, width; /* of its latents */
    } references[GEN_MAX_REFERENCES];
} gen_network_shape;

typedef struct gen_network_class {
    const char *class_name; /* as in _class_name of its config.json */
    size_t config_size;     /* of the struct of its configuration */
    /* Reads config.json into such a struct, zeroed.  Errors: MODEL. */
    gen_status (*read_config)(void *config, const gen_json *json, gen_error *err);
    /* Takes what model_index.json says of the network into the configuration.  NULL: nothing. */
    void (*read_index)(void *config, const gen_json *index);
    void (*describe)(const void *config, gen_network_traits *traits);
    /* The class of settings that the weights themselves tell, whatever files say; NULL: none, or no
     * function. */
    const char *(*scheduler_of)(gen_scope w);
    /* Fills the num_time_ids micro-conditions for a picture of so many pixels, beside the prompt or
     * the negative prompt.  NULL: has none. */
    void (*fill_time_ids)(const void *config, int width, int height, bool is_negative,
                          float *time_ids);
    /* Declares the inputs and records one evaluation; w is the root of the checkpoint. */
    void (*record)(gen_graph *g, gen_scope w, const void *config, const gen_network_shape *shape);
} gen_network_class;

/* The configuration of a network from its config.json; *config is made with gen_malloc().  Errors:
 * MODEL; MEMORY. */
gen_status gen_network_configure(void **config, const gen_network_class *cls, const gen_json *json,
                                 gen_error *err);

#endif
