/* spm_model.c - reads a SentencePiece model: the protobuf message of spiece.model, field by field
 * with every length checked. */
#include <inttypes.h>
#include <string.h>

#include "gen/text/spm_internal.h"

/* ---- protobuf -----------------------------------------------------------------------------------
 */

/* What is left of a message. */
typedef struct message {
    const unsigned char *at, *end;
} message;

typedef struct field {
    uint32_t number;
    enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 } type;
    uint64_t value; /* of a number */
    message bytes;  /* of BYTES */
} field;

static bool read_varint(message *m, uint64_t *value)
{
    *value = 0;
    for (int shift = 0; shift < 64 && m->at < m->end; shift += 7) {
        const unsigned char c = *m->at++;
        *value |= (uint64_t)(c & 127) << shift;
        if (c < 128)
            return true;
    }
    return false;
}

static bool read_fixed(message *m, int size, uint64_t *value)
{
    *value = 0;
    if (m->end - m->at < size)
        return false;
    for (int i = 0; i < size; i++)
        *value |= (uint64_t)*m->at++ << (8 * i);
    return true;
}

/* The next field, false when it is damaged. */
static bool read_field(message *m, field *f)
{
    uint64_t key;
    if (!read_varint(m, &key) || key >> 3 == 0 || key >> 3 > 1 << 29)
        return false;
    f->number = (uint32_t)(key >> 3);
    f->bytes = (message){NULL, NULL};
    switch (key & 7) {
    case VARINT:
        f->type = VARINT;
        return read_varint(m, &f->value);
    case FIXED64:
        f->type = FIXED64;
        return read_fixed(m, 8, &f->value);
    case FIXED32:
        f->type = FIXED32;
        return read_fixed(m, 4, &f->value);
    case BYTES:
        f->type = BYTES;
        if (!read_varint(m, &f->value) || f->value > (uint64_t)(m->end - m->at))
            return false;
        f->bytes = (message){m->at, m->at + f->value};
        m->at += f->value;
        return true;
    default:
        return false;
    }
}

static gen_status damaged(const gen_spm *spm, const char *where, gen_error *err)
{
    return gen_fail(err, GEN_ERROR_MODEL,
                    "%s: no SentencePiece model, or damaged (%s); get spiece.model of the model's "
                    "tokenizer folder again",
                    spm->path, where);
}

static float as_float(uint64_t bits)
{
    const uint32_t low = (uint32_t)bits;
    float value;
    memcpy(&value, &low, sizeof value);
    return value;
}

/* ---- the messages -------------------------------------------------------------------------------
 */

static gen_status read_piece(gen_spm *spm, message m, gen_error *err)
{
    message text = {NULL, NULL};
    float score = 0;
    uint64_t type = GEN_SPM_NORMAL;
    field f;
    while (m.at < m.end) {
        if (!read_field(&m, &f))
            return damaged(spm, "a piece", err);
        if (f.number == 1 && f.type == BYTES)
            text = f.bytes;
        else if (f.number == 2 && f.type == FIXED32)
            score = as_float(f.value);
        else if (f.number == 3 && f.type == VARINT)
            type = f.value;
    }
    if (type < GEN_SPM_NORMAL || type > GEN_SPM_BYTE)
        return damaged(spm, "the kind of a piece", err);
    return gen_spm_add_piece(spm, (const char *)text.at, (size_t)(text.end - text.at), score,
                             (gen_spm_type)type, err);
}

/* An id, which is -1 where the model has no such token. */
static int32_t as_id(uint64_t value)
{
    const int64_t id = (int64_t)value;
    return id >= 0 && id < INT32_MAX ? (int32_t)id : -1;
}

static gen_status read_trainer(gen_spm *spm, message m, gen_error *err)
{
    static const char *const kinds[] = {"?", "unigram", "BPE", "word", "character"};
    field f;
    while (m.at < m.end) {
        if (!read_field(&m, &f))
            return damaged(spm, "the trainer's settings", err);
        if (f.type != VARINT)
            continue;
        switch (f.number) {
        case 3:
            if (f.value != 1)
                return gen_fail(err, GEN_ERROR_MODEL,
                                "%s: a SentencePiece model of the kind %s, expected unigram, as "
                                "T5 and umT5 have it",
                                spm->path, kinds[f.value <= 4 ? f.value : 0]);
            break;
        case 24:
            spm->has_whitespace_suffix = f.value != 0;
            break;
        case 35:
            spm->has_byte_fallback = f.value != 0;
            break;
        case 40:
            spm->unk = as_id(f.value);
            break;
        case 42:
            spm->eos = as_id(f.value);
            break;
        case 43:
            spm->pad = as_id(f.value);
            break;
        default:
            break;
        }
    }
    return GEN_OK;
}

static gen_status read_normaliser(gen_spm *spm, message m, gen_error *err)
{
    field f;
    while (m.at < m.end) {
        if (!read_field(&m, &f))
            return damaged(spm, "the normaliser's settings", err);
        if (f.number == 2 && f.type == BYTES)
            GEN_TRY(gen_spm_set_charsmap(spm, f.bytes.at, (size_t)(f.bytes.end - f.bytes.at), err));
        else if (f.number == 3 && f.type == VARINT)
            spm->has_dummy_prefix = f.value != 0;
        else if (f.number == 4 && f.type == VARINT)
            spm->removes_extra_whitespace = f.value != 0;
        else if (f.number == 5 && f.type == VARINT)
            spm->escapes_whitespace = f.value != 0;
    }
    return GEN_OK;
}

static gen_status read_model(gen_spm *spm, message m, gen_error *err)
{
    field f;
    while (m.at < m.end) {
        if (!read_field(&m, &f))
            return damaged(spm, "its first level", err);
        if (f.type != BYTES)
            continue;
        if (f.number == 1)
            GEN_TRY(read_piece(spm, f.bytes, err));
        else if (f.number == 2)
            GEN_TRY(read_trainer(spm, f.bytes, err));
        else if (f.number == 3)
            GEN_TRY(read_normaliser(spm, f.bytes, err));
    }
    return gen_spm_finish(spm, err);
}

gen_status gen_spm_parse_model(gen_spm **out, const void *data, size_t size, const char *path,
                               gen_error *err)
{
    gen_spm *spm;
    const message m = {data, (const unsigned char *)data + size};
    GEN_TRY(gen_spm_new(&spm, path, err));
    const gen_status status = read_model(spm, m, err);
    if (status)
        gen_spm_free(spm);
    else
        *out = spm;
    return status;
}
