/* golden_qwen.c - Qwen-Image, with and without pictures to follow, against its recorded outputs. */
#include <string.h>

#include "gen/core/alloc.h"
#include "gen/pipeline/registry.h"
#include "tests/golden/golden.h"

typedef struct model {
    golden_fixture *f;
    const gen_network_class *cls;
    void *config;
    int C, p;                /* channels of the latents, side of a patch */
    gen_network_shape shape; /* pictures: the first is made, the others are followed */
} model;

static int64_t dim(const golden_fixture *f, const char *name, int i)
{
    const gen_weight *w = golden_find(f, name);
    return w && i < w->rank ? w->dims[i] : 0;
}

/* in.img_shapes: frames, rows and columns of tokens of each picture. */
static bool read_shape(model *m)
{
    golden_fixture *f = m->f;
    const int64_t *sizes = golden_load_i64(f, "in.img_shapes");
    const int64_t count = dim(f, "in.img_shapes", 0);
    if (!sizes)
        return false;
    if (dim(f, "in.img_shapes", 1) != 3 || count < 1 || count > 1 + GEN_MAX_REFERENCES) {
        golden_fail(f, "in.img_shapes is not a list of at most %d sizes", 1 + GEN_MAX_REFERENCES);
        return false;
    }
    m->shape = (gen_network_shape){.batch = dim(f, "in.hidden_states", 0),
                                   .height = sizes[1] * m->p,
                                   .width = sizes[2] * m->p,
                                   .num_tokens = dim(f, "in.encoder_hidden_states", 1),
                                   .num_references = (int)count - 1};
    for (int64_t i = 0; i < count; i++) {
        if (sizes[3 * i] != 1) {
            golden_fail(f, "a picture of in.img_shapes has more than one frame");
            return false;
        }
        if (i) {
            m->shape.references[i - 1].height = sizes[3 * i + 1] * m->p;
            m->shape.references[i - 1].width = sizes[3 * i + 2] * m->p;
        }
    }
    return true;
}

/* Tokens from..from+h*w of every sample as a picture [N,h*p,w*p,C]; in a token the channel is the
 * slowest. */
static float *unpack(const model *m, const float *tokens, int64_t from, int64_t h, int64_t w)
{
    const int64_t N = m->shape.batch, T = dim(m->f, "in.hidden_states", 1), C = m->C, p = m->p;
    float *out = golden_alloc(m->f, (size_t)(N * h * w * p * p * C), sizeof *out);
    for (int64_t i = 0; out && i < N * h * w * p * p * C; i++) {
        const int64_t c = i % C, x = i / C % (w * p), y = i / C / (w * p) % (h * p);
        const int64_t n = i / (C * w * p * h * p);
        const int64_t token = from + y / p * w + x / p;
        out[i] = tokens[(n * T + token) * C * p * p + (c * p + y % p) * p + x % p];
    }
    return out;
}

static bool set_pictures(const model *m, gen_plan *plan)
{
    golden_fixture *f = m->f;
    gen_error err = {0};
    const float *tokens = golden_load(f, "in.hidden_states");
    int64_t from = 0;
    for (int i = 0; tokens && i <= m->shape.num_references; i++) {
        const int64_t h = (i ? m->shape.references[i - 1].height : m->shape.height) / m->p;
        const int64_t w = (i ? m->shape.references[i - 1].width : m->shape.width) / m->p;
        const char *name = golden_path(f, "reference.%d", i - 1);
        if (from + h * w > dim(f, "in.hidden_states", 1)) {
            golden_fail(f, "in.img_shapes are more tokens than in.hidden_states");
            return false;
        }
        const float *picture = unpack(m, tokens, from, h, w);
        if (!picture || !golden_ok(f, gen_plan_set(plan, i ? name : "sample", picture, &err), &err))
            return false;
        from += h * w;
    }
    return tokens != NULL;
}

static bool set_conditions(const model *m, gen_plan *plan)
{
    golden_fixture *f = m->f;
    gen_error err = {0};
    const float *text = golden_load(f, "in.encoder_hidden_states");
    const float *mask = golden_load(f, "in.encoder_hidden_states_mask");
    float *sigma = golden_load(f, "in.timestep");
    double *t = golden_alloc(f, (size_t)m->shape.batch, sizeof *t);
    for (int64_t i = 0; sigma && t && i < m->shape.batch; i++)
        t[i] = 1000.0 * (double)sigma[i];
    return text && mask && sigma && t &&
           golden_ok(f, gen_plan_set(plan, "encoder_hidden_states", text, &err), &err) &&
           golden_ok(f, gen_plan_set(plan, "encoder_attention_mask", mask, &err), &err) &&
           golden_ok(f, gen_plan_set_double(plan, "timestep", t, &err), &err);
}

/* The reference's output are the tokens of all pictures, those of the first in the network's own.
 */
static void compare(const model *m, gen_plan *plan)
{
    golden_fixture *f = m->f;
    gen_error err = {0};
    const gen_weight *w = golden_find(f, "out.sample");
    const size_t n = w ? golden_count(w) : 0;
    const gen_network_shape *s = &m->shape;
    const size_t size = (size_t)(s->batch * s->height * s->width * m->C);
    float *tokens = golden_alloc(f, n, sizeof *tokens);
    float *sample = golden_alloc(f, size, sizeof *sample);
    if (!w || !tokens || !sample ||
        !golden_ok(f, gen_plan_get_output(plan, "tokens_out", tokens, &err), &err) ||
        !golden_ok(f, gen_plan_get_output(plan, "sample_out", sample, &err), &err) ||
        !golden_compare(f, "out.sample", tokens, n, 1e-4))
        return;
    const float *own = unpack(m, tokens, 0, s->height / m->p, s->width / m->p);
    golden_check(f, own && memcmp(own, sample, size * sizeof *own) == 0,
                 "the picture is not that of its tokens");
}

static void run(model *m, gen_weights *weights)
{
    golden_fixture *f = m->f;
    gen_error err = {0};
    gen_graph *g = NULL;
    gen_plan *plan = NULL;
    gen_network_traits traits;
    m->cls->describe(m->config, &traits);
    m->C = traits.out_channels;
    m->p = traits.patch_height;
    if (!read_shape(m) || !golden_ok(f, gen_graph_new(&g, &err), &err))
        return;
    m->cls->record(g, gen_scope_root(weights), m->config, &m->shape);
    gen_tensor *tokens = gen_graph_find(g, "proj_out", 0);
    if (tokens)
        gen_output(g, tokens, "tokens_out");
    if (!golden_ok(f, gen_plan_new(&plan, g, f->backend, golden_plan_flags(f), &err), &err))
        return;
    if (set_pictures(m, plan) && set_conditions(m, plan) && golden_run_plan(f, plan, ""))
        compare(m, plan);
    gen_plan_free(plan);
}

void golden_qwen_image(golden_fixture *f)
{
    gen_error err = {0};
    model m = {.f = f, .cls = gen_network_find(f->class_name)};
    gen_weights *file = golden_open_weights(f, "");
    gen_weights *weights = file ? golden_part(f, file, GEN_PART_TRANSFORMER) : NULL;
    if (!m.cls)
        golden_skip(f, "no network of class \"%s\"", f->class_name);
    else if (weights &&
             golden_ok(f, gen_network_configure(&m.config, m.cls, f->config, &err), &err))
        run(&m, weights);
    gen_free(m.config);
    gen_weights_free(weights);
    gen_weights_free(file);
}
