/* stream.c - plans whose weights are more than the device has room for.
 *
 * Some weights stay on the device, spread evenly over the plan; the others come anew in every run.
 * The nodes are cut, in their order, into stages, the streamed weights of each of which fit into a
 * slot; there are two slots, so that one stage computes while the weights of the next are written.
 * Nothing else changes: the same dispatches run on the same numbers. */
#include "gen/vulkan/compile.h"

enum { SMALL_BYTES = 64 << 10 }; /* weights up to here always stay */

/* A node reads a weight. */
typedef struct use {
    gen_weight *weight;
    gen_vk_form form;
    int step;
    int first;         /* the earliest use of the same form of the same weight, perhaps this */
    VkDeviceSize size; /* bytes on the device; 0: it is there already */
    bool is_streamed;
} use;

typedef struct uses {
    use *all;
    int count, capacity;
} uses;

/* ---- what a plan reads ---------------------------------------------------------------------- */

static int find_first(const uses *u, const gen_weight *w, gen_vk_form form)
{
    int i = 0;
    while (i < u->count && (u->all[i].weight != w || u->all[i].form != form))
        i++;
    return i;
}

static gen_status add(gen_vulkan *vk, uses *u, int step, gen_weight *w, gen_vk_form form,
                      gen_error *err)
{
    if (u->count == u->capacity) {
        const int capacity = u->capacity ? 2 * u->capacity : 128;
        use *grown = gen_realloc(u->all, (size_t)capacity * sizeof *grown);
        if (!grown)
            return gen_no_memory(err, "plan", (size_t)capacity * sizeof *grown);
        u->all = grown;
        u->capacity = capacity;
    }
    use one = {w, form, step, find_first(u, w, form), 0, false};
    if (!gen_weight_prepared(w, vk, form))
        one.size = gen_vk_weight_room(gen_vk_form_size(w, form));
    u->all[u->count++] = one;
    return GEN_OK;
}

/* Tables of embeddings stay on the host. */
static gen_status collect(gen_vulkan *vk, const gen_plan *plan, uses *u, gen_error *err)
{
    for (int s = 0; s < gen_plan_num_steps(plan); s++) {
        const gen_node *node = gen_plan_step(plan, s);
        for (int i = 0; i < node->num_inputs && node->op != GEN_OP_EMBEDDING; i++) {
            const gen_tensor *owner = gen_tensor_owner(node->inputs[i], NULL);
            if (owner->kind == GEN_KIND_WEIGHT)
                GEN_TRY(add(vk, u, s, owner->weight, gen_vk_form_of(node, i), err));
        }
    }
    return GEN_OK;
}

/* Small ones, and those that one allocation cannot hold. */
static bool has_to_stay(const gen_vulkan *vk, const use *one)
{
    return one->size <= SMALL_BYTES || one->size > vk->max_buffer;
}

typedef struct needs {
    VkDeviceSize total, always; /* bytes of all weights, and of those that have to stay */
    VkDeviceSize slot;          /* the most that the nodes of one step stream */
} needs;

static needs measure(const gen_vulkan *vk, const uses *u)
{
    needs n = {0};
    VkDeviceSize of_step = 0;
    for (int i = 0; i < u->count; i++) {
        const use *one = &u->all[i];
        if (i == 0 || u->all[i - 1].step != one->step)
            of_step = 0;
        if (one->first == i)
            n.total += one->size;
        if (one->first == i && has_to_stay(vk, one))
            n.always += one->size;
        if (!has_to_stay(vk, one))
            of_step += one->size;
        if (of_step > n.slot)
            n.slot = of_step;
    }
    return n;
}

gen_status gen_vk_stream_measure(gen_vulkan *vk, const gen_plan *plan, gen_backend_needs *out,
                                 gen_error *err)
{
    uses u = {0};
    const gen_status status = collect(vk, plan, &u, err);
    const needs n = measure(vk, &u);
    for (int i = 0; i < u.count; i++)
        if (u.all[i].first == i)
            out->weights += gen_vk_weight_room(gen_vk_form_size(u.all[i].weight, u.all[i].form));
    gen_free(u.all);
    const size_t max = gen_plan_max_weights(plan), least = (size_t)(n.always + 2 * n.slot);
    out->least = least < n.total ? least : (size_t)n.total;
    if (max && out->weights > max && out->least < n.total) {
        out->weights = max > least ? max : least;
        out->slots = (size_t)(2 * n.slot);
    }
    return status;
}

/* ---- the choice ----------------------------------------------------------------------------- */

