/* cmd_image.c - `gen image`: text to pictures.
 *
 * Everything that can be refused is refused before the first step: usage, model, settings, memory,
 * the place the picture will go to.  Then the pictures are made one after the other with one model.
 */
#include "gen/cli/image_run.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_PROMPT_FILE = 1 << 20 };

/* ---- prompts
 * -------------------------------------------------------------------------------------- */

static gen_status no_memory(gen_error *err)
{
    return cli_fail(err, GEN_ERROR_MEMORY, "no memory");
}

/* The text of a file, or of standard input for "-", without line breaks at its end. */
static gen_status read_prompt_file(char **out, const char *path, gen_error *err)
{
    const bool is_stdin = strcmp(path, "-") == 0;
    FILE *f = is_stdin ? stdin : fopen(path, "rb");
    if (!f)
        return cli_fail(err, GEN_ERROR_INPUT, "prompt file %s: cannot be read", path);
    char *text = malloc(MAX_PROMPT_FILE + 1);
    if (!text) {
        if (!is_stdin)
            fclose(f);
        return no_memory(err);
    }
    size_t n = fread(text, 1, MAX_PROMPT_FILE, f);
    const bool has_failed = ferror(f) != 0;
    const bool is_too_long = n == MAX_PROMPT_FILE && fgetc(f) != EOF;
    if (!is_stdin)
        fclose(f);
    if (has_failed || is_too_long || memchr(text, '\0', n)) {
        free(text);
        return cli_fail(err, GEN_ERROR_INPUT, "prompt file %s: %s", path,
                        has_failed    ? "cannot be read"
                        : is_too_long ? "more than 1 MiB"
                                      : "holds zero bytes, expected text");
    }
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
        n--;
    text[n] = '\0';
    *out = text;
    return GEN_OK;
}

/* "@file" is the file's text, "@@x" is "@x". */
static gen_status read_prompt(char **out, const char *text, gen_error *err)
{
    if (text[0] == '@' && text[1] != '@' && text[1])
        return read_prompt_file(out, text + 1, err);
    *out = strdup(text[0] == '@' && text[1] == '@' ? text + 1 : text);
    return *out ? GEN_OK : no_memory(err);
}

static gen_status join_words(char **out, const cli_settings *s, gen_error *err)
{
    if (s->num_words == 1)
        return read_prompt(out, s->words[0], err);
    size_t size = 1;
    for (int i = 0; i < s->num_words; i++)
        size += strlen(s->words[i]) + 1;
    char *text = calloc(1, size);
    if (!text)
        return no_memory(err);
    char *p = text;
    for (int i = 0; i < s->num_words; i++)
        p += sprintf(p, "%s%s", i ? " " : "", s->words[i]);
    *out = text;
    return GEN_OK;
}

static gen_status read_prompts(image_run *run, gen_error *err)
{
    const cli_settings *s = run->settings;
    if (s->prompt && s->num_words > 0) {
        cli_fail(err, GEN_ERROR_ARGUMENT, "unexpected \"%s\": the prompt was given with -p",
                 s->words[0]);
        return cli_hint(err, "quote a prompt of several words");
    }
    const bool has_prompt = s->prompt || s->num_words > 0;
    if (!has_prompt && run->is_edit && !s->model) {
        cli_fail(err, GEN_ERROR_ARGUMENT, "no prompt: what is to change?");
        return cli_hint(err, "gen edit -i picture.png \"at night\" -o night.png");
    }
    if (!has_prompt && run->is_edit) /* some bridges do one thing only */
        return (run->prompt = strdup("")) ? GEN_OK : no_memory(err);
    if (!has_prompt && !s->class_label && !s->model) { /* a model knows whether it needs one */
        cli_fail(err, GEN_ERROR_ARGUMENT, "no prompt");
        return cli_hint(err,
                        "gen \"a red house beside a blue lake\" -o house.png; `gen -h` for help");
    }
    gen_status status = GEN_OK;
    if (has_prompt)
        status = s->prompt ? read_prompt(&run->prompt, s->prompt, err)
                           : join_words(&run->prompt, s, err);
    if (status || !s->negative_prompt)
        return status;
    return read_prompt(&run->negative_prompt, s->negative_prompt, err);
}

