/* Key layouts, forwards against an independent way back: the tensors of the golden fixtures, which
 * have the names the models use, are written under the names of the original code and read again.
 * Every name, shape and byte has to come back, and the settings recognised from the tensors have to
 * equal those the fixture was made with. */
#include <stdlib.h>

#include "gen/core/safetensors.h"
#include "gen/pipeline/model_files.h"
#include "tests/safetensors_writer.h"
#include "tests/temp_dir.h"
#include "tests/test.h"
#include "unet/unet.h"

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

/* ---- a file in the making ------------------------------------------------------------------- */

enum { MAX_ITEMS = 3000 };

typedef struct builder {
    safetensors_item items[MAX_ITEMS];
    size_t count;
    void *made[MAX_ITEMS]; /* data to free */
    size_t num_made;
} builder;

static void add_item(builder *b, const char *prefix, const char *name, gen_dtype dtype, int rank,
                     const int64_t *dims, const void *data)
{
    assert_true(b->count < MAX_ITEMS);
    safetensors_item *item = &b->items[b->count++];
    char full[320];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    *item = (safetensors_item){.name = strdup(full), .dtype = dtype, .rank = rank, .data = data};
    for (int i = 0; i < rank; i++)
        item->dims[i] = dims[i];
}

static void free_builder(builder *b)
{
    for (size_t i = 0; i < b->count; i++)
        free((void *)(uintptr_t)b->items[i].name);
    for (size_t i = 0; i < b->num_made; i++)
        free(b->made[i]);
    free(b);
}

static builder *new_builder(void)
{
    builder *b = calloc(1, sizeof *b);
    assert_non_null(b);
    return b;
}

/* The component of a fixture folder. */
static gen_model_files *open_fixture(const char *name)
{
    char path[512];
    gen_error err = {0};
    gen_model_files *files;
    snprintf(path, sizeof path, FIXTURES "%s", name);
    EXPECT_OK(gen_model_files_open(&files, path, &err));
    assert_int_equal(files->num_components, 1);
    return files;
}

static void replace_part(char *name, size_t size, const char *from, const char *to)
{
    char *at = strstr(name, from), rest[320];
    if (!at)
        return;
    snprintf(rest, sizeof rest, "%s", at + strlen(from));
    snprintf(at, size - (size_t)(at - name), "%s%s", to, rest);
}

/* ---- the way back: UNet --------------------------------------------------------------------- */

/* How a program numbers the blocks. */
typedef struct numbering {
    int stride;            /* blocks per stage */
    bool keeps_teacher;    /* the second layer of an up stage keeps the number of the third */
    bool leaves_attention; /* up_blocks.0.attentions is not renamed */
} numbering;

