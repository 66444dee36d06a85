/* scheduler_config.c - the keys of scheduler_config.json and the defaults of each class.
 *
 * Two tables: classes (what is true when the file does not say), and keys (where a value goes and
 * what it may be).  A new key is one row. */
#include "samplers/samplers.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "samplers/names.h"
#include "samplers/solver.h"

/* ---- classes -----------------------------------------------------------------------------------
 */

/* What all classes agree on, unless their row changes it. */
static const gen_scheduler_config COMMON = {
    .class_name = "",
    .sampler = "euler",
    .num_train_timesteps = 1000,
    .rho = 7,
    .poly_rho = 1,
    .sigma_data = 0.5,
    .beta_start = 0.0001,
    .beta_end = 0.02,
    .set_alpha_to_one = true,
    .timestep_spacing = GEN_SPACING_LEADING,
    .lambda_min_clipped = -INFINITY,
    .shift = 1,
    .base_shift = 0.5,
    .max_shift = 1.15,
    .base_image_seq_len = 256,
    .max_image_seq_len = 4096,
    .clip_sample_range = 1,
    .dynamic_thresholding_ratio = 0.995,
    .sample_max_value = 1,
    .solver_order = 2,
    .is_midpoint = true,
    .lower_order_final = true,
    .original_inference_steps = 50,
    .timestep_scaling = 10,
    .s_noise = 1,
    .skips_runge_kutta = true,
    .jump_length = 10,
    .jump_n_sample = 10,
};

static void stable_diffusion_betas(gen_scheduler_config *c)
{
    c->beta_start = 0.00085;
    c->beta_end = 0.012;
}

static void no_file(gen_scheduler_config *c)
{
    stable_diffusion_betas(c);
    c->beta_schedule = GEN_BETAS_SCALED_LINEAR;
    c->timestep_spacing = GEN_SPACING_DISCRETE;
    c->interpolates_log = true;
}

static void pndm(gen_scheduler_config *c)
{
    c->skips_runge_kutta = false;
}

static void clips(gen_scheduler_config *c)
{
    c->clip_sample = true; /* a default for pixels; files of latent models switch it off */
}

static void linspace(gen_scheduler_config *c)
{
    c->timestep_spacing = GEN_SPACING_LINSPACE;
}

static void heun(gen_scheduler_config *c)
{
    stable_diffusion_betas(c);
    linspace(c);
}

static void lcm(gen_scheduler_config *c)
{
    stable_diffusion_betas(c);
    c->beta_schedule = GEN_BETAS_SCALED_LINEAR;
}

static void flow(gen_scheduler_config *c)
{
    c->process = GEN_PROCESS_FLOW;
    c->prediction_type = GEN_PREDICT_FLOW;
}

static void tcd(gen_scheduler_config *c)
{
    lcm(c);
    c->eta = 0.3;
}

/* rCM's teacher samplers. */
static void flow_range(gen_scheduler_config *c)
{
    flow(c);
    c->schedule = "flow_range";
}

static void rcm(gen_scheduler_config *c)
{
    flow(c);
    c->network = GEN_NETWORK_CONSISTENCY;
    c->schedule = "rcm";
    c->time_number = GEN_TIME_BF16; /* the released code casts T tau before embedding it */
    c->sigma_max = 80;
}

static void scm(gen_scheduler_config *c)
{
    c->network = GEN_NETWORK_CONSISTENCY;
    c->prediction_type = GEN_PREDICT_V;
    c->schedule = "scm";
    c->time_rule = GEN_TIME_ANGLE;
    c->max_angle = 1.5708; /* as the class writes pi / 2 */
}

static void edm(gen_scheduler_config *c)
{
    c->process = GEN_PROCESS_VE;
    c->prediction_type = GEN_PREDICT_EDM;
    c->schedule = "karras";
    c->time_rule = GEN_TIME_EDM;
    c->sigma_min = 0.002;
    c->sigma_max = 80;
}

