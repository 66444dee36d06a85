// reduce.glsl - sums over a workgroup: a tree in shared memory, in an order that depends on the size
// of the workgroup alone (a power of two), so results do not depend on the device.
#ifndef GEN_REDUCE_GLSL
#define GEN_REDUCE_GLSL

shared float reduce_values[gl_WorkGroupSize.x];

// The sum of x over all invocations, for each of them.
float workgroup_sum(float x)
{
    const uint i = gl_LocalInvocationID.x;
    reduce_values[i] = x;
    barrier();
    for (uint n = gl_WorkGroupSize.x / 2; n > 0; n /= 2) {
        if (i < n)
            reduce_values[i] += reduce_values[i + n];
        barrier();
    }
    const float sum = reduce_values[0];
    barrier();
    return sum;
}

#endif
