/* metadata.c - how a picture was made, as texts that travel with it.
 *
 * "parameters" has the layout that programs for diffusion models share: the prompt, a line with the
 * negative prompt, and a line of "Name: value" pairs; a value with a comma, a colon or a line break
 * is quoted as JSON.  "gen" is a JSON object with every resolved value under the names of the C
 * API, and a schema number. */
#include "gen/io/io.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "gen/core/alloc.h"

#define TO_STRING_(x) #x
#define TO_STRING(x)  TO_STRING_(x)
#define VERSION                                                                                    \
    TO_STRING(GEN_VERSION_MAJOR)                                                                   \
    "." TO_STRING(GEN_VERSION_MINOR) "." TO_STRING(GEN_VERSION_PATCH)

enum { SCHEMA_VERSION = 1, SHORT_HASH_DIGITS = 10 };

gen_status gen_info_add_text(gen_picture_info *info, const char *key, const char *value,
                             size_t value_size, gen_error *err)
{
    const size_t size = (info->num_texts + 1) * sizeof *info->texts;
    gen_text *grown = gen_realloc(info->texts, size);
    if (!grown)
        return gen_no_memory(err, "texts of a picture", size);
    info->texts = grown;
    char *key_copy = gen_strdup(key);
    char *value_copy = gen_strndup(value, value_size);
    if (!key_copy || !value_copy) {
        gen_free(key_copy);
        gen_free(value_copy);
        return gen_no_memory(err, "texts of a picture", value_size);
    }
    info->texts[info->num_texts++] = (gen_text){.key = key_copy, .value = value_copy};
    return GEN_OK;
}

const char *gen_texts_find(const gen_text *texts, size_t num_texts, const char *key)
{
    for (size_t i = 0; i < num_texts; i++)
        if (strcmp(texts[i].key, key) == 0)
            return texts[i].value;
    return NULL;
}

void gen_string_free(char *string)
{
    gen_free(string);
}

/* ---- the "parameters" text --------------------------------------------------------------------
 */

static void add_string(gen_string *b, const char *s)
{
    gen_string_add(b, s, strlen(s));
}

static void add_quoted(gen_string *b, const char *s)
{
    if (!strpbrk(s, ",:\n\r\"")) {
        add_string(b, s);
        return;
    }
    add_string(b, "\"");
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            gen_string_add(b, (const char[]){'\\', *s}, 2);
        else if (*s == '\n')
            add_string(b, "\\n");
        else if (*s == '\r')
            add_string(b, "\\r");
        else
            gen_string_add(b, s, 1);
    }
    add_string(b, "\"");
}

/* One "Name: value" of the last line; nothing for NULL. */
static void add_pair(gen_string *b, bool *is_first, const char *name, const char *value)
{
    if (!value || !*value)
        return;
    add_string(b, *is_first ? "" : ", ");
    *is_first = false;
    add_string(b, name);
    add_string(b, ": ");
    add_quoted(b, value);
}

/* Our names as other programs write them; a name they do not have stays ours. */
static const char *common_name(const char *name)
{
    static const char *const names[][2] = {
        {"euler", "Euler"},
        {"euler_a", "Euler a"},
        {"heun", "Heun"},
        {"ddim", "DDIM"},
        {"dpmpp_2m", "DPM++ 2M"},
        {"dpmpp_2m_sde", "DPM++ 2M SDE"},
        {"unipc", "UniPC"},
        {"lms", "LMS"},
        {"lcm", "LCM"},
        {"karras", "Karras"},
        {"exponential", "Exponential"},
        {"sgm_uniform", "SGM Uniform"},
        {"simple", "Simple"},
        {"beta", "Beta"},
        {"torch-cpu", "CPU"},
        {"cuda", "NV"},
    };
    for (size_t i = 0; name && i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i][0]) == 0)
            return names[i][1];
    return name;
}

static gen_picture_record copy_record(const gen_picture_record *record)
{
    gen_picture_record r = {0};
    memcpy(&r, record, record->struct_size < sizeof r ? record->struct_size : sizeof r);
    return r;
}

