/* test_sampling.c - sampling in detail through the public API: what the fields change, and what
 * they must not. */
#include "gen/gen.h"
#include "tests/test.h"

#define MODEL GEN_TEST_SOURCE_DIR "/golden/fixtures/pipe_sd1"

static gen_context *context;
static gen_model *model;
static gen_error err;

static int open_model(void **state)
{
    (void)state;
    return gen_context_new(&context, &GEN_CONTEXT_PARAMS(.num_threads = 1), &err) ||
                   gen_model_open(&model, context, &GEN_MODEL_PARAMS(.path = MODEL), &err)
               ? -1
               : 0;
}

static int close_model(void **state)
{
    (void)state;
    gen_model_free(model);
    gen_context_free(context);
    return 0;
}

/* A small picture, where a test says nothing else. */
static gen_generate_params small(gen_generate_params p)
{
    p.prompt = "a cat";
    p.width = 48;
    p.height = 32;
    p.num_inference_steps = p.num_inference_steps ? p.num_inference_steps : 4;
    p.guidance_scale = p.guidance_scale != 0 ? p.guidance_scale : 5;
    p.seed = p.seed ? p.seed : 3;
    return p;
}

#define PARAMS(...) small(GEN_GENERATE_PARAMS(__VA_ARGS__))

static gen_image *make(gen_generate_params p)
{
    gen_image *image = NULL;
    EXPECT_OK(gen_generate(&image, model, &p, NULL, &err));
    return image;
}

/* Largest difference of two samples. */
static int difference(gen_generate_params a, gen_generate_params b)
{
    gen_image *x = make(a), *y = make(b);
    int worst = 0;
    for (size_t k = 0; k < x->stride * (size_t)x->height; k++) {
        const int d = x->data[k] - y->data[k];
        worst = d > worst ? d : -d > worst ? -d : worst;
    }
    gen_image_free(x);
    gen_image_free(y);
    return worst;
}

/* A resolved request makes the same picture as the one it came from, and says what will be done. */
static void resolving_is_idempotent(void **state)
{
    (void)state;
    const gen_generate_params plain = PARAMS(.seed = 3);
    gen_generate_params p = plain;
    EXPECT_OK(gen_resolve(&p, model, &err));
    assert_string_equal(p.sampler, "ddim");
    assert_string_equal(p.scheduler, "leading");
    assert_string_equal(p.guidance, "cfg");
    assert_string_equal(p.prediction_type, "epsilon");
    assert_true(p.s_noise == 1 && p.eta == 0);
    assert_int_equal(difference(plain, p), 0);
    gen_generate_params again = p;
    EXPECT_OK(gen_resolve(&again, model, &err));
    assert_string_equal(again.scheduler, p.scheduler);
}

/* A caller that knows less of the struct. */
static void older_callers(void **state)
{
    (void)state;
    gen_generate_params p = PARAMS(.guidance = "apg");
    p.struct_size = offsetof(gen_generate_params, sigmas);
    assert_int_equal(difference(p, PARAMS(.seed = 3)), 0);
    EXPECT_OK(gen_resolve(&p, model, &err));
    assert_string_equal(p.guidance, "apg"); /* behind what it knows: not touched */
}

/* With scale 1 no kind of guidance changes anything; with more each has its own picture. */
static void kinds_of_guidance(void **state)
{
    (void)state;
    static const char *const kinds[] = {"cfg", "cfg_norm", "cfg_zero", "apg"};
    for (int i = 0; i < 4; i++) {
        const gen_generate_params one = PARAMS(.guidance = kinds[i], .guidance_scale = 1);
        assert_int_equal(difference(one, PARAMS(.guidance_scale = 1)), 0);
        for (int j = 0; j < i; j++)
            assert_true(difference(PARAMS(.guidance = kinds[i]), PARAMS(.guidance = kinds[j])) > 0);
    }
    /* apg that keeps all of the change is cfg, though it works on denoised latents */
    assert_true(difference(PARAMS(.guidance = "apg", .apg_parallel = 1), PARAMS(.seed = 3)) <= 1);
    assert_true(difference(PARAMS(.guidance_rescale = 0.7), PARAMS(.seed = 3)) > 0);
}

static void parts_of_the_way(void **state)
{
    (void)state;
    const gen_generate_params plain = PARAMS(.seed = 3), none = PARAMS(.guidance_scale = 1);
    assert_int_equal(difference(PARAMS(.guidance_low = 1e-9, .guidance_high = 1e9), plain), 0);
    assert_int_equal(difference(PARAMS(.guidance_stop = 1), plain), 0);
    assert_int_equal(difference(PARAMS(.guidance_low = 1e8, .guidance_high = 1e9), none), 0);
    assert_true(difference(PARAMS(.guidance_stop = 0.5), plain) > 0);
    assert_true(difference(PARAMS(.guidance_start = 0.5), plain) > 0);
    assert_true(difference(PARAMS(.guidance_high = 1), plain) > 0);
}

/* The times a schedule would take, given one by one. */
static void explicit_levels(void **state)
{
    (void)state;
    static const double times[] = {999, 749, 499, 249};
    const gen_generate_params listed = PARAMS(.sampler = "euler", .timesteps = times,
                                              .num_timesteps = 4, .num_inference_steps = 9);
    assert_int_equal(difference(listed, PARAMS(.sampler = "euler", .scheduler = "trailing")), 0);
    gen_generate_params p = listed;
    EXPECT_OK(gen_resolve(&p, model, &err));
    assert_int_equal(p.num_inference_steps, 4);
    static const double not_a_level[] = {3, NAN};
    p = PARAMS(.sampler = "euler", .sigmas = not_a_level, .num_sigmas = 2);
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_resolve(&p, model, &err));
    p = PARAMS(.sigmas = times, .num_sigmas = 0);
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_resolve(&p, model, &err));
}

