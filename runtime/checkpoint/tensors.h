/* A safetensors file, read through a map: nothing of it is copied but its header.
 *
 * The format: 8 bytes with the length of the header (little-endian), the header (JSON: name -> dtype, shape,
 * data_offsets; `__metadata__` -> texts), then the bytes of the tensors without holes or overlaps. All of that is
 * checked before anything is used, so that a file from anywhere is safe to open. It must not be cut short while it is
 * open. */
#ifndef MT_TENSORS_H
#define MT_TENSORS_H

#include "runtime/base/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum tensor_type {
    TENSOR_F64,
    TENSOR_F32,
    TENSOR_F16,
    TENSOR_BF16,
    TENSOR_I64,
    TENSOR_I32,
    TENSOR_I16,
    TENSOR_I8,
    TENSOR_U8,
    TENSOR_BOOL,
    TENSOR_OTHER /* can be carried along, and nothing else */
};
const char *tensor_type_name(enum tensor_type type); /* "F32" */
size_t tensor_type_bytes(enum tensor_type type);     /* of an element; 0 for TENSOR_OTHER */
bool tensor_name_plain(const char *name);            /* has no control characters */

enum { TENSOR_RANK = 8 };
struct tensor {
    const char *name; /* without control characters */
    const char *type_name;
    enum tensor_type type;
    int rank;
    int64_t shape[TENSOR_RANK]; /* >= 0 */
    const uint8_t *data;        /* aligned to nothing */
    size_t bytes;
};

bool tensor_is_float(const struct tensor *tensor); /* F32, F16 or BF16: tensor_floats() reads it */
bool tensor_is_filler(
    const struct tensor *tensor); /* pad.I, which fills a gap (writer.h) and is no tensor of a model */

/* What is in a file lives as long as it is open. */
struct tensor_file {
    char *path;
    struct tensor *tensor; /* in the order of their bytes */
    int count;
    const uint8_t *map;
    size_t size;
    struct tree *header; /* owned */
};

/* MT_FAILURE with one sentence for what cannot be opened, is no regular file, is cut short, or lies. */
enum mt_status tensor_file_open(const char *path, struct tensor_file *out);
void tensor_file_close(struct tensor_file *file);
/* The text of `key` in `__metadata__`, NULL if there is none. */
const char *tensor_file_text(const struct tensor_file *file, const char *key);
/* The keys there, from 0 on, as they stand in the file; NULL at the end. */
const char *tensor_file_key(const struct tensor_file *file, int index);

/* Elements `first` .. first + count - 1 of an F32, F16 or BF16 tensor as floats. */
void tensor_floats(const struct tensor *tensor, size_t first, size_t count, float *out);
/* The same without a copy where they can be read in the map; else they are in `buffer` [count]. */
const float *tensor_view(const struct tensor *tensor, size_t first, size_t count, float *buffer);
/* The bytes of a tensor have been used: the map gives their memory back. They can still be read, from the file. */
void tensor_drop(const struct tensor *tensor);

#endif
