/* labels.h - the classes a class-conditional model draws, by number and by name. */
#ifndef GEN_PIPELINE_LABELS_H
#define GEN_PIPELINE_LABELS_H

#include "gen/core/json.h"

/* The class `wanted` names: a number from 0 on, or one of the names of `index`'s table "id2label"
 * (model_index.json; NULL: no names).  A table's text is a list of names with commas; where two
 * classes share a name, the later one has it.  Upper and lower case count only where that decides.
 * `path` is the model's, for messages.  Errors: ARGUMENT, saying what there is. */
gen_status gen_label_find(int *out, const gen_json *index, int num_classes, const char *wanted,
                          const char *path, gen_error *err);

#endif
