/* wan.c - Wan 2.1 and 2.2 (Wan team 2025): a transformer over the tokens of a clip, with attention
 * to the text and, in the image-to-video models, to a picture.
 *
 * Names are those of the diffusers format.  Residuals, norms and modulation are f32 throughout. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "dit/dit.h"
#include "gen/core/nn.h"

enum { MAX_LAYERS = 512 };

typedef struct wan_config {
    int in_channels, out_channels;
    int dim, num_heads, num_layers;
    int patch[2]; /* height, width; one frame deep */
    int freq_dim, text_dim, text_len;
    int image_dim;          /* width of the picture's features; 0: takes none */
    bool takes_first_frame; /* 2.2: its latents are given, with a time of their own */
    float eps;
} wan_config;

/* ---- configuration -------------------------------------------------------------------------- */

/* The names of the two formats for the same settings. */
typedef struct wan_keys {
    const char *in_channels, *out_channels;
} wan_keys;

static gen_status read_patch(wan_config *cfg, const gen_json *json, gen_error *err)
{
    int64_t patch[3] = {1, 2, 2};
    int count;
    GEN_TRY(gen_json_int_list(json, "patch_size", 3, 1, 64, patch, &count, err));
    if ((count != 3 && count != 0) || patch[0] != 1)
        return gen_fail(err, json->on_error,
                        "%s: \"patch_size\" is not one frame, height and width", json->path);
    cfg->patch[0] = (int)patch[1];
    cfg->patch[1] = (int)patch[2];
    return GEN_OK;
}

/* What both formats name alike, then the check that heads divide the width. */
static gen_status read_common(wan_config *cfg, const wan_keys *keys, const gen_json *json,
                              gen_error *err)
{
    double eps;
    GEN_TRY(gen_json_int32(json, keys->in_channels, 16, 1, 4096, &cfg->in_channels, err));
    GEN_TRY(gen_json_int32(json, keys->out_channels, 16, 1, 4096, &cfg->out_channels, err));
    GEN_TRY(gen_json_int32(json, "freq_dim", 256, 2, 1 << 16, &cfg->freq_dim, err));
    GEN_TRY(gen_json_int32(json, "text_dim", 4096, 1, 1 << 16, &cfg->text_dim, err));
    GEN_TRY(gen_json_int32(json, "text_len", 512, 1, 1 << 16, &cfg->text_len, err));
    GEN_TRY(gen_json_int32(json, "num_layers", 30, 1, MAX_LAYERS, &cfg->num_layers, err));
    GEN_TRY(gen_json_double(json, "eps", 1e-6, &eps, err));
    GEN_TRY(read_patch(cfg, json, err));
    cfg->eps = (float)eps;
    cfg->takes_first_frame =
        cfg->in_channels == 48; /* of single files: only that one has so many */
    if (cfg->dim % cfg->num_heads || cfg->dim / cfg->num_heads % 2)
        return gen_fail(err, json->on_error,
                        "%s: %d heads do not divide a width of %d into pairs of channels",
                        json->path, cfg->num_heads, cfg->dim);
    return GEN_OK;
}

static gen_status read_diffusers(void *config, const gen_json *json, gen_error *err)
{
    wan_config *cfg = config;
    static const wan_keys keys = {"in_channels", "out_channels"};
    int head_dim;
    GEN_TRY(gen_json_int32(json, "num_attention_heads", 40, 1, 1024, &cfg->num_heads, err));
    GEN_TRY(gen_json_int32(json, "attention_head_dim", 128, 2, 4096, &head_dim, err));
    GEN_TRY(gen_json_int32(json, "image_dim", 0, 0, 1 << 16, &cfg->image_dim, err));
    cfg->dim = cfg->num_heads * head_dim;
    return read_common(cfg, &keys, json, err);
}

static gen_status read_original(void *config, const gen_json *json, gen_error *err)
{
    wan_config *cfg = config;
    static const wan_keys keys = {"in_dim", "out_dim"};
    const char *type;
    GEN_TRY(gen_json_int32(json, "num_heads", 16, 1, 1024, &cfg->num_heads, err));
    GEN_TRY(gen_json_int32(json, "dim", 2048, 2, 1 << 17, &cfg->dim, err));
    GEN_TRY(gen_json_string(json, "model_type", "t2v", &type, err));
    cfg->image_dim = strcmp(type, "i2v") == 0 || strcmp(type, "flf2v") == 0 ? 1280 : 0;
    return read_common(cfg, &keys, json, err);
}

