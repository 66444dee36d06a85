/* autoencoder_tiny.c - TAESD and its relatives: convolutions and ReLU only, distilled from a KL
 * autoencoder, on latents as samplers see them and pixels in [0,1] inside.
 *
 * Layers are numbered as in the sequential modules of the reference, activations and upsampling
 * included; their parameters are encoder.layers.K and decoder.layers.K. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vae/blocks.h"

/* ---- blocks --------------------------------------------------------------------------------- */

/* A 1x1 convolution; most of these have no bias. */
static gen_tensor *conv1x1(const vae_builder *b, gen_scope w, gen_tensor *x)
{
    gen_conv2d_options o = GEN_CONV_1X1;
    o.bias_is_optional = true;
    return gen_conv2d(b->g, w, x, o);
}

/* TAEF2: every position hears of the statistics of the whole image.  x [N,H,W,C], inner width 4C */
static gen_tensor *pool(const vae_builder *b, gen_scope w, gen_tensor *x)
{
    if (b->is_open_top || b->is_open_bottom)
        return gen_graph_fail(b->g, w.path, GEN_ERROR_MODEL, "pooling outside of the first stage");
    gen_tensor *h = conv1x1(b, gen_sub(w, "0"), x);
    h = gen_relu(b->g, gen_group_norm(b->g, gen_sub(w, "1"), h, 4, 1e-5f));
    return gen_add(b->g, conv1x1(b, gen_sub(w, "3"), h), x);
}

/* relu(conv(relu(conv(relu(conv(x))))) + x); takes three rows at an open edge. */
static gen_tensor *block(const vae_builder *b, gen_scope w, gen_tensor *x)
{
    if (gen_has(w, "pool.0.weight"))
        x = pool(b, gen_sub(w, "pool"), x);
    gen_tensor *h = gen_relu(b->g, vae_conv3x3(b, gen_sub(w, "conv.0"), x));
    h = gen_relu(b->g, vae_conv3x3(b, gen_sub(w, "conv.2"), h));
    h = vae_conv3x3(b, gen_sub(w, "conv.4"), h);
    if (gen_has(w, "skip.weight")) /* Cin != Cout */
        x = conv1x1(b, gen_sub(w, "skip"), x);
    h = gen_relu(b->g, gen_add(b->g, h, vae_crop(b, x, h->dims[1])));
    return gen_name(b->g, w, h);
}

/* ---- encoder and decoder -------------------------------------------------------------------- */

/* x [N,H,W,3] in [-1,1]  ->  [N,h,w,C] */
gen_tensor *vae_tiny_encode(const vae_builder *b, gen_scope root, gen_tensor *x)
{
    const gen_vae_config *cfg = b->cfg;
    const gen_scope w = gen_sub(root, "encoder.layers");
    int k = 0;
    x = gen_affine(b->g, x, 0.5f, 0.5f);
    for (int i = 0; i < cfg->num_stages; i++) {
        gen_conv2d_options o = i ? GEN_CONV_3X3_S2 : GEN_CONV_3X3;
        o.bias_is_optional = i > 0;
        x = gen_conv2d(b->g, gen_subf(w, "%d", k++), x, o);
        for (int j = 0; j < cfg->num_encoder_blocks[i]; j++)
            x = block(b, gen_subf(w, "%d", k++), x);
    }
    return vae_conv3x3(b, gen_subf(w, "%d", k), x);
}

/* The number of the first layer of a stage: before it are the first convolution with its
 * activation and, for each earlier stage, its blocks, an upsampling and a convolution. */
static int first_layer(const gen_vae_config *cfg, int stage)
{
    int k = 2;
    for (int i = 0; i < stage; i++)
        k += cfg->num_decoder_blocks[i] + 2;
    return k;
}

/* A stage: its blocks, then twice the size, or the picture after the last. */
static gen_tensor *stage(const vae_builder *b, gen_scope w, int i, gen_tensor *x)
{
    const gen_vae_config *cfg = b->cfg;
    int k = first_layer(cfg, i);
    for (int j = 0; j < cfg->num_decoder_blocks[i]; j++)
        x = block(b, gen_subf(w, "%d", k++), x);
    if (i < cfg->num_stages - 1)
        return vae_upsample(b, gen_subf(w, "%d", k + 1), x);
    return gen_affine(b->g, vae_conv3x3(b, gen_subf(w, "%d", k), x), 2, -1);
}