/* The parameters of a record, cut or filled up to what this library knows. */
static gen_generate_params params_of(const gen_picture_record *r)
{
    gen_generate_params p = {0};
    if (r->params)
        memcpy(&p, r->params,
               r->params->struct_size < sizeof p ? r->params->struct_size : sizeof p);
    return p;
}

static void add_number(gen_string *b, bool *is_first, const char *name, double value)
{
    char number[64];
    snprintf(number, sizeof number, "%.6g", value);
    if (value != 0)
        add_pair(b, is_first, name, number);
}

static void add_list(gen_string *b, bool *is_first, const char *name, const double *list,
                     size_t count)
{
    gen_string text = {0};
    char number[64];
    for (size_t i = 0; i < count; i++) {
        snprintf(number, sizeof number, "%s%.9g", i ? ", " : "", list[i]);
        add_string(&text, number);
    }
    b->is_out_of_memory |= text.is_out_of_memory;
    add_pair(b, is_first, name, text.text);
    gen_free(text.text);
}

/* What is not as usual; numbers that others write have their names. */
static void add_sampling(gen_string *b, bool *is_first, const gen_generate_params *p)
{
    char text[96];
    add_number(b, is_first, "Eta", fmax(p->eta, 0));
    add_number(b, is_first, "Sigma noise", p->s_noise == 1 ? 0 : p->s_noise);
    add_number(b, is_first, "Sigma churn", p->s_churn);
    add_number(b, is_first, "Sigma tmin", p->s_tmin);
    add_number(b, is_first, "Sigma tmax", p->s_tmax);
    add_number(b, is_first, "Shift", p->flow_shift);
    add_list(b, is_first, "Sigmas", p->sigmas, p->num_sigmas);
    add_list(b, is_first, "Timesteps", p->timesteps, p->num_timesteps);
    if (p->prediction_type && strcmp(p->prediction_type, "epsilon") != 0)
        add_pair(b, is_first, "Prediction type", p->prediction_type);
    if (p->guidance && strcmp(p->guidance, "cfg") != 0)
        add_pair(b, is_first, "Guidance", p->guidance);
    add_number(b, is_first, "Guidance rescale", p->guidance_rescale);
    if (p->guidance_low > 0 || p->guidance_high > 0) {
        snprintf(text, sizeof text, "%.6g to %.6g", p->guidance_low, p->guidance_high);
        add_pair(b, is_first, "Guidance interval", text);
    }
    if (p->guidance_start > 0 || p->guidance_stop > 0) {
        snprintf(text, sizeof text, "%.6g%% to %.6g%%", 100 * p->guidance_start,
                 100 * (p->guidance_stop > 0 ? p->guidance_stop : 1));
        add_pair(b, is_first, "Guidance steps", text);
    }
    add_number(b, is_first, "Guidance zero init", fmax(p->guidance_zero_init, 0));
    add_number(b, is_first, "Guidance skip last", p->guidance_skip_last);
    if (p->guidance_is_dynamic)
        add_pair(b, is_first, "Guidance dynamic", "true");
    add_number(b, is_first, "Guided channels", p->guided_channels);
    add_number(b, is_first, "APG momentum", p->apg_momentum);
    add_number(b, is_first, "APG norm", p->apg_norm);
    add_number(b, is_first, "APG parallel", p->apg_parallel);
    if (p->variation_strength > 0) {
        snprintf(text, sizeof text, "%llu", (unsigned long long)p->variation_seed);
        add_pair(b, is_first, "Variation seed", text);
        add_number(b, is_first, "Variation seed strength", p->variation_strength);
    }
    if (p->seed_resize_width > 0) {
        snprintf(text, sizeof text, "%dx%d", p->seed_resize_width, p->seed_resize_height);
        add_pair(b, is_first, "Seed resize from", text);
    }
    if (p->noise_seed_delta) {
        snprintf(text, sizeof text, "%lld", (long long)p->noise_seed_delta);
        add_pair(b, is_first, "ENSD", text);
    }
}

