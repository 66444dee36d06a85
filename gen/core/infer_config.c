/* infer_config.c - configurations from the shapes of tensors. */
#include "gen/core/infer_config.h"

#include <inttypes.h>
#include <stdio.h>

#include "gen/core/alloc.h"

enum { MAX_STAGES = 16, MAX_LAYERS = 16 };

static const gen_weight *findf(const gen_weights *weights, const char *format, ...)
    GEN_PRINTF(2, 3);

/* Finds a tensor by a formatted name. */
static const gen_weight *findf(const gen_weights *weights, const char *format, ...)
{
    char name[256];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    return gen_weights_find(weights, name);
}

/* Dimension i of a tensor; 0 when the tensor is NULL or has none. */
static int64_t dim_of(const gen_weight *weight, int i)
{
    return weight && i < weight->rank ? weight->dims[i] : 0;
}

/* Finds a tensor that has to be there with at least `rank` dimensions. */
static gen_status require(const gen_weight **out, const gen_weights *weights, const char *name,
                          int rank, const char *path, gen_error *err)
{
    *out = gen_weights_find(weights, name);
    if (!*out)
        return gen_fail(err, GEN_ERROR_MODEL, "%s: tensor \"%s\" is missing", path, name);
    if ((*out)->rank < rank)
        return gen_fail(err, GEN_ERROR_MODEL, "%s: tensor \"%s\" has %d dimensions, expected %d",
                        path, name, (*out)->rank, rank);
    return GEN_OK;
}

/* Sets a key; a value that could not be made or stored is remembered in *ok. */
static void put(bool *ok, json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value))
        *ok = false;
}

static void add(bool *ok, json_t *list, json_t *value)
{
    if (json_array_append_new(list, value))
        *ok = false;
}

static gen_status finish(gen_json **out, json_t *root, bool ok, const char *path, gen_error *err)
{
    if (!ok) {
        json_decref(root);
        root = NULL;
    }
    return gen_json_adopt(out, root, path, err);
}

/* ---- family --------------------------------------------------------------------------------- */

const char *gen_family_name(gen_family family)
{
    switch (family) {
    case GEN_FAMILY_SD1:
        return "Stable Diffusion 1";
    case GEN_FAMILY_SD2:
        return "Stable Diffusion 2";
    case GEN_FAMILY_SD_UPSCALER:
        return "Stable Diffusion x4 upscaler";
    case GEN_FAMILY_SDXL:
        return "Stable Diffusion XL";
    case GEN_FAMILY_SDXL_REFINER:
        return "Stable Diffusion XL refiner";
    case GEN_FAMILY_UNKNOWN:
        break;
    }
    return "unknown";
}

/* The width of the text the UNet attends to, 0 when there is no cross-attention. */
static int64_t context_dim(const gen_weights *unet)
{
    static const char ending[] = ".attn2.to_k.weight";
    for (size_t i = 0; i < gen_weights_count(unet); i++) {
        const gen_weight *w = gen_weights_at(unet, i);
        const size_t n = strlen(w->name);
        if (n >= sizeof ending && strcmp(w->name + n - (sizeof ending - 1), ending) == 0)
            return dim_of(w, 1);
    }
    return 0;
}

gen_family gen_infer_family(const gen_weights *unet)
{
    const gen_weight *conv_in = gen_weights_find(unet, "conv_in.weight");
    switch (context_dim(unet)) {
    case 2048:
        return GEN_FAMILY_SDXL;
    case 1280:
        return dim_of(conv_in, 0) == 384 ? GEN_FAMILY_SDXL_REFINER : GEN_FAMILY_UNKNOWN;
    case 1024:
        return dim_of(conv_in, 1) == 7 ? GEN_FAMILY_SD_UPSCALER : GEN_FAMILY_SD2;
    case 768:
        return GEN_FAMILY_SD1;
    default:
        return GEN_FAMILY_UNKNOWN;
    }
}

/* ---- UNet ----------------------------------------------------------------------------------- */