static void consistency(gen_scheduler_config *c)
{
    edm(c);
    clips(c);
    c->network = GEN_NETWORK_CONSISTENCY;
    c->prediction_type = GEN_PREDICT_CONSISTENCY;
    c->schedule = "cm";
    c->time_rule = GEN_TIME_CONSISTENCY;
    c->num_train_timesteps = 40;
}

/* OpenAI's guided diffusion, which DiT copies: eps always belongs to the clipped x0. */
static void guided_diffusion(gen_scheduler_config *c)
{
    c->schedule = "respaced";
    c->variance_type = GEN_VARIANCE_LEARNED_RANGE;
    c->use_clipped_model_output = true;
    c->draws_at_end = true;
}

static void bridge(gen_scheduler_config *c)
{
    c->process = GEN_PROCESS_VE;
    c->network = GEN_NETWORK_BRIDGE;
}

static void vibt(gen_scheduler_config *c)
{
    bridge(c);
    c->prediction_type = GEN_PREDICT_BRIDGE;
    c->schedule = "vibt";
    c->shift = 5;
}

static void i2sb(gen_scheduler_config *c)
{
    bridge(c);
    c->schedule = "i2sb";
    c->beta_end = 0.3; /* beta_max, over all T */
}

static void bbdm(gen_scheduler_config *c)
{
    bridge(c);
    c->prediction_type = GEN_PREDICT_DIFFERENCE;
    c->schedule = "bbdm";
}

static const struct {
    const char *name, *sampler;
    void (*defaults)(gen_scheduler_config *config);
} CLASSES[] = {
    {"", "euler", no_file},
    {"DDIMScheduler", "ddim", clips},
    {"DDPMScheduler", "ddpm", clips},
    {"PNDMScheduler", "pndm", pndm},
    {"EulerDiscreteScheduler", "euler", linspace},
    {"EulerAncestralDiscreteScheduler", "euler_a", linspace},
    {"HeunDiscreteScheduler", "heun", heun},
    {"LMSDiscreteScheduler", "lms", linspace},
    {"DPMSolverMultistepScheduler", "dpmpp_2m", linspace},
    {"UniPCMultistepScheduler", "unipc", linspace},
    {"LCMScheduler", "lcm", lcm},
    {"FlowMatchEulerDiscreteScheduler", "euler", flow},
    {"FlowMatchHeunDiscreteScheduler", "heun", flow},
    {"TCDScheduler", "tcd", tcd},
    {"RePaintScheduler", "repaint", clips},
    {"EDMEulerScheduler", "euler", edm},
    {"EDMDPMSolverMultistepScheduler", "dpmpp_2m", edm},
    {"CMStochasticIterativeScheduler", "cm", consistency},
    {"SCMScheduler", "scm", scm},
    {"rCM", "scm", rcm},
    {"FlowEulerSampler", "euler", flow_range},
    {"FlowUniPCMultistepSampler", "unipc", flow_range},
    {"GaussianDiffusion", "ddpm", guided_diffusion},
    {"ViBTScheduler", "bridge", vibt},
    {"I2SB", "bridge", i2sb},
    {"BBDM", "bridge", bbdm},
};

#define COUNT(array) ((int)(sizeof(array) / sizeof(array)[0]))

gen_status gen_scheduler_config_init(gen_scheduler_config *config, const char *class_name,
                                     gen_error *err)
{
    if (!class_name)
        class_name = "";
    for (int i = 0; i < COUNT(CLASSES); i++) {
        if (strcmp(class_name, CLASSES[i].name) != 0)
            continue;
        *config = COMMON;
        config->class_name = CLASSES[i].name;
        config->sampler = CLASSES[i].sampler;
        if (CLASSES[i].defaults)
            CLASSES[i].defaults(config);
        return GEN_OK;
    }
    gen_fail(err, GEN_ERROR_MODEL, "scheduler class \"%s\" is not known", class_name);
    if (err)
        gen_hint(err, "known are DDIMScheduler, DDPMScheduler, PNDMScheduler, "
                      "EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler and others; choose "
                      "one with --sampler");
    return GEN_ERROR_MODEL;
}

