/* samplers.h - from noise (or a source) to clean latents, given a network.
 *
 * Everything here is arithmetic on arrays of f32 latents; times and coefficients are double.  The
 * axes are separate, and each has its own files:
 *
 *   process     how clean latents and noise mix: x = alpha x0 + sigma eps          process.c
 *   schedule    which levels are visited and what the network is told              schedule*.c
 *   prediction  what the network's output means, in the process it was trained on  prediction.c
 *   guidance    a denoiser that asks denoisers                                     guidance*.c
 *   solver      how to step from one level to the next                             solver*.c
 *   bridge      from a source picture to its target, instead of from noise         bridge.c
 *   start       image to image, inpainting; long videos                img2img.c, windows.c,
 * chunks.c noise       where fresh Gaussian numbers come from                             noise.c
 *
 * A picture is made like this:
 *
 *   network(s) -> guidance -> prediction: a denoiser D(x; level) that estimates x0
 *   gen_schedule_new()                    from a gen_scheduler_config (scheduler_config.json)
 *   x = noise * schedule.init_scale       or gen_schedule_add_noise() of an image's latents
 *   gen_solve(sampler, ...)               calls D once or more a step and moves x
 *
 * To add a solver: write one solver_NAME.c that defines a `const gen_sampler`: usually a function
 * that gives the coefficients of one step (solver.h).  To add a schedule: one file with a function
 * that fills a grid (schedule.h).  To add a guidance: one file with a function that combines
 * predictions (guidance.h).  Each is one row in tables.h; tests/property/recipe shows all three.
 * To add a prediction type: one row in prediction.c.
 *
 * Notation: unprimed is the level a step leaves, primed the one it reaches; kappa = sigma / alpha
 * is the noise level that all processes share; lambda = -ln kappa; tau is rectified-flow time. */
#ifndef GEN_SAMPLERS_H
#define GEN_SAMPLERS_H

#include <stdint.h>

#include "gen/core/rng.h"
#include "gen/core/status.h"

/* ---- process (process.c) -----------------------------------------------------------------------
 */

/* x = alpha x0 + sigma eps, eps of unit variance. */
typedef struct gen_level {
    double alpha, sigma;
} gen_level;

typedef enum gen_process {
    GEN_PROCESS_VP,   /* alpha^2 + sigma^2 = 1: DDPM, Stable Diffusion, TrigFlow */
    GEN_PROCESS_VE,   /* alpha = 1: EDM, the coordinates of k-diffusion; no infinite kappa */
    GEN_PROCESS_FLOW, /* alpha + sigma = 1: rectified flow, sigma = tau */
    GEN_NUM_PROCESSES
} gen_process;

/* sigma / alpha; INFINITY where alpha is 0. */
double gen_level_kappa(gen_level level);
/* The level of a process at kappa >= 0; kappa may be INFINITY except for VE. */
gen_level gen_process_level(gen_process process, double kappa);
/* The factor that carries a latent from one process to another at the same kappa. */
double gen_level_crossing(gen_level from, gen_level to);

/* ---- denoisers ---------------------------------------------------------------------------------
 */

/* Where on the trajectory a denoiser is asked. */
typedef struct gen_point {
    gen_level level; /* in the coordinates x is in */
    double time;     /* what the network is told: not a function of the level in real checkpoints */
    int step; /* 0 .. num_steps - 1; methods of several stages ask more than once in a step */
    int num_steps;
    int first_frame; /* of the window, where a long video is denoised in windows (windows.c) */
    /* Where equal parts of a sample, outermost first, stand at levels of their own (chunks.c):
     * [num_chunks].  Else NULL. */
    const gen_level *chunk_levels;
    int num_chunks;
} gen_point;

/* A network that can answer several of its conditions in one run (a batch of two for guidance). */
typedef struct gen_denoiser_group {
    void *self;
    /* out[k] [n] gets the answer of member members[k] at x. */
    gen_status (*run)(void *self, const float *x, const gen_point *at, const int *members,
                      int num_members, float *const *out, gen_error *err);
} gen_denoiser_group;

/* A function of latents and a point.  What it returns depends on its place in the chain: a network
 * gives its raw prediction, the outermost one the clean latents.  It may fail or be cancelled. */
