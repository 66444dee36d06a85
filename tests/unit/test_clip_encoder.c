/* The text encoder object on the tiny models of the golden fixtures: layer choice, clip skip,
 * chunks, weights, pooling, and models that are not what they say. */
#include <stdlib.h>

#include "gen/core/safetensors.h"
#include "gen/cpu/cpu.h"
#include "gen/text/text.h"
#include "tests/test.h"

#define FIXTURES GEN_TEST_SOURCE_DIR "/golden/fixtures/"

typedef struct model {
    gen_weights *weights, *io;
    gen_clip_config config;
    gen_text_encoder *encoder;
} model;

static gen_backend *backend;

static int open_backend(void **state)
{
    (void)state;
    return gen_cpu_open(&backend, &(gen_cpu_options){.num_threads = 1}, NULL);
}

static int close_backend(void **state)
{
    (void)state;
    backend->fns->close(backend);
    return 0;
}

static gen_weights *open_weights(const char *path)
{
    gen_error err = {0};
    gen_weights *w = NULL;
    EXPECT_OK(gen_weights_new(&w, &err));
    EXPECT_OK(gen_safetensors_open(w, path, &err));
    return w;
}

static void read_config(gen_clip_config *config, const char *path)
{
    gen_error err = {0};
    gen_json *json = NULL;
    EXPECT_OK(gen_json_open(&json, path, GEN_ERROR_MODEL, &err));
    EXPECT_OK(gen_clip_config_parse(config, json, &err));
    gen_json_free(json);
}

static model open_model(const char *dir, const char *io)
{
    gen_error err = {0};
    model m = {0};
    char path[512];
    snprintf(path, sizeof path, FIXTURES "%s/config.json", dir);
    read_config(&m.config, path);
    snprintf(path, sizeof path, FIXTURES "%s/model.safetensors", dir);
    m.weights = open_weights(path);
    snprintf(path, sizeof path, FIXTURES "%s.io.safetensors", io);
    m.io = open_weights(path);
    EXPECT_OK(
        gen_text_encoder_new(&m.encoder, &m.config, gen_scope_root(m.weights), backend, &err));
    return m;
}

static void close_model(model *m)
{
    gen_text_encoder_free(m->encoder);
    gen_weights_free(m->io);
    gen_weights_free(m->weights);
}

/* The recorded ids of one or more sequences as chunks; the io file has them as I64. */
static gen_token_chunks *recorded_ids(const model *m, const char *name)
{
    const gen_weight *w = gen_weights_find(m->io, name);
    assert_non_null(w);
    gen_token_chunks *c = gen_calloc(1, sizeof *c);
    const size_t n = (size_t)(w->dims[0] * w->dims[1]);
    c->num_chunks = (int)w->dims[0];
    c->length = (int)w->dims[1];
    c->ids = gen_malloc(n * sizeof *c->ids);
    c->weights = gen_malloc(n * sizeof *c->weights);
    for (size_t i = 0; i < n; i++) {
        int64_t id;
        memcpy(&id, (const char *)w->data + 8 * i, 8);
        c->ids[i] = (int32_t)id;
        c->weights[i] = 1;
    }
    return c;
}

static void expect_recorded(const model *m, const char *name, const float *values, size_t n)
{
    const gen_weight *w = gen_weights_find(m->io, name);
    assert_non_null(w);
    assert_true(w->size >= n * sizeof(float));
    float *expected = malloc(n * sizeof *expected);
    assert_non_null(expected);
    gen_to_f32(expected, w->data, w->dtype, n);
    expect_close(values, expected, n, 1e-4, name);
    free(expected);
}

static gen_text_states *encode(const model *m, const gen_token_chunks *c, gen_text_options options)
{
    gen_error err = {0};
    gen_text_states *s = NULL;
    EXPECT_OK(gen_text_encoder_encode(m->encoder, c, &options, &s, &err));
    return s;
}

static size_t count(const gen_text_states *s)
{
    return (size_t)(s->num_tokens * s->dim);
}

