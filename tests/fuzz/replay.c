/* replay.c - runs a fuzz target over its corpus without libFuzzer.
 *
 *     fuzz-NAME FILE|FOLDER...
 *
 * Each input is run as it is, cut short at several places, and with a few bytes changed.  The
 * changes come from a fixed generator, so a failure comes back with the same command.  Nothing to
 * replay is a failure. */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { NUM_CUTS = 24, NUM_MUTATIONS = 96 };

static uint64_t next_random(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15u; /* splitmix64 */
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* The target gets a heap block of exactly `size` bytes, so that a sanitizer sees the first byte
 * read behind it. */
static void run_copy(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy)
        return;
    memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void mutate(uint8_t *data, size_t size, uint64_t *state)
{
    static const uint8_t edges[] = {0x00, 0x01, 0x7f, 0x80, 0xff, ' ', '"', '{'};
    const size_t count = 1 + next_random(state) % 4;
    for (size_t i = 0; i < count; i++) {
        const uint64_t r = next_random(state);
        /* Half of the changes fall into the first bytes, where formats keep their sizes. */
        const size_t range = (r & 1) && size > 64 ? 64 : size;
        uint8_t *byte = &data[(r >> 8) % range];
        switch ((r >> 1) & 3) {
        case 0:
            *byte ^= (uint8_t)(1u << ((r >> 3) & 7));
            break;
        case 1:
            *byte = edges[(r >> 3) & 7];
            break;
        case 2:
            *byte = (uint8_t)(r >> 56);
            break;
        default:
            *byte = (uint8_t)(*byte + ((r >> 3) & 1 ? 1 : -1));
            break;
        }
    }
}

static void run_variants(const uint8_t *data, size_t size)
{
    uint64_t state = size;
    run_copy(data, size);
    for (size_t i = 0; i < NUM_CUTS && size > 0; i++)
        run_copy(data, i < NUM_CUTS / 2 ? size * i / (NUM_CUTS / 2)
                                        : (size_t)(next_random(&state) % size));
    uint8_t *copy = malloc(size ? size : 1);
    for (size_t i = 0; copy && i < NUM_MUTATIONS && size > 0; i++) {
        memcpy(copy, data, size);
        mutate(copy, size, &state);
        run_copy(copy, size);
    }
    free(copy);
}

static bool replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        perror(path);
        return false;
    }
    uint8_t *data = NULL;
    size_t size = 0, room = 0;
    for (;;) {
        if (size == room) {
            room = room ? 2 * room : 65536;
            uint8_t *grown = realloc(data, room);
            if (!grown)
                break;
            data = grown;
        }
        const size_t n = fread(data + size, 1, room - size, f);
        size += n;
        if (n == 0)
            break;
    }
    fclose(f);
    fprintf(stderr, "%s: %zu bytes\n", path, size);
    run_variants(data, size);
    free(data);
    return true;
}

/* Returns the number of inputs run, or -1. */
static int replay(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        perror(path);
        return -1;
    }
    if (!S_ISDIR(st.st_mode))
        return replay_file(path) ? 1 : -1;
    struct dirent **entries;
    const int count = scandir(path, &entries, NULL, alphasort);
    int run = 0;
    for (int i = 0; i < count; i++) {
        char name[4096];
        snprintf(name, sizeof name, "%s/%s", path, entries[i]->d_name);
        if (run >= 0 && entries[i]->d_name[0] != '.')
            run = replay_file(name) ? run + 1 : -1;
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
    return run;
}

int main(int argc, char **argv)
{
    int total = 0;
    for (int i = 1; i < argc; i++) {
        const int run = replay(argv[i]);
        if (run < 0)
            return 1;
        total += run;
    }
    if (total == 0) {
        fprintf(stderr, "%s: nothing to replay\n", argv[0]);
        return 1;
    }
    printf("%d inputs\n", total);
    return 0;
}
