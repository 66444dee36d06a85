/* text.h - from a prompt to the states a denoiser attends to.
 *
 *     prompt --parse--> runs with weights --tokenize--> chunks of ids --encode--> [77 m, D] states
 *
 * clip_files.c and clip_vocab.c read vocabularies, clip_tokenizer.c turns text into ids,
 * vocab_search.c finds a vocabulary where other programs keep theirs, prompt.c knows the weights
 * and chunks that users write, clip_encoder.c is the network.  What T5 needs is in spm.h
 * and t5.h. */
#ifndef GEN_TEXT_TEXT_H
#define GEN_TEXT_TEXT_H

#include "gen/core/json.h"
#include "gen/core/plan.h"

/* ---- tokenizer: byte-level BPE in CLIP's form (unet.md 5.3) ------------------------------------
 */

typedef struct gen_clip_tokenizer gen_clip_tokenizer;

/* A growing list of token ids. */
typedef struct gen_ids {
    int32_t *ids; /* made by gen_malloc */
    size_t count;
    size_t capacity;
} gen_ids;

/* Reads a vocabulary.  `path` is a directory with vocab.json and merges.txt, or with
 * tokenizer.json, or with merges alone (merges.txt, bpe_simple_vocab_16e6.txt, .gz: the ids then
 * follow from the order); or one of these files; or a directory whose folder tokenizer/ is one of
 * the former. tokenizer_config.json and special_tokens_map.json beside them name the special
 * tokens. Errors: MODEL with file and reason; MEMORY. */
gen_status gen_clip_tokenizer_open(gen_clip_tokenizer **out, const char *path, gen_error *err);
void gen_clip_tokenizer_free(gen_clip_tokenizer *tokenizer);

/* The same from memory; a text that is absent is NULL.  `path` is used in messages only. */
typedef struct gen_clip_files {
    const char *vocab_json;
    size_t vocab_json_size;
    const char *merges;
    size_t merges_size; /* text, or gzip of it */
    const char *tokenizer_json;
    size_t tokenizer_json_size;
    const char *tokenizer_config;
    size_t tokenizer_config_size;
    const char *special_tokens_map;
    size_t special_tokens_map_size;
} gen_clip_files;
gen_status gen_clip_tokenizer_parse(gen_clip_tokenizer **out, const gen_clip_files *files,
                                    const char *path, gen_error *err);

typedef struct gen_clip_tokenizer_info {
    const char *path; /* the directory or file it came from; borrowed */
    int32_t bos, eos, pad, unk;
    int32_t comma;   /* of ",</w>"; -1 when the vocabulary has none */
    int32_t num_ids; /* the largest id + 1 */
    int max_length;  /* tokens of one sequence, start and end included: 77 */
} gen_clip_tokenizer_info;
void gen_clip_tokenizer_get_info(const gen_clip_tokenizer *tokenizer,
                                 gen_clip_tokenizer_info *info);

/* Does the vocabulary belong to an embedding table of num_rows rows?  Errors: MODEL when an id is
 * outside the table, or when the table has more than twice as many rows as there are ids. */
gen_status gen_clip_tokenizer_check(const gen_clip_tokenizer *tokenizer, int64_t num_rows,
                                    gen_error *err);

/* Appends the ids of a text, without start, end and padding.  Text is normalised to NFC and lower
 * case; HTML entities stay as they are, as in the transformers library.
 * Errors: ARGUMENT when it is not UTF-8 or longer than 1 MiB; MEMORY. */
gen_status gen_clip_tokenize(const gen_clip_tokenizer *tokenizer, const char *text, size_t size,
                             gen_ids *ids, gen_error *err);
void gen_ids_free(gen_ids *ids); /* the list, not the struct */

/* One sequence of `length` ids: start, at most length - 2 of the ids, end, padding. */
void gen_clip_sequence(const gen_clip_tokenizer *tokenizer, const int32_t *ids, size_t count,
                       int32_t pad, int length, int32_t *out);

/* Finds and opens a vocabulary for a model that came without one.  In this order: explicit_path
 * (--tokenizer), the environment's GEN_TOKENIZER, tokenizer/ beside the model file,
 * $XDG_DATA_HOME/gen/tokenizers/clip, the Hugging Face cache, ComfyUI, stable-diffusion-webui and
 * Forge in the usual places, the Python packages open_clip and clip.  The first two must be good;
 * of the others, those that cannot be read or have another size are passed over.
 * gen_clip_tokenizer_get_info() tells where it was found.
 * Errors: MODEL, the hint saying what to put where; MEMORY. */