typedef struct gen_denoiser {
    void *self;
    size_t n; /* floats in x and out, all samples together */
    gen_status (*denoise)(void *self, const float *x, const gen_point *at, float *out,
                          gen_error *err);
    const gen_denoiser_group *group; /* NULL: only itself */
    int member;
    void (*free)(struct gen_denoiser *denoiser); /* for those made here; NULL: the caller's own */
} gen_denoiser;

/* Asks several denoisers at the same point, in one run where all belong to one group. */
gen_status gen_denoise_all(const gen_denoiser *const *denoisers, int num, const float *x,
                           const gen_point *at, float *const *out, gen_error *err);
/* Frees a denoiser made by this library; those it calls are borrowed and stay. */
void gen_denoiser_free(gen_denoiser *denoiser);

/* ---- prediction types and preconditioning (prediction.c) ---------------------------------------
 */

typedef enum gen_prediction_type {
    GEN_PREDICT_EPSILON,      /* eps */
    GEN_PREDICT_V,            /* alpha eps - sigma x0; F of TrigFlow on data of unit variance */
    GEN_PREDICT_SAMPLE,       /* x0 */
    GEN_PREDICT_FLOW,         /* eps - x0, the velocity of rectified flow */
    GEN_PREDICT_REVERSE_FLOW, /* x0 - eps: its time runs the other way (MAGI-1, Mochi) */
    /* The rest are for networks in VE coordinates. */
    GEN_PREDICT_EDM,         /* F of EDM, on data of deviation sigma_data */
    GEN_PREDICT_TRIGFLOW,    /* F of sCM, the same with the other sign */
    GEN_PREDICT_CONSISTENCY, /* the same as EDM, but x0 = x at sigma_min */
    GEN_PREDICT_BRIDGE,      /* (x - x0) / kappa^2, the velocity of a bridge */
    GEN_PREDICT_DIFFERENCE,  /* x - x0 */
    GEN_NUM_PREDICTIONS
} gen_prediction_type;

typedef struct gen_scheduler_config gen_scheduler_config;

/* The network sees `input` * x, in the coordinates of its own process, and
 * x0 = `skip` * x + `output` * raw, with x in the sampler's coordinates. */
typedef struct gen_precondition {
    double input, skip, output;
} gen_precondition;

/* Coefficients for a network trained on `process`, asked by a sampler that stands at `at`.
 * Errors: ARGUMENT where x0 cannot be read from the prediction (epsilon at infinite kappa). */
gen_status gen_precondition_at(gen_precondition *out, gen_prediction_type type, gen_process process,
                               gen_level at, gen_error *err);

/* The same for the network of a configuration, with its sigma_data and sigma_min (above they are
 * EDM's 0.5 and 0.002). */
gen_status gen_precondition_of(gen_precondition *out, const gen_scheduler_config *config,
                               gen_level at, gen_error *err);

/* A denoiser of clean latents over a network that gives raw predictions (borrowed). */
gen_status gen_prediction_new(gen_denoiser **out, const gen_denoiser *network,
                              gen_prediction_type type, gen_process process, gen_error *err);
/* The same for the network of a configuration (copied), which is told its times in the kind of
 * number it was made with. */
gen_status gen_prediction_of(gen_denoiser **out, const gen_denoiser *network,
                             const gen_scheduler_config *config, gen_error *err);

/* "epsilon" "v_prediction" "sample" "flow_prediction", and short forms. */
bool gen_prediction_parse(const char *name, gen_prediction_type *type);
const char *gen_prediction_name(gen_prediction_type type);

/* ---- guidance (guidance.c) ---------------------------------------------------------------------
 */

#define GEN_MAX_BRANCHES 3

/* All zero: classifier-free guidance of scale 1, which asks the conditional branch only. */
typedef struct gen_guidance_params {
    const char *kind;      /* NULL: "cfg"; see gen_guidance_kind_at() */
    double guidance_scale; /* g in u + g (c - u); 0 counts as 1 */
    double image_scale;    /* dual guidance: scale of the image condition; 0 counts as 1 */
    double rescale;        /* 0..1: share of the result brought to the conditional's deviation */
    double
        interval_low; /* guided only where interval_low < kappa <= interval_high, else c alone; */
    double interval_high; /*   0: without limit */
    double start, stop;   /* guided only in steps [start, stop) as fractions; stop 0: to the end */
    double skip_last;     /* share of the last steps that are not guided (EchoMimicV3) */
    bool is_dynamic;      /* scales fall from g to g/2 over the run (EchoMimicV3) */
    int zero_init_steps;  /* cfg-zero: first predictions replaced by 0 */
    double momentum, norm_limit, parallel; /* apg: beta; r (0: none); eta, the share kept */
    int num_samples;                       /* pictures side by side in x; 0 counts as 1 */
    int channels;                          /* innermost dimension, for norms per token */
    int guided_channels;                   /* of those, the first to guide (DiT: 3 of 4); 0: all */
} gen_guidance_params;

