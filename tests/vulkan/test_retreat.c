/* test_retreat.c STUB REAL GEN MODEL - a device fails while a picture is made: on Mesa's software
 * driver, with the stub in front of it.
 *
 * In the library: the picture is finished on the CPU where that is allowed, and is close to the
 * CPU's.  In the program: one line, exit 5, no file; of several pictures the others are made. */
#include <dlfcn.h>
#include <stdlib.h>

#include "gen/core/alloc.h"
#include "gen/pipeline/model.h"
#include "gen/pipeline/trust.h"
#include "tests/api/clip_model.h"
#include "tests/api/program.h"
#include "tests/tools/random_tokens.h"
#include "tests/vulkan/stub.h"

enum { SIDE = 32, BYTES = SIDE * SIDE * 3 };

static gen_error err;
static stub_set_fn *stub_set;
static stub_count_fn *stub_failed;
static const char *stub, *real, *model_path;
static char driver_cache[512]; /* of Mesa, kept from run to run */
static char notes[4096];
static gen_context *context;
static gen_model *model;
static unsigned char expected[BYTES];
static gen_progress_fn progress; /* of the next picture, or NULL */

static void keep_note(void *user, gen_log_level level, const char *line)
{
    (void)user;
    if (level != GEN_LOG_DEBUG && !strstr(line, "preparing the shaders"))
        snprintf(notes + strlen(notes), sizeof notes - strlen(notes), "%s\n", line);
}

/* The driver is trusted from the start: its check is the subject of other tests. */
static void trust_driver(const char *folder)
{
    gen_vulkan_device *devices;
    int count;
    EXPECT_OK(gen_vulkan_list(&devices, &count, NULL, &err));
    for (int i = 0; i < count; i++) {
        char key[65];
        const gen_verdict passed = {.state = GEN_VERDICT_PASSED, .half = GEN_VERDICT_PASSED};
        gen_vulkan_key(&devices[i], key);
        assert_true(gen_verdict_write(&passed, folder, key));
    }
    gen_free(devices);
}

static void open_with(const char *device, const char *precision, const char *path)
{
    notes[0] = '\0';
    const gen_context_params params = GEN_CONTEXT_PARAMS(.num_threads = 1, .device = device,
                                                         .precision = precision, .log = keep_note);
    EXPECT_OK(gen_context_new(&context, &params, &err));
    EXPECT_OK(gen_model_open(&model, context, &GEN_MODEL_PARAMS(.path = path), &err));
}

static void open_all(const char *device)
{
    open_with(device, NULL, model_path);
}

static void close_all(void)
{
    gen_model_free(model);
    gen_context_free(context);
    stub_set("", NULL, 0, 0);
}

static gen_status make(unsigned char *out)
{
    const gen_generate_params p =
        GEN_GENERATE_PARAMS(.prompt = "a cat", .width = SIDE, .height = SIDE,
                            .num_inference_steps = 3, .seed = 5, .sampler = "ddim",
                            .progress = progress);
    gen_image *image = NULL;
    const gen_status status = gen_generate(&image, model, &p, NULL, &err);
    for (int y = 0; image && y < SIDE; y++)
        memcpy(out + y * SIDE * 3, image->data + (size_t)y * image->stride, SIDE * 3);
    gen_image_free(image);
    return status;
}

static void expect_picture(const unsigned char *got)
{
    double sum = 0;
    for (int i = 0; i < BYTES; i++)
        sum += ((double)got[i] - expected[i]) * ((double)got[i] - expected[i]);
    if (!(10 * log10(255.0 * 255.0 * BYTES / (sum + 1e-9)) > 40))
        fail_msg("PSNR %.1f dB", 10 * log10(255.0 * 255.0 * BYTES / sum));
}

static int start(void **state)
{
    if (program_set_up(state) || setenv("XDG_CACHE_HOME", program_path("cache"), 1) != 0)
        return -1;
    stub_set("", NULL, 0, 0);
    trust_driver(program_path("cache/gen/vulkan"));
    open_all("cpu");
    EXPECT_OK(make(expected));
    close_all();
    return 0;
}

/* ---- in the library -------------------------------------------------------------------------- */