const gen_sampler *gen_sampler_of(const gen_scheduler_config *config)
{
    const gen_sampler *sampler = gen_sampler_find(config->sampler);
    const bool is_third = config->solver_order >= 3;
    if (sampler != &gen_sampler_dpmpp_2m)
        return sampler;
    if (config->is_sde)
        return is_third ? &gen_sampler_dpmpp_3m_sde : &gen_sampler_dpmpp_2m_sde;
    return is_third ? &gen_sampler_dpmpp_3m : sampler;
}

double gen_scheduler_config_mu(const gen_scheduler_config *config, int64_t image_seq_len)
{
    const double length = config->max_image_seq_len - config->base_image_seq_len;
    const double slope = length != 0 ? (config->max_shift - config->base_shift) / length : 0;
    return config->base_shift + slope * ((double)image_seq_len - config->base_image_seq_len);
}

/* ---- keys --------------------------------------------------------------------------------------
 */

#define FIELD(name) offsetof(gen_scheduler_config, name)

static const struct {
    const char *key;
    size_t field;
    bool is_int;
    double min, max;
} NUMBERS[] = {
    {"num_train_timesteps", FIELD(num_train_timesteps), true, 1, 100000},
    {"beta_start", FIELD(beta_start), false, 0, 1},
    {"beta_end", FIELD(beta_end), false, 0, 1},
    {"steps_offset", FIELD(steps_offset), true, 0, 100000},
    {"sigma_min", FIELD(sigma_min), false, 0, 1e9},
    {"sigma_max", FIELD(sigma_max), false, 0, 1e9},
    {"lambda_min_clipped", FIELD(lambda_min_clipped), false, -INFINITY, 1e9},
    {"shift", FIELD(shift), false, 1e-6, 1e6},
    {"flow_shift", FIELD(shift), false, 1e-6, 1e6},
    {"shift_gamma", FIELD(shift), false, 1e-6, 1e6},
    {"sigma_data", FIELD(sigma_data), false, 1e-6, 1e6},
    {"rho", FIELD(rho), false, 1e-3, 1e3},
    {"poly_rho", FIELD(poly_rho), false, 1e-3, 1e3},
    {"max_timesteps", FIELD(max_angle), false, 1e-6, 1.5709},
    {"beta_max", FIELD(beta_end), false, 1e-9, 1e3},
    {"max_var", FIELD(sigma_max), false, 1e-9, 1e3},
    {"recommended_guidance_scale", FIELD(recommended_scale), false, 0, 1e3},
    {"base_shift", FIELD(base_shift), false, -100, 100},
    {"max_shift", FIELD(max_shift), false, -100, 100},
    {"base_image_seq_len", FIELD(base_image_seq_len), true, 0, 1e9},
    {"max_image_seq_len", FIELD(max_image_seq_len), true, 0, 1e9},
    {"shift_terminal", FIELD(shift_terminal), false, 0, 1 - 1e-9},
    {"clip_sample_range", FIELD(clip_sample_range), false, 0, 1e9},
    {"dynamic_thresholding_ratio", FIELD(dynamic_thresholding_ratio), false, 0, 1},
    {"sample_max_value", FIELD(sample_max_value), false, 0, 1e9},
    {"solver_order", FIELD(solver_order), true, 1, 3},
    {"original_inference_steps", FIELD(original_inference_steps), true, 1, 100000},
    {"timestep_scaling", FIELD(timestep_scaling), false, 0, 1e9},
    {"eta", FIELD(eta), false, 0, 1e9},
    {"s_noise", FIELD(s_noise), false, 0, 1e9},
    {"noise_scale", FIELD(s_noise), false, 0, 1e9},
    {"s_churn", FIELD(s_churn), false, 0, 1e9},
    {"s_tmin", FIELD(s_tmin), false, 0, 1e9},
    {"s_tmax", FIELD(s_tmax), false, 0, 1e9},
    {"jump_length", FIELD(jump_length), true, 1, 100000},
    {"jump_n_sample", FIELD(jump_n_sample), true, 1, 100000},
};

