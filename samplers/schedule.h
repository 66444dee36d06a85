/* schedule.h - for the files that add a schedule.
 *
 * A schedule fills a grid: the levels that steps start from, as kappa, and what the network is told
 * there.  schedule.c turns the grid into steps in the coordinates of the sampler. */
#ifndef GEN_SAMPLERS_SCHEDULE_H
#define GEN_SAMPLERS_SCHEDULE_H

#include "samplers/samplers.h"
#include "samplers/tables.h"

/* The reference classes space their times by four sets of habits; a sampler names the one of the
 * class it stands for. */
typedef enum gen_spacing_rule {
    GEN_RULE_DDIM,   /* whole times; a step ends at t - T / n, the last one at the final alpha */
    GEN_RULE_DDPM,   /* whole times; a step ends at the next listed time, the last one clean */
    GEN_RULE_SIGMAS, /* Euler, Heun, LMS: fractional times, Karras between the spaced ends */
    GEN_RULE_DPM,  /* DPM-Solver, UniPC: n + 1 whole times without the last, Karras over all levels
                    */
    GEN_RULE_LIST, /* whatever the list; the last step ends clean */
    GEN_RULE_TCD   /* a distilled list; the last step ends at t = 0, which is not clean */
} gen_spacing_rule;

/* The levels a discrete VP network was trained on (training.c). */
typedef struct gen_training {
    int num;                /* T */
    double *alphas_cumprod; /* [T] */
    double *kappa;          /* [T], ascending; the last may be INFINITY */
    double *log_kappa;      /* [T] */
} gen_training;

/* is_capped: a zero terminal SNR becomes 2^-24, as schedulers in sigmas need it.  Errors: MEMORY;
 * MODEL for betas out of range. */
gen_status gen_training_init(gen_training *training, const gen_scheduler_config *config,
                             bool is_capped, gen_error *err);
void gen_training_clear(gen_training *training);
/* kappa at a training time in [0, T-1], between whole ones in kappa or in ln kappa. */
double gen_training_kappa(const gen_training *training, double time, bool is_log);
/* The training time of a kappa, interpolated in ln kappa, clamped to [0, T-1]. */
double gen_training_time(const gen_training *training, double kappa);

typedef struct gen_grid {
    int n;                /* steps; a schedule may lower it */
    double *kappa;        /* [n] descending */
    double *time;         /* [n] */
    double end;           /* kappa the last step reaches; set before filling to the rule's own */
    double init_scale;    /* of the noise to start from; 0: that of the coordinates */
    bool is_ratio_spaced; /* whole times T / n apart: the DDIM rule may look back by that ratio */
} gen_grid;

typedef struct gen_schedule_request {
    const gen_scheduler_config *config;
    const gen_schedule_params *params;
    const gen_training *training; /* NULL where there is no table of levels */
    gen_spacing_rule rule;
} gen_schedule_request;

#define GEN_FOR(process) (1u << (process))
#define GEN_FOR_ALL      (GEN_FOR(GEN_NUM_PROCESSES) - 1)

typedef struct gen_schedule_kind {
    gen_schedule_info info;
    unsigned processes; /* GEN_FOR() the networks it can serve */
    bool takes_lists;   /* reads explicit sigmas and timesteps itself; else they replace it */
    /* The number of steps where none is asked for; NULL: it has no number of its own. */
    int (*count)(const gen_scheduler_config *config);
    gen_status (*fill)(const gen_schedule_request *request, gen_grid *grid, gen_error *err);
} gen_schedule_kind;

/* Sets entry i from the level's native number: tau of flow, kappa elsewhere.  The time follows from
 * it. */
void gen_grid_set(const gen_schedule_request *request, gen_grid *grid, int i, double sigma);
/* Sets entry i from a training time. */
void gen_grid_set_time(const gen_schedule_request *request, gen_grid *grid, int i, double time);

/* The two ends of a curve in sigma: kappa, or tau for flow (schedule_sigmas.c).  Errors: ARGUMENT.
 */
gen_status gen_schedule_ends(const gen_schedule_request *r, gen_grid *g, double *max, double *min,
                             gen_error *err);
/* The grid the configuration's spacing gives; for schedules that only need its ends. */
gen_status gen_fill_spaced(const gen_schedule_request *r, gen_grid *g, gen_error *err);
/* Rectified flow: g->time holds tau before shifting; shifts it and sets the grid.  Errors:
 * ARGUMENT. */
gen_status gen_schedule_shift(const gen_schedule_request *r, gen_grid *g, gen_error *err);
/* The grid of diffusers' flow matching Euler; for schedules that only need its ends. */
gen_status gen_fill_flow(const gen_schedule_request *r, gen_grid *g, gen_error *err);

#define ROW(name) extern const gen_schedule_kind gen_schedule_##name;
GEN_SCHEDULE_ROWS(ROW)
#undef ROW
extern const gen_schedule_kind *const gen_schedules[]; /* ends with NULL (tables.c) */

#endif
