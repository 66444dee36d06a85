/* test_vae_fault.c - the n-th allocation fails while an autoencoder works, for every n: a status
 * with a message, and no leak (address sanitizer). */
#include "gen/core/alloc.h"
#include "gen/core/safetensors.h"
#include "gen/cpu/cpu.h"
#include "tests/test.h"
#include "vae/vae.h"

#define FIXTURES GEN_TEST_SOURCE_DIR "/golden/fixtures/"

enum { H = 5, W = 2, FACTOR = 2, CHANNELS = 4 };

typedef struct model {
    gen_vae_config cfg;
    gen_weights *weights;
    gen_backend *backend;
} model;

static model open_model(void)
{
    model m = {0};
    gen_error err = {0};
    gen_json *json = NULL;
    EXPECT_OK(gen_json_open(&json, FIXTURES "vae_kl_odd/config.json", GEN_ERROR_MODEL, &err));
    EXPECT_OK(gen_vae_config_read(&m.cfg, json, &err));
    gen_json_free(json);
    EXPECT_OK(gen_weights_new(&m.weights, &err));
    EXPECT_OK(gen_safetensors_open(
        m.weights, FIXTURES "vae_kl_odd/diffusion_pytorch_model.safetensors", &err));
    EXPECT_OK(gen_cpu_open(&m.backend, &(gen_cpu_options){.num_threads = 1}, &err));
    return m;
}

/* Decodes, measures and encodes once. */
static gen_status work(const model *m, int64_t band_rows, gen_error *err)
{
    static float latents[H * W * CHANNELS], pixels[H * W * FACTOR * FACTOR * 3];
    gen_vae_needs needs;
    gen_vae *vae = NULL;
    gen_status status = gen_vae_new(&vae, &m->cfg, m->weights, m->backend, err);
    if (!status)
        status = gen_vae_decode(vae, latents, 1, H, W, band_rows, pixels, err);
    if (!status)
        status = gen_vae_measure_decode(vae, H, W, band_rows, &needs, err);
    if (!status && !band_rows)
        status = gen_vae_encode(vae, pixels, 1, H * FACTOR, W * FACTOR, NULL, latents, err);
    gen_vae_free(vae);
    return status;
}

static void fail_every_allocation(int64_t band_rows)
{
    model m = open_model();
    gen_status status = GEN_ERROR_MEMORY;
    long n = 0;
    while (status != GEN_OK) {
        gen_error err = {0};
        gen_alloc_fail_at(++n);
        status = work(&m, band_rows, &err);
        gen_alloc_fail_at(0);
        if (status != GEN_OK && (status != GEN_ERROR_MEMORY || !err.message[0]))
            fail_msg("allocation %ld: status %d: %s", n, (int)status, err.message);
    }
    if (n < 10)
        fail_msg("only %ld allocations", n);
    gen_weights_free(m.weights);
    m.backend->fns->close(m.backend);
}

static void at_once(void **state)
{
    (void)state;
    fail_every_allocation(0);
}

static void in_bands(void **state)
{
    (void)state;
    fail_every_allocation(65); /* every step stored */
    fail_every_allocation(6);  /* the last stage in one piece */
}

static void in_bands_of_blocks(void **state)
{
    (void)state;
    fail_every_allocation(48);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(at_once),
        cmocka_unit_test(in_bands),
        cmocka_unit_test(in_bands_of_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
