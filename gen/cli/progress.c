/* progress.c - how far the picture is: a status line, a line now and then, or JSON events. */
#include "gen/cli/cli.h"

#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

/* Seconds between two states of the status line, with and without news, and between two lines of a
 * log. */
static const double NEWS_INTERVAL = 0.05, IDLE_INTERVAL = 1.0, LINE_INTERVAL = 10.0;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

uint64_t cli_resident_memory(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    unsigned long long size = 0, resident = 0;
    if (!f)
        return 0;
    const bool is_read = fscanf(f, "%llu %llu", &size, &resident) == 2;
    fclose(f);
    return is_read ? resident * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

void cli_format_bytes(char *out, size_t size, uint64_t bytes)
{
    const double mib = (double)bytes / (1 << 20);
    if (mib >= 1024)
        snprintf(out, size, "%.1fG", mib / 1024);
    else if (mib < 10)
        snprintf(out, size, "%.0fK", mib * 1024);
    else
        snprintf(out, size, "%.0fM", mib);
}

/* Seconds a step takes, from those that are done; 0 before the first. */
static double seconds_per_step(const cli_progress *p)
{
    return p->phase == GEN_PHASE_STEP && p->step > 0 ? (p->seconds - p->first_step_at) / p->step
                                                     : 0;
}

void cli_progress_line(char *out, size_t size, const cli_progress *p, uint64_t rss)
{
    static const char *const phases[] = {"loading", "reading the prompt", "step", "decoding"};
    char counter[32] = "", pace[64] = "", memory[32] = "";
    if (p->num_items > 1)
        snprintf(counter, sizeof counter, "%d/%d ", p->item, p->num_items);
    const double each = seconds_per_step(p);
    if (each > 0) {
        const int eta = (int)(each * (p->num_steps - p->step) + 0.5);
        snprintf(pace, sizeof pace,
                 each < 1 ? "  %.3f s/it  eta %d:%02d" : "  %.2f s/it  eta %d:%02d", each, eta / 60,
                 eta % 60);
    }
    if (rss) {
        char amount[16];
        cli_format_bytes(amount, sizeof amount, rss);
        snprintf(memory, sizeof memory, "  rss %s", amount);
    }
    if (p->phase == GEN_PHASE_STEP)
        snprintf(out, size, "%s%s  step %d/%d%s%s", counter, p->name, p->step, p->num_steps, pace,
                 memory);
    else
        snprintf(out, size, "%s%s  %s%s", counter, p->name, phases[p->phase], memory);
}

static void write_event(const cli_progress *p, const char *event)
{
    static const char *const phases[] = {"load", "encode", "step", "decode"};
    FILE *f = p->reporter->f;
    fprintf(f, "{\"schema\":1,\"event\":\"%s\",\"item\":%d,\"items\":%d,\"file\":", event, p->item,
            p->num_items);
    cli_json_string(f, p->name);
    fprintf(f, ",\"seed\":%llu,\"phase\":\"%s\",\"seconds\":%.3f", (unsigned long long)p->seed,
            phases[p->phase], p->seconds);
    if (p->phase == GEN_PHASE_STEP)
        fprintf(f, ",\"step\":%d,\"steps\":%d", p->step, p->num_steps);
    const double each = seconds_per_step(p);
    if (each > 0)
        fprintf(f, ",\"seconds_per_step\":%.4f,\"eta\":%.1f", each,
                each * (p->num_steps - p->step));
    fprintf(f, ",\"rss\":%llu}\n", (unsigned long long)cli_resident_memory());
    fflush(f);
}

/* The terminal's lines are not wrapped, or the carriage return would find the wrong one. */
static void write_status(cli_progress *p)
{
    char line[512];
    cli_reporter *r = p->reporter;
    struct winsize window;
    const bool has_width = ioctl(fileno(r->f), TIOCGWINSZ, &window) == 0 && window.ws_col > 1;
    const size_t max_columns = has_width ? window.ws_col - 1u : 79;
    cli_progress_line(line, sizeof line, p, cli_resident_memory());
    cli_clear_status(r);
    if (strlen(line) > max_columns) {
        size_t n = max_columns;
        while (n > 0 && ((unsigned char)line[n] & 0xc0) == 0x80)
            n--;
        line[n] = '\0';
    }
    cli_print_safely(r->f, line);
    fflush(r->f);
    r->has_status = true;
}

static void write_log_line(const cli_progress *p)
{
    char line[512];
    cli_progress_line(line, sizeof line, p, cli_resident_memory());
    cli_report(p->reporter, GEN_LOG_NOTE, "%s", line);
}

void cli_progress_start(cli_progress *p, int item, const char *name, uint64_t seed)
{
    p->item = item;
    p->name = name;
    p->seed = seed;
    p->phase = GEN_PHASE_LOAD;
    p->step = p->num_steps = 0;
    p->seconds = p->first_step_at = 0;
    if (item == 1)
        p->shown_at = p->reporter->is_terminal ? 0 : now();
    if (p->is_shown && p->reporter->is_json)
        write_event(p, "start");
}

int cli_progress_update(void *progress, const gen_progress *news)
{
    cli_progress *p = progress;
    const bool has_moved = news->phase != p->phase || (news->step >= 0 && news->step != p->step);
    if (news->phase == GEN_PHASE_STEP && p->phase != GEN_PHASE_STEP)
        p->first_step_at = news->seconds;
    p->phase = news->phase;
    if (news->step >= 0) /* a report from within a step has -1 */
        p->step = news->step;
    p->num_steps = news->num_steps;
    p->seconds = news->seconds;
    if (!p->is_shown)
        return 0;
    const double waited = now() - p->shown_at;
    if (p->reporter->is_json) {
        if (has_moved)
            write_event(p, p->phase == GEN_PHASE_STEP ? "step" : "phase");
    } else if (p->reporter->is_terminal) {
        if (waited >= (has_moved ? NEWS_INTERVAL : IDLE_INTERVAL)) {
            write_status(p);
            p->shown_at = now();
        }
    } else if (waited >= LINE_INTERVAL) {
        write_log_line(p);
        p->shown_at = now();
    }
    return 0;
}

void cli_progress_end(cli_progress *p)
{
    cli_clear_status(p->reporter);
}

void cli_progress_done(cli_progress *p, const char *path)
{
    p->name = path;
    if (p->is_shown && p->reporter->is_json)
        write_event(p, "done");
    p->name = ""; /* the path is borrowed for this call alone */
}
