/* gen.h - the C API of libgen: pictures from diffusion models on the CPU or a GPU.
 *
 *     gen_context *ctx;  gen_model *model;  gen_image *image;  gen_error err;
 *     if (gen_context_new(&ctx, NULL, &err)) ...
 *     if (gen_model_open(&model, ctx, &GEN_MODEL_PARAMS(.path = "sd15"), &err)) ...
 *     gen_generate_params p = GEN_GENERATE_PARAMS(.prompt = "a heron at dawn", .seed = 7);
 *     if (gen_generate(&image, model, &p, &err)) ...
 *     gen_image_save(image, "heron.png", NULL, &err);
 *
 * Every function that can fail returns a gen_status and describes the failure in its gen_error
 * argument, which may be NULL.  Nothing here exits, aborts or prints.  Objects are opaque, belong
 * to the caller, and every free function accepts NULL.  A context may be used by one thread at a
 * time; different contexts are independent. */
#ifndef GEN_H
#define GEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GEN_VERSION_MAJOR 0
#define GEN_VERSION_MINOR 1
#define GEN_VERSION_PATCH 0

#if defined(__GNUC__)
#define GEN_API __attribute__((visibility("default")))
#else
#define GEN_API
#endif

/* What went wrong, and in whose hands the remedy lies. */
typedef enum gen_status {
    GEN_OK = 0,
    GEN_ERROR_INTERNAL, /* our own mistake, or a non-finite value in the work */
    GEN_ERROR_ARGUMENT, /* a parameter out of its range, an unknown name */
    GEN_ERROR_INPUT,    /* an input file: unreadable, damaged, not supported */
    GEN_ERROR_MODEL,    /* a model: missing, damaged, of the wrong kind */
    GEN_ERROR_MEMORY,   /* not enough memory, or more than the limit allows */
    GEN_ERROR_DEVICE,   /* a device that failed or was lost */
    GEN_ERROR_OUTPUT,   /* an output that cannot be written */
    GEN_ERROR_MISMATCH, /* a bitstream or a record that does not fit */
    GEN_ERROR_CANCELLED /* the progress callback asked to stop */
} gen_status;

typedef struct gen_error {
    gen_status status;
    char message[512]; /* one line: where, what was found, what was expected */
    char hint[256];    /* one line: what to do about it, or "" */
} gen_error;

GEN_API const char *gen_version(void);

/* ---- pictures -------------------------------------------------------------------------------- */

/* A picture in memory: 8-bit samples, rows from the top, channels interleaved.  Values are sRGB
 * unless a colour profile says otherwise; alpha is not premultiplied. */
typedef struct gen_image {
    int width, height;   /* pixels, 1..65536 each, at most 2^28 together */
    int channels;        /* 1 gray, 2 gray + alpha, 3 RGB, 4 RGBA */
    size_t stride;       /* bytes from a row to the next, at least width * channels */
    unsigned char *data; /* height * stride bytes, owned */
    unsigned char *icc;  /* the ICC profile of the file it came from, owned, or NULL */
    size_t icc_size;
} gen_image;

/* A black (and, with alpha, transparent) picture.  Errors: ARGUMENT for a size or channel count out
 * of range; MEMORY. */
GEN_API gen_status gen_image_new(gen_image **out, int width, int height, int channels,
                                 gen_error *err);
GEN_API void gen_image_free(gen_image *image);

/* Reads a PNG, JPEG or PNM (P1..P7) file, recognised by its content; path "-" is standard input.
 * Gray, palette, 16-bit, alpha and CMYK files become 8-bit gray or RGB with or without alpha; an
 * EXIF orientation is applied.  Errors: INPUT for a file that cannot be read, is damaged or too
 * large; MEMORY. */
GEN_API gen_status gen_image_load(gen_image **out, const char *path, gen_error *err);

/* A named text that travels with a picture; both are UTF-8.  Two keys are understood by other
 * programs and by gen: "parameters" (the settings as lines of text) and "gen" (a JSON record). */
typedef struct gen_text {
    const char *key, *value;
} gen_text;

