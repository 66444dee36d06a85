/* compile.c - nodes become dispatches.
 *
 * compile() brings the weights to the device, asks the op of every node for its dispatches, and
 * gets their pipelines; record.c then orders them.  The order of execution follows from the bytes
 * each dispatch says it reads and writes, so an op describes itself truly and needs no barrier.
 *
 * To add an op (gen/core/ops.h has the whole list):
 *   1. shaders/NAME.comp, and its line in shaders/CMakeLists.txt.  It says formula, work
 *      split and CPU twin; sums are f32; every access is inside its bound; loops that grow with the
 *      shape are rolled, and their count per invocation (entries included) stays below
 *      GEN_VK_LOOP_LIMIT: gen_vk_check_loops().
 *   2. An encode() in the file named like its CPU twin, ending in a gen_vk_op: a dispatch for each
 *      window of rows (gen_vk_dispatch_new, gen_vk_constant..., gen_vk_bind..., gen_vk_push,
 *      gen_vk_groups), with a C struct that repeats the shader's push constants.
 * The tests of tests/ops run on this backend too (ops-NAME-vulkan).
 * A fusion is accepted in supports() when encode() handles node->epilogue. */
#include "gen/vulkan/compile.h"

#include <string.h>

const gen_vk_op *gen_vk_op_of(const gen_node *node)
{
    const gen_vk_op *op = gen_vk_ops[node->op];
    if (op->supports)
        return op->supports(node) ? op : NULL;
    const gen_epilogue *e = &node->epilogue;
    return !e->act && !e->post_act && !e->residual ? op : NULL;
}

gen_vk_form gen_vk_form_of(const gen_node *node, int i)
{
    const gen_vk_op *op = gen_vk_ops[node->op];
    const gen_vk_form form = op->form ? op->form(node, i) : GEN_VK_ACTIVATION;
    if (form != GEN_VK_ACTIVATION)
        return form;
    return node->output->dtype == GEN_F16 ? GEN_VK_F16 : GEN_VK_F32;
}

/* ---- for the ops ---------------------------------------------------------------------------- */

void gen_vk_compile_fail(gen_vk_compiler *c, gen_status status, const char *what)
{
    if (!c->status)
        c->status = gen_fail(c->err, status, "%s: %s",
                             c->node && c->node->name[0] ? c->node->name : "unnamed op", what);
}

gen_vk_dispatch *gen_vk_dispatch_new(gen_vk_compiler *c, const char *shader)
{
    gen_vk_plan *p = c->out;
    if (p->num_dispatches == p->capacity && !c->status) {
        const int capacity = p->capacity ? 2 * p->capacity : 64;
        gen_vk_dispatch *grown = gen_realloc(p->dispatches, (size_t)capacity * sizeof *grown);
        if (grown) {
            p->dispatches = grown;
            p->capacity = capacity;
        } else {
            c->status = gen_no_memory(c->err, "plan", (size_t)capacity * sizeof *grown);
        }
    }
    gen_vk_dispatch *d = c->status ? &c->dummy : &p->dispatches[p->num_dispatches++];
    memset(d, 0, sizeof *d);
    d->node = c->node;
    d->stage = c->stage;
    d->shader = shader;
    return d;
}

void gen_vk_copy_tensor(gen_vk_compiler *c, const gen_tensor *t, bool is_result)
{
    VkDeviceSize inside;
    const gen_vk_buffer *arena = gen_vk_arena(c->vk, t->arena_offset, &inside);
    gen_vk_dispatch *d = gen_vk_dispatch_new(c, NULL);
    const gen_vk_range device = {arena, inside, t->arena_size, !is_result};
    const gen_vk_range host = {&c->out->io, (VkDeviceSize)c->out->io_offset[t->id], t->arena_size,
                               is_result};
    d->num_ranges = 2;
    d->ranges[0] = is_result ? device : host;
    d->ranges[1] = is_result ? host : device;
    d->bytes = 2.0 * (double)t->arena_size;
}

void gen_vk_constant(gen_vk_dispatch *d, uint32_t value)
{
    d->constants[d->num_constants++] = value;
}

