/* safetensors.c - a strict reader of safetensors files and their indexes. */
#include "gen/core/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gen/core/alloc.h"
#include "gen/core/json.h"

/* The limit of the format's own library. */
enum { MAX_HEADER = 100000000 };

typedef struct mapped_file {
    unsigned char *data;
    size_t size;
} mapped_file;

static void unmap_file(void *handle)
{
    mapped_file *file = handle;
    munmap(file->data, file->size);
    gen_free(file);
}

/* Maps a file of at least 8 bytes. */
static gen_status map_file(mapped_file **out, const char *path, gen_error *err)
{
    gen_status status = GEN_OK;
    struct stat info;
    mapped_file *file = NULL;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe is refused below */
    if (fd < 0 || fstat(fd, &info)) {
        status = gen_fail(err, GEN_ERROR_MODEL, "%s: %s", path, strerror(errno));
        goto done;
    }
    if (!S_ISREG(info.st_mode)) {
        status = gen_fail(err, GEN_ERROR_MODEL, "%s: not a file", path);
        goto done;
    }
    if (info.st_size < 8) {
        status = gen_fail(err, GEN_ERROR_MODEL, "%s: %jd bytes, too short for a safetensors file",
                          path, (intmax_t)info.st_size);
        gen_hint(err, "the download may have failed; get the file again");
        goto done;
    }
    file = gen_calloc(1, sizeof *file);
    if (!file) {
        status = gen_no_memory(err, path, sizeof *file);
        goto done;
    }
    file->size = (size_t)info.st_size;
    file->data = mmap(NULL, file->size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (file->data == MAP_FAILED) {
        const int why = errno;
        gen_free(file);
        file = NULL;
        status = gen_fail(err, why == ENOMEM ? GEN_ERROR_MEMORY : GEN_ERROR_MODEL,
                          "%s: cannot be mapped: %s", path, strerror(why));
    }
done:
    if (fd >= 0)
        close(fd);
    if (!status)
        *out = file;
    return status;
}

static const char OTHER_CONTAINER[] =
    "only .safetensors files can be read so far; most models are offered as one";
static const char NO_DOWNLOAD[] = "the download gave a page about the file; get the file itself";
static const char NO_MODEL[] = "give a diffusers directory or a .safetensors file";

/* What a file is that begins like this, and what to do about it. */
static const char *look_at(const void *data, size_t size, const char **hint)
{
    static const struct {
        const char *start, *what, *hint;
    } kinds[] = {
        {"PK\003\004", "a PyTorch checkpoint (zip)", OTHER_CONTAINER},
        {"\200\002", "a PyTorch checkpoint (pickle)", OTHER_CONTAINER},
        {"GGUF", "a GGUF file", OTHER_CONTAINER},
        {"<!DOCTYPE", "a web page", NO_DOWNLOAD},
        {"<!doctype", "a web page", NO_DOWNLOAD},
        {"<html", "a web page", NO_DOWNLOAD},
        {"version https://git-lfs", "a Git LFS pointer, not the file itself",
         "fetch it with `git lfs pull`, or download the file from its page"},
        {"\211PNG", "a PNG picture", NO_MODEL},
        {"\377\330\377", "a JPEG picture", NO_MODEL},
        {"\211HDF", "an HDF5 file", OTHER_CONTAINER},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        const size_t n = strlen(kinds[i].start);
        if (size >= n && memcmp(data, kinds[i].start, n) == 0) {
            *hint = kinds[i].hint;
            return kinds[i].what;
        }
    }
    return NULL;
}

const char *gen_file_looks_like(const void *data, size_t size)
{
    const char *hint;
    return look_at(data, size, &hint);
}

/* The length of the header, checked. */
static gen_status header_size(const mapped_file *file, const char *path, size_t *out,
                              gen_error *err)
{
    uint64_t n = 0;
    for (int i = 7; i >= 0; i--)
        n = n << 8 | file->data[i];
    const char *hint, *what = look_at(file->data, file->size, &hint);
    if (n <= file->size - 8 && n <= MAX_HEADER && n >= 2 && file->data[8] == '{') {
        *out = (size_t)n;
        return GEN_OK;
    }
    if (what) {
        gen_fail(err, GEN_ERROR_MODEL, "%s: not a safetensors file but %s", path, what);
        gen_hint(err, "%s", hint);
    } else if (n > MAX_HEADER) {
        gen_fail(err, GEN_ERROR_MODEL,
                 "%s: not a safetensors file: its first 8 bytes give a header of %" PRIu64
                 " bytes, at most %d are allowed",
                 path, n, MAX_HEADER);
    } else if (n > file->size - 8) {
        gen_fail(err, GEN_ERROR_MODEL,
                 "%s: the header ends at byte %" PRIu64 " but the file has %zu: truncated download",
                 path, n + 8, file->size);
        gen_hint(err, "get the file again");
    } else {
        gen_fail(err, GEN_ERROR_MODEL, "%s: not a safetensors file: no JSON header", path);
    }
    return GEN_ERROR_MODEL;
}

/* ---- entries of the header ------------------------------------------------------------------ */

typedef struct tensor_entry {
    const char *name; /* the header's JSON owns it */
    gen_dtype dtype;
    int rank;
    int64_t dims[GEN_MAX_RANK];
    size_t begin, end; /* bytes from the start of the data */
} tensor_entry;

static gen_status bad_tensor(gen_error *err, const char *path, const char *name, const char *format,
                             ...) GEN_PRINTF(4, 5);

static gen_status bad_tensor(gen_error *err, const char *path, const char *name, const char *format,
                             ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return gen_fail(err, GEN_ERROR_MODEL, "%s: tensor \"%.160s\" %s", path, name, text);
}

/* Reads the shape and the bytes it takes. */
static gen_status read_shape(tensor_entry *t, const json_t *shape, const char *path, size_t *bytes,
                             gen_error *err)
{
    if (!json_is_array(shape))
        return bad_tensor(err, path, t->name, "has no shape");
    const size_t rank = json_array_size(shape);
    if (rank > GEN_MAX_RANK)
        return bad_tensor(err, path, t->name, "has %zu dimensions, at most %d are supported", rank,
                          GEN_MAX_RANK);
    t->rank = (int)rank;
    *bytes = gen_dtype_size(t->dtype);
    bool is_empty = false, overflows = false;
    for (size_t i = 0; i < rank; i++) {
        const json_t *dim = json_array_get(shape, i);
        if (!json_is_integer(dim) || json_integer_value(dim) < 0)
            return bad_tensor(err, path, t->name, "has a shape that is not whole numbers");
        t->dims[i] = (int64_t)json_integer_value(dim);
        is_empty = is_empty || t->dims[i] == 0;
        overflows = !gen_mul_size(*bytes, (size_t)t->dims[i], bytes) || overflows;
    }
    if (overflows && !is_empty)
        return bad_tensor(err, path, t->name, "has a shape of more bytes than can be counted");
    if (is_empty)
        *bytes = 0;
    return GEN_OK;
}

static gen_status read_entry(tensor_entry *t, const char *name, const json_t *value,
                             const char *path, gen_error *err)
{
    t->name = name;
    if (!json_is_object(value))
        return bad_tensor(err, path, name, "is not described by an object");
    const char *dtype = json_string_value(json_object_get(value, "dtype"));
    if (!dtype)
        return bad_tensor(err, path, name, "has no dtype");
    if (!gen_dtype_from_name(dtype, &t->dtype))
        return bad_tensor(err, path, name, "has the unknown dtype \"%.40s\"", dtype);
    size_t bytes = 0;
    GEN_TRY(read_shape(t, json_object_get(value, "shape"), path, &bytes, err));
    const json_t *offsets = json_object_get(value, "data_offsets");
    const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end) ||
        json_integer_value(begin) < 0 || json_integer_value(end) < json_integer_value(begin))
        return bad_tensor(err, path, name, "has no valid data_offsets");
    t->begin = (size_t)json_integer_value(begin);
    t->end = (size_t)json_integer_value(end);
    if (t->end - t->begin != bytes)
        return bad_tensor(err, path, name, "has %zu bytes of data, its shape and %s need %zu",
                          t->end - t->begin, dtype, bytes);
    return GEN_OK;
}

