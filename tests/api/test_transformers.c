/* test_transformers.c GEN FIXTURES TOOL - DiT and PixArt through the program: classes by number and
 * name, prompts, component options, refusals.  Models are put together of recorded and of random
 * tiny components. */
#include "tests/api/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/gen.h"

#define DIT   "-m dit -q -y --steps 3 --seed 1 "
#define PIX   "-m pixart -q -y --steps 2 --seed 1 "
#define LOOSE "-m pixart/transformer --vae pixart/vae --tokenizer pixart/tokenizer "

static gen_error err;
static char fixtures[4096], tool[4096];

static void shell(const char *format, ...) GEN_PRINTF(1, 2);
static void shell(const char *format, ...)
{
    char command[8192];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    if (system(command) != 0)
        fail_msg("%s", command);
}

static void write_file(const char *name, const char *text)
{
    FILE *f = fopen(program_path(name), "wb");
    if (!f || fputs(text, f) < 0 || fclose(f))
        fail_msg("%s", name);
}

static const char dit_index[] =
    "{\"_class_name\": \"DiTPipeline\", \"transformer\": [\"diffusers\", "
    "\"DiTTransformer2DModel\"], \"vae\": [\"diffusers\", "
    "\"AutoencoderKL\"], \"id2label\": {\"0\": \"tench, Tinca\", "
    "\"3\": \"crane\", \"7\": \"crane, Grus\", \"5\": \"Owl\"}}";
static const char pixart_index[] =
    "{\"_class_name\": \"PixArtSigmaPipeline\", \"transformer\": [\"diffusers\", "
    "\"PixArtTransformer2DModel\"], \"vae\": [\"diffusers\", \"AutoencoderKL\"], "
    "\"text_encoder\": [\"transformers\", \"T5EncoderModel\"], \"tokenizer\": [\"transformers\", "
    "\"T5Tokenizer\"]}";

/* dit/: the original names, a random VAE of the same latents; pixart/: a recorded transformer, a
 * random text encoder. */
static int make_models(void **state)
{
    if (program_set_up(state))
        return -1;
    const char *folder = program_path("");
    char root[4096];
    snprintf(root, sizeof root, "%s", folder);
    shell("mkdir '%s/dit' '%s/pixart' && '%s' dit-tiny '%s/dit/transformer' > /dev/null && "
          "'%s' t5-tiny '%s/pixart/text_encoder' > /dev/null",
          root, root, tool, root, tool, root);
    shell("cp -r '%s/pipe_sd1/vae' '%s/dit/vae' && cp -r '%s/pipe_sd1/vae' '%s/pixart/vae' && "
          "cp -r '%s/pixart_sigma' '%s/pixart/transformer' && "
          "cp -r '%s/spm_t5' '%s/pixart/tokenizer'",
          fixtures, root, fixtures, root, fixtures, root, fixtures, root);
    write_file("dit/model_index.json", dit_index);
    write_file("pixart/model_index.json", pixart_index);
    return 0;
}

static void run(const char *line)
{
    program_run(line, NULL);
    program_expect(0, line);
}

static gen_image *load(const char *name)
{
    gen_image *image = NULL;
    if (gen_image_load(&image, program_path(name), &err))
        fail_msg("%s", err.message);
    return image;
}

/* Whether two files show the same picture. */
static bool are_equal(const char *a, const char *b)
{
    gen_image *x = load(a), *y = load(b);
    const bool same = x->width == y->width && x->height == y->height && x->stride == y->stride &&
                      memcmp(x->data, y->data, x->stride * (size_t)x->height) == 0;
    gen_image_free(x);
    gen_image_free(y);
    return same;
}

