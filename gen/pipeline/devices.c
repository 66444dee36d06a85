/* devices.c - what this machine can compute on, for gen_device_list_new(). */
#include <stdio.h>
#include <string.h>

#include "gen/core/alloc.h"
#include "gen/core/cache_file.h"
#include "gen/pipeline/pipeline.h"
#include "gen/pipeline/self_check.h"
#ifdef GEN_HAVE_VULKAN
#include "gen/pipeline/trust.h"
#endif

static gen_status add_cpu(gen_device_list *list, const gen_context *context, gen_error *err)
{
    gen_device *d = &list->devices[list->num_devices++];
    gen_backend *cpu;
    *d = (gen_device){.id = "cpu", .kind = "cpu", .verdict = "the reference", .is_trusted = true};
    GEN_TRY(gen_cpu_open(&cpu, &context->cpu, err));
    gen_cpu_describe(cpu, d->name, sizeof d->name);
    d->memory = context->mem_limit;
    const gen_status status =
        gen_measure_speeds(&d->flops_per_second, &d->bytes_per_second, cpu, err);
    cpu->fns->close(cpu);
    return status;
}

#ifdef GEN_HAVE_VULKAN

static void list_shaders(char *out, size_t size)
{
    const char *name;
    size_t used = 0;
    for (int i = 0; (name = gen_vulkan_shader_at(i)) && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", i ? " " : "", name);
}

static bool has_matrix_shaders(void)
{
    const char *name;
    for (int i = 0; (name = gen_vulkan_shader_at(i)); i++)
        if (strstr(name, "_coop"))
            return true;
    return false;
}

static void add_word(char *out, size_t size, const char *format, unsigned value)
{
    const size_t used = strlen(out);
    if (used + 2 < size) {
        snprintf(out + used, size - used, "%s", used ? ", " : "");
        snprintf(out + strlen(out), size - strlen(out), format, value);
    }
}

static void describe(gen_device *out, const gen_vulkan_device *d)
{
    static const char *const kinds[] = {"discrete", "integrated", "virtual", "software"};
    snprintf(out->id, sizeof out->id, "vulkan:%d", d->index);
    snprintf(out->name, sizeof out->name, "%s", d->name);
    snprintf(out->kind, sizeof out->kind, "%s", kinds[d->kind]);
    snprintf(out->driver, sizeof out->driver, "%s", d->driver);
    snprintf(out->api, sizeof out->api, "%u.%u.%u", d->api_major, d->api_minor, d->api_patch);
    out->memory = d->memory;
    out->max_allocation = d->max_buffer;
    out->max_binding = d->max_binding;
    if (d->refused[0])
        return;
    add_word(out->used, sizeof out->used, "timeline semaphores", 0);
    if (d->has_lanes)
        add_word(out->used, sizeof out->used, "subgroups of %u", d->subgroup_size);
    if (d->has_matrices && has_matrix_shaders())
        add_word(out->used, sizeof out->used, "cooperative matrices", 0);
    else if (d->has_matrices)
        add_word(out->unused, sizeof out->unused, "cooperative matrices", 0);
    if (d->has_16bit_storage)
        add_word(out->used, sizeof out->used, "16-bit storage (--precision f16)", 0);
    if (d->has_8bit_storage)
        add_word(out->unused, sizeof out->unused, "8-bit storage", 0);
    if (d->has_float16)
        add_word(out->unused, sizeof out->unused, "16-bit arithmetic", 0);
    if (d->subgroup_size > 1 && !d->has_lanes)
        add_word(out->unused, sizeof out->unused, "subgroups of %u", d->subgroup_size);
}

static void judge(gen_device *out, const gen_vulkan_device *d, const gen_trust_request *request)
{
    gen_trust_request one = *request;
    gen_verdict v;
    gen_error err = {0};
    gen_backend *backend = NULL;
    if (d->refused[0]) {
        snprintf(out->verdict, sizeof out->verdict, "cannot be used: %s", d->refused);
        return;
    }
    one.options.device = out->id + strlen("vulkan:");
    const gen_status status = gen_trust_open(&backend, &v, &one, &err);
    out->flops_per_second = v.flops_per_second;
    out->bytes_per_second = v.bytes_per_second;
    out->is_trusted = !status;
    if (!status) {
        backend->fns->close(backend);
        snprintf(out->verdict, sizeof out->verdict, "passed %s, %s%s%s", v.date, v.sentence,
                 v.missing[0] ? "; no kernel for: " : "", v.missing);
    } else if (v.state == GEN_VERDICT_FAILED) {
        snprintf(out->verdict, sizeof out->verdict, "failed %s, %s", v.date, v.sentence);
    } else {
        snprintf(out->verdict, sizeof out->verdict, "not checked: %.300s", err.message);
    }
}

/* Which of them auto takes: as gen_trust_open_auto() does. */
static void mark_auto(gen_device_list *list)
{
    gen_device *best = &list->devices[0];
    for (int pass = 0; pass < 3 && best == &list->devices[0]; pass++) {
        static const char *const kinds[] = {"discrete", "integrated", "virtual"};
        for (int i = 1; i < list->num_devices; i++) {
            gen_device *d = &list->devices[i];
            const bool is_worth =
                pass != 1 || d->flops_per_second > list->devices[0].flops_per_second;
            if (d->is_trusted && strcmp(d->kind, kinds[pass]) == 0 && is_worth &&
                (best == &list->devices[0] || d->memory > best->memory))
                best = d;
        }
    }
    best->is_auto = true;
}

static gen_status add_vulkan(gen_device_list *list, const gen_context *context, gen_error *err)
{
    gen_vulkan_device *found = NULL;
    gen_error problem = {0};
    int count = 0;
    char *folder = gen_cache_path("vulkan");
    const gen_trust_request request = {
        .context = context, .folder = folder, .options = {.cache_dir = folder}};
    list_shaders(list->shaders, sizeof list->shaders);
    list->has_vulkan = true;
    list->has_matrix_shaders = has_matrix_shaders();
    gen_status status = gen_vulkan_list(&found, &count, NULL, &problem);
    if (status == GEN_ERROR_MEMORY)
        gen_fail(err, status, "%s", problem.message);
    else if (status)
        snprintf(list->note, sizeof list->note, "%.250s", problem.message);
    gen_device *grown =
        status ? NULL : gen_realloc(list->devices, (size_t)(1 + count) * sizeof *list->devices);
    if (grown)
        list->devices = grown;
    for (int i = 0; grown && i < count; i++) {
        gen_device *d = &list->devices[list->num_devices++];
        *d = (gen_device){0};
        describe(d, &found[i]);
        judge(d, &found[i], &request);
    }
    if (!status && !grown)
        status = gen_no_memory(err, "list of devices", (size_t)count * sizeof *list->devices);
    mark_auto(list);
    gen_free(found);
    gen_free(folder);
    return status == GEN_ERROR_MEMORY ? status : GEN_OK;
}

#else

static gen_status add_vulkan(gen_device_list *list, const gen_context *context, gen_error *err)
{
    (void)context;
    (void)err;
    snprintf(list->note, sizeof list->note, "this build of gen has no Vulkan");
    list->devices[0].is_auto = true;
    return GEN_OK;
}

#endif

gen_status gen_device_list_new(gen_device_list **out, const gen_context_params *params,
                               gen_error *err)
{
    gen_context_params p = {0};
    gen_context context = {.mem_limit = gen_available_memory()};
    if (params)
        memcpy(&p, params, params->struct_size < sizeof p ? params->struct_size : sizeof p);
    context.log = p.log;
    context.log_user = p.log_user;
    context.cpu.num_threads = p.num_threads;
    gen_device_list *list = gen_calloc(1, sizeof *list);
    if (!list)
        return gen_no_memory(err, "list of devices", sizeof *list);
    list->devices = gen_calloc(1, sizeof *list->devices);
    gen_status status = list->devices ? GEN_OK : gen_no_memory(err, "list of devices", 1);
    if (!status)
        status = add_cpu(list, &context, err);
    if (!status)
        status = add_vulkan(list, &context, err);
    if (status)
        gen_device_list_free(list);
    else
        *out = list;
    return status;
}

void gen_device_list_free(gen_device_list *list)
{
    if (!list)
        return;
    gen_free(list->devices);
    gen_free(list);
}