static void read_index(void *config, const gen_json *index)
{
    wan_config *cfg = config;
    gen_json_bool(index, "expand_timesteps", cfg->takes_first_frame, &cfg->takes_first_frame, NULL);
}

/* Weights of rCM, which take one to four steps, store the patch embedding as a matrix. */
static const char *scheduler_of(gen_scope w)
{
    const gen_weight *patch = gen_scope_find(w, "patch_embedding.weight");
    return patch && patch->rank == 2 ? "rCM" : NULL;
}

static void describe(const void *config, gen_network_traits *traits)
{
    const wan_config *cfg = config;
    *traits = (gen_network_traits){
        .in_channels = cfg->in_channels,
        .out_channels = cfg->out_channels,
        .is_video = true,
        .patch_height = cfg->patch[0],
        .patch_width = cfg->patch[1],
        .context_dim = cfg->text_dim,
        .num_context_tokens = cfg->text_len,
        .image_dim = cfg->image_dim,
        .takes_first_frame = cfg->takes_first_frame,
        .defaults = {.num_inference_steps = 50,
                     .guidance_scale = 5.0,
                     .scheduler = "UniPCMultistepScheduler",
                     .flow_shift = 5.0,
                     .has_whole_times = true,
                     .width = 832,
                     .height = 480,
                     .num_frames = 81,
                     .frames_per_second = 16.0},
    };
}

/* ---- position ------------------------------------------------------------------------------- */

/* Channels of a head that tell frame, row and column. */
static void rope_split(int head_dim, int split[3])
{
    split[1] = split[2] = 2 * (head_dim / 6);
    split[0] = head_dim - split[1] - split[2];
}

/* The table of gen_rope(): row (f, y, x) has the pairs of the frame, then of the row, then of the
 * column, at frequencies 10000^(-2i/d) of the d channels of each; positions count from 0. */
static float *rope_values(int head_dim, const int64_t size[3])
{
    const int64_t tokens = size[0] * size[1] * size[2];
    float *table = gen_malloc((size_t)(tokens * head_dim) * sizeof *table), *out = table;
    int split[3];
    if (!table)
        return NULL;
    rope_split(head_dim, split);
    for (int64_t t = 0; t < tokens; t++) {
        const int64_t at[3] = {t / (size[1] * size[2]), t / size[2] % size[1], t % size[2]};
        for (int axis = 0; axis < 3; axis++)
            for (int i = 0; i < split[axis]; i += 2) {
                const double theta = pow(10000.0, -(double)i / split[axis]);
                *out++ = (float)cos((double)at[axis] * theta);
                *out++ = (float)sin((double)at[axis] * theta);
            }
    }
    return table;
}

static gen_tensor *rope_table(gen_graph *g, gen_scope w, int head_dim, const int64_t size[3])
{
    char name[128];
    snprintf(name, sizeof name, "rope %" PRId64 "x%" PRId64 "x%" PRId64 " of %d", size[0], size[1],
             size[2], head_dim);
    gen_tensor *table = gen_constant(g, w, name);
    return table ? table
                 : gen_constant_new(g, w, name, GEN_DIMS(size[0] * size[1] * size[2], head_dim),
                                    rope_values(head_dim, size));
}

/* ---- blocks --------------------------------------------------------------------------------- */

/* What every block is given. */
typedef struct wan {
    gen_graph *g;
    const wan_config *cfg;
    int64_t num_times; /* time values of a sample: each is for as many tokens of it */
    gen_tensor *e0;    /* [N,num_times,1,6D] */
    gen_tensor *rope;  /* [T,head_dim] */
    gen_tensor *text;  /* [N,L,D] */
    gen_tensor *image; /* [N,S,D], or NULL */
} wan;

