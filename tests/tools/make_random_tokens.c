/* make_random_tokens.c - full-size networks over tokens, of random weights, for measuring time and
 * memory; the tiny ones have shapes of their own, for tests.
 *
 *     make-random-tokens drwkv-h2|dit-xl2|dit-tiny|t5-tiny|wan-1.3b|wan-vae FOLDER [SEED] */
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
    } models[] = {{"drwkv-h2", drwkv_h2},      {"dit-xl2", dit_xl2},   {"dit-tiny", dit_tiny},
                  {"t5-tiny", random_t5_tiny}, {"wan-1.3b", wan_1_3b}, {"wan-vae", random_wan_vae}};
    for (size_t i = 0; argc >= 3 && argc <= 4 && i < sizeof models / sizeof models[0]; i++)
        if (strcmp(argv[1], models[i].name) == 0) {
            models[i].list();
            return random_write(argv[2], argc > 3 ? strtoull(argv[3], NULL, 10) : 1);
        }
    fprintf(stderr, "usage: %s drwkv-h2|dit-xl2|dit-tiny|t5-tiny|wan-1.3b|wan-vae FOLDER [SEED]\n",
            argv[0]);
    return 2;
}
