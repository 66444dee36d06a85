/* chart_save.c - charts into files. */
#include <string.h>
#include <strings.h>

#include "gen/io/io.h"
#include "gen/plot/chart.h"

static bool is_svg(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot && strcasecmp(dot, ".svg") == 0;
}

static gen_status save_svg(const gen_chart *chart, const char *path, const gen_image_save_params *p,
                           gen_error *err)
{
    gen_output *output;
    GEN_TRY(gen_output_open(&output, path, p->if_exists, err));
    gen_status status = gen_chart_write_svg(gen_output_stream(output), path, chart, err);
    if (!status)
        status = gen_output_commit(output, err);
    if (!status && p->saved_path)
        snprintf(p->saved_path, p->saved_path_size, "%s", gen_output_name(output));
    gen_output_free(output);
    return status;
}

gen_status gen_chart_save(const gen_chart *chart, const char *path,
                          const gen_image_save_params *params, gen_error *err)
{
    gen_image *image;
    if (is_svg(path))
        return save_svg(chart, path, params, err);
    GEN_TRY(gen_image_save_check(path, params, err));
    GEN_TRY(gen_chart_draw(&image, chart, err));
    const gen_status status = gen_image_save(image, path, params, err);
    gen_image_free(image);
    return status;
}
