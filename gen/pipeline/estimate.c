/* estimate.c - what a picture will need, from dry plans. */
#include "gen/pipeline/generate.h"

#include <math.h>
#include <string.h>
#include <time.h>

#include "gen/core/nn.h"

/* ---- speed of this machine ------------------------------------------------------------------ */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A plan of one matrix product, y [M,N] = x [M,K] W^T with W all ones / K. */
static gen_status product_plan(gen_plan **out, gen_weights *weights, gen_backend *backend,
                               int64_t M, int64_t N, int64_t K, gen_error *err)
{
    gen_graph *g;
    const size_t n = (size_t)(N * K);
    float *w = gen_malloc(n * sizeof *w);
    if (!w)
        return gen_no_memory(err, "speed test", n * sizeof *w);
    for (size_t i = 0; i < n; i++)
        w[i] = 1.0f / (float)K;
    GEN_TRY(gen_weights_add(weights, "weight", "", "", GEN_F32, 2, (int64_t[]){N, K}, w,
                            n * sizeof *w, true, err));
    GEN_TRY(gen_graph_new(&g, err));
    gen_tensor *x = gen_input(g, "x", GEN_F32, 2, (int64_t[]){M, K});
    gen_output(g, gen_project(g, gen_scope_root(weights), x), "y");
    return gen_plan_new(out, g, backend, 0, err);
}

/* FLOP per second of a matrix product on the backend: the best of a few short runs. */
static gen_status measure_speed(double *out, gen_backend *backend, gen_error *err)
{
    enum { M = 768, N = 768, K = 768, RUNS = 5 };
    gen_weights *weights = NULL;
    gen_plan *plan = NULL;
    float *x = gen_calloc((size_t)M * K, sizeof *x);
    double best = INFINITY;
    gen_status status = x ? GEN_OK : gen_no_memory(err, "speed test", (size_t)M * K * sizeof *x);
    if (status || (status = gen_weights_new(&weights, err)) ||
        (status = product_plan(&plan, weights, backend, M, N, K, err)))
        goto done;
    for (int i = 0; i < RUNS && !status; i++) {
        if ((status = gen_plan_set(plan, "x", x, err)))
            break;
        const double t = now();
        status = gen_plan_run(plan, err);
        if (now() - t < best)
            best = now() - t;
    }
    *out = 2.0 * M * N * K / best;
done:
    gen_plan_free(plan);
    if (weights)
        gen_weights_drop_prepared(weights, backend);
    gen_weights_free(weights);
    gen_free(x);
    return status;
}

/* ---- phases --------------------------------------------------------------------------------- */

static void add_plan(gen_estimate_phase *phase, const gen_plan_stats *s, double runs)
{
    phase->weight_bytes += s->weights - s->transformed;
    phase->transformed_bytes += s->transformed;
    if (s->arena > phase->activation_bytes)
        phase->activation_bytes = s->arena;
    if (s->scratch > phase->scratch_bytes)
        phase->scratch_bytes = s->scratch;
    phase->flops += runs * s->flops;
}

static gen_status estimate_encode(gen_estimate_phase *phase, gen_model *m,
                                  const gen_generate_params *p, gen_error *err)
{
    const gen_prompt_request request = {
        .prompt = p->prompt, .negative = p->negative_prompt, .clip_skip = p->clip_skip};
    phase->name = "encode";
    for (int i = 0;; i++) {
        gen_plan_stats s;
        double runs;
        GEN_TRY(m->text_class->measure(m->text, i, &request, &s, &runs, err));
        if (runs == 0)
            return GEN_OK;
        add_plan(phase, &s, runs);
    }
}

static gen_status estimate_denoise(gen_estimate_phase *phase, gen_model *m, const gen_sampling *s,
                                   const gen_generate_params *p, int64_t num_tokens, gen_error *err)
{
    const gen_network_shape shape = {.batch = s->is_guided ? 2 : 1,
                                     .height = s->height,
                                     .width = s->width,
                                     .num_tokens = num_tokens,
                                     .num_frames = s->num_frames};
    gen_plan *plan;
    int num_calls;
    phase->name = "denoise";
    GEN_TRY(gen_sampling_count_calls(&num_calls, s, p, err));
    GEN_TRY(gen_network_dry_plan(&plan, &m->network, &shape, err));
    add_plan(phase, gen_plan_get_stats(plan), num_calls);
    gen_plan_free(plan);
    return GEN_OK;
}