static void add_settings(gen_string *b, const gen_picture_record *r)
{
    const gen_generate_params p = params_of(r);
    char number[64];
    bool is_first = true;
    if (r->num_inference_steps > 0) {
        snprintf(number, sizeof number, "%d", r->num_inference_steps);
        add_pair(b, &is_first, "Steps", number);
    }
    add_pair(b, &is_first, "Sampler", common_name(r->sampler));
    add_pair(b, &is_first, "Schedule type", common_name(r->scheduler));
    if (r->guidance_scale != 0) {
        snprintf(number, sizeof number, "%.6g", r->guidance_scale);
        add_pair(b, &is_first, "CFG scale", number);
    }
    snprintf(number, sizeof number, "%llu", (unsigned long long)r->seed);
    add_pair(b, &is_first, "Seed", number);
    if (r->width > 0 && r->height > 0) {
        snprintf(number, sizeof number, "%dx%d", r->width, r->height);
        add_pair(b, &is_first, "Size", number);
    }
    if (r->model_sha256) {
        snprintf(number, sizeof number, "%.*s", SHORT_HASH_DIGITS, r->model_sha256);
        add_pair(b, &is_first, "Model hash", number);
    }
    add_pair(b, &is_first, "Model", r->model_name);
    add_pair(b, &is_first, "VAE", r->vae_name);
    if (r->clip_skip > 0) {
        snprintf(number, sizeof number, "%d", r->clip_skip);
        add_pair(b, &is_first, "Clip skip", number);
    }
    add_sampling(b, &is_first, &p);
    add_pair(b, &is_first, "Class", p.class_label);
    add_pair(b, &is_first, "RNG", common_name(r->rng));
    add_pair(b, &is_first, "Version", "gen " VERSION);
}

gen_status gen_picture_record_text(char **out, const gen_picture_record *record, gen_error *err)
{
    const gen_picture_record r = copy_record(record);
    gen_string b = {0};
    add_string(&b, r.prompt ? r.prompt : "");
    if (r.negative_prompt && *r.negative_prompt) {
        add_string(&b, "\nNegative prompt: ");
        add_string(&b, r.negative_prompt);
    }
    add_string(&b, "\n");
    add_settings(&b, &r);
    char *clean = b.is_out_of_memory ? NULL : gen_utf8_clean(b.text);
    gen_free(b.text);
    if (!clean)
        return gen_no_memory(err, "picture record", b.size);
    *out = clean;
    return GEN_OK;
}

/* ---- the JSON record --------------------------------------------------------------------------
 */

/* Sets a member; a NULL value (no memory, or nothing to say) is left to the check at the end. */
static bool set(json_t *object, const char *key, json_t *value)
{
    return json_object_set_new(object, key, value) == 0;
}

static bool set_string(json_t *object, const char *key, const char *value)
{
    if (!value)
        return true;
    char *clean = gen_utf8_clean(value);
    const bool is_set = clean && set(object, key, json_string(clean));
    gen_free(clean);
    return is_set;
}

static bool set_positive(json_t *object, const char *key, int value)
{
    return value <= 0 || set(object, key, json_integer(value));
}

/* JSON numbers of jansson are signed, so a seed in the upper half is a string. */
static bool set_seed(json_t *object, const char *key, uint64_t seed)
{
    char digits[32];
    if (seed <= INT64_MAX)
        return set(object, key, json_integer((json_int_t)seed));
    snprintf(digits, sizeof digits, "%llu", (unsigned long long)seed);
    return set(object, key, json_string(digits));
}

static bool set_number(json_t *object, const char *key, double value)
{
    return value == 0 || set(object, key, json_real(value));
}

static bool set_list(json_t *object, const char *key, const double *list, size_t count)
{
    json_t *array = count ? json_array() : NULL;
    if (!count)
        return true;
    for (size_t i = 0; array && i < count; i++)
        if (json_array_append_new(array, json_real(list[i])) != 0) {
            json_decref(array);
            return false;
        }
    return array && set(object, key, array);
}

