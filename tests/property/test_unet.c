/* test_unet.c - laws of the UNet: samples of a batch do not know of each other, equal text rows act
 * as one, without its last weights the network gives its last bias; and the traits of SDXL. */
#include "gen/core/alloc.h"
#include "gen/core/rng.h"
#include "gen/core/plan.h"
#include "gen/core/safetensors.h"
#include "gen/cpu/cpu.h"
#include "tests/test.h"
#include "unet/unet.h"

#define FIXTURES GEN_TEST_SOURCE_DIR "/golden/fixtures/"

typedef struct model {
    gen_backend *backend;
    gen_weights *weights;
    gen_unet_config cfg;
} model;

static model open_model(const char *name)
{
    model m = {0};
    gen_error err = {0};
    char path[600];
    gen_json *json = NULL;
    EXPECT_OK(gen_weights_new(&m.weights, &err));
    snprintf(path, sizeof path, FIXTURES "%s/diffusion_pytorch_model.safetensors", name);
    EXPECT_OK(gen_safetensors_open(m.weights, path, &err));
    snprintf(path, sizeof path, FIXTURES "%s/config.json", name);
    EXPECT_OK(gen_json_open(&json, path, GEN_ERROR_MODEL, &err));
    EXPECT_OK(gen_unet_config_read(&m.cfg, json, &err));
    gen_json_free(json);
    EXPECT_OK(gen_cpu_open(&m.backend, &(gen_cpu_options){.num_threads = 1}, &err));
    return m;
}

static void close_model(model *m)
{
    gen_weights_free(m->weights);
    m->backend->fns->close(m->backend);
}

enum { H = 10, W = 7, TOKENS = 6 };

static size_t sample_size(const model *m)
{
    return (size_t)(H * W * m->cfg.in_channels);
}

static size_t text_size(const model *m, int num_tokens)
{
    return (size_t)(num_tokens * gen_unet_context_dim(&m->cfg));
}

static gen_plan *make_plan(const model *m, int N, int num_tokens)
{
    gen_error err = {0};
    gen_graph *g = NULL;
    gen_plan *plan = NULL;
    const gen_unet_shape shape = {.batch = N, .height = H, .width = W, .num_tokens = num_tokens};
    EXPECT_OK(gen_graph_new(&g, &err));
    const gen_unet_inputs in = gen_unet_declare(g, &m->cfg, &shape);
    gen_unet_forward(g, gen_scope_root(m->weights), &m->cfg, &in);
    EXPECT_OK(gen_plan_new(&plan, g, m->backend, 0, &err));
    return plan;
}

static void run(const model *m, int N, int num_tokens, const float *x, const double *t,
                const float *text, float *out)
{
    gen_error err = {0};
    gen_plan *plan = make_plan(m, N, num_tokens);
    EXPECT_OK(gen_plan_set(plan, "sample", x, &err));
    EXPECT_OK(gen_plan_set_double(plan, "timestep", t, &err));
    EXPECT_OK(gen_plan_set(plan, "encoder_hidden_states", text, &err));
    EXPECT_OK(gen_plan_run(plan, &err));
    EXPECT_OK(gen_plan_get_output(plan, "sample_out", out, &err));
    gen_plan_free(plan);
}

static float *noise(size_t n, uint64_t seed)
{
    gen_rng rng;
    float *x = gen_malloc(n * sizeof *x);
    assert_non_null(x);
    gen_rng_init(&rng, GEN_RNG_GEN, seed);
    gen_rng_normal(&rng, x, n);
    return x;
}

static void a_batch_of_two_is_two_of_one(void **state)
{
    (void)state;
    static const char *const names[] = {"unet_sd1", "unet_bksdm_tiny"};
    for (int k = 0; k < 2; k++) {
        model m = open_model(names[k]);
        const size_t n = sample_size(&m), text_n = text_size(&m, TOKENS);
        static const double t[2] = {981, 37.5};
        float *x = noise(2 * n, 1), *text = noise(2 * text_n, 2);
        float *both = gen_calloc(2 * n, sizeof *both), *one = gen_calloc(n, sizeof *one);
        run(&m, 2, TOKENS, x, t, text, both);
        for (size_t i = 0; i < 2; i++) {
            run(&m, 1, TOKENS, x + i * n, t + i, text + i * text_n, one);
            /* Where sums are cut follows from the shape, so not to the bit. */
            expect_close(one, both + i * n, n, 1e-5, names[k]);
        }
        gen_free(x);
        gen_free(text);
        gen_free(both);
        gen_free(one);
        close_model(&m);
    }
}

