/* predict_test.c - what a network predicts, found by asking it once.
 *
 * Stable Diffusion 2 comes predicting noise (512 pixels) and predicting v (768 pixels), and nothing
 * in a single file tells the two apart.  Asked at pure noise about a constant input of 0.5, the
 * first answers near that input and the second near its negative and beyond. */
#include "gen/pipeline/denoise.h"

enum { SIDE = 8, NUM_TOKENS = 2, TIME = 999 };

static gen_status ask(float *out, gen_plan *plan, const gen_network_traits *t, float *buffer,
                      size_t size, gen_error *err)
{
    const double time = TIME;
    for (size_t k = 0; k < size; k++)
        buffer[k] = 0.5f;
    GEN_TRY(gen_plan_set(plan, "sample", buffer, err));
    GEN_TRY(gen_plan_set_double(plan, "timestep", &time, err));
    if (t->context_dim)
        GEN_TRY(gen_plan_set(plan, "encoder_hidden_states", buffer, err));
    GEN_TRY(gen_plan_run(plan, err));
    return gen_plan_get_output(plan, "sample_out", out, err);
}

gen_status gen_network_predicts_v(bool *predicts_v, const gen_network_instance *network,
                                  gen_error *err)
{
    const gen_network_traits *t = &network->traits;
    const gen_network_shape shape = {1, SIDE, SIDE, t->context_dim ? NUM_TOKENS : 0};
    const size_t n = (size_t)(SIDE * SIDE * t->out_channels);
    const size_t inputs = (size_t)(SIDE * SIDE * t->in_channels);
    const size_t states = (size_t)(NUM_TOKENS * t->context_dim);
    const size_t size = inputs > states ? inputs : states;
    gen_plan_cache cache = {0};
    gen_plan *plan;
    gen_status status = GEN_OK;
    float *buffer = gen_malloc((size + n) * sizeof *buffer);
    if (!buffer)
        return gen_no_memory(err, "test of the network", (size + n) * sizeof *buffer);
    if ((status = gen_network_plan(&plan, &cache, network, &shape, err)) ||
        (status = ask(buffer + size, plan, t, buffer, size, err)))
        goto done;
    double mean = 0;
    for (size_t k = 0; k < n; k++)
        mean += ((double)buffer[size + k] - 0.5) / (double)n;
    *predicts_v = mean < -1;
done:
    gen_plan_cache_clear(&cache);
    gen_free(buffer);
    return status;
}
