/* rwkv.c - Diffusion-RWKV (Fei et al. 2024): the frame of a DiT whose tokens are mixed by a
 * bidirectional WKV instead of attention, so that time grows linearly with their number.
 *
 * Blocks form a U: what goes into the first half comes back, last in first out, in the second. */
#include "dit/dit.h"

#include <inttypes.h>
#include <string.h>

#include "gen/core/nn.h"
#include "gen/core/patches.h"

enum { MAX_DEPTH = 256 };

typedef struct rwkv_config {
    int in_channels, out_channels;
    int sample_size; /* side of the latents or pixels it was trained on */
    int patch_size, embed_dim, depth;
    int num_classes; /* 0: unconditional; the null class is num_classes */
    int guided_channels;
    gen_wkv_form form;
} rwkv_config;

/* ---- configuration -------------------------------------------------------------------------- */

static gen_status read_config(void *config, const gen_json *json, gen_error *err)
{
    rwkv_config *cfg = config;
    bool learn_sigma;
    const char *form;
    GEN_TRY(gen_json_int32(json, "channels", 4, 1, 4096, &cfg->in_channels, err));
    GEN_TRY(gen_json_int32(json, "img_size", 32, 1, 1 << 16, &cfg->sample_size, err));
    GEN_TRY(gen_json_int32(json, "patch_size", 2, 1, 256, &cfg->patch_size, err));
    GEN_TRY(gen_json_int32(json, "embed_dim", 768, 1, 1 << 16, &cfg->embed_dim, err));
    GEN_TRY(gen_json_int32(json, "depth", 25, 1, MAX_DEPTH, &cfg->depth, err));
    GEN_TRY(gen_json_int32(json, "num_classes", -1, -1, 1 << 24, &cfg->num_classes, err));
    /* three, as the published sampling code, which knows no other latents than those of four */
    const int channels = cfg->in_channels;
    GEN_TRY(gen_json_int32(json, "guided_channels", channels < 3 ? channels : 3, 0, channels,
                           &cfg->guided_channels, err));
    GEN_TRY(gen_json_bool(json, "learn_sigma", true, &learn_sigma, err));
    GEN_TRY(gen_json_string(json, "wkv_form", "kernel", &form, err));
    if (strcmp(form, "kernel") != 0 && strcmp(form, "paper") != 0)
        return gen_fail(err, json->on_error,
                        "%s: \"wkv_form\" is \"%s\", expected \"kernel\" or \"paper\"", json->path,
                        form);
    cfg->out_channels = cfg->in_channels * (learn_sigma ? 2 : 1);
    cfg->num_classes = cfg->num_classes > 0 ? cfg->num_classes : 0; /* -1 and 0: none */
    cfg->form = strcmp(form, "paper") == 0 ? GEN_WKV_PAPER : GEN_WKV_SEGMENTED;
    return GEN_OK;
}

static void describe(const void *config, gen_network_traits *traits)
{
    const rwkv_config *cfg = config;
    *traits = (gen_network_traits){
        .in_channels = cfg->in_channels,
        .out_channels = cfg->out_channels,
        .sample_height = cfg->sample_size,
        .sample_width = cfg->sample_size,
        .patch_height = cfg->patch_size,
        .patch_width = cfg->patch_size,
        .has_fixed_size = true, /* a learned position for every token */
        .num_classes = cfg->num_classes,
        .null_class = cfg->num_classes,
        .variance_channels = cfg->out_channels - cfg->in_channels,
        .guided_channels = cfg->guided_channels,
        .defaults = {.num_inference_steps = 250,
                     .guidance_scale = 1.5,
                     .scheduler = "GaussianDiffusion"},
    };
}

/* ---- blocks --------------------------------------------------------------------------------- */

/* What every block is given. */
typedef struct rwkv {
    gen_graph *g;
    const rwkv_config *cfg;
    int64_t height, width; /* of the grid of tokens */
    gen_tensor *c;         /* [N,1,D] time and class embedding, after SiLU */
} rwkv;

/* Token shift on the grid (sec. 3.2): the first quarter of the channels is taken from the token on
 * the left, the next from the right, from above, from below; zeros come in at the border.
 * x [N,T,D]  ->  [N,T,D] */
