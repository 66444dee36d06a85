#version 450
#extension GL_GOOGLE_include_directive : require
#include "common/types.glsl"
layout(local_size_x = 256) in; // before the files that use it
// rope: the pair (x0, x1) of channels (2i, 2i+1) of a head becomes (x0 cos - x1 sin, x0 sin + x1 cos),
// cosine and sine of token t and pair i at table[t, 2i] and table[t, 2i+1].
// An invocation for each pair.  CPU twin: gen/cpu/layout.c.
#include "common/index.glsl"
layout(push_constant) uniform Params {
    uint count, pairs, tokens, head; // pairs of a row; channels of a head
    uint x0, ld_x, t0, ld_t, y0, ld_y;
    uint first_row;
} p;
layout(binding = 0) readonly buffer X { STORE x[]; };
layout(binding = 1) readonly buffer Table { float table[]; };
layout(binding = 2) writeonly buffer Y { STORE y[]; };

void main()
{
    const uint i = flat_invocation();
    if (i >= p.count)
        return;
    const uint row = i / p.pairs, c = i % p.pairs * 2;
    const uint angle = p.t0 + (p.first_row + row) % p.tokens * p.ld_t + c % p.head;
    const float u = float(x[p.x0 + row * p.ld_x + c]), v = float(x[p.x0 + row * p.ld_x + c + 1]);
    const float cosine = table[angle], sine = table[angle + 1];
    y[p.y0 + row * p.ld_y + c] = STORE(u * cosine - v * sine);
    y[p.y0 + row * p.ld_y + c + 1] = STORE(u * sine + v * cosine);
}