/* Attention to equal keys is an average of equal values, however many there are. */
static void equal_text_rows_act_as_one(void **state)
{
    (void)state;
    model m = open_model("unet_sd1");
    const size_t n = sample_size(&m), width = text_size(&m, 1);
    static const double t = 500;
    float *x = noise(n, 3), *text = noise(TOKENS * width, 4);
    float *many = gen_calloc(n, sizeof *many), *one = gen_calloc(n, sizeof *one);
    for (size_t i = 1; i < TOKENS; i++)
        memcpy(text + i * width, text, width * sizeof *text);
    run(&m, 1, TOKENS, x, &t, text, many);
    run(&m, 1, 1, x, &t, text, one);
    expect_close(many, one, n, 2e-5, "six equal rows of text against one");
    gen_free(x);
    gen_free(text);
    gen_free(many);
    gen_free(one);
    close_model(&m);
}

static void without_its_last_weights_it_gives_the_bias(void **state)
{
    (void)state;
    gen_error err = {0};
    model m = open_model("unet_sd1");
    /* The same tensors but the last weights, in another set. */
    gen_weights *copy = NULL, *file = m.weights;
    EXPECT_OK(gen_weights_new(&copy, &err));
    const gen_weight *bias = gen_weights_find(file, "conv_out.bias");
    assert_non_null(bias);
    for (size_t i = 0; i < gen_weights_count(file); i++) {
        const gen_weight *w = gen_weights_at(file, i);
        const bool is_last = strcmp(w->name, "conv_out.weight") == 0;
        EXPECT_OK(gen_weights_add(copy, w->name, w->file, w->file_name, w->dtype, w->rank, w->dims,
                                  is_last ? gen_calloc(1, w->size) : w->data, w->size, is_last,
                                  &err));
    }
    m.weights = copy;
    const size_t n = sample_size(&m);
    static const double t = 10;
    float *x = noise(n, 5), *text = noise(text_size(&m, TOKENS), 6);
    float *out = gen_calloc(n, sizeof *out), *expected = gen_calloc(n, sizeof *expected);
    run(&m, 1, TOKENS, x, &t, text, out);
    for (size_t i = 0; i < n; i += 4)
        gen_to_f32(expected + i, bias->data, bias->dtype, 4);
    expect_close(out, expected, n, 1e-6, "bias");
    gen_free(x);
    gen_free(text);
    gen_free(out);
    gen_free(expected);
    close_model(&m);
    gen_weights_free(file);
}

/* A wrong width is reported with the place and both shapes, when the plan is made. */
static void shapes_that_do_not_fit(void **state)
{
    (void)state;
    gen_error err = {0};
    gen_graph *g = NULL;
    gen_plan *plan = NULL;
    model m = open_model("unet_sd1");
    const gen_unet_shape shape = {.batch = 1, .height = H, .width = W, .num_tokens = TOKENS};
    m.cfg.cross_attention_dim[0] = 25;
    EXPECT_OK(gen_graph_new(&g, &err));
    const gen_unet_inputs in = gen_unet_declare(g, &m.cfg, &shape);
    gen_unet_forward(g, gen_scope_root(m.weights), &m.cfg, &in);
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_plan_new(&plan, g, m.backend, 0, &err));
    EXPECT_CONTAINS(err.message,
                    "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k: weight [8,24], "
                    "input [1,6,25]");
    close_model(&m);
}

static gen_unet_config config_of(int input_dim)
{
    return (gen_unet_config){.has_text_time = true,
                             .addition_time_embed_dim = 256,
                             .projection_class_embeddings_input_dim = input_dim};
}

static gen_network_traits traits_of(int input_dim)
{
    gen_network_traits traits;
    const gen_unet_config cfg = config_of(input_dim);
    gen_unet_network.describe(&cfg, &traits);
    return traits;
}

static void the_refiner_has_five_conditions(void **state)
{
    (void)state;
    assert_int_equal(traits_of(2816).num_time_ids, 6);
    assert_int_equal(traits_of(2816).pooled_dim, 1280);
    assert_int_equal(traits_of(2560).num_time_ids, 5);
    assert_int_equal(traits_of(2560).pooled_dim, 1280);
}

/* The refiner's last number is a score; the negative prompt has the lower one. */
static void size_conditions(void **state)
{
    static const float expected[] = {64, 96, 0, 0, 64, 96};
    const gen_unet_config base = config_of(2816), refiner = config_of(2560);
    (void)state;
    for (int negative = 0; negative < 2; negative++) {
        float ids[6];
        gen_unet_network.fill_time_ids(&base, 96, 64, negative, ids);
        assert_memory_equal(ids, expected, sizeof expected);
        gen_unet_network.fill_time_ids(&refiner, 96, 64, negative, ids);
        assert_memory_equal(ids, expected, 4 * sizeof *expected);
        EXPECT_BETWEEN(ids[4], negative ? 2.5 : 6.0, negative ? 2.5 : 6.0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_of_two_is_two_of_one),
        cmocka_unit_test(equal_text_rows_act_as_one),
        cmocka_unit_test(without_its_last_weights_it_gives_the_bias),
        cmocka_unit_test(shapes_that_do_not_fit),
        cmocka_unit_test(the_refiner_has_five_conditions),
        cmocka_unit_test(size_conditions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
