/* options.c - the table of options, and the parser that reads it.
 *
 * Long options may be cut short as long as they stay unique, and other programs' names for them are
 * accepted.  What the command line leaves open, a variable GEN_NAME may set. */
#include "gen/cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FIELD(name) offsetof(cli_settings, name)

static const cli_choice rngs[] = {{"gen", "gen"},
                                  {"torch-cpu", "torch-cpu"},
                                  {"cuda", "cuda"},
                                  {"cpu", "torch-cpu"},
                                  {"comfy", "torch-cpu"},
                                  {"a1111", "cuda"},
                                  {"philox", "cuda"},
                                  {"cuda-a100", "cuda-a100"},
                                  {"cuda-h100", "cuda-h100"},
                                  {"cuda-h200", "cuda-h200"},
                                  {"cuda-rtx4090", "cuda-rtx4090"},
                                  {"cuda-rtx3090", "cuda-rtx3090"},
                                  {NULL, NULL}};
static const cli_choice predictions[] = {{"epsilon", "epsilon"},
                                         {"v_prediction", "v_prediction"},
                                         {"flow_prediction", "flow_prediction"},
                                         {"sample", "sample"},
                                         {"eps", "epsilon"},
                                         {"v", "v_prediction"},
                                         {"v-prediction", "v_prediction"},
                                         {"velocity", "v_prediction"},
                                         {"flow", "flow_prediction"},
                                         {"flow-prediction", "flow_prediction"},
                                         {"x0", "sample"},
                                         {NULL, NULL}};
static const cli_choice formats[] = {
    {"png", "png"}, {"jpg", "jpg"}, {"ppm", "ppm"}, {"jpeg", "jpg"}, {NULL, NULL}};
static const cli_choice precisions[] = {
    {"auto", "auto"}, {"f32", "f32"}, {"f16", "f16"}, {"q8", "q8"}, {NULL, NULL}};
static const cli_choice gemms[] = {{"own", "own"}, {"openblas", "openblas"}, {NULL, NULL}};
static const cli_choice progresses[] = {
    {"auto", "auto"}, {"none", "none"}, {"json", "json"}, {NULL, NULL}};

