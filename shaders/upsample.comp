#version 450
#extension GL_GOOGLE_include_directive : require
#include "common/types.glsl"
layout(local_size_x = 256) in; // before the files that use it
// upsample: nearest neighbour, y[n,i,j,c] = x[n, floor(i in_h / out_h), floor(j in_w / out_w), c].
// An invocation for each element of rows first_row.. of all images.  CPU twin: gen/cpu/layout.c.
#include "common/index.glsl"
layout(push_constant) uniform Params {
    uint count, channels, in_h, in_w, out_h, out_w;
    uint x0, ld_x, y0, ld_y;
    uint first_row; // image * out_h + i of the window
    uint first_in;  // image * in_h + row of the input where its window starts
} p;
layout(binding = 0) readonly buffer X { STORE x[]; };
layout(binding = 1) writeonly buffer Y { STORE y[]; };

void main()
{
    const uint e = flat_invocation();
    if (e >= p.count)
        return;
    const uint c = e % p.channels, pixel = e / p.channels;
    const uint col = pixel % p.out_w, row = pixel / p.out_w, all = p.first_row + row;
    const uint from_row = all / p.out_h * p.in_h + all % p.out_h * p.in_h / p.out_h - p.first_in;
    const uint from_col = col * p.in_w / p.out_w;
    y[p.y0 + (row * p.out_w + col) * p.ld_y + c] =
        STORE(float(x[p.x0 + (from_row * p.in_w + from_col) * p.ld_x + c]));
}
