/* Numbers of texts: equal texts have one number, counted from 0 in the order in which they came. */
#ifndef MT_KEYS_H
#define MT_KEYS_H

#include <stddef.h>

struct keys {
    char **text; /* [count], owned */
    int *place;  /* [places]: a number + 1, or 0; each stands at its hash or the next free place behind it */
    size_t places, capacity;
    int count;
};

/* Adds it if it is new: then its number is what `count` was. */
int keys_number(struct keys *keys, const char *text);
/* -1: it has none. */
int keys_find(const struct keys *keys, const char *text);
void keys_release(struct keys *keys);

#endif
