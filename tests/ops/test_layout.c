/* test_layout.c - concat, window, upsample, embedding, permute and copy move numbers and change
 * none. */
#include "tests/ops/ops.h"

#define EXACT ((ops_options){.is_exact = true})

static const int64_t sizes[] = {1, 3, 63, 64, 65};
enum { NUM_SIZES = sizeof sizes / sizeof sizes[0] };

typedef struct concat_case {
    int axis, rank;
    int64_t dims[4];
    int64_t along[3]; /* of the three inputs */
    int extra;        /* row stride beyond the width */
} concat_case;

static void build_concat(ops_case *c, const void *arg)
{
    const concat_case *p = arg;
    static const char *const names[] = {"x0", "x1", "x2"};
    gen_tensor *x[3];
    for (int i = 0; i < 3; i++) {
        int64_t dims[4];
        memcpy(dims, p->dims, sizeof dims);
        dims[p->axis < 0 ? p->axis + p->rank : p->axis] = p->along[i];
        x[i] = p->extra ? ops_strided(c, names[i], p->extra, p->rank, dims)
                        : ops_input(c, names[i], p->rank, dims);
    }
    gen_output(c->g, gen_concat(c->g, p->axis, 3, x), "y");
}

static void concat_joins_any_axis(void **state)
{
    (void)state;
    for (int extra = 0; extra < 6; extra += 5)
        for (int axis = -1; axis < 4; axis++) {
            const concat_case p = {axis, 4, {2, 5, 3, 7}, {1, 65, 4}, extra};
            ops_check("concat", build_concat, &p, EXACT);
        }
    for (int i = 0; i < NUM_SIZES; i++) {
        const concat_case p = {-1, 3, {2, 9, 0}, {sizes[i], 64, 3}, 0};
        ops_check("concat channels", build_concat, &p, EXACT);
    }
}

typedef struct window_case {
    int axis;
    int64_t start, count;
    int extra;
} window_case;

static void build_window(ops_case *c, const void *arg)
{
    const window_case *p = arg;
    const int64_t dims[] = {2, 5, 65, 7};
    gen_tensor *x = p->extra ? ops_strided(c, "x", p->extra, 4, dims) : ops_input(c, "x", 4, dims);
    gen_output(c->g, gen_window(c->g, x, p->axis, p->start, p->count), "y");
}

static void window_cuts_shifts_and_pads(void **state)
{
    (void)state;
    static const int64_t cuts[][2] = {{0, 3}, {1, 1}, {-1, 5}, {1, 5}, {-2, 75}, {-3, 2}, {80, 2}};
    for (int extra = 0; extra < 6; extra += 5)
        for (int axis = -1; axis < 4; axis++)
            for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
                const window_case p = {axis, cuts[i][0], cuts[i][1], extra};
                ops_check("window", build_window, &p, EXACT);
            }
}

typedef struct upsample_case {
    int64_t h, w, out_h, out_w, channels;
    int extra;
} upsample_case;

static void build_upsample(ops_case *c, const void *arg)
{
    const upsample_case *p = arg;
    const int64_t dims[] = {2, p->h, p->w, p->channels};
    gen_tensor *x = p->extra ? ops_strided(c, "x", p->extra, 4, dims) : ops_input(c, "x", 4, dims);
    gen_output(c->g, gen_upsample_nearest(c->g, x, p->out_h, p->out_w), "y");
}

static void upsample_takes_the_nearest(void **state)
{
    (void)state;
    for (int i = 0; i < NUM_SIZES; i++) {
        const upsample_case twice = {4, 3, 8, 6, sizes[i], 0};
        const upsample_case odd = {5, 7, 9, 13, sizes[i], 6};
        const upsample_case less = {7, 5, 3, 4, sizes[i], 0};
        ops_check("upsample to twice the size", build_upsample, &twice, EXACT);
        ops_check("upsample to an odd size", build_upsample, &odd, EXACT);
        ops_check("resize to fewer", build_upsample, &less, EXACT);
    }
}

