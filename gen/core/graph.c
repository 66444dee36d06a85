/* graph.c - recording: tensors, nodes, scopes and the first error. */
#include "gen/core/graph.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct list {
    void **items;
    int count, capacity;
} list;

struct gen_graph {
    gen_arena *arena;
    list nodes, tensors;
    gen_tensor poisoned; /* what every op returns after a failure */
    gen_node unused;     /* what callers write parameters to after a failure */
    const char *file;    /* of the latest weight */
    gen_error error;
    bool has_failed;
};

static bool list_add(list *l, void *item)
{
    if (l->count == l->capacity) {
        const int capacity = l->capacity ? 2 * l->capacity : 256;
        void **items = gen_realloc(l->items, (size_t)capacity * sizeof *items);
        if (!items)
            return false;
        l->items = items;
        l->capacity = capacity;
    }
    l->items[l->count++] = item;
    return true;
}

gen_status gen_graph_new(gen_graph **out, gen_error *err)
{
    gen_graph *g = gen_calloc(1, sizeof *g);
    if (!g || !(g->arena = gen_arena_new())) {
        gen_free(g);
        return gen_no_memory(err, "graph", sizeof *g);
    }
    g->poisoned = (gen_tensor){.kind = GEN_KIND_VALUE,
                               .rank = 1,
                               .dims = {1},
                               .ld = 1,
                               .name = "",
                               .id = -1,
                               .is_poisoned = true};
    *out = g;
    return GEN_OK;
}

void gen_graph_free(gen_graph *g)
{
    if (!g)
        return;
    gen_free(g->nodes.items);
    gen_free(g->tensors.items);
    gen_arena_free(g->arena);
    gen_free(g);
}

gen_status gen_graph_status(const gen_graph *g, gen_error *err)
{
    if (!g->has_failed)
        return GEN_OK;
    if (err)
        *err = g->error;
    return g->error.status;
}

bool gen_graph_failed(const gen_graph *g)
{
    return g->has_failed;
}

int gen_graph_num_nodes(const gen_graph *g)
{
    return g->nodes.count;
}

gen_node *gen_graph_node(const gen_graph *g, int i)
{
    return g->nodes.items[i];
}

int gen_graph_num_tensors(const gen_graph *g)
{
    return g->tensors.count;
}

gen_tensor *gen_graph_tensor(const gen_graph *g, int i)
{
    return g->tensors.items[i];
}

gen_arena *gen_graph_arena(gen_graph *g)
{
    return g->arena;
}

gen_tensor *gen_graph_fail(gen_graph *g, const char *path, gen_status status, const char *format,
                           ...)
{
    if (!g->has_failed) {
        char text[sizeof g->error.message];
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        g->has_failed = true;
        const bool has_path = path && *path;
        if (has_path && status == GEN_ERROR_MODEL && g->file && *g->file)
            gen_fail(&g->error, status, "%s: %s: %s", g->file, path, text);
        else if (has_path)
            gen_fail(&g->error, status, "%s: %s", path, text);
        else
            gen_fail(&g->error, status, "%s", text);
    }
    return &g->poisoned;
}

static gen_tensor *out_of_memory(gen_graph *g)
{
    return gen_graph_fail(g, NULL, GEN_ERROR_MEMORY, "no memory for the graph");
}

/* The largest tensor anybody can mean; keeps all later size arithmetic far from overflow. */
#define MAX_ELEMENTS ((int64_t)1 << 40)

static gen_tensor *new_tensor(gen_graph *g, gen_tensor_kind kind, gen_dtype dtype, int rank,
                              const int64_t *dims, const char *name)
{
    int64_t elements = 1;
    char shape[128];
    if (rank < 1 || rank > GEN_MAX_RANK)
        return gen_graph_fail(g, name, GEN_ERROR_INTERNAL, "rank %d is not possible", rank);
    for (int i = 0; i < rank; i++) {
        if (dims[i] < 1 || dims[i] > MAX_ELEMENTS / elements)
            return gen_graph_fail(g, name, GEN_ERROR_ARGUMENT,
                                  "a tensor of shape %s is not possible",
                                  gen_shape_string(shape, sizeof shape, rank, dims));
        elements *= dims[i];
    }
    gen_tensor *t = gen_arena_alloc(g->arena, sizeof *t);
    char *copy = gen_arena_strdup(g->arena, name);
    if (!t || !copy || !list_add(&g->tensors, t))
        return out_of_memory(g);
    t->kind = kind;
    t->dtype = dtype;
    t->rank = rank;
    memcpy(t->dims, dims, (size_t)rank * sizeof *dims);
    t->ld = dims[rank - 1];
    t->name = copy;
    t->id = g->tensors.count - 1;
    return t;
}

gen_tensor *gen_input(gen_graph *g, const char *name, gen_dtype dtype, int rank,
                      const int64_t *dims)
{
    return new_tensor(g, GEN_KIND_INPUT, dtype, rank, dims, name);
}

