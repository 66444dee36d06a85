/* test_bad_input.c GEN MODEL - damaged, hostile and misplaced files given to the program.
 *
 * A row of the table is one change to a copy of the tiny model, or another path in its place.  Each
 * is answered by the exit code of its kind and one line on stderr that names the file, perhaps with
 * a hint below; nothing goes to stdout and nothing is left behind. */
#include <jansson.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/api/program.h"
#include "tests/safetensors_writer.h"

#define UNET      "unet/diffusion_pytorch_model.safetensors"
#define VAE       "vae/diffusion_pytorch_model.safetensors"
#define TEXT      "text_encoder/model.safetensors"
#define SCHEDULER "scheduler/scheduler_config.json"

static char model[4096];

/* ---- changing files ---------------------------------------------------------------------------
 */

typedef struct bytes {
    unsigned char *data;
    size_t size;
} bytes;

static bytes read_all(const char *path)
{
    struct stat info;
    FILE *f = fopen(path, "rb");
    if (!f || fstat(fileno(f), &info))
        fail_msg("%s cannot be read", path);
    bytes b = {malloc((size_t)info.st_size + 1), (size_t)info.st_size};
    assert_non_null(b.data);
    assert_int_equal(fread(b.data, 1, b.size, f), b.size);
    fclose(f);
    return b;
}

