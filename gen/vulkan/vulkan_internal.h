/* vulkan_internal.h - what the files of this folder share.
 *
 * instance.c opens the loader and lists devices; device.c opens one; memory.c gives buffers and
 * staging; weights.c brings weights there; stream.c those that do not fit, part by part, in every
 * run; pipeline.c shaders; compile.c turns nodes into dispatches, with the ops in
 * the files named like their twins of gen/cpu; record.c orders them, finds the barriers and fills
 * command buffers; run.c submits; backend.c is the table of core. */
#ifndef GEN_VULKAN_VULKAN_INTERNAL_H
#define GEN_VULKAN_VULKAN_INTERNAL_H

#include "gen/core/plan.h"
#include "gen/vulkan/api.h"
#include "gen/vulkan/vulkan.h"

enum {
    GEN_VK_MAX_BUFFERS = 6,    /* of a shader */
    GEN_VK_MAX_CONSTANTS = 16, /* specialisation constants of a shader */
    GEN_VK_PUSH_BYTES = 128,
    GEN_VK_MAX_GROUPS = 65535, /* along one axis */
    GEN_VK_ALIGNMENT = 256,    /* of everything placed in a buffer */
    GEN_VK_LOOP_LIMIT = 50000, /* iterations of one invocation, loop entries included */
    GEN_VK_MAX_BLOCKS = 256,   /* pieces of the arena */
    GEN_VK_STAGING_BYTES = 16 << 20
};

/* ---- instance.c ---- */

typedef struct gen_vk_instance {
    gen_vk_api api;
    VkInstance handle;
    VkDebugUtilsMessengerEXT messenger;
    VkPhysicalDevice *physical;
    gen_vulkan_device *devices; /* the same order */
    int num_devices;
    bool validates;
    /* the validation layer */
    void (*message)(void *user, const char *text);
    void *message_user;
    uint64_t num_messages;
    char first_message[512];
} gen_vk_instance;

/* Errors: DEVICE (no loader, no driver, no validation layer); MEMORY. */
gen_status gen_vk_instance_new(gen_vk_instance **out, const gen_vulkan_options *options,
                               gen_error *err);
void gen_vk_instance_free(gen_vk_instance *instance); /* accepts NULL */
/* The index of the device that `wanted` names.  Errors: DEVICE, ARGUMENT. */
gen_status gen_vk_choose_device(int *index, const gen_vk_instance *instance, const char *wanted,
                                gen_error *err);

/* ---- memory.c ---- */

/* A VkBuffer with memory of its own.  The handle may change when it grows. */
typedef struct gen_vk_buffer {
    VkBuffer handle;
    VkDeviceMemory memory;
    VkDeviceSize size;
    void *mapped;      /* or NULL */
    VkDeviceSize held; /* bytes counted as the device's own memory */
} gen_vk_buffer;

typedef enum gen_vk_memory_kind {
    GEN_VK_DEVICE_MEMORY, /* for shaders; mapped where the device has no other memory */
    GEN_VK_STREAM_MEMORY, /* for shaders, mapped where the device offers that */
    GEN_VK_UPLOAD_MEMORY, /* written by the host */
    GEN_VK_READ_MEMORY    /* read by the host: cached when there is such a type */
} gen_vk_memory_kind;

/* A block that holds weights, freed with the last of them. */
typedef struct gen_vk_block {
    struct gen_vk_block *next;
    gen_vk_buffer buffer;
    VkDeviceSize used;
    int live;
} gen_vk_block;

/* The blocks of a backend.  Weights may outlive it: then `vk` is NULL and the blocks are gone, and
 * the last weight frees the pool. */
typedef struct gen_vk_pool {
    struct gen_vulkan *vk;
    gen_vk_block *blocks;
    int live; /* weights in all blocks */
} gen_vk_pool;

/* A weight, or the rows of it that one allocation may hold; gen_prepared.data is the first. */
typedef struct gen_vk_weight {
    struct gen_vk_weight *next;
    gen_vk_block *block;
    VkDeviceSize offset, size;
    size_t first, count; /* elements */
} gen_vk_weight;

/* How a weight is stored on the device. */
typedef enum gen_vk_form {
    GEN_VK_STORED,     /* f32, f16 or bf16 as in the file; other types widened to f32 */
    GEN_VK_ACTIVATION, /* as the activations of the plan: one of the next two */
    GEN_VK_F32,
    GEN_VK_F16,
    GEN_VK_CONV, /* as STORED, [Co][kh][kw][Ci] */
    GEN_VK_NUM_FORMS
} gen_vk_form;

/* ---- pipeline.c ---- */

