/* tile.c - decoding in bands of rows, with the result of decoding at once.
 *
 * The head of a decoder (the middle with its attention over all positions) runs whole: it is small.
 * After it the image grows, and no step needs more than a few rows around the place it works at,
 * but for group norms, which need the mean and variance of whole images.  So a norm is given them
 * from outside, as a scale and a shift for each channel, and they are found first:
 *
 *   - The tail is a list of steps that begin where a norm begins.  Where each step's result is
 *     stored whole, in plain memory, the statistics are sums over that.  Nothing is computed twice
 *     but the halos of the bands.
 *   - Several steps can run as one group, whose inner results exist for one band only.  Then each
 *     inner norm costs a pass over all bands that computes up to it and sums.
 *
 * The narrower the bands that are asked for, the more is put into groups, see group_at().
 *
 * Peak memory: the stored input and result of one group (one instead of the other where the shape
 * allows) and a plan for one band. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "vae/blocks.h"

/* An image kept between groups; data is NULL when only measuring. */
typedef struct image {
    float *data;
    int64_t h, w, c;
    size_t size;   /* bytes allocated, more than the image has once it has become narrower */
    bool is_owned; /* false: another image's, or the caller's */
} image;

/* Steps that run together. */
typedef struct group {
    const vae_step *steps;
    int count;
    int halo;  /* rows of the input above and below a band */
    int scale; /* rows of the result for each row of the input */
} group;

/* The plan of the latest kind of band. */
typedef struct band_plan {
    gen_plan *plan;
    int stop;     /* the step before whose norm it ends, or the number of steps */
    int64_t rows; /* of the input, without halo */
    bool is_open_top, is_open_bottom;
    int64_t scale, out_channels; /* of what it computes */
} band_plan;

/* A norm as y = x scale + shift, once its statistics are known. */
typedef struct known_norm {
    float *scale, *shift; /* [c], one block */
} known_norm;

typedef struct decoder {
    const gen_vae_config *cfg;
    gen_backend *backend;
    int64_t band_rows;
    bool is_dry; /* measure only */
    gen_vae_needs *needs;
    size_t host; /* bytes of images alive */
    image x, residual;
    band_plan band;
    known_norm norms[VAE_MAX_STEPS]; /* of the steps of the current group */
} decoder;

/* ---- images --------------------------------------------------------------------------------- */

static gen_status image_new(decoder *d, image *out, int64_t h, int64_t w, int64_t c, gen_error *err)
{
    const size_t size = (size_t)(h * w * c) * sizeof(float);
    *out = (image){.h = h, .w = w, .c = c};
    if (!d->is_dry && !(out->data = gen_malloc(size)))
        return gen_no_memory(err, "decoded image", size);
    out->size = size;
    out->is_owned = true;
    d->host += size;
    if (d->needs->host < d->host)
        d->needs->host = d->host;
    return GEN_OK;
}

static void image_free(decoder *d, image *im)
{
    if (im->is_owned) {
        gen_free(im->data);
        d->host -= im->size;
    }
    *im = (image){0};
}

/* Gives back what an image that has become narrower does not need. */
static void image_trim(decoder *d, image *im)
{
    const size_t size = (size_t)(im->h * im->w * im->c) * sizeof(float);
    if (!im->is_owned || size == im->size)
        return;
    float *smaller = im->data ? gen_realloc(im->data, size) : NULL;
    if (im->data && !smaller) /* then it stays as it is */
        return;
    im->data = smaller;
    d->host -= im->size - size;
    im->size = size;
}

/* ---- groups --------------------------------------------------------------------------------- */

/* How much is computed again to save memory. */
enum thrift {
    STORE_ALL,       /* every step alone */
    STORE_BLOCKS,    /* residual blocks of the last stage in one piece, upsampling before them too:
                        about 40% more work */
    STORE_LAST_STAGE /* that everywhere, and the last stage in one piece: 4 times the work */
};

