/* winograd.c - 3x3 convolutions with stride 1 by Winograd's transforms
 * (kernels/winograd_kernels.h).
 *
 * The output is cut into tiles of 4x4 or 6x6.  All tiles of all samples are one list, worked on in
 * blocks.  Inputs of a block are transformed into V [xi][tile/mr][ci/8][mr][8], which is packed A
 * of one product per element xi of the transform, M[xi] = V[xi] U[xi]; sums M are transformed back.
 * Two orders, because what must stay in the caches differs:
 *
 *   by columns   few tiles.  A task takes some columns and makes their U, channels by channels, in
 *                its own scratch; U is used at once and never stored.
 *   by elements  many tiles.  U is made for the whole layer first; a task takes one xi and all its
 *                columns, so that V[xi] and U[xi] are read once.
 *
 * What is done where follows from shapes and options alone. */
#include <string.h>

#include "gen/cpu/conv2d.h"
#include "gen/cpu/kernels/winograd_kernels.h"

enum {
    LARGE_SIDE = 48,      /* from here on F(6x6) */
    FEW_COLUMNS = 256,    /* below, columns do not make enough tasks */
    COLUMN_BLOCK = 126,   /* tiles of a block, by columns */
    CHUNK_COLUMNS = 32,   /* columns of a task */
    CHUNK_CHANNELS = 128, /* channels whose U exists at one time */
    INPUT_CHANNELS = 64,  /* channels of a task of the input transform */
    OUTPUT_TILES = 4      /* tiles of a task of the output transform, by elements */
};

/* By elements: floats of U of a layer at most, and of V and M of a block.  A block is half as large
 * as U, which is read again for every block, within limits. */
enum { MAX_U = 32 << 20, MIN_BLOCK = 3 << 20, MAX_BLOCK = 12 << 20 };

typedef struct layer {
    const gen_winograd_form *form;
    int elements; /* in * in */
    bool is_by_elements;
    int64_t ci, co, co_padded;
    int64_t tiles_y, tiles_x, tiles, groups; /* groups of mr tiles */
    int64_t block_groups;
    int64_t panel, chunk; /* columns of a panel, of a task */
    int64_t k_chunk;
    int64_t v_stride, m_stride, u_stride; /* floats from xi to xi */
    size_t v_size, m_size, u_size;        /* bytes */
} layer;

static int64_t divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static size_t align(int64_t floats)
{
    return ((size_t)floats * sizeof(float) + 127) / 128 * 128;
}

bool gen_winograd_applies(const gen_cpu *cpu, const gen_node *node)
{
    const gen_tensor *x = node->inputs[0], *w = node->inputs[1], *y = node->output;
    if (cpu->gemm != GEN_GEMM_OWN || cpu->options.conv == GEN_CONV_EXACT || w->rank != 4 ||
        w->dims[2] != 3 || w->dims[3] != 3 || node->p.conv2d.stride != 1)
        return false;
    return x->dims[3] >= 16 && x->dims[3] % GEN_GEMM_UNIT == 0 && y->dims[1] >= 4 &&
           y->dims[2] >= 4 && y->dims[0] * y->dims[1] * y->dims[2] >= 32;
}

/* Powers of two between the elements would meet in the same cache sets. */
static int64_t stride_of(int64_t floats)
{
    return divide_up(floats, 32) * 32 + 48;
}

/* Channels, and so columns, in chunks whose U and M stay in the cache of a core. */
static void plan_by_columns(layer *l, const gen_gemm_kernels *kern)
{
    const int64_t block = COLUMN_BLOCK / kern->mr;
    l->block_groups = divide_up(l->groups, divide_up(l->groups, block));
    l->k_chunk = l->ci < CHUNK_CHANNELS ? l->ci : CHUNK_CHANNELS;
    l->chunk = divide_up(CHUNK_COLUMNS, l->panel) * l->panel;
}

static void plan_by_elements(layer *l, const gen_gemm_kernels *kern)
{
    int64_t floats = l->elements * l->ci * l->co_padded / 2;
    floats = floats < MIN_BLOCK ? MIN_BLOCK : floats > MAX_BLOCK ? MAX_BLOCK : floats;
    int64_t block = floats / (l->elements * (l->ci + l->co_padded) * kern->mr);
    block = block < 1 ? 1 : block;
    l->block_groups = divide_up(l->groups, divide_up(l->groups, block));
    l->k_chunk = l->ci;
    l->chunk = l->co_padded;
}

