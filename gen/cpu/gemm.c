/* gemm.c - blocking, splitting between threads and weight packing of the matrix product.
 *
 * Many rows: tasks are blocks of rows; a task packs its block of A per k-block and runs through all
 * panels.  Few rows: A is packed by all, k-block by k-block, and tasks are groups of panels, so
 * that each panel is widened once only. */
#include "gen/cpu/gemm.h"
#include "gen/cpu/openblas.h"

#include <string.h>

typedef struct layout {
    bool is_split_by_rows;
    int64_t block_tiles, num_blocks; /* tiles of a row block; by panels: of all rows */
    int64_t k_block, num_k_blocks;
    int64_t num_panels, group; /* panels that make one task */
    size_t a_size, b_size;     /* bytes of a packed block of A, of a widened panel */
} layout;

static int64_t divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static size_t align(size_t n)
{
    return (n + 127) / 128 * 128;
}

static int panel_width(const gen_gemm_kernels *k)
{
    return k->vectors * k->vector;
}

static layout plan_layout(const gen_cpu *cpu, int64_t m, int64_t n, int64_t k, gen_dtype dtype)
{
    const gen_gemm_kernels *kern = cpu->k->gemm;
    const int64_t threads = cpu->num_threads, tiles = divide_up(m, kern->mr);
    const int64_t unit = dtype == GEN_I8 ? GEN_Q8_BLOCK : GEN_GEMM_UNIT;
    layout l = {0};
    l.num_panels = divide_up(n, panel_width(kern));
    l.num_k_blocks = divide_up(k, kern->max_k);
    l.k_block = divide_up(divide_up(k, l.num_k_blocks), unit) * unit;
    l.num_k_blocks = divide_up(k, l.k_block);
    l.is_split_by_rows = m >= 384 * threads || l.num_panels < 2 * threads;
    if (l.is_split_by_rows) {
        const int64_t blocks = divide_up(divide_up(m, kern->block_rows), threads) * threads;
        l.block_tiles = divide_up(tiles, blocks);
    } else {
        l.block_tiles = tiles;
        /* At least 16 tiles of work to a task, but tasks for all. */
        l.group = divide_up(16, tiles);
        if (l.group * 2 * threads > l.num_panels)
            l.group = divide_up(l.num_panels, 2 * threads);
    }
    l.num_blocks = divide_up(tiles, l.block_tiles);
    l.a_size = align((size_t)(l.block_tiles * kern->mr * l.k_block) * sizeof(float));
    if (dtype != GEN_F32)
        l.b_size = align((size_t)(l.k_block * panel_width(kern)) * sizeof(float));
    return l;
}

/* ---- the product ---------------------------------------------------------------------------- */

typedef struct job {
    const gen_cpu *cpu;
    const gen_gemm_kernels *kern;
    const gen_gemm *g;
    layout l;
    char *shared, *per_worker;
    size_t per_worker_size;
    int64_t k0; /* the k-block at work when split by panels */
} job;

static int k_length(const job *j, int64_t k0)
{
    return (int)(j->g->k - k0 < j->l.k_block ? j->g->k - k0 : j->l.k_block);
}

static void pack_plain(const job *j, int64_t row, int num_rows, int64_t k0, int k, float *dst)
{
    const float *rows[GEN_GEMM_MAX_ROWS];
    for (int r = 0; r < num_rows; r++)
        rows[r] = j->g->a + (row + r) * j->g->lda + k0;
    j->kern->pack_tile(dst, rows, num_rows, k);
}

static void pack_tiles(const job *j, int64_t first_tile, int64_t num_tiles, int64_t k0, float *a)
{
    const int mr = j->kern->mr;
    const int64_t end = first_tile + num_tiles;
    for (int64_t t = first_tile; t < end && t * mr < j->g->m; t++) {
        const int64_t left = j->g->m - t * mr;
        const int rows = left < mr ? (int)left : mr, k = k_length(j, k0);
        float *dst = a + (t - first_tile) * mr * j->l.k_block;
        if (j->g->a)
            pack_plain(j, t * mr, rows, k0, k, dst);
        else
            j->g->source->pack(j->g->source, t * mr, rows, k0, k, dst);
    }
}

