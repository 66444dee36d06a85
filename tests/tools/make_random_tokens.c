/* make_random_tokens.c - full-size networks over tokens, of random weights, for measuring time and
 * memory; the tiny ones have shapes of their own, for tests.
 *
 *     make-random-tokens MODEL[:SIDE] FOLDER [SEED]
 *
 * SIDE is that of the latents, of models that know one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/tools/random_tokens.h"

static void drwkv_h2(int side)
{
    random_rwkv(&(random_rwkv_size){
        .width = 1024, .depth = 37, .channels = 4, .side = side ? side : 32, .num_classes = 1000});
}

/* Two of the same width, the one linear in its tokens, the other quadratic. */
static void drwkv_s2(int side)
{
    random_rwkv(&(random_rwkv_size){
        .width = 384, .depth = 13, .channels = 4, .side = side ? side : 32, .num_classes = 1000});
}

static void dit_s2(int side)
{
    random_dit(&(random_dit_size){
        .width = 384, .heads = 6, .depth = 12, .side = side ? side : 32, .num_classes = 1000});
}

static void dit_xl2(int side)
{
    random_dit(&(random_dit_size){
        .width = 1152, .heads = 16, .depth = 28, .side = side ? side : 32, .num_classes = 1000});
}

static void dit_tiny(int side)
{
    random_dit(&(random_dit_size){
        .width = 24, .heads = 2, .depth = 2, .side = side ? side : 8, .num_classes = 10});
}

/* 20 wide, for tests. */
static void t5_tiny(int side)
{
    (void)side;
    random_t5(&(random_t5_size){
        .vocabulary = 512, .width = 20, .heads = 2, .head_dim = 8, .ffn = 24, .layers = 2});
}

/* As wide as the XXL encoders, a quarter as deep. */
static void t5_xxl_short(int side)
{
    (void)side;
    random_t5(&(random_t5_size){.vocabulary = 32128,
                                .width = 4096,
                                .heads = 64,
                                .head_dim = 64,
                                .ffn = 10240,
                                .layers = 6});
}

static void wan_1_3b(int side)
{
    (void)side;
    random_wan(&(random_wan_size){.heads = 12,
                                  .head_dim = 128,
                                  .layers = 30,
                                  .ffn = 8960,
                                  .in = 16,
                                  .out = 16,
                                  .text = 4096,
                                  .freq = 256});
}

static void wan_vae(int side)
{
    (void)side;
    random_wan_vae();
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*list)(int side);
    } models[] = {{"drwkv-h2", drwkv_h2}, {"drwkv-s2", drwkv_s2}, {"dit-xl2", dit_xl2},
                  {"dit-s2", dit_s2},     {"dit-tiny", dit_tiny}, {"t5-xxl-short", t5_xxl_short},
                  {"t5-tiny", t5_tiny},   {"wan-1.3b", wan_1_3b}, {"wan-vae", wan_vae}};
    const size_t count = sizeof models / sizeof models[0];
    const char *colon = argc > 1 ? strchr(argv[1], ':') : NULL;
    const size_t length = argc > 1 ? colon ? (size_t)(colon - argv[1]) : strlen(argv[1]) : 0;
    for (size_t i = 0; argc >= 3 && argc <= 4 && i < count; i++)
        if (strncmp(argv[1], models[i].name, length) == 0 && !models[i].name[length]) {
            models[i].list(colon ? atoi(colon + 1) : 0);
            return random_write(argv[2], argc > 3 ? strtoull(argv[3], NULL, 10) : 1);
        }
    fprintf(stderr, "usage: %s MODEL[:SIDE] FOLDER [SEED]\nmodels:", argv[0]);
    for (size_t i = 0; i < count; i++)
        fprintf(stderr, " %s", models[i].name);
    fputs("\n", stderr);
    return 2;
}
