/* prompt_states.h - what a prompt and its negative look like to a network. */
#ifndef GEN_PIPELINE_PROMPT_STATES_H
#define GEN_PIPELINE_PROMPT_STATES_H

#include "gen/text/text.h"

enum { GEN_MAX_ENCODERS = 2 };

/* The text encoders of a model, in the order their channels are joined. */
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
void gen_text_stack_clear(gen_text_stack *stack);

/* [0] the prompt, [1] the negative prompt; equally many tokens. */
typedef struct gen_prompt_states {
    int64_t num_tokens, dim, pooled_dim;
    float *states[2]; /* [num_tokens, dim] */
    float *pooled[2]; /* [pooled_dim], or NULL */
    char **tags;      /* "<lora:...>" found in either; NULL-terminated */
} gen_prompt_states;

/* `negative` NULL means that none was given.  Errors: ARGUMENT; MODEL; MEMORY; INTERNAL. */
gen_status gen_prompt_states_new(gen_prompt_states **out, gen_text_stack *stack, const char *prompt,
                                 const char *negative, int clip_skip, gen_error *err);
void gen_prompt_states_free(gen_prompt_states *states);

/* The tokens the states will have, without encoding.  Errors: ARGUMENT; MEMORY. */
gen_status gen_prompt_num_tokens(int64_t *out, const gen_text_stack *stack, const char *prompt,
                                 const char *negative, gen_error *err);

#endif
