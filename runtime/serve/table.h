/* Inside an opened bundle, a struct mt_table. Building it needs no device; loading its kernels does. */
#ifndef MT_TABLE_H
#define MT_TABLE_H

#include "contents.h"
#include "runtime/gpu/launch.h"
#include "runtime/jit/cubin.h"
#include "runtime/mixtune.h"
#include "stairs.h"
#include <pthread.h>

/* Split-K counters have a place of their own at the start of a workspace, because every launch must find them zero
 * while the sums behind them may hold anything. */
#define COUNTERS_BYTES ((size_t)256 << 10)

/* One tuned M of a layer; or a default kernel of a family. */
struct slot {
    int m;                   /* 0: of a default */
    int rows8;               /* that its kernel was tuned with */
    double kernel_ns;        /* at m, or an estimate: choices rest on it, and promises; 0: unknown */
    bool modelled;           /* the times */
    bool as_tuned;           /* no knob had to change */
    int image;               /* index into mt_table.images */
    const char *tuned;       /* the bundle's text of the configuration */
    const char *config;      /* text of what runs: `tuned` or `own` */
    char *own;               /* owned */
    struct launch_plan plan; /* from slot_prepare() */
    struct kernel kernel;    /* config from slot_prepare(), the rest from the loader */

    /* At m, of the same origin; 0: unknown. */
    double quantize_ns, fp16_ns; /* of the activations; of the strongest fp16 GEMM, if it wins at some M of the layer */
    const char *fp16;            /* which GEMM that is, in the bundle's words; NULL: none */
};

/* From an M on, up to the next range, one slot serves. */
struct slot_range {
    int from, slot;
};

struct mt_layer {
    struct mt_layer_info info;
    struct problem problem;                    /* m is 0 */
    int most_tokens;                           /* of a launch */
    int rows[MT_PARTS], padded_rows[MT_PARTS]; /* features by their width; rounded up to 16 */
    bool promises;                             /* its slots were timed on this layer and GPU */
    struct sum_tree sums;                      /* with MT_BATCH_INVARIANT: how all its kernels add up */
    struct slot *slots;                        /* owned; the tuned ones by m, then defaults */
    int slot_count, tuned_count;
    size_t slot_capacity;
    /* Interval i, 0 .. tuned_count, is between slots i - 1 and i: which kernels may serve there, what each takes. The
     * first is below the first slot, the last beyond the last. */
    struct rival *rivals;      /* owned */
    int *first_rival;          /* [tuned_count + 2], owned */
    struct slot_range *ranges; /* owned; of a layer that is loaded, by M */
    int range_count, ranged;   /* they tell of M below `ranged` */
    size_t range_capacity;
    bool loaded; /* layer_is_loaded() */
    const struct kernel *quantize;
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
    double floor_ns;         /* what a launch takes at least */
    bool other_gpu;          /* the former */
    struct bundle bundle;    /* owns every text */
    struct mt_layer *layers; /* the tuned ones, as in the bundle */
    int layer_count;
    struct table_image *images; /* as in the bundle; without images there, each binary once */
    int image_count;
    int *entry_image, *variant_image, *fallback_image; /* which image each row of the bundle has; -1: none */
    struct kernel quantize[3][2]; /* for groups of 64, 128, 256 and both types: those that the bundle lacks, compiled */
    pthread_mutex_t lock;         /* of `others`, `quantize` and `images` */
    struct mt_layer **others;     /* owned: layers that were not tuned, in the order of index.c */
    int other_count;
    size_t other_capacity;
    const struct mt_layer **by_name, **by_shape; /* `layers` in these orders (index.h) */
};

/* Takes `bundle` over. Kernels that cannot run within `limits` are left out; a layer that has none left gets the
 * default, or those of the nearest layer that kept some. MT_NO_DEVICE if it gets none; MT_FAILURE if something in the
 * bundle cannot be understood (contents.h). Then everything is released. `foreign`: its times are of another GPU, or of
 * other binaries. */
enum mt_status table_build(struct bundle *bundle, const struct device_limits *limits, unsigned flags, bool foreign,
                           struct mt_table **out);
/* MT_FAILURE if an image that a row refers to is none that a driver may be given. Each is unpacked for it and let go. */
enum mt_status table_check_images(struct mt_table *table);
void table_release(struct mt_table *table); /* kernels are already unloaded */

