/* clip_encoder.c - the text encoders of CLIP ViT-L, OpenCLIP ViT-H and bigG, and any other size
 * (Radford et al. 2021, sec. 2.4; unet.md 5.1). */
#include "gen/text/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "gen/core/nn.h"

/* ---- configuration ------------------------------------------------------------------------------
 */

static gen_status parse_act(gen_act *act, const char *name, const char *path, gen_error *err)
{
    static const struct {
        const char *name;
        gen_act act;
    } acts[] = {
        {"quick_gelu", GEN_ACT_QUICK_GELU},
        {"gelu", GEN_ACT_GELU},
        {"gelu_new", GEN_ACT_GELU_TANH},
        {"gelu_pytorch_tanh", GEN_ACT_GELU_TANH},
        {"silu", GEN_ACT_SILU},
        {"swish", GEN_ACT_SILU},
        {"relu", GEN_ACT_RELU},
    };
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++)
        if (!strcmp(name, acts[i].name)) {
            *act = acts[i].act;
            return GEN_OK;
        }
    return gen_fail(
        err, GEN_ERROR_MODEL,
        "%s: \"hidden_act\" is \"%s\", expected quick_gelu, gelu, gelu_new, silu or relu", path,
        name);
}

gen_status gen_clip_layers_parse(gen_clip_config *config, const gen_json *json, gen_error *err)
{
    const gen_clip_config def = *config;
    double eps;
    const char *act;
    GEN_TRY(
        gen_json_int(json, "hidden_size", def.hidden_size, 1, 1 << 16, &config->hidden_size, err));
    GEN_TRY(gen_json_int(json, "intermediate_size", def.intermediate_size, 1, 1 << 18,
                         &config->intermediate_size, err));
    GEN_TRY(gen_json_int32(json, "num_hidden_layers", def.num_hidden_layers, 1, GEN_CLIP_MAX_LAYERS,
                           &config->num_hidden_layers, err));
    GEN_TRY(gen_json_int32(json, "num_attention_heads", def.num_attention_heads, 1, 1 << 10,
                           &config->num_attention_heads, err));
    GEN_TRY(gen_json_double(json, "layer_norm_eps", 1e-5, &eps, err));
    GEN_TRY(gen_json_string(json, "hidden_act", "quick_gelu", &act, err));
    GEN_TRY(parse_act(&config->hidden_act, act, json->path, err));
    if (config->hidden_size % config->num_attention_heads)
        return gen_fail(err, GEN_ERROR_MODEL,
                        "%s: \"hidden_size\" %" PRId64 " is not a multiple of "
                        "\"num_attention_heads\" %d",
                        json->path, config->hidden_size, config->num_attention_heads);
    if (!(eps > 0 && eps < 1))
        return gen_fail(err, GEN_ERROR_MODEL, "%s: \"layer_norm_eps\" is %g, expected 0 to 1",
                        json->path, eps);
    config->layer_norm_eps = (float)eps;
    return GEN_OK;
}

gen_status gen_clip_config_parse(gen_clip_config *config, const gen_json *file, gen_error *err)
{
    gen_json inner = *file;
    const gen_json *json = file;
    int64_t eos;
    if (!gen_json_has(file, "hidden_size") && json_is_object(gen_json_get(file, "text_config"))) {
        inner.root = (json_t *)gen_json_get(file, "text_config");
        json = &inner;
    }
    *config = (gen_clip_config){.hidden_size = 512,
                                .intermediate_size = 2048,
                                .num_hidden_layers = 12,
                                .num_attention_heads = 8};
    GEN_TRY(gen_json_int(json, "vocab_size", 49408, 1, 1 << 24, &config->vocab_size, err));
    GEN_TRY(gen_json_int(json, "max_position_embeddings", 77, 3, 1 << 16,
                         &config->max_position_embeddings, err));
    GEN_TRY(gen_json_int(json, "eos_token_id", 49407, 0, INT32_MAX, &eos, err));
    GEN_TRY(gen_clip_layers_parse(config, json, err));
    config->eos_token_id = (int32_t)eos;
    const char *class = json_string_value(json_array_get(gen_json_get(file, "architectures"), 0));
    config->has_projection = class && !strcmp(class, "CLIPTextModelWithProjection");
    return GEN_OK;
}

/* Newer exports drop the prefix. */
static gen_scope text_model(gen_scope w)
{
    return gen_has(w, "embeddings.token_embedding.weight") ? w : gen_sub(w, "text_model");
}

