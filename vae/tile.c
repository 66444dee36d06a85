/* tile.c - decoding in bands of rows, with the result of decoding at once.
 *
 * The head of a decoder (the middle with its attention over all positions) runs whole: it is small.
 * After it the image grows, and no step needs more than a few rows around the place it works at,
 * but for group norms, which need the mean and variance of whole images.  So the tail is cut where
 * a norm begins (vae_kl_tail); the image there is stored whole, in plain memory, and its
 * statistics are summed up before the next step starts.  A step runs band by band: its input rows
 * with their halo are uploaded, a plan for a band computes, the rows of the result are stored.
 * What a step computes inside - normalised copies, upsampled images, working memory - exists for
 * one band only.  Nothing is computed twice but the halos.
 *
 * Peak memory: the stored images of one step (at most two, since the result of a residual block
 * replaces its residual row by row) and a plan for one band. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "vae/blocks.h"

/* An image kept between steps; data is NULL when only measuring. */
typedef struct image {
    float *data;
    int64_t h, w, c;
    size_t size;   /* bytes allocated, more than the image has once it has become narrower */
    bool is_owned; /* false: another image's, or the caller's */
} image;

/* The plan of the latest kind of band. */
typedef struct band_plan {
    gen_plan *plan;
    int64_t rows; /* of x, without halo */
    bool is_open_top, is_open_bottom;
    int64_t out_channels;
} band_plan;

