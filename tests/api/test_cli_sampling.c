/* test_cli_sampling.c GEN MODEL - sampling options, their help, and plots, through the program. */
#include "tests/api/program.h"

#include <stdlib.h>
#include <unistd.h>

#include "gen/gen.h"

#define SMALL "-m MODEL -W 48 -H 32 --steps 3 --seed 1 -q -y "

static gen_error err;
static char model_path[4096];

static gen_image *load(const char *name)
{
    gen_image *image = NULL;
    if (gen_image_load(&image, program_path(name), &err))
        fail_msg("%s", err.message);
    return image;
}

/* ---- refusals ---------------------------------------------------------------------------------
 */

static const struct {
    const char *line;
    int code;
    const char *message;
} refused[] = {
    {"-m MODEL --sampler dpmpp_2n cat", 2,
     "gen: --sampler: \"dpmpp_2n\" is not known; did you mean dpmpp_2m?\n"
     "  hint: `gen help samplers` lists them\n"},
    {"-m MODEL --sampler EulerDiscretScheduler cat", 2,
     "gen: --sampler: \"EulerDiscretScheduler\" is not known; did you mean "
     "EulerDiscreteScheduler?\n"},
    {"-m MODEL --scheduler karass cat", 2,
     "gen: --scheduler: \"karass\" is not known; did you mean karras?\n"
     "  hint: `gen help schedulers` lists them\n"},
    {"-m MODEL --guidance apgg cat", 2,
     "gen: --guidance: \"apgg\" is not known; did you mean apg?\n"
     "  hint: `gen help guidance` lists them\n"},
    {"-m MODEL --guidance dual cat", 2,
     "gen: guidance: dual needs a model with a second condition beside the prompt"},
    {"-m MODEL --scheduler flow cat", 2, "gen: schedule flow is not for noise-table models\n"},
    {"-m MODEL --prediction flow --sampler dpmpp_2m --scheduler flow cat", 2,
     "gen: sampler dpmpp_2m steps in log SNR, which is infinite in the pure noise this "
     "schedule starts from\n  hint: schedule flow_table "},
    {"-m MODEL --prediction flow --scheduler trailing cat", 2,
     "gen: schedule trailing is not for rectified-flow models\n"},
    {"-m MODEL --sampler ddim_inverse cat", 2,
     "gen: sampler: ddim_inverse walks from a picture to its noise, and there is no start "},
    {"-m MODEL --shift 3 cat", 2, "gen: shift: for flow models only, this one predicts "},
    {"-m MODEL --sigmas 1,2 cat", 2, "gen: schedule "},
    {"-m MODEL --timesteps 1000,1 cat", 2, "gen: timesteps: 1000 is out of range (0..999)\n"},
    {"-m MODEL --sigmas 3,2 --timesteps 9 cat", 2, "gen: 2 sigmas and 1 timesteps, expected "},
    {"--sigmas 3,2 --steps 4 cat", 2, "gen: --steps 4 and --sigmas with 2 levels contradict\n"},
    {"--sigmas 3;2 cat", 2, "gen: --sigmas: \"3;2\" is not a list of numbers (3.5,1.2,0.4)\n"},
    {"--sigmas -1 cat", 2, "gen: --sigmas: -1 is out of range (0..1e+06)\n"},
    {"--prediction vv cat", 2, "gen: --prediction: \"vv\" is not known"},
    {"--eta 1.5 cat", 2, "gen: --eta: 1.5 is out of range (0..1)\n"},
    {"--guidance-rescale 2 cat", 2, "gen: --guidance-rescale: 2 is out of range (0..1)\n"},
    {"--guidance-interval 3 cat", 2, "gen: --guidance-interval: \"3\" is not an interval ("},
    {"--guidance-interval 5:3 cat", 2, "gen: --guidance-interval: \"5:3\" is empty"},
    {"--guidance apg --cfg-zero cat", 2, "gen: --cfg-zero and --guidance apg contradict\n"},
    {"--variation-seed 3 cat", 2, "gen: --variation-seed has no effect without "},
    {"--variation-seed 3,4 --variation-strength 0.1 cat", 2,
     "gen: --variation-seed: 2 seeds, expected one\n"},
    {"plot", 2, "gen: plot: of what? expected schedule or trajectory\n"},
    {"plot shedule", 2, "gen: plot: \"shedule\" is not known; did you mean schedule?\n"},
    {"plot schedule trajectory", 2, "gen: plot: unexpected \"trajectory\"\n"},
    {"plot schedule --family sd33 -o x.png", 2,
     "gen: --family: \"sd33\" is not known; did you mean sd3?\n  hint: there are: sd, "},
    {"plot trajectory --data rings -o x.png", 2,
     "gen: --data: \"rings\" is not known; did you mean ring?\n  hint: there are: pair, "},
    {"plot schedule --sampler euler,eulr -o x.png", 2,
     "gen: --sampler: \"eulr\" is not known; did you mean euler?\n"},
    {"plot schedule --data ring", 2, "gen: --data is for `gen plot trajectory`\n"},
    {"plot schedule -m MODEL --family sd3", 2, "gen: --model and --family contradict"},
    {"plot schedule --cfg 3", 2, "gen: --cfg does not belong to `gen plot`\n"},
    {"plot schedule -W 100 -o x.png", 2, "gen: width: 100 is out of range (200..8000)\n"},
    {"plot schedule -o x.gif", 2, "gen: x.gif: \".gif\" is no picture format gen writes"},
    {"plot schedule --family wan --scheduler flow_uniform -o x.png", 2,
     "gen: sampler unipc steps in log SNR, which is infinite in the pure noise this "
     "schedule starts from\n  hint: schedule flow_table "},
    {"plot trajectory --family vibt -o x.png", 2, "gen: trajectory: bridges start from a source "},
    {"plot trajectory --sampler repaint -o x.png", 2, "gen: sampler repaint repaints a part "},
    {"-m MODEL --sampler repaint cat", 2, "gen: sampler: repaint repaints a part of a picture"},
    {"-m MODEL --s-churn 3 --sampler ddim cat", 2, "gen: s-churn: sampler ddim adds no noise"},
    {"--s-tmin 3 cat", 2, "gen: --s-tmin and --s-tmax have no effect without --s-churn\n"},
    {"--seed-resize-width 64 cat", 2, "gen: --seed-resize-width and --seed-resize-height belong"},
    {"plot schedule -m none -o x.png", 4, "gen: none: No such file"},
    {"plot schedule -o /proc/none/x.svg", 7, "gen: /proc/none/x.svg: cannot be written"},
    {"plot schedule -o /proc/none/x.png", 7, "gen: /proc/none/x.png: cannot be written"},
};