/* x (1 + scale) + shift with a row of scale and shift for each time.  x [N,T,D] */
static gen_tensor *modulate(const wan *m, gen_tensor *x, gen_tensor *shift, gen_tensor *scale)
{
    const int64_t N = x->dims[0], T = x->dims[1], D = x->dims[2];
    x = gen_reshape(m->g, x, GEN_DIMS(N, m->num_times, T / m->num_times, D));
    return gen_reshape(m->g, gen_modulate(m->g, x, shift, scale), GEN_DIMS(N, T, D));
}

/* x + gate h */
static gen_tensor *add_gated(const wan *m, gen_tensor *x, gen_tensor *gate, gen_tensor *h)
{
    const int64_t N = h->dims[0], T = h->dims[1], D = h->dims[2];
    h = gen_reshape(m->g, h, GEN_DIMS(N, m->num_times, T / m->num_times, D));
    h = gen_reshape(m->g, gen_mul(m->g, h, gate), GEN_DIMS(N, T, D));
    return gen_add(m->g, x, h);
}

/* A projection, and the RMS norm over all heads together. */
static gen_tensor *normed(const wan *m, gen_scope w, const char *to, const char *norm,
                          gen_tensor *x)
{
    gen_tensor *y = gen_linear(m->g, gen_sub(w, to), x);
    return gen_has(gen_sub(w, norm), "weight")
               ? gen_rms_norm(m->g, gen_sub(w, norm), y, m->cfg->eps)
               : y;
}

/* Attention of all tokens of the clip to each other, rotated by their place in it. */
static gen_tensor *self_attention(const wan *m, gen_scope w, gen_tensor *x)
{
    gen_graph *g = m->g;
    const int heads = m->cfg->num_heads;
    gen_tensor *q = gen_rope(g, normed(m, w, "to_q", "norm_q", x), heads, m->rope);
    gen_tensor *k = gen_rope(g, normed(m, w, "to_k", "norm_k", x), heads, m->rope);
    gen_tensor *v = gen_linear(g, gen_sub(w, "to_v"), x);
    gen_tensor *h = gen_attention(g, q, k, v, (gen_attention_options){.heads = heads});
    return gen_name(g, w, gen_linear(g, gen_sub(w, "to_out.0"), h));
}

/* Attention to the text and, beside it, to the picture; the two are added. */
static gen_tensor *cross_attention(const wan *m, gen_scope w, gen_tensor *x)
{
    gen_graph *g = m->g;
    const gen_attention_options options = {.heads = m->cfg->num_heads};
    gen_tensor *q = normed(m, w, "to_q", "norm_q", x);
    gen_tensor *k = normed(m, w, "to_k", "norm_k", m->text);
    gen_tensor *v = gen_linear(g, gen_sub(w, "to_v"), m->text);
    gen_tensor *h = gen_attention(g, q, k, v, options);
    if (m->image) {
        k = normed(m, w, "add_k_proj", "norm_added_k", m->image);
        v = gen_linear(g, gen_sub(w, "add_v_proj"), m->image);
        h = gen_add(g, h, gen_attention(g, q, k, v, options));
    }
    return gen_name(g, w, gen_linear(g, gen_sub(w, "to_out.0"), h));
}

/* One block (fig. 9).  x [N,T,D]  ->  [N,T,D] */
static gen_tensor *block(const wan *m, gen_scope w, gen_tensor *x)
{
    gen_graph *g = m->g;
    const float eps = m->cfg->eps;
    gen_tensor *table = gen_parameter(g, w, "scale_shift_table"), *p[6];
    table = gen_reshape(g, table, GEN_DIMS(1, 1, 1, 6 * m->cfg->dim));
    gen_chunk(g, gen_add(g, m->e0, table), 6, p);

    gen_tensor *h = modulate(m, gen_layer_norm(g, GEN_NO_AFFINE, x, eps), p[0], p[1]);
    x = add_gated(m, x, p[2], self_attention(m, gen_sub(w, "attn1"), h));

    h = gen_has(w, "norm2.weight") ? gen_layer_norm(g, gen_sub(w, "norm2"), x, eps) : x;
    x = gen_add(g, x, cross_attention(m, gen_sub(w, "attn2"), h));

    const gen_scope ffn = gen_sub(w, "ffn");
    h = modulate(m, gen_layer_norm(g, GEN_NO_AFFINE, x, eps), p[3], p[4]);
    h = gen_gelu_tanh(g, gen_linear(g, gen_sub(ffn, "net.0.proj"), h));
    h = gen_name(g, ffn, gen_linear(g, gen_sub(ffn, "net.2"), h));
    return gen_name(g, w, add_gated(m, x, p[5], h));
}

