/* network.h - what the pipeline needs to know of a denoiser family.
 *
 * A backbone's file ends with one constant of this type and is listed in gen/pipeline/registry.c;
 * nothing else in the pipeline knows which families exist.  Inputs of a recorded network, by name
 * (those its traits ask for):
 *     "sample" [N,H,W,in_channels]            latents, scaled as the network expects; of a clip
 *                                             [N,F,H,W,in_channels]
 *     "timestep" [N], or [N*num_times]: each is for as many tokens of its sample
 *     "encoder_hidden_states" [N,T,context_dim]
 *     "encoder_hidden_states_image" [N,num_image_tokens,image_dim] features of a picture
 *     "text_embeds" [N,pooled_dim], "time_ids" [N*num_time_ids]
 *     "timestep_cond" [N,guidance_dim]        embedded guidance scale
 * and the output "sample_out", like "sample" with out_channels. */
#ifndef GEN_CORE_NETWORK_H
#define GEN_CORE_NETWORK_H

#include "gen/core/graph.h"
#include "gen/core/json.h"

typedef struct gen_network_traits {
    int in_channels, out_channels;
    int sample_height, sample_width; /* of the latents it was trained on; 0: unknown */
    int context_dim;                 /* width of the text states; 0: takes no text */
    int pooled_dim;                  /* width of the pooled text; 0: takes none */
    int num_time_ids;                /* micro-conditions beside it */
    int guidance_dim;                /* width of the guidance embedding; 0: none */
    bool is_video;                   /* samples are clips */
    int patch_height, patch_width;   /* latents are whole patches; 0: any size */
    int num_context_tokens;          /* texts are padded with zeros to this length; 0: not */
    int image_dim;                   /* width of a picture's features; 0: takes none */
} gen_network_traits;

typedef struct gen_network_shape {
    int64_t batch, height, width; /* of the latents */
    int64_t num_tokens;           /* of the text */
    int64_t num_time_ids;         /* 0: as the traits say */
    int64_t num_frames;           /* of a clip's latents */
    int64_t num_times;            /* time values of a sample; 0: one */
    int64_t num_image_tokens;     /* 0: no picture */
} gen_network_shape;

typedef struct gen_network_class {
    const char *class_name; /* as in _class_name of its config.json */
    /* Reads the configuration; *config is made with gen_malloc.  Errors: MODEL; MEMORY. */
    gen_status (*configure)(void **config, const gen_json *json, gen_error *err);
    void (*describe)(const void *config, gen_network_traits *traits);
    /* Declares the inputs and records one evaluation; w is the root of the checkpoint. */
    void (*record)(gen_graph *g, gen_scope w, const void *config, const gen_network_shape *shape);
} gen_network_class;

#endif
