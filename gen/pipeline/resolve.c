/* resolve.c - from what a caller asked to what will be done: defaults, names, ranges, the grid. */
#include "gen/pipeline/generate.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "gen/pipeline/labels.h"
#include "gen/pipeline/scheduler_json.h"
#include "samplers/names.h"

bool gen_method_at(gen_method *out, gen_method_kind kind, int i)
{
    *out = (gen_method){"", "", "", "", "", "", false};
    if (kind == GEN_METHOD_SAMPLER) {
        const gen_sampler *sampler = gen_sampler_at(i);
        const gen_sampler_info *info = sampler ? gen_sampler_info_of(sampler) : NULL;
        if (info)
            *out = (gen_method){info->name,  info->aliases, info->paper,        "",
                                info->calls, info->purpose, info->is_stochastic};
        return info != NULL;
    }
    if (kind == GEN_METHOD_SCHEDULER) {
        const gen_schedule_info *info = gen_schedule_info_at(i);
        if (info)
            *out =
                (gen_method){info->name, info->aliases, info->paper, "", "", info->purpose, false};
        return info != NULL;
    }
    const gen_guidance_info *info = gen_guidance_kind_at(i);
    if (info)
        *out = (gen_method){info->name, info->aliases, info->paper, info->formula,
                            "",         info->purpose, false};
    return info != NULL;
}

/* The hint lists as many names as fit. */
static gen_status bad_name(gen_error *err, const char *what, const char *name, gen_method_kind kind)
{
    char list[200] = "";
    size_t used = 0;
    gen_method m;
    for (int i = 0; gen_method_at(&m, kind, i); i++) {
        const bool fits = used + strlen(m.name) + 8 < sizeof list;
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "",
                                 fits ? m.name : "...");
        if (!fits)
            break;
    }
    gen_fail(err, GEN_ERROR_ARGUMENT, "%s: \"%s\" is not known", what, name);
    return gen_hint(err, "there are: %s", list);
}

/* ---- names ---------------------------------------------------------------------------------- */

static gen_status resolve_names(gen_sampling *s, gen_generate_params *p, gen_error *err)
{
    const char *schedule = NULL;
    s->sampler = gen_sampler_of(&s->config);
    if (p->sampler && !gen_sampler_parse(p->sampler, &s->sampler, &schedule))
        return bad_name(err, "sampler", p->sampler, GEN_METHOD_SAMPLER);
    if (p->scheduler && gen_name_matches(p->scheduler, "automatic", NULL))
        p->scheduler = NULL; /* A1111's word for the model's own */
    if (p->scheduler) {
        const gen_schedule_info *info = gen_schedule_info_find(p->scheduler);
        if (!info)
            return bad_name(err, "scheduler", p->scheduler, GEN_METHOD_SCHEDULER);
        schedule = info->name;
    }
    p->sampler = gen_sampler_info_of(s->sampler)->name;
    p->scheduler = schedule;
    const char *rng = gen_rng_choose(p->rng ? p->rng : "gen", &s->rng, &s->cuda_threads);
    if (!rng) {
        gen_fail(err, GEN_ERROR_ARGUMENT, "rng: \"%s\" is not known", p->rng);
        return gen_hint(err, "there are: gen, torch-cpu, cuda, and cuda-a100, cuda-h100, "
                             "cuda-h200, cuda-rtx4090, cuda-rtx3090");
    }
    p->rng = rng;
    return GEN_OK;
}

/* What the network predicts, when the caller knows it better than the model: for networks of noise
 * tables and of flows, which differ in nothing else.  The others' predictions belong to their
 * scheduler, which has to say so. */
