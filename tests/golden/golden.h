/* golden.h - checking the library against recorded reference values.
 *
 * A fixture NAME is NAME.io.safetensors (inputs in.*, expected outputs out.*, inner activations
 * act.MODULE) or NAME.cases.json beside the model folder NAME/.  gen-golden.c finds the fixtures of
 * a folder, opens their files and hands each to the function its kind has in the table there; that
 * function runs the model and compares.  To add a kind: one golden_KIND.c with one such function,
 * one line in the table.
 *
 * A kind's function records what happened with golden_compare(), golden_fail() and golden_skip();
 * it frees only what it opened itself, memory from golden_alloc() dies with the fixture.  A fixture
 * passes when everything in `out.*` was compared and nothing differed; when nothing was compared it
 * fails.  After a failure the function is called once more with is_locating set: plans that ran
 * through golden_run_plan() are then made unfused and the first act.* that differs is reported. */
#ifndef GEN_TESTS_GOLDEN_H
#define GEN_TESTS_GOLDEN_H

#include <stdbool.h>
#include <stdint.h>

#include "gen/core/json.h"
#include "gen/core/keymap.h"
#include "gen/core/plan.h"
#include "gen/core/weights.h"

typedef struct golden_fixture {
    const char *dir; /* the folder all fixtures are in */
    const char *name;
    const char *path;       /* dir/name: the model folder, which need not exist */
    const char *class_name; /* from the configuration, or the name for kinds known by name */
    gen_weights *io;        /* NAME.io.safetensors, or NULL */
    gen_json *config;       /* NAME/config.json or NAME/model_index.json, or NULL */
    gen_json *settings;     /* NAME.json where it is strict JSON, or NULL */
    gen_json *cases;        /* NAME.cases.json when its top level is an object, or NULL */
    gen_backend *backend;
    const char *device; /* as --device names it; NULL: the CPU */
    bool is_verbose;
    bool is_locating; /* second call: make plans with golden_plan_flags() */

    /* the outcome */
    int num_compared, num_different;
    bool has_failed, is_skipped;
    char reason[600];
    double worst_ratio; /* of difference to allowed difference, over all comparisons */

    /* for golden.c */
    struct golden_block *blocks;
    bool has_located;
} golden_fixture;

typedef void (*golden_function)(golden_fixture *f);

/* The kinds. */
void golden_unet(golden_fixture *f);
void golden_vae_kl(golden_fixture *f);
void golden_vae_tiny(golden_fixture *f);
void golden_taesd(golden_fixture *f); /* original files, no config */
void golden_clip(golden_fixture *f);
void golden_clip_vision(golden_fixture *f);
void golden_clip_tokenizer(golden_fixture *f);
void golden_t5(golden_fixture *f);
void golden_misc(golden_fixture *f); /* building blocks */
void golden_dit(golden_fixture *f);  /* PixArt, too */
void golden_sentencepiece(golden_fixture *f);
void golden_qwen_image(golden_fixture *f);
void golden_rwkv(golden_fixture *f);
void golden_wkv_kernel(golden_fixture *f);
void golden_wan(golden_fixture *f);
void golden_vae_wan(golden_fixture *f);
void golden_schedulers(golden_fixture *f);
void golden_torch_rng(golden_fixture *f);
void golden_pipeline(golden_fixture *f);

/* The first failure is kept. */
void golden_fail(golden_fixture *f, const char *format, ...) GEN_PRINTF(2, 3);
void golden_skip(golden_fixture *f, const char *format, ...) GEN_PRINTF(2, 3);
/* Adds "; text" to the reason. */
void golden_add_reason(golden_fixture *f, const char *text);
/* Fails with the message of err when status is not GEN_OK; true when it is GEN_OK. */
bool golden_ok(golden_fixture *f, gen_status status, const gen_error *err);

/* Zeroed memory that lives as long as the fixture; NULL after recording a failure. */
void *golden_alloc(golden_fixture *f, size_t count, size_t size);

/* Frees it all. */
void golden_free_blocks(golden_fixture *f);

/* dir/name.ending, dir/name/file and the like, in the fixture's memory. */
char *golden_path(golden_fixture *f, const char *format, ...) GEN_PRINTF(2, 3);

/* A tensor of the io file, or NULL. */
const gen_weight *golden_find(const golden_fixture *f, const char *name);
/* Its number of elements. */
size_t golden_count(const gen_weight *w);
/* Its values widened to f32 (or f64, or i64), in the order of the file; NULL after a failure,
 * which a missing tensor is. */
float *golden_load(golden_fixture *f, const char *name);
double *golden_load_f64(golden_fixture *f, const char *name);
int64_t *golden_load_i64(golden_fixture *f, const char *name);
/* An image or latent [N,C,H,W] of the file as [N,H,W,C]; dims (may be NULL) receives N,H,W,C. */
float *golden_load_nhwc(golden_fixture *f, const char *name, int64_t dims[4]);
/* A clip [N,C,F,H,W] as [N,F,H,W,C]. */
float *golden_load_video(golden_fixture *f, const char *name, int64_t dims[5]);

void golden_nchw_from_nhwc(float *out, const float *in, const int64_t nhwc[4]);
void golden_nhwc_from_nchw(float *out, const float *in, const int64_t nhwc[4]);

/* |a - b| <= tolerance max(1, max |expected|) against tensor `name` of the io file, which has to
 * have n elements in the same order.  Returns false and records the failure when it differs; counts
 * as compared either way. */
bool golden_compare(golden_fixture *f, const char *name, const float *values, size_t n,
                    double tolerance);
bool golden_compare_f64(golden_fixture *f, const char *name, const double *values, size_t n,
                        double tolerance);
/* The same for values [N,H,W,C] against a tensor [N,C,H,W]. */
bool golden_compare_nhwc(golden_fixture *f, const char *name, const float *values,
                         const int64_t nhwc[4], double tolerance);
/* The same for values [N,F,H,W,C] against a tensor [N,C,F,H,W]. */
bool golden_compare_video(golden_fixture *f, const char *name, const float *values,
                          const int64_t nfhwc[5], double tolerance);
/* Whole numbers, exactly. */
bool golden_compare_i64(golden_fixture *f, const char *name, const int64_t *values, size_t n);
/* For comparisons made by the kind's own means (token ids of a cases file): counts one, and fails
 * with the formatted reason when `equal` is false. */
bool golden_check(golden_fixture *f, bool equal, const char *format, ...) GEN_PRINTF(3, 4);
/* Marks a tensor of the io file as compared, where its kind compares it by other means. */
void golden_mark(golden_fixture *f, const char *name);

/* Opens NAME/sub/ (sub may be ""): diffusion_pytorch_model.safetensors or model.safetensors, whole
 * or sharded.  NULL after recording a failure, or a skip when the files are missing. */
gen_weights *golden_open_weights(golden_fixture *f, const char *sub);
/* The same for one file. */
gen_weights *golden_open_file(golden_fixture *f, const char *path);
/* The tensors of a part of `file` under the names of the models; NULL after recording a failure.
 * They borrow the data of `file`. */
gen_weights *golden_part(golden_fixture *f, gen_weights *file, gen_part part);

/* 0, or GEN_PLAN_KEEP_ALL while locating. */
unsigned golden_plan_flags(const golden_fixture *f);
/* Runs a plan; while locating it also compares every act.* the graph has a tensor for, `prefix`
 * (may be "") standing between "act." and the names of the graph.  false after recording a
 * failure. */
bool golden_run_plan(golden_fixture *f, gen_plan *plan, const char *prefix);

#endif
