/* network.c - the UNet as the pipeline sees it. */
#include "unet/unet.h"

static gen_status read_config(void *config, const gen_json *json, gen_error *err)
{
    return gen_unet_config_read(config, json, err);
}

/* SDXL's refiner has five conditions, everybody else six, beside the same pooled text of width
 * 1280; the configuration only tells the width of all together. */
static int num_time_ids(const gen_unet_config *cfg)
{
    return gen_unet_text_embeds_dim(cfg, 5) == 1280 ? 5 : 6;
}

static void describe(const void *config, gen_network_traits *traits)
{
    const gen_unet_config *cfg = config;
    *traits = (gen_network_traits){
        .in_channels = cfg->in_channels,
        .out_channels = cfg->out_channels,
        .sample_height = cfg->sample_height,
        .sample_width = cfg->sample_width,
        .context_dim = gen_unet_context_dim(cfg),
        .guidance_dim = cfg->time_cond_proj_dim,
    };
    if (cfg->has_text_time) {
        traits->num_time_ids = num_time_ids(cfg);
        traits->pooled_dim = gen_unet_text_embeds_dim(cfg, traits->num_time_ids);
    }
}

/* SDXL (Podell et al. 2023, sec. 2.2): original size, crop, target size; the refiner's, of 5, end
 * in an aesthetic score, of which the negative prompt has less. */
static void fill_time_ids(const void *config, int width, int height, bool is_negative,
                          float *time_ids)
{
    const gen_unet_config *cfg = config;
    const float h = (float)height, w = (float)width;
    const float base[6] = {h, w, 0, 0, h, w}, refiner[5] = {h, w, 0, 0, is_negative ? 2.5f : 6.0f};
    const int n = cfg->has_text_time ? num_time_ids(cfg) : 0;
    for (int i = 0; i < n; i++)
        time_ids[i] = n == 5 ? refiner[i] : base[i];
}

static void record(gen_graph *g, gen_scope w, const void *config, const gen_network_shape *shape)
{
    const gen_unet_shape s = {.batch = shape->batch,
                              .height = shape->height,
                              .width = shape->width,
                              .num_tokens = shape->num_tokens,
                              .num_time_ids =
                                  shape->num_time_ids ? shape->num_time_ids : num_time_ids(config)};
    const gen_unet_inputs in = gen_unet_declare(g, config, &s);
    gen_unet_forward(g, w, config, &in);
}

const gen_network_class gen_unet_network = {
    .class_name = "UNet2DConditionModel",
    .config_size = sizeof(gen_unet_config),
    .read_config = read_config,
    .describe = describe,
    .fill_time_ids = fill_time_ids,
    .record = record,
};
