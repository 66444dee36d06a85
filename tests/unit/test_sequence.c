/* Clips: numbered pictures, and animated PNGs that are read back chunk by chunk. */
#include "tests/test.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <zlib.h>

#include "gen/core/alloc.h"
#include "gen/gen.h"
#include "tests/temp_dir.h"

enum { W = 9, H = 5, FRAMES = 3 };

static temp_dir dir;
static gen_error err;

static int set_up(void **state)
{
    (void)state;
    return temp_dir_make(&dir);
}

static int tear_down(void **state)
{
    (void)state;
    temp_dir_remove(&dir);
    return 0;
}

static gen_image *frame(int index)
{
    gen_image *image = NULL;
    EXPECT_OK(gen_image_new(&image, W, H, 3, &err));
    for (int y = 0; y < H; y++)
        for (int x = 0; x < 3 * W; x++)
            image->data[(size_t)y * image->stride + (size_t)x] =
                (unsigned char)(50 * index + 7 * y + x);
    return image;
}

static gen_status write_clip(const char *path, gen_sequence_params params, int num_frames)
{
    gen_sequence *s = NULL;
    gen_status status = gen_sequence_open(&s, path, &params, &err);
    for (int i = 0; i < num_frames && !status; i++) {
        gen_image *image = frame(i);
        status = gen_sequence_add(s, image, &err);
        gen_image_free(image);
    }
    if (!status)
        status = gen_sequence_finish(s, &err);
    gen_sequence_free(s);
    return status;
}

static void expect_frame(const gen_image *image, int index)
{
    gen_image *expected = frame(index);
    assert_int_equal(image->width, W);
    assert_int_equal(image->height, H);
    for (int y = 0; y < H; y++)
        assert_memory_equal(image->data + (size_t)y * image->stride,
                            expected->data + (size_t)y * expected->stride, 3 * W);
    gen_image_free(expected);
}

static void frames_have_numbers(void **state)
{
    (void)state;
    char path[512], saved[512];
    snprintf(path, sizeof path, "%s/clip/a-{frame:03}.png", dir.path);
    const gen_text text = {"parameters", "a clip"};
    EXPECT_OK(write_clip(path,
                         GEN_SEQUENCE_PARAMS(.num_frames = FRAMES, .texts = &text, .num_texts = 1,
                                             .saved_path = saved, .saved_path_size = sizeof saved),
                         FRAMES));
    for (int i = 0; i < FRAMES; i++) {
        gen_image *image = NULL;
        snprintf(path, sizeof path, "%s/clip/a-%03d.png", dir.path, i + 1);
        EXPECT_OK(gen_image_load(&image, path, &err));
        expect_frame(image, i);
        gen_image_free(image);
        if (i == 0)
            assert_string_equal(saved, path);
    }
}

static uint32_t get32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put32(unsigned char *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (unsigned char)(v >> (24 - 8 * i));
}

/* Frame `index` of an animated PNG as a PNG file of its own: its data chunks between the first
 * file's header and end.  Checks numbers and check sums on the way. */
static void extract(const char *in, const char *out, int index)
{
    static unsigned char data[1 << 16];
    FILE *f = fopen(in, "rb"), *g = fopen(out, "wb");
    assert_non_null(f);
    assert_non_null(g);
    const size_t size = fread(data, 1, sizeof data, f);
    fclose(f);
    fwrite(data, 1, 8, g);
    int at_frame = -1;
    uint32_t number = 0;
    for (size_t at = 8; at + 12 <= size;) {
        const size_t n = get32(data + at);
        unsigned char *chunk = data + at + 4;
        const char *type = (const char *)chunk;
        assert_int_equal(get32(chunk + 4 + n), crc32(0, chunk, (uInt)n + 4));
        at += n + 12;
        if (strncmp(type, "acTL", 4) == 0) {
            assert_int_equal(get32(chunk + 4), FRAMES);
            assert_int_equal(get32(chunk + 8), 0);
        } else if (strncmp(type, "fcTL", 4) == 0) {
            assert_int_equal(get32(chunk + 4), number++);
            assert_int_equal(get32(chunk + 8), W);
            assert_int_equal(get32(chunk + 12), H);
            assert_int_equal(chunk[25], 1); /* 1/24 second */
            assert_int_equal(chunk[27], 24);
            at_frame++;
        } else if (strncmp(type, "fdAT", 4) == 0) {
            assert_true(at_frame > 0);
            assert_int_equal(get32(chunk + 4), number++);
            if (at_frame != index)
                continue;
            unsigned char head[8], sum[4];
            put32(head, (uint32_t)n - 4);
            memcpy(head + 4, "IDAT", 4);
            put32(sum, (uint32_t)crc32(crc32(0, head + 4, 4), chunk + 8, (uInt)n - 4));
            fwrite(head, 1, 8, g);
            fwrite(chunk + 8, 1, n - 4, g);
            fwrite(sum, 1, 4, g);
        } else if (strncmp(type, "IDAT", 4) != 0 || index == 0) {
            fwrite(chunk - 4, 1, n + 12, g);
        }
    }
    assert_int_equal(at_frame, FRAMES - 1);
    fclose(g);
}

static void animated_png(void **state)
{
    (void)state;
    char path[512], one[512], saved[512];
    snprintf(path, sizeof path, "%s/clip.apng", dir.path);
    snprintf(one, sizeof one, "%s/one.png", dir.path);
    EXPECT_OK(write_clip(path,
                         GEN_SEQUENCE_PARAMS(.num_frames = FRAMES, .frames_per_second = 24,
                                             .saved_path = saved, .saved_path_size = sizeof saved),
                         FRAMES));
    assert_string_equal(saved, path);
    for (int i = 0; i < FRAMES; i++) {
        gen_image *image = NULL;
        extract(path, one, i);
        EXPECT_OK(gen_image_load(&image, one, &err));
        expect_frame(image, i);
        gen_image_free(image);
    }
    gen_image *first = NULL; /* programs that know no animation show the first frame */
    EXPECT_OK(gen_image_load(&first, path, &err));
    expect_frame(first, 0);
    gen_image_free(first);
}

static void bad_clips(void **state)
{
    (void)state;
    char path[512];
    struct stat st;
    snprintf(path, sizeof path, "%s/clip.jpg", dir.path);
    assert_int_equal(write_clip(path, GEN_SEQUENCE_PARAMS(.num_frames = 2), 2), GEN_ERROR_ARGUMENT);
    EXPECT_CONTAINS(err.message, "clip.jpg: not a name for a clip");
    EXPECT_CONTAINS(err.hint, "name.apng");
    snprintf(path, sizeof path, "%s/short.apng", dir.path);
    assert_int_equal(write_clip(path, GEN_SEQUENCE_PARAMS(.num_frames = 3), 2), GEN_ERROR_ARGUMENT);
    EXPECT_CONTAINS(err.message, "2 frames of 3");
    assert_int_equal(stat(path, &st), -1); /* nothing half-written */
    assert_int_equal(
        write_clip(path, GEN_SEQUENCE_PARAMS(.num_frames = 3, .frames_per_second = 2000), 3),
        GEN_ERROR_ARGUMENT);
    EXPECT_CONTAINS(err.message, "fps: 2000 is out of range");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(frames_have_numbers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(animated_png, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_clips, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