/* ---- how many, with which seeds
 * -------------------------------------------------------------------- */

static gen_status count_pictures(image_run *run, gen_error *err)
{
    const cli_settings *s = run->settings;
    const uint64_t batch = s->batch_count > 0 ? (uint64_t)s->batch_count : 0;
    const uint64_t seeds = s->seeds.count;
    if (seeds > 1 && batch && batch != seeds)
        return cli_fail(err, GEN_ERROR_ARGUMENT,
                        "--batch-count %d and --seed with %llu seeds contradict each other",
                        s->batch_count, (unsigned long long)seeds);
    run->num_pictures = seeds > 1 ? seeds : batch ? batch : 1;
    run->random_seed = seeds ? 0 : cli_random_seed();
    run->random_variation = cli_random_seed();
    const uint64_t first = seeds ? cli_seeds_at(&s->seeds, 0) : run->random_seed;
    if (seeds <= 1 && s->seed_step > 0 &&
        (run->num_pictures - 1) > (UINT64_MAX - first) / (uint64_t)s->seed_step)
        return cli_fail(err, GEN_ERROR_ARGUMENT,
                        "the seeds of %d pictures from %llu on end beyond "
                        "%llu",
                        s->batch_count, (unsigned long long)first, (unsigned long long)UINT64_MAX);
    return GEN_OK;
}

/* Variations of one seed: the seed stays and the variation seed counts up, as in A1111. */
static bool keeps_seed(const cli_settings *s)
{
    return s->variation_strength > 0 && s->seeds.count <= 1;
}

/* Each of several inputs has all the seeds. */
static uint64_t within_input(const image_run *run, uint64_t i)
{
    return run->pictures_per_input ? i % run->pictures_per_input : i;
}

static uint64_t seed_of(const image_run *run, uint64_t i)
{
    const cli_settings *s = run->settings;
    i = within_input(run, i);
    if (s->seeds.count > 1)
        return cli_seeds_at(&s->seeds, i);
    const uint64_t first = s->seeds.count ? cli_seeds_at(&s->seeds, 0) : run->random_seed;
    return keeps_seed(s) ? first : first + i * (uint64_t)s->seed_step;
}

static uint64_t variation_seed_of(const image_run *run, uint64_t i)
{
    const cli_settings *s = run->settings;
    if (s->variation_strength == 0)
        return 0;
    i = within_input(run, i);
    const uint64_t first =
        s->variation_seeds.count ? cli_seeds_at(&s->variation_seeds, 0) : run->random_variation;
    return keeps_seed(s) ? first + i * (uint64_t)s->seed_step : first;
}

/* ---- names
 * ----------------------------------------------------------------------------------------- */

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Where "-{i}" goes when several pictures would share a name: before the ending. */
static size_t stem_length(const char *pattern)
{
    const size_t n = strlen(pattern);
    const char *slash = strrchr(pattern, '/');
    const char *dot = strrchr(slash ? slash + 1 : pattern, '.');
    if (dot && dot[1] != '}')
        return (size_t)(dot - pattern);
    if (n >= 5 && strcmp(pattern + n - 5, "{ext}") == 0)
        return n - 5;
    return n;
}

