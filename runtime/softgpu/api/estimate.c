/* Running a launch, wholly or for a few CTAs, and what it would take on the device.
 *
 * A launch that only has to be timed is sampled: a few CTA columns, each with all its blockIdx.z. Kernels do different
 * things in different stretches of the grid (a mixed layer's 8-bit part comes before its 4-bit part), so the first, the
 * middle and the last column are run; between neighbours whose work or bytes differ by more than a fiftieth, the middle
 * is run too, while the budget lasts: enough for the edges of two parts, each with a ragged tile. A column stands for those nearest to it. The times are kept under what they can depend
 * on: function, shape, and the parameters with each pointer replaced by the size of its allocation and the offset in
 * it. */
#include "runtime/base/str.h"
#include "runtime/softgpu/time/trace.h"
#include "state.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

#define SAMPLES     32
#define CACHE_SLOTS 4096 /* a slot keeps the last time that fell into it */
_Static_assert(SAMPLES >= 3, "the first, the middle and the last column are always run");
_Static_assert((CACHE_SLOTS & (CACHE_SLOTS - 1)) == 0, "a hash is cut to a slot by a mask");

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

/* Bytes of an allocation that the launch can mean: from the lowest pointer into it. */
static uint64_t bytes_meant(const struct cu_op *op, const struct sg_alloc *a) {
    uint64_t from = a->size;
    for (uint32_t at = 0; at + 8 <= op->function->info.param_bytes; at += 8) {
        uint64_t word;
        memcpy(&word, op->params + at, sizeof word);
        if (word - a->base < from)
            from = word - a->base;
    }
    return from < a->size ? a->size - from : a->size; /* no pointer into it: a variable of the module */
}

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* What was moved at least once, and all that was touched: no more of an allocation than it has. */
static void distinct_bytes(const struct cu_op *op, const struct sg_memory *memory, const struct sg_traffic *traffic,
                           struct model_kernel *out) {
    for (int k = 0; k < memory->count; k++) {
        const struct sg_traffic *t = &traffic[k];
        const uint64_t most = t->read || t->written ? bytes_meant(op, &memory->alloc[k]) : 0;
        out->distinct += least(t->read, most) + least(t->written, most);
        out->footprint += least(t->read + t->written, most);
    }
}

/* For the log alone: modelled times never depend on it. */
static double host_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Counters and traffic are of the whole grid. `ran`: by running it all, not by a sample. */
static double model(struct cu_op *op, const struct sg_launch *launch, const struct sg_counters *counters,
                    unsigned occupancy, bool ran, double took) {
    const struct CUfunc_st *f = op->function;
    uint64_t ctas = sg_volume(op->grid);
    unsigned threads = op->block[0] * op->block[1] * op->block[2];
    struct model_kernel kernel = {.counters = counters,
                                  .counted = ctas,
                                  .ctas = ctas,
                                  .threads = threads,
                                  .ctas_per_sm = occupancy,
                                  .wgmma = f->module->wgmma};
    struct model_time time;
    distinct_bytes(op, launch->memory, launch->traffic, &kernel);
    model_kernel_time(cu_device.profile, &kernel, &time);
    const char *trace = ran ? NULL : getenv("SOFTGPU_TRACE"), *label = getenv("SOFTGPU_TRACE_LABEL");
    if (trace && *trace)
        model_trace(trace, label ? label : "", f->name, &kernel, time.seconds);
    if (cu_device.log)
        fprintf(stderr,
                "softgpu: %s %s grid %ux%ux%u block %ux%ux%u shared %u registers %u%s CTAs/SM %u: %.2f us modelled, "
                "limit %s (host %.3f s)\n",
                ran ? "ran" : "estimated", f->name, op->grid[0], op->grid[1], op->grid[2], op->block[0], op->block[1],
                op->block[2], f->info.shared_static + op->shared, f->registers,
                f->registers_estimated ? " (estimated)" : "", occupancy, time.seconds * 1e6,
                model_term_name(time.limit), took);
    return time.seconds;
}

static unsigned launch_prepare(const struct cu_op *op, const struct sg_memory *memory, struct sg_launch *out) {
    struct CUfunc_st *f = op->function;
    unsigned blocks = cu_function_occupancy(f, op->block[0] * op->block[1] * op->block[2], op->shared).blocks;
    if (blocks == 0)
        blocks = 1;
    *out = (struct sg_launch){.function = f->code,
                              .params = op->params,
                              .shared_dynamic = op->shared,
                              .registers = f->registers_estimated ? 0 : f->registers,
                              .expansion = cu_function_expansion(f),
                              .memory = memory,
                              .host_threads = cu_device.host_threads,
                              .resident_ctas = (int)(blocks * cu_device.profile->sm_count),
                              .sm_count = cu_device.profile->sm_count,
                              .seed = cu_device.seed,
                              .eager_async = cu_device.eager_async,
                              .checks = cu_device.checks,
                              .grid_workspace = op->cooperative ? op->context->workspace->base : 0,
                              .max_warp_instructions = cu_device.watchdog};
    for (int i = 0; i < 3; i++) {
        out->grid[i] = op->grid[i];
        out->block[i] = op->block[i];
        out->cluster[i] = op->cluster[i];
    }
    return blocks;
}