static void original_unet_name(char *out, size_t size, const gen_weights *w, const char *name,
                               numbering n)
{
    static const char *const resnet[][2] = {
        {".norm1.", ".in_layers.0."},          {".conv1.", ".in_layers.2."},
        {".time_emb_proj.", ".emb_layers.1."}, {".norm2.", ".out_layers.0."},
        {".conv2.", ".out_layers.3."},         {".conv_shortcut.", ".skip_connection."},
    };
    static const char *const plain[][2] = {
        {"conv_in.", "input_blocks.0.0."},
        {"time_embedding.linear_1.", "time_embed.0."},
        {"time_embedding.linear_2.", "time_embed.2."},
        {"time_embedding.cond_proj.", "time_embed.cond_proj."},
        {"add_embedding.linear_1.", "label_emb.0.0."},
        {"add_embedding.linear_2.", "label_emb.0.2."},
        {"conv_norm_out.", "out.0."},
        {"conv_out.", "out.2."},
        {"mid_block.resnets.0.", "middle_block.0."},
        {"mid_block.attentions.0.", "middle_block.1."},
        {"mid_block.resnets.1.", "middle_block.2."},
    };
    int i, j, used = 0;
    snprintf(out, size, "%s", name);
    if (sscanf(name, "down_blocks.%d.resnets.%d.%n", &i, &j, &used) == 2 && used)
        snprintf(out, size, "input_blocks.%d.0.%s", 1 + n.stride * i + j, name + used);
    else if (sscanf(name, "down_blocks.%d.attentions.%d.%n", &i, &j, &used) == 2 && used)
        snprintf(out, size, "input_blocks.%d.1.%s", 1 + n.stride * i + j, name + used);
    else if (sscanf(name, "down_blocks.%d.downsamplers.0.conv.%n", &i, &used) == 1 && used)
        snprintf(out, size, "input_blocks.%d.0.op.%s", n.stride * (i + 1), name + used);
    else if (sscanf(name, "up_blocks.%d.resnets.%d.%n", &i, &j, &used) == 2 && used)
        snprintf(out, size, "output_blocks.%d.0.%s",
                 n.stride * i + (n.keeps_teacher && j ? j + 1 : j), name + used);
    else if (sscanf(name, "up_blocks.%d.attentions.%d.%n", &i, &j, &used) == 2 && used) {
        if (!n.leaves_attention || i > 0)
            snprintf(out, size, "output_blocks.%d.1.%s",
                     n.stride * i + (n.keeps_teacher && j ? j + 1 : j), name + used);
    } else if (sscanf(name, "up_blocks.%d.upsamplers.0.conv.%n", &i, &used) == 1 && used) {
        char attention[64];
        snprintf(attention, sizeof attention, "up_blocks.%d.attentions.0.proj_in.weight", i);
        const bool last = gen_weights_find(w, attention) && !(n.leaves_attention && i == 0);
        snprintf(out, size, "output_blocks.%d.%d.conv.%s", n.stride * i + n.stride - 1,
                 last ? 2 : 1, name + used);
    } else {
        for (size_t k = 0; k < sizeof plain / sizeof plain[0]; k++)
            if (strncmp(name, plain[k][0], strlen(plain[k][0])) == 0)
                snprintf(out, size, "%s%s", plain[k][1], name + strlen(plain[k][0]));
    }
    if (strstr(name, ".resnets."))
        for (size_t k = 0; k < sizeof resnet / sizeof resnet[0]; k++)
            replace_part(out, size, resnet[k][0], resnet[k][1]);
}

static void add_unet(builder *b, const char *prefix, const gen_weights *w, numbering n)
{
    for (size_t i = 0; i < gen_weights_count(w); i++) {
        const gen_weight *t = gen_weights_at(w, i);
        char name[320];
        original_unet_name(name, sizeof name, w, t->name, n);
        add_item(b, prefix, name, t->dtype, t->rank, t->dims, t->data);
    }
}

/* ---- the way back: VAE ---------------------------------------------------------------------- */

static void add_vae(builder *b, const char *prefix, const gen_weights *w, int levels)
{
    static const char *const parts[][2] = {
        {".conv_norm_out.", ".norm_out."},
        {".conv_shortcut.", ".nin_shortcut."},
        {".mid_block.resnets.0.", ".mid.block_1."},
        {".mid_block.resnets.1.", ".mid.block_2."},
        {".mid_block.attentions.0.group_norm.", ".mid.attn_1.norm."},
        {".mid_block.attentions.0.to_q.", ".mid.attn_1.q."},
        {".mid_block.attentions.0.to_k.", ".mid.attn_1.k."},
        {".mid_block.attentions.0.to_v.", ".mid.attn_1.v."},
        {".mid_block.attentions.0.to_out.0.", ".mid.attn_1.proj_out."},
    };
    for (size_t i = 0; i < gen_weights_count(w); i++) {
        const gen_weight *t = gen_weights_at(w, i);
        char name[320];
        int level, j, used = 0, rank = t->rank;
        int64_t dims[4] = {1, 1, 1, 1};
        memcpy(dims, t->dims, (size_t)rank * sizeof *dims);
        snprintf(name, sizeof name, "%s", t->name);
        if (sscanf(t->name, "encoder.down_blocks.%d.resnets.%d.%n", &level, &j, &used) == 2 && used)
            snprintf(name, sizeof name, "encoder.down.%d.block.%d.%s", level, j, t->name + used);
        else if (sscanf(t->name, "encoder.down_blocks.%d.downsamplers.0.%n", &level, &used) == 1 &&
                 used)
            snprintf(name, sizeof name, "encoder.down.%d.downsample.%s", level, t->name + used);
        else if (sscanf(t->name, "decoder.up_blocks.%d.resnets.%d.%n", &level, &j, &used) == 2 &&
                 used)
            snprintf(name, sizeof name, "decoder.up.%d.block.%d.%s", levels - 1 - level, j,
                     t->name + used);
        else if (sscanf(t->name, "decoder.up_blocks.%d.upsamplers.0.%n", &level, &used) == 1 &&
                 used)
            snprintf(name, sizeof name, "decoder.up.%d.upsample.%s", levels - 1 - level,
                     t->name + used);
        for (size_t k = 0; k < sizeof parts / sizeof parts[0]; k++)
            replace_part(name, sizeof name, parts[k][0], parts[k][1]);
        if (strstr(name, ".attn_1.") && rank == 2)
            rank = 4;
        add_item(b, prefix, name, t->dtype, rank, dims, t->data);
    }
}

