/* bench.h - what the files of gen_bench_run() share. */
#ifndef GEN_PIPELINE_BENCH_H
#define GEN_PIPELINE_BENCH_H

#include "gen/pipeline/pipeline.h"

/* A new row at the end, zeroed but for its name; NULL: no memory. */
gen_bench_row *gen_bench_add(gen_bench *bench, const char *name);

/* bench_ops.c: rows of every class of op. */
gen_status gen_bench_ops(gen_bench *bench, gen_backend *backend, gen_error *err);

#endif
