/* test_shipped_tokens.c - the two class-conditional models that ship with gen: found by name, the
 * numbers of the PyTorch networks that were trained, pictures that follow the class, and the same
 * picture on every device. */
#include <math.h>
#include <stdlib.h>

#include "gen/pipeline/generate.h"
#include "tests/test.h"

enum { SIDE = 16, CHANNELS = 16, N = SIDE * SIDE * CHANNELS, PICTURE = 256 };

typedef struct shipped {
    const char *name;
    /* assets/recipes/postcards/check_tokens.py: the prediction at row 3, column 5; RMS of all */
    float expected[CHANNELS], rms;
} shipped;

static const shipped models[] = {
    {"postcards-dit",
     {0.486423f, 0.777426f, 0.686392f, -0.118431f, 0.366468f, 0.636354f, 1.023638f, 1.033979f,
      0.700403f, -0.051108f, -0.191935f, 0.497672f, 0.192770f, 0.178899f, 0.543120f, -0.410744f},
     0.673508f},
    {"postcards-rwkv",
     {0.876867f, 0.306469f, -0.146404f, 0.776213f, 0.528749f, 0.385136f, 1.148058f, 1.654173f,
      0.460319f, -0.409591f, -0.088194f, 0.062899f, 1.193513f, -1.118672f, -0.140438f, -0.520614f},
     0.804644f},
};

enum { NUM_MODELS = sizeof models / sizeof models[0] };

static gen_error err;
static gen_context *context;
static gen_model *model;

static void open_on(const char *device, const char *name)
{
    EXPECT_OK(gen_context_new(&context, &GEN_CONTEXT_PARAMS(.device = device), &err));
    EXPECT_OK(gen_model_open(&model, context, &GEN_MODEL_PARAMS(.path = name), &err));
}

static int close_all(void **state)
{
    (void)state;
    gen_model_free(model);
    gen_context_free(context);
    model = NULL;
    context = NULL;
    return 0;
}

static gen_image *draw(const char *class_label, int steps)
{
    gen_image *image = NULL;
    const gen_generate_params p =
        GEN_GENERATE_PARAMS(.class_label = class_label, .seed = 3, .num_inference_steps = steps);
    EXPECT_OK(gen_generate(&image, model, &p, NULL, &err));
    assert_int_equal(image->width, PICTURE);
    assert_int_equal(image->height, PICTURE);
    assert_int_equal(image->channels, 3);
    return image;
}

/* Mean and largest difference of two pictures, in steps of 1/255. */
static double difference(const gen_image *a, const gen_image *b, int *largest)
{
    double sum = 0;
    int most = 0;
    for (int y = 0; y < PICTURE; y++)
        for (int x = 0; x < 3 * PICTURE; x++) {
            const int d =
                abs(a->data[(size_t)y * a->stride + x] - b->data[(size_t)y * b->stride + x]);
            sum += d;
            most = d > most ? d : most;
        }
    if (largest)
        *largest = most;
    return sum / (3.0 * PICTURE * PICTURE);
}

static void the_trained_numbers_come_out(void **state)
{
    static float x[N], y[N];
    const gen_network_shape shape = {.batch = 1, .height = SIDE, .width = SIDE};
    const int32_t class = 33;
    const double time = 437.5;
    (void)state;
    for (int i = 0; i < N; i++)
        x[i] = (float)sin(.37 * i);
    for (int i = 0; i < NUM_MODELS; i++) {
        gen_plan *plan;
        double squares = 0;
        open_on("cpu", models[i].name);
        EXPECT_OK(gen_network_plan(&plan, &model->plans, &model->network, &shape, &err));
        EXPECT_OK(gen_plan_set(plan, "sample", x, &err));
        EXPECT_OK(gen_plan_set_double(plan, "timestep", &time, &err));
        EXPECT_OK(gen_plan_set(plan, "class_labels", &class, &err));
        EXPECT_OK(gen_plan_run(plan, &err));
        EXPECT_OK(gen_plan_get_output(plan, "sample_out", y, &err));
        expect_close(y + (3 * SIDE + 5) * CHANNELS, models[i].expected, CHANNELS, 2e-5,
                     models[i].name);
        for (int k = 0; k < N; k++)
            squares += (double)y[k] * y[k];
        EXPECT_BETWEEN(sqrt(squares / N) - models[i].rms, -2e-5, 2e-5);
        close_all(NULL);
    }
}

static void pictures_follow_the_class(void **state)
{
    (void)state;
    for (int i = 0; i < NUM_MODELS; i++) {
        open_on("cpu", models[i].name);
        const gen_model_info *info = gen_model_get_info(model);
        assert_string_equal(info->name, models[i].name);
        assert_int_equal(info->num_classes, 75);
        assert_true(info->num_bytes < 5 * 1000 * 1000); /* the autoencoder's megabyte is shared */
        gen_image *cat = draw("a cat in snow", 6), *same = draw("cat in the snow", 6),
                  *tree = draw("palm tree in the desert", 6);
        assert_true(difference(cat, same, NULL) == 0);
        if (difference(cat, tree, NULL) < 20)
            fail_msg("%s: a cat in snow and a palm in the desert differ by %g", models[i].name,
                     difference(cat, tree, NULL));
        gen_image_free(cat);
        gen_image_free(same);
        gen_image_free(tree);
        close_all(NULL);
    }
}

static void devices_agree(void **state)
{
    (void)state;
    for (int i = 0; i < NUM_MODELS; i++) {
        int largest;
        if (gen_context_new(&context, &GEN_CONTEXT_PARAMS(.device = "vulkan"), &err)) {
            print_message("no Vulkan here: %s\n", err.message);
            skip();
        }
        close_all(NULL);
        open_on("cpu", models[i].name);
        gen_image *one = draw("house by a lake", 4);
        close_all(NULL);
        open_on("vulkan", models[i].name);
        gen_image *other = draw("house by a lake", 4);
        const double mean = difference(one, other, &largest);
        if (largest > 3 || mean > .1) /* rounding, seen through four steps */
            fail_msg("%s: the devices' pictures differ by %d, %g in the mean", models[i].name,
                     largest, mean);
        gen_image_free(one);
        gen_image_free(other);
        close_all(NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(the_trained_numbers_come_out, close_all),
        cmocka_unit_test_teardown(pictures_follow_the_class, close_all),
        cmocka_unit_test_teardown(devices_agree, close_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
