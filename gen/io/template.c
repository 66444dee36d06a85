/* template.c - output names from a pattern.
 *
 * A field's value never adds a folder or a hidden name: slashes and control characters in prompts
 * and model names become '-'.  Only {dir} holds slashes, and only those of a relative path that
 * stays below the place where it is put. */
#include "gen/io/io.h"

#include <string.h>
#include <time.h>

#include "gen/core/alloc.h"

enum { DEFAULT_PROMPT_LENGTH = 80, MAX_WIDTH = 200, MAX_NAME = 1024 };

/* Letters, digits and what lies beyond ASCII stay; each run of other characters becomes one '-',
 * none at the ends.  At most max_length characters. */
static void add_words(gen_string *b, const char *text, int max_length)
{
    char buffer[MAX_NAME];
    size_t n = 0;
    bool gap = false;
    for (int length = 0; *text && length < max_length && n + 8 < sizeof buffer;) {
        const uint32_t c = gen_utf8_next(&text);
        const bool is_letter =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            c == '_' || (c >= 0xa1 && c != 0xfffd && c != 0x3000 && !(c >= 0x2000 && c <= 0x206f));
        if (!is_letter) {
            gap = true;
            continue;
        }
        if (gap && n > 0) {
            buffer[n++] = '-';
            if (++length >= max_length)
                break;
        }
        gap = false;
        n += (size_t)gen_utf8_put(buffer + n, c);
        length++;
    }
    while (n > 0 && buffer[n - 1] == '-')
        n--;
    gen_string_add(b, n ? buffer : "picture", n ? n : strlen("picture"));
}

static void add_number(gen_string *b, uint64_t value, int width, bool has_zeros)
{
    char digits[MAX_WIDTH + 32];
    const int n = snprintf(digits, sizeof digits, has_zeros ? "%0*llu" : "%*llu", width,
                           (unsigned long long)value);
    gen_string_add(b, digits, (size_t)n);
}

/* The file name of a path without folder and ending. */
static void add_stem(gen_string *b, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    const char *dot = strrchr(name, '.');
    gen_string_add(b, name, dot && dot != name ? (size_t)(dot - name) : strlen(name));
}

/* The folder of a path, without what would leave the place it is put under: a leading '/', "."
 * and ".." parts. */
static void add_folder(gen_string *b, const char *path)
{
    const char *end = strrchr(path, '/');
    bool is_first = true;
    for (const char *part = path; end && part < end;) {
        const size_t n = strcspn(part, "/");
        const bool is_dots = (n == 1 && part[0] == '.') || (n == 2 && memcmp(part, "..", 2) == 0);
        if (n > 0 && !is_dots) {
            if (!is_first)
                gen_string_add(b, "/", 1);
            gen_string_add(b, part, n);
            is_first = false;
        }
        part += n + 1;
    }
    if (is_first)
        gen_string_add(b, ".", 1);
}

static void add_extension(gen_string *b, const char *extension)
{
    const bool has_dot = b->size > 0 && b->text[b->size - 1] == '.';
    if (has_dot && extension[0] == '.')
        extension++;
    gen_string_add(b, extension, strlen(extension));
}

static void add_date(gen_string *b, int64_t seconds)
{
    const time_t t = seconds ? (time_t)seconds : time(NULL);
    struct tm tm;
    char date[32] = "";
    if (localtime_r(&t, &tm))
        strftime(date, sizeof date, "%Y-%m-%d", &tm);
    gen_string_add(b, date, strlen(date));
}

typedef struct field_spec {
    char name[16];
    int width;      /* after the colon; -1 when absent */
    bool has_zeros; /* it began with 0 */
} field_spec;

/* Adds a field's value; false when there is no such field. */
static bool add_field(gen_string *b, const field_spec *spec, const gen_output_fields *f)
{
    const char *name = spec->name;
    const int width = spec->width < 0 ? 0 : spec->width;
    const int length = spec->width <= 0 ? DEFAULT_PROMPT_LENGTH : spec->width;
    const char *prompt = f->prompt ? f->prompt : "";
    if (strcmp(name, "i") == 0)
        add_number(b, (uint64_t)f->index, width, spec->has_zeros);
    else if (strcmp(name, "seed") == 0)
        add_number(b, f->seed, width, spec->has_zeros);
    else if (strcmp(name, "w") == 0)
        add_number(b, (uint64_t)f->width, width, spec->has_zeros);
    else if (strcmp(name, "h") == 0)
        add_number(b, (uint64_t)f->height, width, spec->has_zeros);
    else if (strcmp(name, "prompt") == 0)
        add_words(b, prompt, length);
    else if (strcmp(name, "model") == 0)
        add_words(b, f->model ? f->model : "", length);
    else if (strcmp(name, "stem") == 0 && f->input)
        add_stem(b, f->input);
    else if (strcmp(name, "stem") == 0)
        add_words(b, prompt, length);
    else if (strcmp(name, "dir") == 0)
        add_folder(b, f->input ? f->input : "");
    else if (strcmp(name, "ext") == 0)
        add_extension(b, f->extension ? f->extension : ".png");
    else if (strcmp(name, "date") == 0)
        add_date(b, f->time);
    else
        return false;
    return true;
}

