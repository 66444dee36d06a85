/* test_unet_config.c - unet/config.json: defaults, lists, and what is refused with which words. */
#include "tests/test.h"
#include "unet/unet.h"

static gen_status read_text(gen_unet_config *cfg, const char *text, gen_error *err)
{
    gen_json *json = NULL;
    GEN_TRY(gen_json_parse(&json, text, strlen(text), "unet/config.json", GEN_ERROR_MODEL, err));
    const gen_status status = gen_unet_config_read(cfg, json, err);
    gen_json_free(json);
    return status;
}

static void an_empty_file_is_sd1_without_its_widths(void **state)
{
    (void)state;
    gen_unet_config c;
    gen_error err = {0};
    EXPECT_OK(read_text(&c, "{}", &err));
    assert_int_equal(c.in_channels, 4);
    assert_int_equal(c.num_stages, 4);
    assert_int_equal(c.block_out_channels[3], 1280);
    assert_true(c.down_has_attention[0] && !c.down_has_attention[3]);
    assert_true(!c.up_has_attention[0] && c.up_has_attention[3]);
    assert_int_equal(c.mid_block_type, GEN_UNET_MID_CROSS_ATTN);
    assert_int_equal(c.layers_per_block[2], 2);
    assert_int_equal(c.num_heads[0], 8);
    assert_int_equal(c.cross_attention_dim[1], 1280);
    assert_int_equal(c.down_depth[0][1], 1);
    assert_int_equal(c.up_depth[3][2], 1);
    assert_int_equal(c.norm_num_groups, 32);
    assert_int_equal(c.downsample_padding, 1);
    assert_true(c.flip_sin_to_cos && c.freq_shift == 0);
    assert_int_equal(gen_unet_context_dim(&c), 1280);
}

static void null_differs_from_absent_for_the_mid_block_only(void **state)
{
    (void)state;
    gen_unet_config c;
    gen_error err = {0};
    EXPECT_OK(read_text(&c, "{\"mid_block_type\": null, \"in_channels\": null}", &err));
    assert_int_equal(c.mid_block_type, GEN_UNET_MID_NONE);
    assert_int_equal(c.in_channels, 4);
    EXPECT_OK(read_text(&c, "{\"mid_block_type\": \"UNetMidBlock2D\"}", &err));
    assert_int_equal(c.mid_block_type, GEN_UNET_MID_RESNET);
}

/* The layout of SSD-1B: lists of lists, another order on the way up, one resnet in the middle. */
static void nested_depths(void **state)
{
    (void)state;
    gen_unet_config c;
    gen_error err = {0};
    EXPECT_OK(read_text(&c,
                        "{\"block_out_channels\": [320, 640, 1280],"
                        "\"down_block_types\": [\"DownBlock2D\", \"CrossAttnDownBlock2D\","
                        " \"CrossAttnDownBlock2D\"],"
                        "\"up_block_types\": [\"CrossAttnUpBlock2D\", \"CrossAttnUpBlock2D\","
                        " \"UpBlock2D\"],"
                        "\"attention_head_dim\": [5, 10, 20],"
                        "\"mid_block_type\": \"UNetMidBlock2D\","
                        "\"transformer_layers_per_block\": [1, [2, 2], [4, 4]],"
                        "\"reverse_transformer_layers_per_block\": [[4, 4, 10], [2, 1, 1], 1]}",
                        &err));
    assert_int_equal(c.down_depth[2][0], 4);
    assert_int_equal(c.up_depth[0][2], 10);
    assert_int_equal(c.up_depth[1][0], 2);
    assert_int_equal(c.up_depth[2][2], 1);
}

/* Layers by stage, and one number for all stages reversed with them. */
static void lists_by_stage(void **state)
{
    (void)state;
    gen_unet_config c;
    gen_error err = {0};
    EXPECT_OK(read_text(&c,
                        "{\"layers_per_block\": [1, 1, 2, 2],"
                        "\"transformer_layers_per_block\": [1, 2, 3, 4],"
                        "\"only_cross_attention\": [true, true, true, false],"
                        "\"sample_size\": [96, 64], \"a_new_key\": {}}",
                        &err));
    assert_int_equal(c.layers_per_block[1], 1);
    assert_int_equal(c.down_depth[1][0], 2);
    assert_int_equal(c.up_depth[0][2], 4); /* of the deepest stage, which has three layers here */
    assert_int_equal(c.up_depth[3][1], 1);
    assert_int_equal(c.mid_depth, 4);
    assert_true(c.only_cross_attention[2] && !c.only_cross_attention[3]);
    assert_int_equal(c.sample_height, 96);
    assert_int_equal(c.sample_width, 64);
}

static void conditions(void **state)
{
    (void)state;
    gen_unet_config c;
    gen_error err = {0};
    EXPECT_OK(read_text(&c,
                        "{\"addition_embed_type\": \"text_time\", \"addition_time_embed_dim\": 256,"
                        "\"projection_class_embeddings_input_dim\": 2816,"
                        "\"time_cond_proj_dim\": 256, \"encoder_hid_dim\": 4096}",
                        &err));
    assert_int_equal(gen_unet_text_embeds_dim(&c, 6), 1280);
    assert_int_equal(gen_unet_context_dim(&c), 4096);
    assert_int_equal(c.class_embed_type, GEN_UNET_CLASS_NONE);
    EXPECT_OK(read_text(&c, "{\"num_class_embeds\": 1000}", &err));
    assert_int_equal(c.class_embed_type, GEN_UNET_CLASS_TABLE);
}

