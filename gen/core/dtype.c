/* dtype.c - sizes, names and conversions of the stored number types. */
#include "gen/core/dtype.h"

static const struct {
    const char *name;
    size_t size;
} dtypes[GEN_NUM_DTYPES] = {
    [GEN_F32] = {"F32", 4}, [GEN_F16] = {"F16", 2},         [GEN_BF16] = {"BF16", 2},
    [GEN_I32] = {"I32", 4}, [GEN_I64] = {"I64", 8},         [GEN_U8] = {"U8", 1},
    [GEN_I8] = {"I8", 1},   [GEN_BOOL] = {"BOOL", 1},       [GEN_F64] = {"F64", 8},
    [GEN_I16] = {"I16", 2}, [GEN_U16] = {"U16", 2},         [GEN_U32] = {"U32", 4},
    [GEN_U64] = {"U64", 8}, [GEN_F8_E4M3] = {"F8_E4M3", 1}, [GEN_F8_E5M2] = {"F8_E5M2", 1},
};

size_t gen_dtype_size(gen_dtype dtype)
{
    return dtypes[dtype].size;
}

const char *gen_dtype_name(gen_dtype dtype)
{
    return dtypes[dtype].name;
}

bool gen_dtype_from_name(const char *name, gen_dtype *out)
{
    for (int i = 0; i < GEN_NUM_DTYPES; i++)
        if (strcmp(dtypes[i].name, name) == 0) {
            *out = (gen_dtype)i;
            return true;
        }
    return false;
}

static float e4m3_to_f32(uint8_t h)
{
    const uint32_t exponent = (h >> 3) & 15u, mantissa = h & 7u;
    const uint32_t sign = (uint32_t)(h & 0x80u) << 24;
    uint32_t bits;
    float f;
    if (exponent == 0) {
        f = (float)mantissa * 0x1p-9f;
        return sign ? -f : f;
    }
    if (exponent == 15 && mantissa == 7)
        bits = sign | 0x7fc00000u;
    else
        bits = sign | ((exponent + 120u) << 23) | (mantissa << 20);
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Rounds x / 2^shift to nearest, ties to even; shift in 1..31. */
static uint32_t shift_round(uint32_t x, unsigned shift)
{
    const uint32_t half = (uint32_t)1 << (shift - 1);
    const uint32_t odd = (x >> shift) & 1u;
    return (x + half - 1u + odd) >> shift;
}

uint16_t gen_f32_to_f16(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    const uint32_t sign = (bits >> 16) & 0x8000u;
    const uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) /* NaN: keep it one, quiet */
        return (uint16_t)(sign | 0x7e00u);
    if (magnitude >= 0x477ff000u) /* 65520, halfway between the largest half and 2^16 */
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude >= 0x38800000u) /* 2^-14: normal; the carry of the rounding moves the exponent */
        return (uint16_t)(sign | (shift_round(magnitude, 13) - (112u << 10)));
    /* Denormal: the value in units of 2^-24. */
    const uint32_t exponent = magnitude >> 23;
    if (exponent < 102) /* below 2^-25 */
        return (uint16_t)sign;
    const uint32_t mantissa = (magnitude & 0x7fffffu) | 0x800000u;
    return (uint16_t)(sign | shift_round(mantissa, 126 - exponent));
}

uint16_t gen_f32_to_bf16(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u) /* NaN: rounding could make it an infinity */
        return (uint16_t)((bits >> 16) | 0x40u);
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

/* Reads elements by memcpy: tensors in a file may be unaligned. */
#define WIDEN(type, expression)                                                                    \
    do {                                                                                           \
        for (size_t i = 0; i < n; i++) {                                                           \
            type v;                                                                                \
            memcpy(&v, (const char *)in + i * sizeof v, sizeof v);                                 \
            out[i] = (expression);                                                                 \
        }                                                                                          \
    } while (0)

void gen_to_f32(float *out, const void *in, gen_dtype dtype, size_t n)
{
    switch (dtype) {
    case GEN_F32:
        if (n)
            memcpy(out, in, n * sizeof *out);
        break;
    case GEN_F16:
        WIDEN(uint16_t, gen_f16_to_f32(v));
        break;
    case GEN_BF16:
        WIDEN(uint16_t, gen_bf16_to_f32(v));
        break;
    case GEN_F64:
        WIDEN(double, (float)v);
        break;
    case GEN_I64:
        WIDEN(int64_t, (float)v);
        break;
    case GEN_I32:
        WIDEN(int32_t, (float)v);
        break;
    case GEN_I8:
        WIDEN(int8_t, (float)v);
        break;
    case GEN_U8:
    case GEN_BOOL:
        WIDEN(uint8_t, (float)v);
        break;
    case GEN_I16:
        WIDEN(int16_t, (float)v);
        break;
    case GEN_U16:
        WIDEN(uint16_t, (float)v);
        break;
    case GEN_U32:
        WIDEN(uint32_t, (float)v);
        break;
    case GEN_U64:
        WIDEN(uint64_t, (float)v);
        break;
    case GEN_F8_E4M3:
        WIDEN(uint8_t, e4m3_to_f32(v));
        break;
    case GEN_F8_E5M2:
        WIDEN(uint8_t, gen_f16_to_f32((uint16_t)(v << 8)));
        break;
    case GEN_NUM_DTYPES:
        break;
    }
}
