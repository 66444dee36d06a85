#version 450
#extension GL_GOOGLE_include_directive : require
#include "common/types.glsl"
layout(local_size_x = 64) in; // before the files that use it
// group_norm_stats: mean and sum of squared deviations of each group over a block of positions.
// A workgroup for each (block, group, sample): x, y and z of the grid.  The mean is found twice, the
// second time of what the first left over, and given in these two parts.
// Loops of an invocation: 3 (block_rows width / 64 + 9).  CPU twin: gen/cpu/norm.c.
#include "common/reduce.glsl"
layout(push_constant) uniform Params {
    uint positions, width, groups, blocks, block_rows; // of a sample; channels of a group
    uint x0, ld_x;                                     // of the window
    uint first_block, first_sample;
} p;
layout(binding = 0) readonly buffer X { STORE x[]; };
layout(binding = 1) writeonly buffer Stats { float stats[]; }; // [sample][block][group][3]

void main()
{
    const uint block = p.first_block + gl_WorkGroupID.x, group = gl_WorkGroupID.y;
    const uint row = gl_WorkGroupID.x * p.block_rows; // in the window, of this sample
    const uint rows = min(p.block_rows, p.positions - block * p.block_rows);
    const uint at = p.x0 + (gl_WorkGroupID.z * p.positions + row) * p.ld_x + group * p.width;
    const uint count = rows * p.width;
    float sum = 0.0;
    for (uint i = gl_LocalInvocationID.x; i < count; i += 64)
        sum += float(x[at + i / p.width * p.ld_x + i % p.width]);
    const float mean = workgroup_sum(sum) / float(count);
    sum = 0.0;
    for (uint i = gl_LocalInvocationID.x; i < count; i += 64)
        sum += float(x[at + i / p.width * p.ld_x + i % p.width]) - mean;
    const float rest = workgroup_sum(sum) / float(count);
    float square = 0.0;
    for (uint i = gl_LocalInvocationID.x; i < count; i += 64) {
        const float d = (float(x[at + i / p.width * p.ld_x + i % p.width]) - mean) - rest;
        square += d * d;
    }
    square = workgroup_sum(square);
    if (gl_LocalInvocationID.x == 0) {
        const uint sample_index = p.first_sample + gl_WorkGroupID.z;
        const uint to = ((sample_index * p.blocks + block) * p.groups + group) * 3;
        stats[to] = mean;
        stats[to + 1] = rest;
        stats[to + 2] = square;
    }
}
