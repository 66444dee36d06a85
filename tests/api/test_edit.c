/* test_edit.c GEN MODEL - `gen edit` of pictures: one, a folder of them, of any size and kind; with
 * a tiny bridge of random weights that shares the other parts of MODEL, and with the one that comes
 * along. */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gen/gen.h"
#include "tests/api/program.h"

#define QUICK "--steps 2 -q -y "

static gen_error err;
static char model_path[4096];

/* A picture of `channels` 1 or 3 with shapes that depend on `kind`. */
static void write_picture(const char *name, int width, int height, int channels, int kind)
{
    FILE *f = fopen(program_path(name), "wb");
    assert_non_null(f);
    fprintf(f, "P%d\n%d %d\n255\n", channels == 1 ? 5 : 6, width, height);
    for (int y = 0; y < height; y++)
        for (int i = 0; i < width * channels; i++)
            fputc(
                ((kind + 1) * (3 * y + 5 * (i / channels) / 2) + 40 * (i % channels) + y * i % 19) &
                    255,
                f);
    fclose(f);
}

/* A bridge "tiny" whose autoencoder, text encoder and vocabulary are those of "base" beside it. */
static void make_bridge(void)
{
    char from[4096], to[4096];
    snprintf(to, sizeof to, "%s", program_path("base"));
    assert_int_equal(symlink(model_path, to), 0);
    mkdir(program_path("tiny"), 0777);
    mkdir(program_path("tiny/scheduler"), 0777);
    snprintf(from, sizeof from, "%s", GEN_TEST_SOURCE_DIR "/golden/fixtures/unet_pix2pix8");
    assert_int_equal(symlink(from, program_path("tiny/unet")), 0);
    program_write("tiny/scheduler/scheduler_config.json",
                  "{\"_class_name\": \"ViBTScheduler\", \"noise_scale\": 0.5}");
    program_write(
        "tiny/model_index.json",
        "{\"unet\": [\"diffusers\", \"UNet2DConditionModel\"], \"vae\": \"../base/vae\","
        " \"scheduler\": [\"gen\", \"ViBTScheduler\"], \"tokenizer\": \"../base/tokenizer\","
        " \"text_encoder\": \"../base/text_encoder\"}");
}

static gen_image *load(const char *name)
{
    gen_image *image = NULL;
    if (gen_image_load(&image, program_path(name), &err))
        fail_msg("%s", err.message);
    return image;
}

/* The mean difference of two pictures of one size, in 255ths. */
static double difference(const char *a, const char *b)
{
    gen_image *x = load(a), *y = load(b);
    double sum = 0;
    assert_int_equal(x->width, y->width);
    assert_int_equal(x->height, y->height);
    for (int row = 0; row < x->height; row++)
        for (int i = 0; i < x->width * 3; i++)
            sum += abs(x->data[(size_t)row * x->stride + (size_t)i] -
                       y->data[(size_t)row * y->stride + (size_t)i]);
    sum /= 3.0 * x->width * x->height;
    gen_image_free(x);
    gen_image_free(y);
    return sum;
}

static void expect_size(const char *name, int width, int height)
{
    gen_image *image = load(name);
    if (image->width != width || image->height != height)
        fail_msg("%s: %dx%d, expected %dx%d", name, image->width, image->height, width, height);
    gen_image_free(image);
}

static void expect_refusal(const char *line, int code, const char *message)
{
    program_expect(code, line);
    if (strncmp(program_errors, message, strlen(message)) != 0)
        fail_msg("gen %s: %sexpected: %s", line, program_errors, message);
}

/* ---- one picture ---------------------------------------------------------------------------- */