static gen_status set_prediction(gen_scheduler_config *c, gen_prediction_type type, gen_error *err)
{
    if (type == c->prediction_type)
        return GEN_OK;
    if (c->process == GEN_PROCESS_VE || c->network != GEN_NETWORK_MEAN ||
        type >= GEN_PREDICT_REVERSE_FLOW) {
        gen_fail(err, GEN_ERROR_ARGUMENT,
                 "prediction: %s does not go with the scheduler of this model%s%s, which makes it "
                 "%s",
                 gen_prediction_name(type), *c->class_name ? ", " : "", c->class_name,
                 gen_prediction_name(c->prediction_type));
        return gen_hint(err, "change scheduler_config.json instead");
    }
    if (type == GEN_PREDICT_FLOW)
        c->process = GEN_PROCESS_FLOW;
    else if (type != GEN_PREDICT_SAMPLE && c->process == GEN_PROCESS_FLOW)
        c->process = GEN_PROCESS_VP;
    c->prediction_type = type;
    return GEN_OK;
}

static gen_status resolve_prediction(gen_sampling *s, gen_generate_params *p, gen_error *err)
{
    gen_scheduler_config *c = &s->config;
    gen_prediction_type type;
    if (p->prediction_type) {
        if (!gen_prediction_parse(p->prediction_type, &type)) {
            gen_fail(err, GEN_ERROR_ARGUMENT, "prediction: \"%s\" is not known",
                     p->prediction_type);
            return gen_hint(err, "there are: epsilon, v_prediction, flow_prediction, sample");
        }
        GEN_TRY(set_prediction(c, type, err));
    }
    p->prediction_type = gen_prediction_name(c->prediction_type);
    return GEN_OK;
}

/* ---- numbers -------------------------------------------------------------------------------- */

static gen_status out_of_range(gen_error *err, const char *name, double value, const char *range)
{
    return gen_fail(err, GEN_ERROR_ARGUMENT, "%s: %g is out of range (%s)", name, value, range);
}

static gen_status resolve_churn(gen_sampling *s, gen_generate_params *p, gen_error *err)
{
    gen_scheduler_config *c = &s->config;
    if (!(p->s_churn >= 0 && p->s_churn <= 1e6))
        return out_of_range(err, "s-churn", p->s_churn, "0..1e6");
    if (!(p->s_tmin >= 0) || !(p->s_tmax >= 0) || (p->s_tmax > 0 && p->s_tmax < p->s_tmin))
        return gen_fail(err, GEN_ERROR_ARGUMENT,
                        "s-tmin, s-tmax: %g and %g, expected two levels that rise", p->s_tmin,
                        p->s_tmax);
    if (p->s_churn > 0)
        c->s_churn = p->s_churn;
    if (p->s_tmin > 0)
        c->s_tmin = p->s_tmin;
    if (p->s_tmax > 0)
        c->s_tmax = p->s_tmax;
    p->s_churn = c->s_churn;
    p->s_tmin = c->s_tmin;
    p->s_tmax = c->s_tmax;
    if (p->s_churn > 0 && !gen_sampler_info_of(s->sampler)->churns) {
        gen_fail(err, GEN_ERROR_ARGUMENT, "s-churn: sampler %s adds no noise before its steps",
                 p->sampler);
        return gen_hint(err, "euler and heun do");
    }
    return GEN_OK;
}

static gen_status resolve_process(gen_sampling *s, gen_generate_params *p, gen_error *err)
{
    gen_scheduler_config *c = &s->config;
    const bool is_flow = c->process == GEN_PROCESS_FLOW;
    if (!(p->eta <= 1) || !isfinite(p->eta))
        return out_of_range(err, "eta", p->eta, "0..1");
    if (!(p->s_noise >= 0 && p->s_noise <= 100))
        return out_of_range(err, "s-noise", p->s_noise, "0..100");
    if (!(p->flow_shift >= 0 && p->flow_shift <= 1000))
        return out_of_range(err, "shift", p->flow_shift, "0..1000");
    if (p->flow_shift > 0 && !is_flow) {
        gen_fail(err, GEN_ERROR_ARGUMENT, "shift: for flow models only, this one predicts %s",
                 p->prediction_type);
        return gen_hint(err, "other models: choose another schedule");
    }
    if (p->eta != 0)
        c->eta = p->eta > 0 ? p->eta : 0;
    else
        p->eta = c->eta;
    if (p->s_noise > 0)
        c->s_noise = p->s_noise;
    p->s_noise = c->s_noise;
    GEN_TRY(resolve_churn(s, p, err));
    if (p->flow_shift > 0) {
        c->shift = p->flow_shift;
        c->use_dynamic_shifting = false;
    }
    if (is_flow && !c->use_dynamic_shifting)
        p->flow_shift = c->shift;
    return GEN_OK;
}

