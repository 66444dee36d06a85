/* test_memory.c GEN FIXTURES - memory of the program, measured: networks that are larger than the
 * limit, and text encoders that leave before the network comes. */
#include <math.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "gen/gen.h"
#include "tests/api/program.h"
#include "tests/tools/random_tokens.h"

static gen_error err;
static char fixtures[4096];

static void copy(const char *fixture, const char *to)
{
    char line[16384];
    snprintf(line, sizeof line, "cp -r %s/%s %s", fixtures, fixture, program_path(to));
    if (system(line) != 0)
        fail_msg("%s", line);
}

/* Runs the program, which must succeed; the most memory it had, in MiB. */
static double peak_of(const char *line)
{
    struct rusage usage;
    int status;
    const pid_t pid = program_start(line, NULL, NULL);
    assert_int_equal(wait4(pid, &status, 0, &usage), pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("gen %s: status %d", line, status);
    return (double)usage.ru_maxrss / 1024;
}

/* "peak_bytes" of the plan of a line, in MiB. */
static double planned(const char *line)
{
    char whole[1024];
    snprintf(whole, sizeof whole, "%s --dry-run --json", line);
    program_expect(0, whole);
    const char *at = strstr(program_out, "\"peak_bytes\":");
    assert_non_null(at);
    return strtod(at + strlen("\"peak_bytes\":"), NULL) / 0x1p20;
}

/* A sanitizer's own memory would be measured with the program's. */
static bool can_measure(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return false;
#else
    return true;
#endif
}

static bool same_picture(const char *a, const char *b)
{
    gen_image *x = NULL, *y = NULL;
    EXPECT_OK(gen_image_load(&x, program_path(a), &err));
    EXPECT_OK(gen_image_load(&y, program_path(b), &err));
    const bool is_same = x->width == y->width && x->height == y->height &&
                         memcmp(x->data, y->data, x->stride * (size_t)x->height) == 0;
    gen_image_free(x);
    gen_image_free(y);
    return is_same;
}

#define DIT "-m dit --class 3 --steps 2 --seed 1 -q -y "

/* A DiT of 130 MB and an autoencoder of nearly nothing. */
static void make_dit(void)
{
    mkdir(program_path("dit"), 0777);
    copy("vae_kl", "dit/vae");
    program_write("dit/model_index.json", "{\"transformer\": [\"gen\", \"DiT\"],"
                                          " \"vae\": [\"diffusers\", \"AutoencoderKL\"]}");
    random_dit(
        &(random_dit_size){.width = 512, .heads = 8, .depth = 14, .side = 16, .num_classes = 10});
    assert_int_equal(random_write(program_path("dit/transformer"), 1), 0);
}

/* Root of the mean squared difference of two pictures, in levels of 255. */
static double distance(const char *a, const char *b)
{
    gen_image *x = NULL, *y = NULL;
    double sum = 0;
    EXPECT_OK(gen_image_load(&x, program_path(a), &err));
    EXPECT_OK(gen_image_load(&y, program_path(b), &err));
    assert_true(x->stride == y->stride && x->height == y->height);
    const size_t n = x->stride * (size_t)x->height;
    for (size_t i = 0; i < n; i++)
        sum += (x->data[i] - y->data[i]) * (x->data[i] - y->data[i]);
    gen_image_free(x);
    gen_image_free(y);
    return sqrt(sum / (double)n);
}

/* Matrices in 8 bits: little more than half the memory of 16, also where they are streamed, and
 * nearly the same picture (1.4 levels are 45 dB). */
static void eight_bits_are_half(void **state)
{
    (void)state;
    make_dit();
    const double all = planned(DIT), plan = planned(DIT "--precision q8 ");
    peak_of(DIT "-o all.png");
    const double peak = peak_of(DIT "--precision q8 -o q8.png");
    assert_true(plan < 0.68 * all);
    if (can_measure() && (peak > 1.1 * plan || peak < 0.9 * plan))
        fail_msg("%.1f MiB measured, %.1f planned", peak, plan);
    const double part = peak_of(DIT "--precision q8 --mem-limit 50M -o part.png");
    assert_true(!can_measure() || part <= 50);
    assert_true(same_picture("q8.png", "part.png"));
    assert_false(same_picture("q8.png", "all.png"));
    const double error = distance("q8.png", "all.png");
    if (error > 1.4)
        fail_msg("q8 is %.2f levels away", error);
}

static void weights_are_streamed(void **state)
{
    (void)state;
    make_dit();
    const double all = planned(DIT), whole = peak_of(DIT "-o all.png");
    assert_true(all > 130);
    assert_true(!can_measure() || (whole > 0.9 * all && whole < 1.1 * all));
    static const int limits[] = {130, 90, 60, 45};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        char line[256];
        snprintf(line, sizeof line, DIT "--mem-limit %dM ", limits[i]);
        const double plan = planned(line);
        assert_true(plan <= limits[i]);
        snprintf(line, sizeof line, DIT "--mem-limit %dM -o %d.png", limits[i], limits[i]);
        const double peak = peak_of(line);
        if (can_measure() && (peak > limits[i] || peak < 0.8 * plan))
            fail_msg("%d MiB: %.1f measured, %.1f planned", limits[i], peak, plan);
        snprintf(line, sizeof line, "%d.png", limits[i]);
        assert_true(same_picture("all.png", line));
    }
    program_expect(0, DIT "--mem-limit 60M --dry-run");
    EXPECT_CONTAINS(program_out, " of weights anew in every run, through slots of ");

    /* Too little: one line names what is enough, and it is. */
    program_expect(5, DIT "--mem-limit 20M -o no.png");
    EXPECT_CONTAINS(program_errors, " needs at least ");
    EXPECT_CONTAINS(program_errors, " the limit is 20 MiB\n  hint: ");
    const char *number = strstr(program_errors, "--mem-limit ");
    assert_non_null(number);
    char line[256];
    const int least = atoi(number + strlen("--mem-limit "));
    snprintf(line, sizeof line, DIT "--mem-limit %dM -o least.png", least);
    const double peak = peak_of(line);
    assert_true(!can_measure() || peak <= least);
    assert_true(same_picture("all.png", "least.png"));
}

