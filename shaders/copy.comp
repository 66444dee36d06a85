#version 450
#extension GL_GOOGLE_include_directive : require
#include "common/types.glsl"
layout(local_size_x = 256) in; // before the files that use it
// copy: y = x, or y = 0, both walked by up to six nested loops, outermost first: copies, windows,
// concatenations and permutations.  An invocation for each element.  CPU twin: gen/cpu/layout.c.
#include "common/index.glsl"
layout(constant_id = 0) const bool IS_ZERO = false;
layout(constant_id = 1) const uint RANK = 1;
layout(push_constant) uniform Params {
    uint dims[6], step_x[6], step_y[6];
    uint count, x0, y0;
} p;
layout(binding = 0) readonly buffer X { STORE x[]; };
layout(binding = 1) writeonly buffer Y { STORE y[]; };

void main()
{
    uint rest = flat_invocation();
    if (rest >= p.count)
        return;
    uint at_x = p.x0, at_y = p.y0;
    for (int d = int(RANK) - 1; d >= 0; d--) {
        const uint i = d > 0 ? rest % p.dims[d] : rest;
        rest /= p.dims[d];
        at_x += i * p.step_x[d];
        at_y += i * p.step_y[d];
    }
    y[at_y] = STORE(IS_ZERO ? 0.0 : float(x[at_x]));
}
