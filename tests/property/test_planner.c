/* test_planner.c - laws of the memory plan, held against a few hundred random graphs.
 *
 * The lifetimes are worked out here a second time, from the steps of the plan alone. */
#include <stdlib.h>

#include "tests/ops/ops.h"
#include "tests/ops/reference.h"

enum { NUM_GRAPHS = 300, MAX_POOL = 80, MAX_ELEMENTS = 20000 };

/* ---- random graphs ---- */

typedef struct maker {
    ops_case *c;
    uint64_t state;
    gen_tensor *pool[MAX_POOL];
    int num_pool, num_weights;
} maker;

static int pick(maker *m, int n)
{
    m->state = m->state * 6364136223846793005u + 1442695040888963407u;
    return (int)((m->state >> 33) % (uint64_t)n);
}

static gen_tensor *any(maker *m)
{
    /* recent tensors are preferred, old ones live long */
    const int back = pick(m, 3) ? pick(m, m->num_pool < 4 ? m->num_pool : 4) : pick(m, m->num_pool);
    return m->pool[m->num_pool - 1 - back];
}

static bool same_dims(const gen_tensor *a, const gen_tensor *b, int but_axis)
{
    if (a->rank != b->rank)
        return false;
    for (int i = 0; i < a->rank; i++)
        if (i != but_axis && a->dims[i] != b->dims[i])
            return false;
    return true;
}

static bool broadcasts(const gen_tensor *a, const gen_tensor *b)
{
    for (int i = 1; i <= b->rank; i++)
        if (i > a->rank ||
            (b->dims[b->rank - i] != 1 && b->dims[b->rank - i] != a->dims[a->rank - i]))
            return false;
    return true;
}

static gen_scope new_layer(maker *m, int64_t out, int64_t in, int64_t k)
{
    char name[32], weight[48], bias[48];
    const gen_dtype dtype = (gen_dtype)pick(m, 3);
    snprintf(name, sizeof name, "layer%d", m->num_weights++);
    snprintf(weight, sizeof weight, "%s.weight", name);
    snprintf(bias, sizeof bias, "%s.bias", name);
    const double std = 1.0 / sqrt((double)(in * (k ? k * k : 1)));
    ops_weight(m->c, weight, dtype, 0.0, std, k ? 4 : 2, (const int64_t[]){out, in, k, k});
    if (pick(m, 2))
        ops_weight(m->c, bias, dtype, 0.0, 0.1, 1, &out);
    return ops_scope(m->c, name);
}

static gen_tensor *random_binary(maker *m, gen_tensor *x)
{
    gen_tensor *b = NULL;
    for (int tries = 0; tries < 20 && !b; tries++) {
        gen_tensor *t = m->pool[pick(m, m->num_pool)];
        if (broadcasts(x, t))
            b = t;
    }
    switch (b ? pick(m, 3) : 3) {
    case 0:
        return gen_add(m->c->g, x, b);
    case 1:
        return gen_sub_tensors(m->c->g, x, b);
    case 2:
        return gen_tanh(m->c->g, gen_mul(m->c->g, x, b));
    default:
        return NULL;
    }
}

static gen_tensor *random_concat(maker *m, gen_tensor *x)
{
    gen_tensor *parts[3] = {x, x, x};
    const int axis = pick(m, x->rank), n = 2 + pick(m, 2);
    for (int i = 1; i < n; i++)
        for (int tries = 0; tries < 10; tries++) {
            gen_tensor *t = m->pool[pick(m, m->num_pool)];
            if (same_dims(x, t, axis))
                parts[i] = t;
        }
    return gen_concat(m->c->g, axis, n, parts);
}

static gen_tensor *random_view(maker *m, gen_tensor *x)
{
    gen_graph *g = m->c->g;
    const int64_t C = x->dims[x->rank - 1];
    if (pick(m, 2) && C >= 4) {
        const int64_t count = 1 + pick(m, (int)C - 1);
        return gen_slice(g, x, pick(m, (int)(C - count) + 1), count);
    }
    if (x->rank == 4)
        return gen_reshape(g, x, GEN_DIMS(x->dims[0], x->dims[1] * x->dims[2], C));
    if (x->rank == 3 && pick(m, 2))
        return gen_reshape(g, x, GEN_DIMS(x->dims[0] * x->dims[1], C));
    if (x->rank == 3)
        return gen_reshape(g, x, GEN_DIMS(x->dims[0], 1, x->dims[1], C));
    return gen_reshape(g, x, GEN_DIMS(1, x->dims[0], C));
}