static void write_all(const char *path, const void *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    if (!f)
        fail_msg("%s cannot be written", path);
    assert_int_equal(fwrite(data, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static size_t header_size(const bytes *file)
{
    size_t n = 0;
    for (int i = 7; i >= 0; i--)
        n = n << 8 | file->data[i];
    return n;
}

static json_t *header_of(const bytes *file)
{
    json_t *header = json_loadb((const char *)file->data + 8, header_size(file), 0, NULL);
    assert_non_null(header);
    return header;
}

/* Writes a file with this text as its header and the data of `file`. */
static void write_with_header(const char *path, const bytes *file, const char *text)
{
    const size_t n = strlen(text), start = 8 + header_size(file);
    unsigned char length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)((uint64_t)n >> (8 * i));
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(length, 8, 1, f), 1);
    assert_int_equal(fwrite(text, n, 1, f), 1);
    assert_int_equal(fwrite(file->data + start, file->size - start, 1, f), 1);
    assert_int_equal(fclose(f), 0);
}

typedef struct change {
    const char *file, *key, *value;
    double number;
} change;
typedef void (*change_fn)(const char *path, const change *c);

/* Keeps the first `number` bytes. */
static void cut(const char *path, const change *c)
{
    assert_int_equal(truncate(path, (off_t)c->number), 0);
}

/* Sets the 64-bit length at the beginning to `number`. */
static void set_length(const char *path, const change *c)
{
    bytes file = read_all(path);
    const uint64_t n = (uint64_t)c->number;
    for (int i = 0; i < 8; i++)
        file.data[i] = (unsigned char)(n >> (8 * i));
    write_all(path, file.data, file.size);
    free(file.data);
}

/* Merges the JSON object `value` into what the header says of tensor `key`. */
static void set_entry(const char *path, const change *c)
{
    bytes file = read_all(path);
    json_t *header = header_of(&file), *value = json_loads(c->value, 0, NULL);
    assert_non_null(value);
    assert_int_equal(json_object_update(json_object_get(header, c->key), value), 0);
    char *text = json_dumps(header, JSON_COMPACT);
    write_with_header(path, &file, text);
    free(text);
    json_decref(value);
    json_decref(header);
    free(file.data);
}

/* Calls tensor `key` by the name `value`. */
static void rename_tensor(const char *path, const change *c)
{
    bytes file = read_all(path);
    json_t *header = header_of(&file);
    assert_int_equal(json_object_set(header, c->value, json_object_get(header, c->key)), 0);
    assert_int_equal(json_object_del(header, c->key), 0);
    char *text = json_dumps(header, JSON_COMPACT);
    write_with_header(path, &file, text);
    free(text);
    json_decref(header);
    free(file.data);
}

/* Has tensor `key` twice in the header. */
static void double_tensor(const char *path, const change *c)
{
    bytes file = read_all(path);
    json_t *header = header_of(&file);
    char *text = json_dumps(header, JSON_COMPACT);
    char *entry = json_dumps(json_object_get(header, c->key), JSON_COMPACT);
    char *both = malloc(strlen(text) + strlen(entry) + strlen(c->key) + 8);
    assert_non_null(both);
    sprintf(both, "{\"%s\":%s,%s", c->key, entry, text + 1);
    write_with_header(path, &file, both);
    free(both);
    free(entry);
    free(text);
    json_decref(header);
    free(file.data);
}

/* Sets values of the f32 tensor `key`: the fifth, or with a `value` all of them, to `number`. */
static void set_values(const char *path, const change *c)
{
    bytes file = read_all(path);
    json_t *header = header_of(&file);
    const json_t *entry = json_object_get(header, c->key);
    assert_string_equal(json_string_value(json_object_get(entry, "dtype")), "F32");
    const json_t *offsets = json_object_get(entry, "data_offsets");
    const size_t start = 8 + header_size(&file);
    const size_t begin = (size_t)json_integer_value(json_array_get(offsets, 0)) / sizeof(float);
    const size_t end = (size_t)json_integer_value(json_array_get(offsets, 1)) / sizeof(float);
    const float number = (float)c->number;
    for (size_t i = c->value ? begin : begin + 4; i < (c->value ? end : begin + 5); i++)
        memcpy(file.data + start + i * sizeof number, &number, sizeof number);
    write_all(path, file.data, file.size);
    json_decref(header);
    free(file.data);
}

/* Sets a key of a JSON file. */
static void set_key(const char *path, const change *c)
{
    json_t *json = json_load_file(path, 0, NULL);
    json_t *value = json_loads(c->value, JSON_DECODE_ANY, NULL);
    assert_non_null(json);
    assert_non_null(value);
    assert_int_equal(json_object_set_new(json, c->key, value), 0);
    assert_int_equal(json_dump_file(json, path, 0), 0);
    json_decref(json);
}

/* Adds `number` to every id of a vocabulary. */
static void shift_ids(const char *path, const change *c)
{
    json_t *json = json_load_file(path, 0, NULL), *value;
    const char *key;
    json_object_foreach(json, key, value)
        json_integer_set(value, json_integer_value(value) + (json_int_t)c->number);
    assert_int_equal(json_dump_file(json, path, 0), 0);
    json_decref(json);
}

static void write_text(const char *path, const change *c)
{
    write_all(path, c->value, strlen(c->value));
}

/* `number` opening brackets. */
static void write_brackets(const char *path, const change *c)
{
    const size_t n = (size_t)c->number;
    char *text = malloc(n);
    assert_non_null(text);
    memset(text, '[', n);
    write_all(path, text, n);
    free(text);
}

static void shell(const char *format, const char *a, const char *b)
{
    char command[9000];
    snprintf(command, sizeof command, format, a, b);
    if (system(command) != 0)
        fail_msg("%s", command);
}

/* Removes a file or a folder. */
static void drop(const char *path, const change *c)
{
    (void)c;
    shell("rm -r '%s'%s", path, "");
}

static void rename_file(const char *path, const change *c)
{
    char to[4096];
    snprintf(to, sizeof to, "%s", program_path(c->value));
    assert_int_equal(rename(path, to), 0);
}

static void make_folder(const char *path, const change *c)
{
    (void)c;
    unlink(path);
    assert_int_equal(mkdir(path, 0777), 0);
}

static void make_pipe(const char *path, const change *c)
{
    (void)c;
    unlink(path);
    assert_int_equal(mkfifo(path, 0666), 0);
}

static void make_link(const char *path, const change *c)
{
    unlink(path);
    assert_int_equal(symlink(c->value, path), 0);
}

/* ---- running ----------------------------------------------------------------------------------
 */

/* "gen: ..." and perhaps "  hint: ...", no more; the message holds what is expected. */
static void expect_refusal(int code, int expected_code, const char *what, const char *message)
{
    const char *second = strchr(program_errors, '\n');
    if (code != expected_code)
        fail_msg("%s: exit %d, expected %d\n%s", what, code, expected_code, program_errors);
    if (!second || strncmp(program_errors, "gen: ", 5) != 0)
        fail_msg("%s: no line \"gen: ...\" but \"%s\"", what, program_errors);
    const char *third = second[1] ? strchr(second + 1, '\n') : second;
    if ((second[1] && strncmp(second + 1, "  hint: ", 8) != 0) || !third || third[1])
        fail_msg("%s: more than a line and a hint:\n%s", what, program_errors);
    if (!strstr(program_errors, message))
        fail_msg("%s: \"%s\" is not in: %s", what, message, program_errors);
    if (program_out[0])
        fail_msg("%s: something on stdout: %s", what, program_out);
}

static const char OPTIONS[] = "-W 48 -H 32 --steps 2 --seed 1 -o out/x.png cat";

static void run_model(const char *what, const char *path, int expected_code, const char *message)
{
    char line[4096];
    snprintf(line, sizeof line, "-m '%s' %s", path, OPTIONS);
    const int code = program_run(line, NULL);
    expect_refusal(code, expected_code, what, message);
    if (program_files("out")[0])
        fail_msg("%s: left behind: %s", what, program_files("out"));
}

/* ---- a model with one fault -------------------------------------------------------------------
 */

static const struct {
    const char *what;
    change_fn make;
    change change;
    int code;
    const char *message;
} faults[] = {
    /* containers */
    {"a download cut off", cut, {UNET, .number = 90000}, 4, UNET ": tensor \""},
    {"a download cut off early", cut, {UNET, .number = 100}, 4, "truncated download"},
    {"an empty file", cut, {UNET, .number = 0}, 4, UNET ": 0 bytes, too short"},
    {"a header of 2^63 bytes", set_length, {UNET, .number = 0x1p63}, 4, UNET ": not a safetensors"},
    {"a header beyond the file", set_length, {UNET, .number = 9e7}, 4, "the header ends at byte"},
    {"tensors that overlap",
     set_entry,
     {UNET, "conv_in.bias", "{\"data_offsets\":[0,32]}"},
     4,
     "overlaps"},
    {"a tensor beyond the file",
     set_entry,
     {UNET, "conv_in.bias", "{\"data_offsets\":[1099511627776,1099511627808]}"},
     4,
     "belong to no tensor"},
    {"offsets that run backwards",
     set_entry,
     {UNET, "conv_in.bias", "{\"data_offsets\":[32,0]}"},
     4,
     "tensor \"conv_in.bias\" has no valid data_offsets"},
    {"a shape of 2^80 elements",
     set_entry,
     {UNET, "conv_in.bias", "{\"shape\":[1099511627776,1099511627776]}"},
     4,
     "tensor \"conv_in.bias\" has a shape of more bytes than can be counted"},
    {"a negative shape",
     set_entry,
     {UNET, "conv_in.bias", "{\"shape\":[-8]}"},
     4,
     "tensor \"conv_in.bias\" has a shape that is not whole numbers"},
    {"a tensor twice", double_tensor, {UNET, "conv_in.bias"}, 4, "duplicate object key"},
    {"an unknown type",
     set_entry,
     {UNET, "conv_in.bias", "{\"dtype\":\"X9\"}"},
     4,
     "unknown dtype \"X9\""},
    {"a type of another size",
     set_entry,
     {UNET, "conv_in.bias", "{\"dtype\":\"F16\"}"},
     4,
     "tensor \"conv_in.bias\" has 32 bytes of data, its shape and F16 need 16"},
    {"whole numbers as weights",
     set_entry,
     {UNET, "conv_in.bias", "{\"dtype\":\"I32\"}"},
     4,
     "tensor \"conv_in.bias\" is I32, expected F32, F16 or BF16"},
    {"a folder as weights", make_folder, {UNET}, 4, UNET ": not a file"},
    {"a pipe as weights", make_pipe, {UNET}, 4, UNET ": not a file"},
    /* tensors */
    {"a weight that is missing",
     rename_tensor,
     {UNET, "conv_in.weight", "conv_in.waight"},
     4,
     UNET ": tensor \"conv_in.weight\" is missing"},
    {"a bias that is missing",
     rename_tensor,
     {UNET, "conv_in.bias", "conv_in.bais"},
     4,
     UNET ": tensor \"conv_in.bias\" is missing"},
    {"a bias of the decoder that is missing",
     rename_tensor,
     {VAE, "decoder.conv_out.bias", "decoder.conv_out.bais"},
     4,
     VAE ": tensor \"decoder.conv_out.bias\" is missing"},
    {"a bias of the encoder that is missing",
     rename_tensor,
     {TEXT, "text_model.final_layer_norm.bias", "text_model.final_layer_norm.bais"},
     4,
     TEXT ": tensor \"text_model.final_layer_norm.bias\" is missing"},
    {"a weight of another shape",
     set_entry,
     {UNET, "conv_in.weight", "{\"shape\":[4,8,3,3]}"},
     4,
     UNET ": conv_in: weight [4,8,3,3], input ["},
    {"a bias of another shape",
     set_entry,
     {UNET, "conv_in.bias", "{\"shape\":[2,2,2],\"dtype\":\"F32\"}"},
     0,
     ""},
    {"not a number in the UNet",
     set_values,
     {UNET, "conv_out.weight", .number = NAN},
     4,
     UNET ": tensor \"conv_out.weight\" is not a number at element 4"},
    {"infinity in the UNet",
     set_values,
     {UNET, "conv_norm_out.bias", .number = INFINITY},
     4,
     UNET ": tensor \"conv_norm_out.bias\" is infinite at element 4"},
    {"not a number in the decoder",
     set_values,
     {VAE, "decoder.conv_in.weight", .number = NAN},
     4,
     VAE ": tensor \"decoder.conv_in.weight\" is not a number"},
    {"not a number in the encoder",
     set_values,
     {TEXT, "text_model.embeddings.token_embedding.weight", .number = NAN},
     4,
     TEXT ": tensor \"text_model.embeddings.token_embedding.weight\" is not a number"},
    {"overflow in the first step",
     set_values,
     {UNET, "conv_in.weight", "all", 3e38},
     1,
     "step 1 of 2: conv_in: a value is not finite"},
    {"overflow at the end of a step",
     set_values,
     {UNET, "conv_out.weight", "all", 1e38},
     1,
     "step 1 of 2: conv_out: a value is not finite"},
    {"overflow in the decoder",
     set_values,
     {VAE, "decoder.conv_out.weight", "all", 3e38},
     1,
     "decoder: decoder.conv_out: a value is not finite"},
    {"overflow in the text encoder",
     set_values,
     {TEXT, "text_model.encoder.layers.0.mlp.fc2.weight", "all", 3e38},
     1,
     "text encoder: text_model.encoder.layers.0.mlp.fc2: a value is not finite"},
    /* configurations */
    {"an empty configuration", write_text, {"unet/config.json", .value = ""}, 4, "not valid JSON"},
    {"no JSON",
     write_text,
     {"unet/config.json", .value = "{{{{"},
     4,
     "unet/config.json: not valid"},
    {"a list", write_text, {"unet/config.json", .value = "[1]"}, 4, "not a JSON object"},
    {"no UTF-8",
     write_text,
     {"unet/config.json", .value = "{\"a\":\"\xff\"}"},
     4,
     "not valid JSON"},
    {"100000 brackets", write_brackets, {"unet/config.json", .number = 1e5}, 4, "depth reached"},
    {"a pipe as configuration", make_pipe, {"unet/config.json"}, 4, "unet/config.json: not a file"},
    {"negative channels",
     set_key,
     {"unet/config.json", "in_channels", "-4"},
     4,
     "unet/config.json: \"in_channels\" is -4, expected 1..65536"},
    {"no channels",
     set_key,
     {"unet/config.json", "block_out_channels", "[0,0]"},
     4,
     "\"block_out_channels\" is 0"},
    {"2^31 channels",
     set_key,
     {"unet/config.json", "block_out_channels", "[2147483648,2147483648]"},
     4,
     "\"block_out_channels\" is 2147483648"},
    {"a word for a number",
     set_key,
     {"unet/config.json", "layers_per_block", "\"two\""},
     4,
     "\"layers_per_block\" is a string, expected a whole number"},
    {"10^9 layers",
     set_key,
     {"unet/config.json", "layers_per_block", "1000000000"},
     4,
     "\"layers_per_block\" is 1000000000"},
    {"no heads", set_key, {"unet/config.json", "attention_head_dim", "0"}, 4, "attention_head_dim"},
    {"groups that do not divide",
     set_key,
     {"unet/config.json", "norm_num_groups", "7"},
     4,
     "\"norm_num_groups\" is 7, which does not divide"},
    {"an unknown activation", set_key, {"unet/config.json", "act_fn", "\"x\""}, 4, "\"act_fn\""},
    {"an unknown block",
     set_key,
     {"unet/config.json", "down_block_types", "[\"Nope\",\"DownBlock2D\"]"},
     4,
     "\"down_block_types\" has \"Nope\""},
    {"an unknown network",
     set_key,
     {"unet/config.json", "_class_name", "\"UNet3DConditionModel\""},
     4,
     "gen has no network of class \"UNet3DConditionModel\""},
    {"an unknown scheduler",
     set_key,
     {SCHEDULER, "_class_name", "\"FooScheduler\""},
     4,
     SCHEDULER ": scheduler class \"FooScheduler\" is not known"},
    {"no training steps",
     set_key,
     {SCHEDULER, "num_train_timesteps", "0"},
     4,
     "\"num_train_timesteps\" is 0"},
    {"10^12 training steps",
     set_key,
     {SCHEDULER, "num_train_timesteps", "1000000000000"},
     4,
     "\"num_train_timesteps\" is 1e+12"},
    {"a word for a beta",
     set_key,
     {SCHEDULER, "beta_start", "\"x\""},
     4,
     "\"beta_start\" is \"x\", expected a number"},
    {"a negative beta", set_key, {SCHEDULER, "beta_start", "-1"}, 4, "\"beta_start\" is -1"},
    {"an unknown prediction",
     set_key,
     {SCHEDULER, "prediction_type", "\"q\""},
     4,
     "\"prediction_type\" is \"q\""},
    {"a scale of zero",
     set_key,
     {"vae/config.json", "scaling_factor", "0"},
     4,
     "\"scaling_factor\""},
    {"another autoencoder class",
     set_key,
     {"vae/config.json", "_class_name", "\"VQModel\""},
     4,
     "vae/config.json: \"_class_name\" is \"VQModel\""},
    {"latents of other channels",
     set_key,
     {"vae/config.json", "latent_channels", "16"},
     4,
     "16 latent channels, the network gives 4"},
    {"40 stages",
     set_key,
     {"vae/config.json", "block_out_channels",
      "[8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8]"},
     4,
     "\"block_out_channels\" has 40 entries"},
    {"3 words", set_key, {"text_encoder/config.json", "vocab_size", "3"}, 4, "expected [3,24]"},
    {"1 position",
     set_key,
     {"text_encoder/config.json", "max_position_embeddings", "1"},
     4,
     "\"max_position_embeddings\" is 1"},
    {"10^6 layers",
     set_key,
     {"text_encoder/config.json", "num_hidden_layers", "1000000"},
     4,
     "\"num_hidden_layers\" is 1000000"},
    {"an index that is no JSON", write_text, {"model_index.json", .value = "nope"}, 4, "not valid"},
    {"an empty index", write_text, {"model_index.json", .value = "{}"}, 4, "not a generator"},
    /* vocabularies */
    {"half a vocabulary",
     write_text,
     {"tokenizer/vocab.json", .value = "{\"a\":"},
     4,
     "vocab.json"},
    {"an empty vocabulary", write_text, {"tokenizer/vocab.json", .value = "{}"}, 4, "tokenizer/"},
    {"rules of another vocabulary",
     write_text,
     {"tokenizer/merges.txt", .value = "#version: 0.2\nzzz yyy\n"},
     4,
     "tokenizer/merges.txt: rule 1"},
    {"a vocabulary of another size",
     shift_ids,
     {"tokenizer/vocab.json", .number = 1e5},
     4,
     "this vocabulary has 100602 ids, but the text encoder knows 602"},
    {"a folder as vocabulary", make_folder, {"tokenizer/vocab.json"}, 4, "vocab.json: not a file"},
    {"a pipe as vocabulary", make_pipe, {"tokenizer/merges.txt"}, 4, "merges.txt: not a file"},
    {"no vocabulary", drop, {"tokenizer"}, 4, "has no vocabulary of its own"},
    /* parts of the directory */
    {"no UNet",
     drop,
     {"unet"},
     4,
     "model_index.json names \"unet\", but the folder unet is missing"},
    {"no autoencoder", drop, {"vae"}, 4, "but the folder vae is missing"},
    {"no text encoder", drop, {"text_encoder"}, 4, "but the folder text_encoder is missing"},
    {"no scheduler", drop, {"scheduler"}, 4, "but the folder scheduler is missing"},
    {"no configuration", drop, {"unet/config.json"}, 4, "unet: config.json is missing"},
    {"no weights", drop, {UNET}, 4, "unet: no weights (.safetensors) in this folder"},
    {"weights as pickle",
     rename_file,
     {UNET, .value = "m/unet/diffusion_pytorch_model.bin"},
     4,
     "unet: has only diffusion_pytorch_model.bin, which cannot be read yet"},
    {"a link to itself",
     make_link,
     {UNET, .value = "diffusion_pytorch_model.safetensors"},
     4,
     UNET ": Too many levels of symbolic links"},
};

static void models_with_one_fault(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        char path[4096], file[256];
        shell("cp -r '%s' '%s'", model, program_path("m"));
        snprintf(file, sizeof file, "m/%s", faults[i].change.file);
        snprintf(path, sizeof path, "%s", program_path(file));
        faults[i].make(path, &faults[i].change);
        if (faults[i].code)
            run_model(faults[i].what, "m", faults[i].code, faults[i].message);
        shell("rm -r '%s'%s", program_path("m"), "");
    }
}

