/* Arrays that grow. */
#ifndef MT_BASE_ARRAY_H
#define MT_BASE_ARRAY_H

#include <stdbool.h>
#include <stddef.h>

/* Makes room in *array (the address of a pointer to elements; NULL to begin with) for element number `count`:
 * afterwards *capacity > count. Doubles, so that adding one by one costs little. All new bytes are zero. The array
 * is the caller's to free(). False, with a sentence and the array as it was, if memory is short (memory.h). */
bool array_grow(void *array, size_t *capacity, size_t count, size_t element);

#endif
