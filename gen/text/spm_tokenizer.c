/* spm_tokenizer.c - text to ids and back with a SentencePiece unigram model (Kudo 2018, sec. 3.2).
 */
#include <stdio.h>
#include <string.h>

#include "gen/text/spm_internal.h"

enum {
    MAX_TEXT = 1 << 20,
    MAX_GROWTH = 40, /* of a text by normalising; the largest of NFKC is 11 */
    UNKNOWN_PENALTY = 10
};

/* A text in the making. */
typedef struct buffer {
    char *data;
    size_t size, capacity, limit;
} buffer;

static gen_status append(buffer *b, const char *data, size_t size, const gen_spm *spm,
                         gen_error *err)
{
    if (size > b->limit - b->size)
        return gen_fail(err, GEN_ERROR_ARGUMENT,
                        "%s: its table of replaced characters makes the text more than %d times "
                        "as long",
                        spm->path, MAX_GROWTH);
    if (b->size + size + 1 > b->capacity) {
        const size_t capacity = 2 * (b->size + size) + 64;
        char *grown = gen_realloc(b->data, capacity);
        if (!grown)
            return gen_no_memory(err, "tokenizer", capacity);
        b->data = grown;
        b->capacity = capacity;
    }
    if (size)
        memcpy(b->data + b->size, data, size);
    b->size += size;
    b->data[b->size] = '\0';
    return GEN_OK;
}

/* ---- normalising --------------------------------------------------------------------------------
 */

static bool is_continuation(unsigned char c)
{
    return (c & 0xc0) == 0x80;
}

/* Bytes of the well-formed UTF-8 character at s, or 0. */
static size_t character_size(const char *text, size_t left)
{
    const unsigned char *s = (const unsigned char *)text;
    if (s[0] < 0x80)
        return 1;
    if (s[0] >= 0xc2 && s[0] < 0xe0 && left >= 2 && is_continuation(s[1]))
        return 2;
    if ((s[0] & 0xf0) == 0xe0 && left >= 3 && is_continuation(s[1]) && is_continuation(s[2])) {
        const unsigned c = (s[0] & 15u) << 12 | (s[1] & 63u) << 6 | (s[2] & 63u);
        return c >= 0x800 && (c < 0xd800 || c > 0xdfff) ? 3 : 0;
    }
    if (s[0] >= 0xf0 && s[0] < 0xf5 && left >= 4 && is_continuation(s[1]) &&
        is_continuation(s[2]) && is_continuation(s[3])) {
        const unsigned c = (s[0] & 7u) << 18 | (s[1] & 63u) << 12;
        return c >= 0x10000 && c < 0x110000 ? 4 : 0;
    }
    return 0;
}

/* A unit of the double array (Aoe 1989); those outside, in a damaged file, are those of no label.
 */
static uint32_t unit_at(const gen_spm *spm, size_t i)
{
    if (i >= spm->num_units)
        return 0x80000000u;
    const unsigned char *u = spm->trie + 4 * i;
    return u[0] | (uint32_t)u[1] << 8 | (uint32_t)u[2] << 16 | (uint32_t)u[3] << 24;
}

static size_t unit_offset(uint32_t u)
{
    return (size_t)(u >> 10) << ((u & 0x200) >> 6);
}

/* The longest beginning of the text that the charsmap replaces: its size, or 0. */
static size_t longest_replaced(const gen_spm *spm, const char *text, size_t size, size_t *value)
{
    size_t longest = 0;
    if (!spm->trie)
        return 0;
    size_t at = unit_offset(unit_at(spm, 0));
    for (size_t i = 0; i < size; i++) {
        const unsigned char c = (unsigned char)text[i];
        at ^= c;
        const uint32_t u = unit_at(spm, at);
        if ((u & 0x800000ffu) != c)
            break;
        at ^= unit_offset(u);
        if (u & 0x100) {
            *value = unit_at(spm, at) & 0x7fffffffu;
            longest = i + 1;
        }
    }
    return longest;
}

/* Of the pieces lo..hi-1 of a sorted list, alike in their first `depth` bytes, the first whose next
 * byte is not below c; those that end there come first. */
static int32_t first_not_below(const gen_spm *spm, const int32_t *list, int32_t lo, int32_t hi,
                               size_t depth, int c)
{
    while (lo < hi) {
        const int32_t middle = lo + (hi - lo) / 2;
        const gen_spm_piece_entry *p = &spm->pieces[list[middle]];
        if (p->size <= depth || (unsigned char)p->text[depth] < c)
            lo = middle + 1;
        else
            hi = middle;
    }
    return lo;
}