static gen_status choose_pattern(image_run *run, gen_error *err)
{
    const cli_settings *s = run->settings;
    const bool has_several = run->num_pictures > 1;
    const bool has_seeds = run->pictures_per_input ? run->pictures_per_input > 1 : has_several;
    const char *file = run->is_edit ? has_seeds ? "{stem}-edited-{seed}{ext}" : "{stem}-edited{ext}"
                       : has_seeds  ? "{prompt:40}-{seed}{ext}"
                                    : "{prompt:40}{ext}";
    const char *output = s->output ? s->output : "";
    const size_t n = strlen(output);
    char *pattern = NULL;
    int size;
    if (strcmp(output, "-") == 0) {
        run->is_to_stdout = true;
        if (has_several || s->json || s->dry_run)
            return cli_fail(err, GEN_ERROR_ARGUMENT, "-o -: standard output holds one picture%s",
                            has_several ? ", not several" : " and nothing else");
        if (isatty(STDOUT_FILENO))
            return cli_fail(err, GEN_ERROR_ARGUMENT, "-o -: standard output is a terminal");
        size = asprintf(&pattern, "-");
    } else if (n == 0 || output[n - 1] == '/') {
        size = asprintf(&pattern, "%s%s", output, file);
    } else if (is_folder(output)) {
        size = asprintf(&pattern, "%s/%s", output, file);
    } else if (has_several && !gen_output_varies(output) &&
               (has_seeds || !strstr(output, "{stem}"))) {
        const int stem = (int)stem_length(output);
        size = asprintf(&pattern, "%.*s-{i}%s", stem, output, output + stem);
    } else {
        size = asprintf(&pattern, "%s", output);
    }
    if (size < 0)
        return no_memory(err);
    free(run->pattern);
    run->pattern = pattern;
    return GEN_OK;
}

/* The name of picture i, from 0; freed by the caller with gen_string_free(). */
static gen_status name_picture(char **out, const image_run *run, uint64_t i, gen_error *err)
{
    char extension[16];
    const gen_generate_params *p = &run->params;
    snprintf(extension, sizeof extension, ".%s",
             run->settings->format ? run->settings->format : "png");
    const gen_output_fields fields =
        GEN_OUTPUT_FIELDS(.input = !run->is_edit             ? NULL
                                   : run->pictures_per_input ? run->input_paths[run->input]
                                                             : run->settings->input,
                          .prompt = run->prompt ? run->prompt : p->class_label,
                          .model = gen_model_get_info(run->model)->name, .extension = extension,
                          .seed = seed_of(run, i), .index = (int64_t)i + 1, .width = p->width,
                          .height = p->height);
    return gen_output_path(out, run->pattern, &fields, err);
}

/* ---- one picture
 * ----------------------------------------------------------------------------------- */

static gen_status make_record(cli_record_texts *out, const image_run *run,
                              const gen_generate_params *p, gen_error *err)
{
    const cli_settings *s = run->settings;
    const char *vae = s->vae ? strrchr(s->vae, '/') : NULL;
    const gen_picture_record record =
        GEN_PICTURE_RECORD(.prompt = p->prompt, .negative_prompt = p->negative_prompt,
                           .num_inference_steps = p->num_inference_steps, .sampler = p->sampler,
                           .scheduler = p->scheduler, .rng = p->rng,
                           .guidance_scale = p->guidance_scale, .seed = p->seed, .width = p->width,
                           .height = p->height, .clip_skip = p->clip_skip,
                           .model_name = gen_model_get_info(run->model)->name,
                           .model_sha256 = run->sha256[0] ? run->sha256 : NULL,
                           .vae_name = vae ? vae + 1 : s->vae,
                           .precision = s->precision ? s->precision : "auto",
                           .backend = gen_context_backend(run->context), .params = p);
    const gen_status status = gen_picture_record_text(&out->parameters, &record, err);
    return status ? status : gen_picture_record_json(&out->json, &record, err);
}

static gen_status save(const image_run *run, const gen_image *image, const char *path,
                       const cli_record_texts *texts, char *saved, gen_error *err)
{
    const cli_settings *s = run->settings;
    const gen_text stored[] = {{"parameters", texts->parameters}, {"gen", texts->json}};
    const gen_image_save_params params =
        GEN_IMAGE_SAVE_PARAMS(.format = s->format, .quality = s->quality,
                              .if_exists = s->overwrite ? GEN_REPLACE : GEN_KEEP_BOTH,
                              .texts = s->no_metadata ? NULL : stored,
                              .num_texts = s->no_metadata ? 0 : 2, .saved_path = saved,
                              .saved_path_size = CLI_MAX_PATH);
    cli_signals_saving(true);
    const gen_status status = gen_image_save(image, path, &params, err);
    cli_signals_saving(false);
    return status;
}