typedef struct decoder {
    const gen_vae_config *cfg;
    gen_backend *backend;
    int64_t band_rows;
    bool is_dry; /* measure only */
    gen_vae_needs *needs;
    size_t host; /* bytes of images alive */
    image x, residual;
    band_plan band;
    float *norm_scale, *norm_shift; /* [x.c] of the current step */
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

/* ---- statistics ----------------------------------------------------------------------------- */

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

/* Sums and sums of squares of each channel, in double. */
static void channel_sums(const image *x, double *sum, double *squares)
{
    memset(sum, 0, (size_t)x->c * sizeof *sum);
    memset(squares, 0, (size_t)x->c * sizeof *squares);
    for (int64_t i = 0; i < x->h * x->w; i++) {
        const float *row = x->data + i * x->c;
        for (int64_t c = 0; c < x->c; c++) {
            const double v = (double)row[c];
            sum[c] += v;
            squares[c] += v * v;
        }
    }
}

/* The group norm of x as y = x scale + shift, per channel. */
static gen_status measure_norm(decoder *d, gen_scope norm, gen_error *err)
{
    const image *x = &d->x;
    const size_t C = (size_t)x->c, width = C / (size_t)d->cfg->norm_num_groups;
    GEN_TRY(load_vector(norm, "weight", x->c, d->norm_scale, err));
    GEN_TRY(load_vector(norm, "bias", x->c, d->norm_shift, err));
    double *sum = gen_malloc(2 * C * sizeof *sum);
    if (!sum)
        return gen_no_memory(err, "group norm", 2 * C * sizeof *sum);
    double *squares = sum + C;
    channel_sums(x, sum, squares);
    const double count = (double)(x->h * x->w) * (double)width;
    for (size_t first = 0; first + width <= C; first += width) {
        double mean = 0, square = 0;
        for (size_t c = first; c < first + width; c++) {
            mean += sum[c] / count;
            square += squares[c] / count;
        }
        const double rstd = 1 / sqrt(fmax(square - mean * mean, 0) + (double)VAE_NORM_EPS);
        for (size_t c = first; c < first + width; c++) {
            const double scale = (double)d->norm_scale[c] * rstd;
            d->norm_scale[c] = (float)scale;
            d->norm_shift[c] = (float)((double)d->norm_shift[c] - mean * scale);
        }
    }
    gen_free(sum);
    return GEN_OK;
}

/* ---- bands ---------------------------------------------------------------------------------- */

static void add_needs(decoder *d, const gen_plan *plan, double times)
{
    const gen_plan_stats *s = gen_plan_get_stats(plan);
    gen_vae_needs *n = d->needs;
    n->arena = s->arena > n->arena ? s->arena : n->arena;
    n->scratch = s->scratch > n->scratch ? s->scratch : n->scratch;
    n->weights += s->weights;
    n->transformed += s->transformed;
    n->flops += times * s->flops;
}

/* Makes the plan for bands of `rows` rows with these edges, unless the latest one is it. */
static gen_status get_band(decoder *d, const vae_step *s, int64_t rows, bool is_open_top,
                           bool is_open_bottom, gen_error *err)
{
    band_plan *p = &d->band;
    if (p->plan && p->rows == rows && p->is_open_top == is_open_top &&
        p->is_open_bottom == is_open_bottom)
        return GEN_OK;
    gen_plan_free(p->plan);
    *p = (band_plan){.rows = rows, .is_open_top = is_open_top, .is_open_bottom = is_open_bottom};

    gen_graph *g;
    GEN_TRY(gen_graph_new(&g, err));
    vae_builder b = {
        .g = g, .cfg = d->cfg, .is_open_top = is_open_top, .is_open_bottom = is_open_bottom};
    const int64_t W = d->x.w, C = d->x.c;
    const int64_t rows_in = rows + s->halo * (is_open_top + is_open_bottom);
    gen_tensor *x = gen_input(g, "x", GEN_F32, GEN_DIMS(1, rows_in, W, C)), *residual = NULL;
    if (s->norm.path[0]) {
        b.norm_scale = gen_input(g, "scale", GEN_F32, GEN_DIMS(1, 1, 1, C));
        b.norm_shift = gen_input(g, "shift", GEN_F32, GEN_DIMS(1, 1, 1, C));
    }
    if (s->adds_residual)
        residual = gen_input(g, "residual", GEN_F32, GEN_DIMS(1, rows, W, d->residual.c));
    gen_tensor *y = s->record(&b, s, x, residual);
    if (!y->is_poisoned && (y->dims[1] != rows * s->scale || y->dims[2] != W * s->scale))
        y = gen_graph_fail(g, s->w.path, GEN_ERROR_INTERNAL,
                           "a band of %" PRId64 " rows gives %" PRId64, rows, y->dims[1]);
    gen_output(g, y, "y");
    p->out_channels = y->dims[y->rank - 1];
    return gen_plan_new(&p->plan, g, d->backend, d->is_dry ? GEN_PLAN_DRY : 0, err);
}

/* The band of x that begins at row r through the step, into its place in out. */
static gen_status run_band(decoder *d, const vae_step *s, int64_t r, float *out, gen_error *err)
{
    const image *x = &d->x, *residual = &d->residual;
    gen_plan *plan = d->band.plan;
    const int64_t first = r - (d->band.is_open_top ? s->halo : 0);
    GEN_TRY(gen_plan_set(plan, "x", x->data + first * x->w * x->c, err));
    if (s->norm.path[0]) {
        GEN_TRY(gen_plan_set(plan, "scale", d->norm_scale, err));
        GEN_TRY(gen_plan_set(plan, "shift", d->norm_shift, err));
    }
    if (s->adds_residual)
        GEN_TRY(gen_plan_set(plan, "residual", residual->data + r * x->w * residual->c, err));
    GEN_TRY(gen_plan_run(plan, err));
    const int64_t row = x->w * s->scale * d->band.out_channels;
    return gen_plan_get_output(plan, "y", out + r * s->scale * row, err);
}

/* ---- steps ---------------------------------------------------------------------------------- */

/* The rows of x in one band: band_rows rows of the result.  The last two bands share what is left,
 * and a halo never reaches beyond the image. */
static int64_t band_height(const decoder *d, const vae_step *s, int64_t r)
{
    int64_t rows = d->band_rows / s->scale;
    if (rows < s->halo)
        rows = s->halo;
    const int64_t left = d->x.h - r;
    return left < rows + s->halo ? left : rows;
}

/* Where the result goes: the caller's pixels after the last step; over the residual, which is read
 * row by row just before, where the result is not wider; else a new image. */
static gen_status place_result(decoder *d, const vae_step *s, image *out, float *pixels,
                               gen_error *err)
{
    const int64_t h = d->x.h * s->scale, w = d->x.w * s->scale, c = d->band.out_channels;
    if (pixels) {
        *out = (image){.data = pixels, .h = h, .w = w, .c = c};
        return GEN_OK;
    }
    if (s->adds_residual && c <= d->residual.c) {
        *out = d->residual;
        out->c = c;
        d->residual.is_owned = false;
        return GEN_OK;
    }
    return image_new(d, out, h, w, c, err);
}

static gen_status run_bands(decoder *d, const vae_step *s, image *out, float *pixels,
                            gen_error *err)
{
    const int64_t H = d->x.h;
    for (int64_t r = 0, rows; r < H; r += rows) {
        rows = band_height(d, s, r);
        GEN_TRY(get_band(d, s, rows, r > 0, r + rows < H, err));
        if (r == 0)
            GEN_TRY(place_result(d, s, out, pixels, err));
        if (!d->is_dry)
            GEN_TRY(run_band(d, s, r, out->data, err));
    }
    return GEN_OK;
}

/* Only the tallest kind of band: with both halos where there are three, else the first. */
static gen_status measure_bands(decoder *d, const vae_step *s, image *out, float *pixels,
                                gen_error *err)
{
    const int64_t H = d->x.h, rows = band_height(d, s, 0);
    GEN_TRY(get_band(d, s, rows, 2 * rows < H, rows < H, err));
    add_needs(d, d->band.plan, (double)H / (double)rows);
    return place_result(d, s, out, pixels, err);
}

static gen_status run_step(decoder *d, const vae_step *s, float *pixels, gen_error *err)
{
    gen_status status = GEN_OK;
    image out = {0};
    const size_t C = (size_t)d->x.c;
    if (s->norm.path[0]) {
        d->norm_scale = gen_malloc(2 * C * sizeof *d->norm_scale);
        if (!d->norm_scale)
            return gen_no_memory(err, "group norm", 2 * C * sizeof *d->norm_scale);
        d->norm_shift = d->norm_scale + C;
        if (!d->is_dry)
            status = measure_norm(d, s->norm, err);
    }
    if (status == GEN_OK)
        status =
            d->is_dry ? measure_bands(d, s, &out, pixels, err) : run_bands(d, s, &out, pixels, err);
    gen_plan_free(d->band.plan);
    d->band.plan = NULL;
    gen_free(d->norm_scale);
    d->norm_scale = NULL;

    if (s->adds_residual)
        image_free(d, &d->residual);
    if (s->keeps_input)
        d->residual = d->x;
    else
        image_free(d, &d->x);
    d->x = out;
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
        add_needs(d, plan, 1);
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
    for (int i = 0; i < tail->num_steps && status == GEN_OK; i++)
        status = run_step(d, &tail->steps[i], i == tail->num_steps - 1 ? pixels : NULL, err);
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
