/* model.c - opening a model: components through the registry, everything checked. */
#include "gen/pipeline/model.h"

#include <math.h>
#include <string.h>

#include "gen/pipeline/registry.h"
#include "gen/pipeline/scheduler_json.h"
#include "gen/pipeline/sha256.h"
#include "gen/pipeline/vision.h"

/* ---- components ----------------------------------------------------------------------------- */

static gen_status open_network(gen_model *m, gen_error *err)
{
    const gen_model_component *c = NULL;
    for (int i = 0; i < m->files->num_components && !m->network.cls; i++) {
        c = &m->files->components[i];
        m->network.cls = gen_network_find(c->class_name);
    }
    if (!m->network.cls) {
        GEN_TRY(gen_model_files_require(&c, m->files, "unet", err));
        return gen_fail(err, GEN_ERROR_MODEL, "%s: gen has no network of class \"%s\"", c->path,
                        c->class_name);
    }
    m->network_files = c;
    m->network.weights = gen_scope_root(c->weights);
    m->network.backend = m->context->backend;
    GEN_TRY(gen_network_configure(&m->network.config, m->network.cls, c->config, err));
    if (m->files->index && m->network.cls->read_index)
        m->network.cls->read_index(m->network.config, m->files->index);
    m->network.cls->describe(m->network.config, &m->network.traits);
    return GEN_OK;
}

static gen_status open_vae(gen_model *m, const char *other, gen_error *err)
{
    const gen_model_component *c;
    gen_vae_config config;
    if (other)
        GEN_TRY(gen_model_files_set_vae(m->files, other, err));
    GEN_TRY(gen_model_files_require(&c, m->files, "vae", err));
    GEN_TRY(gen_vae_config_read(&config, c->config, err));
    const int channels = gen_network_latent_channels(&m->network.traits);
    if (config.latent_channels != channels)
        return gen_fail(err, GEN_ERROR_MODEL,
                        "%s: the autoencoder has %d latent channels, the network gives %d", c->path,
                        config.latent_channels, channels);
    if (m->network.traits.is_video && config.kind != GEN_VAE_WAN) {
        gen_fail(err, GEN_ERROR_MODEL, "%s: an autoencoder of pictures, the network makes clips",
                 c->path);
        return gen_hint(err, "name the autoencoder of clips with --vae");
    }
    if (config.kind == GEN_VAE_WAN)
        GEN_TRY(gen_clip_vae_new(&m->clip_vae, &config, c->weights, m->context->backend, err));
    return gen_vae_new(&m->vae, &config, c->weights, m->context->backend, err);
}

static gen_status open_text(gen_model *m, const char *other, const char *tokenizer, gen_error *err)
{
    const gen_network_traits *t = &m->network.traits;
    const gen_model_component *c;
    const gen_prompt_source source = {
        .files = m->files, .traits = t, .tokenizer = tokenizer, .backend = m->context->backend};
    if (!t->context_dim && other) {
        gen_fail(err, GEN_ERROR_ARGUMENT, "t5: %s takes no text, %s has nothing to say to it",
                 m->path, other);
        return gen_hint(err, "leave out --t5");
    }
    if (!t->context_dim)
        return GEN_OK;
    if (other)
        GEN_TRY(gen_model_files_set_text_encoder(m->files, other, err));
    c = gen_model_files_find(m->files, "text_encoder");
    if (!c)
        c = gen_model_files_find(m->files, "text_encoder_2");
    if (!c)
        return gen_model_files_require(&c, m->files, "text_encoder", err);
    m->text_class = gen_prompt_encoder_find(c->class_name);
    if (!m->text_class)
        return gen_fail(err, GEN_ERROR_MODEL, "%s: gen has no text encoder of class \"%s\"",
                        c->path, c->class_name);
    GEN_TRY(m->text_class->open(&m->text, &source, err));
    const int64_t dim = m->text_class->dim(m->text);
    if (dim != t->context_dim)
        return gen_fail(err, GEN_ERROR_MODEL,
                        "%s: the text encoders give %d channels, the network expects %d",
                        m->files->path, (int)dim, t->context_dim);
    return GEN_OK;
}

/* What the scheduler's file says and nothing here does. */
static void warn_of_scheduler(const gen_model *m)
{
    if (!m->files->scheduler)
        return;
    const char *path = m->files->scheduler->path,
               *unmet = gen_scheduler_config_unmet(&m->scheduler);
    char *unknown = gen_scheduler_unknown_keys(m->files->scheduler);
    if (unmet)
        gen_log(m->context, GEN_LOG_WARNING, "%s: %s", path, unmet);
    if (unknown)
        gen_log(m->context, GEN_LOG_WARNING, "%s: not known, and without effect: %s", path,
                unknown);
    gen_free(unknown);
}