/* ---- other things than a model ----------------------------------------------------------------
 */

static void write_file(const char *name, const char *text)
{
    write_all(program_path(name), text, strlen(text));
}

/* A LoRA, by the names of its tensors. */
static void write_lora(void)
{
    static const safetensors_item items[] = {
        {"lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight", GEN_F16, 2, {4, 4}, NULL},
        {"lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight", GEN_F16, 2, {4, 4}, NULL},
        {"lora_unet_down_blocks_0_attentions_0_proj_in.alpha", GEN_F32, 0, {0}, NULL},
    };
    static const safetensors_item image_bridge[] = {
        {"transformer.transformer_blocks.0.img_mod.1.lora_A.weight", GEN_F16, 2, {2, 4}, NULL},
        {"transformer.transformer_blocks.0.img_mod.1.lora_B.weight", GEN_F16, 2, {4, 2}, NULL},
    };
    assert_int_equal(safetensors_write(program_path("lora.safetensors"), items, 3, NULL), 0);
    assert_int_equal(safetensors_write(program_path("vibt.safetensors"), image_bridge, 2, NULL), 0);
}

static void things_that_are_no_model(void **state)
{
    (void)state;
    static const struct {
        const char *path, *message;
    } cases[] = {
        {"none", "gen: none: No such file"},
        {"empty", "gen: empty: 0 bytes, too short for a safetensors file"},
        {"text", "gen: text: not a safetensors file"},
        {"a.ckpt", "gen: a.ckpt: not a safetensors file but a PyTorch checkpoint (zip)"},
        {"old.ckpt", "gen: old.ckpt: not a safetensors file but a PyTorch checkpoint (pickle)"},
        {"a.gguf", "gen: a.gguf: not a safetensors file but a GGUF file"},
        {"page.safetensors", "gen: page.safetensors: not a safetensors file but a web page"},
        {"lfs.safetensors", "a Git LFS pointer"},
        {"picture.safetensors", "a PNG picture"},
        {"no_tensors.safetensors", "gen: no_tensors.safetensors is a file without tensors"},
        {"lora.safetensors", "gen: lora.safetensors is a LoRA for Stable Diffusion (3 tensors, "
                             "rank 4), not a generator\n  hint: it is a change to a model"},
        {"vibt.safetensors", "gen: vibt.safetensors is a LoRA for Qwen-Image (2 tensors, rank 2), "
                             "not a generator\n  hint: it is a change to a model"},
        {"vae.safetensors", "gen: vae.safetensors is a VAE"},
        {"text.safetensors", "gen: text.safetensors is a text encoder"},
        {"m/vae", "gen: m/vae is a VAE"},
        {"m/text_encoder", "gen: m/text_encoder is a text encoder"},
        {"m/tokenizer", "gen: m/tokenizer: "},
        {"m/model_index.json", "gen: m/model_index.json: a list of components, not weights"},
        {"folder", "gen: folder: not a model"},
        {"link1", "gen: link1: Too many levels of symbolic links"},
        {"dangling", "gen: dangling: No such file"},
        {"pipe", "gen: pipe: not a file"},
        {"/dev/null", "gen: /dev/null: not a file"},
        {"/dev/zero", "gen: /dev/zero: not a file"},
        {"/", "gen: /: not a model"},
        {"m/unet/config.json/x", "gen: m/unet/config.json/x: Not a directory"},
    };
    shell("cp -r '%s' '%s'", model, program_path("m"));
    shell("cp '%s/" VAE "' '%s'", model, program_path("vae.safetensors"));
    shell("cp '%s/" TEXT "' '%s'", model, program_path("text.safetensors"));
    write_file("empty", "");
    write_file("text", "Hello, this is a text and no model.\n");
    write_file("a.ckpt", "PK\003\004............................");
    write_file("old.ckpt", "\200\002}q..........................");
    write_file("a.gguf", "GGUF\003...........................");
    write_file("page.safetensors", "<!DOCTYPE html><html><body>Not found</body></html>");
    write_file("lfs.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n");
    write_file("picture.safetensors", "\211PNG\r\n\032\n.................");
    write_file("no_tensors.safetensors", "");
    assert_int_equal(safetensors_write_raw(program_path("no_tensors.safetensors"), 2, "{}", 2, 0),
                     0);
    write_lora();
    make_folder(program_path("folder"), NULL);
    make_link(program_path("link1"), &(change){.value = "link2"});
    make_link(program_path("link2"), &(change){.value = "link1"});
    make_link(program_path("dangling"), &(change){.value = "nowhere"});
    make_pipe(program_path("pipe"), NULL);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        run_model(cases[i].path, cases[i].path, 4, cases[i].message);
}

