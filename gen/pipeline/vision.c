/* vision.c - see vision.h. */
#include "gen/pipeline/vision.h"

#include "gen/pipeline/clip.h"

gen_status gen_model_open_vision(gen_model *m, gen_error *err)
{
    const int image_dim = m->network.traits.image_dim;
    const gen_model_component *c = gen_model_files_find(m->files, "image_encoder");
    gen_vision_config config;
    for (size_t i = 0; c && !image_dim && i < gen_weights_count(c->weights); i++)
        gen_weights_at(c->weights, i)->is_ignored = true;
    if (!image_dim)
        return GEN_OK;
    GEN_TRY(gen_model_files_require(&c, m->files, "image_encoder", err));
    GEN_TRY(gen_vision_config_parse(&config, c->config, err));
    if (config.layers.hidden_size != image_dim)
        return gen_fail(err, GEN_ERROR_MODEL,
                        "%s: the image encoder gives %d channels, the network expects %d", c->path,
                        (int)config.layers.hidden_size, image_dim);
    return gen_vision_encoder_new(&m->vision, &config, gen_scope_root(c->weights), err);
}

int64_t gen_model_num_image_tokens(const gen_model *m)
{
    return m->vision ? gen_vision_num_tokens(gen_vision_encoder_config(m->vision)) : 0;
}

/* The picture as the encoder was trained on it: [S,S,3] of zero mean and unit deviation. */
static gen_status normalised(float **out, const gen_image *image, int side, gen_error *err)
{
    gen_image *square = NULL;
    const size_t n = (size_t)side * (size_t)side * 3;
    float *pixels = gen_malloc(n * sizeof *pixels);
    gen_status status = pixels ? GEN_OK : gen_no_memory(err, "picture", n * sizeof *pixels);
    if (!status)
        status = gen_image_resize(&square, image, side, side, GEN_FILTER_BICUBIC, err);
    if (status) {
        gen_free(pixels);
        return status;
    }
    gen_clip_pixels(pixels, square);
    gen_image_free(square);
    for (size_t i = 0; i < n; i++)
        pixels[i] = (0.5f + 0.5f * pixels[i] - gen_vision_mean[i % 3]) / gen_vision_std[i % 3];
    *out = pixels;
    return GEN_OK;
}

gen_status gen_model_look_at(float **out, gen_model *m, const gen_image *image, gen_error *err)
{
    const gen_vision_config *config = gen_vision_encoder_config(m->vision);
    const size_t n = (size_t)(gen_model_num_image_tokens(m) * config->layers.hidden_size);
    float *pixels;
    GEN_TRY(normalised(&pixels, image, config->image_size, err));
    float *states = gen_malloc(n * sizeof *states);
    const gen_status status =
        states ? gen_vision_encode(m->vision, m->context->backend, pixels, states, err)
               : gen_no_memory(err, "image encoder", n * sizeof *states);
    gen_free(pixels);
    if (status)
        gen_free(states);
    else
        *out = states;
    return status;
}
