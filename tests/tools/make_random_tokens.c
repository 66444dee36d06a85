/* make_random_tokens.c - full-size networks over tokens, of random weights, for measuring time and
 * memory; the tiny ones have shapes of their own, for tests.
 *
 *     make-random-tokens MODEL FOLDER [SEED] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/tools/random_tokens.h"

static void drwkv_h2(void)
{
    random_rwkv(&(random_rwkv_size){
        .width = 1024, .depth = 37, .channels = 4, .side = 32, .num_classes = 1000});
}

static void dit_xl2(void)
{
    random_dit(&(random_dit_size){
        .width = 1152, .heads = 16, .depth = 28, .side = 32, .num_classes = 1000});
}

static void dit_tiny(void)
{
    random_dit(
        &(random_dit_size){.width = 24, .heads = 2, .depth = 2, .side = 8, .num_classes = 10});
}

/* 20 wide, for tests. */
static void t5_tiny(void)
{
    random_t5(&(random_t5_size){
        .vocabulary = 512, .width = 20, .heads = 2, .head_dim = 8, .ffn = 24, .layers = 2});
}

/* As wide as the XXL encoders, a quarter as deep. */
static void t5_xxl_short(void)
{
    random_t5(&(random_t5_size){.vocabulary = 32128,
                                .width = 4096,
                                .heads = 64,
                                .head_dim = 64,
                                .ffn = 10240,
                                .layers = 6});
}

static void wan_1_3b(void)
{
    random_wan(&(random_wan_size){.heads = 12,
                                  .head_dim = 128,
                                  .layers = 30,
                                  .ffn = 8960,
                                  .in = 16,
                                  .out = 16,
                                  .text = 4096,
                                  .freq = 256});
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*list)(void);
    } models[] = {{"drwkv-h2", drwkv_h2},         {"dit-xl2", dit_xl2}, {"dit-tiny", dit_tiny},
                  {"t5-xxl-short", t5_xxl_short}, {"t5-tiny", t5_tiny}, {"wan-1.3b", wan_1_3b},
                  {"wan-vae", random_wan_vae}};
    const size_t count = sizeof models / sizeof models[0];
    for (size_t i = 0; argc >= 3 && argc <= 4 && i < count; i++)
        if (strcmp(argv[1], models[i].name) == 0) {
            models[i].list();
            return random_write(argv[2], argc > 3 ? strtoull(argv[3], NULL, 10) : 1);
        }
    fprintf(stderr, "usage: %s MODEL FOLDER [SEED]\nmodels:", argv[0]);
    for (size_t i = 0; i < count; i++)
        fprintf(stderr, " %s", models[i].name);
    fputs("\n", stderr);
    return 2;
}