static void a_file_without_permission(void **state)
{
    (void)state;
    write_file("secret.safetensors", "{}");
    assert_int_equal(chmod(program_path("secret.safetensors"), 0), 0);
    if (access(program_path("secret.safetensors"), R_OK) == 0) {
        print_message("skipped: this user may read everything\n");
        skip();
    }
    run_model("no permission", "secret.safetensors", 4,
              "gen: secret.safetensors: Permission denied");
}

/* ---- options, prompts, outputs ----------------------------------------------------------------
 */

static void requests(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        int code;
        const char *message;
    } cases[] = {
        {"-m MODEL -W 50 -H 32 cat", 2, "width: 50 is not a multiple of 4"},
        {"-m MODEL -W 65540 -H 32 cat", 2, "-W: 65540 is out of range (1..65536)"},
        {"-m MODEL -W -8 -H 32 cat", 2, "-W"},
        {"-m MODEL -W 0x30 -H 32 cat", 2, "-W"},
        {"-m MODEL -W 65536 -H 65536 cat", 5, "65536x65536 needs "},
        {"-m MODEL -W 16384 -H 16384 --mem-limit 64M cat", 5, "16384x16384 needs "},
        {"-m MODEL -W 48 -H 32 --mem-limit 1M cat", 5, "48x32 needs "},
        {"-m MODEL -W 48 -H 32 --mem-limit 64K cat", 2, "--mem-limit"},
        {"-m MODEL --steps 0 cat", 2, "--steps: 0 is out of range (1..1000)"},
        {"-m MODEL --steps 1001 cat", 2, "--steps: 1001 is out of range (1..1000)"},
        {"-m MODEL --steps 2.5 cat", 2, "--steps: \"2.5\" is not a whole number"},
        {"-m MODEL --cfg nan cat", 2, "--cfg"},
        {"-m MODEL --cfg 1e99 cat", 2, "cfg"},
        {"-m MODEL --seed 99999999999999999999 cat", 2, "--seed"},
        {"-m MODEL --threads 0 cat", 2, "--threads"},
        {"-m MODEL --threads 100000 cat", 2, "threads"},
        {"-m MODEL --mem-limit lots cat", 2, "--mem-limit"},
        {"-m MODEL --precision q2 cat", 2, "precision"},
        {"-m MODEL --rng dice cat", 2, "rng"},
        {"-m MODEL --sampler nope cat", 2, "\"nope\" is not known"},
        {"-m MODEL --clip-skip 9 -W 48 -H 32 cat", 2, "clip"},
        {"-m MODEL --vae none cat", 4, "gen: none: No such file"},
        {"-m MODEL --vae MODEL/unet cat", 4, "MODEL/unet: No such file"},
        {"-m MODEL --tokenizer none -W 48 -H 32 cat", 4, "--tokenizer: none"},
        {"-m MODEL -o /proc/x/cat.png -W 48 -H 32 cat", 7, "/proc/x/cat.png: cannot be written"},
        {"-m MODEL -o file/cat.png -W 48 -H 32 cat", 7, "file/cat.png: cannot be written"},
        {"-m MODEL -o /dev/full --format png -W 48 -H 32 --steps 1 cat", 7,
         "/dev/full: cannot be written: No space left on device"},
        {"-m MODEL -o /dev/full --format jpg -W 48 -H 32 --steps 1 cat", 7,
         "/dev/full: cannot be written: No space left on device"},
        {"-m MODEL -o /dev/full --format ppm -W 48 -H 32 --steps 1 cat", 7,
         "/dev/full: cannot be written: No space left on device"},
        {"-m MODEL -p @/nonexistent", 3, "prompt file /nonexistent: cannot be read"},
        {"-m MODEL -p @folder", 3, "prompt file folder: cannot be read"},
        {"-m MODEL -p 'caf\xe9'", 2, "the prompt is not UTF-8 text: byte 3 is 0xe9"},
        {"-m MODEL -p '\xc0\x80'", 2, "the prompt is not UTF-8 text: byte 0 is 0xc0"},
        {"info none", 4, "gen: none: No such file"},
        {"info folder", 4, "gen: folder: not a model"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        make_folder(program_path("folder"), NULL);
        write_file("file", "not a folder\n");
        const int code = program_run(cases[i].line, NULL);
        expect_refusal(code, cases[i].code, cases[i].line, cases[i].message);
        if (strcmp(program_files(""), "file folder ") != 0)
            fail_msg("gen %s: left behind: %s", cases[i].line, program_files(""));
        rmdir(program_path("folder"));
    }
}