/* A clip is decoded (and what it starts from encoded) in whole frames, or in the largest tiles that
 * fit. */
static gen_status estimate_clip(gen_estimate_phase *phase, int64_t *tile, gen_model *m,
                                const gen_sampling *s, const gen_generate_params *p,
                                uint64_t resident, gen_error *err)
{
    static const int64_t tiles[] = {0, 64, 48, 32, 24, 16};
    const uint64_t limit = m->context->mem_limit;
    phase->name = "decode";
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
        phase->weight_bytes = needs.weights - needs.transformed + encoder.weights;
        phase->transformed_bytes = needs.transformed;
        phase->activation_bytes = (needs.arena > encoder.arena ? needs.arena : encoder.arena) +
                                  (needs.host > encoder.host ? needs.host : encoder.host);
        phase->scratch_bytes = needs.scratch > encoder.scratch ? needs.scratch : encoder.scratch;
        phase->flops = needs.flops + encoder.flops;
        phase->num_tiles = 1;
        if (tiles[i])
            phase->num_tiles = (int)(((s->height + tiles[i] - 1) / tiles[i]) *
                                     ((s->width + tiles[i] - 1) / tiles[i]));
        if (resident + phase->activation_bytes + phase->scratch_bytes <= limit)
            break;
    }
    return GEN_OK;
}

/* `resident`: bytes of what stays in memory beside the decoder, and of activations and scratch
 * those of `before`, for they never shrink.  Where not even the narrowest bands fit, MEMORY, and
 * the phase tells what these would need. */
static gen_status estimate_decode(gen_estimate_phase *phase, int64_t *band_rows, gen_model *m,
                                  const gen_sampling *s, const gen_generate_params *p,
                                  uint64_t resident, const gen_estimate_phase *before,
                                  gen_error *err)
{
    const uint64_t picture = (uint64_t)p->width * (uint64_t)p->height * (3 * sizeof(float) + 3);
    const uint64_t limit = m->context->mem_limit;
    const gen_vae_needs held = {.arena = before->activation_bytes,
                                .scratch = before->scratch_bytes};
    gen_vae_needs needs = {0};
    phase->name = "decode";
    resident += picture;
    const size_t left = limit > resident ? (size_t)(limit - resident) : 1;
    const gen_status status =
        gen_vae_choose_bands(m->vae, s->height, s->width, &held, left, band_rows, &needs, err);
    if (status && status != GEN_ERROR_MEMORY)
        return status;
    phase->weight_bytes = needs.weights - needs.transformed;
    phase->transformed_bytes = needs.transformed;
    phase->activation_bytes = needs.arena + needs.host + picture;
    phase->scratch_bytes = needs.scratch;
    phase->flops = needs.flops;
    phase->num_tiles = *band_rows ? (int)((p->height + *band_rows - 1) / *band_rows) : 1;
    return status;
}

static uint64_t weights_of(const gen_estimate_phase *p)
{
    return p->weight_bytes + p->transformed_bytes;
}

/* The program itself: code, libraries, vocabulary, headers of the files (measured). */
enum { PROGRAM_BYTES = 12 << 20 };

/* The arena and the working memory never shrink.  Weights stay from phase to phase, unless memory
 * is so short that each phase gives its own back; a large encoder always does. */
static void add_peaks(gen_estimate *e, bool keeps_weights, bool keeps_encoder)
{
    uint64_t weights = 0, activations = 0, scratch = 0;
    e->peak_bytes = 0;
    for (int i = 0; i < 3; i++) {
        gen_estimate_phase *p = &e->phases[i];
        weights = weights_of(p) + (keeps_weights && (i != 1 || keeps_encoder) ? weights : 0);
        if (p->activation_bytes > activations)
            activations = p->activation_bytes;
        if (p->scratch_bytes > scratch)
            scratch = p->scratch_bytes;
        p->peak_bytes = PROGRAM_BYTES + weights + activations + scratch;
        if (p->num_tiles == 0)
            p->num_tiles = 1;
        if (p->peak_bytes > e->peak_bytes)
            e->peak_bytes = p->peak_bytes;
    }
}

