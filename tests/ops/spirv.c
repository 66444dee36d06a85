/* spirv.c - a reader of the declarations of a module: types, constants, variables.  Numbers of
 * instructions, decorations and classes are those of the SPIR-V specification. */
#include "tests/ops/spirv.h"

#include <stdlib.h>
#include <string.h>

enum {
    OP_EXECUTION_MODE = 16,
    OP_CAPABILITY = 17,
    OP_TYPE_BOOL = 20,
    OP_TYPE_INT = 21,
    OP_TYPE_FLOAT = 22,
    OP_TYPE_VECTOR = 23,
    OP_TYPE_ARRAY = 28,
    OP_TYPE_RUNTIME_ARRAY = 29,
    OP_TYPE_STRUCT = 30,
    OP_TYPE_POINTER = 32,
    OP_CONSTANT_TRUE = 41,
    OP_CONSTANT_FALSE = 42,
    OP_CONSTANT = 43,
    OP_CONSTANT_COMPOSITE = 44,
    OP_SPEC_CONSTANT_TRUE = 48,
    OP_SPEC_CONSTANT_FALSE = 49,
    OP_SPEC_CONSTANT = 50,
    OP_SPEC_CONSTANT_COMPOSITE = 51,
    OP_SPEC_CONSTANT_OP = 52,
    OP_FUNCTION = 54,
    OP_VARIABLE = 59,
    OP_DECORATE = 71,
    OP_MEMBER_DECORATE = 72
};
enum { SPEC_ID = 1, BUILT_IN = 11, BINDING = 33, OFFSET = 35, WORKGROUP_SIZE = 25 };
enum { CLASS_WORKGROUP = 4, CLASS_PUSH = 9, CLASS_BUFFER = 12 };
enum {
    MODE_LOCAL_SIZE = 17,
    CAPABILITY_MATRIX = 0,
    CAPABILITY_SHADER = 1,
    CAPABILITY_SUBGROUPS = 61,
    CAPABILITY_EXCHANGE = 66,
    CAPABILITY_16BIT_STORAGE = 4433,
    MAX_OPERANDS = 64
};

/* One id of the module. */
typedef struct item {
    uint32_t op, type; /* the instruction that made it, and the type it names */
    uint32_t value;    /* of a constant; size of a type in bytes; class of a pointer */
    uint32_t operands[MAX_OPERANDS], num_operands;
    uint32_t spec_id, binding, built_in; /* + 1; 0: none */
    uint32_t member_offsets[MAX_OPERANDS];
} item;

typedef struct reader {
    item *items;
    uint32_t num_items;
    const uint32_t *constants;
    int num_constants;
    spirv_needs *out;
    const char *why;
} reader;

static uint32_t constant_of(const reader *r, const item *it, uint32_t standard)
{
    const bool is_given = it->spec_id && (int)it->spec_id <= r->num_constants;
    return is_given ? r->constants[it->spec_id - 1] : standard;
}

/* operands: the operation, then ids. */
static uint32_t evaluate(reader *r, const item *it)
{
    const item *a = &r->items[it->operands[1]];
    const uint32_t x = a->value;
    const uint32_t y = it->num_operands > 2 ? r->items[it->operands[2] % r->num_items].value : 0;
    switch (it->operands[0]) {
    case 81: /* a part of a composite */
        return r->items[a->operands[it->operands[2]]].value;
    case 128:
        return x + y;
    case 130:
        return x - y;
    case 132:
        return x * y;
    case 134:
        return y ? x / y : 0;
    case 137:
        return y ? x % y : 0;
    case 164:
    case 165:
    case 166:
    case 167:
    case 168: /* logic and choice */
    case 169:
    case 170:
    case 171:
    case 172:
    case 174:
    case 176:
    case 178:
    case 180:
        return 0; /* of conditions, not of sizes */
    default:
        r->why = "an operation on constants";
        return 0;
    }
}

static uint32_t size_of_type(reader *r, const item *it)
{
    uint32_t size = 0;
    switch (it->op) {
    case OP_TYPE_BOOL:
        return 4;
    case OP_TYPE_INT:
    case OP_TYPE_FLOAT:
        return it->operands[0] / 8;
    case OP_TYPE_VECTOR:
        return r->items[it->operands[0]].value * it->operands[1];
    case OP_TYPE_ARRAY:
        return r->items[it->operands[0]].value * r->items[it->operands[1]].value;
    case OP_TYPE_STRUCT:
        for (uint32_t i = 0; i < it->num_operands; i++) {
            const uint32_t end = it->member_offsets[i] + r->items[it->operands[i]].value;
            size = end > size ? end : size;
        }
        return size;
    default:
        return 0;
    }
}

static void add_variable(reader *r, const item *it, uint32_t storage)
{
    spirv_needs *out = r->out;
    const item *pointer = &r->items[it->type];
    const uint32_t size = r->items[pointer->operands[1]].value;
    if (storage == CLASS_WORKGROUP)
        out->shared_bytes += size;
    if (storage == CLASS_PUSH)
        out->push_bytes += size;
    if (storage == CLASS_BUFFER) {
        out->num_buffers++;
        if (it->binding && it->binding - 1 > out->highest_binding)
            out->highest_binding = it->binding - 1;
    }
}

static void set_workgroup(reader *r, const item *it)
{
    for (int i = 0; i < 3; i++)
        r->out->workgroup[i] = r->items[it->operands[i]].value;
}