/* One tile with `cols` of its columns wanted: t->c and t->add are those of the real matrix. */
static void run_edge(const job *j, int vectors, int cols, const gen_gemm_tile *t)
{
    float sums[GEN_GEMM_MAX_ROWS * GEN_GEMM_MAX_WIDTH], init[GEN_GEMM_MAX_WIDTH] = {0};
    gen_gemm_tile whole = *t;
    whole.c = sums;
    whole.ldc = vectors * j->kern->vector;
    whole.add = NULL;
    if (t->init) {
        memcpy(init, t->init, (size_t)cols * sizeof *init);
        whole.init = init;
    }
    j->kern->tile[vectors](&whole);
    for (int r = 0; r < t->rows; r++) {
        const float *from = sums + r * whole.ldc;
        float *to = t->c + r * t->ldc;
        for (int i = 0; i < cols; i++)
            to[i] = t->add ? from[i] + t->add[r * t->ld_add + i] : from[i];
    }
}

/* Rows row..row+rows-1, all of one tile a, times one widened panel. */
static void run_tile(const job *j, int64_t panel, int64_t k0, const float *a, const float *b,
                     int64_t row, int rows)
{
    const gen_gemm *g = j->g;
    const int64_t col = panel * panel_width(j->kern);
    const int cols = g->n - col < panel_width(j->kern) ? (int)(g->n - col) : panel_width(j->kern);
    const int vectors = (int)divide_up(cols, j->kern->vector);
    gen_gemm_tile t = {.a = a, .b = b, .rows = rows, .k = k_length(j, k0), .ldc = g->ldc};
    t.c = g->c + row * g->ldc + col;
    if (k0 > 0) {
        t.add = t.c;
        t.ld_add = g->ldc;
    } else {
        t.init = g->bias ? g->bias + col : NULL;
        if (g->residual) {
            t.add = g->residual + row / g->residual_repeat * g->ld_residual + col;
            t.ld_add = g->residual_repeat > 1 ? 0 : g->ld_residual;
        }
    }
    if (cols == vectors * j->kern->vector)
        j->kern->tile[vectors](&t);
    else
        run_edge(j, vectors, cols, &t);
    if (k0 + t.k == g->k && g->act != GEN_ACT_NONE)
        j->kern->activate(g->act, t.c, t.ldc, rows, cols);
}

/* A block of packed tiles times one panel. */
static void run_panel(const job *j, int64_t panel, int64_t k0, const float *a, int64_t first_tile,
                      int64_t num_tiles, char *scratch)
{
    const gen_gemm *g = j->g;
    const int mr = j->kern->mr, k = k_length(j, k0);
    const int64_t col = panel * panel_width(j->kern);
    const int64_t left = g->n - col;
    const int64_t width = left < panel_width(j->kern)
                              ? divide_up(left, j->kern->vector) * j->kern->vector
                              : panel_width(j->kern);
    const size_t at = g->dtype == GEN_I8
                          ? gen_q8_size(col, g->k) + gen_q8_size(width, k0)
                          : (size_t)(col * g->k + k0 * width) * gen_dtype_size(g->dtype);
    const char *packed = (const char *)g->weights + at;
    const float *b = (const float *)(const void *)packed;
    if (g->dtype != GEN_F32)
        b = (float *)(void *)scratch;
    if (g->dtype == GEN_I8)
        j->kern->widen_q8((float *)(void *)scratch, packed, (int)width, k);
    else if (g->dtype != GEN_F32)
        j->kern->widen((float *)(void *)scratch, packed, g->dtype, (size_t)(k * width));
    for (int64_t i = 0; i < num_tiles && (first_tile + i) * mr < g->m; i++) {
        int64_t row = (first_tile + i) * mr;
        const int64_t end = row + mr < g->m ? row + mr : g->m;
        const float *tile = a + i * mr * j->l.k_block;
        while (row < end) { /* a repeated residual changes at the border of two samples */
            int64_t stop = end;
            if (g->residual && g->residual_repeat > 1) {
                const int64_t border = (row / g->residual_repeat + 1) * g->residual_repeat;
                stop = border < end ? border : end;
            }
            run_tile(j, panel, k0, tile, b, row, (int)(stop - row));
            tile += (stop - row) * GEN_GEMM_UNIT;
            row = stop;
        }
    }
}

static void row_block_task(void *arg, int i, int worker)
{
    const job *j = arg;
    char *scratch = j->per_worker + (size_t)worker * j->per_worker_size;
    float *a = (float *)(void *)(scratch + j->l.b_size);
    const int64_t first = i * j->l.block_tiles;
    for (int64_t k0 = 0; k0 < j->g->k; k0 += j->l.k_block) {
        pack_tiles(j, first, j->l.block_tiles, k0, a);
        for (int64_t p = 0; p < j->l.num_panels; p++)
            run_panel(j, p, k0, a, first, j->l.block_tiles, scratch);
    }
}

