/* make_random_sd.c - a full-size Stable Diffusion 1.5 single file of random weights.
 *
 *     make-random-sd OUT.safetensors [SEED]
 *
 * The file has the names and shapes of the original layout (UNet, VAE and text encoder, f16,
 * 2.1 GB) and is for measuring: time, memory, loading, and agreement with other programs on the
 * same file.  Weights are uniform with deviation 1/sqrt(inputs), norms near one, biases near zero,
 * so that everything stays finite.  The file depends on the seed alone. */
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/safetensors_writer.h"

/* ---- the list of tensors -------------------------------------------------------------------- */

enum { MAX_TENSORS = 1400, CONTEXT = 768, TIME = 1280 };

/* What the values are scattered around, and how far. */
typedef struct spread {
    float mean, deviation;
} spread;

static safetensors_item items[MAX_TENSORS];
static spread spreads[MAX_TENSORS];
static size_t count;

static void tensor(spread s, const char *prefix, const char *name, int rank, int64_t a, int64_t b,
                   int64_t k)
{
    char full[256];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    if (count == MAX_TENSORS) {
        fprintf(stderr, "too many tensors\n");
        exit(1);
    }
    spreads[count] = s;
    items[count++] = (safetensors_item){
        .name = strdup(full), .dtype = GEN_F16, .rank = rank, .dims = {a, b, k, k}};
}

static void bias(const char *prefix, const char *name, int64_t n)
{
    char full[128];
    snprintf(full, sizeof full, "%s.bias", name);
    tensor((spread){0, 0.02f}, prefix, full, 1, n, 0, 0);
}

static void matrix(const char *prefix, const char *name, int64_t out, int64_t in, bool has_bias)
{
    char full[128];
    snprintf(full, sizeof full, "%s.weight", name);
    tensor((spread){0, 1 / sqrtf((float)in)}, prefix, full, 2, out, in, 0);
    if (has_bias)
        bias(prefix, name, out);
}

static void conv(const char *prefix, const char *name, int64_t out, int64_t in, int64_t k)
{
    char full[128];
    snprintf(full, sizeof full, "%s.weight", name);
    tensor((spread){0, 1 / sqrtf((float)(in * k * k))}, prefix, full, 4, out, in, k);
    bias(prefix, name, out);
}

static void norm(const char *prefix, const char *name, int64_t n)
{
    char full[128];
    snprintf(full, sizeof full, "%s.weight", name);
    tensor((spread){1, 0.05f}, prefix, full, 1, n, 0, 0);
    bias(prefix, name, n);
}

/* ---- UNet ----------------------------------------------------------------------------------- */

static void unet_resnet(int block, const char *side, int part, int64_t in, int64_t out)
{
    char p[128];
    snprintf(p, sizeof p, "model.diffusion_model.%s", side);
    if (block >= 0)
        snprintf(p + strlen(p), sizeof p - strlen(p), ".%d", block);
    snprintf(p + strlen(p), sizeof p - strlen(p), ".%d.", part);
    norm(p, "in_layers.0", in);
    conv(p, "in_layers.2", out, in, 3);
    matrix(p, "emb_layers.1", out, TIME, true);
    norm(p, "out_layers.0", out);
    conv(p, "out_layers.3", out, out, 3);
    if (in != out)
        conv(p, "skip_connection", out, in, 1);
}

static void unet_transformer(int block, const char *side, int64_t c)
{
    char p[128], b[160];
    snprintf(p, sizeof p, "model.diffusion_model.%s", side);
    if (block >= 0)
        snprintf(p + strlen(p), sizeof p - strlen(p), ".%d", block);
    snprintf(p + strlen(p), sizeof p - strlen(p), ".1.");
    snprintf(b, sizeof b, "%stransformer_blocks.0.", p);
    norm(p, "norm", c);
    conv(p, "proj_in", c, c, 1);
    for (int i = 1; i <= 2; i++) {
        char a[192];
        const int64_t from = i == 1 ? c : CONTEXT;
        snprintf(a, sizeof a, "%sattn%d.", b, i);
        matrix(a, "to_q", c, c, false);
        matrix(a, "to_k", c, from, false);
        matrix(a, "to_v", c, from, false);
        matrix(a, "to_out.0", c, c, true);
    }
    matrix(b, "ff.net.0.proj", 8 * c, c, true);
    matrix(b, "ff.net.2", c, 4 * c, true);
    norm(b, "norm1", c);
    norm(b, "norm2", c);
    norm(b, "norm3", c);
    conv(p, "proj_out", c, c, 1);
}