static void refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        program_expect(refused[i].code, refused[i].line);
        if (strncmp(program_errors, refused[i].message, strlen(refused[i].message)) != 0)
            fail_msg("gen %s: %sexpected: %s", refused[i].line, program_errors, refused[i].message);
        assert_string_equal(program_out, "");
        assert_string_equal(program_files(""), "");
    }
}

/* ---- pictures ---------------------------------------------------------------------------------
 */

static void expect_same(const char *a, const char *b, bool same)
{
    gen_image *x = load(a), *y = load(b);
    const bool is_same = memcmp(x->data, y->data, x->stride * (size_t)x->height) == 0;
    if (is_same != same)
        fail_msg("%s and %s %s", a, b, same ? "differ" : "are the same");
    gen_image_free(x);
    gen_image_free(y);
}

/* Names of other programs mean the same sampler, and a name may carry its schedule. */
static void names_of_others(void **state)
{
    (void)state;
    program_expect(0, SMALL "--sampler dpmpp_2m --scheduler karras -o a.ppm cat");
    program_expect(0, SMALL "--sampler 'DPM++ 2M Karras' -o b.ppm cat");
    expect_same("a.ppm", "b.ppm", true);
    program_expect(0, SMALL "--sampling-method DPMSolverMultistepScheduler --schedule karras "
                            "-o c.ppm cat");
    expect_same("a.ppm", "c.ppm", true);
    program_expect(0, SMALL "--sampler k_euler_ancestral -o d.ppm cat");
    program_expect(0, SMALL "--sampler 'Euler a' -o e.ppm cat");
    expect_same("d.ppm", "e.ppm", true);
}

