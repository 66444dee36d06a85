/* test_transformer_fault.c TOOL - the n-th allocation fails, for every n of opening a model of
 * classes and one with a T5, and of making a picture: a status MEMORY with a
 * sentence, no crash, nothing lost (address sanitizer). */
#include <stdlib.h>
#include <unistd.h>

#include "gen/core/alloc.h"
#include "gen/pipeline/model.h"
#include "tests/temp_dir.h"
#include "tests/test.h"

#define FIXTURES GEN_TEST_SOURCE_DIR "/golden/fixtures/"

static temp_dir dir;
static const char *tool;

static void shell(const char *format, ...) GEN_PRINTF(1, 2);
static void shell(const char *format, ...)
{
    char command[4096];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    if (system(command) != 0)
        fail_msg("%s", command);
}

/* dit/ and pixart/: recorded transformers, a random text encoder. */
static int set_up(void **state)
{
    (void)state;
    if (temp_dir_make(&dir))
        return -1;
    shell("cd '%s' && mkdir dit pixart && ln -s '" FIXTURES "dit_original' dit/transformer && "
          "ln -s '" FIXTURES "pixart_alpha' pixart/transformer && "
          "ln -s '" FIXTURES "pipe_sd1/vae' dit/vae && ln -s ../dit/vae pixart/vae && "
          "ln -s '" FIXTURES "spm_t5' pixart/tokenizer && "
          "'%s' t5-tiny pixart/text_encoder > /dev/null && "
          "echo '{\"transformer\": [\"\", \"DiT\"], \"vae\": [\"\", \"AutoencoderKL\"], "
          "\"id2label\": {\"3\": \"tench, Tinca\"}}' > dit/model_index.json",
          dir.path, tool);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    temp_dir_remove(&dir);
    return 0;
}

/* Everything from nothing to a picture. */
static gen_status all(const char *model_name, const gen_generate_params *p, gen_error *err)
{
    gen_context *context = NULL;
    gen_model *model = NULL;
    gen_image *image = NULL;
    gen_status status = gen_context_new(&context, &GEN_CONTEXT_PARAMS(.num_threads = 1), err);
    if (!status)
        status = gen_model_open(&model, context,
                                &GEN_MODEL_PARAMS(.path = temp_path(&dir, model_name)), err);
    if (!status)
        status = gen_generate(&image, model, p, NULL, err);
    gen_image_free(image);
    gen_model_free(model);
    gen_context_free(context);
    return status;
}

static void fail_everywhere(const char *model_name, const gen_generate_params *p, long least)
{
    long n = 0, failures = 0;
    for (bool has_failed = true; has_failed;) {
        gen_error err = {0};
        gen_alloc_fail_at(++n);
        const gen_status status = all(model_name, p, &err);
        has_failed = gen_alloc_count() >= n;
        gen_alloc_fail_at(0);
        failures += status != GEN_OK;
        if (status != GEN_OK &&
            (status != GEN_ERROR_MEMORY || err.status != status || !err.message[0]))
            fail_msg("allocation %ld: status %d: %s", n, (int)status, err.message);
    }
    print_message("%ld of %ld failures are reported\n", failures, n - 1);
    if (failures < least)
        fail_msg("%ld failures in %ld allocations, expected %ld", failures, n - 1, least);
}

static void classes(void **state)
{
    (void)state;
    const gen_generate_params p =
        GEN_GENERATE_PARAMS(.prompt = "Tinca", .num_inference_steps = 1, .seed = 1);
    fail_everywhere("dit", &p, 300);
}

static void prompts(void **state)
{
    (void)state;
    const gen_generate_params p =
        GEN_GENERATE_PARAMS(.prompt = "A cat", .negative_prompt = "rain", .width = 16, .height = 16,
                            .num_inference_steps = 1, .seed = 1);
    fail_everywhere("pixart", &p, 500);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes),
        cmocka_unit_test(prompts),
    };
    if (argc != 2)
        return 1;
    tool = argv[1];
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
