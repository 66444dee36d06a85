/* Guidance formulas on worked examples, and when which branch is asked. */
#include "tests/test.h"

#include <stdlib.h>

#include "gen/core/alloc.h"
#include "samplers/samplers.h"

static gen_error err;

/* A branch that always answers the same four numbers. */
typedef struct fixed {
    gen_denoiser base;
    float values[4];
    int calls;
} fixed;

static gen_status answer(void *self, const float *x, const gen_point *at, float *out, gen_error *e)
{
    fixed *b = self;
    (void)x;
    (void)at;
    (void)e;
    b->calls++;
    memcpy(out, b->values, sizeof b->values);
    return GEN_OK;
}

static fixed conditional = {.values = {1, 2, -1, 0.5f}};
static fixed unconditional = {.values = {0.5f, 1.5f, -0.5f, 0}};
static fixed image_only = {.values = {0.25f, 1.75f, -0.75f, 0.25f}};

static void branches_of(const gen_denoiser *out[GEN_MAX_BRANCHES])
{
    fixed *all[GEN_MAX_BRANCHES] = {&conditional, &unconditional, &image_only};
    for (int k = 0; k < GEN_MAX_BRANCHES; k++) {
        all[k]->base = (gen_denoiser){.self = all[k], .n = 4, .denoise = answer};
        all[k]->calls = 0;
        out[k] = &all[k]->base;
    }
}

static const gen_point MIDDLE = {.level = {1, 1}, .step = 5, .num_steps = 10};

static void check(gen_guidance_params params, const float expected[4])
{
    const gen_denoiser *branches[GEN_MAX_BRANCHES];
    gen_denoiser *g;
    float x[4] = {0}, out[4];
    branches_of(branches);
    EXPECT_OK(gen_guidance_new(&g, &params, branches, &err));
    EXPECT_OK(g->denoise(g->self, x, &MIDDLE, out, &err));
    expect_close(out, expected, 4, 2e-7, params.kind ? params.kind : "default");
    gen_denoiser_free(g);
}

#define FOUR(...) ((const float[4]){__VA_ARGS__})

static void formulas_give_the_worked_examples(void **state)
{
    (void)state;
    check((gen_guidance_params){.guidance_scale = 7.5}, FOUR(4.25f, 5.25f, -4.25f, 3.75f));
    check((gen_guidance_params){.kind = "cfg", .guidance_scale = 7.5, .rescale = 0.7},
          FOUR(2.12442236f, 2.62428644f, -2.12442236f, 1.87449032f));
    check((gen_guidance_params){.kind = "dual", .guidance_scale = 7.5, .image_scale = 1.5},
          FOUR(5.75f, 3.75f, -2.75f, 2.25f));
    const double norm = 0.283523989; /* of the whole vector */
    check((gen_guidance_params){.kind = "cfg_norm", .guidance_scale = 7.5, .channels = 4},
          FOUR((float)(4.25 * norm), (float)(5.25 * norm), (float)(-4.25 * norm),
               (float)(3.75 * norm)));
    check((gen_guidance_params){.kind = "cfg_zero", .guidance_scale = 7.5},
          FOUR(2.77272729f, .81818187f, -2.77272729f, 3.75f));
    check((gen_guidance_params){.kind = "apg", .guidance_scale = 7.5},
          FOUR(1.91f, .57f, -1.91f, 2.58f));
    check((gen_guidance_params){.kind = "apg", .guidance_scale = 7.5, .parallel = 1},
          FOUR(4.25f, 5.25f, -4.25f, 3.75f)); /* without projection it is plain guidance */
    /* the other convention of the scale: w = g - 1 */
    check((gen_guidance_params){.kind = "cfg_w", .guidance_scale = 6.5},
          FOUR(4.25f, 5.25f, -4.25f, 3.75f));
}

/* The paper's two examples of APG (d_across .14, -.22, -.14, .32), from c and, as diffusers, u. */
static void projected_guidance_in_both_forms(void **state)
{
    (void)state;
    check((gen_guidance_params){.kind = "apg", .guidance_scale = 7.5},
          FOUR(1.91f, .57f, -1.91f, 2.58f));
    check((gen_guidance_params){.kind = "apg_u", .guidance_scale = 7.5},
          FOUR(1.55f, -.15f, -1.55f, 2.4f));
    /* |d| is 1: a limit of half of it halves the step away from c or u */
    check((gen_guidance_params){.kind = "apg", .guidance_scale = 7.5, .norm_limit = 0.5},
          FOUR(1 + .455f, 2 - .715f, -1 - .455f, .5f + 1.04f));
    check((gen_guidance_params){.kind = "apg_u", .guidance_scale = 7.5, .norm_limit = 0.5},
          FOUR(.5f + .525f, 1.5f - .825f, -.5f - .525f, 1.2f));
    /* parallel 1 without a limit is plain guidance in diffusers' form, too */
    check((gen_guidance_params){.kind = "apg_u", .guidance_scale = 7.5, .parallel = 1},
          FOUR(4.25f, 5.25f, -4.25f, 3.75f));
}

