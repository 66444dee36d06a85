// weight.glsl - weights in the type they are stored in, read as words: needs no 16-bit feature.
#ifndef GEN_WEIGHT_GLSL
#define GEN_WEIGHT_GLSL

// the values of gen_dtype
const uint WEIGHT_F32 = 0, WEIGHT_F16 = 1, WEIGHT_BF16 = 2;

// Element i of a weight, which lies in `word`: word i, or word i/2 for the types of 16 bits.
float weight_of(uint type, uint word, uint i)
{
    if (type == WEIGHT_F32)
        return uintBitsToFloat(word);
    if (type == WEIGHT_F16) {
        const vec2 pair = unpackHalf2x16(word);
        return (i & 1) == 0 ? pair.x : pair.y;
    }
    return uintBitsToFloat((i & 1) == 0 ? word << 16 : word & 0xffff0000u);
}

#define LOAD_WEIGHT(buf, type, i) weight_of(type, buf[(type) == WEIGHT_F32 ? (i) : (i) >> 1], i)

#endif