enum { PACK_TILES = 4 }; /* tiles packed by one task */

static void pack_task(void *arg, int i, int worker)
{
    const job *j = arg;
    const int64_t first = (int64_t)i * PACK_TILES;
    (void)worker;
    pack_tiles(j, first, PACK_TILES, j->k0,
               (float *)(void *)j->shared + first * j->kern->mr * j->l.k_block);
}

static void panel_task(void *arg, int i, int worker)
{
    const job *j = arg;
    char *scratch = j->per_worker + (size_t)worker * j->per_worker_size;
    const int64_t end = (i + 1) * j->l.group;
    for (int64_t p = i * j->l.group; p < end && p < j->l.num_panels; p++)
        run_panel(j, p, j->k0, (const float *)(const void *)j->shared, 0, j->l.block_tiles,
                  scratch);
}

void gen_gemm_run(gen_cpu *cpu, const gen_gemm *g, const gen_cpu_step *step)
{
    if (cpu->gemm == GEN_GEMM_OPENBLAS) {
        gen_openblas_run(cpu, g, step);
        return;
    }
    job j = {.cpu = cpu,
             .kern = cpu->k->gemm,
             .g = g,
             .l = plan_layout(cpu, g->m, g->n, g->k, g->dtype),
             .shared = step->shared,
             .per_worker = step->per_worker,
             .per_worker_size = gen_cpu_worker_stride(&step->needs)};
    if (j.l.is_split_by_rows) {
        gen_cpu_for(cpu, row_block_task, &j, (int)j.l.num_blocks);
        return;
    }
    for (; j.k0 < g->k; j.k0 += j.l.k_block) {
        gen_cpu_for(cpu, pack_task, &j, (int)divide_up(j.l.block_tiles, PACK_TILES));
        gen_cpu_for(cpu, panel_task, &j, (int)divide_up(j.l.num_panels, j.l.group));
    }
}

/* ---- weights -------------------------------------------------------------------------------- */

typedef struct packing {
    const gen_gemm_kernels *kern;
    const char *rows; /* W [n][ci][taps] */
    gen_dtype dtype, packed_dtype;
    int64_t n, ci, taps;
    char *dst;
} packing;

static int64_t columns_padded(const gen_gemm_kernels *kern, int64_t n)
{
    return divide_up(n, kern->vector) * kern->vector;
}

/* Panel i: columns of the product, that is rows of W, side by side. */
static void pack_panel_task(void *arg, int i, int worker)
{
    const packing *p = arg;
    const int64_t first = (int64_t)i * panel_width(p->kern), whole = panel_width(p->kern);
    const int64_t padded = columns_padded(p->kern, p->n) - first, rows = p->n - first;
    const size_t size = gen_dtype_size(p->dtype), at = (size_t)(first * p->ci * p->taps) * size;
    const int num_rows = (int)(rows < whole ? rows : whole);
    const int width = (int)(padded < whole ? padded : whole);
    (void)worker;
    if (p->packed_dtype == GEN_I8)
        p->kern->pack_q8(p->dst + gen_q8_size(first, p->ci), p->rows + at, p->dtype, num_rows,
                         width, p->ci);
    else
        p->kern->pack_panel(p->dst + at, p->rows + at, size, num_rows, width, p->ci, p->taps);
}

static void free_panels(gen_prepared *self)
{
    gen_free_aligned(self->data, self->size);
}

/* The type the weights are packed in.  A matrix with short rows is not worth its scales. */
static gen_dtype packed_dtype(const gen_cpu *cpu, const gen_tensor *w)
{
    return cpu->options.weights == GEN_WEIGHTS_Q8 && w->rank == 2 && w->dims[1] >= GEN_Q8_BLOCK
               ? GEN_I8
               : w->weight->dtype;
}

static size_t packed_size(const gen_cpu *cpu, const gen_tensor *w)
{
    const int64_t k = gen_tensor_elements(w) / w->dims[0];
    const int64_t columns = columns_padded(cpu->k->gemm, w->dims[0]);
    const gen_dtype dtype = packed_dtype(cpu, w);
    return dtype == GEN_I8 ? gen_q8_size(columns, k)
                           : (size_t)(columns * k) * gen_dtype_size(dtype);
}

