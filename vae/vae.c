/* vae.c - configurations, scaling of latents, and the object the pipeline uses. */
#include "vae/vae.h"

#include <math.h>
#include <string.h>

#include "vae/blocks.h"
#include "vae/wan_blocks.h"

/* ---- configuration -------------------------------------------------------------------------- */

static gen_status read_scaling(gen_vae_config *cfg, const gen_json *json, gen_error *err)
{
    int num_means, num_stds;
    GEN_TRY(gen_json_double(json, "scaling_factor", cfg->kind == GEN_VAE_KL ? 0.18215 : 1.0,
                            &cfg->scaling_factor, err));
    if (!(cfg->scaling_factor >= 1e-6 && cfg->scaling_factor <= 1e6))
        return gen_fail(err, GEN_ERROR_MODEL, "%s: \"scaling_factor\" is %g, expected 1e-6 to 1e6",
                        json->path, cfg->scaling_factor);
    GEN_TRY(gen_json_double(json, "shift_factor", 0, &cfg->shift_factor, err));
    GEN_TRY(gen_json_double_list(json, "latents_mean", GEN_VAE_MAX_LATENTS, cfg->latents_mean,
                                 &num_means, err));
    GEN_TRY(gen_json_double_list(json, "latents_std", GEN_VAE_MAX_LATENTS, cfg->latents_std,
                                 &num_stds, err));
    if (num_means == 0 && num_stds == 0)
        return GEN_OK;
    if (num_means != cfg->latent_channels || num_stds != cfg->latent_channels)
        return gen_fail(err, GEN_ERROR_MODEL,
                        "%s: \"latents_mean\" and \"latents_std\" have %d and %d entries, "
                        "expected %d as \"latent_channels\" says",
                        json->path, num_means, num_stds, cfg->latent_channels);
    for (int i = 0; i < num_stds; i++)
        if (!(cfg->latents_std[i] > 0))
            return gen_fail(err, GEN_ERROR_MODEL,
                            "%s: \"latents_std\" has %g, expected more than 0", json->path,
                            cfg->latents_std[i]);
    cfg->has_latents_mean_std = true;
    return GEN_OK;
}

gen_status gen_vae_config_read(gen_vae_config *out, const gen_json *json, gen_error *err)
{
    gen_vae_config cfg = {0};
    const char *class_name;
    GEN_TRY(gen_json_string(json, "_class_name", "AutoencoderKL", &class_name, err));
    if (strcmp(class_name, "AutoencoderTiny") == 0)
        cfg.kind = GEN_VAE_TINY;
    else if (strcmp(class_name, "AutoencoderKLWan") == 0)
        cfg.kind = GEN_VAE_WAN;
    else if (strcmp(class_name, "AutoencoderKL") != 0)
        return gen_fail(err, GEN_ERROR_MODEL,
                        "%s: \"_class_name\" is \"%s\", expected \"AutoencoderKL\", "
                        "\"AutoencoderTiny\" or \"AutoencoderKLWan\"",
                        json->path, class_name);
    if (cfg.kind == GEN_VAE_WAN) {
        cfg.in_channels = cfg.out_channels = 3;
        GEN_TRY(vae_wan_config_read(&cfg, json, err));
        GEN_TRY(read_scaling(&cfg, json, err));
        *out = cfg;
        return GEN_OK;
    }
    GEN_TRY(gen_json_int32(json, "in_channels", 3, 3, 3, &cfg.in_channels, err));
    GEN_TRY(gen_json_int32(json, "out_channels", 3, 3, 3, &cfg.out_channels, err));
    GEN_TRY(gen_json_int32(json, "latent_channels", 4, 1, GEN_VAE_MAX_LATENTS, &cfg.latent_channels,
                           err));
    if (!json_is_array(gen_json_get(json, "sample_size"))) { /* it only hints at a size */
        GEN_TRY(gen_json_int32(json, "sample_size", 0, 1, 1 << 16, &cfg.sample_size, err));
    }
    GEN_TRY(cfg.kind == GEN_VAE_KL ? vae_kl_config_read(&cfg, json, err)
                                   : vae_tiny_config_read(&cfg, json, err));
    GEN_TRY(read_scaling(&cfg, json, err));
    *out = cfg;
    return GEN_OK;
}

