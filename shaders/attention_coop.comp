#version 450
#extension GL_GOOGLE_include_directive : require
#include "common/types.glsl"
// attention_coop: as attention.comp, of activations in f16 and heads of at most 160 channels, both
// products on matrix units: operands in f16, scores, sums and softmax in f32.
// Four subgroups make a quarter each of 32 x 32 scores, and of 32 columns of values at a time.
// Loops of an invocation for each block of keys: ceil(d / 32) (4 + 2 32 32 / T + 32 / FK) +
// ceil(dv / 32) (4 + 2 32 32 / T + 32 / FK) + 3 BK + 4.  CPU twin: gen/cpu/attention.c.
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#include "common/act.glsl"
#include "common/unroll.glsl"
layout(local_size_x_id = 0) in; // four subgroups
layout(constant_id = 1) const uint FM = 16;
layout(constant_id = 2) const uint FN = 16;
layout(constant_id = 3) const uint FK = 16;
layout(constant_id = 4) const uint PIECES = 2;  // of 32 columns of v: ceil(dv / 32)
layout(constant_id = 5) const uint EACH = 8;    // places of a tile for an invocation: 1024 / T
layout(constant_id = 6) const bool HAS_BIAS = false;
layout(constant_id = 7) const bool IS_CAUSAL = false;
layout(push_constant) uniform Params { // as in attention.comp
    uint tq, tk, d, dv, heads;
    uint q0, ld_q, k0, ld_k, v0, ld_v, y0, ld_y;
    uint b0, b_sample, b_head, b_query;
    uint first_sample, first_query, base_key;
    uint begin_key, end_key;
    uint resumes, finishes, queries;
    float scale; // times log2(e)
} p;
layout(binding = 0) readonly buffer Q { STORE q[]; };
layout(binding = 1) readonly buffer K { STORE k[]; };
layout(binding = 2) readonly buffer V { STORE v[]; };
layout(binding = 3) readonly buffer Bias { STORE bias[]; };
layout(binding = 4) buffer State { float state[]; }; // [sample][head][query][2 + dv] of the window
layout(binding = 5) writeonly buffer Y { STORE y[]; };

const uint TILE = 32, LD = TILE + 8, LD_TILE = TILE + 4;
const uint ROWS = 16 / FM, COLS = 16 / FN; // fragments of a subgroup
const float HIDDEN = -3.0e38;              // scores of keys that do not count

shared float16_t left_values[TILE * LD];  // q; then probabilities
shared float16_t right_values[TILE * LD]; // k; then v
shared float tile[TILE * LD_TILE];        // scores; then what a block of keys adds to the values
shared float row_max[TILE], row_sum[TILE], row_factor[TILE];

const uint threads = gl_WorkGroupSize.x;

#define SUMS coopmat<float, gl_ScopeSubgroup, FM, FN, gl_MatrixUseAccumulator>

SUMS sums[ROWS * COLS]; // a quarter of the tile

// Adds the product of what is staged to the sums, the right side as it lies or transposed.
void multiply(bool is_transposed)
{
    const uint row = gl_SubgroupID / 2 * 16, col = gl_SubgroupID % 2 * 16;
    for (uint e = 0; e < TILE; e += FK)
        UNROLL for (uint a = 0; a < ROWS; a++) {
            coopmat<float16_t, gl_ScopeSubgroup, FM, FK, gl_MatrixUseA> left;
            coopMatLoad(left, left_values, (row + a * FM) * LD + e, LD,
                        gl_CooperativeMatrixLayoutRowMajor);
            UNROLL for (uint b = 0; b < COLS; b++) {
                coopmat<float16_t, gl_ScopeSubgroup, FK, FN, gl_MatrixUseB> right;
                if (is_transposed)
                    coopMatLoad(right, right_values, (col + b * FN) * LD + e, LD,
                                gl_CooperativeMatrixLayoutColumnMajor);
                else
                    coopMatLoad(right, right_values, e * LD + col + b * FN, LD,
                                gl_CooperativeMatrixLayoutRowMajor);
                sums[a * COLS + b] = coopMatMulAdd(left, right, sums[a * COLS + b]);
            }
        }
}

void clear()
{
    UNROLL for (uint f = 0; f < ROWS * COLS; f++)
        sums[f] = SUMS(0.0);
}

void store()
{
    const uint row = gl_SubgroupID / 2 * 16, col = gl_SubgroupID % 2 * 16;
    UNROLL for (uint a = 0; a < ROWS; a++)
        UNROLL for (uint b = 0; b < COLS; b++)
            coopMatStore(sums[a * COLS + b], tile, (row + a * FM) * LD_TILE + col + b * FN,
                         LD_TILE, gl_CooperativeMatrixLayoutRowMajor);
}

