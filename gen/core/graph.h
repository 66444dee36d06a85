/* graph.h - tensors and the recorded graph.
 *
 * A backbone calls the functions of nn.h; each appends a node here.  Nothing is computed until a
 * plan (plan.h) is made of the graph and run by a backend (backend.h).  The ops stand in ops.h.
 *
 * Activations are channels-last and f32 unless a plan says otherwise: [N,H,W,C] or [N,T,C], dense
 * but for the row stride `ld`, the distance in elements from one innermost row to the next, which
 * is larger than the last dimension in a view made by gen_chunk() or gen_slice().  Images and token
 * sequences with T = H*W are the same bytes.
 *
 * Errors stick: an op on a bad shape returns a poisoned tensor, never NULL, and the graph keeps the
 * first message with the scope in front; gen_graph_status() or gen_plan_new() reports it. */
#ifndef GEN_CORE_GRAPH_H
#define GEN_CORE_GRAPH_H

#include "gen/core/alloc.h"
#include "gen/core/dtype.h"
#include "gen/core/ops.h"
#include "gen/core/weights.h"

typedef struct gen_graph gen_graph;
typedef struct gen_node gen_node;
typedef struct gen_tensor gen_tensor;

/* A place in the checkpoint: the names below it are looked up as path + "." + name. */
typedef struct gen_scope {
    gen_weights *weights;
    char path[160];
} gen_scope;

typedef enum gen_tensor_kind {
    GEN_KIND_INPUT,  /* uploaded before each run */
    GEN_KIND_WEIGHT, /* from the checkpoint */
    GEN_KIND_VALUE,  /* the output of a node */
    GEN_KIND_VIEW    /* a part or another shape of `base` */
} gen_tensor_kind;

struct gen_tensor {
    gen_tensor_kind kind;
    gen_dtype dtype;
    int rank;
    int64_t dims[GEN_MAX_RANK];
    int64_t ld;       /* elements from row to row; dims[rank-1] when dense */
    const char *name; /* checkpoint path of the module that made it, or "" */
    int id;           /* index in graph order */
    bool is_poisoned;
    bool is_output;           /* must survive the run */
    gen_node *producer;       /* VALUE */
    gen_tensor *base;         /* VIEW: the tensor that owns the memory */
    int64_t offset;           /* VIEW: elements from the start of base */
    gen_weight *weight;       /* WEIGHT */
    gen_tensor *carried_in;   /* VALUE computed into the memory of this input: gen_carry() */
    gen_tensor *derived_from; /* INPUT made on the host from another input (gen_sinusoid) */
    struct {
        int64_t dim;
        bool flip_sin_to_cos;
        double freq_shift, max_period, scale;
    } sinusoid;
    size_t arena_offset; /* set by the plan, in bytes, for owners of memory */
    size_t arena_size;
};

typedef enum gen_act {
    GEN_ACT_NONE,
    GEN_ACT_SILU,
    GEN_ACT_GELU,
    GEN_ACT_GELU_TANH,
    GEN_ACT_QUICK_GELU,
    GEN_ACT_RELU,
    GEN_ACT_TANH,
    GEN_ACT_SIGMOID,
    GEN_ACT_EXP,
    GEN_NUM_ACTS
} gen_act;

/* Which weights a WKV gives to other tokens: see gen_wkv(). */
typedef enum gen_wkv_form { GEN_WKV_PAPER, GEN_WKV_SEGMENTED } gen_wkv_form;
enum { GEN_WKV_SEGMENTS = 32 };

typedef enum gen_binary { GEN_ADD, GEN_SUB, GEN_MUL } gen_binary;

#define GEN_MAX_INPUTS 8

/* What a node of LINEAR or CONV2D (and, `act` only, of the norms) does to its sums before it
 * stores them; filled by the fusion pass of the plan, never by a model:
 *     y = post_act(act(sum + bias) + residual)
 * residual has the shape of y, or [N,1,1,C] (conv) or [N,1,C] (linear): then it is added to every
 * position of its sample.  It is the last of the node's inputs. */
typedef struct gen_epilogue {
    gen_act act, post_act;
    gen_tensor *residual; /* NULL: none */
    bool residual_broadcasts;
} gen_epilogue;

typedef struct gen_conv2d_params {
    int stride; /* 0 means 1 */
    int pad_top, pad_left, pad_bottom, pad_right;
    int upsample_h, upsample_w; /* not 0: x is first resized to this (nearest); set by fusion */
    bool bias_is_optional;      /* false: a missing bias is an error */
} gen_conv2d_params;

struct gen_node {
    gen_op op;
    int id;           /* position in the graph */
    const char *name; /* scope path */
    int num_inputs;
    gen_tensor *inputs[GEN_MAX_INPUTS];
    gen_tensor *output;
    bool is_fused_away; /* its work is done by another node */
    gen_epilogue epilogue;
    union {
        gen_conv2d_params conv2d;
        struct {
            int groups;
            float eps;
        } norm; /* all norms */
        struct {
            int heads;
            float scale;
            bool is_causal;
        } attention;
        struct {
            gen_act act;
        } unary; /* UNARY, GLU */
        struct {
            gen_binary op;
        } binary;
        struct {
            float a, b;
        } affine;
        struct {
            int axis;
        } concat;
        struct {
            int perm[GEN_MAX_RANK];
        } permute;
        struct {
            int axis;
            int64_t start; /* may be negative, and reach beyond the end with the output's size */
        } window;
        struct {
            int heads;
        } rope;
        struct {
            gen_wkv_form form;
        } wkv;
    } p;
};