static void add_range(gen_vk_compiler *c, gen_vk_dispatch *d, const gen_vk_buffer *buffer,
                      VkDeviceSize offset, VkDeviceSize size, gen_vk_access access)
{
    if (size > c->vk->max_binding)
        gen_vk_compile_fail(c, GEN_ERROR_MEMORY,
                            "a part of a tensor is larger than what this device shows a shader");
    d->ranges[d->num_ranges++] = (gen_vk_range){buffer, offset, size, access == GEN_VK_WRITE};
    d->bytes += (double)size;
}

/* The buffer with elements first..first+count of a weight, and where they start. */
static const gen_vk_buffer *find_weight(gen_vk_compiler *c, const gen_weight *w, gen_vk_form form,
                                        size_t first, size_t count, size_t size,
                                        VkDeviceSize *start)
{
    const gen_vk_item *item = gen_vk_stream_find(&c->out->stream, c->stage, w, form);
    if (item) {
        *start = item->offset + first * size;
        return &c->vk->slots[c->stage % 2];
    }
    const gen_vk_weight *piece = gen_vk_find_weight(c->vk, w, form, first);
    if (first + count > piece->first + piece->count)
        gen_vk_compile_fail(c, GEN_ERROR_MEMORY,
                            "a weight is larger than one allocation of this device");
    *start = piece->offset + (first - piece->first) * size;
    return &piece->block->buffer;
}

uint32_t gen_vk_bind(gen_vk_compiler *c, gen_vk_dispatch *d, const gen_tensor *t, int64_t first,
                     int64_t count, gen_vk_access access)
{
    int64_t offset;
    const gen_tensor *owner = gen_tensor_owner(t, &offset);
    VkDeviceSize start;
    const gen_vk_buffer *buffer = gen_vk_arena(c->vk, owner->arena_offset, &start);
    size_t element = gen_dtype_size(owner->dtype);
    if (owner->kind == GEN_KIND_WEIGHT) {
        int input = 0;
        while (input < c->node->num_inputs - 1 && c->node->inputs[input] != t)
            input++;
        const gen_vk_form form = gen_vk_form_of(c->node, input);
        element = gen_dtype_size(gen_vk_form_dtype(owner->weight, form));
        buffer = find_weight(c, owner->weight, form, (size_t)(offset + first), (size_t)count,
                             element, &start);
    } else {
        start += (VkDeviceSize)(offset + first) * element;
    }
    const VkDeviceSize aligned = start / c->vk->binding_alignment * c->vk->binding_alignment;
    /* whole words: weights of 16 bits are read in pairs, and have room behind them */
    const VkDeviceSize size = (start - aligned + (VkDeviceSize)count * element + 3) / 4 * 4;
    add_range(c, d, buffer, aligned, size, access);
    return (uint32_t)((start - aligned) / element);
}

uint32_t gen_vk_bind_rows(gen_vk_compiler *c, gen_vk_dispatch *d, const gen_tensor *t, int64_t row,
                          int64_t rows, gen_vk_access access)
{
    return gen_vk_bind(c, d, t, row * t->ld, (rows - 1) * t->ld + t->dims[t->rank - 1], access);
}

void gen_vk_bind_nothing(gen_vk_dispatch *d)
{
    d->ranges[d->num_ranges] = d->ranges[0];
    d->ranges[d->num_ranges++].is_written = false;
}

VkDeviceSize gen_vk_take_scratch(gen_vk_compiler *c, VkDeviceSize size)
{
    const VkDeviceSize at = c->scratch_used;
    c->scratch_used += (size + GEN_VK_ALIGNMENT - 1) / GEN_VK_ALIGNMENT * GEN_VK_ALIGNMENT;
    return at;
}

void gen_vk_bind_scratch(gen_vk_compiler *c, gen_vk_dispatch *d, VkDeviceSize offset,
                         VkDeviceSize size, gen_vk_access access)
{
    add_range(c, d, &c->vk->scratch, offset, size, access);
}

void gen_vk_push(gen_vk_dispatch *d, const void *constants, size_t size)
{
    memcpy(d->push, constants, size);
    d->push_size = (uint32_t)size;
}

void gen_vk_groups(gen_vk_compiler *c, gen_vk_dispatch *d, int64_t x, int64_t y, int64_t z)
{
    if (x > GEN_VK_MAX_GROUPS || y > GEN_VK_MAX_GROUPS || z > GEN_VK_MAX_GROUPS)
        gen_vk_compile_fail(c, GEN_ERROR_INTERNAL, "too many workgroups for one dispatch");
    d->groups[0] = (uint32_t)x;
    d->groups[1] = (uint32_t)y;
    d->groups[2] = (uint32_t)z;
}

