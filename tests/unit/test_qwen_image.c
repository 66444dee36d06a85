/* Qwen-Image: settings and sizes that are refused, and padding of the text, which must not count.
 * Its output is a golden test. */
#include "dit/dit.h"
#include "gen/core/alloc.h"
#include "gen/core/plan.h"
#include "gen/core/safetensors.h"
#include "gen/cpu/cpu.h"
#include "tests/test.h"

#define FIXTURE GEN_TEST_SOURCE_DIR "/golden/fixtures/qwen_image/"

enum { H = 4, W = 6, C = 4, TEXT = 5, PADDED = 8, WIDTH = 20 };

static gen_status configure(void **config, const char *text, gen_error *err)
{
    gen_json *json = NULL;
    const gen_status status =
        gen_json_parse(&json, text, strlen(text), "config.json", GEN_ERROR_MODEL, err);
    if (status)
        return status;
    const gen_status result = gen_network_configure(config, &gen_qwen_image_network, json, err);
    gen_json_free(json);
    return result;
}

static void bad_settings_are_refused(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"{\"guidance_embeds\": true}", "\"guidance_embeds\" is true, expected false"},
        {"{\"use_layer3d_rope\": true}", "\"use_layer3d_rope\" is true"},
        {"{\"axes_dims_rope\": [16, 56]}", "add up to \"attention_head_dim\" 128"},
        {"{\"axes_dims_rope\": [17, 55, 56]}", "three even numbers"},
        {"{\"in_channels\": 63}", "\"in_channels\" 63 are not whole channels"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gen_error err = {0};
        void *config = NULL;
        EXPECT_STATUS(GEN_ERROR_MODEL, configure(&config, cases[i][0], &err));
        EXPECT_CONTAINS(err.message, cases[i][1]);
        assert_null(config);
    }
}

typedef struct model {
    gen_weights *weights;
    gen_backend *backend;
    void *config;
} model;

static model open_model(void)
{
    model m = {0};
    gen_error err = {0};
    gen_json *json = NULL;
    EXPECT_OK(gen_json_open(&json, FIXTURE "config.json", GEN_ERROR_MODEL, &err));
    EXPECT_OK(gen_network_configure(&m.config, &gen_qwen_image_network, json, &err));
    gen_json_free(json);
    EXPECT_OK(gen_weights_new(&m.weights, &err));
    EXPECT_OK(gen_safetensors_open(m.weights, FIXTURE "diffusion_pytorch_model.safetensors", &err));
    EXPECT_OK(gen_cpu_open(&m.backend, &(gen_cpu_options){.num_threads = 1}, &err));
    return m;
}

static void close_model(model *m)
{
    gen_weights_free(m->weights);
    m->backend->fns->close(m->backend);
    gen_free(m->config);
}

static void odd_sizes_are_refused(void **state)
{
    (void)state;
    model m = open_model();
    for (int i = 0; i < 2; i++) {
        gen_error err = {0};
        gen_graph *g;
        gen_network_shape shape = {.batch = 1,
                                   .height = H,
                                   .width = W + (i == 0),
                                   .num_tokens = TEXT,
                                   .num_references = 1};
        shape.references[0].height = H + i;
        shape.references[0].width = W;
        EXPECT_OK(gen_graph_new(&g, &err));
        gen_qwen_image_network.record(g, gen_scope_root(m.weights), m.config, &shape);
        EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_graph_status(g, &err));
        EXPECT_CONTAINS(err.message, "are not whole patches of 2");
        gen_graph_free(g);
    }
    close_model(&m);
}

/* A picture of a text of TEXT tokens and padding up to num_tokens. */
static void evaluate(const model *m, int num_tokens, float *out)
{
    static float sample[H * W * C], text[PADDED * WIDTH], mask[PADDED];
    gen_error err = {0};
    gen_graph *g;
    gen_plan *plan;
    const gen_network_shape shape = {.batch = 1, .height = H, .width = W, .num_tokens = num_tokens};
    for (int i = 0; i < H * W * C; i++)
        sample[i] = (float)(i % 7) - 3.0f;
    for (int i = 0; i < num_tokens * WIDTH; i++)
        text[i] = i < TEXT * WIDTH ? (float)(i % 5) - 2.0f : 9.0f;
    for (int i = 0; i < num_tokens; i++)
        mask[i] = i < TEXT ? 1.0f : 0.0f;
    EXPECT_OK(gen_graph_new(&g, &err));
    gen_qwen_image_network.record(g, gen_scope_root(m->weights), m->config, &shape);
    EXPECT_OK(gen_plan_new(&plan, g, m->backend, 0, &err));
    EXPECT_OK(gen_plan_set(plan, "sample", sample, &err));
    EXPECT_OK(gen_plan_set(plan, "encoder_hidden_states", text, &err));
    EXPECT_OK(gen_plan_set(plan, "encoder_attention_mask", mask, &err));
    EXPECT_OK(gen_plan_set_double(plan, "timestep", (const double[]){500}, &err));
    EXPECT_OK(gen_plan_run(plan, &err));
    EXPECT_OK(gen_plan_get_output(plan, "sample_out", out, &err));
    gen_plan_free(plan);
}

static void padding_of_the_text_does_not_count(void **state)
{
    (void)state;
    static float short_text[H * W * C], padded[H * W * C];
    model m = open_model();
    evaluate(&m, TEXT, short_text);
    evaluate(&m, PADDED, padded);
    expect_close(padded, short_text, H * W * C, 1e-5, "padded text");
    close_model(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_settings_are_refused),
        cmocka_unit_test(odd_sizes_are_refused),
        cmocka_unit_test(padding_of_the_text_does_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
