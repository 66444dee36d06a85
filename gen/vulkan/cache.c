/* cache.c - the driver's compiled shaders on disk.
 *
 * options.cache_dir/<device>-<driver build>.pipelines is a header of our own and what the driver
 * gave.  The header names device, driver and shaders, the length and the SHA-256 of the rest;
 * drivers have been seen to take damaged data without a word, so they get none that does not fit.
 * A file that is damaged, or of other shaders or another driver, is left aside with a note and
 * replaced at the end. */
#include <nettle/sha2.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "gen/core/cache_file.h"
#include "gen/vulkan/vulkan_internal.h"

enum { MAX_FILE = 64 << 20 };

typedef struct cache_header {
    char magic[8];
    unsigned char key[SHA256_DIGEST_SIZE]; /* of device, driver and shaders */
    unsigned char sum[SHA256_DIGEST_SIZE]; /* of the driver's data */
    uint64_t size;                         /* of the driver's data */
} cache_header;

static const char magic[8] = "genvkp1";

/* ---- keys ----------------------------------------------------------------------------------- */

static void add_shaders(struct sha256_ctx *hash)
{
    for (const gen_vk_shader *s = gen_vk_shaders; s->name; s++) {
        sha256_update(hash, strlen(s->name) + 1, (const uint8_t *)s->name);
        sha256_update(hash, s->size, (const uint8_t *)s->code);
        sha256_update(hash, s->half_size, (const uint8_t *)s->half_code);
    }
}

static void key_of(const gen_vulkan_device *d, unsigned char out[SHA256_DIGEST_SIZE])
{
    struct sha256_ctx hash;
    const unsigned ids[] = {d->vendor_id, d->device_id, d->driver_version};
    sha256_init(&hash);
    sha256_update(&hash, sizeof ids, (const uint8_t *)ids);
    sha256_update(&hash, sizeof d->uuid, d->uuid);
    sha256_update(&hash, sizeof d->cache_uuid, d->cache_uuid);
    sha256_update(&hash, strlen(d->name), (const uint8_t *)d->name);
    sha256_update(&hash, strlen(d->driver), (const uint8_t *)d->driver);
    add_shaders(&hash);
    sha256_digest(&hash, SHA256_DIGEST_SIZE, out);
}

