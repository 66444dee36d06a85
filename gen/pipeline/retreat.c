/* retreat.c - going on with the CPU when a device fails in the middle of the work.
 *
 * Everything that moves from phase to phase (prompt states, latents, pixels) is on the host, so
 * that only the call that failed is made again.  A device that refuses memory, or whose numbers are
 * not finite, is left whoever chose it; one that is lost or answers with an error only where gen
 * chose it itself: who names a device is told. */
#include <string.h>

#include "gen/core/cache_file.h"
#include "gen/pipeline/model.h"
#ifdef GEN_HAVE_VULKAN
#include "gen/pipeline/trust.h"
#endif

bool gen_backend_is_cpu(const gen_backend *backend)
{
    return strcmp(backend->fns->name, "cpu") == 0;
}

static void remember_loss(const gen_backend *backend)
{
#ifdef GEN_HAVE_VULKAN
    char *folder = gen_cache_path("vulkan");
    gen_trust_note_loss(backend, folder);
    gen_free(folder);
#else
    (void)backend;
#endif
}

static bool may_retreat(const gen_model *m, gen_status status)
{
    if (gen_backend_is_cpu(m->network.backend))
        return false;
    return status == GEN_ERROR_MEMORY || status == GEN_ERROR_INTERNAL ||
           (status == GEN_ERROR_DEVICE && m->context->is_auto);
}

static gen_status reopen_text(gen_model *m, gen_error *err)
{
    const gen_prompt_source source = {.files = m->files,
                                      .traits = &m->network.traits,
                                      .tokenizer = m->tokenizer,
                                      .backend = m->context->backend};
    void *text;
    if (!m->text_class)
        return GEN_OK;
    GEN_TRY(m->text_class->open(&text, &source, err));
    m->text_class->release(m->text);
    m->text_class->close(m->text);
    m->text = text;
    return GEN_OK;
}

static gen_status move_to_cpu(gen_model *m, gen_error *err)
{
    GEN_TRY(gen_context_use_cpu(m->context, err));
    gen_plan_cache_clear(&m->plans);
    gen_weights_drop_prepared(m->network.weights.weights, m->network.backend);
    m->network.backend = m->context->backend;
    gen_vae_use(m->vae, m->context->backend);
    return reopen_text(m, err);
}

gen_status gen_model_retreat(gen_model *m, gen_status status, gen_error *err)
{
    gen_error why = *err;
    if (status == GEN_ERROR_DEVICE && !gen_backend_is_cpu(m->network.backend))
        remember_loss(m->network.backend);
    if (!may_retreat(m, status))
        return status;
    if (move_to_cpu(m, err)) {
        *err = why;
        return status;
    }
    gen_log(m->context, GEN_LOG_WARNING, "%s; going on with the CPU", why.message);
    return GEN_OK;
}