static const struct {
    const char *key;
    size_t field;
    bool is_negated;
} BOOLS[] = {
    {"rescale_betas_zero_snr", FIELD(rescale_betas_zero_snr), false},
    {"set_alpha_to_one", FIELD(set_alpha_to_one), false},
    {"use_karras_sigmas", FIELD(use_karras_sigmas), false},
    {"use_exponential_sigmas", FIELD(use_exponential_sigmas), false},
    {"use_beta_sigmas", FIELD(use_beta_sigmas), false},
    {"use_flow_sigmas", FIELD(use_flow_sigmas), false},
    {"use_dynamic_shifting", FIELD(use_dynamic_shifting), false},
    {"stochastic_sampling", FIELD(stochastic_sampling), false},
    {"clip_sample", FIELD(clip_sample), false},
    {"clip_denoised", FIELD(clip_sample), false},
    {"spreads_angles", FIELD(spreads_angles), false},
    {"thresholding", FIELD(thresholding), false},
    {"use_clipped_model_output", FIELD(use_clipped_model_output), false},
    {"lower_order_final", FIELD(lower_order_final), false},
    {"euler_at_final", FIELD(euler_at_final), false},
    {"predict_x0", FIELD(predicts_noise), true},
};

static const char *kind_of(const char *key);

/* Words of a key and the number each stands for; -1: known, but nothing here does that. */
typedef struct word {
    const char *text;
    int value;
} word;

static const word BETA_WORDS[] = {{"linear", GEN_BETAS_LINEAR},
                                  {"scaled_linear", GEN_BETAS_SCALED_LINEAR},
                                  {"squaredcos_cap_v2", GEN_BETAS_SQUAREDCOS},
                                  {"sigmoid", GEN_BETAS_SIGMOID},
                                  {NULL, 0}};
static const word SPACING_WORDS[] = {{"leading", GEN_SPACING_LEADING},
                                     {"trailing", GEN_SPACING_TRAILING},
                                     {"linspace", GEN_SPACING_LINSPACE},
                                     {NULL, 0}};
/* The reference takes a square root, so the logarithm of its "log" changes nothing. */
static const word VARIANCE_WORDS[] = {
    {"fixed_small", GEN_VARIANCE_SMALL},           {"fixed_small_log", GEN_VARIANCE_SMALL},
    {"fixed_large", GEN_VARIANCE_LARGE},           {"learned", GEN_VARIANCE_LEARNED},
    {"learned_range", GEN_VARIANCE_LEARNED_RANGE}, {NULL, 0}};
static const word PREDICTION_WORDS[] = {
    {"epsilon", GEN_PREDICT_EPSILON}, {"v_prediction", GEN_PREDICT_V},
    {"sample", GEN_PREDICT_SAMPLE},   {"flow_prediction", GEN_PREDICT_FLOW},
    {"trigflow", GEN_PREDICT_V},      {NULL, 0}};

/* What the network is told its times in.  Sinusoids are made in double whatever the word. */
static const word DTYPE_WORDS[] = {{"float64", GEN_TIME_REAL},
                                   {"float32", GEN_TIME_REAL},
                                   {"int64", GEN_TIME_WHOLE},
                                   {"bfloat16", GEN_TIME_BF16},
                                   {NULL, 0}};

static const word INTERPOLATION_WORDS[] = {{"linear", false}, {"log_linear", true}, {NULL, 0}};
static const word FINAL_WORDS[] = {{"zero", false}, {"sigma_min", true}, {NULL, 0}};
static const word SHIFT_WORDS[] = {{"exponential", false}, {"linear", true}, {NULL, 0}};

/* The EDM classes call their F by these names. */
static const word EDM_WORDS[] = {
    {"epsilon", GEN_PREDICT_EDM}, {"v_prediction", GEN_PREDICT_TRIGFLOW}, {NULL, 0}};

static gen_status bad_word(const char *key, const char *value, gen_error *err)
{
    return gen_fail(err, GEN_ERROR_MODEL, "scheduler: \"%s\" is \"%s\", which is not supported",
                    key, value);
}

static gen_status find_word(const word *words, const char *key, const char *value, int *out,
                            gen_error *err)
{
    for (; words->text; words++)
        if (strcmp(words->text, value) == 0) {
            *out = words->value;
            return GEN_OK;
        }
    return bad_word(key, value, err);
}

