/* golden_clip.c - the CLIP text encoders, CLIPTextModel and CLIPTextModelWithProjection, and the
 * CLIP tokenizer. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "gen/core/alloc.h"
#include "gen/text/clip_vision.h"
#include "tests/golden/golden.h"

/* ---- encoders -----------------------------------------------------------------------------------
 */

typedef struct clip_run {
    golden_fixture *f;
    gen_clip_config config;
    gen_scope scope;
    int64_t N, T;
    int32_t *ids; /* [N,T] */
    bool has_projection;
} clip_run;

/* All outputs the file may ask for; text_embeds is of every row, the host takes one. */
static gen_plan *record(clip_run *r)
{
    gen_error err = {0};
    gen_graph *g = NULL;
    gen_plan *plan = NULL;
    gen_tensor *hidden[GEN_CLIP_MAX_LAYERS + 1];
    const int64_t dims[2] = {r->N, r->T};
    if (!golden_ok(r->f, gen_graph_new(&g, &err), &err))
        return NULL;
    gen_tensor *ids = gen_input(g, "input_ids", GEN_I32, 2, dims);
    gen_tensor *last =
        gen_clip_layers(g, r->scope, &r->config, ids, r->config.num_hidden_layers, hidden);
    gen_tensor *normed = gen_clip_final_norm(g, r->scope, &r->config, last);
    for (int i = 0; i <= r->config.num_hidden_layers; i++) {
        gen_tensor *h = hidden[i];
        char name[32];
        snprintf(name, sizeof name, "hidden_states.%d", i);
        /* An alias, so that the tensor keeps the name of its module. */
        gen_output(g, gen_graph_view(g, h, h->rank, h->dims, 0, h->ld), name);
    }
    if (r->has_projection)
        gen_output(g, gen_clip_projection(g, r->scope, normed), "text_embeds");
    gen_output(g, gen_graph_view(g, normed, normed->rank, normed->dims, 0, normed->ld),
               "last_hidden_state");
    if (!golden_ok(r->f, gen_plan_new(&plan, g, r->f->backend, golden_plan_flags(r->f), &err),
                   &err))
        return NULL;
    return plan;
}

/* The output `name` of the plan, [N,T,width]. */
static float *output(const clip_run *r, gen_plan *plan, const char *name, int64_t *width)
{
    gen_error err = {0};
    const gen_tensor *t = gen_graph_find(gen_plan_graph(plan), name, 0);
    if (!t) {
        golden_fail(r->f, "the graph has no %s", name);
        return NULL;
    }
    *width = t->dims[2];
    float *values = golden_alloc(r->f, (size_t)gen_tensor_elements(t), sizeof *values);
    if (!values || !golden_ok(r->f, gen_plan_get_output(plan, name, values, &err), &err))
        return NULL;
    return values;
}

static void compare_rows(const clip_run *r, const char *name, const float *values, int64_t width)
{
    const char *full = golden_path(r->f, "out.%s", name);
    if (values && full && golden_find(r->f, full))
        golden_compare(r->f, full, values, (size_t)(r->N * r->T * width), 1e-4);
}

/* The rows of the end tokens against out.NAME [N,width]. */
static void compare_pooled(const clip_run *r, const char *name, const float *values, int64_t width)
{
    const char *full = golden_path(r->f, "out.%s", name);
    float *pooled = golden_alloc(r->f, (size_t)(r->N * width), sizeof *pooled);
    if (!values || !full || !pooled || !golden_find(r->f, full))
        return;
    for (int64_t n = 0; n < r->N; n++) {
        const int eos = gen_clip_eos_position(&r->config, r->ids + n * r->T, (int)r->T);
        memcpy(pooled + n * width, values + (n * r->T + eos) * width,
               (size_t)width * sizeof *pooled);
    }
    golden_compare(r->f, full, pooled, (size_t)(r->N * width), 1e-4);
}

static void compare_all(const clip_run *r, gen_plan *plan)
{
    int64_t width = 0;
    char name[32];
    for (int i = 0; i <= r->config.num_hidden_layers; i++) {
        snprintf(name, sizeof name, "hidden_states.%d", i);
        const float *values = output(r, plan, name, &width);
        compare_rows(r, name, values, width);
    }
    const float *last = output(r, plan, "last_hidden_state", &width);
    compare_rows(r, "last_hidden_state", last, width);
    compare_pooled(r, "pooler_output", last, width);
    if (r->has_projection) {
        const float *embeds = output(r, plan, "text_embeds", &width);
        compare_pooled(r, "text_embeds", embeds, width);
    }
}

