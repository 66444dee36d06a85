/* qwen_image.c - Qwen-Image and Qwen-Image-Edit (Qwen team 2025, sec. 2.4): a transformer of two
 * streams, text and picture, with weights of their own that meet in the attention.  Pictures to
 * follow stand behind the one that is made, in the same stream. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "dit/dit.h"
#include "gen/core/nn.h"

enum { MAX_LAYERS = 512, FREQUENCIES = 256 };

typedef struct qwen_config {
    int in_channels, out_channels; /* of the latents */
    int dim, head_dim, num_heads, num_layers;
    int patch_size, text_dim;
    int rope_split[3]; /* channels of a head that tell picture, row and column */
} qwen_config;

/* ---- configuration -------------------------------------------------------------------------- */

static gen_status read_rope(qwen_config *cfg, const gen_json *json, gen_error *err)
{
    int64_t split[3] = {16, 56, 56};
    int count;
    GEN_TRY(gen_json_int_list(json, "axes_dims_rope", 3, 2, 4096, split, &count, err));
    if ((count != 0 && count != 3) || split[0] + split[1] + split[2] != cfg->head_dim ||
        split[0] % 2 || split[1] % 2 || split[2] % 2)
        return gen_fail(err, json->on_error,
                        "%s: \"axes_dims_rope\" are not three even numbers that add up to "
                        "\"attention_head_dim\" %d",
                        json->path, cfg->head_dim);
    for (int i = 0; i < 3; i++)
        cfg->rope_split[i] = (int)split[i];
    return GEN_OK;
}

/* Derived models that are another network. */
static gen_status refuse_variants(const gen_json *json, gen_error *err)
{
    static const char *const keys[] = {"guidance_embeds", "zero_cond_t", "use_additional_t_cond",
                                       "use_layer3d_rope"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        bool is_set;
        GEN_TRY(gen_json_bool(json, keys[i], false, &is_set, err));
        if (is_set)
            return gen_fail(err, json->on_error,
                            "%s: \"%s\" is true, expected false: a variant of Qwen-Image that is "
                            "not known",
                            json->path, keys[i]);
    }
    return GEN_OK;
}

static gen_status read_config(void *config, const gen_json *json, gen_error *err)
{
    qwen_config *cfg = config;
    int packed;
    GEN_TRY(gen_json_int32(json, "patch_size", 2, 1, 64, &cfg->patch_size, err));
    GEN_TRY(gen_json_int32(json, "in_channels", 64, 1, 1 << 16, &packed, err));
    GEN_TRY(gen_json_int32(json, "out_channels", 16, 1, 4096, &cfg->out_channels, err));
    GEN_TRY(gen_json_int32(json, "num_layers", 60, 1, MAX_LAYERS, &cfg->num_layers, err));
    GEN_TRY(gen_json_int32(json, "attention_head_dim", 128, 2, 4096, &cfg->head_dim, err));
    GEN_TRY(gen_json_int32(json, "num_attention_heads", 24, 1, 1024, &cfg->num_heads, err));
    GEN_TRY(gen_json_int32(json, "joint_attention_dim", 3584, 1, 1 << 16, &cfg->text_dim, err));
    GEN_TRY(read_rope(cfg, json, err));
    GEN_TRY(refuse_variants(json, err));
    const int area = cfg->patch_size * cfg->patch_size;
    if (packed % area)
        return gen_fail(err, json->on_error,
                        "%s: \"in_channels\" %d are not whole channels of patches of side %d",
                        json->path, packed, cfg->patch_size);
    cfg->in_channels = packed / area;
    cfg->dim = cfg->num_heads * cfg->head_dim;
    return GEN_OK;
}

static void describe(const void *config, gen_network_traits *traits)
{
    const qwen_config *cfg = config;
    *traits = (gen_network_traits){
        .in_channels = cfg->in_channels,
        .out_channels = cfg->out_channels,
        .patch_height = cfg->patch_size,
        .patch_width = cfg->patch_size,
        .context_dim = cfg->text_dim,
        .has_context_mask = true,
        .max_references = GEN_MAX_REFERENCES,
        .defaults = {.num_inference_steps = 50,
                     .guidance_scale = 4.0,
                     .scheduler = "FlowMatchEulerDiscreteScheduler"},
    };
}

/* ---- position ------------------------------------------------------------------------------- */

/* The tokens of a picture. */
typedef struct grid {
    int64_t height, width;
} grid;

/* What a table of positions is made for: texts, then pictures. */
typedef struct layout {
    int64_t num_text;
    int num_pictures;
    grid pictures[1 + GEN_MAX_REFERENCES];
    int64_t num_tokens; /* of all pictures */
} layout;

