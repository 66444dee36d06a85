/* unet.h - the UNet of Stable Diffusion (UNet2DConditionModel), driven by its configuration.
 *
 * One file builds them all: SD 1, 2, XL and refiner, pruned ones without a mid block or with fewer
 * layers, guidance-distilled ones with their embedding, inpainting and editing ones with more input
 * channels.  Nothing depends on the name of a model; what a layer is, the configuration says, and
 * the shapes of the weights confirm it.
 *
 * Latents are [N,H,W,C], any H and W.  The text states are [N,T,D].  Time steps are indices of the
 * training schedule, 0..999, fractions allowed. */
#ifndef GEN_UNET_UNET_H
#define GEN_UNET_UNET_H

#include "gen/core/graph.h"
#include "gen/core/json.h"
#include "gen/core/network.h"

#define GEN_UNET_MAX_STAGES 8
#define GEN_UNET_MAX_LAYERS 16 /* in one stage */

typedef enum gen_unet_mid {
    GEN_UNET_MID_CROSS_ATTN, /* resnet, transformer, resnet */
    GEN_UNET_MID_RESNET,     /* UNetMidBlock2D: one resnet */
    GEN_UNET_MID_NONE
} gen_unet_mid;

typedef enum gen_unet_class_embed {
    GEN_UNET_CLASS_NONE,
    GEN_UNET_CLASS_TABLE,             /* label -> row of class_embedding.weight */
    GEN_UNET_CLASS_TIMESTEP,          /* label -> sinusoid -> two layers */
    GEN_UNET_CLASS_PROJECTION,        /* vector -> two layers */
    GEN_UNET_CLASS_SIMPLE_PROJECTION, /* vector -> one layer */
    GEN_UNET_CLASS_IDENTITY           /* vector of the width of the time embedding */
} gen_unet_class_embed;

/* unet/config.json with its defaults filled in.  Lists that the file may give as one number are
 * spread over the stages.  "Stage" counts from the widest image down, "up" from the deepest up. */
typedef struct gen_unet_config {
    int in_channels, out_channels;
    int sample_height, sample_width; /* of the training pictures' latents; 0: not given */

    int num_stages;
    int block_out_channels[GEN_UNET_MAX_STAGES];
    bool down_has_attention[GEN_UNET_MAX_STAGES];
    bool up_has_attention[GEN_UNET_MAX_STAGES]; /* up order */
    gen_unet_mid mid_block_type;
    int layers_per_block[GEN_UNET_MAX_STAGES]; /* up stages have one more */

    int num_heads[GEN_UNET_MAX_STAGES]; /* "attention_head_dim" of the file */
    int cross_attention_dim[GEN_UNET_MAX_STAGES];
    bool only_cross_attention[GEN_UNET_MAX_STAGES]; /* attn1 sees the text, too */
    bool use_linear_projection;                     /* only how the file stores proj_in, proj_out */
    /* transformer blocks of attention j in stage i */
    int down_depth[GEN_UNET_MAX_STAGES][GEN_UNET_MAX_LAYERS];
    int up_depth[GEN_UNET_MAX_STAGES][GEN_UNET_MAX_LAYERS + 1]; /* up order */
    int mid_depth;

    int norm_num_groups;
    float norm_eps;
    gen_act act_fn;
    int conv_in_kernel, conv_out_kernel;
    int downsample_padding;
    float mid_block_scale_factor;
    bool uses_scale_shift;    /* resnet_time_scale_shift "scale_shift" */
    bool center_input_sample; /* 2x - 1 first */

    bool flip_sin_to_cos; /* cosines first */
    double freq_shift;
    int time_cond_proj_dim; /* width of the guidance embedding; 0: none */
    gen_unet_class_embed class_embed_type;
    int num_class_embeds;
    int projection_class_embeddings_input_dim; /* also of the added conditions below */
    bool class_embeddings_concat;
    bool has_text_time;          /* addition_embed_type "text_time": SDXL */
    int addition_time_embed_dim; /* width of one embedded time id */
    int encoder_hid_dim;         /* width of the text before encoder_hid_proj; 0: no projection */
} gen_unet_config;

/* Reads a configuration.  Unknown keys are ignored, absent ones have the defaults of the format.
 * Errors: MODEL, naming file and key, for wrong types, lists of the wrong length, numbers out of
 * range, and settings this UNet does not have. */
gen_status gen_unet_config_read(gen_unet_config *out, const gen_json *json, gen_error *err);

/* The size of one evaluation. */
typedef struct gen_unet_shape {
    int64_t batch, height, width; /* of the latents */
    int64_t num_tokens;           /* of the text */
    int64_t num_time_ids;         /* with has_text_time; 0 means 6 */
} gen_unet_shape;

/* What a UNet is given.  The optional ones are NULL unless the configuration asks for them. */
typedef struct gen_unet_inputs {
    gen_tensor *sample;                /* "sample" [N,H,W,in_channels], already scaled */
    gen_tensor *timestep;              /* "timestep" [N] */
    gen_tensor *encoder_hidden_states; /* "encoder_hidden_states" [N,T,D] */
    gen_tensor *timestep_cond;         /* "timestep_cond" [N,time_cond_proj_dim] */
    gen_tensor *text_embeds;           /* "text_embeds" [N,P] pooled text */
    gen_tensor *time_ids;              /* "time_ids" [N*num_time_ids] */
    gen_tensor *class_labels;          /* "class_labels": [N,1] I32 (table), [N], or [N,D] */
} gen_unet_inputs;

/* Declares the inputs the configuration asks for. */
gen_unet_inputs gen_unet_declare(gen_graph *g, const gen_unet_config *cfg,
                                 const gen_unet_shape *shape);

/* Records one evaluation; w is where conv_in is.  Returns [N,H,W,out_channels], which is also the
 * output "sample_out". */
gen_tensor *gen_unet_forward(gen_graph *g, gen_scope w, const gen_unet_config *cfg,
                             const gen_unet_inputs *in);

/* The width D of "encoder_hidden_states" and, for has_text_time, P of "text_embeds". */
int gen_unet_context_dim(const gen_unet_config *cfg);
int gen_unet_text_embeds_dim(const gen_unet_config *cfg, int64_t num_time_ids);

/* The UNet as the pipeline sees it (network.c). */
extern const gen_network_class gen_unet_network;

#endif
