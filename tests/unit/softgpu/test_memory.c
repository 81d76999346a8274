/* The software device's memory: where allocations lie, when addresses are used again, what is in them, and what the
 * driver says of a wrong address. The address space is as small as it may be, so that it is soon used up. */
#include "driver.h"
#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>

enum { PAGE = 4096, START = 512 };
#define SPACE   ((uint64_t)1 << 33)
#define GIB     ((uint64_t)1 << 30)
#define NO_ROOM "the address space of device memory is used up"

/* The host's mmap(), which here gives no more than SPACE at once, and refuses pages when it is told to. */
static bool refuses_space;
static int pages_left = -1; /* mappings of a file that still succeed; -1: all */
void *mmap(void *address, size_t length, int prot, int flags, int fd, off_t offset) {
    const bool reserves = prot == PROT_NONE && !(flags & MAP_FIXED), pages = flags & MAP_FIXED && fd >= 0;
    if ((reserves && (refuses_space || length > SPACE)) || (pages && pages_left == 0)) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    pages_left -= pages && pages_left > 0;
    return (void *)syscall(SYS_mmap, address, length, prot, flags, fd, offset);
}

/* Bytes of an allocation that takes up `room` of the address space, its guard page included. */
static size_t filling(uint64_t room) {
    return room - PAGE - START;
}

static CUdeviceptr take(uint64_t room) {
    CUdeviceptr x = 0;
    good(cuMemAlloc_v2(&x, filling(room)));
    return x;
}

static uint32_t word_at(CUdeviceptr x) {
    uint32_t word = 0;
    good(cuMemcpyDtoH_v2(&word, x, sizeof word));
    return word;
}

/* Can the host read this byte? */
static bool is_mapped(CUdeviceptr x) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    const bool mapped = write(ends[1], (const void *)x, 1) == 1;
    assert_true(mapped || errno == EFAULT);
    close(ends[0]);
    close(ends[1]);
    return mapped;
}

/* First of all: the host gives nothing. */
static void test_no_space(void **state) {
    (void)state;
    CUdeviceptr x = 5;
    refuses_space = true;
    refused(cuMemAlloc_v2(&x, 8), CUDA_ERROR_OPERATING_SYSTEM, "the host gives no address space for device memory");
    refuses_space = false;
    assert_int_equal(x, 5);
    pages_left = 0;
    refused(cuMemAlloc_v2(&x, 5000), CUDA_ERROR_OPERATING_SYSTEM, "the host cannot map 8192 bytes of device memory");
    pages_left = 2; /* pages come 16 MiB at a time */
    refused(cuMemAlloc_v2(&x, 40 << 20), CUDA_ERROR_OPERATING_SYSTEM,
            "the host cannot map 41947136 bytes of device memory");
    pages_left = -1;
    assert_int_equal(x, 5);
    size_t before, after, total;
    good(cuMemGetInfo_v2(&before, &total));
    assert_int_equal(before, total);
    good(cuMemAlloc_v2(&x, 40 << 20));
    good(cuMemGetInfo_v2(&after, &total));
    assert_int_equal(before - after, 40 << 20);
    good(cuMemFree_v2(x));
}

/* A space that is full, with holes, and what fits into which. */
static void test_wraps(void **state) {
    (void)state;
    CUdeviceptr x[8], y;
    /* After whatever was taken before, the addresses rise to the end of the space and begin again. */
    CUdeviceptr first = take(GIB), low = first;
    while (first >= low) {
        low = first;
        good(cuMemFree_v2(first));
        first = take(GIB);
    }
    good(cuMemFree_v2(first));
    const CUdeviceptr start = first; /* the space has begun anew */
    x[0] = start + 0;
    for (int k = 1; k < 8; k++) {
        x[k] = take(GIB);
        assert_int_equal(x[k], start + (unsigned)k * GIB);
    }
    x[0] = take(GIB); /* the last one ended the space */
    assert_int_equal(x[0], start);
    refused(cuMemAlloc_v2(&y, 1), CUDA_ERROR_OUT_OF_MEMORY, NO_ROOM);
    for (int k = 1; k < 8; k += 2)
        good(cuMemFree_v2(x[k]));
    refused(cuMemAlloc_v2(&y, filling(GIB) + 1), CUDA_ERROR_OUT_OF_MEMORY, NO_ROOM);
    refused(cuMemAlloc_v2(&y, filling(2 * GIB)), CUDA_ERROR_OUT_OF_MEMORY, NO_ROOM);
    y = take(GIB / 2); /* the first hole from the start, for the search has just been round */
    assert_int_equal(y, start + GIB);
    x[1] = take(GIB / 2); /* the rest of that hole, exactly */
    assert_int_equal(x[1], y + GIB / 2);
    x[3] = take(GIB);
    assert_int_equal(x[3], start + 3 * GIB);
    good(cuMemFree_v2(y));
    x[5] = take(GIB / 4); /* an earlier hole waits until the search comes round */
    assert_int_equal(x[5], start + 5 * GIB);
    good(cuMemFree_v2(x[4]));
    const CUdeviceptr z = take(GIB);
    assert_int_equal(z, start + 7 * GIB);
    good(cuMemFree_v2(z));
    refused(cuMemAlloc_v2(&y, filling(GIB) + 1), CUDA_ERROR_OUT_OF_MEMORY, NO_ROOM); /* 4 and 5 ¼ are no neighbours */
    good(cuMemFree_v2(x[5]));
    y = take(2 * GIB); /* now they are */
    assert_int_equal(y, start + 4 * GIB);
}