static void one_picture(void **state)
{
    (void)state;
    make_bridge();
    write_picture("a.ppm", 32, 48, 3, 0);
    write_picture("b.ppm", 32, 48, 3, 1);
    program_expect(0, "edit -m tiny " QUICK "--seed 1 -i a.ppm -o 1.png cat");
    program_expect(0, "edit -m tiny " QUICK "--seed 1 -i a.ppm -o 2.png -t 2 cat");
    program_expect(0, "edit -m tiny " QUICK "--seed 1 -i a.ppm -o other-words.png dog");
    program_expect(0, "edit -m tiny " QUICK "--seed 2 -i a.ppm -o other-seed.png cat");
    program_expect(0, "edit -m tiny " QUICK "--seed 1 -i b.ppm -o other-source.png cat");
    program_expect(0, "edit -m tiny " QUICK "--seed 1 -i a.ppm -o wordless.png");
    expect_size("1.png", 32, 48);
    assert_true(difference("1.png", "2.png") == 0);
    assert_true(difference("1.png", "other-words.png") > 0);
    assert_true(difference("1.png", "other-seed.png") > 0);
    assert_true(difference("1.png", "other-source.png") > 0);
    /* Off the grid, grey, and of a size that is asked for. */
    write_picture("grey.pgm", 50, 37, 1, 0);
    program_expect(0, "edit -m tiny " QUICK "-i grey.pgm -o grey.png cat");
    expect_size("grey.png", 48, 36);
    program_expect(0, "edit -m tiny " QUICK "-W 64 -H 16 -i a.ppm -o wide.png cat");
    expect_size("wide.png", 64, 16);
    write_picture("dot.ppm", 1, 1, 3, 0);
    program_expect(0, "edit -m tiny " QUICK "-i dot.ppm -o dot.png cat");
    program_expect(0, "edit -m tiny -i a.ppm --dry-run cat");
    EXPECT_CONTAINS(program_out, "32x48, 28 steps, cfg 1.5, bridge, vibt");
}

static void refusals(void **state)
{
    (void)state;
    make_bridge();
    write_picture("a.ppm", 32, 32, 3, 0);
    program_write("b.png", "this is no picture");
    mkdir(program_path("none"), 0777);
    program_write("none/notes.txt", "no pictures here");
    expect_refusal("edit -i a.ppm", 2, "gen: no prompt: what is to change?\n  hint: gen edit -i ");
    expect_refusal("edit -m tiny cat", 2, "gen: nothing to change\n");
    expect_refusal("edit -m tiny -i missing.png cat", 3, "gen: missing.png: ");
    expect_refusal("edit -m tiny -i b.png cat", 3, "gen: b.png: ");
    expect_refusal("edit -m tiny -i none cat", 3, "gen: none: a folder without pictures\n");
    expect_refusal("edit -m MODEL -i a.ppm cat", 4, "gen: ");
    EXPECT_CONTAINS(program_errors, "makes pictures from noise and changes none\n  hint: ");
    expect_refusal("-m tiny cat", 2, "gen: this model changes pictures, and there is none\n");
    expect_refusal("-m tiny -i a.ppm cat", 2, "gen: -i: this model changes pictures\n");
    expect_refusal("-m MODEL -i a.ppm cat", 2,
                   "gen: -i: this model makes pictures from text alone\n");
    unlink(program_path("base"));
    expect_refusal("edit -m tiny -i a.ppm cat", 4,
                   "gen: tiny: model_index.json names \"vae\", but the folder ../base/vae is "
                   "missing\n  hint: the model it shares this with has to lie beside it\n");
}

/* ---- folders -------------------------------------------------------------------------------- */

static void folders(void **state)
{
    (void)state;
    make_bridge();
    mkdir(program_path("in"), 0777);
    write_picture("in/a1.ppm", 32, 32, 3, 0);
    write_picture("in/a2.ppm", 48, 16, 3, 1);
    write_picture("in/a10.ppm", 32, 32, 3, 2);
    program_expect(0, "edit -m tiny " QUICK "--seed 1 -i in -o out/{stem}.png cat");
    assert_string_equal(program_files("out"), "a1.png a10.png a2.png ");
    expect_size("out/a2.png", 48, 16);
    /* Each is what it is alone, whatever came before it. */
    program_expect(0, "edit -m tiny " QUICK "--seed 1 -i in/a10.ppm -o alone.png cat");
    assert_true(difference("alone.png", "out/a10.png") == 0);
    program_expect(0, "edit -m tiny " QUICK "--seed 1 -i in -o named/ cat");
    assert_string_equal(program_files("named"), "a1-edited.png a10-edited.png a2-edited.png ");
    program_expect(0, "edit -m tiny " QUICK "--seed 1 -i in -o numbered/x.png cat");
    assert_string_equal(program_files("numbered"), "x-1.png x-2.png x-3.png ");
    assert_true(difference("numbered/x-3.png", "alone.png") == 0);
    program_expect(0, "edit -m tiny " QUICK "--seed 1 -b 2 -i in -o seeds/ cat");
    assert_string_equal(program_files("seeds"),
                        "a1-edited-1.png a1-edited-2.png a10-edited-1.png a10-edited-2.png "
                        "a2-edited-1.png a2-edited-2.png ");
    assert_true(difference("seeds/a10-edited-1.png", "alone.png") == 0);
    expect_refusal("edit -m tiny -i in -o - cat", 2, "gen: -o -: standard output holds one");
    program_expect(0, "edit -m tiny --dry-run -i in cat");
    EXPECT_CONTAINS(program_out, "3 pictures");
}