static gen_status open_scheduler(gen_model *m, gen_error *err)
{
    const gen_network_class *cls = m->network.cls;
    const gen_network_traits *t = &m->network.traits;
    const char *told = cls->scheduler_of ? cls->scheduler_of(m->network.weights) : NULL;
    if (told)
        return gen_scheduler_config_init(&m->scheduler, told, err);
    if (!m->files->scheduler && t->defaults.scheduler) {
        GEN_TRY(gen_scheduler_config_init(&m->scheduler, t->defaults.scheduler, err));
        if (!t->variance_channels && m->scheduler.variance_type >= GEN_VARIANCE_LEARNED)
            m->scheduler.variance_type = GEN_VARIANCE_LARGE; /* as guided diffusion, then */
        if (t->defaults.flow_shift > 0) {
            GEN_TRY(gen_scheduler_config_set_bool(&m->scheduler, "use_flow_sigmas", true, err));
            GEN_TRY(gen_scheduler_config_set_string(&m->scheduler, "prediction_type",
                                                    "flow_prediction", err));
            m->scheduler.shift = t->defaults.flow_shift;
        }
        if (t->defaults.has_whole_times)
            m->scheduler.time_number = GEN_TIME_WHOLE;
        return GEN_OK;
    }
    GEN_TRY(
        gen_scheduler_config_read(&m->scheduler, &m->scheduler_lists, m->files->scheduler, err));
    if (m->files->prediction_type)
        GEN_TRY(gen_scheduler_config_set_string(&m->scheduler, "prediction_type",
                                                m->files->prediction_type, err));
    if (m->files->is_zero_snr)
        GEN_TRY(gen_scheduler_config_set_bool(&m->scheduler, "rescale_betas_zero_snr", true, err));
    warn_of_scheduler(m);
    return GEN_OK;
}

/* A network that is to change pictures has to be a bridge; one of flows becomes ViBT's. */
static gen_status choose_bridge(gen_model *m, gen_error *err)
{
    if (m->scheduler.network == GEN_NETWORK_BRIDGE)
        return GEN_OK;
    if (m->scheduler.process == GEN_PROCESS_FLOW && m->network.traits.is_video) {
        GEN_TRY(gen_scheduler_config_init(&m->scheduler, "ViBTScheduler", err));
        m->scheduler.time_number = GEN_TIME_WHOLE;
        return GEN_OK;
    }
    gen_fail(err, GEN_ERROR_MODEL, "%s: makes pictures from noise and changes none", m->path);
    return gen_hint(err,
                    "`gen edit` needs a bridge: leave out -m for the small one that comes along, "
                    "or name the weights of ViBT");
}

/* Stable Diffusion 2 without a configuration: the network itself is asked. */
static gen_status test_prediction(gen_model *m, gen_error *err)
{
    enum { SD2_CONTEXT = 1024 };
    const gen_network_traits *t = &m->network.traits;
    bool is_v = false;
    if (m->files->scheduler || m->files->prediction_type || t->context_dim != SD2_CONTEXT ||
        t->in_channels != t->out_channels || t->pooled_dim || t->num_time_ids || t->guidance_dim ||
        t->num_classes || t->has_context_mask || t->is_video)
        return GEN_OK;
    GEN_TRY(gen_network_predicts_v(&is_v, &m->network, err));
    m->scheduler.prediction_type = is_v ? GEN_PREDICT_V : GEN_PREDICT_EPSILON;
    gen_log(m->context, GEN_LOG_NOTE,
            "%s does not say what it predicts; a test of the network says %s", m->path,
            gen_prediction_name(m->scheduler.prediction_type));
    return GEN_OK;
}

/* ---- checks --------------------------------------------------------------------------------- */

/* A second frame of latents goes through layers that the first does not. */
static gen_status check_clip_vae(gen_model *m, gen_error *err)
{
    const gen_model_component *c = gen_model_files_find(m->files, "vae");
    gen_vae_needs needs;
    GEN_TRY(gen_clip_vae_measure(m->clip_vae, true, 2, 16, 16, 0, &needs, err));
    if (!gen_has(gen_scope_root(c->weights), "encoder.conv_in.weight"))
        return GEN_OK;
    return gen_clip_vae_measure(m->clip_vae, false, 2, 16, 16, 0, &needs, err);
}

