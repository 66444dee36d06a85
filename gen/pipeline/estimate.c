/* estimate.c - what a picture will need, from dry plans. */
#include "gen/pipeline/generate.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "gen/core/nn.h"
#include "gen/pipeline/vision.h"

/* ---- speed of this machine ------------------------------------------------------------------ */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* FLOP per second. */
typedef struct speeds {
    double products, attention;
} speeds;

enum { SIDE = 768, TOKENS = 1024, HEADS = 4, HEAD_DIM = 128 };

/* y [M,N] = x [M,K] W^T with W all ones / K. */
static gen_status record_product(gen_graph *g, gen_weights *weights, gen_error *err)
{
    const size_t n = (size_t)SIDE * SIDE;
    float *w = gen_malloc(n * sizeof *w);
    if (!w)
        return gen_no_memory(err, "speed test", n * sizeof *w);
    for (size_t i = 0; i < n; i++)
        w[i] = 1.0f / SIDE;
    GEN_TRY(gen_weights_add(weights, "weight", "", "", GEN_F32, 2, (int64_t[]){SIDE, SIDE}, w,
                            n * sizeof *w, true, err));
    gen_tensor *x = gen_input(g, "x", GEN_F32, GEN_DIMS(SIDE, SIDE));
    gen_output(g, gen_project(g, gen_scope_root(weights), x), "y");
    return GEN_OK;
}

static gen_status record_attention(gen_graph *g, gen_weights *weights, gen_error *err)
{
    (void)weights;
    (void)err;
    gen_tensor *x = gen_input(g, "x", GEN_F32, GEN_DIMS(1, TOKENS, HEADS * HEAD_DIM));
    gen_output(g, gen_attention(g, x, x, x, (gen_attention_options){.heads = HEADS}), "y");
    return GEN_OK;
}

/* The best of a few short runs on the backend. */
static gen_status measure_speed(double *out, gen_backend *backend,
                                gen_status (*record)(gen_graph *, gen_weights *, gen_error *),
                                gen_error *err)
{
    enum { RUNS = 5, MAX_INPUT = SIDE * SIDE };
    _Static_assert(TOKENS * HEADS * HEAD_DIM <= MAX_INPUT, "");
    gen_weights *weights = NULL;
    gen_graph *g = NULL;
    gen_plan *plan = NULL;
    float *x = gen_calloc(MAX_INPUT, sizeof *x);
    double best = INFINITY;
    gen_status status = x ? GEN_OK : gen_no_memory(err, "speed test", MAX_INPUT * sizeof *x);
    if (status || (status = gen_weights_new(&weights, err)) || (status = gen_graph_new(&g, err)))
        goto done;
    if ((status = record(g, weights, err))) {
        gen_graph_free(g);
        goto done;
    }
    if ((status = gen_plan_new(&plan, g, backend, 0, err)))
        goto done;
    for (int i = 0; i < RUNS && !status; i++) {
        if ((status = gen_plan_set(plan, "x", x, err)))
            break;
        const double t = now();
        status = gen_plan_run(plan, err);
        if (now() - t < best)
            best = now() - t;
    }
    *out = gen_plan_get_stats(plan)->flops / best;
done:
    gen_plan_free(plan);
    if (weights)
        gen_weights_drop_prepared(weights, backend);
    gen_weights_free(weights);
    gen_free(x);
    return status;
}

static gen_status measure_speeds(speeds *out, gen_backend *backend, gen_error *err)
{
    GEN_TRY(measure_speed(&out->products, backend, record_product, err));
    return measure_speed(&out->attention, backend, record_attention, err);
}

/* ---- phases --------------------------------------------------------------------------------- */

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* What a phase needs, and what of it is not told to the caller. */
typedef struct phase_needs {
    gen_estimate_phase *told;
    uint64_t host;    /* of activation_bytes, those beside the arena, */
    uint64_t io;      /*   and of these what plans keep after the phase */
    uint64_t staging; /* of the host, between it and a device */
    uint64_t staged;  /* of a file, while one of its weights is prepared */
    double attention_flops;
    uint64_t least;   /* of weight_bytes, those that have to stay */
    bool is_streamed; /* weights come and go while it runs */
} phase_needs;

