/* What a path can be: directories whole, incomplete, of variants and shards; single files of all
 * kinds; and the sentence each wrong one is answered with. */
#include "gen/pipeline/model_files.h"
#include "tests/safetensors_writer.h"
#include "tests/temp_dir.h"
#include "tests/test.h"

#define FIXTURES GEN_TEST_SOURCE_DIR "/golden/fixtures/"
#define WEIGHTS  "diffusion_pytorch_model.safetensors"

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

/* Puts a fixture's file into the temporary folder under another name. */
static void place(const char *fixture, const char *as)
{
    char from[512];
    snprintf(from, sizeof from, FIXTURES "%s", fixture);
    const char *to = temp_path(&dir, as);
    unlink(to);
    assert_int_equal(symlink(from, to), 0);
}

/* The pipeline fixture under `name`, all but the files whose name holds `without`. */
static void place_pipeline(const char *name, const char *without)
{
    static const char *const files[] = {"model_index.json",
                                        "unet/config.json",
                                        "unet/" WEIGHTS,
                                        "vae/config.json",
                                        "vae/" WEIGHTS,
                                        "text_encoder/config.json",
                                        "text_encoder/model.safetensors",
                                        "tokenizer/vocab.json",
                                        "tokenizer/merges.txt",
                                        "scheduler/scheduler_config.json"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char from[256], to[256];
        if (without && strncmp(files[i], without, strlen(without)) == 0)
            continue;
        snprintf(from, sizeof from, "pipe_sd1/%s", files[i]);
        snprintf(to, sizeof to, "%s/%s", name, files[i]);
        place(from, to);
    }
}

static gen_model_files *open_ok(const char *name)
{
    gen_error err = {0};
    gen_model_files *files;
    EXPECT_OK(gen_model_files_open(&files, temp_path(&dir, name), &err));
    return files;
}

#define EXPECT_NOT_OPEN(name, message_)                                                            \
    do {                                                                                           \
        gen_error err = {0};                                                                       \
        gen_model_files *files_;                                                                   \
        EXPECT_STATUS(GEN_ERROR_MODEL,                                                             \
                      gen_model_files_open(&files_, temp_path(&dir, (name)), &err));               \
        EXPECT_CONTAINS(err.message, (message_));                                                  \
        EXPECT_CONTAINS(err.message, dir.path);                                                    \
    } while (0)

/* ---- directories ---------------------------------------------------------------------------- */

static void a_directory_has_its_components(void **state)
{
    (void)state;
    place_pipeline("whole", NULL);
    gen_model_files *files = open_ok("whole");
    assert_int_equal(files->kind, GEN_FILES_DIRECTORY);
    assert_int_equal(files->num_components, 3);
    assert_int_equal(gen_weights_count(gen_model_files_find(files, "unet")->weights), 208);
    assert_int_equal(gen_weights_count(gen_model_files_find(files, "vae")->weights), 148);
    assert_string_equal(gen_model_files_find(files, "text_encoder")->class_name, "CLIPTextModel");
    assert_non_null(files->scheduler);
    EXPECT_CONTAINS(files->tokenizer, "whole/tokenizer");
    assert_null(files->tokenizer_2);
    assert_null(gen_model_files_find(files, "text_encoder_2"));
    gen_model_files_free(files);

    /* without an index: the folders speak for themselves */
    unlink(temp_path(&dir, "whole/model_index.json"));
    files = open_ok("whole");
    assert_int_equal(files->num_components, 3);
    gen_model_files_free(files);
    gen_model_files_free(NULL);
}

