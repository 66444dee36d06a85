/* unet_config.c - unet/config.json: the keys and defaults of the diffusers format. */
#include <string.h>

#include "unet/unet.h"

enum { MAX_CHANNELS = 1 << 16, MAX_DEPTH = 64 };

/* ---- lists that may be one value for all stages --------------------------------------------- */

static gen_status wrong_length(const gen_json *json, const char *key, int found, int expected,
                               gen_error *err)
{
    return gen_fail(err, GEN_ERROR_MODEL,
                    "%s: \"%s\" has %d entries, expected %d as \"block_out_channels\" has",
                    json->path, key, found, expected);
}

static gen_status ints_per_stage(const gen_json *json, const char *key, int def, int min, int max,
                                 int num_stages, int *out, gen_error *err)
{
    int64_t values[GEN_UNET_MAX_STAGES];
    if (json_is_array(gen_json_get(json, key))) {
        int count;
        GEN_TRY(gen_json_int_list(json, key, GEN_UNET_MAX_STAGES, min, max, values, &count, err));
        if (count != num_stages)
            return wrong_length(json, key, count, num_stages, err);
    } else {
        GEN_TRY(gen_json_int(json, key, def, min, max, &values[0], err));
        for (int i = 1; i < num_stages; i++)
            values[i] = values[0];
    }
    for (int i = 0; i < num_stages; i++)
        out[i] = (int)values[i];
    return GEN_OK;
}

static gen_status bools_per_stage(const gen_json *json, const char *key, int num_stages, bool *out,
                                  gen_error *err)
{
    const json_t *value = gen_json_get(json, key);
    if (!json_is_array(value)) {
        GEN_TRY(gen_json_bool(json, key, false, &out[0], err));
        for (int i = 1; i < num_stages; i++)
            out[i] = out[0];
        return GEN_OK;
    }
    if ((int)json_array_size(value) != num_stages)
        return wrong_length(json, key, (int)json_array_size(value), num_stages, err);
    for (int i = 0; i < num_stages; i++) {
        const json_t *entry = json_array_get(value, (size_t)i);
        if (!json_is_boolean(entry))
            return gen_fail(err, GEN_ERROR_MODEL,
                            "%s: \"%s\" has an entry that is not true or false", json->path, key);
        out[i] = json_is_true(entry);
    }
    return GEN_OK;
}

/* A list of block names, one per stage: true where the name is `with`, false where `without`. */
static gen_status block_types(const gen_json *json, const char *key, const char *with,
                              const char *without, const bool *def, int num_stages, bool *out,
                              gen_error *err)
{
    const json_t *list = gen_json_get(json, key);
    if (!list) {
        if (num_stages != 4)
            return wrong_length(json, key, 4, num_stages, err);
        memcpy(out, def, 4 * sizeof *out);
        return GEN_OK;
    }
    if (!json_is_array(list))
        return gen_fail(err, GEN_ERROR_MODEL, "%s: \"%s\" is not a list of block names", json->path,
                        key);
    if ((int)json_array_size(list) != num_stages)
        return wrong_length(json, key, (int)json_array_size(list), num_stages, err);
    for (int i = 0; i < num_stages; i++) {
        const char *name = json_string_value(json_array_get(list, (size_t)i));
        if (!name || (strcmp(name, with) != 0 && strcmp(name, without) != 0))
            return gen_fail(err, GEN_ERROR_MODEL,
                            "%s: \"%s\" has \"%s\", expected \"%s\" or \"%s\"", json->path, key,
                            name ? name : "(no string)", with, without);
        out[i] = strcmp(name, with) == 0;
    }
    return GEN_OK;
}

/* ---- settings with few possible values ------------------------------------------------------ */

/* The index of the value among `words`; an absent key is words[0]. */
static gen_status choice(const gen_json *json, const char *key, int num_words,
                         const char *const *words, int *out, gen_error *err)
{
    const char *value;
    GEN_TRY(gen_json_string(json, key, words[0], &value, err));
    for (int i = 0; i < num_words; i++) {
        if (strcmp(value, words[i]) == 0) {
            *out = i;
            return GEN_OK;
        }
    }
    return gen_fail(err, GEN_ERROR_MODEL, "%s: \"%s\" is \"%s\", which is not supported",
                    json->path, key, value);
}

