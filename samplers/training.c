/* training.c - the levels a discrete VP network was trained on: betas and their running product.
 *
 *   linear         beta_i between beta_start and beta_end                     (Ho et al. 2020)
 *   scaled_linear  square root of beta linear                                 (Rombach et al. 2022)
 *   squaredcos     alphas_cumprod follow cos^2, betas at most 0.999           (Nichol & Dhariwal
 * 2021) sigmoid        beta a sigmoid from -6 to 6 between the two ends           (GeoDiff) */
#include "samplers/schedule.h"

#include <math.h>

#include "gen/core/alloc.h"

#define PI 3.141592653589793238462643383279

static double cosine_alpha(double t)
{
    const double c = cos((t + 0.008) / 1.008 * PI / 2);
    return c * c;
}

static double beta_at(const gen_scheduler_config *c, int i)
{
    const int num = c->num_train_timesteps;
    const double w = num > 1 ? (double)i / (num - 1) : 0;
    if (c->trained_betas)
        return c->trained_betas[i];
    switch (c->beta_schedule) {
    case GEN_BETAS_SCALED_LINEAR: {
        const double a = sqrt(c->beta_start), b = sqrt(c->beta_end), root = a + (b - a) * w;
        return root * root;
    }
    case GEN_BETAS_SQUAREDCOS:
        return fmin(1 - cosine_alpha((i + 1.0) / num) / cosine_alpha((double)i / num), 0.999);
    case GEN_BETAS_SIGMOID:
        return c->beta_start + (c->beta_end - c->beta_start) / (1 + exp(6 - 12 * w));
    default:
        return c->beta_start + (c->beta_end - c->beta_start) * w;
    }
}

/* sqrt(alphas_cumprod) is shifted and stretched so that the last is 0 and the first stays
 * (Lin et al. 2024, algorithm 1). */
static void rescale_zero_terminal(double *alphas_cumprod, int num)
{
    const double first = sqrt(alphas_cumprod[0]), last = sqrt(alphas_cumprod[num - 1]);
    for (int i = 0; i < num; i++) {
        const double root = (sqrt(alphas_cumprod[i]) - last) * (first / (first - last));
        alphas_cumprod[i] = root * root;
    }
    alphas_cumprod[num - 1] = 0;
}

gen_status gen_training_init(gen_training *training, const gen_scheduler_config *config,
                             bool is_capped, gen_error *err)
{
    const int num = config->num_train_timesteps;
    if (config->trained_betas && config->num_trained_betas != num)
        return gen_fail(err, GEN_ERROR_MODEL,
                        "scheduler: %d trained_betas, but num_train_timesteps is %d",
                        config->num_trained_betas, num);
    double *memory = gen_calloc((size_t)num * 3, sizeof *memory);
    if (!memory)
        return gen_no_memory(err, "noise levels", (size_t)num * 3 * sizeof *memory);
    *training = (gen_training){num, memory, memory + num, memory + 2 * (size_t)num};

    double product = 1;
    for (int i = 0; i < num; i++) {
        const double beta = beta_at(config, i);
        if (!(beta > 0 && beta < 1)) {
            gen_training_clear(training);
            return gen_fail(
                err, GEN_ERROR_MODEL,
                "scheduler: beta of timestep %d is %g, expected a number between 0 and 1", i, beta);
        }
        product *= 1 - beta;
        training->alphas_cumprod[i] = product;
    }
    if (config->rescale_betas_zero_snr && num > 1) {
        rescale_zero_terminal(training->alphas_cumprod, num);
        if (is_capped)
            training->alphas_cumprod[num - 1] = 0x1p-24;
    }
    for (int i = 0; i < num; i++) {
        const double a = training->alphas_cumprod[i];
        training->kappa[i] = a > 0 ? sqrt((1 - a) / a) : INFINITY;
        training->log_kappa[i] = log(training->kappa[i]);
    }
    return GEN_OK;
}

void gen_training_clear(gen_training *training)
{
    gen_free(training->alphas_cumprod);
    *training = (gen_training){0};
}

double gen_training_kappa(const gen_training *training, double time, bool is_log)
{
    if (time <= 0)
        return training->kappa[0];
    if (time >= training->num - 1)
        return training->kappa[training->num - 1];
    const int low = (int)time;
    const double w = time - low;
    if (w == 0)
        return training->kappa[low];
    if (is_log)
        return exp((1 - w) * training->log_kappa[low] + w * training->log_kappa[low + 1]);
    return (1 - w) * training->kappa[low] + w * training->kappa[low + 1];
}

double gen_training_time(const gen_training *training, double kappa)
{
    const double target = log(fmax(kappa, 1e-10));
    int low = 0, high = training->num - 1;
    if (target <= training->log_kappa[low])
        return low;
    if (target >= training->log_kappa[high])
        return high;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (training->log_kappa[middle] <= target)
            low = middle;
        else
            high = middle;
    }
    const double step = training->log_kappa[high] - training->log_kappa[low];
    return isinf(step) ? low : low + (target - training->log_kappa[low]) / step;
}