const char *gen_vae_class_name(const gen_vae_config *cfg)
{
    static const char *const names[] = {[GEN_VAE_KL] = "AutoencoderKL",
                                        [GEN_VAE_TINY] = "AutoencoderTiny",
                                        [GEN_VAE_WAN] = "AutoencoderKLWan"};
    return names[cfg->kind];
}

int64_t gen_vae_factor(const gen_vae_config *cfg)
{
    return ((int64_t)1 << (cfg->num_stages - 1)) * (cfg->patch_size ? cfg->patch_size : 1);
}

void gen_vae_latent_size(const gen_vae_config *cfg, int64_t H, int64_t W, int64_t *h, int64_t *w)
{
    const int64_t up = cfg->kind == GEN_VAE_TINY; /* KL pads one side only and rounds down */
    H /= cfg->patch_size ? cfg->patch_size : 1;
    W /= cfg->patch_size ? cfg->patch_size : 1;
    for (int i = 1; i < cfg->num_stages; i++) {
        H = (H + up) / 2;
        W = (W + up) / 2;
    }
    *h = H;
    *w = W;
}

/* ---- graphs --------------------------------------------------------------------------------- */

gen_tensor *vae_crop(const vae_builder *b, gen_tensor *x, int64_t rows)
{
    const int64_t extra = x->dims[1] - rows;
    if (x->is_poisoned || extra <= 0)
        return x;
    const int64_t above = !b->is_open_top ? 0 : b->is_open_bottom ? extra / 2 : extra;
    return gen_graph_view(b->g, x, GEN_DIMS(x->dims[0], rows, x->dims[2], x->dims[3]),
                          above * x->dims[2] * x->ld, x->ld);
}

static gen_tensor *conv3x3(const vae_builder *b, gen_scope w, gen_tensor *x, bool bias_is_optional)
{
    gen_conv2d_options o = GEN_CONV_3X3;
    o.pad_top = !b->is_open_top;
    o.pad_bottom = !b->is_open_bottom;
    o.bias_is_optional = bias_is_optional;
    return gen_conv2d(b->g, w, x, o);
}

gen_tensor *vae_conv3x3(const vae_builder *b, gen_scope w, gen_tensor *x)
{
    return conv3x3(b, w, x, false);
}

gen_tensor *vae_upsample(const vae_builder *b, gen_scope w, gen_tensor *x)
{
    const int64_t rows = x->dims[1], cols = x->dims[2];
    if (x->is_poisoned)
        return x;
    const bool is_tiny = b->cfg->kind == GEN_VAE_TINY; /* these have no bias here */
    x = conv3x3(b, w, gen_upsample_nearest(b->g, x, 2 * rows, 2 * cols), is_tiny);
    return vae_crop(b, x, 2 * (rows - b->is_open_top - b->is_open_bottom));
}

void gen_vae_record_encoder(gen_graph *g, gen_scope w, const gen_vae_config *cfg, int64_t N,
                            int64_t H, int64_t W)
{
    const vae_builder b = {.g = g, .cfg = cfg};
    gen_tensor *x = gen_input(g, "pixels", GEN_F32, GEN_DIMS(N, H, W, cfg->in_channels));
    wan_builder wan = {.g = g, .cfg = cfg, .is_first = true}; /* a clip of one frame */
    x = cfg->kind == GEN_VAE_KL    ? vae_kl_encode(&b, w, x)
        : cfg->kind == GEN_VAE_WAN ? vae_wan_encode(&wan, w, x)
                                   : vae_tiny_encode(&b, w, x);
    gen_output(g, x, "moments");
}