/* ---- the way back: text encoders ------------------------------------------------------------ */

static void add_text(builder *b, const char *prefix, const gen_weights *w)
{
    static const int64_t dims[2] = {1, 4};
    static const int64_t ids[4] = {0, 1, 2, 3};
    for (size_t i = 0; i < gen_weights_count(w); i++) {
        const gen_weight *t = gen_weights_at(w, i);
        add_item(b, prefix, t->name, t->dtype, t->rank, t->dims, t->data);
    }
    add_item(b, prefix, "text_model.embeddings.position_ids", GEN_I64, 2, dims, ids);
}

/* q, k and v below each other. */
static void add_in_proj(builder *b, const char *prefix, const gen_weights *w, int layer,
                        const char *ending)
{
    char name[320];
    char *data = NULL;
    size_t used = 0;
    int64_t dims[2] = {0, 0};
    int rank = 0;
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "text_model.encoder.layers.%d.self_attn.%c_proj.%s", layer,
                 "qkv"[i], ending);
        const gen_weight *t = gen_weights_find(w, name);
        assert_non_null(t);
        data = realloc(data, used + t->size);
        assert_non_null(data);
        memcpy(data + used, t->data, t->size);
        used += t->size;
        rank = t->rank;
        dims[0] = 3 * t->dims[0];
        dims[1] = t->dims[1];
    }
    b->made[b->num_made++] = data;
    snprintf(name, sizeof name, "transformer.resblocks.%d.attn.in_proj_%s", layer, ending);
    add_item(b, prefix, name, GEN_F32, rank, dims, data);
}

static void add_open_clip(builder *b, const char *prefix, const gen_weights *w)
{
    static const char *const parts[][2] = {
        {"text_model.embeddings.token_embedding.", "token_embedding."},
        {"text_model.embeddings.position_embedding.weight", "positional_embedding"},
        {"text_model.final_layer_norm.", "ln_final."},
        {"text_model.encoder.layers.", "transformer.resblocks."},
        {".layer_norm1.", ".ln_1."},
        {".layer_norm2.", ".ln_2."},
        {".self_attn.out_proj.", ".attn.out_proj."},
        {".mlp.fc1.", ".mlp.c_fc."},
        {".mlp.fc2.", ".mlp.c_proj."},
    };
    for (size_t i = 0; i < gen_weights_count(w); i++) {
        const gen_weight *t = gen_weights_at(w, i);
        int layer, used = 0;
        char name[320];
        if (sscanf(t->name, "text_model.encoder.layers.%d.self_attn.q_proj.%n", &layer, &used) ==
                1 &&
            used) {
            add_in_proj(b, prefix, w, layer, t->name + used);
            continue;
        }
        if (strstr(t->name, ".k_proj.") || strstr(t->name, ".v_proj."))
            continue;
        if (strcmp(t->name, "text_projection.weight") == 0) {
            const int64_t dims[2] = {t->dims[1], t->dims[0]};
            float *data = malloc(t->size);
            assert_non_null(data);
            for (int64_t r = 0; r < t->dims[0]; r++)
                for (int64_t c = 0; c < t->dims[1]; c++)
                    memcpy(&data[c * dims[1] + r], (const float *)t->data + r * t->dims[1] + c,
                           sizeof *data);
            b->made[b->num_made++] = data;
            add_item(b, prefix, "text_projection", GEN_F32, 2, dims, data);
            continue;
        }
        snprintf(name, sizeof name, "%s", t->name);
        for (size_t k = 0; k < sizeof parts / sizeof parts[0]; k++)
            replace_part(name, sizeof name, parts[k][0], parts[k][1]);
        add_item(b, prefix, name, t->dtype, t->rank, t->dims, t->data);
    }
}

