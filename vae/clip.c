/* clip.c - coding clips chunk by chunk with the graphs of wan_vae.c.
 *
 * Two plans code a clip: one for the first frame, one that is run again and again for what follows,
 * with the history of its layers staying where it is.  Only between the two the history is moved.
 * In tiles, each tile codes the whole clip before the next begins, so that there is the history of
 * one tile only. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "vae/wan_blocks.h"

typedef struct chunk_plan {
    gen_plan *plan;
    int64_t h, w; /* of the latents */
} chunk_plan;

enum { FIRST, NEXT };

struct gen_clip_vae {
    gen_vae_config cfg;
    gen_scope root;
    gen_backend *backend;
    chunk_plan plans[2][2]; /* [encoder, decoder][first, next] */
};

gen_status gen_clip_vae_new(gen_clip_vae **out, const gen_vae_config *cfg, gen_weights *weights,
                            gen_backend *backend, gen_error *err)
{
    gen_clip_vae *vae = gen_calloc(1, sizeof *vae);
    if (!vae)
        return gen_no_memory(err, "autoencoder", sizeof *vae);
    vae->cfg = *cfg;
    vae->root = gen_scope_root(weights);
    vae->backend = backend;
    *out = vae;
    return GEN_OK;
}

static void drop_plans(gen_clip_vae *vae)
{
    for (int i = 0; i < 4; i++) {
        gen_plan_free(vae->plans[i / 2][i % 2].plan);
        vae->plans[i / 2][i % 2].plan = NULL;
    }
}

void gen_clip_vae_free(gen_clip_vae *vae)
{
    if (!vae)
        return;
    drop_plans(vae);
    gen_free(vae);
}

void gen_clip_vae_release(gen_clip_vae *vae)
{
    drop_plans(vae);
    gen_weights_drop_prepared(vae->root.weights, vae->backend);
}

void gen_clip_vae_use(gen_clip_vae *vae, gen_backend *backend)
{
    gen_clip_vae_release(vae);
    vae->backend = backend;
}

/* ---- plans ---------------------------------------------------------------------------------- */

/* Records one chunk of latents h x w; a first chunk is one frame. */
static gen_graph *record_chunk(const gen_clip_vae *vae, bool is_decoder, int which, int64_t h,
                               int64_t w, gen_error *err)
{
    const gen_vae_config *cfg = &vae->cfg;
    const int64_t f = gen_vae_factor(cfg);
    const int64_t frames = which == FIRST || is_decoder ? 1 : gen_vae_time_factor(cfg);
    gen_graph *g;
    if (gen_graph_new(&g, err))
        return NULL;
    wan_builder b = {.g = g, .cfg = cfg, .is_first = which == FIRST, .keeps_history = true};
    if (is_decoder) {
        gen_tensor *z = gen_input(g, "z", GEN_F32, GEN_DIMS(frames, h, w, cfg->latent_channels));
        gen_output(g, vae_wan_decode(&b, vae->root, z), "pixels");
    } else {
        gen_tensor *x = gen_input(g, "pixels", GEN_F32, GEN_DIMS(frames, h * f, w * f, 3));
        gen_output(g, vae_wan_encode(&b, vae->root, x), "moments");
    }
    return g;
}

static gen_status get_plan(gen_clip_vae *vae, bool is_decoder, int which, int64_t h, int64_t w,
                           gen_error *err)
{
    chunk_plan *p = &vae->plans[is_decoder][which];
    if (p->plan && p->h == h && p->w == w)
        return GEN_OK;
    gen_plan_free(p->plan);
    *p = (chunk_plan){.h = h, .w = w};
    gen_graph *g = record_chunk(vae, is_decoder, which, h, w, err);
    return g ? gen_plan_new(&p->plan, g, vae->backend, 0, err) : GEN_ERROR_MEMORY;
}

/* ---- history -------------------------------------------------------------------------------- */

/* The history of a clip on its way from one plan to the other. */
typedef struct history {
    float **states;
    int count;
} history;

static void free_history(history *h)
{
    for (int i = 0; i < h->count; i++)
        gen_free(h->states[i]);
    gen_free(h->states);
    *h = (history){0};
}

