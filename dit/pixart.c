/* pixart.c - PixArt-alpha and PixArt-sigma (Chen et al. 2023, 2024): a transformer over patches
 * that attends to text, with one adaLN for all blocks (adaLN-single): each block adds a table of
 * its own to the shift, scale and gate that come from the time.
 *
 * Names are those of the diffusers format.  The 1024-pixel alpha model is told the size and shape
 * of the picture, too; sigma and the smaller ones are not. */
#include "dit/dit.h"

#include <inttypes.h>
#include <string.h>

#include "gen/core/nn.h"
#include "gen/core/patches.h"

enum { MAX_LAYERS = 1024, FREQUENCIES = 256, ALPHA_TOKENS = 120, SIGMA_TOKENS = 300 };

typedef struct pixart_config {
    int in_channels, out_channels;
    int sample_size; /* side of the latents it was trained on */
    int patch_size, dim, num_heads, num_layers;
    int caption_dim; /* width of the text states */
    int max_tokens;
    double position_scale;
    bool has_micro_conditions; /* height, width and their ratio */
} pixart_config;

/* ---- configuration -------------------------------------------------------------------------- */

static gen_status read_config(void *config, const gen_json *json, gen_error *err)
{
    pixart_config *cfg = config;
    int head_dim;
    const char *norm;
    GEN_TRY(gen_json_int32(json, "in_channels", 4, 1, 4096, &cfg->in_channels, err));
    GEN_TRY(gen_json_int32(json, "out_channels", 8, 1, 8192, &cfg->out_channels, err));
    GEN_TRY(gen_json_int32(json, "sample_size", 128, 1, 1 << 16, &cfg->sample_size, err));
    GEN_TRY(gen_json_int32(json, "patch_size", 2, 1, 256, &cfg->patch_size, err));
    GEN_TRY(gen_json_int32(json, "num_attention_heads", 16, 1, 1024, &cfg->num_heads, err));
    GEN_TRY(gen_json_int32(json, "attention_head_dim", 72, 1, 4096, &head_dim, err));
    GEN_TRY(gen_json_int32(json, "num_layers", 28, 1, MAX_LAYERS, &cfg->num_layers, err));
    GEN_TRY(gen_json_int32(json, "caption_channels", 4096, 1, 1 << 16, &cfg->caption_dim, err));
    const int scale = cfg->sample_size / 64;
    GEN_TRY(gen_json_double(json, "interpolation_scale", scale > 1 ? scale : 1,
                            &cfg->position_scale, err));
    GEN_TRY(gen_json_bool(json, "use_additional_conditions", cfg->sample_size == 128,
                          &cfg->has_micro_conditions, err));
    GEN_TRY(gen_json_string(json, "norm_type", "ada_norm_single", &norm, err));
    cfg->dim = cfg->num_heads * head_dim;
    cfg->max_tokens = cfg->has_micro_conditions ? ALPHA_TOKENS : SIGMA_TOKENS;
    if (strcmp(norm, "ada_norm_single") != 0)
        return gen_fail(err, json->on_error,
                        "%s: \"norm_type\" is \"%s\", expected \"ada_norm_single\"", json->path,
                        norm);
    if (cfg->dim % 4 || !(cfg->position_scale > 0))
        return gen_fail(err, json->on_error,
                        "%s: positions of width %d, scale %g, expected a multiple of 4, more than "
                        "0",
                        json->path, cfg->dim, cfg->position_scale);
    if (cfg->out_channels != cfg->in_channels && cfg->out_channels != 2 * cfg->in_channels)
        return gen_fail(err, json->on_error,
                        "%s: %d channels out of %d, expected as many or twice as many", json->path,
                        cfg->out_channels, cfg->in_channels);
    return GEN_OK;
}

/* Alpha and sigma differ in the length of their texts, which only the pipeline's name tells. */
static void read_index(void *config, const gen_json *index)
{
    pixart_config *cfg = config;
    const char *name = json_string_value(gen_json_get(index, "_class_name"));
    if (name && strcmp(name, "PixArtAlphaPipeline") == 0)
        cfg->max_tokens = ALPHA_TOKENS;
    else if (name && strcmp(name, "PixArtSigmaPipeline") == 0)
        cfg->max_tokens = SIGMA_TOKENS;
}