/* ---- comparing ------------------------------------------------------------------------------ */

static void expect_same_tensors(const gen_weights *got, const gen_weights *expected)
{
    for (size_t i = 0; i < gen_weights_count(expected); i++) {
        const gen_weight *e = gen_weights_at(expected, i);
        const gen_weight *g = gen_weights_find(got, e->name);
        if (!g)
            fail_msg("%s is missing", e->name);
        if (g->size != e->size || memcmp(g->data, e->data, e->size) != 0)
            fail_msg("%s has other data", e->name);
        for (int k = 0; k < g->rank; k++)
            if (g->dims[k] != (k < e->rank ? e->dims[k] : 1))
                fail_msg("%s has another shape", e->name);
    }
    if (gen_weights_count(got) != gen_weights_count(expected))
        fail_msg("%zu tensors instead of %zu", gen_weights_count(got), gen_weights_count(expected));
}

/* Copies keys that no shape tells from the fixture's settings. */
static void borrow_keys(gen_json *to, const gen_json *from, const char *const *keys)
{
    for (; *keys; keys++) {
        json_t *value = json_object_get(from->root, *keys);
        if (value)
            assert_int_equal(json_object_set(to->root, *keys, value), 0);
    }
}

static void expect_same_unet_config(gen_json *got, const gen_json *expected)
{
    static const char *const untold[] = {"attention_head_dim", "norm_num_groups", "sample_size",
                                         "addition_time_embed_dim", NULL};
    gen_error err = {0};
    static gen_unet_config a, b;
    borrow_keys(got, expected, untold);
    EXPECT_OK(gen_unet_config_read(&a, got, &err));
    EXPECT_OK(gen_unet_config_read(&b, expected, &err));
    assert_int_equal(a.num_stages, b.num_stages);
    assert_int_equal(a.in_channels, b.in_channels);
    assert_int_equal(a.out_channels, b.out_channels);
    assert_int_equal(a.mid_block_type, b.mid_block_type);
    if (a.mid_block_type == GEN_UNET_MID_CROSS_ATTN)
        assert_int_equal(a.mid_depth, b.mid_depth);
    assert_int_equal(a.use_linear_projection, b.use_linear_projection);
    assert_int_equal(a.time_cond_proj_dim, b.time_cond_proj_dim);
    assert_int_equal(a.has_text_time, b.has_text_time);
    assert_int_equal(a.class_embed_type, b.class_embed_type);
    assert_int_equal(a.projection_class_embeddings_input_dim,
                     b.projection_class_embeddings_input_dim);
    assert_int_equal(a.conv_in_kernel, b.conv_in_kernel);
    for (int i = 0; i < a.num_stages; i++) {
        assert_int_equal(a.block_out_channels[i], b.block_out_channels[i]);
        assert_int_equal(a.layers_per_block[i], b.layers_per_block[i]);
        assert_int_equal(a.down_has_attention[i], b.down_has_attention[i]);
        assert_int_equal(a.up_has_attention[i], b.up_has_attention[i]);
        assert_int_equal(a.cross_attention_dim[i], b.cross_attention_dim[i]);
        assert_int_equal(a.only_cross_attention[i], b.only_cross_attention[i]);
        for (int k = 0; a.down_has_attention[i] && k < a.layers_per_block[i]; k++)
            assert_int_equal(a.down_depth[i][k], b.down_depth[i][k]);
        const int up_layers = a.layers_per_block[a.num_stages - 1 - i] + 1;
        for (int k = 0; a.up_has_attention[i] && k < up_layers; k++)
            assert_int_equal(a.up_depth[i][k], b.up_depth[i][k]);
    }
}