typedef struct gen_clip_search {
    const char *explicit_path; /* or NULL */
    const char *model_path;    /* the model's file or directory, or NULL */
    int64_t num_rows;          /* of the embedding table; 0 means 49408 */
} gen_clip_search;
gen_status gen_clip_tokenizer_find(gen_clip_tokenizer **out, const gen_clip_search *search,
                                   gen_error *err);

/* ---- prompts: weights, chunks, BREAK (unet.md 5.4) ---------------------------------------------
 */

typedef struct gen_prompt_run {
    const char *text; /* borrowed from the prompt, not terminated */
    size_t size;
    double weight;
    bool is_break; /* the word BREAK; has no text */
} gen_prompt_run;

typedef struct gen_prompt {
    gen_prompt_run *runs;
    size_t num_runs;
    bool is_weighted; /* some weight is not 1 */
    char **tags;      /* "<lora:name:0.8>" and the like, taken out of the text */
    size_t num_tags;
    gen_arena *arena;
} gen_prompt;

/* Splits a prompt into runs of equal weight: (x) is 1.1, [x] is 1/1.1, (x:1.3) is 1.3, nested
 * factors multiply, an open bracket extends to the end, \( \) \[ \] \\ are the characters
 * themselves, and any other backslash is text.  The word BREAK ends a chunk, also inside brackets.
 * <lora:...>, <lyco:...> and <hypernet:...> are put into `tags`: the caller says that they have no
 * effect.  Errors: ARGUMENT for a prompt over 64 KiB, brackets over 100 deep, a weight beyond 1000,
 * text that is not UTF-8; MEMORY. */
gen_status gen_prompt_parse(gen_prompt **out, const char *text, gen_error *err);
void gen_prompt_free(gen_prompt *prompt);

/* A prompt as sequences of `length` ids: start, length - 2 tokens, end, padding. */
typedef struct gen_token_chunks {
    int num_chunks;
    int length;
    int32_t *ids;   /* [num_chunks, length] */
    float *weights; /* the same; 1 for start, end and padding */
    bool is_weighted;
    int32_t bos, eos, pad;
} gen_token_chunks;

typedef struct gen_token_options {
    int length;     /* 0: the tokenizer's max_length */
    bool has_pad;   /* pad with pad_id instead of the tokenizer's padding: vocabularies */
    int32_t pad_id; /* found elsewhere know nothing of the model (0 for SD2 and bigG) */
} gen_token_options;

/* Cuts where the text is full, or after a comma at most 20 tokens before; a prompt without tokens
 * is one chunk.  Errors: ARGUMENT for more than 64 chunks; MEMORY. */
gen_status gen_prompt_tokenize(gen_token_chunks **out, const gen_prompt *prompt,
                               const gen_clip_tokenizer *tokenizer,
                               const gen_token_options *options, gen_error *err);
/* Appends empty chunks until there are num_chunks: prompt and negative prompt must be equally
 * long.  Errors: MEMORY. */
gen_status gen_token_chunks_extend(gen_token_chunks *chunks, int num_chunks, gen_error *err);
void gen_token_chunks_free(gen_token_chunks *chunks);

/* The text in lower case and without white space around it: *out, made by gen_malloc.  Errors:
 * ARGUMENT when it is not UTF-8; MEMORY. */
gen_status gen_text_lower(char **out, const char *text, gen_error *err);

/* ---- the CLIP text encoders (unet.md 5.1) -------------------------------------------------------
 */

#define GEN_CLIP_MAX_LAYERS 64

typedef struct gen_clip_config {
    int64_t vocab_size, hidden_size, intermediate_size, max_position_embeddings;
    int num_hidden_layers, num_attention_heads;
    gen_act hidden_act;
    float layer_norm_eps;
    int32_t eos_token_id; /* 2: the end token is where the largest id stands */
    bool has_projection;  /* text_projection.weight must be there (it may be, anyway) */
} gen_clip_config;

/* From text_encoder/config.json; also from a whole CLIP model's, which keeps it under
 * "text_config".  Errors: MODEL. */
gen_status gen_clip_config_parse(gen_clip_config *config, const gen_json *json, gen_error *err);

/* The part of it that all towers of CLIP have: widths, layers, heads, activation and epsilon; what
 * is in config before are the defaults of the first four.  Errors: MODEL. */