/* What is left of gen's share of the device. */
static VkDeviceSize room_of(const gen_vulkan *vk, const gen_plan *plan)
{
    const VkDeviceSize max = gen_plan_max_weights(plan);
    const VkDeviceSize budget = vk->base.budget, used = vk->stats.memory_bytes;
    VkDeviceSize room = budget > used ? budget - used : 0;
    if (max && max < room)
        room = max;
    return vk->options.weight_room && vk->options.weight_room < room ? vk->options.weight_room
                                                                     : room;
}

/* Weights stay as long as the share of those that do, up to them, is not above `left` of `large`:
 * so uploads are spread over the run. */
static void choose(const gen_vulkan *vk, uses *u, VkDeviceSize left, VkDeviceSize large)
{
    double due = 0.0;
    VkDeviceSize used = 0;
    for (int i = 0; i < u->count; i++) {
        use *one = &u->all[i];
        if (has_to_stay(vk, one))
            continue;
        if (one->first < i) {
            one->is_streamed = u->all[one->first].is_streamed;
            continue;
        }
        due += (double)one->size * (double)left / (double)large;
        if (due >= (double)one->size && used + one->size <= left) {
            due -= (double)one->size;
            used += one->size;
        } else {
            one->is_streamed = true;
        }
    }
}

static bool is_in_stage(const gen_vk_stream *s, int stage, const use *one)
{
    for (int i = s->num_items - 1; i >= 0 && s->items[i].stage == stage; i--)
        if (s->items[i].weight == one->weight && s->items[i].form == one->form)
            return true;
    return false;
}

static void add_item(gen_vk_stream *s, const use *one, VkDeviceSize *used)
{
    if (is_in_stage(s, s->num_stages - 1, one))
        return;
    s->items[s->num_items++] =
        (gen_vk_item){one->weight, one->form, s->num_stages - 1, *used,
                      gen_vk_form_size(one->weight, one->form) /
                          gen_dtype_size(gen_vk_form_dtype(one->weight, one->form))};
    *used += one->size;
    s->bytes += one->size;
}

/* Packs the streamed weights of one step after another into stages. */
static gen_status cut_stages(gen_vk_stream *s, const uses *u, int num_steps, gen_error *err)
{
    VkDeviceSize used = 0;
    s->items = gen_calloc((size_t)u->count + 1, sizeof *s->items);
    s->stage_of_step = gen_calloc((size_t)num_steps + 1, sizeof *s->stage_of_step);
    if (!s->items || !s->stage_of_step)
        return gen_no_memory(err, "plan", (size_t)u->count * sizeof *s->items);
    s->num_stages = 1;
    for (int step = 0, i = 0; step < num_steps; step++) {
        VkDeviceSize more = 0;
        const int first = i;
        for (; i < u->count && u->all[i].step == step; i++)
            if (u->all[i].is_streamed && !is_in_stage(s, s->num_stages - 1, &u->all[i]))
                more += u->all[i].size;
        if (used + more > s->slot) {
            s->num_stages++;
            used = 0;
        }
        for (int k = first; k < i; k++)
            if (u->all[k].is_streamed)
                add_item(s, &u->all[k], &used);
        s->stage_of_step[step] = s->num_stages - 1;
    }
    return GEN_OK;
}

static gen_status too_small(const gen_vulkan *vk, const needs *n, VkDeviceSize room, gen_error *err)
{
    return gen_fail(
        err, GEN_ERROR_MEMORY,
        "%.1f MiB of weights need at least %.1f MiB on the device, %s has %.1f MiB left",
        (double)n->total / 0x1p20, (double)(n->always + 2 * n->slot) / 0x1p20, vk->info->name,
        (double)room / 0x1p20);
}

static gen_status plan_stream(gen_vulkan *vk, const gen_plan *plan, gen_vk_stream *s, uses *u,
                              gen_error *err)
{
    const needs n = measure(vk, u);
    const VkDeviceSize room = room_of(vk, plan);
    vk->expected_weights = n.total;
    if (n.total <= room)
        return GEN_OK;
    if (n.always + 2 * n.slot > room)
        return too_small(vk, &n, room, err);
    s->slot = n.slot;
    choose(vk, u, room - n.always - 2 * n.slot, n.total - n.always);
    GEN_TRY(cut_stages(s, u, gen_plan_num_steps(plan), err));
    vk->num_streaming++;
    vk->expected_weights = 0;
    for (int i = 0; i < u->count; i++)
        if (u->all[i].first == i && !u->all[i].is_streamed)
            vk->expected_weights += u->all[i].size;
    gen_vk_note(vk,
                "%.1f MiB of weights, %.1f MiB stay on %s: %.1f MiB come anew in every run, "
                "through two buffers of %.1f MiB",
                (double)n.total / 0x1p20, (double)vk->expected_weights / 0x1p20, vk->info->name,
                (double)s->bytes / 0x1p20, (double)s->slot / 0x1p20);
    return GEN_OK;
}