/* Pieces of a sorted list that a text begins with, the shorter ones first. */
typedef struct search {
    const gen_spm *spm;
    const int32_t *list;
    int32_t lo, hi;
    size_t depth;
} search;

/* The next one's id, and its size in s->depth; -1 when there are no more. */
static int32_t next_piece(search *s, const char *text, size_t size)
{
    while (s->depth < size && s->lo < s->hi) {
        const int c = (unsigned char)text[s->depth];
        s->lo = first_not_below(s->spm, s->list, s->lo, s->hi, s->depth, c);
        s->hi = first_not_below(s->spm, s->list, s->lo, s->hi, s->depth, c + 1);
        s->depth++;
        int32_t id = -1; /* of two alike the last counts */
        for (int32_t i = s->lo; i < s->hi && s->spm->pieces[s->list[i]].size == s->depth; i++)
            id = s->list[i];
        if (id >= 0)
            return id;
    }
    return -1;
}

/* The size of the longest user-defined piece the text begins with, or 0. */
static size_t user_defined(const gen_spm *spm, const char *text, size_t size)
{
    size_t longest = 0;
    search s = {spm, spm->user_defined, 0, spm->num_user_defined, 0};
    while (next_piece(&s, text, size) >= 0)
        longest = s.depth;
    return longest;
}

/* What the beginning of the text becomes; returns how many bytes that is. */
static size_t replace_one(const gen_spm *spm, const char *text, size_t size, const char **to,
                          size_t *to_size)
{
    size_t value = 0, used = user_defined(spm, text, size);
    *to = text;
    if ((*to_size = used))
        return used;
    used = longest_replaced(spm, text, size, &value);
    if (used && value < spm->replacements_size) {
        *to = spm->replacements + value;
        const char *end = memchr(*to, 0, spm->replacements_size - value);
        *to_size = end ? (size_t)(end - *to) : spm->replacements_size - value;
        return used;
    }
    if ((used = character_size(text, size))) {
        *to_size = used;
        return used;
    }
    *to = "\xef\xbf\xbd"; /* U+FFFD */
    *to_size = 3;
    return 1;
}

static gen_status append_escaped(buffer *b, const char *s, size_t size, const gen_spm *spm,
                                 gen_error *err)
{
    for (size_t i = 0; i < size; i++)
        GEN_TRY(s[i] == ' ' && spm->escapes_whitespace ? append(b, GEN_SPM_SPACE, 3, spm, err)
                                                       : append(b, s + i, 1, spm, err));
    return GEN_OK;
}

static bool ends_with(const buffer *b, const char *ending)
{
    const size_t n = strlen(ending);
    return b->size >= n && memcmp(b->data + b->size - n, ending, n) == 0;
}

static gen_status normalise(buffer *b, const gen_spm *spm, const char *text, size_t size,
                            gen_error *err)
{
    const char *const space = spm->escapes_whitespace ? GEN_SPM_SPACE : " ";
    const bool trims = spm->removes_extra_whitespace;
    const char *to;
    size_t to_size, used;
    while (trims && size) {
        used = replace_one(spm, text, size, &to, &to_size);
        if (to_size != 1 || *to != ' ')
            break;
        text += used;
        size -= used;
    }
    if (size == 0)
        return append(b, "", 0, spm, err);
    if (spm->has_dummy_prefix && !spm->has_whitespace_suffix)
        GEN_TRY(append(b, space, strlen(space), spm, err));
    bool follows_space = trims;
    for (; size; text += used, size -= used) {
        used = replace_one(spm, text, size, &to, &to_size);
        for (; follows_space && to_size && *to == ' '; to_size--)
            to++;
        if (to_size == 0)
            continue;
        GEN_TRY(append_escaped(b, to, to_size, spm, err));
        follows_space = trims && to[to_size - 1] == ' ';
    }
    while (trims && ends_with(b, space))
        b->size -= strlen(space);
    b->data[b->size] = '\0';
    if (spm->has_dummy_prefix && spm->has_whitespace_suffix)
        GEN_TRY(append(b, space, strlen(space), spm, err));
    return GEN_OK;
}

gen_status gen_spm_normalise(const gen_spm *spm, const char *text, size_t size, char **out,
                             size_t *out_size, gen_error *err)
{
    buffer b = {.limit = (size_t)MAX_GROWTH * (size + 1)};
    if (size > MAX_TEXT)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "a text of %zu bytes, expected at most %d", size,
                        MAX_TEXT);
    const gen_status status = normalise(&b, spm, text, size, err);
    if (status) {
        gen_free(b.data);
        return status;
    }
    *out = b.data;
    *out_size = b.size;
    return GEN_OK;
}