void gen_vk_groups_for(gen_vk_compiler *c, gen_vk_dispatch *d, int64_t invocations,
                       uint32_t workgroup)
{
    const int64_t groups = gen_vk_divide_up(invocations, workgroup);
    const int64_t rows = gen_vk_divide_up(groups, GEN_VK_MAX_GROUPS);
    gen_vk_groups(c, d, gen_vk_divide_up(groups, rows), rows, 1);
}

int64_t gen_vk_window_elements(const gen_vk_compiler *c)
{
    return (int64_t)((c->vk->max_binding - c->vk->binding_alignment) / sizeof(float));
}

int64_t gen_vk_window_rows(const gen_vk_compiler *c, const gen_tensor *t)
{
    const int64_t width = t->dims[t->rank - 1], room = gen_vk_window_elements(c);
    return room < width ? 1 : (room - width) / t->ld + 1;
}

void gen_vk_check_loops(gen_vk_compiler *c, int64_t iterations)
{
    if (iterations > GEN_VK_LOOP_LIMIT)
        gen_vk_compile_fail(c, GEN_ERROR_INTERNAL, "a loop too long for one invocation");
}

/* ---- the plan ------------------------------------------------------------------------------- */

static bool is_device_input(const gen_tensor *t)
{
    return t->kind == GEN_KIND_INPUT && t->arena_size && t->dtype != GEN_I32;
}

/* Results that are fetched after each run; states stay on the device. */
static bool is_result(const gen_tensor *t)
{
    return t->kind == GEN_KIND_VALUE && t->is_output && t->arena_size && !t->carried_in;
}

static bool is_gathered(const gen_tensor *t)
{
    return t->kind == GEN_KIND_VALUE && t->arena_size && t->producer->op == GEN_OP_EMBEDDING;
}

/* Places what the host writes and reads: inputs, outputs, rows gathered from tables.  An input that
 * holds a state has no place: it is written into the arena when it is set. */
static gen_status place_io(int64_t **out, VkDeviceSize *size, const gen_plan *plan, gen_error *err)
{
    const gen_graph *g = gen_plan_graph(plan);
    const int n = gen_graph_num_tensors(g);
    int64_t *offset = *out = gen_calloc((size_t)(n + 1), sizeof *offset);
    if (!offset)
        return gen_no_memory(err, "plan", (size_t)n * sizeof *offset);
    *size = 0;
    for (int i = 0; i < n; i++)
        if (gen_graph_tensor(g, i)->carried_in)
            offset[gen_graph_tensor(g, i)->carried_in->id] = -1;
    for (int i = 0; i < n; i++) {
        const gen_tensor *t = gen_graph_tensor(g, i);
        const bool has_place = is_device_input(t) || is_gathered(t) || is_result(t);
        if (!has_place || offset[i] < 0) {
            offset[i] = -1;
            continue;
        }
        offset[i] = (int64_t)*size;
        *size += gen_vk_round_up(t->arena_size);
    }
    return GEN_OK;
}

static gen_status make_io(gen_vulkan *vk, const gen_plan *plan, gen_vk_plan *out, gen_error *err)
{
    VkDeviceSize size;
    GEN_TRY(place_io(&out->io_offset, &size, plan, err));
    return gen_vk_buffer_new(vk, &out->io, size, GEN_VK_READ_MEMORY, "inputs and outputs", err);
}

/* The host writes and reads where the device works, or staging lies between. */
static gen_status measure_io(gen_vulkan *vk, const gen_plan *plan, gen_backend_needs *needs,
                             gen_error *err)
{
    VkDeviceSize size;
    int64_t *offset;
    const gen_status status = place_io(&offset, &size, plan, err);
    gen_free(offset);
    if (!status && gen_vk_is_own_memory(vk, GEN_VK_READ_MEMORY))
        needs->io = (size_t)gen_vk_round_up(size ? size : 1);
    if (!gen_vk_is_mapped(vk, GEN_VK_DEVICE_MEMORY))
        needs->staging = 2 * (size_t)GEN_VK_STAGING_BYTES;
    return status;
}