/* From the words to what the pipeline of the reference gave to its UNet. */
static void prompts_of_the_pipeline(void **state)
{
    (void)state;
    static const char *const texts[] = {"A photo of the cat, on the moon!", "blurry"};
    static const char *const names[] = {"t2i/prompt_embeds", "t2i/negative_embeds"};
    gen_error err = {0};
    gen_clip_tokenizer *t = NULL;
    model m = open_model("pipe_sd1/text_encoder", "pipe_sd1");
    EXPECT_OK(gen_clip_tokenizer_open(&t, FIXTURES "pipe_sd1", &err));
    EXPECT_OK(gen_clip_tokenizer_check(t, m.config.vocab_size, &err));
    for (int i = 0; i < 2; i++) {
        gen_prompt *p = NULL;
        gen_token_chunks *c = NULL;
        EXPECT_OK(gen_prompt_parse(&p, texts[i], &err));
        EXPECT_OK(gen_prompt_tokenize(&c, p, t, NULL, &err));
        gen_text_states *s = encode(&m, c, (gen_text_options){.final_norm = true});
        assert_int_equal(s->num_tokens, 77);
        assert_int_equal(s->dim, 24);
        assert_int_equal(s->pooled_dim, 0);
        assert_null(s->pooled);
        expect_recorded(&m, names[i], s->states, count(s));
        gen_text_states_free(s);
        gen_token_chunks_free(c);
        gen_prompt_free(p);
    }
    gen_clip_tokenizer_free(t);
    close_model(&m);
}

/* Two recorded sequences as two chunks: each is encoded as if alone. */
static void layers_by_family_and_clip_skip(void **state)
{
    (void)state;
    static const struct {
        gen_text_options options;
        const char *name;
    } cases[] = {
        {{.final_norm = true}, "out.last_hidden_state"},
        {{.final_norm = true, .clip_skip = 1, .layer_from_end = 1}, "out.last_hidden_state"},
        {{.layer_from_end = 1}, "out.hidden_states.3"},
        {{.layer_from_end = 2}, "out.hidden_states.2"},
        {{.clip_skip = 2}, "out.hidden_states.2"},
        {{.clip_skip = 3}, "out.hidden_states.1"},
        {{.layer_from_end = 2, .clip_skip = 2}, "out.hidden_states.1"},
        {{.layer_from_end = 2, .pooled = true}, "out.hidden_states.2"},
    };
    gen_error err = {0};
    model m = open_model("clip_l", "clip_l");
    gen_token_chunks *c = recorded_ids(&m, "in.input_ids");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gen_text_states *s = encode(&m, c, cases[i].options);
        assert_int_equal(s->num_tokens, 2 * 77);
        expect_recorded(&m, cases[i].name, s->states, count(s));
        if (s->pooled)
            expect_recorded(&m, "out.pooler_output", s->pooled, (size_t)s->pooled_dim);
        gen_text_states_free(s);
    }
    gen_text_states *s = NULL;
    EXPECT_STATUS(
        GEN_ERROR_ARGUMENT,
        gen_text_encoder_encode(m.encoder, c, &(gen_text_options){.clip_skip = 4}, &s, &err));
    EXPECT_CONTAINS(err.message, "clip skip 4: this text encoder has 3 layers, at most 3");
    EXPECT_STATUS(GEN_ERROR_ARGUMENT,
                  gen_text_encoder_encode(m.encoder, c,
                                          &(gen_text_options){.clip_skip = 3, .layer_from_end = 2},
                                          &s, &err));
    gen_token_chunks_free(c);
    close_model(&m);
}

static void pooled_and_projected(void **state)
{
    (void)state;
    model m = open_model("clip_g_proj", "clip_g_proj");
    gen_token_chunks *c = recorded_ids(&m, "in.input_ids");
    assert_true(m.config.has_projection);
    assert_int_equal(gen_text_encoder_pooled_dim(m.encoder), 20);
    gen_text_states *s = encode(&m, c, (gen_text_options){.layer_from_end = 2, .pooled = true});
    assert_int_equal(s->pooled_dim, 20);
    expect_recorded(&m, "out.text_embeds", s->pooled, 20);
    expect_recorded(&m, "out.hidden_states.1", s->states, count(s));
    gen_text_states_free(s);
    gen_token_chunks_free(c);
    close_model(&m);
}

static double mean(const float *v, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += v[i];
    return sum / (double)n;
}