static void missing_pieces_are_named(void **state)
{
    (void)state;
    place_pipeline("no_unet", "unet/");
    EXPECT_NOT_OPEN("no_unet", "model_index.json names \"unet\", but the folder unet is missing");
    place_pipeline("no_config", "vae/config.json");
    EXPECT_NOT_OPEN("no_config", "vae: config.json is missing");
    place_pipeline("no_weights", "text_encoder/model");
    EXPECT_NOT_OPEN("no_weights", "text_encoder: no weights (.safetensors) in this folder");
    temp_write(&dir, "no_weights/text_encoder/pytorch_model.bin", "x");
    EXPECT_NOT_OPEN("no_weights", "has only pytorch_model.bin, which cannot be read yet");
    place_pipeline("no_scheduler", "scheduler/");
    EXPECT_NOT_OPEN("no_scheduler", "the folder scheduler is missing");
    place_pipeline("bad_json", "unet/config.json");
    temp_write(&dir, "bad_json/unet/config.json", "{\"in_channels\": 4,}");
    EXPECT_NOT_OPEN("bad_json", "unet/config.json: not valid JSON: line 1");
    place_pipeline("bad_index", "model_index.json");
    temp_write(&dir, "bad_index/model_index.json", "[]");
    EXPECT_NOT_OPEN("bad_index", "model_index.json: not a JSON object");
    place_pipeline("short", "vae/" WEIGHTS);
    temp_write(&dir, "short/vae/" WEIGHTS, "1234567");
    EXPECT_NOT_OPEN("short", "7 bytes, too short");
    EXPECT_NOT_OPEN("absent", "No such file");
    temp_write(&dir, "empty/readme.txt", "nothing");
    EXPECT_NOT_OPEN("empty", "not a model: no model_index.json");
    temp_write(&dir, "ckpt/model.ckpt", "nothing of use");
    EXPECT_NOT_OPEN("ckpt", "has only model.ckpt");
    EXPECT_NOT_OPEN("ckpt/model.ckpt", "not a safetensors file");
    EXPECT_NOT_OPEN("whole/model_index.json", "No such file");
    place_pipeline("whole", NULL);
    EXPECT_NOT_OPEN("whole/model_index.json", "a list of components, not weights");
}

/* A vocabulary may come from elsewhere, an index may name what gen does not need. */
static void what_gen_does_not_need_may_be_missing(void **state)
{
    (void)state;
    place_pipeline("lean", "tokenizer/");
    temp_write(&dir, "index",
               "{\"unet\":[\"diffusers\",\"UNet2DConditionModel\"],"
               "\"safety_checker\":[\"stable_diffusion\",\"StableDiffusionSafetyChecker\"],"
               "\"vae\":[\"diffusers\",\"AutoencoderKL\"],\"text_encoder_2\":[null,null],"
               "\"../unet\":[\"a\",\"b\"],\"tokenizer\":[\"transformers\",\"CLIPTokenizer\"]}");
    assert_int_equal(rename(temp_path(&dir, "index"), temp_path(&dir, "lean/model_index.json")), 0);
    gen_model_files *files = open_ok("lean");
    assert_int_equal(files->num_components, 2);
    assert_null(files->tokenizer);
    assert_null(files->scheduler);
    gen_model_files_free(files);
}

/* An index with `entry` for one component beside the pipeline's others. */
static void place_index(const char *name, const char *entry)
{
    char file[64], text[512];
    snprintf(text, sizeof text,
             "{%s, \"unet\":[\"diffusers\",\"UNet2DConditionModel\"],"
             "\"tokenizer\":\"../whole/tokenizer\"}",
             entry);
    snprintf(file, sizeof file, "%s/model_index.json", name);
    assert_int_equal(temp_write(&dir, file, text), 0);
}

/* Models beside each other share what they have in common; an index from a stranger leads nowhere
 * else. */