static gen_tensor *random_permute(maker *m, gen_tensor *x)
{
    int perm[GEN_MAX_RANK];
    for (int i = 0; i < x->rank; i++) {
        const int j = pick(m, i + 1);
        perm[i] = perm[j];
        perm[j] = i;
    }
    return gen_permute(m->c->g, x, x->rank, perm);
}

static gen_tensor *random_norm(maker *m, gen_tensor *x)
{
    gen_graph *g = m->c->g;
    const int64_t C = x->dims[x->rank - 1];
    const int kind = pick(m, 3);
    gen_tensor *y = kind == 0   ? gen_rms_norm(g, GEN_NO_AFFINE, x, 0.1f)
                    : kind == 1 ? gen_layer_norm(g, GEN_NO_AFFINE, x, 0.1f)
                                : gen_group_norm(g, GEN_NO_AFFINE, x, C % 4 ? 1 : 4, 0.1f);
    return pick(m, 2) ? gen_silu(g, y) : y;
}

static gen_tensor *random_product(maker *m, gen_tensor *x)
{
    gen_graph *g = m->c->g;
    const int64_t C = x->dims[x->rank - 1], out = 4 + 4 * pick(m, 3);
    gen_tensor *y;
    if (x->rank == 4 && pick(m, 2)) {
        const bool is_strided = pick(m, 3) == 0;
        if (pick(m, 3) == 0)
            x = gen_upsample_nearest(g, x, x->dims[1] + pick(m, 3), x->dims[2] * 2);
        gen_conv2d_options o = is_strided ? GEN_CONV_3X3_S2 : GEN_CONV_3X3;
        o.bias_is_optional = true;
        y = gen_conv2d(g, new_layer(m, out, C, 3), x, o);
    } else {
        y = gen_project(g, new_layer(m, out, C, 0), x);
    }
    if (pick(m, 2))
        y = gen_gelu(g, y);
    for (int tries = 0; tries < 8; tries++) { /* a residual, now and then */
        gen_tensor *t = m->pool[pick(m, m->num_pool)];
        if (broadcasts(y, t))
            return gen_add(g, pick(m, 2) ? y : t, pick(m, 2) ? t : y);
    }
    return y;
}

static gen_tensor *random_attention(maker *m, gen_tensor *x)
{
    if (x->rank != 3)
        return NULL;
    gen_tensor *kv[2] = {x, x};
    for (int tries = 0; tries < 10; tries++) {
        gen_tensor *t = m->pool[pick(m, m->num_pool)];
        if (same_dims(x, t, 1))
            kv[0] = kv[1] = t;
    }
    for (int tries = 0; tries < 10; tries++) {
        gen_tensor *t = m->pool[pick(m, m->num_pool)];
        if (same_dims(kv[0], t, -1))
            kv[1] = t;
    }
    const int heads = x->dims[2] % 2 ? 1 : 2;
    return gen_attention(m->c->g, x, kv[0], kv[1], (gen_attention_options){.heads = heads});
}

static gen_tensor *random_op(maker *m)
{
    static const gen_act acts[] = {GEN_ACT_SILU, GEN_ACT_GELU,      GEN_ACT_RELU,
                                   GEN_ACT_TANH, GEN_ACT_GELU_TANH, GEN_ACT_SIGMOID};
    gen_graph *g = m->c->g;
    gen_tensor *x = any(m);
    switch (pick(m, 13)) {
    case 0:
        return gen_activation(g, acts[pick(m, 6)], x);
    case 1:
        return gen_affine(g, x, 0.7f, -0.1f);
    case 2:
    case 3:
        return random_binary(m, x);
    case 4:
        return random_concat(m, x);
    case 5:
    case 6:
        return random_view(m, x);
    case 7:
        return random_permute(m, x);
    case 8:
        return x->rank == 4 ? gen_upsample_nearest(g, x, x->dims[1] * 2, x->dims[2] + 1) : NULL;
    case 9:
        return random_norm(m, x);
    case 10:
        return x->dims[x->rank - 1] % 2 ? NULL : gen_glu(g, GEN_ACT_GELU, x);
    case 11:
        return random_attention(m, x);
    default:
        return random_product(m, x);
    }
}

