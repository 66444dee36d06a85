/* test_clips.c GEN MODEL - clips, `gen edit` and pictures of classes through the program, with tiny
 * networks of random weights beside the text encoder of MODEL and recorded autoencoders. */
#include <stdlib.h>
#include <sys/stat.h>

#include "gen/gen.h"
#include "tests/api/clip_model.h"
#include "tests/api/program.h"
#include "tests/tools/random_tokens.h"

#define SMALL "-W 48 -H 32 --steps 2 --seed 1 -q -y "

static gen_error err;
static char model_path[4096];

/* ---- models --------------------------------------------------------------------------------- */

static void make_model(const char *name, int in, const char *settings)
{
    clip_model_make(name, in, settings, model_path);
}

static gen_image *load(const char *name)
{
    gen_image *image = NULL;
    if (gen_image_load(&image, program_path(name), &err))
        fail_msg("%s", err.message);
    return image;
}

static bool same(const char *a, const char *b)
{
    gen_image *x = load(a), *y = load(b);
    assert_int_equal(x->width, y->width);
    assert_int_equal(x->height, y->height);
    const bool is_same = memcmp(x->data, y->data, x->stride * (size_t)x->height) == 0;
    gen_image_free(x);
    gen_image_free(y);
    return is_same;
}

static void expect_refusal(const char *line, int code, const char *message)
{
    program_expect(code, line);
    if (strncmp(program_errors, message, strlen(message)) != 0)
        fail_msg("gen %s: %sexpected: %s", line, program_errors, message);
}

/* ---- text to video -------------------------------------------------------------------------- */

static void clips_from_text(void **state)
{
    (void)state;
    make_model("t2v", 4, "");
    program_expect(0, "-m t2v " SMALL "--frames 5 -o f/{frame:03}.png cat");
    assert_string_equal(program_files("f"), "001.png 002.png 003.png 004.png 005.png ");
    gen_image *frame = load("f/001.png");
    assert_int_equal(frame->width, 48);
    assert_int_equal(frame->height, 32);
    gen_image_free(frame);
    /* The same clip in one file, whose first frame any program sees. */
    program_expect(0, "-m t2v " SMALL "--frames 5 -o clip.apng cat");
    assert_true(same("clip.apng", "f/001.png"));
    assert_false(same("f/001.png", "f/005.png"));
    program_expect(0, "-m t2v " SMALL "--frames 1 -o one.png cat");
    program_expect(0, "-m t2v " SMALL "-q --dry-run --frames 9 cat");
    EXPECT_CONTAINS(program_out, "48x32, 9 frames");
    EXPECT_CONTAINS(program_out, "time ");
    /* Threads and precision of the network change nothing that can be seen in the frames' number.
     */
    program_expect(0, "-m t2v " SMALL "-t 1 --frames 5 -o g/{frame}.png cat");
    assert_true(same("f/004.png", "g/4.png"));
}

static void refusals(void **state)
{
    (void)state;
    make_model("t2v", 4, "");
    make_model("i2v", 12, "");
    expect_refusal("-m t2v --frames 8 cat", 2,
                   "gen: frames: 8 is not 1 more than a multiple of 4\n"
                   "  hint: the nearest that are: 5 and 9\n");
    expect_refusal("-m t2v -W 40 -H 32 cat", 2, "gen: width: 40 is not a multiple of 16\n");
    expect_refusal("-m t2v " SMALL "--frames 5 -o x.jpg cat", 2,
                   "gen: x.jpg: not a name for a clip\n");
    expect_refusal("-m t2v -i none.png cat", 2,
                   "gen: -i: this model makes clips from text alone\n");
    expect_refusal("-m i2v cat", 2,
                   "gen: this model makes clips that begin with a picture, and there is none\n"
                   "  hint: -i picture.png\n");
    expect_refusal("-m MODEL --frames 5 cat", 2, "gen: frames: 5, but this model makes pictures\n");
    expect_refusal("edit -m t2v", 2, "gen: nothing to change\n");
    expect_refusal("edit -m MODEL -i x.png", 4, "gen: ");
    EXPECT_CONTAINS(program_errors, "makes pictures from noise and changes none");
    expect_refusal("edit -m t2v -i none.png", 3, "gen: none.png: ");
}

/* ---- image to video ------------------------------------------------------------------------- */

static void clips_from_pictures(void **state)
{
    (void)state;
    make_model("t2v", 4, "");
    make_model("i2v", 12, "");
    make_model("ti2v", 4, "\"expand_timesteps\": true, ");
    program_expect(0, "-m t2v " SMALL "--frames 1 -o start.png cat");
    static const char *const models[] = {"i2v", "ti2v"};
    for (int i = 0; i < 2; i++) {
        char line[256];
        snprintf(line, sizeof line, "-m %s " SMALL "-i start.png --frames 5 -o %s/{frame}.png dog",
                 models[i], models[i]);
        program_expect(0, line);
        assert_string_equal(program_files(models[i]),
                            "1.png 2.png 3.png 4.png 5.png model_index.json text_encoder tokenizer "
                            "transformer vae ");
    }
    /* Another picture, another clip. */
    program_expect(0, "-m t2v " SMALL "--seed 9 --frames 1 -o other.png cat");
    program_expect(0, "-m i2v " SMALL "-i other.png --frames 5 -o i/{frame}.png dog");
    assert_false(same("i/3.png", "i2v/3.png"));
}

