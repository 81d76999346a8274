/* Device memory: one large reserved range of addresses, in which every allocation gets pages of its own.
 *
 * A device address is the host address of the byte. An allocation starts 512 bytes into its pages, because a driver
 * promises no more than that alignment, and an unmapped page follows it, so neighbours are never adjacent. Fresh pages
 * are copies on write of one small file full of poison: they cost nothing until they are written. Addresses are handed
 * out in rising order and come round again only at the end of the range, so an old pointer does not meet new data. */
#include "runtime/base/array.h"
#include "runtime/base/str.h"
#include "state.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ALIGNMENT   512u
#define PAGE        4096u
#define POISON_FILE (16u << 20)
#define LARGE       (1u << 20) /* from here on pages of their own are worth a system call */
/* NaN as fp16, bf16 (each half), fp32 and fp64; large and negative as an integer. */
#define POISON 0xFFADFFADu

static struct {
    char *start;
    size_t size, cursor, high; /* cursor: next address to try, as an offset; high: the highest one so far */
    int poison;                /* file descriptor */
    struct cu_alloc **list;    /* by address; freed ones stay while operations refer to them */
    int count;
    size_t capacity;
    uint64_t used; /* bytes that the program holds on the device */
    uint32_t next_id;
    struct sg_alloc *table; /* answer of cu_memory_table() */
    size_t table_capacity;
} space = {.poison = -1};

static int poison_file(void) {
    int fd = memfd_create("softgpu-poison", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, POISON_FILE) != 0)
        return -1;
    uint32_t *at = mmap(NULL, POISON_FILE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
        return -1;
    for (size_t i = 0; i < POISON_FILE / sizeof *at; i++)
        at[i] = POISON;
    munmap(at, POISON_FILE);
    return fd;
}

/* A machine may limit its address space, so less than the largest will do. */
static bool space_reserve(void) {
    if (space.start)
        return true;
    for (size_t size = (size_t)1 << 44; size >= (size_t)1 << 33; size >>= 1) {
        void *at = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (at == MAP_FAILED)
            continue;
        space.poison = poison_file();
        if (space.poison < 0) {
            munmap(at, size);
            return false;
        }
        space.start = at;
        space.size = size;
        return true;
    }
    return false;
}