gen_status gen_graph_new(gen_graph **out, gen_error *err);
void gen_graph_free(gen_graph *graph);

/* The first error of any op, or GEN_OK. */
gen_status gen_graph_status(const gen_graph *graph, gen_error *err);
bool gen_graph_failed(const gen_graph *graph);

int gen_graph_num_nodes(const gen_graph *graph);
gen_node *gen_graph_node(const gen_graph *graph, int i);
int gen_graph_num_tensors(const gen_graph *graph);
gen_tensor *gen_graph_tensor(const gen_graph *graph, int i);
gen_arena *gen_graph_arena(gen_graph *graph);

/* An input [dims...] that is uploaded before each run under `name`. */
gen_tensor *gen_input(gen_graph *g, const char *name, gen_dtype dtype, int rank,
                      const int64_t *dims);
/* The sinusoidal embedding [N,dim] of an input t [N] (unet.md 1.3), computed on the host in double
 * whenever t is set.  t must be a gen_input(). */
typedef struct gen_sinusoid_options {
    bool flip_sin_to_cos; /* true: cosines first */
    double freq_shift;
    double max_period; /* 0 means 10000 */
    double scale;      /* 0 means 1 */
} gen_sinusoid_options;
gen_tensor *gen_sinusoid(gen_graph *g, gen_tensor *t, int64_t dim, gen_sinusoid_options options);

/* Marks a result; it keeps its memory to the end of the run. */
void gen_output(gen_graph *g, gen_tensor *t, const char *name);

/* State that survives a run: `value`, a node's output of the same size, is computed into the memory
 * of `input`, where the next run finds it if no other plan of the backend ran in between.  Nothing
 * may read the input after the node that makes the value.  The value can be downloaded as an output
 * called `name`. */
void gen_carry(gen_graph *g, gen_tensor *input, gen_tensor *value, const char *name);

/* Gives a tensor the name of a module (its path), for GEN_PLAN_KEEP_ALL and for messages. */
gen_tensor *gen_name(gen_graph *g, gen_scope scope, gen_tensor *t);

/* Looks for inputs, outputs and named intermediate tensors; NULL when there is none.  When several
 * tensors carry a name (a module called more than once), `nth` chooses. */
gen_tensor *gen_graph_find(const gen_graph *g, const char *name, int nth);

gen_scope gen_scope_root(gen_weights *weights);
gen_scope gen_sub(gen_scope scope, const char *name);
gen_scope gen_subf(gen_scope scope, const char *format, ...) GEN_PRINTF(2, 3);
bool gen_has(gen_scope scope, const char *name);
/* The checkpoint tensor scope.name, or NULL. */
gen_weight *gen_scope_find(gen_scope scope, const char *name);

/* ---- for op constructors (nn.c and those who add ops) ---- */

/* Keeps the first error with "path: " in front and returns a poisoned tensor.  A fault of the MODEL
 * is preceded by the file of the weight that was asked for last. */
gen_tensor *gen_graph_fail(gen_graph *g, const char *path, gen_status status, const char *format,
                           ...) GEN_PRINTF(4, 5);
/* A weight as a node input; poisoned and reported when missing.  The shape is checked by the op. */
gen_tensor *gen_weight_tensor(gen_graph *g, gen_scope scope, const char *name);
/* The kernel of frame `tap` of scope.weight, which is [Co,Ci,kt,kh,kw] or the same numbers in
 * another shape; kernel is {Ci,kt,kh,kw}.  A weight [Co,Ci,kh,kw]. */
gen_tensor *gen_kernel_tensor(gen_graph *g, gen_scope scope, const int64_t kernel[4], int tap);
/* A constant of the network that no file holds, such as a table of positions: a weight `name` of
 * the whole set, whatever the scope of w, that lives as long as the set.  NULL when it is not there
 * yet; gen_constant_new() makes it of values [dims...] (gen_malloc), which it takes over.  The name
 * must tell all the values depend on. */
gen_tensor *gen_constant(gen_graph *g, gen_scope w, const char *name);
gen_tensor *gen_constant_new(gen_graph *g, gen_scope w, const char *name, int rank,
                             const int64_t *dims, float *values);
/* Appends a node; the output tensor [dims...] is made and returned.  NULL-safe: on lack of memory
 * the graph is failed and a poisoned tensor returned.  *node (may be NULL) receives the node. */
gen_tensor *gen_graph_append(gen_graph *g, gen_op op, const char *name, int num_inputs,
                             gen_tensor *const *inputs, int rank, const int64_t *dims,
                             gen_node **node);
/* A view of t: other dims over the same memory, starting `offset` elements in, row stride ld. */
gen_tensor *gen_graph_view(gen_graph *g, gen_tensor *t, int rank, const int64_t *dims,
                           int64_t offset, int64_t ld);
bool gen_any_poisoned(int n, gen_tensor *const *tensors, gen_tensor **poisoned);

/* Number of elements, and of rows (elements / last dimension). */
int64_t gen_tensor_elements(const gen_tensor *t);
int64_t gen_tensor_rows(const gen_tensor *t);
bool gen_tensor_is_dense(const gen_tensor *t);
/* The owner of the memory of t: t itself or the end of its chain of bases. */
gen_tensor *gen_tensor_owner(const gen_tensor *t, int64_t *offset);
/* "[2,64,64,320]" into buf; returns buf. */
char *gen_shape_string(char *buf, size_t size, int rank, const int64_t *dims);

#endif
