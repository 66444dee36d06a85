/* T5 encoders: buckets of relative positions, both layouts of names, and models, configurations and
 * ids that do not belong together.  The states themselves are golden tests. */
#include <math.h>
#include <stdlib.h>

#include "gen/core/alloc.h"
#include "gen/core/keymap.h"
#include "gen/core/safetensors.h"
#include "gen/cpu/cpu.h"
#include "gen/text/t5.h"
#include "tests/test.h"

#define FIXTURES GEN_TEST_SOURCE_DIR "/golden/fixtures/"

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

static gen_weights *open_weights(const char *name)
{
    gen_error err = {0};
    gen_weights *w = NULL;
    char path[512];
    snprintf(path, sizeof path, FIXTURES "%s/model.safetensors", name);
    EXPECT_OK(gen_weights_new(&w, &err));
    EXPECT_OK(gen_safetensors_open(w, path, &err));
    return w;
}

/* The table of dit.md 2.4, for distances before and behind the query. */
static void buckets_are_those_of_the_table(void **state)
{
    (void)state;
    static const struct {
        int first, last, bucket;
    } ranges[] = {{0, 0, 0},    {1, 1, 1},    {7, 7, 7},     {8, 11, 8},
                  {12, 15, 9},  {16, 22, 10}, {23, 31, 11},  {32, 45, 12},
                  {46, 63, 13}, {64, 90, 14}, {91, 2000, 15}};
    const gen_t5_config config = {.num_buckets = 32, .max_distance = 128};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        for (int n = ranges[i].first; n <= ranges[i].last; n++) {
            assert_int_equal(gen_t5_bucket(&config, -n), ranges[i].bucket);
            if (n)
                assert_int_equal(gen_t5_bucket(&config, n), 16 + ranges[i].bucket);
        }
}

/* The name in the original code of Wan. */
static void wan_name(char *out, size_t size, const char *name)
{
    static const char *const ends[][2] = {
        {"layer.0.layer_norm.weight", "norm1.weight"},
        {"layer.0.SelfAttention.q.weight", "attn.q.weight"},
        {"layer.0.SelfAttention.k.weight", "attn.k.weight"},
        {"layer.0.SelfAttention.v.weight", "attn.v.weight"},
        {"layer.0.SelfAttention.o.weight", "attn.o.weight"},
        {"layer.0.SelfAttention.relative_attention_bias.weight", "pos_embedding.embedding.weight"},
        {"layer.1.layer_norm.weight", "norm2.weight"},
        {"layer.1.DenseReluDense.wi_0.weight", "ffn.gate.0.weight"},
        {"layer.1.DenseReluDense.wi_1.weight", "ffn.fc1.weight"},
        {"layer.1.DenseReluDense.wo.weight", "ffn.fc2.weight"},
    };
    int block = 0, used = 0;
    if (!strcmp(name, "shared.weight")) {
        snprintf(out, size, "token_embedding.weight");
    } else if (!strcmp(name, "encoder.final_layer_norm.weight")) {
        snprintf(out, size, "norm.weight");
    } else {
        assert_int_equal(sscanf(name, "encoder.block.%d.%n", &block, &used), 1);
        for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
            if (!strcmp(name + used, ends[i][0])) {
                snprintf(out, size, "blocks.%d.%s", block, ends[i][1]);
                return;
            }
        fail_msg("%s has no other name", name);
    }
}

static void copy_under(gen_weights *to, const gen_weights *from, bool is_wan)
{
    gen_error err = {0};
    char name[256];
    for (size_t i = 0; i < gen_weights_count(from); i++) {
        const gen_weight *w = gen_weights_at(from, i);
        snprintf(name, sizeof name, "%s", w->name);
        if (is_wan)
            wan_name(name, sizeof name, w->name);
        EXPECT_OK(gen_weights_add(to, name, "file", name, w->dtype, w->rank, w->dims, w->data,
                                  w->size, false, &err));
    }
}