/* Settings of other UNets: an error unless they are absent, null or `accepted`. */
static gen_status reject_foreign_settings(const gen_json *json, gen_error *err)
{
    static const struct {
        const char *key, *accepted;
    } settings[] = {
        {"_class_name", "UNet2DConditionModel"},
        {"time_embedding_type", "positional"},
        {"time_embedding_dim", NULL},
        {"time_embedding_act_fn", NULL},
        {"timestep_post_act", NULL},
        {"dual_cross_attention", "false"},
        {"attention_type", "default"},
        {"cross_attention_norm", NULL},
        {"mid_block_only_cross_attention", "false"},
        {"encoder_hid_dim_type", "text_proj"},
    };
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        const json_t *value = gen_json_get(json, settings[i].key);
        const char *accepted = settings[i].accepted;
        if (!value || json_is_null(value) || json_is_false(value))
            continue;
        const char *text = json_string_value(value);
        if (accepted && text && strcmp(text, accepted) == 0)
            continue;
        return gen_fail(err, GEN_ERROR_MODEL, "%s: \"%s\" is %s%s%s, expected %s%s%s", json->path,
                        settings[i].key, text ? "\"" : "", text ? text : "set", text ? "\"" : "",
                        accepted ? "\"" : "", accepted ? accepted : "null", accepted ? "\"" : "");
    }
    return GEN_OK;
}

static gen_status read_mid_block(gen_unet_config *cfg, const gen_json *json, gen_error *err)
{
    static const char *const names[] = {"UNetMidBlock2DCrossAttn", "UNetMidBlock2D"};
    if (gen_json_is_null(json, "mid_block_type")) { /* unlike an absent key */
        cfg->mid_block_type = GEN_UNET_MID_NONE;
        return GEN_OK;
    }
    int i = 0;
    GEN_TRY(choice(json, "mid_block_type", 2, names, &i, err));
    cfg->mid_block_type = i ? GEN_UNET_MID_RESNET : GEN_UNET_MID_CROSS_ATTN;
    return GEN_OK;
}

static gen_status read_act_fn(gen_unet_config *cfg, const gen_json *json, gen_error *err)
{
    static const char *const names[] = {"silu", "swish", "gelu", "relu"};
    static const gen_act acts[] = {GEN_ACT_SILU, GEN_ACT_SILU, GEN_ACT_GELU, GEN_ACT_RELU};
    int i = 0;
    GEN_TRY(choice(json, "act_fn", 4, names, &i, err));
    cfg->act_fn = acts[i];
    return GEN_OK;
}

static gen_status read_class_embedding(gen_unet_config *cfg, const gen_json *json, gen_error *err)
{
    static const char *const names[] = {"", "timestep", "projection", "simple_projection",
                                        "identity"};
    static const gen_unet_class_embed types[] = {
        GEN_UNET_CLASS_NONE, GEN_UNET_CLASS_TIMESTEP, GEN_UNET_CLASS_PROJECTION,
        GEN_UNET_CLASS_SIMPLE_PROJECTION, GEN_UNET_CLASS_IDENTITY};
    int i = 0;
    int64_t n;
    GEN_TRY(choice(json, "class_embed_type", 5, names, &i, err));
    cfg->class_embed_type = types[i];
    GEN_TRY(gen_json_int(json, "num_class_embeds", 0, 1, INT32_MAX, &n, err));
    cfg->num_class_embeds = (int)n;
    if (i == 0 && n > 0)
        cfg->class_embed_type = GEN_UNET_CLASS_TABLE;
    GEN_TRY(
        gen_json_bool(json, "class_embeddings_concat", false, &cfg->class_embeddings_concat, err));
    GEN_TRY(
        gen_json_int(json, "projection_class_embeddings_input_dim", 0, 1, MAX_CHANNELS, &n, err));
    cfg->projection_class_embeddings_input_dim = (int)n;
    const bool needs_dim = cfg->class_embed_type == GEN_UNET_CLASS_PROJECTION ||
                           cfg->class_embed_type == GEN_UNET_CLASS_SIMPLE_PROJECTION;
    if (needs_dim && n == 0)
        return gen_fail(err, GEN_ERROR_MODEL,
                        "%s: \"class_embed_type\" is \"%s\" but "
                        "\"projection_class_embeddings_input_dim\" is missing",
                        json->path, names[i]);
    return GEN_OK;
}

