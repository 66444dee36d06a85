/* chunks.c - videos made chunk after chunk, several at a time (MAGI-1, Sand AI 2025).
 *
 * In stage j the chunks j - window + 1 .. j are in the window: the newest enters as noise, each
 * next older one is a stage further, and the oldest leaves clean.  The first stages have fewer
 * chunks, and so have the last ones. */
#include "samplers/samplers.h"

static int lesser(int a, int b)
{
    return a < b ? a : b;
}

static int greater(int a, int b)
{
    return a > b ? a : b;
}

int gen_chunks_num_stages(const gen_chunks *c)
{
    return c->num_chunks - c->prefix + c->window - 1;
}

gen_chunk_stage gen_chunks_stage(const gen_chunks *c, int stage)
{
    const int made = c->num_chunks - c->prefix;
    return (gen_chunk_stage){.first = c->prefix + greater(0, stage + 1 - c->window),
                             .end = c->prefix + lesser(stage + 1, made),
                             .first_offset = greater(0, stage + 1 - made),
                             .end_offset = lesser(stage + 1, c->window)};
}

int gen_chunks_step(const gen_chunks *c, int stage, int chunk, int k)
{
    return (stage - (chunk - c->prefix)) * (c->num_steps / c->window) + k;
}

int gen_chunks_reach(const gen_chunks *c, int offset)
{
    return offset >= c->window ? 1 : c->window + 1 - offset;
}
