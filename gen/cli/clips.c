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

static gen_status no_memory(gen_error *err)
{
    return cli_fail(err, GEN_ERROR_MEMORY, "no memory");
}

static gen_status add_path(image_run *run, const char *folder, const char *name, gen_error *err)
{
    const size_t n = (size_t)run->num_input_paths + 1;
    char **paths = realloc(run->input_paths, n * sizeof *paths);
    if (!paths)
        return no_memory(err);
    run->input_paths = paths;
    if (asprintf(&paths[n - 1], "%s%s%s", folder, *folder ? "/" : "", name) < 0)
        return no_memory(err);
    run->num_input_paths++;
    return GEN_OK;
}

/* The pictures of a folder in the order of their names, or the one file. */
static gen_status find_paths(image_run *run, gen_error *err)
{
    const char *path = run->settings->input;
    struct dirent **entries = NULL;
    gen_status status = GEN_OK;
    if (!is_folder(path))
        return add_path(run, "", path, err);
    const int count = scandir(path, &entries, only_pictures, in_order);
    if (count <= 0)
        status = cli_fail(err, GEN_ERROR_INPUT, "%s: a folder without pictures", path);
    for (int i = 0; i < count; i++) {
        if (!status)
            status = add_path(run, path, entries[i]->d_name, err);
        free(entries[i]);
    }
    free(entries);
    return status;
}

gen_status cli_clip_find(image_run *run, gen_error *err)
{
    const gen_model_info *info = gen_model_get_info(run->model);
    if (!run->settings->input || run->num_input_paths)
        return GEN_OK;
    if (!run->is_edit && !info->takes_first_frame) {
        cli_fail(err, GEN_ERROR_ARGUMENT, "-i: this model %s",
                 info->changes_pictures ? "changes pictures"
                 : info->default_frames ? "makes clips from text alone"
                                        : "makes pictures from text alone");
        return cli_hint(err, info->changes_pictures
                                 ? "gen edit -m MODEL -i picture.png -o changed.png"
                                 : "gen edit changes pictures; image-to-video models begin with "
                                   "one");
    }
    if (run->settings->interpolate > 1 && !info->default_frames) {
        cli_fail(err, GEN_ERROR_ARGUMENT, "--interpolate: this model makes single pictures");
        return cli_hint(err, "frames between frames need a model of clips: -m MODEL");
    }
    const gen_status status = find_paths(run, err);
    if (status)
        return status;
    if (!run->is_edit && run->num_input_paths > 1)
        return cli_fail(err, GEN_ERROR_ARGUMENT, "-i: %d pictures, expected one",
                        run->num_input_paths);
    if (!run->is_edit || info->default_frames)
        return GEN_OK;
    run->pictures_per_input = run->num_pictures;
    if (run->num_pictures > UINT64_MAX / (uint64_t)run->num_input_paths)
        return cli_fail(err, GEN_ERROR_ARGUMENT, "%llu of each of %d pictures are too many",
                        (unsigned long long)run->num_pictures, run->num_input_paths);
    run->num_pictures *= (uint64_t)run->num_input_paths;
    return GEN_OK;
}

static void free_inputs(image_run *run)
{
    for (int i = 0; i < run->num_inputs; i++)
        gen_image_free(run->inputs[i]);
    free(run->inputs);
    free(run->source);
    run->inputs = NULL;
    run->source = NULL;
    run->num_inputs = 0;
}

static gen_status read_inputs(image_run *run, gen_error *err)
{
    const bool is_one = run->pictures_per_input > 0;
    const int first = is_one ? run->input : 0, count = is_one ? 1 : run->num_input_paths;
    free_inputs(run);
    if (!(run->inputs = calloc((size_t)count, sizeof *run->inputs)))
        return no_memory(err);
    for (int i = 0; i < count; i++) {
        const gen_status status = gen_image_load(&run->inputs[i], run->input_paths[first + i], err);
        if (status)
            return status;
        run->num_inputs++;
    }
    return GEN_OK;
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
                       run->input_paths[run->input], image->width, image->height, width, height);
        const gen_status status =
            gen_image_resize(&resized, image, width, height, GEN_FILTER_BICUBIC, err);
        if (status)
            return status;
        gen_image_free(image);
        run->inputs[i] = resized;
    }
    return GEN_OK;
}

/* A model that makes frames between frames is shown the first once and every later one n times,
 * and moves them apart (ViBT): F frames become n (F - 1) + 1. */
static gen_status give_source(image_run *run, gen_error *err)
{
    const int n = run->settings->interpolate > 1 ? run->settings->interpolate : 1;
    const int count = n * (run->num_inputs - 1) + 1;
    run->source = calloc((size_t)count, sizeof *run->source);
    if (!run->source)
        return no_memory(err);
    for (int i = 0; i < count; i++)
        run->source[i] = run->inputs[(i + n - 1) / n];
    run->params.source = run->source;
    run->params.num_source = count;
    return GEN_OK;
}

gen_status cli_clip_inputs(image_run *run, gen_error *err)
{
    gen_generate_params *p = &run->params;
    if (!run->settings->input)
        return GEN_OK;
    gen_status status = read_inputs(run, err);
    if (status)
        return status;
    choose_size(run, &p->width, &p->height);
    status = resize_inputs(run, p->width, p->height, err);
    if (status)
        return status;
    if (run->is_edit)
        return give_source(run, err);
    p->first_frame = run->inputs[0];
    return GEN_OK;
}

void cli_clip_free(image_run *run)
{
    free_inputs(run);
    for (int i = 0; i < run->num_input_paths; i++)
        free(run->input_paths[i]);
    free(run->input_paths);
}

/* ---- writing -------------------------------------------------------------------------------- */

static gen_sequence_params sequence_params(const image_run *run)
{
    const cli_settings *s = run->settings;
    const double native = gen_model_get_info(run->model)->frames_per_second;
    const double faster = s->interpolate > 1 ? s->interpolate : 1;
    return GEN_SEQUENCE_PARAMS(.num_frames = run->params.num_frames,
                               .frames_per_second = s->fps > 0 ? s->fps : native * faster,
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