static void weights_act_on_rows(void **state)
{
    (void)state;
    model m = open_model("clip_l", "clip_l");
    gen_token_chunks *c = recorded_ids(&m, "in.input_ids");
    const size_t n = 77 * 32;
    gen_text_options options = {.final_norm = true, .pooled = true};
    gen_text_states *plain = encode(&m, c, options);
    c->weights[77 + 3] = 1.5f; /* in the second chunk only */
    c->weights[77 + 4] = -0.5f;

    options.emphasis = GEN_EMPHASIS_NONE;
    gen_text_states *s = encode(&m, c, options);
    assert_memory_equal(s->states, plain->states, 2 * n * sizeof(float));
    gen_text_states_free(s);

    options.emphasis = GEN_EMPHASIS_PLAIN;
    s = encode(&m, c, options);
    assert_memory_equal(s->states, plain->states, n * sizeof(float));
    for (size_t i = 0; i < n; i++) {
        const size_t row = i / 32;
        const float w = row == 3 ? 1.5f : row == 4 ? -0.5f : 1;
        assert_true(s->states[n + i] == plain->states[n + i] * w);
    }
    const double before = mean(plain->states + n, n), after = mean(s->states + n, n);
    float *expected = s->states;

    options.emphasis = GEN_EMPHASIS_MEAN;
    gen_text_states *scaled = encode(&m, c, options);
    assert_memory_equal(scaled->states, plain->states, n * sizeof(float));
    for (size_t i = 0; i < n; i++)
        expected[n + i] *= (float)(before / after);
    expect_close(scaled->states + n, expected + n, n, 1e-5, "restored mean");
    EXPECT_BETWEEN(mean(scaled->states + n, n), before - 1e-6, before + 1e-6);
    assert_memory_equal(scaled->pooled, plain->pooled, 32 * sizeof(float));
    gen_text_states_free(scaled);
    gen_text_states_free(s);
    gen_text_states_free(plain);
    gen_token_chunks_free(c);
    close_model(&m);
}

static void end_token(void **state)
{
    (void)state;
    static const int32_t ids[] = {9, 4, 7, 9, 9, 2};
    assert_int_equal(gen_clip_eos_position(&(gen_clip_config){.eos_token_id = 2}, ids, 6), 0);
    assert_int_equal(gen_clip_eos_position(&(gen_clip_config){.eos_token_id = 2}, ids + 1, 5), 2);
    assert_int_equal(gen_clip_eos_position(&(gen_clip_config){.eos_token_id = 7}, ids, 6), 2);
    assert_int_equal(gen_clip_eos_position(&(gen_clip_config){.eos_token_id = 5}, ids, 6), 0);
}

/* A vocabulary of another model gives ids outside the table. */
static void ids_outside_the_table(void **state)
{
    (void)state;
    gen_error err = {0};
    gen_text_states *s = NULL;
    model m = open_model("clip_l", "clip_l");
    gen_token_chunks *c = recorded_ids(&m, "in.input_ids");
    for (int i = 0; i < 2; i++) {
        c->ids[5] = i ? 300 : -1;
        EXPECT_STATUS(GEN_ERROR_MODEL,
                      gen_text_encoder_encode(m.encoder, c, &(gen_text_options){0}, &s, &err));
        EXPECT_CONTAINS(err.message, "the text encoder knows 300");
    }
    c->ids[5] = 1;
    c->length = 78;
    EXPECT_STATUS(GEN_ERROR_MODEL,
                  gen_text_encoder_encode(m.encoder, c, &(gen_text_options){0}, &s, &err));
    EXPECT_CONTAINS(err.message, "77 positions");
    gen_token_chunks_free(c);
    close_model(&m);
}

/* ---- models that do not fit their configuration -------------------------------------------------
 */

static void expect_no_encoder(gen_clip_config config, gen_weights *w, const char *part,
                              const char *part2)
{
    gen_error err = {0};
    gen_text_encoder *e = NULL;
    EXPECT_STATUS(GEN_ERROR_MODEL,
                  gen_text_encoder_new(&e, &config, gen_scope_root(w), backend, &err));
    EXPECT_CONTAINS(err.message, part);
    EXPECT_CONTAINS(err.message, part2);
    assert_null(e);
}

/* A set with all tensors of `from` but the one named. */
static gen_weights *without(const gen_weights *from, const char *name)
{
    gen_error err = {0};
    gen_weights *w = NULL;
    EXPECT_OK(gen_weights_new(&w, &err));
    for (size_t i = 0; i < gen_weights_count(from); i++) {
        const gen_weight *x = gen_weights_at(from, i);
        if (strcmp(x->name, name))
            EXPECT_OK(gen_weights_add(w, x->name, x->file, x->file_name, x->dtype, x->rank, x->dims,
                                      x->data, x->size, false, &err));
    }
    assert_int_equal(gen_weights_count(w) + 1, gen_weights_count(from));
    return w;
}

