/* Finding a vocabulary in the places of other programs, in a home directory made for the test. */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gen/text/text.h"
#include "tests/test.h"

static const char DIRECTORY[] = GEN_TEST_SOURCE_DIR "/golden/fixtures/pipe_sd1/tokenizer";
static const char VOCAB[] = GEN_TEST_SOURCE_DIR "/golden/fixtures/pipe_sd1/tokenizer/vocab.json";
static const char MERGES[] = GEN_TEST_SOURCE_DIR "/golden/fixtures/pipe_sd1/tokenizer/merges.txt";
static char home[] = "/tmp/gen-vocab-XXXXXX";

static const char *const variables[] = {
    "GEN_TOKENIZER", "XDG_DATA_HOME",         "XDG_CACHE_HOME", "HF_HOME",
    "HF_HUB_CACHE",  "HUGGINGFACE_HUB_CACHE", "VIRTUAL_ENV",    "CONDA_PREFIX",
};

static int make_home(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
        unsetenv(variables[i]);
    return mkdtemp(home) && !setenv("HOME", home, 1) ? 0 : -1;
}

/* The folders of home/path, then a link of the last name to `target`. */
static void put(const char *path, const char *target)
{
    char full[512];
    snprintf(full, sizeof full, "%s/%s", home, path);
    for (char *s = full + strlen(home) + 1; (s = strchr(s, '/')); s++) {
        *s = '\0';
        mkdir(full, 0777);
        *s = '/';
    }
    assert_int_equal(symlink(target, full), 0);
}

static void remove_at(const char *path)
{
    char full[512];
    snprintf(full, sizeof full, "%s/%s", home, path);
    assert_int_equal(unlink(full), 0);
    for (char *s; (s = strrchr(full, '/')) && s > full + strlen(home);) {
        *s = '\0';
        if (rmdir(full))
            return;
    }
}

static int remove_home(void **state)
{
    (void)state;
    return rmdir(home);
}

static void expect_found(const gen_clip_search *search, const char *end)
{
    gen_error err = {0};
    gen_clip_tokenizer *t = NULL;
    gen_clip_tokenizer_info info;
    EXPECT_OK(gen_clip_tokenizer_find(&t, search, &err));
    gen_clip_tokenizer_get_info(t, &info);
    EXPECT_CONTAINS(info.path, end);
    gen_clip_tokenizer_free(t);
}

static void expect_nothing(int64_t num_rows)
{
    gen_error err = {0};
    gen_clip_tokenizer *t = NULL;
    const gen_clip_search search = {.num_rows = num_rows};
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_clip_tokenizer_find(&t, &search, &err));
    EXPECT_CONTAINS(err.message, "no CLIP vocabulary of 60");
    EXPECT_CONTAINS(err.hint, "vocab.json and merges.txt");
    EXPECT_CONTAINS(err.hint, "--tokenizer DIR");
    assert_null(t);
}

static const gen_clip_search small = {.num_rows = 602};

static void usual_places(void **state)
{
    (void)state;
    static const struct {
        const char *path, *target;
    } places[] = {
        {".local/share/gen/tokenizers/clip", DIRECTORY},
        {".cache/huggingface/hub/models--x--stable-diffusion-v1-5/snapshots/1/tokenizer",
         DIRECTORY},
        {".cache/huggingface/hub/models--some--model/snapshots/1/tokenizer", DIRECTORY},
        {"ComfyUI/comfy/sd1_tokenizer", DIRECTORY},
        {"src/comfyui/comfy/sd1_tokenizer", DIRECTORY},
        {"stable-diffusion-webui-forge/backend/huggingface/a/b/tokenizer", DIRECTORY},
        {"stable-diffusion-webui/venv/lib/python3.10/site-packages/clip/"
         "bpe_simple_vocab_16e6.txt.gz",
         MERGES},
        {".local/lib/python3.11/site-packages/open_clip/bpe_simple_vocab_16e6.txt.gz", MERGES},
    };
    expect_nothing(602);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        put(places[i].path, places[i].target);
        expect_found(&small, places[i].path);
        expect_nothing(603); /* another size is another model's */
        remove_at(places[i].path);
    }
    expect_nothing(602);
}

