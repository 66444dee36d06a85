/* What solvers do with failures, and their names. */
#include "tests/test.h"
#include "gen/core/alloc.h"
#include "tests/unit/toy.h"

static gen_error err;

/* ---- failing -----------------------------------------------------------------------------------
 */

static gen_status denoise_nan(void *self, const float *x, const gen_point *at, float *out,
                              gen_error *e)
{
    (void)self;
    (void)x;
    (void)e;
    out[0] = 1;
    out[1] = at->step == 2 ? NAN : 1;
    return GEN_OK;
}

static gen_status denoise_fails(void *self, const float *x, const gen_point *at, float *out,
                                gen_error *e)
{
    (void)self;
    (void)x;
    out[0] = out[1] = 0;
    return at->step == 1 ? gen_fail(e, GEN_ERROR_DEVICE, "the device is gone") : GEN_OK;
}

static gen_status cancel_after_two(void *self, const gen_step_report *report, gen_error *e)
{
    ++*(int *)self;
    return report->step == 1 ? gen_fail(e, GEN_ERROR_CANCELLED, "stopped") : GEN_OK;
}

static void what_goes_wrong_in_a_step_is_passed_up(void **state)
{
    (void)state;
    gen_scheduler_config config;
    gen_schedule *schedule;
    int reports = 0;
    float x[2] = {0};
    gen_denoiser d = {.n = 2, .denoise = denoise_nan};
    EXPECT_OK(gen_scheduler_config_init(&config, NULL, &err));
    EXPECT_OK(gen_schedule_new(&schedule, &config, &(gen_schedule_params){.num_steps = 5}, &err));
    gen_solve_params params = {.denoiser = &d, .schedule = schedule, .config = &config};
    for (int i = 0; gen_sampler_at(i); i++) {
        const gen_sampler *s = gen_sampler_at(i);
        config.eta = gen_sampler_info_of(s)->is_stochastic ? 0.3 : 0;
        if (gen_sampler_info_of(s)->is_stochastic) {
            d.denoise = denoise_fails;
            EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_solve(s, &params, x, &err)); /* no noise source */
            continue;
        }
        d.denoise = denoise_nan;
        EXPECT_STATUS(GEN_ERROR_INTERNAL, gen_solve(s, &params, x, &err));
        EXPECT_CONTAINS(err.message, "[1] is not a number");
        memset(x, 0, sizeof x);
        d.denoise = denoise_fails;
        EXPECT_STATUS(GEN_ERROR_DEVICE, gen_solve(s, &params, x, &err));
        memset(x, 0, sizeof x);
    }
    gen_alloc_fail_at(1);
    EXPECT_STATUS(GEN_ERROR_MEMORY, gen_solve(gen_sampler_find("heun"), &params, x, &err));
    gen_alloc_fail_at(0);
    d.denoise = denoise_nan;
    params.on_step = cancel_after_two;
    params.on_step_self = &reports;
    EXPECT_STATUS(GEN_ERROR_CANCELLED, gen_solve(gen_sampler_find("euler"), &params, x, &err));
    assert_int_equal(reports, 2);
    gen_schedule_free(schedule);
}

