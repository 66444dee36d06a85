/* prompts_t5.c - prompts through a T5 or umT5 encoder and its SentencePiece vocabulary.
 *
 * A prompt is encoded as long as it is: what the encoder would make of padding behind it is masked
 * or replaced by zeros in every network that takes its states. */
#include <string.h>

#include "gen/pipeline/prompts.h"
#include "gen/text/spm.h"
#include "gen/text/t5.h"

enum { ANY_LENGTH = 512 }; /* of networks that set no limit: what the encoders were trained on */

typedef struct t5_prompts {
    gen_t5_encoder *encoder;
    gen_spm *tokenizer;
    int max_tokens, padded_tokens; /* padded to so many, 0: not */
    bool has_mask, lowers_case;
} t5_prompts;

/* ---- opening -------------------------------------------------------------------------------- */

static void close_prompts(void *self)
{
    t5_prompts *t = self;
    if (!t)
        return;
    gen_t5_encoder_free(t->encoder);
    gen_spm_free(t->tokenizer);
    gen_free(t);
}

/* The vocabulary: named by the user, the model's own, or beside the encoder's weights. */
static gen_status open_tokenizer(t5_prompts *t, const gen_prompt_source *source,
                                 const gen_model_component *c, gen_error *err)
{
    const char *path = source->tokenizer ? source->tokenizer : source->files->tokenizer;
    const gen_status status = gen_spm_open(&t->tokenizer, path ? path : c->path, err);
    if (status == GEN_ERROR_MODEL && !path)
        gen_hint(err, "name the folder with spiece.model or tokenizer.json with --tokenizer");
    return status;
}

static gen_status open_parts(t5_prompts *t, const gen_prompt_source *source, gen_error *err)
{
    const gen_network_traits *traits = source->traits;
    const gen_model_component *c;
    gen_t5_config config;
    GEN_TRY(gen_model_files_require(&c, source->files, "text_encoder", err));
    GEN_TRY(gen_t5_config_parse(&config, c->config, err));
    GEN_TRY(
        gen_t5_encoder_new(&t->encoder, &config, gen_scope_root(c->weights), source->backend, err));
    GEN_TRY(open_tokenizer(t, source, c, err));
    t->padded_tokens = traits->num_context_tokens;
    t->max_tokens = traits->max_context_tokens   ? traits->max_context_tokens
                    : traits->num_context_tokens ? traits->num_context_tokens
                                                 : ANY_LENGTH;
    t->has_mask = traits->has_context_mask;
    t->lowers_case = traits->lowers_case;
    return gen_spm_check(t->tokenizer, config.vocab_size, err);
}

static gen_status open_prompts(void **out, const gen_prompt_source *source, gen_error *err)
{
    t5_prompts *t = gen_calloc(1, sizeof *t);
    if (!t)
        return gen_no_memory(err, "text encoder", sizeof *t);
    const gen_status status = open_parts(t, source, err);
    if (status)
        close_prompts(t);
    else
        *out = t;
    return status;
}

static int64_t dim(const void *self)
{
    return gen_t5_encoder_config(((const t5_prompts *)self)->encoder)->d_model;
}

/* ---- encoding ------------------------------------------------------------------------------- */

/* [0] the prompt, [1] the negative prompt where guidance wants it. */
typedef struct both_ids {
    gen_ids of[2];
    int count;
    size_t num_cut; /* of the prompt */
} both_ids;

static void clear_ids(both_ids *ids)
{
    for (int i = 0; i < 2; i++)
        gen_ids_free(&ids->of[i]);
}

static gen_status tokenize_one(gen_ids *ids, const t5_prompts *t, const char *text, size_t *num_cut,
                               gen_error *err)
{
    char *lower = NULL;
    if (t->lowers_case)
        GEN_TRY(gen_text_lower(&lower, text, err));
    const gen_status status =
        gen_spm_encode(t->tokenizer, lower ? lower : text, t->max_tokens, ids, num_cut, err);
    gen_free(lower);
    return status;
}