/* The listed keys are equal as JSON. */
static void expect_same_keys(const gen_json *got, const gen_json *expected, const char *const *keys)
{
    for (; *keys; keys++)
        if (!json_equal(gen_json_get(got, *keys), gen_json_get(expected, *keys)))
            fail_msg("%s: \"%s\" was not recognised", expected->path, *keys);
}

static const char *const vae_keys[] = {"in_channels",
                                       "out_channels",
                                       "latent_channels",
                                       "block_out_channels",
                                       "layers_per_block",
                                       "use_quant_conv",
                                       "use_post_quant_conv",
                                       "mid_block_add_attention",
                                       NULL};
static const char *const text_keys[] = {"vocab_size",        "max_position_embeddings",
                                        "hidden_size",       "intermediate_size",
                                        "num_hidden_layers", NULL};

/* Writes the file and opens it as a model. */
static gen_model_files *write_and_open(const builder *b, const char *name)
{
    gen_error err = {0};
    gen_model_files *files;
    const char *path = temp_path(&dir, name);
    assert_int_equal(safetensors_write(path, b->items, b->count, "{\"format\":\"pt\"}"), 0);
    EXPECT_OK(gen_model_files_open(&files, path, &err));
    return files;
}

static void expect_all_claimed(gen_model_files *files)
{
    gen_error err = {0};
    char *warning;
    for (int i = 0; i < files->num_components; i++)
        for (size_t k = 0; k < gen_weights_count(files->components[i].weights); k++)
            gen_weights_at(files->components[i].weights, k)->is_used = true;
    EXPECT_OK(gen_model_files_check_unused(files, true, &warning, &err));
    assert_null(warning);
}

/* ---- tests ---------------------------------------------------------------------------------- */

static const struct {
    const char *fixture;
    numbering numbering;
} unets[] = {
    {"unet_sd1", {3}},
    {"unet_sd1_oddsize", {2}},
    {"unet_sd1_oddsize", {3}},
    {"unet_sd2", {2}},
    {"unet_sdxl", {2}},
    {"unet_sdxl", {3}},
    {"unet_ssd1b", {3}},
    {"unet_inpaint9", {2}},
    {"unet_pix2pix8", {3}},
    {"unet_lcm", {2}},
    {"unet_bksdm_base", {3}},
    {"unet_bksdm_base", {3, true}},
    {"unet_bksdm_small", {3}},
    {"unet_bksdm_small", {3, true}},
    {"unet_bksdm_tiny", {3, false, true}},
    {"unet_bksdm_tiny", {3, true}},
};

static void unets_come_back(void **state)
{
    (void)state;
    static const char *const prefixes[] = {"model.diffusion_model.", "", "unet."};
    for (size_t i = 0; i < sizeof unets / sizeof unets[0]; i++) {
        gen_model_files *fixture = open_fixture(unets[i].fixture);
        builder *b = new_builder();
        add_unet(b, prefixes[i % 3], fixture->components[0].weights, unets[i].numbering);
        gen_model_files *files = write_and_open(b, "unet.safetensors");
        assert_int_equal(files->num_components, 1);
        assert_true(files->is_original_layout);
        assert_string_equal(files->components[0].name, "unet");
        assert_string_equal(files->components[0].class_name, "UNet2DConditionModel");
        expect_same_tensors(files->components[0].weights, fixture->components[0].weights);
        expect_same_unet_config(files->components[0].config, fixture->components[0].config);
        expect_all_claimed(files);
        gen_model_files_free(files);
        gen_model_files_free(fixture);
        free_builder(b);
    }
}

