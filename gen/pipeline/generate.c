/* generate.c - one picture: prompt, noise, steps, decoding. */
#include "gen/pipeline/generate.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "gen/pipeline/clip.h"
#include "gen/pipeline/vision.h"

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Everything that lives for one picture. */
typedef struct job {
    gen_model *model;
    gen_generate_params params; /* resolved */
    const gen_trace *trace;
    gen_sampling sampling;
    size_t n; /* floats in the latents */
    int channels;
    float *x, *noise;     /* [h,w,C], of a clip [f,h,w,C] */
    float *beside;        /* channels beside the latents, or NULL */
    float *first_frame;   /* [h,w,C], or NULL */
    float *image_states;  /* features of the first frame, or NULL */
    gen_frame_fn receive; /* of the frames of a clip */
    void *receive_user;
    float *variance; /* the same, or NULL */
    gen_rng rng;
    gen_channel_noise source;
    gen_schedule *schedule;
    gen_denoise_group group;
    gen_denoiser *guidance, *prediction;
    gen_memory_plan memory;
    double start;
    int steps_done;
    int calls; /* of the denoiser; counted in runs that are traced */
} job;

static void trace_value(const job *j, const char *name, int step, const float *data, size_t n)
{
    if (j->trace && j->trace->value)
        j->trace->value(j->trace->self, name, step, data, n);
}

static gen_status report(const job *j, gen_phase phase, int step, int num_steps, gen_error *err)
{
    const gen_progress p = {phase, step, num_steps, now() - j->start};
    if (j->params.progress && j->params.progress(j->params.progress_user, &p))
        return gen_fail(err, GEN_ERROR_CANCELLED, "stopped");
    return GEN_OK;
}

static gen_status on_failure(void *self, gen_status status, gen_error *err)
{
    job *j = self;
    const gen_network_shape shape = gen_denoise_group_shape(&j->group, j->group.num_conditions);
    GEN_TRY(gen_model_retreat_network(j->model, &shape, status, err));
    if (j->model->fewer_weights)
        j->memory.keeps_weights = false;
    else /* on the CPU the plan counts again */
        j->model->plans.max_weights = j->memory.max_weights;
    return GEN_OK;
}

/* ---- prompts -------------------------------------------------------------------------------- */

static void note_prompt(const gen_model *m, const gen_prompt_states *s, const char *prompt)
{
    for (char **tag = s->tags; tag && *tag; tag++)
        gen_log(m->context, GEN_LOG_WARNING, "prompt: %s has no effect: adapters are not supported",
                *tag);
    if (s->num_cut)
        gen_log(m->context, GEN_LOG_WARNING,
                "prompt: its last %d tokens have no effect: the text encoder takes %d", s->num_cut,
                s->max_tokens - 1);
    const char *note = m->world ? gen_world_note(m->world, prompt) : NULL;
    if (note)
        gen_log(m->context, GEN_LOG_NOTE, "%s", note);
}

gen_prompt_request gen_prompt_request_of(const gen_generate_params *p, const gen_sampling *s)
{
    return (gen_prompt_request){.prompt = p->prompt,
                                .negative = p->negative_prompt,
                                .is_guided = s->is_guided,
                                .clip_skip = p->clip_skip};
}

gen_status gen_model_count_tokens(int64_t *num_tokens, gen_model *m, const gen_generate_params *p,
                                  const gen_sampling *s, gen_error *err)
{
    const gen_prompt_request request = gen_prompt_request_of(p, s);
    *num_tokens = 0;
    return m->text_class ? m->text_class->count(num_tokens, m->text, &request, err) : GEN_OK;
}

static gen_status check_prompt(const gen_prompt_states *s, gen_error *err)
{
    static const char what[] = "text encoder";
    for (int i = 0; i < 2; i++) {
        if (s->states[i])
            GEN_TRY(gen_check_finite(s->states[i], (size_t)(s->num_tokens * s->dim), what, err));
        if (s->pooled[i])
            GEN_TRY(gen_check_finite(s->pooled[i], (size_t)s->pooled_dim, what, err));
    }
    return GEN_OK;
}

