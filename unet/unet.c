/* unet.c - the UNet as a graph: blocks from the inside out, then forward. */
#include "unet/unet.h"

#include <inttypes.h>

#include "gen/core/nn.h"

/* What every block is given. */
typedef struct unet {
    gen_graph *g;
    const gen_unet_config *cfg;
    gen_tensor *temb;    /* [N,1,1,E] time, class and added embeddings */
    gen_tensor *context; /* [N,T,D] text */
} unet;

static gen_conv2d_options same_size(int kernel)
{
    const int pad = (kernel - 1) / 2;
    return (gen_conv2d_options){
        .stride = 1, .pad_top = pad, .pad_left = pad, .pad_bottom = pad, .pad_right = pad};
}

/* ---- blocks --------------------------------------------------------------------------------- */

/* Residual block (Ho et al. 2020, app. B).  The time embedding is added before norm2, or, with
 * uses_scale_shift, scales and shifts what norm2 gives (Dhariwal & Nichol 2021, eq. 3).
 *   x [N,H,W,Cin]  ->  [N,H,W,Cout]; Cout is the width of conv1 */
static gen_tensor *resnet_block(const unet *u, gen_scope w, gen_tensor *x, float output_scale)
{
    gen_graph *g = u->g;
    const gen_unet_config *cfg = u->cfg;
    gen_tensor *t = gen_linear(g, gen_sub(w, "time_emb_proj"),
                               gen_activation(g, cfg->act_fn, u->temb)); /* [N,1,1,Cout] */

    gen_tensor *h = gen_group_norm(g, gen_sub(w, "norm1"), x, cfg->norm_num_groups, cfg->norm_eps);
    h = gen_activation(g, cfg->act_fn, h);
    if (gen_has(w, "conv_shortcut.weight")) /* Cin != Cout; early, for x to be freed early */
        x = gen_conv2d(g, gen_sub(w, "conv_shortcut"), x, GEN_CONV_1X1);
    h = gen_conv2d(g, gen_sub(w, "conv1"), h, GEN_CONV_3X3);

    if (!cfg->uses_scale_shift)
        h = gen_add(g, h, t);
    h = gen_group_norm(g, gen_sub(w, "norm2"), h, cfg->norm_num_groups, cfg->norm_eps);
    if (cfg->uses_scale_shift) {
        gen_tensor *scale_shift[2];
        gen_chunk(g, t, 2, scale_shift);
        h = gen_modulate(g, h, scale_shift[1], scale_shift[0]);
    }
    h = gen_activation(g, cfg->act_fn, h);
    h = gen_conv2d(g, gen_sub(w, "conv2"), h, GEN_CONV_3X3);
    h = gen_add(g, x, h);
    return gen_name(g, w, output_scale == 1 ? h : gen_affine(g, h, 1 / output_scale, 0));
}

/* Multi-head attention of x [N,T,C] to y [N,S,D] (to x itself where y is x). */
static gen_tensor *attention(const unet *u, gen_scope w, int num_heads, gen_tensor *x,
                             gen_tensor *y)
{
    gen_graph *g = u->g;
    gen_tensor *q = gen_project(g, gen_sub(w, "to_q"), x);
    gen_tensor *k = gen_project(g, gen_sub(w, "to_k"), y);
    gen_tensor *v = gen_project(g, gen_sub(w, "to_v"), y);
    gen_tensor *h = gen_attention(g, q, k, v, (gen_attention_options){.heads = num_heads});
    return gen_linear(g, gen_sub(w, "to_out.0"), h);
}

/* Feed-forward with a gated unit (Shazeer 2020): the first half of proj is the value, the second
 * goes through the exact GELU.  h [N,T,C]  ->  [N,T,C], inner width 4C */
static gen_tensor *feed_forward(const unet *u, gen_scope w, gen_tensor *h)
{
    gen_graph *g = u->g;
    h = gen_glu(g, GEN_ACT_GELU, gen_linear(g, gen_sub(w, "net.0.proj"), h));
    return gen_linear(g, gen_sub(w, "net.2"), h);
}

/* Transformer block (Rombach et al. 2022, app. E.2.1): self-attention, attention to the text,
 * feed-forward, each on a normalised copy and added back.  h [N,T,C]  ->  [N,T,C] */