static void autoencoders_come_back(void **state)
{
    (void)state;
    static const struct {
        const char *fixture, *prefix;
        int levels;
    } vaes[] = {{"vae_kl", "first_stage_model.", 4},
                {"vae_kl", "", 4},
                {"vae_kl_16ch", "vae.", 3},
                {"vae_kl_odd", "", 2}};
    for (size_t i = 0; i < sizeof vaes / sizeof vaes[0]; i++) {
        gen_model_files *fixture = open_fixture(vaes[i].fixture);
        builder *b = new_builder();
        add_vae(b, vaes[i].prefix, fixture->components[0].weights, vaes[i].levels);
        gen_model_files *files = write_and_open(b, "vae.safetensors");
        assert_int_equal(files->num_components, 1);
        assert_string_equal(files->components[0].class_name, "AutoencoderKL");
        expect_same_tensors(files->components[0].weights, fixture->components[0].weights);
        expect_same_keys(files->components[0].config, fixture->components[0].config, vae_keys);
        expect_all_claimed(files);
        gen_model_files_free(files);
        gen_model_files_free(fixture);
        free_builder(b);
    }
}

/* The VAE's attention under the names of old diffusers files. */
static void old_attention_names_are_known(void **state)
{
    (void)state;
    static const char *const parts[][2] = {{".to_q.", ".query."},
                                           {".to_k.", ".key."},
                                           {".to_v.", ".value."},
                                           {".to_out.0.", ".proj_attn."}};
    gen_model_files *fixture = open_fixture("vae_kl");
    const gen_weights *w = fixture->components[0].weights;
    builder *b = new_builder();
    for (size_t i = 0; i < gen_weights_count(w); i++) {
        const gen_weight *t = gen_weights_at(w, i);
        char name[320];
        snprintf(name, sizeof name, "%s", t->name);
        for (int k = 0; k < 4; k++)
            replace_part(name, sizeof name, parts[k][0], parts[k][1]);
        add_item(b, "", name, t->dtype, t->rank, t->dims, t->data);
    }
    gen_model_files *files = write_and_open(b, "old.safetensors");
    expect_same_tensors(files->components[0].weights, w);
    gen_model_files_free(files);
    gen_model_files_free(fixture);
    free_builder(b);
}

/* The original files of tiny autoencoders, single and as a pair. */
static void tiny_autoencoders_are_known(void **state)
{
    (void)state;
    static const char *const keys[] = {"latent_channels",
                                       "num_encoder_blocks",
                                       "num_decoder_blocks",
                                       "encoder_block_out_channels",
                                       "decoder_block_out_channels",
                                       "in_channels",
                                       "out_channels",
                                       NULL};
    gen_error err = {0};
    gen_model_files *pair = open_fixture("taesd_orig_tiny");
    gen_model_files *tiny = open_fixture("vae_tiny");
    assert_string_equal(pair->components[0].class_name, "AutoencoderTiny");
    assert_non_null(gen_weights_find(pair->components[0].weights, "decoder.layers.0.weight"));
    assert_non_null(gen_weights_find(pair->components[0].weights, "decoder.layers.18.weight"));
    assert_non_null(gen_weights_find(pair->components[0].weights, "encoder.layers.14.weight"));
    expect_same_keys(pair->components[0].config, tiny->components[0].config, keys);
    gen_json *config;
    EXPECT_OK(gen_infer_vae_config(&config, tiny->components[0].weights, GEN_FAMILY_UNKNOWN, NULL,
                                   "x", &err));
    expect_same_keys(config, tiny->components[0].config, keys);
    gen_json_free(config);
    gen_model_files_free(pair);
    gen_model_files_free(tiny);
}

static void add_scalar(builder *b, const char *name)
{
    static const float zero = 0;
    add_item(b, "", name, GEN_F32, 0, NULL, &zero);
}

