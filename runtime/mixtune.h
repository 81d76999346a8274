/* libmixtune: the fastest verified kernel for every quantised linear layer, dispatched from a bundle: the one file
 * that `mixtune export` writes for one or more types of GPU.
 *
 *     mt_table_open("llama.mixtune", 0, &table);             once; the CUDA context is current
 *     mt_table_layer_named(table, &query, &layer);
 *     mt_pack_float(layer, w, NULL, &packed);                once per layer; or mt_weights_layer() of a checkpoint
 *     mt_weights_upload(table, packed, &weights);
 *     mt_quantize_launch(table, layer, &quantize, stream);   every step; can be captured in a CUDA graph
 *     mt_gemm_launch(table, layer, &gemm, stream);
 *
 * Y = X . W^T, X [M, K] and Y [M, N] fp16 or bf16 row-major, W [N, K] in 4 bits, 8 bits, or a mix of both between
 * output features, with one scale (and for 4 bits one zero point) per feature and group of `group` input features. X is
 * quantised to int8 with one scale per token and group first. The numbers are defined exactly: see ARCHITECTURE.md.
 *
 * Errors. Functions that can fail return enum mt_status and leave one sentence for mt_error_message(). On failure
 * nothing is held and output arguments are NULL or zero. Memory that is short is MT_FAILURE: nothing here ends the
 * process. A NULL that is not allowed here is MT_USAGE. Threads. A table may be used by any number of threads at once,
 * as long as none closes it; the CUDA context that it was opened in must be current on each. mt_table_lookup() takes no
 * lock and allocates nothing. Ownership. What a function hands out through `struct x **` is the caller's until the
 * function of the pair takes it back; `const` pointers belong to the table and live as long as it.
 *
 * Structs. Each begins with its size, which the caller sets, also where a function fills the rest:
 *
 *     struct mt_weights weights = {.size = sizeof weights};
 *
 * So structs can grow at their end. Members beyond the caller's size count as 0 and are not written; a size that is
 * larger than the library's is MT_USAGE, for the library is older than the header. Structs hold plain values, arrays of
 * them and pointers, never other structs. Unknown bits of flags are MT_USAGE. */
#ifndef MIXTUNE_H
#define MIXTUNE_H

#include <cuda.h>
#define MT_STATUS_CODES_ONLY
#include "base/status.h"
#undef MT_STATUS_CODES_ONLY
#include <stddef.h>
#include <stdint.h>

/* The interface in this header; mt_api_version() is that of the library. Within one number things are only added. */
#define MT_API_VERSION 3

/* How packed weights lie in memory. All kernels of a bundle read one layout; what was packed in another is refused. */
#define MT_LAYOUT 1

#if defined(__GNUC__)
#define MT_API __attribute__((visibility("default")))
#else
#define MT_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

MT_API int mt_api_version(void);

/* Why this thread's last call failed; "" after one that succeeded, whatever failed before. Calls that return no status
 * and mt_table_lookup() that succeeds leave the sentence as it is: a lookup has no time for it. Valid until the
 * thread's next call that returns a status. */
MT_API const char *mt_error_message(void);

/* ---- tables ---- */

struct mt_table; /* the contents of a bundle on one GPU */
struct mt_layer; /* a linear layer in a table */

