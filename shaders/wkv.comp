#version 450
#extension GL_GOOGLE_include_directive : require
#include "common/types.glsl"
layout(local_size_x = 64) in; // before the files that use it
// wkv: y_t = sum_i q_ti e^(k_i) v_i / sum_i q_ti e^(k_i), with the q of gen_wkv() (gen/core/nn.h).
// An invocation for each (channel, segment, sample): first the sums right of every token, kept in
// `scratch`, then from left to right the results.  Loops: twice the tokens of a segment.
// CPU twin: gen/cpu/wkv.c.
#include "common/index.glsl"
#include "common/wkv.glsl"
layout(constant_id = 0) const bool IS_SEGMENTED = false;
layout(push_constant) uniform Params {
    uint count, channels, tokens, segments, segment_tokens;
    uint w0, u0, k0, ld_k, v0, ld_v, y0, ld_y;
    uint right0; // where the sums right of the tokens begin: [sample][token][3][C]
} p;
layout(binding = 0) readonly buffer W { float w[]; };
layout(binding = 1) readonly buffer U { float u[]; };
layout(binding = 2) readonly buffer K { STORE k[]; };
layout(binding = 3) readonly buffer V { STORE v[]; };
layout(binding = 4) buffer Scratch { float scratch[]; }; // first [sample][segment][side][3][C]
layout(binding = 5) writeonly buffer Y { STORE y[]; };

Sums load_sums(uint at)
{
    return Sums(scratch[at], scratch[at + p.channels], scratch[at + 2 * p.channels]);
}

// Tokens at distance d weigh e^(k - (d - 1) w), the token itself e^(k + u).
float paper_result(Cursor left, Sums right, Sums self)
{
    const Sums s = merge(merge(read_cursor(left), right), self);
    return s.a / s.b;
}

// In the first token's view everything else of the line is at its distance d; within the segment,
// tokens on the left weigh e^(k - (d - 1) w), and all tokens from the second to this one once more
// (1 - e^w) e^(k + d w).
float segment_result(Cursor left, Cursor own, Sums earlier, Sums right, Sums self, bool has_own)
{
    const float growth = 1.0 - exact_exp(left.w);
    right.o -= left.w;
    Sums s = merge(merge(merge(earlier, read_cursor(left)), right), self);
    s.b += 1e-6;
    if (has_own) {
        Sums g = read_cursor(own);
        g.a *= growth;
        g.b *= growth;
        s = merge(s, g);
    }
    return s.a / s.b;
}

void main()
{
    const uint i = flat_invocation();
    if (i >= p.count)
        return;
    const uint c = i % p.channels, rest = i / p.channels;
    const uint segment = rest % p.segments, sample_index = rest / p.segments;
    const uint first = sample_index * p.tokens + segment * p.segment_tokens;
    const uint count = min(p.segment_tokens, p.tokens - segment * p.segment_tokens);
    const float decay = w[p.w0 + c], bonus = u[p.u0 + c];
    const Sums before = load_sums(rest * 6 * p.channels + c);
    Cursor right = Cursor(load_sums((rest * 6 + 3) * p.channels + c), decay, 0);
    for (uint n = 0; n < count; n++) {
        const uint t = first + count - 1 - n, at = p.right0 + t * 3 * p.channels + c;
        const Sums s = read_cursor(right);
        scratch[at] = s.a;
        scratch[at + p.channels] = s.b;
        scratch[at + 2 * p.channels] = s.o;
        add_token(right, float(k[p.k0 + t * p.ld_k + c]), float(v[p.v0 + t * p.ld_v + c]));
    }
    Cursor left = Cursor(before, decay, 0), own = Cursor(no_sums(), -decay, 0);
    if (IS_SEGMENTED)
        left.s = no_sums();
    for (uint n = 0; n < count; n++) {
        const uint t = first + n;
        const float key = float(k[p.k0 + t * p.ld_k + c]), value = float(v[p.v0 + t * p.ld_v + c]);
        const Sums after = load_sums(p.right0 + t * 3 * p.channels + c);
        const Sums self = Sums(value, 1.0, bonus + key);
        float result;
        if (IS_SEGMENTED) {
            if (n > 0)
                add_token(own, key, value);
            Sums earlier = before;
            earlier.o -= float(n + 1) * decay;
            result = segment_result(left, own, earlier, after, self, n > 0);
        } else {
            result = paper_result(left, after, self);
        }
        y[p.y0 + t * p.ld_y + c] = STORE(result);
        add_token(left, key, value);
    }
}
