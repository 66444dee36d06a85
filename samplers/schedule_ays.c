/* schedule_ays.c - align your steps (Sabour et al. 2024): ten optimised steps for a family of
 * models, resampled log-linearly for other numbers of steps. */
#include "samplers/schedule.h"

#include <math.h>

#define NUM_LEVELS 11 /* ten steps; the last level is replaced by 0 */

static const double SD15[NUM_LEVELS] = {14.6146412293, 6.4745760956, 3.8636745985, 2.6946151520,
                                        1.8841921177,  1.3943805092, 0.9642583904, 0.6523686016,
                                        0.3977456272,  0.1515232662, 0.0291671582};
static const double SDXL[NUM_LEVELS] = {14.6146412293, 6.3184485287, 3.7681790315, 2.1811480769,
                                        1.3405244945,  0.8620721141, 0.5550693289, 0.3798540708,
                                        0.2332364134,  0.1114188177, 0.0291671582};
static const double SVD[NUM_LEVELS] = {700,   54.5,  15.886, 7.977, 4.248, 1.789,
                                       0.981, 0.403, 0.173,  0.034, 0.002};

static gen_status fill(const gen_schedule_request *r, gen_grid *g, const double *levels)
{
    for (int i = 0; i < g->n; i++) {
        const double at = (double)i * (NUM_LEVELS - 1) / g->n;
        const int low = (int)at;
        const double w = at - low;
        gen_grid_set(r, g, i, exp((1 - w) * log(levels[low]) + w * log(levels[low + 1])));
    }
    return GEN_OK;
}

static gen_status fill_sd15(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    (void)err;
    return fill(r, g, SD15);
}

static gen_status fill_sdxl(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    (void)err;
    return fill(r, g, SDXL);
}

static gen_status fill_svd(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    (void)err;
    return fill(r, g, SVD);
}

const gen_schedule_kind gen_schedule_ays = {
    .info = {.name = "ays",
             .aliases = "align_your_steps, ays_sd1, ays_sd15",
             .paper = "Sabour et al. 2024",
             .purpose = "SD 1.x, about 10 steps"},
    .processes = GEN_FOR(GEN_PROCESS_VP),
    .fill = fill_sd15,
};

const gen_schedule_kind gen_schedule_ays_sdxl = {
    .info = {.name = "ays_sdxl",
             .aliases = "",
             .paper = "Sabour et al. 2024",
             .purpose = "SDXL, about 10 steps"},
    .processes = GEN_FOR(GEN_PROCESS_VP),
    .fill = fill_sdxl,
};

const gen_schedule_kind gen_schedule_ays_svd = {
    .info = {.name = "ays_svd",
             .aliases = "",
             .paper = "Sabour et al. 2024",
             .purpose = "Stable Video Diffusion, about 10 steps"},
    .processes = GEN_FOR(GEN_PROCESS_VP) | GEN_FOR(GEN_PROCESS_VE),
    .fill = fill_svd,
};