static void sd1_file_is_taken_apart(void **state)
{
    (void)state;
    gen_model_files *unet = open_fixture("unet_sd1"), *vae = open_fixture("vae_kl"),
                    *text = open_fixture("clip_l");
    builder *b = new_builder();
    add_unet(b, "model.diffusion_model.", unet->components[0].weights, (numbering){3});
    add_vae(b, "first_stage_model.", vae->components[0].weights, 4);
    add_text(b, "cond_stage_model.transformer.", text->components[0].weights);
    add_scalar(b, "alphas_cumprod");
    add_scalar(b, "sqrt_one_minus_alphas_cumprod");
    add_scalar(b, "model_ema.decay");
    add_scalar(b, "model_ema.diffusion_modelinput_blocks00weight");
    gen_model_files *files = write_and_open(b, "sd1.safetensors");
    assert_int_equal(files->num_components, 3);
    expect_same_tensors(files->components[0].weights, unet->components[0].weights);
    expect_same_tensors(files->components[1].weights, vae->components[0].weights);
    expect_same_tensors(files->components[2].weights, text->components[0].weights);
    expect_same_keys(files->components[2].config, text->components[0].config, text_keys);
    assert_string_equal(files->components[2].name, "text_encoder");
    assert_string_equal(files->prediction_type, "epsilon");
    expect_all_claimed(files);
    gen_model_files_free(files);

    /* the same without "text_model." and with a stranger, which is reported */
    for (size_t i = 0; i < b->count; i++)
        replace_part((char *)(uintptr_t)b->items[i].name, 320, ".text_model.", ".");
    add_scalar(b, "some.other.tensor");
    files = write_and_open(b, "sd1b.safetensors");
    expect_same_tensors(files->components[2].weights, text->components[0].weights);
    gen_error err = {0};
    char *warning;
    for (int i = 0; i < files->num_components; i++)
        for (size_t k = 0; k < gen_weights_count(files->components[i].weights); k++)
            gen_weights_at(files->components[i].weights, k)->is_used = k > 0 || i != 1;
    EXPECT_OK(gen_model_files_check_unused(files, false, &warning, &err));
    EXPECT_CONTAINS(warning, "2 tensors that nothing uses: \"first_stage_model.");
    EXPECT_CONTAINS(warning, "\"some.other.tensor\"");
    gen_free(warning);
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_model_files_check_unused(files, true, &warning, &err));
    EXPECT_CONTAINS(err.message, "sd1b.safetensors: 2 tensors");
    gen_model_files_free(files);
    gen_model_files_free(unet);
    gen_model_files_free(vae);
    gen_model_files_free(text);
    free_builder(b);
}

static void sd2_file_is_taken_apart(void **state)
{
    (void)state;
    static const int64_t one[1] = {8};
    static const float zeros[8];
    gen_model_files *unet = open_fixture("unet_sd2"), *vae = open_fixture("vae_kl"),
                    *text = open_fixture("clip_h");
    builder *b = new_builder();
    add_unet(b, "model.diffusion_model.", unet->components[0].weights, (numbering){2});
    add_vae(b, "first_stage_model.", vae->components[0].weights, 4);
    add_open_clip(b, "cond_stage_model.model.", text->components[0].weights);
    /* the last block of the original text model, and what goes with it */
    add_item(b, "cond_stage_model.model.", "transformer.resblocks.23.ln_1.weight", GEN_F32, 1, one,
             zeros);
    add_scalar(b, "cond_stage_model.model.logit_scale");
    gen_model_files *files = write_and_open(b, "sd2.safetensors");
    assert_int_equal(files->num_components, 3);
    expect_same_tensors(files->components[0].weights, unet->components[0].weights);
    expect_same_unet_config(files->components[0].config, unet->components[0].config);
    expect_same_tensors(files->components[2].weights, text->components[0].weights);
    expect_same_keys(files->components[2].config, text->components[0].config, text_keys);
    expect_all_claimed(files);
    gen_model_files_free(files);
    gen_model_files_free(unet);
    gen_model_files_free(vae);
    gen_model_files_free(text);
    free_builder(b);
}