static void bad_files(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"{\"_class_name\": \"AutoencoderKL\"}",
         "unet/config.json: \"_class_name\" is \"AutoencoderKL\", expected "
         "\"UNet2DConditionModel\""},
        {"{\"in_channels\": \"four\"}", "\"in_channels\" is a string, expected a whole number"},
        {"{\"in_channels\": 0}", "\"in_channels\" is 0, expected 1..65536"},
        {"{\"sample_size\": [64]}", "\"sample_size\" has 1 entries, expected height and width"},
        {"{\"block_out_channels\": []}", "\"block_out_channels\" is empty"},
        {"{\"block_out_channels\": [32,32,32,32,32,32,32,32,32]}",
         "\"block_out_channels\" has 9 entries, expected at most 8"},
        {"{\"block_out_channels\": [320, 640, 1280]}",
         "\"down_block_types\" has 4 entries, expected 3 as \"block_out_channels\" has"},
        {"{\"block_out_channels\": [320, 640, 1280, 1290]}",
         "\"attention_head_dim\" gives stage 3 8 heads, which do not divide its 1290 channels"},
        {"{\"down_block_types\": [\"DownBlock2D\"]}", "\"down_block_types\" has 1 entries"},
        {"{\"down_block_types\": \"DownBlock2D\"}",
         "\"down_block_types\" is not a list of block names"},
        {"{\"up_block_types\": [\"UpBlock2D\", \"AttnUpBlock2D\", \"UpBlock2D\", \"UpBlock2D\"]}",
         "\"up_block_types\" has \"AttnUpBlock2D\", expected \"CrossAttnUpBlock2D\" or "
         "\"UpBlock2D\""},
        {"{\"up_block_types\": [1, 2, 3, 4]}", "\"up_block_types\" has \"(no string)\""},
        {"{\"mid_block_type\": \"UNetMidBlock2DSimpleCrossAttn\"}",
         "\"mid_block_type\" is \"UNetMidBlock2DSimpleCrossAttn\", which is not supported"},
        {"{\"layers_per_block\": [2, 2]}", "\"layers_per_block\" has 2 entries, expected 4"},
        {"{\"layers_per_block\": 17}", "\"layers_per_block\" is 17, expected 1..16"},
        {"{\"attention_head_dim\": [8, 8]}", "\"attention_head_dim\" has 2 entries"},
        {"{\"num_attention_heads\": 7}", "\"num_attention_heads\" gives stage 0 7 heads"},
        {"{\"only_cross_attention\": [true, 1, true, true]}",
         "\"only_cross_attention\" has an entry that is not true or false"},
        {"{\"transformer_layers_per_block\": [1, 2]}",
         "\"transformer_layers_per_block\" has 2 entries, expected 4"},
        {"{\"transformer_layers_per_block\": [1, 1, -1, 1]}",
         "\"transformer_layers_per_block\" has an entry that is not a whole number in 0..64"},
        {"{\"transformer_layers_per_block\": [1, [1, 2, 3], 1, 1]}",
         "\"transformer_layers_per_block\" has 3 entries for stage 1, which has 2 layers"},
        {"{\"transformer_layers_per_block\": [1, [1, 2], 1, 1]}",
         "has lists for single layers, so \"reverse_transformer_layers_per_block\" has to be "
         "given"},
        {"{\"reverse_transformer_layers_per_block\": [1, 1, [1, 1], 1]}",
         "\"reverse_transformer_layers_per_block\" has 2 entries for stage 2, which has 3 layers"},
        {"{\"norm_num_groups\": 33}",
         "\"norm_num_groups\" is 33, which does not divide the 320 channels of stage 0"},
        {"{\"norm_eps\": -1}", "\"norm_eps\" is -1, expected 0..1"},
        {"{\"act_fn\": \"mish\"}", "\"act_fn\" is \"mish\", which is not supported"},
        {"{\"mid_block_scale_factor\": 0}", "\"mid_block_scale_factor\" is 0"},
        {"{\"resnet_time_scale_shift\": \"ada_group\"}", "\"ada_group\", which is not supported"},
        {"{\"time_embedding_type\": \"fourier\"}",
         "\"time_embedding_type\" is \"fourier\", expected \"positional\""},
        {"{\"time_embedding_dim\": 512}", "\"time_embedding_dim\" is set, expected null"},
        {"{\"dual_cross_attention\": true}", "\"dual_cross_attention\" is set"},
        {"{\"attention_type\": \"gated\"}", "\"attention_type\" is \"gated\""},
        {"{\"encoder_hid_dim_type\": \"image_proj\"}",
         "\"encoder_hid_dim_type\" is \"image_proj\""},
        {"{\"class_embed_type\": \"magic\"}", "\"class_embed_type\" is \"magic\""},
        {"{\"class_embed_type\": \"projection\"}",
         "\"class_embed_type\" is \"projection\" but \"projection_class_embeddings_input_dim\" is "
         "missing"},
        {"{\"addition_embed_type\": \"image\"}", "\"addition_embed_type\" is \"image\""},
        {"{\"addition_embed_type\": \"text_time\"}", "\"addition_time_embed_dim\" is missing"},
        {"{\"flip_sin_to_cos\": 1}", "\"flip_sin_to_cos\" is a number, expected true or false"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gen_unet_config c;
        gen_error err = {0};
        if (read_text(&c, cases[i].text, &err) != GEN_ERROR_MODEL)
            fail_msg("%s was accepted", cases[i].text);
        EXPECT_CONTAINS(err.message, cases[i].message);
        EXPECT_CONTAINS(err.message, "unet/config.json: ");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_file_is_sd1_without_its_widths),
        cmocka_unit_test(null_differs_from_absent_for_the_mid_block_only),
        cmocka_unit_test(nested_depths),
        cmocka_unit_test(lists_by_stage),
        cmocka_unit_test(conditions),
        cmocka_unit_test(bad_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
