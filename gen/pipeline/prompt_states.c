/* prompt_states.c - prompts through one or two text encoders, joined by channels. */
#include "gen/pipeline/prompt_states.h"

#include <string.h>

void gen_text_stack_clear(gen_text_stack *stack)
{
    for (int i = 0; i < stack->num_encoders; i++) {
        gen_text_encoder_free(stack->stages[i].encoder);
        if (i == 0 || stack->stages[i].tokenizer != stack->stages[0].tokenizer)
            gen_clip_tokenizer_free(stack->stages[i].tokenizer);
    }
    *stack = (gen_text_stack){0};
}

void gen_prompt_states_free(gen_prompt_states *s)
{
    if (!s)
        return;
    for (int i = 0; i < 2; i++) {
        gen_free(s->states[i]);
        gen_free(s->pooled[i]);
    }
    for (char **tag = s->tags; tag && *tag; tag++)
        gen_free(*tag);
    gen_free(s->tags);
    gen_free(s);
}

/* Prompt and negative prompt of every encoder; all are given equally many chunks, because some
 * tokenizers cut a text differently. */
typedef struct all_chunks {
    gen_token_chunks *of[GEN_MAX_ENCODERS][2];
    int num_chunks, length;
} all_chunks;

static void clear_chunks(all_chunks *all)
{
    for (int i = 0; i < GEN_MAX_ENCODERS; i++)
        for (int k = 0; k < 2; k++)
            gen_token_chunks_free(all->of[i][k]);
}

static gen_status tokenize(all_chunks *all, gen_prompt *const prompts[2],
                           const gen_text_stack *stack, gen_error *err)
{
    *all = (all_chunks){0};
    for (int i = 0; i < stack->num_encoders; i++)
        for (int k = 0; k < 2; k++) {
            GEN_TRY(gen_prompt_tokenize(&all->of[i][k], prompts[k], stack->stages[i].tokenizer,
                                        &stack->stages[i].tokens, err));
            if (all->of[i][k]->num_chunks > all->num_chunks)
                all->num_chunks = all->of[i][k]->num_chunks;
            all->length = all->of[i][k]->length;
        }
    for (int i = 0; i < stack->num_encoders; i++)
        for (int k = 0; k < 2; k++)
            GEN_TRY(gen_token_chunks_extend(all->of[i][k], all->num_chunks, err));
    return GEN_OK;
}

/* Puts the [tokens, width] states beside those of the encoders before: columns from..from+width. */
static gen_status join(gen_prompt_states *s, int which, const gen_text_states *t, int64_t from,
                       gen_error *err)
{
    const size_t bytes = (size_t)(s->num_tokens * s->dim) * sizeof(float);
    if (!s->states[which] && !(s->states[which] = gen_calloc(1, bytes)))
        return gen_no_memory(err, "prompt", bytes);
    for (int64_t row = 0; row < s->num_tokens; row++)
        memcpy(s->states[which] + row * s->dim + from, t->states + row * t->dim,
               (size_t)t->dim * sizeof(float));
    if (!t->pooled)
        return GEN_OK;
    s->pooled_dim = t->pooled_dim;
    s->pooled[which] = gen_malloc((size_t)t->pooled_dim * sizeof(float));
    if (!s->pooled[which])
        return gen_no_memory(err, "prompt", (size_t)t->pooled_dim * sizeof(float));
    memcpy(s->pooled[which], t->pooled, (size_t)t->pooled_dim * sizeof(float));
    return GEN_OK;
}

static gen_status encode_stage(gen_prompt_states *s, gen_text_stack *stack, int stage,
                               gen_token_chunks *const chunks[2], int clip_skip, int64_t from,
                               gen_error *err)
{
    gen_text_options options = stack->options;
    gen_status status = GEN_OK;
    options.clip_skip = clip_skip;
    options.pooled = stack->has_pooled && stage == stack->num_encoders - 1;
    for (int i = 0; i < 2 && !status; i++) {
        gen_text_states *t = NULL;
        status =
            gen_text_encoder_encode(stack->stages[stage].encoder, chunks[i], &options, &t, err);
        if (!status && stage > 0 && t->num_tokens != s->num_tokens)
            status = gen_fail(err, GEN_ERROR_MODEL,
                              "the text encoders read sequences of different lengths");
        if (!status) {
            s->num_tokens = t->num_tokens;
            status = join(s, i, t, from, err);
        }
        gen_text_states_free(t);
    }
    return status;
}

static gen_status collect_tags(gen_prompt_states *s, gen_prompt *const prompts[2], gen_error *err)
{
    const size_t n = prompts[0]->num_tags + prompts[1]->num_tags;
    size_t k = 0;
    if (!(s->tags = gen_calloc(n + 1, sizeof *s->tags)))
        return gen_no_memory(err, "prompt", (n + 1) * sizeof *s->tags);
    for (int i = 0; i < 2; i++)
        for (size_t j = 0; j < prompts[i]->num_tags; j++)
            if (!(s->tags[k++] = gen_strdup(prompts[i]->tags[j])))
                return gen_no_memory(err, "prompt", strlen(prompts[i]->tags[j]));
    return GEN_OK;
}

gen_status gen_prompt_states_new(gen_prompt_states **out, gen_text_stack *stack, const char *prompt,
                                 const char *negative, int clip_skip, gen_error *err)
{
    gen_prompt *prompts[2] = {NULL, NULL};
    all_chunks chunks = {0};
    gen_status status = GEN_OK;
    int64_t from = 0;
    gen_prompt_states *s = gen_calloc(1, sizeof *s);
    if (!s)
        return gen_no_memory(err, "prompt", sizeof *s);
    if ((status = gen_prompt_parse(&prompts[0], prompt ? prompt : "", err)) ||
        (status = gen_prompt_parse(&prompts[1], negative ? negative : "", err)) ||
        (status = collect_tags(s, prompts, err)) ||
        (status = tokenize(&chunks, prompts, stack, err)))
        goto done;
    for (int i = 0; i < stack->num_encoders; i++)
        s->dim += gen_text_encoder_config(stack->stages[i].encoder)->hidden_size;
    for (int i = 0; i < stack->num_encoders; i++) {
        if ((status = encode_stage(s, stack, i, chunks.of[i], clip_skip, from, err)))
            goto done;
        from += gen_text_encoder_config(stack->stages[i].encoder)->hidden_size;
    }
    if (!negative && stack->zeros_for_empty) {
        memset(s->states[1], 0, (size_t)(s->num_tokens * s->dim) * sizeof(float));
        if (s->pooled[1])
            memset(s->pooled[1], 0, (size_t)s->pooled_dim * sizeof(float));
    }
    *out = s;
    s = NULL;
done:
    clear_chunks(&chunks);
    gen_prompt_free(prompts[0]);
    gen_prompt_free(prompts[1]);
    gen_prompt_states_free(s);
    return status;
}

gen_status gen_prompt_num_tokens(int64_t *out, const gen_text_stack *stack, const char *prompt,
                                 const char *negative, gen_error *err)
{
    gen_prompt *prompts[2] = {NULL, NULL};
    all_chunks chunks = {0};
    gen_status status = gen_prompt_parse(&prompts[0], prompt ? prompt : "", err);
    if (!status)
        status = gen_prompt_parse(&prompts[1], negative ? negative : "", err);
    if (!status)
        status = tokenize(&chunks, prompts, stack, err);
    if (!status)
        *out = (int64_t)chunks.num_chunks * chunks.length;
    clear_chunks(&chunks);
    gen_prompt_free(prompts[0]);
    gen_prompt_free(prompts[1]);
    return status;
}
