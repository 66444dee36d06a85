/* Pictures in and out: every format and kind of file, orientation, damage, lack of memory. */
#include "tests/test.h"

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

#include "gen/core/alloc.h"
#include "gen/io/io.h"

static char folder[64];
static gen_error err;

static const char *in_folder(const char *name)
{
    static char path[2][256];
    static int turn;
    turn ^= 1;
    snprintf(path[turn], sizeof path[0], "%s/%s", folder, name);
    return path[turn];
}

static const char *sample(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/fuzz/corpus/%s", GEN_TEST_SOURCE_DIR, name);
    return path;
}

static int num_files(void)
{
    int count = 0;
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));)
        count += e->d_name[0] != '.' || strlen(e->d_name) > 2;
    closedir(dir);
    return count;
}

static int set_up(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/gen-test-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

/* A picture whose rows are longer than its pixels, every sample different from its neighbours. */
static gen_image *striped(int width, int height, int channels)
{
    gen_image *image = NULL;
    EXPECT_OK(gen_image_new(&image, width, height, channels, &err));
    image->stride += 5;
    gen_free(image->data);
    image->data = gen_malloc(image->stride * (size_t)height);
    for (size_t i = 0; i < image->stride * (size_t)height; i++)
        image->data[i] = (unsigned char)(i * 37 + i / 7);
    return image;
}

static void expect_pixels(const gen_image *image, int channels, const unsigned char *expected,
                          int tolerance, const char *what)
{
    assert_int_equal(image->channels, channels);
    for (int y = 0; y < image->height; y++)
        for (int x = 0; x < image->width * channels; x++) {
            const int found = image->data[(size_t)y * image->stride + (size_t)x];
            const int wanted = expected[y * image->width * channels + x];
            if (abs(found - wanted) > tolerance)
                fail_msg("%s: sample %d of row %d is %d, expected %d", what, x, y, found, wanted);
        }
}

static void lossless_round_trip(void **state)
{
    (void)state;
    static const char *const names[] = {"a.png", "a.ppm", "b.PNG", "a.pam"};
    for (size_t n = 0; n < 4; n++)
        for (int channels = 1; channels <= 4; channels++) {
            gen_image *image = striped(7, 5, channels), *back = NULL;
            EXPECT_OK(gen_image_save(image, in_folder(names[n]), NULL, &err));
            EXPECT_OK(gen_image_load(&back, in_folder(names[n]), &err));
            assert_int_equal(back->width, 7);
            assert_int_equal(back->height, 5);
            assert_int_equal(back->channels, channels);
            for (int y = 0; y < 5; y++)
                assert_memory_equal(back->data + (size_t)y * back->stride,
                                    image->data + (size_t)y * image->stride, 7 * channels);
            gen_image_free(image);
            gen_image_free(back);
        }
}

/* The corpus pictures show the same 5x3 pixels, so each kind of file has a known answer. */
static const unsigned char CORPUS_RGB[] = {
    255, 0,   0,  0,  255, 0,   0,   0,  255, 255, 255, 255, 0,   0,   0,
    10,  20,  30, 40, 50,  60,  70,  80, 90,  100, 110, 120, 130, 140, 150,
    200, 100, 50, 50, 200, 100, 100, 50, 200, 250, 240, 230, 1,   2,   3};

static void reads_every_kind(void **state)
{
    (void)state;
    static const char *const rgb[] = {"png/rgb8.png",    "png/interlaced.png", "png/rgb16.png",
                                      "png/palette.png", "png/ztxt.png",       "pnm/p3.ppm",
                                      "pnm/p6.ppm",      "pnm/p6_16.ppm"};
    gen_image *image = NULL;
    for (size_t i = 0; i < sizeof rgb / sizeof rgb[0]; i++) {
        EXPECT_OK(gen_image_load(&image, sample(rgb[i]), &err));
        expect_pixels(image, 3, CORPUS_RGB, 0, rgb[i]);
        gen_image_free(image);
    }
    EXPECT_OK(gen_image_load(&image, sample("png/rgba8.png"), &err));
    assert_int_equal(image->channels, 4);
    assert_int_equal(image->data[0], 255);
    EXPECT_BETWEEN(image->data[3], 126, 129);
    gen_image_free(image);

    EXPECT_OK(gen_image_load(&image, sample("png/palette_trns.png"), &err));
    assert_int_equal(image->channels, 4);
    assert_int_equal(image->data[3], 0);
    assert_int_equal(image->data[7], 128);
    assert_int_equal(image->data[11], 255);
    gen_image_free(image);

    /* Texts of every kind of chunk, before and behind the pixels. */
    gen_picture_info *info = NULL;
    EXPECT_OK(gen_picture_info_read(&info, sample("png/palette_trns.png"), &err));
    assert_string_equal(gen_picture_info_text(info, "Title"), "two clear colours");
    assert_string_equal(gen_picture_info_text(info, "note"), "packed");
    assert_string_equal(gen_picture_info_text(info, "parameters"), "caf\xc3\xa9 \xe6\x97\xa5");
    assert_int_equal(info->channels, 4);
    gen_picture_info_free(info);
}

static void reads_gray(void **state)
{
    (void)state;
    gen_image *gray = NULL, *deep = NULL;
    EXPECT_OK(gen_image_load(&gray, sample("png/gray8.png"), &err));
    EXPECT_OK(gen_image_load(&deep, sample("png/gray16.png"), &err));
    assert_int_equal(gray->channels, 1);
    assert_int_equal(gray->data[3], 255);
    assert_int_equal(gray->data[4], 0);
    expect_pixels(deep, 1, gray->data, 1, "gray16.png");
    gen_image_free(gray);
    gen_image_free(deep);

    static const char *const bits[] = {"png/gray1.png", "pnm/p1.pbm", "pnm/p4.pbm"};
    static const unsigned char black_and_white[] = {0, 255, 0, 255, 0, 0,   0, 0,
                                                    0, 255, 0, 255, 0, 255, 0};
    for (size_t i = 0; i < 3; i++) {
        EXPECT_OK(gen_image_load(&gray, sample(bits[i]), &err));
        expect_pixels(gray, 1, black_and_white, 0, bits[i]);
        gen_image_free(gray);
    }
}

static void reads_jpeg_kinds(void **state)
{
    (void)state;
    gen_image *image = NULL;
    EXPECT_OK(gen_image_load(&image, sample("jpeg/cmyk.jpg"), &err));
    assert_int_equal(image->channels, 3);
    EXPECT_BETWEEN(image->data[0], 196, 204);
    EXPECT_BETWEEN(image->data[1], 96, 104);
    EXPECT_BETWEEN(image->data[2], 46, 54);
    gen_image_free(image);

    static const char *const colored[] = {"jpeg/rgb.jpg", "jpeg/progressive.jpg"};
    for (size_t i = 0; i < 2; i++) { /* red above, blue below */
        EXPECT_OK(gen_image_load(&image, sample(colored[i]), &err));
        const unsigned char *last = image->data + 15 * image->stride;
        EXPECT_BETWEEN(image->data[0], 225, 255);
        EXPECT_BETWEEN(image->data[2], 0, 30);
        EXPECT_BETWEEN(last[0], 0, 30);
        EXPECT_BETWEEN(last[2], 225, 255);
        gen_image_free(image);
    }
    EXPECT_OK(gen_image_load(&image, sample("jpeg/gray.jpg"), &err));
    assert_int_equal(image->channels, 1);
    gen_image_free(image);

    gen_picture_info *info = NULL;
    EXPECT_OK(gen_picture_info_read(&info, sample("jpeg/comment_420.jpg"), &err));
    assert_string_equal(info->format, "JPEG");
    assert_string_equal(gen_picture_info_text(info, "comment"), "hi");
    assert_null(gen_picture_info_text(info, "gen"));
    gen_picture_info_free(info);
}

static void jpeg_keeps_the_picture(void **state)
{
    (void)state;
    gen_image *image = NULL, *back = NULL;
    EXPECT_OK(gen_image_new(&image, 40, 24, 3, &err));
    for (int y = 0; y < 24; y++)
        for (int x = 0; x < 40; x++) {
            unsigned char *p = image->data + (size_t)y * image->stride + 3 * (size_t)x;
            p[0] = (unsigned char)(6 * x);
            p[1] = (unsigned char)(10 * y);
            p[2] = (unsigned char)(255 - 6 * x);
        }
    const gen_image_save_params params = GEN_IMAGE_SAVE_PARAMS(.quality = 97);
    EXPECT_OK(gen_image_save(image, in_folder("smooth.jpeg"), &params, &err));
    EXPECT_OK(gen_image_load(&back, in_folder("smooth.jpeg"), &err));
    expect_pixels(back, 3, image->data, 6, "smooth.jpeg");
    gen_image_free(back);
    gen_image_free(image);

    /* Clear pixels turn white, solid ones stay. */
    EXPECT_OK(gen_image_new(&image, 32, 8, 4, &err));
    for (int i = 0; i < 32 * 8; i++)
        image->data[4 * i + 3] = i % 32 < 16 ? 0 : 255;
    EXPECT_OK(gen_image_save(image, in_folder("alpha.jpg"), NULL, &err));
    EXPECT_OK(gen_image_load(&back, in_folder("alpha.jpg"), &err));
    assert_int_equal(back->channels, 3);
    EXPECT_BETWEEN(back->data[0], 250, 255);
    EXPECT_BETWEEN(back->data[3 * 31], 0, 5);
    gen_image_free(back);
    gen_image_free(image);
}

/* ---- orientation ------------------------------------------------------------------------------
 */

/* Puts an EXIF block with an orientation behind the first two bytes of a JPEG. */
static void write_oriented(const char *from, const char *to, int orientation, bool is_big_endian)
{
    unsigned char block[] = {0xff, 0xe1, 0, 34, 'E', 'x', 'i', 'f', 0, 0,    'M', 'M',
                             0,    42,   0, 0,  0,   8,   0,   1,   1, 0x12, 0,   3,
                             0,    0,    0, 1,  0,   0,   0,   0,   0, 0,    0,   0};
    if (is_big_endian) {
        block[29] = (unsigned char)orientation;
    } else {
        static const unsigned char little[] = {'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12,
                                               1,   3,   0,  1, 0, 0, 0, 0, 0, 0, 0};
        memcpy(block + 10, little, sizeof little);
        block[28] = (unsigned char)orientation;
    }
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    assert_true(in && out);
    for (int i = 0, c; (c = fgetc(in)) != EOF; i++) {
        fputc(c, out);
        if (i == 1)
            fwrite(block, 1, sizeof block, out);
    }
    fclose(in);
    fclose(out);
}

/* EXIF 2.32, tag 0x0112: where a mark in the stored picture's top left corner is seen. */
static void applies_orientation(void **state)
{
    (void)state;
    gen_image *image = NULL;
    EXPECT_OK(gen_image_new(&image, 16, 8, 1, &err));
    for (int y = 0; y < 8; y++)
        memset(image->data + (size_t)y * image->stride, 200, 8); /* the left half is light */
    memset(image->data, 255, 8);                                 /* its top row lightest */
    const gen_image_save_params params = GEN_IMAGE_SAVE_PARAMS(.quality = 100);
    EXPECT_OK(gen_image_save(image, in_folder("stored.jpg"), &params, &err));
    gen_image_free(image);

    /* light half and lightest edge, as seen: L left, R right, T top, B bottom */
    static const char *const seen[] = {"LT", "RT", "RB", "LB", "TL", "TR", "BR", "BL"};
    for (int orientation = 1; orientation <= 8; orientation++) {
        write_oriented(in_folder("stored.jpg"), in_folder("turned.jpg"), orientation,
                       orientation % 2 == 0);
        EXPECT_OK(gen_image_load(&image, in_folder("turned.jpg"), &err));
        const int w = image->width, h = image->height;
        assert_int_equal(w, orientation < 5 ? 16 : 8);
        assert_int_equal(h, orientation < 5 ? 8 : 16);
        const char half = seen[orientation - 1][0], edge = seen[orientation - 1][1];
        const int x = half == 'L' ? 2 : half == 'R' ? w - 3 : edge == 'L' ? 0 : w - 1;
        const int y = half == 'T' ? 2 : half == 'B' ? h - 3 : edge == 'T' ? 0 : h - 1;
        const int light = image->data[(size_t)y * image->stride + (size_t)x];
        const int across = image->data[(size_t)(h - 1 - y) * image->stride + (size_t)(w - 1 - x)];
        const int ox = half == 'L' || half == 'R' ? x : w - 1 - x;
        const int oy = half == 'L' || half == 'R' ? h - 1 - y : y;
        const int inner = image->data[(size_t)oy * image->stride + (size_t)ox];
        if (light < 235 || across > 30 || inner > 230 || inner < 170)
            fail_msg("orientation %d: %d %d %d", orientation, light, across, inner);
        gen_image_free(image);
        gen_picture_info *info = NULL;
        EXPECT_OK(gen_picture_info_read(&info, in_folder("turned.jpg"), &err));
        assert_int_equal(info->orientation, orientation);
        assert_int_equal(info->width, w);
        gen_picture_info_free(info);
    }
}

/* ---- damage -----------------------------------------------------------------------------------
 */

static size_t read_bytes(const char *path, unsigned char *data, size_t room)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    const size_t size = fread(data, 1, room, f);
    fclose(f);
    return size;
}