static void components_can_be_shared(void **state)
{
    static const char *const wrong[] = {
        "/etc", "../../whole/vae", "vae/../../whole/vae", "..",        "../", "",
        "a/..", "..//etc",         "../whole/../../etc",  "vae//../.."};
    (void)state;
    place_pipeline("whole", NULL);
    place("pipe_sd1/unet/config.json", "slim/unet/config.json");
    place("pipe_sd1/unet/" WEIGHTS, "slim/unet/" WEIGHTS);
    place_index("slim", "\"vae\":\"../whole/vae\", \"text_encoder\":\"../whole/text_encoder\","
                        "\"scheduler\":\"../whole/scheduler\"");
    gen_model_files *files = open_ok("slim");
    assert_int_equal(files->num_components, 3);
    assert_int_equal(gen_weights_count(gen_model_files_find(files, "vae")->weights), 148);
    EXPECT_CONTAINS(gen_model_files_find(files, "vae")->path, "slim/../whole/vae");
    EXPECT_CONTAINS(files->tokenizer, "slim/../whole/tokenizer");
    assert_non_null(files->scheduler);
    gen_model_files_free(files);

    place_index("slim", "\"vae\":\"./unet\"");
    files = open_ok("slim");
    assert_string_equal(gen_model_files_find(files, "vae")->class_name, "UNet2DConditionModel");
    gen_model_files_free(files);

    place_index("slim", "\"vae\":\"../other/vae\"");
    EXPECT_NOT_OPEN("slim",
                    "model_index.json names \"vae\", but the folder ../other/vae is missing");
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        static const char *const names[] = {"vae", "scheduler", "tokenizer_2"};
        for (size_t k = 0; k < 3; k++) {
            char entry[96];
            snprintf(entry, sizeof entry, "\"%s\":\"%s\"", names[k], wrong[i]);
            place_index("slim", entry);
            EXPECT_NOT_OPEN("slim", "outside the folder the model is in");
        }
    }
}

/* What ships with gen is found by its bare name, unless there is such a file here. */
static void shipped_models_have_names(void **state)
{
    gen_error err = {0};
    gen_model_files *files;
    (void)state;
    place_pipeline("whole", NULL);
    assert_int_equal(setenv("GEN_ASSETS", temp_path(&dir, ""), 1), 0);
    EXPECT_OK(gen_model_files_open(&files, "whole", &err));
    EXPECT_CONTAINS(files->path, dir.path);
    gen_model_files_free(files);
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_model_files_open(&files, "./whole", &err));
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_model_files_open(&files, "part", &err));
    assert_string_equal(err.message, "part: No such file or directory");
    assert_int_equal(unsetenv("GEN_ASSETS"), 0);
}

/* Which of several weight files of a folder is taken. */
static void variants_have_an_order(void **state)
{
    (void)state;
    static const char *const names[] = {
        /* best first */
        "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors",
        "diffusion_pytorch_model.bf16.safetensors", "diffusion_pytorch_model.non_ema.safetensors",
        "something_else.safetensors"};
    place("unet_lcm/config.json", "v/config.json");
    for (int i = 4; i >= 0; i--) {
        char as[128];
        snprintf(as, sizeof as, "v/%s", names[i]);
        place("unet_lcm/" WEIGHTS, as);
        gen_model_files *files = open_ok("v");
        assert_int_equal(files->kind, GEN_FILES_COMPONENT);
        assert_string_equal(files->components[0].name, "unet");
        const char *file = gen_weights_at(files->components[0].weights, 0)->file;
        EXPECT_CONTAINS(file, names[i]);
        gen_model_files_free(files);
    }
    place("unet_lcm/config.json", "w/config.json");
    place("unet_lcm/" WEIGHTS, "w/a.safetensors");
    place("unet_lcm/" WEIGHTS, "w/b.safetensors");
    EXPECT_NOT_OPEN("w", "no weights");
    place("unet_lcm/" WEIGHTS, "x/diffusion_pytorch_model-00001-of-00002.safetensors");
    place("unet_lcm/config.json", "x/config.json");
    EXPECT_NOT_OPEN("x", "the index of the shards is missing");
    /* a folder with one file, whose name only sounds like a shard */
    place("unet_lcm/" WEIGHTS, "y/best-of-all.safetensors");
    gen_model_files_free(open_ok("y"));
    place("unet_lcm/" WEIGHTS, "y/second.safetensors");
    EXPECT_NOT_OPEN("y", "has 2 weight files, best-of-all.safetensors among them");
}

static void shards_are_joined(void **state)
{
    (void)state;
    static const char *const indexes[] = {"diffusion_pytorch_model.safetensors.index.json",
                                          "diffusion_pytorch_model.safetensors.index.fp16.json",
                                          "diffusion_pytorch_model.safetensors.fp16.index.json"};
    place("unet_lcm/config.json", "s/config.json");
    place("unet_lcm/" WEIGHTS, "s/diffusion_pytorch_model-00001-of-00001.safetensors");
    for (int i = 0; i < 3; i++) {
        char name[128];
        snprintf(name, sizeof name, "s/%s", indexes[i]);
        temp_write(&dir, name,
                   "{\"weight_map\":{\"conv_in.weight\":"
                   "\"diffusion_pytorch_model-00001-of-00001.safetensors\"}}");
        gen_model_files *files = open_ok("s");
        assert_non_null(gen_weights_find(files->components[0].weights, "conv_out.weight"));
        gen_model_files_free(files);
        unlink(temp_path(&dir, name));
    }
}

