/* dit.c - DiT (Peebles & Xie 2023): a transformer over patches of latents, told the time and the
 * class through the scale, shift and gate of its norms (adaLN-Zero).
 *
 * Names are those of the diffusers format.  The two published codes run the same weights with
 * different time frequencies and a different epsilon; the configuration says whose. */
#include "dit/dit.h"

#include <inttypes.h>
#include <string.h>

#include "gen/core/nn.h"
#include "gen/core/patches.h"

enum { MAX_LAYERS = 1024, FREQUENCIES = 256 };

typedef struct dit_config {
    int in_channels, out_channels;
    int sample_size; /* side of the latents it was trained on */
    int patch_size, dim, num_heads, num_layers;
    int num_classes;
    bool has_null_class; /* number num_classes */
    bool is_original;    /* guided and noised as in the paper's code */
    double time_shift;   /* the last of n time frequencies is 1/10000^((n-1)/(n-shift)) */
    float mlp_norm_eps;
} dit_config;

/* ---- configuration -------------------------------------------------------------------------- */

static gen_status check(const dit_config *cfg, const gen_json *json, gen_error *err)
{
    if (cfg->dim % cfg->num_heads || cfg->dim % 4)
        return gen_fail(err, json->on_error, "%s: a width of %d for %d heads and positions of four",
                        json->path, cfg->dim, cfg->num_heads);
    if (cfg->out_channels != cfg->in_channels && cfg->out_channels != 2 * cfg->in_channels)
        return gen_fail(err, json->on_error,
                        "%s: %d channels out of %d, expected as many or twice as many", json->path,
                        cfg->out_channels, cfg->in_channels);
    return GEN_OK;
}

static gen_status read_diffusers(void *config, const gen_json *json, gen_error *err)
{
    dit_config *cfg = config;
    int head_dim;
    double eps;
    const char *norm;
    GEN_TRY(gen_json_int32(json, "in_channels", 4, 1, 4096, &cfg->in_channels, err));
    GEN_TRY(
        gen_json_int32(json, "out_channels", cfg->in_channels, 1, 8192, &cfg->out_channels, err));
    GEN_TRY(gen_json_int32(json, "sample_size", 32, 1, 1 << 16, &cfg->sample_size, err));
    GEN_TRY(gen_json_int32(json, "patch_size", 2, 1, 256, &cfg->patch_size, err));
    GEN_TRY(gen_json_int32(json, "num_attention_heads", 16, 1, 1024, &cfg->num_heads, err));
    GEN_TRY(gen_json_int32(json, "attention_head_dim", 72, 1, 4096, &head_dim, err));
    GEN_TRY(gen_json_int32(json, "num_layers", 28, 1, MAX_LAYERS, &cfg->num_layers, err));
    GEN_TRY(gen_json_int32(json, "num_embeds_ada_norm", 1000, 1, 1 << 24, &cfg->num_classes, err));
    GEN_TRY(gen_json_double(json, "norm_eps", 1e-5, &eps, err));
    GEN_TRY(gen_json_string(json, "norm_type", "ada_norm_zero", &norm, err));
    if (strcmp(norm, "ada_norm_zero") != 0)
        return gen_fail(err, json->on_error,
                        "%s: \"norm_type\" is \"%s\", expected \"ada_norm_zero\"", json->path,
                        norm);
    cfg->dim = cfg->num_heads * head_dim;
    cfg->has_null_class = true;
    cfg->time_shift = 1;
    cfg->mlp_norm_eps = (float)eps;
    return check(cfg, json, err);
}

