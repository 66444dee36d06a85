/* model_files.c - finding the files of a model and opening its components. */
#include "gen/pipeline/model_files.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gen/core/safetensors.h"
#include "gen/pipeline/pipeline.h"
#include "gen/pipeline/registry.h"

/* Folders of a diffusers directory that hold networks gen may need, and what they hold when their
 * configuration does not say. */
static const struct {
    const char *name, *default_class;
} component_folders[] = {
    {"unet", "UNet2DConditionModel"},
    {"transformer", ""},
    {"vae", "AutoencoderKL"},
    {"text_encoder", "CLIPTextModel"},
    {"text_encoder_2", "CLIPTextModelWithProjection"},
    {"text_encoder_3", ""},
    {"image_encoder", "CLIPVisionModel"},
};

enum { NUM_FOLDERS = sizeof component_folders / sizeof component_folders[0] };

static const char *const part_names[GEN_NUM_PARTS] = {"unet", "vae", "text_encoder",
                                                      "text_encoder_2", "transformer"};

/* ---- paths ---------------------------------------------------------------------------------- */

static bool ends_with(const char *s, const char *ending)
{
    const size_t n = strlen(s), m = strlen(ending);
    return n >= m && strcmp(s + n - m, ending) == 0;
}

static bool is_directory(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static gen_status no_memory(gen_error *err, const gen_model_files *files)
{
    return gen_no_memory(err, files->path, sizeof *files);
}

/* folder/name in the arena; NULL without memory. */
static const char *join(const gen_model_files *files, const char *folder, const char *name)
{
    return gen_arena_printf(files->arena, "%s%s%s", folder, ends_with(folder, "/") ? "" : "/",
                            name);
}

/* Does folder/name exist? */
static bool has_file(const char *folder, const char *name)
{
    char path[PATH_MAX];
    const int n = snprintf(path, sizeof path, "%s/%s", folder, name);
    return n > 0 && (size_t)n < sizeof path && access(path, F_OK) == 0;
}

/* ---- which of the weight files of a folder -------------------------------------------------- */

/* One of several files of a model: "stem-00001-of-00003.safetensors". */
static bool is_shard(const char *name)
{
    const char *of = strstr(name, "-of-");
    return of && of > name && of[-1] >= '0' && of[-1] <= '9' && of[4] >= '0' && of[4] <= '9';
}

/* How well a file name suits as the weights of a component: 0 is best, -1 is none.  The plain file
 * comes before those of a variant (fp16 and others), a file before an index of shards, and the
 * training copy (non_ema) comes last. */
static int weight_file_rank(const char *name)
{
    static const char *const stems[] = {"diffusion_pytorch_model", "model", "pytorch_model"};
    enum { OTHER_NAME = 20 };
    const bool is_index = strstr(name, ".safetensors.") && ends_with(name, ".json");
    if (!is_index && (!ends_with(name, ".safetensors") || is_shard(name)))
        return -1;
    const char *rest = NULL;
    for (size_t i = 0; i < sizeof stems / sizeof stems[0] && !rest; i++)
        if (strncmp(name, stems[i], strlen(stems[i])) == 0 && name[strlen(stems[i])] == '.')
            rest = name + strlen(stems[i]);
    if (!rest)
        return OTHER_NAME + is_index;
    if (strcmp(rest, ".safetensors") == 0)
        return 0;
    if (strcmp(rest, ".safetensors.index.json") == 0)
        return 1;
    const int variant = strstr(rest, "non_ema") ? 8 : strstr(rest, "fp16") ? 2 : 4;
    return variant + is_index;
}

/* What a search of a folder found. */
typedef struct folder_scan {
    const char *best;        /* file name, or NULL */
    int best_rank, num_best; /* how many have that rank */
    const char *foreign;     /* a weight file of a kind that cannot be read, or NULL */
    const char *shard;
    const char *tiny_encoder, *tiny_decoder;
} folder_scan;

static void scan_name(folder_scan *scan, const char *name)
{
    static const char *const foreign[] = {".bin", ".ckpt", ".pt", ".pth", ".gguf", ".msgpack"};
    const int rank = weight_file_rank(name);
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++)
        if (ends_with(name, foreign[i]))
            scan->foreign = name;
    if (ends_with(name, ".safetensors") && is_shard(name))
        scan->shard = name;
    if (ends_with(name, "_encoder.safetensors"))
        scan->tiny_encoder = name;
    if (ends_with(name, "_decoder.safetensors"))
        scan->tiny_decoder = name;
    if (rank < 0 || (scan->best && rank > scan->best_rank))
        return;
    scan->num_best = scan->best && rank == scan->best_rank ? scan->num_best + 1 : 1;
    if (!scan->best || rank < scan->best_rank || strcmp(name, scan->best) < 0)
        scan->best = name;
    scan->best_rank = rank;
}

