/* threads.h - one pool of threads per context.
 *
 * gen_pool_run() calls task(arg, i, worker) once for every i in 0..num_tasks-1, spread over the
 * workers and the calling thread, and returns when all are done.  Which worker takes which i is
 * decided by tickets, so a task must compute the same whoever runs it: cut work by shape, never by
 * the number of threads.  `worker` (0..num_threads-1) names scratch memory and nothing else.
 * Workers spin for a moment between calls and then sleep. */
#ifndef GEN_CORE_THREADS_H
#define GEN_CORE_THREADS_H

#include "gen/core/status.h"

typedef struct gen_pool gen_pool;
typedef void (*gen_task)(void *arg, int i, int worker);

/* The CPUs this process may run on (affinity and container quota respected). */
int gen_cpu_count(void);

/* num_threads 0 means gen_cpu_count(). */
gen_status gen_pool_new(gen_pool **out, int num_threads, gen_error *err);
void gen_pool_free(gen_pool *pool);
int gen_pool_num_threads(const gen_pool *pool);
void gen_pool_run(gen_pool *pool, gen_task task, void *arg, int num_tasks);

/* Lets the workers sleep until the next gen_pool_run(): called at the end of a plan. */
void gen_pool_rest(gen_pool *pool);

#endif
