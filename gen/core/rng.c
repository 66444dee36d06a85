/* rng.c - three noise streams behind one interface.
 *
 * torch-cpu: MT19937 as seeded by torch.manual_seed.  Draws of 16 or more floats fill the whole
 * tensor with uniforms and transform blocks of 16; smaller ones take pairs in double and keep the
 * second number of a pair for the next small draw.  The reference evaluates log, sin and cos by
 * vector approximations in float; here they are double, rounded once (about 1e-6 apart).
 *
 * cuda: Philox 4x32-10 keyed by the seed, counter (offset, 0, thread, 0).  Every thread takes four
 * numbers of one block, a whole grid apart; with fewer elements than threads only the first of the
 * four is used.
 *
 * gen: Philox 4x32-10 with a scrambled key.  Block b of draw j has counter (b, j), 64 bits each,
 * and holds elements 4b..4b+3, so any element can be computed alone and in any order. */
#include "gen/core/rng.h"

#include <math.h>
#include <string.h>

#define TWO_PI      6.283185307179586476925286766559
#define MT_SIZE     624
#define MT_SHIFT    397
#define TORCH_BLOCK 16 /* torch: size of a block of the vectorised normal fill */

/* ---- MT19937 (Matsumoto & Nishimura 1998) ------------------------------------------------------
 */

static void mt_seed(gen_rng *rng, uint32_t seed)
{
    rng->mt[0] = seed;
    for (uint32_t j = 1; j < MT_SIZE; j++)
        rng->mt[j] = 1812433253u * (rng->mt[j - 1] ^ (rng->mt[j - 1] >> 30)) + j;
    rng->mt_index = MT_SIZE;
}

static void mt_refill(gen_rng *rng)
{
    uint32_t *mt = rng->mt;
    for (int k = 0; k < MT_SIZE; k++) {
        const uint32_t y = (mt[k] & 0x80000000u) | (mt[(k + 1) % MT_SIZE] & 0x7fffffffu);
        mt[k] = mt[(k + MT_SHIFT) % MT_SIZE] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
    }
    rng->mt_index = 0;
}

