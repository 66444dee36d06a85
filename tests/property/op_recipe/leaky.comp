#version 450
#extension GL_GOOGLE_include_directive : require
#include "common/types.glsl"
// leaky: y = x where x > 0, else slope x.  An invocation for each element of y; rows of `cols`
// elements.  CPU twin: leaky_cpu.c.
layout(local_size_x = 256) in; // before the files that use it
#include "common/index.glsl"
layout(push_constant) uniform Params {
    uint rows, cols;
    uint x0, ld_x, y0, ld_y;
    float slope;
} p;
layout(binding = 0) readonly buffer X { STORE x[]; };
layout(binding = 1) writeonly buffer Y { STORE y[]; };

void main()
{
    const uint i = flat_invocation();
    if (i >= p.rows * p.cols)
        return;
    const uint row = i / p.cols, col = i % p.cols;
    const float v = float(x[p.x0 + row * p.ld_x + col]);
    y[p.y0 + row * p.ld_y + col] = STORE(v > 0.0 ? v : p.slope * v);
}
