#include "memory.h"
#include "runtime/base/array.h"
#include <stdlib.h>

/* By all lists of this process. */
static size_t held;

void *memory_pointer(CUdeviceptr address) {
    return (void *)(uintptr_t)address;
}

enum mt_status memory_alloc(struct memory *memory, struct device *dev, size_t bytes, CUdeviceptr *out) {
    CUresult result = dev->drv.MemAlloc(out, bytes ? bytes : 1);
    if (result == CUDA_ERROR_OUT_OF_MEMORY) {
        device_note_error(result);
        return fail(MT_FAILURE, "it needs %zu bytes of device memory and more, of which it has %zu; the device has %zu",
                    held + bytes, held, dev->memory_bytes);
    }
    if (result != CUDA_SUCCESS)
        return fail_context(device_check(dev, result, "cuMemAlloc"), "allocating %zu bytes on the device", bytes);
    held += bytes;
    memory->bytes += bytes;
    array_grow(&memory->address, &memory->capacity, (size_t)memory->count, sizeof *memory->address);
    memory->address[memory->count++] = *out;
    return MT_OK;
}

enum mt_status memory_upload(struct memory *memory, struct device *dev, const void *data, size_t bytes,
                             CUdeviceptr *out) {
    enum mt_status status = memory_alloc(memory, dev, bytes, out);
    if (status || bytes == 0)
        return status;
    return device_check(dev, dev->drv.MemcpyHtoD(*out, data, bytes), "cuMemcpyHtoD");
}

void memory_release(struct memory *memory, struct device *dev) {
    for (int i = 0; i < memory->count; i++)
        dev->drv.MemFree(memory->address[i]);
    held -= memory->bytes;
    free(memory->address);
    *memory = (struct memory){0};
}
