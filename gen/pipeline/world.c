/* world.c - reading world.json and looking for its words in a prompt. */
#include "gen/pipeline/world.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "gen/core/alloc.h"
#include "gen/core/json.h"

struct gen_world {
    gen_json *json;
    const char *knows;
};

gen_status gen_world_open(gen_world **out, const char *model_folder, gen_error *err)
{
    gen_status status = GEN_OK;
    *out = NULL;
    char *path = gen_asprintf("%s/world.json", model_folder);
    gen_world *w = gen_calloc(1, sizeof *w);
    if (!path || !w) {
        status = gen_no_memory(err, "world.json", sizeof *w);
        goto done;
    }
    if (access(path, F_OK) != 0)
        goto done;
    if ((status = gen_json_open(&w->json, path, GEN_ERROR_MODEL, err)) ||
        (status = gen_json_string(w->json, "knows", "", &w->knows, err)))
        goto done;
    *out = w;
    w = NULL;
done:
    gen_free(path);
    gen_world_free(w);
    return status;
}

void gen_world_free(gen_world *w)
{
    if (!w)
        return;
    gen_json_free(w->json);
    gen_free(w);
}

static bool is_word_char(char c)
{
    return isalnum((unsigned char)c) || (unsigned char)c >= 0x80;
}

/* Does `text` contain `word` as whole words, whatever the case? */
static bool contains(const char *text, const char *word)
{
    const size_t n = strlen(word);
    for (const char *p = text; n && *p; p++)
        if (strncasecmp(p, word, n) == 0 && (p == text || !is_word_char(p[-1])) &&
            !is_word_char(p[n]))
            return true;
    return false;
}

static bool contains_any(const char *text, const json_t *words)
{
    for (size_t i = 0; i < json_array_size(words); i++) {
        const char *word = json_string_value(json_array_get(words, i));
        if (word && contains(text, word))
            return true;
    }
    return false;
}

const char *gen_world_note(const gen_world *world, const char *prompt)
{
    return contains_any(prompt, gen_json_get(world->json, "subject_words")) ? NULL : world->knows;
}
