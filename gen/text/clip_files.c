/* clip_files.c - a CLIP vocabulary from a directory or a file; clip_vocab.c reads the contents. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "gen/text/files.h"
#include "gen/text/text.h"

/* The files of a directory; the vocabulary proper in the order of trust. */
static gen_status open_directory(gen_clip_tokenizer **out, const char *dir, gen_error *err)
{
    enum { VOCAB, MERGES, TOKENIZER, CONFIG, MAP, NUM_FILES };
    static const char *const names[NUM_FILES] = {"vocab.json", "merges.txt", "tokenizer.json",
                                                 "tokenizer_config.json",
                                                 "special_tokens_map.json"};
    gen_status status = GEN_OK;
    char *data[NUM_FILES] = {0};
    size_t size[NUM_FILES] = {0};
    for (int i = 0; i < NUM_FILES && !status; i++)
        status = gen_text_read_in(&data[i], &size[i], dir, names[i], err);
    if (!status && !data[MERGES] && !data[TOKENIZER])
        status =
            gen_text_read_in(&data[MERGES], &size[MERGES], dir, "bpe_simple_vocab_16e6.txt", err);
    if (!status && !data[MERGES] && !data[TOKENIZER])
        status = gen_text_read_in(&data[MERGES], &size[MERGES], dir, "bpe_simple_vocab_16e6.txt.gz",
                                  err);
    if (!status) {
        const bool has_pair = data[VOCAB] && (data[MERGES] || !data[TOKENIZER]);
        const gen_clip_files files = {
            .vocab_json = has_pair ? data[VOCAB] : NULL,
            .vocab_json_size = size[VOCAB],
            .merges = data[MERGES],
            .merges_size = size[MERGES],
            .tokenizer_json = data[TOKENIZER],
            .tokenizer_json_size = size[TOKENIZER],
            .tokenizer_config = data[CONFIG],
            .tokenizer_config_size = size[CONFIG],
            .special_tokens_map = data[MAP],
            .special_tokens_map_size = size[MAP],
        };
        status = gen_clip_tokenizer_parse(out, &files, dir, err);
    }
    for (int i = 0; i < NUM_FILES; i++)
        gen_free(data[i]);
    return status;
}

/* Is any of the files there that a vocabulary cannot do without? */
static gen_status has_vocabulary(bool *found, const char *dir, gen_error *err)
{
    static const char *const names[] = {"vocab.json", "merges.txt", "tokenizer.json"};
    struct stat info;
    *found = false;
    for (size_t i = 0; i < sizeof names / sizeof *names && !*found; i++) {
        char *path = gen_asprintf("%s/%s", dir, names[i]);
        if (!path)
            return gen_no_memory(err, dir, strlen(dir));
        *found = !stat(path, &info) && S_ISREG(info.st_mode);
        gen_free(path);
    }
    return GEN_OK;
}

static gen_status open_file(gen_clip_tokenizer **out, const char *path, gen_error *err)
{
    char *data, *slash, *dir;
    size_t size;
    const char *name = strrchr(path, '/');
    name = name ? name + 1 : path;
    if (!strcmp(name, "vocab.json") || !strcmp(name, "tokenizer.json")) {
        if (!(dir = gen_strdup(path)))
            return gen_no_memory(err, path, strlen(path));
        slash = strrchr(dir, '/');
        if (slash)
            *slash = '\0';
        const gen_status status =
            open_directory(out, slash ? (slash == dir ? "/" : dir) : ".", err);
        gen_free(dir);
        return status;
    }
    GEN_TRY(gen_text_read_file(&data, &size, path, err));
    if (!data)
        return gen_fail(err, GEN_ERROR_MODEL, "%s: no such file or directory", path);
    const gen_clip_files files = {.merges = data, .merges_size = size};
    const gen_status status = gen_clip_tokenizer_parse(out, &files, path, err);
    gen_free(data);
    return status;
}

gen_status gen_clip_tokenizer_open(gen_clip_tokenizer **out, const char *path, gen_error *err)
{
    struct stat info;
    if (stat(path, &info))
        return gen_fail(err, GEN_ERROR_MODEL, "%s: %s", path, strerror(errno));
    if (!S_ISDIR(info.st_mode))
        return open_file(out, path, err);
    bool is_vocabulary = false;
    GEN_TRY(has_vocabulary(&is_vocabulary, path, err));
    char *inner = gen_asprintf("%s/tokenizer", path);
    if (!inner)
        return gen_no_memory(err, path, strlen(path));
    const bool is_model = !is_vocabulary && !stat(inner, &info) && S_ISDIR(info.st_mode);
    const gen_status status = open_directory(out, is_model ? inner : path, err);
    gen_free(inner);
    return status;
}