static float *write_row(float *out, const qwen_config *cfg, const int64_t at[3])
{
    for (int axis = 0; axis < 3; axis++)
        for (int i = 0; i < cfg->rope_split[axis]; i += 2) {
            const double theta = pow(10000.0, -(double)i / cfg->rope_split[axis]);
            *out++ = (float)cos((double)at[axis] * theta);
            *out++ = (float)sin((double)at[axis] * theta);
        }
    return out;
}

/* The table of gen_rope(): rows and columns of a picture count from its middle, pictures from 0; a
 * word has the same place on all three axes, behind the last row or column of any picture. */
static float *rope_values(const qwen_config *cfg, const layout *l)
{
    const size_t count = (size_t)((l->num_text + l->num_tokens) * cfg->head_dim);
    float *table = gen_malloc(count * sizeof *table), *out = table;
    int64_t first = 0;
    if (!table)
        return NULL;
    for (int i = 0; i < l->num_pictures; i++) {
        const grid p = l->pictures[i];
        first = p.height / 2 > first ? p.height / 2 : first;
        first = p.width / 2 > first ? p.width / 2 : first;
    }
    for (int64_t t = 0; t < l->num_text; t++)
        out = write_row(out, cfg, (const int64_t[]){first + t, first + t, first + t});
    for (int i = 0; i < l->num_pictures; i++) {
        const grid p = l->pictures[i];
        for (int64_t y = 0; y < p.height; y++)
            for (int64_t x = 0; x < p.width; x++)
                out = write_row(out, cfg,
                                (const int64_t[]){i, y - (p.height - p.height / 2),
                                                  x - (p.width - p.width / 2)});
    }
    return table;
}

static gen_tensor *rope_table(gen_graph *g, gen_scope w, const qwen_config *cfg, const layout *l)
{
    char name[160];
    size_t used =
        (size_t)snprintf(name, sizeof name, "rope %d, text %" PRId64, cfg->head_dim, l->num_text);
    for (int i = 0; i < l->num_pictures; i++)
        used += (size_t)snprintf(name + used, sizeof name - used, ", %" PRId64 "x%" PRId64,
                                 l->pictures[i].height, l->pictures[i].width);
    gen_tensor *table = gen_constant(g, w, name);
    return table
               ? table
               : gen_constant_new(g, w, name, GEN_DIMS(l->num_text + l->num_tokens, cfg->head_dim),
                                  rope_values(cfg, l));
}

/* ---- blocks --------------------------------------------------------------------------------- */

/* What every block is given. */
typedef struct qwen {
    gen_graph *g;
    const qwen_config *cfg;
    const layout *layout;
    gen_tensor *time; /* [N,1,D], after SiLU */
    gen_tensor *rope; /* [L+T,head_dim] */
    gen_tensor *bias; /* [N,1,1,L+T]: hides padding of the text */
} qwen;

/* The two streams. */
typedef struct streams {
    gen_tensor *text;  /* [N,L,D] */
    gen_tensor *image; /* [N,T,D] */
} streams;

static gen_tensor *norm(const qwen *m, gen_tensor *x)
{
    return gen_layer_norm(m->g, GEN_NO_AFFINE, x, 1e-6f);
}

/* A projection of x [N,T,D], every head of it divided by its RMS where `name` has a weight. */
static gen_tensor *project(const qwen *m, gen_scope w, const char *to, const char *name,
                           gen_tensor *x)
{
    gen_tensor *y = gen_linear(m->g, gen_sub(w, to), x);
    if (!name || y->is_poisoned)
        return y;
    const int64_t N = y->dims[0], T = y->dims[1];
    y = gen_reshape(m->g, y, GEN_DIMS(N, T, m->cfg->num_heads, m->cfg->head_dim));
    y = gen_rms_norm(m->g, gen_sub(w, name), y, 1e-6f);
    return gen_reshape(m->g, y, GEN_DIMS(N, T, m->cfg->dim));
}

/* The same of both streams, one behind the other: [N,L+T,D]. */
static gen_tensor *join(const qwen *m, gen_scope w, streams x, const char *const text[2],
                        const char *const image[2])
{
    gen_tensor *parts[2] = {project(m, w, text[0], text[1], x.text),
                            project(m, w, image[0], image[1], x.image)};
    return gen_concat(m->g, 1, 2, parts);
}