static gen_status check_list(const char *name, const double *list, size_t count, double max,
                             gen_error *err)
{
    if (!list != !count || count > 1000)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "%s: %zu numbers, expected 1 to 1000", name,
                        count);
    for (size_t i = 0; i < count; i++)
        if (!(list[i] >= 0 && list[i] <= max))
            return gen_fail(err, GEN_ERROR_ARGUMENT, "%s: %g is out of range (0..%g)", name,
                            list[i], max);
    return GEN_OK;
}

static gen_status resolve_lists(const gen_sampling *s, gen_generate_params *p, gen_error *err)
{
    const bool is_flow = s->config.process == GEN_PROCESS_FLOW;
    const double last = s->config.num_train_timesteps - (is_flow ? 0 : 1);
    GEN_TRY(check_list("sigmas", p->sigmas, p->num_sigmas, is_flow ? 1 : 1e6, err));
    GEN_TRY(check_list("timesteps", p->timesteps, p->num_timesteps, last, err));
    if (p->sigmas && p->timesteps && p->num_sigmas != p->num_timesteps)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "%zu sigmas and %zu timesteps, expected as many",
                        p->num_sigmas, p->num_timesteps);
    if (p->sigmas || p->timesteps)
        p->num_inference_steps = (int)(p->sigmas ? p->num_sigmas : p->num_timesteps);
    return GEN_OK;
}

gen_status gen_sampling_resolve_method(gen_sampling *s, gen_generate_params *p, gen_error *err)
{
    GEN_TRY(resolve_names(s, p, err));
    GEN_TRY(resolve_prediction(s, p, err));
    GEN_TRY(resolve_process(s, p, err));
    return resolve_lists(s, p, err);
}

/* ---- conditions ----------------------------------------------------------------------------- */

/* A model of classes takes the prompt for the name of one; without either it draws any. */
static gen_status resolve_condition(gen_sampling *s, const gen_generate_params *p,
                                    const gen_model *m, gen_error *err)
{
    const gen_network_traits *t = &m->network.traits;
    const bool has_prompt = p->prompt && *p->prompt;
    const char *wanted = p->class_label;
    s->class_label = t->null_class;
    if (wanted && !t->num_classes) {
        gen_fail(err, GEN_ERROR_ARGUMENT, "class: %s knows no classes", m->path);
        return t->context_dim ? gen_hint(err, "say with -p what to draw")
                              : gen_hint(err, "leave out --class: it draws by itself");
    }
    if (!t->context_dim && p->negative_prompt && *p->negative_prompt) {
        gen_fail(err, GEN_ERROR_ARGUMENT, "negative prompt: %s takes no text", m->path);
        return gen_hint(err, "leave it out");
    }
    if (!t->context_dim && wanted && has_prompt) {
        gen_fail(err, GEN_ERROR_ARGUMENT,
                 "class: \"%s\" and the prompt \"%.60s\" both name one, %s draws one", wanted,
                 p->prompt, m->path);
        return gen_hint(err, "give either --class or a prompt");
    }
    if (!t->context_dim && has_prompt && !t->num_classes) {
        gen_fail(err, GEN_ERROR_ARGUMENT, "prompt: %s takes no text, it draws by itself", m->path);
        return gen_hint(err, "leave out the prompt");
    }
    if (!t->num_classes)
        return GEN_OK;
    if (!wanted && has_prompt && !t->context_dim)
        wanted = p->prompt;
    if (wanted)
        return gen_label_find(&s->class_label, m->files->index, t->num_classes, wanted, m->path,
                              err);
    if (t->null_class < 0) {
        gen_fail(err, GEN_ERROR_ARGUMENT, "class: none given, and %s always draws one", m->path);
        return gen_hint(err, "choose with --class 0..%d", t->num_classes - 1);
    }
    return GEN_OK;
}

