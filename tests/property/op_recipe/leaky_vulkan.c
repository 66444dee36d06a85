/* leaky_vulkan.c - the recipe for an op: its Vulkan driver. */
#include "gen/vulkan/compile.h"
#include "tests/property/op_recipe/leaky.h"

enum { WORKGROUP = 256 };

typedef struct leaky_params { /* as in leaky.comp */
    uint32_t rows, cols;
    uint32_t x0, ld_x, y0, ld_y;
    float slope;
} leaky_params;

/* Rows of any length, in windows of what the device shows a shader. */
static void encode_leaky(gen_vk_compiler *c, const gen_node *n)
{
    const gen_tensor *x = n->inputs[0], *y = n->output;
    const int64_t rows = gen_tensor_rows(y), cols = y->dims[y->rank - 1];
    const int64_t width = gen_vk_min(cols, gen_vk_window_elements(c));
    const int64_t height = gen_vk_min(gen_vk_window_rows(c, x), gen_vk_window_rows(c, y));
    for (int64_t row = 0; row < rows; row += height)
        for (int64_t col = 0; col < cols; col += width) {
            const int64_t h = gen_vk_min(height, rows - row), w = gen_vk_min(width, cols - col);
            leaky_params p = {(uint32_t)h, (uint32_t)w, .ld_x = (uint32_t)x->ld,
                              .ld_y = (uint32_t)y->ld, .slope = n->p.affine.a};
            gen_vk_dispatch *d = gen_vk_dispatch_new(c, "leaky");
            p.x0 = gen_vk_bind(c, d, x, row * x->ld + col, (h - 1) * x->ld + w, GEN_VK_READ);
            p.y0 = gen_vk_bind(c, d, y, row * y->ld + col, (h - 1) * y->ld + w, GEN_VK_WRITE);
            gen_vk_push(d, &p, sizeof p);
            gen_vk_groups_for(c, d, h * w, WORKGROUP);
        }
}

extern const gen_vk_op gen_vk_leaky;
const gen_vk_op gen_vk_leaky = {.encode = encode_leaky};