static void describe(const void *config, gen_network_traits *traits)
{
    const pixart_config *cfg = config;
    *traits = (gen_network_traits){
        .in_channels = cfg->in_channels,
        .out_channels = cfg->out_channels,
        .variance_channels = cfg->out_channels - cfg->in_channels,
        .sample_height = cfg->sample_size,
        .sample_width = cfg->sample_size,
        .patch_height = cfg->patch_size,
        .patch_width = cfg->patch_size,
        .context_dim = cfg->caption_dim,
        .has_context_mask = true,
        .max_context_tokens = cfg->max_tokens,
        .lowers_case = true,
        .num_time_ids = cfg->has_micro_conditions ? 3 : 0,
        .defaults = {.num_inference_steps = 20,
                     .guidance_scale = 4.5,
                     .scheduler = "DPMSolverMultistepScheduler"},
    };
}

static void fill_time_ids(const void *config, int width, int height, bool is_negative,
                          float *time_ids)
{
    const pixart_config *cfg = config;
    (void)is_negative;
    if (!cfg->has_micro_conditions)
        return;
    time_ids[0] = (float)height;
    time_ids[1] = (float)width;
    time_ids[2] = (float)height / (float)width;
}

/* ---- conditions ----------------------------------------------------------------------------- */

/* What every block is given. */
typedef struct pixart {
    gen_graph *g;
    const pixart_config *cfg;
    gen_tensor *t6;        /* [N,1,6D] shift, scale and gate of attention and MLP by the time */
    gen_tensor *text;      /* [N,L,D] */
    gen_tensor *text_bias; /* [N,1,1,L]: 0 for tokens, -10000 for padding */
} pixart;

/* Linear, SiLU, linear. */
static gen_tensor *embed(gen_graph *g, gen_scope w, gen_tensor *x)
{
    x = gen_silu(g, gen_linear(g, gen_sub(w, "linear_1"), x));
    return gen_linear(g, gen_sub(w, "linear_2"), x);
}

/* Height, width and height / width of the picture, each embedded like a time.  ->  [N,D] */
static gen_tensor *embed_size(const pixart *m, gen_scope w, int64_t N)
{
    enum { SIZES = 3 };
    gen_graph *g = m->g;
    gen_tensor *ids = gen_input(g, "time_ids", GEN_F32, GEN_DIMS(SIZES * N));
    gen_tensor *f =
        gen_sinusoid(g, ids, FREQUENCIES, (gen_sinusoid_options){.flip_sin_to_cos = true});
    gen_tensor *parts[SIZES];
    f = gen_reshape(g, f, GEN_DIMS(N, SIZES * FREQUENCIES));
    gen_chunk(g, f, SIZES, parts);
    for (int i = 0; i < SIZES; i++)
        parts[i] =
            embed(g, gen_sub(w, i < 2 ? "resolution_embedder" : "aspect_ratio_embedder"), parts[i]);
    return gen_concat(g, -1, SIZES, parts);
}

/* Sets t6; returns the embedded time e [N,1,D], which the last layer takes as it is. */
static gen_tensor *embed_time(pixart *m, gen_scope w, int64_t N)
{
    gen_graph *g = m->g;
    const gen_scope emb = gen_sub(w, "emb");
    gen_tensor *t = gen_input(g, "timestep", GEN_F32, GEN_DIMS(N));
    gen_tensor *e =
        gen_sinusoid(g, t, FREQUENCIES, (gen_sinusoid_options){.flip_sin_to_cos = true});
    e = embed(g, gen_sub(emb, "timestep_embedder"), e);
    if (m->cfg->has_micro_conditions)
        e = gen_add(g, e, embed_size(m, emb, N));
    e = gen_name(g, gen_sub(w, "second"), e);
    gen_tensor *t6 = gen_name(g, w, gen_linear(g, gen_sub(w, "linear"), gen_silu(g, e)));
    m->t6 = gen_reshape(g, t6, GEN_DIMS(N, 1, 6 * m->cfg->dim));
    return gen_reshape(g, e, GEN_DIMS(N, 1, m->cfg->dim));
}

static void embed_text(pixart *m, gen_scope w, int64_t N, int64_t L)
{
    gen_graph *g = m->g;
    gen_tensor *text =
        gen_input(g, "encoder_hidden_states", GEN_F32, GEN_DIMS(N, L, m->cfg->caption_dim));
    gen_tensor *mask = gen_input(g, "encoder_attention_mask", GEN_F32, GEN_DIMS(N, L));
    text = gen_gelu_tanh(g, gen_linear(g, gen_sub(w, "linear_1"), text));
    m->text = gen_name(g, w, gen_linear(g, gen_sub(w, "linear_2"), text));
    m->text_bias = gen_reshape(g, gen_affine(g, mask, 10000.0f, -10000.0f), GEN_DIMS(N, 1, 1, L));
}

/* ---- blocks --------------------------------------------------------------------------------- */