typedef struct gen_vk_shader {
    const char *name;
    const uint32_t *code, *half_code; /* the second: activations in f16; NULL: it has none */
    size_t size, half_size;           /* bytes */
} gen_vk_shader;

extern const gen_vk_shader gen_vk_shaders[]; /* generated; ends with a NULL name */

typedef struct gen_vk_pipeline {
    struct gen_vk_pipeline *next;
    const gen_vk_shader *shader;
    bool is_half;
    int num_buffers, num_constants;
    uint32_t constants[GEN_VK_MAX_CONSTANTS];
    VkPipeline handle;
} gen_vk_pipeline;

/* ---- matrix.c ---- */

/* Fragments m x n x k of the device's matrix units, and the size of the subgroups that share one.
 */
typedef struct gen_vk_matrix {
    uint32_t m, n, k, subgroup; /* m 0: not used */
} gen_vk_matrix;

/* What a device with them is created with. */
typedef struct gen_vk_matrix_chain {
    VkPhysicalDeviceSubgroupSizeControlFeatures control;
#ifdef GEN_VK_HAS_MATRICES
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrices;
#endif
} gen_vk_matrix_chain;

/* ---- the backend ---- */

typedef struct gen_vulkan {
    gen_backend base;
    gen_vulkan_options options;
    char device_name[64]; /* options.device points here */
    char *cache_dir;      /* options.cache_dir points here */
    gen_vk_instance *instance;
    gen_vk_api api; /* with the functions of the device */
    const gen_vulkan_device *info;
    VkPhysicalDevice physical;
    VkPhysicalDeviceLimits limits;
    VkPhysicalDeviceMemoryProperties memory_types;
    VkDevice device;
    VkQueue queue;
    uint32_t queue_family;
    bool has_timestamps;
    size_t max_binding;
    uint64_t max_buffer; /* bytes of one allocation */
    uint32_t binding_alignment;
    gen_vk_matrix offered, matrix; /* of the device; in use */
    bool uses_lanes;
    VkCommandPool command_pool;
    VkSemaphore timeline;
    uint64_t submitted; /* value of the timeline after all submitted work */
    bool is_lost;
    bool is_hung; /* lost, but perhaps still at work: nothing on it can be destroyed */
    VkDescriptorSetLayout set_layouts[GEN_VK_MAX_BUFFERS + 1];
    VkPipelineLayout layouts[GEN_VK_MAX_BUFFERS + 1];
    VkPipelineCache pipeline_cache;
    size_t cached_bytes; /* of it that came from disk */
    double preparing;    /* seconds spent on pipelines */
    double announced_at; /* time of the last note about them */
    uint64_t announced;  /* how many there were then */
    bool is_first_run;   /* of a plan: some drivers compile then */
    gen_vk_pipeline *pipelines;
    gen_vk_pool *pool;
    VkDeviceSize expected_weights; /* bytes the plan under way will still place */
    /* Shared by all plans.  The arena of the planner lies in pieces of base.max_block bytes. */
    gen_vk_buffer arena[GEN_VK_MAX_BLOCKS], scratch;
    gen_vk_buffer slots[2]; /* for weights that are streamed */
    const void *streaming;  /* the plan whose weights are there */
    int num_streaming;      /* plans that use them */
    uint64_t generation;    /* counts their moves */
    struct {
        gen_vk_buffer buffer;
        VkCommandBuffer commands;
        uint64_t value; /* of the timeline, when its copy is done */
    } staging[2];
    int staging_turn;
    double flops_per_second, bytes_per_second; /* measured; guesses at first */
    gen_vulkan_stats stats;
} gen_vulkan;

/* device.c */
gen_status gen_vk_open_device(gen_vulkan *vk, gen_error *err);
void gen_vk_close_device(gen_vulkan *vk);

/* matrix.c */
gen_status gen_vk_find_matrices(gen_vulkan *vk, gen_error *err); /* sets vk->offered, vk->matrix */
void gen_vk_chain_matrices(const gen_vulkan *vk, gen_vk_matrix_chain *chain,
                           VkPhysicalDeviceVulkan12Features *features, VkDeviceCreateInfo *info);
bool gen_vk_is_matrix_shader(const char *name);

/* memory.c.  Every status is DEVICE or MEMORY with a message. */
gen_status gen_vk_buffer_new(gen_vulkan *vk, gen_vk_buffer *out, VkDeviceSize size,
                             gen_vk_memory_kind kind, const char *what, gen_error *err);
void gen_vk_buffer_free(gen_vulkan *vk, gen_vk_buffer *buffer);
/* Makes a buffer at least `size` bytes and writes zeros to it; its contents are lost when it moves.
 */
