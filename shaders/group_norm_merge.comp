#version 450
layout(local_size_x = 64) in;
// group_norm_merge: the statistics of blocks become those of a group, in the order of the blocks
// (Chan, Golub & LeVeque 1983).  Means are taken relative to the first block's, so that a large mean
// costs no digits.  An invocation for each (sample, group); loops: blocks + 1.
// CPU twin: gen/cpu/norm.c.
layout(push_constant) uniform Params {
    uint count, positions, width, groups, blocks, block_rows;
    float eps;
} p;
layout(binding = 0) readonly buffer Stats { float stats[]; };    // [sample][block][group][3]
layout(binding = 1) writeonly buffer Merged { float merged[]; }; // [sample][group][3]

void main()
{
    const uint i = gl_GlobalInvocationID.x;
    if (i >= p.count)
        return;
    const uint sample_index = i / p.groups, group = i % p.groups;
    const uint first = (sample_index * p.blocks * p.groups + group) * 3;
    const float origin = stats[first];
    float count = 0.0, mean = 0.0, square = 0.0;
    for (uint block = 0; block < p.blocks; block++) {
        const uint at = first + block * p.groups * 3;
        const uint rows = min(p.block_rows, p.positions - block * p.block_rows);
        const float n = float(rows * p.width);
        const float d = (stats[at] - origin) + stats[at + 1] - mean;
        const float all = count + n;
        square += stats[at + 2] + d * d * (count * (n / all));
        mean += d * (n / all);
        count = all;
    }
    merged[i * 3] = origin;
    merged[i * 3 + 1] = mean;
    merged[i * 3 + 2] = 1.0 / sqrt(square / count + p.eps);
}
