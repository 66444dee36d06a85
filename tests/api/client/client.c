/* client.c - the smallest user of libgen: client MODEL PICTURE makes one picture. */
#include <stdio.h>

#include <gen.h>

int main(int argc, char **argv)
{
    gen_error err = {GEN_OK, "", ""};
    gen_context *context = NULL;
    gen_model *model = NULL;
    gen_image *image = NULL;
    const gen_model_params m = GEN_MODEL_PARAMS(.path = argc > 1 && *argv[1] ? argv[1] : NULL);
    const gen_generate_params p =
        GEN_GENERATE_PARAMS(.prompt = "a red house", .seed = 7, .num_inference_steps = 2);
    if (gen_context_new(&context, NULL, &err) || gen_model_open(&model, context, &m, &err) ||
        gen_generate(&image, model, &p, NULL, &err) ||
        gen_image_save(image, argc > 2 ? argv[2] : "client.png", NULL, &err))
        fprintf(stderr, "client: %s\n", err.message);
    gen_image_free(image);
    gen_model_free(model);
    gen_context_free(context);
    return (int)err.status;
}
