/* prompt.c - the weights, chunks and BREAK that users write into prompts (unet.md 5.4).
 *
 * The syntax has no grammar and no errors: a bracket without a partner is forgiven, a colon
 * anywhere else is text.  Runs of equal weight are tokenized separately, so a weight never changes
 * how the words beside it are cut. */
#include "gen/text/text.h"

#include <math.h>
#include <string.h>
#include <utf8proc.h>

/* Depth bounds the work of a hostile prompt, weights keep the states finite. */
enum { MAX_PROMPT = 64 << 10, MAX_DEPTH = 100, MAX_CHUNKS = 64, COMMA_BACKTRACK = 20 };
static const double MAX_WEIGHT = 1000, ROUND = 1.1, SQUARE = 1 / 1.1;

/* ---- parsing ------------------------------------------------------------------------------------
 */

typedef struct parser {
    gen_prompt *prompt;
    const char *start, *at, *end;
    char *text; /* what remains of the prompt, without marks */
    size_t size;
    size_t capacity, tag_capacity;
    size_t round[MAX_DEPTH], square[MAX_DEPTH]; /* the runs before which brackets opened */
    int num_round, num_square;
    gen_error *err;
} parser;

static gen_status add_run(parser *p, gen_prompt_run run)
{
    gen_prompt *prompt = p->prompt;
    if (prompt->num_runs == p->capacity) {
        const size_t capacity = p->capacity ? 2 * p->capacity : 16;
        gen_prompt_run *runs = gen_realloc(prompt->runs, capacity * sizeof *runs);
        if (!runs)
            return gen_no_memory(p->err, "prompt", capacity * sizeof *runs);
        prompt->runs = runs;
        p->capacity = capacity;
    }
    prompt->runs[prompt->num_runs++] = run;
    return GEN_OK;
}

static gen_status add_text(parser *p, const char *text, size_t size)
{
    char *copy = p->text + p->size;
    memcpy(copy, text, size);
    p->size += size;
    return add_run(p, (gen_prompt_run){.text = copy, .size = size, .weight = 1});
}

static void multiply_from(parser *p, size_t first, double factor)
{
    for (size_t i = first; i < p->prompt->num_runs; i++)
        if (!p->prompt->runs[i].is_break)
            p->prompt->runs[i].weight *= factor;
}

static gen_status open_bracket(parser *p, size_t *stack, int *depth)
{
    if (*depth == MAX_DEPTH)
        return gen_fail(p->err, GEN_ERROR_ARGUMENT,
                        "prompt: brackets are nested deeper than %d at byte %zu", MAX_DEPTH,
                        (size_t)(p->at - p->start));
    stack[(*depth)++] = p->prompt->num_runs;
    p->at++;
    return GEN_OK;
}

/* Reads ":number)" at p->at.  Returns its length or 0.  strtod() would obey the locale. */
static size_t read_weight(const parser *p, double *weight)
{
    const char *s = p->at + 1;
    double value = 0, unit = 1;
    int digits = 0, dots = 0;
    while (s < p->end && (*s == ' ' || *s == '\t' || *s == '\n'))
        s++;
    const bool is_negative = s < p->end && *s == '-';
    if (s < p->end && (*s == '-' || *s == '+'))
        s++;
    for (; s < p->end && (*s == '.' || (*s >= '0' && *s <= '9')); s++) {
        if (*s == '.') {
            dots++;
            continue;
        }
        digits++;
        if (value < 1e15 && unit < 1e15) { /* later digits cannot matter */
            value = value * 10 + (*s - '0');
            if (dots)
                unit *= 10;
        } else if (!dots) {
            value *= 10;
        }
    }
    while (s < p->end && (*s == ' ' || *s == '\t' || *s == '\n'))
        s++;
    if (s == p->end || *s != ')' || !digits || dots > 1)
        return 0;
    *weight = (is_negative ? -value : value) / unit;
    return (size_t)(s + 1 - p->at);
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (unsigned char)c >= 0x80;
}

static bool at_break(const parser *p)
{
    return p->end - p->at >= 5 && !memcmp(p->at, "BREAK", 5) &&
           (p->at == p->start || !is_word(p->at[-1])) &&
           (p->end - p->at == 5 || !is_word(p->at[5]));
}

