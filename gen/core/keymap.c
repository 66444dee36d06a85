/* keymap.c - the tables of key layouts and the machine that applies them. */
#include "gen/core/keymap.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "gen/core/alloc.h"

/* ---- tables ---------------------------------------------------------------------------------
 *
 * A rule renames the beginning of a name, up to a dot or the end; the first that fits counts.  In
 * `from`, # is a number.  In `to`, with k the first number and s the blocks per stage:
 *     $0 $1  the numbers as they are
 *     $a $b  (k - 1) / s and (k - 1) % s: input_blocks count from the stem, which is number 0
 *     $c $d  k / s and k % s: output_blocks
 *     $r     levels - 1 - k: the decoder of the original VAE counts its levels from the widest
 *     $m     k - 1
 *     $l     add_embedding (SDXL) or class_embedding (unCLIP)
 *     ?      q, k and v in turn: the tensor is three, one below the other
 *     %      k and v in turn: it is two
 * `tail` renames what follows in the same way. */
typedef struct rule {
    const char *from, *to;
    const struct rule *tail;
    enum { ANY_REST, WHOLE_NAME, TRANSPOSED } kind; /* TRANSPOSED is a WHOLE_NAME, too */
} rule;

#define END_OF_RULES                                                                               \
    {                                                                                              \
        NULL, NULL, NULL, ANY_REST                                                                 \
    }

static const rule unet_resnet[] = {
    {"in_layers.0", "norm1"},
    {"in_layers.2", "conv1"},
    {"emb_layers.1", "time_emb_proj"},
    {"out_layers.0", "norm2"},
    {"out_layers.3", "conv2"},
    {"skip_connection", "conv_shortcut"},
    END_OF_RULES,
};

static const rule unet_rules[] = {
    {"time_embed.0", "time_embedding.linear_1"},
    {"time_embed.2", "time_embedding.linear_2"},
    {"time_embed.cond_proj", "time_embedding.cond_proj"},
    {"label_emb.0.0", "$l.linear_1"},
    {"label_emb.0.2", "$l.linear_2"},
    {"label_emb.weight", "class_embedding.weight", NULL, WHOLE_NAME},
    {"input_blocks.0.0", "conv_in"},
    {"input_blocks.#.0.op", "down_blocks.$a.downsamplers.0.conv"},
    {"input_blocks.#.0", "down_blocks.$a.resnets.$b", unet_resnet},
    {"input_blocks.#.1", "down_blocks.$a.attentions.$b"},
    {"middle_block.0", "mid_block.resnets.0", unet_resnet},
    {"middle_block.1", "mid_block.attentions.0"},
    {"middle_block.2", "mid_block.resnets.1", unet_resnet},
    {"output_blocks.#.0", "up_blocks.$c.resnets.$d", unet_resnet},
    {"output_blocks.#.1.conv", "up_blocks.$c.upsamplers.0.conv"},
    {"output_blocks.#.2.conv", "up_blocks.$c.upsamplers.0.conv"},
    {"output_blocks.#.1", "up_blocks.$c.attentions.$d"},
    {"out.0", "conv_norm_out"},
    {"out.2", "conv_out"},
    END_OF_RULES,
};

static const rule vae_resnet[] = {
    {"nin_shortcut", "conv_shortcut"},
    END_OF_RULES,
};

static const rule vae_attention[] = {
    {"norm", "group_norm"},    {"q", "to_q"},     {"k", "to_k"},   {"v", "to_v"},
    {"proj_out", "to_out.0"},  {"query", "to_q"}, {"key", "to_k"}, {"value", "to_v"},
    {"proj_attn", "to_out.0"}, END_OF_RULES,
};

static const rule vae_rules[] = {
    {"encoder.norm_out", "encoder.conv_norm_out"},
    {"decoder.norm_out", "decoder.conv_norm_out"},
    {"encoder.down.#.block.#", "encoder.down_blocks.$0.resnets.$1", vae_resnet},
    {"encoder.down.#.downsample.conv", "encoder.down_blocks.$0.downsamplers.0.conv"},
    {"encoder.mid.block_1", "encoder.mid_block.resnets.0", vae_resnet},
    {"encoder.mid.block_2", "encoder.mid_block.resnets.1", vae_resnet},
    {"encoder.mid.attn_1", "encoder.mid_block.attentions.0", vae_attention},
    {"encoder.mid_block.attentions.0", "encoder.mid_block.attentions.0", vae_attention},
    {"decoder.mid.block_1", "decoder.mid_block.resnets.0", vae_resnet},
    {"decoder.mid.block_2", "decoder.mid_block.resnets.1", vae_resnet},
    {"decoder.mid.attn_1", "decoder.mid_block.attentions.0", vae_attention},
    {"decoder.mid_block.attentions.0", "decoder.mid_block.attentions.0", vae_attention},
    {"decoder.up.#.block.#", "decoder.up_blocks.$r.resnets.$1", vae_resnet},
    {"decoder.up.#.upsample.conv", "decoder.up_blocks.$r.upsamplers.0.conv"},
    END_OF_RULES,
};

/* The tiny autoencoders' own files: a bare sequence of layers.  The decoder's counts the clamp of
 * its input as a layer. */
static const rule tiny_encoder_rules[] = {{"#", "encoder.layers.$0"}, END_OF_RULES};
static const rule tiny_decoder_rules[] = {{"#", "decoder.layers.$m"}, END_OF_RULES};