/* What cannot be read is named and left out, wherever it stands; the others are made. */
static void damaged_pictures_in_a_folder(void **state)
{
    (void)state;
    make_bridge();
    mkdir(program_path("in"), 0777);
    program_write("in/a.png", "no picture");
    write_picture("in/b.ppm", 32, 32, 3, 0);
    program_write("in/c.png", "no picture");
    write_picture("in/d.ppm", 32, 32, 3, 0);
    program_write("in/e.png", "no picture");
    program_expect(6, "edit -m tiny --steps 2 -y --progress none -i in -o out/{stem}.png cat");
    assert_string_equal(program_files("out"), "b.png d.png ");
    EXPECT_CONTAINS(program_errors, "in/a.png: ");
    EXPECT_CONTAINS(program_errors, "in/c.png: ");
    EXPECT_CONTAINS(program_errors, "in/e.png: ");
    EXPECT_CONTAINS(program_errors, "3 of 5 pictures failed");
    unlink(program_path("in/b.ppm"));
    unlink(program_path("in/d.ppm"));
    program_expect(3, "edit -m tiny " QUICK "-i in -o none/{stem}.png cat");
}

/* ---- the model that comes along ------------------------------------------------------------- */

/* The mean of all bytes. */
static double brightness(const char *name)
{
    gen_image *image = load(name);
    double sum = 0;
    for (int y = 0; y < image->height; y++)
        for (int i = 0; i < image->width * 3; i++)
            sum += image->data[(size_t)y * image->stride + (size_t)i];
    sum /= 3.0 * image->width * image->height;
    gen_image_free(image);
    return sum;
}

static void shipped_model(void **state)
{
    (void)state;
    char castle[4096];
    snprintf(castle, sizeof castle, "%s", GEN_TEST_SOURCE_DIR "/../assets/postcards-bridge");
    strcat(castle, "/castle.jpg");
    assert_int_equal(symlink(castle, program_path("castle.jpg")), 0);
    program_expect(0, "edit -q -i castle.jpg --seed 1 -o night.png at night");
    program_expect(0, "edit -q -i castle.jpg --seed 1 -o again.png at night");
    program_expect(0, "edit -q -i castle.jpg --seed 2 -o other.png at night");
    program_expect(0, "edit -q -i castle.jpg --seed 1 -o day.png by day");
    program_expect(0, "edit -q -i castle.jpg --seed 1 -o ink.png as an ink drawing");
    expect_size("night.png", 256, 256);
    assert_true(difference("night.png", "again.png") == 0);
    assert_true(difference("night.png", "other.png") > 0);
    EXPECT_BETWEEN(brightness("castle.jpg") - brightness("night.png"), 50, 200);
    EXPECT_BETWEEN(brightness("ink.png") - brightness("castle.jpg"), 5, 100);
    /* What it is already stays what it is, as far as the autoencoder can. */
    EXPECT_BETWEEN(difference("day.png", "castle.jpg"), 0, 16);
    EXPECT_BETWEEN(difference("ink.png", "castle.jpg"), 20, 120);
    /* Something else than a postcard, in another size. */
    write_picture("noise.pgm", 211, 95, 1, 4);
    program_expect(0, "edit -q -i noise.pgm --seed 1 -o noise.png in neon");
    expect_size("noise.png", 208, 80);
    program_expect(0, "edit -y -i noise.pgm --seed 1 -o noise.png as a zebra");
    EXPECT_CONTAINS(program_errors, "this model restyles pictures: ");
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_picture, program_set_up, program_tear_down),
        cmocka_unit_test_setup_teardown(refusals, program_set_up, program_tear_down),
        cmocka_unit_test_setup_teardown(folders, program_set_up, program_tear_down),
        cmocka_unit_test_setup_teardown(damaged_pictures_in_a_folder, program_set_up,
                                        program_tear_down),
        cmocka_unit_test_setup_teardown(shipped_model, program_set_up, program_tear_down),
    };
    if (argc < 3)
        return 2;
    snprintf(model_path, sizeof model_path, "%s", argv[2]);
    return program_init(argv[1], argv[2]) ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
