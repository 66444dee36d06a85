/* clip_model.h - a tiny pipeline for clips in the folder of program.h. */
#ifndef GEN_TESTS_API_CLIP_MODEL_H
#define GEN_TESTS_API_CLIP_MODEL_H

/* Folder `name`: a Wan network of random weights that takes `in` channels and gives 4, a recorded
 * autoencoder, the text encoder and tokenizer of the model in the folder `encoders`.  `settings`
 * are more members of model_index.json, each with a comma behind it.  Fails the running test. */
void clip_model_make(const char *name, int in, const char *settings, const char *encoders);

#endif
