/* autoencoder_kl.c - the autoencoder of latent diffusion (Rombach et al. 2022, app. G): residual
 * blocks as in the UNet but without a time embedding, one attention over all positions in the
 * middle. */
#include <string.h>

#include "vae/blocks.h"

/* ---- blocks --------------------------------------------------------------------------------- */

/* Group norm and activation. */
static gen_tensor *norm_act(const vae_builder *b, gen_scope w, gen_tensor *x)
{
    gen_tensor *h = b->norm_scale
                        ? gen_add(b->g, gen_mul(b->g, x, b->norm_scale), b->norm_shift)
                        : gen_group_norm(b->g, w, x, b->cfg->norm_num_groups, VAE_NORM_EPS);
    return gen_activation(b->g, b->cfg->act_fn, h);
}

/* The way past a residual block; 1x1 where the width changes. */
static gen_tensor *shortcut(const vae_builder *b, gen_scope w, gen_tensor *x)
{
    return gen_has(w, "conv_shortcut.weight")
               ? gen_conv2d(b->g, gen_sub(w, "conv_shortcut"), x, GEN_CONV_1X1)
               : x;
}

/* The first half of a residual block: up to where the second norm needs the whole image. */
static gen_tensor *resnet_first(const vae_builder *b, gen_scope w, gen_tensor *x)
{
    return vae_conv3x3(b, gen_sub(w, "conv1"), norm_act(b, gen_sub(w, "norm1"), x));
}

/* The second half without the shortcut. */
static gen_tensor *resnet_second(const vae_builder *b, gen_scope w, gen_tensor *h)
{
    return vae_conv3x3(b, gen_sub(w, "conv2"), norm_act(b, gen_sub(w, "norm2"), h));
}

/* x [N,H,W,Cin]  ->  [N,H,W,Cout].  The shortcut comes first so that x need not be kept. */
static gen_tensor *resnet_block(const vae_builder *b, gen_scope w, gen_tensor *x)
{
    gen_tensor *s = shortcut(b, w, x);
    gen_tensor *h = resnet_second(b, w, resnet_first(b, w, x));
    return gen_name(b->g, w, gen_add(b->g, s, h));
}

static gen_tensor *upsample(const vae_builder *b, gen_scope w, gen_tensor *x)
{
    return vae_upsample(b, gen_sub(w, "conv"), x);
}

static gen_tensor *output(const vae_builder *b, gen_scope w, gen_tensor *x)
{
    return vae_conv3x3(b, gen_sub(w, "conv_out"), norm_act(b, gen_sub(w, "conv_norm_out"), x));
}

/* One head over all positions, its layers with bias.  x [N,H,W,C]  ->  [N,H,W,C] */
static gen_tensor *attention(const vae_builder *b, gen_scope w, gen_tensor *x)
{
    gen_graph *g = b->g;
    const int64_t N = x->dims[0], H = x->dims[1], W = x->dims[2], C = x->dims[3];
    gen_tensor *h =
        gen_group_norm(g, gen_sub(w, "group_norm"), x, b->cfg->norm_num_groups, VAE_NORM_EPS);
    h = gen_reshape(g, h, GEN_DIMS(N, H * W, C));
    gen_tensor *q = gen_linear(g, gen_sub(w, "to_q"), h);
    gen_tensor *k = gen_linear(g, gen_sub(w, "to_k"), h);
    gen_tensor *v = gen_linear(g, gen_sub(w, "to_v"), h);
    h = gen_attention(g, q, k, v, (gen_attention_options){.heads = 1});
    h = gen_linear(g, gen_sub(w, "to_out.0"), h);
    h = gen_add(g, h, gen_reshape(g, x, GEN_DIMS(N, H * W, C)));
    return gen_name(g, w, gen_reshape(g, h, GEN_DIMS(N, H, W, C)));
}

static gen_tensor *mid_block(const vae_builder *b, gen_scope w, gen_tensor *x)
{
    x = resnet_block(b, gen_sub(w, "resnets.0"), x);
    if (b->cfg->mid_block_add_attention)
        x = attention(b, gen_sub(w, "attentions.0"), x);
    x = resnet_block(b, gen_sub(w, "resnets.1"), x);
    return gen_name(b->g, w, x);
}

