#include "memory.h"
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static _Atomic(void (*)(void)) ending;

void memory_end_with(void (*end)(void)) {
    atomic_store(&ending, end);
}

enum mt_status memory_short(size_t size) {
    fail(MT_FAILURE, "out of memory: %zu bytes were asked for", size);
    fail_note_memory();
    void (*const end)(void) = atomic_load(&ending);
    if (end)
        end();
    return MT_FAILURE;
}

static void *checked(void *memory, size_t size) {
    if (!memory)
        memory_short(size);
    return memory;
}

void *mem_alloc(size_t size) {
    return checked(malloc(size ? size : 1), size);
}

void *mem_zeroed(size_t count, size_t size) {
    const size_t bytes = size && SIZE_MAX / size < count ? SIZE_MAX : count * size;
    return checked(calloc(count ? count : 1, size ? size : 1), bytes);
}

void *mem_resize(void *old, size_t size) {
    return checked(realloc(old, size ? size : 1), size);
}

char *mem_text(const char *text) {
    return checked(strdup(text), strlen(text) + 1);
}

void *mem_aligned(size_t alignment, size_t size) {
    const size_t rounded = (size + alignment - 1) / alignment * alignment;
    return checked(rounded < size ? NULL : aligned_alloc(alignment, rounded ? rounded : alignment), size);
}
