/* main.c - finds the command and runs it. */
#include "gen/cli/cli.h"

#include <stdlib.h>
#include <string.h>

static const cli_command commands[] = {
    {"image", CLI_FOR_IMAGE, "gen [image] [options] PROMPT...", "makes pictures from text",
     cli_image},
    {"edit", CLI_FOR_EDIT, "gen edit -i PICTURE [PROMPT]", "changes pictures and clips", cli_edit},
    {"info", CLI_FOR_INFO, "gen info MODEL|PICTURE...", "what it is, how it was made", cli_info},
    {"plot", CLI_FOR_PLOT, "gen plot schedule|trajectory", "draws samplers and schedules",
     cli_plot},
    {"bench", CLI_FOR_BENCH, "gen bench ops|model|check", "how fast and how right a device is",
     cli_bench},
    {"devices", CLI_FOR_DEVICES, "gen devices", "what it can compute on", cli_devices},
    {"help", CLI_FOR_HELP, "gen help [TOPIC]", "output, prompts, samplers, ...", cli_help},
};

enum { NUM_COMMANDS = sizeof commands / sizeof commands[0] };

const cli_command *cli_command_at(int i)
{
    return i < NUM_COMMANDS ? &commands[i] : NULL;
}

const cli_command *cli_command_find(const char *name)
{
    for (int i = 0; i < NUM_COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static const char *command_name(const void *user, int i)
{
    (void)user;
    return i < NUM_COMMANDS ? commands[i].name : NULL;
}

/* The first word may name the command; otherwise the words are a prompt.  A single word close to a
 * command's name is taken for a slip, as a picture of "inof" is hardly ever wanted. */
static gen_status choose_command(const cli_command **command, cli_settings *s, gen_error *err)
{
    *command = &commands[0];
    if (s->num_words == 0)
        return GEN_OK;
    const char *word = s->words[0];
    const cli_command *named = cli_command_find(word);
    if (named) {
        *command = named;
        s->words++;
        s->num_words--;
        return GEN_OK;
    }
    const char *nearest = strpbrk(word, " \t\n") ? NULL : cli_nearest(word, command_name, NULL);
    if (!nearest)
        return GEN_OK;
    cli_fail(err, GEN_ERROR_ARGUMENT, "unknown command \"%s\"; did you mean %s?", word, nearest);
    return cli_hint(err, "if it is a prompt, write -p \"%s\"", word);
}

static gen_status check_options(const cli_command *command, const cli_settings *s, gen_error *err)
{
    const cli_option *foreign = cli_foreign_option(s, command->bit);
    if (!foreign)
        return GEN_OK;
    cli_fail(err, GEN_ERROR_ARGUMENT, "--%s does not belong to `gen %s`", foreign->name,
             command->name);
    return cli_hint(err, "`gen %s -h` lists its options", command->name);
}

/* What was asked for goes to stdout; a disk that is full must not pass for success. */
static int check_stdout(cli_reporter *r, int code)
{
    const bool has_failed = ferror(stdout) != 0;
    if ((fflush(stdout) == 0 && !has_failed) || code)
        return code;
    gen_error err;
    cli_fail(&err, GEN_ERROR_OUTPUT, "standard output: cannot be written");
    cli_report_error(r, &err);
    return EXIT_OUTPUT;
}

int cli_main(int argc, char **argv)
{
    cli_reporter reporter = cli_reporter_new(stderr);
    cli_settings settings;
    const cli_command *command = &commands[0];
    gen_error err;
    const char **words = calloc((size_t)argc + 1, sizeof *words);
    if (!words)
        return EXIT_MEMORY;
    int code = EXIT_DONE;
    gen_status status = cli_parse(&settings, words, argc, argv, &err);
    reporter.is_quiet = settings.quiet;
    reporter.is_verbose = settings.verbose;
    reporter.is_json = settings.progress && strcmp(settings.progress, "json") == 0;
    if (!status && settings.version) {
        printf("gen %s\n", gen_version());
        goto done;
    }
    if (!status)
        status = choose_command(&command, &settings, &err);
    if (!status && (settings.help || settings.help_all)) {
        (settings.help_all ? cli_help_all : cli_help_short)(stdout, command);
        goto done;
    }
    if (!status)
        status = check_options(command, &settings, &err);
    if (status) {
        cli_report_error(&reporter, &err);
        code = cli_exit_code(status);
        goto done;
    }
    code = command->run(&settings, &reporter);
done:
    code = check_stdout(&reporter, code);
    free(words);
    return code;
}
