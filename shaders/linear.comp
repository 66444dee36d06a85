#version 450
#extension GL_GOOGLE_include_directive : require
#include "common/types.glsl"
// linear: y[m,n] = post_act(act(sum_k x[m,k] w[n,k] + bias[n]) + residual).
// A workgroup makes a tile of BM x BN outputs; both operands pass through shared memory BK at a
// time, each invocation keeps TM x TN sums.  The sum over k is one chain, so results depend on no
// tile; a long one is spread over dispatches, the sums waiting in y.  Loops of an invocation: ceil(K / BK) (4 + BM BK / T + BN BK / T + BK) with T invocations.
// CPU twin: gen/cpu/linear.c.
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
layout(constant_id = 9) const uint RESIDUAL = 0; // 1: of every row, 2: one row for a sample
layout(constant_id = 10) const uint POST_ACT = 0;
layout(push_constant) uniform Params {
    uint rows, cols, depth;
    uint x0, ld_x, w0, ld_w, b0, r0, ld_r, y0, ld_y;
    uint first_row, sample_rows; // of the tensor: where this window starts; rows of a sample
    uint begin, end;             // of the sum over k; y holds what came before
} p;
layout(binding = 0) readonly buffer X { STORE x[]; };
layout(binding = 1) readonly buffer W { uint w[]; };
layout(binding = 2) readonly buffer Bias { float bias[]; };
layout(binding = 3) readonly buffer Residual { STORE residual[]; };
layout(binding = 4) buffer Y { STORE y[]; };

shared float xs[BK * (BM + 1)];
shared float ws[BK * (BN + 1)];

float finished(uint m, uint n, float sum)
{
    float v = activate(ACT, HAS_BIAS ? sum + bias[p.b0 + n] : sum);
    if (RESIDUAL == 1)
        v += float(residual[p.r0 + m * p.ld_r + n]);
    if (RESIDUAL == 2)
        v += float(residual[p.r0 + (p.first_row + m) / p.sample_rows * p.ld_r + n]);
    return activate(POST_ACT, v);
}

void main()
{
    const uint threads = gl_WorkGroupSize.x, i = gl_LocalInvocationID.x;
    const uint width = BN / TN;
    const uint m0 = gl_WorkGroupID.y * BM, n0 = gl_WorkGroupID.x * BN;
    const uint tm = i / width, tn = i % width; // outputs m0 + tm + a BM/TM, n0 + tn + b BN/TN
    float sums[TM * TN];
    UNROLL for (uint a = 0; a < TM; a++)
        UNROLL for (uint b = 0; b < TN; b++) {
            const uint m = m0 + tm + a * (BM / TM), n = n0 + tn + b * (BN / TN);
            const bool resumes = p.begin > 0 && m < p.rows && n < p.cols;
            sums[a * TN + b] = resumes ? float(y[p.y0 + m * p.ld_y + n]) : 0.0;
        }
    for (uint k0 = p.begin; k0 < p.end; k0 += BK) {
        for (uint e = i; e < BM * BK; e += threads) {
            const uint k = e % BK, m = e / BK;
            const bool inside = m0 + m < p.rows && k0 + k < p.depth;
            xs[k * (BM + 1) + m] = inside ? float(x[p.x0 + (m0 + m) * p.ld_x + k0 + k]) : 0.0;
        }
        for (uint e = i; e < BN * BK; e += threads) {
            const uint k = e % BK, n = e / BK;
            float v = 0.0;
            if (n0 + n < p.cols && k0 + k < p.depth) {
                const uint at = p.w0 + (n0 + n) * p.ld_w + k0 + k;
                v = LOAD_WEIGHT(w, WEIGHT_TYPE, at);
            }
            ws[k * (BN + 1) + n] = v;
        }
        barrier();
        for (uint k = 0; k < BK; k++) {
            float left[TM], right[TN];
            UNROLL for (uint a = 0; a < TM; a++)
                left[a] = xs[k * (BM + 1) + tm + a * (BM / TM)];
            UNROLL for (uint b = 0; b < TN; b++)
                right[b] = ws[k * (BN + 1) + tn + b * (BN / TN)];
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