enum { LAYOUT_PANELS = 0x100 }; /* of gen_weight_prepared() */

void gen_gemm_measure(const gen_cpu *cpu, int64_t m, const gen_tensor *w, bool is_plain,
                      gen_cpu_needs *needs)
{
    if (cpu->gemm == GEN_GEMM_OPENBLAS) {
        gen_openblas_measure(m, w, is_plain, needs);
        return;
    }
    const int64_t n = w->dims[0], k = gen_tensor_elements(w) / n;
    const layout l = plan_layout(cpu, m, n, k, packed_dtype(cpu, w));
    needs->shared += l.is_split_by_rows ? 0 : l.a_size;
    needs->per_worker += l.b_size + (l.is_split_by_rows ? l.a_size : 0);
    needs->weights += packed_size(cpu, w);
}

gen_status gen_gemm_prepare(gen_cpu *cpu, const gen_tensor *w, gen_error *err)
{
    if (cpu->gemm == GEN_GEMM_OPENBLAS)
        return gen_openblas_prepare(cpu, w, err);
    gen_weight *weight = w->weight;
    if (gen_weight_prepared(weight, cpu, LAYOUT_PANELS))
        return GEN_OK;
    GEN_TRY(gen_weight_check_finite(weight, err));
    const size_t size = packed_size(cpu, w);
    gen_prepared *form = gen_calloc(1, sizeof *form);
    char *data = form ? gen_malloc_aligned(size) : NULL;
    if (!data) {
        gen_free(form);
        return gen_no_memory(err, weight->name, size);
    }
    packing p = {.kern = cpu->k->gemm,
                 .rows = weight->data,
                 .dtype = weight->dtype,
                 .packed_dtype = packed_dtype(cpu, w),
                 .n = w->dims[0],
                 .ci = w->dims[1],
                 .taps = 1,
                 .dst = data};
    for (int i = 2; i < w->rank; i++)
        p.taps *= w->dims[i];
    gen_cpu_for(cpu, pack_panel_task, &p, (int)divide_up(p.n, panel_width(p.kern)));
    *form = (gen_prepared){
        .owner = cpu, .layout = LAYOUT_PANELS, .data = data, .size = size, .free = free_panels};
    gen_weight_add_prepared(weight, form);
    gen_weight_drop_pages(weight);
    return GEN_OK;
}

void gen_gemm_set_weights(const gen_cpu *cpu, const gen_tensor *w, gen_gemm *g)
{
    g->n = w->dims[0];
    g->k = gen_tensor_elements(w) / g->n;
    g->dtype = packed_dtype(cpu, w);
    g->weights = cpu->gemm == GEN_GEMM_OPENBLAS
                     ? gen_openblas_weights(cpu, w)
                     : gen_weight_prepared(w->weight, cpu, LAYOUT_PANELS)->data;
}

/* ---- nodes ---------------------------------------------------------------------------------- */

const gen_tensor *gen_gemm_bias(const gen_node *node)
{
    const int rest = node->num_inputs - (node->epilogue.residual ? 1 : 0);
    return rest > 2 ? node->inputs[2] : NULL;
}

bool gen_gemm_supports(const gen_node *node)
{
    const gen_epilogue *e = &node->epilogue;
    const gen_tensor *w = node->inputs[1];
    if (w->kind != GEN_KIND_WEIGHT || node->inputs[0]->dtype != GEN_F32)
        return false;
    if (w->weight->dtype != GEN_F32 && w->weight->dtype != GEN_F16 && w->weight->dtype != GEN_BF16)
        return false;
    return e->act == GEN_ACT_NONE || (!e->residual && e->post_act == GEN_ACT_NONE);
}

void gen_gemm_epilogue(const gen_cpu *cpu, const gen_node *node, gen_gemm *g)
{
    const gen_epilogue *e = &node->epilogue;
    const gen_tensor *bias = gen_gemm_bias(node), *y = node->output;
    g->c = gen_cpu_f32(cpu, y);
    g->ldc = y->ld;
    g->bias = bias ? gen_cpu_f32(cpu, bias) : NULL;
    g->act = e->act != GEN_ACT_NONE ? e->act : e->post_act;
    if (e->residual) {
        g->residual = gen_cpu_f32(cpu, e->residual);
        g->ld_residual = e->residual->ld;
        g->residual_repeat = e->residual_broadcasts ? gen_tensor_rows(y) / y->dims[0] : 1;
    }
}