/* A folder with half a vocabulary is passed over. */
static void half_a_vocabulary(void **state)
{
    (void)state;
    static const char vocab[] =
        ".cache/huggingface/hub/models--openai--clip-vit-large-patch14/snapshots/32bd/vocab.json";
    static const char merges[] =
        ".cache/huggingface/hub/models--openai--clip-vit-large-patch14/snapshots/32bd/merges.txt";
    static const char comfy[] = "ComfyUI/comfy/sd1_tokenizer";
    put(vocab, VOCAB);
    expect_nothing(602);
    put(comfy, DIRECTORY);
    expect_found(&small, comfy);
    put(merges, MERGES);
    expect_found(&small, "/snapshots/32bd");
    remove_at(vocab);
    remove_at(merges);
    remove_at(comfy);
}

static void places_from_variables(void **state)
{
    (void)state;
    static const struct {
        const char *variable, *value, *path;
    } cases[] = {
        {"XDG_DATA_HOME", "data [x]*", "data [x]*/gen/tokenizers/clip"},
        {"HF_HOME", "hf", "hf/hub/models--a--b/snapshots/1/tokenizer"},
        {"HF_HUB_CACHE", "hub", "hub/models--a--b/snapshots/1/tokenizer"},
        {"HUGGINGFACE_HUB_CACHE", "hub", "hub/models--a--b/snapshots/1/tokenizer"},
        {"XDG_CACHE_HOME", "cache", "cache/huggingface/hub/models--a--b/snapshots/1/tokenizer"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char value[256];
        snprintf(value, sizeof value, "%s/%s", home, cases[i].value);
        put(cases[i].path, DIRECTORY);
        expect_nothing(602);
        setenv(cases[i].variable, value, 1);
        expect_found(&small, cases[i].path);
        setenv(cases[i].variable, "relative/path", 1);
        expect_nothing(602);
        unsetenv(cases[i].variable);
        remove_at(cases[i].path);
    }
}

static void beside_the_model(void **state)
{
    (void)state;
    char file[256], dir[256];
    put("models/tokenizer", DIRECTORY);
    snprintf(file, sizeof file, "%s/models/sd15.safetensors", home);
    snprintf(dir, sizeof dir, "%s/models", home);
    expect_found(&(gen_clip_search){.num_rows = 602, .model_path = file}, "/models/tokenizer");
    expect_found(&(gen_clip_search){.num_rows = 602, .model_path = dir}, "/models/tokenizer");
    remove_at("models/tokenizer");
}

/* What the user names is taken, whatever its size, or is an error; it is not searched past. */
static void named_by_the_user(void **state)
{
    (void)state;
    gen_error err = {0};
    gen_clip_tokenizer *t = NULL;
    expect_found(&(gen_clip_search){.explicit_path = DIRECTORY}, "pipe_sd1/tokenizer");
    setenv("GEN_TOKENIZER", DIRECTORY, 1);
    expect_found(&(gen_clip_search){0}, "pipe_sd1/tokenizer");
    const gen_clip_search wrong = {.explicit_path = "/nowhere"};
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_clip_tokenizer_find(&t, &wrong, &err));
    EXPECT_CONTAINS(err.message, "--tokenizer: /nowhere: ");
    setenv("GEN_TOKENIZER", "/nowhere/too", 1);
    EXPECT_STATUS(GEN_ERROR_MODEL, gen_clip_tokenizer_find(&t, &small, &err));
    EXPECT_CONTAINS(err.message, "GEN_TOKENIZER: /nowhere/too: ");
    unsetenv("GEN_TOKENIZER");
}

static void lack_of_memory(void **state)
{
    (void)state;
    static const char path[] = "ComfyUI/comfy/sd1_tokenizer";
    put(path, DIRECTORY);
    for (long n = 1;; n++) {
        gen_clip_tokenizer *t = NULL;
        gen_alloc_fail_at(n);
        const gen_status status = gen_clip_tokenizer_find(&t, &small, NULL);
        const bool was_reached = gen_alloc_count() >= n;
        gen_alloc_fail_at(0);
        gen_clip_tokenizer_free(t);
        if (!was_reached) {
            assert_int_equal(status, GEN_OK);
            break;
        }
        assert_int_equal(status, GEN_ERROR_MEMORY);
    }
    remove_at(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(usual_places),          cmocka_unit_test(half_a_vocabulary),
        cmocka_unit_test(places_from_variables), cmocka_unit_test(beside_the_model),
        cmocka_unit_test(named_by_the_user),     cmocka_unit_test(lack_of_memory),
    };
    return cmocka_run_group_tests(tests, make_home, remove_home);
}