/* ---- files of one thing or another ---------------------------------------------------------- */

static void write_names(const char *file, const char *const *names)
{
    safetensors_item items[8];
    size_t n = 0;
    for (; names[n]; n++)
        items[n] = (safetensors_item){names[n], GEN_F16, 4, {1, 1, 1, 1}, NULL};
    assert_int_equal(safetensors_write(temp_path(&dir, file), items, n, NULL), 0);
}

static void files_are_told_apart(void **state)
{
    (void)state;
    static const struct {
        const char *names[4], *message;
    } kinds[] = {
        {{"lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight",
          "lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight"},
         "is a LoRA for Stable Diffusion (2 tensors), not a generator"},
        {{"unet.down_blocks.0.attentions.0.proj_in.lora_A.weight"},
         "is a LoRA for Stable Diffusion (1 tensors)"},
        {{"control_model.input_blocks.0.0.weight"}, "is a ControlNet"},
        {{"emb_params"}, "is a textual inversion embedding"},
        {{"encoder.block.0.layer.0.SelfAttention.q.weight"}, "is a T5 text encoder"},
        {{"a.b", "c.d"}, "is a file of another kind (2 tensors, \"a.b\" first), not a generator"},
        {{NULL}, "is a file without tensors, not a generator"},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        gen_error err = {0};
        const gen_model_component *c;
        write_names("kind.safetensors", kinds[i].names);
        gen_model_files *files = open_ok("kind.safetensors");
        assert_int_equal(files->num_components, 0);
        EXPECT_STATUS(GEN_ERROR_MODEL, gen_model_files_require(&c, files, "unet", &err));
        EXPECT_CONTAINS(err.message, kinds[i].message);
        gen_model_files_free(files);
    }
}

static void a_part_is_not_a_generator(void **state)
{
    (void)state;
    static const struct {
        const char *fixture, *wanted, *message, *hint;
    } parts[] = {
        {"vae_kl/" WEIGHTS, "unet", "is a VAE (244 tensors, decoder.conv_in 4ch), not a generator",
         "--vae"},
        {"vae_kl", "unet", "is a VAE (244 tensors, decoder.conv_in 4ch), not a generator", "--vae"},
        {"vae_tiny/" WEIGHTS, "unet", "is a VAE (134 tensors, AutoencoderTiny)", "--vae"},
        {"clip_l/model.safetensors", "unet", "is a text encoder (53 tensors, CLIPTextModel)",
         "UNet"},
        {"unet_lcm/" WEIGHTS, "vae", "is a UNet alone (209 tensors), it has no vae", "--vae FILE"},
        {"unet_lcm", "text_encoder", "it has no text_encoder", "complete model"},
        {"pipe_sd1", "text_encoder_2", "it has no text_encoder_2", "complete model"},
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        gen_error err = {0};
        const gen_model_component *c;
        gen_model_files *files;
        char path[512];
        snprintf(path, sizeof path, FIXTURES "%s", parts[i].fixture);
        EXPECT_OK(gen_model_files_open(&files, path, &err));
        EXPECT_STATUS(GEN_ERROR_MODEL, gen_model_files_require(&c, files, parts[i].wanted, &err));
        EXPECT_CONTAINS(err.message, parts[i].message);
        EXPECT_CONTAINS(err.hint, parts[i].hint);
        gen_model_files_free(files);
    }
}

/* ---- another autoencoder -------------------------------------------------------------------- */

static double number_of(const gen_model_files *files, const char *key)
{
    const gen_model_component *vae = gen_model_files_find(files, "vae");
    return json_number_value(gen_json_get(vae->config, key));
}