static void names_of_other_programs_are_known(void **state)
{
    (void)state;
    static const struct {
        const char *text, *sampler, *schedule;
    } cases[] = {{"Euler a", "euler_a", NULL},
                 {"DPM++ 2M Karras", "dpmpp_2m", "karras"},
                 {"dpm++2m", "dpmpp_2m", NULL},
                 {"dpmpp_2m_sde", "dpmpp_2m_sde", NULL},
                 {"DDIMScheduler", "ddim", NULL},
                 {"uni_pc", "unipc", NULL},
                 {"euler-sgm_uniform", "euler", "sgm_uniform"},
                 /* A1111 */
                 {"Euler", "euler", NULL},
                 {"DPM++ 2M SDE", "dpmpp_2m_sde", NULL},
                 {"DPM++ 2M SDE Exponential", "dpmpp_2m_sde", "exponential"},
                 {"DPM++ 3M SDE Karras", "dpmpp_3m_sde", "karras"},
                 {"LMS Karras", "lms", "karras"},
                 {"Heun", "heun", NULL},
                 {"DDIM", "ddim", NULL},
                 {"PLMS", "pndm", NULL},
                 {"UniPC", "unipc", NULL},
                 {"LCM", "lcm", NULL},
                 {"Euler Uniform", "euler", "discrete"},
                 {"Euler Polyexponential", "euler", "polyexponential"},
                 {"Euler SGM Uniform", "euler", "sgm_uniform"},
                 {"Euler KL Optimal", "euler", "kl_optimal"},
                 {"Euler Align Your Steps", "euler", "ays"},
                 {"Euler Simple", "euler", "simple"},
                 {"Euler Normal", "euler", "discrete"},
                 {"Euler Beta", "euler", "beta"},
                 /* ComfyUI */
                 {"euler_ancestral", "euler_a", NULL},
                 {"heun", "heun", NULL},
                 {"lms", "lms", NULL},
                 {"dpmpp_2m", "dpmpp_2m", NULL},
                 {"dpmpp_2m_sde_gpu", "dpmpp_2m_sde", NULL},
                 {"dpmpp_3m_sde", "dpmpp_3m_sde", NULL},
                 {"dpmpp_3m_sde_gpu", "dpmpp_3m_sde", NULL},
                 {"ddpm", "ddpm", NULL},
                 {"uni_pc_bh2", "unipc", NULL},
                 {"euler normal", "euler", "discrete"},
                 /* stable-diffusion.cpp */
                 {"euler_a", "euler_a", NULL},
                 {"ddim_trailing", "ddim", NULL},
                 {"tcd", "tcd", NULL},
                 {"euler discrete", "euler", "discrete"},
                 {"euler default", "euler", "discrete"},
                 {"euler ays", "euler", "ays"},
                 {"euler kl_optimal", "euler", "kl_optimal"},
                 /* k-diffusion, the original repository of Stable Diffusion */
                 {"k_euler_ancestral", "euler_a", NULL},
                 {"k_lms", "lms", NULL},
                 {"k_heun", "heun", NULL},
                 {"sample_euler", "euler", NULL},
                 /* diffusers */
                 {"DDIMInverseScheduler", "ddim_inverse", NULL},
                 {"DDPMScheduler", "ddpm", NULL},
                 {"PNDMScheduler", "pndm", NULL},
                 {"EulerDiscreteScheduler", "euler", NULL},
                 {"EulerAncestralDiscreteScheduler", "euler_a", NULL},
                 {"HeunDiscreteScheduler", "heun", NULL},
                 {"LMSDiscreteScheduler", "lms", NULL},
                 {"DPMSolverMultistepScheduler", "dpmpp_2m", NULL},
                 {"UniPCMultistepScheduler", "unipc", NULL},
                 {"LCMScheduler", "lcm", NULL},
                 {"TCDScheduler", "tcd", NULL},
                 {"SCMScheduler", "scm", NULL},
                 {"CMStochasticIterativeScheduler", "cm", NULL},
                 {"FlowMatchEulerDiscreteScheduler", "euler", NULL},
                 {"FlowMatchHeunDiscreteScheduler", "heun", NULL},
                 {"EDMEulerScheduler", "euler", NULL},
                 {"EDMDPMSolverMultistepScheduler", "dpmpp_2m", NULL},
                 {"RePaintScheduler", "repaint", NULL},
                 {"ViBTScheduler", "bridge", NULL}};
    const gen_sampler *sampler;
    const char *schedule;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (!gen_sampler_parse(cases[i].text, &sampler, &schedule))
            fail_msg("%s is not known", cases[i].text);
        assert_string_equal(gen_sampler_info_of(sampler)->name, cases[i].sampler);
        if (cases[i].schedule)
            assert_string_equal(schedule, cases[i].schedule);
        else
            assert_null(schedule);
    }
    assert_false(gen_sampler_parse("euler karas", &sampler, &schedule));
    assert_false(gen_sampler_parse("", &sampler, &schedule));
    for (int i = 0; gen_sampler_at(i); i++) /* every name and alias belongs to one */
        for (int k = 0; gen_sampler_at(k); k++)
            if (k != i)
                assert_ptr_not_equal(gen_sampler_find(gen_sampler_info_of(gen_sampler_at(k))->name),
                                     gen_sampler_at(i));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_goes_wrong_in_a_step_is_passed_up),
        cmocka_unit_test(names_of_other_programs_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
