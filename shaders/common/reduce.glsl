// reduce.glsl - sums over a workgroup: a tree in an order that depends on the size of the workgroup
// alone (a power of two), so results do not depend on the device.  The tree is in shared memory; in
// the modules *_lanes, its last levels are exchanges between the lanes of one subgroup, which need
// no barriers and add the same numbers in the same order.
#ifndef GEN_REDUCE_GLSL
#define GEN_REDUCE_GLSL
#ifdef REDUCE_LANES
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle_relative : require
#endif

shared float reduce_values[gl_WorkGroupSize.x];

// The sum of x over all invocations, for each of them.
float workgroup_sum(float x)
{
    const uint i = gl_LocalInvocationID.x;
    reduce_values[i] = x;
    barrier();
    uint n = gl_WorkGroupSize.x / 2;
#ifdef REDUCE_LANES
    const uint size = gl_SubgroupSize;
    const bool is_full = gl_NumSubgroups * size == gl_WorkGroupSize.x; // no lane is left out
    const uint last = is_full ? size : 1;                              // what the lanes add
#else
    const uint last = 1;
#endif
    for (; n >= last; n /= 2) {
        if (i < n)
            reduce_values[i] += reduce_values[i + n];
        barrier();
    }
#ifdef REDUCE_LANES
    if (is_full) {
        if (gl_SubgroupID == 0) { // lanes need not be numbered like invocations
            float sum = reduce_values[gl_SubgroupInvocationID];
            for (; n > 0; n /= 2)
                sum += subgroupShuffleDown(sum, n);
            if (gl_SubgroupInvocationID == 0)
                reduce_values[0] = sum;
        }
        barrier();
    }
#endif
    const float sum = reduce_values[0];
    barrier();
    return sum;
}

#endif
