/* cmd_devices.c - `gen devices`: what pictures can be computed on. */
#include "gen/cli/cli.h"

#include <string.h>

static void print_field(const char *name, const char *text)
{
    if (!*text)
        return;
    printf("  %-9s ", name);
    cli_print_safely(stdout, text);
    putchar('\n');
}

static void print_device(const gen_device *d)
{
    char memory[16], piece[16], window[16], line[192];
    printf("%-10s ", d->id);
    cli_print_safely(stdout, d->name);
    printf("%s\n", d->is_auto ? "  [auto]" : "");
    cli_format_bytes(memory, sizeof memory, d->memory);
    cli_format_bytes(piece, sizeof piece, d->max_allocation);
    cli_format_bytes(window, sizeof window, d->max_binding);
    print_field("kind", d->kind);
    print_field("driver", d->driver);
    print_field("vulkan", d->api);
    if (d->max_allocation)
        snprintf(line, sizeof line, "%s, at most %s in one piece, %s seen by a shader", memory,
                 piece, window);
    else
        snprintf(line, sizeof line, "%s free", memory);
    print_field("memory", line);
    print_field("uses", d->used);
    print_field("has also", d->unused);
    print_field("verdict", d->verdict);
    if (d->flops_per_second > 0) {
        snprintf(line, sizeof line, "about %.3g GFLOP/s in matrix products, %.3g GB/s",
                 d->flops_per_second * 1e-9, d->bytes_per_second * 1e-9);
        print_field("speed", line);
    }
}

static int count_words(const char *text)
{
    int n = *text != '\0';
    for (; *text; text++)
        n += *text == ' ';
    return n;
}

static void print_list(const gen_device_list *list)
{
    for (int i = 0; i < list->num_devices; i++)
        print_device(&list->devices[i]);
    if (list->note[0])
        printf("vulkan     none: %s\n", list->note);
    if (list->has_vulkan)
        printf("shaders    %d: %s\n           cooperative matrices: %s\n",
               count_words(list->shaders), list->shaders,
               list->has_matrix_shaders ? "in this build" : "not in this build");
}

static void json_text(const char *name, const char *text)
{
    printf(",\"%s\":", name);
    cli_json_string(stdout, text);
}

static void print_json(const gen_device_list *list)
{
    for (int i = 0; i < list->num_devices; i++) {
        const gen_device *d = &list->devices[i];
        fputs("{\"schema\":1,\"kind\":\"device\"", stdout);
        json_text("id", d->id);
        json_text("name", d->name);
        json_text("type", d->kind);
        json_text("driver", d->driver);
        json_text("vulkan", d->api);
        printf(",\"memory\":%llu,\"max_allocation\":%llu,\"max_binding\":%llu",
               (unsigned long long)d->memory, (unsigned long long)d->max_allocation,
               (unsigned long long)d->max_binding);
        json_text("uses", d->used);
        json_text("has_also", d->unused);
        json_text("verdict", d->verdict);
        printf(",\"trusted\":%s,\"auto\":%s,\"flops_per_second\":%.4g,\"bytes_per_second\":%.4g}\n",
               d->is_trusted ? "true" : "false", d->is_auto ? "true" : "false", d->flops_per_second,
               d->bytes_per_second);
    }
    printf("{\"schema\":1,\"kind\":\"build\",\"vulkan\":%s,\"cooperative_matrices\":%s",
           list->has_vulkan ? "true" : "false", list->has_matrix_shaders ? "true" : "false");
    json_text("shaders", list->shaders);
    json_text("note", list->note);
    puts("}");
}

int cli_devices(const cli_settings *settings, cli_reporter *r)
{
    gen_device_list *list;
    gen_error err = {0};
    gen_status status = GEN_OK;
    if (settings->num_words)
        status =
            cli_fail(&err, GEN_ERROR_ARGUMENT, "devices: unexpected \"%s\"", settings->words[0]);
    if (!status)
        status = gen_device_list_new(
            &list,
            &GEN_CONTEXT_PARAMS(.num_threads = settings->threads, .log = cli_log, .log_user = r),
            &err);
    if (status) {
        cli_report_error(r, &err);
        return cli_exit_code(status);
    }
    (settings->json ? print_json : print_list)(list);
    gen_device_list_free(list);
    return EXIT_DONE;
}
