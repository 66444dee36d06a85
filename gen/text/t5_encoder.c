/* t5_encoder.c - the encoder of T5 (Raffel et al. 2020, sec. 2.1) in its versions 1.0 and 1.1, and
 * of umT5 (Chung et al. 2023), which has a table of positions in every block. */
#include "gen/text/t5.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "gen/core/nn.h"

/* ---- configuration ------------------------------------------------------------------------------
 */

/* "gated-gelu" means the tanh form, as its authors trained it. */
static gen_status parse_feed_forward(gen_t5_config *config, const gen_json *json, gen_error *err)
{
    static const struct {
        const char *name;
        bool is_gated;
        gen_act act;
    } forms[] = {
        {"relu", false, GEN_ACT_RELU},
        {"gelu", false, GEN_ACT_GELU},
        {"gelu_new", false, GEN_ACT_GELU_TANH},
        {"gated-gelu", true, GEN_ACT_GELU_TANH},
        {"gated-gelu_new", true, GEN_ACT_GELU_TANH},
        {"gated-relu", true, GEN_ACT_RELU},
        {"gated-silu", true, GEN_ACT_SILU},
        {"gated-swish", true, GEN_ACT_SILU},
    };
    const char *name;
    GEN_TRY(gen_json_string(json, "feed_forward_proj", "relu", &name, err));
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (!strcmp(name, forms[i].name)) {
            config->is_gated = forms[i].is_gated;
            config->act = forms[i].act;
            return GEN_OK;
        }
    return gen_fail(err, json->on_error,
                    "%s: \"feed_forward_proj\" is \"%s\", expected relu, gelu, gated-gelu, "
                    "gated-relu or gated-silu",
                    json->path, name);
}

gen_status gen_t5_config_parse(gen_t5_config *config, const gen_json *json, gen_error *err)
{
    double eps;
    *config = (gen_t5_config){0};
    GEN_TRY(gen_json_int(json, "vocab_size", 32128, 1, 1 << 24, &config->vocab_size, err));
    GEN_TRY(gen_json_int(json, "d_model", 512, 1, 1 << 16, &config->d_model, err));
    GEN_TRY(gen_json_int(json, "d_kv", 64, 1, 1 << 12, &config->d_kv, err));
    GEN_TRY(gen_json_int(json, "d_ff", 2048, 1, 1 << 20, &config->d_ff, err));
    GEN_TRY(gen_json_int32(json, "num_layers", 6, 1, GEN_T5_MAX_LAYERS, &config->num_layers, err));
    GEN_TRY(gen_json_int32(json, "num_heads", 8, 1, 1 << 10, &config->num_heads, err));
    GEN_TRY(gen_json_int32(json, "relative_attention_num_buckets", 32, 4, 1 << 16,
                           &config->num_buckets, err));
    GEN_TRY(gen_json_int32(json, "relative_attention_max_distance", 128, 2, 1 << 24,
                           &config->max_distance, err));
    GEN_TRY(gen_json_double(json, "layer_norm_epsilon", 1e-6, &eps, err));
    GEN_TRY(parse_feed_forward(config, json, err));
    if (!(eps > 0 && eps < 1))
        return gen_fail(err, json->on_error, "%s: \"layer_norm_epsilon\" is %g, expected 0 to 1",
                        json->path, eps);
    if (config->max_distance <= config->num_buckets / 4)
        return gen_fail(
            err, json->on_error,
            "%s: \"relative_attention_max_distance\" is %d, expected more than a quarter "
            "of the %d buckets",
            json->path, config->max_distance, config->num_buckets);
    config->eps = (float)eps;
    return GEN_OK;
}

/* Some files hold the table under the name of its other owner only. */
static gen_scope token_table(gen_scope w)
{
    return gen_has(w, "shared.weight") ? gen_sub(w, "shared") : gen_sub(w, "encoder.embed_tokens");
}

static const char positions[] = "layer.0.SelfAttention.relative_attention_bias";