static enum thrift thrift_of(int64_t band_rows)
{
    return band_rows > 64 ? STORE_ALL : band_rows > 32 ? STORE_BLOCKS : STORE_LAST_STAGE;
}

/* The steps from i on that make an upsampling and the residual block after it, or a residual
 * block; 1 where there is none. */
static int block_length(const vae_tail *tail, int i)
{
    const vae_step *s = &tail->steps[i];
    const int upsampling =
        s->scale == 2 && !s->norm.path[0] && i + 1 < tail->num_steps && s[1].keeps_input;
    return s[upsampling].keeps_input ? upsampling + 2 : 1;
}

static group group_at(const vae_tail *tail, int i, int64_t band_rows)
{
    const enum thrift thrift = thrift_of(band_rows);
    int last_upsampling = 0;
    for (int k = 0; k < tail->num_steps; k++)
        if (tail->steps[k].scale == 2)
            last_upsampling = k;
    group gr = {.steps = &tail->steps[i], .count = 1, .scale = 1};
    if (thrift == STORE_LAST_STAGE && i == last_upsampling)
        gr.count = tail->num_steps - i;
    else if (thrift == STORE_LAST_STAGE || (thrift == STORE_BLOCKS && i >= last_upsampling))
        gr.count = block_length(tail, i);
    for (int k = gr.count - 1; k >= 0; k--) {
        const vae_step *s = &gr.steps[k];
        gr.halo = (gr.halo + s->scale - 1) / s->scale + s->halo;
        gr.scale *= s->scale;
    }
    return gr;
}

/* ---- bands ---------------------------------------------------------------------------------- */

static void norm_name(char name[16], const char *what, int k)
{
    snprintf(name, 16, "%s%d", what, k);
}

/* The scale and shift of step k as inputs, where it has a norm. */
static void declare_norm(vae_builder *b, const vae_step *s, int k, int64_t c)
{
    char name[16];
    b->norm_scale = b->norm_shift = NULL;
    if (!s->norm.path[0])
        return;
    norm_name(name, "scale", k);
    b->norm_scale = gen_input(b->g, name, GEN_F32, GEN_DIMS(1, 1, 1, c));
    norm_name(name, "shift", k);
    b->norm_shift = gen_input(b->g, name, GEN_F32, GEN_DIMS(1, 1, 1, c));
}

/* Records steps 0 .. stop-1 of the group on a band; p has its rows and edges. */
static gen_tensor *record_band(const decoder *d, gen_graph *g, const group *gr, band_plan *p)
{
    vae_builder b = {
        .g = g, .cfg = d->cfg, .is_open_top = p->is_open_top, .is_open_bottom = p->is_open_bottom};
    const int edges = p->is_open_top + p->is_open_bottom;
    gen_tensor *residual = NULL;
    gen_tensor *x =
        gen_input(g, "x", GEN_F32, GEN_DIMS(1, p->rows + edges * gr->halo, d->x.w, d->x.c));
    if (gr->steps[0].adds_residual)
        residual = gen_input(g, "residual", GEN_F32, GEN_DIMS(1, p->rows, d->x.w, d->residual.c));
    p->scale = 1;
    for (int k = 0; k < p->stop; k++) {
        const vae_step *s = &gr->steps[k];
        declare_norm(&b, s, k, x->dims[x->rank - 1]);
        gen_tensor *y = s->record(
            &b, s, x,
            s->adds_residual ? vae_crop(&b, residual, x->dims[1] - edges * s->halo) : NULL);
        if (s->keeps_input)
            residual = x;
        x = y;
        p->scale *= s->scale;
    }
    if (!x->is_poisoned && x->dims[1] < p->rows * p->scale)
        return gen_graph_fail(g, gr->steps[0].w.path, GEN_ERROR_INTERNAL,
                              "a band of %" PRId64 " rows gives %" PRId64, p->rows, x->dims[1]);
    return vae_crop(&b, x, p->rows * p->scale);
}

