/* resize.c - pictures of another size, as Pillow makes them.
 *
 * Each output value is a weighted mean of the input values under a filter that is widened when the
 * picture shrinks.  Rows are resized first, then columns; weights are whole numbers of 22 bits and
 * both results are rounded to bytes, so the bytes are those of other programs. */
#include <math.h>
#include <string.h>

#include "gen/core/alloc.h"
#include "gen/io/io.h"

enum { WEIGHT_BITS = 22 };

static double sinc(double x)
{
    return x == 0 ? 1 : sin(3.14159265358979323846 * x) / (3.14159265358979323846 * x);
}

static double weigh(gen_filter filter, double x)
{
    x = fabs(x);
    switch (filter) {
    case GEN_FILTER_BILINEAR:
        return x < 1 ? 1 - x : 0;
    case GEN_FILTER_BICUBIC: /* Keys 1981 with a = -1/2 */
        if (x < 1)
            return (1.5 * x - 2.5) * x * x + 1;
        return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
    case GEN_FILTER_LANCZOS:
        return x < 3 ? sinc(x) * sinc(x / 3) : 0;
    case GEN_FILTER_NEAREST:
        break;
    }
    return 0;
}

static double support_of(gen_filter filter)
{
    return filter == GEN_FILTER_LANCZOS ? 3 : filter == GEN_FILTER_BICUBIC ? 2 : 1;
}

/* For each position of an axis: the first input it looks at, how many, and their weights. */
typedef struct taps {
    int width; /* room for the weights of one position */
    int *first, *count, *weights;
} taps;

static void free_taps(taps *t)
{
    gen_free(t->first);
    gen_free(t->count);
    gen_free(t->weights);
}

static void fill_nearest(taps *t, int from, int to)
{
    for (int i = 0; i < to; i++) {
        const int at = (int)(((double)i + 0.5) * from / to);
        t->first[i] = at < from ? at : from - 1;
        t->count[i] = 1;
        t->weights[i * t->width] = 1 << WEIGHT_BITS;
    }
}

static void fill_taps(taps *t, gen_filter filter, int from, int to, double *row)
{
    const double scale = (double)from / to, wide = scale > 1 ? scale : 1;
    const double support = support_of(filter) * wide;
    for (int i = 0; i < to; i++) {
        const double centre = (i + 0.5) * scale;
        const int low = (int)(centre - support + 0.5), high = (int)(centre + support + 0.5);
        const int first = low > 0 ? low : 0, end = high < from ? high : from;
        double sum = 0;
        for (int k = first; k < end; k++)
            sum += row[k - first] = weigh(filter, (k - centre + 0.5) / wide);
        t->first[i] = first;
        t->count[i] = end - first;
        for (int k = 0; k < end - first; k++)
            t->weights[i * t->width + k] =
                (int)floor((sum != 0 ? row[k] / sum : row[k]) * (1 << WEIGHT_BITS) + 0.5);
    }
}

static gen_status make_taps(taps *t, gen_filter filter, int from, int to, gen_error *err)
{
    const double scale = (double)from / to;
    t->width = (int)ceil(support_of(filter) * (scale > 1 ? scale : 1)) * 2 + 1;
    const size_t n = (size_t)to * (size_t)t->width;
    double *row = gen_malloc((size_t)t->width * sizeof *row);
    t->first = gen_malloc((size_t)to * sizeof(int));
    t->count = gen_malloc((size_t)to * sizeof(int));
    t->weights = gen_malloc(n * sizeof(int));
    if (!row || !t->first || !t->count || !t->weights) {
        gen_free(row);
        return gen_no_memory(err, "picture", n * sizeof(int));
    }
    if (filter == GEN_FILTER_NEAREST)
        fill_nearest(t, from, to);
    else
        fill_taps(t, filter, from, to, row);
    gen_free(row);
    return GEN_OK;
}

static unsigned char to_byte(int64_t sum)
{
    const int64_t v = (sum + (1 << (WEIGHT_BITS - 1))) >> WEIGHT_BITS;
    return v < 0 ? 0 : v > 255 ? 255 : (unsigned char)v;
}

/* Values `step` apart in a line of the input become one of the output. */
static unsigned char mean(const taps *t, int i, const unsigned char *line, size_t step)
{
    const int *weights = t->weights + (ptrdiff_t)i * t->width;
    const unsigned char *from = line + (size_t)t->first[i] * step;
    int64_t sum = 0;
    for (int k = 0; k < t->count[i]; k++)
        sum += (int64_t)weights[k] * from[(size_t)k * step];
    return to_byte(sum);
}

static void resize_rows(gen_image *out, const gen_image *in, const taps *t)
{
    const size_t channels = (size_t)in->channels;
    for (int y = 0; y < out->height; y++)
        for (int x = 0; x < out->width; x++)
            for (size_t c = 0; c < channels; c++)
                out->data[(size_t)y * out->stride + (size_t)x * channels + c] =
                    mean(t, x, in->data + (size_t)y * in->stride + c, channels);
}

static void resize_columns(gen_image *out, const gen_image *in, const taps *t)
{
    const size_t bytes = (size_t)out->width * (size_t)out->channels;
    for (int y = 0; y < out->height; y++)
        for (size_t i = 0; i < bytes; i++)
            out->data[(size_t)y * out->stride + i] = mean(t, y, in->data + i, in->stride);
}

gen_status gen_image_resize(gen_image **out, const gen_image *image, int width, int height,
                            gen_filter filter, gen_error *err)
{
    taps x = {0}, y = {0};
    gen_image *wide = NULL, *result = NULL;
    gen_status status = gen_image_check_size("resizing", width, height, err);
    if (!status)
        status = make_taps(&x, filter, image->width, width, err);
    if (!status)
        status = make_taps(&y, filter, image->height, height, err);
    if (!status)
        status = gen_image_new(&wide, width, image->height, image->channels, err);
    if (!status)
        status = gen_image_new(&result, width, height, image->channels, err);
    if (!status) {
        resize_rows(wide, image, &x);
        resize_columns(result, wide, &y);
        *out = result;
        result = NULL;
    }
    gen_image_free(wide);
    gen_image_free(result);
    free_taps(&x);
    free_taps(&y);
    return status;
}
