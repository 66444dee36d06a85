/* clip_vision.c - see clip_vision.h. */
#include "gen/text/clip_vision.h"

#include <inttypes.h>
#include <math.h>

#include "gen/core/nn.h"

const float gen_vision_mean[3] = {0.48145466f, 0.4578275f, 0.40821073f};
const float gen_vision_std[3] = {0.26862954f, 0.26130258f, 0.27577711f};

gen_status gen_vision_config_parse(gen_vision_config *config, const gen_json *file, gen_error *err)
{
    static const gen_clip_config defaults = {.hidden_size = 768,
                                             .intermediate_size = 3072,
                                             .num_hidden_layers = 12,
                                             .num_attention_heads = 12};
    gen_json json = *file;
    const json_t *inner = gen_json_get(file, "vision_config");
    if (!gen_json_has(file, "hidden_size") && json_is_object(inner))
        json.root = (json_t *)(uintptr_t)inner;
    *config = (gen_vision_config){.layers = defaults};
    GEN_TRY(gen_clip_layers_parse(&config->layers, &json, err));
    GEN_TRY(gen_json_int32(&json, "image_size", 224, 1, 1 << 14, &config->image_size, err));
    GEN_TRY(gen_json_int32(&json, "patch_size", 32, 1, 1 << 10, &config->patch_size, err));
    if (config->image_size % config->patch_size)
        return gen_fail(err, json.on_error,
                        "%s: \"image_size\" %d is not whole patches of \"patch_size\" %d",
                        json.path, config->image_size, config->patch_size);
    return GEN_OK;
}

int64_t gen_vision_num_tokens(const gen_vision_config *config)
{
    const int64_t side = config->image_size / config->patch_size;
    return 1 + side * side;
}

/* ---- the network ---------------------------------------------------------------------------- */

/* Newer exports drop the prefix. */
static gen_scope vision_model(gen_scope w)
{
    return gen_has(w, "embeddings.class_embedding") ? w : gen_sub(w, "vision_model");
}

static gen_tensor *parameter(gen_graph *g, gen_scope w, const char *name, int rank,
                             const int64_t *dims)
{
    gen_tensor *p = gen_parameter(g, w, name);
    int64_t n = 1;
    for (int i = 0; i < rank; i++)
        n *= dims[i];
    if (!p->is_poisoned && gen_tensor_elements(p) != n)
        return gen_graph_fail(g, w.path, GEN_ERROR_MODEL,
                              "%s has %" PRId64 " numbers, expected %" PRId64, name,
                              gen_tensor_elements(p), n);
    return gen_reshape(g, p, rank, dims);
}

/* [1,S,S,3] -> [1,T,D]: the class embedding, then the patches in rows; each with its position. */
static gen_tensor *embeddings(gen_graph *g, gen_scope w, const gen_vision_config *cfg,
                              gen_tensor *pixels)
{
    const int64_t D = cfg->layers.hidden_size, T = gen_vision_num_tokens(cfg);
    const gen_conv2d_options options = {.stride = cfg->patch_size, .bias_is_optional = true};
    gen_tensor *x = gen_conv2d(g, gen_sub(w, "patch_embedding"), pixels, options);
    if (!x->is_poisoned && (x->dims[3] != D || x->dims[1] * x->dims[2] != T - 1))
        return gen_graph_fail(g, w.path, GEN_ERROR_MODEL,
                              "patch_embedding gives [%" PRId64 ",%" PRId64 ",%" PRId64
                              "], expected %" PRId64 " patches of %" PRId64,
                              x->dims[1], x->dims[2], x->dims[3], T - 1, D);
    x = gen_reshape(g, x, GEN_DIMS(1, T - 1, D));
    gen_tensor *rows[2] = {parameter(g, w, "class_embedding", GEN_DIMS(1, 1, D)), x};
    x = gen_concat(g, 1, 2, rows);
    return gen_add(g, x, parameter(g, w, "position_embedding.weight", GEN_DIMS(1, T, D)));
}

