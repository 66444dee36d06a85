#version 450
#extension GL_GOOGLE_include_directive : require
#include "common/types.glsl"
layout(local_size_x = 256) in; // before the files that use it
// group_norm: y = act((x - mean) / sqrt(variance + eps) weight + bias), statistics of a group from
// group_norm_merge.  An invocation for each element.  CPU twin: gen/cpu/norm.c.
#include "common/act.glsl"
#include "common/index.glsl"
layout(constant_id = 0) const bool HAS_WEIGHT = false;
layout(constant_id = 1) const bool HAS_BIAS = false;
layout(constant_id = 2) const uint ACT = 0;
layout(push_constant) uniform Params {
    uint count, channels, positions, width, groups, first_row;
    uint x0, ld_x, w0, b0, y0, ld_y;
} p;
layout(binding = 0) readonly buffer X { STORE x[]; };
layout(binding = 1) readonly buffer W { float weight[]; };
layout(binding = 2) readonly buffer B { float bias[]; };
layout(binding = 3) readonly buffer Merged { float merged[]; }; // [sample][group][3]
layout(binding = 4) writeonly buffer Y { STORE y[]; };

void main()
{
    const uint i = flat_invocation();
    if (i >= p.count)
        return;
    const uint row = i / p.channels, c = i % p.channels;
    const uint at = ((p.first_row + row) / p.positions * p.groups + c / p.width) * 3;
    float v = ((float(x[p.x0 + row * p.ld_x + c]) - merged[at]) - merged[at + 1]) * merged[at + 2];
    if (HAS_WEIGHT)
        v *= weight[p.w0 + c];
    if (HAS_BIAS)
        v += bias[p.b0 + c];
    y[p.y0 + row * p.ld_y + c] = STORE(activate(ACT, v));
}