/* What the tensors of a UNet say, stages counted as in the names. */
typedef struct unet_shape {
    int num_stages;
    int64_t channels[MAX_STAGES];
    int num_layers[MAX_STAGES];             /* of down stages */
    int down_depth[MAX_STAGES][MAX_LAYERS]; /* transformer blocks; 0: no attention */
    int up_depth[MAX_STAGES][MAX_LAYERS], up_layers[MAX_STAGES];
    bool down_cross[MAX_STAGES], up_cross[MAX_STAGES];
    bool only_cross[MAX_STAGES];
    int mid_depth;
} unet_shape;

/* Counts the transformer blocks of an attention; -1 when there is no attention. */
static int count_blocks(const gen_weights *unet, const char *path)
{
    int n = 0;
    if (!findf(unet, "%s.proj_in.weight", path))
        return -1;
    while (n < 1000 && findf(unet, "%s.transformer_blocks.%d.norm1.weight", path, n))
        n++;
    return n;
}

/* Reads one stage: its layers, and the depth of each. */
static void read_stage(const gen_weights *unet, const char *stage, int *num_layers, int *depth,
                       bool *has_attention)
{
    int n = 0;
    *has_attention = false;
    while (n < MAX_LAYERS && findf(unet, "%s.resnets.%d.conv1.weight", stage, n)) {
        char path[128];
        snprintf(path, sizeof path, "%s.attentions.%d", stage, n);
        const int blocks = count_blocks(unet, path);
        *has_attention = *has_attention || blocks >= 0;
        depth[n++] = blocks < 0 ? 0 : blocks;
    }
    *num_layers = n;
}

static gen_status read_unet_shape(unet_shape *s, const gen_weights *unet, const char *path,
                                  gen_error *err)
{
    *s = (unet_shape){0};
    const gen_weight *conv;
    while (s->num_stages < MAX_STAGES &&
           (conv = findf(unet, "down_blocks.%d.resnets.0.conv1.weight", s->num_stages))) {
        const int i = s->num_stages++;
        char stage[64];
        s->channels[i] = dim_of(conv, 0);
        snprintf(stage, sizeof stage, "down_blocks.%d", i);
        read_stage(unet, stage, &s->num_layers[i], s->down_depth[i], &s->down_cross[i]);
        snprintf(stage, sizeof stage, "up_blocks.%d", i);
        read_stage(unet, stage, &s->up_layers[i], s->up_depth[i], &s->up_cross[i]);
        const gen_weight *k =
            findf(unet, "down_blocks.%d.attentions.0.transformer_blocks.0.attn1.to_k.weight", i);
        s->only_cross[i] = k && dim_of(k, 1) != dim_of(k, 0);
    }
    if (s->num_stages == 0)
        return gen_fail(err, GEN_ERROR_MODEL,
                        "%s: tensor \"down_blocks.0.resnets.0.conv1.weight\" is missing", path);
    for (int i = 0; i < s->num_stages; i++)
        if (s->up_layers[i] == 0)
            return gen_fail(err, GEN_ERROR_MODEL,
                            "%s: the UNet has %d stages down, but no \"up_blocks.%d\"", path,
                            s->num_stages, i);
    s->mid_depth = count_blocks(unet, "mid_block.attentions.0");
    return GEN_OK;
}

/* The depth all layers of a stage have, or -1. */
static int stage_depth(const int *depth, int num_layers)
{
    for (int i = 1; i < num_layers; i++)
        if (depth[i] != depth[0])
            return -1;
    return num_layers ? depth[0] : -1;
}

/* One side's depths: a number per stage, or a list where its layers differ.  Plain stages get
 * `plain`, which nothing reads but the mid block, which takes its depth from the deepest one. */
static json_t *depth_list(bool *ok, const unet_shape *s, bool up, int plain)
{
    json_t *list = json_array();
    for (int i = 0; i < s->num_stages; i++) {
        const int *depth = up ? s->up_depth[i] : s->down_depth[i];
        const int num_layers = up ? s->up_layers[i] : s->num_layers[i];
        const int same = stage_depth(depth, num_layers);
        if (!(up ? s->up_cross[i] : s->down_cross[i])) {
            add(ok, list, json_integer(plain));
        } else if (same >= 0) {
            add(ok, list, json_integer(same));
        } else {
            json_t *layers = json_array();
            for (int k = 0; k < num_layers; k++)
                add(ok, layers, json_integer(depth[k]));
            add(ok, list, layers);
        }
    }
    return list;
}