/* ---- encoder and decoder -------------------------------------------------------------------- */

/* x [N,H,W,3]  ->  moments [N,h,w,2C].  Halving pads below and on the right only, unlike the UNet,
 * so it rounds down. */
gen_tensor *vae_kl_encode(const vae_builder *b, gen_scope root, gen_tensor *x)
{
    static const gen_conv2d_options half = {.stride = 2, .pad_bottom = 1, .pad_right = 1};
    const gen_vae_config *cfg = b->cfg;
    const gen_scope w = gen_sub(root, "encoder");
    x = vae_conv3x3(b, gen_sub(w, "conv_in"), x);
    for (int i = 0; i < cfg->num_stages; i++) {
        const gen_scope stage = gen_subf(w, "down_blocks.%d", i);
        for (int j = 0; j < cfg->layers_per_block; j++)
            x = resnet_block(b, gen_subf(stage, "resnets.%d", j), x);
        if (i < cfg->num_stages - 1)
            x = gen_conv2d(b->g, gen_sub(stage, "downsamplers.0.conv"), x, half);
        x = gen_name(b->g, stage, x);
    }
    x = mid_block(b, gen_sub(w, "mid_block"), x);
    x = output(b, w, x);
    if (cfg->use_quant_conv)
        x = gen_conv2d(b->g, gen_sub(root, "quant_conv"), x, GEN_CONV_1X1);
    return x;
}

/* z [N,h,w,C]  ->  [N,h,w,C'] of the deepest stage. */
gen_tensor *vae_kl_head(const vae_builder *b, gen_scope root, gen_tensor *z)
{
    const gen_scope w = gen_sub(root, "decoder");
    if (b->cfg->use_post_quant_conv)
        z = gen_conv2d(b->g, gen_sub(root, "post_quant_conv"), z, GEN_CONV_1X1);
    gen_tensor *x = vae_conv3x3(b, gen_sub(w, "conv_in"), z);
    return mid_block(b, gen_sub(w, "mid_block"), x);
}

/* z [N,h,w,C]  ->  [N,f h,f w,3] */
gen_tensor *vae_kl_decode(const vae_builder *b, gen_scope root, gen_tensor *z)
{
    const gen_vae_config *cfg = b->cfg;
    const gen_scope w = gen_sub(root, "decoder");
    gen_tensor *x = vae_kl_head(b, root, z);
    for (int i = 0; i < cfg->num_stages; i++) {
        const gen_scope stage = gen_subf(w, "up_blocks.%d", i);
        for (int j = 0; j < cfg->layers_per_block + 1; j++)
            x = resnet_block(b, gen_subf(stage, "resnets.%d", j), x);
        if (i < cfg->num_stages - 1)
            x = upsample(b, gen_sub(stage, "upsamplers.0"), x);
        x = gen_name(b->g, stage, x);
    }
    return output(b, w, x);
}

/* The pieces of the decoder's tail as tile.c calls them. */
static gen_tensor *step_first(const vae_builder *b, const vae_step *s, gen_tensor *x,
                              gen_tensor *residual)
{
    (void)residual;
    return resnet_first(b, s->w, x);
}

/* The shortcut comes last: the residual is there all the time. */
static gen_tensor *step_second(const vae_builder *b, const vae_step *s, gen_tensor *x,
                               gen_tensor *residual)
{
    gen_tensor *h = resnet_second(b, s->w, x);
    return gen_add(b->g, h, shortcut(b, s->w, residual));
}

static gen_tensor *step_upsample(const vae_builder *b, const vae_step *s, gen_tensor *x,
                                 gen_tensor *residual)
{
    (void)residual;
    return upsample(b, s->w, x);
}

static gen_tensor *step_output(const vae_builder *b, const vae_step *s, gen_tensor *x,
                               gen_tensor *residual)
{
    (void)residual;
    return output(b, s->w, x);
}

