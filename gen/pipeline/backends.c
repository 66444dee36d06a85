/* backends.c - from the words of --device, --gemm and --precision to an open backend. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "gen/core/cache_file.h"
#include "gen/pipeline/pipeline.h"
#ifdef GEN_HAVE_VULKAN
#include "gen/pipeline/trust.h"
#endif

static bool wants_half(const gen_context_params *p)
{
    return p->precision && strcmp(p->precision, "f16") == 0;
}

static bool wants_q8(const gen_context_params *p)
{
    return p->precision && strcmp(p->precision, "q8") == 0;
}

/* ---- the CPU -------------------------------------------------------------------------------- */

static gen_status choose_gemm(gen_cpu_options *options, const char *name, gen_error *err)
{
    if (!name || strcmp(name, "auto") == 0)
        options->gemm = GEN_GEMM_AUTO;
    else if (strcmp(name, "own") == 0)
        options->gemm = GEN_GEMM_OWN;
    else if (strcmp(name, "openblas") == 0)
        options->gemm = GEN_GEMM_OPENBLAS;
    else
        return gen_fail(err, GEN_ERROR_ARGUMENT,
                        "gemm: \"%s\" is not known, expected own or openblas", name);
    return GEN_OK;
}

static gen_status choose_precision(gen_cpu_options *options, const char *name, gen_error *err)
{
    if (!name || strcmp(name, "auto") == 0)
        options->conv = GEN_CONV_AUTO;
    else if (strcmp(name, "f32") == 0)
        options->conv = GEN_CONV_EXACT;
    else if (strcmp(name, "q8") == 0)
        options->weights = GEN_WEIGHTS_Q8;
    else
        return gen_fail(err, GEN_ERROR_ARGUMENT,
                        "precision: \"%s\" is not available on the CPU, expected auto, f32 or q8",
                        name);
    return GEN_OK;
}

static gen_status open_cpu(gen_context *context, gen_error *err)
{
    char what[64];
    GEN_TRY(gen_cpu_open(&context->backend, &context->cpu, err));
    snprintf(context->backend_name, sizeof context->backend_name, "cpu: %s",
             gen_cpu_describe(context->backend, what, sizeof what));
    return GEN_OK;
}

gen_status gen_context_use_cpu(gen_context *context, gen_error *err)
{
    gen_backend *before = context->backend;
    if (gen_backend_is_cpu(before))
        return GEN_OK;
    GEN_TRY(open_cpu(context, err));
    context->mem_limit = context->host_limit;
    context->left = before;
    return GEN_OK;
}

/* ---- Vulkan --------------------------------------------------------------------------------- */

bool gen_may_have_gpu(void)
{
#ifdef __linux__
    static const char *const nodes[] = {"/dev/dri",      "/dev/nvidiactl", "/dev/nvidia0",
                                        "/dev/dxg",      "/dev/kgsl-3d0",  "/dev/mali0",
                                        "/dev/pvr_sync", "/dev/nvhost-gpu"};
    for (size_t i = 0; i < sizeof nodes / sizeof nodes[0]; i++)
        if (access(nodes[i], F_OK) == 0)
            return true;
    return false;
#else
    return true;
#endif
}

#ifdef GEN_HAVE_VULKAN

static void note(void *user, const char *text)
{
    gen_log(user, GEN_LOG_NOTE, "%s", text);
}

static gen_trust_request request_of(gen_context *context, const gen_context_params *p, char *folder)
{
    return (gen_trust_request){.context = context,
                               .folder = folder,
                               .options = {.mem_limit = (size_t)p->mem_limit,
                                           .use_f16 = wants_half(p),
                                           .cache_dir = context->is_cold ? NULL : folder,
                                           .note = note,
                                           .note_user = context}};
}

/* Plans are made for the memory of the device.  Where that is the machine's, what is free counts.
 */
