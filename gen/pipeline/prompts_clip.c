/* prompts_clip.c - prompts through one or two CLIP text encoders, joined by channels. */
#include <string.h>

#include "gen/pipeline/prompts.h"

/* ---- opening -------------------------------------------------------------------------------- */

static void close_stack(void *self)
{
    gen_text_stack *stack = self;
    for (int i = 0; stack && i < stack->num_encoders; i++) {
        gen_text_encoder_free(stack->stages[i].encoder);
        if (i == 0 || stack->stages[i].tokenizer != stack->stages[0].tokenizer)
            gen_clip_tokenizer_free(stack->stages[i].tokenizer);
    }
    gen_free(stack);
}

/* The vocabulary of one encoder: named by the user, the model's own, or found elsewhere. */
static gen_status open_tokenizer(gen_text_stack *stack, int stage, const char *own,
                                 const gen_prompt_source *source, const gen_clip_config *config,
                                 gen_error *err)
{
    gen_clip_tokenizer **out = &stack->stages[stage].tokenizer;
    const char *wanted = source->tokenizer;
    if (own && !wanted) {
        GEN_TRY(gen_clip_tokenizer_open(out, own, err));
    } else if (stage > 0) {
        *out = stack->stages[0].tokenizer;
    } else {
        const gen_clip_search search = {.explicit_path = wanted,
                                        .model_path = source->files->path,
                                        .num_rows = config->vocab_size};
        GEN_TRY(gen_clip_tokenizer_find(out, &search, err));
    }
    /* Vocabularies from elsewhere do not know that OpenCLIP's encoders are padded with "!". */
    if (!own || wanted)
        stack->stages[stage].tokens.has_pad = config->hidden_act == GEN_ACT_GELU;
    gen_clip_tokenizer_info info;
    gen_clip_tokenizer_get_info(*out, &info);
    if (info.max_length > config->max_position_embeddings)
        stack->stages[stage].tokens.length = (int)config->max_position_embeddings;
    return gen_clip_tokenizer_check(*out, config->vocab_size, err);
}

static gen_status open_stages(gen_text_stack *stack, const gen_prompt_source *source,
                              gen_error *err)
{
    static const char *const names[GEN_MAX_ENCODERS] = {"text_encoder", "text_encoder_2"};
    const gen_model_files *files = source->files;
    for (int i = 0; i < GEN_MAX_ENCODERS; i++) {
        const gen_model_component *c = gen_model_files_find(files, names[i]);
        gen_clip_config config;
        if (!c)
            continue;
        const int stage = stack->num_encoders;
        GEN_TRY(gen_clip_config_parse(&config, c->config, err));
        GEN_TRY(gen_text_encoder_new(&stack->stages[stage].encoder, &config,
                                     gen_scope_root(c->weights), source->backend, err));
        stack->num_encoders++;
        GEN_TRY(open_tokenizer(stack, stage, i ? files->tokenizer_2 : files->tokenizer, source,
                               &config, err));
    }
    /* unet.md 5.2: networks with pooled text take the layer before the last, not normed. */
    stack->has_pooled = source->traits->pooled_dim > 0;
    if (stack->has_pooled)
        stack->options.layer_from_end = 2;
    else
        stack->options.final_norm = true;
    if (files->index)
        return gen_json_bool(files->index, "force_zeros_for_empty_prompt", false,
                             &stack->zeros_for_empty, err);
    return GEN_OK;
}

static gen_status open_stack(void **out, const gen_prompt_source *source, gen_error *err)
{
    gen_text_stack *stack = gen_calloc(1, sizeof *stack);
    if (!stack)
        return gen_no_memory(err, "text encoders", sizeof *stack);
    const gen_status status = open_stages(stack, source, err);
    if (status)
        close_stack(stack);
    else
        *out = stack;
    return status;
}

static int64_t dim(const void *self)
{
    const gen_text_stack *stack = self;
    int64_t sum = 0;
    for (int i = 0; i < stack->num_encoders; i++)
        sum += gen_text_encoder_config(stack->stages[i].encoder)->hidden_size;
    return sum;
}

/* ---- encoding ------------------------------------------------------------------------------- */

static gen_status parse(gen_prompt *prompts[2], const gen_prompt_request *request, gen_error *err)
{
    GEN_TRY(gen_prompt_parse(&prompts[0], request->prompt ? request->prompt : "", err));
    return gen_prompt_parse(&prompts[1], request->negative ? request->negative : "", err);
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

static gen_status encode(gen_prompt_states **out, void *self, const gen_prompt_request *request,
                         gen_error *err)
{
    gen_text_stack *stack = self;
    gen_prompt *prompts[2] = {NULL, NULL};
    all_chunks chunks = {0};
    gen_status status = GEN_OK;
    int64_t from = 0;
    gen_prompt_states *s = gen_calloc(1, sizeof *s);
    if (!s)
        return gen_no_memory(err, "prompt", sizeof *s);
    if ((status = parse(prompts, request, err)) || (status = collect_tags(s, prompts, err)) ||
        (status = tokenize(&chunks, prompts, stack, err)))
        goto done;
    s->dim = dim(stack);
    for (int i = 0; i < stack->num_encoders; i++) {
        if ((status = encode_stage(s, stack, i, chunks.of[i], request->clip_skip, from, err)))
            goto done;
        from += gen_text_encoder_config(stack->stages[i].encoder)->hidden_size;
    }
    if (!request->negative && stack->zeros_for_empty) {
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

static gen_status count(int64_t *num_tokens, void *self, const gen_prompt_request *request,
                        gen_error *err)
{
    gen_prompt *prompts[2] = {NULL, NULL};
    all_chunks chunks = {0};
    gen_status status = parse(prompts, request, err);
    if (!status)
        status = tokenize(&chunks, prompts, self, err);
    if (!status)
        *num_tokens = (int64_t)chunks.num_chunks * chunks.length;
    clear_chunks(&chunks);
    gen_prompt_free(prompts[0]);
    gen_prompt_free(prompts[1]);
    return status;
}

/* Both prompts came to so many tokens, which is so many chunks of the encoder's length. */
static gen_status measure(void *self, int i, const gen_prompt_request *request,
                          gen_plan_stats *stats, double *runs, gen_error *err)
{
    gen_text_stack *stack = self;
    gen_clip_tokenizer_info info;
    int64_t num_tokens;
    *runs = 0;
    if (i >= stack->num_encoders)
        return GEN_OK;
    GEN_TRY(count(&num_tokens, stack, request, err));
    gen_text_options options = stack->options;
    options.pooled = stack->has_pooled && i == stack->num_encoders - 1;
    gen_clip_tokenizer_get_info(stack->stages[i].tokenizer, &info);
    *runs = 2.0 * (double)num_tokens / info.max_length;
    return gen_text_encoder_measure(stack->stages[i].encoder, info.max_length, &options, stats,
                                    err);
}

static void release(void *self)
{
    gen_text_stack *stack = self;
    for (int i = 0; i < stack->num_encoders; i++)
        gen_text_encoder_release(stack->stages[i].encoder);
}

static const char *const class_names[] = {"CLIPTextModel", "CLIPTextModelWithProjection",
                                          "CLIPModel", NULL};

const gen_prompt_encoder gen_clip_prompts = {
    .class_names = class_names,
    .open = open_stack,
    .close = close_stack,
    .dim = dim,
    .count = count,
    .encode = encode,
    .measure = measure,
    .release = release,
};
