/* clip_vocab.c - reading a CLIP vocabulary (unet.md 5.3).
 *
 * Three forms lead to the same tables: vocab.json with merges.txt, tokenizer.json, and a list of
 * merges alone, from which the ids follow: 256 byte characters, the same with the end mark, one id
 * per merge, then start and end. */
#include "gen/text/clip_internal.h"

#include <string.h>
#include <utf8proc.h>
#include <zlib.h>

/* The first 48894 rules count, however long the file is: 49408 ids less 512 and start and end. */
enum { MAX_MERGES = 48894, MAX_SYMBOLS = 1 << 20, MAX_ID = 1 << 24 };
enum { MAX_UNPACKED = 64 << 20 };
static const char END_OF_WORD[] = "</w>";

/* ---- tables -------------------------------------------------------------------------------------
 */

static uint64_t hash_text(const char *text, size_t size)
{
    uint64_t h = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < size; i++)
        h = (h ^ (unsigned char)text[i]) * 1099511628211u;
    return h ^ (h >> 29);
}

static uint64_t hash_pair(uint32_t left, uint32_t right)
{
    uint64_t h = ((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15u; /* 2^64 / golden ratio */
    return h ^ (h >> 32);
}

/* The slot where the text is, or where it would go. */
static uint32_t *find_slot(const gen_clip_tokenizer *t, const char *text, size_t size)
{
    uint32_t i = (uint32_t)hash_text(text, size) & (t->num_slots - 1);
    for (;; i = (i + 1) & (t->num_slots - 1)) {
        uint32_t *slot = &t->slots[i];
        if (!*slot)
            return slot;
        const gen_clip_symbol *s = &t->symbols[*slot - 1];
        if (s->size == size && !memcmp(s->text, text, size))
            return slot;
    }
}

static uint32_t find_symbol(const gen_clip_tokenizer *t, const char *text, size_t size)
{
    const uint32_t slot = t->num_slots ? *find_slot(t, text, size) : 0;
    return slot ? slot - 1 : GEN_CLIP_NO_SYMBOL;
}

static int32_t find_id(const gen_clip_tokenizer *t, const char *text)
{
    const uint32_t symbol = find_symbol(t, text, strlen(text));
    return symbol == GEN_CLIP_NO_SYMBOL ? -1 : t->symbols[symbol].id;
}

static gen_status grow_symbols(gen_clip_tokenizer *t, gen_error *err)
{
    const uint32_t capacity = t->symbol_capacity ? 2 * t->symbol_capacity : 2048;
    const size_t size = capacity * sizeof *t->symbols, slots_size = 2 * capacity * sizeof *t->slots;
    uint32_t *slots = gen_calloc(2 * (size_t)capacity, sizeof *slots);
    gen_clip_symbol *symbols = slots ? gen_realloc(t->symbols, size) : NULL;
    if (!symbols) {
        gen_free(slots);
        return gen_no_memory(err, t->path, size + slots_size);
    }
    gen_free(t->slots);
    t->symbols = symbols;
    t->symbol_capacity = capacity;
    t->slots = slots;
    t->num_slots = 2 * capacity;
    for (uint32_t i = 0; i < t->num_symbols; i++)
        *find_slot(t, symbols[i].text, symbols[i].size) = i + 1;
    return GEN_OK;
}

/* The index of a symbol, which is added when it is new. */
static gen_status intern(gen_clip_tokenizer *t, const char *text, size_t size, uint32_t *index,
                         gen_error *err)
{
    *index = find_symbol(t, text, size);
    if (*index != GEN_CLIP_NO_SYMBOL)
        return GEN_OK;
    if (t->num_symbols == MAX_SYMBOLS)
        return gen_fail(err, GEN_ERROR_MODEL, "%s: more than %d symbols", t->path, MAX_SYMBOLS);
    if (t->num_symbols == t->symbol_capacity)
        GEN_TRY(grow_symbols(t, err));
    char *copy = gen_arena_alloc(t->arena, size + 1);
    if (!copy)
        return gen_no_memory(err, t->path, size + 1);
    memcpy(copy, text, size);
    t->symbols[t->num_symbols] = (gen_clip_symbol){.text = copy, .size = (uint32_t)size, .id = -1};
    *find_slot(t, text, size) = t->num_symbols + 1;
    *index = t->num_symbols++;
    return GEN_OK;
}

static gen_status set_id(gen_clip_tokenizer *t, uint32_t symbol, int64_t id, gen_error *err)
{
    if (id < 0 || id >= MAX_ID)
        return gen_fail(err, GEN_ERROR_MODEL, "%s: id %lld is outside 0..%d", t->path,
                        (long long)id, MAX_ID - 1);
    t->symbols[symbol].id = (int32_t)id;
    if (id >= t->num_ids)
        t->num_ids = (int32_t)id + 1;
    return GEN_OK;
}

static gen_clip_merge *merge_slot(const gen_clip_tokenizer *t, uint32_t left, uint32_t right)
{
    uint32_t i = (uint32_t)hash_pair(left, right) & (t->num_merge_slots - 1);
    for (;; i = (i + 1) & (t->num_merge_slots - 1)) {
        gen_clip_merge *m = &t->merges[i];
        if (m->left == GEN_CLIP_NO_SYMBOL || (m->left == left && m->right == right))
            return m;
    }
}

const gen_clip_merge *gen_clip_merge_find(const gen_clip_tokenizer *t, uint32_t left,
                                          uint32_t right)
{
    const gen_clip_merge *m = merge_slot(t, left, right);
    return m->left == GEN_CLIP_NO_SYMBOL ? NULL : m;
}

/* Room for `count` rules, at most half full. */
static gen_status new_merges(gen_clip_tokenizer *t, size_t count, gen_error *err)
{
    uint32_t num_slots = 16;
    while (num_slots < 2 * (count < MAX_MERGES ? count : MAX_MERGES))
        num_slots *= 2;
    t->merges = gen_malloc(num_slots * sizeof *t->merges);
    if (!t->merges)
        return gen_no_memory(err, t->path, num_slots * sizeof *t->merges);
    t->num_merge_slots = num_slots;
    for (uint32_t i = 0; i < num_slots; i++)
        t->merges[i].left = GEN_CLIP_NO_SYMBOL;
    return GEN_OK;
}

static size_t count_lines(const char *text, size_t size)
{
    size_t n = 1;
    for (size_t i = 0; i < size; i++)
        n += text[i] == '\n';
    return n;
}

/* Adds the rule of one line, or item, of the list.  With derive_ids the result gets the next id,
 * else it must be in the vocabulary: both halves of a good one are. */
static gen_status add_merge(gen_clip_tokenizer *t, const char *file, uint32_t rank,
                            const char *left, size_t left_size, const char *right,
                            size_t right_size, bool derive_ids, gen_error *err)
{
    uint32_t l, r, result;
    const size_t size = left_size + right_size;
    char short_text[256], *text = size <= sizeof short_text ? short_text : gen_malloc(size);
    if (!text)
        return gen_no_memory(err, t->path, size);
    memcpy(text, left, left_size);
    memcpy(text + left_size, right, right_size);
    gen_status status = intern(t, left, left_size, &l, err);
    if (!status)
        status = intern(t, right, right_size, &r, err);
    if (!status)
        status = intern(t, text, size, &result, err);
    if (!status && derive_ids)
        status = set_id(t, result, 512 + (int64_t)rank, err);
    if (!status && t->symbols[result].id < 0)
        status = gen_fail(err, GEN_ERROR_MODEL,
                          "%s%s: rule %u makes a symbol that the vocabulary does not have", t->path,
                          file, rank + 1);
    if (!status) /* of a repeated rule the last counts, as in a Python dictionary */
        *merge_slot(t, l, r) = (gen_clip_merge){l, r, result, rank};
    if (text != short_text)
        gen_free(text);
    return status;
}

/* The 256 byte characters and their end-of-word forms.  Bytes that print stand for themselves, the
 * others become U+0100 and up, so that no symbol has a space or a control character in it. */
static gen_status add_bytes(gen_clip_tokenizer *t, bool derive_ids, gen_error *err)
{
    int order[256], n = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int b = 0; b < 256; b++) {
            const bool prints = (b >= 33 && b <= 126) || (b >= 161 && b != 173);
            if (prints == (pass == 0))
                order[n++] = b;
        }
    const int num_printing = 188;
    for (int i = 0; i < 256; i++) {
        const int b = order[i];
        utf8proc_uint8_t text[8];
        const size_t size =
            (size_t)utf8proc_encode_char(i < num_printing ? b : 256 + i - num_printing, text);
        GEN_TRY(intern(t, (char *)text, size, &t->byte_symbol[b], err));
        memcpy(text + size, END_OF_WORD, 4);
        GEN_TRY(intern(t, (char *)text, size + 4, &t->end_symbol[b], err));
        if (derive_ids) {
            GEN_TRY(set_id(t, t->byte_symbol[b], i, err));
            GEN_TRY(set_id(t, t->end_symbol[b], 256 + i, err));
        }
    }
    return GEN_OK;
}

/* ---- the forms of a vocabulary ------------------------------------------------------------------
 */

/* Reads "token": id pairs. */
static gen_status read_vocab(gen_clip_tokenizer *t, const char *file, const json_t *vocab,
                             gen_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)vocab, key, value)
    {
        uint32_t symbol;
        if (!json_is_integer(value))
            return gen_fail(err, GEN_ERROR_MODEL, "%s%s: the id of \"%s\" is not a whole number",
                            t->path, file, key);
        GEN_TRY(intern(t, key, strlen(key), &symbol, err));
        GEN_TRY(set_id(t, symbol, json_integer_value(value), err));
    }
    return GEN_OK;
}

