#version 450
#extension GL_GOOGLE_include_directive : require
#include "common/types.glsl"
// attention: y = softmax(q k^T scale + bias) v for each head, without the matrix of scores: keys are
// taken BK at a time, and when such a block raises the maximum of a query, what was summed before is
// scaled down (Milakov & Gimelshein 2018; Dao et al. 2022).  Scores are in units of log2.
// A workgroup takes BQ queries of one (head, sample): x, y and z of the grid.  Its invocations, TY
// rows of TX, hold BQ/TY x BK/TX scores and BQ/TY x NV sums of values.  Many keys are spread over
// several dispatches, which hand on maximum, sum and values in `state`.
// Loops of an invocation for each block of keys: ceil(d / DC) (4 + (BQ + BK) DC / T + DC) + 3 BK + 4
// with T invocations.  CPU twin: gen/cpu/attention.c.
#include "common/act.glsl"
#include "common/unroll.glsl"
layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint BQ = 32;
layout(constant_id = 2) const uint BK = 32;
layout(constant_id = 3) const uint TX = 8;
layout(constant_id = 4) const uint TY = 8;
layout(constant_id = 5) const uint DC = 16;
layout(constant_id = 6) const uint NV = 5; // columns of v for an invocation: ceil(dv / TX)
layout(constant_id = 7) const bool HAS_BIAS = false;
layout(constant_id = 8) const bool IS_CAUSAL = false;
layout(push_constant) uniform Params {
    uint tq, tk, d, dv, heads;
    uint q0, ld_q, k0, ld_k, v0, ld_v, y0, ld_y;
    uint b0, b_sample, b_head, b_query;       // steps of the bias
    uint first_sample, first_query, base_key; // of the windows
    uint begin_key, end_key;                  // of this dispatch
    uint resumes, finishes, queries; // the last: of the window, for each sample
    float scale; // times log2(e)
} p;
layout(binding = 0) readonly buffer Q { STORE q[]; };
layout(binding = 1) readonly buffer K { STORE k[]; };
layout(binding = 2) readonly buffer V { STORE v[]; };
layout(binding = 3) readonly buffer Bias { STORE bias[]; };
layout(binding = 4) buffer State { float state[]; }; // [sample][head][query][2 + dv] of the window
layout(binding = 5) writeonly buffer Y { STORE y[]; };

const uint ROWS = BQ / TY, COLS = BK / TX;
const float HIDDEN = -3.0e38; // scores of keys that do not count

shared float qs[DC * (BQ + 1)];
shared float ks[DC * (BK + 1)];
shared float probabilities[BK * (BQ + 1)];
shared float row_max[BQ], row_sum[BQ], row_factor[BQ];

const uint threads = gl_WorkGroupSize.x;

// Scores of the block of keys that starts at `key`, into `probabilities`.
void find_scores(uint query, uint key, uint q_row, uint k_row, uint head)
{
    const uint i = gl_LocalInvocationID.x, tx = i % TX, ty = i / TX;
    float scores[ROWS * COLS];
    UNROLL for (uint a = 0; a < ROWS * COLS; a++)
        scores[a] = 0.0;
    for (uint d0 = 0; d0 < p.d; d0 += DC) {
        for (uint e = i; e < BQ * DC; e += threads) {
            const uint c = e % DC, r = e / DC;
            const bool inside = query + r < p.tq && d0 + c < p.d;
            qs[c * (BQ + 1) + r] =
                inside ? float(q[p.q0 + (q_row + r) * p.ld_q + head * p.d + d0 + c]) * p.scale : 0.0;
        }
        for (uint e = i; e < BK * DC; e += threads) {
            const uint c = e % DC, r = e / DC;
            const bool inside = key + r < p.end_key && d0 + c < p.d;
            ks[c * (BK + 1) + r] =
                inside ? float(k[p.k0 + (k_row + r) * p.ld_k + head * p.d + d0 + c]) : 0.0;
        }
        barrier();
        for (uint c = 0; c < DC; c++) {
            float left[ROWS], right[COLS];
            UNROLL for (uint a = 0; a < ROWS; a++)
                left[a] = qs[c * (BQ + 1) + ty + a * TY];
            UNROLL for (uint b = 0; b < COLS; b++)
                right[b] = ks[c * (BK + 1) + tx + b * TX];
            UNROLL for (uint a = 0; a < ROWS; a++)
                UNROLL for (uint b = 0; b < COLS; b++)
                    scores[a * COLS + b] = fma(left[a], right[b], scores[a * COLS + b]);
        }
        barrier();
    }
    const uint sample_index = p.first_sample + gl_WorkGroupID.z;
    UNROLL for (uint a = 0; a < ROWS; a++)
        UNROLL for (uint b = 0; b < COLS; b++) {
            const uint r = ty + a * TY, j = tx + b * TX;
            const bool counts = key + j < p.end_key && query + r < p.tq &&
                                (!IS_CAUSAL || key + j <= query + r);
            float s = scores[a * COLS + b];
            if (HAS_BIAS && counts)
                s += 1.4426950408889634 *
                     float(bias[p.b0 + sample_index * p.b_sample + head * p.b_head +
                          (query + r) * p.b_query + key + j]);
            if (!counts || s < HIDDEN) // a score that is not a number stays one
                s = HIDDEN;
            probabilities[j * (BQ + 1) + r] = s;
        }
}

