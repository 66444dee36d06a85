/* golden.c - reading fixtures, comparing, and finding the first difference. */
#include "tests/golden/golden.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "gen/core/alloc.h"
#include "gen/core/safetensors.h"

/* ---- outcome -------------------------------------------------------------------------------- */

static void set_reason(golden_fixture *f, const char *format, va_list args)
{
    vsnprintf(f->reason, sizeof f->reason, format, args);
    for (char *c = f->reason; *c; c++)
        if (*c == '\n')
            *c = ' ';
}

void golden_fail(golden_fixture *f, const char *format, ...)
{
    if (f->has_failed)
        return;
    va_list args;
    va_start(args, format);
    set_reason(f, format, args);
    va_end(args);
    f->has_failed = true;
}

void golden_skip(golden_fixture *f, const char *format, ...)
{
    if (f->has_failed || f->is_skipped)
        return;
    va_list args;
    va_start(args, format);
    set_reason(f, format, args);
    va_end(args);
    f->is_skipped = true;
}

void golden_add_reason(golden_fixture *f, const char *text)
{
    const size_t used = strlen(f->reason);
    snprintf(f->reason + used, sizeof f->reason - used, "; %s", text);
}

bool golden_ok(golden_fixture *f, gen_status status, const gen_error *err)
{
    if (status != GEN_OK)
        golden_fail(f, "%s", err->message);
    return status == GEN_OK;
}

/* ---- memory and names ----------------------------------------------------------------------- */

typedef struct golden_block {
    struct golden_block *next;
    void *data;
} golden_block;

void *golden_alloc(golden_fixture *f, size_t count, size_t size)
{
    golden_block *block = gen_calloc(1, sizeof *block);
    if (block && (block->data = gen_calloc(count ? count : 1, size))) {
        block->next = f->blocks;
        f->blocks = block;
        return block->data;
    }
    gen_free(block);
    golden_fail(f, "no memory for %zu elements of %zu bytes", count, size);
    return NULL;
}

void golden_free_blocks(golden_fixture *f)
{
    for (golden_block *b = f->blocks, *next; b; b = next) {
        next = b->next;
        gen_free(b->data);
        gen_free(b);
    }
    f->blocks = NULL;
}

char *golden_path(golden_fixture *f, const char *format, ...)
{
    char text[4096];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    char *copy = golden_alloc(f, strlen(text) + 1, 1);
    if (copy)
        memcpy(copy, text, strlen(text));
    return copy;
}

/* ---- tensors of the fixture ----------------------------------------------------------------- */

const gen_weight *golden_find(const golden_fixture *f, const char *name)
{
    return f->io ? gen_weights_find(f->io, name) : NULL;
}

size_t golden_count(const gen_weight *w)
{
    size_t n = 1;
    for (int i = 0; i < w->rank; i++)
        n *= (size_t)w->dims[i];
    return n;
}

static const gen_weight *require(golden_fixture *f, const char *name)
{
    const gen_weight *w = golden_find(f, name);
    if (!w)
        golden_fail(f, "the fixture has no tensor \"%s\"", name);
    return w;
}

float *golden_load(golden_fixture *f, const char *name)
{
    const gen_weight *w = require(f, name);
    if (!w)
        return NULL;
    const size_t n = golden_count(w);
    float *values = golden_alloc(f, n, sizeof *values);
    if (values)
        gen_to_f32(values, w->data, w->dtype, n);
    return values;
}

/* Element i of an unaligned array; f64 holds every type of the fixtures but large I64 exactly. */
static double element(const gen_weight *w, size_t i)
{
    const unsigned char *p = (const unsigned char *)w->data + i * gen_dtype_size(w->dtype);
    if (w->dtype == GEN_F64) {
        double v;
        memcpy(&v, p, sizeof v);
        return v;
    }
    if (w->dtype == GEN_I64) {
        int64_t v;
        memcpy(&v, p, sizeof v);
        return (double)v;
    }
    if (w->dtype == GEN_I32) {
        int32_t v;
        memcpy(&v, p, sizeof v);
        return (double)v;
    }
    float v;
    gen_to_f32(&v, p, w->dtype, 1);
    return (double)v;
}

double *golden_load_f64(golden_fixture *f, const char *name)
{
    const gen_weight *w = require(f, name);
    if (!w)
        return NULL;
    const size_t n = golden_count(w);
    double *values = golden_alloc(f, n, sizeof *values);
    for (size_t i = 0; values && i < n; i++)
        values[i] = element(w, i);
    return values;
}

