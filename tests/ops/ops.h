/* ops.h - the harness of the op tests: one small graph, every way of running it.
 *
 * A test gives a function that records a graph from the inputs and weights it asks for. ops_check()
 * evaluates the graph in double (reference.c) and then runs it on the backend under test at every
 * level the machine has, with one thread and with two, fused and with GEN_PLAN_KEEP_ALL, each plan
 * twice.  Outputs must be close to the reference; two threads must give the bits of one, the second
 * run the bits of the first.  With KEEP_ALL every intermediate tensor is compared as well.
 *
 *     static void build(ops_case *c, const void *arg)
 *     {
 *         ops_weight(c, "fc.weight", GEN_F16, 0.0, 0.1, GEN_DIMS(64, 63));
 *         gen_tensor *x = ops_input(c, "x", GEN_DIMS(2, 65, 63));
 *         gen_output(c->g, gen_linear(c->g, ops_scope(c, "fc"), x), "y");
 *     }
 *     TEST: ops_check("linear", build, NULL, (ops_options){.tolerance = 1e-5});
 *
 * Numbers are normal deviates that depend on the name alone. */
#ifndef GEN_TESTS_OPS_OPS_H
#define GEN_TESTS_OPS_OPS_H

#include "gen/core/nn.h"
#include "gen/core/plan.h"
#include "tests/test.h"

#define OPS_MAX_INPUTS 16

typedef struct ops_input_data {
    char name[64];
    gen_dtype dtype;
    size_t count;
    void *data;
} ops_input_data;

typedef struct ops_case {
    gen_graph *g; /* the graph being recorded */
    gen_weights *weights;
    int num_inputs;
    ops_input_data inputs[OPS_MAX_INPUTS];
} ops_case;

/* How one backend is opened. */
typedef struct ops_config {
    const char *level; /* of the backend's list, or "" */
    int num_threads;
    bool use_openblas;   /* cpu: --gemm openblas */
    bool use_exact_conv; /* cpu: direct convolution */
    bool use_q8;         /* cpu: weights in 8 bits */
} ops_config;

typedef struct ops_backend {
    const char *name;
    const char *const *levels; /* ends with NULL; those that open() refuses with ARGUMENT or
                                  DEVICE are left out */
    gen_status (*open)(gen_backend **out, const ops_config *config, gen_error *err);
    void (*close)(gen_backend *backend);
    bool has_threads;    /* false: a second thread only stands for another way of cutting the work,
                            tried once */
    unsigned plan_flags; /* of all plans */
} ops_backend;

extern const ops_backend ops_cpu;
#ifdef GEN_HAVE_VULKAN
extern const ops_backend ops_vulkan, ops_vulkan_windows;
extern const ops_backend ops_vulkan_half; /* activations in f16 */
#endif

typedef void (*ops_build)(ops_case *c, const void *arg);

typedef struct ops_options {
    double tolerance;       /* of max(1, largest value); 0 means 1e-6 */
    bool try_openblas;      /* also with the other GEMM */
    bool try_exact_conv;    /* also with direct convolution */
    double exact_tolerance; /* then; 0 means `tolerance` */
    bool use_q8;            /* with weights in 8 bits, and only so */
    bool is_exact;          /* bits of the f32 rounded reference (copies) */
} ops_options;

/* true for each n-th call with this counter, which starts at 0; always true on the CPU.  Other
 * backends compile something for each combination of a long list, so they take some of them. */
bool ops_takes(int *counter, int n);

/* Whether the machine has a level of the backend under test. */
bool ops_has_level(const char *level);

/* Runs a case in all ways on the backend under test; fails the running test. */
void ops_check(const char *what, ops_build build, const void *arg, ops_options options);

/* Inputs: the tensor and, on the first recording, its numbers N(0,1). */
gen_tensor *ops_input(ops_case *c, const char *name, int rank, const int64_t *dims);
gen_tensor *ops_input_scaled(ops_case *c, const char *name, double mean, double std, int rank,
                             const int64_t *dims);
/* The values themselves, as many as dims say. */
gen_tensor *ops_input_values(ops_case *c, const char *name, const float *values, int rank,
                             const int64_t *dims);
/* A view [dims...] into an input whose rows are `extra` elements longer, starting extra/2 in. */
gen_tensor *ops_strided(ops_case *c, const char *name, int extra, int rank, const int64_t *dims);
/* Whole numbers in [low, high). */
gen_tensor *ops_ids(ops_case *c, const char *name, int low, int high, int rank,
                    const int64_t *dims);

/* A weight of dtype f32, f16 or bf16 with numbers N(mean, std^2) rounded to it; made once. */
void ops_weight(ops_case *c, const char *name, gen_dtype dtype, double mean, double std, int rank,
                const int64_t *dims);
gen_scope ops_scope(ops_case *c, const char *name);

/* For tests that run their own plans: a case without a graph; a graph recorded into it; all inputs
 * set.  ops_case_free() after the plans, which own the graphs, are gone. */
void ops_case_init(ops_case *c);
gen_graph *ops_record(ops_case *c, ops_build build, const void *arg);
void ops_set_inputs(const ops_case *c, gen_plan *plan);
void ops_case_free(ops_case *c);

/* The backend under test ("cpu" unless the program's argument says otherwise). */
const ops_backend *ops_backend_under_test(void);

/* Deviates of N(0,1) that depend on `name` alone. */
void ops_random(float *out, size_t n, const char *name);

/* Chooses the backend under test.  false: there is none of that name. */
bool ops_choose_backend(const char *name);

/* Runs the tests on the backend argv[1] names, "cpu" without it.  Returns what main() returns: 77
 * when the machine has no device for it, which counts as skipped. */
int ops_main(int argc, char **argv, const struct CMUnitTest *tests, size_t num_tests);
#define OPS_MAIN(argc, argv, tests) ops_main(argc, argv, tests, sizeof(tests) / sizeof((tests)[0]))

#endif
