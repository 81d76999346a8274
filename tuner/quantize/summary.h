/* What was written, told from the files themselves. */
#ifndef MT_SUMMARY_H
#define MT_SUMMARY_H

#include "runtime/base/str.h"
#include "source.h"
#include <stddef.h>

struct summary {
    const struct source *source;
    const char *scheme;
    const struct str *path; /* [tp], the folders of the ranks */
    int tp;
    size_t layer_bytes, rest_bytes; /* of all ranks */
};

/* On standard output: which share of the features has 8 bits, by linear layers (q, k ...) and by those that run as one,
 * with the least, median and largest of a layer; then bits per weight and sizes. */
enum mt_status summary_print(const struct summary *summary, bool json);

#endif