static void unet(void)
{
    static const int64_t widths[4] = {320, 640, 1280, 1280};
    const char *p = "model.diffusion_model.";
    int64_t skips[12], c = widths[0];
    int depth = 0;
    char name[64];
    matrix(p, "time_embed.0", TIME, widths[0], true);
    matrix(p, "time_embed.2", TIME, TIME, true);
    conv(p, "input_blocks.0.0", c, 4, 3);
    skips[depth++] = c;
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 2; j++) {
            unet_resnet(1 + 3 * i + j, "input_blocks", 0, c, widths[i]);
            c = widths[i];
            if (i < 3)
                unet_transformer(1 + 3 * i + j, "input_blocks", c);
            skips[depth++] = c;
        }
        if (i == 3)
            break;
        snprintf(name, sizeof name, "input_blocks.%d.0.op", 3 * (i + 1));
        conv(p, name, c, c, 3);
        skips[depth++] = c;
    }
    unet_resnet(-1, "middle_block", 0, c, c);
    unet_transformer(-1, "middle_block", c);
    unet_resnet(-1, "middle_block", 2, c, c);
    for (int k = 0; k < 12; k++) {
        const int64_t out = widths[3 - k / 3];
        unet_resnet(k, "output_blocks", 0, c + skips[--depth], out);
        c = out;
        if (k >= 3)
            unet_transformer(k, "output_blocks", c);
        if (k % 3 == 2 && k < 11) {
            snprintf(name, sizeof name, "output_blocks.%d.%d.conv", k, k < 3 ? 1 : 2);
            conv(p, name, c, c, 3);
        }
    }
    norm(p, "out.0", c);
    conv(p, "out.2", 4, c, 3);
}

/* ---- VAE ------------------------------------------------------------------------------------ */

static void vae_resnet(const char *place, int64_t in, int64_t out)
{
    char p[128];
    snprintf(p, sizeof p, "first_stage_model.%s.", place);
    norm(p, "norm1", in);
    conv(p, "conv1", out, in, 3);
    norm(p, "norm2", out);
    conv(p, "conv2", out, out, 3);
    if (in != out)
        conv(p, "nin_shortcut", out, in, 1);
}

static void vae_middle(const char *side, int64_t c)
{
    char place[64], p[128];
    snprintf(place, sizeof place, "%s.mid.block_1", side);
    vae_resnet(place, c, c);
    snprintf(p, sizeof p, "first_stage_model.%s.mid.attn_1.", side);
    norm(p, "norm", c);
    conv(p, "q", c, c, 1);
    conv(p, "k", c, c, 1);
    conv(p, "v", c, c, 1);
    conv(p, "proj_out", c, c, 1);
    snprintf(place, sizeof place, "%s.mid.block_2", side);
    vae_resnet(place, c, c);
}