/* Makes the plan for such bands, unless the latest one is it. */
static gen_status get_band(decoder *d, const group *gr, int stop, int64_t rows, bool is_open_top,
                           bool is_open_bottom, gen_error *err)
{
    band_plan *p = &d->band;
    if (p->plan && p->stop == stop && p->rows == rows && p->is_open_top == is_open_top &&
        p->is_open_bottom == is_open_bottom)
        return GEN_OK;
    gen_plan_free(p->plan);
    *p = (band_plan){
        .stop = stop, .rows = rows, .is_open_top = is_open_top, .is_open_bottom = is_open_bottom};
    gen_graph *g;
    GEN_TRY(gen_graph_new(&g, err));
    gen_tensor *y = record_band(d, g, gr, p);
    gen_output(g, y, "y");
    p->out_channels = y->dims[y->rank - 1];
    return gen_plan_new(&p->plan, g, d->backend, d->is_dry ? GEN_PLAN_DRY : 0, err);
}

/* Uploads the band of the input that begins at row r. */
static gen_status set_band(decoder *d, const group *gr, int64_t r, gen_error *err)
{
    const image *x = &d->x, *residual = &d->residual;
    gen_plan *plan = d->band.plan;
    const int64_t first = r - (d->band.is_open_top ? gr->halo : 0);
    char name[16];
    GEN_TRY(gen_plan_set(plan, "x", x->data + first * x->w * x->c, err));
    if (gr->steps[0].adds_residual)
        GEN_TRY(gen_plan_set(plan, "residual", residual->data + r * x->w * residual->c, err));
    for (int k = 0; k < d->band.stop; k++) {
        if (!gr->steps[k].norm.path[0])
            continue;
        norm_name(name, "scale", k);
        GEN_TRY(gen_plan_set(plan, name, d->norms[k].scale, err));
        norm_name(name, "shift", k);
        GEN_TRY(gen_plan_set(plan, name, d->norms[k].shift, err));
    }
    return GEN_OK;
}

/* The rows of the input in the band that begins at row r, for band_rows rows of the result.  A halo
 * never reaches beyond the image: the last band takes what would be less. */
static int64_t band_height(const decoder *d, const group *gr, int64_t r)
{
    int64_t rows = d->band_rows / gr->scale;
    if (rows < gr->halo)
        rows = gr->halo;
    const int64_t left = d->x.h - r;
    return left < rows + gr->halo ? left : rows;
}

static void add_needs(decoder *d, const gen_plan *plan, double times, bool has_all_weights)
{
    const gen_plan_stats *s = gen_plan_get_stats(plan);
    gen_vae_needs *n = d->needs;
    n->arena = s->arena > n->arena ? s->arena : n->arena;
    n->scratch = s->scratch > n->scratch ? s->scratch : n->scratch;
    n->io = s->io > n->io ? s->io : n->io;
    n->flops += times * s->flops;
    if (has_all_weights) {
        n->weights += s->weights;
        n->transformed += s->transformed;
        n->staged = s->staged > n->staged ? s->staged : n->staged;
    }
}

/* Plans only the tallest kind of band: with both halos where there are three, else the first. */
static gen_status plan_tallest(decoder *d, const group *gr, int stop, gen_error *err)
{
    const int64_t H = d->x.h, rows = band_height(d, gr, 0);
    GEN_TRY(get_band(d, gr, stop, rows, 2 * rows < H, rows < H, err));
    if (d->is_dry)
        add_needs(d, d->band.plan, (double)H / (double)rows, stop == gr->count);
    return GEN_OK;
}

/* ---- statistics ----------------------------------------------------------------------------- */

/* Sums and sums of squares of each channel, in double. */
typedef struct channel_sums {
    int64_t num_positions, c;
    double *sum, *squares; /* [c], one block */
} channel_sums;

static gen_status sums_new(channel_sums *out, int64_t c, gen_error *err)
{
    *out = (channel_sums){.c = c, .sum = gen_calloc(2 * (size_t)c, sizeof(double))};
    if (!out->sum)
        return gen_no_memory(err, "group norm", 2 * (size_t)c * sizeof(double));
    out->squares = out->sum + c;
    return GEN_OK;
}