static layer layer_of(const gen_cpu *cpu, const gen_node *node)
{
    const gen_gemm_kernels *kern = cpu->k->gemm;
    const gen_tensor *y = node->output;
    const int64_t side = y->dims[1] < y->dims[2] ? y->dims[1] : y->dims[2];
    /* Images and latents (few channels) are not worth the larger error. */
    const bool is_large = side >= LARGE_SIDE && y->dims[3] >= 16;
    layer l = {.form = is_large ? &cpu->k->winograd->f6 : &cpu->k->winograd->f4};
    l.elements = l.form->in * l.form->in;
    l.ci = node->inputs[0]->dims[3];
    l.co = y->dims[3];
    l.co_padded = divide_up(l.co, kern->vector) * kern->vector;
    l.tiles_y = divide_up(y->dims[1], l.form->out);
    l.tiles_x = divide_up(y->dims[2], l.form->out);
    l.tiles = y->dims[0] * l.tiles_y * l.tiles_x;
    l.groups = divide_up(l.tiles, kern->mr);
    l.panel = kern->vectors * kern->vector;

    /* U of a layer may be a sixteenth of the memory limit, if there is one. */
    const int64_t limit = (int64_t)(cpu->options.mem_limit / 16 / sizeof(float));
    const int64_t max_u = limit && limit < MAX_U ? limit : MAX_U;
    l.is_by_elements = l.co < FEW_COLUMNS || (is_large && l.elements * l.ci * l.co_padded <= max_u);
    if (l.is_by_elements)
        plan_by_elements(&l, kern);
    else
        plan_by_columns(&l, kern);
    l.v_stride = stride_of(l.block_groups * kern->mr * l.ci);
    l.m_stride = stride_of(l.block_groups * kern->mr * l.chunk);
    l.u_stride = stride_of(l.k_chunk * l.chunk);
    l.v_size = align(l.elements * l.v_stride);
    l.m_size = align(l.elements * l.m_stride);
    l.u_size = align(l.elements * l.u_stride);
    return l;
}

void gen_winograd_measure(const gen_cpu *cpu, const gen_node *node, gen_cpu_needs *needs)
{
    const layer l = layer_of(cpu, node);
    gen_gemm_measure(cpu, 1, node->inputs[1], false, needs); /* for the packed weights */
    needs->shared = l.v_size + (l.is_by_elements ? l.m_size + l.u_size : 0);
    needs->per_worker = l.is_by_elements ? 0 : l.m_size + l.u_size;
}

gen_status gen_winograd_prepare(gen_cpu *cpu, gen_cpu_step *step, gen_error *err)
{
    return gen_gemm_prepare(cpu, step->node->inputs[1], err);
}

/* ---- phases --------------------------------------------------------------------------------- */

typedef struct job {
    const gen_gemm_kernels *kern;
    const gen_cpu_step *step;
    const gen_node *node;
    layer l;
    gen_conv_image image;
    gen_gemm product;     /* weights and epilogue */
    float *v, *m, *u;     /* shared ones */
    int64_t first_group;  /* of the block at work */
    int64_t block_groups; /* in it */
} job;

static int rows_of_group(const job *j, int64_t group)
{
    const int64_t left = j->l.tiles - group * j->kern->mr;
    return left < j->kern->mr ? (int)left : j->kern->mr;
}

typedef struct place {
    int64_t sample, y, x; /* of the first output of a tile */
} place;

static place place_of(const job *j, int64_t tile)
{
    const layer *l = &j->l;
    return (place){tile / (l->tiles_y * l->tiles_x), tile / l->tiles_x % l->tiles_y * l->form->out,
                   tile % l->tiles_x * l->form->out};
}

