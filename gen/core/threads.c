/* threads.c - the pool: ticketed tasks, workers that spin for a moment and then sleep on a futex.
 *
 * One word holds the state: the number of the call, whether it is closed, and how many workers are
 * in it.  A call opens its number; a worker that sees it open counts itself in, draws tickets until
 * none is left, and counts itself out; the caller draws tickets too, closes the call, and waits for
 * those inside.  A worker that comes late, because its CPU was busy with something else, finds the
 * call closed and is not waited for. */
#include "gen/core/threads.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "gen/core/alloc.h"

enum { MAX_THREADS = 1024, SPIN_NANOSECONDS = 200 * 1000, LINE = 128 };

typedef struct worker {
    gen_pool *pool;
    pthread_t thread;
    int index;
} worker;

struct gen_pool {
    int num_threads, num_started;
    bool may_spin;
    worker *workers;
    gen_task task;
    void *arg;
    int num_tasks;
    _Alignas(LINE) atomic_uint state;
    _Alignas(LINE) atomic_int ticket;
    _Alignas(LINE) atomic_int sleepers;
    _Alignas(LINE) atomic_int stop, resting;
};

/* The fields of `state`.  A worker that sleeps through all numbers and meets its own again only
 * fails to help once. */
enum { CLOSED = 1 << 15, ACTIVE = CLOSED - 1, NUMBER = 1 << 16 };

static unsigned number_of(unsigned state)
{
    return state / NUMBER;
}

static void futex_wait(atomic_uint *word, unsigned value)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake_all(atomic_uint *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static int64_t nanoseconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Waits until the state differs from `old`: spinning first when allowed, then asleep. */
static void wait_change(gen_pool *pool, unsigned old, bool is_worker)
{
    if (pool->may_spin) {
        const int64_t start = nanoseconds();
        do {
            for (int i = 0; i < 64; i++) {
                if (atomic_load_explicit(&pool->state, memory_order_acquire) != old)
                    return;
                relax();
            }
            if (is_worker && atomic_load_explicit(&pool->resting, memory_order_relaxed))
                break;
        } while (nanoseconds() - start < SPIN_NANOSECONDS);
    }
    while (atomic_load(&pool->state) == old) {
        atomic_fetch_add(&pool->sleepers, 1);
        futex_wait(&pool->state, old);
        atomic_fetch_sub(&pool->sleepers, 1);
    }
}

static void wake(gen_pool *pool)
{
    if (atomic_load(&pool->sleepers) > 0)
        futex_wake_all(&pool->state);
}

static void work(gen_pool *pool, int index)
{
    int i;
    while ((i = atomic_fetch_add_explicit(&pool->ticket, 1, memory_order_relaxed)) <
           pool->num_tasks)
        pool->task(pool->arg, i, index);
}

static void *worker_main(void *arg)
{
    worker *w = arg;
    gen_pool *pool = w->pool;
    unsigned done = 0; /* the number of the last call this worker was in */
    for (;;) {
        unsigned state = atomic_load(&pool->state);
        if (atomic_load(&pool->stop)) /* set before the state changes: seen after it */
            return NULL;
        if (number_of(state) == done || state & CLOSED) {
            wait_change(pool, state, true);
        } else if (atomic_compare_exchange_strong(&pool->state, &state, state + 1)) {
            done = number_of(state);
            work(pool, w->index);
            state = atomic_fetch_sub(&pool->state, 1);
            if (state & CLOSED && (state & ACTIVE) == 1)
                wake(pool);
        }
    }
}

/* CPUs granted by a cgroup v2 quota, or a large number. */
static int quota_cpus(void)
{
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "r");
    long quota = 0, period = 0;
    int n = INT32_MAX;
    if (f) {
        if (fscanf(f, "%ld %ld", &quota, &period) == 2 && quota > 0 && period > 0)
            n = (int)((quota + period - 1) / period);
        fclose(f);
    }
    return n;
}

int gen_cpu_count(void)
{
    cpu_set_t set;
    int n = 1;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        n = CPU_COUNT(&set);
    const int quota = quota_cpus();
    if (quota < n)
        n = quota;
    return n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : n;
}

gen_status gen_pool_new(gen_pool **out, int num_threads, gen_error *err)
{
    const int cpus = gen_cpu_count();
    if (num_threads <= 0)
        num_threads = cpus;
    if (num_threads > MAX_THREADS)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "%d threads asked for, at most %d are possible",
                        num_threads, MAX_THREADS);
    gen_pool *pool = gen_malloc_aligned(sizeof *pool);
    if (!pool)
        return gen_no_memory(err, "thread pool", sizeof *pool);
    pool->num_threads = num_threads;
    pool->may_spin = num_threads <= cpus;
    atomic_init(&pool->state, CLOSED);
    pool->workers = gen_calloc((size_t)num_threads, sizeof *pool->workers);
    if (!pool->workers) {
        gen_pool_free(pool);
        return gen_no_memory(err, "thread pool", (size_t)num_threads * sizeof(worker));
    }
    for (int i = 1; i < num_threads; i++) {
        worker *w = &pool->workers[i];
        w->pool = pool;
        w->index = i;
        const int failed = pthread_create(&w->thread, NULL, worker_main, w);
        if (failed) {
            gen_pool_free(pool);
            return gen_fail(err, GEN_ERROR_MEMORY, "thread %d of %d cannot be started: %s", i + 1,
                            num_threads, strerror(failed));
        }
        pool->num_started++;
    }
    *out = pool;
    return GEN_OK;
}

void gen_pool_free(gen_pool *pool)
{
    if (!pool)
        return;
    if (pool->num_started) {
        atomic_store(&pool->stop, 1);
        atomic_fetch_add(&pool->state, NUMBER);
        futex_wake_all(&pool->state);
        for (int i = 1; i <= pool->num_started; i++)
            pthread_join(pool->workers[i].thread, NULL);
    }
    gen_free(pool->workers);
    gen_free_aligned(pool, sizeof *pool);
}

int gen_pool_num_threads(const gen_pool *pool)
{
    return pool->num_threads;
}

void gen_pool_run(gen_pool *pool, gen_task task, void *arg, int num_tasks)
{
    if (num_tasks <= 0)
        return;
    if (num_tasks == 1 || pool->num_started == 0) {
        for (int i = 0; i < num_tasks; i++)
            task(arg, i, 0);
        return;
    }
    pool->task = task;
    pool->arg = arg;
    pool->num_tasks = num_tasks;
    atomic_store_explicit(&pool->ticket, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->resting, 0, memory_order_relaxed);
    const unsigned last = atomic_load_explicit(&pool->state, memory_order_relaxed);
    atomic_store(&pool->state, (number_of(last) + 1) * NUMBER);
    wake(pool);
    work(pool, 0);
    unsigned state = atomic_fetch_or(&pool->state, CLOSED) | CLOSED;
    while (state & ACTIVE) {
        wait_change(pool, state, false);
        state = atomic_load_explicit(&pool->state, memory_order_acquire);
    }
}

void gen_pool_rest(gen_pool *pool)
{
    atomic_store_explicit(&pool->resting, 1, memory_order_relaxed);
}