gen_status gen_clip_config_from_weights(gen_clip_config *config, gen_scope w, gen_error *err)
{
    w = text_model(w);
    const gen_weight *tokens = gen_scope_find(w, "embeddings.token_embedding.weight");
    const gen_weight *positions = gen_scope_find(w, "embeddings.position_embedding.weight");
    const gen_weight *fc1 = gen_scope_find(w, "encoder.layers.0.mlp.fc1.weight");
    int layers = 0;
    while (layers < GEN_CLIP_MAX_LAYERS &&
           gen_has(gen_subf(w, "encoder.layers.%d", layers), "layer_norm1.weight"))
        layers++;
    if (!tokens || !positions || !fc1 || tokens->rank != 2 || positions->rank != 2 ||
        fc1->rank != 2)
        return gen_fail(err, GEN_ERROR_MODEL,
                        "%s: no CLIP text encoder (its embeddings or first layer are missing)",
                        tokens ? tokens->file : "the model");
    const int64_t width = tokens->dims[1];
    *config = (gen_clip_config){
        .vocab_size = tokens->dims[0],
        .hidden_size = width,
        .intermediate_size = fc1->dims[0],
        .max_position_embeddings = positions->dims[0],
        .num_hidden_layers = layers,
        .num_attention_heads = width % 64 == 0 ? (int)(width / 64) : 1,
        .hidden_act = width == 768 ? GEN_ACT_QUICK_GELU : GEN_ACT_GELU,
        .layer_norm_eps = 1e-5f,
        .eos_token_id = 2,
    };
    return GEN_OK;
}

/* ---- the network --------------------------------------------------------------------------------
 */

/* A linear layer that must have `width` outputs. */
static gen_tensor *linear(gen_graph *g, gen_scope w, int64_t width, gen_tensor *x)
{
    gen_tensor *y = gen_linear(g, w, x);
    if (!y->is_poisoned && y->dims[y->rank - 1] != width)
        return gen_graph_fail(g, w.path, GEN_ERROR_MODEL,
                              "weight has %" PRId64 " outputs, expected %" PRId64,
                              y->dims[y->rank - 1], width);
    return y;
}

/* ids [N,T] -> token + position embedding [N,T,D] */
static gen_tensor *embeddings(gen_graph *g, gen_scope w, const gen_clip_config *cfg,
                              gen_tensor *ids)
{
    const int64_t T = ids->is_poisoned ? 1 : ids->dims[1], D = cfg->hidden_size;
    gen_tensor *tokens = gen_embedding(g, gen_sub(w, "token_embedding"), ids);
    gen_tensor *positions = gen_parameter(g, gen_sub(w, "position_embedding"), "weight");
    if (tokens->is_poisoned || positions->is_poisoned)
        return tokens->is_poisoned ? tokens : positions;
    const gen_weight *table = gen_scope_find(w, "token_embedding.weight");
    if (table->dims[0] != cfg->vocab_size || table->dims[1] != D)
        return gen_graph_fail(g, w.path, GEN_ERROR_MODEL,
                              "token_embedding.weight [%" PRId64 ",%" PRId64 "], expected [%" PRId64
                              ",%" PRId64 "]",
                              table->dims[0], table->dims[1], cfg->vocab_size, D);
    if (positions->rank != 2 || positions->dims[1] != D || positions->dims[0] < T)
        return gen_graph_fail(g, w.path, GEN_ERROR_MODEL,
                              "position_embedding.weight [%" PRId64 ",%" PRId64
                              "], expected [%" PRId64 " or more,%" PRId64 "]",
                              positions->dims[0], positions->dims[positions->rank - 1], T, D);
    if (positions->dims[0] > T)
        positions = gen_graph_view(g, positions, 2, (int64_t[]){T, D}, 0, D);
    return gen_name(g, w, gen_add(g, tokens, positions));
}

/* x [N,T,D] -> [N,T,D]; causal: a token sees itself and those before it, padding included. */
static gen_tensor *self_attention(gen_graph *g, gen_scope w, const gen_clip_config *cfg,
                                  bool is_causal, gen_tensor *x)
{
    const int64_t D = cfg->hidden_size;
    gen_tensor *q = linear(g, gen_sub(w, "q_proj"), D, x);
    gen_tensor *k = linear(g, gen_sub(w, "k_proj"), D, x);
    gen_tensor *v = linear(g, gen_sub(w, "v_proj"), D, x);
    gen_tensor *h = gen_attention(
        g, q, k, v,
        (gen_attention_options){.heads = cfg->num_attention_heads, .is_causal = is_causal});
    return gen_name(g, w, linear(g, gen_sub(w, "out_proj"), D, h));
}