/* ---- the best path ------------------------------------------------------------------------------
 */

/* The best way to a place in the text. */
typedef struct arrival {
    float score;
    int32_t id;
    size_t from;
    bool is_reached;
} arrival;

static void offer(arrival *a, double score, int32_t id, size_t from)
{
    if (a->is_reached && !(score > (double)a->score))
        return;
    *a = (arrival){.score = (float)score, .id = id, .from = from, .is_reached = true};
}

/* Offers every piece that begins at `from`; an unknown character where none is one character long.
 */
static void leave(const gen_spm *spm, const char *text, size_t size, size_t from, size_t character,
                  arrival *arrivals)
{
    const float before = arrivals[from].score;
    search s = {spm, spm->sorted, 0, spm->num_sorted, 0};
    bool has_character = false;
    int32_t id;
    while ((id = next_piece(&s, text + from, size - from)) >= 0) {
        const gen_spm_piece_entry *p = &spm->pieces[id];
        const double score = p->type == GEN_SPM_USER_DEFINED
                                 ? (double)((float)s.depth * spm->max_score) - 0.1
                                 : (double)p->score;
        offer(&arrivals[from + s.depth], score + (double)before, id, from);
        has_character = has_character || s.depth == character;
    }
    if (!has_character)
        offer(&arrivals[from + character], (double)(spm->min_score - UNKNOWN_PENALTY + before),
              spm->unk, from);
}

static gen_status add_id(gen_ids *ids, int32_t id, gen_error *err)
{
    if (ids->count == ids->capacity) {
        const size_t capacity = ids->capacity ? 2 * ids->capacity : 64;
        int32_t *grown = gen_realloc(ids->ids, capacity * sizeof *grown);
        if (!grown)
            return gen_no_memory(err, "tokenizer", capacity * sizeof *grown);
        ids->ids = grown;
        ids->capacity = capacity;
    }
    ids->ids[ids->count++] = id;
    return GEN_OK;
}

/* The ids of the best path, whose arrivals have been turned into departures: next[i] is where the
 * piece that begins at i ends. */
static gen_status collect(const gen_spm *spm, const char *text, size_t size,
                          const arrival *arrivals, const size_t *next, gen_ids *ids, gen_error *err)
{
    bool follows_unknown = false;
    for (size_t at = 0; at < size; at = next[at]) {
        const int32_t id = arrivals[next[at]].id;
        const bool is_unknown = id == spm->unk;
        if (is_unknown && spm->has_byte_fallback) {
            for (size_t i = at; i < next[at]; i++)
                GEN_TRY(add_id(ids, spm->byte_ids[(unsigned char)text[i]], err));
        } else if (!is_unknown || !follows_unknown) {
            GEN_TRY(add_id(ids, id, err));
        }
        follows_unknown = is_unknown;
    }
    return GEN_OK;
}

/* Bytes a character has by its first byte, within the text. */
static size_t step_of(const char *text, size_t left)
{
    static const unsigned char sizes[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 4};
    const size_t size = sizes[(unsigned char)*text >> 4];
    return size < left ? size : left;
}

/* A text without added tokens. */
static gen_status tokenize_plain(const gen_spm *spm, const char *text, size_t size, gen_ids *ids,
                                 gen_error *err)
{
    char *normal;
    size_t n;
    GEN_TRY(gen_spm_normalise(spm, text, size, &normal, &n, err));
    gen_status status = GEN_OK;
    arrival *arrivals = gen_calloc(n + 1, sizeof *arrivals);
    size_t *next = gen_calloc(n + 1, sizeof *next);
    if (!arrivals || !next) {
        status = gen_no_memory(err, "tokenizer", (n + 1) * sizeof *arrivals);
        goto done;
    }
    for (size_t at = 0; at < n;) {
        const size_t step = step_of(normal + at, n - at);
        leave(spm, normal, n, at, step, arrivals);
        at += step;
    }
    for (size_t at = n; at > 0; at = arrivals[at].from)
        next[arrivals[at].from] = at;
    status = collect(spm, normal, n, arrivals, next, ids, err);
done:
    gen_free(arrivals);
    gen_free(next);
    gen_free(normal);
    return status;
}

/* The added token at the beginning of the text, the longest. */
static const gen_spm_added *find_added(const gen_spm *spm, const char *text, size_t size)
{
    const gen_spm_added *longest = NULL;
    for (size_t i = 0; i < spm->num_added; i++) {
        const gen_spm_added *a = &spm->added[i];
        if (a->size <= size && (!longest || a->size > longest->size) &&
            memcmp(text, a->text, a->size) == 0)
            longest = a;
    }
    return longest;
}

