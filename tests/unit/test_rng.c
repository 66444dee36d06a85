/* Noise streams against published numbers, and the promises of our own. */
#include "tests/test.h"

#include <stdlib.h>

#include "gen/core/rng.h"

static gen_rng made(gen_rng_kind kind, uint64_t seed)
{
    gen_rng rng;
    gen_rng_init(&rng, kind, seed);
    return rng;
}

/* The reference uses vector approximations of log, sin and cos. */
#define TORCH_TOLERANCE 2e-6

static void torch_small_draws_keep_the_second_number(void **state)
{
    (void)state;
    static const float first[] = {1.54099607f, -0.293428898f, -2.17878938f, 0.568431258f};
    static const float second[] = {-1.08452237f, -1.39859545f, 0.403346837f, 0.838026345f};
    gen_rng rng = made(GEN_RNG_TORCH_CPU, 0);
    float out[4];
    gen_rng_normal(&rng, out, 4);
    expect_close(out, first, 4, TORCH_TOLERANCE, "first");
    gen_rng_normal(&rng, out, 1); /* one, then three: the same stream */
    gen_rng_normal(&rng, out + 1, 3);
    expect_close(out, second, 4, TORCH_TOLERANCE, "second");
}

static void torch_large_draws_redo_the_last_block(void **state)
{
    (void)state;
    static const float sixteen[] = {-1.12583983f, -1.1523602f,  -0.250578582f, -0.433878809f,
                                    0.848710358f, 0.692009151f, -0.31601277f,  -2.11521935f,
                                    0.322274923f, -1.26333475f, 0.349983186f,  0.30813393f,
                                    0.119841509f, 1.2376579f,   1.11677718f,   -0.247278154f};
    static const float twenty[] = {-1.12583983f, -1.1523602f,   -0.250578582f, -0.433878809f,
                                   0.598839462f, -1.55509508f,  -0.34136039f,  1.85300612f,
                                   0.468096405f, -0.157712445f, 1.44366014f,   0.266049415f,
                                   1.38936615f,  1.58633423f,   0.946298361f,  -0.843676746f,
                                   0.931826591f, 1.25900924f,   2.00498056f,   0.0537369028f};
    gen_rng rng = made(GEN_RNG_TORCH_CPU, 0);
    float out[20];
    gen_rng_normal(&rng, out, 16);
    expect_close(out, sixteen, 16, TORCH_TOLERANCE, "16");
    rng = made(GEN_RNG_TORCH_CPU, 0);
    gen_rng_normal(&rng, out, 20);
    expect_close(out, twenty, 20, TORCH_TOLERANCE, "20");
    rng = made(GEN_RNG_TORCH_CPU, (uint64_t)1 << 32); /* only the low 32 bits count */
    gen_rng_normal(&rng, out, 16);
    expect_close(out, sixteen, 16, TORCH_TOLERANCE, "seed 2^32");
}

static void torch_uniform_numbers(void **state)
{
    (void)state;
    static const float expected[] = {0.49625659f, 0.768221796f, 0.0884774327f, 0.132030487f};
    gen_rng rng = made(GEN_RNG_TORCH_CPU, 0);
    float out[4];
    gen_rng_uniform(&rng, out, 4);
    expect_close(out, expected, 4, 1e-8, "rand(4)");
}

static void cuda_small_draws(void **state)
{
    (void)state;
    static const float first[] = {-0.92466259f, -0.42534415f, -2.64384570f, 0.14518388f,
                                  -0.12086647f, -0.57972564f, -0.62285122f, -0.32838709f,
                                  -1.07454231f, -0.36314407f, -1.67105067f, 2.26550497f};
    static const float second[] = {0.18082590f, -0.55226276f, 0.92381338f, -0.73497056f};
    static const float wide[] = {0.85489403f, -0.11420227f, -1.07175508f, 1.69576470f};
    gen_rng rng = made(GEN_RNG_CUDA, 0);
    float out[12];
    gen_rng_normal(&rng, out, 12);
    expect_close(out, first, 12, 1e-6, "first call");
    gen_rng_normal(&rng, out, 4);
    expect_close(out, second, 4, 1e-6, "second call");
    rng = made(GEN_RNG_CUDA, ((uint64_t)1 << 32) + 1);
    gen_rng_normal(&rng, out, 4);
    expect_close(out, wide, 4, 1e-6, "seed 2^32 + 1");
}

/* Behind a full grid the values depend on the device (samplers of Wan-sized latents). */
static void cuda_large_draws_depend_on_the_device(void **state)
{
    (void)state;
    enum { N = 2096640 };
    static const struct {
        const char *device;
        float last;
    } cases[] = {
        {"a100", 0.047350f}, {"h100", -1.235148f}, {"rtx4090", -0.108119f}, {"rtx3090", 0.948215f}};
    float *out = malloc(N * sizeof *out);
    assert_non_null(out);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const uint64_t threads = gen_rng_cuda_threads(cases[i].device);
        assert_true(threads > 0);
        gen_rng rng = made(GEN_RNG_CUDA, 0);
        rng.cuda_threads = threads;
        gen_rng_normal(&rng, out, N);
        const float got[] = {out[0], out[threads], out[2 * threads], out[3 * threads], out[N - 1]};
        const float expected[] = {-0.92466259f, 0.991138f, -0.482069f, -0.617609f, cases[i].last};
        expect_close(got, expected, 5, 2e-6, cases[i].device);
        assert_int_equal(rng.draw, (N - 1) / (4 * threads) + 1);
    }
    free(out);
    assert_int_equal(gen_rng_cuda_threads("toaster"), 0);
}