static void sums_add(channel_sums *s, const float *x, int64_t num_positions)
{
    for (int64_t i = 0; i < num_positions; i++) {
        for (int64_t c = 0; c < s->c; c++) {
            const double v = (double)x[i * s->c + c];
            s->sum[c] += v;
            s->squares[c] += v * v;
        }
    }
    s->num_positions += num_positions;
}

/* The weight scope.name as c floats. */
static gen_status load_vector(gen_scope scope, const char *name, int64_t c, float *out,
                              gen_error *err)
{
    gen_weight *w = gen_scope_find(scope, name);
    if (!w)
        return gen_fail(err, GEN_ERROR_MODEL, "tensor \"%s.%s\" is missing", scope.path, name);
    int64_t count = 1;
    for (int i = 0; i < w->rank; i++)
        count *= w->dims[i];
    if (count != c)
        return gen_fail(err, GEN_ERROR_MODEL,
                        "%s: tensor \"%s\" has %" PRId64 " elements, expected %" PRId64, w->file,
                        w->file_name, count, c);
    GEN_TRY(gen_weight_check_finite(w, err));
    w->is_used = true;
    gen_to_f32(out, w->data, w->dtype, (size_t)c);
    return GEN_OK;
}

/* Group norm with these statistics as scale and shift of each channel. */
static gen_status fix_norm(const decoder *d, gen_scope norm, const channel_sums *s, known_norm *out,
                           gen_error *err)
{
    const int64_t C = s->c, width = C / d->cfg->norm_num_groups;
    const double count = (double)s->num_positions * (double)width;
    out->scale = gen_malloc(2 * (size_t)C * sizeof *out->scale);
    if (!out->scale)
        return gen_no_memory(err, "group norm", 2 * (size_t)C * sizeof *out->scale);
    out->shift = out->scale + C;
    GEN_TRY(load_vector(norm, "weight", C, out->scale, err));
    GEN_TRY(load_vector(norm, "bias", C, out->shift, err));
    for (int64_t first = 0; first + width <= C; first += width) {
        double mean = 0, square = 0;
        for (int64_t c = first; c < first + width; c++) {
            mean += s->sum[c] / count;
            square += s->squares[c] / count;
        }
        const double rstd = 1 / sqrt(fmax(square - mean * mean, 0) + (double)VAE_NORM_EPS);
        for (int64_t c = first; c < first + width; c++) {
            const double scale = (double)out->scale[c] * rstd;
            out->scale[c] = (float)scale;
            out->shift[c] = (float)((double)out->shift[c] - mean * scale);
        }
    }
    return GEN_OK;
}

/* Sums over what step k of the group is given, which is computed for them. */
static gen_status sum_pass(decoder *d, const group *gr, int k, channel_sums *sums, gen_error *err)
{
    gen_status status = GEN_OK;
    image band = {0};
    for (int64_t r = 0, rows; r < d->x.h; r += rows) {
        rows = band_height(d, gr, r);
        if ((status = get_band(d, gr, k, rows, r > 0, r + rows < d->x.h, err)))
            break;
        const int64_t scale = d->band.scale, c = d->band.out_channels, w = d->x.w * scale;
        if (r == 0 && ((status = sums_new(sums, c, err)) ||
                       (status = image_new(d, &band, (rows + gr->halo) * scale, w, c, err))))
            break;
        if ((status = set_band(d, gr, r, err)) || (status = gen_plan_run(d->band.plan, err)) ||
            (status = gen_plan_get_output(d->band.plan, "y", band.data, err)))
            break;
        sums_add(sums, band.data, rows * scale * w);
    }
    image_free(d, &band);
    return status;
}