static gen_status read_added_conditions(gen_unet_config *cfg, const gen_json *json, gen_error *err)
{
    static const char *const names[] = {"", "text_time"};
    int i = 0;
    int64_t n;
    GEN_TRY(choice(json, "addition_embed_type", 2, names, &i, err));
    cfg->has_text_time = i == 1;
    GEN_TRY(gen_json_int(json, "addition_time_embed_dim", 0, 1, MAX_CHANNELS, &n, err));
    cfg->addition_time_embed_dim = (int)n;
    if (cfg->has_text_time && (n == 0 || cfg->projection_class_embeddings_input_dim == 0))
        return gen_fail(
            err, GEN_ERROR_MODEL,
            "%s: \"addition_embed_type\" is \"text_time\" but \"%s\" is missing", json->path,
            n == 0 ? "addition_time_embed_dim" : "projection_class_embeddings_input_dim");
    return GEN_OK;
}

/* ---- transformer depths --------------------------------------------------------------------- */

static gen_status depth_value(const gen_json *json, const char *key, const json_t *value, int *out,
                              gen_error *err)
{
    const json_int_t n = json_is_integer(value) ? json_integer_value(value) : -1;
    if (n < 0 || n > MAX_DEPTH)
        return gen_fail(err, GEN_ERROR_MODEL,
                        "%s: \"%s\" has an entry that is not a whole number in 0..%d", json->path,
                        key, MAX_DEPTH);
    *out = (int)n;
    return GEN_OK;
}

/* The depths of one stage: one number for all its layers, or a list with one for each. */
static gen_status stage_depths(const gen_json *json, const char *key, const json_t *entry,
                               int stage, int num_layers, int *out, gen_error *err)
{
    const bool is_list = json_is_array(entry);
    if (is_list && (int)json_array_size(entry) != num_layers)
        return gen_fail(err, GEN_ERROR_MODEL,
                        "%s: \"%s\" has %zu entries for stage %d, which has %d layers", json->path,
                        key, json_array_size(entry), stage, num_layers);
    for (int j = 0; j < num_layers; j++)
        GEN_TRY(depth_value(json, key, is_list ? json_array_get(entry, (size_t)j) : entry, &out[j],
                            err));
    return GEN_OK;
}

/* transformer_layers_per_block and, for the way up, its reverse or a list of its own. */
static gen_status read_depths(gen_unet_config *cfg, const gen_json *json, gen_error *err)
{
    static const char down_key[] = "transformer_layers_per_block";
    static const char up_key[] = "reverse_transformer_layers_per_block";
    const json_t *down = gen_json_get(json, down_key), *up = gen_json_get(json, up_key);
    const int L = cfg->num_stages;
    json_t *one = NULL; /* the default, borrowed by nobody */
    gen_status status = GEN_OK;
    bool is_nested = false;

    if (!down || json_is_null(down))
        down = one = json_integer(1);
    if (json_is_null(up))
        up = NULL;
    if (json_is_array(down) && (int)json_array_size(down) != L) {
        status = wrong_length(json, down_key, (int)json_array_size(down), L, err);
        goto done;
    }
    if (json_is_array(up) && (int)json_array_size(up) != L) {
        status = wrong_length(json, up_key, (int)json_array_size(up), L, err);
        goto done;
    }
    for (int i = 0; i < L; i++) {
        const json_t *entry = json_is_array(down) ? json_array_get(down, (size_t)i) : down;
        is_nested |= json_is_array(entry);
        if ((status = stage_depths(json, down_key, entry, i, cfg->layers_per_block[i],
                                   cfg->down_depth[i], err)))
            goto done;
    }
    cfg->mid_depth = cfg->down_depth[L - 1][0];
    if (!up && is_nested) {
        status = gen_fail(err, GEN_ERROR_MODEL,
                          "%s: \"%s\" has lists for single layers, so \"%s\" has to be given",
                          json->path, down_key, up_key);
        goto done;
    }
    for (int i = 0; i < L; i++) {
        const json_t *entry =
            json_is_array(down) ? json_array_get(down, (size_t)(L - 1 - i)) : down;
        if (up)
            entry = json_is_array(up) ? json_array_get(up, (size_t)i) : up;
        if ((status = stage_depths(json, up ? up_key : down_key, entry, i,
                                   cfg->layers_per_block[L - 1 - i] + 1, cfg->up_depth[i], err)))
            goto done;
    }
done:
    json_decref(one);
    return status;
}

