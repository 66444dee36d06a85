/* schedule_respaced.c - the times of guided diffusion (Nichol & Dhariwal 2021), as DiT has them.
 *
 * The training times are cut into sections of equal length, and in each a number of times is spread
 * from its first to its last: "250" is one section, "3,4,2" are three.  "ddimN" takes every k-th
 * time from 0, with the smallest whole k that gives N.  The network is told the original time. */
#include "samplers/schedule.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SECTIONS 16

/* The counts in a list "a,b,c"; 0 when it is not one. */
static int parse(const char *text, int counts[MAX_SECTIONS])
{
    int num = 0;
    for (const char *at = text; num < MAX_SECTIONS; at++) {
        char *end;
        const long value = strtol(at, &end, 10);
        if (end == at || value < 1 || value > 100000)
            return 0;
        counts[num++] = (int)value;
        at = end;
        if (*at == '\0')
            return num;
        if (*at != ',')
            return 0;
    }
    return 0;
}

static bool is_strided(const char *respacing)
{
    return strncmp(respacing, "ddim", 4) == 0;
}

/* The number of steps of timestep_respacing; 0 without. */
static int count(const gen_scheduler_config *c)
{
    int counts[MAX_SECTIONS], sum = 0;
    const bool strided = is_strided(c->timestep_respacing);
    const int num = parse(c->timestep_respacing + (strided ? 4 : 0), counts);
    for (int k = 0; k < num; k++)
        sum += counts[k];
    return sum;
}

static gen_status fill_strided(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    const int num = r->training->num;
    int stride = 1;
    while (stride < num && (num + stride - 1) / stride != g->n)
        stride++;
    if (stride == num)
        return gen_fail(err, GEN_ERROR_ARGUMENT,
                        "timestep_respacing: no whole stride takes %d of %d times", g->n, num);
    for (int i = 0; i < g->n; i++)
        gen_grid_set_time(r, g, i, (double)(g->n - 1 - i) * stride);
    return GEN_OK;
}

static gen_status fill(const gen_schedule_request *r, gen_grid *g, gen_error *err)
{
    const char *respacing = r->config->timestep_respacing;
    int counts[MAX_SECTIONS] = {g->n}, sections = 1;
    if (count(r->config) == g->n) { /* else another number was asked for: one section */
        if (is_strided(respacing))
            return fill_strided(r, g, err);
        sections = parse(respacing, counts);
    }
    const int num = r->training->num;
    int start = 0, placed = 0;
    for (int k = 0; k < sections; k++) {
        const int size = num / sections + (k < num % sections);
        const double stride = counts[k] > 1 ? (size - 1.0) / (counts[k] - 1) : 1;
        double at = 0; /* summed, as the reference does: its rounding decides some times */
        if (counts[k] > size)
            return gen_fail(err, GEN_ERROR_ARGUMENT,
                            "timestep_respacing: %d of the %d times of section %d", counts[k], size,
                            k + 1);
        for (int i = 0; i < counts[k]; i++, at += stride)
            gen_grid_set_time(r, g, g->n - 1 - placed++, start + rint(at));
        start += size;
    }
    return GEN_OK;
}

const gen_schedule_kind gen_schedule_respaced = {
    .info = {.name = "respaced",
             .aliases = "",
             .paper = "Nichol & Dhariwal 2021",
             .purpose = "DiT and others of guided diffusion, 20 to 250 steps"},
    .processes = GEN_FOR(GEN_PROCESS_VP),
    .count = count,
    .fill = fill,
};
