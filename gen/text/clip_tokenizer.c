/* clip_tokenizer.c - text to CLIP's token ids (unet.md 5.3).
 *
 * Text is brought to NFC and lower case as code points, cut into pieces by the rule of CLIP's
 * regular expression, and each piece is merged from its bytes upwards.  Pieces are independent. */
#include "gen/text/clip_internal.h"

#include <string.h>
#include <utf8proc.h>

enum { MAX_TEXT = 1 << 20 };

/* ---- cleaning -----------------------------------------------------------------------------------
 */

/* Cased and Case_Ignorable of the Unicode standard (3.13), for the one rule below. */
static bool is_cased(int32_t c)
{
    const utf8proc_category_t k = utf8proc_category(c);
    return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL || k == UTF8PROC_CATEGORY_LT ||
           utf8proc_tolower(c) != c || utf8proc_toupper(c) != c;
}

static bool is_case_ignorable(int32_t c)
{
    static const int32_t inside_words[] = {0x27,   0x2e,   0x3a,   0xb7,   0x387,  0x55f,
                                           0x5f4,  0x2018, 0x2019, 0x2024, 0x2027, 0xfe13,
                                           0xfe52, 0xfe55, 0xff07, 0xff0e, 0xff1a};
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
        return true;
    default:
        for (size_t i = 0; i < sizeof inside_words / sizeof *inside_words; i++)
            if (c == inside_words[i])
                return true;
        return false;
    }
}

/* A capital sigma that ends a word becomes the final form (SpecialCasing.txt, Final_Sigma). */
static bool is_final_sigma(const int32_t *text, size_t n, size_t i)
{
    size_t before = i, after = i + 1;
    while (before > 0 && is_case_ignorable(text[before - 1]))
        before--;
    if (before == 0 || !is_cased(text[before - 1]))
        return false;
    while (after < n && is_case_ignorable(text[after]))
        after++;
    return after == n || !is_cased(text[after]);
}

/* The code points of a text in NFC and lower case; *out is made by gen_malloc. */
static gen_status clean(int32_t **out, size_t *count, const char *text, size_t size, gen_error *err)
{
    const utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
    const utf8proc_uint8_t *bytes = (const utf8proc_uint8_t *)text;
    utf8proc_ssize_t n = utf8proc_decompose(bytes, (utf8proc_ssize_t)size, NULL, 0, options);
    if (n == UTF8PROC_ERROR_INVALIDUTF8)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "the prompt is not UTF-8 text");
    if (n < 0)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "the prompt cannot be normalised: %s",
                        utf8proc_errmsg(n));
    /* A capital I with a dot becomes two: room for twice as many. */
    int32_t *composed = gen_malloc((size_t)n * 3 * sizeof *composed);
    if (!composed)
        return gen_no_memory(err, "prompt", (size_t)n * 3 * sizeof *composed);
    int32_t *lower = composed + n;
    utf8proc_decompose(bytes, (utf8proc_ssize_t)size, composed, n, options);
    n = utf8proc_normalize_utf32(composed, n, options);
    size_t used = 0;
    for (size_t i = 0; i < (size_t)n; i++) {
        const int32_t c = composed[i];
        if (c == 0x130) {
            lower[used++] = 'i';
            lower[used++] = 0x307;
        } else if (c == 0x3a3) {
            lower[used++] = is_final_sigma(composed, (size_t)n, i) ? 0x3c2 : 0x3c3;
        } else {
            lower[used++] = utf8proc_tolower(c);
        }
    }
    memmove(composed, lower, used * sizeof *lower);
    *out = composed;
    *count = used;
    return GEN_OK;
}

/* ---- cutting into pieces ------------------------------------------------------------------------
 */

typedef enum char_class { SPACE, LETTER, NUMBER, OTHER } char_class;

static char_class class_of(int32_t c)
{
    if ((c >= 9 && c <= 13) || c == 0x85)
        return SPACE;
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return NUMBER;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return SPACE;
    default:
        return OTHER;
    }
}

/* Does the ASCII text stand here?  Returns its length or 0. */
static size_t match(const int32_t *c, size_t n, const char *ascii)
{
    size_t i = 0;
    for (; ascii[i]; i++)
        if (i == n || c[i] != (unsigned char)ascii[i])
            return 0;
    return i;
}

/* The length of the piece at c (n > 0 code points are left), which is not a space. */
static size_t piece_length(const int32_t *c, size_t n)
{
    static const char *const endings[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        const size_t length = match(c, n, endings[i]);
        if (length)
            return length;
    }
    const char_class first = class_of(c[0]);
    size_t length = 1;
    if (first != NUMBER) /* digits stand alone */
        while (length < n && class_of(c[length]) == first)
            length++;
    return length;
}