typedef enum gen_if_exists {
    GEN_REPLACE = 0, /* an existing file is replaced, as a whole or not at all */
    GEN_KEEP_BOTH,   /* cat.png becomes cat-1.png, cat-2.png, ... */
    GEN_REFUSE       /* an existing file is an error */
} gen_if_exists;

typedef struct gen_image_save_params {
    size_t struct_size; /* set by GEN_IMAGE_SAVE_PARAMS() */
    const char *format; /* "png", "jpg" or "ppm"; NULL: from the path's ending */
    int quality;        /* JPEG, 1..100; 0 is 92 */
    gen_if_exists if_exists;
    const gen_text *texts; /* borrowed; PNG keeps all, JPEG the two above, PNM none */
    size_t num_texts;
    char *saved_path;       /* receives the name really used; NULL if not wanted */
    size_t saved_path_size; /* bytes at saved_path; a longer name is cut */
} gen_image_save_params;
#define GEN_IMAGE_SAVE_PARAMS(...)                                                                 \
    ((gen_image_save_params){.struct_size = sizeof(gen_image_save_params), __VA_ARGS__})

/* Writes the picture beside its final name and renames it when it is complete, so no half-written
 * file is ever seen under that name; missing folders are made.  path "-" is standard output (PNG
 * unless a format is named).  `params` may be NULL.  JPEG has no alpha: such pictures are laid on
 * white.  Errors: ARGUMENT for an unknown format; OUTPUT when it cannot be written; MEMORY. */
GEN_API gen_status gen_image_save(const gen_image *image, const char *path,
                                  const gen_image_save_params *params, gen_error *err);

/* Whether gen_image_save() would begin to write there: format known, folder made and writable.
 * Errors: as its own. */
GEN_API gen_status gen_image_save_check(const char *path, const gen_image_save_params *params,
                                        gen_error *err);

typedef enum gen_filter {
    GEN_FILTER_LANCZOS,
    GEN_FILTER_BICUBIC,
    GEN_FILTER_BILINEAR,
    GEN_FILTER_NEAREST
} gen_filter;

/* A picture of another size, byte for byte as Pillow resizes; all channels alike.  Errors: INPUT
 * for a size beyond the limits; MEMORY. */
GEN_API gen_status gen_image_resize(gen_image **out, const gen_image *image, int width, int height,
                                    gen_filter filter, gen_error *err);

/* What a picture file says about itself, without its pixels. */
typedef struct gen_picture_info {
    const char *format; /* "PNG", "JPEG" or "PNM" */
    int width, height;  /* as shown, after the EXIF orientation */
    int channels;       /* as gen_image_load() would return */
    int bit_depth;      /* bits per sample in the file */
    int orientation;    /* EXIF, 1..8; 1 is upright */
    size_t icc_size;    /* bytes of the colour profile, or 0 */
    gen_text *texts;    /* every text found, owned by the info */
    size_t num_texts;
} gen_picture_info;

GEN_API gen_status gen_picture_info_read(gen_picture_info **out, const char *path, gen_error *err);
GEN_API void gen_picture_info_free(gen_picture_info *info);
/* The text with this key, borrowed, or NULL. */
GEN_API const char *gen_picture_info_text(const gen_picture_info *info, const char *key);

typedef struct gen_generate_params gen_generate_params; /* below: making pictures */

/* How a picture was made.  All-zero is valid; what is NULL or zero is left out of the texts, except
 * the seed. */
typedef struct gen_picture_record {
    size_t struct_size; /* set by GEN_PICTURE_RECORD() */
    const char *prompt, *negative_prompt;
    int num_inference_steps;
    const char *sampler, *scheduler, *rng;
    double guidance_scale;
    uint64_t seed;
    int width, height;        /* pixels */
    int clip_skip;            /* 0: the model's own */
    const char *model_name;   /* without folder and ending */
    const char *model_sha256; /* 64 hex digits */
    const char *vae_name;
    const char *precision, *backend;
    const gen_generate_params *params; /* resolved: its fields from eta on, where the record has
                                          none of its own; NULL: left out */
} gen_picture_record;
#define GEN_PICTURE_RECORD(...)                                                                    \
    ((gen_picture_record){.struct_size = sizeof(gen_picture_record), __VA_ARGS__})