gen_tensor *gen_sinusoid(gen_graph *g, gen_tensor *t, int64_t dim, gen_sinusoid_options options)
{
    if (t->is_poisoned)
        return t;
    if (t->kind != GEN_KIND_INPUT || t->rank != 1 || t->derived_from)
        return gen_graph_fail(g, t->name, GEN_ERROR_INTERNAL,
                              "a sinusoidal embedding needs an input of rank 1");
    gen_tensor *y = gen_input(g, "", GEN_F32, 2, (int64_t[]){t->dims[0], dim});
    if (y->is_poisoned)
        return y;
    y->derived_from = t;
    y->sinusoid.dim = dim;
    y->sinusoid.flip_sin_to_cos = options.flip_sin_to_cos;
    y->sinusoid.freq_shift = options.freq_shift;
    y->sinusoid.max_period = options.max_period != 0 ? options.max_period : 10000.0;
    y->sinusoid.scale = options.scale != 0 ? options.scale : 1.0;
    return y;
}

static void set_name(gen_graph *g, gen_tensor *t, const char *name)
{
    if (t->is_poisoned)
        return;
    char *copy = gen_arena_strdup(g->arena, name);
    if (copy)
        t->name = copy;
    else
        out_of_memory(g);
}

void gen_output(gen_graph *g, gen_tensor *t, const char *name)
{
    if (t->is_poisoned)
        return;
    t->is_output = true;
    gen_tensor_owner(t, NULL)->is_output = true;
    set_name(g, t, name);
}

void gen_carry(gen_graph *g, gen_tensor *input, gen_tensor *value, const char *name)
{
    if (input->is_poisoned || value->is_poisoned)
        return;
    if (input->kind != GEN_KIND_INPUT || value->kind != GEN_KIND_VALUE ||
        input->dtype != value->dtype || gen_tensor_elements(input) != gen_tensor_elements(value)) {
        gen_graph_fail(g, name, GEN_ERROR_INTERNAL, "a state of another size than its input");
        return;
    }
    value->carried_in = input;
    gen_output(g, value, name);
}

gen_tensor *gen_name(gen_graph *g, gen_scope scope, gen_tensor *t)
{
    if (t->is_poisoned || t->is_output)
        return t;
    /* A module whose last op already carries a name gets an alias, so both can be found. */
    if (t->name[0]) {
        t = gen_graph_view(g, t, t->rank, t->dims, 0, t->ld);
        if (t->is_poisoned)
            return t;
    }
    set_name(g, t, scope.path);
    return t;
}

gen_tensor *gen_graph_find(const gen_graph *g, const char *name, int nth)
{
    for (int i = 0; i < g->tensors.count; i++) {
        gen_tensor *t = g->tensors.items[i];
        if (t->kind != GEN_KIND_WEIGHT && strcmp(t->name, name) == 0 && nth-- == 0)
            return t;
    }
    return NULL;
}

/* ---- scopes --------------------------------------------------------------------------------- */

gen_scope gen_scope_root(gen_weights *weights)
{
    return (gen_scope){.weights = weights};
}

gen_scope gen_sub(gen_scope scope, const char *name)
{
    return gen_subf(scope, "%s", name);
}

gen_scope gen_subf(gen_scope scope, const char *format, ...)
{
    gen_scope sub = scope;
    size_t used = strlen(sub.path);
    if (used && used + 1 < sizeof sub.path)
        sub.path[used++] = '.';
    va_list args;
    va_start(args, format);
    vsnprintf(sub.path + used, sizeof sub.path - used, format, args);
    va_end(args);
    return sub;
}

gen_weight *gen_scope_find(gen_scope scope, const char *name)
{
    return scope.weights ? gen_weights_find(scope.weights, gen_sub(scope, name).path) : NULL;
}

bool gen_has(gen_scope scope, const char *name)
{
    return gen_scope_find(scope, name) != NULL;
}

static gen_tensor *tensor_of(gen_graph *g, gen_weight *w)
{
    static const int64_t one = 1;
    gen_tensor *t = new_tensor(g, GEN_KIND_WEIGHT, w->dtype, w->rank ? w->rank : 1,
                               w->rank ? w->dims : &one, w->name);
    if (!t->is_poisoned)
        t->weight = w;
    return t;
}

gen_tensor *gen_weight_tensor(gen_graph *g, gen_scope scope, const char *name)
{
    const gen_scope full = gen_sub(scope, name);
    gen_weight *w = gen_scope_find(scope, name);
    if (!w) {
        const char *file = scope.weights && gen_weights_count(scope.weights)
                               ? gen_weights_at(scope.weights, 0)->file
                               : "the model";
        return gen_graph_fail(g, NULL, GEN_ERROR_MODEL, "%s: tensor \"%s\" is missing", file,
                              full.path);
    }
    if (w->dtype != GEN_F32 && w->dtype != GEN_F16 && w->dtype != GEN_BF16)
        return gen_graph_fail(g, NULL, GEN_ERROR_MODEL,
                              "%s: tensor \"%s\" is %s, expected F32, F16 or BF16", w->file,
                              w->file_name, gen_dtype_name(w->dtype));
    w->is_used = true;
    g->file = w->file;
    return tensor_of(g, w);
}