/* Wan: the original code, whose second and third norm change places. */
static const rule wan_self_attention[] = {
    {"q", "to_q"}, {"k", "to_k"}, {"v", "to_v"}, {"o", "to_out.0"}, END_OF_RULES,
};

static const rule wan_cross_attention[] = {
    {"q", "to_q"},
    {"k", "to_k"},
    {"v", "to_v"},
    {"o", "to_out.0"},
    {"k_img", "add_k_proj"},
    {"v_img", "add_v_proj"},
    {"norm_k_img", "norm_added_k"},
    END_OF_RULES,
};

static const rule wan_rules[] = {
    {"text_embedding.0", "condition_embedder.text_embedder.linear_1"},
    {"text_embedding.2", "condition_embedder.text_embedder.linear_2"},
    {"time_embedding.0", "condition_embedder.time_embedder.linear_1"},
    {"time_embedding.2", "condition_embedder.time_embedder.linear_2"},
    {"time_projection.1", "condition_embedder.time_proj"},
    {"img_emb.proj.0", "condition_embedder.image_embedder.norm1"},
    {"img_emb.proj.1", "condition_embedder.image_embedder.ff.net.0.proj"},
    {"img_emb.proj.3", "condition_embedder.image_embedder.ff.net.2"},
    {"img_emb.proj.4", "condition_embedder.image_embedder.norm2"},
    {"img_emb.emb_pos", "condition_embedder.image_embedder.pos_embed"},
    {"blocks.#.modulation", "blocks.$0.scale_shift_table"},
    {"blocks.#.self_attn", "blocks.$0.attn1", wan_self_attention},
    {"blocks.#.cross_attn", "blocks.$0.attn2", wan_cross_attention},
    {"blocks.#.norm3", "blocks.$0.norm2"},
    {"blocks.#.ffn.0", "blocks.$0.ffn.net.0.proj"},
    {"blocks.#.ffn.2", "blocks.$0.ffn.net.2"},
    {"head.head", "proj_out"},
    {"head.modulation", "scale_shift_table"},
    END_OF_RULES,
};

/* The autoencoder of Wan: that of 2.1 counts the layers of a side, that of 2.2 those of a stage.
 * Under the diffusers names nothing changes. */
static const rule wan_resnet[] = {
    {"residual.0", "norm1"}, {"residual.2", "conv1"},       {"residual.3", "norm2"},
    {"residual.6", "conv2"}, {"shortcut", "conv_shortcut"}, END_OF_RULES,
};

static const rule wan_vae_rules[] = {
    {"conv1", "quant_conv"},
    {"conv2", "post_quant_conv"},
    {"encoder.conv1", "encoder.conv_in"},
    {"decoder.conv1", "decoder.conv_in"},
    {"encoder.downsamples.#.downsamples.#.resample", "encoder.down_blocks.$0.downsampler.resample"},
    {"encoder.downsamples.#.downsamples.#.time_conv",
     "encoder.down_blocks.$0.downsampler.time_conv"},
    {"encoder.downsamples.#.downsamples.#", "encoder.down_blocks.$0.resnets.$1", wan_resnet},
    {"encoder.downsamples.#", "encoder.down_blocks.$0", wan_resnet},
    {"decoder.upsamples.#.upsamples.#.resample", "decoder.up_blocks.$0.upsampler.resample"},
    {"decoder.upsamples.#.upsamples.#.time_conv", "decoder.up_blocks.$0.upsampler.time_conv"},
    {"decoder.upsamples.#.upsamples.#", "decoder.up_blocks.$0.resnets.$1", wan_resnet},
    {"decoder.upsamples.#.resample", "decoder.up_blocks.$c.upsamplers.0.resample"},
    {"decoder.upsamples.#.time_conv", "decoder.up_blocks.$c.upsamplers.0.time_conv"},
    {"decoder.upsamples.#", "decoder.up_blocks.$c.resnets.$d", wan_resnet},
    {"encoder.middle.0", "encoder.mid_block.resnets.0", wan_resnet},
    {"encoder.middle.1", "encoder.mid_block.attentions.0"},
    {"encoder.middle.2", "encoder.mid_block.resnets.1", wan_resnet},
    {"decoder.middle.0", "decoder.mid_block.resnets.0", wan_resnet},
    {"decoder.middle.1", "decoder.mid_block.attentions.0"},
    {"decoder.middle.2", "decoder.mid_block.resnets.1", wan_resnet},
    {"encoder.head.0", "encoder.norm_out"},
    {"encoder.head.2", "encoder.conv_out"},
    {"decoder.head.0", "decoder.norm_out"},
    {"decoder.head.2", "decoder.conv_out"},
    END_OF_RULES,
};

/* DiT: the original code embeds time and class once, the diffusers format in every block. */
static const rule dit_rules[] = {
    {"x_embedder.proj", "pos_embed.proj"},
    {"pos_embed", "pos_embed.table", NULL, WHOLE_NAME},
    {"t_embedder.mlp.0", "transformer_blocks.0.norm1.emb.timestep_embedder.linear_1"},
    {"t_embedder.mlp.2", "transformer_blocks.0.norm1.emb.timestep_embedder.linear_2"},
    {"y_embedder", "transformer_blocks.0.norm1.emb.class_embedder"},
    {"blocks.#.attn.qkv.weight", "transformer_blocks.$0.attn1.to_?.weight", NULL, WHOLE_NAME},
    {"blocks.#.attn.qkv.bias", "transformer_blocks.$0.attn1.to_?.bias", NULL, WHOLE_NAME},
    {"blocks.#.attn.proj", "transformer_blocks.$0.attn1.to_out.0"},
    {"blocks.#.mlp.fc1", "transformer_blocks.$0.ff.net.0.proj"},
    {"blocks.#.mlp.fc2", "transformer_blocks.$0.ff.net.2"},
    {"blocks.#.adaLN_modulation.1", "transformer_blocks.$0.norm1.linear"},
    {"final_layer.adaLN_modulation.1", "proj_out_1"},
    {"final_layer.linear", "proj_out_2"},
    END_OF_RULES,
};

