/* DiT and PixArt: settings and what follows from them, positions and frequencies against published
 * digits, latents off the grid. */
#include "tests/test.h"

#include <math.h>

#include "dit/dit.h"
#include "gen/core/alloc.h"
#include "gen/core/patches.h"
#include "gen/core/plan.h"
#include "gen/cpu/cpu.h"
#include "gen/core/nn.h"

static gen_error err;

static gen_json *parse(const char *text)
{
    gen_json *json = NULL;
    EXPECT_OK(gen_json_parse(&json, text, strlen(text), "config.json", GEN_ERROR_MODEL, &err));
    return json;
}

static gen_network_traits traits_of(const gen_network_class *cls, const char *text,
                                    const char *index)
{
    gen_network_traits traits;
    void *config;
    gen_json *json = parse(text);
    EXPECT_OK(gen_network_configure(&config, cls, json, &err));
    gen_json_free(json);
    if (index && cls->read_index) {
        json = parse(index);
        cls->read_index(config, json);
        gen_json_free(json);
    }
    cls->describe(config, &traits);
    gen_free(config);
    return traits;
}

/* The defaults of both formats are XL/2 of 256 pixels. */
static void traits_of_dit(void **state)
{
    (void)state;
    gen_network_traits t = traits_of(&gen_dit_original_network, "{}", NULL);
    assert_int_equal(t.sample_height, 32);
    assert_int_equal(t.patch_width, 2);
    assert_int_equal(t.out_channels, 8);
    assert_int_equal(gen_network_latent_channels(&t), 4);
    assert_int_equal(t.guided_channels, 3);
    assert_int_equal(t.null_class, 1000);
    assert_int_equal(t.defaults.num_inference_steps, 250);
    t = traits_of(&gen_dit_original_network, "{\"class_dropout_prob\": 0, \"learn_sigma\": false}",
                  NULL);
    assert_int_equal(t.null_class, -1);
    assert_int_equal(t.variance_channels, 0);
    t = traits_of(&gen_dit_network, "{\"out_channels\": 8, \"num_embeds_ada_norm\": 10}", NULL);
    assert_int_equal(t.guided_channels, 0);
    assert_int_equal(t.null_class, 10);
    assert_int_equal(t.variance_channels, 4);
    assert_int_equal(t.context_dim, 0);
}

/* The published code guides three channels; a file may know better. */
static void traits_of_rwkv(void **state)
{
    (void)state;
    assert_int_equal(traits_of(&gen_rwkv_network, "{}", NULL).guided_channels, 3);
    assert_int_equal(traits_of(&gen_rwkv_network, "{\"channels\": 1}", NULL).guided_channels, 1);
    assert_int_equal(
        traits_of(&gen_rwkv_network, "{\"channels\": 16, \"guided_channels\": 0}", NULL)
            .guided_channels,
        0);
}

static void traits_of_pixart(void **state)
{
    (void)state;
    gen_network_traits t = traits_of(&gen_pixart_network, "{}", NULL);
    assert_int_equal(t.num_time_ids, 3); /* 1024 pixels: told the size unless the file says no */
    assert_int_equal(t.max_context_tokens, 120);
    assert_true(t.has_context_mask && t.lowers_case);
    t = traits_of(&gen_pixart_network, "{\"use_additional_conditions\": false}", NULL);
    assert_int_equal(t.num_time_ids, 0);
    assert_int_equal(t.max_context_tokens, 300);
    t = traits_of(&gen_pixart_network, "{\"sample_size\": 64}",
                  "{\"_class_name\": \"PixArtAlphaPipeline\"}");
    assert_int_equal(t.num_time_ids, 0);
    assert_int_equal(t.max_context_tokens, 120);
    t = traits_of(&gen_pixart_network, "{\"sample_size\": 64}",
                  "{\"_class_name\": \"PixArtSigmaPipeline\"}");
    assert_int_equal(t.max_context_tokens, 300);
}