/* Under either names the same tensors come out, and the sizes are read off them. */
static void both_layouts_are_known(void **state)
{
    (void)state;
    gen_weights *fixture = open_weights("umt5");
    for (int is_wan = 0; is_wan < 2; is_wan++) {
        gen_error err = {0};
        gen_weights *file, *part;
        gen_t5_config config;
        gen_file_contents contents;
        EXPECT_OK(gen_weights_new(&file, &err));
        EXPECT_OK(gen_weights_new(&part, &err));
        copy_under(file, fixture, is_wan);
        gen_keymap_examine(file, &contents);
        assert_true(contents.is_t5);
        EXPECT_OK(gen_keymap_add(part, file, GEN_PART_TEXT_ENCODER, &err));
        assert_int_equal(gen_weights_count(part), gen_weights_count(fixture));
        for (size_t i = 0; i < gen_weights_count(fixture); i++) {
            const gen_weight *w = gen_weights_at(fixture, i);
            const gen_weight *same = gen_weights_find(part, w->name);
            assert_non_null(same);
            assert_ptr_equal(same->data, w->data);
        }
        EXPECT_OK(gen_t5_config_from_weights(&config, gen_scope_root(part), &err));
        assert_int_equal(config.num_layers, 3);
        assert_int_equal(config.num_heads, 4);
        assert_int_equal(config.d_kv, 8);
        gen_weights_free(part);
        gen_weights_free(file);
    }
    gen_weights_free(fixture);
}

/* The decoder of a whole T5 is left out without a word. */
static void decoders_are_leftovers(void **state)
{
    (void)state;
    gen_error err = {0};
    gen_weights *fixture = open_weights("t5_relu"), *part;
    const float zero = 0;
    EXPECT_OK(gen_weights_add(fixture, "decoder.final_layer_norm.weight", "file", "x", GEN_F32, 1,
                              (int64_t[]){1}, &zero, sizeof zero, false, &err));
    EXPECT_OK(gen_weights_new(&part, &err));
    EXPECT_OK(gen_keymap_add(part, fixture, GEN_PART_TEXT_ENCODER, &err));
    assert_int_equal(gen_weights_count(part), gen_weights_count(fixture) - 1);
    assert_true(gen_weights_find(fixture, "decoder.final_layer_norm.weight")->is_ignored);
    gen_weights_free(part);
    gen_weights_free(fixture);
}

static gen_status parse(gen_t5_config *config, const char *text, gen_error *err)
{
    gen_json *json = NULL;
    const gen_status status =
        gen_json_parse(&json, text, strlen(text), "config.json", GEN_ERROR_MODEL, err);
    if (status)
        return status;
    const gen_status result = gen_t5_config_parse(config, json, err);
    gen_json_free(json);
    return result;
}

static void bad_configurations_are_refused(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"{\"feed_forward_proj\": \"tanh\"}", "\"feed_forward_proj\" is \"tanh\", expected relu"},
        {"{\"num_layers\": 0}", "num_layers"},
        {"{\"layer_norm_epsilon\": 2}", "\"layer_norm_epsilon\" is 2, expected 0 to 1"},
        {"{\"relative_attention_max_distance\": 8}", "expected more than a quarter"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gen_error err = {0};
        gen_t5_config config;
        EXPECT_STATUS(GEN_ERROR_MODEL, parse(&config, cases[i][0], &err));
        EXPECT_CONTAINS(err.message, cases[i][1]);
    }
}

static void what_does_not_fit_is_named(void **state)
{
    (void)state;
    gen_error err = {0};
    gen_weights *w = open_weights("t5_gated");
    const gen_scope scope = gen_scope_root(w);
    gen_t5_config config;
    gen_t5_encoder *e = NULL;
    EXPECT_OK(gen_t5_config_from_weights(&config, scope, &err));
    const gen_t5_config good = config;

    config.d_ff++;
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_t5_encoder_new(&e, &config, scope, backend, &err));
    EXPECT_CONTAINS(err.message, "encoder.block.0.layer.1.DenseReluDense.wi_0: weight has 48 "
                                 "outputs, expected 49");
    config = good;
    config.num_layers++;
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_t5_encoder_new(&e, &config, scope, backend, &err));
    EXPECT_CONTAINS(err.message, "encoder.block.3.layer.0.layer_norm");
    config = good;
    config.vocab_size = 255;
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_t5_encoder_new(&e, &config, scope, backend, &err));
    EXPECT_CONTAINS(err.message, "weight [256,32], expected [255,32]");

    EXPECT_OK(gen_t5_encoder_new(&e, &good, scope, backend, &err));
    float states[2 * 32];
    gen_t5_text text = {.ids = (int32_t[]){1, 256}, .count = 2, .states = states};
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_t5_encoder_encode(e, &text, 1, &err));
    EXPECT_CONTAINS(err.message, "token id 256, but the text encoder knows 256");
    gen_plan_stats stats;
    EXPECT_OK(gen_t5_encoder_measure(e, 2, &stats, &err));
    assert_true(stats.flops > 0 && stats.arena > 0);
    gen_t5_encoder_free(e);
    gen_weights_free(w);
}