/* PixArt. */
static const rule pixart_rules[] = {
    {"x_embedder.proj", "pos_embed.proj"},
    {"pos_embed", "pos_embed.table", NULL, WHOLE_NAME},
    {"t_embedder.mlp.0", "adaln_single.emb.timestep_embedder.linear_1"},
    {"t_embedder.mlp.2", "adaln_single.emb.timestep_embedder.linear_2"},
    {"csize_embedder.mlp.0", "adaln_single.emb.resolution_embedder.linear_1"},
    {"csize_embedder.mlp.2", "adaln_single.emb.resolution_embedder.linear_2"},
    {"ar_embedder.mlp.0", "adaln_single.emb.aspect_ratio_embedder.linear_1"},
    {"ar_embedder.mlp.2", "adaln_single.emb.aspect_ratio_embedder.linear_2"},
    {"t_block.1", "adaln_single.linear"},
    {"y_embedder.y_proj.fc1", "caption_projection.linear_1"},
    {"y_embedder.y_proj.fc2", "caption_projection.linear_2"},
    {"blocks.#.scale_shift_table", "transformer_blocks.$0.scale_shift_table"},
    {"blocks.#.attn.qkv.weight", "transformer_blocks.$0.attn1.to_?.weight", NULL, WHOLE_NAME},
    {"blocks.#.attn.qkv.bias", "transformer_blocks.$0.attn1.to_?.bias", NULL, WHOLE_NAME},
    {"blocks.#.attn.proj", "transformer_blocks.$0.attn1.to_out.0"},
    {"blocks.#.cross_attn.q_linear", "transformer_blocks.$0.attn2.to_q"},
    {"blocks.#.cross_attn.kv_linear.weight", "transformer_blocks.$0.attn2.to_%.weight", NULL,
     WHOLE_NAME},
    {"blocks.#.cross_attn.kv_linear.bias", "transformer_blocks.$0.attn2.to_%.bias", NULL,
     WHOLE_NAME},
    {"blocks.#.cross_attn.proj", "transformer_blocks.$0.attn2.to_out.0"},
    {"blocks.#.mlp.fc1", "transformer_blocks.$0.ff.net.0.proj"},
    {"blocks.#.mlp.fc2", "transformer_blocks.$0.ff.net.2"},
    {"final_layer.scale_shift_table", "scale_shift_table"},
    {"final_layer.linear", "proj_out"},
    END_OF_RULES,
};

static const rule open_clip_block[] = {
    {"ln_1", "layer_norm1"},
    {"ln_2", "layer_norm2"},
    {"attn.in_proj_weight", "self_attn.?_proj.weight", NULL, WHOLE_NAME},
    {"attn.in_proj_bias", "self_attn.?_proj.bias", NULL, WHOLE_NAME},
    {"attn.out_proj", "self_attn.out_proj"},
    {"mlp.c_fc", "mlp.fc1"},
    {"mlp.c_proj", "mlp.fc2"},
    END_OF_RULES,
};

static const rule text_rules[] = {
    /* transformers, with the prefix that some files lack */
    {"embeddings", "text_model.embeddings"},
    {"encoder", "text_model.encoder"},
    {"final_layer_norm", "text_model.final_layer_norm"},
    /* OpenCLIP */
    {"positional_embedding", "text_model.embeddings.position_embedding.weight", NULL, WHOLE_NAME},
    {"token_embedding", "text_model.embeddings.token_embedding"},
    {"transformer.resblocks.#", "text_model.encoder.layers.$0", open_clip_block},
    {"ln_final", "text_model.final_layer_norm"},
    {"text_projection", "text_projection.weight", NULL, TRANSPOSED},
    END_OF_RULES,
};

/* T5 as transformers has it: nothing changes. */
static const rule t5_rules[] = {END_OF_RULES};

/* umT5 as the original code of Wan has it. */
static const rule wan_t5_block[] = {
    {"norm1", "layer.0.layer_norm"},
    {"attn", "layer.0.SelfAttention"},
    {"pos_embedding.embedding", "layer.0.SelfAttention.relative_attention_bias"},
    {"norm2", "layer.1.layer_norm"},
    {"ffn.gate.0", "layer.1.DenseReluDense.wi_0"},
    {"ffn.fc1", "layer.1.DenseReluDense.wi_1"},
    {"ffn.fc2", "layer.1.DenseReluDense.wo"},
    END_OF_RULES,
};

static const rule wan_t5_rules[] = {
    {"token_embedding", "shared"},
    {"blocks.#", "encoder.block.$0", wan_t5_block},
    {"norm", "encoder.final_layer_norm"},
    END_OF_RULES,
};

/* Where a part lies in a file, the most particular prefix first, and what shows that it is there.
 */
typedef struct place {
    gen_part part;
    const char *prefix;
} place;