/* In the order of the help text. */
static const cli_option options[] = {
    {"prompt", 'p', CLI_TEXT, FIELD(prompt), CLI_FOR_MAKING, true, "TEXT",
     "what to draw; @FILE is the text of a file"},
    {"negative-prompt", 'n', CLI_TEXT, FIELD(negative_prompt), CLI_FOR_MAKING, true, "TEXT",
     "what to keep out of it"},
    {"class", 0, CLI_TEXT, FIELD(class_label), CLI_FOR_MAKING, false, "NAME",
     "models of classes: which, by number or name"},
    {"model", 'm', CLI_PATH, FIELD(model),
     CLI_FOR_MAKING | CLI_FOR_INFO | CLI_FOR_PLOT | CLI_FOR_BENCH, true, "PATH",
     "a .safetensors file or a diffusers folder"},
    {"output", 'o', CLI_PATH, FIELD(output), CLI_FOR_MAKING | CLI_FOR_PLOT, true, "NAME",
     "file, folder, {seed} template; `gen help output`"},
    {"input", 'i', CLI_PATH, FIELD(input), CLI_FOR_MAKING, false, "PATH",
     "what is edited, or a clip's first frame"},
    {"frames", 0, CLI_INT, FIELD(frames), CLI_FOR_IMAGE, false, "N",
     "clips: number of frames, 4k+1; 1 is a picture", 1, 4097},
    {"fps", 0, CLI_REAL, FIELD(fps), CLI_FOR_MAKING, false, "X",
     "clips: frames per second; default: the model's", 0.1, 1000},
    {"interpolate", 0, CLI_INT, FIELD(interpolate), CLI_FOR_EDIT, false, "N",
     "clips, models made for it: N times the frames", 1, 16},
    {"width", 'W', CLI_INT, FIELD(width), CLI_FOR_MAKING | CLI_FOR_PLOT | CLI_FOR_BENCH, true, "N",
     "width in pixels", 1, 65536},
    {"height", 'H', CLI_INT, FIELD(height), CLI_FOR_MAKING | CLI_FOR_PLOT | CLI_FOR_BENCH, true,
     "N", "height in pixels", 1, 65536},
    {"seed", 's', CLI_SEEDS, FIELD(seeds), CLI_FOR_MAKING | CLI_FOR_PLOT, true, "LIST",
     "42, a list 1,2,5..9, or random (default)"},
    {"batch-count", 'b', CLI_INT, FIELD(batch_count), CLI_FOR_MAKING, true, "N",
     "number of pictures", 1, 1000000},
    {"steps", 0, CLI_INT, FIELD(steps), CLI_FOR_MAKING | CLI_FOR_PLOT | CLI_FOR_BENCH, true, "N",
     "number of sampling steps", 1, 1000},
    {"cfg", 0, CLI_REAL, FIELD(cfg), CLI_FOR_MAKING, true, "X", "guidance scale; 1 is none", 0.01,
     1000},
    {"sampler", 0, CLI_TEXT, FIELD(sampler), CLI_FOR_MAKING | CLI_FOR_PLOT, true, "NAME",
     "the solver; see `gen help samplers`"},
    {"scheduler", 0, CLI_TEXT, FIELD(scheduler), CLI_FOR_MAKING | CLI_FOR_PLOT, false, "NAME",
     "the noise levels; see `gen help schedulers`"},
    {"eta", 0, CLI_REAL, FIELD(eta), CLI_FOR_MAKING | CLI_FOR_PLOT, false, "X",
     "share of fresh noise in a step; 0 is none", 0, 1},
    {"sigmas", 0, CLI_NUMBERS, FIELD(sigmas), CLI_FOR_MAKING | CLI_FOR_PLOT, false, "LIST",
     "noise levels, no schedule: 14.6,4.1,1.2,0.3", 0, 1e6},
    {"timesteps", 0, CLI_NUMBERS, FIELD(timesteps), CLI_FOR_MAKING | CLI_FOR_PLOT, false, "LIST",
     "training times, no schedule: 999,759,499,259", 0, 1e5},
    {"s-noise", 0, CLI_REAL, FIELD(s_noise), CLI_FOR_MAKING | CLI_FOR_PLOT, false, "X",
     "factor on fresh noise; default 1", 0.01, 100},
    {"s-churn", 0, CLI_REAL, FIELD(s_churn), CLI_FOR_MAKING, false, "X",
     "euler, heun: noise added before steps; 40 for EDM", 0, 1e6},
    {"s-tmin", 0, CLI_REAL, FIELD(s_tmin), CLI_FOR_MAKING, false, "X",
     "the lowest level with --s-churn", 0, 1e6},
    {"s-tmax", 0, CLI_REAL, FIELD(s_tmax), CLI_FOR_MAKING, false, "X",
     "the highest level with --s-churn; default any", 0, 1e6},
    {"shift", 0, CLI_REAL, FIELD(shift), CLI_FOR_MAKING | CLI_FOR_PLOT, false, "X",
     "flow models: more steps at high noise", 0.01, 1000},
    {"guidance", 0, CLI_TEXT, FIELD(guidance), CLI_FOR_MAKING, false, "NAME",
     "how --cfg is applied; see `gen help guidance`"},
    {"guidance-rescale", 0, CLI_REAL, FIELD(guidance_rescale), CLI_FOR_MAKING, false, "X",
     "against over-exposure at a high --cfg; often 0.7", 0, 1},
    {"guidance-interval", 0, CLI_INTERVAL, FIELD(guidance_interval), CLI_FOR_MAKING, false, "A:B",
     "guide at these noise levels only, or steps: 0%:80%"},
    {"guidance-dynamic", 0, CLI_FLAG, FIELD(guidance_dynamic), CLI_FOR_MAKING, false, NULL,
     "let --cfg fall to its half over the steps"},
    {"guidance-skip-last", 0, CLI_REAL, FIELD(guidance_skip_last), CLI_FOR_MAKING, false, "X",
     "share of the last steps without guidance: 0.2", 0, 1},
    {"guided-channels", 0, CLI_INT, FIELD(guided_channels), CLI_FOR_MAKING, false, "N",
     "guide the first N channels only; -1: all", -1, 1024},
    {"cfg-zero", 0, CLI_FLAG, FIELD(cfg_zero), CLI_FOR_MAKING, false, NULL,
     "the same as --guidance cfg_zero"},
    {"zero-init", 0, CLI_INT, FIELD(zero_init), CLI_FOR_MAKING, false, "N",
     "cfg_zero: leave out N steps; default: 1 for flow", 0, 1000},
    {"apg-momentum", 0, CLI_REAL, FIELD(apg_momentum), CLI_FOR_MAKING, false, "X",
     "apg: share of the last change; -0.5 for SDXL", -1, 1},
    {"apg-norm", 0, CLI_REAL, FIELD(apg_norm), CLI_FOR_MAKING, false, "X",
     "apg: largest change; 15 for SDXL, default any", 0, 1e6},
    {"apg-parallel", 0, CLI_REAL, FIELD(apg_parallel), CLI_FOR_MAKING, false, "X",
     "apg: share kept along the prediction; default 0", 0, 1},
    {"prediction", 0, CLI_CHOICE, FIELD(prediction), CLI_FOR_MAKING, false, "NAME",
     "what the model predicts: epsilon, v, flow, sample", 0, 0, predictions},
    {"variation-seed", 0, CLI_SEEDS, FIELD(variation_seeds), CLI_FOR_MAKING, false, "N",
     "another seed to move towards; with -b it counts up"},
    {"variation-strength", 0, CLI_REAL, FIELD(variation_strength), CLI_FOR_MAKING, false, "X",
     "how far: 0 keeps --seed, 1 arrives", 0, 1},
    {"seed-resize-width", 0, CLI_INT, FIELD(seed_resize_width), CLI_FOR_MAKING, false, "N",
     "start from the noise of a picture of this width", 1, 65536},
    {"seed-resize-height", 0, CLI_INT, FIELD(seed_resize_height), CLI_FOR_MAKING, false, "N",
     "... and this height, as A1111 does", 1, 65536},
    {"noise-seed-delta", 0, CLI_LONG, FIELD(noise_seed_delta), CLI_FOR_MAKING, false, "N",
     "noise of the steps follows the seed plus N (ENSD)", 0, 1e15},
    {"family", 0, CLI_TEXT, FIELD(family), CLI_FOR_PLOT, true, "NAME",
     "without -m: models like sd, sd3, wan; `gen help plot`"},
    {"data", 0, CLI_TEXT, FIELD(data), CLI_FOR_PLOT, true, "NAME",
     "trajectory: toy data; `gen help plot`"},
    {"rng", 0, CLI_CHOICE, FIELD(rng), CLI_FOR_MAKING, false, "NAME",
     "noise of gen (default), torch-cpu or cuda", 0, 0, rngs},
    {"seed-step", 0, CLI_LONG, FIELD(seed_step), CLI_FOR_MAKING, false, "N",
     "from one seed to the next with -b; default 1", 0, 1e15},
    {"clip-skip", 0, CLI_INT, FIELD(clip_skip), CLI_FOR_MAKING, false, "N",
     "text layer: 1 is the last, 2 the one before", 1, 32},
    {"base", 0, CLI_PATH, FIELD(base), CLI_FOR_MAKING, false, "PATH",
     "model whose VAE and text encoder go with -m"},
    {"vae", 0, CLI_PATH, FIELD(vae), CLI_FOR_MAKING, false, "PATH", "another autoencoder"},
    {"t5", 0, CLI_PATH, FIELD(t5), CLI_FOR_MAKING, false, "PATH", "a T5 or umT5 text encoder"},
    {"tokenizer", 0, CLI_PATH, FIELD(tokenizer), CLI_FOR_MAKING, false, "FOLDER",
     "vocab.json and merges.txt, or spiece.model"},
    {"format", 0, CLI_CHOICE, FIELD(format), CLI_FOR_MAKING, false, "NAME",
     "png, jpg or ppm; default: as the name ends", 0, 0, formats},
    {"quality", 0, CLI_INT, FIELD(quality), CLI_FOR_MAKING, false, "N", "of a JPEG; default 92", 1,
     100},
    {"overwrite", 'y', CLI_FLAG, FIELD(overwrite), CLI_FOR_MAKING | CLI_FOR_PLOT, false, NULL,
     "replace files; else cat.png becomes cat-1.png"},
    {"no-metadata", 0, CLI_FLAG, FIELD(no_metadata), CLI_FOR_MAKING, false, NULL,
     "keep prompt and settings out of the file"},
    {"threads", 't', CLI_INT, FIELD(threads), CLI_FOR_MAKING | CLI_FOR_DEVICES | CLI_FOR_BENCH,
     false, "N", "default: all CPUs this process may use", 1, 1024},
    {"mem-limit", 0, CLI_BYTES, FIELD(mem_limit), CLI_FOR_MAKING | CLI_FOR_BENCH, false, "SIZE",
     "most memory to use, 2G, 900M; default: all free"},
    {"device", 0, CLI_TEXT, FIELD(device), CLI_FOR_MAKING | CLI_FOR_BENCH, false, "NAME",
     "auto (default), cpu or vulkan, vulkan:N or :NAME"},
    {"precision", 0, CLI_CHOICE, FIELD(precision), CLI_FOR_MAKING, false, "NAME",
     "auto (default), f32, f16 (Vulkan) or q8 (CPU)", 0, 0, precisions},
    {"gemm", 0, CLI_CHOICE, FIELD(gemm), CLI_FOR_MAKING, false, "NAME",
     "matrix products: own or openblas", 0, 0, gemms},
    {"strict", 0, CLI_FLAG, FIELD(strict), CLI_FOR_MAKING, false, NULL,
     "refuse models with tensors that nobody uses"},
    {"dry-run", 0, CLI_FLAG, FIELD(dry_run), CLI_FOR_MAKING, false, NULL,
     "show memory, work and time; make nothing"},
    {"json", 0, CLI_FLAG, FIELD(json),
     CLI_FOR_MAKING | CLI_FOR_INFO | CLI_FOR_DEVICES | CLI_FOR_BENCH, false, NULL,
     "results on stdout as JSON, one object a line"},
    {"progress", 0, CLI_CHOICE, FIELD(progress), CLI_FOR_MAKING, false, "NAME",
     "auto, none or json (events, one object a line)", 0, 0, progresses},
    {"quiet", 'q', CLI_FLAG, FIELD(quiet), CLI_FOR_ALL & ~CLI_FOR_HELP, false, NULL,
     "say nothing but errors"},
    {"verbose", 'v', CLI_FLAG, FIELD(verbose), CLI_FOR_ALL & ~CLI_FOR_HELP, false, NULL,
     "say more"},
    {"help", 'h', CLI_FLAG, FIELD(help), CLI_FOR_ALL, false, NULL, "short help"},
    {"help-all", 0, CLI_FLAG, FIELD(help_all), CLI_FOR_ALL, false, NULL, "every option"},
    {"version", 0, CLI_FLAG, FIELD(version), CLI_FOR_ALL, false, NULL, "version of the program"},
};