gen_status gen_scheduler_config_set_number(gen_scheduler_config *config, const char *key,
                                           double value, gen_error *err)
{
    for (int i = 0; i < COUNT(NUMBERS); i++) {
        if (strcmp(key, NUMBERS[i].key) != 0)
            continue;
        if (!(value >= NUMBERS[i].min && value <= NUMBERS[i].max) ||
            (NUMBERS[i].is_int && value != floor(value)))
            return gen_fail(err, GEN_ERROR_MODEL, "scheduler: \"%s\" is %g, expected %s%g to %g",
                            key, value, NUMBERS[i].is_int ? "a whole number, " : "", NUMBERS[i].min,
                            NUMBERS[i].max);
        void *field = (char *)config + NUMBERS[i].field;
        if (NUMBERS[i].is_int)
            *(int *)field = (int)value;
        else
            *(double *)field = value;
        return GEN_OK;
    }
    const char *expected = kind_of(key);
    return !expected ? GEN_OK
                     : gen_fail(err, GEN_ERROR_MODEL, "scheduler: \"%s\" is %g, expected %s", key,
                                value, expected);
}

/* Classes that clip have a range to clip to; others carry the key along from other files. */
static bool clips_samples(const gen_scheduler_config *config)
{
    static const char *const classes[] = {
        "EulerDiscreteScheduler",         "EulerAncestralDiscreteScheduler",
        "LMSDiscreteScheduler",           "PNDMScheduler",
        "DPMSolverMultistepScheduler",    "UniPCMultistepScheduler",
        "FlowMatchEulerDiscreteScheduler"};
    for (int i = 0; i < COUNT(classes); i++)
        if (strcmp(config->class_name, classes[i]) == 0)
            return false;
    return true;
}

/* Keys that set more than one field. */
static const char *const MORE_BOOLS[] = {"use_lu_lambdas", "learn_sigma", "invert_sigmas",
                                         "skip_prk_steps"};

static void set_more(gen_scheduler_config *config, const char *key, bool value)
{
    if (strcmp(key, "use_lu_lambdas") == 0 && value) /* even in lambda: the same */
        config->use_exponential_sigmas = true;
    else if (strcmp(key, "use_flow_sigmas") == 0 && value)
        config->process = GEN_PROCESS_FLOW;
    else if (strcmp(key, "learn_sigma") == 0)
        config->variance_type = value ? GEN_VARIANCE_LEARNED_RANGE : GEN_VARIANCE_LARGE;
    else if (strcmp(key, "skip_prk_steps") == 0)
        config->skips_runge_kutta = value;
    else if (strcmp(key, "invert_sigmas") == 0) { /* 1 - tau, from 0 up, a velocity towards x0 */
        config->time_rule = value ? GEN_TIME_REVERSED : GEN_TIME_TRAINING;
        config->prediction_type = value ? GEN_PREDICT_REVERSE_FLOW : GEN_PREDICT_FLOW;
    }
}

gen_status gen_scheduler_config_set_bool(gen_scheduler_config *config, const char *key, bool value,
                                         gen_error *err)
{
    const char *expected = kind_of(key);
    if (expected && strcmp(expected, "true or false") != 0)
        return gen_fail(err, GEN_ERROR_MODEL, "scheduler: \"%s\" is %s, expected %s", key,
                        value ? "true" : "false", expected);
    if (strcmp(key, "clip_sample") == 0 && !clips_samples(config))
        return GEN_OK;
    for (int i = 0; i < COUNT(BOOLS); i++)
        if (strcmp(key, BOOLS[i].key) == 0)
            *(bool *)((char *)config + BOOLS[i].field) = value != BOOLS[i].is_negated;
    set_more(config, key, value);
    return GEN_OK;
}

static gen_status set_algorithm(gen_scheduler_config *config, const char *value, gen_error *err)
{
    config->is_sde = strncmp(value, "sde-", 4) == 0;
    const char *rest = value + (config->is_sde ? 4 : 0);
    config->predicts_noise = strcmp(rest, "dpmsolver") == 0;
    if (!config->predicts_noise && strcmp(rest, "dpmsolver++") != 0)
        return bad_word("algorithm_type", value, err);
    return GEN_OK;
}

