/* gen-golden.c - runs every fixture of a folder and prints one line each:
 *
 *     pass NAME        fail NAME: reason        skip NAME: reason
 *
 * Exit status: 0 when nothing failed, 1 when something did, 2 for a wrong command line.
 * golden.h explains fixtures. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "gen/core/alloc.h"
#include "gen/core/safetensors.h"
#include "gen/cpu/cpu.h"
#ifdef GEN_HAVE_VULKAN
#include "gen/vulkan/vulkan.h"
#endif
#include "tests/golden/golden.h"

/* class_name of the fixture -> what checks it. */
static const struct kind {
    const char *class_name;
    golden_function run;
} kinds[] = {
    {"UNet2DConditionModel", golden_unet},
    {"AutoencoderKL", golden_vae_kl},
    {"AutoencoderTiny", golden_vae_tiny},
    {"taesd", golden_taesd},
    {"CLIPTextModel", golden_clip},
    {"CLIPTextModelWithProjection", golden_clip},
    {"CLIPVisionModel", golden_clip_vision},
    {"clip_tokenizer", golden_clip_tokenizer},
    {"T5EncoderModel", golden_t5},
    {"UMT5EncoderModel", golden_t5},
    {"misc", golden_misc},
    {"DiT", golden_dit},
    {"DiTTransformer2DModel", golden_dit},
    {"PixArtTransformer2DModel", golden_dit},
    {"sentencepiece", golden_sentencepiece},
    {"QwenImageTransformer2DModel", golden_qwen_image},
    {"DiffRWKVModel", golden_rwkv},
    {"wkv_kernel", golden_wkv_kernel},
    {"WanTransformer3DModel", golden_wan},
    {"WanModel", golden_wan},
    {"AutoencoderKLWan", golden_vae_wan},
    {"pipeline", golden_pipeline},
    {"schedulers", golden_schedulers},
    {"torch_rng", golden_torch_rng},
};

static const char usage[] =
    "usage: gen-golden DIR [NAME...] [--device cpu|vulkan|vulkan:N|vulkan:NAME]\n"
    "                  [--gemm auto|own|openblas] [--conv auto|exact] [--threads N] [-v]\n";

typedef struct arguments {
    const char *dir;
    char *const *names; /* only these, when there are any */
    int num_names;
    const char *device;
    gen_cpu_options cpu;
    bool is_verbose;
} arguments;

/* ---- the command line ----------------------------------------------------------------------- */