/* Records everything once, so that missing and misshapen tensors are found before work starts. */
static gen_status check_complete(gen_model *m, bool strict, gen_error *err)
{
    const gen_network_traits *t = &m->network.traits;
    gen_network_shape shape = gen_network_smallest_shape(t);
    shape.num_image_tokens = gen_model_num_image_tokens(m);
    const gen_model_component *vae = gen_model_files_find(m->files, "vae");
    gen_vae_needs needs;
    gen_plan *plan;
    char *warning = NULL;
    GEN_TRY(gen_network_dry_plan(&plan, &m->network, &shape, 0, err));
    gen_plan_free(plan);
    GEN_TRY(gen_vae_measure_decode(m->vae, 16, 16, 0, &needs, err));
    const gen_scope encoder = gen_sub(gen_scope_root(vae->weights), "encoder");
    if (gen_has(encoder, "conv_in.weight") || gen_has(encoder, "layers.0.weight")) {
        const int64_t side = 16 * gen_vae_factor(gen_vae_get_config(m->vae));
        GEN_TRY(gen_vae_measure_encode(m->vae, side, side, &needs, err));
    }
    if (m->clip_vae)
        GEN_TRY(check_clip_vae(m, err));
    GEN_TRY(gen_model_files_check_unused(m->files, strict, &warning, err));
    if (warning)
        gen_log(m->context, GEN_LOG_WARNING, "%s", warning);
    gen_free(warning);
    return GEN_OK;
}

/* ---- what the model says of itself ----------------------------------------------------------- */

static gen_status read_defaults(const gen_model *m, gen_model_defaults *d, gen_error *err)
{
    const bool is_distilled = m->scheduler.network == GEN_NETWORK_CONSISTENCY ||
                              strcmp(m->scheduler.sampler, "lcm") == 0 ||
                              strcmp(m->scheduler.sampler, "tcd") == 0;
    const gen_network_defaults *own_defaults = &m->network.traits.defaults;
    *d = (gen_model_defaults){.steps = 20, .guidance_scale = 7.5};
    if (own_defaults->num_inference_steps)
        d->steps = own_defaults->num_inference_steps;
    if (own_defaults->guidance_scale > 0)
        d->guidance_scale = own_defaults->guidance_scale;
    if (m->network.traits.guidance_dim || is_distilled)
        *d = (gen_model_defaults){.steps = 4,
                                  .guidance_scale = m->network.traits.guidance_dim ? 8.5 : 1.0};
    if (m->scheduler.network == GEN_NETWORK_BRIDGE) /* ViBT's settings for a prompt */
        *d = (gen_model_defaults){.steps = 28, .guidance_scale = 1.5};
    if (m->scheduler.recommended_scale > 0)
        d->guidance_scale = m->scheduler.recommended_scale;
    const json_t *own = m->files->index ? gen_json_get(m->files->index, "gen") : NULL;
    if (!json_is_object(own))
        return GEN_OK;
    const gen_json view = {
        .root = (json_t *)own, .path = m->files->index->path, .on_error = GEN_ERROR_MODEL};
    GEN_TRY(gen_json_int32(&view, "num_inference_steps", d->steps, 1, 1000, &d->steps, err));
    return gen_json_double(&view, "guidance_scale", d->guidance_scale, &d->guidance_scale, err);
}

/* "models/dream.safetensors" and "models/dream/" are both called "dream". */
static char *name_of(const char *path)
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        end--;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/')
        start--;
    static const char ending[] = ".safetensors";
    if (end - start > sizeof ending - 1 &&
        memcmp(path + end - (sizeof ending - 1), ending, sizeof ending - 1) == 0)
        end -= sizeof ending - 1;
    return gen_strndup(path + start, end - start);
}

static gen_status fill_info(gen_model *m, gen_error *err)
{
    gen_model_defaults defaults;
    GEN_TRY(read_defaults(m, &defaults, err));
    const gen_vae_config *vae = gen_vae_get_config(m->vae);
    const int factor = (int)gen_vae_factor(vae);
    const gen_network_traits *t = &m->network.traits;
    m->info = (gen_model_info){
        .name = m->name,
        .path = m->path,
        .network = m->network.cls->class_name,
        .vae = gen_vae_class_name(vae),
        .scheduler = m->scheduler.class_name,
        .prediction_type = gen_prediction_name(m->scheduler.prediction_type),
        .default_width = factor * (t->sample_width ? t->sample_width : 64),
        .default_height = factor * (t->sample_height ? t->sample_height : 64),
        .default_frames = t->is_video ? t->defaults.num_frames : 0,
        .frames_per_second = t->defaults.frames_per_second,
        .changes_pictures = m->scheduler.network == GEN_NETWORK_BRIDGE,
        .takes_first_frame = t->takes_first_frame || t->image_dim ||
                             (t->is_video && t->in_channels > t->out_channels),
        .size_step = factor * (t->patch_width ? t->patch_width : 1),
        .frame_step = (int)gen_vae_time_factor(vae),
        .default_steps = defaults.steps,
        .takes_prompt = t->context_dim > 0,
        .num_classes = t->num_classes,
        .default_guidance_scale = defaults.guidance_scale,
    };
    if (t->defaults.width)
        m->info.default_width = t->defaults.width;
    if (t->defaults.height)
        m->info.default_height = t->defaults.height;
    for (int i = 0; i < m->files->num_components; i++) {
        const gen_weights *w = m->files->components[i].weights;
        for (size_t j = 0; w && j < gen_weights_count(w); j++) {
            const gen_weight *weight = gen_weights_at(w, j);
            m->info.num_bytes += weight->size;
            m->info.num_parameters += weight->size / gen_dtype_size(weight->dtype);
        }
    }
    return GEN_OK;
}