static gen_tensor *mlp(gen_graph *g, gen_scope w, const gen_clip_config *cfg, gen_tensor *x)
{
    gen_tensor *h = linear(g, gen_sub(w, "fc1"), cfg->intermediate_size, x);
    h = gen_activation(g, cfg->hidden_act, h);
    return gen_name(g, w, linear(g, gen_sub(w, "fc2"), cfg->hidden_size, h));
}

gen_tensor *gen_clip_layer(gen_graph *g, gen_scope w, const gen_clip_config *cfg, bool is_causal,
                           gen_tensor *x)
{
    const float eps = cfg->layer_norm_eps;
    gen_tensor *h = gen_layer_norm(g, gen_sub(w, "layer_norm1"), x, eps);
    x = gen_add(g, x, self_attention(g, gen_sub(w, "self_attn"), cfg, is_causal, h));
    h = gen_layer_norm(g, gen_sub(w, "layer_norm2"), x, eps);
    return gen_name(g, w, gen_add(g, x, mlp(g, gen_sub(w, "mlp"), cfg, h)));
}

gen_tensor *gen_clip_layers(gen_graph *g, gen_scope w, const gen_clip_config *cfg,
                            gen_tensor *input_ids, int num_layers, gen_tensor **hidden_states)
{
    w = text_model(w);
    gen_tensor *h = embeddings(g, gen_sub(w, "embeddings"), cfg, input_ids);
    for (int i = 0; i < num_layers; i++) {
        if (hidden_states)
            hidden_states[i] = h;
        h = gen_clip_layer(g, gen_subf(w, "encoder.layers.%d", i), cfg, true, h);
    }
    if (hidden_states)
        hidden_states[num_layers] = h;
    return h;
}

gen_tensor *gen_clip_final_norm(gen_graph *g, gen_scope w, const gen_clip_config *cfg,
                                gen_tensor *hidden)
{
    return gen_layer_norm(g, gen_sub(text_model(w), "final_layer_norm"), hidden,
                          cfg->layer_norm_eps);
}

gen_tensor *gen_clip_projection(gen_graph *g, gen_scope w, gen_tensor *normed)
{
    return gen_project(g, gen_sub(w, "text_projection"), normed);
}

/* Configurations carry the id 2 by an old mistake; they mean the largest id, which the end token
 * is.  An id that is not there gives 0, as the reference's arg-max does. */
int gen_clip_eos_position(const gen_clip_config *cfg, const int32_t *ids, int length)
{
    int at = 0;
    for (int i = 0; i < length; i++) {
        if (cfg->eos_token_id != 2 && ids[i] == cfg->eos_token_id)
            return i;
        if (cfg->eos_token_id == 2 && ids[i] > ids[at])
            at = i;
    }
    return at;
}

/* ---- the encoder --------------------------------------------------------------------------------
 */

/* What a plan depends on. */
typedef struct plan_key {
    int length;
    int num_layers; /* whose output is the context */
    bool final_norm, pooled;
} plan_key;

struct gen_text_encoder {
    gen_clip_config config;
    gen_scope scope;
    gen_backend *backend;
    int64_t pooled_dim;
    bool has_projection;
    gen_plan *plan; /* of the last key */
    plan_key key;
};

/* Records the graph of one chunk.  Outputs "states" [1,T,D], and with `pooled` "pooled" [1,T,P]:
 * the projection of every row, of which the host takes that of the end token.  All rows cost less
 * than half a percent of the encoder, and no graph needs to know where a prompt ends. */
static gen_status record(gen_graph **out, const gen_text_encoder *e, plan_key key, gen_error *err)
{
    const gen_clip_config *cfg = &e->config;
    gen_tensor *hidden[GEN_CLIP_MAX_LAYERS + 1];
    gen_graph *g;
    GEN_TRY(gen_graph_new(&g, err));
    const int num_layers = key.pooled ? cfg->num_hidden_layers : key.num_layers;
    gen_tensor *ids = gen_input(g, "input_ids", GEN_I32, GEN_DIMS(1, key.length));
    gen_tensor *last = gen_clip_layers(g, e->scope, cfg, ids, num_layers, hidden);
    gen_tensor *states = hidden[key.num_layers];
    if (key.final_norm)
        states = gen_clip_final_norm(g, e->scope, cfg, states);
    gen_output(g, states, "states");
    if (key.pooled) {
        gen_tensor *pooled = gen_clip_final_norm(g, e->scope, cfg, last);
        if (e->has_projection)
            pooled = gen_clip_projection(g, e->scope, pooled);
        gen_output(g, pooled, "pooled");
    }
    *out = g;
    return GEN_OK;
}

/* Records everything once, so that a missing or misshapen tensor is found when the model opens and
 * every tensor of the encoder counts as used, whatever the prompt needs later. */
