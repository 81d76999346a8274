#include "array.h"
#include "memory.h"
#include <stdint.h>
#include <string.h>

bool array_grow(void *array, size_t *capacity, size_t count, size_t element) {
    void **data = array;
    if (count < *capacity)
        return true;
    if (count > SIZE_MAX / 4 / element) {
        memory_short(SIZE_MAX);
        return false;
    }
    size_t grown = *capacity ? 2 * *capacity : 64;
    while (grown <= count)
        grown *= 2;
    void *larger = mem_resize(*data, grown * element);
    if (!larger)
        return false;
    memset((char *)larger + *capacity * element, 0, (grown - *capacity) * element);
    *data = larger;
    *capacity = grown;
    return true;
}