/* Reads "name:04}" after a brace; *text moves behind it.  False when it is no field. */
static bool read_field(const char **text, field_spec *spec)
{
    const char *p = *text;
    size_t n = 0;
    for (; *p >= 'a' && *p <= 'z'; p++)
        if (n + 1 < sizeof spec->name)
            spec->name[n++] = *p;
    spec->name[n] = '\0';
    spec->width = -1;
    spec->has_zeros = false;
    if (*p == ':') {
        p++;
        spec->has_zeros = *p == '0';
        for (spec->width = 0; *p >= '0' && *p <= '9'; p++) {
            spec->width = 10 * spec->width + (*p - '0');
            if (spec->width > MAX_WIDTH)
                return false;
        }
    }
    if (*p != '}' || n == 0)
        return false;
    *text = p + 1;
    return true;
}

/* Reads "%d", "%04d", "%4d"; false when the percent sign is just that. */
static bool read_percent(const char **text, field_spec *spec)
{
    const char *p = *text + 1;
    *spec = (field_spec){.name = "i", .has_zeros = *p == '0'};
    for (; *p >= '0' && *p <= '9'; p++) {
        spec->width = 10 * spec->width + (*p - '0');
        if (spec->width > MAX_WIDTH)
            return false;
    }
    if (*p != 'd')
        return false;
    *text = p + 1;
    return true;
}

static gen_status unknown_field(const char *pattern, const char *at, gen_error *err)
{
    gen_fail(err, GEN_ERROR_ARGUMENT, "output name \"%s\": %.*s is no field", pattern,
             (int)strcspn(at, "}") + 1, at);
    gen_hint(err, "fields are {stem} {dir} {ext} {i:04} {seed} {prompt:40} {model} {w} {h} {date}; "
                  "write {{ for a brace");
    return GEN_ERROR_ARGUMENT;
}

gen_status gen_output_path(char **out, const char *pattern, const gen_output_fields *fields,
                           gen_error *err)
{
    gen_output_fields f = {0};
    memcpy(&f, fields, fields->struct_size < sizeof f ? fields->struct_size : sizeof f);
    gen_string b = {0};
    gen_string_add(&b, "", 0);
    for (const char *p = pattern; *p;) {
        field_spec spec;
        const char *const start = p;
        if ((*p == '{' || *p == '}') && p[1] == *p) {
            gen_string_add(&b, p, 1);
            p += 2;
        } else if (*p == '{') {
            p++;
            if (read_field(&p, &spec) && strcmp(spec.name, "frame") == 0) {
                gen_string_add(&b, start, (size_t)(p - start));
                continue;
            }
            p = start + 1;
            if (!read_field(&p, &spec) || !add_field(&b, &spec, &f)) {
                gen_free(b.text);
                return unknown_field(pattern, start, err);
            }
        } else if (*p == '%' && read_percent(&p, &spec)) {
            add_field(&b, &spec, &f);
        } else {
            gen_string_add(&b, p++, 1);
        }
    }
    if (b.is_out_of_memory) {
        gen_free(b.text);
        return gen_no_memory(err, "output name", b.room);
    }
    *out = b.text;
    return GEN_OK;
}

bool gen_output_varies(const char *pattern)
{
    for (const char *p = pattern; *p;) {
        field_spec spec;
        if ((*p == '{' || *p == '}') && p[1] == *p) {
            p += 2;
        } else if (*p == '{') {
            p++;
            if (read_field(&p, &spec) &&
                (strcmp(spec.name, "i") == 0 || strcmp(spec.name, "seed") == 0))
                return true;
        } else if (*p == '%' && read_percent(&p, &spec)) {
            return true;
        } else {
            p++;
        }
    }
    return false;
}
