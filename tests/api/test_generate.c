/* test_generate.c - the public API from outside: pictures, progress, cancelling, threads. */
#include <pthread.h>
#include <stdlib.h>

#include "gen/gen.h"
#include "tests/test.h"

#define MODEL GEN_TEST_SOURCE_DIR "/golden/fixtures/pipe_sd1"

typedef struct session {
    gen_context *context;
    gen_model *model;
} session;

static gen_status open_session(session *s, int num_threads, gen_error *err)
{
    *s = (session){NULL, NULL};
    GEN_TRY(gen_context_new(&s->context, &GEN_CONTEXT_PARAMS(.num_threads = num_threads), err));
    return gen_model_open(&s->model, s->context, &GEN_MODEL_PARAMS(.path = MODEL), err);
}

static void close_session(session *s)
{
    gen_model_free(s->model);
    gen_context_free(s->context);
}

static gen_generate_params cat_params(uint64_t seed)
{
    return GEN_GENERATE_PARAMS(.prompt = "A photo of the cat, on the moon!",
                               .negative_prompt = "blurry", .width = 48, .height = 32,
                               .num_inference_steps = 4, .guidance_scale = 7.5, .seed = seed);
}

static bool same_picture(const gen_image *a, const gen_image *b)
{
    if (a->width != b->width || a->height != b->height || a->channels != b->channels)
        return false;
    for (int y = 0; y < a->height; y++)
        if (memcmp(a->data + (size_t)y * a->stride, b->data + (size_t)y * b->stride,
                   (size_t)(a->width * a->channels)) != 0)
            return false;
    return true;
}

static gen_image *make(session *s, uint64_t seed)
{
    gen_error err = {0};
    gen_image *image = NULL;
    const gen_generate_params p = cat_params(seed);
    EXPECT_OK(gen_generate(&image, s->model, &p, NULL, &err));
    return image;
}

static void pictures_follow_the_seed(void **state)
{
    gen_error err = {0};
    session s;
    (void)state;
    EXPECT_OK(open_session(&s, 1, &err));
    gen_image *a = make(&s, 1), *b = make(&s, 2), *again = make(&s, 1);
    assert_int_equal(a->width, 48);
    assert_int_equal(a->height, 32);
    assert_int_equal(a->channels, 3);
    assert_true(same_picture(a, again));
    assert_false(same_picture(a, b));
    gen_image_free(a);
    gen_image_free(b);
    gen_image_free(again);
    close_session(&s);
}

static void threads_do_not_change_a_picture(void **state)
{
    gen_error err = {0};
    session one, three;
    (void)state;
    EXPECT_OK(open_session(&one, 1, &err));
    EXPECT_OK(open_session(&three, 3, &err));
    gen_image *a = make(&one, 5), *b = make(&three, 5);
    assert_true(same_picture(a, b));
    gen_image_free(a);
    gen_image_free(b);
    close_session(&one);
    close_session(&three);
}

typedef struct watcher {
    int calls, stop_at; /* stop when this step is done; -1: never */
    gen_phase phase;    /* the last but LOAD, which may come at any time */
    int last_step;
    double last_seconds;
    bool is_ordered;
} watcher;

static int watch(void *user, const gen_progress *p)
{
    watcher *w = user;
    w->calls++;
    w->is_ordered =
        w->is_ordered && p->step >= 0 && p->step <= p->num_steps && p->seconds >= w->last_seconds;
    w->last_seconds = p->seconds;
    if (p->phase == GEN_PHASE_LOAD)
        return 0;
    w->is_ordered =
        w->is_ordered && (p->phase == w->phase ? p->step >= w->last_step : p->phase > w->phase);
    w->phase = p->phase;
    w->last_step = p->step;
    return p->phase == GEN_PHASE_STEP && p->step == w->stop_at;
}

static void progress_is_ordered(void **state)
{
    gen_error err = {0};
    session s;
    gen_image *image = NULL;
    watcher w = {.stop_at = -1, .is_ordered = true};
    gen_generate_params p = cat_params(3);
    (void)state;
    p.progress = watch;
    p.progress_user = &w;
    EXPECT_OK(open_session(&s, 2, &err));
    EXPECT_OK(gen_generate(&image, s.model, &p, NULL, &err));
    assert_true(w.calls >= p.num_inference_steps);
    assert_true(w.is_ordered);
    assert_int_equal(w.phase, GEN_PHASE_DECODE);
    gen_image_free(image);
    close_session(&s);
}