static gen_status set_solver_type(gen_scheduler_config *config, const char *value, gen_error *err)
{
    config->is_bh1 = strcmp(value, "bh1") == 0;
    config->is_midpoint = strcmp(value, "heun") != 0;
    if (config->is_midpoint && !config->is_bh1 && strcmp(value, "midpoint") != 0 &&
        strcmp(value, "bh2") != 0)
        return bad_word("solver_type", value, err);
    return GEN_OK;
}

static gen_status set_respacing(gen_scheduler_config *config, const char *value, gen_error *err)
{
    const size_t size = strlen(value);
    if (size >= sizeof config->timestep_respacing ||
        strspn(value, "0123456789,dim") != size) /* "ddimN" or counts */
        return bad_word("timestep_respacing", value, err);
    memcpy(config->timestep_respacing, value, size + 1);
    return GEN_OK;
}

/* Continuous times, ln kappa / 4 of a noise-table model, are not built. */
static gen_status check_timestep_type(gen_scheduler_config *config, const char *value,
                                      gen_error *err)
{
    (void)config;
    return strcmp(value, "discrete") == 0 ? GEN_OK : bad_word("timestep_type", value, err);
}

static gen_status set_prediction(gen_scheduler_config *config, const char *value, gen_error *err)
{
    int number = 0;
    const bool is_edm = config->time_rule == GEN_TIME_EDM;
    GEN_TRY(
        find_word(is_edm ? EDM_WORDS : PREDICTION_WORDS, "prediction_type", value, &number, err));
    config->prediction_type = (gen_prediction_type)number;
    return GEN_OK;
}

static gen_status set_sigma_schedule(gen_scheduler_config *config, const char *value,
                                     gen_error *err)
{
    if (strcmp(value, "karras") != 0 && strcmp(value, "exponential") != 0)
        return bad_word("sigma_schedule", value, err);
    config->schedule = value[0] == 'k' ? "karras" : "exponential";
    return GEN_OK;
}

/* Keys with words: those of a list go into a field, which is an enumeration or a bool; the others
 * have a function. */
static const struct {
    const char *key;
    const word *words;
    size_t field;
    bool is_bool;
    gen_status (*set)(gen_scheduler_config *config, const char *value, gen_error *err);
} STRINGS[] = {
    {"beta_schedule", BETA_WORDS, FIELD(beta_schedule), false, NULL},
    {"noise_schedule", BETA_WORDS, FIELD(beta_schedule), false, NULL},
    {"timestep_spacing", SPACING_WORDS, FIELD(timestep_spacing), false, NULL},
    {"variance_type", VARIANCE_WORDS, FIELD(variance_type), false, NULL},
    {"timestep_dtype", DTYPE_WORDS, FIELD(time_number), false, NULL},
    {"interpolation_type", INTERPOLATION_WORDS, FIELD(interpolates_log), true, NULL},
    {"final_sigmas_type", FINAL_WORDS, FIELD(ends_at_sigma_min), true, NULL},
    {"time_shift_type", SHIFT_WORDS, FIELD(shifts_linearly), true, NULL},
    {"timestep_type", NULL, 0, false, check_timestep_type},
    {"prediction_type", NULL, 0, false, set_prediction},
    {"algorithm_type", NULL, 0, false, set_algorithm},
    {"solver_type", NULL, 0, false, set_solver_type},
    {"sigma_schedule", NULL, 0, false, set_sigma_schedule},
    {"timestep_respacing", NULL, 0, false, set_respacing},
};

static const char *const LISTS[] = {"trained_betas", "mid_t", "disable_corrector"};

