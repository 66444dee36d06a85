/* test_vae_config.c - vae/config.json and the tensors of original TAESD files. */
#include "gen/core/alloc.h"
#include "tests/test.h"
#include "vae/vae.h"

static gen_status read_text(gen_vae_config *cfg, const char *text, gen_error *err)
{
    gen_json *json = NULL;
    GEN_TRY(gen_json_parse(&json, text, strlen(text), "vae/config.json", GEN_ERROR_MODEL, err));
    const gen_status status = gen_vae_config_read(cfg, json, err);
    gen_json_free(json);
    return status;
}

static void kl(void **state)
{
    (void)state;
    gen_vae_config c;
    gen_error err = {0};
    int64_t h, w;
    EXPECT_OK(read_text(&c,
                        "{\"_class_name\": \"AutoencoderKL\", \"layers_per_block\": 2,"
                        "\"block_out_channels\": [128, 256, 512, 512], \"sample_size\": 512}",
                        &err));
    assert_int_equal(c.kind, GEN_VAE_KL);
    assert_int_equal(gen_vae_factor(&c), 8);
    assert_true(c.use_quant_conv && c.use_post_quant_conv && c.mid_block_add_attention);
    assert_true(c.scaling_factor == 0.18215 && c.shift_factor == 0);
    gen_vae_latent_size(&c, 500, 39, &h, &w);
    assert_int_equal(h, 62);
    assert_int_equal(w, 4);
}

static void latents_with_shift_and_with_statistics(void **state)
{
    (void)state;
    gen_vae_config c;
    gen_error err = {0};
    EXPECT_OK(read_text(&c,
                        "{\"block_out_channels\": [32, 64, 64], \"latent_channels\": 2,"
                        "\"use_quant_conv\": false, \"scaling_factor\": 0.3611,"
                        "\"shift_factor\": 0.1159, \"latents_mean\": [1, 2],"
                        "\"latents_std\": [3, 4], \"force_upcast\": true}",
                        &err));
    assert_int_equal(gen_vae_factor(&c), 4);
    assert_true(!c.use_quant_conv && c.shift_factor == 0.1159);
    assert_true(c.has_latents_mean_std && c.latents_std[1] == 4);
}

/* Five stages: factor 16, from the lists alone. */
static void tiny(void **state)
{
    (void)state;
    gen_vae_config c;
    gen_error err = {0};
    int64_t h, w;
    EXPECT_OK(read_text(&c,
                        "{\"_class_name\": \"AutoencoderTiny\", \"latent_channels\": 16,"
                        "\"encoder_block_out_channels\": [32, 32, 32, 32, 32],"
                        "\"num_encoder_blocks\": [1, 1, 1, 2, 2],"
                        "\"decoder_block_out_channels\": [32, 32, 32, 32, 32],"
                        "\"num_decoder_blocks\": [2, 2, 1, 1, 1]}",
                        &err));
    assert_int_equal(c.kind, GEN_VAE_TINY);
    assert_int_equal(gen_vae_factor(&c), 16);
    assert_int_equal(c.num_decoder_blocks[1], 2);
    assert_true(c.scaling_factor == 1);
    gen_vae_latent_size(&c, 256, 250, &h, &w);
    assert_int_equal(h, 16);
    assert_int_equal(w, 16);
    EXPECT_OK(read_text(&c, "{\"_class_name\": \"AutoencoderTiny\"}", &err));
    assert_int_equal(gen_vae_factor(&c), 8);
    assert_int_equal(c.num_decoder_blocks[3], 1);
}

static void bad_files(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"{\"_class_name\": \"UNet2DConditionModel\"}",
         "\"_class_name\" is \"UNet2DConditionModel\", expected \"AutoencoderKL\", "
         "\"AutoencoderTiny\" or \"AutoencoderKLWan\""},
        {"{\"in_channels\": 1}", "\"in_channels\" is 1, expected 3..3"},
        {"{\"latent_channels\": 129}", "\"latent_channels\" is 129, expected 1..128"},
        {"{\"block_out_channels\": [128, 100]}",
         "\"norm_num_groups\" is 32, which does not divide the 100 channels of stage 1"},
        {"{\"layers_per_block\": 9}", "\"layers_per_block\" is 9, expected 1..8"},
        {"{\"act_fn\": \"relu\"}", "\"act_fn\" is \"relu\", expected \"silu\""},
        {"{\"down_block_types\": [\"AttnDownEncoderBlock2D\"]}",
         "\"down_block_types\" has \"AttnDownEncoderBlock2D\", expected \"DownEncoderBlock2D\""},
        {"{\"up_block_types\": [7]}", "\"up_block_types\" has \"(no string)\""},
        {"{\"scaling_factor\": 0}", "\"scaling_factor\" is 0, expected 1e-6 to 1e6"},
        {"{\"scaling_factor\": 1e-300}", "\"scaling_factor\" is 1e-300, expected 1e-6 to 1e6"},
        {"{\"latents_mean\": [1, 2, 3, 4]}",
         "\"latents_mean\" and \"latents_std\" have 4 and 0 entries, expected 4"},
        {"{\"latents_mean\": [1, 2, 3, 4], \"latents_std\": [1, 1, 0, 1]}",
         "\"latents_std\" has 0, expected more than 0"},
        {"{\"_class_name\": \"AutoencoderTiny\", \"num_decoder_blocks\": [1, 1]}",
         "\"num_decoder_blocks\" has 2 entries, expected 4 as \"num_encoder_blocks\" has"},
        {"{\"_class_name\": \"AutoencoderTiny\", \"encoder_block_out_channels\": [64, 64]}",
         "\"num_encoder_blocks\" has 4 entries, expected 2 as \"encoder_block_out_channels\" has"},
        {"{\"_class_name\": \"AutoencoderTiny\", \"upsampling_scaling_factor\": 4}",
         "\"upsampling_scaling_factor\" is 4, expected 2..2"},
        {"{\"_class_name\": \"AutoencoderTiny\", \"act_fn\": \"gelu\"}", "\"act_fn\" is \"gelu\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gen_vae_config c;
        gen_error err = {0};
        if (read_text(&c, cases[i].text, &err) != GEN_ERROR_MODEL)
            fail_msg("%s was accepted", cases[i].text);
        EXPECT_CONTAINS(err.message, cases[i].message);
    }
}