void gen_vae_record_decoder(gen_graph *g, gen_scope w, const gen_vae_config *cfg, int64_t N,
                            int64_t h, int64_t width)
{
    const vae_builder b = {.g = g, .cfg = cfg};
    gen_tensor *z = gen_input(g, "z", GEN_F32, GEN_DIMS(N, h, width, cfg->latent_channels));
    wan_builder wan = {.g = g, .cfg = cfg, .is_first = true};
    z = cfg->kind == GEN_VAE_KL    ? vae_kl_decode(&b, w, z)
        : cfg->kind == GEN_VAE_WAN ? vae_wan_decode(&wan, w, z)
                                   : vae_tiny_decode(&b, w, z);
    gen_output(g, z, "pixels");
}

/* ---- on arrays ------------------------------------------------------------------------------ */

void gen_vae_sample(const gen_vae_config *cfg, const float *moments, const float *noise, size_t n,
                    float *z)
{
    const size_t C = (size_t)cfg->latent_channels;
    if (cfg->kind == GEN_VAE_TINY) {
        memcpy(z, moments, n * C * sizeof *z);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t c = 0; c < C; c++) {
            const float mean = moments[2 * C * i + c];
            const float logvar = fminf(fmaxf(moments[2 * C * i + C + c], -30.0f), 20.0f);
            z[C * i + c] = noise ? mean + expf(0.5f * logvar) * noise[C * i + c] : mean;
        }
    }
}

static double mean_of(const gen_vae_config *cfg, size_t c)
{
    return cfg->has_latents_mean_std ? cfg->latents_mean[c] : cfg->shift_factor;
}

static double scale_of(const gen_vae_config *cfg, size_t c)
{
    return cfg->scaling_factor / (cfg->has_latents_mean_std ? cfg->latents_std[c] : 1.0);
}

void gen_vae_scale(const gen_vae_config *cfg, float *z, size_t n)
{
    const size_t C = (size_t)cfg->latent_channels;
    for (size_t c = 0; c < C; c++)
        for (size_t i = 0; i < n; i++)
            z[C * i + c] = (float)(((double)z[C * i + c] - mean_of(cfg, c)) * scale_of(cfg, c));
}

void gen_vae_unscale(const gen_vae_config *cfg, float *latents, size_t n)
{
    const size_t C = (size_t)cfg->latent_channels;
    for (size_t c = 0; c < C; c++)
        for (size_t i = 0; i < n; i++)
            latents[C * i + c] =
                (float)((double)latents[C * i + c] / scale_of(cfg, c) + mean_of(cfg, c));
}

/* ---- the object ----------------------------------------------------------------------------- */

typedef void (*recorder)(gen_graph *g, gen_scope w, const gen_vae_config *cfg, int64_t N, int64_t h,
                         int64_t w_);

/* A plan for one picture of the latest size. */
typedef struct cached_plan {
    gen_plan *plan;
    int64_t h, w;
} cached_plan;

struct gen_vae {
    gen_vae_config cfg;
    gen_scope root;
    gen_backend *backend;
    cached_plan encoder, decoder;
};

gen_status gen_vae_new(gen_vae **out, const gen_vae_config *cfg, gen_weights *weights,
                       gen_backend *backend, gen_error *err)
{
    gen_vae *vae = gen_calloc(1, sizeof *vae);
    if (!vae)
        return gen_no_memory(err, "autoencoder", sizeof *vae);
    vae->cfg = *cfg;
    vae->root = gen_scope_root(weights);
    vae->backend = backend;
    *out = vae;
    return GEN_OK;
}

void gen_vae_free(gen_vae *vae)
{
    if (!vae)
        return;
    gen_plan_free(vae->encoder.plan);
    gen_plan_free(vae->decoder.plan);
    gen_free(vae);
}

void gen_vae_release(gen_vae *vae)
{
    gen_plan_free(vae->encoder.plan);
    gen_plan_free(vae->decoder.plan);
    vae->encoder.plan = vae->decoder.plan = NULL;
    gen_weights_drop_prepared(vae->root.weights, vae->backend);
}