static void print_result(const image_run *run, const char *saved, uint64_t seed,
                         const cli_record_texts *texts, const gen_generate_stats *stats)
{
    if (run->is_to_stdout)
        return;
    if (!run->settings->json) {
        puts(saved);
    } else {
        fputs("{\"schema\":1,\"file\":", stdout);
        cli_json_string(stdout, saved);
        printf(",\"seed\":%llu,\"load_seconds\":%.3f,\"encode_seconds\":%.3f,"
               "\"step_seconds\":%.4f,\"decode_seconds\":%.3f,\"record\":%s}\n",
               (unsigned long long)seed, stats->load_seconds, stats->encode_seconds,
               stats->step_seconds, stats->decode_seconds, texts->json);
    }
    fflush(stdout);
}

static void say_result(const image_run *run, const char *path, const char *saved,
                       const gen_generate_params *p, const gen_generate_stats *stats)
{
    cli_reporter *r = run->reporter;
    if (!run->is_to_stdout && strcmp(path, saved) != 0 && !strstr(path, "{frame"))
        cli_report(r, GEN_LOG_NOTE, "%s exists; wrote %s (-y replaces)", path, saved);
    const double total = stats->load_seconds + stats->encode_seconds +
                         stats->num_steps * stats->step_seconds + stats->decode_seconds;
    char variation[48] = "";
    if (p->variation_strength > 0)
        snprintf(variation, sizeof variation, ", variation %llu",
                 (unsigned long long)p->variation_seed);
    cli_report(r, GEN_LOG_NOTE, "%s: seed %llu%s, %.2f s", saved, (unsigned long long)p->seed,
               variation, total);
    cli_report(r, GEN_LOG_DEBUG, "load %.2f s, prompt %.2f s, %d steps at %.3f s, decoding %.2f s",
               stats->load_seconds, stats->encode_seconds, stats->num_steps, stats->step_seconds,
               stats->decode_seconds);
}

/* The hash says which model it was.  It is taken when the first picture is done, as the file's
 * pages are in memory then; a model that cannot be hashed still makes pictures. */
static void hash_model(image_run *run)
{
    if (!run->settings->no_metadata && !run->is_hashed &&
        gen_model_sha256(run->model, run->sha256, NULL))
        run->sha256[0] = '\0';
    run->is_hashed = true;
}

static gen_status make_picture(image_run *run, uint64_t i, gen_error *err)
{
    const uint64_t seed = seed_of(run, i);
    char saved[CLI_MAX_PATH] = "";
    char *path = NULL;
    gen_image *image = NULL;
    gen_generate_stats stats = {0};
    cli_record_texts texts = {0};
    gen_generate_params params = run->params;
    params.seed = seed;
    params.variation_seed = variation_seed_of(run, i);
    gen_status status = name_picture(&path, run, i, err);
    if (status)
        return status;
    cli_progress_start(&run->progress, (int)i + 1, path, seed);
    if (cli_makes_clip(run)) { /* its frames are written as they come */
        hash_model(run);
        status = make_record(&texts, run, &params, err);
        if (!status)
            status = cli_clip_make(run, &params, path, &texts, saved, &stats, err);
        cli_progress_end(&run->progress);
    } else {
        status = gen_generate(&image, run->model, &params, &stats, err);
        cli_progress_end(&run->progress);
        if (!status) {
            hash_model(run);
            status = make_record(&texts, run, &params, err);
        }
        if (!status)
            status = save(run, image, path, &texts, saved, err);
    }
    if (!status) {
        say_result(run, path, saved, &params, &stats);
        print_result(run, saved, seed, &texts, &stats);
        cli_progress_done(&run->progress, saved);
    }
    gen_string_free(texts.parameters);
    gen_string_free(texts.json);
    gen_image_free(image);
    gen_string_free(path);
    return status;
}

/* ---- the plan
 * -------------------------------------------------------------------------------------- */

