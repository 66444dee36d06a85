/* patches.h - pictures as sequences of square patches: what transformers over them share.
 *
 * A patch embedding is gen_conv2d() with its stride as large as its kernel; tokens are in the order
 * of rows, so that [N,h,w,D] and [N,h*w,D] are the same bytes. */
#ifndef GEN_CORE_PATCHES_H
#define GEN_CORE_PATCHES_H

#include "gen/core/graph.h"

/* Tokens x [N,h*w,p*p*C] of p x p patches, the channel fastest, back to a picture [N,h*p,w*p,C]. */
gen_tensor *gen_unpatchify(gen_graph *g, gen_tensor *x, int64_t h, int64_t w, int64_t p);

/* A grid of positions: column x of `width` stands at x * base / width / scale, a row likewise.
 * base 0 is the grid itself; scale 0 is 1. */
typedef struct gen_position_grid {
    int64_t height, width;
    int64_t base_height, base_width;
    double scale;
} gen_position_grid;

/* Fixed positions in two dimensions (Dosovitskiy et al. 2021, with the order of Peebles & Xie):
 * row y*width + x is [sin a_i, cos a_i of the column | sin, cos of the row], a_i = position /
 * 10000^(4i/dim), dim/4 frequencies each.  out [height*width, dim]; dim is a multiple of 4. */
void gen_sincos_positions(float *out, int64_t dim, const gen_position_grid *grid);

/* x [N,height*width,dim] plus these positions.  Of the network at w only the height + width rows
 * that differ are kept as constants. */
gen_tensor *gen_add_positions(gen_graph *g, gen_scope w, gen_tensor *x,
                              const gen_position_grid *grid);

#endif