/* ---- conditions ----------------------------------------------------------------------------- */

/* Sets e0 for the blocks; returns e [N,num_times,1,D] for the head. */
static gen_tensor *embed_time(wan *m, gen_scope w, int64_t N)
{
    gen_graph *g = m->g;
    const gen_scope time = gen_sub(w, "time_embedder");
    gen_tensor *t = gen_input(g, "timestep", GEN_F32, GEN_DIMS(N * m->num_times));
    gen_tensor *e =
        gen_sinusoid(g, t, m->cfg->freq_dim, (gen_sinusoid_options){.flip_sin_to_cos = true});
    e = gen_silu(g, gen_linear(g, gen_sub(time, "linear_1"), e));
    e = gen_name(g, time, gen_linear(g, gen_sub(time, "linear_2"), e));
    gen_tensor *e0 = gen_linear(g, gen_sub(w, "time_proj"), gen_silu(g, e));
    m->e0 = gen_reshape(g, e0, GEN_DIMS(N, m->num_times, 1, 6 * m->cfg->dim));
    return gen_reshape(g, e, GEN_DIMS(N, m->num_times, 1, m->cfg->dim));
}

static gen_tensor *embed_text(gen_graph *g, gen_scope w, gen_tensor *text)
{
    text = gen_gelu_tanh(g, gen_linear(g, gen_sub(w, "linear_1"), text));
    return gen_name(g, w, gen_linear(g, gen_sub(w, "linear_2"), text));
}

/* Features of one picture, or of the first and the last with a position for each row. */
static gen_tensor *embed_image(gen_graph *g, gen_scope w, gen_tensor *x)
{
    if (gen_has(w, "pos_embed"))
        x = gen_add(g, x, gen_parameter(g, w, "pos_embed"));
    x = gen_layer_norm(g, gen_sub(w, "norm1"), x, 1e-5f);
    x = gen_gelu(g, gen_linear(g, gen_sub(w, "ff.net.0.proj"), x));
    x = gen_linear(g, gen_sub(w, "ff.net.2"), x);
    return gen_name(g, w, gen_layer_norm(g, gen_sub(w, "norm2"), x, 1e-5f));
}

/* ---- the whole ------------------------------------------------------------------------------ */

/* [N,F,H,W,C] as tokens [N,T,D]; size is that of the grid of tokens. */
static gen_tensor *patchify(const wan *m, gen_scope w, gen_tensor *x, const int64_t size[3])
{
    const int *p = m->cfg->patch;
    const int64_t N = x->dims[0];
    x = gen_reshape(m->g, x, GEN_DIMS(N * size[0], x->dims[2], x->dims[3], x->dims[4]));
    x = gen_conv3d(m->g, w, (const int[]){1, p[0], p[1]}, x, (gen_conv2d_options){.stride = p[0]});
    return gen_reshape(m->g, x, GEN_DIMS(N, size[0] * size[1] * size[2], m->cfg->dim));
}

static gen_tensor *unpatchify(const wan *m, gen_tensor *x, const int64_t size[3])
{
    const int *p = m->cfg->patch;
    const int64_t N = x->dims[0], C = m->cfg->out_channels;
    x = gen_reshape(m->g, x, GEN_DIMS(N * size[0], size[1], size[2], p[0], p[1], C));
    x = gen_permute(m->g, x, 6, (const int[]){0, 1, 3, 2, 4, 5});
    return gen_reshape(m->g, x, GEN_DIMS(N, size[0], size[1] * p[0], size[2] * p[1], C));
}

