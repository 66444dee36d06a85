/* context.c - threads, backend, memory limit, log. */
#include "gen/pipeline/pipeline.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "gen/core/alloc.h"

const char *gen_version(void)
{
#define TEXT(x)          #x
#define VERSION(a, b, c) TEXT(a) "." TEXT(b) "." TEXT(c)
    return VERSION(GEN_VERSION_MAJOR, GEN_VERSION_MINOR, GEN_VERSION_PATCH);
}

void gen_log(const gen_context *context, gen_log_level level, const char *format, ...)
{
    if (!context->log)
        return;
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    context->log(context->log_user, level, line);
}

/* ---- memory of the machine ------------------------------------------------------------------ */

/* The number after `key` in a file of "key number" lines, or UINT64_MAX. */
static uint64_t number_in(const char *path, const char *key)
{
    FILE *f = fopen(path, "r");
    char line[256];
    uint64_t value = UINT64_MAX;
    if (!f)
        return value;
    const size_t length = strlen(key);
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, key, length) == 0 && sscanf(line + length, "%" SCNu64, &value) == 1)
            break;
    }
    fclose(f);
    return value;
}

uint64_t gen_available_memory(void)
{
    uint64_t bytes = number_in("/proc/meminfo", "MemAvailable:");
    bytes = bytes > UINT64_MAX / 1024 ? (uint64_t)4 << 30 : bytes * 1024;
    const uint64_t limit = number_in("/sys/fs/cgroup/memory.max", "");
    const uint64_t used = number_in("/sys/fs/cgroup/memory.current", "");
    if (limit != UINT64_MAX && used != UINT64_MAX) {
        const uint64_t left = limit > used ? limit - used : 0;
        if (left < bytes)
            bytes = left;
    }
    return bytes;
}

/* ---- contexts ------------------------------------------------------------------------------- */

gen_status gen_context_new(gen_context **out, const gen_context_params *params, gen_error *err)
{
    return gen_context_open(out, params, false, err);
}

gen_status gen_context_open(gen_context **out, const gen_context_params *params, bool is_cold,
                            gen_error *err)
{
    gen_context_params p = {0};
    if (params)
        memcpy(&p, params, params->struct_size < sizeof p ? params->struct_size : sizeof p);
    if (p.num_threads < 0)
        return gen_fail(err, GEN_ERROR_ARGUMENT, "threads: %d is not possible", p.num_threads);
    gen_context *context = gen_calloc(1, sizeof *context);
    if (!context)
        return gen_no_memory(err, "context", sizeof *context);
    context->is_cold = is_cold;
    context->log = p.log;
    context->log_user = p.log_user;
    context->limit_is_users = p.mem_limit != 0;
    context->host_limit = p.mem_limit ? p.mem_limit : gen_available_memory();
    context->mem_limit = context->host_limit;
    const gen_status status = gen_open_backend(context, &p, err);
    if (status) {
        gen_free(context);
        return status;
    }
    *out = context;
    return GEN_OK;
}

void gen_context_free(gen_context *context)
{
    if (!context)
        return;
    context->backend->fns->close(context->backend);
    if (context->left)
        context->left->fns->close(context->left);
    gen_free(context);
}

const char *gen_context_backend(const gen_context *context)
{
    return context->backend_name;
}
