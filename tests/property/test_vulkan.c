/* test_vulkan.c - laws of the Vulkan backend: the order it gives dispatches, the pieces of its
 * arena, and what one picture costs in transfers.  The first two need no device. */
#include <stdlib.h>
#include <string.h>

#include "gen/core/alloc.h"
#include "gen/core/memory.h"
#include "gen/pipeline/pipeline.h"
#include "gen/vulkan/compile.h"
#include "tests/ops/ops.h"

#define MODEL GEN_TEST_SOURCE_DIR "/golden/fixtures/pipe_sd1"

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u; /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static int below(uint64_t *state, int n)
{
    return (int)(next_random(state) % (uint64_t)n);
}

/* ---- order ---------------------------------------------------------------------------------- */

/* Do two dispatches touch a common byte that one of them writes?  Byte by byte. */
static bool share_a_byte(const gen_vk_dispatch *a, const gen_vk_dispatch *b)
{
    for (int i = 0; i < a->num_ranges; i++)
        for (int j = 0; j < b->num_ranges; j++)
            for (VkDeviceSize k = 0; k < a->ranges[i].size; k++) {
                const VkDeviceSize at = a->ranges[i].offset + k;
                if (a->ranges[i].buffer == b->ranges[j].buffer &&
                    (a->ranges[i].is_written || b->ranges[j].is_written) &&
                    at >= b->ranges[j].offset && at < b->ranges[j].offset + b->ranges[j].size)
                    return true;
            }
    return false;
}

static void conflicts_are_kept_apart(void **state)
{
    enum { MAX = 60 };
    static gen_vk_dispatch d[MAX];
    static const gen_vk_buffer buffers[2];
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        uint64_t random = seed;
        const int count = 1 + below(&random, MAX);
        for (int i = 0; i < count; i++) {
            d[i].num_ranges = 1 + below(&random, GEN_VK_MAX_BUFFERS);
            for (int r = 0; r < d[i].num_ranges; r++)
                d[i].ranges[r] = (gen_vk_range){
                    &buffers[below(&random, 2)], (VkDeviceSize)below(&random, 100),
                    (VkDeviceSize)(1 + below(&random, 12)), r == d[i].num_ranges - 1};
        }
        const int num_levels = gen_vk_find_levels(d, count);
        for (int j = 0; j < count; j++) {
            bool has_reason = d[j].level == 0;
            assert_in_range(d[j].level, 0, num_levels - 1);
            for (int i = 0; i < j; i++) {
                if (!share_a_byte(&d[i], &d[j]))
                    continue;
                if (d[i].level >= d[j].level)
                    fail_msg("seed %d: %d and %d conflict and have levels %d and %d", (int)seed, i,
                             j, d[i].level, d[j].level);
                has_reason |= d[i].level == d[j].level - 1;
            }
            if (!has_reason)
                fail_msg("seed %d: %d could run earlier than level %d", (int)seed, j, d[j].level);
        }
    }
}

/* ---- pieces --------------------------------------------------------------------------------- */

static void buffers_lie_in_one_piece(void **state)
{
    enum { MAX = 50, BLOCK = 4096 };
    static gen_buffer b[MAX];
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        uint64_t random = seed;
        gen_error err = {0};
        size_t total;
        const int count = 1 + below(&random, MAX);
        for (int i = 0; i < count; i++) {
            const int first = below(&random, 30);
            b[i] = (gen_buffer){.size = (size_t)(1 + below(&random, BLOCK)),
                                .first = first,
                                .last = first + below(&random, 8)};
        }
        EXPECT_OK(gen_place_buffers(b, count, BLOCK, &total, &err));
        for (int i = 0; i < count; i++) {
            assert_true(b[i].offset + b[i].size <= total);
            assert_int_equal(b[i].offset / BLOCK, (b[i].offset + b[i].size - 1) / BLOCK);
            for (int j = 0; j < i; j++)
                if (b[i].first <= b[j].last && b[j].first <= b[i].last)
                    assert_true(b[i].offset + b[i].size <= b[j].offset ||
                                b[j].offset + b[j].size <= b[i].offset);
        }
        b[0].size = BLOCK + 1;
        EXPECT_STATUS(GEN_ERROR_MEMORY, gen_place_buffers(b, count, BLOCK, &total, &err));
    }
}

/* ---- a picture ------------------------------------------------------------------------------ */

typedef struct session {
    gen_context *context;
    gen_model *model;
} session;

