/* infer_tokens.c - configurations of networks over tokens, and of the autoencoders of clips, from
 * the shapes of tensors. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "gen/core/alloc.h"
#include "gen/core/infer_config.h"

enum { MAX_COUNT = 1024 };

/* The dimensions of a tensor are 0 where it has none, or is missing. */
static int64_t dim_of(const gen_weights *weights, const char *name, int i)
{
    const gen_weight *w = gen_weights_find(weights, name);
    return w && i < w->rank ? w->dims[i] : 0;
}

static int64_t elements_of(const gen_weights *weights, const char *name)
{
    const gen_weight *w = gen_weights_find(weights, name);
    int64_t n = w ? 1 : 0;
    for (int i = 0; w && i < w->rank; i++)
        n *= w->dims[i];
    return n;
}

/* How many tensors there are when the number in the name counts from 0. */
static int count(const gen_weights *weights, const char *before, const char *after)
{
    char name[160];
    int n = 0;
    for (; n < MAX_COUNT; n++) {
        snprintf(name, sizeof name, "%s%d%s", before, n, after);
        if (!gen_weights_find(weights, name))
            break;
    }
    return n;
}

/* ---- Wan ------------------------------------------------------------------------------------ */

/* Heads are 128 wide and patches one frame by 2 x 2 in every model of the family. */
static json_t *wan(const gen_weights *w)
{
    enum { HEAD = 128, PATCH = 4 };
    const int64_t dim = dim_of(w, "patch_embedding.weight", 0);
    const int64_t image = dim_of(w, "condition_embedder.image_embedder.norm1.weight", 0);
    if (dim < HEAD || dim % HEAD)
        return NULL;
    return json_pack(
        "{s:s, s:I, s:I, s:i, s:I, s:I, s:I, s:I, s:I, s:[iii], s:I}", "_class_name",
        "WanTransformer3DModel", "num_attention_heads", (json_int_t)(dim / HEAD),
        "attention_head_dim", (json_int_t)HEAD, "num_layers",
        count(w, "blocks.", ".ffn.net.2.bias"), "ffn_dim",
        (json_int_t)dim_of(w, "blocks.0.ffn.net.2.weight", 1), "in_channels",
        (json_int_t)(elements_of(w, "patch_embedding.weight") / dim / PATCH), "out_channels",
        (json_int_t)(dim_of(w, "proj_out.weight", 0) / PATCH), "text_dim",
        (json_int_t)dim_of(w, "condition_embedder.text_embedder.linear_1.weight", 1), "freq_dim",
        (json_int_t)dim_of(w, "condition_embedder.time_embedder.linear_1.weight", 1), "patch_size",
        1, 2, 2, "image_dim", (json_int_t)image);
}

/* ---- Diffusion-RWKV ------------------------------------------------------------------------- */

static json_t *rwkv(const gen_weights *w)
{
    const int64_t patch = dim_of(w, "patch_embed.proj.weight", 2);
    const int64_t channels = dim_of(w, "patch_embed.proj.weight", 1);
    const int64_t tokens = dim_of(w, "pos_embed", 1);
    const int64_t classes = dim_of(w, "label_emb.embedding_table.weight", 0);
    int64_t side = 1;
    if (patch < 1 || channels < 1)
        return NULL;
    while (side * side < tokens)
        side++;
    const bool learns_sigma =
        dim_of(w, "final_layer.linear.weight", 0) == 2 * channels * patch * patch;
    return json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:i, s:I, s:b}", "_class_name", "DiffRWKVModel", "img_size",
        (json_int_t)(side * patch), "patch_size", (json_int_t)patch, "embed_dim",
        (json_int_t)dim_of(w, "pos_embed", 2), "channels", (json_int_t)channels, "depth",
        2 * count(w, "in_blocks.", ".att.key.weight") + 1, "num_classes",
        (json_int_t)(classes > 1 ? classes - 1 : -1), "learn_sigma", (int)learns_sigma);
}

/* ---- DiT and PixArt -------------------------------------------------------------------------- */

/* The side of the square of latents that so many tokens are; 0 tokens: `unknown`. */
static int64_t side_of(int64_t tokens, int64_t patch, int64_t unknown)
{
    int64_t side = 1;
    while (side * side < tokens)
        side++;
    return tokens ? side * patch : unknown;
}

/* DiT XL and PixArt have 16 heads of 72, the other sizes heads of 64. */
static int64_t heads_of(int64_t dim)
{
    return dim == 1152 ? 16 : dim % 64 == 0 ? dim / 64 : 1;
}

static json_t *dit(const gen_weights *w)
{
    const int64_t dim = dim_of(w, "pos_embed.proj.weight", 0);
    const int64_t channels = dim_of(w, "pos_embed.proj.weight", 1);
    const int64_t patch = dim_of(w, "pos_embed.proj.weight", 2);
    const int64_t classes =
        dim_of(w, "transformer_blocks.0.norm1.emb.class_embedder.embedding_table.weight", 0);
    const int layers = count(w, "transformer_blocks.", ".norm1.linear.weight");
    if (patch < 1 || channels < 1 || classes < 2)
        return NULL;
    const int64_t heads = heads_of(dim);
    const gen_weight *table = gen_weights_find(w, "pos_embed.table");
    const bool is_original = table != NULL; /* the diffusers format does not store it */
    const int64_t size = side_of(dim_of(w, "pos_embed.table", 1), patch, 32);
    const bool learns_sigma = dim_of(w, "proj_out_2.weight", 0) == 2 * channels * patch * patch;
    if (is_original)
        return json_pack("{s:s, s:I, s:I, s:I, s:I, s:i, s:I, s:I, s:b}", "_class_name", "DiT",
                         "input_size", (json_int_t)size, "patch_size", (json_int_t)patch,
                         "in_channels", (json_int_t)channels, "hidden_size", (json_int_t)dim,
                         "depth", layers, "num_heads", (json_int_t)heads, "num_classes",
                         (json_int_t)(classes - 1), "learn_sigma", (int)learns_sigma);
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:i, s:I, s:I, s:I}", "_class_name",
                     "DiTTransformer2DModel", "sample_size", (json_int_t)size, "patch_size",
                     (json_int_t)patch, "in_channels", (json_int_t)channels, "attention_head_dim",
                     (json_int_t)(dim / heads), "num_layers", layers, "num_attention_heads",
                     (json_int_t)heads, "num_embeds_ada_norm", (json_int_t)(classes - 1),
                     "out_channels", (json_int_t)(channels * (learns_sigma ? 2 : 1)));
}