static void missing_tensors(void **state)
{
    (void)state;
    static const char *const names[] = {
        "text_model.embeddings.token_embedding.weight",
        "text_model.embeddings.position_embedding.weight",
        "text_model.encoder.layers.1.layer_norm1.weight",
        "text_model.encoder.layers.1.self_attn.q_proj.weight",
        "text_model.encoder.layers.1.self_attn.k_proj.bias",
        "text_model.encoder.layers.0.mlp.fc2.bias",
        "text_model.final_layer_norm.bias",
        "text_projection.weight",
    };
    gen_clip_config config;
    gen_weights *all = open_weights(FIXTURES "clip_g_proj/model.safetensors");
    read_config(&config, FIXTURES "clip_g_proj/config.json");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        gen_weights *w = without(all, names[i]);
        expect_no_encoder(config, w, names[i], "is missing");
        gen_weights_free(w);
    }
    gen_weights_free(all);
}

static void wrong_configurations(void **state)
{
    (void)state;
    gen_clip_config right;
    gen_weights *w = open_weights(FIXTURES "clip_l/model.safetensors");
    read_config(&right, FIXTURES "clip_l/config.json");
    gen_clip_config config = right;
    config.vocab_size = 301;
    expect_no_encoder(config, w, "token_embedding.weight [300,32]", "expected [301,32]");
    config = right;
    config.hidden_size = 64;
    expect_no_encoder(config, w, "[300,32]", "expected [300,64]");
    config = right;
    config.intermediate_size = 128;
    expect_no_encoder(config, w, "layers.0.mlp.fc1", "64 outputs, expected 128");
    config = right;
    config.num_hidden_layers = 4;
    expect_no_encoder(config, w, "layers.3", "is missing");
    config = right;
    config.has_projection = true;
    expect_no_encoder(config, w, "text_projection.weight", "is missing");
    gen_weights_free(w);
}

/* After opening, no tensor of the encoder is left over to be reported as superfluous. */
static void every_tensor_is_used(void **state)
{
    (void)state;
    model m = open_model("clip_h", "clip_h");
    for (size_t i = 0; i < gen_weights_count(m.weights); i++)
        if (!gen_weights_at(m.weights, i)->is_used)
            fail_msg("%s is not used", gen_weights_at(m.weights, i)->name);
    close_model(&m);
}

/* Newer exports have no "text_model." in front. */
static void names_without_prefix(void **state)
{
    (void)state;
    gen_error err = {0};
    model m = open_model("clip_l", "clip_l");
    gen_weights *bare = NULL;
    gen_text_encoder *e = NULL;
    EXPECT_OK(gen_weights_new(&bare, &err));
    for (size_t i = 0; i < gen_weights_count(m.weights); i++) {
        const gen_weight *x = gen_weights_at(m.weights, i);
        EXPECT_OK(gen_weights_add(bare, x->name + strlen("text_model."), x->file, x->file_name,
                                  x->dtype, x->rank, x->dims, x->data, x->size, false, &err));
    }
    EXPECT_OK(gen_text_encoder_new(&e, &m.config, gen_scope_root(bare), backend, &err));
    gen_text_encoder_free(m.encoder);
    m.encoder = e;
    gen_token_chunks *c = recorded_ids(&m, "in.input_ids");
    gen_text_states *s = encode(&m, c, (gen_text_options){.final_norm = true});
    expect_recorded(&m, "out.last_hidden_state", s->states, count(s));
    gen_text_states_free(s);
    gen_token_chunks_free(c);
    gen_text_encoder_free(m.encoder);
    m.encoder = NULL;
    gen_weights_free(bare);
    close_model(&m);
}

/* ---- configurations -----------------------------------------------------------------------------
 */

static gen_status parse_config(gen_clip_config *config, const char *text, gen_error *err)
{
    gen_json *json = NULL;
    gen_status status =
        gen_json_parse(&json, text, strlen(text), "config.json", GEN_ERROR_MODEL, err);
    if (!status)
        status = gen_clip_config_parse(config, json, err);
    gen_json_free(json);
    return status;
}

