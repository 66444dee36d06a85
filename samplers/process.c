/* process.c - levels of x = alpha x0 + sigma eps, and crossing between processes.
 *
 * Sampling does not depend on the choice of (alpha, sigma): two processes that agree on
 * kappa = sigma / alpha hold the same latent up to a factor, so a network trained on one serves a
 * sampler that runs another. */
#include "samplers/samplers.h"

#include <assert.h>
#include <math.h>

double gen_level_kappa(gen_level level)
{
    return level.alpha > 0 ? level.sigma / level.alpha : INFINITY;
}

gen_level gen_process_level(gen_process process, double kappa)
{
    assert(kappa >= 0 && (process != GEN_PROCESS_VE || isfinite(kappa)));
    if (process == GEN_PROCESS_VE)
        return (gen_level){1, kappa};
    if (isinf(kappa))
        return (gen_level){0, 1};
    const double norm = process == GEN_PROCESS_FLOW ? 1 + kappa : sqrt(1 + kappa * kappa);
    return (gen_level){1 / norm, kappa / norm};
}

double gen_level_crossing(gen_level from, gen_level to)
{
    /* The ratios of alpha and of sigma are equal; the larger one is the better known. */
    return from.alpha > from.sigma ? to.alpha / from.alpha : to.sigma / from.sigma;
}