static void input_task(void *arg, int i, int worker)
{
    const job *j = arg;
    const layer *l = &j->l;
    const int64_t parts = divide_up(l->ci, INPUT_CHANNELS), group = i / parts;
    const int64_t c0 = i % parts * INPUT_CHANNELS;
    const float *pixels[GEN_GEMM_MAX_ROWS * GEN_WINOGRAD_MAX_IN * GEN_WINOGRAD_MAX_IN];
    const int rows = rows_of_group(j, j->first_group + group), in = l->form->in;
    (void)worker;
    const float **p = pixels;
    for (int r = 0; r < rows; r++) {
        const place at = place_of(j, (j->first_group + group) * j->kern->mr + r);
        for (int y = 0; y < in; y++)
            for (int x = 0; x < in; x++, p++) {
                *p = gen_conv_pixel(&j->image, at.sample, at.y + y, at.x + x);
                if (*p)
                    *p += c0;
            }
    }
    l->form->input(j->v + (group * l->ci + c0) * j->kern->mr, l->v_stride, pixels, rows,
                   (int)(l->ci - c0 < INPUT_CHANNELS ? l->ci - c0 : INPUT_CHANNELS));
}

static int64_t panel_width(const job *j, int64_t col)
{
    const int64_t left = j->l.co_padded - col;
    return left < j->l.panel ? left : j->l.panel;
}

/* U of `channels` channels from k0 on of the panel that begins at column col. */
static void make_weights(const job *j, float *u, int64_t col, int64_t k0, int64_t channels)
{
    const layer *l = &j->l;
    const int64_t width = panel_width(j, col);
    const char *panel = (const char *)j->product.weights +
                        (size_t)(col * 9 * l->ci + k0 * width) * gen_dtype_size(j->product.dtype);
    l->form->weights(u, l->u_stride, panel, j->product.dtype, l->ci, (int)channels, (int)width);
}

/* M += V U for one element and one panel, all groups of the block: m [tile][ldm]. */
static void multiply(const job *j, int xi, const float *u, float *m, int64_t ldm, int64_t width,
                     int64_t k0, int64_t channels)
{
    const layer *l = &j->l;
    const int mr = j->kern->mr;
    gen_gemm_tile t = {.b = u, .k = (int)channels, .ldc = ldm, .ld_add = ldm};
    for (int64_t g = 0; g < j->block_groups; g++) {
        t.a = j->v + xi * l->v_stride + (g * l->ci + k0) * mr;
        t.rows = rows_of_group(j, j->first_group + g);
        t.c = m + g * mr * ldm;
        t.add = k0 ? t.c : NULL;
        j->kern->tile[width / j->kern->vector](&t);
    }
}

/* Outputs of one tile, columns col..col+cols-1, from m [xi]. */
static void finish_tile(const job *j, int64_t tile, const float *m, int64_t col, int64_t cols)
{
    const layer *l = &j->l;
    const gen_gemm *g = &j->product;
    const gen_tensor *out = j->node->output;
    const place at = place_of(j, tile);
    float *y[GEN_WINOGRAD_MAX_OUT * GEN_WINOGRAD_MAX_OUT];
    const float *residual[GEN_WINOGRAD_MAX_OUT * GEN_WINOGRAD_MAX_OUT];
    const int side = l->form->out;
    const int64_t h = out->dims[1] - at.y < side ? out->dims[1] - at.y : side;
    const int64_t w = out->dims[2] - at.x < side ? out->dims[2] - at.x : side;
    memset(y, 0, sizeof y);
    for (int64_t i = 0; i < h; i++)
        for (int64_t k = 0; k < w; k++) {
            const int64_t row = (at.sample * out->dims[1] + at.y + i) * out->dims[2] + at.x + k;
            y[i * side + k] = g->c + row * g->ldc + col;
            if (g->residual)
                residual[i * side + k] =
                    g->residual + row / g->residual_repeat * g->ld_residual + col;
        }
    l->form->output(y, m, l->m_stride, (int)cols, g->bias ? g->bias + col : NULL,
                    g->residual ? residual : NULL);
    for (int64_t i = 0; i < h && g->act != GEN_ACT_NONE; i++)
        j->kern->activate(g->act, y[i * side], g->ldc, (int)w, (int)cols);
}

static int64_t tiles_of_block(const job *j)
{
    const int64_t first = j->first_group * j->kern->mr, wanted = j->block_groups * j->kern->mr;
    return j->l.tiles - first < wanted ? j->l.tiles - first : wanted;
}