/* A T5 of 75 MB and a network of 105 MB are never in memory together. */
static void encoder_leaves_before_the_network(void **state)
{
    (void)state;
    mkdir(program_path("wan"), 0777);
    copy("vae_wan", "wan/vae");
    copy("spm_t5", "wan/tokenizer");
    program_write("wan/model_index.json",
                  "{\"transformer\": [\"diffusers\", \"WanTransformer3DModel\"],"
                  " \"vae\": [\"diffusers\", \"AutoencoderKLWan\"],"
                  " \"text_encoder\": [\"transformers\", \"T5EncoderModel\"],"
                  " \"tokenizer\": [\"transformers\", \"T5Tokenizer\"]}");
    random_t5(&(random_t5_size){
        .vocabulary = 32128, .width = 512, .heads = 8, .head_dim = 64, .ffn = 2048, .layers = 5});
    assert_int_equal(random_write(program_path("wan/text_encoder"), 1), 0);
    random_wan(&(random_wan_size){.heads = 8,
                                  .head_dim = 64,
                                  .layers = 12,
                                  .ffn = 2048,
                                  .in = 4,
                                  .out = 4,
                                  .text = 512,
                                  .freq = 256});
    assert_int_equal(random_write(program_path("wan/transformer"), 1), 0);
    static const char line[] =
        "-m wan -W 64 -H 64 --frames 1 --steps 1 --seed 1 -q -y -p 'a photo of a cat' ";
    const double plan = planned(line), peak = peak_of(line);
    assert_true(plan > 100 && plan < 160);
    if (can_measure() && (peak > 1.1 * plan || peak < 0.9 * plan))
        fail_msg("%.1f MiB measured, %.1f planned", peak, plan);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(weights_are_streamed, program_set_up, program_tear_down),
        cmocka_unit_test_setup_teardown(eight_bits_are_half, program_set_up, program_tear_down),
        cmocka_unit_test_setup_teardown(encoder_leaves_before_the_network, program_set_up,
                                        program_tear_down),
    };
    if (argc < 3)
        return 2;
    snprintf(fixtures, sizeof fixtures, "%s", argv[2]);
    return program_init(argv[1], argv[2]) ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
