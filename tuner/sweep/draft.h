/* A bundle while it is put together: the rows of reports/export.sql, and the kernels that they name. */
#ifndef MT_DRAFT_H
#define MT_DRAFT_H

#include "db/bundle.h"
#include "tuner/plan/binaries.h"
#include "tuner/report/rows.h"

/* Everything that a bundle points to while it is put together. */
struct draft {
    const struct rows *rows;
    struct device target; /* what kernels are compiled for; only `cc` is set: it need not be in this machine */
    struct binaries binaries;
    int *binary; /* [rows]: index into `binaries` */
    struct bundle_layer *layers;
    struct bundle_entry *entries;
    struct bundle_fallback *fallbacks;
    struct bundle_image *images;
    struct image *quantize; /* activation quantisation, one for each group and type */
    char **texts;           /* of default configurations */
    int layer_count, entry_count, fallback_count, image_count, quantize_count, text_count;
    int library_wins, changed;
};

/* `rows` must outlive the draft: its texts are pointed to. `cc` is of the GPU that the bundle is for. */
void draft_init(struct draft *d, const struct rows *rows, int cc);
void draft_release(struct draft *d);

/* Compiles the winners (or takes them from the cache) and fills layers, entries, fallbacks and images. A winner that
 * does not compile to the very binary that was timed is left out and counted in `changed`; MT_FAILURE if none is
 * left. */
enum mt_status draft_fill(struct draft *d, enum bundle_origin origin, bool quiet);

#endif
