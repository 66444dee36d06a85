/* plot_toy.h - data so simple that the best denoiser is a formula, to watch samplers at work.
 *
 * The data is a mixture of Gaussians in one or two dimensions; E[x0 | x] and with it the exact way
 * from noise to data are known.  Everything is shown in the coordinates of the variance-preserving
 * process, x / sqrt(alpha^2 + sigma^2), where noise and data are about equally wide, whatever
 * coordinates a sampler works in. */
#ifndef GEN_PIPELINE_PLOT_TOY_H
#define GEN_PIPELINE_PLOT_TOY_H

#include "samplers/samplers.h"

enum { GEN_TOY_MAX_MODES = 8 };

typedef struct gen_toy {
    const char *name, *what;
    int dim; /* 1 or 2 */
    int num_modes;
    double means[GEN_TOY_MAX_MODES][2], weights[GEN_TOY_MAX_MODES];
    double deviation; /* of every mode */
} gen_toy;

const gen_toy *gen_toy_at(int i);              /* NULL past the end */
const gen_toy *gen_toy_find(const char *name); /* NULL when unknown */

/* Density of one-dimensional data at x. */
double gen_toy_density(const gen_toy *toy, double x);

/* The denoiser of `num_points` points side by side, [num_points,dim].  Caller-owned memory; nothing
 * to free. */
typedef struct gen_toy_denoiser {
    gen_denoiser base;
    const gen_toy *toy;
    int calls;           /* how often it was asked */
    bool is_consistency; /* answers where a trajectory ends, not the mean of what is clean */
} gen_toy_denoiser;
void gen_toy_denoiser_init(gen_toy_denoiser *out, const gen_toy *toy, size_t num_points);

/* States on the way: [num_states][n] in the coordinates above, and the noise angle of each,
 * atan(sigma / alpha): pi/2 is pure noise, 0 clean. */
typedef struct gen_toy_path {
    double *states, *angles; /* owned */
    size_t n;
    int num_states;
    int calls;
} gen_toy_path;
void gen_toy_path_free(gen_toy_path *path);

/* Runs a sampler from unit noise `start` [n].  Errors: those of gen_solve(); MEMORY. */
gen_status gen_toy_run(gen_toy_path *out, const gen_toy *toy, const gen_sampler *sampler,
                       const gen_schedule *schedule, const gen_scheduler_config *config,
                       const float *start, size_t n, uint64_t seed, gen_error *err);

/* The exact way from the level the schedule starts at, in `num_states` states.  Errors: MEMORY. */
gen_status gen_toy_exact(gen_toy_path *out, const gen_toy *toy, const gen_schedule *schedule,
                         const float *start, size_t n, int num_states, gen_error *err);

/* Settings of family i of gen_plot_family_at() (plot_family.c).  Errors: those of
 * gen_scheduler_config_init(). */
gen_status gen_plot_family_config(gen_scheduler_config *config, int i, gen_error *err);

#endif