/* Skips the test where the device is missing. */
static session open_session(const char *device, const char *precision)
{
    gen_error err = {0};
    session s = {0};
    const gen_status status = gen_context_new(
        &s.context, &GEN_CONTEXT_PARAMS(.device = device, .precision = precision), &err);
    if (status == GEN_ERROR_DEVICE || status == GEN_ERROR_ARGUMENT) {
        print_message("skipped: %s\n", err.message);
        skip();
    }
    EXPECT_OK(status);
    EXPECT_OK(gen_model_open(&s.model, s.context, &GEN_MODEL_PARAMS(.path = MODEL), &err));
    return s;
}

static void close_session(session *s)
{
    gen_model_free(s->model);
    gen_context_free(s->context);
}

static gen_image *make(session *s, int num_steps)
{
    gen_error err = {0};
    gen_image *image = NULL;
    const gen_generate_params p =
        GEN_GENERATE_PARAMS(.prompt = "A photo of the cat, on the moon!",
                            .negative_prompt = "blurry", .width = 48, .height = 32,
                            .num_inference_steps = num_steps, .guidance_scale = 7.5, .seed = 42);
    EXPECT_OK(gen_generate(&image, s->model, &p, NULL, &err));
    return image;
}

static double psnr(const gen_image *a, const gen_image *b)
{
    double sum = 0.0;
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->height, b->height);
    for (int y = 0; y < a->height; y++)
        for (int x = 0; x < a->width * a->channels; x++) {
            const double d = (double)a->data[(size_t)y * a->stride + (size_t)x] -
                             (double)b->data[(size_t)y * b->stride + (size_t)x];
            sum += d * d;
        }
    const double mean = sum / (double)(a->height * a->width * a->channels);
    return mean > 0.0 ? 10.0 * log10(255.0 * 255.0 / mean) : INFINITY;
}

/* A step sends latents, embedded time and states of the prompt, and fetches the result: no op runs
 * elsewhere, for a plan with an op that the backend lacks is an error. */
static void steps_transfer_inputs_and_result(void **state)
{
    (void)state;
    session cpu = open_session("cpu", NULL), device = open_session("vulkan:llvmpipe", NULL);
    gen_image *expected = make(&cpu, 4);
    gen_image_free(make(&device, 2)); /* weights and plans */
    const gen_vulkan_stats before = gen_vulkan_get_stats(device.context->backend);
    gen_image_free(make(&device, 2));
    const gen_vulkan_stats two = gen_vulkan_get_stats(device.context->backend);
    gen_image *image = make(&device, 4);
    const gen_vulkan_stats four = gen_vulkan_get_stats(device.context->backend);
    const uint64_t uploads = (four.uploads - two.uploads) - (two.uploads - before.uploads);
    const uint64_t downloads =
        (four.downloads - two.downloads) - (two.downloads - before.downloads);
    const uint64_t runs = (four.runs - two.runs) - (two.runs - before.runs);
    assert_int_equal(runs, 2);
    assert_int_equal(uploads, 2 * 3);
    assert_int_equal(downloads, 2);
    assert_int_equal(four.messages, 0);
    assert_int_equal(four.pipelines, two.pipelines);
    assert_int_equal(four.weight_bytes, two.weight_bytes);
    print_message(
        "a step: %d dispatches, %d barriers, %d submissions\n",
        (int)((four.dispatches - two.dispatches - (two.dispatches - before.dispatches)) / runs),
        (int)((four.barriers - two.barriers - (two.barriers - before.barriers)) / runs),
        (int)((four.submissions - two.submissions - (two.submissions - before.submissions)) /
              runs));
    EXPECT_BETWEEN(psnr(image, expected), 50.0, INFINITY);
    gen_image_free(image);
    gen_image_free(expected);
    close_session(&device);
    close_session(&cpu);
}

/* ---- activations in 16 bits ----------------------------------------------------------------- */

static void picture_in_half(void **state)
{
    (void)state;
    session cpu = open_session("cpu", NULL), device = open_session("vulkan:llvmpipe", "f16");
    assert_true(device.context->backend->stores_half); /* the device passed its check */
    gen_image *expected = make(&cpu, 4), *image = make(&device, 4);
    EXPECT_BETWEEN(psnr(image, expected), 35.0, INFINITY);
    assert_int_equal(gen_vulkan_get_stats(device.context->backend).messages, 0);
    gen_image_free(image);
    gen_image_free(expected);
    close_session(&device);
    close_session(&cpu);
}