enum mt_flags {
    /* Lookups may answer "a GEMM in fp16 or bf16 is faster here, quantising counted", which is for a server that keeps
     * such weights, too; without it they give the best kernel of ours. */
    MT_ALLOW_FP16 = 1,
    /* Where the bundle has nothing that was tuned on this GPU take what was tuned on another one: correct, but not the
     * fastest, and no time is promised (mt_choice.other_gpu). That is the nearest one: of this compute capability; else
     * one whose kernels run here; else any, whose kernels NVRTC then compiles for this GPU. Kernels of families that
     * this GPU cannot run are left out: a layer that has none left gets the default of a family that it can, or the
     * kernels of the nearest layer (enum mt_step). Without this flag such a bundle is refused. */
    MT_ALLOW_OTHER_GPU = 2,
    /* The bits of a row of Y do not depend on M, nor on the rows beside it: all kernels of a layer add up in one order,
     * and fp16 is never the answer. The order is the one that costs least over the tuned M (BUNDLE_INVARIANT in the
     * bundle: all of K in order, or the sums of parts of it); where `mixtune export` found none, the winners that can
     * add up in order do so. An order that shares K between CTAs takes workspace at every M: a larger batch may be
     * launched in pieces, whose bits are the same. Bits are promised within one layer of one table: another bundle, or
     * the same layer with other 8-bit features, may add up otherwise. */
    MT_BATCH_INVARIANT = 4
};

/* Reads what a bundle has for the GPU of the CUDA context that is current on this thread. What it has for other GPUs is
 * counted and left in the file, and no kernel is loaded: the functions that give a layer load what it needs. All or
 * nothing: MT_FAILURE for a file that is truncated, changed, of another version or layout, or made with other kernel
 * templates than this library's, and for whatever else is no bundle: reading it takes time and memory in proportion to
 * the file. MT_NO_DEVICE without a current context, and with a list of its GPUs for a bundle that has nothing for this
 * one.
 *
 * A name without a slash that is not in the current folder is looked for in the folders of the environment variable
 * MIXTUNE_PATH, which colons separate, and then in /etc/mixtune. Folders that do not begin with a slash are passed
 * over, empty ones too, and all of MIXTUNE_PATH is in a process with more rights than its user (secure_getenv(3)).
 * The sentence of failure says where was looked.
 *
 * Trust. A bundle with kernels is machine code, which runs on the GPU with the rights of this process: open one as you
 * would load a shared library, and search folders that only those can write to whom you trust. What the library checks
 * keeps damage and mistakes out, not whoever made the kernels; mt_table_open_trusted() takes the very file that you
 * know, and `mixtune export --no-images` makes bundles without machine code. Those are compiled in this process by
 * NVRTC, which ends it when it finds no memory. */
MT_API enum mt_status mt_table_open(const char *path, unsigned flags, struct mt_table **table);

/* The same of a file that the caller knows: `sha256` is what `sha256sum FILE` and `mixtune export` print, 64 hex
 * digits. It is compared with the bytes in memory, which are then used, before anything in them is looked at.
 * MT_FAILURE for other bytes, MT_USAGE for what is no digest; NULL: any file. */
MT_API enum mt_status mt_table_open_trusted(const char *path, unsigned flags, const char *sha256,
                                            struct mt_table **table);

/* The context must still exist. NULL is allowed. Layers of the table are gone with it; weights are not. */
MT_API void mt_table_close(struct mt_table *table);

/* ---- layers ---- */

enum mt_dtype { MT_FP16 = 0, MT_BF16 = 1 };

/* What a layer computes. */
struct mt_shape {
    size_t size;
    int n, k;  /* output and input features, >= 1 */
    int rows8; /* output features that keep 8 bits, 0 .. n; the others have 4 */
    int group; /* 64, 128 or 256 */
    enum mt_dtype dtype;
    int symmetric; /* 1: 4-bit features have no zero points */
};

/* Which layer is wanted. Begin with MT_QUERY_INIT, which asks for any, and set what is known:
 *
 *     struct mt_query query = MT_QUERY_INIT;
 *     query.name = "qkv";
 *     query.rows8 = 410; */
struct mt_query {
    size_t size;
    const char *name, *model; /* NULL: any */
    int tp, group;            /* 0: any */
    int dtype;                /* of enum mt_dtype, or MT_ANY */
    int rows8;                /* MT_ANY, or 0 .. n, tuned or not */
    int symmetric;            /* 0, 1 or MT_ANY */
    unsigned flags;           /* 0: there are none yet */
};
#define MT_ANY (-1)
#define MT_QUERY_INIT                                                                                                  \
    { sizeof(struct mt_query), NULL, NULL, 0, 0, MT_ANY, MT_ANY, MT_ANY, 0 }