/* The length of a tag such as <lora:name:0.8> at p->at, or 0. */
static size_t tag_length(const parser *p)
{
    static const char *const kinds[] = {"<lora:", "<lyco:", "<hypernet:"};
    const size_t left = (size_t)(p->end - p->at);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const size_t n = strlen(kinds[i]);
        if (left <= n || strncasecmp(p->at, kinds[i], n))
            continue;
        const char *close = memchr(p->at, '>', left);
        return close ? (size_t)(close + 1 - p->at) : 0;
    }
    return 0;
}

static gen_status add_tag(parser *p, size_t length)
{
    gen_prompt *prompt = p->prompt;
    if (prompt->num_tags == p->tag_capacity) {
        const size_t capacity = p->tag_capacity ? 2 * p->tag_capacity : 4;
        char **tags = gen_realloc(prompt->tags, capacity * sizeof *tags);
        if (!tags)
            return gen_no_memory(p->err, "prompt", capacity * sizeof *tags);
        prompt->tags = tags;
        p->tag_capacity = capacity;
    }
    char *tag = gen_arena_alloc(prompt->arena, length + 1);
    if (!tag)
        return gen_no_memory(p->err, "prompt", length + 1);
    memcpy(tag, p->at, length);
    prompt->tags[prompt->num_tags++] = tag;
    p->at += length;
    return GEN_OK;
}

/* One mark, or the text up to the next. */
static gen_status parse_item(parser *p)
{
    double weight;
    size_t length;
    const char c = *p->at;
    if (c == '\\' && p->end - p->at > 1 && strchr("()[]\\", p->at[1])) {
        p->at += 2;
        return add_text(p, p->at - 1, 1);
    }
    if (c == '(')
        return open_bracket(p, p->round, &p->num_round);
    if (c == '[')
        return open_bracket(p, p->square, &p->num_square);
    if (c == ':' && p->num_round && (length = read_weight(p, &weight))) {
        multiply_from(p, p->round[--p->num_round], weight);
        p->at += length;
        return GEN_OK;
    }
    if (c == ')' && p->num_round) {
        multiply_from(p, p->round[--p->num_round], ROUND);
        p->at++;
        return GEN_OK;
    }
    if (c == ']' && p->num_square) {
        multiply_from(p, p->square[--p->num_square], SQUARE);
        p->at++;
        return GEN_OK;
    }
    if (c == '<' && (length = tag_length(p)))
        return add_tag(p, length);
    if (at_break(p)) {
        p->at += 5;
        return add_run(p, (gen_prompt_run){.text = "", .weight = 1, .is_break = true});
    }
    const char *start = p->at++;
    while (p->at < p->end && !strchr("\\()[]:<", *p->at) && !at_break(p))
        p->at++;
    return add_text(p, start, (size_t)(p->at - start));
}

/* Neighbours of equal weight become one run; their texts lie one after the other already. */
static void join_runs(gen_prompt *prompt)
{
    size_t n = 0;
    for (size_t i = 0; i < prompt->num_runs; i++) {
        const gen_prompt_run run = prompt->runs[i];
        gen_prompt_run *last = n ? &prompt->runs[n - 1] : NULL;
        if (last && !last->is_break && !run.is_break && last->weight == run.weight)
            last->size += run.size;
        else
            prompt->runs[n++] = run;
    }
    prompt->num_runs = n;
}

/* At most `limit` bytes of a text, whole characters. */
static int shortened(const char *text, size_t size, size_t limit)
{
    if (size > limit)
        for (size = limit; size && ((unsigned char)text[size] & 0xc0) == 0x80;)
            size--;
    return (int)size;
}

static gen_status parse(parser *p)
{
    while (p->at < p->end)
        GEN_TRY(parse_item(p));
    while (p->num_round)
        multiply_from(p, p->round[--p->num_round], ROUND);
    while (p->num_square)
        multiply_from(p, p->square[--p->num_square], SQUARE);
    join_runs(p->prompt);
    for (size_t i = 0; i < p->prompt->num_runs; i++) {
        const gen_prompt_run *run = &p->prompt->runs[i];
        if (!(fabs(run->weight) <= MAX_WEIGHT))
            return gen_fail(p->err, GEN_ERROR_ARGUMENT,
                            "prompt: the weight of \"%.*s\" is %g, at most %g is possible",
                            shortened(run->text, run->size, 40), run->text, run->weight,
                            MAX_WEIGHT);
        if (run->weight != 1)
            p->prompt->is_weighted = true;
    }
    return GEN_OK;
}