/* A list of merges cut short would go unnoticed and change every picture.  Each word but the bytes
 * and the special tokens needs its rule; a few more names may have been added by hand. */
static gen_status check_counts(const gen_clip_tokenizer *t, const char *file, size_t num_words,
                               uint32_t num_merges, gen_error *err)
{
    enum { ADDED_BY_HAND = 16 };
    if (num_words <= (size_t)num_merges + 512 + 2 + ADDED_BY_HAND)
        return GEN_OK;
    return gen_fail(err, GEN_ERROR_MODEL,
                    "%s%s: %u merge rules for a vocabulary of %zu words: cut short, or of another "
                    "tokenizer",
                    t->path, file, num_merges, num_words);
}

static bool names_version(const char *line, size_t n)
{
    const char *mark = memchr(line, '#', n);
    return mark && n - (size_t)(mark - line) >= 8 && !memcmp(mark, "#version", 8);
}

/* Reads lines "A B".  A first line that names a version is no rule. */
static gen_status read_merges(gen_clip_tokenizer *t, const char *file, const char *text,
                              size_t size, bool derive_ids, uint32_t *count, gen_error *err)
{
    size_t line = 0;
    *count = 0;
    GEN_TRY(new_merges(t, count_lines(text, size), err));
    for (size_t at = 0; at < size && *count < MAX_MERGES;) {
        const char *start = text + at;
        const char *end = memchr(start, '\n', size - at);
        size_t n = end ? (size_t)(end - start) : size - at;
        at += n + 1;
        line++;
        while (n && (start[n - 1] == '\r' || start[n - 1] == ' '))
            n--;
        if (!n || (line == 1 && names_version(start, n)))
            continue;
        const char *space = memchr(start, ' ', n);
        const size_t left = space ? (size_t)(space - start) : 0, right = space ? n - left - 1 : 0;
        if (!left || !right || memchr(space + 1, ' ', right))
            return gen_fail(err, GEN_ERROR_MODEL,
                            "%s%s: line %zu is not a rule of two symbols with a space between",
                            t->path, file, line);
        GEN_TRY(add_merge(t, file, *count, start, left, space + 1, right, derive_ids, err));
        ++*count;
    }
    return GEN_OK;
}