gen_status gen_model_prompt(const gen_prompt_states **out, gen_model *m,
                            const gen_generate_params *p, const gen_sampling *sampling,
                            gen_error *err)
{
    const char *prompt = p->prompt ? p->prompt : "", *negative = p->negative_prompt;
    char *key = gen_asprintf("%d|%d|%zu|%s|%d|%s", p->clip_skip, sampling->is_guided,
                             strlen(prompt), prompt, negative != NULL, negative ? negative : "");
    if (!key)
        return gen_no_memory(err, "prompt", strlen(prompt));
    if (!m->prompt || strcmp(key, m->prompt_key) != 0) {
        gen_prompt_states *s;
        const gen_prompt_request request = gen_prompt_request_of(p, sampling);
        gen_status status = m->text_class->encode(&s, m->text, &request, err);
        if (!status && (status = check_prompt(s, err)))
            gen_prompt_states_free(s);
        if (status) {
            gen_free(key);
            return status;
        }
        note_prompt(m, s, prompt);
        gen_prompt_states_free(m->prompt);
        gen_free(m->prompt_key);
        m->prompt = s;
        m->prompt_key = key;
    } else {
        gen_free(key);
    }
    *out = m->prompt;
    return GEN_OK;
}

/* ---- latents -------------------------------------------------------------------------------- */

/* The start picture as pixels in [-1,1]; it must have the size of the result. */
static gen_status init_pixels(const job *j, float **out, gen_error *err)
{
    const gen_image *image = j->params.init_image;
    const size_t w = (size_t)j->params.width, h = (size_t)j->params.height;
    float *pixels = gen_malloc(w * h * 3 * sizeof *pixels);
    if (!pixels)
        return gen_no_memory(err, "start picture", w * h * 3 * sizeof *pixels);
    if (j->trace && j->trace->init_pixels) {
        memcpy(pixels, j->trace->init_pixels, w * h * 3 * sizeof *pixels);
    } else if (image->width != (int)w || image->height != (int)h) {
        gen_free(pixels);
        return gen_fail(err, GEN_ERROR_ARGUMENT, "the start picture is %dx%d, expected %zux%zu",
                        image->width, image->height, w, h);
    } else {
        const bool is_gray = image->channels < 3;
        for (size_t y = 0; y < h; y++)
            for (size_t x = 0; x < w; x++)
                for (size_t c = 0; c < 3; c++) {
                    const unsigned char v =
                        image->data[y * image->stride + x * (size_t)image->channels +
                                    (is_gray ? 0 : c)];
                    pixels[(y * w + x) * 3 + c] = (float)v / 127.5f - 1.0f;
                }
    }
    *out = pixels;
    return GEN_OK;
}

/* The first noise, drawn into noise [h,w,C] already, as variations and other sizes make it. */
static gen_status shape_noise(const job *j, float *noise, gen_error *err)
{
    return gen_noise_start(noise, &j->sampling, &j->params, j->channels, err);
}

static gen_status encode_once(const job *j, const float *pixels, const float *noise, gen_error *err)
{
    GEN_TRY(gen_vae_encode(j->model->vae, pixels, 1, j->params.height, j->params.width, noise, j->x,
                           err));
    return gen_check_finite(j->x, j->n, "encoder", err);
}

static gen_status encode_pixels(const job *j, const float *pixels, const float *noise,
                                gen_error *err)
{
    gen_status status;
    GEN_WITH_RETREAT(status, j->model, GEN_WORK_OTHER, encode_once(j, pixels, noise, err), err);
    return status;
}