static gen_status check_all(gen_text_encoder *e, gen_error *err)
{
    const int64_t positions = e->config.max_position_embeddings;
    const plan_key all = {.length = positions < 77 ? (int)positions : 77,
                          .num_layers = e->config.num_hidden_layers,
                          .pooled = true};
    gen_graph *g;
    GEN_TRY(record(&g, e, all, err));
    const gen_status status = gen_graph_status(g, err);
    if (!status)
        e->pooled_dim = gen_graph_find(g, "pooled", 0)->dims[2];
    gen_graph_free(g);
    return status;
}

gen_status gen_text_encoder_new(gen_text_encoder **out, const gen_clip_config *config, gen_scope w,
                                gen_backend *backend, gen_error *err)
{
    gen_text_encoder *e = gen_calloc(1, sizeof *e);
    if (!e)
        return gen_no_memory(err, "text encoder", sizeof *e);
    e->config = *config;
    e->scope = w;
    e->backend = backend;
    e->has_projection = config->has_projection || gen_has(w, "text_projection.weight");
    const gen_status status = check_all(e, err);
    if (status)
        gen_text_encoder_free(e);
    else
        *out = e;
    return status;
}

void gen_text_encoder_free(gen_text_encoder *e)
{
    if (!e)
        return;
    gen_plan_free(e->plan);
    gen_free(e);
}

void gen_text_encoder_release(gen_text_encoder *e)
{
    gen_plan_free(e->plan);
    e->plan = NULL;
    gen_weights_drop_prepared(e->scope.weights, e->backend);
}

const gen_clip_config *gen_text_encoder_config(const gen_text_encoder *e)
{
    return &e->config;
}

int64_t gen_text_encoder_pooled_dim(const gen_text_encoder *e)
{
    return e->pooled_dim;
}

static gen_status make_key(plan_key *key, const gen_text_encoder *e, int length,
                           const gen_text_options *options, gen_error *err)
{
    const int layers = e->config.num_hidden_layers;
    const int own = options->layer_from_end > 1 ? options->layer_from_end : 1;
    const int skip = options->clip_skip > 1 ? options->clip_skip - 1 : 0;
    if (length > e->config.max_position_embeddings)
        return gen_fail(err, GEN_ERROR_MODEL,
                        "the text encoder has %" PRId64 " positions, its tokenizer asks for %d",
                        e->config.max_position_embeddings, length);
    if (own > layers || skip > layers - own)
        return gen_fail(err, GEN_ERROR_ARGUMENT,
                        "clip skip %d: this text encoder has %d layers, at most %d is possible",
                        options->clip_skip, layers, layers - own + 1);
    *key = (plan_key){.length = length,
                      .num_layers = layers - own - skip + 1,
                      .final_norm = options->final_norm,
                      .pooled = options->pooled};
    return GEN_OK;
}

static bool same_key(plan_key a, plan_key b)
{
    return a.length == b.length && a.num_layers == b.num_layers && a.final_norm == b.final_norm &&
           a.pooled == b.pooled;
}

static gen_status make_plan(gen_text_encoder *e, plan_key key, gen_error *err)
{
    gen_graph *g;
    if (e->plan && same_key(key, e->key))
        return GEN_OK;
    gen_plan_free(e->plan);
    e->plan = NULL;
    GEN_TRY(record(&g, e, key, err));
    e->key = key;
    return gen_plan_new(&e->plan, g, e->backend, 0, err);
}

gen_status gen_text_encoder_measure(gen_text_encoder *e, int length,
                                    const gen_text_options *options, gen_plan_stats *stats,
                                    gen_error *err)
{
    plan_key key = {0};
    gen_graph *g;
    gen_plan *plan;
    GEN_TRY(make_key(&key, e, length, options, err));
    GEN_TRY(record(&g, e, key, err));
    GEN_TRY(gen_plan_new(&plan, g, e->backend, GEN_PLAN_DRY, err));
    *stats = *gen_plan_get_stats(plan);
    gen_plan_free(plan);
    return GEN_OK;
}

/* Rows times their weights; the mean rule then scales the chunk so that its mean is the old one. */
static void apply_weights(float *z, const float *weights, int64_t T, int64_t D, gen_emphasis rule)
{
    double before = 0, after = 0;
    for (int64_t t = 0; t < T; t++)
        for (int64_t d = 0; d < D; d++) {
            before += z[t * D + d];
            z[t * D + d] *= weights[t];
            after += z[t * D + d];
        }
    const float scale = (float)(before / after);
    if (rule != GEN_EMPHASIS_MEAN || !isfinite(scale))
        return;
    for (int64_t i = 0; i < T * D; i++)
        z[i] *= scale;
}

