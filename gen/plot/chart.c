/* chart.c - drawing charts with cairo, to pixels or as SVG. */
#include "gen/plot/chart.h"

#include <cairo-svg.h>
#include <cairo.h>
#include <math.h>
#include <string.h>

#include "gen/core/alloc.h"

typedef struct rgb {
    double r, g, b;
} rgb;

/* Hues of equal weight that stay apart for most colour-blind people. */
static const rgb COLORS[GEN_NUM_COLORS] = {
    {0.13, 0.43, 0.72}, {0.88, 0.44, 0.13}, {0.17, 0.58, 0.35}, {0.78, 0.22, 0.28},
    {0.49, 0.36, 0.67}, {0.10, 0.63, 0.69}, {0.85, 0.44, 0.66}, {0.55, 0.43, 0.33},
    {0.69, 0.62, 0.10}, {0.36, 0.42, 0.50}, {0.10, 0.24, 0.47}, {0.95, 0.65, 0.10},
};
static const rgb PAPER = {1, 1, 1}, GRID = {0.91, 0.92, 0.94}, FRAME = {0.72, 0.74, 0.78},
                 INK = {0.16, 0.18, 0.22}, PALE_INK = {0.40, 0.43, 0.48},
                 FAINT = {0.76, 0.78, 0.82};

/* Where one panel's data area lies, in pixels. */
typedef struct area {
    double left, top, width, height;
} area;

typedef struct painter {
    cairo_t *c;
    const gen_chart *chart;
    double scale; /* 1 at 1000x700 */
} painter;

static void set_color(const painter *p, rgb color, double opacity)
{
    cairo_set_source_rgba(p->c, color.r, color.g, color.b, opacity);
}

static rgb color_of(const gen_chart_series *s)
{
    return s->color == GEN_COLOR_FAINT  ? FAINT
           : s->color == GEN_COLOR_DARK ? INK
                                        : COLORS[s->color % GEN_NUM_COLORS];
}

/* ---- axes ----------------------------------------------------------------------------------- */

int gen_chart_ticks(double *out, int max, double first, double last, bool is_whole)
{
    const double low = fmin(first, last), high = fmax(first, last), span = high - low;
    if (!(span > 0) || max < 2)
        return 0;
    double step = pow(10, floor(log10(span / max)));
    const double factors[] = {1, 2, 5, 10, 20};
    int i = 0;
    while (i < 4 && floor(high / (step * factors[i])) - ceil(low / (step * factors[i])) + 1 > max)
        i++;
    step *= factors[i];
    if (is_whole)
        step = fmax(1, rint(step));
    int n = 0;
    for (double k = ceil(low / step - 1e-9); n < max && k * step <= high + 1e-9 * span; k++)
        out[n++] = k * step + 0.0;
    return n;
}

static double along(const gen_chart_axis *a, double v)
{
    return a->kind == GEN_AXIS_ASINH ? asinh(v / a->bend) : v;
}

/* 0 at the first end, 1 at the last. */
static double place(const gen_chart_axis *a, double v)
{
    const double first = along(a, a->first), last = along(a, a->last);
    return last != first ? (along(a, v) - first) / (last - first) : 0;
}

static double pixel_x(const gen_chart_panel *panel, const area *r, double v)
{
    return r->left + r->width * place(&panel->x, v);
}

static double pixel_y(const gen_chart_panel *panel, const area *r, double v)
{
    return r->top + r->height * (1 - place(&panel->y, v));
}

/* ---- text ----------------------------------------------------------------------------------- */

typedef enum text_side { AT_LEFT, AT_MIDDLE, AT_RIGHT } text_side;

