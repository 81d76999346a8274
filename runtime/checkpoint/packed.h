/* Packed checkpoints (docs/packed.md): the layers that a kernel reads as they lie in the file. */
#ifndef MT_PACKED_H
#define MT_PACKED_H

#include "folder.h"
#include "runtime/layer/quant.h"
#include "writer.h"

#define PACKED_FORMAT  "mixtune"
#define PACKED_VERSION "1"
#define PACKED_LAYOUT  "1" /* PACK_LAYOUT as a text */

/* A tensor of one of the two parts, which are indexed by MT_PART_W8 and MT_PART_W4 of templates/gemm_args.h. */
enum packed_kind { PACKED_BLOCKS, PACKED_SCALES, PACKED_ZEROS, PACKED_COLUMNS, PACKED_KINDS };

/* A linear layer of the source, whose features were fused with those of others. */
struct packed_source {
    char *name; /* "model.layers.3.self_attn.q_proj" */
    int rows;   /* in this rank */
};

/* Everything about a layer but its bytes: what decides their sizes. */
struct packed_layer {
    char *name;  /* "model.layers.3.qkv" */
    char *layer; /* "qkv" */
    int n, k;    /* of the rank */
    int rows8, rows8_chosen;
    int group;
    bool symmetric;
    int tp, rank;
    struct packed_source *source;
    int source_count;
    enum tensor_type bias_type; /* TENSOR_OTHER: there is none */
    /* Read: bytes in the map, NULL where there is no such tensor. */
    const struct tensor *tensor[2][PACKED_KINDS], *bias;
    char hash[2][PACKED_KINDS][33], bias_hash[33];
    /* Written: indexes of the writer's tensors, -1 where there is none. */
    int slot[2][PACKED_KINDS], bias_slot;
};
/* Frees name, layer and sources, where they are set. */
void packed_layer_release(struct packed_layer *layer);
/* M is 1, dtype fp16. */
struct problem packed_problem(const struct packed_layer *layer);
int packed_rows(const struct packed_layer *layer, int width); /* features of a part */
size_t packed_tensor_bytes(const struct packed_layer *layer, int width, enum packed_kind kind);
size_t packed_layer_bytes(const struct packed_layer *layer); /* of all its tensors but the bias */
/* XXH3-128 in hexadecimal. */
void packed_hash(const void *data, size_t bytes, char out[33]);

/* ---- writing: of a file's layers all are declared, then the writer begins, then their bytes are put ---- */

/* Texts of the file; `key` is what a resumed run looks for. */
void packed_declare_file(struct tensor_writer *writer, const char *key);
void packed_declare(struct tensor_writer *writer, struct packed_layer *layer);
/* `bias`: n elements of bias_type, or NULL. */
enum mt_status packed_put(struct tensor_writer *writer, const struct packed_layer *layer,
                          const struct quant_layer *quant, const void *bias);

/* ---- reading ---- */

struct packed_folder {
    struct folder folder;
    struct packed_layer *layer; /* in the order of the files and of their metadata */
    int count;
    size_t capacity;
    const struct packed_layer **by_name; /* [count] */
};
/* A folder or one of its files. Types, shapes and places of all tensors are checked, not their bytes. MT_FAILURE if
 * something is wrong, or is of another version or layout; MT_USAGE if it is no packed checkpoint, with the folder
 * within it that is one, if there is one. */
enum mt_status packed_open(const char *path, struct packed_folder *out);
void packed_close(struct packed_folder *packed);
/* NULL if there is none. */
const struct packed_layer *packed_find(const struct packed_folder *packed, const char *name);
/* Each output feature is in one part, and columns increase: what lets a kernel write where they say. MT_FAILURE. */
enum mt_status packed_check_columns(const struct packed_folder *packed, const struct packed_layer *layer);
/* The bytes are those that were written. MT_FAILURE with the tensor. */
enum mt_status packed_check_hashes(const struct packed_folder *packed, const struct packed_layer *layer);

#endif