/* The size conditions belong to the 1024-pixel model; without the table of positions the others
 * are taken for models of that size, too. */
static json_t *pixart(const gen_weights *w)
{
    const int64_t dim = dim_of(w, "pos_embed.proj.weight", 0);
    const int64_t channels = dim_of(w, "pos_embed.proj.weight", 1);
    const int64_t patch = dim_of(w, "pos_embed.proj.weight", 2);
    const bool has_sizes =
        gen_weights_find(w, "adaln_single.emb.resolution_embedder.linear_1.weight") != NULL;
    if (patch < 1 || channels < 1 || dim < 1)
        return NULL;
    const int64_t heads = heads_of(dim);
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:i, s:I, s:I, s:b}", "_class_name",
                     "PixArtTransformer2DModel", "sample_size",
                     (json_int_t)side_of(dim_of(w, "pos_embed.table", 1), patch, 128), "patch_size",
                     (json_int_t)patch, "in_channels", (json_int_t)channels, "num_attention_heads",
                     (json_int_t)heads, "attention_head_dim", (json_int_t)(dim / heads),
                     "num_layers", count(w, "transformer_blocks.", ".scale_shift_table"),
                     "caption_channels",
                     (json_int_t)dim_of(w, "caption_projection.linear_1.weight", 1), "out_channels",
                     (json_int_t)(dim_of(w, "proj_out.weight", 0) / (patch * patch)),
                     "use_additional_conditions", (int)has_sizes);
}

/* ---- the table ------------------------------------------------------------------------------ */

static const struct {
    const char *marker; /* a tensor only this family has */
    json_t *(*infer)(const gen_weights *weights);
} families[] = {
    {"condition_embedder.time_proj.weight", wan},
    {"in_blocks.0.att.key.weight", rwkv},
    {"proj_out_2.weight", dit},
    {"caption_projection.linear_1.weight", pixart},
};

gen_status gen_infer_transformer_config(gen_json **out, const gen_weights *weights,
                                        const char *path, gen_error *err)
{
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (gen_weights_find(weights, families[i].marker)) {
            json_t *root = families[i].infer(weights);
            if (root)
                return gen_json_adopt(out, root, path, err);
        }
    gen_fail(err, GEN_ERROR_MODEL,
             "%s: a network over tokens whose settings its tensors do not tell", path);
    return gen_hint(err, "put its config.json beside it and give the folder");
}

/* ---- autoencoders of clips ------------------------------------------------------------------ */

bool gen_is_clip_vae(const gen_weights *vae)
{
    return gen_weights_find(vae, "decoder.mid_block.resnets.0.norm1.gamma") != NULL;
}

gen_status gen_infer_clip_vae_config(gen_json **out, const gen_weights *w, const char *path,
                                     gen_error *err)
{
    const int stages = count(w, "decoder.up_blocks.", ".resnets.0.conv1.weight");
    const int layers = count(w, "decoder.up_blocks.0.resnets.", ".conv1.weight") - 1;
    const int64_t colours = dim_of(w, "decoder.conv_out.weight", 0);
    const bool has_shortcuts =
        gen_weights_find(w, "decoder.up_blocks.0.upsampler.resample.1.weight") != NULL;
    int64_t patch = 1;
    if (stages < 1 || layers < 0 || colours < 3)
        return gen_fail(err, GEN_ERROR_MODEL, "%s: an autoencoder of clips without a decoder",
                        path);
    while (3 * patch * patch < colours)
        patch++;
    json_t *times = json_array(), *mult = json_array();
    bool ok = times && mult;
    for (int i = 0; i < stages && ok; i++) {
        char name[96];
        snprintf(name, sizeof name, "decoder.up_blocks.%d.%s.time_conv.weight", stages - 2 - i,
                 has_shortcuts ? "upsampler" : "upsamplers.0");
        ok = json_array_append_new(mult, json_integer(1)) == 0 &&
             (i == stages - 1 ||
              json_array_append_new(times, json_boolean(gen_weights_find(w, name) != NULL)) == 0);
    }
    json_t *root =
        ok ? json_pack("{s:s, s:I, s:i, s:O, s:O, s:I, s:b}", "_class_name", "AutoencoderKLWan",
                       "z_dim", (json_int_t)dim_of(w, "post_quant_conv.weight", 0),
                       "num_res_blocks", layers, "dim_mult", mult, "temperal_downsample", times,
                       "patch_size", (json_int_t)patch, "is_residual", (int)has_shortcuts)
           : NULL;
    json_decref(times);
    json_decref(mult);
    return gen_json_adopt(out, root, path, err);
}