enum { NUM_OPTIONS = sizeof options / sizeof options[0] };
_Static_assert((int)NUM_OPTIONS <= (int)CLI_MAX_OPTIONS,
               "cli_settings.given has a place for each option");

/* Other programs' names. */
static const struct {
    const char *alias, *name;
} aliases[] = {
    {"sampling-method", "sampler"},
    {"guidance-scale", "cfg"},
    {"backend", "device"},
    {"cfg-scale", "cfg"},
    {"num-inference-steps", "steps"},
    {"negative", "negative-prompt"},
    {"out", "output"},
    {"init-img", "input"},
    {"num-frames", "frames"},
    {"batch", "batch-count"},
    {"yes", "overwrite"},
    {"schedule", "scheduler"},
    {"flow-shift", "shift"},
    {"prediction-type", "prediction"},
    {"cfg-rescale", "guidance-rescale"},
    {"subseed", "variation-seed"},
    {"ensd", "noise-seed-delta"},
    {"eta-noise-seed-delta", "noise-seed-delta"},
    {"seed-resize-from-w", "seed-resize-width"},
    {"seed-resize-from-h", "seed-resize-height"},
    {"subseed-strength", "variation-strength"},
};

enum { NUM_ALIASES = sizeof aliases / sizeof aliases[0], FIRST_CODE = 256 };

