/* A model as Hugging Face stores it: a folder of safetensors files. */
#ifndef MT_FOLDER_H
#define MT_FOLDER_H

#include "runtime/base/str.h"
#include "tensors.h"
#include "tree.h"

#define FOLDER_INDEX "model.safetensors.index.json"

struct folder {
    struct str path;          /* of the folder */
    struct tensor_file *file; /* owned; by name */
    int file_count;
    const struct tensor **tensor; /* of all files, by name */
    int count;
    struct tree index; /* empty without one */
};

/* `path` is a folder with model.safetensors.index.json or model.safetensors, or a safetensors file. MT_FAILURE with
 * one sentence if a file of the index is missing or lacks a tensor, if two files have the same tensor, or if a file is
 * damaged; MT_USAGE if there is no checkpoint at `path`. */
enum mt_status folder_open(const char *path, struct folder *out);
void folder_close(struct folder *folder);
/* NULL if there is none. */
const struct tensor *folder_find(const struct folder *folder, const char *name);
/* A text of the index's metadata, NULL if there is none. */
const char *folder_text(const struct folder *folder, const char *key);

#endif