static void nothing_fails(void **state)
{
    unsigned char got[BYTES];
    (void)state;
    open_all("vulkan:llvmpipe");
    EXPECT_OK(make(got));
    expect_picture(got);
    EXPECT_CONTAINS(gen_context_backend(context), "vulkan: llvmpipe");
    assert_string_equal(notes, "");
    close_all();
}

/* A call fails, first or later; gen chose the device itself. */
static void fail_and_go_on(const char *fail, bool is_auto, bool lasts)
{
    unsigned char got[BYTES];
    open_all("vulkan:llvmpipe");
    context->is_auto = is_auto;
    stub_set("", fail, 0, lasts);
    EXPECT_OK(make(got));
    assert_true(stub_failed() > 0);
    expect_picture(got);
    EXPECT_CONTAINS(notes, "; going on with the CPU\n");
    EXPECT_CONTAINS(gen_context_backend(context), "cpu: ");
    stub_set("", NULL, 0, 0);
    EXPECT_OK(make(got)); /* the next one is the CPU's from the start */
    assert_memory_equal(got, expected, BYTES);
    close_all();
}

static void auto_outlives_its_device(void **state)
{
    (void)state;
    fail_and_go_on("vkQueueSubmit:1", true, true);
    fail_and_go_on("vkQueueSubmit:4", true, true);
    fail_and_go_on("vkWaitSemaphores:3", true, true);
    fail_and_go_on("vkCreateComputePipelines:9", true, true);
}

static void losses_are_remembered(void **state)
{
    gen_vulkan_device *devices;
    gen_verdict v;
    char key[65];
    int count;
    (void)state;
    fail_and_go_on("vkQueueSubmit:2", true, true);
    EXPECT_OK(gen_vulkan_list(&devices, &count, NULL, &err));
    gen_vulkan_key(&devices[0], key);
    gen_verdict_read(&v, program_path("cache/gen/vulkan"), key);
    assert_int_equal(v.losses, 1);
    gen_free(devices);
}

static void refused_memory_goes_to_the_cpu(void **state)
{
    (void)state;
    fail_and_go_on("vkAllocateMemory:1", false, true);
    fail_and_go_on("vkAllocateMemory:4", false, true);
}

static int refuse_from_the_first_step(void *user, const gen_progress *p)
{
    (void)user;
    if (p->phase == GEN_PHASE_STEP && p->step == 0)
        stub_set("", "vkAllocateMemory:1", 0, 1);
    return 0;
}

/* Whatever takes memory has it before the first step. */
static void no_memory_is_taken_after_the_first_step(void **state)
{
    unsigned char got[BYTES];
    (void)state;
    open_all("vulkan:llvmpipe");
    progress = refuse_from_the_first_step;
    EXPECT_OK(make(got));
    progress = NULL;
    assert_int_equal(stub_failed(), 0);
    assert_string_equal(notes, "");
    expect_picture(got);
    close_all();
}

static int refused; /* the allocation, counted from the loading of the network */

static int refuse_one(void *user, const gen_progress *p)
{
    char fail[32];
    (void)user;
    snprintf(fail, sizeof fail, "vkAllocateMemory:%d", refused);
    if (p->phase == GEN_PHASE_LOAD)
        stub_set("", fail, 0, 0);
    return 0;
}

/* A picture that may be decoded in bands. */
static void make_tall(gen_image **out)
{
    const gen_generate_params p =
        GEN_GENERATE_PARAMS(.prompt = "a cat", .width = SIDE, .height = 256,
                            .num_inference_steps = 1, .seed = 5, .progress = refuse_one);
    EXPECT_OK(gen_generate(out, model, &p, NULL, &err));
}

