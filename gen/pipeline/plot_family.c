/* plot_family.c - settings of well-known models, to draw schedules without their files. */
#include "gen/gen.h"
#include "gen/pipeline/plot_toy.h"

static const struct {
    const char *name, *what, *class_name;
    double beta_start, beta_end, shift; /* 0: those of the class */
    bool is_scaled_linear, is_zero_snr, is_flow_table, is_dynamic;
} FAMILIES[] = {
    {.name = "sd", .what = "Stable Diffusion 1, 2 and XL, as a single file", .class_name = ""},
    {.name = "sd_zero_snr",
     .what = "Stable Diffusion with zero terminal SNR, predicting v",
     .class_name = "DDIMScheduler",
     .beta_start = 0.00085,
     .beta_end = 0.012,
     .is_scaled_linear = true,
     .is_zero_snr = true},
    {.name = "dit",
     .what = "DiT, PixArt, Diffusion-RWKV: linear betas",
     .class_name = "DDIMScheduler",
     .beta_start = 0.0001,
     .beta_end = 0.02},
    {.name = "lcm", .what = "latent consistency models", .class_name = "LCMScheduler"},
    {.name = "flow",
     .what = "rectified flow without shift",
     .class_name = "FlowMatchEulerDiscreteScheduler"},
    {.name = "sd3",
     .what = "Stable Diffusion 3: shift 3",
     .class_name = "FlowMatchEulerDiscreteScheduler",
     .shift = 3},
    {.name = "flux",
     .what = "Flux at 1024x1024: dynamic shift",
     .class_name = "FlowMatchEulerDiscreteScheduler",
     .is_dynamic = true},
    {.name = "wan",
     .what = "Wan: UniPC on flow times, shift 5",
     .class_name = "UniPCMultistepScheduler",
     .shift = 5,
     .is_flow_table = true},
    {.name = "edm", .what = "EDM: sigmas from 80 to 0.002", .class_name = "EDMEulerScheduler"},
    {.name = "cm",
     .what = "consistency models, 1 to 3 steps",
     .class_name = "CMStochasticIterativeScheduler"},
    {.name = "scm",
     .what = "TrigFlow consistency models (sCM, SANA-Sprint), 1 to 4 steps",
     .class_name = "SCMScheduler"},
    {.name = "rcm", .what = "rCM on Wan and Cosmos, 1 to 4 steps", .class_name = "rCM"},
    {.name = "vibt",
     .what = "ViBT: a bridge from picture to picture",
     .class_name = "ViBTScheduler"},
};

#define NUM_FAMILIES ((int)(sizeof FAMILIES / sizeof FAMILIES[0]))

const char *gen_plot_family_at(int i, const char **what)
{
    if (i < 0 || i >= NUM_FAMILIES)
        return NULL;
    if (what)
        *what = FAMILIES[i].what;
    return FAMILIES[i].name;
}

gen_status gen_plot_family_config(gen_scheduler_config *c, int i, gen_error *err)
{
    GEN_TRY(gen_scheduler_config_init(c, FAMILIES[i].class_name, err));
    c->clip_sample = false;
    if (FAMILIES[i].beta_end > 0) {
        c->beta_start = FAMILIES[i].beta_start;
        c->beta_end = FAMILIES[i].beta_end;
    }
    if (FAMILIES[i].is_scaled_linear)
        c->beta_schedule = GEN_BETAS_SCALED_LINEAR;
    if (FAMILIES[i].is_zero_snr) {
        c->rescale_betas_zero_snr = true;
        c->prediction_type = GEN_PREDICT_V;
        c->timestep_spacing = GEN_SPACING_TRAILING;
    }
    if (FAMILIES[i].is_flow_table) {
        c->process = GEN_PROCESS_FLOW;
        c->prediction_type = GEN_PREDICT_FLOW;
        c->use_flow_sigmas = true;
    }
    if (FAMILIES[i].shift > 0)
        c->shift = FAMILIES[i].shift;
    c->use_dynamic_shifting = FAMILIES[i].is_dynamic;
    return GEN_OK;
}