static gen_status scan_folder(folder_scan *scan, const gen_model_files *files, const char *folder,
                              gen_error *err)
{
    *scan = (folder_scan){0};
    DIR *dir = opendir(folder);
    if (!dir)
        return gen_fail(err, GEN_ERROR_MODEL, "%s: %s", folder, strerror(errno));
    gen_status status = GEN_OK;
    const struct dirent *item;
    while (!status && (item = readdir(dir))) {
        if (item->d_name[0] == '.')
            continue;
        const char *name = gen_arena_strdup(files->arena, item->d_name);
        if (name)
            scan_name(scan, name);
        else
            status = no_memory(err, files);
    }
    closedir(dir);
    return status;
}

/* The reason why a folder has no usable weights. */
static gen_status no_weights(const folder_scan *scan, const char *folder, gen_error *err)
{
    if (scan->shard) {
        gen_fail(err, GEN_ERROR_MODEL, "%s: has %s, but the index of the shards is missing", folder,
                 scan->shard);
        gen_hint(err, "download the file that ends in .safetensors.index.json, too");
    } else if (scan->foreign) {
        gen_fail(err, GEN_ERROR_MODEL, "%s: has only %s, which cannot be read yet", folder,
                 scan->foreign);
        gen_hint(err, "get the .safetensors file of the model; most are offered as one");
    } else {
        gen_fail(err, GEN_ERROR_MODEL, "%s: no weights (.safetensors) in this folder", folder);
        gen_hint(err, "the download may be incomplete");
    }
    return GEN_ERROR_MODEL;
}

/* ---- components ----------------------------------------------------------------------------- */

/* A new set for tensors under the names of their files. */
static gen_status new_source(gen_weights **out, gen_model_files *files, gen_error *err)
{
    if (files->num_sources == files->max_sources) {
        const int max = files->max_sources ? 2 * files->max_sources : 8;
        gen_weights **sources = gen_realloc(files->sources, (size_t)max * sizeof *sources);
        if (!sources)
            return no_memory(err, files);
        files->sources = sources;
        files->max_sources = max;
    }
    GEN_TRY(gen_weights_new(out, err));
    files->sources[files->num_sources++] = *out;
    return GEN_OK;
}

/* Opens a weight file of whatever container into a new source. */
static gen_status open_source(gen_weights **out, gen_model_files *files, const char *path,
                              gen_error *err)
{
    GEN_TRY(new_source(out, files, err));
    return ends_with(path, ".json") ? gen_safetensors_open_index(*out, path, err)
                                    : gen_safetensors_open(*out, path, err);
}

/* A new component with an empty set of weights. */
static gen_status new_component(gen_model_component **out, gen_model_files *files, const char *name,
                                const char *path, gen_error *err)
{
    if (files->num_components == GEN_MAX_COMPONENTS)
        return gen_fail(err, GEN_ERROR_MODEL, "%s: more than %d components", files->path,
                        GEN_MAX_COMPONENTS);
    gen_model_component *c = &files->components[files->num_components];
    GEN_TRY(gen_weights_new(&c->weights, err));
    files->num_components++;
    c->name = name;
    c->path = path;
    c->class_name = "";
    *out = c;
    return GEN_OK;
}

/* _class_name of diffusers, architectures[0] of transformers; "" when there is neither. */
static const char *class_of(const gen_json *config)
{
    const json_t *name = gen_json_get(config, "_class_name");
    if (!json_is_string(name))
        name = json_array_get(gen_json_get(config, "architectures"), 0);
    return json_is_string(name) ? json_string_value(name) : "";
}