static void sizes_for_pixart_alpha(void **state)
{
    (void)state;
    for (int has_sizes = 0; has_sizes < 2; has_sizes++) {
        gen_json *json = parse(has_sizes ? "{}" : "{\"use_additional_conditions\": false}");
        float ids[3] = {-1, -1, -1};
        void *config;
        EXPECT_OK(gen_network_configure(&config, &gen_pixart_network, json, &err));
        gen_pixart_network.fill_time_ids(config, 512, 768, false, ids);
        EXPECT_BETWEEN(ids[0], has_sizes ? 768 : -1, has_sizes ? 768 : -1);
        EXPECT_BETWEEN(ids[1], has_sizes ? 512 : -1, has_sizes ? 512 : -1);
        EXPECT_BETWEEN(ids[2], has_sizes ? 1.5 : -1, has_sizes ? 1.5 : -1);
        gen_free(config);
        gen_json_free(json);
    }
}

static void settings_that_cannot_be(void **state)
{
    static const struct {
        const gen_network_class *cls;
        const char *text, *message;
    } cases[] = {
        {&gen_dit_original_network, "{\"hidden_size\": 1150}", "a width of 1150 for 16 heads"},
        {&gen_dit_network, "{\"norm_type\": \"layer_norm\"}", "\"norm_type\" is \"layer_norm\""},
        {&gen_dit_network, "{\"out_channels\": 5}", "5 channels out of 4"},
        {&gen_dit_network, "{\"patch_size\": 0}", "\"patch_size\""},
        {&gen_pixart_network, "{\"norm_type\": \"ada_norm_zero\"}", "\"ada_norm_single\""},
        {&gen_pixart_network, "{\"interpolation_scale\": 0}", "scale 0"},
        {&gen_pixart_network, "{\"out_channels\": 7}", "7 channels out of 4"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gen_json *json = parse(cases[i].text);
        void *config = NULL;
        EXPECT_STATUS(GEN_ERROR_MODEL, gen_network_configure(&config, cases[i].cls, json, &err));
        EXPECT_CONTAINS(err.message, cases[i].message);
        gen_json_free(json);
    }
}

/* Digits of dit.md 1.4: width 1152, column 3, row 1. */
static void positions(void **state)
{
    static const struct {
        int at;
        double value;
    } known[] = {{0, .141120}, {1, .233831}, {288, -.989992}, {576, .841471}, {864, .540302}};
    enum { D = 1152, WIDTH = 4, HEIGHT = 2 };
    const gen_position_grid grid = {.height = HEIGHT, .width = WIDTH};
    static float table[HEIGHT * WIDTH * D];
    (void)state;
    gen_sincos_positions(table, D, &grid);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        const double value = (double)table[(1 * WIDTH + 3) * D + known[i].at];
        EXPECT_BETWEEN(value, known[i].value - 1e-6, known[i].value + 1e-6);
    }
}

/* The two tables that are added are those positions, stretched grids included. */
static void added_positions(void **state)
{
    enum { D = 16, T = 15 };
    const gen_position_grid grid = {
        .height = 3, .width = 5, .base_height = 8, .base_width = 8, .scale = 2};
    gen_backend *backend = NULL;
    gen_weights *w = NULL;
    gen_graph *g = NULL;
    gen_plan *plan = NULL;
    float x[2 * T * D], y[2 * T * D], table[T * D];
    (void)state;
    EXPECT_OK(gen_cpu_open(&backend, &(gen_cpu_options){.num_threads = 1}, &err));
    EXPECT_OK(gen_weights_new(&w, &err));
    EXPECT_OK(gen_graph_new(&g, &err));
    gen_tensor *in = gen_input(g, "x", GEN_F32, GEN_DIMS(2, T, D));
    gen_output(g, gen_add_positions(g, gen_scope_root(w), in, &grid), "y");
    EXPECT_OK(gen_plan_new(&plan, g, backend, 0, &err));
    for (int i = 0; i < 2 * T * D; i++)
        x[i] = (float)i / 8;
    EXPECT_OK(gen_plan_set(plan, "x", x, &err));
    EXPECT_OK(gen_plan_run(plan, &err));
    EXPECT_OK(gen_plan_get_output(plan, "y", y, &err));
    gen_sincos_positions(table, D, &grid);
    for (int i = 0; i < 2 * T * D; i++)
        x[i] += table[i % (T * D)];
    expect_close(y, x, 2 * T * D, 1e-6, "positions");
    gen_plan_free(plan);
    gen_weights_free(w);
    backend->fns->close(backend);
}

