/* A bundle while it is put together: the rows of reports/export.sql, and the kernels that they name. */
#ifndef MT_DRAFT_H
#define MT_DRAFT_H

#include "compared.h"
#include "db/bundle/bundle.h"
#include "tuner/keys.h"
#include "tuner/plan/binaries.h"
#include "tuner/report/rows.h"

/* What kernels can be built for: 4 bits, 8 bits or both, with zero points; and the same without. */
enum { DRAFT_WIDTHS = 3, DRAFT_FORMATS = 2 * DRAFT_WIDTHS };

/* Everything that a bundle points to while it is put together. */
struct draft {
    const struct rows *rows;
    int winners;          /* the first of them; the others are the layers' batch-invariant kernels */
    struct device target; /* what kernels are compiled for; only `cc` and `sm_count` are set: it need not be here */
    struct binaries binaries;
    struct problem *problem; /* [rows] */
    /* [rows]: the first row, and the next, of the same layer in any split and symmetry; -1: there is none. */
    int *first, *next;
    int *binary;  /* [rows]: index into `binaries` */
    int *variant; /* [rows][DRAFT_FORMATS]: likewise, for formats that the layer itself does not have; -1: not needed */
    struct bundle_layer *layers;
    int *layer_row;  /* [layers]: the first of its rows */
    bool *invariant; /* [layers]: has kernels for MT_BATCH_INVARIANT */
    struct bundle_entry *entries;
    struct compared_point *points; /* one for each winner that is in */
    struct bundle_time *times;
    struct bundle_build *variants, *fallbacks;
    struct bundle_image *images;
    char (*names)[BUNDLE_NAME_TEXT]; /* of the images */
    bool with_images;                /* else kernels are compiled where the bundle is opened */
    struct image *quantize;          /* activation quantisation, one for each group and type */
    char **texts;                    /* of default configurations */
    int layer_count, entry_count, point_count, time_count, variant_count, fallback_count, image_count, quantize_count,
        text_count;
    int changed, unbuilt, refused; /* winners */
    /* What is in already: images by name, builds of both kinds, layers, and winners by layer and M. */
    struct keys image_keys, build_keys[2], layer_keys, winner_keys;
    struct keys time_keys, invariant_keys; /* kernels by layer and M; the rows behind the winners */
};

/* `rows`, of which the first `winners` are winners and the others the batch-invariant kernels that tree_set_keep() has
 * kept, must outlive the draft: its texts are pointed to. `cc` and `sm_count` are of the GPU of the bundle. */
void draft_init(struct draft *d, const struct rows *rows, int winners, int cc, int sm_count, bool with_images);
void draft_release(struct draft *d);

/* Compiles the winners (or takes them from the cache) and fills layers, entries, variants, fallbacks and images. A
 * winner that does not compile to the very binary that was timed is left out and counted in `changed`, one that this
 * version would not take from a bundle in `refused`; MT_FAILURE if none is left. Variants that cannot be built are
 * counted in `unbuilt`. A layer of which some batch-invariant kernel is left out has none. */
enum mt_status draft_fill(struct draft *d, enum bundle_origin origin, bool quiet);

/* The winners beside the strongest fp16 GEMM, for as long as the draft lives. */
struct compared draft_compared(const struct draft *d, enum bundle_origin origin);

/* Whether the layer of a winner has batch-invariant kernels. */
bool draft_has_invariant(const struct draft *d, int row);

/* Adds the rows of reports/times.sql that stand beside a winner that is in, less those that are in already. They must
 * outlive the draft. */
void draft_add_times(struct draft *d, const struct rows *times, enum bundle_origin origin);

#endif