/* 5 to 60 ops over two inputs, one to four outputs. */
static void build_random(ops_case *c, const void *arg)
{
    maker m = {.c = c, .state = *(const uint64_t *)arg * 0x9e3779b97f4a7c15u + 1};
    const int64_t N = 1 + pick(&m, 2), H = 1 + pick(&m, 6), W = 1 + pick(&m, 6);
    const int64_t C = 4 + 4 * pick(&m, 3);
    m.pool[m.num_pool++] = ops_input(c, "x", GEN_DIMS(N, H, W, C));
    m.pool[m.num_pool++] = ops_input(c, "tokens", GEN_DIMS(N, H * W, C));
    const int wanted = 5 + pick(&m, 56);
    for (int tries = 0; tries < 300 && m.num_pool < wanted + 2; tries++) {
        gen_tensor *y = random_op(&m);
        if (y && gen_tensor_elements(y) <= MAX_ELEMENTS)
            m.pool[m.num_pool++] = y;
    }
    for (int i = pick(&m, 4); i >= 0; i--) {
        char name[16];
        gen_tensor *y = i == 0 ? m.pool[m.num_pool - 1] : any(&m);
        snprintf(name, sizeof name, "out%d", i);
        if (gen_tensor_owner(y, NULL)->kind != GEN_KIND_VALUE)
            y = gen_affine(c->g, y, 2.0f, 0.5f);
        if (!y->is_output)
            gen_output(c->g, y, name);
    }
}

/* ---- laws ---- */

typedef struct life {
    const gen_tensor *t;
    int born, last; /* steps; an input is born before the first, an output outlives the last */
} life;

/* The lives of all tensors that have memory; *count of them, for free(). */
static life *find_lives(const gen_plan *plan, int *count)
{
    const gen_graph *g = gen_plan_graph(plan);
    const int end = gen_plan_num_steps(plan);
    life *lives = calloc((size_t)gen_graph_num_tensors(g) + 1, sizeof *lives);
    assert_non_null(lives);
    *count = 0;
    for (int i = 0; i < gen_graph_num_tensors(g); i++) {
        const gen_tensor *t = gen_graph_tensor(g, i);
        if (t->arena_size == 0)
            continue;
        life *l = &lives[(*count)++];
        *l = (life){t, -1, -1};
        for (int s = 0; s < end; s++) {
            const gen_node *n = gen_plan_step(plan, s);
            if (n->output == t)
                l->born = l->last = s;
            for (int k = 0; k < n->num_inputs; k++)
                if (gen_tensor_owner(n->inputs[k], NULL) == t)
                    l->last = s;
        }
        if (t->is_output || (gen_plan_flags(plan) & GEN_PLAN_KEEP_ALL))
            l->last = end;
    }
    return lives;
}

static bool overlap(const gen_tensor *a, const gen_tensor *b)
{
    return a->arena_offset < b->arena_offset + b->arena_size &&
           b->arena_offset < a->arena_offset + a->arena_size;
}

/* The op reads each element of `from` exactly where it writes the same element. */
static bool may_take_over(const gen_node *n, const life *from, int step)
{
    int reads = 0;
    const gen_tensor *input = NULL;
    for (int k = 0; k < n->num_inputs; k++)
        if (gen_tensor_owner(n->inputs[k], NULL) == from->t) {
            input = n->inputs[k];
            reads++;
        }
    const bool is_norm =
        n->op == GEN_OP_GROUP_NORM || n->op == GEN_OP_LAYER_NORM || n->op == GEN_OP_RMS_NORM;
    const bool is_elementwise =
        n->op == GEN_OP_UNARY || n->op == GEN_OP_BINARY || n->op == GEN_OP_AFFINE;
    return reads == 1 && (is_norm || is_elementwise) && from->last == step &&
           gen_tensor_is_dense(input) &&
           gen_tensor_elements(input) == gen_tensor_elements(n->output) &&
           from->t->arena_offset == n->output->arena_offset &&
           from->t->arena_size == n->output->arena_size;
}