static void a_callback_cancels(void **state)
{
    gen_error err = {0};
    session s;
    (void)state;
    EXPECT_OK(open_session(&s, 2, &err));
    gen_image *whole = make(&s, 3);
    for (int step = 1; step <= 4; step++) {
        gen_image *image = NULL;
        watcher w = {.stop_at = step, .is_ordered = true};
        gen_generate_params p = cat_params(3);
        p.progress = watch;
        p.progress_user = &w;
        EXPECT_STATUS(GEN_ERROR_CANCELLED, gen_generate(&image, s.model, &p, NULL, &err));
        assert_null(image);
        assert_int_equal(err.status, GEN_ERROR_CANCELLED);
        assert_int_equal(w.last_step, step);
    }
    gen_image *after = make(&s, 3); /* nothing of the stopped runs is left behind */
    assert_true(same_picture(whole, after));
    gen_image_free(whole);
    gen_image_free(after);
    close_session(&s);
}

typedef struct worker {
    pthread_t thread;
    uint64_t seed;
    gen_status status;
    gen_error err;
    gen_image *images[3];
} worker;

static void *work(void *arg)
{
    worker *w = arg;
    session s;
    w->status = open_session(&s, 2, &w->err);
    for (int i = 0; i < 3 && !w->status; i++) {
        const gen_generate_params p = cat_params(w->seed + (uint64_t)i);
        w->status = gen_generate(&w->images[i], s.model, &p, NULL, &w->err);
    }
    close_session(&s);
    return NULL;
}

static void contexts_are_independent(void **state)
{
    gen_error err = {0};
    session s;
    worker workers[2] = {{.seed = 10}, {.seed = 11}};
    (void)state;
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
    EXPECT_OK(open_session(&s, 1, &err));
    for (int i = 0; i < 2; i++) {
        if (workers[i].status)
            fail_msg("thread %d: %s", i, workers[i].err.message);
        for (int k = 0; k < 3; k++) {
            gen_image *alone = make(&s, workers[i].seed + (uint64_t)k);
            assert_true(same_picture(alone, workers[i].images[k]));
            gen_image_free(alone);
            gen_image_free(workers[i].images[k]);
        }
    }
    close_session(&s);
}

static void mistakes_are_statuses(void **state)
{
    gen_error err = {0};
    session s;
    gen_image *image = NULL;
    gen_model *model = NULL;
    gen_context *context = NULL;
    (void)state;
    EXPECT_OK(open_session(&s, 1, &err));
    gen_generate_params p = cat_params(1);
    p.sampler = "no-such-sampler";
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_generate(&image, s.model, &p, NULL, &err));
    EXPECT_CONTAINS(err.message, "no-such-sampler");
    p = cat_params(1);
    p.width = 50; /* not on the grid */
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_generate(&image, s.model, &p, NULL, &err));
    p = cat_params(1);
    p.num_inference_steps = -1;
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_generate(&image, s.model, &p, NULL, &err));
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_generate(&image, s.model, &p, NULL, NULL));
    EXPECT_STATUS(
        GEN_ERROR_MODEL,
        gen_model_open(&model, s.context, &GEN_MODEL_PARAMS(.path = "/no/such/model"), &err));
    EXPECT_CONTAINS(err.message, "/no/such/model");
    EXPECT_STATUS(GEN_ERROR_ARGUMENT,
                  gen_context_new(&context, &GEN_CONTEXT_PARAMS(.gemm = "abacus"), &err));
    assert_null(image);
    assert_null(model);
    assert_null(context);
    close_session(&s);
    gen_image_free(NULL);
    gen_model_free(NULL);
    gen_context_free(NULL);
    gen_string_free(NULL);
    gen_picture_info_free(NULL);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures_follow_the_seed),
        cmocka_unit_test(threads_do_not_change_a_picture),
        cmocka_unit_test(progress_is_ordered),
        cmocka_unit_test(a_callback_cancels),
        cmocka_unit_test(contexts_are_independent),
        cmocka_unit_test(mistakes_are_statuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
