/* model_report.c - what model files hold, in words: for errors, warnings and `gen info`. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/core/alloc.h"
#include "gen/pipeline/model_files.h"
#include "gen/pipeline/scheduler_json.h"

/* A growing text; after a failure it is NULL and stays so. */
typedef struct report {
    char *text;
    size_t used, size;
    bool failed;
} report;

static void print(report *r, const char *format, ...) GEN_PRINTF(2, 3);

static void print(report *r, const char *format, ...)
{
    va_list args, again;
    if (r->failed)
        return;
    va_start(args, format);
    va_copy(again, args);
    const int n = vsnprintf(NULL, 0, format, again);
    va_end(again);
    const size_t needed = r->used + (size_t)(n < 0 ? 0 : n) + 1;
    if (needed > r->size) {
        char *text = gen_realloc(r->text, 2 * needed);
        if (!text) {
            gen_free(r->text);
            *r = (report){.failed = true};
            va_end(args);
            return;
        }
        r->text = text;
        r->size = 2 * needed;
    }
    vsnprintf(r->text + r->used, r->size - r->used, format, args);
    r->used = needed - 1;
    va_end(args);
}

/* What a set of weights amounts to. */
typedef struct totals {
    size_t num_tensors;
    double parameters, bytes;
    bool has_dtype[GEN_NUM_DTYPES];
} totals;

static void count(totals *t, const gen_weights *weights)
{
    for (size_t i = 0; i < gen_weights_count(weights); i++) {
        const gen_weight *w = gen_weights_at(weights, i);
        t->num_tensors++;
        t->bytes += (double)w->size;
        t->parameters += (double)(w->size / gen_dtype_size(w->dtype));
        t->has_dtype[w->dtype] = true;
    }
}

/* "F16, F32" */
static const char *dtypes_of(const totals *t, char *buf, size_t size)
{
    size_t used = 0;
    buf[0] = '\0';
    for (int i = 0; i < GEN_NUM_DTYPES && used < size; i++)
        if (t->has_dtype[i])
            used += (size_t)snprintf(buf + used, size - used, "%s%s", used ? ", " : "",
                                     gen_dtype_name((gen_dtype)i));
    return buf;
}

/* ---- a phrase ------------------------------------------------------------------------------- */

static const char *vae_phrase(const gen_model_files *files, const gen_model_component *vae)
{
    const gen_weight *conv = gen_weights_find(vae->weights, "decoder.conv_in.weight");
    const size_t n = gen_weights_count(vae->weights);
    if (conv && conv->rank > 1)
        return gen_arena_printf(files->arena, "a VAE (%zu tensors, decoder.conv_in %" PRId64 "ch)",
                                n, conv->dims[1]);
    return gen_arena_printf(files->arena, "a VAE (%zu tensors, %s)", n, vae->class_name);
}

/* A single file with something in it that gen knows by its names only. */
static const char *foreign_phrase(const gen_model_files *files, size_t num_tensors)
{
    const gen_file_contents *c = &files->contents;
    const char *what = c->is_lora        ? "a LoRA"
                       : c->is_control   ? "a ControlNet"
                       : c->is_embedding ? "a textual inversion embedding"
                       : c->is_t5        ? "a T5 text encoder"
                                         : NULL;
    if (c->is_lora && c->lora_base) {
        const char *rank =
            c->lora_rank ? gen_arena_printf(files->arena, ", rank %d", c->lora_rank) : "";
        return gen_arena_printf(files->arena, "a LoRA for %s (%zu tensors%s)", c->lora_base,
                                num_tensors, rank ? rank : "");
    }
    if (what)
        return gen_arena_printf(files->arena, "%s (%zu tensors)", what, num_tensors);
    if (num_tensors == 0)
        return "a file without tensors";
    return gen_arena_printf(files->arena, "a file of another kind (%zu tensors, \"%.60s\" first)",
                            num_tensors, gen_weights_at(files->sources[0], 0)->name);
}