static void check_memory(const gen_plan *plan, uint64_t seed)
{
    int count;
    life *lives = find_lives(plan, &count);
    const bool keep_all = gen_plan_flags(plan) & GEN_PLAN_KEEP_ALL;
    for (int i = 0; i < count; i++) {
        const gen_tensor *t = lives[i].t;
        assert_true(t->arena_size >= (size_t)gen_tensor_elements(t) * sizeof(float));
        assert_true(t->arena_offset + t->arena_size <= gen_plan_get_stats(plan)->arena);
        assert_int_equal(t->arena_offset % 64, 0);
        for (int j = 0; j < i; j++) {
            const life *a = &lives[j], *b = &lives[i];
            if (a->born > b->born) {
                a = &lives[i];
                b = &lives[j];
            }
            if (!overlap(a->t, b->t) || a->last < b->born)
                continue;
            if (keep_all || a->born == b->born ||
                !may_take_over(gen_plan_step(plan, b->born), a, b->born))
                fail_msg("graph %d: tensor %d (steps %d to %d) and tensor %d (steps %d to %d) "
                         "overlap",
                         (int)seed, a->t->id, a->born, a->last, b->t->id, b->born, b->last);
        }
    }
    for (int s = 0; s < gen_plan_num_steps(plan); s++)
        assert_true(gen_plan_step(plan, s)->output->arena_size > 0);
    free(lives);
}

static gen_backend *open_backend(int num_threads)
{
    gen_error err = {0};
    gen_backend *backend = NULL;
    const ops_config config = {.level = "", .num_threads = num_threads};
    EXPECT_OK(ops_backend_under_test()->open(&backend, &config, &err));
    return backend;
}

static void close_backend(gen_backend *backend)
{
    ops_backend_under_test()->close(backend);
}

/* Runs the plan and compares all outputs with the reference. */
static void check_results(ops_case *c, gen_plan *plan, const reference *expected, uint64_t seed)
{
    gen_error err = {0};
    const gen_graph *g = gen_plan_graph(plan);
    ops_set_inputs(c, plan);
    EXPECT_OK(gen_plan_run(plan, &err));
    for (int i = 0; i < gen_graph_num_tensors(g); i++) {
        const gen_tensor *t = gen_graph_tensor(g, i);
        const bool is_kept =
            (gen_plan_flags(plan) & GEN_PLAN_KEEP_ALL) && t->kind == GEN_KIND_VALUE;
        if (!t->is_output && !is_kept)
            continue;
        const size_t n = (size_t)gen_tensor_elements(t);
        float *got = malloc(n * sizeof *got), *want = malloc(n * sizeof *want);
        double *exact = reference_values(expected, i);
        assert_true(got && want);
        EXPECT_OK(gen_plan_get(plan, t, got, &err));
        for (size_t k = 0; k < n; k++)
            want[k] = (float)exact[k];
        char what[96];
        snprintf(what, sizeof what, "graph %d, tensor %d, flags %u", (int)seed, t->id,
                 gen_plan_flags(plan));
        expect_close(got, want, n, 1e-4, what);
        free(got);
        free(want);
        free(exact);
    }
}

static void live_tensors_never_overlap(void **state)
{
    gen_error err = {0};
    gen_backend *backend = open_backend(2);
    int in_place = 0;
    (void)state;
    for (uint64_t seed = 0; seed < NUM_GRAPHS; seed++) {
        ops_case c;
        gen_plan *plan = NULL, *whole = NULL;
        ops_case_init(&c);
        gen_graph *graph = ops_record(&c, build_random, &seed);
        const reference_input inputs[] = {{c.inputs[0].name, c.inputs[0].data},
                                          {c.inputs[1].name, c.inputs[1].data}};
        reference *expected = reference_new(graph, 2, inputs);
        EXPECT_OK(gen_plan_new(&plan, ops_record(&c, build_random, &seed), backend, 0, &err));
        EXPECT_OK(gen_plan_new(&whole, ops_record(&c, build_random, &seed), backend,
                               GEN_PLAN_KEEP_ALL, &err));
        check_memory(plan, seed);
        check_memory(whole, seed);
        assert_true(gen_plan_get_stats(plan)->arena <= gen_plan_get_stats(whole)->arena);
        /* the other plan leaves its values behind where this one needs none */
        check_results(&c, whole, expected, seed);
        check_results(&c, plan, expected, seed);
        for (int s = 0; s < gen_plan_num_steps(plan); s++) {
            const gen_node *n = gen_plan_step(plan, s);
            const gen_tensor *x = gen_tensor_owner(n->inputs[0], NULL);
            in_place += x->arena_size && x->arena_offset == n->output->arena_offset;
        }
        gen_plan_free(plan);
        gen_plan_free(whole);
        reference_free(expected);
        gen_graph_free(graph);
        gen_weights_drop_prepared(c.weights, backend);
        ops_case_free(&c);
    }
    assert_true(in_place > NUM_GRAPHS); /* the law was put to use */
    close_backend(backend);
}

