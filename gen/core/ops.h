/* ops.h - the ops of a graph, a row each: ROW(NAME, name, in_place).
 *
 * A row stands for GEN_OP_NAME of graph.h, for gen_cpu_name and gen_vk_name, its drivers in the
 * backends, and for reference_name, its plain loops in tests/ops.  Nothing else lists ops; a name
 * that is missing somewhere does not link.  `in_place` says whether the output may be written over
 * an input of its size that is not read again.
 *
 * To add an op:
 *   1. Its row here.
 *   2. A function that checks shapes and appends the node: gen/core/nn.c.  Its constants lie in
 *      gen_node.p (graph.h); one of the structs there may fit.
 *   3. gen/cpu/: a gen_cpu_op in the file of its kind (cpu_internal.h).
 *   4. shaders/NAME.comp with its line in shaders/CMakeLists.txt, and gen/vulkan/: a gen_vk_op
 *      (compile.c tells what both must keep to).
 *   5. tests/ops/reference.c: the op as plain loops; a test, which runs on all backends; and a
 *      graph with it in gen/pipeline/self_check.c.
 * tests/property/op_recipe adds one so, to the engine as it is built.  Only what is more than this
 * has other places: more arithmetic than an element's worth (gen_node_flops() of plan.c), a fusion
 * (fusion.c), a large matrix (streamable() of gen/cpu/backend.c). */
#ifndef GEN_CORE_OPS_H
#define GEN_CORE_OPS_H

/* clang-format off */
#define GEN_OP_ROWS(ROW)                                                                          \
    ROW(LINEAR, linear, GEN_IN_PLACE_NEVER)         /* y = x W^T + b.  in: x, W, [b] */           \
    ROW(CONV2D, conv2d, GEN_IN_PLACE_NEVER)         /* in: x [N,H,W,Ci], W [Co,Ci,kh,kw], [b] */  \
    ROW(GROUP_NORM, group_norm, GEN_IN_PLACE_FIRST) /* in: x [N,...,C], [weight, bias] */         \
    ROW(LAYER_NORM, layer_norm, GEN_IN_PLACE_FIRST) /* in: x [...,C], [weight, bias] */           \
    ROW(RMS_NORM, rms_norm, GEN_IN_PLACE_FIRST)     /* in: x [...,C], [weight] */                 \
    ROW(ATTENTION, attention, GEN_IN_PLACE_NEVER)   /* in: q [N,Tq,H*D], k [N,Tk,H*D],            \
                                                           v [N,Tk,H*Dv], [bias] */               \
    ROW(UNARY, unary, GEN_IN_PLACE_FIRST)           /* y = act(x) */                              \
    ROW(BINARY, binary, GEN_IN_PLACE_ANY)           /* add, sub, mul; the second broadcasts */    \
    ROW(AFFINE, affine, GEN_IN_PLACE_FIRST)         /* y = a x + b, a and b constants */          \
    ROW(GLU, glu, GEN_IN_PLACE_NEVER)               /* y = x[:n] * act(x[n:]), last dimension */  \
    ROW(CONCAT, concat, GEN_IN_PLACE_NEVER)         /* along `axis` */                            \
    ROW(UPSAMPLE, upsample, GEN_IN_PLACE_NEVER)     /* nearest, to out_h x out_w: source index    \
                                                       floor(dst * in / out) */                   \
    ROW(EMBEDDING, embedding, GEN_IN_PLACE_NEVER)   /* rows of a table.  in: ids (I32),           \
                                                       table [rows, D] */                         \
    ROW(PERMUTE, permute, GEN_IN_PLACE_NEVER)       /* y dims = x dims in the order perm */       \
    ROW(COPY, copy, GEN_IN_PLACE_NEVER)             /* a dense copy of a view */                  \
    ROW(WINDOW, window, GEN_IN_PLACE_NEVER)         /* y[..i..] = x[..start+i..] along `axis`,    \
                                                       zero outside x; see gen_window() */        \
    ROW(ROPE, rope, GEN_IN_PLACE_NEVER)             /* pairs of channels rotated.                 \
                                              in: x [N,T,H*D], table [T,D]; gen_rope() */         \
    ROW(WKV, wkv, GEN_IN_PLACE_NEVER)               /* in: w [C], u [C], k [N,T,C], v [N,T,C];    \
                                                       see gen_wkv() */
/* clang-format on */

typedef enum gen_in_place {
    GEN_IN_PLACE_NEVER,
    GEN_IN_PLACE_FIRST, /* over the first input */
    GEN_IN_PLACE_ANY
} gen_in_place;

#define ROW(NAME, name, in_place) GEN_OP_##NAME,
typedef enum gen_op { GEN_OP_ROWS(ROW) GEN_NUM_OPS } gen_op;
#undef ROW

typedef struct gen_op_info {
    const char *name; /* as in the rows */
    gen_in_place in_place;
} gen_op_info;

extern const gen_op_info gen_op_infos[]; /* by gen_op: ops.c */

#endif
