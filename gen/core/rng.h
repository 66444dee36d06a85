/* rng.h - Gaussian noise that others can reproduce, and our own.
 *
 *   torch-cpu   the stream of torch.randn on the CPU after torch.manual_seed (MT19937)
 *   cuda        the stream of torch.randn on a CUDA device (Philox 4x32-10)
 *   gen         counter-based: element i of draw j under seed s is a pure function of (s, j, i)
 *
 * A generator is a sequence of draws; each draw fills one dense tensor in the order of the
 * reference (NCHW for images: callers that hold channels last convert). */
#ifndef GEN_CORE_RNG_H
#define GEN_CORE_RNG_H

#include <stdint.h>

#include "gen/core/status.h"

typedef enum gen_rng_kind {
    GEN_RNG_GEN,
    GEN_RNG_TORCH_CPU,
    GEN_RNG_CUDA,
    GEN_NUM_RNGS
} gen_rng_kind;

typedef struct gen_rng {
    gen_rng_kind kind;
    uint64_t seed;
    uint64_t draw;         /* number of draws so far; for cuda the Philox offset / 4 */
    uint64_t cuda_threads; /* cuda: threads of the device's full grid, 0: without limit */
    uint32_t mt[624];      /* torch-cpu */
    int mt_index;
    bool has_next_normal; /* torch-cpu keeps the second number of a pair (small draws) */
    double next_normal;
} gen_rng;

void gen_rng_init(gen_rng *rng, gen_rng_kind kind, uint64_t seed);

/* Standard normal numbers, as torch.randn(n) would give as one tensor. */
void gen_rng_normal(gen_rng *rng, float *out, size_t n);
/* Uniform in [0,1), as torch.rand(n). */
void gen_rng_uniform(gen_rng *rng, float *out, size_t n);
/* Whole numbers in [low, high), as torch.randint. */
void gen_rng_integers(gen_rng *rng, int64_t low, int64_t high, int64_t *out, size_t n);

/* The threads of a full grid on a CUDA device ("a100", "h100", "h200", "rtx4090", "rtx3090"), for
 * gen_rng.cuda_threads; 0 when unknown.  Only draws with more elements than that depend on it; 0
 * gives the layout of small draws at any size, as other programs' emulations do. */
uint64_t gen_rng_cuda_threads(const char *device);

/* Names and aliases of cli.md: "gen"; "torch-cpu", "cpu", "comfy"; "cuda", "a1111", "philox".
 * false when unknown. */
bool gen_rng_parse(const char *name, gen_rng_kind *kind);
const char *gen_rng_name(gen_rng_kind kind);
/* The same names, and "cuda-h100" and so on for the stream of one device, whose large draws differ.
 * Returns the name, static; NULL when unknown. */
const char *gen_rng_choose(const char *name, gen_rng_kind *kind, uint64_t *cuda_threads);

#endif