static gen_tensor *q_shift(const rwkv *m, gen_tensor *x)
{
    static const struct {
        int axis, from;
    } shifts[4] = {{2, -1}, {2, 1}, {1, -1}, {1, 1}};
    gen_graph *g = m->g;
    const int64_t N = x->dims[0], T = x->dims[1], D = x->dims[2], quarter = D / 4;
    gen_tensor *parts[5];
    int count = 0;
    if (quarter == 0)
        return x;
    x = gen_reshape(g, x, GEN_DIMS(N, m->height, m->width, D));
    for (; count < 4; count++)
        parts[count] =
            gen_window(g, gen_slice(g, x, count * quarter, quarter), shifts[count].axis,
                       shifts[count].from, shifts[count].axis == 2 ? m->width : m->height);
    if (D % 4)
        parts[count++] = gen_slice(g, x, 4 * quarter, D % 4);
    return gen_reshape(g, gen_concat(g, -1, count, parts), GEN_DIMS(N, T, D));
}

/* mu x + (1 - mu) shifted, given x - shifted. */
static gen_tensor *mix(const rwkv *m, gen_scope w, const char *mu, gen_tensor *shifted,
                       gen_tensor *difference)
{
    gen_tensor *part = gen_mul(m->g, difference, gen_parameter(m->g, w, mu));
    return gen_add(m->g, shifted, part);
}

/* Spatial mix (eq. 8-11).  x [N,T,D]  ->  [N,T,D] */
static gen_tensor *spatial_mix(const rwkv *m, gen_scope w, gen_tensor *x)
{
    gen_graph *g = m->g;
    gen_tensor *shifted = q_shift(m, x), *difference = gen_sub_tensors(g, x, shifted);
    gen_tensor *r =
        gen_project(g, gen_sub(w, "receptance"), mix(m, w, "spatial_mix_r", shifted, difference));
    gen_tensor *k =
        gen_project(g, gen_sub(w, "key"), mix(m, w, "spatial_mix_k", shifted, difference));
    gen_tensor *v =
        gen_project(g, gen_sub(w, "value"), mix(m, w, "spatial_mix_v", shifted, difference));
    /* decay and bonus are trained in units of the whole sequence, and used without exp() */
    const float per_token = 1.0f / (float)(m->height * m->width);
    gen_tensor *decay = gen_affine(g, gen_parameter(g, w, "spatial_decay"), per_token, 0.0f);
    gen_tensor *first = gen_affine(g, gen_parameter(g, w, "spatial_first"), per_token, 0.0f);
    gen_tensor *y = gen_wkv(g, m->cfg->form, decay, first, k, v);
    y = gen_mul(g, gen_activation(g, GEN_ACT_SIGMOID, r), y);
    return gen_name(g, w, gen_project(g, gen_sub(w, "output"), y));
}

/* Channel mix (eq. 12-14).  x [N,T,D]  ->  [N,T,D], inner width 4D */
static gen_tensor *channel_mix(const rwkv *m, gen_scope w, gen_tensor *x)
{
    gen_graph *g = m->g;
    gen_tensor *shifted = q_shift(m, x), *difference = gen_sub_tensors(g, x, shifted);
    gen_tensor *k =
        gen_project(g, gen_sub(w, "key"), mix(m, w, "spatial_mix_k", shifted, difference));
    gen_tensor *r =
        gen_project(g, gen_sub(w, "receptance"), mix(m, w, "spatial_mix_r", shifted, difference));
    k = gen_relu(g, k);
    k = gen_project(g, gen_sub(w, "value"), gen_mul(g, k, k));
    return gen_mul(g, gen_activation(g, GEN_ACT_SIGMOID, r), k);
}

/* adaLN block (sec. 3.3): shift, scale and gate of the two mixes come from the condition. */
static gen_tensor *block(const rwkv *m, gen_scope w, gen_tensor *x)
{
    gen_graph *g = m->g;
    gen_tensor *p[6];
    gen_chunk(g, gen_linear(g, gen_sub(w, "adaLN_modulation.1"), m->c), 6, p);
    if (gen_has(w, "ln0.weight")) /* of the first block only */
        x = gen_layer_norm(g, gen_sub(w, "ln0"), x, 1e-5f);
    gen_tensor *h = gen_layer_norm(g, gen_sub(w, "ln1"), x, 1e-5f);
    h = spatial_mix(m, gen_sub(w, "att"), gen_modulate(g, h, p[0], p[1]));
    x = gen_add(g, x, gen_mul(g, h, p[2]));
    h = gen_layer_norm(g, gen_sub(w, "ln2"), x, 1e-5f);
    h = channel_mix(m, gen_sub(w, "ffn"), gen_modulate(g, h, p[3], p[4]));
    return gen_name(g, w, gen_add(g, x, gen_mul(g, h, p[5])));
}