/* By columns: everything behind V for some columns. */
static void column_task(void *arg, int i, int worker)
{
    const job *j = arg;
    const layer *l = &j->l;
    const int64_t col0 = i * l->chunk;
    const int64_t end = col0 + l->chunk < l->co_padded ? col0 + l->chunk : l->co_padded;
    float *m = (float *)(void *)(j->step->per_worker +
                                 (size_t)worker * gen_cpu_worker_stride(&j->step->needs));
    float *u = (float *)(void *)((char *)m + l->m_size);
    for (int64_t k0 = 0; k0 < l->ci; k0 += l->k_chunk) {
        const int64_t channels = l->ci - k0 < l->k_chunk ? l->ci - k0 : l->k_chunk;
        for (int64_t col = col0; col < end; col += l->panel)
            make_weights(j, u + (col - col0) * l->k_chunk, col, k0, channels);
        for (int xi = 0; xi < l->elements; xi++)
            for (int64_t col = col0; col < end; col += l->panel)
                multiply(j, xi, u + xi * l->u_stride + (col - col0) * l->k_chunk,
                         m + xi * l->m_stride + (col - col0), l->chunk, panel_width(j, col), k0,
                         channels);
    }
    const int64_t cols = (end < l->co ? end : l->co) - col0;
    for (int64_t t = 0; t < tiles_of_block(j); t++)
        finish_tile(j, j->first_group * j->kern->mr + t, m + t * l->chunk, col0, cols);
}

/* By elements: U of one panel. */
static void weights_task(void *arg, int i, int worker)
{
    const job *j = arg;
    const int64_t col = i * j->l.panel;
    (void)worker;
    make_weights(j, j->u + col * j->l.ci, col, 0, j->l.ci);
}

static void element_task(void *arg, int xi, int worker)
{
    const job *j = arg;
    const layer *l = &j->l;
    (void)worker;
    for (int64_t col = 0; col < l->co_padded; col += l->panel)
        multiply(j, xi, j->u + xi * l->u_stride + col * l->ci, j->m + xi * l->m_stride + col,
                 l->co_padded, panel_width(j, col), 0, l->ci);
}

static void output_task(void *arg, int i, int worker)
{
    const job *j = arg;
    const int64_t end = (i + 1) * OUTPUT_TILES;
    (void)worker;
    for (int64_t t = i * OUTPUT_TILES; t < end && t < tiles_of_block(j); t++)
        finish_tile(j, j->first_group * j->kern->mr + t, j->m + t * j->l.co_padded, 0, j->l.co);
}

void gen_winograd_run(gen_cpu *cpu, gen_cpu_step *step)
{
    const gen_node *node = step->node;
    job j = {.kern = cpu->k->gemm,
             .step = step,
             .node = node,
             .l = layer_of(cpu, node),
             .image = gen_conv_image_of(cpu, node)};
    const layer *l = &j.l;
    gen_gemm_set_weights(cpu, node->inputs[1], &j.product);
    gen_gemm_epilogue(cpu, node, &j.product);
    j.v = (float *)(void *)step->shared;
    j.m = (float *)(void *)(step->shared + l->v_size);
    j.u = (float *)(void *)(step->shared + l->v_size + l->m_size);
    if (l->is_by_elements)
        gen_cpu_for(cpu, weights_task, &j, (int)divide_up(l->co_padded, l->panel));
    for (; j.first_group < l->groups; j.first_group += l->block_groups) {
        const int64_t left = l->groups - j.first_group;
        j.block_groups = left < l->block_groups ? left : l->block_groups;
        gen_cpu_for(cpu, input_task, &j, (int)(j.block_groups * divide_up(l->ci, INPUT_CHANNELS)));
        if (l->is_by_elements) {
            gen_cpu_for(cpu, element_task, &j, l->elements);
            gen_cpu_for(cpu, output_task, &j, (int)divide_up(tiles_of_block(&j), OUTPUT_TILES));
        } else {
            gen_cpu_for(cpu, column_task, &j, (int)divide_up(l->co_padded, l->chunk));
        }
    }
}