/* The ops a UNet does not have. */
static void build_others(ops_case *c, const void *arg)
{
    (void)arg;
    ops_weight(c, "norm.weight", GEN_F32, 1.0, 0.5, GEN_DIMS(48));
    ops_weight(c, "table", GEN_F32, 0.0, 0.7, GEN_DIMS(37, 12));
    ops_weight(c, "w", GEN_F32, 0.1, 0.02, GEN_DIMS(48));
    ops_weight(c, "u", GEN_F32, 0.0, 0.5, GEN_DIMS(48));
    gen_scope root = gen_scope_root(c->weights);
    gen_tensor *x = ops_strided(c, "x", 5, GEN_DIMS(2, 37, 48));
    gen_tensor *y = gen_rms_norm(c->g, gen_sub(root, "norm"), x, 1e-5f);
    y = gen_rope(c->g, y, 4, gen_parameter(c->g, root, "table"));
    gen_tensor *v = gen_mul(c->g, gen_window(c->g, x, 1, -2, 37), gen_parameter(c->g, root, "u"));
    y = gen_wkv(c->g, GEN_WKV_SEGMENTED, gen_parameter(c->g, root, "w"),
                gen_parameter(c->g, root, "u"), y, v);
    gen_output(c->g, gen_permute(c->g, gen_glu(c->g, GEN_ACT_GELU, y), 3, (const int[]){0, 2, 1}),
               "y");
}

static void run_others(gen_backend *backend, float *out)
{
    gen_error err = {0};
    gen_plan *plan = NULL;
    ops_case c;
    ops_case_init(&c);
    EXPECT_OK(
        gen_plan_new(&plan, ops_record(&c, build_others, NULL), backend, GEN_PLAN_HALF, &err));
    ops_set_inputs(&c, plan);
    EXPECT_OK(gen_plan_run(plan, &err));
    EXPECT_OK(gen_plan_get_output(plan, "y", out, &err));
    gen_plan_free(plan);
    gen_weights_drop_prepared(c.weights, backend);
    backend->fns->close(backend);
    ops_case_free(&c);
}

static void other_ops_in_half(void **state)
{
    enum { N = 2 * 37 * 24 };
    static float whole[N], half[N];
    double error = 0.0, square = 0.0;
    gen_error err = {0};
    (void)state;
    for (int is_half = 0; is_half < 2; is_half++) {
        gen_backend *backend = NULL;
        const gen_vulkan_options options = {.device = "llvmpipe", .use_f16 = is_half};
        const gen_status status = gen_vulkan_open(&backend, &options, &err);
        if (status) {
            print_message("skipped: %s\n", err.message);
            skip();
        }
        run_others(backend, is_half ? half : whole);
    }
    for (int i = 0; i < N; i++) {
        error += pow((double)half[i] - (double)whole[i], 2);
        square += pow((double)whole[i], 2);
    }
    EXPECT_BETWEEN(error / square, 1e-12, 1e-4); /* another arithmetic, the same result */
}

/* ---- weights that do not fit ---------------------------------------------------------------- */

enum { DEEP = 9, WIDE = 192 };

static void build_deep(ops_case *c, const void *arg)
{
    char name[32];
    (void)arg;
    gen_scope root = gen_scope_root(c->weights);
    gen_tensor *t = ops_strided(c, "x", 0, GEN_DIMS(1, 4, 6, WIDE));
    for (int i = 0; i < DEEP; i++) {
        snprintf(name, sizeof name, "conv%d.weight", i);
        ops_weight(c, name, i % 2 ? GEN_F16 : GEN_F32, 0.0, 0.03,
                   GEN_DIMS(WIDE, WIDE, i % 3 ? 1 : 3, i % 3 ? 1 : 3));
        snprintf(name, sizeof name, "conv%d.bias", i);
        ops_weight(c, name, GEN_F32, 0.0, 0.1, GEN_DIMS(WIDE));
        snprintf(name, sizeof name, "conv%d", i);
        t = gen_silu(c->g,
                     gen_conv2d(c->g, gen_sub(root, name), t, i % 3 ? GEN_CONV_1X1 : GEN_CONV_3X3));
        if (i == 3) /* a weight that two stages read */
            t = gen_conv2d(c->g, gen_sub(root, "conv1"), t, GEN_CONV_1X1);
    }
    gen_output(c->g, t, "y");
}