gen_status gen_spm_tokenize(const gen_spm *spm, const char *text, size_t size, gen_ids *ids,
                            gen_error *err)
{
    size_t start = 0;
    if (size > MAX_TEXT)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "a text of %zu bytes, expected at most %d", size,
                        MAX_TEXT);
    for (size_t i = 0; spm->num_added && i < size;) {
        const gen_spm_added *a = find_added(spm, text + i, size - i);
        if (!a) {
            i++;
            continue;
        }
        GEN_TRY(tokenize_plain(spm, text + start, i - start, ids, err));
        GEN_TRY(add_id(ids, a->id, err));
        start = i += a->size;
    }
    return tokenize_plain(spm, text + start, size - start, ids, err);
}

gen_status gen_spm_encode(const gen_spm *spm, const char *text, int max_length, gen_ids *ids,
                          size_t *num_cut, gen_error *err)
{
    const size_t first = ids->count, most = max_length > 1 ? (size_t)max_length - 1 : 0;
    GEN_TRY(gen_spm_tokenize(spm, text, strlen(text), ids, err));
    const size_t count = ids->count - first;
    if (num_cut)
        *num_cut = count > most ? count - most : 0;
    if (count > most)
        ids->count = first + most;
    return add_id(ids, spm->eos, err);
}

/* ---- back to text -------------------------------------------------------------------------------
 */

static int byte_of(const gen_spm *spm, int32_t id)
{
    for (int i = 0; spm->has_byte_fallback && i < 256; i++)
        if (spm->byte_ids[i] == id)
            return i;
    return -1;
}

/* A run of bytes as characters. */
static gen_status flush_bytes(buffer *out, buffer *bytes, const gen_spm *spm, gen_error *err)
{
    for (size_t i = 0; i < bytes->size;) {
        const size_t n = character_size(bytes->data + i, bytes->size - i);
        GEN_TRY(n ? append(out, bytes->data + i, n, spm, err)
                  : append(out, "\xef\xbf\xbd", 3, spm, err));
        i += n ? n : 1;
    }
    bytes->size = 0;
    return GEN_OK;
}

/* A piece with its blanks; those at the beginning of the text are those of normalising. */
static gen_status append_piece(buffer *out, const gen_spm *spm, int32_t id, bool *drops_blank,
                               gen_error *err)
{
    size_t size;
    const char *text = gen_spm_piece(spm, id, &size);
    const gen_spm_type type =
        id >= 0 && id < spm->num_pieces ? spm->pieces[id].type : GEN_SPM_CONTROL;
    if (type == GEN_SPM_CONTROL)
        return GEN_OK;
    if (type == GEN_SPM_UNKNOWN) {
        *drops_blank = false;
        return append(out, " \xe2\x81\x87 ", 5, spm, err); /* U+2047 */
    }
    if (*drops_blank && size >= 3 && memcmp(text, GEN_SPM_SPACE, 3) == 0) {
        text += 3;
        size -= 3;
        *drops_blank = spm->removes_extra_whitespace;
    }
    for (size_t i = 0; i < size;) {
        const bool is_blank = size - i >= 3 && memcmp(text + i, GEN_SPM_SPACE, 3) == 0;
        GEN_TRY(is_blank ? append(out, " ", 1, spm, err) : append(out, text + i, 1, spm, err));
        i += is_blank ? 3 : 1;
    }
    *drops_blank = *drops_blank && out->size == 0;
    return GEN_OK;
}

gen_status gen_spm_decode(const gen_spm *spm, const int32_t *ids, size_t count, char **out,
                          gen_error *err)
{
    buffer text = {.limit = SIZE_MAX / 4}, bytes = {.limit = SIZE_MAX / 4};
    bool drops_blank = spm->has_dummy_prefix || spm->removes_extra_whitespace;
    gen_status status = append(&text, "", 0, spm, err);
    for (size_t i = 0; i < count && !status; i++) {
        const int byte = byte_of(spm, ids[i]);
        if (byte >= 0) {
            const char c = (char)byte;
            status = append(&bytes, &c, 1, spm, err);
            drops_blank = false;
        } else if (!(status = flush_bytes(&text, &bytes, spm, err))) {
            status = append_piece(&text, spm, ids[i], &drops_blank, err);
        }
    }
    if (!status)
        status = flush_bytes(&text, &bytes, spm, err);
    gen_free(bytes.data);
    if (status)
        gen_free(text.data);
    else
        *out = text.data;
    return status;
}
