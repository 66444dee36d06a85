#version 450
#extension GL_GOOGLE_include_directive : require
#include "common/types.glsl"
// binary: y = a + b, a - b or a b; b repeats where its step is 0.
// An invocation for each element of y, found by up to six nested loops, outermost first.
// CPU twin: gen/cpu/elementwise.c.
layout(local_size_x = 256) in; // before the files that use it
#include "common/index.glsl"
layout(constant_id = 0) const uint OP = 0; // gen_binary
layout(constant_id = 1) const uint RANK = 1;
layout(push_constant) uniform Params {
    uint dims[6], step_a[6], step_b[6], step_y[6];
    uint count, a0, b0, y0;
} p;
layout(binding = 0) readonly buffer A { STORE a[]; };
layout(binding = 1) readonly buffer B { STORE b[]; };
layout(binding = 2) writeonly buffer Y { STORE y[]; };

void main()
{
    uint rest = flat_invocation();
    if (rest >= p.count)
        return;
    uint at_a = p.a0, at_b = p.b0, at_y = p.y0;
    for (int d = int(RANK) - 1; d >= 0; d--) {
        const uint i = d > 0 ? rest % p.dims[d] : rest;
        rest /= p.dims[d];
        at_a += i * p.step_a[d];
        at_b += i * p.step_b[d];
        at_y += i * p.step_y[d];
    }
    const float u = float(a[at_a]), v = float(b[at_b]);
    y[at_y] = STORE(OP == 0 ? u + v : OP == 1 ? u - v : u * v);
}
