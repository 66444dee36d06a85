/* test_clip_vae.c - laws of the autoencoders of clips: coding chunk by chunk is coding at once, the
 * memory does not depend on the length, tiles turn into each other. */
#include <stdlib.h>

#include "gen/core/alloc.h"
#include "gen/core/keymap.h"
#include "gen/core/safetensors.h"
#include "gen/cpu/cpu.h"
#include "tests/test.h"
#include "vae/wan_blocks.h"

typedef struct fixture {
    gen_backend *backend;
    gen_weights *file, *weights;
    gen_vae_config cfg;
    gen_clip_vae *vae;
} fixture;

static void open_fixture(fixture *f, const char *name)
{
    char path[512];
    gen_error err = {0};
    gen_json *json = NULL;
    *f = (fixture){0};
    const gen_cpu_options options = {.num_threads = 2};
    EXPECT_OK(gen_cpu_open(&f->backend, &options, &err));
    EXPECT_OK(gen_weights_new(&f->file, &err));
    EXPECT_OK(gen_weights_new(&f->weights, &err));
    snprintf(path, sizeof path,
             GEN_TEST_SOURCE_DIR "/golden/fixtures/%s/diffusion_pytorch_model.safetensors", name);
    EXPECT_OK(gen_safetensors_open(f->file, path, &err));
    EXPECT_OK(gen_keymap_add(f->weights, f->file, GEN_PART_VAE, &err));
    snprintf(path, sizeof path, GEN_TEST_SOURCE_DIR "/golden/fixtures/%s/config.json", name);
    EXPECT_OK(gen_json_open(&json, path, GEN_ERROR_MODEL, &err));
    EXPECT_OK(gen_vae_config_read(&f->cfg, json, &err));
    gen_json_free(json);
    EXPECT_OK(gen_clip_vae_new(&f->vae, &f->cfg, f->weights, f->backend, &err));
}

static void close_fixture(fixture *f)
{
    gen_clip_vae_free(f->vae);
    gen_weights_drop_prepared(f->weights, f->backend);
    gen_weights_free(f->weights);
    gen_weights_free(f->file);
    f->backend->fns->close(f->backend);
}

static float *numbers(size_t n)
{
    float *x = malloc(n * sizeof *x + 1);
    assert_non_null(x);
    uint32_t state = 12345;
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(state >> 8) * 0x1p-23f - 1.0f;
    }
    return x;
}

typedef struct frames {
    float *data;
    size_t frame;
    int64_t next; /* frames come in order */
} frames;

static gen_status read_frame(void *self, int64_t index, float *pixels, gen_error *err)
{
    const frames *f = self;
    (void)err;
    memcpy(pixels, f->data + (size_t)index * f->frame, f->frame * sizeof *pixels);
    return GEN_OK;
}

static gen_status take_frame(void *self, int64_t index, float *pixels, gen_error *err)
{
    frames *f = self;
    (void)err;
    assert_int_equal(index, f->next++);
    memcpy(f->data + (size_t)index * f->frame, pixels, f->frame * sizeof *pixels);
    return GEN_OK;
}

/* The clip as a single chunk in one graph; `out` [n] gets the result, cut to [-1,1] for pixels. */
static void code_at_once(fixture *f, bool is_decoder, const int64_t size[4], const float *in,
                         float *out, size_t n)
{
    gen_error err = {0};
    gen_graph *g = NULL;
    gen_plan *plan = NULL;
    EXPECT_OK(gen_graph_new(&g, &err));
    wan_builder b = {.g = g, .cfg = &f->cfg, .is_first = true};
    gen_tensor *x = gen_input(g, "x", GEN_F32, 4, size);
    x = is_decoder ? vae_wan_decode(&b, gen_scope_root(f->weights), x)
                   : vae_wan_encode(&b, gen_scope_root(f->weights), x);
    gen_output(g, x, "y");
    EXPECT_OK(gen_plan_new(&plan, g, f->backend, 0, &err));
    assert_int_equal(gen_tensor_elements(gen_graph_find(g, "y", 0)), n);
    EXPECT_OK(gen_plan_set(plan, "x", in, &err));
    EXPECT_OK(gen_plan_run(plan, &err));
    EXPECT_OK(gen_plan_get_output(plan, "y", out, &err));
    for (size_t i = 0; is_decoder && i < n; i++)
        out[i] = fminf(fmaxf(out[i], -1.0f), 1.0f);
    gen_plan_free(plan);
}

static void expect_same(const float *a, const float *b, size_t n, const char *what)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(a[i] - b[i]) <= 2e-6f))
            fail_msg("%s: %zu of %zu: %.8g and %.8g", what, i, n, (double)a[i], (double)b[i]);
}

static void check_streaming(const char *name)
{
    enum { f = 4, h = 3, w = 4 };
    fixture fx;
    gen_error err = {0};
    open_fixture(&fx, name);
    const int64_t side = gen_vae_factor(&fx.cfg), F = 1 + (f - 1) * gen_vae_time_factor(&fx.cfg);
    const int64_t H = h * side, W = w * side, C = fx.cfg.latent_channels;
    const size_t num_pixels = (size_t)(F * H * W * 3), num_moments = (size_t)(f * h * w * 2 * C);
    float *pixels = numbers(num_pixels), *z = numbers(num_moments / 2);
    float *streamed = numbers(num_pixels), *whole = numbers(num_pixels);

    frames in = {pixels, (size_t)(H * W * 3), 0};
    const gen_clip_io reader = {&in, read_frame};
    EXPECT_OK(gen_clip_vae_encode(fx.vae, F, H, W, 0, &reader, streamed, &err));
    code_at_once(&fx, false, (const int64_t[]){F, H, W, 3}, pixels, whole, num_moments);
    expect_same(streamed, whole, num_moments, name);

    frames out = {streamed, (size_t)(H * W * 3), 0};
    const gen_clip_io writer = {&out, take_frame};
    EXPECT_OK(gen_clip_vae_decode(fx.vae, z, f, h, w, 0, &writer, &err));
    assert_int_equal(out.next, F);
    code_at_once(&fx, true, (const int64_t[]){f, h, w, C}, z, whole, num_pixels);
    expect_same(streamed, whole, num_pixels, name);

    free(pixels);
    free(z);
    free(streamed);
    free(whole);
    close_fixture(&fx);
}

