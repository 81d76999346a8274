#include "tensors.h"
#include "runtime/base/memory.h"
#include "runtime/layer/half.h"
#include "tree.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define METADATA "__metadata__"

static const struct {
    const char *name;
    size_t bytes;
} types[] = {
    [TENSOR_F64] = {"F64", 8}, [TENSOR_F32] = {"F32", 4},   [TENSOR_F16] = {"F16", 2}, [TENSOR_BF16] = {"BF16", 2},
    [TENSOR_I64] = {"I64", 8}, [TENSOR_I32] = {"I32", 4},   [TENSOR_I16] = {"I16", 2}, [TENSOR_I8] = {"I8", 1},
    [TENSOR_U8] = {"U8", 1},   [TENSOR_BOOL] = {"BOOL", 1}, [TENSOR_OTHER] = {"?", 0},
};

const char *tensor_type_name(enum tensor_type type) {
    return types[type].name;
}

size_t tensor_type_bytes(enum tensor_type type) {
    return types[type].bytes;
}

static enum tensor_type type_of(const char *name) {
    int type = 0;
    while (type != TENSOR_OTHER && strcmp(types[type].name, name) != 0)
        type++;
    return (enum tensor_type)type;
}

bool tensor_is_float(const struct tensor *tensor) {
    return tensor->type == TENSOR_F32 || tensor->type == TENSOR_F16 || tensor->type == TENSOR_BF16;
}

bool tensor_is_filler(const struct tensor *tensor) {
    return !strncmp(tensor->name, "pad.", 4);
}

/* ---- the header ---- */

bool tensor_name_plain(const char *name) {
    while (*name && (unsigned char)*name >= ' ' && *name != 127)
        name++;
    return !*name;
}

/* Whole numbers >= 0 of a list; -1 if it is none, or longer than `most`. */
static int numbers_of(const struct tree_value *list, int most, int64_t *out) {
    if (!tree_is(list, TREE_ARRAY) || list->count > most)
        return -1;
    for (int i = 0; i < list->count; i++) {
        if (!tree_is(list->item[i], TREE_INTEGER) || list->item[i]->number < 0)
            return -1;
        out[i] = list->item[i]->number;
    }
    return list->count;
}

/* Whether the shape and type make up as many bytes as the tensor has. */
static bool bytes_agree(const struct tensor *t) {
    size_t bytes = types[t->type].bytes;
    for (int i = 0; i < t->rank; i++)
        if (__builtin_mul_overflow(bytes, (size_t)t->shape[i], &bytes))
            return false;
    return t->type == TENSOR_OTHER || bytes == t->bytes;
}

static enum mt_status take_tensor(struct tensor_file *file, const struct tree_value *value, size_t data,
                                  struct tensor *out) {
    const char *name = value->key, *type = tree_get_text(value, "dtype");
    int64_t offset[2];
    if (!tensor_name_plain(name))
        return fail(MT_FAILURE, "%s: the name of a tensor has control characters", file->path);
    *out = (struct tensor){.name = name};
    const int rank = numbers_of(tree_get(value, "shape"), TENSOR_RANK, out->shape);
    if (!type || !tensor_name_plain(type) || rank < 0 || numbers_of(tree_get(value, "data_offsets"), 2, offset) != 2 ||
        offset[0] > offset[1])
        return fail(MT_FAILURE, "%s: tensor %.80s has no dtype, shape of at most %d numbers, and data_offsets",
                    file->path, name, TENSOR_RANK);
    if ((uint64_t)offset[1] > file->size - data)
        return fail(MT_FAILURE,
                    "%s is cut short: tensor %.80s ends at byte %lld of the data, of which there are %zu; copy or "
                    "download it again",
                    file->path, name, (long long)offset[1], file->size - data);
    out->rank = rank;
    out->type_name = type;
    out->type = type_of(out->type_name);
    out->data = file->map + data + offset[0];
    out->bytes = (size_t)(offset[1] - offset[0]);
    if (!bytes_agree(out))
        return fail(MT_FAILURE, "%s: tensor %.80s has %zu bytes, which is not what its shape and type %s need",
                    file->path, name, out->bytes, out->type_name);
    return MT_OK;
}