/* Image to image: the latents of the start picture, noised to the first step that is left. */
static gen_status start_from_image(job *j, gen_error *err)
{
    const gen_noise_source source = gen_channel_noise_source(&j->source);
    float *pixels = NULL;
    gen_status status = gen_schedule_cut(j->schedule, j->params.strength, err);
    if (status || (status = init_pixels(j, &pixels, err)))
        return status;
    /* The posterior of the encoder is sampled first, then the noise is drawn, from one stream. */
    if ((status = source.draw(source.self, j->noise, j->n, err)))
        goto done;
    trace_value(j, "encoder_noise", 0, j->noise, j->n);
    if ((status = encode_pixels(j, pixels, j->noise, err)) ||
        (status = source.draw(source.self, j->noise, j->n, err)) ||
        (status = shape_noise(j, j->noise, err)))
        goto done;
    trace_value(j, "init_noise", 0, j->noise, j->n);
    if (!j->schedule->rises) /* an inversion starts at the picture itself */
        gen_schedule_add_noise(j->schedule, 0, j->x, j->noise, j->x, j->n);
    trace_value(j, "start_latents", 0, j->x, j->n);
done:
    gen_free(pixels);
    return status;
}

/* A network with channels beside the latents of a bridge sees the source there in every step. */
static gen_status show_source(job *j, gen_error *err)
{
    const int beside = j->model->network.traits.in_channels - j->channels;
    if (beside == 0)
        return GEN_OK;
    if (beside != j->channels)
        return gen_fail(err, GEN_ERROR_MODEL,
                        "%s: a bridge with %d channels beside its latents, expected 0 or %d",
                        j->model->path, beside, j->channels);
    if (!(j->beside = gen_malloc(j->n * sizeof *j->beside)))
        return gen_no_memory(err, "latents", j->n * sizeof *j->beside);
    memcpy(j->beside, j->x, j->n * sizeof *j->beside);
    return GEN_OK;
}

/* A bridge: the latents of what is to be changed. */
static gen_status start_from_source(job *j, gen_error *err)
{
    const gen_generate_params *p = &j->params;
    const gen_clip_frames frames = {p->source, p->num_source, p->num_frames, p->width, p->height};
    gen_status status = GEN_OK;
    if (j->sampling.num_frames) {
        status = gen_clip_encode(j->model, &frames, j->memory.clip_tile, j->x, err);
    } else {
        const size_t n = (size_t)p->width * (size_t)p->height * 3;
        float *pixels = gen_malloc(n * sizeof *pixels);
        if (!pixels)
            return gen_no_memory(err, "picture", n * sizeof *pixels);
        gen_clip_pixels(pixels, p->source[0]);
        status = encode_pixels(j, pixels, NULL, err);
        gen_free(pixels);
    }
    trace_value(j, "start_latents", 0, j->x, j->n);
    return status ? status : show_source(j, err);
}

/* A clip that begins with a picture.  Networks that take it as their first latents get them; those
 * with channels beside the latents get there, for each frame, whether its pixels are known and the
 * latents of the picture followed by grey. */
static gen_status encode_first_frame(job *j, gen_error *err)
{
    const gen_network_traits *t = &j->model->network.traits;
    const gen_generate_params *p = &j->params;
    const size_t area = (size_t)(j->sampling.height * j->sampling.width), C = (size_t)j->channels;
    const size_t frames = (size_t)j->sampling.num_frames;
    const size_t extra = (size_t)t->in_channels - C;
    if (t->image_dim)
        GEN_TRY(gen_model_look_at(&j->image_states, j->model, p->first_frame, err));
    gen_clip_frames given = {&p->first_frame, 1, p->num_frames, p->width, p->height};
    if (t->takes_first_frame) {
        if (!(j->first_frame = gen_malloc(area * C * sizeof(float))))
            return gen_no_memory(err, "frames", area * C * sizeof(float));
        given.num_frames = 1;
        return gen_clip_encode(j->model, &given, j->memory.clip_tile, j->first_frame, err);
    }
    if (extra < C)
        return gen_fail(err, GEN_ERROR_MODEL,
                        "%s: %d channels beside the latents, expected at least %d", j->model->path,
                        (int)extra, (int)C);
    float *latents = gen_malloc(j->n * sizeof *latents);
    j->beside = gen_calloc(frames * area * extra, sizeof *j->beside);
    gen_status status = latents && j->beside
                            ? gen_clip_encode(j->model, &given, j->memory.clip_tile, latents, err)
                            : gen_no_memory(err, "frames", j->n * sizeof *latents);
    for (size_t i = 0; i < frames * area && !status; i++) {
        for (size_t c = 0; c < extra - C; c++)
            j->beside[i * extra + c] = i < area ? 1.0f : 0.0f;
        memcpy(j->beside + i * extra + extra - C, latents + i * C, C * sizeof *latents);
    }
    gen_free(latents);
    return status;
}