/* Where a choice comes from, best first. */
enum mt_step {
    MT_STEP_EXACT = 0,         /* this layer was tuned at this M */
    MT_STEP_NEAREST_M = 1,     /* this layer was tuned at another M */
    MT_STEP_NEAREST_ROWS8 = 2, /* this layer was tuned with another number of 8-bit features */
    MT_STEP_NEAREST_LAYER = 3, /* a layer of the same formats and similar N and K was tuned */
    MT_STEP_DEFAULT = 4        /* a default of the kernel family: no layer, or no M, is near enough */
};

struct mt_layer_info {
    size_t size;
    const char *model, *name; /* "" for a layer that the bundle does not name */
    int tp;                   /* ranks that the layer was split over; n and k are after the split */
    int n, k, rows8, group;   /* as in struct mt_shape */
    enum mt_dtype dtype;
    int symmetric;
    const char *formats;  /* for logs: "w4a8", "w8a8", "mixed", "w4a8-sym", "mixed-sym" */
    enum mt_step step;    /* MT_STEP_EXACT: it was tuned itself */
    int k_padded, groups; /* K rounded up to 128; ceil(k_padded / group) */
    int layout;           /* MT_LAYOUT */
};

/* The layers that were tuned, 0 .. count - 1; NULL beyond. Such a layer can be described, looked up and packed for;
 * before its first launch mt_table_load() loads its kernels. */
MT_API int mt_table_layer_count(const struct mt_table *table);
MT_API const struct mt_layer *mt_table_layer_at(const struct mt_table *table, int index);
MT_API enum mt_status mt_layer_describe(const struct mt_layer *layer, struct mt_layer_info *info);

/* Loads the kernels of a layer of the table into the context that the table was opened in, once; those of all tuned
 * layers for NULL. A kernel that several layers run is loaded once. Where the bundle has no kernels for this GPU they
 * are compiled, on all cores: MT_NO_DEVICE where there is no NVRTC for that. Layers of the functions below come loaded,
 * with the same failures. Takes a lock, and may wait for the device: not while a stream is captured. */
MT_API enum mt_status mt_table_load(struct mt_table *table, const struct mt_layer *layer);

/* The layer that a query names. MT_USAGE if there is none, or more than one: the sentence lists them. A number of 8-bit
 * features that was not tuned gives a layer that takes its kernels from the tuned numbers next to it, lower and higher
 * (MT_STEP_NEAREST_ROWS8). Do this once per layer, not per launch: it allocates, loads kernels and takes a lock. */
MT_API enum mt_status mt_table_layer_named(struct mt_table *table, const struct mt_query *query,
                                           const struct mt_layer **layer);

/* A layer for these shapes: the tuned one; else one with another number of 8-bit features, as above; else one that
 * borrows the kernels of the nearest tuned layer of the same formats, N and K both within a factor of 8; else the
 * family's default. MT_USAGE if the bundle has no kernel of these formats. Once per layer, as above. */
MT_API enum mt_status mt_table_layer_shaped(struct mt_table *table, const struct mt_shape *shape,
                                            const struct mt_layer **layer);

/* ---- lookup ---- */

enum mt_kind {
    MT_KIND_KERNEL = 0,
    MT_KIND_FP16 = 1,   /* only with MT_ALLOW_FP16: a GEMM on weights in the layer's dtype, which the caller runs */
    MT_KIND_NOTHING = 2 /* m is 0 */
};
enum mt_origin { MT_ORIGIN_MEASURED = 0, MT_ORIGIN_MODELLED = 1 };