/* A model of Wan 2.1 beside its image encoder. */
static void make_looking_model(const char *name, int width, uint64_t seed)
{
    char file[256];
    make_model(name, 12, "\"image_encoder\": [\"transformers\", \"CLIPVisionModel\"], ");
    random_wan(&(random_wan_size){.heads = 2,
                                  .head_dim = 12,
                                  .layers = 2,
                                  .ffn = 40,
                                  .in = 12,
                                  .out = 4,
                                  .text = 24,
                                  .freq = 32,
                                  .image = 16});
    snprintf(file, sizeof file, "%s/transformer", name);
    assert_int_equal(random_write(program_path(file), 1), 0);
    random_vision(&(random_vision_size){
        .width = width, .heads = 2, .layers = 3, .ffn = 24, .image = 28, .patch = 7});
    snprintf(file, sizeof file, "%s/image_encoder", name);
    assert_int_equal(random_write(program_path(file), seed), 0);
}

static void clips_of_what_is_seen(void **state)
{
    (void)state;
    make_model("t2v", 4, "");
    make_looking_model("a", 16, 1);
    make_looking_model("b", 16, 2);
    make_looking_model("wide", 24, 1);
    program_expect(0, "-m t2v " SMALL "--frames 1 -o start.png cat");
    program_expect(0, "-m a " SMALL "-i start.png --frames 5 -o a.apng dog");
    program_expect(0, "-m b " SMALL "-i start.png --frames 5 -o b.apng dog");
    assert_false(same("a.apng", "b.apng")); /* through other eyes */
    expect_refusal("-m a " SMALL "--frames 5 dog", 2,
                   "gen: this model makes clips that begin with a picture, and there is none\n");
    expect_refusal("-m wide " SMALL "-i start.png dog", 4,
                   "gen: wide/image_encoder: the image encoder gives 24 channels, the network "
                   "expects 16\n");
    program_shell("rm -r %s/image_encoder%s", program_path("b"), "");
    expect_refusal("-m b " SMALL "-i start.png dog", 4, "gen: b: model_index.json names ");
    expect_refusal("-m b/transformer --base t2v " SMALL "-i start.png dog", 4,
                   "gen: b/transformer is ");
    EXPECT_CONTAINS(program_errors, "it has no image_encoder\n");
}

/* ---- editing -------------------------------------------------------------------------------- */

static void edits(void **state)
{
    (void)state;
    make_model("vibt", 4, "");
    program_expect(0, "-m vibt " SMALL "--frames 5 -o in/{frame}.png cat");
    program_expect(0, "edit -m vibt --steps 2 --seed 1 -q -y -i in/1.png -o one.png");
    program_expect(0, "edit -m vibt --steps 2 --seed 1 -q -y -i in -o out/{frame}.png");
    assert_string_equal(program_files("out"), "1.png 2.png 3.png 4.png 5.png ");
    gen_image *one = load("one.png"); /* as large as what it was made of */
    assert_int_equal(one->width, 48);
    assert_int_equal(one->height, 32);
    gen_image_free(one);
    program_expect(0, "edit -m vibt --steps 2 --seed 1 -q -y -i in/5.png -o five.png");
    assert_false(same("one.png", "five.png")); /* it depends on the source, not on the seed alone */
    program_expect(0, "edit -m vibt --steps 2 --seed 1 -q -y -i in/1.png");
    EXPECT_CONTAINS(program_files(""), "1-edited.png ");
    /* A clip whose number of frames is off the grid is not cut in silence. */
    program_expect(0, "edit -m vibt --steps 2 --seed 1 -q -y -i in/2.png -o in/6.png");
    expect_refusal("edit -m vibt -i in -o x.png", 2,
                   "gen: frames: 6 is not 1 more than a multiple of 4\n");
}

/* Frames between frames: the first is shown once, the others so many times. */
static void interpolates(void **state)
{
    (void)state;
    make_model("vibt", 4, "");
    program_expect(0, "-m vibt " SMALL "--frames 5 -o in/{frame}.png cat");
    program_expect(0, "edit -m vibt --steps 1 --seed 1 -q -i in/1.png -o two/1.png");
    program_expect(0, "edit -m vibt --steps 1 --seed 1 -q -i in/5.png -o two/2.png");
    for (int i = 1; i <= 5; i++) {
        char command[200];
        snprintf(command, sizeof command,
                 "edit -m vibt --steps 1 --seed 1 -q -i in/%d.png -o five/%d.png", i == 1 ? 1 : 5,
                 i);
        program_expect(0, command);
    }
    program_expect(0, "edit -m vibt --steps 2 --seed 1 -q -i five -o a/{frame}.png");
    program_expect(0, "edit -m vibt --steps 2 --seed 1 -q -i two --interpolate 4 -o b/{frame}.png");
    assert_string_equal(program_files("b"), "1.png 2.png 3.png 4.png 5.png ");
    for (int i = 1; i <= 5; i++) {
        char a[20], b[20];
        snprintf(a, sizeof a, "a/%d.png", i);
        snprintf(b, sizeof b, "b/%d.png", i);
        assert_true(same(a, b));
    }
    expect_refusal("edit -i in/1.png --interpolate 4 winter", 2,
                   "gen: --interpolate: this model makes single pictures\n");
}