/* ---- guidance ------------------------------------------------------------------------------- */

static gen_status check_guidance(const gen_generate_params *p, gen_error *err)
{
    if (!(p->guidance_rescale >= 0 && p->guidance_rescale <= 1))
        return out_of_range(err, "guidance-rescale", p->guidance_rescale, "0..1");
    if (!(p->guidance_low >= 0) || !(p->guidance_high >= 0) ||
        (p->guidance_high > 0 && p->guidance_low >= p->guidance_high))
        return gen_fail(err, GEN_ERROR_ARGUMENT,
                        "guidance-interval: %g to %g, expected two levels that rise",
                        p->guidance_low, p->guidance_high);
    if (!(p->guidance_start >= 0 && p->guidance_start < 1) ||
        !(p->guidance_stop >= 0 && p->guidance_stop <= 1) ||
        (p->guidance_stop > 0 && p->guidance_start >= p->guidance_stop))
        return gen_fail(err, GEN_ERROR_ARGUMENT,
                        "guidance-interval: %g%% to %g%% of the steps, expected a part of them",
                        100 * p->guidance_start, 100 * p->guidance_stop);
    if (!(p->guidance_skip_last >= 0 && p->guidance_skip_last <= 1))
        return out_of_range(err, "guidance-skip-last", p->guidance_skip_last, "0..1");
    if (!(fabs(p->apg_momentum) <= 1))
        return out_of_range(err, "apg-momentum", p->apg_momentum, "-1..1");
    if (!(p->apg_norm >= 0 && p->apg_norm <= 1e6))
        return out_of_range(err, "apg-norm", p->apg_norm, "0..1e6");
    if (!(p->apg_parallel >= 0 && p->apg_parallel <= 1))
        return out_of_range(err, "apg-parallel", p->apg_parallel, "0..1");
    return GEN_OK;
}

static const gen_guidance_info *find_guidance(const char *name)
{
    const gen_guidance_info *info;
    for (int i = 0; (info = gen_guidance_kind_at(i)); i++)
        if (gen_name_matches(name, info->name, info->aliases))
            return info;
    return NULL;
}