/* ---- merging ------------------------------------------------------------------------------------
 */

/* A piece is a linked list of symbols; merging b into a unlinks b.  The heap holds a candidate per
 * neighbouring pair, smallest rank first, then leftmost; entries whose pair is gone are skipped. */
typedef struct candidate {
    uint32_t rank, at;
} candidate;

typedef struct merger {
    const gen_clip_tokenizer *t;
    uint32_t *symbols, *next, *previous; /* [n]; a removed place has GEN_CLIP_NO_SYMBOL */
    candidate *heap;                     /* [2 n]: a merge makes at most one more than it takes */
    uint32_t *merged;                    /* [n] */
    size_t heap_size;
    void *memory;
    size_t capacity;
} merger;

static gen_status reserve(merger *m, size_t n, gen_error *err)
{
    if (n <= m->capacity)
        return GEN_OK;
    const size_t size = n * (2 * sizeof(candidate) + 4 * sizeof(uint32_t));
    void *memory = gen_realloc(m->memory, size);
    if (!memory)
        return gen_no_memory(err, "prompt", size);
    m->memory = memory;
    m->capacity = n;
    m->heap = memory;
    m->symbols = (uint32_t *)(m->heap + 2 * n);
    m->next = m->symbols + n;
    m->previous = m->next + n;
    m->merged = m->previous + n;
    return GEN_OK;
}

static bool goes_first(candidate a, candidate b)
{
    return a.rank != b.rank ? a.rank < b.rank : a.at < b.at;
}

static void heap_push(merger *m, candidate c)
{
    size_t i = m->heap_size++;
    while (i > 0 && goes_first(c, m->heap[(i - 1) / 2])) {
        m->heap[i] = m->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    m->heap[i] = c;
}

static candidate heap_pop(merger *m)
{
    const candidate top = m->heap[0], last = m->heap[--m->heap_size];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= m->heap_size)
            break;
        if (child + 1 < m->heap_size && goes_first(m->heap[child + 1], m->heap[child]))
            child++;
        if (!goes_first(m->heap[child], last))
            break;
        m->heap[i] = m->heap[child];
        i = child;
    }
    m->heap[i] = last;
    return top;
}

/* The rule for the symbol at `at` and its right neighbour, or NULL. */
static const gen_clip_merge *rule_at(const merger *m, uint32_t at, size_t n)
{
    if (m->symbols[at] == GEN_CLIP_NO_SYMBOL || m->next[at] >= n)
        return NULL;
    return gen_clip_merge_find(m->t, m->symbols[at], m->symbols[m->next[at]]);
}

static void consider(merger *m, uint32_t at, size_t n)
{
    const gen_clip_merge *rule = rule_at(m, at, n);
    if (rule)
        heap_push(m, (candidate){rule->rank, at});
}

/* Merges until no rule applies.  As in the reference, all occurrences of the best pair are merged
 * before the pairs they make are looked at; cost O(n log n). */
static void merge_all(merger *m, size_t n)
{
    m->heap_size = 0;
    for (uint32_t i = 0; i < n; i++) {
        m->next[i] = i + 1;
        m->previous[i] = i ? i - 1 : 0;
    }
    for (uint32_t i = 0; i + 1 < n; i++)
        consider(m, i, n);
    while (m->heap_size) {
        const uint32_t rank = m->heap[0].rank;
        size_t num_merged = 0;
        while (m->heap_size && m->heap[0].rank == rank) {
            const uint32_t at = heap_pop(m).at;
            const gen_clip_merge *rule = rule_at(m, at, n);
            if (!rule || rule->rank != rank)
                continue;
            const uint32_t right = m->next[at];
            m->symbols[at] = rule->result;
            m->symbols[right] = GEN_CLIP_NO_SYMBOL;
            m->next[at] = m->next[right];
            if (m->next[at] < n)
                m->previous[m->next[at]] = at;
            m->merged[num_merged++] = at;
        }
        for (size_t i = 0; i < num_merged; i++) {
            const uint32_t at = m->merged[i];
            if (m->symbols[at] == GEN_CLIP_NO_SYMBOL)
                continue;
            consider(m, at, n);
            if (m->previous[at] != at)
                consider(m, m->previous[at], n);
        }
    }
}

static gen_status append_id(gen_ids *ids, int32_t id, gen_error *err)
{
    if (ids->count == ids->capacity) {
        const size_t capacity = ids->capacity ? 2 * ids->capacity : 128;
        int32_t *grown = gen_realloc(ids->ids, capacity * sizeof *grown);
        if (!grown)
            return gen_no_memory(err, "token ids", capacity * sizeof *grown);
        ids->ids = grown;
        ids->capacity = capacity;
    }
    ids->ids[ids->count++] = id;
    return GEN_OK;
}

