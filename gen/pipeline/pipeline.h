/* pipeline.h - inside the library: what stands behind the public objects of gen.h.
 *
 * context.c owns the backend and the limits, backends.c chooses it, model.c opens the components of
 * a model through registry.c, prompt_states.c encodes prompts, denoise.c joins network and sampler
 * layer, generate.c runs it all, estimate.c tells the cost beforehand. */
#ifndef GEN_PIPELINE_PIPELINE_H
#define GEN_PIPELINE_PIPELINE_H

#include "gen/core/backend.h"
#include "gen/core/json.h"
#include "gen/cpu/cpu.h"

struct gen_context {
    gen_backend *backend;
    gen_backend *left; /* the one that was left for the CPU, or NULL */
    char backend_name[96];
    bool is_auto; /* the device was gen's choice, so that it may choose another */
    gen_cpu_options cpu;
    uint64_t mem_limit;  /* bytes, never 0; of a device's own memory where that is used */
    uint64_t host_limit; /* the same of the machine's */
    bool limit_is_users; /* asked for, not found */
    bool is_cold;        /* without the shaders compiled before */
    gen_log_fn log;
    void *log_user;
};

void gen_log(const gen_context *context, gen_log_level level, const char *format, ...)
    GEN_PRINTF(3, 4);

/* As gen_context_new(); a cold context finds no shaders compiled before and leaves none. */
gen_status gen_context_open(gen_context **out, const gen_context_params *params, bool is_cold,
                            gen_error *err);

/* Opens the backend params->device names into context->backend, and names it.  The limits of the
 * context are set already.  Errors: as gen_context_new(). */
gen_status gen_open_backend(gen_context *context, const gen_context_params *params, gen_error *err);

/* Makes the CPU the backend of the context, where it is not.  The one before lives on to the end,
 * as models may still refer to it.  Errors: MEMORY. */
gen_status gen_context_use_cpu(gen_context *context, gen_error *err);
bool gen_backend_is_cpu(const gen_backend *backend);

/* Whether this machine may have a GPU at all, told without opening any driver. */
bool gen_may_have_gpu(void);

/* The path of a file or folder of assets/, to be freed: $GEN_ASSETS, then share/gen beside the
 * program or library, then the source tree of a build.  Errors: MODEL when it is in none of them.
 */
gen_status gen_find_asset(char **out, const char *name, gen_error *err);

/* Bytes this process may still use: what the system has available, cut by a cgroup limit. */
uint64_t gen_available_memory(void);

#endif
