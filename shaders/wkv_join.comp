#version 450
#extension GL_GOOGLE_include_directive : require
layout(local_size_x = 64) in; // before the files that use it
// wkv_join: replaces the sum of every segment by that of all segments in front of it (side 0), and
// behind it (side 1).  An invocation for each (channel, side, sample); loops: the segments.
// CPU twin: gen/cpu/wkv.c.
#include "common/index.glsl"
#include "common/wkv.glsl"
layout(push_constant) uniform Params {
    uint count, channels, tokens, segments, segment_tokens, w0;
} p;
layout(binding = 0) readonly buffer W { float w[]; };
layout(binding = 1) buffer States { float states[]; }; // [sample][segment][side][3][C]

void main()
{
    const uint i = flat_invocation();
    if (i >= p.count)
        return;
    const uint c = i % p.channels, side = i / p.channels % 2, sample_index = i / p.channels / 2;
    const float decay = w[p.w0 + c];
    Sums total = no_sums();
    for (uint n = 0; n < p.segments; n++) {
        const uint segment = side == 0 ? n : p.segments - 1 - n;
        const uint count = min(p.segment_tokens, p.tokens - segment * p.segment_tokens);
        const uint at = ((sample_index * p.segments + segment) * 2 + side) * 3 * p.channels + c;
        const Sums part =
            Sums(states[at], states[at + p.channels], states[at + 2 * p.channels]);
        states[at] = total.a;
        states[at + p.channels] = total.b;
        states[at + 2 * p.channels] = total.o;
        total.o -= float(count) * decay;
        total = merge(total, part);
    }
}
