/* wan_vae.c - AutoencoderKLWan: the causal autoencoder of clips of Wan 2.1 and, with patches and
 * shortcuts around its stages, of Wan 2.2 (Wan team 2025, sec. 4.1).
 *
 * A convolution over frames sees its frame and two before it, so a clip can be coded in chunks: the
 * first frame alone, then groups that become one frame of latents.  What a chunk needs of those
 * before it are a few frames of history at each such convolution (wan_blocks.h).  The first frame
 * of a clip never goes through the layers that change the rate of frames. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "vae/wan_blocks.h"

#define NORM_EPS 1e-26f /* the paper divides by the length, at least 1e-12 */

/* ---- configuration -------------------------------------------------------------------------- */

/* Of the published Wan 2.1 autoencoder, for files without a configuration. */
static const double wan_mean[16] = {-0.7571, -0.7089, -0.9113, 0.1075,  -0.1745, 0.9653,
                                    -0.1517, 1.5508,  0.4134,  -0.0715, 0.5517,  -0.3632,
                                    -0.1922, -0.9497, 0.2503,  -0.2921};
static const double wan_std[16] = {2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
                                   3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160};

gen_status vae_wan_config_read(gen_vae_config *cfg, const gen_json *json, gen_error *err)
{
    int64_t mult[GEN_VAE_MAX_STAGES] = {1, 2, 4, 4};
    const json_t *times = gen_json_get(json, "temperal_downsample");
    int count;
    GEN_TRY(gen_json_int_list(json, "dim_mult", GEN_VAE_MAX_STAGES, 1, 256, mult, &count, err));
    cfg->num_stages = count ? count : 4;
    GEN_TRY(gen_json_int32(json, "num_res_blocks", 2, 1, 64, &cfg->layers_per_block, err));
    GEN_TRY(gen_json_int32(json, "patch_size", 1, 1, 16, &cfg->patch_size, err));
    GEN_TRY(gen_json_int32(json, "z_dim", 16, 1, GEN_VAE_MAX_LATENTS, &cfg->latent_channels, err));
    GEN_TRY(gen_json_bool(json, "is_residual", false, &cfg->has_shortcuts, err));
    for (int i = 0; i < cfg->num_stages - 1; i++) {
        const json_t *entry = json_array_get(times, (size_t)i);
        if (times && !json_is_boolean(entry))
            return gen_fail(err, json->on_error,
                            "%s: \"temperal_downsample\" is not a list of %d times true or false",
                            json->path, cfg->num_stages - 1);
        cfg->halves_time[i] = times ? json_is_true(entry) : i > 0;
    }
    if (cfg->latent_channels == 16) {
        memcpy(cfg->latents_mean, wan_mean, sizeof wan_mean);
        memcpy(cfg->latents_std, wan_std, sizeof wan_std);
        cfg->has_latents_mean_std = true;
    }
    return GEN_OK;
}

int64_t gen_vae_time_factor(const gen_vae_config *cfg)
{
    int64_t factor = 1;
    for (int i = 0; i < GEN_VAE_MAX_STAGES; i++)
        factor *= cfg->halves_time[i] ? 2 : 1;
    return factor;
}

/* ---- history -------------------------------------------------------------------------------- */

/* The frames before the chunk x and the chunk, for a layer that looks `frames` back.  With is_new
 * the layer has seen nothing so far: zeros. */
static gen_tensor *with_history(wan_builder *b, gen_tensor *x, int64_t frames, bool is_new)
{
    gen_graph *g = b->g;
    char name[48], next[48];
    gen_tensor *state = NULL, *all;
    if (x->is_poisoned)
        return x;
    const int64_t F = x->dims[0];
    snprintf(name, sizeof name, "history.%d", b->num_states);
    snprintf(next, sizeof next, "history.%d.next", b->num_states++);
    if (is_new) {
        all = gen_window(g, x, 0, -frames, F + frames);
    } else {
        state = gen_input(g, name, GEN_F32, GEN_DIMS(frames, x->dims[1], x->dims[2], x->dims[3]));
        all = gen_concat(g, 0, 2, (gen_tensor *const[]){state, x});
    }
    if (b->keeps_history) {
        gen_tensor *last = gen_window(g, all, 0, F, frames);
        if (state)
            gen_carry(g, state, last, next);
        else
            gen_output(g, last, next);
    }
    return all;
}