static gen_status start_from_noise(job *j, gen_error *err)
{
    const gen_noise_source source = gen_channel_noise_source(&j->source);
    GEN_TRY(source.draw(source.self, j->x, j->n, err));
    GEN_TRY(shape_noise(j, j->x, err));
    trace_value(j, "init_noise", 0, j->x, j->n);
    for (size_t i = 0; i < j->n; i++)
        j->x[i] *= (float)j->schedule->init_scale;
    return GEN_OK;
}

static gen_status prepare_latents(job *j, gen_error *err)
{
    const gen_generate_params *p = &j->params;
    j->channels = gen_network_latent_channels(&j->model->network.traits);
    j->n = (size_t)(j->sampling.height * j->sampling.width) * (size_t)j->channels;
    if (j->sampling.num_frames)
        j->n *= (size_t)j->sampling.num_frames;
    j->x = gen_malloc(j->n * sizeof *j->x);
    j->noise = gen_malloc(j->n * sizeof *j->noise);
    if (j->model->network.traits.variance_channels == j->channels)
        j->variance = gen_calloc(j->n, sizeof *j->variance);
    if (!j->x || !j->noise ||
        (!j->variance && j->model->network.traits.variance_channels == j->channels))
        return gen_no_memory(err, "latents", j->n * sizeof *j->x);
    gen_rng_init(&j->rng, j->sampling.rng, p->seed);
    j->rng.cuda_threads = j->sampling.cuda_threads;
    GEN_TRY(gen_channel_noise_init(&j->source, &j->rng, j->channels, j->n, err));
    GEN_TRY(gen_sampling_schedule(&j->schedule, &j->sampling, p, err));
    if (p->num_source)
        return start_from_source(j, err);
    if (p->init_image || (j->trace && j->trace->init_pixels))
        GEN_TRY(start_from_image(j, err));
    else
        GEN_TRY(start_from_noise(j, err));
    if (p->first_frame)
        GEN_TRY(encode_first_frame(j, err));
    if (p->noise_seed_delta) {
        gen_rng_init(&j->rng, j->sampling.rng, p->seed + (uint64_t)p->noise_seed_delta);
        j->rng.cuda_threads = j->sampling.cuda_threads;
    }
    return GEN_OK;
}

/* ---- steps ---------------------------------------------------------------------------------- */

static gen_status poll(void *self, gen_error *err)
{
    const job *j = self;
    return report(j, GEN_PHASE_STEP, j->steps_done, j->schedule->num_steps, err);
}

/* The outermost denoiser of a run that is traced: what a call is given, the one before has made. */
static gen_status traced_denoise(void *self, const float *x, const gen_point *at, float *out,
                                 gen_error *err)
{
    job *j = self;
    const gen_denoiser *inner = j->prediction ? j->prediction : j->guidance;
    if (j->calls > 0)
        trace_value(j, "latents", j->calls - 1, x, j->n);
    if (j->trace->timestep)
        j->trace->timestep(j->trace->self, j->calls, at->time);
    j->calls++;
    return inner->denoise(inner->self, x, at, out, err);
}

static gen_status on_step(void *self, const gen_step_report *r, gen_error *err)
{
    job *j = self;
    j->steps_done = r->step + 1;
    return report(j, GEN_PHASE_STEP, j->steps_done, r->num_steps, err);
}

