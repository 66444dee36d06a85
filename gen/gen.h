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
    GEN_ERROR_INTERNAL,    /* our own mistake, or a non-finite value in the work */
    GEN_ERROR_ARGUMENT,    /* a parameter out of its range, an unknown name */
    GEN_ERROR_INPUT,       /* an input file: unreadable, damaged, not supported */
    GEN_ERROR_MODEL,       /* a model: missing, damaged, of the wrong kind */
    GEN_ERROR_MEMORY,      /* not enough memory, or more than the limit allows */
    GEN_ERROR_DEVICE,      /* a device that failed or was lost */
    GEN_ERROR_OUTPUT,      /* an output that cannot be written */
    GEN_ERROR_MISMATCH,    /* a bitstream or a record that does not fit */
    GEN_ERROR_CANCELLED    /* the progress callback asked to stop */
} gen_status;

typedef struct gen_error {
    gen_status status;
    char message[512];     /* one line: where, what was found, what was expected */
    char hint[256];        /* one line: what to do about it, or "" */
} gen_error;

GEN_API const char *gen_version(void);

/* ---- pictures -------------------------------------------------------------------------------- */

/* A picture in memory: 8-bit samples, rows from the top, channels interleaved.  Values are sRGB
 * unless a colour profile says otherwise; alpha is not premultiplied. */
typedef struct gen_image {
    int            width, height;     /* pixels, 1..65536 each, at most 2^28 together */
    int            channels;          /* 1 gray, 2 gray + alpha, 3 RGB, 4 RGBA */
    size_t         stride;            /* bytes from a row to the next, at least width * channels */
    unsigned char *data;              /* height * stride bytes, owned */
    unsigned char *icc;               /* the ICC profile of the file it came from, owned, or NULL */
    size_t         icc_size;
} gen_image;

/* A black (and, with alpha, transparent) picture.  Errors: ARGUMENT for a size or channel count out
 * of range; MEMORY. */
GEN_API gen_status gen_image_new(gen_image **out, int width, int height, int channels,
                                 gen_error *err);
GEN_API void       gen_image_free(gen_image *image);

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
    GEN_REPLACE = 0,                  /* an existing file is replaced, as a whole or not at all */
    GEN_KEEP_BOTH,                    /* cat.png becomes cat-1.png, cat-2.png, ... */
    GEN_REFUSE                        /* an existing file is an error */
} gen_if_exists;

typedef struct gen_image_save_params {
    size_t          struct_size;      /* set by GEN_IMAGE_SAVE_PARAMS() */
    const char     *format;           /* "png", "jpg" or "ppm"; NULL: from the path's ending */
    int             quality;          /* JPEG, 1..100; 0 is 92 */
    gen_if_exists   if_exists;
    const gen_text *texts;            /* borrowed; PNG keeps all, JPEG the two above, PNM none */
    size_t          num_texts;
    char           *saved_path;       /* receives the name really used; NULL if not wanted */
    size_t          saved_path_size;  /* bytes at saved_path; a longer name is cut */
} gen_image_save_params;
#define GEN_IMAGE_SAVE_PARAMS(...) \
    ((gen_image_save_params){.struct_size = sizeof(gen_image_save_params), __VA_ARGS__})

/* Writes the picture beside its final name and renames it when it is complete, so no half-written
 * file is ever seen under that name; missing folders are made.  path "-" is standard output (PNG
 * unless a format is named).  `params` may be NULL.  JPEG has no alpha: such pictures are laid on
 * white.  Errors: ARGUMENT for an unknown format; OUTPUT when it cannot be written; MEMORY. */
GEN_API gen_status gen_image_save(const gen_image *image, const char *path,
                                  const gen_image_save_params *params, gen_error *err);

/* What a picture file says about itself, without its pixels. */
typedef struct gen_picture_info {
    const char *format;               /* "PNG", "JPEG" or "PNM" */
    int         width, height;        /* as shown, after the EXIF orientation */
    int         channels;             /* as gen_image_load() would return */
    int         bit_depth;            /* bits per sample in the file */
    int         orientation;          /* EXIF, 1..8; 1 is upright */
    size_t      icc_size;             /* bytes of the colour profile, or 0 */
    gen_text   *texts;                /* every text found, owned by the info */
    size_t      num_texts;
} gen_picture_info;

GEN_API gen_status  gen_picture_info_read(gen_picture_info **out, const char *path, gen_error *err);
GEN_API void        gen_picture_info_free(gen_picture_info *info);
/* The text with this key, borrowed, or NULL. */
GEN_API const char *gen_picture_info_text(const gen_picture_info *info, const char *key);

/* How a picture was made.  All-zero is valid; what is NULL or zero is left out of the texts, except
 * the seed. */
typedef struct gen_picture_record {
    size_t      struct_size;          /* set by GEN_PICTURE_RECORD() */
    const char *prompt, *negative_prompt;
    int         num_inference_steps;
    const char *sampler, *scheduler, *rng;
    double      guidance_scale;
    uint64_t    seed;
    int         width, height;        /* pixels */
    int         clip_skip;            /* 0: the model's own */
    const char *model_name;           /* without folder and ending */
    const char *model_sha256;         /* 64 hex digits */
    const char *vae_name;
    const char *precision, *backend;
} gen_picture_record;
#define GEN_PICTURE_RECORD(...) \
    ((gen_picture_record){.struct_size = sizeof(gen_picture_record), __VA_ARGS__})

/* The record as the "parameters" text (prompt, "Negative prompt: ...", "Steps: 20, Sampler: ...")
 * and as the "gen" JSON object on one line.  The caller frees *out with gen_string_free(). */
GEN_API gen_status gen_picture_record_text(char **out, const gen_picture_record *record,
                                           gen_error *err);
GEN_API gen_status gen_picture_record_json(char **out, const gen_picture_record *record,
                                           gen_error *err);
GEN_API void       gen_string_free(char *string);

/* The values for an output template. */
typedef struct gen_output_fields {
    size_t      struct_size;          /* set by GEN_OUTPUT_FIELDS() */
    const char *input;                /* path of the input picture, for {stem} and {dir}, or NULL */
    const char *prompt;               /* {prompt}: words joined by '-'; {stem} without an input */
    const char *model;                /* {model} */
    const char *extension;            /* {ext}: ".png"; a dot before the field is not doubled */
    uint64_t    seed;                 /* {seed} */
    int64_t     index;                /* {i}, %d */
    int         width, height;        /* {w} {h} */
    int64_t     time;                 /* {date}, seconds since 1970; 0: now */
} gen_output_fields;
#define GEN_OUTPUT_FIELDS(...) \
    ((gen_output_fields){.struct_size = sizeof(gen_output_fields), __VA_ARGS__})

/* Fills a template: {stem} {dir} {ext} {i} {i:04} {seed} {prompt} {prompt:40} {model} {w} {h}
 * {date}, %d and %04d; "{{" and "}}" are braces.  A field never adds a folder, except {dir}.
 * Errors: ARGUMENT for an unknown field or a bad width; MEMORY. */
GEN_API gen_status gen_output_path(char **out, const char *pattern, const gen_output_fields *fields,
                                   gen_error *err);
/* Whether pictures of one run get different names from the template. */
GEN_API bool gen_output_varies(const char *pattern);

#ifdef __cplusplus
}
#endif

#endif
