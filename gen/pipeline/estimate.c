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
    gen_output(g, gen_linear(g, gen_scope_root(weights), x), "y");
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

static gen_status estimate_encode(gen_estimate_phase *phase, gen_model *m, int chunks,
                                  gen_error *err)
{
    phase->name = "encode";
    for (int i = 0; i < m->text.num_encoders; i++) {
        gen_clip_tokenizer_info info;
        gen_plan_stats s;
        gen_text_options options = m->text.options;
        options.pooled = m->text.has_pooled && i == m->text.num_encoders - 1;
        gen_clip_tokenizer_get_info(m->text.stages[i].tokenizer, &info);
        GEN_TRY(gen_text_encoder_measure(m->text.stages[i].encoder, info.max_length, &options, &s,
                                         err));
        add_plan(phase, &s, 2.0 * chunks);
    }
    return GEN_OK;
}

static gen_status estimate_denoise(gen_estimate_phase *phase, gen_model *m, const gen_sampling *s,
                                   const gen_generate_params *p, int64_t num_tokens, gen_error *err)
{
    const gen_network_shape shape = {s->is_guided ? 2 : 1, s->height, s->width, num_tokens};
    gen_plan *plan;
    phase->name = "denoise";
    GEN_TRY(gen_network_dry_plan(&plan, &m->network, &shape, err));
    double steps = p->num_inference_steps;
    if (p->init_image)
        steps = fmax(1.0, floor(steps * p->strength));
    add_plan(phase, gen_plan_get_stats(plan), steps);
    gen_plan_free(plan);
    return GEN_OK;
}

static gen_status estimate_decode(gen_estimate_phase *phase, gen_model *m, const gen_sampling *s,
                                  const gen_generate_params *p, gen_error *err)
{
    gen_vae_needs needs;
    int64_t rows;
    phase->name = "decode";
    GEN_TRY(gen_choose_decoder_bands(m, s->height, s->width, &rows, &needs, err));
    phase->weight_bytes = needs.weights - needs.transformed;
    phase->transformed_bytes = needs.transformed;
    phase->activation_bytes =
        needs.arena + needs.host + (uint64_t)p->width * (uint64_t)p->height * 3 * sizeof(float);
    phase->scratch_bytes = needs.scratch;
    phase->flops = needs.flops;
    phase->num_tiles = rows ? (int)((s->height + rows - 1) / rows) : 1;
    return GEN_OK;
}

/* Prepared weights stay from phase to phase and the arena never shrinks, so peaks add up. */
static void add_peaks(gen_estimate *e, double flops_per_second)
{
    uint64_t weights = 0, activations = 0, scratch = 0;
    for (int i = 0; i < 3; i++) {
        gen_estimate_phase *p = &e->phases[i];
        weights += p->weight_bytes + p->transformed_bytes;
        if (p->activation_bytes > activations)
            activations = p->activation_bytes;
        if (p->scratch_bytes > scratch)
            scratch = p->scratch_bytes;
        p->peak_bytes = weights + activations + scratch;
        if (!p->num_tiles)
            p->num_tiles = 1;
        p->seconds = p->flops / flops_per_second;
        e->seconds += p->seconds;
        if (p->peak_bytes > e->peak_bytes)
            e->peak_bytes = p->peak_bytes;
    }
}

gen_status gen_estimate_run(gen_estimate *out, gen_model *m, const gen_generate_params *params,
                            gen_error *err)
{
    gen_generate_params p = {0};
    gen_sampling sampling;
    double speed = 1;
    memcpy(&p, params, params->struct_size < sizeof p ? params->struct_size : sizeof p);
    GEN_TRY(gen_sampling_resolve(&sampling, &p, m, err));
    *out = (gen_estimate){.mem_limit = m->context->mem_limit};
    const gen_prompt_states *prompt = NULL;
    int64_t tokens = 0;
    int chunks = 1;
    if (m->network.traits.context_dim) {
        gen_clip_tokenizer_info info;
        GEN_TRY(gen_model_prompt(&prompt, m, &p, err));
        gen_clip_tokenizer_get_info(m->text.stages[0].tokenizer, &info);
        tokens = prompt->num_tokens;
        chunks = (int)(tokens / info.max_length);
    }
    GEN_TRY(estimate_encode(&out->phases[0], m, chunks, err));
    GEN_TRY(estimate_denoise(&out->phases[1], m, &sampling, &p, tokens, err));
    GEN_TRY(estimate_decode(&out->phases[2], m, &sampling, &p, err));
    GEN_TRY(measure_speed(&speed, m->context->backend, err));
    add_peaks(out, speed);
    if (out->peak_bytes > out->mem_limit)
        return gen_fail(err, GEN_ERROR_MEMORY, "%dx%d needs %.2f GiB, the limit is %.2f GiB",
                        p.width, p.height, (double)out->peak_bytes / 0x1p30,
                        (double)out->mem_limit / 0x1p30);
    return GEN_OK;
}