void gen_vae_use(gen_vae *vae, gen_backend *backend)
{
    gen_vae_release(vae);
    vae->backend = backend;
}

const gen_vae_config *gen_vae_get_config(const gen_vae *vae)
{
    return &vae->cfg;
}

static gen_status make_plan(gen_plan **out, const gen_vae *vae, recorder record, int64_t h,
                            int64_t w, unsigned flags, gen_error *err)
{
    gen_graph *g;
    GEN_TRY(gen_graph_new(&g, err));
    record(g, vae->root, &vae->cfg, 1, h, w);
    return gen_plan_new(out, g, vae->backend, flags, err);
}

static gen_status get_plan(gen_vae *vae, cached_plan *cached, recorder record, int64_t h, int64_t w,
                           gen_error *err)
{
    if (cached->plan && cached->h == h && cached->w == w)
        return GEN_OK;
    gen_plan_free(cached->plan);
    cached->plan = NULL;
    cached->h = h;
    cached->w = w;
    return make_plan(&cached->plan, vae, record, h, w, 0, err);
}

gen_status gen_vae_encode(gen_vae *vae, const float *pixels, int64_t N, int64_t H, int64_t W,
                          const float *noise, float *latents, gen_error *err)
{
    const gen_vae_config *cfg = &vae->cfg;
    int64_t h, w;
    gen_vae_latent_size(cfg, H, W, &h, &w);
    GEN_TRY(get_plan(vae, &vae->encoder, gen_vae_record_encoder, H, W, err));
    gen_plan *plan = vae->encoder.plan;
    const size_t n = (size_t)(h * w), C = (size_t)cfg->latent_channels;
    const size_t image = (size_t)(H * W) * (size_t)cfg->in_channels;
    float *moments = gen_malloc(2 * n * C * sizeof *moments);
    if (!moments)
        return gen_no_memory(err, "latents", 2 * n * C * sizeof *moments);
    gen_status status = GEN_OK;
    for (size_t i = 0; i < (size_t)N; i++) {
        if ((status = gen_plan_set(plan, "pixels", pixels + i * image, err)) ||
            (status = gen_plan_run(plan, err)) ||
            (status = gen_plan_get_output(plan, "moments", moments, err)))
            break;
        gen_vae_sample(cfg, moments, noise ? noise + i * n * C : NULL, n, latents + i * n * C);
        gen_vae_scale(cfg, latents + i * n * C, n);
    }
    gen_free(moments);
    return status;
}

static bool all_finite(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}

/* z [h,w,C] to n floats of pixels, all finite. */
static gen_status decode_one(gen_vae *vae, const float *z, int64_t h, int64_t w, int64_t band_rows,
                             float *pixels, size_t n, gen_error *err)
{
    char name[192] = "";
    if (band_rows > 0) {
        GEN_TRY(
            vae_decode_bands(&vae->cfg, vae->root, vae->backend, z, h, w, band_rows, pixels, err));
    } else {
        GEN_TRY(get_plan(vae, &vae->decoder, gen_vae_record_decoder, h, w, err));
        GEN_TRY(gen_plan_set(vae->decoder.plan, "z", z, err));
        GEN_TRY(gen_plan_run(vae->decoder.plan, err));
        GEN_TRY(gen_plan_get_output(vae->decoder.plan, "pixels", pixels, err));
    }
    if (all_finite(pixels, n))
        return GEN_OK;
    if (band_rows == 0) { /* a second run finds out where it began */
        GEN_TRY(gen_plan_set(vae->decoder.plan, "z", z, err));
        GEN_TRY(gen_plan_trace(vae->decoder.plan, name, sizeof name, err));
    }
    gen_fail(err, GEN_ERROR_INTERNAL, "decoder: %s: a value is not finite",
             name[0] ? name : "pixels");
    return gen_hint(err, "try --precision f32, or another autoencoder with --vae");
}

