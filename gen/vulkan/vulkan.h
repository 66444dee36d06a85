/* vulkan.h - the Vulkan backend: the same graphs on any GPU with Vulkan 1.2.
 *
 * The loader library is opened at run time, so a program with this backend starts on machines that
 * have none.  compile.c explains how a plan becomes dispatches and how an op is added. */
#ifndef GEN_VULKAN_VULKAN_H
#define GEN_VULKAN_VULKAN_H

#include "gen/core/backend.h"

struct gen_vk_api;

typedef enum gen_vulkan_kind {
    GEN_VULKAN_DISCRETE,
    GEN_VULKAN_INTEGRATED,
    GEN_VULKAN_VIRTUAL,
    GEN_VULKAN_SOFTWARE /* runs on the CPU: only taken when named */
} gen_vulkan_kind;

typedef struct gen_vulkan_options {
    const char *device; /* "0": that index; else a part of the name; "": the best device; NULL:
                           the best that is no software driver */
    size_t mem_limit;   /* bytes of device memory, 0: what the device can spare */
    bool use_f16;       /* plans that allow it keep activations in f16; errors: DEVICE without
                           16-bit storage */
    bool validate;      /* with the validation layer: its first message fails compile or run; also
                           when GEN_VULKAN_VALIDATE is 1 in the environment */
    bool no_matrices;   /* leaves matrix units alone */
    bool no_lanes;      /* sums go through shared memory alone, not between lanes of subgroups */
    void (*message)(void *user, const char *text); /* each message of the layer, may be NULL */
    void *message_user;
    const char *cache_dir; /* folder for compiled shaders, made when missing; NULL: none */
    void (*note)(void *user, const char *text); /* a line for people, may be NULL */
    void *note_user;
    /* For tests.  All 0: what the device has. */
    size_t max_binding;  /* bytes a shader sees of a buffer: larger tensors go in windows */
    size_t max_block;    /* bytes of one piece of the arena, a multiple of 256 */
    size_t max_buffer;   /* bytes of one allocation */
    size_t weight_room;  /* bytes for the weights of a plan: more are streamed */
    int max_slice_nodes; /* dispatches in one submission */
    double patience;     /* seconds to wait for work at most */
    bool always_stages;  /* uploads through staging memory also where it could be written */
    void (*wrap)(struct gen_vk_api *api, void *user); /* may replace entry points, called after
                                                         the loader filled some in */
    void *wrap_user;
} gen_vulkan_options;

/* A device as the driver describes it. */
typedef struct gen_vulkan_device {
    int index;
    char name[256];
    char driver[320]; /* name and version */
    gen_vulkan_kind kind;
    unsigned api_major, api_minor, api_patch;
    unsigned vendor_id, device_id, driver_version;
    unsigned char uuid[16], cache_uuid[16];
    uint64_t memory;     /* bytes of the device's own heaps */
    uint64_t budget;     /* bytes of it a program may use now */
    bool has_budget;     /* the driver told it: VK_EXT_memory_budget */
    uint64_t max_buffer; /* bytes of one allocation */
    uint64_t max_binding;
    /* What it could do; gen needs none of them. */
    bool has_16bit_storage, has_8bit_storage, has_float16, has_matrices;
    bool has_lanes; /* lanes of a subgroup can exchange numbers */
    unsigned subgroup_size;
    char refused[128]; /* why gen cannot use it, or "" */
} gen_vulkan_device;

/* What a backend did since it was opened. */
typedef struct gen_vulkan_stats {
    uint64_t uploads, downloads; /* transfers of tensors between runs, not of weights */
    uint64_t upload_bytes, download_bytes;
    uint64_t weight_bytes;             /* on the device now */
    uint64_t memory_bytes, peak_bytes; /* allocated in its own heaps: now, and at most */
    uint64_t streamed_bytes;           /* of weights, brought in runs */
    uint64_t runs, submissions, dispatches, copies, barriers; /* of all runs */
    uint64_t pipelines;                                       /* made */
    uint64_t messages;                                        /* of the validation layer */
} gen_vulkan_stats;

/* What one run of a compiled plan of this backend takes. */
typedef struct gen_vulkan_counts {
    int nodes, fused; /* of the graph, and those that do the work of two or more */
    int dispatches, copies, barriers, submissions;
    int stages; /* of streamed weights; 0: all of them stay on the device */
} gen_vulkan_counts;
gen_vulkan_counts gen_vulkan_count(const gen_plan *plan);

/* All devices, in the order of their index; *out is freed with gen_free().  Errors: DEVICE when
 * there is no loader or no driver; MEMORY. */
gen_status gen_vulkan_list(gen_vulkan_device **out, int *count, const gen_vulkan_options *options,
                           gen_error *err);

/* 64 hex digits that change with the device, its driver and gen's shaders. */
void gen_vulkan_key(const gen_vulkan_device *device, char out[65]);
/* The name of shader i of this build, NULL past the end. */
const char *gen_vulkan_shader_at(int i);

/* Errors: DEVICE when there is no loader, no driver or no device that fits; ARGUMENT for a name
 * that fits none or several; MEMORY. */
gen_status gen_vulkan_open(gen_backend **out, const gen_vulkan_options *options, gen_error *err);

/* Whether products of activations in f16 go to the device's matrix units; and makes plans compiled
 * from now on use them, where there are any, or do without. */
bool gen_vulkan_uses_matrices(const gen_backend *backend);
void gen_vulkan_use_matrices(gen_backend *backend, bool wanted);
/* The same for sums between the lanes of subgroups. */
bool gen_vulkan_uses_lanes(const gen_backend *backend);
void gen_vulkan_use_lanes(gen_backend *backend, bool wanted);

/* "llvmpipe (LLVM 15.0.6, 256 bits), Mesa 22.3.6" into buf; returns buf. */
const char *gen_vulkan_describe(const gen_backend *backend, char *buf, size_t size);
const gen_vulkan_device *gen_vulkan_device_of(const gen_backend *backend);
gen_vulkan_stats gen_vulkan_get_stats(const gen_backend *backend);

#endif