int64_t *golden_load_i64(golden_fixture *f, const char *name)
{
    const gen_weight *w = require(f, name);
    if (!w)
        return NULL;
    const size_t n = golden_count(w);
    int64_t *values = golden_alloc(f, n, sizeof *values);
    for (size_t i = 0; values && i < n; i++) {
        if (w->dtype == GEN_I64)
            memcpy(&values[i], (const char *)w->data + 8 * i, 8);
        else
            values[i] = (int64_t)element(w, i);
    }
    return values;
}

void golden_nchw_from_nhwc(float *out, const float *in, const int64_t d[4])
{
    for (int64_t n = 0; n < d[0]; n++)
        for (int64_t p = 0; p < d[1] * d[2]; p++)
            for (int64_t c = 0; c < d[3]; c++)
                out[(n * d[3] + c) * d[1] * d[2] + p] = in[(n * d[1] * d[2] + p) * d[3] + c];
}

void golden_nhwc_from_nchw(float *out, const float *in, const int64_t d[4])
{
    for (int64_t n = 0; n < d[0]; n++)
        for (int64_t p = 0; p < d[1] * d[2]; p++)
            for (int64_t c = 0; c < d[3]; c++)
                out[(n * d[1] * d[2] + p) * d[3] + c] = in[(n * d[3] + c) * d[1] * d[2] + p];
}

float *golden_load_nhwc(golden_fixture *f, const char *name, int64_t dims[4])
{
    const gen_weight *w = require(f, name);
    if (!w)
        return NULL;
    if (w->rank != 4) {
        golden_fail(f, "\"%s\" has rank %d, expected 4", name, w->rank);
        return NULL;
    }
    const int64_t nhwc[4] = {w->dims[0], w->dims[2], w->dims[3], w->dims[1]};
    float *nchw = golden_load(f, name), *out = golden_alloc(f, golden_count(w), sizeof *out);
    if (!nchw || !out)
        return NULL;
    golden_nhwc_from_nchw(out, nchw, nhwc);
    if (dims)
        memcpy(dims, nhwc, sizeof nhwc);
    return out;
}

/* Frames and rows of a clip in that order are the rows of a picture. */
static void picture_of_clip(int64_t nhwc[4], const int64_t nfhwc[5])
{
    const int64_t d[4] = {nfhwc[0], nfhwc[1] * nfhwc[2], nfhwc[3], nfhwc[4]};
    memcpy(nhwc, d, sizeof d);
}

float *golden_load_video(golden_fixture *f, const char *name, int64_t dims[5])
{
    const gen_weight *w = require(f, name);
    if (!w)
        return NULL;
    if (w->rank != 5) {
        golden_fail(f, "\"%s\" has rank %d, expected 5", name, w->rank);
        return NULL;
    }
    const int64_t d[5] = {w->dims[0], w->dims[2], w->dims[3], w->dims[4], w->dims[1]};
    int64_t nhwc[4];
    float *in = golden_load(f, name), *out = golden_alloc(f, golden_count(w), sizeof *out);
    if (!in || !out)
        return NULL;
    picture_of_clip(nhwc, d);
    golden_nhwc_from_nchw(out, in, nhwc);
    memcpy(dims, d, sizeof d);
    return out;
}

/* ---- comparing ------------------------------------------------------------------------------ */

void golden_mark(golden_fixture *f, const char *name)
{
    gen_weight *w = f->io ? gen_weights_find(f->io, name) : NULL;
    if (w)
        w->is_used = true;
}

bool golden_check(golden_fixture *f, bool equal, const char *format, ...)
{
    f->num_compared++;
    f->num_different += !equal;
    if (equal || f->has_failed)
        return equal;
    va_list args;
    va_start(args, format);
    set_reason(f, format, args);
    va_end(args);
    f->has_failed = true;
    return false;
}

typedef struct difference {
    double worst, allowed;
    size_t at;
    bool is_large;
} difference;

/* Element i of the values is compared with element map(i) of w. */
static difference differ(const gen_weight *w, const float *f32, const double *f64,
                         const int64_t *nhwc, size_t n, double tolerance)
{
    difference d = {.worst = 0};
    double scale = 1;
    for (size_t i = 0; i < n; i++)
        scale = fmax(scale, fabs(element(w, i)));
    d.allowed = tolerance * scale;
    for (size_t i = 0; i < n; i++) {
        size_t at = i;
        if (nhwc) {
            const size_t plane = (size_t)(nhwc[1] * nhwc[2]), c = (size_t)nhwc[3];
            at = (i / (plane * c) * c + i % c) * plane + i / c % plane;
        }
        const double e = fabs((f32 ? (double)f32[i] : f64[i]) - element(w, at));
        if (!(e <= d.worst)) {
            d.worst = e;
            d.at = at;
            if (isnan(e))
                break;
        }
    }
    d.is_large = !(d.worst <= d.allowed);
    return d;
}