static void a_class_by_number_and_by_name(void **state)
{
    (void)state;
    run(DIT "--class 7 -o number.png");
    run(DIT "--class crane -o name.png");
    run(DIT "-p 'Grus' -o prompt.png");
    run(DIT "--class 3 -o other.png");
    run(DIT "-p owl -o case.png");
    run(DIT "--class 5 -o owl.png");
    run(DIT "-o any.png");
    gen_image *image = load("number.png");
    assert_int_equal(image->width, 32);
    gen_image_free(image);
    assert_true(are_equal("number.png", "name.png"));
    assert_true(are_equal("number.png", "prompt.png"));
    assert_true(are_equal("case.png", "owl.png"));
    assert_false(are_equal("number.png", "other.png"));
    assert_false(are_equal("number.png", "any.png"));
}

/* Without a scheduler's settings DiT draws as its own code does; its noise is learned. */
static void the_learned_variance_counts(void **state)
{
    (void)state;
    run(DIT "--class 1 -o learned.png");
    run(DIT "--class 1 --sampler ddim -o ddim.png");
    assert_false(are_equal("learned.png", "ddim.png"));
    run("-m dit --class 1 --dry-run");
    EXPECT_CONTAINS(program_out, "250 steps");
}

static void other_sizes(void **state)
{
    (void)state;
    run(DIT "--class 1 -W 48 -H 16 -o wide.png");
    gen_image *image = load("wide.png");
    assert_int_equal(image->width, 48);
    assert_int_equal(image->height, 16);
    gen_image_free(image);
}

static void text_to_image(void **state)
{
    (void)state;
    run(PIX "-p 'a photo of a cat' -o cat.png");
    run(PIX "-p '  A Photo of a CAT ' -o upper.png");
    run(PIX "-p 'an astronaut riding a horse' -o horse.png");
    run(PIX "-p 'a photo of a cat' -n 'a painting' -o negative.png");
    assert_true(are_equal("cat.png", "upper.png"));
    assert_false(are_equal("cat.png", "horse.png"));
    assert_false(are_equal("cat.png", "negative.png"));
    run(LOOSE "--t5 pixart/text_encoder -q --steps 2 --seed 1 -p 'a photo of a cat' -o loose.png");
    assert_true(are_equal("cat.png", "loose.png"));
    run(LOOSE "--t5 pixart/text_encoder/diffusion_pytorch_model.safetensors -q --steps 2 "
              "--seed 1 -p 'a photo of a cat' -o file.png");
    assert_true(are_equal("cat.png", "file.png"));
}

/* GFLOP of the text encoder in the plan of a line. */
static double encoder_work(const char *line)
{
    run(line);
    const char *phase = strstr(program_out, "{\"name\":\"encode\"");
    assert_non_null(phase);
    const char *flops = strstr(phase, "\"flops\":");
    assert_non_null(flops);
    return strtod(flops + strlen("\"flops\":"), NULL);
}

/* Without guidance nobody asks what is not wanted. */
static void the_negative_prompt_is_left_alone(void **state)
{
    (void)state;
    const double both = encoder_work(PIX "-p 'a cat' -n 'a cat' --cfg 4 --dry-run --json");
    const double one = encoder_work(PIX "-p 'a cat' -n 'a cat' --cfg 1 --dry-run --json");
    assert_true(one > 0 && both == 2 * one);
    run(PIX "-p 'a photo of a cat' --cfg 1 -o one.png");
    run(PIX "-p 'a photo of a cat' -n 'a painting' --cfg 1 -o other.png");
    assert_true(are_equal("one.png", "other.png"));
}

static void a_text_that_is_too_long(void **state)
{
    char line[2048] = "-m pixart --steps 1 --seed 1 -o long.png -p '";
    (void)state;
    for (int i = 0; i < 400; i++)
        strcat(line, "cat ");
    strcat(line, "'");
    run(line);
    EXPECT_CONTAINS(program_errors, "gen: prompt: its last ");
    EXPECT_CONTAINS(program_errors, " tokens have no effect: the text encoder takes 299\n");
    run("-m pixart --steps 1 --seed 1 -o short.png -p 'a cat'");
    assert_null(strstr(program_errors, "no effect"));
}