static gen_status make_denoiser(job *j, const gen_prompt_states *prompt, gen_error *err)
{
    gen_denoise_group *g = &j->group;
    g->network = &j->model->network;
    g->plans = &j->model->plans;
    g->height = j->sampling.height;
    g->width = j->sampling.width;
    g->num_frames = j->sampling.num_frames;
    g->beside = j->beside;
    g->first_frame = j->first_frame;
    g->image_states = j->image_states;
    g->num_image_tokens = gen_model_num_image_tokens(j->model);
    g->num_conditions = j->sampling.is_guided ? 2 : 1;
    g->guidance_scale = j->params.guidance_scale;
    g->poll = poll;
    g->poll_self = j;
    g->on_failure = on_failure;
    g->on_failure_self = j;
    if (prompt) {
        g->num_tokens = prompt->num_tokens;
        for (int i = 0; i < g->num_conditions; i++)
            g->conditions[i] = (gen_condition){
                .states = prompt->states[i], .mask = prompt->mask[i], .pooled = prompt->pooled[i]};
    }
    g->conditions[0].class_label = j->sampling.class_label;
    g->conditions[1].class_label = g->network->traits.null_class;
    g->variance = j->variance;
    for (int i = 0; i < g->num_conditions && g->network->cls->fill_time_ids; i++)
        g->network->cls->fill_time_ids(g->network->config, j->params.width, j->params.height, i > 0,
                                       g->conditions[i].time_ids);
    GEN_TRY(gen_denoise_group_init(g, err));
    const gen_denoiser *branches[GEN_MAX_BRANCHES] = {
        &g->members[0], j->sampling.is_guided ? &g->members[1] : NULL, NULL};
    if (!j->sampling.is_guided) /* one branch, whatever the scale */
        return gen_prediction_of(&j->prediction, branches[0], &j->sampling.config, err);
    g->gives_x0 = j->sampling.guidance_takes_x0;
    g->config = &j->sampling.config;
    GEN_TRY(gen_guidance_new(&j->guidance, &j->sampling.guidance, branches, err));
    if (g->gives_x0)
        return GEN_OK;
    return gen_prediction_of(&j->prediction, j->guidance, &j->sampling.config, err);
}

static gen_status run_steps(job *j, gen_error *err)
{
    const gen_denoiser *inner = j->prediction ? j->prediction : j->guidance;
    const gen_denoiser traced = {.self = j, .n = inner->n, .denoise = traced_denoise};
    const gen_solve_params solve = {
        .denoiser = j->trace ? &traced : inner,
        .schedule = j->schedule,
        .config = &j->sampling.config,
        .noise = gen_channel_noise_source(&j->source),
        .variance = j->variance,
        .on_step = on_step,
        .on_step_self = j,
    };
    GEN_TRY(gen_solve(j->sampling.sampler, &solve, j->x, err));
    if (j->first_frame)
        memcpy(j->x, j->first_frame,
               j->n / (size_t)j->sampling.num_frames * sizeof *j->first_frame);
    trace_value(j, "latents", j->calls - 1, j->x, j->n);
    return GEN_OK;
}

/* ---- decoding ------------------------------------------------------------------------------- */

bool gen_pixels_to_bytes(unsigned char *out, const float *pixels, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const float v = pixels[i] * 127.5f + 127.5f;
        if (!isfinite(v))
            return false;
        out[i] = v <= 0 ? 0 : v >= 255 ? 255 : (unsigned char)lrintf(v);
    }
    return true;
}

enum { NARROWEST_BAND = 128 }; /* rows, where a device refuses memory */

/* A picture being decoded. */
typedef struct decoding {
    const job *job;
    float *pixels;
    gen_image *image;
} decoding;

static gen_status decode_pixels(void *self, int64_t band_rows, gen_error *err)
{
    const decoding *d = self;
    const job *j = d->job;
    gen_image *image = d->image;
    const size_t width = (size_t)image->width * 3;
    GEN_TRY(gen_vae_decode(j->model->vae, j->x, 1, j->sampling.height, j->sampling.width, band_rows,
                           d->pixels, err));
    for (int y = 0; y < image->height; y++)
        if (!gen_pixels_to_bytes(image->data + (size_t)y * image->stride,
                                 d->pixels + (size_t)y * width, width))
            return gen_fail(err, GEN_ERROR_INTERNAL, "decoder: a pixel in row %d is not finite", y);
    return GEN_OK;
}