static int by_place(const void *a, const void *b) {
    const struct tensor *x = a, *y = b;
    if (x->data != y->data)
        return x->data < y->data ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* Tensors follow each other up to the end of the file. */
static enum mt_status check_places(const struct tensor_file *file, size_t data) {
    const uint8_t *at = file->map + data;
    for (int i = 0; i < file->count; i++) {
        const struct tensor *t = &file->tensor[i];
        if (t->data != at)
            return fail(MT_FAILURE, "%s: tensor %.80s %s the one before it; the file is damaged", file->path, t->name,
                        t->data < at ? "overlaps" : "does not follow");
        at += t->bytes;
    }
    if (at != file->map + file->size)
        return fail(MT_FAILURE, "%s: %zu bytes after the last tensor belong to none; the file is damaged", file->path,
                    (size_t)(file->map + file->size - at));
    return MT_OK;
}

static enum mt_status check_metadata(const struct tensor_file *file) {
    const struct tree_value *metadata = tree_get(&file->header->value[0], METADATA);
    if (metadata && metadata->type != TREE_OBJECT)
        return fail(MT_FAILURE, "%s: its " METADATA " is no object", file->path);
    for (int i = 0; metadata && i < metadata->count; i++)
        if (!metadata->item[i]->text || !tensor_name_plain(metadata->item[i]->key))
            return fail(MT_FAILURE, "%s: a value of its " METADATA " is no text, or its name has control characters",
                        file->path);
    return MT_OK;
}

static enum mt_status take_tensors(struct tensor_file *file, size_t data) {
    const struct tree_value *all = &file->header->value[0];
    enum mt_status status = check_metadata(file);
    file->tensor = mem_zeroed((size_t)all->count + 1, sizeof *file->tensor);
    if (!file->tensor)
        return MT_FAILURE;
    for (int i = 0; i < all->count && !status; i++)
        if (strcmp(all->item[i]->key, METADATA) != 0)
            status = take_tensor(file, all->item[i], data, &file->tensor[file->count++]);
    if (status)
        return status;
    qsort(file->tensor, (size_t)file->count, sizeof *file->tensor, by_place);
    return check_places(file, data);
}

static enum mt_status read_header(struct tensor_file *file) {
    uint64_t length = 0;
    if (file->size >= sizeof length)
        memcpy(&length, file->map, sizeof length);
    if (file->size < sizeof length || length > TREE_BYTES_MOST || length < 2 || file->map[sizeof length] != '{')
        return fail(MT_FAILURE, "%s is no safetensors file", file->path);
    if (length > file->size - sizeof length)
        return fail(MT_FAILURE,
                    "%s is cut short: its header has %llu bytes and the file %zu; copy or download it again",
                    file->path, (unsigned long long)length, file->size);
    file->header = mem_zeroed(1, sizeof *file->header);
    if (!file->header)
        return MT_FAILURE;
    enum mt_status status =
        tree_read(file->path, (const char *)file->map + sizeof length, (size_t)length, file->header);
    if (status)
        return status;
    if (file->header->value[0].type != TREE_OBJECT)
        return fail(MT_FAILURE, "%s: its header is no JSON object", file->path);
    return take_tensors(file, sizeof length + length);
}

/* ---- the file ---- */

/* A pipe would wait for its writer, a device for ever: only what is a file is read. */
static enum mt_status map_file(struct tensor_file *file) {
    struct stat info;
    enum mt_status status = MT_OK;
    int fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &info) != 0) {
        status = fail(MT_FAILURE, "cannot open %s: %s", file->path, strerror(errno));
    } else if (!S_ISREG(info.st_mode) || info.st_size < 8) {
        status = fail(MT_FAILURE, "%s is no safetensors file", file->path);
    } else {
        void *map = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED)
            status = fail(MT_FAILURE, "cannot map %s: %s", file->path, strerror(errno));
        else
            file->map = map;
        file->size = (size_t)info.st_size;
    }
    if (fd >= 0)
        close(fd);
    return status;
}

enum mt_status tensor_file_open(const char *path, struct tensor_file *out) {
    *out = (struct tensor_file){.path = mem_text(path)};
    enum mt_status status = out->path ? map_file(out) : MT_FAILURE;
    if (!status)
        status = read_header(out);
    if (status)
        tensor_file_close(out);
    return status;
}

void tensor_file_close(struct tensor_file *file) {
    if (file->header)
        tree_release(file->header);
    free(file->header);
    if (file->map)
        munmap((void *)(uintptr_t)file->map, file->size);
    free(file->tensor);
    free(file->path);
    *file = (struct tensor_file){0};
}

static const struct tree_value *metadata_of(const struct tensor_file *file) {
    return tree_get(&file->header->value[0], METADATA);
}

const char *tensor_file_text(const struct tensor_file *file, const char *key) {
    return tree_get_text(metadata_of(file), key);
}

const char *tensor_file_key(const struct tensor_file *file, int index) {
    const struct tree_value *metadata = metadata_of(file);
    return metadata && index < metadata->count ? metadata->item[index]->key : NULL;
}

/* ---- elements ---- */

void tensor_floats(const struct tensor *tensor, size_t first, size_t count, float *out) {
    const size_t each = types[tensor->type].bytes;
    const uint8_t *from = tensor->data + first * each;
    uint16_t piece[512];
    if (tensor->type == TENSOR_F32) {
        memcpy(out, from, count * each);
        return;
    }
    while (count > 0) {
        const size_t now = count < 512 ? count : 512;
        memcpy(piece, from, now * each);
        (tensor->type == TENSOR_BF16 ? floats_from_bf16 : floats_from_half)(piece, out, now);
        from += now * each;
        out += now;
        count -= now;
    }
}

const float *tensor_view(const struct tensor *tensor, size_t first, size_t count, float *buffer) {
    const uint8_t *from = tensor->data + first * sizeof *buffer;
    if (tensor->type == TENSOR_F32 && (uintptr_t)from % sizeof *buffer == 0)
        return (const float *)(const void *)from;
    tensor_floats(tensor, first, count, buffer);
    return buffer;
}

void tensor_drop(const struct tensor *tensor) {
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = (uintptr_t)tensor->data,
                    first = (begin + page - 1) / page * page, end = (begin + tensor->bytes) / page * page;
    if (end > first)
        madvise((void *)first, end - first, MADV_DONTNEED);
}