gen_status gen_vae_decode(gen_vae *vae, const float *latents, int64_t N, int64_t h, int64_t w,
                          int64_t band_rows, float *pixels, gen_error *err)
{
    const gen_vae_config *cfg = &vae->cfg;
    const size_t n = (size_t)(h * w), count = n * (size_t)cfg->latent_channels;
    const size_t f = (size_t)gen_vae_factor(cfg), image = n * f * f * (size_t)cfg->out_channels;
    gen_status status = GEN_OK;
    float *z = gen_malloc(count * sizeof *z);
    if (!z)
        return gen_no_memory(err, "latents", count * sizeof *z);
    for (size_t i = 0; i < (size_t)N && status == GEN_OK; i++) {
        memcpy(z, latents + i * count, count * sizeof *z);
        gen_vae_unscale(cfg, z, n);
        status = decode_one(vae, z, h, w, band_rows, pixels + i * image, image, err);
    }
    gen_free(z);
    return status;
}

gen_status gen_vae_prepare_decode(gen_vae *vae, int64_t h, int64_t w, gen_error *err)
{
    return get_plan(vae, &vae->decoder, gen_vae_record_decoder, h, w, err);
}

/* ---- memory --------------------------------------------------------------------------------- */

static gen_status measure(gen_vae *vae, recorder record, int64_t h, int64_t w, gen_vae_needs *needs,
                          gen_error *err)
{
    gen_plan *plan = NULL;
    GEN_TRY(make_plan(&plan, vae, record, h, w, GEN_PLAN_DRY, err));
    const gen_plan_stats *s = gen_plan_get_stats(plan);
    *needs = (gen_vae_needs){.arena = s->arena,
                             .scratch = s->scratch,
                             .io = s->io,
                             .weights = s->weights,
                             .transformed = s->transformed,
                             .staged = s->staged,
                             .flops = s->flops};
    gen_plan_free(plan);
    return GEN_OK;
}

gen_status gen_vae_measure_encode(gen_vae *vae, int64_t H, int64_t W, gen_vae_needs *needs,
                                  gen_error *err)
{
    return measure(vae, gen_vae_record_encoder, H, W, needs, err);
}

gen_status gen_vae_measure_decode(gen_vae *vae, int64_t h, int64_t w, int64_t band_rows,
                                  gen_vae_needs *needs, gen_error *err)
{
    if (band_rows > 0)
        return vae_measure_bands(&vae->cfg, vae->root, vae->backend, h, w, band_rows, needs, err);
    return measure(vae, gen_vae_record_decoder, h, w, needs, err);
}

gen_status gen_vae_choose_bands(gen_vae *vae, int64_t h, int64_t w, const gen_vae_needs *held,
                                size_t limit, int64_t *band_rows, gen_vae_needs *needs,
                                gen_error *err)
{
    static const int64_t rows[] = {0, 512, 256, 128, 64, 32, 16};
    const int64_t height = h * gen_vae_factor(&vae->cfg);
    size_t smallest = SIZE_MAX;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i] >= height || (rows[i] && vae->cfg.kind == GEN_VAE_WAN))
            continue;
        GEN_TRY(gen_vae_measure_decode(vae, h, w, rows[i], needs, err));
        if (held && needs->arena < held->arena)
            needs->arena = held->arena;
        if (held && needs->scratch < held->scratch)
            needs->scratch = held->scratch;
        const size_t sum =
            needs->arena + needs->scratch + needs->host + needs->io + needs->transformed;
        *band_rows = rows[i];
        if (!limit || sum <= limit)
            return GEN_OK;
        smallest = sum < smallest ? sum : smallest;
    }
    return gen_fail(err, GEN_ERROR_MEMORY,
                    "decoding to %lld x %lld pixels takes %zu MiB even in bands, the limit is "
                    "%zu MiB",
                    (long long)(w * gen_vae_factor(&vae->cfg)), (long long)height, smallest >> 20,
                    limit >> 20);
}