static const gen_tensor *find_state(const gen_plan *plan, int i)
{
    char name[48];
    snprintf(name, sizeof name, "history.%d.next", i);
    return gen_graph_find(gen_plan_graph(plan), name, 0);
}

static gen_status take_history(history *h, gen_plan *first, gen_error *err)
{
    int count = 0;
    while (find_state(first, count))
        count++;
    if (!(h->states = gen_calloc((size_t)count + 1, sizeof *h->states)))
        return gen_no_memory(err, "frames", (size_t)count * sizeof *h->states);
    for (; h->count < count; h->count++) {
        const gen_tensor *t = find_state(first, h->count);
        const size_t size = (size_t)gen_tensor_elements(t) * sizeof(float);
        float *state = gen_malloc(size);
        if (!state)
            return gen_no_memory(err, "frames", size);
        h->states[h->count] = state;
        const gen_status status = gen_plan_get(first, t, state, err);
        if (status) {
            h->count++;
            return status;
        }
    }
    return GEN_OK;
}

static gen_status give_history(const history *h, gen_plan *next, gen_error *err)
{
    char name[48];
    for (int i = 0; i < h->count; i++) {
        snprintf(name, sizeof name, "history.%d", i);
        GEN_TRY(gen_plan_set(next, name, h->states[i], err));
    }
    return GEN_OK;
}

/* Chunk `index` of `count`, in order; in and out are its frames, dense. */
static gen_status code_chunk(gen_clip_vae *vae, bool is_decoder, int64_t index, int64_t count,
                             history *hist, const float *in, float *out, gen_error *err)
{
    gen_plan *plan = vae->plans[is_decoder][index ? NEXT : FIRST].plan;
    GEN_TRY(gen_plan_set(plan, is_decoder ? "z" : "pixels", in, err));
    if (index == 1) {
        GEN_TRY(give_history(hist, plan, err));
        free_history(hist);
    }
    GEN_TRY(gen_plan_run(plan, err));
    GEN_TRY(gen_plan_get_output(plan, is_decoder ? "pixels" : "moments", out, err));
    return index == 0 && count > 1 ? take_history(hist, plan, err) : GEN_OK;
}

/* ---- tiles ---------------------------------------------------------------------------------- */

/* One axis of n positions in pieces of `size` that begin every 3/4 of it, the last at the end. */
typedef struct axis {
    int64_t n, size, count;
} axis;

static axis cut(int64_t n, int64_t tile)
{
    axis a = {.n = n, .size = tile > 0 && tile < n ? tile : n, .count = 1};
    if (a.size < n)
        a.count = 1 + (n - a.size + a.size * 3 / 4 - 1) / (a.size * 3 / 4);
    return a;
}

static int64_t start_of(const axis *a, int64_t i)
{
    const int64_t start = i * (a->size * 3 / 4);
    return start < a->n - a->size ? start : a->n - a->size;
}

/* How much piece i counts at `at`, in units of 1/scale positions: rising and falling linearly over
 * a quarter of it, but not at the ends of the axis. */
static double ramp(const axis *a, int64_t i, int64_t at, int64_t scale)
{
    const double over = (double)(a->size / 4 * scale), first = (double)(start_of(a, i) * scale);
    const double left = ((double)at + 0.5 - first) / over;
    const double right = (first + (double)(a->size * scale) - (double)at - 0.5) / over;
    if (left * over < 0 || right * over < 0)
        return 0;
    const double up = start_of(a, i) == 0 ? 1 : fmin(left, 1);
    const double down = start_of(a, i) + a->size == a->n ? 1 : fmin(right, 1);
    return fmin(up, down);
}

/* The same divided by the sum over all pieces. */
static float share(const axis *a, int64_t i, int64_t at, int64_t scale)
{
    double sum = 0;
    if (a->count == 1)
        return 1;
    for (int64_t k = 0; k < a->count; k++)
        sum += ramp(a, k, at, scale);
    return (float)(ramp(a, i, at, scale) / sum);
}