/* ---- the whole ------------------------------------------------------------------------------ */

/* The condition [N,1,D]: time, and the class where the model knows classes. */
static gen_tensor *condition(gen_graph *g, gen_scope w, const rwkv_config *cfg, int64_t N)
{
    const gen_scope time = gen_sub(w, "time_embed");
    gen_tensor *t = gen_input(g, "timestep", GEN_F32, GEN_DIMS(N));
    gen_tensor *c = gen_sinusoid(g, t, 256, (gen_sinusoid_options){.flip_sin_to_cos = true});
    c = gen_silu(g, gen_linear(g, gen_sub(time, "mlp.0"), c));
    c = gen_name(g, time, gen_linear(g, gen_sub(time, "mlp.2"), c));
    c = gen_reshape(g, c, GEN_DIMS(N, 1, cfg->embed_dim));
    if (cfg->num_classes) {
        gen_tensor *y = gen_input(g, "class_labels", GEN_I32, GEN_DIMS(N, 1));
        c = gen_add(g, c, gen_embedding(g, gen_sub(w, "label_emb.embedding_table"), y));
    }
    return gen_silu(g, c);
}

static void record(gen_graph *g, gen_scope w, const void *config, const gen_network_shape *shape)
{
    const rwkv_config *cfg = config;
    const int64_t N = shape->batch, p = cfg->patch_size;
    gen_tensor *x =
        gen_input(g, "sample", GEN_F32, GEN_DIMS(N, shape->height, shape->width, cfg->in_channels));
    if (shape->height % p || shape->width % p) {
        gen_graph_fail(g, NULL, GEN_ERROR_ARGUMENT,
                       "latents of %" PRId64 "x%" PRId64 " are not whole patches of %" PRId64,
                       shape->height, shape->width, p);
        return;
    }
    rwkv m = {.g = g, .cfg = cfg, .height = shape->height / p, .width = shape->width / p};
    gen_tensor *skips[MAX_DEPTH / 2 + 1];
    const int half = cfg->depth / 2;
    m.c = condition(g, w, cfg, N);
    x = gen_conv2d(g, gen_sub(w, "patch_embed.proj"), x, (gen_conv2d_options){.stride = (int)p});
    x = gen_reshape(g, x, GEN_DIMS(N, m.height * m.width, cfg->embed_dim));
    x = gen_add(g, x, gen_parameter(g, w, "pos_embed"));
    for (int i = 0; i < half; i++)
        skips[i] = x = block(&m, gen_subf(w, "in_blocks.%d", i), x);
    x = block(&m, gen_sub(w, "mid_block"), x);
    for (int i = 0; i < half; i++) {
        const gen_scope b = gen_subf(w, "out_blocks.%d", i);
        gen_tensor *const both[2] = {x, skips[half - 1 - i]};
        x = gen_linear(g, gen_sub(b, "skip_linear"), gen_concat(g, -1, 2, both));
        x = block(&m, b, x);
    }
    x = gen_layer_norm(g, gen_sub(w, "norm_f"), x, 1e-5f);

    const gen_scope last = gen_sub(w, "final_layer");
    gen_tensor *shift_scale[2];
    gen_chunk(g, gen_linear(g, gen_sub(last, "adaLN_modulation.1"), m.c), 2, shift_scale);
    x = gen_modulate(g, gen_layer_norm(g, GEN_NO_AFFINE, x, 1e-6f), shift_scale[0], shift_scale[1]);
    x = gen_name(g, last, gen_linear(g, gen_sub(last, "linear"), x));
    gen_output(g, gen_unpatchify(g, x, m.height, m.width, p), "sample_out");
}

const gen_network_class gen_rwkv_network = {
    .class_name = "DiffRWKVModel",
    .config_size = sizeof(rwkv_config),
    .read_config = read_config,
    .describe = describe,
    .record = record,
};
