/* Writes a safetensors file: all tensors are declared, then their bytes are put in any order, then the file appears
 * whole under its name. Until then it is NAME.part, which a killed process leaves and the next one writes over. */
#ifndef MT_WRITER_H
#define MT_WRITER_H

#include "tensors.h"
#include <stddef.h>
#include <stdint.h>

struct tensor_writer;

/* NULL if memory is short. What is declared while it is short makes tensor_writer_begin() or tensor_writer_end()
 * fail. */
struct tensor_writer *tensor_writer_new(void);
/* Leaves nothing behind of a file that was not ended. */
void tensor_writer_free(struct tensor_writer *writer);

/* A text of `__metadata__`. After tensor_writer_begin() it may only be replaced by one of the same length.
 * `value` NULL: memory was short for it. */
void tensor_writer_text(struct tensor_writer *writer, const char *key, const char *value);
/* Declares the next tensor, and returns its index. `align`: of its place in the file, 1 or up to WRITER_ALIGNMENT; a
 * tensor called pad.I fills the gap. */
enum { WRITER_ALIGNMENT = 256 };
int tensor_writer_add(struct tensor_writer *writer, const char *name, const char *type_name, int rank,
                      const int64_t *shape, size_t bytes, size_t align);

/* Makes the file with all the room that it needs. */
enum mt_status tensor_writer_begin(struct tensor_writer *writer, const char *path);
/* Bytes of a tensor from `offset` on. Threads may put different bytes at once. */
enum mt_status tensor_writer_put(struct tensor_writer *writer, int index, size_t offset, const void *data,
                                 size_t bytes);
/* All of a tensor that is mapped, in pieces whose pages are given back. */
enum mt_status tensor_writer_copy(struct tensor_writer *writer, int index, const struct tensor *tensor);
/* Writes the header, flushes the file to disk and gives it its name. */
enum mt_status tensor_writer_end(struct tensor_writer *writer);

#endif