/* Adds a tile [frames,size,size,C] at tile (i, k) to the whole frames. */
static void add_tile(float *whole, const float *tile, int64_t frames, const axis *y, int64_t i,
                     const axis *x, int64_t k, int64_t scale, int64_t C)
{
    const int64_t h = y->size * scale, w = x->size * scale, W = x->n * scale;
    for (int64_t f = 0; f < frames; f++)
        for (int64_t row = 0; row < h; row++) {
            const int64_t at_y = start_of(y, i) * scale + row;
            const float wy = share(y, i, at_y, scale);
            for (int64_t col = 0; col < w; col++) {
                const int64_t at_x = start_of(x, k) * scale + col;
                const float weight = wy * share(x, k, at_x, scale);
                float *to = whole + ((f * y->n * scale + at_y) * W + at_x) * C;
                const float *from = tile + ((f * h + row) * w + col) * C;
                for (int64_t c = 0; c < C; c++)
                    to[c] += weight * from[c];
            }
        }
}

/* ---- encoding ------------------------------------------------------------------------------- */

typedef struct clip {
    gen_clip_vae *vae;
    axis y, x;             /* latents */
    int64_t chunks;        /* frames of latents */
    int64_t factor, group; /* pixels of a latent; frames of a chunk after the first */
    const gen_clip_io *io;
    float *frame, *in, *out; /* a frame; a chunk of a tile, before and after */
} clip;

static gen_status check_size(const gen_clip_vae *vae, int64_t F, int64_t H, int64_t W,
                             gen_error *err)
{
    const int64_t factor = gen_vae_factor(&vae->cfg), group = gen_vae_time_factor(&vae->cfg);
    if (F < 1 || (F - 1) % group)
        return gen_fail(err, GEN_ERROR_ARGUMENT,
                        "%" PRId64 " frames: this autoencoder takes 1 more than a multiple of "
                        "%" PRId64 "; %" PRId64 " or %" PRId64 " fit",
                        F, group, (F > 0 ? F - 1 : 0) / group * group + 1,
                        (F > 0 ? F - 1 : 0) / group * group + group + 1);
    if (H < factor || W < factor || H % factor || W % factor)
        return gen_fail(err, GEN_ERROR_ARGUMENT,
                        "frames of %" PRId64 "x%" PRId64 " pixels: height and width have to be "
                        "multiples of %" PRId64,
                        W, H, factor);
    return GEN_OK;
}

static gen_status make_plans(clip *c, bool is_decoder, gen_error *err)
{
    GEN_TRY(get_plan(c->vae, is_decoder, FIRST, c->y.size, c->x.size, err));
    return c->chunks > 1 ? get_plan(c->vae, is_decoder, NEXT, c->y.size, c->x.size, err) : GEN_OK;
}

/* Reads frames and cuts the tile out of them. */
static gen_status read_chunk(const clip *c, int64_t chunk, int64_t i, int64_t k, gen_error *err)
{
    const int64_t first = chunk ? 1 + (chunk - 1) * c->group : 0, n = chunk ? c->group : 1;
    const int64_t h = c->y.size * c->factor, w = c->x.size * c->factor;
    const int64_t top = start_of(&c->y, i) * c->factor, left = start_of(&c->x, k) * c->factor;
    for (int64_t f = 0; f < n; f++) {
        GEN_TRY(c->io->frame(c->io->self, first + f, c->frame, err));
        for (int64_t row = 0; row < h; row++)
            memcpy(c->in + (f * h + row) * w * 3,
                   c->frame + ((top + row) * c->x.n * c->factor + left) * 3,
                   (size_t)(w * 3) * sizeof(float));
    }
    return GEN_OK;
}

static gen_status encode_tile(const clip *c, int64_t i, int64_t k, float *moments, gen_error *err)
{
    const int64_t C = 2 * c->vae->cfg.latent_channels, frame = c->y.n * c->x.n * C;
    history hist = {0};
    gen_status status = GEN_OK;
    for (int64_t n = 0; n < c->chunks && !status; n++) {
        if (!(status = read_chunk(c, n, i, k, err)))
            status = code_chunk(c->vae, false, n, c->chunks, &hist, c->in, c->out, err);
        if (!status)
            add_tile(moments + n * frame, c->out, 1, &c->y, i, &c->x, k, 1, C);
    }
    free_history(&hist);
    return status;
}