/* The norm of step k of the group, those before it being known. */
static gen_status find_norm(decoder *d, const group *gr, int k, gen_error *err)
{
    channel_sums sums = {0};
    if (d->is_dry) {
        if (k == 0)
            return GEN_OK;
        image band = {0};
        GEN_TRY(plan_tallest(d, gr, k, err));
        const int64_t scale = d->band.scale, rows = (d->band.rows + gr->halo) * scale;
        GEN_TRY(image_new(d, &band, rows, d->x.w * scale, d->band.out_channels, err));
        image_free(d, &band);
        return GEN_OK;
    }
    gen_status status;
    if (k == 0) {
        if ((status = sums_new(&sums, d->x.c, err)) == GEN_OK)
            sums_add(&sums, d->x.data, d->x.h * d->x.w);
    } else {
        status = sum_pass(d, gr, k, &sums, err);
    }
    if (status == GEN_OK)
        status = fix_norm(d, gr->steps[k].norm, &sums, &d->norms[k], err);
    gen_free(sums.sum);
    return status;
}

/* ---- the result ----------------------------------------------------------------------------- */

/* Where the result of a group goes. */
typedef struct result {
    image out;
    /* It replaces the input, whose rows the next band still needs: a band's result waits here until
     * the next band has been uploaded. */
    image pending;
    int64_t pending_row, pending_rows;
} result;

/* The caller's pixels after the last group; over the residual, which is read row by row just
 * before, or over the input, where the result is not wider; else a new image. */
static gen_status place_result(decoder *d, const group *gr, result *to, float *pixels,
                               gen_error *err)
{
    const int64_t h = d->x.h * gr->scale, w = d->x.w * gr->scale, c = d->band.out_channels;
    if (pixels) {
        to->out = (image){.data = pixels, .h = h, .w = w, .c = c};
        return GEN_OK;
    }
    if (gr->steps[0].adds_residual && gr->count == 1 && c <= d->residual.c) {
        to->out = d->residual;
        d->residual.is_owned = false;
    } else if (gr->count > 1 && gr->scale == 1 && c <= d->x.c) {
        GEN_TRY(image_new(d, &to->pending, band_height(d, gr, 0) + gr->halo, w, c, err));
        to->out = d->x;
        d->x.is_owned = false;
    } else {
        return image_new(d, &to->out, h, w, c, err);
    }
    to->out.c = c;
    return GEN_OK;
}

static void store_pending(result *to)
{
    const int64_t row = to->out.w * to->out.c;
    if (to->pending_rows)
        memcpy(to->out.data + to->pending_row * row, to->pending.data,
               (size_t)(to->pending_rows * row) * sizeof(float));
    to->pending_rows = 0;
}

static gen_status run_bands(decoder *d, const group *gr, result *to, float *pixels, gen_error *err)
{
    const int64_t H = d->x.h;
    for (int64_t r = 0, rows; r < H; r += rows) {
        rows = band_height(d, gr, r);
        GEN_TRY(get_band(d, gr, gr->count, rows, r > 0, r + rows < H, err));
        if (r == 0)
            GEN_TRY(place_result(d, gr, to, pixels, err));
        GEN_TRY(set_band(d, gr, r, err));
        store_pending(to);
        GEN_TRY(gen_plan_run(d->band.plan, err));
        float *rows_out = to->out.data + r * gr->scale * to->out.w * to->out.c;
        if (to->pending.data) {
            rows_out = to->pending.data;
            to->pending_row = r;
            to->pending_rows = rows;
        }
        GEN_TRY(gen_plan_get_output(d->band.plan, "y", rows_out, err));
    }
    store_pending(to);
    return GEN_OK;
}

