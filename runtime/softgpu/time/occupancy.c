#include "model.h"

static unsigned least(unsigned a, unsigned b) {
    return a < b ? a : b;
}

struct model_occupancy model_occupancy(const struct dev_profile *device, unsigned threads, unsigned registers,
                                       size_t shared_bytes) {
    struct model_occupancy out = {0, "threads"};
    if (threads == 0 || threads > 1024)
        return out;
    unsigned warps = (threads + 31) / 32, partitions = device->schedulers_per_sm;
    unsigned granule = device->register_granule;
    unsigned per_warp = (registers * 32 + granule - 1) / granule * granule;
    unsigned resident_warps = per_warp ? device->registers_per_sm / partitions / per_warp * partitions : ~0u;
    size_t shared = (shared_bytes + device->shared_reserved_bytes + 127) / 128 * 128;
    unsigned by_registers = resident_warps / warps;
    unsigned by_shared = (unsigned)((size_t)device->shared_per_sm_kib * 1024 / shared);
    unsigned by_warps = device->warps_per_sm / warps;
    out.blocks = least(least(by_registers, by_shared), least(by_warps, device->blocks_per_sm));
    out.limit = out.blocks == by_registers ? "registers"
                : out.blocks == by_shared  ? "shared memory"
                : out.blocks == by_warps   ? "warps"
                                           : "blocks";
    return out;
}
