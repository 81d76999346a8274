/* Names that were perhaps meant: those near to one that is not there. */
#ifndef MT_BASE_NEAR_H
#define MT_BASE_NEAR_H

#include "str.h"

enum { NEAR_MOST = 3, NEAR_NAME = 64 };

/* Made as {.wanted = name}. */
struct near {
    const char *wanted;
    int count; /* the nearest first; of equals in the order of the alphabet */
    int distance[NEAR_MOST];
    char name[NEAR_MOST][NEAR_NAME];
};

/* Takes a name that there is, if it is near: a few letters of all were left out, put in, changed or swapped, or it only
 * goes on where the wanted one ends. Longer ones than NEAR_NAME are not looked at. */
void near_offer(struct near *near, const char *name);

/* Appends "; did you mean a, b or c?" without those that are two edits further than the nearest, or `otherwise` where
 * nothing is near. */
void near_print(const struct near *near, const char *otherwise, struct str *out);

#endif
