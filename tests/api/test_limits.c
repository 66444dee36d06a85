/* test_limits.c - one model for many pictures, little memory, estimates, models that are none. */
#include "gen/gen.h"
#include "tests/test.h"

#define FIXTURES GEN_TEST_SOURCE_DIR "/golden/fixtures/"

static gen_generate_params small_params(void)
{
    return GEN_GENERATE_PARAMS(.prompt = "a photo of the cat", .width = 48, .height = 32,
                               .num_inference_steps = 3, .guidance_scale = 5.0, .seed = 11);
}

typedef struct session {
    gen_context *context;
    gen_model *model;
} session;

static session open_session(uint64_t mem_limit)
{
    session s = {0};
    gen_error err = {0};
    EXPECT_OK(gen_context_new(&s.context,
                              &GEN_CONTEXT_PARAMS(.num_threads = 2, .mem_limit = mem_limit), &err));
    EXPECT_OK(
        gen_model_open(&s.model, s.context, &GEN_MODEL_PARAMS(.path = FIXTURES "pipe_sd1"), &err));
    return s;
}

static void close_session(session *s)
{
    gen_model_free(s->model);
    gen_context_free(s->context);
}

static gen_image *picture(session *s, const gen_generate_params *p)
{
    gen_error err = {0};
    gen_image *image = NULL;
    EXPECT_OK(gen_generate(&image, s->model, p, NULL, &err));
    return image;
}

/* Largest difference of two samples, 256 when the sizes differ. */
static int difference(const gen_image *a, const gen_image *b)
{
    int worst = 0;
    if (a->width != b->width || a->height != b->height || a->channels != b->channels)
        return 256;
    for (int y = 0; y < a->height; y++)
        for (int x = 0; x < a->width * a->channels; x++) {
            const int d = a->data[(size_t)y * a->stride + (size_t)x] -
                          b->data[(size_t)y * b->stride + (size_t)x];
            worst = d > worst ? d : -d > worst ? -d : worst;
        }
    return worst;
}

/* Picture i of a batch is its single run, whatever was made before on the same model. */
static void batch_equals_single_runs(void **state)
{
    (void)state;
    session batch = open_session(0);
    for (uint64_t seed = 3; seed < 6; seed++) {
        gen_generate_params p = small_params();
        p.seed = seed;
        gen_image *one = picture(&batch, &p);
        session single = open_session(0);
        gen_image *other = picture(&single, &p);
        close_session(&single);
        assert_int_equal(difference(one, other), 0);
        gen_image_free(other);
        p.prompt = "the moon"; /* another prompt and size in between */
        p.width = 32;
        other = picture(&batch, &p);
        gen_image_free(one);
        gen_image_free(other);
    }
    close_session(&batch);
}

/* From plenty of memory down to none: the picture stays what it is until it is refused. */
static void less_memory_gives_the_same_picture(void **state)
{
    (void)state;
    gen_error err = {0};
    gen_generate_params p = small_params();
    p.width = p.height = 128;
    session s = open_session(0);
    gen_image *expected = picture(&s, &p);
    gen_estimate full, least;
    EXPECT_OK(gen_estimate_run(&full, s.model, &p, &err));
    p.width = p.height = 16;
    EXPECT_OK(gen_estimate_run(&least, s.model, &p, &err));
    p.width = p.height = 128;
    close_session(&s);
    int num_made = 0, num_refused = 0;
    for (double share = 1.0; num_refused < 3; share *= 0.93) {
        gen_image *image = NULL;
        gen_estimate estimate;
        const double more = share * (double)(full.peak_bytes - least.peak_bytes);
        s = open_session(least.peak_bytes + (uint64_t)more);
        const gen_status status = gen_generate(&image, s.model, &p, NULL, &err);
        const gen_status planned = gen_estimate_run(&estimate, s.model, &p, &err);
        assert_int_equal(status, planned);
        if (status == GEN_OK) {
            num_made++;
            assert_true(estimate.peak_bytes <= estimate.mem_limit);
            assert_true(difference(image, expected) <= 1);
        } else {
            num_refused++;
            assert_int_equal(status, GEN_ERROR_MEMORY);
            EXPECT_CONTAINS(err.message, "limit");
            assert_null(image);
        }
        gen_image_free(image);
        close_session(&s);
    }
    assert_true(num_made >= 2);
    assert_true(num_refused >= 1);
    gen_image_free(expected);
}

static void estimates_grow_with_the_picture(void **state)
{
    (void)state;
    session s = open_session(0);
    gen_error err = {0};
    gen_estimate small, large;
    gen_generate_params p = small_params();
    EXPECT_OK(gen_estimate_run(&small, s.model, &p, &err));
    p.width *= 4;
    p.height *= 4;
    EXPECT_OK(gen_estimate_run(&large, s.model, &p, &err));
    static const char *const names[] = {"encode", "denoise", "decode"};
    for (int i = 0; i < 3; i++) {
        assert_string_equal(small.phases[i].name, names[i]);
        assert_true(small.phases[i].flops > 0 && small.phases[i].peak_bytes > 0);
        assert_true(small.phases[i].peak_bytes <= small.peak_bytes);
    }
    assert_true(large.phases[1].activation_bytes > 8 * small.phases[1].activation_bytes);
    assert_true(large.peak_bytes > small.peak_bytes && large.seconds > 0);
    close_session(&s);
}

/* The message may be unwanted; the status stays. */
static void errors_without_a_message(void **state)
{
    (void)state;
    session s = open_session(0);
    gen_error err = {0};
    gen_image *image = NULL;
    gen_estimate estimate;
    gen_generate_params p = small_params();
    p.width = 47;
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_resolve(&p, s.model, NULL));
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_generate(&image, s.model, &p, NULL, NULL));
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_estimate_run(&estimate, s.model, &p, NULL));
    p = small_params();
    p.prompt = "\xff";
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_generate(&image, s.model, &p, NULL, NULL));
    p.prompt = "cat";
    p.sampler = "nope";
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_generate(&image, s.model, &p, NULL, NULL));
    assert_null(image);
    close_session(&s);
}

static void what_is_no_model_is_refused(void **state)
{
    (void)state;
    gen_error err = {0};
    gen_context *context;
    gen_model *model = NULL;
    EXPECT_OK(gen_context_new(&context, NULL, &err));
    static const char *const paths[] = {
        "/nonexistent/model", GEN_TEST_SOURCE_DIR "/test.h",
        FIXTURES "vae_kl",    FIXTURES "clip_l",
        GEN_TEST_SOURCE_DIR,  FIXTURES "vae_kl/diffusion_pytorch_model.safetensors"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        EXPECT_STATUS(GEN_ERROR_MODEL,
                      gen_model_open(&model, context, &GEN_MODEL_PARAMS(.path = paths[i]), &err));
        EXPECT_CONTAINS(err.message, paths[i]);
        assert_null(model);
        EXPECT_STATUS(GEN_ERROR_MODEL,
                      gen_model_open(&model, context, &GEN_MODEL_PARAMS(.path = paths[i]), NULL));
    }
    gen_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batch_equals_single_runs),
        cmocka_unit_test(less_memory_gives_the_same_picture),
        cmocka_unit_test(estimates_grow_with_the_picture),
        cmocka_unit_test(errors_without_a_message),
        cmocka_unit_test(what_is_no_model_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