/* ---- against a model: the lowest free place from the cursor on, or else from the start on ---- */

enum { MOST = 40 };
struct model {
    uint64_t at[MOST], room[MOST], cursor;
    CUdeviceptr start;
    int count;
};

static bool is_free(const struct model *m, uint64_t at, uint64_t room) {
    bool free = at + room <= SPACE;
    for (int k = 0; k < m->count; k++)
        free &= at + room <= m->at[k] || at >= m->at[k] + m->room[k];
    return free;
}

/* SPACE if there is no room. The lowest free place begins where the search does, or where an allocation ends. */
static uint64_t lowest_from(const struct model *m, uint64_t from, uint64_t room) {
    uint64_t lowest = is_free(m, from, room) ? from : SPACE;
    for (int k = 0; k < m->count; k++) {
        const uint64_t end = m->at[k] + m->room[k];
        if (end >= from && end < lowest && is_free(m, end, room))
            lowest = end;
    }
    return lowest;
}

static void model_take(struct model *m, uint64_t room) {
    uint64_t want = lowest_from(m, m->cursor, room);
    CUdeviceptr x = 0;
    if (want == SPACE)
        want = lowest_from(m, 0, room);
    if (want == SPACE) {
        refused(cuMemAlloc_v2(&x, filling(room)), CUDA_ERROR_OUT_OF_MEMORY, NO_ROOM);
        m->cursor = 0;
        return;
    }
    good(cuMemAlloc_v2(&x, filling(room)));
    assert_int_equal(x, m->start + want);
    assert_int_equal(word_at(x), 0xFFADFFAD); /* nothing is left of what was there before */
    assert_int_equal(word_at(x + filling(room) - 4), 0xFFADFFAD);
    good(cuMemsetD32_v2(x, 7, 1));
    good(cuMemsetD32_v2(x + filling(room) - 4, 7, 1));
    m->at[m->count] = want;
    m->room[m->count++] = room;
    m->cursor = want + room;
}

static void model_release(struct model *m, int k) {
    good(cuMemFree_v2(m->start + m->at[k]));
    m->at[k] = m->at[--m->count];
    m->room[k] = m->room[m->count];
}

static void test_fragments(void **state) {
    (void)state;
    struct model m = {.start = take(SPACE - GIB)};
    good(cuMemFree_v2(m.start));
    const CUdeviceptr again = take(2 * GIB); /* does not fit behind it: it lies where the space begins */
    assert_int_equal(again, m.start);
    good(cuMemFree_v2(again));
    m.cursor = 2 * GIB;
    srand(11);
    for (int round = 0; round < 1500; round++) {
        const bool takes = m.count == 0 || (m.count < MOST && rand() % 9 < 5);
        if (takes)
            model_take(&m, (uint64_t)(3 + rand() % (rand() % 8 ? 100000 : 400000)) * PAGE);
        else
            model_release(&m, rand() % m.count);
    }
    size_t left, total;
    uint64_t used = 0;
    for (int k = 0; k < m.count; k++)
        used += filling(m.room[k]);
    good(cuMemGetInfo_v2(&left, &total));
    assert_int_equal(total - left, used);
}

/* ---- pages and bytes ---- */