/* Notes a history of zeros: the layer is not used in this chunk. */
static void no_history(wan_builder *b, gen_tensor *x, int64_t frames)
{
    char next[48];
    snprintf(next, sizeof next, "history.%d.next", b->num_states++);
    if (b->keeps_history)
        gen_output(b->g, gen_window(b->g, x, 0, x->dims[0], frames), next);
}

/* ---- blocks --------------------------------------------------------------------------------- */

/* 3x3x3, the frames before the chunk taken into account. */
static gen_tensor *causal_conv(wan_builder *b, gen_scope w, gen_tensor *x)
{
    return gen_conv3d(b->g, w, (const int[]){3, 3, 3}, with_history(b, x, 2, b->is_first),
                      GEN_CONV_3X3);
}

static gen_tensor *conv1x1(wan_builder *b, gen_scope w, gen_tensor *x)
{
    return gen_conv3d(b->g, w, (const int[]){1, 1, 1}, x, GEN_CONV_1X1);
}

/* sqrt(C) x / |x| gamma over the channels of a position: an RMS norm. */
static gen_tensor *norm(wan_builder *b, gen_scope w, gen_tensor *x)
{
    return gen_rms_norm_named(b->g, w, "gamma", x, NORM_EPS);
}

/* x [F,H,W,Cin]  ->  [F,H,W,Cout] */
static gen_tensor *resnet(wan_builder *b, gen_scope w, gen_tensor *x)
{
    gen_tensor *h = gen_silu(b->g, norm(b, gen_sub(w, "norm1"), x));
    h = causal_conv(b, gen_sub(w, "conv1"), h);
    h = gen_silu(b->g, norm(b, gen_sub(w, "norm2"), h));
    h = causal_conv(b, gen_sub(w, "conv2"), h);
    if (gen_has(w, "conv_shortcut.weight"))
        x = conv1x1(b, gen_sub(w, "conv_shortcut"), x);
    return gen_name(b->g, w, gen_add(b->g, h, x));
}

/* Attention of the positions of each frame to each other, one head. */
static gen_tensor *attention(wan_builder *b, gen_scope w, gen_tensor *x)
{
    gen_graph *g = b->g;
    if (x->is_poisoned)
        return x;
    const int64_t F = x->dims[0], H = x->dims[1], W = x->dims[2], C = x->dims[3];
    gen_tensor *qkv[3];
    gen_tensor *h = gen_reshape(g, norm(b, gen_sub(w, "norm"), x), GEN_DIMS(F, H * W, C));
    gen_chunk(g, gen_linear(g, gen_sub(w, "to_qkv"), h), 3, qkv);
    h = gen_attention(g, qkv[0], qkv[1], qkv[2], (gen_attention_options){.heads = 1});
    h = gen_linear(g, gen_sub(w, "proj"), h);
    return gen_name(g, w, gen_add(g, gen_reshape(g, h, GEN_DIMS(F, H, W, C)), x));
}

static gen_tensor *mid_block(wan_builder *b, gen_scope w, gen_tensor *x)
{
    x = resnet(b, gen_sub(w, "resnets.0"), x);
    x = attention(b, gen_sub(w, "attentions.0"), x);
    return gen_name(b->g, w, resnet(b, gen_sub(w, "resnets.1"), x));
}

/* ---- changing the size ---------------------------------------------------------------------- */

/* Two frames become one: of frames 2k, 2k+1 and 2k+2 of x, for every k. */
static gen_tensor *pairs_conv(wan_builder *b, gen_scope w, gen_tensor *x)
{
    gen_tensor *y = NULL;
    for (int64_t k = 0; k + 2 < x->dims[0]; k += 2) {
        gen_tensor *one =
            gen_conv3d(b->g, w, (const int[]){3, 1, 1}, gen_rows(b->g, x, k, 3), GEN_CONV_1X1);
        y = y ? gen_concat(b->g, 0, 2, (gen_tensor *const[]){y, one}) : one;
    }
    return y;
}