/* Refused the decoder's memory ahead, the device has less to hold. */
static void the_decoder_is_cut_before_the_first_step(void **state)
{
    gen_image *wanted, *got = NULL;
    (void)state;
    open_all("cpu");
    make_tall(&wanted);
    close_all();
    notes[0] = '\0';
    for (refused = 1; refused < 20 && !strstr(notes, "decoding in bands of 128 rows\n");
         refused++) {
        gen_image_free(got);
        open_all("vulkan:llvmpipe");
        make_tall(&got);
        close_all();
    }
    assert_true(refused > 2 && refused < 20);
    assert_null(strstr(notes, "with the CPU"));
    for (int y = 0; y < wanted->height; y++)
        for (int x = 0; x < 3 * wanted->width; x++)
            EXPECT_BETWEEN(got->data[(size_t)y * got->stride + (size_t)x] -
                               wanted->data[(size_t)y * wanted->stride + (size_t)x],
                           -2, 2);
    gen_image_free(got);
    gen_image_free(wanted);
}

static void a_named_device_that_is_lost_is_an_error(void **state)
{
    unsigned char got[BYTES];
    (void)state;
    open_all("vulkan:llvmpipe");
    stub_set("", "vkQueueSubmit:3", 0, 1);
    EXPECT_STATUS(GEN_ERROR_DEVICE, make(got));
    EXPECT_CONTAINS(err.message, "DEVICE_LOST");
    close_all();
}

static gen_backend_fns wrong, right;
static int num_downloads, nan_at;

static gen_status download_nan(gen_backend *b, gen_plan *plan, const gen_tensor *src, void *dst,
                               gen_error *e)
{
    const gen_status status = right.download(b, plan, src, dst, e);
    if (++num_downloads == nan_at)
        *(float *)dst = NAN;
    return status;
}

static void numbers_that_are_not_finite_are_the_cpus_to_try(void **state)
{
    (void)state;
    for (nan_at = 3; nan_at <= 6; nan_at++) {
        unsigned char got[BYTES];
        open_all("vulkan:llvmpipe");
        right = wrong = *context->backend->fns;
        wrong.download = download_nan;
        context->backend->fns = &wrong;
        num_downloads = 0;
        EXPECT_OK(make(got));
        assert_true(num_downloads >= nan_at);
        expect_picture(got);
        EXPECT_CONTAINS(notes, "not finite; going on with the CPU\n");
        close_all();
    }
}

/* ---- activations in 16 bits ------------------------------------------------------------------ */

static int half_nans, whole_nans; /* answers of the network to spoil, left */

static gen_status download_overflow(gen_backend *b, gen_plan *plan, const gen_tensor *src,
                                    void *dst, gen_error *e)
{
    const gen_status status = right.download(b, plan, src, dst, e);
    int *left = b->stores_half ? &half_nans : &whole_nans;
    if (strcmp(src->name, "sample_out") == 0 && *left > 0) {
        *(float *)dst = INFINITY;
        (*left)--;
    }
    return status;
}

static void spoil_answers(int in_half, int in_whole)
{
    if (context->backend->fns != &wrong) {
        right = wrong = *context->backend->fns;
        wrong.download = download_overflow;
        context->backend->fns = &wrong;
    }
    half_nans = in_half;
    whole_nans = in_whole;
}

/* PSNR above 30 dB: steps before the overflow keep what f16 made of them. */
static void expect_similar(const unsigned char *got, const unsigned char *wanted, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += ((double)got[i] - wanted[i]) * ((double)got[i] - wanted[i]);
    EXPECT_BETWEEN(10 * log10(255.0 * 255.0 * n / (sum + 1e-9)), 30, INFINITY);
}

static void first_f32_then_the_cpu(void **state)
{
    static const char whole[] = "not finite; going on with activations in f32\n";
    static const char cpu[] = "not finite; going on with the CPU\n";
    unsigned char got[BYTES];
    (void)state;
    open_with("vulkan:llvmpipe", "f16", model_path);
    spoil_answers(0, 0);
    EXPECT_OK(make(got));
    expect_similar(got, expected, BYTES);
    assert_string_equal(notes, "");

    spoil_answers(1, 0);
    EXPECT_OK(make(got));
    expect_similar(got, expected, BYTES);
    EXPECT_CONTAINS(notes, whole);
    assert_null(strstr(notes, cpu));
    EXPECT_CONTAINS(gen_context_backend(context), "vulkan: llvmpipe");
    assert_false(context->backend->stores_half); /* for later pictures, too */
    close_all();

    open_with("vulkan:llvmpipe", "f16", model_path);
    spoil_answers(1, 1);
    EXPECT_OK(make(got));
    expect_picture(got); /* the first step failed: all of it is the CPU's */
    const char *second = strstr(notes, cpu);
    assert_non_null(second);
    assert_non_null(strstr(notes, whole));
    assert_true(strstr(notes, whole) < second);
    EXPECT_CONTAINS(gen_context_backend(context), "cpu: ");
    close_all();
}