/* Tables of embeddings stay on the host. */
static gen_status check_tables(const gen_plan *plan, gen_error *err)
{
    for (int s = 0; s < gen_plan_num_steps(plan); s++) {
        const gen_node *node = gen_plan_step(plan, s);
        if (node->op == GEN_OP_EMBEDDING)
            GEN_TRY(gen_weight_check_finite(node->inputs[1]->weight, err));
    }
    return GEN_OK;
}

static void transfer_inputs(gen_vk_compiler *c, const gen_graph *g)
{
    for (int i = 0; i < gen_graph_num_tensors(g); i++)
        if (is_device_input(gen_graph_tensor(g, i)) && c->out->io_offset[i] >= 0)
            gen_vk_copy_tensor(c, gen_graph_tensor(g, i), false);
}

static void transfer_outputs(gen_vk_compiler *c, const gen_graph *g)
{
    for (int i = 0; i < gen_graph_num_tensors(g); i++)
        if (is_result(gen_graph_tensor(g, i)))
            gen_vk_copy_tensor(c, gen_graph_tensor(g, i), true);
}

static gen_status get_pipelines(gen_vulkan *vk, gen_vk_plan *p, gen_error *err)
{
    for (int i = 0; i < p->num_dispatches; i++) {
        gen_vk_dispatch *d = &p->dispatches[i];
        const bool is_half = d->node && d->node->output->dtype == GEN_F16;
        if (d->shader)
            GEN_TRY(gen_vk_get_pipeline(vk, &d->pipeline, d->shader, is_half, d->num_ranges,
                                        d->num_constants, d->constants, err));
    }
    return GEN_OK;
}

gen_status gen_vk_compile(gen_vulkan *vk, gen_plan *plan, gen_vk_plan *out, gen_error *err)
{
    const gen_plan_stats *stats = gen_plan_get_stats(plan);
    GEN_TRY(check_tables(plan, err));
    GEN_TRY(make_io(vk, plan, out, err));
    GEN_TRY(gen_vk_grow_arena(vk, stats->arena, err));
    GEN_TRY(gen_vk_buffer_grow(vk, &vk->scratch, stats->scratch, GEN_VK_DEVICE_MEMORY,
                               "working memory", err));
    GEN_TRY(gen_vk_bring_weights(vk, plan, &out->stream, err)); /* with what is left */
    gen_vk_compiler c = {.vk = vk, .out = out, .err = err};
    transfer_inputs(&c, gen_plan_graph(plan));
    for (int s = 0; s < gen_plan_num_steps(plan) && !c.status; s++) {
        c.node = gen_plan_step(plan, s);
        c.stage = out->stream.stage_of_step ? out->stream.stage_of_step[s] : 0;
        const int first = out->num_dispatches;
        gen_vk_ops[c.node->op]->encode(&c, c.node);
        for (int i = first; i < out->num_dispatches; i++) /* the work of a node in equal parts */
            out->dispatches[i].flops =
                gen_node_flops(c.node) / (double)(out->num_dispatches - first);
    }
    c.node = NULL;
    transfer_outputs(&c, gen_plan_graph(plan));
    GEN_TRY(c.status);
    GEN_TRY(get_pipelines(vk, out, err));
    GEN_TRY(gen_vk_buffer_grow(vk, &vk->scratch, c.scratch_used, GEN_VK_DEVICE_MEMORY,
                               "working memory", err));
    return gen_vk_record(vk, out, err);
}

gen_status gen_vk_measure(gen_vulkan *vk, const gen_plan *plan, gen_backend_needs *needs,
                          gen_error *err)
{
    *needs = (gen_backend_needs){0};
    for (int s = 0; s < gen_plan_num_steps(plan); s++) {
        const gen_node *node = gen_plan_step(plan, s);
        const gen_vk_op *op = gen_vk_ops[node->op];
        if (op->scratch)
            needs->scratch +=
                (op->scratch(node) + GEN_VK_ALIGNMENT - 1) / GEN_VK_ALIGNMENT * GEN_VK_ALIGNMENT;
    }
    GEN_TRY(measure_io(vk, plan, needs, err));
    return gen_vk_stream_measure(vk, plan, needs, err);
}
