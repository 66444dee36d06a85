/* signals.c - Ctrl-C and SIGTERM.
 *
 * A process that is not writing a file has nothing to lose: the handler ends it at once, however
 * long a step takes.  While a file is being written the signal waits, so that no temporary file
 * stays. */
#include "gen/cli/cli.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t pending, saving, several, quiet;

static void say(const char *text)
{
    const ssize_t written = write(STDERR_FILENO, text, strlen(text));
    (void)written;
}

static void on_signal(int number)
{
    const bool is_second = pending != 0;
    pending = number;
    if (several && !is_second) {
        if (!quiet)
            say("\ngen: stopping after this picture; once more stops now\n");
        return;
    }
    if (saving)
        return;
    if (isatty(STDERR_FILENO))
        say("\n");
    _exit(EXIT_SIGNAL + number);
}

void cli_signals_install(bool has_several, bool is_quiet)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    several = has_several;
    quiet = is_quiet;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

void cli_signals_saving(bool is_saving)
{
    saving = is_saving;
}

int cli_signals_pending(void)
{
    return pending;
}
