/* registry.h - which classes of components gen knows: one line each. */
#ifndef GEN_PIPELINE_REGISTRY_H
#define GEN_PIPELINE_REGISTRY_H

#include "gen/core/network.h"
#include "gen/pipeline/prompts.h"

/* The class of that name, or NULL. */
const gen_network_class *gen_network_find(const char *class_name);
/* The i-th, NULL past the end. */
const gen_network_class *gen_network_at(int i);

/* The kind of text encoders whose component is of that class, or NULL. */
const gen_prompt_encoder *gen_prompt_encoder_find(const char *class_name);

#endif
