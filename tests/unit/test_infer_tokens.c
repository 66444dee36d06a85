/* Files of networks over tokens and of clip autoencoders that come alone: their names under the
 * original code become those of the models, and their tensors tell the settings. */
#include "tests/test.h"

#include "gen/core/alloc.h"
#include "gen/core/infer_config.h"
#include "gen/core/keymap.h"
#include "gen/core/safetensors.h"

static gen_error err;

static void add(gen_weights *w, const char *name, int rank, const int64_t *dims)
{
    EXPECT_OK(gen_weights_add(w, name, "test", name, GEN_BF16, rank, dims, NULL, 0, false, &err));
}

#define SHAPE(...)                                                                                 \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (const int64_t[])                   \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

typedef struct pair {
    const char *original, *expected;
} pair;

static const pair transformer_names[] = {
    {"patch_embedding.weight", "patch_embedding.weight"},
    {"text_embedding.0.bias", "condition_embedder.text_embedder.linear_1.bias"},
    {"text_embedding.2.weight", "condition_embedder.text_embedder.linear_2.weight"},
    {"time_embedding.0.weight", "condition_embedder.time_embedder.linear_1.weight"},
    {"time_embedding.2.weight", "condition_embedder.time_embedder.linear_2.weight"},
    {"time_projection.1.weight", "condition_embedder.time_proj.weight"},
    {"img_emb.proj.0.weight", "condition_embedder.image_embedder.norm1.weight"},
    {"img_emb.proj.1.weight", "condition_embedder.image_embedder.ff.net.0.proj.weight"},
    {"img_emb.proj.3.weight", "condition_embedder.image_embedder.ff.net.2.weight"},
    {"img_emb.proj.4.bias", "condition_embedder.image_embedder.norm2.bias"},
    {"img_emb.emb_pos", "condition_embedder.image_embedder.pos_embed"},
    {"blocks.7.modulation", "blocks.7.scale_shift_table"},
    {"blocks.7.self_attn.q.weight", "blocks.7.attn1.to_q.weight"},
    {"blocks.7.self_attn.o.bias", "blocks.7.attn1.to_out.0.bias"},
    {"blocks.7.self_attn.norm_k.weight", "blocks.7.attn1.norm_k.weight"},
    {"blocks.7.cross_attn.v.weight", "blocks.7.attn2.to_v.weight"},
    {"blocks.7.cross_attn.k_img.weight", "blocks.7.attn2.add_k_proj.weight"},
    {"blocks.7.cross_attn.v_img.bias", "blocks.7.attn2.add_v_proj.bias"},
    {"blocks.7.cross_attn.norm_k_img.weight", "blocks.7.attn2.norm_added_k.weight"},
    {"blocks.7.norm3.weight", "blocks.7.norm2.weight"},
    {"blocks.7.ffn.0.weight", "blocks.7.ffn.net.0.proj.weight"},
    {"blocks.7.ffn.2.weight", "blocks.7.ffn.net.2.weight"},
    {"head.head.weight", "proj_out.weight"},
    {"head.modulation", "scale_shift_table"},
};

static const pair vae_names[] = {
    {"conv1.weight", "quant_conv.weight"},
    {"conv2.bias", "post_quant_conv.bias"},
    {"encoder.conv1.weight", "encoder.conv_in.weight"},
    {"encoder.downsamples.0.residual.0.gamma", "encoder.down_blocks.0.norm1.gamma"},
    {"encoder.downsamples.2.resample.1.weight", "encoder.down_blocks.2.resample.1.weight"},
    {"encoder.downsamples.3.shortcut.weight", "encoder.down_blocks.3.conv_shortcut.weight"},
    {"encoder.downsamples.5.time_conv.weight", "encoder.down_blocks.5.time_conv.weight"},
    {"encoder.middle.0.residual.2.weight", "encoder.mid_block.resnets.0.conv1.weight"},
    {"encoder.middle.1.to_qkv.weight", "encoder.mid_block.attentions.0.to_qkv.weight"},
    {"encoder.head.0.gamma", "encoder.norm_out.gamma"},
    {"encoder.head.2.weight", "encoder.conv_out.weight"},
    {"decoder.conv1.weight", "decoder.conv_in.weight"},
    {"decoder.middle.0.residual.0.gamma", "decoder.mid_block.resnets.0.norm1.gamma"},
    {"decoder.middle.2.residual.6.bias", "decoder.mid_block.resnets.1.conv2.bias"},
    {"decoder.upsamples.2.residual.3.gamma", "decoder.up_blocks.0.resnets.2.norm2.gamma"},
    {"decoder.upsamples.3.time_conv.weight", "decoder.up_blocks.0.upsamplers.0.time_conv.weight"},
    {"decoder.upsamples.4.shortcut.weight", "decoder.up_blocks.1.resnets.0.conv_shortcut.weight"},
    {"decoder.upsamples.11.resample.1.bias", "decoder.up_blocks.2.upsamplers.0.resample.1.bias"},
    {"decoder.upsamples.14.residual.2.weight", "decoder.up_blocks.3.resnets.2.conv1.weight"},
    {"decoder.head.2.bias", "decoder.conv_out.bias"},
};