static gen_status read_original(void *config, const gen_json *json, gen_error *err)
{
    dit_config *cfg = config;
    double dropout;
    bool learn_sigma;
    GEN_TRY(gen_json_int32(json, "in_channels", 4, 1, 4096, &cfg->in_channels, err));
    GEN_TRY(gen_json_int32(json, "input_size", 32, 1, 1 << 16, &cfg->sample_size, err));
    GEN_TRY(gen_json_int32(json, "patch_size", 2, 1, 256, &cfg->patch_size, err));
    GEN_TRY(gen_json_int32(json, "hidden_size", 1152, 4, 1 << 16, &cfg->dim, err));
    GEN_TRY(gen_json_int32(json, "depth", 28, 1, MAX_LAYERS, &cfg->num_layers, err));
    GEN_TRY(gen_json_int32(json, "num_heads", 16, 1, 1024, &cfg->num_heads, err));
    GEN_TRY(gen_json_int32(json, "num_classes", 1000, 1, 1 << 24, &cfg->num_classes, err));
    GEN_TRY(gen_json_double(json, "class_dropout_prob", 0.1, &dropout, err));
    GEN_TRY(gen_json_bool(json, "learn_sigma", true, &learn_sigma, err));
    cfg->out_channels = cfg->in_channels * (learn_sigma ? 2 : 1);
    cfg->has_null_class = dropout > 0;
    cfg->is_original = true;
    cfg->mlp_norm_eps = 1e-6f;
    return check(cfg, json, err);
}

static void describe(const void *config, gen_network_traits *traits)
{
    const dit_config *cfg = config;
    *traits = (gen_network_traits){
        .in_channels = cfg->in_channels,
        .out_channels = cfg->out_channels,
        .variance_channels = cfg->out_channels - cfg->in_channels,
        .guided_channels =
            cfg->is_original ? 3 : 0, /* "for exact reproducibility", says the code */
        .sample_height = cfg->sample_size,
        .sample_width = cfg->sample_size,
        .patch_height = cfg->patch_size,
        .patch_width = cfg->patch_size,
        .num_classes = cfg->num_classes,
        .null_class = cfg->has_null_class ? cfg->num_classes : -1,
        .defaults = {.num_inference_steps = cfg->is_original ? 250 : 50,
                     .guidance_scale = 4.0,
                     .scheduler = "GaussianDiffusion"},
    };
}

/* ---- blocks --------------------------------------------------------------------------------- */

/* What every block is given. */
typedef struct dit {
    gen_graph *g;
    const dit_config *cfg;
    gen_tensor *frequencies; /* [N,256] of the time */
    gen_tensor *class;       /* [N,1] */
} dit;

/* Time and class (sec. 3.2, "conditioning"), after SiLU.  The diffusers format has a copy of the
 * embedders in every block, the original one for all.  ->  [N,1,D] */
static gen_tensor *condition(const dit *m, gen_scope w)
{
    gen_graph *g = m->g;
    const gen_scope time = gen_sub(w, "timestep_embedder");
    gen_tensor *c = gen_silu(g, gen_linear(g, gen_sub(time, "linear_1"), m->frequencies));
    c = gen_name(g, time, gen_linear(g, gen_sub(time, "linear_2"), c));
    c = gen_reshape(g, c, GEN_DIMS(-1, 1, m->cfg->dim));
    gen_tensor *y = gen_embedding(g, gen_sub(w, "class_embedder.embedding_table"), m->class);
    return gen_silu(g, gen_add(g, c, y));
}

/* Plain multi-head self-attention.  x [N,T,D]  ->  [N,T,D] */
static gen_tensor *self_attention(const dit *m, gen_scope w, gen_tensor *x)
{
    gen_graph *g = m->g;
    gen_tensor *q = gen_project(g, gen_sub(w, "to_q"), x);
    gen_tensor *k = gen_project(g, gen_sub(w, "to_k"), x);
    gen_tensor *v = gen_project(g, gen_sub(w, "to_v"), x);
    gen_tensor *h = gen_attention(g, q, k, v, (gen_attention_options){.heads = m->cfg->num_heads});
    return gen_name(g, w, gen_linear(g, gen_sub(w, "to_out.0"), h));
}

static gen_tensor *mlp(const dit *m, gen_scope w, gen_tensor *x)
{
    gen_graph *g = m->g;
    x = gen_gelu_tanh(g, gen_linear(g, gen_sub(w, "net.0.proj"), x));
    return gen_linear(g, gen_sub(w, "net.2"), x);
}