/* The same after the head, cut where a group norm needs the whole image. */
void vae_kl_tail(const gen_vae_config *cfg, gen_scope root, vae_tail *tail)
{
    const gen_scope w = gen_sub(root, "decoder");
    vae_step *s = tail->steps;
    for (int i = 0; i < cfg->num_stages; i++) {
        const gen_scope stage = gen_subf(w, "up_blocks.%d", i);
        for (int j = 0; j < cfg->layers_per_block + 1; j++) {
            const gen_scope r = gen_subf(stage, "resnets.%d", j);
            *s++ = (vae_step){.record = step_first,
                              .w = r,
                              .norm = gen_sub(r, "norm1"),
                              .halo = 1,
                              .scale = 1,
                              .keeps_input = true};
            *s++ = (vae_step){.record = step_second,
                              .w = r,
                              .norm = gen_sub(r, "norm2"),
                              .halo = 1,
                              .scale = 1,
                              .adds_residual = true};
        }
        if (i < cfg->num_stages - 1)
            *s++ = (vae_step){.record = step_upsample,
                              .w = gen_sub(stage, "upsamplers.0"),
                              .halo = 1,
                              .scale = 2};
    }
    *s++ = (vae_step){
        .record = step_output, .w = w, .norm = gen_sub(w, "conv_norm_out"), .halo = 1, .scale = 1};
    tail->num_steps = (int)(s - tail->steps);
}

/* ---- configuration -------------------------------------------------------------------------- */

enum { MAX_CHANNELS = 1 << 16, MAX_LAYERS = 8 };

static gen_status read_stages(gen_vae_config *cfg, const gen_json *json, gen_error *err)
{
    int64_t widths[GEN_VAE_MAX_STAGES];
    int count;
    GEN_TRY(gen_json_int_list(json, "block_out_channels", GEN_VAE_MAX_STAGES, 1, MAX_CHANNELS,
                              widths, &count, err));
    if (count == 0) { /* the default of the format: one stage */
        widths[0] = 64;
        count = 1;
    }
    cfg->num_stages = count;
    for (int i = 0; i < count; i++) {
        cfg->block_out_channels[i] = (int)widths[i];
        if (widths[i] % cfg->norm_num_groups)
            return gen_fail(err, GEN_ERROR_MODEL,
                            "%s: \"norm_num_groups\" is %d, which does not divide the %d channels "
                            "of stage %d",
                            json->path, cfg->norm_num_groups, (int)widths[i], i);
    }
    return GEN_OK;
}

/* The names of the blocks may only be those of this autoencoder. */
static gen_status check_block_types(const gen_json *json, const char *key, const char *expected,
                                    gen_error *err)
{
    const json_t *list = gen_json_get(json, key);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        if (!name || strcmp(name, expected) != 0)
            return gen_fail(err, GEN_ERROR_MODEL, "%s: \"%s\" has \"%s\", expected \"%s\"",
                            json->path, key, name ? name : "(no string)", expected);
    }
    return GEN_OK;
}

gen_status vae_kl_config_read(gen_vae_config *cfg, const gen_json *json, gen_error *err)
{
    const char *act;
    GEN_TRY(check_block_types(json, "down_block_types", "DownEncoderBlock2D", err));
    GEN_TRY(check_block_types(json, "up_block_types", "UpDecoderBlock2D", err));
    GEN_TRY(
        gen_json_int32(json, "norm_num_groups", 32, 1, MAX_CHANNELS, &cfg->norm_num_groups, err));
    GEN_TRY(read_stages(cfg, json, err));
    GEN_TRY(
        gen_json_int32(json, "layers_per_block", 1, 1, MAX_LAYERS, &cfg->layers_per_block, err));
    GEN_TRY(gen_json_string(json, "act_fn", "silu", &act, err));
    if (strcmp(act, "silu") != 0 && strcmp(act, "swish") != 0)
        return gen_fail(err, GEN_ERROR_MODEL, "%s: \"act_fn\" is \"%s\", expected \"silu\"",
                        json->path, act);
    cfg->act_fn = GEN_ACT_SILU;
    GEN_TRY(gen_json_bool(json, "use_quant_conv", true, &cfg->use_quant_conv, err));
    GEN_TRY(gen_json_bool(json, "use_post_quant_conv", true, &cfg->use_post_quant_conv, err));
    return gen_json_bool(json, "mid_block_add_attention", true, &cfg->mid_block_add_attention, err);
}