/* ---- inside a layer ---- */

/* Sets what `info` says of `problem`. The texts are those of the bundle's layer, "" if it is NULL. */
void layer_describe(struct mt_layer *layer, const struct bundle_layer *from);

/* Model, name and tp. */
bool layer_same_names(const struct mt_layer_info *a, const struct mt_layer_info *b);

/* Makes `kernel.config` one that runs on the layer, and fills as_tuned, config and own. `runs` is false, and nothing is
 * held, if the kernel cannot; with MT_BATCH_INVARIANT also if it cannot add up as the layer's are to. */
enum mt_status slot_prepare(const struct mt_table *table, const struct mt_layer *layer, struct slot *slot, bool *runs);
/* Appends a prepared slot, which is taken over. */
enum mt_status layer_add(struct mt_layer *layer, struct slot slot);
void layer_release(struct mt_layer *layer);

/* ---- which kernel serves which M (rivals.c) ---- */

/* A slot's winner is known at so many tuned M on either side of its own, if the bundle has it. */
enum { RIVAL_REACH = 2 };

/* What the kernel of a slot takes on a layer at another tuned M; 0: unknown. */
struct known {
    double (*ns)(const struct known *known, const struct slot *slot, int m);
    const struct mt_table *table;
    const struct mt_layer *layer; /* that the kernel was tuned on */
};
double known_tuned(const struct known *known, const struct slot *slot, int m);

/* Behind the tuned slots: the default kernels for the layer's formats, for fewer tokens than the first slot's kernel
 * takes at a time, and for more than the last one's. Both where nothing was tuned. */
enum mt_status layer_add_defaults(const struct mt_table *table, struct mt_layer *layer);
/* Of slots that are all there. */
enum mt_status layer_set_rivals(struct mt_layer *layer, const struct known *known);

/* What serves an M. */
struct pick {
    int interval;    /* as of the rivals */
    int slot;        /* whose kernel it is */
    double estimate; /* of its time there, what choices rest on; 0: unknown */
    double promise;  /* the same where it is one; 0: none */
};
/* The rival that takes least at m >= 1, the first of equals; at a tuned M its own winner. */
struct pick layer_pick(const struct mt_layer *layer, int m);
static inline int layer_slot(const struct mt_layer *layer, int m) {
    return layer_pick(layer, m).slot;
}
/* For launches, which have no time to compare: who serves which M is worked out once, as far as that is soon done. */
enum mt_status layer_set_ranges(struct mt_layer *layer);
/* As layer_slot(), of a layer with ranges. */
static inline int layer_launch_slot(const struct mt_layer *layer, int m) {
    const struct slot_range *range = layer->ranges;
    if (m >= layer->ranged)
        return layer_slot(layer, m);
    for (unsigned count = (unsigned)layer->range_count; count > 1;) {
        const unsigned half = count / 2;
        range = range[half].from <= m ? range + half : range;
        count -= half;
    }
    return range->slot;
}
/* The first M of an interval. */
int layer_interval(const struct mt_layer *layer, int i);
/* Whether m, in interval i, is a tuned M that its own winner serves. What won on another layer does not. */
bool layer_keeps(const struct mt_layer *layer, int i, int m);

/* ---- layers that were not tuned (derive.c) ---- */

/* Makes a layer of other splits of the same, of the nearest layer, or the default, in this order. With `named` the
 * splits are those that have its names, which the layer gets. The caller owns it: layer_release(). MT_USAGE if the
 * bundle has no kernel of these formats. */
enum mt_status layer_derive(const struct mt_table *table, const struct problem *p, const struct mt_layer *named,
                            struct mt_layer **out);

/* For a tuned layer that has no slot: those of the nearest layer of its formats, if there is one that has. `looks`, how
 * many kernels may be compared for it, is counted down; with none left the first layer lends. */
enum mt_status layer_borrow_any(const struct mt_table *table, struct mt_layer *layer, int *looks);

/* ---- loading (load.c) ---- */

/* Loads what the layers' slots and their quantisation need, unless it is there. Under the lock. */
enum mt_status layers_load(struct mt_table *table, struct mt_layer *layers, int count);

/* Without the lock: what was loaded before is seen by whoever is told so. */
static inline bool layer_is_loaded(const struct mt_layer *layer) {
    return __atomic_load_n(&layer->loaded, __ATOMIC_ACQUIRE);
}

#endif