/* Wan 2.2 counts the layers of each stage. */
static const pair vae22_names[] = {
    {"decoder.conv1.weight", "decoder.conv_in.weight"},
    {"decoder.middle.0.residual.0.gamma", "decoder.mid_block.resnets.0.norm1.gamma"},
    {"encoder.downsamples.1.downsamples.0.residual.2.weight",
     "encoder.down_blocks.1.resnets.0.conv1.weight"},
    {"encoder.downsamples.1.downsamples.2.resample.1.weight",
     "encoder.down_blocks.1.downsampler.resample.1.weight"},
    {"encoder.downsamples.1.downsamples.2.time_conv.bias",
     "encoder.down_blocks.1.downsampler.time_conv.bias"},
    {"decoder.upsamples.0.upsamples.2.residual.6.weight",
     "decoder.up_blocks.0.resnets.2.conv2.weight"},
    {"decoder.upsamples.0.upsamples.3.resample.1.weight",
     "decoder.up_blocks.0.upsampler.resample.1.weight"},
};

static void check_names(gen_part part, const char *prefix, const pair *pairs, size_t count)
{
    gen_weights *file = NULL, *into = NULL;
    EXPECT_OK(gen_weights_new(&file, &err));
    EXPECT_OK(gen_weights_new(&into, &err));
    for (size_t i = 0; i < count; i++) {
        char name[256];
        const bool is_marker = strstr(pairs[i].original, "conv1.weight") == pairs[i].original + 8 ||
                               strcmp(pairs[i].original, "patch_embedding.weight") == 0;
        snprintf(name, sizeof name, "%s%s", prefix, pairs[i].original);
        add(file, name, is_marker ? 5 : 1, (const int64_t[]){4, 4, 1, 2, 2});
    }
    EXPECT_OK(gen_keymap_add(into, file, part, &err));
    assert_int_equal(gen_weights_count(into), count);
    for (size_t i = 0; i < count; i++)
        if (!gen_weights_find(into, pairs[i].expected))
            fail_msg("%s%s is not %s but %s", prefix, pairs[i].original, pairs[i].expected,
                     gen_weights_at(into, i)->name);
    gen_weights_free(into);
    gen_weights_free(file);
}

#define CHECK(part, prefix, pairs) check_names(part, prefix, pairs, sizeof(pairs) / sizeof *(pairs))

static void names_of_the_original_code(void **state)
{
    (void)state;
    CHECK(GEN_PART_TRANSFORMER, "", transformer_names);
    CHECK(GEN_PART_TRANSFORMER, "net.", transformer_names); /* rCM */
    CHECK(GEN_PART_TRANSFORMER, "model.diffusion_model.", transformer_names);
    CHECK(GEN_PART_VAE, "", vae_names);
    CHECK(GEN_PART_VAE, "", vae22_names);
}

/* ---- DiT and PixArt ------------------------------------------------------------------------- */

/* The original names of a small model; fused tensors have rows for two or three. */
typedef struct original {
    const char *name, *expected; /* '?' for q, k, v; '%' for k, v */
    int64_t rows, cols;
} original;