/* Element i of draw j is a function of seed, j and i alone. */
static void gen_draws_are_independent_of_their_size_and_order(void **state)
{
    (void)state;
    float whole[1003], part[1003];
    gen_rng rng = made(GEN_RNG_GEN, 7);
    gen_rng_normal(&rng, whole, 1003);
    rng = made(GEN_RNG_GEN, 7);
    gen_rng_normal(&rng, part, 10);
    assert_memory_equal(part, whole, 10 * sizeof *part);

    gen_rng_normal(&rng, whole, 64); /* draw 1 after a draw of 10 numbers */
    gen_rng again = made(GEN_RNG_GEN, 7);
    again.draw = 1; /* draw 1 without draw 0 */
    gen_rng_normal(&again, part, 64);
    assert_memory_equal(part, whole, 64 * sizeof *part);
}

static double correlation(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * b[i];
    return sum / (double)n;
}

static void gen_numbers_are_normal_and_unrelated(void **state)
{
    (void)state;
    enum { N = 1 << 20 };
    const double sigma = 1 / sqrt((double)N); /* of a mean of N unit numbers */
    float *a = malloc(N * sizeof *a), *b = malloc(N * sizeof *b);
    assert_true(a && b);
    gen_rng rng = made(GEN_RNG_GEN, 1);
    gen_rng_normal(&rng, a, N);
    double moments[5] = {0};
    for (int i = 0; i < N; i++)
        for (int m = 1; m < 5; m++)
            moments[m] += pow(a[i], m) / N;
    EXPECT_BETWEEN(moments[1], -4 * sigma, 4 * sigma);
    EXPECT_BETWEEN(moments[2] - 1, -4 * sqrt(2) * sigma, 4 * sqrt(2) * sigma);
    EXPECT_BETWEEN(moments[3], -4 * sqrt(15) * sigma, 4 * sqrt(15) * sigma);
    EXPECT_BETWEEN(moments[4] - 3, -4 * sqrt(96) * sigma, 4 * sqrt(96) * sigma);

    gen_rng_normal(&rng, b, N); /* the next draw */
    EXPECT_BETWEEN(correlation(a, b, N), -4 * sigma, 4 * sigma);
    rng = made(GEN_RNG_GEN, 2); /* the next seed */
    gen_rng_normal(&rng, b, N);
    EXPECT_BETWEEN(correlation(a, b, N), -4 * sigma, 4 * sigma);
    EXPECT_BETWEEN(correlation(a, a + 1, N - 1), -4 * sigma, 4 * sigma); /* neighbours */
    rng = made(GEN_RNG_CUDA, 1);
    gen_rng_normal(&rng, b, N);
    EXPECT_BETWEEN(correlation(a, b, N), -4 * sigma, 4 * sigma);
    free(a);
    free(b);
}

static void integers_stay_in_range(void **state)
{
    (void)state;
    for (int kind = 0; kind < GEN_NUM_RNGS; kind++) {
        int64_t v[1000];
        int seen[7] = {0};
        gen_rng rng = made((gen_rng_kind)kind, 3);
        gen_rng_integers(&rng, -3, 4, v, 1000);
        for (int i = 0; i < 1000; i++) {
            assert_in_range(v[i] + 3, 0, 6);
            seen[v[i] + 3]++;
        }
        for (int i = 0; i < 7; i++)
            EXPECT_BETWEEN(seen[i], 90, 200);
        gen_rng_integers(&rng, INT64_MIN, INT64_MAX, v, 1000);
        assert_true(v[0] != v[1]);
        float u[1000];
        gen_rng_uniform(&rng, u, 1000);
        for (int i = 0; i < 1000; i++)
            EXPECT_BETWEEN(u[i], 0, 1 - 0x1p-25);
    }
}

static void names_are_those_of_the_command_line(void **state)
{
    (void)state;
    gen_rng_kind kind;
    assert_true(gen_rng_parse("comfy", &kind) && kind == GEN_RNG_TORCH_CPU);
    assert_true(gen_rng_parse("a1111", &kind) && kind == GEN_RNG_CUDA);
    assert_false(gen_rng_parse("dice", &kind));
    uint64_t threads = 1;
    assert_string_equal(gen_rng_choose("comfy", &kind, &threads), "torch-cpu");
    assert_true(kind == GEN_RNG_TORCH_CPU && threads == 0);
    assert_string_equal(gen_rng_choose("cuda-rtx3090", &kind, &threads), "cuda-rtx3090");
    assert_true(kind == GEN_RNG_CUDA && threads == 125952);
    assert_null(gen_rng_choose("cuda-toaster", &kind, &threads));
    for (int i = 0; i < GEN_NUM_RNGS; i++)
        assert_true(gen_rng_parse(gen_rng_name((gen_rng_kind)i), &kind) && (int)kind == i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(torch_small_draws_keep_the_second_number),
        cmocka_unit_test(torch_large_draws_redo_the_last_block),
        cmocka_unit_test(torch_uniform_numbers),
        cmocka_unit_test(cuda_small_draws),
        cmocka_unit_test(cuda_large_draws_depend_on_the_device),
        cmocka_unit_test(gen_draws_are_independent_of_their_size_and_order),
        cmocka_unit_test(gen_numbers_are_normal_and_unrelated),
        cmocka_unit_test(integers_stay_in_range),
        cmocka_unit_test(names_are_those_of_the_command_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