/* What was chosen is in the file, and given back it makes the same picture. */
static void records(void **state)
{
    (void)state;
    program_expect(0, SMALL "--sampler euler --sigmas 14.6,3,0.5,0 --steps 3 --guidance apg "
                            "--apg-norm 4 --apg-momentum -0.5 --guidance-rescale 0.3 "
                            "--guidance-interval 0.1:9 --variation-strength 0.25 "
                            "--variation-seed 9 -o a.png cat");
    program_expect(0, "info a.png");
    EXPECT_CONTAINS(program_out, "Sampler: Euler, Schedule type: ");
    EXPECT_CONTAINS(program_out, "Sigmas: \"14.6, 3, 0.5\", ");
    EXPECT_CONTAINS(program_out, ", Guidance: apg, Guidance rescale: 0.3, Guidance interval: 0.1 "
                                 "to 9, APG momentum: -0.5, APG norm: 4, Variation seed: 9, "
                                 "Variation seed strength: 0.25, ");
    EXPECT_CONTAINS(program_out, "\"sigmas\":[14.6,3.0,0.5]");
    EXPECT_CONTAINS(program_out, "\"guidance\":\"apg\",\"guidance_rescale\":0.3,"
                                 "\"guidance_low\":0.1,\"guidance_high\":9.0,");
    EXPECT_CONTAINS(program_out, "\"variation_seed\":9,\"variation_strength\":0.25");

    program_expect(0, SMALL "--eta 0.5 --cfg-zero --zero-init 1 --guidance-interval 0%:50% "
                            "--prediction v -o b.png cat");
    program_expect(0, "info b.png");
    EXPECT_CONTAINS(program_out, ", Eta: 0.5, Prediction type: v_prediction, Guidance: cfg_zero, "
                                 "Guidance steps: 0% to 50%, Guidance zero init: 1, ");
}

/* As in A1111: the seed stays and the variation seed counts up. */
static void variations(void **state)
{
    (void)state;
    program_expect(0, "-m MODEL -W 48 -H 32 --steps 2 --seed 5 -b 3 --variation-seed 7 "
                      "--variation-strength 1 -o {i}.ppm cat");
    EXPECT_CONTAINS(program_errors, "1.ppm: seed 5, variation 7, ");
    EXPECT_CONTAINS(program_errors, "3.ppm: seed 5, variation 9, ");
    program_expect(0, "-m MODEL -W 48 -H 32 --steps 2 --seed 8 -o one.ppm cat");
    expect_same("2.ppm", "one.ppm", true);
    expect_same("1.ppm", "one.ppm", false);
    /* a list of seeds goes through the seeds */
    program_expect(0, "-m MODEL -W 48 -H 32 --steps 2 --seed 5,6 --variation-strength 0.5 "
                      "-o {seed}.ppm cat");
    assert_string_equal(program_out, "5.ppm\n6.ppm\n");
}

/* A copy of the model whose scheduler has a class nobody knows: a named sampler is the remedy. */
static void unknown_classes(void **state)
{
    (void)state;
    char command[8400];
    snprintf(command, sizeof command, "cp -r '%s' '%s' && chmod -R u+w '%s'", model_path,
             program_path("m"), program_path(""));
    assert_int_equal(system(command), 0);
    unlink(program_path("m/scheduler/scheduler_config.json"));
    FILE *f = fopen(program_path("m/scheduler/scheduler_config.json"), "w");
    assert_non_null(f);
    fputs("{\"_class_name\": \"NewScheduler\", \"beta_start\": 0.00085, \"beta_end\": 0.012,"
          " \"beta_schedule\": \"scaled_linear\"}",
          f);
    fclose(f);
    program_expect(4, "-m m -W 48 -H 32 --steps 2 -q -o x.png cat");
    EXPECT_CONTAINS(program_errors, "scheduler class \"NewScheduler\" is not known");
    program_expect(0, "-m m -W 48 -H 32 --steps 2 --seed 1 -q --sampler euler -o x.png cat");
    program_expect(4, "plot schedule -m m -o s.png");
    program_expect(0, "plot schedule -m m --sampler euler -o s.png");
}

/* What a plan says of the work follows the sampler's calls. */
static void plans_count_calls(void **state)
{
    (void)state;
    double flops[2];
    static const char *const lines[] = {
        "-m MODEL -W 48 -H 32 --steps 10 --sampler euler --dry-run --json cat",
        "-m MODEL -W 48 -H 32 --steps 10 --sampler heun --dry-run --json cat"};
    for (int i = 0; i < 2; i++) {
        program_expect(0, lines[i]);
        const char *at = strstr(program_out, "\"name\":\"denoise\"");
        assert_non_null(at);
        at = strstr(at, "\"flops\":");
        assert_non_null(at);
        flops[i] = strtod(at + 8, NULL);
    }
    EXPECT_BETWEEN(flops[1] / flops[0], 1.899, 1.901);
}

/* ---- help -------------------------------------------------------------------------------------
 */