/* All tokens of both streams attend to all. */
static streams attention(const qwen *m, gen_scope w, streams x)
{
    gen_graph *g = m->g;
    const int heads = m->cfg->num_heads;
    const int64_t L = m->layout->num_text, T = m->layout->num_tokens;
    gen_tensor *q = join(m, w, x, (const char *const[]){"add_q_proj", "norm_added_q"},
                         (const char *const[]){"to_q", "norm_q"});
    gen_tensor *k = join(m, w, x, (const char *const[]){"add_k_proj", "norm_added_k"},
                         (const char *const[]){"to_k", "norm_k"});
    gen_tensor *v = join(m, w, x, (const char *const[]){"add_v_proj", NULL},
                         (const char *const[]){"to_v", NULL});
    gen_tensor *h = gen_attention(g, gen_rope(g, q, heads, m->rope), gen_rope(g, k, heads, m->rope),
                                  v, (gen_attention_options){.heads = heads, .bias = m->bias});
    return (streams){
        .text = gen_linear(g, gen_sub(w, "to_add_out"), gen_window(g, h, 1, 0, L)),
        .image = gen_linear(g, gen_sub(w, "to_out.0"), gen_window(g, h, 1, L, T)),
    };
}

static gen_tensor *mlp(const qwen *m, gen_scope w, gen_tensor *x)
{
    x = gen_gelu_tanh(m->g, gen_linear(m->g, gen_sub(w, "net.0.proj"), x));
    return gen_name(m->g, w, gen_linear(m->g, gen_sub(w, "net.2"), x));
}

/* Shift, scale and gate of attention and MLP. */
static void modulation(const qwen *m, gen_scope w, gen_tensor *parts[6])
{
    gen_chunk(m->g, gen_linear(m->g, gen_sub(w, "1"), m->time), 6, parts);
}

static gen_tensor *add_gated(const qwen *m, gen_tensor *x, gen_tensor *gate, gen_tensor *h)
{
    return gen_add(m->g, x, gen_mul(m->g, h, gate));
}

/* One block (fig. 6). */
static streams block(const qwen *m, gen_scope w, streams x)
{
    gen_graph *g = m->g;
    gen_tensor *image[6], *text[6];
    modulation(m, gen_sub(w, "img_mod"), image);
    modulation(m, gen_sub(w, "txt_mod"), text);

    const streams h =
        attention(m, gen_sub(w, "attn"),
                  (streams){.text = gen_modulate(g, norm(m, x.text), text[0], text[1]),
                            .image = gen_modulate(g, norm(m, x.image), image[0], image[1])});
    x.text = add_gated(m, x.text, text[2], h.text);
    x.image = add_gated(m, x.image, image[2], h.image);

    gen_tensor *y = gen_modulate(g, norm(m, x.text), text[3], text[4]);
    x.text = add_gated(m, x.text, text[5], mlp(m, gen_sub(w, "txt_mlp"), y));
    y = gen_modulate(g, norm(m, x.image), image[3], image[4]);
    x.image = add_gated(m, x.image, image[5], mlp(m, gen_sub(w, "img_mlp"), y));
    x.text = gen_name(g, w, x.text);
    x.image = gen_name(g, gen_sub(w, "second"), x.image);
    return x;
}

/* ---- conditions and pictures ---------------------------------------------------------------- */

static gen_tensor *embed_time(gen_graph *g, gen_scope w, const qwen_config *cfg, int64_t N)
{
    const gen_scope embedder = gen_sub(w, "timestep_embedder");
    gen_tensor *t = gen_input(g, "timestep", GEN_F32, GEN_DIMS(N));
    gen_tensor *e =
        gen_sinusoid(g, t, FREQUENCIES, (gen_sinusoid_options){.flip_sin_to_cos = true});
    e = gen_silu(g, gen_linear(g, gen_sub(embedder, "linear_1"), e));
    e = gen_name(g, w, gen_linear(g, gen_sub(embedder, "linear_2"), e));
    return gen_reshape(g, gen_silu(g, e), GEN_DIMS(N, 1, cfg->dim));
}

/* Scores of the padding of a text become hopeless, those of pictures stay. */
static gen_tensor *score_bias(gen_graph *g, int64_t N, const layout *l)
{
    gen_tensor *mask = gen_input(g, "encoder_attention_mask", GEN_F32, GEN_DIMS(N, l->num_text));
    mask = gen_reshape(g, gen_affine(g, mask, 10000.0f, -10000.0f), GEN_DIMS(N, 1, 1, l->num_text));
    return gen_window(g, mask, 3, 0, l->num_text + l->num_tokens);
}

/* A picture [N,H,W,C] as tokens [N,T,D].  The linear layer counts the numbers of a patch with the
 * channel slowest, which is how a convolution counts its kernel. */
