/* The functions of a library that is opened at run time. */
#ifndef MT_BASE_SYMBOLS_H
#define MT_BASE_SYMBOLS_H

#include <stddef.h>

struct symbol {
    size_t member; /* offset of its function pointer in the struct that holds them */
    const char *name;
};

/* Sets the members of *functions to the addresses of `count` symbols. NULL, or the name of the first that `library`
 * lacks. */
const char *symbols_find(void *library, const struct symbol *symbols, size_t count, void *functions);

#endif
