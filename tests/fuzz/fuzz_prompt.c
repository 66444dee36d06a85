/* fuzz_prompt.c - prompts with weights, cut into chunks. */
#include <stdlib.h>
#include <string.h>

#include "gen/text/text.h"
#include "tests/fuzz/fuzz.h"

/* A vocabulary of bytes and a few rules, made once. */
static const gen_clip_tokenizer *tokenizer(void)
{
    static const char merges[] = "t h\nth e</w>\nc a\nca t</w>\no o\noo oo\n";
    static gen_clip_tokenizer *t;
    const gen_clip_files files = {.merges = merges, .merges_size = sizeof merges - 1};
    if (!t && gen_clip_tokenizer_parse(&t, &files, "rules", NULL))
        abort();
    return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gen_prompt *prompt = NULL;
    gen_token_chunks *chunks = NULL;
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (!gen_prompt_parse(&prompt, text, NULL))
        gen_prompt_tokenize(&chunks, prompt, tokenizer(), NULL, NULL);
    gen_token_chunks_free(chunks);
    gen_prompt_free(prompt);
    free(text);
    return 0;
}
