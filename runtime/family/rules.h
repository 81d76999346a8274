/* Limits that every family has in common, each with its reason. */
#ifndef MT_FAMILY_RULES_H
#define MT_FAMILY_RULES_H

#include "family.h"
#include <limits.h>
#include <stdint.h>

/* Writes the reason and returns false. */
bool refuse(char reason[160], const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The K step that a knob asks for: itself, or for 0 what holds whole groups and whole slabs of 128. */
int k_step(int knob, const struct problem *p);
/* The parts that a kernel is built for, and how wide the feature tile of each is, in the unit of the family's knob.
 * Only a mixed layer's 8-bit part may differ: `width8` (0: as `width`). */
struct parts {
    bool has8, has4;
    bool zeros; /* 4-bit features have zero points */
    int width8, width4;
};
struct parts parts_of(const struct problem *p, int width, int width8);
/* The options of the templates that say so. Appends. */
void parts_options(const struct parts *parts, const struct problem *p, struct str *out);

/* Output tiles of all parts along N: tile8 and tile4 features (of parts that are there). */
int tiles_along_n(const struct problem *p, int tile8, int tile4);
/* Bytes of one output tile's partial sums. */
static inline size_t tile_partials(int tile_n, int tile_m) {
    return (size_t)(tile_n * tile_m) * sizeof(float);
}
static inline int tiles_along_m(int m, int tile_m) {
    return (m + tile_m - 1) / tile_m;
}
/* So many tiles, or parts of them; INT_MAX for more than an int holds: no launch has so many (launch_shape.items). */
static inline int int_of(int64_t tiles) {
    return tiles < INT_MAX ? (int)tiles : INT_MAX;
}

/* Stream-K: the last tiles, shared evenly, and who shares them (gemm_args.h); 0 tiles where all are whole waves. */
struct stream {
    int tiles, workers;
};
struct stream stream_of(int tiles, int workers, int steps, int least);

/* 2 to 16 warps in all, each count a power of two. */
bool warps_allowed(int warps_n, int warps_m, char reason[160]);
/* 1 <= split_k <= steps along K. */
bool split_allowed(int split_k, int steps, char reason[160]);
/* 1 <= raster <= token tiles: more would be the same walk. */
bool raster_allowed(int raster, int tiles_m, char reason[160]);
/* `ctas` CTAs of `threads` threads with `shared` bytes of dynamic shared memory and about `registers` registers per
 * thread fit one SM. Each CTA takes 1 KiB of shared memory for the system beside its own (CUDA C++ Programming Guide,
 * compute capability 8.0 on). */
bool resources_allowed(const struct device_limits *d, int threads, int ctas, int shared, int registers,
                       char reason[160]);

#endif