/* Chunks of a window stand at times of their own: the first before s = 0.3, the second after. */
static void scales_per_chunk(void **state)
{
    (void)state;
    static const gen_level levels[] = {{0.1, 0.9}, {0.4, 0.6}};
    const gen_point at = {
        .level = {0.1, 0.9}, .num_steps = 4, .chunk_levels = levels, .num_chunks = 2};
    const gen_guidance_params p = {.kind = "magi", .guidance_scale = 7.5, .image_scale = 1.5};
    const gen_denoiser *branches[GEN_MAX_BRANCHES];
    gen_denoiser *g;
    float x[4] = {0}, out[4];
    branches_of(branches);
    EXPECT_OK(gen_guidance_new(&g, &p, branches, &err));
    EXPECT_OK(g->denoise(g->self, x, &at, out, &err));
    /* (1 - 1.5) u + (1.5 - 7.5) k + 7.5 c for two numbers, then k alone */
    expect_close(out, FOUR(-.5f * .5f - 6 * .25f + 7.5f, -.5f * 1.5f - 6 * 1.75f + 15, -.75f, .25f),
                 4, 2e-7, "magi");
    gen_denoiser_free(g);
}

/* The same point asked at another noise level or step: is the unconditional branch called? */
static bool asks_both(gen_guidance_params params, double kappa, int step)
{
    const gen_denoiser *branches[GEN_MAX_BRANCHES];
    const gen_point at = {.level = {1, kappa}, .step = step, .num_steps = 10};
    gen_denoiser *g;
    float x[4] = {0}, out[4];
    branches_of(branches);
    params.guidance_scale = 2;
    EXPECT_OK(gen_guidance_new(&g, &params, branches, &err));
    EXPECT_OK(g->denoise(g->self, x, &at, out, &err));
    gen_denoiser_free(g);
    assert_int_equal(conditional.calls, 1);
    assert_int_equal(image_only.calls, 0);
    return unconditional.calls == 1;
}

static void guidance_can_be_limited(void **state)
{
    (void)state;
    const gen_guidance_params interval = {.interval_low = 0.2, .interval_high = 1.6};
    assert_true(asks_both(interval, 1.6, 0));
    assert_true(asks_both(interval, 0.21, 0));
    assert_false(asks_both(interval, 0.2, 0));
    assert_false(asks_both(interval, 1.61, 0));
    assert_true(asks_both((gen_guidance_params){.interval_low = 0.2}, 4096, 0));
    assert_true(asks_both((gen_guidance_params){.interval_high = 1}, 0.5, 0));
    assert_false(asks_both((gen_guidance_params){.interval_high = 1}, 2, 0));
    const gen_guidance_params steps = {.start = 0.2, .stop = 0.5};
    assert_false(asks_both(steps, 1, 1));
    assert_true(asks_both(steps, 1, 2));
    assert_true(asks_both(steps, 1, 4));
    assert_false(asks_both(steps, 1, 5));
    assert_true(asks_both((gen_guidance_params){0}, 0, 9));
}

/* Deviations are those of one picture, not of the batch. */
static void samples_do_not_mix(void **state)
{
    (void)state;
    float both[8] = {1, 2, 3, 4, 10, 20, 30, 40}, one[4] = {10, 20, 30, 40};
    const float target[4] = {1, -1, 1, -1};
    gen_guidance_rescale(one, target, 4, 1);
    gen_guidance_rescale(both + 4, target, 4, 1);
    assert_memory_equal(both + 4, one, sizeof one);

    float tokens[4] = {3, 4, 0, 0};
    const float norms[4] = {0, 10, 1, 1};
    gen_guidance_match_norm(tokens, norms, 4, 2);
    expect_close(tokens, FOUR(6, 8, 0, 0), 4, 1e-6, "norm per token");
}

/* A network that answers several conditions in one run. */
typedef struct batch {
    int runs, members;
} batch;

static gen_status run_batch(void *self, const float *x, const gen_point *at, const int *members,
                            int num_members, float *const *out, gen_error *e)
{
    batch *b = self;
    (void)x;
    (void)at;
    (void)e;
    b->runs++;
    b->members += num_members;
    for (int i = 0; i < num_members; i++)
        memcpy(out[i], members[i] ? unconditional.values : conditional.values, 4 * sizeof(float));
    return GEN_OK;
}