/* branches[0] conditional, [1] unconditional (or negative), [2] with the image alone; all borrowed,
 * in the space the guidance is published for (raw predictions unless its row says otherwise).
 * A branch may be NULL where the scales never ask for it.  Errors: ARGUMENT, MEMORY. */
gen_status gen_guidance_new(gen_denoiser **out, const gen_guidance_params *params,
                            const gen_denoiser *const branches[GEN_MAX_BRANCHES], gen_error *err);

/* Will the unconditional branch ever be asked?  Lets a pipeline leave out its text encoding. */
bool gen_guidance_needs(const gen_guidance_params *params, int branch);

/* The factor on the negative prompt's embeddings in a step: `scale` once more in each of the steps
 * 0 .. num_steps, kept after (phase-aware negative guidance of EchoMimicV3). */
double gen_guidance_negative_factor(double scale, int num_steps, int step);
/* A scale that falls from g to g / 2, fast at first (EchoMimicV3). */
double gen_guidance_dynamic_scale(double g, int step, int num_steps);

/* guided [n] is brought to the standard deviation of conditional [n], by the share `rescale`
 * (Lin et al. 2024, sec. 3.4; deviations over a whole sample, with n - 1). */
void gen_guidance_rescale(float *guided, const float *conditional, size_t n, double rescale);
/* Each run of `channels` values of guided is brought to the 2-norm of the conditional's. */
void gen_guidance_match_norm(float *guided, const float *conditional, size_t n, int channels);

typedef struct gen_guidance_info {
    const char *name, *aliases, *paper, *formula, *purpose;
    bool
        takes_x0; /* its branches are denoised latents, not raw predictions, and so is its result */
} gen_guidance_info;
const gen_guidance_info *gen_guidance_kind_at(int i); /* NULL behind the last */

/* ---- configuration of a scheduler (scheduler_config.c) -----------------------------------------
 */

typedef enum gen_beta_schedule {
    GEN_BETAS_LINEAR,
    GEN_BETAS_SCALED_LINEAR,
    GEN_BETAS_SQUAREDCOS,
    GEN_BETAS_SIGMOID
} gen_beta_schedule;

typedef enum gen_spacing {
    GEN_SPACING_DISCRETE, /* t = linspace(T-1, 0, n), kappa interpolated in its logarithm */
    GEN_SPACING_LEADING,
    GEN_SPACING_TRAILING,
    GEN_SPACING_LINSPACE
} gen_spacing;

typedef enum gen_variance {
    GEN_VARIANCE_SMALL,
    GEN_VARIANCE_LARGE,
    GEN_VARIANCE_LEARNED,      /* the network gives the variance itself */
    GEN_VARIANCE_LEARNED_RANGE /* v in [-1, 1] between the logarithms of small and large */
} gen_variance;

/* What the answer of a network means, whatever its form. */
typedef enum gen_network_kind {
    GEN_NETWORK_MEAN,        /* the mean of what is clean given x: diffusion and flow */
    GEN_NETWORK_CONSISTENCY, /* the clean end of the trajectory through x */
    GEN_NETWORK_BRIDGE,      /* the target of a path that starts at a source picture */
    GEN_NUM_NETWORK_KINDS
} gen_network_kind;

/* What a network is told about the noise level. */
typedef enum gen_time_rule {
    GEN_TIME_TRAINING,    /* index into the table of levels; flow: T tau */
    GEN_TIME_REVERSED,    /* flow: T (1 - tau) */
    GEN_TIME_EDM,         /* ln kappa / 4 */
    GEN_TIME_CONSISTENCY, /* 250 ln kappa */
    GEN_TIME_ANGLE        /* theta of TrigFlow, kappa = sigma_data tan theta */
} gen_time_rule;

/* ... and in which kind of number: part of the checkpoint, whatever the solver. */
typedef enum gen_time_number {
    GEN_TIME_REAL,
    GEN_TIME_WHOLE, /* cut to a whole number (Wan) */
    GEN_TIME_BF16   /* rounded to 8 significant bits (rCM) */
} gen_time_number;
double gen_time_rounded(gen_time_number number, double time);