static gen_status resolve_guidance(gen_sampling *s, gen_generate_params *p, const gen_model *m,
                                   gen_error *err)
{
    const gen_network_traits *t = &m->network.traits;
    const gen_guidance_info *info = find_guidance(p->guidance ? p->guidance : "cfg");
    if (!info)
        return bad_name(err, "guidance", p->guidance, GEN_METHOD_GUIDANCE);
    GEN_TRY(check_guidance(p, err));
    /* A network that embeds the scale was trained to give the guided result at once. */
    if (t->guidance_dim && p->guidance && strcmp(info->name, "cfg") != 0)
        return gen_fail(err, GEN_ERROR_ARGUMENT,
                        "guidance: this network takes the scale as an input and is guided by "
                        "itself, %s has nothing to combine",
                        info->name);
    const bool is_zero = strcmp(info->name, "cfg_zero") == 0;
    if (is_zero && p->guidance_zero_init == 0)
        p->guidance_zero_init = s->config.process == GEN_PROCESS_FLOW ? 1 : -1;
    p->guidance = info->name;
    s->guidance = (gen_guidance_params){
        .kind = info->name,
        .guidance_scale = p->guidance_scale,
        .rescale = p->guidance_rescale,
        .interval_low = p->guidance_low,
        .interval_high = p->guidance_high,
        .start = p->guidance_start,
        .stop = p->guidance_stop,
        .zero_init_steps = is_zero && p->guidance_zero_init > 0 ? p->guidance_zero_init : 0,
        .momentum = p->apg_momentum,
        .norm_limit = p->apg_norm,
        .parallel = p->apg_parallel,
        .channels = gen_network_latent_channels(t),
        .guided_channels = t->guided_channels,
        .is_dynamic = p->guidance_is_dynamic != 0,
        .skip_last = p->guidance_skip_last,
    };
    if (p->guided_channels > s->guidance.channels)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "guided-channels: %d, but the latents have %d",
                        p->guided_channels, s->guidance.channels);
    if (p->guided_channels)
        s->guidance.guided_channels = p->guided_channels > 0 ? p->guided_channels : 0;
    for (int branch = 2; branch < GEN_MAX_BRANCHES; branch++)
        if (gen_guidance_needs(&s->guidance, branch)) {
            gen_fail(err, GEN_ERROR_ARGUMENT,
                     "guidance: %s needs a model with a second condition beside the prompt, this "
                     "one has none",
                     info->name);
            return gen_hint(err, "`cfg` works with any model that takes prompts");
        }
    const bool has_class = t->num_classes && t->null_class >= 0 && s->class_label != t->null_class;
    s->is_guided =
        (t->context_dim || has_class) && !t->guidance_dim && gen_guidance_needs(&s->guidance, 1);
    s->guidance_takes_x0 = s->is_guided && info->takes_x0;
    return GEN_OK;
}

/* ---- sizes ---------------------------------------------------------------------------------- */

enum { MAX_SIDE = 65536 };

static gen_status check_side(const char *name, int value, int factor, gen_error *err)
{
    if (value >= factor && value <= MAX_SIDE && value % factor == 0)
        return GEN_OK;
    if (value < factor || value > MAX_SIDE)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "%s: %d is out of range (%d..%d)", name, value,
                        factor, MAX_SIDE);
    const int below = value / factor * factor;
    gen_fail(err, GEN_ERROR_ARGUMENT, "%s: %d is not a multiple of %d", name, value, factor);
    return gen_hint(err, "the nearest that are: %d and %d", below, below + factor);
}

/* Whole patches of latents; for networks that know one size only, that size. */
static gen_status check_size(const gen_generate_params *p, const gen_model *m, int factor,
                             gen_error *err)
{
    const gen_network_traits *t = &m->network.traits;
    const int pw = t->patch_width ? t->patch_width : 1, ph = t->patch_height ? t->patch_height : 1;
    GEN_TRY(check_side("width", p->width, factor * pw, err));
    GEN_TRY(check_side("height", p->height, factor * ph, err));
    if (!t->has_fixed_size ||
        (p->width == factor * t->sample_width && p->height == factor * t->sample_height))
        return GEN_OK;
    gen_fail(err, GEN_ERROR_ARGUMENT, "size: %dx%d, but this model draws %dx%d only", p->width,
             p->height, factor * t->sample_width, factor * t->sample_height);
    return gen_hint(err, "leave out --width and --height");
}