static void test_pages(void **state) {
    (void)state;
    static const size_t sizes[] = {1, PAGE - START, PAGE - START + 1, PAGE, 3 * PAGE - START, 100001};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        CUdeviceptr x;
        good(cuMemAlloc_v2(&x, sizes[k]));
        const CUdeviceptr end = (x + sizes[k] + PAGE - 1) / PAGE * PAGE; /* of its last page */
        assert_int_equal(x % PAGE, START);
        assert_true(is_mapped(x) && is_mapped(x + sizes[k] - 1) && is_mapped(end - 1));
        assert_false(is_mapped(end));
        assert_false(is_mapped(end + PAGE - 1));
        good(cuMemFree_v2(x));
        assert_false(is_mapped(x));
        assert_false(is_mapped(end - 1));
    }
}

/* Copies of what was written, with poison around it; a large allocation that is written whole gets other pages. */
static void test_overwritten(void **state) {
    (void)state;
    enum { LARGE = (1 << 20) + 12340 };
    static uint8_t bytes[LARGE], got[LARGE];
    CUdeviceptr x;
    srand(3);
    for (int k = 0; k < LARGE; k++)
        bytes[k] = (uint8_t)rand();
    good(cuMemAlloc_v2(&x, LARGE));
    good(cuMemsetD8_v2(x + 5, 0x11, 3));
    good(cuMemcpyDtoH_v2(got, x, LARGE));
    assert_memory_equal(got, "\xad\xff\xad\xff\xad\x11\x11\x11\xad\xff", 10);
    assert_memory_equal(got + LARGE - 4, "\xad\xff\xad\xff", 4);
    good(cuMemcpyHtoD_v2(x, bytes, LARGE));
    good(cuMemcpyDtoH_v2(got, x, LARGE));
    assert_memory_equal(got, bytes, LARGE);
    good(cuMemsetD8_v2(x, 0x22, LARGE)); /* once more, and then a part */
    good(cuMemsetD16_v2(x + 100, 0x3344, 4));
    good(cuMemcpyDtoH_v2(got, x, LARGE));
    for (int k = 0; k < LARGE; k++)
        assert_int_equal(got[k], k < 100 || k >= 108 ? 0x22 : k % 2 ? 0x33 : 0x44);
    good(cuMemFree_v2(x));
    good(cuMemAlloc_v2(&x, LARGE)); /* all but its last byte: the poison behind it must stay */
    good(cuMemcpyHtoD_v2(x, bytes, LARGE - 1));
    good(cuMemcpyDtoH_v2(got, x, LARGE));
    assert_memory_equal(got, bytes, LARGE - 1);
    assert_int_equal(got[LARGE - 1], 0xff);
    good(cuMemFree_v2(x));
}

static void test_wrong_addresses(void **state) {
    (void)state;
    static uint32_t word;
    CUdeviceptr x, y;
    char want[200];
    good(cuMemAlloc_v2(&x, 100));
    refused(cuMemAlloc_v2(&y, 0), CUDA_ERROR_INVALID_VALUE, "an allocation of zero bytes was asked for");
    refused(cuMemAlloc_v2(NULL, 8), CUDA_ERROR_INVALID_VALUE, "");
    snprintf(want, sizeof want, "5 bytes from device address 0x%llx go beyond the end of its allocation of 100 bytes",
             x + 96);
    refused(cuMemcpyDtoH_v2(&word, x + 96, 5), CUDA_ERROR_INVALID_VALUE, want);
    good(cuMemcpyDtoH_v2(&word, x + 96, 4));
    snprintf(want, sizeof want, "device address 0x%llx is in no allocation: it was freed, or is out of bounds",
             x + 100);
    refused(cuMemsetD8_v2(x + 100, 1, 1), CUDA_ERROR_INVALID_VALUE, want);
    snprintf(want, sizeof want, "device address 0x%llx is in no allocation: it was freed, or is out of bounds", x - 1);
    refused(cuMemcpyDtoD_v2(x, x - 1, 1), CUDA_ERROR_INVALID_VALUE, want);
    refused(cuMemcpyHtoD_v2(64, &word, 4), CUDA_ERROR_INVALID_VALUE, "device address 0x40 is in no allocation\n");
    snprintf(want, sizeof want, "starts at the unaligned address 0x%llx", x + 2);
    refused(cuMemsetD32_v2(x + 2, 1, 1), CUDA_ERROR_INVALID_VALUE, want);
    refused(cuMemsetD16_v2(x + 1, 1, 1), CUDA_ERROR_INVALID_VALUE, "a fill with values of 2 bytes");
    refused(cuMemsetD32_v2(x, 1, SIZE_MAX / 2), CUDA_ERROR_INVALID_VALUE, "");
    good(cuMemsetD32_v2(x, 1, 0));
    good(cuMemcpyDtoH_v2(&word, x + 1000, 0)); /* nothing is copied, and nobody looks */
    snprintf(want, sizeof want, "0x%llx is freed, but it is no address that an allocation of this kind returned",
             x + 8);
    refused(cuMemFree_v2(x + 8), CUDA_ERROR_INVALID_VALUE, want);
    refused(cuMemFreeHost((void *)x), CUDA_ERROR_INVALID_VALUE,
            "it is no address that an allocation of this kind returned");
    refused(cuMemFree_v2(x + 100), CUDA_ERROR_INVALID_VALUE,
            "it is not allocated: it was freed before, or never allocated");
    good(cuMemFree_v2(0));
    good(cuMemFreeHost(NULL));
    good(cuMemFreeAsync(x, NULL));
    refused(cuMemFreeAsync(x, NULL), CUDA_ERROR_INVALID_VALUE, "it is not allocated");
}

