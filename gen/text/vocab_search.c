/* vocab_search.c - finding a CLIP vocabulary where other programs keep it.
 *
 * Single-file models come without one, and all of them share OpenAI's.  Most people have it
 * already: the table below lists places, each a pattern with a root in front. */
#include "gen/text/text.h"

#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a place hangs below: the value of a variable, and a folder below that. */
typedef struct root {
    const char *variable;
    const char *below;
} root;

static const root data_roots[] = {{"XDG_DATA_HOME", ""}, {"HOME", "/.local/share"}};
static const root hub_roots[] = {{"HF_HUB_CACHE", ""},
                                 {"HUGGINGFACE_HUB_CACHE", ""},
                                 {"HF_HOME", "/hub"},
                                 {"XDG_CACHE_HOME", "/huggingface/hub"},
                                 {"HOME", "/.cache/huggingface/hub"}};
static const root program_roots[] = {
    {"HOME", ""},         {"HOME", "/src"},          {"HOME", "/git"},       {"HOME", "/ai"},
    {"HOME", "/AI"},      {"HOME", "/Documents"},    {"HOME", "/Downloads"}, {NULL, "/opt"},
    {NULL, "/workspace"}, {NULL, "/usr/local/share"}};
static const root python_roots[] = {{"VIRTUAL_ENV", "/lib"},     {"CONDA_PREFIX", "/lib"},
                                    {"HOME", "/.local/lib"},     {"HOME", "/*venv*/lib"},
                                    {"HOME", "/miniconda3/lib"}, {NULL, "/usr/local/lib"},
                                    {NULL, "/usr/lib"}};

static const char *const data_places[] = {"/gen/tokenizers/clip", NULL};
static const char *const hub_places[] = {
    "/models--openai--clip-vit-large-patch14/snapshots/*",
    "/models--*stable-diffusion*/snapshots/*/tokenizer",
    "/models--laion--CLIP-*/snapshots/*",
    "/models--openai--clip-*/snapshots/*",
    "/models--*/snapshots/*/tokenizer",
    NULL,
};
static const char *const program_places[] = {
    "/[Cc]omfy[Uu][Ii]*/comfy/sd1_tokenizer",
    "/[Cc]omfy[Uu][Ii]*/*/comfy/sd1_tokenizer",
    "/stable-diffusion-webui*/backend/huggingface/*/*/tokenizer",
    "/stable-diffusion-webui*/venv/lib/python3*/site-packages/open_clip/bpe_simple_vocab_*.txt.gz",
    "/stable-diffusion-webui*/venv/lib/python3*/site-packages/clip/bpe_simple_vocab_*.txt.gz",
    "/[Cc]omfy[Uu][Ii]*/*venv*/lib/python3*/site-packages/open_clip/bpe_simple_vocab_*.txt.gz",
    NULL,
};
static const char *const python_places[] = {
    "/python3*/*-packages/open_clip/bpe_simple_vocab_*.txt.gz",
    "/python3*/*-packages/clip/bpe_simple_vocab_*.txt.gz",
    NULL,
};

#define ROOTS(r) (r), sizeof(r) / sizeof *(r)
static const struct {
    const root *roots;
    size_t num_roots;
    const char *const *places;
} table[] = {
    {ROOTS(data_roots), data_places},
    {ROOTS(hub_roots), hub_places},
    {ROOTS(program_roots), program_places},
    {ROOTS(python_roots), python_places},
};

/* Characters of a variable's value that glob() would take for a pattern. */
static char *escaped(const char *text)
{
    char *copy = gen_malloc(2 * strlen(text) + 1), *to = copy;
    for (; copy && *text; text++) {
        if (strchr("*?[]\\", *text))
            *to++ = '\\';
        *to++ = *text;
    }
    if (copy)
        *to = '\0';
    return copy;
}

/* Opens the path if there is something of the right size; *out stays NULL otherwise.  Only lack of
 * memory is an error: what lies about on a disk need not be good. */
static gen_status try_open(gen_clip_tokenizer **out, const char *path, int64_t num_rows,
                           gen_error *err)
{
    gen_clip_tokenizer *t = NULL;
    gen_clip_tokenizer_info info;
    gen_error ignored;
    if (access(path, R_OK))
        return GEN_OK;
    const gen_status status = gen_clip_tokenizer_open(&t, path, &ignored);
    if (status == GEN_ERROR_MEMORY) {
        if (err)
            *err = ignored;
        return status;
    }
    if (status)
        return GEN_OK;
    gen_clip_tokenizer_get_info(t, &info);
    if (info.num_ids == num_rows)
        *out = t;
    else
        gen_clip_tokenizer_free(t);
    return GEN_OK;
}