/* transformer_layers_per_block, and its reverse when the up stages do not mirror the others. */
static void put_depths(bool *ok, json_t *config, const unet_shape *s)
{
    const int n = s->num_stages;
    int one = s->mid_depth > 0 ? s->mid_depth : -1;
    bool is_one_number = true, is_mirrored = true;
    for (int i = 0; i < n; i++) {
        const int down = stage_depth(s->down_depth[i], s->num_layers[i]);
        const int up = stage_depth(s->up_depth[n - 1 - i], s->up_layers[n - 1 - i]);
        if (s->down_cross[i] && one < 0)
            one = down;
        is_one_number = is_one_number && (!s->down_cross[i] || (down >= 0 && down == one));
        is_mirrored = is_mirrored && s->down_cross[i] == s->up_cross[n - 1 - i] &&
                      (!s->down_cross[i] || (down >= 0 && down == up));
    }
    const int plain = s->mid_depth > 0 ? s->mid_depth : 1;
    if (is_one_number && is_mirrored) {
        put(ok, config, "transformer_layers_per_block", json_integer(one > 0 ? one : 1));
        return;
    }
    put(ok, config, "transformer_layers_per_block", depth_list(ok, s, false, plain));
    if (!is_mirrored)
        put(ok, config, "reverse_transformer_layers_per_block", depth_list(ok, s, true, plain));
}

/* The number of heads is in no shape.  SD 1 and the upscaler have 8 in every stage; those with
 * linear projections have heads of 64 channels.  0 where that does not divide: the reader of the
 * configuration reports it. */
static void put_heads(bool *ok, json_t *config, const unet_shape *s, bool linear, bool upscaler)
{
    if (!linear || upscaler) {
        put(ok, config, "attention_head_dim", json_integer(8));
        return;
    }
    json_t *list = json_array();
    for (int i = 0; i < s->num_stages; i++)
        add(ok, list, json_integer(s->channels[i] % 64 ? 0 : s->channels[i] / 64));
    put(ok, config, "attention_head_dim", list);
}

static void put_stages(bool *ok, json_t *config, const unet_shape *s)
{
    json_t *channels = json_array(), *layers = json_array();
    json_t *down = json_array(), *up = json_array(), *only_cross = json_array();
    bool same_layers = true, any_only_cross = false;
    for (int i = 0; i < s->num_stages; i++) {
        add(ok, channels, json_integer(s->channels[i]));
        add(ok, layers, json_integer(s->num_layers[i]));
        add(ok, down, json_string(s->down_cross[i] ? "CrossAttnDownBlock2D" : "DownBlock2D"));
        add(ok, up, json_string(s->up_cross[i] ? "CrossAttnUpBlock2D" : "UpBlock2D"));
        add(ok, only_cross, json_boolean(s->only_cross[i]));
        same_layers = same_layers && s->num_layers[i] == s->num_layers[0];
        any_only_cross = any_only_cross || s->only_cross[i];
    }
    put(ok, config, "block_out_channels", channels);
    put(ok, config, "down_block_types", down);
    put(ok, config, "up_block_types", up);
    put(ok, config, "layers_per_block", same_layers ? json_integer(s->num_layers[0]) : layers);
    if (same_layers)
        json_decref(layers);
    if (any_only_cross)
        put(ok, config, "only_cross_attention", only_cross);
    else
        json_decref(only_cross);
}

/* Embeddings beside that of the time step. */
static void put_embeddings(bool *ok, json_t *config, const gen_weights *unet)
{
    const gen_weight *w = gen_weights_find(unet, "time_embedding.cond_proj.weight");
    if (w)
        put(ok, config, "time_cond_proj_dim", json_integer(dim_of(w, 1)));
    if ((w = gen_weights_find(unet, "add_embedding.linear_1.weight"))) {
        put(ok, config, "addition_embed_type", json_string("text_time"));
        put(ok, config, "addition_time_embed_dim", json_integer(256));
        put(ok, config, "projection_class_embeddings_input_dim", json_integer(dim_of(w, 1)));
    }
    if ((w = gen_weights_find(unet, "class_embedding.weight")))
        put(ok, config, "num_class_embeds", json_integer(dim_of(w, 0)));
    if ((w = gen_weights_find(unet, "class_embedding.linear_1.weight"))) {
        put(ok, config, "class_embed_type", json_string("projection"));
        put(ok, config, "projection_class_embeddings_input_dim", json_integer(dim_of(w, 1)));
    }
    if ((w = gen_weights_find(unet, "encoder_hid_proj.weight")))
        put(ok, config, "encoder_hid_dim", json_integer(dim_of(w, 1)));
}

