/* plot_times.c - a chart of measured times, both axes logarithmic.
 *
 *     plot-times OUT.png TITLE X-LABEL Y-LABEL < ROWS
 *
 * A row is "NAME X Y"; rows of one NAME, one after the other, are a line. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gen/plot/chart.h"

enum { MAX_ROWS = 512, MAX_SERIES = 8 };

typedef struct table {
    char names[MAX_SERIES][64];
    gen_chart_series series[MAX_SERIES];
    double x[MAX_ROWS], y[MAX_ROWS]; /* logarithms to the base ten */
    size_t num_rows, num_series;
} table;

/* A logarithmic axis is a linear one of logarithms, with ticks that say what they stand for. */
typedef struct log_axis {
    gen_chart_tick ticks[GEN_CHART_MAX_TICKS];
    char texts[GEN_CHART_MAX_TICKS][16];
} log_axis;

static int read_rows(table *t)
{
    char name[64];
    double x, y;
    while (t->num_rows < MAX_ROWS && scanf("%63s %lf %lf", name, &x, &y) == 3) {
        const size_t last = t->num_series - 1;
        if (!(x > 0 && y > 0))
            return -1;
        if (!t->num_series || strcmp(t->names[last], name) != 0) {
            if (t->num_series == MAX_SERIES)
                return -1;
            snprintf(t->names[t->num_series], sizeof t->names[0], "%s", name);
            t->series[t->num_series] =
                (gen_chart_series){.label = t->names[t->num_series],
                                   .x = t->x + t->num_rows,
                                   .y = t->y + t->num_rows,
                                   .style = GEN_SERIES_LINE | GEN_SERIES_DOTS,
                                   .color = (int)t->num_series};
            t->num_series++;
        }
        t->x[t->num_rows] = log10(x);
        t->y[t->num_rows++] = log10(y);
        t->series[t->num_series - 1].n++;
    }
    return t->num_rows ? 0 : -1;
}

static void range_of(const double *values, size_t n, double *first, double *last)
{
    *first = *last = values[0];
    for (size_t i = 1; i < n; i++) {
        *first = fmin(*first, values[i]);
        *last = fmax(*last, values[i]);
    }
}

static int add_tick(log_axis *a, int n, double value)
{
    if (n == GEN_CHART_MAX_TICKS)
        return n;
    snprintf(a->texts[n], sizeof a->texts[n], "%g", value);
    a->ticks[n] = (gen_chart_tick){.at = log10(value), .text = a->texts[n]};
    return n + 1;
}

/* Ticks at the values of the first line. */
static int ticks_at_values(log_axis *a, const gen_chart_series *s)
{
    int n = 0;
    for (size_t i = 0; i < s->n; i++)
        n = add_tick(a, n, round(pow(10, s->x[i])));
    return n;
}

/* Ticks at powers of ten; the axis is widened to the powers around the values. */
static int ticks_at_powers(log_axis *a, double *first, double *last)
{
    int n = 0;
    *first = floor(*first);
    *last = ceil(*last);
    for (double at = *first; at <= *last; at++)
        n = add_tick(a, n, pow(10, at));
    return n;
}

int main(int argc, char **argv)
{
    static table t;
    static log_axis x, y;
    gen_error err;
    if (argc != 5 || read_rows(&t)) {
        fprintf(stderr, "usage: %s OUT.png TITLE X-LABEL Y-LABEL < ROWS of NAME X Y\n", argv[0]);
        return 2;
    }
    gen_chart_panel panel = {.x = {.label = argv[3], .ticks = x.ticks},
                             .y = {.label = argv[4], .ticks = y.ticks},
                             .series = t.series,
                             .num_series = t.num_series};
    range_of(t.x, t.num_rows, &panel.x.first, &panel.x.last);
    range_of(t.y, t.num_rows, &panel.y.first, &panel.y.last);
    panel.x.num_ticks = ticks_at_values(&x, &t.series[0]);
    panel.y.num_ticks = ticks_at_powers(&y, &panel.y.first, &panel.y.last);
    const gen_chart chart = {.title = argv[2],
                             .width = 1000,
                             .height = 700,
                             .panels = &panel,
                             .num_panels = 1,
                             .num_columns = 1};
    if (!gen_chart_save(&chart, argv[1], NULL, &err)) {
        printf("%s\n", argv[1]);
        return 0;
    }
    fprintf(stderr, "%s\n", err.message);
    return 1;
}