/* Half the height and width, then half the frames. */
static gen_tensor *downsample(wan_builder *b, gen_scope w, bool halves_time, gen_tensor *x)
{
    const gen_conv2d_options half = {.stride = 2, .pad_bottom = 1, .pad_right = 1};
    x = gen_conv2d(b->g, gen_sub(w, "resample.1"), x, half);
    if (!halves_time || x->is_poisoned)
        return x;
    const gen_scope time = gen_sub(w, "time_conv");
    if (!b->is_first)
        return pairs_conv(b, time, with_history(b, x, 1, false));
    with_history(b, x, 1, true); /* the next chunk continues from the last frame */
    if (x->dims[0] == 1)
        return x;
    gen_tensor *const both[2] = {gen_rows(b->g, x, 0, 1), pairs_conv(b, time, x)};
    return gen_concat(b->g, 0, 2, both);
}

/* Every frame becomes two: the halves of the channels of a convolution over it and two before. */
static gen_tensor *double_frames(wan_builder *b, gen_scope w, gen_tensor *x, bool is_new)
{
    if (x->is_poisoned)
        return x;
    const int64_t F = x->dims[0], H = x->dims[1], W = x->dims[2], C = x->dims[3];
    x = gen_conv3d(b->g, w, (const int[]){3, 1, 1}, with_history(b, x, 2, is_new), GEN_CONV_1X1);
    x = gen_reshape(b->g, x, GEN_DIMS(F, H, W, 2, C));
    x = gen_permute(b->g, x, 5, (const int[]){0, 3, 1, 2, 4});
    return gen_reshape(b->g, x, GEN_DIMS(2 * F, H, W, C));
}

/* Twice the frames, but for the first of the clip, then twice the height and width. */
static gen_tensor *upsample(wan_builder *b, gen_scope w, bool doubles_time, gen_tensor *x)
{
    const gen_scope time = gen_sub(w, "time_conv");
    if (doubles_time && !b->is_first) {
        x = double_frames(b, time, x, false);
    } else if (doubles_time && !x->is_poisoned && x->dims[0] > 1) {
        gen_tensor *rest = gen_rows(b->g, x, 1, x->dims[0] - 1);
        gen_tensor *const both[2] = {gen_rows(b->g, x, 0, 1), double_frames(b, time, rest, true)};
        x = gen_concat(b->g, 0, 2, both);
    } else if (doubles_time) {
        no_history(b, x, 2);
    }
    if (x->is_poisoned)
        return x;
    x = gen_upsample_nearest(b->g, x, 2 * x->dims[1], 2 * x->dims[2]);
    return gen_conv2d(b->g, gen_sub(w, "resample.1"), x, GEN_CONV_3X3);
}

/* ---- shortcuts around stages (Wan 2.2) ------------------------------------------------------ */

/* Blocks of `times` frames x 2 x 2 positions become channels (channel slowest), and groups of these
 * are averaged to `out` channels.  With a single frame for two, the missing one is zero. */
static gen_tensor *average_chunk(wan_builder *b, gen_tensor *x, int64_t times, int64_t side,
                                 int64_t out)
{
    gen_graph *g = b->g;
    if (x->dims[0] % times)
        x = gen_window(g, x, 0, -1, x->dims[0] + 1);
    const int64_t F = x->dims[0], H = x->dims[1] / side, W = x->dims[2] / side, C = x->dims[3];
    const int64_t area = side * side, group = C * times * area / out;
    x = gen_reshape(g, x, GEN_DIMS(F * H, side, W, side, C));
    x = gen_permute(g, x, 5, (const int[]){0, 2, 4, 1, 3}); /* [F H,W,C,side,side] */
    x = gen_reshape(g, x, GEN_DIMS(F / times, times, H * W, C, area));
    x = gen_permute(g, x, 5, (const int[]){0, 2, 3, 1, 4}); /* [F/times,H W,C,times,area] */
    x = gen_reshape(g, x, GEN_DIMS(F / times * H * W, out, group));
    x = gen_permute(g, x, 3, (const int[]){2, 0, 1});
    gen_tensor *sum = gen_rows(g, x, 0, 1);
    for (int64_t i = 1; i < group; i++)
        sum = gen_add(g, sum, gen_rows(g, x, i, 1));
    sum = gen_affine(g, sum, 1.0f / (float)group, 0.0f);
    return gen_reshape(g, sum, GEN_DIMS(F / times, H, W, out));
}

