/* Memory, which may be short.
 *
 * libmixtune lives in somebody else's process. There mem_*() return NULL and leave a sentence; whoever gets NULL hands
 * MT_FAILURE up and holds nothing. Programs that cannot go on without memory, the `mixtune` command and the software
 * device, say so with memory_end_with(); they alone may use the names with an x, which never return NULL. */
#ifndef MT_BASE_MEMORY_H
#define MT_BASE_MEMORY_H

#include "status.h"
#include <stddef.h>

/* malloc, calloc, realloc, strdup and aligned_alloc (which rounds the size up). NULL only if memory is short: for a
 * size of 0 too there is an address to free(). An old block that cannot grow stays as it was. */
void *mem_alloc(size_t size);
void *mem_zeroed(size_t count, size_t size);
void *mem_resize(void *old, size_t size);
char *mem_text(const char *text);
void *mem_aligned(size_t alignment, size_t size);

/* MT_FAILURE with the sentence that `size` bytes were not to be had. Does not return where memory_end_with() was
 * called. */
enum mt_status memory_short(size_t size);

/* From now on `end`, which does not return, is called instead; fail_message() has the sentence. */
void memory_end_with(void (*end)(void));

static inline void *memory_needed(void *memory) {
    if (!memory)
        __builtin_trap(); /* nobody called memory_end_with() */
    return memory;
}
static inline void *xmalloc(size_t size) {
    return memory_needed(mem_alloc(size));
}
static inline void *xcalloc(size_t count, size_t size) {
    return memory_needed(mem_zeroed(count, size));
}
static inline void *xrealloc(void *old, size_t size) {
    return memory_needed(mem_resize(old, size));
}
static inline char *xstrdup(const char *text) {
    return memory_needed(mem_text(text));
}
static inline void *xaligned_alloc(size_t alignment, size_t size) {
    return memory_needed(mem_aligned(alignment, size));
}

#endif
