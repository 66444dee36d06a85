/* patches.c - patches back to pictures, and where they stand. */
#include "gen/core/patches.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "gen/core/nn.h"

gen_tensor *gen_unpatchify(gen_graph *g, gen_tensor *x, int64_t h, int64_t w, int64_t p)
{
    char shape[128];
    if (x->is_poisoned)
        return x;
    if (x->rank != 3 || x->dims[1] != h * w || x->dims[2] % (p * p))
        return gen_graph_fail(g, x->name, GEN_ERROR_MODEL,
                              "%s are not %" PRId64 "x%" PRId64 " patches of side %" PRId64,
                              gen_shape_string(shape, sizeof shape, x->rank, x->dims), h, w, p);
    const int64_t N = x->dims[0], C = x->dims[2] / (p * p);
    x = gen_reshape(g, x, GEN_DIMS(N, h, w, p, p, C));
    x = gen_permute(g, x, 6, (const int[]){0, 1, 3, 2, 4, 5});
    return gen_reshape(g, x, GEN_DIMS(N, h * p, w * p, C));
}

static double place(int64_t i, int64_t size, int64_t base, double scale)
{
    return (double)i * (base ? (double)base / (double)size : 1) / (scale > 0 ? scale : 1);
}

void gen_sincos_positions(float *out, int64_t dim, const gen_position_grid *grid)
{
    const int64_t n = dim / 4;
    for (int64_t t = 0; t < grid->height * grid->width; t++) {
        const double at[2] = {place(t % grid->width, grid->width, grid->base_width, grid->scale),
                              place(t / grid->width, grid->height, grid->base_height, grid->scale)};
        for (int axis = 0; axis < 2; axis++)
            for (int64_t i = 0; i < n; i++) {
                const double angle = at[axis] * pow(10000.0, -(double)i / (double)n);
                out[t * dim + axis * 2 * n + i] = (float)sin(angle);
                out[t * dim + axis * 2 * n + n + i] = (float)cos(angle);
            }
    }
}

gen_tensor *gen_position_table(gen_graph *g, gen_scope w, int64_t dim,
                               const gen_position_grid *grid)
{
    char name[160];
    snprintf(name, sizeof name,
             "positions %" PRId64 "x%" PRId64 " of %" PRId64 "x%" PRId64 " / %.9g, %" PRId64,
             grid->height, grid->width, grid->base_height, grid->base_width, grid->scale, dim);
    gen_tensor *table = gen_constant(g, w, name);
    if (table)
        return table;
    const int64_t rows = grid->height * grid->width;
    float *values = dim % 4 ? NULL : gen_calloc((size_t)(rows * dim), sizeof *values);
    if (values)
        gen_sincos_positions(values, dim, grid);
    return gen_constant_new(g, w, name, GEN_DIMS(rows, dim), values);
}
