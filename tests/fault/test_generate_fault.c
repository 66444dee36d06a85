/* test_generate_fault.c - the n-th allocation fails, for every n of opening a model, of planning,
 * making and saving a picture: a status MEMORY with a sentence, no crash, nothing lost (address
 * sanitizer), and the model goes on working. */
#include <stdlib.h>

#include "gen/core/alloc.h"
#include "gen/pipeline/model.h"
#include "tests/temp_dir.h"
#include "tests/test.h"

#define MODEL GEN_TEST_SOURCE_DIR "/golden/fixtures/pipe_sd1"

static gen_context *context;
static gen_model *model;
static gen_image *expected;
static temp_dir dir;

static gen_generate_params small_params(void)
{
    return GEN_GENERATE_PARAMS(.prompt = "a (cat:1.2), [dog]", .negative_prompt = "rain",
                               .width = 16, .height = 16, .num_inference_steps = 1, .seed = 3);
}

static int set_up(void **state)
{
    gen_error err = {0};
    const gen_generate_params p = small_params();
    (void)state;
    if (temp_dir_make(&dir) ||
        gen_context_new(&context, &GEN_CONTEXT_PARAMS(.num_threads = 1), &err) ||
        gen_model_open(&model, context, &GEN_MODEL_PARAMS(.path = MODEL), &err) ||
        gen_generate(&expected, model, &p, NULL, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return -1;
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    gen_image_free(expected);
    gen_model_free(model);
    gen_context_free(context);
    temp_dir_remove(&dir);
    return 0;
}

/* Makes the model forget all it has prepared, so that the next picture does all the work again. */
static void cool_down(void)
{
    gen_plan_cache_clear(&model->plans);
    gen_weights_drop_prepared(model->network.weights.weights, context->backend);
    model->text_class->release(model->text);
    gen_vae_release(model->vae);
    gen_prompt_states_free(model->prompt);
    gen_free(model->prompt_key);
    model->prompt = NULL;
    model->prompt_key = NULL;
}

/* Runs `work` with the n-th allocation failing, n = 1, 2, ..., until it needs fewer than n.  At
 * least `least` of these runs must fail; there are things that can be done without. */
static void fail_everywhere(gen_status (*work)(gen_error *err), void (*between)(void), long least)
{
    long n = 0, failures = 0;
    for (bool has_failed = true; has_failed;) {
        gen_error err = {0};
        gen_alloc_fail_at(++n);
        const gen_status status = work(&err);
        has_failed = gen_alloc_count() >= n;
        gen_alloc_fail_at(0);
        if (status != GEN_OK) {
            failures++;
            if (status != GEN_ERROR_MEMORY || err.status != status || !err.message[0])
                fail_msg("allocation %ld: status %d: %s", n, (int)status, err.message);
        }
        if (between)
            between();
    }
    print_message("%ld of %ld failures are reported\n", failures, n - 1);
    if (failures < least)
        fail_msg("%ld failures in %ld allocations, expected %ld", failures, n - 1, least);
}

static gen_status open_model(gen_error *err)
{
    gen_context *c = NULL;
    gen_model *m = NULL;
    gen_status status = gen_context_new(&c, &GEN_CONTEXT_PARAMS(.num_threads = 2), err);
    if (!status)
        status = gen_model_open(&m, c, &GEN_MODEL_PARAMS(.path = MODEL), err);
    gen_model_free(m);
    gen_context_free(c);
    return status;
}

static void opening(void **state)
{
    (void)state;
    fail_everywhere(open_model, NULL, 120);
}

static void expect_picture(const gen_image *image)
{
    assert_int_equal(image->width, 16);
    assert_int_equal(image->height, 16);
    for (int y = 0; y < 16; y++)
        assert_memory_equal(image->data + (size_t)y * image->stride,
                            expected->data + (size_t)y * expected->stride, 16 * 3);
}

static gen_status make_picture(gen_error *err)
{
    const gen_generate_params p = small_params();
    gen_image *image = NULL;
    const gen_status status = gen_generate(&image, model, &p, NULL, err);
    if (!status)
        expect_picture(image);
    else
        assert_null(image);
    gen_image_free(image);
    return status;
}

/* Now and then, what a failure left behind has to be good enough for the next picture. */
static void go_on(void)
{
    static int count;
    gen_error err = {0};
    if (count++ % 37 == 0)
        EXPECT_OK(make_picture(&err));
    cool_down();
}

static void making(void **state)
{
    (void)state;
    cool_down();
    fail_everywhere(make_picture, go_on, 500);
}

/* With a new context each time, its memory for activations is asked for anew, too. */
static void making_from_nothing(void **state)
{
    gen_context *const old_context = context;
    gen_model *const old_model = model;
    (void)state;
    for (long n = 1, more = 1; more; n += 7) {
        gen_error err = {0};
        EXPECT_OK(gen_context_new(&context, &GEN_CONTEXT_PARAMS(.num_threads = 2), &err));
        EXPECT_OK(gen_model_open(&model, context, &GEN_MODEL_PARAMS(.path = MODEL), &err));
        gen_alloc_fail_at(n);
        const gen_status status = make_picture(&err);
        more = gen_alloc_count() >= n;
        gen_alloc_fail_at(0);
        gen_model_free(model);
        gen_context_free(context);
        context = old_context;
        model = old_model;
        if (status != GEN_OK && (status != GEN_ERROR_MEMORY || !err.message[0]))
            fail_msg("allocation %ld: status %d: %s", n, (int)status, err.message);
    }
}

static gen_status estimate(gen_error *err)
{
    gen_estimate e;
    const gen_generate_params p = small_params();
    return gen_estimate_run(&e, model, &p, err);
}

static void estimating(void **state)
{
    (void)state;
    fail_everywhere(estimate, NULL, 50); /* the test of speed is left out without memory */
}

static gen_status save(gen_error *err)
{
    char *parameters = NULL, *json = NULL, *name = NULL;
    const gen_picture_record record =
        GEN_PICTURE_RECORD(.prompt = "a cat\nand a dog", .seed = 3, .sampler = "ddim");
    const gen_output_fields fields = GEN_OUTPUT_FIELDS(.prompt = "a cat", .extension = ".png");
    gen_status status = gen_output_path(&name, temp_path(&dir, "{prompt}{ext}"), &fields, err);
    if (!status)
        status = gen_picture_record_text(&parameters, &record, err);
    if (!status)
        status = gen_picture_record_json(&json, &record, err);
    if (!status) {
        const gen_text texts[] = {{"parameters", parameters}, {"gen", json}};
        status = gen_image_save(expected, name,
                                &GEN_IMAGE_SAVE_PARAMS(.texts = texts, .num_texts = 2), err);
    }
    gen_string_free(parameters);
    gen_string_free(json);
    gen_string_free(name);
    return status;
}

/* Either the whole picture is there, or nothing. */
static void look_and_remove(void)
{
    gen_error err = {0};
    gen_image *image = NULL;
    const char *path = temp_path(&dir, "a-cat.png");
    if (access(path, F_OK) == 0) {
        EXPECT_OK(gen_image_load(&image, path, &err));
        expect_picture(image);
        gen_image_free(image);
        assert_int_equal(remove(path), 0);
    }
    assert_int_equal(rmdir(dir.path), 0); /* empty: no temporary file is left */
    assert_int_equal(mkdir(dir.path, 0700), 0);
}

static void saving(void **state)
{
    (void)state;
    fail_everywhere(save, look_and_remove, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opening),
        cmocka_unit_test(making),
        cmocka_unit_test(making_from_nothing),
        cmocka_unit_test(estimating),
        cmocka_unit_test(saving),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