/* The ids of one piece of n code points. */
static gen_status encode_piece(merger *m, const int32_t *c, size_t n, gen_ids *ids, gen_error *err)
{
    size_t num_bytes = 0;
    GEN_TRY(reserve(m, 4 * n, err));
    for (size_t i = 0; i < n; i++) {
        utf8proc_uint8_t bytes[4];
        const int count = (int)utf8proc_encode_char(c[i], bytes);
        for (int k = 0; k < count; k++)
            m->symbols[num_bytes++] = i + 1 == n && k + 1 == count ? m->t->end_symbol[bytes[k]]
                                                                   : m->t->byte_symbol[bytes[k]];
    }
    merge_all(m, num_bytes);
    for (size_t i = 0; i < num_bytes; i = m->next[i]) {
        const int32_t id = m->t->symbols[m->symbols[i]].id;
        GEN_TRY(append_id(ids, id < 0 ? m->t->unk : id, err));
    }
    return GEN_OK;
}

/* A text without the padding token in it. */
static gen_status encode_text(merger *m, const char *text, size_t size, gen_ids *ids,
                              gen_error *err)
{
    int32_t *c = NULL;
    size_t n = 0;
    GEN_TRY(clean(&c, &n, text, size, err));
    gen_status status = GEN_OK;
    for (size_t at = 0; at < n && !status;) {
        size_t length;
        if (class_of(c[at]) == SPACE) {
            at++;
        } else if ((length = match(c + at, n - at, m->t->bos_text))) {
            status = append_id(ids, m->t->bos, err);
            at += length;
        } else if ((length = match(c + at, n - at, m->t->eos_text))) {
            status = append_id(ids, m->t->eos, err);
            at += length;
        } else {
            length = piece_length(c + at, n - at);
            status = encode_piece(m, c + at, length, ids, err);
            at += length;
        }
    }
    gen_free(c);
    return status;
}

/* A padding token of its own ('!' for SD2) is a special token: the transformers library cuts it
 * out of the text before anything else, so there it has its own id and ends the word before it. */
gen_status gen_clip_tokenize(const gen_clip_tokenizer *t, const char *text, size_t size,
                             gen_ids *ids, gen_error *err)
{
    merger m = {.t = t};
    gen_status status = GEN_OK;
    const char *end = text + size;
    if (size > MAX_TEXT)
        return gen_fail(err, GEN_ERROR_ARGUMENT,
                        "the prompt has %zu bytes, at most %d are possible", size, MAX_TEXT);
    while (text < end && !status) {
        const size_t left = (size_t)(end - text);
        const size_t pad_size = t->pad_text ? strlen(t->pad_text) : 0;
        const char *pad = t->pad_text ? memmem(text, left, t->pad_text, pad_size) : NULL;
        status = encode_text(&m, text, pad ? (size_t)(pad - text) : left, ids, err);
        if (pad && !status)
            status = append_id(ids, t->pad, err);
        text = pad ? pad + pad_size : end;
    }
    gen_free(m.memory);
    return status;
}

void gen_ids_free(gen_ids *ids)
{
    gen_free(ids->ids);
    *ids = (gen_ids){0};
}

void gen_clip_sequence(const gen_clip_tokenizer *t, const int32_t *ids, size_t count, int32_t pad,
                       int length, int32_t *out)
{
    int n = 0;
    out[n++] = t->bos;
    for (size_t i = 0; i < count && n < length - 1; i++)
        out[n++] = ids[i];
    out[n++] = t->eos;
    while (n < length)
        out[n++] = pad;
}

void gen_clip_tokenizer_get_info(const gen_clip_tokenizer *t, gen_clip_tokenizer_info *info)
{
    *info = (gen_clip_tokenizer_info){
        .path = t->path,
        .bos = t->bos,
        .eos = t->eos,
        .pad = t->pad,
        .unk = t->unk,
        .comma = t->comma,
        .num_ids = t->num_ids,
        .max_length = t->max_length,
    };
}

gen_status gen_clip_tokenizer_check(const gen_clip_tokenizer *t, int64_t num_rows, gen_error *err)
{
    if (t->num_ids <= num_rows && num_rows <= 2 * (int64_t)t->num_ids)
        return GEN_OK;
    gen_fail(err, GEN_ERROR_MODEL,
             "%s: this vocabulary has %d ids, but the text encoder knows %lld: they do not belong "
             "together",
             t->path, t->num_ids, (long long)num_rows);
    return gen_hint(err, "name the model's own vocabulary with --tokenizer DIR");
}