static void add_host(phase_needs *needs, uint64_t bytes)
{
    needs->host += bytes;
    needs->told->activation_bytes += bytes;
}

static void add_plan(phase_needs *needs, const gen_plan_stats *s, double runs)
{
    gen_estimate_phase *phase = needs->told;
    phase->weight_bytes += s->weights - s->transformed;
    phase->transformed_bytes += s->transformed;
    if (s->arena > phase->activation_bytes - needs->host)
        phase->activation_bytes = s->arena + needs->host;
    add_host(needs, s->io);
    needs->io += s->io;
    phase->slot_bytes += s->slots;
    needs->staging = larger(needs->staging, s->staging);
    if (s->scratch > phase->scratch_bytes)
        phase->scratch_bytes = s->scratch;
    phase->flops += runs * s->flops;
    needs->attention_flops += runs * s->attention_flops;
    needs->least += s->least_weights;
    if (s->staged > needs->staged)
        needs->staged = s->staged;
}

static gen_status estimate_encode(phase_needs *needs, gen_model *m, const gen_generate_params *p,
                                  const gen_sampling *s, gen_error *err)
{
    const gen_prompt_request request = gen_prompt_request_of(p, s);
    for (int i = 0;; i++) {
        gen_plan_stats stats;
        double runs;
        GEN_TRY(m->text_class->measure(m->text, i, &request, &stats, &runs, err));
        if (runs == 0)
            return GEN_OK;
        add_plan(needs, &stats, runs);
    }
}

/* Prompts, latents and what the sampler keeps of them, and the inputs of a batch. */
static uint64_t size_of_states(const gen_model *m, const gen_sampling *s, int64_t num_tokens)
{
    enum { COPIES = 6 };
    const gen_network_traits *t = &m->network.traits;
    const uint64_t batch = s->is_guided ? 2 : 1, frames = s->num_frames ? s->num_frames : 1;
    const uint64_t positions = frames * (uint64_t)(s->height * s->width);
    const uint64_t text = (uint64_t)num_tokens * (uint64_t)t->context_dim;
    const uint64_t sample =
        positions * (uint64_t)(t->in_channels > t->out_channels ? t->in_channels : t->out_channels);
    const uint64_t latents = positions * (uint64_t)gen_network_latent_channels(t);
    return (2 * text + batch * (text > sample ? text : sample) + COPIES * latents) * sizeof(float);
}

static gen_status estimate_denoise(phase_needs *needs, gen_estimate *e, gen_model *m,
                                   const gen_sampling *s, const gen_generate_params *p,
                                   int64_t num_tokens, size_t max_weights, gen_error *err)
{
    const bool has_times = m->network.traits.takes_first_frame && p->first_frame;
    const gen_network_shape shape = {.batch = s->is_guided ? 2 : 1,
                                     .height = s->height,
                                     .width = s->width,
                                     .num_tokens = num_tokens,
                                     .num_frames = s->num_frames,
                                     .num_times = has_times ? s->num_frames : 0,
                                     .num_image_tokens = gen_model_num_image_tokens(m)};
    gen_plan *plan;
    int num_calls;
    GEN_TRY(gen_sampling_count_calls(&num_calls, s, p, err));
    GEN_TRY(gen_network_dry_plan(&plan, &m->network, &shape, max_weights, err));
    const gen_plan_stats *stats = gen_plan_get_stats(plan);
    add_plan(needs, stats, num_calls);
    add_host(needs, size_of_states(m, s, num_tokens));
    needs->is_streamed = max_weights && stats->weights <= max_weights;
    e->num_forwards = num_calls * (int)shape.batch;
    e->flops_per_forward = stats->flops / (double)shape.batch;
    gen_plan_free(plan);
    return GEN_OK;
}

