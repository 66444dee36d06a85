#version 450
#extension GL_GOOGLE_include_directive : require
#include "common/types.glsl"
// map: y = act(x), y = a x + b, or y = left act(right) with left and right the halves of a row of x.
// An invocation for each element of y; rows of `cols` elements.  CPU twin: gen/cpu/elementwise.c.
layout(local_size_x = 256) in; // before the files that use it
#include "common/act.glsl"
#include "common/index.glsl"
layout(constant_id = 0) const uint KIND = 0; // 0: activation, 1: affine, 2: gated
layout(constant_id = 1) const uint ACT = 0;
layout(push_constant) uniform Params {
    uint count, cols;
    uint x0, ld_x, y0, ld_y;
    float a, b;
} p;
layout(binding = 0) readonly buffer X { STORE x[]; };
layout(binding = 1) writeonly buffer Y { STORE y[]; };

void main()
{
    const uint i = flat_invocation();
    if (i >= p.count)
        return;
    const uint row = i / p.cols, col = i % p.cols;
    const float v = float(x[p.x0 + row * p.ld_x + col]);
    float result = v;
    if (KIND == 0)
        result = activate(ACT, v);
    else if (KIND == 1)
        result = p.a * v + p.b;
    else
        result = v * activate(ACT, float(x[p.x0 + row * p.ld_x + p.cols + col]));
    y[p.y0 + row * p.ld_y + col] = STORE(result);
}