static uint32_t mt_next(gen_rng *rng)
{
    if (rng->mt_index >= MT_SIZE)
        mt_refill(rng);
    uint32_t y = rng->mt[rng->mt_index++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

static uint64_t mt_next64(gen_rng *rng)
{
    const uint64_t high = mt_next(rng);
    return high << 32 | mt_next(rng);
}

static float torch_uniform(gen_rng *rng)
{
    return (float)(mt_next(rng) & 0xffffffu) * 0x1p-24f;
}

static double torch_uniform_double(gen_rng *rng)
{
    return (double)(mt_next64(rng) & ((1ull << 53) - 1)) * 0x1p-53;
}

static double torch_scalar_normal(gen_rng *rng)
{
    if (rng->has_next_normal) {
        rng->has_next_normal = false;
        return rng->next_normal;
    }
    const double u1 = torch_uniform_double(rng), u2 = torch_uniform_double(rng);
    const double r = sqrt(-2.0 * log1p(-u2)), phi = TWO_PI * u1;
    rng->next_normal = r * sin(phi);
    rng->has_next_normal = true;
    return r * cos(phi);
}

/* Box-Muller in place: uniform j pairs with uniform j + 8. */
static void torch_transform_block(float *block)
{
    for (int j = 0; j < TORCH_BLOCK / 2; j++) {
        const double r = sqrt(-2.0 * log(1.0 - (double)block[j]));
        const double phi = TWO_PI * (double)block[j + TORCH_BLOCK / 2];
        block[j] = (float)(r * cos(phi));
        block[j + TORCH_BLOCK / 2] = (float)(r * sin(phi));
    }
}

static void torch_normal(gen_rng *rng, float *out, size_t n)
{
    if (n < TORCH_BLOCK) {
        for (size_t i = 0; i < n; i++)
            out[i] = (float)torch_scalar_normal(rng);
        return;
    }
    for (size_t i = 0; i < n; i++)
        out[i] = torch_uniform(rng);
    for (size_t i = 0; i + TORCH_BLOCK <= n; i += TORCH_BLOCK)
        torch_transform_block(out + i);
    if (n % TORCH_BLOCK != 0) { /* the last 16 are drawn anew, over the end of the last block */
        float *last = out + n - TORCH_BLOCK;
        for (int j = 0; j < TORCH_BLOCK; j++)
            last[j] = torch_uniform(rng);
        torch_transform_block(last);
    }
}

/* ---- Philox 4x32-10 (Salmon et al. 2011) -------------------------------------------------------
 */

static void philox(uint64_t key, uint64_t low, uint64_t high, uint32_t out[4])
{
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    uint32_t c[4] = {(uint32_t)low, (uint32_t)(low >> 32), (uint32_t)high, (uint32_t)(high >> 32)};
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xd2511f53u * c[0], p1 = (uint64_t)0xcd9e8d57u * c[2];
        const uint32_t next[4] = {(uint32_t)(p1 >> 32) ^ c[1] ^ k0, (uint32_t)p1,
                                  (uint32_t)(p0 >> 32) ^ c[3] ^ k1, (uint32_t)p0};
        memcpy(c, next, sizeof c);
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    memcpy(out, c, sizeof c);
}

/* The middle of the u-th of 2^32 equal parts of [0,1]. */
static double unit(uint32_t u)
{
    return (double)u * 0x1p-32 + 0x1p-33;
}

/* Number `which` (0..3) of the four normals of a block, as curand_normal4 orders them: sine first.
 */
static double philox_normal(const uint32_t block[4], int which)
{
    const uint32_t *pair = block + (which & 2);
    const double r = sqrt(-2.0 * log(unit(pair[0]))), v = TWO_PI * unit(pair[1]);
    return which & 1 ? r * cos(v) : r * sin(v);
}

/* ---- cuda --------------------------------------------------------------------------------------
 */

/* Where element i of a draw of n comes from: its block and its place in the block. */
static int cuda_block(const gen_rng *rng, size_t i, size_t n, uint32_t block[4])
{
    const uint64_t threads = rng->cuda_threads && rng->cuda_threads < n ? rng->cuda_threads : n;
    const uint64_t in_grid = (uint64_t)i % threads, grids = (uint64_t)i / threads;
    philox(rng->seed, rng->draw + grids / 4, in_grid, block);
    return (int)(grids % 4);
}

/* A call uses up as many blocks of a thread as the busiest thread needs. */
static void cuda_advance(gen_rng *rng, size_t n)
{
    const uint64_t threads = rng->cuda_threads && rng->cuda_threads < n ? rng->cuda_threads : n;
    if (n > 0)
        rng->draw += ((uint64_t)n - 1) / threads / 4 + 1;
}

/* ---- gen ---------------------------------------------------------------------------------------
 */

/* splitmix64: neighbouring seeds get unrelated keys, and none is that of the cuda stream. */
static uint64_t scramble(uint64_t seed)
{
    uint64_t z = seed + 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

/* ---- the interface -----------------------------------------------------------------------------
 */

void gen_rng_init(gen_rng *rng, gen_rng_kind kind, uint64_t seed)
{
    *rng = (gen_rng){.kind = kind, .seed = seed};
    if (kind == GEN_RNG_TORCH_CPU)
        mt_seed(rng, (uint32_t)seed);
}

void gen_rng_normal(gen_rng *rng, float *out, size_t n)
{
    uint32_t block[4];
    switch (rng->kind) {
    case GEN_RNG_TORCH_CPU:
        torch_normal(rng, out, n);
        rng->draw++;
        return;
    case GEN_RNG_CUDA:
        for (size_t i = 0; i < n; i++) {
            const int which = cuda_block(rng, i, n, block);
            out[i] = (float)philox_normal(block, which);
        }
        cuda_advance(rng, n);
        return;
    default:
        for (size_t i = 0; i < n; i++) {
            if (i % 4 == 0)
                philox(scramble(rng->seed), i / 4, rng->draw, block);
            out[i] = (float)philox_normal(block, (int)(i % 4));
        }
        rng->draw++;
    }
}

void gen_rng_uniform(gen_rng *rng, float *out, size_t n)
{
    uint32_t block[4];
    switch (rng->kind) {
    case GEN_RNG_TORCH_CPU:
        for (size_t i = 0; i < n; i++)
            out[i] = torch_uniform(rng);
        rng->draw++;
        return;
    case GEN_RNG_CUDA:
        for (size_t i = 0; i < n; i++) {
            const int which = cuda_block(rng, i, n, block);
            const float u = (float)block[which] * 0x1p-32f + 0x1p-33f;
            out[i] = u >= 1.0f ? 0.0f : u; /* curand gives (0,1], torch turns 1 into 0 */
        }
        cuda_advance(rng, n);
        return;
    default:
        for (size_t i = 0; i < n; i++) {
            if (i % 4 == 0)
                philox(scramble(rng->seed), i / 4, rng->draw, block);
            out[i] = (float)(block[i % 4] >> 8) * 0x1p-24f;
        }
        rng->draw++;
    }
}

/* 64 random bits for element i of a draw of integers. */
static uint64_t integer_bits(gen_rng *rng, size_t i, size_t n, bool is_wide)
{
    uint32_t block[4];
    if (rng->kind == GEN_RNG_TORCH_CPU)
        return is_wide ? mt_next64(rng) : mt_next(rng);
    if (rng->kind == GEN_RNG_CUDA) {
        const int which = cuda_block(rng, i, n, block);
        return is_wide ? (uint64_t)block[which & 2] << 32 | block[(which & 2) + 1] : block[which];
    }
    philox(scramble(rng->seed), i / 2, rng->draw, block);
    return (uint64_t)block[i % 2 * 2] << 32 | block[i % 2 * 2 + 1];
}

void gen_rng_integers(gen_rng *rng, int64_t low, int64_t high, int64_t *out, size_t n)
{
    const uint64_t range = high > low ? (uint64_t)high - (uint64_t)low : 1;
    const bool is_wide = range >> 32 != 0;
    for (size_t i = 0; i < n; i++) {
        /* The references take a remainder; its bias, below range / 2^32, is part of the stream. */
        const uint64_t value = integer_bits(rng, i, n, is_wide) % range;
        out[i] = (int64_t)((uint64_t)low + value);
    }
    if (rng->kind == GEN_RNG_CUDA)
        cuda_advance(rng, n);
    else
        rng->draw++;
}

/* ---- names -------------------------------------------------------------------------------------
 */

static const struct {
    const char *name;
    gen_rng_kind kind;
} NAMES[] = {
    {"gen", GEN_RNG_GEN}, /* the first name of a kind is the one shown */
    {"torch-cpu", GEN_RNG_TORCH_CPU},
    {"cpu", GEN_RNG_TORCH_CPU},
    {"comfy", GEN_RNG_TORCH_CPU},
    {"cuda", GEN_RNG_CUDA},
    {"a1111", GEN_RNG_CUDA},
    {"philox", GEN_RNG_CUDA},
};

/* Full grids: multiprocessors times resident threads, rounded down to blocks of 256. */
static const struct {
    const char *name; /* "cuda-", then the device */
    uint64_t threads;
} DEVICES[] = {
    {"cuda-a100", 221184},    {"cuda-h100", 270336},    {"cuda-h200", 270336},
    {"cuda-rtx4090", 196608}, {"cuda-rtx3090", 125952},
};

bool gen_rng_parse(const char *name, gen_rng_kind *kind)
{
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++)
        if (strcmp(name, NAMES[i].name) == 0) {
            *kind = NAMES[i].kind;
            return true;
        }
    return false;
}

const char *gen_rng_name(gen_rng_kind kind)
{
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++)
        if (NAMES[i].kind == kind)
            return NAMES[i].name;
    return "?";
}

uint64_t gen_rng_cuda_threads(const char *device)
{
    for (size_t i = 0; i < sizeof DEVICES / sizeof DEVICES[0]; i++)
        if (strcmp(device, DEVICES[i].name + strlen("cuda-")) == 0)
            return DEVICES[i].threads;
    return 0;
}

const char *gen_rng_choose(const char *name, gen_rng_kind *kind, uint64_t *cuda_threads)
{
    *cuda_threads = 0;
    if (gen_rng_parse(name, kind))
        return gen_rng_name(*kind);
    for (size_t i = 0; i < sizeof DEVICES / sizeof DEVICES[0]; i++)
        if (strcmp(name, DEVICES[i].name) == 0) {
            *kind = GEN_RNG_CUDA;
            *cuda_threads = DEVICES[i].threads;
            return DEVICES[i].name;
        }
    return NULL;
}
