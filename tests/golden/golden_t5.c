/* golden_t5.c - the encoders T5 and umT5: every hidden state of the graph with its mask, and once
 * more what the encoder makes of each text without its padding. */
#include <string.h>

#include "gen/core/alloc.h"
#include "gen/core/nn.h"
#include "gen/text/t5.h"
#include "tests/golden/golden.h"

typedef struct t5_run {
    golden_fixture *f;
    gen_t5_config config;
    gen_scope scope;
    int64_t N, T;
    int32_t *ids;     /* [N,T] */
    int32_t *buckets; /* [N,T,T] */
    float *mask;      /* [N,T] */
    int64_t *is_token;
} t5_run;

static gen_plan *record(t5_run *r)
{
    gen_error err = {0};
    gen_graph *g = NULL;
    gen_plan *plan = NULL;
    char name[32];
    if (!golden_ok(r->f, gen_graph_new(&g, &err), &err))
        return NULL;
    gen_tensor *ids = gen_input(g, "input_ids", GEN_I32, GEN_DIMS(r->N, r->T));
    gen_tensor *buckets = gen_input(g, "buckets", GEN_I32, GEN_DIMS(r->N * r->T, r->T));
    gen_tensor *mask = gen_input(g, "mask", GEN_F32, GEN_DIMS(r->N, 1, r->T, 1));
    gen_tensor *x = gen_t5_embed(g, r->scope, &r->config, ids);
    for (int i = 0; i <= r->config.num_layers; i++) {
        if (i == r->config.num_layers) /* the last hidden state is that after the norm */
            x = gen_t5_final_norm(g, r->scope, &r->config, x);
        snprintf(name, sizeof name, "hidden_states.%d", i);
        /* An alias, so that the tensor keeps the name of its module. */
        gen_output(g, gen_graph_view(g, x, x->rank, x->dims, 0, x->ld), name);
        if (i < r->config.num_layers)
            x = gen_t5_block(g, r->scope, &r->config, i, x, buckets, mask);
    }
    golden_ok(r->f, gen_plan_new(&plan, g, r->f->backend, golden_plan_flags(r->f), &err), &err);
    return plan;
}

static bool load_inputs(t5_run *r)
{
    golden_fixture *f = r->f;
    const gen_weight *w = golden_find(f, "in.input_ids");
    const int64_t *ids = golden_load_i64(f, "in.input_ids");
    r->is_token = golden_load_i64(f, "in.attention_mask");
    if (!w || !ids || !r->is_token)
        return false;
    if (w->rank != 2) {
        golden_fail(f, "in.input_ids is not [batch,length]");
        return false;
    }
    r->N = w->dims[0];
    r->T = w->dims[1];
    const int64_t n = r->N * r->T;
    r->ids = golden_alloc(f, (size_t)n, sizeof *r->ids);
    r->mask = golden_alloc(f, (size_t)n, sizeof *r->mask);
    r->buckets = golden_alloc(f, (size_t)(n * r->T), sizeof *r->buckets);
    if (!r->ids || !r->mask || !r->buckets)
        return false;
    for (int64_t i = 0; i < n; i++) {
        r->ids[i] = (int32_t)ids[i];
        r->mask[i] = r->is_token[i] ? 0.0f : -1e9f;
        for (int64_t key = 0; key < r->T; key++)
            r->buckets[i * r->T + key] = gen_t5_bucket(&r->config, key - i % r->T);
    }
    return true;
}

/* Tokens of a text, or 0 when padding is not at its end. */
static int64_t length_of(const t5_run *r, int64_t n)
{
    int64_t count = 0;
    for (int64_t t = 0; t < r->T; t++) {
        if (r->is_token[n * r->T + t] && count < t)
            return 0;
        count += r->is_token[n * r->T + t] != 0;
    }
    return count;
}

/* `states` [N,T,D] come from the graph; the encoder's take their place where there are tokens. */
static void check_encoder(const t5_run *r, float *states)
{
    gen_error err = {0};
    gen_t5_encoder *e = NULL;
    gen_t5_text *texts = golden_alloc(r->f, (size_t)r->N, sizeof *texts);
    if (!texts ||
        !golden_ok(r->f, gen_t5_encoder_new(&e, &r->config, r->scope, r->f->backend, &err), &err))
        return;
    int num_texts = 0;
    for (int64_t n = 0; n < r->N; n++) {
        gen_t5_text *text = &texts[num_texts];
        *text = (gen_t5_text){.ids = r->ids + n * r->T,
                              .count = length_of(r, n),
                              .states = states + n * r->T * r->config.d_model};
        if (text->count)
            memset(text->states, 0, (size_t)(text->count * r->config.d_model) * sizeof(float));
        num_texts += text->count > 0;
    }
    if (golden_ok(r->f, gen_t5_encoder_encode(e, texts, num_texts, &err), &err))
        golden_compare(r->f, "out.last_hidden_state", states,
                       (size_t)(r->N * r->T * r->config.d_model), 1e-4);
    gen_t5_encoder_free(e);
}

static void compare_all(const t5_run *r, gen_plan *plan)
{
    gen_error err = {0};
    const size_t n = (size_t)(r->N * r->T * r->config.d_model);
    float *values = golden_alloc(r->f, n, sizeof *values);
    char name[32];
    for (int i = 0; values && i <= r->config.num_layers; i++) {
        snprintf(name, sizeof name, "hidden_states.%d", i);
        const char *full = golden_path(r->f, "out.%s", name);
        if (golden_ok(r->f, gen_plan_get_output(plan, name, values, &err), &err) &&
            golden_find(r->f, full))
            golden_compare(r->f, full, values, n, 1e-4);
    }
    if (values && golden_find(r->f, "out.last_hidden_state")) {
        golden_compare(r->f, "out.last_hidden_state", values, n, 1e-4);
        check_encoder(r, values);
    }
}

static bool same_config(const gen_t5_config *a, const gen_t5_config *b)
{
    return a->vocab_size == b->vocab_size && a->d_model == b->d_model && a->d_kv == b->d_kv &&
           a->d_ff == b->d_ff && a->num_layers == b->num_layers && a->num_heads == b->num_heads &&
           a->num_buckets == b->num_buckets && a->is_gated == b->is_gated;
}

void golden_t5(golden_fixture *f)
{
    gen_error err = {0};
    t5_run r = {.f = f};
    gen_t5_config inferred;
    gen_plan *plan = NULL;
    gen_weights *weights = golden_open_weights(f, "");
    if (!weights)
        return;
    r.scope = gen_scope_root(weights);
    if (golden_ok(f, gen_t5_config_parse(&r.config, f->config, &err), &err) &&
        golden_ok(f, gen_t5_config_from_weights(&inferred, r.scope, &err), &err) &&
        load_inputs(&r)) {
        golden_check(f, same_config(&r.config, &inferred),
                     "config.json and the tensors disagree about sizes");
        plan = record(&r);
    }
    if (plan && golden_ok(f, gen_plan_set(plan, "input_ids", r.ids, &err), &err) &&
        golden_ok(f, gen_plan_set(plan, "buckets", r.buckets, &err), &err) &&
        golden_ok(f, gen_plan_set(plan, "mask", r.mask, &err), &err) &&
        golden_run_plan(f, plan, ""))
        compare_all(&r, plan);
    gen_plan_free(plan);
    gen_weights_free(weights);
}
