/* help.c - help texts, from the tables of options and commands. */
#include "gen/cli/cli.h"

#include <string.h>

enum { HELP_COLUMN = 30 };

static void print_option(FILE *f, const cli_option *o)
{
    char left[64];
    int n = o->letter ? snprintf(left, sizeof left, "  -%c, --%s", o->letter, o->name)
                      : snprintf(left, sizeof left, "      --%s", o->name);
    if (o->argument)
        n += snprintf(left + n, sizeof left - (size_t)n, " %s", o->argument);
    fprintf(f, "%-*s %s\n", HELP_COLUMN - 1, left, o->help);
}

static void print_options(FILE *f, unsigned command, bool common_only)
{
    const cli_option *o;
    for (int i = 0; (o = cli_option_at(i)); i++)
        if (o->commands & command && (o->is_common || !common_only))
            print_option(f, o);
}

static void print_usage(FILE *f, const cli_command *command)
{
    fprintf(f, "usage: %s\n", command->usage);
    if (command->bit != CLI_FOR_IMAGE) {
        fprintf(f, "%s\n", command->what);
        return;
    }
    const cli_command *other;
    for (int i = 0; (other = cli_command_at(i)); i++)
        if (other->bit != CLI_FOR_IMAGE)
            fprintf(f, "       %-32s %s\n", other->usage, other->what);
}

void cli_help_short(FILE *f, const cli_command *command)
{
    const bool is_image = command->bit == CLI_FOR_IMAGE;
    if (is_image)
        fprintf(f, "gen %s - pictures from diffusion models\n\n", gen_version());
    print_usage(f, command);
    fputc('\n', f);
    print_options(f, command->bit, is_image);
    if (!is_image)
        return;
    fputs("\n"
          "  gen \"a red house beside a blue lake at sunset\" -o dusk.png\n"
          "  gen -m sd15.safetensors -p \"a cat\" --steps 20 -b 4 -o 'out/{seed}.png'\n"
          "\n"
          "`gen --help-all` lists every option, `gen help` the topics.\n",
          f);
}

void cli_help_all(FILE *f, const cli_command *command)
{
    print_usage(f, command);
    fputc('\n', f);
    print_options(f, command->bit, false);
    if (command->bit != CLI_FOR_IMAGE)
        return;
    fputs("\nMost options may also be set by a variable: GEN_STEPS for --steps.\n"
          "`gen help` lists the topics.\n",
          f);
}

/* ---- topics
 * --------------------------------------------------------------------------------------- */

static void topic_output(FILE *f)
{
    fputs("Where pictures go (-o)\n\n"
          "  cat.png       a file; its ending names the format (png, jpg, ppm)\n"
          "  out/          a folder; the file is named after the prompt\n"
          "  'out/{i:04}-{seed}.png'   a template; missing folders are made\n"
          "  -             standard output\n\n"
          "Template fields:\n"
          "  {seed}  {i} number of the picture, from 1  {i:04} with zeros  %04d the same\n"
          "  {prompt} {prompt:40}  the prompt's words joined by '-', at most 40 characters\n"
          "  {model}  {w} {h}  {date} 2026-01-31  {ext} .png  {{ a brace\n"
          "  {stem} {dir}  name and folder of the input picture\n\n"
          "A file that exists is kept: cat.png becomes cat-1.png, unless -y is given.  Several\n"
          "pictures under one name get -1, -2, ...  A file appears when it is complete.\n"
          "The settings are stored in it (see `gen info`), unless --no-metadata is given.\n",
          f);
}

static void topic_prompts(FILE *f)
{
    fputs("Prompts\n\n"
          "  gen a red house            words of the command line are joined\n"
          "  gen -p \"a red house\"       the same; needed when the prompt is a command's name\n"
          "  gen -p @prompt.txt         from a file; -p @- from standard input; @@ is an @\n\n"
          "  (word)  (word:1.3)         more weight: 1.1, or the number\n"
          "  [word]                     less weight\n"
          "  BREAK                      begins the next 75 tokens\n",
          f);
}