/* The caller clears ids, also after a failure. */
static gen_status tokenize(both_ids *ids, const t5_prompts *t, const gen_prompt_request *request,
                           gen_error *err)
{
    GEN_TRY(
        tokenize_one(&ids->of[0], t, request->prompt ? request->prompt : "", &ids->num_cut, err));
    ids->count = request->is_guided ? 2 : 1;
    if (!request->is_guided)
        return GEN_OK;
    return tokenize_one(&ids->of[1], t, request->negative ? request->negative : "", NULL, err);
}

static int64_t longest(const both_ids *ids)
{
    const size_t a = ids->of[0].count, b = ids->of[1].count;
    return (int64_t)(a > b ? a : b);
}

static int64_t length(const t5_prompts *t, const both_ids *ids)
{
    return t->padded_tokens ? t->padded_tokens : longest(ids);
}

static gen_status count(int64_t *num_tokens, void *self, const gen_prompt_request *request,
                        gen_error *err)
{
    both_ids ids = {0};
    const gen_status status = tokenize(&ids, self, request, err);
    if (!status)
        *num_tokens = length(self, &ids);
    clear_ids(&ids);
    return status;
}

/* States, mask and room for padding, all zero. */
static gen_status allocate(gen_prompt_states *s, const t5_prompts *t, const both_ids *ids,
                           gen_error *err)
{
    s->num_tokens = length(t, ids);
    s->dim = dim(t);
    const size_t tokens = (size_t)s->num_tokens, n = tokens * (size_t)s->dim;
    for (int i = 0; i < ids->count; i++) {
        s->states[i] = gen_calloc(n, sizeof(float));
        s->mask[i] = t->has_mask ? gen_calloc(tokens, sizeof(float)) : NULL;
        if (!s->states[i] || (t->has_mask && !s->mask[i]))
            return gen_no_memory(err, "prompt", n * sizeof(float));
        for (size_t k = 0; k < ids->of[i].count && s->mask[i]; k++)
            s->mask[i][k] = 1.0f;
    }
    return GEN_OK;
}

static gen_status encode(gen_prompt_states **out, void *self, const gen_prompt_request *request,
                         gen_error *err)
{
    t5_prompts *t = self;
    both_ids ids = {0};
    gen_status status;
    gen_prompt_states *s = gen_calloc(1, sizeof *s);
    if (!s)
        return gen_no_memory(err, "prompt", sizeof *s);
    if ((status = tokenize(&ids, t, request, err)) || (status = allocate(s, t, &ids, err)))
        goto done;
    gen_t5_text texts[2];
    for (int i = 0; i < ids.count; i++)
        texts[i] = (gen_t5_text){ids.of[i].ids, (int64_t)ids.of[i].count, s->states[i]};
    if ((status = gen_t5_encoder_encode(t->encoder, texts, ids.count, err)))
        goto done;
    s->num_cut = (int)ids.num_cut;
    s->max_tokens = t->max_tokens;
    *out = s;
    s = NULL;
done:
    clear_ids(&ids);
    gen_prompt_states_free(s);
    return status;
}

/* One block at a time: the longer text's, for each block and both texts. */
static gen_status measure(void *self, int i, const gen_prompt_request *request,
                          gen_plan_stats *stats, double *runs, gen_error *err)
{
    t5_prompts *t = self;
    both_ids ids = {0};
    *runs = 0;
    if (i > 0)
        return GEN_OK;
    gen_status status = tokenize(&ids, t, request, err);
    if (!status) {
        *runs = (double)ids.count * gen_t5_encoder_config(t->encoder)->num_layers;
        status = gen_t5_encoder_measure(t->encoder, longest(&ids), stats, err);
    }
    clear_ids(&ids);
    return status;
}

static void release(void *self)
{
    (void)self; /* keeps nothing */
}

static const char *const class_names[] = {"T5EncoderModel", "UMT5EncoderModel",
                                          "T5ForConditionalGeneration", NULL};

const gen_prompt_encoder gen_t5_prompts = {
    .class_names = class_names,
    .is_transient = true,
    .open = open_prompts,
    .close = close_prompts,
    .dim = dim,
    .count = count,
    .encode = encode,
    .measure = measure,
    .release = release,
};