/* z [N,h,w,C]  ->  [N,h,w,C']: soft limit to (-3,3), first convolution, and the first stage, whose
 * blocks may pool over the whole image. */
gen_tensor *vae_tiny_head(const vae_builder *b, gen_scope root, gen_tensor *z)
{
    const gen_scope w = gen_sub(root, "decoder.layers");
    gen_tensor *x = gen_affine(b->g, gen_tanh(b->g, gen_affine(b->g, z, 1.0f / 3, 0)), 3, 0);
    x = gen_relu(b->g, vae_conv3x3(b, gen_sub(w, "0"), x));
    return stage(b, w, 0, x);
}

/* z [N,h,w,C]  ->  [N,f h,f w,3] in [-1,1] */
gen_tensor *vae_tiny_decode(const vae_builder *b, gen_scope root, gen_tensor *z)
{
    gen_tensor *x = vae_tiny_head(b, root, z);
    for (int i = 1; i < b->cfg->num_stages; i++)
        x = stage(b, gen_sub(root, "decoder.layers"), i, x);
    return x;
}

static gen_tensor *step_stage(const vae_builder *b, const vae_step *s, gen_tensor *x,
                              gen_tensor *residual)
{
    (void)residual;
    return stage(b, s->w, s->index, x);
}

/* The same after the head: without norms a whole stage is one step. */
void vae_tiny_tail(const gen_vae_config *cfg, gen_scope root, vae_tail *tail)
{
    tail->num_steps = 0;
    for (int i = 1; i < cfg->num_stages; i++) {
        tail->steps[tail->num_steps++] = (vae_step){
            .record = step_stage,
            .w = gen_sub(root, "decoder.layers"),
            .index = i,
            .halo = 3 * cfg->num_decoder_blocks[i] + 1,
            .scale = i < cfg->num_stages - 1 ? 2 : 1,
        };
    }
}

/* ---- configuration -------------------------------------------------------------------------- */

enum { MAX_BLOCKS = 64 };

/* Both block lists; they have one entry per stage, as the widths do. */
static gen_status read_blocks(const gen_json *json, const char *key, const char *widths_key,
                              const int *def, int *num_stages, int *out, gen_error *err)
{
    int64_t blocks[GEN_VAE_MAX_STAGES], widths[GEN_VAE_MAX_STAGES];
    int count, num_widths;
    GEN_TRY(gen_json_int_list(json, key, GEN_VAE_MAX_STAGES, 0, MAX_BLOCKS, blocks, &count, err));
    GEN_TRY(gen_json_int_list(json, widths_key, GEN_VAE_MAX_STAGES, 1, 1 << 16, widths, &num_widths,
                              err));
    if (count == 0) {
        count = 4;
        for (int i = 0; i < 4; i++)
            blocks[i] = def[i];
    }
    if (num_widths && num_widths != count)
        return gen_fail(err, GEN_ERROR_MODEL,
                        "%s: \"%s\" has %d entries, expected %d as \"%s\" has", json->path, key,
                        count, num_widths, widths_key);
    for (int i = 0; i < count; i++)
        out[i] = (int)blocks[i];
    *num_stages = count;
    return GEN_OK;
}

