/* Arrays that grow. Out of memory ends the process with a sentence, as in str.h. */
#ifndef MT_BASE_ARRAY_H
#define MT_BASE_ARRAY_H

#include <stddef.h>

/* Makes room in *array (the address of a pointer to elements; NULL to begin with) for element number `count`:
 * afterwards *capacity > count. Doubles, so that adding one by one costs little. All new bytes are zero. The array
 * is the caller's to free(). */
void array_grow(void *array, size_t *capacity, size_t count, size_t element);

#endif