/* The record as the "parameters" text (prompt, "Negative prompt: ...", "Steps: 20, Sampler: ...")
 * and as the "gen" JSON object on one line.  The caller frees *out with gen_string_free(). */
GEN_API gen_status gen_picture_record_text(char **out, const gen_picture_record *record,
                                           gen_error *err);
GEN_API gen_status gen_picture_record_json(char **out, const gen_picture_record *record,
                                           gen_error *err);
GEN_API void gen_string_free(char *string);

/* The values for an output template. */
typedef struct gen_output_fields {
    size_t struct_size;    /* set by GEN_OUTPUT_FIELDS() */
    const char *input;     /* path of the input picture, for {stem} and {dir}, or NULL */
    const char *prompt;    /* {prompt}: words joined by '-'; {stem} without an input */
    const char *model;     /* {model} */
    const char *extension; /* {ext}: ".png"; a dot before the field is not doubled */
    uint64_t seed;         /* {seed} */
    int64_t index;         /* {i}, %d */
    int width, height;     /* {w} {h} */
    int64_t time;          /* {date}, seconds since 1970; 0: now */
} gen_output_fields;
#define GEN_OUTPUT_FIELDS(...)                                                                     \
    ((gen_output_fields){.struct_size = sizeof(gen_output_fields), __VA_ARGS__})

/* Fills a template: {stem} {dir} {ext} {i} {i:04} {seed} {prompt} {prompt:40} {model} {w} {h}
 * {date}, %d and %04d; "{{" and "}}" are braces.  A field never adds a folder, except {dir}.
 * {frame} and {frame:05} stay as they are, for gen_sequence_open().
 * Errors: ARGUMENT for an unknown field or a bad width; MEMORY. */
GEN_API gen_status gen_output_path(char **out, const char *pattern, const gen_output_fields *fields,
                                   gen_error *err);
/* Whether pictures of one run get different names from the template. */
GEN_API bool gen_output_varies(const char *pattern);

/* ---- clips -----------------------------------------------------------------------------------
 */

typedef struct gen_sequence gen_sequence; /* a clip being written, frame by frame */

typedef struct gen_sequence_params {
    size_t struct_size;       /* set by GEN_SEQUENCE_PARAMS() */
    int num_frames;           /* that will come; at least 1 */
    double frames_per_second; /* 0: 16 */
    const char *format;       /* of single frames: as in gen_image_save_params */
    int quality;
    gen_if_exists if_exists;
    const gen_text *texts; /* borrowed until the end; in the first frame, or in the one file */
    size_t num_texts;
    char *saved_path; /* receives the name of the file, or of the first frame */
    size_t saved_path_size;
} gen_sequence_params;
#define GEN_SEQUENCE_PARAMS(...)                                                                   \
    ((gen_sequence_params){.struct_size = sizeof(gen_sequence_params), __VA_ARGS__})

/* A path with the field {frame}, {frame:05} makes a picture of every frame, counted from 1; any
 * other path ends in .png or .apng and is one animated PNG, which appears when it is complete and
 * repeats for ever.  Errors: ARGUMENT; OUTPUT; MEMORY. */
GEN_API gen_status gen_sequence_open(gen_sequence **out, const char *path,
                                     const gen_sequence_params *params, gen_error *err);
/* The next frame; all are of one size.  Errors: ARGUMENT; OUTPUT; MEMORY. */
GEN_API gen_status gen_sequence_add(gen_sequence *sequence, const gen_image *frame, gen_error *err);
/* Ends the clip: all frames must have come.  The sequence still needs freeing.  Errors: ARGUMENT;
 * OUTPUT. */
GEN_API gen_status gen_sequence_finish(gen_sequence *sequence, gen_error *err);
/* Drops an animated PNG that was not finished; frames of their own stay. */
GEN_API void gen_sequence_free(gen_sequence *sequence);

