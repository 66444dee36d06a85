/* time_network.c - the time and memory of one evaluation of a network, or of a clip autoencoder.
 *
 *     time-network FOLDER HEIGHT WIDTH [FRAMES [RUNS [THREADS]]]
 *
 * FOLDER holds config.json and the weights; sizes are those of the latents.  Inputs are random.  A
 * network prints seconds for each run; an autoencoder decodes FRAMES frames of latents. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "gen/core/alloc.h"
#include "gen/core/keymap.h"
#include "gen/core/safetensors.h"
#include "gen/cpu/cpu.h"
#include "gen/pipeline/registry.h"
#include "vae/vae.h"

typedef struct bench {
    gen_backend *backend;
    gen_weights *file, *weights;
    gen_json *config;
    int64_t height, width, frames;
    int runs;
} bench;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double peak_gib(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss / 0x1p20;
}

static float *numbers(size_t n)
{
    float *x = gen_malloc(n * sizeof *x);
    for (size_t i = 0; x && i < n; i++)
        x[i] = 2.0f * (float)rand() / (float)RAND_MAX - 1.0f;
    return x;
}

/* Fills every input with random numbers, ids with zeros and times with 500. */
static gen_status fill_inputs(gen_plan *plan, gen_error *err)
{
    const gen_graph *g = gen_plan_graph(plan);
    for (int i = 0; i < gen_graph_num_tensors(g); i++) {
        const gen_tensor *t = gen_graph_tensor(g, i);
        if (t->kind != GEN_KIND_INPUT || t->derived_from)
            continue;
        const size_t n = (size_t)gen_tensor_elements(t);
        float *x = numbers(n);
        if (!x)
            return gen_no_memory(err, t->name, n * sizeof *x);
        const bool is_time = strcmp(t->name, "timestep") == 0;
        for (size_t k = 0; k < n && (is_time || t->dtype == GEN_I32); k++)
            x[k] = is_time ? 500.0f : 0.0f;
        const gen_status status = gen_plan_set(plan, t->name, x, err);
        gen_free(x);
        if (status)
            return status;
    }
    return GEN_OK;
}

static gen_status time_network(const bench *b, const gen_network_class *cls, gen_error *err)
{
    void *config = NULL;
    gen_graph *g = NULL;
    gen_plan *plan = NULL;
    gen_network_traits traits;
    GEN_TRY(gen_network_configure(&config, cls, b->config, err));
    cls->describe(config, &traits);
    const gen_network_shape shape = {
        .batch = 1,
        .height = b->height,
        .width = b->width,
        .num_frames = traits.is_video ? b->frames : 0,
        .num_tokens = traits.num_context_tokens ? traits.num_context_tokens
                      : traits.context_dim      ? 77
                                                : 0,
    };
    gen_status status = gen_graph_new(&g, err);
    double start = now();
    if (!status) {
        cls->record(g, gen_scope_root(b->weights), config, &shape);
        status = gen_plan_new(&plan, g, b->backend, 0, err);
    }
    if (!status) {
        const gen_plan_stats *s = gen_plan_get_stats(plan);
        printf("prepared in %.1f s; %.5f TFLOP, activations %.2f GiB, weights %.2f GiB\n",
               now() - start, 1e-12 * s->flops, (double)s->arena / 0x1p30,
               (double)s->weights / 0x1p30);
    }
    for (int i = 0; i < b->runs && !status; i++) {
        if ((status = fill_inputs(plan, err)))
            break;
        start = now();
        status = gen_plan_run(plan, err);
        printf("run %d: %.4f s, peak %.2f GiB\n", i + 1, now() - start, peak_gib());
        fflush(stdout);
    }
    gen_plan_free(plan);
    gen_free(config);
    return status;
}

static gen_status drop_frame(void *self, int64_t index, float *pixels, gen_error *err)
{
    (void)err;
    (void)pixels;
    printf("frame %d after %.2f s, peak %.2f GiB\n", (int)index + 1, now() - *(double *)self,
           peak_gib());
    fflush(stdout);
    return GEN_OK;
}

static gen_status time_vae(const bench *b, gen_error *err)
{
    gen_vae_config cfg;
    gen_clip_vae *vae = NULL;
    GEN_TRY(gen_vae_config_read(&cfg, b->config, err));
    float *z = numbers((size_t)(b->frames * b->height * b->width * cfg.latent_channels));
    double start = now();
    const gen_clip_io io = {&start, drop_frame};
    gen_vae_needs needs;
    gen_status status = gen_clip_vae_new(&vae, &cfg, b->weights, b->backend, err);
    if (!status)
        status = gen_clip_vae_measure(vae, true, b->frames, b->height, b->width, 0, &needs, err);
    if (!status)
        printf("%.3f TFLOP, activations %.2f GiB, weights %.2f GiB\n", 1e-12 * needs.flops,
               (double)needs.arena / 0x1p30, (double)needs.weights / 0x1p30);
    if (!status)
        status = gen_clip_vae_decode(vae, z, b->frames, b->height, b->width, 0, &io, err);
    gen_clip_vae_free(vae);
    gen_free(z);
    return status;
}

static gen_status run(bench *b, const char *folder, gen_error *err)
{
    char path[4096];
    const char *class_name;
    snprintf(path, sizeof path, "%s/config.json", folder);
    GEN_TRY(gen_json_open(&b->config, path, GEN_ERROR_MODEL, err));
    GEN_TRY(gen_json_string(b->config, "_class_name", "", &class_name, err));
    const gen_network_class *cls = gen_network_find(class_name);
    const gen_part part = strncmp(class_name, "Autoencoder", 11) == 0 ? GEN_PART_VAE
                          : strncmp(class_name, "UNet", 4) == 0       ? GEN_PART_UNET
                                                                      : GEN_PART_TRANSFORMER;
    snprintf(path, sizeof path, "%s/diffusion_pytorch_model.safetensors", folder);
    GEN_TRY(gen_weights_new(&b->file, err));
    GEN_TRY(gen_weights_new(&b->weights, err));
    GEN_TRY(gen_safetensors_open(b->file, path, err));
    GEN_TRY(gen_keymap_add(b->weights, b->file, part, err));
    return cls ? time_network(b, cls, err) : time_vae(b, err);
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: %s FOLDER HEIGHT WIDTH [FRAMES [RUNS [THREADS]]]\n", argv[0]);
        return 2;
    }
    bench b = {.height = atoi(argv[2]), .width = atoi(argv[3])};
    b.frames = argc > 4 ? atoi(argv[4]) : 1;
    b.runs = argc > 5 ? atoi(argv[5]) : 1;
    const gen_cpu_options options = {.num_threads = argc > 6 ? atoi(argv[6]) : 0};
    gen_error err;
    char text[128];
    gen_status status = gen_cpu_open(&b.backend, &options, &err);
    if (!status) {
        printf("%s\n", gen_cpu_describe(b.backend, text, sizeof text));
        status = run(&b, argv[1], &err);
    }
    if (status)
        fprintf(stderr, "%s\n", err.message);
    gen_json_free(b.config);
    if (b.weights && b.backend)
        gen_weights_drop_prepared(b.weights, b.backend);
    gen_weights_free(b.weights);
    gen_weights_free(b.file);
    if (b.backend)
        b.backend->fns->close(b.backend);
    return status != GEN_OK;
}