bool cu_launch_run(struct cu_op *op, struct sg_fault *fault) {
    struct sg_counters counters = {0};
    struct sg_memory memory = cu_memory_table(op->context, op->sequence);
    struct sg_launch launch;
    double seconds;
    unsigned blocks = launch_prepare(op, &memory, &launch);
    XXH128_hash_t key = launch_key(op);
    const bool known = time_get(op->context, key, &seconds);
    if (!known)
        launch.traffic = xcalloc((size_t)memory.count + 1, sizeof *launch.traffic);
    double begin = host_seconds();
    const bool good = sg_run(&launch, &counters, fault);
    if (good && !known) {
        seconds = model(op, &launch, &counters, blocks, true, host_seconds() - begin);
        time_put(op->context, key, seconds);
    }
    free(launch.traffic);
    if (!good)
        return false;
    if (op->seconds < 0)
        op->seconds = seconds;
    return true;
}

struct sample {
    uint64_t at; /* a column of the grid of clusters */
    struct sg_counters counters;
    struct sg_traffic *traffic;
};

/* Runs the column, of all CTAs of a cluster: clusters run as a whole. */
static bool sample_run(const struct sg_launch *launch, struct sample *sample) {
    uint32_t columns[MAX_CLUSTER][2], cx = launch->cluster[0], cy = launch->cluster[1], wide = launch->grid[0] / cx;
    for (uint32_t c = 0; c < cx * cy; c++) {
        columns[c][0] = (uint32_t)(sample->at % wide) * cx + c % cx;
        columns[c][1] = (uint32_t)(sample->at / wide) * cy + c / cx;
    }
    struct sg_launch one = *launch;
    struct sg_fault fault;
    one.sample = columns;
    one.sample_count = (int)(cx * cy);
    memset(&sample->counters, 0, sizeof sample->counters);
    one.traffic = sample->traffic = xcalloc((size_t)launch->memory->count + 1, sizeof *sample->traffic);
    return sg_run(&one, &sample->counters, &fault);
}

static bool apart(double a, double b) {
    return fabs(a - b) > 0.02 * (a + b) / 2;
}

/* A ragged tile may run the same instructions and read less: copies of what is not there read nothing. */
static bool differ(const struct sample *a, const struct sample *b) {
    double x = (double)a->counters.warp_instructions, y = (double)b->counters.warp_instructions;
    double p = (double)a->counters.mma_ops_int8 + (double)a->counters.mma_ops_f16 + (double)a->counters.mma_ops_other;
    double q = (double)b->counters.mma_ops_int8 + (double)b->counters.mma_ops_f16 + (double)b->counters.mma_ops_other;
    return apart(x, y) || apart(p, q) ||
           apart((double)a->counters.global_bytes_read, (double)b->counters.global_bytes_read);
}

/* Counters and traffic of the whole grid, from samples in order: each stands for the columns up to half way to its
 * neighbours. */
static void samples_combine(const struct sg_launch *launch, const struct sample *sample, int count, uint64_t columns,
                            struct sg_counters *out) {
    memset(out, 0, sizeof *out);
    for (int i = 0; i < count; i++) {
        uint64_t from = i ? (sample[i - 1].at + sample[i].at) / 2 + 1 : 0;
        uint64_t to = i + 1 < count ? (sample[i].at + sample[i + 1].at) / 2 + 1 : columns;
        counters_add(out, &sample[i].counters, to - from);
        for (int k = 0; k < launch->memory->count; k++) {
            launch->traffic[k].read += (to - from) * sample[i].traffic[k].read;
            launch->traffic[k].written += (to - from) * sample[i].traffic[k].written;
        }
    }
}

/* Between which two samples another is run; -1: nowhere. */
static int widest_gap(const struct sample *sample, int count) {
    int widest = -1;
    for (int i = 0; i + 1 < count && count < SAMPLES; i++) {
        uint64_t gap = sample[i + 1].at - sample[i].at;
        if (gap > 1 && differ(&sample[i], &sample[i + 1]) &&
            (widest < 0 || gap > sample[widest + 1].at - sample[widest].at))
            widest = i;
    }
    return widest;
}

/* Samples the launch; false on a fault. */
static bool grid_sample(const struct sg_launch *launch, struct sg_counters *out) {
    struct sample sample[SAMPLES] = {{0}};
    uint64_t columns = (uint64_t)(launch->grid[0] / launch->cluster[0]) * (launch->grid[1] / launch->cluster[1]);
    const uint64_t first[3] = {0, columns / 2, columns - 1};
    int count = 0;
    bool good = true;
    for (int i = 0; i < 3 && good; i++) {
        if (i && first[i] == first[i - 1])
            continue;
        sample[count].at = first[i];
        good = sample_run(launch, &sample[count++]);
    }
    for (int widest; good && (widest = widest_gap(sample, count)) >= 0; count++) {
        struct sample middle = {.at = (sample[widest].at + sample[widest + 1].at) / 2};
        good = sample_run(launch, &middle);
        memmove(sample + widest + 2, sample + widest + 1, (size_t)(count - widest - 1) * sizeof *sample);
        sample[widest + 1] = middle;
    }
    if (good)
        samples_combine(launch, sample, count, columns, out);
    for (int i = 0; i < count; i++)
        free(sample[i].traffic);
    return good;
}

bool cu_launch_estimate(struct cu_op *op) {
    XXH128_hash_t key = launch_key(op);
    if (time_get(op->context, key, &op->seconds))
        return true;
    if (op->cooperative) /* a few of its CTAs would wait for the others */
        return false;
    struct sg_counters counters;
    struct sg_memory memory = cu_memory_table(op->context, op->sequence);
    struct sg_launch launch;
    unsigned blocks = launch_prepare(op, &memory, &launch);
    launch.traffic = xcalloc((size_t)memory.count + 1, sizeof *launch.traffic);
    double begin = host_seconds();
    const bool good = grid_sample(&launch, &counters);
    if (good) {
        op->seconds = model(op, &launch, &counters, blocks, false, host_seconds() - begin);
        time_put(op->context, key, op->seconds);
    }
    free(launch.traffic);
    return good;
}