static void print_streams(const gen_estimate *e)
{
    char size[16], room[16];
    for (int i = 0; i < 3; i++) {
        cli_format_bytes(size, sizeof size, e->phases[i].streamed_bytes);
        cli_format_bytes(room, sizeof room, e->phases[i].slot_bytes);
        if (e->phases[i].streamed_bytes)
            printf("streamed  %s: %s of weights anew in every run, through slots of %s\n",
                   e->phases[i].name, size, room);
    }
    cli_format_bytes(size, sizeof size, e->staging_bytes);
    if (e->staging_bytes)
        printf("staging   %s of this machine's memory, on the way to the device\n", size);
}

/* "81 frames at 832x480: 283.0 TFLOP a forward, 100 forwards: about 39.5 hours here" */
static void print_time(const image_run *run, const gen_estimate *e)
{
    const gen_generate_params *p = &run->params;
    const bool is_large = e->flops_per_forward >= 1e12, takes_hours = e->seconds >= 3600;
    char what[48] = "a picture";
    if (cli_makes_clip(run))
        snprintf(what, sizeof what, "%d frame%s", p->num_frames, p->num_frames > 1 ? "s" : "");
    printf("time      %s at %dx%d: %.1f %s a forward, %d forward%s: about %.1f %s here\n", what,
           p->width, p->height, e->flops_per_forward * (is_large ? 1e-12 : 1e-9),
           is_large ? "TFLOP" : "GFLOP", e->num_forwards, e->num_forwards > 1 ? "s" : "",
           takes_hours ? e->seconds / 3600 : e->seconds, takes_hours ? "hours" : "s");
}

static void print_plan(const image_run *run, const gen_estimate *e)
{
    const gen_generate_params *p = &run->params;
    const gen_model_info *m = gen_model_get_info(run->model);
    char a[16], b[16];
    cli_format_bytes(a, sizeof a, m->num_bytes);
    printf("model     %s: %s, %s, %.1f M parameters, %s\n", m->name, m->network, m->vae,
           (double)m->num_parameters * 1e-6, a);
    char size[48];
    snprintf(size, sizeof size, cli_makes_clip(run) ? "%dx%d, %d frames" : "%dx%d", p->width,
             p->height, p->num_frames);
    printf("%-9s %s, %d steps, cfg %g, %s%s%s, rng %s, %llu picture%s\n",
           cli_makes_clip(run) ? "clip" : "picture", size, p->num_inference_steps,
           p->guidance_scale, p->sampler, p->scheduler ? ", " : "",
           p->scheduler ? p->scheduler : "", p->rng, (unsigned long long)run->num_pictures,
           run->num_pictures > 1 ? "s" : "");
    printf("backend   %s\n\n", gen_context_backend(run->context));
    printf("%-9s %9s %9s %11s %9s %9s %8s %9s %6s\n", "phase", "weights", "repacked", "activations",
           "scratch", "peak", "GFLOP", "seconds", "tiles");
    for (int i = 0; i < 3; i++) {
        const gen_estimate_phase *q = &e->phases[i];
        char columns[5][16];
        const uint64_t bytes[5] = {q->weight_bytes, q->transformed_bytes, q->activation_bytes,
                                   q->scratch_bytes, q->peak_bytes};
        for (int c = 0; c < 5; c++)
            cli_format_bytes(columns[c], sizeof columns[c], bytes[c]);
        printf("%-9s %9s %9s %11s %9s %9s %8.1f %9.1f %6d\n", q->name ? q->name : "", columns[0],
               columns[1], columns[2], columns[3], columns[4], q->flops * 1e-9, q->seconds,
               q->num_tiles);
    }
    cli_format_bytes(a, sizeof a, e->peak_bytes);
    cli_format_bytes(b, sizeof b, e->mem_limit);
    printf("\npeak      %s of %s\n", a, b);
    print_streams(e);
    print_time(run, e);
}