static void test_host_memory(void **state) {
    (void)state;
    void *host, *also;
    CUdeviceptr x;
    size_t before, after, total;
    good(cuMemGetInfo_v2(&before, &total));
    good(cuMemHostAlloc(&host, 1000,
                        CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED));
    good(cuMemAllocHost_v2(&also, 1000));
    good(cuMemGetInfo_v2(&after, &total));
    assert_int_equal(after, before); /* it is none of the device's */
    assert_int_equal(cuMemHostAlloc(&also, 8, 8), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemHostAlloc(NULL, 8, 0), CUDA_ERROR_INVALID_VALUE);
    good(cuMemHostGetDevicePointer_v2(&x, (char *)host + 8, 0));
    assert_int_equal(x, (uintptr_t)host + 8);
    assert_int_equal(cuMemHostGetDevicePointer_v2(&x, host, 1), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemHostGetDevicePointer_v2(NULL, host, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemHostGetDevicePointer_v2(&x, &x, 0), CUDA_ERROR_INVALID_VALUE);
    refused(cuMemFree_v2((CUdeviceptr)(uintptr_t)host), CUDA_ERROR_INVALID_VALUE, "it is no address");
    good(cuMemAlloc_v2(&x, 8));
    CUdeviceptr y;
    assert_int_equal(cuMemHostGetDevicePointer_v2(&y, (void *)x, 0), CUDA_ERROR_INVALID_VALUE);
    good(cuMemFree_v2(x));
    good(cuMemFreeHost(host));
    good(cuMemFreeHost(also));
    assert_int_equal(cuMemGetInfo_v2(NULL, &total), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemGetInfo_v2(&after, NULL), CUDA_ERROR_INVALID_VALUE);
}

static void test_limit(void **state) {
    (void)state;
    CUdeviceptr x, y;
    const unsigned kept = cu_device.profile->memory_mib;
    size_t left, total;
    good(cuMemGetInfo_v2(&left, &total));
    assert_int_equal(total, (size_t)kept << 20);
    cu_device.profile->memory_mib = 6144; /* less than the space */
    good(cuMemGetInfo_v2(&left, &total));
    assert_int_equal(total, (size_t)6 << 30);
    assert_int_equal(left, total);
    assert_int_equal(cuMemAlloc_v2(&x, total + 1), CUDA_ERROR_OUT_OF_MEMORY);
    assert_int_equal(cuMemAlloc_v2(&x, SIZE_MAX), CUDA_ERROR_OUT_OF_MEMORY);
    good(cuMemAlloc_v2(&x, total));
    good(cuMemGetInfo_v2(&left, &total));
    assert_int_equal(left, 0);
    assert_int_equal(cuMemAlloc_v2(&y, 1), CUDA_ERROR_OUT_OF_MEMORY);
    good(cuMemFree_v2(x));
    good(cuMemAlloc_v2(&x, total - 513)); /* counted in pieces of 512 bytes */
    assert_int_equal(cuMemAlloc_v2(&y, 513), CUDA_ERROR_OUT_OF_MEMORY);
    good(cuMemAlloc_v2(&y, 512));
    good(cuMemGetInfo_v2(&left, &total));
    assert_int_equal(left, 0);
    good(cuMemFree_v2(y));
    good(cuMemFree_v2(x));
    cu_device.profile->memory_mib = kept;
}

/* ---- asking ---- */

static void check_attributes(CUdeviceptr base, size_t size, bool host, CUcontext context) {
    const CUdeviceptr x = base + size - 1;
    CUcontext owner = NULL;
    unsigned kind = 0, managed = 9, mapped = 0;
    int ordinal = 9;
    CUdeviceptr pointer = 0, from = 0;
    size_t range = 0;
    void *at = NULL;
    unsigned long long id = 0, other = 0;
    good(cuPointerGetAttribute(&owner, CU_POINTER_ATTRIBUTE_CONTEXT, x));
    assert_ptr_equal(owner, context);
    good(cuPointerGetAttribute(&kind, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, x));
    assert_int_equal(kind, host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE);
    good(cuPointerGetAttribute(&pointer, CU_POINTER_ATTRIBUTE_DEVICE_POINTER, x));
    assert_int_equal(pointer, x);
    assert_int_equal(cuPointerGetAttribute(&at, CU_POINTER_ATTRIBUTE_HOST_POINTER, x),
                     host ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE);
    assert_int_equal((uintptr_t)at, host ? x : 0);
    good(cuPointerGetAttribute(&managed, CU_POINTER_ATTRIBUTE_IS_MANAGED, x));
    assert_int_equal(managed, 0);
    good(cuPointerGetAttribute(&ordinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, x));
    assert_int_equal(ordinal, 0);
    good(cuPointerGetAttribute(&from, CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, x));
    assert_int_equal(from, base);
    good(cuPointerGetAttribute(&range, CU_POINTER_ATTRIBUTE_RANGE_SIZE, x));
    assert_int_equal(range, size);
    good(cuPointerGetAttribute(&mapped, CU_POINTER_ATTRIBUTE_MAPPED, x));
    assert_int_equal(mapped, 1);
    good(cuPointerGetAttribute(&id, CU_POINTER_ATTRIBUTE_BUFFER_ID, x));
    good(cuPointerGetAttribute(&other, CU_POINTER_ATTRIBUTE_BUFFER_ID, base));
    assert_true(id && id == other);
    assert_int_equal(cuPointerGetAttribute(&id, CU_POINTER_ATTRIBUTE_P2P_TOKENS, x), CUDA_ERROR_NOT_SUPPORTED);
    assert_int_equal(cuPointerGetAttribute(NULL, CU_POINTER_ATTRIBUTE_MAPPED, x), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuPointerGetAttribute(&id, CU_POINTER_ATTRIBUTE_MAPPED, x + 1), CUDA_ERROR_INVALID_VALUE);
    from = range = 0;
    good(cuMemGetAddressRange_v2(&from, &range, x));
    assert_int_equal(from, base);
    assert_int_equal(range, size);
    good(cuMemGetAddressRange_v2(NULL, NULL, base));
    assert_int_equal(cuMemGetAddressRange_v2(&from, &range, x + 1), CUDA_ERROR_NOT_FOUND);
    assert_int_equal(cuMemGetAddressRange_v2(&from, &range, base - 1), CUDA_ERROR_NOT_FOUND);
}

static void test_questions(void **state) {
    const struct fixture *f = *state;
    CUdeviceptr x, y;
    void *host;
    unsigned long long ids[2];
    good(cuMemAllocAsync(&x, 1000, NULL));
    good(cuMemAlloc_v2(&y, 8));
    good(cuMemAllocHost_v2(&host, 77));
    check_attributes(x, 1000, false, f->context);
    check_attributes((CUdeviceptr)(uintptr_t)host, 77, true, f->context);
    good(cuPointerGetAttribute(&ids[0], CU_POINTER_ATTRIBUTE_BUFFER_ID, x));
    good(cuPointerGetAttribute(&ids[1], CU_POINTER_ATTRIBUTE_BUFFER_ID, y));
    assert_true(ids[0] != ids[1]);
    CUcontext other;
    good(cuCtxCreate_v2(&other, 0, 0)); /* each context has its own */
    assert_int_equal(cuMemGetAddressRange_v2(NULL, NULL, x), CUDA_ERROR_NOT_FOUND);
    refused(cuMemFree_v2(x), CUDA_ERROR_INVALID_VALUE, "it is not allocated");
    good(cuMemAlloc_v2(&y, 64));
    good(cuCtxDestroy_v2(other));
    assert_false(is_mapped(y)); /* and takes it along */
    good(cuMemGetAddressRange_v2(NULL, NULL, x));
}

int main(void) {
    setenv("SOFTGPU_DEVICE", "a100-sxm-80g", 1);
    const struct CMUnitTest tests[] = {
        driver_test(test_no_space),    driver_test(test_wraps),       driver_test(test_fragments),
        driver_test(test_pages),       driver_test(test_overwritten), driver_test(test_wrong_addresses),
        driver_test(test_host_memory), driver_test(test_limit),       driver_test(test_questions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
