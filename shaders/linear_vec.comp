#version 450
#extension GL_GOOGLE_include_directive : require
#include "common/types.glsl"
layout(local_size_x = 256) in; // COLS times LANES
// linear_vec: as linear.comp, for so few rows that reading the weights is the work.  A workgroup
// makes COLS columns of all ROWS rows; LANES invocations share the depth of a column, which they
// read side by side, and add their sums in the order of the lanes.
// Loops of an invocation: K / LANES + 2 LANES.  CPU twin: gen/cpu/linear.c.
#include "common/act.glsl"
#include "common/unroll.glsl"
#include "common/weight.glsl"
layout(constant_id = 0) const uint ROWS = 1; // at most 8
layout(constant_id = 1) const uint WEIGHT_TYPE = 0;
layout(constant_id = 2) const bool HAS_BIAS = false;
layout(constant_id = 3) const uint ACT = 0;
layout(constant_id = 4) const uint RESIDUAL = 0; // 1: of every row, 2: one row for a sample
layout(constant_id = 5) const uint POST_ACT = 0;
layout(push_constant) uniform Params {
    uint cols, depth;
    uint x0, ld_x, w0, b0, r0, ld_r, y0, ld_y;
    uint sample_rows; // of x, for each sample
} p;
layout(binding = 0) readonly buffer X { STORE x[]; };
layout(binding = 1) readonly buffer W { uint w[]; };
layout(binding = 2) readonly buffer Bias { float bias[]; };
layout(binding = 3) readonly buffer Residual { STORE residual[]; };
layout(binding = 4) writeonly buffer Y { STORE y[]; };

const uint COLS = 8, LANES = 32;

shared float parts[ROWS * COLS * LANES];

float finished(uint m, uint n, float sum)
{
    float v = activate(ACT, HAS_BIAS ? sum + bias[p.b0 + n] : sum);
    if (RESIDUAL == 1)
        v += float(residual[p.r0 + m * p.ld_r + n]);
    if (RESIDUAL == 2)
        v += float(residual[p.r0 + m / p.sample_rows * p.ld_r + n]);
    return activate(POST_ACT, v);
}

void main()
{
    const uint i = gl_LocalInvocationID.x, n0 = gl_WorkGroupID.x * COLS;
    float sums[ROWS];
    UNROLL for (uint m = 0; m < ROWS; m++)
        sums[m] = 0.0;
    if (n0 + i / LANES < p.cols) {
        const uint row = p.w0 + (n0 + i / LANES) * p.depth;
        for (uint k = i % LANES; k < p.depth; k += LANES) {
            const uint at = row + k;
            const float v = LOAD_WEIGHT(w, WEIGHT_TYPE, at);
            UNROLL for (uint m = 0; m < ROWS; m++)
                sums[m] = fma(float(x[p.x0 + m * p.ld_x + k]), v, sums[m]);
        }
    }
    UNROLL for (uint m = 0; m < ROWS; m++)
        parts[m * COLS * LANES + i] = sums[m];
    barrier();
    const uint m = i / COLS, n = n0 + i % COLS;
    if (m >= ROWS || n >= p.cols)
        return;
    float sum = 0.0;
    for (uint lane = 0; lane < LANES; lane++)
        sum += parts[(m * COLS + i % COLS) * LANES + lane];
    y[p.y0 + m * p.ld_y + n] = STORE(finished(m, n, sum));
}
