/* guidance.h - for the files that add a guidance.
 *
 * A guidance says which branches matter at a point and combines their predictions. */
#ifndef GEN_SAMPLERS_GUIDANCE_H
#define GEN_SAMPLERS_GUIDANCE_H

#include "samplers/samplers.h"
#include "samplers/tables.h"

enum { GEN_BRANCH_CONDITIONAL, GEN_BRANCH_UNCONDITIONAL, GEN_BRANCH_IMAGE };

typedef struct gen_guidance_call {
    const gen_guidance_params *params;
    const gen_point *at;
    size_t n;                              /* floats of one sample */
    const float *branch[GEN_MAX_BRANCHES]; /* one sample each; NULL where it was not asked */
    float *state; /* [n] of this sample, kept between calls, 0 at the start */
    float *out;   /* [n] of this sample */
} gen_guidance_call;

typedef struct gen_guidance_kind {
    gen_guidance_info info;
    bool has_state;
    /* Does branch k have a weight other than 0 when guidance is on? */
    bool (*needs)(const gen_guidance_params *params, int branch);
    void (*combine)(const gen_guidance_call *call);
} gen_guidance_kind;

/* The scale with its default. */
double gen_guidance_scale_of(const gen_guidance_params *params);

#define ROW(name) extern const gen_guidance_kind gen_guidance_##name;
GEN_GUIDANCE_ROWS(ROW)
#undef ROW
extern const gen_guidance_kind *const gen_guidances[]; /* ends with NULL (tables.c) */

#endif