gen_status gen_clip_vae_encode(gen_clip_vae *vae, int64_t F, int64_t H, int64_t W, int64_t tile,
                               const gen_clip_io *io, float *moments, gen_error *err)
{
    GEN_TRY(check_size(vae, F, H, W, err));
    clip c = {.vae = vae,
              .factor = gen_vae_factor(&vae->cfg),
              .group = gen_vae_time_factor(&vae->cfg),
              .io = io};
    c.chunks = 1 + (F - 1) / c.group;
    c.y = cut(H / c.factor, tile);
    c.x = cut(W / c.factor, tile);
    const size_t C = 2 * (size_t)vae->cfg.latent_channels;
    const size_t area = (size_t)(c.y.size * c.x.size), side = (size_t)c.factor;
    const size_t whole = (size_t)(c.y.n * c.x.n * c.chunks) * C;
    c.frame = gen_malloc((size_t)(H * W * 3) * sizeof(float));
    c.in = gen_malloc(area * side * side * 3 * (size_t)c.group * sizeof(float));
    c.out = gen_malloc(area * C * sizeof(float));
    gen_status status = GEN_OK;
    if (!c.frame || !c.in || !c.out)
        status = gen_no_memory(err, "frames", area * side * side * 3 * sizeof(float));
    else
        status = make_plans(&c, false, err);
    for (size_t i = 0; i < whole && !status; i++)
        moments[i] = 0;
    for (int64_t i = 0; i < c.y.count && !status; i++)
        for (int64_t k = 0; k < c.x.count && !status; k++)
            status = encode_tile(&c, i, k, moments, err);
    gen_free(c.frame);
    gen_free(c.in);
    gen_free(c.out);
    return status;
}

/* ---- decoding ------------------------------------------------------------------------------- */

static gen_status give_frames(const clip *c, int64_t first, int64_t count, float *pixels,
                              gen_error *err)
{
    const int64_t n = c->y.n * c->x.n * c->factor * c->factor * 3;
    for (int64_t f = 0; f < count; f++) {
        float *p = pixels + f * n;
        for (int64_t i = 0; i < n; i++) {
            if (!isfinite(p[i]))
                return gen_fail(err, GEN_ERROR_INTERNAL,
                                "decoder: frame %" PRId64 ": a value is not finite", first + f);
            p[i] = fminf(fmaxf(p[i], -1.0f), 1.0f);
        }
        GEN_TRY(c->io->frame(c->io->self, first + f, p, err));
    }
    return GEN_OK;
}

static void cut_latents(const clip *c, const float *z, int64_t i, int64_t k)
{
    const int64_t C = c->vae->cfg.latent_channels, top = start_of(&c->y, i);
    const int64_t left = start_of(&c->x, k);
    for (int64_t row = 0; row < c->y.size; row++)
        memcpy(c->in + row * c->x.size * C, z + ((top + row) * c->x.n + left) * C,
               (size_t)(c->x.size * C) * sizeof *z);
}

/* whole NULL: frames go to the receiver as they come. */
static gen_status decode_tile(const clip *c, const float *z, int64_t i, int64_t k, float *whole,
                              gen_error *err)
{
    const int64_t latents = c->y.n * c->x.n * c->vae->cfg.latent_channels;
    const int64_t frame = c->y.n * c->x.n * c->factor * c->factor * 3;
    history hist = {0};
    gen_status status = GEN_OK;
    for (int64_t n = 0; n < c->chunks && !status; n++) {
        const int64_t first = n ? 1 + (n - 1) * c->group : 0, count = n ? c->group : 1;
        cut_latents(c, z + n * latents, i, k);
        status = code_chunk(c->vae, true, n, c->chunks, &hist, c->in, c->out, err);
        if (!status && whole)
            add_tile(whole + first * frame, c->out, count, &c->y, i, &c->x, k, c->factor, 3);
        else if (!status)
            status = give_frames(c, first, count, c->out, err);
    }
    free_history(&hist);
    return status;
}

