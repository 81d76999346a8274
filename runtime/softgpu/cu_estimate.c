/* Running a launch, wholly or for a few CTAs, and what it would take on the device.
 *
 * A launch that only has to be timed is sampled: CTA columns in the middle of equal parts of the grid (a midpoint rule,
 * so kernels whose CTAs do different things in different regions are weighed right), each with all its blockIdx.z. The
 * times are kept under what they can depend on: function, shape, and the parameters with each pointer replaced by the
 * size of its allocation and the offset in it. */
#include "base/str.h"
#include "cu_state.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define SAMPLES     4
#define CACHE_SLOTS 4096 /* a power of two; a slot keeps the last time that fell into it */

struct cu_time_cache {
    struct {
        XXH128_hash_t key;
        double seconds;
    } slot[CACHE_SLOTS];
};

void cu_time_cache_free(struct cu_time_cache *cache) {
    free(cache);
}

static XXH128_hash_t launch_key(const struct cu_op *op) {
    struct str text = {0};
    const struct sg_function_info *info = &op->function->info;
    str_append_bytes(&text, &op->function->module->serial, sizeof op->function->module->serial);
    str_append_bytes(&text, &op->function, sizeof op->function);
    str_append_bytes(&text, op->grid, sizeof op->grid);
    str_append_bytes(&text, op->block, sizeof op->block);
    str_append_bytes(&text, op->cluster, sizeof op->cluster);
    str_append_bytes(&text, &op->shared, sizeof op->shared);
    for (uint32_t at = 0; at < info->param_bytes; at += 8) {
        uint64_t word[2] = {0, 0};
        uint32_t size = info->param_bytes - at < 8 ? info->param_bytes - at : 8;
        memcpy(word, op->params + at, size);
        const struct cu_alloc *a = cu_memory_find(op->context, word[0], op->sequence);
        if (a) {
            word[0] -= a->base;
            word[1] = a->size;
        }
        str_append_bytes(&text, word, sizeof word);
    }
    XXH128_hash_t key = XXH3_128bits(text.data, text.length);
    str_release(&text);
    return key;
}

static bool time_get(const struct CUctx_st *context, XXH128_hash_t key, double *seconds) {
    size_t at = key.low64 & (CACHE_SLOTS - 1);
    if (!context->times || !XXH128_isEqual(context->times->slot[at].key, key))
        return false;
    *seconds = context->times->slot[at].seconds;
    return true;
}

static void time_put(struct CUctx_st *context, XXH128_hash_t key, double seconds) {
    if (!context->times)
        context->times = xcalloc(1, sizeof *context->times);
    size_t at = key.low64 & (CACHE_SLOTS - 1);
    context->times->slot[at].key = key;
    context->times->slot[at].seconds = seconds;
}

/* Bytes of the allocations within reach, from the lowest pointer into each. */
static uint64_t footprint(const struct cu_op *op) {
    uint64_t sum = 0;
    for (int i = 0; i < op->reach_count; i++) {
        const struct cu_alloc *a = op->reach[i];
        uint64_t from = a->size;
        for (uint32_t at = 0; at + 8 <= op->function->info.param_bytes; at += 8) {
            uint64_t word;
            memcpy(&word, op->params + at, sizeof word);
            if (word - a->base < from)
                from = word - a->base;
        }
        sum += from < a->size ? a->size - from : a->size; /* no pointer into it: a variable of the module */
    }
    return sum;
}

static double model(struct cu_op *op, const struct sg_counters *counters, uint64_t counted, unsigned occupancy,
                    const char *how) {
    const struct CUfunc_st *f = op->function;
    uint64_t ctas = (uint64_t)op->grid[0] * op->grid[1] * op->grid[2];
    unsigned threads = op->block[0] * op->block[1] * op->block[2];
    const struct model_kernel kernel = {.counters = counters,
                                        .counted = counted,
                                        .ctas = ctas,
                                        .threads = threads,
                                        .ctas_per_sm = occupancy,
                                        .footprint = footprint(op),
                                        .wgmma = f->module->wgmma};
    struct model_time time;
    model_kernel_time(cu_device.profile, &kernel, &time);
    if (cu_device.log)
        fprintf(stderr,
                "softgpu: %s %s grid %ux%ux%u block %ux%ux%u shared %u registers %u%s CTAs/SM %u: %.2f us modelled, "
                "limit %s\n",
                how, f->name, op->grid[0], op->grid[1], op->grid[2], op->block[0], op->block[1], op->block[2],
                f->info.shared_static + op->shared, f->registers, f->registers_estimated ? " (estimated)" : "",
                occupancy, time.seconds * 1e6, model_term_name(time.limit));
    return time.seconds;
}