static void set_font(const painter *p, double size, bool is_bold)
{
    cairo_select_font_face(p->c, "sans-serif", CAIRO_FONT_SLANT_NORMAL,
                           is_bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(p->c, size * p->scale);
}

static double text_width(const painter *p, const char *text)
{
    cairo_text_extents_t e;
    cairo_text_extents(p->c, text, &e);
    return e.x_advance;
}

/* y is the base line. */
static void draw_text(const painter *p, double x, double y, text_side side, const char *text)
{
    const double w = text_width(p, text);
    cairo_move_to(p->c, x - (side == AT_MIDDLE ? w / 2 : side == AT_RIGHT ? w : 0), y);
    cairo_show_text(p->c, text);
}

static void tick_text(char *out, size_t size, double v)
{
    snprintf(out, size, "%.6g", fabs(v) < 1e-12 ? 0 : v);
    if (out[0] == '-') /* a minus sign is longer than a hyphen */
        snprintf(out, size, "\xe2\x88\x92%.6g", -v);
}

/* ---- panels --------------------------------------------------------------------------------- */

static void line(const painter *p, double x0, double y0, double x1, double y1)
{
    cairo_move_to(p->c, x0, y0);
    cairo_line_to(p->c, x1, y1);
    cairo_stroke(p->c);
}

/* One tick: grid line, and its text below or to the left. */
static void draw_tick(const painter *p, const gen_chart_panel *panel, const area *r, bool is_x,
                      double at, const char *text)
{
    const double share = place(is_x ? &panel->x : &panel->y, at);
    if (share < -1e-6 || share > 1 + 1e-6)
        return;
    set_color(p, GRID, 1);
    cairo_set_line_width(p->c, p->scale);
    const double x = r->left + r->width * share, y = r->top + r->height * (1 - share);
    if (is_x)
        line(p, x, r->top, x, r->top + r->height);
    else
        line(p, r->left, y, r->left + r->width, y);
    set_color(p, PALE_INK, 1);
    if (is_x)
        draw_text(p, x, r->top + r->height + 16 * p->scale, AT_MIDDLE, text);
    else
        draw_text(p, r->left - 7 * p->scale, y + 4 * p->scale, AT_RIGHT, text);
}

static void draw_axis(const painter *p, const gen_chart_panel *panel, const area *r, bool is_x)
{
    const gen_chart_axis *a = is_x ? &panel->x : &panel->y;
    double at[GEN_CHART_MAX_TICKS];
    const double room = (is_x ? r->width : r->height) / (p->scale * (is_x ? 55 : 42));
    const int most = (int)fmax(2, fmin(room, GEN_CHART_MAX_TICKS));
    set_font(p, 11, false);
    for (int i = 0; i < a->num_ticks; i++)
        draw_tick(p, panel, r, is_x, a->ticks[i].at, a->ticks[i].text);
    const int n = a->ticks ? 0 : gen_chart_ticks(at, most, a->first, a->last, a->is_whole);
    for (int i = 0; i < n; i++) {
        char text[32];
        tick_text(text, sizeof text, at[i]);
        draw_tick(p, panel, r, is_x, at[i], text);
    }
    if (!a->label)
        return;
    set_font(p, 12, false);
    set_color(p, INK, 1);
    if (is_x) {
        draw_text(p, r->left + r->width / 2, r->top + r->height + 36 * p->scale, AT_MIDDLE,
                  a->label);
        return;
    }
    cairo_save(p->c);
    cairo_translate(p->c, r->left - 42 * p->scale, r->top + r->height / 2);
    cairo_rotate(p->c, -acos(0));
    draw_text(p, 0, 0, AT_MIDDLE, a->label);
    cairo_restore(p->c);
}

static void dot(const painter *p, double x, double y, double radius)
{
    cairo_new_sub_path(p->c);
    cairo_arc(p->c, x, y, radius, 0, 4 * acos(0));
    cairo_fill(p->c);
}

static void draw_series(const painter *p, const gen_chart_panel *panel, const area *r,
                        const gen_chart_series *s)
{
    const double opacity = s->opacity > 0 ? s->opacity : 1;
    const double width = (s->width > 0 ? s->width : 1.8) * p->scale;
    const rgb color = color_of(s);
    for (size_t i = 0; i < s->n; i++)
        cairo_line_to(p->c, pixel_x(panel, r, s->x[i]), pixel_y(panel, r, s->y[i]));
    if (s->style & GEN_SERIES_AREA) {
        set_color(p, color, 0.18 * opacity);
        cairo_fill_preserve(p->c);
    }
    set_color(p, color, opacity);
    cairo_set_line_width(p->c, width);
    if (s->style & GEN_SERIES_LINE)
        cairo_stroke(p->c);
    cairo_new_path(p->c);
    for (size_t i = 0; i < s->n; i++)
        if (s->style & GEN_SERIES_DOTS || (s->style & GEN_SERIES_LAST_DOT && i + 1 == s->n)) {
            if (s->style & GEN_SERIES_LAST_DOT)
                set_color(p, color, 1);
            dot(p, pixel_x(panel, r, s->x[i]), pixel_y(panel, r, s->y[i]), 1.8 * width);
        }
}

/* One unit becomes as long on both axes; the area shrinks on one side. */
static void make_square(const gen_chart_panel *panel, area *r)
{
    const double w = fabs(panel->x.last - panel->x.first), h = fabs(panel->y.last - panel->y.first);
    const double unit = fmin(r->width / w, r->height / h);
    r->left += (r->width - unit * w) / 2;
    r->top += (r->height - unit * h) / 2;
    r->width = unit * w;
    r->height = unit * h;
}

static void draw_panel(const painter *p, const gen_chart_panel *panel, area cell)
{
    area r = {cell.left + (panel->y.label ? 62 : 44) * p->scale,
              cell.top + (panel->title ? 28 : 10) * p->scale, 0, 0};
    r.width = cell.left + cell.width - 14 * p->scale - r.left;
    r.height = cell.top + cell.height - (panel->x.label ? 46 : 26) * p->scale - r.top;
    if (panel->is_square)
        make_square(panel, &r);
    draw_axis(p, panel, &r, true);
    draw_axis(p, panel, &r, false);
    cairo_save(p->c);
    cairo_rectangle(p->c, r.left - 4 * p->scale, r.top - 4 * p->scale, r.width + 8 * p->scale,
                    r.height + 8 * p->scale);
    cairo_clip(p->c);
    cairo_set_line_join(p->c, CAIRO_LINE_JOIN_ROUND);
    for (size_t i = 0; i < panel->num_series; i++)
        draw_series(p, panel, &r, &panel->series[i]);
    cairo_restore(p->c);
    set_color(p, FRAME, 1);
    cairo_set_line_width(p->c, p->scale);
    cairo_rectangle(p->c, r.left, r.top, r.width, r.height);
    cairo_stroke(p->c);
    if (panel->title) {
        set_font(p, 13, true);
        const double room = cell.left + cell.width - r.left, w = text_width(p, panel->title);
        set_font(p, 13 * fmin(1, room / w), true);
        set_color(p, INK, 1);
        draw_text(p, r.left, r.top - 9 * p->scale, AT_LEFT, panel->title);
    }
}

/* ---- the chart ------------------------------------------------------------------------------ */

/* Labels in rows from `top`; returns where the next thing may begin. */
static double draw_legend(const painter *p, double top)
{
    const gen_chart_panel *panel = p->chart->panels;
    const double left = 24 * p->scale, right = p->chart->width - left, row = 20 * p->scale;
    double x = left;
    bool is_empty = true;
    set_font(p, 12, false);
    for (size_t i = 0; i < panel->num_series; i++) {
        const gen_chart_series *s = &panel->series[i];
        if (!s->label)
            continue;
        const double w = text_width(p, s->label) + 46 * p->scale;
        if (!is_empty && x + w > right) {
            x = left;
            top += row;
        }
        is_empty = false;
        set_color(p, color_of(s), 1);
        cairo_set_line_width(p->c, 2.2 * p->scale);
        line(p, x, top + 6 * p->scale, x + 20 * p->scale, top + 6 * p->scale);
        if (s->style & GEN_SERIES_DOTS)
            dot(p, x + 10 * p->scale, top + 6 * p->scale, 3.4 * p->scale);
        set_color(p, INK, 1);
        draw_text(p, x + 26 * p->scale, top + 10 * p->scale, AT_LEFT, s->label);
        x += w;
    }
    return is_empty ? top : top + row;
}

static void draw_chart(cairo_t *c, const gen_chart *chart)
{
    const painter p = {c, chart, fmin(chart->width / 1000.0, chart->height / 700.0)};
    const double margin = 24 * p.scale;
    double top = 34 * p.scale;
    set_color(&p, PAPER, 1);
    cairo_paint(c);
    set_color(&p, INK, 1);
    if (chart->title) {
        set_font(&p, 19, true);
        draw_text(&p, margin, top, AT_LEFT, chart->title);
        top += 20 * p.scale;
    }
    if (chart->subtitle) {
        set_font(&p, 12.5, false);
        set_color(&p, PALE_INK, 1);
        draw_text(&p, margin, top, AT_LEFT, chart->subtitle);
        top += 10 * p.scale;
    }
    top = draw_legend(&p, top + 4 * p.scale) + 4 * p.scale;
    const int columns = chart->num_columns, rows = (chart->num_panels + columns - 1) / columns;
    const double left = 8 * p.scale, width = (chart->width - 2 * left) / columns;
    const double height = (chart->height - top - 8 * p.scale) / rows;
    for (int i = 0; i < chart->num_panels; i++)
        draw_panel(&p, &chart->panels[i],
                   (area){left + i % columns * width, top + i / columns * height, width, height});
}

/* ---- targets -------------------------------------------------------------------------------- */

static gen_status drawn(cairo_t *c, cairo_surface_t *surface, gen_error *err)
{
    cairo_status_t status = cairo_status(c);
    if (!status)
        status = cairo_surface_status(surface);
    if (status == CAIRO_STATUS_SUCCESS)
        return GEN_OK;
    return gen_fail(err, status == CAIRO_STATUS_NO_MEMORY ? GEN_ERROR_MEMORY : GEN_ERROR_INTERNAL,
                    "chart: %s", cairo_status_to_string(status));
}

gen_status gen_chart_draw(gen_image **out, const gen_chart *chart, gen_error *err)
{
    gen_image *image = NULL;
    cairo_surface_t *surface =
        cairo_image_surface_create(CAIRO_FORMAT_RGB24, chart->width, chart->height);
    cairo_t *c = cairo_create(surface);
    draw_chart(c, chart);
    cairo_surface_flush(surface);
    gen_status status = drawn(c, surface, err);
    if (status || (status = gen_image_new(&image, chart->width, chart->height, 3, err)))
        goto done;
    const unsigned char *pixels = cairo_image_surface_get_data(surface);
    const size_t stride = (size_t)cairo_image_surface_get_stride(surface);
    for (size_t y = 0; y < (size_t)chart->height; y++)
        for (size_t x = 0; x < (size_t)chart->width; x++) {
            uint32_t v; /* one pixel is one native word, 0x00RRGGBB */
            memcpy(&v, pixels + y * stride + 4 * x, sizeof v);
            unsigned char *to = image->data + y * image->stride + 3 * x;
            to[0] = (unsigned char)(v >> 16);
            to[1] = (unsigned char)(v >> 8);
            to[2] = (unsigned char)v;
        }
    *out = image;
done:
    cairo_destroy(c);
    cairo_surface_destroy(surface);
    return status;
}

static cairo_status_t write_bytes(void *file, const unsigned char *data, unsigned int size)
{
    return fwrite(data, 1, size, file) == size ? CAIRO_STATUS_SUCCESS : CAIRO_STATUS_WRITE_ERROR;
}

gen_status gen_chart_write_svg(FILE *f, const char *path, const gen_chart *chart, gen_error *err)
{
    cairo_surface_t *surface =
        cairo_svg_surface_create_for_stream(write_bytes, f, chart->width, chart->height);
    cairo_svg_surface_set_document_unit(surface, CAIRO_SVG_UNIT_PX);
    cairo_t *c = cairo_create(surface);
    draw_chart(c, chart);
    cairo_surface_finish(surface);
    gen_status status = GEN_OK;
    if (cairo_surface_status(surface) == CAIRO_STATUS_WRITE_ERROR)
        status = gen_fail(err, GEN_ERROR_OUTPUT, "%s: cannot be written", path);
    else
        status = drawn(c, surface, err);
    cairo_destroy(c);
    cairo_surface_destroy(surface);
    return status;
}
