/* Structs that cross the public interface. Each begins with its size, as the caller's header has it, so that callers
 * and libraries of different ages understand each other (mixtune.h). */
#ifndef MT_SIZED_H
#define MT_SIZED_H

#include "runtime/base/status.h"
#include <stddef.h>

/* Copies what a caller's struct has; members that it lacks are 0 in `own`. MT_USAGE with a sentence that calls it
 * `name` if it is NULL, has no size, or is larger than `own`. */
enum mt_status sized_take(void *own, size_t own_size, const void *theirs, const char *name);

/* The same without a copy where theirs is as long as ours: then theirs itself, else `own`. NULL if it cannot be. */
static inline const void *sized_view(void *own, size_t own_size, const void *theirs, const char *name) {
    if (theirs && *(const size_t *)theirs == own_size)
        return theirs;
    return sized_take(own, own_size, theirs, name) == MT_OK ? own : NULL;
}

/* The other way: fills a caller's struct up to its size, behind which nothing is written. `own` NULL: with zeros. */
enum mt_status sized_give(void *theirs, const void *own, size_t own_size, const char *name);

/* MT_USAGE with a sentence for the first of the pointers that is NULL; `names` has a word for each. As
 * GIVEN("table layer", table, layer), in the function that was handed them. */
#define GIVEN(names, ...)                                                                                              \
    given_check(__func__, names, (const void *const[]){__VA_ARGS__},                                                   \
                sizeof((const void *const[]){__VA_ARGS__}) / sizeof(const void *))
enum mt_status given_not(const char *function, const char *names, size_t number);
static inline enum mt_status given_check(const char *function, const char *names, const void *const pointers[],
                                         size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!pointers[i])
            return given_not(function, names, i);
    return MT_OK;
}

#endif
