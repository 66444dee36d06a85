/* compile.h - what an op needs to become dispatches; see compile.c for how to add one. */
#ifndef GEN_VULKAN_COMPILE_H
#define GEN_VULKAN_COMPILE_H

#include "gen/vulkan/vulkan_internal.h"

typedef enum gen_vk_access { GEN_VK_READ, GEN_VK_WRITE } gen_vk_access;

/* Bytes of a buffer that a dispatch touches. */
typedef struct gen_vk_range {
    const gen_vk_buffer *buffer;
    VkDeviceSize offset, size;
    bool is_written;
} gen_vk_range;

/* One dispatch of a shader, or (shader NULL) one copy from ranges[0] to ranges[1]. */
typedef struct gen_vk_dispatch {
    const gen_node *node; /* NULL: a transfer of the plan's inputs or outputs */
    const char *shader;
    const gen_vk_pipeline *pipeline;
    int num_constants, num_ranges;
    uint32_t constants[GEN_VK_MAX_CONSTANTS];
    gen_vk_range ranges[GEN_VK_MAX_BUFFERS];
    uint32_t groups[3], push_size;
    unsigned char push[GEN_VK_PUSH_BYTES];
    double flops, bytes;
    int stage; /* of the weights that are streamed */
    int level; /* dispatches of a level do not depend on each other */
} gen_vk_dispatch;

/* A command buffer of bounded work: positions first..first+count of the order. */
typedef struct gen_vk_slice {
    int first, count;
    int stage; /* of all of them */
    VkCommandBuffer commands;
    double estimate; /* seconds */
} gen_vk_slice;

/* A weight in a slot of vk->slots while its stage runs. */
typedef struct gen_vk_item {
    gen_weight *weight;
    gen_vk_form form;
    int stage;
    VkDeviceSize offset;
    size_t count; /* elements */
} gen_vk_item;

/* The weights of a plan that are brought anew in each run (stream.c); stage i uses slot i % 2. */
typedef struct gen_vk_stream {
    gen_vk_item *items; /* by stage */
    int num_items, num_stages;
    int *stage_of_step; /* of the plan; NULL: nothing is streamed */
    VkDeviceSize slot, bytes;
    /* in a run */
    uint64_t last_use[2]; /* of the slots: values of the timeline */
    int loaded[2];        /* the stages that are there, -1: none */
    int filling;          /* the stage under way, -1: none */
    int item;             /* and where it has got to */
    size_t element;
} gen_vk_stream;

/* What a compiled plan keeps here. */
typedef struct gen_vk_plan {
    gen_vk_dispatch *dispatches;
    int num_dispatches, capacity;
    gen_vk_buffer io;   /* inputs, outputs and gathered rows, written and read by the host */
    int64_t *io_offset; /* by tensor id; -1: none */
    gen_vk_stream stream;
    /* record.c */
    int *order; /* of execution: by level */
    int num_levels, num_barriers, num_copies;
    VkDescriptorPool descriptor_pool;
    VkDescriptorSet *sets;
    gen_vk_slice *slices;
    int num_slices;
    uint64_t generation; /* of the backend's buffers when it was recorded */
    bool is_measured;
    uint64_t num_runs;
} gen_vk_plan;

/* A compilation under way.  The first failure sticks. */
typedef struct gen_vk_compiler {
    gen_vulkan *vk;
    gen_vk_plan *out;
    const gen_node *node;
    int stage;
    VkDeviceSize scratch_used;
    gen_status status;
    gen_error *err;
    gen_vk_dispatch dummy; /* stands in after a failure */
} gen_vk_compiler;

/* The driver of an op. */
typedef struct gen_vk_op {
    bool (*supports)(const gen_node *node);           /* NULL: every node without an epilogue */
    gen_vk_form (*form)(const gen_node *node, int i); /* of the weight at input i; NULL: F32 */
    size_t (*scratch)(const gen_node *node);          /* bytes; NULL: 0 */
    void (*encode)(gen_vk_compiler *c, const gen_node *node);
} gen_vk_op;

#define ROW(NAME, name, in_place) extern const gen_vk_op gen_vk_##name;
GEN_OP_ROWS(ROW)
#undef ROW
extern const gen_vk_op *const gen_vk_ops[]; /* by gen_op: ops.c */

/* NULL: this backend cannot run the node. */
const gen_vk_op *gen_vk_op_of(const gen_node *node);
/* The form of the weight at input i. */
gen_vk_form gen_vk_form_of(const gen_node *node, int i);

/* ---- for encode() ---- */