static gen_status load_bytes(const unsigned char *data, size_t size)
{
    const gen_bytes bytes = {.path = "damaged", .data = data, .size = size};
    gen_image *image = NULL;
    const gen_status status = gen_picture_decode(&(gen_decoded){.image = &image}, &bytes, &err);
    gen_image_free(image);
    return status;
}

/* A picture cut anywhere before its last row is an error that names the file. */
static void truncated_files(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t tail; /* bytes behind the last sample */
    } files[] = {{"png/rgb8.png", 70},         {"png/palette.png", 70}, {"jpeg/rgb.jpg", 12},
                 {"jpeg/progressive.jpg", 12}, {"pnm/p6.ppm", 0},       {"pnm/p4.pbm", 0},
                 {"pnm/rgba.pam", 0}};
    unsigned char data[2048];
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        const size_t size = read_bytes(sample(files[i].name), data, sizeof data);
        assert_int_equal(load_bytes(data, size), GEN_OK);
        for (size_t n = 0; n + files[i].tail < size; n++) {
            const gen_status status = load_bytes(data, n);
            if (status != GEN_ERROR_INPUT)
                fail_msg("%s cut at %zu of %zu: status %d", files[i].name, n, size, status);
            EXPECT_CONTAINS(err.message, "damaged: ");
        }
    }
}

