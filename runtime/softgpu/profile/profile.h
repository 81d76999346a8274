/* What a software device is: the numbers of one file in configs/devices/. The unit and the source of each number stand
 * beside it in those files; here stands what the driver and the time model do with it. */
#ifndef SG_PROFILE_H
#define SG_PROFILE_H

#include "runtime/base/status.h"
#include <stdint.h>

struct dev_profile {
    char *name;                  /* marketing name; the reported one adds that it is software */
    unsigned compute_capability; /* 80 for 8.0 */
    unsigned sm_count;
    unsigned clock_mhz; /* SM clock that the datasheet's peaks are given for */

    unsigned memory_mib;
    double memory_gbs;        /* GB/s (1e9) */
    double memory_efficiency; /* reachable part of it, 0..1 */
    double memory_latency_ns; /* load that misses L2 */
    unsigned l2_kib;
    double l2_bytes_per_clock;    /* whole device */
    double sm_l2_bytes_per_clock; /* one SM's port */
    double l2_latency_clocks;

    unsigned shared_per_sm_kib, shared_per_block_kib, shared_reserved_bytes; /* reserved: per resident CTA */
    unsigned registers_per_sm, register_granule;                             /* granule: registers per warp */
    unsigned warps_per_sm, blocks_per_sm, schedulers_per_sm;

    /* Lanes that one SM starts per clock. */
    double alu_lanes, fma_lanes, imad_lanes, half_lanes, xu_lanes, lsu_lanes, fp64_lanes, branch_lanes;
    /* Dense multiply-accumulates per clock and SM, at the tensor core's full rate. */
    double tensor_int8_macs, tensor_f16_macs, tensor_other_macs;
    double mma_sync_fraction; /* part of that rate that mma.sync reaches; wgmma reaches all of it */

    double warp_interval_clocks; /* mean distance of two instructions of one warp that runs alone */
    double loads_in_flight;      /* plain loads that one warp keeps in flight */
    /* How well the terms of the time model overlap: 1 not at all, large: perfectly. A warp of mma.sync issues nothing
     * else while its operands are fetched and its products awaited, so issue and tensor work overlap less there. */
    double overlap_exponent, mma_overlap_exponent;
    double atomic_us;      /* what a CTA waits around an atomic: for its stores, the fence, the answer */
    double wgmma_setup_us; /* before a wgmma kernel's first copy: barriers, registers, tensor map, code */
    double launch_us;      /* from one launch to the next, beyond the kernel's own time */
    double graph_node_us;  /* the same inside a graph */
    double host_link_gbs;  /* copies between host and device */

    uint64_t hash; /* of the file's text: the device's UUID comes from it */
};

/* `name`: a file name in configs/devices/ without its ending, or a path. MT_NO_DEVICE lists the known names; MT_USAGE
 * says the line where the file is wrong. Free with dev_profile_free(). */
enum mt_status dev_profile_load(const char *name, struct dev_profile **out);
void dev_profile_free(struct dev_profile *profile);

#endif
