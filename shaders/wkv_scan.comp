#version 450
#extension GL_GOOGLE_include_directive : require
#include "common/types.glsl"
layout(local_size_x = 64) in; // before the files that use it
// wkv_scan: the weighted sum of each segment of tokens alone, seen from behind it (side 0) and from
// in front of it (side 1).  An invocation for each (channel, side, segment, sample); loops: the
// tokens of a segment.  CPU twin: gen/cpu/wkv.c.
#include "common/index.glsl"
#include "common/wkv.glsl"
layout(push_constant) uniform Params {
    uint count, channels, tokens, segments, segment_tokens;
    uint w0, k0, ld_k, v0, ld_v;
} p;
layout(binding = 0) readonly buffer W { float w[]; };
layout(binding = 1) readonly buffer K { STORE k[]; };
layout(binding = 2) readonly buffer V { STORE v[]; };
layout(binding = 3) writeonly buffer States { float states[]; }; // [sample][segment][side][3][C]

void main()
{
    const uint i = flat_invocation();
    if (i >= p.count)
        return;
    const uint c = i % p.channels, rest = i / p.channels, side = rest % 2;
    const uint segment = rest / 2 % p.segments, sample_index = rest / 2 / p.segments;
    const uint first = segment * p.segment_tokens;
    const uint count = min(p.segment_tokens, p.tokens - first);
    Cursor at = Cursor(no_sums(), w[p.w0 + c], 0);
    for (uint n = 0; n < count; n++) {
        const uint t = sample_index * p.tokens + first + (side == 0 ? n : count - 1 - n);
        add_token(at, float(k[p.k0 + t * p.ld_k + c]), float(v[p.v0 + t * p.ld_v + c]));
    }
    const Sums s = read_cursor(at);
    const uint to = rest * 3 * p.channels + c;
    states[to] = s.a;
    states[to + p.channels] = s.b;
    states[to + 2 * p.channels] = s.o;
}