/* A diffusers scheduler_config.json, keys that matter.  Made by gen_scheduler_config_init(), then
 * changed key by key.  Plain data without ownership. */
struct gen_scheduler_config {
    const char *class_name; /* of the table in scheduler_config.c; "" when there was no file */
    const char *sampler;    /* name of the solver of that class */
    const char *schedule;   /* name of the schedule of that class; NULL: by the keys below */
    gen_process process;    /* what the network was trained on */
    gen_network_kind network;
    gen_prediction_type prediction_type;
    gen_time_rule time_rule;
    gen_time_number time_number;
    double recommended_scale; /* guidance (u + g (c - u)) it was trained for; 0: none */

    int num_train_timesteps; /* T */
    gen_beta_schedule beta_schedule;
    double beta_start, beta_end;
    const double *trained_betas; /* [num_trained_betas], borrowed, or NULL */
    int num_trained_betas;       /* T, when given */
    bool rescale_betas_zero_snr;
    bool set_alpha_to_one; /* final level: no noise, instead of that of t = 0 */

    gen_spacing timestep_spacing;
    int steps_offset;
    bool interpolates_log;       /* kappa between whole t */
    char timestep_respacing[32]; /* "250", "ddim50", "10,15,20": guided diffusion's lists */
    bool use_karras_sigmas, use_exponential_sigmas, use_beta_sigmas, use_flow_sigmas;
    double rho, poly_rho;        /* of Karras' and of the polyexponential schedule */
    double sigma_min, sigma_max; /* 0: from the schedule */
    double sigma_data;           /* deviation of the data, for EDM's and sCM's predictions */
    double max_angle;            /* scm: where it starts; 0: by sigma_max */
    const double *middle_angles; /* scm, rcm: [num_middle_angles], borrowed; NULL: the schedule's */
    int num_middle_angles;
    bool spreads_angles;       /* scm: two steps, too, have even angles */
    bool ends_at_sigma_min;    /* final_sigmas_type */
    double lambda_min_clipped; /* -INFINITY: none */

    double shift;              /* flow: static shift (also "flow_shift") */
    bool use_dynamic_shifting; /* flow: shift by the size of the image instead */
    bool shifts_linearly;      /* time_shift_type "linear" instead of "exponential" */
    double base_shift, max_shift;
    int base_image_seq_len, max_image_seq_len;
    double shift_terminal; /* 0: none */
    bool uses_flux2_shift; /* mu by gen_flux2_mu() */
    bool stochastic_sampling;

    bool clip_sample;
    double clip_sample_range;
    bool thresholding; /* dynamic, per sample */
    double dynamic_thresholding_ratio, sample_max_value;
    bool use_clipped_model_output; /* ddim: noise recomputed from the clipped x0 */

    gen_variance variance_type;
    bool draws_at_end; /* ddpm, ddim: guided diffusion draws in the last step, too, and in all */
    int solver_order;
    bool is_midpoint; /* dpm-solver++ second order: midpoint, else heun */
    bool is_sde;      /* algorithm_type sde-dpmsolver++ */
    bool lower_order_final, euler_at_final;
    bool predicts_noise;          /* algorithm_type dpmsolver; predict_x0 false */
    bool is_bh1;                  /* unipc: solver_type bh1, else bh2 */
    uint64_t disabled_corrector;  /* unipc: bit i: none after step i */
    bool skips_runge_kutta;       /* pndm: false is not built, see gen_scheduler_config_unmet() */
    int original_inference_steps; /* lcm, tcd */
    double timestep_scaling;      /* lcm */

    double eta;            /* ddim, tcd, ancestral: share of fresh noise */
    double s_noise;        /* factor on fresh noise; the noise scale of a bridge */
    double s_churn;        /* euler, heun: noise added before the steps, 0 none (EDM, alg. 2) */
    double s_tmin, s_tmax; /*   only where s_tmin <= kappa <= s_tmax; s_tmax 0: without limit */
    int jump_length, jump_n_sample; /* repaint: how far and how often it goes back */
};

/* The defaults of a class; NULL or "": a file without configuration, sampled as other programs do
 * (Stable Diffusion's betas, discrete spacing, Euler).  Errors: MODEL when the class is unknown. */
gen_status gen_scheduler_config_init(gen_scheduler_config *config, const char *class_name,
                                     gen_error *err);