static bool fill_sampling(json_t *o, const gen_generate_params *p)
{
    return set_string(o, "class_label", p->class_label) && set_number(o, "eta", p->eta) &&
           set_number(o, "s_noise", p->s_noise) && set_number(o, "flow_shift", p->flow_shift) &&
           set_number(o, "s_churn", p->s_churn) && set_number(o, "s_tmin", p->s_tmin) &&
           set_number(o, "s_tmax", p->s_tmax) &&
           set_number(o, "guidance_skip_last", p->guidance_skip_last) &&
           (!p->guidance_is_dynamic || set(o, "guidance_is_dynamic", json_true())) &&
           (!p->guided_channels || set(o, "guided_channels", json_integer(p->guided_channels))) &&
           set_positive(o, "seed_resize_width", p->seed_resize_width) &&
           set_positive(o, "seed_resize_height", p->seed_resize_height) &&
           (!p->noise_seed_delta ||
            set(o, "noise_seed_delta", json_integer((json_int_t)p->noise_seed_delta))) &&
           set_list(o, "sigmas", p->sigmas, p->num_sigmas) &&
           set_list(o, "timesteps", p->timesteps, p->num_timesteps) &&
           set_string(o, "prediction_type", p->prediction_type) &&
           set_string(o, "guidance", p->guidance) &&
           set_number(o, "guidance_rescale", p->guidance_rescale) &&
           set_number(o, "guidance_low", p->guidance_low) &&
           set_number(o, "guidance_high", p->guidance_high) &&
           set_number(o, "guidance_start", p->guidance_start) &&
           set_number(o, "guidance_stop", p->guidance_stop) &&
           (p->guidance_zero_init == 0 ||
            set(o, "guidance_zero_init", json_integer(p->guidance_zero_init))) &&
           set_number(o, "apg_momentum", p->apg_momentum) &&
           set_number(o, "apg_norm", p->apg_norm) &&
           set_number(o, "apg_parallel", p->apg_parallel) &&
           (p->variation_strength == 0 ||
            (set_seed(o, "variation_seed", p->variation_seed) &&
             set_number(o, "variation_strength", p->variation_strength)));
}

static bool fill_record(json_t *o, const gen_picture_record *r)
{
    const gen_generate_params p = params_of(r);
    bool is_complete =
        set(o, "schema", json_integer(SCHEMA_VERSION)) && set(o, "version", json_string(VERSION)) &&
        set_string(o, "prompt", r->prompt) &&
        set_string(o, "negative_prompt", r->negative_prompt) && set_seed(o, "seed", r->seed) &&
        set_positive(o, "num_inference_steps", r->num_inference_steps) &&
        (r->guidance_scale == 0 || set(o, "guidance_scale", json_real(r->guidance_scale))) &&
        set_string(o, "sampler", r->sampler) && set_string(o, "scheduler", r->scheduler) &&
        set_string(o, "rng", r->rng) && set_positive(o, "width", r->width) &&
        set_positive(o, "height", r->height) && set_positive(o, "clip_skip", r->clip_skip) &&
        set_string(o, "precision", r->precision) && set_string(o, "backend", r->backend) &&
        set_string(o, "vae", r->vae_name) && fill_sampling(o, &p);
    if (is_complete && (r->model_name || r->model_sha256)) {
        json_t *model = json_object();
        is_complete = model && set_string(model, "name", r->model_name) &&
                      set_string(model, "sha256", r->model_sha256) &&
                      json_object_set(o, "model", model) == 0;
        json_decref(model);
    }
    return is_complete;
}

gen_status gen_picture_record_json(char **out, const gen_picture_record *record, gen_error *err)
{
    const gen_picture_record r = copy_record(record);
    json_t *object = json_object();
    char *copy = NULL;
    if (object && fill_record(object, &r)) {
        char *text = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(15));
        copy = text ? gen_strdup(text) : NULL; /* freed with our allocator, not with jansson's */
        free(text);
    }
    json_decref(object);
    if (!copy)
        return gen_no_memory(err, "picture record", sizeof r);
    *out = copy;
    return GEN_OK;
}