struct mt_choice {
    size_t size;
    enum mt_kind kind;
    enum mt_step step;
    enum mt_origin origin;       /* of expected_ns: measured only where step is exact and the tuning was measured */
    int tuned_m, tuned_rows8;    /* what the kernel was tuned at; 0 for the default */
    int other_gpu;               /* 1: that was on another GPU (MT_ALLOW_OTHER_GPU): no time is promised */
    double expected_ns;          /* of the GEMM alone, ours or that in fp16, as it was tuned; 0: unknown */
    const char *family, *config; /* of our kernel, for logs. MT_KIND_FP16: which GEMM was the fastest, "cublas",
                                  * "cublaslt-best", or "f16", mixtune's own, which no bundle has; and "" */
    double quantize_ns;          /* what quantising the activations takes before it; 0: unknown, or MT_KIND_FP16 */
};

/* What runs fastest at m >= 0 tokens; m < 0 is MT_USAGE. Under 100 ns; no allocation, no lock.
 * At a tuned M its own winner runs. Elsewhere, and everywhere on a layer that borrows its kernels, the winners at the
 * two tuned M on either side are compared, each by its times at the tuned M next to m, joined over the CTAs that an SM
 * gets: whole token tiles, whole waves. The quickest runs, and what it takes there is the expected time. Beyond the
 * outermost tuned M times go on in proportion to that load; far below the first they are not told. There a default for
 * few or for very many tokens (MT_STEP_DEFAULT) stands in, if its tiles promise that much less. Only a kernel on the
 * layer, GPU and launch that it was timed with has an expected time.
 * With MT_ALLOW_FP16 the answer at a tuned M is the GEMM in fp16 where it took less than our kernel and the
 * quantisation of its activations (our kernel alone, where quantising was not timed). Between two tuned M the time of
 * our kernel there, and straight lines between the other times, decide. Beyond the outermost it is theirs. Times of
 * fp16 and of quantising grow with m beyond the largest tuned M. */
MT_API enum mt_status mt_table_lookup(const struct mt_table *table, const struct mt_layer *layer, int m,
                                      struct mt_choice *choice);

/* ---- weights ---- */

/* Arrays of two hold the layer's features by their width. */
enum mt_width { MT_W8 = 0, MT_W4 = 1 };

/* A packed layer in host memory. It is packed once and serves every M and every kernel of its layout. The bytes may be
 * stored and loaded again. Tensors that a layer does not have are NULL, of 0 bytes. */
struct mt_packed {
    size_t size;
    int layout;                  /* MT_LAYOUT */
    int rows8, rows8_chosen;     /* the layer's, and how many of them `is8` chose: the rest fills the part up */
    int rows[2], padded_rows[2]; /* features; rounded up to 16 */
    const void *weights[2];      /* blocks of tensor-core fragments */
    const void *scales[2];       /* fp16 [groups][padded_rows] */
    const void *zeros[2];        /* uint8 [groups][padded_rows]; read for 4-bit features that are not symmetric */
    const void *columns[2];      /* int32 [rows]: output column of each row, increasing; NULL: row r is column r */
    size_t weights_bytes[2], scales_bytes[2], zeros_bytes[2], columns_bytes[2];
};

/* Quantises fp32 W [n][k], row-major, by rounding to nearest, and packs it. `is8` [n] says which features keep 8 bits;
 * NULL spreads them evenly. They are as many as the layer's rows8, or so many that rows8 is their number rounded up to
 * a multiple of 16 (to n, if that is less): then the 4-bit features with the largest squared rounding error get 8 bits,
 * too, of equals the first. MT_USAGE for weights that are not finite. Uses all cores. */
MT_API enum mt_status mt_pack_float(const struct mt_layer *layer, const float *w, const uint8_t *is8,
                                    struct mt_packed **packed);

/* Packs weights that were quantised elsewhere: w = (code - zero) * scale. codes [n][k], 0..15 for 4-bit features,
 * -128..127 for 8-bit ones; scales fp16 [ceil(k / group)][n]; zeros [ceil(k / group)][n], 0..15, not read for 8-bit
 * features. Where 4-bit features are symmetric zeros is NULL, or 8 everywhere. `is8` has exactly rows8 features. */
