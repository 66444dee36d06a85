/* describe.c - saying what a file or folder holds. */
#include "gen/pipeline/model_files.h"
#include "gen/pipeline/pipeline.h"

gen_status gen_describe_path(char **out, const char *path, int as_json, gen_error *err)
{
    gen_error unused;
    if (!err)
        err = &unused;
    gen_model_files *files;
    GEN_TRY(gen_model_files_open(&files, path, err));
    const gen_status status = gen_model_files_describe(out, files, as_json != 0, err);
    gen_model_files_free(files);
    return status;
}