/* The tensor scope.name if it is a matrix. */
static const gen_weight *matrix(gen_scope w, const char *name)
{
    const gen_weight *found = gen_scope_find(w, name);
    return found && found->rank == 2 ? found : NULL;
}

gen_status gen_t5_config_from_weights(gen_t5_config *config, gen_scope w, gen_error *err)
{
    const gen_scope first = gen_sub(w, "encoder.block.0");
    const gen_weight *tokens = matrix(token_table(w), "weight");
    const gen_weight *bias = matrix(gen_sub(first, positions), "weight");
    const gen_weight *q = matrix(first, "layer.0.SelfAttention.q.weight");
    const gen_weight *gated = matrix(first, "layer.1.DenseReluDense.wi_0.weight");
    const gen_weight *plain = matrix(first, "layer.1.DenseReluDense.wi.weight");
    const gen_weight *wi = gated ? gated : plain;
    int layers = 0;
    while (layers < GEN_T5_MAX_LAYERS &&
           gen_has(gen_subf(w, "encoder.block.%d", layers), "layer.0.layer_norm.weight"))
        layers++;
    if (!tokens || !bias || !q || !wi || layers == 0 || bias->dims[1] < 1 ||
        bias->dims[1] > 1 << 10 || bias->dims[0] < 4 || bias->dims[0] > 1 << 16 ||
        q->dims[0] % bias->dims[1])
        return gen_fail(err, GEN_ERROR_MODEL,
                        "%s: no T5 encoder (its embedding or first block are missing)",
                        tokens ? tokens->file : "the model");
    *config = (gen_t5_config){
        .vocab_size = tokens->dims[0],
        .d_model = tokens->dims[1],
        .d_kv = q->dims[0] / bias->dims[1],
        .d_ff = wi->dims[0],
        .num_layers = layers,
        .num_heads = (int)bias->dims[1],
        .num_buckets = (int)bias->dims[0],
        .max_distance = 4 * (int)bias->dims[0],
        .is_gated = gated != NULL,
        .act = gated ? GEN_ACT_GELU_TANH : GEN_ACT_RELU,
        .eps = 1e-6f,
    };
    return GEN_OK;
}

/* ---- the network --------------------------------------------------------------------------------
 */

/* Half of the buckets are for keys behind the query.  Of each half, the first half is for one
 * distance each; in the other, distances grow geometrically to max_distance, beyond which all are
 * alike. */
int gen_t5_bucket(const gen_t5_config *cfg, int64_t key_minus_query)
{
    const int half = cfg->num_buckets / 2, exact = half / 2;
    const int base = key_minus_query > 0 ? half : 0;
    const int64_t n = key_minus_query < 0 ? -key_minus_query : key_minus_query;
    if (n < exact)
        return base + (int)n;
    const double ratio = log((double)n / exact) / log((double)cfg->max_distance / exact);
    const int bucket = exact + (int)(ratio * (half - exact) + 1e-9);
    return base + (bucket < half ? bucket : half - 1);
}

/* y = x W^T, of `width` outputs; no layer of a T5 has a bias. */
static gen_tensor *linear(gen_graph *g, gen_scope w, int64_t width, gen_tensor *x)
{
    gen_tensor *y = gen_project(g, w, x);
    if (!y->is_poisoned && y->dims[y->rank - 1] != width)
        return gen_graph_fail(g, w.path, GEN_ERROR_MODEL,
                              "weight has %" PRId64 " outputs, expected %" PRId64,
                              y->dims[y->rank - 1], width);
    return y;
}