MT_API enum mt_status mt_pack_codes(const struct mt_layer *layer, const int8_t *codes, const uint16_t *scales,
                                    const uint8_t *zeros, const uint8_t *is8, struct mt_packed **packed);
MT_API void mt_packed_free(struct mt_packed *packed);

/* A packed layer in device memory. Filled by mt_weights_upload(), or by hand: all but columns aligned to 16
 * bytes, those to 4. */
struct mt_weights {
    size_t size;
    int layout; /* MT_LAYOUT */
    int rows[2];
    CUdeviceptr weights[2], scales[2], zeros[2], columns[2];
    CUdeviceptr memory; /* what mt_weights_free() frees; 0: the caller's */
};

/* Allocates device memory and copies (synchronously): at once where the tensors lie in this order, each at the first
 * multiple of 256 bytes behind the one before it, as those of a packed checkpoint do. MT_USAGE for another layout: pack
 * again. */
MT_API enum mt_status mt_weights_upload(const struct mt_table *table, const struct mt_packed *packed,
                                        struct mt_weights *weights);
MT_API void mt_weights_free(const struct mt_table *table, struct mt_weights *weights);

/* ---- packed checkpoints ----
 *
 * What `mixtune quantize` and `mixtune convert` write (docs/packed.md): a folder of safetensors files whose layers are
 * packed already. It is mapped, and nothing of it is copied before mt_weights_upload().
 *
 *     mt_weights_open("OUT", 0, &file);                                 once, for this rank
 *     mt_weights_layer(file, "model.layers.3.qkv", &info, &packed);     once per layer
 *     mt_table_layer_for(table, &info, MT_FP16, &layer);
 *     mt_weights_upload(table, &packed, &weights);
 *     mt_weights_bias(file, info.name, MT_FP16, bias);                  where info.has_bias
 *
 * All of a file's header is checked when it is opened, so that a damaged or foreign one costs a status. Its files must
 * not be cut short while it is open. Any number of threads may read from it at once, as long as none closes it. */
struct mt_weights_file;

enum mt_weights_flags {
    MT_WEIGHTS_CHECK = 1 /* read all packed bytes and compare their hashes: MT_FAILURE where they have changed */
};

/* A folder of packed layers, or one file of it. MT_FAILURE for what is damaged, incomplete, or of another version or
 * layout; MT_USAGE if there is no packed checkpoint at `path`. */
MT_API enum mt_status mt_weights_open(const char *path, unsigned flags, struct mt_weights_file **file);
/* NULL is allowed. What was uploaded stays. */
MT_API void mt_weights_close(struct mt_weights_file *file);

struct mt_weights_info {
    size_t size;
    const char *name, *layer; /* "model.layers.3.qkv", "qkv"; valid until the file is closed */
    int tp, rank;             /* ranks that the layer was split over, and which of them this is */
    int n, k, rows8, group;   /* as in struct mt_shape; of the rank */
    int rows8_chosen;         /* as in struct mt_packed */
    int symmetric;
    int layout; /* MT_LAYOUT */
    int has_bias;
};

/* The layers, 0 .. count - 1, those of a decoder layer one behind another in the order in which they run. MT_USAGE
 * beyond. */
MT_API int mt_weights_count(const struct mt_weights_file *file);
MT_API enum mt_status mt_weights_at(const struct mt_weights_file *file, int index, struct mt_weights_info *info);

/* The layer of that name: `info`, which may be NULL, and its tensors, which point into the map and are valid until the
 * file is closed. Not for mt_packed_free(). That columns name each feature once is checked here. MT_USAGE with the
 * names that there are if there is no such layer; MT_FAILURE for wrong columns. */
MT_API enum mt_status mt_weights_layer(const struct mt_weights_file *file, const char *name,
                                       struct mt_weights_info *info, struct mt_packed *packed);

