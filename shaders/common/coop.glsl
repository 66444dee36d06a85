// coop.glsl - the product of a tile on matrix units (VK_KHR_cooperative_matrix): operands in f16, sums
// in f32.  Four subgroups make BM x BN outputs, a quarter each, of fragments FM x FN x FK; both
// operands pass through shared memory BK at a time.  Which lane holds which number of a fragment is
// the device's affair, so results leave through shared memory.
// The file that includes this one says what is multiplied: set_depth(k) comes first, then
// left_at(m) and right_at(n) are asked for numbers at that depth, 0 outside; put(m, n, sum) takes
// the results, also those outside.  Loops of an invocation: ceil(K / BK) (5 + (BM + BN) BK / T +
// BK / FK) + BM BN / T + fragments of a subgroup.
#ifndef GEN_COOP_GLSL
#define GEN_COOP_GLSL
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#include "common/unroll.glsl"
layout(local_size_x_id = 0) in; // four subgroups
layout(constant_id = 1) const uint FM = 16;
layout(constant_id = 2) const uint FN = 16;
layout(constant_id = 3) const uint FK = 16;

const uint BM = 64, BN = 64, BK = 32;
const uint LD = BK + 8;                 // of rows in shared memory
const uint ROWS = 32 / FM, COLS = 32 / FN; // fragments of a subgroup

shared float16_t left_values[BM * LD];
shared float16_t right_values[BN * LD];
shared float results[4 * FM * FN];

void set_depth(uint k);
float left_at(uint m);
float right_at(uint n);
void put(uint m, uint n, float sum);

void multiply(uint depth)
{
    const uint threads = gl_WorkGroupSize.x, i = gl_LocalInvocationID.x;
    const uint row = gl_SubgroupID / 2 * 32, col = gl_SubgroupID % 2 * 32;
    coopmat<float, gl_ScopeSubgroup, FM, FN, gl_MatrixUseAccumulator> sums[ROWS * COLS];
    UNROLL for (uint f = 0; f < ROWS * COLS; f++)
        sums[f] = coopmat<float, gl_ScopeSubgroup, FM, FN, gl_MatrixUseAccumulator>(0.0);
    // The same place of every turn is this invocation's: `threads` is a multiple of BK.
    const uint k = i % BK;
    for (uint k0 = 0; k0 < depth; k0 += BK) {
        set_depth(k0 + k);
        for (uint m = i / BK; m < BM; m += threads / BK)
            left_values[m * LD + k] = float16_t(left_at(m));
        for (uint n = i / BK; n < BN; n += threads / BK)
            right_values[n * LD + k] = float16_t(right_at(n));
        barrier();
        for (uint e = 0; e < BK; e += FK) {
            coopmat<float16_t, gl_ScopeSubgroup, FK, FN, gl_MatrixUseB> right[COLS];
            UNROLL for (uint b = 0; b < COLS; b++)
                coopMatLoad(right[b], right_values, (col + b * FN) * LD + e, LD,
                            gl_CooperativeMatrixLayoutColumnMajor);
            UNROLL for (uint a = 0; a < ROWS; a++) {
                coopmat<float16_t, gl_ScopeSubgroup, FM, FK, gl_MatrixUseA> left;
                coopMatLoad(left, left_values, (row + a * FM) * LD + e, LD,
                            gl_CooperativeMatrixLayoutRowMajor);
                UNROLL for (uint b = 0; b < COLS; b++)
                    sums[a * COLS + b] = coopMatMulAdd(left, right[b], sums[a * COLS + b]);
            }
        }
        barrier();
    }
    const uint place = gl_SubgroupID * FM * FN;
    UNROLL for (uint a = 0; a < ROWS; a++)
        UNROLL for (uint b = 0; b < COLS; b++) {
            coopMatStore(sums[a * COLS + b], results, place, FN,
                         gl_CooperativeMatrixLayoutRowMajor);
            barrier();
            for (uint e = gl_SubgroupInvocationID; e < FM * FN; e += gl_SubgroupSize)
                put(row + a * FM + e / FN, col + b * FN + e % FN, results[place + e]);
            barrier();
        }
}

#endif