/* ---- contexts and models --------------------------------------------------------------------- */

typedef struct gen_context gen_context; /* threads, a backend, limits */
typedef struct gen_model gen_model;     /* an opened model with its cached plans */

typedef enum gen_log_level { GEN_LOG_DEBUG, GEN_LOG_NOTE, GEN_LOG_WARNING } gen_log_level;
/* One line without an end of line. */
typedef void (*gen_log_fn)(void *user, gen_log_level level, const char *line);

typedef struct gen_context_params {
    size_t struct_size;    /* set by GEN_CONTEXT_PARAMS() */
    int num_threads;       /* 0: all CPUs this process may use */
    uint64_t mem_limit;    /* bytes the library may use; 0: what the machine has free */
    const char *gemm;      /* "own", "openblas"; NULL: the better one here */
    const char *precision; /* "auto", "f32" (exact kernels only), "f16" (Vulkan: activations of the
                              network in 16 bits), "q8" (CPU: matrices of linear layers
                              in 8 bits: a quarter to half of the memory); NULL: "auto" */
    gen_log_fn log;        /* notes and warnings; NULL: dropped */
    void *log_user;
    const char *device; /* NULL or "cpu"; "auto": the best GPU that passes the self-check, else the
                           CPU; "vulkan": the best device; "vulkan:0": that index; "vulkan:text":
                           the one with text in its name */
} gen_context_params;
#define GEN_CONTEXT_PARAMS(...)                                                                    \
    ((gen_context_params){.struct_size = sizeof(gen_context_params), __VA_ARGS__})

/* `params` may be NULL.  Errors: ARGUMENT; MEMORY; DEVICE (no such Vulkan device, or it failed
 * the self-check). */
GEN_API gen_status gen_context_new(gen_context **out, const gen_context_params *params,
                                   gen_error *err);
GEN_API void gen_context_free(gen_context *context); /* after its models */
/* "cpu: avx512, 2 threads, own gemm": valid while the context lives. */
GEN_API const char *gen_context_backend(const gen_context *context);

/* A device as `gen devices` shows it. */
typedef struct gen_device {
    char id[24];                 /* for gen_context_params.device: "cpu", "vulkan:0" */
    char name[256];              /* as the driver calls it; of the CPU: instruction set, threads */
    char kind[16];               /* "cpu", "discrete", "integrated", "virtual", "software" */
    char driver[320], api[16];   /* "" for the CPU; version of Vulkan: "1.3.230" */
    uint64_t memory;             /* bytes of its own; of the CPU: what is free */
    uint64_t max_allocation;     /* bytes in one piece; 0: any */
    uint64_t max_binding;        /* bytes that a shader sees of a buffer; 0: any */
    char used[128], unused[128]; /* features, comma separated: what gen uses and the rest */
    char verdict[512];           /* of the self-check, as a sentence */
    bool is_trusted;             /* it has passed */
    bool is_auto;                /* "auto" means this one */
    double flops_per_second, bytes_per_second; /* rough speeds; 0: not measured */
} gen_device;

typedef struct gen_device_list {
    gen_device *devices; /* the CPU first */
    int num_devices;
    bool has_vulkan;         /* this build has it */
    bool has_matrix_shaders; /* and the variants for cooperative matrices */
    char shaders[1024];      /* of this build, separated by spaces */
    char note[256];          /* why there are no Vulkan devices, or "" */
} gen_device_list;

/* Every device of the machine.  Those that gen has not used before with their driver are checked,
 * which takes some seconds each.  The log and the threads of `params` count; it may be NULL. */
GEN_API gen_status gen_device_list_new(gen_device_list **out, const gen_context_params *params,
                                       gen_error *err);
GEN_API void gen_device_list_free(gen_device_list *list);