static gen_status read_vocab_json(gen_clip_tokenizer *t, const gen_clip_files *files,
                                  gen_error *err)
{
    gen_json *json = NULL;
    uint32_t num_merges;
    if (!files->merges) {
        gen_fail(err, GEN_ERROR_MODEL, "%s: vocab.json without merges.txt", t->path);
        return gen_hint(err, "both files belong to a CLIP vocabulary");
    }
    char *path = gen_asprintf("%s/vocab.json", t->path);
    if (!path)
        return gen_no_memory(err, t->path, strlen(t->path));
    gen_status status = gen_json_parse(&json, files->vocab_json, files->vocab_json_size, path,
                                       GEN_ERROR_MODEL, err);
    if (status)
        goto done;
    if ((status = read_vocab(t, "/vocab.json", json->root, err)))
        goto done;
    if ((status = add_bytes(t, false, err)))
        goto done;
    if ((status = read_merges(t, "/merges.txt", files->merges, files->merges_size, false,
                              &num_merges, err)))
        goto done;
    status = check_counts(t, "/merges.txt", json_object_size(json->root), num_merges, err);
done:
    gen_json_free(json);
    gen_free(path);
    return status;
}

static gen_status read_merges_alone(gen_clip_tokenizer *t, const gen_clip_files *files,
                                    gen_error *err)
{
    uint32_t num_merges, start, end;
    GEN_TRY(add_bytes(t, true, err));
    GEN_TRY(read_merges(t, "", files->merges, files->merges_size, true, &num_merges, err));
    if (!num_merges)
        return gen_fail(err, GEN_ERROR_MODEL, "%s: no merge rules", t->path);
    GEN_TRY(intern(t, "<|startoftext|>", 15, &start, err));
    GEN_TRY(intern(t, "<|endoftext|>", 13, &end, err));
    GEN_TRY(set_id(t, start, 512 + (int64_t)num_merges, err));
    return set_id(t, end, 513 + (int64_t)num_merges, err);
}