/* What the value of a key has to be; NULL for a key that nothing here reads. */
static const char *kind_of(const char *key)
{
    for (int i = 0; i < COUNT(NUMBERS); i++)
        if (strcmp(key, NUMBERS[i].key) == 0)
            return "a number";
    for (int i = 0; i < COUNT(BOOLS); i++)
        if (strcmp(key, BOOLS[i].key) == 0)
            return "true or false";
    for (int i = 0; i < COUNT(MORE_BOOLS); i++)
        if (strcmp(key, MORE_BOOLS[i]) == 0)
            return "true or false";
    for (int i = 0; i < COUNT(STRINGS); i++)
        if (strcmp(key, STRINGS[i].key) == 0)
            return "a word";
    for (int i = 0; i < COUNT(LISTS); i++)
        if (strcmp(key, LISTS[i]) == 0)
            return "a list of numbers";
    return NULL;
}

bool gen_scheduler_config_knows(const char *key)
{
    return key[0] == '_' || kind_of(key);
}

gen_status gen_scheduler_config_set_string(gen_scheduler_config *config, const char *key,
                                           const char *value, gen_error *err)
{
    for (int i = 0; i < COUNT(STRINGS); i++) {
        int number = 0;
        if (strcmp(key, STRINGS[i].key) != 0)
            continue;
        if (STRINGS[i].set)
            return STRINGS[i].set(config, value, err);
        GEN_TRY(find_word(STRINGS[i].words, key, value, &number, err));
        void *field = (char *)config + STRINGS[i].field;
        if (STRINGS[i].is_bool)
            *(bool *)field = number;
        else
            memcpy(field, &number, sizeof number);
        return GEN_OK;
    }
    const char *expected = kind_of(key);
    return !expected ? GEN_OK
                     : gen_fail(err, GEN_ERROR_MODEL, "scheduler: \"%s\" is \"%s\", expected %s",
                                key, value, expected);
}

gen_status gen_scheduler_config_set_numbers(gen_scheduler_config *config, const char *key,
                                            const double *values, int count, gen_error *err)
{
    const char *expected = kind_of(key);
    if (expected && strcmp(expected, "a list of numbers") != 0)
        return gen_fail(err, GEN_ERROR_MODEL, "scheduler: \"%s\" is a list, expected %s", key,
                        expected);
    if (strcmp(key, "trained_betas") == 0) {
        config->trained_betas = values;
        config->num_trained_betas = count;
    } else if (strcmp(key, "mid_t") == 0) {
        for (int i = 0; i < count; i++)
            if (!(values[i] > 0 && values[i] < 1.5707))
                return gen_fail(err, GEN_ERROR_MODEL,
                                "scheduler: \"mid_t\" holds %g, expected angles below pi/2",
                                values[i]);
        config->middle_angles = values;
        config->num_middle_angles = count;
    } else if (strcmp(key, "disable_corrector") == 0) {
        config->disabled_corrector = 0;
        for (int i = 0; i < count; i++) {
            if (!(values[i] >= 0 && values[i] < 64))
                return gen_fail(err, GEN_ERROR_MODEL,
                                "scheduler: \"disable_corrector\" holds %g, expected 0 to 63",
                                values[i]);
            config->disabled_corrector |= (uint64_t)1 << (int)values[i];
        }
    }
    return GEN_OK;
}

gen_status gen_scheduler_config_check(const gen_scheduler_config *c, gen_error *err)
{
    if (c->steps_offset >= c->num_train_timesteps)
        return gen_fail(err, GEN_ERROR_MODEL,
                        "scheduler: \"steps_offset\" is %d, expected less than the %d times of "
                        "training",
                        c->steps_offset, c->num_train_timesteps);
    if (c->process == GEN_PROCESS_VE && c->network != GEN_NETWORK_BRIDGE &&
        !(c->sigma_max > c->sigma_min && c->sigma_min > 0))
        return gen_fail(err, GEN_ERROR_MODEL,
                        "scheduler: \"sigma_min\" is %g and \"sigma_max\" %g, expected two levels "
                        "above 0 that rise",
                        c->sigma_min, c->sigma_max);
    return GEN_OK;
}

const char *gen_scheduler_config_unmet(const gen_scheduler_config *config)
{
    return config->skips_runge_kutta || strcmp(config->sampler, "pndm") != 0
               ? NULL
               : "\"skip_prk_steps\" is false, but a Runge-Kutta warm-up is not built: the first "
                 "steps are made as with true";
}