static gen_status too_large(const gen_estimate *e, const gen_generate_params *p, gen_error *err)
{
    const bool is_large = e->peak_bytes >= 0x1p30;
    const double size = is_large ? 0x1p30 : 0x1p20;
    const char *unit = is_large ? "GiB" : "MiB";
    gen_fail(err, GEN_ERROR_MEMORY, "%dx%d needs %.1f %s, the limit is %.1f %s", p->width,
             p->height, (double)e->peak_bytes / size, unit, (double)e->mem_limit / size, unit);
    return gen_hint(err, "choose a smaller size, or allow more memory");
}

gen_status gen_plan_memory(gen_memory_plan *out, gen_model *m, const gen_sampling *s,
                           const gen_generate_params *p, int64_t num_tokens, gen_error *err)
{
    gen_estimate *e = &out->estimate;
    *out = (gen_memory_plan){.keeps_weights = true};
    e->mem_limit = m->context->mem_limit;
    if (num_tokens)
        GEN_TRY(estimate_encode(&e->phases[0], m, p, err));
    e->phases[0].name = "encode";
    GEN_TRY(estimate_denoise(&e->phases[1], m, s, p, num_tokens, err));
    /* First everything at once without bands; then weights given back phase by phase. */
    for (int attempt = 0; attempt < 2; attempt++) {
        gen_estimate_phase *decoder = &e->phases[2];
        out->keeps_weights = attempt == 0;
        gen_vae_needs whole = {0};
        if (!s->num_frames)
            GEN_TRY(gen_vae_measure_decode(m->vae, s->height, s->width, 0, &whole, err));
        const uint64_t vae = whole.weights - whole.transformed;
        const bool keeps_encoder = !m->text_class || !m->text_class->is_transient;
        const uint64_t encoder = keeps_encoder ? weights_of(&e->phases[0]) : 0;
        const uint64_t others = out->keeps_weights ? encoder + weights_of(&e->phases[1]) : 0;
        *decoder = (gen_estimate_phase){0};
        const gen_status status =
            s->num_frames
                ? estimate_clip(decoder, &out->clip_tile, m, s, p, PROGRAM_BYTES + others, err)
                : estimate_decode(decoder, &out->band_rows, m, s, p, PROGRAM_BYTES + others + vae,
                                  &e->phases[1], err);
        if (status && status != GEN_ERROR_MEMORY)
            return status;
        add_peaks(e, out->keeps_weights, keeps_encoder);
        if (e->peak_bytes <= e->mem_limit)
            return status; /* not OK: the planning itself has no memory */
    }
    return too_large(e, p, err);
}

gen_status gen_estimate_run(gen_estimate *out, gen_model *m, const gen_generate_params *params,
                            gen_error *err)
{
    gen_error unused;
    if (!err)
        err = &unused;
    gen_generate_params p = {0};
    gen_sampling sampling;
    gen_memory_plan plan;
    double speed = INFINITY; /* stays so where not even the test fits into the limit */
    int64_t num_tokens = 0;
    memcpy(&p, params, params->struct_size < sizeof p ? params->struct_size : sizeof p);
    GEN_TRY(gen_sampling_resolve(&sampling, &p, m, err));
    GEN_TRY(gen_model_count_tokens(&num_tokens, m, &p, err));
    GEN_TRY(gen_plan_memory(&plan, m, &sampling, &p, num_tokens, err));
    const gen_status status = measure_speed(&speed, m->context->backend, err);
    if (status && status != GEN_ERROR_MEMORY)
        return status;
    *out = plan.estimate;
    for (int i = 0; i < 3; i++) {
        out->phases[i].seconds = out->phases[i].flops / speed;
        out->seconds += out->phases[i].seconds;
    }
    return GEN_OK;
}