/* The side of the latents a family was trained with. */
static int sample_size(gen_family family)
{
    switch (family) {
    case GEN_FAMILY_SDXL:
    case GEN_FAMILY_SDXL_REFINER:
    case GEN_FAMILY_SD_UPSCALER:
        return 128;
    default:
        return 64;
    }
}

gen_status gen_infer_unet_config(gen_json **out, const gen_weights *unet, const char *path,
                                 gen_error *err)
{
    unet_shape s;
    const gen_weight *conv_in, *conv_out;
    GEN_TRY(require(&conv_in, unet, "conv_in.weight", 4, path, err));
    GEN_TRY(require(&conv_out, unet, "conv_out.weight", 4, path, err));
    GEN_TRY(read_unet_shape(&s, unet, path, err));
    const gen_family family = gen_infer_family(unet);
    const int64_t context = context_dim(unet);
    bool linear = false;
    for (int i = 0; i < s.num_stages; i++) {
        const gen_weight *proj = findf(unet, "down_blocks.%d.attentions.0.proj_in.weight", i);
        linear = linear || (proj && proj->rank == 2);
    }
    json_t *config = json_object();
    bool ok = config != NULL;
    put(&ok, config, "_class_name", json_string("UNet2DConditionModel"));
    put(&ok, config, "in_channels", json_integer(dim_of(conv_in, 1)));
    put(&ok, config, "out_channels", json_integer(dim_of(conv_out, 0)));
    put(&ok, config, "conv_in_kernel", json_integer(dim_of(conv_in, 2)));
    put(&ok, config, "conv_out_kernel", json_integer(dim_of(conv_out, 2)));
    put(&ok, config, "sample_size", json_integer(sample_size(family)));
    if (context)
        put(&ok, config, "cross_attention_dim", json_integer(context));
    put_stages(&ok, config, &s);
    put_depths(&ok, config, &s);
    put_heads(&ok, config, &s, linear, family == GEN_FAMILY_SD_UPSCALER);
    put(&ok, config, "use_linear_projection", json_boolean(linear));
    if (s.mid_depth >= 0)
        put(&ok, config, "mid_block_type", json_string("UNetMidBlock2DCrossAttn"));
    else if (gen_weights_find(unet, "mid_block.resnets.0.conv1.weight"))
        put(&ok, config, "mid_block_type", json_string("UNetMidBlock2D"));
    else
        put(&ok, config, "mid_block_type", json_null());
    put_embeddings(&ok, config, unet);
    return finish(out, config, ok, path, err);
}

/* ---- autoencoders --------------------------------------------------------------------------- */

/* Latents to the units the samplers work in: unet.md 4.1. */
static void put_scale(bool *ok, json_t *config, int64_t latent_channels, int num_stages,
                      gen_family family, const gen_weights *file)
{
    const gen_weight *mean = file ? gen_weights_find(file, "edm_mean") : NULL;
    const gen_weight *std = file ? gen_weights_find(file, "edm_std") : NULL;
    const size_t n = (size_t)latent_channels;
    float values[2][64];
    double scale = 0.18215;
    if (latent_channels == 16) { /* FLUX; other families with 16 channels bring a config */
        scale = 0.3611;
        put(ok, config, "shift_factor", json_real(0.1159));
    } else if (mean && std && mean->data && std->data && n <= 64 &&
               mean->size == n * gen_dtype_size(mean->dtype) &&
               std->size == n * gen_dtype_size(std->dtype)) { /* Playground 2.5 */
        scale = 0.5;
        gen_to_f32(values[0], mean->data, mean->dtype, n);
        gen_to_f32(values[1], std->data, std->dtype, n);
        for (int k = 0; k < 2; k++) {
            json_t *list = json_array();
            for (size_t i = 0; i < n; i++)
                add(ok, list, json_real((double)values[k][i]));
            put(ok, config, k ? "latents_std" : "latents_mean", list);
        }
    } else if (family == GEN_FAMILY_SDXL || family == GEN_FAMILY_SDXL_REFINER) {
        scale = 0.13025;
    } else if (family == GEN_FAMILY_SD_UPSCALER || num_stages == 3) {
        scale = 0.08333;
    }
    put(ok, config, "scaling_factor", json_real(scale));
}