typedef struct gen_model_params {
    size_t struct_size;    /* set by GEN_MODEL_PARAMS() */
    const char *path;      /* a diffusers directory or a .safetensors file; NULL: the small
                              model that comes with gen, for editing another */
    const char *base;      /* the model whose autoencoder, text encoder and settings are taken
                              where `path` has none; NULL: none */
    const char *vae;       /* another autoencoder, file or directory; NULL: the model's */
    const char *tokenizer; /* folder with the vocabulary of the text encoder (CLIP, SentencePiece);
                              NULL: the model's, else one of CLIP is looked for
                              where other programs keep it */
    int strict;            /* not 0: tensors nobody uses are an error, not a warning */
    const char *t5;        /* a T5 or umT5 text encoder, file or directory; NULL: the model's */
    int for_editing;       /* not 0: to change pictures or clips; a flow network without settings
                              of its own is then a bridge (ViBT) */
} gen_model_params;
#define GEN_MODEL_PARAMS(...)                                                                      \
    ((gen_model_params){.struct_size = sizeof(gen_model_params), __VA_ARGS__})

/* Opens a model: reads its headers and configurations and checks that it is complete.  Weights are
 * mapped and packed when they are first needed.  Errors: MODEL; ARGUMENT; MEMORY. */
GEN_API gen_status gen_model_open(gen_model **out, gen_context *context,
                                  const gen_model_params *params, gen_error *err);
GEN_API void gen_model_free(gen_model *model);

typedef struct gen_model_info {
    const char *name;            /* file or folder name without ending */
    const char *path;            /* as resolved */
    const char *network;         /* class of the denoiser, "UNet2DConditionModel" */
    const char *vae;             /* class of the autoencoder */
    const char *scheduler;       /* class, "DDIMScheduler"; "" when the file has none */
    const char *prediction_type; /* "epsilon", "v_prediction", "flow_prediction" ... */
    int default_width, default_height, default_steps;
    double default_guidance_scale;
    int default_frames;       /* of a clip; 0: makes pictures only */
    double frames_per_second; /* of its clips */
    bool changes_pictures;    /* a bridge: needs `source` */
    bool takes_first_frame;
    int size_step;           /* width and height are multiples of this */
    int frame_step;          /* frames are 1 more than a multiple of this */
    uint64_t num_parameters; /* of all components */
    uint64_t num_bytes;      /* of all weights as stored */
    bool takes_prompt;       /* draws what a text says; else the classes below, or by itself */
    int num_classes;         /* 0: knows none */
} gen_model_info;
/* Owned by the model. */
GEN_API const gen_model_info *gen_model_get_info(const gen_model *model);
/* SHA-256 of the file with the denoiser's weights (of its shards one after the other), 64 hex
 * digits; reads the whole file once and is remembered.  Errors: MODEL. */
GEN_API gen_status gen_model_sha256(gen_model *model, char out[65], gen_error *err);

/* Says in some lines what a model file or folder holds, also when gen cannot run it.  The caller
 * frees *out with gen_string_free().  Errors: MODEL when it cannot be read at all. */
GEN_API gen_status gen_describe_path(char **out, const char *path, int as_json, gen_error *err);

/* ---- making pictures --------------------------------------------------------------------------
 */

typedef enum gen_phase {
    GEN_PHASE_LOAD,
    GEN_PHASE_ENCODE,
    GEN_PHASE_STEP,
    GEN_PHASE_DECODE
} gen_phase;

typedef struct gen_progress {
    gen_phase phase;
    int step, num_steps; /* STEP: steps done and in all; DECODE: strips */
    double seconds;      /* since gen_generate() began */
} gen_progress;
/* Not 0 stops the work with GEN_ERROR_CANCELLED. */
typedef int (*gen_progress_fn)(void *user, const gen_progress *progress);