static const place places[] = {
    {GEN_PART_UNET, "model.diffusion_model."},
    {GEN_PART_UNET, "diffusion_model."},
    {GEN_PART_UNET, "unet."},
    {GEN_PART_UNET, ""},
    {GEN_PART_VAE, "first_stage_model."},
    {GEN_PART_VAE, "vae."},
    {GEN_PART_VAE, ""},
    {GEN_PART_TEXT_ENCODER, "cond_stage_model.transformer."},
    {GEN_PART_TEXT_ENCODER, "cond_stage_model.model."},
    {GEN_PART_TEXT_ENCODER, "conditioner.embedders.0.transformer."},
    {GEN_PART_TEXT_ENCODER, "text_encoders.clip_l.transformer."},
    {GEN_PART_TEXT_ENCODER, "text_encoders.t5xxl.transformer."},
    {GEN_PART_TEXT_ENCODER, "text_encoder."},
    {GEN_PART_TEXT_ENCODER, ""},
    {GEN_PART_TEXT_ENCODER_2, "conditioner.embedders.1.model."},
    {GEN_PART_TEXT_ENCODER_2, "conditioner.embedders.0.model."},
    {GEN_PART_TEXT_ENCODER_2, "text_encoders.clip_g.transformer."},
    {GEN_PART_TEXT_ENCODER_2, "text_encoder_2."},
    {GEN_PART_TRANSFORMER, "model.diffusion_model."},
    {GEN_PART_TRANSFORMER, "diffusion_model."},
    {GEN_PART_TRANSFORMER, "transformer."},
    {GEN_PART_TRANSFORMER, "model."},
    {GEN_PART_TRANSFORMER, "net."},
    {GEN_PART_TRANSFORMER, "module."},
    {GEN_PART_TRANSFORMER, "ema."},
    {GEN_PART_TRANSFORMER, ""},
};

static const struct {
    gen_part part;
    const char *name;
    int rank;
} markers[] = {
    {GEN_PART_UNET, "out.2.weight", 4},
    {GEN_PART_UNET, "conv_norm_out.weight", 1},
    {GEN_PART_VAE, "decoder.conv_in.weight", 4},
    {GEN_PART_VAE, "encoder.conv_in.weight", 4},
    {GEN_PART_VAE, "decoder.layers.0.weight", 4},
    {GEN_PART_VAE, "encoder.layers.0.weight", 4},
    {GEN_PART_VAE, "3.conv.0.weight", 4},
    {GEN_PART_VAE, "decoder.conv_in.weight", 5}, /* clips */
    {GEN_PART_VAE, "encoder.conv_in.weight", 5},
    {GEN_PART_VAE, "decoder.conv1.weight", 5},
    {GEN_PART_VAE, "encoder.conv1.weight", 5},
    {GEN_PART_TEXT_ENCODER, "text_model.embeddings.token_embedding.weight", 2},
    {GEN_PART_TEXT_ENCODER, "embeddings.token_embedding.weight", 2},
    {GEN_PART_TEXT_ENCODER, "token_embedding.weight", 2},
    {GEN_PART_TEXT_ENCODER, "encoder.final_layer_norm.weight", 1},
    {GEN_PART_TEXT_ENCODER_2, "text_model.embeddings.token_embedding.weight", 2},
    {GEN_PART_TEXT_ENCODER_2, "token_embedding.weight", 2},
    {GEN_PART_TRANSFORMER, "patch_embedding.weight", 5},
    {GEN_PART_TRANSFORMER, "patch_embedding.weight", 2},
    {GEN_PART_TRANSFORMER, "in_blocks.0.att.key.weight", 2},
    {GEN_PART_TRANSFORMER, "x_embedder.proj.weight", 4},
    {GEN_PART_TRANSFORMER, "pos_embed.proj.weight", 4},
};

/* Transformers under the names of their own codes. */
static const struct {
    const char *shown_by;
    const rule *rules;
} transformers[] = {
    {"time_projection.1.weight", wan_rules},
    {"y_embedder.embedding_table.weight", dit_rules},
    {"y_embedder.y_proj.fc1.weight", pixart_rules},
};

/* Leftovers of training and of other programs that files in use carry: never loaded, never
 * reported.  A * at the end of a name stands for anything. */
static const char *const ignored_names[] = {
    "model_ema.*",
    "betas",
    "alphas_cumprod*",
    "sqrt_*",
    "log_one_minus_*",
    "posterior_*",
    "logvar",
    "denoiser.sigmas",
    "lvlb_weights",
    "scale_factor",
    "global_step",
    "optimizer*",
    "lr_schedulers*",
    "callbacks*",
    "epoch",
    "loss.*",
    "first_stage_model.loss.*",
    "edm_mean",
    "edm_std",
    "v_pred",
    "ztsnr",
    "vision_model.*",
    "visual_projection.*",
    "visual.*",
    "cond_stage_model.model.visual.*",
    "model_mean_type",
    "freqs",
    "net.freqs",
};
static const char *const ignored_endings[] = {".position_ids", ".attn_mask", ".logit_scale"};

/* What shows that a text encoder is a T5, in transformers and in the original code of Wan. */
static const char t5_marker[] = "encoder.block.0.layer.0.SelfAttention.q.weight";
static const char wan_t5_marker[] = "blocks.0.pos_embedding.embedding.weight";

/* In a part: there, but only some uses need it. */
static const char *const spare_names[] = {"text_projection.weight", "logit_scale",
                                          "pos_embed.table", "y_embedder.y_embedding"};