static void branches_of_one_network_run_together(void **state)
{
    (void)state;
    const gen_denoiser *branches[GEN_MAX_BRANCHES];
    gen_denoiser *g;
    batch b = {0};
    const gen_denoiser_group group = {&b, run_batch};
    float x[4] = {0}, out[4];
    branches_of(branches);
    conditional.base.group = unconditional.base.group = &group;
    unconditional.base.member = 1;
    EXPECT_OK(gen_guidance_new(&g, &(gen_guidance_params){.guidance_scale = 7.5}, branches, &err));
    EXPECT_OK(g->denoise(g->self, x, &MIDDLE, out, &err));
    expect_close(out, FOUR(4.25f, 5.25f, -4.25f, 3.75f), 4, 0, "batched");
    assert_int_equal(b.runs, 1);
    assert_int_equal(b.members, 2);
    assert_int_equal(conditional.calls + unconditional.calls, 0);
    gen_denoiser_free(g);
}

static void mistakes_are_refused(void **state)
{
    (void)state;
    const gen_denoiser *branches[GEN_MAX_BRANCHES];
    gen_denoiser *g;
    branches_of(branches);
    branches[1] = branches[2] = NULL;
    EXPECT_OK(gen_guidance_new(&g, &(gen_guidance_params){0}, branches, &err));
    gen_denoiser_free(g);
    EXPECT_STATUS(
        GEN_ERROR_ARGUMENT,
        gen_guidance_new(&g, &(gen_guidance_params){.guidance_scale = 2}, branches, &err));
    EXPECT_CONTAINS(err.message, "unconditional");
    EXPECT_STATUS(GEN_ERROR_ARGUMENT,
                  gen_guidance_new(&g, &(gen_guidance_params){.kind = "magic"}, branches, &err));
    EXPECT_STATUS(GEN_ERROR_ARGUMENT,
                  gen_guidance_new(&g, &(gen_guidance_params){.rescale = 2}, branches, &err));
    EXPECT_STATUS(
        GEN_ERROR_ARGUMENT,
        gen_guidance_new(&g, &(gen_guidance_params){.guidance_scale = NAN}, branches, &err));
    for (int n = 1; n <= 2; n++) {
        gen_alloc_fail_at(n);
        EXPECT_STATUS(GEN_ERROR_MEMORY,
                      gen_guidance_new(&g, &(gen_guidance_params){0}, branches, &err));
        gen_alloc_fail_at(n);
        EXPECT_STATUS(GEN_ERROR_MEMORY,
                      gen_prediction_new(&g, branches[0], GEN_PREDICT_V, GEN_PROCESS_VP, &err));
    }
    gen_alloc_fail_at(0);
}

/* Latents are channels last, draws are channels first. */
static void noise_is_drawn_channels_first(void **state)
{
    (void)state;
    gen_rng rng, plain;
    gen_channel_noise noise;
    float drawn[24], z[24];
    gen_rng_init(&rng, GEN_RNG_TORCH_CPU, 5);
    plain = rng;
    EXPECT_OK(gen_channel_noise_init(&noise, &rng, 4, 24, &err));
    const gen_noise_source source = gen_channel_noise_source(&noise);
    gen_rng_normal(&plain, drawn, 24);
    EXPECT_OK(source.draw(source.self, z, 24, &err));
    for (int c = 0; c < 4; c++)
        for (int p = 0; p < 6; p++)
            assert_true(z[p * 4 + c] == drawn[c * 6 + p]);
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, source.draw(source.self, z, 48, &err));
    gen_channel_noise_clear(&noise);
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_channel_noise_init(&noise, &rng, 5, 24, &err));
    gen_channel_noise_clear(&noise);

    float a[2] = {1, 0};
    const float b[2] = {0, 1};
    gen_noise_slerp(a, b, 2, 0.5);
    expect_close(a, (const float[2]){(float)sqrt(0.5), (float)sqrt(0.5)}, 2, 1e-6, "slerp");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formulas_give_the_worked_examples),
        cmocka_unit_test(projected_guidance_in_both_forms),
        cmocka_unit_test(scales_per_chunk),
        cmocka_unit_test(guidance_can_be_limited),
        cmocka_unit_test(samples_do_not_mix),
        cmocka_unit_test(branches_of_one_network_run_together),
        cmocka_unit_test(mistakes_are_refused),
        cmocka_unit_test(noise_is_drawn_channels_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
