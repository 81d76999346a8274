/* What is to be computed: a linear layer at a batch size. No pointers here, only shapes and formats. */
#ifndef MT_PROBLEM_H
#define MT_PROBLEM_H

#include "runtime/base/status.h"
#include <stdbool.h>

enum dtype { DTYPE_F16, DTYPE_BF16 };

struct problem {
    int m, n, k;      /* tokens, output features, input features; each >= 1 */
    int rows8;        /* output features that keep 8 bits, 0 .. n; the others have 4 */
    int group;        /* along K: 64, 128 or 256 */
    bool symmetric;   /* 4-bit features have no zero points: theirs is 8 everywhere */
    enum dtype dtype; /* of the input activations, the bias and the output */
    int bias;         /* 1: Y gets bias[n] added before it is rounded */
};

/* MT_USAGE with the reason if a member is out of its range: shapes 1 .. 2^24, at most 2^40 elements of X, W or Y,
 * group, rows8. */
enum mt_status problem_check(const struct problem *p);

/* The largest m that problem_check() takes with the problem's n and k, which it does take. */
int problem_most_tokens(const struct problem *p);

/* `symmetric` counts only where there are 4-bit features. */
bool problem_equal(const struct problem *a, const struct problem *b);

/* What a kernel is built for: "w4a8", "w8a8", "mixed" where both widths are there; "w4a8-sym" and "mixed-sym" where
 * 4-bit features have no zero points. */
const char *problem_scheme(const struct problem *p);
bool problem_scheme_known(const char *name); /* one of these */
/* Sets `symmetric` from such a name; n and rows8 are set. MT_USAGE if the name is not that of a problem with these. */
enum mt_status problem_take_scheme(struct problem *p, const char *scheme);
bool problem_symmetric(const struct problem *p); /* has 4-bit features, and they are symmetric */
bool problem_has_zeros(const struct problem *p); /* has 4-bit features, and they are not */

/* Sizes that follow from a problem. */
int problem_k_padded(const struct problem *p); /* K rounded up to 128 */
int problem_groups(const struct problem *p);   /* ceil(k_padded / group) */

/* What a command line says of layers of any size: the share of their features that keeps 8 bits. */
struct scheme {
    int per_mille;
    bool symmetric; /* 4-bit features */
};
/* "w4a8", "w8a8", "p10" (10 % of each layer's features, one decimal at most), and "w4a8-sym", "p10-sym". MT_USAGE with
 * the list of what is known. */
enum mt_status scheme_parse(const char *text, struct scheme *out);
/* round(n * share): half a feature counts as one. */
int scheme_rows8(struct scheme scheme, int n);
/* Sets rows8 and symmetric; n is set. */
void scheme_apply(struct scheme scheme, struct problem *p);
/* Both at once. */
enum mt_status problem_set_scheme(struct problem *p, const char *text);

enum mt_status dtype_parse(const char *text, enum dtype *out); /* "fp16", "bf16" */
const char *dtype_name(enum dtype dtype);

#endif
