/* t5.h - the encoders T5 v1.1, T5 and umT5 (dit.md 2.4, 4.6): ids of one text to its states.
 *
 * The tokenizer is in spm.h.  An encoder may be larger than the memory it has to share with a
 * network: it is run block by block, and the packed weights of a block are given back before those
 * of the next are made, so that it never takes more than one block and its activations.  All texts
 * that are wanted should therefore be encoded by one call.
 *
 *     gen_t5_config_parse()      text_encoder/config.json, or
 *     gen_t5_config_from_weights() from the tensors alone
 *     gen_t5_encoder_new()       checks the whole encoder, computes nothing
 *     gen_t5_encoder_encode()    any number of texts
 *     gen_t5_encoder_free()
 */
#ifndef GEN_TEXT_T5_H
#define GEN_TEXT_T5_H

#include "gen/core/json.h"
#include "gen/core/plan.h"

#define GEN_T5_MAX_LAYERS 128

typedef struct gen_t5_config {
    int64_t vocab_size, d_model, d_kv, d_ff; /* d_kv: of a head; heads * d_kv may not be d_model */
    int num_layers, num_heads;
    int num_buckets, max_distance; /* of relative positions */
    bool is_gated;                 /* act(wi_0 x) * (wi_1 x) instead of act(wi x) */
    gen_act act;
    float eps;
} gen_t5_config;

/* From config.json of T5EncoderModel, UMT5EncoderModel or a whole T5.  Errors: MODEL. */
gen_status gen_t5_config_parse(gen_t5_config *config, const gen_json *json, gen_error *err);

/* From the tensors alone: gated ones have gelu_new, others relu.  Errors: MODEL when w holds no
 * T5 encoder. */
gen_status gen_t5_config_from_weights(gen_t5_config *config, gen_scope w, gen_error *err);

/* ---- the graph; w is the root of the checkpoint ------------------------------------------------
 */

/* The embedding of ids [N,T] (I32): [N,T,D], not scaled. */
gen_tensor *gen_t5_embed(gen_graph *g, gen_scope w, const gen_t5_config *config, gen_tensor *ids);

/* The bucket of the position of key j relative to query i, for a table num_buckets long. */
int gen_t5_bucket(const gen_t5_config *config, int64_t key_minus_query);

/* Block i: x [N,T,D] -> [N,T,D].  `buckets` [N*T,T] (I32) are gen_t5_bucket(j - i), the same for
 * every sample; `mask` [N,1,T,1] is added to the scores of the keys (0, or very negative for
 * padding), NULL: all tokens count. */
gen_tensor *gen_t5_block(gen_graph *g, gen_scope w, const gen_t5_config *config, int i,
                         gen_tensor *x, gen_tensor *buckets, gen_tensor *mask);

gen_tensor *gen_t5_final_norm(gen_graph *g, gen_scope w, const gen_t5_config *config,
                              gen_tensor *x);

/* ---- the encoder --------------------------------------------------------------------------------
 */

typedef struct gen_t5_encoder gen_t5_encoder;

/* Checks that the whole encoder is there and of the right shapes.  The weights of w and the backend
 * are borrowed and must outlive it.  Errors: MODEL, naming the tensor; MEMORY. */
gen_status gen_t5_encoder_new(gen_t5_encoder **out, const gen_t5_config *config, gen_scope w,
                              gen_backend *backend, gen_error *err);
void gen_t5_encoder_free(gen_t5_encoder *encoder);
const gen_t5_config *gen_t5_encoder_config(const gen_t5_encoder *encoder);

typedef struct gen_t5_text {
    const int32_t *ids; /* with the end token, without padding */
    int64_t count;      /* at least 1 */
    float *states;      /* [count, d_model], the caller's */
} gen_t5_text;

/* Fills the states of each text.  Padding behind a text would change none of them: it is masked, so
 * it is not computed; a network that expects a fixed length is given zeros there, or a mask.
 * Cost: one run of each block per text.  No weights stay prepared.
 * Errors: MODEL for ids outside the table; INTERNAL when a state is not finite, naming where;
 * MEMORY; DEVICE. */
gen_status gen_t5_encoder_encode(gen_t5_encoder *encoder, gen_t5_text *texts, int num_texts,
                                 gen_error *err);

/* What one block needs for a text of num_tokens; there are num_layers such runs per text, and the
 * weights counted are those of one block.  Errors: MEMORY. */
gen_status gen_t5_encoder_measure(gen_t5_encoder *encoder, int64_t num_tokens,
                                  gen_plan_stats *stats, gen_error *err);

#endif