static gen_status try_pattern(gen_clip_tokenizer **out, const char *pattern, int64_t num_rows,
                              gen_error *err)
{
    glob_t found = {0};
    gen_status status = GEN_OK;
    const int result = glob(pattern, 0, NULL, &found);
    if (result == GLOB_NOSPACE)
        status = gen_no_memory(err, pattern, 0);
    for (size_t i = 0; result == 0 && i < found.gl_pathc && !*out && !status; i++)
        status = try_open(out, found.gl_pathv[i], num_rows, err);
    globfree(&found);
    return status;
}

static gen_status try_root(gen_clip_tokenizer **out, const root *r, const char *const *places,
                           int64_t num_rows, gen_error *err)
{
    const char *value = r->variable ? getenv(r->variable) : "";
    gen_status status = GEN_OK;
    if (!value || (r->variable && *value != '/'))
        return GEN_OK;
    char *base = escaped(value);
    if (!base)
        return gen_no_memory(err, value, strlen(value));
    for (; *places && !*out && !status; places++) {
        char *pattern = gen_asprintf("%s%s%s", base, r->below, *places);
        status = pattern ? try_pattern(out, pattern, num_rows, err)
                         : gen_no_memory(err, value, strlen(value));
        gen_free(pattern);
    }
    gen_free(base);
    return status;
}

/* tokenizer/ beside a model file, or in a model directory. */
static gen_status try_beside(gen_clip_tokenizer **out, const char *model_path, int64_t num_rows,
                             gen_error *err)
{
    struct stat info;
    const char *slash = strrchr(model_path, '/');
    const bool is_directory = !stat(model_path, &info) && S_ISDIR(info.st_mode);
    const int n = is_directory ? (int)strlen(model_path) : slash ? (int)(slash - model_path) : 0;
    const char *dir = n || slash ? model_path : ".";
    char *path = gen_asprintf("%.*s/tokenizer", n || slash ? n : 1, dir);
    if (!path)
        return gen_no_memory(err, model_path, strlen(model_path));
    const gen_status status = try_open(out, path, num_rows, err);
    gen_free(path);
    return status;
}

/* A vocabulary the user names has to be good. */
static gen_status open_named(gen_clip_tokenizer **out, const char *path, const char *what,
                             gen_error *err)
{
    const gen_status status = gen_clip_tokenizer_open(out, path, err);
    if (!status)
        return GEN_OK;
    gen_fail_in(err, status, "%s", what);
    if (err)
        gen_hint(err, "expected a folder with vocab.json and merges.txt of "
                      "openai/clip-vit-large-patch14");
    return status;
}

gen_status gen_clip_tokenizer_find(gen_clip_tokenizer **out, const gen_clip_search *search,
                                   gen_error *err)
{
    const int64_t num_rows = search->num_rows ? search->num_rows : 49408;
    const char *variable = getenv("GEN_TOKENIZER");
    gen_clip_tokenizer *found = NULL;
    if (search->explicit_path)
        return open_named(out, search->explicit_path, "--tokenizer", err);
    if (variable && *variable)
        return open_named(out, variable, "GEN_TOKENIZER", err);
    if (search->model_path)
        GEN_TRY(try_beside(&found, search->model_path, num_rows, err));
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        for (size_t r = 0; r < table[i].num_roots && !found; r++)
            GEN_TRY(try_root(&found, &table[i].roots[r], table[i].places, num_rows, err));
    if (found) {
        *out = found;
        return GEN_OK;
    }
    gen_fail(err, GEN_ERROR_MODEL,
             "%s: has no vocabulary of its own, and no CLIP vocabulary of %lld tokens was found "
             "(looked beside the model, in ~/.local/share/gen/tokenizers/clip, the Hugging Face "
             "cache, ComfyUI, stable-diffusion-webui, open_clip)",
             search->model_path ? search->model_path : "the model", (long long)num_rows);
    return gen_hint(err, "put vocab.json and merges.txt of openai/clip-vit-large-patch14 into "
                         "~/.local/share/gen/tokenizers/clip, or name their folder with "
                         "--tokenizer DIR or GEN_TOKENIZER");
}
