/* solver.h - for the files that add a solver.
 *
 * Most solvers ask the denoiser once a step and move by a fixed linear combination of what is
 * known.  Such a solver is a function that gives the coefficients of step i:
 *
 *   x' = x_coef x + denoised D_i + previous D_{i-1} + before_previous D_{i-2}
 *        + unclipped D_i (before clipping) + noise z
 *
 * solver.c does the rest.  The others write their own loop out of the helpers below.
 *
 * In the noise form (predicts_noise of the configuration) eps_i stands in for D_i.  The formulas of
 * the exponential integrators stay as they are when alpha and sigma change places, too. */
#ifndef GEN_SAMPLERS_SOLVER_H
#define GEN_SAMPLERS_SOLVER_H

#include "samplers/samplers.h"
#include "samplers/schedule.h"

typedef struct gen_row {
    double x, denoised, previous, before_previous, unclipped, noise;
    bool draws; /* the reference draws here, even where `noise` is 0 */
} gen_row;

typedef struct gen_solver gen_solver;

#define GEN_SERVES(kind) (1u << (kind))

struct gen_sampler {
    gen_sampler_info info;
    unsigned serves; /* GEN_SERVES() the kinds of network it can run; 0: GEN_NETWORK_MEAN */
    gen_spacing_rule rule;
    const char *schedule; /* its own, unless asked for another; NULL: that of the configuration */
    bool prefers_ve;      /* works in VE coordinates on VP networks, as k-diffusion does */
    bool needs_finite_kappa; /* uses lambda at the first step */
    bool is_straight;        /* uses slopes in straight coordinates: finite kappa but for flow */
    bool has_noise_form;     /* works on eps where the configuration predicts noise */
    /* Why it cannot run under a configuration; NULL when it can.  May be NULL. */
    const char *(*refuse)(const gen_scheduler_config *config);
    int history;     /* earlier denoised latents a row uses: 0..2 */
    int num_buffers; /* scratch arrays of n floats its own loop uses */
    /* One of the two. */
    void (*row)(const gen_solver *s, int i, gen_row *row);
    gen_status (*solve)(gen_solver *s, float *x, gen_error *err);
};

struct gen_solver {
    const gen_sampler *sampler;
    const gen_solve_params *params;
    const gen_scheduler_config *config;
    const gen_step *steps;
    int num_steps;
    size_t n;
    bool is_noise_form;
    float *buffers; /* all scratch, owned */
    float *sorted;  /* dynamic thresholding */
};

/* The k-th scratch array of the sampler's own loop. */
float *gen_solver_buffer(const gen_solver *s, int k);
/* Denoised latents at a point of step i, clipped as configured; `unclipped` may be NULL. */
gen_status gen_solver_denoise(const gen_solver *s, int i, gen_level level, double time,
                              const float *x, float *denoised, float *unclipped, gen_error *err);
/* eps = (x - alpha D) / sigma */
void gen_solver_noise(const gen_solver *s, gen_level level, const float *x, const float *denoised,
                      float *eps);
/* The number that brings latents at a level into straight coordinates, X = x / norm and S = sigma /
 * norm, where dX/dS = (X - D) / S: kappa, or the time of a flow, which stays finite in pure noise.
 */
double gen_solver_norm(const gen_solver *s, gen_level level);
/* (X - D) / S at a level: noise in kappa, a velocity in the time of a flow. */
void gen_solver_slope(const gen_solver *s, gen_level level, const float *x, const float *denoised,
                      float *slope);
/* The level as the noise form sees it: alpha and sigma change places. */
gen_level gen_solver_level(const gen_solver *s, gen_level level);
/* Adds the noise of churn before step i, if there is any, and says where the step then starts.
 * `noise` [n] is scratch. */
gen_status gen_solver_churn(const gen_solver *s, int i, float *x, float *noise, gen_level *from,
                            double *time, gen_error *err);
gen_status gen_solver_draw(const gen_solver *s, float *z, gen_error *err);
/* Ends step i: checks that all is finite, and reports. */
gen_status gen_solver_step_done(const gen_solver *s, int i, const float *x, const float *denoised,
                                gen_error *err);
/* out[k] = sum of c[j] v[j][k], in double, rounded once; out may be one of the v. */
void gen_combine(float *out, size_t n, int num, const double *c, const float *const *v);

/* Euler's step from one VE sigma to another, in place (solver_euler.c). */
void gen_euler_ve(float *x, const float *denoised, size_t n, double from, double to);

/* Can it start at kappa, which may be INFINITY, in a process?  Errors: ARGUMENT. */
gen_status gen_sampler_check_start(const gen_sampler *sampler, gen_process process, double kappa,
                                   gen_error *err);

/* -ln kappa, the half log SNR; INFINITY at the clean end. */
double gen_lambda(gen_level level);

/* Clipping to a range and dynamic thresholding (clip.c). */
bool gen_clip_is_on(const gen_scheduler_config *config);
void gen_clip_apply(const gen_scheduler_config *config, float *denoised, size_t n, int num_samples,
                    float *scratch);

#define ROW(name) extern const gen_sampler gen_sampler_##name;
GEN_SAMPLER_ROWS(ROW)
#undef ROW
extern const gen_sampler *const gen_samplers[]; /* ends with NULL (tables.c) */

#endif