static const original dit_names[] = {
    {"t_embedder.mlp.0.weight", "transformer_blocks.0.norm1.emb.timestep_embedder.linear_1.weight",
     144, 256},
    {"t_embedder.mlp.2.bias", "transformer_blocks.0.norm1.emb.timestep_embedder.linear_2.bias", 144,
     1},
    {"y_embedder.embedding_table.weight",
     "transformer_blocks.0.norm1.emb.class_embedder.embedding_table.weight", 11, 144},
    {"blocks.0.attn.qkv.weight", "transformer_blocks.0.attn1.to_?.weight", 432, 144},
    {"blocks.1.attn.qkv.bias", "transformer_blocks.1.attn1.to_?.bias", 432, 1},
    {"blocks.1.attn.proj.weight", "transformer_blocks.1.attn1.to_out.0.weight", 144, 144},
    {"blocks.1.mlp.fc1.weight", "transformer_blocks.1.ff.net.0.proj.weight", 576, 144},
    {"blocks.1.mlp.fc2.bias", "transformer_blocks.1.ff.net.2.bias", 144, 1},
    {"blocks.0.adaLN_modulation.1.weight", "transformer_blocks.0.norm1.linear.weight", 864, 144},
    {"blocks.1.adaLN_modulation.1.weight", "transformer_blocks.1.norm1.linear.weight", 864, 144},
    {"final_layer.adaLN_modulation.1.weight", "proj_out_1.weight", 288, 144},
    {"final_layer.linear.weight", "proj_out_2.weight", 32, 144},
};

static const original pixart_names[] = {
    {"t_embedder.mlp.0.weight", "adaln_single.emb.timestep_embedder.linear_1.weight", 144, 256},
    {"csize_embedder.mlp.2.weight", "adaln_single.emb.resolution_embedder.linear_2.weight", 48, 48},
    {"csize_embedder.mlp.0.weight", "adaln_single.emb.resolution_embedder.linear_1.weight", 48,
     256},
    {"ar_embedder.mlp.0.bias", "adaln_single.emb.aspect_ratio_embedder.linear_1.bias", 48, 1},
    {"t_block.1.weight", "adaln_single.linear.weight", 864, 144},
    {"y_embedder.y_proj.fc1.weight", "caption_projection.linear_1.weight", 144, 20},
    {"y_embedder.y_proj.fc2.bias", "caption_projection.linear_2.bias", 144, 1},
    {"blocks.0.scale_shift_table", "transformer_blocks.0.scale_shift_table", 6, 144},
    {"blocks.1.scale_shift_table", "transformer_blocks.1.scale_shift_table", 6, 144},
    {"blocks.1.attn.qkv.weight", "transformer_blocks.1.attn1.to_?.weight", 432, 144},
    {"blocks.1.attn.proj.bias", "transformer_blocks.1.attn1.to_out.0.bias", 144, 1},
    {"blocks.1.cross_attn.q_linear.weight", "transformer_blocks.1.attn2.to_q.weight", 144, 144},
    {"blocks.1.cross_attn.kv_linear.weight", "transformer_blocks.1.attn2.to_%.weight", 288, 144},
    {"blocks.1.cross_attn.kv_linear.bias", "transformer_blocks.1.attn2.to_%.bias", 288, 1},
    {"blocks.1.cross_attn.proj.weight", "transformer_blocks.1.attn2.to_out.0.weight", 144, 144},
    {"blocks.1.mlp.fc1.bias", "transformer_blocks.1.ff.net.0.proj.bias", 576, 1},
    {"blocks.1.mlp.fc2.weight", "transformer_blocks.1.ff.net.2.weight", 144, 576},
    {"final_layer.scale_shift_table", "scale_shift_table", 2, 144},
    {"final_layer.linear.weight", "proj_out.weight", 32, 144},
};

/* Each part of a fused tensor has its share of the rows. */
static void expect_parts(const gen_weights *w, const original *o)
{
    const char *mark = strpbrk(o->expected, "?%");
    const char *letters = mark && *mark == '%' ? "kv" : "qkv";
    for (int i = 0; i < (mark ? (int)strlen(letters) : 1); i++) {
        char name[256];
        snprintf(name, sizeof name, "%s", o->expected);
        if (mark)
            name[mark - o->expected] = letters[i];
        const gen_weight *found = gen_weights_find(w, name);
        if (!found)
            fail_msg("%s: there is no %s", o->name, name);
        assert_int_equal(found->dims[0], mark ? o->rows / (int64_t)strlen(letters) : o->rows);
    }
}

