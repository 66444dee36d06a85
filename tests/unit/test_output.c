/* Output names and files that appear whole or not at all; the texts that travel with a picture. */
#include "tests/test.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gen/core/alloc.h"
#include "gen/io/io.h"

static char folder[64];
static gen_error err;

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

static const char *in_folder(const char *name)
{
    static char path[2][512];
    static int turn;
    turn ^= 1;
    snprintf(path[turn], sizeof path[0], "%s/%s", folder, name);
    return path[turn];
}

static int num_files(const char *path)
{
    int count = 0;
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));)
        count += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(dir);
    return count;
}

/* ---- names ------------------------------------------------------------------------------------
 */

static void templates(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *expected;
    } cases[] = {
        {"plain.png", "plain.png"},
        {"{stem}{ext}", "photo.v2.png"},
        {"{stem}.{ext}", "photo.v2.png"},
        {"out/{dir}/{stem}.png", "out/in/holiday/photo.v2.png"},
        {"{i:04}.png", "0007.png"},
        {"%04d.png", "0007.png"},
        {"%d_%3d", "7_  7"},
        {"100%.png", "100%.png"},
        {"{i}-{seed}", "7-18446744073709551615"},
        {"{prompt:12}.png", "a-red-house.png"},
        {"{prompt}.png", "a-red-house-by-the-sea-caf\xc3\xa9-24.png"},
        {"{model}_{w}x{h}", "sd-v1-5_512x768"},
        {"{date}", "1970-01-02"},
        {"{{{i}}}", "{7}"},
    };
    const gen_output_fields fields =
        GEN_OUTPUT_FIELDS(.input = "../in/./holiday/photo.v2.jpg",
                          .prompt = "  a red/house, by \"the sea\"\n(caf\xc3\xa9:24) ",
                          .model = "sd/v1.5", .extension = ".png", .seed = UINT64_MAX, .index = 7,
                          .width = 512, .height = 768, .time = 86400 + 43200);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *name = NULL;
        EXPECT_OK(gen_output_path(&name, cases[i].pattern, &fields, &err));
        assert_string_equal(name, cases[i].expected);
        gen_string_free(name);
    }
    static const char *const bad[] = {"{sead}.png", "{i", "{}", "{i:9999}", "{i:x}", "a{Seed}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char *name = NULL;
        EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_output_path(&name, bad[i], &fields, &err));
        EXPECT_CONTAINS(err.hint, "{prompt:40}");
    }
}

/* A prompt cannot leave its folder, hide its file or be empty. */
static void prompts_make_harmless_names(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"../../etc/passwd", "etc-passwd"},
        {"", "picture"},
        {"...", "picture"},
        {"\xff\xfe\x01 x", "x"},
        {".hidden", "hidden"},
        {"a\tb", "a-b"},
        {"\xe6\x97\xa5\xe6\x9c\xac", "\xe6\x97\xa5\xe6\x9c\xac"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *name = NULL;
        EXPECT_OK(
            gen_output_path(&name, "{prompt:40}", &GEN_OUTPUT_FIELDS(.prompt = cases[i][0]), &err));
        assert_string_equal(name, cases[i][1]);
        gen_string_free(name);
    }
    assert_true(gen_output_varies("{seed}.png"));
    assert_true(gen_output_varies("a%03d.png"));
    assert_true(gen_output_varies("{dir}/{i:02}.png"));
    assert_false(gen_output_varies("{prompt}.png"));
    assert_false(gen_output_varies("{{i}}.png"));
}

/* ---- files ------------------------------------------------------------------------------------
 */

static gen_image *small(void)
{
    gen_image *image = NULL;
    EXPECT_OK(gen_image_new(&image, 3, 2, 3, &err));
    return image;
}