static const char *make_phrase(const gen_model_files *files)
{
    const gen_model_component *first = files->num_components ? &files->components[0] : NULL;
    totals t = {0};
    for (int i = 0; i < files->num_sources; i++)
        count(&t, files->sources[i]);
    if (files->kind == GEN_FILES_DIRECTORY && files->num_components == 0)
        return "a directory without a network";
    if (!first || files->contents.is_lora)
        return foreign_phrase(files, t.num_tensors);
    if (files->num_components > 1) {
        const bool is_known = files->family != GEN_FAMILY_UNKNOWN;
        report r = {0};
        for (int i = 0; i < files->num_components; i++)
            print(&r, "%s%s", i ? ", " : "", files->components[i].name);
        const char *phrase =
            r.failed ? NULL
                     : gen_arena_printf(files->arena, "a %s of %s (%s)",
                                        files->kind == GEN_FILES_DIRECTORY ? "directory" : "file",
                                        is_known ? gen_family_name(files->family) : "components",
                                        r.text);
        gen_free(r.text);
        return phrase;
    }
    if (strcmp(first->name, "vae") == 0)
        return vae_phrase(files, first);
    if (strncmp(first->name, "text_encoder", 12) == 0)
        return gen_arena_printf(files->arena, "a text encoder (%zu tensors, %s)", t.num_tensors,
                                first->class_name);
    if (strcmp(first->name, "unet") == 0)
        return gen_arena_printf(files->arena, "a UNet alone (%zu tensors)", t.num_tensors);
    return gen_arena_printf(files->arena, "a %s (%zu tensors)",
                            *first->class_name ? first->class_name : "network of unknown class",
                            t.num_tensors);
}

const char *gen_model_files_phrase(const gen_model_files *files)
{
    const char *phrase = make_phrase(files);
    return phrase ? phrase : "a file"; /* without memory for more words */
}

/* ---- description ---------------------------------------------------------------------------- */

static const char *prediction_of(const gen_model_files *files)
{
    gen_scheduler_config config;
    double *lists;
    if (!files->scheduler)
        return files->prediction_type;
    if (gen_scheduler_config_read(&config, &lists, files->scheduler, NULL))
        return NULL;
    gen_free(lists);
    return gen_prediction_name(config.prediction_type);
}

static const char *scheduler_class(const gen_model_files *files)
{
    const char *name = "";
    if (files->scheduler)
        gen_json_string(files->scheduler, "_class_name", "", &name, NULL);
    return name;
}

static size_t count_unused_in_files(const gen_model_files *files)
{
    size_t n = 0;
    for (int i = 0; i < files->num_sources; i++)
        for (size_t k = 0; k < gen_weights_count(files->sources[i]); k++) {
            const gen_weight *w = gen_weights_at(files->sources[i], k);
            n += !w->is_used && !w->is_ignored;
        }
    return n;
}

static void describe_text(report *r, const gen_model_files *files)
{
    char dtypes[128];
    print(r, "%s: %s\n", files->path, gen_model_files_phrase(files));
    for (int i = 0; i < files->num_components; i++) {
        const gen_model_component *c = &files->components[i];
        totals t = {0};
        count(&t, c->weights);
        print(r, "  %-15s %s, %zu tensors, %.2f M parameters, %s, %.1f MB\n", c->name,
              *c->class_name ? c->class_name : "unknown class", t.num_tensors, t.parameters / 1e6,
              dtypes_of(&t, dtypes, sizeof dtypes), t.bytes / 1e6);
    }
    if (files->scheduler)
        print(r, "  %-15s %s\n", "scheduler", scheduler_class(files));
    if (gen_model_files_find(files, "unet") && files->kind != GEN_FILES_COMPONENT)
        print(r, "  %-15s %s%s\n", "prediction",
              prediction_of(files) ? prediction_of(files) : "not said by the file",
              files->is_zero_snr ? ", zero terminal SNR" : "");
    if (files->tokenizer)
        print(r, "  %-15s %s\n", "tokenizer", files->tokenizer);
    if (files->tokenizer_2)
        print(r, "  %-15s %s\n", "tokenizer_2", files->tokenizer_2);
    const size_t unused = count_unused_in_files(files);
    if (unused && files->num_components)
        print(r, "  %-15s %zu tensors\n", "not known", unused);
}

static void set(bool *ok, json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value))
        *ok = false;
}