static void release_decoder(void *self)
{
    gen_vae_release(((const decoding *)self)->job->model->vae);
}

static void name_bands(char *out, size_t size, int64_t rows)
{
    snprintf(out, size, "bands of %d rows", (int)rows);
}

static gen_status decode_somehow(const job *j, float *pixels, gen_image *image, gen_error *err)
{
    decoding d = {j, pixels, image};
    const gen_pieces bands = {.self = &d,
                              .call = decode_pixels,
                              .release = release_decoder,
                              .name = name_bands,
                              .planned = j->memory.band_rows,
                              .whole = image->height,
                              .narrowest = NARROWEST_BAND};
    return gen_model_retreat_in_pieces(j->model, &bands, err);
}

static gen_status decode(job *j, gen_image **out, gen_error *err)
{
    const int w = j->params.width, h = j->params.height;
    const size_t n = (size_t)w * (size_t)h * 3;
    gen_image *image = NULL;
    float *pixels = gen_malloc(n * sizeof *pixels);
    gen_status status = GEN_OK;
    if (!pixels) {
        status = gen_no_memory(err, "picture", n * sizeof *pixels);
        goto done;
    }
    if ((status = gen_image_new(&image, w, h, 3, err)) ||
        (status = decode_somehow(j, pixels, image, err)))
        goto done;
    trace_value(j, "pixels", 0, pixels, n);
    *out = image;
    image = NULL;
done:
    gen_image_free(image);
    gen_free(pixels);
    return status;
}

/* ---- all of it ------------------------------------------------------------------------------ */

static void clear(job *j)
{
    gen_denoiser_free(j->prediction);
    gen_denoiser_free(j->guidance);
    gen_denoise_group_clear(&j->group);
    gen_schedule_free(j->schedule);
    gen_channel_noise_clear(&j->source);
    gen_free(j->x);
    gen_free(j->noise);
    gen_free(j->variance);
    gen_free(j->beside);
    gen_free(j->first_frame);
    gen_free(j->image_states);
}

static void drop_network(gen_model *m)
{
    gen_plan_cache_clear(&m->plans);
    gen_weights_drop_prepared(m->network.weights.weights, m->network.backend);
}

/* Gives back what earlier pictures left, where this one has no room for it. */
static void make_room(job *j)
{
    gen_model *m = j->model;
    size_t max = j->memory.max_weights;
    if (m->fewer_weights && (!max || m->fewer_weights < max)) {
        max = m->fewer_weights;
        j->memory.keeps_weights = false;
    }
    if (!j->memory.keeps_weights || m->plans.max_weights != max)
        drop_network(m);
    m->plans.max_weights = max;
    if (j->memory.keeps_weights)
        return;
    gen_vae_release(m->vae);
    if (m->clip_vae)
        gen_clip_vae_release(m->clip_vae);
    if (m->text_class)
        m->text_class->release(m->text);
}

/* Decides how the picture fits into memory, before any work. */
static gen_status plan_memory(job *j, gen_error *err)
{
    gen_model *m = j->model;
    int64_t num_tokens = 0;
    GEN_TRY(gen_model_count_tokens(&num_tokens, m, &j->params, &j->sampling, err));
    gen_status status;
    GEN_WITH_RETREAT(status, m, GEN_WORK_OTHER,
                     gen_plan_memory(&j->memory, m, &j->sampling, &j->params, num_tokens, err),
                     err);
    if (status)
        return status;
    make_room(j);
    if (j->memory.max_weights)
        gen_log(m->context, GEN_LOG_NOTE,
                "reading weights from the file in every step to stay within %.2f GiB of memory",
                (double)m->context->mem_limit / 0x1p30);
    if (j->memory.band_rows)
        gen_log(m->context, GEN_LOG_NOTE, "decoding in %d bands to stay within %.2f GiB of memory",
                j->memory.estimate.phases[2].num_tiles, (double)m->context->mem_limit / 0x1p30);
    return GEN_OK;
}