/* ---- the rest ------------------------------------------------------------------------------- */

static gen_status read_stages(gen_unet_config *cfg, const gen_json *json, gen_error *err)
{
    static const bool down[4] = {true, true, true, false}, up[4] = {false, true, true, true};
    static const int64_t widths[4] = {320, 640, 1280, 1280};
    int64_t values[GEN_UNET_MAX_STAGES];
    int L;
    GEN_TRY(gen_json_int_list(json, "block_out_channels", GEN_UNET_MAX_STAGES, 1, MAX_CHANNELS,
                              values, &L, err));
    if (L == 0) {
        if (json_is_array(gen_json_get(json, "block_out_channels")))
            return gen_fail(err, GEN_ERROR_MODEL, "%s: \"block_out_channels\" is empty",
                            json->path);
        memcpy(values, widths, sizeof widths);
        L = 4;
    }
    cfg->num_stages = L;
    for (int i = 0; i < L; i++)
        cfg->block_out_channels[i] = (int)values[i];
    GEN_TRY(block_types(json, "down_block_types", "CrossAttnDownBlock2D", "DownBlock2D", down, L,
                        cfg->down_has_attention, err));
    GEN_TRY(block_types(json, "up_block_types", "CrossAttnUpBlock2D", "UpBlock2D", up, L,
                        cfg->up_has_attention, err));
    GEN_TRY(read_mid_block(cfg, json, err));
    return ints_per_stage(json, "layers_per_block", 2, 1, GEN_UNET_MAX_LAYERS, L,
                          cfg->layers_per_block, err);
}

static gen_status read_attention(gen_unet_config *cfg, const gen_json *json, gen_error *err)
{
    const int L = cfg->num_stages;
    /* The format's "attention_head_dim" is the number of heads, a misnomer kept for old files. */
    const json_t *heads = gen_json_get(json, "num_attention_heads");
    const char *key = heads && !json_is_null(heads) ? "num_attention_heads" : "attention_head_dim";
    GEN_TRY(ints_per_stage(json, key, 8, 1, MAX_CHANNELS, L, cfg->num_heads, err));
    GEN_TRY(ints_per_stage(json, "cross_attention_dim", 1280, 1, MAX_CHANNELS, L,
                           cfg->cross_attention_dim, err));
    GEN_TRY(bools_per_stage(json, "only_cross_attention", L, cfg->only_cross_attention, err));
    GEN_TRY(gen_json_bool(json, "use_linear_projection", false, &cfg->use_linear_projection, err));
    for (int i = 0; i < L; i++) {
        const bool has_attention = cfg->down_has_attention[i] || cfg->up_has_attention[L - 1 - i] ||
                                   (i == L - 1 && cfg->mid_block_type == GEN_UNET_MID_CROSS_ATTN);
        if (has_attention && cfg->block_out_channels[i] % cfg->num_heads[i])
            return gen_fail(err, GEN_ERROR_MODEL,
                            "%s: \"%s\" gives stage %d %d heads, which do not divide its %d "
                            "channels",
                            json->path, key, i, cfg->num_heads[i], cfg->block_out_channels[i]);
    }
    return read_depths(cfg, json, err);
}