gen_tensor *gen_vision_layers(gen_graph *g, gen_scope w, const gen_vision_config *cfg,
                              gen_tensor *pixels, int num_layers, gen_tensor **hidden_states)
{
    w = vision_model(w);
    gen_tensor *x = embeddings(g, gen_sub(w, "embeddings"), cfg, pixels);
    /* the checkpoints spell it so */
    x = gen_layer_norm(g, gen_sub(w, "pre_layrnorm"), x, cfg->layers.layer_norm_eps);
    for (int i = 0; i < num_layers; i++) {
        if (hidden_states)
            hidden_states[i] = x;
        x = gen_clip_layer(g, gen_subf(w, "encoder.layers.%d", i), &cfg->layers, false, x);
    }
    if (hidden_states)
        hidden_states[num_layers] = x;
    return x;
}

/* ---- the encoder ---------------------------------------------------------------------------- */

struct gen_vision_encoder {
    gen_vision_config config;
    gen_scope scope;
};

static gen_status record(gen_graph **out, const gen_vision_encoder *e, int num_layers,
                         gen_error *err)
{
    const int64_t side = e->config.image_size;
    gen_graph *g;
    GEN_TRY(gen_graph_new(&g, err));
    gen_tensor *pixels = gen_input(g, "pixels", GEN_F32, GEN_DIMS(1, side, side, 3));
    gen_output(g, gen_vision_layers(g, e->scope, &e->config, pixels, num_layers, NULL), "states");
    *out = g;
    return GEN_OK;
}

/* All layers are recorded once, so that what is missing is found; the last and what follows it are
 * there for others. */
static gen_status check_all(const gen_vision_encoder *e, gen_error *err)
{
    static const char *const unused[] = {"post_layernorm.weight", "post_layernorm.bias",
                                         "embeddings.position_ids"};
    gen_graph *g;
    GEN_TRY(record(&g, e, e->config.layers.num_hidden_layers, err));
    const gen_status status = gen_graph_status(g, err);
    gen_graph_free(g);
    for (size_t i = 0; i < sizeof unused / sizeof *unused; i++) {
        gen_weight *w = gen_scope_find(vision_model(e->scope), unused[i]);
        if (w)
            w->is_ignored = true;
    }
    gen_weight *projection = gen_scope_find(e->scope, "visual_projection.weight");
    if (projection)
        projection->is_ignored = true;
    return status;
}

gen_status gen_vision_encoder_new(gen_vision_encoder **out, const gen_vision_config *config,
                                  gen_scope w, gen_error *err)
{
    gen_vision_encoder *e = gen_calloc(1, sizeof *e);
    if (!e)
        return gen_no_memory(err, "image encoder", sizeof *e);
    e->config = *config;
    e->scope = w;
    const gen_status status = check_all(e, err);
    if (status)
        gen_vision_encoder_free(e);
    else
        *out = e;
    return status;
}

void gen_vision_encoder_free(gen_vision_encoder *e)
{
    gen_free(e);
}

const gen_vision_config *gen_vision_encoder_config(const gen_vision_encoder *e)
{
    return &e->config;
}

static gen_status make_plan(gen_plan **out, gen_vision_encoder *e, gen_backend *backend,
                            unsigned flags, gen_error *err)
{
    gen_graph *g;
    GEN_TRY(record(&g, e, e->config.layers.num_hidden_layers - 1, err));
    return gen_plan_new(out, g, backend, flags, err);
}

gen_status gen_vision_encode(gen_vision_encoder *e, gen_backend *backend, const float *pixels,
                             float *states, gen_error *err)
{
    const int64_t n = gen_vision_num_tokens(&e->config) * e->config.layers.hidden_size;
    gen_plan *plan = NULL;
    gen_status status = make_plan(&plan, e, backend, 0, err);
    if (!status)
        status = gen_plan_set(plan, "pixels", pixels, err);
    if (!status)
        status = gen_plan_run(plan, err);
    if (!status)
        status = gen_plan_get_output(plan, "states", states, err);
    for (int64_t i = 0; i < n && !status; i++)
        if (!isfinite(states[i]))
            status = gen_fail(err, GEN_ERROR_INTERNAL, "image encoder: a value is not finite");
    gen_plan_free(plan);
    gen_weights_drop_prepared(e->scope.weights, backend);
    return status;
}

gen_status gen_vision_measure(gen_vision_encoder *e, gen_backend *backend, gen_plan_stats *stats,
                              gen_error *err)
{
    gen_plan *plan;
    GEN_TRY(make_plan(&plan, e, backend, GEN_PLAN_DRY, err));
    *stats = *gen_plan_get_stats(plan);
    gen_plan_free(plan);
    return GEN_OK;
}