static void print_plan_json(const image_run *run, const gen_estimate *e)
{
    const gen_generate_params *p = &run->params;
    fputs("{\"schema\":1,\"kind\":\"plan\",\"model\":", stdout);
    cli_json_string(stdout, gen_model_get_info(run->model)->name);
    printf(",\"width\":%d,\"height\":%d,\"steps\":%d,\"pictures\":%llu,\"peak_bytes\":%llu,"
           "\"mem_limit\":%llu,\"staging_bytes\":%llu,\"seconds\":%.3f,\"forwards\":%d,\"flops_per_"
           "forward\":%.0f,"
           "\"phases\":[",
           p->width, p->height, p->num_inference_steps, (unsigned long long)run->num_pictures,
           (unsigned long long)e->peak_bytes, (unsigned long long)e->mem_limit,
           (unsigned long long)e->staging_bytes, e->seconds, e->num_forwards, e->flops_per_forward);
    for (int i = 0; i < 3; i++) {
        const gen_estimate_phase *q = &e->phases[i];
        printf("%s{\"name\":\"%s\",\"peak_bytes\":%llu,\"weight_bytes\":%llu,"
               "\"transformed_bytes\":%llu,\"activation_bytes\":%llu,\"scratch_bytes\":%llu,"
               "\"flops\":%.0f,\"seconds\":%.3f,\"tiles\":%d,\"streamed_bytes\":%llu,"
               "\"slot_bytes\":%llu}",
               i ? "," : "", q->name ? q->name : "", (unsigned long long)q->peak_bytes,
               (unsigned long long)q->weight_bytes, (unsigned long long)q->transformed_bytes,
               (unsigned long long)q->activation_bytes, (unsigned long long)q->scratch_bytes,
               q->flops, q->seconds, q->num_tiles, (unsigned long long)q->streamed_bytes,
               (unsigned long long)q->slot_bytes);
    }
    fputs("]}\n", stdout);
}

/* ---- all of it
 * ------------------------------------------------------------------------------------- */

static void set_sampling(gen_generate_params *p, const cli_settings *s)
{
    p->eta = s->eta == 0 ? -1 : s->eta > 0 ? s->eta : 0;
    p->sigmas = s->sigmas.count ? s->sigmas.values : NULL;
    p->num_sigmas = (size_t)s->sigmas.count;
    p->timesteps = s->timesteps.count ? s->timesteps.values : NULL;
    p->num_timesteps = (size_t)s->timesteps.count;
    p->s_noise = s->s_noise;
    p->s_churn = s->s_churn;
    p->s_tmin = s->s_tmin;
    p->s_tmax = s->s_tmax;
    p->flow_shift = s->shift;
    p->guidance_is_dynamic = s->guidance_dynamic;
    p->guidance_skip_last = s->guidance_skip_last;
    p->guided_channels = s->guided_channels;
    p->seed_resize_width = s->seed_resize_width;
    p->seed_resize_height = s->seed_resize_height;
    p->noise_seed_delta = s->noise_seed_delta;
    p->prediction_type = s->prediction;
    p->guidance = s->guidance ? s->guidance : s->cfg_zero ? "cfg_zero" : NULL;
    p->guidance_rescale = s->guidance_rescale;
    p->guidance_low = s->guidance_interval.low;
    p->guidance_high = s->guidance_interval.high;
    p->guidance_start = s->guidance_interval.start;
    p->guidance_stop = s->guidance_interval.stop;
    p->guidance_zero_init = s->zero_init == 0 ? -1 : s->zero_init > 0 ? s->zero_init : 0;
    p->apg_momentum = s->apg_momentum;
    p->apg_norm = s->apg_norm;
    p->apg_parallel = s->apg_parallel;
    p->variation_strength = s->variation_strength;
}

