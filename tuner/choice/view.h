/* A file of saliences that is being shown, and the sections that are told of it. */
#ifndef MT_CHOICE_VIEW_H
#define MT_CHOICE_VIEW_H

#include "choice.h"
#include "saliences.h"
#include "show.h"

struct view {
    const struct salience_options *options;
    struct saliences file;
    struct saliences_layers layers;
    struct saliences_rounding rounding; /* of what the sizes are counted */
    struct cut *cut;                    /* [layers] */
    struct choice_order order;
};
/* MT_USAGE or MT_FAILURE with one sentence for what saliences.h refuses. */
enum mt_status view_open(const struct salience_options *options, struct view *out);
void view_close(struct view *view);
struct choice_sizes view_sizes(const struct view *view, bool symmetric);
/* Choice number `index` of `amount`; the caller frees its count. */
enum mt_status view_choose(const struct view *view, const struct amount_options *amount, int index, struct choice *out);

/* Of each part of a layer its features, and how many of them are marked in is8, of all features. */
void view_count_parts(const struct view *view, int layer, const uint8_t *is8, int rows[FUSED_PARTS],
                      int rows8[FUSED_PARTS]);

/* These append to a text, so that nothing is printed of a file with which something is wrong.
 * What it is of, and what it took: what its metadata say. */
enum mt_status view_tell_facts(const struct view *view, struct str *out);
/* A row for each share: how large, and how much of the choice stays the same with half of the samples, and without the
 * first order. */
enum mt_status view_tell_ladder(const struct view *view, struct str *out);
/* The shares of classes of layers for one choice or several. */
enum mt_status view_tell_classes(const struct view *view, const struct amount_options *amount, struct str *out);
/* Experts that saw less than a tenth of an even share of their decoder layer's tokens, or none. */
enum mt_status view_tell_experts(const struct view *view, struct str *out);
/* OUT/salience.svg, .png and .csv: the share of each class in each decoder layer. */
enum mt_status view_draw(const struct view *view, const struct amount_options *amount);

#endif