/* Items are "A B" in older files and ["A", "B"] in newer ones. */
static gen_status read_merge_list(gen_clip_tokenizer *t, const json_t *list, uint32_t *count,
                                  gen_error *err)
{
    const size_t n = json_array_size(list);
    GEN_TRY(new_merges(t, n, err));
    for (*count = 0; *count < n && *count < MAX_MERGES; ++*count) {
        const json_t *item = json_array_get(list, *count);
        const json_t *left = json_array_get(item, 0), *right = json_array_get(item, 1);
        const char *text = json_string_value(item), *space = text ? strchr(text, ' ') : NULL;
        const char *l = text, *r = space ? space + 1 : NULL;
        size_t l_size = space ? (size_t)(space - text) : 0;
        if (json_array_size(item) == 2) {
            l = json_string_value(left);
            r = json_string_value(right);
            l_size = l ? strlen(l) : 0;
        }
        if (!l || !r || !l_size || !*r)
            return gen_fail(err, GEN_ERROR_MODEL,
                            "%s: tokenizer.json: item %u of \"merges\" is not a pair of symbols",
                            t->path, *count);
        GEN_TRY(add_merge(t, ": tokenizer.json", *count, l, l_size, r, strlen(r), false, err));
    }
    return GEN_OK;
}

static gen_status read_tokenizer_json(gen_clip_tokenizer *t, const json_t *root, gen_error *err)
{
    const json_t *model = json_object_get(root, "model");
    const char *type = json_string_value(json_object_get(model, "type"));
    const char *suffix = json_string_value(json_object_get(model, "end_of_word_suffix"));
    const json_t *vocab = json_object_get(model, "vocab");
    const json_t *merges = json_object_get(model, "merges");
    const json_t *added = json_object_get(root, "added_tokens");
    uint32_t num_merges;
    if ((type && strcmp(type, "BPE")) || !suffix || strcmp(suffix, END_OF_WORD) ||
        !json_is_object(vocab) || !json_is_array(merges))
        return gen_fail(err, GEN_ERROR_MODEL,
                        "%s: tokenizer.json is not of CLIP's kind (BPE with the suffix %s)",
                        t->path, END_OF_WORD);
    GEN_TRY(read_vocab(t, ": tokenizer.json", vocab, err));
    GEN_TRY(add_bytes(t, false, err));
    GEN_TRY(read_merge_list(t, merges, &num_merges, err));
    GEN_TRY(check_counts(t, ": tokenizer.json", json_object_size(vocab), num_merges, err));
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *token = json_array_get(added, i), *id = json_object_get(token, "id");
        const char *text = json_string_value(json_object_get(token, "content"));
        uint32_t symbol;
        if (!text || !json_is_integer(id))
            return gen_fail(err, GEN_ERROR_MODEL,
                            "%s: tokenizer.json: item %zu of \"added_tokens\" has no content or id",
                            t->path, i);
        GEN_TRY(intern(t, text, strlen(text), &symbol, err));
        GEN_TRY(set_id(t, symbol, json_integer_value(id), err));
    }
    return GEN_OK;
}

/* ---- special tokens -----------------------------------------------------------------------------
 */