const cli_option *cli_option_at(int i)
{
    return i >= 0 && i < NUM_OPTIONS ? &options[i] : NULL;
}

static int find_option(const char *name)
{
    for (int i = 0; i < NUM_OPTIONS; i++)
        if (strcmp(options[i].name, name) == 0)
            return i;
    return -1;
}

/* ---- values
 * -------------------------------------------------------------------------------------- */

static gen_status set_whole(int64_t *out, const cli_option *o, const char *name, const char *text,
                            gen_error *err)
{
    char *end;
    errno = 0;
    const long long value = strtoll(text, &end, 10);
    if (end == text || *end)
        return cli_fail(err, GEN_ERROR_ARGUMENT, "%s: \"%s\" is not a whole number (%.0f..%.0f)",
                        name, text, o->min, o->max);
    if (errno || (double)value < o->min || (double)value > o->max)
        return cli_fail(err, GEN_ERROR_ARGUMENT, "%s: %s is out of range (%.0f..%.0f)", name, text,
                        o->min, o->max);
    *out = value;
    return GEN_OK;
}

static gen_status set_real(double *out, const cli_option *o, const char *name, const char *text,
                           gen_error *err)
{
    char *end;
    const double value = strtod(text, &end);
    if (end == text || *end || !isfinite(value))
        return cli_fail(err, GEN_ERROR_ARGUMENT, "%s: \"%s\" is not a number (%g..%g)", name, text,
                        o->min, o->max);
    if (value < o->min || value > o->max)
        return cli_fail(err, GEN_ERROR_ARGUMENT, "%s: %s is out of range (%g..%g)", name, text,
                        o->min, o->max);
    *out = value;
    return GEN_OK;
}

