/* help.c - help texts, from the tables of options and commands. */
#include "gen/cli/cli.h"

#include <string.h>

enum { HELP_COLUMN = 30, TEXT_COLUMN = 20, PAGE_WIDTH = 100 };

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

static void explain_editing(FILE *f)
{
    fputs(
        "\n"
        "  gen edit -i dusk.png \"at night\" -o night.png\n"
        "  gen edit -i pictures/ \"as an ink drawing\" -o 'out/{stem}.png'\n"
        "  gen edit -m vibt.safetensors --base wan/ -i frames/ sketch -o 'out/{frame:05}.png'\n"
        "\n"
        "Without -m a small model restyles postcards, best at 256x256: poster, watercolor, paper\n"
        "cut, ink drawing, neon, pixel art; time of day, season, weather.  A picture keeps its\n"
        "size, brought to the next smaller one the model can make; -W and -H choose another.  The\n"
        "pictures of a folder are changed one by one, or are the frames of a clip, as the model\n"
        "takes them; of pictures those that cannot be read are named and left out.\n",
        f);
}

void cli_help_short(FILE *f, const cli_command *command)
{
    const bool is_image = command->bit == CLI_FOR_IMAGE;
    if (is_image)
        fprintf(f, "gen %s - pictures from diffusion models\n\n", gen_version());
    print_usage(f, command);
    fputc('\n', f);
    print_options(f, command->bit, is_image);
    if (command->bit == CLI_FOR_PLOT)
        fputs("\n-o names a file: .svg, .png, .jpg or .ppm.  --sampler and --scheduler may be "
              "lists,\n"
              "a,b,c.  `gen help plot` has examples, families and toy data.\n",
              f);
    if (command->bit == CLI_FOR_EDIT)
        explain_editing(f);
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
          "Clips: cat.apng or cat.png is one animated PNG, 'out/{frame:05}.png' a picture of\n"
          "every frame.\n\n"
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

/* Words from column `indent` on, on as many lines as they need. */
static void print_wrapped(FILE *f, int indent, const char *text)
{
    int column = indent;
    while (*text) {
        const int n = (int)strcspn(text, " ");
        if (column > indent && column + 1 + n > PAGE_WIDTH) {
            fprintf(f, "\n%*s", indent, "");
            column = indent;
        } else if (column > indent) {
            fputc(' ', f);
            column++;
        }
        fprintf(f, "%.*s", n, text);
        column += n;
        text += n;
        text += strspn(text, " ");
    }
    fputc('\n', f);
}

/* A line or more behind the name's column: "formula  u + g (c - u)". */
static void print_more(FILE *f, const char *what, const char *text)
{
    if (!*text)
        return;
    fprintf(f, "%*s%s", TEXT_COLUMN, "", what);
    print_wrapped(f, TEXT_COLUMN + (int)strlen(what), text);
}

static void print_methods(FILE *f, gen_method_kind kind)
{
    gen_method m;
    for (int i = 0; gen_method_at(&m, kind, i); i++) {
        char source[256];
        fprintf(f, "  %-*s", TEXT_COLUMN - 2, m.name);
        if ((int)strlen(m.name) > TEXT_COLUMN - 3)
            fprintf(f, "\n%*s", TEXT_COLUMN, "");
        print_wrapped(f, TEXT_COLUMN, m.purpose);
        snprintf(source, sizeof source, "%s%s%s%s%s", m.calls,
                 *m.calls ? " network calls for n steps" : "",
                 m.is_stochastic ? ", fresh noise" : "", *m.calls && *m.paper ? "; " : "", m.paper);
        print_more(f, "", m.formula);
        print_more(f, "", source);
        print_more(f, "also ", m.aliases);
    }
}

static void topic_samplers(FILE *f)
{
    fputs(
        "Samplers (--sampler); default: what the model's own settings say.  A name may end with a\n"
        "schedule's, as \"DPM++ 2M Karras\".  Guidance asks the network twice for each call.\n"
        "`gen plot trajectory --sampler euler,heun -o t.png` shows them at work.\n\n",
        f);
    print_methods(f, GEN_METHOD_SAMPLER);
}

static void topic_schedulers(FILE *f)
{
    fputs("Schedules (--scheduler); default: what the model's own settings say.  --sigmas and\n"
          "--timesteps give the levels one by one.\n"
          "`gen plot schedule --scheduler karras,simple -o s.png` compares them.\n\n",
          f);
    print_methods(f, GEN_METHOD_SCHEDULER);
}

static void topic_guidance(FILE *f)
{
    fputs("Guidance (--guidance); default: cfg.  c and u are the network's predictions with the "
          "prompt\n"
          "and with the negative prompt, g is --cfg.  Where g is 1 the network is asked once.\n\n",
          f);
    print_methods(f, GEN_METHOD_GUIDANCE);
    fputs(
        "\nWith each of them\n\n"
        "  --guidance-rescale 0.7       brings the result back to the spread of c (Lin et al. "
        "2024);\n"
        "                               for zero-SNR models, and against over-exposure\n"
        "  --guidance-interval 0.3:5.4  guides at these noise levels sigma / alpha only\n"
        "                               (Kynkaanniemi et al. 2024); 0%:80% counts steps instead\n",
        f);
}

static void print_named(FILE *f, const char *(*at)(int i, const char **what))
{
    const char *name, *what = "";
    for (int i = 0; (name = at(i, &what)); i++)
        fprintf(f, "  %-14s %s\n", name, what);
}

static void topic_plot(FILE *f)
{
    fputs("Plots of the sampler layer\n\n"
          "  gen plot schedule --scheduler karras,simple,beta --steps 12 -o schedule.png\n"
          "  gen plot schedule -m sd3/ --shift 5 -o flow.svg\n"
          "  gen plot trajectory --sampler euler,heun,dpmpp_2m --steps 6 -o ways.png\n\n"
          "schedule draws noise levels and network times against steps; trajectory lets samplers "
          "work\n"
          "on toy data whose exact denoiser is known (grey: the exact way).  Lists are drawn each "
          "with\n"
          "each.  The name ends in .svg, .png, .jpg or .ppm.\n\n"
          "Settings are those of a model (-m) or of a family (--family, default sd):\n\n",
          f);
    print_named(f, gen_plot_family_at);
    fputs("\nToy data (--data):\n\n", f);
    print_named(f, gen_plot_data_at);
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
          "    6  some of several pictures failed\n"
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
    {"guidance", "the values of --guidance, and what goes with them", topic_guidance},
    {"plot", "families and toy data of `gen plot`", topic_plot},
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