/* Decorations stand before what they decorate. */
static void decorate(reader *r, const uint32_t *w, uint32_t count)
{
    item *it = &r->items[w[1] % r->num_items];
    const bool is_member = (w[0] & 0xffff) == OP_MEMBER_DECORATE;
    if (is_member && count > 4 && w[3] == OFFSET && w[2] < MAX_OPERANDS)
        it->member_offsets[w[2]] = w[4];
    if (is_member || count < 4)
        return;
    if (w[2] == SPEC_ID)
        it->spec_id = w[3] + 1;
    if (w[2] == BINDING)
        it->binding = w[3] + 1;
    if (w[2] == BUILT_IN)
        it->built_in = w[3] + 1;
}

static void declare_type(reader *r, const uint32_t *w, uint32_t count)
{
    item *it = &r->items[w[1] % r->num_items];
    it->op = w[0] & 0xffff;
    it->num_operands = count - 2 < MAX_OPERANDS ? count - 2 : MAX_OPERANDS;
    memcpy(it->operands, w + 2, it->num_operands * sizeof *w);
    it->value = size_of_type(r, it);
}

/* Constants and variables: type, result, operands. */
static void declare(reader *r, const uint32_t *w, uint32_t count)
{
    item *it = &r->items[w[2] % r->num_items];
    it->op = w[0] & 0xffff;
    it->type = w[1];
    it->num_operands = count - 3 < MAX_OPERANDS ? count - 3 : MAX_OPERANDS;
    memcpy(it->operands, w + 3, it->num_operands * sizeof *w);
    switch (it->op) {
    case OP_CONSTANT:
    case OP_SPEC_CONSTANT:
        it->value = constant_of(r, it, w[3]);
        break;
    case OP_CONSTANT_TRUE:
    case OP_SPEC_CONSTANT_TRUE:
        it->value = constant_of(r, it, 1);
        break;
    case OP_SPEC_CONSTANT_FALSE:
        it->value = constant_of(r, it, 0);
        break;
    case OP_SPEC_CONSTANT_OP:
        it->value = evaluate(r, it);
        break;
    case OP_CONSTANT_COMPOSITE:
    case OP_SPEC_CONSTANT_COMPOSITE:
        if (it->built_in == WORKGROUP_SIZE + 1)
            set_workgroup(r, it);
        break;
    case OP_VARIABLE:
        add_variable(r, it, w[3]);
        break;
    default:
        break;
    }
}

static void read_instruction(reader *r, const uint32_t *w, uint32_t count)
{
    const uint32_t op = w[0] & 0xffff;
    if (op == OP_CAPABILITY && w[1] == CAPABILITY_16BIT_STORAGE)
        r->out->needs_16bit_storage = true;
    else if (op == OP_CAPABILITY && (w[1] == CAPABILITY_SUBGROUPS || w[1] == CAPABILITY_EXCHANGE))
        r->out->needs_lanes = true;
    else if (op == OP_CAPABILITY && w[1] != CAPABILITY_SHADER && w[1] != CAPABILITY_MATRIX)
        r->out->needs_features = true;
    else if (op == OP_EXECUTION_MODE && w[2] == MODE_LOCAL_SIZE && count == 6)
        memcpy(r->out->workgroup, w + 3, sizeof r->out->workgroup);
    else if ((op == OP_DECORATE || op == OP_MEMBER_DECORATE) && count > 2)
        decorate(r, w, count);
    else if (op >= OP_TYPE_BOOL && op <= OP_TYPE_POINTER && count > 1)
        declare_type(r, w, count);
    else if (((op >= OP_CONSTANT_TRUE && op <= OP_SPEC_CONSTANT_OP) || op == OP_VARIABLE) &&
             count > 2)
        declare(r, w, count);
}

bool spirv_measure(const uint32_t *code, size_t size, const uint32_t *constants, int num_constants,
                   spirv_needs *out, const char **why)
{
    const size_t num_words = size / sizeof *code;
    *out = (spirv_needs){0};
    *why = "its header";
    if (num_words < 5 || code[0] != 0x07230203u || code[3] > 100000)
        return false;
    reader r = {
        .num_items = code[3], .constants = constants, .num_constants = num_constants, .out = out};
    r.items = calloc(r.num_items, sizeof *r.items);
    if (!r.items)
        return false;
    for (size_t at = 5; at < num_words && (code[at] & 0xffff) != OP_FUNCTION;) {
        const uint32_t count = code[at] >> 16;
        if (count == 0 || at + count > num_words) {
            r.why = "the length of an instruction";
            break;
        }
        read_instruction(&r, code + at, count);
        at += count;
    }
    free(r.items);
    out->invocations = out->workgroup[0] * out->workgroup[1] * out->workgroup[2];
    *why = r.why;
    return !r.why;
}

const char *spirv_excess(const spirv_needs *needs)
{
    if (needs->needs_features)
        return "a feature that not every device has";
    if (needs->invocations < 1 || needs->invocations > 256)
        return "more than 256 invocations in a workgroup";
    if (needs->workgroup[2] > 64)
        return "a workgroup deeper than 64";
    if (needs->shared_bytes > 16384)
        return "more than 16 KiB of shared memory";
    if (needs->push_bytes > 128)
        return "more than 128 bytes of push constants";
    if (needs->num_buffers > 6 || needs->highest_binding > 5)
        return "more than 6 buffers";
    return NULL;
}