static void to_hex(char *out, const unsigned char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

void gen_vulkan_key(const gen_vulkan_device *device, char out[65])
{
    unsigned char key[SHA256_DIGEST_SIZE];
    key_of(device, key);
    to_hex(out, key, sizeof key);
}

/* ---- the file ------------------------------------------------------------------------------- */

static char *path_of(const gen_vulkan *vk)
{
    char device[33], build[33];
    to_hex(device, vk->info->uuid, 16);
    to_hex(build, vk->info->cache_uuid, 16);
    return gen_asprintf("%s/%s-%s.pipelines", vk->options.cache_dir, device, build);
}

void gen_vk_note(const gen_vulkan *vk, const char *format, ...)
{
    char text[512];
    va_list args;
    if (!vk->options.note)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    vk->options.note(vk->options.note_user, text);
}

/* The driver's own header says whose data it is. */
static bool is_for_driver(const gen_vulkan *vk, const unsigned char *data, size_t size)
{
    uint32_t words[4];
    if (size < sizeof words + VK_UUID_SIZE)
        return false;
    memcpy(words, data, sizeof words);
    return words[0] >= sizeof words + VK_UUID_SIZE && words[0] <= size &&
           words[1] == VK_PIPELINE_CACHE_HEADER_VERSION_ONE && words[2] == vk->info->vendor_id &&
           words[3] == vk->info->device_id &&
           memcmp(data + sizeof words, vk->info->cache_uuid, VK_UUID_SIZE) == 0;
}

/* What is wrong with a file, or NULL. */
static const char *fault_of(const gen_vulkan *vk, const unsigned char *file, size_t size)
{
    cache_header h;
    unsigned char key[SHA256_DIGEST_SIZE], sum[SHA256_DIGEST_SIZE];
    struct sha256_ctx hash;
    if (size < sizeof h)
        return "is damaged";
    memcpy(&h, file, sizeof h);
    if (memcmp(h.magic, magic, sizeof magic) != 0 || h.size != size - sizeof h)
        return "is damaged";
    sha256_init(&hash);
    sha256_update(&hash, size - sizeof h, file + sizeof h);
    sha256_digest(&hash, sizeof sum, sum);
    if (memcmp(sum, h.sum, sizeof sum) != 0)
        return "is damaged";
    key_of(vk->info, key);
    if (memcmp(key, h.key, sizeof key) != 0)
        return "is of another driver or another version of gen";
    return is_for_driver(vk, file + sizeof h, size - sizeof h) ? NULL : "is of another driver";
}

gen_status gen_vk_open_cache(gen_vulkan *vk, gen_error *err)
{
    char *path = vk->options.cache_dir ? path_of(vk) : NULL;
    size_t size = 0;
    unsigned char *file = path ? gen_cache_read(path, MAX_FILE, &size) : NULL;
    const char *fault = file ? fault_of(vk, file, size) : NULL;
    VkPipelineCacheCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO};
    if (fault)
        gen_vk_note(vk, "%s: %s; the shaders are compiled anew", path, fault);
    if (file && !fault) {
        info.initialDataSize = size - sizeof(cache_header);
        info.pInitialData = file + sizeof(cache_header);
    }
    const VkResult result =
        vk->api.CreatePipelineCache(vk->device, &info, NULL, &vk->pipeline_cache);
    vk->cached_bytes = info.initialDataSize;
    gen_free(file);
    gen_free(path);
    return result == VK_SUCCESS ? GEN_OK : gen_vk_fail(err, result, "pipeline cache");
}

static unsigned char *driver_data(gen_vulkan *vk, size_t *size)
{
    *size = 0;
    if (vk->api.GetPipelineCacheData(vk->device, vk->pipeline_cache, size, NULL) != VK_SUCCESS ||
        *size == 0 || *size > MAX_FILE - sizeof(cache_header))
        return NULL;
    unsigned char *file = gen_calloc(1, sizeof(cache_header) + *size);
    if (file && vk->api.GetPipelineCacheData(vk->device, vk->pipeline_cache, size,
                                             file + sizeof(cache_header)) != VK_SUCCESS) {
        gen_free(file);
        return NULL;
    }
    return file;
}

void gen_vk_save_cache(gen_vulkan *vk)
{
    size_t size;
    if (!vk->options.cache_dir || !vk->pipeline_cache || !vk->stats.pipelines || vk->is_lost)
        return;
    unsigned char *file = driver_data(vk, &size);
    char *path = file && size != vk->cached_bytes ? path_of(vk) : NULL;
    if (path) {
        cache_header h = {.size = size};
        struct sha256_ctx hash;
        memcpy(h.magic, magic, sizeof magic);
        key_of(vk->info, h.key);
        sha256_init(&hash);
        sha256_update(&hash, size, file + sizeof h);
        sha256_digest(&hash, sizeof h.sum, h.sum);
        memcpy(file, &h, sizeof h);
        gen_cache_write(path, file, sizeof h + size);
    }
    gen_free(path);
    gen_free(file);
}

/* ---- saying that it takes time -------------------------------------------------------------- */

double gen_vk_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void gen_vk_announce(gen_vulkan *vk, double seconds)
{
    const double now = gen_vk_now();
    if (seconds < 1.0 || now - vk->announced_at < 5.0 || vk->stats.pipelines == vk->announced)
        return;
    vk->announced_at = now;
    vk->announced = vk->stats.pipelines;
    gen_vk_note(vk, "preparing the shaders for %s, once: %d so far, %.0f s", vk->info->name,
                (int)vk->stats.pipelines, seconds);
}