static void help_lists_the_tables(void **state)
{
    (void)state;
    static const char *const topics[] = {"help samplers", "help schedulers", "help guidance"};
    for (int kind = 0; kind < 3; kind++) {
        gen_method m;
        program_expect(0, topics[kind]);
        for (int i = 0; gen_method_at(&m, (gen_method_kind)kind, i); i++) {
            char row[64];
            snprintf(row, sizeof row, "\n  %s ", m.name);
            if (!strstr(program_out, row) && strlen(m.name) < 18)
                fail_msg("%s: no row for %s", topics[kind], m.name);
        }
        for (const char *line = program_out; *line; line += strcspn(line, "\n") + 1)
            if (strcspn(line, "\n") > 100)
                fail_msg("%s: %zu columns: %.*s", topics[kind], strcspn(line, "\n"),
                         (int)strcspn(line, "\n"), line);
    }
    program_expect(0, "help samplers");
    EXPECT_CONTAINS(program_out, "2n-1 network calls for n steps");
    program_expect(0, "help plot");
    EXPECT_CONTAINS(program_out, "\n  sd_zero_snr ");
    EXPECT_CONTAINS(program_out, "\n  ring ");
    program_expect(0, "plot -h");
    EXPECT_CONTAINS(program_out, "--family NAME");
}

/* ---- plots ------------------------------------------------------------------------------------
 */

/* Neither blank nor black: mostly paper, and some of each colour that lines have. */
static void expect_chart(const char *name, int width, int height)
{
    gen_image *image = load(name);
    size_t paper = 0, coloured = 0;
    assert_int_equal(image->width, width);
    assert_int_equal(image->height, height);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            const unsigned char *p = image->data + (size_t)y * image->stride + 3 * (size_t)x;
            const int high = p[0] > p[1] ? (p[0] > p[2] ? p[0] : p[2]) : p[1] > p[2] ? p[1] : p[2];
            const int low = p[0] < p[1] ? (p[0] < p[2] ? p[0] : p[2]) : p[1] < p[2] ? p[1] : p[2];
            paper += low == 255;
            coloured += high - low > 60;
        }
    const size_t all = (size_t)width * (size_t)height;
    assert_true(paper > all / 2);
    assert_true(coloured > all / 1000 && coloured < all / 5);
    gen_image_free(image);
}

static void plots(void **state)
{
    (void)state;
    program_expect(0, "plot schedule");
    assert_string_equal(program_out, "schedule.png\n");
    expect_chart("schedule.png", 1000, 700);
    program_expect(0, "plot schedule --scheduler karras,simple,beta --steps 7 -W 640 -H 480 "
                      "-o s.ppm");
    expect_chart("s.ppm", 640, 480);
    program_expect(0, "plot schedule -m MODEL --sampler ddim,euler -y -o s.png");
    expect_chart("s.png", 1000, 700);
    program_expect(0, "plot schedule --sigmas 9,3,1 -o s.png");
    assert_string_equal(program_out, "s-1.png\n");
    const char *families[] = {"sd", "sd_zero_snr", "dit", "lcm", "flow", "sd3", "flux", "wan"};
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        char line[128];
        snprintf(line, sizeof line, "plot schedule --family %s -y -W 300 -H 210 -o f.png",
                 families[i]);
        program_expect(0, line);
        expect_chart("f.png", 300, 210);
    }
    static const char *const data[] = {"pair", "gauss", "ring"};
    for (size_t i = 0; i < 3; i++) {
        char line[128];
        snprintf(line, sizeof line,
                 "plot trajectory --sampler euler,heun,euler_a --data %s -y -o t.png", data[i]);
        program_expect(0, line);
        expect_chart("t.png", 1000, 700);
    }
    program_expect(0, "plot trajectory -o t.svg --steps 4");
    FILE *f = fopen(program_path("t.svg"), "r");
    char text[4096];
    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    EXPECT_CONTAINS(text, "<svg ");
    program_expect(0, "plot schedule -o -");
    assert_memory_equal(program_out, "\x89PNG", 4);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    if (program_init(argv[1], argv[2]) != 0 || !realpath(argv[2], model_path))
        return 1;
#define CASE(name) cmocka_unit_test_setup_teardown(name, program_set_up, program_tear_down)
    const struct CMUnitTest tests[] = {
        CASE(refusals),        CASE(names_of_others),       CASE(records),
        CASE(variations),      CASE(help_lists_the_tables), CASE(plots),
        CASE(unknown_classes), CASE(plans_count_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
