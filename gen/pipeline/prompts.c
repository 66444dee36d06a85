/* prompts.c - what all prompt encoders share. */
#include "gen/pipeline/prompts.h"

void gen_prompt_states_free(gen_prompt_states *s)
{
    if (!s)
        return;
    for (int i = 0; i < 2; i++) {
        gen_free(s->states[i]);
        gen_free(s->mask[i]);
        gen_free(s->pooled[i]);
    }
    for (char **tag = s->tags; tag && *tag; tag++)
        gen_free(*tag);
    gen_free(s->tags);
    gen_free(s);
}