struct gen_generate_params {
    size_t struct_size;          /* set by GEN_GENERATE_PARAMS() */
    const char *prompt;          /* UTF-8; (word:1.2), [word], BREAK are understood */
    const char *negative_prompt; /* NULL: "" */
    int width, height;           /* pixels; 0: the model's own */
    int num_inference_steps;     /* 1..1000; 0: the model's own */
    double guidance_scale;       /* 0: the model's own; 1: no guidance */
    const char *sampler;         /* NULL: what the model's scheduler says */
    const char *scheduler;       /* the schedule, "karras" ...; NULL: the model's */
    const char *rng;             /* "gen", "torch-cpu", "cuda", "cuda-a100" ... for large noise
                                    as that device draws it; NULL: "gen" */
    uint64_t seed;
    double eta;                  /* share of fresh noise, up to 1; 0: the sampler's own, less
                                    than 0: none */
    int clip_skip;               /* 0: the model's own; 1: last layer; 2: the one before */
    const gen_image *init_image; /* image to image: start from this picture, or NULL */
    double strength;             /* of the change, 0..1; 0 means 0.75.  With init_image only */
    gen_progress_fn progress;    /* NULL: none */
    void *progress_user;

    /* Noise levels, instead of a schedule and a number of steps: descending, without the clean end.
     * Borrowed while the call runs.  sigmas are sigma / alpha (flow models: times from 1 to 0,
     * before shifting); timesteps are training times.  Both: levels, and what the network is told
     * there. */
    const double *sigmas, *timesteps;
    size_t num_sigmas, num_timesteps;
    double s_noise;              /* factor on fresh noise; 0: 1 */
    double flow_shift;           /* flow models: shift of the times; 0: the model's own */
    const char *prediction_type; /* "epsilon", "v_prediction", "flow_prediction", "sample", when
                                    the model does not know better; NULL: the model's */

    const char *guidance;    /* how the prompt is followed, see gen_method_at(); NULL: "cfg" */
    double guidance_rescale; /* 0..1: share of the result brought to the deviation it would
                                have without guidance */
    /* Guided only where low < sigma / alpha <= high (0: without limit), and in the steps of the
     * fractions [start, stop) of all (stop 0: to the end); elsewhere as with scale 1. */
    double guidance_low, guidance_high, guidance_start, guidance_stop;
    int guidance_zero_init; /* cfg_zero: so many first predictions are zero; 0: 1 for flow
                               models, none for others; less than 0: none */
    double apg_momentum;    /* apg: -1..1 of the change before; the paper's -0.5 for SDXL */
    double apg_norm;        /* apg: longest change; the paper's 15 for SDXL; 0: any */
    double apg_parallel;    /* apg: 0..1, share of the change along the prediction kept */

    /* The starting noise moves from that of seed towards that of variation_seed, as the variation
     * seeds of other programs do: 0 stays, 1 arrives.  Later draws follow seed. */
    uint64_t variation_seed;
    double variation_strength;

    /* Class-conditional models: the number of a class, or its name where the model has names; they
     * also take the prompt for such a name.  NULL: none, any class is drawn. */
    const char *class_label;

    /* Euler and Heun: noise added before the steps (EDM); 0: none.  In levels sigma / alpha from
     * s_tmin to s_tmax; s_tmax 0: without limit. */
    double s_churn, s_tmin, s_tmax;
    int guidance_is_dynamic;   /* not 0: the scale falls to its half over the run (EchoMimicV3) */
    double guidance_skip_last; /* 0..1: share of the last steps without guidance */
    int guided_channels;       /* of the latents, the first that are guided (DiT's code: 3 of 4);
                                  0: the model's own, less than 0: all */
    /* As A1111: the starting noise of another size, pixels, in the middle of this picture's. */
    int seed_resize_width, seed_resize_height;
    int64_t noise_seed_delta; /* noise of the steps follows seed + this, if it is not 0 */

    /* Models of clips: frames, 1 more than a multiple of the autoencoder's 4 (0: the model's own,
     * 1: a picture), and the picture a clip begins with, for models that take one, or NULL. */
    int num_frames;
    const gen_image *first_frame;

    /* Bridges, which change a picture or a clip: its frames, of the size of the result. */
    const gen_image *const *source;
    int num_source;
};
#define GEN_GENERATE_PARAMS(...)                                                                   \
    ((gen_generate_params){.struct_size = sizeof(gen_generate_params), __VA_ARGS__})

/* Fills every field left to the model with its value; pointers then point to the model's or to
 * static text.  Checks ranges, names and the size grid.  Errors: ARGUMENT, saying what is possible.
 */