/* A clip is decoded (and what it starts from encoded) in whole frames, or in the largest tiles that
 * fit beside `resident` bytes. */
static gen_status estimate_clip(phase_needs *out, int64_t *tile, gen_model *m,
                                const gen_sampling *s, const gen_generate_params *p,
                                uint64_t resident, gen_error *err)
{
    static const int64_t tiles[] = {0, 64, 48, 32, 24, 16};
    const uint64_t limit = m->context->mem_limit;
    gen_estimate_phase *phase = out->told;
    for (size_t i = 0; i < sizeof tiles / sizeof *tiles; i++) {
        gen_vae_needs needs, encoder = {0};
        if (tiles[i] >= s->height && tiles[i] >= s->width)
            continue;
        GEN_TRY(gen_clip_vae_measure(m->clip_vae, true, s->num_frames, s->height, s->width,
                                     tiles[i], &needs, err));
        if (p->num_source || p->first_frame)
            GEN_TRY(gen_clip_vae_measure(m->clip_vae, false, s->num_frames, s->height, s->width,
                                         tiles[i], &encoder, err));
        *tile = tiles[i];
        out->host = larger(needs.host + needs.io, encoder.host + encoder.io);
        out->staged = needs.staged > encoder.staged ? needs.staged : encoder.staged;
        phase->weight_bytes = needs.weights - needs.transformed + encoder.weights;
        phase->transformed_bytes = needs.transformed;
        phase->activation_bytes =
            (needs.arena > encoder.arena ? needs.arena : encoder.arena) + out->host;
        phase->scratch_bytes = needs.scratch > encoder.scratch ? needs.scratch : encoder.scratch;
        phase->flops = needs.flops + encoder.flops;
        phase->num_tiles = 1;
        if (tiles[i])
            phase->num_tiles = (int)(((s->height + tiles[i] - 1) / tiles[i]) *
                                     ((s->width + tiles[i] - 1) / tiles[i]));
        if (resident + phase->weight_bytes + phase->transformed_bytes + phase->activation_bytes +
                phase->scratch_bytes <=
            limit)
            break;
    }
    return GEN_OK;
}

/* `resident`: bytes of what stays in memory beside the decoder, and of activations and scratch
 * those of `before`, for they never shrink.  Where not even the narrowest bands fit, MEMORY, and
 * the phase tells what these would need. */
static gen_status estimate_decode(phase_needs *out, int64_t *band_rows, gen_model *m,
                                  const gen_sampling *s, const gen_generate_params *p,
                                  uint64_t resident, const phase_needs *before, gen_error *err)
{
    const uint64_t picture = (uint64_t)p->width * (uint64_t)p->height * (3 * sizeof(float) + 3);
    const uint64_t limit = m->context->mem_limit;
    const gen_vae_needs held = {.arena = before->told->activation_bytes - before->host,
                                .scratch = before->told->scratch_bytes};
    gen_vae_needs needs = {0};
    gen_estimate_phase *phase = out->told;
    resident += picture;
    const size_t left = limit > resident ? (size_t)(limit - resident) : 1;
    const gen_status status =
        gen_vae_choose_bands(m->vae, s->height, s->width, &held, left, band_rows, &needs, err);
    if (status && status != GEN_ERROR_MEMORY)
        return status;
    out->staged = needs.staged;
    phase->weight_bytes = needs.weights - needs.transformed;
    phase->transformed_bytes = needs.transformed;
    phase->activation_bytes = needs.arena;
    phase->scratch_bytes = needs.scratch;
    phase->flops = needs.flops;
    phase->num_tiles = *band_rows ? (int)((p->height + *band_rows - 1) / *band_rows) : 1;
    add_host(out, needs.host + needs.io + picture);
    return status;
}

static uint64_t weights_of(const phase_needs *needs)
{
    return needs->told->weight_bytes + needs->told->transformed_bytes;
}

/* The program itself: code, libraries, vocabulary, headers of the files (measured). */
enum { PROGRAM_BYTES = 16 << 20 };