/* Sets one key of the file.  Unknown keys are ignored; so are nulls (do not call).  Errors: MODEL
 * for a value that is of the wrong kind, out of range or an unknown name. */
gen_status gen_scheduler_config_set_number(gen_scheduler_config *config, const char *key,
                                           double value, gen_error *err);
gen_status gen_scheduler_config_set_string(gen_scheduler_config *config, const char *key,
                                           const char *value, gen_error *err);
gen_status gen_scheduler_config_set_bool(gen_scheduler_config *config, const char *key, bool value,
                                         gen_error *err);
/* Lists: "trained_betas", "disable_corrector", "mid_t"; values are borrowed as long as the config
 * is used. */
gen_status gen_scheduler_config_set_numbers(gen_scheduler_config *config, const char *key,
                                            const double *values, int count, gen_error *err);

/* Is the key one that counts, or one whose name says that it does not ("_class_name")? */
bool gen_scheduler_config_knows(const char *key);
/* Checks what several keys say together, when all are set.  Errors: MODEL. */
gen_status gen_scheduler_config_check(const gen_scheduler_config *config, gen_error *err);
/* A sentence on what the keys ask for and nothing here does; NULL when there is nothing. */
const char *gen_scheduler_config_unmet(const gen_scheduler_config *config);

/* mu of dynamic shifting for an image of so many tokens: linear through the two anchors. */
double gen_scheduler_config_mu(const gen_scheduler_config *config, int64_t image_seq_len);
/* mu of Flux.2. */
double gen_flux2_mu(int64_t image_seq_len, int num_steps);

/* ---- samplers (solver.c) -----------------------------------------------------------------------
 */

typedef struct gen_sampler gen_sampler;

typedef struct gen_sampler_info {
    const char *name;
    const char *aliases; /* comma separated: names in diffusers, A1111, ComfyUI, sd.cpp */
    const char *paper;
    const char *calls; /* network calls for n steps, without guidance: "n", "2n-1" */
    const char *purpose;
    bool is_stochastic; /* draws noise in its steps (by default) */
    bool inverts;       /* walks from clean latents to their noise */
    bool churns;        /* euler, heun: can add noise before its steps */
    bool needs_mask;    /* repaints what a mask leaves open: gen_solve_params.inpaint */
} gen_sampler_info;

/* Case, spaces, '-' and '_' do not matter.  NULL when unknown. */
const gen_sampler *gen_sampler_find(const char *name);
const gen_sampler *gen_sampler_at(int i); /* NULL behind the last */
const gen_sampler_info *gen_sampler_info_of(const gen_sampler *sampler);
/* The sampler a configuration asks for. */
const gen_sampler *gen_sampler_of(const gen_scheduler_config *config);

/* ---- schedules (schedule.c) --------------------------------------------------------------------
 */

typedef struct gen_schedule_info {
    const char *name, *aliases, *paper, *purpose;
} gen_schedule_info;

const gen_schedule_info *gen_schedule_info_find(const char *name); /* NULL when unknown */
const gen_schedule_info *gen_schedule_info_at(int i);              /* NULL behind the last */

/* Splits names like "DPM++ 2M Karras" or "euler".  schedule is NULL when the name has none.
 * false when unknown. */
bool gen_sampler_parse(const char *name, const gen_sampler **sampler, const char **schedule);

typedef struct gen_step {
    gen_level from,
        to;      /* in the sampler's coordinates; from of a step need not be the previous to */
    double time; /* what the network is told at `from` */
    gen_level through; /* tcd: the level its deterministic part goes to; else `to` */
    gen_level raised;  /* churn: noise is added up to this level first; both 0: no churn */
    double raised_time;
} gen_step;

typedef struct gen_schedule {
    gen_step *steps; /* [num_steps], owned */
    int num_steps;
    const char *name;    /* of the kind of schedule that made it, static */
    int first;           /* steps left out at the front (img2img) */
    double init_scale;   /* pure noise is multiplied by this to start */
    gen_process process; /* coordinates of the levels */
    bool has_strength;   /* made for the strength of image to image: gen_schedule_cut() keeps all */
    bool rises;          /* walks upward: a strength keeps the first steps, not the last */
    void *memory;
} gen_schedule;

