/* spirv.h - what a shader asks of a device, read from its module. */
#ifndef GEN_TESTS_OPS_SPIRV_H
#define GEN_TESTS_OPS_SPIRV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct spirv_needs {
    uint32_t workgroup[3], invocations;
    uint32_t shared_bytes; /* of a workgroup */
    uint32_t push_bytes;
    uint32_t num_buffers, highest_binding;
    bool needs_16bit_storage;
    bool needs_lanes;    /* that exchange numbers within a subgroup */
    bool needs_features; /* other capabilities beyond those of every device */
} spirv_needs;

/* What the module asks for with these specialisation constants, by constant_id (the rest as the
 * shader says).  false: the module holds something this reader does not know; *why says what. */
bool spirv_measure(const uint32_t *code, size_t size, const uint32_t *constants, int num_constants,
                   spirv_needs *out, const char **why);

/* NULL, or which of the limits every Vulkan device keeps (but for 256 invocations, which gen asks
 * for) the shader goes beyond. */
const char *spirv_excess(const spirv_needs *needs);

#endif