/* Options that contradict each other, or that nothing would read. */
static gen_status check_sampling(const cli_settings *s, gen_error *err)
{
    const int listed = s->sigmas.count ? s->sigmas.count : s->timesteps.count;
    if (listed && s->steps && s->steps != listed)
        return cli_fail(err, GEN_ERROR_ARGUMENT, "--steps %d and --%s with %d levels contradict",
                        s->steps, s->sigmas.count ? "sigmas" : "timesteps", listed);
    if (s->cfg_zero && s->guidance)
        return cli_fail(err, GEN_ERROR_ARGUMENT, "--cfg-zero and --guidance %s contradict",
                        s->guidance);
    if ((s->s_tmin > 0 || s->s_tmax > 0) && s->s_churn == 0)
        return cli_fail(err, GEN_ERROR_ARGUMENT,
                        "--s-tmin and --s-tmax have no effect without --s-churn");
    if (!s->seed_resize_width != !s->seed_resize_height)
        return cli_fail(err, GEN_ERROR_ARGUMENT,
                        "--seed-resize-width and --seed-resize-height belong together");
    if (s->variation_seeds.count > 1)
        return cli_fail(err, GEN_ERROR_ARGUMENT, "--variation-seed: %llu seeds, expected one",
                        (unsigned long long)s->variation_seeds.count);
    if (s->variation_seeds.count && s->variation_strength == 0)
        return cli_fail(err, GEN_ERROR_ARGUMENT,
                        "--variation-seed has no effect without --variation-strength (0..1)");
    return GEN_OK;
}

static gen_status resolve(image_run *run, gen_error *err)
{
    const cli_settings *s = run->settings;
    const gen_model_info *info = gen_model_get_info(run->model);
    if (!run->prompt && !s->class_label && info->takes_prompt) {
        cli_fail(err, GEN_ERROR_ARGUMENT, "no prompt: %s draws what a text says", info->path);
        return cli_hint(err, "say with -p what to draw; -p \"\" leaves it to the model");
    }
    run->params = (gen_generate_params)
        GEN_GENERATE_PARAMS(.prompt = run->prompt, .negative_prompt = run->negative_prompt,
                            .class_label = s->class_label, .width = s->width, .height = s->height,
                            .num_inference_steps = s->steps, .guidance_scale = s->cfg,
                            .sampler = s->sampler, .scheduler = s->scheduler, .rng = s->rng,
                            .clip_skip = s->clip_skip, .progress = cli_progress_update,
                            .progress_user = &run->progress);
    set_sampling(&run->params, s);
    run->params.num_frames = s->frames;
    gen_status status = cli_clip_inputs(run, err);
    if (status)
        return status;
    status = gen_resolve(&run->params, run->model, err);
    if (status == GEN_ERROR_ARGUMENT)
        cli_suggest_method(err);
    return status;
}

static gen_status open_model(image_run *run, gen_error *err)
{
    const cli_settings *s = run->settings;
    const gen_context_params context =
        GEN_CONTEXT_PARAMS(.num_threads = s->threads, .mem_limit = s->mem_limit, .gemm = s->gemm,
                           .precision = s->precision, .device = s->device ? s->device : "auto",
                           .log = cli_log, .log_user = run->reporter);
    const gen_model_params model =
        GEN_MODEL_PARAMS(.path = s->model, .base = s->base, .vae = s->vae, .t5 = s->t5,
                         .tokenizer = s->tokenizer, .strict = s->strict,
                         .for_editing = run->is_edit);
    const gen_status status = gen_context_new(&run->context, &context, err);
    if (status)
        return status;
    cli_report(run->reporter, GEN_LOG_DEBUG, "backend %s", gen_context_backend(run->context));
    return gen_model_open(&run->model, run->context, &model, err);
}

/* Refuses a name that cannot be written before work is spent on its picture. */
static gen_status check_output(const image_run *run, gen_error *err)
{
    const cli_settings *s = run->settings;
    char *path = NULL;
    gen_status status = name_picture(&path, run, 0, err);
    if (!status && !s->dry_run && cli_makes_clip(run))
        status = cli_clip_check(run, path, err);
    else if (!status && !s->dry_run)
        status = gen_image_save_check(
            path,
            &GEN_IMAGE_SAVE_PARAMS(.format = s->format, .quality = s->quality,
                                   .if_exists = s->overwrite ? GEN_REPLACE : GEN_KEEP_BOTH),
            err);
    gen_string_free(path);
    return status;
}

/* Takes up the input that is next, or of a folder the first after it that can be read. */
static gen_status take_input(image_run *run, gen_error *err)
{
    gen_status status;
    while ((status = resolve(run, err)) == GEN_ERROR_INPUT && run->pictures_per_input &&
           run->input + 1 < run->num_input_paths) {
        cli_report_error(run->reporter, err);
        run->num_failed += run->pictures_per_input;
        run->input++;
    }
    return status;
}