/* Bytes beside the weights of phase i, `before` and itself seen together: the arena and the working
 * memory never shrink.  While weights are prepared ahead of a run, its own are not touched yet. */
static uint64_t beside_weights(const phase_needs *needs, int i)
{
    uint64_t arena = 0, scratch = 0;
    for (int k = 0; k <= i; k++) {
        arena = larger(arena, needs[k].told->activation_bytes - needs[k].host);
        scratch = larger(scratch, needs[k].told->scratch_bytes);
    }
    const uint64_t work = arena + scratch, staged = needs[i].staged;
    return PROGRAM_BYTES + needs[i].host +
           (needs[i].is_streamed ? work + staged : larger(work, staged));
}

/* Weights stay from phase to phase, unless memory is so short that each phase gives its own back; a
 * large encoder always does. */
static void add_peaks(gen_estimate *e, const phase_needs *needs, bool keeps_weights,
                      bool keeps_encoder)
{
    uint64_t kept = 0;
    e->peak_bytes = 0;
    for (int i = 0; i < 3; i++) {
        gen_estimate_phase *p = needs[i].told;
        if (!keeps_weights || (i == 1 && !keeps_encoder))
            kept = 0;
        p->peak_bytes = kept + weights_of(&needs[i]) + beside_weights(needs, i);
        kept += weights_of(&needs[i]) + needs[i].io;
        if (p->num_tiles == 0)
            p->num_tiles = 1;
        e->peak_bytes = larger(e->peak_bytes, p->peak_bytes);
    }
}

/* What is named is enough: with a higher limit the decoder's convolutions may take a little more.
 */
static gen_status too_large(const gen_estimate *e, const gen_generate_params *p, gen_error *err)
{
    char frames[32] = "";
    if (p->num_frames > 1)
        snprintf(frames, sizeof frames, " of %d frames", p->num_frames);
    const uint64_t mib = (e->peak_bytes + e->peak_bytes / 48 + (1 << 20) - 1) >> 20;
    gen_fail(err, GEN_ERROR_MEMORY,
             "%dx%d%s needs at least %" PRIu64 " MiB, the limit is %" PRIu64 " MiB", p->width,
             p->height, frames, mib, e->mem_limit >> 20);
    const uint64_t free_mib = gen_available_memory() >> 20;
    if (mib > free_mib)
        return gen_hint(err, "choose a smaller size: this machine has %" PRIu64 " MiB free",
                        free_mib);
    return gen_hint(err, "choose a smaller size, or allow more: --mem-limit %" PRIu64 "M", mib);
}

/* How to save memory, from the plan that is fastest to the one that needs least. */
enum { KEEP_EVERYTHING, DROP_BY_PHASE, STREAM, NUM_WAYS };

