/* cmd_plot.c - `gen plot`: pictures of the sampler layer. */
#include "gen/cli/cli.h"

#include <string.h>

enum { MAX_PATH = 4096 };

static const char *plot_at(const void *user, int i)
{
    static const char *const names[] = {"schedule", "trajectory"};
    (void)user;
    return i < 2 ? names[i] : NULL;
}

static gen_status choose(bool *is_trajectory, const cli_settings *s, gen_error *err)
{
    if (s->num_words == 0) {
        cli_fail(err, GEN_ERROR_ARGUMENT, "plot: of what? expected schedule or trajectory");
        return cli_hint(err, "gen plot schedule --scheduler karras,simple -o schedule.png");
    }
    if (s->num_words > 1)
        return cli_fail(err, GEN_ERROR_ARGUMENT, "plot: unexpected \"%s\"", s->words[1]);
    *is_trajectory = strcmp(s->words[0], "trajectory") == 0;
    if (*is_trajectory || strcmp(s->words[0], "schedule") == 0)
        return GEN_OK;
    const char *nearest = cli_nearest(s->words[0], plot_at, NULL);
    cli_fail(err, GEN_ERROR_ARGUMENT, "plot: \"%s\" is not known%s%s%s", s->words[0],
             nearest ? "; did you mean " : "", nearest ? nearest : "", nearest ? "?" : "");
    return cli_hint(err, "there are: schedule, trajectory");
}

static gen_status check(bool is_trajectory, const cli_settings *s, gen_error *err)
{
    if (s->model && s->family)
        return cli_fail(err, GEN_ERROR_ARGUMENT, "--model and --family contradict each other");
    if (s->data && !is_trajectory)
        return cli_fail(err, GEN_ERROR_ARGUMENT, "--data is for `gen plot trajectory`");
    if (s->seeds.count > 1)
        return cli_fail(err, GEN_ERROR_ARGUMENT, "--seed: %llu seeds, expected one",
                        (unsigned long long)s->seeds.count);
    return GEN_OK;
}

static gen_status draw(char *saved, bool is_trajectory, const cli_settings *s, gen_error *err)
{
    const char *path = s->output ? s->output : is_trajectory ? "trajectory.png" : "schedule.png";
    const gen_plot_params params =
        GEN_PLOT_PARAMS(.model = s->model, .family = s->family, .samplers = s->sampler,
                        .schedulers = s->scheduler, .num_inference_steps = s->steps,
                        .eta = s->eta == 0  ? -1
                               : s->eta > 0 ? s->eta
                                            : 0,
                        .s_noise = s->s_noise, .flow_shift = s->shift,
                        .sigmas = s->sigmas.count ? s->sigmas.values : NULL,
                        .num_sigmas = (size_t)s->sigmas.count,
                        .timesteps = s->timesteps.count ? s->timesteps.values : NULL,
                        .num_timesteps = (size_t)s->timesteps.count, .data = s->data,
                        .seed = s->seeds.count ? cli_seeds_at(&s->seeds, 0) : 0, .width = s->width,
                        .height = s->height,
                        .if_exists = s->overwrite ? GEN_REPLACE : GEN_KEEP_BOTH,
                        .saved_path = saved, .saved_path_size = MAX_PATH);
    return is_trajectory ? gen_plot_trajectory(path, &params, err)
                         : gen_plot_schedule(path, &params, err);
}

int cli_plot(const cli_settings *settings, cli_reporter *r)
{
    char saved[MAX_PATH] = "";
    bool is_trajectory = false;
    gen_error err = {0};
    gen_status status = choose(&is_trajectory, settings, &err);
    if (!status)
        status = check(is_trajectory, settings, &err);
    if (!status)
        status = draw(saved, is_trajectory, settings, &err);
    if (status) {
        cli_suggest_method(&err);
        cli_report_error(r, &err);
        return cli_exit_code(status);
    }
    if (!settings->output || strcmp(settings->output, "-") != 0)
        puts(saved);
    return EXIT_DONE;
}
