/* Where the libraries of the CUDA toolkit lie: what $CUDA_HOME names comes first, then what the loader knows, then the
 * customary place. */
#ifndef MT_TOOLKIT_H
#define MT_TOOLKIT_H

#include "runtime/base/status.h"
#include "runtime/base/symbols.h"
#include <stdbool.h>

/* The places, to be walked until the NULL: "" is the loader's, and one that is not set is left out. */
const char *const *toolkit_homes(void);

/* The first library with one of these file names (a list that ends with NULL) that opens and that `fits` finds good;
 * NULL: there is none. `fits` may be NULL. */
void *toolkit_open(const char *const *names, bool (*fits)(void *library, const char *path));

/* Opens version 13 or 12 of "libNAME" for good and sets the members of *functions to its symbols. MT_NO_DEVICE says
 * what is missing. */
enum mt_status toolkit_load(const char *name, const struct symbol *symbols, size_t count, void *functions);

#endif