static bool is_weighted(const float *weights, int n)
{
    for (int i = 0; i < n; i++)
        if (weights[i] != 1)
            return true;
    return false;
}

/* Refuses states that are not finite; a second run finds out where that began. */
static gen_status check_finite(gen_text_encoder *e, const int32_t *ids, const float *z, size_t n,
                               gen_error *err)
{
    char name[192];
    size_t i = 0;
    while (i < n && isfinite(z[i]))
        i++;
    if (i == n)
        return GEN_OK;
    GEN_TRY(gen_plan_set(e->plan, "input_ids", ids, err));
    GEN_TRY(gen_plan_trace(e->plan, name, sizeof name, err));
    gen_fail(err, GEN_ERROR_INTERNAL, "text encoder: %s: a value is not finite",
             name[0] ? name : "states");
    return gen_hint(err, "try --precision f32, or another copy of the model");
}

/* One chunk into states [T,D], and its pooled vector into `pooled` unless that is NULL. */
static gen_status encode_chunk(gen_text_encoder *e, const gen_token_chunks *chunks, int i,
                               gen_emphasis emphasis, float *states, float *pooled, float *rows,
                               gen_error *err)
{
    const int T = chunks->length;
    const int64_t D = e->config.hidden_size, P = e->pooled_dim;
    const int32_t *ids = chunks->ids + (size_t)i * (size_t)T;
    const float *weights = chunks->weights + (size_t)i * (size_t)T;
    for (int t = 0; t < T; t++)
        if (ids[t] < 0 || ids[t] >= e->config.vocab_size) {
            gen_fail(err, GEN_ERROR_MODEL,
                     "token id %d, but the text encoder knows %" PRId64
                     ": the tokenizer is another model's",
                     ids[t], e->config.vocab_size);
            return gen_hint(err, "name the model's own vocabulary with --tokenizer DIR");
        }
    GEN_TRY(gen_plan_set(e->plan, "input_ids", ids, err));
    GEN_TRY(gen_plan_run(e->plan, err));
    GEN_TRY(gen_plan_get_output(e->plan, "states", states, err));
    GEN_TRY(check_finite(e, ids, states, (size_t)T * (size_t)D, err));
    if (emphasis != GEN_EMPHASIS_NONE && is_weighted(weights, T))
        apply_weights(states, weights, T, D, emphasis);
    if (pooled) {
        GEN_TRY(gen_plan_get_output(e->plan, "pooled", rows, err));
        memcpy(pooled, rows + gen_clip_eos_position(&e->config, ids, T) * P,
               (size_t)P * sizeof *pooled);
        GEN_TRY(check_finite(e, ids, pooled, (size_t)P, err));
    }
    return GEN_OK;
}

gen_status gen_text_encoder_encode(gen_text_encoder *e, const gen_token_chunks *chunks,
                                   const gen_text_options *options, gen_text_states **out,
                                   gen_error *err)
{
    const size_t T = (size_t)chunks->length, D = (size_t)e->config.hidden_size;
    const size_t P = options->pooled ? (size_t)e->pooled_dim : 0;
    const size_t n = T * D * (size_t)chunks->num_chunks;
    gen_status status;
    gen_text_states *s = NULL;
    float *rows = NULL;
    plan_key key = {0};
    GEN_TRY(make_key(&key, e, chunks->length, options, err));
    GEN_TRY(make_plan(e, key, err));
    s = gen_calloc(1, sizeof *s);
    if (!s || !(s->states = gen_malloc(n * sizeof(float))) ||
        (P && (!(s->pooled = gen_malloc(P * sizeof(float))) ||
               !(rows = gen_malloc(T * P * sizeof(float)))))) {
        status = gen_no_memory(err, "text encoder", (n + T * P) * sizeof(float));
        goto done;
    }
    s->num_tokens = (int64_t)T * chunks->num_chunks;
    s->dim = (int64_t)D;
    s->pooled_dim = (int64_t)P;
    for (int i = 0; i < chunks->num_chunks; i++)
        if ((status = encode_chunk(e, chunks, i, options->emphasis, s->states + (size_t)i * T * D,
                                   i == 0 ? s->pooled : NULL, rows, err)))
            goto done;
    status = GEN_OK;
    *out = s;
    s = NULL;
done:
    gen_free(rows);
    gen_text_states_free(s);
    return status;
}

void gen_text_states_free(gen_text_states *s)
{
    if (!s)
        return;
    gen_free(s->states);
    gen_free(s->pooled);
    gen_free(s);
}