/* With weights in 8 bits the states are close, but not the same, and a block is smaller. */
static void eight_bits_are_close_and_small(void **state)
{
    (void)state;
    enum { T = 3, D = 32 };
    float states[2][T * D];
    size_t weights[2];
    for (int q8 = 0; q8 < 2; q8++) {
        gen_error err = {0};
        gen_weights *w = open_weights("t5_gated");
        gen_t5_config config;
        gen_t5_encoder *e;
        gen_backend *cpu;
        gen_plan_stats stats;
        gen_t5_text text = {.ids = (int32_t[]){7, 8, 1}, .count = T, .states = states[q8]};
        EXPECT_OK(
            gen_cpu_open(&cpu,
                         &(gen_cpu_options){.num_threads = 1,
                                            .gemm = GEN_GEMM_OWN,
                                            .weights = q8 ? GEN_WEIGHTS_Q8 : GEN_WEIGHTS_STORED},
                         &err));
        EXPECT_OK(gen_t5_config_from_weights(&config, gen_scope_root(w), &err));
        EXPECT_OK(gen_t5_encoder_new(&e, &config, gen_scope_root(w), cpu, &err));
        EXPECT_OK(gen_t5_encoder_encode(e, &text, 1, &err));
        EXPECT_OK(gen_t5_encoder_measure(e, T, &stats, &err));
        weights[q8] = stats.weights;
        gen_t5_encoder_free(e);
        gen_weights_free(w);
        cpu->fns->close(cpu);
    }
    assert_true(expect_close(states[1], states[0], T * D, 0.02, "8 bits") > 1e-5);
    assert_true(weights[1] < weights[0] / 2);
}

/* OpenBLAS knows nothing of them. */
static void eight_bits_need_the_own_product(void **state)
{
    (void)state;
    gen_error err = {0};
    gen_backend *cpu = NULL;
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_cpu_open(&cpu,
                                                   &(gen_cpu_options){.num_threads = 1,
                                                                      .gemm = GEN_GEMM_OPENBLAS,
                                                                      .weights = GEN_WEIGHTS_Q8},
                                                   &err));
    EXPECT_CONTAINS(err.message, "use --gemm own");
}

/* Every allocation fails once; then all is as if nothing had happened. */
static void lack_of_memory_is_reported(void **state)
{
    (void)state;
    gen_error err = {0};
    gen_weights *w = open_weights("t5_relu");
    gen_t5_config config;
    EXPECT_OK(gen_t5_config_from_weights(&config, gen_scope_root(w), &err));
    float states[2][3 * 16];
    gen_t5_text text = {.ids = (int32_t[]){7, 8, 1}, .count = 3};
    bool is_done = false;
    for (long n = 0; !is_done; n++) {
        gen_t5_encoder *e = NULL;
        text.states = states[n > 0];
        gen_alloc_fail_at(n);
        gen_status status = gen_t5_encoder_new(&e, &config, gen_scope_root(w), backend, &err);
        if (!status)
            status = gen_t5_encoder_encode(e, &text, 1, &err);
        is_done = n > 0 && gen_alloc_count() < n;
        gen_alloc_fail_at(0);
        if (n == 0 || is_done)
            assert_int_equal(status, GEN_OK);
        else if (status)
            assert_int_equal(status, GEN_ERROR_MEMORY);
        gen_t5_encoder_free(e);
    }
    assert_memory_equal(states[0], states[1], sizeof states[0]);
    gen_weights_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_are_those_of_the_table),
        cmocka_unit_test(both_layouts_are_known),
        cmocka_unit_test(decoders_are_leftovers),
        cmocka_unit_test(bad_configurations_are_refused),
        cmocka_unit_test(what_does_not_fit_is_named),
        cmocka_unit_test(eight_bits_are_close_and_small),
        cmocka_unit_test(eight_bits_need_the_own_product),
        cmocka_unit_test(lack_of_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, open_backend, close_backend);
}
