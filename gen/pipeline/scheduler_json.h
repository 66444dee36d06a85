/* scheduler_json.h - scheduler_config.json into the sampler layer's configuration. */
#ifndef GEN_PIPELINE_SCHEDULER_JSON_H
#define GEN_PIPELINE_SCHEDULER_JSON_H

#include "gen/core/json.h"
#include "samplers/samplers.h"

/* json NULL: the defaults for a file without one.  The lists of json are copied into *lists (to be
 * freed with gen_free() when the configuration is not used any more), which may receive NULL.
 * A class nobody knows gives the same defaults, for a caller who names a sampler.
 * Errors: MODEL, naming file and key; MEMORY. */
gen_status gen_scheduler_config_read(gen_scheduler_config *config, double **lists,
                                     const gen_json *json, gen_error *err);

/* Names of the keys nothing here reads, "a, b"; NULL when there are none.  The caller frees it with
 * gen_free(). */
char *gen_scheduler_unknown_keys(const gen_json *json);

/* Whether the class says how to sample.  Errors: MODEL, naming file and class. */
gen_status gen_scheduler_class_check(const gen_json *json, gen_error *err);

#endif