/* A token is named by a string or by an object with the string in it. */
static const char *token_name(const json_t *root, const char *key)
{
    const json_t *value = json_object_get(root, key);
    if (json_is_object(value))
        value = json_object_get(value, "content");
    return json_string_value(value);
}

/* The two files may disagree about the padding: one of them then repeats the class's default, the
 * end token, and the other states what the model was trained with ('!' for SD2). */
static const char *pad_name(const json_t *config, const json_t *map, const json_t *tokenizer,
                            const char *eos)
{
    const char *names[] = {token_name(config, "pad_token"), token_name(map, "pad_token"),
                           token_name(json_object_get(tokenizer, "padding"), "pad_token")};
    for (int i = 0; i < 3; i++)
        if (names[i] && strcmp(names[i], eos))
            return names[i];
    return eos;
}

static gen_status special_id(const gen_clip_tokenizer *t, const char *role, const char *text,
                             int32_t *id, gen_error *err)
{
    *id = find_id(t, text);
    if (*id >= 0)
        return GEN_OK;
    return gen_fail(err, GEN_ERROR_MODEL,
                    "%s: the %s token \"%s\" is not in the vocabulary: not a CLIP tokenizer",
                    t->path, role, text);
}

static gen_status set_specials(gen_clip_tokenizer *t, const json_t *config, const json_t *map,
                               const json_t *tokenizer, gen_error *err)
{
    const char *names[3] = {"bos_token", "eos_token", "unk_token"}, *texts[3];
    for (int i = 0; i < 3; i++) {
        texts[i] = token_name(map, names[i]);
        if (!texts[i])
            texts[i] = token_name(config, names[i]);
    }
    const char *bos = texts[0] ? texts[0] : "<|startoftext|>";
    const char *eos = texts[1] ? texts[1] : "<|endoftext|>";
    const char *pad = pad_name(config, map, tokenizer, eos);
    GEN_TRY(special_id(t, "start", bos, &t->bos, err));
    GEN_TRY(special_id(t, "end", eos, &t->eos, err));
    GEN_TRY(special_id(t, "padding", pad, &t->pad, err));
    t->unk = texts[2] ? find_id(t, texts[2]) : t->eos;
    if (t->unk < 0)
        t->unk = t->eos;
    t->comma = find_id(t, ",</w>");
    t->bos_text = t->symbols[find_symbol(t, bos, strlen(bos))].text;
    t->eos_text = t->symbols[find_symbol(t, eos, strlen(eos))].text;
    t->pad_text = t->symbols[find_symbol(t, pad, strlen(pad))].text;
    if (t->pad == t->bos || t->pad == t->eos || !*t->pad_text)
        t->pad_text = NULL;
    return GEN_OK;
}

/* ---- from memory --------------------------------------------------------------------------------
 */

static gen_status parse_optional(json_t **out, const gen_clip_tokenizer *t, const char *name,
                                 const char *text, size_t size, size_t flags, gen_error *err)
{
    json_error_t why;
    *out = NULL;
    if (!text)
        return GEN_OK;
    *out = json_loadb(text, size, flags, &why);
    if (json_is_object(*out))
        return GEN_OK;
    if (*out)
        return gen_fail(err, GEN_ERROR_MODEL, "%s/%s: not a JSON object", t->path, name);
    if (json_error_code(&why) == json_error_out_of_memory)
        return gen_no_memory(err, name, size);
    return gen_fail(err, GEN_ERROR_MODEL, "%s/%s: not valid JSON: line %d, column %d: %s", t->path,
                    name, why.line, why.column, why.text);
}

static void *zlib_alloc(void *self, unsigned count, unsigned size)
{
    (void)self;
    return gen_calloc(count, size);
}

static void zlib_free(void *self, void *p)
{
    (void)self;
    gen_free(p);
}

