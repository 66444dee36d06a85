/* Variation seeds, and telling predictions of v from those of noise. */
#include "gen/core/nn.h"
#include "gen/cpu/cpu.h"
#include "gen/pipeline/generate.h"
#include "tests/test.h"

static gen_error err;

/* ---- variations ------------------------------------------------------------------------------ */

enum { H = 16, W = 3, C = 2, N = H * W * C };

static void fill(float *z, uint64_t seed)
{
    gen_rng rng;
    gen_rng_init(&rng, GEN_RNG_GEN, seed);
    gen_rng_normal(&rng, z, N);
}

static void ends_of_the_arc(void **state)
{
    (void)state;
    float a[N], b[N], x[N];
    fill(a, 1);
    fill(b, 2);
    memcpy(x, a, sizeof x);
    gen_noise_vary(x, b, H, W, C, 0);
    expect_close(x, a, N, 1e-6, "strength 0");
    gen_noise_vary(x, b, H, W, C, 1);
    expect_close(x, b, N, 1e-6, "strength 1");
}

/* Each column of each channel turns on its own: the formula, spelled out for one of them. */
static void columns_turn_alone(void **state)
{
    (void)state;
    float a[N], b[N], x[N];
    fill(a, 1);
    fill(b, 2);
    memcpy(x, a, sizeof x);
    gen_noise_vary(x, b, H, W, C, 0.3);
    for (int k = 0; k < W * C; k++) {
        double dot = 0, aa = 0, bb = 0;
        for (int h = 0; h < H; h++) {
            dot += (double)a[h * W * C + k] * b[h * W * C + k];
            aa += (double)a[h * W * C + k] * a[h * W * C + k];
            bb += (double)b[h * W * C + k] * b[h * W * C + k];
        }
        const double omega = acos(dot / sqrt(aa * bb));
        for (int h = 0; h < H; h++) {
            const double expected = sin(0.7 * omega) / sin(omega) * a[h * W * C + k] +
                                    sin(0.3 * omega) / sin(omega) * b[h * W * C + k];
            EXPECT_BETWEEN(x[h * W * C + k], expected - 1e-5, expected + 1e-5);
        }
    }
}

/* Nearly parallel noise is mixed with the weights the wrong way round, as in the reference. */
static void parallel_noise(void **state)
{
    (void)state;
    float a[N], b[N], x[N], expected[N];
    fill(a, 1);
    for (int i = 0; i < N; i++) {
        b[i] = 2 * a[i];
        expected[i] = 0.3f * a[i] + 0.7f * b[i];
    }
    memcpy(x, a, sizeof x);
    gen_noise_vary(x, b, H, W, C, 0.3);
    expect_close(x, expected, N, 1e-5, "swapped");
}

/* ---- what a network predicts ------------------------------------------------------------------
 */

/* A network that answers sample * gain. */
typedef struct fake {
    float gain;
} fake;

static void record(gen_graph *g, gen_scope w, const void *config, const gen_network_shape *s)
{
    const int64_t sample[] = {s->batch, s->height, s->width, 4};
    const int64_t states[] = {s->batch, s->num_tokens, 8};
    (void)w;
    gen_tensor *x = gen_input(g, "sample", GEN_F32, 4, sample);
    gen_input(g, "timestep", GEN_F32, 1, &s->batch);
    gen_input(g, "encoder_hidden_states", GEN_F32, 3, states);
    gen_output(g, gen_affine(g, x, ((const fake *)config)->gain, 0), "sample_out");
}

static void predictions_are_told_apart(void **state)
{
    (void)state;
    static const struct {
        float gain;
        bool is_v;
    } cases[] = {{1, false}, {0, false}, {-0.9f, false}, {-1.1f, true}, {-2, true}};
    const gen_network_class cls = {.class_name = "fake", .record = record};
    gen_backend *backend;
    EXPECT_OK(gen_cpu_open(&backend, &(gen_cpu_options){.num_threads = 1}, &err));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fake config = {cases[i].gain};
        const gen_network_instance network = {
            .cls = &cls,
            .config = &config,
            .traits = {.in_channels = 4, .out_channels = 4, .context_dim = 8},
            .backend = backend};
        bool is_v = !cases[i].is_v;
        EXPECT_OK(gen_network_predicts_v(&is_v, &network, &err));
        assert_int_equal(is_v, cases[i].is_v);
    }
    backend->fns->close(backend);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ends_of_the_arc),
        cmocka_unit_test(columns_turn_alone),
        cmocka_unit_test(parallel_noise),
        cmocka_unit_test(predictions_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