/* ---- weights that come and go ---- */

/* All outputs of a run, one behind the other; to be freed. */
static float *outputs_of(ops_case *c, gen_plan *plan, size_t *count)
{
    gen_error err = {0};
    const gen_graph *g = gen_plan_graph(plan);
    float *values = NULL;
    *count = 0;
    ops_set_inputs(c, plan);
    EXPECT_OK(gen_plan_run(plan, &err));
    for (int i = 0; i < gen_graph_num_tensors(g); i++) {
        const gen_tensor *t = gen_graph_tensor(g, i);
        const size_t n = (size_t)gen_tensor_elements(t);
        if (!t->is_output)
            continue;
        values = realloc(values, (*count + n) * sizeof *values);
        assert_non_null(values);
        EXPECT_OK(gen_plan_get(plan, t, values + *count, &err));
        *count += n;
    }
    return values;
}

/* Bytes of the forms that all weights have now. */
static size_t prepared_bytes(const gen_weights *weights)
{
    size_t sum = 0;
    for (size_t i = 0; i < gen_weights_count(weights); i++)
        for (const gen_prepared *p = gen_weights_at(weights, i)->prepared; p; p = p->next)
            sum += p->size;
    return sum;
}

static size_t vector_bytes(const gen_weights *weights)
{
    size_t sum = 0;
    for (size_t i = 0; i < gen_weights_count(weights); i++) {
        const gen_weight *w = gen_weights_at(weights, i);
        sum += w->rank < 2 ? (size_t)w->dims[0] * sizeof(float) : 0;
    }
    return sum;
}

/* From the fewest weights in memory to all of them: the same numbers, bit by bit, and never more
 * weights left behind than were allowed. */
static void fewer_weights_give_the_same_numbers(void **state)
{
    gen_error err = {0};
    int num_streamed = 0;
    (void)state;
    if (strcmp(ops_backend_under_test()->name, "cpu") != 0)
        skip(); /* only that one can */
    gen_backend *backend = open_backend(2);
    for (uint64_t seed = 0; seed < 40; seed++) {
        ops_case c;
        gen_plan *whole = NULL;
        size_t n, m;
        ops_case_init(&c);
        EXPECT_OK(gen_plan_new(&whole, ops_record(&c, build_random, &seed), backend, 0, &err));
        const gen_plan_stats all = *gen_plan_get_stats(whole);
        const size_t biases = vector_bytes(c.weights); /* too small for the plan to count */
        float *expected = outputs_of(&c, whole, &n);
        gen_plan_free(whole);
        assert_true(all.least_weights <= all.weights);
        for (int part = 0; part <= 4; part++) {
            gen_plan *plan = NULL;
            const size_t limit = all.least_weights + (all.weights - all.least_weights) / 4 * part;
            gen_weights_drop_prepared(c.weights, backend);
            EXPECT_OK(gen_plan_new_within(&plan, ops_record(&c, build_random, &seed), backend, 0,
                                          limit ? limit : 1, &err));
            const gen_plan_stats *stats = gen_plan_get_stats(plan);
            assert_true(stats->weights <= limit);
            num_streamed += prepared_bytes(c.weights) < all.weights;
            for (int run = 0; run < 2; run++) {
                float *got = outputs_of(&c, plan, &m);
                assert_int_equal(m, n);
                assert_memory_equal(got, expected, n * sizeof *got);
                assert_true(prepared_bytes(c.weights) <= stats->weights + biases);
                free(got);
            }
            gen_plan_free(plan);
        }
        free(expected);
        gen_weights_drop_prepared(c.weights, backend);
        ops_case_free(&c);
    }
    assert_true(num_streamed > 40);
    close_backend(backend);
}