GEN_API gen_status gen_resolve(gen_generate_params *params, const gen_model *model, gen_error *err);

typedef struct gen_generate_stats {
    double load_seconds, encode_seconds, decode_seconds;
    double step_seconds; /* mean of the steps */
    int num_steps;
} gen_generate_stats;

/* Makes one picture.  Models keep their packed weights, plans and the last prompt's embeddings, so
 * the next picture is cheaper and equal to what a single run would give.  *stats may be NULL.
 * Errors: ARGUMENT; MODEL; MEMORY; INTERNAL when a value is not finite; CANCELLED. */
GEN_API gen_status gen_generate(gen_image **out, gen_model *model,
                                const gen_generate_params *params, gen_generate_stats *stats,
                                gen_error *err);

/* Receives frame `index` of num_frames, in order; the picture is borrowed.  A status other than OK
 * ends the work and is returned. */
typedef gen_status (*gen_frame_fn)(void *user, const gen_image *frame, int index, int num_frames,
                                   gen_error *err);
/* Makes one clip, or one picture, which is a clip of one frame.  Errors: those of gen_generate()
 * and of `receive`. */
GEN_API gen_status gen_generate_clip(gen_model *model, const gen_generate_params *params,
                                     gen_frame_fn receive, void *user, gen_generate_stats *stats,
                                     gen_error *err);

/* What gen_generate() would need. */
typedef struct gen_estimate_phase {
    const char *name;    /* "encode", "denoise", "decode" */
    uint64_t peak_bytes; /* weights, activations and scratch at the same time */
    uint64_t weight_bytes, transformed_bytes, activation_bytes, scratch_bytes;
    double flops;            /* of the whole phase */
    double seconds;          /* a guess from a short measurement of this machine; 0: none */
    int num_tiles;           /* strips the decoder works in; 1: none */
    uint64_t streamed_bytes; /* of weights that come anew in every run, for want of memory, */
    uint64_t slot_bytes;     /*   and of weight_bytes the room they pass through */
} gen_estimate_phase;

typedef struct gen_estimate {
    gen_estimate_phase phases[3];
    uint64_t peak_bytes;
    uint64_t mem_limit;
    uint64_t staging_bytes; /* of the machine's memory, on the way to a device's; 0: the same */
    double seconds;
    double flops_per_forward; /* of the network, for one sample */
    int num_forwards;         /* with and without the prompt counted apart */
} gen_estimate;
/* Errors: ARGUMENT; MODEL; MEMORY when it cannot be done within the limit. */
GEN_API gen_status gen_estimate_run(gen_estimate *out, gen_model *model,
                                    const gen_generate_params *params, gen_error *err);

/* ---- measuring --------------------------------------------------------------------------------
 */

typedef enum gen_bench_kind {
    GEN_BENCH_OPS,   /* every class of op, in the shapes of Stable Diffusion at 512x512 and small */
    GEN_BENCH_MODEL, /* the phases of one picture */
    GEN_BENCH_CHECK  /* the device's numbers against the CPU's: ops, and a picture */
} gen_bench_kind;

typedef struct gen_bench_params {
    size_t struct_size; /* set by GEN_BENCH_PARAMS() */
    gen_bench_kind kind;
    const char *device; /* as in gen_context_params; CHECK of the CPU compares its fast kernels with
                           its plain ones */
    const char *model;  /* MODEL and CHECK; NULL: the one that comes with gen */
    int num_threads, width, height, num_inference_steps; /* 0: of the machine, of the model */
    gen_log_fn log;
    void *log_user;
    uint64_t mem_limit; /* as in gen_context_params */
} gen_bench_params;
#define GEN_BENCH_PARAMS(...)                                                                      \
    ((gen_bench_params){.struct_size = sizeof(gen_bench_params), __VA_ARGS__})

