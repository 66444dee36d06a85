/* clips.c - the frames that go into a run and those that come out of it. */
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "gen/cli/image_run.h"

bool cli_makes_clip(const image_run *run)
{
    return gen_model_get_info(run->model)->default_frames > 0 && run->params.num_frames > 1;
}

/* ---- names of frames ------------------------------------------------------------------------ */

static bool is_picture_name(const char *name)
{
    static const char *const endings[] = {".png", ".jpg", ".jpeg", ".ppm", ".pgm", ".pnm"};
    const char *dot = strrchr(name, '.');
    if (name[0] == '.' || !dot)
        return false;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (strcasecmp(dot, endings[i]) == 0)
            return true;
    return false;
}

static int only_pictures(const struct dirent *e)
{
    return is_picture_name(e->d_name);
}

/* "frame-2.png" comes before "frame-10.png". */
static int in_order(const struct dirent **a, const struct dirent **b)
{
    return strverscmp((*a)->d_name, (*b)->d_name);
}

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* ---- reading -------------------------------------------------------------------------------- */

static gen_status add_input(image_run *run, const char *path, gen_error *err)
{
    gen_image **inputs = realloc(run->inputs, ((size_t)run->num_inputs + 1) * sizeof *run->inputs);
    if (!inputs)
        return cli_fail(err, GEN_ERROR_MEMORY, "no memory");
    run->inputs = inputs;
    const gen_status status = gen_image_load(&inputs[run->num_inputs], path, err);
    run->num_inputs += status == GEN_OK;
    return status;
}

/* The pictures of a folder in the order of their names, or the one file. */
static gen_status read_inputs(image_run *run, gen_error *err)
{
    const char *path = run->settings->input;
    struct dirent **entries = NULL;
    gen_status status = GEN_OK;
    if (!is_folder(path))
        return add_input(run, path, err);
    const int count = scandir(path, &entries, only_pictures, in_order);
    if (count <= 0)
        status = cli_fail(err, GEN_ERROR_INPUT, "%s: a folder without pictures", path);
    for (int i = 0; i < count; i++) {
        char name[CLI_MAX_PATH];
        snprintf(name, sizeof name, "%s/%s", path, entries[i]->d_name);
        if (!status)
            status = add_input(run, name, err);
        free(entries[i]);
    }
    free(entries);
    return status;
}

/* ---- sizes ---------------------------------------------------------------------------------- */

static int on_grid(double side, int step)
{
    const int n = (int)(side / step) * step;
    return n < step ? step : n;
}

/* Where no size is given: what is edited keeps its own; a clip that begins with a picture has its
 * shape and the area the model was made for. */
static void choose_size(const image_run *run, int *width, int *height)
{
    const gen_model_info *info = gen_model_get_info(run->model);
    const gen_image *first = run->inputs[0];
    double w = first->width, h = first->height;
    if (!run->is_edit) {
        const double area = (double)info->default_width * info->default_height;
        const double scale = sqrt(area / (w * h));
        w *= scale;
        h *= scale;
    }
    *width = run->settings->width ? run->settings->width : on_grid(w + 0.5, info->size_step);
    *height = run->settings->height ? run->settings->height : on_grid(h + 0.5, info->size_step);
}

static gen_status resize_inputs(image_run *run, int width, int height, gen_error *err)
{
    for (int i = 0; i < run->num_inputs; i++) {
        gen_image *image = run->inputs[i], *resized;
        if (image->width == width && image->height == height)
            continue;
        if (i == 0)
            cli_report(run->reporter, GEN_LOG_NOTE, "%s: %dx%d brought to %dx%d",
                       run->settings->input, image->width, image->height, width, height);
        const gen_status status =
            gen_image_resize(&resized, image, width, height, GEN_FILTER_BICUBIC, err);
        if (status)
            return status;
        gen_image_free(image);
        run->inputs[i] = resized;
    }
    return GEN_OK;
}

gen_status cli_clip_inputs(image_run *run, gen_error *err)
{
    const gen_model_info *info = gen_model_get_info(run->model);
    gen_generate_params *p = &run->params;
    if (!run->settings->input)
        return GEN_OK;
    if (!run->is_edit && !info->takes_first_frame) {
        cli_fail(err, GEN_ERROR_ARGUMENT, "-i: this model makes %s from text alone",
                 info->default_frames ? "clips" : "pictures");
        return cli_hint(err, "gen edit changes pictures; image-to-video models begin with one");
    }
    gen_status status = read_inputs(run, err);
    if (status)
        return status;
    if (run->num_inputs > 1 && (!run->is_edit || !info->default_frames))
        return cli_fail(err, GEN_ERROR_ARGUMENT, "-i: %d pictures, expected one", run->num_inputs);
    choose_size(run, &p->width, &p->height);
    status = resize_inputs(run, p->width, p->height, err);
    if (run->is_edit) {
        p->source = (const gen_image *const *)run->inputs;
        p->num_source = run->num_inputs;
    } else {
        p->first_frame = run->inputs[0];
    }
    return status;
}

void cli_clip_free(image_run *run)
{
    for (int i = 0; i < run->num_inputs; i++)
        gen_image_free(run->inputs[i]);
    free(run->inputs);
}

/* ---- writing -------------------------------------------------------------------------------- */

static gen_sequence_params sequence_params(const image_run *run)
{
    const cli_settings *s = run->settings;
    return GEN_SEQUENCE_PARAMS(.num_frames = run->params.num_frames,
                               .frames_per_second =
                                   s->fps > 0 ? s->fps
                                              : gen_model_get_info(run->model)->frames_per_second,
                               .format = s->format, .quality = s->quality,
                               .if_exists = s->overwrite ? GEN_REPLACE : GEN_KEEP_BOTH);
}

gen_status cli_clip_check(const image_run *run, const char *path, gen_error *err)
{
    const gen_sequence_params params = sequence_params(run);
    gen_sequence *sequence = NULL;
    const gen_status status = gen_sequence_open(&sequence, path, &params, err);
    gen_sequence_free(sequence);
    return status;
}

static gen_status add_frame(void *user, const gen_image *frame, int index, int num_frames,
                            gen_error *err)
{
    (void)index;
    (void)num_frames;
    return gen_sequence_add(user, frame, err);
}

gen_status cli_clip_make(image_run *run, const gen_generate_params *params, const char *path,
                         const cli_record_texts *texts, char *saved, gen_generate_stats *stats,
                         gen_error *err)
{
    const gen_text stored[] = {{"parameters", texts->parameters}, {"gen", texts->json}};
    gen_sequence_params sequence_of = sequence_params(run);
    gen_sequence *sequence = NULL;
    if (!run->settings->no_metadata) {
        sequence_of.texts = stored;
        sequence_of.num_texts = 2;
    }
    sequence_of.saved_path = saved;
    sequence_of.saved_path_size = CLI_MAX_PATH;
    gen_status status = gen_sequence_open(&sequence, path, &sequence_of, err);
    if (!status)
        status = gen_generate_clip(run->model, params, add_frame, sequence, stats, err);
    cli_signals_saving(true);
    if (!status)
        status = gen_sequence_finish(sequence, err);
    cli_signals_saving(false);
    gen_sequence_free(sequence);
    return status;
}