/* A file of these tensors, of patches of 2 and 64 tokens, under the names of the models. */
static gen_weights *original_model(gen_weights **file, const original *names, size_t count)
{
    gen_weights *into = NULL;
    EXPECT_OK(gen_weights_new(file, &err));
    EXPECT_OK(gen_weights_new(&into, &err));
    add(*file, "pos_embed", SHAPE(1, 64, 144));
    add(*file, "x_embedder.proj.weight", SHAPE(144, 4, 2, 2));
    for (size_t i = 0; i < count; i++)
        add(*file, names[i].name, names[i].cols > 1 ? 2 : 1,
            (const int64_t[]){names[i].rows, names[i].cols});
    EXPECT_OK(gen_keymap_add(into, *file, GEN_PART_TRANSFORMER, &err));
    for (size_t i = 0; i < count; i++)
        expect_parts(into, &names[i]);
    assert_non_null(gen_weights_find(into, "pos_embed.proj.weight"));
    assert_true(gen_weights_find(into, "pos_embed.table")->is_ignored);
    return into;
}

static void expect_int(const gen_json *json, const char *key, int64_t expected);

static void dit_and_pixart_of_their_own_codes(void **state)
{
    (void)state;
    gen_weights *file, *w = original_model(&file, dit_names, sizeof dit_names / sizeof *dit_names);
    gen_json *json = NULL;
    EXPECT_OK(gen_infer_transformer_config(&json, w, "dit.safetensors", &err));
    assert_string_equal(json_string_value(gen_json_get(json, "_class_name")), "DiT");
    expect_int(json, "input_size", 16);
    expect_int(json, "patch_size", 2);
    expect_int(json, "hidden_size", 144);
    expect_int(json, "depth", 2);
    expect_int(json, "num_classes", 10);
    assert_true(json_is_true(gen_json_get(json, "learn_sigma")));
    gen_json_free(json);
    gen_weights_free(w);
    gen_weights_free(file);

    w = original_model(&file, pixart_names, sizeof pixart_names / sizeof *pixart_names);
    EXPECT_OK(gen_infer_transformer_config(&json, w, "pixart.safetensors", &err));
    assert_string_equal(json_string_value(gen_json_get(json, "_class_name")),
                        "PixArtTransformer2DModel");
    expect_int(json, "sample_size", 16);
    expect_int(json, "num_layers", 2);
    expect_int(json, "caption_channels", 20);
    expect_int(json, "out_channels", 8);
    assert_true(json_is_true(gen_json_get(json, "use_additional_conditions")));
    gen_json_free(json);
    gen_weights_free(w);
    gen_weights_free(file);
}

/* Two rows for three: said, with the tensor. */
static void fused_tensors_of_a_wrong_shape(void **state)
{
    (void)state;
    gen_weights *file = NULL, *into = NULL;
    EXPECT_OK(gen_weights_new(&file, &err));
    EXPECT_OK(gen_weights_new(&into, &err));
    add(file, "x_embedder.proj.weight", SHAPE(4, 4, 2, 2));
    add(file, "y_embedder.y_proj.fc1.weight", SHAPE(4, 4));
    add(file, "blocks.0.cross_attn.kv_linear.weight", SHAPE(7, 4));
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_keymap_add(into, file, GEN_PART_TRANSFORMER, &err));
    EXPECT_CONTAINS(err.message, "\"blocks.0.cross_attn.kv_linear.weight\" has 7 rows, expected k "
                                 "and v in a multiple of two");
    gen_weights_free(into);
    gen_weights_free(file);
}

static void expect_int(const gen_json *json, const char *key, int64_t expected)
{
    int64_t value = -1;
    EXPECT_OK(gen_json_int(json, key, -2, INT64_MIN, INT64_MAX, &value, &err));
    if (value != expected)
        fail_msg("%s is %d, expected %d", key, (int)value, (int)expected);
}

/* Wan 2.1 14B, image to video; rCM stores the patch embedding as a matrix. */
static void settings_of_wan(void **state)
{
    (void)state;
    for (int is_flat = 0; is_flat < 2; is_flat++) {
        gen_weights *w = NULL;
        gen_json *json = NULL;
        EXPECT_OK(gen_weights_new(&w, &err));
        if (is_flat)
            add(w, "patch_embedding.weight", SHAPE(5120, 144));
        else
            add(w, "patch_embedding.weight", SHAPE(5120, 36, 1, 2, 2));
        add(w, "condition_embedder.time_proj.weight", SHAPE(30720, 5120));
        add(w, "condition_embedder.time_embedder.linear_1.weight", SHAPE(5120, 256));
        add(w, "condition_embedder.text_embedder.linear_1.weight", SHAPE(5120, 4096));
        add(w, "condition_embedder.image_embedder.norm1.weight", SHAPE(1280));
        add(w, "proj_out.weight", SHAPE(64, 5120));
        add(w, "blocks.0.ffn.net.2.weight", SHAPE(5120, 13824));
        for (int i = 0; i < 40; i++) {
            char name[64];
            snprintf(name, sizeof name, "blocks.%d.ffn.net.2.bias", i);
            add(w, name, SHAPE(5120));
        }
        EXPECT_OK(gen_infer_transformer_config(&json, w, "wan.safetensors", &err));
        expect_int(json, "num_attention_heads", 40);
        expect_int(json, "attention_head_dim", 128);
        expect_int(json, "num_layers", 40);
        expect_int(json, "ffn_dim", 13824);
        expect_int(json, "in_channels", 36);
        expect_int(json, "out_channels", 16);
        expect_int(json, "text_dim", 4096);
        expect_int(json, "freq_dim", 256);
        expect_int(json, "image_dim", 1280);
        gen_json_free(json);
        gen_weights_free(w);
    }
}