/* The original text model of SD 2 has 24 blocks and the output of the 23rd is used. */
enum { SD2_TEXT_BLOCKS = 23 };

/* ---- matching ------------------------------------------------------------------------------- */

enum { MAX_NUMBERS = 4 };

static bool starts_with(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

static bool ends_with(const char *s, const char *ending)
{
    const size_t n = strlen(s), m = strlen(ending);
    return n >= m && strcmp(s + n - m, ending) == 0;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Matches the beginning of a name; returns the rest ("" or ".something") or NULL. */
static const char *match(const char *pattern, const char *name, int *numbers)
{
    int count = 0;
    for (; *pattern; pattern++) {
        if (*pattern != '#') {
            if (*name++ != *pattern)
                return NULL;
            continue;
        }
        int n = 0, digits = 0;
        for (; is_digit(*name) && digits < 4; digits++)
            n = 10 * n + (*name++ - '0');
        if (digits == 0 || count == MAX_NUMBERS)
            return NULL;
        numbers[count++] = n;
    }
    return *name == '\0' || *name == '.' ? name : NULL;
}

static const rule *find_rule(const rule *rules, const char *name, int *numbers, const char **rest)
{
    for (; rules->from; rules++) {
        *rest = match(rules->from, name, numbers);
        if (*rest && (rules->kind == ANY_REST || **rest == '\0'))
            return rules;
    }
    return NULL;
}

/* What the rules have to know of a file. */
typedef struct layout {
    const char *prefix[GEN_NUM_PARTS]; /* NULL: the part is not there */
    const rule *vae_rules, *transformer_rules, *text_rules;
    int blocks_per_stage;
    int vae_levels;
    const char *label_name;
    bool has_open_clip_of_sd2;
} layout;

static const rule *rules_of(const layout *l, gen_part part)
{
    switch (part) {
    case GEN_PART_UNET:
        return unet_rules;
    case GEN_PART_VAE:
        return l->vae_rules;
    case GEN_PART_TEXT_ENCODER:
    case GEN_PART_TEXT_ENCODER_2:
        return l->text_rules;
    case GEN_PART_TRANSFORMER:
        return l->transformer_rules;
    default:
        return NULL;
    }
}

/* Finds the tensor prefix + name. */
static gen_weight *find_in(const gen_weights *file, const char *prefix, const char *name)
{
    char full[256];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    return gen_weights_find(file, full);
}

/* The prefix of a part, or NULL.  With `whole`, the file is known to be that part. */
static const char *find_prefix(const gen_weights *file, gen_part part, bool whole)
{
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        for (size_t k = 0; k < sizeof markers / sizeof markers[0]; k++) {
            if (places[i].part != part || markers[k].part != part)
                continue;
            const gen_weight *w = find_in(file, places[i].prefix, markers[k].name);
            if (w && w->rank == markers[k].rank)
                return places[i].prefix;
        }
    return whole ? "" : NULL;
}

/* Skips the prefix of a part; NULL when the name has another. */
static const char *below(const char *prefix, const char *name)
{
    return prefix && starts_with(name, prefix) ? name + strlen(prefix) : NULL;
}

/* Reads off the numbers that some rules need. */
static void measure(layout *l, const gen_weights *file)
{
    l->blocks_per_stage = 0;
    for (size_t i = 0; i < gen_weights_count(file); i++) {
        const gen_weight *w = gen_weights_at(file, i);
        int k[MAX_NUMBERS] = {0};
        const char *name = below(l->prefix[GEN_PART_UNET], w->name);
        if (name && match("input_blocks.#.0.op", name, k) && k[0] > 0 &&
            (l->blocks_per_stage == 0 || k[0] < l->blocks_per_stage))
            l->blocks_per_stage = k[0]; /* the first downsampler ends the first stage */
        if (name && ends_with(name, ".attn2.to_k.weight") && w->rank >= 2 && w->dims[1] == 1024)
            l->label_name = "class_embedding";
        name = below(l->prefix[GEN_PART_VAE], w->name);
        if (name && match("decoder.up.#", name, k) && k[0] >= l->vae_levels)
            l->vae_levels = k[0] + 1;
    }
    if (l->blocks_per_stage == 0)
        l->blocks_per_stage = 3;
}

static void find_layout(layout *l, const gen_weights *file, gen_part whole)
{
    *l = (layout){.vae_rules = vae_rules, .text_rules = text_rules, .label_name = "add_embedding"};
    for (int part = 0; part < GEN_NUM_PARTS; part++)
        l->prefix[part] = find_prefix(file, (gen_part)part, part == (int)whole);
    for (int part = 0; part < GEN_NUM_PARTS; part++) /* names without prefix go to one part */
        if (whole != GEN_PART_OTHER && part != (int)whole && l->prefix[part] &&
            *l->prefix[part] == '\0')
            l->prefix[part] = NULL;
    const char *text = l->prefix[GEN_PART_TEXT_ENCODER];
    if (text && find_in(file, text, t5_marker))
        l->text_rules = t5_rules;
    if (text && find_in(file, text, wan_t5_marker))
        l->text_rules = wan_t5_rules;
    l->has_open_clip_of_sd2 = text && strcmp(text, "cond_stage_model.model.") == 0;
    const char *vae = l->prefix[GEN_PART_VAE];
    if (vae && find_in(file, vae, "3.conv.0.weight"))
        l->vae_rules = find_in(file, vae, "0.weight") ? tiny_encoder_rules : tiny_decoder_rules;
    const bool is_clip_vae = vae && find_in(file, vae, "decoder.middle.0.residual.0.gamma");
    if (is_clip_vae || (vae && find_in(file, vae, "decoder.mid_block.resnets.0.norm1.gamma")))
        l->vae_rules = wan_vae_rules;
    const char *tokens = l->prefix[GEN_PART_TRANSFORMER];
    for (size_t i = 0; tokens && i < sizeof transformers / sizeof transformers[0]; i++)
        if (find_in(file, tokens, transformers[i].shown_by))
            l->transformer_rules = transformers[i].rules;
    measure(l, file);
    if (is_clip_vae) /* three residual blocks and an upsampler */
        l->blocks_per_stage = 4;
}

/* The part a tensor belongs to; *name becomes its name without the prefix. */
static gen_part part_of(const layout *l, const char **name)
{
    gen_part bare = GEN_PART_OTHER;
    for (int part = 0; part < GEN_NUM_PARTS; part++) {
        const char *rest = below(l->prefix[part], *name);
        if (rest && rest > *name) {
            *name = rest;
            return (gen_part)part;
        }
        if (rest && bare == GEN_PART_OTHER)
            bare = (gen_part)part;
    }
    return bare;
}

static bool is_ignored(const layout *l, const char *name)
{
    for (size_t i = 0; i < sizeof ignored_names / sizeof ignored_names[0]; i++) {
        const char *pattern = ignored_names[i];
        const size_t n = strlen(pattern);
        if (pattern[n - 1] == '*' ? strncmp(name, pattern, n - 1) == 0 : strcmp(name, pattern) == 0)
            return true;
    }
    for (size_t i = 0; i < sizeof ignored_endings / sizeof ignored_endings[0]; i++)
        if (ends_with(name, ignored_endings[i]) || strcmp(name, ignored_endings[i] + 1) == 0)
            return true;
    int k[MAX_NUMBERS];
    const char *text = below(l->prefix[GEN_PART_TEXT_ENCODER], name);
    if (l->text_rules == t5_rules && text &&
        (starts_with(text, "decoder.") || strcmp(text, "lm_head.weight") == 0))
        return true; /* of a whole T5 */
    return l->has_open_clip_of_sd2 && text && match("transformer.resblocks.#", text, k) &&
           k[0] >= SD2_TEXT_BLOCKS;
}

/* ---- contents ------------------------------------------------------------------------------- */

/* Notes the model that a LoRA changes, by the modules only that has, and its rank. */
static void examine_lora(const gen_weight *w, gen_file_contents *out)
{
    static const struct {
        const char *part, *base;
    } bases[] = {{".img_mod.", "Qwen-Image"},
                 {".add_q_proj.", "a two-stream transformer"},
                 {".cross_attn.", "Wan"},
                 {".self_attn.", "Wan"},
                 {"lora_te2_", "Stable Diffusion XL"},
                 {"lora_unet_", "Stable Diffusion"},
                 {"unet.down_blocks.", "Stable Diffusion"}};
    const size_t count = sizeof bases / sizeof *bases;
    size_t known = 0;
    while (known < count && out->lora_base != bases[known].base)
        known++;
    for (size_t i = 0; i < known && i < count; i++) /* an earlier row is surer */
        if (strstr(w->name, bases[i].part)) {
            out->lora_base = bases[i].base;
            break;
        }
    if (w->rank == 2 && (strstr(w->name, "lora_down.") || strstr(w->name, "lora_A.")))
        out->lora_rank = (int)w->dims[0];
}

void gen_keymap_examine(const gen_weights *file, gen_file_contents *out)
{
    static const char *const lora[] = {".lora_down.weight", ".lora_up.weight",
                                       ".lora_A.weight",    ".lora_B.weight",
                                       ".lora.up.weight",   ".hada_w1_a",
                                       ".lokr_w1",          ".lokr_w1_a",
                                       "_lora.up.weight",   ".lora_A.default.weight"};
    layout l;
    find_layout(&l, file, GEN_PART_OTHER);
    *out = (gen_file_contents){0};
    for (size_t i = 0; i < gen_weights_count(file); i++) {
        const char *name = gen_weights_at(file, i)->name;
        for (size_t k = 0; k < sizeof lora / sizeof lora[0]; k++)
            if (ends_with(name, lora[k])) {
                out->is_lora = true;
                examine_lora(gen_weights_at(file, i), out);
                break;
            }
        out->is_control = out->is_control || starts_with(name, "control_model.") ||
                          starts_with(name, "controlnet_cond_embedding.") ||
                          starts_with(name, "input_hint_block.");
        if (is_ignored(&l, name)) {
            out->num_ignored++;
            continue;
        }
        const gen_part part = part_of(&l, &name);
        if (part == GEN_PART_OTHER)
            out->num_other++;
        else
            out->num_tensors[part]++;
    }
    out->is_embedding = gen_weights_find(file, "emb_params") ||
                        (gen_weights_find(file, "clip_l") && gen_weights_find(file, "clip_g"));
    out->is_t5 = gen_weights_find(file, t5_marker) || gen_weights_find(file, wan_t5_marker);
}

static const char fused_marks[] = "?%";

/* ---- renaming ------------------------------------------------------------------------------- */

typedef struct renamed {
    gen_weight *source;
    const char *name; /* with one of fused_marks for a fused tensor */
    bool is_transposed;
} renamed;

typedef struct text_buffer {
    char text[320];
    size_t used;
    bool overflowed;
} text_buffer;

static void append(text_buffer *b, const char *s, size_t n)
{
    if (b->used + n >= sizeof b->text) {
        b->overflowed = true;
        return;
    }
    memcpy(b->text + b->used, s, n);
    b->used += n;
    b->text[b->used] = '\0';
}

static void append_number(text_buffer *b, int n)
{
    char digits[16];
    append(b, digits, (size_t)snprintf(digits, sizeof digits, "%d", n));
}

static void expand(text_buffer *b, const layout *l, const char *to, const int *k)
{
    const int s = l->blocks_per_stage;
    for (; *to; to++) {
        if (*to != '$') {
            append(b, to, 1);
            continue;
        }
        switch (*++to) {
        case '0':
            append_number(b, k[0]);
            break;
        case '1':
            append_number(b, k[1]);
            break;
        case 'a':
            append_number(b, (k[0] - 1) / s);
            break;
        case 'b':
            append_number(b, (k[0] - 1) % s);
            break;
        case 'c':
            append_number(b, k[0] / s);
            break;
        case 'd':
            append_number(b, k[0] % s);
            break;
        case 'r':
            append_number(b, l->vae_levels - 1 - k[0]);
            break;
        case 'm':
            append_number(b, k[0] - 1);
            break;
        case 'l':
            append(b, l->label_name, strlen(l->label_name));
            break;
        }
    }
}

/* Applies the rules to a name without prefix; names that no rule knows stay. */
static void rename_key(text_buffer *b, bool *is_transposed, const layout *l, const rule *rules,
                       const char *name)
{
    *is_transposed = false;
    while (rules) {
        int k[MAX_NUMBERS] = {0};
        const char *rest;
        const rule *r = find_rule(rules, name, k, &rest);
        if (!r)
            break;
        expand(b, l, r->to, k);
        *is_transposed = r->kind == TRANSPOSED;
        name = rest;
        rules = r->tail;
        if (rules && *name == '.')
            append(b, name++, 1);
    }
    append(b, name, strlen(name));
}

enum { MAX_STAGES = 16, MAX_LAYERS = 32 };

/* Which numbers stages and layers of a UNet have, and which they get. */
typedef struct numbering {
    const char *stages, *layers, *attentions;
    bool has_stage[MAX_STAGES], has_layer[MAX_STAGES][MAX_LAYERS];
} numbering;

static int rank_of(const bool *present, int i)
{
    int rank = 0;
    for (int k = 0; k < i; k++)
        rank += present[k];
    return rank;
}

/* Notes the stage and, for a resnet, the layer of a name. */
static void note_numbers(numbering *n, const char *name)
{
    int k[MAX_NUMBERS] = {0};
    if (match(n->stages, name, k) && k[0] < MAX_STAGES)
        n->has_stage[k[0]] = true;
    if (match(n->layers, name, k) && k[0] < MAX_STAGES && k[1] < MAX_LAYERS)
        n->has_layer[k[0]][k[1]] = true;
}

/* The name with stages and layers counted without gaps; false when it is not of this numbering. */
static bool close_gaps(text_buffer *b, const numbering *n, const char *name)
{
    int k[MAX_NUMBERS] = {0};
    const char *rest;
    const bool is_resnet = (rest = match(n->layers, name, k)) != NULL;
    if (!is_resnet && !(rest = match(n->attentions, name, k))) {
        if (!(rest = match(n->stages, name, k)) || k[0] >= MAX_STAGES)
            return false;
        append(b, n->stages, strlen(n->stages) - 1);
        append_number(b, rank_of(n->has_stage, k[0]));
        append(b, rest, strlen(rest));
        return true;
    }
    if (k[0] >= MAX_STAGES || k[1] >= MAX_LAYERS)
        return false;
    append(b, n->stages, strlen(n->stages) - 1);
    append_number(b, rank_of(n->has_stage, k[0]));
    append(b, is_resnet ? ".resnets." : ".attentions.", is_resnet ? 9 : 12);
    append_number(b, n->has_layer[k[0]][k[1]] ? rank_of(n->has_layer[k[0]], k[1]) : k[1]);
    append(b, rest, strlen(rest));
    return true;
}

static gen_status compact(renamed *names, size_t count, gen_arena *arena, gen_error *err)
{
    numbering sides[2] = {
        {"down_blocks.#", "down_blocks.#.resnets.#", "down_blocks.#.attentions.#"},
        {"up_blocks.#", "up_blocks.#.resnets.#", "up_blocks.#.attentions.#"},
    };
    for (size_t i = 0; i < count; i++)
        for (int side = 0; side < 2; side++)
            note_numbers(&sides[side], names[i].name);
    for (size_t i = 0; i < count; i++)
        for (int side = 0; side < 2; side++) {
            text_buffer b = {.used = 0};
            if (!close_gaps(&b, &sides[side], names[i].name) || b.overflowed)
                continue;
            if (strcmp(b.text, names[i].name) != 0 &&
                !(names[i].name = gen_arena_strdup(arena, b.text)))
                return gen_no_memory(err, "tensor names", b.used);
        }
    return GEN_OK;
}

/* ---- adding --------------------------------------------------------------------------------- */

static gen_status add_one(gen_weights *into, const renamed *r, const char *name, int rank,
                          const int64_t *dims, const void *data, size_t size, bool owned,
                          gen_error *err)
{
    GEN_TRY(gen_weights_add(into, name, r->source->file, r->source->file_name, r->source->dtype,
                            rank, dims, data, size, owned, err));
    gen_weight *added = gen_weights_at(into, gen_weights_count(into) - 1);
    added->is_mapped = r->source->is_mapped && !owned;
    for (size_t i = 0; i < sizeof spare_names / sizeof spare_names[0]; i++)
        added->is_ignored = added->is_ignored || strcmp(name, spare_names[i]) == 0;
    return GEN_OK;
}

/* in_proj [3D, ...] as q, k and v [D, ...], or [2D, ...] as k and v: views of its rows. */
static gen_status add_fused(gen_weights *into, const renamed *r, gen_error *err)
{
    const gen_weight *w = r->source;
    const char *mark = strpbrk(r->name, fused_marks);
    const char *letters = *mark == '?' ? "qkv" : "kv";
    const int parts = (int)strlen(letters);
    if (w->rank < 1 || w->dims[0] % parts != 0)
        return gen_fail(err, GEN_ERROR_MODEL,
                        "%s: tensor \"%s\" has %" PRId64 " rows, expected %s in a multiple of %s",
                        w->file, w->file_name, w->rank ? w->dims[0] : 1,
                        parts == 3 ? "q, k and v" : "k and v", parts == 3 ? "three" : "two");
    int64_t dims[GEN_MAX_RANK];
    memcpy(dims, w->dims, sizeof dims);
    dims[0] /= parts;
    const size_t size = w->size / (size_t)parts;
    for (int i = 0; i < parts; i++) {
        char name[320];
        snprintf(name, sizeof name, "%.*s%c%s", (int)(mark - r->name), r->name, letters[i],
                 mark + 1);
        const char *data = w->data ? (const char *)w->data + (size_t)i * size : NULL;
        GEN_TRY(add_one(into, r, name, w->rank, dims, data, size, false, err));
    }
    return GEN_OK;
}

/* [D,P] stored for x M becomes [P,D] for x W^T: a copy, which the set owns. */
static gen_status add_transposed(gen_weights *into, const renamed *r, gen_error *err)
{
    const gen_weight *w = r->source;
    if (w->rank != 2)
        return gen_fail(err, GEN_ERROR_MODEL,
                        "%s: tensor \"%s\" has %d dimensions, expected a matrix", w->file,
                        w->file_name, w->rank);
    const int64_t dims[2] = {w->dims[1], w->dims[0]};
    if (!w->data)
        return add_one(into, r, r->name, 2, dims, NULL, w->size, false, err);
    char *copy = gen_malloc(w->size);
    if (!copy)
        return gen_no_memory(err, w->file_name, w->size);
    const size_t rows = (size_t)w->dims[0], cols = (size_t)w->dims[1];
    const size_t n = gen_dtype_size(w->dtype);
    for (size_t i = 0; i < rows; i++)
        for (size_t k = 0; k < cols; k++)
            memcpy(copy + (k * rows + i) * n, (const char *)w->data + (i * cols + k) * n, n);
    return add_one(into, r, r->name, 2, dims, copy, w->size, true, err);
}

/* Collects the tensors of a part under their new names. */
static gen_status collect(renamed *names, size_t *count, gen_weights *file, const layout *l,
                          gen_part part, gen_arena *arena, gen_error *err)
{
    for (size_t i = 0; i < gen_weights_count(file); i++) {
        gen_weight *w = gen_weights_at(file, i);
        const char *name = w->name;
        if (part != GEN_PART_OTHER && is_ignored(l, name)) {
            w->is_ignored = true;
            continue;
        }
        if (part != GEN_PART_OTHER && part_of(l, &name) != part)
            continue;
        text_buffer b = {.used = 0};
        renamed *r = &names[*count];
        rename_key(&b, &r->is_transposed, l, rules_of(l, part), name);
        if (b.overflowed)
            return gen_fail(err, GEN_ERROR_MODEL, "%s: tensor name \"%.160s\" is too long", w->file,
                            w->name);
        r->source = w;
        r->name = strcmp(b.text, w->name) == 0 ? w->name : gen_arena_strdup(arena, b.text);
        if (!r->name)
            return gen_no_memory(err, "tensor names", b.used);
        w->is_used = true;
        (*count)++;
    }
    return GEN_OK;
}

gen_status gen_keymap_add(gen_weights *into, gen_weights *file, gen_part part, gen_error *err)
{
    layout l;
    find_layout(&l, file, part);
    gen_status status = GEN_OK;
    size_t count = 0;
    gen_arena *arena = gen_arena_new();
    renamed *names = gen_calloc(gen_weights_count(file), sizeof *names);
    if (!arena || !names) {
        status = gen_no_memory(err, "tensor names", gen_weights_count(file) * sizeof *names);
        goto done;
    }
    if ((status = collect(names, &count, file, &l, part, arena, err)))
        goto done;
    const bool is_original = part == GEN_PART_UNET && l.prefix[part] &&
                             find_in(file, l.prefix[part], "input_blocks.0.0.weight");
    if (is_original && (status = compact(names, count, arena, err)))
        goto done;
    for (size_t i = 0; i < count && !status; i++) {
        const renamed *r = &names[i];
        const gen_weight *w = r->source;
        if (strpbrk(r->name, fused_marks) && !strpbrk(w->name, fused_marks))
            status = add_fused(into, r, err);
        else if (r->is_transposed)
            status = add_transposed(into, r, err);
        else
            status = add_one(into, r, r->name, w->rank, w->dims, w->data, w->size, false, err);
    }
done:
    gen_free(names);
    gen_arena_free(arena);
    return status;
}
