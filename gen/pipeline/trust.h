/* trust.h - may this Vulkan device make pictures?
 *
 * The first time a device is used with a driver and these shaders, the self-check decides; the
 * verdict is kept in a file, so that later starts cost nothing.  A device that failed is refused
 * with what was wrong. */
#ifndef GEN_PIPELINE_TRUST_H
#define GEN_PIPELINE_TRUST_H

#include "gen/pipeline/pipeline.h"
#include "gen/pipeline/self_check.h"
#include "gen/vulkan/vulkan.h"

typedef enum gen_verdict_state {
    GEN_VERDICT_NONE,
    GEN_VERDICT_CHECKING, /* a check began and did not end: it runs, or its process died */
    GEN_VERDICT_PASSED,
    GEN_VERDICT_FAILED
} gen_verdict_state;

typedef struct gen_verdict {
    gen_verdict_state state;
    char date[16];      /* 2026-01-31 */
    char sentence[256]; /* what failed, or the largest error */
    char missing[128];  /* ops that stay with the CPU, comma separated */
    double flops_per_second, bytes_per_second, cpu_flops_per_second;
    int attempts, losses; /* checks begun in vain; how often the device was lost in the work */
    long process;         /* that checks */
    /* With activations in f16, looked at when they are first asked for. */
    gen_verdict_state half, matrices;
    char half_sentence[160]; /* why one of them failed */
    /* FAILED: the device passed, but only without sums between lanes. */
    gen_verdict_state lanes;
    char lanes_sentence[160]; /* why */
} gen_verdict;

/* A damaged file is no verdict. */
void gen_verdict_read(gen_verdict *out, const char *folder, const char *key);
bool gen_verdict_write(const gen_verdict *verdict, const char *folder, const char *key);

typedef struct gen_trust_request {
    const gen_context *context; /* for notes */
    gen_vulkan_options options; /* device: as gen_vulkan_options says */
    const char *folder;         /* of the verdicts; NULL: none are kept */
    bool checks_anew;           /* whatever the verdict is */
} gen_trust_request;

/* Opens a device that has passed, checking it where there is no verdict.  *verdict (may be NULL) is
 * filled also on failure.  Errors: as gen_vulkan_open(); DEVICE for a device that failed. */
gen_status gen_trust_open(gen_backend **out, gen_verdict *verdict, const gen_trust_request *request,
                          gen_error *err);

/* Opens the best device that is no software driver and has passed: discrete before integrated,
 * then by memory; integrated ones must be faster than the CPU.  *out is NULL when there is none,
 * and `why` one line about it ("" on a machine without devices).  Errors: MEMORY. */
gen_status gen_trust_open_auto(gen_backend **out, char *why, size_t size,
                               const gen_trust_request *request, gen_error *err);

/* Makes a report of the self-check, done outside, the verdict of a device.  Errors: MEMORY. */
gen_status gen_trust_record(gen_backend *backend, const gen_check_report *report,
                            const char *folder, gen_error *err);

/* Remembers that the device was lost; after the second time auto leaves it alone. */
void gen_trust_note_loss(const gen_backend *backend, const char *folder);

#endif