/* Index of the first allocation whose pages start at or after `address`. */
static int index_from(const char *address) {
    int low = 0, high = space.count;
    while (low < high) {
        int middle = (low + high) / 2;
        if (space.list[middle]->map < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Next-fit from the cursor, once round; it never stands within an allocation. NULL if there is no room. */
static char *place_find(size_t size) {
    for (int round = 0; round < 2; round++, space.cursor = 0) {
        char *at = space.start + space.cursor, *end = space.start + space.size;
        int i = index_from(at);
        for (; i < space.count && (size_t)(space.list[i]->map - at) < size; i++)
            at = space.list[i]->map + space.list[i]->map_size;
        if ((size_t)(end - at) >= size) {
            space.cursor = (size_t)(at - space.start) + size;
            if (space.cursor > space.high)
                space.high = space.cursor;
            return at;
        }
    }
    return NULL;
}

static bool pages_poison(char *at, size_t size) {
    for (size_t done = 0; done < size; done += POISON_FILE) {
        size_t part = size - done < POISON_FILE ? size - done : POISON_FILE;
        void *got =
            mmap(at + done, part, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, space.poison, 0);
        if (got == MAP_FAILED)
            return false;
    }
    return true;
}

static void pages_release(char *at, size_t size) {
    if (mmap(at, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED)
        cu_fail(CUDA_SUCCESS, "the host keeps %zu bytes of freed device memory", size);
}

CUresult cu_memory_alloc(struct CUctx_st *context, size_t size, bool host, struct cu_alloc **out) {
    uint64_t total = (uint64_t)cu_device.profile->memory_mib << 20;
    if (size == 0)
        return cu_fail(CUDA_ERROR_INVALID_VALUE, "an allocation of zero bytes was asked for");
    uint64_t counted = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (!host && (size > total || space.used + counted > total))
        return CUDA_ERROR_OUT_OF_MEMORY;
    /* That the host is short of memory says nothing of the device's. */
    if (!space_reserve())
        return cu_fail(CUDA_ERROR_OPERATING_SYSTEM, "the host gives no address space for device memory");
    size_t pages = (ALIGNMENT + size + PAGE - 1) / PAGE * PAGE;
    char *at = place_find(pages + PAGE);
    if (!at)
        return cu_fail(CUDA_ERROR_OUT_OF_MEMORY, "the address space of device memory is used up");
    if (!pages_poison(at, pages)) {
        pages_release(at, pages);
        return cu_fail(CUDA_ERROR_OPERATING_SYSTEM, "the host cannot map %zu bytes of device memory", pages);
    }
    struct cu_alloc *made = xcalloc(1, sizeof *made);
    const bool watched = !host && (cu_device.checks >> SG_CHECK_UNINITIALIZED & 1);
    *made = (struct cu_alloc){.base = (uint64_t)(uintptr_t)(at + ALIGNMENT),
                              .size = size,
                              .id = ++space.next_id,
                              .map = at,
                              .map_size = pages + PAGE,
                              .host = host,
                              .context = context,
                              .written = watched ? xcalloc(size / 128 + 1, sizeof *made->written) : NULL,
                              .birth = ++cu_device.sequence,
                              .death = CU_ALIVE,
                              .refs = 1};
    array_grow(&space.list, &space.capacity, (size_t)space.count, sizeof(struct cu_alloc *));
    int index = index_from(at);
    memmove(space.list + index + 1, space.list + index, (size_t)(space.count - index) * sizeof *space.list);
    space.list[index] = made;
    space.count++;
    if (!host)
        space.used += counted;
    *out = made;
    return CUDA_SUCCESS;
}

void cu_memory_overwrite(struct cu_alloc *alloc, uint64_t address, size_t bytes) {
    if (alloc->plain || address != alloc->base || bytes != alloc->size || bytes < LARGE)
        return;
    char *from = alloc->map + PAGE, *to = alloc->map + (ALIGNMENT + bytes) / PAGE * PAGE;
    size_t size = (size_t)(to - from);
    alloc->plain = true;
    if (mmap(from, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) !=
        MAP_FAILED)
        madvise(from, size, MADV_HUGEPAGE);
}

void cu_memory_unref(struct cu_alloc *alloc) {
    if (--alloc->refs > 0)
        return;
    int index = index_from(alloc->map);
    memmove(space.list + index, space.list + index + 1, (size_t)(space.count - index - 1) * sizeof *space.list);
    space.count--;
    pages_release(alloc->map, alloc->map_size);
    free(alloc->written);
    free(alloc);
}

void cu_memory_kill(struct cu_alloc *alloc) {
    alloc->death = ++cu_device.sequence;
    if (!alloc->host)
        space.used -= (alloc->size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    cu_memory_unref(alloc);
}

void cu_memory_kill_context(const struct CUctx_st *context) {
    for (int i = space.count - 1; i >= 0; i--)
        if (space.list[i]->context == context && space.list[i]->death == CU_ALIVE)
            cu_memory_kill(space.list[i]);
}

uint64_t cu_memory_used(void) {
    return space.used;
}

static bool alive(const struct cu_alloc *a, const struct CUctx_st *context, uint64_t sequence) {
    return a->context == context && a->birth <= sequence && sequence < a->death;
}

struct cu_alloc *cu_memory_find(const struct CUctx_st *context, uint64_t address, uint64_t sequence) {
    int i = index_from((const char *)(uintptr_t)(address + 1)) - 1;
    if (i < 0 || address < space.list[i]->base || address - space.list[i]->base >= space.list[i]->size)
        return NULL;
    return alive(space.list[i], context, sequence) ? space.list[i] : NULL;
}

bool cu_memory_is_ours(uint64_t address) {
    return space.start && address - (uint64_t)(uintptr_t)space.start < space.high;
}

CUresult cu_memory_range(const struct CUctx_st *context, uint64_t address, size_t size, struct cu_alloc **out) {
    *out = cu_memory_find(context, address, cu_device.sequence);
    if (!*out)
        return cu_fail(CUDA_ERROR_INVALID_VALUE, "device address 0x%llx is in no allocation%s",
                       (unsigned long long)address,
                       cu_memory_is_ours(address) ? ": it was freed, or is out of bounds" : "");
    if (size > (*out)->size - (address - (*out)->base))
        return cu_fail(CUDA_ERROR_INVALID_VALUE,
                       "%zu bytes from device address 0x%llx go beyond the end of its allocation of %llu bytes", size,
                       (unsigned long long)address, (unsigned long long)(*out)->size);
    return CUDA_SUCCESS;
}

static struct sg_alloc as_seen(const struct cu_alloc *a) { /* by kernels */
    return (struct sg_alloc){a->base, a->size, a->id, a->written};
}

void cu_memory_written(const struct cu_alloc *alloc, uint64_t address, size_t bytes, const struct cu_alloc *from,
                       uint64_t src) {
    const struct sg_alloc to = as_seen(alloc), other = from ? as_seen(from) : to;
    sg_written_mark(&to, address, bytes, true);
    for (size_t k = 0, part; from && to.written && !sg_written(&other, src, bytes) && k < bytes; k += part) {
        part = bytes - k < 4 ? bytes - k : 4;
        if (!sg_written(&other, src + k, part))
            sg_written_mark(&to, address + k, part, false);
    }
}

struct sg_memory cu_memory_table(const struct CUctx_st *context, uint64_t sequence) {
    array_grow(&space.table, &space.table_capacity, (size_t)space.count, sizeof *space.table);
    int count = 0;
    for (int i = 0; i < space.count; i++) {
        const struct cu_alloc *a = space.list[i];
        if (alive(a, context, sequence))
            space.table[count++] = as_seen(a);
    }
    return (struct sg_memory){space.table, count};
}

int cu_memory_list(const struct CUctx_st *context, uint64_t sequence, struct cu_alloc **out, int capacity) {
    int count = 0;
    for (int i = 0; i < space.count; i++)
        if (alive(space.list[i], context, sequence) && count++ < capacity)
            out[count - 1] = space.list[i];
    return count;
}

/* The library can be closed and opened again for another device: its address space must not stay behind. */
__attribute__((destructor)) static void space_release(void) {
    if (space.start)
        munmap(space.start, space.size);
    if (space.poison >= 0)
        close(space.poison);
    free(space.list);
    free(space.table);
    dev_profile_free(cu_device.profile);
    cu_device.profile = NULL;
}