/* Weights of rCM alone: one to four steps, with the rest of another model. */
static void few_steps(void **state)
{
    (void)state;
    make_model("base", 4, "");
    mkdir(program_path("rcm"), 0777);
    random_wan(&(random_wan_size){.heads = 1,
                                  .head_dim = 128,
                                  .layers = 1,
                                  .ffn = 40,
                                  .in = 4,
                                  .out = 4,
                                  .text = 24,
                                  .freq = 32,
                                  .is_rcm = 1});
    assert_int_equal(random_write(program_path("rcm"), 1), 0);
    program_shell("cd %s && mv rcm/diffusion_pytorch_model.safetensors rcm.safetensors%s",
                  program_path(""), "");
    expect_refusal("-m rcm.safetensors cat", 4,
                   "gen: rcm.safetensors is a WanTransformer3DModel (42 tensors), it has no vae\n");
    EXPECT_CONTAINS(program_errors, "--base");
    program_expect(0, "-m rcm.safetensors --base base --dry-run --frames 5 -W 48 -H 32 cat");
    EXPECT_CONTAINS(program_out, "4 steps, cfg 1, ");
    EXPECT_CONTAINS(program_out, "rcm");
    for (int steps = 1; steps <= 4; steps++) {
        char line[256];
        snprintf(line, sizeof line,
                 "-m rcm.safetensors --base base --frames 5 -W 48 -H 32 -q -y --seed 1 --steps %d "
                 "-o %d.apng cat",
                 steps, steps);
        program_expect(0, line);
    }
    assert_false(same("1.apng", "4.apng"));
    expect_refusal("-m rcm.safetensors --base none cat", 4, "gen: none: No such file");
    expect_refusal("-m base --base rcm.safetensors cat", 4, "gen: rcm.safetensors is ");
}

/* ---- Diffusion-RWKV ------------------------------------------------------------------------- */

static void make_rwkv(const char *name, int num_classes)
{
    char path[4096], file[256];
    snprintf(path, sizeof path, "%s", program_path(name));
    mkdir(path, 0777);
    program_shell("cp -r %s %s/vae", GEN_TEST_SOURCE_DIR "/golden/fixtures/vae_kl", path);
    snprintf(file, sizeof file, "%s/model_index.json", name);
    program_write(file, "{\"transformer\": [\"gen\", \"DiffRWKVModel\"],"
                        " \"vae\": [\"diffusers\", \"AutoencoderKL\"]}");
    random_rwkv(&(random_rwkv_size){
        .width = 16, .depth = 3, .channels = 4, .side = 8, .num_classes = num_classes});
    snprintf(file, sizeof file, "%s/transformer", name);
    assert_int_equal(random_write(program_path(file), 1), 0);
}

static void pictures_of_rwkv(void **state)
{
    (void)state;
    make_rwkv("classes", 10);
    make_rwkv("free", 0);
    program_expect(0, "-m classes --class 3 --steps 3 --seed 1 -q -o 3.png");
    program_expect(0, "-m classes --class 4 --steps 3 --seed 1 -q -o 4.png");
    assert_false(same("3.png", "4.png"));
    program_expect(0, "-m free --steps 3 --seed 1 -q -o free.png");
    expect_refusal("-m classes --class wolf", 2,
                   "gen: class: \"wolf\" is a name, and classes has ");
    expect_refusal("-m free -p cat", 2,
                   "gen: prompt: free takes no text, it draws by itself\n"
                   "  hint: leave out the prompt\n");
    expect_refusal("-m classes --class 10", 2, "gen: class: 10 is out of range (0..9)\n");
    expect_refusal("-m classes --class 1 -W 128", 2,
                   "gen: size: 128x64, but this model draws 64x64 only");
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(clips_from_text, program_set_up, program_tear_down),
        cmocka_unit_test_setup_teardown(refusals, program_set_up, program_tear_down),
        cmocka_unit_test_setup_teardown(clips_from_pictures, program_set_up, program_tear_down),
        cmocka_unit_test_setup_teardown(clips_of_what_is_seen, program_set_up, program_tear_down),
        cmocka_unit_test_setup_teardown(edits, program_set_up, program_tear_down),
        cmocka_unit_test_setup_teardown(interpolates, program_set_up, program_tear_down),
        cmocka_unit_test_setup_teardown(few_steps, program_set_up, program_tear_down),
        cmocka_unit_test_setup_teardown(pictures_of_rwkv, program_set_up, program_tear_down),
    };
    if (argc < 3)
        return 2;
    snprintf(model_path, sizeof model_path, "%s", argv[2]);
    return program_init(argv[1], argv[2]) ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