static gen_tensor *shortcut_down(wan_builder *b, gen_tensor *x, bool halves_time, bool halves_size,
                                 const gen_tensor *like)
{
    const int64_t times = halves_time ? 2 : 1, side = halves_size ? 2 : 1;
    if (x->is_poisoned || like->is_poisoned)
        return x;
    const int64_t F = x->dims[0], out = like->dims[3];
    if (!b->is_first || F == 1 || times == 1)
        return average_chunk(b, x, times, side, out);
    gen_tensor *const both[2] = {average_chunk(b, gen_rows(b->g, x, 0, 1), times, side, out),
                                 average_chunk(b, gen_rows(b->g, x, 1, F - 1), times, side, out)};
    return gen_concat(b->g, 0, 2, both);
}

/* Channels, each repeated, become blocks of `times` frames x 2 x 2 positions of `out` channels
 * (channel slowest). */
static gen_tensor *spread_chunk(wan_builder *b, gen_tensor *x, int64_t times, int64_t out)
{
    gen_graph *g = b->g;
    const int64_t F = x->dims[0], H = x->dims[1], W = x->dims[2], C = x->dims[3];
    const int64_t cells = 4 * times, kinds = C / out; /* cell i is of kind i / (cells / kinds) */
    gen_tensor *cell[8];
    x = gen_reshape(g, x, GEN_DIMS(F * H * W, out, kinds));
    x = kinds > 1 ? gen_permute(g, x, 3, (const int[]){2, 0, 1})
                  : gen_reshape(g, x, GEN_DIMS(1, F * H * W, out));
    for (int64_t i = 0; i < cells; i++)
        cell[i] = gen_reshape(g, gen_rows(g, x, i * kinds / cells, 1), GEN_DIMS(F, H * W, 1, out));
    x = gen_concat(g, 2, (int)cells, cell); /* [F,H W,cells,out] */
    x = gen_reshape(g, x, GEN_DIMS(F, H * W, times, 4 * out));
    x = gen_permute(g, x, 4, (const int[]){0, 2, 1, 3});
    x = gen_reshape(g, x, GEN_DIMS(F * times * H, W, 2, 2, out));
    x = gen_permute(g, x, 5, (const int[]){0, 2, 1, 3, 4});
    return gen_reshape(g, x, GEN_DIMS(F * times, 2 * H, 2 * W, out));
}

static gen_tensor *shortcut_up(wan_builder *b, gen_tensor *x, bool doubles_time,
                               const gen_tensor *like)
{
    const int64_t times = doubles_time ? 2 : 1;
    if (x->is_poisoned || like->is_poisoned)
        return x;
    x = spread_chunk(b, x, times, like->dims[3]);
    return b->is_first ? gen_rows(b->g, x, times - 1, x->dims[0] - times + 1) : x;
}

/* ---- encoder -------------------------------------------------------------------------------- */

/* Patches of pixels as channels: colour slowest, then column, then row. */
static gen_tensor *to_patches(wan_builder *b, gen_tensor *x)
{
    const int64_t p = b->cfg->patch_size, F = x->dims[0], H = x->dims[1] / p, W = x->dims[2] / p;
    if (p == 1)
        return x;
    x = gen_reshape(b->g, x, GEN_DIMS(F, H, p, W, p, 3));
    x = gen_permute(b->g, x, 6, (const int[]){0, 1, 3, 5, 4, 2});
    return gen_reshape(b->g, x, GEN_DIMS(F, H, W, 3 * p * p));
}