/* A line of the table; what does not apply is 0 or "". */
typedef struct gen_bench_row {
    char name[48], shape[48];
    double seconds;                            /* of one run, the best of some */
    double flops_per_second, bytes_per_second; /* of it; bytes: each tensor once */
    uint64_t bytes;                            /* of memory */
    double nmse, max_error, psnr;              /* CHECK: against the reference; psnr in dB */
    bool has_failed;
    char note[128]; /* why there is no number */
} gen_bench_row;

typedef struct gen_bench {
    gen_bench_row *rows;
    int num_rows, num_failed;
    char device[320]; /* with its driver */
    char commit[48];  /* of the source, or the version */
    int num_threads;
} gen_bench;

/* Errors: ARGUMENT; MODEL; MEMORY; DEVICE.  Numbers that differ are rows that failed. */
GEN_API gen_status gen_bench_run(gen_bench **out, const gen_bench_params *params, gen_error *err);
GEN_API void gen_bench_free(gen_bench *bench);

/* ---- methods ----------------------------------------------------------------------------------
 */

typedef enum gen_method_kind {
    GEN_METHOD_SAMPLER,
    GEN_METHOD_SCHEDULER,
    GEN_METHOD_GUIDANCE
} gen_method_kind;

/* What can be named in `sampler`, `scheduler` and `guidance`.  Static texts, "" where there is
 * nothing to say.  Case, spaces, '-' and '_' do not matter in names. */
typedef struct gen_method {
    const char *name;
    const char *aliases; /* other programs' names, comma separated */
    const char *paper;
    const char *formula; /* guidance: c, u are the predictions with and without prompt */
    const char *calls;   /* samplers: network calls for n steps, without guidance */
    const char *purpose; /* for which models, how many steps */
    bool is_stochastic;  /* samplers: draws fresh noise unless told not to */
} gen_method;

/* Method i of a kind; false past the end. */
GEN_API bool gen_method_at(gen_method *out, gen_method_kind kind, int i);

/* ---- plots ------------------------------------------------------------------------------------
 */

typedef struct gen_plot_params {
    size_t struct_size;              /* set by GEN_PLOT_PARAMS() */
    const char *model;               /* file or folder whose scheduler settings count, or NULL */
    const char *family;              /* without a model: see gen_plot_family_at(); NULL: "sd" */
    const char *samplers;            /* comma separated, as `sampler`; NULL: the model's own */
    const char *schedulers;          /* comma separated, each with each sampler; NULL: its own */
    int num_inference_steps;         /* 0: 10 */
    double eta, s_noise, flow_shift; /* as in gen_generate_params */
    const double *sigmas, *timesteps;
    size_t num_sigmas, num_timesteps;
    const char *data;  /* trajectories: see gen_plot_data_at(); NULL: "pair" */
    uint64_t seed;     /* trajectories: of the fresh noise */
    int width, height; /* pixels, 200..8000; 0: 1000 x 700 */
    gen_if_exists if_exists;
    char *saved_path; /* receives the name really used; NULL if not wanted */
    size_t saved_path_size;
} gen_plot_params;
#define GEN_PLOT_PARAMS(...)                                                                       \
    ((gen_plot_params){.struct_size = sizeof(gen_plot_params), __VA_ARGS__})

/* Noise levels and network times against steps, a line for each sampler and schedule, at most 12.
 * The path ends in .svg, or in what gen_image_save() knows.  Errors: ARGUMENT for unknown names and
 * for pairs that cannot go together; MODEL; MEMORY; OUTPUT. */
GEN_API gen_status gen_plot_schedule(const char *path, const gen_plot_params *params,
                                     gen_error *err);

/* The ways of numbers (or of points in the plane) from noise to toy data whose exact denoiser is
 * known, a panel for each sampler and schedule, at most 12, over the ways an exact solver takes.
 * Errors: as gen_plot_schedule(). */
GEN_API gen_status gen_plot_trajectory(const char *path, const gen_plot_params *params,
                                       gen_error *err);

/* Names for `family` and `data`, NULL past the end; *what (may be NULL) is one line about it. */
GEN_API const char *gen_plot_family_at(int i, const char **what);
GEN_API const char *gen_plot_data_at(int i, const char **what);

#ifdef __cplusplus
}
#endif

#endif