gen_tensor *gen_t5_embed(gen_graph *g, gen_scope w, const gen_t5_config *cfg, gen_tensor *ids)
{
    const gen_scope table = token_table(w);
    gen_tensor *x = gen_embedding(g, table, ids);
    const gen_weight *weight = gen_scope_find(table, "weight");
    gen_weight *copy = gen_scope_find(gen_sub(w, "encoder.embed_tokens"), "weight");
    if (copy && copy != weight)
        copy->is_ignored = true;
    if (!x->is_poisoned && (weight->dims[0] != cfg->vocab_size || weight->dims[1] != cfg->d_model))
        return gen_graph_fail(g, table.path, GEN_ERROR_MODEL,
                              "weight [%" PRId64 ",%" PRId64 "], expected [%" PRId64 ",%" PRId64
                              "]",
                              weight->dims[0], weight->dims[1], cfg->vocab_size, cfg->d_model);
    return x;
}

/* What is added to the scores: [N,heads,T,T]. */
static gen_tensor *score_bias(gen_graph *g, gen_scope w, const gen_t5_config *cfg,
                              gen_tensor *buckets, gen_tensor *mask)
{
    gen_tensor *b = gen_embedding(g, w, buckets);
    if (b->is_poisoned)
        return b;
    const int64_t T = buckets->dims[1], N = buckets->dims[0] / T, H = cfg->num_heads;
    const gen_weight *table = gen_scope_find(w, "weight");
    if (table->dims[0] != cfg->num_buckets || table->dims[1] != H)
        return gen_graph_fail(g, w.path, GEN_ERROR_MODEL,
                              "weight [%" PRId64 ",%" PRId64 "], expected [%d,%d]", table->dims[0],
                              table->dims[1], cfg->num_buckets, cfg->num_heads);
    b = gen_reshape(g, gen_name(g, w, b), GEN_DIMS(N, T, T, H));
    if (mask)
        b = gen_add(g, b, mask);
    return gen_permute(g, b, 4, (const int[]){0, 3, 1, 2});
}

/* Queries are not divided by the root of their width: the initial weights were.  x [N,T,D] */
static gen_tensor *self_attention(gen_graph *g, gen_scope w, const gen_t5_config *cfg,
                                  gen_tensor *bias, gen_tensor *x)
{
    const int64_t inner = cfg->num_heads * cfg->d_kv;
    gen_tensor *q = linear(g, gen_sub(w, "q"), inner, x);
    gen_tensor *k = linear(g, gen_sub(w, "k"), inner, x);
    gen_tensor *v = linear(g, gen_sub(w, "v"), inner, x);
    gen_tensor *h = gen_attention(
        g, q, k, v, (gen_attention_options){.heads = cfg->num_heads, .scale = 1.0f, .bias = bias});
    return gen_name(g, w, linear(g, gen_sub(w, "o"), cfg->d_model, h));
}

static gen_tensor *feed_forward(gen_graph *g, gen_scope w, const gen_t5_config *cfg, gen_tensor *x)
{
    gen_tensor *h = linear(g, gen_sub(w, cfg->is_gated ? "wi_0" : "wi"), cfg->d_ff, x);
    h = gen_activation(g, cfg->act, h);
    if (cfg->is_gated)
        h = gen_mul(g, h, linear(g, gen_sub(w, "wi_1"), cfg->d_ff, x));
    return gen_name(g, w, linear(g, gen_sub(w, "wo"), cfg->d_model, h));
}

gen_tensor *gen_t5_block(gen_graph *g, gen_scope root, const gen_t5_config *cfg, int i,
                         gen_tensor *x, gen_tensor *buckets, gen_tensor *mask)
{
    const gen_scope w = gen_subf(root, "encoder.block.%d", i);
    gen_scope table = gen_sub(w, positions);
    if (!gen_has(table, "weight")) /* T5 has it in the first block, for all */
        table = gen_sub(gen_sub(root, "encoder.block.0"), positions);
    gen_tensor *bias = score_bias(g, table, cfg, buckets, mask);

    gen_scope layer = gen_sub(w, "layer.0");
    gen_tensor *h = gen_rms_norm(g, gen_sub(layer, "layer_norm"), x, cfg->eps);
    h = self_attention(g, gen_sub(layer, "SelfAttention"), cfg, bias, h);
    x = gen_name(g, layer, gen_add(g, x, h));

    layer = gen_sub(w, "layer.1");
    h = gen_rms_norm(g, gen_sub(layer, "layer_norm"), x, cfg->eps);
    h = feed_forward(g, gen_sub(layer, "DenseReluDense"), cfg, h);
    return gen_name(g, layer, gen_add(g, x, h));
}