static gen_status set_bytes(uint64_t *out, const char *name, const char *text, gen_error *err)
{
    static const char units[] = "KMGT";
    const double smallest = 1 << 20, largest = 1ull << 50;
    char *end;
    double value = strtod(text, &end);
    const bool has_number = end != text && isfinite(value) && value > 0;
    const char *unit = *end ? strchr(units, *end & ~0x20) : NULL;
    if (unit) {
        value = ldexp(value, 10 * (int)(unit - units + 1));
        end++;
        end += (*end == 'i' || *end == 'I') && (end[1] == 'B' || end[1] == 'b');
    }
    end += *end == 'B' || *end == 'b';
    if (!has_number || *end)
        return cli_fail(err, GEN_ERROR_ARGUMENT, "%s: \"%s\" is not a size (2G, 900M, 1.5GiB)",
                        name, text);
    if (value < smallest || value > largest)
        return cli_fail(err, GEN_ERROR_ARGUMENT, "%s: %s is out of range (1M..1024T)", name, text);
    *out = (uint64_t)value;
    return GEN_OK;
}

static const char *choice_name(const void *user, int i)
{
    return ((const cli_choice *)user)[i].name;
}

static gen_status set_choice(const char **out, const cli_option *o, const char *name,
                             const char *text, gen_error *err)
{
    char known[128] = "";
    for (const cli_choice *c = o->choices; c->name; c++) {
        if (strcasecmp(text, c->name) == 0) {
            *out = c->value;
            return GEN_OK;
        }
        const size_t used = strlen(known);
        if (strcmp(c->name, c->value) == 0)
            snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", c->name);
    }
    const char *nearest = cli_nearest(text, choice_name, o->choices);
    if (nearest)
        cli_fail(err, GEN_ERROR_ARGUMENT, "%s: \"%s\" is not known; did you mean %s?", name, text,
                 nearest);
    else
        cli_fail(err, GEN_ERROR_ARGUMENT, "%s: \"%s\" is not known", name, text);
    return cli_hint(err, "there are: %s", known);
}