static bool compare(golden_fixture *f, const char *name, const float *f32, const double *f64,
                    const int64_t *nhwc, size_t n, double tolerance)
{
    const gen_weight *w = require(f, name);
    if (!w)
        return false;
    golden_mark(f, name);
    f->num_compared++;
    bool fits = n == golden_count(w);
    if (nhwc)
        fits = w->rank == 4 && w->dims[0] == nhwc[0] && w->dims[1] == nhwc[3] &&
               w->dims[2] == nhwc[1] && w->dims[3] == nhwc[2];
    if (!fits) {
        char expected[128];
        gen_shape_string(expected, sizeof expected, w->rank, w->dims);
        if (nhwc)
            golden_fail(f, "%s has %" PRId64 "x%" PRId64 "x%" PRId64 "x%" PRId64 ", expected %s",
                        name, nhwc[0], nhwc[3], nhwc[1], nhwc[2], expected);
        else
            golden_fail(f, "%s has %zu elements, expected %s", name, n, expected);
        return false;
    }
    const difference d = differ(w, f32, f64, nhwc, n, tolerance);
    if (d.allowed > 0 && !(d.worst / d.allowed <= f->worst_ratio))
        f->worst_ratio = d.worst / d.allowed;
    if (f->is_verbose)
        fprintf(stderr, "  %-28s differs by %.3g, allowed %.3g\n", name, d.worst, d.allowed);
    f->num_different += d.is_large;
    if (d.is_large)
        golden_fail(f, "%s differs by %.3g at element %zu, allowed %.3g", name, d.worst, d.at,
                    d.allowed);
    return !d.is_large;
}

bool golden_compare(golden_fixture *f, const char *name, const float *values, size_t n,
                    double tolerance)
{
    return compare(f, name, values, NULL, NULL, n, tolerance);
}

bool golden_compare_f64(golden_fixture *f, const char *name, const double *values, size_t n,
                        double tolerance)
{
    return compare(f, name, NULL, values, NULL, n, tolerance);
}

bool golden_compare_nhwc(golden_fixture *f, const char *name, const float *values,
                         const int64_t d[4], double tolerance)
{
    return compare(f, name, values, NULL, d, (size_t)(d[0] * d[1] * d[2] * d[3]), tolerance);
}

bool golden_compare_video(golden_fixture *f, const char *name, const float *values,
                          const int64_t d[5], double tolerance)
{
    const gen_weight *w = require(f, name);
    if (!w)
        return false;
    if (w->rank != 5 || w->dims[0] != d[0] || w->dims[1] != d[4] || w->dims[2] != d[1] ||
        w->dims[3] != d[2] || w->dims[4] != d[3]) {
        char expected[128], found[128];
        golden_fail(f, "%s is %s as frames of pixels, expected %s", name,
                    gen_shape_string(found, sizeof found, 5, d),
                    gen_shape_string(expected, sizeof expected, w->rank, w->dims));
        return false;
    }
    const size_t n = golden_count(w);
    int64_t nhwc[4];
    float *plain = golden_alloc(f, n, sizeof *plain);
    if (!plain)
        return false;
    picture_of_clip(nhwc, d);
    golden_nchw_from_nhwc(plain, values, nhwc);
    return golden_compare(f, name, plain, n, tolerance);
}

bool golden_compare_i64(golden_fixture *f, const char *name, const int64_t *values, size_t n)
{
    const int64_t *expected = golden_load_i64(f, name);
    if (!expected)
        return false;
    golden_mark(f, name);
    const size_t count = golden_count(golden_find(f, name));
    if (!golden_check(f, n == count, "%s has %zu elements, expected %zu", name, n, count))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (values[i] != expected[i]) {
            golden_fail(f, "%s is %" PRId64 " at element %zu, expected %" PRId64, name, values[i],
                        i, expected[i]);
            return false;
        }
    }
    return true;
}

/* ---- models --------------------------------------------------------------------------------- */

static bool exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

gen_weights *golden_open_file(golden_fixture *f, const char *path)
{
    gen_weights *weights = NULL;
    gen_error err = {0};
    if (!golden_ok(f, gen_weights_new(&weights, &err), &err))
        return NULL;
    if (!golden_ok(f, gen_safetensors_open(weights, path, &err), &err)) {
        gen_weights_free(weights);
        return NULL;
    }
    return weights;
}