static gen_status read_metadata(gen_weights *into, const json_t *metadata, const char *path,
                                gen_error *err)
{
    if (!json_is_object(metadata))
        return gen_fail(err, GEN_ERROR_MODEL, "%s: __metadata__ is not an object", path);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)metadata, key, value)
    {
        if (!json_is_string(value))
            return gen_fail(err, GEN_ERROR_MODEL, "%s: __metadata__ \"%.160s\" is not a string",
                            path, key);
        GEN_TRY(gen_weights_set_note(into, key, json_string_value(value), err));
    }
    return GEN_OK;
}

static int by_offset(const void *a, const void *b)
{
    const tensor_entry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

/* Do the tensors, sorted by offset, cover the data without overlap or hole? */
static gen_status check_layout(const tensor_entry *tensors, size_t count, size_t data_start,
                               size_t file_size, const char *path, gen_error *err)
{
    const size_t data_size = file_size - data_start;
    size_t covered = 0;
    for (size_t i = 0; i < count; i++) {
        const tensor_entry *t = &tensors[i];
        if (t->begin < covered)
            return bad_tensor(err, path, t->name, "overlaps \"%.100s\" in the file",
                              tensors[i - 1].name);
        if (t->end > data_size) {
            bad_tensor(err, path, t->name,
                       "ends at byte %zu but the file has %zu: truncated download",
                       data_start + t->end, file_size);
            gen_hint(err, "get the file again");
            return GEN_ERROR_MODEL;
        }
        if (t->begin > covered)
            return gen_fail(err, GEN_ERROR_MODEL, "%s: bytes %zu to %zu belong to no tensor", path,
                            data_start + covered, data_start + t->begin);
        covered = t->end;
    }
    if (covered != data_size)
        return gen_fail(err, GEN_ERROR_MODEL,
                        "%s: the last tensor ends at byte %zu but the file has %zu", path,
                        data_start + covered, file_size);
    return GEN_OK;
}

/* Reads the header of a mapped file and adds its tensors. */
static gen_status add_tensors(gen_weights *into, const mapped_file *file, const char *path,
                              gen_error *err)
{
    size_t n;
    GEN_TRY(header_size(file, path, &n, err));
    gen_json *header = NULL;
    tensor_entry *tensors = NULL;
    gen_status status =
        gen_json_parse(&header, (const char *)file->data + 8, n, path, GEN_ERROR_MODEL, err);
    if (status)
        goto done;
    tensors = gen_calloc(json_object_size(header->root), sizeof *tensors);
    if (!tensors) {
        status = gen_no_memory(err, path, json_object_size(header->root) * sizeof *tensors);
        goto done;
    }
    size_t count = 0;
    const char *name;
    json_t *value;
    json_object_foreach(header->root, name, value)
    {
        if (strcmp(name, "__metadata__") == 0)
            status = read_metadata(into, value, path, err);
        else
            status = read_entry(&tensors[count++], name, value, path, err);
        if (status)
            goto done;
    }
    const size_t data_start = 8 + n;
    if (count)
        qsort(tensors, count, sizeof *tensors, by_offset);
    status = check_layout(tensors, count, data_start, file->size, path, err);
    for (size_t i = 0; i < count && !status; i++) {
        const tensor_entry *t = &tensors[i];
        status = gen_weights_add(into, t->name, path, t->name, t->dtype, t->rank, t->dims,
                                 file->data + data_start + t->begin, t->end - t->begin, false, err);
        if (!status)
            gen_weights_at(into, gen_weights_count(into) - 1)->is_mapped = true;
    }
done:
    gen_free(tensors);
    gen_json_free(header);
    return status;
}

gen_status gen_safetensors_open(gen_weights *into, const char *path, gen_error *err)
{
    mapped_file *file;
    GEN_TRY(map_file(&file, path, err));
    const gen_status status = gen_weights_own(into, file, unmap_file, err);
    if (status) {
        unmap_file(file);
        return status;
    }
    return add_tensors(into, file, path, err);
}

/* ---- indexes -------------------------------------------------------------------------------- */

/* "folder of path" + name, or NULL without memory. */
static char *beside(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    return slash ? gen_asprintf("%.*s/%s", (int)(slash - path), path, name) : gen_strdup(name);
}

/* Opens the shard the index names for a tensor, unless that has happened. */
static gen_status open_shard(gen_weights *into, json_t *opened, const char *index,
                             const char *shard, gen_error *err)
{
    if (json_object_get(opened, shard))
        return GEN_OK;
    if (!*shard || strpbrk(shard, "/\\") || strcmp(shard, ".") == 0 || strcmp(shard, "..") == 0)
        return gen_fail(err, GEN_ERROR_MODEL,
                        "%s: \"%.160s\" is not the name of a file in the same folder", index,
                        shard);
    if (json_object_set_new(opened, shard, json_true()))
        return gen_no_memory(err, index, strlen(shard));
    char *path = beside(index, shard);
    if (!path)
        return gen_no_memory(err, index, strlen(index) + strlen(shard));
    gen_status status;
    if (access(path, F_OK)) {
        status = gen_fail(err, GEN_ERROR_MODEL, "%s: the shard %s is missing", index, shard);
        gen_hint(err, "download all files the index names into its folder");
    } else {
        status = gen_safetensors_open(into, path, err);
    }
    gen_free(path);
    return status;
}

static gen_status open_shards(gen_weights *into, const gen_json *index, json_t *opened,
                              gen_error *err)
{
    json_t *map = json_object_get(index->root, "weight_map");
    if (!json_is_object(map) || json_object_size(map) == 0) {
        gen_fail(err, GEN_ERROR_MODEL,
                 "%s: no weights here, and no \"weight_map\" of files with them", index->path);
        gen_hint(err, NO_MODEL);
        return GEN_ERROR_MODEL;
    }
    const char *name;
    json_t *shard;
    json_object_foreach(map, name, shard)
    {
        if (!json_is_string(shard))
            return gen_fail(err, GEN_ERROR_MODEL, "%s: tensor \"%.160s\" is given no file name",
                            index->path, name);
        GEN_TRY(open_shard(into, opened, index->path, json_string_value(shard), err));
    }
    json_object_foreach(map, name, shard)
    {
        const gen_weight *weight = gen_weights_find(into, name);
        const char *slash = weight ? strrchr(weight->file, '/') : NULL;
        const char *file = slash ? slash + 1 : weight ? weight->file : "";
        if (strcmp(file, json_string_value(shard)) != 0)
            return gen_fail(err, GEN_ERROR_MODEL, "%s: tensor \"%.160s\" is not in %.160s",
                            index->path, name, json_string_value(shard));
    }
    return GEN_OK;
}

gen_status gen_safetensors_open_index(gen_weights *into, const char *path, gen_error *err)
{
    gen_json *index;
    GEN_TRY(gen_json_open(&index, path, GEN_ERROR_MODEL, err));
    json_t *opened = json_object(); /* a set of shard names */
    const gen_status status =
        opened ? open_shards(into, index, opened, err) : gen_no_memory(err, path, 64);
    json_decref(opened);
    gen_json_free(index);
    return status;
}