static gen_tensor *from_patches(wan_builder *b, gen_tensor *x)
{
    const int64_t p = b->cfg->patch_size;
    if (p == 1 || x->is_poisoned)
        return x;
    const int64_t F = x->dims[0], H = x->dims[1], W = x->dims[2];
    x = gen_reshape(b->g, x, GEN_DIMS(F, H, W, 3, p, p));
    x = gen_permute(b->g, x, 6, (const int[]){0, 1, 5, 2, 4, 3});
    return gen_reshape(b->g, x, GEN_DIMS(F, H * p, W * p, 3));
}

/* Wan 2.2 names the layers of a stage, Wan 2.1 counts all layers of the encoder. */
static gen_tensor *down_stages(wan_builder *b, gen_scope w, gen_tensor *x)
{
    const gen_vae_config *cfg = b->cfg;
    int layer = 0;
    for (int i = 0; i < cfg->num_stages; i++) {
        const bool is_last = i == cfg->num_stages - 1;
        const gen_scope stage = gen_subf(w, "down_blocks.%d", i);
        gen_tensor *before = x;
        for (int j = 0; j < cfg->layers_per_block; j++)
            x = resnet(b,
                       cfg->has_shortcuts ? gen_subf(stage, "resnets.%d", j)
                                          : gen_subf(w, "down_blocks.%d", layer++),
                       x);
        if (!is_last)
            x = downsample(b,
                           cfg->has_shortcuts ? gen_sub(stage, "downsampler")
                                              : gen_subf(w, "down_blocks.%d", layer++),
                           cfg->halves_time[i], x);
        if (cfg->has_shortcuts)
            x = gen_add(b->g, x,
                        shortcut_down(b, before, !is_last && cfg->halves_time[i], !is_last, x));
    }
    return x;
}

gen_tensor *vae_wan_encode(wan_builder *b, gen_scope root, gen_tensor *x)
{
    const gen_scope w = gen_sub(root, "encoder");
    x = causal_conv(b, gen_sub(w, "conv_in"), to_patches(b, x));
    x = down_stages(b, w, x);
    x = mid_block(b, gen_sub(w, "mid_block"), x);
    x = gen_silu(b->g, norm(b, gen_sub(w, "norm_out"), x));
    x = causal_conv(b, gen_sub(w, "conv_out"), x);
    return conv1x1(b, gen_sub(root, "quant_conv"), x);
}

/* ---- decoder -------------------------------------------------------------------------------- */

/* Stage i on the way up; all but the last end with twice the size. */
static gen_tensor *up_stage(wan_builder *b, gen_scope w, int i, gen_tensor *x)
{
    const gen_vae_config *cfg = b->cfg;
    const bool is_last = i == cfg->num_stages - 1;
    const bool doubles_time = !is_last && cfg->halves_time[cfg->num_stages - 2 - i];
    gen_tensor *before = x;
    for (int j = 0; j <= cfg->layers_per_block; j++)
        x = resnet(b, gen_subf(w, "resnets.%d", j), x);
    if (is_last)
        return x;
    x = upsample(b, gen_sub(w, cfg->has_shortcuts ? "upsampler" : "upsamplers.0"), doubles_time, x);
    return cfg->has_shortcuts ? gen_add(b->g, x, shortcut_up(b, before, doubles_time, x)) : x;
}

gen_tensor *vae_wan_decode(wan_builder *b, gen_scope root, gen_tensor *z)
{
    const gen_scope w = gen_sub(root, "decoder");
    z = conv1x1(b, gen_sub(root, "post_quant_conv"), z);
    z = causal_conv(b, gen_sub(w, "conv_in"), z);
    z = mid_block(b, gen_sub(w, "mid_block"), z);
    for (int i = 0; i < b->cfg->num_stages; i++)
        z = up_stage(b, gen_subf(w, "up_blocks.%d", i), i, z);
    z = gen_silu(b->g, norm(b, gen_sub(w, "norm_out"), z));
    return from_patches(b, causal_conv(b, gen_sub(w, "conv_out"), z));
}