gen_weights *golden_open_weights(golden_fixture *f, const char *sub)
{
    static const char *const names[] = {"diffusion_pytorch_model.safetensors", "model.safetensors"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *path = golden_path(f, "%s/%s%s%s", f->path, sub, *sub ? "/" : "", names[i]);
        if (path && exists(path))
            return golden_open_file(f, path);
    }
    golden_skip(f, "%s/%s has no %s or %s", f->path, sub, names[0], names[1]);
    return NULL;
}

gen_weights *golden_part(golden_fixture *f, gen_weights *file, gen_part part)
{
    gen_weights *weights = NULL;
    gen_error err = {0};
    if (!golden_ok(f, gen_weights_new(&weights, &err), &err))
        return NULL;
    if (golden_ok(f, gen_keymap_add(weights, file, part, &err), &err))
        return weights;
    gen_weights_free(weights);
    return NULL;
}

/* ---- finding the first difference ----------------------------------------------------------- */

unsigned golden_plan_flags(const golden_fixture *f)
{
    return f->is_locating ? GEN_PLAN_KEEP_ALL : 0;
}

/* The module of an "act.MODULE" or "act.MODULE#k" into buf; false for other names. */
static bool module_of(const char *name, const char *prefix, char *buf, size_t size)
{
    if (strncmp(name, "act.", 4) != 0 || strncmp(name + 4, prefix, strlen(prefix)) != 0)
        return false;
    snprintf(buf, size, "%s", name + 4 + strlen(prefix));
    buf[strcspn(buf, "#")] = 0;
    return true;
}

/* Compares one recorded activation with tensor t of a plan that has run; true when it fits or
 * cannot be compared. */
static bool activation_fits(golden_fixture *f, gen_plan *plan, const gen_tensor *t,
                            const gen_weight *w)
{
    const size_t n = (size_t)gen_tensor_elements(t);
    float *values = n == golden_count(w) ? golden_alloc(f, n, sizeof *values) : NULL;
    if (!values || gen_plan_get(plan, t, values, NULL) != GEN_OK)
        return true;
    int64_t nhwc[4];
    const bool is_image = w->rank == 4 || w->rank == 5;
    if (w->rank == 5) {
        picture_of_clip(
            nhwc, (const int64_t[]){w->dims[0], w->dims[2], w->dims[3], w->dims[4], w->dims[1]});
    } else if (is_image) {
        const int64_t d[4] = {w->dims[0], w->dims[2], w->dims[3], w->dims[1]};
        memcpy(nhwc, d, sizeof nhwc);
    }
    const difference d = differ(w, values, NULL, is_image ? nhwc : NULL, n, 1e-4);
    if (f->is_verbose)
        fprintf(stderr, "  %-60s differs by %.3g, allowed %.3g\n", w->name, d.worst, d.allowed);
    return !d.is_large;
}

/* Has an activation of this module before number i been met in this run already? */
static bool was_met(const golden_fixture *f, const bool *met, size_t i, const char *module,
                    const char *prefix)
{
    char other[200];
    for (size_t j = 0; j < i; j++)
        if (met[j] && module_of(gen_weights_at(f->io, j)->name, prefix, other, sizeof other) &&
            strcmp(other, module) == 0)
            return true;
    return false;
}

/* The k-th run of a module belongs to the k-th activation of its name; is_used marks those that
 * earlier runs have met. */
static void locate(golden_fixture *f, gen_plan *plan, const char *prefix)
{
    const gen_weight *first = NULL;
    int first_id = 0;
    char module[200];
    bool *met = golden_alloc(f, gen_weights_count(f->io), sizeof *met);
    for (size_t i = 0; met && i < gen_weights_count(f->io); i++) {
        gen_weight *w = gen_weights_at(f->io, i);
        if (w->is_used || !module_of(w->name, prefix, module, sizeof module) ||
            was_met(f, met, i, module, prefix))
            continue;
        const gen_tensor *t = gen_graph_find(gen_plan_graph(plan), module, 0);
        if (!t || t->kind == GEN_KIND_INPUT)
            continue;
        w->is_used = met[i] = true;
        if (!activation_fits(f, plan, t, w) && (!first || t->id < first_id)) {
            first = w;
            first_id = t->id;
        }
    }
    if (first && !f->has_located) {
        char text[256];
        snprintf(text, sizeof text, "first at %s", first->name);
        golden_add_reason(f, text);
        f->has_located = true;
    }
}

bool golden_run_plan(golden_fixture *f, gen_plan *plan, const char *prefix)
{
    gen_error err = {0};
    if (!golden_ok(f, gen_plan_run(plan, &err), &err))
        return false;
    if (f->is_locating && f->io)
        locate(f, plan, prefix);
    return true;
}