gen_status gen_clip_vae_decode(gen_clip_vae *vae, const float *z, int64_t f, int64_t h, int64_t w,
                               int64_t tile, const gen_clip_io *io, gen_error *err)
{
    clip c = {.vae = vae,
              .y = cut(h, tile),
              .x = cut(w, tile),
              .chunks = f,
              .factor = gen_vae_factor(&vae->cfg),
              .group = gen_vae_time_factor(&vae->cfg),
              .io = io};
    const size_t area = (size_t)(c.y.size * c.x.size), pixels = (size_t)(c.factor * c.factor * 3);
    const int64_t frames = 1 + (f - 1) * c.group;
    const bool is_tiled = c.y.count * c.x.count > 1;
    const size_t clip_size = (size_t)(frames * h * w) * pixels;
    float *whole = is_tiled ? gen_calloc(clip_size, sizeof *whole) : NULL;
    c.in = gen_malloc(area * (size_t)vae->cfg.latent_channels * sizeof(float));
    c.out = gen_malloc(area * pixels * (size_t)c.group * sizeof(float));
    gen_status status = GEN_OK;
    if (!c.in || !c.out || (is_tiled && !whole))
        status = gen_no_memory(err, "frames", clip_size * sizeof(float));
    else
        status = make_plans(&c, true, err);
    for (int64_t i = 0; i < c.y.count && !status; i++)
        for (int64_t k = 0; k < c.x.count && !status; k++)
            status = decode_tile(&c, z, i, k, whole, err);
    if (!status && whole)
        status = give_frames(&c, 0, frames, whole, err);
    gen_free(whole);
    gen_free(c.in);
    gen_free(c.out);
    return status;
}

gen_status gen_clip_vae_prepare_decode(gen_clip_vae *vae, int64_t f, int64_t h, int64_t w,
                                       int64_t tile, gen_error *err)
{
    clip c = {.vae = vae, .y = cut(h, tile), .x = cut(w, tile), .chunks = f};
    return make_plans(&c, true, err);
}

/* ---- memory --------------------------------------------------------------------------------- */

/* Bytes of the history a plan hands on. */
static size_t history_size(const gen_plan *plan)
{
    size_t size = 0;
    const gen_tensor *t;
    for (int i = 0; (t = find_state(plan, i)); i++)
        size += (size_t)gen_tensor_elements(t) * sizeof(float);
    return size;
}

gen_status gen_clip_vae_measure(gen_clip_vae *vae, bool is_decoder, int64_t f, int64_t h, int64_t w,
                                int64_t tile, gen_vae_needs *needs, gen_error *err)
{
    const axis y = cut(h, tile), x = cut(w, tile);
    const size_t tiles = (size_t)(y.count * x.count), factor = (size_t)gen_vae_factor(&vae->cfg);
    const size_t frame = (size_t)(h * w) * factor * factor * 3 * sizeof(float);
    *needs = (gen_vae_needs){0};
    for (int which = FIRST; which <= NEXT && (which == FIRST || f > 1); which++) {
        gen_plan *plan = NULL;
        gen_graph *g = record_chunk(vae, is_decoder, which, y.size, x.size, err);
        if (!g)
            return GEN_ERROR_MEMORY;
        GEN_TRY(gen_plan_new(&plan, g, vae->backend, GEN_PLAN_DRY, err));
        const gen_plan_stats *s = gen_plan_get_stats(plan);
        needs->arena = s->arena > needs->arena ? s->arena : needs->arena;
        needs->scratch = s->scratch > needs->scratch ? s->scratch : needs->scratch;
        needs->io += s->io;
        needs->weights = s->weights > needs->weights ? s->weights : needs->weights;
        needs->transformed =
            s->transformed > needs->transformed ? s->transformed : needs->transformed;
        needs->staged = s->staged > needs->staged ? s->staged : needs->staged;
        needs->flops += s->flops * (double)tiles * (which == FIRST ? 1.0 : (double)(f - 1));
        if (which == FIRST && f > 1)
            needs->host = history_size(plan);
        gen_plan_free(plan);
    }
    needs->host += frame * (size_t)gen_vae_time_factor(&vae->cfg);
    if (is_decoder && tiles > 1)
        needs->host += frame * (size_t)(1 + (f - 1) * gen_vae_time_factor(&vae->cfg));
    return GEN_OK;
}