/* Appends a dispatch of shaders/<shader>.comp.  Valid until the next one is appended. */
gen_vk_dispatch *gen_vk_dispatch_new(gen_vk_compiler *c, const char *shader);
/* Appends the transfer of a tensor between its place in plan->io and the arena. */
void gen_vk_copy_tensor(gen_vk_compiler *c, const gen_tensor *t, bool is_result);
/* The next specialisation constant, in the order of constant_id. */
void gen_vk_constant(gen_vk_dispatch *d, uint32_t value);
/* Binds elements first..first+count of t (in memory order from where t starts) as the next buffer.
 * Offsets of buffers must be aligned, so more may be bound in front: returns the position of the
 * first element in what is bound. */
uint32_t gen_vk_bind(gen_vk_compiler *c, gen_vk_dispatch *d, const gen_tensor *t, int64_t first,
                     int64_t count, gen_vk_access access);
/* The same for `rows` rows from `row`. */
uint32_t gen_vk_bind_rows(gen_vk_compiler *c, gen_vk_dispatch *d, const gen_tensor *t, int64_t row,
                          int64_t rows, gen_vk_access access);
/* An optional tensor that is not there: binds again what buffer 0 is. */
void gen_vk_bind_nothing(gen_vk_dispatch *d);
/* Room in the working memory all plans share, and its binding; offsets are multiples of 256. */
VkDeviceSize gen_vk_take_scratch(gen_vk_compiler *c, VkDeviceSize size);
void gen_vk_bind_scratch(gen_vk_compiler *c, gen_vk_dispatch *d, VkDeviceSize offset,
                         VkDeviceSize size, gen_vk_access access);
void gen_vk_push(gen_vk_dispatch *d, const void *constants, size_t size);
void gen_vk_groups(gen_vk_compiler *c, gen_vk_dispatch *d, int64_t x, int64_t y, int64_t z);
/* `threads` invocations in a row of workgroups that shaders read with flat_group(). */
void gen_vk_groups_for(gen_vk_compiler *c, gen_vk_dispatch *d, int64_t invocations,
                       uint32_t workgroup);
/* Rows of t that fit into one binding, at least 1. */
int64_t gen_vk_window_rows(const gen_vk_compiler *c, const gen_tensor *t);
int64_t gen_vk_window_elements(const gen_vk_compiler *c);
/* An iteration count of one invocation that would be too long for the device is an error. */
void gen_vk_check_loops(gen_vk_compiler *c, int64_t iterations);
void gen_vk_compile_fail(gen_vk_compiler *c, gen_status status, const char *what);

static inline int64_t gen_vk_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t gen_vk_divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* ---- the plan ---- */

gen_status gen_vk_compile(gen_vulkan *vk, gen_plan *plan, gen_vk_plan *out, gen_error *err);
gen_status gen_vk_measure(gen_vulkan *vk, const gen_plan *plan, gen_backend_needs *needs,
                          gen_error *err);

/* stream.c */

/* Brings the weights of a plan to the device, or as many as there is room for and decides how the
 * others are streamed.  Errors: MEMORY, MODEL, DEVICE. */
gen_status gen_vk_bring_weights(gen_vulkan *vk, const gen_plan *plan, gen_vk_stream *s,
                                gen_error *err);
/* What the weights of a plan need, within its limit, and what streaming would: weights, least,
 * slots of needs. */
gen_status gen_vk_stream_measure(gen_vulkan *vk, const gen_plan *plan, gen_backend_needs *needs,
                                 gen_error *err);
void gen_vk_stream_free(gen_vulkan *vk, gen_vk_stream *s);
/* Where a weight is while `stage` runs; NULL: it stays on the device. */
const gen_vk_item *gen_vk_stream_find(const gen_vk_stream *s, int stage, const gen_weight *w,
                                      gen_vk_form form);
bool gen_vk_stream_is_loaded(const gen_vulkan *vk, const gen_vk_stream *s, int stage);
/* Writes some more of the weights of a stage into its slot, or all of them. */
gen_status gen_vk_stream_some(gen_vulkan *vk, gen_vk_stream *s, int stage, gen_error *err);
gen_status gen_vk_stream_load(gen_vulkan *vk, gen_vk_stream *s, int stage, gen_error *err);

/* record.c: orders the dispatches and records all slices; again when the backend's buffers have
 * moved or speeds are known better.  Nothing of the plan may be pending. */
gen_status gen_vk_record(gen_vulkan *vk, gen_vk_plan *p, gen_error *err);
/* Records dispatches first..first+count in their original order into one command buffer. */
gen_status gen_vk_record_range(gen_vulkan *vk, gen_vk_plan *p, int first, int count,
                               VkCommandBuffer commands, gen_error *err);
void gen_vk_free_recording(gen_vulkan *vk, gen_vk_plan *p);
bool gen_vk_conflict(const gen_vk_dispatch *a, const gen_vk_dispatch *b);
/* Gives every dispatch the lowest level above all earlier ones it conflicts with. */
int gen_vk_find_levels(gen_vk_dispatch *dispatches, int count);

/* run.c */
gen_status gen_vk_run_plan(gen_vulkan *vk, gen_vk_plan *p, gen_error *err);

#endif