/* Digits of dit.md 1.5: time 999 at 128 frequencies, the last 1/10000^(127/128) or 1/10000. */
static void frequencies(void **state)
{
    static const int at[] = {0, 1, 2, 64, 127};
    static const double cosines[2][5] = {{.999650, .963782, -.398992, -.844470, .994243},
                                         {.999650, .699196, -.983729, -.978143, .995014}};
    static const double sines[2][5] = {{-.026461, -.266690, -.916955, -.535603, .107147},
                                       {-.026461, -.714930, -.179657, -.207934, .099734}};
    gen_backend *backend = NULL;
    (void)state;
    EXPECT_OK(gen_cpu_open(&backend, &(gen_cpu_options){.num_threads = 1}, &err));
    for (int shift = 0; shift < 2; shift++) {
        gen_graph *g = NULL;
        gen_plan *plan = NULL;
        float y[256];
        EXPECT_OK(gen_graph_new(&g, &err));
        gen_tensor *t = gen_input(g, "t", GEN_F32, GEN_DIMS(1));
        t = gen_sinusoid(g, t, 256,
                         (gen_sinusoid_options){.flip_sin_to_cos = true, .freq_shift = shift});
        gen_output(g, gen_affine(g, t, 1, 0), "y");
        EXPECT_OK(gen_plan_new(&plan, g, backend, 0, &err));
        EXPECT_OK(gen_plan_set_double(plan, "t", &(double){999}, &err));
        EXPECT_OK(gen_plan_run(plan, &err));
        EXPECT_OK(gen_plan_get_output(plan, "y", y, &err));
        for (int i = 0; i < 5; i++) {
            EXPECT_BETWEEN(y[at[i]], cosines[shift][i] - 1e-6, cosines[shift][i] + 1e-6);
            EXPECT_BETWEEN(y[128 + at[i]], sines[shift][i] - 1e-6, sines[shift][i] + 1e-6);
        }
        gen_plan_free(plan);
    }
    backend->fns->close(backend);
}

static void latents_off_the_grid(void **state)
{
    const gen_network_class *const networks[] = {&gen_dit_network, &gen_pixart_network};
    const gen_network_shape shape = {.batch = 1, .height = 16, .width = 15, .num_tokens = 4};
    (void)state;
    for (int i = 0; i < 2; i++) {
        gen_weights *w = NULL;
        gen_graph *g = NULL;
        gen_json *json = parse("{}");
        void *config;
        EXPECT_OK(gen_weights_new(&w, &err));
        EXPECT_OK(gen_graph_new(&g, &err));
        EXPECT_OK(gen_network_configure(&config, networks[i], json, &err));
        networks[i]->record(g, gen_scope_root(w), config, &shape);
        EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_graph_status(g, &err));
        EXPECT_CONTAINS(err.message, "latents of 16x15 are not whole patches of 2");
        gen_free(config);
        gen_json_free(json);
        gen_graph_free(g);
        gen_weights_free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(traits_of_dit),           cmocka_unit_test(traits_of_rwkv),
        cmocka_unit_test(traits_of_pixart),        cmocka_unit_test(sizes_for_pixart_alpha),
        cmocka_unit_test(settings_that_cannot_be), cmocka_unit_test(positions),
        cmocka_unit_test(added_positions),         cmocka_unit_test(frequencies),
        cmocka_unit_test(latents_off_the_grid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