gen_tensor *gen_t5_final_norm(gen_graph *g, gen_scope w, const gen_t5_config *cfg, gen_tensor *x)
{
    return gen_rms_norm(g, gen_sub(w, "encoder.final_layer_norm"), x, cfg->eps);
}

/* ---- the encoder --------------------------------------------------------------------------------
 */

struct gen_t5_encoder {
    gen_t5_config config;
    gen_scope scope;
    gen_backend *backend;
};

/* The graph of block i of a text of T tokens: "states" [1,T,D] to "out".  The first begins with
 * "input_ids" instead, the last ends with the norm. */
static gen_status record(gen_graph **out, const gen_t5_encoder *e, int i, int64_t T, gen_error *err)
{
    const gen_t5_config *cfg = &e->config;
    gen_graph *g;
    GEN_TRY(gen_graph_new(&g, err));
    gen_tensor *x =
        i == 0 ? gen_t5_embed(g, e->scope, cfg, gen_input(g, "input_ids", GEN_I32, GEN_DIMS(1, T)))
               : gen_input(g, "states", GEN_F32, GEN_DIMS(1, T, cfg->d_model));
    gen_tensor *buckets = gen_input(g, "buckets", GEN_I32, GEN_DIMS(T, T));
    x = gen_t5_block(g, e->scope, cfg, i, x, buckets, NULL);
    if (i == cfg->num_layers - 1)
        x = gen_t5_final_norm(g, e->scope, cfg, x);
    gen_output(g, x, "out");
    *out = g;
    return GEN_OK;
}

/* Finds a missing or misshapen tensor when the model opens, and marks all of them as used. */
static gen_status check_all(const gen_t5_encoder *e, gen_error *err)
{
    gen_status status = GEN_OK;
    for (int i = 0; i < e->config.num_layers && !status; i++) {
        gen_graph *g;
        GEN_TRY(record(&g, e, i, 2, err));
        status = gen_graph_status(g, err);
        gen_graph_free(g);
    }
    return status;
}

gen_status gen_t5_encoder_new(gen_t5_encoder **out, const gen_t5_config *config, gen_scope w,
                              gen_backend *backend, gen_error *err)
{
    gen_t5_encoder *e = gen_calloc(1, sizeof *e);
    if (!e)
        return gen_no_memory(err, "text encoder", sizeof *e);
    e->config = *config;
    e->scope = w;
    e->backend = backend;
    const gen_status status = check_all(e, err);
    if (status)
        gen_t5_encoder_free(e);
    else
        *out = e;
    return status;
}

void gen_t5_encoder_free(gen_t5_encoder *e)
{
    gen_free(e);
}

const gen_t5_config *gen_t5_encoder_config(const gen_t5_encoder *e)
{
    return &e->config;
}

gen_status gen_t5_encoder_measure(gen_t5_encoder *e, int64_t num_tokens, gen_plan_stats *stats,
                                  gen_error *err)
{
    gen_graph *g;
    gen_plan *plan;
    GEN_TRY(record(&g, e, e->config.num_layers > 1 ? 1 : 0, num_tokens, err));
    GEN_TRY(gen_plan_new(&plan, g, e->backend, GEN_PLAN_DRY, err));
    *stats = *gen_plan_get_stats(plan);
    gen_plan_free(plan);
    return GEN_OK;
}

