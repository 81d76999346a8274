/* What a file of saliences (docs/salience.md) says of its model, without the model: `mixtune show --salience`. */
#ifndef MT_CHOICE_SHOW_H
#define MT_CHOICE_SHOW_H

#include "tuner/options.h"

struct salience_options {
    const char *path, *out;       /* `out`: a folder for the plot, or NULL */
    struct amount_options amount; /* nothing of it said: usual shares, and p10 by layers */
    int group;                    /* 0: as the file says, else 128 */
    bool symmetric;               /* false: as the file says, else with zero points */
    int fill;
    bool json;
};

/* On standard output: what it is of and what it took; what each share costs in bits and how sure its choice is; where
 * the features with 8 bits are; experts that saw few tokens. With `out` the shares by decoder layer as a plot. */
enum mt_status salience_show(const struct salience_options *options);

#endif