static void sdxl_file_is_taken_apart(void **state)
{
    (void)state;
    gen_model_files *unet = open_fixture("unet_sdxl"), *vae = open_fixture("vae_kl"),
                    *text = open_fixture("clip_l"), *text_2 = open_fixture("clip_g_proj");
    builder *b = new_builder();
    add_unet(b, "model.diffusion_model.", unet->components[0].weights, (numbering){2});
    add_vae(b, "first_stage_model.", vae->components[0].weights, 4);
    add_text(b, "conditioner.embedders.0.transformer.", text->components[0].weights);
    add_open_clip(b, "conditioner.embedders.1.model.", text_2->components[0].weights);
    add_scalar(b, "denoiser.sigmas");
    add_scalar(b, "v_pred");
    add_scalar(b, "ztsnr");
    gen_model_files *files = write_and_open(b, "sdxl.safetensors");
    assert_int_equal(files->num_components, 4);
    assert_string_equal(files->components[3].name, "text_encoder_2");
    assert_string_equal(files->components[3].class_name, "CLIPTextModelWithProjection");
    expect_same_tensors(files->components[0].weights, unet->components[0].weights);
    expect_same_tensors(files->components[2].weights, text->components[0].weights);
    expect_same_tensors(files->components[3].weights, text_2->components[0].weights);
    expect_same_keys(files->components[3].config, text_2->components[0].config, text_keys);
    assert_string_equal(files->prediction_type, "v_prediction");
    assert_true(files->is_zero_snr);
    expect_all_claimed(files);
    gen_model_files_free(files);
    gen_model_files_free(unet);
    gen_model_files_free(vae);
    gen_model_files_free(text);
    gen_model_files_free(text_2);
    free_builder(b);
}

/* Two names that mean one tensor, and a fused tensor that is no multiple of three. */
static void contradictions_are_refused(void **state)
{
    (void)state;
    static const int64_t dims[4] = {8, 4, 3, 3}, rows[2] = {7, 2};
    gen_error err = {0};
    gen_weights *file, *into;
    EXPECT_OK(gen_weights_new(&file, &err));
    EXPECT_OK(gen_weights_new(&into, &err));
    EXPECT_OK(gen_weights_add(file, "input_blocks.0.0.weight", "f", "input_blocks.0.0.weight",
                              GEN_F32, 4, dims, NULL, 0, false, &err));
    EXPECT_OK(gen_weights_add(file, "conv_in.weight", "f", "conv_in.weight", GEN_F32, 4, dims, NULL,
                              0, false, &err));
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_keymap_add(into, file, GEN_PART_UNET, &err));
    EXPECT_CONTAINS(err.message, "\"input_blocks.0.0.weight\" and \"conv_in.weight\"");
    gen_weights_free(into);
    gen_weights_free(file);

    EXPECT_OK(gen_weights_new(&file, &err));
    EXPECT_OK(gen_weights_new(&into, &err));
    EXPECT_OK(gen_weights_add(file, "transformer.resblocks.0.attn.in_proj_weight", "f",
                              "transformer.resblocks.0.attn.in_proj_weight", GEN_F32, 2, rows, NULL,
                              0, false, &err));
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_keymap_add(into, file, GEN_PART_TEXT_ENCODER, &err));
    EXPECT_CONTAINS(err.message, "has 7 rows");
    gen_weights_free(into);
    gen_weights_free(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unets_come_back),
        cmocka_unit_test(autoencoders_come_back),
        cmocka_unit_test(old_attention_names_are_known),
        cmocka_unit_test(tiny_autoencoders_are_known),
        cmocka_unit_test(sd1_file_is_taken_apart),
        cmocka_unit_test(sd2_file_is_taken_apart),
        cmocka_unit_test(sdxl_file_is_taken_apart),
        cmocka_unit_test(contradictions_are_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