/* The widths of one half's stages, widest image first; the number of stages and of layers per
 * encoder stage. */
static int read_vae_stages(const gen_weights *vae, int64_t *channels, int *num_layers)
{
    const bool encoder = findf(vae, "encoder.down_blocks.0.resnets.0.conv1.weight") != NULL;
    const char *side = encoder ? "encoder.down" : "decoder.up";
    int n = 0, layers = 0;
    const gen_weight *conv;
    while (n < MAX_STAGES && (conv = findf(vae, "%s_blocks.%d.resnets.0.conv1.weight", side, n)))
        channels[n++] = dim_of(conv, 0);
    while (layers < MAX_LAYERS && findf(vae, "%s_blocks.0.resnets.%d.conv1.weight", side, layers))
        layers++;
    *num_layers = encoder ? layers : layers - 1;
    for (int i = 0; !encoder && i < n / 2; i++) {
        const int64_t other = channels[n - 1 - i];
        channels[n - 1 - i] = channels[i];
        channels[i] = other;
    }
    return n;
}

static gen_status infer_kl(gen_json **out, const gen_weights *vae, gen_family family,
                           const gen_weights *file, const char *path, gen_error *err)
{
    const gen_weight *decoder_in, *decoder_out;
    GEN_TRY(require(&decoder_in, vae, "decoder.conv_in.weight", 4, path, err));
    GEN_TRY(require(&decoder_out, vae, "decoder.conv_out.weight", 4, path, err));
    const gen_weight *encoder_in = gen_weights_find(vae, "encoder.conv_in.weight");
    int64_t widths[MAX_STAGES];
    int num_layers;
    const int num_stages = read_vae_stages(vae, widths, &num_layers);
    if (num_stages == 0 || num_layers < 1)
        return gen_fail(err, GEN_ERROR_MODEL, "%s: the VAE has no stages that gen knows", path);
    json_t *config = json_object(), *channels = json_array();
    json_t *down = json_array(), *up = json_array();
    bool ok = config != NULL;
    for (int i = 0; i < num_stages; i++) {
        add(&ok, channels, json_integer(widths[i]));
        add(&ok, down, json_string("DownEncoderBlock2D"));
        add(&ok, up, json_string("UpDecoderBlock2D"));
    }
    put(&ok, config, "_class_name", json_string("AutoencoderKL"));
    put(&ok, config, "in_channels",
        json_integer(encoder_in ? dim_of(encoder_in, 1) : dim_of(decoder_out, 0)));
    put(&ok, config, "out_channels", json_integer(dim_of(decoder_out, 0)));
    put(&ok, config, "latent_channels", json_integer(dim_of(decoder_in, 1)));
    put(&ok, config, "block_out_channels", channels);
    put(&ok, config, "down_block_types", down);
    put(&ok, config, "up_block_types", up);
    put(&ok, config, "layers_per_block", json_integer(num_layers));
    put(&ok, config, "use_quant_conv", json_boolean(findf(vae, "quant_conv.weight") != NULL));
    put(&ok, config, "use_post_quant_conv",
        json_boolean(findf(vae, "post_quant_conv.weight") != NULL));
    put(&ok, config, "mid_block_add_attention",
        json_boolean(findf(vae, "decoder.mid_block.attentions.0.to_q.weight") != NULL));
    put_scale(&ok, config, dim_of(decoder_in, 1), num_stages, family, file);
    return finish(out, config, ok, path, err);
}

/* Half of a tiny autoencoder: between its plain convolutions lie runs of blocks, one run a stage;
 * layers without tensors (activations, upsamplers) leave gaps in the numbers. */
