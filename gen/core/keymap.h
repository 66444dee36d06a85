/* keymap.h - key layouts: from the names of a file to the names the models use.
 *
 * The models know one naming, that of diffusers and transformers.  Files know several: the single
 * file of Stable Diffusion holds everything under the names of the original code, each part below
 * a prefix; older diffusers files have other names for the VAE's attention; OpenCLIP fuses q, k and
 * v.  A layout is a table of renamings in keymap.c; a new one is one table more.
 *
 * The tensors of a file are first collected under their own names (safetensors.h), then each part
 * is added to a set of its own.  Such a set borrows the data: it has to be freed first. */
#ifndef GEN_CORE_KEYMAP_H
#define GEN_CORE_KEYMAP_H

#include "gen/core/weights.h"

typedef enum gen_part {
    GEN_PART_UNET,
    GEN_PART_VAE,
    GEN_PART_TEXT_ENCODER,
    GEN_PART_TEXT_ENCODER_2,
    GEN_PART_TRANSFORMER, /* a network over tokens */
    GEN_NUM_PARTS,
    GEN_PART_OTHER = GEN_NUM_PARTS /* a component without a table: names stay as they are */
} gen_part;

/* What the names in a file say about it. */
typedef struct gen_file_contents {
    size_t num_tensors[GEN_NUM_PARTS]; /* of each part; 0: the file has none */
    size_t num_ignored;                /* known leftovers */
    size_t num_other;                  /* none of these */
    bool is_lora;                      /* low-rank or similar changes to a model */
    const char *lora_base;             /* the family of that model, or NULL */
    int lora_rank;                     /* 0: not known */
    bool is_control;                   /* a ControlNet */
    bool is_embedding;                 /* textual inversion */
    bool is_t5;                        /* a T5 encoder */
} gen_file_contents;

void gen_keymap_examine(const gen_weights *file, gen_file_contents *out);

/* Adds the tensors of one part of `file` to `into` under the names of the models, and marks them
 * is_used in `file`; leftovers that real files have and nobody needs (positions, EMA copies,
 * training state) are marked is_ignored there.  A part without its own prefix is the whole file.
 * Numbers with gaps, as pruned models have them in the original naming, are closed up.
 * Errors: MODEL for two tensors of one name or a fused tensor of a wrong shape; MEMORY. */
gen_status gen_keymap_add(gen_weights *into, gen_weights *file, gen_part part, gen_error *err);

#endif
