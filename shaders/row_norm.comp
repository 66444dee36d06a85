#version 450
#extension GL_GOOGLE_include_directive : require
#include "common/types.glsl"
// row_norm: layer norm y = (x - mean) / sqrt(variance + eps) weight + bias, or RMS norm
// y = x / sqrt(mean of squares + eps) weight, then an activation.  A workgroup for each row.
// The mean is found twice, the second time of what the first left over, so that a mean of a
// thousand deviations costs no digits.  Loops of an invocation: 4 (cols / 64 + 10).
// CPU twin: gen/cpu/norm.c.
layout(local_size_x = 64) in; // before the files that use it
#include "common/act.glsl"
#include "common/index.glsl"
#include "common/reduce.glsl"
layout(constant_id = 0) const bool IS_RMS = false;
layout(constant_id = 1) const bool HAS_WEIGHT = false;
layout(constant_id = 2) const bool HAS_BIAS = false;
layout(constant_id = 3) const uint ACT = 0;
layout(push_constant) uniform Params {
    uint rows, cols;
    uint x0, ld_x, w0, b0, y0, ld_y;
    float eps;
} p;
layout(binding = 0) readonly buffer X { STORE x[]; };
layout(binding = 1) readonly buffer W { float weight[]; };
layout(binding = 2) readonly buffer B { float bias[]; };
layout(binding = 3) writeonly buffer Y { STORE y[]; };

void main()
{
    const uint row = flat_group(), first = gl_LocalInvocationID.x;
    if (row >= p.rows)
        return;
    const uint at = p.x0 + row * p.ld_x;
    const float n = float(p.cols);
    float mean = 0.0, rest = 0.0, square = 0.0;
    if (!IS_RMS) {
        float sum = 0.0;
        for (uint i = first; i < p.cols; i += 64)
            sum += float(x[at + i]);
        mean = workgroup_sum(sum) / n;
        sum = 0.0;
        for (uint i = first; i < p.cols; i += 64)
            sum += float(x[at + i]) - mean;
        rest = workgroup_sum(sum) / n;
    }
    for (uint i = first; i < p.cols; i += 64) {
        const float d = (float(x[at + i]) - mean) - rest;
        square += d * d;
    }
    const float scale = 1.0 / sqrt(workgroup_sum(square) / n + p.eps);
    for (uint i = first; i < p.cols; i += 64) {
        float v = ((float(x[at + i]) - mean) - rest) * scale;
        if (HAS_WEIGHT)
            v *= weight[p.w0 + i];
        if (HAS_BIAS)
            v += bias[p.b0 + i];
        y[p.y0 + row * p.ld_y + i] = STORE(activate(ACT, v));
    }
}