gen_status vae_tiny_config_read(gen_vae_config *cfg, const gen_json *json, gen_error *err)
{
    static const int encoder[4] = {1, 3, 3, 3}, decoder[4] = {3, 3, 3, 1};
    const char *act;
    int64_t n;
    int num_decoder_stages = 0;
    GEN_TRY(read_blocks(json, "num_encoder_blocks", "encoder_block_out_channels", encoder,
                        &cfg->num_stages, cfg->num_encoder_blocks, err));
    GEN_TRY(read_blocks(json, "num_decoder_blocks", "decoder_block_out_channels", decoder,
                        &num_decoder_stages, cfg->num_decoder_blocks, err));
    if (num_decoder_stages != cfg->num_stages)
        return gen_fail(err, GEN_ERROR_MODEL,
                        "%s: \"num_decoder_blocks\" has %d entries, expected %d as "
                        "\"num_encoder_blocks\" has",
                        json->path, num_decoder_stages, cfg->num_stages);
    GEN_TRY(gen_json_int(json, "upsampling_scaling_factor", 2, 2, 2, &n, err));
    GEN_TRY(gen_json_string(json, "act_fn", "relu", &act, err));
    if (strcmp(act, "relu") != 0)
        return gen_fail(err, GEN_ERROR_MODEL, "%s: \"act_fn\" is \"%s\", expected \"relu\"",
                        json->path, act);
    GEN_TRY(gen_json_double(json, "latent_magnitude", 3, &cfg->latent_magnitude, err));
    return gen_json_double(json, "latent_shift", 0.5, &cfg->latent_shift, err);
}

/* ---- original files ------------------------------------------------------------------------- */

gen_status gen_vae_add_taesd(gen_weights *into, gen_weights *file, bool is_encoder, gen_error *err)
{
    const int shift = is_encoder ? 0 : 1; /* their decoder counts the soft limit as layer 0 */
    for (size_t i = 0; i < gen_weights_count(file); i++) {
        gen_weight *w = gen_weights_at(file, i);
        char *rest;
        const long k = strtol(w->name, &rest, 10);
        if (rest == w->name || *rest != '.' || k < shift || k > 1000)
            return gen_fail(err, GEN_ERROR_MODEL,
                            "%s: tensor \"%s\" is not of a TAESD %s, whose names begin with the "
                            "number of a layer",
                            w->file, w->name, is_encoder ? "encoder" : "decoder");
        char name[256];
        snprintf(name, sizeof name, "%s.layers.%ld%s", is_encoder ? "encoder" : "decoder",
                 k - shift, rest);
        GEN_TRY(gen_weights_add(into, name, w->file, w->file_name, w->dtype, w->rank, w->dims,
                                w->data, w->size, false, err));
    }
    return GEN_OK;
}

static bool has_layer(const gen_weights *weights, const char *part, int k, const char *rest)
{
    char name[64];
    snprintf(name, sizeof name, "%s.layers.%d.%s", part, k, rest);
    return gen_weights_find(weights, name) != NULL;
}

/* Counts the blocks of each stage: layers k, k+1, ... with a "conv.0" up to the one that is a
 * convolution, `gap` numbers after the last block.  Returns the number of stages, or 0. */
static int count_blocks(const gen_weights *weights, const char *part, int k, int gap, int *blocks)
{
    for (int i = 0; i < GEN_VAE_MAX_STAGES; i++) {
        blocks[i] = 0;
        while (has_layer(weights, part, k, "conv.0.weight")) {
            blocks[i]++;
            k++;
        }
        if (has_layer(weights, part, k, "bias")) /* only the last convolution has one */
            return i + 1;
        if (!has_layer(weights, part, k + gap, "weight"))
            return 0;
        k += gap + 1;
    }
    return 0;
}

gen_status gen_vae_config_from_taesd(gen_vae_config *out, const gen_weights *weights,
                                     gen_error *err)
{
    gen_vae_config cfg = {.kind = GEN_VAE_TINY,
                          .in_channels = 3,
                          .out_channels = 3,
                          .latent_magnitude = 3,
                          .latent_shift = 0.5,
                          .scaling_factor = 1};
    const gen_weight *first = gen_weights_find(weights, "decoder.layers.0.weight");
    const char *file = gen_weights_count(weights) ? gen_weights_at(weights, 0)->file : "TAESD";
    cfg.num_stages = count_blocks(weights, "encoder", 1, 0, cfg.num_encoder_blocks);
    if (!first || first->rank != 4 || first->dims[1] > GEN_VAE_MAX_LATENTS || !cfg.num_stages ||
        count_blocks(weights, "decoder", 2, 1, cfg.num_decoder_blocks) != cfg.num_stages)
        return gen_fail(err, GEN_ERROR_MODEL,
                        "%s: these layers are not those of a TAESD encoder and decoder", file);
    cfg.latent_channels = (int)first->dims[1];
    *out = cfg;
    return GEN_OK;
}
