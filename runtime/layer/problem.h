/* What is to be computed: a linear layer at a batch size. No pointers here, only shapes and formats. */
#ifndef MT_PROBLEM_H
#define MT_PROBLEM_H

#include "runtime/base/status.h"
#include <stdbool.h>

enum dtype { DTYPE_F16, DTYPE_BF16 };

/* Percent of output features kept in 8 bits: 0 is w4a8, 100 is w8a8; w4.4a8 = 10, w4.8a8 = 20, w6a8 = 50 (bits = 4 + 4
 * * pct / 100). */
struct scheme {
    int pct8;
};

struct problem {
    int m, n, k; /* tokens, output features, input features; each >= 1 */
    int group;   /* along K: 64, 128 or 256 */
    struct scheme scheme;
    enum dtype dtype; /* of the input activations, the bias and the output */
    int bias;         /* 1: Y gets bias[n] added before it is rounded */
};

/* MT_USAGE with the reason if a member is out of its range: shapes 1 .. 2^24, group, percentage. */
enum mt_status problem_check(const struct problem *p);

bool problem_equal(const struct problem *a, const struct problem *b);

/* Sizes that follow from a problem. */
int problem_k_padded(const struct problem *p); /* K rounded up to 128 */
int problem_groups(const struct problem *p);   /* ceil(k_padded / group) */
int problem_rows8(const struct problem *p);    /* features kept in 8 bits: round(n * pct8 / 100) */

/* "w4a8", "w8a8", "w4.4a8", ... MT_USAGE with the list of what is known. */
enum mt_status scheme_parse(const char *text, struct scheme *out);
/* Writes the name into `out` and returns it. */
const char *scheme_name(struct scheme scheme, char out[16]);

enum mt_status dtype_parse(const char *text, enum dtype *out); /* "fp16", "bf16" */
const char *dtype_name(enum dtype dtype);

#endif
