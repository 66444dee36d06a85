/* prompts.h - from a prompt and its negative to what a network is told.
 *
 * A kind of text encoders with their tokenizers is one constant of gen_prompt_encoder, listed in
 * registry.c; the class of a model's component "text_encoder" chooses it.  The pipeline knows no
 * other difference between them. */
#ifndef GEN_PIPELINE_PROMPTS_H
#define GEN_PIPELINE_PROMPTS_H

#include "gen/core/network.h"
#include "gen/pipeline/model_files.h"
#include "gen/text/text.h"

/* [0] the prompt, [1] the negative prompt; equally many tokens. */
typedef struct gen_prompt_states {
    int64_t num_tokens, dim, pooled_dim;
    float *states[2]; /* [num_tokens, dim]; [1] may be NULL without guidance */
    float *mask[2];   /* [num_tokens]: 1 for a token, 0 for padding; NULL: all are tokens */
    float *pooled[2]; /* [pooled_dim], or NULL */
    int num_cut;      /* tokens of the prompt that the encoder has no room for */
    int max_tokens;   /*   then: how many it takes */
    char **tags;      /* "<lora:...>" found in either; NULL-terminated; may be NULL */
} gen_prompt_states;
void gen_prompt_states_free(gen_prompt_states *states);

typedef struct gen_prompt_request {
    const char *prompt;   /* NULL: "" */
    const char *negative; /* NULL: none was given */
    bool is_guided;       /* the negative states are wanted, too */
    int clip_skip;
} gen_prompt_request;

/* What an encoder is opened from; borrowed as long as it lives. */
typedef struct gen_prompt_source {
    const gen_model_files *files;
    const gen_network_traits *traits;
    const char *tokenizer; /* named by the user, or NULL */
    gen_backend *backend;
} gen_prompt_source;

typedef struct gen_prompt_encoder {
    const char *const *class_names; /* of its component "text_encoder", NULL at the end */
    bool is_transient;              /* so large that it never stays in memory beside the network */
    /* Checks that everything is there and of the right shapes.  Errors: MODEL; MEMORY. */
    gen_status (*open)(void **out, const gen_prompt_source *source, gen_error *err);
    void (*close)(void *self); /* accepts NULL */
    int64_t (*dim)(const void *self);
    /* The tokens the states will have, without encoding.  Errors: ARGUMENT; MEMORY. */
    gen_status (*count)(int64_t *num_tokens, void *self, const gen_prompt_request *request,
                        gen_error *err);
    /* Errors: ARGUMENT; MODEL; MEMORY; INTERNAL. */
    gen_status (*encode)(gen_prompt_states **out, void *self, const gen_prompt_request *request,
                         gen_error *err);
    /* What its i-th network needs for these prompts, and how often it will run; *runs is 0 past
     * the last. */
    gen_status (*measure)(void *self, int i, const gen_prompt_request *request,
                          gen_plan_stats *stats, double *runs, gen_error *err);
    /* Gives plans and prepared weights back; the next prompt makes them anew. */
    void (*release)(void *self);
} gen_prompt_encoder;

/* prompts_clip.c: one or two CLIP encoders, joined by channels.  An open one is a gen_text_stack.
 */
extern const gen_prompt_encoder gen_clip_prompts;

/* prompts_t5.c: T5 and umT5. */
extern const gen_prompt_encoder gen_t5_prompts;

enum { GEN_MAX_ENCODERS = 2 };
typedef struct gen_text_stack {
    int num_encoders;
    struct {
        gen_text_encoder *encoder;     /* owned */
        gen_clip_tokenizer *tokenizer; /* owned; may be shared by both */
        gen_token_options tokens;
    } stages[GEN_MAX_ENCODERS];
    gen_text_options options; /* of the family: layer, final norm */
    bool has_pooled;          /* the last encoder's pooled output is wanted */
    bool zeros_for_empty;     /* no negative prompt: zeros instead of "" */
} gen_text_stack;

#endif
