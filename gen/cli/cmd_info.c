/* cmd_info.c - `gen info`: what a model or a picture is. */
#include "gen/cli/cli.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* Whether the file begins like a picture we read; a damaged picture should be called that and not a
 * damaged model. */
static bool looks_like_picture(const char *path)
{
    unsigned char head[8] = {0};
    struct stat st;
    if (strcmp(path, "-") == 0)
        return true;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode))
        return false;
    FILE *f = fopen(path, "rb");
    if (!f)
        return false;
    const size_t n = fread(head, 1, sizeof head, f);
    fclose(f);
    const bool is_pnm = n >= 3 && head[0] == 'P' && head[1] >= '1' && head[1] <= '7' &&
                        (head[2] == '#' || (head[2] >= '\t' && head[2] <= ' '));
    return (n >= 4 && memcmp(head, "\x89PNG", 4) == 0) ||
           (n >= 3 && memcmp(head, "\xff\xd8\xff", 3) == 0) || is_pnm;
}

static const char *kind_of_pixels(int channels)
{
    static const char *const names[] = {"gray", "gray with alpha", "RGB", "RGB with alpha"};
    return channels >= 1 && channels <= 4 ? names[channels - 1] : "unknown";
}

static void print_picture(const char *path, const gen_picture_info *info)
{
    cli_print_safely(stdout, path);
    printf(": %s, %dx%d, %s, %d bits", info->format, info->width, info->height,
           kind_of_pixels(info->channels), info->bit_depth);
    if (info->icc_size)
        printf(", colour profile of %zu bytes", info->icc_size);
    if (info->orientation > 1)
        printf(", EXIF orientation %d", info->orientation);
    putchar('\n');
    for (size_t i = 0; i < info->num_texts; i++) {
        fputs("\n[", stdout);
        cli_print_safely(stdout, info->texts[i].key);
        fputs("]\n", stdout);
        cli_print_safely(stdout, info->texts[i].value);
        putchar('\n');
    }
}

static void print_picture_json(const char *path, const gen_picture_info *info)
{
    fputs("{\"schema\":1,\"kind\":\"picture\",\"file\":", stdout);
    cli_json_string(stdout, path);
    printf(",\"format\":\"%s\",\"width\":%d,\"height\":%d,\"channels\":%d,\"bit_depth\":%d,"
           "\"orientation\":%d,\"icc_size\":%zu,\"texts\":[",
           info->format, info->width, info->height, info->channels, info->bit_depth,
           info->orientation, info->icc_size);
    for (size_t i = 0; i < info->num_texts; i++) {
        fputs(i ? ",{\"key\":" : "{\"key\":", stdout);
        cli_json_string(stdout, info->texts[i].key);
        fputs(",\"value\":", stdout);
        cli_json_string(stdout, info->texts[i].value);
        putchar('}');
    }
    fputs("]}\n", stdout);
}

static gen_status describe(const char *path, const cli_settings *s, gen_error *err)
{
    if (looks_like_picture(path)) {
        gen_picture_info *info = NULL;
        const gen_status status = gen_picture_info_read(&info, path, err);
        if (!status)
            (s->json ? print_picture_json : print_picture)(path, info);
        gen_picture_info_free(info);
        return status;
    }
    char *text = NULL;
    const gen_status status = gen_describe_path(&text, path, s->json, err);
    if (!status) {
        const size_t n = strlen(text);
        cli_print_safely(stdout, text);
        if (n == 0 || text[n - 1] != '\n')
            putchar('\n');
    }
    gen_string_free(text);
    return status;
}

int cli_info(const cli_settings *settings, cli_reporter *r)
{
    gen_error err;
    int code = EXIT_DONE;
    if (settings->num_words == 0 && !settings->model) {
        cli_fail(&err, GEN_ERROR_ARGUMENT, "info: no file named");
        cli_hint(&err, "`gen info FILE` takes a model file or folder, or a picture");
        cli_report_error(r, &err);
        return EXIT_USAGE;
    }
    for (int i = settings->model ? -1 : 0; i < settings->num_words; i++) {
        const char *path = i < 0 ? settings->model : settings->words[i];
        const gen_status status = describe(path, settings, &err);
        if (!status)
            continue;
        fflush(stdout);
        cli_report_error(r, &err);
        code = cli_exit_code(status);
    }
    return code;
}