static void refuses_what_is_no_picture(void **state)
{
    (void)state;
    gen_image *image = NULL;
    EXPECT_STATUS(GEN_ERROR_INPUT, gen_image_load(&image, in_folder("missing.png"), &err));
    EXPECT_CONTAINS(err.message, "missing.png: No such file");
    EXPECT_STATUS(GEN_ERROR_INPUT, gen_image_load(&image, folder, &err));
    EXPECT_CONTAINS(err.message, "a folder, expected a picture");
    EXPECT_STATUS(GEN_ERROR_INPUT, load_bytes((const unsigned char *)"", 0));
    EXPECT_CONTAINS(err.message, "empty");
    EXPECT_STATUS(GEN_ERROR_INPUT, load_bytes((const unsigned char *)"GIF89a....", 10));
    EXPECT_CONTAINS(err.message, "a GIF picture");
    static const char *const huge[] = {
        "P6 70000 10 255\n", "P6 60000 60000 255\n", "P6 99999999999999 1 255\n",
        "P5 -3 4 255\n",     "P6 4 4 70000\n",       "P6 0 4 255\n"};
    for (size_t i = 0; i < sizeof huge / sizeof huge[0]; i++)
        EXPECT_STATUS(GEN_ERROR_INPUT, load_bytes((const unsigned char *)huge[i], strlen(huge[i])));
    assert_null(image);

    /* A header that promises more than the file can hold asks for no memory. */
    unsigned char data[512];
    size_t size = read_bytes(sample("jpeg/gray.jpg"), data, sizeof data);
    for (size_t i = 0; i + 9 < size; i++)
        if (data[i] == 0xff && data[i + 1] == 0xc0) /* SOF0: height and width follow */
            memcpy(data + i + 5, (unsigned char[]){0x40, 0, 0x40, 0}, 4);
    gen_alloc_fail_at(0);
    EXPECT_STATUS(GEN_ERROR_INPUT, load_bytes(data, size));
    EXPECT_CONTAINS(err.message, "16384x16384 pixels in 178 bytes of file");
}