/* ---- attention without its matrix ---- */

typedef struct attention_case {
    int64_t side, channels;
    int heads;
} attention_case;

/* The attention block of a UNet (or, with one head, of a KL autoencoder). */
static void build_attention(ops_case *c, const void *arg)
{
    const attention_case *p = arg;
    gen_graph *g = c->g;
    const int64_t C = p->channels, T = p->side * p->side;
    static const char *const names[] = {"q", "k", "v", "out"};
    for (int i = 0; i < 4; i++) {
        char name[32];
        snprintf(name, sizeof name, "%s.weight", names[i]);
        ops_weight(c, name, GEN_F16, 0.0, 0.05, GEN_DIMS(C, C));
    }
    gen_tensor *x = ops_input(c, "x", GEN_DIMS(1, p->side, p->side, C));
    gen_tensor *h = gen_silu(g, gen_group_norm(g, GEN_NO_AFFINE, x, 8, 1e-6f));
    h = gen_reshape(g, h, GEN_DIMS(1, T, C));
    h = gen_attention(g, gen_project(g, ops_scope(c, "q"), h), gen_project(g, ops_scope(c, "k"), h),
                      gen_project(g, ops_scope(c, "v"), h),
                      (gen_attention_options){.heads = p->heads});
    h = gen_project(g, ops_scope(c, "out"), h);
    gen_output(g, gen_add(g, x, gen_reshape(g, h, GEN_DIMS(1, p->side, p->side, C))), "y");
}

static gen_plan_stats attention_stats(gen_backend *backend, attention_case p)
{
    gen_error err = {0};
    gen_plan *plan = NULL;
    ops_case c;
    ops_case_init(&c);
    EXPECT_OK(
        gen_plan_new(&plan, ops_record(&c, build_attention, &p), backend, GEN_PLAN_DRY, &err));
    const gen_plan_stats stats = *gen_plan_get_stats(plan);
    const gen_graph *g = gen_plan_graph(plan);
    const size_t activation = (size_t)(p.side * p.side * p.channels) * sizeof(float);
    for (int i = 0; i < gen_graph_num_tensors(g); i++)
        assert_true(gen_graph_tensor(g, i)->arena_size <= activation + activation / 10);
    gen_plan_free(plan);
    ops_case_free(&c);
    return stats;
}

static void attention_needs_no_matrix(void **state)
{
    static const attention_case cases[] = {{64, 320, 8}, {64, 64, 1}, {32, 640, 8}, {96, 40, 1}};
    gen_backend *backend = open_backend(2);
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const attention_case p = cases[i];
        const attention_case half = {p.side / 2, p.channels, p.heads};
        const size_t activation = (size_t)(p.side * p.side * p.channels) * sizeof(float);
        const gen_plan_stats whole = attention_stats(backend, p);
        const gen_plan_stats quarter = attention_stats(backend, half);
        assert_true(whole.largest <= activation + activation / 10);
        /* x, h, q, k, v at most */
        assert_true(whole.arena <= 5 * activation + 4096);
        /* packed keys and packed values, and the tiles of two threads */
        assert_true(whole.scratch <= 2 * (activation + activation / 10) + ((size_t)2 << 20));
        /* four times the tokens: four times the memory, not sixteen times; a backend may need none
         * for few tokens and some for many */
        if (quarter.scratch > activation / 40)
            EXPECT_BETWEEN((double)whole.scratch / (double)quarter.scratch, 0.0, 4.4);
        printf("attention %dx%d, %d channels: scratch %.2f MiB, activation %.2f MiB\n", (int)p.side,
               (int)p.side, (int)p.channels, (double)whole.scratch / 0x1p20,
               (double)activation / 0x1p20);
    }
    close_backend(backend);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(live_tensors_never_overlap),
        cmocka_unit_test(fewer_weights_give_the_same_numbers),
        cmocka_unit_test(attention_needs_no_matrix),
    };
    return OPS_MAIN(argc, argv, tests);
}
