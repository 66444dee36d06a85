/* program.c - a child process with its own folder, variables and files for its output. */
#include "tests/api/program.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

char program_out[65536], program_errors[65536];

static char program[4096], model[4096];
static char folder[64];

int program_init(const char *program_file, const char *model_path)
{
    if (realpath(program_file, program) && realpath(model_path, model))
        return 0;
    fprintf(stderr, "%s or %s: %s\n", program_file, model_path, strerror(errno));
    return -1;
}

int program_set_up(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/gen-test-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

int program_tear_down(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

const char *program_path(const char *name)
{
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

const char *program_files(const char *sub)
{
    static char list[4096];
    struct dirent **entries;
    const int n = scandir(program_path(sub), &entries, NULL, alphasort);
    list[0] = '\0';
    for (int i = 0; i < n; i++) {
        const char *name = entries[i]->d_name;
        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && strcmp(name, ".cache") != 0)
            snprintf(list + strlen(list), sizeof list - strlen(list), "%s ", name);
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
    return list;
}

static void read_back(const char *name, char *text, size_t size)
{
    FILE *f = fopen(program_path(name), "rb");
    assert_non_null(f);
    text[fread(text, 1, size - 1, f)] = '\0';
    fclose(f);
    unlink(program_path(name));
}

static _Noreturn void become_program(char **argv, const char *variable, const char *stdout_path)
{
    const int to = open(stdout_path ? stdout_path : program_path(".out"),
                        O_WRONLY | (stdout_path ? 0 : O_CREAT | O_TRUNC), 0666);
    const int log = open(program_path(".err"), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    const int from = open("/dev/null", O_RDONLY);
    const char *leaks = getenv("LSAN_OPTIONS"); /* stays readable: clearenv() drops only the list */
    clearenv();
    if (leaks)
        setenv("LSAN_OPTIONS", leaks, 1);
    setenv("HOME", folder, 1);
    setenv("GEN_THREADS", "1", 1); /* quicker for so small a model on a busy machine */
    static char variables[4096];
    char *rest = NULL;
    snprintf(variables, sizeof variables, "%s", variable ? variable : "");
    for (char *v = strtok_r(variables, "\n", &rest); v; v = strtok_r(NULL, "\n", &rest))
        putenv(v);
    if (to < 0 || log < 0 || from < 0 || chdir(folder) != 0 || dup2(from, 0) < 0 ||
        dup2(to, 1) < 0 || dup2(log, 2) < 0)
        _exit(126);
    execv(program, argv);
    _exit(127);
}

pid_t program_start(const char *line, const char *variable, const char *stdout_path)
{
    static char text[1 << 18];
    char *argv[64] = {program};
    int argc = 1;
    snprintf(text, sizeof text, "%s", line);
    for (char *p = text; *p;) {
        const char end = *p == '\'' ? '\'' : ' ';
        char *const word = p + (end == '\'');
        p = strchr(word, end);
        argv[argc++] =
            strncmp(word, "MODEL", 5) == 0 && (word[5] == ' ' || !word[5]) ? model : word;
        if (!p)
            break;
        *p++ = '\0';
        while (*p == ' ')
            p++;
    }
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        become_program(argv, variable, stdout_path);
    return pid;
}

int program_finish(pid_t pid, bool has_stdout)
{
    int status;
    while (waitpid(pid, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    program_out[0] = '\0';
    if (has_stdout)
        read_back(".out", program_out, sizeof program_out);
    read_back(".err", program_errors, sizeof program_errors);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

int program_run(const char *line, const char *variable)
{
    return program_finish(program_start(line, variable, NULL), true);
}

void program_expect(int expected, const char *line)
{
    const int code = program_run(line, NULL);
    if (code != expected)
        fail_msg("gen %s: exit %d, expected %d\n%s%s", line, code, expected, program_out,
                 program_errors);
}

void program_write(const char *name, const char *text)
{
    FILE *f = fopen(program_path(name), "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

void program_shell(const char *format, const char *a, const char *b)
{
    char line[16384];
    snprintf(line, sizeof line, format, a, b);
    if (system(line) != 0)
        fail_msg("%s", line);
}
