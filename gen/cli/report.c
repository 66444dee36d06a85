/* report.c - notes, warnings and errors on stderr, as text or as JSON lines. */
#include "gen/cli/cli.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

gen_status cli_fail(gen_error *err, gen_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    err->status = status;
    vsnprintf(err->message, sizeof err->message, format, args);
    err->hint[0] = '\0';
    va_end(args);
    return status;
}

gen_status cli_hint(gen_error *err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(err->hint, sizeof err->hint, format, args);
    va_end(args);
    return err->status;
}

int cli_exit_code(gen_status status)
{
    switch (status) {
    case GEN_OK:
        return EXIT_DONE;
    case GEN_ERROR_ARGUMENT:
        return EXIT_USAGE;
    case GEN_ERROR_INPUT:
        return EXIT_INPUT;
    case GEN_ERROR_MODEL:
        return EXIT_MODEL;
    case GEN_ERROR_MEMORY:
    case GEN_ERROR_DEVICE:
        return EXIT_MEMORY;
    case GEN_ERROR_OUTPUT:
        return EXIT_OUTPUT;
    case GEN_ERROR_MISMATCH:
        return EXIT_MISMATCH;
    case GEN_ERROR_CANCELLED:
        return EXIT_SIGNAL + 2;
    case GEN_ERROR_INTERNAL:
        break;
    }
    return EXIT_INTERNAL;
}

cli_reporter cli_reporter_new(FILE *f)
{
    const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");
    const bool is_terminal = isatty(fileno(f)) && term && *term && strcmp(term, "dumb") != 0;
    return (cli_reporter){
        .f = f, .is_terminal = is_terminal, .has_color = is_terminal && !(no_color && *no_color)};
}

void cli_clear_status(cli_reporter *r)
{
    if (r->has_status)
        fputs("\r\033[K", r->f);
    r->has_status = false;
}

/* ---- text that is safe to print
 * ------------------------------------------------------------------ */

/* The length of the UTF-8 character at p, or 0. */
static int character_length(const unsigned char *p)
{
    const int n = p[0] < 0x80   ? 1
                  : p[0] < 0xc2 ? 0
                  : p[0] < 0xe0 ? 2
                  : p[0] < 0xf0 ? 3
                  : p[0] < 0xf5 ? 4
                                : 0;
    for (int i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return n;
}

void cli_json_string(FILE *f, const char *text)
{
    fputc('"', f);
    for (const unsigned char *p = (const unsigned char *)text; *p;) {
        const int n = character_length(p);
        if (n == 0)
            fputs("\\ufffd", f);
        else if (*p == '"' || *p == '\\')
            fprintf(f, "\\%c", *p);
        else if (*p == '\n')
            fputs("\\n", f);
        else if (*p < 0x20 || *p == 0x7f)
            fprintf(f, "\\u%04x", *p);
        else
            fwrite(p, 1, (size_t)n, f);
        p += n ? n : 1;
    }
    fputc('"', f);
}

void cli_print_safely(FILE *f, const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p;) {
        const int n = character_length(p);
        /* U+0080 to U+009F are control characters too, and terminals obey them */
        const bool is_control =
            (*p < 0x20 && *p != '\n' && *p != '\t') || *p == 0x7f || (*p == 0xc2 && p[1] < 0xa0);
        if (n == 0 || is_control)
            fputc('?', f);
        else
            fwrite(p, 1, (size_t)n, f);
        p += n ? n : 1;
    }
}

/* ---- lines
 * --------------------------------------------------------------------------------------- */

static void print_line(cli_reporter *r, const char *color, const char *line)
{
    cli_clear_status(r);
    if (r->has_color && color)
        fprintf(r->f, "%sgen:\033[0m ", color);
    else
        fputs("gen: ", r->f);
    cli_print_safely(r->f, line);
    fputc('\n', r->f);
}

void cli_report_error(cli_reporter *r, const gen_error *err)
{
    if (r->is_json) {
        fprintf(r->f, "{\"schema\":1,\"event\":\"error\",\"exit\":%d,\"message\":",
                cli_exit_code(err->status));
        cli_json_string(r->f, err->message);
        if (err->hint[0]) {
            fputs(",\"hint\":", r->f);
            cli_json_string(r->f, err->hint);
        }
        fputs("}\n", r->f);
    } else {
        print_line(r, "\033[31m", err->message);
        if (err->hint[0]) {
            fputs("  hint: ", r->f);
            cli_print_safely(r->f, err->hint);
            fputc('\n', r->f);
        }
    }
    fflush(r->f);
}

void cli_log(void *reporter, gen_log_level level, const char *line)
{
    cli_reporter *r = reporter;
    static const char *const names[] = {"debug", "note", "warning"};
    if ((level == GEN_LOG_DEBUG && !r->is_verbose) || (level != GEN_LOG_WARNING && r->is_quiet))
        return;
    if (r->is_json) {
        fprintf(r->f, "{\"schema\":1,\"event\":\"%s\",\"message\":", names[level]);
        cli_json_string(r->f, line);
        fputs("}\n", r->f);
    } else {
        print_line(r, level == GEN_LOG_WARNING ? "\033[33m" : NULL, line);
    }
    fflush(r->f);
}

void cli_report(cli_reporter *r, gen_log_level level, const char *format, ...)
{
    char line[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    cli_log(r, level, line);
}