static gen_part part_of_class(const char *class_name)
{
    static const struct {
        const char *class_name;
        gen_part part;
    } classes[] = {
        {"UNet2DConditionModel", GEN_PART_UNET},
        {"AutoencoderKL", GEN_PART_VAE},
        {"AutoencoderTiny", GEN_PART_VAE},
        {"AutoencoderKLWan", GEN_PART_VAE},
        {"CLIPTextModel", GEN_PART_TEXT_ENCODER},
        {"CLIPTextModelWithProjection", GEN_PART_TEXT_ENCODER},
        {"CLIPModel", GEN_PART_TEXT_ENCODER},
        {"T5EncoderModel", GEN_PART_TEXT_ENCODER},
        {"UMT5EncoderModel", GEN_PART_TEXT_ENCODER},
        {"T5ForConditionalGeneration", GEN_PART_TEXT_ENCODER},
    };
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++)
        if (strcmp(classes[i].class_name, class_name) == 0)
            return classes[i].part;
    return gen_network_find(class_name) ? GEN_PART_TRANSFORMER : GEN_PART_OTHER;
}

/* The name a component of this class has in a diffusers directory. */
static const char *name_of_class(const char *class_name, gen_part part)
{
    if (part < GEN_NUM_PARTS)
        return part_names[part];
    if (strncmp(class_name, "Autoencoder", 11) == 0)
        return "vae";
    if (strstr(class_name, "VisionModel"))
        return "image_encoder";
    return strstr(class_name, "TextModel") || strstr(class_name, "EncoderModel") ? "text_encoder"
                                                                                 : "transformer";
}

/* Opens a folder with config.json and weights; `name` NULL: named after its class. */
static gen_status open_component(gen_model_files *files, const char *name, const char *folder,
                                 const char *default_class, gen_error *err)
{
    folder_scan scan;
    gen_model_component *c = NULL;
    gen_weights *source;
    GEN_TRY(scan_folder(&scan, files, folder, err));
    if (!has_file(folder, "config.json")) {
        gen_fail(err, GEN_ERROR_MODEL, "%s: config.json is missing", folder);
        gen_hint(err, "download the whole folder of the model");
        return GEN_ERROR_MODEL;
    }
    GEN_TRY(new_component(&c, files, name, folder, err));
    const char *path = join(files, folder, "config.json");
    if (!path)
        return no_memory(err, files);
    GEN_TRY(gen_json_open(&c->config, path, GEN_ERROR_MODEL, err));
    c->class_name = *class_of(c->config) ? class_of(c->config) : default_class;
    const gen_part part = part_of_class(c->class_name);
    if (!name)
        c->name = name_of_class(c->class_name, part);
    if (!scan.best || (scan.best_rank >= 20 && scan.num_best > 1))
        return no_weights(&scan, folder, err);
    if (!(path = join(files, folder, scan.best)))
        return no_memory(err, files);
    GEN_TRY(open_source(&source, files, path, err));
    return gen_keymap_add(c->weights, source, part, err);
}

/* What a single file says about its noise schedule. */
static void read_prediction(gen_model_files *files, const gen_weights *source)
{
    const gen_model_component *unet = gen_model_files_find(files, "unet");
    const char *note = gen_weights_note(source, "modelspec.prediction_type");
    int64_t in_channels = 0;
    if (!unet)
        return;
    gen_json_int(unet->config, "in_channels", 0, INT64_MIN, INT64_MAX, &in_channels, NULL);
    const bool is_v = gen_weights_find(source, "v_pred") || (note && *note == 'v');
    files->is_zero_snr = gen_weights_find(source, "ztsnr") != NULL;
    if (is_v || files->family == GEN_FAMILY_SD_UPSCALER ||
        gen_weights_find(unet->weights, "class_embedding.linear_1.weight"))
        files->prediction_type = "v_prediction";
    else if (files->family != GEN_FAMILY_SD2 || in_channels != 4 || (note && *note == 'e'))
        files->prediction_type = "epsilon"; /* SD 2 comes as both, and no shape tells which */
}

