#version 450
#extension GL_GOOGLE_include_directive : require
#include "common/types.glsl"
// conv2d_coop: as conv2d.comp, of activations in f16, on matrix units; two loops more for the corners
// of the kernel.  CPU twin: gen/cpu/conv2d.c.
#include "common/act.glsl"
#include "common/coop.glsl"
#include "common/weight.glsl"
layout(constant_id = 4) const uint WEIGHT_TYPE = 0;
layout(constant_id = 5) const bool HAS_BIAS = false;
layout(constant_id = 6) const uint ACT = 0;
layout(constant_id = 7) const uint RESIDUAL = 0; // 1: of every position, 2: one row for a sample
layout(constant_id = 8) const uint POST_ACT = 0;
layout(constant_id = 9) const bool IS_RESIZED = false;
layout(push_constant) uniform Params { // as in conv2d.comp
    uint rows, cols, depth;
    uint x0, ld_x, w0, b0, r0, ld_r, y0, ld_y;
    uint channels, kernel_w, stride;
    int pad_top, pad_left;
    uint in_h, in_w, up_h, up_w, out_h, out_w;
    uint first_row;
    uint first_in;
    uint begin, end; // here all of the depth
} p;
layout(binding = 0) readonly buffer X { STORE x[]; };
layout(binding = 1) readonly buffer W { uint w[]; };
layout(binding = 2) readonly buffer Bias { float bias[]; };
layout(binding = 3) readonly buffer Residual { STORE residual[]; };
layout(binding = 4) writeonly buffer Y { STORE y[]; };

shared int corner_y[BM], corner_x[BM], image_row[BM]; // of each position; -1: none

uint k, channel; // the depth at hand: its place under the kernel, its channel
int ky, kx;

void set_depth(uint depth)
{
    k = depth;
    const uint tap = k / p.channels;
    channel = k % p.channels;
    ky = int(tap / p.kernel_w);
    kx = int(tap % p.kernel_w);
}

float left_at(uint m)
{
    const int row = corner_y[m] + ky, col = corner_x[m] + kx;
    if (k >= p.depth || image_row[m] < 0 || row < 0 || col < 0 || row >= int(p.up_h) ||
        col >= int(p.up_w))
        return 0.0;
    uint i = uint(row), j = uint(col);
    if (IS_RESIZED) {
        i = i * p.in_h / p.up_h;
        j = j * p.in_w / p.up_w;
    }
    return float(
        x[p.x0 + ((uint(image_row[m]) + i - p.first_in) * p.in_w + j) * p.ld_x + channel]);
}

float right_at(uint n)
{
    n += gl_WorkGroupID.x * BN;
    if (n >= p.cols || k >= p.depth)
        return 0.0;
    const uint at = p.w0 + n * p.depth + k;
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
        v += float(residual[p.r0 + (p.first_row + m / p.out_w) / p.out_h * p.ld_r + n]);
    y[p.y0 + m * p.ld_y + n] = STORE(activate(POST_ACT, v));
}

void main()
{
    for (uint m = gl_LocalInvocationID.x; m < BM; m += gl_WorkGroupSize.x) {
        const uint at = gl_WorkGroupID.y * BM + m, row = p.first_row + at / p.out_w;
        corner_y[m] = int(row % p.out_h * p.stride) - p.pad_top;
        corner_x[m] = int(at % p.out_w * p.stride) - p.pad_left;
        image_row[m] = at < p.rows ? int(row / p.out_h * p.in_h) : -1;
    }
    barrier();
    multiply(p.depth);
}
