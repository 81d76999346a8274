/* Which share of the features has 8 bits, of each kind of layer. */
#ifndef MT_SHARES_H
#define MT_SHARES_H

#include "modules.h"
#include "tuner/report/rows.h"

/* Linear layers of one class ("q", "experts.gate"), or layers of one kind that run as one ("qkv"). */
struct share_kind {
    char name[48];
    long features, features8;
    double *share; /* of each layer, owned */
    int count;
    size_t capacity;
};
enum { MOST_KINDS = 64 };
struct share_kinds {
    struct share_kind kind[MOST_KINDS]; /* in the order in which they came */
    int count;
};
struct shares {
    struct share_kinds parts, fused;
};

/* The class of a part: "experts.gate" of one of "experts.gate_up". */
void share_part_name(const struct fused *layer, int part, char *out, size_t size);
/* Adds a layer, or a rank of it: of each part its features, and how many have 8 bits. */
void shares_add(struct shares *shares, const struct fused *layer, const int rows[FUSED_PARTS],
                const int rows8[FUSED_PARTS]);
void shares_release(struct shares *shares);

/* The table: of each class, then of what is fused of several, layers and features, the percentage with 8 bits of all of
 * its features, and the least, median and largest of a layer. */
void shares_rows_init(struct rows *rows);
/* Appends. */
void shares_rows(struct shares *shares, const char *scheme, struct rows *rows);
/* Appends the table, or JSON. */
void shares_print(const struct rows *rows, bool json, struct str *out);

#endif