static gen_status check_utf8(const char *text, size_t size, gen_error *err)
{
    for (size_t i = 0; i < size;) {
        utf8proc_int32_t c;
        const utf8proc_ssize_t n =
            utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(size - i), &c);
        if (n <= 0) {
            gen_fail(err, GEN_ERROR_ARGUMENT, "the prompt is not UTF-8 text: byte %zu is 0x%02x", i,
                     (unsigned char)text[i]);
            return gen_hint(err, "save the prompt as UTF-8, or use a UTF-8 locale");
        }
        i += (size_t)n;
    }
    return GEN_OK;
}

gen_status gen_prompt_parse(gen_prompt **out, const char *text, gen_error *err)
{
    gen_status status;
    const size_t size = strlen(text);
    if (size > MAX_PROMPT)
        return gen_fail(err, GEN_ERROR_ARGUMENT,
                        "the prompt has %zu bytes, at most %d are possible", size, MAX_PROMPT);
    GEN_TRY(check_utf8(text, size, err));
    gen_prompt *prompt = gen_calloc(1, sizeof *prompt);
    parser p = {.prompt = prompt, .start = text, .at = text, .end = text + size, .err = err};
    if (prompt)
        prompt->arena = gen_arena_new();
    if (!prompt || !prompt->arena || !(p.text = gen_arena_alloc(prompt->arena, size + 1)))
        status = gen_no_memory(err, "prompt", size);
    else
        status = parse(&p);
    if (status)
        gen_prompt_free(prompt);
    else
        *out = prompt;
    return status;
}

void gen_prompt_free(gen_prompt *prompt)
{
    if (!prompt)
        return;
    gen_free(prompt->runs);
    gen_free(prompt->tags);
    gen_arena_free(prompt->arena);
    gen_free(prompt);
}

/* ---- chunks -------------------------------------------------------------------------------------
 */

/* The tokens of a prompt, written into chunks of `length` with room for start and end. */
typedef struct chunker {
    gen_token_chunks *chunks;
    int capacity;   /* chunks there is memory for */
    int used;       /* tokens in the open chunk, the last one */
    int last_comma; /* its place in the open chunk, or -1 */
    gen_error *err;
} chunker;

static gen_status reserve_chunks(gen_token_chunks *c, int num_chunks, gen_error *err)
{
    const size_t n = (size_t)num_chunks * (size_t)c->length;
    int32_t *ids = gen_realloc(c->ids, n * sizeof *ids);
    if (ids)
        c->ids = ids;
    float *weights = ids ? gen_realloc(c->weights, n * sizeof *weights) : NULL;
    if (!weights)
        return gen_no_memory(err, "prompt", n * (sizeof *ids + sizeof *weights));
    c->weights = weights;
    return GEN_OK;
}

/* Fills chunk i with start, end and padding. */
static void clear_chunk(gen_token_chunks *c, int i)
{
    int32_t *ids = c->ids + (size_t)i * (size_t)c->length;
    float *weights = c->weights + (size_t)i * (size_t)c->length;
    for (int k = 0; k < c->length; k++) {
        ids[k] = k == 0 ? c->bos : k == 1 ? c->eos : c->pad;
        weights[k] = 1;
    }
}

static gen_status open_chunk(chunker *k)
{
    gen_token_chunks *c = k->chunks;
    if (c->num_chunks == MAX_CHUNKS)
        return gen_fail(k->err, GEN_ERROR_ARGUMENT,
                        "the prompt has more than %d tokens (%d chunks of %d)",
                        MAX_CHUNKS * (c->length - 2), MAX_CHUNKS, c->length - 2);
    if (c->num_chunks == k->capacity) {
        const int capacity = k->capacity ? 2 * k->capacity : 2;
        GEN_TRY(reserve_chunks(c, capacity, k->err));
        k->capacity = capacity;
    }
    clear_chunk(c, c->num_chunks++);
    k->used = 0;
    k->last_comma = -1;
    return GEN_OK;
}