gen_status cli_set_option(cli_settings *settings, const cli_option *o, const char *name,
                          const char *text, gen_error *err)
{
    void *field = (char *)settings + o->offset;
    int64_t whole;
    switch (o->type) {
    case CLI_FLAG:
        *(bool *)field = !text || (*text && strcmp(text, "0") != 0);
        return GEN_OK;
    case CLI_PATH:
        if (!*text)
            return cli_fail(err, GEN_ERROR_ARGUMENT, "%s: the name is empty", name);
        *(const char **)field = text;
        return GEN_OK;
    case CLI_TEXT:
        *(const char **)field = text;
        return GEN_OK;
    case CLI_INT: {
        const gen_status status = set_whole(&whole, o, name, text, err);
        if (!status)
            *(int *)field = (int)whole;
        return status;
    }
    case CLI_LONG:
        return set_whole(field, o, name, text, err);
    case CLI_REAL:
        return set_real(field, o, name, text, err);
    case CLI_BYTES:
        return set_bytes(field, name, text, err);
    case CLI_CHOICE:
        return set_choice(field, o, name, text, err);
    case CLI_SEEDS:
        return cli_seeds_parse(field, name, text, err);
    case CLI_NUMBERS:
        return cli_numbers_parse(field, name, text, o->min, o->max, err);
    case CLI_INTERVAL:
        return cli_interval_parse(field, name, text, err);
    }
    return GEN_OK;
}

/* ---- the command line
 * ----------------------------------------------------------------------------- */

typedef struct getopt_tables {
    struct option longs[NUM_OPTIONS + NUM_ALIASES + 1];
    char shorts[2 * NUM_OPTIONS + 3];
} getopt_tables;

static struct option long_option(const char *name, int index)
{
    return (struct option){.name = name,
                           .has_arg =
                               options[index].type == CLI_FLAG ? no_argument : required_argument,
                           .val = FIRST_CODE + index};
}

/* '-' in front: arguments come in order, whatever POSIXLY_CORRECT says; ':' tells a missing value
 * from an unknown option. */
static void fill_tables(getopt_tables *t)
{
    size_t n = 0, k = 0;
    memset(t, 0, sizeof *t);
    t->shorts[n++] = '-';
    t->shorts[n++] = ':';
    for (int i = 0; i < NUM_OPTIONS; i++) {
        t->longs[k++] = long_option(options[i].name, i);
        if (!options[i].letter)
            continue;
        t->shorts[n++] = options[i].letter;
        if (options[i].type != CLI_FLAG)
            t->shorts[n++] = ':';
    }
    for (int i = 0; i < NUM_ALIASES; i++)
        t->longs[k++] = long_option(aliases[i].alias, find_option(aliases[i].name));
}

static int option_of_letter(int letter)
{
    for (int i = 0; i < NUM_OPTIONS; i++)
        if (options[i].letter == letter)
            return i;
    return -1;
}

static const char *long_name_at(const void *user, int i)
{
    const getopt_tables *t = user;
    return t->longs[i].name;
}

