/* fuzz_spm.c - SentencePiece models, and a text through what they make and back.
 *
 * The input is a spiece.model, or a tokenizer.json when it begins with a brace; a byte 0x1e; the
 * text.  The last such byte counts. */
#include "gen/core/alloc.h"
#include "gen/text/spm.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gen_error err;
    gen_spm *spm = NULL;
    gen_ids ids = {0};
    char *decoded = NULL;
    size_t model = size;
    while (model > 0 && data[model - 1] != 0x1e)
        model--;
    if (model == 0)
        return 0;
    const char *text = (const char *)data + model;
    const size_t text_size = size - model;
    model--;
    const gen_status status =
        model && data[0] == '{' ? gen_spm_parse_json(&spm, (const char *)data, model, "fuzz", &err)
                                : gen_spm_parse_model(&spm, data, model, "fuzz", &err);
    if (!status && !gen_spm_tokenize(spm, text, text_size, &ids, &err))
        gen_spm_decode(spm, ids.ids, ids.count, &decoded, &err);
    gen_free(decoded);
    gen_ids_free(&ids);
    gen_spm_free(spm);
    return 0;
}
