/* test_threads.c - every task of a call runs exactly once, and none after the call. */
#include "gen/core/threads.h"
#include "tests/test.h"

#include <pthread.h>
#include <stdatomic.h>

enum { MAX_TASKS = 500 };

typedef struct job {
    atomic_int runs[MAX_TASKS];
    atomic_int worst_worker, is_over, late;
    int plain[MAX_TASKS]; /* not atomic: the pool orders these writes before its return */
} job;

static void count(void *arg, int i, int worker)
{
    job *j = arg;
    if (atomic_load(&j->is_over))
        atomic_fetch_add(&j->late, 1);
    atomic_fetch_add(&j->runs[i], 1);
    j->plain[i] = i + 1;
    int worst = atomic_load(&j->worst_worker);
    while (worker > worst && !atomic_compare_exchange_weak(&j->worst_worker, &worst, worker))
        ;
}

static void each_task_runs_once(void **state)
{
    (void)state;
    static job j;
    gen_error err = {0};
    for (int threads = 1; threads <= 9; threads += 2) {
        gen_pool *pool;
        EXPECT_OK(gen_pool_new(&pool, threads, &err));
        assert_int_equal(gen_pool_num_threads(pool), threads);
        for (int round = 0; round < 400; round++) {
            const int n = round * 7 % MAX_TASKS;
            memset(&j, 0, sizeof j);
            gen_pool_run(pool, count, &j, n);
            atomic_store(&j.is_over, 1);
            for (int i = 0; i < MAX_TASKS; i++) {
                assert_int_equal(atomic_load(&j.runs[i]), i < n);
                assert_int_equal(j.plain[i], i < n ? i + 1 : 0);
            }
            assert_true(atomic_load(&j.worst_worker) < threads);
            assert_int_equal(atomic_load(&j.late), 0);
            if (round % 50 == 0)
                gen_pool_rest(pool);
        }
        gen_pool_free(pool);
    }
}

/* More calls than the number in the pool's state can count. */
static void numbers_may_wrap(void **state)
{
    (void)state;
    static job j;
    gen_error err = {0};
    gen_pool *pool;
    EXPECT_OK(gen_pool_new(&pool, 3, &err));
    memset(&j, 0, sizeof j);
    for (int round = 0; round < 140000; round++)
        gen_pool_run(pool, count, &j, 2);
    assert_int_equal(atomic_load(&j.runs[0]), 140000);
    assert_int_equal(atomic_load(&j.runs[1]), 140000);
    gen_pool_free(pool);
}

static void *own_pool(void *arg)
{
    static const int rounds = 200;
    job *j = arg;
    gen_pool *pool = NULL;
    if (gen_pool_new(&pool, 2, NULL) == GEN_OK)
        for (int i = 0; i < rounds; i++)
            gen_pool_run(pool, count, j, 20);
    gen_pool_free(pool);
    return NULL;
}

static void pools_do_not_know_each_other(void **state)
{
    (void)state;
    static job jobs[3];
    pthread_t threads[3];
    memset(jobs, 0, sizeof jobs);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, own_pool, &jobs[i]), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 20; k++)
            assert_int_equal(atomic_load(&jobs[i].runs[k]), 200);
}

static void pools_come_and_go(void **state)
{
    (void)state;
    static job j;
    gen_error err = {0};
    for (int round = 0; round < 200; round++) {
        gen_pool *pool;
        EXPECT_OK(gen_pool_new(&pool, 4, &err));
        memset(&j, 0, sizeof j);
        if (round % 2)
            gen_pool_run(pool, count, &j, 5);
        gen_pool_free(pool);
    }
    EXPECT_STATUS(GEN_ERROR_ARGUMENT, gen_pool_new(&(gen_pool *){NULL}, 1 << 20, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_task_runs_once),
        cmocka_unit_test(numbers_may_wrap),
        cmocka_unit_test(pools_do_not_know_each_other),
        cmocka_unit_test(pools_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
