/* random_tokens.c - see random_tokens.h. */
#include "tests/tools/random_tokens.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/safetensors_writer.h"

/* ---- the list of tensors -------------------------------------------------------------------- */

enum { MAX_TENSORS = 2400 };

static safetensors_item items[MAX_TENSORS];
static float means[MAX_TENSORS], deviations[MAX_TENSORS];
static size_t count;
static gen_dtype dtype = GEN_BF16;
static char config[512];
static const char *prefix = "";

static safetensors_item *tensor(float mean, float deviation, const char *format, va_list args)
{
    char name[256];
    const int n = snprintf(name, sizeof name, "%s", prefix);
    vsnprintf(name + n, sizeof name - (size_t)n, format, args);
    if (count == MAX_TENSORS) {
        fprintf(stderr, "too many tensors\n");
        exit(1);
    }
    means[count] = mean;
    deviations[count] = deviation;
    items[count] = (safetensors_item){.name = strdup(name), .dtype = dtype};
    return &items[count++];
}

static void vector(float mean, float deviation, int64_t n, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static void vector(float mean, float deviation, int64_t n, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    safetensors_item *item = tensor(mean, deviation, format, args);
    va_end(args);
    item->rank = 1;
    item->dims[0] = n;
}

static void shaped(float mean, float deviation, int rank, const int64_t *dims, const char *format,
                   ...) __attribute__((format(printf, 5, 6)));
static void shaped(float mean, float deviation, int rank, const int64_t *dims, const char *format,
                   ...)
{
    va_list args;
    va_start(args, format);
    safetensors_item *item = tensor(mean, deviation, format, args);
    va_end(args);
    item->rank = rank;
    memcpy(item->dims, dims, (size_t)rank * sizeof *dims);
}

static void matrix(const char *name, int64_t out, int64_t in, bool has_bias)
{
    shaped(0, 1 / sqrtf((float)in), 2, (const int64_t[]){out, in}, "%s.weight", name);
    if (has_bias)
        vector(0, 0.02f, out, "%s.bias", name);
}

static void matrix_in(const char *scope, const char *name, int64_t out, int64_t in, bool has_bias)
{
    char full[512];
    snprintf(full, sizeof full, "%.200s.%.200s", scope, name);
    matrix(full, out, in, has_bias);
}

/* A kernel kt x k x k with bias; kt 0: of two dimensions. */
static void conv(const char *scope, const char *name, int64_t out, int64_t in, int64_t kt,
                 int64_t k)
{
    const float deviation = 1 / sqrtf((float)(in * (kt ? kt : 1) * k * k));
    if (kt)
        shaped(0, deviation, 5, (const int64_t[]){out, in, kt, k, k}, "%s%s.weight", scope, name);
    else
        shaped(0, deviation, 4, (const int64_t[]){out, in, k, k}, "%s%s.weight", scope, name);
    vector(0, 0.02f, out, "%s%s.bias", scope, name);
}

/* ---- Diffusion-RWKV ------------------------------------------------------------------------- */

static void rwkv_block(const char *b, bool is_first, bool has_skip, int64_t D)
{
    static const char *const norms[] = {"ln1", "ln2", "ln0"};
    static const char *const mixes[] = {"att.spatial_mix_k", "att.spatial_mix_v",
                                        "att.spatial_mix_r", "ffn.spatial_mix_k",
                                        "ffn.spatial_mix_r"};
    static const char *const square[] = {"att.key", "att.value", "att.receptance", "att.output",
                                         "ffn.receptance"};
    for (int i = 0; i < (is_first ? 3 : 2); i++) {
        vector(1, 0.05f, D, "%s.%s.weight", b, norms[i]);
        vector(0, 0.02f, D, "%s.%s.bias", b, norms[i]);
    }
    vector(1, 0.5f, D, "%s.att.spatial_decay", b);
    vector(0.5f, 0.3f, D, "%s.att.spatial_first", b);
    for (int i = 0; i < 5; i++) {
        shaped(0.5f, 0.2f, 3, (const int64_t[]){1, 1, D}, "%s.%s", b, mixes[i]);
        matrix_in(b, square[i], D, D, false);
    }
    matrix_in(b, "ffn.key", 4 * D, D, false);
    matrix_in(b, "ffn.value", D, 4 * D, false);
    matrix_in(b, "adaLN_modulation.1", 6 * D, D, true);
    if (has_skip)
        matrix_in(b, "skip_linear", D, 2 * D, true);
}

void random_rwkv(const random_rwkv_size *s)
{
    const int64_t D = s->width, tokens = (s->side / 2) * (s->side / 2);
    char name[64];
    shaped(0, 0.02f, 3, (const int64_t[]){1, tokens, D}, "pos_embed");
    conv("", "patch_embed.proj", D, s->channels, 0, 2);
    matrix("time_embed.mlp.0", D, 256, true);
    matrix("time_embed.mlp.2", D, D, true);
    if (s->num_classes)
        shaped(0, 0.02f, 2, (const int64_t[]){s->num_classes + 1, D},
               "label_emb.embedding_table.weight");
    for (int i = 0; i < s->depth / 2; i++) {
        snprintf(name, sizeof name, "in_blocks.%d", i);
        rwkv_block(name, i == 0, false, D);
    }
    rwkv_block("mid_block", false, false, D);
    for (int i = 0; i < s->depth / 2; i++) {
        snprintf(name, sizeof name, "out_blocks.%d", i);
        rwkv_block(name, false, true, D);
    }
    vector(1, 0.05f, D, "norm_f.weight");
    vector(0, 0.02f, D, "norm_f.bias");
    matrix("final_layer.adaLN_modulation.1", 2 * D, D, true);
    matrix("final_layer.linear", 2 * 2 * 2 * s->channels, D, true);
    snprintf(config, sizeof config,
             "{\"_class_name\": \"DiffRWKVModel\", \"img_size\": %d, \"patch_size\": 2,\n"
             " \"embed_dim\": %d, \"channels\": %d, \"depth\": %d, \"num_classes\": %d,\n"
             " \"learn_sigma\": true}\n",
             s->side, s->width, s->channels, s->depth, s->num_classes ? s->num_classes : -1);
}

/* ---- DiT ------------------------------------------------------------------------------------ */

/* Under the names of the original code. */
void random_dit(const random_dit_size *s)
{
    const int64_t D = s->width;
    const int depth = s->depth, classes = s->num_classes;
    char b[64];
    conv("", "x_embedder.proj", D, 4, 0, 2);
    matrix("t_embedder.mlp.0", D, 256, true);
    matrix("t_embedder.mlp.2", D, D, true);
    shaped(0, 0.02f, 2, (const int64_t[]){classes + 1, D}, "y_embedder.embedding_table.weight");
    for (int i = 0; i < depth; i++) {
        snprintf(b, sizeof b, "blocks.%d", i);
        matrix_in(b, "attn.qkv", 3 * D, D, true);
        matrix_in(b, "attn.proj", D, D, true);
        matrix_in(b, "mlp.fc1", 4 * D, D, true);
        matrix_in(b, "mlp.fc2", D, 4 * D, true);
        matrix_in(b, "adaLN_modulation.1", 6 * D, D, true);
    }
    matrix("final_layer.adaLN_modulation.1", 2 * D, D, true);
    matrix("final_layer.linear", 2 * 2 * 8, D, true);
    snprintf(config, sizeof config,
             "{\"_class_name\": \"DiT\", \"input_size\": %d, \"patch_size\": 2,\n"
             " \"in_channels\": 4, \"hidden_size\": %d, \"depth\": %d, \"num_heads\": %d,\n"
             " \"num_classes\": %d, \"learn_sigma\": true}\n",
             s->side, s->width, s->depth, s->heads, s->num_classes);
}

/* ---- T5 ------------------------------------------------------------------------------------- */

void random_t5(const random_t5_size *s)
{
    const int64_t D = s->width, inner = (int64_t)s->heads * s->head_dim, FF = s->ffn;
    char b[64];
    shaped(0, 1, 2, (const int64_t[]){s->vocabulary, D}, "shared.weight");
    for (int i = 0; i < s->layers; i++) {
        static const char *const in[] = {"q", "k", "v"};
        snprintf(b, sizeof b, "encoder.block.%d.layer.0.SelfAttention", i);
        for (int k = 0; k < 3; k++)
            matrix_in(b, in[k], inner, D, false);
        matrix_in(b, "o", D, inner, false);
        if (i == 0)
            shaped(0, 1, 2, (const int64_t[]){32, s->heads}, "%s.relative_attention_bias.weight",
                   b);
        snprintf(b, sizeof b, "encoder.block.%d.layer.1.DenseReluDense", i);
        matrix_in(b, "wi_0", FF, D, false);
        matrix_in(b, "wi_1", FF, D, false);
        matrix_in(b, "wo", D, FF, false);
        vector(1, 0.05f, D, "encoder.block.%d.layer.0.layer_norm.weight", i);
        vector(1, 0.05f, D, "encoder.block.%d.layer.1.layer_norm.weight", i);
    }
    vector(1, 0.05f, D, "encoder.final_layer_norm.weight");
    snprintf(config, sizeof config,
             "{\"architectures\": [\"T5EncoderModel\"], \"vocab_size\": %d, \"d_model\": %d,\n"
             " \"d_kv\": %d, \"d_ff\": %d, \"num_layers\": %d, \"num_heads\": %d,\n"
             " \"feed_forward_proj\": \"gated-gelu\"}\n",
             s->vocabulary, s->width, s->head_dim, s->ffn, s->layers, s->heads);
}

/* ---- Wan ------------------------------------------------------------------------------------ */

/* What a network that looks at a picture has more. */
static void wan_image(const char *b, int64_t D)
{
    matrix_in(b, "attn2.add_k_proj", D, D, true);
    matrix_in(b, "attn2.add_v_proj", D, D, true);
    vector(1, 0.05f, D, "%s.attn2.norm_added_k.weight", b);
}

static void wan_image_embedder(int64_t image, int64_t D)
{
    const char *b = "condition_embedder.image_embedder";
    vector(1, 0.05f, image, "%s.norm1.weight", b);
    vector(0, 0.02f, image, "%s.norm1.bias", b);
    matrix_in(b, "ff.net.0.proj", image, image, true);
    matrix_in(b, "ff.net.2", D, image, true);
    vector(1, 0.05f, D, "%s.norm2.weight", b);
    vector(0, 0.02f, D, "%s.norm2.bias", b);
}

static void wan_attention(const char *b, const char *name, int64_t D)
{
    static const char *const parts[] = {"to_q", "to_k", "to_v", "to_out.0"};
    char scope[64];
    snprintf(scope, sizeof scope, "%.40s.%.20s", b, name);
    for (int i = 0; i < 4; i++)
        matrix_in(scope, parts[i], D, D, true);
    vector(1, 0.05f, D, "%s.norm_q.weight", scope);
    vector(1, 0.05f, D, "%s.norm_k.weight", scope);
}

void random_wan(const random_wan_size *s)
{
    const int64_t D = (int64_t)s->heads * s->head_dim, FFN = s->ffn, TEXT = s->text;
    const int64_t freq = s->freq;
    char b[64];
    prefix = s->is_rcm ? "net." : "";
    if (s->is_rcm)
        shaped(0, 1 / sqrtf(4.0f * (float)s->in), 2, (const int64_t[]){D, 4 * s->in},
               "patch_embedding.weight");
    else
        shaped(0, 1 / sqrtf(4.0f * (float)s->in), 5, (const int64_t[]){D, s->in, 1, 2, 2},
               "patch_embedding.weight");
    vector(0, 0.02f, D, "patch_embedding.bias");
    matrix("condition_embedder.text_embedder.linear_1", D, TEXT, true);
    matrix("condition_embedder.text_embedder.linear_2", D, D, true);
    matrix("condition_embedder.time_embedder.linear_1", D, freq, true);
    matrix("condition_embedder.time_embedder.linear_2", D, D, true);
    matrix("condition_embedder.time_proj", 6 * D, D, true);
    for (int i = 0; i < s->layers; i++) {
        snprintf(b, sizeof b, "blocks.%d", i);
        shaped(0, 0.1f, 3, (const int64_t[]){1, 6, D}, "%s.scale_shift_table", b);
        wan_attention(b, "attn1", D);
        wan_attention(b, "attn2", D);
        if (s->image)
            wan_image(b, D);
        vector(1, 0.05f, D, "%s.norm2.weight", b);
        vector(0, 0.02f, D, "%s.norm2.bias", b);
        matrix_in(b, "ffn.net.0.proj", FFN, D, true);
        matrix_in(b, "ffn.net.2", D, FFN, true);
    }
    if (s->image)
        wan_image_embedder(s->image, D);
    shaped(0, 0.1f, 3, (const int64_t[]){1, 2, D}, "scale_shift_table");
    matrix("proj_out", 4 * s->out, D, true);
    snprintf(config, sizeof config,
             "{\"_class_name\": \"WanTransformer3DModel\", \"num_attention_heads\": %d,\n"
             " \"attention_head_dim\": %d, \"num_layers\": %d, \"ffn_dim\": %d,\n"
             " \"in_channels\": %d, \"out_channels\": %d, \"text_dim\": %d, \"freq_dim\": %d,\n"
             " \"patch_size\": [1, 2, 2], \"eps\": 1e-06, \"image_dim\": %d}\n",
             s->heads, s->head_dim, s->layers, s->ffn, s->in, s->out, s->text, s->freq, s->image);
}

/* ---- the image encoder of CLIP -------------------------------------------------------------- */

void random_vision(const random_vision_size *s)
{
    static const char *const parts[] = {"q_proj", "k_proj", "v_proj", "out_proj"};
    const int64_t D = s->width, side = s->image / s->patch, area = 3 * s->patch * s->patch;
    char b[64];
    prefix = "vision_model.";
    vector(0, 0.5f, D, "embeddings.class_embedding");
    shaped(0, 1 / sqrtf((float)area), 4, (const int64_t[]){D, 3, s->patch, s->patch},
           "embeddings.patch_embedding.weight");
    shaped(0, 0.5f, 2, (const int64_t[]){1 + side * side, D},
           "embeddings.position_embedding.weight");
    vector(1, 0.05f, D, "pre_layrnorm.weight");
    vector(0, 0.02f, D, "pre_layrnorm.bias");
    for (int i = 0; i < s->layers; i++) {
        for (int k = 1; k <= 2; k++) {
            vector(1, 0.05f, D, "encoder.layers.%d.layer_norm%d.weight", i, k);
            vector(0, 0.02f, D, "encoder.layers.%d.layer_norm%d.bias", i, k);
        }
        snprintf(b, sizeof b, "encoder.layers.%d.self_attn", i);
        for (int k = 0; k < 4; k++)
            matrix_in(b, parts[k], D, D, true);
        snprintf(b, sizeof b, "encoder.layers.%d.mlp", i);
        matrix_in(b, "fc1", s->ffn, D, true);
        matrix_in(b, "fc2", D, s->ffn, true);
    }
    vector(1, 0.05f, D, "post_layernorm.weight");
    vector(0, 0.02f, D, "post_layernorm.bias");
    snprintf(config, sizeof config,
             "{\"architectures\": [\"CLIPVisionModel\"], \"hidden_size\": %d,\n"
             " \"num_attention_heads\": %d, \"num_hidden_layers\": %d,\n"
             " \"intermediate_size\": %d, \"image_size\": %d, \"patch_size\": %d,\n"
             " \"hidden_act\": \"gelu\"}\n",
             s->width, s->heads, s->layers, s->ffn, s->image, s->patch);
}

/* ---- the autoencoder of Wan 2.1 ------------------------------------------------------------- */

static void gamma_of(const char *scope, const char *name, int64_t n)
{
    shaped(1, 0.05f, 4, (const int64_t[]){n, 1, 1, 1}, "%s%s.gamma", scope, name);
}

static int64_t vae_resnet(const char *b, int64_t in, int64_t out)
{
    gamma_of(b, ".norm1", in);
    conv(b, ".conv1", out, in, 3, 3);
    gamma_of(b, ".norm2", out);
    conv(b, ".conv2", out, out, 3, 3);
    if (in != out)
        conv(b, ".conv_shortcut", out, in, 1, 1);
    return out;
}

static void vae_middle(const char *side, int64_t c)
{
    char b[64];
    for (int i = 0; i < 2; i++) {
        snprintf(b, sizeof b, "%s.mid_block.resnets.%d", side, i);
        vae_resnet(b, c, c);
    }
    snprintf(b, sizeof b, "%s.mid_block.attentions.0", side);
    shaped(1, 0.05f, 3, (const int64_t[]){c, 1, 1}, "%s.norm.gamma", b);
    conv(b, ".to_qkv", 3 * c, c, 0, 1);
    conv(b, ".proj", c, c, 0, 1);
}

static void vae_encoder(const int64_t *widths)
{
    char b[64];
    int64_t c = widths[0];
    int layer = 0;
    conv("encoder", ".conv_in", c, 3, 3, 3);
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 2; j++) {
            snprintf(b, sizeof b, "encoder.down_blocks.%d", layer++);
            c = vae_resnet(b, c, widths[i]);
        }
        if (i == 3)
            break;
        snprintf(b, sizeof b, "encoder.down_blocks.%d", layer++);
        conv(b, ".resample.1", c, c, 0, 3);
        if (i > 0)
            shaped(0, 1 / sqrtf(3.0f * (float)c), 5, (const int64_t[]){c, c, 3, 1, 1},
                   "%s.time_conv.weight", b);
        if (i > 0)
            vector(0, 0.02f, c, "%s.time_conv.bias", b);
    }
    vae_middle("encoder", c);
    gamma_of("encoder", ".norm_out", c);
    conv("encoder", ".conv_out", 32, c, 3, 3);
    conv("", "quant_conv", 32, 32, 1, 1);
}