static void clips(void **state)
{
    (void)state;
    gen_vae_config c;
    gen_error err = {0};
    EXPECT_OK(read_text(&c, "{\"_class_name\": \"AutoencoderKLWan\"}", &err));
    assert_int_equal(c.kind, GEN_VAE_WAN);
    assert_int_equal(c.latent_channels, 16);
    assert_int_equal(gen_vae_factor(&c), 8);
    assert_int_equal(gen_vae_time_factor(&c), 4);
    assert_true(c.has_latents_mean_std);
    EXPECT_BETWEEN(c.latents_mean[7], 1.5507, 1.5509);
    EXPECT_BETWEEN(c.latents_std[15], 1.9159, 1.9161);
    EXPECT_OK(read_text(&c,
                        "{\"_class_name\": \"AutoencoderKLWan\", \"patch_size\": 2, \"z_dim\": 48,"
                        " \"temperal_downsample\": [false, true, false]}",
                        &err));
    assert_int_equal(gen_vae_factor(&c), 16);
    assert_int_equal(gen_vae_time_factor(&c), 2);
    assert_int_equal(
        read_text(&c, "{\"_class_name\": \"AutoencoderKLWan\", \"temperal_downsample\": [1, 2, 3]}",
                  &err),
        GEN_ERROR_MODEL);
    EXPECT_CONTAINS(err.message, "\"temperal_downsample\" is not a list of 3 times true or false");
}

/* A set with these names, each a tensor [4,9,3,3] without data. */
static gen_weights *named(int n, const char *const *names)
{
    static const int64_t dims[4] = {4, 9, 3, 3};
    static const float data[4 * 9 * 9];
    gen_error err = {0};
    gen_weights *w = NULL;
    EXPECT_OK(gen_weights_new(&w, &err));
    for (int i = 0; i < n; i++)
        EXPECT_OK(gen_weights_add(w, names[i], "taesd.safetensors", names[i], GEN_F32, 4, dims,
                                  data, sizeof data, false, &err));
    return w;
}

/* Encoder: conv, one block; half, two blocks; conv.  Decoder: limit, conv, relu, two blocks, up,
 * conv, one block, conv. */
static void taesd_settings_come_from_the_names(void **state)
{
    (void)state;
    static const char *const encoder[] = {"0.weight", "0.bias",          "1.conv.0.weight",
                                          "2.weight", "3.conv.0.weight", "4.conv.0.weight",
                                          "5.weight", "5.bias"};
    static const char *const decoder[] = {"1.weight",        "1.bias",   "3.conv.0.weight",
                                          "4.conv.0.weight", "6.weight", "7.conv.0.weight",
                                          "8.weight",        "8.bias"};
    gen_error err = {0};
    gen_vae_config c;
    gen_weights *e = named(8, encoder), *d = named(8, decoder), *both = NULL;
    EXPECT_OK(gen_weights_new(&both, &err));
    EXPECT_OK(gen_vae_add_taesd(both, e, true, &err));
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_vae_config_from_taesd(&c, both, &err));
    EXPECT_CONTAINS(err.message, "not those of a TAESD encoder and decoder");
    EXPECT_OK(gen_vae_add_taesd(both, d, false, &err));
    EXPECT_OK(gen_vae_config_from_taesd(&c, both, &err));
    assert_int_equal(c.num_stages, 2);
    assert_int_equal(c.num_encoder_blocks[0], 1);
    assert_int_equal(c.num_encoder_blocks[1], 2);
    assert_int_equal(c.num_decoder_blocks[0], 2);
    assert_int_equal(c.num_decoder_blocks[1], 1);
    assert_int_equal(c.latent_channels, 9);
    gen_weights_free(both);
    gen_weights_free(d);
    gen_weights_free(e);
}

static void other_files_are_no_taesd(void **state)
{
    (void)state;
    static const char *const names[] = {"decoder.conv_in.weight"};
    gen_error err = {0};
    gen_weights *file = named(1, names), *into = NULL;
    EXPECT_OK(gen_weights_new(&into, &err));
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_vae_add_taesd(into, file, false, &err));
    EXPECT_CONTAINS(err.message, "taesd.safetensors: tensor \"decoder.conv_in.weight\" is not of a "
                                 "TAESD decoder");
    gen_weights_free(into);
    gen_weights_free(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clips),
        cmocka_unit_test(kl),
        cmocka_unit_test(latents_with_shift_and_with_statistics),
        cmocka_unit_test(tiny),
        cmocka_unit_test(bad_files),
        cmocka_unit_test(taesd_settings_come_from_the_names),
        cmocka_unit_test(other_files_are_no_taesd),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