static gen_tensor *patchify(gen_graph *g, gen_scope w, const qwen_config *cfg, const char *name,
                            int64_t N, grid size)
{
    const int p = cfg->patch_size;
    gen_tensor *x =
        gen_input(g, name, GEN_F32, GEN_DIMS(N, size.height * p, size.width * p, cfg->in_channels));
    x = gen_conv3d(g, w, (const int[]){1, p, p}, x, (gen_conv2d_options){.stride = p});
    return gen_reshape(g, x, GEN_DIMS(N, size.height * size.width, cfg->dim));
}

static gen_tensor *unpatchify(gen_graph *g, const qwen_config *cfg, gen_tensor *x, grid size)
{
    const int64_t N = x->dims[0], p = cfg->patch_size, C = cfg->out_channels;
    x = gen_reshape(g, x, GEN_DIMS(N, size.height, size.width, C, p, p));
    x = gen_permute(g, x, 6, (const int[]){0, 1, 4, 2, 5, 3});
    return gen_reshape(g, x, GEN_DIMS(N, size.height * p, size.width * p, C));
}

/* False after a failure of the graph. */
static bool make_layout(layout *l, gen_graph *g, const qwen_config *cfg,
                        const gen_network_shape *shape)
{
    *l = (layout){.num_text = shape->num_tokens, .num_pictures = 1 + shape->num_references};
    for (int i = 0; i < l->num_pictures; i++) {
        const int64_t height = i ? shape->references[i - 1].height : shape->height;
        const int64_t width = i ? shape->references[i - 1].width : shape->width;
        l->pictures[i] = (grid){height / cfg->patch_size, width / cfg->patch_size};
        l->num_tokens += l->pictures[i].height * l->pictures[i].width;
        if (height % cfg->patch_size || width % cfg->patch_size) {
            gen_graph_fail(g, NULL, GEN_ERROR_ARGUMENT,
                           "latents of %" PRId64 "x%" PRId64 " are not whole patches of %d", height,
                           width, cfg->patch_size);
            return false;
        }
    }
    return true;
}

/* ---- the whole ------------------------------------------------------------------------------ */

/* All pictures, one behind the other: [N,T,D]. */
static gen_tensor *embed_pictures(gen_graph *g, gen_scope w, const qwen_config *cfg, int64_t N,
                                  const layout *l)
{
    gen_tensor *parts[1 + GEN_MAX_REFERENCES];
    char name[32];
    for (int i = 0; i < l->num_pictures; i++) {
        snprintf(name, sizeof name, "reference.%d", i - 1);
        parts[i] = patchify(g, w, cfg, i ? name : "sample", N, l->pictures[i]);
    }
    return l->num_pictures == 1 ? parts[0]
                                : gen_name(g, w, gen_concat(g, 1, l->num_pictures, parts));
}

static void record(gen_graph *g, gen_scope w, const void *config, const gen_network_shape *shape)
{
    const qwen_config *cfg = config;
    const int64_t N = shape->batch;
    layout l;
    if (!make_layout(&l, g, cfg, shape))
        return;
    const qwen m = {.g = g,
                    .cfg = cfg,
                    .layout = &l,
                    .time = embed_time(g, gen_sub(w, "time_text_embed"), cfg, N),
                    .rope = rope_table(g, w, cfg, &l),
                    .bias = score_bias(g, N, &l)};
    gen_tensor *text =
        gen_input(g, "encoder_hidden_states", GEN_F32, GEN_DIMS(N, l.num_text, cfg->text_dim));
    text = gen_rms_norm(g, gen_sub(w, "txt_norm"), text, 1e-6f);
    streams x = {.text = gen_linear(g, gen_sub(w, "txt_in"), text),
                 .image = embed_pictures(g, gen_sub(w, "img_in"), cfg, N, &l)};
    for (int i = 0; i < cfg->num_layers; i++)
        x = block(&m, gen_subf(w, "transformer_blocks.%d", i), x);

    /* Here, and only here, the scale comes first. */
    const gen_scope last = gen_sub(w, "norm_out");
    gen_tensor *scale_shift[2];
    gen_chunk(g, gen_linear(g, gen_sub(last, "linear"), m.time), 2, scale_shift);
    gen_tensor *y = gen_modulate(g, norm(&m, x.image), scale_shift[1], scale_shift[0]);
    y = gen_linear(g, gen_sub(w, "proj_out"), gen_name(g, last, y));
    if (y->is_poisoned)
        return;
    y = gen_window(g, y, 1, 0, l.pictures[0].height * l.pictures[0].width);
    gen_output(g, unpatchify(g, cfg, y, l.pictures[0]), "sample_out");
}

const gen_network_class gen_qwen_image_network = {
    .class_name = "QwenImageTransformer2DModel",
    .config_size = sizeof(qwen_config),
    .read_config = read_config,
    .describe = describe,
    .record = record,
};
