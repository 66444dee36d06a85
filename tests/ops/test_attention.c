/* test_attention.c - attention of all sizes, with causal masks, biases and views. */
#include "tests/ops/ops.h"

typedef struct attention_case {
    int64_t n, tq, tk, d, dv;
    int heads;
    bool is_causal;
    int bias;   /* 0: none; bits 1, 2, 4: full over samples, heads, queries */
    int extra;  /* row stride of q, k and v beyond their widths */
    double std; /* of q; 0 means 1 */
} attention_case;

static gen_tensor *matrix(ops_case *c, const char *name, int64_t n, int64_t t, int64_t width,
                          int extra)
{
    return extra ? ops_strided(c, name, extra, GEN_DIMS(n, t, width))
                 : ops_input(c, name, GEN_DIMS(n, t, width));
}

static void build_attention(ops_case *c, const void *arg)
{
    const attention_case *p = arg;
    gen_attention_options o = {.heads = p->heads, .is_causal = p->is_causal};
    if (p->bias) {
        const int64_t dims[4] = {p->bias & 1 ? p->n : 1, p->bias & 2 ? p->heads : 1,
                                 p->bias & 4 ? p->tq : 1, p->tk};
        o.bias = ops_input_scaled(c, "bias", 0.0, 2.0, 4, dims);
    }
    gen_tensor *q = matrix(c, "q", p->n, p->tq, p->heads * p->d, p->extra);
    if (p->std > 0.0)
        q = gen_affine(c->g, q, (float)p->std, 0.0f);
    gen_tensor *k = matrix(c, "k", p->n, p->tk, p->heads * p->d, p->extra * 2);
    gen_tensor *v = matrix(c, "v", p->n, p->tk, p->heads * p->dv, p->extra * 3);
    gen_output(c->g, gen_attention(c->g, q, k, v, o), "y");
}

static void check(attention_case p)
{
    char what[160];
    if (p.n == 0)
        p.n = 1;
    if (p.heads == 0)
        p.heads = 1;
    if (p.dv == 0)
        p.dv = p.d;
    snprintf(
        what, sizeof what,
        "attention n %d, heads %d, %d queries, %d keys, d %d, dv %d%s, bias %d, extra %d, std %g",
        (int)p.n, p.heads, (int)p.tq, (int)p.tk, (int)p.d, (int)p.dv, p.is_causal ? ", causal" : "",
        p.bias, p.extra, p.std);
    /* Scores as large as 30 lose digits in q k before the exponential magnifies the loss. */
    ops_check(what, build_attention, &p, (ops_options){.tolerance = p.std > 1.0 ? 2e-5 : 3e-6});
}

static void all_sizes(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 3, 63, 64, 65, 77, 300};
    for (int q = 0; q < 7; q++)
        for (int k = 0; k < 7; k++)
            check((attention_case){.n = 1 + (q + k) % 2,
                                   .tq = sizes[q],
                                   .tk = sizes[k],
                                   .d = 8,
                                   .heads = 1 + q % 3,
                                   .extra = k % 3});
}

static void all_head_sizes(void **state)
{
    (void)state;
    int counter = 0;
    static const int64_t sizes[] = {1,  3,  8,  16, 24,  40,  63,  64,
                                    65, 72, 80, 96, 112, 128, 160, 512};
    for (int i = 0; i < 16; i++)
        if (ops_takes(&counter, 3))
            check((attention_case){
                .tq = 30, .tk = 70, .d = sizes[i], .heads = i % 2 + 1, .extra = i % 4});
    for (int i = 0; i < 16; i++)
        if (ops_takes(&counter, 3))
            check((attention_case){.tq = 15, .tk = 33, .d = 24, .dv = sizes[i], .heads = 2});
}

static void causal(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 3, 15, 63, 77, 257, 600};
    for (int i = 0; i < 7; i++)
        check((attention_case){
            .n = 2, .tq = sizes[i], .tk = sizes[i], .d = 16, .heads = 2, .is_causal = true});
    check((attention_case){.tq = 30, .tk = 90, .d = 16, .is_causal = true, .bias = 7});
    check((attention_case){.tq = 90, .tk = 30, .d = 16, .is_causal = true});
}

static void biases(void **state)
{
    (void)state;
    for (int bias = 1; bias < 8; bias++)
        check((attention_case){.n = 2, .tq = 20, .tk = 67, .d = 16, .heads = 3, .bias = bias});
    check((attention_case){.n = 2, .tq = 20, .tk = 520, .d = 16, .heads = 3, .bias = 7});
}

/* The maximum moves from block to block, and most probabilities vanish. */
static void large_scores(void **state)
{
    (void)state;
    check((attention_case){.tq = 70, .tk = 1030, .d = 40, .heads = 2, .std = 8.0});
    check((attention_case){.tq = 70, .tk = 1030, .d = 40, .heads = 2, .std = 1e-3});
}

/* Keys hidden by -infinity count for nothing; their values may be anything. */
static void build_hidden(ops_case *c, const void *arg)
{
    float bias[40];
    (void)arg;
    for (int i = 0; i < 40; i++)
        bias[i] = i % 3 == 1 ? -INFINITY : (float)i * 0.1f;
    gen_attention_options o = {.heads = 2};
    o.bias = ops_input_values(c, "bias", bias, GEN_DIMS(1, 1, 1, 40));
    gen_tensor *q = ops_input(c, "q", GEN_DIMS(1, 17, 32));
    gen_tensor *k = ops_input(c, "k", GEN_DIMS(1, 40, 32));
    gen_tensor *v = ops_input(c, "v", GEN_DIMS(1, 40, 32));
    gen_output(c->g, gen_attention(c->g, q, k, v, o), "y");
}

static void hidden_keys(void **state)
{
    (void)state;
    ops_check("hidden keys", build_hidden, NULL, (ops_options){.tolerance = 3e-6});
}

/* The working memory of a large attention is far below its matrix of scores. */
static void no_matrix_of_scores(void **state)
{
    (void)state;
    gen_error err = {0};
    gen_backend *backend = NULL;
    gen_plan *plan = NULL;
    ops_case c;
    ops_case_init(&c);
    const attention_case p = {.n = 1, .tq = 16384, .tk = 16384, .d = 40, .dv = 40, .heads = 8};
    EXPECT_OK(ops_backend_under_test()->open(&backend, &(ops_config){.level = ""}, &err));
    EXPECT_OK(gen_graph_new(&c.g, &err));
    gen_tensor *qkv = gen_input(c.g, "qkv", GEN_F32, GEN_DIMS(p.n, p.tq, 3 * 8 * 40)), *parts[3];
    gen_chunk(c.g, qkv, 3, parts);
    gen_output(
        c.g, gen_attention(c.g, parts[0], parts[1], parts[2], (gen_attention_options){.heads = 8}),
        "y");
    EXPECT_OK(gen_plan_new(&plan, c.g, backend, GEN_PLAN_DRY, &err));
    EXPECT_BETWEEN((double)gen_plan_get_stats(plan)->scratch, 1.0, 3.0 * 16384 * 320 * 4);
    gen_plan_free(plan);
    ops_backend_under_test()->close(backend);
    ops_case_free(&c);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_sizes),
        cmocka_unit_test(all_head_sizes),
        cmocka_unit_test(causal),
        cmocka_unit_test(biases),
        cmocka_unit_test(large_scores),
        cmocka_unit_test(hidden_keys),
        cmocka_unit_test(no_matrix_of_scores),
    };
    return OPS_MAIN(argc, argv, tests);
}