/* Makes the components of a file that holds one or several. */
static gen_status add_parts(gen_model_files *files, gen_weights *source, gen_error *err)
{
    gen_keymap_examine(source, &files->contents);
    for (int part = 0; part < GEN_NUM_PARTS; part++) {
        gen_model_component *c = NULL;
        if (files->contents.num_tensors[part] == 0)
            continue;
        GEN_TRY(new_component(&c, files, part_names[part], files->path, err));
        GEN_TRY(gen_keymap_add(c->weights, source, (gen_part)part, err));
        if (part == GEN_PART_UNET) {
            files->family = gen_infer_family(c->weights);
            GEN_TRY(gen_infer_unet_config(&c->config, c->weights, files->path, err));
        } else if (part == GEN_PART_TRANSFORMER) {
            GEN_TRY(gen_infer_transformer_config(&c->config, c->weights, files->path, err));
        } else if (part == GEN_PART_VAE) {
            GEN_TRY(gen_infer_vae_config(&c->config, c->weights, files->family, source, files->path,
                                         err));
        } else {
            GEN_TRY(gen_infer_text_config(&c->config, c->weights, part == GEN_PART_TEXT_ENCODER_2,
                                          files->path, err));
        }
        c->class_name = class_of(c->config);
    }
    const gen_model_component *unet = gen_model_files_find(files, "unet");
    const gen_weight *stem = unet ? gen_weights_find(unet->weights, "conv_in.weight") : NULL;
    files->is_original_layout = stem && ends_with(stem->file_name, "input_blocks.0.0.weight");
    read_prediction(files, source);
    return GEN_OK;
}

/* ---- what a path can be --------------------------------------------------------------------- */

static gen_status open_single(gen_model_files *files, const char *path, gen_error *err)
{
    gen_weights *source;
    files->kind = GEN_FILES_SINGLE;
    GEN_TRY(open_source(&source, files, path, err));
    return add_parts(files, source, err);
}

/* The two files of a tiny autoencoder in its original form. */
static gen_status open_tiny_pair(gen_model_files *files, const char *folder,
                                 const folder_scan *scan, gen_error *err)
{
    const char *names[2] = {scan->tiny_encoder, scan->tiny_decoder};
    gen_model_component *c = NULL;
    files->kind = GEN_FILES_COMPONENT;
    GEN_TRY(new_component(&c, files, "vae", folder, err));
    for (int i = 0; i < 2; i++) {
        gen_weights *source;
        const char *path = join(files, folder, names[i]);
        if (!path)
            return no_memory(err, files);
        GEN_TRY(open_source(&source, files, path, err));
        GEN_TRY(gen_keymap_add(c->weights, source, GEN_PART_VAE, err));
    }
    GEN_TRY(gen_infer_vae_config(&c->config, c->weights, GEN_FAMILY_UNKNOWN, NULL, folder, err));
    c->class_name = class_of(c->config);
    return GEN_OK;
}

/* A folder without model_index.json, config.json and component folders. */
static gen_status open_loose_folder(gen_model_files *files, const char *folder, gen_error *err)
{
    folder_scan scan;
    GEN_TRY(scan_folder(&scan, files, folder, err));
    if (scan.num_best == 2 && scan.tiny_encoder && scan.tiny_decoder)
        return open_tiny_pair(files, folder, &scan, err);
    if (scan.num_best > 1) {
        gen_fail(err, GEN_ERROR_MODEL,
                 "%s: has %d weight files, %s among them, and no "
                 "model_index.json",
                 folder, scan.num_best, scan.best);
        gen_hint(err, "name one of the files instead of the folder");
        return GEN_ERROR_MODEL;
    }
    if (!scan.best) {
        no_weights(&scan, folder, err);
        if (!scan.shard && !scan.foreign) {
            gen_fail(err, GEN_ERROR_MODEL,
                     "%s: not a model: no model_index.json, no config.json, no .safetensors file",
                     folder);
            gen_hint(err, "give a diffusers directory or a .safetensors file");
        }
        return GEN_ERROR_MODEL;
    }
    const char *path = join(files, folder, scan.best);
    return path ? open_single(files, path, err) : no_memory(err, files);
}

