/* test_vae.c - laws of the autoencoders: decoding in bands is decoding; a batch of two is two of
 * one; memory is as measured and bands need less of it. */
#include "gen/core/alloc.h"
#include "gen/core/rng.h"
#include "gen/core/safetensors.h"
#include "gen/cpu/cpu.h"
#include "tests/test.h"
#include "vae/vae.h"

#define FIXTURES GEN_TEST_SOURCE_DIR "/golden/fixtures/"

typedef struct model {
    gen_backend *backend;
    gen_weights *weights, *encoder, *decoder; /* the last two: original files */
    gen_vae *vae;
} model;

static void open_files(model *m, const char *name, gen_vae_config *cfg)
{
    gen_error err = {0};
    char path[600];
    gen_json *json = NULL;
    EXPECT_OK(gen_weights_new(&m->weights, &err));
    if (strncmp(name, "tae", 3) == 0) {
        EXPECT_OK(gen_weights_new(&m->encoder, &err));
        EXPECT_OK(gen_weights_new(&m->decoder, &err));
        snprintf(path, sizeof path, FIXTURES "%s/%s_encoder.safetensors", name, name);
        EXPECT_OK(gen_safetensors_open(m->encoder, path, &err));
        snprintf(path, sizeof path, FIXTURES "%s/%s_decoder.safetensors", name, name);
        EXPECT_OK(gen_safetensors_open(m->decoder, path, &err));
        EXPECT_OK(gen_vae_add_taesd(m->weights, m->encoder, true, &err));
        EXPECT_OK(gen_vae_add_taesd(m->weights, m->decoder, false, &err));
        EXPECT_OK(gen_vae_config_from_taesd(cfg, m->weights, &err));
        return;
    }
    snprintf(path, sizeof path, FIXTURES "%s/diffusion_pytorch_model.safetensors", name);
    EXPECT_OK(gen_safetensors_open(m->weights, path, &err));
    snprintf(path, sizeof path, FIXTURES "%s/config.json", name);
    EXPECT_OK(gen_json_open(&json, path, GEN_ERROR_MODEL, &err));
    EXPECT_OK(gen_vae_config_read(cfg, json, &err));
    gen_json_free(json);
}

static model open_model(const char *name)
{
    model m = {0};
    gen_error err = {0};
    gen_vae_config cfg;
    open_files(&m, name, &cfg);
    EXPECT_OK(gen_cpu_open(&m.backend, &(gen_cpu_options){.num_threads = 1}, &err));
    EXPECT_OK(gen_vae_new(&m.vae, &cfg, m.weights, m.backend, &err));
    return m;
}

