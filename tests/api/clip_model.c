/* clip_model.c - see clip_model.h. */
#include "tests/api/clip_model.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "tests/api/program.h"
#include "tests/tools/random_tokens.h"

void clip_model_make(const char *name, int in, const char *settings, const char *encoders)
{
    char path[4096], index[1024], file[256];
    snprintf(path, sizeof path, "%s", program_path(name));
    mkdir(path, 0777);
    program_shell("cp -r %s/text_encoder %s/", encoders, path);
    program_shell("cp -r %s/tokenizer %s/", encoders, path);
    program_shell("cp -r %s %s/vae", GEN_TEST_SOURCE_DIR "/golden/fixtures/vae_wan", path);
    snprintf(index, sizeof index,
             "{\"_class_name\": \"WanPipeline\", %s"
             " \"transformer\": [\"diffusers\", \"WanTransformer3DModel\"],"
             " \"vae\": [\"diffusers\", \"AutoencoderKLWan\"],"
             " \"text_encoder\": [\"transformers\", \"CLIPTextModel\"],"
             " \"tokenizer\": [\"transformers\", \"CLIPTokenizer\"]}",
             settings);
    snprintf(file, sizeof file, "%s/model_index.json", name);
    program_write(file, index);
    random_wan(&(random_wan_size){.heads = 2,
                                  .head_dim = 12,
                                  .layers = 2,
                                  .ffn = 40,
                                  .in = in,
                                  .out = 4,
                                  .text = 24,
                                  .freq = 32});
    snprintf(file, sizeof file, "%s/transformer", name);
    assert_int_equal(random_write(program_path(file), 1), 0);
}