static void chunks_equal_the_whole(void **state)
{
    (void)state;
    check_streaming("vae_wan");
    check_streaming("vae_wan22");
}

static void memory_does_not_depend_on_length(void **state)
{
    (void)state;
    fixture fx;
    gen_error err = {0};
    open_fixture(&fx, "vae_wan");
    for (int is_decoder = 0; is_decoder < 2; is_decoder++) {
        gen_vae_needs shorter, longer;
        EXPECT_OK(gen_clip_vae_measure(fx.vae, is_decoder, 2, 8, 8, 0, &shorter, &err));
        EXPECT_OK(gen_clip_vae_measure(fx.vae, is_decoder, 21, 8, 8, 0, &longer, &err));
        assert_int_equal(shorter.arena, longer.arena);
        assert_int_equal(shorter.host, longer.host);
        assert_int_equal(shorter.scratch, longer.scratch);
        assert_true(longer.flops > 10 * shorter.flops);
        gen_vae_needs tiled;
        EXPECT_OK(gen_clip_vae_measure(fx.vae, is_decoder, 21, 8, 8, 4, &tiled, &err));
        assert_true(tiled.arena < shorter.arena);
    }
    close_fixture(&fx);
}

static void decode(fixture *fx, const float *z, const int64_t size[3], int64_t tile, float *pixels)
{
    gen_error err = {0};
    const int64_t side = gen_vae_factor(&fx->cfg);
    frames out = {pixels, (size_t)(size[1] * side * size[2] * side * 3), 0};
    const gen_clip_io writer = {&out, take_frame};
    EXPECT_OK(gen_clip_vae_decode(fx->vae, z, size[0], size[1], size[2], tile, &writer, &err));
}

/* Two tiles of 8 latents side by side in 14, overlapping by 2: each is what its latents give alone,
 * and where both are, one turns into the other in even steps. */
static void tiles_are_blended(void **state)
{
    (void)state;
    enum { f = 2, h = 5, w = 14, tile = 8, start = 6, over = 2 };
    fixture fx;
    open_fixture(&fx, "vae_wan");
    const int64_t side = gen_vae_factor(&fx.cfg), F = 1 + (f - 1) * gen_vae_time_factor(&fx.cfg);
    const int64_t C = fx.cfg.latent_channels, W = w * side, narrow = tile * side;
    float *z = numbers((size_t)(f * h * w * C)), *part = numbers((size_t)(f * h * tile * C));
    float *whole = numbers((size_t)(F * h * side * W * 3));
    float *alone[2];
    decode(&fx, z, (const int64_t[]){f, h, w}, tile, whole);
    for (int i = 0; i < 2; i++) {
        for (int64_t row = 0; row < f * h; row++)
            memcpy(part + row * tile * C, z + (row * w + i * start) * C,
                   (size_t)(tile * C) * sizeof *part);
        alone[i] = numbers((size_t)(F * h * side * narrow * 3));
        decode(&fx, part, (const int64_t[]){f, h, tile}, 0, alone[i]);
    }
    for (int64_t i = 0; i < F * h * side * W * 3; i++) {
        const int64_t row = i / (3 * W), x = i / 3 % W, c = i % 3, from = x - start * side;
        const double mix = fmin(fmax(((double)from + 0.5) / (double)(over * side), 0), 1);
        const double left = x < narrow ? (double)alone[0][(row * narrow + x) * 3 + c] : 0;
        const double right = from >= 0 ? (double)alone[1][(row * narrow + from) * 3 + c] : 0;
        const double expected = from < 0 ? left : x >= narrow ? right : left + mix * (right - left);
        if (!(fabs((double)whole[i] - expected) < 2e-6))
            fail_msg("row %d, column %d: %.7g, expected %.7g", (int)row, (int)x, (double)whole[i],
                     expected);
    }
    free(z);
    free(part);
    free(whole);
    free(alone[0]);
    free(alone[1]);
    close_fixture(&fx);
}

static void sizes_off_the_grid_are_refused(void **state)
{
    (void)state;
    fixture fx;
    gen_error err = {0};
    float moments[8];
    const gen_clip_io io = {NULL, read_frame};
    open_fixture(&fx, "vae_wan");
    assert_int_equal(gen_clip_vae_encode(fx.vae, 8, 16, 16, 0, &io, moments, &err),
                     GEN_ERROR_ARGUMENT);
    assert_non_null(strstr(err.message, "5 or 9 fit"));
    assert_int_equal(gen_clip_vae_encode(fx.vae, 9, 16, 20, 0, &io, moments, &err),
                     GEN_ERROR_ARGUMENT);
    assert_non_null(strstr(err.message, "multiples of 8"));
    close_fixture(&fx);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_equal_the_whole),
        cmocka_unit_test(memory_does_not_depend_on_length),
        cmocka_unit_test(tiles_are_blended),
        cmocka_unit_test(sizes_off_the_grid_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
