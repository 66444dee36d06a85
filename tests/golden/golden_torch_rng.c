/* golden_torch_rng.c - noise streams.  A tensor's name says how it was drawn:
 *
 *   seedS/randn_N or randn_AxB..       one draw from a new generator
 *   seedS/seqI_randn_N                 draw I of a sequence from one generator
 *   seedS/philoxI_N                    the same from the CUDA generator
 *   seedS/rand_N                       uniform numbers
 *   seedS/rand_then_randn_N            normal numbers after as many uniform ones
 *   seedS/generator_randn_N            then generator_randint_LOW_HIGH_N from the same generator
 *   seedS/randn_f16_of_f32_N           randn_N rounded to half precision */
#include "tests/golden/golden.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/core/rng.h"

/* The reference evaluates log, sin and cos in float with vector approximations. */
#define TOLERANCE 1e-5

typedef struct drawing {
    golden_fixture *f;
    const gen_weight *w;
    uint64_t seed;
    const char *rest; /* the name after seedS/ */
    float *values;
    size_t n;
} drawing;

/* Elements in "4096" or "1x4x8x8". */
static size_t count_of(const char *shape)
{
    size_t n = 1;
    for (const char *p = shape; p; p = strchr(p, 'x') ? strchr(p, 'x') + 1 : NULL)
        n *= (size_t)strtoull(p, NULL, 10);
    return n;
}

static size_t drawn_count(const char *name)
{
    const char *underscore = strrchr(name, '_');
    return underscore ? count_of(underscore + 1) : 0;
}

/* Draws the earlier members of a sequence, whose names differ in the index alone. */
static void skip_to(const drawing *d, gen_rng *rng, const char *prefix, int index)
{
    for (int i = 0; i < index; i++) {
        char start[80];
        snprintf(start, sizeof start, "seed%" PRIu64 "/%s%d_", d->seed, prefix, i);
        const gen_weight *w = NULL;
        for (size_t k = 0; k < gen_weights_count(d->f->io) && !w; k++)
            if (strncmp(gen_weights_at(d->f->io, k)->name, start, strlen(start)) == 0)
                w = gen_weights_at(d->f->io, k);
        float *scratch = w ? golden_alloc(d->f, golden_count(w), sizeof *scratch) : NULL;
        if (scratch)
            gen_rng_normal(rng, scratch, golden_count(w));
        else
            golden_fail(d->f, "%s... is missing from the sequence", start);
    }
}

static void integers(const drawing *d)
{
    long long low, high;
    size_t n;
    gen_rng rng;
    if (sscanf(d->rest, "generator_randint_%lld_%lld_%zu", &low, &high, &n) != 3 || n != d->n) {
        golden_skip(d->f, "%s: a draw of an unknown form", d->w->name);
        return;
    }
    int64_t *values = golden_alloc(d->f, n, sizeof *values);
    if (!values)
        return;
    gen_rng_init(&rng, GEN_RNG_TORCH_CPU, d->seed);
    gen_rng_normal(&rng, d->values, n); /* generator_randn_N came first */
    gen_rng_integers(&rng, low, high, values, n);
    golden_compare_i64(d->f, d->w->name, values, n);
}

/* Fills d->values as the name says; false when its form is unknown. */
static bool draw(const drawing *d)
{
    int index;
    gen_rng rng;
    gen_rng_init(&rng, GEN_RNG_TORCH_CPU, d->seed);
    if (sscanf(d->rest, "seq%d_randn_", &index) == 1) {
        skip_to(d, &rng, "seq", index);
    } else if (sscanf(d->rest, "philox%d_", &index) == 1) {
        gen_rng_init(&rng, GEN_RNG_CUDA, d->seed);
        skip_to(d, &rng, "philox", index);
    } else if (strncmp(d->rest, "rand_then_randn_", 16) == 0) {
        gen_rng_uniform(&rng, d->values, d->n);
    } else if (strncmp(d->rest, "rand_", 5) == 0) {
        gen_rng_uniform(&rng, d->values, d->n);
        return true;
    } else if (strncmp(d->rest, "randn_", 6) != 0 &&
               strncmp(d->rest, "generator_randn_", 16) != 0) {
        return false;
    }
    gen_rng_normal(&rng, d->values, d->n);
    if (strstr(d->rest, "f16_of_f32"))
        for (size_t i = 0; i < d->n; i++)
            d->values[i] = gen_f16_to_f32(gen_f32_to_f16(d->values[i]));
    return true;
}

static void check(golden_fixture *f, const gen_weight *w)
{
    drawing d = {.f = f, .w = w, .n = golden_count(w)};
    const char *slash = strchr(w->name, '/');
    if (sscanf(w->name, "seed%" SCNu64 "/", &d.seed) != 1 || !slash) {
        golden_skip(f, "%s: no seed in its name", w->name);
        return;
    }
    d.rest = slash + 1;
    d.values = golden_alloc(f, d.n, sizeof *d.values);
    if (!d.values)
        return;
    if (strncmp(d.rest, "generator_randint_", 18) == 0) {
        integers(&d);
        return;
    }
    if (drawn_count(d.rest) != d.n || !draw(&d)) {
        golden_skip(f, "%s: a draw of an unknown form", w->name);
        return;
    }
    /* rounding to half moves a value by up to 2^-11 of itself where the float sits on an edge */
    const bool is_half = strstr(d.rest, "f16") != NULL;
    golden_compare(f, w->name, d.values, d.n, is_half ? 1e-3 : TOLERANCE);
}

void golden_torch_rng(golden_fixture *f)
{
    for (size_t i = 0; f->io && i < gen_weights_count(f->io); i++)
        check(f, gen_weights_at(f->io, i));
}