static void put_tiny_half(bool *ok, json_t *config, const gen_weights *vae, bool encoder)
{
    const char *side = encoder ? "encoder" : "decoder";
    json_t *widths = json_array(), *blocks = json_array();
    int run = 0;
    int64_t width = 0;
    for (int i = 0; i < 64; i++) {
        const gen_weight *conv = findf(vae, "%s.layers.%d.conv.0.weight", side, i);
        if (conv) {
            run++;
            width = dim_of(conv, 0);
        }
        if (run && findf(vae, "%s.layers.%d.weight", side, i)) {
            add(ok, widths, json_integer(width));
            add(ok, blocks, json_integer(run));
            run = 0;
        }
    }
    put(ok, config, encoder ? "encoder_block_out_channels" : "decoder_block_out_channels", widths);
    put(ok, config, encoder ? "num_encoder_blocks" : "num_decoder_blocks", blocks);
}

/* The last plain convolution of a half, or NULL. */
static const gen_weight *last_layer(const gen_weights *vae, const char *side)
{
    const gen_weight *last = NULL;
    for (int i = 0; i < 64; i++) {
        const gen_weight *w = findf(vae, "%s.layers.%d.weight", side, i);
        if (w)
            last = w;
    }
    return last;
}

static gen_status infer_tiny(gen_json **out, const gen_weights *vae, const char *path,
                             gen_error *err)
{
    const gen_weight *encoder_in = findf(vae, "encoder.layers.0.weight");
    const gen_weight *decoder_in = findf(vae, "decoder.layers.0.weight");
    if (!encoder_in && !decoder_in)
        return gen_fail(err, GEN_ERROR_MODEL, "%s: not a tiny autoencoder that gen knows", path);
    const gen_weight *encoder_out = last_layer(vae, "encoder");
    const gen_weight *decoder_out = last_layer(vae, "decoder");
    json_t *config = json_object();
    bool ok = config != NULL;
    put(&ok, config, "_class_name", json_string("AutoencoderTiny"));
    put(&ok, config, "in_channels",
        json_integer(dim_of(encoder_in ? encoder_in : decoder_out, encoder_in ? 1 : 0)));
    put(&ok, config, "out_channels",
        json_integer(dim_of(decoder_out ? decoder_out : encoder_in, decoder_out ? 0 : 1)));
    put(&ok, config, "latent_channels",
        json_integer(dim_of(decoder_in ? decoder_in : encoder_out, decoder_in ? 1 : 0)));
    if (encoder_in)
        put_tiny_half(&ok, config, vae, true);
    if (decoder_in)
        put_tiny_half(&ok, config, vae, false);
    put(&ok, config, "scaling_factor", json_real(1.0));
    return finish(out, config, ok, path, err);
}

gen_status gen_infer_vae_config(gen_json **out, const gen_weights *vae, gen_family family,
                                const gen_weights *file, const char *path, gen_error *err)
{
    if (gen_is_clip_vae(vae))
        return gen_infer_clip_vae_config(out, vae, path, err);
    if (gen_weights_find(vae, "decoder.conv_in.weight"))
        return infer_kl(out, vae, family, file, path, err);
    if (gen_weights_find(vae, "encoder.conv_in.weight"))
        return gen_fail(err, GEN_ERROR_MODEL, "%s: the VAE has an encoder but no decoder", path);
    return infer_tiny(out, vae, path, err);
}

/* ---- text encoders -------------------------------------------------------------------------- */