static void the_vae_can_be_another(void **state)
{
    (void)state;
    gen_error err = {0};
    place_pipeline("scaled", "vae/config.json");
    temp_write(&dir, "scaled/vae/config.json",
               "{\"_class_name\":\"AutoencoderKL\",\"scaling_factor\":0.13025,"
               "\"block_out_channels\":[8,8,8],\"layers_per_block\":1,\"norm_num_groups\":4}");

    /* a file without settings takes the scale of the model's own */
    gen_model_files *files = open_ok("scaled");
    EXPECT_OK(gen_model_files_set_vae(files, FIXTURES "vae_kl/" WEIGHTS, &err));
    assert_int_equal(files->num_components, 3);
    assert_true(number_of(files, "scaling_factor") == 0.13025);
    assert_int_equal(gen_weights_count(gen_model_files_find(files, "vae")->weights), 244);
    /* a folder keeps its own */
    EXPECT_OK(gen_model_files_set_vae(files, FIXTURES "vae_kl", &err));
    assert_true(number_of(files, "scaling_factor") == 0.18215);
    EXPECT_OK(gen_model_files_set_vae(files, FIXTURES "vae_tiny", &err));
    assert_string_equal(gen_model_files_find(files, "vae")->class_name, "AutoencoderTiny");
    EXPECT_STATUS(GEN_ERROR_MODEL,
                  gen_model_files_set_vae(files, FIXTURES "vae_kl_16ch/" WEIGHTS, &err));
    EXPECT_CONTAINS(err.message, "latents of 16 channels, the model's have 4");
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_model_files_set_vae(files, FIXTURES "unet_lcm", &err));
    EXPECT_CONTAINS(err.message, "it has no VAE");
    assert_string_equal(gen_model_files_find(files, "vae")->class_name, "AutoencoderTiny");
    gen_model_files_free(files);

    /* a model without one gets one */
    EXPECT_OK(gen_model_files_open(&files, FIXTURES "unet_lcm/" WEIGHTS, &err));
    EXPECT_OK(gen_model_files_set_vae(files, FIXTURES "vae_kl/" WEIGHTS, &err));
    assert_int_equal(files->num_components, 2);
    assert_true(number_of(files, "scaling_factor") == 0.18215);
    gen_model_files_free(files);
}

/* ---- descriptions --------------------------------------------------------------------------- */

static void descriptions_name_everything(void **state)
{
    (void)state;
    gen_error err = {0};
    gen_model_files *files;
    char *text;
    EXPECT_OK(gen_model_files_open(&files, FIXTURES "pipe_sd1", &err));
    EXPECT_OK(gen_model_files_describe(&text, files, false, &err));
    EXPECT_CONTAINS(text, "UNet2DConditionModel, 208 tensors");
    EXPECT_CONTAINS(text, "DDIMScheduler");
    EXPECT_CONTAINS(text, "epsilon");
    gen_free(text);
    EXPECT_OK(gen_model_files_describe(&text, files, true, &err));
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(json);
    assert_int_equal(json_array_size(json_object_get(json, "components")), 3);
    assert_string_equal(json_string_value(json_object_get(json, "prediction_type")), "epsilon");
    json_decref(json);
    gen_free(text);
    gen_model_files_free(files);

    /* what the scheduler predicts when it does not say */
    place_pipeline("flow", "scheduler/");
    temp_write(&dir, "flow/scheduler/scheduler_config.json",
               "{\"_class_name\":\"FlowMatchEulerDiscreteScheduler\"}");
    files = open_ok("flow");
    EXPECT_OK(gen_model_files_describe(&text, files, false, &err));
    EXPECT_CONTAINS(text, "  prediction      flow_prediction\n");
    gen_free(text);
    gen_model_files_free(files);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_directory_has_its_components),
        cmocka_unit_test(missing_pieces_are_named),
        cmocka_unit_test(what_gen_does_not_need_may_be_missing),
        cmocka_unit_test(components_can_be_shared),
        cmocka_unit_test(shipped_models_have_names),
        cmocka_unit_test(variants_have_an_order),
        cmocka_unit_test(shards_are_joined),
        cmocka_unit_test(files_are_told_apart),
        cmocka_unit_test(a_part_is_not_a_generator),
        cmocka_unit_test(the_vae_can_be_another),
        cmocka_unit_test(descriptions_name_everything),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