typedef struct gen_schedule_params {
    const gen_sampler *sampler; /* NULL: that of the config */
    const char *schedule;       /* NULL: that of the config */
    int num_steps; /* num_inference_steps; 0: the schedule's own; ignored with a list below */
    const double *sigmas; /* explicit list, kappa (flow: tau before shifting), without the end */
    int num_sigmas;
    const double *timesteps; /* explicit list of training times, descending */
    int num_timesteps;
    bool has_mu; /* flow, dynamic shifting: mu given, else from image_seq_len */
    double mu;
    int64_t image_seq_len; /* tokens of the image */
    double strength;       /* image to image, for schedules that begin lower by themselves (lcm):
                              0 counts as 1 */
} gen_schedule_params;

/* Errors: ARGUMENT for a number of steps out of range, an unknown name, a list that does not
 * descend, or a schedule and sampler that cannot go together; MEMORY. */
gen_status gen_schedule_new(gen_schedule **out, const gen_scheduler_config *config,
                            const gen_schedule_params *params, gen_error *err);
void gen_schedule_free(gen_schedule *schedule);

/* Keeps the last min(int(n * strength), n) steps, as diffusers' image to image does.
 * Errors: ARGUMENT when strength is outside [0,1] or leaves no step. */
gen_status gen_schedule_cut(gen_schedule *schedule, double strength, gen_error *err);

/* The first of n steps that a strength keeps, as other programs count. */
typedef enum gen_strength_rule {
    GEN_STRENGTH_DIFFUSERS, /* n - int(n p) */
    GEN_STRENGTH_FLUX,      /* int(n - n p): diffusers' Flux */
    GEN_STRENGTH_A1111      /* n - int(n min(p, .999)) - 1, also stable-diffusion.cpp */
} gen_strength_rule;
int gen_strength_start(gen_strength_rule rule, int num_steps, double strength);
gen_status gen_schedule_cut_by(gen_schedule *schedule, gen_strength_rule rule, double strength,
                               gen_error *err);
/* Keeps the steps from the first level at or below kappa (a strength p as a noise level: p / (1 -
 * p), which is tau = p for flow).  Errors: ARGUMENT when none is left. */
gen_status gen_schedule_cut_at(gen_schedule *schedule, double kappa, gen_error *err);

/* x [n] = alpha latents + sigma noise at the level step i starts from; x may be one of them. */
void gen_schedule_add_noise(const gen_schedule *schedule, int step, const float *latents,
                            const float *noise, float *x, size_t n);

/* ---- inpainting (img2img.c) --------------------------------------------------------------------
 */

typedef struct gen_inpaint {
    const float *latents; /* [n], clean: what is known */
    const float *mask;    /* [n / channels]: 1 where the picture is made anew, 0 where it is kept */
    int channels;
} gen_inpaint;

/* Keeps the known part in every answer of `inner` (denoised latents; borrowed, as are the arrays).
 * Works with every solver.  Errors: ARGUMENT, MEMORY. */
gen_status gen_inpaint_new(gen_denoiser **out, const gen_denoiser *inner, const gen_inpaint *params,
                           gen_error *err);
/* The way of the references, after a step instead: the known part of x [n] becomes the known
 * latents at `level`, with the noise the run started from (NULL at the clean end). */
void gen_inpaint_known(const gen_inpaint *params, gen_level level, const float *noise, float *x,
                       size_t n);

/* ---- long videos (windows.c) -------------------------------------------------------------------
 */

/* Windows of frames that overlap, in each step denoised one after the other and merged. */
typedef struct gen_windows {
    int num_frames, window, overlap; /* of the latents; 0 <= overlap < window */
    size_t frame_size;               /* floats of a frame; frames are the outermost dimension */
} gen_windows;

int gen_windows_count(const gen_windows *windows);
/* First frame and number of frames of window k; the last one may be shorter. */
void gen_windows_at(const gen_windows *windows, int k, int *first, int *num);
/* A denoiser of all frames from one of a window (`inner`), and, where the last window is shorter,
 * one of that size (`tail`); both are told the window's first frame.  In step 0 a later window
 * overwrites; after that its first frames fade in over the overlap (EchoMimicV3's Long Video
 * guidance, which merges after an Euler step: for a method linear in D that is the same, and
 * merging D serves every solver).  Borrows both.  Errors: ARGUMENT, MEMORY. */
gen_status gen_windows_new(gen_denoiser **out, const gen_denoiser *inner, const gen_denoiser *tail,
                           const gen_windows *windows, gen_error *err);