static gen_tensor *transformer_block(const unet *u, gen_scope w, int num_heads,
                                     bool only_cross_attention, gen_tensor *h)
{
    gen_graph *g = u->g;
    gen_tensor *n = gen_layer_norm(g, gen_sub(w, "norm1"), h, 1e-5f);
    gen_tensor *a =
        attention(u, gen_sub(w, "attn1"), num_heads, n, only_cross_attention ? u->context : n);
    h = gen_add(g, a, h);

    n = gen_layer_norm(g, gen_sub(w, "norm2"), h, 1e-5f);
    h = gen_add(g, attention(u, gen_sub(w, "attn2"), num_heads, n, u->context), h);

    n = gen_layer_norm(g, gen_sub(w, "norm3"), h, 1e-5f);
    h = gen_add(g, feed_forward(u, gen_sub(w, "ff"), n), h);
    return gen_name(g, w, h);
}

/* Spatial transformer: tokens are the positions, row by row.  x [N,H,W,C]  ->  [N,H,W,C] */
static gen_tensor *transformer_2d(const unet *u, gen_scope w, int num_heads, int depth,
                                  bool only_cross_attention, gen_tensor *x)
{
    gen_graph *g = u->g;
    const int64_t N = x->dims[0], H = x->dims[1], W = x->dims[2], C = x->dims[3];
    gen_tensor *h = gen_group_norm(g, gen_sub(w, "norm"), x, u->cfg->norm_num_groups, 1e-6f);
    h = gen_reshape(g, h, GEN_DIMS(N, H * W, C));
    /* A 1x1 convolution and a linear layer are the same on channels-last tokens, so
     * use_linear_projection needs no branch. */
    h = gen_linear(g, gen_sub(w, "proj_in"), h);
    for (int k = 0; k < depth; k++)
        h = transformer_block(u, gen_subf(w, "transformer_blocks.%d", k), num_heads,
                              only_cross_attention, h);
    h = gen_linear(g, gen_sub(w, "proj_out"), h);
    return gen_name(g, w, gen_add(g, gen_reshape(g, h, GEN_DIMS(N, H, W, C)), x));
}

/* ---- stages --------------------------------------------------------------------------------- */

enum { MAX_SKIPS = 1 + GEN_UNET_MAX_STAGES * (GEN_UNET_MAX_LAYERS + 1) };

typedef struct skip_stack {
    gen_tensor *tensors[MAX_SKIPS];
    int count;
} skip_stack;

static void push(skip_stack *skips, gen_tensor *x)
{
    skips->tensors[skips->count++] = x;
}

/* Stage i on the way down; all but the last end with half the size, rounded up. */
static gen_tensor *down_block(const unet *u, gen_scope w, int i, skip_stack *skips, gen_tensor *x)
{
    const gen_unet_config *cfg = u->cfg;
    for (int j = 0; j < cfg->layers_per_block[i]; j++) {
        x = resnet_block(u, gen_subf(w, "resnets.%d", j), x, 1);
        if (cfg->down_has_attention[i])
            x = transformer_2d(u, gen_subf(w, "attentions.%d", j), cfg->num_heads[i],
                               cfg->down_depth[i][j], cfg->only_cross_attention[i], x);
        push(skips, x);
    }
    if (i < cfg->num_stages - 1) {
        gen_conv2d_options half = GEN_CONV_3X3_S2;
        half.pad_top = half.pad_left = half.pad_bottom = half.pad_right = cfg->downsample_padding;
        x = gen_conv2d(u->g, gen_sub(w, "downsamplers.0.conv"), x, half);
        x = gen_name(u->g, gen_sub(w, "downsamplers.0"), x);
        push(skips, x);
    }
    return gen_name(u->g, w, x);
}

static gen_tensor *mid_block(const unet *u, gen_scope w, gen_tensor *x)
{
    const gen_unet_config *cfg = u->cfg;
    if (cfg->mid_block_type == GEN_UNET_MID_NONE)
        return x;
    x = resnet_block(u, gen_sub(w, "resnets.0"), x, cfg->mid_block_scale_factor);
    if (cfg->mid_block_type == GEN_UNET_MID_CROSS_ATTN) {
        x = transformer_2d(u, gen_sub(w, "attentions.0"), cfg->num_heads[cfg->num_stages - 1],
                           cfg->mid_depth, false, x);
        x = resnet_block(u, gen_sub(w, "resnets.1"), x, cfg->mid_block_scale_factor);
    }
    return gen_name(u->g, w, x);
}

/* Stage i on the way up, the mirror of stage s on the way down.  Each layer takes one skip; all
 * stages but the last end with the size of the next skip, twice their own where that is even. */