gen_status gen_vk_buffer_grow(gen_vulkan *vk, gen_vk_buffer *buffer, VkDeviceSize size,
                              gen_vk_memory_kind kind, const char *what, gen_error *err);
/* Makes the arena at least `size` bytes. */
gen_status gen_vk_grow_arena(gen_vulkan *vk, size_t size, gen_error *err);
/* The piece of the arena at `offset`, and the place in it. */
const gen_vk_buffer *gen_vk_arena(const gen_vulkan *vk, size_t offset, VkDeviceSize *inside);
/* Copies from the host to device memory; what is submitted later finds it. */
gen_status gen_vk_write_to(gen_vulkan *vk, const gen_vk_buffer *to, VkDeviceSize offset,
                           const void *data, VkDeviceSize size, gen_error *err);
/* Copies device memory to the host, waiting for it. */
gen_status gen_vk_read_back(gen_vulkan *vk, const gen_vk_buffer *from, VkDeviceSize offset,
                            void *out, VkDeviceSize size, gen_error *err);
/* The next staging slot, free to be filled. */
gen_status gen_vk_take_slot(gen_vulkan *vk, int *out, gen_error *err);
/* Submits a copy between a slot and another buffer. */
gen_status gen_vk_copy_slot(gen_vulkan *vk, int slot, VkBuffer from, VkBuffer to,
                            VkBufferCopy region, gen_error *err);
/* Whether memory of a kind is of the device's own heaps; and whether the host can write to it. */
bool gen_vk_is_own_memory(const gen_vulkan *vk, gen_vk_memory_kind kind);
bool gen_vk_is_mapped(const gen_vulkan *vk, gen_vk_memory_kind kind);
void gen_vk_free_memory(gen_vulkan *vk); /* at the end */

static inline VkDeviceSize gen_vk_round_up(VkDeviceSize n)
{
    return (n + GEN_VK_ALIGNMENT - 1) / GEN_VK_ALIGNMENT * GEN_VK_ALIGNMENT;
}

/* weights.c */

/* Brings a weight onto the device, once per form.  Errors: MODEL (not finite). */
gen_status gen_vk_prepare_weight(gen_vulkan *vk, gen_weight *w, gen_vk_form form, gen_error *err);
/* The piece of a prepared weight that `element` lies in, or NULL. */
const gen_vk_weight *gen_vk_find_weight(const gen_vulkan *vk, const gen_weight *w, gen_vk_form form,
                                        size_t element);
/* Rows (of the first dimension) in a piece. */
int64_t gen_vk_piece_rows(const gen_vulkan *vk, const gen_weight *w, gen_vk_form form);
/* Writes elements first..first+count of a form. */
gen_status gen_vk_write_elements(gen_vulkan *vk, const gen_weight *w, gen_vk_form form,
                                 const gen_vk_buffer *to, VkDeviceSize offset, size_t first,
                                 size_t count, gen_error *err);
/* Type of the elements of a weight in that form: F32, F16 or BF16. */
gen_dtype gen_vk_form_dtype(const gen_weight *w, gen_vk_form form);
size_t gen_vk_form_size(const gen_weight *w, gen_vk_form form); /* bytes */
VkDeviceSize gen_vk_weight_room(VkDeviceSize size);             /* bytes it takes in a block */

/* cache.c */
gen_status gen_vk_open_cache(gen_vulkan *vk, gen_error *err);
void gen_vk_save_cache(gen_vulkan *vk);
void gen_vk_note(const gen_vulkan *vk, const char *format, ...) GEN_PRINTF(2, 3);
/* Says, now and then, that shaders have been in preparation for so many seconds. */
void gen_vk_announce(gen_vulkan *vk, double seconds);
double gen_vk_now(void);

/* pipeline.c */
gen_status gen_vk_make_layouts(gen_vulkan *vk, gen_error *err);
void gen_vk_free_pipelines(gen_vulkan *vk);
/* The pipeline of a shader by name, of its form for activations in f16 where it has one and
 * is_half; made when it is new. */
gen_status gen_vk_get_pipeline(gen_vulkan *vk, const gen_vk_pipeline **out, const char *shader,
                               bool is_half, int num_buffers, int num_constants,
                               const uint32_t *constants, gen_error *err);

/* run.c */
gen_status gen_vk_submit(gen_vulkan *vk, VkCommandBuffer commands, uint64_t *value, gen_error *err);
/* Waits until the timeline has reached `value`.  Errors: DEVICE when it is lost, or does not get
 * there within `seconds`. */
gen_status gen_vk_wait(gen_vulkan *vk, uint64_t value, double seconds, gen_error *err);
gen_status gen_vk_check_messages(const gen_vulkan *vk, gen_error *err);

#endif