static gen_weights *open_fixture(gen_weights **file, const char *name, const char *weights,
                                 gen_part part)
{
    char path[512];
    gen_weights *into = NULL;
    snprintf(path, sizeof path, GEN_TEST_SOURCE_DIR "/golden/fixtures/%s/%s", name, weights);
    EXPECT_OK(gen_weights_new(file, &err));
    EXPECT_OK(gen_weights_new(&into, &err));
    EXPECT_OK(gen_safetensors_open(*file, path, &err));
    EXPECT_OK(gen_keymap_add(into, *file, part, &err));
    return into;
}

static void expect_same(const char *name, const gen_json *json, const char *const *keys)
{
    char path[512];
    gen_json *expected = NULL;
    snprintf(path, sizeof path, GEN_TEST_SOURCE_DIR "/golden/fixtures/%s/config.json", name);
    EXPECT_OK(gen_json_open(&expected, path, GEN_ERROR_MODEL, &err));
    for (; *keys; keys++) {
        const json_t *a = gen_json_get(json, *keys), *b = gen_json_get(expected, *keys);
        if (b && !json_is_null(b) && !json_equal(a, b))
            fail_msg("%s: \"%s\" is not what config.json says", name, *keys);
    }
    gen_json_free(expected);
}

static void settings_of_fixtures(void **state)
{
    (void)state;
    static const char *const rwkv[] = {"_class_name", "img_size",    "patch_size",
                                       "embed_dim",   "channels",    "depth",
                                       "num_classes", "learn_sigma", NULL};
    static const char *const vae[] = {
        "_class_name", "z_dim", "num_res_blocks", "temperal_downsample", "patch_size",
        "is_residual", NULL};
    static const char *const names[] = {"drwkv_cond", "drwkv_uncond", "vae_wan", "vae_wan22"};
    for (int i = 0; i < 4; i++) {
        gen_weights *file = NULL;
        gen_json *json = NULL;
        gen_weights *w = open_fixture(
            &file, names[i], i < 2 ? "model.safetensors" : "diffusion_pytorch_model.safetensors",
            i < 2 ? GEN_PART_TRANSFORMER : GEN_PART_VAE);
        if (i < 2)
            EXPECT_OK(gen_infer_transformer_config(&json, w, "x.safetensors", &err));
        else
            EXPECT_OK(
                gen_infer_vae_config(&json, w, GEN_FAMILY_UNKNOWN, NULL, "x.safetensors", &err));
        expect_same(names[i], json, i < 2 ? rwkv : vae);
        gen_json_free(json);
        gen_weights_free(w);
        gen_weights_free(file);
    }
}

static void unknown_networks(void **state)
{
    (void)state;
    gen_weights *w = NULL;
    gen_json *json = NULL;
    EXPECT_OK(gen_weights_new(&w, &err));
    add(w, "some.other.weight", SHAPE(4, 4));
    assert_int_equal(gen_infer_transformer_config(&json, w, "x.safetensors", &err),
                     GEN_ERROR_MODEL);
    EXPECT_CONTAINS(err.message, "x.safetensors: a network over tokens");
    EXPECT_CONTAINS(err.hint, "config.json");
    gen_weights_free(w);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_of_the_original_code),
        cmocka_unit_test(dit_and_pixart_of_their_own_codes),
        cmocka_unit_test(fused_tensors_of_a_wrong_shape),
        cmocka_unit_test(settings_of_wan),
        cmocka_unit_test(settings_of_fixtures),
        cmocka_unit_test(unknown_networks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