// Scores become probabilities, not yet divided by their sum; an invocation for each query.
void find_probabilities(uint r)
{
    float top = row_max[r], sum = 0.0; // max() may drop what is not a number: the sum keeps it
    for (uint j = 0; j < BK; j++)
        top = max(top, probabilities[j * (BQ + 1) + r]);
    for (uint j = 0; j < BK; j++) {
        const float s = probabilities[j * (BQ + 1) + r];
        const float e = s == HIDDEN ? 0.0 : exact_exp2(s - top);
        probabilities[j * (BQ + 1) + r] = e;
        sum += e;
    }
    row_factor[r] = exact_exp2(row_max[r] - top);
    row_sum[r] = row_sum[r] * row_factor[r] + sum;
    row_max[r] = top;
}

void main()
{
    const uint i = gl_LocalInvocationID.x, tx = i % TX, ty = i / TX;
    const uint head = gl_WorkGroupID.y;
    const uint query = p.first_query + gl_WorkGroupID.x * BQ;
    const uint q_row = gl_WorkGroupID.z * p.tq + gl_WorkGroupID.x * BQ; // in the window
    const uint state_size = 2 + p.dv;
    const uint states =
        (gl_WorkGroupID.z * p.heads + head) * p.queries + gl_WorkGroupID.x * BQ;
    float values[ROWS * NV];
    if (i < BQ) {
        const bool loads = p.resumes != 0 && query + i < p.tq;
        row_max[i] = loads ? state[(states + i) * state_size] : HIDDEN;
        row_sum[i] = loads ? state[(states + i) * state_size + 1] : 0.0;
    }
    UNROLL for (uint a = 0; a < ROWS; a++)
        UNROLL for (uint b = 0; b < NV; b++) {
            const uint r = ty + a * TY, c = tx + b * TX;
            const bool loads = p.resumes != 0 && query + r < p.tq && c < p.dv;
            values[a * NV + b] = loads ? state[(states + r) * state_size + 2 + c] : 0.0;
        }
    barrier(); // the sums of rows are read even where no key follows
    const uint end = IS_CAUSAL ? min(p.end_key, query + BQ) : p.end_key;
    for (uint key = p.begin_key; key < end; key += BK) {
        const uint k_row = gl_WorkGroupID.z * p.tk + key - p.base_key;
        find_scores(query, key, q_row, k_row, head);
        barrier();
        if (i < BQ)
            find_probabilities(i);
        barrier();
        UNROLL for (uint a = 0; a < ROWS; a++)
            UNROLL for (uint b = 0; b < NV; b++)
                values[a * NV + b] *= row_factor[ty + a * TY];
        for (uint j = 0; j < BK; j++) {
            float left[ROWS];
            UNROLL for (uint a = 0; a < ROWS; a++)
                left[a] = probabilities[j * (BQ + 1) + ty + a * TY];
            UNROLL for (uint b = 0; b < NV; b++) {
                const uint c = tx + b * TX;
                const bool inside = c < p.dv && key + j < p.end_key;
                const float u =
                    inside ? float(v[p.v0 + (k_row + j) * p.ld_v + head * p.dv + c]) : 0.0;
                UNROLL for (uint a = 0; a < ROWS; a++)
                    values[a * NV + b] = fma(left[a], u, values[a * NV + b]);
            }
        }
        barrier();
    }
    if (p.finishes == 0 && i < BQ && query + i < p.tq) {
        state[(states + i) * state_size] = row_max[i];
        state[(states + i) * state_size + 1] = row_sum[i];
    }
    UNROLL for (uint a = 0; a < ROWS; a++)
        UNROLL for (uint b = 0; b < NV; b++) {
            const uint r = ty + a * TY, c = tx + b * TX;
            if (query + r >= p.tq || c >= p.dv)
                continue;
            const float sum = row_sum[r];
            if (p.finishes == 0)
                state[(states + r) * state_size + 2 + c] = values[a * NV + b];
            else
                y[p.y0 + (q_row + r) * p.ld_y + head * p.dv + c] =
                    STORE(sum == 0.0 ? 0.0 : values[a * NV + b] / sum);
        }
}