/* Unpacks gzip into *out, made by gen_malloc. */
static gen_status gunzip(char **out, size_t *out_size, const char *data, size_t size,
                         const char *path, gen_error *err)
{
    gen_status status = GEN_OK;
    z_stream z = {
        .next_in = (Bytef *)data, .avail_in = (uInt)size, .zalloc = zlib_alloc, .zfree = zlib_free};
    char *text = NULL;
    size_t capacity = 0;
    int result = inflateInit2(&z, 15 + 16); /* 16: a gzip header */
    if (result != Z_OK)
        return gen_no_memory(err, path, sizeof z);
    while (result != Z_STREAM_END) {
        if (z.total_out == capacity) {
            capacity = capacity ? 2 * capacity : 1 << 16;
            if (capacity > MAX_UNPACKED) {
                status = gen_fail(err, GEN_ERROR_MODEL, "%s: unpacks to more than %d MiB", path,
                                  MAX_UNPACKED >> 20);
                goto done;
            }
            char *grown = gen_realloc(text, capacity);
            if (!grown) {
                status = gen_no_memory(err, path, capacity);
                goto done;
            }
            text = grown;
        }
        z.next_out = (Bytef *)text + z.total_out;
        z.avail_out = (uInt)(capacity - z.total_out);
        result = inflate(&z, Z_NO_FLUSH);
        if (result == Z_MEM_ERROR) {
            status = gen_no_memory(err, path, size);
            goto done;
        }
        if (result != Z_OK && result != Z_STREAM_END) {
            status = gen_fail(err, GEN_ERROR_MODEL, "%s: damaged gzip data", path);
            goto done;
        }
    }
    *out_size = z.total_out;
    *out = text;
    text = NULL;
done:
    inflateEnd(&z);
    gen_free(text);
    return status;
}

static gen_status parse_files(gen_clip_tokenizer *t, const gen_clip_files *files, gen_error *err)
{
    gen_status status;
    json_t *config = NULL, *map = NULL, *tokenizer = NULL;
    const json_t *length;
    /* Numbers as real: "no limit" is written as 10^30, which no integer holds. */
    if ((status = parse_optional(&config, t, "tokenizer_config.json", files->tokenizer_config,
                                 files->tokenizer_config_size, JSON_DECODE_INT_AS_REAL, err)))
        goto done;
    if ((status = parse_optional(&map, t, "special_tokens_map.json", files->special_tokens_map,
                                 files->special_tokens_map_size, 0, err)))
        goto done;
    if (files->vocab_json) {
        status = read_vocab_json(t, files, err);
    } else if (files->tokenizer_json) {
        status = parse_optional(&tokenizer, t, "tokenizer.json", files->tokenizer_json,
                                files->tokenizer_json_size, JSON_REJECT_DUPLICATES, err);
        if (!status)
            status = read_tokenizer_json(t, tokenizer, err);
    } else if (files->merges) {
        status = read_merges_alone(t, files, err);
    } else {
        status = gen_fail(err, GEN_ERROR_MODEL,
                          "%s: no vocabulary: expected vocab.json and merges.txt, or "
                          "tokenizer.json",
                          t->path);
    }
    if (status)
        goto done;
    length = json_object_get(config, "model_max_length");
    t->max_length = 77;
    if (json_is_real(length) && json_real_value(length) >= 3 && json_real_value(length) <= 4096)
        t->max_length = (int)json_real_value(length);
    status = set_specials(t, config, map, tokenizer, err);
done:
    json_decref(config);
    json_decref(map);
    json_decref(tokenizer);
    return status;
}

gen_status gen_clip_tokenizer_parse(gen_clip_tokenizer **out, const gen_clip_files *files,
                                    const char *path, gen_error *err)
{
    gen_status status = GEN_OK;
    gen_clip_files unpacked = *files;
    char *text = NULL;
    gen_clip_tokenizer *t = gen_calloc(1, sizeof *t);
    if (!t || !(t->path = gen_strdup(path)) || !(t->arena = gen_arena_new())) {
        status = gen_no_memory(err, path, sizeof *t);
        goto done;
    }
    if (files->merges && files->merges_size > 2 && !memcmp(files->merges, "\x1f\x8b", 2)) {
        if ((status = gunzip(&text, &unpacked.merges_size, files->merges, files->merges_size, path,
                             err)))
            goto done;
        unpacked.merges = text;
    }
    if ((status = parse_files(t, &unpacked, err)))
        goto done;
    *out = t;
    t = NULL;
done:
    gen_free(text);
    gen_clip_tokenizer_free(t);
    return status;
}

void gen_clip_tokenizer_free(gen_clip_tokenizer *t)
{
    if (!t)
        return;
    gen_arena_free(t->arena);
    gen_free(t->path);
    gen_free(t->symbols);
    gen_free(t->slots);
    gen_free(t->merges);
    gen_free(t);
}
