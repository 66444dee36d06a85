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

/* The half of the channels that tells the column (axis 0) or the row, of all columns or rows; the
 * other half is zero.  [length, dim] */
static float *half_table(int axis, int64_t length, int64_t dim, const gen_position_grid *grid)
{
    const gen_position_grid line = {.height = axis ? length : 1,
                                    .width = axis ? 1 : length,
                                    .base_height = grid->base_height,
                                    .base_width = grid->base_width,
                                    .scale = grid->scale};
    float *table = gen_calloc((size_t)(length * dim), sizeof *table);
    if (!table)
        return NULL;
    gen_sincos_positions(table, dim, &line);
    for (int64_t i = 0; i < length; i++)
        for (int64_t k = 0; k < dim / 2; k++)
            table[i * dim + (axis ? 0 : dim / 2) + k] = 0;
    return table;
}

static gen_tensor *half(gen_graph *g, gen_scope w, int axis, int64_t dim,
                        const gen_position_grid *grid)
{
    char name[160];
    const int64_t length = axis ? grid->height : grid->width;
    const int64_t dims[3] = {axis ? length : 1, axis ? 1 : length, dim};
    snprintf(name, sizeof name, "%s %" PRId64 " of %" PRId64 " / %.9g, %" PRId64,
             axis ? "rows" : "columns", length, axis ? grid->base_height : grid->base_width,
             grid->scale, dim);
    gen_tensor *table = gen_constant(g, w, name);
    return table ? table
                 : gen_constant_new(g, w, name, 3, dims, half_table(axis, length, dim, grid));
}

gen_tensor *gen_add_positions(gen_graph *g, gen_scope w, gen_tensor *x,
                              const gen_position_grid *grid)
{
    if (x->is_poisoned)
        return x;
    const int64_t N = x->dims[0], T = x->dims[1], D = x->dims[2];
    if (D % 4)
        return gen_graph_fail(g, x->name, GEN_ERROR_MODEL,
                              "positions of width %" PRId64 ", expected a multiple of 4", D);
    x = gen_reshape(g, x, GEN_DIMS(N, grid->height, grid->width, D));
    x = gen_add(g, x, half(g, w, 0, D, grid));
    x = gen_add(g, x, half(g, w, 1, D, grid));
    return gen_reshape(g, x, GEN_DIMS(N, T, D));
}
