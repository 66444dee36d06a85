/* loops.c - see loops.h. */
#include "gen/vulkan/loops.h"

#include <string.h>

int64_t gen_vk_step_of(const gen_tensor *t, int dim)
{
    int64_t step = dim == t->rank - 1 ? 1 : t->ld;
    for (int i = dim + 1; i < t->rank - 1; i++)
        step *= t->dims[i];
    return step;
}

void gen_vk_add_loop(gen_vk_loops *l, int64_t dim, const int64_t *step)
{
    int i = l->rank - 1;
    if (dim == 1)
        return;
    bool joins = i >= 0;
    for (int k = 0; joins && k < l->num_tensors; k++)
        joins = l->step[k][i] == step[k] * dim;
    if (joins)
        l->dims[i] *= dim;
    else
        l->dims[i = l->rank++] = dim;
    for (int k = 0; k < l->num_tensors; k++)
        l->step[k][i] = step[k];
}

/* Elements tensor k spans in loops first.. with `count` turns of the first of them. */
static int64_t span(const gen_vk_loops *l, int k, int first, int64_t count)
{
    int64_t n = 1 + (count - 1) * l->step[k][first];
    for (int i = first + 1; i < l->rank; i++)
        n += (l->dims[i] - 1) * l->step[k][i];
    return n;
}

/* Turns turn..turn+count of loop `first` and all within; at: where the tensors are. */
static void encode_part(gen_vk_compiler *c, const gen_vk_loops *l, int first, const int64_t *at,
                        int64_t turn, int64_t count)
{
    uint32_t push[GEN_VK_MAX_LOOPS * (1 + GEN_VK_LOOP_TENSORS) + 1 + GEN_VK_LOOP_TENSORS] = {0};
    uint32_t *steps = push + GEN_VK_MAX_LOOPS;
    uint32_t *total = steps + GEN_VK_MAX_LOOPS * l->num_tensors;
    gen_vk_dispatch *d = gen_vk_dispatch_new(c, l->shader);
    gen_vk_constant(d, l->constant);
    gen_vk_constant(d, (uint32_t)(l->rank - first));
    *total = 1;
    for (int i = first; i < l->rank; i++) {
        push[i - first] = (uint32_t)(i == first ? count : l->dims[i]);
        *total *= push[i - first];
        for (int k = 0; k < l->num_tensors; k++)
            steps[k * GEN_VK_MAX_LOOPS + i - first] = (uint32_t)l->step[k][i];
    }
    for (int k = 0; k < l->num_tensors; k++)
        total[1 + k] = gen_vk_bind(c, d, l->tensors[k], at[k] + turn * l->step[k][first],
                                   span(l, k, first, count),
                                   k == l->num_tensors - 1 ? GEN_VK_WRITE : GEN_VK_READ);
    gen_vk_push(d, push, (size_t)(total + 1 + l->num_tensors - push) * sizeof *push);
    gen_vk_groups_for(c, d, *total, 256);
}

/* Cuts the outermost loop into parts that fit; where not even one turn fits, the next one. */
static void encode_from(gen_vk_compiler *c, const gen_vk_loops *l, int first, const int64_t *at)
{
    const int64_t room = gen_vk_window_elements(c);
    int64_t count = l->dims[first];
    for (int k = 0; k < l->num_tensors; k++)
        if (span(l, k, first, count) > room) {
            const int64_t inner = span(l, k, first, 1);
            count = inner > room ? 0 : gen_vk_min(count, (room - inner) / l->step[k][first] + 1);
        }
    for (int64_t turn = 0; turn < l->dims[first]; turn += count ? count : 1) {
        if (count) {
            encode_part(c, l, first, at, turn, gen_vk_min(count, l->dims[first] - turn));
            continue;
        }
        int64_t inside[GEN_VK_LOOP_TENSORS];
        for (int k = 0; k < l->num_tensors; k++)
            inside[k] = at[k] + turn * l->step[k][first];
        encode_from(c, l, first + 1, inside);
    }
}

void gen_vk_encode_loops(gen_vk_compiler *c, const gen_vk_loops *l)
{
    gen_vk_loops loops = *l;
    if (loops.rank == 0)
        loops.dims[loops.rank++] = 1;
    encode_from(c, &loops, 0, loops.start);
}