static void print_names(FILE *f, const char *(*at)(int i, const char **what))
{
    const char *name, *what = "";
    for (int i = 0; (name = at(i, &what)); i++)
        fprintf(f, "  %-18s %s\n", name, what);
}

static void topic_samplers(FILE *f)
{
    fputs("Samplers (--sampler); default: what the model's own settings say\n\n", f);
    print_names(f, gen_sampler_name);
}

static void topic_schedulers(FILE *f)
{
    fputs("Schedules (--scheduler); default: what the model's own settings say\n\n", f);
    print_names(f, gen_scheduler_name);
}

static void topic_exit(FILE *f)
{
    fputs("Exit codes\n\n"
          "    0  done\n"
          "    1  failed in the work\n"
          "    2  wrong usage: an option, a value, a size\n"
          "    3  an input cannot be read or is not supported\n"
          "    4  the model is missing, damaged or of the wrong kind\n"
          "    5  not enough memory, or the device was lost\n"
          "    7  the output cannot be written\n"
          "    8  a record or bitstream does not fit\n"
          "  130  interrupted (143: terminated)\n",
          f);
}

static void topic_environment(FILE *f)
{
    fputs("Variables\n\n"
          "  GEN_STEPS, GEN_MODEL, ...  any option's value; the command line wins\n"
          "  GEN_TOKENIZER   folder to look in for vocab.json and merges.txt\n"
          "  GEN_ASSETS      folder with what ships with gen\n"
          "  GEN_CPU         generic, avx2 or avx512: the kernels to use\n"
          "  NO_COLOR        no colours on the terminal\n",
          f);
}

static const struct {
    const char *name, *what;
    void (*print)(FILE *f);
} topics[] = {
    {"output", "file names, templates, formats", topic_output},
    {"prompts", "weights, long prompts, prompts from files", topic_prompts},
    {"samplers", "the values of --sampler", topic_samplers},
    {"schedulers", "the values of --scheduler", topic_schedulers},
    {"exit", "exit codes", topic_exit},
    {"environment", "variables", topic_environment},
};

enum { NUM_TOPICS = sizeof topics / sizeof topics[0] };

const char *cli_help_topic_at(int i)
{
    return i < NUM_TOPICS ? topics[i].name : NULL;
}

bool cli_help_topic(FILE *f, const char *topic)
{
    for (int i = 0; i < NUM_TOPICS; i++)
        if (strcmp(topics[i].name, topic) == 0) {
            topics[i].print(f);
            return true;
        }
    const cli_command *command = cli_command_find(topic);
    if (command)
        cli_help_all(f, command);
    return command != NULL;
}

static const char *topic_or_command(const void *user, int i)
{
    (void)user;
    if (i < NUM_TOPICS)
        return topics[i].name;
    const cli_command *command = cli_command_at(i - NUM_TOPICS);
    return command ? command->name : NULL;
}

int cli_help(const cli_settings *settings, cli_reporter *r)
{
    if (settings->num_words == 0) {
        fputs("gen help TOPIC\n\n", stdout);
        for (int i = 0; i < NUM_TOPICS; i++)
            printf("  %-12s %s\n", topics[i].name, topics[i].what);
        const cli_command *command;
        for (int i = 0; (command = cli_command_at(i)); i++)
            printf("  %-12s %s\n", command->name, command->what);
        return EXIT_DONE;
    }
    for (int i = 0; i < settings->num_words; i++) {
        const char *topic = settings->words[i];
        if (cli_help_topic(stdout, topic))
            continue;
        gen_error err;
        const char *nearest = cli_nearest(topic, topic_or_command, NULL);
        if (nearest)
            cli_fail(&err, GEN_ERROR_ARGUMENT, "no help on \"%s\"; did you mean %s?", topic,
                     nearest);
        else
            cli_fail(&err, GEN_ERROR_ARGUMENT, "no help on \"%s\"", topic);
        cli_hint(&err, "`gen help` lists the topics");
        cli_report_error(r, &err);
        return EXIT_USAGE;
    }
    return EXIT_DONE;
}