static bool check_shape(gen_graph *g, const wan_config *cfg, const gen_network_shape *shape)
{
    const int64_t tokens =
        shape->num_frames * shape->height * shape->width / (cfg->patch[0] * cfg->patch[1]);
    if (cfg->patch[0] != cfg->patch[1] || shape->height % cfg->patch[0] ||
        shape->width % cfg->patch[1]) {
        gen_graph_fail(g, NULL, GEN_ERROR_ARGUMENT,
                       "latents of %" PRId64 "x%" PRId64 " are not whole patches of %dx%d",
                       shape->height, shape->width, cfg->patch[0], cfg->patch[1]);
        return false;
    }
    if (shape->num_times > 1 && tokens % shape->num_times) {
        gen_graph_fail(g, NULL, GEN_ERROR_INTERNAL, "%" PRId64 " times for %" PRId64 " tokens",
                       shape->num_times, tokens);
        return false;
    }
    return true;
}

static void record(gen_graph *g, gen_scope w, const void *config, const gen_network_shape *shape)
{
    const wan_config *cfg = config;
    const int64_t N = shape->batch;
    const int64_t size[3] = {shape->num_frames, shape->height / cfg->patch[0],
                             shape->width / cfg->patch[1]};
    if (!check_shape(g, cfg, shape))
        return;
    const gen_scope conditions = gen_sub(w, "condition_embedder");
    wan m = {.g = g, .cfg = cfg, .num_times = shape->num_times ? shape->num_times : 1};
    gen_tensor *x =
        gen_input(g, "sample", GEN_F32,
                  GEN_DIMS(N, shape->num_frames, shape->height, shape->width, cfg->in_channels));
    gen_tensor *text = gen_input(g, "encoder_hidden_states", GEN_F32,
                                 GEN_DIMS(N, shape->num_tokens, cfg->text_dim));
    gen_tensor *e = embed_time(&m, conditions, N);
    m.text = embed_text(g, gen_sub(conditions, "text_embedder"), text);
    const gen_scope embedder = gen_sub(conditions, "image_embedder");
    const gen_weight *first =
        gen_scope_find(embedder, "norm1.weight"); /* as wide as the features */
    if (first && !shape->num_image_tokens) {
        gen_graph_fail(g, NULL, GEN_ERROR_MODEL,
                       "%s: this network looks at a picture, but its configuration has no "
                       "\"image_dim\"",
                       first->file);
        return;
    }
    const gen_weight *places = gen_scope_find(embedder, "pos_embed");
    if (places && places->rank == 3 && places->dims[1] != shape->num_image_tokens) {
        gen_graph_fail(g, NULL, GEN_ERROR_MODEL,
                       "%s: this network looks at the first and the last frame, gen gives it the "
                       "first only",
                       places->file);
        return;
    }
    if (first) {
        gen_tensor *image = gen_input(g, "encoder_hidden_states_image", GEN_F32,
                                      GEN_DIMS(N, shape->num_image_tokens, first->dims[0]));
        m.image = embed_image(g, embedder, image);
    }
    m.rope = rope_table(g, w, cfg->dim / cfg->num_heads, size);

    x = patchify(&m, gen_sub(w, "patch_embedding"), x, size);
    for (int i = 0; i < cfg->num_layers; i++)
        x = block(&m, gen_subf(w, "blocks.%d", i), x);

    gen_tensor *table = gen_parameter(g, w, "scale_shift_table"), *shift_scale[2];
    table = gen_reshape(g, table, GEN_DIMS(1, 1, 1, 2 * cfg->dim));
    gen_chunk(g, table, 2, shift_scale);
    for (int i = 0; i < 2; i++)
        shift_scale[i] = gen_add(g, e, shift_scale[i]);
    x = modulate(&m, gen_layer_norm(g, GEN_NO_AFFINE, x, cfg->eps), shift_scale[0], shift_scale[1]);
    x = gen_linear(g, gen_sub(w, "proj_out"), x);
    gen_output(g, unpatchify(&m, x, size), "sample_out");
}

const gen_network_class gen_wan_network = {
    .class_name = "WanTransformer3DModel",
    .config_size = sizeof(wan_config),
    .read_config = read_diffusers,
    .read_index = read_index,
    .describe = describe,
    .scheduler_of = scheduler_of,
    .record = record,
};

/* The same under the settings of the original code. */
const gen_network_class gen_wan_original_network = {
    .class_name = "WanModel",
    .config_size = sizeof(wan_config),
    .read_config = read_original,
    .read_index = read_index,
    .describe = describe,
    .scheduler_of = scheduler_of,
    .record = record,
};