/* Runs it twice on a device with those limits. */
static gen_vulkan_stats run_deep(gen_vulkan_options options, float *out)
{
    gen_error err = {0};
    gen_backend *backend = NULL;
    gen_plan *plan = NULL;
    ops_case c;
    options.device = "llvmpipe";
    options.validate = true;
    if (gen_vulkan_open(&backend, &options, &err)) {
        print_message("skipped: %s\n", err.message);
        skip();
    }
    ops_case_init(&c);
    EXPECT_OK(gen_plan_new(&plan, ops_record(&c, build_deep, NULL), backend, 0, &err));
    for (int i = 0; i < 2; i++) {
        ops_set_inputs(&c, plan);
        EXPECT_OK(gen_plan_run(plan, &err));
    }
    EXPECT_OK(gen_plan_get_output(plan, "y", out, &err));
    const gen_vulkan_stats stats = gen_vulkan_get_stats(backend);
    gen_plan_free(plan);
    gen_weights_drop_prepared(c.weights, backend);
    backend->fns->close(backend);
    ops_case_free(&c);
    return stats;
}

static void streamed_weights_give_the_same_bits(void **state)
{
    enum { N = 24 * WIDE };
    static const gen_vulkan_options limits[] = {
        {.weight_room = 3300 << 10},
        {.weight_room = 3300 << 10, .always_stages = true, .max_slice_nodes = 1},
        {.weight_room = 2800 << 10},
        {.max_buffer = 16 << 20, .weight_room = 2800 << 10, .always_stages = true},
        {.max_buffer = 300 << 10}, /* in pieces */
    };
    static float whole[N], got[N];
    (void)state;
    const gen_vulkan_stats all = run_deep((gen_vulkan_options){0}, whole);
    assert_int_equal(all.streamed_bytes, 0);
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        memset(got, 0, sizeof got);
        const gen_vulkan_stats s = run_deep(limits[i], got);
        assert_memory_equal(got, whole, sizeof got);
        if (!limits[i].weight_room)
            continue;
        assert_true(s.streamed_bytes > 0);
        assert_true(s.weight_bytes < all.weight_bytes);
        print_message("%d of %d KiB stay, %d KiB come in two runs\n", (int)(s.weight_bytes >> 10),
                      (int)(all.weight_bytes >> 10), (int)(s.streamed_bytes >> 10));
    }
}

/* ---- what was planned ----------------------------------------------------------------------- */

static void build_wide(ops_case *c, const void *arg)
{
    static const char *const names[] = {"a.weight", "b.weight", "c.weight", "d.weight"};
    (void)arg;
    gen_tensor *x = ops_input(c, "x", GEN_DIMS(512, 1024)), *h = x;
    for (int i = 0; i < 5; i++) { /* the first is read twice */
        const char *name = names[i % 4];
        ops_weight(c, name, GEN_F16, 0.0, 0.03, GEN_DIMS(1024, 1024));
        h = gen_silu(c->g, gen_project(c->g, ops_scope(c, (char[2]){name[0]}), h));
    }
    gen_output(c->g, h, "y");
    gen_output(c->g, gen_add(c->g, h, x), "z");
}

/* A plan takes from a device what it said it would; inputs and results count where they lie there,
 * too. */
static void memory_is_what_was_planned(void **state)
{
    enum { ROUNDING = 16 << 10, IO = 3 * 512 * 1024 * sizeof(float) };
    size_t least = 0;
    (void)state;
    for (int is_streamed = 0; is_streamed < 2; is_streamed++) {
        gen_error err = {0};
        gen_backend *backend;
        gen_plan *plan;
        ops_case c;
        if (gen_vulkan_open(&backend, &(gen_vulkan_options){.device = "llvmpipe"}, &err))
            skip();
        ops_case_init(&c);
        EXPECT_OK(gen_plan_new_within(&plan, ops_record(&c, build_wide, NULL), backend, 0,
                                      is_streamed ? least : 0, &err));
        const gen_plan_stats *s = gen_plan_get_stats(plan);
        const size_t planned = s->arena + s->scratch + s->weights + s->io;
        EXPECT_BETWEEN((double)gen_vulkan_get_stats(backend).memory_bytes, (double)planned,
                       (double)planned + ROUNDING);
        assert_int_equal(s->io, IO); /* on a device that shares the host's memory */
        assert_int_equal(s->staging, 0);
        assert_int_equal(s->slots != 0, is_streamed);
        assert_true(!is_streamed || s->weights == least);
        least = s->least_weights;
        gen_plan_free(plan);
        gen_weights_drop_prepared(c.weights, backend);
        backend->fns->close(backend);
        ops_case_free(&c);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(conflicts_are_kept_apart),
        cmocka_unit_test(buffers_lie_in_one_piece),
        cmocka_unit_test(steps_transfer_inputs_and_result),
        cmocka_unit_test(picture_in_half),
        cmocka_unit_test(other_ops_in_half),
        cmocka_unit_test(streamed_weights_give_the_same_bits),
        cmocka_unit_test(memory_is_what_was_planned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
