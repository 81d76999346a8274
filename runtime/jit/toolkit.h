/* Where the libraries of the CUDA toolkit lie: what $CUDA_HOME names comes first, then what the loader knows, then the
 * customary place. */
#ifndef MT_TOOLKIT_H
#define MT_TOOLKIT_H

#include <stdbool.h>

/* The places, to be walked until the NULL: "" is the loader's, and one that is not set is left out. */
const char *const *toolkit_homes(void);

/* The first library with one of these file names (a list that ends with NULL) that opens and that `fits` finds good;
 * NULL: there is none. `fits` may be NULL. */
void *toolkit_open(const char *const *names, bool (*fits)(void *library, const char *path));

#endif