/* Multiplies a tensor of a file by `factor`. */
static void scale_tensor(const char *path, const char *name, float factor)
{
    static unsigned char bytes[4 << 20];
    char key[128];
    uint64_t header;
    unsigned long long begin, end;
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    const size_t size = fread(bytes, 1, sizeof bytes - 1, f);
    assert_true(size < sizeof bytes - 1);
    memcpy(&header, bytes, 8);
    snprintf(key, sizeof key, "\"%s\"", name);
    const char *at = strstr((char *)bytes + 8, key);
    assert_non_null(at);
    assert_non_null(at = strstr(at, "data_offsets"));
    assert_int_equal(sscanf(strchr(at, '['), "[%llu , %llu", &begin, &end), 2);
    for (size_t i = 8 + (size_t)header + (size_t)begin; i < 8 + (size_t)header + (size_t)end;
         i += 4) {
        float v;
        memcpy(&v, bytes + i, 4);
        v *= factor;
        memcpy(bytes + i, &v, 4);
    }
    rewind(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

/* A network whose numbers are too large for f16, and one whose are too large for f32. */
static void overflows_are_found(void **state)
{
    unsigned char got[BYTES], wanted[BYTES];
    char line[8192], weights[8192], path[4096];
    (void)state;
    snprintf(path, sizeof path, "%s", program_path("loud"));
    snprintf(line, sizeof line, "cp -r '%s' '%s'", model_path, path);
    assert_int_equal(system(line), 0);
    snprintf(weights, sizeof weights, "%s/unet/diffusion_pytorch_model.safetensors", path);
    scale_tensor(weights, "conv_in.weight", 1e6f);
    open_with("cpu", NULL, path);
    EXPECT_OK(make(wanted));
    close_all();
    open_with("vulkan:llvmpipe", "f16", path);
    EXPECT_OK(make(got));
    EXPECT_CONTAINS(notes, "going on with activations in f32\n");
    assert_null(strstr(notes, "CPU"));
    expect_similar(got, wanted, BYTES);
    close_all();

    scale_tensor(weights, "conv_in.weight", 3e31f);
    scale_tensor(weights, "conv_out.weight", 1e6f);
    open_with("vulkan:llvmpipe", "f16", path);
    EXPECT_STATUS(GEN_ERROR_INTERNAL, make(got));
    EXPECT_CONTAINS(err.message, "a value is not finite");
    const char *f32 = strstr(notes, "going on with activations in f32\n");
    assert_non_null(f32);
    assert_non_null(strstr(f32, "going on with the CPU\n"));
    close_all();
}

/* ---- clips ----------------------------------------------------------------------------------- */

enum { FRAMES = 9, FRAME_BYTES = 48 * 32 * 3 };

typedef struct frames {
    int count;
    unsigned char pixels[FRAMES][FRAME_BYTES];
} frames;

static gen_status take_frame(void *user, const gen_image *frame, int index, int num_frames,
                             gen_error *e)
{
    frames *f = user;
    (void)e;
    assert_int_equal(num_frames, FRAMES);
    assert_int_equal(index, f->count); /* each frame once, in order */
    for (int y = 0; y < 32; y++)
        memcpy(f->pixels[index] + y * 48 * 3, frame->data + (size_t)y * frame->stride, 48 * 3);
    f->count++;
    return GEN_OK;
}

static void make_clip(frames *out)
{
    const gen_generate_params p =
        GEN_GENERATE_PARAMS(.prompt = "a cat", .width = 48, .height = 32, .num_frames = FRAMES,
                            .num_inference_steps = 2, .seed = 5);
    out->count = 0;
    EXPECT_OK(gen_generate_clip(model, &p, take_frame, out, NULL, &err));
    assert_int_equal(out->count, FRAMES);
}

static int chunks_left; /* of the decoder, until one is spoilt */

static gen_status download_bad_chunk(gen_backend *b, gen_plan *plan, const gen_tensor *src,
                                     void *dst, gen_error *e)
{
    const gen_status status = right.download(b, plan, src, dst, e);
    if (strcmp(src->name, "pixels") == 0 && chunks_left-- == 0)
        *(float *)dst = NAN;
    return status;
}

static void clips_go_on(void **state)
{
    static frames wanted, got;
    char path[4096];
    (void)state;
    clip_model_make("t2v", 4, "", model_path);
    snprintf(path, sizeof path, "%s", program_path("t2v"));
    open_with("cpu", NULL, path);
    make_clip(&wanted);
    close_all();

    open_with("vulkan:llvmpipe", "f16", path); /* in the network */
    spoil_answers(1, 1);
    make_clip(&got);
    expect_similar(got.pixels[0], wanted.pixels[0], FRAMES * FRAME_BYTES);
    EXPECT_CONTAINS(notes, "going on with activations in f32\n");
    EXPECT_CONTAINS(notes, "going on with the CPU\n");
    close_all();

    for (int chunk = 0; chunk < 3; chunk++) { /* in the decoder, with frames handed out */
        open_with("vulkan:llvmpipe", NULL, path);
        right = wrong = *context->backend->fns;
        wrong.download = download_bad_chunk;
        context->backend->fns = &wrong;
        chunks_left = chunk;
        make_clip(&got);
        expect_similar(got.pixels[0], wanted.pixels[0], FRAMES * FRAME_BYTES);
        EXPECT_CONTAINS(notes, "not finite; going on with the CPU\n");
        EXPECT_CONTAINS(gen_context_backend(context), "cpu: ");
        close_all();
    }

    open_with("vulkan:llvmpipe", NULL, path); /* memory, lost devices */
    stub_set("", "vkAllocateMemory:1", 0, 1);
    make_clip(&got);
    EXPECT_CONTAINS(notes, "going on with the CPU\n");
    expect_similar(got.pixels[0], wanted.pixels[0], FRAMES * FRAME_BYTES);
    close_all();
    open_with("vulkan:llvmpipe", NULL, path);
    context->is_auto = true;
    stub_set("", "vkQueueSubmit:30", 0, 1);
    make_clip(&got);
    assert_true(stub_failed() > 0);
    expect_similar(got.pixels[0], wanted.pixels[0], FRAMES * FRAME_BYTES);
    EXPECT_CONTAINS(notes, "going on with the CPU\n");
    close_all();
}

/* ---- weights that are refused -----------------------------------------------------------------
 */

enum { DIT_SIDE = 64, DIT_BYTES = DIT_SIDE * DIT_SIDE * 3 };

/* A DiT of some MB and an autoencoder of nearly nothing; returns its path. */
static const char *make_dit(void)
{
    static char path[4096];
    snprintf(path, sizeof path, "%s", program_path("dit"));
    program_shell("mkdir '%s'%s", path, "");
    program_shell("cp -r '%s/../vae_kl' '%s/vae'", model_path, path);
    program_write("dit/model_index.json", "{\"transformer\": [\"gen\", \"DiT\"],"
                                          " \"vae\": [\"diffusers\", \"AutoencoderKL\"]}");
    random_dit(
        &(random_dit_size){.width = 128, .heads = 4, .depth = 5, .side = 16, .num_classes = 10});
    assert_int_equal(random_write(program_path("dit/transformer"), 1), 0);
    return path;
}

static void make_class(unsigned char *out)
{
    const gen_generate_params p =
        GEN_GENERATE_PARAMS(.class_label = "3", .width = DIT_SIDE, .height = DIT_SIDE,
                            .num_inference_steps = 2, .seed = 5);
    gen_image *image = NULL;
    EXPECT_OK(gen_generate(&image, model, &p, NULL, &err));
    for (int y = 0; y < DIT_SIDE; y++)
        memcpy(out + y * DIT_SIDE * 3, image->data + (size_t)y * image->stride, DIT_SIDE * 3);
    gen_image_free(image);
}

static size_t room, most; /* for the weights of a plan; the most that one had */

static gen_status compile_in_room(gen_backend *b, gen_plan *plan, gen_error *e)
{
    const size_t weights = gen_plan_get_stats(plan)->weights;
    most = weights > most ? weights : most;
    if (weights > room)
        return gen_fail(e, GEN_ERROR_MEMORY, "no room for %zu bytes of weights", weights);
    return right.compile(b, plan, e);
}

static void open_with_room(const char *path, size_t bytes)
{
    open_with("vulkan:llvmpipe", NULL, path);
    right = wrong = *context->backend->fns;
    wrong.compile = compile_in_room;
    context->backend->fns = &wrong;
    room = bytes;
}

static int count_notes(const char *text)
{
    int n = 0;
    for (const char *p = notes; (p = strstr(p, text)); p++)
        n++;
    return n;
}

static void fewer_weights_come_before_the_cpu(void **state)
{
    static const char fewer[] = "; going on with weights read in every step\n";
    static const char cpu[] = "; going on with the CPU\n";
    static unsigned char whole[DIT_BYTES], got[DIT_BYTES];
    const char *path = make_dit();
    (void)state;
    most = 0;
    open_with_room(path, SIZE_MAX);
    make_class(whole);
    make_class(got);
    assert_memory_equal(got, whole, DIT_BYTES);
    assert_string_equal(notes, "");
    close_all();

    open_with_room(path, most * 4 / 10); /* half is too much, the fewest are not */
    make_class(got);
    assert_memory_equal(got, whole, DIT_BYTES);
    assert_int_equal(count_notes(fewer), 2);
    assert_int_equal(count_notes(cpu), 0);
    EXPECT_CONTAINS(gen_context_backend(context), "vulkan: llvmpipe");
    notes[0] = '\0';
    make_class(got); /* the next one knows */
    assert_memory_equal(got, whole, DIT_BYTES);
    assert_int_equal(count_notes(fewer), 0);
    close_all();

    open_with_room(path, 64 << 10);
    make_class(got);
    expect_similar(got, whole, DIT_BYTES);
    assert_true(count_notes(fewer) >= 1);
    assert_int_equal(count_notes(cpu), 1);
    EXPECT_CONTAINS(gen_context_backend(context), "cpu: ");
    close_all();

    int num_streamed = 0; /* one allocation is refused, whichever it is */
    for (int n = 1; n <= 8; n++) {
        char fault[64];
        snprintf(fault, sizeof fault, "vkAllocateMemory:%d", n);
        open_with("vulkan:llvmpipe", NULL, path);
        stub_set("", fault, 0, 0);
        make_class(got);
        expect_similar(got, whole, DIT_BYTES);
        num_streamed += count_notes(fewer) == 1 && count_notes(cpu) == 0;
        close_all();
    }
    assert_true(num_streamed > 0);
}

static bool supports_no_attention(gen_backend *b, const gen_node *node)
{
    return node->op != GEN_OP_ATTENTION && right.supports(b, node);
}

static void auto_goes_where_the_kernels_are(void **state)
{
    unsigned char got[BYTES];
    const gen_model_params params = GEN_MODEL_PARAMS(.path = model_path);
    (void)state;
    for (int is_auto = 0; is_auto < 2; is_auto++) {
        open_all("vulkan:llvmpipe");
        gen_model_free(model);
        model = NULL;
        right = wrong = *context->backend->fns;
        wrong.supports = supports_no_attention;
        context->backend->fns = &wrong;
        context->is_auto = is_auto;
        EXPECT_STATUS(is_auto ? GEN_OK : GEN_ERROR_INTERNAL,
                      gen_model_open(&model, context, &params, &err));
        if (is_auto) {
            EXPECT_CONTAINS(notes, "has no kernel for attention; using the CPU");
            EXPECT_OK(make(got));
            assert_memory_equal(got, expected, BYTES);
        }
        close_all();
        model = NULL;
    }
}

/* ---- in the program -------------------------------------------------------------------------- */

/* `fault` is a variable of the stub. */
static int run_program(const char *line, const char *fault)
{
    char variables[2048];
    snprintf(variables, sizeof variables,
             "GEN_VULKAN_LOADER=%s\nGEN_STUB_REAL=%s\nMESA_SHADER_CACHE_DIR=%s\n"
             "XDG_CACHE_HOME=%s/cache\n%s",
             stub, real, driver_cache, program_path("."), fault);
    return program_run(line, variables);
}

static void one_line_and_no_file(void **state)
{
    (void)state;
    assert_int_equal(run_program("-m MODEL --device vulkan:llvmpipe -W 32 -H 32 --steps 3 --seed 1 "
                                 "-q -o b.png cat",
                                 "GEN_STUB_FAIL=vkQueueSubmit:2"),
                     5);
    EXPECT_CONTAINS(program_errors, "DEVICE_LOST\n");
    assert_ptr_equal(strchr(program_errors, '\n'), program_errors + strlen(program_errors) - 1);
    assert_string_equal(program_out, "");
    assert_string_equal(program_files(""), "cache ");
}

/* gen on the stub alone, with a device that would work for ever from `hang` on; what it may still
 * touch is not given back, and is no leak. */
static int run_stuck(const char *line, const char *hang)
{
    char variables[2048], path[512];
    snprintf(path, sizeof path, "%s", program_path(hang));
    snprintf(variables, sizeof variables,
             "GEN_VULKAN_LOADER=%s\nXDG_CACHE_HOME=%s/cache\n"
             "LSAN_OPTIONS=detect_leaks=0\n"
             "GEN_STUB_DEVICES=discrete:Stuck:1024\nGEN_STUB_HANG=%s",
             stub, program_path("."), path);
    return program_run(line, variables);
}

/* The stub computes nothing and fails its check: its verdict is made good. */
static void trust_stuck(void)
{
    char command[1024];
    assert_int_equal(run_stuck("-m MODEL --device vulkan:0 -W 32 -H 32 -q -o a.png cat", "never"),
                     5);
    EXPECT_CONTAINS(program_errors, "Stuck (stub) failed the self-check: ");
    snprintf(command, sizeof command,
             "sed -i 's/^state failed/state passed/' %s/cache/gen/vulkan/*", program_path("."));
    assert_int_equal(system(command), 0);
}

static void work_that_never_ends(void **state)
{
    (void)state;
    trust_stuck();
    assert_int_equal(
        run_stuck("-m MODEL --device vulkan:0 -W 32 -H 32 --steps 1 -q -o h.png cat", "."), 5);
    EXPECT_CONTAINS(program_errors, "gen: Stuck does not answer since 10 seconds\n");
    assert_string_equal(program_files(""), "cache ");

    assert_int_equal(run_stuck("-m MODEL --device vulkan:0 -W 32 -H 32 --steps 1 --seed 1..2 -q "
                               "-o h-{seed}.png cat",
                               "h-1.png"),
                     6);
    EXPECT_CONTAINS(program_errors, "Stuck does not answer since 10 seconds\n");
    assert_string_equal(program_files(""), "cache h-1.png ");
}

static void a_batch_outlives_one_loss(void **state)
{
    char lose[512];
    (void)state;
    snprintf(lose, sizeof lose, "GEN_STUB_LOSE=%s", program_path("c-1.png"));
    assert_int_equal(run_program("-m MODEL --device vulkan:llvmpipe -W 32 -H 32 --steps 3 "
                                 "--seed 1..3 -o c-{seed}.png cat",
                                 lose),
                     6);
    EXPECT_CONTAINS(program_errors, "gen: opening the device again for the other pictures\n");
    EXPECT_CONTAINS(program_errors, "gen: 1 of 3 pictures failed\n");
    assert_string_equal(program_out, "c-1.png\nc-3.png\n");
    assert_string_equal(program_files(""), "c-1.png c-1.png.lost c-3.png cache ");
}

/* Where weights are streamed the plan goes with the last step; what a step takes is told still. */
static void bench_tells_of_streamed_steps(void **state)
{
    static const char line[] = "bench model -m dit -W 64 -H 64 --steps 2 --device vulkan:llvmpipe";
    char least[64], whole[512];
    (void)state;
    make_dit();
    assert_int_equal(run_program(line, ""), 0);
    EXPECT_CONTAINS(program_out, "\nstep: dispatches  ");
    EXPECT_CONTAINS(program_out, "\nstart to first step      cold: shaders compiled  ");
    EXPECT_CONTAINS(program_out, "\nstart to first step      warm: shaders kept  ");
    assert_null(strstr(program_out, "step: stages"));

    assert_int_equal(run_program("-m dit --class 3 -W 64 -H 64 --device vulkan:llvmpipe --dry-run "
                                 "--mem-limit 1M",
                                 ""),
                     5);
    const char *hint = strstr(program_errors, "--mem-limit ");
    assert_non_null(hint);
    snprintf(least, sizeof least, "%.*s", (int)strcspn(hint, "\n"), hint);
    snprintf(whole, sizeof whole, "%s %s", line, least);
    assert_int_equal(run_program(whole, ""), 0);
    EXPECT_CONTAINS(program_out, "\nstep: dispatches  ");
    EXPECT_CONTAINS(program_out, "\nstep: stages  ");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_fails, start, program_tear_down),
        cmocka_unit_test_setup_teardown(no_memory_is_taken_after_the_first_step, start,
                                        program_tear_down),
        cmocka_unit_test_setup_teardown(the_decoder_is_cut_before_the_first_step, start,
                                        program_tear_down),
        cmocka_unit_test_setup_teardown(auto_outlives_its_device, start, program_tear_down),
        cmocka_unit_test_setup_teardown(losses_are_remembered, start, program_tear_down),
        cmocka_unit_test_setup_teardown(refused_memory_goes_to_the_cpu, start, program_tear_down),
        cmocka_unit_test_setup_teardown(a_named_device_that_is_lost_is_an_error, start,
                                        program_tear_down),
        cmocka_unit_test_setup_teardown(numbers_that_are_not_finite_are_the_cpus_to_try, start,
                                        program_tear_down),
        cmocka_unit_test_setup_teardown(first_f32_then_the_cpu, start, program_tear_down),
        cmocka_unit_test_setup_teardown(overflows_are_found, start, program_tear_down),
        cmocka_unit_test_setup_teardown(clips_go_on, start, program_tear_down),
        cmocka_unit_test_setup_teardown(auto_goes_where_the_kernels_are, start, program_tear_down),
        cmocka_unit_test_setup_teardown(fewer_weights_come_before_the_cpu, start,
                                        program_tear_down),
        cmocka_unit_test_setup_teardown(bench_tells_of_streamed_steps, start, program_tear_down),
        cmocka_unit_test_setup_teardown(one_line_and_no_file, start, program_tear_down),
        cmocka_unit_test_setup_teardown(work_that_never_ends, start, program_tear_down),
        cmocka_unit_test_setup_teardown(a_batch_outlives_one_loss, start, program_tear_down),
    };
    gen_vulkan_device *devices;
    int count;
    if (argc < 5 || program_init(argv[3], argv[4]))
        return 2;
    stub = argv[1];
    real = argv[2];
    model_path = argv[4];
    const char *kept = getenv("MESA_SHADER_CACHE_DIR"), *home = getenv("HOME");
    snprintf(driver_cache, sizeof driver_cache, "%s%s",
             kept   ? kept
             : home ? home
                    : "/tmp",
             kept ? "" : "/.cache");
    if (setenv("MESA_SHADER_CACHE_DIR", driver_cache, 1) != 0)
        return 2;
    if (setenv("GEN_STUB_REAL", real, 1) != 0 || setenv("GEN_VULKAN_LOADER", stub, 1) != 0)
        return 2;
    void *library = dlopen(stub, RTLD_NOW);
    if (!library) {
        fprintf(stderr, "no stub: %s\n", dlerror());
        return 2;
    }
    stub_set = (stub_set_fn *)(uintptr_t)dlsym(library, "stub_set");
    stub_failed = (stub_count_fn *)(uintptr_t)dlsym(library, "stub_failed");
    if (gen_vulkan_list(&devices, &count, NULL, &err)) {
        fprintf(stderr, "skipped: %s\n", err.message);
        return 77;
    }
    gen_free(devices);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