/* The frames of a clip; a network of pictures makes one. */
static gen_status resolve_frames(gen_sampling *s, gen_generate_params *p, const gen_model *m,
                                 gen_error *err)
{
    enum { MAX_FRAMES = 4097 };
    const gen_network_traits *t = &m->network.traits;
    const int step = m->info.frame_step;
    if (!p->num_frames)
        p->num_frames = p->num_source ? p->num_source : t->is_video ? m->info.default_frames : 1;
    if (!t->is_video && p->num_frames != 1) {
        gen_fail(err, GEN_ERROR_ARGUMENT, "frames: %d, but this model makes pictures",
                 p->num_frames);
        return gen_hint(err, "clips need a model of clips, such as Wan");
    }
    if (p->num_frames < 1 || p->num_frames > MAX_FRAMES)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "frames: %d is out of range (1..%d)",
                        p->num_frames, MAX_FRAMES);
    if ((p->num_frames - 1) % step) {
        const int below = (p->num_frames - 1) / step * step + 1;
        gen_fail(err, GEN_ERROR_ARGUMENT, "frames: %d is not 1 more than a multiple of %d",
                 p->num_frames, step);
        return gen_hint(err, "the nearest that are: %d and %d", below, below + step);
    }
    if (t->is_video)
        s->num_frames = 1 + (p->num_frames - 1) / step;
    if (t->is_video && t->in_channels > gen_network_latent_channels(t) && !p->first_frame) {
        gen_fail(err, GEN_ERROR_ARGUMENT,
                 "this model makes clips that begin with a picture, and there is none");
        return gen_hint(err, "-i picture.png");
    }
    if (p->first_frame && !m->info.takes_first_frame) {
        gen_fail(err, GEN_ERROR_ARGUMENT, "this model makes clips from text alone");
        return gen_hint(err, "a clip that begins with a picture needs an image-to-video model");
    }
    return GEN_OK;
}

/* A bridge needs what it starts from, and nobody else can use it. */
static gen_status check_source(const gen_sampling *s, const gen_generate_params *p, gen_error *err)
{
    const bool is_bridge = s->config.network == GEN_NETWORK_BRIDGE;
    if (is_bridge && !p->num_source) {
        gen_fail(err, GEN_ERROR_ARGUMENT, "this model changes pictures, and there is none");
        return gen_hint(err, "gen edit -m MODEL -i picture.png -o changed.png");
    }
    if (!is_bridge && p->num_source)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "this model makes pictures and changes none");
    if (is_bridge && p->num_source != p->num_frames)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "%d frames to make %d of", p->num_source,
                        p->num_frames);
    return GEN_OK;
}

static gen_status check_ranges(const gen_generate_params *p, gen_error *err)
{
    if (p->num_inference_steps < 1 || p->num_inference_steps > 1000)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "steps: %d is out of range (1..1000)",
                        p->num_inference_steps);
    if (!isfinite(p->guidance_scale) || fabs(p->guidance_scale) > 1000)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "cfg: %g is out of range (0..1000)",
                        p->guidance_scale);
    if (!(p->strength >= 0 && p->strength <= 1))
        return gen_fail(err, GEN_ERROR_ARGUMENT, "strength: %g is out of range (0..1)",
                        p->strength);
    if (p->clip_skip < 0 || p->clip_skip > GEN_CLIP_MAX_LAYERS)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "clip-skip: %d is out of range (1..%d)",
                        p->clip_skip, GEN_CLIP_MAX_LAYERS);
    if (!(p->variation_strength >= 0 && p->variation_strength <= 1))
        return out_of_range(err, "variation-strength", p->variation_strength, "0..1");
    if (p->seed_resize_width < 0 || p->seed_resize_width > MAX_SIDE || p->seed_resize_height < 0 ||
        p->seed_resize_height > MAX_SIDE || !p->seed_resize_width != !p->seed_resize_height)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "seed-resize: %dx%d, expected a size in pixels",
                        p->seed_resize_width, p->seed_resize_height);
    return GEN_OK;
}

gen_status gen_sampling_schedule(gen_schedule **out, const gen_sampling *s,
                                 const gen_generate_params *p, gen_error *err)
{
    const gen_schedule_params params = {
        .sampler = s->sampler,
        .schedule = p->scheduler,
        .num_steps = p->num_inference_steps,
        .sigmas = p->sigmas,
        .num_sigmas = (int)p->num_sigmas,
        .timesteps = p->timesteps,
        .num_timesteps = (int)p->num_timesteps,
        .image_seq_len = s->height * s->width / 4,
        .strength = p->init_image ? p->strength : 0,
    };
    return gen_schedule_new(out, &s->config, &params, err);
}