static gen_status read_layers(gen_unet_config *cfg, const gen_json *json, gen_error *err)
{
    static const char *const shifts[] = {"default", "scale_shift"};
    int64_t n;
    int i = 0;
    double real;
    GEN_TRY(gen_json_int(json, "norm_num_groups", 32, 1, MAX_CHANNELS, &n, err));
    cfg->norm_num_groups = (int)n;
    for (i = 0; i < cfg->num_stages; i++)
        if (cfg->block_out_channels[i] % n)
            return gen_fail(err, GEN_ERROR_MODEL,
                            "%s: \"norm_num_groups\" is %d, which does not divide the %d channels "
                            "of stage %d",
                            json->path, (int)n, cfg->block_out_channels[i], i);
    GEN_TRY(gen_json_double(json, "norm_eps", 1e-5, &real, err));
    if (!(real >= 0 && real < 1))
        return gen_fail(err, GEN_ERROR_MODEL, "%s: \"norm_eps\" is %g, expected 0..1", json->path,
                        real);
    cfg->norm_eps = (float)real;
    GEN_TRY(read_act_fn(cfg, json, err));
    GEN_TRY(gen_json_int(json, "conv_in_kernel", 3, 1, 15, &n, err));
    cfg->conv_in_kernel = (int)n;
    GEN_TRY(gen_json_int(json, "conv_out_kernel", 3, 1, 15, &n, err));
    cfg->conv_out_kernel = (int)n;
    GEN_TRY(gen_json_int(json, "downsample_padding", 1, 0, 2, &n, err));
    cfg->downsample_padding = (int)n;
    GEN_TRY(gen_json_double(json, "mid_block_scale_factor", 1, &real, err));
    if (!(real > 0))
        return gen_fail(err, GEN_ERROR_MODEL,
                        "%s: \"mid_block_scale_factor\" is %g, expected more than 0", json->path,
                        real);
    cfg->mid_block_scale_factor = (float)real;
    GEN_TRY(choice(json, "resnet_time_scale_shift", 2, shifts, &i, err));
    cfg->uses_scale_shift = i == 1;
    return gen_json_bool(json, "center_input_sample", false, &cfg->center_input_sample, err);
}

static gen_status read_time(gen_unet_config *cfg, const gen_json *json, gen_error *err)
{
    int64_t n;
    GEN_TRY(gen_json_bool(json, "flip_sin_to_cos", true, &cfg->flip_sin_to_cos, err));
    GEN_TRY(gen_json_double(json, "freq_shift", 0, &cfg->freq_shift, err));
    GEN_TRY(gen_json_int(json, "time_cond_proj_dim", 0, 1, MAX_CHANNELS, &n, err));
    cfg->time_cond_proj_dim = (int)n;
    GEN_TRY(gen_json_int(json, "encoder_hid_dim", 0, 1, MAX_CHANNELS, &n, err));
    cfg->encoder_hid_dim = (int)n;
    GEN_TRY(read_class_embedding(cfg, json, err));
    return read_added_conditions(cfg, json, err);
}

static gen_status read_sizes(gen_unet_config *cfg, const gen_json *json, gen_error *err)
{
    int64_t n[2];
    int count;
    GEN_TRY(gen_json_int(json, "in_channels", 4, 1, MAX_CHANNELS, &n[0], err));
    cfg->in_channels = (int)n[0];
    GEN_TRY(gen_json_int(json, "out_channels", 4, 1, MAX_CHANNELS, &n[0], err));
    cfg->out_channels = (int)n[0];
    if (json_is_array(gen_json_get(json, "sample_size"))) {
        GEN_TRY(gen_json_int_list(json, "sample_size", 2, 1, MAX_CHANNELS, n, &count, err));
        if (count != 2)
            return gen_fail(err, GEN_ERROR_MODEL,
                            "%s: \"sample_size\" has %d entries, expected height and width",
                            json->path, count);
    } else {
        GEN_TRY(gen_json_int(json, "sample_size", 0, 1, MAX_CHANNELS, &n[0], err));
        n[1] = n[0];
    }
    cfg->sample_height = (int)n[0];
    cfg->sample_width = (int)n[1];
    return GEN_OK;
}

gen_status gen_unet_config_read(gen_unet_config *out, const gen_json *json, gen_error *err)
{
    gen_unet_config cfg = {0};
    GEN_TRY(reject_foreign_settings(json, err));
    GEN_TRY(read_sizes(&cfg, json, err));
    GEN_TRY(read_stages(&cfg, json, err));
    GEN_TRY(read_attention(&cfg, json, err));
    GEN_TRY(read_layers(&cfg, json, err));
    GEN_TRY(read_time(&cfg, json, err));
    *out = cfg;
    return GEN_OK;
}