/* Takes the working memory of all phases before the first of them. */
static gen_status reserve_once(const job *j, gen_error *err)
{
    gen_backend *b = j->model->network.backend;
    if (!b->fns->reserve)
        return GEN_OK;
    return b->fns->reserve(b, j->memory.arena, j->memory.scratch, err);
}

static gen_status reserve(job *j, gen_error *err)
{
    gen_status status;
    GEN_WITH_RETREAT(status, j->model, GEN_WORK_OTHER, reserve_once(j, err), err);
    return status;
}

static gen_status encode_prompt(job *j, const gen_prompt_states **prompt, gen_error *err)
{
    GEN_TRY(report(j, GEN_PHASE_ENCODE, 0, 1, err));
    gen_model *m = j->model;
    if (!m->text_class)
        return GEN_OK;
    gen_status status;
    GEN_WITH_RETREAT(status, m, GEN_WORK_OTHER,
                     gen_model_prompt(prompt, m, &j->params, &j->sampling, err), err);
    if (status)
        return status;
    const size_t n = (size_t)((*prompt)->num_tokens * (*prompt)->dim);
    trace_value(j, "prompt_embeds", 0, (*prompt)->states[0], n);
    if ((*prompt)->states[1])
        trace_value(j, "negative_embeds", 0, (*prompt)->states[1], n);
    if (!j->memory.keeps_weights || m->text_class->is_transient)
        m->text_class->release(m->text);
    return GEN_OK;
}

static gen_status prepare_pieces(void *self, int64_t size, gen_error *err)
{
    job *j = self;
    const gen_sampling *s = &j->sampling;
    gen_model *m = j->model;
    *(s->num_frames ? &j->memory.clip_tile : &j->memory.band_rows) = size;
    if (!m->network.backend->fns->reserve)
        return GEN_OK;
    if (s->num_frames)
        return gen_clip_vae_prepare_decode(m->clip_vae, s->num_frames, s->height, s->width, size,
                                           err);
    return size ? GEN_OK : gen_vae_prepare_decode(m->vae, s->height, s->width, err);
}

static void release_prepared(void *self)
{
    const gen_model *m = ((const job *)self)->model;
    gen_vae_release(m->vae);
    if (m->clip_vae)
        gen_clip_vae_release(m->clip_vae);
}

/* On a device of its own memory the decoder's weights are there before the first step, so that it
 * cannot refuse them after the last; where the plan keeps all weights. */
static gen_status prepare_decoder(job *j, gen_error *err)
{
    const gen_sampling *s = &j->sampling;
    gen_pieces pieces = {.self = j,
                         .call = prepare_pieces,
                         .release = release_prepared,
                         .name = name_bands,
                         .planned = j->memory.band_rows,
                         .whole = j->params.height,
                         .narrowest = NARROWEST_BAND};
    if (s->num_frames) {
        pieces.name = gen_clip_name_tiles;
        pieces.planned = j->memory.clip_tile;
        pieces.whole = s->height > s->width ? s->height : s->width;
        pieces.narrowest = GEN_NARROWEST_TILE;
    }
    if (!j->model->network.backend->fns->reserve || !j->memory.keeps_weights)
        return GEN_OK;
    return gen_model_retreat_in_pieces(j->model, &pieces, err);
}