/* A stdout that is full is an error even for the picture that was asked for there. */
static void full_stdout(void **state)
{
    (void)state;
    static const char *const formats[] = {"png", "jpg", "ppm"};
    for (int i = 0; i < 3; i++) {
        char line[256];
        snprintf(line, sizeof line, "-m MODEL -W 48 -H 32 --steps 1 -o - --format %s cat",
                 formats[i]);
        const int code = program_finish(program_start(line, NULL, "/dev/full"), false);
        expect_refusal(code, 7, line, "standard output: cannot be written");
    }
}

static void unusual_names_and_prompts(void **state)
{
    (void)state;
    char *long_prompt = malloc(110000), *line = malloc(120000);
    assert_non_null(long_prompt);
    assert_non_null(line);
    shell("cp -r '%s' '%s'", model,
          program_path("m\xc3\xb8"
                       "del \xe6\x97\xa5 1"));
    program_expect(0, "-m 'm\xc3\xb8"
                      "del \xe6\x97\xa5 1' -W 48 -H 32 --steps 1 -o 'a \xc3\xa9/b c.png' cat");
    assert_string_equal(program_out, "a \xc3\xa9/b c.png\n");
    size_t n = 0;
    while (n < 6000)
        n += (size_t)sprintf(long_prompt + n, "a cat, ");
    sprintf(line, "-m MODEL -W 48 -H 32 --steps 1 -o y.png -p '%s'", long_prompt);
    const int code = program_run(line, NULL);
    if (code != 0 || strcmp(program_out, "y.png\n") != 0)
        fail_msg("a prompt of 6 kB: exit %d: %s", code, program_errors);
    while (n < 100000)
        n += (size_t)sprintf(long_prompt + n, "a cat, ");
    sprintf(line, "-m MODEL -W 48 -H 32 --steps 1 -o z.png -p '%s'", long_prompt);
    expect_refusal(program_run(line, NULL), 2, "a prompt of 100 kB",
                   "the prompt has 100002 bytes, at most 65536 are possible");
    program_expect(0,
                   "-m MODEL -W 48 -H 32 --steps 1 -o {prompt:40}.png -p '../../\x01\x1b[31m/etc'");
    assert_null(strchr(program_out, '/'));
    assert_null(strchr(program_out, '\x1b'));
    free(line);
    free(long_prompt);
}

int main(int argc, char **argv)
{
    if (argc != 3 || program_init(argv[1], argv[2]) || !realpath(argv[2], model))
        return 2;
#define CASE(name) cmocka_unit_test_setup_teardown(name, program_set_up, program_tear_down)
    const struct CMUnitTest tests[] = {
        CASE(models_with_one_fault),
        CASE(things_that_are_no_model),
        CASE(a_file_without_permission),
        CASE(requests),
        CASE(full_stdout),
        CASE(unusual_names_and_prompts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
