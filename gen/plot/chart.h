/* chart.h - line charts for people: panels with axes, thin lines, dots and a legend.
 *
 * A chart is plain data that the caller fills and keeps; drawing it (chart.c, with cairo) changes
 * nothing.  Coordinates are the data's own; an axis says how they become lengths. */
#ifndef GEN_PLOT_CHART_H
#define GEN_PLOT_CHART_H

#include <stdio.h>

#include "gen/core/status.h"
#include "gen/gen.h"

typedef enum gen_axis_kind {
    GEN_AXIS_LINEAR,
    GEN_AXIS_ASINH /* linear below `bend`, logarithmic above: levels that end at 0 */
} gen_axis_kind;

typedef struct gen_chart_tick {
    double at;
    const char *text;
} gen_chart_tick;

enum { GEN_CHART_MAX_TICKS = 16 };

typedef struct gen_chart_axis {
    const char *label; /* or NULL */
    gen_axis_kind kind;
    double first, last; /* at the left or bottom, and at the other end; may descend */
    double bend;
    bool is_whole;               /* ticks at whole numbers only */
    const gen_chart_tick *ticks; /* NULL: chosen here */
    int num_ticks;
} gen_chart_axis;

/* What is drawn of a series. */
enum { GEN_SERIES_LINE = 1, GEN_SERIES_DOTS = 2, GEN_SERIES_AREA = 4, GEN_SERIES_LAST_DOT = 8 };

enum { GEN_COLOR_FAINT = -1, GEN_COLOR_DARK = -2, GEN_NUM_COLORS = 12 };

typedef struct gen_chart_series {
    const char *label;   /* in the legend; NULL: not there */
    const double *x, *y; /* [n], borrowed */
    size_t n;
    unsigned style; /* GEN_SERIES_... */
    int color;      /* 0..GEN_NUM_COLORS-1, or one of the two above */
    double width;   /* of the line in points at 1000x700; 0: 1.8 */
    double opacity; /* 0: 1 */
} gen_chart_series;

typedef struct gen_chart_panel {
    const char *title; /* or NULL */
    gen_chart_axis x, y;
    bool is_square; /* one unit is as long on both axes */
    const gen_chart_series *series;
    size_t num_series;
} gen_chart_panel;

typedef struct gen_chart {
    const char *title, *subtitle;  /* or NULL */
    int width, height;             /* pixels */
    const gen_chart_panel *panels; /* laid out in rows, left to right */
    int num_panels, num_columns;
} gen_chart;

/* The legend lists the labelled series of the first panel.  Errors: MEMORY. */
gen_status gen_chart_draw(gen_image **out, const gen_chart *chart, gen_error *err);
/* Writes the chart as an SVG document; path is for messages.  Errors: MEMORY; OUTPUT. */
gen_status gen_chart_write_svg(FILE *f, const char *path, const gen_chart *chart, gen_error *err);

/* Draws into a file named by its ending, .svg or what gen_image_save() knows, with its promises.
 * Errors: ARGUMENT; MEMORY; OUTPUT. */
gen_status gen_chart_save(const gen_chart *chart, const char *path,
                          const gen_image_save_params *params, gen_error *err);

/* Round numbers for an axis from `first` to `last`, at most `max`; returns how many. */
int gen_chart_ticks(double *out, int max, double first, double last, bool is_whole);

#endif