static void configurations(void **state)
{
    (void)state;
    gen_error err = {0};
    gen_clip_config c;
    EXPECT_OK(parse_config(&c, "{}", &err));
    assert_int_equal(c.vocab_size, 49408);
    assert_int_equal(c.hidden_size, 512);
    assert_int_equal(c.num_hidden_layers, 12);
    assert_int_equal(c.hidden_act, GEN_ACT_QUICK_GELU);
    EXPECT_OK(parse_config(
        &c, "{\"text_config\": {\"hidden_size\": 96, \"num_attention_heads\": 3}}", &err));
    assert_int_equal(c.hidden_size, 96);
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"{\"hidden_act\": \"snake\"}", "\"hidden_act\" is \"snake\""},
        {"{\"hidden_size\": 100, \"num_attention_heads\": 3}", "not a multiple"},
        {"{\"hidden_size\": 0}", "hidden_size"},
        {"{\"num_hidden_layers\": 1000}", "num_hidden_layers"},
        {"{\"layer_norm_eps\": -1}", "layer_norm_eps"},
        {"{\"vocab_size\": \"many\"}", "vocab_size"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        EXPECT_STATUS(GEN_ERROR_MODEL, parse_config(&c, bad[i].text, &err));
        EXPECT_CONTAINS(err.message, bad[i].message);
        EXPECT_CONTAINS(err.message, "config.json");
    }
}

static void configuration_from_tensors(void **state)
{
    (void)state;
    gen_error err = {0};
    gen_clip_config from_file, from_weights;
    gen_weights *w = open_weights(FIXTURES "clip_h/model.safetensors"), *empty = NULL;
    read_config(&from_file, FIXTURES "clip_h/config.json");
    EXPECT_OK(gen_clip_config_from_weights(&from_weights, gen_scope_root(w), &err));
    assert_int_equal(from_weights.vocab_size, from_file.vocab_size);
    assert_int_equal(from_weights.hidden_size, from_file.hidden_size);
    assert_int_equal(from_weights.intermediate_size, from_file.intermediate_size);
    assert_int_equal(from_weights.max_position_embeddings, from_file.max_position_embeddings);
    assert_int_equal(from_weights.num_hidden_layers, from_file.num_hidden_layers);
    gen_weights_free(w);
    EXPECT_OK(gen_weights_new(&empty, &err));
    EXPECT_STATUS(GEN_ERROR_MODEL,
                  gen_clip_config_from_weights(&from_weights, gen_scope_root(empty), &err));
    gen_weights_free(empty);
}

static void measuring(void **state)
{
    (void)state;
    gen_error err = {0};
    gen_plan_stats one = {0}, two = {0};
    model m = open_model("clip_l", "clip_l");
    EXPECT_OK(
        gen_text_encoder_measure(m.encoder, 77, &(gen_text_options){.clip_skip = 2}, &one, &err));
    EXPECT_OK(gen_text_encoder_measure(m.encoder, 77, &(gen_text_options){0}, &two, &err));
    assert_true(one.flops > 0 && one.arena > 0);
    assert_true(two.flops > one.flops * 1.2); /* one layer of three more */
    close_model(&m);
}

static void lack_of_memory(void **state)
{
    (void)state;
    model m = open_model("clip_l", "clip_l");
    gen_token_chunks *c = recorded_ids(&m, "in.input_ids");
    const gen_text_options options = {.final_norm = true, .pooled = true};
    for (long n = 1;; n++) {
        gen_text_encoder *e = NULL;
        gen_text_states *s = NULL;
        gen_alloc_fail_at(n);
        gen_status status =
            gen_text_encoder_new(&e, &m.config, gen_scope_root(m.weights), backend, NULL);
        if (!status)
            status = gen_text_encoder_encode(e, c, &options, &s, NULL);
        const bool was_reached = gen_alloc_count() >= n;
        gen_alloc_fail_at(0);
        gen_text_states_free(s);
        gen_text_encoder_free(e);
        if (!was_reached) {
            assert_int_equal(status, GEN_OK);
            break;
        }
        assert_int_equal(status, GEN_ERROR_MEMORY);
    }
    gen_token_chunks_free(c);
    close_model(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_of_the_pipeline),
        cmocka_unit_test(layers_by_family_and_clip_skip),
        cmocka_unit_test(pooled_and_projected),
        cmocka_unit_test(weights_act_on_rows),
        cmocka_unit_test(end_token),
        cmocka_unit_test(ids_outside_the_table),
        cmocka_unit_test(missing_tensors),
        cmocka_unit_test(wrong_configurations),
        cmocka_unit_test(every_tensor_is_used),
        cmocka_unit_test(names_without_prefix),
        cmocka_unit_test(configurations),
        cmocka_unit_test(configuration_from_tensors),
        cmocka_unit_test(measuring),
        cmocka_unit_test(lack_of_memory),
    };
    return cmocka_run_group_tests(tests, open_backend, close_backend);
}
