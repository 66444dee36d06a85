/* fuzz_tokenizer.c - CLIP vocabulary files, and a text through what they make.
 *
 * The input is the files one after the other, each ended by a byte 0x1e: vocab.json, merges,
 * tokenizer.json, tokenizer_config.json, special_tokens_map.json, the text.  An empty one counts as
 * absent. */
#include <string.h>

#include "gen/text/text.h"
#include "tests/fuzz/fuzz.h"

static const char *next(const uint8_t **data, size_t *left, size_t *size)
{
    const uint8_t *start = *data, *end = *left ? memchr(start, 0x1e, *left) : NULL;
    *size = end ? (size_t)(end - start) : *left;
    const size_t step = end ? *size + 1 : *left;
    *data += step;
    *left -= step;
    return *size ? (const char *)start : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gen_clip_files files = {0};
    gen_clip_tokenizer *t = NULL;
    gen_error err;
    gen_ids ids = {0};
    size_t text_size;
    files.vocab_json = next(&data, &size, &files.vocab_json_size);
    files.merges = next(&data, &size, &files.merges_size);
    files.tokenizer_json = next(&data, &size, &files.tokenizer_json_size);
    files.tokenizer_config = next(&data, &size, &files.tokenizer_config_size);
    files.special_tokens_map = next(&data, &size, &files.special_tokens_map_size);
    const char *text = next(&data, &size, &text_size);
    if (!gen_clip_tokenizer_parse(&t, &files, "fuzz", &err) && text)
        gen_clip_tokenize(t, text, text_size, &ids, &err);
    gen_ids_free(&ids);
    gen_clip_tokenizer_free(t);
    return 0;
}