/* Heads and buckets are the sides of the table of relative positions. */
static gen_status infer_t5(gen_json **out, const gen_weights *text, const char *path,
                           gen_error *err)
{
    static const char ff[] = "encoder.block.0.layer.1.DenseReluDense";
    static const char attention[] = "encoder.block.0.layer.0.SelfAttention";
    const gen_weight *tokens = gen_weights_find(text, "shared.weight"), *q, *bias, *wo;
    char name[128];
    if (!tokens)
        GEN_TRY(require(&tokens, text, "encoder.embed_tokens.weight", 2, path, err));
    snprintf(name, sizeof name, "%s.q.weight", attention);
    GEN_TRY(require(&q, text, name, 2, path, err));
    snprintf(name, sizeof name, "%s.relative_attention_bias.weight", attention);
    GEN_TRY(require(&bias, text, name, 2, path, err));
    snprintf(name, sizeof name, "%s.wo.weight", ff);
    GEN_TRY(require(&wo, text, name, 2, path, err));
    const bool is_gated = findf(text, "%s.wi_0.weight", ff) != NULL;
    const bool has_own_bias =
        findf(text, "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight") != NULL;
    int num_layers = 0;
    while (findf(text, "encoder.block.%d.layer.0.layer_norm.weight", num_layers))
        num_layers++;
    json_t *config = json_object(), *classes = json_array();
    bool ok = config != NULL;
    add(&ok, classes, json_string(has_own_bias ? "UMT5EncoderModel" : "T5EncoderModel"));
    put(&ok, config, "architectures", classes);
    put(&ok, config, "vocab_size", json_integer(dim_of(tokens, 0)));
    put(&ok, config, "d_model", json_integer(dim_of(tokens, 1)));
    put(&ok, config, "d_kv", json_integer(dim_of(q, 0) / (dim_of(bias, 1) ? dim_of(bias, 1) : 1)));
    put(&ok, config, "d_ff", json_integer(dim_of(wo, 1)));
    put(&ok, config, "num_layers", json_integer(num_layers));
    put(&ok, config, "num_heads", json_integer(dim_of(bias, 1)));
    put(&ok, config, "relative_attention_num_buckets", json_integer(dim_of(bias, 0)));
    put(&ok, config, "feed_forward_proj", json_string(is_gated ? "gated-gelu" : "relu"));
    return finish(out, config, ok, path, err);
}

gen_status gen_infer_text_config(gen_json **out, const gen_weights *text, bool with_projection,
                                 const char *path, gen_error *err)
{
    const gen_weight *tokens, *positions, *fc1;
    if (gen_weights_find(text, "encoder.final_layer_norm.weight"))
        return infer_t5(out, text, path, err);
    GEN_TRY(require(&tokens, text, "text_model.embeddings.token_embedding.weight", 2, path, err));
    GEN_TRY(
        require(&positions, text, "text_model.embeddings.position_embedding.weight", 2, path, err));
    GEN_TRY(require(&fc1, text, "text_model.encoder.layers.0.mlp.fc1.weight", 2, path, err));
    const gen_weight *projection = gen_weights_find(text, "text_projection.weight");
    with_projection = with_projection && projection;
    int num_layers = 0;
    while (findf(text, "text_model.encoder.layers.%d.mlp.fc1.weight", num_layers))
        num_layers++;
    const int64_t hidden = dim_of(tokens, 1);
    /* CLIP ViT-L is the only one of width 768, and the only one with the quick gelu. */
    const bool is_clip_l = hidden == 768;
    json_t *config = json_object(), *classes = json_array();
    bool ok = config != NULL;
    add(&ok, classes,
        json_string(with_projection ? "CLIPTextModelWithProjection" : "CLIPTextModel"));
    put(&ok, config, "architectures", classes);
    put(&ok, config, "model_type", json_string("clip_text_model"));
    put(&ok, config, "vocab_size", json_integer(dim_of(tokens, 0)));
    put(&ok, config, "max_position_embeddings", json_integer(dim_of(positions, 0)));
    put(&ok, config, "hidden_size", json_integer(hidden));
    put(&ok, config, "intermediate_size", json_integer(dim_of(fc1, 0)));
    put(&ok, config, "num_hidden_layers", json_integer(num_layers));
    put(&ok, config, "num_attention_heads", json_integer(hidden % 64 ? 0 : hidden / 64));
    put(&ok, config, "hidden_act", json_string(is_clip_l ? "quick_gelu" : "gelu"));
    put(&ok, config, "layer_norm_eps", json_real(1e-5));
    /* The end token has the largest id of the vocabulary; 2 stands for that rule. */
    put(&ok, config, "eos_token_id", json_integer(2));
    put(&ok, config, "projection_dim", json_integer(projection ? dim_of(projection, 0) : hidden));
    return finish(out, config, ok, path, err);
}
