#include "array.h"
#include "str.h"

#include <string.h>

void array_grow(void *array, size_t *capacity, size_t count, size_t element) {
    void **data = array;
    if (count < *capacity)
        return;
    size_t grown = *capacity ? 2 * *capacity : 64;
    while (grown <= count)
        grown *= 2;
    *data = xrealloc(*data, grown * element);
    memset((char *)*data + *capacity * element, 0, (grown - *capacity) * element);
    *capacity = grown;
}
