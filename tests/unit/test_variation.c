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

static void draw_channels(float *z, uint64_t seed, int positions, int channels)
{
    gen_rng rng;
    gen_channel_noise noise;
    gen_rng_init(&rng, GEN_RNG_TORCH_CPU, seed);
    EXPECT_OK(gen_channel_noise_init(&noise, &rng, channels, (size_t)(positions * channels), &err));
    const gen_noise_source source = gen_channel_noise_source(&noise);
    EXPECT_OK(source.draw(source.self, z, (size_t)(positions * channels), &err));
    gen_channel_noise_clear(&noise);
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

/* Noise of another size lies in the middle; around it, or where it is cut, that of the picture. */
static void noise_of_another_size(void **state)
{
    enum { FACTOR = 8, CHANNELS = 2 };
    static const int sizes[][4] = {/* height, width; own height, own width */
                                   {4, 6, 2, 2},
                                   {4, 4, 8, 6},
                                   {5, 4, 2, 6},
                                   {4, 5, 4, 5}};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const int h = sizes[i][0], w = sizes[i][1], own_h = sizes[i][2], own_w = sizes[i][3];
        float noise[64 * CHANNELS], plain[64 * CHANNELS], own[64 * CHANNELS];
        const gen_sampling s = {.rng = GEN_RNG_TORCH_CPU, .height = h, .width = w};
        gen_generate_params p =
            GEN_GENERATE_PARAMS(.seed = 7, .height = h * FACTOR, .width = w * FACTOR,
                                .seed_resize_height = own_h * FACTOR,
                                .seed_resize_width = own_w * FACTOR);
        draw_channels(plain, 7, h * w, CHANNELS);
        draw_channels(own, 7, own_h * own_w, CHANNELS);
        memcpy(noise, plain, sizeof noise);
        EXPECT_OK(gen_noise_start(noise, &s, &p, CHANNELS, &err));
        /* what A1111 does with halves: (5 - 2) // 2 is 1, (4 - 6) // 2 is -1 */
        const int dy = (int)floor((h - own_h) / 2.0), dx = (int)floor((w - own_w) / 2.0);
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++)
                for (int c = 0; c < CHANNELS; c++) {
                    const int oy = y - dy, ox = x - dx;
                    const bool inside = oy >= 0 && oy < own_h && ox >= 0 && ox < own_w;
                    const float expected = inside ? own[(oy * own_w + ox) * CHANNELS + c]
                                                  : plain[(y * w + x) * CHANNELS + c];
                    EXPECT_BETWEEN(noise[(y * w + x) * CHANNELS + c], expected, expected);
                }
    }
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
        cmocka_unit_test(noise_of_another_size),
        cmocka_unit_test(columns_turn_alone),
        cmocka_unit_test(parallel_noise),
        cmocka_unit_test(predictions_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