static bool choose(const char *value, int n, const char *const *words, int *out)
{
    for (int i = 0; value && i < n; i++) {
        if (strcmp(value, words[i]) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

static bool option(arguments *a, const char *name, const char *value)
{
    static const char *const gemms[] = {"auto", "own", "openblas"};
    static const char *const convs[] = {"auto", "exact"};
    int i = 0;
    if (strcmp(name, "--gemm") == 0 && choose(value, 3, gemms, &i))
        a->cpu.gemm = (gen_cpu_gemm)i;
    else if (strcmp(name, "--conv") == 0 && choose(value, 2, convs, &i))
        a->cpu.conv = (gen_cpu_conv)i;
    else if (strcmp(name, "--threads") == 0 && value && atoi(value) > 0)
        a->cpu.num_threads = atoi(value);
    else if (strcmp(name, "--device") == 0 && value)
        a->device = value;
    else
        return false;
    return true;
}

/* Moves words that are no options to the front of argv. */
static bool parse(arguments *a, int argc, char **argv)
{
    int num_words = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-v") == 0) {
            a->is_verbose = true;
        } else if (argv[i][0] == '-') {
            if (!option(a, argv[i], i + 1 < argc ? argv[i + 1] : NULL))
                return false;
            i++;
        } else {
            argv[num_words++] = argv[i];
        }
    }
    if (num_words < 1)
        return false;
    a->dir = argv[0];
    a->names = argv + 1;
    a->num_names = num_words - 1;
    return true;
}

/* ---- finding fixtures ----------------------------------------------------------------------- */

typedef struct name_list {
    char **names;
    size_t count, capacity;
} name_list;

static bool add_name(name_list *list, const char *entry, const char *ending)
{
    const size_t n = strlen(entry), m = strlen(ending);
    if (n <= m || strcmp(entry + n - m, ending) != 0)
        return true;
    if (list->count == list->capacity) {
        const size_t capacity = list->capacity ? 2 * list->capacity : 64;
        char **names = gen_realloc(list->names, capacity * sizeof *names);
        if (!names)
            return false;
        list->names = names;
        list->capacity = capacity;
    }
    return (list->names[list->count++] = gen_strndup(entry, n - m)) != NULL;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted, each once. */
static bool find_fixtures(name_list *list, const char *dir)
{
    DIR *d = opendir(dir);
    bool ok = d != NULL;
    for (struct dirent *e; ok && (e = readdir(d));)
        ok = add_name(list, e->d_name, ".io.safetensors") &&
             add_name(list, e->d_name, ".cases.json");
    if (d)
        closedir(d);
    if (list->count)
        qsort(list->names, list->count, sizeof *list->names, by_name);
    size_t kept = 0;
    for (size_t i = 0; i < list->count; i++) {
        if (kept && strcmp(list->names[kept - 1], list->names[i]) == 0)
            gen_free(list->names[i]);
        else
            list->names[kept++] = list->names[i];
    }
    list->count = kept;
    return ok;
}

static bool is_wanted(const arguments *a, const char *name)
{
    for (int i = 0; i < a->num_names; i++)
        if (strcmp(a->names[i], name) == 0)
            return true;
    return a->num_names == 0;
}

/* ---- one fixture ---------------------------------------------------------------------------- */

static bool exists(const char *path)
{
    struct stat st;
    return path && stat(path, &st) == 0;
}

/* NULL without recording anything when there is no such file. */
static gen_json *open_json(golden_fixture *f, const char *path)
{
    gen_json *json = NULL;
    gen_error err = {0};
    if (exists(path))
        golden_ok(f, gen_json_open(&json, path, GEN_ERROR_INPUT, &err), &err);
    return json;
}

/* Original TAESD files: no configuration, an encoder and a decoder. */
static bool has_taesd_files(golden_fixture *f)
{
    DIR *d = opendir(f->path);
    bool encoder = false, decoder = false;
    for (struct dirent *e; d && (e = readdir(d));) {
        encoder |= strstr(e->d_name, "_encoder.safetensors") != NULL;
        decoder |= strstr(e->d_name, "_decoder.safetensors") != NULL;
    }
    if (d)
        closedir(d);
    return encoder && decoder;
}

static const char *class_of(golden_fixture *f)
{
    static const char *const known_by_name[] = {
        "schedulers", "misc", "torch_rng", "wkv_kernel", "entropy_tables", "quants", "pickle"};
    if (exists(golden_path(f, "%s/model_index.json", f->path)))
        return "pipeline";
    if (f->config) {
        const json_t *name = gen_json_get(f->config, "_class_name");
        if (!name)
            name = json_array_get(gen_json_get(f->config, "architectures"), 0);
        return json_string_value(name);
    }
    for (size_t i = 0; i < sizeof known_by_name / sizeof known_by_name[0]; i++)
        if (strcmp(f->name, known_by_name[i]) == 0)
            return known_by_name[i];
    if (f->cases)
        return "sentencepiece";
    if (exists(golden_path(f, "%s.cases.json", f->path)))
        return "clip_tokenizer";
    return has_taesd_files(f) ? "taesd" : NULL;
}

/* A list at the top level is no document of gen_json; its kind reads it itself. */
static bool is_object(const char *path)
{
    FILE *file = fopen(path, "r");
    char first = 0;
    const bool ok = file && fscanf(file, " %c", &first) == 1 && first == '{';
    if (file)
        fclose(file);
    return ok;
}

static void open_files(golden_fixture *f)
{
    const char *io = golden_path(f, "%s.io.safetensors", f->path);
    if (exists(io))
        f->io = golden_open_file(f, io);
    f->config = open_json(f, golden_path(f, "%s/config.json", f->path));
    if (!f->config)
        f->config = open_json(f, golden_path(f, "%s/model_index.json", f->path));
    /* Some settings are no strict JSON (-Infinity): a kind that needs those reads them itself. */
    const char *settings = golden_path(f, "%s.json", f->path);
    if (exists(settings) && gen_json_open(&f->settings, settings, GEN_ERROR_INPUT, NULL))
        f->settings = NULL;
    const char *cases = golden_path(f, "%s.cases.json", f->path);
    if (cases && is_object(cases))
        f->cases = open_json(f, cases);
    f->class_name = class_of(f);
}

/* Every expected value has to have been looked at. */
static void check_coverage(golden_fixture *f)
{
    for (size_t i = 0; f->io && i < gen_weights_count(f->io); i++) {
        const gen_weight *w = gen_weights_at(f->io, i);
        if (strncmp(w->name, "out.", 4) == 0 && !w->is_used)
            golden_fail(f, "%s was not compared", w->name);
    }
    if (f->num_compared == 0)
        golden_fail(f, "nothing was compared");
}

static void run(golden_fixture *f)
{
    if (!f->class_name) {
        golden_skip(f, f->config ? "its configuration names no class" : "of an unknown kind");
        return;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(kinds[i].class_name, f->class_name) != 0)
            continue;
        kinds[i].run(f);
        if (!f->has_failed && !f->is_skipped)
            check_coverage(f);
        if (f->has_failed && f->num_compared) {
            f->is_locating = true;
            f->num_different = 0;
            kinds[i].run(f);
            if (f->num_different == 0 && !f->has_located)
                golden_add_reason(f, "unfused it passes");
        }
        return;
    }
    golden_skip(f, "no check for the class \"%s\"", f->class_name);
}

/* Returns false when the fixture failed. */
static bool run_fixture(const arguments *a, gen_backend *backend, const char *name)
{
    golden_fixture f = {.dir = a->dir,
                        .name = name,
                        .backend = backend,
                        .device = a->device,
                        .is_verbose = a->is_verbose};
    f.path = golden_path(&f, "%s/%s", a->dir, name);
    if (f.path)
        open_files(&f);
    if (!f.has_failed)
        run(&f);
    if (f.has_failed)
        printf("fail %s: %s\n", name, f.reason);
    else if (f.is_skipped)
        printf("skip %s: %s\n", name, f.reason);
    else
        printf("pass %s\n", name);
    fflush(stdout);
    if (a->is_verbose && f.num_compared)
        fprintf(stderr, "  %s: %d compared, worst at %.2g of what is allowed\n", name,
                f.num_compared, f.worst_ratio);
    const bool ok = !f.has_failed;
    gen_json_free(f.config);
    gen_json_free(f.settings);
    gen_json_free(f.cases);
    gen_weights_free(f.io);
    golden_free_blocks(&f);
    return ok;
}

static gen_status open_backend(gen_backend **out, const arguments *a, gen_error *err)
{
    if (!a->device || strcmp(a->device, "cpu") == 0)
        return gen_cpu_open(out, &a->cpu, err);
#ifdef GEN_HAVE_VULKAN
    if (strncmp(a->device, "vulkan", 6) == 0 && (!a->device[6] || a->device[6] == ':'))
        return gen_vulkan_open(
            out, &(gen_vulkan_options){.device = a->device + (a->device[6] ? 7 : 6)}, err);
#endif
    return gen_fail(err, GEN_ERROR_ARGUMENT, "there is no device \"%s\"", a->device);
}

int main(int argc, char **argv)
{
    arguments a = {0};
    if (!parse(&a, argc, argv)) {
        fputs(usage, stderr);
        return 2;
    }
    gen_error err = {0};
    gen_backend *backend = NULL;
    name_list fixtures = {0};
    int num_run = 0, num_failed = 0;
    if (open_backend(&backend, &a, &err)) {
        fprintf(stderr, "gen-golden: %s\n", err.message);
        return 2;
    }
    if (!find_fixtures(&fixtures, a.dir)) {
        fprintf(stderr, "gen-golden: %s: %s\n", a.dir, strerror(errno));
        num_failed = 1;
    }
    for (size_t i = 0; i < fixtures.count; i++) {
        if (is_wanted(&a, fixtures.names[i])) {
            num_run++;
            num_failed += !run_fixture(&a, backend, fixtures.names[i]);
        }
        gen_free(fixtures.names[i]);
    }
    if (!num_run && !num_failed) {
        fprintf(stderr, "gen-golden: %s has no fixtures\n", a.dir);
        num_failed = 1;
    }
    gen_free(fixtures.names);
    backend->fns->close(backend);
    return num_failed ? 1 : 0;
}