/* Is the component named in model_index.json, by its class or by the path of its folder?  Without
 * an index: is its folder there? */
static bool wants(const gen_model_files *files, const char *name)
{
    if (!files->index)
        return has_file(files->path, name);
    const json_t *entry = gen_json_get(files->index, name);
    return json_is_string(entry) ||
           (json_array_size(entry) == 2 && json_is_string(json_array_get(entry, 1)));
}

/* Is this a relative path that stays below the folder above the model's?  The file it comes from
 * may be anybody's. */
static bool is_near(const char *path)
{
    const char *part = strncmp(path, "../", 3) == 0 ? path + 3 : path;
    if (!*part || *part == '/')
        return false;
    for (; part; part = strchr(part, '/'), part += part != NULL)
        if (part[0] == '.' && part[1] == '.' && (part[2] == '/' || !part[2]))
            return false;
    return true;
}

/* The folder of a component, which has to exist: path/name, or where model_index.json says. */
static gen_status need_folder(const char **folder, const gen_model_files *files, const char *name,
                              gen_error *err)
{
    const json_t *entry = files->index ? gen_json_get(files->index, name) : NULL;
    const char *said = json_is_string(entry) ? json_string_value(entry) : name;
    if (!is_near(said)) {
        gen_fail(err, GEN_ERROR_MODEL,
                 "%s: model_index.json has \"%s\" at \"%.80s\", outside the folder the model is in",
                 files->path, name, said);
        return gen_hint(err, "a shared component is a folder beside the model, \"../other/%s\"",
                        name);
    }
    *folder = join(files, files->path, said);
    if (!*folder)
        return no_memory(err, files);
    if (is_directory(*folder))
        return GEN_OK;
    gen_fail(err, GEN_ERROR_MODEL,
             "%s: model_index.json names \"%s\", but the folder %.80s is missing", files->path,
             name, said);
    return gen_hint(err, said == name ? "download the whole directory of the model"
                                      : "the model it shares this with has to lie beside it");
}

/* The folder of a vocabulary.  A missing one is not an error here, as it may be found elsewhere. */
static gen_status find_vocabulary(const char **folder, const gen_model_files *files,
                                  const char *name, gen_error *err)
{
    if (files->index && json_is_string(gen_json_get(files->index, name)))
        return need_folder(folder, files, name, err);
    if (!has_file(files->path, name))
        return GEN_OK;
    *folder = join(files, files->path, name);
    return *folder ? GEN_OK : no_memory(err, files);
}

static gen_status open_directory(gen_model_files *files, const char *path, gen_error *err)
{
    const char *folder;
    files->kind = GEN_FILES_DIRECTORY;
    if (has_file(path, "model_index.json")) {
        const char *index = join(files, path, "model_index.json");
        if (!index)
            return no_memory(err, files);
        GEN_TRY(gen_json_open(&files->index, index, GEN_ERROR_MODEL, err));
    }
    for (int i = 0; i < NUM_FOLDERS; i++) {
        if (!wants(files, component_folders[i].name))
            continue;
        GEN_TRY(need_folder(&folder, files, component_folders[i].name, err));
        GEN_TRY(open_component(files, component_folders[i].name, folder,
                               component_folders[i].default_class, err));
    }
    if (wants(files, "scheduler")) {
        GEN_TRY(need_folder(&folder, files, "scheduler", err));
        const char *config = join(files, folder, "scheduler_config.json");
        if (!config)
            return no_memory(err, files);
        GEN_TRY(gen_json_open(&files->scheduler, config, GEN_ERROR_MODEL, err));
    }
    GEN_TRY(find_vocabulary(&files->tokenizer, files, "tokenizer", err));
    GEN_TRY(find_vocabulary(&files->tokenizer_2, files, "tokenizer_2", err));
    const gen_model_component *unet = gen_model_files_find(files, "unet");
    if (unet)
        files->family = gen_infer_family(unet->weights);
    return GEN_OK;
}