static void never_overwrites_unasked(void **state)
{
    (void)state;
    gen_image *image = small();
    char saved[512];
    const gen_image_save_params keep =
        GEN_IMAGE_SAVE_PARAMS(.if_exists = GEN_KEEP_BOTH, .saved_path = saved,
                              .saved_path_size = sizeof saved);
    static const char *const expected[] = {"a/b/cat.png", "a/b/cat-1.png", "a/b/cat-2.png"};
    for (size_t i = 0; i < 3; i++) {
        EXPECT_OK(gen_image_save(image, in_folder("a/b/cat.png"), &keep, &err));
        assert_string_equal(saved, in_folder(expected[i]));
    }
    assert_int_equal(num_files(in_folder("a/b")), 3);

    const gen_image_save_params refuse = GEN_IMAGE_SAVE_PARAMS(.if_exists = GEN_REFUSE);
    EXPECT_STATUS(GEN_ERROR_OUTPUT, gen_image_save(image, in_folder("a/b/cat.png"), &refuse, &err));
    EXPECT_CONTAINS(err.message, "File exists");
    EXPECT_OK(gen_image_save(image, in_folder("a/b/cat.png"), NULL, &err));
    assert_int_equal(num_files(in_folder("a/b")), 3);

    /* A link stays and what it names is replaced. */
    assert_int_equal(symlink("cat.png", in_folder("a/b/link.png")), 0);
    EXPECT_OK(gen_image_save(image, in_folder("a/b/link.png"), NULL, &err));
    struct stat st;
    assert_int_equal(lstat(in_folder("a/b/link.png"), &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    gen_image_free(image);
}

static void write_failures_leave_nothing(void **state)
{
    (void)state;
    gen_image *image = NULL;
    EXPECT_OK(gen_image_new(&image, 300, 200, 3, &err));
    static const char *const formats[] = {"png", "jpg", "ppm"};
    for (size_t i = 0; i < 3; i++) {
        const gen_image_save_params params = GEN_IMAGE_SAVE_PARAMS(.format = formats[i]);
        EXPECT_STATUS(GEN_ERROR_OUTPUT, gen_image_save(image, "/dev/full", &params, &err));
        EXPECT_CONTAINS(err.message, "/dev/full: cannot be written: No space left");
        EXPECT_CONTAINS(err.hint, "space");
    }
    EXPECT_STATUS(GEN_ERROR_OUTPUT, gen_image_save(image, "/proc/none/a.png", NULL, &err));
    EXPECT_CONTAINS(err.message, "/proc/none/a.png: cannot be written");

    FILE *f = fopen(in_folder("file"), "w");
    fclose(f);
    EXPECT_STATUS(GEN_ERROR_OUTPUT, gen_image_save(image, in_folder("file/a.png"), NULL, &err));
    EXPECT_CONTAINS(err.message, "Not a directory");
    assert_int_equal(mkdir(in_folder("dir.png"), 0777), 0);
    EXPECT_STATUS(GEN_ERROR_OUTPUT, gen_image_save(image, in_folder("dir.png"), NULL, &err));
    assert_int_equal(num_files(folder), 2);

    /* What was there stays when writing fails. */
    gen_output *output = NULL;
    EXPECT_OK(gen_output_open(&output, in_folder("file"), GEN_REPLACE, &err));
    fprintf(gen_output_stream(output), "half");
    gen_output_free(output);
    struct stat st;
    assert_int_equal(stat(in_folder("file"), &st), 0);
    assert_int_equal(st.st_size, 0);
    assert_int_equal(num_files(folder), 2);
    gen_image_free(image);
}

/* ---- texts ------------------------------------------------------------------------------------
 */

static const gen_picture_record RECORD = {
    .struct_size = sizeof(gen_picture_record),
    .prompt = "a red house, \"old\"",
    .negative_prompt = "blurry",
    .num_inference_steps = 20,
    .sampler = "euler",
    .scheduler = "karras",
    .rng = "torch-cpu",
    .guidance_scale = 7.5,
    .seed = 42,
    .width = 512,
    .height = 768,
    .clip_skip = 2,
    .model_name = "my, model",
    .model_sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"};

static void record_texts(void **state)
{
    (void)state;
    char *text = NULL;
    EXPECT_OK(gen_picture_record_text(&text, &RECORD, &err));
    assert_string_equal(text, "a red house, \"old\"\n"
                              "Negative prompt: blurry\n"
                              "Steps: 20, Sampler: Euler, Schedule type: Karras, CFG scale: 7.5, "
                              "Seed: 42, Size: 512x768, Model hash: 0123456789, "
                              "Model: \"my, model\", Clip skip: 2, RNG: CPU, Version: gen 0.1.0");
    gen_string_free(text);
    EXPECT_OK(gen_picture_record_text(&text, &GEN_PICTURE_RECORD(.prompt = "x\xff"), &err));
    assert_string_equal(text, "x\xef\xbf\xbd\nSeed: 0, Version: gen 0.1.0");
    gen_string_free(text);

    EXPECT_OK(gen_picture_record_json(&text, &RECORD, &err));
    assert_string_equal(
        text, "{\"schema\":1,\"version\":\"0.1.0\",\"prompt\":\"a red house, \\\"old\\\"\","
              "\"negative_prompt\":\"blurry\",\"seed\":42,\"num_inference_steps\":20,"
              "\"guidance_scale\":7.5,\"sampler\":\"euler\",\"scheduler\":\"karras\","
              "\"rng\":\"torch-cpu\",\"width\":512,\"height\":768,\"clip_skip\":2,"
              "\"model\":{\"name\":\"my, model\",\"sha256\":"
              "\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"}}");
    gen_string_free(text);
    EXPECT_OK(gen_picture_record_json(&text, &GEN_PICTURE_RECORD(.seed = UINT64_MAX), &err));
    EXPECT_CONTAINS(text, "\"seed\":\"18446744073709551615\"");
    gen_string_free(text);
}

static char *repeated(const char *part, size_t count)
{
    const size_t n = strlen(part);
    char *text = gen_malloc(n * count + 1);
    for (size_t i = 0; i < count; i++)
        memcpy(text + i * n, part, n);
    text[n * count] = '\0';
    return text;
}

static void texts_round_trip(void **state)
{
    (void)state;
    gen_image *image = small();
    char *long_record = repeated("{\"caf\xc3\xa9\"}", 20000); /* more than two JPEG segments */
    static const char *const parameters[] = {
        "plain ascii\nSteps: 4, Seed: 1",
        "caf\xc3\xa9 \xc2\xa9",                                      /* Latin-1 */
        "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e \xf0\x9f\xa6\x8a fox", /* UTF-16 with a pair */
        "\xe6\x97\xa5\xe6\x9c\xac",
    };
    static const char *const names[] = {"t.png", "t.jpg"};
    for (size_t n = 0; n < 2; n++)
        for (size_t i = 0; i < 4; i++) {
            const gen_text texts[] = {{"parameters", parameters[i]}, {"gen", long_record}};
            const gen_image_save_params params =
                GEN_IMAGE_SAVE_PARAMS(.texts = texts, .num_texts = 2);
            EXPECT_OK(gen_image_save(image, in_folder(names[n]), &params, &err));
            gen_picture_info *info = NULL;
            EXPECT_OK(gen_picture_info_read(&info, in_folder(names[n]), &err));
            assert_int_equal(info->num_texts, 2);
            assert_string_equal(gen_picture_info_text(info, "parameters"), parameters[i]);
            assert_string_equal(gen_picture_info_text(info, "gen"), long_record);
            gen_picture_info_free(info);
        }
    gen_free(long_record);
    gen_image_free(image);
}

/* An EXIF block holds less than 64 KiB; the user comment is cut between characters. */
static void long_comments_are_cut(void **state)
{
    (void)state;
    gen_image *image = small();
    static const char *const parts[] = {"abcde", "\xf0\x9f\xa6\x8a"};
    for (size_t i = 0; i < 2; i++) {
        char *text = repeated(parts[i], 40000);
        const gen_text texts[] = {{"parameters", text}};
        const gen_image_save_params params = GEN_IMAGE_SAVE_PARAMS(.texts = texts, .num_texts = 1);
        EXPECT_OK(gen_image_save(image, in_folder("t.jpg"), &params, &err));
        gen_picture_info *info = NULL;
        EXPECT_OK(gen_picture_info_read(&info, in_folder("t.jpg"), &err));
        const char *back = gen_picture_info_text(info, "parameters");
        assert_non_null(back);
        EXPECT_BETWEEN((double)strlen(back), 60000, 70000);
        assert_int_equal(strlen(back) % strlen(parts[i]) == 0 || i == 0, 1);
        assert_memory_equal(back, text, strlen(back));
        gen_picture_info_free(info);
        gen_free(text);
    }
    gen_image_free(image);
}

static void utf8(void **state)
{
    (void)state;
    static const char *const bad[] = {"\x80",         "\xc0\x80",         "\xe2\x82",
                                      "\xed\xa0\x80", "\xf4\x90\x80\x80", "a\xff"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(gen_utf8_is_valid(bad[i], strlen(bad[i])));
    assert_true(gen_utf8_is_valid("\xef\xbf\xbd", 3)); /* U+FFFD itself */
    assert_true(gen_utf8_is_latin1("\xc3\xbf"));
    assert_false(gen_utf8_is_latin1("\xc4\x80"));
    for (uint32_t c = 1; c < 0x110000; c += c < 0x800 ? 1 : 251) {
        if (c >= 0xd800 && c < 0xe000)
            continue;
        char text[5] = "";
        const char *p = text;
        const int n = gen_utf8_put(text, c);
        assert_int_equal(gen_utf8_next(&p), c);
        assert_int_equal(p - text, n);
    }
}

int main(void)
{
    setenv("TZ", "UTC", 1);
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(templates),
        CASE(prompts_make_harmless_names),
        CASE(never_overwrites_unasked),
        CASE(write_failures_leave_nothing),
        CASE(record_texts),
        CASE(texts_round_trip),
        CASE(long_comments_are_cut),
        CASE(utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
