/* Inside an opened bundle, a struct mt_table. Building it needs no device; loading its kernels does. */
#ifndef MT_TABLE_H
#define MT_TABLE_H

#include "contents.h"
#include "runtime/gpu/launch.h"
#include "runtime/jit/cubin.h"
#include "runtime/mixtune.h"
#include <pthread.h>

/* One tuned M of a layer. */
struct slot {
    int m, from;      /* serves M from `from` up to the next slot's; the first from 1, the last without end */
    int rows8;        /* that its kernel was tuned with */
    int tile;         /* tokens that one CTA of the kernel takes */
    double kernel_ns; /* at m, or an estimate: choices rest on it, and layer_time() where it is a promise; 0: unknown */
    double fp16_ns;   /* of the same origin; 0: cuBLAS is not faster */
    bool modelled;    /* the times */
    bool as_tuned;    /* no knob had to change */
    int image;        /* index into mt_table.images */
    const char *tuned;    /* the bundle's text of the configuration */
    const char *config;   /* text of what runs: `tuned` or `own` */
    char *own;            /* owned */
    struct kernel kernel; /* config from slot_prepare(), the rest from the loader */
};

struct mt_layer {
    struct mt_layer_info info;
    struct problem problem; /* m is 0 */
    bool promises;          /* its slots were timed on this layer and GPU */
    struct slot *slots;     /* owned; by m */
    int slot_count;
    size_t slot_capacity;
    const struct kernel *quantize;
    struct mt_layer *next; /* layers that were not tuned, newest first */
};

/* A binary that the bundle names, loaded when a layer first needs it. */
struct table_image {
    bool used;                       /* false: nothing in the bundle refers to it */
    struct contents_build build;     /* what it is */
    const struct bundle_image *from; /* NULL: the bundle has no images, and it is compiled here */
    struct cubin_usage usage;        /* of `from`, after table_check_images() */
    struct image compiled;           /* until it is loaded */
    struct kernel kernel;            /* without a function: not loaded */
};

struct mt_table {
    struct device dev;
    struct device_limits limits;
    unsigned flags;
    bool foreign;            /* the bundle was tuned on another GPU, or its kernels are compiled by another NVRTC */
    struct bundle bundle;    /* owns every text */
    struct mt_layer *layers; /* the tuned ones, as in the bundle */
    int layer_count;
    struct table_image *images; /* as in the bundle; without images there, each binary once */
    int image_count;
    int *entry_image, *variant_image, *fallback_image; /* which image each row of the bundle has; -1: none */
    struct kernel quantize[3][2]; /* for groups of 64, 128, 256 and both types: those that the bundle lacks, compiled */
    pthread_mutex_t lock;         /* of `others`, `quantize` and `images` */
    struct mt_layer *others;
};

/* Whether a bundle is for this device. */
bool table_is_for(const struct bundle_fingerprint *made_for, const struct device *dev);
/* MT_NO_DEVICE if it is not and `flags` do not allow it. */
enum mt_status table_check_device(const struct bundle_fingerprint *made_for, const struct device *dev, unsigned flags);

/* Takes `bundle` over. Kernels that cannot run within `limits` are left out; MT_FAILURE if a layer has none left or
 * something in the bundle cannot be understood (contents.h). Then everything is released. `foreign`: its times are of
 * another GPU, or of other binaries. */
enum mt_status table_build(struct bundle *bundle, const struct device_limits *limits, unsigned flags, bool foreign,
                           struct mt_table **out);
/* MT_FAILURE if an image that a row refers to is none that a driver may be given. */
enum mt_status table_check_images(struct mt_table *table);
void table_release(struct mt_table *table); /* kernels are already unloaded */

/* ---- inside a layer ---- */

/* Sets what `info` says of `problem`. The texts are those of the bundle's layer, "" if it is NULL. */
void layer_describe(struct mt_layer *layer, const struct bundle_layer *from);

/* Model, name and tp. */
bool layer_same_names(const struct mt_layer_info *a, const struct mt_layer_info *b);

/* Makes `kernel.config` one that runs on `p`, and fills tile, as_tuned, config and own. `runs` is false, and nothing is
 * held, if the kernel cannot. */
enum mt_status slot_prepare(const struct mt_table *table, const struct problem *p, struct slot *slot, bool *runs);
/* Appends a prepared slot, which is taken over. */
enum mt_status layer_add(struct mt_layer *layer, struct slot slot);
/* The default kernel for the layer's formats, if the bundle has it. */
enum mt_status layer_add_default(const struct mt_table *table, struct mt_layer *layer);
void layer_set_ranges(struct mt_layer *layer);
void layer_release(struct mt_layer *layer);

/* The slot that serves m >= 1, and the expected time of its kernel there (0: unknown). */
int layer_slot(const struct mt_layer *layer, int m);
double layer_time(const struct mt_layer *layer, int m);

/* ---- layers that were not tuned (derive.c) ---- */

/* Makes a layer of other splits of the same, of the nearest layer, or the default, in this order. With `named` the
 * splits are those that have its names, which the layer gets. The caller owns it: layer_release(). MT_USAGE if the
 * bundle has no kernel of these formats. */
enum mt_status layer_derive(const struct mt_table *table, const struct problem *p, const struct mt_layer *named,
                            struct mt_layer **out);

/* ---- loading (open.c) ---- */

/* Loads what the layer's slots and its quantisation need. Under the lock, or before anybody else has the table. */
enum mt_status layer_load(struct mt_table *table, struct mt_layer *layer);

#endif