gen_status gen_clip_layers_parse(gen_clip_config *config, const gen_json *json, gen_error *err);

/* From the tensors alone, for single files: heads of 64, quick_gelu for a width of 768, gelu for
 * others.  Errors: MODEL when w holds no text encoder. */
gen_status gen_clip_config_from_weights(gen_clip_config *config, gen_scope w, gen_error *err);

/* The transformer over input_ids [N,T] (I32): returns hidden_states[num_layers], [N,T,D], before
 * the final norm.  hidden_states, if not NULL, receives all num_layers + 1; [0] is the embedding
 * sum.  w is the scope of the checkpoint, whose names may begin with "text_model." or not. */
gen_tensor *gen_clip_layers(gen_graph *g, gen_scope w, const gen_clip_config *config,
                            gen_tensor *input_ids, int num_layers, gen_tensor **hidden_states);
/* One layer of any tower, with the norms before attention and MLP.  x [N,T,D] -> [N,T,D] */
gen_tensor *gen_clip_layer(gen_graph *g, gen_scope w, const gen_clip_config *config, bool is_causal,
                           gen_tensor *x);
/* final_layer_norm of a hidden state. */
gen_tensor *gen_clip_final_norm(gen_graph *g, gen_scope w, const gen_clip_config *config,
                                gen_tensor *hidden);
/* text_projection of every row, without bias: [N,T,P]. */
gen_tensor *gen_clip_projection(gen_graph *g, gen_scope w, gen_tensor *normed);
/* Where the end token of one sequence stands. */
int gen_clip_eos_position(const gen_clip_config *config, const int32_t *ids, int length);

typedef struct gen_text_encoder gen_text_encoder;

/* Checks that the whole encoder is there and of the right shapes.  `w` (its weights) and `backend`
 * are borrowed and must outlive it.  Errors: MODEL, naming the tensor; MEMORY. */
gen_status gen_text_encoder_new(gen_text_encoder **out, const gen_clip_config *config, gen_scope w,
                                gen_backend *backend, gen_error *err);
void gen_text_encoder_free(gen_text_encoder *encoder);
/* Gives back the plan and the prepared weights; the next prompt makes them anew. */
void gen_text_encoder_release(gen_text_encoder *encoder);
const gen_clip_config *gen_text_encoder_config(const gen_text_encoder *encoder);
/* Width of the pooled output: that of text_projection, else hidden_size. */
int64_t gen_text_encoder_pooled_dim(const gen_text_encoder *encoder);

/* How a weight acts on the states of a chunk. */
typedef enum gen_emphasis {
    GEN_EMPHASIS_MEAN,  /* rows times weight, then the chunk scaled back to its old mean */
    GEN_EMPHASIS_PLAIN, /* rows times weight: often preferred for SDXL */
    GEN_EMPHASIS_NONE
} gen_emphasis;

/* The table of unet.md 5.2: SD1 and SD2 {.final_norm = true}, SDXL {.layer_from_end = 2} for both
 * encoders and .pooled for the second. */
typedef struct gen_text_options {
    int layer_from_end; /* 1: the last layer, 2: the one before ...; 0 means 1 */
    int clip_skip;      /* what the user asks for, as in other interfaces: 1 (or 0) is the model's
                         * own layer, each more drops one further layer */
    bool final_norm;
    bool pooled;
    gen_emphasis emphasis;
} gen_text_options;

typedef struct gen_text_states {
    int64_t num_tokens, dim;
    float *states;      /* [num_tokens, dim]: the chunks one after the other */
    int64_t pooled_dim; /* 0 without */
    float *pooled;      /* [pooled_dim], of the first chunk, not weighted; or NULL */
} gen_text_states;

/* Encodes a prompt, chunk by chunk through one plan.  Cost: one run of the encoder per chunk.
 * Errors: ARGUMENT for a clip skip beyond the layers; MODEL for ids outside the table or more
 * tokens than positions; INTERNAL when a state is not finite; MEMORY; DEVICE. */
gen_status gen_text_encoder_encode(gen_text_encoder *encoder, const gen_token_chunks *chunks,
                                   const gen_text_options *options, gen_text_states **out,
                                   gen_error *err);
void gen_text_states_free(gen_text_states *states);

/* What encoding needs, without doing it.  Errors as above. */
gen_status gen_text_encoder_measure(gen_text_encoder *encoder, int length,
                                    const gen_text_options *options, gen_plan_stats *stats,
                                    gen_error *err);

#endif