/* A single file without settings is recognised by its tensors. */
static void a_file_alone(void **state)
{
    (void)state;
    run("-m dit/transformer --vae dit/vae -q --steps 3 --seed 1 --class 7 -o folder.png");
    run("info dit/transformer/diffusion_pytorch_model.safetensors");
    EXPECT_CONTAINS(program_out, "DiT");
    run("info pixart/text_encoder/diffusion_pytorch_model.safetensors");
    EXPECT_CONTAINS(program_out, "T5EncoderModel");
}

static void refusals(void **state)
{
    static const struct {
        const char *line;
        int code;
        const char *message;
    } cases[] = {
        {DIT "--class 10", 2, "gen: class: 10 is out of range (0..9)\n  hint: dit knows 10 "},
        {DIT "--class -1", 2, "gen: class: -1 is out of range (0..9)\n"},
        {DIT "-p heron", 2,
         "gen: class: \"heron\" is none of the 10 classes of dit\n  hint: names "},
        {DIT "--class 1 -W 20", 2, "gen: width: 20 is not a multiple of 8\n"},
        {"-m dit/transformer --vae dit/vae -p crane", 2,
         "gen: class: \"crane\" is a name, and dit/transformer has no names of its classes\n"
         "  hint: give a number with --class 0..9"},
        {DIT "--class 1 -n rain", 2, "gen: negative prompt: dit takes no text\n"},
        {DIT "--class 1 -p crane", 2,
         "gen: class: \"1\" and the prompt \"crane\" both name one, dit draws one\n"},
        {DIT "--class 1 --t5 pixart/text_encoder", 2, "gen: t5: dit takes no text, pixart/text_"},
        {PIX "--class 1", 2, "gen: class: pixart knows no classes\n  hint: say with -p"},
        {PIX, 2, "gen: no prompt: pixart draws what a text says\n  hint: say with -p"},
        {LOOSE "-p cat", 4,
         "gen: pixart/transformer is a file of components (transformer, vae), it has no "
         "text_encoder\n  hint: name it with --t5 PATH"},
        {"-m pixart/transformer -p cat", 4,
         "gen: pixart/transformer is a PixArtTransformer2DModel ("},
        {"-m pixart --t5 pixart/vae -p cat", 4, "gen: pixart/vae is a VAE ("},
        {"-m pixart --tokenizer dit -p cat", 4, "gen: dit"},
        {"-m pixart/text_encoder -p cat", 4, "gen: pixart/text_encoder is a text encoder ("},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        program_run(cases[i].line, NULL);
        program_expect(cases[i].code, cases[i].line);
        if (strncmp(program_errors, cases[i].message, strlen(cases[i].message)) != 0)
            fail_msg("%s: %s", cases[i].line, program_errors);
        size_t lines = 0;
        for (const char *p = program_errors; (p = strchr(p, '\n')); p++)
            lines++;
        assert_in_range(lines, 1, 2);
    }
    assert_string_equal(program_files(""), "dit pixart ");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_class_by_number_and_by_name, make_models,
                                        program_tear_down),
        cmocka_unit_test_setup_teardown(the_learned_variance_counts, make_models,
                                        program_tear_down),
        cmocka_unit_test_setup_teardown(other_sizes, make_models, program_tear_down),
        cmocka_unit_test_setup_teardown(text_to_image, make_models, program_tear_down),
        cmocka_unit_test_setup_teardown(the_negative_prompt_is_left_alone, make_models,
                                        program_tear_down),
        cmocka_unit_test_setup_teardown(a_text_that_is_too_long, make_models, program_tear_down),
        cmocka_unit_test_setup_teardown(a_file_alone, make_models, program_tear_down),
        cmocka_unit_test_setup_teardown(refusals, make_models, program_tear_down),
    };
    if (argc != 4 || program_init(argv[1], argv[2]))
        return 1;
    snprintf(fixtures, sizeof fixtures, "%s", argv[2]);
    snprintf(tool, sizeof tool, "%s", argv[3]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
