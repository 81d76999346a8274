/* Inside an opened bundle, a struct mt_table. Building it needs no device; loading its kernels does. */
#ifndef MT_TABLE_H
#define MT_TABLE_H

#include "db/bundle.h"
#include "runtime/gpu/launch.h"
#include "runtime/mixtune.h"
#include <pthread.h>

/* One tuned M of a layer. */
struct slot {
    int m, from;      /* serves M from `from` up to the next slot's; the first from 1, the last without end */
    int tile;         /* tokens that one CTA of the kernel takes */
    double kernel_ns; /* at m; 0: unknown */
    double cublas_ns; /* of the same origin; 0: cuBLAS is not faster */
    bool modelled;
    int image;            /* index into mt_table.images */
    const char *config;   /* text */
    struct kernel kernel; /* config from table_build(), the rest from the loader */
};

struct mt_layer {
    struct mt_layer_info info;
    struct problem problem; /* m is 0 */
    double time_scale;      /* its expected times over those in the slots */
    struct slot *slots;     /* owned; by m */
    int slot_count;
    size_t slot_capacity;
    const struct kernel *quantize;
    struct mt_layer *next; /* layers that were not tuned, newest first */
};

/* An image of the bundle, loaded once. */
struct table_image {
    bool used;                   /* false: nothing in the bundle refers to it */
    const struct family *family; /* NULL: activation quantisation */
    struct kernel kernel;
};

struct mt_table {
    struct device dev;
    struct device_limits limits;
    unsigned flags;
    struct bundle bundle;    /* owns every text */
    struct mt_layer *layers; /* the tuned ones, as in the bundle */
    int layer_count;
    struct table_image *images;   /* as in the bundle */
    struct kernel quantize[3][2]; /* for groups of 64, 128, 256 and both types: those that the bundle lacks, compiled */
    pthread_mutex_t lock;         /* of `others` and `quantize` */
    struct mt_layer *others;
};

/* Takes `bundle` over. Kernels that cannot run within `limits` are left out; MT_FAILURE if a layer has none left or
 * something in the bundle cannot be understood. Then everything is released. */
enum mt_status table_build(struct bundle *bundle, const struct device_limits *limits, unsigned flags,
                           struct mt_table **out);
void table_release(struct mt_table *table); /* kernels are already unloaded */

/* MT_NO_DEVICE if the bundle is for another device. */
enum mt_status table_check_device(const struct bundle_fingerprint *made_for, const struct device *dev, unsigned flags);

/* Fills slots' kernels from the table's images. */
void layer_take_kernels(const struct mt_table *table, struct mt_layer *layer);

/* Makes a layer that was not tuned: of the nearest, or the default. The caller owns it: layer_release(). */
enum mt_status layer_derive(const struct mt_table *table, const struct problem *p, struct mt_layer **out);
void layer_release(struct mt_layer *layer);

/* The slot that serves m, and the expected time of its kernel there (0: unknown). */
int layer_slot(const struct mt_layer *layer, int m);
double layer_time(const struct mt_layer *layer, int m);

#endif
