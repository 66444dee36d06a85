/* world.h - the words a small model understands.
 *
 * A model that was trained on a small world may carry a world.json beside its model_index.json:
 *     {"knows": "one line", "subject_words": ["house", ...], "known_words": ["red", "lake", ...]}
 * A prompt without any of these words gets a note, not an error. */
#ifndef GEN_PIPELINE_WORLD_H
#define GEN_PIPELINE_WORLD_H

#include "gen/core/status.h"

typedef struct gen_world gen_world;

/* *out is NULL when the folder has no such file.  Errors: MODEL; MEMORY. */
gen_status gen_world_open(gen_world **out, const char *model_folder, gen_error *err);
void gen_world_free(gen_world *world);

/* The line to show for a prompt that names none of the subjects, or NULL when it does. */
const char *gen_world_note(const gen_world *world, const char *prompt);

#endif