static gen_tensor *up_block(const unet *u, gen_scope w, int i, skip_stack *skips, gen_tensor *x)
{
    const gen_unet_config *cfg = u->cfg;
    const int s = cfg->num_stages - 1 - i;
    for (int j = 0; j < cfg->layers_per_block[s] + 1; j++) {
        gen_tensor *const x_and_skip[2] = {x, skips->tensors[--skips->count]};
        x = gen_concat(u->g, -1, 2, x_and_skip);
        x = resnet_block(u, gen_subf(w, "resnets.%d", j), x, 1);
        if (cfg->up_has_attention[i])
            x = transformer_2d(u, gen_subf(w, "attentions.%d", j), cfg->num_heads[s],
                               cfg->up_depth[i][j], cfg->only_cross_attention[s], x);
    }
    if (s > 0) {
        const gen_tensor *next = skips->tensors[skips->count - 1];
        x = gen_upsample_nearest(u->g, x, next->dims[1], next->dims[2]);
        x = gen_conv2d(u->g, gen_sub(w, "upsamplers.0.conv"), x, GEN_CONV_3X3);
        x = gen_name(u->g, gen_sub(w, "upsamplers.0"), x);
    }
    return gen_name(u->g, w, x);
}

/* ---- embeddings ----------------------------------------------------------------------------- */

/* Two layers with the activation between them. */
static gen_tensor *embedding_mlp(gen_graph *g, gen_scope w, gen_act act, gen_tensor *e)
{
    e = gen_activation(g, act, gen_linear(g, gen_sub(w, "linear_1"), e));
    return gen_linear(g, gen_sub(w, "linear_2"), e);
}

static gen_sinusoid_options sinusoid_options(const gen_unet_config *cfg)
{
    return (gen_sinusoid_options){.flip_sin_to_cos = cfg->flip_sin_to_cos,
                                  .freq_shift = cfg->freq_shift};
}

/* The class embedding [N,E]. */
static gen_tensor *class_embedding(gen_graph *g, gen_scope w, const gen_unet_config *cfg,
                                   const gen_unet_inputs *in)
{
    const gen_scope c = gen_sub(w, "class_embedding");
    gen_tensor *y = in->class_labels;
    switch (cfg->class_embed_type) {
    case GEN_UNET_CLASS_TABLE:
        y = gen_embedding(g, c, y); /* [N,1,E] */
        return gen_reshape(g, y, GEN_DIMS(y->dims[0], -1));
    case GEN_UNET_CLASS_TIMESTEP:
        y = gen_sinusoid(g, y, cfg->block_out_channels[0], sinusoid_options(cfg));
        return embedding_mlp(g, c, cfg->act_fn, y);
    case GEN_UNET_CLASS_PROJECTION:
        return embedding_mlp(g, c, cfg->act_fn, y);
    case GEN_UNET_CLASS_SIMPLE_PROJECTION:
        return gen_linear(g, c, y);
    case GEN_UNET_CLASS_IDENTITY:
    case GEN_UNET_CLASS_NONE:
        break;
    }
    return y;
}

/* Everything the resnets are told beside the picture, [N,1,1,E]. */
static gen_tensor *time_embedding(gen_graph *g, gen_scope w, const gen_unet_config *cfg,
                                  const gen_unet_inputs *in)
{
    const gen_scope time = gen_sub(w, "time_embedding");
    gen_tensor *e =
        gen_sinusoid(g, in->timestep, cfg->block_out_channels[0], sinusoid_options(cfg));
    if (cfg->time_cond_proj_dim) /* guidance embedding (Luo et al. 2023) */
        e = gen_add(g, e, gen_project(g, gen_sub(time, "cond_proj"), in->timestep_cond));
    e = gen_name(g, time, embedding_mlp(g, time, cfg->act_fn, e));

    if (cfg->class_embed_type != GEN_UNET_CLASS_NONE) {
        gen_tensor *const both[2] = {e, class_embedding(g, w, cfg, in)};
        e = cfg->class_embeddings_concat ? gen_concat(g, -1, 2, both)
                                         : gen_add(g, both[0], both[1]);
    }
    if (cfg->has_text_time) { /* micro-conditions (Podell et al. 2023, sec. 2.2) */
        const gen_scope added = gen_sub(w, "add_embedding");
        gen_tensor *ids = gen_sinusoid(g, in->time_ids, cfg->addition_time_embed_dim,
                                       sinusoid_options(cfg)); /* [N*m,256] */
        gen_tensor *const both[2] = {in->text_embeds,
                                     gen_reshape(g, ids, GEN_DIMS(in->text_embeds->dims[0], -1))};
        gen_tensor *v = embedding_mlp(g, added, GEN_ACT_SILU, gen_concat(g, -1, 2, both));
        e = gen_add(g, e, gen_name(g, added, v));
    }
    return gen_reshape(g, e, GEN_DIMS(e->dims[0], 1, 1, -1));
}

/* ---- the whole ------------------------------------------------------------------------------ */