static void close_model(model *m)
{
    gen_vae_free(m->vae);
    gen_weights_free(m->weights);
    gen_weights_free(m->encoder);
    gen_weights_free(m->decoder);
    m->backend->fns->close(m->backend);
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

/* All heights of bands, from less than a halo to more than the image. */
static void check_bands(const char *name, int64_t h, int64_t w)
{
    static const int64_t bands[] = {1, 6, 10, 16, 32, 33, 48, 65, 100, 1000};
    gen_error err = {0};
    char what[100];
    model m = open_model(name);
    const gen_vae_config *cfg = gen_vae_get_config(m.vae);
    const int64_t f = gen_vae_factor(cfg);
    const size_t n = (size_t)(h * f * w * f * cfg->out_channels);
    float *latents = noise((size_t)(h * w * cfg->latent_channels), 5);
    float *whole = gen_calloc(n, sizeof *whole), *banded = gen_calloc(n, sizeof *banded);
    EXPECT_OK(gen_vae_decode(m.vae, latents, 1, h, w, 0, whole, &err));
    for (size_t i = 0; i < sizeof bands / sizeof bands[0]; i++) {
        memset(banded, 0, n * sizeof *banded);
        EXPECT_OK(gen_vae_decode(m.vae, latents, 1, h, w, bands[i], banded, &err));
        snprintf(what, sizeof what, "%s %dx%d in bands of %d", name, (int)h, (int)w, (int)bands[i]);
        expect_close(banded, whole, n, 1e-4, what);
    }
    gen_free(latents);
    gen_free(whole);
    gen_free(banded);
    close_model(&m);
}

static void bands_equal_the_whole_kl(void **state)
{
    (void)state;
    check_bands("vae_kl", 12, 9);
    check_bands("vae_kl", 1, 5);
    check_bands("vae_kl", 41, 3);
}

static void bands_equal_the_whole_kl_16_channels(void **state)
{
    (void)state;
    check_bands("vae_kl_16ch", 13, 6);
}

static void bands_equal_the_whole_tiny(void **state)
{
    (void)state;
    check_bands("vae_tiny", 11, 5);
    check_bands("vae_tiny_16ch", 16, 3);
}

static void bands_equal_the_whole_with_pooling(void **state)
{
    (void)state;
    check_bands("taef2_tiny", 9, 7);
}

static void check_batch(const char *name, int64_t band_rows)
{
    enum { h = 6, w = 5 };
    gen_error err = {0};
    model m = open_model(name);
    const gen_vae_config *cfg = gen_vae_get_config(m.vae);
    const int64_t f = gen_vae_factor(cfg);
    const size_t n = (size_t)(h * f * w * f * cfg->out_channels);
    const size_t count = (size_t)(h * w * cfg->latent_channels);
    float *latents = noise(2 * count, 6), *again = gen_calloc(2 * count, sizeof *again);
    float *both = gen_calloc(2 * n, sizeof *both), *one = gen_calloc(n, sizeof *one);
    EXPECT_OK(gen_vae_decode(m.vae, latents, 2, h, w, band_rows, both, &err));
    for (size_t i = 0; i < 2; i++) {
        EXPECT_OK(gen_vae_decode(m.vae, latents + i * count, 1, h, w, band_rows, one, &err));
        assert_memory_equal(one, both + i * n, n * sizeof *one);
    }
    /* Encoding, with noise, once for both and one after the other. */
    float *sampling = noise(2 * count, 7);
    EXPECT_OK(gen_vae_encode(m.vae, both, 2, h * f, w * f, sampling, again, &err));
    for (size_t i = 0; i < 2; i++) {
        EXPECT_OK(gen_vae_encode(m.vae, both + i * n, 1, h * f, w * f, sampling + i * count,
                                 latents, &err));
        assert_memory_equal(latents, again + i * count, count * sizeof *latents);
    }
    gen_free(latents);
    gen_free(again);
    gen_free(sampling);
    gen_free(both);
    gen_free(one);
    close_model(&m);
}

static void a_batch_of_two_is_two_of_one(void **state)
{
    (void)state;
    check_batch("vae_kl", 0);
    check_batch("vae_kl", 16);
    check_batch("vae_tiny", 0);
    check_batch("vae_tiny", 8);
}

static void scaling_is_undone(void **state)
{
    (void)state;
    gen_vae_config cfg = {
        .kind = GEN_VAE_KL, .latent_channels = 3, .scaling_factor = 0.5, .shift_factor = 0.25};
    float *z = noise(3000, 8), *copy = noise(3000, 8);
    gen_vae_scale(&cfg, z, 1000);
    EXPECT_BETWEEN((double)z[7], 0.5 * ((double)copy[7] - 0.25) - 1e-6,
                   0.5 * ((double)copy[7] - 0.25) + 1e-6);
    gen_vae_unscale(&cfg, z, 1000);
    expect_close(z, copy, 3000, 1e-6, "shift and scale");

    cfg.has_latents_mean_std = true;
    for (int c = 0; c < 3; c++) {
        cfg.latents_mean[c] = c - 1;
        cfg.latents_std[c] = 1 + c;
    }
    gen_vae_scale(&cfg, z, 1000);
    EXPECT_BETWEEN((double)z[2], ((double)copy[2] - 1) * 0.5 / 3 - 1e-6,
                   ((double)copy[2] - 1) * 0.5 / 3 + 1e-6);
    gen_vae_unscale(&cfg, z, 1000);
    expect_close(z, copy, 3000, 1e-6, "mean and deviation");
    gen_free(z);
    gen_free(copy);
}

static size_t sum(const gen_vae_needs *n)
{
    return n->arena + n->scratch + n->host + n->transformed;
}

/* Choosing costs no work, so sizes of real pictures can be asked for. */
static void bands_are_chosen_by_the_limit(void **state)
{
    (void)state;
    gen_error err = {0};
    gen_vae_needs whole, needs;
    int64_t rows;
    model m = open_model("vae_kl");
    EXPECT_OK(gen_vae_choose_bands(m.vae, 128, 128, NULL, 0, &rows, &whole, &err));
    assert_int_equal(rows, 0);
    size_t previous = sum(&whole);
    for (int64_t r = 256; r >= 16; r /= 2) {
        EXPECT_OK(gen_vae_measure_decode(m.vae, 128, 128, r, &needs, &err));
        if (sum(&needs) > previous)
            fail_msg("bands of %d rows need %zu bytes, larger ones %zu", (int)r, sum(&needs),
                     previous);
        previous = sum(&needs);
    }
    EXPECT_OK(gen_vae_choose_bands(m.vae, 128, 128, NULL, sum(&whole) - 1, &rows, &needs, &err));
    assert_true(rows > 0 && sum(&needs) < sum(&whole));
    EXPECT_OK(gen_vae_choose_bands(m.vae, 128, 128, NULL, previous, &rows, &needs, &err));
    assert_true(sum(&needs) <= previous);
    EXPECT_STATUS(GEN_ERROR_MEMORY,
                  gen_vae_choose_bands(m.vae, 128, 128, NULL, 1000, &rows, &needs, &err));
    EXPECT_CONTAINS(err.message, "1024 x 1024 pixels");
    close_model(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bands_equal_the_whole_kl),
        cmocka_unit_test(bands_equal_the_whole_kl_16_channels),
        cmocka_unit_test(bands_equal_the_whole_tiny),
        cmocka_unit_test(bands_equal_the_whole_with_pooling),
        cmocka_unit_test(a_batch_of_two_is_two_of_one),
        cmocka_unit_test(scaling_is_undone),
        cmocka_unit_test(bands_are_chosen_by_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