/* ---- public ---------------------------------------------------------------------------------- */

static gen_status open_all(gen_model *m, const gen_model_params *p, gen_error *err)
{
    GEN_TRY(gen_model_files_open(&m->files, m->path, err));
    if (p->base)
        GEN_TRY(gen_model_files_set_base(m->files, p->base, err));
    GEN_TRY(open_network(m, err));
    GEN_TRY(open_vae(m, p->vae, err));
    GEN_TRY(open_text(m, p->t5, p->tokenizer, err));
    GEN_TRY(gen_model_open_vision(m, err));
    GEN_TRY(open_scheduler(m, err));
    if (p->for_editing)
        GEN_TRY(choose_bridge(m, err));
    GEN_TRY(gen_world_open(&m->world, m->files->path, err));
    GEN_TRY(check_complete(m, p->strict != 0, err));
    GEN_TRY(test_prediction(m, err));
    return fill_info(m, err);
}

gen_status gen_model_open(gen_model **out, gen_context *context, const gen_model_params *params,
                          gen_error *err)
{
    gen_error unused;
    if (!err)
        err = &unused;
    gen_model_params p = {0};
    gen_status status = GEN_OK;
    if (params)
        memcpy(&p, params, params->struct_size < sizeof p ? params->struct_size : sizeof p);
    gen_model *m = gen_calloc(1, sizeof *m);
    if (!m)
        return gen_no_memory(err, "model", sizeof *m);
    m->context = context;
    if (!p.path)
        status = gen_find_asset(&m->path, p.for_editing ? "postcards-bridge" : "postcards", err);
    else if (!(m->path = gen_strdup(p.path)))
        status = gen_no_memory(err, "model", strlen(p.path));
    if (!status && !(m->name = name_of(m->path)))
        status = gen_no_memory(err, "model", strlen(m->path));
    if (!status && p.tokenizer && !(m->tokenizer = gen_strdup(p.tokenizer)))
        status = gen_no_memory(err, "model", strlen(p.tokenizer));
    if (!status)
        status = open_all(m, &p, err);
    /* Where gen chose the device, one without a kernel that the model needs is no obstacle. */
    if (status == GEN_ERROR_INTERNAL && context->is_auto && !gen_backend_is_cpu(context->backend)) {
        gen_model_free(m);
        gen_log(context, GEN_LOG_NOTE, "%s; using the CPU", err->message);
        GEN_TRY(gen_context_use_cpu(context, err));
        return gen_model_open(out, context, params, err);
    }
    if (status) {
        gen_model_free(m);
        if (status == GEN_ERROR_MODEL && !err->hint[0])
            gen_hint(err,
                     "the file may be damaged, or of another kind than it seems: get it again; "
                     "`gen info FILE` shows what it holds");
        return status;
    }
    *out = m;
    return GEN_OK;
}

void gen_model_free(gen_model *m)
{
    if (!m)
        return;
    gen_plan_cache_clear(&m->plans);
    gen_prompt_states_free(m->prompt);
    gen_free(m->prompt_key);
    if (m->text_class)
        m->text_class->close(m->text);
    gen_vision_encoder_free(m->vision);
    gen_vae_free(m->vae);
    gen_clip_vae_free(m->clip_vae);
    gen_free(m->network.config);
    gen_free(m->scheduler_lists);
    gen_world_free(m->world);
    gen_model_files_free(m->files);
    gen_free(m->name);
    gen_free(m->path);
    gen_free(m->tokenizer);
    gen_free(m);
}

const gen_model_info *gen_model_get_info(const gen_model *model)
{
    return &model->info;
}

gen_status gen_model_sha256(gen_model *m, char out[65], gen_error *err)
{
    enum { MAX_FILES = 256 };
    const char *files[MAX_FILES];
    int count = 0;
    if (!m->sha256[0]) {
        const gen_weights *w = m->network_files->weights;
        for (size_t i = 0; i < gen_weights_count(w); i++) {
            const char *file = gen_weights_at(w, i)->file;
            int k = 0;
            while (k < count && strcmp(files[k], file))
                k++;
            if (k == count && count < MAX_FILES)
                files[count++] = file;
        }
        GEN_TRY(gen_sha256_files(m->sha256, files, count, err));
    }
    memcpy(out, m->sha256, sizeof m->sha256);
    return GEN_OK;
}