static bool load_ids(clip_run *r)
{
    const gen_weight *w = golden_find(r->f, "in.input_ids");
    const int64_t *ids = golden_load_i64(r->f, "in.input_ids");
    if (!w || !ids)
        return false;
    if (w->rank != 2) {
        golden_fail(r->f, "in.input_ids is not [batch,length]");
        return false;
    }
    r->N = w->dims[0];
    r->T = w->dims[1];
    r->ids = golden_alloc(r->f, golden_count(w), sizeof *r->ids);
    for (size_t i = 0; r->ids && i < golden_count(w); i++)
        r->ids[i] = (int32_t)ids[i];
    return r->ids != NULL;
}

void golden_clip(golden_fixture *f)
{
    gen_error err = {0};
    clip_run r = {.f = f};
    gen_weights *weights = golden_open_weights(f, "");
    if (!weights)
        return;
    r.scope = gen_scope_root(weights);
    r.has_projection = gen_has(r.scope, "text_projection.weight");
    if (golden_ok(f, gen_clip_config_parse(&r.config, f->config, &err), &err) && load_ids(&r)) {
        gen_plan *plan = record(&r);
        if (plan && golden_ok(f, gen_plan_set(plan, "input_ids", r.ids, &err), &err) &&
            golden_run_plan(f, plan, ""))
            compare_all(&r, plan);
        gen_plan_free(plan);
    }
    gen_weights_free(weights);
}

/* ---- image encoder ------------------------------------------------------------------------------
 */

static gen_plan *record_vision(golden_fixture *f, const gen_vision_config *config, gen_scope w)
{
    gen_error err = {0};
    gen_graph *g = NULL;
    gen_plan *plan = NULL;
    gen_tensor *hidden[GEN_CLIP_MAX_LAYERS + 1];
    const int64_t side = config->image_size;
    if (!golden_ok(f, gen_graph_new(&g, &err), &err))
        return NULL;
    gen_tensor *pixels = gen_input(g, "pixels", GEN_F32, 4, (const int64_t[]){1, side, side, 3});
    gen_vision_layers(g, w, config, pixels, config->layers.num_hidden_layers, hidden);
    for (int i = 0; i <= config->layers.num_hidden_layers; i++) {
        gen_tensor *h = hidden[i];
        char name[32];
        snprintf(name, sizeof name, "hidden_states.%d", i);
        gen_output(g, gen_graph_view(g, h, h->rank, h->dims, 0, h->ld), name);
    }
    golden_ok(f, gen_plan_new(&plan, g, f->backend, golden_plan_flags(f), &err), &err);
    return plan;
}

/* The states before the last layer are what gen_vision_encode() gives. */
static void compare_vision(golden_fixture *f, const gen_vision_config *config, gen_scope w,
                           gen_plan *plan, const float *pixels)
{
    gen_error err = {0};
    const size_t n = (size_t)(gen_vision_num_tokens(config) * config->layers.hidden_size);
    float *values = golden_alloc(f, n, sizeof *values);
    gen_vision_encoder *encoder = NULL;
    char name[32];
    for (int i = 0; values && i <= config->layers.num_hidden_layers; i++) {
        snprintf(name, sizeof name, "hidden_states.%d", i);
        const char *full = golden_path(f, "out.%s", name);
        if (full && golden_ok(f, gen_plan_get_output(plan, name, values, &err), &err))
            golden_compare(f, full, values, n, 1e-4);
    }
    if (values && golden_ok(f, gen_vision_encoder_new(&encoder, config, w, &err), &err) &&
        golden_ok(f, gen_vision_encode(encoder, f->backend, pixels, values, &err), &err)) {
        const char *full =
            golden_path(f, "out.hidden_states.%d", config->layers.num_hidden_layers - 1);
        golden_compare(f, full, values, n, 1e-4);
    }
    gen_vision_encoder_free(encoder);
}