/* What getopt refused: argument is the word it was looking at, code its optopt. */
static gen_status refused(const getopt_tables *t, const char *argument, int code, gen_error *err)
{
    if (code >= FIRST_CODE)
        return cli_fail(err, GEN_ERROR_ARGUMENT, "--%s takes no value (found \"%s\")",
                        options[code - FIRST_CODE].name, argument);
    if (code) {
        cli_fail(err, GEN_ERROR_ARGUMENT, "unknown option -%c", code);
        return cli_hint(err, "`gen -h` shows the common options, `gen --help-all` every one");
    }
    char name[64];
    snprintf(name, sizeof name, "%s", argument + 2);
    name[strcspn(name, "=")] = '\0';
    const char *nearest = cli_nearest(name, long_name_at, t);
    if (nearest)
        return cli_fail(err, GEN_ERROR_ARGUMENT, "unknown option --%s; did you mean --%s?", name,
                        nearest);
    cli_fail(err, GEN_ERROR_ARGUMENT, "unknown option --%s", name);
    return cli_hint(err, "`gen --help-all` lists every option");
}

static gen_status read_line(cli_settings *s, const char **words, int argc, char **argv,
                            gen_error *err)
{
    getopt_tables tables;
    fill_tables(&tables);
    s->words = words;
    opterr = 0;
    optind = 0; /* glibc: begin anew, with the new option string */
    for (;;) {
        int index = -1;
        const int code = getopt_long(argc, argv, tables.shorts, tables.longs, &index);
        if (code == -1)
            break;
        if (code == 1) {
            words[s->num_words++] = optarg;
            continue;
        }
        if (code == '?')
            return refused(&tables, argv[optind - 1], optopt, err);
        if (code == ':')
            return cli_fail(err, GEN_ERROR_ARGUMENT, "%s needs a value", argv[optind - 1]);
        const int i = code >= FIRST_CODE ? code - FIRST_CODE : option_of_letter(code);
        char name[64];
        if (code >= FIRST_CODE)
            snprintf(name, sizeof name, "--%s",
                     index >= 0 ? tables.longs[index].name : options[i].name);
        else
            snprintf(name, sizeof name, "-%c", code);
        const gen_status status = cli_set_option(s, &options[i], name, optarg, err);
        if (status)
            return status;
        s->given[i] = true;
    }
    while (optind < argc) /* behind "--" */
        words[s->num_words++] = argv[optind++];
    return GEN_OK;
}

/* ---- variables
 * ------------------------------------------------------------------------------------ */

/* GEN_MEM_LIMIT for mem-limit.  Not for what belongs to one run only, nor for the tokenizer, whose
 * variable the library reads: it is a place to look in, not a choice. */
static bool variable_name(const cli_option *o, char *name, size_t size)
{
    static const char *const without[] = {"prompt",   "tokenizer", "help",
                                          "help-all", "version",   "dry-run"};
    for (size_t i = 0; i < sizeof without / sizeof without[0]; i++)
        if (strcmp(o->name, without[i]) == 0)
            return false;
    snprintf(name, size, "GEN_%s", o->name);
    for (char *p = name; *p; p++)
        *p = *p == '-' ? '_' : *p >= 'a' && *p <= 'z' ? (char)(*p - 32) : *p;
    return true;
}

static gen_status read_variables(cli_settings *s, gen_error *err)
{
    char name[64];
    for (int i = 0; i < NUM_OPTIONS; i++) {
        if (s->given[i] || !variable_name(&options[i], name, sizeof name))
            continue;
        const char *text = getenv(name);
        if (!text || !*text)
            continue;
        const gen_status status = cli_set_option(s, &options[i], name, text, err);
        if (status)
            return status;
    }
    return GEN_OK;
}

gen_status cli_parse(cli_settings *settings, const char **words, int argc, char **argv,
                     gen_error *err)
{
    *settings = (cli_settings){.seed_step = 1, .eta = -1, .zero_init = -1};
    gen_status status = read_line(settings, words, argc, argv, err);
    if (!status && !settings->help && !settings->help_all && !settings->version)
        status = read_variables(settings, err);
    /* Even a refused line tells how the error should be written. */
    return status;
}

const cli_option *cli_foreign_option(const cli_settings *settings, unsigned command)
{
    for (int i = 0; i < NUM_OPTIONS; i++)
        if (settings->given[i] && !(options[i].commands & command))
            return &options[i];
    return NULL;
}
