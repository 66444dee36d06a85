/* retreat.c - going on when a device fails in the middle of the work: with activations in f32 where
 * f16 gave numbers that are not finite, in smaller pieces where it refuses memory, with the CPU.
 *
 * Everything that moves from phase to phase (prompt states, latents, pixels) is on the host, so
 * that only the call that failed is made again.  A device that refuses memory, or whose numbers are
 * not finite, is left whoever chose it; one that is lost or answers with an error only where gen
 * chose it itself: who names a device is told. */
#include <math.h>
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
    m->fewer_weights = 0;
    gen_plan_cache_clear(&m->plans);
    gen_weights_drop_prepared(m->network.weights.weights, m->network.backend);
    m->network.backend = m->context->backend;
    gen_vae_use(m->vae, m->context->backend);
    if (m->clip_vae)
        gen_clip_vae_use(m->clip_vae, m->context->backend);
    return reopen_text(m, err);
}

static void leave_half(gen_model *m)
{
    m->network.backend->stores_half = false;
    gen_plan_cache_clear(&m->plans);
    gen_weights_drop_prepared(m->network.weights.weights, m->network.backend);
}

gen_status gen_model_retreat(gen_model *m, gen_work work, gen_status status, gen_error *err)
{
    gen_error why = *err;
    if (work == GEN_WORK_NETWORK && status == GEN_ERROR_INTERNAL &&
        m->network.backend->stores_half) {
        leave_half(m);
        gen_log(m->context, GEN_LOG_WARNING, "%s; going on with activations in f32", why.message);
        return GEN_OK;
    }
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

/* Half of the weights the network has kept so far, or the fewest; false when these were refused. */
static bool keep_fewer_weights(gen_model *m, const gen_network_shape *shape)
{
    gen_error unused;
    gen_plan *plan;
    if (gen_network_dry_plan(&plan, &m->network, shape, 0, &unused))
        return false;
    const gen_plan_stats s = *gen_plan_get_stats(plan);
    gen_plan_free(plan);
    const size_t now =
        m->plans.max_weights && m->plans.max_weights < s.weights ? m->plans.max_weights : s.weights;
    if (now <= s.least_weights)
        return false;
    m->plans.max_weights = now / 2 > s.least_weights ? now / 2 : s.least_weights;
    return true;
}

gen_status gen_model_retreat_network(gen_model *m, const gen_network_shape *shape,
                                     gen_status status, gen_error *err)
{
    if (status != GEN_ERROR_MEMORY || gen_backend_is_cpu(m->network.backend) ||
        !keep_fewer_weights(m, shape))
        return gen_model_retreat(m, GEN_WORK_NETWORK, status, err);
    m->fewer_weights = m->plans.max_weights;
    gen_plan_cache_clear(&m->plans);
    gen_weights_drop_prepared(m->network.weights.weights, m->network.backend);
    if (m->text_class)
        m->text_class->release(m->text);
    gen_vae_release(m->vae);
    if (m->clip_vae)
        gen_clip_vae_release(m->clip_vae);
    gen_log(m->context, GEN_LOG_WARNING, "%s; going on with weights read in every step",
            err->message);
    return GEN_OK;
}

static bool may_try_again(const gen_pieces *p)
{
    return !p->may_try_again || p->may_try_again(p->self);
}

gen_status gen_model_retreat_in_pieces(gen_model *m, const gen_pieces *p, gen_error *err)
{
    int64_t size = p->planned;
    gen_status status = p->call(p->self, size, err);
    while (status == GEN_ERROR_MEMORY && may_try_again(p) &&
           !gen_backend_is_cpu(m->network.backend)) {
        char pieces[64];
        size = (size ? size : p->whole) / 2;
        if (size < p->narrowest)
            break;
        p->name(pieces, sizeof pieces, size);
        gen_log(m->context, GEN_LOG_WARNING, "%s; decoding in %s", err->message, pieces);
        p->release(p->self);
        status = p->call(p->self, size, err);
    }
    if (status && may_try_again(p) && !gen_model_retreat(m, GEN_WORK_OTHER, status, err))
        status = p->call(p->self, p->planned, err);
    return status;
}

gen_status gen_check_finite(const float *x, size_t n, const char *what, gen_error *err)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return gen_fail(err, GEN_ERROR_INTERNAL, "%s: a value is not finite", what);
    return GEN_OK;
}