static gen_status plan_in_way(gen_memory_plan *out, int way, gen_model *m, const gen_sampling *s,
                              const gen_generate_params *p, int64_t num_tokens, gen_error *err)
{
    gen_estimate *e = &out->estimate;
    const uint64_t limit = m->context->mem_limit;
    phase_needs needs[3] = {{&e->phases[0]}, {&e->phases[1]}, {&e->phases[2]}};
    *out = (gen_memory_plan){.keeps_weights = way == KEEP_EVERYTHING, .estimate.mem_limit = limit};
    e->phases[0].name = "encode";
    e->phases[1].name = "denoise";
    e->phases[2].name = "decode";
    if (num_tokens)
        GEN_TRY(estimate_encode(&needs[0], m, p, s, err));
    if (m->vision) {
        gen_plan_stats stats;
        GEN_TRY(gen_vision_measure(m->vision, m->context->backend, &stats, err));
        add_plan(&needs[0], &stats, 1);
    }
    GEN_TRY(estimate_denoise(&needs[1], e, m, s, p, num_tokens, 0, err));
    if (way == STREAM) {
        needs[1].is_streamed = true;
        const uint64_t others = beside_weights(needs, 1), least = needs[1].least;
        const uint64_t room = limit > others ? limit - others : 0;
        out->max_weights = (size_t)larger(room, least);
        const uint64_t all = weights_of(&needs[1]);
        e->phases[1] = (gen_estimate_phase){.name = "denoise"};
        needs[1] = (phase_needs){&e->phases[1]};
        GEN_TRY(estimate_denoise(&needs[1], e, m, s, p, num_tokens, out->max_weights, err));
        if (weights_of(&needs[1]) < all)
            e->phases[1].streamed_bytes = all - weights_of(&needs[1]);
    }
    gen_vae_needs whole = {0};
    if (!s->num_frames)
        GEN_TRY(gen_vae_measure_decode(m->vae, s->height, s->width, 0, &whole, err));
    const bool keeps_encoder = !m->text_class || !m->text_class->is_transient;
    const uint64_t encoder = keeps_encoder ? weights_of(&needs[0]) : 0;
    const uint64_t others = out->keeps_weights ? encoder + weights_of(&needs[1]) : 0;
    const uint64_t vae = whole.weights - whole.transformed;
    const gen_status status =
        s->num_frames
            ? estimate_clip(&needs[2], &out->clip_tile, m, s, p, PROGRAM_BYTES + others, err)
            : estimate_decode(&needs[2], &out->band_rows, m, s, p, PROGRAM_BYTES + others + vae,
                              &needs[1], err);
    for (int i = 0; i < 3; i++) {
        const gen_estimate_phase *q = needs[i].told;
        out->attention_flops[i] = needs[i].attention_flops;
        e->staging_bytes = larger(e->staging_bytes, needs[i].staging);
        out->arena = larger(out->arena, q->activation_bytes - needs[i].host);
        out->scratch = larger(out->scratch, q->scratch_bytes);
    }
    if (!status || status == GEN_ERROR_MEMORY)
        add_peaks(e, needs, out->keeps_weights, keeps_encoder);
    return status;
}

gen_status gen_plan_memory(gen_memory_plan *out, gen_model *m, const gen_sampling *s,
                           const gen_generate_params *p, int64_t num_tokens, gen_error *err)
{
    for (int way = KEEP_EVERYTHING; way < NUM_WAYS; way++) {
        const gen_status status = plan_in_way(out, way, m, s, p, num_tokens, err);
        if (status && status != GEN_ERROR_MEMORY)
            return status;
        if (out->estimate.peak_bytes <= out->estimate.mem_limit)
            return status; /* not OK: the planning itself has no memory */
    }
    return too_large(&out->estimate, p, err);
}

gen_status gen_plan_picture(gen_memory_plan *out, gen_model *m, const gen_generate_params *params,
                            gen_error *err)
{
    gen_generate_params p = {0};
    gen_sampling sampling;
    int64_t num_tokens = 0;
    memcpy(&p, params, params->struct_size < sizeof p ? params->struct_size : sizeof p);
    GEN_TRY(gen_sampling_resolve(&sampling, &p, m, err));
    GEN_TRY(gen_model_count_tokens(&num_tokens, m, &p, &sampling, err));
    return gen_plan_memory(out, m, &sampling, &p, num_tokens, err);
}

gen_status gen_estimate_run(gen_estimate *out, gen_model *m, const gen_generate_params *params,
                            gen_error *err)
{
    gen_error unused;
    if (!err)
        err = &unused;
    gen_memory_plan plan;
    speeds speed = {INFINITY, INFINITY}; /* stay so where not even the test fits into the limit */
    GEN_TRY(gen_plan_picture(&plan, m, params, err));
    const gen_status status = measure_speeds(&speed, m->context->backend, err);
    if (status && status != GEN_ERROR_MEMORY)
        return status;
    *out = plan.estimate;
    for (int i = 0; i < 3; i++) {
        const double attention = plan.attention_flops[i];
        out->phases[i].seconds =
            (out->phases[i].flops - attention) / speed.products + attention / speed.attention;
        out->seconds += out->phases[i].seconds;
    }
    return GEN_OK;
}
