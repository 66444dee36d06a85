/* random_tokens.h - networks over tokens of random weights, in the names and shapes of the
 * published ones, of any size.
 *
 * A function lists the tensors of a network; random_write() writes its config.json and
 * diffusion_pytorch_model.safetensors (bf16; the autoencoder f32) and forgets the list.  Weights
 * are uniform with deviation 1/sqrt(inputs), norms near one, biases and modulation near zero, so
 * that everything stays finite.  The file depends on the seed alone. */
#ifndef GEN_TESTS_TOOLS_RANDOM_TOKENS_H
#define GEN_TESTS_TOOLS_RANDOM_TOKENS_H

#include <stdint.h>

typedef struct random_rwkv_size {
    int width, depth, channels, side; /* of the latents */
    int num_classes;                  /* 0: none */
} random_rwkv_size;
void random_rwkv(const random_rwkv_size *size);

/* DiT under the names of the original code. */
typedef struct random_dit_size {
    int width, heads, depth, side, num_classes;
} random_dit_size;
void random_dit(const random_dit_size *size);

typedef struct random_t5_size {
    int vocabulary, width, heads, head_dim, ffn, layers;
} random_t5_size;
void random_t5(const random_t5_size *size);

typedef struct random_wan_size {
    int heads, head_dim, layers, ffn, in, out, text, freq;
    int image;  /* width of a picture's features; 0: takes none */
    int is_rcm; /* not 0: names begin with "net.", the patch embedding is a matrix */
} random_wan_size;
void random_wan(const random_wan_size *size);

/* The image encoder of CLIP. */
typedef struct random_vision_size {
    int width, heads, layers, ffn, image, patch;
} random_vision_size;
void random_vision(const random_vision_size *size);

/* The autoencoder of Wan 2.1, full size. */
void random_wan_vae(void);

/* 0 on success. */
int random_write(const char *folder, uint64_t seed);

#endif