static gen_status open_path(gen_model_files *files, gen_error *err)
{
    const char *path = files->path;
    struct stat info;
    if (stat(path, &info)) {
        gen_fail(err, GEN_ERROR_MODEL, "%s: %s", path, strerror(errno));
        gen_hint(err, "give a diffusers directory or a .safetensors file");
        return GEN_ERROR_MODEL;
    }
    if (!S_ISDIR(info.st_mode)) {
        if (strcmp(path, "model_index.json") == 0 || ends_with(path, "/model_index.json")) {
            gen_fail(err, GEN_ERROR_MODEL, "%s: a list of components, not weights", path);
            gen_hint(err, "give the directory it is in");
            return GEN_ERROR_MODEL;
        }
        return open_single(files, path, err);
    }
    if (has_file(path, "model_index.json"))
        return open_directory(files, path, err);
    if (has_file(path, "config.json")) {
        files->kind = GEN_FILES_COMPONENT;
        return open_component(files, NULL, path, "", err);
    }
    for (int i = 0; i < NUM_FOLDERS; i++) {
        char config[64];
        snprintf(config, sizeof config, "%s/config.json", component_folders[i].name);
        if (has_file(path, config))
            return open_directory(files, path, err);
    }
    return open_loose_folder(files, path, err);
}

/* A bare name of nothing in the working directory may be that of a model that ships with gen. */
static char *find_shipped(const char *name)
{
    char *path = NULL;
    if (*name && *name != '.' && !strchr(name, '/') && access(name, F_OK) != 0)
        gen_find_asset(&path, name, NULL);
    return path;
}

gen_status gen_model_files_open(gen_model_files **out, const char *path, gen_error *err)
{
    gen_status status = GEN_OK;
    char *shipped = find_shipped(path);
    gen_model_files *files = gen_calloc(1, sizeof *files);
    if (!files || !(files->arena = gen_arena_new()) ||
        !(files->path = gen_arena_strdup(files->arena, shipped ? shipped : path)))
        status = gen_no_memory(err, path, sizeof *files);
    gen_free(shipped);
    if (!status)
        status = open_path(files, err);
    if (status) {
        gen_model_files_free(files);
        return status;
    }
    *out = files;
    return GEN_OK;
}

void gen_model_files_free(gen_model_files *files)
{
    if (!files)
        return;
    for (int i = 0; i < files->num_components; i++) { /* before the sources they borrow from */
        gen_weights_free(files->components[i].weights);
        gen_json_free(files->components[i].config);
    }
    for (int i = 0; i < files->num_sources; i++)
        gen_weights_free(files->sources[i]);
    gen_free(files->sources);
    gen_json_free(files->index);
    gen_json_free(files->scheduler);
    gen_model_files_free(files->base);
    gen_arena_free(files->arena);
    gen_free(files);
}

const gen_model_component *gen_model_files_find(const gen_model_files *files, const char *name)
{
    for (int i = 0; i < files->num_components; i++)
        if (strcmp(files->components[i].name, name) == 0)
            return &files->components[i];
    return NULL;
}

static gen_status refuse_lora(const gen_model_files *files, gen_error *err)
{
    gen_fail(err, GEN_ERROR_MODEL, "%s is %s, not a generator", files->path,
             gen_model_files_phrase(files));
    return gen_hint(err, "it is a change to a model, without which it draws nothing: merge it into "
                         "its base with the tools of that, and give -m the result");
}