/* The noise of FreeNoise (Qiu et al. 2023, sec. 3.1): the frames behind the first window become the
 * frames a window before them, in another order within each stride.  noise [num_frames][frame_size]
 * is changed in place; the orders are drawn from rng. */
void gen_windows_reuse_noise(const gen_windows *windows, gen_rng *rng, float *noise);
/* How much each frame of a window counts where windows are averaged (the same, sec. 3.2): 1, 2, 3,
 * 2, 1. */
void gen_windows_pyramid(int window, double *weights);
/* Finished clips: the first `overlap` frames of next [..][frame_size] fade in over the last ones of
 * previous [overlap][frame_size]. */
void gen_windows_crossfade(float *next, const float *previous, int overlap, size_t frame_size);

/* ---- chunks of a video at levels of their own (chunks.c) ---------------------------------------
 */

/* MAGI-1: chunks enter a window one after the other and leave it clean.  In a stage every chunk of
 * the window makes num_steps / window steps. */
typedef struct gen_chunks {
    int num_chunks, window, num_steps;
    int prefix; /* leading chunks that are given, clean */
} gen_chunks;

typedef struct gen_chunk_stage {
    int first, end;               /* chunks in the window */
    int first_offset, end_offset; /* their stages in life, newest first: 0 is pure noise */
} gen_chunk_stage;

int gen_chunks_num_stages(const gen_chunks *chunks);
gen_chunk_stage gen_chunks_stage(const gen_chunks *chunks, int stage);
/* The step of the schedule that a chunk makes as the k-th of a stage. */
int gen_chunks_step(const gen_chunks *chunks, int stage, int chunk, int k);
/* How many chunks, itself included, a chunk attends to at a stage of its life; 1 when clean. */
int gen_chunks_reach(const gen_chunks *chunks, int offset);

/* ---- noise (noise.c) ---------------------------------------------------------------------------
 */

/* Fills z [n] with fresh unit noise.  Draws come in the order of the reference, also those that
 * will be multiplied by 0. */
typedef struct gen_noise_source {
    void *self;
    gen_status (*draw)(void *self, float *z, size_t n, gen_error *err);
} gen_noise_source;

/* A source that draws [channels, positions] tensors, the order of the references (NCHW, NCTHW of
 * one sample), and hands them out channels last, [positions, channels]. */
typedef struct gen_channel_noise {
    gen_rng *rng; /* borrowed */
    int channels;
    float *scratch;
    size_t size;
} gen_channel_noise;

gen_status gen_channel_noise_init(gen_channel_noise *noise, gen_rng *rng, int channels, size_t n,
                                  gen_error *err);
void gen_channel_noise_clear(gen_channel_noise *noise);
gen_noise_source gen_channel_noise_source(gen_channel_noise *noise);

/* noise [n] moves towards other [n] along the sphere: strength 0 keeps noise, 1 gives other
 * (A1111's variation seeds). */
void gen_noise_slerp(float *noise, const float *other, size_t n, double strength);

/* ---- solving -----------------------------------------------------------------------------------
 */

typedef struct gen_step_report {
    int step, num_steps; /* step is finished; steps are counted after cutting */
    gen_level level;     /* of x */
    const float *x, *denoised;
    size_t n;
} gen_step_report;

typedef struct gen_solve_params {
    const gen_denoiser *denoiser; /* gives clean latents */
    const gen_schedule *schedule;
    const gen_scheduler_config *config; /* options of the solver */
    gen_noise_source noise;             /* may be empty for deterministic samplers */
    /* What the network said about the variance of its last answer [denoiser->n]: it fills this
     * while it is asked.  Only for configurations that learn it. */
    const float *variance;
    const gen_inpaint *inpaint; /* repaint: what is known, and where */
    int num_samples;            /* pictures side by side in x; 0 counts as 1 */
    /* After each step; a status other than OK stops (CANCELLED, with err filled). May be NULL. */
    gen_status (*on_step)(void *self, const gen_step_report *report, gen_error *err);
    void *on_step_self;
} gen_solve_params;

/* Moves x [denoiser->n] along the schedule, in place.  All memory is taken before the first step.
 * Errors: what the denoiser, the noise source and on_step return; INTERNAL naming the step when a
 * value is not finite; ARGUMENT when the sampler cannot run this schedule; MEMORY. */
gen_status gen_solve(const gen_sampler *sampler, const gen_solve_params *params, float *x,
                     gen_error *err);

#endif