/* Attention of x [N,T,D] to itself or to the text. */
static gen_tensor *attention(const pixart *m, gen_scope w, gen_tensor *x, gen_tensor *context,
                             gen_tensor *bias)
{
    gen_graph *g = m->g;
    gen_tensor *q = gen_project(g, gen_sub(w, "to_q"), x);
    gen_tensor *k = gen_project(g, gen_sub(w, "to_k"), context);
    gen_tensor *v = gen_project(g, gen_sub(w, "to_v"), context);
    gen_tensor *h = gen_attention(
        g, q, k, v, (gen_attention_options){.heads = m->cfg->num_heads, .bias = bias});
    return gen_name(g, w, gen_linear(g, gen_sub(w, "to_out.0"), h));
}

/* The block's own part of shift, scale and gate, `rows` of them in a row: [1,1,rows*D]. */
static gen_tensor *table(const pixart *m, gen_scope w, int rows)
{
    gen_tensor *own = gen_parameter(m->g, w, "scale_shift_table");
    return gen_reshape(m->g, own, GEN_DIMS(1, 1, rows * m->cfg->dim));
}

/* One block (fig. 4): no norm before the text, and no gate after it.  x [N,T,D]  ->  [N,T,D] */
static gen_tensor *block(const pixart *m, gen_scope w, gen_tensor *x)
{
    gen_graph *g = m->g;
    gen_tensor *p[6];
    gen_chunk(g, gen_add(g, m->t6, table(m, w, 6)), 6, p);

    gen_tensor *h = gen_modulate(g, gen_layer_norm(g, GEN_NO_AFFINE, x, 1e-6f), p[0], p[1]);
    x = gen_add(g, x, gen_mul(g, attention(m, gen_sub(w, "attn1"), h, h, NULL), p[2]));
    x = gen_add(g, x, attention(m, gen_sub(w, "attn2"), x, m->text, m->text_bias));

    const gen_scope ff = gen_sub(w, "ff");
    h = gen_modulate(g, gen_layer_norm(g, GEN_NO_AFFINE, x, 1e-6f), p[3], p[4]);
    h = gen_gelu_tanh(g, gen_linear(g, gen_sub(ff, "net.0.proj"), h));
    h = gen_linear(g, gen_sub(ff, "net.2"), h);
    return gen_name(g, w, gen_add(g, x, gen_mul(g, h, p[5])));
}

/* ---- the whole ------------------------------------------------------------------------------ */

static void record(gen_graph *g, gen_scope w, const void *config, const gen_network_shape *shape)
{
    const pixart_config *cfg = config;
    const int64_t N = shape->batch, p = cfg->patch_size, base = cfg->sample_size / p;
    const gen_position_grid grid = {
        .height = shape->height / p, .width = shape->width / p, base, base, cfg->position_scale};
    gen_tensor *x =
        gen_input(g, "sample", GEN_F32, GEN_DIMS(N, shape->height, shape->width, cfg->in_channels));
    if (shape->height % p || shape->width % p) {
        gen_graph_fail(g, NULL, GEN_ERROR_ARGUMENT,
                       "latents of %" PRId64 "x%" PRId64 " are not whole patches of %" PRId64,
                       shape->height, shape->width, p);
        return;
    }
    pixart m = {.g = g, .cfg = cfg};
    gen_tensor *e = embed_time(&m, gen_sub(w, "adaln_single"), N), *shift_scale[2];
    embed_text(&m, gen_sub(w, "caption_projection"), N, shape->num_tokens);

    const gen_scope patches = gen_sub(w, "pos_embed");
    x = gen_conv2d(g, gen_sub(patches, "proj"), x, (gen_conv2d_options){.stride = (int)p});
    x = gen_reshape(g, x, GEN_DIMS(N, grid.height * grid.width, cfg->dim));
    x = gen_name(g, patches, gen_add_positions(g, w, x, &grid));
    for (int i = 0; i < cfg->num_layers; i++)
        x = block(&m, gen_subf(w, "transformer_blocks.%d", i), x);

    gen_chunk(g, table(&m, w, 2), 2, shift_scale);
    for (int i = 0; i < 2; i++)
        shift_scale[i] = gen_add(g, e, shift_scale[i]);
    x = gen_modulate(g, gen_layer_norm(g, GEN_NO_AFFINE, x, 1e-6f), shift_scale[0], shift_scale[1]);
    x = gen_linear(g, gen_sub(w, "proj_out"), x);
    gen_output(g, gen_unpatchify(g, x, grid.height, grid.width, p), "sample_out");
}

const gen_network_class gen_pixart_network = {
    .class_name = "PixArtTransformer2DModel",
    .config_size = sizeof(pixart_config),
    .read_config = read_config,
    .read_index = read_index,
    .describe = describe,
    .fill_time_ids = fill_time_ids,
    .record = record,
};