static unsigned launch_prepare(const struct cu_op *op, const struct sg_memory *memory, struct sg_launch *out) {
    const struct CUfunc_st *f = op->function;
    unsigned blocks = cu_function_occupancy(f, op->block[0] * op->block[1] * op->block[2], op->shared).blocks;
    if (blocks == 0)
        blocks = 1;
    *out = (struct sg_launch){.function = f->code,
                              .params = op->params,
                              .shared_dynamic = op->shared,
                              .memory = memory,
                              .host_threads = cu_device.host_threads,
                              .resident_ctas = (int)(blocks * cu_device.profile->sm_count),
                              .sm_count = cu_device.profile->sm_count,
                              .seed = cu_device.seed,
                              .eager_async = cu_device.eager_async,
                              .strict = cu_device.strict,
                              .max_warp_instructions = cu_device.watchdog};
    memcpy(out->grid, op->grid, sizeof out->grid);
    memcpy(out->block, op->block, sizeof out->block);
    memcpy(out->cluster, op->cluster, sizeof out->cluster);
    return blocks;
}

bool cu_launch_run(struct cu_op *op, struct sg_fault *fault) {
    struct sg_counters counters = {0};
    struct sg_memory memory = cu_memory_table(op->context, op->sequence);
    struct sg_launch launch;
    double seconds;
    unsigned blocks = launch_prepare(op, &memory, &launch);
    if (!sg_run(&launch, &counters, fault))
        return false;
    XXH128_hash_t key = launch_key(op);
    if (!time_get(op->context, key, &seconds)) {
        seconds = model(op, &counters, (uint64_t)op->grid[0] * op->grid[1] * op->grid[2], blocks, "ran");
        time_put(op->context, key, seconds);
    }
    if (op->seconds < 0)
        op->seconds = seconds;
    return true;
}

/* Clusters run as a whole, so they are what is sampled. */
static int sample_columns(const struct cu_op *op, uint32_t columns[][2]) {
    uint32_t cx = op->cluster[0], cy = op->cluster[1], wide = op->grid[0] / cx;
    uint64_t all = (uint64_t)wide * (op->grid[1] / cy);
    int count = 0, parts = all < SAMPLES ? (int)all : SAMPLES;
    for (int i = 0; i < parts; i++) {
        uint64_t at = all <= SAMPLES ? (uint64_t)i : all * (uint64_t)(2 * i + 1) / (2 * SAMPLES);
        for (uint32_t c = 0; c < cx * cy; c++, count++) {
            columns[count][0] = (uint32_t)(at % wide) * cx + c % cx;
            columns[count][1] = (uint32_t)(at / wide) * cy + c / cx;
        }
    }
    return count;
}

bool cu_launch_estimate(struct cu_op *op) {
    XXH128_hash_t key = launch_key(op);
    if (time_get(op->context, key, &op->seconds))
        return true;
    uint32_t columns[SAMPLES * CU_MAX_CLUSTER][2];
    struct sg_counters counters = {0};
    struct sg_fault fault = {0};
    struct sg_memory memory = cu_memory_table(op->context, op->sequence);
    struct sg_launch launch;
    unsigned blocks = launch_prepare(op, &memory, &launch);
    launch.sample_count = sample_columns(op, columns);
    launch.sample = columns;
    if (!sg_run(&launch, &counters, &fault))
        return false;
    op->seconds = model(op, &counters, (uint64_t)launch.sample_count * op->grid[2], blocks, "estimated");
    time_put(op->context, key, op->seconds);
    return true;
}