// Scores of the block of keys that starts at `key`, into `tile`.
void find_scores(uint query, uint key, uint q_row, uint k_row, uint head)
{
    const uint i = gl_LocalInvocationID.x;
    clear();
    for (uint d0 = 0; d0 < p.d; d0 += TILE) {
        for (uint e = i; e < TILE * TILE; e += threads) {
            const uint c = e % TILE, r = e / TILE;
            const bool has_q = query + r < p.tq && d0 + c < p.d;
            const bool has_k = key + r < p.end_key && d0 + c < p.d;
            left_values[r * LD + c] =
                has_q ? float16_t(q[p.q0 + (q_row + r) * p.ld_q + head * p.d + d0 + c])
                      : float16_t(0.0);
            right_values[r * LD + c] =
                has_k ? float16_t(k[p.k0 + (k_row + r) * p.ld_k + head * p.d + d0 + c])
                      : float16_t(0.0);
        }
        barrier();
        multiply(true);
        barrier();
    }
    store();
    barrier();
    const uint sample_index = p.first_sample + gl_WorkGroupID.z;
    for (uint e = i; e < TILE * TILE; e += threads) {
        const uint j = e % TILE, r = e / TILE;
        const bool counts = key + j < p.end_key && query + r < p.tq &&
                            (!IS_CAUSAL || key + j <= query + r);
        float s = tile[r * LD_TILE + j] * p.scale;
        if (HAS_BIAS && counts)
            s += 1.4426950408889634 *
                 float(bias[p.b0 + sample_index * p.b_sample + head * p.b_head +
                            (query + r) * p.b_query + key + j]);
        if (!counts || s < HIDDEN) // a score that is not a number stays one
            s = HIDDEN;
        tile[r * LD_TILE + j] = s;
    }
}

// Scores become probabilities, not yet divided by their sum; an invocation for each query.
void find_probabilities(uint r)
{
    float top = row_max[r], sum = 0.0; // max() may drop what is not a number: the sum keeps it
    for (uint j = 0; j < TILE; j++)
        top = max(top, tile[r * LD_TILE + j]);
    for (uint j = 0; j < TILE; j++) {
        const float s = tile[r * LD_TILE + j];
        const float e = s == HIDDEN ? 0.0 : exact_exp2(s - top);
        left_values[r * LD + j] = float16_t(e);
        sum += e;
    }
    row_factor[r] = exact_exp2(row_max[r] - top);
    row_sum[r] = row_sum[r] * row_factor[r] + sum;
    row_max[r] = top;
}

void main()
{
    const uint i = gl_LocalInvocationID.x, head = gl_WorkGroupID.y;
    const uint query = p.first_query + gl_WorkGroupID.x * TILE;
    const uint q_row = gl_WorkGroupID.z * p.tq + gl_WorkGroupID.x * TILE; // in the window
    const uint state_size = 2 + p.dv;
    const uint states = (gl_WorkGroupID.z * p.heads + head) * p.queries + gl_WorkGroupID.x * TILE;
    float values[PIECES * EACH]; // of places i + e T of each piece: row place / 32
    for (uint r = i; r < TILE; r += threads) {
        const bool loads = p.resumes != 0 && query + r < p.tq;
        row_max[r] = loads ? state[(states + r) * state_size] : HIDDEN;
        row_sum[r] = loads ? state[(states + r) * state_size + 1] : 0.0;
    }
    UNROLL for (uint a = 0; a < PIECES; a++)
        UNROLL for (uint e = 0; e < EACH; e++) {
            const uint r = (i + e * threads) / TILE, c = a * TILE + (i + e * threads) % TILE;
            const bool loads = p.resumes != 0 && query + r < p.tq && c < p.dv;
            values[a * EACH + e] = loads ? state[(states + r) * state_size + 2 + c] : 0.0;
        }
    barrier(); // the sums of rows are read even where no key follows
    const uint end = IS_CAUSAL ? min(p.end_key, query + TILE) : p.end_key;
    for (uint key = p.begin_key; key < end; key += TILE) {
        const uint k_row = gl_WorkGroupID.z * p.tk + key - p.base_key;
        find_scores(query, key, q_row, k_row, head);
        barrier();
        for (uint r = i; r < TILE; r += threads)
            find_probabilities(r);
        barrier();
        for (uint a = 0; a < PIECES; a++) {
            for (uint e = i; e < TILE * TILE; e += threads) {
                const uint c = e % TILE, j = e / TILE, column = a * TILE + c;
                const bool inside = column < p.dv && key + j < p.end_key;
                right_values[j * LD + c] =
                    inside ? float16_t(v[p.v0 + (k_row + j) * p.ld_v + head * p.dv + column])
                           : float16_t(0.0);
            }
            clear();
            barrier();
            multiply(false);
            store();
            barrier();
            UNROLL for (uint e = 0; e < EACH; e++) {
                const uint place = i + e * threads, r = place / TILE;
                values[a * EACH + e] = values[a * EACH + e] * row_factor[r] +
                                       tile[r * LD_TILE + place % TILE];
            }
            barrier();
        }
    }
    for (uint r = i; r < TILE; r += threads)
        if (p.finishes == 0 && query + r < p.tq) {
            state[(states + r) * state_size] = row_max[r];
            state[(states + r) * state_size + 1] = row_sum[r];
        }
    UNROLL for (uint a = 0; a < PIECES; a++)
        UNROLL for (uint e = 0; e < EACH; e++) {
            const uint r = (i + e * threads) / TILE, c = a * TILE + (i + e * threads) % TILE;
            if (query + r >= p.tq || c >= p.dv)
                continue;
            const float sum = row_sum[r];
            if (p.finishes == 0)
                state[(states + r) * state_size + 2 + c] = values[a * EACH + e];
            else
                y[p.y0 + (q_row + r) * p.ld_y + head * p.dv + c] =
                    STORE(sum == 0.0 ? 0.0 : values[a * EACH + e] / sum);
        }
}