static gen_status prepare(image_run *run, gen_error *err)
{
    gen_status status;
    if ((status = read_prompts(run, err)) || (status = check_sampling(run->settings, err)) ||
        (status = count_pictures(run, err)) || (status = choose_pattern(run, err)) ||
        (status = open_model(run, err)) || (status = cli_clip_find(run, err)))
        return status;
    if (run->num_input_paths > 1 && (status = choose_pattern(run, err)))
        return status;
    if ((status = take_input(run, err)) || (status = check_output(run, err)))
        return status;
    return GEN_OK;
}

static gen_status show_plan(const image_run *run, gen_error *err)
{
    gen_estimate estimate;
    const gen_status status = gen_estimate_run(&estimate, run->model, &run->params, err);
    if (!status)
        (run->settings->json ? print_plan_json : print_plan)(run, &estimate);
    return status;
}

/* One picture of several has failed with its device: it is counted, and the device opened again for
 * the others, once.  Else the failure, which ends the run. */
static gen_status go_on_without(image_run *run, gen_status status, gen_error *err)
{
    if (status != GEN_ERROR_DEVICE || run->num_pictures == 1 || run->was_reopened)
        return status;
    run->was_reopened = true;
    run->num_failed++;
    cli_report_error(run->reporter, err);
    gen_model_free(run->model);
    gen_context_free(run->context);
    run->model = NULL;
    run->context = NULL;
    cli_report(run->reporter, GEN_LOG_NOTE, "opening the device again for the other pictures");
    status = open_model(run, err);
    return status ? status : resolve(run, err);
}

static gen_status make_pictures(image_run *run, gen_error *err)
{
    const cli_settings *s = run->settings;
    const bool has_progress = !s->quiet && !(s->progress && strcmp(s->progress, "none") == 0);
    run->progress = (cli_progress){
        .reporter = run->reporter, .num_items = (int)run->num_pictures, .is_shown = has_progress};
    cli_signals_install(run->num_pictures > 1, s->quiet || run->reporter->is_json);
    const uint64_t each = run->pictures_per_input;
    for (uint64_t i = each * (uint64_t)run->input; i < run->num_pictures && !cli_signals_pending();
         i++) {
        gen_status status = GEN_OK;
        if (each && i / each > (uint64_t)run->input) {
            run->input++;
            if ((status = take_input(run, err)) == GEN_ERROR_INPUT) { /* the last of a folder */
                cli_report_error(run->reporter, err);
                run->num_failed += each;
                break;
            }
            i = each * (uint64_t)run->input;
        }
        if (!status)
            status = make_picture(run, i, err);
        if (status && (status = go_on_without(run, status, err)))
            return status;
    }
    if (run->num_failed)
        cli_report(run->reporter, GEN_LOG_WARNING, "%llu of %llu pictures failed",
                   (unsigned long long)run->num_failed, (unsigned long long)run->num_pictures);
    return GEN_OK;
}

int cli_run(const cli_settings *settings, cli_reporter *r, bool is_edit)
{
    gen_error err = {0};
    image_run run = {.settings = settings, .reporter = r, .is_edit = is_edit};
    gen_status status = prepare(&run, &err);
    if (!status)
        status = settings->dry_run ? show_plan(&run, &err) : make_pictures(&run, &err);
    if (status)
        cli_report_error(r, &err);
    cli_clip_free(&run);
    gen_model_free(run.model);
    gen_context_free(run.context);
    free(run.pattern);
    free(run.prompt);
    free(run.negative_prompt);
    const int signal = cli_signals_pending();
    return signal           ? EXIT_SIGNAL + signal
           : status         ? cli_exit_code(status)
           : run.num_failed ? EXIT_SOME
                            : EXIT_DONE;
}

int cli_image(const cli_settings *settings, cli_reporter *r)
{
    return cli_run(settings, r, false);
}