static gen_status check_ids(const gen_t5_encoder *e, const gen_t5_text *text, gen_error *err)
{
    for (int64_t t = 0; t < text->count; t++)
        if (text->ids[t] < 0 || text->ids[t] >= e->config.vocab_size) {
            gen_fail(err, GEN_ERROR_MODEL,
                     "token id %d, but the text encoder knows %" PRId64
                     ": the tokenizer is another model's",
                     text->ids[t], e->config.vocab_size);
            return gen_hint(err, "name the model's own tokenizer with --tokenizer");
        }
    return GEN_OK;
}

static gen_status set_inputs(gen_plan *plan, const gen_t5_text *text, const int32_t *buckets,
                             gen_error *err)
{
    if (gen_plan_has_input(plan, "input_ids"))
        GEN_TRY(gen_plan_set(plan, "input_ids", text->ids, err));
    else
        GEN_TRY(gen_plan_set(plan, "states", text->states, err));
    return gen_plan_set(plan, "buckets", buckets, err);
}

/* Refuses states that are not finite; a second run finds out where that began. */
static gen_status check_finite(const gen_t5_encoder *e, gen_plan *plan, const gen_t5_text *text,
                               const int32_t *buckets, const float *states, gen_error *err)
{
    char name[192];
    const int64_t n = text->count * e->config.d_model;
    int64_t i = 0;
    while (i < n && isfinite(states[i]))
        i++;
    if (i == n)
        return GEN_OK;
    GEN_TRY(set_inputs(plan, text, buckets, err));
    GEN_TRY(gen_plan_trace(plan, name, sizeof name, err));
    return gen_fail(err, GEN_ERROR_INTERNAL, "text encoder: %s: a value is not finite",
                    name[0] ? name : "states");
}

/* Block i of one text: text->states, or its ids, to `states`. */
static gen_status run_block(const gen_t5_encoder *e, int i, const gen_t5_text *text,
                            const int32_t *buckets, float *states, gen_error *err)
{
    gen_graph *g;
    gen_plan *plan;
    GEN_TRY(record(&g, e, i, text->count, err));
    GEN_TRY(gen_plan_new(&plan, g, e->backend, 0, err));
    gen_status status = set_inputs(plan, text, buckets, err);
    if (!status)
        status = gen_plan_run(plan, err);
    if (!status)
        status = gen_plan_get_output(plan, "out", states, err);
    if (!status)
        status = check_finite(e, plan, text, buckets, states, err);
    gen_plan_free(plan);
    return status;
}

static void fill_buckets(const gen_t5_config *cfg, int32_t *buckets, int64_t T)
{
    for (int64_t query = 0; query < T; query++)
        for (int64_t key = 0; key < T; key++)
            buckets[query * T + key] = gen_t5_bucket(cfg, key - query);
}

gen_status gen_t5_encoder_encode(gen_t5_encoder *e, gen_t5_text *texts, int num_texts,
                                 gen_error *err)
{
    const gen_t5_config *cfg = &e->config;
    gen_status status = GEN_OK;
    int64_t longest = 1;
    for (int n = 0; n < num_texts; n++) {
        GEN_TRY(check_ids(e, &texts[n], err));
        longest = texts[n].count > longest ? texts[n].count : longest;
    }
    const size_t states_size = (size_t)(longest * cfg->d_model) * sizeof(float);
    const size_t buckets_size = (size_t)(longest * longest) * sizeof(int32_t);
    float *states = gen_malloc(states_size);
    int32_t *buckets = gen_malloc(buckets_size);
    if (!states || !buckets)
        status = gen_no_memory(err, "text encoder", states_size + buckets_size);
    for (int i = 0; i < cfg->num_layers && !status; i++) {
        for (int n = 0; n < num_texts && !status; n++) {
            fill_buckets(cfg, buckets, texts[n].count);
            status = run_block(e, i, &texts[n], buckets, states, err);
            if (!status)
                memcpy(texts[n].states, states,
                       (size_t)(texts[n].count * cfg->d_model) * sizeof(float));
        }
        gen_weights_drop_prepared(e->scope.weights, e->backend);
    }
    gen_free(states);
    gen_free(buckets);
    return status;
}