static void vae_decoder(const int64_t *widths)
{
    char b[64];
    int64_t c = widths[3];
    conv("", "post_quant_conv", 16, 16, 1, 1);
    conv("decoder", ".conv_in", c, 16, 3, 3);
    vae_middle("decoder", c);
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 3; j++) {
            snprintf(b, sizeof b, "decoder.up_blocks.%d.resnets.%d", i, j);
            c = vae_resnet(b, c, widths[3 - i]);
        }
        if (i == 3)
            break;
        snprintf(b, sizeof b, "decoder.up_blocks.%d.upsamplers.0", i);
        conv(b, ".resample.1", c / 2, c, 0, 3);
        if (i < 2)
            shaped(0, 1 / sqrtf(3.0f * (float)c), 5, (const int64_t[]){2 * c, c, 3, 1, 1},
                   "%s.time_conv.weight", b);
        if (i < 2)
            vector(0, 0.02f, 2 * c, "%s.time_conv.bias", b);
        c /= 2;
    }
    gamma_of("decoder", ".norm_out", c);
    conv("decoder", ".conv_out", 3, c, 3, 3);
}

void random_wan_vae(void)
{
    static const int64_t widths[4] = {96, 192, 384, 384};
    dtype = GEN_F32;
    vae_encoder(widths);
    vae_decoder(widths);
    snprintf(config, sizeof config,
             "{\"_class_name\": \"AutoencoderKLWan\", \"base_dim\": 96, \"z_dim\": 16,\n"
             " \"dim_mult\": [1, 2, 4, 4], \"num_res_blocks\": 2,\n"
             " \"temperal_downsample\": [false, true, true]}\n");
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

static int write_values(FILE *f, const safetensors_item *item, float mean, float deviation,
                        uint64_t *state)
{
    static float wide[1 << 14];
    static uint16_t narrow[1 << 14];
    const float half_width = deviation * sqrtf(3.0f);
    const size_t size = gen_dtype_size(item->dtype);
    for (size_t left = safetensors_item_size(item) / size; left > 0;) {
        const size_t n = left < (1 << 14) ? left : 1 << 14;
        for (size_t i = 0; i < n; i++) {
            wide[i] = mean + half_width * ((float)(next_random(state) >> 40) * 0x1p-23f - 1.0f);
            narrow[i] = gen_f32_to_bf16(wide[i]);
        }
        const void *data = size == 4 ? (const void *)wide : narrow;
        if (fwrite(data, size, n, f) != n)
            return -1;
        left -= n;
    }
    return 0;
}

static int write_text(const char *folder, const char *name, const char *text)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    const int failed = !f || fputs(text, f) < 0;
    return (f && fclose(f)) || failed;
}

int random_write(const char *folder, uint64_t seed)
{
    char path[4096];
    uint64_t state = seed;
    size_t total = 0;
    mkdir(folder, 0777);
    snprintf(path, sizeof path, "%s/diffusion_pytorch_model.safetensors", folder);
    FILE *f = fopen(path, "wb");
    int failed = !f || safetensors_write_header(f, items, count, "{\"format\":\"pt\"}");
    for (size_t i = 0; i < count && !failed; i++) {
        failed = write_values(f, &items[i], means[i], deviations[i], &state);
        total += safetensors_item_size(&items[i]) / gen_dtype_size(items[i].dtype);
    }
    if (f && fclose(f))
        failed = 1;
    failed = failed || write_text(folder, "config.json", config);
    if (failed)
        perror(path);
    else
        printf("%s: %zu tensors, %zu parameters\n", path, count, total);
    for (size_t i = 0; i < count; i++)
        free((void *)(uintptr_t)items[i].name);
    count = 0;
    dtype = GEN_BF16;
    prefix = "";
    return failed;
}