static json_t *describe_component(bool *ok, const gen_model_component *c)
{
    json_t *object = json_object(), *dtypes = json_array();
    totals t = {0};
    count(&t, c->weights);
    for (int i = 0; i < GEN_NUM_DTYPES; i++)
        if (t.has_dtype[i] &&
            json_array_append_new(dtypes, json_string(gen_dtype_name((gen_dtype)i))))
            *ok = false;
    set(ok, object, "name", json_string(c->name));
    set(ok, object, "class", json_string(c->class_name));
    set(ok, object, "tensors", json_integer((json_int_t)t.num_tensors));
    set(ok, object, "parameters", json_integer((json_int_t)t.parameters));
    set(ok, object, "bytes", json_integer((json_int_t)t.bytes));
    set(ok, object, "dtypes", dtypes);
    if (c->config)
        set(ok, object, "config", json_incref(c->config->root));
    return object;
}

/* The description as JSON; NULL without memory. */
static json_t *describe_json(const gen_model_files *files)
{
    bool ok = true;
    json_t *root = json_object(), *components = json_array();
    const char *prediction = prediction_of(files);
    set(&ok, root, "path", json_string(files->path));
    set(&ok, root, "is", json_string(gen_model_files_phrase(files)));
    set(&ok, root, "family", json_string(gen_family_name(files->family)));
    for (int i = 0; i < files->num_components; i++)
        if (json_array_append_new(components, describe_component(&ok, &files->components[i])))
            ok = false;
    set(&ok, root, "components", components);
    set(&ok, root, "prediction_type", prediction ? json_string(prediction) : json_null());
    if (files->scheduler)
        set(&ok, root, "scheduler", json_incref(files->scheduler->root));
    set(&ok, root, "unknown_tensors", json_integer((json_int_t)count_unused_in_files(files)));
    if (!ok) {
        json_decref(root);
        return NULL;
    }
    return root;
}

gen_status gen_model_files_describe(char **out, const gen_model_files *files, bool as_json,
                                    gen_error *err)
{
    report r = {0};
    if (as_json) {
        json_t *root = describe_json(files);
        char *text = root ? json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) : NULL;
        if (text)
            print(&r, "%s\n", text);
        else
            r.failed = true;
        free(text); /* jansson made it */
        json_decref(root);
    } else {
        describe_text(&r, files);
    }
    if (r.failed)
        return gen_no_memory(err, files->path, 4096);
    *out = r.text;
    return GEN_OK;
}

/* ---- tensors nobody uses -------------------------------------------------------------------- */

enum { NUM_NAMED = 3 };

/* Adds the unused of one set: counts them all and prints the first names. */
static void list_unused(report *names, size_t *total, const char **file, const gen_weights *weights)
{
    for (size_t i = 0; i < gen_weights_count(weights); i++) {
        const gen_weight *w = gen_weights_at(weights, i);
        if (w->is_used || w->is_ignored)
            continue;
        if (*total == 0)
            *file = w->file;
        if (*total < NUM_NAMED)
            print(names, "%s\"%.80s\"", *total ? ", " : "", w->file_name);
        (*total)++;
    }
}

gen_status gen_model_files_check_unused(const gen_model_files *files, bool strict, char **warning,
                                        gen_error *err)
{
    report names = {0};
    size_t total = 0;
    const char *file = files->path;
    gen_status status = GEN_OK;
    *warning = NULL;
    for (int i = 0; i < files->num_components; i++)
        list_unused(&names, &total, &file, files->components[i].weights);
    for (int i = 0; i < files->num_sources; i++)
        list_unused(&names, &total, &file, files->sources[i]);
    if (total == 0)
        return GEN_OK;
    const char *more = total > NUM_NAMED ? ", ..." : "";
    const char *plural = total == 1 ? "" : "s";
    if (names.failed) {
        status = gen_no_memory(err, files->path, 256);
    } else if (strict) {
        status = gen_fail(err, GEN_ERROR_MODEL, "%s: %zu tensor%s that nothing uses: %s%s", file,
                          total, plural, names.text, more);
        gen_hint(err, "without --strict this is a warning");
    } else if (!(*warning = gen_asprintf("%s: %zu tensor%s that nothing uses: %s%s", file, total,
                                         plural, names.text, more))) {
        status = gen_no_memory(err, files->path, 256);
    }
    gen_free(names.text);
    return status;
}
