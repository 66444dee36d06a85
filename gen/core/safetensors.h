/* safetensors.h - reading .safetensors files, one or many.
 *
 * A file is a little-endian 64-bit length, that many bytes of JSON (name -> dtype, shape,
 * data_offsets) and the data.  It is mapped read-only and its tensors are added, under the names
 * they have in the file, to a gen_weights that keeps the mapping alive; keymap.h renames them.
 * Nothing is read but the header: the data is paged in when somebody uses it.
 *
 * The reader believes nothing: lengths, offsets and shapes are checked against each other and the
 * size of the file, every byte of the data has to belong to exactly one tensor.  What it cannot
 * guard against is a file that is made shorter by another program while it is in use. */
#ifndef GEN_CORE_SAFETENSORS_H
#define GEN_CORE_SAFETENSORS_H

#include "gen/core/weights.h"

/* Adds all tensors of one file, and its __metadata__ as notes.  Errors: MODEL, naming the file, and
 * the tensor where there is one; MEMORY.  After an error the set holds a part of the tensors and
 * can only be freed. */
gen_status gen_safetensors_open(gen_weights *into, const char *path, gen_error *err);

/* Adds the tensors of all shards that an index file (*.safetensors.index.json) names; they lie in
 * its folder.  Errors as above; also when a shard is missing or lacks a tensor the index promises.
 */
gen_status gen_safetensors_open_index(gen_weights *into, const char *path, gen_error *err);

/* What a file that is not safetensors looks like from its first bytes: "a PyTorch checkpoint
 * (zip)", "a GGUF file", "a web page" ..., or NULL. */
const char *gen_file_looks_like(const void *data, size_t size);

#endif
