/* Resizing against recorded bytes of Pillow, and what holds for every filter. */
#include "tests/test.h"

#include "gen/core/safetensors.h"
#include "gen/core/weights.h"
#include "gen/gen.h"

static gen_error err;

static gen_image *image_of(const gen_weight *w)
{
    gen_image *image = NULL;
    EXPECT_OK(gen_image_new(&image, (int)w->dims[1], (int)w->dims[0], 3, &err));
    for (int y = 0; y < image->height; y++)
        memcpy(image->data + (size_t)y * image->stride,
               (const unsigned char *)w->data + (size_t)y * (size_t)image->width * 3,
               (size_t)image->width * 3);
    return image;
}

static void bytes_of_pillow(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        gen_filter filter;
    } cases[] = {{"pil_resize/bilinear_21x80", GEN_FILTER_BILINEAR},
                 {"pil_resize/bicubic_21x80", GEN_FILTER_BICUBIC},
                 {"pil_resize/lanczos_21x80", GEN_FILTER_LANCZOS},
                 {"pil_resize/nearest_21x80", GEN_FILTER_NEAREST}};
    gen_weights *file = NULL;
    EXPECT_OK(gen_weights_new(&file, &err));
    EXPECT_OK(gen_safetensors_open(file, GEN_TEST_SOURCE_DIR "/golden/fixtures/misc.io.safetensors",
                                   &err));
    gen_image *in = image_of(gen_weights_find(file, "image_processor/in_u8_hwc"));
    for (int i = 0; i < 4; i++) {
        gen_image *out = NULL;
        EXPECT_OK(gen_image_resize(&out, in, 80, 21, cases[i].filter, &err));
        const unsigned char *expected = gen_weights_find(file, cases[i].name)->data;
        for (int y = 0; y < 21; y++)
            for (int k = 0; k < 240; k++)
                if (out->data[(size_t)y * out->stride + (size_t)k] != expected[y * 240 + k])
                    fail_msg("%s: row %d, byte %d: %d, expected %d", cases[i].name, y, k,
                             out->data[(size_t)y * out->stride + (size_t)k], expected[y * 240 + k]);
        gen_image_free(out);
    }
    gen_image_free(in);
    gen_weights_free(file);
}

/* An even picture stays even, whatever the size; the same size changes nothing. */
static void even_pictures_stay(void **state)
{
    (void)state;
    static const int sizes[][2] = {{1, 1}, {7, 3}, {13, 11}, {64, 90}};
    for (int filter = GEN_FILTER_LANCZOS; filter <= GEN_FILTER_NEAREST; filter++)
        for (int i = 0; i < 4; i++) {
            gen_image *in = NULL, *out = NULL, *same = NULL;
            EXPECT_OK(gen_image_new(&in, 13, 11, 4, &err));
            for (int y = 0; y < 11; y++)
                memset(in->data + (size_t)y * in->stride, 201, 13 * 4);
            EXPECT_OK(
                gen_image_resize(&out, in, sizes[i][0], sizes[i][1], (gen_filter)filter, &err));
            for (int y = 0; y < out->height; y++)
                for (int k = 0; k < out->width * 4; k++)
                    assert_int_equal(out->data[(size_t)y * out->stride + (size_t)k], 201);
            in->data[5] = 3;
            in->data[2 * in->stride + 17] = 90;
            EXPECT_OK(gen_image_resize(&same, in, 13, 11, (gen_filter)filter, &err));
            for (int y = 0; y < 11; y++)
                assert_memory_equal(same->data + (size_t)y * same->stride,
                                    in->data + (size_t)y * in->stride, 13 * 4);
            gen_image_free(in);
            gen_image_free(out);
            gen_image_free(same);
        }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_of_pillow),
        cmocka_unit_test(even_pictures_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