gen_tensor *gen_kernel_tensor(gen_graph *g, gen_scope scope, const int64_t kernel[4], int tap)
{
    char found[128], expected[128];
    gen_tensor *t = gen_weight_tensor(g, scope, "weight");
    if (t->is_poisoned)
        return t;
    const int64_t dims[5] = {t->dims[0], kernel[0], kernel[1], kernel[2], kernel[3]};
    if (gen_tensor_elements(t) != dims[0] * dims[1] * dims[2] * dims[3] * dims[4])
        return gen_graph_fail(g, scope.path, GEN_ERROR_MODEL, "weight %s, expected %s",
                              gen_shape_string(found, sizeof found, t->rank, t->dims),
                              gen_shape_string(expected, sizeof expected, 5, dims));
    gen_weight *w = gen_weights_kernel(scope.weights, t->weight, kernel, tap);
    return w ? tensor_of(g, w) : out_of_memory(g);
}

gen_tensor *gen_constant(gen_graph *g, gen_scope w, const char *name)
{
    const gen_scope root = gen_scope_root(w.weights);
    return gen_has(root, name) ? gen_weight_tensor(g, root, name) : NULL;
}

gen_tensor *gen_constant_new(gen_graph *g, gen_scope w, const char *name, int rank,
                             const int64_t *dims, float *values)
{
    size_t size = sizeof *values;
    gen_error err;
    for (int i = 0; i < rank; i++)
        size *= (size_t)dims[i];
    if (!values)
        return out_of_memory(g);
    const gen_status status = gen_weights_add(w.weights, name, "constants", name, GEN_F32, rank,
                                              dims, values, size, true, &err);
    if (status)
        return gen_graph_fail(g, NULL, status, "%s", err.message);
    return gen_weight_tensor(g, gen_scope_root(w.weights), name);
}

/* ---- nodes and views ------------------------------------------------------------------------ */

gen_tensor *gen_graph_append(gen_graph *g, gen_op op, const char *name, int num_inputs,
                             gen_tensor *const *inputs, int rank, const int64_t *dims,
                             gen_node **node)
{
    if (node)
        *node = &g->unused;
    if (g->has_failed)
        return &g->poisoned;
    gen_tensor *y = new_tensor(g, GEN_KIND_VALUE, GEN_F32, rank, dims, name);
    if (y->is_poisoned)
        return y;
    gen_node *n = gen_arena_alloc(g->arena, sizeof *n);
    if (!n || !list_add(&g->nodes, n))
        return out_of_memory(g);
    n->op = op;
    n->id = g->nodes.count - 1;
    n->name = y->name;
    n->num_inputs = num_inputs;
    memcpy(n->inputs, inputs, (size_t)num_inputs * sizeof *inputs);
    n->output = y;
    y->producer = n;
    if (node)
        *node = n;
    return y;
}

gen_tensor *gen_graph_view(gen_graph *g, gen_tensor *t, int rank, const int64_t *dims,
                           int64_t offset, int64_t ld)
{
    if (t->is_poisoned)
        return t;
    gen_tensor *v = new_tensor(g, GEN_KIND_VIEW, t->dtype, rank, dims, "");
    if (v->is_poisoned)
        return v;
    v->base = t;
    v->offset = offset;
    v->ld = ld;
    return v;
}

bool gen_any_poisoned(int n, gen_tensor *const *tensors, gen_tensor **poisoned)
{
    for (int i = 0; i < n; i++) {
        if (tensors[i] && tensors[i]->is_poisoned) {
            *poisoned = tensors[i];
            return true;
        }
    }
    return false;
}

int64_t gen_tensor_elements(const gen_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++)
        n *= t->dims[i];
    return n;
}

int64_t gen_tensor_rows(const gen_tensor *t)
{
    return gen_tensor_elements(t) / t->dims[t->rank - 1];
}

bool gen_tensor_is_dense(const gen_tensor *t)
{
    return t->ld == t->dims[t->rank - 1] || gen_tensor_rows(t) == 1;
}

gen_tensor *gen_tensor_owner(const gen_tensor *t, int64_t *offset)
{
    int64_t sum = 0;
    for (; t->kind == GEN_KIND_VIEW; t = t->base)
        sum += t->offset;
    if (offset)
        *offset = sum;
    return (gen_tensor *)t;
}

char *gen_shape_string(char *buf, size_t size, int rank, const int64_t *dims)
{
    size_t used = 0;
    for (int i = 0; i < rank && used < size; i++) {
        const int n = snprintf(buf + used, size - used, "%c%" PRId64, i ? ',' : '[', dims[i]);
        used += n < 0 ? 0 : (size_t)n;
    }
    if (used < size)
        snprintf(buf + used, size - used, "%s", rank ? "]" : "[]");
    return buf;
}