static void argument_checks(void **state)
{
    (void)state;
    gen_image *image = NULL;
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_image_new(&image, 0, 4, 3, &err));
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_image_new(&image, 4, 4, 5, &err));
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_image_new(&image, 65536, 65536, 1, &err));
    image = striped(2, 2, 3);
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_image_save(image, in_folder("a.webp"), NULL, &err));
    EXPECT_CONTAINS(err.message, "\".webp\" is no picture format");
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_image_save(image, in_folder("noending"), NULL, &err));
    const gen_image_save_params format = GEN_IMAGE_SAVE_PARAMS(.format = "gif");
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_image_save(image, in_folder("a.png"), &format, &err));
    const gen_image_save_params quality = GEN_IMAGE_SAVE_PARAMS(.quality = 101);
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_image_save(image, in_folder("a.jpg"), &quality, &err));
    image->channels = 5;
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_image_save(image, in_folder("a.png"), NULL, &err));
    image->channels = 3;
    assert_int_equal(num_files(), 0);
    gen_image_free(image);
}

/* Each allocation fails once: a status, nothing leaked, no file left. */
static void no_memory(void **state)
{
    (void)state;
    static const char *const names[] = {"m.png", "m.jpg", "m.ppm"};
    static const gen_text texts[] = {{"parameters", "sunset \xe2\x98\x80, caf\xc3\xa9"},
                                     {"gen", "{\"schema\":1}"},
                                     {"note", "plain"}};
    const gen_image_save_params params = GEN_IMAGE_SAVE_PARAMS(.texts = texts, .num_texts = 3);
    for (size_t i = 0; i < 3; i++) {
        gen_image *image = striped(5, 4, 4), *back = NULL;
        gen_picture_info *info = NULL;
        gen_status status = GEN_ERROR_MEMORY;
        for (long n = 1; status; n++) {
            assert_true(n < 1000);
            gen_alloc_fail_at(n);
            status = gen_image_save(image, in_folder(names[i]), &params, &err);
            assert_true(status == GEN_OK || status == GEN_ERROR_MEMORY);
            assert_int_equal(num_files(), (int)i + (status == GEN_OK));
        }
        status = GEN_ERROR_MEMORY;
        for (long n = 1; status; n++) {
            assert_true(n < 1000);
            gen_alloc_fail_at(n);
            status = gen_image_load(&back, in_folder(names[i]), &err);
            assert_true(status == GEN_OK || status == GEN_ERROR_MEMORY);
        }
        status = GEN_ERROR_MEMORY;
        for (long n = 1; status; n++) {
            assert_true(n < 1000);
            gen_alloc_fail_at(n);
            status = gen_picture_info_read(&info, in_folder(names[i]), &err);
            assert_true(status == GEN_OK || status == GEN_ERROR_MEMORY);
        }
        gen_alloc_fail_at(0);
        gen_picture_info_free(info);
        gen_image_free(back);
        gen_image_free(image);
    }
}