static void vae(void)
{
    static const int64_t widths[4] = {128, 256, 512, 512};
    const char *p = "first_stage_model.";
    char place[64];
    int64_t c = widths[0];
    conv(p, "encoder.conv_in", c, 3, 3);
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 2; j++) {
            snprintf(place, sizeof place, "encoder.down.%d.block.%d", i, j);
            vae_resnet(place, c, widths[i]);
            c = widths[i];
        }
        snprintf(place, sizeof place, "encoder.down.%d.downsample.conv", i);
        if (i < 3)
            conv(p, place, c, c, 3);
    }
    vae_middle("encoder", c);
    norm(p, "encoder.norm_out", c);
    conv(p, "encoder.conv_out", 8, c, 3);
    conv(p, "quant_conv", 8, 8, 1);
    conv(p, "post_quant_conv", 4, 4, 1);
    conv(p, "decoder.conv_in", c, 4, 3);
    vae_middle("decoder", c);
    for (int i = 3; i >= 0; i--) {
        for (int j = 0; j < 3; j++) {
            snprintf(place, sizeof place, "decoder.up.%d.block.%d", i, j);
            vae_resnet(place, c, widths[i]);
            c = widths[i];
        }
        snprintf(place, sizeof place, "decoder.up.%d.upsample.conv", i);
        if (i > 0)
            conv(p, place, c, c, 3);
    }
    norm(p, "decoder.norm_out", c);
    conv(p, "decoder.conv_out", 3, c, 3);
}

/* ---- text encoder --------------------------------------------------------------------------- */

static void text_encoder(void)
{
    static const char *const projections[] = {"k_proj", "v_proj", "q_proj", "out_proj"};
    const char *p = "cond_stage_model.transformer.text_model.";
    tensor((spread){0, 0.02f}, p, "embeddings.token_embedding.weight", 2, 49408, CONTEXT, 0);
    tensor((spread){0, 0.01f}, p, "embeddings.position_embedding.weight", 2, 77, CONTEXT, 0);
    for (int i = 0; i < 12; i++) {
        char b[128], name[32];
        snprintf(b, sizeof b, "%sencoder.layers.%d.", p, i);
        for (int k = 0; k < 4; k++) {
            snprintf(name, sizeof name, "self_attn.%s", projections[k]);
            matrix(b, name, CONTEXT, CONTEXT, true);
        }
        norm(b, "layer_norm1", CONTEXT);
        matrix(b, "mlp.fc1", 4 * CONTEXT, CONTEXT, true);
        matrix(b, "mlp.fc2", CONTEXT, 4 * CONTEXT, true);
        norm(b, "layer_norm2", CONTEXT);
    }
    norm(p, "final_layer_norm", CONTEXT);
}

/* ---- values --------------------------------------------------------------------------------- */

static uint64_t next_random(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15u; /* splitmix64 */
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Writes n uniform values; one random word makes four of them through a table of all 16-bit steps.
 */
static int write_values(FILE *f, size_t n, spread s, uint64_t *state)
{
    static uint16_t table[65536], values[1 << 16];
    const float half_width = s.deviation * sqrtf(3.0f);
    for (int i = 0; i < 65536; i++)
        table[i] = gen_f32_to_f16(s.mean + half_width * (((float)i + 0.5f) / 32768.0f - 1.0f));
    for (size_t done = 0; done < n;) {
        const size_t part = n - done < sizeof values / 2 ? n - done : sizeof values / 2;
        for (size_t i = 0; i < part; i += 4) {
            const uint64_t r = next_random(state);
            for (size_t k = 0; k < 4; k++)
                values[i + k] = table[(r >> (16 * k)) & 0xffff];
        }
        if (fwrite(values, 2, part, f) != part)
            return -1;
        done += part;
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: %s OUT.safetensors [SEED]\n", argv[0]);
        return 2;
    }
    uint64_t state = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    size_t total = 0;
    unet();
    vae();
    text_encoder();
    FILE *f = fopen(argv[1], "wb");
    int failed = !f || safetensors_write_header(f, items, count, "{\"format\":\"pt\"}");
    for (size_t i = 0; i < count && !failed; i++) {
        const size_t n = safetensors_item_size(&items[i]) / 2;
        failed = write_values(f, n, spreads[i], &state);
        total += n;
    }
    if (f && fclose(f))
        failed = 1;
    if (failed) {
        perror(argv[1]);
        return 1;
    }
    printf("%s: %zu tensors, %zu parameters\n", argv[1], count, total);
    return 0;
}