static void use_vulkan(gen_context *context)
{
    gen_backend *b = context->backend;
    const gen_vulkan_kind kind = gen_vulkan_device_of(b)->kind;
    char what[80];
    if ((kind == GEN_VULKAN_INTEGRATED || kind == GEN_VULKAN_SOFTWARE) &&
        context->host_limit < b->budget)
        b->budget = context->host_limit;
    context->mem_limit = b->budget;
    snprintf(context->backend_name, sizeof context->backend_name, "vulkan: %s",
             gen_vulkan_describe(context->backend, what, sizeof what));
}

/* `name` stands behind the colon of vulkan:name, "" without one. */
static gen_status open_vulkan(gen_context *context, const gen_context_params *p, const char *name,
                              gen_error *err)
{
    char *folder = gen_cache_path("vulkan");
    gen_trust_request request = request_of(context, p, folder);
    request.options.device = name;
    const gen_status status = gen_trust_open(&context->backend, NULL, &request, err);
    gen_free(folder);
    if (!status)
        use_vulkan(context);
    return status;
}

static gen_status open_auto(gen_context *context, const gen_context_params *p, gen_error *err)
{
    char why[512] = "";
    context->is_auto = true;
    if (gen_may_have_gpu()) {
        char *folder = gen_cache_path("vulkan");
        const gen_trust_request request = request_of(context, p, folder);
        const gen_status status =
            gen_trust_open_auto(&context->backend, why, sizeof why, &request, err);
        gen_free(folder);
        if (status)
            return status;
    }
    if (context->backend) {
        use_vulkan(context);
        return GEN_OK;
    }
    if (why[0])
        gen_log(context, GEN_LOG_NOTE, "using the CPU: %s", why);
    else
        gen_log(context, GEN_LOG_DEBUG, "using the CPU: this machine has no GPU");
    return open_cpu(context, err);
}

#else

static gen_status open_vulkan(gen_context *context, const gen_context_params *p, const char *name,
                              gen_error *err)
{
    (void)context;
    (void)p;
    (void)name;
    return gen_fail(err, GEN_ERROR_ARGUMENT,
                    "device: this build of gen has no Vulkan, expected auto or cpu");
}

static gen_status open_auto(gen_context *context, const gen_context_params *p, gen_error *err)
{
    (void)p;
    if (gen_may_have_gpu())
        gen_log(context, GEN_LOG_DEBUG, "using the CPU: this build of gen has no Vulkan");
    return open_cpu(context, err);
}

#endif

gen_status gen_open_backend(gen_context *context, const gen_context_params *p, gen_error *err)
{
    const char *device = p->device ? p->device : "cpu";
    context->cpu =
        (gen_cpu_options){.num_threads = p->num_threads, .mem_limit = (size_t)context->mem_limit};
    GEN_TRY(choose_gemm(&context->cpu, p->gemm, err));
    /* f16 is a wish to the Vulkan device; a CPU that steps in computes in f32. */
    GEN_TRY(choose_precision(
        &context->cpu, wants_half(p) && strcmp(device, "cpu") != 0 ? NULL : p->precision, err));
    if (strcmp(device, "auto") == 0 && wants_q8(p)) {
        context->is_auto = true;
        if (gen_may_have_gpu())
            gen_log(context, GEN_LOG_NOTE, "using the CPU: weights in 8 bits are for it alone");
        return open_cpu(context, err);
    }
    if (strcmp(device, "auto") == 0)
        return open_auto(context, p, err);
    if (strcmp(device, "cpu") == 0)
        return open_cpu(context, err);
    if (strncmp(device, "vulkan", 6) == 0 && wants_q8(p)) {
        gen_fail(err, GEN_ERROR_ARGUMENT,
                 "precision: q8 is not available on Vulkan devices, expected auto, f32 or f16");
        return gen_hint(err, "or use --device cpu");
    }
    if (strcmp(device, "vulkan") == 0)
        return open_vulkan(context, p, "", err);
    if (strncmp(device, "vulkan:", 7) == 0 && device[7])
        return open_vulkan(context, p, device + 7, err);
    return gen_fail(err, GEN_ERROR_ARGUMENT,
                    "device: \"%s\" is not known, expected auto, cpu, vulkan, vulkan:N or "
                    "vulkan:NAME",
                    device);
}