static void keeps_color_profile(void **state)
{
    (void)state;
    static const char *const names[] = {"p.png", "p.jpg"};
    for (size_t i = 0; i < 2; i++) {
        gen_image *image = striped(4, 4, 3), *back = NULL;
        /* header, table of one tag, its text: ICC.1 7.2, 7.3, 10.24; libpng reads no chunk whose
         * packed profile is shorter than about a hundred bytes, so the text is long and uneven */
        image->icc_size = 512;
        image->icc = gen_calloc(1, image->icc_size);
        image->icc[2] = 2;
        memcpy(image->icc + 128, "\0\0\0\1cprt\0\0\0\x90\0\0\1\x70text", 20);
        for (unsigned k = 152; k < 511; k++)
            image->icc[k] = (unsigned char)('a' + k * k / 7 % 23);
        memcpy(image->icc + 12, "mntrRGB XYZ ", 12);
        memcpy(image->icc + 36, "acsp", 4);
        /* the D50 illuminant */
        memcpy(image->icc + 68, "\0\0\xf6\xd6\0\1\0\0\0\0\xd3\x2d", 12);
        EXPECT_OK(gen_image_save(image, in_folder(names[i]), NULL, &err));
        EXPECT_OK(gen_image_load(&back, in_folder(names[i]), &err));
        assert_int_equal(back->icc_size, 512);
        assert_memory_equal(back->icc, image->icc, 512);
        gen_image_free(back);
        gen_image_free(image);
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(lossless_round_trip), CASE(reads_every_kind),           CASE(reads_gray),
        CASE(reads_jpeg_kinds),    CASE(jpeg_keeps_the_picture),     CASE(applies_orientation),
        CASE(truncated_files),     CASE(refuses_what_is_no_picture), CASE(argument_checks),
        CASE(no_memory),           CASE(keeps_color_profile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