typedef struct embedding_case {
    gen_dtype dtype;
    int64_t width;
    int low, high; /* of the ids; the table has 50 rows */
} embedding_case;

static void build_embedding(ops_case *c, const void *arg)
{
    const embedding_case *p = arg;
    ops_weight(c, "token.weight", p->dtype, 0.0, 1.0, GEN_DIMS(50, p->width));
    gen_tensor *ids = ops_ids(c, "ids", p->low, p->high, GEN_DIMS(2, 65));
    gen_output(c->g, gen_embedding(c->g, ops_scope(c, "token"), ids), "y");
}

static void embedding_widens_rows(void **state)
{
    (void)state;
    for (int dtype = GEN_F32; dtype <= GEN_BF16; dtype++)
        for (int i = 0; i < NUM_SIZES; i++) {
            const embedding_case p = {(gen_dtype)dtype, sizes[i], 0, 50};
            ops_check("embedding", build_embedding, &p, EXACT);
        }
}

static void embedding_clamps_ids(void **state)
{
    (void)state;
    const embedding_case p = {GEN_F16, 7, -20, 90};
    ops_check("embedding with ids outside the table", build_embedding, &p, EXACT);
}

typedef struct permute_case {
    int rank, perm[5];
    int64_t dims[5];
    int extra;
} permute_case;

static void build_permute(ops_case *c, const void *arg)
{
    const permute_case *p = arg;
    gen_tensor *x = p->extra ? ops_strided(c, "x", p->extra, p->rank, p->dims)
                             : ops_input(c, "x", p->rank, p->dims);
    gen_output(c->g, gen_permute(c->g, x, p->rank, p->perm), "y");
}

static void permute_moves_dimensions(void **state)
{
    (void)state;
    static const permute_case cases[] = {
        {2, {1, 0}, {65, 63}, 0},
        {2, {1, 0}, {64, 130}, 5},
        {3, {0, 2, 1}, {2, 64, 65}, 0},
        {3, {2, 1, 0}, {3, 33, 40}, 3},
        {3, {1, 0, 2}, {5, 7, 64}, 0},
        {4, {0, 3, 1, 2}, {2, 9, 5, 65}, 0},
        {4, {0, 2, 3, 1}, {2, 65, 5, 9}, 7},
        {4, {3, 2, 1, 0}, {2, 3, 4, 5}, 0},
        {5, {0, 1, 3, 2, 4}, {2, 3, 4, 5, 6}, 2},
        {5, {4, 0, 3, 1, 2}, {1, 3, 1, 5, 6}, 0},
        {3, {0, 1, 2}, {2, 3, 65}, 4},
        {1, {0}, {63}, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ops_check("permute", build_permute, &cases[i], EXACT);
}

/* A view that is asked for in another shape is made dense first. */
static void build_copy(ops_case *c, const void *arg)
{
    const int64_t width = *(const int64_t *)arg;
    gen_tensor *parts[3];
    gen_chunk(c->g, ops_input(c, "x", GEN_DIMS(2, 9, 3 * width)), 3, parts);
    gen_tensor *dense = NULL, *inputs[] = {parts[1]};
    dense = gen_graph_append(c->g, GEN_OP_COPY, "copy", 1, inputs, 3, parts[1]->dims, NULL);
    gen_output(c->g, gen_affine(c->g, gen_reshape(c->g, dense, GEN_DIMS(18, width)), 1.0f, 0.0f),
               "y");
}

static void copy_makes_dense(void **state)
{
    (void)state;
    for (int i = 0; i < NUM_SIZES; i++)
        ops_check("copy", build_copy, &sizes[i], EXACT);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(window_cuts_shifts_and_pads),
        cmocka_unit_test(concat_joins_any_axis),
        cmocka_unit_test(upsample_takes_the_nearest),
        cmocka_unit_test(embedding_widens_rows),
        cmocka_unit_test(embedding_clamps_ids),
        cmocka_unit_test(permute_moves_dimensions),
        cmocka_unit_test(copy_makes_dense),
    };
    return OPS_MAIN(argc, argv, tests);
}
