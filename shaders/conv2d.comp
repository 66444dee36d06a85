#version 450
#extension GL_GOOGLE_include_directive : require
#include "common/types.glsl"
// conv2d: y = post_act(act(conv(x, w) + bias) + residual), a matrix product whose rows are output
// positions and whose depth is (ky, kx, ci); pixels under the kernel are collected while they are
// staged, zero outside the image.  With IS_RESIZED the image is seen through a nearest-neighbour
// resize to up_h x up_w.  Tiles, sums and loops as in linear.comp, and two more for each of the
// ceil(K / BK) turns.  The window is image rows first_row.. of y, counted over all images.
// CPU twin: gen/cpu/conv2d.c.
#include "common/act.glsl"
#include "common/unroll.glsl"
#include "common/weight.glsl"
layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint BM = 64;
layout(constant_id = 2) const uint BN = 64;
layout(constant_id = 3) const uint BK = 16;
layout(constant_id = 4) const uint TM = 4;
layout(constant_id = 5) const uint TN = 4;
layout(constant_id = 6) const uint WEIGHT_TYPE = 0;
layout(constant_id = 7) const bool HAS_BIAS = false;
layout(constant_id = 8) const uint ACT = 0;
layout(constant_id = 9) const uint RESIDUAL = 0; // 1: of every position, 2: one row for a sample
layout(constant_id = 10) const uint POST_ACT = 0;
layout(constant_id = 11) const bool IS_RESIZED = false;
layout(push_constant) uniform Params {
    uint rows, cols, depth; // positions of the window, channels out, taps times channels in
    uint x0, ld_x, w0, b0, r0, ld_r, y0, ld_y;
    uint channels, kernel_w, stride;
    int pad_top, pad_left;
    uint in_h, in_w, up_h, up_w, out_h, out_w;
    uint first_row; // image * out_h + row of y where the window starts
    uint first_in;  // image * in_h + row of x where its window starts
    uint begin, end; // of the depth; y holds the sums of what came before
} p;
layout(binding = 0) readonly buffer X { STORE x[]; };
layout(binding = 1) readonly buffer W { uint w[]; };
layout(binding = 2) readonly buffer Bias { float bias[]; };
layout(binding = 3) readonly buffer Residual { STORE residual[]; };
layout(binding = 4) buffer Y { STORE y[]; };

shared float xs[BK * (BM + 1)];
shared float ws[BK * (BN + 1)];
shared int corner_y[BM], corner_x[BM], image_row[BM]; // of each position; -1: none

float finished(uint m, uint n, float sum)
{
    float v = activate(ACT, HAS_BIAS ? sum + bias[p.b0 + n] : sum);
    if (RESIDUAL == 1)
        v += float(residual[p.r0 + m * p.ld_r + n]);
    if (RESIDUAL == 2)
        v += float(residual[p.r0 + (p.first_row + m / p.out_w) / p.out_h * p.ld_r + n]);
    return activate(POST_ACT, v);
}

// The pixel at (row, col) of the image seen by the kernel, channel c.
float pixel(uint m, int row, int col, uint c)
{
    if (image_row[m] < 0 || row < 0 || col < 0 || row >= int(p.up_h) || col >= int(p.up_w))
        return 0.0;
    uint i = uint(row), j = uint(col);
    if (IS_RESIZED) {
        i = i * p.in_h / p.up_h;
        j = j * p.in_w / p.up_w;
    }
    return float(x[p.x0 + ((uint(image_row[m]) + i - p.first_in) * p.in_w + j) * p.ld_x + c]);
}

void main()
{
    const uint threads = gl_WorkGroupSize.x, i = gl_LocalInvocationID.x, width = BN / TN;
    const uint m0 = gl_WorkGroupID.y * BM, n0 = gl_WorkGroupID.x * BN;
    const uint tm = i / width, tn = i % width;
    for (uint m = i; m < BM; m += threads) {
        const uint row = p.first_row + (m0 + m) / p.out_w;
        corner_y[m] = int(row % p.out_h * p.stride) - p.pad_top;
        corner_x[m] = int((m0 + m) % p.out_w * p.stride) - p.pad_left;
        image_row[m] = m0 + m < p.rows ? int(row / p.out_h * p.in_h) : -1;
    }
    float sums[TM * TN];
    UNROLL for (uint a = 0; a < TM; a++)
        UNROLL for (uint b = 0; b < TN; b++) {
            const uint m = m0 + tm + a * (BM / TM), n = n0 + tn + b * (BN / TN);
            const bool resumes = p.begin > 0 && m < p.rows && n < p.cols;
            sums[a * TN + b] = resumes ? float(y[p.y0 + m * p.ld_y + n]) : 0.0;
        }
    // The same place k of every turn is this invocation's: threads is a multiple of BK.
    const uint k = i % BK;
    uint tap = (p.begin + k) / p.channels, channel = (p.begin + k) % p.channels;
    barrier();
    for (uint k0 = p.begin; k0 < p.end; k0 += BK) {
        const int ky = int(tap / p.kernel_w), kx = int(tap % p.kernel_w);
        const bool inside = k0 + k < p.depth;
        for (uint m = i / BK; m < BM; m += threads / BK)
            xs[k * (BM + 1) + m] =
                inside ? pixel(m, corner_y[m] + ky, corner_x[m] + kx, channel) : 0.0;
        for (uint n = i / BK; n < BN; n += threads / BK) {
            float v = 0.0;
            if (inside && n0 + n < p.cols) {
                const uint at = p.w0 + (n0 + n) * p.depth + k0 + k;
                v = LOAD_WEIGHT(w, WEIGHT_TYPE, at);
            }
            ws[k * (BN + 1) + n] = v;
        }
        channel += BK;
        if (channel >= p.channels) {
            tap += channel / p.channels;
            channel %= p.channels;
        }
        barrier();
        for (uint e = 0; e < BK; e++) {
            float left[TM], right[TN];
            UNROLL for (uint a = 0; a < TM; a++)
                left[a] = xs[e * (BM + 1) + tm + a * (BM / TM)];
            UNROLL for (uint b = 0; b < TN; b++)
                right[b] = ws[e * (BN + 1) + tn + b * (BN / TN)];
            UNROLL for (uint a = 0; a < TM; a++)
                UNROLL for (uint b = 0; b < TN; b++)
                    sums[a * TN + b] = fma(left[a], right[b], sums[a * TN + b]);
        }
        barrier();
    }
    UNROLL for (uint a = 0; a < TM; a++) {
        const uint m = m0 + tm + a * (BM / TM);
        UNROLL for (uint b = 0; b < TN; b++) {
            const uint n = n0 + tn + b * (BN / TN);
            if (m < p.rows && n < p.cols)
                y[p.y0 + m * p.ld_y + n] = STORE(p.end < p.depth ? sums[a * TN + b] : finished(m, n, sums[a * TN + b]));
        }
    }
}
