#version 450
#extension GL_GOOGLE_include_directive : require
#include "common/types.glsl"
// linear_coop: as linear.comp, of activations in f16, on matrix units.  CPU twin: gen/cpu/linear.c.
#include "common/act.glsl"
#include "common/coop.glsl"
#include "common/weight.glsl"
layout(constant_id = 4) const uint WEIGHT_TYPE = 0;
layout(constant_id = 5) const bool HAS_BIAS = false;
layout(constant_id = 6) const uint ACT = 0;
layout(constant_id = 7) const uint RESIDUAL = 0; // 1: of every row, 2: one row for a sample
layout(constant_id = 8) const uint POST_ACT = 0;
layout(push_constant) uniform Params {
    uint rows, cols, depth;
    uint x0, ld_x, w0, ld_w, b0, r0, ld_r, y0, ld_y;
    uint first_row, sample_rows; // of the tensor: where this window starts; rows of a sample
    uint begin, end;             // of the sum over k: here all of it
} p;
layout(binding = 0) readonly buffer X { STORE x[]; };
layout(binding = 1) readonly buffer W { uint w[]; };
layout(binding = 2) readonly buffer Bias { float bias[]; };
layout(binding = 3) readonly buffer Residual { STORE residual[]; };
layout(binding = 4) writeonly buffer Y { STORE y[]; };

uint k; // the depth at hand

void set_depth(uint depth)
{
    k = depth;
}

float left_at(uint m)
{
    m += gl_WorkGroupID.y * BM;
    return m < p.rows && k < p.depth ? float(x[p.x0 + m * p.ld_x + k]) : 0.0;
}

float right_at(uint n)
{
    n += gl_WorkGroupID.x * BN;
    if (n >= p.cols || k >= p.depth)
        return 0.0;
    const uint at = p.w0 + n * p.ld_w + k;
    return LOAD_WEIGHT(w, WEIGHT_TYPE, at);
}

void put(uint m, uint n, float sum)
{
    m += gl_WorkGroupID.y * BM;
    n += gl_WorkGroupID.x * BN;
    if (m >= p.rows || n >= p.cols)
        return;
    float v = activate(ACT, HAS_BIAS ? sum + bias[p.b0 + n] : sum);
    if (RESIDUAL == 1)
        v += float(residual[p.r0 + m * p.ld_r + n]);
    if (RESIDUAL == 2)
        v += float(residual[p.r0 + (p.first_row + m) / p.sample_rows * p.ld_r + n]);
    y[p.y0 + m * p.ld_y + n] = STORE(activate(POST_ACT, v));
}

void main()
{
    multiply(p.depth);
}