static gen_status run_group(decoder *d, const group *gr, float *pixels, gen_error *err)
{
    gen_status status = GEN_OK;
    result to = {.pending_rows = 0};
    for (int k = 0; k < gr->count && status == GEN_OK; k++)
        if (gr->steps[k].norm.path[0])
            status = find_norm(d, gr, k, err);
    if (status == GEN_OK && d->is_dry) {
        if ((status = plan_tallest(d, gr, gr->count, err)) == GEN_OK)
            status = place_result(d, gr, &to, pixels, err);
    } else if (status == GEN_OK) {
        status = run_bands(d, gr, &to, pixels, err);
    }
    for (int k = 0; k < gr->count; k++) {
        gen_free(d->norms[k].scale);
        d->norms[k] = (known_norm){0};
    }
    gen_plan_free(d->band.plan);
    d->band.plan = NULL;
    image_free(d, &to.pending);

    if (gr->steps[0].adds_residual)
        image_free(d, &d->residual);
    if (gr->count == 1 && gr->steps[0].keeps_input)
        d->residual = d->x;
    else
        image_free(d, &d->x);
    d->x = to.out;
    image_trim(d, &d->x);
    return status;
}

/* ---- the head and the whole ----------------------------------------------------------------- */

static gen_status run_head(decoder *d, gen_scope root, const float *z, int64_t h, int64_t w,
                           float *pixels, gen_error *err)
{
    gen_graph *g;
    gen_plan *plan = NULL;
    GEN_TRY(gen_graph_new(&g, err));
    const vae_builder b = {.g = g, .cfg = d->cfg};
    gen_tensor *x = gen_input(g, "z", GEN_F32, GEN_DIMS(1, h, w, d->cfg->latent_channels));
    x = d->cfg->kind == GEN_VAE_KL ? vae_kl_head(&b, root, x) : vae_tiny_head(&b, root, x);
    gen_output(g, x, "y");
    const int64_t dims[3] = {x->dims[1], x->dims[2], x->dims[3]};
    GEN_TRY(gen_plan_new(&plan, g, d->backend, d->is_dry ? GEN_PLAN_DRY : 0, err));
    gen_status status = GEN_OK;
    if (d->is_dry)
        add_needs(d, plan, 1, true);
    if (!pixels)
        status = image_new(d, &d->x, dims[0], dims[1], dims[2], err);
    if (!d->is_dry && status == GEN_OK) {
        if (!(status = gen_plan_set(plan, "z", z, err)) && !(status = gen_plan_run(plan, err)))
            status = gen_plan_get_output(plan, "y", pixels ? pixels : d->x.data, err);
    }
    gen_plan_free(plan);
    return status;
}

static gen_status decode(decoder *d, gen_scope root, const float *z, int64_t h, int64_t w,
                         float *pixels, gen_error *err)
{
    vae_tail *tail = gen_malloc(sizeof *tail);
    if (!tail)
        return gen_no_memory(err, "decoder", sizeof *tail);
    if (d->cfg->kind == GEN_VAE_KL)
        vae_kl_tail(d->cfg, root, tail);
    else
        vae_tiny_tail(d->cfg, root, tail);
    gen_status status = run_head(d, root, z, h, w, tail->num_steps ? NULL : pixels, err);
    for (int i = 0; i < tail->num_steps && status == GEN_OK;) {
        const group gr = group_at(tail, i, d->band_rows);
        i += gr.count;
        status = run_group(d, &gr, i == tail->num_steps ? pixels : NULL, err);
    }
    image_free(d, &d->x);
    image_free(d, &d->residual);
    gen_free(tail);
    return status;
}

gen_status vae_decode_bands(const gen_vae_config *cfg, gen_scope root, gen_backend *backend,
                            const float *z, int64_t h, int64_t w, int64_t band_rows, float *pixels,
                            gen_error *err)
{
    gen_vae_needs needs = {0};
    decoder d = {.cfg = cfg, .backend = backend, .band_rows = band_rows, .needs = &needs};
    return decode(&d, root, z, h, w, pixels, err);
}

gen_status vae_measure_bands(const gen_vae_config *cfg, gen_scope root, gen_backend *backend,
                             int64_t h, int64_t w, int64_t band_rows, gen_vae_needs *needs,
                             gen_error *err)
{
    *needs = (gen_vae_needs){0};
    float unused; /* only tells the last step apart */
    decoder d = {
        .cfg = cfg, .backend = backend, .band_rows = band_rows, .is_dry = true, .needs = needs};
    return decode(&d, root, NULL, h, w, &unused, err);
}