void golden_clip_vision(golden_fixture *f)
{
    gen_error err = {0};
    gen_vision_config config;
    int64_t dims[4];
    gen_weights *weights = golden_open_weights(f, "");
    const float *pixels = weights ? golden_load_nhwc(f, "in.pixel_values", dims) : NULL;
    if (pixels && golden_ok(f, gen_vision_config_parse(&config, f->config, &err), &err)) {
        const gen_scope w = gen_scope_root(weights);
        gen_plan *plan = record_vision(f, &config, w);
        if (plan && golden_ok(f, gen_plan_set(plan, "pixels", pixels, &err), &err) &&
            golden_run_plan(f, plan, ""))
            compare_vision(f, &config, w, plan, pixels);
        gen_plan_free(plan);
    }
    gen_weights_free(weights);
}

/* ---- tokenizer ----------------------------------------------------------------------------------
 */

static bool is_directory(const char *path)
{
    struct stat st;
    return path && stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* The vocabulary: NAME/, clip_tokenizer/ beside it, or where the environment points. */
static const char *vocabulary(golden_fixture *f)
{
    const char *beside = golden_path(f, "%s/clip_tokenizer", f->dir);
    const char *variable = getenv("GEN_TEST_CLIP_TOKENIZER");
    if (is_directory(f->path))
        return f->path;
    if (is_directory(beside))
        return beside;
    if (variable && *variable)
        return variable;
    golden_skip(f, "no CLIP vocabulary: put one into clip_tokenizer/ or set "
                   "GEN_TEST_CLIP_TOKENIZER");
    return NULL;
}

static bool same_ids(const int32_t *ids, size_t count, const json_t *expected)
{
    if (!json_is_array(expected) || json_array_size(expected) != count)
        return false;
    for (size_t i = 0; i < count; i++)
        if (json_integer_value(json_array_get(expected, i)) != ids[i])
            return false;
    return true;
}

/* Either answer is right where the two references differ over HTML entities; a form that is given
 * for the first reference only is not looked at then. */
static bool matches(const int32_t *ids, size_t count, const json_t *test, const char *key)
{
    char other[64];
    snprintf(other, sizeof other, "%s_transformers", key);
    const bool is_given = json_object_get(test, other) != NULL;
    if (json_object_get(test, "ids_transformers") && !is_given)
        return true;
    return same_ids(ids, count, json_object_get(test, key)) ||
           same_ids(ids, count, json_object_get(test, other));
}

static void check_case(golden_fixture *f, const gen_clip_tokenizer *t, size_t number,
                       const json_t *test)
{
    const struct {
        const char *key;
        int32_t pad;
    } padded[] = {{"ids77", 49407}, {"ids77_pad0", 0}};
    gen_error err = {0};
    gen_ids ids = {0};
    const json_t *text = json_object_get(test, "text");
    if (!json_is_string(text)) {
        golden_fail(f, "case %zu has no text", number);
        return;
    }
    if (golden_ok(
            f, gen_clip_tokenize(t, json_string_value(text), json_string_length(text), &ids, &err),
            &err))
        golden_check(f, matches(ids.ids, ids.count, test, "ids"), "case %zu, \"%s\": ids differ",
                     number, json_string_value(text));
    for (size_t i = 0; i < sizeof padded / sizeof *padded; i++) {
        const size_t length = json_array_size(json_object_get(test, padded[i].key));
        int32_t *sequence = length >= 2 ? golden_alloc(f, length, sizeof *sequence) : NULL;
        if (!sequence)
            continue;
        gen_clip_sequence(t, ids.ids, ids.count, padded[i].pad, (int)length, sequence);
        golden_check(f, matches(sequence, length, test, padded[i].key),
                     "case %zu, \"%s\": %s differs", number, json_string_value(text),
                     padded[i].key);
    }
    gen_ids_free(&ids);
}

void golden_clip_tokenizer(golden_fixture *f)
{
    gen_error err = {0};
    json_error_t why;
    gen_clip_tokenizer *t = NULL;
    const char *path = vocabulary(f), *file = golden_path(f, "%s.cases.json", f->path);
    if (!path || !file)
        return;
    json_t *cases = json_load_file(file, 0, &why);
    if (!json_is_array(cases))
        golden_fail(f, "%s: %s", file, cases ? "not a list" : why.text);
    else if (golden_ok(f, gen_clip_tokenizer_open(&t, path, &err), &err))
        for (size_t i = 0; i < json_array_size(cases); i++)
            check_case(f, t, i, json_array_get(cases, i));
    gen_clip_tokenizer_free(t);
    json_decref(cases);
}