static gen_status run(job *j, gen_image **out, gen_generate_stats *stats, gen_error *err)
{
    gen_model *m = j->model;
    const gen_prompt_states *prompt = NULL;
    gen_plan *plan;
    double t = now();
    GEN_TRY(plan_memory(j, err));
    GEN_TRY(reserve(j, err));
    GEN_TRY(encode_prompt(j, &prompt, err));
    stats->encode_seconds = now() - t;
    GEN_TRY(prepare_latents(j, err));
    GEN_TRY(make_denoiser(j, prompt, err));
    t = now();
    GEN_TRY(report(j, GEN_PHASE_LOAD, 0, 1, err));
    const gen_network_shape shape = gen_denoise_group_shape(&j->group, j->group.num_conditions);
    gen_status status;
    do
        status = gen_network_plan(&plan, &m->plans, &m->network, &shape, err);
    while (status && !on_failure(j, status, err));
    if (status)
        return status;
    GEN_TRY(prepare_decoder(j, err));
    stats->load_seconds = now() - t;
    t = now();
    stats->num_steps = j->schedule->num_steps;
    GEN_TRY(report(j, GEN_PHASE_STEP, 0, stats->num_steps, err));
    GEN_TRY(run_steps(j, err));
    stats->step_seconds = (now() - t) / (stats->num_steps ? stats->num_steps : 1);
    if (!j->memory.keeps_weights)
        drop_network(m);
    t = now();
    GEN_TRY(report(j, GEN_PHASE_DECODE, 0, 1, err));
    if (j->sampling.num_frames)
        GEN_TRY(gen_clip_decode(m, j->x, j->sampling.num_frames, j->sampling.height,
                                j->sampling.width, j->memory.clip_tile, j->receive, j->receive_user,
                                err));
    else
        GEN_TRY(decode(j, out, err));
    stats->decode_seconds = now() - t;
    if (!j->memory.keeps_weights)
        gen_vae_release(m->vae);
    if (!j->memory.keeps_weights && m->clip_vae)
        gen_clip_vae_release(m->clip_vae);
    return GEN_OK;
}

/* Takes the first frame of a clip as the picture. */
static gen_status keep_frame(void *user, const gen_image *frame, int index, int num_frames,
                             gen_error *err)
{
    gen_image **out = user;
    (void)num_frames;
    if (index > 0)
        return GEN_OK;
    GEN_TRY(gen_image_new(out, frame->width, frame->height, frame->channels, err));
    for (int y = 0; y < frame->height; y++)
        memcpy((*out)->data + (size_t)y * (*out)->stride, frame->data + (size_t)y * frame->stride,
               (size_t)frame->width * (size_t)frame->channels);
    return GEN_OK;
}

/* Of a clip the frames go to `receive`, a picture goes to *out. */
static gen_status generate(gen_image **out, job *j, const gen_generate_params *params,
                           gen_generate_stats *stats, gen_error *err)
{
    gen_generate_stats unused;
    const size_t size = params->struct_size;
    memcpy(&j->params, params, size < sizeof j->params ? size : sizeof j->params);
    if (!j->receive) {
        j->receive = keep_frame;
        j->receive_user = out;
        if (!j->params.num_frames)
            j->params.num_frames = 1;
    }
    GEN_TRY(gen_sampling_resolve(&j->sampling, &j->params, j->model, err));
    *(stats ? stats : &unused) = (gen_generate_stats){0};
    const gen_status status = run(j, out, stats ? stats : &unused, err);
    clear(j);
    return status;
}

gen_status gen_generate_traced(gen_image **out, gen_model *model, const gen_generate_params *params,
                               const gen_trace *trace, gen_generate_stats *stats, gen_error *err)
{
    job j = {.model = model, .trace = trace, .start = now()};
    return generate(out, &j, params, stats, err);
}

gen_status gen_generate_clip(gen_model *model, const gen_generate_params *params,
                             gen_frame_fn receive, void *user, gen_generate_stats *stats,
                             gen_error *err)
{
    gen_error unused;
    if (!err)
        err = &unused;
    job j = {.model = model, .start = now(), .receive = receive, .receive_user = user};
    gen_image *picture = NULL;
    gen_status status = generate(&picture, &j, params, stats, err);
    if (!status && picture)
        status = receive(user, picture, 0, 1, err);
    gen_image_free(picture);
    return status;
}

gen_status gen_generate(gen_image **out, gen_model *model, const gen_generate_params *params,
                        gen_generate_stats *stats, gen_error *err)
{
    gen_error unused;
    if (!err)
        err = &unused;
    return gen_generate_traced(out, model, params, NULL, stats, err);
}