/* Writes one token of the open chunk; the end token follows the last. */
static void put(chunker *k, int32_t id, float weight)
{
    gen_token_chunks *c = k->chunks;
    const size_t at = (size_t)(c->num_chunks - 1) * (size_t)c->length + 1 + (size_t)k->used++;
    c->ids[at] = id;
    c->weights[at] = weight;
    c->ids[at + 1] = c->eos;
}

/* Opens a chunk and moves into it what follows the last comma of the full one. */
static gen_status move_after_comma(chunker *k)
{
    gen_token_chunks *c = k->chunks;
    const int first = k->last_comma + 1, count = k->used - first;
    GEN_TRY(open_chunk(k));
    const size_t old = (size_t)(c->num_chunks - 2) * (size_t)c->length + 1 + (size_t)first;
    for (int i = 0; i < count; i++)
        put(k, c->ids[old + (size_t)i], c->weights[old + (size_t)i]);
    for (int i = 0; i < count + 1; i++) {
        c->ids[old + (size_t)i] = i ? c->pad : c->eos;
        c->weights[old + (size_t)i] = 1;
    }
    return GEN_OK;
}

static gen_status add_token(chunker *k, int32_t id, float weight, bool is_comma)
{
    const bool is_full = k->used == k->chunks->length - 2;
    if (is_full && !is_comma && k->last_comma >= 0 && k->used - k->last_comma <= COMMA_BACKTRACK)
        GEN_TRY(move_after_comma(k));
    else if (is_full)
        GEN_TRY(open_chunk(k));
    if (is_comma)
        k->last_comma = k->used;
    put(k, id, weight);
    return GEN_OK;
}

static gen_status fill_chunks(chunker *k, const gen_prompt *prompt,
                              const gen_clip_tokenizer *tokenizer, int32_t comma)
{
    gen_status status = GEN_OK;
    gen_ids ids = {0};
    bool is_broken = false; /* a BREAK waits for the text after it */
    for (size_t r = 0; r < prompt->num_runs && !status; r++) {
        const gen_prompt_run *run = &prompt->runs[r];
        if (run->is_break) {
            if (is_broken)
                status = open_chunk(k);
            is_broken = true;
            continue;
        }
        ids.count = 0;
        status = gen_clip_tokenize(tokenizer, run->text, run->size, &ids, k->err);
        for (size_t i = 0; i < ids.count && !status; i++) {
            if (is_broken)
                status = open_chunk(k);
            is_broken = false;
            if (!status)
                status = add_token(k, ids.ids[i], (float)run->weight, ids.ids[i] == comma);
        }
        if (ids.count && run->weight != 1)
            k->chunks->is_weighted = true;
    }
    gen_ids_free(&ids);
    return status;
}

gen_status gen_prompt_tokenize(gen_token_chunks **out, const gen_prompt *prompt,
                               const gen_clip_tokenizer *tokenizer,
                               const gen_token_options *options, gen_error *err)
{
    gen_clip_tokenizer_info info;
    gen_clip_tokenizer_get_info(tokenizer, &info);
    const int length = options && options->length ? options->length : info.max_length;
    if (length < 3)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "sequences of %d tokens hold no text", length);
    gen_token_chunks *chunks = gen_calloc(1, sizeof *chunks);
    if (!chunks)
        return gen_no_memory(err, "prompt", sizeof *chunks);
    *chunks = (gen_token_chunks){
        .length = length,
        .bos = info.bos,
        .eos = info.eos,
        .pad = options && options->has_pad ? options->pad_id : info.pad,
    };
    chunker k = {.chunks = chunks, .err = err};
    gen_status status = open_chunk(&k);
    if (!status)
        status = fill_chunks(&k, prompt, tokenizer, info.comma);
    if (status)
        gen_token_chunks_free(chunks);
    else
        *out = chunks;
    return status;
}

gen_status gen_token_chunks_extend(gen_token_chunks *chunks, int num_chunks, gen_error *err)
{
    if (num_chunks <= chunks->num_chunks)
        return GEN_OK;
    GEN_TRY(reserve_chunks(chunks, num_chunks, err));
    while (chunks->num_chunks < num_chunks)
        clear_chunk(chunks, chunks->num_chunks++);
    return GEN_OK;
}

void gen_token_chunks_free(gen_token_chunks *chunks)
{
    if (!chunks)
        return;
    gen_free(chunks->ids);
    gen_free(chunks->weights);
    gen_free(chunks);
}