static gen_status bring(gen_vulkan *vk, gen_vk_stream *s, const uses *u, gen_error *err)
{
    for (int i = 0; i < u->count; i++) {
        const use *one = &u->all[i];
        GEN_TRY(one->is_streamed ? gen_weight_check_finite(one->weight, err)
                                 : gen_vk_prepare_weight(vk, one->weight, one->form, err));
    }
    if (!s->num_stages)
        return GEN_OK;
    vk->streaming = NULL;
    for (int i = 0; i < 2; i++)
        GEN_TRY(gen_vk_buffer_grow(vk, &vk->slots[i], s->slot, GEN_VK_STREAM_MEMORY,
                                   "weights to stream", err));
    return GEN_OK;
}

gen_status gen_vk_bring_weights(gen_vulkan *vk, const gen_plan *plan, gen_vk_stream *s,
                                gen_error *err)
{
    uses u = {0};
    gen_status status = collect(vk, plan, &u, err);
    if (!status)
        status = plan_stream(vk, plan, s, &u, err);
    if (!status)
        status = bring(vk, s, &u, err);
    gen_free(u.all);
    return status;
}

void gen_vk_stream_free(gen_vulkan *vk, gen_vk_stream *s)
{
    if (s->num_stages && vk->num_streaming && --vk->num_streaming == 0)
        for (int i = 0; i < 2; i++)
            gen_vk_buffer_free(vk, &vk->slots[i]);
    gen_free(s->items);
    gen_free(s->stage_of_step);
    *s = (gen_vk_stream){0};
}

const gen_vk_item *gen_vk_stream_find(const gen_vk_stream *s, int stage, const gen_weight *w,
                                      gen_vk_form form)
{
    for (int i = 0; i < s->num_items; i++)
        if (s->items[i].stage == stage && s->items[i].weight == w && s->items[i].form == form)
            return &s->items[i];
    return NULL;
}

/* ---- in a run ------------------------------------------------------------------------------- */

bool gen_vk_stream_is_loaded(const gen_vulkan *vk, const gen_vk_stream *s, int stage)
{
    return vk->streaming == s && s->loaded[stage % 2] == stage;
}

/* Starts to fill the slot of a stage, once what was read from it has been. */
static gen_status start(gen_vulkan *vk, gen_vk_stream *s, int stage, gen_error *err)
{
    if (vk->streaming != s) {
        vk->streaming = s;
        s->loaded[0] = s->loaded[1] = s->filling = -1;
    }
    if (s->filling == stage)
        return GEN_OK;
    GEN_TRY(gen_vk_wait(vk, s->last_use[stage % 2], 600.0, err));
    s->loaded[stage % 2] = -1;
    s->filling = stage;
    s->element = 0;
    s->item = 0;
    while (s->item < s->num_items && s->items[s->item].stage < stage)
        s->item++;
    return GEN_OK;
}

gen_status gen_vk_stream_some(gen_vulkan *vk, gen_vk_stream *s, int stage, gen_error *err)
{
    GEN_TRY(start(vk, s, stage, err));
    if (s->item == s->num_items || s->items[s->item].stage != stage) {
        s->loaded[stage % 2] = stage;
        s->filling = -1;
        return GEN_OK;
    }
    const gen_vk_item *it = &s->items[s->item];
    const size_t each = gen_dtype_size(gen_vk_form_dtype(it->weight, it->form));
    const size_t most = GEN_VK_STAGING_BYTES / each, rest = it->count - s->element;
    const size_t count = rest < most ? rest : most;
    GEN_TRY(gen_weight_check_finite(it->weight, err)); /* copies what is a part of another */
    GEN_TRY(gen_vk_write_elements(vk, it->weight, it->form, &vk->slots[stage % 2],
                                  it->offset + s->element * each, s->element, count, err));
    vk->stats.streamed_bytes += count * each;
    s->element += count;
    if (s->element == it->count) {
        s->element = 0;
        s->item++;
    }
    return GEN_OK;
}

gen_status gen_vk_stream_load(gen_vulkan *vk, gen_vk_stream *s, int stage, gen_error *err)
{
    while (!gen_vk_stream_is_loaded(vk, s, stage))
        GEN_TRY(gen_vk_stream_some(vk, s, stage, err));
    return GEN_OK;
}