static void variation_seeds(void **state)
{
    (void)state;
    const gen_generate_params plain = PARAMS(.seed = 3);
    assert_int_equal(difference(PARAMS(.variation_seed = 8), plain), 0);
    assert_true(
        difference(PARAMS(.variation_seed = 8, .variation_strength = 1), PARAMS(.seed = 8)) <= 1);
    assert_true(difference(PARAMS(.variation_seed = 8, .variation_strength = 0.1), plain) > 0);
    assert_int_equal(difference(PARAMS(.variation_seed = 3, .variation_strength = 0.5), plain), 0);
}

/* Another seed for the noise of the steps; nothing else changes. */
static void noise_of_the_steps(void **state)
{
    (void)state;
    const gen_generate_params steps = PARAMS(.sampler = "euler_a");
    assert_true(difference(PARAMS(.sampler = "euler_a", .noise_seed_delta = 31337), steps) > 0);
    assert_int_equal(difference(PARAMS(.noise_seed_delta = 31337), PARAMS(.seed = 3)), 0);
    const gen_generate_params euler = PARAMS(.sampler = "euler");
    assert_true(difference(PARAMS(.sampler = "euler", .s_churn = 2), euler) > 0);
    assert_int_equal(
        difference(PARAMS(.sampler = "euler", .s_churn = 2, .s_tmin = 1e4, .s_tmax = 1e5), euler),
        0);
}

static void guidance_over_the_run(void **state)
{
    (void)state;
    const gen_generate_params plain = PARAMS(.seed = 3), none = PARAMS(.guidance_scale = 1);
    assert_int_equal(difference(PARAMS(.guidance_skip_last = 1), none), 0);
    assert_true(difference(PARAMS(.guidance_skip_last = 0.5), plain) > 0);
    assert_int_equal(difference(PARAMS(.guidance_skip_last = 0.5), PARAMS(.guidance_stop = 0.5)),
                     0);
    assert_true(difference(PARAMS(.guidance_is_dynamic = 1), plain) > 0);
    assert_true(difference(PARAMS(.guided_channels = 3), plain) > 0);
    assert_int_equal(difference(PARAMS(.guided_channels = 4), plain), 0);
    assert_int_equal(difference(PARAMS(.guided_channels = -1), plain), 0);
}

static void ranges(void **state)
{
    (void)state;
    gen_generate_params bad[] = {
        PARAMS(.eta = 1.5),
        PARAMS(.eta = NAN),
        PARAMS(.s_noise = -1),
        PARAMS(.flow_shift = 3),
        PARAMS(.guidance_rescale = 1.1),
        PARAMS(.guidance_low = 2, .guidance_high = 1),
        PARAMS(.guidance_low = NAN),
        PARAMS(.guidance_start = 0.5, .guidance_stop = 0.5),
        PARAMS(.apg_momentum = 2),
        PARAMS(.apg_parallel = -1),
        PARAMS(.variation_strength = 2),
        PARAMS(.s_churn = -1, .sampler = "euler"),
        PARAMS(.s_churn = 1, .sampler = "ddim"),
        PARAMS(.s_tmin = 2, .s_tmax = 1),
        PARAMS(.guidance_skip_last = 2),
        PARAMS(.guided_channels = 5),
        PARAMS(.seed_resize_width = 64),
        PARAMS(.seed_resize_width = -8, .seed_resize_height = 8),
        PARAMS(.sampler = "repaint"),
        PARAMS(.prediction_type = "none"),
        PARAMS(.prediction_type = "reverse_flow"),
        PARAMS(.prediction_type = "edm"),
        PARAMS(.prediction_type = "bridge_velocity"),
        PARAMS(.sampler = "ddim_inverse"),
        PARAMS(.guidance = "none"),
        PARAMS(.guidance = "dual"),
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        err.message[0] = '\0';
        EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_resolve(&bad[i], model, &err));
        assert_true(err.message[0] != '\0');
    }
}

static void methods(void **state)
{
    (void)state;
    gen_method m;
    for (int kind = GEN_METHOD_SAMPLER; kind <= GEN_METHOD_GUIDANCE; kind++) {
        int n = 0;
        for (; gen_method_at(&m, (gen_method_kind)kind, n); n++) {
            assert_true(*m.name && *m.purpose);
            assert_non_null(m.aliases);
            assert_non_null(m.paper);
            assert_int_equal(*m.calls != '\0', kind == GEN_METHOD_SAMPLER);
            assert_int_equal(*m.formula != '\0', kind == GEN_METHOD_GUIDANCE);
        }
        assert_true(n >= 5);
        assert_false(gen_method_at(&m, (gen_method_kind)kind, -1));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resolving_is_idempotent),
        cmocka_unit_test(older_callers),
        cmocka_unit_test(kinds_of_guidance),
        cmocka_unit_test(parts_of_the_way),
        cmocka_unit_test(explicit_levels),
        cmocka_unit_test(variation_seeds),
        cmocka_unit_test(noise_of_the_steps),
        cmocka_unit_test(guidance_over_the_run),
        cmocka_unit_test(ranges),
        cmocka_unit_test(methods),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