gen_status gen_model_files_require(const gen_model_component **out, const gen_model_files *files,
                                   const char *name, gen_error *err)
{
    *out = gen_model_files_find(files, name);
    if (*out)
        return GEN_OK;
    const char *phrase = gen_model_files_phrase(files);
    const bool is_denoiser = strcmp(name, "unet") == 0 || strcmp(name, "transformer") == 0;
    const bool is_lora = files->contents.is_lora;
    if (is_denoiser && files->num_components == 1 && gen_model_files_find(files, "vae")) {
        gen_fail(err, GEN_ERROR_MODEL, "%s is %s, not a generator", files->path, phrase);
        gen_hint(err, "pass it with --vae, or give -m a file with a UNet; `gen info FILE` shows "
                      "what a file holds");
    } else if (is_denoiser && is_lora) {
        refuse_lora(files, err);
    } else if (is_denoiser && gen_model_files_find(files, "transformer")) {
        gen_fail(err, GEN_ERROR_MODEL, "%s is %s, which gen cannot run", files->path, phrase);
        gen_hint(err, "give -m a model of a kind that gen knows");
    } else if (is_denoiser) {
        gen_fail(err, GEN_ERROR_MODEL, "%s is %s, not a generator", files->path, phrase);
        gen_hint(err, "give -m a file with a UNet; `gen info FILE` shows what a file holds");
    } else {
        gen_fail(err, GEN_ERROR_MODEL, "%s is %s, it has no %s", files->path, phrase, name);
        if (strcmp(name, "vae") == 0)
            gen_hint(err, "give the autoencoder with --vae FILE, or a complete model with --base");
        else if (strcmp(name, "image_encoder") == 0)
            gen_hint(err, "give -m or --base a complete model: the network looks at the picture "
                          "with it");
        else if (gen_model_files_find(files, "transformer"))
            gen_hint(err, "name it with --t5 PATH, or a complete model with --base");
        else
            gen_hint(err, "give -m a complete model; `gen info FILE` shows what a file holds");
    }
    return GEN_ERROR_MODEL;
}

/* ---- another autoencoder -------------------------------------------------------------------- */

/* Gives a recognised configuration the scale of the model's own autoencoder. */
static gen_status copy_scale(gen_json *to, const gen_json *from, gen_error *err)
{
    static const char *const keys[] = {"scaling_factor", "shift_factor", "latents_mean",
                                       "latents_std"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        json_t *value = json_object_get(from->root, keys[i]);
        if (!value)
            json_object_del(to->root, keys[i]);
        else if (json_object_set(to->root, keys[i], value))
            return gen_no_memory(err, to->path, 64);
    }
    return GEN_OK;
}

static gen_status check_vae(gen_model_component *vae, const gen_model_component *old,
                            const gen_model_files *files, const gen_model_files *other,
                            gen_error *err)
{
    const bool is_kl = strcmp(vae->class_name, "AutoencoderKL") == 0;
    int64_t channels = 0, old_channels = 0;
    if (old) {
        GEN_TRY(gen_json_int(vae->config, "latent_channels", 4, 1, 1 << 20, &channels, err));
        GEN_TRY(gen_json_int(old->config, "latent_channels", 4, 1, 1 << 20, &old_channels, err));
        if (channels != old_channels)
            return gen_fail(err, GEN_ERROR_MODEL,
                            "%s: this VAE has latents of %d channels, the model's have %d",
                            other->path, (int)channels, (int)old_channels);
    }
    if (!is_kl || other->kind != GEN_FILES_SINGLE)
        return GEN_OK;
    if (old && strcmp(old->class_name, "AutoencoderKL") == 0)
        return copy_scale(vae->config, old->config, err);
    gen_json *config;
    GEN_TRY(gen_infer_vae_config(&config, vae->weights, files->family, other->sources[0],
                                 other->path, err));
    gen_json_free(vae->config);
    vae->config = config;
    vae->class_name = class_of(config);
    return GEN_OK;
}

/* Takes over the sources of other files, which the components moved from there borrow from. */
static gen_status take_sources(gen_model_files *files, gen_model_files *other, gen_error *err)
{
    const size_t n = (size_t)files->num_sources + (size_t)other->num_sources;
    gen_weights **sources = gen_realloc(files->sources, n * sizeof *sources);
    if (!sources)
        return no_memory(err, files);
    files->sources = sources;
    for (int i = 0; i < other->num_sources; i++)
        sources[files->num_sources++] = other->sources[i];
    files->max_sources = files->num_sources;
    other->num_sources = 0;
    return GEN_OK;
}

