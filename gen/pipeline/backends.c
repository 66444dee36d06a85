/* backends.c - from the words of --device, --gemm and --precision to an open backend. */
#include <stdio.h>
#include <string.h>

#include "gen/cpu/cpu.h"
#include "gen/pipeline/pipeline.h"
#ifdef GEN_HAVE_VULKAN
#include "gen/vulkan/vulkan.h"
#endif

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

static gen_status open_cpu(gen_context *context, const gen_context_params *p, gen_error *err)
{
    gen_cpu_options options = {.num_threads = p->num_threads,
                               .mem_limit = (size_t)context->mem_limit};
    char what[64];
    GEN_TRY(choose_gemm(&options, p->gemm, err));
    GEN_TRY(choose_precision(&options, p->precision, err));
    GEN_TRY(gen_cpu_open(&context->backend, &options, err));
    snprintf(context->backend_name, sizeof context->backend_name, "cpu: %s",
             gen_cpu_describe(context->backend, what, sizeof what));
    return GEN_OK;
}

/* ---- Vulkan --------------------------------------------------------------------------------- */

#ifdef GEN_HAVE_VULKAN
/* `name` stands behind the colon of vulkan:name, "" without one. */
static gen_status open_vulkan(gen_context *context, const gen_context_params *p, const char *name,
                              gen_error *err)
{
    const gen_vulkan_options options = {.device = name, .mem_limit = (size_t)p->mem_limit};
    char what[80];
    GEN_TRY(gen_vulkan_open(&context->backend, &options, err));
    snprintf(context->backend_name, sizeof context->backend_name, "vulkan: %s",
             gen_vulkan_describe(context->backend, what, sizeof what));
    return GEN_OK;
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
#endif

gen_status gen_open_backend(gen_context *context, const gen_context_params *p, gen_error *err)
{
    const char *device = p->device ? p->device : "auto";
    if (strcmp(device, "auto") == 0 || strcmp(device, "cpu") == 0)
        return open_cpu(context, p, err);
    if (strcmp(device, "vulkan") == 0)
        return open_vulkan(context, p, "", err);
    if (strncmp(device, "vulkan:", 7) == 0 && device[7])
        return open_vulkan(context, p, device + 7, err);
    return gen_fail(err, GEN_ERROR_ARGUMENT,
                    "device: \"%s\" is not known, expected auto, cpu, vulkan, vulkan:N or "
                    "vulkan:NAME",
                    device);
}
