/* The n-th allocation fails, for every n of opening a model and describing it: a status MEMORY, no
 * crash, and under the leak checker nothing lost. */
#include "gen/core/safetensors.h"
#include "gen/pipeline/model_files.h"
#include "tests/safetensors_writer.h"
#include "tests/temp_dir.h"
#include "tests/test.h"

#define FIXTURES GEN_TEST_SOURCE_DIR "/golden/fixtures/"

static temp_dir dir;

static int setup(void **state)
{
    (void)state;
    return temp_dir_make(&dir);
}

static int teardown(void **state)
{
    (void)state;
    temp_dir_remove(&dir);
    return 0;
}

/* Everything that is done to the files of a model, with another autoencoder if given. */
static gen_status open_and_describe(const char *path, const char *vae, gen_error *err)
{
    gen_model_files *files = NULL;
    char *text = NULL, *json = NULL, *warning = NULL;
    gen_status status = gen_model_files_open(&files, path, err);
    if (!status && vae)
        status = gen_model_files_set_vae(files, vae, err);
    if (!status)
        status = gen_model_files_describe(&text, files, false, err);
    if (!status)
        status = gen_model_files_describe(&json, files, true, err);
    if (!status)
        status = gen_model_files_check_unused(files, false, &warning, err);
    gen_free(text);
    gen_free(json);
    gen_free(warning);
    gen_model_files_free(files);
    return status;
}

static void fail_everywhere(const char *path, const char *vae)
{
    gen_error err = {0};
    gen_alloc_fail_at(0);
    EXPECT_OK(open_and_describe(path, vae, &err));
    const long count = gen_alloc_count();
    assert_true(count > 10);
    int failures = 0;
    for (long n = 1; n <= count; n++) {
        gen_alloc_fail_at(n);
        const gen_status status = open_and_describe(path, vae, &err);
        gen_alloc_fail_at(0);
        /* the phrase of a description falls back on a shorter one */
        if (status != GEN_OK) {
            EXPECT_STATUS(GEN_ERROR_MEMORY, status);
            assert_int_equal(err.status, GEN_ERROR_MEMORY);
            failures++;
        }
    }
    assert_true(failures > count * 3 / 4);
}

static void a_directory(void **state)
{
    (void)state;
    fail_everywhere(FIXTURES "pipe_sd1", NULL);
}

static void a_file_and_another_vae(void **state)
{
    (void)state;
    fail_everywhere(FIXTURES "unet_lcm/diffusion_pytorch_model.safetensors",
                    FIXTURES "vae_kl_odd/diffusion_pytorch_model.safetensors");
}

static void a_pair_of_files(void **state)
{
    (void)state;
    fail_everywhere(FIXTURES "taesd_orig_tiny", NULL);
}

/* OpenCLIP names: views of fused tensors and an owned, transposed copy. */
static void fused_and_transposed_tensors(void **state)
{
    (void)state;
    static const safetensors_item items[] = {
        {"token_embedding.weight", GEN_F32, 2, {3, 4}, NULL},
        {"positional_embedding", GEN_F32, 2, {2, 4}, NULL},
        {"transformer.resblocks.0.attn.in_proj_weight", GEN_F32, 2, {12, 4}, NULL},
        {"transformer.resblocks.0.attn.in_proj_bias", GEN_F32, 1, {12}, NULL},
        {"transformer.resblocks.0.mlp.c_fc.weight", GEN_F32, 2, {8, 4}, NULL},
        {"text_projection", GEN_F32, 2, {4, 5}, NULL},
    };
    const char *path = temp_path(&dir, "open_clip.safetensors");
    assert_int_equal(safetensors_write(path, items, 6, "{\"a\":\"b\"}"), 0);
    fail_everywhere(path, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_directory),
        cmocka_unit_test(a_file_and_another_vae),
        cmocka_unit_test(a_pair_of_files),
        cmocka_unit_test(fused_and_transposed_tensors),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