int gen_unet_context_dim(const gen_unet_config *cfg)
{
    return cfg->encoder_hid_dim ? cfg->encoder_hid_dim : cfg->cross_attention_dim[0];
}

int gen_unet_text_embeds_dim(const gen_unet_config *cfg, int64_t num_time_ids)
{
    return cfg->projection_class_embeddings_input_dim -
           (int)num_time_ids * cfg->addition_time_embed_dim;
}

static gen_tensor *declare_class_labels(gen_graph *g, const gen_unet_config *cfg, int64_t N)
{
    static const char name[] = "class_labels";
    const int E = 4 * cfg->block_out_channels[0];
    switch (cfg->class_embed_type) {
    case GEN_UNET_CLASS_NONE:
        return NULL;
    case GEN_UNET_CLASS_TABLE:
        return gen_input(g, name, GEN_I32, GEN_DIMS(N, 1));
    case GEN_UNET_CLASS_TIMESTEP:
        return gen_input(g, name, GEN_F32, GEN_DIMS(N));
    case GEN_UNET_CLASS_IDENTITY:
        return gen_input(g, name, GEN_F32, GEN_DIMS(N, E));
    case GEN_UNET_CLASS_PROJECTION:
    case GEN_UNET_CLASS_SIMPLE_PROJECTION:
        break;
    }
    return gen_input(g, name, GEN_F32, GEN_DIMS(N, cfg->projection_class_embeddings_input_dim));
}

gen_unet_inputs gen_unet_declare(gen_graph *g, const gen_unet_config *cfg,
                                 const gen_unet_shape *shape)
{
    const int64_t N = shape->batch, m = shape->num_time_ids ? shape->num_time_ids : 6;
    gen_unet_inputs in = {
        .sample = gen_input(g, "sample", GEN_F32,
                            GEN_DIMS(N, shape->height, shape->width, cfg->in_channels)),
        .timestep = gen_input(g, "timestep", GEN_F32, GEN_DIMS(N)),
        .encoder_hidden_states =
            gen_input(g, "encoder_hidden_states", GEN_F32,
                      GEN_DIMS(N, shape->num_tokens, gen_unet_context_dim(cfg))),
        .class_labels = declare_class_labels(g, cfg, N),
    };
    if (cfg->time_cond_proj_dim)
        in.timestep_cond =
            gen_input(g, "timestep_cond", GEN_F32, GEN_DIMS(N, cfg->time_cond_proj_dim));
    if (cfg->has_text_time) {
        const int P = gen_unet_text_embeds_dim(cfg, m);
        if (P < 1)
            in.text_embeds = gen_graph_fail(
                g, "add_embedding", GEN_ERROR_MODEL,
                "input width %d has no room beside %" PRId64 " time ids of width %d",
                cfg->projection_class_embeddings_input_dim, m, cfg->addition_time_embed_dim);
        else
            in.text_embeds = gen_input(g, "text_embeds", GEN_F32, GEN_DIMS(N, P));
        in.time_ids = gen_input(g, "time_ids", GEN_F32, GEN_DIMS(N * m));
    }
    return in;
}

gen_tensor *gen_unet_forward(gen_graph *g, gen_scope w, const gen_unet_config *cfg,
                             const gen_unet_inputs *in)
{
    unet u = {.g = g, .cfg = cfg};
    u.temb = time_embedding(g, w, cfg, in);
    u.context = in->encoder_hidden_states;
    if (cfg->encoder_hid_dim)
        u.context = gen_linear(g, gen_sub(w, "encoder_hid_proj"), u.context);

    gen_tensor *x = in->sample;
    if (cfg->center_input_sample)
        x = gen_affine(g, x, 2, -1);
    x = gen_conv2d(g, gen_sub(w, "conv_in"), x, same_size(cfg->conv_in_kernel));

    skip_stack skips = {.count = 0};
    push(&skips, x);
    for (int i = 0; i < cfg->num_stages; i++)
        x = down_block(&u, gen_subf(w, "down_blocks.%d", i), i, &skips, x);
    x = mid_block(&u, gen_sub(w, "mid_block"), x);
    for (int i = 0; i < cfg->num_stages; i++)
        x = up_block(&u, gen_subf(w, "up_blocks.%d", i), i, &skips, x);

    x = gen_group_norm(g, gen_sub(w, "conv_norm_out"), x, cfg->norm_num_groups, cfg->norm_eps);
    x = gen_activation(g, cfg->act_fn, x);
    x = gen_conv2d(g, gen_sub(w, "conv_out"), x, same_size(cfg->conv_out_kernel));
    gen_output(g, x, "sample_out");
    return x;
}
