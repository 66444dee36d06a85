// wkv.glsl - weighted sums of values with exponents of any size (gen/cpu/kernels/wkv_kernels.c).
//
// A sum stands for (a, b) e^o.  A cursor measures o at an anchor token: behind j tokens its state is
// (a, b) e^(o - j w), and the next token enters as e^(k + (j + 1) w - o), so decay costs no rounding
// of its own.  o follows the largest exponent only when a token exceeds it by more than e^SLACK.
#ifndef GEN_WKV_GLSL
#define GEN_WKV_GLSL
#include "common/act.glsl"

const float SLACK = 8.0, EMPTY = -1e38;
const uint ANCHOR_TOKENS = 32;

struct Sums {
    float a, b, o;
};

struct Cursor {
    Sums s;
    float w;
    uint j; // tokens since the anchor
};

Sums no_sums()
{
    return Sums(0.0, 0.0, EMPTY);
}

// Both together, the larger exponent kept.
Sums merge(Sums x, Sums y)
{
    const float d = x.o - y.o, e = exact_exp(-abs(d));
    const float fx = d < 0.0 ? e : 1.0, fy = d < 0.0 ? 1.0 : e;
    return Sums(fx * x.a + fy * y.a, fx * x.b + fy * y.b, d < 0.0 ? y.o : x.o);
}

// The state behind the tokens seen so far.
Sums read_cursor(Cursor c)
{
    return Sums(c.s.a, c.s.b, c.s.o - float(c.j) * c.w);
}

void add_token(inout Cursor c, float k, float v)
{
    c.j++;
    const float at = k + float(c.j) * c.w;
    if (at - c.s.o > SLACK) {
        const float factor = exact_exp(c.s.o - at);
        c.s = Sums(factor * c.s.a, factor * c.s.b, at);
    }
    const float e = exact_exp(at - c.s.o);
    c.s.a += e * v;
    c.s.b += e;
    if (c.j == ANCHOR_TOKENS) {
        c.s = read_cursor(c);
        c.j = 0;
    }
}

#endif
