/* solver_unipc.c - UniPC, a predictor-corrector of order 1 to 3 (Zhao et al. 2023, alg. 5 to 8). */
#include "samplers/solver.h"

#include <math.h>
#include <string.h>

/* In lambda = -ln kappa, with h the jump from s0 to t, hh = -h, phi = e^hh - 1, B = phi (bh2) or hh
 * (bh1), m the denoised latents, r_k = (lambda_k - lambda_s0) / h for earlier points k and 1 for t:
 *   x_t = (sigma_t / sigma_s0) x_s0 - alpha_t phi m_s0
 *         - alpha_t B sum_k rho_k (m_k - m_s0) / r_k
 * where rho solves sum_k rho_k r_k^(q-1) = b_q.  The predictor has no m_t; the corrector repeats
 * the previous jump with m_t, evaluated at the predicted x_t and not again.
 *
 * Without predict_x0, m is noise, and alpha and sigma (so also the sign of lambda) change places.
 */
#define MAX_ORDER 3

enum { CORRECTED, DENOISED, NEWEST }; /* buffers: x before the last jump; then a ring of m */
#define RING (MAX_ORDER + 1)

static float *answer_at(const gen_solver *s, int i)
{
    return gen_solver_buffer(s, NEWEST + i % RING);
}

/* Gaussian elimination with pivoting; n is at most 3 and the points are distinct. */
static void solve_linear(int n, double a[MAX_ORDER][MAX_ORDER], double *b)
{
    for (int col = 0; col < n; col++) {
        int pivot = col;
        for (int i = col + 1; i < n; i++)
            if (fabs(a[i][col]) > fabs(a[pivot][col]))
                pivot = i;
        for (int k = 0; k < n; k++) {
            const double t = a[col][k];
            a[col][k] = a[pivot][k];
            a[pivot][k] = t;
        }
        const double t = b[col];
        b[col] = b[pivot];
        b[pivot] = t;
        for (int i = col + 1; i < n; i++) {
            const double f = a[i][col] / a[col][col];
            for (int k = col; k < n; k++)
                a[i][k] -= f * a[col][k];
            b[i] -= f * b[col];
        }
    }
    for (int i = n - 1; i >= 0; i--) {
        for (int k = i + 1; k < n; k++)
            b[i] -= a[i][k] * b[k];
        b[i] /= a[i][i];
    }
}

/* rho for `num` points of an order-`order` jump; order / num 1 has the closed form of the paper. */
static void weights(int num, const double *r, double hh, double base, double *rho)
{
    double matrix[MAX_ORDER][MAX_ORDER], phi = expm1(hh) / hh - 1, factorial = 1;
    if (num == 1) {
        rho[0] = 0.5;
        return;
    }
    for (int q = 0; q < num; q++) {
        for (int k = 0; k < num; k++)
            matrix[q][k] = pow(r[k], q);
        rho[q] = phi * factorial / base;
        factorial *= q + 2;
        phi = phi / hh - 1 / factorial;
    }
    solve_linear(num, matrix, rho);
}

/* The jump of step i from x, with the order's earlier points, and with m_t of step i + 1 when it is
 * known (corrector).  out may be x. */
static void jump(const gen_solver *s, int i, int order, bool corrects, const float *x, float *out)
{
    const gen_level from = gen_solver_level(s, s->steps[i].from);
    const gen_level to = gen_solver_level(s, s->steps[i].to);
    const double lambda = gen_lambda(from), h = gen_lambda(to) - lambda, hh = -h, phi = expm1(hh);
    const double base = s->config->is_bh1 ? hh : phi;
    double c[MAX_ORDER + 2] = {to.sigma / from.sigma, -to.alpha * phi};
    const float *v[MAX_ORDER + 2] = {x, answer_at(s, i)};
    double r[MAX_ORDER], rho[MAX_ORDER];
    int num = 0;
    for (int k = 1; k < order; k++) {
        r[num] = (gen_lambda(gen_solver_level(s, s->steps[i - k].from)) - lambda) / h;
        v[2 + num++] = answer_at(s, i - k);
    }
    if (corrects) {
        r[num] = 1;
        v[2 + num++] = answer_at(s, i + 1);
    }
    if (num > 0)
        weights(num, r, hh, base, rho);
    for (int k = 0; k < num; k++) {
        c[2 + k] = -to.alpha * base * rho[k] / r[k];
        c[1] -= c[2 + k];
    }
    gen_combine(out, s->n, 2 + num, c, v);
}

static int order_at(const gen_solver *s, int i)
{
    int order = s->config->solver_order < MAX_ORDER ? s->config->solver_order : MAX_ORDER;
    if (s->config->lower_order_final && order > s->num_steps - i)
        order = s->num_steps - i;
    if (s->steps[i].to.sigma <= 0 || s->steps[i].to.sigma == s->steps[i].from.sigma || order < 1)
        return 1;
    return order > i + 1 ? i + 1 : order;
}

static gen_status solve(gen_solver *s, float *x, gen_error *err)
{
    float *corrected = gen_solver_buffer(s, CORRECTED);
    int previous_order = 0;
    for (int i = 0; i < s->num_steps; i++) {
        const gen_step *step = &s->steps[i];
        float *denoised = s->is_noise_form ? gen_solver_buffer(s, DENOISED) : answer_at(s, i);
        GEN_TRY(gen_solver_denoise(s, i, step->from, step->time, x, denoised, NULL, err));
        if (s->is_noise_form)
            gen_solver_noise(s, step->from, x, denoised, answer_at(s, i));
        const bool corrects = i > 0 && !(i <= 64 && s->config->disabled_corrector >> (i - 1) & 1);
        if (corrects)
            jump(s, i - 1, previous_order, true, corrected, x);
        memcpy(corrected, x, s->n * sizeof *x);
        previous_order = order_at(s, i);
        jump(s, i, previous_order, false, corrected, x);
        GEN_TRY(gen_solver_step_done(s, i, x, denoised, err));
    }
    return GEN_OK;
}

static const char *refuse(const gen_scheduler_config *config)
{
    return config->predicts_noise && !config->ends_at_sigma_min
               ? "its noise form (predict_x0 false) cannot end clean; final_sigmas_type has to be "
                 "sigma_min"
               : NULL;
}

const gen_sampler gen_sampler_unipc = {
    .info = {.name = "unipc",
             .aliases = "uni_pc, uni_pc_bh2, UniPCMultistepScheduler",
             .paper = "Zhao et al. 2023, UniPC",
             .calls = "n",
             .purpose = "noise-table models, 10 to 20 steps; flow with its own schedule (Wan)"},
    .rule = GEN_RULE_DPM,
    .refuse = refuse,
    .needs_finite_kappa = true,
    .has_noise_form = true,
    .num_buffers = NEWEST + RING,
    .solve = solve,
};