/* A pair that cannot go together is refused here, before prompts are encoded. */
static gen_status check_schedule(const gen_sampling *s, gen_generate_params *p, gen_error *err)
{
    gen_schedule *schedule;
    gen_precondition unused;
    GEN_TRY(gen_sampling_schedule(&schedule, s, p, err));
    p->scheduler = schedule->name;
    const gen_status status =
        gen_precondition_of(&unused, &s->config, schedule->steps[0].from, err);
    gen_schedule_free(schedule);
    return status;
}

gen_status gen_sampling_resolve(gen_sampling *s, gen_generate_params *p, const gen_model *m,
                                gen_error *err)
{
    const int factor = (int)gen_vae_factor(gen_vae_get_config(m->vae));
    *s = (gen_sampling){0};
    if (p->num_source && !p->width)
        p->width = p->source[0]->width;
    if (p->num_source && !p->height)
        p->height = p->source[0]->height;
    if (!p->width)
        p->width = p->init_image ? p->init_image->width / factor * factor : m->info.default_width;
    if (!p->height)
        p->height =
            p->init_image ? p->init_image->height / factor * factor : m->info.default_height;
    const bool has_prompt = p->prompt && *p->prompt;
    if (p->num_source && !has_prompt) { /* colorization and the like: ViBT without guidance */
        p->num_inference_steps = p->num_inference_steps ? p->num_inference_steps : 20;
        p->guidance_scale = p->guidance_scale != 0 ? p->guidance_scale : 1;
    }
    if (!p->num_inference_steps)
        p->num_inference_steps = m->info.default_steps;
    if (p->guidance_scale == 0)
        p->guidance_scale = m->info.default_guidance_scale;
    if (p->strength == 0)
        p->strength = 0.75;
    GEN_TRY(check_size(p, m, factor, err));
    GEN_TRY(resolve_frames(s, p, m, err));
    s->height = p->height / factor;
    s->width = p->width / factor;
    s->config = m->scheduler;
    if (!p->sampler)
        GEN_TRY(gen_scheduler_class_check(m->files->scheduler, err));
    GEN_TRY(check_ranges(p, err));
    GEN_TRY(gen_sampling_resolve_method(s, p, err));
    GEN_TRY(check_source(s, p, err));
    GEN_TRY(resolve_condition(s, p, m, err));
    GEN_TRY(resolve_guidance(s, p, m, err));
    if (gen_sampler_info_of(s->sampler)->needs_mask)
        return gen_fail(err, GEN_ERROR_ARGUMENT,
                        "sampler: %s repaints a part of a picture, and there is no mask",
                        p->sampler);
    if (gen_sampler_info_of(s->sampler)->inverts && !p->init_image) {
        gen_fail(err, GEN_ERROR_ARGUMENT,
                 "sampler: %s walks from a picture to its noise, and there is no start picture",
                 p->sampler);
        return gen_hint(err, "from a prompt alone: ddim");
    }
    return check_schedule(s, p, err);
}

static void copy_params(gen_generate_params *to, const gen_generate_params *from)
{
    const size_t size = from->struct_size < sizeof *to ? from->struct_size : sizeof *to;
    *to = (gen_generate_params){0};
    memcpy(to, from, size);
    to->struct_size = sizeof *to;
}

gen_status gen_resolve(gen_generate_params *params, const gen_model *model, gen_error *err)
{
    gen_error unused;
    if (!err)
        err = &unused;
    gen_sampling sampling;
    gen_generate_params p;
    copy_params(&p, params);
    GEN_TRY(gen_sampling_resolve(&sampling, &p, model, err));
    const size_t size = params->struct_size;
    memcpy(params, &p, size < sizeof p ? size : sizeof p);
    params->struct_size = size;
    return GEN_OK;
}
