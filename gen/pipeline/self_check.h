/* self_check.h - does a backend compute what the CPU computes?
 *
 * One small graph for every class of op, of awkward sizes, with fixed numbers: run twice on the
 * backend in question, which must give the same bits, and once on a reference.  New ops get a row
 * in the table of self_check.c. */
#ifndef GEN_PIPELINE_SELF_CHECK_H
#define GEN_PIPELINE_SELF_CHECK_H

#include "gen/core/plan.h"

typedef struct gen_check_result {
    const char *op;     /* "conv2d, stride 2" */
    bool is_missing;    /* the backend has no kernel for it */
    bool is_repeatable; /* both runs gave the same bits */
    bool has_passed;
    double nmse;      /* mean square of the difference over that of the reference */
    double max_error; /* largest difference */
    double tolerance; /* of the NMSE */
} gen_check_result;

enum { GEN_MAX_CHECKS = 40 };

typedef struct gen_check_report {
    gen_check_result results[GEN_MAX_CHECKS];
    int num_results, num_missing;
    int first_failure; /* index, or -1 */
    double worst_nmse; /* of those that passed */
} gen_check_report;

/* Neither a wrong result nor a missing kernel is an error, both are in the report; an error is what
 * keeps the check from being done.  Errors: DEVICE; MEMORY. */
gen_status gen_self_check(gen_check_report *out, gen_backend *backend, gen_backend *reference,
                          gen_error *err);

/* The same with activations in f16, on a backend that stores them so: products, attention, norms.
 */
gen_status gen_self_check_half(gen_check_report *out, gen_backend *backend, gen_backend *reference,
                               gen_error *err);

/* Seconds of a few matrix products of activations in f16. */
gen_status gen_measure_half(double *seconds, gen_backend *backend, gen_error *err);

/* Rough speeds of a backend, after at most a few tenths of a second each on any but the slowest:
 * multiply-adds count twice.  Errors: DEVICE; MEMORY. */
gen_status gen_measure_speeds(double *flops_per_second, double *bytes_per_second,
                              gen_backend *backend, gen_error *err);

/* "conv2d, stride 2 differs from the CPU: NMSE 0.31, largest error 2.1" into buf; returns buf. */
const char *gen_check_sentence(const gen_check_result *result, char *buf, size_t size);

#endif