/* DiT block with adaLN-Zero (fig. 3).  x [N,T,D], c [N,1,D]  ->  [N,T,D] */
static gen_tensor *block(const dit *m, gen_scope w, gen_tensor *x, gen_tensor *c)
{
    gen_graph *g = m->g;
    gen_tensor *p[6]; /* shift, scale, gate for attention, then for the MLP: each [N,1,D] */
    gen_chunk(g, gen_linear(g, gen_sub(w, "norm1.linear"), c), 6, p);

    gen_tensor *h = gen_modulate(g, gen_layer_norm(g, GEN_NO_AFFINE, x, 1e-6f), p[0], p[1]);
    h = self_attention(m, gen_sub(w, "attn1"), h);
    x = gen_add(g, x, gen_mul(g, h, p[2]));

    h = gen_layer_norm(g, GEN_NO_AFFINE, x, m->cfg->mlp_norm_eps);
    h = mlp(m, gen_sub(w, "ff"), gen_modulate(g, h, p[3], p[4]));
    return gen_name(g, w, gen_add(g, x, gen_mul(g, h, p[5])));
}

/* ---- the whole ------------------------------------------------------------------------------ */

static void record(gen_graph *g, gen_scope w, const void *config, const gen_network_shape *shape)
{
    const dit_config *cfg = config;
    const int64_t N = shape->batch, p = cfg->patch_size, base = cfg->sample_size / p;
    const gen_position_grid grid = {
        .height = shape->height / p, .width = shape->width / p, base, base};
    gen_tensor *x =
        gen_input(g, "sample", GEN_F32, GEN_DIMS(N, shape->height, shape->width, cfg->in_channels));
    gen_tensor *t = gen_input(g, "timestep", GEN_F32, GEN_DIMS(N));
    if (shape->height % p || shape->width % p) {
        gen_graph_fail(g, NULL, GEN_ERROR_ARGUMENT,
                       "latents of %" PRId64 "x%" PRId64 " are not whole patches of %" PRId64,
                       shape->height, shape->width, p);
        return;
    }
    const gen_sinusoid_options frequencies = {.flip_sin_to_cos = true,
                                              .freq_shift = cfg->time_shift};
    dit m = {.g = g,
             .cfg = cfg,
             .frequencies = gen_sinusoid(g, t, FREQUENCIES, frequencies),
             .class = gen_input(g, "class_labels", GEN_I32, GEN_DIMS(N, 1))};

    const gen_scope embed = gen_sub(w, "pos_embed");
    x = gen_conv2d(g, gen_sub(embed, "proj"), x, (gen_conv2d_options){.stride = (int)p});
    x = gen_reshape(g, x, GEN_DIMS(N, grid.height * grid.width, cfg->dim));
    x = gen_name(g, embed, gen_add_positions(g, w, x, &grid));

    gen_tensor *first = condition(&m, gen_sub(w, "transformer_blocks.0.norm1.emb"));
    for (int i = 0; i < cfg->num_layers; i++) {
        const gen_scope b = gen_subf(w, "transformer_blocks.%d", i), own = gen_sub(b, "norm1.emb");
        const bool has_own = i > 0 && gen_has(own, "class_embedder.embedding_table.weight");
        x = block(&m, b, x, has_own ? condition(&m, own) : first);
    }

    gen_tensor *shift_scale[2];
    gen_chunk(g, gen_linear(g, gen_sub(w, "proj_out_1"), first), 2, shift_scale);
    x = gen_modulate(g, gen_layer_norm(g, GEN_NO_AFFINE, x, 1e-6f), shift_scale[0], shift_scale[1]);
    x = gen_linear(g, gen_sub(w, "proj_out_2"), x);
    gen_output(g, gen_unpatchify(g, x, grid.height, grid.width, p), "sample_out");
}

const gen_network_class gen_dit_network = {
    .class_name = "DiTTransformer2DModel",
    .config_size = sizeof(dit_config),
    .read_config = read_diffusers,
    .describe = describe,
    .record = record,
};

/* The same under the settings of the original code. */
const gen_network_class gen_dit_original_network = {
    .class_name = "DiT",
    .config_size = sizeof(dit_config),
    .read_config = read_original,
    .describe = describe,
    .record = record,
};