/* Moves a component of other files in the place of that name. */
static gen_status take_component(gen_model_files *files, gen_model_files *other, const char *name,
                                 gen_error *err)
{
    gen_model_component *new = (gen_model_component *)(uintptr_t)gen_model_files_find(other, name);
    gen_model_component *old = (gen_model_component *)(uintptr_t)gen_model_files_find(files, name);
    gen_model_component taken = {.name = name, .class_name = new->class_name};
    taken.path = gen_arena_strdup(files->arena, new->path);
    if (!taken.path)
        return no_memory(err, files);
    if (!old && files->num_components == GEN_MAX_COMPONENTS)
        return gen_fail(err, GEN_ERROR_MODEL, "%s: more than %d components", files->path,
                        GEN_MAX_COMPONENTS);
    GEN_TRY(take_sources(files, other, err));
    taken.weights = new->weights;
    taken.config = new->config;
    new->weights = NULL;
    new->config = NULL;
    if (old) {
        gen_weights_free(old->weights);
        gen_json_free(old->config);
    } else {
        old = &files->components[files->num_components++];
    }
    *old = taken;
    return GEN_OK;
}

/* The network itself is never taken. */
static bool is_missing(const gen_model_files *files, const char *name)
{
    return strcmp(name, "unet") != 0 && strcmp(name, "transformer") != 0 &&
           !gen_model_files_find(files, name);
}

gen_status gen_model_files_set_base(gen_model_files *files, const char *path, gen_error *err)
{
    gen_model_files *base;
    int taken = 0;
    if (files->contents.is_lora) /* else the base alone would be run */
        return refuse_lora(files, err);
    GEN_TRY(gen_model_files_open(&base, path, err));
    for (int i = 0; i < base->num_components; i++) {
        gen_model_component *c = &base->components[i];
        if (!is_missing(files, c->name) || files->num_components == GEN_MAX_COMPONENTS)
            continue;
        files->components[files->num_components++] = *c;
        c->weights = NULL;
        c->config = NULL;
        taken++;
    }
    if (!files->tokenizer)
        files->tokenizer = base->tokenizer;
    if (!files->tokenizer_2)
        files->tokenizer_2 = base->tokenizer_2;
    if (!files->scheduler) {
        files->scheduler = base->scheduler;
        base->scheduler = NULL;
    }
    if (!files->index) {
        files->index = base->index;
        base->index = NULL;
    }
    files->base = base;
    if (taken)
        return GEN_OK;
    gen_fail(err, GEN_ERROR_MODEL, "%s is %s: nothing that %s lacks", path,
             gen_model_files_phrase(base), files->path);
    return gen_hint(err, "--base names the model whose autoencoder and text encoder are used");
}

static gen_status replace_vae(gen_model_files *files, gen_model_files *other, gen_error *err)
{
    gen_model_component *vae = (gen_model_component *)(uintptr_t)gen_model_files_find(other, "vae");
    GEN_TRY(check_vae(vae, gen_model_files_find(files, "vae"), files, other, err));
    return take_component(files, other, "vae", err);
}

static gen_status replace_text_encoder(gen_model_files *files, gen_model_files *other,
                                       gen_error *err)
{
    if (other->tokenizer && !(files->tokenizer = gen_arena_strdup(files->arena, other->tokenizer)))
        return no_memory(err, files);
    return take_component(files, other, "text_encoder", err);
}

/* Opens other files and lets `replace` take the component `name` from them. */
static gen_status
set_component(gen_model_files *files, const char *path, const char *name, const char *what,
              gen_status (*replace)(gen_model_files *, gen_model_files *, gen_error *),
              gen_error *err)
{
    gen_model_files *other;
    GEN_TRY(gen_model_files_open(&other, path, err));
    gen_status status;
    if (gen_model_files_find(other, name)) {
        status = replace(files, other, err);
    } else {
        status = gen_fail(err, GEN_ERROR_MODEL, "%s is %s, it has no %s", path,
                          gen_model_files_phrase(other), what);
        gen_hint(err, "`gen info FILE` shows what a file holds");
    }
    gen_model_files_free(other);
    return status;
}

gen_status gen_model_files_set_vae(gen_model_files *files, const char *path, gen_error *err)
{
    return set_component(files, path, "vae", "VAE", replace_vae, err);
}

gen_status gen_model_files_set_text_encoder(gen_model_files *files, const char *path,
                                            gen_error *err)
{
    return set_component(files, path, "text_encoder", "text encoder", replace_text_encoder, err);
}