/* A layer's bias in the type that it is served in, to [n], rounded to nearest even. MT_USAGE if it has none; MT_FAILURE
 * with the feature for a number that is not finite in that type: serve the model in bf16. */
MT_API enum mt_status mt_weights_bias(const struct mt_weights_file *file, const char *name, enum mt_dtype dtype,
                                      uint16_t *to);

/* The layer of the bundle that serves such weights: the one of this short name, n and k, if the bundle has it; else as
 * mt_table_layer_shaped() finds it. Once per layer: it may allocate and takes a lock. */
MT_API enum mt_status mt_table_layer_for(struct mt_table *table, const struct mt_weights_info *info,
                                         enum mt_dtype dtype, const struct mt_layer **layer);

/* ---- launches: asynchronous on `stream`, can be captured in a CUDA graph ---- */

/* Quantised activations in device memory. */
struct mt_activations {
    size_t size;
    CUdeviceptr codes;  /* int8 [m][k_padded], aligned to 16 bytes; the others to their elements */
    CUdeviceptr scales; /* fp32 [groups][m] */
    CUdeviceptr sums;   /* int32 [groups][m] */
};

struct mt_quantize_operands {
    size_t size;
    int m;
    int ldx;       /* elements, >= k */
    CUdeviceptr x; /* fp16 or bf16 [m][ldx] */
    const struct mt_activations *out;
};

enum mt_launch_flags {
    /* The weights were complete before the launch that precedes this one in the stream, so the kernel may begin before
     * that one has ended, where it knows how to wait. No kernel of this version does: it changes nothing yet. */
    MT_PROGRAMMATIC = 1
};

/* The structs that it points to are read during the call; what their addresses lead to, by the launch. Addresses are
 * multiples of the elements that they lead to, if nothing else is said. */
struct mt_gemm_operands {
    size_t size;
    int m;
    int ldy;        /* elements, >= n */
    unsigned flags; /* of enum mt_launch_flags */
    const struct mt_weights *weights;
    const struct mt_activations *x;
    CUdeviceptr bias;       /* fp16 or bf16 [n], 0 for none */
    CUdeviceptr y;          /* fp16 or bf16 [m][ldy] */
    CUdeviceptr workspace;  /* aligned to 256 bytes; not shared by launches that may overlap */
    size_t workspace_bytes; /* >= mt_workspace_bytes() */
};

/* Bytes of workspace that every launch of up to m_max tokens can do with; 0 if none is needed. It must be zeroed once
 * after it is allocated; launches leave it so that it can be used again, by any layer. */
MT_API size_t mt_workspace_bytes(const struct mt_table *table, const struct mt_layer *layer, int m_max);

/* MT_USAGE for operands that cannot be right (m < 0 or above 2^24, a null or misaligned address, weights of another
 * layout or split, a workspace that is too small, more tokens than MT_BATCH_INVARIANT can launch at once), before
 * anything is launched; MT_FAILURE with the driver's reason if it refuses the launch. With m = 0 there is nothing to
 * do: MT_OK, and every address may be null. */
MT_API enum mt_status mt_quantize_launch(const struct mt_table *table, const struct mt_layer *layer,
                                         const struct mt_quantize_operands *operands, CUstream stream);
/* Runs the kernel that mt_table_lookup() describes. Where that says fp16, running such a GEMM is up to the caller; this
 * function then runs the best kernel of ours. */
MT_API enum mt_status mt_gemm_launch(const struct mt_table *table, const struct mt_layer *layer,
                                     const struct mt_gemm_operands *operands, CUstream stream);

/* ---- conversion on the host, round to nearest even ---- */

MT_API void mt_from_float(enum mt_dtype dtype, const float *from, uint16_t *to, size_t count);
MT_API void mt_to_float(enum mt_dtype dtype, const uint16_t *from, float *to, size_t count);

#ifdef __cplusplus
}
#endif

#endif
