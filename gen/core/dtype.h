/* dtype.h - the number types tensors are stored in. */
#ifndef GEN_CORE_DTYPE_H
#define GEN_CORE_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef enum gen_dtype {
    GEN_F32,
    GEN_F16,
    GEN_BF16,
    GEN_I32,
    GEN_I64,
    GEN_U8,
    GEN_I8,
    GEN_BOOL,
    GEN_F64,
    GEN_I16,
    GEN_U16,
    GEN_U32,
    GEN_U64,
    GEN_F8_E4M3, /* bias 7, no infinity, NaN is 0x7f and 0xff */
    GEN_F8_E5M2, /* the upper byte of an F16 */
    GEN_NUM_DTYPES
} gen_dtype;

/* Bytes per element. */
size_t gen_dtype_size(gen_dtype dtype);

/* The safetensors name: "F32", "BF16", "I64" ... */
const char *gen_dtype_name(gen_dtype dtype);

/* The type of that name; false when there is none. */
bool gen_dtype_from_name(const char *name, gen_dtype *out);

static inline float gen_bf16_to_f32(uint16_t h)
{
    const uint32_t bits = (uint32_t)h << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Exact, denormals and infinities included. */
static inline float gen_f16_to_f32(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    const uint32_t exponent = (h >> 10) & 0x1fu, mantissa = h & 0x3ffu;
    uint32_t bits;
    float f;
    if (exponent == 0) {
        f = (float)mantissa * 0x1p-24f;
        return sign ? -f : f;
    }
    if (exponent == 31)
        bits = sign | 0x7f800000u | (mantissa << 13);
    else
        bits = sign | ((exponent + 112u) << 23) | (mantissa << 13);
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Rounds to nearest, ties to even. */
uint16_t gen_f32_to_f16(float f);
uint16_t gen_f32_to_bf16(float f);

/* Widens n elements of any type to f32 (integers by value). */
void gen_to_f32(float *out, const void *in, gen_dtype dtype, size_t n);

#endif
